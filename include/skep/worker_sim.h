/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker_sim - the worker's calls without threads and without luck, for tests.
 *
 * Operations are really carried out, but only when the test turns the worker over, one at a time,
 * in an order drawn from a seed. A test can have transfers cut short and operations fail.
 *
 * It has no thread: worker_start() fails, worker_call() calls directly, and worker_run() is
 * worker_sim_step() until it returns false or worker_stop() is called. io_drain() on what cannot
 * complete stops the test.
 */
#ifndef SKEP_WORKER_SIM_H
#define SKEP_WORKER_SIM_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct worker;

/* @seed draws the order; 0 keeps the order of arrival, posts first. Destroyed by worker_destroy().
 */
int worker_sim_create(struct worker **w, uint64_t seed, struct err *err);

/*
 * Carries out one operation that can complete now (what would block is left waiting) or one post,
 * and completes it; or one deferral, when nothing is posted and no result is left to deliver. False
 * when there was nothing to do.
 */
bool worker_sim_step(struct worker *w);

/* worker_sim_step() until it returns false, at most @limit times; returns how often. */
unsigned int worker_sim_run(struct worker *w, unsigned int limit);

/* Moves the time that io_timeout() is judged by. It starts at 0. */
void worker_sim_advance(struct worker *w, uint64_t ns);

/* About one in @one_in operations (not timeouts) fails with -@errnum, undone, even if it would have
 * waited; 1 fails all, 0 stops it. Decided when the operation is first looked at. */
void worker_sim_fail(struct worker *w, unsigned int one_in, int errnum);
/* The same of one operation alone: the @nth that is looked at from now on. Those on eventfds, which
 * the host carries out at once, have no way to fail and do not count. */
void worker_sim_fail_nth(struct worker *w, unsigned int nth, int errnum);
/* Whether it has come. */
bool worker_sim_nth_failed(const struct worker *w);
/* About one in @one_in transfers of more than a byte is cut short, but none of eventfds; 0 stops
 * it. */
void worker_sim_shorten(struct worker *w, unsigned int one_in);

/* Whether worker_may_spin(); not at first. What spins ends by the host's time. */
void worker_sim_may_spin(struct worker *w, bool may);

#endif
