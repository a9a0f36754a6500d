/* SPDX-License-Identifier: BSD-2-Clause */
/* The POST port: it is kept, counted, and told when it changes. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/log.h"
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
	log_init(&b->log, fileno(b->told), LOG_DEBUG);
	b->rig.machine.log = &b->log;
	b->dev = rig_device(&b->rig, "post", "post_port", options);
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

static const char *told(struct bench *b)
{
	static char text[4096];
	ssize_t n = pread(fileno(b->told), text, sizeof(text) - 1, 0);

	assert_true(n >= 0);
	text[n] = '\0';
	return text;
}

/* The state table's own view: writes, code. */
static uint64_t writes(struct bench *b)
{
	uint64_t v;

	memcpy(&v, device_state(b->dev), sizeof(v));
	return v;
}

static void codes_are_kept_counted_and_told(void **state)
{
	struct bench *b = *state;

	assert_int_equal(rig_in8(&b->rig, 0x80), 0);
	rig_out8(&b->rig, 0x80, 0x00);
	rig_out8(&b->rig, 0x80, 0x5a);
	assert_int_equal(rig_in8(&b->rig, 0x80), 0x5a);
	/* Linux passes its microseconds here. */
	for (int i = 0; i < 1000; i++)
		rig_out8(&b->rig, 0x80, 0x5a);
	rig_out8(&b->rig, 0x80, 0xff);
	assert_int_equal(rig_in8(&b->rig, 0x80), 0xff);
	assert_int_equal(writes(b), 1003);
	assert_string_equal(told(b), "skep: debug: post: POST code 00\n"
				     "skep: debug: post: POST code 5a\n"
				     "skep: debug: post: POST code ff\n");
	assert_false(b->rig.ended);

	device_lock(b->dev);
	b->dev->class->reset(b->dev);
	device_unlock(b->dev);
	assert_int_equal(rig_in8(&b->rig, 0x80), 0);
	assert_int_equal(writes(b), 0);
}

static void a_guest_that_counts_fills_no_disk(void **state)
{
	struct bench *b = *state;

	for (unsigned int i = 0; i < 20000; i++)
		rig_out8(&b->rig, 0x80, (uint8_t)i);
	assert_int_equal(writes(b), 20000);
	assert_true(lseek(fileno(b->told), 0, SEEK_END) < LOG_GUEST_BUDGET + 1024);
	assert_true(atomic_load(&b->log.guest_dropped) > 0);
}

static void nothing_is_told_when_nobody_asked(void **state)
{
	struct bench *b = *state;

	b->log.level = LOG_INFO;
	rig_out8(&b->rig, 0x80, 1);
	assert_string_equal(told(b), "");
	assert_int_equal(atomic_load(&b->log.guest_budget), LOG_GUEST_BUDGET);
}

static void loads(void **state)
{
	struct bench *b = *state;
	const struct device_class *c = b->dev->class;
	uint64_t *s = device_state(b->dev);

	s[0] = 7, s[1] = 0x42;
	assert_int_equal(c->loaded(b->dev, &b->rig.err), 0);
	assert_int_equal(rig_in8(&b->rig, 0x80), 0x42);
	s[1] = 0x100;
	assert_int_equal(c->loaded(b->dev, &b->rig.err), -EPROTO);
	assert_non_null(strstr(b->rig.err.text, "post: "));
	s[0] = 0, s[1] = 1;
	assert_int_equal(c->loaded(b->dev, &b->rig.err), -EPROTO);
	s[1] = 0;
	assert_int_equal(c->loaded(b->dev, &b->rig.err), 0);
}

/* What the port told the machine, in order, each with a space behind. */
static char marks[256];

static void record_mark(struct machine *m, const char *name)
{
	(void)m;
	strncat(marks, name, sizeof(marks) - strlen(marks) - 2);
	strcat(marks, " ");
}

static const char *marked(struct bench *b, const char *bytes, size_t n)
{
	b->rig.machine.mark = record_mark;
	marks[0] = '\0';
	for (size_t i = 0; i < n; i++)
		rig_out8(&b->rig, 0x80, (uint8_t)bytes[i]);
	return marks;
}
#define MARKED(b, bytes) marked(b, bytes, sizeof(bytes) - 1)

static void marks_are_told_by_number_and_by_name(void **state)
{
	struct bench *b = *state;

	assert_string_equal(MARKED(b, "\xa5\x5a\x07"), "7 ");
	assert_string_equal(MARKED(b, "\xa5\x5a\xff"), "255 ");
	assert_string_equal(MARKED(b, "\xa5\x5a\0ready\0"), "ready ");
	assert_string_equal(MARKED(b, "\xa5\x5a\0"
				      "db-up_2.0\0\xa5\x5a\x01"),
			    "db-up_2.0 1 ");
	/* All that is in the way of the first byte. */
	assert_string_equal(MARKED(b, "\x11\xa5\xa5\x5a\x01"), "1 ");
	/* The longest name, and one that is longer. */
	assert_string_equal(MARKED(b, "\xa5\x5a\0aaaaaaaaaaaaaaaaaaaaaa\0"),
			    "aaaaaaaaaaaaaaaaaaaaaa ");
	assert_string_equal(MARKED(b, "\xa5\x5a\0aaaaaaaaaaaaaaaaaaaaaaa\0"), "");
	assert_string_equal(MARKED(b, "\xa5\x5a\0\0"), "");
	assert_string_equal(MARKED(b, "\xa5\x5a\0a b\0"), "");
	assert_string_equal(MARKED(b, "\xa5\x5a\0\x1b[2J\0"), "");
	assert_string_equal(MARKED(b, "\xa5\x5a"), "");
	device_lock(b->dev);
	b->dev->class->reset(b->dev);
	device_unlock(b->dev);
	assert_string_equal(MARKED(b, "\x07"), "");
}

static void codes_of_firmware_are_no_marks(void **state)
{
	struct bench *b = *state;

	b->rig.machine.mark = record_mark;
	marks[0] = '\0';
	for (unsigned int step = 1; step < 256; step++)
		for (unsigned int i = 0; i < 1024; i++)
			if (step != 0x5a - 0xa5 + 256)
				rig_out8(&b->rig, 0x80, (uint8_t)(i * step));
	assert_string_equal(marks, "");
	/* Nobody listens. */
	b->rig.machine.mark = NULL;
	bus_write(b->rig.machine.ports, 0x80, 1, 0xa5);
	bus_write(b->rig.machine.ports, 0x80, 1, 0x5a);
	bus_write(b->rig.machine.ports, 0x80, 1, 1);
}

/* What a saved machine may say of a mark that is on its way. */
static void marks_load(void **state)
{
	struct bench *b = *state;
	const struct device_class *c = b->dev->class;
	uint8_t *s = (uint8_t *)device_state(b->dev) + 16;

	assert_string_equal(MARKED(b, "\xa5\x5a\0re"), "");
	assert_int_equal(c->loaded(b->dev, &b->rig.err), 0);
	assert_string_equal(MARKED(b, "ady\0"), "ready ");
	s[0] = 4;
	assert_int_equal(c->loaded(b->dev, &b->rig.err), -EPROTO);
	s[0] = 3, s[1] = 23;
	assert_int_equal(c->loaded(b->dev, &b->rig.err), -EPROTO);
	s[1] = 1, s[2] = '\n';
	assert_int_equal(c->loaded(b->dev, &b->rig.err), -EPROTO);
}

static void sizes_and_places(void **state)
{
	static struct bench b;

	(void)state;
	bench_with(&b, "port=0x300");
	/* The bytes beside it are not its own. */
	bus_write(b.rig.machine.ports, 0x300, 4, 0x44332211);
	assert_int_equal(rig_in8(&b.rig, 0x300), 0x11);
	bus_write(b.rig.machine.ports, 0x2ff, 2, 0xaabb);
	assert_int_equal(rig_in8(&b.rig, 0x300), 0xaa);
	bus_write(b.rig.machine.ports, 0x2f9, 8, UINT64_C(0x7700000000000000));
	assert_int_equal(bus_read(b.rig.machine.ports, 0x300, 2), 0xff77);
	assert_int_equal(writes(&b), 3);
	assert_null(rig_device(&b.rig, "two", "post_port", "port=0x300"));
	assert_null(rig_device(&b.rig, "far", "post_port", "port=0x10000"));
	device_destroy(b.dev);
	assert_int_equal(rig_in8(&b.rig, 0x300), 0xff);
	fclose(b.told);
	rig_fini(&b.rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(codes_are_kept_counted_and_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_guest_that_counts_fills_no_disk, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(nothing_is_told_when_nobody_asked, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(loads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(marks_are_told_by_number_and_by_name, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(codes_of_firmware_are_no_marks, set_up, tear_down),
		cmocka_unit_test_setup_teardown(marks_load, set_up, tear_down),
		cmocka_unit_test(sizes_and_places),
	};

	return cmocka_run_group_tests_name("post_port", tests, NULL, NULL);
}
