/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rows - a text screen, seen now and then, as lines: those rows that are new since it was last
 * seen.
 *
 * A screen that was scrolled shows most of what it showed before, some rows higher; what is left is
 * new. A row that was changed is new as a whole, so a row may be handed out several times while a
 * guest writes it. What came and went between two looks is not seen.
 *
 * Pure; one thread at a time.
 */
#ifndef SRC_SMOKE_ROWS_H
#define SRC_SMOKE_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "skep/screen.h"

/* Starts as all zeroes. */
struct rows {
	uint64_t seen[SCREEN_ROWS_MAX]; /* a digest of each; 0: a blank row */
};

struct rows_sink {
	void (*row)(void *arg, const char *text, size_t len);
	void *arg;
};

/* @text is screen_text()'s. */
void rows_look(struct rows *r, const char *text, const struct rows_sink *sink);

#endif
