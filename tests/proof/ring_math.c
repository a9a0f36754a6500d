/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The arithmetic of ring indices, src/virtio/ring_math.h: for all sizes that a queue can have, and
 * whatever a driver writes. Numbers in brackets are sections of the Virtual I/O Device
 * specification 1.2.
 */
#include "../../src/virtio/ring_math.h"
#include "proof.h"

static uint16_t any_size(bool packed)
{
	const uint16_t size = any_u16();

	assume(ring_size_valid(size, packed));
	return size;
}

static uint16_t any_position(uint16_t size)
{
	const uint16_t pos = any_u16();

	assume(packed_valid(pos, size));
	return pos;
}

/* The position as a number of 0 to 2 * size - 1: the wrap counter counts rounds modulo two. */
static uint32_t linear(uint16_t pos, uint16_t size)
{
	return packed_index(pos) + (packed_wrap(pos) ? 0u : size);
}

/* Of what is less than twice as large. */
static uint32_t modulo(uint32_t v, uint32_t size)
{
	return v < size ? v : v - size;
}

/* 2.7, 2.8.10.1: 1 to 32768, and powers of two when split. */
void proof_sizes_of_queues(void)
{
	const uint32_t size = any_u32();
	bool power = false;

	for (unsigned int i = 0; i < 16; i++)
		power = power | (size == 1u << i);
	claim(ring_size_valid(size, false) == power);
	claim(ring_size_valid(size, true) == (size >= 1 && size <= 32768));
}

/* 2.7.6: the ring's entries come in turn, and there is no other. */
void proof_split_slots_are_in_the_ring_and_come_in_turn(void)
{
	const uint16_t size = any_size(false), i = any_u16();
	const uint16_t slot = split_slot(i, size), next = split_slot((uint16_t)(i + 1), size);

	claim(slot < size);
	claim(slot == i % size);
	claim(next == (slot + 1 == size ? 0 : slot + 1));
}

void proof_split_slots_of_what_is_in_flight_differ(void)
{
	const uint16_t size = any_size(false), a = any_u16(), b = any_u16();

	assume(a != b && split_distance(a, b) < size);
	claim(split_slot(a, size) != split_slot(b, size));
}

/*
 * What is taken over as the driver's index: exactly what lies between the entries that the device
 * has taken and a full ring, counted from those that it gave back (2.7.6.1, 2.7.13).
 */
void proof_split_index_is_taken_over_if_it_can_be(void)
{
	const uint16_t size = any_size(false), used = any_u16(), taken = any_u16(), idx = any_u16();
	const bool valid = split_idx_valid(idx, taken, used, size);
	const uint16_t inflight = split_distance(used, taken);

	assume(inflight <= size);
	if (valid) {
		claim(split_distance(used, idx) <= size);
		claim(split_distance(taken, idx) <= size - inflight);
	} else {
		claim(split_distance(taken, idx) > size - inflight);
	}
}

/* 2.7.7.2: whether @event is one of the entries from @before up to, without, @now. */
void proof_events_are_wanted_when_passed(void)
{
	const uint16_t before = any_u16(), n = any_u16(), event = any_u16();
	const uint16_t now = (uint16_t)(before + n), k = (uint16_t)(event - before);

	claim(ring_need_event(event, now, before) == (k < n));
}

/* An entry is announced once: by the step that passes it, wherever the steps end. */
void proof_each_event_is_passed_by_one_step_of_a_round(void)
{
	const uint16_t start = any_u16(), a = any_u16(), b = any_u16(), event = any_u16();
	const uint16_t middle = (uint16_t)(start + a), end = (uint16_t)(middle + b);
	bool first, second;

	assume((uint32_t)a + b <= UINT16_MAX);
	first = ring_need_event(event, middle, start);
	second = ring_need_event(event, end, middle);
	claim(!(first && second));
	claim((first || second) == ring_need_event(event, end, start));
}

/* 2.8.1: @n entries on; the wrap counter changes where the index starts anew. */
void proof_packed_positions_stay_in_the_ring(void)
{
	const uint16_t size = any_size(true), pos = any_position(size), n = any_u16();
	uint16_t to;

	assume(n <= size);
	to = packed_advance(pos, n, size);
	claim(packed_valid(to, size));
	claim(linear(to, size) == modulo(linear(pos, size) + n, 2u * size));
	claim(packed_wrap(to) == (packed_wrap(pos) != (packed_index(pos) + n >= size)));
}

void proof_packed_positions_go_back_as_they_came(void)
{
	const uint16_t size = any_size(true), pos = any_position(size), n = any_u16();

	assume(n <= size);
	claim(packed_retreat(packed_advance(pos, n, size), n, size) == pos);
	claim(packed_valid(packed_retreat(pos, n, size), size));
	claim(packed_advance(packed_retreat(pos, n, size), n, size) == pos);
}

void proof_packed_steps_add_up(void)
{
	const uint16_t size = any_size(true), pos = any_position(size);
	const uint16_t a = any_u16(), b = any_u16();

	assume(a <= size && b <= size - a);
	claim(packed_advance(packed_advance(pos, a, size), b, size) ==
	      packed_advance(pos, (uint16_t)(a + b), size));
}

void proof_packed_steps_back_add_up(void)
{
	const uint16_t size = any_size(true), pos = any_position(size);
	const uint16_t a = any_u16(), b = any_u16();

	assume(a <= size && b <= size - a);
	claim(packed_retreat(packed_advance(pos, a, size), (uint16_t)(a + b), size) ==
	      packed_retreat(pos, b, size));
	claim(packed_retreat(packed_advance(pos, (uint16_t)(a + b), size), b, size) ==
	      packed_advance(pos, a, size));
}

/* 2.8.1, 2.8.6: what is used is not available in the same round, nor in the next. */
void proof_packed_flags_are_available_or_used(void)
{
	const uint16_t flags = any_u16(), pos = any_u16();
	const bool avail = (flags >> 7 & 1) == pos >> 15, used = (flags >> 15 & 1) == pos >> 15;

	claim(packed_is_avail(flags, pos) == (avail && !used));
	claim(!packed_is_avail(packed_used_flags(pos, any_bool()), pos));
	claim(!packed_is_avail(packed_used_flags(pos, any_bool()), pos ^ PACKED_WRAP));
}

void proof_packed_flags_say_the_round_and_what_was_written(void)
{
	const uint16_t pos = any_u16();
	const bool written = any_bool();
	const uint16_t flags = packed_used_flags(pos, written);

	claim((flags >> 7 & 1) == pos >> 15 && flags >> 15 == pos >> 15);
	claim((flags >> 1 & 1) == written);
	claim(!(flags & 0x7f7d));
}

/* 2.8.10: an event in the ring is wanted if it is one of the @n entries that end before @now. */
void proof_packed_events_are_wanted_when_passed(void)
{
	const uint16_t size = any_size(true), now = any_position(size);
	const uint16_t event = any_position(size), n = any_u16();
	const uint32_t round = 2u * size;
	uint32_t behind;

	assume(n >= 1 && n <= size);
	/* Entries from the event to where it stands; an entry is behind it by 1 to n. */
	behind = modulo(linear(now, size) + round - linear(event, size), round);
	claim(packed_need_event(event, now, n, size) == (behind >= 1 && behind <= n));
}

/* Whatever an event says that is not in the ring, there is an answer and nothing else comes of it.
 */
void proof_packed_events_outside_the_ring_do_no_harm(void)
{
	const uint16_t size = any_size(true), now = any_position(size), n = any_u16();
	bool yes;

	assume(n <= size);
	yes = packed_need_event(any_u16(), now, n, size);
	claim(yes || !yes);
	if (!n)
		claim(!yes);
}
