/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the deterministic worker does beyond the common suite (worker.c): orders, faults, time.
 */
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "skep/worker.h"
#include "skep/worker_sim.h"
#include "support/cm.h"

#define N 12

struct event {
	struct io io;
	struct post post;
	struct diary *diary;
	int result;
};

/* Who came when: operations 0 to N - 1, posts from N on. */
struct diary {
	struct event events[2 * N];
	unsigned int order[2 * N];
	unsigned int n;
};

static void note(struct event *e)
{
	struct diary *d = e->diary;

	assert_in_range(d->n, 0, 2 * N - 1);
	d->order[d->n++] = (unsigned int)(e - d->events);
}

static void io_came(struct io *io, int result)
{
	struct event *e = container_of(io, struct event, io);

	e->result = result;
	note(e);
}

static void post_came(struct post *post)
{
	note(container_of(post, struct event, post));
}

static void begin(struct diary *d)
{
	memset(d, 0, sizeof(*d));
	for (unsigned int i = 0; i < 2 * N; i++) {
		d->events[i].diary = d;
		d->events[i].io.done = io_came;
		d->events[i].post.fn = post_came;
	}
}

static struct worker *create(uint64_t seed)
{
	struct worker *w;

	assert_int_equal(worker_sim_create(&w, seed, NULL), 0);
	return w;
}

static int temporary_file(void)
{
	int fd = memfd_create("worker_sim", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* N writes and N posts, in the order of @seed. */
static void play(struct diary *d, uint64_t seed)
{
	struct worker *w = create(seed);
	int fd = temporary_file(), slot = worker_add_file(w, fd);

	begin(d);
	for (unsigned int i = 0; i < N; i++) {
		io_write(w, &d->events[i].io, slot, "x", 1, i);
		worker_post(w, &d->events[N + i].post);
	}
	assert_int_equal(d->n, 0);
	assert_true(worker_sim_step(w));
	assert_int_equal(d->n, 1);
	assert_int_equal(worker_sim_run(w, 5), 5);
	assert_int_equal(d->n, 6);
	assert_int_equal(worker_sim_run(w, 1000), 2 * N - 6);
	assert_false(worker_sim_step(w));
	for (unsigned int i = 0; i < N; i++)
		assert_int_equal(d->events[i].result, 1);
	close(fd);
	worker_destroy(w);
}

static void test_seed(void **state)
{
	struct diary a, b, c;

	(void)state;
	play(&a, 7);
	play(&b, 7);
	play(&c, 8);
	assert_memory_equal(a.order, b.order, sizeof(a.order));
	assert_memory_not_equal(a.order, c.order, sizeof(a.order));
}

static void test_order_of_arrival(void **state)
{
	struct diary d;

	(void)state;
	play(&d, 0);
	for (unsigned int i = 0; i < 2 * N; i++)
		assert_int_equal(d.order[i], (i + N) % (2 * N));
}

/* What would wait is passed over, and the file's flags are as they were. */
static void test_waiting(void **state)
{
	struct worker *w = create(3);
	struct diary d;
	char buf[4];
	int fds[2];

	(void)state;
	begin(&d);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	io_read(w, &d.events[0].io, worker_add_file(w, fds[0]), buf, sizeof(buf), IO_STREAM);
	assert_int_equal(worker_sim_run(w, 10), 0);
	assert_true(io_pending(&d.events[0].io));
	assert_int_equal(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(write(fds[1], "ab", 2), 2);
	assert_int_equal(worker_sim_run(w, 10), 1);
	assert_int_equal(d.events[0].result, 2);
	close(fds[0]);
	close(fds[1]);
	worker_destroy(w);
}

static void test_time(void **state)
{
	struct worker *w = create(5);
	struct diary d;

	(void)state;
	begin(&d);
	io_timeout(w, &d.events[0].io, 100);
	io_timeout(w, &d.events[1].io, 50);
	io_timeout(w, &d.events[2].io, 0);
	assert_int_equal(worker_sim_run(w, 10), 1);
	assert_int_equal(d.order[0], 2);
	worker_sim_advance(w, 49);
	assert_false(worker_sim_step(w));
	worker_sim_advance(w, 1);
	assert_true(worker_sim_step(w));
	assert_int_equal(d.order[1], 1);
	assert_int_equal(d.events[1].result, -ETIME);
	io_cancel(w, &d.events[0].io);
	assert_int_equal(worker_sim_run(w, 10), 1);
	assert_int_equal(d.events[0].result, -ECANCELED);
	worker_destroy(w);
}

static void test_fail(void **state)
{
	struct worker *w = create(9);
	int fd = temporary_file(), slot = worker_add_file(w, fd), failed = 0;
	struct diary d;

	(void)state;
	begin(&d);
	worker_sim_fail(w, 1, EIO);
	io_write(w, &d.events[0].io, slot, "x", 1, 0);
	assert_true(worker_sim_step(w));
	assert_int_equal(d.events[0].result, -EIO);
	assert_int_equal(lseek(fd, 0, SEEK_END), 0);
	worker_sim_fail(w, 2, ENOSPC);
	for (unsigned int i = 0; i < 200; i++) {
		d.n = 0;
		io_write(w, &d.events[0].io, slot, "x", 1, 0);
		assert_true(worker_sim_step(w));
		assert_true(d.events[0].result == 1 || d.events[0].result == -ENOSPC);
		failed += d.events[0].result < 0;
	}
	assert_in_range(failed, 50, 150);
	worker_sim_fail(w, 0, 0);
	io_write(w, &d.events[0].io, slot, "x", 1, 0);
	assert_true(worker_sim_step(w));
	assert_int_equal(d.events[0].result, 1);
	close(fd);
	worker_destroy(w);
}

/* Every transfer is cut short, but never to nothing, and what it says it wrote is there. */
static void test_shorten(void **state)
{
	struct worker *w = create(11);
	char a[8] = "abcdefg", b[8] = "hijklmn", got[16];
	struct iovec iov[] = {{a, 7}, {b, 7}};
	int fd = temporary_file(), slot = worker_add_file(w, fd), longest = 0;
	struct diary d;

	(void)state;
	begin(&d);
	worker_sim_shorten(w, 1);
	for (unsigned int i = 0; i < 100; i++) {
		int n;

		d.n = 0;
		assert_int_equal(ftruncate(fd, 0), 0);
		io_writev(w, &d.events[0].io, slot, iov, 2, 0);
		assert_true(worker_sim_step(w));
		n = d.events[0].result;
		assert_in_range(n, 1, 13);
		longest = MAX(longest, n);
		assert_int_equal(pread(fd, got, sizeof(got), 0), n);
		assert_memory_equal(got, "abcdefghijklmn", (size_t)n);
	}
	assert_in_range(longest, 8, 13);
	io_read(w, &d.events[0].io, slot, got, 1, 0);
	d.n = 0;
	assert_true(worker_sim_step(w));
	assert_int_equal(d.events[0].result, 1);
	close(fd);
	worker_destroy(w);
}

static void test_no_thread(void **state)
{
	struct worker *w = create(1);
	struct err err = {0};

	(void)state;
	assert_int_equal(worker_start(w, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, "no thread"));
	assert_int_equal(worker_run(w), 0);
	worker_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seed),      cmocka_unit_test(test_order_of_arrival),
		cmocka_unit_test(test_waiting),   cmocka_unit_test(test_time),
		cmocka_unit_test(test_fail),      cmocka_unit_test(test_shorten),
		cmocka_unit_test(test_no_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
