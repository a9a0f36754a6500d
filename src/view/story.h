/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What both pictures make of a trace: events in words, with how long each took. An exit takes until
 * its vCPU enters the guest again, an interrupt is taken so long after it was raised and ended so
 * long after it was taken, a chain is done so long after it was popped.
 *
 * Tables bound what is remembered from one event to another; where one is full, or the first of two
 * events was lost, the time is 0: not known.
 */
#ifndef SRC_VIEW_STORY_H
#define SRC_VIEW_STORY_H

#include <stdbool.h>
#include <stdint.h>

#include "skep/trace.h"
#include "skep/view.h"

#define STORY_WORDS      224
#define STORY_LINE_NAME  48
#define STORY_PHASES_MAX 64

/* What an event is to those who count. */
enum story_role { ROLE_NONE, ROLE_EXIT, ROLE_RAISED, ROLE_TAKEN, ROLE_ENDED, ROLE_CHAIN };

struct story_kind {
	char name[32];
	enum story_role role;
	uint8_t colour;   /* its number in page.js */
	bool span;        /* it lasts as long as it took, and none of its thread's overlap */
	const char *took; /* what its time is; NULL: how long it took */
	const char
		*address; /* what its numbers are; NULL: they are in the words or there are none */
	const char *value;
};

struct story_event {
	uint64_t at;   /* ns since recording began */
	uint64_t took; /* ns */
	uint64_t address, value, rip;
	unsigned int kind, thread;
	unsigned int device; /* 0: none; else its number and one */
	unsigned int line;   /* the same, of an interrupt */
	char words[STORY_WORDS];
};

/* What the machine was at from one moment to another, or the guest by its own marks. */
struct story_phase {
	char name[32];
	uint64_t start, end; /* end is 0 while it goes on */
};

enum story_step {
	STORY_OVER,
	STORY_EVENT,
	STORY_ENTERED, /* event->thread, at event->at: its last span ended, having taken event->took
			*/
};

/* @symbols may be NULL. */
struct story *story_new(struct trace_reader *reader, struct symbols *symbols);
void story_free(struct story *s);

/* Goes on until there is something to tell. Returns an enum story_step, or -errno. */
int story_next(struct story *s, struct story_event *event, struct err *err);
/* Whether the record that was told of last is among those that the options ask for. */
bool story_wanted(const struct story *s, const struct view_options *options);

/* NULL past the last. Kinds, lines and phases are added as the story goes. */
const struct story_kind *story_kind(const struct story *s, unsigned int n);
const char *story_line(const struct story *s, unsigned int n);
const struct story_phase *story_phase(const struct story *s, unsigned int n);

#endif
