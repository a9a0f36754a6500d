/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lock - a mutex with a rank.
 *
 * A thread that holds a lock may only take locks of a higher rank; two of the same rank are never
 * held together. So no two threads can wait for one another. Debug builds (SKEP_LOCK_CHECKS) keep
 * what each thread holds and stop on a violation, and when a thread drops or waits with a lock that
 * it does not hold; release builds pay for a mutex only.
 */
#ifndef SKEP_LOCK_H
#define SKEP_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum lock_rank {
	LOCK_VM,     /* what the machine is doing: running, ending */
	LOCK_BRIDGE, /* a bridge, which hands accesses on to the devices behind it */
	LOCK_DEVICE, /* one per device */
	LOCK_LINE,   /* an interrupt line that more threads drive than its device's lock covers */
	LOCK_WIRE,   /* interrupt wires */
	LOCK_CHIP,   /* interrupt chips: driven by wires */
	LOCK_LEAF,   /* nothing else is taken below: timers, queues, channels */
	LOCK_TRACE,  /* a tap on the trace: whatever is held, something may be recorded */
};

struct lock {
	pthread_mutex_t mutex;
	enum lock_rank rank;
};

void lock_init(struct lock *l, enum lock_rank rank);
void lock_destroy(struct lock *l);
void lock_take(struct lock *l);
void lock_drop(struct lock *l);

/* pthread_cond_timedwait() on CLOCK_MONOTONIC until @deadline (ns, clock_now()'s). The condition
 * was set up by lock_cond_init(). False when the time ran out. */
void lock_cond_init(pthread_cond_t *cond);
bool lock_wait(struct lock *l, pthread_cond_t *cond, uint64_t deadline);

#endif
