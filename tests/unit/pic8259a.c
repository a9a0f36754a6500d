/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 8259A pair by its registers: Intel 8259A data sheet (231468), PIIX (290550) for the ELCR.
 *
 * Most tests are scripts: one word for each access, change of a wire or acknowledge, with what must
 * come of it. The last ones drive the pair at random next to a model that is written another way:
 * priorities as a list that is walked, not as numbers that are compared.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "support/cm.h"
#include "support/rig.h"

#define MASTER 0x20
#define SLAVE  0xa0
#define ELCR   0x4d0

#define WIRES 16

struct bench {
	struct rig rig;
	struct device *pic;
	struct irq_line line[WIRES];
};

static void bench_init(struct bench *b)
{
	rig_init(&b->rig, 0);
	b->pic = rig_device(&b->rig, "pic", "pic8259a", "");
	if (!b->pic)
		fail_msg("%s", b->rig.err.text);
	for (unsigned int i = 0; i < WIRES; i++)
		assert_int_equal(irq_attach(b->rig.machine.irqs, &b->line[i], i, &b->rig.err), 0);
}

static int set_up(void **state)
{
	static struct bench b;

	bench_init(&b);
	*state = &b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	for (unsigned int i = 0; i < WIRES; i++)
		irq_detach(&b->line[i]);
	device_destroy(b->pic);
	rig_fini(&b->rig);
	return 0;
}

static int acknowledge(struct bench *b)
{
	return irqs_acknowledge(b->rig.machine.irqs);
}

/* Scripts */

/*
 * One word for each thing that happens: PORT<VALUE a write, PORT=VALUE a read and what it gives,
 * +WIRE up, -WIRE down, ^WIRE up and down, @VECTOR an acknowledge and its answer (@none: there is
 * none), intr and idle what INTR is. Ports, values and vectors are hexadecimal, wires decimal.
 */
static bool run_word(struct bench *b, const char *word, unsigned int *got)
{
	unsigned int at, value;

	if (sscanf(word, "%x<%x", &at, &value) == 2) {
		rig_out8(&b->rig, (uint16_t)at, (uint8_t)value);
	} else if (sscanf(word, "%x=%x", &at, &value) == 2) {
		*got = rig_in8(&b->rig, (uint16_t)at);
		return *got == value;
	} else if (sscanf(word, "+%u", &at) == 1) {
		irq_set(&b->line[at], true);
	} else if (sscanf(word, "-%u", &at) == 1) {
		irq_set(&b->line[at], false);
	} else if (sscanf(word, "^%u", &at) == 1) {
		irq_pulse(&b->line[at]);
	} else if (!strcmp(word, "@none")) {
		*got = (unsigned int)acknowledge(b);
		return *got == UINT_MAX;
	} else if (sscanf(word, "@%x", &value) == 1) {
		*got = (unsigned int)acknowledge(b);
		return *got == value;
	} else {
		*got = b->rig.intr;
		assert_true(!strcmp(word, "intr") || !strcmp(word, "idle"));
		return b->rig.intr == !strcmp(word, "intr");
	}
	return true;
}

static void run(struct bench *b, const char *script)
{
	char *copy = strdup(script), *save = NULL;
	unsigned int n = 0, got = 0;

	assert_non_null(copy);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save), n++)
		if (!run_word(b, word, &got))
			fail_msg("word %u, '%s': it is %#x", n, word, got);
	free(copy);
}

/* Edge-triggered, cascaded, 8086: the master's vectors from 20h, the slave's from 28h. */
static void start(struct bench *b, uint8_t master_icw4, uint8_t slave_icw4)
{
	run(b, "20<11 21<20 21<04");
	rig_out8(&b->rig, MASTER + 1, master_icw4);
	run(b, "a0<11 a1<28 a1<02");
	rig_out8(&b->rig, SLAVE + 1, slave_icw4);
}

static void is_silent_until_programmed(void **state)
{
	static const char script[] = " 20=00 21=00 a0=00 a1=00 4d0=00 4d1=00 +0 +12 idle @none"
				     /* polled: nothing */
				     " 20<0c 20=00"
				     /* EOI: nothing in service */
				     " 20<20 a0<20"
				     /* How Linux asks whether there is one: probe_8259A(). */
				     " a1<ff 21<fb 21=fb"
				     /* A sequence that does not come to its end. */
				     " 20<11 idle 21<20 21<04 -0 +0 idle @none 21<01 intr @20";

	run(*state, script);
}

/* "Initialization command words 1 and 2": the sequence is as long as ICW1 says. */
static void sequences(void **state)
{
	static const char script[] =
		/* Single, no ICW4. */
		" 20<12 21<40 21<fe 21=fe +0 @40 -0"
		/* Single, ICW4: automatic EOI. */
		" 20<13 21<48 21<03 21<fe 21=fe +0 @48 -0 20<0b 20=00"
		/* Cascaded, no ICW4: what was set by it is gone. */
		" 20<10 21<50 21<04 21<fe 21=fe +0 @50 -0 20<0b 20=01"
		/* Another ICW1 begins anew, wherever the sequence was. */
		" 20<11 21<60 20<11 21<68 21<04 21<01 +0 @68 -0"
		/* The low bits of a vector are the input's. */
		" 20<12 21<77 +3 @73"
		/* Buffered mode, and the 8080's, are accepted. */
		" 20<11 21<20 21<04 21<0c +1 @21";

	run(*state, script);
}

/* a to f of the same chapter. */
static void icw1_resets(void **state)
{
	struct bench *b = *state;
	static const char before[] = " +3 @23 +1 intr 21<80"
				     /* rotate in automatic EOI mode */
				     " 20<80"
				     /* 4 has the lowest priority */
				     " 20<c4"
				     /* special mask mode, read ISR */
				     " 20<6b 20=08"
				     /* poll */
				     " 20<0c";
	static const char behind[] =
		/* not an acknowledge any more; the mask */
		" 21=00"
		/* IRR, though wires 1 and 3 are high */
		" 20=00 idle"
		/* nothing is in service */
		" 20<0b 20=00 -3 +3 -1 +1"
		/* 1 comes before 3 again */
		" @21"
		/* no special mask mode */
		" 21<02 idle";

	start(b, 0x11, 0x01);
	run(b, before);
	start(b, 0x01, 0x01);
	run(b, behind);
}

static void nests(void **state)
{
	struct bench *b = *state;
	static const char script[] =
		" +4 intr 20=10 @24 idle 20=00 20<0b 20=10"
		/* Lower and equal ones wait, higher ones do not. */
		" +5 -4 +4 idle +1 intr @21 20=12 20<20 20=10 idle 20<20 20=00 intr @24 20<64"
		" @25"
		/* Specific: whichever. An EOI of what is not in service is nothing. */
		" +0 @20 20=21 20<65 20=01 20<67 20=01"
		/* "no operation" */
		" 20<40 20=01 20<20 20<20 20=00";

	start(b, 0x01, 0x01);
	run(b, script);
}

static void masks(void **state)
{
	struct bench *b = *state;
	static const char script[] =
		" 21<02 +1 20=02 idle 21=02 21<00 intr"
		/* A mask takes INTR back; the request stays. */
		" 21<02 idle 21<00 @21"
		/* Masking what is in service changes nothing: fully nested mode counts it. */
		" 21<02 +6 idle 20<20 intr"
		/* A masked cascade masks the slave. */
		" 21<44 +9 20=44 idle 21<40 intr @29";

	start(b, 0x01, 0x01);
	run(b, script);
}

static void cascades(void **state)
{
	struct bench *b = *state;
	static const char script[] = " +12 a0=10 20=04 intr @2c idle 20<0b a0<0b 20=04 a0=10"
				     /* A higher one of the slave waits for the master's EOI, one of
					the master does not. */
				     " +8 idle +1 @21 20<61 20<62 intr @28 a0=11 a0<20 a0=10"
				     /* Both EOIs, in either order. */
				     " +14 20<20 idle a0<20 intr @2e a0<66 20<62 20=00 a0=00 idle"
				     /* The slave's inputs come before the master's 3 to 7. */
				     " +3 +15 @2f idle a0<20 20<20 @23"
				     /* Wire 2 is nobody's. */
				     " 20<20 +2 idle 20<0a 20=00";

	start(b, 0x01, 0x01);
	run(b, script);
}

/* "The special fully nested mode" */
static void nests_specially(void **state)
{
	struct bench *b = *state;
	static const char script[] =
		" +12 @2c +14 idle +8 intr @28 idle"
		/* The master's own lower ones stay locked out. */
		" +3 idle"
		/* The program looks whether the slave is done before it ends the master's. */
		" a0<20 a0<0b a0=10 a0<20 a0=00 intr @2e a0<20 20<20 @23";

	start(b, 0x11, 0x01);
	run(b, script);
}

static void ends_by_itself(void **state)
{
	struct bench *b = *state;
	static const char script[] =
		" 20<0b a0<0b +4 +5 +10 @2a 20=00 a0=00 intr @24 @25 20=00 idle"
		/* Rotation: what was served goes to the end. */
		" 20<80 -4 +4 -5 +5 @24 -4 +4 @25 @24"
		/* And no longer. */
		" 20<00 -4 +4 -5 +5 @25 -5 +5 @25 @24";

	start(b, 0x03, 0x03);
	run(b, script);
}

/* "Automatic rotation" with its example, and "specific rotation". */
static void rotates(void **state)
{
	struct bench *b = *state;
	static const char script[] = " +6 @26 +4 @24 20<0b 20=50"
				     /* 4 is the lowest now, 5 the highest */
				     " 20<a0 20=40 -4 +4 idle +5 intr @25 20=60"
				     /* Rotate on a specific EOI: 6 is the lowest, 7 the highest. */
				     " 20<e6 20=20 +7 @27 20<67 intr @24 20<20 20<20 20=00"
				     /* Nothing in service: nothing turns. */
				     " 20<a0 -7 +7 -6 +6 @27 20<20 @26 20<20"
				     /* Set priority. */
				     " 20<c0 -4 +4 +0 @24 idle 20<c7 intr @20";

	start(b, 0x01, 0x01);
	run(b, script);
}

/* "Special mask mode" */
static void masks_specially(void **state)
{
	struct bench *b = *state;
	static const char script[] = " +3 @23 +6 idle 21<08 idle 20<68 intr @26"
				     /* What is in service and not masked counts. */
				     " +7 idle +5 @25 20<0b 20=68"
				     /* ESMM alone decides whether SMM is looked at. */
				     " 20<2b 20<0b -5 +4 @24 20<20 20=68"
				     /* A non-specific EOI leaves what is masked. */
				     " 20<20 20<20 20=08 20<20 20=08 intr"
				     /* Without special mask mode it clears that as well. */
				     " 20<48 idle 20<20 20=00 intr";

	start(b, 0x01, 0x01);
	run(b, script);
}

/* "Poll command" */
static void is_polled(void **state)
{
	struct bench *b = *state;
	static const char script[] =
		" 20<0c 20=00 20=00 +5 20<0c intr 20=85 idle 20<0b 20=20"
		/* The odd port does as well. Poll comes before what RR asks for. */
		" +1 20<0f 21=81 21=00 20=22"
		/* Another OCW3 without it takes it back. */
		" 20<0c 20<0a 20=00 20<20 20<20"
		/* The slave behind the master. */
		" +11 20<0c 20=82 a0<0c a0=83 20<0b a0<0b 20=04 a0=08 idle"
		/* Masked ones are not shown. */
		" 20<20 21<01 +0 20<0c 20=00";

	start(b, 0x01, 0x01);
	run(b, script);
}

static void triggers_by_level(void **state)
{
	struct bench *b = *state;
	static const char script[] =
		/* PIIX: 0, 1, 2, 8 and 13 cannot be. */
		" 4d0<ff 4d0=f8 4d1<ff 4d1=de 4d0<20 4d1<04 +5 20=20 @25 20=20 idle 20<20 intr"
		" @25"
		/* The request ends with the wire. */
		" -5 20=00 20<20 idle +10 @2a a0<20 20<20 @2a -10 a0<20 20<20 idle"
		/* 4 is edge-triggered: once. */
		" +4 @24 20<20 idle -4"
		/* ICW1 leaves the ELCR, and a high level needs no edge. */
		" +5 20<11 21<20 21<04 21<01 intr 4d0=20"
		/* Level to edge: the level was no edge. Edge to level: the edge is gone. */
		" 4d0<00 idle +7 intr -7 intr 4d0<80 idle 4d0<00 idle"
		/* LTIM: all of them, whatever the ELCR says. */
		" 20<19 21<20 21<04 21<01 21<df intr @25 20<20 intr -5 idle ^1 20=00";

	start(b, 0x01, 0x01);
	run(b, script);
}

static void remembers_edges(void **state)
{
	struct bench *b = *state;
	static const char script[] = " ^1 20=02 intr @21 idle 20<20 idle"
				     /* Two before an acknowledge are one. */
				     " ^1 ^1 @21 20<20 idle"
				     /* One behind it is another. */
				     " ^12 @2c ^12 a0<20 20<20 @2c";

	start(b, 0x01, 0x01);
	run(b, script);
}

/* "Edge and level triggered modes": without a request, an acknowledge gets input 7's vector. */
static void answers_an_acknowledge_nobody_caused(void **state)
{
	struct bench *b = *state;
	static const char script[] =
		" 4d0<08 4d1<08 20<0b a0<0b +3 intr -3 idle @27 20=00 +11 -11 @27 20=00 a0=00"
		/* Input 7 itself can be told from it by the ISR. */
		" +7 @27 20=80"
		/* The slave's, by way of the master: it was polled in between. */
		" +11 a0<0c a0=83 @27 a0<0b a0=08 20=80";

	start(b, 0x01, 0x01);
	run(b, script);
}

/* Linux 6.1: probe_8259A(), init_8259A(), and mask_and_ack_8259A() for interrupts 0 and 12. */
static void serves_linux(void **state)
{
	static const char script[] =
		" a1<ff 21<fb 21=fb 21<ff 20<11 21<30 21<04 21<01 a0<11 a1<38 a1<02 a1<01 21<fb"
		" a1<ff 21=fb a1=ff idle"
		/* enable_8259A_irq(0): the timer ticks. */
		" 21<fa +0 intr @30 21=fa 21<fb 20<60 21<fa -0 idle +0 @30 21<fb 20<60 21<fa"
		/* Interrupt 12, and i8259A_irq_real(). */
		" a1<ef +12 @3c a1=ef a1<ff a0<64 20<62 a0<0b a0=00 a0<0a a0=00 a1<ef -12 +12"
		" a0=10 @3c a1<ff a0<64 20<62"
		/* mask_8259A(): the IOAPIC takes over. */
		" 21<ff a1<ff -0 +0 idle";

	run(*state, script);
}

static void takes_wider_accesses(void **state)
{
	struct bench *b = *state;
	struct bus *ports = b->rig.machine.ports;

	start(b, 0x01, 0x01);
	/* A word is two bytes: OCW3 and OCW1. */
	bus_write(ports, MASTER, 2, 0x5a0b);
	assert_int_equal(rig_in8(&b->rig, MASTER + 1), 0x5a);
	irq_set(&b->line[0], true);
	assert_int_equal(acknowledge(b), 0x20);
	assert_int_equal(bus_read(ports, MASTER, 2), 0x5a01);
	bus_write(ports, ELCR, 2, 0xffff);
	assert_int_equal(bus_read(ports, ELCR, 2), 0xdef8);
	/* Past the end there is nothing. */
	assert_int_equal(bus_read(ports, SLAVE, 4), 0xffff0000);
	assert_int_equal(rig_in8(&b->rig, ELCR + 2), 0xff);
}

static void reset(struct bench *b)
{
	device_lock(b->pic);
	b->pic->class->reset(b->pic);
	device_unlock(b->pic);
}

static void machine_reset(void **state)
{
	struct bench *b = *state;
	static const char script[] = " idle @none 20=00 21=00 4d0=00 a0=00 a1=00 4d1=00";

	start(b, 0x13, 0x03);
	irq_set(&b->line[5], true);
	irq_set(&b->line[9], true);
	assert_true(b->rig.intr);
	rig_out8(&b->rig, ELCR, 0x20);
	rig_out8(&b->rig, MASTER + 1, 0x11);
	reset(b);
	run(b, script);
	/* Wires stay as their devices drive them. */
	start(b, 0x01, 0x01);
	assert_false(b->rig.intr);
	rig_out8(&b->rig, ELCR, 0x20);
	assert_true(b->rig.intr);
	assert_int_equal(acknowledge(b), 0x25);
}

static void is_there_once(void **state)
{
	struct bench *b = *state;

	assert_null(rig_device(&b->rig, "pic2", "pic8259a", ""));
	assert_non_null(strstr(b->rig.err.text, "pic2: "));
	start(b, 0x01, 0x01);
	irq_set(&b->line[1], true);
	assert_int_equal(acknowledge(b), 0x21);
	/* A range that is taken fails the whole, and gives back what was had of it. */
	device_destroy(b->pic);
	assert_int_equal(rig_in8(&b->rig, ELCR), 0xff);
	b->pic = rig_device(&b->rig, "exit", "debug_exit", "port=0x4d0");
	assert_non_null(b->pic);
	assert_null(rig_device(&b->rig, "pic3", "pic8259a", ""));
	assert_int_equal(rig_in8(&b->rig, MASTER + 1), 0xff);
	assert_int_equal(irqs_acknowledge(b->rig.machine.irqs), -1);
}

/* Saving and loading */

static int load(struct bench *b, const void *saved, size_t len)
{
	int ret;

	device_lock(b->pic);
	ret = state_load(b->pic->class->state, device_state(b->pic), saved, len, &b->rig.err);
	if (!ret)
		ret = b->pic->class->loaded(b->pic, &b->rig.err);
	device_unlock(b->pic);
	return ret;
}

static size_t save(struct bench *b, void *into, size_t room)
{
	long len = state_save(b->pic->class->state, device_state(b->pic), into, room);

	assert_true(len > 0);
	return (size_t)len;
}

/* Saved, reset, loaded and saved again is the same, and so is INTR. */
static void must_survive_a_save(struct bench *b)
{
	bool intr = b->rig.intr;
	uint8_t saved[512], again[512];
	size_t len = save(b, saved, sizeof(saved));

	reset(b);
	if (load(b, saved, len))
		fail_msg("%s", b->rig.err.text);
	assert_int_equal(save(b, again, sizeof(again)), len);
	assert_memory_equal(saved, again, len);
	assert_true(b->rig.intr == intr);
}

/* A machine that is restored: the pair first, then the device that holds a wire high. */
static void takes_a_restored_wire_for_no_edge(void **state)
{
	struct bench *b = *state;
	uint8_t saved[512];
	size_t len;

	start(b, 0x01, 0x01);
	run(b, "+1 @21 20<20 idle");
	len = save(b, saved, sizeof(saved));
	tear_down(state);
	bench_init(b);
	assert_int_equal(load(b, saved, len), 0);
	run(b, "+1 idle -1 +1 intr @21");
}

static void refuses_what_cannot_be(void **state)
{
	struct bench *b = *state;
	const struct state_table *t = b->pic->class->state;
	unsigned int refused = 0, taken = 0;
	uint8_t saved[512];
	uint8_t sound[64];
	size_t len;

	start(b, 0x01, 0x01);
	irq_set(&b->line[12], true);
	must_survive_a_save(b);
	assert_true(b->rig.intr);
	len = save(b, saved, sizeof(saved));
	assert_true(t->size <= sizeof(sound));
	memcpy(sound, device_state(b->pic), t->size);
	for (uint64_t seed = 1; seed < 2000; seed++) {
		int ret;

		device_lock(b->pic);
		memcpy(device_state(b->pic), sound, t->size);
		state_mutate(t, device_state(b->pic), seed);
		ret = b->pic->class->loaded(b->pic, &b->rig.err);
		device_unlock(b->pic);
		if (ret) {
			assert_int_equal(ret, -EPROTO);
			assert_non_null(strstr(b->rig.err.text, "pic: the "));
			refused++;
			continue;
		}
		taken++;
		must_survive_a_save(b);
		/* Whatever it is, it can be used. */
		acknowledge(b);
		rig_out8(&b->rig, MASTER, 0x20);
	}
	assert_true(refused > 100 && taken > 100);
	assert_int_equal(load(b, saved, len), 0);
	assert_int_equal(acknowledge(b), 0x2c);
}

/* Changes one element of a state as a file could have it. */
static uint8_t poke(struct bench *b, const char *name, unsigned int chip, uint8_t value)
{
	const struct state_table *t = b->pic->class->state;

	for (uint32_t i = 0; i < t->count; i++) {
		uint8_t *at = (uint8_t *)device_state(b->pic) + t->fields[i].offset + chip,
			was = *at;

		if (strcmp(t->fields[i].name, name))
			continue;
		*at = value;
		return was;
	}
	fail_msg("there is no %s", name);
	return 0;
}

/* What no sequence of accesses leads to: here, with edge-triggered inputs, fully programmed. */
static void refuses_each_of_these(void **state)
{
	struct bench *b = *state;
	static const struct {
		const char *field;
		unsigned int chip;
		uint8_t value;
	} cases[] = {
		{"wires", 0, 0x04},   {"edges", 0, 0x04}, {"base", 0, 0x21}, {"lowest", 1, 8},
		{"elcr", 0, 0x01},    {"elcr", 1, 0x20},  {"icw1", 0, 0x11}, {"icw4", 1, 0x21},
		{"control", 0, 0x10}, {"stage", 1, 5},    {"stage", 0, 0},   {"icw1", 0, 0x00},
		{"elcr", 0, 0x08},    {"icw1", 1, 0x09},  {"stage", 1, 2},
	};
	uint8_t was;

	start(b, 0x01, 0x01);
	/* An edge that waits, one in service. */
	run(b, "+3 +9 @29 -3 -9 +10");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		device_lock(b->pic);
		was = poke(b, cases[i].field, cases[i].chip, cases[i].value);
		if (b->pic->class->loaded(b->pic, &b->rig.err) != -EPROTO)
			fail_msg("%s %#x was taken", cases[i].field, cases[i].value);
		poke(b, cases[i].field, cases[i].chip, was);
		assert_int_equal(b->pic->class->loaded(b->pic, &b->rig.err), 0);
		device_unlock(b->pic);
		assert_non_null(strstr(b->rig.err.text, cases[i].chip ? "slave's" : "master's"));
	}
}

/* Sequences that skip a word never wait for it, and know no ICW4 before their end. */
static void refuses_stages_that_are_skipped(void **state)
{
	struct bench *b = *state;

	rig_out8(&b->rig, MASTER, 0x12);
	device_lock(b->pic);
	poke(b, "stage", 0, 2);
	assert_int_equal(b->pic->class->loaded(b->pic, &b->rig.err), -EPROTO);
	poke(b, "stage", 0, 3);
	assert_int_equal(b->pic->class->loaded(b->pic, &b->rig.err), -EPROTO);
	poke(b, "stage", 0, 4);
	assert_int_equal(b->pic->class->loaded(b->pic, &b->rig.err), 0);
	poke(b, "icw4", 0, 1);
	assert_int_equal(b->pic->class->loaded(b->pic, &b->rig.err), -EPROTO);
	poke(b, "icw4", 0, 0);
	poke(b, "stage", 0, 0);
	assert_int_equal(b->pic->class->loaded(b->pic, &b->rig.err), -EPROTO);
	poke(b, "icw1", 0, 0);
	assert_int_equal(b->pic->class->loaded(b->pic, &b->rig.err), 0);
	poke(b, "base", 0, 8);
	assert_int_equal(b->pic->class->loaded(b->pic, &b->rig.err), -EPROTO);
	device_unlock(b->pic);
	reset(b);
}

/* At random */

struct chip {
	bool wire[8], latch[8], serviced[8], masked[8], elcr[8];
	unsigned int order[8]; /* the first has the highest priority */
	unsigned int expects;  /* the next ICW; 0 none, 1 never saw one */
	unsigned int base;
	bool ltim, single, icw4, special_nesting, auto_eoi, rotate, special_mask, isr, poll;
};

struct model {
	struct chip chip[2];
};

static void chip_lowest(struct chip *c, unsigned int input)
{
	for (unsigned int i = 0; i < 8; i++)
		c->order[i] = (input + 1 + i) % 8;
}

static bool chip_level(const struct chip *c, unsigned int input)
{
	return c->ltim || c->elcr[input];
}

static int chip_asks(const struct model *m, unsigned int n);

static bool chip_requests(const struct model *m, unsigned int n, unsigned int input)
{
	const struct chip *c = &m->chip[n];

	if (n == 0 && input == 2)
		return chip_asks(m, 1) >= 0;
	return chip_level(c, input) ? c->wire[input] : c->latch[input];
}

/* From the highest priority down to the first that is in service. */
static int chip_asks(const struct model *m, unsigned int n)
{
	const struct chip *c = &m->chip[n];

	for (unsigned int i = 0; i < 8 && !c->expects; i++) {
		unsigned int input = c->order[i];
		bool request = chip_requests(m, n, input) && !c->masked[input];

		if (c->serviced[input] && !(c->special_mask && c->masked[input]))
			return request && n == 0 && input == 2 && c->special_nesting ? 2 : -1;
		if (request)
			return (int)input;
	}
	return -1;
}

static int chip_take(struct model *m, unsigned int n)
{
	struct chip *c = &m->chip[n];
	int input = chip_asks(m, n);

	if (input < 0)
		return -1;
	c->latch[input] = false;
	c->serviced[input] = !c->auto_eoi || c->serviced[input];
	if (c->auto_eoi && c->rotate)
		chip_lowest(c, (unsigned int)input);
	return input;
}

static int model_acknowledge(struct model *m)
{
	int input;

	if (m->chip[0].expects)
		return -1;
	input = chip_take(m, 0);
	if (input != 2)
		return (int)m->chip[0].base + (input < 0 ? 7 : input);
	input = chip_take(m, 1);
	assert_true(input >= 0);
	return (int)m->chip[1].base + input;
}

static void model_wire(struct model *m, unsigned int wire, bool level)
{
	struct chip *c = &m->chip[wire / 8];
	unsigned int input = wire % 8;

	if (wire == 2)
		return;
	if (level && !c->wire[input] && !chip_level(c, input))
		c->latch[input] = true;
	c->wire[input] = level;
}

static void chip_icw1(struct chip *c, uint8_t value)
{
	struct chip fresh = {.expects = 2,
			     .base = c->base,
			     .ltim = value & 8,
			     .single = value & 2,
			     .icw4 = value & 1};

	memcpy(fresh.wire, c->wire, sizeof(c->wire));
	memcpy(fresh.elcr, c->elcr, sizeof(c->elcr));
	*c = fresh;
	chip_lowest(c, 7);
}

static void chip_ocw2(struct chip *c, uint8_t value)
{
	unsigned int input = value & 7;

	switch (value >> 5) {
	case 0:
	case 4:
		c->rotate = value >> 5 == 4;
		return;
	case 2:
		return;
	case 6:
		chip_lowest(c, input);
		return;
	case 1:
	case 5:
		for (unsigned int i = 0; i < 9; i++) {
			if (i == 8)
				return;
			input = c->order[i];
			if (c->serviced[input] && !(c->special_mask && c->masked[input]))
				break;
		}
		break;
	default:
		break;
	}
	c->serviced[input] = false;
	if (value & 0x80)
		chip_lowest(c, input);
}

static void chip_odd(struct chip *c, uint8_t value)
{
	if (c->expects < 2) {
		for (unsigned int i = 0; i < 8; i++)
			c->masked[i] = value >> i & 1;
	} else if (c->expects == 2) {
		c->base = value & 0xf8;
		c->expects = !c->single ? 3 : c->icw4 ? 4 : 0;
	} else if (c->expects == 3) {
		c->expects = c->icw4 ? 4 : 0;
	} else {
		c->special_nesting = value & 0x10;
		c->auto_eoi = value & 0x02;
		c->expects = 0;
	}
}

static void model_out(struct model *m, uint16_t port, uint8_t value)
{
	struct chip *c = &m->chip[port >= 0x80 && port < 0x100];

	if (port >= ELCR) {
		c = &m->chip[port - ELCR];
		for (unsigned int i = 0; i < 8; i++) {
			c->elcr[i] = value >> i & (port == ELCR ? i > 2 : i != 0 && i != 5);
			c->latch[i] = c->latch[i] && !c->elcr[i];
		}
	} else if (port & 1) {
		chip_odd(c, value);
	} else if (value & 0x10) {
		chip_icw1(c, value);
	} else if (value & 0x08) {
		c->poll = value & 4;
		c->isr = value & 2 ? value & 1 : c->isr;
		c->special_mask = value & 0x40 ? value & 0x20 : c->special_mask;
	} else {
		chip_ocw2(c, value);
	}
}

static uint8_t model_in(struct model *m, uint16_t port)
{
	unsigned int n = port >= 0x80 && port < 0x100;
	struct chip *c = &m->chip[n];
	unsigned int value = 0;

	if (port < ELCR && c->poll) {
		int input = chip_take(m, n);

		c->poll = false;
		return input < 0 ? 0 : (uint8_t)(0x80 | input);
	}
	for (unsigned int i = 0; i < 8; i++) {
		bool bit = c->isr ? c->serviced[i] : chip_requests(m, n, i);

		if (port >= ELCR)
			bit = m->chip[port - ELCR].elcr[i];
		else if (port & 1)
			bit = c->masked[i];
		value |= (unsigned int)bit << i;
	}
	return (uint8_t)value;
}

static uint32_t pick(uint64_t *seed, uint32_t below)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 33) % below;
}

static const uint16_t some_ports[] = {MASTER, MASTER + 1, SLAVE, SLAVE + 1, ELCR, ELCR + 1};

static void both_out(struct bench *b, struct model *m, uint16_t port, uint8_t value)
{
	rig_out8(&b->rig, port, value);
	model_out(m, port, value);
}

/* Mostly as a program would: whole sequences, modes that occur. */
static void both_start(struct bench *b, struct model *m, uint64_t *seed)
{
	for (unsigned int n = 0; n < 2; n++) {
		uint16_t port = n ? SLAVE : MASTER;
		bool single = pick(seed, 8) == 0, icw4 = pick(seed, 4);
		uint8_t ltim = pick(seed, 8) ? 0 : 8;

		both_out(b, m, port, (uint8_t)(0x10 | ltim | single << 1 | icw4));
		both_out(b, m, port + 1, (uint8_t)pick(seed, 256));
		if (!single)
			both_out(b, m, port + 1, n ? 2 : 4);
		if (icw4)
			both_out(b, m, port + 1, (uint8_t)(1 | pick(seed, 16) << 1));
	}
}

/* One operation; the vector of an acknowledge, -2 for anything else. */
static int both_do(struct bench *b, struct model *m, uint64_t *seed)
{
	static const uint8_t eois[] = {0x20, 0x20, 0x20, 0x60, 0xa0, 0xe0, 0x80, 0x00, 0xc0, 0x40};
	uint16_t port = pick(seed, 2) ? MASTER : SLAVE;
	unsigned int what = pick(seed, 1000), wire;
	bool level;
	int vector;

	if (what < 350) {
		wire = pick(seed, WIRES);
		level = pick(seed, 2);
		irq_set(&b->line[wire], level);
		model_wire(m, wire, level);
	} else if (what < 600) {
		if (!b->rig.intr && pick(seed, 16))
			return -2;
		vector = acknowledge(b);
		assert_int_equal(vector, model_acknowledge(m));
		return vector;
	} else if (what < 850) {
		both_out(b, m, port, eois[pick(seed, sizeof(eois))] | (uint8_t)pick(seed, 8));
	} else if (what < 900) {
		both_out(b, m, port + 1, (uint8_t)(pick(seed, 256) & pick(seed, 256)));
	} else if (what < 940) {
		both_out(b, m, port, (uint8_t)(0x08 | (pick(seed, 256) & 0x67)));
	} else if (what < 985) {
		port = some_ports[pick(seed, ARRAY_SIZE(some_ports))];
		assert_int_equal(rig_in8(&b->rig, port), model_in(m, port));
	} else if (what < 990) {
		both_out(b, m, (uint16_t)(ELCR + pick(seed, 2)), (uint8_t)pick(seed, 256));
	} else if (what < 998) {
		both_start(b, m, seed);
	} else {
		both_out(b, m, some_ports[pick(seed, ARRAY_SIZE(some_ports))],
			 (uint8_t)pick(seed, 256));
	}
	return -2;
}

/* With all wires low, a finite number of acknowledges and EOIs brings INTR down. */
static void must_come_to_rest(struct bench *b)
{
	for (unsigned int i = 0; i < WIRES; i++)
		irq_set(&b->line[i], false);
	for (unsigned int i = 0; i < 4 * WIRES && b->rig.intr; i++) {
		assert_true(acknowledge(b) >= 0);
		for (uint8_t eoi = 0x60; eoi < 0x68; eoi++) {
			rig_out8(&b->rig, MASTER, eoi);
			rig_out8(&b->rig, SLAVE, eoi);
		}
	}
	assert_false(b->rig.intr);
}

static void agrees_with_a_model(void **state)
{
	struct bench *b = *state;
	struct model m = {.chip = {{.expects = 1}, {.expects = 1}}};
	unsigned int master = 0, slave = 0, spurious = 0;
	uint64_t seed = 7;

	chip_lowest(&m.chip[0], 7);
	chip_lowest(&m.chip[1], 7);
	for (unsigned int i = 0; i < 100000; i++) {
		bool intr = b->rig.intr;
		int asks = chip_asks(&m, 0), vector = both_do(b, &m, &seed);

		if (b->rig.intr != (chip_asks(&m, 0) >= 0))
			fail_msg("operation %u: INTR is %d", i, b->rig.intr);
		master += vector >= 0 && asks >= 0 && asks != 2;
		slave += vector >= 0 && asks == 2;
		spurious += vector >= 0 && !intr;
		if (i % 100 == 0)
			must_survive_a_save(b);
	}
	/* It was about something. */
	assert_true(master > 2000 && slave > 1000 && spurious > 100);
	must_come_to_rest(b);
}

static void survives_hostile_writes(void **state)
{
	struct bench *b = *state;
	struct bus *ports = b->rig.machine.ports;
	uint64_t seed = 11;

	for (unsigned int i = 0; i < 100000; i++) {
		uint16_t port = some_ports[pick(&seed, ARRAY_SIZE(some_ports))];
		unsigned int size = 1U << pick(&seed, 4);
		uint64_t value = (uint64_t)pick(&seed, UINT32_MAX) << 32 | pick(&seed, UINT32_MAX);
		int vector;

		/* Also from the port below, so that an access begins outside. */
		bus_write(ports, (uint16_t)(port - pick(&seed, 2)), size, value & ones(size));
		bus_read(ports, port, size);
		irq_set(&b->line[pick(&seed, WIRES)], pick(&seed, 2));
		vector = acknowledge(b);
		assert_true(vector >= -1 && vector < 256);
		if (i % 1000 == 0)
			must_survive_a_save(b);
	}
	/* And it can be programmed as ever. */
	must_come_to_rest(b);
	start(b, 0x01, 0x01);
	rig_out8(&b->rig, ELCR, 0);
	rig_out8(&b->rig, ELCR + 1, 0);
	irq_set(&b->line[14], true);
	assert_int_equal(acknowledge(b), 0x2e);
}

#define ON_A_BENCH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_A_BENCH(is_silent_until_programmed),
		ON_A_BENCH(sequences),
		ON_A_BENCH(icw1_resets),
		ON_A_BENCH(nests),
		ON_A_BENCH(masks),
		ON_A_BENCH(cascades),
		ON_A_BENCH(nests_specially),
		ON_A_BENCH(ends_by_itself),
		ON_A_BENCH(rotates),
		ON_A_BENCH(masks_specially),
		ON_A_BENCH(is_polled),
		ON_A_BENCH(triggers_by_level),
		ON_A_BENCH(remembers_edges),
		ON_A_BENCH(answers_an_acknowledge_nobody_caused),
		ON_A_BENCH(serves_linux),
		ON_A_BENCH(takes_wider_accesses),
		ON_A_BENCH(machine_reset),
		ON_A_BENCH(is_there_once),
		ON_A_BENCH(takes_a_restored_wire_for_no_edge),
		ON_A_BENCH(refuses_what_cannot_be),
		ON_A_BENCH(refuses_each_of_these),
		ON_A_BENCH(refuses_stages_that_are_skipped),
		ON_A_BENCH(agrees_with_a_model),
		ON_A_BENCH(survives_hostile_writes),
	};

	return cmocka_run_group_tests_name("pic8259a", tests, NULL, NULL);
}
