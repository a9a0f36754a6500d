/* SPDX-License-Identifier: BSD-2-Clause */
/* The panic port by QEMU's docs/specs/pvpanic, and as Linux's driver looks for it. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/log.h"
#include "skep/vm.h"
#include "support/cm.h"
#include "support/rig.h"

struct bench {
	struct rig rig;
	struct log log;
	struct device *dev;
	FILE *told;
};

static void bench_with(struct bench *b, const char *options)
{
	rig_init(&b->rig, 0);
	b->told = tmpfile();
	assert_non_null(b->told);
	log_init(&b->log, fileno(b->told), LOG_INFO);
	b->rig.machine.log = &b->log;
	b->dev = rig_device(&b->rig, "panic", "pvpanic", options);
	assert_non_null(b->dev);
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

	device_destroy(b->dev);
	fclose(b->told);
	rig_fini(&b->rig);
	return 0;
}

static void it_names_the_events_it_knows(void **state)
{
	struct bench *b = *state;

	assert_int_equal(rig_in8(&b->rig, 0x505), 0x03);
	assert_int_equal(bus_read(b->rig.machine.ports, 0x504, 4), 0xffff03ff);
	assert_false(b->rig.ended);
}

static void a_panic_ends_the_machine(void **state)
{
	static const uint8_t values[] = {0x01, 0x03, 0xff};
	struct bench *b = *state;

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		b->rig.ended = false;
		rig_out8(&b->rig, 0x505, values[i]);
		assert_true(b->rig.ended);
		assert_int_equal(b->rig.ending.kind, END_PANIC);
		assert_int_equal(ending_status(&b->rig.ending), 101);
		assert_string_equal(ending_word(&b->rig.ending), "panic");
		assert_string_equal(b->rig.ending.reason, "the guest's kernel panicked");
	}
}

static void a_crash_kernel_goes_on(void **state)
{
	struct bench *b = *state;
	char text[256];
	ssize_t n;

	rig_out8(&b->rig, 0x505, 0x02);
	assert_false(b->rig.ended);
	n = pread(fileno(b->told), text, sizeof(text) - 1, 0);
	assert_true(n > 0);
	text[n] = '\0';
	assert_string_equal(
		text, "skep: warning: the guest's kernel panicked; its crash kernel goes on\n");
}

static void unknown_events_are_ignored(void **state)
{
	struct bench *b = *state;

	for (unsigned int v = 0; v < 256; v += 4)
		rig_out8(&b->rig, 0x505, (uint8_t)v);
	/* Beside it is nothing. */
	bus_write(b->rig.machine.ports, 0x501, 4, UINT32_MAX);
	bus_write(b->rig.machine.ports, 0x506, 8, UINT64_MAX);
	bus_write(b->rig.machine.ports, 0x504, 2, 0x00ff);
	assert_false(b->rig.ended);
	assert_int_equal(lseek(fileno(b->told), 0, SEEK_END), 0);
	bus_write(b->rig.machine.ports, 0x504, 2, 0x0100);
	assert_true(b->rig.ended);
}

static void acpi_names_it(void **state)
{
	/* clang-format off */
	static const uint8_t expected[] = {
		0x5b, 0x82, 0x27, 'P', 'E', 'V', 'T',		/* Device (PEVT) */
		0x08, '_', 'H', 'I', 'D',			/* Name (_HID, "QEMU0001") */
		0x0d, 'Q', 'E', 'M', 'U', '0', '0', '0', '1', 0,
		0x08, '_', 'C', 'R', 'S',			/* Name (_CRS, … */
		0x11, 0x0d, 0x0a, 0x0a,
		0x47, 0x01, 0x06, 0x05, 0x06, 0x05, 0x01, 0x01,	/* IO (Decode16, 0x506, …, 1, 1) */
		0x79, 0x00,
	};
	/* clang-format on */
	static struct bench b;
	uint8_t buf[64];
	struct aml aml;

	(void)state;
	bench_with(&b, "port=0x506");
	assert_int_equal(rig_in8(&b.rig, 0x506), 0x03);
	aml_init(&aml, buf, sizeof(buf));
	b.dev->class->describe(b.dev, &aml);
	assert_int_equal(aml_finish(&aml), sizeof(expected));
	assert_memory_equal(buf, expected, sizeof(expected));
	assert_null(rig_device(&b.rig, "two", "pvpanic", "port=0x506"));
	device_destroy(b.dev);
	assert_int_equal(rig_in8(&b.rig, 0x506), 0xff);
	fclose(b.told);
	rig_fini(&b.rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(it_names_the_events_it_knows, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_panic_ends_the_machine, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_crash_kernel_goes_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(unknown_events_are_ignored, set_up, tear_down),
		cmocka_unit_test(acpi_names_it),
	};

	return cmocka_run_group_tests_name("pvpanic", tests, NULL, NULL);
}
