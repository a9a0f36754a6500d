/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lab.h - what the kernels of the lab guide (docs/lab-guide.md) share: ports, the serial port, the
 * text screen, the end of the machine. 32-bit mode, one processor, no library.
 */
#ifndef LAB_H
#define LAB_H

#include <stdint.h>

#define COM1   0x3f8
#define EXIT   0xf4
#define SCREEN ((volatile uint16_t *)0xb8000)
#define COLS   80

static inline void outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

/* Waits until the UART takes a byte (line status, bit 5), as a real one has to be waited for. */
static inline void put(char c)
{
	while (!(inb(COM1 + 5) & 0x20))
		;
	outb(COM1, (uint8_t)c);
}

static inline void say(const char *text)
{
	while (*text)
		put(*text++);
}

static inline void say_hex(uint32_t value)
{
	say("0x");
	for (int shift = 28; shift >= 0; shift -= 4)
		put("0123456789abcdef"[value >> shift & 15]);
}

static inline void say_number(uint32_t value)
{
	if (value >= 10)
		say_number(value / 10);
	put((char)('0' + value % 10));
}

/* Writes @text to the screen from cell @at on, white on blue. */
static inline void show(unsigned int at, const char *text)
{
	for (volatile uint16_t *cell = SCREEN + at; *text; cell++)
		*cell = (uint16_t)(0x1f00 | (uint8_t)*text++);
}

/* Ends the machine; @code is the exit status of skep. */
static inline void end(uint8_t code)
{
	outb(EXIT, code);
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* interrupts.c, entries.S */
struct frame {
	uint32_t edi, esi, ebp, esp, ebx, edx, ecx, eax; /* as pushal leaves them */
	uint32_t vector, error;
	uint32_t eip, cs, eflags; /* the processor's own */
};

#define IRQ0 0x20 /* the vector of the first input of the 8259A pair */

/* GDT and IDT */
void load_tables(void);
/* A 1 in @mask keeps an input of the first 8259A out; those of the second are. */
void start_pic(uint8_t mask);
void end_of_interrupt(const struct frame *f);
/* Says what it was, and ends. */
void unexpected(const struct frame *f);

/* Each step's own: what entries.S calls. */
void interrupt(struct frame *f);

void kernel_main(uint32_t magic, const uint32_t *info);

#endif
