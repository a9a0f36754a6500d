/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Boot sectors: which files are taken for one, what is loaded of them, and what the BIOS below them
 * is told of memory.
 */
#include "support/cm.h"

#include <stdlib.h>

#include "skep/bios.h"
#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/cpu.h"
#include "skep/e820.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "support/loading.h"

#include "../../firmware/bios/layout.h"

#define IMAGE 2048

struct rig {
	uint8_t file[IMAGE];
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

static void set_map(struct e820 *map, uint64_t memory)
{
	const struct gmem_region regions[] = {
		{.gpa = 0, .size = MIN(memory, GMEM_HOLE_START)},
		{.gpa = GMEM_HOLE_END, .size = memory - MIN(memory, GMEM_HOLE_START)},
	};

	assert_int_equal(e820_build(map, regions, regions[1].size ? 2 : 1, NULL), 0);
}

static void begin(struct rig *r, uint64_t memory)
{
	memset(r, 0, sizeof(*r));
	r->len = IMAGE;
	for (size_t i = 0; i < IMAGE; i++)
		r->file[i] = (uint8_t)(1 | (i * 5 + (i >> 8)));
	r->file[510] = 0x55;
	r->file[511] = 0xaa;
	set_map(&r->map, memory);
	assert_int_equal(gmem_create(&r->mem, &(struct gmem_options){.size = memory}, NULL), 0);
	assert_int_equal(gmem_fill(r->mem, 0, 0xee, memory), 0);
	r->req.memory = &r->map;
	r->req.options = &r->options;
}

static void end(struct rig *r)
{
	boot_close(r->kernel);
	gmem_destroy(r->mem);
}

static int load(struct rig *r)
{
	boot_close(r->kernel);
	assert_int_equal(boot_open_memory(&r->kernel, "kernel", "tiny", r->file, r->len, NULL), 0);
	r->req.kernel = r->kernel;
	r->err.text[0] = '\0';
	return boot_load(&r->req, r->mem, &r->entry, &r->layout, &r->err);
}

static void test_load(void **state)
{
	struct rig r;
	const uint8_t *at;

	(void)state;
	begin(&r, MIB(2));
	assert_int_equal(load(&r), 0);
	assert_string_equal(r.layout.protocol, "bootsector");
	assert_string_equal(r.layout.mode, "real mode");
	assert_int_equal(r.layout.count, 2);
	assert_int_equal(r.layout.entry, BIOS_AREA);
	assert_int_equal(r.layout.least_memory, MIB(1));
	assert_int_equal(r.entry.mode, CPU_REAL16);
	assert_int_equal(r.entry.segment * 16U + r.entry.rip, BIOS_AREA);
	/* The first sector and no more. */
	at = gmem_hva(r.mem, 0x7c00, 513);
	assert_memory_equal(at, r.file, 512);
	assert_int_equal(at[512], 0xee);
	/* It starts with CLI, and with a far jump there where a processor starts. */
	at = gmem_hva(r.mem, BIOS_AREA, BIOS_AREA_LEN);
	assert_int_equal(at[0], 0xfa);
	assert_memory_equal(at + 0x1ff0, "\xea\x00\xe0\x00\xf0", 5);
	assert_int_equal(*(const uint8_t *)gmem_hva(r.mem, BIOS_AREA - 1, 1), 0xee);
	end(&r);
}

static void test_sizes(void **state)
{
	static const struct {
		size_t len;
		bool boots;
	} cases[] = {{1, false}, {511, false}, {512, true}, {513, true}};
	struct rig r;

	(void)state;
	begin(&r, MIB(2));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		r.len = cases[i].len;
		assert_int_equal(load(&r), cases[i].boots ? 0 : -ENOEXEC);
	}
	r.options.protocol = "bootsector";
	r.file[511] = 0;
	assert_int_equal(load(&r), -ENOEXEC);
	assert_says(&r, "by the protocol 'bootsector': it does not have 55h AAh at offset 510");
	end(&r);
}

/* What says more of itself is not taken for one. */
static void test_others_first(void **state)
{
	struct boot_info info;
	struct rig r;

	(void)state;
	begin(&r, MIB(2));
	memcpy(r.file + 0x202, "HdrS", 4);
	assert_int_equal(load(&r), -ENOEXEC);
	boot_examine(&r.req, &info, &r.err);
	assert_non_null(info.chosen);
	assert_memory_equal(info.chosen, "linux", 5);
	memset(r.file + 0x202, 1, 4);
	memcpy(r.file, "\x1f\x8b", 2);
	assert_int_equal(load(&r), -ENOEXEC);
	assert_says(&r, "gzip data; unpack it");
	memcpy(r.file, "\177ELF", 4);
	assert_true(load(&r) < 0);
	assert_says(&r, "is an ELF file of class");
	r.options.protocol = "bootsector";
	assert_int_equal(load(&r), 0);
	end(&r);
}

static void test_refusals(void **state)
{
	struct boot_module module = {.cmdline = ""};
	struct rig r;

	(void)state;
	begin(&r, MIB(2));
	assert_int_equal(load(&r), 0);
	module.img = r.kernel;
	r.req.modules = &module;
	r.req.module_count = 1;
	assert_int_equal(boot_plan(&r.req, &r.layout, &r.err), -EINVAL);
	assert_says(&r, "is a boot sector and would not hear of the module");
	r.req.module_count = 0;
	r.options.at = 0x7c00;
	assert_int_equal(boot_plan(&r.req, &r.layout, &r.err), -EINVAL);
	assert_says(&r, "has no at=");
	r.options.at = 0;
	r.options.mode = BOOT_REAL16;
	assert_int_equal(boot_plan(&r.req, &r.layout, &r.err), -EINVAL);
	assert_says(&r, "has no mode=");
	r.options.mode = 0;
	/* Without RAM at 7C00h, or anything that could be its BIOS. */
	assert_int_equal(e820_set(&r.map, 0x7000, 0x1000, E820_RESERVED, NULL), 0);
	assert_int_equal(load(&r), -ENOMEM);
	assert_says(&r, "its boot sector at 0x7c00, of 0x200 bytes, is not in guest RAM");
	set_map(&r.map, MIB(2));
	assert_int_equal(e820_set(&r.map, 0xff000, 0x1000, E820_RAM, NULL), 0);
	assert_int_equal(load(&r), -ENOMEM);
	assert_says(&r, "its BIOS at 0xfe000");
	end(&r);
}

static uint64_t told(const uint8_t *rom, unsigned int offset, unsigned int size)
{
	const uint8_t *at = rom + offset - LAYOUT_START;

	return size == 2 ? load_le16(at) : size == 4 ? load_le32(at) : load_le64(at);
}

/* INT 15h, functions E801h and 88h: KiB and blocks of 64 KiB, as far as their registers go. */
static void test_memory(void **state)
{
	static const struct {
		uint64_t memory;
		uint16_t low, blocks, all;
	} cases[] = {
		{MIB(1), 0, 0, 0},
		{MIB(2), 1024, 0, 1024},
		{MIB(16), 15360, 0, 15360},
		{MIB(16) + KIB(64), 15360, 1, 15424},
		{MIB(64), 15360, 768, 64512},
		{MIB(65), 15360, 784, 64512},
		{GIB(3), 15360, 48896, 64512},
		{GIB(8), 15360, 48896, 64512},
	};
	uint8_t rom[BIOS_AREA_LEN];
	struct e820 map;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		set_map(&map, cases[i].memory);
		bios_build(rom, &map);
		assert_int_equal(told(rom, LAYOUT_KIB_LOW, 2), cases[i].low);
		assert_int_equal(told(rom, LAYOUT_BLOCKS_HIGH, 2), cases[i].blocks);
		assert_int_equal(told(rom, LAYOUT_KIB_ALL, 2), cases[i].all);
		assert_int_equal(told(rom, LAYOUT_MAP_COUNT, 4), map.count);
	}
}

/* The largest map there can be is told whole, and runs into nothing. */
static void test_map(void **state)
{
	uint8_t rom[BIOS_AREA_LEN];
	struct e820 map;

	(void)state;
	set_map(&map, MIB(16));
	for (unsigned int i = 0; map.count < E820_MAX; i++)
		assert_int_equal(e820_set(&map, GIB(5) + i * KIB(8), KIB(4), E820_NVS, NULL), 0);
	bios_build(rom, &map);
	assert_int_equal(told(rom, LAYOUT_MAP_COUNT, 4), E820_MAX);
	for (unsigned int i = 0; i < E820_MAX; i++) {
		assert_int_equal(told(rom, LAYOUT_MAP + i * 20, 8), map.entries[i].gpa);
		assert_int_equal(told(rom, LAYOUT_MAP + i * 20 + 8, 8), map.entries[i].len);
		assert_int_equal(told(rom, LAYOUT_MAP + i * 20 + 16, 4), map.entries[i].type);
	}
	assert_int_equal(rom[LAYOUT_RESET - LAYOUT_START], 0xea);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_load),         cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_others_first), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_memory),       cmocka_unit_test(test_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
