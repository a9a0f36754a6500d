/* SPDX-License-Identifier: BSD-2-Clause */
/* What tools/prove has to find: each of these is wrong for some values. And one that is right. */
#include <string.h>

#include "proof.h"

struct pair {
	uint16_t a, b;
};

static uint32_t count(uint32_t n)
{
	uint32_t i = 0;

	while (i < n)
		i++;
	return i;
}

bool invariant_count(uint32_t i, uint32_t n);
bool invariant_count(uint32_t i, uint32_t n)
{
	return i <= n;
}

static uint32_t count_two(uint32_t n)
{
	uint32_t i = 0;

	while (i < n)
		i += 2;
	return i;
}

bool invariant_count_two(uint32_t i, uint32_t n);
bool invariant_count_two(uint32_t i, uint32_t n)
{
	return i <= n;
}

static uint32_t count_without(uint32_t n)
{
	uint32_t i = 0;

	while (i < n)
		i++;
	return i;
}

void proof_that_a_loop_of_any_length_is_understood(void)
{
	const uint32_t n = any_u32();

	claim(count(n) == n);
}

void proof_that_copies_and_parts_of_numbers_are_understood(void)
{
	const uint32_t v = any_u32();
	struct pair p, q;

	memcpy(&p, &v, sizeof(p));
	q = p;
	claim(q.a == (uint16_t)v && q.b == v >> 16);
	q.a++;
	claim(p.b == q.b && (uint16_t)(p.a + 1) == q.a);
}

void false_claim(void)
{
	const uint16_t v = any_u16();

	claim(v != 54321);
}

void false_claim_that_two_reads_of_a_guest_are_the_same(void)
{
	const uint16_t *v = any_memory(2);

	claim(*v == *v);
}

void false_claim_behind_a_loop(void)
{
	const uint32_t n = any_u32();

	claim(count(n) != 77777);
}

void false_invariant(void)
{
	claim(count_two(any_u32()) < 0x80000000);
}

void false_bound_of_a_loop(void)
{
	claim(count_without(any_u32()) == 0);
}

void false_access_behind_the_end(void)
{
	const uint64_t n = any_u64();
	uint8_t *p = any_memory(n);

	assume(n && n < 1000);
	p[n - 1] = 0;
	p[n] = 0;
}

void false_access_before_the_start(void)
{
	uint16_t *p = any_memory(16);

	p[(int)any_u16() - 1] = 0;
}

void false_access_of_an_array(void)
{
	uint16_t room[4] = {0};
	uint16_t *p = room;

	p[4] = 1;
}

void false_alignment_of_an_atomic(void)
{
	__atomic_store_n((uint32_t *)any_memory(16), 1, __ATOMIC_RELAXED);
}

void false_sum(void)
{
	claim((int)any_u32() + 1 != 0 || true);
}

void false_shift(void)
{
	claim((1u << any_u16()) != 0 || true);
}

void false_assumption(void)
{
	const uint16_t v = any_u16();

	assume(v > 5);
	assume(v < 3);
	claim(v == 4);
}
