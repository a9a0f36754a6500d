/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bits - arithmetic that every floor uses. Pure; any thread.
 */
#ifndef SKEP_BITS_H
#define SKEP_BITS_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* On a function that calls into a library opened at run time: clang's control-flow integrity does
 * not know the functions there. */
#ifdef __clang__
#define CALLS_LIBRARY __attribute__((no_sanitize("cfi-icall")))
#else
#define CALLS_LIBRARY
#endif

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

/* Of a const pointer as well: @type says whether the result is const. */
#define container_of(ptr, type, member) ((type *)((uintptr_t)(ptr)-offsetof(type, member)))

#define MIN(a, b)                                  \
	({                                         \
		__typeof__(a) min_a_ = (a);        \
		__typeof__(b) min_b_ = (b);        \
		min_a_ < min_b_ ? min_a_ : min_b_; \
	})
#define MAX(a, b)                                  \
	({                                         \
		__typeof__(a) max_a_ = (a);        \
		__typeof__(b) max_b_ = (b);        \
		max_a_ > max_b_ ? max_a_ : max_b_; \
	})

static inline uint64_t bit64(unsigned int n)
{
	return UINT64_C(1) << n;
}

/* All ones in the low @bytes bytes; @bytes is 1 to 8. */
static inline uint64_t ones(unsigned int bytes)
{
	return UINT64_MAX >> (64 - 8 * bytes);
}

static inline bool is_power_of_two(uint64_t v)
{
	return v && !(v & (v - 1));
}

/* @to is a power of two; the caller knows that @v + @to does not wrap. */
static inline uint64_t align_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) & ~(to - 1);
}

static inline uint64_t align_down(uint64_t v, uint64_t to)
{
	return v & ~(to - 1);
}

/* Whether [at, at + len) lies in [0, limit) without wrapping. */
static inline bool range_fits(uint64_t at, uint64_t len, uint64_t limit)
{
	return at <= limit && len <= limit - at;
}

static inline bool ranges_overlap(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
	return alen && blen && a < b ? b - a < alen : alen && blen && a - b < blen;
}

/* Unaligned little-endian access, for structures that come from files and guests. */
static inline uint16_t load_le16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static inline uint32_t load_le32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static inline uint64_t load_le64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static inline void store_le16(void *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void store_le32(void *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void store_le64(void *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

#endif
