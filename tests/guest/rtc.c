/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rtc - the clock (Motorola MC146818A): a time of day that goes on, and its three interrupts, which
 * last until register C is read, by way of the IOAPIC and of the 8259A's slave.
 */
#include "check.h"
#include "cmos.h"
#include "pic.h"

#define VECTOR 0x31
#define IRQ    8
/* Alarm bytes from C0h on: any second, minute or hour. */
#define ANY 0xff

enum { SECONDS = 0x00, MINUTES = 0x02, HOURS = 0x04, DAY = 0x07, MONTH = 0x08, CENTURY = 0x32 };

static volatile unsigned int taken;
static volatile uint8_t events;
static bool leave; /* register C as it is */

static void take(struct intr_frame *frame)
{
	taken++;
	if (!leave)
		events = cmos_read(CMOS_C);
	if (frame->vector == VECTOR) {
		lapic_write(LAPIC_EOI, 0);
		return;
	}
	out8(0xa0, 0x60 | (IRQ - 8));
	pic_eoi(2);
}

static void enable(uint8_t which)
{
	cmos_write(CMOS_B, CMOS_B_24H);
	cmos_read(CMOS_C);
	for (unsigned int i = 0; i < 20; i++)
		take_interrupts();
	taken = 0;
	events = 0;
	cmos_write(CMOS_B, CMOS_B_24H | which);
}

/* A byte of two decimal digits. */
static bool is_bcd(uint8_t at, uint8_t min, uint8_t max)
{
	uint8_t v = cmos_read(at);

	return (v & 0xf) <= 9 && v >= min && v <= max;
}

static void check_registers(void)
{
	check_eq(cmos_read(CMOS_A) & 0x7f, CMOS_A_RUN);
	check_eq(cmos_read(CMOS_B), CMOS_B_24H);
	check_eq(cmos_read(CMOS_D), 0x80);
	check(is_bcd(SECONDS, 0, 0x59));
	check(is_bcd(MINUTES, 0, 0x59));
	check(is_bcd(HOURS, 0, 0x23));
	check(is_bcd(DAY, 1, 0x31));
	check(is_bcd(MONTH, 1, 0x12));
	check_eq(cmos_read(CENTURY), 0x20);
	cmos_write(0x7e, 0x5a);
	check_eq(cmos_read(0x7e), 0x5a);
}

static void check_periodic(void)
{
	leave = false;
	enable(CMOS_PERIODIC);
	check(wait_until_interrupt(taken >= 3));
	check_eq(events & (CMOS_IRQF | CMOS_PERIODIC), CMOS_IRQF | CMOS_PERIODIC);
	while (taken < 5)
		wait_for_interrupt();

	/* The line stays high, and an edge is all that the chip hears. */
	leave = true;
	enable(CMOS_PERIODIC);
	check(wait_until_interrupt(taken));
	for (unsigned int i = 0; i < 200; i++)
		take_interrupts();
	check_eq(taken, 1);
	check_eq(cmos_read(CMOS_C) & CMOS_IRQF, CMOS_IRQF);
	check(wait_until_interrupt(taken >= 2));
	leave = false;
	enable(0);
}

/* Once a second; the first comes half a second after the divider was let go. */
static void check_seconds(void)
{
	uint8_t from;

	cmos_write(SECONDS + 1, ANY);
	cmos_write(MINUTES + 1, ANY);
	cmos_write(HOURS + 1, ANY);
	from = cmos_read(SECONDS);
	cmos_write(CMOS_A, 0x76);
	enable(CMOS_ALARM);
	cmos_write(CMOS_A, CMOS_A_RUN);
	while (!taken)
		wait_for_interrupt();
	check_eq(events, CMOS_IRQF | CMOS_ALARM | CMOS_UPDATE | CMOS_PERIODIC);
	check(cmos_read(SECONDS) != from);

	cmos_write(CMOS_A, 0x76);
	enable(CMOS_UPDATE);
	/* No second has this number. */
	cmos_write(SECONDS + 1, 0x75);
	cmos_write(CMOS_A, CMOS_A_RUN);
	while (!taken)
		wait_for_interrupt();
	check_eq(events & ~CMOS_PERIODIC, CMOS_IRQF | CMOS_UPDATE);
	check_eq(taken, 1);
	enable(0);
}

int guest_main(void)
{
	struct acpi a;
	unsigned int pin;

	acpi_find(&a);
	pic_mask();
	lapic_enable();
	intr_set(VECTOR, take);
	intr_set(PIC_VECTOR + IRQ, take);
	pin = a.isa_gsi[IRQ];
	check_registers();

	ioapic_route(a.ioapic[0].at, pin, VECTOR, 0, lapic_id());
	check_periodic();
	check_seconds();
	ioapic_route(a.ioapic[0].at, pin, VECTOR, IOAPIC_MASKED, lapic_id());

	pic_init();
	lapic_write(LAPIC_LVT_LINT0, LAPIC_LVT_EXTINT);
	pic_unmask(2);
	out8(0xa1, (uint8_t) ~(1u << (IRQ - 8)));
	check_periodic();
	pic_mask();
	return check_result("rtc");
}
