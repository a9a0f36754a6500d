/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 8254 by its data sheet (Intel 231164): tables of what CE and OUT are behind each CLK pulse, a
 * model that steps pulse by pulse and is compared with the device at random, and what a PC makes of
 * it: interrupt 0, port 61h.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/state.h"
#include "support/cm.h"
#include "support/rig.h"

#define HZ      1193182
#define CONTROL 0x43
#define GATE    0x61
#define IRQ     0
#define MS      UINT64_C(1000000)
#define APART   UINT64_C(100000) /* the least time between two ticks */

#define GATE_2 0x01
#define OUT_2  0x20

/* Control words: counter, access, mode; BCD is bit 0. */
#define WORD(counter, rw, mode) ((uint8_t)((counter) << 6 | (rw) << 4 | (mode) << 1))
#define LSB                     1
#define MSB                     2
#define BOTH                    3

struct bench {
	struct rig rig;
	struct device *pit;
	uint64_t now;
};

static void bench_with(struct bench *b, const char *options)
{
	memset(b, 0, sizeof(*b));
	rig_init(&b->rig, 0);
	b->pit = rig_device(&b->rig, "pit", "pit8254", options);
	if (!b->pit)
		fail_msg("%s", b->rig.err.text);
}

static void bench_end(struct bench *b)
{
	device_destroy(b->pit);
	rig_fini(&b->rig);
}

static int set_up(void **state)
{
	static struct bench b;

	bench_with(&b, "");
	*state = &b;
	return 0;
}

static int tear_down(void **state)
{
	bench_end(*state);
	return 0;
}

static uint8_t in(struct bench *b, uint16_t port)
{
	return rig_in8(&b->rig, port);
}

static void out(struct bench *b, uint16_t port, uint8_t v)
{
	rig_out8(&b->rig, port, v);
}

static void out16(struct bench *b, uint16_t port, unsigned int v)
{
	out(b, port, (uint8_t)v);
	out(b, port, (uint8_t)(v >> 8));
}

static unsigned int in16(struct bench *b, uint16_t port)
{
	unsigned int low = in(b, port);

	return low | (unsigned int)in(b, port) << 8;
}

static void advance(struct bench *b, uint64_t ns)
{
	vtime_advance(b->rig.machine.time, ns);
	b->now += ns;
}

/* The first nanosecond behind CLK pulse @pulse. */
static uint64_t moment(uint64_t pulse)
{
	return (uint64_t)(((unsigned __int128)pulse * NS_PER_S + HZ - 1) / HZ);
}

static uint64_t pulse_of(uint64_t ns)
{
	return (uint64_t)((unsigned __int128)ns * HZ / NS_PER_S);
}

static void advance_to(struct bench *b, uint64_t ns)
{
	assert_true(ns >= b->now);
	advance(b, ns - b->now);
}

static void pulses(struct bench *b, uint64_t n)
{
	advance_to(b, moment(pulse_of(b->now) + n));
}

static uint64_t field(struct bench *b, const char *name)
{
	const struct state_table *t = b->pit->class->state;
	uint64_t v = 0;

	for (uint32_t i = 0; i < t->count; i++)
		if (!strcmp(t->fields[i].name, name)) {
			memcpy(&v, (char *)device_state(b->pit) + t->fields[i].offset,
			       t->fields[i].width);
			return v;
		}
	fail_msg("no field %s", name);
	return 0;
}

static uint8_t status_of(struct bench *b, unsigned int counter)
{
	out(b, CONTROL, (uint8_t)(0xe0 | 2U << counter));
	return in(b, (uint16_t)(0x40 + counter));
}

/* OUT of a counter, and its CE, without a change to either; the access mode is LSB. */
static void expect(struct bench *b, unsigned int counter, int ce, int level, const char *what,
		   unsigned int at)
{
	uint8_t status = status_of(b, counter), low = in(b, (uint16_t)(0x40 + counter));

	if (status >> 7 != level || (ce >= 0 && low != (uint8_t)ce))
		fail_msg("%s: behind pulse %u CE is %#x and OUT %d, not %#x and %d", what, at, low,
			 status >> 7, (unsigned int)ce, level);
}

/*
 * The timing diagrams of the data sheet. Each word is a CLK pulse: what happens in front of it (w5:
 * a count of 5 is written; + and -: GATE rises, falls; !: both), a colon, and behind the pulse CE,
 * or ? where nobody looks, and OUT: ^ high, _ low.
 */
static const struct diagram {
	const char *name;
	uint8_t mode;
	bool gate;
	const char *steps;
} diagrams[] = {
	{"mode 0", 0, true, "w4:4_ 3_ 2_ 1_ 0^ ff^ fe^ w2:2_ 1_ 0^ ff^"},
	{"mode 0, gate", 0, true, "w3:3_ 2_ -:2_ 2_ +:1_ 0^ -:0^ 0^ w2:2_ 2_ +:1_ 0^"},
	{"mode 0, new count", 0, true, "w3:3_ 2_ w2:2_ 1_ 0^ ff^"},
	{"mode 0, count 1", 0, true, "w1:1_ 0^ ff^"},
	{"mode 1", 1, false, "w3:?^ ?^ +:3_ 2_ 1_ 0^ ff^ -:fe^ !:3_ 2_ 1_ 0^"},
	{"mode 1, triggered anew", 1, false, "w3:?^ !:3_ 2_ !:3_ 2_ 1_ 0^"},
	{"mode 1, new count", 1, false, "w2:?^ !:2_ w4:1_ 0^ ff^ !:4_ 3_ 2_ 1_ 0^"},
	{"mode 2", 2, true, "w3:3^ 2^ 1_ 3^ 2^ 1_ 3^"},
	{"mode 2, gate", 2, true, "w3:3^ 2^ -:2^ 2^ +:3^ 2^ 1_ -:1^ 1^ +:3^ -:3^"},
	{"mode 2, new count", 2, true, "w4:4^ 3^ w5:2^ 1_ 5^ 4^ 3^ 2^ 1_ 5^"},
	{"mode 2, new count and trigger", 2, true, "w6:6^ w3:5^ -:5^ +:3^ 2^ 1_ 3^"},
	{"mode 2, written without gate", 2, false, "w3:3^ 3^ +:3^ 2^ 1_"},
	{"mode 2, count 1: no edges", 2, true, "w1:1_ 1_ 1_ w2:2^ 1_ 2^"},
	{"mode 3, even", 3, true, "w4:4^ 2^ 4_ 2_ 4^ 2^ 4_"},
	{"mode 3, odd", 3, true, "w5:4^ 2^ 0^ 4_ 2_ 4^ 2^ 0^ 4_"},
	{"mode 3, gate", 3, true, "w4:4^ 2^ 4_ -:4^ 4^ +:4^ 2^ 4_"},
	{"mode 3, new count at the end of a half", 3, true,
	 "w6:6^ w3:4^ 2^ 2_ 2^ 0^ 2_ w4:4^ 2^ 4_"},
	{"mode 3, count 2", 3, true, "w2:2^ 2_ 2^ 2_"},
	{"mode 3, count 1: no edges", 3, true, "w1:0^ 0^ 0^"},
	{"mode 4", 4, true, "w3:3^ 2^ 1^ 0_ ff^ fe^ w1:1^ 0_ ff^"},
	{"mode 4, gate", 4, true, "w2:2^ -:2^ 2^ +:1^ 0_ -:0^ +:ff^"},
	{"mode 4, new count", 4, true, "w3:3^ 2^ w2:2^ 1^ 0_ w2:2^ 1^ 0_ ff^"},
	{"mode 5", 5, false, "w3:?^ ?^ !:3^ 2^ 1^ 0_ ff^ +:3^ 2^ -:1^ 0_ ff^"},
	{"mode 5, triggered anew, new count", 5, false, "w3:?^ !:3^ 2^ !:3^ w5:2^ 1^ !:5^ 4^"},
	{"mode 6 is 2", 6, true, "w2:2^ 1_ 2^"},
	{"mode 7 is 3", 7, true, "w5:4^ 2^ 0^ 4_"},
};

static const char *do_events(struct bench *b, const char *word)
{
	if (!strchr(word, ':') || strcspn(word, ":") > strcspn(word, " "))
		return word;
	for (; *word != ':'; word++) {
		if (*word == 'w')
			out(b, 0x42, (uint8_t)(*++word - '0'));
		if (*word == '+' || *word == '!')
			out(b, GATE, GATE_2);
		if (*word == '-' || *word == '!')
			out(b, GATE, 0);
	}
	return word + 1;
}

static void run_diagram(struct bench *b, const struct diagram *d)
{
	const char *word = d->steps;

	for (unsigned int at = 1; *word; at++) {
		char *end = NULL;
		int ce = -1;

		word = do_events(b, word);
		pulses(b, 1);
		if (*word == '?') {
			word++;
		} else {
			ce = (int)strtol(word, &end, 16);
			word = end;
		}
		expect(b, 2, ce, *word == '^', d->name, at);
		assert_int_equal(!!(in(b, GATE) & OUT_2), *word == '^');
		word += strspn(word, "^_ ");
	}
}

static void timing_diagrams(void **state)
{
	struct bench *b = *state;

	for (size_t i = 0; i < ARRAY_SIZE(diagrams); i++) {
		const struct diagram *d = &diagrams[i];

		out(b, GATE, d->gate ? GATE_2 : 0);
		out(b, CONTROL, WORD(2, LSB, d->mode));
		assert_int_equal(status_of(b, 2), (d->mode ? 0xc0 : 0x40) | 1 << 4 | d->mode << 1);
		run_diagram(b, d);
	}
}

/* OUT changes at once, without a CLK pulse, by a control word, by a count of mode 0, by a gate. */
static void out_without_a_pulse(void **state)
{
	struct bench *b = *state;

	out(b, GATE, GATE_2);
	out(b, CONTROL, WORD(2, BOTH, 0));
	assert_false(in(b, GATE) & OUT_2);
	out16(b, 0x42, 2);
	pulses(b, 3);
	assert_true(in(b, GATE) & OUT_2);
	/* The first byte takes it low and stops the count; the second starts it. */
	out(b, 0x42, 2);
	assert_false(in(b, GATE) & OUT_2);
	pulses(b, 100);
	assert_false(in(b, GATE) & OUT_2);
	assert_int_equal(in16(b, 0x42), 0);
	out(b, 0x42, 0);
	pulses(b, 2);
	assert_false(in(b, GATE) & OUT_2);
	pulses(b, 1);
	assert_true(in(b, GATE) & OUT_2);
	out(b, CONTROL, WORD(2, BOTH, 0));
	assert_false(in(b, GATE) & OUT_2);
	for (uint8_t mode = 1; mode < 6; mode++) {
		out(b, CONTROL, WORD(2, BOTH, mode));
		assert_true(in(b, GATE) & OUT_2);
	}
	out(b, CONTROL, WORD(2, LSB, 2));
	out(b, 0x42, 2);
	pulses(b, 2);
	assert_false(in(b, GATE) & OUT_2);
	out(b, GATE, 0);
	assert_true(in(b, GATE) & OUT_2);
}

/* Access */

static void access_modes(void **state)
{
	struct bench *b = *state;

	/* What the access mode leaves out is zero; the flip-flops are apart. */
	out(b, GATE, GATE_2);
	out(b, CONTROL, WORD(2, MSB, 2));
	out(b, 0x42, 0x12);
	pulses(b, 1);
	assert_int_equal(in(b, 0x42), 0x12);
	pulses(b, 1);
	assert_int_equal(in(b, 0x42), 0x11);
	assert_int_equal(in(b, 0x42), 0x11);

	out(b, CONTROL, WORD(2, LSB, 2));
	out(b, 0x42, 0x34);
	pulses(b, 1);
	assert_int_equal(in(b, 0x42), 0x34);
	assert_int_equal(in(b, 0x42), 0x34);
	pulses(b, 0x34);
	assert_int_equal(in(b, 0x42), 0x34);

	out(b, CONTROL, WORD(2, BOTH, 2));
	out(b, 0x42, 0x78);
	assert_int_equal(in(b, 0x42), 0);
	out(b, 0x42, 0x56);
	pulses(b, 1);
	assert_int_equal(in(b, 0x42), 0x56);
	assert_int_equal(in(b, 0x42), 0x78);
	/* A control word resets the flip-flops. */
	out(b, 0x42, 0xaa);
	out(b, CONTROL, WORD(2, BOTH, 2));
	out16(b, 0x42, 0x1234);
	pulses(b, 1);
	assert_int_equal(in16(b, 0x42), 0x1234);
	/* The control word register cannot be read. */
	assert_int_equal(in(b, CONTROL), 0xff);
}

static void zero_is_the_most(void **state)
{
	struct bench *b = *state;

	out(b, GATE, GATE_2);
	out(b, CONTROL, WORD(2, BOTH, 0));
	out16(b, 0x42, 0);
	pulses(b, 1);
	assert_int_equal(in16(b, 0x42), 0);
	pulses(b, 1);
	assert_int_equal(in16(b, 0x42), 0xffff);
	pulses(b, 65534);
	assert_int_equal(in16(b, 0x42), 1);
	assert_false(in(b, GATE) & OUT_2);
	pulses(b, 1);
	assert_true(in(b, GATE) & OUT_2);

	out(b, CONTROL, WORD(2, BOTH, 0) | 1);
	out16(b, 0x42, 0);
	pulses(b, 1);
	assert_int_equal(in16(b, 0x42), 0);
	pulses(b, 1);
	assert_int_equal(in16(b, 0x42), 0x9999);
	pulses(b, 9998);
	assert_int_equal(in16(b, 0x42), 1);
	assert_false(in(b, GATE) & OUT_2);
	pulses(b, 1);
	assert_true(in(b, GATE) & OUT_2);
	pulses(b, 1);
	assert_int_equal(in16(b, 0x42), 0x9999);

	out(b, CONTROL, WORD(2, BOTH, 3));
	out16(b, 0x42, 0);
	pulses(b, 1);
	assert_int_equal(in16(b, 0x42), 0);
	pulses(b, 1);
	assert_int_equal(in16(b, 0x42), 0xfffe);
	pulses(b, 32766);
	assert_true(in(b, GATE) & OUT_2);
	assert_int_equal(in16(b, 0x42), 2);
	pulses(b, 1);
	assert_false(in(b, GATE) & OUT_2);
	assert_int_equal(in16(b, 0x42), 0);
}

static void bcd(void **state)
{
	struct bench *b = *state;

	out(b, GATE, GATE_2);
	out(b, CONTROL, WORD(2, BOTH, 2) | 1);
	out16(b, 0x42, 0x1001);
	pulses(b, 1);
	assert_int_equal(in16(b, 0x42), 0x1001);
	pulses(b, 1);
	assert_int_equal(in16(b, 0x42), 0x1000);
	pulses(b, 1);
	assert_int_equal(in16(b, 0x42), 0x0999);
	pulses(b, 999);
	assert_int_equal(in16(b, 0x42), 0x1001);
	/* What is no digit counts as what its bits say: a count of 15 * 1,111 modulo 10,000. */
	out(b, CONTROL, WORD(2, BOTH, 2) | 1);
	out16(b, 0x42, 0xffff);
	pulses(b, 1);
	assert_int_equal(in16(b, 0x42), 0x6665);
}

static void latches(void **state)
{
	struct bench *b = *state;

	out(b, GATE, GATE_2);
	out(b, CONTROL, WORD(2, BOTH, 2));
	out16(b, 0x42, 0x1234);
	pulses(b, 1);
	out(b, CONTROL, WORD(2, 0, 0));
	pulses(b, 4);
	/* A second latch command in front of the read is ignored. */
	out(b, CONTROL, WORD(2, 0, 0));
	assert_int_equal(in(b, 0x42), 0x34);
	pulses(b, 1);
	out(b, CONTROL, WORD(2, 0, 0));
	assert_int_equal(in(b, 0x42), 0x12);
	/* Read: the count itself again. */
	assert_int_equal(in16(b, 0x42), 0x122f);
	/* The latch command touches neither the mode nor the other counters. */
	out(b, CONTROL, WORD(2, BOTH, 2));
	out16(b, 0x42, 0x1234);
	pulses(b, 1);
	out(b, CONTROL, WORD(1, 0, 5) | 1);
	pulses(b, 1);
	assert_int_equal(in16(b, 0x42), 0x1233);
	/* A control word drops what is latched. */
	out(b, CONTROL, WORD(2, 0, 0));
	out(b, CONTROL, WORD(2, LSB, 4));
	out(b, 0x42, 0x77);
	pulses(b, 1);
	assert_int_equal(in(b, 0x42), 0x77);
	/* Latched in one-byte access: one read. */
	out(b, CONTROL, WORD(2, 0, 0));
	pulses(b, 2);
	assert_int_equal(in(b, 0x42), 0x77);
	assert_int_equal(in(b, 0x42), 0x75);
}

static void reads_back(void **state)
{
	struct bench *b = *state;

	out(b, GATE, GATE_2);
	for (unsigned int i = 0; i < 3; i++) {
		out(b, CONTROL, WORD(i, BOTH, 2));
		out16(b, (uint16_t)(0x40 + i), 0x1100 * (i + 1));
	}
	pulses(b, 1);
	/* Counts of all three at once, and the status of two of them in front. */
	out(b, CONTROL, 0xde);
	out(b, CONTROL, 0xec);
	pulses(b, 7);
	assert_int_equal(in16(b, 0x40), 0x1100);
	assert_int_equal(in(b, 0x41), 0x80 | BOTH << 4 | 2 << 1);
	assert_int_equal(in16(b, 0x41), 0x2200);
	assert_int_equal(in(b, 0x42), 0x80 | BOTH << 4 | 2 << 1);
	assert_int_equal(in16(b, 0x42), 0x3300);
	assert_int_equal(in16(b, 0x40), 0x10f9);
	/* Neither count nor status: nothing. Status that was not read stays as it was. */
	out(b, CONTROL, 0xfe);
	assert_int_equal(in16(b, 0x41), 0x21f9);
	out(b, CONTROL, 0xe8);
	out(b, CONTROL, WORD(1, LSB, 2));
	assert_int_equal(in(b, 0x42), 0x80 | BOTH << 4 | 2 << 1);
	out(b, CONTROL, 0xe4);
	out(b, 0x41, 2);
	pulses(b, 2);
	out(b, CONTROL, 0xe4);
	assert_int_equal(in(b, 0x41), 0xc0 | LSB << 4 | 2 << 1);
	assert_int_equal(in(b, 0x41), 1);
	assert_int_equal(status_of(b, 1), LSB << 4 | 2 << 1);
}

static void null_count(void **state)
{
	struct bench *b = *state;

	out(b, GATE, GATE_2);
	out(b, CONTROL, WORD(2, BOTH, 2));
	assert_int_equal(status_of(b, 2) & 0x40, 0x40);
	out16(b, 0x42, 10);
	assert_int_equal(status_of(b, 2) & 0x40, 0x40);
	pulses(b, 1);
	assert_int_equal(status_of(b, 2) & 0x40, 0);
	/* Of two bytes the second makes it null, until the period ends. */
	out(b, 0x42, 20);
	assert_int_equal(status_of(b, 2) & 0x40, 0);
	out(b, 0x42, 0);
	assert_int_equal(status_of(b, 2) & 0x40, 0x40);
	pulses(b, 9);
	assert_int_equal(status_of(b, 2) & 0x40, 0x40);
	pulses(b, 1);
	assert_int_equal(status_of(b, 2) & 0x40, 0);
	assert_int_equal(in16(b, 0x42), 20);
	/* Mode 1: until the trigger. */
	out(b, GATE, 0);
	out(b, CONTROL, WORD(2, LSB, 1));
	out(b, 0x42, 5);
	pulses(b, 5);
	assert_int_equal(status_of(b, 2) & 0x40, 0x40);
	out(b, GATE, GATE_2);
	pulses(b, 1);
	assert_int_equal(status_of(b, 2) & 0x40, 0);
}

static void a_trigger_needs_a_count(void **state)
{
	struct bench *b = *state;

	for (uint8_t mode = 1; mode < 6; mode++) {
		out(b, GATE, 0);
		out(b, CONTROL, WORD(2, BOTH, mode));
		out(b, GATE, GATE_2);
		pulses(b, 3);
		assert_int_equal(status_of(b, 2), 0xc0 | BOTH << 4 | mode << 1);
		assert_int_equal(in16(b, 0x42), 0);
		out(b, 0x42, 8);
		out(b, GATE, 0);
		out(b, GATE, GATE_2);
		pulses(b, 3);
		assert_int_equal(status_of(b, 2), 0xc0 | BOTH << 4 | mode << 1);
	}
}

/* The model: one CLK pulse at a time, counting in the representation that the guest reads. */

struct ref {
	uint8_t word; /* access, mode, BCD */
	uint16_t ce, cr, latch;
	uint8_t first, status;
	bool gate, out, null, odd;
	bool have_count, have_ce, reload, waits_expiry, strobing;
	bool half_written, half_read, latched, status_latched;
};

static unsigned int ref_mode(const struct ref *r)
{
	unsigned int mode = r->word >> 1 & 7;

	return mode >= 6 ? mode & 3 : mode;
}

static unsigned int ref_rw(const struct ref *r)
{
	return r->word >> 4 & 3;
}

static void ref_control(struct ref *r, uint8_t word)
{
	bool gate = r->gate;

	memset(r, 0, sizeof(*r));
	r->word = word & 0x3f;
	r->gate = gate;
	r->null = true;
	r->out = ref_mode(r) != 0;
}

static void ref_write(struct ref *r, uint8_t v)
{
	unsigned int mode = ref_mode(r);

	if (mode == 0) {
		r->out = false;
		r->waits_expiry = false;
	}
	switch (ref_rw(r)) {
	case LSB:
		r->cr = v;
		break;
	case MSB:
		r->cr = (uint16_t)(v << 8);
		break;
	default:
		if (!r->half_written) {
			r->first = v;
			r->half_written = true;
			return;
		}
		r->half_written = false;
		r->cr = (uint16_t)(v << 8 | r->first);
	}
	r->null = r->have_count = true;
	if (mode == 0 || mode == 4 || ((mode == 2 || mode == 3) && !r->have_ce))
		r->reload = true;
}

static void ref_gate(struct ref *r, bool level)
{
	unsigned int mode = ref_mode(r);

	if (level && !r->gate && r->have_count &&
	    (mode == 1 || mode == 2 || mode == 3 || mode == 5))
		r->reload = true;
	if (!level && (mode == 2 || mode == 3))
		r->out = true;
	r->gate = level;
}

static void ref_down(struct ref *r)
{
	if (!(r->word & 1)) {
		r->ce--;
		return;
	}
	for (unsigned int shift = 0; shift < 16; shift += 4) {
		if (r->ce >> shift & 15) {
			r->ce = (uint16_t)(r->ce - (1U << shift));
			return;
		}
		r->ce = (uint16_t)(r->ce | 9U << shift);
	}
}

static void ref_load(struct ref *r)
{
	r->ce = r->cr;
	r->odd = r->cr & 1;
	r->have_ce = true;
	r->null = false;
	if (ref_mode(r) == 3 && r->odd)
		ref_down(r);
}

static void ref_square(struct ref *r)
{
	if (r->ce != (r->odd && r->out ? 0 : 2)) {
		ref_down(r);
		ref_down(r);
		return;
	}
	r->out = !r->out;
	ref_load(r);
	if (r->cr == 1)
		r->out = true;
}

static void ref_start(struct ref *r)
{
	unsigned int mode = ref_mode(r);

	r->reload = false;
	ref_load(r);
	r->strobing = false;
	r->waits_expiry = mode != 2 && mode != 3;
	if (mode == 2)
		r->out = !r->gate || r->ce != 1;
	else
		r->out = mode >= 3;
}

static void ref_pulse(struct ref *r)
{
	unsigned int mode = ref_mode(r);

	if (r->reload) {
		ref_start(r);
		return;
	}
	if (!r->have_ce)
		return;
	if (r->strobing) {
		r->strobing = false;
		r->out = true;
	}
	if (mode != 1 && mode != 5 && !r->gate)
		return;
	switch (mode) {
	case 0:
	case 1:
	case 4:
	case 5:
		if (mode == 0 && r->half_written)
			return;
		ref_down(r);
		if (r->ce || !r->waits_expiry)
			return;
		r->waits_expiry = false;
		r->strobing = mode >= 4;
		r->out = mode < 4;
		return;
	case 2:
		if (r->ce == 1)
			ref_load(r);
		else
			ref_down(r);
		r->out = r->ce != 1;
		return;
	default:
		ref_square(r);
	}
}

static void ref_latch(struct ref *r)
{
	if (!r->latched)
		r->latch = r->ce;
	r->latched = true;
}

static void ref_latch_status(struct ref *r)
{
	if (!r->status_latched)
		r->status = (uint8_t)(r->out << 7 | r->null << 6 | r->word);
	r->status_latched = true;
}

static uint8_t ref_read(struct ref *r)
{
	uint16_t v = r->latched ? r->latch : r->ce;

	if (r->status_latched) {
		r->status_latched = false;
		return r->status;
	}
	if (ref_rw(r) == BOTH && !r->half_read) {
		r->half_read = true;
		return (uint8_t)v;
	}
	r->half_read = false;
	r->latched = false;
	return (uint8_t)(ref_rw(r) == LSB ? v : v >> 8);
}

static uint32_t draw(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005U + 1442695040888963407U;
	return (uint32_t)(*seed >> 33);
}

struct twin {
	struct bench bench;
	struct ref ref[3];
	uint64_t pulse;
	uint64_t rises; /* of OUT 0, on CLK pulses */
	uint64_t seed;
};

static void twin_advance(struct twin *t, uint64_t ns)
{
	advance(&t->bench, ns);
	for (; t->pulse < pulse_of(t->bench.now); t->pulse++) {
		bool was = t->ref[0].out;

		for (unsigned int i = 0; i < 3; i++)
			ref_pulse(&t->ref[i]);
		t->rises += t->ref[0].out && !was;
	}
}

static void twin_control(struct twin *t)
{
	uint8_t word = (uint8_t)draw(&t->seed);

	out(&t->bench, CONTROL, word);
	if (word >> 6 == 3) {
		for (unsigned int i = 0; i < 3; i++) {
			if (!(word & 2U << i))
				continue;
			if (!(word & 0x20))
				ref_latch(&t->ref[i]);
			if (!(word & 0x10))
				ref_latch_status(&t->ref[i]);
		}
	} else if (!(word & 0x30)) {
		ref_latch(&t->ref[word >> 6]);
	} else {
		ref_control(&t->ref[word >> 6], word);
	}
}

static void twin_write(struct twin *t, unsigned int i)
{
	uint32_t chance = draw(&t->seed) % 4;
	uint8_t v = (uint8_t)(chance ? draw(&t->seed) % 7 : draw(&t->seed));

	/* Small counts, so that much happens; decimal ones have digits. */
	if (t->ref[i].half_written && chance)
		v = 0;
	if (t->ref[i].word & 1)
		v = (uint8_t)((v >> 4) % 10 << 4 | (v & 15) % 10);
	out(&t->bench, (uint16_t)(0x40 + i), v);
	ref_write(&t->ref[i], v);
}

static void twin_look(struct twin *t)
{
	struct bench *b = &t->bench;

	assert_int_equal(!!(in(b, GATE) & OUT_2), t->ref[2].out);
	/* Counter 0: every edge is accounted for. */
	assert_int_equal(field(b, "counter[0].out"), t->ref[0].out);
	assert_true(field(b, "owed") + field(b, "coalesced") <= t->rises);
	/* What it has come to is always a state that can be loaded. */
	if (b->pit->class->loaded(b->pit, &b->rig.err))
		fail_msg("%s", b->rig.err.text);
}

static void twin_step(struct twin *t)
{
	uint32_t what = draw(&t->seed) % 16;
	unsigned int i = draw(&t->seed) % 3;
	bool level;

	switch (what) {
	case 0:
	case 1:
		twin_control(t);
		break;
	case 2:
	case 3:
		twin_write(t, i);
		break;
	case 4:
		level = draw(&t->seed) & 1;
		out(&t->bench, GATE, (uint8_t)(level | (draw(&t->seed) & 2)));
		ref_gate(&t->ref[2], level);
		break;
	case 5:
	case 6:
		twin_advance(t, draw(&t->seed) % 2000);
		break;
	case 7:
		twin_advance(t, draw(&t->seed) % 30000);
		break;
	case 8:
		if (draw(&t->seed) % 16 == 0)
			twin_advance(t, draw(&t->seed) % (60 * MS));
		break;
	case 9:
		twin_look(t);
		break;
	default:
		assert_int_equal(in(&t->bench, (uint16_t)(0x40 + i)), ref_read(&t->ref[i]));
	}
}

static void as_the_model(void **state)
{
	static struct twin t;

	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		bench_with(&t.bench, seed & 1 ? "" : "reinject=off");
		t.seed = seed;
		t.pulse = t.rises = 0;
		memset(t.ref, 0, sizeof(t.ref));
		for (unsigned int i = 0; i < 3; i++) {
			t.ref[i].gate = i != 2;
			ref_control(&t.ref[i], WORD(0, BOTH, 0));
		}
		for (unsigned int i = 0; i < 2000; i++)
			twin_step(&t);
		bench_end(&t.bench);
	}
}

/* Interrupt 0 */

static void ticks_are_exact(void **state)
{
	struct bench *b = *state;

	for (uint8_t mode = 2; mode < 4; mode++) {
		uint64_t start;
		unsigned int had;

		advance(b, 12345);
		out(b, CONTROL, WORD(0, BOTH, mode));
		out16(b, 0x40, 11931);
		start = pulse_of(b->now) + 1;
		had = b->rig.raised[IRQ];
		for (unsigned int i = 1; i <= 50; i++) {
			advance_to(b, moment(start + 11931 * i) - 1);
			assert_int_equal(b->rig.raised[IRQ], had + i - 1);
			assert_true(b->rig.level[IRQ]);
			advance(b, 1);
			assert_int_equal(b->rig.raised[IRQ], had + i);
			/* High until the next: a chip finds it when it is acknowledged. */
			assert_true(b->rig.level[IRQ]);
		}
	}
	assert_int_equal(field(b, "coalesced"), 0);
	assert_int_equal(field(b, "owed"), 0);
}

static void a_long_time_keeps_count(void **state)
{
	struct bench *b = *state;
	unsigned int had;

	out(b, CONTROL, WORD(0, BOTH, 2));
	out16(b, 0x40, 1193);
	had = b->rig.raised[IRQ];
	advance_to(b, moment(1 + UINT64_C(1193) * 100000));
	assert_int_equal(b->rig.raised[IRQ], had + 100000);
}

static void one_shots(void **state)
{
	struct bench *b = *state;

	/* Mode 0: low until the count expires, and then high for good. */
	out(b, CONTROL, WORD(0, BOTH, 0));
	assert_false(b->rig.level[IRQ]);
	out16(b, 0x40, 1000);
	advance_to(b, moment(1001) - 1);
	assert_false(b->rig.level[IRQ]);
	advance(b, 1);
	assert_true(b->rig.level[IRQ]);
	pulses(b, 200000);
	assert_int_equal(b->rig.raised[IRQ], 1);
	/* A new count lowers it at once. */
	out(b, 0x40, 5);
	assert_false(b->rig.level[IRQ]);
	pulses(b, 100);
	assert_int_equal(b->rig.raised[IRQ], 1);
	out(b, 0x40, 0);
	pulses(b, 6);
	assert_int_equal(b->rig.raised[IRQ], 2);
	/* However short, each one comes: the guest pays for them. */
	for (unsigned int i = 0; i < 100; i++) {
		out16(b, 0x40, 1);
		pulses(b, 2);
		assert_int_equal(b->rig.raised[IRQ], 3 + i);
	}
	/* Mode 4: a strobe ends one pulse behind. */
	out(b, CONTROL, WORD(0, LSB, 4));
	assert_int_equal(b->rig.raised[IRQ], 102);
	out(b, 0x40, 10);
	pulses(b, 11);
	assert_int_equal(b->rig.raised[IRQ], 102);
	pulses(b, 1);
	assert_int_equal(b->rig.raised[IRQ], 103);
	pulses(b, 200000);
	assert_int_equal(b->rig.raised[IRQ], 103);
	/* A rate that went before does not hold them up. */
	out(b, CONTROL, WORD(0, LSB, 2));
	out(b, 0x40, 200);
	pulses(b, 201);
	assert_int_equal(b->rig.raised[IRQ], 104);
	out(b, CONTROL, WORD(0, LSB, 0));
	out(b, 0x40, 1);
	pulses(b, 2);
	assert_int_equal(b->rig.raised[IRQ], 105);
	out(b, CONTROL, WORD(0, LSB, 4));
	b->rig.raised[IRQ] = 103;
	/* Modes 1 and 5: the gate is always high, so there is no trigger. */
	out(b, CONTROL, WORD(0, LSB, 1));
	out(b, 0x40, 10);
	pulses(b, 1000);
	out(b, CONTROL, WORD(0, LSB, 5));
	out(b, 0x40, 10);
	pulses(b, 1000);
	assert_int_equal(b->rig.raised[IRQ], 103);
	assert_int_equal(field(b, "coalesced"), 0);
}

static void other_counters_interrupt_nobody(void **state)
{
	struct bench *b = *state;

	out(b, GATE, GATE_2);
	for (unsigned int i = 1; i < 3; i++) {
		out(b, CONTROL, WORD(i, LSB, 2));
		out(b, (uint16_t)(0x40 + i), 200);
	}
	pulses(b, 10000);
	for (unsigned int i = 0; i < GSI_MAX; i++)
		assert_int_equal(b->rig.raised[i], 0);
}

/* A new count waits for the end of the period, and so does its interrupt. */
static void a_new_rate(void **state)
{
	struct bench *b = *state;

	out(b, CONTROL, WORD(0, BOTH, 2));
	out16(b, 0x40, 1000);
	pulses(b, 500);
	out16(b, 0x40, 2000);
	advance_to(b, moment(1001) - 1);
	assert_int_equal(b->rig.raised[IRQ], 1);
	advance(b, 1);
	assert_int_equal(b->rig.raised[IRQ], 2);
	advance_to(b, moment(3001) - 1);
	assert_int_equal(b->rig.raised[IRQ], 2);
	advance(b, 1);
	assert_int_equal(b->rig.raised[IRQ], 3);
}

static void tiny_periods_are_bounded(void **state)
{
	struct bench *b = *state;

	for (uint8_t mode = 2; mode < 4; mode++)
		for (unsigned int n = 2; n < 110; n += 9) {
			uint64_t start, was;
			unsigned int had;

			out(b, CONTROL, WORD(0, LSB, mode));
			start = b->now;
			was = field(b, "coalesced");
			out(b, 0x40, (uint8_t)n);
			had = b->rig.raised[IRQ];
			pulses(b, 100000);
			in(b, 0x40);
			/* What cannot be made up for is not owed. */
			assert_true(field(b, "owed") <= APART / (n * NS_PER_S / HZ) + 1);
			assert_in_range(b->rig.raised[IRQ] - had, 1, (b->now - start) / APART + 1);
			assert_int_equal(b->rig.raised[IRQ] - had + field(b, "coalesced") - was +
						 field(b, "owed"),
					 99999 / n);
		}
	/* These have no edges at all. */
	for (uint8_t mode = 2; mode < 4; mode++) {
		unsigned int had;

		out(b, CONTROL, WORD(0, LSB, mode));
		out(b, 0x40, 1);
		had = b->rig.raised[IRQ];
		pulses(b, 100000);
		assert_int_equal(b->rig.raised[IRQ], had);
	}
}

/*
 * A host that is late: the time that the device sees runs ahead of the one that fires its timers.
 * Returns how many ticks came at once.
 */
static unsigned int late_by(struct bench *b, uint64_t ns)
{
	struct vtime *timers = b->rig.machine.time, *seen;
	unsigned int had = b->rig.raised[IRQ];

	assert_int_equal(vtime_create_manual(&seen, &b->rig.err), 0);
	vtime_advance(seen, b->now + ns);
	b->rig.machine.time = seen;
	advance_to(b, b->now); /* b->now is the timers' */
	vtime_advance(timers, ns);
	b->now += ns;
	b->rig.machine.time = timers;
	vtime_destroy(seen);
	return b->rig.raised[IRQ] - had;
}

static void late_ticks_are_made_up_for(void **state)
{
	struct bench *b = *state;
	unsigned int had;

	out(b, CONTROL, WORD(0, BOTH, 2));
	out16(b, 0x40, 1193); /* 999.85 us */
	had = b->rig.raised[IRQ];
	pulses(b, 1 + 10 * 1193);
	assert_int_equal(b->rig.raised[IRQ], had + 10);
	assert_int_equal(late_by(b, moment(20 * 1193)), 1);
	assert_int_equal(field(b, "owed"), 19);
	/* Twice as fast as the guest asked for, and no faster. */
	for (unsigned int i = 1; i < 38; i++) {
		advance(b, 499924);
		assert_int_equal(b->rig.raised[IRQ], had + 11 + i);
	}
	/* On time again: all came, none was made up. */
	advance_to(b, moment(pulse_of(b->now) / 1193 * 1193 + 1193 * 10 + 1));
	assert_int_equal(b->rig.raised[IRQ], had + (pulse_of(b->now) - 1) / 1193);
	assert_int_equal(field(b, "owed"), 0);
	assert_int_equal(field(b, "coalesced"), 0);
	/* A control word drops what is owed. */
	late_by(b, 20 * MS);
	assert_true(field(b, "owed") > 10);
	had = (unsigned int)field(b, "owed");
	out(b, CONTROL, WORD(0, BOTH, 2));
	assert_int_equal(field(b, "owed"), 0);
	assert_int_equal(field(b, "coalesced"), had);
}

static void late_ticks_are_skipped(void **state)
{
	static struct bench b;
	unsigned int had;

	(void)state;
	bench_with(&b, "reinject=off");
	out(&b, CONTROL, WORD(0, BOTH, 3));
	out16(&b, 0x40, 1193);
	had = b.rig.raised[IRQ];
	pulses(&b, 1 + 10 * 1193);
	assert_int_equal(late_by(&b, moment(20 * 1193)), 1);
	assert_int_equal(field(&b, "owed"), 0);
	assert_int_equal(field(&b, "coalesced"), 19);
	/* The next comes when it is due. */
	advance_to(&b, moment(1 + 31 * 1193) - 1);
	assert_int_equal(b.rig.raised[IRQ], had + 11);
	advance(&b, 1);
	assert_int_equal(b.rig.raised[IRQ], had + 12);
	bench_end(&b);
}

/* A late host, and a guest that looks first: the edge comes in front of what the guest writes. */
static void an_edge_is_not_overtaken(void **state)
{
	struct bench *b = *state;
	struct vtime *timers = b->rig.machine.time, *seen;

	out(b, CONTROL, WORD(0, LSB, 0));
	out(b, 0x40, 50);
	assert_int_equal(vtime_create_manual(&seen, &b->rig.err), 0);
	vtime_advance(seen, MS);
	b->rig.machine.time = seen;
	assert_int_equal(status_of(b, 0) & 0x80, 0x80);
	assert_int_equal(b->rig.raised[IRQ], 0);
	out(b, 0x40, 50);
	assert_int_equal(b->rig.raised[IRQ], 1);
	assert_false(b->rig.level[IRQ]);
	b->rig.machine.time = timers;
	vtime_destroy(seen);
}

/* The virtual time of the host's timer, or somewhat later. */
static uint64_t wakes_at(struct bench *b)
{
	uint64_t host = clock_now(), now = vtime_now(b->rig.machine.time);
	uint64_t at = vtime_deadline(b->rig.machine.time);

	assert_true(at != UINT64_MAX);
	return at - host + now;
}

/* The host's timer, in real time: that it comes for a reason, never how late. */
static void wakes_nobody_without_reason(void **state)
{
	const struct timespec a_while = {.tv_nsec = 2000000};
	static struct bench b;
	struct vtime *manual;

	(void)state;
	memset(&b, 0, sizeof(b));
	rig_init(&b.rig, 0);
	manual = b.rig.machine.time;
	assert_int_equal(vtime_create(&b.rig.machine.time, &b.rig.err), 0);
	b.pit = rig_device(&b.rig, "pit", "pit8254", "");
	assert_non_null(b.pit);
	vtime_resume(b.rig.machine.time);

#define DEADLINE() (vtime_deadline(b.rig.machine.time) != UINT64_MAX)
	assert_false(DEADLINE());
	out(&b, GATE, GATE_2);
	for (unsigned int i = 1; i < 3; i++) {
		out(&b, CONTROL, WORD(i, BOTH, 2));
		out16(&b, (uint16_t)(0x40 + i), 100);
	}
	assert_false(DEADLINE());
	for (uint8_t mode = 0; mode < 6; mode++) {
		out(&b, CONTROL, WORD(0, BOTH, mode));
		assert_false(DEADLINE());
		out(&b, 0x40, 0);
		assert_false(DEADLINE());
		out(&b, 0x40, 0);
		assert_int_equal(DEADLINE(), mode != 1 && mode != 5);
	}
	/* Expired. */
	out(&b, CONTROL, WORD(0, LSB, 0));
	out(&b, 0x40, 1);
	assert_true(DEADLINE());
	nanosleep(&a_while, NULL);
	vtime_run(b.rig.machine.time);
	assert_true(b.rig.level[IRQ]);
	assert_false(DEADLINE());
	/* Stopped by half a count. */
	out(&b, CONTROL, WORD(0, BOTH, 0));
	out16(&b, 0x40, 0xffff);
	assert_true(DEADLINE());
	out(&b, 0x40, 0xff);
	assert_false(DEADLINE());
	/* No sooner than there is an edge, nor than it may come. */
	for (uint8_t mode = 2; mode < 5; mode++) {
		uint64_t from = pulse_of(vtime_now(b.rig.machine.time));

		out(&b, CONTROL, WORD(0, BOTH, mode));
		out16(&b, 0x40, 0);
		assert_true(wakes_at(&b) >= moment(from + 65537 + (mode == 4)));
	}
	out(&b, CONTROL, WORD(0, LSB, 2));
	out(&b, 0x40, 2);
	nanosleep(&a_while, NULL);
	b.now = vtime_now(b.rig.machine.time);
	vtime_run(b.rig.machine.time);
	assert_true(wakes_at(&b) >= b.now + APART);
	/* A rate without edges. */
	out(&b, CONTROL, WORD(0, LSB, 2));
	out(&b, 0x40, 1);
	assert_false(DEADLINE());
	device_destroy(b.pit);
	assert_false(DEADLINE());
#undef DEADLINE
	vtime_destroy(b.rig.machine.time);
	b.rig.machine.time = manual;
	rig_fini(&b.rig);
}

/* Port 61h */

static void gate_port(void **state)
{
	struct bench *b = *state;
	unsigned int toggles = 0;
	uint8_t was = 0;

	for (unsigned int v = 0; v < 256; v++) {
		out(b, GATE, (uint8_t)v);
		assert_int_equal(in(b, GATE) & 0xcf, v & 0x0f);
	}
	/* The refresh request comes every 15 us, whatever counter 1 does. */
	for (unsigned int i = 0; i < 1800; i++) {
		uint8_t v = in(b, GATE) & 0x10;

		toggles += v != was;
		was = v;
		pulses(b, 1);
	}
	assert_int_equal(toggles, 99);
}

/* How Linux measures the TSC: mode 0, the gate, and a wait for OUT 2. */
static void linux_calibrates_by_out(void **state)
{
	struct bench *b = *state;
	unsigned int latch = HZ / (1000 / 50), polls = 0;

	advance(b, 123456789);
	out(b, GATE, (uint8_t)((in(b, GATE) & ~0x02) | 0x01));
	out(b, CONTROL, 0xb0);
	out(b, 0x42, latch & 0xff);
	out(b, 0x42, (uint8_t)(latch >> 8));
	while (!(in(b, GATE) & OUT_2)) {
		advance(b, 1000);
		polls++;
	}
	assert_in_range(polls, 49999, 50003);
}

/* And the quick way: bytes that change the high half of a count. */
static void linux_calibrates_by_count(void **state)
{
	struct bench *b = *state;
	unsigned int changes = 0, high = 0xff;
	uint64_t last = 0;

	out(b, GATE, (uint8_t)((in(b, GATE) & ~0x02) | 0x01));
	out(b, CONTROL, 0xb0);
	out(b, 0x42, 0xff);
	out(b, 0x42, 0xff);
	advance(b, 2000);
	while (changes < 20) {
		unsigned int v;

		in(b, 0x42);
		v = in(b, 0x42);
		if (v != high) {
			assert_int_equal(v, high - 1);
			high = v;
			changes++;
			if (last)
				assert_in_range(b->now - last, 213000, 216000);
			last = b->now;
		}
		advance(b, 1000);
	}
}

/* The machine */

static void reset_it(struct bench *b)
{
	device_lock(b->pit);
	b->pit->class->reset(b->pit);
	device_unlock(b->pit);
}

static void machine_reset(void **state)
{
	struct bench *b = *state;

	for (unsigned int round = 0; round < 2; round++) {
		assert_false(b->rig.level[IRQ]);
		assert_int_equal(in(b, GATE) & 0x2f, 0);
		for (unsigned int i = 0; i < 3; i++) {
			assert_int_equal(status_of(b, i), 0x70);
			assert_int_equal(in16(b, (uint16_t)(0x40 + i)), 0);
		}
		out(b, GATE, 0x0f);
		for (unsigned int i = 0; i < 3; i++) {
			out(b, CONTROL, WORD(i, BOTH, 3) | 1);
			out16(b, (uint16_t)(0x40 + i), 0x100);
		}
		pulses(b, 1000);
		assert_true(b->rig.level[IRQ]);
		out(b, CONTROL, 0xce);
		out(b, 0x40, 1);
		reset_it(b);
		b->rig.raised[IRQ] = 0;
		pulses(b, 100000);
		assert_int_equal(b->rig.raised[IRQ], 0);
	}
}

static int load(struct bench *b, const void *saved)
{
	int ret;

	device_lock(b->pit);
	memcpy(device_state(b->pit), saved, b->pit->class->state->size);
	ret = b->pit->class->loaded(b->pit, &b->rig.err);
	device_unlock(b->pit);
	return ret;
}

static void goes_on_elsewhere(void **state)
{
	struct bench *b = *state;
	const struct state_table *t = b->pit->class->state;
	static struct bench other;
	uint8_t saved[2048];
	unsigned int had, there;
	long len;

	out(b, GATE, GATE_2);
	out(b, CONTROL, WORD(0, BOTH, 2));
	out16(b, 0x40, 5000);
	out(b, CONTROL, WORD(2, BOTH, 3));
	out16(b, 0x42, 777);
	pulses(b, 23456);
	late_by(b, 20 * MS);
	out(b, CONTROL, WORD(2, 0, 0));
	in(b, 0x42);
	len = state_save(t, device_state(b->pit), saved, sizeof(saved));
	assert_true(len > 0);

	/* In another machine, whose time is the same. */
	bench_with(&other, "");
	assert_int_equal(state_load(t, device_state(other.pit), saved, (size_t)len, &other.rig.err),
			 0);
	assert_int_equal(other.pit->class->loaded(other.pit, &other.rig.err), -EPROTO);
	assert_non_null(strstr(other.rig.err.text, "ahead of the machine's time"));
	device_destroy(other.pit);
	advance_to(&other, b->now);
	other.pit = rig_device(&other.rig, "again", "pit8254", "");
	assert_non_null(other.pit);
	assert_int_equal(state_load(t, device_state(other.pit), saved, (size_t)len, &other.rig.err),
			 0);
	assert_int_equal(other.pit->class->loaded(other.pit, &other.rig.err), 0);
	assert_true(other.rig.level[IRQ]);

	had = b->rig.raised[IRQ];
	there = other.rig.raised[IRQ];
	assert_int_equal(in(b, 0x42), in(&other, 0x42));
	for (unsigned int i = 0; i < 100; i++) {
		advance(b, 987654);
		advance(&other, 987654);
		assert_int_equal(in16(b, 0x42), in16(&other, 0x42));
		assert_int_equal(in16(b, 0x40), in16(&other, 0x40));
		assert_int_equal(in(b, GATE), in(&other, GATE));
	}
	assert_int_equal(b->rig.raised[IRQ] - had, other.rig.raised[IRQ] - there);
	bench_end(&other);
}

static void loads_only_what_can_be(void **state)
{
	struct bench *b = *state;
	const struct state_table *t = b->pit->class->state;
	uint8_t saved[512], broken[512];
	unsigned int refused = 0;

	assert_int_equal(state_check_table(t, &b->rig.err), 0);
	assert_true(t->size <= sizeof(saved));
	out(b, GATE, GATE_2);
	for (unsigned int i = 0; i < 3; i++) {
		out(b, CONTROL, WORD(i, BOTH, 2 * i));
		out16(b, (uint16_t)(0x40 + i), 5000);
	}
	pulses(b, 3333);
	in(b, 0x40);
	memcpy(saved, device_state(b->pit), t->size);
	for (uint64_t seed = 1; seed < 3000; seed++) {
		memcpy(broken, saved, t->size);
		state_mutate(t, broken, seed);
		if (load(b, broken)) {
			assert_non_null(strstr(b->rig.err.text, "pit: "));
			refused++;
		} else {
			/* What is taken runs. */
			pulses(b, seed % 97);
			for (uint16_t port = 0x40; port < 0x44; port++)
				in(b, port);
		}
		assert_int_equal(load(b, saved), 0);
	}
	assert_true(refused > 1000);
}

static void hostile_guest(void **state)
{
	struct bench *b = *state;
	uint64_t seed = 99;

	for (unsigned int i = 0; i < 60000; i++) {
		static const uint16_t at[] = {0x3c, 0x5e};
		uint16_t port = (uint16_t)(at[draw(&seed) & 1] + draw(&seed) % 8);
		unsigned int size = 1 + draw(&seed) % 8;
		uint64_t value = (uint64_t)draw(&seed) << 32 | draw(&seed);

		if (draw(&seed) & 1)
			bus_write(b->rig.machine.ports, port, size, value);
		else
			bus_read(b->rig.machine.ports, port, size);
		if (draw(&seed) % 8 == 0)
			advance(b, draw(&seed) % (draw(&seed) % 64 ? 3000 : 30 * MS));
		if (draw(&seed) % 64 == 0)
			assert_int_equal(b->pit->class->loaded(b->pit, &b->rig.err), 0);
	}
	assert_false(b->rig.ended);
	assert_int_equal(bus_read(b->rig.machine.ports, CONTROL, 1), 0xff);
}

static void one_of_them(void **state)
{
	struct bench *b = *state;
	static uint8_t buf[256];
	struct aml aml;

	assert_null(rig_device(&b->rig, "pit2", "pit8254", ""));
	assert_non_null(strstr(b->rig.err.text, "pit2: "));
	out(b, CONTROL, WORD(2, LSB, 0));
	assert_int_equal(status_of(b, 2), 0x50);

	aml_init(&aml, buf, sizeof(buf));
	b->pit->class->describe(b->pit, &aml);
	assert_true(aml_finish(&aml) > 0);
	assert_non_null(memmem(buf, aml.len, "TIMR", 4));
	/* PNP0100; ports 40h to 43h; IRQ 0, an edge. */
	assert_non_null(memmem(buf, aml.len, "\x41\xd0\x01\x00", 4));
	assert_non_null(memmem(buf, aml.len, "\x47\x01\x40\x00\x40\x00", 6));
	assert_non_null(memmem(buf, aml.len, "\x22\x01\x00", 3));
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(timing_diagrams),
		WITH(out_without_a_pulse),
		WITH(access_modes),
		WITH(zero_is_the_most),
		WITH(bcd),
		WITH(latches),
		WITH(reads_back),
		WITH(null_count),
		WITH(a_trigger_needs_a_count),
		cmocka_unit_test(as_the_model),
		WITH(ticks_are_exact),
		WITH(a_long_time_keeps_count),
		WITH(one_shots),
		WITH(other_counters_interrupt_nobody),
		WITH(a_new_rate),
		WITH(tiny_periods_are_bounded),
		WITH(late_ticks_are_made_up_for),
		cmocka_unit_test(late_ticks_are_skipped),
		WITH(an_edge_is_not_overtaken),
		cmocka_unit_test(wakes_nobody_without_reason),
		WITH(gate_port),
		WITH(linux_calibrates_by_out),
		WITH(linux_calibrates_by_count),
		WITH(machine_reset),
		WITH(goes_on_elsewhere),
		WITH(loads_only_what_can_be),
		WITH(hostile_guest),
		WITH(one_of_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
