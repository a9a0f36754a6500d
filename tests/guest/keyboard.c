/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keyboard - the controller's self-test, the keyboard's answers, and the keys of the word that the
 * host types, each byte by an interrupt: by way of the IOAPIC and of the 8259A (IBM PS/2 Hardware
 * Interface Technical Reference, "Keyboard and auxiliary device controller").
 *
 * Command line: keys=N, how many strokes the host types once the keyboard is enabled; or typed=N,
 * how many it types from the start, before anybody asks the keyboard for anything.
 */
#include "check.h"
#include "pic.h"

#define DATA    0x60
#define COMMAND 0x64
#define FULL    0x01 /* status: there is a byte to read */
#define AUX     0x20 /* and it is the auxiliary device's */

#define CONTROL         0x45 /* translation, system flag, keyboard interrupt */
#define CONTROL_AUX     0x02
#define CONTROL_AUX_OFF 0x20
#define ACK             0xfa
#define KEYBOARD_IRQ    1
#define AUX_IRQ         12
#define VECTOR(irq)     (0x30 + (irq))
#define BYTES_MAX       64

static volatile unsigned int taken;
static volatile uint8_t bytes[BYTES_MAX], status[BYTES_MAX];

static void take(struct intr_frame *frame)
{
	unsigned int irq;

	if (taken < BYTES_MAX) {
		status[taken] = in8(COMMAND);
		bytes[taken] = in8(DATA);
	}
	taken++;
	if (frame->vector >= 0x30) {
		lapic_write(LAPIC_EOI, 0);
		return;
	}
	irq = (unsigned int)frame->vector - PIC_VECTOR;
	if (irq >= 8)
		out8(0xa0, (uint8_t)(0x60 | (irq - 8)));
	pic_eoi(irq >= 8 ? 2 : irq);
}

static uint8_t answer(uint8_t command)
{
	out8(COMMAND, command);
	check(wait_until(in8(COMMAND) & FULL));
	return in8(DATA);
}

static void set_control(uint8_t v)
{
	out8(COMMAND, 0x60);
	out8(DATA, v);
}

static void check_controller(void)
{
	set_control(CONTROL & ~1);
	while (in8(COMMAND) & FULL)
		in8(DATA);
	check_eq(answer(0xaa), 0x55);
	check_eq(answer(0xab), 0x00);
	set_control(0x30);
	check_eq(answer(0x20), 0x30);
	set_control(CONTROL);
}

/* Sends @command, to which the keyboard says @n bytes. */
static bool ask(uint8_t command, unsigned int n)
{
	taken = 0;
	out8(DATA, command);
	return check(wait_until_interrupt(taken >= n)) && check_eq(bytes[0], ACK) &&
	       check_eq(status[0] & (FULL | AUX), FULL);
}

static void check_keyboard(void)
{
	if (ask(0xff, 2))
		check_eq(bytes[1], 0xaa);
	ask(0xf5, 1);
	if (ask(0xf2, 3)) {
		check_eq(bytes[1], 0xab);
		check_eq(bytes[2], 0x41); /* 83h, translated */
	}
	taken = 0;
	out8(DATA, 0xee);
	check(wait_until_interrupt(taken == 1));
	check_eq(bytes[0], 0xee);

	/* As if the auxiliary device had sent it. */
	taken = 0;
	set_control(CONTROL | CONTROL_AUX);
	out8(COMMAND, 0xd3);
	out8(DATA, 0x5c);
	check(wait_until_interrupt(taken == 1));
	check_eq(bytes[0], 0x5c);
	check_eq(status[0] & (FULL | AUX), FULL | AUX);
	set_control(CONTROL | CONTROL_AUX_OFF);
}

/* A stroke without Shift is two bytes, down and up. Those before @first are none of a stroke. */
static void check_keys(unsigned int first, unsigned int strokes)
{
	while (taken < first + 2 * strokes)
		wait_for_interrupt();
	say("typed:");
	for (unsigned int i = first; i < first + 2 * strokes && i < BYTES_MAX; i++)
		say(" %02x", bytes[i]);
	say("\n");
}

static void check_enabled(unsigned int strokes)
{
	if (ask(0xf4, 1))
		check_keys(1, strokes);
}

/* The first key is in the buffer by now, or comes soon: off and on again, for an edge. */
static void check_typed(unsigned int strokes)
{
	set_control(CONTROL & ~1);
	set_control(CONTROL);
	check_keys(0, strokes);
}

static void route(const struct acpi *a, unsigned int irq, uint32_t flags)
{
	intr_set(VECTOR(irq), take);
	intr_set(PIC_VECTOR + irq, take);
	ioapic_route(a->ioapic[0].at, a->isa_gsi[irq], VECTOR(irq), flags, lapic_id());
}

int guest_main(void)
{
	struct acpi a;

	acpi_find(&a);
	pic_mask();
	lapic_enable();
	route(&a, KEYBOARD_IRQ, 0);
	route(&a, AUX_IRQ, 0);
	if (boot_number("typed", 0)) {
		check_typed((unsigned int)boot_number("typed", 0));
		return check_result("keyboard");
	}
	check_controller();
	check_keyboard();
	check_enabled((unsigned int)boot_number("keys", 0));
	route(&a, KEYBOARD_IRQ, IOAPIC_MASKED);
	route(&a, AUX_IRQ, IOAPIC_MASKED);

	pic_init();
	lapic_write(LAPIC_LVT_LINT0, LAPIC_LVT_EXTINT);
	out8(0xa1, (uint8_t) ~(1u << (AUX_IRQ - 8)));
	out8(0x21, (uint8_t) ~(1u << KEYBOARD_IRQ | 1u << 2));
	check_keyboard();
	pic_mask();
	return check_result("keyboard");
}
