/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/cm.h"

#include "skep/bits.h"
#include "skep/clock.h"

static void units_are_64_bits_wide(void **state)
{
	(void)state;
	assert_int_equal(KIB(4), 4096);
	assert_int_equal(MIB(1), 1048576);
	assert_true(GIB(4) == UINT64_C(0x100000000));
	assert_true(bit64(0) == 1);
	assert_true(bit64(63) == UINT64_C(0x8000000000000000));
	assert_true(ones(1) == 0xff);
	assert_true(ones(3) == 0xffffff);
	assert_true(ones(8) == UINT64_MAX);
}

static unsigned int next(unsigned int *n)
{
	return (*n)++;
}

static void macros_evaluate_once(void **state)
{
	unsigned int a = 1, b = 5;

	(void)state;
	assert_int_equal(MIN(next(&a), next(&b)), 1);
	assert_int_equal(a, 2);
	assert_int_equal(b, 6);
	assert_int_equal(MAX(next(&a), next(&b)), 6);
	assert_int_equal(a, 3);
	assert_int_equal(b, 7);
	assert_int_equal(MIN(-1, 1), -1);
}

static void powers_of_two(void **state)
{
	(void)state;
	assert_false(is_power_of_two(0));
	assert_true(is_power_of_two(1));
	assert_false(is_power_of_two(3));
	assert_true(is_power_of_two(bit64(63)));
	assert_false(is_power_of_two(UINT64_MAX));
}

static void alignment(void **state)
{
	(void)state;
	assert_true(align_up(0, 4096) == 0);
	assert_true(align_up(1, 4096) == 4096);
	assert_true(align_up(4096, 4096) == 4096);
	assert_true(align_up(UINT64_MAX - 4095, 4096) == UINT64_MAX - 4095);
	assert_true(align_down(4095, 4096) == 0);
	assert_true(align_down(UINT64_MAX, 4096) == UINT64_MAX - 4095);
	assert_true(align_up(5, 1) == 5);
}

static void a_range_fits_or_does_not_and_never_wraps(void **state)
{
	(void)state;
	assert_true(range_fits(0, 10, 10));
	assert_true(range_fits(10, 0, 10));
	assert_false(range_fits(11, 0, 10));
	assert_false(range_fits(1, 10, 10));
	assert_false(range_fits(UINT64_MAX, 2, 10));
	assert_false(range_fits(2, UINT64_MAX, 10));
	assert_false(range_fits(2, UINT64_MAX - 1, UINT64_MAX));
	assert_true(range_fits(0, UINT64_MAX, UINT64_MAX));
	assert_true(range_fits(UINT64_MAX, 0, UINT64_MAX));
	assert_false(range_fits(UINT64_MAX, 1, UINT64_MAX));
}

static void ranges_overlap_by_a_byte_or_not_at_all(void **state)
{
	(void)state;
	assert_true(ranges_overlap(0, 10, 9, 1));
	assert_true(ranges_overlap(9, 1, 0, 10));
	assert_true(ranges_overlap(4, 1, 0, 10));
	assert_true(ranges_overlap(3, 3, 3, 3));
	assert_false(ranges_overlap(0, 10, 10, 1));
	assert_false(ranges_overlap(10, 1, 0, 10));
	assert_false(ranges_overlap(5, 0, 0, 10));
	assert_false(ranges_overlap(0, 10, 5, 0));
	assert_false(ranges_overlap(5, 0, 5, 0));
	assert_true(ranges_overlap(UINT64_MAX - 1, 2, UINT64_MAX, 1));
	assert_false(ranges_overlap(UINT64_MAX - 1, 2, 0, 1));
	assert_true(ranges_overlap(0, UINT64_MAX, UINT64_MAX - 1, 2));
}

static void little_endian_wherever_it_stands(void **state)
{
	uint8_t buf[16] = {0};

	(void)state;
	for (unsigned int at = 0; at < 8; at++) {
		store_le16(buf + at, 0x1234);
		assert_int_equal(buf[at], 0x34);
		assert_int_equal(load_le16(buf + at), 0x1234);
		store_le32(buf + at, 0x12345678);
		assert_int_equal(buf[at], 0x78);
		assert_int_equal(load_le32(buf + at), 0x12345678);
		store_le64(buf + at, UINT64_C(0x123456789abcdef0));
		assert_int_equal(buf[at], 0xf0);
		assert_int_equal(buf[at + 7], 0x12);
		assert_true(load_le64(buf + at) == UINT64_C(0x123456789abcdef0));
	}
}

static void the_container_of_a_member(void **state)
{
	struct {
		int before;
		int member;
	} s;

	(void)state;
	assert_ptr_equal(container_of(&s.member, __typeof__(s), member), &s);
	assert_int_equal(ARRAY_SIZE(((int[7]){0})), 7);
}

static void the_clock_goes_forward_and_converts(void **state)
{
	struct timespec t = clock_timespec(3 * NS_PER_S + 4);
	uint64_t then = clock_now();

	(void)state;
	assert_true(clock_now() >= then);
	assert_int_equal(t.tv_sec, 3);
	assert_int_equal(t.tv_nsec, 4);
	t = clock_timespec(UINT64_MAX);
	assert_true(t.tv_sec > 0);
	assert_true(t.tv_nsec < (long)NS_PER_S);
	assert_true(NS_PER_MS == 1000 * NS_PER_US && NS_PER_S == 1000 * NS_PER_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(units_are_64_bits_wide),
		cmocka_unit_test(macros_evaluate_once),
		cmocka_unit_test(powers_of_two),
		cmocka_unit_test(alignment),
		cmocka_unit_test(a_range_fits_or_does_not_and_never_wraps),
		cmocka_unit_test(ranges_overlap_by_a_byte_or_not_at_all),
		cmocka_unit_test(little_endian_wherever_it_stands),
		cmocka_unit_test(the_container_of_a_member),
		cmocka_unit_test(the_clock_goes_forward_and_converts),
	};

	return cmocka_run_group_tests_name("bits", tests, NULL, NULL);
}
