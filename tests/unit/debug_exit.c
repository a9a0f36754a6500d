/* SPDX-License-Identifier: BSD-2-Clause */
/* The exit port: values, sizes, both meanings. */
#include <string.h>

#include "skep/bits.h"
#include "support/cm.h"
#include "support/rig.h"

struct trial {
	const char *options;
	uint16_t port;
	unsigned int size;
	uint64_t value;
	unsigned int code;
	const char *says;
};

static const struct trial trials[] = {
	{"", 0xf4, 1, 0, 0, "code 0"},
	{"", 0xf4, 1, 99, 99, "code 99"},
	{"", 0xf4, 2, 7, 7, "code 7"},
	{"", 0xf4, 4, 42, 42, "code 42"},
	{"", 0xf6, 1, 3, 3, "code 3"},
	{"port=0x501", 0x501, 1, 5, 5, "code 5"},
	/* Never skep's own statuses. */
	{"", 0xf4, 1, 100, 99, "0x64"},
	{"", 0xf4, 1, 255, 99, "0xff"},
	{"", 0xf4, 2, 0x100, 99, "0x0100"},
	{"", 0xf4, 4, 0xffffffff, 99, "0xffffffff"},
	/* (value << 1 | 1) in eight bits */
	{"compat=qemu", 0xf4, 4, 0, 1, "code 1"},
	{"compat=qemu", 0xf4, 4, 0x10, 33, "code 33"},
	{"compat=qemu", 0xf4, 4, 0x11, 35, "code 35"},
	{"compat=qemu", 0xf4, 1, 0x31, 99, "code 99"},
	{"compat=qemu", 0xf4, 1, 0x80, 1, "code 1"},
	{"compat=qemu", 0xf4, 4, 0x100, 1, "code 1"},
	{"compat=qemu", 0xf4, 1, 0x32, 99, "0x32"},
	{"compat=qemu", 0xf4, 1, 0x7f, 99, "0x7f"},
};

static void a_write_ends_the_machine(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
		const struct trial *t = &trials[i];
		struct device *dev;
		struct rig r;

		rig_init(&r, 0);
		dev = rig_device(&r, "exit", "debug_exit", t->options);
		assert_non_null(dev);
		assert_false(r.ended);
		bus_write(r.machine.ports, t->port, t->size, t->value);
		assert_true(r.ended);
		assert_int_equal(r.ending.kind, END_CODE);
		assert_int_equal(r.ending.code, t->code);
		if (!strstr(r.ending.reason, t->says))
			fail_msg("%s does not say %s", r.ending.reason, t->says);
		device_destroy(dev);
		rig_fini(&r);
	}
}

static void a_read_does_nothing(void **state)
{
	struct device *dev;
	struct rig r;

	(void)state;
	rig_init(&r, 0);
	dev = rig_device(&r, "exit", "debug_exit", "");
	assert_non_null(dev);
	assert_int_equal(bus_read(r.machine.ports, 0xf4, 1), 0xff);
	assert_int_equal(bus_read(r.machine.ports, 0xf4, 2), 0xffff);
	assert_int_equal(bus_read(r.machine.ports, 0xf4, 4), 0xffffffff);
	assert_int_equal(bus_misses(r.machine.ports), 0);
	assert_false(r.ended);
	device_destroy(dev);
	/* The ports are free again. */
	assert_int_equal(bus_read(r.machine.ports, 0xf4, 1), 0xff);
	assert_int_equal(bus_misses(r.machine.ports), 1);
	rig_fini(&r);
}

static void bad_options_are_refused(void **state)
{
	static const char *const bad[] = {"port=0xfffd", "port=x", "compat=bochs", "prot=1"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct rig r;

		rig_init(&r, 0);
		assert_null(rig_device(&r, "exit", "debug_exit", bad[i]));
		assert_true(strlen(r.err.text) > 0);
		rig_fini(&r);
	}
}

static void two_at_one_port_are_refused(void **state)
{
	struct device *dev;
	struct rig r;

	(void)state;
	rig_init(&r, 0);
	dev = rig_device(&r, "exit", "debug_exit", "");
	assert_non_null(dev);
	assert_null(rig_device(&r, "other", "debug_exit", "port=0xf7"));
	assert_non_null(strstr(r.err.text, "exit"));
	rig_out8(&r, 0xf4, 1);
	assert_true(r.ended);
	device_destroy(dev);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_write_ends_the_machine),
		cmocka_unit_test(a_read_does_nothing),
		cmocka_unit_test(bad_options_are_refused),
		cmocka_unit_test(two_at_one_port_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
