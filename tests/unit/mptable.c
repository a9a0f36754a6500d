/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The MP table as a kernel finds and walks it, and by its bytes against tests/golden/mptable.
 * SKEP_UPDATE_GOLDEN=1 writes the golden files anew.
 */
#include "support/cm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/mptable.h"
#include "skep/topology.h"
#include "support/golden.h"

#define LAPIC  0xfee00000U
#define IOAPIC 0xfec00000U

struct bench {
	struct gmem *mem;
	struct topology t;
	uint8_t area[0x10000]; /* F0000h to FFFFFh */
	const uint8_t *table;
	unsigned int counts[5]; /* entries by type */
};

static unsigned int sum(const uint8_t *p, size_t len)
{
	unsigned int s = 0;

	while (len--)
		s += *p++;
	return s & 0xff;
}

/* The floating pointer, as a kernel looks for it: the only one. */
static const uint8_t *find(const struct bench *b)
{
	const uint8_t *found = NULL;

	for (size_t i = 0; i < sizeof(b->area); i += 16) {
		if (memcmp(b->area + i, "_MP_", 4))
			continue;
		assert_null(found);
		found = b->area + i;
	}
	assert_non_null(found);
	return found;
}

/* Bytes of an entry of @type, by table 4-3. */
static size_t entry_len(unsigned int type)
{
	assert_true(type < 5);
	return type ? 8 : 20;
}

/* The @nth entry of @type, or NULL. */
static const uint8_t *entry(const struct bench *b, unsigned int type, unsigned int nth)
{
	const uint8_t *p = b->table + 44, *end = b->table + load_le16(b->table + 4);

	for (; p < end; p += entry_len(*p))
		if (*p == type && !nth--)
			return p;
	assert_ptr_equal(p, end);
	return NULL;
}

static void build_with(struct bench *b, unsigned int sockets, unsigned int cores,
		       unsigned int threads, bool pci)
{
	const struct topology_options o = {.sockets = sockets, .cores = cores, .threads = threads};
	struct mptable_request req = {.topology = &b->t, .lapic = LAPIC, .ioapic = IOAPIC};
	unsigned int last = 0;
	const uint8_t *mp;
	struct err err;
	uint32_t at;

	memset(b, 0, sizeof(*b));
	assert_int_equal(topology_init(&b->t, &o, &err), 0);
	assert_int_equal(gmem_create(&b->mem, &(struct gmem_options){.size = MIB(1)}, &err), 0);
	req.mem = b->mem;
	req.pci = pci;
	assert_int_equal(mptable_build(&req, &err), 0);
	assert_int_equal(gmem_read(b->mem, 0xf0000, b->area, sizeof(b->area)), 0);

	mp = find(b);
	assert_int_equal(sum(mp, 16), 0);
	at = load_le32(mp + 4);
	assert_true(at >= MPTABLE_AREA && at + 44 <= MPTABLE_AREA + MPTABLE_AREA_LEN);
	b->table = b->area + (at - 0xf0000);
	assert_true(at + load_le16(b->table + 4) <= MPTABLE_AREA + MPTABLE_AREA_LEN);
	assert_int_equal(sum(b->table, load_le16(b->table + 4)), 0);
	for (const uint8_t *p = b->table + 44; p < b->table + load_le16(b->table + 4);
	     p += entry_len(*p)) {
		assert_true(*p >= last);
		last = *p;
		b->counts[*p]++;
	}
}

static void build(struct bench *b, unsigned int sockets, unsigned int cores, unsigned int threads)
{
	build_with(b, sockets, cores, threads, false);
}

static void finish(struct bench *b)
{
	gmem_destroy(b->mem);
}

static void header(void **state)
{
	struct bench b;
	const uint8_t *mp;

	(void)state;
	build(&b, 1, 1, 1);
	mp = find(&b);
	/* One paragraph, 1.4, a table, virtual wire mode. */
	assert_memory_equal(mp + 8, "\x01\x04", 2);
	assert_memory_equal(mp + 11, "\0\0\0\0\0", 5);
	assert_memory_equal(b.table, "PCMP", 4);
	assert_int_equal(b.table[6], 4);
	assert_memory_equal(b.table + 8, "SKEP    MACHINE     \0\0\0\0\0\0", 26);
	assert_int_equal(load_le16(b.table + 34), 1 + 1 + 1 + 15 + 2);
	assert_int_equal(load_le32(b.table + 36), LAPIC);
	assert_int_equal(load_le32(b.table + 40), 0);
	finish(&b);
}

static void processors(void **state)
{
	struct bench b;

	(void)state;
	build(&b, 2, 3, 1);
	assert_int_equal(b.counts[0], 6);
	for (unsigned int i = 0; i < 6; i++) {
		const uint8_t *p = entry(&b, 0, i);

		assert_int_equal(p[1], topology_apic_id(&b.t, i));
		assert_int_equal(p[2], 0x14);
		assert_int_equal(p[3],
				 i ? 1 : 3); /* enabled, and the first is the boot processor */
		assert_int_equal(load_le32(p + 8) & 0x201, 0x201);
	}
	assert_int_equal(entry(&b, 0, 3)[1], 4);
	finish(&b);
}

static void interrupts(void **state)
{
	struct bench b;

	(void)state;
	build(&b, 1, 2, 1);
	assert_int_equal(b.counts[1], 1);
	assert_memory_equal(entry(&b, 1, 0), "\x01\0ISA   ", 8);
	assert_int_equal(b.counts[2], 1);
	assert_memory_equal(entry(&b, 2, 0), "\x02\0\x11\x01\0\0\xc0\xfe", 8);
	assert_int_equal(b.counts[3], 15);
	for (unsigned int i = 0; i < 15; i++) {
		const uint8_t irq = (uint8_t)(i < 2 ? i : i + 1);
		const uint8_t want[] = {3, 0, 0, 0, 0, irq, 0, irq ? irq : 2};

		assert_memory_equal(entry(&b, 3, i), want, 8);
	}
	assert_int_equal(b.counts[4], 2);
	assert_memory_equal(entry(&b, 4, 0), "\x04\x03\0\0\0\0\0\0", 8);
	assert_memory_equal(entry(&b, 4, 1), "\x04\x01\0\0\0\0\xff\x01", 8);
	finish(&b);
}

/* A PCI bus has the number that it has in configuration space. */
static void pci_interrupts(void **state)
{
	struct bench b;

	(void)state;
	build_with(&b, 1, 2, 1, true);
	assert_int_equal(b.counts[1], 2);
	assert_memory_equal(entry(&b, 1, 0), "\x01\0PCI   ", 8);
	assert_memory_equal(entry(&b, 1, 1), "\x01\x01ISA   ", 8);
	assert_int_equal(b.counts[3], 15 + 32);
	for (unsigned int i = 0; i < 15; i++) {
		const uint8_t irq = (uint8_t)(i < 2 ? i : i + 1);
		const uint8_t want[] = {3, 0, 0, 0, 1, irq, 0, irq ? irq : 2};

		assert_memory_equal(entry(&b, 3, i), want, 8);
	}
	for (unsigned int slot = 0; slot < 32; slot++) {
		const uint8_t want[] = {3, 0, 0, 0, 0, (uint8_t)(slot << 2), 0, 16 + slot % 4};

		assert_memory_equal(entry(&b, 3, 15 + slot), want, 8);
	}
	assert_memory_equal(entry(&b, 4, 0), "\x04\x03\0\0\x01\0\0\0", 8);
	assert_memory_equal(entry(&b, 4, 1), "\x04\x01\0\0\x01\0\xff\x01", 8);
	finish(&b);
}

/* As many as there can be, and not a byte outside the area. */
static void many_processors(void **state)
{
	struct bench b;

	(void)state;
	build_with(&b, 2, 127, 1, true);
	assert_int_equal(b.counts[0], 254);
	assert_int_equal(entry(&b, 0, 253)[1], 254);
	for (size_t i = MPTABLE_AREA_LEN; i < sizeof(b.area); i++)
		assert_int_equal(b.area[i], 0);
	finish(&b);
}

static void golden(unsigned int sockets, unsigned int cores, unsigned int threads, bool pci)
{
	char *path, *is = NULL;
	size_t len, room = 0;
	struct bench b;
	FILE *f;

	build_with(&b, sockets, cores, threads, pci);
	f = open_memstream(&is, &room);
	assert_non_null(f);
	len = (size_t)(b.table - b.area) + load_le16(b.table + 4);
	for (size_t i = 0; i < len; i++)
		fprintf(f, "%02x%c", b.area[i], i % 16 == 15 || i == len - 1 ? '\n' : ' ');
	fclose(f);
	path = golden_path("mptable/cpus-%u.txt", b.t.cpus);
	golden_compare(path, is);
	free(path);
	free(is);
	finish(&b);
}

static void golden_1_cpu(void **state)
{
	(void)state;
	golden(1, 1, 1, false);
}

static void golden_6_cpus(void **state)
{
	(void)state;
	golden(2, 3, 1, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header),          cmocka_unit_test(processors),
		cmocka_unit_test(interrupts),      cmocka_unit_test(pci_interrupts),
		cmocka_unit_test(many_processors), cmocka_unit_test(golden_1_cpu),
		cmocka_unit_test(golden_6_cpus),
	};

	return cmocka_run_group_tests_name("mptable", tests, NULL, NULL);
}
