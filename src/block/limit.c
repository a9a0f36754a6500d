/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Limits: so many requests and bytes a second, and no more than a burst of them at once.
 *
 * A token bucket, kept as a moment in time: op_used is when the requests so far would be over at
 * exactly the rate. A request may start while that lies no further ahead than the burst, whatever
 * its size, and pushes it ahead by its cost: so a large one is let through and paid for afterwards.
 * Nothing that was started ever waits here: who has a request to start asks first, and is told when
 * to ask again.
 *
 * Runs on the worker of the one queue that a disk with limits has.
 */
#include <errno.h>

#include "disk_priv.h"
#include "skep/bits.h"
#include "skep/clock.h"

static bool limited(const struct limit *l)
{
	return l->op_cost || l->bandwidth;
}

/* From when on a request may start. */
static uint64_t opening(const struct limit *l)
{
	uint64_t used = MAX(l->op_used, l->byte_used);

	return used > l->burst ? used - l->burst : 0;
}

/* The worker's timer is the better clock: where time is simulated, it alone moves. */
static uint64_t now(const struct limit *l)
{
	return MAX(clock_now(), l->reached);
}

void limit_spend(struct limit *l, enum disk_op op, uint64_t bytes)
{
	uint64_t t;

	if (!limited(l) || op == DISK_OP_FLUSH)
		return;
	t = now(l);
	if (l->op_cost)
		l->op_used = MAX(l->op_used, t) + l->op_cost;
	/* A transfer is less than 4 GiB, so this does not overflow. */
	if (l->bandwidth && (op == DISK_OP_READ || op == DISK_OP_WRITE))
		l->byte_used = MAX(l->byte_used, t) + bytes * NS_PER_S / l->bandwidth;
}

static void timer_done(struct io *io, int result)
{
	struct limit *l = container_of(io, struct limit, timer);
	struct disk_waiter *w = l->waiter;

	if (result == -ETIME)
		l->reached = MAX(l->reached, l->deadline);
	l->waiter = NULL;
	if (w)
		w->ready(w);
}

bool disk_admits(struct disk_queue *q, struct disk_waiter *w)
{
	struct limit *l = &q->disk->limit;

	if (!limited(l) || opening(l) <= now(l))
		return true;
	l->waiter = w;
	if (io_pending(&l->timer))
		return false;
	l->deadline = opening(l);
	l->timer.done = timer_done;
	io_timeout(q->worker, &l->timer, l->deadline);
	return false;
}

void disk_forget(struct disk_queue *q)
{
	struct limit *l = &q->disk->limit;

	l->waiter = NULL;
	io_cancel(q->worker, &l->timer);
}
