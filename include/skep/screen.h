/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * screen - what a machine's text screen shows at a moment, and that as text.
 *
 * The device that is the screen hangs a struct screen into machine.screen while it exists; whoever
 * wants to see the screen looks through it. A machine whose machine.screen is NULL has none.
 */
#ifndef SKEP_SCREEN_H
#define SKEP_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct device;
struct machine;

#define SCREEN_COLS_MAX 132u
#define SCREEN_ROWS_MAX 60u

/* A cell: its character in the low byte, its attribute in the high one, as in text memory. */
#define SCREEN_BLANK 0x0720

struct screen_frame {
	unsigned int cols, rows; /* 1 to the maxima */
	/* Row by row, @cols each; whatever the registers say, they are cells of text memory. */
	uint16_t cells[SCREEN_COLS_MAX * SCREEN_ROWS_MAX];
	bool cursor; /* it is shown */
	/* Where it is, shown or not; beyond @cols and @rows when that is not on the screen. */
	unsigned int cursor_col, cursor_row;
	bool blink; /* attribute bit 7 is blinking, not a bright background */
	/* The nearest of a terminal's 16 colours for each of the attribute's, as SGR counts them.
	 */
	uint8_t colours[16];
	bool graphics; /* a graphics mode, which is not shown: the cells are blank */
};

struct screen {
	struct device *dev;
	/* Fills @frame. Device's lock held. */
	void (*look)(struct device *dev, struct screen_frame *frame);
	/* A person wants to read at the end of the machine what it shows then. */
	bool read_at_end;
};

/* Fills @frame from @m's screen; false when it has none. No device's lock is held. */
bool screen_look(const struct machine *m, struct screen_frame *frame);

/* Three bytes are the most that a character of code page 437 takes in UTF-8. */
#define SCREEN_TEXT_MAX (SCREEN_ROWS_MAX * (3 * SCREEN_COLS_MAX + 1) + 1)

/*
 * What @m's screen shows, in UTF-8: a line for each row down to the last that is not blank, without
 * the blanks at its end. Returns the length; 0 for a blank screen, and for none. No device's lock
 * is held.
 */
size_t screen_text(const struct machine *m, char text[SCREEN_TEXT_MAX]);

/* Character @c of code page 437 in UTF-8; returns the bytes, 1 to 3. */
unsigned int screen_utf8(uint8_t c, char utf8[3]);

#endif
