/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stream - what one console says, as lines: the same lines however the bytes were cut.
 *
 * - LF ends a line, and so does a CR that no LF follows. The line is without them.
 * - Escape sequences (ECMA-48) are dropped, and so are control characters but TAB. A sequence that
 *   does not end ends after STREAM_ESCAPE_MAX bytes, or with its line.
 * - All other bytes stay as they are, whether they are UTF-8 or not.
 * - Of a line longer than STREAM_LINE_MAX, pieces of that length are handed out, which overlap by
 *   half of it.
 *
 * Pure; one thread at a time.
 */
#ifndef SRC_SMOKE_STREAM_H
#define SRC_SMOKE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STREAM_LINE_MAX   4096
#define STREAM_ESCAPE_MAX 256

enum stream_escape { ESCAPE_NONE, ESCAPE_BEGUN, ESCAPE_SHORT, ESCAPE_CSI, ESCAPE_TEXT };

struct stream {
	char line[STREAM_LINE_MAX + 1]; /* what there is of the line; a NUL behind it */
	size_t len;
	bool cut; /* its beginning has been dropped */
	/* Whoever judges it looks from here on; moves with the text. */
	size_t from;
	bool met;  /* the same: this line has met an expectation; false at each line's start */
	bool cr;   /* the last byte was a CR: what follows says whether the line ends there */
	bool seen; /* stream_look() has been at it as it is */
	enum stream_escape escape;
	unsigned int escape_len;
};

enum stream_end {
	STREAM_LINE,  /* the line is whole */
	STREAM_PIECE, /* it goes on, and half of it will be dropped */
	STREAM_OPEN,  /* it is as far as it has come */
};

struct stream_sink {
	void (*line)(void *arg, struct stream *s, enum stream_end end);
	void *arg;
};

/* Starts as all zeroes. @sink is called for each line and piece. */
void stream_feed(struct stream *s, const uint8_t *data, size_t len, const struct stream_sink *sink);
/* Has @sink look at the line as far as it has come, if it has come further. */
void stream_look(struct stream *s, const struct stream_sink *sink);
/* There is no more: what is there is a line. */
void stream_end(struct stream *s, const struct stream_sink *sink);

#endif
