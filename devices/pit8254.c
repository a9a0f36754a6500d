/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pit8254 - the interval timer of a PC, and the port that gates its third counter.
 *
 * Follows the data sheet of the Intel 8254 (order number 231164), whose words are used here: CR,
 *the count as written; CE, what counts; OL, what a latch command holds. Ports:
 *
 *	40h to 42h	counters 0 to 2
 *	43h		control word; reads as all ones
 *	61h		bit 0 gate of counter 2, 1 speaker data, 2 and 3 kept; read only: 4 refresh
 *			toggle, 5 OUT of counter 2
 *
 * Counter 0 drives interrupt 0, counter 1 refreshed the memory of the first PCs and drives nothing,
 * counter 2 is for delays and for a speaker that is not there. Gates 0 and 1 are wired high.
 *
 * Nothing ticks. The counters are worked out, over any number of CLK pulses at once, when somebody
 * looks. A byte written acts on the CLK pulses behind it, as in the part. Where the data sheet says
 * nothing: a count takes effect when it was written whole; a rate (mode 2, 3) of 1, which is not
 * legal, has no edges; a decimal digit above 9 counts as what its bits say; CE is 0 between a
 * control word and the first load.
 *
 * Interrupts: chips hear of the rising edges of OUT 0, for these are what interrupts. In modes 2 to
 * 5 they see OUT low for a moment in front of a rising edge only, not for as long as it is: one
 * timer a period is enough, and the level rests where mode 2 has it, so that an 8259A still finds
 * it high when it is acknowledged. In mode 0 the level is OUT's own. There is no timer while no
 *edge is to come.
 *
 * No edge is lost and none is invented: each is delivered, or owed, or counted in `coalesced`. When
 * the host was late by periods, reinject=on delivers what is owed at twice the rate, reinject=off
 * skips it. Edges of a periodic mode keep PIT_TICK_MIN apart whatever the guest programs: what a
 * shorter period has more of is skipped, and so is what a control word finds still owed. Edges of
 * the other modes cost the guest a write each, which is bound enough.
 *
 * The saved state counts CLK pulses from the start of virtual time, which is saved with the machine
 * and is there again before its devices are loaded.
 *
 * vCPU threads and the control thread, under the device's lock.
 */
#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/clock.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/irq.h"
#include "skep/timer.h"
#include "skep/trace.h"

#define PIT_HZ       UINT64_C(1193182)
#define PIT_TICK_MIN (100 * NS_PER_US)
#define PIT_REFRESH  18 /* CLK pulses between two refresh requests: 15 us */

enum {
	PIT_GSI = 0,
	PIT_BASE = 0x40,
	PIT_LEN = 4,
	PIT_CONTROL_AT = 3,
	PIT_GATE_PORT = 0x61,
	PIT_COUNTERS = 3,
};

/* Control word ("Figure 7") */
#define CONTROL_SELECT 6
#define CONTROL_RW     4
#define CONTROL_MODE   1
#define CONTROL_BCD    0x01
#define CONTROL_KEPT   0x3f /* what the status byte shows of it */

enum { RW_LATCH = 0, RW_LSB = 1, RW_MSB = 2, RW_BOTH = 3 };

/* Read-back command ("Figure 10") and status byte ("Figure 11") */
#define READ_BACK           3
#define READ_BACK_NO_COUNT  0x20
#define READ_BACK_NO_STATUS 0x10
#define STATUS_OUT          0x80
#define STATUS_NULL         0x40

#define GATE_2       0x01
#define GATE_KEPT    0x0f
#define GATE_REFRESH 0x10
#define GATE_OUT_2   0x20

struct pit_counter {
	uint32_t ce;
	uint32_t loaded;        /* the count that ce comes from; 0: none since the control word */
	uint16_t cr;            /* as written */
	uint16_t ol;            /* as read */
	uint8_t control;        /* CONTROL_KEPT */
	uint8_t status;         /* the status latch */
	uint8_t lsb;            /* the first byte of a count of two */
	uint8_t second_write;   /* 1: the next byte written is the second */
	uint8_t second_read;    /* 1: the next byte read is the second */
	uint8_t ol_latched;     /* 1: ol holds a count to be read */
	uint8_t status_latched; /* 1: status is to be read */
	uint8_t written;        /* 1: cr holds a count since the control word */
	uint8_t load;           /* 1: the next CLK pulse loads ce from cr */
	uint8_t live;           /* 1: modes 0, 1, 4, 5: the count has not expired */
	uint8_t null_count;     /* 1: cr has what ce has not seen */
	uint8_t out;
	uint8_t gate;
	uint8_t reserved[3]; /* 0 */
};

struct pit_state {
	struct pit_counter counter[PIT_COUNTERS];
	uint8_t gate_port;   /* GATE_KEPT */
	uint8_t reserved[3]; /* 0 */
	uint64_t at;         /* the CLK pulse up to which the counters are worked out */
	uint64_t owed;       /* rising edges of OUT 0 that were not delivered yet */
	uint64_t coalesced;  /* those that never will be */
};

struct pit_options {
	bool reinject;
};

struct pit {
	struct device dev;
	struct pit_options options;
	struct pit_state state;
	struct irq_line line;
	struct timer edge;
	uint64_t quiet_until; /* the next edge of a periodic mode may not come sooner */
	bool mapped;
	bool gate_mapped;
};

static const struct option pit_options[] = {
	{
		.name = "reinject",
		.type = OPTION_BOOL,
		.offset = offsetof(struct pit_options, reinject),
		.fallback = "on",
		.help = "whether ticks that the host was late for are made up for",
	},
	OPTION_END,
};

#define COUNTER_FIELDS(n)                                                 \
	STATE_FIELD(struct pit_state, counter[n].ce),                     \
		STATE_FIELD(struct pit_state, counter[n].loaded),         \
		STATE_FIELD(struct pit_state, counter[n].cr),             \
		STATE_FIELD(struct pit_state, counter[n].ol),             \
		STATE_FIELD(struct pit_state, counter[n].control),        \
		STATE_FIELD(struct pit_state, counter[n].status),         \
		STATE_FIELD(struct pit_state, counter[n].lsb),            \
		STATE_FIELD(struct pit_state, counter[n].second_write),   \
		STATE_FIELD(struct pit_state, counter[n].second_read),    \
		STATE_FIELD(struct pit_state, counter[n].ol_latched),     \
		STATE_FIELD(struct pit_state, counter[n].status_latched), \
		STATE_FIELD(struct pit_state, counter[n].written),        \
		STATE_FIELD(struct pit_state, counter[n].load),           \
		STATE_FIELD(struct pit_state, counter[n].live),           \
		STATE_FIELD(struct pit_state, counter[n].null_count),     \
		STATE_FIELD(struct pit_state, counter[n].out),            \
		STATE_FIELD(struct pit_state, counter[n].gate),           \
		STATE_ARRAY(struct pit_state, counter[n].reserved)

static const struct state_field pit_fields[] = {
	COUNTER_FIELDS(0),
	COUNTER_FIELDS(1),
	COUNTER_FIELDS(2),
	STATE_FIELD(struct pit_state, gate_port),
	STATE_ARRAY(struct pit_state, reserved),
	STATE_FIELD(struct pit_state, at),
	STATE_FIELD(struct pit_state, owed),
	STATE_FIELD(struct pit_state, coalesced),
};
static const struct state_table pit_state = STATE_TABLE("pit8254", 1, struct pit_state, pit_fields);

static struct pit *to_pit(struct device *dev)
{
	return container_of(dev, struct pit, dev);
}

/* A counter: no time, no wires */

static unsigned int counter_rw(const struct pit_counter *c)
{
	return c->control >> CONTROL_RW;
}

/* "M2 may be anything" in modes 2 and 3: 6 and 7 are these. */
static unsigned int counter_mode(const struct pit_counter *c)
{
	unsigned int mode = c->control >> CONTROL_MODE & 7;

	return mode > 5 ? mode - 4 : mode;
}

static bool is_periodic(const struct pit_counter *c)
{
	return counter_mode(c) == 2 || counter_mode(c) == 3;
}

/* Modes 4 and 5: OUT goes low for one CLK pulse. */
static bool is_strobe(const struct pit_counter *c)
{
	return counter_mode(c) >= 4;
}

static uint32_t counter_modulus(const struct pit_counter *c)
{
	return c->control & CONTROL_BCD ? 10000 : 65536;
}

/* What CR asks for: 0 is the largest count there is. */
static uint32_t counter_count(const struct pit_counter *c)
{
	uint32_t modulus = counter_modulus(c), n = c->cr;

	if (c->control & CONTROL_BCD)
		n = (n >> 12) * 1000 + (n >> 8 & 15) * 100 + (n >> 4 & 15) * 10 + (n & 15);
	n %= modulus;
	return n ? n : modulus;
}

/* CE as the guest reads it. */
static uint16_t counter_value(const struct pit_counter *c)
{
	uint32_t n = c->ce % counter_modulus(c);

	if (c->control & CONTROL_BCD)
		n = n / 1000 << 12 | n / 100 % 10 << 8 | n / 10 % 10 << 4 | n % 10;
	return (uint16_t)n;
}

/* Modes 0, 1, 4, 5: a gate stops modes 0 and 4, half a count stops mode 0. */
static bool counts_down(const struct pit_counter *c)
{
	switch (counter_mode(c)) {
	case 0:
		return c->gate && !c->second_write;
	case 4:
		return c->gate;
	default:
		return true;
	}
}

/*
 * The functions that run a counter return how often OUT rose.
 *
 * The CLK pulse that loads CE does not count. Modes 0 to 2 and 4, 5 load the count; mode 3 counts
 * in twos, from the even number next below.
 */
static uint64_t counter_load(struct pit_counter *c)
{
	bool was = c->out;

	c->load = 0;
	c->null_count = 0;
	c->loaded = counter_count(c);
	c->ce = counter_mode(c) == 3 ? c->loaded & ~1U : c->loaded;
	c->live = !is_periodic(c);
	switch (counter_mode(c)) {
	case 0:
	case 1:
		c->out = 0;
		break;
	case 2:
		c->out = !c->gate || c->ce != 1;
		break;
	default:
		c->out = 1;
	}
	return c->out && !was;
}

/* Modes 0, 1, 4, 5. Expired, CE wraps and goes on counting, and OUT does nothing any more. */
static uint64_t run_once(struct pit_counter *c, uint64_t pulses)
{
	uint32_t modulus = counter_modulus(c);
	uint64_t rises = 0;

	if (is_strobe(c) && !c->out) {
		c->out = 1;
		rises = 1;
	}
	if (!counts_down(c))
		return rises;
	if (c->live && pulses >= c->ce) {
		c->live = 0;
		/* A strobe rises on the pulse behind. */
		c->out = !is_strobe(c) || pulses != c->ce;
		rises += c->out;
	}
	c->ce = (uint32_t)((c->ce + modulus - pulses % modulus) % modulus);
	return rises;
}

/* Mode 2: N, N - 1, … 1 with OUT low, N. */
static uint64_t run_rate(struct pit_counter *c, uint64_t pulses)
{
	uint64_t rises = 0;

	if (!c->gate)
		return 0;
	if (pulses < c->ce) {
		c->ce -= (uint32_t)pulses;
	} else {
		pulses -= c->ce;
		c->loaded = counter_count(c);
		c->null_count = 0;
		if (c->loaded != 1)
			rises = 1 + pulses / c->loaded;
		c->ce = c->loaded - (uint32_t)(pulses % c->loaded);
	}
	c->out = c->ce != 1;
	return rises;
}

/* CLK pulses to the end of this half of the square: an odd count has one more while OUT is high. */
static uint32_t square_left(const struct pit_counter *c)
{
	return c->ce / 2 + (c->out & c->loaded & 1);
}

/* Mode 3: N / 2 pulses high, N / 2 low. A new count is loaded at the end of either half. */
static uint64_t run_square(struct pit_counter *c, uint64_t pulses)
{
	uint32_t left = square_left(c), half, n;
	uint64_t rises = 0;

	if (!c->gate)
		return 0;
	if (pulses < left) {
		c->ce -= 2 * (uint32_t)pulses;
		return 0;
	}
	pulses -= left;
	n = counter_count(c);
	c->loaded = n;
	c->null_count = 0;
	if (!c->out) {
		c->out = 1;
		rises = 1;
	} else {
		c->out = n == 1; /* its low half has no length */
	}
	if (n != 1)
		rises += pulses / n;
	pulses %= n;
	half = c->out ? (n + 1) / 2 : n / 2;
	if (pulses >= half) {
		pulses -= half;
		c->out = !c->out;
		rises += c->out;
	}
	c->ce = (n & ~1U) - 2 * (uint32_t)pulses;
	return rises;
}

static uint64_t counter_run(struct pit_counter *c, uint64_t pulses)
{
	uint64_t rises = 0;

	if (pulses && c->load) {
		rises = counter_load(c);
		pulses--;
	}
	if (!pulses || !c->loaded)
		return rises;
	switch (counter_mode(c)) {
	case 2:
		return rises + run_rate(c, pulses);
	case 3:
		return rises + run_square(c, pulses);
	default:
		return rises + run_once(c, pulses);
	}
}

/* CLK pulses until OUT rises next, if nothing is written; 0: it does not. */
static uint64_t counter_next_rise(const struct pit_counter *counter)
{
	struct pit_counter c = *counter;
	uint32_t n = counter_count(&c);
	uint64_t pulses = 0;

	if (c.load) {
		if (counter_load(&c))
			return 1;
		pulses = 1;
	}
	if (!c.loaded)
		return 0;
	switch (counter_mode(&c)) {
	case 2:
		return c.gate && n != 1 ? pulses + c.ce : 0;
	case 3:
		if (!c.gate || (c.out && n == 1))
			return 0;
		return pulses + square_left(&c) + (c.out ? n / 2 : 0);
	default:
		if (is_strobe(&c) && !c.out)
			return 1;
		if (!c.live || !counts_down(&c))
			return 0;
		return pulses + c.ce + is_strobe(&c);
	}
}

/* "Write operations": the control word resets the counter's logic, and OUT, at once. */
static void counter_program(struct pit_counter *c, uint8_t control)
{
	*c = (struct pit_counter){
		.control = control & CONTROL_KEPT,
		.gate = c->gate,
		.null_count = 1,
	};
	c->out = counter_mode(c) != 0;
}

static void counter_write(struct pit_counter *c, uint8_t value)
{
	unsigned int mode = counter_mode(c);

	/* Mode 0: a new count takes OUT low, its first byte already. */
	if (mode == 0) {
		c->out = 0;
		c->live = 0;
	}
	if (counter_rw(c) == RW_BOTH && !c->second_write) {
		c->lsb = value;
		c->second_write = 1;
		return;
	}
	/* A byte that the access mode leaves out is 0 ("Counter 0, 1, 2": CR is cleared). */
	c->cr = counter_rw(c) == RW_LSB ? value : (uint16_t)((unsigned int)value << 8 | c->lsb);
	c->second_write = 0;
	c->written = 1;
	c->null_count = 1;
	/* Modes 1 and 5 wait for a trigger; a rate that runs, for the end of its period. */
	if (mode == 0 || mode == 4 || (is_periodic(c) && !c->loaded))
		c->load = 1;
}

static void counter_latch(struct pit_counter *c)
{
	if (c->ol_latched)
		return;
	c->ol = counter_value(c);
	c->ol_latched = 1;
}

static void counter_latch_status(struct pit_counter *c)
{
	if (c->status_latched)
		return;
	c->status = (uint8_t)((c->out ? STATUS_OUT : 0) | (c->null_count ? STATUS_NULL : 0) |
			      c->control);
	c->status_latched = 1;
}

static uint8_t counter_read(struct pit_counter *c)
{
	uint16_t value = c->ol_latched ? c->ol : counter_value(c);
	bool second = counter_rw(c) == RW_BOTH ? c->second_read : counter_rw(c) == RW_MSB;

	if (c->status_latched) {
		c->status_latched = 0;
		return c->status;
	}
	if (counter_rw(c) == RW_BOTH)
		c->second_read = !c->second_read;
	if (counter_rw(c) != RW_BOTH || second)
		c->ol_latched = 0;
	return (uint8_t)(second ? value >> 8 : value);
}

/* "Gate": edges act in modes 1, 2, 3, 5, levels in all but 1 and 5. */
static void counter_set_gate(struct pit_counter *c, bool level)
{
	bool rises = level && !c->gate;

	c->gate = level;
	if (rises && c->written && counter_mode(c) != 0 && counter_mode(c) != 4)
		c->load = 1;
	if (!level && is_periodic(c))
		c->out = 1;
}

static bool once_possible(const struct pit_counter *c)
{
	if (c->live && !c->ce)
		return false;
	switch (counter_mode(c)) {
	case 0:
		return !(c->live && c->out);
	case 1:
		return c->out == !c->live;
	default:
		return c->out || (!c->live && !c->ce);
	}
}

/* Whether some sequence of writes, gates and CLK pulses could have led here. */
static bool counter_possible(const struct pit_counter *c)
{
	bool both = counter_rw(c) == RW_BOTH;

	if (c->control & ~CONTROL_KEPT || counter_rw(c) == RW_LATCH ||
	    (c->second_write | c->second_read) > both ||
	    (c->ol_latched | c->status_latched | c->written | c->load | c->live | c->null_count |
	     c->out | c->gate) > 1 ||
	    c->reserved[0] || c->reserved[1] || c->reserved[2])
		return false;
	if ((c->load || c->loaded) > c->written || (!c->written && !c->null_count))
		return false;
	if (!c->loaded)
		return !c->ce && !c->live && c->out == (counter_mode(c) != 0);
	if (c->loaded > counter_modulus(c) || c->ce > counter_modulus(c))
		return false;
	switch (counter_mode(c)) {
	case 2:
		return !c->live && c->ce && c->ce <= c->loaded &&
		       (c->out || (c->gate && c->ce == 1));
	case 3:
		return !c->live && !(c->ce & 1) && c->ce <= c->loaded && square_left(c) &&
		       (c->out || c->gate);
	default:
		return once_possible(c);
	}
}

/* The part in its machine */

/* CLK pulses since the start of virtual time. */
static uint64_t pit_pulses(uint64_t now)
{
	return now / NS_PER_S * PIT_HZ + now % NS_PER_S * PIT_HZ / NS_PER_S;
}

/* The first moment at which so many have come. */
static uint64_t pit_moment(uint64_t pulses)
{
	uint64_t rest = pulses % PIT_HZ * NS_PER_S;

	return pulses / PIT_HZ * NS_PER_S + (rest + PIT_HZ - 1) / PIT_HZ;
}

static void pit_catch_up(struct pit *pit, uint64_t now)
{
	struct pit_state *s = &pit->state;
	uint64_t pulses = pit_pulses(now) - s->at;

	s->at += pulses;
	s->owed += counter_run(&s->counter[0], pulses);
	counter_run(&s->counter[1], pulses);
	counter_run(&s->counter[2], pulses);
}

static bool pit_wire(const struct pit *pit)
{
	const struct pit_counter *c = &pit->state.counter[0];

	return counter_mode(c) != 0 || c->out;
}

static void pit_skip_owed(struct pit_state *s)
{
	s->coalesced += s->owed;
	s->owed = 0;
}

/* Delivers one edge, if one is owed and may come, and decides on what is owed then. */
static void pit_deliver(struct pit *pit, uint64_t now)
{
	struct pit_state *s = &pit->state;
	uint64_t period, apart = PIT_TICK_MIN;

	if (!s->owed || now < pit->quiet_until)
		return;
	irq_set(&pit->line, false);
	irq_set(&pit->line, true);
	s->owed--;
	if (!is_periodic(&s->counter[0])) {
		pit_skip_owed(s);
		return;
	}
	period = counter_count(&s->counter[0]) * NS_PER_S / PIT_HZ;
	if (!pit->options.reinject || period < PIT_TICK_MIN)
		pit_skip_owed(s);
	if (s->owed)
		apart = MAX(apart, period / 2);
	pit->quiet_until = now + apart;
}

static void pit_arm(struct pit *pit)
{
	const struct pit_state *s = &pit->state;
	uint64_t pulses = counter_next_rise(&s->counter[0]);

	if (s->owed)
		timer_arm(&pit->edge, pit->quiet_until);
	else if (pulses)
		timer_arm(&pit->edge, MAX(pit_moment(s->at + pulses), pit->quiet_until));
	else
		timer_cancel(&pit->edge);
}

static void pit_edge(struct device *dev, struct timer *t)
{
	struct pit *pit = to_pit(dev);
	uint64_t now = vtime_now(dev->machine->time);

	(void)t;
	pit_catch_up(pit, now);
	pit_deliver(pit, now);
	pit_arm(pit);
}

static uint64_t pit_read(struct device *dev, uint64_t offset, unsigned int size)
{
	struct pit *pit = to_pit(dev);

	(void)size;
	if (offset == PIT_CONTROL_AT) {
		trace_event(TRACE_REMARK, dev->number, TRACE_BLIND_READ, 0, (uint32_t)offset, 0, 0);
		return 0xff;
	}
	pit_catch_up(pit, vtime_now(dev->machine->time));
	return counter_read(&pit->state.counter[offset]);
}

static void read_back(struct pit_state *s, uint8_t command)
{
	for (unsigned int i = 0; i < PIT_COUNTERS; i++) {
		if (!(command & 2U << i))
			continue;
		if (!(command & READ_BACK_NO_COUNT))
			counter_latch(&s->counter[i]);
		if (!(command & READ_BACK_NO_STATUS))
			counter_latch_status(&s->counter[i]);
	}
}

/* A control word or a count for @c. */
static void pit_change(struct pit *pit, struct pit_counter *c, bool program, uint8_t value,
		       uint64_t now)
{
	bool drives = c == &pit->state.counter[0];

	/* What was due in front of this write comes in front of it. */
	if (drives)
		pit_deliver(pit, now);
	if (program)
		counter_program(c, value);
	else
		counter_write(c, value);
	if (!drives)
		return;
	if (program) {
		pit_skip_owed(&pit->state);
		pit->quiet_until = 0;
	}
	irq_set(&pit->line, pit_wire(pit));
	pit_arm(pit);
}

static void pit_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pit *pit = to_pit(dev);
	struct pit_state *s = &pit->state;
	uint64_t now = vtime_now(dev->machine->time);
	uint8_t byte = (uint8_t)value;

	(void)size;
	pit_catch_up(pit, now);
	if (offset != PIT_CONTROL_AT)
		pit_change(pit, &s->counter[offset], false, byte, now);
	else if (byte >> CONTROL_SELECT == READ_BACK)
		read_back(s, byte);
	else if ((byte >> CONTROL_RW & 3) == RW_LATCH)
		counter_latch(&s->counter[byte >> CONTROL_SELECT]);
	else
		pit_change(pit, &s->counter[byte >> CONTROL_SELECT], true, byte, now);
}

static uint64_t gate_read(struct device *dev, uint64_t offset, unsigned int size)
{
	struct pit *pit = to_pit(dev);
	const struct pit_state *s = &pit->state;

	(void)offset;
	(void)size;
	pit_catch_up(pit, vtime_now(dev->machine->time));
	return s->gate_port | (s->at / PIT_REFRESH & 1 ? GATE_REFRESH : 0) |
	       (s->counter[2].out ? GATE_OUT_2 : 0);
}

static void gate_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pit *pit = to_pit(dev);

	(void)offset;
	(void)size;
	pit_catch_up(pit, vtime_now(dev->machine->time));
	pit->state.gate_port = value & GATE_KEPT;
	counter_set_gate(&pit->state.counter[2], value & GATE_2);
}

static const struct bus_ops pit_ops = {.read = pit_read, .write = pit_write, .max_size = 1};
static const struct bus_ops gate_ops = {
	.read = gate_read,
	.write = gate_write,
	.max_size = 1,
	.region = 1,
};

static int pit_create(struct device *dev, struct err *err)
{
	struct pit *pit = to_pit(dev);
	struct machine *m = dev->machine;
	int ret;

	timer_init(&pit->edge, m->time, dev, pit_edge);
	ret = irq_attach(m->irqs, &pit->line, PIT_GSI, err);
	if (ret)
		return ret;
	ret = bus_map(m->ports, PIT_BASE, PIT_LEN, &pit_ops, dev, err);
	if (ret)
		return ret;
	pit->mapped = true;
	ret = bus_map(m->ports, PIT_GATE_PORT, 1, &gate_ops, dev, err);
	pit->gate_mapped = !ret;
	return ret;
}

/*
 * The data sheet leaves the power-on state undefined, and a PC's firmware has the counters run
 * before anybody else sees them. Here they stand, OUT low, until they are programmed.
 */
static void pit_reset(struct device *dev)
{
	struct pit *pit = to_pit(dev);
	struct pit_state *s = &pit->state;

	*s = (struct pit_state){.at = pit_pulses(vtime_now(dev->machine->time))};
	for (unsigned int i = 0; i < PIT_COUNTERS; i++) {
		counter_program(&s->counter[i], RW_BOTH << CONTROL_RW);
		s->counter[i].gate = i != 2;
	}
	pit->quiet_until = 0;
	irq_set(&pit->line, pit_wire(pit));
	pit_arm(pit);
}

static int pit_loaded(struct device *dev, struct err *err)
{
	struct pit *pit = to_pit(dev);
	const struct pit_state *s = &pit->state;
	const struct pit_counter *c = s->counter;

	for (unsigned int i = 0; i < PIT_COUNTERS; i++)
		if (!counter_possible(&c[i]))
			return err_set(err, EPROTO,
				       "%s: counter %u, with control word %#x, is in no state that "
				       "the device can be in",
				       dev->id, i, c[i].control);
	if (s->gate_port & ~GATE_KEPT || s->reserved[0] || s->reserved[1] || s->reserved[2] ||
	    !c[0].gate || !c[1].gate || c[2].gate != (s->gate_port & GATE_2))
		return err_set(err, EPROTO,
			       "%s: port %#x, %#x, does not go with the counters' gates", dev->id,
			       PIT_GATE_PORT, s->gate_port);
	if (s->at > pit_pulses(vtime_now(dev->machine->time)) || s->owed > s->at)
		return err_set(err, EPROTO, "%s: the counters are ahead of the machine's time",
			       dev->id);
	pit->quiet_until = 0;
	irq_set(&pit->line, pit_wire(pit));
	pit_arm(pit);
	return 0;
}

static void pit_destroy(struct device *dev)
{
	struct pit *pit = to_pit(dev);

	if (pit->gate_mapped)
		bus_unmap(dev->machine->ports, PIT_GATE_PORT);
	if (pit->mapped)
		bus_unmap(dev->machine->ports, PIT_BASE);
	timer_cancel(&pit->edge);
	irq_detach(&pit->line);
}

static void pit_describe(const struct device *dev, struct aml *aml)
{
	(void)dev;
	aml_device(aml, "TIMR");
	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0100");
	aml_name(aml, "_CRS");
	aml_resources(aml);
	aml_io(aml, PIT_BASE, PIT_LEN);
	aml_irq(aml, PIT_GSI);
	aml_end(aml);
	aml_end(aml);
}

/* Explaining: for each counter, in what bytes it is written, and whether the high one is next. */

static void explain_control(uint8_t value, uint8_t *memory, struct explanation *e)
{
	static const char *const bytes[] = {"latch", "low byte", "high byte", "low and high byte"};
	const unsigned int counter = value >> CONTROL_SELECT, rw = value >> CONTROL_RW & 3;

	explain_reg(e, "CONTROL");
	if (counter == READ_BACK) {
		explain_add(e, "read back%s%s of", value & READ_BACK_NO_COUNT ? "" : " count",
			    value & READ_BACK_NO_STATUS ? "" : " status");
		for (unsigned int i = 0; i < PIT_COUNTERS; i++)
			if (value & 2U << i)
				explain_add(e, "%u", i);
		return;
	}
	explain_add(e, "counter %u: %s", counter, bytes[rw]);
	if (!rw)
		return;
	/* Modes 6 and 7 are 2 and 3. */
	explain_add(e, "mode %u%s", value >> CONTROL_MODE & (value & 0x04 ? 3 : 7),
		    value & CONTROL_BCD ? " BCD" : "");
	memory[counter] = (uint8_t)rw;
}

static void pit_explain(const struct access *a, struct explain_memory *m, struct explanation *e)
{
	static const char *const gate[] = {"gate 2", "speaker", NULL, NULL, "refresh", "out 2"};
	uint8_t *rw;

	if (a->region) {
		explain_reg(e, "PORT_B");
		explain_bits(e, a->value, gate, ARRAY_SIZE(gate));
		return;
	}
	if (a->offset >= PIT_CONTROL_AT) {
		explain_control((uint8_t)a->value, m->byte, e);
		return;
	}
	rw = &m->byte[a->offset];
	explain_reg(e, "COUNTER%u", (unsigned int)a->offset);
	if (!a->write || !(*rw & 3))
		return;
	/* Bit 7: of two bytes, the high one is next. */
	explain_add(e, *rw == 2 || *rw & 0x80 ? "high byte" : "low byte");
	*rw ^= (*rw & 3) == 3 ? 0x80 : 0;
}

DEVICE_CLASS(pit8254) = {
	.name = "pit8254",
	.summary = "interval timer of a PC (8254), with the gate of its third counter",
	.size = sizeof(struct pit),
	.options = pit_options,
	.options_offset = offsetof(struct pit, options),
	.split_only = true,
	.state = &pit_state,
	.state_offset = offsetof(struct pit, state),
	.ticks = true,
	.create = pit_create,
	.reset = pit_reset,
	.loaded = pit_loaded,
	.destroy = pit_destroy,
	.describe = pit_describe,
	.explain = pit_explain,
};
