/* SPDX-License-Identifier: BSD-2-Clause */
/* The reset control register, as PIIX3 and ICH have it. */
#include <string.h>

#include "skep/bits.h"
#include "support/cm.h"
#include "support/rig.h"

#define PORT 0xcf9

struct bench {
	struct rig rig;
	struct device *dev;
};

static int set_up(void **state)
{
	static struct bench b;

	rig_init(&b.rig, 0);
	b.dev = rig_device(&b.rig, "rc", "reset_cf9", "");
	assert_non_null(b.dev);
	*state = &b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;
	uint64_t misses = bus_misses(b->rig.machine.ports);

	device_destroy(b->dev);
	/* The port is free again. */
	assert_int_equal(rig_in8(&b->rig, PORT), 0xff);
	assert_int_equal(bus_misses(b->rig.machine.ports), misses + 1);
	rig_fini(&b->rig);
	return 0;
}

static void as_linux_does_it(void **state)
{
	struct bench *b = *state;
	uint8_t was = rig_in8(&b->rig, PORT) & (uint8_t)~0x0e;

	assert_int_equal(was, 0x00);
	rig_out8(&b->rig, PORT, was | 0x02);
	assert_false(b->rig.ended);
	assert_int_equal(rig_in8(&b->rig, PORT), 0x02);
	rig_out8(&b->rig, PORT, was | 0x0e);
	assert_true(b->rig.ended);
	assert_int_equal(b->rig.ending.kind, END_RESET);
	assert_non_null(strstr(b->rig.ending.reason, "hard reset"));

	device_lock(b->dev);
	b->dev->class->reset(b->dev);
	device_unlock(b->dev);
	assert_int_equal(rig_in8(&b->rig, PORT), 0x00);
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
		rig_out8(&b->rig, PORT, 0);
		rig_out8(&b->rig, PORT, trials[i].first);
		b->rig.ended = false;
		rig_out8(&b->rig, PORT, trials[i].then);
		assert_int_equal(b->rig.ended, trials[i].says != NULL);
		if (trials[i].says)
			assert_non_null(strstr(b->rig.ending.reason, trials[i].says));
		assert_int_equal(rig_in8(&b->rig, PORT), trials[i].then & 0x0e);
	}
}

static void loads(void **state)
{
	struct bench *b = *state;
	uint8_t *value = device_state(b->dev);

	for (unsigned int v = 0; v < 256; v++) {
		*value = (uint8_t)v;
		assert_int_equal(b->dev->class->loaded(b->dev, &b->rig.err),
				 v & 0xf1 ? -EPROTO : 0);
		if (!(v & 0xf1))
			assert_int_equal(rig_in8(&b->rig, PORT), v);
	}
}

static void takes_any_write(void **state)
{
	struct bench *b = *state;
	static const unsigned int sizes[] = {1, 2, 4, 8};

	for (uint64_t i = 0; i < 4096; i++) {
		uint64_t at = PORT - 7 + i % 9;

		bus_write(b->rig.machine.ports, at, sizes[i / 9 % 4], i * 0x9e3779b97f4a7c15);
		assert_int_equal(rig_in8(&b->rig, PORT) & 0xf1, 0);
		assert_int_equal(b->dev->class->loaded(b->dev, &b->rig.err), 0);
	}
	/* A doubleword at CF8h, as PCI's configuration address is written, where no bridge is. */
	rig_out8(&b->rig, PORT, 0);
	b->rig.ended = false;
	bus_write(b->rig.machine.ports, PORT - 1, 4, 0x80000600);
	assert_true(b->rig.ended);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(as_linux_does_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_rising_edge_resets, set_up, tear_down),
		cmocka_unit_test_setup_teardown(loads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(takes_any_write, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("reset_cf9", tests, NULL, NULL);
}
