/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The engine for hosts that refuse io_uring: epoll, and a few helper threads for files.
 *
 * Operations stay on worker.queue, and a turn tries those that may get on. What would block on a
 * stream (pipe, terminal, socket, eventfd) waits for the file's turn in the epoll. What would block
 * on a disk goes to a helper, which blocks in it; there are as many under way as there are helpers,
 * and the rest stays queued. So the engine keeps no list of its own, and cancelling is taking off
 * the queue; what a helper has got completes.
 *
 * A file is registered with the epoll when something first waits for it, for one event at a time:
 * an idle worker sleeps. All runs on the worker's thread, or on one thread at a time while it is at
 * rest, but for the helpers: one owns its operation between helper.go and the state HELPER_DONE.
 */
#include <fcntl.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "worker_engine.h"

/* How often a file is looked at that cannot be watched. */
#define LOOK (10 * NS_PER_MS)

#define HELPERS 4
#define EVENTS  32

/* epoll_event.data that is no file. */
#define TAG_WAKE  (UINT64_C(1) << 32)
#define TAG_TIMER (UINT64_C(2) << 32)

/* io.mark */
enum {
	MARK_TRY,   /* may get on */
	MARK_EVENT, /* waits for its file's turn, which the epoll watches */
	MARK_SLOW,  /* waits for a helper */
};

enum kind {
	KIND_STREAM,
	KIND_OLD_STREAM, /* it takes no RWF_NOWAIT */
	KIND_CACHED,     /* a disk's file, by way of the page cache */
	KIND_DISK,
};

enum helper_state {
	HELPER_FREE,
	HELPER_BUSY,
	HELPER_DONE,
};

struct helper {
	struct poller *poller;
	pthread_t thread;
	sem_t go;
	struct io *io; /* NULL: the helper ends */
	int fd;
	int result;
	int refused;      /* it has no sandbox, so it does nothing */
	atomic_int state; /* enum helper_state */
};

struct poller {
	struct worker worker; /* first */
	int epoll;
	int event;
	int timer;
	uint64_t timer_at;   /* UINT64_MAX: not armed */
	atomic_bool woken;   /* @event was written since it was last read */
	unsigned int helped; /* helpers that are not free */
	bool blocks;         /* there is a file that would block: helpers are wanted */
	bool unwatched; /* the kernel watches no more files for this user: some are looked at */
	unsigned int helpers_started;
	struct helper helpers[HELPERS];
	uint8_t kinds[WORKER_FILES_MAX];
};

static struct poller *poller_of(struct worker *w)
{
	return container_of(w, struct poller, worker);
}

static void epoll_wake(struct worker *w)
{
	struct poller *p = poller_of(w);
	uint64_t one = 1;

	if (!atomic_exchange(&p->woken, true))
		while (write(p->event, &one, sizeof(one)) < 0 && errno == EINTR)
			;
}

/* Helpers */

static void *help(void *arg)
{
	struct helper *h = arg;
	struct err err;

	pthread_setname_np(pthread_self(), h->poller->worker.name);
	h->refused = sandbox_thread(SANDBOX_HELPER, &err);
	for (;;) {
		while (sem_wait(&h->go) && errno == EINTR)
			;
		if (!h->io)
			return NULL;
		do
			h->result = h->refused ? h->refused : worker_perform(h->io, h->fd, 0);
		while (h->result == -EINTR);
		atomic_store(&h->state, HELPER_DONE);
		epoll_wake(&h->poller->worker);
	}
}

/*
 * Before anything is under way that would need them. Those that are missing are not made later: in
 * a sandbox that would be the end.
 */
static int start_helpers(struct poller *p)
{
	if (p->helpers_started)
		return 0;
	while (p->helpers_started < HELPERS) {
		struct helper *h = &p->helpers[p->helpers_started];
		int rc;

		h->poller = p;
		sem_init(&h->go, 0, 0);
		rc = worker_thread(&h->thread, help, h);
		if (rc) {
			sem_destroy(&h->go);
			/* One will do. */
			return p->helpers_started ? 0 : -rc;
		}
		p->helpers_started++;
	}
	return 0;
}

static void end_helpers(struct poller *p)
{
	for (unsigned int i = 0; i < p->helpers_started; i++) {
		struct helper *h = &p->helpers[i];

		h->io = NULL;
		sem_post(&h->go);
		pthread_join(h->thread, NULL);
		sem_destroy(&h->go);
	}
}

static void hand_over(struct poller *p, struct io *io)
{
	struct worker *w = &p->worker;

	for (unsigned int i = 0; i < p->helpers_started; i++) {
		struct helper *h = &p->helpers[i];

		if (atomic_load(&h->state) != HELPER_FREE)
			continue;
		io_list_remove(&w->queue, io);
		io->state = IO_FLIGHT;
		h->io = io;
		h->fd = w->files[io->slot];
		atomic_store(&h->state, HELPER_BUSY);
		p->helped++;
		sem_post(&h->go);
		return;
	}
}

static void take_results(struct poller *p)
{
	for (unsigned int i = 0; i < p->helpers_started && p->helped; i++) {
		struct helper *h = &p->helpers[i];

		if (atomic_load(&h->state) != HELPER_DONE)
			continue;
		worker_result(&p->worker, h->io, h->result);
		atomic_store(&h->state, HELPER_FREE);
		p->helped--;
	}
}

/* Streams */

static uint32_t events_of(const struct io *io)
{
	switch (io->op) {
	case IO_OP_POLL:
		return (uint32_t)io->how;
	case IO_OP_WRITE:
	case IO_OP_WRITEV:
		return EPOLLOUT;
	default:
		return EPOLLIN;
	}
}

/* Has the epoll report @io's file once, when any operation on it may get on. */
static void await(struct poller *p, struct io *io)
{
	struct worker *w = &p->worker;
	int fd = w->files[io->slot];
	struct epoll_event e = {.events = EPOLLONESHOT, .data.u64 = (uint64_t)fd};

	io->mark = MARK_EVENT;
	for (struct io *i = w->queue.first; i; i = i->next)
		if (i->mark == MARK_EVENT && w->files[i->slot] == fd)
			e.events |= events_of(i);
	if (!epoll_ctl(p->epoll, EPOLL_CTL_MOD, fd, &e))
		return;
	/* One that is unknown is new; one that cannot be watched, a helper waits for. */
	if (errno == ENOENT && !epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &e))
		return;
	io->mark = errno == EPERM ? MARK_SLOW : MARK_TRY;
	p->unwatched = p->unwatched || io->mark == MARK_TRY;
}

/* Operations on @fd may get on. */
static void retry(struct poller *p, int fd)
{
	struct worker *w = &p->worker;

	for (struct io *io = w->queue.first; io; io = io->next)
		if (io->mark == MARK_EVENT && w->files[io->slot] == fd)
			io->mark = MARK_TRY;
}

static int try_stream(struct poller *p, const struct io *io, int fd)
{
	uint8_t *kind = &p->kinds[io->slot];
	int result;

	if (io->op > IO_OP_WRITEV || *kind == KIND_OLD_STREAM)
		return worker_perform_nonblocking(io, fd);
	result = worker_perform(io, fd, RWF_NOWAIT);
	if (result != -EOPNOTSUPP)
		return result;
	*kind = KIND_OLD_STREAM;
	return worker_perform_nonblocking(io, fd);
}

/* Files */

static uint64_t length(const struct io *io)
{
	const struct iovec *iov = io->buf;
	uint64_t n = 0;

	if (io->op == IO_OP_READ)
		return io->len;
	for (uint64_t i = 0; i < io->len; i++)
		n += iov[i].iov_len;
	return n;
}

/* Reads what is in the page cache. Part of it is as good as nothing: a helper reads it again. */
static int try_cached(const struct io *io, int fd)
{
	int result;

	if ((io->op != IO_OP_READ && io->op != IO_OP_READV) || io->offset == IO_STREAM)
		return -EAGAIN;
	result = worker_perform(io, fd, RWF_NOWAIT);
	if (result > 0 && (uint64_t)result == length(io))
		return result;
	return -EAGAIN;
}

/* -EAGAIN when it would block. */
static int attempt(struct poller *p, const struct io *io)
{
	int fd = p->worker.files[io->slot], result;

	if (fd < 0)
		return -EBADF;
	do {
		if (worker_at_once(&p->worker, io))
			result = worker_perform(io, fd, 0);
		else if (p->kinds[io->slot] == KIND_CACHED)
			result = try_cached(io, fd);
		else if (p->kinds[io->slot] == KIND_DISK)
			return -EAGAIN;
		else
			result = try_stream(p, io, fd);
	} while (result == -EINTR);
	return result;
}

static void try_one(struct poller *p, struct io *io)
{
	struct worker *w = &p->worker;
	int result;

	if (io->mark == MARK_EVENT)
		return;
	result = io->mark == MARK_TRY ? attempt(p, io) : -EAGAIN;
	if (result != -EAGAIN) {
		io_list_remove(&w->queue, io);
		worker_result(w, io, result);
		return;
	}
	if (p->kinds[io->slot] >= KIND_CACHED)
		io->mark = MARK_SLOW;
	else if (io->mark == MARK_TRY)
		await(p, io);
	if (io->mark == MARK_SLOW)
		hand_over(p, io);
}

/* The turn */

static void try_queue(struct poller *p)
{
	struct worker *w = &p->worker;
	struct io *next;

	for (struct io *io = w->queue.first; io; io = next) {
		next = io->next;
		try_one(p, io);
	}
	/* What a helper has got cannot be taken from it. */
	while (w->cancels.first)
		io_list_pop(&w->cancels)->state = IO_CANCELLED;
}

static void set_timer(struct poller *p, uint64_t deadline)
{
	struct itimerspec at = {0};

	if (!deadline || deadline == p->timer_at)
		return;
	if (deadline != UINT64_MAX)
		at.it_value = clock_timespec(deadline);
	bug_on(timerfd_settime(p->timer, TFD_TIMER_ABSTIME, &at, NULL));
	p->timer_at = deadline;
}

static void wait(struct poller *p, uint64_t deadline)
{
	struct epoll_event events[EVENTS];
	uint64_t count;
	int n;

	set_timer(p, deadline);
	n = epoll_wait(p->epoll, events, EVENTS, deadline ? -1 : 0);
	bug_on(n < 0 && errno != EINTR);
	for (int i = 0; i < n; i++) {
		switch (events[i].data.u64) {
		case TAG_WAKE:
			if (read(p->event, &count, sizeof(count)) > 0)
				atomic_exchange(&p->woken, false);
			break;
		case TAG_TIMER:
			if (read(p->timer, &count, sizeof(count)) > 0)
				p->timer_at = UINT64_MAX;
			break;
		default:
			retry(p, (int)events[i].data.u64);
		}
	}
}

static void epoll_turn(struct worker *w, uint64_t deadline)
{
	struct poller *p = poller_of(w);

	take_results(p);
	p->unwatched = false;
	try_queue(p);
	if (p->unwatched)
		deadline = MIN(deadline, clock_now() + LOOK);
	wait(p, w->ready.first ? 0 : deadline);
	take_results(p);
}

static int epoll_attach(struct worker *w, struct err *err)
{
	struct poller *p = poller_of(w);
	int rc = p->blocks ? start_helpers(p) : 0;

	return rc ? err_sys(err, -rc, "cannot start the threads for disks") : 0;
}

static void epoll_detach(struct worker *w)
{
	struct poller *p = poller_of(w);

	take_results(p);
	while (p->helped) {
		wait(p, UINT64_MAX);
		take_results(p);
	}
}

static int epoll_set_file(struct worker *w, int slot, int fd)
{
	struct poller *p = poller_of(w);
	struct stat st;

	if (fd < 0) {
		/* Another slot may have the same file, and something waiting for it. */
		epoll_ctl(p->epoll, EPOLL_CTL_DEL, w->files[slot], NULL);
		retry(p, w->files[slot]);
		return 0;
	}
	if (fstat(fd, &st))
		return -errno;
	p->kinds[slot] = KIND_STREAM;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return 0;
	/* With O_DIRECT, RWF_NOWAIT waits for the disk all the same. */
	p->kinds[slot] = fcntl(fd, F_GETFL) & O_DIRECT ? KIND_DISK : KIND_CACHED;
	p->blocks = true;
	return w->running ? start_helpers(p) : 0;
}

static uint64_t epoll_now(struct worker *w)
{
	(void)w;
	return clock_now();
}

static void close_one(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void epoll_destroy(struct worker *w)
{
	struct poller *p = poller_of(w);

	end_helpers(p);
	close_one(p->epoll);
	close_one(p->event);
	close_one(p->timer);
	worker_fini(w);
	free(p);
}

static int watch(struct poller *p, int fd, uint64_t tag)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = tag};

	return epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &e);
}

int worker_epoll_create(struct worker **w, const char *name, struct err *err)
{
	static const struct worker_engine engine = {
		.name = "epoll",
		.destroy = epoll_destroy,
		.attach = epoll_attach,
		.detach = epoll_detach,
		.turn = epoll_turn,
		.wake = epoll_wake,
		.set_file = epoll_set_file,
		.now = epoll_now,
	};
	struct poller *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return err_sys(err, ENOMEM, "worker %s", name);
	worker_init(&p->worker, &engine, name);
	p->timer_at = UINT64_MAX;
	p->epoll = epoll_create1(EPOLL_CLOEXEC);
	p->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (p->epoll < 0 || p->event < 0 || p->timer < 0 || watch(p, p->event, TAG_WAKE) ||
	    watch(p, p->timer, TAG_TIMER)) {
		rc = err_sys(err, errno, "worker %s: cannot create its epoll", name);
		epoll_destroy(&p->worker);
		return rc;
	}
	*w = &p->worker;
	return 0;
}
