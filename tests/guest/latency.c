/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * latency - how long an interrupt takes from the register write that causes it to its handler, by
 * way of the IOAPIC and of the 8259A, and how well 1,000 ticks of the 8254 keep time. It checks
 * that none is lost or invented; the times are for whoever reads them.
 */
#include "check.h"
#include "pic.h"

#define IER      (COM1 + 1)
#define IER_THRE 0x02
#define MCR      (COM1 + 4)
#define MCR_OUT2 0x08 /* gates the interrupt */

#define UART_IRQ      4
#define IOAPIC_VECTOR 0x31
#define ROUNDS        101

#define PIT_0       0x40
#define PIT_CONTROL 0x43
#define PIT_HZ      1193182
#define TICK_HZ     1000
#define TICKS       1000

static volatile uint64_t taken_at;
static volatile unsigned int taken, ticks;
static uint64_t cycles[ROUNDS];

/* Away with the cause first: the line is what the chips look at. */
static void take_ioapic(struct intr_frame *frame)
{
	(void)frame;
	taken_at = rdtsc();
	taken++;
	out8(IER, 0);
	lapic_write(LAPIC_EOI, 0);
}

static void take_pic(struct intr_frame *frame)
{
	(void)frame;
	taken_at = rdtsc();
	taken++;
	out8(IER, 0);
	pic_eoi(UART_IRQ);
}

static void take_tick(struct intr_frame *frame)
{
	(void)frame;
	ticks++;
	pic_eoi(0);
}

/* Interrupts have been on for an instruction when the line rises, so nothing holds them back. */
static uint64_t one_round(void)
{
	uint64_t from = rdtsc();

	__asm__ volatile("sti; nop; outb %%al, %%dx; nop; cli"
			 :
			 : "a"(IER_THRE), "d"(IER)
			 : "memory");
	wait_until_interrupt(taken);
	return taken_at - from;
}

/* Kept in order as they come: the median is the one in the middle. */
static uint64_t median(void)
{
	for (unsigned int n = 0; n < ROUNDS; n++) {
		unsigned int i = n;
		uint64_t t;

		taken = 0;
		t = one_round();
		check_eq(taken, 1);
		for (; i && cycles[i - 1] > t; i--)
			cycles[i] = cycles[i - 1];
		cycles[i] = t;
	}
	return cycles[ROUNDS / 2];
}

static void tick_tock(const struct acpi *a)
{
	const uint16_t count = (PIT_HZ + TICK_HZ / 2) / TICK_HZ;
	struct moment from, to;
	struct refclock ref;

	if (!check(refclock_find(&ref, a)))
		return;
	intr_set(PIC_VECTOR + 0, take_tick);
	pic_unmask(0);
	out8(PIT_CONTROL, 0x34);
	out8(PIT_0, (uint8_t)count);
	out8(PIT_0, (uint8_t)(count >> 8));
	while (!ticks)
		wait_for_interrupt();
	from = refclock_now(&ref);
	while (ticks <= TICKS)
		wait_for_interrupt();
	to = refclock_now(&ref);
	/* How many came at last, with those that were late, is the host's matter. */
	out8(PIT_CONTROL, 0x30);
	say("ticks: %u at %u Hz in %u us\n", TICKS, TICK_HZ, refclock_ns(&ref, &from, &to) / 1000);
}

int guest_main(void)
{
	uint64_t by_ioapic, by_pic;
	struct acpi a;

	acpi_find(&a);
	pic_mask();
	lapic_enable();
	out8(MCR, MCR_OUT2);

	intr_set(IOAPIC_VECTOR, take_ioapic);
	ioapic_route(a.ioapic[0].at, a.isa_gsi[UART_IRQ], IOAPIC_VECTOR, 0, lapic_id());
	by_ioapic = median();
	ioapic_route(a.ioapic[0].at, a.isa_gsi[UART_IRQ], IOAPIC_VECTOR, IOAPIC_MASKED, lapic_id());

	intr_set(PIC_VECTOR + UART_IRQ, take_pic);
	pic_init();
	lapic_write(LAPIC_LVT_LINT0, LAPIC_LVT_EXTINT);
	pic_unmask(UART_IRQ);
	by_pic = median();
	say("handler: %lu cycles by the IOAPIC, %lu by the 8259A\n", by_ioapic, by_pic);

	pic_mask();
	tick_tock(&a);
	return check_result("latency");
}
