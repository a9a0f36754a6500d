/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tables that the processor needs for interrupts, and the 8259A pair (Intel 8259A,
 * "Initialization Command Words"). Steps 4 to 6 link this.
 */
#include "lab.h"

#define PIC1 0x20
#define PIC2 0xa0

struct table {
	uint16_t limit;
	const void *base;
} __attribute__((packed));

extern const uint32_t entries[48];

/* No segment, code and data: each all 4 GiB, for ring 0. */
static uint64_t gdt[] = {0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
static uint64_t idt[48];

void load_tables(void)
{
	const struct table gdtr = {sizeof(gdt) - 1, gdt}, idtr = {sizeof(idt) - 1, idt};

	for (unsigned int v = 0; v < 48; v++) /* 8eh: present, ring 0, 32-bit interrupt gate */
		idt[v] = (uint64_t)(entries[v] & 0xffff0000) << 32 | 0x8e0000080000 |
			 (entries[v] & 0xffff);
	__asm__ volatile("lgdt %0\n"
			 "ljmp $0x08, $1f\n" /* CS is the second descriptor now */
			 "1: movw %w2, %%ds\n"
			 "movw %w2, %%es\n"
			 "movw %w2, %%ss\n"
			 "lidt %1"
			 :
			 : "m"(gdtr), "m"(idtr), "r"(0x10)
			 : "memory");
}

void start_pic(uint8_t mask)
{
	outb(PIC1, 0x11); /* ICW1: edge triggered, two of them, ICW4 follows */
	outb(PIC1 + 1, IRQ0);
	outb(PIC1 + 1, 0x04); /* ICW3: the second is at input 2 */
	outb(PIC1 + 1, 0x01); /* ICW4: 8086 mode */
	outb(PIC2, 0x11);
	outb(PIC2 + 1, IRQ0 + 8);
	outb(PIC2 + 1, 0x02);
	outb(PIC2 + 1, 0x01);
	outb(PIC1 + 1, mask);
	outb(PIC2 + 1, 0xff);
}

void end_of_interrupt(const struct frame *f)
{
	if (f->vector >= IRQ0 + 8)
		outb(PIC2, 0x20);
	outb(PIC1, 0x20);
}

void unexpected(const struct frame *f)
{
	say("unexpected vector ");
	say_number(f->vector);
	say(", error code ");
	say_hex(f->error);
	say(", at ");
	say_hex(f->eip);
	say("\n");
	end(99);
}
