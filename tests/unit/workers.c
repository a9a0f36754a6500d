/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/cm.h"

#include <pthread.h>
#include <stdio.h>

#include "skep/err.h"
#include "skep/worker.h"
#include "skep/worker_sim.h"
#include "skep/workers.h"

static void note_thread(void *arg)
{
	*(pthread_t *)arg = pthread_self();
}

static void test_each_its_own(void **state)
{
	struct worker *w[3];
	struct workers *ws;
	struct err err;

	(void)state;
	assert_int_equal(workers_create(&ws, 0, &err), 0);
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(workers_get(ws, "same", SANDBOX_WORKER, &w[i], &err), 0);
		for (unsigned int j = 0; j < i; j++)
			assert_ptr_not_equal(w[i], w[j]);
	}
	workers_destroy(ws);
	workers_destroy(NULL);
}

static void test_shared_in_turn(void **state)
{
	struct worker *w[6];
	struct workers *ws;
	struct err err;

	(void)state;
	assert_int_equal(workers_create(&ws, 2, &err), 0);
	for (unsigned int i = 0; i < 6; i++)
		assert_int_equal(workers_get(ws, "w", SANDBOX_WORKER, &w[i], &err), 0);
	assert_ptr_not_equal(w[0], w[1]);
	for (unsigned int i = 2; i < 6; i++)
		assert_ptr_equal(w[i], w[i % 2]);
	workers_destroy(ws);
}

static void test_no_more_than_there_can_be(void **state)
{
	struct worker *first, *w;
	struct workers *ws;
	struct err err;

	(void)state;
	assert_int_equal(workers_create(&ws, 1000, &err), 0);
	assert_int_equal(workers_get(ws, "w", SANDBOX_WORKER, &first, &err), 0);
	for (unsigned int i = 1; i < WORKERS_MAX; i++) {
		assert_int_equal(workers_get(ws, "w", SANDBOX_WORKER, &w, &err), 0);
		assert_ptr_not_equal(w, first);
	}
	assert_int_equal(workers_get(ws, "w", SANDBOX_WORKER, &w, &err), 0);
	assert_ptr_equal(w, first);
	workers_destroy(ws);
}

static void test_threads_come_and_go(void **state)
{
	pthread_t thread[2], self = pthread_self();
	struct worker *w[2];
	struct workers *ws;
	struct err err;

	(void)state;
	assert_int_equal(workers_create(&ws, 0, &err), 0);
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(workers_get(ws, "w", SANDBOX_WORKER, &w[i], &err), 0);
	for (unsigned int round = 0; round < 3; round++) {
		worker_call(w[0], note_thread, &thread[0]);
		assert_true(pthread_equal(thread[0], self));
		assert_int_equal(workers_start(ws, &err), 0);
		for (unsigned int i = 0; i < 2; i++) {
			worker_call(w[i], note_thread, &thread[i]);
			assert_false(pthread_equal(thread[i], self));
		}
		assert_false(pthread_equal(thread[0], thread[1]));
		workers_stop(ws);
	}
	workers_stop(ws);
	workers_destroy(ws);
}

/* The caller's one is neither started, stopped nor destroyed. */
static void test_one_of_the_callers(void **state)
{
	struct worker *sim, *w;
	struct workers *ws;
	struct err err;

	(void)state;
	assert_int_equal(worker_sim_create(&sim, 1, &err), 0);
	assert_int_equal(workers_create_shared(&ws, sim, &err), 0);
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(workers_get(ws, "w", SANDBOX_WORKER, &w, &err), 0);
		assert_ptr_equal(w, sim);
	}
	assert_int_equal(workers_start(ws, &err), 0);
	workers_stop(ws);
	workers_destroy(ws);
	worker_destroy(sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_its_own),
		cmocka_unit_test(test_shared_in_turn),
		cmocka_unit_test(test_no_more_than_there_can_be),
		cmocka_unit_test(test_threads_come_and_go),
		cmocka_unit_test(test_one_of_the_callers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
