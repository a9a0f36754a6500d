/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Step 4 - interrupts: the 8254 ticks a hundred times a second by input 0 of the 8259A. The kernel
 * counts ten ticks and ends.
 */
#include "lab.h"

#define HZ 100

static volatile uint32_t ticks;

void interrupt(struct frame *f)
{
	if (f->vector != IRQ0)
		unexpected(f);
	ticks++;
	end_of_interrupt(f);
}

static void start_timer(void)
{
	const uint16_t count = 1193182 / HZ;

	outb(0x43, 0x34); /* counter 0, low byte and high byte, mode 2: again and again */
	outb(0x40, (uint8_t)count);
	outb(0x40, count >> 8);
}

void kernel_main(uint32_t magic, const uint32_t *info)
{
	(void)magic;
	(void)info;
	load_tables();
	start_pic(0xfe); /* input 0 alone */
	start_timer();
	__asm__ volatile("sti");
	for (uint32_t seen = 0; seen < 10; seen++) {
		while (ticks == seen)
			__asm__ volatile("hlt"); /* until the next interrupt */
		say("tick ");
		say_number(seen + 1);
		say("\n");
	}
	end(0);
}
