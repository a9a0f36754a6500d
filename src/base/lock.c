/* SPDX-License-Identifier: BSD-2-Clause */
#include "skep/lock.h"
#include "skep/clock.h"
#include "skep/err.h"

#ifdef SKEP_LOCK_CHECKS
/* Bit n: this thread holds a lock of rank n. */
static _Thread_local unsigned int held;

static void note_take(const struct lock *l)
{
	bug_on(held >> l->rank); /* a lock of this rank or a higher one is held already */
	held |= 1U << l->rank;
}

static void note_drop(const struct lock *l)
{
	bug_on(!(held & 1U << l->rank)); /* dropped by a thread that does not hold it */
	held &= ~(1U << l->rank);
}
#else
static void note_take(const struct lock *l)
{
	(void)l;
}

static void note_drop(const struct lock *l)
{
	(void)l;
}
#endif

void lock_init(struct lock *l, enum lock_rank rank)
{
	pthread_mutex_init(&l->mutex, NULL);
	l->rank = rank;
}

void lock_destroy(struct lock *l)
{
	pthread_mutex_destroy(&l->mutex);
}

void lock_take(struct lock *l)
{
	note_take(l);
	pthread_mutex_lock(&l->mutex);
}

void lock_drop(struct lock *l)
{
	note_drop(l);
	pthread_mutex_unlock(&l->mutex);
}

void lock_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

bool lock_wait(struct lock *l, pthread_cond_t *cond, uint64_t deadline)
{
	struct timespec ts = clock_timespec(deadline);

	return pthread_cond_timedwait(cond, &l->mutex, &ts) == 0;
}
