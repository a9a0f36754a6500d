/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pic8259a - the pair of interrupt controllers of a PC, with their edge/level registers.
 *
 * Intel 8259A data sheet (231468) and, for the ELCR, 82371FB/SB (PIIX, 290550). Ports 20h and 21h
 * are the master's, a0h and a1h the slave's, 4d0h and 4d1h the ELCR. Wires 0 to 7 are the master's
 * inputs, 8 to 15 the slave's; the slave's INT is input 2 of the master, so wire 2 is nobody's.
 *
 * Where the board decides, the programming does not: ICW3 and SNGL shape the sequence of ICWs and
 * nothing else, for the cascade is soldered; buffered mode drives a pin that is not there; vectors
 * are those of an 8086 whatever ICW4 says. Before its first ICWs a controller asks for nothing, but
 * its mask can be written and read: that is how Linux finds out that there is one.
 *
 * Where it differs from the part:
 * - An edge is remembered when its wire falls before the acknowledge; the part would forget it, and
 *   answer with vector 7. A PC takes microseconds to acknowledge, a virtual machine as long as its
 *   host pleases, and a pulse would be lost.
 * - Input 2 of the master follows the slave's INT as a level. On the part there is an edge between
 *   any two requests of the slave, so no program can tell. As both controllers answer an
 *   acknowledge at the same moment, a slave that is asked has a request: a vector 15 that nobody
 *   caused does not occur, where the part has a window of nanoseconds for it. Vector 7 does: a
 *   request may be withdrawn between INTR and the acknowledge.
 *
 * Invariant: INTR is high while the master has a request that wins (pic_winner()). vCPU threads,
 * and whoever drives a wire, under the device's lock.
 */
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/irq.h"
#include "skep/trace.h"

enum { MASTER, SLAVE, PAIR };

#define PIC_INPUTS  8
#define PIC_NONE    PIC_INPUTS
#define PIC_CASCADE 2 /* the master's input for the slave */

/* Interrupts 0, 1, 2, 8 and 13 are always edge-triggered: PIIX, ELCR1 and ELCR2. */
static const uint8_t pic_elcr_writable[PAIR] = {0xf8, 0xde};

#define ICW1_SELECT 0x10
#define ICW1_LTIM   0x08
#define ICW1_SNGL   0x02
#define ICW1_IC4    0x01
#define ICW1_KEPT   (ICW1_LTIM | ICW1_SNGL | ICW1_IC4)

#define ICW2_BASE 0xf8

#define ICW4_SFNM 0x10
#define ICW4_AEOI 0x02
#define ICW4_KEPT 0x1f

#define OCW2_ROTATE   0x80
#define OCW2_SPECIFIC 0x40
#define OCW2_EOI      0x20
#define OCW2_LEVEL    0x07

#define OCW3_SELECT 0x08
#define OCW3_ESMM   0x40
#define OCW3_SMM    0x20
#define OCW3_POLL   0x04
#define OCW3_RR     0x02
#define OCW3_RIS    0x01

/* What the next write to the odd port is. */
enum pic_stage {
	PIC_OFF, /* OCW1, but there was no ICW yet: no requests */
	PIC_ICW2,
	PIC_ICW3,
	PIC_ICW4,
	PIC_READY, /* OCW1 */
};

/* What OCW2 and OCW3 leave behind. */
#define PIC_ROTATE      0x01 /* in automatic EOI mode */
#define PIC_SPECIAL     0x02 /* mask mode */
#define PIC_READ_ISR    0x04
#define PIC_POLLED      0x08 /* the next read is an acknowledge */
#define PIC_CONTROL_ALL 0x0f

struct pic_state {
	uint8_t wires[PAIR];   /* inputs that are high; bit 2 of the master's is 0 */
	uint8_t edges[PAIR];   /* not acknowledged; none of a level-triggered input */
	uint8_t service[PAIR]; /* ISR */
	uint8_t mask[PAIR];    /* IMR */
	uint8_t base[PAIR];    /* vector of input 0 */
	uint8_t lowest[PAIR];  /* the input of lowest priority */
	uint8_t elcr[PAIR];
	uint8_t icw1[PAIR];
	uint8_t icw4[PAIR];
	uint8_t stage[PAIR];
	uint8_t control[PAIR];
};

struct pic {
	struct device dev;
	struct pic_state state;
	struct irq_chip chip;
	bool intr;           /* as the processor was told */
	unsigned int mapped; /* how many of pic_ranges */
};

static const struct state_field pic_fields[] = {
	STATE_ARRAY(struct pic_state, wires),   STATE_ARRAY(struct pic_state, edges),
	STATE_ARRAY(struct pic_state, service), STATE_ARRAY(struct pic_state, mask),
	STATE_ARRAY(struct pic_state, base),    STATE_ARRAY(struct pic_state, lowest),
	STATE_ARRAY(struct pic_state, elcr),    STATE_ARRAY(struct pic_state, icw1),
	STATE_ARRAY(struct pic_state, icw4),    STATE_ARRAY(struct pic_state, stage),
	STATE_ARRAY(struct pic_state, control),
};
static const struct state_table pic_state =
	STATE_TABLE("pic8259a", 1, struct pic_state, pic_fields);

static struct pic *to_pic(struct device *dev)
{
	return container_of(dev, struct pic, dev);
}

static uint8_t input_bit(unsigned int input)
{
	return (uint8_t)(1U << input);
}

static void pic_control(struct pic_state *s, unsigned int c, uint8_t bit, bool on)
{
	s->control[c] = (uint8_t)(on ? s->control[c] | bit : s->control[c] & ~bit);
}

/* How far the foremost input of @set is from the highest priority; PIC_NONE when it is empty. */
static unsigned int pic_rank(uint8_t set, unsigned int lowest)
{
	unsigned int highest = (lowest + 1) % PIC_INPUTS;
	unsigned int turned = (uint8_t)(set >> highest | set << (PIC_INPUTS - highest));

	return turned ? (unsigned int)__builtin_ctz(turned) : PIC_NONE;
}

static unsigned int pic_input_of(unsigned int rank, unsigned int lowest)
{
	return (lowest + 1 + rank) % PIC_INPUTS;
}

static uint8_t pic_level_triggered(const struct pic_state *s, unsigned int c)
{
	return s->icw1[c] & ICW1_LTIM ? 0xff : s->elcr[c];
}

static uint8_t pic_inputs(const struct pic_state *s, unsigned int c)
{
	return s->edges[c] | (s->wires[c] & pic_level_triggered(s, c));
}

/* The inputs in service that count. Special mask mode takes those out that are masked. */
static uint8_t pic_counting(const struct pic_state *s, unsigned int c)
{
	return s->control[c] & PIC_SPECIAL ? s->service[c] & ~s->mask[c] : s->service[c];
}

/*
 * The input for which controller @c asks for an acknowledge, given its requests; PIC_NONE when its
 * INT is low. Fully nested mode: a request must come before all that is in service. In special
 * fully nested mode the slave in service does not lock itself out.
 */
static unsigned int pic_winner(const struct pic_state *s, unsigned int c, uint8_t irr)
{
	unsigned int lowest = s->lowest[c];
	unsigned int request = pic_rank(irr & ~s->mask[c], lowest);
	unsigned int service = pic_rank(pic_counting(s, c), lowest);
	unsigned int input = pic_input_of(request, lowest);
	bool again = c == MASTER && s->icw4[c] & ICW4_SFNM && input == PIC_CASCADE;

	if (s->stage[c] != PIC_READY || request == PIC_NONE)
		return PIC_NONE;
	return request < service || (request == service && again) ? input : PIC_NONE;
}

static uint8_t pic_irr(const struct pic_state *s, unsigned int c)
{
	uint8_t irr = pic_inputs(s, c);

	if (c == MASTER && pic_winner(s, SLAVE, pic_inputs(s, SLAVE)) != PIC_NONE)
		irr |= input_bit(PIC_CASCADE);
	return irr;
}

static void pic_update(struct pic *pic)
{
	const struct pic_state *s = &pic->state;
	bool intr = pic_winner(s, MASTER, pic_irr(s, MASTER)) != PIC_NONE;

	if (intr == pic->intr)
		return;
	pic->intr = intr;
	irqs_set_intr(pic->dev.machine->irqs, intr);
}

/* Takes the request that wins into service. */
static unsigned int pic_take(struct pic_state *s, unsigned int c)
{
	unsigned int input = pic_winner(s, c, pic_irr(s, c));

	if (input == PIC_NONE)
		return PIC_NONE;
	s->edges[c] &= ~input_bit(input);
	if (!(s->icw4[c] & ICW4_AEOI))
		s->service[c] |= input_bit(input);
	else if (s->control[c] & PIC_ROTATE)
		s->lowest[c] = (uint8_t)input;
	return input;
}

/* The vector that controller @c answers with: without a request, its input 7's. */
static int pic_vector(const struct pic_state *s, unsigned int c, unsigned int input)
{
	return s->base[c] + (int)MIN(input, PIC_INPUTS - 1U);
}

/* Controller @c's @input was acknowledged; PIC_NONE: a request that was there no more. */
static void pic_record(const struct pic *pic, unsigned int c, unsigned int input)
{
	const struct pic_state *s = &pic->state;
	unsigned int irq = c * PIC_INPUTS + MIN(input, PIC_INPUTS - 1U);
	unsigned int vector = (unsigned int)pic_vector(s, c, input);

	trace_event(TRACE_INTA, pic->dev.number, input == PIC_NONE, 0, irq, vector, 0);
	if (s->icw4[c] & ICW4_AEOI && input != PIC_NONE)
		trace_event(TRACE_EOI, pic->dev.number, 1, 0, irq, vector, 0);
}

static int pic_acknowledge(struct irq_chip *chip)
{
	struct pic *pic = container_of(chip, struct pic, chip);
	struct pic_state *s = &pic->state;
	unsigned int input, c = MASTER;
	int vector = -1;

	device_lock(&pic->dev);
	if (s->stage[MASTER] == PIC_READY) {
		input = pic_take(s, MASTER);
		if (input == PIC_CASCADE) {
			c = SLAVE;
			input = pic_take(s, SLAVE);
		}
		vector = pic_vector(s, c, input);
		pic_record(pic, c, input);
		pic_update(pic);
	}
	device_unlock(&pic->dev);
	return vector;
}

static void pic_set(struct irq_chip *chip, unsigned int gsi, bool level)
{
	struct pic *pic = container_of(chip, struct pic, chip);
	struct pic_state *s = &pic->state;
	unsigned int c = gsi / PIC_INPUTS;
	uint8_t bit = input_bit(gsi % PIC_INPUTS);

	if (c >= PAIR || gsi == PIC_CASCADE)
		return;
	device_lock(&pic->dev);
	if (!level) {
		s->wires[c] &= ~bit;
	} else {
		if (!(s->wires[c] & bit))
			s->edges[c] |= bit & ~pic_level_triggered(s, c);
		s->wires[c] |= bit;
	}
	pic_update(pic);
	device_unlock(&pic->dev);
}

/*
 * "Initialization command words 1 and 2", a to f. Of what is in service the data sheet says
 * nothing; a program that starts anew must not wait for an EOI that nobody will send.
 */
static void pic_icw1(struct pic_state *s, unsigned int c, uint8_t value)
{
	s->edges[c] = 0;
	s->service[c] = 0;
	s->mask[c] = 0;
	s->lowest[c] = PIC_INPUTS - 1;
	s->control[c] = 0;
	s->icw1[c] = value & ICW1_KEPT;
	s->icw4[c] = 0;
	s->stage[c] = PIC_ICW2;
}

/* Table "operation command words": R, SL, EOI. */
static void pic_ocw2(struct pic_state *s, unsigned int c, uint8_t value)
{
	bool rotate = value & OCW2_ROTATE, specific = value & OCW2_SPECIFIC;
	unsigned int input = value & OCW2_LEVEL, rank;

	if (!(value & OCW2_EOI)) {
		if (!specific)
			pic_control(s, c, PIC_ROTATE, rotate);
		else if (rotate)
			s->lowest[c] = (uint8_t)input;
		return;
	}
	if (!specific) {
		rank = pic_rank(pic_counting(s, c), s->lowest[c]);
		if (rank == PIC_NONE)
			return;
		input = pic_input_of(rank, s->lowest[c]);
	}
	if (s->service[c] & input_bit(input))
		trace_event(TRACE_EOI, container_of(s, struct pic, state)->dev.number, 0, 0,
			    c * PIC_INPUTS + input, (uint32_t)pic_vector(s, c, input), 0);
	s->service[c] &= ~input_bit(input);
	if (rotate)
		s->lowest[c] = (uint8_t)input;
}

static void pic_ocw3(struct pic_state *s, unsigned int c, uint8_t value)
{
	pic_control(s, c, PIC_POLLED, value & OCW3_POLL);
	if (value & OCW3_RR)
		pic_control(s, c, PIC_READ_ISR, value & OCW3_RIS);
	if (value & OCW3_ESMM)
		pic_control(s, c, PIC_SPECIAL, value & OCW3_SMM);
}

/* The odd port: the rest of a sequence that ICW1 began, or the mask. */
static void pic_write_odd(struct pic_state *s, unsigned int c, uint8_t value)
{
	uint8_t then = s->icw1[c] & ICW1_IC4 ? PIC_ICW4 : PIC_READY;

	switch (s->stage[c]) {
	case PIC_ICW2:
		s->base[c] = value & ICW2_BASE;
		s->stage[c] = s->icw1[c] & ICW1_SNGL ? then : PIC_ICW3;
		break;
	case PIC_ICW3:
		s->stage[c] = then;
		break;
	case PIC_ICW4:
		s->icw4[c] = value & ICW4_KEPT;
		s->stage[c] = PIC_READY;
		break;
	default:
		s->mask[c] = value;
	}
}

static void pic_write(struct pic *pic, unsigned int c, uint64_t offset, uint8_t value)
{
	struct pic_state *s = &pic->state;

	if (offset)
		pic_write_odd(s, c, value);
	else if (value & ICW1_SELECT)
		pic_icw1(s, c, value);
	else if (value & OCW3_SELECT)
		pic_ocw3(s, c, value);
	else
		pic_ocw2(s, c, value);
	pic_update(pic);
}

/* "Poll command": bit 7 says whether there is a request, bits 2 to 0 which. */
static uint8_t pic_poll(struct pic *pic, unsigned int c)
{
	unsigned int input = pic_take(&pic->state, c);

	pic_control(&pic->state, c, PIC_POLLED, false);
	if (input != PIC_NONE)
		pic_record(pic, c, input);
	pic_update(pic);
	return input == PIC_NONE ? 0 : (uint8_t)(0x80 | input);
}

static uint8_t pic_read(struct pic *pic, unsigned int c, uint64_t offset)
{
	const struct pic_state *s = &pic->state;

	/* Whichever port is read: the part looks at RD and CS alone. */
	if (s->control[c] & PIC_POLLED)
		return pic_poll(pic, c);
	if (offset)
		return s->mask[c];
	return s->control[c] & PIC_READ_ISR ? s->service[c] : pic_irr(s, c);
}

static uint64_t master_read(struct device *dev, uint64_t offset, unsigned int size)
{
	(void)size;
	return pic_read(to_pic(dev), MASTER, offset);
}

static void master_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	(void)size;
	pic_write(to_pic(dev), MASTER, offset, (uint8_t)value);
}

static uint64_t slave_read(struct device *dev, uint64_t offset, unsigned int size)
{
	(void)size;
	return pic_read(to_pic(dev), SLAVE, offset);
}

static void slave_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	(void)size;
	pic_write(to_pic(dev), SLAVE, offset, (uint8_t)value);
}

static uint64_t elcr_read(struct device *dev, uint64_t offset, unsigned int size)
{
	(void)size;
	return to_pic(dev)->state.elcr[offset];
}

static void elcr_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pic *pic = to_pic(dev);
	struct pic_state *s = &pic->state;

	(void)size;
	s->elcr[offset] = (uint8_t)value & pic_elcr_writable[offset];
	s->edges[offset] &= ~s->elcr[offset];
	pic_update(pic);
}

static const struct {
	uint16_t at;
	struct bus_ops ops;
} pic_ranges[] = {
	{0x20, {.read = master_read, .write = master_write, .max_size = 1}},
	{0xa0, {.read = slave_read, .write = slave_write, .max_size = 1, .region = SLAVE}},
	{0x4d0, {.read = elcr_read, .write = elcr_write, .max_size = 1, .region = PAIR}},
};

static int pic_create(struct device *dev, struct err *err)
{
	struct pic *pic = to_pic(dev);
	int ret;

	pic->chip = (struct irq_chip){.set = pic_set, .acknowledge = pic_acknowledge};
	ret = irqs_add_chip(dev->machine->irqs, &pic->chip, err);
	while (!ret && pic->mapped < ARRAY_SIZE(pic_ranges)) {
		ret = bus_map(dev->machine->ports, pic_ranges[pic->mapped].at, 2,
			      &pic_ranges[pic->mapped].ops, dev, err);
		pic->mapped += !ret;
	}
	return ret;
}

static void pic_destroy(struct device *dev)
{
	struct pic *pic = to_pic(dev);

	irqs_remove_chip(dev->machine->irqs, &pic->chip);
	while (pic->mapped)
		bus_unmap(dev->machine->ports, pic_ranges[--pic->mapped].at);
}

/* The wires are not the pair's to reset. */
static void pic_reset(struct device *dev)
{
	struct pic *pic = to_pic(dev);
	const struct pic_state was = pic->state;

	pic->state = (struct pic_state){
		.wires = {was.wires[MASTER], was.wires[SLAVE]},
		.lowest = {PIC_INPUTS - 1, PIC_INPUTS - 1},
	};
	pic_update(pic);
}

static bool pic_possible(const struct pic_state *s, unsigned int c)
{
	uint8_t wired = c == MASTER ? (uint8_t)~input_bit(PIC_CASCADE) : 0xff;
	enum pic_stage stage = s->stage[c];

	if (s->wires[c] & ~wired || s->edges[c] & (~wired | pic_level_triggered(s, c)))
		return false;
	if (s->base[c] & ~ICW2_BASE || s->lowest[c] >= PIC_INPUTS ||
	    s->elcr[c] & ~pic_elcr_writable[c] || s->control[c] & ~PIC_CONTROL_ALL)
		return false;
	if (s->icw1[c] & ~ICW1_KEPT || s->icw4[c] & ~ICW4_KEPT || stage > PIC_READY)
		return false;
	if (stage != PIC_READY && s->service[c])
		return false;
	if (stage == PIC_OFF)
		return !s->icw1[c] && !s->icw4[c] && !s->base[c];
	/* Sequences that skip a word skip its stage, and ICW4 is known at the end. */
	if ((stage == PIC_ICW3 && s->icw1[c] & ICW1_SNGL) ||
	    (stage == PIC_ICW4 && !(s->icw1[c] & ICW1_IC4)))
		return false;
	return !s->icw4[c] || (stage == PIC_READY && s->icw1[c] & ICW1_IC4);
}

static int pic_loaded(struct device *dev, struct err *err)
{
	struct pic *pic = to_pic(dev);
	const struct pic_state *s = &pic->state;

	for (unsigned int c = MASTER; c < PAIR; c++)
		if (!pic_possible(s, c))
			return err_set(err, EPROTO,
				       "%s: the %s's registers are not a state that an 8259A can "
				       "be in (stage %u, ICW1 %#x, ICW4 %#x)",
				       dev->id, c == MASTER ? "master" : "slave", s->stage[c],
				       s->icw1[c], s->icw4[c]);
	pic_update(pic);
	return 0;
}

/* Explaining: what of a sequence of ICWs has been seen lies in two bytes for each controller. */

static void explain_ocw2(uint8_t value, struct explanation *e)
{
	static const char *const names[] = {
		"rotation in automatic EOI off",
		"non-specific EOI",
		"nothing",
		"specific EOI",
		"rotation in automatic EOI on",
		"rotate, non-specific EOI",
		"lowest priority is",
		"rotate, specific EOI",
	};

	explain_reg(e, "OCW2");
	explain_add(e, "%s", names[value >> 5]);
	if (value & OCW2_SPECIFIC && value >> 5 != 2)
		explain_add(e, "%u", value & OCW2_LEVEL);
}

static void explain_ocw3(uint8_t value, struct explanation *e)
{
	explain_reg(e, "OCW3");
	if (value & OCW3_POLL)
		explain_add(e, "poll");
	if (value & OCW3_RR)
		explain_add(e, "read %s", value & OCW3_RIS ? "ISR" : "IRR");
	if (value & OCW3_ESMM)
		explain_add(e, "special mask mode %s", value & OCW3_SMM ? "on" : "off");
}

static void explain_icw1(uint8_t value, struct explanation *e)
{
	explain_reg(e, "ICW1");
	explain_add(e, "%s, %s%s", value & ICW1_LTIM ? "level" : "edge",
		    value & ICW1_SNGL ? "single" : "cascade",
		    value & ICW1_IC4 ? ", ICW4 follows" : "");
}

static void explain_icw4(uint8_t value, struct explanation *e)
{
	static const char *const bits[] = {NULL, "automatic EOI", "buffered master", "buffered",
					   "special fully nested"};

	explain_reg(e, "ICW4");
	explain_add(e, "%s", value & 1 ? "8086" : "8085");
	explain_bits(e, value & 8 ? value : value & ~4U, bits, ARRAY_SIZE(bits));
}

/* The interrupts whose bits are 0 in @mask. */
static void explain_mask(unsigned int c, uint8_t mask, struct explanation *e)
{
	explain_add(e, mask == 0xff ? "all masked" : "open:");
	for (unsigned int i = 0; i < PIC_INPUTS; i++)
		if (!(mask & input_bit(i)))
			explain_add(e, "%u", c * PIC_INPUTS + i);
}

static void explain_odd(unsigned int c, uint8_t value, uint8_t *stage, uint8_t icw1,
			struct explanation *e)
{
	const uint8_t then = icw1 & ICW1_IC4 ? PIC_ICW4 : PIC_OFF;

	switch (*stage) {
	case PIC_ICW2:
		explain_reg(e, "ICW2");
		explain_add(e, "vectors %02x-%02x", value & ICW2_BASE, value | 7U);
		*stage = icw1 & ICW1_SNGL ? then : PIC_ICW3;
		break;
	case PIC_ICW3:
		explain_reg(e, "ICW3");
		explain_add(e, c == MASTER ? "slaves at inputs %02x" : "identity %u", value);
		*stage = then;
		break;
	case PIC_ICW4:
		explain_icw4(value, e);
		*stage = PIC_OFF;
		break;
	default:
		explain_reg(e, "OCW1");
		explain_mask(c, value, e);
		break;
	}
}

static void explain_write(unsigned int c, const struct access *a, uint8_t *memory,
			  struct explanation *e)
{
	const uint8_t value = (uint8_t)a->value;
	uint8_t *stage = memory, *icw1 = memory + 1, *reads = memory + 2;

	if (a->offset) {
		explain_odd(c, value, stage, *icw1, e);
	} else if (value & ICW1_SELECT) {
		explain_icw1(value, e);
		*stage = PIC_ICW2;
		*icw1 = value;
		*reads = 0;
	} else if (value & OCW3_SELECT) {
		explain_ocw3(value, e);
		*reads = value & OCW3_RR ? value : *reads;
	} else {
		explain_ocw2(value, e);
	}
}

static void pic_explain(const struct access *a, struct explain_memory *m, struct explanation *e)
{
	static const char *const parts[] = {"0", "1"};
	const unsigned int c = a->region;

	if (c >= PAIR) {
		explain_reg(e, "ELCR%u", a->offset ? 2 : 1);
		explain_add(e, "level:");
		for (unsigned int i = 0; i < PIC_INPUTS; i++)
			if (a->value & input_bit(i))
				explain_add(e, "%u", i + (a->offset ? PIC_INPUTS : 0));
		return;
	}
	e->part = parts[c];
	if (a->write) {
		explain_write(c, a, m->byte + (size_t)4 * c, e);
	} else if (a->offset) {
		explain_reg(e, "IMR");
		explain_mask(c, (uint8_t)a->value, e);
	} else {
		explain_reg(e, m->byte[4 * c + 2] & OCW3_RIS ? "ISR" : "IRR");
	}
}

DEVICE_CLASS(pic8259a) = {
	.name = "pic8259a",
	.summary = "8259A interrupt controllers of a PC, master and slave",
	.size = sizeof(struct pic),
	.lock_rank = LOCK_CHIP,
	.split_only = true,
	.state = &pic_state,
	.state_offset = offsetof(struct pic, state),
	.ticks = true,
	.create = pic_create,
	.reset = pic_reset,
	.loaded = pic_loaded,
	.destroy = pic_destroy,
	.explain = pic_explain,
};
