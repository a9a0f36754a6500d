/* SPDX-License-Identifier: BSD-2-Clause */
#include "skep/lock.h"
#include "skep/clock.h"
#include "skep/err.h"

#ifdef SKEP_LOCK_CHECKS
/* What this thread holds, by rank: never two of one rank. */
static _Thread_local const struct lock *held[LOCK_TRACE + 1];

static void note_take(const struct lock *l)
{
	for (unsigned int rank = l->rank; rank <= LOCK_TRACE; rank++)
		bug_on(held[rank]); /* this rank or a higher one is held already */
	held[l->rank] = l;
}

static void check_held(const struct lock *l)
{
	bug_on(held[l->rank] != l);
}

static void note_drop(const struct lock *l)
{
	check_held(l);
	held[l->rank] = NULL;
}
#else
static void note_take(const struct lock *l)
{
	(void)l;
}

static void check_held(const struct lock *l)
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

	check_held(l);
	return pthread_cond_timedwait(cond, &l->mutex, &ts) == 0;
}
