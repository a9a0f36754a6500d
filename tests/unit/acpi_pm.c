/* SPDX-License-Identifier: BSD-2-Clause */
/* The fixed hardware by its registers: ACPI 6.5, section 4.8.3. */
#include <string.h>

#include "skep/aml.h"
#include "skep/bits.h"
#include "support/cm.h"
#include "support/rig.h"

#define STATUS  0x600
#define ENABLE  0x602
#define CONTROL 0x604
#define TIMER   0x608
#define RESET   0x60c

#define SCI    9
#define TMR    0x0001
#define GBL    0x0020
#define RTC    0x0400
#define SCI_EN 0x0001
#define BM_RLD 0x0002
#define SLP_EN 0x2000
#define SLP(n) ((unsigned int)(n) << 10)

/* Half a turn of the timer: when its highest bit changes. In whole nanoseconds, rounded up. */
#define OVERFLOW_NS UINT64_C(599932015941)

struct bench {
	struct rig rig;
	struct device *pm;
};

static void bench_with(struct bench *b, const char *options)
{
	rig_init(&b->rig, 0);
	b->pm = rig_device(&b->rig, "pm", "acpi_pm", options);
	if (!b->pm)
		fail_msg("%s", b->rig.err.text);
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

	device_destroy(b->pm);
	rig_fini(&b->rig);
	return 0;
}

static unsigned int in16(struct bench *b, uint16_t port)
{
	return (unsigned int)bus_read(b->rig.machine.ports, port, 2);
}

static void out16(struct bench *b, uint16_t port, unsigned int value)
{
	bus_write(b->rig.machine.ports, port, 2, value);
}

static uint32_t in32(struct bench *b, uint16_t port)
{
	return (uint32_t)bus_read(b->rig.machine.ports, port, 4);
}

static void advance(struct bench *b, uint64_t ns)
{
	vtime_advance(b->rig.machine.time, ns);
}

static void powers_on(void **state)
{
	struct bench *b = *state;

	assert_int_equal(in16(b, STATUS), 0);
	assert_int_equal(in16(b, ENABLE), 0);
	assert_int_equal(in16(b, CONTROL), SCI_EN);
	assert_int_equal(in32(b, TIMER), 0);
	assert_false(b->rig.level[SCI]);
	/* Between the registers there is nothing, and the reset register cannot be read. */
	assert_int_equal(in16(b, CONTROL + 2), 0xffff);
	assert_int_equal(rig_in8(&b->rig, RESET), 0xff);
	assert_int_equal(bus_misses(b->rig.machine.ports), 0);
}

static void keeps_what_can_be_written(void **state)
{
	struct bench *b = *state;

	out16(b, ENABLE, 0xffff);
	/* Linux reads back what it enables, and complains of the clock's event when it is gone. */
	assert_int_equal(in16(b, ENABLE), TMR | GBL | RTC);
	rig_out8(&b->rig, ENABLE, GBL);
	assert_int_equal(in16(b, ENABLE), GBL | RTC);
	rig_out8(&b->rig, ENABLE + 1, 0x00);
	assert_int_equal(in16(b, ENABLE), GBL);
	rig_out8(&b->rig, ENABLE + 1, 0xff);
	assert_int_equal(in16(b, ENABLE), GBL | RTC);

	/* SCI_EN stays, GBL_RLS and SLP_EN read as zero. */
	out16(b, CONTROL, 0xffff & ~SLP_EN);
	assert_int_equal(in16(b, CONTROL), SCI_EN | BM_RLD | SLP(7));
	out16(b, CONTROL, 0);
	assert_int_equal(in16(b, CONTROL), SCI_EN);

	/* Across registers: two at once, in either direction. */
	bus_write(b->rig.machine.ports, ENABLE, 4, (uint64_t)(BM_RLD | SLP(3)) << 16 | TMR);
	assert_int_equal(in32(b, ENABLE), (uint32_t)(SCI_EN | BM_RLD | SLP(3)) << 16 | TMR);
	assert_int_equal(bus_read(b->rig.machine.ports, STATUS + 1, 2), TMR << 8);
	assert_false(b->rig.ended);
}

static void counts(void **state)
{
	struct bench *b = *state;

	advance(b, 1000000000);
	assert_int_equal(in32(b, TIMER), 3579545);
	assert_int_equal(in16(b, TIMER), 3579545 & 0xffff);
	assert_int_equal(in16(b, TIMER + 2), 3579545 >> 16);
	assert_int_equal(rig_in8(&b->rig, TIMER + 1), 3579545 >> 8 & 0xff);
	/* One tick is 279.36 ns. */
	advance(b, 279);
	assert_int_equal(in32(b, TIMER), 3579545);
	advance(b, 1);
	assert_int_equal(in32(b, TIMER), 3579546);
	bus_write(b->rig.machine.ports, TIMER, 4, 0);
	assert_int_equal(in32(b, TIMER), 3579546);
}

static void overflows(void **state)
{
	struct bench *b = *state;

	advance(b, OVERFLOW_NS - 1);
	assert_int_equal(in32(b, TIMER), 0x7fffffff);
	assert_int_equal(in16(b, STATUS), 0);
	advance(b, 1);
	assert_int_equal(in32(b, TIMER), 0x80000000);
	assert_int_equal(in16(b, STATUS), TMR);
	/* Not enabled: no interrupt. Writing zeroes clears nothing, a one clears. */
	assert_int_equal(b->rig.raised[SCI], 0);
	out16(b, STATUS, 0xfffe);
	assert_int_equal(in16(b, STATUS), TMR);
	out16(b, STATUS, TMR);
	assert_int_equal(in16(b, STATUS), 0);
	/* The way back to zero sets it too. */
	advance(b, OVERFLOW_NS);
	assert_int_equal(in32(b, TIMER), 0);
	assert_int_equal(in16(b, STATUS), TMR);
	/* A byte elsewhere in the block leaves it. */
	rig_out8(&b->rig, STATUS + 1, 0xff);
	assert_int_equal(in16(b, STATUS), TMR);
}

static void interrupts(void **state)
{
	struct bench *b = *state;

	out16(b, ENABLE, TMR);
	advance(b, OVERFLOW_NS - 1);
	assert_false(b->rig.level[SCI]);
	/* Nobody reads a register: the wire rises by itself. */
	advance(b, 1);
	assert_true(b->rig.level[SCI]);
	assert_int_equal(b->rig.raised[SCI], 1);
	/* Level: it stays until the status or the enable goes. */
	advance(b, OVERFLOW_NS);
	assert_int_equal(b->rig.raised[SCI], 1);
	out16(b, ENABLE, 0);
	assert_false(b->rig.level[SCI]);
	out16(b, ENABLE, TMR);
	assert_true(b->rig.level[SCI]);
	out16(b, STATUS, TMR);
	assert_false(b->rig.level[SCI]);
	assert_int_equal(b->rig.raised[SCI], 2);
	/* And again. */
	advance(b, OVERFLOW_NS);
	assert_true(b->rig.level[SCI]);
	assert_int_equal(b->rig.raised[SCI], 3);
}

static void enabling_late_interrupts_at_once(void **state)
{
	struct bench *b = *state;

	advance(b, OVERFLOW_NS + 5);
	out16(b, ENABLE, TMR);
	assert_true(b->rig.level[SCI]);
}

static void powers_off(void **state)
{
	struct bench *b = *state;

	/* The type alone, and sleeping states that do not exist, do nothing. */
	out16(b, CONTROL, SLP(5));
	for (unsigned int type = 0; type < 8; type++)
		if (type != 5)
			out16(b, CONTROL, SLP(type) | SLP_EN);
	assert_false(b->rig.ended);
	out16(b, CONTROL, SLP(5) | SLP_EN);
	assert_true(b->rig.ended);
	assert_int_equal(b->rig.ending.kind, END_POWEROFF);
	assert_int_equal(b->rig.ending.code, 0);
}

static void powers_off_by_byte(void **state)
{
	struct bench *b = *state;

	rig_out8(&b->rig, CONTROL + 1, (SLP(5) | SLP_EN) >> 8);
	assert_true(b->rig.ended);
	assert_int_equal(b->rig.ending.kind, END_POWEROFF);
}

static void resets(void **state)
{
	struct bench *b = *state;

	rig_out8(&b->rig, RESET, 0);
	rig_out8(&b->rig, RESET + 1, 1);
	assert_false(b->rig.ended);
	rig_out8(&b->rig, RESET, 1);
	assert_true(b->rig.ended);
	assert_int_equal(b->rig.ending.kind, END_RESET);
}

static void machine_reset(void **state)
{
	struct bench *b = *state;

	out16(b, ENABLE, TMR | GBL);
	out16(b, CONTROL, BM_RLD | SLP(5));
	advance(b, OVERFLOW_NS);
	assert_true(b->rig.level[SCI]);
	device_lock(b->pm);
	b->pm->class->reset(b->pm);
	device_unlock(b->pm);
	assert_false(b->rig.level[SCI]);
	assert_int_equal(in16(b, STATUS), 0);
	assert_int_equal(in16(b, ENABLE), 0);
	assert_int_equal(in16(b, CONTROL), SCI_EN);
	/* The timer is not reset. */
	assert_int_equal(in32(b, TIMER), 0x80000000);
	advance(b, OVERFLOW_NS);
	assert_false(b->rig.level[SCI]);
}

static int load(struct bench *b, const void *saved)
{
	int ret;

	device_lock(b->pm);
	memcpy(device_state(b->pm), saved, b->pm->class->state->size);
	ret = b->pm->class->loaded(b->pm, &b->rig.err);
	device_unlock(b->pm);
	return ret;
}

static void loads(void **state)
{
	struct bench *b = *state;
	const struct state_table *t = b->pm->class->state;
	uint8_t saved[64], broken[64];
	unsigned int refused = 0;

	assert_int_equal(state_check_table(t, &b->rig.err), 0);
	assert_true(t->size <= sizeof(saved));
	out16(b, ENABLE, TMR);
	advance(b, OVERFLOW_NS);
	memcpy(saved, device_state(b->pm), t->size);
	out16(b, STATUS, TMR);
	out16(b, ENABLE, 0);
	assert_false(b->rig.level[SCI]);
	/* The wire follows the registers. */
	assert_int_equal(load(b, saved), 0);
	assert_true(b->rig.level[SCI]);
	assert_int_equal(in16(b, ENABLE), TMR);

	/* What no sequence of accesses leads to is refused, and nothing else goes wrong. */
	for (uint64_t seed = 1; seed < 500; seed++) {
		memcpy(broken, saved, t->size);
		state_mutate(t, broken, seed);
		if (load(b, broken)) {
			assert_non_null(strstr(b->rig.err.text, "pm: "));
			refused++;
		}
		assert_int_equal(load(b, saved), 0);
	}
	assert_true(refused > 0);
}

static void follows_its_options(void **state)
{
	static struct bench b;
	uint8_t buf[16];
	struct aml aml;

	(void)state;
	bench_with(&b, "base=0xb000 timer=off");
	out16(&b, 0xb002, 0xffff);
	assert_int_equal(in16(&b, 0xb002), GBL | RTC);
	assert_int_equal(in32(&b, 0xb008), UINT32_MAX);
	advance(&b, OVERFLOW_NS);
	assert_int_equal(in16(&b, 0xb000), 0);
	assert_false(b.rig.level[SCI]);

	aml_init(&aml, buf, sizeof(buf));
	b.pm->class->describe(b.pm, &aml);
	assert_int_equal(aml_finish(&aml), 0);
	assert_int_equal(aml.fixed_count, 1);
	assert_int_equal(aml.fixed.pm1_event, 0xb000);
	assert_int_equal(aml.fixed.pm1_control, 0xb004);
	assert_int_equal(aml.fixed.pm_timer, 0);
	assert_int_equal(aml.fixed.reset, 0xb00c);
	assert_int_equal(aml.fixed.reset_value, 1);
	assert_int_equal(aml.fixed.sleep_s5, 5);
	assert_int_equal(aml.fixed.sci, SCI);

	/* A second one in the same place fails, and takes nothing of the first with it. */
	assert_null(rig_device(&b.rig, "pm2", "acpi_pm", "base=0xb000"));
	assert_non_null(strstr(b.rig.err.text, "pm2: "));
	assert_int_equal(in16(&b, 0xb004), SCI_EN);
	assert_null(rig_device(&b.rig, "pm3", "acpi_pm", "base=0xfff8"));
	device_destroy(b.pm);
	assert_int_equal(in16(&b, 0xb004), 0xffff);
	rig_fini(&b.rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(powers_on, set_up, tear_down),
		cmocka_unit_test_setup_teardown(keeps_what_can_be_written, set_up, tear_down),
		cmocka_unit_test_setup_teardown(counts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(overflows, set_up, tear_down),
		cmocka_unit_test_setup_teardown(interrupts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(enabling_late_interrupts_at_once, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(powers_off, set_up, tear_down),
		cmocka_unit_test_setup_teardown(powers_off_by_byte, set_up, tear_down),
		cmocka_unit_test_setup_teardown(resets, set_up, tear_down),
		cmocka_unit_test_setup_teardown(machine_reset, set_up, tear_down),
		cmocka_unit_test_setup_teardown(loads, set_up, tear_down),
		cmocka_unit_test(follows_its_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
