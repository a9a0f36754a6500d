/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Step 5 - the keyboard: each key down or up is an interrupt by input 1 of the 8259A, and a byte at
 * port 60h. Letters and digits are printed; Enter ends.
 */
#include "lab.h"

/* Scan codes of set 1, from 0 to that of Space. */
static const char keys[] = "??1234567890-=??qwertyuiop[]??asdfghjkl;'`?\\zxcvbnm,./??? ";

#define ENTER 0x1c

static volatile uint8_t codes[64];
static volatile uint32_t count;

void interrupt(struct frame *f)
{
	if (f->vector != IRQ0 + 1)
		unexpected(f);
	codes[count % sizeof(codes)] = inb(0x60);
	count++;
	end_of_interrupt(f);
}

/*
 * The controller's command byte: translation to set 1, and interrupts. Off first and on then: an
 * 8259A sees edges, and a key that was there before it was ready makes none.
 */
static void start_keyboard(void)
{
	outb(0x64, 0x60);
	outb(0x60, 0x44);
	outb(0x64, 0x60);
	outb(0x60, 0x45);
}

/* On the serial port and on row 2 of the screen. */
static void type(char c)
{
	static unsigned int column;
	const char text[] = {c, 0};

	put(c);
	show(2 * COLS + column++ % COLS, text);
}

void kernel_main(uint32_t magic, const uint32_t *info)
{
	(void)magic;
	(void)info;
	load_tables();
	start_pic(0xfd); /* input 1 alone */
	start_keyboard();
	say("Type a word, and Enter.\n");
	show(0, "Type a word, and Enter.");
	for (uint32_t seen = 0;; seen++) {
		uint8_t code;

		for (;;) {
			__asm__ volatile("cli");
			if (count != seen)
				break;
			__asm__ volatile("sti; hlt"); /* STI works from behind HLT on */
		}
		__asm__ volatile("sti");
		code = codes[seen % sizeof(codes)];
		if (code == ENTER)
			break;
		if (code < sizeof(keys) - 1) /* and not let go, which is 80h more */
			type(keys[code]);
	}
	say("\nEnter.\n");
	end(0);
}
