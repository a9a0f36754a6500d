/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A whole machine, with the demo guest, that is paused: what stands still, what goes on, and how it
 * ends. Skipped where there is no usable /dev/kvm.
 */
#include "support/cm.h"

#include <pthread.h>
#include <semaphore.h>
#include <unistd.h>

#include "../../src/vm/vm_priv.h"
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/config.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/log.h"
#include "skep/timer.h"

#define PATIENCE (50 * NS_PER_S)

struct rig {
	struct config *config;
	struct log log;
	struct vm *vm;
	pthread_t thread;
	struct ending ending;
	int ret;

	/* What the control thread is to do for the test. */
	struct post post;
	void (*fn)(struct rig *r);
	sem_t done;
	struct vm_report report;

	/* What it saw. */
	uint64_t time;
	uint64_t exits;
};

static void on_post(struct post *post)
{
	struct rig *r = container_of(post, struct rig, post);

	r->fn(r);
	sem_post(&r->done);
}

static void on_control(struct rig *r, void (*fn)(struct rig *r))
{
	r->fn = fn;
	worker_post(r->vm->machine.control, &r->post);
	while (sem_wait(&r->done))
		;
}

static void *run(void *arg)
{
	struct rig *r = arg;
	struct err err;

	r->ret = vm_run(r->vm, &r->ending, &err);
	return NULL;
}

/* @pairs: further keys of the tree, ended by NULL. */
static void rig_init(struct rig *r, const char *append, const char *const *pairs)
{
	struct err err = {.text = ""};
	int fd = kvm_open(&err);

	if (fd < 0) {
		print_message("%s\n", err.text);
		skip();
	}
	*r = (struct rig){.post.fn = on_post};
	sem_init(&r->done, 0, 0);
	log_init(&r->log, STDERR_FILENO, LOG_WARN);
	r->config = config_new();
	assert_non_null(r->config);
	assert_int_equal(vm_defaults(r->config, &err), 0);
	assert_int_equal(config_set_pair(r->config, "memory.size=16M", &err), 0);
	/* Not this process, which has more to do. */
	assert_int_equal(config_set_pair(r->config, "sandbox.mode=off", &err), 0);
	assert_int_equal(config_set_pair(r->config, "cpus.count=2", &err), 0);
	assert_int_equal(config_set_pair(r->config, "device.com1.backend=none", &err), 0);
	assert_int_equal(config_set(r->config, "boot.append", append, &err), 0);
	for (; pairs && *pairs; pairs++)
		assert_int_equal(config_set_pair(r->config, *pairs, &err), 0);
	if (vm_create(&r->vm, r->config, fd, &r->log, &err))
		fail_msg("%s", err.text);
}

static void rig_run(struct rig *r)
{
	assert_int_equal(pthread_create(&r->thread, NULL, run, r), 0);
}

static void rig_ended(struct rig *r, enum end_kind kind)
{
	pthread_join(r->thread, NULL);
	assert_int_equal(r->ret, 0);
	assert_int_equal(r->ending.kind, kind);
	vm_report(r->vm, &r->report);
}

static void rig_fini(struct rig *r)
{
	vm_destroy(r->vm);
	config_free(r->config);
	sem_destroy(&r->done);
}

static void look(struct rig *r)
{
	r->time = vtime_now(r->vm->machine.time);
	r->exits = kvm_exits(r->vm->kvm);
}

static void pause_it(struct rig *r)
{
	vm_pause(r->vm);
	assert_true(vm_paused(r->vm));
	look(r);
}

static void resume_it(struct rig *r)
{
	vm_resume(r->vm);
	assert_false(vm_paused(r->vm));
}

static void end_it(struct rig *r)
{
	machine_end(&r->vm->machine, END_USER, 0, "enough");
}

static void reset_it(struct rig *r)
{
	machine_end(&r->vm->machine, END_RESET, 0, "anew");
}

static void assert_still(struct rig *r)
{
	uint64_t time = r->time, exits = r->exits;

	usleep(5000);
	on_control(r, look);
	assert_true(r->time == time);
	assert_true(r->exits == exits);
}

static void wait_exits(struct rig *r)
{
	uint64_t deadline = clock_now() + PATIENCE, exits = r->exits;

	do {
		usleep(500);
		on_control(r, look);
	} while (r->exits == exits && clock_now() < deadline);
	assert_true(r->exits > exits);
}

static void stand_still(const char *const *pairs)
{
	struct rig r;

	rig_init(&r, "quiet flood=1000000000", pairs);
	rig_run(&r);
	for (int i = 0; i < 10; i++) {
		uint64_t time, began;

		wait_exits(&r);
		on_control(&r, pause_it);
		assert_still(&r);
		time = r.time;
		began = clock_now();
		on_control(&r, resume_it);
		on_control(&r, look);
		assert_true(r.time > time);
		/* No more has passed for the guest than for the host since. */
		assert_true(r.time - time <= clock_now() - began);
	}
	on_control(&r, end_it);
	rig_ended(&r, END_USER);
	rig_fini(&r);
}

static void guest_and_time_stand_still(void **state)
{
	static const char *const kernel[] = {"machine.irqchip=kernel", NULL};

	(void)state;
	stand_still(NULL);
	stand_still(kernel);
}

static void a_paused_machine_ends(void **state)
{
	static const char *const timeout[] = {"machine.timeout=1", NULL};
	struct rig r;

	(void)state;
	rig_init(&r, "quiet spin", NULL);
	rig_run(&r);
	on_control(&r, pause_it);
	on_control(&r, end_it);
	rig_ended(&r, END_USER);
	rig_fini(&r);

	rig_init(&r, "quiet spin", timeout);
	rig_run(&r);
	on_control(&r, pause_it);
	rig_ended(&r, END_TIMEOUT);
	rig_fini(&r);
}

static void a_reset_leaves_it_paused(void **state)
{
	struct rig r;
	uint64_t time;

	(void)state;
	rig_init(&r, "quiet flood=1000000000", NULL);
	rig_run(&r);
	wait_exits(&r);
	on_control(&r, pause_it);
	time = r.time;
	on_control(&r, reset_it);
	on_control(&r, look);
	assert_true(vm_paused(r.vm));
	assert_still(&r);
	assert_true(r.time == time);
	on_control(&r, resume_it);
	wait_exits(&r);
	on_control(&r, end_it);
	rig_ended(&r, END_USER);
	assert_int_equal(r.report.resets, 1);
	rig_fini(&r);
}

static void a_machine_paused_first_starts_paused(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, "quiet exit=7", NULL);
	vm_pause(r.vm);
	vm_resume(r.vm);
	assert_int_equal(vtime_now(r.vm->machine.time), 0);
	vm_pause(r.vm);
	rig_run(&r);
	on_control(&r, look);
	assert_int_equal(r.time, 0);
	assert_int_equal(r.exits, 0);
	assert_still(&r);
	on_control(&r, resume_it);
	rig_ended(&r, END_CODE);
	assert_int_equal(r.ending.code, 7);
	rig_fini(&r);
}

/* A guest that hangs is not taken for one while it is paused. */
static void a_hang_is_told_afterwards(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, "quiet halt", NULL);
	rig_run(&r);
	on_control(&r, pause_it);
	usleep(600000);
	on_control(&r, look);
	on_control(&r, resume_it);
	rig_ended(&r, END_HALTED);
	rig_fini(&r);
}

static void the_hook_toggles(struct rig *r)
{
	struct machine *m = &r->vm->machine;

	assert_true(m->toggle_pause(m));
	assert_true(vm_paused(r->vm));
	assert_false(m->toggle_pause(m));
	assert_false(vm_paused(r->vm));
}

static void devices_may_toggle(void **state)
{
	struct rig r;

	(void)state;
	rig_init(&r, "quiet spin", NULL);
	rig_run(&r);
	on_control(&r, the_hook_toggles);
	on_control(&r, end_it);
	rig_ended(&r, END_USER);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guest_and_time_stand_still),
		cmocka_unit_test(a_paused_machine_ends),
		cmocka_unit_test(a_reset_leaves_it_paused),
		cmocka_unit_test(a_machine_paused_first_starts_paused),
		cmocka_unit_test(a_hang_is_told_afterwards),
		cmocka_unit_test(devices_may_toggle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
