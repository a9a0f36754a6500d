/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worker - a thread with one ring: asynchronous host I/O.
 *
 * A worker owns its operations: they are started and complete on its thread, one completion at a
 * time, so code that runs on one worker needs no locks against itself. Other threads enter through
 * worker_call() and worker_post() only. The control thread of a machine is a worker too.
 *
 * Operations are embedded in whatever asked for them: nothing is allocated in flight. An operation
 * that was started completes exactly once, with what the system call would have returned (bytes,
 * 0, a descriptor, or -errno), never from within the call that started it. Starting one only
 * queues it: all that were started in one turn of the worker go to the kernel together. Operations
 * under way at the same time complete in any order. An operation that would block waits, even on a
 * file opened O_NONBLOCK: neither -EAGAIN nor -EINTR is ever a result.
 *
 * Files are registered once (worker_add_file) and named by their slot from then on. The ring is
 * restricted to registered files and to the operations below. Transfers that io_uring would leave
 * to a thread of the kernel's for no reason (files in memory, writes to eventfds) are made by a
 * system call on the worker's thread instead; that is settled for each file when it is added.
 *
 * A worker that does not run may be used by one thread at a time, whichever it is: operations that
 * are started then wait for it to run.
 *
 * Engines: worker_uring.c for the host, and worker_epoll.c where that has no io_uring for us, to
 * the same ends at a higher price; worker_sim.c runs the same calls from a seed, in the order and
 * with the faults a test wants, without threads.
 */
#ifndef SKEP_WORKER_H
#define SKEP_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "skep/sandbox.h"

struct err;
struct io;
struct trace_ring;
struct worker;

typedef void io_done(struct io *io, int result);

/* Starts as all zeroes but for @done, and may be started again from @done on. */
struct io {
	io_done *done;
	/* Private to the worker. */
	struct worker *worker;
	struct io *next;
	void *buf;
	uint64_t offset;
	uint64_t len;
	int how;
	int slot;
	int result;
	uint8_t op;
	uint8_t state;
	uint8_t mark;
};

#define WORKER_FILES_MAX 256
/* Read or write at the file's own position (pipes, terminals, eventfds). */
#define IO_STREAM UINT64_MAX

/* @name is the thread's, at most 15 bytes. With io_uring, or without where the host refuses it. */
int worker_create(struct worker **w, const char *name, struct err *err);
/* The worker does not run, and every operation has completed: see io_cancel() and io_drain(). Posts
 * that did not run yet never will. NULL is allowed. */
void worker_destroy(struct worker *w);

/* Runs the worker on a thread of its own, which takes no signals; it runs when this returns. */
int worker_start(struct worker *w, struct err *err);
/*
 * Runs the worker on the calling thread until worker_stop() is called; at once if it was called
 * since the worker last ran. 0, or -errno when the ring cannot be had on this thread: that takes a
 * worker that ran on another thread before, and a host short of memory or descriptors.
 */
int worker_run(struct worker *w);
/* Gets now what worker_run() on this thread will take of the host: for before a sandbox. */
int worker_ready(struct worker *w, struct err *err);
/*
 * Any thread, also the worker's own. Joins the thread that worker_start() made, unless called on
 * it; does not wait for worker_run() to return. Operations still under way stay so: they go on
 * when the worker is run or started again, on this thread or another.
 */
void worker_stop(struct worker *w);
/*
 * As worker_stop() from another thread, but the worker's thread waits for the next worker_start()
 * or worker_stop(), and keeps its ring: in a sandbox it would get no other.
 */
void worker_rest(struct worker *w);

/* What the worker's thread may do in a sandbox, SANDBOX_WORKER until this; before it starts. */
void worker_set_kind(struct worker *w, enum sandbox_kind kind);

/*
 * Any thread: runs @fn(@arg) on the worker and waits for it. On the worker itself, or while it
 * does not run, calls it directly. The caller holds no lock that the worker may want.
 */
void worker_call(struct worker *w, void (*fn)(void *arg), void *arg);

/*
 * Any thread, any lock held, never waits: has @post->fn(@post) run on the worker soon, once. What
 * the caller wrote before it, @fn sees. Posting what is already posted changes nothing; @fn may
 * post its @post again. While the worker does not run, it stays posted until it does.
 */
struct post {
	void (*fn)(struct post *post);
	/* Private. */
	struct post *next;
	atomic_bool queued;
};
void worker_post(struct worker *w, struct post *post);

/* The rest: on the worker's thread, or while it does not run. */

/*
 * Has @d->fn(@d) run once before the worker next enters the kernel, when all completions and posts
 * at hand have been seen to: for what is done once per batch. Deferring what is deferred already
 * changes nothing; @fn may start operations, which go to the kernel with the batch, and defer
 * others, which still run; if it defers itself, that is for the next batch. While the worker does
 * not run, it stays deferred until it does; one that stops runs what is deferred first.
 */
struct deferral {
	void (*fn)(struct deferral *d);
	/* Private. */
	struct deferral *next;
	uint64_t batch;
	bool queued;
};
void worker_defer(struct worker *w, struct deferral *d);
/* Takes @d back if it has not run yet. */
void worker_undefer(struct worker *w, struct deferral *d);

/* Takes @post back if it has not run yet. The caller sees to it that no thread posts it now. */
void worker_unpost(struct worker *w, struct post *post);

/*
 * Registers @fd; returns its slot, or -errno (-ENFILE: full). @fd stays the caller's, who closes
 * it only after worker_remove_file().
 */
int worker_add_file(struct worker *w, int fd);
/* No operation on it is under way. Those started later complete with -EBADF. */
void worker_remove_file(struct worker *w, int slot);

/*
 * Wires @memory, @n ranges that are mapped and stay so until the worker is destroyed or wired
 * again: the host takes all of it and keeps it resident, and transfers to and from one piece of it
 * cost less on files opened O_DIRECT. They go to the pages that are there now, whatever is mapped
 * in their place later. Counts against RLIMIT_MEMLOCK for each worker. While the worker does not
 * run and nothing is under way. On failure nothing is wired; without io_uring there is nothing to
 * do.
 */
int worker_wire(struct worker *w, const struct iovec *memory, unsigned int n, struct err *err);

/* What @buf and @iov point to, the array @iov too, stays in place until the operation completes. */
void io_read(struct worker *w, struct io *io, int slot, void *buf, uint32_t len, uint64_t offset);
void io_write(struct worker *w, struct io *io, int slot, const void *buf, uint32_t len,
	      uint64_t offset);
void io_readv(struct worker *w, struct io *io, int slot, const struct iovec *iov, unsigned int n,
	      uint64_t offset);
void io_writev(struct worker *w, struct io *io, int slot, const struct iovec *iov, unsigned int n,
	       uint64_t offset);
void io_sync(struct worker *w, struct io *io, int slot, bool data_only);
/* @mode is fallocate(2)'s: a hole punched, a range zeroed. */
void io_fallocate(struct worker *w, struct io *io, int slot, int mode, uint64_t offset,
		  uint64_t len);
/* Completes with the poll(2) events that came true. */
void io_poll(struct worker *w, struct io *io, int slot, unsigned int events);
/* Completes with a new descriptor, close-on-exec. */
void io_accept(struct worker *w, struct io *io, int slot);
/* Completes with -ETIME once clock_now() reaches @deadline. */
void io_timeout(struct worker *w, struct io *io, uint64_t deadline);

static inline bool io_pending(const struct io *io)
{
	return io->state;
}

/* Has @io complete soon, with -ECANCELED unless it got there first. Nothing if not pending. */
void io_cancel(struct worker *w, struct io *io);

/*
 * Turns the worker over until @io has completed: for tearing down, after io_cancel() or when it is
 * sure to complete. Other operations may complete meanwhile; posts, calls, timers and deferrals
 * wait. In the sandbox nobody but its thread can turn a worker over: while that rests, @io is
 * cancelled, and no other operation completes.
 */
void io_drain(struct worker *w, struct io *io);

/*
 * Hands @vt's timers to this worker: they fire on its thread, while it runs. NULL takes them away.
 * While the worker does not run, or before anybody arms them; before @vt is destroyed.
 */
struct vtime;
void worker_set_vtime(struct worker *w, struct vtime *vt);

/* Where its thread records what it does. While it does not run; NULL: nowhere. */
void worker_record(struct worker *w, struct trace_ring *ring);

/*
 * Whether the worker may be kept from sleeping for some microseconds, by a deferral that defers
 * itself, to see something come sooner than it would be woken: turning over costs no system call,
 * and somebody else has a processor to bring it about. On the worker.
 */
bool worker_may_spin(const struct worker *w);

/* The name it was given. Any thread. */
const char *worker_name(const struct worker *w);
/* What the worker runs on: "io_uring" or "epoll". Any thread. */
const char *worker_engine_name(const struct worker *w);
/* Why it is not io_uring, and what to do about it; NULL if it is. Any thread. */
const char *worker_engine_reason(const struct worker *w);
/* Whether this host lets us use io_uring: 0, or -errno and the sentence that says why not. */
int worker_probe(struct err *err);

#endif
