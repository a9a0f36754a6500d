/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One suite for what every engine does: on io_uring and epoll at rest (io_drain() turns it over,
 * and gives everything back), from within their loop (the kernel keeps what it has), and on the
 * deterministic worker. Then what takes threads, on io_uring and epoll.
 */
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/io/worker_engine.h"
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/timer.h"
#include "skep/worker.h"
#include "skep/worker_sim.h"
#include "support/cm.h"
#include "support/refuse.h"

struct op {
	struct io io; /* first */
	int result;
	unsigned int completions;
	sem_t *done; /* may be NULL */
};

static void record(struct io *io, int result)
{
	struct op *op = container_of(io, struct op, io);

	op->result = result;
	op->completions++;
	if (op->done)
		sem_post(op->done);
}

static struct op op_new(void)
{
	return (struct op){.io.done = record};
}

/* Skips the test where there is no io_uring. */
static struct worker *create_uring(void)
{
	struct err err = {0};
	struct worker *w;

	if (worker_probe(&err)) {
		print_message("no io_uring here: %s\n", err.text);
		skip();
	}
	if (worker_create(&w, "test", &err))
		fail_msg("%s", err.text);
	return w;
}

struct trial {
	void (*body)(struct worker *w);
	struct worker *worker;
	struct post post;
};

static void on_uring(void **state)
{
	struct trial *t = *state;
	struct worker *w = create_uring();

	t->body(w);
	worker_destroy(w);
}

static void run_body(struct post *post)
{
	struct trial *t = container_of(post, struct trial, post);

	t->body(t->worker);
	worker_stop(t->worker);
}

static void in_uring_loop(void **state)
{
	struct trial *t = *state;

	t->worker = create_uring();
	t->post.fn = run_body;
	worker_post(t->worker, &t->post);
	assert_int_equal(worker_run(t->worker), 0);
	worker_destroy(t->worker);
}

static struct worker *create_epoll(void)
{
	struct err err = {0};
	struct worker *w;

	if (worker_epoll_create(&w, "test", &err))
		fail_msg("%s", err.text);
	return w;
}

static void on_epoll(void **state)
{
	struct trial *t = *state;
	struct worker *w = create_epoll();

	t->body(w);
	worker_destroy(w);
}

static void in_epoll_loop(void **state)
{
	struct trial *t = *state;

	t->worker = create_epoll();
	t->post.fn = run_body;
	worker_post(t->worker, &t->post);
	assert_int_equal(worker_run(t->worker), 0);
	worker_destroy(t->worker);
}

static void on_sim(void **state)
{
	struct trial *t = *state;
	struct worker *w;

	assert_int_equal(worker_sim_create(&w, 42, NULL), 0);
	t->body(w);
	worker_destroy(w);
}

static int add(struct worker *w, int fd)
{
	int slot = worker_add_file(w, fd);

	assert_in_range(slot, 0, WORKER_FILES_MAX - 1);
	return slot;
}

static int finish(struct worker *w, struct op *op)
{
	io_drain(w, &op->io);
	assert_int_equal(op->completions, 1);
	op->completions = 0;
	return op->result;
}

static int cancel(struct worker *w, struct op *op)
{
	io_cancel(w, &op->io);
	return finish(w, op);
}

static int temporary_file(void)
{
	int fd = memfd_create("worker", MFD_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* On whatever the test runs on; most often a disk, which engines use in other ways than memory. */
static int disk_file(void)
{
	char path[] = "worker.XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	assert_true(fd >= 0);
	unlink(path);
	return fd;
}

static void make_pipe(int fds[2])
{
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
}

static void close_pipe(int fds[2])
{
	close(fds[0]);
	close(fds[1]);
}

static void check_file(struct worker *w, int fd)
{
	struct op op = op_new();
	int slot = add(w, fd);
	char buf[16] = {0};

	io_write(w, &op.io, slot, "hello", 5, 100);
	assert_true(io_pending(&op.io));
	assert_int_equal(op.completions, 0);
	assert_int_equal(finish(w, &op), 5);
	assert_false(io_pending(&op.io));
	io_read(w, &op.io, slot, buf, sizeof(buf), 102);
	assert_int_equal(finish(w, &op), 3);
	assert_string_equal(buf, "llo");
	io_read(w, &op.io, slot, buf, sizeof(buf), 105);
	assert_int_equal(finish(w, &op), 0);
	io_sync(w, &op.io, slot, true);
	assert_int_equal(finish(w, &op), 0);
	io_sync(w, &op.io, slot, false);
	assert_int_equal(finish(w, &op), 0);
	close(fd);
}

static void test_file(struct worker *w)
{
	check_file(w, temporary_file());
	check_file(w, disk_file());
}

static void test_event(struct worker *w)
{
	int plain = eventfd(0, EFD_CLOEXEC), full = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int plain_slot = add(w, plain), full_slot = add(w, full);
	uint64_t one = 1, most = UINT64_MAX - 1, count = 0;
	struct op reading = op_new(), op = op_new();

	assert_int_equal(w->at_once[plain_slot], AT_ONCE_WRITE);
	io_read(w, &reading.io, plain_slot, &count, sizeof(count), IO_STREAM);
	io_write(w, &op.io, full_slot, &most, sizeof(most), IO_STREAM);
	assert_int_equal(finish(w, &op), sizeof(most));
	assert_true(io_pending(&reading.io));
	io_write(w, &op.io, plain_slot, &one, sizeof(one), IO_STREAM);
	assert_int_equal(finish(w, &op), sizeof(one));
	assert_int_equal(finish(w, &reading), sizeof(count));
	assert_int_equal(count, 1);
	/* One that has no room waits for it. */
	io_write(w, &op.io, full_slot, &one, sizeof(one), IO_STREAM);
	io_write(w, &reading.io, plain_slot, &one, sizeof(one), IO_STREAM);
	assert_int_equal(finish(w, &reading), sizeof(one));
	assert_true(io_pending(&op.io));
	assert_int_equal(read(full, &count, sizeof(count)), sizeof(count));
	assert_int_equal(finish(w, &op), sizeof(one));
	close(plain);
	close(full);
}

static void test_stream_position(struct worker *w)
{
	int fd = temporary_file(), slot = add(w, fd);
	struct op op = op_new();

	for (int i = 0; i < 3; i++) {
		io_write(w, &op.io, slot, "abc", 3, IO_STREAM);
		assert_int_equal(finish(w, &op), 3);
	}
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 9);
	close(fd);
}

static void test_vectors(struct worker *w)
{
	int fd = temporary_file(), slot = add(w, fd);
	char a[4] = "abc", b[8] = "defghij", c[16] = {0};
	struct iovec iov[] = {{a, 3}, {b, 7}, {NULL, 0}};
	struct op op = op_new();

	io_writev(w, &op.io, slot, iov, 3, 0);
	assert_int_equal(finish(w, &op), 10);
	iov[0] = (struct iovec){c, 2};
	iov[1] = (struct iovec){c + 8, 4};
	io_readv(w, &op.io, slot, iov, 2, 1);
	assert_int_equal(finish(w, &op), 6);
	assert_memory_equal(c, "bc", 2);
	assert_memory_equal(c + 8, "defg", 4);
	close(fd);
}

static void test_errors(struct worker *w)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), slot = add(w, fd);
	struct op op = op_new();

	io_write(w, &op.io, slot, "x", 1, 0);
	assert_int_equal(finish(w, &op), -EBADF);
	worker_remove_file(w, slot);
	close(fd);
}

static uint64_t allocated(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void test_fallocate(struct worker *w)
{
	int fd = temporary_file(), slot = add(w, fd);
	static char buf[1 << 16];
	struct op op = op_new();

	memset(buf, 'x', sizeof(buf));
	assert_int_equal(pwrite(fd, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(allocated(fd), sizeof(buf));
	io_fallocate(w, &op.io, slot, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192);
	assert_int_equal(finish(w, &op), 0);
	assert_int_equal(allocated(fd), sizeof(buf) - 8192);
	io_fallocate(w, &op.io, slot, 0, 0, sizeof(buf));
	assert_int_equal(finish(w, &op), 0);
	assert_int_equal(allocated(fd), sizeof(buf));
	/* Larger than 32 bits can say. */
	io_fallocate(w, &op.io, slot, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096,
		     UINT64_C(1) << 40);
	assert_int_equal(finish(w, &op), 0);
	assert_int_equal(allocated(fd), 4096);
	io_fallocate(w, &op.io, slot, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 0);
	assert_int_equal(finish(w, &op), -EINVAL);
	close(fd);
}

#define WIRED 16384

/* Transfers within wired memory, across its bounds and beside it. */
static void test_wired(struct worker *w)
{
	char *memory =
		mmap(NULL, 2 * WIRED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec wired[] = {{memory, WIRED / 2}, {memory + WIRED / 2, WIRED / 2}}, iov;
	int fd = disk_file(), slot = add(w, fd);
	struct op op = op_new();
	struct err err = {0};

	assert_true(memory != MAP_FAILED);
	if (worker_wire(w, wired, ARRAY_SIZE(wired), &err))
		fail_msg("%s", err.text);
	for (unsigned int i = 0; i < WIRED; i++)
		memory[i] = (char)(i % 251);
	for (unsigned int at = 0; at < 2 * WIRED; at += 2048) {
		unsigned int n = MIN(4096U, 2 * WIRED - at);

		io_write(w, &op.io, slot, memory + at, n, at);
		assert_int_equal(finish(w, &op), n);
	}
	memset(memory, 0, WIRED);
	iov = (struct iovec){memory + 1000, 3000};
	io_readv(w, &op.io, slot, &iov, 1, 1000);
	assert_int_equal(finish(w, &op), 3000);
	io_read(w, &op.io, slot, memory + WIRED / 2 - 512, 1024, WIRED / 2 - 512);
	assert_int_equal(finish(w, &op), 1024);
	iov = (struct iovec){memory + WIRED, WIRED};
	io_readv(w, &op.io, slot, &iov, 1, 0);
	assert_int_equal(finish(w, &op), WIRED);
	for (unsigned int i = 0; i < WIRED; i++) {
		bool read =
			(i >= 1000 && i < 4000) || (i >= WIRED / 2 - 512 && i < WIRED / 2 + 512);

		assert_int_equal(memory[i], read ? (char)(i % 251) : 0);
		assert_int_equal(memory[WIRED + i], (char)(i % 251));
	}
	/* The same again changes nothing. */
	assert_int_equal(worker_wire(w, wired, ARRAY_SIZE(wired), &err), 0);
	io_read(w, &op.io, slot, memory, 16, 16);
	assert_int_equal(finish(w, &op), 16);
	assert_int_equal(memory[0], 16);
	/* None any more. */
	assert_int_equal(worker_wire(w, NULL, 0, &err), 0);
	munmap(memory, WIRED);
	io_read(w, &op.io, slot, memory + WIRED, 16, 0);
	assert_int_equal(finish(w, &op), 16);
	munmap(memory + WIRED, WIRED);
	close(fd);
}

/* With io_uring they go to the pages that were there when it was wired, one iovec's as well. */
static void test_wired_is_fixed(struct worker *w)
{
	char *memory =
		mmap(NULL, WIRED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec range = {memory, WIRED}, one = {memory + 4096, 16};
	int fd = disk_file(), slot = add(w, fd);
	struct op op = op_new();
	struct err err = {0};

	assert_true(memory != MAP_FAILED);
	if (w->at_once[slot]) {
		print_message("files in memory are not read by io_uring\n");
		munmap(memory, WIRED);
		close(fd);
		return;
	}
	if (worker_wire(w, &range, 1, &err))
		fail_msg("%s", err.text);
	io_write(w, &op.io, slot, "abcdefghijklmnop", 16, 0);
	assert_int_equal(finish(w, &op), 16);
	assert_int_equal(madvise(memory, WIRED, MADV_DONTNEED), 0);
	io_read(w, &op.io, slot, memory, 16, 0);
	assert_int_equal(finish(w, &op), 16);
	io_readv(w, &op.io, slot, &one, 1, 0);
	assert_int_equal(finish(w, &op), 16);
	assert_int_equal(memory[0], 0);
	assert_int_equal(memory[4096], 0);
	assert_int_equal(worker_wire(w, NULL, 0, &err), 0);
	io_read(w, &op.io, slot, memory, 16, 0);
	assert_int_equal(finish(w, &op), 16);
	assert_int_equal(memory[0], 'a');
	munmap(memory, WIRED);
	close(fd);
}

static void *at(uint64_t address)
{
	return (void *)(uintptr_t)address; /* NOLINT(performance-no-int-to-ptr) */
}

static void test_pieces(void **state)
{
	const struct iovec r[] = {{at(GIB(4)), GIB(2) + 4096}, {at(GIB(16)), GIB(1)}};

	(void)state;
	assert_int_equal(worker_uring_piece(r, 0, at(GIB(4)), 1), -1);
	assert_int_equal(worker_uring_piece(r, 2, at(GIB(4)), 1), 0);
	assert_int_equal(worker_uring_piece(r, 2, at(GIB(4)), 0), -1);
	assert_int_equal(worker_uring_piece(r, 2, at(GIB(4) - 1), 2), -1);
	assert_int_equal(worker_uring_piece(r, 2, at(GIB(5) - 1), 1), 0);
	assert_int_equal(worker_uring_piece(r, 2, at(GIB(5) - 1), 2), -1);
	assert_int_equal(worker_uring_piece(r, 2, at(GIB(5)), GIB(1)), 1);
	assert_int_equal(worker_uring_piece(r, 2, at(GIB(6)), 4096), 2);
	assert_int_equal(worker_uring_piece(r, 2, at(GIB(6)), 4097), -1);
	assert_int_equal(worker_uring_piece(r, 2, at(GIB(16)), GIB(1)), 3);
	assert_int_equal(worker_uring_piece(r, 2, at(GIB(16)), GIB(1) + 1), -1);
	assert_int_equal(worker_uring_piece(r, 2, at(GIB(17)), 1), -1);
	assert_int_equal(worker_uring_piece(r, 2, at(GIB(16)), UINT64_MAX), -1);
}

/* A process that may not wire memory, without the privilege to do so anyway. */
static void wire_without_limit(void)
{
	static char memory[1 << 20] __attribute__((aligned(4096)));
	struct iovec range = {memory, sizeof(memory)};
	/* Newer kernels count rings as well. */
	struct rlimit limit = {sizeof(memory) / 2, sizeof(memory) / 2};
	struct err err = {0};
	struct op op = op_new();
	struct worker *w;
	int fd = temporary_file();

	if (setrlimit(RLIMIT_MEMLOCK, &limit) || (!getuid() && setresuid(65534, 65534, 65534)))
		_exit(2);
	if (worker_create(&w, "limited", &err))
		_exit(3);
	if (strcmp(worker_engine_name(w), "epoll") == 0)
		_exit(77);
	if (worker_wire(w, &range, 1, &err) != -ENOMEM || !strstr(err.text, "RLIMIT_MEMLOCK"))
		_exit(4);
	/* It works without. */
	io_write(w, &op.io, add(w, fd), memory, 10, 0);
	if (finish(w, &op) != 10)
		_exit(5);
	worker_destroy(w);
	limit.rlim_cur = limit.rlim_max = 0;
	if (setrlimit(RLIMIT_MEMLOCK, &limit) || worker_create(&w, "limited", &err))
		_exit(6);
	worker_destroy(w);
	_exit(0);
}

static void test_wire_limit(void **state)
{
	pid_t pid = fork();
	int status;

	(void)state;
	assert_true(pid >= 0);
	if (!pid)
		wire_without_limit();
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77) {
		print_message("no io_uring within the limit\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_poll(struct worker *w)
{
	struct op in = op_new(), out = op_new();
	int fds[2], r, wr;

	make_pipe(fds);
	r = add(w, fds[0]);
	wr = add(w, fds[1]);
	io_poll(w, &in.io, r, POLLIN);
	io_poll(w, &out.io, wr, POLLOUT);
	assert_int_equal(finish(w, &out), POLLOUT);
	assert_true(io_pending(&in.io));
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(finish(w, &in), POLLIN);
	close_pipe(fds);
}

static void test_accept(struct worker *w)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	struct op op = op_new();
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), c, fd;
	socklen_t len = sizeof(at);

	/* An address that the kernel picks in the abstract name space. */
	assert_int_equal(bind(s, (struct sockaddr *)&at, sizeof(sa_family_t)), 0);
	assert_int_equal(listen(s, 1), 0);
	assert_int_equal(getsockname(s, (struct sockaddr *)&at, &len), 0);
	io_accept(w, &op.io, add(w, s));
	c = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(c, (struct sockaddr *)&at, len), 0);
	fd = finish(w, &op);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	close(c);
	close(s);
}

static void test_timeout(struct worker *w)
{
	struct op first = op_new(), second = op_new(), never = op_new();
	uint64_t now = w->engine->now(w);

	io_timeout(w, &never.io, UINT64_MAX - 1);
	io_timeout(w, &second.io, now + 2 * NS_PER_MS);
	io_timeout(w, &first.io, now + NS_PER_MS);
	if (w->engine->run)
		worker_sim_advance(w, 2 * NS_PER_MS);
	io_drain(w, &second.io);
	assert_int_equal(first.completions, 1);
	assert_int_equal(finish(w, &first), -ETIME);
	assert_int_equal(finish(w, &second), -ETIME);
	assert_int_equal(cancel(w, &never), -ECANCELED);
}

static void test_cancel(struct worker *w)
{
	struct op waiting = op_new(), other = op_new();
	int fds[2], slot;
	char buf[8];

	make_pipe(fds);
	slot = add(w, fds[0]);
	/* Before anything was started. */
	io_cancel(w, &waiting.io);
	assert_int_equal(waiting.completions, 0);
	/* Before the engine saw it. */
	io_read(w, &waiting.io, slot, buf, sizeof(buf), IO_STREAM);
	io_cancel(w, &waiting.io);
	assert_int_equal(waiting.completions, 0);
	assert_int_equal(finish(w, &waiting), -ECANCELED);
	/* After the engine saw it. */
	io_read(w, &waiting.io, slot, buf, sizeof(buf), IO_STREAM);
	io_poll(w, &other.io, add(w, fds[1]), POLLOUT);
	assert_int_equal(finish(w, &other), POLLOUT);
	io_cancel(w, &waiting.io);
	io_cancel(w, &waiting.io);
	assert_int_equal(finish(w, &waiting), -ECANCELED);
	/* Nothing was lost. */
	assert_int_equal(write(fds[1], "data", 4), 4);
	io_read(w, &waiting.io, slot, buf, sizeof(buf), IO_STREAM);
	assert_int_equal(finish(w, &waiting), 4);
	close_pipe(fds);
}

#define MANY 2500

/* Many times the submission ring, and more than twice the completion ring. */
static void check_many(struct worker *w, int fd)
{
	struct op *ops = calloc(MANY, sizeof(*ops));
	int slot = add(w, fd), fds[2];
	uint32_t in[MANY], out[MANY];

	assert_non_null(ops);
	make_pipe(fds);
	for (unsigned int i = 0; i < MANY; i++) {
		in[i] = i * 7;
		ops[i] = op_new();
		io_write(w, &ops[i].io, slot, &in[i], sizeof(in[i]), i * sizeof(in[i]));
	}
	for (unsigned int i = 0; i < MANY; i++)
		assert_int_equal(finish(w, &ops[i]), sizeof(in[i]));
	assert_int_equal(pread(fd, out, sizeof(out), 0), sizeof(out));
	assert_memory_equal(in, out, sizeof(out));
	/* All wait, and one event completes them all at once. */
	slot = add(w, fds[0]);
	for (unsigned int i = 0; i < MANY; i++)
		io_poll(w, &ops[i].io, slot, POLLIN);
	assert_int_equal(cancel(w, &ops[MANY - 1]), -ECANCELED);
	assert_int_equal(write(fds[1], "x", 1), 1);
	for (unsigned int i = 0; i < MANY - 1; i++)
		assert_int_equal(finish(w, &ops[i]), POLLIN);
	/* So many cancelled, some of which the engine has. */
	assert_int_equal(read(fds[0], out, 1), 1);
	for (unsigned int i = 0; i < MANY; i++)
		io_poll(w, &ops[i].io, slot, POLLIN);
	assert_int_equal(cancel(w, &ops[0]), -ECANCELED);
	for (unsigned int i = 1; i < MANY; i++)
		io_cancel(w, &ops[i].io);
	for (unsigned int i = 1; i < MANY; i++)
		assert_int_equal(finish(w, &ops[i]), -ECANCELED);
	free(ops);
	close(fd);
	close_pipe(fds);
}

static void test_many(struct worker *w)
{
	check_many(w, temporary_file());
	check_many(w, disk_file());
}

static bool has_room(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};

	return poll(&p, 1, ms) > 0;
}

static void fill_up(int fd)
{
	static const char zeroes[4096];
	int flags = fcntl(fd, F_GETFL);

	assert_int_equal(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
	do {
		while (write(fd, zeroes, sizeof(zeroes)) > 0)
			;
		while (write(fd, zeroes, 1) > 0)
			;
		assert_int_equal(errno, EAGAIN);
		/* The kernel moves what is in a terminal on behind our back, for a while. */
	} while (has_room(fd, 100));
	assert_int_equal(fcntl(fd, F_SETFL, flags), 0);
}

/* A write that must wait lets others go on, is cancelled, and goes on when there is room. */
static void check_full(struct worker *w, int in, int out)
{
	struct op full = op_new(), other = op_new();
	int fd = temporary_file(), slot = add(w, in), sink = add(w, out);
	char buf[4096];

	fill_up(in);
	io_write(w, &full.io, slot, "x", 1, IO_STREAM);
	io_write(w, &other.io, add(w, fd), "y", 1, 0);
	assert_int_equal(finish(w, &other), 1);
	assert_true(io_pending(&full.io));
	assert_int_equal(cancel(w, &full), -ECANCELED);
	io_write(w, &full.io, slot, "x", 1, IO_STREAM);
	while (io_pending(&full.io)) {
		io_read(w, &other.io, sink, buf, sizeof(buf), IO_STREAM);
		assert_in_range(finish(w, &other), 1, sizeof(buf));
	}
	assert_int_equal(finish(w, &full), 1);
	close(fd);
}

static void test_full_pipe(struct worker *w)
{
	int fds[2];

	make_pipe(fds);
	check_full(w, fds[1], fds[0]);
	close_pipe(fds);
}

/* Somebody else may have set O_NONBLOCK on what we share with them. */
static void test_nonblocking_pipe(struct worker *w)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	check_full(w, fds[1], fds[0]);
	close_pipe(fds);
}

static void open_terminal(int *master, int *slave, int flags)
{
	*master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | flags);
	assert_true(*master >= 0);
	assert_int_equal(grantpt(*master), 0);
	assert_int_equal(unlockpt(*master), 0);
	*slave = open(ptsname(*master), O_RDWR | O_NOCTTY | O_CLOEXEC | flags);
	assert_true(*slave >= 0);
}

static void check_terminal(struct worker *w, int flags)
{
	struct op op = op_new(), other = op_new();
	int master, slave, fd = temporary_file(), slot;
	char buf[16];

	open_terminal(&master, &slave, flags);
	slot = add(w, slave);
	io_read(w, &op.io, slot, buf, sizeof(buf), IO_STREAM);
	io_write(w, &other.io, add(w, fd), "y", 1, 0);
	assert_int_equal(finish(w, &other), 1);
	assert_true(io_pending(&op.io));
	assert_int_equal(write(master, "line\n", 5), 5);
	assert_int_equal(finish(w, &op), 5);
	assert_memory_equal(buf, "line\n", 5);
	io_read(w, &op.io, slot, buf, sizeof(buf), IO_STREAM);
	io_write(w, &other.io, slot, "z", 1, IO_STREAM);
	assert_int_equal(finish(w, &other), 1);
	assert_int_equal(cancel(w, &op), -ECANCELED);
	worker_remove_file(w, slot);
	close(slave);
	close(master);
	close(fd);
}

static void test_terminal(struct worker *w)
{
	check_terminal(w, 0);
	check_terminal(w, O_NONBLOCK);
}

static void check_full_terminal(struct worker *w, int flags)
{
	int master, slave;

	open_terminal(&master, &slave, flags);
	check_full(w, slave, master);
	close(slave);
	close(master);
}

static void test_full_terminal(struct worker *w)
{
	check_full_terminal(w, 0);
	check_full_terminal(w, O_NONBLOCK);
}

static void test_slots(struct worker *w)
{
	int fd = temporary_file(), slots[WORKER_FILES_MAX];
	struct op op = op_new();

	assert_int_equal(worker_add_file(w, -1), -EBADF);
	assert_int_equal(worker_add_file(w, 100000), -EBADF);
	for (unsigned int i = 0; i < WORKER_FILES_MAX; i++)
		slots[i] = add(w, fd);
	assert_int_equal(worker_add_file(w, fd), -ENFILE);
	/* Also once the ring has been used. */
	io_write(w, &op.io, slots[WORKER_FILES_MAX - 1], "x", 1, 0);
	assert_int_equal(finish(w, &op), 1);
	assert_int_equal(worker_add_file(w, fd), -ENFILE);
	worker_remove_file(w, slots[17]);
	io_write(w, &op.io, slots[17], "x", 1, 0);
	assert_int_equal(finish(w, &op), -EBADF);
	assert_int_equal(worker_add_file(w, 100000), -EBADF);
	assert_int_equal(worker_add_file(w, fd), slots[17]);
	io_write(w, &op.io, slots[17], "x", 1, 0);
	assert_int_equal(finish(w, &op), 1);
	close(fd);
}

struct chain {
	struct io io;
	struct worker *worker;
	struct op *nested; /* cancelled and drained by the first completion */
	int slot;
	int left;
	bool inside;
};

static void next_link(struct io *io, int result)
{
	struct chain *c = container_of(io, struct chain, io);

	assert_int_equal(result, 1);
	assert_false(c->inside);
	c->inside = true;
	if (c->nested)
		assert_int_equal(cancel(c->worker, c->nested), -ECANCELED);
	c->nested = NULL;
	if (--c->left)
		io_write(c->worker, &c->io, c->slot, "x", 1, IO_STREAM);
	c->inside = false;
}

/* A completion starts its operation again, and drains another. */
static void test_restart_in_completion(struct worker *w)
{
	int fd = temporary_file(), fds[2];
	struct chain c = {.io.done = next_link, .worker = w, .slot = add(w, fd), .left = 5};
	struct op waiting = op_new();
	char byte;

	make_pipe(fds);
	io_read(w, &waiting.io, add(w, fds[0]), &byte, 1, IO_STREAM);
	c.nested = &waiting;
	io_write(w, &c.io, c.slot, "x", 1, IO_STREAM);
	io_drain(w, &c.io);
	assert_int_equal(c.left, 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), 5);
	close(fd);
	close_pipe(fds);
}

struct stream {
	struct io io;
	struct worker *worker;
	struct op *other;
	unsigned int rounds;
	int slot;
};

static void stream_on(struct io *io, int result)
{
	struct stream *s = container_of(io, struct stream, io);

	assert_int_equal(result, 1);
	assert_in_range(++s->rounds, 1, 100000);
	if (io_pending(&s->other->io))
		io_write(s->worker, io, s->slot, "x", 1, 0);
}

/* Whoever has a transfer ready in each turn does not keep others from theirs. */
static void test_fairness(struct worker *w)
{
	int fd = temporary_file(), fds[2];
	struct op op = op_new();
	struct stream s = {.io.done = stream_on, .worker = w, .other = &op, .slot = add(w, fd)};
	char byte;

	make_pipe(fds);
	assert_int_equal(write(fds[1], "y", 1), 1);
	io_read(w, &op.io, add(w, fds[0]), &byte, 1, IO_STREAM);
	io_write(w, &s.io, s.slot, "x", 1, 0);
	assert_int_equal(finish(w, &op), 1);
	io_drain(w, &s.io);
	close(fd);
	close_pipe(fds);
}

struct counter {
	struct post post;
	struct worker *worker;
	unsigned int runs;
	unsigned int again; /* posts itself so often */
	bool stop;          /* the last run stops the worker */
};

static void count(struct post *post)
{
	struct counter *c = container_of(post, struct counter, post);

	c->runs++;
	if (c->again) {
		c->again--;
		worker_post(c->worker, post);
	} else if (c->stop) {
		worker_stop(c->worker);
	}
}

static void test_posts(struct worker *w)
{
	struct counter a = {.post.fn = count, .worker = w, .again = 3};
	struct counter b = {.post.fn = count, .worker = w};
	struct counter last = {.post.fn = count, .worker = w, .again = 10, .stop = true};

	worker_post(w, &a.post);
	worker_post(w, &b.post);
	worker_post(w, &b.post);
	worker_post(w, &last.post);
	assert_int_equal(a.runs + b.runs, 0);
	worker_unpost(w, &b.post);
	worker_unpost(w, &b.post);
	assert_int_equal(worker_run(w), 0);
	assert_int_equal(a.runs, 4);
	assert_int_equal(b.runs, 0);
	assert_int_equal(last.runs, 11);
	/* It is as new. */
	worker_post(w, &b.post);
	worker_post(w, &last.post);
	assert_int_equal(worker_run(w), 0);
	assert_int_equal(b.runs, 1);
	/* Nobody runs this one any more. */
	worker_post(w, &b.post);
}

static void test_stop_early(struct worker *w)
{
	worker_stop(w);
	assert_int_equal(worker_run(w), 0);
}

static void increment(void *arg)
{
	++*(unsigned int *)arg;
}

static void test_call_at_rest(struct worker *w)
{
	unsigned int n = 0;

	worker_call(w, increment, &n);
	assert_int_equal(n, 1);
	worker_destroy(NULL);
}

#define BATCH 8

struct batch_post {
	struct post post; /* first */
	struct batch *batch;
};

/* Posts and a completion defer @flush, which runs once for all that are at hand. */
struct batch {
	struct worker *worker;
	struct batch_post posts[BATCH];
	struct deferral flush, chained, again, never;
	struct io io;
	unsigned int seen; /* since the last flush */
	unsigned int flushes;
	unsigned int chains;
	unsigned int agains;
	int slot;
};

static void batch_post(struct post *post)
{
	struct batch *b = container_of(post, struct batch_post, post)->batch;

	b->seen++;
	worker_defer(b->worker, &b->flush);
	worker_defer(b->worker, &b->flush);
}

static void batch_flush(struct deferral *d)
{
	struct batch *b = container_of(d, struct batch, flush);

	assert_int_equal(b->seen, b->flushes ? 1 : BATCH);
	b->seen = 0;
	if (b->flushes++) {
		worker_stop(b->worker);
		return;
	}
	worker_defer(b->worker, &b->again);
	worker_defer(b->worker, &b->never);
	worker_defer(b->worker, &b->chained);
	worker_undefer(b->worker, &b->never);
	io_write(b->worker, &b->io, b->slot, "x", 1, IO_STREAM);
}

/* In the batch of the one that deferred it, and before the kernel has the operation. */
static void batch_chained(struct deferral *d)
{
	struct batch *b = container_of(d, struct batch, chained);

	assert_true(io_pending(&b->io));
	assert_int_equal(lseek(b->worker->files[b->slot], 0, SEEK_CUR), 0);
	b->chains++;
}

/* Each run is a batch of its own, and others get on. */
static void batch_again(struct deferral *d)
{
	struct batch *b = container_of(d, struct batch, again);

	b->agains++;
	worker_defer(b->worker, d);
}

static void batch_never(struct deferral *d)
{
	(void)d;
	fail_msg("it was taken back");
}

static void batch_written(struct io *io, int result)
{
	struct batch *b = container_of(io, struct batch, io);

	assert_int_equal(result, 1);
	b->seen++;
	worker_defer(b->worker, &b->flush);
}

static void test_deferrals(struct worker *w)
{
	struct batch b = {.worker = w, .io.done = batch_written};
	struct op op = op_new();
	int fd = temporary_file();

	b.slot = add(w, fd);
	b.flush.fn = batch_flush;
	b.chained.fn = batch_chained;
	b.again.fn = batch_again;
	b.never.fn = batch_never;
	for (unsigned int i = 0; i < BATCH; i++) {
		b.posts[i] = (struct batch_post){.post.fn = batch_post, .batch = &b};
		worker_post(w, &b.posts[i].post);
	}
	/* Draining leaves them alone. */
	worker_defer(w, &b.never);
	io_sync(w, &op.io, b.slot, true);
	assert_int_equal(finish(w, &op), 0);
	worker_undefer(w, &b.never);
	worker_undefer(w, &b.never);
	assert_int_equal(worker_run(w), 0);
	assert_int_equal(b.flushes, 2);
	assert_int_equal(b.chains, 1);
	assert_true(b.agains >= 1);
	worker_undefer(w, &b.again);
	close(fd);
}

static void batch_ignored(struct io *io, int result)
{
	(void)io;
	assert_int_equal(result, 1);
}

static void stop_and_defer(struct post *post)
{
	struct batch *b = container_of(post, struct batch_post, post)->batch;

	worker_stop(b->worker);
	worker_defer(b->worker, &b->again);
	worker_defer(b->worker, &b->chained);
	io_write(b->worker, &b->io, b->slot, "x", 1, IO_STREAM);
}

/* A worker that stops runs what is deferred, once; and what is deferred at rest waits. */
static void test_deferrals_at_stop(struct worker *w)
{
	struct batch b = {.worker = w, .io.done = batch_ignored};
	int fd = temporary_file();
	unsigned int agains;

	b.slot = add(w, fd);
	b.chained.fn = batch_chained;
	b.again.fn = batch_again;
	b.posts[0] = (struct batch_post){.post.fn = stop_and_defer, .batch = &b};
	worker_post(w, &b.posts[0].post);
	assert_int_equal(worker_run(w), 0);
	assert_int_equal(b.chains, 1);
	agains = b.agains;
	assert_true(agains >= 1);
	io_drain(w, &b.io);
	worker_stop(w);
	assert_int_equal(worker_run(w), 0);
	assert_true(b.agains > agains);
	worker_undefer(w, &b.again);
	close(fd);
}

/* From here on: threads. */

static void start(struct worker *w)
{
	struct err err = {0};

	if (worker_start(w, &err))
		fail_msg("%s", err.text);
}

static void wait_for(sem_t *s)
{
	while (sem_wait(s) && errno == EINTR)
		;
}

#define THREADS 4
#define ROUNDS  500

struct party {
	struct worker *worker;
	unsigned int *calls; /* of all, touched on the worker only */
	struct post post;
	atomic_uint written; /* by the poster, before it posts */
	unsigned int seen;   /* by the post */
	pthread_t self;
};

static void look(struct post *post)
{
	struct party *p = container_of(post, struct party, post);

	p->seen = atomic_load_explicit(&p->written, memory_order_relaxed);
}

static void *call_and_post(void *arg)
{
	struct party *p = arg;

	for (unsigned int i = 1; i <= ROUNDS; i++) {
		atomic_store_explicit(&p->written, i, memory_order_relaxed);
		worker_post(p->worker, &p->post);
		worker_call(p->worker, increment, p->calls);
	}
	return NULL;
}

/* No call is lost, none runs beside another, and a post sees what came before it. */
static void test_threads(struct worker *w)
{
	struct party party[THREADS] = {0};
	unsigned int calls = 0;

	start(w);
	for (unsigned int i = 0; i < THREADS; i++) {
		party[i].worker = w;
		party[i].calls = &calls;
		party[i].post.fn = look;
		assert_int_equal(pthread_create(&party[i].self, NULL, call_and_post, &party[i]), 0);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(party[i].self, NULL);
	worker_stop(w);
	assert_int_equal(calls, THREADS * ROUNDS);
	for (unsigned int i = 0; i < THREADS; i++)
		assert_int_equal(party[i].seen, ROUNDS);
}

/* Callers race with stop: every call is made once, on the worker or directly. */
static void test_calls_against_stop(struct worker *w)
{
	struct party party = {.worker = w, .post.fn = look};
	unsigned int calls = 0;

	party.calls = &calls;
	for (unsigned int i = 0; i < 20; i++) {
		calls = 0;
		start(w);
		assert_int_equal(pthread_create(&party.self, NULL, call_and_post, &party), 0);
		worker_stop(w);
		pthread_join(party.self, NULL);
		assert_int_equal(calls, ROUNDS);
	}
	worker_unpost(w, &party.post);
}

struct session {
	struct worker *worker;
	struct op op;
	sem_t done;
	char buf[8];
	int slot;
};

static void begin_read(void *arg)
{
	struct session *s = arg;

	io_read(s->worker, &s->op.io, s->slot, s->buf, sizeof(s->buf), IO_STREAM);
}

/* Operations outlive the thread that they were started on. */
static void test_stop_and_restart(struct worker *w)
{
	struct session s = {.worker = w, .op = op_new()};
	struct counter last = {.post.fn = count, .worker = w, .stop = true};
	int fds[2];

	make_pipe(fds);
	sem_init(&s.done, 0, 0);
	s.op.done = &s.done;
	s.slot = add(w, fds[0]);
	start(w);
	worker_call(w, begin_read, &s);
	for (unsigned int i = 0; i < 3; i++) {
		worker_stop(w);
		worker_stop(w);
		assert_true(io_pending(&s.op.io));
		start(w);
	}
	assert_int_equal(write(fds[1], "abc", 3), 3);
	wait_for(&s.done);
	worker_stop(w);
	assert_int_equal(finish(w, &s.op), 3);
	/* From this thread to another, and back. */
	begin_read(&s);
	worker_post(w, &last.post);
	assert_int_equal(worker_run(w), 0);
	start(w);
	worker_stop(w);
	assert_int_equal(write(fds[1], "de", 2), 2);
	assert_int_equal(finish(w, &s.op), 2);
	begin_read(&s);
	assert_int_equal(cancel(w, &s.op), -ECANCELED);
	sem_destroy(&s.done);
	close_pipe(fds);
}

static void stop_it(void *arg)
{
	worker_stop(arg);
}

static void call_within(void *arg)
{
	struct party *p = arg;

	worker_call(p->worker, increment, p->calls);
	assert_true(pthread_equal(pthread_self(), p->worker->self));
}

static void test_own_thread(struct worker *w)
{
	unsigned int n = 0;
	struct party p = {.worker = w, .calls = &n};

	start(w);
	worker_call(w, call_within, &p);
	assert_int_equal(n, 1);
	worker_call(w, stop_it, w);
	worker_stop(w);
	/* Left to worker_destroy() to join. */
	start(w);
	worker_call(w, stop_it, w);
}

/* Files come and go while it runs, and at rest on another thread than the ring's. */
struct file_change {
	struct worker *worker;
	int fd;
	int slot;
};

static void add_it(void *arg)
{
	struct file_change *c = arg;

	c->slot = worker_add_file(c->worker, c->fd);
}

static void remove_it(void *arg)
{
	struct file_change *c = arg;

	worker_remove_file(c->worker, c->slot);
}

static void *add_elsewhere(void *arg)
{
	add_it(arg);
	return NULL;
}

static void test_files_across_threads(struct worker *w)
{
	struct file_change c = {.worker = w, .fd = temporary_file()};
	struct op op = op_new();
	pthread_t other;

	start(w);
	worker_call(w, add_it, &c);
	worker_stop(w);
	io_write(w, &op.io, c.slot, "x", 1, 0);
	assert_int_equal(finish(w, &op), 1);
	worker_remove_file(w, c.slot);
	assert_int_equal(pthread_create(&other, NULL, add_elsewhere, &c), 0);
	pthread_join(other, NULL);
	assert_true(c.slot >= 0);
	io_write(w, &op.io, c.slot, "x", 1, 0);
	assert_int_equal(finish(w, &op), 1);
	start(w);
	worker_call(w, remove_it, &c);
	worker_stop(w);
	close(c.fd);
}

/* A file whose worker has stopped is nobody's any more when it is closed: its lock is free. */
static void test_files_given_back(struct worker *w)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	char path[] = "worker.XXXXXX";
	struct err err = {0};

	close(mkostemp(path, O_CLOEXEC));
	for (unsigned int i = 0; i < 20; i++) {
		int fd = open(path, O_RDWR | O_CLOEXEC), slot;

		assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
		slot = add(w, fd);
		assert_int_equal(worker_start(w, &err), 0);
		worker_stop(w);
		worker_remove_file(w, slot);
		close(fd);
	}
	unlink(path);
}

struct ticker {
	struct device dev; /* first */
	struct timer timer;
	struct worker *worker;
	struct vtime *time;
	unsigned int left;
	sem_t done;
};

static void tick(struct device *dev, struct timer *t)
{
	struct ticker *k = container_of(dev, struct ticker, dev);

	assert_true(pthread_equal(pthread_self(), k->worker->self));
	if (--k->left)
		timer_arm(t, vtime_now(k->time) + NS_PER_MS);
	else
		sem_post(&k->done);
}

static void test_vtime(struct worker *w)
{
	struct ticker k = {.worker = w, .left = 5};
	struct err err = {0};

	sem_init(&k.done, 0, 0);
	lock_init(&k.dev.lock, LOCK_DEVICE);
	assert_int_equal(vtime_create(&k.time, &err), 0);
	timer_init(&k.timer, k.time, &k.dev, tick);
	worker_set_vtime(k.worker, k.time);
	vtime_resume(k.time);
	start(k.worker);
	/* Armed from here while the worker waits without a deadline. */
	device_lock(&k.dev);
	timer_arm(&k.timer, vtime_now(k.time) + NS_PER_MS);
	device_unlock(&k.dev);
	wait_for(&k.done);
	worker_stop(k.worker);
	worker_set_vtime(k.worker, NULL);
	assert_int_equal(k.left, 0);
	vtime_destroy(k.time);
	lock_destroy(&k.dev.lock);
	sem_destroy(&k.done);
}

static void count_switches(void *arg)
{
	struct rusage u;

	getrusage(RUSAGE_THREAD, &u);
	*(long *)arg = u.ru_nvcsw;
}

/* Files, a timeout far off and virtual time that stands still do not wake it. */
static void test_idle(struct worker *w)
{
	struct op far = op_new();
	struct vtime *vt;
	long before, after;

	assert_int_equal(vtime_create(&vt, NULL), 0);
	worker_set_vtime(w, vt);
	io_timeout(w, &far.io, clock_now() + 3600 * NS_PER_S);
	start(w);
	worker_call(w, count_switches, &before);
	usleep(100000);
	worker_call(w, count_switches, &after);
	worker_stop(w);
	/* Once to wait, and that was ended by the second call. */
	assert_in_range(after - before, 0, 2);
	assert_int_equal(cancel(w, &far), -ECANCELED);
	worker_set_vtime(w, NULL);
	vtime_destroy(vt);
}

static int find_ring(void)
{
	for (int fd = 0; fd < 1024; fd++) {
		char path[32], target[64] = {0};

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (readlink(path, target, sizeof(target) - 1) > 0 && strstr(target, "[io_uring]"))
			return fd;
	}
	return -1;
}

static struct io_uring_sqe *entry(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (!sqe)
		abort();
	return sqe;
}

static int submit(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int result;

	assert_int_equal(io_uring_submit_and_wait(ring, 1), 1);
	assert_int_equal(io_uring_wait_cqe(ring, &cqe), 0);
	result = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return result;
}

/* Whoever takes the worker over has its ring: it does what worker.h lists, and nothing else. */
static void test_restrictions(struct worker *w)
{
	struct io_uring_params p = {.flags = IORING_SETUP_CQSIZE, .cq_entries = URING_CQ_ENTRIES};
	int fd = temporary_file(), slot = add(w, fd), taken = find_ring();
	struct op op = op_new();
	struct io_uring own, ring = {0};
	struct io_uring_sqe *sqe;
	char byte;

	io_write(w, &op.io, slot, "x", 1, 0);
	assert_int_equal(finish(w, &op), 1);
	/* For the layout of a ring of this size. */
	assert_int_equal(io_uring_queue_init_params(URING_ENTRIES, &own, &p), 0);
	assert_int_equal(io_uring_queue_mmap(taken, &p, &ring), 0);
	ring.ring_fd = ring.enter_ring_fd = taken;
	ring.sq.sqe_head = ring.sq.sqe_tail = *ring.sq.ktail;

	sqe = entry(&ring);
	io_uring_prep_read(sqe, slot, &byte, 1, 0);
	sqe->flags = IOSQE_FIXED_FILE;
	assert_int_equal(submit(&ring), 1);
	io_uring_prep_read(entry(&ring), fd, &byte, 1, 0);
	assert_int_equal(submit(&ring), -EACCES);
	sqe = entry(&ring);
	io_uring_prep_openat(sqe, slot, "/etc/passwd", O_RDONLY, 0);
	sqe->flags = IOSQE_FIXED_FILE;
	assert_int_equal(submit(&ring), -EACCES);
	assert_int_equal(
		io_uring_register((unsigned int)taken, IORING_REGISTER_PERSONALITY, NULL, 0),
		-EACCES);
	io_uring_queue_exit(&own);
	munmap(ring.sq.sqes, URING_ENTRIES * sizeof(struct io_uring_sqe));
	munmap(ring.sq.ring_ptr, ring.sq.ring_sz);
	close(fd);
}

/* A container's filter, in a process of its own. The exit status says what the probe did. */
static void probe_under_filter(int errnum, const char *expected)
{
	struct err err = {0};
	struct worker *w;

	if (!refuse_io_uring(errnum))
		_exit(2);
	if (worker_probe(&err) != -errnum || !strstr(err.text, expected))
		_exit(1);
	if (worker_create(&w, "filtered", &err) || strcmp(worker_engine_name(w), "epoll") != 0)
		_exit(3);
	if (!worker_engine_reason(w) || !strstr(worker_engine_reason(w), expected))
		_exit(4);
	test_file(w);
	worker_destroy(w);
	_exit(0);
}

static void check_filter(int errnum, const char *expected)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		probe_under_filter(errnum, expected);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_probe(void **state)
{
	struct err err = {0};
	int rc = worker_probe(&err);

	(void)state;
	/* It works, or says why not. */
	assert_true(rc == 0 || (rc < 0 && err.text[0]));
	check_filter(ENOSYS, "CONFIG_IO_URING");
	check_filter(EINVAL, "use Linux 5.19 or newer");
	assert_int_equal(worker_uring_refused(EPERM, 2, &err), -EPERM);
	assert_non_null(strstr(err.text, "sysctl kernel.io_uring_disabled=0"));
	assert_int_equal(worker_uring_refused(EPERM, 1, &err), -EPERM);
	assert_non_null(strstr(err.text, "kernel.io_uring_group"));
	assert_int_equal(worker_uring_refused(EPERM, 0, &err), -EPERM);
	assert_non_null(strstr(err.text, "seccomp"));
	assert_int_equal(worker_uring_refused(ENOMEM, 0, &err), -ENOMEM);
	assert_non_null(strstr(err.text, "RLIMIT_MEMLOCK"));
	assert_int_equal(worker_uring_refused(EMFILE, 0, &err), -EMFILE);
	assert_non_null(strstr(err.text, "Too many open files"));
	if (!rc)
		check_filter(EPERM, "seccomp profile that allows");
}

#define TRIAL(fn) (&(struct trial){.body = (fn)})
#define ON(how, fn)                                                                  \
	{                                                                            \
		.name = #fn " " #how, .test_func = (how), .initial_state = TRIAL(fn) \
	}
#define ON_HOST(fn)    ON(on_uring, fn), ON(on_epoll, fn)
#define AT_REST(fn)    ON_HOST(fn), ON(on_sim, fn)
#define EVERYWHERE(fn) AT_REST(fn), ON(in_uring_loop, fn), ON(in_epoll_loop, fn)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EVERYWHERE(test_file),
		EVERYWHERE(test_event),
		EVERYWHERE(test_stream_position),
		EVERYWHERE(test_vectors),
		EVERYWHERE(test_errors),
		EVERYWHERE(test_fallocate),
		EVERYWHERE(test_poll),
		EVERYWHERE(test_accept),
		EVERYWHERE(test_timeout),
		EVERYWHERE(test_cancel),
		EVERYWHERE(test_many),
		EVERYWHERE(test_full_pipe),
		EVERYWHERE(test_nonblocking_pipe),
		EVERYWHERE(test_terminal),
		EVERYWHERE(test_full_terminal),
		EVERYWHERE(test_slots),
		EVERYWHERE(test_restart_in_completion),
		EVERYWHERE(test_fairness),
		AT_REST(test_wired),
		ON(on_uring, test_wired_is_fixed),
		cmocka_unit_test(test_wire_limit),
		cmocka_unit_test(test_pieces),
		AT_REST(test_posts),
		AT_REST(test_deferrals),
		AT_REST(test_deferrals_at_stop),
		AT_REST(test_stop_early),
		AT_REST(test_call_at_rest),
		ON_HOST(test_threads),
		ON_HOST(test_calls_against_stop),
		ON_HOST(test_stop_and_restart),
		ON_HOST(test_own_thread),
		ON_HOST(test_files_across_threads),
		ON_HOST(test_files_given_back),
		ON_HOST(test_vtime),
		ON_HOST(test_idle),
		ON(on_uring, test_restrictions),
		cmocka_unit_test(test_probe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
