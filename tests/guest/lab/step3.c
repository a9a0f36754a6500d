/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Step 3 - a Multiboot kernel in C: says hello on the serial port and on the text screen, and moves
 * the cursor below its line.
 */
#include "lab.h"

static void set_cursor(uint16_t cell)
{
	outb(0x3d4, 0x0e); /* CRTC: the cursor's place, high byte and low byte */
	outb(0x3d5, (uint8_t)(cell >> 8));
	outb(0x3d4, 0x0f);
	outb(0x3d5, (uint8_t)cell);
}

void kernel_main(uint32_t magic, const uint32_t *info)
{
	if (magic != 0x2badb002)
		end(1);
	say("Hello from C. Memory above 1 MiB: ");
	say_number(info[2]); /* mem_upper */
	say(" KiB.\n");
	show(0, "Hello from C.");
	set_cursor(COLS);
	end(0);
}
