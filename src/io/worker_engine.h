/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker_engine - what the common part of a worker (worker.c) and its engines share.
 *
 * An operation moves through the states below on the worker's thread alone. The common part keeps
 * the lists; an engine takes from the queue what it can carry out, and says how it ended with
 * worker_result(). The kernel holds operations only between engine->attach and engine->detach, so
 * a worker at rest is plain memory that any one thread may use.
 */
#ifndef SKEP_IO_WORKER_ENGINE_H
#define SKEP_IO_WORKER_ENGINE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "skep/lock.h"
#include "skep/sandbox.h"
#include "skep/worker.h"

enum io_op {
	IO_OP_READ,
	IO_OP_WRITE,
	IO_OP_READV,
	IO_OP_WRITEV,
	IO_OP_SYNC,      /* how: data only */
	IO_OP_FALLOCATE, /* how: mode */
	IO_OP_POLL,      /* how: events */
	IO_OP_ACCEPT,
	IO_OP_TIMEOUT, /* offset: deadline */
};

enum io_state {
	IO_IDLE,
	IO_QUEUED,     /* on worker.queue: the engine has not seen it, or gave it back */
	IO_TIMING,     /* on worker.timeouts */
	IO_FLIGHT,     /* the kernel's */
	IO_CANCELLING, /* the kernel's, and on worker.cancels */
	IO_CANCELLED,  /* the kernel's, which was told to cancel it */
	IO_READY,      /* on worker.ready: result is known, done is to be called */
};

/*
 * What is done on a file by a system call of the worker's thread, because the engine's way costs
 * more and the call blocks for nothing but swap. Found out when the file is added, as bits.
 *
 * io_uring hands what may block to a thread of the kernel's, which takes from 3 us (32 at once) to
 * 50 us (one at a time) where the call takes 1. It does so with files in memory (tmpfs, ramfs),
 * reads included on some kernels, and with writes to eventfds, whose counter is taken to have room.
 */
enum {
	AT_ONCE_READ = 1,
	AT_ONCE_WRITE = 2, /* and sync */
};

struct io_list {
	struct io *first;
	struct io *last;
};

void io_list_append(struct io_list *l, struct io *io);
void io_list_remove(struct io_list *l, struct io *io);
/* NULL when empty. */
struct io *io_list_pop(struct io_list *l);

/* Of a worker's io_uring: batches of this size cost one system call. */
#define URING_ENTRIES    256U
#define URING_CQ_ENTRIES (4 * URING_ENTRIES)

struct worker_engine {
	const char *name;
	/* The loop of an engine without threads; NULL for the common one. */
	void (*run)(struct worker *w);
	void (*destroy)(struct worker *w);
	/* Makes the engine the calling thread's. Nothing is in flight. */
	int (*attach)(struct worker *w, struct err *err);
	/* Takes everything back from the kernel: it is ready, or queued again. */
	void (*detach)(struct worker *w);
	/* The thread ends; detached. NULL: that makes no difference. */
	void (*leave)(struct worker *w);
	/* Starts what is queued, waits for a result, wake() or @deadline (engine->now's). */
	void (*turn)(struct worker *w, uint64_t deadline);
	/* Any thread: ends a turn that waits, or the next one. */
	void (*wake)(struct worker *w);
	/* @slot becomes @fd, -1 for none. Before worker.files says so. */
	int (*set_file)(struct worker *w, int slot, int fd);
	/* See worker_wire(). NULL: there is nothing to do. */
	int (*wire)(struct worker *w, const struct iovec *memory, unsigned int n, struct err *err);
	/* Whether it leaves reads of @fd, which is in memory, to a thread. NULL: it does. */
	bool (*hands_on)(int fd);
	uint64_t (*now)(struct worker *w);
};

struct worker {
	const struct worker_engine *engine;
	struct vtime *vt;
	int files[WORKER_FILES_MAX]; /* -1: free */
	uint8_t at_once[WORKER_FILES_MAX];

	/* The worker's thread, or one at a time while it does not run. */
	struct io_list queue;
	struct io_list timeouts; /* by deadline */
	struct io_list cancels;
	struct io_list ready;
	struct post *posts; /* taken from @posted, in order */
	struct deferral *deferrals;
	uint64_t batch; /* a deferral runs once in each */
	bool spins;     /* a turn that finds nothing costs no system call */
	bool alone;     /* there is one processor to run on */
	bool busy;      /* since it last recorded that it may wait */
	uint32_t begun; /* operations, since then */
	struct trace_ring *ring;
	unsigned int pending;

	/* Any thread. */
	_Atomic(struct post *) posted; /* newest first */
	atomic_bool stop;
	_Atomic(pthread_t) self; /* meaningful while running */
	atomic_bool running;     /* changes under @lock */

	struct lock lock;
	unsigned int calls; /* worker_call()s that wait */
	bool started;       /* @thread is to be joined */
	bool resting;       /* it waits for @again: with a @start, or to end */
	bool rests;         /* the thread's own word for that, told by @rested */
	bool guarded;       /* it is in its sandbox */
	enum sandbox_kind kind;
	pthread_t thread;
	struct start *start;
	atomic_bool rest; /* when the thread stops, it rests */
	sem_t again;
	sem_t rested; /* the thread rests, or ends */
	char name[16];
	char *reason; /* see worker_engine_reason() */
};

/*
 * The sentence for an io_uring that @errnum refuses; @disabled is the value of the sysctl
 * kernel.io_uring_disabled, -1 when there is none. Returns -@errnum.
 */
int worker_uring_refused(int errnum, int disabled, struct err *err);

int worker_uring_create(struct worker **w, const char *name, struct err *err);
int worker_epoll_create(struct worker **w, const char *name, struct err *err);

/* A thread of a worker: no signals, and a small stack. Returns an errno. */
int worker_thread(pthread_t *thread, void *(*fn)(void *arg), void *arg);
/* Which of the buffers that @ranges are registered as @len bytes at @base lie in; -1: not in one.
 */
int worker_uring_piece(const struct iovec *ranges, unsigned int n, const void *base, uint64_t len);
void worker_init(struct worker *w, const struct worker_engine *engine, const char *name);
void worker_fini(struct worker *w);

/* Carries @io out on @fd by a system call with RWF_ @flags (transfers only), and returns its
 * result. A poll that has to wait is -EAGAIN. */
int worker_perform(const struct io *io, int fd, int flags);
/* The same, but what would block on a stream is -EAGAIN, also if the file does not say O_NONBLOCK:
 * it does for that moment. */
int worker_perform_nonblocking(const struct io *io, int fd);
/* Whether @io is carried out by worker_perform() on the worker's thread, as its file wants it. */
bool worker_at_once(const struct worker *w, const struct io *io);
/* @io ended with @result: its done is called from the loop. */
void worker_result(struct worker *w, struct io *io, int result);
/* @io, which the engine took off the queue, goes back to its end. */
void worker_requeue(struct worker *w, struct io *io);
/* Calls done for the ready operation @io. */
void worker_deliver(struct worker *w, struct io *io);
/* Makes timeouts that are over ready. */
void worker_expire(struct worker *w);
/* Moves what was posted to w->posts. */
void worker_take_posts(struct worker *w);
/* Runs one deferral that has not run in this batch; false when there is none. */
bool worker_run_deferral(struct worker *w);
/* Runs @post, which was taken off w->posts. */
void worker_run_post(struct worker *w, struct post *post);

#endif
