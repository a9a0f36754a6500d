/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The arithmetic of ring indices, split and packed: pure functions over numbers that a driver may
 * have chosen. Any value is legal for what is named @event, @flags or @idx; the rest is the
 * device's own. It includes nothing of skep, so that it can be tested and proved by itself.
 *
 * A split index is free-running: modulo 65536, its place in the ring is modulo the size. A packed
 * position is an index below the size, with the wrap counter in bit 15 (2.8.1).
 */
#ifndef SKEP_RING_MATH_H
#define SKEP_RING_MATH_H

#include <stdbool.h>
#include <stdint.h>

#define RING_SIZE_MAX 32768

#define PACKED_WRAP  0x8000u
#define PACKED_START PACKED_WRAP /* both wrap counters start at 1 (2.8.1) */

/* Flags of a packed descriptor (2.8.1, 2.8.3). */
#define PACKED_F_WRITE 0x0002u
#define PACKED_F_AVAIL 0x0080u
#define PACKED_F_USED  0x8000u

/* Sizes that a queue can have: 2.7, 2.8.10.1. */
static inline bool ring_size_valid(uint32_t size, bool packed)
{
	return size && size <= RING_SIZE_MAX && (packed || !(size & (size - 1)));
}

/* Where free-running @i lies in a split ring; @size is a power of two. */
static inline uint16_t split_slot(uint16_t i, uint16_t size)
{
	return (uint16_t)(i & (size - 1u));
}

/* From one free-running index on to another. */
static inline uint16_t split_distance(uint16_t from, uint16_t to)
{
	return (uint16_t)(to - from);
}

/*
 * Whether the driver may offer chains up to @idx, when the device has taken those before @taken and
 * given back those before @used: it offers at least what was taken, for it cannot take back
 * (2.7.6.1), and has at most as many outstanding as the ring has entries.
 */
static inline bool split_idx_valid(uint16_t idx, uint16_t taken, uint16_t used, uint16_t size)
{
	const uint16_t offered = split_distance(used, idx);

	return offered >= split_distance(used, taken) && offered <= size;
}

/*
 * Whether a step from @before to @now passes @event: the other side wants to hear of the entry
 * @event (2.7.7.2, 2.7.10).
 */
static inline bool ring_need_event(uint16_t event, uint16_t now, uint16_t before)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}

static inline uint16_t packed_index(uint16_t pos)
{
	return (uint16_t)(pos & ~PACKED_WRAP);
}

static inline bool packed_wrap(uint16_t pos)
{
	return pos & PACKED_WRAP;
}

static inline bool packed_valid(uint16_t pos, uint16_t size)
{
	return packed_index(pos) < size;
}

/* @pos, @n entries on; n <= size. */
static inline uint16_t packed_advance(uint16_t pos, uint16_t n, uint16_t size)
{
	uint32_t index = (uint32_t)packed_index(pos) + n;
	uint32_t wrap = pos & PACKED_WRAP;

	if (index >= size) {
		index -= size;
		wrap ^= PACKED_WRAP;
	}
	return (uint16_t)(index | wrap);
}

/* The inverse of packed_advance(). */
static inline uint16_t packed_retreat(uint16_t pos, uint16_t n, uint16_t size)
{
	uint32_t index = packed_index(pos);
	uint32_t wrap = pos & PACKED_WRAP;

	if (index < n) {
		index += size;
		wrap ^= PACKED_WRAP;
	}
	return (uint16_t)((index - n) | wrap);
}

/* Available: AVAIL matches the driver's wrap counter, USED does not (2.8.1). */
static inline bool packed_is_avail(uint16_t flags, uint16_t pos)
{
	bool avail = flags & PACKED_F_AVAIL, used = flags & PACKED_F_USED;

	return avail == packed_wrap(pos) && used != packed_wrap(pos);
}

/* The flags of a used descriptor at @pos: both match the device's wrap counter (2.8.1, 2.8.3). */
static inline uint16_t packed_used_flags(uint16_t pos, bool written)
{
	uint32_t flags = packed_wrap(pos) ? PACKED_F_AVAIL | PACKED_F_USED : 0;

	return (uint16_t)(flags | (written ? PACKED_F_WRITE : 0));
}

/*
 * Whether @n entries that end before @now pass the position @event (2.8.10); n <= size. An index of
 * @event that is not in the ring gives either answer.
 */
static inline bool packed_need_event(uint16_t event, uint16_t now, uint16_t n, uint16_t size)
{
	uint16_t off = packed_index(event), index = packed_index(now);

	/* With the other wrap counter it lies in the round before. */
	if (packed_wrap(event) != packed_wrap(now))
		off = (uint16_t)(off - size);
	return ring_need_event(off, index, (uint16_t)(index - n));
}

#endif
