/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The part of a worker that no engine needs to know about: how other threads get in, which
 * operations wait for what, and the loop.
 *
 * Posts are pushed on a stack without a lock, because posters hold locks of every rank; only the
 * worker takes from it, all at once. worker_call() is a post that somebody waits for. A call is
 * pushed under worker.lock while the worker is seen to run, and the worker ceases to run under the
 * same lock when no call is left, so no caller waits for a loop that has gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/timer.h"
#include "skep/trace.h"
#include "worker_engine.h"

/* Of a worker's threads. */
#define STACK_SIZE (256U << 10)

void io_list_append(struct io_list *l, struct io *io)
{
	io->next = NULL;
	if (l->first)
		l->last->next = io;
	else
		l->first = io;
	l->last = io;
}

void io_list_remove(struct io_list *l, struct io *io)
{
	struct io *prev = NULL;

	for (struct io *i = l->first; i != io; i = i->next)
		prev = i;
	if (prev)
		prev->next = io->next;
	else
		l->first = io->next;
	if (l->last == io)
		l->last = prev;
}

struct io *io_list_pop(struct io_list *l)
{
	struct io *io = l->first;

	if (io)
		io_list_remove(l, io);
	return io;
}

void worker_init(struct worker *w, const struct worker_engine *engine, const char *name)
{
	cpu_set_t cpus;

	w->engine = engine;
	w->batch = 1;
	for (unsigned int i = 0; i < WORKER_FILES_MAX; i++)
		w->files[i] = -1;
	w->kind = SANDBOX_WORKER;
	w->alone = !sched_getaffinity(0, sizeof(cpus), &cpus) && CPU_COUNT(&cpus) == 1;
	lock_init(&w->lock, LOCK_LEAF);
	sem_init(&w->again, 0, 0);
	sem_init(&w->rested, 0, 0);
	snprintf(w->name, sizeof(w->name), "%s", name);
}

void worker_fini(struct worker *w)
{
	sem_destroy(&w->again);
	sem_destroy(&w->rested);
	lock_destroy(&w->lock);
	free(w->reason);
}

int worker_create(struct worker **w, const char *name, struct err *err)
{
	struct err why;
	int rc = worker_uring_create(w, name, &why);

	switch (rc) {
	case -EPERM:
	case -EACCES:
	case -ENOSYS:
	case -EINVAL:
	case -ENOMEM:
		break;
	default:
		return rc ? err_set(err, -rc, "%s", why.text) : 0;
	}
	rc = worker_epoll_create(w, name, err);
	if (rc)
		return rc;
	(*w)->reason = strdup(why.text);
	if ((*w)->reason)
		return 0;
	worker_destroy(*w);
	*w = NULL;
	return err_sys(err, ENOMEM, "worker %s", name);
}

void worker_set_kind(struct worker *w, enum sandbox_kind kind)
{
	bug_on(w->started);
	w->kind = kind;
}

bool worker_may_spin(const struct worker *w)
{
	return w->spins && !w->alone;
}

const char *worker_name(const struct worker *w)
{
	return w->name;
}

const char *worker_engine_name(const struct worker *w)
{
	return w->engine->name;
}

const char *worker_engine_reason(const struct worker *w)
{
	return w->reason;
}

void worker_destroy(struct worker *w)
{
	if (!w)
		return;
	if (w->started)
		worker_stop(w);
	bug_on(w->running);
	bug_on(w->pending);
	worker_set_vtime(w, NULL);
	w->engine->destroy(w);
}

void worker_record(struct worker *w, struct trace_ring *ring)
{
	w->ring = ring;
}

/* Whether the caller is the running worker itself. */
static bool on_worker(struct worker *w)
{
	return atomic_load(&w->running) && pthread_equal(atomic_load(&w->self), pthread_self());
}

/* Whether the caller may use what belongs to the worker's thread. */
static bool may_touch(struct worker *w)
{
	return !atomic_load(&w->running) || pthread_equal(atomic_load(&w->self), pthread_self());
}

/* The loop looks at everything again before it waits, so it need not wake itself. */
static void wake(struct worker *w)
{
	if (!on_worker(w))
		w->engine->wake(w);
}

void worker_post(struct worker *w, struct post *post)
{
	struct post *first;

	/* With the exchange in worker_run_post(), orders the caller's writes before @fn. */
	if (atomic_exchange(&post->queued, true))
		return;
	first = atomic_load(&w->posted);
	do
		post->next = first;
	while (!atomic_compare_exchange_weak(&w->posted, &first, post));
	wake(w);
}

void worker_take_posts(struct worker *w)
{
	struct post *newest = atomic_exchange(&w->posted, NULL), *oldest = NULL;
	struct post **end = &w->posts;

	while (newest) {
		struct post *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (*end)
		end = &(*end)->next;
	*end = oldest;
}

void worker_run_post(struct worker *w, struct post *post)
{
	(void)w;
	atomic_exchange(&post->queued, false);
	post->fn(post);
}

/* Those posted by now; what they post waits for the next turn. */
static void run_posts(struct worker *w)
{
	struct post *post, *last;

	worker_take_posts(w);
	for (last = w->posts; last && last->next; last = last->next)
		;
	while (last && (post = w->posts)) {
		bool end = post == last;

		w->posts = post->next;
		worker_run_post(w, post);
		if (end)
			break;
	}
}

void worker_unpost(struct worker *w, struct post *post)
{
	struct post **p = &w->posts;

	bug_on(!may_touch(w));
	if (!atomic_load(&post->queued))
		return;
	worker_take_posts(w);
	while (*p && *p != post)
		p = &(*p)->next;
	bug_on(!*p); /* it is posted to another worker */
	*p = post->next;
	atomic_store(&post->queued, false);
}

void worker_defer(struct worker *w, struct deferral *d)
{
	struct deferral **end = &w->deferrals;

	bug_on(!may_touch(w));
	if (d->queued)
		return;
	while (*end)
		end = &(*end)->next;
	d->next = NULL;
	d->queued = true;
	*end = d;
}

void worker_undefer(struct worker *w, struct deferral *d)
{
	struct deferral **p = &w->deferrals;

	bug_on(!may_touch(w));
	if (!d->queued)
		return;
	while (*p && *p != d)
		p = &(*p)->next;
	bug_on(!*p); /* it is another worker's */
	*p = d->next;
	d->queued = false;
}

bool worker_run_deferral(struct worker *w)
{
	struct deferral *d = w->deferrals;

	while (d && d->batch == w->batch)
		d = d->next;
	if (!d)
		return false;
	worker_undefer(w, d);
	d->batch = w->batch;
	d->fn(d); /* may give @d back */
	return true;
}

static void run_deferrals(struct worker *w)
{
	while (worker_run_deferral(w))
		;
	w->batch++;
}

struct call {
	struct post post;
	struct worker *worker;
	void (*fn)(void *arg);
	void *arg;
	sem_t done;
};

static void run_call(struct post *post)
{
	struct call *c = container_of(post, struct call, post);
	struct worker *w = c->worker;

	c->fn(c->arg);
	lock_take(&w->lock);
	w->calls--;
	lock_drop(&w->lock);
	sem_post(&c->done); /* @c is gone from here on */
}

void worker_call(struct worker *w, void (*fn)(void *arg), void *arg)
{
	struct call c = {.post.fn = run_call, .worker = w, .fn = fn, .arg = arg};
	bool running;

	if (on_worker(w)) {
		fn(arg);
		return;
	}
	sem_init(&c.done, 0, 0);
	lock_take(&w->lock);
	running = w->running;
	if (running) {
		w->calls++;
		worker_post(w, &c.post);
	}
	lock_drop(&w->lock);
	if (running)
		while (sem_wait(&c.done) && errno == EINTR)
			;
	else
		fn(arg);
	sem_destroy(&c.done);
}

static unsigned int find_at_once(struct worker *w, int fd)
{
	struct statfs fs;
	struct stat st;

	if (fstatfs(fd, &fs))
		return 0;
	if (fs.f_type == ANON_INODE_FS_MAGIC)
		return AT_ONCE_WRITE;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) ||
	    (fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC))
		return 0;
	if (w->engine->hands_on && !w->engine->hands_on(fd))
		return AT_ONCE_WRITE;
	return AT_ONCE_READ | AT_ONCE_WRITE;
}

bool worker_at_once(const struct worker *w, const struct io *io)
{
	switch (io->op) {
	case IO_OP_READ:
	case IO_OP_READV:
		return w->at_once[io->slot] & AT_ONCE_READ;
	case IO_OP_WRITE:
	case IO_OP_WRITEV:
	case IO_OP_SYNC:
		return w->at_once[io->slot] & AT_ONCE_WRITE;
	default:
		return false;
	}
}

int worker_add_file(struct worker *w, int fd)
{
	bug_on(!may_touch(w));
	for (int slot = 0; slot < WORKER_FILES_MAX; slot++) {
		int rc;

		if (w->files[slot] >= 0)
			continue;
		rc = fd < 0 ? -EBADF : w->engine->set_file(w, slot, fd);
		if (rc)
			return rc;
		w->files[slot] = fd;
		w->at_once[slot] = (uint8_t)find_at_once(w, fd);
		return slot;
	}
	return -ENFILE;
}

int worker_wire(struct worker *w, const struct iovec *memory, unsigned int n, struct err *err)
{
	bug_on(w->running);
	return w->engine->wire ? w->engine->wire(w, memory, n, err) : 0;
}

void worker_remove_file(struct worker *w, int slot)
{
	bug_on(!may_touch(w));
	bug_on(slot < 0 || slot >= WORKER_FILES_MAX || w->files[slot] < 0);
	w->engine->set_file(w, slot, -1);
	w->files[slot] = -1;
	w->at_once[slot] = 0;
}

/* Takes the arguments; @io is then put on the list it belongs to. */
static void start(struct worker *w, struct io *io, enum io_op op, int slot, const void *buf,
		  uint64_t len, uint64_t offset)
{
	bug_on(!may_touch(w));
	bug_on(io->state != IO_IDLE);
	io->worker = w;
	io->op = (uint8_t)op;
	io->slot = slot;
	io->buf = (void *)(uintptr_t)buf;
	io->len = len;
	io->offset = offset;
	io->how = 0;
	io->mark = 0;
	w->pending++;
}

static void start_on_file(struct worker *w, struct io *io, enum io_op op, int slot, const void *buf,
			  uint64_t len, uint64_t offset)
{
	bug_on(slot < 0 || slot >= WORKER_FILES_MAX);
	start(w, io, op, slot, buf, len, offset);
	io->state = IO_QUEUED;
	io_list_append(&w->queue, io);
	w->begun++;
}

void io_read(struct worker *w, struct io *io, int slot, void *buf, uint32_t len, uint64_t offset)
{
	start_on_file(w, io, IO_OP_READ, slot, buf, len, offset);
}

void io_write(struct worker *w, struct io *io, int slot, const void *buf, uint32_t len,
	      uint64_t offset)
{
	start_on_file(w, io, IO_OP_WRITE, slot, buf, len, offset);
}

void io_readv(struct worker *w, struct io *io, int slot, const struct iovec *iov, unsigned int n,
	      uint64_t offset)
{
	start_on_file(w, io, IO_OP_READV, slot, iov, n, offset);
}

void io_writev(struct worker *w, struct io *io, int slot, const struct iovec *iov, unsigned int n,
	       uint64_t offset)
{
	start_on_file(w, io, IO_OP_WRITEV, slot, iov, n, offset);
}

void io_sync(struct worker *w, struct io *io, int slot, bool data_only)
{
	start_on_file(w, io, IO_OP_SYNC, slot, NULL, 0, 0);
	io->how = data_only;
}

void io_fallocate(struct worker *w, struct io *io, int slot, int mode, uint64_t offset,
		  uint64_t len)
{
	start_on_file(w, io, IO_OP_FALLOCATE, slot, NULL, len, offset);
	io->how = mode;
}

void io_poll(struct worker *w, struct io *io, int slot, unsigned int events)
{
	start_on_file(w, io, IO_OP_POLL, slot, NULL, 0, 0);
	io->how = (int)events;
}

void io_accept(struct worker *w, struct io *io, int slot)
{
	start_on_file(w, io, IO_OP_ACCEPT, slot, NULL, 0, 0);
}

void io_timeout(struct worker *w, struct io *io, uint64_t deadline)
{
	struct io **p = &w->timeouts.first;

	start(w, io, IO_OP_TIMEOUT, -1, NULL, 0, deadline);
	io->state = IO_TIMING;
	while (*p && (*p)->offset <= deadline)
		p = &(*p)->next;
	if (!*p) {
		io_list_append(&w->timeouts, io);
		return;
	}
	io->next = *p;
	*p = io;
}

static int poll_now(int fd, int events)
{
	struct pollfd p = {.fd = fd, .events = (short)events};
	int n = poll(&p, 1, 0);

	if (n > 0)
		return p.revents;
	if (!n)
		errno = EAGAIN;
	return -1;
}

int worker_perform(const struct io *io, int fd, int flags)
{
	struct iovec one = {.iov_base = io->buf, .iov_len = io->len};
	ssize_t n;

	/* IO_STREAM is an offset of -1 here too: the file's own position. */
	switch (io->op) {
	case IO_OP_READ:
		n = preadv2(fd, &one, 1, (off_t)io->offset, flags);
		break;
	case IO_OP_WRITE:
		n = pwritev2(fd, &one, 1, (off_t)io->offset, flags);
		break;
	case IO_OP_READV:
		n = preadv2(fd, io->buf, (int)io->len, (off_t)io->offset, flags);
		break;
	case IO_OP_WRITEV:
		n = pwritev2(fd, io->buf, (int)io->len, (off_t)io->offset, flags);
		break;
	case IO_OP_SYNC:
		n = io->how ? fdatasync(fd) : fsync(fd);
		break;
	case IO_OP_FALLOCATE:
		n = fallocate(fd, io->how, (off_t)io->offset, (off_t)io->len);
		break;
	case IO_OP_POLL:
		n = poll_now(fd, io->how);
		break;
	default:
		bug_on(io->op != IO_OP_ACCEPT);
		n = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		break;
	}
	return n < 0 ? -errno : (int)n;
}

int worker_perform_nonblocking(const struct io *io, int fd)
{
	int flags = fcntl(fd, F_GETFL), result;

	if (flags >= 0 && !(flags & O_NONBLOCK))
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	result = worker_perform(io, fd, 0);
	if (flags >= 0 && !(flags & O_NONBLOCK))
		fcntl(fd, F_SETFL, flags);
	return result;
}

void worker_result(struct worker *w, struct io *io, int result)
{
	if (io->state == IO_CANCELLING)
		io_list_remove(&w->cancels, io);
	io->result = result;
	io->state = IO_READY;
	io_list_append(&w->ready, io);
}

void worker_requeue(struct worker *w, struct io *io)
{
	io->state = IO_QUEUED;
	io_list_append(&w->queue, io);
}

void worker_deliver(struct worker *w, struct io *io)
{
	io_list_remove(&w->ready, io);
	io->state = IO_IDLE;
	w->pending--;
	io->done(io, io->result);
}

void worker_expire(struct worker *w)
{
	uint64_t now;

	if (!w->timeouts.first)
		return;
	now = w->engine->now(w);
	while (w->timeouts.first && w->timeouts.first->offset <= now)
		worker_result(w, io_list_pop(&w->timeouts), -ETIME);
}

void io_cancel(struct worker *w, struct io *io)
{
	bug_on(!may_touch(w));
	switch (io->state) {
	case IO_QUEUED:
		io_list_remove(&w->queue, io);
		worker_result(w, io, -ECANCELED);
		break;
	case IO_TIMING:
		io_list_remove(&w->timeouts, io);
		worker_result(w, io, -ECANCELED);
		break;
	case IO_FLIGHT:
		io->state = IO_CANCELLING;
		io_list_append(&w->cancels, io);
		break;
	default:
		break;
	}
}

/* In front of a turn, which may wait, if there is anything to say. */
static void record_submit(struct worker *w)
{
	if (w->busy || w->begun)
		trace_event(TRACE_SUBMIT, TRACE_NO_DEVICE, 0, 0, w->begun, 0, 0);
	w->busy = false;
	w->begun = 0;
}

static void record_complete(struct worker *w)
{
	uint32_t n = 0;

	for (const struct io *io = w->ready.first; io; io = io->next)
		n++;
	if (n)
		trace_event(TRACE_COMPLETE, TRACE_NO_DEVICE, 0, 0, n, 0, 0);
	w->busy = n;
}

/* One turn; completions are taken one at a time, as their functions may drain others. */
static void turn(struct worker *w, uint64_t deadline)
{
	if (w->timeouts.first)
		deadline = MIN(deadline, w->timeouts.first->offset);
	if (w->ready.first)
		deadline = 0;
	if (trace_on())
		record_submit(w);
	w->engine->turn(w, deadline);
	worker_expire(w);
	if (trace_on())
		record_complete(w);
	while (w->ready.first)
		worker_deliver(w, w->ready.first);
}

void io_drain(struct worker *w, struct io *io)
{
	bool at_rest = !atomic_load(&w->running);

	bug_on(!may_touch(w));
	if (!io_pending(io))
		return;
	if (at_rest && w->engine->attach(w, NULL)) {
		/* Nothing is the kernel's while the worker is at rest, so this ends it. */
		io_cancel(w, io);
		worker_deliver(w, io);
		return;
	}
	while (io_pending(io))
		turn(w, UINT64_MAX);
	if (at_rest)
		w->engine->detach(w);
}

static void wake_for_timer(void *arg)
{
	wake(arg);
}

void worker_set_vtime(struct worker *w, struct vtime *vt)
{
	if (w->vt)
		vtime_set_wake(w->vt, NULL, NULL);
	w->vt = vt;
	if (vt)
		vtime_set_wake(vt, wake_for_timer, w);
}

static uint64_t loop_deadline(struct worker *w)
{
	if (atomic_load(&w->stop) || atomic_load(&w->posted) || w->posts || w->deferrals)
		return 0;
	return w->vt ? vtime_deadline(w->vt) : UINT64_MAX;
}

static void begin_running(struct worker *w)
{
	trace_enter(w->ring);
	lock_take(&w->lock);
	bug_on(w->running);
	atomic_store(&w->self, pthread_self());
	atomic_store(&w->running, true);
	lock_drop(&w->lock);
}

/* False: a call came in that must be run first. @ends: so does the thread. */
static bool cease_running(struct worker *w, bool ends)
{
	bool idle;

	lock_take(&w->lock);
	idle = !w->calls;
	if (idle && ends && w->engine->leave)
		w->engine->leave(w);
	if (idle)
		atomic_store(&w->running, false);
	lock_drop(&w->lock);
	return idle;
}

static void turn_until_stopped(struct worker *w)
{
	while (!atomic_load(&w->stop)) {
		run_posts(w);
		if (w->vt)
			vtime_run(w->vt);
		run_deferrals(w);
		turn(w, loop_deadline(w));
	}
}

/* @thread: it is the worker's own. Returns whether it ends now. */
static bool loop(struct worker *w, bool thread)
{
	bool ends;

	if (w->engine->run)
		w->engine->run(w);
	else
		turn_until_stopped(w);
	ends = thread && !atomic_load(&w->rest);
	for (;;) {
		run_deferrals(w);
		w->engine->detach(w);
		if (cease_running(w, ends))
			return ends;
		run_posts(w);
	}
}

int worker_ready(struct worker *w, struct err *err)
{
	return w->engine->attach(w, err);
}

int worker_run(struct worker *w)
{
	int rc;

	bug_on(w->running);
	rc = w->engine->attach(w, NULL);
	if (rc)
		return rc;
	begin_running(w);
	loop(w, false);
	atomic_store(&w->stop, false);
	return 0;
}

struct start {
	struct err *err;
	int rc;
	sem_t done;
};

/* One run, from worker_start() to worker_stop() or worker_rest(). False: it did not come about. */
static bool run_once(struct worker *w)
{
	struct start *s = w->start;
	bool ends;

	s->rc = w->engine->attach(w, s->err);
	if (!s->rc && !w->guarded)
		s->rc = sandbox_thread(w->kind, s->err);
	w->guarded = true;
	if (s->rc) {
		sem_post(&s->done);
		return false;
	}
	begin_running(w);
	sem_post(&s->done); /* @s is gone from here on */
	ends = loop(w, true);
	w->rests = !ends;
	sem_post(&w->rested);
	return !ends;
}

static void *run_thread(void *arg)
{
	struct worker *w = arg;

	pthread_setname_np(pthread_self(), w->name);
	w->guarded = false;
	while (run_once(w)) {
		while (sem_wait(&w->again) && errno == EINTR)
			;
		if (w->start)
			continue;
		if (w->engine->leave)
			w->engine->leave(w);
		break;
	}
	return NULL;
}

/* Signals are for the main thread; those that report a crash cannot be held back. */
int worker_thread(pthread_t *thread, void *(*fn)(void *arg), void *arg)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int rc;

	/* Smaller than a huge page, or its first touch might take one. */
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGABRT);
	sigdelset(&all, SIGSYS);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(thread, &attr, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return rc;
}

/* Has the thread run, which is there and waits, or is made. */
static int set_going(struct worker *w, struct start *s)
{
	int rc = 0;

	w->start = s;
	atomic_store(&w->rest, false);
	while (!sem_trywait(&w->rested))
		;
	if (w->resting)
		sem_post(&w->again);
	else
		rc = worker_thread(&w->thread, run_thread, w);
	w->resting = false;
	return rc;
}

int worker_start(struct worker *w, struct err *err)
{
	struct start s = {.err = err};
	int rc;

	bug_on(w->running);
	if (w->started && !w->resting)
		worker_stop(w); /* it stopped itself, and is still to be joined */
	if (w->engine->run)
		return err_set(err, ENOTSUP, "worker %s: the deterministic worker has no thread",
			       w->name);
	atomic_store(&w->stop, false);
	sem_init(&s.done, 0, 0);
	rc = set_going(w, &s);
	if (rc) {
		sem_destroy(&s.done);
		return err_sys(err, rc, "worker %s: cannot create its thread", w->name);
	}
	while (sem_wait(&s.done) && errno == EINTR)
		;
	sem_destroy(&s.done);
	w->started = !s.rc;
	if (s.rc) {
		pthread_join(w->thread, NULL);
		err_prefix(err, "worker %s", w->name);
	}
	return s.rc;
}

/* The thread ends; it may be resting. */
static void join(struct worker *w)
{
	if (w->resting) {
		w->start = NULL;
		w->resting = false;
		sem_post(&w->again);
	}
	pthread_join(w->thread, NULL);
}

void worker_stop(struct worker *w)
{
	bool started;

	atomic_store(&w->stop, true);
	w->engine->wake(w);
	if (on_worker(w))
		return;
	lock_take(&w->lock);
	started = w->started;
	w->started = false;
	lock_drop(&w->lock);
	if (started)
		join(w);
}

void worker_rest(struct worker *w)
{
	bug_on(on_worker(w));
	if (!w->started || w->resting)
		return;
	atomic_store(&w->rest, true);
	atomic_store(&w->stop, true);
	w->engine->wake(w);
	while (sem_wait(&w->rested) && errno == EINTR)
		;
	w->resting = w->rests;
	/* It had stopped itself before. */
	if (!w->resting)
		worker_stop(w);
}
