/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * workers - the workers of a machine beside its control worker: who does the host I/O of a queue.
 *
 * A device asks for a worker by a name while it is created. Each that asks has its own, up to a
 * limit; from then on they share those there are, in turn. A worker's thread starts when the
 * machine runs and is joined when it stops for good, so files are added and queues set up before,
 * or on the worker itself by worker_call(). Control thread.
 */
#ifndef SKEP_WORKERS_H
#define SKEP_WORKERS_H

#include "skep/sandbox.h"

struct err;
struct trace;
struct worker;
struct workers;

#define WORKERS_MAX 64

/* @limit 0: WORKERS_MAX. */
int workers_create(struct workers **ws, unsigned int limit, struct err *err);
/* For tests: all share @one, which stays the caller's. */
int workers_create_shared(struct workers **ws, struct worker *one, struct err *err);
/* All stopped, with nothing under way. NULL is allowed. */
void workers_destroy(struct workers *ws);

/*
 * @name is the thread's, at most 15 bytes, unless another had the worker first; @kind says what it
 * is for, as far as a sandbox goes. The worker is the pool's.
 */
int workers_get(struct workers *ws, const char *name, enum sandbox_kind kind, struct worker **w,
		struct err *err);

/* The first worker_engine_reason() that one of them gives; NULL if all run on io_uring. */
const char *workers_engine_reason(const struct workers *ws);

/* Gives each a ring in @trace, which may be NULL. Before they start. */
void workers_record(struct workers *ws, struct trace *trace);

/* Threads for all there are; on failure none runs. */
int workers_start(struct workers *ws, struct err *err);
void workers_stop(struct workers *ws);
/* As workers_stop(), but the threads wait for the next workers_start(). */
void workers_rest(struct workers *ws);

#endif
