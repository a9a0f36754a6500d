/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ioapic - what the IOAPIC makes of edges and of levels (Intel 82093AA, section 3.2.4): an edge
 * counts once, and not while the pin is masked; a level counts for as long as it lasts, but not
 * before the end of the last interrupt, for which remote IRR stands.
 *
 * There are hosts (kvm_pvm) whose local APIC ends an interrupt as it delivers it. Remote IRR then
 * says nothing to a handler, and a level may count once more; that it counts, and that it stops, is
 * all that can be checked there.
 */
#include "check.h"
#include "source.h"

#define VECTOR     0x31
#define PINS       24
#define REMOTE_IRR 0x4000
#define LAPIC_ISR  0x100
#define EOI        0x40 /* from version 20h on: the vector whose interrupt has ended */

static uint64_t chip;
static unsigned int pin;

static volatile unsigned int taken;
/* In the handler, before the local APIC hears of the end: of the first interrupt, and of all. */
static void (*act)(void);
static unsigned int lower_at; /* with this interrupt the line falls; 0: it does not */
static bool ends_early;       /* see above */

static uint32_t entry_low(void)
{
	return ioapic_read(chip, IOAPIC_PIN(pin));
}

static void entry_set(uint32_t flags)
{
	ioapic_write(chip, IOAPIC_PIN(pin), VECTOR | flags);
}

static bool in_service(void)
{
	return lapic_read(LAPIC_ISR + VECTOR / 32 * 0x10) & 1u << VECTOR % 32;
}

static void take(struct intr_frame *frame)
{
	(void)frame;
	taken++;
	if (taken == lower_at)
		source_lower();
	if (taken == 1 && act)
		act();
	lapic_write(LAPIC_EOI, 0);
}

/* From a low line and an open pin. */
static void begin(uint32_t flags, unsigned int lower, void (*fn)(void))
{
	source_lower();
	entry_set(flags);
	source_drain();
	taken = 0;
	lower_at = lower;
	act = fn;
}

/* So many interrupts and no more, all of them ended. */
static void expect_at(unsigned int line, unsigned int n)
{
	wait_until_interrupt(taken >= n);
	source_drain();
	check_one(line, "taken", taken, n);
	check_one(line, "remote IRR", entry_low() & REMOTE_IRR, 0);
}
#define expect(n) expect_at(__LINE__, n)

static void check_registers(void)
{
	uint32_t version = ioapic_read(chip, IOAPIC_VERSION);

	check((version & 0xff) == 0x11 || (version & 0xff) == 0x20);
	check_eq(version >> 16, PINS - 1);
	for (unsigned int i = 0; i < PINS; i++)
		check_eq(ioapic_read(chip, IOAPIC_PIN(i)) & IOAPIC_MASKED, IOAPIC_MASKED);
	/* Remote IRR and the delivery status are not the guest's to write. */
	entry_set(IOAPIC_MASKED | IOAPIC_LEVEL | REMOTE_IRR | 0x1000);
	check_eq(entry_low(), VECTOR | IOAPIC_MASKED | IOAPIC_LEVEL);
}

static void not_remote(void)
{
	ends_early = !in_service();
	check_eq(entry_low() & REMOTE_IRR, 0);
}

static void check_edges(void)
{
	begin(0, 0, not_remote);
	source_raise();
	expect(1); /* the line is still high */
	source_pulse();
	expect(2);

	entry_set(IOAPIC_MASKED);
	source_pulse();
	source_drain();
	entry_set(0);
	expect(2); /* an edge that the mask met is lost */
	source_pulse();
	expect(3);
}

static void is_remote(void)
{
	check_eq(entry_low() & REMOTE_IRR, REMOTE_IRR);
}

static void pulse_in_service(void)
{
	is_remote();
	source_pulse();
	is_remote();
}

static void mask_in_service(void)
{
	is_remote();
	entry_set(IOAPIC_LEVEL | IOAPIC_MASKED);
}

/* How guests end an interrupt at the chip where it has no register for that. */
static void end_by_edge(void)
{
	is_remote();
	source_lower();
	entry_set(IOAPIC_MASKED);
	check_eq(entry_low() & REMOTE_IRR, 0);
	entry_set(IOAPIC_LEVEL);
}

static void end_by_register(void)
{
	is_remote();
	source_lower();
	mmio_write32(chip + EOI, VECTOR + 1);
	is_remote();
	mmio_write32(chip + EOI, VECTOR);
	check_eq(entry_low() & REMOTE_IRR, 0);
}

static void check_some_levels(void)
{
	begin(IOAPIC_LEVEL, 3, NULL);
	source_raise();
	check(wait_until_interrupt(taken >= 3));
	source_drain();
	check(taken <= 4);
	check_eq(entry_low() & REMOTE_IRR, 0);
}

static void check_levels(void)
{
	begin(IOAPIC_LEVEL, 1, is_remote);
	source_raise();
	expect(1); /* gone before the end: once */

	begin(IOAPIC_LEVEL, 3, is_remote);
	source_raise();
	expect(3); /* again and again while it lasts */

	begin(IOAPIC_LEVEL, 2, pulse_in_service);
	source_raise();
	expect(2); /* what happens in between does not count */

	begin(IOAPIC_LEVEL | IOAPIC_MASKED, 1, is_remote);
	source_raise();
	source_drain();
	check_eq(taken, 0);
	entry_set(IOAPIC_LEVEL);
	expect(1); /* a level waits behind the mask */

	begin(IOAPIC_LEVEL, 2, mask_in_service);
	source_raise();
	expect(1);
	entry_set(IOAPIC_LEVEL);
	expect(2);

	begin(IOAPIC_LEVEL, 2, end_by_edge);
	source_raise();
	expect(1);
	source_raise();
	expect(2);

	if ((ioapic_read(chip, IOAPIC_VERSION) & 0xff) < 0x20)
		return;
	begin(IOAPIC_LEVEL, 2, end_by_register);
	source_raise();
	expect(1);
	source_raise();
	expect(2);
}

int guest_main(void)
{
	struct acpi a;

	acpi_find(&a);
	pic_mask();
	lapic_enable();
	source_init();
	check_eq(a.ioapics, 1);
	chip = a.ioapic[0].at;
	pin = a.isa_gsi[SOURCE_IRQ];
	check_registers();
	intr_set(VECTOR, take);
	ioapic_route(chip, pin, VECTOR, IOAPIC_MASKED, lapic_id());
	check_edges();
	if (ends_early)
		check_some_levels();
	else
		check_levels();
	entry_set(IOAPIC_MASKED);
	return check_result("ioapic");
}
