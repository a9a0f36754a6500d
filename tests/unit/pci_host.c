/* SPDX-License-Identifier: BSD-2-Clause */
/* The host bridge: both ways into configuration space, and the reset control register. */
#include <string.h>

#include "skep/bits.h"
#include "skep/pci.h"
#include "support/cm.h"
#include "support/rig.h"

#define RESET     0xcf9
#define ADDRESS   0xcf8
#define DATA      0xcfc
#define HOST_ID   0x00081b36U
#define ISA_ID    0x71108086U
#define ISA_DEVFN 0x08
#define COMMAND   4

struct bench {
	struct rig rig;
	struct bus *ports, *mmio;
	struct device *dev, *isa;
};

static int set_up(void **state)
{
	static struct bench b;

	rig_init(&b.rig, 0);
	b.ports = b.rig.machine.ports;
	b.mmio = b.rig.machine.mmio;
	b.dev = rig_device(&b.rig, "pci", "pci_host", "");
	assert_non_null(b.dev);
	b.isa = rig_device(&b.rig, "isa", "isa_bridge", "");
	assert_non_null(b.isa);
	*state = &b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;
	uint64_t misses;

	device_destroy(b->isa);
	device_destroy(b->dev);
	assert_false(pci_present(b->rig.machine.pci));
	/* All is free again. */
	misses = bus_misses(b->ports);
	assert_int_equal(bus_read(b->ports, ADDRESS, 4), 0xffffffff);
	assert_int_equal(bus_read(b->ports, DATA, 4), 0xffffffff);
	assert_int_equal(bus_misses(b->ports), misses + 2);
	misses = bus_misses(b->mmio);
	assert_int_equal(bus_read(b->mmio, PCI_ECAM_AT, 4), 0xffffffff);
	assert_int_equal(bus_misses(b->mmio), misses + 1);
	rig_fini(&b->rig);
	return 0;
}

static uint32_t address(unsigned int bus, unsigned int devfn, unsigned int at)
{
	return 0x80000000 | bus << 16 | devfn << 8 | at;
}

static void select_function(const struct bench *b, unsigned int devfn, unsigned int at)
{
	bus_write(b->ports, ADDRESS, 4, address(0, devfn, at));
}

static uint64_t ecam(unsigned int devfn, unsigned int at)
{
	return PCI_ECAM_AT + ((uint64_t)devfn << 12) + at;
}

/* Configuration space */

static void the_address_register(void **state)
{
	const struct bench *b = *state;

	assert_int_equal(bus_read(b->ports, ADDRESS, 4), 0);
	bus_write(b->ports, ADDRESS, 4, 0xffffffff);
	/* As a prober looks for mechanism #1: reserved bits stay zero. */
	assert_int_equal(bus_read(b->ports, ADDRESS, 4), 0x80fffffc);
	bus_write(b->ports, ADDRESS, 4, 0x80000000);
	assert_int_equal(bus_read(b->ports, ADDRESS, 4), 0x80000000);
	/* Narrower writes are another register's, or nobody's. */
	bus_write(b->ports, ADDRESS, 1, 0x55);
	bus_write(b->ports, ADDRESS, 2, 0x5555);
	bus_write(b->ports, ADDRESS + 2, 2, 0x5555);
	bus_write(b->ports, ADDRESS + 3, 1, 0x55);
	assert_int_equal(bus_read(b->ports, ADDRESS, 4), 0x80000000);
	assert_int_equal(bus_read(b->ports, ADDRESS, 1), 0xff);
	assert_int_equal(bus_read(b->ports, ADDRESS, 2), 0xffff);
	assert_int_equal(bus_read(b->ports, ADDRESS + 2, 2), 0xffff);
}

static void mechanism_1(void **state)
{
	const struct bench *b = *state;

	select_function(b, 0, 0);
	assert_int_equal(bus_read(b->ports, DATA, 4), HOST_ID);
	assert_int_equal(bus_read(b->ports, DATA, 2), HOST_ID & 0xffff);
	assert_int_equal(bus_read(b->ports, DATA + 2, 2), HOST_ID >> 16);
	assert_int_equal(bus_read(b->ports, DATA + 1, 2), HOST_ID >> 8 & 0xffff);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(bus_read(b->ports, DATA + i, 1), HOST_ID >> (8 * i) & 0xff);
	select_function(b, ISA_DEVFN, 0);
	assert_int_equal(bus_read(b->ports, DATA, 4), ISA_ID);
	/* The low two bits of the address are the port's. */
	bus_write(b->ports, ADDRESS, 4, address(0, ISA_DEVFN, 3));
	assert_int_equal(bus_read(b->ports, DATA, 4), ISA_ID);
	select_function(b, 0, 8);
	assert_int_equal(bus_read(b->ports, DATA, 4), 0x06000000);
	select_function(b, ISA_DEVFN, 8);
	assert_int_equal(bus_read(b->ports, DATA, 4), 0x06010000);
	select_function(b, ISA_DEVFN, COMMAND);
	bus_write(b->ports, DATA, 2, 0x0004);
	assert_int_equal(bus_read(b->ports, DATA, 4), 0x00000004);
	bus_write(b->ports, DATA + 1, 1, 0x01);
	assert_int_equal(bus_read(b->ports, DATA, 4), 0x00000104);
}

static void nothing_is_there(void **state)
{
	const struct bench *b = *state;

	/* Off, another bus, another slot, another function. */
	bus_write(b->ports, ADDRESS, 4, 0);
	assert_int_equal(bus_read(b->ports, DATA, 4), 0xffffffff);
	assert_int_equal(bus_read(b->ports, DATA, 2), 0xffff);
	assert_int_equal(bus_read(b->ports, DATA + 3, 1), 0xff);
	bus_write(b->ports, DATA, 4, 0x12345678);
	for (unsigned int bus = 1; bus < 256; bus++) {
		bus_write(b->ports, ADDRESS, 4, address(bus, 0, 0));
		assert_int_equal(bus_read(b->ports, DATA, 4), 0xffffffff);
	}
	for (unsigned int devfn = 0; devfn < 256; devfn++) {
		uint32_t want = devfn == 0 ? HOST_ID : devfn == ISA_DEVFN ? ISA_ID : 0xffffffff;

		select_function(b, devfn, 0);
		assert_int_equal(bus_read(b->ports, DATA, 4), want);
		assert_int_equal(bus_read(b->mmio, ecam(devfn, 0), 4), want);
		bus_write(b->ports, DATA, 4, 0x5a5a5a5a);
		bus_write(b->mmio, ecam(devfn, 0), 4, 0x5a5a5a5a);
		assert_int_equal(bus_read(b->ports, DATA, 4), want);
	}
	/* All of it is decoded: to a guest that scans, none of that is a miss. */
	assert_int_equal(bus_misses(b->ports) + bus_misses(b->mmio), 0);
}

static void mapped_configuration(void **state)
{
	const struct bench *b = *state;

	assert_int_equal(bus_read(b->mmio, ecam(0, 0), 4), HOST_ID);
	assert_int_equal(bus_read(b->mmio, ecam(ISA_DEVFN, 0), 8), ISA_ID);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(bus_read(b->mmio, ecam(0, i), 1), HOST_ID >> (8 * i) & 0xff);
	/* Across a doubleword: in pieces. */
	assert_int_equal(bus_read(b->mmio, ecam(0, 9), 4), 0x00060000);
	assert_int_equal(bus_read(b->mmio, ecam(0, 1), 4),
			 0x00000800 | (HOST_ID >> 8 & 0xff) | (HOST_ID >> 24) << 16);
	bus_write(b->mmio, ecam(ISA_DEVFN, COMMAND - 1), 4, 0x00010455);
	assert_int_equal(bus_read(b->mmio, ecam(ISA_DEVFN, COMMAND), 4), 0x00000104 & 0x0104);
	/* Conventional functions have 256 bytes. */
	for (unsigned int at = 0x100; at < 0x1000; at += 4)
		assert_int_equal(bus_read(b->mmio, ecam(0, at), 4), 0xffffffff);
	assert_int_equal(bus_read(b->mmio, ecam(0, 0xfe), 4), 0xffff0000);
	/* Into the next function: cut short. */
	assert_int_equal(bus_read(b->mmio, ecam(ISA_DEVFN, 0) - 2, 4), 0xffffffff);
	/* The last bytes of the window, and one past. */
	assert_int_equal(bus_read(b->mmio, PCI_ECAM_AT + PCI_ECAM_LEN - 4, 4), 0xffffffff);
	assert_int_equal(bus_misses(b->mmio), 0);
	assert_int_equal(bus_read(b->mmio, PCI_ECAM_AT + PCI_ECAM_LEN - 4, 8), UINT64_MAX);
	assert_int_equal(bus_misses(b->mmio), 1);
}

static void both_ways_show_the_same(void **state)
{
	const struct bench *b = *state;

	for (unsigned int at = 0; at < PCI_CONFIG_SIZE; at += 4) {
		select_function(b, ISA_DEVFN, at);
		assert_int_equal(bus_read(b->ports, DATA, 4),
				 bus_read(b->mmio, ecam(ISA_DEVFN, at), 4));
	}
}

static void there_is_one(void **state)
{
	struct bench *b = *state;

	assert_null(rig_device(&b->rig, "second", "pci_host", ""));
	assert_non_null(strstr(b->rig.err.text, "one PCI host bridge"));
	/* The first one's is not given away. */
	assert_true(pci_present(b->rig.machine.pci));
	assert_int_equal(bus_read(b->mmio, ecam(0, 0), 4), HOST_ID);
}

/* Header type 0, no BAR, no pin, no capability, and a guest changes what it may. */
static void bridges_have_a_header_only(void **state)
{
	struct bench *b = *state;
	static const unsigned int devfns[] = {0, ISA_DEVFN};

	for (size_t i = 0; i < ARRAY_SIZE(devfns); i++) {
		for (unsigned int at = 0; at < PCI_CONFIG_SIZE; at += 4) {
			uint32_t was = (uint32_t)bus_read(b->mmio, ecam(devfns[i], at), 4);
			uint32_t may = at == COMMAND ? 0x144 : at == 0xc ? 0xff : 0;

			bus_write(b->mmio, ecam(devfns[i], at), 4, 0xffffffff);
			assert_int_equal(bus_read(b->mmio, ecam(devfns[i], at), 4), was | may);
			if (at >= 0xc)
				assert_int_equal(was, 0);
		}
	}
	device_reset(b->dev);
	assert_int_equal(bus_read(b->mmio, ecam(0, COMMAND), 4), 0);
	assert_int_equal(bus_read(b->mmio, ecam(0, 0xc), 4), 0);
	device_reset(b->isa);
	assert_int_equal(bus_read(b->mmio, ecam(ISA_DEVFN, COMMAND), 4), 0);
}

/* Reset control */

static void as_linux_does_it(void **state)
{
	struct bench *b = *state;
	uint8_t was = rig_in8(&b->rig, RESET) & (uint8_t)~0x0e;

	assert_int_equal(was, 0x00);
	rig_out8(&b->rig, RESET, was | 0x02);
	assert_false(b->rig.ended);
	assert_int_equal(rig_in8(&b->rig, RESET), 0x02);
	rig_out8(&b->rig, RESET, was | 0x0e);
	assert_true(b->rig.ended);
	assert_int_equal(b->rig.ending.kind, END_RESET);
	assert_non_null(strstr(b->rig.ending.reason, "hard reset"));
	device_reset(b->dev);
	assert_int_equal(rig_in8(&b->rig, RESET), 0x00);
}

static void the_rising_edge_resets(void **state)
{
	static const struct {
		uint8_t first, then;
		const char *says; /* NULL: nothing happens */
	} trials[] = {
		{0x00, 0x00, NULL},           {0x00, 0x02, NULL},
		{0x02, 0x00, NULL},           {0x00, 0xfb, NULL},
		{0x00, 0x08, NULL},           {0x02, 0x06, "a hard reset"},
		{0x00, 0x06, "a hard reset"}, {0x00, 0x0e, "a hard reset"},
		{0x00, 0x04, "a soft reset"}, {0x02, 0x04, "a soft reset"},
		{0x08, 0xff, "a hard reset"}, {0x06, 0x06, NULL},
		{0x04, 0x06, NULL},           {0x06, 0x0e, NULL},
	};
	struct bench *b = *state;

	for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
		rig_out8(&b->rig, RESET, 0);
		rig_out8(&b->rig, RESET, trials[i].first);
		b->rig.ended = false;
		rig_out8(&b->rig, RESET, trials[i].then);
		assert_int_equal(b->rig.ended, trials[i].says != NULL);
		if (trials[i].says)
			assert_non_null(strstr(b->rig.ending.reason, trials[i].says));
		assert_int_equal(rig_in8(&b->rig, RESET), trials[i].then & 0x0e);
	}
}

/* The doubleword at CF8h covers the register and is not for it, whatever it holds. */
static void an_address_resets_nothing(void **state)
{
	struct bench *b = *state;

	for (unsigned int i = 0; i < 256; i++) {
		bus_write(b->ports, ADDRESS, 4, address(0, i, 0));
		assert_int_equal(rig_in8(&b->rig, RESET), 0);
	}
	assert_false(b->rig.ended);
	rig_out8(&b->rig, RESET, 0x02);
	assert_int_equal(bus_read(b->ports, ADDRESS, 4), address(0, 255, 0));
}

/* State */

static void takes_any_access(void **state)
{
	struct bench *b = *state;
	static const unsigned int sizes[] = {1, 2, 4, 8};
	uint64_t x = 1;

	for (unsigned int i = 0; i < 20000; i++) {
		x = x * 6364136223846793005 + 1442695040888963407;
		bus_write(b->ports, ADDRESS - 7 + (x >> 33) % 16, sizes[i % 4], x >> 20);
		bus_read(b->ports, ADDRESS - 7 + (x >> 40) % 16, sizes[i % 4]);
		bus_write(b->mmio, PCI_ECAM_AT - 7 + (x >> 33) % 0xa000, sizes[i % 4], x >> 20);
		bus_read(b->mmio, PCI_ECAM_AT - 7 + (x >> 40) % (PCI_ECAM_LEN + 14), sizes[i % 4]);
		if (i % 64)
			continue;
		assert_int_equal(b->dev->class->loaded(b->dev, &b->rig.err), 0);
		assert_int_equal(pci_family.loaded(b->dev, &b->rig.err), 0);
		assert_int_equal(pci_family.loaded(b->isa, &b->rig.err), 0);
	}
	assert_int_equal(bus_read(b->mmio, ecam(0, 0), 4), HOST_ID);
	assert_int_equal(bus_read(b->mmio, ecam(ISA_DEVFN, 0), 4), ISA_ID);
}

static void loads(void **state)
{
	struct bench *b = *state;
	uint8_t *s = device_state(b->dev);
	void *config;

	assert_ptr_equal(device_state_part(b->dev, 1, &config), &pci_function_state);
	for (unsigned int v = 0; v < 256; v++) {
		s[4] = (uint8_t)v;
		assert_int_equal(b->dev->class->loaded(b->dev, &b->rig.err),
				 v & 0xf1 ? -EPROTO : 0);
		if (!(v & 0xf1))
			assert_int_equal(rig_in8(&b->rig, RESET), v);
	}
	s[4] = 0;
	for (unsigned int i = 5; i < 8; i++) {
		s[i] = 1;
		assert_int_equal(b->dev->class->loaded(b->dev, &b->rig.err), -EPROTO);
		s[i] = 0;
	}
	for (unsigned int bit = 0; bit < 32; bit++) {
		store_le32(s, UINT32_C(1) << bit);
		assert_int_equal(b->dev->class->loaded(b->dev, &b->rig.err),
				 UINT32_C(1) << bit & 0x80fffffc ? 0 : -EPROTO);
	}
	store_le32(s, address(0, ISA_DEVFN, 0));
	assert_int_equal(bus_read(b->ports, DATA, 4), ISA_ID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_address_register, set_up, tear_down),
		cmocka_unit_test_setup_teardown(mechanism_1, set_up, tear_down),
		cmocka_unit_test_setup_teardown(nothing_is_there, set_up, tear_down),
		cmocka_unit_test_setup_teardown(mapped_configuration, set_up, tear_down),
		cmocka_unit_test_setup_teardown(both_ways_show_the_same, set_up, tear_down),
		cmocka_unit_test_setup_teardown(there_is_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(bridges_have_a_header_only, set_up, tear_down),
		cmocka_unit_test_setup_teardown(as_linux_does_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_rising_edge_resets, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_address_resets_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(takes_any_access, set_up, tear_down),
		cmocka_unit_test_setup_teardown(loads, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("pci_host", tests, NULL, NULL);
}
