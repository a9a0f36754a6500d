/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * screen - text on the screen of a VGA: what is there at the start, words written to B8000h, the
 * cursor, and a screen that scrolls by its start address (IBM PS/2 Hardware Interface Technical
 * Reference, "Video subsystem").
 *
 * Command line: scroll=1: the last page is shown by the start address, not at the beginning of text
 * memory. bytes=N: behind that, N bytes of the keyboard are drawn, however long they take to come.
 */
#include "check.h"

#define TEXT  0xb8000
#define COLS  80
#define CELLS 0x4000

#define CRTC        0x3d4
#define ATTR        0x3c0
#define ATTR_READ   0x3c1
#define STATUS      0x3da
#define DAC_READ    0x3c7
#define DAC_WRITE   0x3c8
#define DAC_DATA    0x3c9
#define START_HIGH  0x0c
#define CURSOR_HIGH 0x0e

#define KEYBOARD_DATA   0x60
#define KEYBOARD_STATUS 0x64

static volatile uint16_t *cell(unsigned int row, unsigned int col)
{
	return (volatile uint16_t *)(uintptr_t)TEXT + row * COLS + col;
}

static void draw(unsigned int row, unsigned int col, uint8_t attribute, const char *text)
{
	while (*text)
		*cell(row, col++) = (uint16_t)(attribute << 8 | (uint8_t)*text++);
}

static uint8_t crtc_read(uint8_t index)
{
	out8(CRTC, index);
	return in8(CRTC + 1);
}

/* Index and data in one access, as most kernels do it. */
static void crtc_pair(uint8_t high, unsigned int v)
{
	out16(CRTC, (uint16_t)((v & 0xff00) | high));
	out16(CRTC, (uint16_t)((v & 0xff) << 8 | (high + 1u)));
	check_eq(crtc_read(high), v >> 8);
	check_eq(crtc_read((uint8_t)(high + 1)), v & 0xff);
}

static void check_start(void)
{
	check_eq(*cell(0, 0), 0x0720);
	check_eq(*cell(24, 79), 0x0720);
	check_eq(((volatile uint16_t *)(uintptr_t)TEXT)[CELLS - 1], 0x0720);
	check_eq(crtc_read(0x01), COLS - 1);
	check_eq(crtc_read(0x09), 0x4f);
	check_eq(crtc_read(0x0a) & 0x20, 0);
	check_eq(crtc_read(CURSOR_HIGH), 0);
	check_eq(crtc_read(CURSOR_HIGH + 1), 0);
	check_eq(in8(0x3cc), 0x67);
}

static void check_attributes(void)
{
	in8(STATUS);
	out8(ATTR, 0x10 | 0x20);
	check_eq(in8(ATTR_READ), 0x0c);
	out8(ATTR, 0x04); /* data: no blinking */
	check_eq(in8(ATTR_READ), 0x04);
	out8(ATTR, 0x34);
	in8(STATUS); /* the index again */
	out8(ATTR, 0x30);
	check_eq(in8(ATTR_READ), 0x04);
	in8(STATUS);
	check(in8(STATUS) ^ in8(STATUS));
	out8(DAC_WRITE, 200);
	out8(DAC_DATA, 1);
	out8(DAC_DATA, 2);
	out8(DAC_DATA, 63);
	out8(DAC_READ, 200);
	check_eq(in8(DAC_DATA), 1);
	check_eq(in8(DAC_DATA), 2);
	check_eq(in8(DAC_DATA), 63);
}

/* Scan codes, in the line of the cursor. The host puts an end to the waiting. */
static void draw_bytes(unsigned int row, unsigned int bytes)
{
	static const char digits[] = "0123456789abcdef";

	for (unsigned int i = 0; i < bytes; i++) {
		uint8_t code;

		while (!wait_until(in8(KEYBOARD_STATUS) & 1))
			;
		code = in8(KEYBOARD_DATA);
		*cell(row, 3 * i) = (uint16_t)(0x0f00 | digits[code >> 4]);
		*cell(row, 3 * i + 1) = (uint16_t)(0x0f00 | digits[code & 0xf]);
		crtc_pair(CURSOR_HIGH, row * COLS + 3 * i + 3);
	}
}

int guest_main(void)
{
	unsigned int top = boot_number("scroll", 0) ? CELLS / COLS - 10 : 0;

	check_start();
	check_attributes();
	draw(top, 0, 0x1f, "skep draws");
	draw(top + 2, 4, 0x4e, "\xc9\xcd\xbb caf\x82 \xb1");
	draw(top + 3, 70, 0x07, "its margin");
	draw(top + 4, 0, 0x07, "   ");
	crtc_pair(START_HIGH, top * COLS);
	crtc_pair(CURSOR_HIGH, (top + 6) * COLS);
	draw_bytes(top + 6, (unsigned int)boot_number("bytes", 0));
	/* The cell past the end of the memory is its first. */
	if (top)
		draw(0, 0, 0x07, "wrapped");
	return check_result("screen");
}
