/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * explain - what an access to a device means, in the words of its data sheet: for who reads a
 * trace.
 *
 * A model that can say gives a function explain() in its record (class.h). It is not the machine
 * that calls it but a reader of a trace (explainer), so there is no instance: the function has the
 * access, and a few bytes of its own in which to keep what later accesses depend on, such as an
 * index register or how far a sequence of commands has got. The bytes are zeroes to begin with and
 * behind each reset of the device, and a trace may begin anywhere: what it says is a help, never a
 * promise.
 *
 * Everything in an access may come from a hostile file.
 */
#ifndef SKEP_EXPLAIN_H
#define SKEP_EXPLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct explainer;
struct trace_event;
struct trace_header;

struct explain_memory {
	uint8_t byte[16];
};

/* One access as the device saw it. */
struct access {
	uint64_t address;
	uint64_t offset; /* in the range */
	uint64_t value;  /* written, or read */
	unsigned int size;
	unsigned int region; /* bus_ops.region */
	bool write;
};

struct explanation {
	const char *part; /* of a device that has several, behind its id: "0"; "" */
	char reg[28];     /* the register: "OCW2"; "" if it is not known */
	char text[100];   /* what the value says: "specific EOI 4"; "" if nothing */
};

typedef void explain_fn(const struct access *a, struct explain_memory *m, struct explanation *e);

/* For models: the register's name, */
void explain_reg(struct explanation *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* more words on the value, */
void explain_add(struct explanation *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* the names of the bits that are set in it, bit 0 first; NULL is a bit without a name, */
void explain_bits(struct explanation *e, uint64_t value, const char *const *names, size_t count);
/* and a byte as the character that it is. */
void explain_char(struct explanation *e, uint64_t value);

/* For readers. @header outlives it. -ENOMEM. */
int explainer_create(struct explainer **ex, const struct trace_header *header, struct err *err);
void explainer_destroy(struct explainer *ex);
/*
 * Is shown every event of the trace, in order. True for an access that its device can explain; @e
 * is filled in any case.
 */
bool explainer_see(struct explainer *ex, const struct trace_event *event, struct explanation *e);

#endif
