/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Chains are balanced: what a queue gave out comes back to it once, and nothing else does; when it
 * stops, or is destroyed, nothing is out. The linker puts these in front of virtq.h's functions.
 *
 * And time: the host's clock here moves by a microsecond each time that somebody looks, so that an
 * input has the same effect each time.
 */
#include <string.h>
#include <time.h>

#include "device.h"
#include "skep/bits.h"
#include "skep/clock.h"

#define QUEUES 256U
#define OUT    1024U

static struct account {
	const struct virtq *vq;
	unsigned int count;
	uint16_t ids[OUT]; /* the same may be there twice: the guest writes them */
} accounts[QUEUES];
static unsigned int used, taken;

void chains_init(void)
{
	used = 0;
	taken = 0;
}

unsigned int chains_taken(void)
{
	unsigned int n = taken;

	taken = 0;
	return n;
}

static struct account *account_of(const struct virtq *vq)
{
	unsigned int i = 0;

	while (i < used && accounts[i].vq != vq)
		i++;
	must(i < QUEUES);
	if (i == used) {
		accounts[i].vq = vq;
		accounts[i].count = 0;
		used++;
	}
	return &accounts[i];
}

static void comes_back(const struct virtq *vq, const struct virtq_chain *chain)
{
	struct account *a = account_of(vq);
	unsigned int i = 0;

	while (i < a->count && a->ids[i] != chain->id)
		i++;
	must(i < a->count);
	a->ids[i] = a->ids[--a->count];
}

int __real_virtq_pop(struct virtq *vq, struct virtq_chain *chain, unsigned int room);
int __wrap_virtq_pop(struct virtq *vq, struct virtq_chain *chain, unsigned int room);

int __wrap_virtq_pop(struct virtq *vq, struct virtq_chain *chain, unsigned int room)
{
	int n = __real_virtq_pop(vq, chain, room);
	struct account *a = account_of(vq);

	must(n <= 1);
	if (n < 1)
		return n;
	must((unsigned int)chain->out + chain->in <= room && a->count < OUT);
	a->ids[a->count++] = chain->id;
	taken++;
	return n;
}

void __real_virtq_unpop(struct virtq *vq, const struct virtq_chain *chain);
void __wrap_virtq_unpop(struct virtq *vq, const struct virtq_chain *chain);

void __wrap_virtq_unpop(struct virtq *vq, const struct virtq_chain *chain)
{
	comes_back(vq, chain);
	__real_virtq_unpop(vq, chain);
}

void __real_virtq_push(struct virtq *vq, const struct virtq_chain *chain, uint32_t written);
void __wrap_virtq_push(struct virtq *vq, const struct virtq_chain *chain, uint32_t written);

void __wrap_virtq_push(struct virtq *vq, const struct virtq_chain *chain, uint32_t written)
{
	comes_back(vq, chain);
	must(written <= chain->in_len);
	__real_virtq_push(vq, chain, written);
}

void __real_virtq_stop(struct virtq *vq, struct virtq_position *at);
void __wrap_virtq_stop(struct virtq *vq, struct virtq_position *at);

void __wrap_virtq_stop(struct virtq *vq, struct virtq_position *at)
{
	must(!account_of(vq)->count && !virtq_inflight(vq));
	__real_virtq_stop(vq, at);
}

void __real_virtq_destroy(struct virtq *vq);
void __wrap_virtq_destroy(struct virtq *vq);

void __wrap_virtq_destroy(struct virtq *vq)
{
	must(!account_of(vq)->count);
	account_of(vq)->vq = NULL; /* another may be where it was */
	__real_virtq_destroy(vq);
}

static uint64_t now = NS_PER_S;

void clock_advance(uint64_t ns)
{
	now += ns;
}

int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t);

int __wrap_clock_gettime(clockid_t clock, struct timespec *t)
{
	if (clock != CLOCK_MONOTONIC)
		return __real_clock_gettime(clock, t);
	now += NS_PER_US;
	*t = clock_timespec(now);
	return 0;
}
