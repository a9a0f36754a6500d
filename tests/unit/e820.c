/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/cm.h"

#include <stdlib.h>

#include "skep/bits.h"
#include "skep/e820.h"
#include "skep/err.h"
#include "skep/gmem.h"

static void assert_entry(const struct e820 *map, unsigned int i, uint64_t gpa, uint64_t end,
			 enum e820_type type)
{
	assert_in_range(i, 0, map->count - 1);
	assert_int_equal(map->entries[i].gpa, gpa);
	assert_int_equal(map->entries[i].gpa + map->entries[i].len, end);
	assert_int_equal(map->entries[i].type, type);
}

static void test_small_pc(void **state)
{
	const struct gmem_region ram = {.gpa = 0, .size = MIB(64)};
	struct e820 map;

	(void)state;
	assert_int_equal(e820_build(&map, &ram, 1, NULL), 0);
	assert_int_equal(map.count, 3);
	assert_entry(&map, 0, 0, 0x9fc00, E820_RAM);
	assert_entry(&map, 1, 0x9fc00, 0x100000, E820_RESERVED);
	assert_entry(&map, 2, 0x100000, MIB(64), E820_RAM);
	assert_int_equal(e820_ram_end(&map, GMEM_HOLE_END), MIB(64));
	assert_int_equal(e820_ram_end(&map, MIB(32)), MIB(32));
	assert_int_equal(e820_ram_end(&map, 0xa0000), 0x9fc00);
}

static void test_least_pc(void **state)
{
	const struct gmem_region ram = {.gpa = 0, .size = MIB(1)};
	struct e820 map;

	(void)state;
	assert_int_equal(e820_build(&map, &ram, 1, NULL), 0);
	assert_int_equal(map.count, 2);
	assert_entry(&map, 1, 0x9fc00, 0x100000, E820_RESERVED);
}

static void test_large_pc(void **state)
{
	const struct gmem_region ram[] = {
		{.gpa = 0, .size = GMEM_HOLE_START},
		{.gpa = GMEM_HOLE_END, .size = GIB(5)},
	};
	struct e820 map;

	(void)state;
	assert_int_equal(e820_build(&map, ram, 2, NULL), 0);
	assert_int_equal(map.count, 4);
	assert_entry(&map, 2, 0x100000, GMEM_HOLE_START, E820_RAM);
	assert_entry(&map, 3, GMEM_HOLE_END, GIB(9), E820_RAM);
	assert_int_equal(e820_ram_end(&map, GMEM_HOLE_END), GMEM_HOLE_START);
	assert_int_equal(e820_ram_end(&map, UINT64_MAX), GIB(9));
	assert_true(e820_is(&map, MIB(1), GMEM_HOLE_START - MIB(1), E820_RAM));
	assert_false(e820_is(&map, MIB(1), GMEM_HOLE_START, E820_RAM));
	assert_false(e820_is(&map, GMEM_HOLE_START, 1, E820_RAM));
}

/* RAM that comes in two regions side by side is one range. */
static void test_regions_merge(void **state)
{
	const struct gmem_region ram[] = {
		{.gpa = MIB(8), .size = MIB(8)},
		{.gpa = 0, .size = MIB(8)},
	};
	struct e820 map;

	(void)state;
	assert_int_equal(e820_build(&map, ram, 2, NULL), 0);
	assert_int_equal(map.count, 3);
	assert_entry(&map, 2, 0x100000, MIB(16), E820_RAM);
}

static void test_bad_ranges(void **state)
{
	struct e820 map = {.count = 0};
	struct err err;

	(void)state;
	assert_int_equal(e820_set(&map, 0x1000, 0, E820_RAM, &err), -EINVAL);
	assert_int_equal(e820_set(&map, UINT64_MAX, 2, E820_RAM, &err), -EINVAL);
	assert_int_equal(e820_set(&map, 1, UINT64_MAX, E820_RAM, &err), -EINVAL);
	assert_non_null(strstr(err.text, "no range of addresses"));
	assert_int_equal(map.count, 0);
	assert_int_equal(e820_set(&map, 0, UINT64_MAX, E820_RAM, &err), 0);
	assert_entry(&map, 0, 0, UINT64_MAX, E820_RAM);
	assert_false(e820_is(&map, 0, 0, E820_RAM));
	assert_false(e820_is(&map, 2, UINT64_MAX, E820_RAM));
}

static void test_full(void **state)
{
	struct e820 map = {.count = 0}, before;
	struct err err;

	(void)state;
	for (unsigned int i = 0; i < E820_MAX; i++)
		assert_int_equal(e820_set(&map, i * KIB(8), KIB(4), E820_RAM, &err), 0);
	assert_int_equal(map.count, E820_MAX);
	before = map;
	assert_int_equal(e820_set(&map, GIB(1), KIB(4), E820_RAM, &err), -ENOSPC);
	assert_int_equal(e820_set(&map, KIB(1), KIB(1), E820_NVS, &err), -ENOSPC);
	assert_memory_equal(&map, &before, sizeof(map));
	/* What does not need another entry still goes. */
	assert_int_equal(e820_set(&map, KIB(4), KIB(4), E820_RAM, &err), 0);
	assert_int_equal(map.count, E820_MAX - 1);
}

static void test_names(void **state)
{
	(void)state;
	assert_string_equal(e820_type_name(E820_RAM), "RAM");
	assert_string_equal(e820_type_name(E820_ACPI), "ACPI tables");
	assert_string_equal(e820_type_name(0), "unknown");
	assert_string_equal(e820_type_name(99), "unknown");
}

#define UNITS 96

static void assert_matches(const struct e820 *map, const uint8_t *model)
{
	uint64_t last = 0;

	for (unsigned int i = 0; i < map->count; i++) {
		const struct e820_entry *e = &map->entries[i];

		assert_true(e->len > 0);
		assert_true(e->gpa >= last);
		assert_false(i && e->gpa == last && e[-1].type == e->type);
		last = e->gpa + e->len;
	}
	for (unsigned int u = 0; u < UNITS; u++)
		for (unsigned int type = 1; type <= E820_UNUSABLE; type++)
			assert_int_equal(e820_is(map, u, 1, type), model[u] == type);
}

/* Any sequence of settings leaves what a plain array of types would hold. */
static void test_against_model(void **state)
{
	unsigned int seed = 2006;

	(void)state;
	for (unsigned int round = 0; round < 200; round++) {
		struct e820 map = {.count = 0};
		uint8_t model[UNITS] = {0};

		for (unsigned int step = 0; step < 30; step++) {
			unsigned int at = (unsigned int)rand_r(&seed) % UNITS;
			unsigned int len = 1 + (unsigned int)rand_r(&seed) % (UNITS - at);
			unsigned int type = 1 + (unsigned int)rand_r(&seed) % E820_UNUSABLE;

			len = 1 + len % 24;
			len = MIN(len, UNITS - at);
			assert_int_equal(e820_set(&map, at, len, type, NULL), 0);
			memset(model + at, (int)type, len);
			assert_matches(&map, model);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small_pc),   cmocka_unit_test(test_least_pc),
		cmocka_unit_test(test_large_pc),   cmocka_unit_test(test_regions_merge),
		cmocka_unit_test(test_bad_ranges), cmocka_unit_test(test_full),
		cmocka_unit_test(test_names),      cmocka_unit_test(test_against_model),
	};

	return cmocka_run_group_tests_name("e820", tests, NULL, NULL);
}
