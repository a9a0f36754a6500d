/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files without a format: where they go and how they are entered in each mode, and what is refused.
 */
#include "support/cm.h"

#include <stdlib.h>

#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/cpu.h"
#include "skep/e820.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "support/loading.h"

#define MEMORY MIB(4)

struct rig {
	uint8_t *file;
	size_t len;
	struct gmem *mem;
	struct e820 map;
	struct boot_image *kernel;
	struct boot_options options;
	struct boot_request req;
	struct boot_layout layout;
	struct cpu_entry entry;
	struct err err;
};

static void begin(struct rig *r, size_t len)
{
	const struct gmem_region region = {.gpa = 0, .size = MEMORY};

	memset(r, 0, sizeof(*r));
	r->len = len;
	r->file = malloc(len);
	assert_non_null(r->file);
	for (size_t i = 0; i < len; i++)
		r->file[i] = (uint8_t)(i * 7 + (i >> 8));
	assert_int_equal(e820_build(&r->map, &region, 1, NULL), 0);
	assert_int_equal(gmem_create(&r->mem, &(struct gmem_options){.size = MEMORY}, NULL), 0);
	assert_int_equal(boot_open_memory(&r->kernel, "kernel", "flat", r->file, len, NULL), 0);
	r->options.protocol = "flat";
	r->req.kernel = r->kernel;
	r->req.memory = &r->map;
	r->req.options = &r->options;
}

static void end(struct rig *r)
{
	boot_close(r->kernel);
	gmem_destroy(r->mem);
	free(r->file);
}

static int load(struct rig *r, uint64_t at, enum boot_mode mode)
{
	r->options.at = at;
	r->options.mode = mode;
	r->err.text[0] = '\0';
	return boot_load(&r->req, r->mem, &r->entry, &r->layout, &r->err);
}

/* The file is at @at, entered at its first byte, and nothing that the loader adds is over it. */
static void assert_flat(const struct rig *r, uint64_t at)
{
	uint64_t last = 0;

	assert_memory_equal(gmem_hva(r->mem, at, r->len), r->file, r->len);
	assert_int_equal(r->layout.entry, at);
	assert_string_equal(r->layout.protocol, "flat");
	for (unsigned int i = 0; i < r->layout.count; i++) {
		assert_true(r->layout.pieces[i].gpa >= last);
		last = r->layout.pieces[i].gpa + r->layout.pieces[i].len;
	}
}

static void test_prot32(void **state)
{
	static const uint64_t places[] = {0x1000, 0x7c00, 0x10000, 0x100000, 0x2ff123};
	struct rig r;

	(void)state;
	begin(&r, 70000);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		assert_int_equal(load(&r, places[i], BOOT_PROT32), 0);
		assert_flat(&r, places[i]);
		assert_int_equal(r.entry.mode, CPU_PROT32);
		assert_int_equal(r.entry.rip, places[i]);
		assert_int_equal(r.entry.cr3, 0);
		assert_false(ranges_overlap(r.entry.rsp - KIB(32), KIB(32), places[i], r.len));
		assert_false(ranges_overlap(r.entry.gdt, 32, places[i], r.len));
	}
	end(&r);
}

static void test_long64(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, 512);
	assert_int_equal(load(&r, 0x7c00, BOOT_LONG64), 0);
	assert_flat(&r, 0x7c00);
	assert_int_equal(r.entry.mode, CPU_LONG64);
	assert_int_equal(r.entry.rip, 0x7c00);
	assert_int_equal(r.entry.rsp, 0x10000);
	assert_true(r.entry.cr3 >= 0x10000);
	assert_string_equal(r.layout.mode, "64-bit mode");
	assert_int_equal(load(&r, 0x100000, BOOT_LONG64), 0);
	assert_int_equal(r.entry.cr3, 0x2000);
	end(&r);
}

static void test_real16(void **state)
{
	static const struct {
		uint64_t at;
		uint16_t segment, ip, sp;
	} cases[] = {
		{0x7c00, 0, 0x7c00, 0x7c00}, {0x7c09, 0, 0x7c09, 0x7c00},
		{0xfff0, 0, 0xfff0, 0xfff0}, {0x10000, 0x1000, 0, 0},
		{0x12345, 0x1234, 5, 0},     {0x90000, 0x9000, 0, 0},
	};
	struct rig r;

	(void)state;
	begin(&r, 1000);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(load(&r, cases[i].at, BOOT_REAL16), 0);
		assert_flat(&r, cases[i].at);
		assert_int_equal(r.entry.mode, CPU_REAL16);
		assert_int_equal(r.entry.segment, cases[i].segment);
		assert_int_equal(r.entry.rip, cases[i].ip);
		assert_int_equal(r.entry.rsp, cases[i].sp);
		assert_int_equal(r.layout.count, 1);
	}
	end(&r);
}

static void test_refusals(void **state)
{
	static const struct {
		uint64_t at;
		enum boot_mode mode;
		const char *says;
	} cases[] = {
		{0, BOOT_PROT32, "does not say where it goes; say it: --protocol flat,at=0x100000"},
		{MIB(4), BOOT_PROT32, "needs 5 MiB of guest memory, the guest has 4"},
		{MIB(4) - 999, BOOT_LONG64, "needs 5 MiB of guest memory"},
		{0xa0000, BOOT_REAL16, "at 0xa0000, of 0x3e8 bytes, is not in guest RAM"},
		{MIB(1), BOOT_REAL16, "cannot be entered in real mode at 0x100000"},
		{GIB(4), BOOT_PROT32, "its file at 0x100000000, of 0x3e8 bytes, is not in guest"},
		{UINT64_MAX, BOOT_PROT32, "is not in guest RAM"},
		{UINT64_C(1) << 52, BOOT_LONG64, "is not in guest RAM"},
	};
	struct boot_module module = {.cmdline = ""};
	struct rig r;

	(void)state;
	begin(&r, 1000);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_true(load(&r, cases[i].at, cases[i].mode) < 0);
		assert_says(&r, cases[i].says);
	}
	/* RAM there, but out of reach. */
	assert_int_equal(e820_set(&r.map, GIB(4), MIB(1), E820_RAM, NULL), 0);
	assert_int_equal(load(&r, GIB(4), BOOT_LONG64), -EINVAL);
	assert_says(&r, "cannot be entered at 0x100000000, which is not below 4 GiB");
	r.options.handoff = BOOT_HANDOFF_NONE;
	assert_int_equal(load(&r, 0x7c00, BOOT_PROT32), -EINVAL);
	assert_says(&r, "protocol 'flat', by which kernel 'flat' is booted, has no handoff=");
	r.options.handoff = 0;
	module.img = r.kernel;
	r.req.modules = &module;
	r.req.module_count = 1;
	assert_int_equal(load(&r, 0x7c00, BOOT_PROT32), -EINVAL);
	assert_says(&r, "is booted as a flat file and would not hear of the module");
	end(&r);
}

/* No file is taken for a flat one that nobody said is one. */
static void test_by_name_only(void **state)
{
	struct boot_info info;
	struct rig r;

	(void)state;
	begin(&r, 1000);
	r.options.protocol = NULL;
	assert_int_equal(boot_examine(&r.req, &info, &r.err), -ENOEXEC);
	assert_null(info.chosen);
	for (unsigned int i = 0; i < info.protocol_count; i++)
		assert_false(info.protocols[i].usable);
	r.options.protocol = "flat";
	assert_int_equal(boot_examine(&r.req, &info, &r.err), 0);
	assert_string_equal(info.chosen, "flat");
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prot32),       cmocka_unit_test(test_long64),
		cmocka_unit_test(test_real16),       cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_by_name_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
