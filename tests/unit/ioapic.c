/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The IOAPIC by its registers: Intel 82093AA data sheet (290566), ICH for version 20h, messages by
 * Intel's SDM (volume 3, section 11.11). The last tests drive it at random next to a model that
 * keeps an entry as its parts.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "skep/bits.h"
#include "support/cm.h"
#include "support/rig.h"

#define IOAPIC   UINT64_C(0xfec00000)
#define IOREGSEL (IOAPIC + 0x00)
#define IOWIN    (IOAPIC + 0x10)
#define EOI      (IOAPIC + 0x40)

#define ID      0x00
#define VERSION 0x01
#define ARB     0x02
#define LOW(p)  (0x10 + 2 * (p))
#define HIGH(p) (0x11 + 2 * (p))

#define PINS  24
#define WIRES 32 /* some go nowhere */

#define LOWEST    0x00100
#define SMI       0x00200
#define NMI       0x00400
#define INIT      0x00500
#define EXTINT    0x00700
#define LOGICAL   0x00800
#define IDLE      0x01000 /* delivery status, read-only */
#define ACTIVELOW 0x02000
#define RIRR      0x04000
#define LEVEL     0x08000
#define MASKED    0x10000
#define DEST(d)   ((uint64_t)(d) << 56)
#define EXT(d)    ((uint64_t)(d) << 49)

#define MESSAGES 64

struct bench {
	struct rig rig;
	struct device *io;
	struct irq_line line[WIRES];
	struct msi sent[MESSAGES]; /* since the test last looked */
	unsigned int count;
	uint32_t watched; /* pins */
	struct msi watch[PINS];
	unsigned int watches;
	int refuse; /* what sending returns */
};

static int record_message(void *arg, const struct msi *msi)
{
	struct bench *b = arg;
	bool watched = false;

	/* Its end may come at once: the pin is watched before. */
	for (unsigned int pin = 0; pin < PINS; pin++)
		watched |= b->watched >> pin & 1 && b->watch[pin].address == msi->address &&
			   b->watch[pin].data == msi->data;
	assert_true(watched == !!(msi->data & LEVEL));
	assert_true(b->count < MESSAGES);
	b->sent[b->count++] = *msi;
	return b->refuse;
}

static void record_watch(void *arg, unsigned int pin, const struct msi *msi)
{
	struct bench *b = arg;

	assert_true(pin < PINS);
	b->watches++;
	b->watched &= ~(1U << pin);
	if (!msi)
		return;
	b->watched |= 1U << pin;
	b->watch[pin] = *msi;
}

static void bench_with(struct bench *b, const char *options)
{
	const struct irq_sink sink = {.msi = record_message, .watch = record_watch, .arg = b};

	memset(b, 0, sizeof(*b));
	rig_init(&b->rig, 0);
	irqs_set_sink(b->rig.machine.irqs, &sink);
	b->io = rig_device(&b->rig, "io", "ioapic", options);
	if (!b->io)
		fail_msg("%s", b->rig.err.text);
	for (unsigned int i = 0; i < WIRES; i++)
		assert_int_equal(irq_attach(b->rig.machine.irqs, &b->line[i], i, &b->rig.err), 0);
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
	struct bench *b = *state;

	for (unsigned int i = 0; i < WIRES; i++)
		irq_detach(&b->line[i]);
	device_destroy(b->io);
	rig_fini(&b->rig);
	return 0;
}

static void out32(struct bench *b, uint64_t at, uint32_t value)
{
	bus_write(b->rig.machine.mmio, at, 4, value);
}

static uint32_t in32(struct bench *b, uint64_t at)
{
	return (uint32_t)bus_read(b->rig.machine.mmio, at, 4);
}

static void put(struct bench *b, unsigned int reg, uint32_t value)
{
	out32(b, IOREGSEL, reg);
	out32(b, IOWIN, value);
}

static uint32_t get(struct bench *b, unsigned int reg)
{
	out32(b, IOREGSEL, reg);
	return in32(b, IOWIN);
}

/* The upper half first: an entry that is unmasked by the lower one is whole by then. */
static void put_entry(struct bench *b, unsigned int pin, uint64_t entry)
{
	put(b, HIGH(pin), (uint32_t)(entry >> 32));
	put(b, LOW(pin), (uint32_t)entry);
}

static uint64_t get_entry(struct bench *b, unsigned int pin)
{
	return (uint64_t)get(b, HIGH(pin)) << 32 | get(b, LOW(pin));
}

static void wire(struct bench *b, unsigned int gsi, bool level)
{
	irq_set(&b->line[gsi], level);
}

static void eoi(struct bench *b, uint8_t vector)
{
	irqs_eoi(b->rig.machine.irqs, vector);
}

/* How many messages were sent since the last call. */
static unsigned int sent(struct bench *b)
{
	unsigned int count = b->count;

	b->count = 0;
	return count;
}

/* That there was exactly one, and it was this. */
static void must_have_sent(struct bench *b, uint64_t address, uint32_t data)
{
	assert_int_equal(sent(b), 1);
	if (b->sent[0].address != address || b->sent[0].data != data)
		fail_msg("sent %#llx %#x, not %#llx %#x", (unsigned long long)b->sent[0].address,
			 b->sent[0].data, (unsigned long long)address, data);
}

static void reset(struct bench *b)
{
	device_lock(b->io);
	b->io->class->reset(b->io);
	device_unlock(b->io);
}

static void must_be_fresh(struct bench *b)
{
	assert_int_equal(in32(b, IOREGSEL), 0);
	assert_int_equal(get(b, ID), 0);
	assert_int_equal(get(b, ARB), 0);
	for (unsigned int pin = 0; pin < PINS; pin++)
		assert_int_equal(get_entry(b, pin), MASKED);
	assert_int_equal(b->watched, 0);
}

static void powers_on(void **state)
{
	struct bench *b = *state;

	must_be_fresh(b);
	assert_int_equal(get(b, VERSION), 0x00170020);
	for (unsigned int gsi = 0; gsi < WIRES; gsi++)
		wire(b, gsi, true);
	assert_int_equal(sent(b), 0);
}

static void keeps_what_can_be_written(void **state)
{
	struct bench *b = *state;

	put(b, ID, 0xffffffff);
	assert_int_equal(get(b, ID), 0x0f000000);
	assert_int_equal(get(b, ARB), 0x0f000000);
	put(b, ARB, 0);
	assert_int_equal(get(b, ARB), 0x0f000000);
	put(b, VERSION, 0xffffffff);
	assert_int_equal(get(b, VERSION), 0x00170020);
	put(b, ID, 0x05000000);
	assert_int_equal(get(b, ARB), 0x05000000);

	/* An entry without delivery status, remote IRR, and what is reserved. */
	put(b, LOW(23), 0xffffffff);
	assert_int_equal(get(b, LOW(23)), 0x0001afff);
	assert_int_equal(get(b, HIGH(23)), 0);
	put(b, HIGH(23), 0xffffffff);
	assert_int_equal(get(b, HIGH(23)), 0xfffe0000);
	put_entry(b, 23, MASKED);
	assert_int_equal(get_entry(b, 23), MASKED);

	/* Registers that do not exist. */
	for (unsigned int reg = 0x03; reg < 0x100; reg = reg == 0x0f ? LOW(PINS) : reg + 1) {
		put(b, reg, 0xa5a5a5a5);
		assert_int_equal(get(b, reg), 0);
	}
	put(b, ID, 0);
	out32(b, IOREGSEL, 0);
	must_be_fresh(b);
	out32(b, IOREGSEL, 0xffffff01);
	assert_int_equal(in32(b, IOREGSEL), 0x01);
}

static void is_wired_as_a_pc(void **state)
{
	struct bench *b = *state;

	for (unsigned int pin = 0; pin < PINS; pin++)
		put_entry(b, pin, 0x40 + pin);
	for (unsigned int gsi = 0; gsi < WIRES; gsi++) {
		wire(b, gsi, true);
		if (gsi == 2 || gsi >= PINS)
			assert_int_equal(sent(b), 0);
		else
			must_have_sent(b, 0xfee00000, 0x40 + (gsi ? gsi : 2));
		wire(b, gsi, false);
		assert_int_equal(sent(b), 0);
	}
}

static void sends_messages(void **state)
{
	struct bench *b = *state;
	static const struct {
		uint64_t entry;
		uint64_t address; /* 0: none is sent */
		uint32_t data;
	} cases[] = {
		{0x31, 0xfee00000, 0x0031},
		{0xfe | DEST(0x05), 0xfee05000, 0x00fe},
		{0x31 | DEST(0xff) | LOGICAL, 0xfeeff004, 0x0031},
		{0x31 | LOWEST | LOGICAL | DEST(0x03), 0xfee03004, 0x0131},
		{0x31 | LEVEL | DEST(0x01), 0xfee01000, 0xc031},
		{0x31 | LEVEL | LOWEST | LOGICAL, 0xfee00004, 0xc131},
		{0x31 | ACTIVELOW, 0xfee00000, 0x0031},
		{0x31 | LEVEL | ACTIVELOW, 0xfee00000, 0xc031},
		{0x31 | DEST(0x12) | EXT(0x7f), 0xfee12fe0, 0x0031},
		{0x31 | DEST(0x12) | EXT(0x01), 0xfee12020, 0x0031},
		{NMI | DEST(0x02), 0xfee02000, 0x0400},
		{INIT, 0xfee00000, 0x0500},
		{0x20 | EXTINT, 0xfee00000, 0x0720},
		/* Edges even so. */
		{NMI | LEVEL, 0xfee00000, 0x0400},
		{INIT | LEVEL, 0xfee00000, 0x0500},
		{0x20 | EXTINT | LEVEL, 0xfee00000, 0x0720},
		/* Not sent: SMI, two that are reserved, masked ones. */
		{SMI, 0, 0},
		{SMI | LEVEL, 0, 0},
		{0x31 | 0x300, 0, 0},
		{0x31 | 0x600 | LEVEL, 0, 0},
		{0x31 | MASKED, 0, 0},
		{0x31 | MASKED | LEVEL, 0, 0},
		{NMI | MASKED, 0, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool level = (cases[i].data & 0xc000) == 0xc000;

		put_entry(b, 10, cases[i].entry);
		wire(b, 10, true);
		if (cases[i].address)
			must_have_sent(b, cases[i].address, cases[i].data);
		assert_int_equal(sent(b), 0);
		assert_int_equal(get_entry(b, 10), cases[i].entry | (level ? RIRR : 0));
		wire(b, 10, false);
		assert_int_equal(sent(b), 0);
		put_entry(b, 10, MASKED);
		assert_int_equal(get_entry(b, 10), MASKED);
	}
}

static void edges(void **state)
{
	struct bench *b = *state;

	put_entry(b, 4, 0x51);
	for (unsigned int i = 0; i < 3; i++) {
		wire(b, 4, true);
		must_have_sent(b, 0xfee00000, 0x51);
		wire(b, 4, false);
	}
	/* Nobody waits for an end. */
	eoi(b, 0x51);
	wire(b, 4, true);
	must_have_sent(b, 0xfee00000, 0x51);
	/* Writing the entry is no edge. */
	put_entry(b, 4, 0x52);
	assert_int_equal(sent(b), 0);
	wire(b, 4, false);

	/* An edge while masked is lost, whether the wire stays or not. */
	put_entry(b, 4, 0x51 | MASKED);
	irq_pulse(&b->line[4]);
	put_entry(b, 4, 0x51);
	assert_int_equal(sent(b), 0);
	put_entry(b, 4, 0x51 | MASKED);
	wire(b, 4, true);
	put_entry(b, 4, 0x51);
	assert_int_equal(sent(b), 0);
	wire(b, 4, false);
	wire(b, 4, true);
	must_have_sent(b, 0xfee00000, 0x51);
	assert_int_equal(b->watches, 0);
}

static void levels(void **state)
{
	struct bench *b = *state;

	put_entry(b, 9, 0x61 | LEVEL);
	wire(b, 9, true);
	must_have_sent(b, 0xfee00000, 0xc061);
	assert_int_equal(get_entry(b, 9), 0x61 | LEVEL | RIRR);
	/* Once, until a processor says that it is done. */
	wire(b, 9, false);
	wire(b, 9, true);
	assert_int_equal(sent(b), 0);
	eoi(b, 0x60);
	assert_int_equal(sent(b), 0);
	/* The wire is still high. */
	eoi(b, 0x61);
	must_have_sent(b, 0xfee00000, 0xc061);
	assert_int_equal(get_entry(b, 9), 0x61 | LEVEL | RIRR);
	wire(b, 9, false);
	eoi(b, 0x61);
	assert_int_equal(sent(b), 0);
	assert_int_equal(get_entry(b, 9), 0x61 | LEVEL);
	eoi(b, 0x61);
	wire(b, 9, true);
	must_have_sent(b, 0xfee00000, 0xc061);

	/* Masked meanwhile: the end is heard, the next waits for the mask to go. */
	put(b, LOW(9), 0x61 | LEVEL | MASKED);
	assert_int_equal(get_entry(b, 9), 0x61 | LEVEL | MASKED | RIRR);
	eoi(b, 0x61);
	assert_int_equal(sent(b), 0);
	assert_int_equal(get_entry(b, 9), 0x61 | LEVEL | MASKED);
	put(b, LOW(9), 0x61 | LEVEL);
	must_have_sent(b, 0xfee00000, 0xc061);
	eoi(b, 0x61);
	sent(b);
	put(b, LOW(9), 0x61 | LEVEL | MASKED);
	eoi(b, 0x61);
	wire(b, 9, false);
	put(b, LOW(9), 0x61 | LEVEL);
	assert_int_equal(sent(b), 0);
	/* From edge to level, the wire being high. */
	put(b, LOW(9), 0x61 | MASKED);
	wire(b, 9, true);
	put(b, LOW(9), 0x61 | LEVEL);
	must_have_sent(b, 0xfee00000, 0xc061);
}

/* Guests that know no EOI register: mask as edge, and back. */
static void becoming_an_edge_ends_it(void **state)
{
	struct bench *b = *state;

	put_entry(b, 11, 0x71 | LEVEL);
	wire(b, 11, true);
	sent(b);
	put(b, LOW(11), 0x71 | MASKED);
	assert_int_equal(get_entry(b, 11), 0x71 | MASKED);
	put(b, LOW(11), 0x71 | LEVEL);
	must_have_sent(b, 0xfee00000, 0xc071);
	wire(b, 11, false);
	put(b, LOW(11), 0x71 | MASKED);
	put(b, LOW(11), 0x71 | LEVEL);
	assert_int_equal(sent(b), 0);
	assert_int_equal(get_entry(b, 11), 0x71 | LEVEL);
}

static void one_end_is_for_all_of_its_vector(void **state)
{
	struct bench *b = *state;

	put_entry(b, 16, 0x81 | LEVEL | DEST(1));
	put_entry(b, 17, 0x81 | LEVEL | DEST(2));
	put_entry(b, 18, 0x82 | LEVEL);
	for (unsigned int gsi = 16; gsi < 19; gsi++)
		wire(b, gsi, true);
	assert_int_equal(sent(b), 3);
	eoi(b, 0x81);
	assert_int_equal(sent(b), 2);
	assert_int_equal(b->sent[0].address, 0xfee01000);
	assert_int_equal(b->sent[1].address, 0xfee02000);
	wire(b, 16, false);
	eoi(b, 0x81);
	must_have_sent(b, 0xfee02000, 0xc081);
	assert_int_equal(get(b, LOW(16)), 0x81 | LEVEL);
	assert_int_equal(get(b, LOW(18)), 0x82 | LEVEL | RIRR);
}

static void has_an_eoi_register(void **state)
{
	struct bench *b = *state;

	put_entry(b, 20, 0x91 | LEVEL);
	wire(b, 20, true);
	sent(b);
	out32(b, EOI, 0x90);
	assert_int_equal(sent(b), 0);
	out32(b, EOI, 0x91);
	must_have_sent(b, 0xfee00000, 0xc091);
	bus_write(b->rig.machine.mmio, EOI, 1, 0x91);
	must_have_sent(b, 0xfee00000, 0xc091);
	/* It cannot be read. */
	assert_int_equal(in32(b, EOI), 0);
}

static void version_11_has_none(void **state)
{
	static struct bench b;
	void *other = &b;

	(void)state;
	bench_with(&b, "version=0x11");
	assert_int_equal(get(&b, VERSION), 0x00170011);
	put_entry(&b, 20, 0x91 | LEVEL);
	wire(&b, 20, true);
	sent(&b);
	out32(&b, EOI, 0x91);
	assert_int_equal(sent(&b), 0);
	eoi(&b, 0x91);
	must_have_sent(&b, 0xfee00000, 0xc091);
	assert_null(rig_device(&b.rig, "io2", "ioapic", "version=0x12"));
	tear_down(&other);
}

static void says_whose_ends_it_waits_for(void **state)
{
	struct bench *b = *state;
	unsigned int watches;

	put_entry(b, 5, 0x41 | LEVEL | MASKED);
	put_entry(b, 6, 0x42);
	put_entry(b, 7, NMI | LEVEL);
	assert_int_equal(b->watches, 0);
	put(b, LOW(5), 0x41 | LEVEL);
	assert_int_equal(b->watched, 1 << 5);
	assert_int_equal(b->watch[5].address, 0xfee00000);
	assert_int_equal(b->watch[5].data, 0xc041);
	/* Another destination. */
	put(b, HIGH(5), 0x03000000);
	assert_int_equal(b->watch[5].address, 0xfee03000);
	put(b, LOW(5), 0x43 | LEVEL);
	assert_int_equal(b->watch[5].data, 0xc043);
	/* Masked with nothing outstanding: no more. */
	put(b, LOW(5), 0x43 | LEVEL | MASKED);
	assert_int_equal(b->watched, 0);
	watches = b->watches;
	put(b, LOW(5), 0x43 | LEVEL | MASKED);
	assert_int_equal(b->watches, watches);

	/* Masked while an end is outstanding: until that is heard. */
	put(b, LOW(5), 0x43 | LEVEL);
	wire(b, 5, true);
	put(b, LOW(5), 0x43 | LEVEL | MASKED);
	assert_int_equal(b->watched, 1 << 5);
	eoi(b, 0x43);
	assert_int_equal(b->watched, 0);
	/* Edge, and reset, end it as well. */
	put(b, LOW(5), 0x43 | LEVEL);
	assert_int_equal(b->watched, 1 << 5);
	put(b, LOW(5), 0x43);
	assert_int_equal(b->watched, 0);
	put(b, LOW(5), 0x43 | LEVEL);
	reset(b);
	assert_int_equal(b->watched, 0);
}

/* No processor takes it: nobody will end it. */
static void waits_for_no_end_of_what_was_refused(void **state)
{
	struct bench *b = *state;

	b->refuse = -EPERM;
	put_entry(b, 5, 0x41 | LEVEL | DEST(9));
	wire(b, 5, true);
	assert_int_equal(sent(b), 1);
	assert_int_equal(get(b, LOW(5)), 0x41 | LEVEL);
	b->refuse = 0;
	put(b, HIGH(5), 0);
	must_have_sent(b, 0xfee00000, 0xc041);
	assert_int_equal(get(b, LOW(5)), 0x41 | LEVEL | RIRR);
}

static void takes_other_accesses(void **state)
{
	struct bench *b = *state;
	struct bus *mmio = b->rig.machine.mmio;

	put(b, LOW(3), 0x00018931);
	/* Reads get the bytes that they ask for. */
	assert_int_equal(bus_read(mmio, IOWIN, 1), 0x31);
	assert_int_equal(bus_read(mmio, IOWIN + 1, 1), 0x89);
	assert_int_equal(bus_read(mmio, IOWIN + 2, 2), 0x0001);
	assert_int_equal(bus_read(mmio, IOWIN + 1, 4), 0x00000189);
	assert_int_equal(bus_read(mmio, IOWIN, 8), 0x00018931);
	assert_int_equal(bus_read(mmio, IOREGSEL, 1), LOW(3));
	assert_int_equal(bus_read(mmio, IOREGSEL + 1, 1), 0);
	/* Narrow writes have zeroes above; beside the register they do nothing. */
	bus_write(mmio, IOWIN + 1, 1, 0xff);
	bus_write(mmio, IOWIN + 2, 2, 0xffff);
	bus_write(mmio, IOWIN - 1, 4, 0xffffffff);
	assert_int_equal(in32(b, IOWIN), 0x00018931);
	bus_write(mmio, IOWIN, 2, 0x8132);
	assert_int_equal(in32(b, IOWIN), 0x00008132);
	bus_write(mmio, IOREGSEL, 1, LOW(4));
	bus_write(mmio, IOREGSEL + 1, 1, 0x77);
	bus_write(mmio, IOWIN, 8, UINT64_C(0xffffffff00018041));
	assert_int_equal(in32(b, IOWIN), 0x00018041);
	/* Between the registers there is nothing, up to the end of the page. */
	assert_int_equal(in32(b, IOAPIC + 0x04), 0);
	assert_int_equal(in32(b, IOAPIC + 0x20), 0);
	assert_int_equal(in32(b, IOAPIC + 0xffc), 0);
	assert_int_equal(bus_misses(mmio), 0);
	assert_int_equal(in32(b, IOAPIC + 0x1000), UINT32_MAX);
}

/*
 * Linux 6.1 as it boots: mp_register_ioapic() and clear_IO_APIC(), then check_timer() and the SCI
 * with flat logical destinations, then an end that the processor does not broadcast.
 */
static void serves_linux(void **state)
{
	struct bench *b = *state;

	out32(b, IOREGSEL, VERSION);
	assert_int_equal(in32(b, IOWIN), 0x00170020);
	for (unsigned int pin = 0; pin < PINS; pin++) {
		assert_int_equal(get_entry(b, pin), MASKED);
		put(b, LOW(pin), MASKED);
		put(b, HIGH(pin), 0);
	}
	put(b, ID, 0);
	assert_int_equal(get(b, ID), 0);
	/* The 8254, by way of pin 2. */
	put_entry(b, 2, DEST(0x01) | LOGICAL | 0x30);
	assert_int_equal(get_entry(b, 2), DEST(0x01) | LOGICAL | 0x30);
	wire(b, 0, true);
	must_have_sent(b, 0xfee01004, 0x0030);
	wire(b, 0, false);
	/* The SCI: set up masked, then unmasked. */
	put_entry(b, 9, DEST(0x01) | LOGICAL | LEVEL | MASKED | 0x21);
	put(b, LOW(9), LOGICAL | LEVEL | 0x21);
	assert_int_equal(b->watched, 1 << 9);
	wire(b, 9, true);
	must_have_sent(b, 0xfee01004, 0xc021);
	wire(b, 9, false);
	eoi(b, 0x21);
	assert_int_equal(get_entry(b, 9), DEST(0x01) | LOGICAL | LEVEL | 0x21);
	/* Another processor: masked, moved, unmasked. */
	wire(b, 9, true);
	must_have_sent(b, 0xfee01004, 0xc021);
	put(b, LOW(9), LOGICAL | LEVEL | MASKED | 0x21);
	assert_int_equal(in32(b, IOWIN), LOGICAL | LEVEL | MASKED | RIRR | 0x21);
	out32(b, EOI, 0x21);
	assert_int_equal(get(b, LOW(9)), LOGICAL | LEVEL | MASKED | 0x21);
	put_entry(b, 9, DEST(0x02) | LOGICAL | LEVEL | MASKED | 0x22);
	assert_int_equal(sent(b), 0);
	put(b, LOW(9), LOGICAL | LEVEL | 0x22);
	must_have_sent(b, 0xfee02004, 0xc022);
	wire(b, 9, false);
	out32(b, EOI, 0x22);
	assert_int_equal(sent(b), 0);
	/* clear_IO_APIC_pin() on the way down. */
	put(b, LOW(9), LOGICAL | LEVEL | MASKED | 0x22);
	put(b, LOW(9), MASKED);
	put(b, HIGH(9), 0);
	assert_int_equal(get_entry(b, 9), MASKED);
	assert_int_equal(b->watched, 0);
}

static void machine_reset(void **state)
{
	struct bench *b = *state;

	put(b, ID, 0x07000000);
	put_entry(b, 9, 0x61 | LEVEL | DEST(3));
	wire(b, 9, true);
	wire(b, 10, true);
	sent(b);
	out32(b, IOREGSEL, LOW(9));
	reset(b);
	assert_int_equal(sent(b), 0);
	must_be_fresh(b);
	/* Wires stay as their devices drive them. */
	put_entry(b, 9, 0x62 | LEVEL);
	must_have_sent(b, 0xfee00000, 0xc062);
	put_entry(b, 10, 0x63);
	wire(b, 10, true);
	assert_int_equal(sent(b), 0);
}

static void is_there_once(void **state)
{
	struct bench *b = *state;

	assert_null(rig_device(&b->rig, "io2", "ioapic", ""));
	assert_non_null(strstr(b->rig.err.text, "io2: "));
	put_entry(b, 9, 0x61);
	wire(b, 9, true);
	must_have_sent(b, 0xfee00000, 0x61);
	wire(b, 9, false);
	device_destroy(b->io);
	b->io = NULL;
	wire(b, 9, true);
	assert_int_equal(sent(b), 0);
	assert_int_equal(in32(b, IOREGSEL), UINT32_MAX);
}

/* Saving and loading */

static int load(struct bench *b, const void *saved, size_t len)
{
	int ret;

	device_lock(b->io);
	ret = state_load(b->io->class->state, device_state(b->io), saved, len, &b->rig.err);
	if (!ret)
		ret = b->io->class->loaded(b->io, &b->rig.err);
	device_unlock(b->io);
	return ret;
}

static size_t save(struct bench *b, void *into, size_t room)
{
	long len = state_save(b->io->class->state, device_state(b->io), into, room);

	assert_true(len > 0);
	return (size_t)len;
}

/* Saved, reset, loaded and saved again is the same; what is watched is; nothing is sent. */
static void must_survive_a_save(struct bench *b)
{
	uint8_t saved[1024], again[1024];
	size_t len = save(b, saved, sizeof(saved));
	uint32_t watched = b->watched;

	sent(b);
	reset(b);
	assert_int_equal(b->watched, 0);
	if (load(b, saved, len))
		fail_msg("%s", b->rig.err.text);
	assert_int_equal(save(b, again, sizeof(again)), len);
	assert_memory_equal(saved, again, len);
	assert_int_equal(b->watched, watched);
	assert_int_equal(sent(b), 0);
}

/* A machine that is restored: the IOAPIC first, then the devices that hold wires high. */
static void takes_a_restored_wire_for_no_edge(void **state)
{
	struct bench *b = *state;
	uint8_t saved[1024];
	size_t len;

	put_entry(b, 4, 0x51);
	put_entry(b, 9, 0x61 | LEVEL);
	wire(b, 4, true);
	wire(b, 9, true);
	assert_int_equal(sent(b), 2);
	len = save(b, saved, sizeof(saved));
	tear_down(state);
	bench_with(b, "");
	assert_int_equal(load(b, saved, len), 0);
	wire(b, 4, true);
	wire(b, 9, true);
	assert_int_equal(sent(b), 0);
	eoi(b, 0x61);
	must_have_sent(b, 0xfee00000, 0xc061);
}

static void refuses_what_cannot_be(void **state)
{
	struct bench *b = *state;
	const struct state_table *t = b->io->class->state;
	unsigned int refused = 0, taken = 0;
	uint8_t saved[1024];
	uint8_t sound[512];
	size_t len;

	put_entry(b, 9, 0x61 | LEVEL);
	wire(b, 9, true);
	len = save(b, saved, sizeof(saved));
	assert_true(t->size <= sizeof(sound));
	memcpy(sound, device_state(b->io), t->size);
	for (uint64_t seed = 1; seed < 2000; seed++) {
		int ret;

		device_lock(b->io);
		memcpy(device_state(b->io), sound, t->size);
		state_mutate(t, device_state(b->io), seed);
		ret = b->io->class->loaded(b->io, &b->rig.err);
		device_unlock(b->io);
		if (ret) {
			assert_int_equal(ret, -EPROTO);
			assert_non_null(strstr(b->rig.err.text, "io: "));
			refused++;
			continue;
		}
		taken++;
		must_survive_a_save(b);
	}
	assert_true(refused > 100 && taken > 100);
	assert_int_equal(load(b, saved, len), 0);
	eoi(b, 0x61);
	must_have_sent(b, 0xfee00000, 0xc061);
}

/* Changes one element of a state as a file could have it. */
static void poke(struct bench *b, const char *name, unsigned int index, uint64_t value)
{
	const struct state_table *t = b->io->class->state;

	for (uint32_t i = 0; i < t->count; i++) {
		const struct state_field *f = &t->fields[i];

		if (strcmp(f->name, name))
			continue;
		assert_true(index < f->count);
		value = htole64(value);
		memcpy((char *)device_state(b->io) + f->offset + (size_t)f->width * index, &value,
		       f->width);
		return;
	}
	fail_msg("there is no %s", name);
}

/* What no sequence of accesses leads to. */
static void refuses_each_of_these(void **state)
{
	struct bench *b = *state;
	static const struct {
		const char *field;
		uint64_t value;
		const char *said;
	} cases[] = {
		{"entries", RIRR, "pin 0 "},
		{"entries", RIRR | LEVEL | NMI, "pin 0 "},
		{"entries", IDLE, "pin 0 "},
		{"entries", UINT64_C(1) << 17, "pin 0 "},
		{"entries", UINT64_C(1) << 32, "pin 0 "},
		{"entries", UINT64_C(1) << 48, "pin 0 "},
		{"wires", 1, "wires 0x1"},
		{"wires", 1 << PINS, "wires 0x1000000"},
		{"id", 0x10, "ID 0x10"},
		{"reserved", 1, "not a state"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		device_lock(b->io);
		poke(b, cases[i].field, 0, cases[i].value);
		assert_int_equal(b->io->class->loaded(b->io, &b->rig.err), -EPROTO);
		poke(b, cases[i].field, 0, 0);
		assert_int_equal(b->io->class->loaded(b->io, &b->rig.err), 0);
		device_unlock(b->io);
		assert_non_null(strstr(b->rig.err.text, cases[i].said));
	}
}

/* At random */

struct pin {
	unsigned int vector, mode, dest, extended;
	bool logical, active_low, trigger, masked, waiting, wire;
};

struct model {
	struct pin pin[PINS];
	unsigned int select, id;
	struct msi sent[MESSAGES];
	unsigned int count;
};

static bool pin_level(const struct pin *p)
{
	return p->trigger && p->mode <= 1;
}

static void model_send(struct model *m, const struct pin *p)
{
	if (p->mode == 2 || p->mode == 3 || p->mode == 6)
		return;
	m->sent[m->count++] = (struct msi){
		.address = 0xfee00000 + p->dest * 0x1000 + p->extended * 0x20 + p->logical * 4U,
		.data = p->vector + p->mode * 0x100 + (pin_level(p) ? 0xc000 : 0),
	};
}

/* What a level-triggered pin does whenever something about it changed. */
static void model_look(struct model *m, struct pin *p)
{
	if (!pin_level(p)) {
		p->waiting = false;
	} else if (p->wire && !p->masked && !p->waiting) {
		model_send(m, p);
		p->waiting = true;
	}
}

static void model_wire(struct model *m, unsigned int gsi, bool level)
{
	struct pin *p = &m->pin[gsi == 0 ? 2 : gsi % PINS];
	bool was;

	if (gsi == 2 || gsi >= PINS)
		return;
	was = p->wire;
	p->wire = level;
	if (!pin_level(p) && level && !was && !p->masked)
		model_send(m, p);
	model_look(m, p);
}

static void model_end(struct model *m, unsigned int vector)
{
	for (unsigned int i = 0; i < PINS; i++) {
		if (!m->pin[i].waiting || m->pin[i].vector != vector)
			continue;
		m->pin[i].waiting = false;
		model_look(m, &m->pin[i]);
	}
}

static void model_put(struct model *m, uint32_t v)
{
	struct pin *p = &m->pin[(m->select - 0x10) / 2 % PINS];

	if (m->select == ID)
		m->id = v >> 24 & 15;
	if (m->select < LOW(0) || m->select >= LOW(PINS))
		return;
	if (m->select & 1) {
		p->dest = v >> 24;
		p->extended = v >> 17 & 0x7f;
	} else {
		p->vector = v & 0xff;
		p->mode = v >> 8 & 7;
		p->logical = v >> 11 & 1;
		p->active_low = v >> 13 & 1;
		p->trigger = v >> 15 & 1;
		p->masked = v >> 16 & 1;
	}
	model_look(m, p);
}

static uint32_t model_get(const struct model *m)
{
	const struct pin *p = &m->pin[(m->select - 0x10) / 2 % PINS];

	if (m->select == ID || m->select == ARB)
		return m->id << 24;
	if (m->select == VERSION)
		return 0x00170020;
	if (m->select < LOW(0) || m->select >= LOW(PINS))
		return 0;
	if (m->select & 1)
		return p->dest << 24 | p->extended << 17;
	return p->vector | p->mode << 8 | (uint32_t)p->logical << 11 |
	       (uint32_t)p->active_low << 13 | (uint32_t)p->waiting << 14 |
	       (uint32_t)p->trigger << 15 | (uint32_t)p->masked << 16;
}

static uint32_t pick(uint64_t *seed, uint32_t below)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 33) % below;
}

/* Few vectors, so that pins share them; mostly delivery modes that send. */
static uint32_t some_value(uint64_t *seed)
{
	uint32_t value = pick(seed, UINT32_MAX);

	if (pick(seed, 4))
		value = (value & ~0x107ffU) | 0x30 | pick(seed, 8);
	return pick(seed, 2) ? value : value & ~0x600U;
}

static void both_do(struct bench *b, struct model *m, uint64_t *seed)
{
	unsigned int what = pick(seed, 100), at = pick(seed, WIRES);
	bool level = pick(seed, 2);
	uint32_t value = some_value(seed);

	if (what < 40) {
		wire(b, at, level);
		model_wire(m, at, level);
	} else if (what < 55) {
		eoi(b, (uint8_t)value);
		model_end(m, (uint8_t)value);
	} else if (what < 60) {
		out32(b, EOI, value);
		model_end(m, (uint8_t)value);
	} else if (what < 75) {
		m->select = pick(seed, 16) ? LOW(0) + pick(seed, 2 * PINS + 2) : pick(seed, 256);
		out32(b, IOREGSEL, m->select);
	} else if (what < 90) {
		out32(b, IOWIN, value);
		model_put(m, value);
	} else {
		assert_int_equal(in32(b, IOWIN), model_get(m));
		assert_int_equal(in32(b, IOREGSEL), m->select);
	}
}

static uint32_t model_watched(const struct model *m)
{
	uint32_t watched = 0;

	for (unsigned int i = 0; i < PINS; i++)
		if (pin_level(&m->pin[i]) && (!m->pin[i].masked || m->pin[i].waiting))
			watched |= 1U << i;
	return watched;
}

static void agrees_with_a_model(void **state)
{
	struct bench *b = *state;
	struct model m = {.select = 0};
	unsigned int edge_count = 0, level_count = 0;
	uint64_t seed = 5;

	for (unsigned int i = 0; i < PINS; i++)
		m.pin[i].masked = true;
	for (unsigned int i = 0; i < 100000; i++) {
		m.count = 0;
		both_do(b, &m, &seed);
		if (b->count != m.count)
			fail_msg("operation %u: %u messages, not %u", i, b->count, m.count);
		for (unsigned int n = 0; n < m.count; n++) {
			assert_int_equal(b->sent[n].address, m.sent[n].address);
			assert_int_equal(b->sent[n].data, m.sent[n].data);
			if (m.sent[n].data & 0x8000)
				level_count++;
			else
				edge_count++;
		}
		sent(b);
		assert_int_equal(b->watched, model_watched(&m));
		if (i % 100 == 0)
			must_survive_a_save(b);
	}
	/* It was about something. */
	assert_true(edge_count > 2000 && level_count > 2000);

	/* With all wires low and all ended, nothing waits. */
	for (unsigned int gsi = 0; gsi < WIRES; gsi++)
		wire(b, gsi, false);
	for (unsigned int vector = 0; vector < 256; vector++)
		eoi(b, (uint8_t)vector);
	for (unsigned int pin = 0; pin < PINS; pin++)
		assert_false(get(b, LOW(pin)) & RIRR);
}

static void survives_hostile_accesses(void **state)
{
	struct bench *b = *state;
	struct bus *mmio = b->rig.machine.mmio;
	uint64_t seed = 13;

	for (unsigned int i = 0; i < 100000; i++) {
		/* Mostly about the registers, also from outside into the page and out of it. */
		uint64_t at =
			IOAPIC + (pick(&seed, 4) ? pick(&seed, 0x48) : pick(&seed, 0x1008)) - 4;
		unsigned int size = 1U << pick(&seed, 4);
		uint64_t value = (uint64_t)pick(&seed, UINT32_MAX) << 32 | pick(&seed, UINT32_MAX);

		bus_write(mmio, at, size, value & ones(size));
		assert_false(bus_read(mmio, at, size) & ~ones(size));
		wire(b, pick(&seed, WIRES), pick(&seed, 2));
		eoi(b, (uint8_t)pick(&seed, 256));
		sent(b);
		if (i % 1000 == 0)
			must_survive_a_save(b);
	}
	/* And it can be programmed as ever. */
	wire(b, 9, false);
	put_entry(b, 9, MASKED);
	put_entry(b, 9, 0x61 | LEVEL);
	assert_int_equal(sent(b), 0);
	wire(b, 9, true);
	must_have_sent(b, 0xfee00000, 0xc061);
}

#define ON_A_BENCH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_A_BENCH(powers_on),
		ON_A_BENCH(keeps_what_can_be_written),
		ON_A_BENCH(is_wired_as_a_pc),
		ON_A_BENCH(sends_messages),
		ON_A_BENCH(edges),
		ON_A_BENCH(levels),
		ON_A_BENCH(becoming_an_edge_ends_it),
		ON_A_BENCH(one_end_is_for_all_of_its_vector),
		ON_A_BENCH(has_an_eoi_register),
		cmocka_unit_test(version_11_has_none),
		ON_A_BENCH(says_whose_ends_it_waits_for),
		ON_A_BENCH(waits_for_no_end_of_what_was_refused),
		ON_A_BENCH(takes_other_accesses),
		ON_A_BENCH(serves_linux),
		ON_A_BENCH(machine_reset),
		ON_A_BENCH(is_there_once),
		ON_A_BENCH(takes_a_restored_wire_for_no_edge),
		ON_A_BENCH(refuses_what_cannot_be),
		ON_A_BENCH(refuses_each_of_these),
		ON_A_BENCH(agrees_with_a_model),
		ON_A_BENCH(survives_hostile_accesses),
	};

	return cmocka_run_group_tests_name("ioapic", tests, NULL, NULL);
}
