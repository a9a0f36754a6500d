/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/irq.h"
#include "skep/lock.h"

/* Written by the sink, under the wires' lock alone: a race would show under ThreadSanitizer. */
struct recorder {
	struct irqs *irqs;
	bool level[GSI_MAX];
	unsigned int changes[GSI_MAX];
	bool disorder;
	struct lock chip;
	struct msi msi;
	int msi_ret;
	int bound_fd, unbound_fd;
	uint32_t unbound_handle;
	struct err err;
};

static void rec_set(void *arg, unsigned int gsi, bool level)
{
	struct recorder *r = arg;

	/* An interrupt chip is driven by wires: its lock is taken below theirs. */
	lock_take(&r->chip);
	if (r->level[gsi] == level)
		r->disorder = true;
	r->level[gsi] = level;
	r->changes[gsi]++;
	lock_drop(&r->chip);
}

static int rec_msi(void *arg, const struct msi *msi)
{
	struct recorder *r = arg;

	r->msi = *msi;
	return r->msi_ret;
}

static int rec_bind(void *arg, int fd, const struct msi *msi, uint32_t *handle, struct err *err)
{
	struct recorder *r = arg;

	r->bound_fd = fd;
	r->msi = *msi;
	*handle = 9;
	return r->msi_ret ? err_set(err, -r->msi_ret, "no routes left") : 0;
}

static void rec_unbind(void *arg, int fd, uint32_t handle)
{
	struct recorder *r = arg;

	r->unbound_fd = fd;
	r->unbound_handle = handle;
}

static int setup(void **state)
{
	static struct recorder recorder;
	const struct irq_sink sink = {
		.set = rec_set,
		.msi = rec_msi,
		.bind = rec_bind,
		.unbind = rec_unbind,
		.arg = &recorder,
	};

	memset(&recorder, 0, sizeof(recorder));
	assert_int_equal(irqs_create(&recorder.irqs, &recorder.err), 0);
	lock_init(&recorder.chip, LOCK_CHIP);
	irqs_set_sink(recorder.irqs, &sink);
	*state = &recorder;
	return 0;
}

static int teardown(void **state)
{
	struct recorder *r = *state;

	irqs_destroy(r->irqs);
	lock_destroy(&r->chip);
	return 0;
}

static struct irq_line attach(struct recorder *r, unsigned int gsi)
{
	struct irq_line line;

	memset(&line, 0xa5, sizeof(line));
	assert_int_equal(irq_attach(r->irqs, &line, gsi, &r->err), 0);
	return line;
}

static void there_are_64_wires(void **state)
{
	struct recorder *r = *state;
	struct irq_line line = {0};

	assert_int_equal(irq_attach(r->irqs, &line, GSI_MAX - 1, &r->err), 0);
	irq_set(&line, true);
	assert_true(r->level[GSI_MAX - 1]);
	irq_detach(&line);
	assert_int_equal(irq_attach(r->irqs, &line, GSI_MAX, &r->err), -EINVAL);
	assert_string_equal(r->err.text, "interrupt 64: there are 64 lines, 0 to 63");
	assert_int_equal(irq_attach(r->irqs, &line, UINT32_MAX, NULL), -EINVAL);
	/* A line whose attachment failed is nobody's. */
	irq_set(&line, true);
	irq_detach(&line);
	assert_false(r->level[GSI_MAX - 1]);
}

static void the_sink_hears_of_changes_only(void **state)
{
	struct recorder *r = *state;
	struct irq_line line = attach(r, 4);

	assert_int_equal(r->changes[4], 0);
	irq_set(&line, false);
	assert_int_equal(r->changes[4], 0);
	irq_set(&line, true);
	irq_set(&line, true);
	assert_true(r->level[4]);
	assert_int_equal(r->changes[4], 1);
	irq_set(&line, false);
	irq_set(&line, false);
	assert_false(r->level[4]);
	assert_int_equal(r->changes[4], 2);
	for (unsigned int gsi = 0; gsi < GSI_MAX; gsi++)
		assert_int_equal(r->changes[gsi], gsi == 4 ? 2 : 0);
}

static void a_wire_is_high_while_any_line_is(void **state)
{
	struct recorder *r = *state;
	struct irq_line a = attach(r, 5), b = attach(r, 5), other = attach(r, 6);

	irq_set(&a, true);
	irq_set(&b, true);
	assert_int_equal(r->changes[5], 1);
	irq_set(&a, false);
	assert_true(r->level[5]);
	irq_set(&other, true);
	irq_set(&b, false);
	assert_false(r->level[5]);
	assert_true(r->level[6]);
	assert_int_equal(r->changes[5], 2);
}

static void detaching_lowers(void **state)
{
	struct recorder *r = *state;
	struct irq_line a = attach(r, 5), b = attach(r, 5), never = {0};

	irq_set(&a, true);
	irq_set(&b, true);
	irq_detach(&a);
	assert_true(r->level[5]);
	irq_detach(&b);
	assert_false(r->level[5]);
	/* Nothing more comes of it. */
	irq_detach(&a);
	irq_set(&a, true);
	irq_pulse(&a);
	assert_int_equal(r->changes[5], 2);
	irq_detach(&never);
	irq_set(&never, true);
}

static void a_pulse_is_an_edge(void **state)
{
	struct recorder *r = *state;
	struct irq_line a = attach(r, 5), b = attach(r, 5);

	irq_pulse(&a);
	assert_false(r->level[5]);
	assert_int_equal(r->changes[5], 2);
	/* Nobody sees one on a wire that is high. */
	irq_set(&b, true);
	irq_pulse(&a);
	assert_true(r->level[5]);
	assert_int_equal(r->changes[5], 3);
}

static void without_a_sink_interrupts_go_nowhere(void **state)
{
	struct recorder *r = *state;
	struct irq_line line;
	const struct msi msi = {1, 2};
	uint32_t handle = 0;

	irqs_set_sink(r->irqs, NULL);
	line = attach(r, 1);
	irq_pulse(&line);
	irq_set(&line, true);
	irq_detach(&line);
	assert_int_equal(r->changes[1], 0);
	assert_int_equal(msi_send(r->irqs, &msi), -ENODEV);
	assert_int_equal(msi_bind(r->irqs, 3, &msi, &handle, &r->err), -ENODEV);
	assert_string_equal(r->err.text, "nothing delivers message-signalled interrupts");
	msi_unbind(r->irqs, 3, handle);
	assert_int_equal(r->unbound_fd, 0);
	irqs_destroy(NULL);
}

static void messages_go_to_the_sink(void **state)
{
	struct recorder *r = *state;
	const struct msi msi = {UINT64_C(0xfee01000), 0x4041};
	uint32_t handle = 0;

	assert_int_equal(msi_send(r->irqs, &msi), 0);
	assert_int_equal(r->msi.address, msi.address);
	assert_int_equal(r->msi.data, msi.data);
	r->msi_ret = -EIO;
	assert_int_equal(msi_send(r->irqs, &msi), -EIO);
	assert_int_equal(msi_bind(r->irqs, 7, &msi, &handle, &r->err), -EIO);
	assert_string_equal(r->err.text, "no routes left");
	r->msi_ret = 0;
	assert_int_equal(msi_bind(r->irqs, 7, &msi, &handle, &r->err), 0);
	assert_int_equal(r->bound_fd, 7);
	assert_int_equal(handle, 9);
	msi_unbind(r->irqs, 7, handle);
	assert_int_equal(r->unbound_fd, 7);
	assert_int_equal(r->unbound_handle, 9);
}

/* A chip that keeps what it hears. */
struct ear {
	struct irq_chip chip;
	bool level[GSI_MAX];
	unsigned int heard;
	uint8_t ended;
};

static void ear_set(struct irq_chip *chip, unsigned int gsi, bool level)
{
	struct ear *ear = (struct ear *)chip;

	ear->level[gsi] = level;
	ear->heard++;
}

static void ear_eoi(struct irq_chip *chip, uint8_t vector)
{
	((struct ear *)chip)->ended = vector;
}

static int ear_acknowledge(struct irq_chip *chip)
{
	return ((struct ear *)chip)->level[3] ? 0x23 : -1;
}

static void chips_hear_what_the_sink_hears(void **state)
{
	struct recorder *r = *state;
	struct ear pic = {.chip = {.set = ear_set, .acknowledge = ear_acknowledge}};
	struct ear ioapic = {.chip = {.set = ear_set, .eoi = ear_eoi}};
	struct ear second = {.chip = {.set = ear_set, .acknowledge = ear_acknowledge}};
	struct irq_line line = attach(r, 3);

	assert_int_equal(irqs_acknowledge(r->irqs), -1);
	assert_int_equal(irqs_add_chip(r->irqs, &pic.chip, &r->err), 0);
	assert_int_equal(irqs_add_chip(r->irqs, &ioapic.chip, &r->err), 0);
	assert_int_equal(irqs_add_chip(r->irqs, &second.chip, &r->err), -EEXIST);
	assert_string_equal(r->err.text, "a machine has one 8259A pair");
	irq_set(&line, true);
	assert_true(pic.level[3] && ioapic.level[3] && r->level[3]);
	assert_int_equal(irqs_acknowledge(r->irqs), 0x23);
	irq_set(&line, false);
	assert_int_equal(irqs_acknowledge(r->irqs), -1);
	assert_int_equal(pic.heard, 2);
	assert_int_equal(second.heard, 0);
	irqs_eoi(r->irqs, 0x51);
	assert_int_equal(ioapic.ended, 0x51);
	irqs_remove_chip(r->irqs, &pic.chip);
	irqs_remove_chip(r->irqs, &second.chip);
	irq_set(&line, true);
	assert_int_equal(pic.heard, 2);
	assert_int_equal(ioapic.heard, 3);
	assert_int_equal(irqs_acknowledge(r->irqs), -1);
	irqs_remove_chip(r->irqs, &ioapic.chip);
	/* This sink wants neither. */
	irqs_set_intr(r->irqs, true);
	irqs_watch(r->irqs, 3, NULL);
}

struct driver {
	struct recorder *r;
	unsigned int gsi;
	bool stay;
};

static void *drive(void *arg)
{
	struct driver *d = arg;
	struct irq_line line = attach(d->r, d->gsi);

	for (unsigned int i = 0; i < 5000; i++) {
		irq_set(&line, true);
		irq_pulse(&line);
		irq_set(&line, i % 3);
		irq_set(&line, false);
	}
	irq_set(&line, d->stay);
	if (!d->stay)
		irq_detach(&line);
	return NULL;
}

static void lines_of_one_wire_are_driven_from_several_threads(void **state)
{
	struct recorder *r = *state;
	struct driver drivers[] = {{r, 5, false}, {r, 5, false}, {r, 5, true}, {r, 6, false}};
	pthread_t threads[ARRAY_SIZE(drivers)];

	for (unsigned int i = 0; i < ARRAY_SIZE(drivers); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, drive, &drivers[i]), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(drivers); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_false(r->disorder);
	assert_true(r->level[5]);
	assert_false(r->level[6]);
	assert_true(r->changes[5] % 2 == 1);
	assert_true(r->changes[6] % 2 == 0 && r->changes[6] > 0);
}

/* A chip that drives a wire under its own lock would wait for itself one day. */
static void a_chip_drives_no_wire(void **state)
{
	struct recorder *r = *state;
	struct irq_line line = attach(r, 5);
	const struct rlimit no_core = {0};
	int status;
	pid_t pid;

#ifndef SKEP_LOCK_CHECKS
	print_message("skipped: built without SKEP_LOCK_CHECKS\n");
	skip();
#endif
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct lock chip;

		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGABRT, SIG_DFL);
		dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
		irqs_set_sink(r->irqs, NULL);
		lock_init(&chip, LOCK_CHIP);
		lock_take(&chip);
		irq_set(&line, true);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(there_are_64_wires),
		TEST(the_sink_hears_of_changes_only),
		TEST(a_wire_is_high_while_any_line_is),
		TEST(detaching_lowers),
		TEST(a_pulse_is_an_edge),
		TEST(without_a_sink_interrupts_go_nowhere),
		TEST(messages_go_to_the_sink),
		TEST(chips_hear_what_the_sink_hears),
		TEST(lines_of_one_wire_are_driven_from_several_threads),
		TEST(a_chip_drives_no_wire),
	};

	return cmocka_run_group_tests_name("irq", tests, NULL, NULL);
}
