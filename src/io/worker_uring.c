/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The engine for the host: one io_uring per worker.
 *
 * The ring is made disabled, restricted to the operations and registered files of worker.h, and
 * enabled by the thread that will run it: with a single issuer, that thread alone may submit to
 * it from then on. When another thread runs the worker later, it gets a new ring. That is possible
 * at any time because the ring holds operations only while somebody turns it: detach cancels what
 * is in flight, and what had not come to pass is queued again. (It would not survive its thread
 * otherwise: the kernel ends a thread's operations with it.)
 *
 * Starting an operation only puts it on worker.queue. A turn moves the queue into the submission
 * ring, as often as it fills up, and enters the kernel once to submit the rest and wait. Wake-ups
 * from other threads are an eventfd that the ring always reads; a poster writes it only when the
 * worker has not been woken already.
 *
 * What io_uring would hand to a kernel's thread and need not (AT_ONCE_READ, AT_ONCE_WRITE), a turn
 * carries out by a system call of this thread instead.
 *
 * Needs Linux 5.19: older kernels refuse to cancel through a ring that requires registered files.
 */
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "skep/sandbox.h"
#include "worker_engine.h"

/* Registered behind the worker's own files. */
#define EVENT_SLOT WORKER_FILES_MAX

/* The most that the kernel registers as one buffer; memory is registered in pieces of it. */
#define PIECE GIB(1)

/* user_data that is no struct io. */
#define TAG_CANCEL 0
#define TAG_WAKE   1

/* io.mark: the file said -EAGAIN, so its turn is awaited before the operation is tried again. */
#define MARK_WAIT 1

/* Transfers that get a disk going which has less than BUSY. */
#define FIRST 8U
#define BUSY  (2 * FIRST)

/* The most turns without a submission, while there are results to deliver. */
#define TURNS_OUTSIDE 2

struct uring {
	struct worker worker; /* first */
	struct io_uring ring;
	bool open;
	bool enabled;
	bool stale;                    /* the ring's files are not worker.files */
	bool withdrawing;              /* what is cancelled now is queued again */
	bool reading;                  /* the eventfd is being read, into @event_count */
	pid_t owner;                   /* the thread that enabled the ring */
	unsigned int inflight;         /* operations that the kernel has, */
	unsigned int transfers;        /* and those of them that a disk has */
	bool direct[WORKER_FILES_MAX]; /* opened O_DIRECT */
	unsigned int turns_outside;    /* since the kernel was last entered */
	int event;
	uint64_t event_count;
	struct iovec *wired; /* from worker_wire() */
	unsigned int wired_count;
	atomic_bool woken; /* @event was written since it was last read */
};

static struct uring *uring_of(struct worker *w)
{
	return container_of(w, struct uring, worker);
}

/* -1 when there is none. */
static int read_sysctl(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char text[16];
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	return (int)strtol(text, NULL, 10);
}

int worker_uring_refused(int errnum, int disabled, struct err *err)
{
	struct utsname host;

	switch (errnum) {
	case EPERM:
		if (disabled == 2)
			return err_set(err, errnum,
				       "io_uring is disabled on this host "
				       "(kernel.io_uring_disabled is 2); enable it as root with "
				       "'sysctl kernel.io_uring_disabled=0'");
		if (disabled == 1)
			return err_set(err, errnum,
				       "io_uring is kept for privileged processes on this host "
				       "(kernel.io_uring_disabled is 1); as root, set it to 0 with "
				       "sysctl, or set kernel.io_uring_group to a group of yours");
		return err_set(err, errnum,
			       "io_uring is refused to this process, most likely by a container's "
			       "system call filter; run it with a seccomp profile that allows "
			       "io_uring_setup, io_uring_enter and io_uring_register");
	case ENOSYS:
		return err_set(err, errnum,
			       "this kernel has no io_uring, or a container's system call filter "
			       "hides it; use a kernel built with CONFIG_IO_URING, or a seccomp "
			       "profile that allows io_uring_setup, io_uring_enter and "
			       "io_uring_register");
	case EINVAL:
		uname(&host);
		return err_set(
			err, errnum,
			"io_uring of this kernel (Linux %s) lacks what skep needs; use Linux "
			"5.19 or newer",
			host.release);
	case ENOMEM:
		return err_set(err, errnum,
			       "io_uring is refused memory; newer kernels count 40 KiB for each "
			       "worker as locked, so raise RLIMIT_MEMLOCK ('ulimit -l')");
	default:
		return err_sys(err, errnum, "cannot set up io_uring");
	}
}

static int refused(int rc, struct err *err)
{
	return worker_uring_refused(-rc, read_sysctl("/proc/sys/kernel/io_uring_disabled"), err);
}

/*
 * The newest way that the kernel knows: 6.0, 5.19. With IORING_SETUP_DEFER_TASKRUN it would give
 * out completions 20 at a time, each time for a system call.
 */
static int setup(struct io_uring *ring, unsigned int entries, unsigned int flags)
{
	static const unsigned int ways[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
	};
	int rc = -EINVAL;

	for (unsigned int i = 0; rc == -EINVAL && i < ARRAY_SIZE(ways); i++) {
		struct io_uring_params p = {
			.flags = ways[i] | flags | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
			.cq_entries = entries * 4,
		};

		rc = io_uring_queue_init_params(entries, ring, &p);
	}
	return rc;
}

static int restrict_ring(struct io_uring *ring)
{
	static const uint8_t ops[] = {
		IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED,  IORING_OP_READ,
		IORING_OP_WRITE,      IORING_OP_READV,        IORING_OP_WRITEV,
		IORING_OP_FSYNC,      IORING_OP_FALLOCATE,    IORING_OP_POLL_ADD,
		IORING_OP_ACCEPT,     IORING_OP_ASYNC_CANCEL,
	};
	struct io_uring_restriction allow[ARRAY_SIZE(ops) + 3] = {0}, *r = allow;

	for (unsigned int i = 0; i < ARRAY_SIZE(ops); i++, r++) {
		r->opcode = IORING_RESTRICTION_SQE_OP;
		r->sqe_op = ops[i];
	}
	r->opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
	r++->sqe_flags = IOSQE_FIXED_FILE;
	r->opcode = IORING_RESTRICTION_REGISTER_OP;
	r++->register_op = IORING_REGISTER_FILES_UPDATE;
	r->opcode = IORING_RESTRICTION_REGISTER_OP;
	r->register_op = IORING_UNREGISTER_FILES;
	/* liburing 2.3 declares io_uring_register_restrictions() and enable_rings(), but its shared
	 * library does not export them. */
	return io_uring_register((unsigned int)ring->ring_fd, IORING_REGISTER_RESTRICTIONS, allow,
				 ARRAY_SIZE(allow));
}

/* A ring gives its files back some time after it was closed, unless they were taken from it: a
 * tap, or an image that is locked, would be in use until then. */
static void close_ring(struct uring *u)
{
	if (!u->open)
		return;
	if (!u->enabled || u->owner == gettid())
		io_uring_unregister_files(&u->ring);
	io_uring_queue_exit(&u->ring);
	u->open = false;
	u->enabled = false;
}

static uint64_t pieces_of(const struct iovec *range)
{
	return (range->iov_len + PIECE - 1) / PIECE;
}

static int register_memory(struct uring *u)
{
	struct iovec *pieces, *p;
	uint64_t n = 0;
	int rc;

	for (unsigned int i = 0; i < u->wired_count; i++)
		n += pieces_of(&u->wired[i]);
	if (!n)
		return 0;
	p = pieces = calloc(n, sizeof(*pieces));
	if (!pieces)
		return -ENOMEM;
	for (unsigned int i = 0; i < u->wired_count; i++) {
		const struct iovec *range = &u->wired[i];

		for (uint64_t at = 0; at < range->iov_len; at += PIECE, p++) {
			p->iov_base = (char *)range->iov_base + at;
			p->iov_len = MIN(PIECE, range->iov_len - at);
		}
	}
	rc = io_uring_register_buffers(&u->ring, pieces, (unsigned int)n);
	free(pieces);
	return rc;
}

int worker_uring_piece(const struct iovec *ranges, unsigned int n, const void *base, uint64_t len)
{
	uint64_t first = 0;

	for (unsigned int i = 0; i < n; i++) {
		const struct iovec *range = &ranges[i];
		uint64_t at = (uintptr_t)base - (uintptr_t)range->iov_base;

		if (at < range->iov_len && len && len <= range->iov_len - at &&
		    at / PIECE == (at + len - 1) / PIECE)
			return (int)(first + at / PIECE);
		first += pieces_of(range);
	}
	return -1;
}

static int open_ring(struct uring *u, struct err *err)
{
	int files[EVENT_SLOT + 1], rc;

	memcpy(files, u->worker.files, sizeof(u->worker.files));
	files[EVENT_SLOT] = u->event;
	rc = setup(&u->ring, URING_ENTRIES, IORING_SETUP_R_DISABLED);
	if (rc)
		return refused(rc, err);
	u->open = true;
	u->stale = false;
	rc = restrict_ring(&u->ring);
	if (!rc)
		rc = io_uring_register_files(&u->ring, files, ARRAY_SIZE(files));
	if (rc) {
		close_ring(u);
		return refused(rc, err);
	}
	rc = register_memory(u);
	if (!rc)
		return 0;
	close_ring(u);
	if (rc == -ENOMEM)
		return err_set(err, ENOMEM,
			       "cannot wire memory: the limit is too low, or the host is short of "
			       "it; raise RLIMIT_MEMLOCK ('ulimit -l'), for each worker once");
	return err_sys(err, -rc, "cannot wire memory");
}

/* The calling thread's from here on. */
static int enable_ring(struct uring *u, struct err *err)
{
	int rc = io_uring_register((unsigned int)u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS,
				   NULL, 0);

	if (rc)
		return refused(rc, err);
	u->enabled = true;
	u->owner = gettid();
	return 0;
}

/* Files came and went while the thread rested. */
static int renew_files(struct uring *u, struct err *err)
{
	int rc = io_uring_register_files_update(&u->ring, 0, u->worker.files, WORKER_FILES_MAX);

	if (rc < 0)
		return refused(rc, err);
	u->stale = false;
	return 0;
}

static int uring_attach(struct worker *w, struct err *err)
{
	struct uring *u = uring_of(w);
	int rc;

	if (u->enabled && u->owner == gettid())
		return u->stale ? renew_files(u, err) : 0;
	/* There are no other rings to be had, so this one stays for whom it serves. */
	if (sandbox_entered() && (!u->open || u->enabled))
		return err_set(err, EPERM, "the sandbox has no ring for another thread");
	if (u->stale || u->enabled)
		close_ring(u);
	if (!u->open) {
		rc = open_ring(u, err);
		if (rc)
			return rc;
	}
	return enable_ring(u, err);
}

/* NULL when the kernel takes nothing now: memory is short. */
static struct io_uring_sqe *next_sqe(struct uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (sqe)
		return sqe;
	io_uring_submit(&u->ring);
	return io_uring_get_sqe(&u->ring);
}

/* What every entry has; after liburing's prep function, which may clear it. */
static void seal(struct io_uring_sqe *sqe, uint64_t tag)
{
	sqe->flags = IOSQE_FIXED_FILE;
	sqe->user_data = tag;
}

/* A transfer to or from wired memory; false if @io is none. */
static bool prepare_wired(const struct uring *u, struct io_uring_sqe *sqe, const struct io *io)
{
	struct iovec one = {.iov_base = io->buf, .iov_len = io->len};
	int piece;

	if (!u->wired_count || io->op > IO_OP_WRITEV)
		return false;
	if (io->op == IO_OP_READV || io->op == IO_OP_WRITEV) {
		if (io->len != 1)
			return false;
		one = *(const struct iovec *)io->buf;
	}
	piece = worker_uring_piece(u->wired, u->wired_count, one.iov_base, one.iov_len);
	if (piece < 0)
		return false;
	if (io->op == IO_OP_READ || io->op == IO_OP_READV)
		io_uring_prep_read_fixed(sqe, io->slot, one.iov_base, (unsigned int)one.iov_len,
					 io->offset, piece);
	else
		io_uring_prep_write_fixed(sqe, io->slot, one.iov_base, (unsigned int)one.iov_len,
					  io->offset, piece);
	return true;
}

/* One iovec costs more than what is in it. */
static bool is_alone(const struct io *io)
{
	return io->len == 1 && ((const struct iovec *)io->buf)->iov_len <= UINT32_MAX;
}

static void prepare(struct io_uring_sqe *sqe, const struct io *io)
{
	const struct iovec *iov = io->buf; /* of those that have them */

	switch (io->op) {
	case IO_OP_READ:
		io_uring_prep_read(sqe, io->slot, io->buf, (unsigned int)io->len, io->offset);
		break;
	case IO_OP_WRITE:
		io_uring_prep_write(sqe, io->slot, io->buf, (unsigned int)io->len, io->offset);
		break;
	case IO_OP_READV:
		if (is_alone(io))
			io_uring_prep_read(sqe, io->slot, iov->iov_base, (unsigned int)iov->iov_len,
					   io->offset);
		else
			io_uring_prep_readv(sqe, io->slot, iov, (unsigned int)io->len, io->offset);
		break;
	case IO_OP_WRITEV:
		if (is_alone(io))
			io_uring_prep_write(sqe, io->slot, iov->iov_base,
					    (unsigned int)iov->iov_len, io->offset);
		else
			io_uring_prep_writev(sqe, io->slot, iov, (unsigned int)io->len, io->offset);
		break;
	case IO_OP_SYNC:
		io_uring_prep_fsync(sqe, io->slot, io->how ? IORING_FSYNC_DATASYNC : 0);
		break;
	case IO_OP_FALLOCATE:
		io_uring_prep_fallocate(sqe, io->slot, io->how, (off_t)io->offset, (off_t)io->len);
		break;
	case IO_OP_POLL:
		io_uring_prep_poll_add(sqe, io->slot, (unsigned int)io->how);
		break;
	case IO_OP_ACCEPT:
		io_uring_prep_accept(sqe, io->slot, NULL, NULL, SOCK_CLOEXEC);
		break;
	default:
		bug_on(true);
	}
}

static void prepare_wait(struct io_uring_sqe *sqe, const struct io *io)
{
	bool writes = io->op == IO_OP_WRITE || io->op == IO_OP_WRITEV;

	io_uring_prep_poll_add(sqe, io->slot, writes ? POLLOUT : POLLIN);
}

static void read_event(struct uring *u)
{
	struct io_uring_sqe *sqe = u->reading ? NULL : next_sqe(u);

	if (!sqe)
		return;
	io_uring_prep_read(sqe, EVENT_SLOT, &u->event_count, sizeof(u->event_count), IO_STREAM);
	seal(sqe, TAG_WAKE);
	u->reading = true;
}

/* Carries @io out on this thread if that is how its file is used best. */
static bool carry_out(struct uring *u, struct io *io)
{
	struct worker *w = &u->worker;
	int result;

	if (io->mark == MARK_WAIT || !worker_at_once(w, io))
		return false;
	do
		result = worker_perform(io, w->files[io->slot], 0);
	while (result == -EINTR);
	if (result == -EAGAIN) {
		io->mark = MARK_WAIT;
		return false;
	}
	io_list_remove(&w->queue, io);
	worker_result(w, io, result);
	return true;
}

/* It goes to the disk and back, and not to the page cache. */
static bool is_transfer(const struct uring *u, const struct io *io)
{
	return io->op <= IO_OP_WRITEV && u->direct[io->slot];
}

/*
 * The kernel hands transfers on to a disk when it has prepared all that were submitted, which takes
 * some microseconds each. A disk that has little to do gets the first few ahead of the rest.
 */
static void hand_on(struct uring *u, unsigned int added)
{
	if (added == FIRST && u->transfers < FIRST + BUSY && u->worker.queue.first)
		io_uring_submit(&u->ring);
}

/* Fills the submission ring from the lists; what does not fit stays there. */
static void fill(struct uring *u)
{
	struct worker *w = &u->worker;
	struct io_uring_sqe *sqe;
	unsigned int added = 0;
	struct io *io;

	read_event(u);
	while (w->cancels.first && (sqe = next_sqe(u))) {
		io = io_list_pop(&w->cancels);
		io->state = IO_CANCELLED;
		io_uring_prep_cancel64(sqe, (uintptr_t)io, 0);
		seal(sqe, TAG_CANCEL);
	}
	while (w->queue.first) {
		if (carry_out(u, w->queue.first))
			continue;
		sqe = next_sqe(u);
		if (!sqe)
			break;
		io = io_list_pop(&w->queue);
		io->state = IO_FLIGHT;
		if (io->mark == MARK_WAIT)
			prepare_wait(sqe, io);
		else if (!prepare_wired(u, sqe, io))
			prepare(sqe, io);
		seal(sqe, (uintptr_t)io);
		u->inflight++;
		if (!is_transfer(u, io))
			continue;
		u->transfers++;
		hand_on(u, ++added);
	}
}

/* Submits, and waits for a completion until @deadline. */
static void enter(struct uring *u, uint64_t deadline)
{
	uint64_t now = deadline && deadline != UINT64_MAX ? clock_now() : 0;
	struct io_uring_cqe *cqe;
	int rc;

	if (deadline == UINT64_MAX) {
		rc = io_uring_submit_and_wait(&u->ring, 1);
	} else if (deadline <= now) {
		rc = io_uring_sq_ready(&u->ring) ? io_uring_submit_and_get_events(&u->ring) : 0;
	} else {
		struct __kernel_timespec ts = {
			.tv_sec = (long long)((deadline - now) / NS_PER_S),
			.tv_nsec = (long long)((deadline - now) % NS_PER_S),
		};

		rc = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &ts, NULL);
	}
	/* A signal; the time is over; the kernel is short of memory, or has completions to deliver
	 * first. The next turn goes on. */
	bug_on(rc < 0 && rc != -EINTR && rc != -ETIME && rc != -EAGAIN && rc != -EBUSY);
}

/*
 * An operation comes back undone when its file would block, when its wait for that is over, when
 * detach withdrew it, and with -EINTR when the kernel's thread that blocks in it was interrupted,
 * be it by a cancellation that was meant for the operation before it on that thread.
 */
static void take_result(struct uring *u, struct io *io, int result)
{
	bool waited = io->mark == MARK_WAIT && result >= 0;
	bool withdrawn = u->withdrawing && result == -ECANCELED;
	bool cancelled = io->state != IO_FLIGHT;

	u->inflight--;
	u->transfers -= is_transfer(u, io);
	io->mark = result == -EAGAIN ? MARK_WAIT : 0;
	if (!waited && !withdrawn && result != -EAGAIN && result != -EINTR)
		worker_result(&u->worker, io, result);
	else if (cancelled)
		worker_result(&u->worker, io, -ECANCELED);
	else
		worker_requeue(&u->worker, io);
}

static void reap(struct uring *u)
{
	struct io_uring_cqe *cqe;

	while (!io_uring_peek_cqe(&u->ring, &cqe)) {
		uint64_t tag = cqe->user_data;
		int result = cqe->res;

		io_uring_cqe_seen(&u->ring, cqe);
		if (tag == TAG_CANCEL)
			continue;
		if (tag == TAG_WAKE) {
			u->reading = false;
			if (result > 0)
				atomic_exchange(&u->woken, false);
			continue;
		}
		take_result(u, (struct io *)(uintptr_t)tag, result);
	}
}

static void uring_turn(struct worker *w, uint64_t deadline)
{
	struct uring *u = uring_of(w);

	fill(u);
	if (w->ready.first || w->queue.first || w->cancels.first)
		deadline = 0;
	/* What was carried out here is delivered before the kernel is entered, as that starts more;
	 * but not for ever. reap() has the kernel deliver what it holds. */
	if (w->ready.first && u->turns_outside < TURNS_OUTSIDE) {
		u->turns_outside++;
	} else {
		u->turns_outside = 0;
		enter(u, deadline);
	}
	reap(u);
}

static void uring_detach(struct worker *w)
{
	struct uring *u = uring_of(w);
	struct io_uring_sqe *sqe;

	u->withdrawing = true;
	while (u->inflight || u->reading) {
		/* Not all can be cancelled (a disk's transfers complete), and one that is just
		 * moving between states in the kernel may be missed: so again, until none is left.
		 */
		sqe = next_sqe(u);
		if (sqe) {
			io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY);
			seal(sqe, TAG_CANCEL);
		}
		enter(u, 0);
		reap(u);
		if (u->inflight || u->reading) {
			enter(u, clock_now() + 10 * NS_PER_MS);
			reap(u);
		}
	}
	u->withdrawing = false;
}

/* No other thread could go on with the ring. */
static void uring_leave(struct worker *w)
{
	close_ring(uring_of(w));
}

static void uring_wake(struct worker *w)
{
	struct uring *u = uring_of(w);
	uint64_t one = 1;

	if (!atomic_exchange(&u->woken, true))
		while (write(u->event, &one, sizeof(one)) < 0 && errno == EINTR)
			;
}

static int uring_set_file(struct worker *w, int slot, int fd)
{
	struct uring *u = uring_of(w);
	int rc;

	u->direct[slot] = fd >= 0 && fcntl(fd, F_GETFL) & O_DIRECT;
	if (!u->open || u->stale || (u->enabled && u->owner != gettid())) {
		if (fd >= 0 && fcntl(fd, F_GETFD) < 0)
			return -errno;
		u->stale = true;
		return 0;
	}
	rc = io_uring_register_files_update(&u->ring, (unsigned int)slot, &fd, 1);
	return rc < 0 ? rc : 0;
}

static bool is_wired(const struct uring *u, const struct iovec *memory, unsigned int n)
{
	for (unsigned int i = 0; i < n && n == u->wired_count; i++)
		if (memory[i].iov_base != u->wired[i].iov_base ||
		    memory[i].iov_len != u->wired[i].iov_len)
			return false;
	return n == u->wired_count;
}

static int uring_wire(struct worker *w, const struct iovec *memory, unsigned int n, struct err *err)
{
	struct uring *u = uring_of(w);
	struct iovec *copy;
	int rc;

	/* Several that share a worker want the same. */
	if (is_wired(u, memory, n))
		return 0;
	copy = calloc(n + 1, sizeof(*copy));
	if (!copy)
		return err_sys(err, ENOMEM, "worker %s", w->name);
	for (unsigned int i = 0; i < n; i++)
		copy[i] = memory[i];
	free(u->wired);
	u->wired = copy;
	u->wired_count = n;
	/* At rest a ring holds nothing, and one that is enabled takes no more memory. */
	close_ring(u);
	rc = open_ring(u, err);
	if (rc) {
		u->wired_count = 0;
		err_prefix(err, "worker %s", w->name);
	}
	return rc;
}

/*
 * Whether the kernel leaves a read of @fd to a thread: it has no result then when it has been
 * taken. A ring of its own is asked, as the worker's may be another thread's, or not be enabled
 * yet.
 */
static bool uring_hands_on(int fd)
{
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	bool handed_on = true;
	char byte;
	int rc;

	if (setup(&ring, 1, 0))
		return true;
	sqe = io_uring_get_sqe(&ring);
	if (sqe) {
		io_uring_prep_read(sqe, fd, &byte, 1, 0);
		rc = io_uring_submit(&ring);
		handed_on = !io_uring_cq_ready(&ring);
		/* @byte is the kernel's until then. */
		while (rc == 1 && io_uring_wait_cqe(&ring, &cqe) == -EINTR)
			;
	}
	io_uring_queue_exit(&ring);
	return handed_on;
}

static uint64_t uring_now(struct worker *w)
{
	(void)w;
	return clock_now();
}

static void uring_destroy(struct worker *w)
{
	struct uring *u = uring_of(w);

	close_ring(u);
	if (u->event >= 0)
		close(u->event);
	free(u->wired);
	worker_fini(w);
	free(u);
}

int worker_uring_create(struct worker **w, const char *name, struct err *err)
{
	static const struct worker_engine engine = {
		.name = "io_uring",
		.destroy = uring_destroy,
		.attach = uring_attach,
		.detach = uring_detach,
		.leave = uring_leave,
		.turn = uring_turn,
		.wake = uring_wake,
		.set_file = uring_set_file,
		.wire = uring_wire,
		.hands_on = uring_hands_on,
		.now = uring_now,
	};
	struct uring *u = calloc(1, sizeof(*u));
	int rc;

	if (!u)
		return err_sys(err, ENOMEM, "worker %s", name);
	worker_init(&u->worker, &engine, name);
	u->worker.spins = true;
	u->event = eventfd(0, EFD_CLOEXEC);
	if (u->event < 0)
		rc = err_sys(err, errno, "cannot create an eventfd");
	else
		rc = open_ring(u, err);
	if (rc) {
		err_prefix(err, "worker %s", name);
		uring_destroy(&u->worker);
		return rc;
	}
	*w = &u->worker;
	return 0;
}

int worker_probe(struct err *err)
{
	struct worker *w;
	int rc = worker_uring_create(&w, "probe", err);

	if (rc)
		return rc;
	/* The analyzer does not know that err_sys() never returns 0. */
	rc = w->engine->attach(w, err); /* NOLINT(clang-analyzer-core.NullDereference) */
	worker_destroy(w);
	return rc;
}
