/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * timer - interrupts from the 8254 by way of the 8259A and of the IOAPIC, and from the local
 * APIC's timer; that masks hold, and that time goes forward.
 */
#include "check.h"
#include "pic.h"

#define LAPIC_VECTOR  0x30
#define IOAPIC_VECTOR 0x31

#define PIT_0       0x40
#define PIT_CONTROL 0x43
#define PIT_HZ      1193182

#define SOON_NS 2000000

static volatile unsigned int from_pic, from_ioapic, from_lapic;

static void take_pic(struct intr_frame *frame)
{
	(void)frame;
	from_pic++;
	pic_eoi(0);
}

static void take_ioapic(struct intr_frame *frame)
{
	(void)frame;
	from_ioapic++;
	lapic_write(LAPIC_EOI, 0);
}

static void take_lapic(struct intr_frame *frame)
{
	(void)frame;
	from_lapic++;
	lapic_write(LAPIC_EOI, 0);
}

/* Counter 0 in mode 2 (a pulse every so often), or stopped by a mode 0 without a count. */
static void pit_start(unsigned int hz)
{
	uint16_t count = (uint16_t)(PIT_HZ / hz);

	out8(PIT_CONTROL, 0x34);
	out8(PIT_0, (uint8_t)count);
	out8(PIT_0, (uint8_t)(count >> 8));
}

static void pit_stop(void)
{
	out8(PIT_CONTROL, 0x30);
}

/* Lets what is pending in; a few turns, for a host that is slow to hear of it. */
static void drain(void)
{
	for (unsigned int i = 0; i < 20; i++)
		take_interrupts();
}

static void check_pic(void)
{
	intr_set(PIC_VECTOR + 0, take_pic);
	pic_init();
	lapic_write(LAPIC_LVT_LINT0, LAPIC_LVT_EXTINT);
	pit_start(2000);
	pic_unmask(0);
	if (check(wait_until_interrupt(from_pic >= 3)))
		while (from_pic < 5)
			wait_for_interrupt();

	pic_mask();
	drain();
	from_pic = 0;
	drain();
	check_eq(from_pic, 0);
	pit_stop();
	lapic_write(LAPIC_LVT_LINT0, LAPIC_LVT_EXTINT | LAPIC_LVT_MASKED);
}

static void check_ioapic(const struct acpi *a)
{
	unsigned int pin = a->isa_gsi[0];

	intr_set(IOAPIC_VECTOR, take_ioapic);
	ioapic_route(a->ioapic[0].at, pin, IOAPIC_VECTOR, 0, lapic_id());
	check_eq(ioapic_read(a->ioapic[0].at, IOAPIC_PIN(pin)) & 0x1ffff, IOAPIC_VECTOR);
	check_eq(ioapic_read(a->ioapic[0].at, IOAPIC_PIN(pin) + 1) >> 24, lapic_id());
	pit_start(2000);
	if (check(wait_until_interrupt(from_ioapic >= 3)))
		while (from_ioapic < 5)
			wait_for_interrupt();

	ioapic_route(a->ioapic[0].at, pin, IOAPIC_VECTOR, IOAPIC_MASKED, lapic_id());
	drain();
	from_ioapic = 0;
	drain();
	check_eq(from_ioapic, 0);
	pit_stop();
}

static void check_lapic(void)
{
	intr_set(LAPIC_VECTOR, take_lapic);
	lapic_write(LAPIC_TIMER_DIVIDE, LAPIC_TIMER_DIVIDE_BY_1);
	lapic_write(LAPIC_LVT_TIMER, LAPIC_VECTOR);
	lapic_write(LAPIC_TIMER_FROM, 300000);
	if (!check(wait_until_interrupt(from_lapic == 1)))
		return;
	check_eq(lapic_read(LAPIC_TIMER_NOW), 0);
	drain();
	check_eq(from_lapic, 1);

	lapic_write(LAPIC_LVT_TIMER, LAPIC_LVT_PERIODIC | LAPIC_VECTOR);
	lapic_write(LAPIC_TIMER_FROM, 300000);
	while (from_lapic < 5)
		wait_for_interrupt();
	lapic_write(LAPIC_TIMER_FROM, 0);
}

/* The reference clock and the TSC go forward together, and a tick takes about its time or longer.
 */
static void check_time(const struct acpi *a)
{
	struct moment from, to;
	struct refclock ref;

	check(refclock_find(&ref, a));
	from = refclock_now(&ref);
	check(wait_until((to = refclock_now(&ref), refclock_ns(&ref, &from, &to) >= SOON_NS)));
	check(to.tsc > from.tsc);
	/* A TSC of 100 MHz to 10 GHz. */
	check(to.tsc - from.tsc > SOON_NS / 10);
}

int guest_main(void)
{
	struct acpi a;

	acpi_find(&a);
	pit_stop();
	pic_mask();
	lapic_enable();
	check_eq(a.ioapics, 1);
	check_pic();
	check_ioapic(&a);
	check_lapic();
	check_time(&a);
	return check_result("timer");
}
