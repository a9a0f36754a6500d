/* SPDX-License-Identifier: BSD-2-Clause */
/* The writer against ACPI 6.5, section 20.2, byte for byte. */
#include <stdio.h>
#include <string.h>

#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/err.h"
#include "support/cm.h"

struct page {
	struct aml aml;
	uint8_t buf[8192];
};

static struct aml *fresh(struct page *p)
{
	memset(p->buf, 0xee, sizeof(p->buf));
	aml_init(&p->aml, p->buf, sizeof(p->buf));
	return &p->aml;
}

static void expect(const struct page *p, const void *bytes, size_t len)
{
	assert_int_equal(aml_finish(&p->aml), (long)len);
	assert_memory_equal(p->buf, bytes, len);
	assert_int_equal(p->buf[len], 0xee);
}

#define EXPECT(page, ...)                               \
	do {                                            \
		const uint8_t bytes_[] = {__VA_ARGS__}; \
		expect((page), bytes_, sizeof(bytes_)); \
	} while (0)

static void integers(void **state)
{
	struct page p;

	(void)state;
	aml_integer(fresh(&p), 0);
	EXPECT(&p, 0x00);
	aml_integer(fresh(&p), 1);
	EXPECT(&p, 0x01);
	aml_integer(fresh(&p), 2);
	EXPECT(&p, 0x0a, 0x02);
	aml_integer(fresh(&p), 0xff);
	EXPECT(&p, 0x0a, 0xff);
	aml_integer(fresh(&p), 0x100);
	EXPECT(&p, 0x0b, 0x00, 0x01);
	aml_integer(fresh(&p), 0x12345);
	EXPECT(&p, 0x0c, 0x45, 0x23, 0x01, 0x00);
	aml_integer(fresh(&p), UINT32_MAX);
	EXPECT(&p, 0x0c, 0xff, 0xff, 0xff, 0xff);
	aml_integer(fresh(&p), UINT64_C(0x123456789));
	EXPECT(&p, 0x0e, 0x89, 0x67, 0x45, 0x23, 0x01, 0x00, 0x00, 0x00);
}

static void names(void **state)
{
	struct page p;

	(void)state;
	aml_name(fresh(&p), "_S5");
	EXPECT(&p, 0x08, '_', 'S', '5', '_');
	aml_name(fresh(&p), "\\A");
	EXPECT(&p, 0x08, '\\', 'A', '_', '_', '_');
	aml_name(fresh(&p), "\\");
	EXPECT(&p, 0x08, '\\', 0x00);
	aml_name(fresh(&p), "^^COM1");
	EXPECT(&p, 0x08, '^', '^', 'C', 'O', 'M', '1');
	aml_name(fresh(&p), "\\_SB.PCI0");
	EXPECT(&p, 0x08, '\\', 0x2e, '_', 'S', 'B', '_', 'P', 'C', 'I', '0');
	aml_name(fresh(&p), "_SB.PCI0.X1");
	EXPECT(&p, 0x08, 0x2f, 3, '_', 'S', 'B', '_', 'P', 'C', 'I', '0', 'X', '1', '_', '_');
}

static void strings_and_ids(void **state)
{
	struct page p;

	(void)state;
	aml_string(fresh(&p), "ok");
	EXPECT(&p, 0x0d, 'o', 'k', 0x00);
	aml_string(fresh(&p), "");
	EXPECT(&p, 0x0d, 0x00);
	/* The example of section 6.1.5's text form: PNP0501. */
	aml_eisa_id(fresh(&p), "PNP0501");
	EXPECT(&p, 0x0c, 0x41, 0xd0, 0x05, 0x01);
	aml_eisa_id(fresh(&p), "PNP0A08");
	EXPECT(&p, 0x0c, 0x41, 0xd0, 0x0a, 0x08);
	aml_return_integer(fresh(&p), 0xf);
	EXPECT(&p, 0xa4, 0x0a, 0x0f);
}

static void objects(void **state)
{
	struct page p;
	struct aml *a = fresh(&p);

	(void)state;
	aml_scope(a, "\\_SB");
	aml_device(a, "COM1");
	aml_name(a, "_UID");
	aml_integer(a, 1);
	aml_method(a, "_STA", 0, false);
	aml_return_integer(a, 15);
	aml_end(a);
	aml_method(a, "M", 2, true);
	aml_end(a);
	aml_end(a);
	assert_int_equal(aml_finish(a), -EINVAL);
	aml_end(a);
	EXPECT(&p, 0x10, 0x24, '\\', '_', 'S', 'B', '_',               /* Scope */
	       0x5b, 0x82, 0x1c, 'C', 'O', 'M', '1',                   /* Device */
	       0x08, '_', 'U', 'I', 'D', 0x01,                         /* Name */
	       0x14, 0x09, '_', 'S', 'T', 'A', 0x00, 0xa4, 0x0a, 0x0f, /* Method */
	       0x14, 0x06, 'M', '_', '_', '_', 0x0a);
}

static void packages(void **state)
{
	struct page p;
	struct aml *a = fresh(&p);

	(void)state;
	aml_package(a, 2);
	aml_integer(a, 5);
	aml_package(a, 0);
	aml_end(a);
	aml_end(a);
	EXPECT(&p, 0x12, 0x07, 2, 0x0a, 5, 0x12, 0x02, 0);
}

/* A scope of @body bytes of strings: its PkgLength takes the shortest form that holds it. */
static void lengths(void **state)
{
	static const struct {
		size_t body; /* behind the PkgLength */
		size_t bytes;
		uint8_t encoded[3];
	} cases[] = {
		{62, 1, {0x3f}},       /* 63 with itself: six bits */
		{63, 2, {0x41, 0x04}}, /* 65: no longer */
		{64, 2, {0x42, 0x04}},
		{4093, 2, {0x4f, 0xff}},       /* 4095: twelve bits */
		{4094, 3, {0x81, 0x00, 0x01}}, /* 4097 */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct page p;
		struct aml *a = fresh(&p);
		size_t left = cases[i].body - 5; /* the name */

		aml_scope(a, "\\_SB");
		for (; left; left--)
			aml_integer(a, 1);
		aml_end(a);
		assert_int_equal(aml_finish(a), (long)(1 + cases[i].bytes + cases[i].body));
		assert_memory_equal(p.buf + 1, cases[i].encoded, cases[i].bytes);
		assert_memory_equal(p.buf + 1 + cases[i].bytes, "\\_SB_\x01", 6);
	}
}

static void resources(void **state)
{
	struct page p;
	struct aml *a = fresh(&p);

	(void)state;
	aml_resources(a);
	aml_io(a, 0x3f8, 8);
	aml_irq(a, 4);
	aml_end(a);
	EXPECT(&p, 0x11, 0x10, 0x0a, 0x0d,                     /* Buffer of 13 */
	       0x47, 0x01, 0xf8, 0x03, 0xf8, 0x03, 0x01, 0x08, /* IO */
	       0x22, 0x10, 0x00,                               /* IRQNoFlags */
	       0x79, 0x00);

	a = fresh(&p);
	aml_resources(a);
	aml_interrupt(a, 17, true, true, true);
	aml_interrupt(a, 5, false, false, false);
	aml_memory32(a, 0xd0000000, 0x200, true);
	aml_memory32(a, 0xd0001000, 0x1000, false);
	aml_end(a);
	EXPECT(&p, 0x11, 0x2f, 0x0a, 0x2c,                              /* Buffer of 44 */
	       0x89, 0x06, 0x00, 0x0d, 0x01, 0x11, 0x00, 0x00, 0x00,    /* level, low, shared */
	       0x89, 0x06, 0x00, 0x03, 0x01, 0x05, 0x00, 0x00, 0x00,    /* edge, high, exclusive */
	       0x86, 0x09, 0x00, 0x01, 0, 0, 0, 0xd0, 0x00, 0x02, 0, 0, /* ReadWrite */
	       0x86, 0x09, 0x00, 0x00, 0, 0x10, 0, 0xd0, 0x00, 0x10, 0, 0, 0x79, 0x00);
}

static void windows(void **state)
{
	struct page p;
	struct aml *a = fresh(&p);

	(void)state;
	aml_bus_window(a, 0, 0);
	EXPECT(&p, 0x88, 0x0d, 0, 2, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0);
	aml_bus_window(fresh(&p), 1, 255);
	EXPECT(&p, 0x88, 0x0d, 0, 2, 0x0c, 0, 0, 0, 1, 0, 255, 0, 0, 0, 255, 0);
	aml_io_window(fresh(&p), 0xd00, 0xf300);
	EXPECT(&p, 0x88, 0x0d, 0, 1, 0x0c, 3, 0, 0, 0x00, 0x0d, 0xff, 0xff, 0, 0, 0x00, 0xf3);
	aml_memory_window(fresh(&p), 0xe1000000, 0x1f000000);
	EXPECT(&p, 0x87, 0x17, 0, 0, 0x0c, 1, 0, 0, 0, 0,         /* granularity */
	       0, 0, 0, 0xe1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, /* up to 4 GiB */
	       0, 0, 0, 0x1f);
	aml_memory_window(fresh(&p), UINT64_C(0x100000000), UINT64_C(0x1000000000));
	EXPECT(&p, 0x8a, 0x2b, 0, 0, 0x0c, 1, 0, 0, 0, 0, 0, 0, 0, 0, /* granularity */
	       0, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	       0, 0, 0, 0, 0, 0x10, 0, 0, 0);
	/* One byte past 4 GiB. */
	aml_memory_window(fresh(&p), 0xe1000000, 0x1f000001);
	assert_int_equal(p.buf[0], 0x8a);
}

static void statements(void **state)
{
	struct page p;
	struct aml *a = fresh(&p);

	(void)state;
	aml_method(a, "\\_PIC", 1, false);
	aml_store_argument(a, 0, "\\PICM");
	aml_end(a);
	aml_if(a, "\\PICM");
	aml_return_path(a, "^A");
	aml_end(a);
	aml_store_argument(a, 6, "B");
	EXPECT(&p, 0x14, 0x0e, '\\', '_', 'P', 'I', 'C', 0x01,                      /* Method */
	       0x70, 0x68, '\\', 'P', 'I', 'C', 'M',                                /* Store */
	       0xa0, 0x0c, '\\', 'P', 'I', 'C', 'M', 0xa4, '^', 'A', '_', '_', '_', /* If */
	       0x70, 0x6e, 'B', '_', '_', '_');
}

static void bounds(void **state)
{
	struct page p;
	struct aml *a = fresh(&p);

	(void)state;
	/* Whatever the room, it is never passed, and the end says that it was too little. */
	for (size_t room = 0; room < 16; room++) {
		memset(p.buf, 0xee, sizeof(p.buf));
		aml_init(a, p.buf, room);
		aml_scope(a, "\\_SB");
		aml_resources(a);
		aml_irq(a, 3);
		aml_end(a);
		aml_end(a);
		/* 1 + 1 + 5 for the scope, 1 + 1 + 2 + 5 for the buffer: 16 bytes. */
		assert_int_equal(aml_finish(a), -ENOSPC);
		assert_int_equal(p.buf[room], 0xee);
	}
	aml_init(a, p.buf, 16);
	aml_scope(a, "\\_SB");
	aml_resources(a);
	aml_irq(a, 3);
	aml_end(a);
	aml_end(a);
	assert_int_equal(aml_finish(a), 16);

	a = fresh(&p);
	for (int i = 0; i <= AML_DEPTH_MAX; i++)
		aml_device(a, "DEEP");
	for (int i = 0; i <= AML_DEPTH_MAX; i++)
		aml_end(a);
	assert_int_equal(aml_finish(a), -ENOSPC);
}

static void fixed_hardware(void **state)
{
	struct page p;
	struct aml *a = fresh(&p);

	(void)state;
	assert_int_equal(a->fixed_count, 0);
	aml_fixed_hardware(a, &(struct acpi_fixed){.pm1_event = 0x600, .sci = 9});
	assert_int_equal(a->fixed_count, 1);
	assert_int_equal(a->fixed.pm1_event, 0x600);
	assert_int_equal(a->fixed.sci, 9);
	assert_int_equal(aml_finish(a), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(integers),        cmocka_unit_test(names),
		cmocka_unit_test(strings_and_ids), cmocka_unit_test(objects),
		cmocka_unit_test(packages),        cmocka_unit_test(lengths),
		cmocka_unit_test(resources),       cmocka_unit_test(bounds),
		cmocka_unit_test(fixed_hardware),  cmocka_unit_test(windows),
		cmocka_unit_test(statements),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
