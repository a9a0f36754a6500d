/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The SMBIOS structures as a kernel finds and walks them, and by their bytes against
 * tests/golden/smbios. SKEP_UPDATE_GOLDEN=1 writes the golden files anew.
 */
#include "support/cm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/smbios.h"
#include "skep/topology.h"
#include "support/golden.h"

struct bench {
	struct gmem *mem;
	struct topology t;
	uint8_t area[0x10000]; /* F0000h to FFFFFh */
	const uint8_t *table;
	size_t len;
	unsigned int structures;
	size_t largest;
};

static unsigned int sum(const uint8_t *p, size_t len)
{
	unsigned int s = 0;

	while (len--)
		s += *p++;
	return s & 0xff;
}

/* The only paragraph that starts with @anchor. */
static const uint8_t *find(const struct bench *b, const char *anchor)
{
	const uint8_t *found = NULL;

	for (size_t i = 0; i < sizeof(b->area); i += 16) {
		if (memcmp(b->area + i, anchor, strlen(anchor)))
			continue;
		assert_null(found);
		found = b->area + i;
	}
	assert_non_null(found);
	return found;
}

/* Behind the strings of the structure at @s. */
static const uint8_t *next(const struct bench *b, const uint8_t *s)
{
	const uint8_t *end = b->table + b->len, *p = s + s[1];

	assert_true(s + 4 <= end && s[1] >= 4 && p + 2 <= end);
	while (p[0] || p[1]) {
		p++;
		assert_true(p + 2 <= end);
	}
	return p + 2;
}

/* The @nth structure of @type, or NULL. */
static const uint8_t *get(const struct bench *b, unsigned int type, unsigned int nth)
{
	for (const uint8_t *s = b->table; s < b->table + b->len; s = next(b, s))
		if (*s == type && !nth--)
			return s;
	return NULL;
}

/* The string whose number the byte at @offset of @s has. */
static const char *string(const uint8_t *s, size_t offset)
{
	const char *p = (const char *)s + s[1];

	assert_true(offset < s[1] && s[offset]);
	for (unsigned int i = 1; i < s[offset]; i++) {
		assert_true(*p != 0);
		p += strlen(p) + 1;
	}
	assert_true(*p != 0);
	return p;
}

static void walk(struct bench *b)
{
	uint16_t handles[1024] = {0};
	const uint8_t *s = b->table;

	while (s < b->table + b->len) {
		const uint8_t *end = next(b, s);

		assert_true(b->structures < ARRAY_SIZE(handles));
		for (unsigned int i = 0; i < b->structures; i++)
			assert_int_not_equal(handles[i], load_le16(s + 2));
		handles[b->structures++] = load_le16(s + 2);
		b->largest = MAX(b->largest, (size_t)(end - s));
		/* The end of the table is the last structure. */
		assert_int_equal(*s == 127, end == b->table + b->len);
		s = end;
	}
	assert_ptr_equal(s, b->table + b->len);
}

static void build(struct bench *b, const struct topology_options *o, uint64_t memory)
{
	struct smbios_request req = {.topology = &b->t, .version = "1.2.3"};
	const uint8_t *e;
	struct err err;

	memset(b, 0, sizeof(*b));
	assert_int_equal(topology_init(&b->t, o, &err), 0);
	assert_int_equal(gmem_create(&b->mem, &(struct gmem_options){.size = memory}, &err), 0);
	req.mem = b->mem;
	if (smbios_build(&req, &err))
		fail_msg("%s", err.text);
	assert_int_equal(gmem_read(b->mem, 0xf0000, b->area, sizeof(b->area)), 0);
	e = find(b, "_SM3_");
	assert_true(load_le64(e + 16) >= SMBIOS_AREA);
	b->table = b->area + (load_le64(e + 16) - 0xf0000);
	b->len = load_le32(e + 12);
	assert_true(load_le64(e + 16) + b->len <= SMBIOS_AREA + SMBIOS_AREA_LEN);
	walk(b);
}

static void build_plain(struct bench *b, uint64_t memory)
{
	build(b, &(struct topology_options){.count = 1}, memory);
}

static void finish(struct bench *b)
{
	gmem_destroy(b->mem);
}

static void entry_points(void **state)
{
	struct bench b;
	const uint8_t *e;

	(void)state;
	build_plain(&b, MIB(64));
	e = find(&b, "_SM3_");
	assert_int_equal(e[6], 24);
	assert_int_equal(sum(e, 24), 0);
	assert_memory_equal(e + 7, "\x03\0\0\x01\0", 5);
	e = find(&b, "_SM_");
	assert_int_equal(e[5], 31);
	assert_int_equal(sum(e, 31), 0);
	assert_memory_equal(e + 6, "\x02\x08", 2);
	assert_int_equal(load_le16(e + 8), b.largest);
	assert_memory_equal(e + 10, "\0\0\0\0\0\0_DMI_", 11);
	assert_int_equal(sum(e + 16, 15), 0);
	assert_int_equal(load_le16(e + 22), b.len);
	assert_int_equal(load_le32(e + 24), 0xf0000 + (b.table - b.area));
	assert_int_equal(load_le16(e + 28), b.structures);
	assert_int_equal(e[30], 0x28);
	finish(&b);
}

static void the_machine(void **state)
{
	struct bench b;
	const uint8_t *s;

	(void)state;
	build_plain(&b, MIB(64));
	s = get(&b, 0, 0);
	assert_int_equal(s[1], 0x18);
	assert_string_equal(string(s, 4), "skep");
	assert_string_equal(string(s, 5), "1.2.3");
	assert_string_equal(string(s, 8), "01/01/2025");
	/* No characteristics but that this is a virtual machine with ACPI. */
	assert_memory_equal(s + 10, "\x08\0\0\0\0\0\0\0\x01\x10", 10);
	s = get(&b, 1, 0);
	assert_int_equal(s[1], 0x1b);
	assert_string_equal(string(s, 4), "skep");
	assert_string_equal(string(s, 5), "virtual machine");
	assert_string_equal(string(s, 6), "1.2.3");
	assert_int_equal(s[7], 0);
	s = get(&b, 3, 0);
	assert_int_equal(s[1], 0x16);
	assert_string_equal(string(s, 4), "skep");
	assert_non_null(get(&b, 32, 0));
	assert_int_equal(get(&b, 32, 0)[10], 0);
	assert_int_equal(get(&b, 127, 0)[1], 4);
	finish(&b);
}

static void processors(void **state)
{
	struct bench b;
	const uint8_t *s;

	(void)state;
	build(&b, &(struct topology_options){.sockets = 2, .cores = 3, .threads = 2}, MIB(64));
	s = get(&b, 4, 1);
	assert_int_equal(s[1], 0x30);
	assert_string_equal(string(s, 4), "CPU 1");
	assert_string_equal(string(s, 7), "skep");
	assert_int_equal(s[0x18], 0x41);
	assert_memory_equal(s + 0x1a, "\xff\xff\xff\xff\xff\xff", 6);
	assert_memory_equal(s + 0x23, "\x03\x03\x06", 3);
	assert_int_equal(load_le16(s + 0x26), 1 << 2 | 1 << 3 | 1 << 4);
	assert_memory_equal(s + 0x2a, "\x03\0\x03\0\x06", 6);
	assert_null(get(&b, 4, 2));
	finish(&b);
	build_plain(&b, MIB(64));
	s = get(&b, 4, 0);
	assert_string_equal(string(s, 4), "CPU 0");
	assert_memory_equal(s + 0x23, "\x01\x01\x01", 3);
	assert_int_equal(load_le16(s + 0x26), 1 << 2);
	assert_null(get(&b, 4, 1));
	finish(&b);
}

static void assert_memory(const struct bench *b, uint64_t size)
{
	const uint8_t *array = get(b, 16, 0), *device = get(b, 17, 0);
	const struct gmem_region *regions;
	unsigned int count = gmem_regions(b->mem, &regions);
	uint32_t kib = load_le32(array + 7);
	uint16_t mib = load_le16(device + 0xc);

	assert_int_equal(array[1], 0x17);
	assert_true((kib == 0x80000000 ? load_le64(array + 0xf) : (uint64_t)kib << 10) == size);
	assert_int_equal(load_le16(array + 0xd), 1);
	assert_null(get(b, 16, 1));

	assert_int_equal(device[1], 0x28);
	assert_int_equal(load_le16(device + 4), load_le16(array + 2));
	assert_true((mib == 0x7fff ? load_le32(device + 0x1c) : mib) == size >> 20);
	assert_string_equal(string(device, 0x10), "DIMM 0");
	assert_null(get(b, 17, 1));

	for (unsigned int i = 0; i < count; i++) {
		const uint8_t *s = get(b, 19, i);
		uint64_t first = load_le32(s + 4), last = load_le32(s + 8);

		assert_int_equal(s[1], 0x1f);
		assert_int_equal(load_le16(s + 0xc), load_le16(array + 2));
		assert_int_equal(s[0xe], 1);
		if (first == UINT32_MAX) {
			first = load_le64(s + 0xf);
			last = load_le64(s + 0x17);
		} else {
			first <<= 10;
			last = (last << 10) + 1023;
			assert_true(!load_le64(s + 0xf) && !load_le64(s + 0x17));
		}
		assert_true(first == regions[i].gpa);
		assert_true(last == regions[i].gpa + regions[i].size - 1);
	}
	assert_null(get(b, 19, count));
}

static void memory(void **state)
{
	static const uint64_t sizes[] = {MIB(1),
					 MIB(512) + KIB(4),
					 GMEM_HOLE_START,
					 GMEM_HOLE_START + KIB(4),
					 GIB(8),
					 GIB(32) - MIB(2),
					 GIB(32) - MIB(1),
					 GIB(32),
					 GIB(2048) - MIB(1),
					 GIB(2048),
					 GIB(4095),
					 GIB(4096),
					 GIB(8192)};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct bench b;

		if (sizes[i] > TEST_MEMORY_MOST)
			continue;
		build_plain(&b, sizes[i]);
		assert_memory(&b, sizes[i]);
		finish(&b);
	}
}

/* As many sockets as there can be, and not a byte outside the area. */
static void many_sockets(void **state)
{
	struct bench b;

	(void)state;
	build(&b, &(struct topology_options){.sockets = 254}, MIB(64));
	assert_string_equal(string(get(&b, 4, 253), 4), "CPU 253");
	for (size_t i = 0; i < sizeof(b.area); i++)
		if (i < SMBIOS_AREA - 0xf0000 || i >= SMBIOS_AREA - 0xf0000 + SMBIOS_AREA_LEN)
			assert_int_equal(b.area[i], 0);
	finish(&b);
}

static void too_much_is_refused(void **state)
{
	static const struct topology t = {.cpus = 2000, .sockets = 2000, .cores = 1, .threads = 1};
	struct smbios_request req = {.topology = &t, .version = "1"};
	struct gmem *mem;
	struct err err;
	uint8_t b[16];

	(void)state;
	assert_int_equal(gmem_create(&mem, &(struct gmem_options){.size = MIB(1)}, &err), 0);
	req.mem = mem;
	assert_int_equal(smbios_build(&req, &err), -ENOSPC);
	assert_string_equal(err.text, "SMBIOS structures of 2000 sockets do not fit into 48 KiB");
	/* Nothing is left where a guest could find it. */
	assert_int_equal(gmem_read(mem, SMBIOS_AREA, b, sizeof(b)), 0);
	assert_int_equal(b[0], 0);
	gmem_destroy(mem);
}

static void golden(const char *name, const struct topology_options *o, uint64_t memory_size)
{
	char *path, *is = NULL;
	size_t start = SMBIOS_AREA - 0xf0000, len, room = 0;
	struct bench b;
	FILE *f;

	build(&b, o, memory_size);
	f = open_memstream(&is, &room);
	assert_non_null(f);
	len = (size_t)(b.table - b.area) + b.len - start;
	for (size_t i = 0; i < len; i++)
		fprintf(f, "%02x%c", b.area[start + i], i % 16 == 15 || i == len - 1 ? '\n' : ' ');
	fclose(f);
	path = golden_path("smbios/%s.txt", name);
	golden_compare(path, is);
	free(path);
	free(is);
	finish(&b);
}

static void golden_small(void **state)
{
	(void)state;
	golden("small", &(struct topology_options){.count = 1}, MIB(512));
}

static void golden_large(void **state)
{
	(void)state;
	golden("large", &(struct topology_options){.sockets = 2, .cores = 3, .threads = 2},
	       GIB(40));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entry_points), cmocka_unit_test(the_machine),
		cmocka_unit_test(processors),   cmocka_unit_test(memory),
		cmocka_unit_test(many_sockets), cmocka_unit_test(too_much_is_refused),
		cmocka_unit_test(golden_small), cmocka_unit_test(golden_large),
	};

	return cmocka_run_group_tests_name("smbios", tests, NULL, NULL);
}
