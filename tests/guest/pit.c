/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pit - the 8254's counters, read back in every way there is, counter 2's gate and output at port
 * 61h, and a mode 0 that interrupts once (Intel 8254, order number 231164). The rates are in timer.
 *
 * Command line: gate=1 where a closed gate stops the count; KVM's own chip counts on.
 */
#include "check.h"
#include "pic.h"

#define COUNTER(n) (uint16_t)(0x40 + (n))
#define CONTROL    0x43
#define GATE       0x61
#define GATE_OPEN  0x01
#define GATE_OUT   0x20

/* Control words: the counter in bits 7:6, both bytes, the mode in bits 3:1. */
#define WORD(n, mode) (uint8_t)((n) << 6 | 0x30 | (mode) << 1)
#define LATCH(n)      (uint8_t)((n) << 6)
/* Read-back: low bits are what it should not latch. */
#define BACK_STATUS(n) (uint8_t)(0xe0 | 2 << (n))
#define BACK_COUNT(n)  (uint8_t)(0xd0 | 2 << (n))

static volatile unsigned int taken;

static void take(struct intr_frame *frame)
{
	(void)frame;
	taken++;
	pic_eoi(0);
}

static void start(unsigned int n, unsigned int mode, uint16_t count)
{
	out8(CONTROL, WORD(n, mode));
	out8(COUNTER(n), (uint8_t)count);
	out8(COUNTER(n), (uint8_t)(count >> 8));
}

static uint16_t count_at(unsigned int n, uint8_t how)
{
	uint8_t low;

	out8(CONTROL, how);
	low = in8(COUNTER(n));
	return (uint16_t)(low | in8(COUNTER(n)) << 8);
}

static uint8_t status_of(unsigned int n)
{
	out8(CONTROL, BACK_STATUS(n));
	return in8(COUNTER(n));
}

static void gate(bool open)
{
	out8(GATE, open ? GATE_OPEN : 0);
}

static void check_counting(void)
{
	uint16_t from, to;

	gate(true);
	start(2, 2, 0xf000);
	/* The counter takes its count with its next clock (data sheet, "null count"). */
	check(wait_until(!(status_of(2) & 0x40)));
	from = count_at(2, LATCH(2));
	check(from <= 0xf000 && from > 0);
	check(wait_until(count_at(2, LATCH(2)) != from));
	/* A latch holds the first of two counts. */
	out8(CONTROL, LATCH(2));
	out8(CONTROL, LATCH(2));
	in8(COUNTER(2));
	in8(COUNTER(2));
	/* Status goes before count, whichever was latched first. */
	out8(CONTROL, 0xc0 | 2 << 2);
	check_eq(in8(COUNTER(2)) & 0x3f, 0x34);
	in8(COUNTER(2));
	in8(COUNTER(2));

	if (!boot_number("gate", 0))
		return;
	gate(false);
	from = count_at(2, BACK_COUNT(2));
	to = from;
	for (unsigned int i = 0; i < 20; i++)
		to = count_at(2, BACK_COUNT(2));
	check_eq(to, from);
}

static void check_modes(void)
{
	/* Mode 0: low from the control word to the end of the count. */
	gate(true);
	out8(CONTROL, WORD(2, 0));
	check_eq(in8(GATE) & (GATE_OUT | GATE_OPEN), GATE_OPEN);
	check_eq(status_of(2) & 0xbf, 0x30);
	start(2, 0, 100);
	check(wait_until(in8(GATE) & GATE_OUT));
	check_eq(status_of(2) & 0xbf, 0xb0);

	/* Mode 1: high, and the gate's rising edge begins a pulse. */
	gate(false);
	start(2, 1, 0xffff);
	check_eq(in8(GATE) & GATE_OUT, GATE_OUT);
	gate(true);
	check(wait_until(!(in8(GATE) & GATE_OUT)));

	/* Mode 3: a square wave. */
	start(2, 3, 2000);
	for (unsigned int i = 0; i < 3; i++) {
		check(wait_until(!(in8(GATE) & GATE_OUT)));
		check(wait_until(in8(GATE) & GATE_OUT));
	}
	gate(false);
	check_eq(in8(GATE) & (GATE_OUT | GATE_OPEN), GATE_OUT);
}

/* An interrupt at the end of the count, and none after it until there is another. */
static void check_once(void)
{
	intr_set(PIC_VECTOR + 0, take);
	pic_init();
	lapic_enable();
	lapic_write(LAPIC_LVT_LINT0, LAPIC_LVT_EXTINT);
	out8(CONTROL, WORD(0, 0));
	pic_unmask(0);
	for (unsigned int i = 0; i < 20; i++)
		take_interrupts();
	taken = 0;
	for (unsigned int n = 1; n <= 3; n++) {
		start(0, 0, 1000);
		check(wait_until_interrupt(taken == n));
		for (unsigned int i = 0; i < 300; i++)
			take_interrupts();
		check_eq(taken, n);
		check_eq(status_of(0) & 0x80, 0x80);
	}
	start(0, 0, 1000);
	while (taken < 4)
		wait_for_interrupt();
	pic_mask();
}

int guest_main(void)
{
	pic_mask();
	check_counting();
	check_modes();
	check_once();
	return check_result("pit");
}
