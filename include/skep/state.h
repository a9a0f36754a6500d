/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * state - field tables: what a guest can see of a device, described once.
 *
 * A device keeps its guest-visible state in a struct of its own, apart from file descriptors,
 * timers and locks, and describes it with one table:
 *
 *	struct uart_state { uint8_t ier; uint8_t lcr; uint16_t divisor; uint8_t fifo[16]; };
 *
 *	static const struct state_field uart_fields[] = {
 *		STATE_FIELD(struct uart_state, ier),
 *		STATE_FIELD(struct uart_state, lcr),
 *		STATE_FIELD(struct uart_state, divisor),
 *		STATE_ARRAY(struct uart_state, fifo),
 *	};
 *	const struct state_table uart_state =
 *		STATE_TABLE("uart", 1, struct uart_state, uart_fields);
 *
 * The table must tile the struct: no gap, no overlap, padding written out as a field. The unit
 * test that walks the device table requires it of every device, so a forgotten field fails there.
 * Members are unsigned integers of 1, 2, 4 or 8 bytes or arrays of these, or the table does not
 * compile; no bool, for a loaded one could hold a value that C does not allow.
 *
 * All functions are pure; the caller keeps the struct still meanwhile (the device's lock, or
 * parked vCPUs).
 */
#ifndef SKEP_STATE_H
#define SKEP_STATE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct err;

struct state_field {
	const char *name;
	uint32_t offset;
	uint16_t width; /* bytes an element: 1, 2, 4 or 8 */
	uint16_t count; /* elements: 1, or those of an array */
	uint16_t since; /* the table version that added it; 0 is "from the first" */
};

struct state_table {
	const char *name;
	uint16_t version;
	uint32_t size; /* of the struct */
	uint32_t count;
	const struct state_field *fields;
};

/* A table, and where its struct lies in a larger one. */
struct state_part {
	const struct state_table *table;
	size_t offset;
};

#define STATE_WIDTH(element) \
	_Generic((element), uint8_t : 1, uint16_t : 2, uint32_t : 4, uint64_t : 8)

#define STATE_FIELD_SINCE(type, member_, since_)                                           \
	{                                                                                  \
		.name = #member_, .offset = offsetof(type, member_),                       \
		.width = STATE_WIDTH(((type *)0)->member_), .count = 1, .since = (since_), \
	}
#define STATE_ARRAY_SINCE(type, member_, since_)                                         \
	{                                                                                \
		.name = #member_, .offset = offsetof(type, member_),                     \
		.width = STATE_WIDTH(((type *)0)->member_[0]),                           \
		.count = sizeof(((type *)0)->member_) / sizeof(((type *)0)->member_[0]), \
		.since = (since_),                                                       \
	}
#define STATE_FIELD(type, member) STATE_FIELD_SINCE(type, member, 0)
#define STATE_ARRAY(type, member) STATE_ARRAY_SINCE(type, member, 0)

#define STATE_TABLE(name_, version_, type, fields_)                                   \
	{                                                                             \
		.name = (name_), .version = (version_), .size = sizeof(type),         \
		.count = sizeof(fields_) / sizeof((fields_)[0]), .fields = (fields_), \
	}

/*
 * 0, or -EINVAL and a sentence naming the gap, the overlap, the width that cannot be, or the name
 * that is there twice.
 */
int state_check_table(const struct state_table *t, struct err *err);

/* Bytes that state_save() writes for this table. */
size_t state_saved_size(const struct state_table *t);

/* Writes the tagged form; returns its bytes, or -ENOSPC. */
long state_save(const struct state_table *t, const void *s, void *buf, size_t room);

/*
 * Reads the tagged form into @s, which is left untouched on failure. Strict: another table's name,
 * a version from the future, an unknown or repeated field, another width or count, bytes missing
 * or left over: -EPROTO and a sentence. A field newer than the saved version keeps its value in @s.
 */
int state_load(const struct state_table *t, void *s, const void *buf, size_t len, struct err *err);

/* One line per field: "name = 0x3f" or "name = 01 02 03"; of a large array the first 256. */
void state_print(const struct state_table *t, const void *s, FILE *to, const char *indent);

/* The first field that differs, or NULL. */
const struct state_field *state_compare(const struct state_table *t, const void *a, const void *b);

/* Changes one field, chosen and filled from @seed: for fuzzing state_load() and loaded hooks. */
void state_mutate(const struct state_table *t, void *s, uint64_t seed);

#endif
