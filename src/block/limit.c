/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Limits: so many requests and bytes a second, and no more than a burst of them at once.
 *
 * A token bucket, kept as a moment in time: op_used is when the requests that have been let through
 * would be over at exactly the rate. One may start while that lies no further ahead than the burst,
 * whatever its size, and pushes it ahead by its cost: so a large one is let through and paid for
 * afterwards. Requests start in the order they came.
 *
 * Runs on the one worker of a disk with limits.
 */
#include <errno.h>

#include "disk_priv.h"
#include "skep/bits.h"
#include "skep/clock.h"

/* When @r may start; 0: at once. */
static uint64_t start_of(const struct limit *l)
{
	uint64_t used = MAX(l->op_used, l->byte_used);

	return used > l->burst ? used - l->burst : 0;
}

/* The worker's timer is the better clock: where time is simulated, it alone moves. */
static uint64_t now(const struct limit *l)
{
	return MAX(clock_now(), l->reached);
}

static void spend(struct limit *l, const struct disk_request *r)
{
	uint64_t t = now(l);

	if (l->op_cost)
		l->op_used = MAX(l->op_used, t) + l->op_cost;
	/* A transfer is less than 4 GiB, so this does not overflow. */
	if (l->bandwidth && (r->op == DISK_OP_READ || r->op == DISK_OP_WRITE))
		l->byte_used = MAX(l->byte_used, t) + r->length * NS_PER_S / l->bandwidth;
}

static void arm(struct limit *l)
{
	if (!l->waiting.first || io_pending(&l->timer))
		return;
	l->deadline = start_of(l);
	io_timeout(l->worker, &l->timer, l->deadline);
}

static void end_cancelled(struct limit *l)
{
	struct request_list all = l->waiting;
	struct disk_request *r;

	l->cancelling = false;
	l->waiting.first = NULL;
	while ((r = request_pop(&all)))
		if (request_cancelled(r))
			request_finish(r, -ECANCELED);
		else
			request_append(&l->waiting, r);
}

static void timer_done(struct io *io, int result)
{
	struct limit *l = container_of(io, struct limit, timer);
	struct disk_request *r;

	if (result == -ETIME)
		l->reached = MAX(l->reached, l->deadline);
	if (l->cancelling)
		end_cancelled(l);
	while (l->waiting.first && start_of(l) <= now(l)) {
		r = request_pop(&l->waiting);
		spend(l, r);
		request_run(r);
	}
	arm(l);
}

bool limit_pass(struct limit *l, struct disk_request *r)
{
	if ((!l->op_cost && !l->bandwidth) || r->op == DISK_OP_FLUSH)
		return true;
	if (!l->waiting.first && start_of(l) <= now(l)) {
		spend(l, r);
		return true;
	}
	l->timer.done = timer_done;
	request_append(&l->waiting, r);
	arm(l);
	return false;
}

void limit_cancel(struct limit *l)
{
	if (!l->waiting.first)
		return;
	l->cancelling = true;
	io_cancel(l->worker, &l->timer);
}
