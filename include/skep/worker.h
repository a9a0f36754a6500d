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
 * 0, a descriptor, or -errno), never from within the call that started it.
 *
 * Files are registered once (worker_add_file) and named by their slot from then on. The ring is
 * restricted to registered files and to the operations below.
 *
 * Engines: worker_uring.c for the host; worker_sim.c runs the same calls from a seed, in the order
 * and with the faults a test wants, without threads.
 */
#ifndef SKEP_WORKER_H
#define SKEP_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct err;
struct io;
struct worker;

typedef void io_done(struct io *io, int result);

struct io {
	io_done *done;
	/* Private to the engine. */
	struct worker *worker;
	struct io *next;
	void *buf;
	uint64_t arg[4];
	uint8_t op;
	bool pending;
};

#define WORKER_FILES_MAX 64
/* Read or write at the file's own position (pipes, terminals, eventfds). */
#define IO_STREAM UINT64_MAX

/* @name is the thread's, at most 15 bytes. */
int worker_create(struct worker **w, const char *name, struct err *err);
/* Every operation has completed; see worker_cancel(). */
void worker_destroy(struct worker *w);

/* Runs the worker on a thread of its own; worker_stop() ends and joins it. */
int worker_start(struct worker *w, struct err *err);
/* Runs the worker on the calling thread until worker_stop() is called. */
void worker_run(struct worker *w);
/* Any thread. Operations still under way stay so; the worker may be run or started again. */
void worker_stop(struct worker *w);

/* Any thread: runs @fn(@arg) on the worker and waits for it. On the worker itself, or while it
 * does not run, calls it directly. */
void worker_call(struct worker *w, void (*fn)(void *arg), void *arg);

/*
 * Any thread, any lock held, never waits: has @post->fn(@post) run on the worker soon. Posting
 * what is already posted changes nothing.
 */
struct post {
	void (*fn)(struct post *post);
	/* Private. */
	struct post *next;
	bool queued;
};
void worker_post(struct worker *w, struct post *post);

/* The rest: on the worker's thread, or while it does not run. */

/* Registers @fd, which stays the caller's to close; returns its slot, or -errno (-ENFILE: full). */
int worker_add_file(struct worker *w, int fd);
void worker_remove_file(struct worker *w, int slot);

void io_read(struct worker *w, struct io *io, int slot, void *buf, uint32_t len, uint64_t offset);
void io_write(struct worker *w, struct io *io, int slot, const void *buf, uint32_t len,
	      uint64_t offset);
void io_readv(struct worker *w, struct io *io, int slot, const struct iovec *iov, unsigned int n,
	      uint64_t offset);
void io_writev(struct worker *w, struct io *io, int slot, const struct iovec *iov, unsigned int n,
	       uint64_t offset);
void io_sync(struct worker *w, struct io *io, int slot, bool data_only);
/* Completes with the poll(2) events that came true. */
void io_poll(struct worker *w, struct io *io, int slot, unsigned int events);
/* Completes with a new descriptor, close-on-exec. */
void io_accept(struct worker *w, struct io *io, int slot);
/* Completes with -ETIME once clock_now() reaches @deadline. */
void io_timeout(struct worker *w, struct io *io, uint64_t deadline);

static inline bool io_pending(const struct io *io)
{
	return io->pending;
}

/* Has @io complete soon, with -ECANCELED unless it got there first. Nothing if not pending. */
void io_cancel(struct worker *w, struct io *io);

/* Turns the worker over until @io has completed: for tearing down. */
void io_drain(struct worker *w, struct io *io);

/* Hands @vt's timers to this worker: they fire on its thread. NULL takes them away. */
struct vtime;
void worker_set_vtime(struct worker *w, struct vtime *vt);

/* Whether this host lets us use io_uring: 0, or -errno and the sentence that says why not. */
int worker_probe(struct err *err);

#endif
