/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rules about the 8259A pair: how it is programmed, and that what was taken is ended.
 *
 * The account that is kept here is what the chips know (Intel 8259A data sheet), made from the
 * accesses to their ports, the wires, and the acknowledges. Until a chip is initialized its account
 * is unknown, unless the events begin at power-on.
 *
 * When is an EOI missing? A handler may be long, and be interrupted by others. But a processor that
 * has halted with interrupts on waits for the next interrupt and has nothing left to end; nor has
 * one that has taken OTHERS_MAX interrupts and ended them since, while another waited; nor one that
 * was at it for BLOCKED_NS when the machine ended.
 */
#include <stdio.h>
#include <string.h>

#include "lint_priv.h"
#include "skep/bits.h"
#include "skep/clock.h"

enum { MASTER, SLAVE, PAIR };

#define CASCADE    2U
#define OTHERS_MAX 64
#define BLOCKED_NS (500 * NS_PER_MS)

/*
 * Ticks in a row that were lost while the guest ran. A host that is busy loses a few, and Linux has
 * interrupts off for a dozen where its processor is emulated.
 */
#define MISSED_MAX 64

#define ICW1_SELECT 0x10
#define ICW1_LTIM   0x08
#define ICW1_SNGL   0x02
#define ICW1_IC4    0x01
#define ICW4_AEOI   0x02
#define ICW4_8086   0x01
#define ICW4_ZERO   0xe0

#define OCW2_ROTATE   0x80
#define OCW2_SPECIFIC 0x40
#define OCW2_EOI      0x20
#define OCW3_SELECT   0x08
#define OCW3_ESMM     0x40
#define OCW3_SMM      0x20
#define OCW3_POLL     0x04

static const struct {
	const char *name;
	uint16_t port;
	uint8_t icw3;
} chips[PAIR] = {{"master", 0x20, 1U << CASCADE}, {"slave", 0xa0, CASCADE}};

static uint8_t bit(unsigned int input)
{
	return (uint8_t)(1U << input);
}

void pic_start(struct lint *lint)
{
	struct lint_pic *p = &lint->pic;

	memset(p, 0, sizeof(*p));
	for (unsigned int c = MASTER; c < PAIR; c++) {
		p->chip[c].stage = lint->from_power_on ? STAGE_OFF : STAGE_UNKNOWN;
		p->chip[c].blind = !lint->from_power_on;
		p->chip[c].lowest = PIC_INPUTS - 1;
	}
}

/* Of the foremost input of @set; PIC_INPUTS: it is empty. */
static unsigned int foremost(const struct lint_pic *p, unsigned int c, uint8_t set)
{
	for (unsigned int i = 1; i <= PIC_INPUTS; i++) {
		unsigned int input = (p->chip[c].lowest + i) % PIC_INPUTS;

		if (set & bit(input))
			return input;
	}
	return PIC_INPUTS;
}

static uint8_t level_triggered(const struct lint_pic *p, unsigned int c)
{
	return p->chip[c].icw1 & ICW1_LTIM ? 0xff : p->chip[c].elcr;
}

/* Requests of devices that the mask lets through. */
static uint8_t requests(const struct lint_pic *p, unsigned int c)
{
	uint8_t all = p->chip[c].edges | (p->chip[c].wires & level_triggered(p, c));

	return p->chip[c].stage == STAGE_READY ? all & (uint8_t)~p->chip[c].mask : 0;
}

/* Whether a request waits for the end of @input of chip @c: one of no higher priority. */
static bool holds_up(const struct lint_pic *p, unsigned int c, unsigned int input)
{
	bool after = false;

	if (p->chip[c].special)
		return false;
	for (unsigned int i = 1; i <= PIC_INPUTS; i++) {
		unsigned int at = (p->chip[c].lowest + i) % PIC_INPUTS;

		after = after || at == input;
		if (after && requests(p, c) & bit(at))
			return true;
		if (after && c == MASTER && at == CASCADE && requests(p, SLAVE))
			return true;
	}
	return false;
}

/* Initialization */

static void begin(struct lint *lint, unsigned int c, uint8_t value)
{
	struct lint_pic *p = &lint->pic;

	if (p->chip[c].stage >= STAGE_ICW2 && p->chip[c].stage <= STAGE_ICW4)
		lint_find(lint, RULE_ICW_ORDER, 0x100 | c, 0,
			  "ICW1 (%02xh to port %xh) while the %s 8259A still waited for ICW%u",
			  value, chips[c].port, chips[c].name, p->chip[c].stage - STAGE_ICW2 + 2U);
	if (value & ICW1_SNGL)
		lint_find(
			lint, RULE_ICW_VALUE, 0x100 | c, 0,
			"ICW1 %02xh says that the %s 8259A of a pair is alone (bit 1), so that no "
			"ICW3 is expected",
			value, chips[c].name);
	if (!(value & ICW1_IC4))
		lint_find(lint, RULE_ICW_VALUE, 0x110 | c, 0,
			  "ICW1 %02xh says that there will be no ICW4 (bit 0), which leaves the %s "
			  "8259A in the mode of an MCS-80",
			  value, chips[c].name);
	p->chip[c].icw1 = value;
	p->chip[c].icw4 = 0;
	p->chip[c].mask = p->chip[c].service = p->chip[c].edges = 0;
	p->chip[c].lowest = PIC_INPUTS - 1;
	p->chip[c].special = p->chip[c].polled = p->chip[c].rotates = false;
	p->chip[c].blind = false;
	p->chip[c].stage = STAGE_ICW2;
}

static void icw2(struct lint *lint, unsigned int c, uint8_t value)
{
	struct lint_pic *p = &lint->pic;

	if (value & 7)
		lint_find(lint, RULE_ICW_VALUE, 0x200 | c, 0,
			  "%02xh to port %xh behind ICW1 is ICW2, the first vector of the %s "
			  "8259A, and "
			  "no multiple of 8: is it meant as the mask?",
			  value, chips[c].port + 1U, chips[c].name);
	p->chip[c].base = value & 0xf8;
	if (!(p->chip[c].icw1 & ICW1_SNGL))
		p->chip[c].stage = STAGE_ICW3;
	else
		p->chip[c].stage = p->chip[c].icw1 & ICW1_IC4 ? STAGE_ICW4 : STAGE_READY;
}

static void icw3(struct lint *lint, unsigned int c, uint8_t value)
{
	struct lint_pic *p = &lint->pic;

	if (value != chips[c].icw3)
		lint_find(lint, RULE_ICW_VALUE, 0x300 | c, 0,
			  "%02xh to port %xh is ICW3 of the %s 8259A, which is %02xh on a PC: were "
			  "words left out?",
			  value, chips[c].port + 1U, chips[c].name, chips[c].icw3);
	p->chip[c].stage = p->chip[c].icw1 & ICW1_IC4 ? STAGE_ICW4 : STAGE_READY;
}

static void icw4(struct lint *lint, unsigned int c, uint8_t value)
{
	struct lint_pic *p = &lint->pic;

	if (value & ICW4_ZERO)
		lint_find(
			lint, RULE_ICW_ORDER, 0x400 | c, 0,
			"%02xh to port %xh, a mask by its looks, is taken as ICW4 of the %s 8259A, "
			"which still waited for that",
			value, chips[c].port + 1U, chips[c].name);
	else if (!(value & ICW4_8086))
		lint_find(lint, RULE_ICW_VALUE, 0x400 | c, 0,
			  "ICW4 %02xh of the %s 8259A, without bit 0, is for an MCS-80 and not for "
			  "an "
			  "8086",
			  value, chips[c].name);
	p->chip[c].icw4 = value;
	p->chip[c].stage = STAGE_READY;
}

/* Ends */

static void ended(struct lint *lint, unsigned int c, unsigned int input)
{
	struct lint_pic *p = &lint->pic;

	p->chip[c].service &= (uint8_t)~bit(input);
	for (unsigned int o = MASTER; o < PAIR; o++)
		for (unsigned int i = 0; i < PIC_INPUTS; i++)
			if (p->chip[o].service & bit(i))
				p->chip[o].of[i].others++;
	if (c != MASTER || input != CASCADE)
		return;
	for (unsigned int i = 0; i < PIC_INPUTS; i++)
		if (p->chip[SLAVE].service & bit(i))
			p->chip[SLAVE].of[i].master_ended = true;
}

/* What the end of an interrupt that is not in service was about. */
static void nothing_to_end(struct lint *lint, unsigned int c, uint8_t value)
{
	const struct lint_pic *p = &lint->pic;
	const char *more = "";

	if (p->chip[c].blind || p->chip[c].icw4 & ICW4_AEOI)
		return;
	if (c == MASTER && p->chip[SLAVE].service)
		more = ", while the slave does have one";
	else if (c == SLAVE && p->chip[MASTER].service)
		more = ", while the master does have one";
	if (value & OCW2_SPECIFIC)
		lint_find(lint, RULE_EOI_NOTHING, c << 8 | value, 0,
			  "a specific EOI (%02xh to port %xh) for input %u of the %s 8259A, which "
			  "is not "
			  "in service%s",
			  value, chips[c].port, value & 7, chips[c].name, more);
	else
		lint_find(lint, RULE_EOI_NOTHING, c << 8, 0,
			  "an EOI (%02xh to port %xh), and the %s 8259A has nothing in service%s",
			  value, chips[c].port, chips[c].name, more);
}

static void ocw2(struct lint *lint, unsigned int c, uint8_t value)
{
	struct lint_pic *p = &lint->pic;
	uint8_t counting = p->chip[c].service;
	unsigned int input = value & 7;

	if (!(value & OCW2_EOI)) {
		if ((value & (OCW2_ROTATE | OCW2_SPECIFIC)) == (OCW2_ROTATE | OCW2_SPECIFIC))
			p->chip[c].lowest = (uint8_t)input;
		else if (!(value & OCW2_SPECIFIC))
			p->chip[c].rotates = value & OCW2_ROTATE;
		return;
	}
	if (p->chip[c].special)
		counting &= (uint8_t)~p->chip[c].mask;
	if (!(value & OCW2_SPECIFIC))
		input = foremost(p, c, counting);
	if (input == PIC_INPUTS || !(p->chip[c].service & bit(input)))
		nothing_to_end(lint, c, value);
	else
		ended(lint, c, input);
	if (value & OCW2_ROTATE && input < PIC_INPUTS)
		p->chip[c].lowest = (uint8_t)input;
}

static void ocw3(struct lint_pic *p, unsigned int c, uint8_t value)
{
	p->chip[c].polled = value & OCW3_POLL;
	if (value & OCW3_ESMM)
		p->chip[c].special = value & OCW3_SMM;
}

static void write_even(struct lint *lint, unsigned int c, uint8_t value)
{
	enum pic_stage stage = lint->pic.chip[c].stage;

	if (value & ICW1_SELECT) {
		begin(lint, c, value);
		return;
	}
	if (stage >= STAGE_ICW2 && stage <= STAGE_ICW4)
		lint_find(lint, RULE_ICW_ORDER, c, 0,
			  "OCW%u (%02xh to port %xh) while the %s 8259A still waits for ICW%u",
			  value & OCW3_SELECT ? 3 : 2, value, chips[c].port, chips[c].name,
			  stage - STAGE_ICW2 + 2U);
	if (value & OCW3_SELECT)
		ocw3(&lint->pic, c, value);
	else
		ocw2(lint, c, value);
}

static void write_odd(struct lint *lint, unsigned int c, uint8_t value)
{
	switch (lint->pic.chip[c].stage) {
	case STAGE_ICW2:
		icw2(lint, c, value);
		break;
	case STAGE_ICW3:
		icw3(lint, c, value);
		break;
	case STAGE_ICW4:
		icw4(lint, c, value);
		break;
	default:
		lint->pic.chip[c].mask = value;
	}
}

/* Taking */

static const char *input_name(unsigned int c, unsigned int input, char text[40])
{
	snprintf(text, 40, "interrupt %u", c * PIC_INPUTS + input);
	return text;
}

static void into_service(struct lint *lint, unsigned int c, unsigned int input, uint64_t handler)
{
	struct lint_pic *p = &lint->pic;

	p->chip[c].edges &= (uint8_t)~bit(input);
	if (c == MASTER && input == 0) {
		p->ticked = true;
		p->missed = 0;
	}
	if (p->chip[c].icw4 & ICW4_AEOI) {
		if (p->chip[c].rotates)
			p->chip[c].lowest = (uint8_t)input;
		return;
	}
	p->chip[c].service |= bit(input);
	p->chip[c].of[input] = (struct pic_service){.since = lint_time(lint), .handler = handler};
}

static void taken(struct lint *lint, unsigned int irq, uint8_t vector, bool spurious)
{
	unsigned int c = irq / PIC_INPUTS % PAIR, input = irq % PIC_INPUTS;
	struct kvm_gate gate = {.handler = 0};
	bool known = lint_gate(lint, vector, &gate);

	if (known && gate.protected_mode && vector < 32)
		lint_find(
			lint, RULE_EXCEPTION_VECTOR, vector, 0,
			"interrupt %u of the 8259A came as vector %u, which is an exception of the "
			"processor",
			irq, vector);
	if (known && !gate.within)
		lint_find(lint, RULE_NO_HANDLER, vector, 0,
			  "interrupt %u was taken as vector %xh, which is beyond the limit of the "
			  "IDT",
			  irq, vector);
	else if (known && !gate.present)
		lint_find(lint, RULE_NO_HANDLER, vector, 0,
			  "interrupt %u was taken as vector %xh, whose gate in the IDT is not "
			  "present",
			  irq, vector);
	if (c == SLAVE)
		into_service(lint, MASTER, CASCADE, gate.handler);
	if (!spurious)
		into_service(lint, c, input, gate.handler);
}

/* Poll command: the read is the acknowledge. */
static void poll(struct lint *lint, unsigned int c, uint8_t value)
{
	lint->pic.chip[c].polled = false;
	if (value & 0x80)
		into_service(lint, c, value & 7, 0);
}

/* Wires */

/* A tick came while the last one waited. It is told of where the guest is next seen. */
static void tick(struct lint_pic *p)
{
	p->missed += p->moved;
	p->moved = false;
	p->lost = p->missed >= MISSED_MAX && p->ticked && requests(p, MASTER) & 1;
}

static void tell_of_ticks(struct lint *lint)
{
	struct lint_pic *p = &lint->pic;
	unsigned int holder;

	p->lost = false;
	holder = foremost(p, MASTER, p->chip[MASTER].service);
	if (holder < PIC_INPUTS)
		lint_find(lint, RULE_TICK_LOST, 0, p->chip[MASTER].of[holder].handler,
			  "%u ticks came in a row while the last one waited for the end of "
			  "interrupt %u",
			  p->missed, holder);
	else
		lint_find(
			lint, RULE_TICK_LOST, 0, 0,
			"%u ticks came in a row while the last one waited for interrupts to be on",
			p->missed);
}

static void wire(struct lint *lint, unsigned int gsi, bool level)
{
	struct lint_pic *p = &lint->pic;
	unsigned int c = gsi / PIC_INPUTS;
	uint8_t mine = bit(gsi % PIC_INPUTS);
	bool was;

	if (c >= PAIR || gsi == CASCADE)
		return;
	was = p->chip[c].wires & mine;
	if (!level) {
		p->chip[c].wires &= (uint8_t)~mine;
		return;
	}
	p->chip[c].wires |= mine;
	if (was || level_triggered(p, c) & mine)
		return;
	if (gsi == 0 && p->chip[c].edges & mine)
		tick(p);
	p->chip[c].edges |= mine;
}

/* What was not ended */

/* Which mistake it is that input @input of chip @c is in service. */
static void not_ended(struct lint *lint, unsigned int c, unsigned int input, const char *evidence)
{
	struct lint_pic *p = &lint->pic;
	struct pic_service *s = &p->chip[c].of[input];
	unsigned int waits = p->chip[SLAVE].service;
	char name[40];

	if (s->told || p->chip[c].blind)
		return;
	s->told = true;
	if (c == MASTER && input == CASCADE && waits)
		return; /* the slave's own is told of */
	if (c == MASTER && input == CASCADE)
		lint_find(lint, RULE_EOI_SLAVE_ONLY, 0, s->handler,
			  "the slave 8259A has nothing in service, but its input of the master was "
			  "not "
			  "ended%s",
			  evidence);
	else if (s->master_ended)
		lint_find(lint, RULE_EOI_MASTER_ONLY, input, s->handler,
			  "interrupt %u was ended at the master, but never at the slave%s",
			  PIC_INPUTS + input, evidence);
	else
		lint_find(lint, RULE_EOI_MISSING, c << 8 | input, s->handler,
			  "%s was taken and never ended%s", input_name(c, input, name), evidence);
}

static void judge(struct lint *lint, bool (*when)(struct lint *, unsigned int, unsigned int),
		  const char *evidence)
{
	/* The slave first: the master's input is told of only where the slave has nothing. */
	for (unsigned int c = PAIR; c--;)
		for (unsigned int i = 0; i < PIC_INPUTS; i++)
			if (lint->pic.chip[c].service & bit(i) && when(lint, c, i))
				not_ended(lint, c, i, evidence);
}

static bool always(struct lint *lint, unsigned int c, unsigned int input)
{
	(void)lint;
	(void)c;
	(void)input;
	return true;
}

static bool held_up_for_long(struct lint *lint, unsigned int c, unsigned int input)
{
	return lint->pic.chip[c].of[input].others >= OTHERS_MAX && holds_up(&lint->pic, c, input);
}

static bool held_up_to_the_end(struct lint *lint, unsigned int c, unsigned int input)
{
	return lint_time(lint) - lint->pic.chip[c].of[input].since >= BLOCKED_NS &&
	       holds_up(&lint->pic, c, input);
}

static void access(struct lint *lint, const struct trace_event *e)
{
	unsigned int c = e->c >= 0xa0;
	uint8_t value = (uint8_t)e->b;

	if (e->kind == TRACE_READ) {
		if (lint->pic.chip[c].polled)
			poll(lint, c, value);
		return;
	}
	if (e->c & 1)
		write_odd(lint, c, value);
	else
		write_even(lint, c, value);
	judge(lint, held_up_for_long, ", and others waited for it");
}

static void elcr(struct lint *lint, unsigned int c, uint8_t value)
{
	lint->pic.chip[c].elcr = value;
	lint->pic.chip[c].edges &= (uint8_t)~value;
}

void pic_event(struct lint *lint, const struct trace_event *e)
{
	switch (e->kind) {
	case TRACE_READ:
	case TRACE_WRITE:
		lint->pic.moved = true;
		if (lint->pic.lost && lint_vcpu(lint) == 0)
			tell_of_ticks(lint);
		if (e->sub & TRACE_MEMORY)
			break;
		if ((e->c & ~UINT64_C(0x81)) == 0x20)
			access(lint, e);
		else if ((e->c & ~UINT64_C(1)) == 0x4d0 && e->kind == TRACE_WRITE)
			elcr(lint, e->c & 1, (uint8_t)e->b);
		break;
	case TRACE_IRQ:
		wire(lint, e->a, e->sub);
		break;
	case TRACE_INTA:
		taken(lint, e->a, (uint8_t)e->b, e->sub);
		break;
	case TRACE_HALTED:
		if (e->sub && !e->c && lint_vcpu(lint) == 0)
			judge(lint, always, ": the processor halts, waiting for the next");
		break;
	default:
		break;
	}
}

bool pic_is_shut(const struct lint *lint)
{
	const struct lint_pic *p = &lint->pic;

	for (unsigned int c = MASTER; c < PAIR; c++)
		if (p->chip[c].blind)
			return false;
	if (p->chip[MASTER].stage != STAGE_READY || p->chip[MASTER].mask == UINT8_MAX)
		return true;
	if (p->chip[SLAVE].stage == STAGE_READY && p->chip[SLAVE].mask != UINT8_MAX)
		return false;
	return (p->chip[MASTER].mask | bit(CASCADE)) == UINT8_MAX;
}

int pic_asks(const struct lint *lint, bool *initialized)
{
	const struct lint_pic *p = &lint->pic;

	*initialized = p->chip[MASTER].stage > STAGE_OFF;
	for (unsigned int i = 0; i < PAIR * PIC_INPUTS; i++)
		if ((p->chip[i / PIC_INPUTS].edges | p->chip[i / PIC_INPUTS].wires) &
		    bit(i % PIC_INPUTS))
			return (int)i;
	return -1;
}

void pic_finish(struct lint *lint)
{
	judge(lint, held_up_to_the_end, ", and others waited for it to the end");
}
