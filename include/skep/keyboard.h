/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyboard - how whoever has keys to strike gets at the machine's keyboard.
 *
 * The device that is the keyboard hangs a struct keyboard into machine.keyboard while it exists.
 * A stroke is a key pressed and let go, with others held down meanwhile.
 */
#ifndef SKEP_KEYBOARD_H
#define SKEP_KEYBOARD_H

#include <stdbool.h>
#include <stdint.h>

struct device;
struct post;

/* Keys that give no character; those that do are called by it, in ASCII. */
enum {
	STROKE_UP = 0x100,
	STROKE_DOWN,
	STROKE_LEFT,
	STROKE_RIGHT,
	STROKE_HOME,
	STROKE_END,
	STROKE_PAGE_UP,
	STROKE_PAGE_DOWN,
	STROKE_INSERT,
	STROKE_DELETE,
	STROKE_F1,
	STROKE_F12 = STROKE_F1 + 11,
	STROKE_LAST = STROKE_F12,
};

#define STROKE_SHIFT 0x01
#define STROKE_ALT   0x02
#define STROKE_CTRL  0x04

struct stroke {
	uint16_t key;
	/* Held down, beside those that the character takes: Shift for 'A', Control for 01h. */
	uint8_t with;
};

struct keyboard {
	struct device *dev;
	/* False: not now. A stroke that no key gives is taken, and nothing. Device's lock held. */
	bool (*strike)(struct device *dev, struct stroke s);
	/*
	 * Posted to the control worker, and forgotten, when a stroke may be tried again. Set it
	 * behind one that was not taken, device's lock held.
	 */
	struct post *room;
};

#endif
