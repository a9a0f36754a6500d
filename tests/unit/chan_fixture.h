/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chan_fixture - a device that records what a channel brings it, for the tests of chan.
 *
 * The worker is the deterministic one, or the host's on a thread of its own. Standard input and
 * output of the process can be exchanged for a while, and the log is kept in memory.
 */
#ifndef TESTS_UNIT_CHAN_FIXTURE_H
#define TESTS_UNIT_CHAN_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/chan.h"
#include "skep/clock.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/log.h"
#include "skep/worker.h"
#include "skep/worker_sim.h"
#include "support/cm.h"

struct fixture {
	struct machine machine; /* first */
	struct device dev;
	struct log log;
	struct err err;
	struct chan *chan;
	bool real;
	atomic_bool ended; /* last: ending is complete */
	struct ending ending;
	bool paused;
	int saved[2]; /* standard input and output; -1: not exchanged */

	/* The device, under its lock */
	char got[256 * 1024];
	size_t got_len;
	size_t room;         /* it takes no more until the test says so */
	unsigned int breaks; /* '~' marks them in got */
};

static inline void fixture_end(struct machine *m, const struct ending *ending)
{
	struct fixture *f = container_of(m, struct fixture, machine);

	f->ending = *ending;
	f->ended = true;
}

static inline bool fixture_toggle_pause(struct machine *m)
{
	struct fixture *f = container_of(m, struct fixture, machine);

	f->paused = !f->paused;
	return f->paused;
}

static inline size_t fixture_input(struct device *dev, const uint8_t *data, size_t len)
{
	struct fixture *f = container_of(dev, struct fixture, dev);

	len = MIN(len, f->room);
	assert_true(f->got_len + len < sizeof(f->got));
	memcpy(f->got + f->got_len, data, len);
	f->got_len += len;
	f->room -= len;
	return len;
}

static inline void fixture_break(struct device *dev)
{
	struct fixture *f = container_of(dev, struct fixture, dev);

	f->got[f->got_len++] = '~';
	f->breaks++;
}

static const struct chan_ops fixture_ops = {
	.input = fixture_input,
	.input_break = fixture_break,
};

static inline struct fixture *fixture_new(bool real, uint64_t seed)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->real = real;
	f->room = SIZE_MAX;
	f->saved[0] = f->saved[1] = -1;
	log_init(&f->log, memfd_create("log", MFD_CLOEXEC), LOG_INFO);
	f->machine.log = &f->log;
	f->machine.end = fixture_end;
	f->machine.toggle_pause = fixture_toggle_pause;
	f->dev.machine = &f->machine;
	snprintf(f->dev.id, sizeof(f->dev.id), "com1");
	lock_init(&f->dev.lock, LOCK_DEVICE);
	if (!real) {
		assert_int_equal(worker_sim_create(&f->machine.control, seed, &f->err), 0);
		return f;
	}
	if (worker_create(&f->machine.control, "control", &f->err))
		fail_msg("%s", f->err.text);
	return f;
}

/* Before the first channel is opened. -1 leaves the one in place. */
static inline void fixture_stdio(struct fixture *f, int in, int out)
{
	int fds[2] = {in, out};

	fflush(stdout);
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0) {
			f->saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
			assert_true(f->saved[i] >= 0);
			assert_int_equal(dup2(fds[i], i), i);
		}
}

static inline int fixture_try(struct fixture *f, const char *spec)
{
	return chan_open(&f->chan, &f->dev, spec, &fixture_ops, &f->err);
}

static inline void fixture_open(struct fixture *f, const char *spec)
{
	if (fixture_try(f, spec))
		fail_msg("%s", f->err.text);
	if (f->real && worker_start(f->machine.control, &f->err))
		fail_msg("%s", f->err.text);
}

static inline void fixture_close_now(void *arg)
{
	struct fixture *f = arg;

	chan_close(f->chan);
	f->chan = NULL;
}

static inline void fixture_close(struct fixture *f)
{
	worker_call(f->machine.control, fixture_close_now, f);
	for (int i = 0; i < 2; i++)
		if (f->saved[i] >= 0) {
			dup2(f->saved[i], i);
			close(f->saved[i]);
			f->saved[i] = -1;
		}
}

static inline void fixture_free(struct fixture *f)
{
	if (f->real)
		worker_stop(f->machine.control);
	worker_destroy(f->machine.control);
	lock_destroy(&f->dev.lock);
	close(f->log.fd);
	free(f);
}

/* The deterministic worker: what can be done now, and what can be done a little later. */
static inline void run(struct fixture *f)
{
	worker_sim_run(f->machine.control, 100000);
}

static inline void run_later(struct fixture *f)
{
	run(f);
	worker_sim_advance(f->machine.control, clock_now() + NS_PER_S);
	run(f);
}

/* As a vCPU does. */
static inline void put(struct fixture *f, const void *data, size_t len)
{
	device_lock(&f->dev);
	chan_put(f->chan, data, len);
	device_unlock(&f->dev);
	chan_settle(f->chan);
}

static inline void put_text(struct fixture *f, const char *text)
{
	put(f, text, strlen(text));
}

/* Lets the device take @more bytes. */
static inline void give_room(struct fixture *f, size_t more)
{
	device_lock(&f->dev);
	f->room = more;
	chan_want_input(f->chan);
	device_unlock(&f->dev);
}

static inline struct chan_totals totals(struct fixture *f)
{
	struct chan_totals t;

	chan_totals(f->chan, &t);
	return t;
}

/* How often the log says @text. */
static inline unsigned int logged(struct fixture *f, const char *text)
{
	static char buf[128 * 1024];
	ssize_t n = pread(f->log.fd, buf, sizeof(buf) - 1, 0);
	unsigned int times = 0;

	assert_true(n >= 0);
	buf[n] = '\0';
	for (const char *p = buf; (p = strstr(p, text)); p++)
		times++;
	return times;
}

static inline void assert_logged(struct fixture *f, const char *text)
{
	if (!logged(f, text)) {
		logged(f, "");
		fail_msg("the log does not say: %s", text);
	}
}

/*
 * Exactly @text arrives at @fd, which does not block: the kernel hands what was written to a
 * terminal on from a thread of its own, so it may take a moment, and come in parts.
 */
static inline void assert_reads(int fd, const char *text)
{
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	const size_t want = strlen(text);
	char buf[4096];
	size_t len = 0;
	ssize_t n;

	do {
		n = read(fd, buf + len, sizeof(buf) - 1 - len);
		assert_true(n >= 0 || errno == EAGAIN);
		len += (size_t)MAX(n, 0);
	} while (n && len < want && poll(&readable, 1, 5000) == 1);
	buf[len] = '\0';
	assert_string_equal(buf, text);
}

static inline void assert_got(struct fixture *f, const char *text)
{
	device_lock(&f->dev);
	f->got[f->got_len] = '\0';
	assert_string_equal(f->got, text);
	device_unlock(&f->dev);
}

/* On the host's worker: waits until @len bytes and breaks have arrived. */
static inline void wait_got(struct fixture *f, size_t len)
{
	size_t now;

	do {
		poll(NULL, 0, 1);
		device_lock(&f->dev);
		now = f->got_len;
		device_unlock(&f->dev);
	} while (now < len);
}

#endif
