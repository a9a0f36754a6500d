/* SPDX-License-Identifier: BSD-2-Clause */
/* Channels: queues and host ends. What needs a terminal is in chan_tty.c. */
#include <errno.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>

#include "chan_fixture.h"

/* Temporary paths */

static char dir[] = "/tmp/skep-chan-XXXXXX";

/* The last plain path, and the last one with a prefix, stay valid. */
static const char *in_dir(const char *prefix, const char *name)
{
	static char path[2][128];
	char *p = path[!!*prefix];

	snprintf(p, sizeof(path[0]), "%s%s/%s", prefix, dir, name);
	return p;
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir); /* fails when a test has left something */
}

/* Standard output is a pipe; returns its other end, which does not block. */
static int piped_output(struct fixture *f, int in)
{
	int fds[2], null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	fixture_stdio(f, in >= 0 ? in : null, fds[1]);
	close(fds[1]);
	close(null);
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	return fds[0];
}

/* Batches */

static void small_output_is_collected(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	int reader = piped_output(f, -1);
	char buf[1];

	(void)state;
	fixture_open(f, "stdio");
	put_text(f, "a");
	run(f);
	put_text(f, "b");
	run(f);
	put_text(f, "c");
	run(f);
	/* The moment to collect a batch is not over. */
	assert_int_equal(read(reader, buf, 1), -1);
	assert_int_equal(errno, EAGAIN);
	run_later(f);
	assert_reads(reader, "abc");
	assert_int_equal(totals(f).out_writes, 1);
	assert_int_equal(totals(f).out_bytes, 3);
	/* And again, from an empty queue. */
	put_text(f, "d");
	run_later(f);
	assert_reads(reader, "d");
	assert_int_equal(totals(f).out_writes, 2);
	fixture_close(f);
	close(reader);
	fixture_free(f);
}

static void much_output_does_not_wait(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	int reader = piped_output(f, -1);
	char text[4096], buf[8192];

	(void)state;
	memset(text, 'x', sizeof(text));
	fixture_open(f, "stdio");
	/* In one piece, and in many behind a started delay. */
	put(f, text, sizeof(text));
	run(f);
	assert_int_equal(read(reader, buf, sizeof(buf)), sizeof(text));
	for (size_t i = 0; i < sizeof(text); i++) {
		put(f, text, 1);
		run(f);
	}
	assert_int_equal(read(reader, buf, sizeof(buf)), sizeof(text));
	assert_int_equal(totals(f).out_writes, 2);
	fixture_close(f);
	close(reader);
	fixture_free(f);
}

static void close_writes_what_is_queued(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	int reader = piped_output(f, -1);

	(void)state;
	fixture_open(f, "stdio");
	put_text(f, "the last words");
	fixture_close(f);
	assert_reads(reader, "the last words");
	assert_int_equal(logged(f, "lost"), 0);
	close(reader);
	fixture_free(f);
}

/* Whatever is cut short, and in whatever order the worker works: every byte once. */
static void short_writes_lose_nothing(void **state)
{
	char buf[65536], expect[65536];

	(void)state;
	for (uint64_t seed = 1; seed < 30; seed++) {
		struct fixture *f = fixture_new(false, seed);
		int reader = piped_output(f, -1);
		size_t put_len = 0, read_len = 0;

		worker_sim_shorten(f->machine.control, 2);
		fixture_open(f, "stdio");
		while (put_len < 60000) {
			size_t n = 1 + (put_len * 7 + seed) % 700;
			ssize_t r;

			for (size_t i = 0; i < n; i++)
				expect[put_len + i] = (char)((put_len + i) * 31 >> 3);
			put(f, expect + put_len, n);
			put_len += n;
			worker_sim_run(f->machine.control, 3);
			if (n % 5 == 0)
				run_later(f);
			r = read(reader, buf + read_len, 1000);
			read_len += r > 0 ? (size_t)r : 0;
		}
		fixture_close(f);
		while (read_len < put_len) {
			ssize_t r = read(reader, buf + read_len, sizeof(buf) - read_len);

			assert_true(r > 0);
			read_len += (size_t)r;
		}
		assert_memory_equal(buf, expect, put_len);
		close(reader);
		fixture_free(f);
	}
}

/* The host's worker: ten mebibytes through a pipe */

#define STREAM_BYTES MIB(10)

static uint8_t stream_byte(size_t at)
{
	return (uint8_t)(at ^ at >> 8 ^ at >> 16);
}

struct reader {
	pthread_t thread;
	int fd;
	size_t len;
	size_t wrong;
};

static void *read_stream(void *arg)
{
	struct reader *r = arg;
	uint8_t buf[16384];
	ssize_t n;

	while ((n = read(r->fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			r->wrong += buf[i] != stream_byte(r->len + (size_t)i);
		r->len += (size_t)n;
		/* Now and then the writer must wait. */
		if (r->len % 9 == 0)
			poll(NULL, 0, 1);
	}
	return NULL;
}

static void skip_without_uring(void)
{
	struct err err;

	if (worker_probe(&err)) {
		print_message("no io_uring here: %s\n", err.text);
		skip();
	}
}

static void ten_mebibytes_byte_for_byte(void **state)
{
	struct reader r = {0};
	struct fixture *f;
	uint64_t writes;
	size_t at = 0;

	(void)state;
	skip_without_uring();
	f = fixture_new(true, 0);
	r.fd = piped_output(f, -1);
	fcntl(r.fd, F_SETFL, 0);
	fixture_open(f, "stdio");
	assert_int_equal(pthread_create(&r.thread, NULL, read_stream, &r), 0);
	while (at < STREAM_BYTES) {
		uint8_t piece[4096];
		/* Mostly bytes, as an early console writes, and a string access at times. */
		size_t n = at % 1000 ? 1 : MIN(sizeof(piece), STREAM_BYTES - at);

		for (size_t i = 0; i < n; i++)
			piece[i] = stream_byte(at + i);
		put(f, piece, n);
		at += n;
	}
	assert_int_equal(totals(f).out_bytes, STREAM_BYTES);
	assert_int_equal(totals(f).out_dropped, 0);
	assert_true(totals(f).out_writes < STREAM_BYTES / 500);
	writes = totals(f).out_writes;
	fixture_close(f);
	print_message("%zu bytes in %llu writes\n", at, (unsigned long long)writes);
	pthread_join(r.thread, NULL);
	close(r.fd);
	assert_int_equal(r.len, STREAM_BYTES);
	assert_int_equal(r.wrong, 0);
	assert_int_equal(logged(f, "lost"), 0);
	fixture_free(f);
}

/* Readers that do not read */

static size_t read_all(int fd)
{
	static char buf[65536];
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		len += (size_t)n;
	return len;
}

static void stall_and_recovery(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	int reader = piped_output(f, -1);
	static char page[4096];
	size_t taken, lost;
	char line[128];

	(void)state;
	fixture_open(f, "stdio");
	for (unsigned int i = 0; i < 200; i++) {
		put(f, page, sizeof(page));
		run(f);
	}
	/* The vCPU waited once, and was not told that again. */
	assert_int_equal(logged(f, "has taken nothing for 1 s"), 1);
	assert_logged(f, "com1: the reader of standard output has taken nothing");
	lost = totals(f).out_dropped;
	assert_true(lost > 0);
	/* Until the reader reads. */
	taken = read_all(reader);
	run(f);
	snprintf(line, sizeof(line), "takes output again; %zu bytes were lost", lost);
	assert_logged(f, line);
	while (taken + lost < totals(f).out_bytes) {
		size_t n = read_all(reader);

		taken += n;
		run_later(f);
	}
	assert_int_equal(taken + lost, totals(f).out_bytes);
	assert_int_equal(totals(f).out_dropped, lost);
	put_text(f, "as before");
	run_later(f);
	assert_reads(reader, "as before");
	fixture_close(f);
	snprintf(line, sizeof(line), "of %zu bytes of output, %zu were lost",
		 200 * sizeof(page) + 9, lost);
	assert_logged(f, line);
	close(reader);
	fixture_free(f);
}

static void *put_page(void *arg)
{
	static char page[4096];

	put(arg, page, sizeof(page));
	return NULL;
}

/* In front of a reader that takes nothing: who waits returns, and nobody waits meanwhile. */
static void nobody_waits_in_a_hurry(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	int reader = piped_output(f, -1);
	pthread_t vcpu;

	(void)state;
	fixture_open(f, "stdio");
	chan_hurry(&f->machine, true);
	for (unsigned int i = 0; i < 50; i++)
		put_page(f);
	chan_hurry(&f->machine, false);
	assert_int_equal(pthread_create(&vcpu, NULL, put_page, f), 0);
	usleep(20000);
	chan_hurry(&f->machine, true);
	pthread_join(vcpu, NULL);
	assert_int_equal(totals(f).out_dropped, 0);
	assert_int_equal(logged(f, "has taken nothing"), 0);
	fixture_close(f);
	chan_hurry(&f->machine, false);
	close(reader);
	fixture_free(f);
}

static void a_slow_reader_loses_nothing(void **state)
{
	struct fixture *f;
	static char page[4096];
	size_t taken = 0, n;
	int reader;

	(void)state;
	skip_without_uring();
	f = fixture_new(true, 0);
	reader = piped_output(f, -1);
	fixture_open(f, "stdio");
	/* As much as fits without a wait, and no more than that is read meanwhile. */
	for (unsigned int i = 0; i < 40; i++)
		put(f, page, sizeof(page));
	while ((n = read_all(reader)) || taken < 40 * sizeof(page)) {
		taken += n;
		poll(NULL, 0, 1);
	}
	assert_int_equal(taken, 40 * sizeof(page));
	assert_int_equal(totals(f).out_dropped, 0);
	fixture_close(f);
	close(reader);
	fixture_free(f);
}

static void close_gives_up_on_a_dead_reader(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	int reader = piped_output(f, -1);
	static char page[4096];
	char line[128];
	size_t taken;

	(void)state;
	fixture_open(f, "stdio");
	for (unsigned int i = 0; i < 40; i++)
		put(f, page, sizeof(page));
	run(f);
	fixture_close(f);
	taken = read_all(reader);
	assert_true(taken > 0 && taken < 40 * sizeof(page));
	snprintf(line, sizeof(line), "of %zu bytes of output, %zu were lost", 40 * sizeof(page),
		 40 * sizeof(page) - taken);
	assert_logged(f, line);
	close(reader);
	fixture_free(f);
}

static void a_reader_that_has_gone(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	int reader = piped_output(f, -1);
	static char page[4096];

	(void)state;
	fixture_open(f, "stdio");
	put_text(f, "seen");
	run_later(f);
	assert_reads(reader, "seen");
	close(reader);
	/* No SIGPIPE, one sentence, and nobody waits. */
	for (unsigned int i = 0; i < 200; i++) {
		put(f, page, sizeof(page));
		run_later(f);
	}
	assert_int_equal(logged(f, "nobody reads standard output any more"), 1);
	assert_int_equal(logged(f, "has taken nothing"), 0);
	assert_int_equal(totals(f).out_dropped, 200 * sizeof(page));
	fixture_close(f);
	fixture_free(f);
}

/* Files */

static void assert_file(const char *path, const char *text)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_reads(fd, text);
	close(fd);
}

static void a_file_is_truncated_and_written(void **state)
{
	const char *path = in_dir("", "console");

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct fixture *f = fixture_new(false, 3);

		fixture_open(f, in_dir("file:", "console"));
		put_text(f, i ? "two" : "the first");
		run_later(f);
		put_text(f, "!");
		fixture_close(f);
		assert_file(path, i ? "two!" : "the first!");
		fixture_free(f);
	}
	assert_int_equal(unlink(path), 0);
}

static void a_full_disk(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	static char page[4096];

	(void)state;
	fixture_open(f, "file:/dev/full");
	for (unsigned int i = 0; i < 300; i++) {
		put(f, page, sizeof(page));
		run_later(f);
	}
	assert_int_equal(logged(f, "cannot write to the file /dev/full: No space left"), 1);
	assert_int_equal(totals(f).out_dropped, 300 * sizeof(page));
	assert_int_equal(totals(f).out_writes, 0);
	put_text(f, "not even this");
	fixture_close(f);
	assert_logged(f, "of 1228813 bytes of output, 1228813 were lost");
	fixture_free(f);
}

static void a_disk_that_has_room_again(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	const char *path = in_dir("", "console");

	(void)state;
	fixture_open(f, in_dir("file:", "console"));
	put_text(f, "before ");
	run_later(f);
	worker_sim_fail(f->machine.control, 1, ENOSPC);
	put_text(f, "lost");
	run_later(f);
	put_text(f, "too");
	run_later(f);
	worker_sim_fail(f->machine.control, 0, 0);
	put_text(f, "after");
	run_later(f);
	assert_int_equal(logged(f, "No space left"), 1);
	assert_int_equal(logged(f, "can be written again; 7 bytes were lost"), 1);
	fixture_close(f);
	assert_file(path, "before after");
	assert_int_equal(unlink(path), 0);
	fixture_free(f);
}

static void what_cannot_be_opened(void **state)
{
	static const struct {
		const char *spec;
		int ret;
		const char *says;
	} trials[] = {
		{"file:/", -EISDIR, "cannot write the console to /: Is a directory"},
		{"file:/nonexistent/x", -ENOENT, "/nonexistent/x: No such file"},
		{"file:", -EINVAL, "no name"},
		{"unix:", -EINVAL, "this one 0"},
		{"unix:/nonexistent/x", -ENOENT, "/nonexistent/x: No such file"},
		{"file", -EINVAL, "file:PATH"},
		{"pty:x", -EINVAL, "'pty:x' is not a console"},
		{"", -EINVAL, "'' is not a console"},
		{"stdoi", -EINVAL, "did you mean stdio?"},
		{"unxi:/tmp/x", -EINVAL, "did you mean unix?"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
		struct fixture *f = fixture_new(false, 0);

		assert_int_equal(fixture_try(f, trials[i].spec), trials[i].ret);
		assert_null(f->chan);
		if (!strstr(f->err.text, trials[i].says))
			fail_msg("%s: %s", trials[i].spec, f->err.text);
		fixture_free(f);
	}
}

static void a_pipe_that_nobody_reads(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	const char *path = in_dir("", "pipe");

	(void)state;
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(fixture_try(f, in_dir("file:", "pipe")), -ENXIO);
	assert_non_null(strstr(f->err.text, "start its reader first"));
	assert_int_equal(unlink(path), 0);
	fixture_free(f);
}

static void none_swallows_everything(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	static char page[4096];

	(void)state;
	fixture_open(f, "none");
	for (unsigned int i = 0; i < 300; i++)
		put(f, page, sizeof(page));
	give_room(f, 1);
	assert_int_equal(worker_sim_run(f->machine.control, 10), 0);
	assert_int_equal(totals(f).out_bytes, 300 * sizeof(page));
	assert_int_equal(totals(f).out_dropped, 0);
	fixture_close(f);
	assert_int_equal(logged(f, "lost"), 0);
	fixture_free(f);
}

/* Standard input that is not a terminal */

static void input_is_passed_through(void **state)
{
	struct fixture *f = fixture_new(false, 7);
	int fds[2], reader;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	reader = piped_output(f, fds[0]);
	close(fds[0]);
	fixture_open(f, "stdio");
	run(f);
	assert_int_equal(f->got_len, 0);
	/* Ctrl-a means nothing here. */
	assert_int_equal(write(fds[1], "one\001x", 5), 5);
	run(f);
	assert_got(f, "one\001x");
	assert_false(f->ended);
	/* As much as the device has room for, in order. */
	give_room(f, 2);
	assert_int_equal(write(fds[1], "abcdefg", 7), 7);
	run(f);
	assert_got(f, "one\001xab");
	assert_int_equal(write(fds[1], "hij", 3), 3);
	run(f);
	assert_got(f, "one\001xab");
	give_room(f, 1);
	run(f);
	assert_got(f, "one\001xabc");
	give_room(f, SIZE_MAX);
	run(f);
	assert_got(f, "one\001xabcdefghij");
	/* The end of input ends nothing else. */
	close(fds[1]);
	run(f);
	put_text(f, "still here");
	run_later(f);
	assert_reads(reader, "still here");
	assert_int_equal(totals(f).in_bytes, 15);
	assert_int_equal(worker_sim_run(f->machine.control, 10), 0);
	fixture_close(f);
	close(reader);
	fixture_free(f);
}

static void inherited_descriptors_are_left_alone(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	int fds[2], reader;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	reader = piped_output(f, fds[0]);
	close(fds[0]);
	fixture_open(f, "stdio");
	assert_int_equal(fcntl(0, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(fcntl(1, F_GETFL) & O_NONBLOCK, 0);
	chan_close(f->chan);
	assert_int_equal(fcntl(0, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(fcntl(1, F_GETFL) & O_NONBLOCK, 0);
	f->chan = NULL;
	fixture_close(f);
	close(reader);
	close(fds[1]);
	fixture_free(f);
}

static void stdio_is_one_channel_only(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	int reader = piped_output(f, -1);
	struct chan *other;

	(void)state;
	fixture_open(f, "stdio");
	assert_int_equal(chan_open(&other, &f->dev, "stdio", &fixture_ops, &f->err), -EBUSY);
	assert_non_null(strstr(f->err.text, "another console"));
	/* The first is not disturbed, and leaves the place free. */
	put_text(f, "one");
	run_later(f);
	assert_reads(reader, "one");
	chan_close(f->chan);
	fixture_open(f, "stdio");
	put_text(f, "two");
	fixture_close(f);
	assert_reads(reader, "two");
	close(reader);
	fixture_free(f);
}

static void closed_standard_output(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)state;
	fixture_stdio(f, null, null);
	close(null);
	close(1);
	assert_int_equal(fixture_try(f, "stdio"), -EBADF);
	assert_non_null(strstr(f->err.text, "standard output"));
	fixture_close(f);
	fixture_free(f);
}

/* Sockets */

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	assert_true(strlen(path) < sizeof(addr.sun_path));
	memcpy(addr.sun_path, path, strlen(path));
	return addr;
}

static int dial(const char *path)
{
	struct sockaddr_un addr = address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void clients_come_and_go(void **state)
{
	const char *path = in_dir("", "s");

	(void)state;
	for (uint64_t seed = 0; seed < 40; seed++) {
		struct fixture *f = fixture_new(false, seed);
		int one, two;

		fixture_open(f, in_dir("unix:", "s"));
		/* Kept while there is nobody. */
		put_text(f, "early ");
		run_later(f);
		one = dial(path);
		run(f);
		put_text(f, "bird");
		run_later(f);
		if (seed)
			run_later(f);
		assert_reads(one, "early bird");
		assert_int_equal(write(one, "hello", 5), 5);
		run(f);
		assert_got(f, "hello");
		/* One at a time: the second waits until the first has left. */
		two = dial(path);
		assert_int_equal(write(two, " again", 6), 6);
		run(f);
		put_text(f, "for one");
		run_later(f);
		assert_reads(one, "for one");
		assert_got(f, "hello");
		close(one);
		run_later(f);
		assert_got(f, "hello again");
		put_text(f, "for two");
		run_later(f);
		assert_reads(two, "for two");
		close(two);
		run_later(f);
		/* Nobody again: kept for whoever comes. */
		put_text(f, "late");
		run_later(f);
		one = dial(path);
		run_later(f);
		assert_reads(one, "late");
		fixture_close(f);
		assert_reads(one, ""); /* hung up */
		close(one);
		assert_int_equal(access(path, F_OK), -1);
		assert_int_equal(logged(f, "lost"), 0);
		fixture_free(f);
	}
}

static void a_client_that_only_sends(void **state)
{
	const char *path = in_dir("", "s");
	struct fixture *f = fixture_new(false, 0);
	int fd;

	(void)state;
	fixture_open(f, in_dir("unix:", "s"));
	/* Gone before anybody looked: what it sent arrives. */
	fd = dial(path);
	assert_int_equal(write(fd, "fire and forget", 15), 15);
	close(fd);
	run_later(f);
	assert_got(f, "fire and forget");
	/* Half closed: it still reads. */
	fd = dial(path);
	assert_int_equal(write(fd, "!", 1), 1);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	run_later(f);
	assert_got(f, "fire and forget!");
	put_text(f, "answer");
	run_later(f);
	assert_reads(fd, "answer");
	close(fd);
	/* Gone in front of a device that takes nothing: the next one gets in. */
	run_later(f);
	f->room = 0;
	fd = dial(path);
	assert_int_equal(write(fd, "x", 1), 1);
	run_later(f);
	close(fd);
	run_later(f);
	fd = dial(path);
	put_text(f, "next");
	run_later(f);
	assert_reads(fd, "next");
	/* What the channel had taken by then is not forgotten. */
	give_room(f, SIZE_MAX);
	run(f);
	assert_got(f, "fire and forget!x");
	fixture_close(f);
	close(fd);
	fixture_free(f);
}

static void a_full_queue_and_nobody_connected(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	static char page[4096];
	size_t taken = 0, n;
	int fd;

	(void)state;
	fixture_open(f, in_dir("unix:", "s"));
	for (unsigned int i = 0; i < 100; i++) {
		put(f, page, sizeof(page));
		run(f);
	}
	assert_int_equal(logged(f, "nobody is connected to the socket"), 1);
	assert_int_equal(totals(f).out_dropped, 100 * sizeof(page) - KIB(256));
	fd = dial(in_dir("", "s"));
	run(f);
	while ((n = read_all(fd))) {
		taken += n;
		run_later(f);
	}
	assert_int_equal(taken, KIB(256));
	assert_logged(f, "takes output again; 147456 bytes were lost");
	fixture_close(f);
	close(fd);
	fixture_free(f);
}

static void a_client_that_leaves_output_behind(void **state)
{
	struct fixture *f = fixture_new(false, 5);
	static char page[4096];
	int fd;

	(void)state;
	fixture_open(f, in_dir("unix:", "s"));
	fd = dial(in_dir("", "s"));
	run(f);
	/* More than a socket holds. */
	for (unsigned int i = 0; i < 64; i++)
		put(f, page, sizeof(page));
	run_later(f);
	close(fd);
	run_later(f);
	fd = dial(in_dir("", "s"));
	run_later(f);
	assert_true(read_all(fd) > 0);
	close(fd);
	run_later(f);
	assert_int_equal(totals(f).out_dropped, 0);
	fixture_close(f);
	fixture_free(f);
}

static void *close_soon(void *arg)
{
	usleep(50000);
	close(*(int *)arg);
	return NULL;
}

/* What a process that was killed had in a ring lives a moment longer than it. */
static void a_socket_that_goes(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	struct sockaddr_un addr = address(in_dir("", "s"));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pthread_t thread;

	(void)state;
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(pthread_create(&thread, NULL, close_soon, &fd), 0);
	fixture_open(f, in_dir("unix:", "s"));
	pthread_join(thread, NULL);
	fixture_close(f);
	fixture_free(f);
}

static void socket_files(void **state)
{
	struct fixture *f = fixture_new(false, 0), *g = fixture_new(false, 0);
	const char *path = in_dir("", "s");
	struct sockaddr_un addr = address(path);
	char spec[256];
	int fd;

	(void)state;
	/* Somebody listens. */
	fixture_open(f, in_dir("unix:", "s"));
	assert_int_equal(fixture_try(g, in_dir("unix:", "s")), -EADDRINUSE);
	assert_non_null(strstr(g->err.text, "somebody listens"));
	assert_int_equal(access(path, F_OK), 0);
	fixture_close(f);
	assert_int_equal(access(path, F_OK), -1);
	/* Left behind by somebody who has gone. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	fixture_open(f, in_dir("unix:", "s"));
	close(dial(path));
	/* A file that took our place stays. */
	assert_int_equal(unlink(path), 0);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	fixture_close(f);
	assert_int_equal(access(path, F_OK), 0);
	/* And is not replaced. */
	assert_int_equal(fixture_try(f, in_dir("unix:", "s")), -EEXIST);
	assert_non_null(strstr(f->err.text, "is not a socket"));
	assert_int_equal(unlink(path), 0);
	/* Too long. */
	snprintf(spec, sizeof(spec), "unix:/tmp/%0120d", 0);
	assert_int_equal(fixture_try(f, spec), -EINVAL);
	assert_non_null(strstr(f->err.text, "1 to 107 bytes, this one 125"));
	fixture_free(f);
	fixture_free(g);
}

static void a_socket_on_the_hosts_worker(void **state)
{
	struct fixture *f;
	char buf[64];
	int fd;

	(void)state;
	skip_without_uring();
	f = fixture_new(true, 0);
	fixture_open(f, in_dir("unix:", "s"));
	for (unsigned int i = 0; i < 5; i++) {
		fd = dial(in_dir("", "s"));
		fcntl(fd, F_SETFL, 0);
		assert_int_equal(write(fd, "ping", 4), 4);
		wait_got(f, 4 * (i + 1));
		put_text(f, "pong");
		assert_int_equal(recv(fd, buf, 4, MSG_WAITALL), 4);
		assert_memory_equal(buf, "pong", 4);
		close(fd);
	}
	assert_got(f, "pingpingpingpingping");
	fixture_close(f);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_output_is_collected),
		cmocka_unit_test(much_output_does_not_wait),
		cmocka_unit_test(close_writes_what_is_queued),
		cmocka_unit_test(short_writes_lose_nothing),
		cmocka_unit_test(ten_mebibytes_byte_for_byte),
		cmocka_unit_test(stall_and_recovery),
		cmocka_unit_test(nobody_waits_in_a_hurry),
		cmocka_unit_test(a_slow_reader_loses_nothing),
		cmocka_unit_test(close_gives_up_on_a_dead_reader),
		cmocka_unit_test(a_reader_that_has_gone),
		cmocka_unit_test(a_file_is_truncated_and_written),
		cmocka_unit_test(a_full_disk),
		cmocka_unit_test(a_disk_that_has_room_again),
		cmocka_unit_test(what_cannot_be_opened),
		cmocka_unit_test(a_pipe_that_nobody_reads),
		cmocka_unit_test(none_swallows_everything),
		cmocka_unit_test(input_is_passed_through),
		cmocka_unit_test(inherited_descriptors_are_left_alone),
		cmocka_unit_test(stdio_is_one_channel_only),
		cmocka_unit_test(closed_standard_output),
		cmocka_unit_test(clients_come_and_go),
		cmocka_unit_test(a_client_that_only_sends),
		cmocka_unit_test(a_full_queue_and_nobody_connected),
		cmocka_unit_test(a_client_that_leaves_output_behind),
		cmocka_unit_test(socket_files),
		cmocka_unit_test(a_socket_that_goes),
		cmocka_unit_test(a_socket_on_the_hosts_worker),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
