/* SPDX-License-Identifier: BSD-2-Clause */
/* Channels as ports: offered what there is room for, on the worker of a device's queues. */
#include <errno.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "chan_fixture.h"

struct port {
	struct fixture *f;
	struct chan *chan;
	unsigned int rooms, comings, leavings, resizes;
	unsigned int cols, rows;
	uint8_t got[512 * 1024];
	size_t got_len, space; /* it takes no more than this */
};

static char dir[] = "/tmp/skep-port-XXXXXX";

static const char *path_of(const char *prefix)
{
	static char path[2][128];
	char *p = path[!!*prefix];

	snprintf(p, sizeof(path[0]), "%s%s/s", prefix, dir);
	return p;
}

static size_t port_input(void *arg, const uint8_t *data, size_t len)
{
	struct port *p = arg;

	len = MIN(len, p->space);
	memcpy(p->got + p->got_len, data, len);
	p->got_len += len;
	p->space -= len;
	return len;
}

static void port_room(void *arg)
{
	((struct port *)arg)->rooms++;
}

static void port_connected(void *arg, bool there)
{
	struct port *p = arg;

	p->comings += there;
	p->leavings += !there;
	assert_int_equal(chan_connected(p->chan), there);
}

static void port_resized(void *arg, unsigned int cols, unsigned int rows)
{
	struct port *p = arg;

	p->resizes++;
	p->cols = cols;
	p->rows = rows;
}

static const struct chan_port_ops ops[2] = {
	{
		.input = port_input,
		.room = port_room,
		.connected = port_connected,
		.resized = port_resized,
	},
	{
		.input = port_input,
		.room = port_room,
		.connected = port_connected,
		.lossless = true,
	},
};

static struct port *port_new(uint64_t seed, bool lossless, const char *spec, int in, int out)
{
	struct port *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->f = fixture_new(false, seed);
	p->space = SIZE_MAX;
	fixture_stdio(p->f, in, out);
	if (chan_open_port(&p->chan, &p->f->dev, p->f->machine.control, spec, &ops[lossless], p,
			   &p->f->err))
		fail_msg("%s", p->f->err.text);
	p->f->chan = p->chan;
	return p;
}

static void port_free(struct port *p)
{
	fixture_close(p->f);
	fixture_free(p->f);
	free(p);
}

static int dial(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%.107s", path_of(""));
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* Byte @n of what is sent. */
static uint8_t nth(size_t n)
{
	return (uint8_t)(n * 7 + n / 251);
}

static void fill(uint8_t *to, size_t from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = nth(from + i);
}

/* Offers all of @len bytes, or as many as are taken; returns how many. */
static size_t offer_all(struct port *p, size_t from, size_t len)
{
	static uint8_t data[512 * 1024];

	assert_true(len <= sizeof(data));
	fill(data, from, len);
	return chan_offer(p->chan, data, len);
}

static void sent_before_anybody_came(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		struct port *p = port_new(seed, true, path_of("unix:"), -1, -1);
		size_t sent, got = 0;
		uint8_t buf[3000];
		int fd;

		worker_sim_shorten(p->f->machine.control, 3);
		assert_false(chan_connected(p->chan));
		sent = offer_all(p, 0, KIB(256));
		assert_in_range(sent, KIB(64), KIB(255));
		run_later(p->f);
		run_later(p->f);
		/* Nobody came, and nothing is lost. */
		assert_int_equal(offer_all(p, sent, 1), 0);
		assert_int_equal(p->rooms, 0);
		fd = dial();
		run_later(p->f);
		assert_int_equal(p->comings, 1);
		while (got < KIB(600)) {
			ssize_t n = read(fd, buf, sizeof(buf));

			if (n <= 0) {
				run_later(p->f);
				if (sent < KIB(600))
					sent += offer_all(p, sent,
							  KIB(600) - sent > KIB(100)
								  ? KIB(100)
								  : KIB(600) - sent);
				run_later(p->f);
				continue;
			}
			for (ssize_t i = 0; i < n; i++)
				assert_int_equal(buf[i], nth(got + (size_t)i));
			got += (size_t)n;
		}
		assert_true(p->rooms > 0);
		assert_int_equal(totals(p->f).out_dropped, 0);
		close(fd);
		run_later(p->f);
		assert_int_equal(p->leavings, 1);
		port_free(p);
	}
}

/* What a client sent is the guest's, though it has left since; the next client waits for that. */
static void left_with_something_said(void **state)
{
	struct port *p = port_new(0, true, path_of("unix:"), -1, -1);
	uint8_t data[KIB(96)];
	int fd, next;

	(void)state;
	fill(data, 0, sizeof(data));
	p->space = 0;
	fd = dial();
	run(p->f);
	assert_int_equal(write(fd, data, sizeof(data)), sizeof(data));
	run(p->f);
	close(fd);
	next = dial();
	assert_int_equal(write(next, "next", 4), 4);
	for (int i = 0; i < 3; i++)
		run_later(p->f);
	assert_int_equal(p->leavings, 0);
	/* In small pieces. */
	while (p->got_len < sizeof(data)) {
		p->space = 1000;
		chan_want_input(p->chan);
		run_later(p->f);
	}
	p->space = SIZE_MAX;
	chan_want_input(p->chan);
	run_later(p->f);
	assert_memory_equal(p->got, data, sizeof(data));
	assert_int_equal(p->got_len, sizeof(data) + 4);
	assert_memory_equal(p->got + sizeof(data), "next", 4);
	assert_int_equal(p->leavings, 1);
	assert_int_equal(p->comings, 2);
	close(next);
	port_free(p);
}

/* A client that is done sending may still listen. */
static void half_closed(void **state)
{
	struct port *p = port_new(0, true, path_of("unix:"), -1, -1);
	int fd = dial();
	char buf[8];

	(void)state;
	assert_int_equal(write(fd, "ask", 3), 3);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	run_later(p->f);
	assert_int_equal(p->got_len, 3);
	assert_int_equal(p->leavings, 0);
	assert_int_equal(chan_offer(p->chan, (const uint8_t *)"answer", 6), 6);
	run(p->f);
	assert_int_equal(read(fd, buf, sizeof(buf)), 6);
	close(fd);
	run(p->f);
	assert_int_equal(p->leavings, 1);
	port_free(p);
}

/* A console is not lossless: where nobody is, output is dropped once the queue is full. */
static void a_console_without_a_client(void **state)
{
	struct port *p = port_new(0, false, path_of("unix:"), -1, -1);
	size_t sent = offer_all(p, 0, KIB(256));

	(void)state;
	assert_in_range(sent, KIB(64), KIB(255));
	run(p->f);
	run_later(p->f);
	assert_int_equal(p->rooms, 1);
	assert_logged(p->f, "nobody is connected");
	assert_int_equal(offer_all(p, sent, KIB(256)), KIB(256));
	assert_in_range(totals(p->f).out_dropped, KIB(100), KIB(256));
	port_free(p);
}

static void a_console_whose_reader_stops(void **state)
{
	struct port *p = port_new(0, false, path_of("unix:"), -1, -1);
	int fd = dial();
	static char sink[KIB(700)];
	size_t sent = 0;

	(void)state;
	run(p->f);
	/* What the socket holds, and the queue. */
	for (int i = 0; i < 20; i++) {
		sent += offer_all(p, sent, KIB(64));
		run(p->f);
	}
	assert_true(sent < KIB(20 * 64));
	assert_int_equal(logged(p->f, "has taken nothing"), 0);
	run_later(p->f);
	run_later(p->f);
	assert_int_equal(logged(p->f, "has taken nothing"), 1);
	assert_int_equal(offer_all(p, sent, KIB(128)), KIB(128));
	while (read(fd, sink, sizeof(sink)) > 0)
		run_later(p->f);
	assert_logged(p->f, "takes output again");
	assert_int_equal(offer_all(p, 0, KIB(100)), KIB(100));
	close(fd);
	port_free(p);
}

static void nobody_reads_nothing(void **state)
{
	struct port *p = port_new(0, true, "none", -1, -1);

	(void)state;
	assert_true(chan_connected(p->chan));
	for (int i = 0; i < 4; i++)
		assert_int_equal(offer_all(p, 0, KIB(500)), KIB(500));
	assert_int_equal(p->rooms, 0);
	assert_int_equal(totals(p->f).out_dropped, 0);
	port_free(p);
}

/* A file that cannot be written takes everything, and says what it lost. */
static void a_full_disk(void **state)
{
	struct port *p = port_new(0, true, "file:/dev/full", -1, -1);

	(void)state;
	for (int i = 0; i < 10; i++) {
		offer_all(p, 0, KIB(300));
		run_later(p->f);
	}
	assert_int_equal(p->rooms, 10);
	assert_logged(p->f, "cannot write to");
	assert_true(totals(p->f).out_dropped == totals(p->f).out_bytes);
	port_free(p);
}

static void windows_have_sizes(void **state)
{
	struct winsize size = {.ws_col = 80, .ws_row = 24};
	unsigned int cols, rows;
	struct port *p;
	int master, slave;

	(void)state;
	assert_int_equal(openpty(&master, &slave, NULL, NULL, &size), 0);
	p = port_new(0, false, "stdio", slave, slave);
	assert_true(chan_window("stdio", &cols, &rows));
	assert_false(chan_window("none", &cols, &rows));
	assert_int_equal(cols, 80);
	assert_int_equal(rows, 24);
	size.ws_col = 132;
	assert_int_equal(ioctl(master, TIOCSWINSZ, &size), 0);
	chan_window_changed(&p->f->machine);
	assert_int_equal(p->resizes, 1);
	assert_int_equal(p->cols, 132);
	assert_int_equal(p->rows, 24);
	/* A terminal that does not know. */
	size.ws_col = 0;
	assert_int_equal(ioctl(master, TIOCSWINSZ, &size), 0);
	chan_window_changed(&p->f->machine);
	assert_false(chan_window("stdio", &cols, &rows));
	assert_int_equal(p->resizes, 1);
	assert_int_equal(write(master, "k\001bl", 4), 4);
	for (int i = 0; i < 5; i++) {
		run_later(p->f);
		poll(NULL, 0, 1);
	}
	/* Ports know of no breaks. */
	assert_int_equal(p->got_len, 2);
	assert_memory_equal(p->got, "kl", 2);
	/* Ctrl-a p and Ctrl-a x are the control thread's, whoever reads the terminal. */
	assert_int_equal(write(master, "\001p", 2), 2);
	for (int i = 0; i < 5; i++) {
		run_later(p->f);
		poll(NULL, 0, 1);
	}
	assert_true(p->f->paused);
	assert_int_equal(p->got_len, 2);
	port_free(p);
	close(master);
	close(slave);
	/* No terminal, no window. */
	p = port_new(0, false, "none", -1, -1);
	chan_window_changed(&p->f->machine);
	assert_int_equal(p->resizes, 0);
	port_free(p);
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sent_before_anybody_came),
		cmocka_unit_test(left_with_something_said),
		cmocka_unit_test(half_closed),
		cmocka_unit_test(a_console_without_a_client),
		cmocka_unit_test(a_console_whose_reader_stops),
		cmocka_unit_test(nobody_reads_nothing),
		cmocka_unit_test(a_full_disk),
		cmocka_unit_test(windows_have_sizes),
	};

	return cmocka_run_group_tests_name("chan_port", tests, make_dir, remove_dir);
}
