/* SPDX-License-Identifier: BSD-2-Clause */
/* System control port A: A20, and the reset at the rising edge of bit 0. */
#include <string.h>

#include "skep/bits.h"
#include "support/cm.h"
#include "support/rig.h"

#define PORT 0x92

struct bench {
	struct rig rig;
	struct device *dev;
};

static int set_up(void **state)
{
	static struct bench b;

	rig_init(&b.rig, 0);
	b.dev = rig_device(&b.rig, "a20", "port92", "");
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

static void the_gate_is_open_and_its_bit_is_kept(void **state)
{
	struct bench *b = *state;

	assert_int_equal(rig_in8(&b->rig, PORT), 0x02);
	rig_out8(&b->rig, PORT, 0x00);
	assert_int_equal(rig_in8(&b->rig, PORT), 0x00);
	/* As Linux's boot code opens it: what was read, with bit 1 and without bit 0. */
	rig_out8(&b->rig, PORT, (rig_in8(&b->rig, PORT) | 0x02) & 0xfe);
	assert_int_equal(rig_in8(&b->rig, PORT), 0x02);
	/* The rest of the bits do not exist. */
	rig_out8(&b->rig, PORT, 0xfe);
	assert_int_equal(rig_in8(&b->rig, PORT), 0x02);
	assert_false(b->rig.ended);
}

static void the_rising_edge_resets(void **state)
{
	struct bench *b = *state;

	rig_out8(&b->rig, PORT, 0x03);
	assert_true(b->rig.ended);
	assert_int_equal(b->rig.ending.kind, END_RESET);
	assert_non_null(strstr(b->rig.ending.reason, "92h"));
	assert_int_equal(rig_in8(&b->rig, PORT), 0x03);

	/* A level is no edge. */
	b->rig.ended = false;
	rig_out8(&b->rig, PORT, 0x01);
	assert_false(b->rig.ended);
	rig_out8(&b->rig, PORT, 0x00);
	rig_out8(&b->rig, PORT, 0x01);
	assert_true(b->rig.ended);

	/* The reset that follows leaves what a power-on does. */
	device_lock(b->dev);
	b->dev->class->reset(b->dev);
	device_unlock(b->dev);
	assert_int_equal(rig_in8(&b->rig, PORT), 0x02);
}

static void loads(void **state)
{
	struct bench *b = *state;
	uint8_t *value = device_state(b->dev);

	for (unsigned int v = 0; v < 256; v++) {
		*value = (uint8_t)v;
		assert_int_equal(b->dev->class->loaded(b->dev, &b->rig.err),
				 v & 0xfc ? -EPROTO : 0);
		if (!(v & 0xfc))
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
		assert_int_equal(rig_in8(&b->rig, PORT) & 0xfc, 0);
		assert_int_equal(b->dev->class->loaded(b->dev, &b->rig.err), 0);
	}
	/* A word at 91h has bit 0 of 92h in its upper half. */
	rig_out8(&b->rig, PORT, 0);
	b->rig.ended = false;
	bus_write(b->rig.machine.ports, PORT - 1, 2, 0x0101);
	assert_true(b->rig.ended);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_gate_is_open_and_its_bit_is_kept, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(the_rising_edge_resets, set_up, tear_down),
		cmocka_unit_test_setup_teardown(loads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(takes_any_write, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("port92", tests, NULL, NULL);
}
