/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pic - the 8259A pair with two devices asking: priorities, the cascade, masks, edges and levels,
 * polling (Intel 8259A, "Operation Command Words" to "Poll Command"; PIIX for the ELCR).
 *
 * The devices are the UART at the master's input 4, and the clock at the slave's input 0, whose
 * line is high from a periodic interrupt to the next read of its register C.
 */
#include "pic.h"

#include "check.h"
#include "cmos.h"
#include "source.h"

#define MASTER  0x20
#define SLAVE   0xa0
#define ELCR    0x4d0
#define CASCADE 2
#define CLOCK   8

enum { OCW2_EOI = 0x60, OCW2_LOWEST = 0xc0, OCW3_POLL = 0x0c, OCW3_IRR = 0x0a, OCW3_ISR = 0x0b };

/* In order: the vectors that were taken. */
static volatile unsigned int taken;
static uint8_t vectors[8];
static unsigned int lower_at;
static uint8_t seen_isr, seen_irr;

static uint8_t pic_read(uint16_t chip, uint8_t what)
{
	out8(chip, what);
	return in8(chip);
}

/* High until clock_lower(). */
static bool clock_raise(void)
{
	cmos_read(CMOS_C);
	cmos_write(CMOS_A, CMOS_A_RUN);
	cmos_write(CMOS_B, CMOS_B_24H | CMOS_PERIODIC);
	return wait_until(pic_read(SLAVE, OCW3_IRR) & 1);
}

static void clock_lower(void)
{
	cmos_write(CMOS_B, CMOS_B_24H);
	cmos_read(CMOS_C);
}

static void open_master(uint8_t inputs)
{
	out8(MASTER + 1, (uint8_t)~inputs);
}

static void take_source(struct intr_frame *frame)
{
	if (taken < ARRAY_SIZE(vectors))
		vectors[taken] = (uint8_t)frame->vector;
	taken++;
	seen_isr = pic_read(MASTER, OCW3_ISR);
	seen_irr = pic_read(MASTER, OCW3_IRR);
	if (taken == lower_at)
		source_lower();
	pic_eoi(SOURCE_IRQ);
}

static void take_clock(struct intr_frame *frame)
{
	if (taken < ARRAY_SIZE(vectors))
		vectors[taken] = (uint8_t)frame->vector;
	taken++;
	check_eq(pic_read(SLAVE, OCW3_ISR), 1);
	check_eq(pic_read(MASTER, OCW3_ISR) & 1 << CASCADE, 1 << CASCADE);
	clock_lower();
	out8(SLAVE, OCW2_EOI | 0);
	pic_eoi(CASCADE);
}

static void begin(unsigned int lower)
{
	open_master(0);
	source_lower();
	source_drain();
	taken = 0;
	lower_at = lower;
}

/* So many interrupts and no more, all of them ended. */
static void expect_at(unsigned int line, unsigned int n)
{
	wait_until_interrupt(taken >= n);
	source_drain();
	check_one(line, "taken", taken, n);
	check_one(line, "in service", pic_read(MASTER, OCW3_ISR), 0);
}
#define expect(n) expect_at(__LINE__, n)

static void check_edges(void)
{
	begin(0);
	source_raise();
	source_drain();
	check_eq(taken, 0);
	/* It waits behind the mask. */
	check_eq(pic_read(MASTER, OCW3_IRR) & 1 << SOURCE_IRQ, 1 << SOURCE_IRQ);
	open_master(1 << SOURCE_IRQ);
	expect(1); /* the line is still high */
	check_eq(seen_isr, 1 << SOURCE_IRQ);
	check_eq(seen_irr & 1 << SOURCE_IRQ, 0);
	source_pulse();
	expect(2);
}

static void check_levels(void)
{
	begin(3);
	out8(ELCR, 1 << SOURCE_IRQ);
	check_eq(in8(ELCR), 1 << SOURCE_IRQ);
	source_raise();
	open_master(1 << SOURCE_IRQ);
	expect(3); /* again and again while it lasts */
	out8(ELCR, 0);

	/* Nothing but an edge will do for the timer, the keyboard, the cascade and the clock. */
	out8(ELCR, 0xff);
	check_eq(in8(ELCR), 0xf8);
	out8(ELCR, 0);
	out8(ELCR + 1, 0xff);
	check_eq(in8(ELCR + 1), 0xde);
	out8(ELCR + 1, 0);
}

/* Both ask while interrupts are off, so their order is the chip's. */
static void both(unsigned int first, unsigned int second)
{
	begin(0);
	source_raise();
	out8(SLAVE + 1, 0xfe);
	check(clock_raise());
	open_master(1 << SOURCE_IRQ | 1 << CASCADE);
	expect(2);
	check_eq(vectors[0], PIC_VECTOR + first);
	check_eq(vectors[1], PIC_VECTOR + second);
	out8(SLAVE + 1, 0xff);
}

static void check_priorities(void)
{
	both(CLOCK, SOURCE_IRQ);
	out8(MASTER, OCW2_LOWEST | (SOURCE_IRQ - 1));
	both(SOURCE_IRQ, CLOCK);
	out8(MASTER, OCW2_LOWEST | 7);
}

/*
 * Without the processor: a read is the acknowledge. KVM's chip ends the interrupt at once, and only
 * its younger versions set bit 7.
 */
static void check_poll(void)
{
	begin(0);
	open_master(1 << SOURCE_IRQ);
	check_eq(pic_read(MASTER, OCW3_POLL) & 0x80, 0);
	source_raise();
	check_eq(pic_read(MASTER, OCW3_POLL) & 0x07, SOURCE_IRQ);
	source_lower();
	pic_eoi(SOURCE_IRQ);
	expect(0);
}

int guest_main(void)
{
	lapic_enable();
	source_init();
	pic_init();
	clock_lower();
	lapic_write(LAPIC_LVT_LINT0, LAPIC_LVT_EXTINT);
	intr_set(PIC_VECTOR + SOURCE_IRQ, take_source);
	intr_set(PIC_VECTOR + CLOCK, take_clock);
	check_eq(in8(MASTER + 1), 0xff);
	check_eq(in8(SLAVE + 1), 0xff);
	check_edges();
	check_levels();
	check_priorities();
	check_poll();
	begin(0);
	return check_result("pic");
}
