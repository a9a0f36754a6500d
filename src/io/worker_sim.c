/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The deterministic engine: what can happen next is a list, and a seed picks from it.
 *
 * An operation is tried with O_NONBLOCK set on its file for that moment, so what would block is
 * known by -EAGAIN and stays queued. Runs on whichever one thread the test uses.
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "skep/timer.h"
#include "skep/worker_sim.h"
#include "worker_engine.h"

/* io.mark: whether the operation is to fail has been decided. */
#define FATE_DRAWN 1U
#define FATE_FAIL  2U

/* A longer vector is carried out in part, as any transfer may be. */
#define IOV_TRIED 64U

struct sim {
	struct worker worker; /* first */
	uint64_t now;
	uint64_t random;
	bool ordered;
	unsigned int fail_one_in;
	int fail_errnum;
	unsigned int fail_nth; /* counts down; 0: it has failed */
	bool nth;              /* which is what was asked for */
	unsigned int shorten_one_in;
};

static struct sim *sim_of(struct worker *w)
{
	return container_of(w, struct sim, worker);
}

/* SplitMix64. */
static uint64_t draw(struct sim *s, uint64_t below)
{
	uint64_t z = s->random += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return (z ^ (z >> 31)) % below;
}

static bool draw_one_in(struct sim *s, unsigned int n)
{
	return n && draw(s, n) == 0;
}

/* The host does all that they are asked for, or has it wait. */
static bool is_eventfd(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) && fs.f_type == ANON_INODE_FS_MAGIC;
}

static bool is_nth(struct sim *s, const struct io *io)
{
	return s->fail_nth && !is_eventfd(s->worker.files[io->slot]) && !--s->fail_nth;
}

static bool fails(struct sim *s, struct io *io)
{
	if (!io->mark) {
		io->mark = FATE_DRAWN;
		if (s->nth ? is_nth(s, io) : draw_one_in(s, s->fail_one_in))
			io->mark |= FATE_FAIL;
	}
	return io->mark & FATE_FAIL;
}

/* Copies the vector to @iov, cut short if the test wants that; returns the number of entries. */
static unsigned int prepare(struct sim *s, const struct io *io, struct iovec iov[IOV_TRIED])
{
	const struct iovec *from = io->buf;
	size_t total = 0, keep;
	unsigned int n = 1;

	if (io->op == IO_OP_READ || io->op == IO_OP_WRITE) {
		iov[0] = (struct iovec){.iov_base = io->buf, .iov_len = io->len};
	} else {
		n = (unsigned int)MIN(io->len, IOV_TRIED);
		for (unsigned int i = 0; i < n; i++)
			iov[i] = from[i];
	}
	for (unsigned int i = 0; i < n; i++)
		total += iov[i].iov_len;
	if (total < 2 || !draw_one_in(s, s->shorten_one_in))
		return n;
	keep = 1 + (size_t)draw(s, total - 1);
	for (unsigned int i = 0; i < n; i++) {
		iov[i].iov_len = MIN(iov[i].iov_len, keep);
		keep -= iov[i].iov_len;
	}
	return n;
}

static int carry_out(struct sim *s, const struct io *io, int fd)
{
	struct iovec iov[IOV_TRIED];
	struct io shortened = *io;

	if (io->op > IO_OP_WRITEV || (s->shorten_one_in && is_eventfd(fd)))
		return worker_perform_nonblocking(io, fd);
	shortened.op = io->op == IO_OP_READ || io->op == IO_OP_READV ? IO_OP_READV : IO_OP_WRITEV;
	shortened.buf = iov;
	shortened.len = prepare(s, io, iov);
	return worker_perform_nonblocking(&shortened, fd);
}

/* False when it would have to wait. */
static bool try_one(struct sim *s, struct io *io)
{
	int fd = s->worker.files[io->slot];
	int result;

	if (fails(s, io))
		result = -s->fail_errnum;
	else if (fd < 0)
		result = -EBADF;
	else
		result = carry_out(s, io, fd);
	if (result == -EAGAIN || result == -EINTR)
		return false;
	io_list_remove(&s->worker.queue, io);
	worker_result(&s->worker, io, result);
	return true;
}

static unsigned int list_length(const struct io_list *l)
{
	unsigned int n = 0;

	for (const struct io *io = l->first; io; io = io->next)
		n++;
	return n;
}

static struct io *list_at(const struct io_list *l, unsigned int n)
{
	struct io *io = l->first;

	while (n--)
		io = io->next;
	return io;
}

/* Tries the queue from a random place on; the operation that could be carried out, or NULL. */
static struct io *try_queue(struct sim *s, unsigned int first)
{
	unsigned int n = list_length(&s->worker.queue);

	for (unsigned int i = 0; i < n; i++) {
		struct io *io = list_at(&s->worker.queue, (first + i) % n);

		if (try_one(s, io))
			return io;
	}
	return NULL;
}

static void run_nth_post(struct worker *w, unsigned int n)
{
	struct post **p = &w->posts, *post;

	while (n--)
		p = &(*p)->next;
	post = *p;
	*p = post->next;
	worker_run_post(w, post);
}

static unsigned int count_posts(const struct worker *w)
{
	unsigned int n = 0;

	for (const struct post *p = w->posts; p; p = p->next)
		n++;
	return n;
}

/* One of the operations, posts and results at hand, as drawn. */
static bool step_drawn(struct sim *s, unsigned int posts, unsigned int ready, unsigned int queued)
{
	struct worker *w = &s->worker;
	unsigned int pick;
	struct io *io;

	if (posts + ready + queued == 0)
		return false;
	pick = s->ordered ? 0 : (unsigned int)draw(s, posts + ready + queued);
	if (pick >= posts + ready || posts + ready == 0) {
		io = try_queue(s, pick - posts - ready);
		if (io) {
			worker_deliver(w, io);
			return true;
		}
		/* All of it would wait. */
		if (posts + ready == 0)
			return false;
		pick %= posts + ready;
	}
	if (pick < posts)
		run_nth_post(w, pick);
	else
		worker_deliver(w, list_at(&w->ready, pick - posts));
	return true;
}

bool worker_sim_step(struct worker *w)
{
	struct sim *s = sim_of(w);
	unsigned int posts, ready;

	if (w->vt && vtime_deadline(w->vt) <= clock_now())
		vtime_run(w->vt);
	worker_expire(w);
	worker_take_posts(w);
	posts = count_posts(w);
	ready = list_length(&w->ready);
	/* What is deferred comes behind all posts and results, and before an operation. */
	if (w->deferrals && posts + ready)
		return step_drawn(s, posts, ready, 0);
	if (worker_run_deferral(w))
		return true;
	if (posts + ready == 0)
		w->batch++;
	return step_drawn(s, posts, ready, list_length(&w->queue)) || worker_run_deferral(w);
}

unsigned int worker_sim_run(struct worker *w, unsigned int limit)
{
	unsigned int n = 0;

	while (n < limit && worker_sim_step(w))
		n++;
	return n;
}

void worker_sim_advance(struct worker *w, uint64_t ns)
{
	sim_of(w)->now += ns;
}

void worker_sim_fail(struct worker *w, unsigned int one_in, int errnum)
{
	sim_of(w)->fail_one_in = one_in;
	sim_of(w)->fail_errnum = errnum;
	sim_of(w)->nth = false;
}

void worker_sim_fail_nth(struct worker *w, unsigned int nth, int errnum)
{
	sim_of(w)->fail_nth = nth;
	sim_of(w)->fail_errnum = errnum;
	sim_of(w)->nth = true;
}

bool worker_sim_nth_failed(const struct worker *w)
{
	const struct sim *s = (const struct sim *)w;

	return s->nth && !s->fail_nth;
}

void worker_sim_shorten(struct worker *w, unsigned int one_in)
{
	sim_of(w)->shorten_one_in = one_in;
}

static void sim_destroy(struct worker *w)
{
	worker_fini(w);
	free(sim_of(w));
}

static int sim_attach(struct worker *w, struct err *err)
{
	(void)w;
	(void)err;
	return 0;
}

static void sim_detach(struct worker *w)
{
	(void)w;
}

static uint64_t sim_now(struct worker *w)
{
	return sim_of(w)->now;
}

/*
 * Of io_drain(). A turn that would have to wait for ever, because nothing but the
 * test could bring about what it waits for, is a fault of the test.
 */
static void sim_turn(struct worker *w, uint64_t deadline)
{
	struct sim *s = sim_of(w);
	unsigned int queued = list_length(&w->queue);

	if (deadline <= s->now)
		return;
	bug_on(!queued || !try_queue(s, s->ordered ? 0 : (unsigned int)draw(s, queued)));
}

static void sim_wake(struct worker *w)
{
	(void)w;
}

static int sim_set_file(struct worker *w, int slot, int fd)
{
	(void)w;
	(void)slot;
	return fd >= 0 && fcntl(fd, F_GETFD) < 0 ? -errno : 0;
}

static void sim_run(struct worker *w)
{
	while (!atomic_load(&w->stop) && worker_sim_step(w))
		;
}

int worker_sim_create(struct worker **w, uint64_t seed, struct err *err)
{
	static const struct worker_engine engine = {
		.name = "sim",
		.run = sim_run,
		.destroy = sim_destroy,
		.attach = sim_attach,
		.detach = sim_detach,
		.turn = sim_turn,
		.wake = sim_wake,
		.set_file = sim_set_file,
		.now = sim_now,
	};
	struct sim *s = calloc(1, sizeof(*s));

	if (!s)
		return err_sys(err, ENOMEM, "deterministic worker");
	worker_init(&s->worker, &engine, "sim");
	s->random = seed;
	s->ordered = !seed;
	*w = &s->worker;
	return 0;
}

void worker_sim_may_spin(struct worker *w, bool may)
{
	w->spins = may;
}
