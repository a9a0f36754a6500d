/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * uart - COM1 as a 16550A (TI PC16550D, section 8): registers, loopback, FIFOs, the order of
 * interrupt causes, and the transmitter's interrupt by way of the IOAPIC and of the 8259A.
 */
#include "check.h"
#include "pic.h"

#define VECTOR 0x31
#define IRQ    4

enum {
	RBR = COM1, /* read */
	THR = COM1, /* written */
	DLL = COM1, /* both of these with DLAB */
	IER = COM1 + 1,
	DLM = COM1 + 1,
	IIR = COM1 + 2, /* read */
	FCR = COM1 + 2, /* written */
	LCR = COM1 + 3,
	MCR = COM1 + 4,
	LSR = COM1 + 5,
	MSR = COM1 + 6,
	SCR = COM1 + 7,
};

#define IER_RX     0x01
#define IER_THRE   0x02
#define IER_LINE   0x04
#define IER_MODEM  0x08
#define LCR_8N1    0x03
#define LCR_DLAB   0x80
#define MCR_NORMAL 0x0b /* DTR, RTS, OUT2: the interrupt reaches the bus */
#define MCR_LOOP   0x10
#define LSR_DR     0x01
#define LSR_OE     0x02
#define LSR_THRE   0x20
#define LSR_TEMT   0x40

/* IIR bits 3:0, by falling priority. */
#define IIR_LINE    0x6
#define IIR_RX      0x4
#define IIR_TIMEOUT 0xc
#define IIR_THRE    0x2
#define IIR_MODEM   0x0
#define IIR_NONE    0x1

static volatile unsigned int interrupts, others;

static void check_registers(void)
{
	static const uint8_t patterns[] = {0x00, 0x55, 0xaa, 0xff};

	for (unsigned int i = 0; i < ARRAY_SIZE(patterns); i++) {
		out8(SCR, patterns[i]);
		check_eq(in8(SCR), patterns[i]);
	}
	out8(LCR, LCR_8N1);
	out8(IER, 0);
	check_eq(in8(IER), 0);
	out8(LCR, LCR_8N1 | LCR_DLAB);
	out8(DLL, 0x34);
	out8(DLM, 0x12);
	check_eq(in8(DLL), 0x34);
	check_eq(in8(DLM), 0x12);
	check_eq(in8(LCR), LCR_8N1 | LCR_DLAB);
	out8(DLL, 1);
	out8(DLM, 0);
	out8(LCR, LCR_8N1);
	check_eq(in8(IER), 0);
	check_eq(in8(LCR), LCR_8N1);
	out8(MCR, 0xff & ~MCR_LOOP);
	check_eq(in8(MCR), 0x0f);
	out8(MCR, MCR_NORMAL);
	/* Read-only registers stay. */
	check(wait_until((in8(LSR) & (LSR_THRE | LSR_TEMT)) == (LSR_THRE | LSR_TEMT)));
	check_eq(in8(LSR) & ~LSR_DR, LSR_THRE | LSR_TEMT);
	/* The FIFO's mark in IIR bits 7:6. */
	out8(FCR, 0);
	check_eq(in8(IIR), IIR_NONE);
	out8(FCR, 0x07);
	check_eq(in8(IIR), 0xc0 | IIR_NONE);
}

/* Section 8.6.8: in loopback the modem's outputs are its inputs. */
static void check_modem(void)
{
	static const struct {
		uint8_t mcr, msr;
	} lines[] = {{0x01, 0x20}, {0x02, 0x10}, {0x04, 0x40}, {0x08, 0x80}};

	for (unsigned int i = 0; i < ARRAY_SIZE(lines); i++) {
		out8(MCR, MCR_LOOP);
		in8(MSR);
		check_eq(in8(MSR), 0);
		out8(MCR, MCR_LOOP | lines[i].mcr);
		check_eq(in8(MSR) & 0xf0, lines[i].msr);
		check_eq(in8(MSR), lines[i].msr); /* the deltas went with the first read */
	}
}

static bool received(void)
{
	return wait_until(in8(LSR) & LSR_DR);
}

static void check_loopback(void)
{
	out8(FCR, 0x07);
	out8(MCR, MCR_LOOP);
	out8(THR, 0xa7);
	check(received());
	check_eq(in8(RBR), 0xa7);
	check_eq(in8(LSR) & LSR_DR, 0);

	/* Sixteen go into the FIFO and come out in order; a seventeenth overruns it. */
	for (unsigned int i = 0; i < 16; i++)
		out8(THR, (uint8_t)(0x40 + i));
	check_eq(in8(LSR) & (LSR_DR | LSR_OE), LSR_DR);
	out8(THR, 0xee);
	check_eq(in8(LSR) & LSR_OE, LSR_OE);
	check_eq(in8(LSR) & LSR_OE, 0); /* reading clears it */
	for (unsigned int i = 0; i < 16; i++)
		check_eq(in8(RBR), 0x40 + i);
	check_eq(in8(LSR) & LSR_DR, 0);

	/* FCR bit 1 empties the receiver's FIFO. */
	out8(THR, 1);
	check(received());
	out8(FCR, 0x03);
	check_eq(in8(LSR) & LSR_DR, 0);
}

/* Section 8.6.6, table III: the causes by priority, each with its own cure. */
static void check_causes(void)
{
	out8(FCR, 0x07);
	out8(MCR, MCR_LOOP);
	in8(MSR);
	in8(LSR);
	out8(IER, IER_RX | IER_THRE | IER_LINE | IER_MODEM);
	check_eq(in8(IIR) & 0x0f, IIR_THRE);
	check_eq(in8(IIR) & 0x0f, IIR_NONE);

	out8(MCR, MCR_LOOP | 0x01);
	check_eq(in8(IIR) & 0x0f, IIR_MODEM);
	for (unsigned int i = 0; i < 17; i++)
		out8(THR, (uint8_t)i);
	check_eq(in8(IIR) & 0x0f, IIR_LINE);
	in8(LSR);
	check_eq(in8(IIR) & 0x0f, IIR_RX);
	for (unsigned int i = 0; i < 16; i++)
		in8(RBR);
	check_eq(in8(IIR) & 0x0f, IIR_THRE);
	check_eq(in8(IIR) & 0x0f, IIR_MODEM);
	in8(MSR);
	check_eq(in8(IIR) & 0x0f, IIR_NONE);

	/* Below the trigger level the receiver asks only once nothing came for a while. */
	out8(FCR, 0xc7);
	out8(IER, IER_RX);
	for (unsigned int i = 0; i < 14; i++)
		out8(THR, (uint8_t)i);
	check_eq(in8(IIR) & 0x0f, IIR_RX);
	in8(RBR);
	check((in8(IIR) & 0x0f) == IIR_NONE || (in8(IIR) & 0x0f) == IIR_TIMEOUT);
	check(wait_until((in8(IIR) & 0x0f) == IIR_TIMEOUT));
	out8(IER, 0);
	out8(FCR, 0x07);
	out8(MCR, MCR_NORMAL);
}

static void take_interrupt(struct intr_frame *frame)
{
	if ((in8(IIR) & 0x0f) == IIR_THRE)
		interrupts++;
	else
		others++;
	if (frame->vector == PIC_VECTOR + IRQ)
		pic_eoi(IRQ);
	else
		lapic_write(LAPIC_EOI, 0);
}

/* The transmitter asks when it is enabled while empty, and each time that it empties. */
static void check_transmitter(void)
{
	static const char text[] = "sent by interrupt\r\n";
	unsigned int asked = 1;

	interrupts = others = 0;
	out8(IER, IER_THRE);
	if (!check(wait_until_interrupt(interrupts == asked)))
		return;
	for (const char *p = text; *p; p++) {
		asked++;
		out8(THR, (uint8_t)*p);
		if (!check(wait_until_interrupt(interrupts == asked)))
			return;
	}
	/* Asleep, as a kernel's console would be. */
	out8(IER, 0);
	out8(IER, IER_THRE);
	asked++;
	while (interrupts < asked)
		wait_for_interrupt();
	check_eq(others, 0);
	out8(IER, 0);

	/* Without OUT2 nothing leaves the chip. */
	out8(MCR, MCR_NORMAL & ~0x08);
	out8(IER, IER_THRE);
	for (unsigned int i = 0; i < 20; i++)
		take_interrupts();
	check_eq(interrupts, asked);
	check_eq(in8(IIR) & 0x0f, IIR_THRE);
	out8(IER, 0);
	out8(MCR, MCR_NORMAL);
}

static void check_interrupts(void)
{
	struct acpi a;

	acpi_find(&a);
	check_eq(a.ioapics, 1);
	pic_mask();
	lapic_enable();
	intr_set(VECTOR, take_interrupt);
	intr_set(PIC_VECTOR + IRQ, take_interrupt);

	ioapic_route(a.ioapic[0].at, a.isa_gsi[IRQ], VECTOR, 0, lapic_id());
	check_transmitter();
	ioapic_route(a.ioapic[0].at, a.isa_gsi[IRQ], VECTOR, IOAPIC_MASKED, lapic_id());

	pic_init();
	lapic_write(LAPIC_LVT_LINT0, LAPIC_LVT_EXTINT);
	pic_unmask(IRQ);
	check_transmitter();
	pic_mask();
}

int guest_main(void)
{
	check_registers();
	check_modem();
	check_loopback();
	check_causes();
	check_interrupts();
	return check_result("uart");
}
