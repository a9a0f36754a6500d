/* SPDX-License-Identifier: BSD-2-Clause */
/* The debug console: what is written comes out, and the port answers E9h. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/worker_sim.h"
#include "support/cm.h"
#include "support/rig.h"

struct bench {
	struct rig rig;
	struct device *dev;
	char path[32];
};

static void bench_with(struct bench *b, const char *options)
{
	char all[128];
	int fd;

	strcpy(b->path, "/tmp/skep-debugcon-XXXXXX");
	fd = mkstemp(b->path);
	assert_true(fd >= 0);
	close(fd);
	rig_init(&b->rig, 0);
	snprintf(all, sizeof(all), "backend=file:%s %s", b->path, options);
	b->dev = rig_device(&b->rig, "e9", "debugcon", all);
	if (!b->dev)
		fail_msg("%s", b->rig.err.text);
}

/* What has come out by the time the device is gone. */
static void bench_end(struct bench *b, char *out, size_t room)
{
	ssize_t n;
	int fd;

	worker_sim_run(b->rig.machine.control, 1000);
	device_destroy(b->dev);
	assert_int_equal(rig_in8(&b->rig, 0xe9), 0xff);
	rig_fini(&b->rig);
	fd = open(b->path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	n = read(fd, out, room - 1);
	assert_true(n >= 0);
	out[n] = '\0';
	close(fd);
	unlink(b->path);
}

static void bytes_come_out(void **state)
{
	struct bench b;
	char out[128];

	(void)state;
	bench_with(&b, "");
	assert_int_equal(rig_in8(&b.rig, 0xe9), 0xe9);
	for (const char *p = "entered"; *p; p++)
		rig_out8(&b.rig, 0xe9, (uint8_t)*p);
	/* Its neighbours are not its own, whatever the size. */
	bus_write(b.rig.machine.ports, 0xe9, 2, 0x5821);
	bus_write(b.rig.machine.ports, 0xe8, 4, 0x58580a58);
	bus_write(b.rig.machine.ports, 0xe2, 8, UINT64_C(0x4158585858585858));
	assert_int_equal(bus_read(b.rig.machine.ports, 0xe9, 2), 0xffe9);
	assert_int_equal(bus_read(b.rig.machine.ports, 0xe8, 4), 0xffffe9ff);
	bench_end(&b, out, sizeof(out));
	assert_string_equal(out, "entered!\nA");
}

static void strings_come_out_whole(void **state)
{
	struct bench b;
	char out[16];

	(void)state;
	bench_with(&b, "");
	bus_write_string(b.rig.machine.ports, 0xe9, 1, "hello", 5);
	bench_end(&b, out, sizeof(out));
	assert_string_equal(out, "hello");
}

static void elsewhere_it_still_answers_e9(void **state)
{
	struct bench b;
	char out[16];

	(void)state;
	bench_with(&b, "port=0x402");
	assert_int_equal(rig_in8(&b.rig, 0x402), 0xe9);
	assert_int_equal(rig_in8(&b.rig, 0xe9), 0xff);
	rig_out8(&b.rig, 0xe9, 'n');
	rig_out8(&b.rig, 0x402, 'y');
	assert_null(rig_device(&b.rig, "two", "debugcon", "port=0x402"));
	assert_null(rig_device(&b.rig, "odd", "debugcon", "port=0x403 backend=telepathy"));
	bench_end(&b, out, sizeof(out));
	assert_string_equal(out, "y");
}

static void without_a_backend_it_answers_all_the_same(void **state)
{
	struct device *dev;
	struct rig r;

	(void)state;
	rig_init(&r, 0);
	dev = rig_device(&r, "e9", "debugcon", "");
	assert_non_null(dev);
	assert_int_equal(rig_in8(&r, 0xe9), 0xe9);
	for (unsigned int i = 0; i < 100000; i++)
		rig_out8(&r, 0xe9, (uint8_t)i);
	assert_int_equal(rig_in8(&r, 0xe9), 0xe9);
	assert_int_equal(bus_misses(r.machine.ports), 0);
	assert_false(r.ended);
	device_destroy(dev);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_come_out),
		cmocka_unit_test(strings_come_out_whole),
		cmocka_unit_test(elsewhere_it_still_answers_e9),
		cmocka_unit_test(without_a_backend_it_answers_all_the_same),
	};

	return cmocka_run_group_tests_name("debugcon", tests, NULL, NULL);
}
