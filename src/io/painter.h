/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * painter - has a terminal show a text screen, by writing no more than what has changed.
 *
 * A painter remembers what it had the terminal show. Given a frame it makes bytes of the cells that
 * differ: cursor addressing, colours (SGR), and characters in UTF-8, by ECMA-48. What does not fit
 * into the buffer is left for the next frame, so a frame's bytes are bounded. A terminal that is
 * smaller than the screen shows the part around the cursor; on a larger one the screen is in the
 * upper left corner.
 *
 * A line of text can be shown below the screen, or over the last line of a terminal without room
 * there.
 *
 * Pure.
 */
#ifndef SKEP_IO_PAINTER_H
#define SKEP_IO_PAINTER_H

#include "skep/screen.h"

/* The other screen of the terminal, so that what was on this one comes back; no line is wrapped. */
#define PAINTER_ENTER "\033[?1049h\033[?7l"
/* Also fit for a crash handler. */
#define PAINTER_LEAVE "\033[0m\033[?7h\033[?25h\033[?1049l"

#define PAINTER_NOTE_MAX 128

struct painter {
	bool colour; /* set by the user, before the first frame; the rest starts as zeroes */
	char note[PAINTER_NOTE_MAX]; /* shown if it is not empty: ASCII */

	unsigned int cols, rows; /* the terminal's */
	unsigned int left, top;  /* of the screen, at the terminal's upper left corner */
	unsigned int area_cols, area_rows;
	bool known;            /* the terminal shows @shown in the area, and nothing elsewhere */
	unsigned int col, row; /* where the terminal's cursor is, if it is known */
	unsigned int style;    /* what the terminal draws with, if it is known */
	bool cursor;           /* the terminal shows it */
	uint32_t shown[(SCREEN_ROWS_MAX + 1) * SCREEN_COLS_MAX]; /* with a line for the note */
};

/* The terminal has this size: it is cleared with the next frame, whatever it was before. */
void painter_resize(struct painter *p, unsigned int cols, unsigned int rows);

/* Room for the least that makes progress. */
#define PAINTER_BYTES_MIN 128

/*
 * Fills @buf, of @room bytes, with what makes the terminal show @frame; returns how many were
 * used, 0 when it shows that already.
 */
size_t painter_paint(struct painter *p, const struct screen_frame *frame, char *buf, size_t room);

#endif
