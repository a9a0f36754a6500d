/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/cm.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/lock.h"

static const enum lock_rank ranks[] = {LOCK_VM,   LOCK_BRIDGE, LOCK_DEVICE, LOCK_LINE,
				       LOCK_WIRE, LOCK_CHIP,   LOCK_LEAF,   LOCK_TRACE};

/* How a child that runs @fn ends: 0, or the signal that stopped it. */
static int signal_of(void (*fn)(void))
{
	const struct rlimit no_core = {0};
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, STDERR_FILENO);
		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGABRT, SIG_DFL);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status)) {
		assert_int_equal(WEXITSTATUS(status), 0);
		return 0;
	}
	return WTERMSIG(status);
}

/* Release builds pay for no checks, so there is nothing to expect of them. */
static void need_checks(void)
{
#ifndef SKEP_LOCK_CHECKS
	print_message("skipped: built without SKEP_LOCK_CHECKS\n");
	skip();
#endif
}

static void ranks_are_taken_upwards(void **state)
{
	struct lock locks[ARRAY_SIZE(ranks)];

	(void)state;
	for (unsigned int round = 0; round < 2; round++) {
		for (unsigned int i = 0; i < ARRAY_SIZE(ranks); i++) {
			lock_init(&locks[i], ranks[i]);
			lock_take(&locks[i]);
		}
		/* In whatever order they are dropped. */
		for (unsigned int i = 0; i < ARRAY_SIZE(ranks); i++)
			lock_drop(&locks[round ? i : ARRAY_SIZE(ranks) - 1 - i]);
		for (unsigned int i = 0; i < ARRAY_SIZE(ranks); i++)
			lock_destroy(&locks[i]);
	}
}

static void take_two(enum lock_rank first, enum lock_rank second)
{
	struct lock a, b;

	lock_init(&a, first);
	lock_init(&b, second);
	lock_take(&a);
	lock_take(&b);
}

static void take_downwards(void)
{
	take_two(LOCK_LEAF, LOCK_DEVICE);
}

static void take_downwards_by_one(void)
{
	take_two(LOCK_CHIP, LOCK_WIRE);
}

static void take_below_the_lowest(void)
{
	take_two(LOCK_DEVICE, LOCK_VM);
}

static void take_two_devices(void)
{
	take_two(LOCK_DEVICE, LOCK_DEVICE);
}

static void take_two_leaves(void)
{
	take_two(LOCK_LEAF, LOCK_LEAF);
}

static void take_twice(void)
{
	struct lock a;

	lock_init(&a, LOCK_WIRE);
	lock_take(&a);
	lock_take(&a);
}

static void take_between(void)
{
	struct lock a, b, c;

	lock_init(&a, LOCK_VM);
	lock_init(&b, LOCK_CHIP);
	lock_init(&c, LOCK_DEVICE);
	lock_take(&a);
	lock_take(&b);
	lock_take(&c);
}

static void misuse_of_ranks_stops_a_debug_build(void **state)
{
	(void)state;
	need_checks();
	assert_int_equal(signal_of(take_downwards), SIGABRT);
	assert_int_equal(signal_of(take_downwards_by_one), SIGABRT);
	assert_int_equal(signal_of(take_below_the_lowest), SIGABRT);
	assert_int_equal(signal_of(take_two_devices), SIGABRT);
	assert_int_equal(signal_of(take_two_leaves), SIGABRT);
	assert_int_equal(signal_of(take_twice), SIGABRT);
	assert_int_equal(signal_of(take_between), SIGABRT);
}

static void drop_what_is_free(void)
{
	struct lock a;

	lock_init(&a, LOCK_DEVICE);
	lock_drop(&a);
}

static void drop_another_of_the_rank(void)
{
	struct lock a, b;

	lock_init(&a, LOCK_DEVICE);
	lock_init(&b, LOCK_DEVICE);
	lock_take(&a);
	lock_drop(&b);
}

static void *take_it(void *arg)
{
	lock_take(arg);
	return NULL;
}

static void drop_what_another_thread_holds(void)
{
	pthread_t thread;
	struct lock a;

	lock_init(&a, LOCK_DEVICE);
	pthread_create(&thread, NULL, take_it, &a);
	pthread_join(thread, NULL);
	lock_drop(&a);
}

static void wait_without_the_lock(void)
{
	pthread_cond_t cond;
	struct lock a;

	lock_init(&a, LOCK_LEAF);
	lock_cond_init(&cond);
	lock_wait(&a, &cond, clock_now());
}

static void dropping_what_is_not_held_stops_a_debug_build(void **state)
{
	(void)state;
	need_checks();
	assert_int_equal(signal_of(drop_what_is_free), SIGABRT);
	assert_int_equal(signal_of(drop_another_of_the_rank), SIGABRT);
	assert_int_equal(signal_of(drop_what_another_thread_holds), SIGABRT);
	assert_int_equal(signal_of(wait_without_the_lock), SIGABRT);
}

static void *take_high_then_leave(void *arg)
{
	struct lock *locks = arg;

	lock_take(&locks[1]);
	lock_drop(&locks[1]);
	lock_take(&locks[0]);
	lock_drop(&locks[0]);
	return NULL;
}

/* What one thread holds says nothing about what another may take. */
static void ranks_are_counted_for_each_thread(void **state)
{
	struct lock locks[2], leaf;
	pthread_t thread;

	(void)state;
	lock_init(&locks[0], LOCK_VM);
	lock_init(&locks[1], LOCK_DEVICE);
	lock_init(&leaf, LOCK_LEAF);
	lock_take(&leaf);
	assert_int_equal(pthread_create(&thread, NULL, take_high_then_leave, locks), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	lock_drop(&leaf);
	lock_destroy(&leaf);
	lock_destroy(&locks[1]);
	lock_destroy(&locks[0]);
}

struct counter {
	struct lock lock;
	unsigned long n;
};

static void *count(void *arg)
{
	struct counter *c = arg;

	for (unsigned int i = 0; i < 10000; i++) {
		lock_take(&c->lock);
		c->n++;
		lock_drop(&c->lock);
	}
	return NULL;
}

static void a_lock_excludes(void **state)
{
	struct counter c = {.n = 0};
	pthread_t threads[4];

	(void)state;
	lock_init(&c.lock, LOCK_DEVICE);
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count, &c), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(c.n, 40000);
	lock_destroy(&c.lock);
}

struct waiting {
	struct lock lock;
	pthread_cond_t cond;
	bool there;
};

static void *signal_it(void *arg)
{
	struct waiting *w = arg;

	lock_take(&w->lock);
	w->there = true;
	pthread_cond_signal(&w->cond);
	lock_drop(&w->lock);
	return NULL;
}

static void a_wait_ends_by_signal_or_by_time(void **state)
{
	struct waiting w = {.there = false};
	pthread_t thread;
	uint64_t deadline;

	(void)state;
	lock_init(&w.lock, LOCK_LEAF);
	lock_cond_init(&w.cond);
	lock_take(&w.lock);
	assert_false(lock_wait(&w.lock, &w.cond, 0));
	deadline = clock_now() + 5 * NS_PER_MS;
	while (lock_wait(&w.lock, &w.cond, deadline))
		;
	assert_true(clock_now() >= deadline);

	/* Forever is a deadline too. */
	assert_int_equal(pthread_create(&thread, NULL, signal_it, &w), 0);
	while (!w.there)
		assert_true(lock_wait(&w.lock, &w.cond, UINT64_MAX));
	lock_drop(&w.lock);
	assert_int_equal(pthread_join(thread, NULL), 0);
	pthread_cond_destroy(&w.cond);
	lock_destroy(&w.lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranks_are_taken_upwards),
		cmocka_unit_test(misuse_of_ranks_stops_a_debug_build),
		cmocka_unit_test(dropping_what_is_not_held_stops_a_debug_build),
		cmocka_unit_test(ranks_are_counted_for_each_thread),
		cmocka_unit_test(a_lock_excludes),
		cmocka_unit_test(a_wait_ends_by_signal_or_by_time),
	};

	return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
