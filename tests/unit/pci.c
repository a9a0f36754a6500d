/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Functions of the bus as a guest sees them: configuration space, BARs, the interrupt pin, and what
 * is left of them after ten thousand random writes. PCI 3.0, chapter 6.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/log.h"
#include "support/card.h"
#include "support/cm.h"

#define COMMAND  0x04
#define STATUS   0x06
#define IO       0x1U
#define MEMORY   0x2U
#define INTX_OFF 0x400U
#define INTX     0x8U
#define LINE     0x3c
#define PIN      0x3d
#define CARDS    3

struct bench {
	struct rig rig;
	struct bus *ports, *mmio;
	struct device *host;
	struct card *card[CARDS]; /* slot n + 1 */
	struct pci_function *f;   /* the first's */
};

static unsigned int devfn(unsigned int card)
{
	return (card + 1) * PCI_FUNCTIONS;
}

static unsigned int bar(unsigned int n)
{
	return 0x10 + 4 * n;
}

static uint32_t get(struct bench *b, unsigned int card, unsigned int at, unsigned int size)
{
	return config_in(&b->rig, devfn(card), at, size);
}

static void put(struct bench *b, unsigned int card, unsigned int at, unsigned int size,
		uint32_t value)
{
	config_out(&b->rig, devfn(card), at, size, value);
}

static int set_up(void **state)
{
	static struct bench b;

	rig_init(&b.rig, 0);
	b.ports = b.rig.machine.ports;
	b.mmio = b.rig.machine.mmio;
	b.host = rig_device(&b.rig, "pci", "pci_host", "");
	assert_non_null(b.host);
	for (unsigned int i = 0; i < CARDS; i++) {
		char id[8];

		snprintf(id, sizeof(id), "card%u", i);
		b.card[i] = card_new(&b.rig, id, i == 2 ? "vectors=2" : "");
	}
	b.f = &b.card[0]->function;
	*state = &b;
	return 0;
}

static void count_range(void *arg, uint64_t at, uint64_t len, const struct device *dev)
{
	(void)at, (void)len, (void)dev;
	++*(unsigned int *)arg;
}

static unsigned int ranges(struct bus *bus)
{
	unsigned int n = 0;

	bus_each(bus, count_range, &n);
	return n;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	for (unsigned int i = 0; i < CARDS; i++)
		device_destroy(&b->card[i]->dev);
	device_destroy(b->host);
	assert_int_equal(ranges(b->ports) + ranges(b->mmio), 0);
	for (unsigned int i = 0; i < GSI_MAX; i++)
		assert_false(b->rig.level[i]);
	rig_fini(&b->rig);
	return 0;
}

/* The header and the capabilities */

static void the_header(void **state)
{
	struct bench *b = *state;

	assert_int_equal(get(b, 0, 0, 4), CARD_ID);
	assert_int_equal(get(b, 0, 4, 4), 0x00100000);
	assert_int_equal(get(b, 0, 8, 4), 0xff010203);
	assert_int_equal(get(b, 0, 0xc, 4), 0);
	assert_int_equal(get(b, 0, bar(0), 4), 1);
	assert_int_equal(get(b, 0, bar(1), 4), 0);
	assert_int_equal(get(b, 0, bar(2), 4), 4);
	assert_int_equal(get(b, 0, bar(3), 4), 0);
	assert_int_equal(get(b, 0, 0x2c, 4), 0x56781234);
	assert_int_equal(get(b, 0, 0x30, 4), 0);
	assert_int_equal(get(b, 0, LINE, 4), 0x100);
}

/* Of every bit: whether a guest may write it. */
static uint32_t writable(unsigned int at)
{
	static const uint32_t mask[0x40 / 4] = {
		[COMMAND / 4] = 0x0547,  [0xc / 4] = 0xff,        [0x10 / 4] = 0xfff0,
		[0x14 / 4] = 0xfffff000, [0x18 / 4] = 0xffff0000, [0x1c / 4] = 0xffffffff,
		[LINE / 4] = 0xff,
	};

	return at < 0x40 ? mask[at / 4] : at == 0x40 ? 0x0f000000 : 0;
}

static void every_bit(void **state)
{
	struct bench *b = *state;

	for (unsigned int at = 0; at < PCI_CONFIG_SIZE; at += 4) {
		uint32_t was = get(b, 0, at, 4), may = writable(at);

		if (at == 0x44)
			continue; /* hooked */
		put(b, 0, at, 4, UINT32_MAX);
		assert_int_equal(get(b, 0, at, 4), was | may);
		put(b, 0, at, 4, 0);
		assert_int_equal(get(b, 0, at, 4), was & ~may);
		for (unsigned int i = 0; i < 4; i++) {
			put(b, 0, at + i, 1, 0xff);
			assert_int_equal(get(b, 0, at, 4),
					 (was & ~may) | (may & UINT32_C(0xff) << (8 * i)));
			put(b, 0, at + i, 1, 0);
		}
		put(b, 0, at + 2, 2, 0xffff);
		assert_int_equal(get(b, 0, at, 4), (was & ~may) | (may & 0xffff0000));
		put(b, 0, at + 2, 2, 0);
	}
	device_reset(&b->card[0]->dev);
	assert_int_equal(pci_loaded(b->f, &b->rig.err), 0);
}

static void outside(void **state)
{
	struct bench *b = *state;
	struct pci *pci = b->rig.machine.pci;

	for (unsigned int at = PCI_CONFIG_SIZE; at < 4096; at += 4) {
		pci_config_write(pci, devfn(0), at, 4, 0);
		assert_int_equal(pci_config_read(pci, devfn(0), at, 4), UINT32_MAX);
	}
	assert_int_equal(pci_config_read(pci, devfn(0), UINT32_MAX, 1), 0xff);
	assert_int_equal(pci_config_read(pci, 256, 0, 2), 0xffff);
	pci_config_write(pci, UINT32_MAX, 0, 4, 0);
}

static void capabilities(void **state)
{
	struct bench *b = *state;
	unsigned int at = get(b, 2, 0x34, 1);

	/* In the order in which they were added, and no further. */
	assert_int_equal(get(b, 2, STATUS, 2) & 0x10, 0x10);
	assert_int_equal(at, 0x40);
	assert_int_equal(get(b, 2, at, 1), 0x11);
	at = get(b, 2, at + 1, 1);
	assert_int_equal(at, 0x4c);
	assert_int_equal(get(b, 2, at, 4), 0x00080009);
	assert_int_equal(get(b, 0, 0x40, 4), 0x00080009);
}

static void hooks(void **state)
{
	struct bench *b = *state;
	struct card *c = b->card[0];

	c->hook_value = 0x12345678;
	assert_int_equal(get(b, 0, 0x44, 4), 0x12345678);
	assert_int_equal(get(b, 0, 0x44, 1), 0x78);
	assert_int_equal(c->hook_reads, 2);
	put(b, 0, 0x46, 2, 0xabcd);
	assert_int_equal(c->hook_value, 0xabcd);
	assert_int_equal(c->hook_writes, 1);
	/* What the hook does not take goes the usual way. */
	put(b, 0, 0x40, 4, 0x0500ffff);
	assert_int_equal(c->hook_writes, 2);
	assert_int_equal(get(b, 0, 0x40, 4), 0x05080009);
	get(b, 0, 0x3c, 4);
	get(b, 0, 0x48, 4);
	assert_int_equal(c->hook_reads, 3);
}

/* Slots and functions */

static void functions_of_a_slot(void **state)
{
	struct bench *b = *state;
	struct card *one, *zero;

	assert_int_equal(get(b, 0, 0xe, 1), 0);
	one = card_new(&b->rig, "one", "addr=1.3");
	assert_int_equal(get(b, 0, 0xe, 1), 0x80);
	assert_int_equal(config_in(&b->rig, 0x0b, 0, 4), CARD_ID);
	device_reset(&b->card[0]->dev);
	assert_int_equal(get(b, 0, 0xe, 1), 0x80);
	device_destroy(&one->dev);

	/* Function 0 may come later, and must come. */
	one = card_new(&b->rig, "one", "addr=9.1");
	assert_int_equal(pci_place(b->rig.machine.pci, &b->rig.err), -EINVAL);
	assert_non_null(strstr(b->rig.err.text, "slot 9 has no function 0"));
	zero = card_new(&b->rig, "zero", "addr=9");
	assert_int_equal(config_in(&b->rig, 0x48, 0xe, 1), 0x80);
	assert_int_equal(pci_place(b->rig.machine.pci, &b->rig.err), 0);
	device_destroy(&zero->dev);
	device_destroy(&one->dev);
}

static void all_slots(void **state)
{
	struct bench *b = *state;
	struct card *cards[PCI_SLOTS];
	unsigned int n;

	for (n = 0; n < PCI_SLOTS - CARDS - 1; n++) {
		char id[8];

		snprintf(id, sizeof(id), "c%u", n);
		cards[n] = card_new(&b->rig, id, "");
		assert_int_equal(cards[n]->function.devfn, devfn(CARDS + n));
	}
	assert_null(rig_device(&b->rig, "more", "test_card", ""));
	assert_non_null(strstr(b->rig.err.text, "all 32 PCI slots are taken"));
	assert_null(rig_device(&b->rig, "there", "test_card", "addr=1f"));
	assert_non_null(strstr(b->rig.err.text, "PCI slot 1f.0 is c27's"));
	assert_int_equal(pci_place(b->rig.machine.pci, &b->rig.err), 0);
	while (n--)
		device_destroy(&cards[n]->dev);
}

static void no_bridge(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, 0);
	assert_false(pci_present(r.machine.pci));
	assert_false(pci_present(NULL));
	assert_null(rig_device(&r, "card", "test_card", ""));
	assert_non_null(strstr(r.err.text, "this machine has no PCI"));
	rig_fini(&r);
}

/* BARs */

static void sizing(void **state)
{
	struct bench *b = *state;

	for (unsigned int i = 0; i < 6; i++)
		put(b, 0, bar(i), 4, UINT32_MAX);
	assert_int_equal(get(b, 0, bar(0), 4), 0xfff1);
	assert_int_equal(get(b, 0, bar(1), 4), 0xfffff000);
	assert_int_equal(get(b, 0, bar(2), 4), 0xffff0004);
	assert_int_equal(get(b, 0, bar(3), 4), 0xffffffff);
	assert_int_equal(get(b, 0, bar(4), 4), 0);
	assert_int_equal(get(b, 0, bar(5), 4), 0);
	/* With decoding on too, where Linux leaves it on: nothing that is in the way moves. */
	put(b, 0, COMMAND, 2, IO | MEMORY);
	put(b, 0, bar(1), 4, 0xe2000000);
	assert_int_equal(bus_read(b->mmio, 0xe2000000, 4), CARD_ANSWER(1, 0));
}

static void command_toggles(void **state)
{
	struct bench *b = *state;
	struct card *c = b->card[0];

	put(b, 0, bar(0), 4, 0x1000);
	put(b, 0, bar(1), 4, 0xe2000000);
	put(b, 0, bar(2), 4, 0xe3000000);
	assert_int_equal(ranges(b->ports), 2);
	assert_int_equal(bus_read(b->mmio, 0xe2000000, 4), UINT32_MAX);
	put(b, 0, COMMAND, 1, IO);
	assert_true(c->bars[0].mapped && !c->bars[1].mapped && !c->bars[2].mapped);
	assert_int_equal(bus_read(b->ports, 0x1008, 4), CARD_ANSWER(0, 8));
	assert_int_equal(bus_read(b->ports, 0x100f, 1), CARD_ANSWER(0, 15) & 0xff);
	put(b, 0, COMMAND, 1, MEMORY);
	assert_true(!c->bars[0].mapped && c->bars[1].mapped && c->bars[2].mapped);
	assert_int_equal(bus_read(b->ports, 0x1008, 4), UINT32_MAX);
	assert_int_equal(bus_read(b->mmio, 0xe2000ffc, 4), CARD_ANSWER(1, 0xffc));
	assert_int_equal(bus_read(b->mmio, 0xe300fff8, 4), CARD_ANSWER(2, 0xfff8));
	bus_write(b->mmio, 0xe2000010, 4, 0x77);
	assert_int_equal(c->written, 0x77);
	put(b, 0, COMMAND, 1, IO | MEMORY);
	/* What is said twice moves nothing. */
	for (int i = 0; i < 100; i++) {
		put(b, 0, COMMAND, 1, IO | MEMORY);
		put(b, 0, bar(1), 4, 0xe2000000);
	}
	assert_int_equal(c->bars[1].moves, 1);
	assert_int_equal(c->bars[0].moves, 3);
	put(b, 0, COMMAND, 1, 0);
	assert_int_equal(ranges(b->mmio), 1);
}

static void moving(void **state)
{
	struct bench *b = *state;
	struct card *c = b->card[0];

	put(b, 0, COMMAND, 2, IO | MEMORY);
	assert_false(c->bars[0].mapped || c->bars[1].mapped || c->bars[2].mapped);
	for (uint32_t at = 0xe2000000; at < 0xe2020000; at += 0x1000) {
		put(b, 0, bar(1), 4, at | 0xfff);
		assert_true(c->bars[1].mapped && c->bars[1].at == at);
		assert_int_equal(bus_read(b->mmio, at + 4, 4), CARD_ANSWER(1, 4));
		assert_int_equal(bus_read(b->mmio, at - 4, 4), UINT32_MAX);
	}
	assert_int_equal(c->bars[1].moves, 2 * 0x20 - 1);
	/* By bytes, as nobody does: each byte moves it. */
	put(b, 0, bar(1) + 2, 1, 0x55);
	assert_true(c->bars[1].at == 0xe255f000);
	/* The halves of a long address: the one between is an address as well. */
	put(b, 0, bar(2), 4, 0xe3000000);
	put(b, 0, bar(3), 4, 0x12);
	assert_true(c->bars[2].mapped && c->bars[2].at == UINT64_C(0x12e3000000));
	assert_int_equal(bus_read(b->mmio, UINT64_C(0x12e3000008), 4), CARD_ANSWER(2, 8));
	/* The very end: the last byte of the address space is nobody's. */
	put(b, 0, bar(2), 4, UINT32_MAX);
	put(b, 0, bar(3), 4, UINT32_MAX);
	assert_false(c->bars[2].mapped);
	put(b, 0, bar(2), 4, 0);
	assert_true(c->bars[2].mapped && c->bars[2].at == UINT64_C(0xffffffff00000000));
}

static void onto_others(void **state)
{
	struct bench *b = *state;
	struct card *c = b->card[0], *d = b->card[1];

	put(b, 0, bar(1), 4, 0xe2000000);
	put(b, 1, bar(1), 4, 0xe2000000);
	put(b, 0, COMMAND, 2, IO | MEMORY);
	put(b, 1, COMMAND, 2, IO | MEMORY);
	assert_true(c->bars[1].mapped && !d->bars[1].mapped);
	/* A 64-bit one over it, from in front. */
	put(b, 1, bar(2), 4, 0xe1ff0000);
	assert_true(d->bars[2].mapped);
	put(b, 1, bar(2), 4, 0xe2000000);
	assert_false(d->bars[2].mapped);
	/* It goes: what stood back decodes, in the order of the BARs. */
	put(b, 0, bar(1), 4, 0xe4000000);
	assert_true(c->bars[1].mapped && d->bars[1].mapped && !d->bars[2].mapped);
	put(b, 1, bar(1), 4, 0xe5000000);
	assert_true(d->bars[1].mapped && d->bars[2].mapped);
	/* And when it is switched off. */
	put(b, 0, bar(1), 4, 0xe2001000);
	assert_false(c->bars[1].mapped);
	put(b, 1, COMMAND, 2, IO);
	assert_true(c->bars[1].mapped);
	put(b, 1, COMMAND, 2, IO | MEMORY);
	assert_true(c->bars[1].mapped && d->bars[1].mapped && !d->bars[2].mapped);
}

static void swapping(void **state)
{
	struct bench *b = *state;
	struct card *c = b->card[0], *d = b->card[1];

	put(b, 0, bar(1), 4, 0xe2000000);
	put(b, 1, bar(1), 4, 0xe3000000);
	put(b, 0, COMMAND, 2, MEMORY);
	put(b, 1, COMMAND, 2, MEMORY);
	put(b, 0, bar(1), 4, 0xe3000000);
	assert_false(c->bars[1].mapped);
	put(b, 1, bar(1), 4, 0xe2000000);
	assert_true(c->bars[1].mapped && c->bars[1].at == 0xe3000000);
	assert_true(d->bars[1].mapped && d->bars[1].at == 0xe2000000);
}

static void where_nothing_decodes(void **state)
{
	static const uint32_t places[] = {
		0x00000000, 0x00001000, 0x000ff000, 0xe0000000, 0xe00ff000, 0xfffff000,
	};
	struct bench *b = *state;
	struct card *c = b->card[0];
	struct log log;

	log_init(&log, -1, LOG_ERROR);
	b->rig.machine.log = &log;
	put(b, 0, COMMAND, 2, IO | MEMORY);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		put(b, 0, bar(1), 4, places[i]);
		/* RAM, mapped configuration, or nowhere; the last is free. */
		assert_int_equal(c->bars[1].mapped, places[i] == 0xfffff000);
	}
	/* RAM that begins inside of it. */
	put(b, 0, bar(2), 4, 0x00100000);
	assert_true(c->bars[2].mapped);
	put(b, 0, bar(2), 4, 0x000f0000);
	assert_false(c->bars[2].mapped);
	put(b, 0, bar(0), 4, 0);
	assert_false(c->bars[0].mapped);
	put(b, 0, bar(0), 4, 0xcf0);
	assert_false(c->bars[0].mapped);
	put(b, 0, bar(0), 4, 0xd00);
	assert_true(c->bars[0].mapped);
	put(b, 0, bar(0), 4, 0x10d00);
	assert_true(c->bars[0].mapped && c->bars[0].at == 0xd00);
	put(b, 0, bar(0), 4, 0xfff0);
	assert_true(c->bars[0].mapped && c->bars[0].at == 0xfff0);
	b->rig.machine.log = NULL;
}

/* As a firmware places them */

static void assert_in(uint64_t at, uint64_t len, uint64_t from, uint64_t to)
{
	assert_true(at >= from && at + len <= to && at % len == 0);
}

static void placing(void **state)
{
	struct bench *b = *state;

	for (int again = 0; again < 3; again++) {
		assert_int_equal(pci_place(b->rig.machine.pci, &b->rig.err), 0);
		for (unsigned int i = 0; i < CARDS; i++) {
			struct card_bar *bars = b->card[i]->bars;

			assert_true(bars[0].mapped && bars[1].mapped && bars[2].mapped);
			assert_int_equal(bars[4].mapped, i == 2);
			assert_in(bars[0].at, CARD_PORTS, PCI_IO_AT, PCI_IO_END);
			assert_in(bars[1].at, CARD_MEM32, PCI_MEM32_AT, PCI_MEM32_END);
			assert_in(bars[2].at, CARD_MEM64, PCI_MEM32_AT, PCI_MEM32_END);
			assert_int_equal(get(b, i, COMMAND, 2), IO | MEMORY);
			assert_int_equal(get(b, i, LINE, 1), 10 + (i + 1) % 2);
		}
		assert_int_equal(config_in(&b->rig, 0, COMMAND, 2), 0);
		assert_int_equal(config_in(&b->rig, 0, LINE, 2), 0);
		for (unsigned int i = 0; i < CARDS; i++)
			device_reset(&b->card[i]->dev);
		assert_int_equal(ranges(b->ports), 2);
		assert_int_equal(ranges(b->mmio), 1);
	}
}

static void placing_around(void **state)
{
	static const struct bus_ops nothing = {.max_size = 1};
	struct bench *b = *state;

	assert_int_equal(bus_map(b->ports, 0x1008, 1, &nothing, b->host, &b->rig.err), 0);
	assert_int_equal(bus_map(b->mmio, PCI_MEM32_AT + 1, 1, &nothing, b->host, &b->rig.err), 0);
	assert_int_equal(pci_place(b->rig.machine.pci, &b->rig.err), 0);
	assert_true(b->card[0]->bars[0].at == 0x1010);
	assert_true(b->card[0]->bars[1].at == PCI_MEM32_AT + 0x1000);
	bus_unmap(b->ports, 0x1008);
	bus_unmap(b->mmio, PCI_MEM32_AT + 1);
}

static void windows(void **state)
{
	struct bench *b = *state;
	const struct machine *m = &b->rig.machine;
	struct card *large, *larger;

	assert_true(pci_window64(m) == GIB(4));
	assert_true(pci_window64_len(m) == GIB(60));
	large = card_new(&b->rig, "large", "mem64=1G");
	assert_int_equal(pci_place(m->pci, &b->rig.err), 0);
	assert_true(large->bars[2].at == GIB(4));
	assert_int_equal(config_in(&b->rig, devfn(CARDS), bar(2), 4), 4);
	assert_int_equal(config_in(&b->rig, devfn(CARDS), bar(3), 4), 1);
	larger = card_new(&b->rig, "larger", "mem64=64G");
	assert_int_equal(pci_place(m->pci, &b->rig.err), -ENOSPC);
	assert_non_null(strstr(b->rig.err.text, "larger: there is no room"));
	pci_set_address_bits(m->pci, 40);
	assert_true(pci_window64_len(m) == PCI_MEM64_LEN);
	/* 64 GiB from 64 GiB on would end behind the window. */
	assert_int_equal(pci_place(m->pci, &b->rig.err), -ENOSPC);
	device_destroy(&larger->dev);
	pci_set_address_bits(m->pci, 32);
	assert_true(pci_window64_len(m) == 0);
	assert_int_equal(pci_place(m->pci, &b->rig.err), -ENOSPC);
	pci_set_address_bits(m->pci, 64);
	assert_true(pci_window64_len(m) == PCI_MEM64_LEN);
	assert_int_equal(pci_place(m->pci, &b->rig.err), 0);
	device_destroy(&large->dev);
}

static void the_window_lies_above_ram(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, GIB(5) + MIB(1));
	assert_true(pci_window64(&r.machine) == GIB(7));
	assert_true(pci_window64_len(&r.machine) == GIB(57));
	rig_fini(&r);
}

/* The interrupt pin */

static bool wire(const struct bench *b, unsigned int w)
{
	assert_int_equal(b->rig.level[16 + w], b->rig.level[16 + w] && b->rig.level[10 + w % 2]);
	return b->rig.level[16 + w];
}

static void the_pin(void **state)
{
	struct bench *b = *state;

	for (unsigned int i = 0; i < 2; i++) {
		struct pci_function *f = &b->card[i]->function;

		pci_intx(f, true);
		for (unsigned int w = 0; w < 4; w++)
			assert_int_equal(wire(b, w), w == i + 1);
		assert_int_equal(get(b, i, STATUS, 2), 0x10 | INTX);
		pci_intx(f, true);
		assert_int_equal(b->rig.raised[17 + i], 1);
		/* Off: no signal, but the status says what there would be (6.2.3). */
		put(b, i, COMMAND, 2, INTX_OFF);
		assert_false(wire(b, i + 1));
		assert_int_equal(get(b, i, STATUS, 2), 0x10 | INTX);
		put(b, i, COMMAND, 2, 0);
		assert_true(wire(b, i + 1));
		put(b, i, STATUS, 2, 0xffff);
		assert_int_equal(get(b, i, STATUS, 2), 0x10 | INTX);
		pci_intx(f, false);
		assert_int_equal(get(b, i, STATUS, 2), 0x10);
		assert_false(wire(b, i + 1));
	}
	assert_false(b->rig.level[10] || b->rig.level[11]);
}

/* Slot 1 and slot 5, and at the 8259A slot 3 as well. */
static void shared_wires(void **state)
{
	struct bench *b = *state;
	struct card *five = card_new(&b->rig, "five", "addr=5.0");
	struct card *six = card_new(&b->rig, "six", "addr=5.6");

	pci_intx(b->f, true);
	pci_intx(&five->function, true);
	pci_intx(&six->function, true);
	assert_int_equal(b->rig.raised[17], 1);
	pci_intx(b->f, false);
	pci_intx(&six->function, false);
	assert_true(wire(b, 1));
	pci_intx(&b->card[2]->function, true);
	pci_intx(&five->function, false);
	assert_false(b->rig.level[17]);
	assert_true(b->rig.level[19] && b->rig.level[11]);
	pci_intx(&b->card[2]->function, false);
	assert_false(b->rig.level[11]);
	assert_int_equal(b->rig.raised[11], 1);
	/* With its line up it goes, and takes it along. */
	pci_intx(&five->function, true);
	device_destroy(&five->dev);
	assert_false(wire(b, 1));
	device_destroy(&six->dev);
	for (unsigned int slot = 0; slot < PCI_SLOTS; slot++)
		assert_int_equal(pci_intx_wire(slot), slot % 4);
}

static void no_pin_with_messages(void **state)
{
	struct bench *b = *state;
	struct pci_function *f = &b->card[2]->function;

	pci_intx(f, true);
	assert_true(wire(b, 3));
	put(b, 2, 0x42, 2, 0x8000);
	assert_false(wire(b, 3));
	pci_intx(f, false);
	pci_intx(f, true);
	assert_false(wire(b, 3));
	put(b, 2, 0x42, 2, 0);
	assert_true(wire(b, 3));
	device_reset(&b->card[2]->dev);
	assert_false(wire(b, 3));
	assert_int_equal(get(b, 2, STATUS, 2), 0x10);
}

struct driver {
	struct bench *bench;
	atomic_bool stop;
};

static void *drive(void *arg)
{
	struct driver *d = arg;
	struct pci_function *f = d->bench->f;

	while (!atomic_load(&d->stop)) {
		pci_intx(f, true);
		pci_intx(f, false);
		pci_master(f);
		pci_msix_raise(&d->bench->card[2]->function, 1);
	}
	return NULL;
}

/* A worker drives the pin while the guest switches it. */
static void two_threads(void **state)
{
	struct driver d = {.bench = *state};
	struct bench *b = d.bench;
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, drive, &d), 0);
	for (unsigned int i = 0; i < 3000; i++) {
		put(b, 0, COMMAND, 2, i % 2 ? INTX_OFF : 0);
		get(b, 0, COMMAND, 4);
		put(b, 2, 0x42, 2, i % 3 ? 0x8000 : 0);
	}
	atomic_store(&d.stop, true);
	pthread_join(thread, NULL);
	put(b, 0, COMMAND, 2, 0);
	assert_false(wire(b, 1));
	assert_int_equal(get(b, 0, STATUS, 2), 0x10);
}

/* State */

static void loads(void **state)
{
	struct bench *b = *state;
	struct card *c = b->card[0];
	struct pci_function_data saved;

	assert_int_equal(pci_place(b->rig.machine.pci, &b->rig.err), 0);
	pci_intx(b->f, true);
	saved = b->f->data;
	device_reset(&c->dev);
	assert_false(c->bars[1].mapped || wire(b, 1));
	b->f->data = saved;
	assert_int_equal(pci_loaded(b->f, &b->rig.err), 0);
	assert_true(c->bars[0].mapped && c->bars[1].mapped && c->bars[2].mapped && wire(b, 1));
	assert_int_equal(bus_read(b->mmio, c->bars[1].at, 4), CARD_ANSWER(1, 0));

	/* Bits that no guest can have written. */
	for (unsigned int i = 0; i < PCI_CONFIG_SIZE * 8; i++) {
		uint32_t may = writable(i / 8 & ~3U) | (i / 8 == STATUS ? INTX << 16 : 0);

		b->f->data.config[i / 8] ^= (uint8_t)(1U << i % 8);
		assert_int_equal(pci_loaded(b->f, &b->rig.err), may >> (i % 32) & 1 ? 0 : -EPROTO);
		b->f->data = saved;
	}
	assert_int_equal(pci_loaded(b->f, &b->rig.err), 0);
	/* Another place: it moves there. */
	store_le32(b->f->data.config + bar(1), 0xe8000000);
	assert_int_equal(pci_loaded(b->f, &b->rig.err), 0);
	assert_true(c->bars[1].mapped && c->bars[1].at == 0xe8000000);
	assert_int_equal(pci_loaded(&(struct pci_function){0}, &b->rig.err), 0);
}

/* What must be so whatever a guest has written. */
static void check(struct bench *b)
{
	unsigned int mapped = 0, ports = 0;

	for (unsigned int i = 0; i < CARDS; i++) {
		const struct pci_function *f = &b->card[i]->function;
		unsigned int command = load_le16(f->data.config + COMMAND);

		assert_int_equal(get(b, i, 0, 4), CARD_ID);
		assert_int_equal(get(b, i, 8, 4), 0xff010203);
		for (unsigned int n = 0; n < PCI_BARS; n++) {
			const struct pci_bar *p = &f->bars[n];
			uint64_t at = load_le32(f->data.config + bar(n));

			if (p->kind == PCI_BAR_MEM64)
				at |= (uint64_t)load_le32(f->data.config + bar(n + 1)) << 32;
			assert_int_equal(p->mapped, b->card[i]->bars[n].mapped);
			if (!p->mapped)
				continue;
			assert_true(command & (p->kind == PCI_BAR_IO ? IO : MEMORY));
			assert_true(p->at == (at & ~(p->size - 1)));
			ports += p->kind == PCI_BAR_IO;
			mapped += p->kind != PCI_BAR_IO;
		}
	}
	assert_int_equal(ranges(b->ports), 2 + ports);
	assert_int_equal(ranges(b->mmio), 1 + mapped);
}

static void any_write(void **state)
{
	static const unsigned int at[] = {COMMAND, COMMAND, COMMAND, 0x10, 0x14, 0x18,
					  0x1c,    0x20,    0x24,    0x40, 0x42, LINE};
	struct bench *b = *state;
	uint64_t x = 3;

	for (unsigned int i = 0; i < 10000; i++) {
		unsigned int where, size, card;

		x = x * 6364136223846793005 + 1442695040888963407;
		card = (unsigned int)(x >> 40) % CARDS;
		size = 1U << (x >> 44) % 3;
		where = (x >> 47) % 4 ? at[(x >> 50) % ARRAY_SIZE(at)] : (x >> 50) % 256;
		/* Few places, so that they meet. */
		put(b, card, where & ~(size - 1), size,
		    (x >> 60) % 4 ? 0xe2000000 + (uint32_t)((x >> 20) % 0x20000) : (uint32_t)x);
		if (i % 16 == 0)
			check(b);
		if (i % 1000 == 0)
			pci_intx(&b->card[card]->function, x & 1);
	}
	check(b);
	for (unsigned int i = 0; i < CARDS; i++) {
		struct card *c = b->card[i];

		assert_int_equal(pci_loaded(&c->function, &b->rig.err), 0);
		pci_intx(&c->function, false);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_header),
		TEST(every_bit),
		TEST(outside),
		TEST(capabilities),
		TEST(hooks),
		TEST(functions_of_a_slot),
		TEST(all_slots),
		cmocka_unit_test(no_bridge),
		TEST(sizing),
		TEST(command_toggles),
		TEST(moving),
		TEST(onto_others),
		TEST(swapping),
		TEST(where_nothing_decodes),
		TEST(placing),
		TEST(placing_around),
		TEST(windows),
		cmocka_unit_test(the_window_lies_above_ram),
		TEST(the_pin),
		TEST(shared_wires),
		TEST(no_pin_with_messages),
		TEST(two_threads),
		TEST(loads),
		TEST(any_write),
	};

	return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
