/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The two queues of a channel.
 *
 * Output. Bytes stand in a linear buffer: [out_head, out_tail) is queued, of which the first
 * in_flight bytes belong to the write under way and stay where they are until it completes. An
 * empty buffer starts at 0 again, and what is left after a write moves to the front when that is
 * cheap, so the memory touched is about twice the longest backlog. The vCPU that fills an empty
 * queue posts the worker, which waits a moment for a batch; after that it looks by itself until
 * the queue is empty. One write is under way at a time, so the order is kept.
 *
 * Input. The buffer holds what the device had no room for. A file or socket is read only when that
 * is nothing. A terminal is read on, so that Ctrl-a x works in front of a guest that does not read.
 *
 * vCPU threads use what is under chan.lock, a leaf; the rest is the control thread's, or that of a
 * port's worker. Nothing is posted or logged under a lock of ours.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "chan_priv.h"
#include "skep/clock.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/log.h"

#define BATCH_BYTES KIB(4)
#define BATCH_DELAY (1500 * NS_PER_US)
#define READ_MAX    KIB(4)

/* So long without progress, and a reader is taken not to read. */
#define STALL_AFTER NS_PER_S
/* A reader that reads too slowly does not hold a vCPU for longer in one go. */
#define SETTLE_MAX (4 * NS_PER_S)
#define CLOSE_WAIT (2 * NS_PER_S)

#define CTRL_A 0x01

/* Output: the vCPU's side */

void chan_add_tap(struct machine *m, struct chan_tap *tap)
{
	tap->next = m->taps;
	m->taps = tap;
}

void chan_put(struct chan *c, const uint8_t *data, size_t len)
{
	bool post = false;
	size_t n;

	if (c->dev->machine->silent)
		return;
	/* Only grown before a vCPU runs, so no lock. */
	for (struct chan_tap *t = c->untapped ? NULL : c->dev->machine->taps; t; t = t->next)
		t->bytes(t, c->dev, data, len);
	lock_take(&c->lock);
	n = c->dead ? 0 : MIN(len, CHAN_OUT_BYTES - c->out_tail);
	if (n)
		memcpy(c->out_buf + c->out_tail, data, n);
	c->out_tail += n;
	c->totals.out_bytes += len;
	if (c->kind != CHAN_NONE) {
		c->totals.out_dropped += len - n;
		c->lost += len - n;
	}
	if (c->out_tail > CHAN_CROWDED)
		atomic_store_explicit(&c->crowded, true, memory_order_relaxed);
	if (n && (c->out_state == OUT_IDLE ||
		  (c->out_state == OUT_DELAY && c->out_tail - c->out_head >= BATCH_BYTES))) {
		c->out_state = OUT_BUSY;
		post = true;
	}
	lock_drop(&c->lock);
	if (post)
		worker_post(c->worker, &c->out_post);
}

/* Returns whether the channel has just become stalled. Lock held. */
static bool wait_for_room(struct chan *c)
{
	uint64_t start = clock_now(), since = start, seen = c->progress;

	while (c->out_tail > CHAN_CROWDED && !c->stalled && !c->hurry) {
		if (!c->reader) {
			c->stalled = true;
			return true;
		}
		lock_wait(&c->lock, &c->moved, MIN(since + STALL_AFTER, start + SETTLE_MAX));
		if (c->progress != seen) {
			seen = c->progress;
			since = clock_now();
		} else if (clock_now() >= since + STALL_AFTER) {
			c->stalled = c->out_tail > CHAN_CROWDED;
			return c->stalled;
		}
		if (clock_now() >= start + SETTLE_MAX)
			break;
	}
	return false;
}

/* Whether stderr takes a line now: it may be the very terminal that is stuck. */
static bool can_say(const struct chan *c)
{
	struct pollfd p = {.fd = c->log ? c->log->fd : -1, .events = POLLOUT};

	return poll(&p, 1, 0) > 0;
}

static void tell_stalled(const struct chan *c, bool reader)
{
	if (!can_say(c))
		return;
	if (reader)
		log_guest(c->log, LOG_WARN,
			  "%s: the reader of %s has taken nothing for 1 s; its output is dropped "
			  "until it does",
			  c->dev->id, c->what);
	else
		log_guest(c->log, LOG_WARN,
			  "%s: nobody is connected to %s and the queue is full; output is dropped "
			  "until somebody is",
			  c->dev->id, c->what);
}

void chan_settle(struct chan *c)
{
	bool stalled, reader;

	if (!atomic_load_explicit(&c->crowded, memory_order_relaxed))
		return;
	lock_take(&c->lock);
	stalled = wait_for_room(c);
	reader = c->reader;
	lock_drop(&c->lock);
	if (stalled)
		tell_stalled(c, reader);
}

/* Output: a port's side */

static void watch_reader(struct chan *c)
{
	uint64_t wait;

	lock_take(&c->lock);
	c->stall_progress = c->progress;
	wait = c->reader ? STALL_AFTER : 0;
	lock_drop(&c->lock);
	io_timeout(c->worker, &c->stall_io, clock_now() + wait);
}

static void stall_done(struct io *io, int result)
{
	struct chan *c = container_of(io, struct chan, stall_io);
	bool reader;

	if (c->closing || !c->wanted || result != -ETIME)
		return;
	lock_take(&c->lock);
	reader = c->reader;
	c->stalled = c->progress == c->stall_progress;
	lock_drop(&c->lock);
	if (!c->stalled) {
		watch_reader(c);
		return;
	}
	tell_stalled(c, reader);
	c->wanted = false;
	c->port_ops->room(c->port);
}

size_t chan_offer(struct chan *c, const uint8_t *data, size_t len)
{
	size_t n = len;

	lock_take(&c->lock);
	if (!c->dead && !c->stalled)
		n = c->out_tail < CHAN_CROWDED ? MIN(len, CHAN_CROWDED - c->out_tail) : 0;
	lock_drop(&c->lock);
	if (n)
		chan_put(c, data, n);
	c->wanted = n < len;
	if (c->wanted && !c->lossless && !io_pending(&c->stall_io))
		watch_reader(c);
	return n;
}

/* Behind a write, whatever became of it. */
static void tell_room(struct chan *c)
{
	bool room;

	if (!c->wanted)
		return;
	lock_take(&c->lock);
	room = c->dead || c->out_tail < CHAN_CROWDED;
	lock_drop(&c->lock);
	if (!room)
		return;
	c->wanted = false;
	c->port_ops->room(c->port);
}

void chan_hurry(struct machine *m, bool on)
{
	for (struct chan *c = m->chans; c; c = c->next) {
		lock_take(&c->lock);
		c->hurry = on;
		pthread_cond_broadcast(&c->moved);
		lock_drop(&c->lock);
	}
}

/* Output: the worker's side */

/* @n bytes at the head are done with. Lock held. */
static void retire(struct chan *c, size_t n)
{
	size_t left;

	c->out_head += n;
	left = c->out_tail - c->out_head;
	/* No byte is moved more often than another has been retired. */
	if (left <= c->out_head) {
		memmove(c->out_buf, c->out_buf + c->out_head, left);
		c->out_head = 0;
		c->out_tail = left;
	}
	c->progress++;
	if (c->out_tail <= CHAN_CROWDED)
		atomic_store_explicit(&c->crowded, false, memory_order_relaxed);
	pthread_cond_broadcast(&c->moved);
}

static void out_took(struct chan *c, size_t n)
{
	uint64_t lost;
	bool stalled;

	lock_take(&c->lock);
	retire(c, n);
	c->totals.out_writes++;
	stalled = c->stalled;
	lost = c->lost;
	if (stalled || c->failing) {
		c->stalled = false;
		c->lost = 0;
	}
	lock_drop(&c->lock);
	if (c->failing)
		log_guest(c->log, LOG_WARN, "%s: %s can be written again; %llu bytes were lost",
			  c->dev->id, c->what, (unsigned long long)lost);
	else if (stalled)
		log_guest(c->log, LOG_WARN,
			  "%s: the reader of %s takes output again; %llu bytes were lost",
			  c->dev->id, c->what, (unsigned long long)lost);
	c->failing = 0;
}

/*
 * What could not be written is dropped: a full disk may have room for the next batch. A pipe that
 * nobody reads any more never will.
 */
static void out_failed(struct chan *c, int errnum)
{
	bool told = c->failing;
	size_t n;

	c->failing = errnum;
	lock_take(&c->lock);
	c->dead = errnum == EPIPE;
	n = c->dead ? c->out_tail - c->out_head : c->in_flight;
	c->totals.out_dropped += n;
	c->lost += n;
	retire(c, n);
	lock_drop(&c->lock);
	if (told)
		return;
	if (errnum == EPIPE)
		log_guest(c->log, LOG_WARN,
			  "%s: nobody reads %s any more (%s); further output is dropped",
			  c->dev->id, c->what, strerrordesc_np(errnum));
	else
		log_guest(c->log, LOG_WARN,
			  "%s: cannot write to %s: %s; output is dropped until that works again",
			  c->dev->id, c->what, strerrordesc_np(errnum));
}

/* How a write ended, whoever made it. */
static void out_result(struct chan *c, int result)
{
	if (result > 0)
		out_took(c, (size_t)result);
	else if (result != -ECANCELED && result != -EINTR &&
		 !chan_host_out_failed(c, result ? -result : EIO))
		out_failed(c, result ? -result : EIO);
	c->in_flight = 0;
}

static void out_done(struct io *io, int result)
{
	struct chan *c = container_of(io, struct chan, out_io);

	out_result(c, result);
	chan_out_next(c, false);
	chan_host_check(c);
	tell_room(c);
}

void chan_out_next(struct chan *c, bool now)
{
	size_t queued, head;
	bool delay;

	if (c->closing || c->leaving || io_pending(&c->out_io))
		return;
	lock_take(&c->lock);
	head = c->out_head;
	queued = c->out_tail - head;
	if (!queued)
		c->out_state = OUT_IDLE;
	else if (!c->reader || now || c->lossless || queued >= BATCH_BYTES)
		c->out_state = OUT_BUSY;
	else
		c->out_state = OUT_DELAY;
	delay = c->out_state == OUT_DELAY;
	now = c->out_state == OUT_BUSY && c->reader;
	lock_drop(&c->lock);
	if (now) {
		c->in_flight = MIN(queued, c->write_max);
		io_write(c->worker, &c->out_io, c->out.slot, c->out_buf + head,
			 (uint32_t)c->in_flight, IO_STREAM);
	} else if (delay && !io_pending(&c->delay_io)) {
		io_timeout(c->worker, &c->delay_io, clock_now() + BATCH_DELAY);
	}
}

static void delay_done(struct io *io, int result)
{
	struct chan *c = container_of(io, struct chan, delay_io);

	(void)result;
	chan_out_next(c, true);
}

static void out_posted(struct post *post)
{
	chan_out_next(container_of(post, struct chan, out_post), false);
}

void chan_set_reader(struct chan *c, bool reader)
{
	lock_take(&c->lock);
	c->reader = reader;
	/* Whoever waits for a reader that has left waits no longer. */
	pthread_cond_broadcast(&c->moved);
	lock_drop(&c->lock);
}

/* Input */

/* An answer to the person; none where it would wait, or Ctrl-a x would wait with it. */
static void answer(const struct chan *c, const char *text)
{
	/* LOG_ERROR is never filtered, and adds no word of its own. */
	if (can_say(c))
		log_line(c->log, LOG_ERROR, "%s", text);
}

static void help(const struct chan *c)
{
	answer(c, "Ctrl-a x ends the machine, Ctrl-a p pauses it, Ctrl-a b sends a break, "
		  "Ctrl-a a sends Ctrl-a, Ctrl-a h shows this");
}

/* Pausing is the control thread's, whoever reads the terminal. */
static void toggle_pause(struct post *post)
{
	const struct chan *c = container_of(post, struct chan, pause_post);
	struct machine *m = c->dev->machine;

	answer(c, m->toggle_pause(m) ? "paused; Ctrl-a p goes on" : "going on");
}

/* The byte behind Ctrl-a; returns whether it is for the guest. @at is its place in in_buf. */
static bool escaped(struct chan *c, uint8_t *byte, size_t at)
{
	switch (*byte) {
	case 'a':
	case CTRL_A:
		*byte = CTRL_A;
		return true;
	case 'b':
		/* Breaks that the guest had no time for are one. */
		if (c->in_break == SIZE_MAX)
			c->in_break = at;
		return false;
	case 'x':
		machine_end(c->dev->machine, END_USER, 0, "ended by Ctrl-a x");
		return false;
	case 'p':
		worker_post(c->dev->machine->control, &c->pause_post);
		return false;
	case 'h':
	case '?':
		help(c);
		return false;
	default:
		return false;
	}
}

/* Takes the escapes out of @len bytes at in_buf + in_len; returns what is left. */
static size_t take_escapes(struct chan *c, size_t len)
{
	uint8_t *data = c->in_buf + c->in_len;
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		uint8_t byte = data[i];
		bool keep;

		if (c->escape) {
			c->escape = false;
			keep = escaped(c, &byte, c->in_len + n);
		} else {
			c->escape = byte == CTRL_A;
			keep = !c->escape;
		}
		if (keep)
			data[n++] = byte;
	}
	return n;
}

static size_t give(struct chan *c, const uint8_t *data, size_t len)
{
	return c->ops ? c->ops->input(c->dev, data, len) : c->port_ops->input(c->port, data, len);
}

/* Offers what was typed; false while some of it is left. The channel's worker, device's lock held.
 */
static bool offer_typed(struct chan *c)
{
	uint8_t piece[256];
	size_t n, taken;

	do {
		lock_take(&c->lock);
		n = MIN(c->typed_len, sizeof(piece));
		if (n)
			memcpy(piece, c->typed, n);
		lock_drop(&c->lock);
		taken = n ? give(c, piece, n) : 0;
		bug_on(taken > n);
		lock_take(&c->lock);
		c->typed_len -= taken;
		if (taken)
			memmove(c->typed, c->typed + taken, c->typed_len);
		c->totals.in_bytes += taken;
		lock_drop(&c->lock);
	} while (taken);
	return !n;
}

/* Offers the device what is there, with a break in its place. */
static void offer(struct chan *c)
{
	struct device *dev = c->dev;
	size_t until, taken;
	bool blocked;

	if (dev->machine->silent)
		return;

	if (c->ops)
		device_lock(dev);
	blocked = !offer_typed(c);
	while (!blocked) {
		until = MIN(c->in_len, c->in_break);
		if (c->in_at < until) {
			taken = give(c, c->in_buf + c->in_at, until - c->in_at);
			bug_on(taken > until - c->in_at);
			c->in_at += taken;
		}
		if (c->in_at != c->in_break)
			break;
		c->in_break = SIZE_MAX;
		if (c->ops && c->ops->input_break)
			c->ops->input_break(dev);
	}
	c->in_blocked = blocked || c->in_at < c->in_len;
	if (c->ops)
		device_unlock(dev);
}

int chan_type(struct machine *m, const struct device *dev, const char *text, size_t len)
{
	struct chan *c = NULL;
	uint8_t *typed;

	/* The last of the list was opened first. */
	for (struct chan *o = m->chans; o; o = o->next)
		if ((!dev || o->dev == dev) && !o->untapped && !(o->ops && o->ops->deaf))
			c = o;
	if (!c)
		return -ENODEV;
	if (!len)
		return 0; /* realloc() of nothing is free() */
	lock_take(&c->lock);
	typed = realloc(c->typed, c->typed_len + len);
	if (typed) {
		memcpy(typed + c->typed_len, text, len);
		c->typed = typed;
		c->typed_len += len;
	}
	lock_drop(&c->lock);
	if (!typed)
		return -ENOMEM;
	worker_post(c->worker, &c->in_post);
	return 0;
}

/* Starts at the front again; no read is under way. */
static void in_compact(struct chan *c)
{
	size_t left = c->in_len - c->in_at;

	if (left && c->in_len < CHAN_IN_BYTES)
		return;
	memmove(c->in_buf, c->in_buf + c->in_at, left);
	if (c->in_break != SIZE_MAX)
		c->in_break -= c->in_at;
	c->in_at = 0;
	c->in_len = left;
}

void chan_in_next(struct chan *c)
{
	size_t room;

	if (c->closing || c->leaving || c->in_ended || c->in.fd < 0 || io_pending(&c->in_io))
		return;
	in_compact(c);
	if (c->in_len && !c->terminal)
		return;
	room = CHAN_IN_BYTES - c->in_len;
	if (room)
		io_read(c->worker, &c->in_io, c->in.slot, c->in_buf + c->in_len,
			(uint32_t)MIN(room, READ_MAX), IO_STREAM);
}

static void in_arrived(struct chan *c, size_t len)
{
	lock_take(&c->lock);
	c->totals.in_bytes += len;
	lock_drop(&c->lock);
	c->in_len += c->terminal ? take_escapes(c, len) : len;
	offer(c);
}

static void in_done(struct io *io, int result)
{
	struct chan *c = container_of(io, struct chan, in_io);

	if (c->closing)
		return;
	if (result > 0)
		in_arrived(c, (size_t)result);
	else if (result != -ECANCELED && result != -EINTR)
		chan_host_in_ended(c, -result);
	chan_in_next(c);
	chan_host_check(c);
}

static void in_posted(struct post *post)
{
	struct chan *c = container_of(post, struct chan, in_post);

	offer(c);
	chan_in_next(c);
	chan_host_check(c);
}

void chan_want_input(struct chan *c)
{
	if (!c || !c->in_blocked)
		return;
	c->in_blocked = false;
	worker_post(c->worker, &c->in_post);
}

/* Opening and closing */

static struct chan *new_chan(struct device *dev, struct worker *w, struct err *err)
{
	struct chan *c = calloc(1, sizeof(*c));

	if (!c) {
		err_sys(err, ENOMEM, "console of %s", dev->id);
		return NULL;
	}
	c->dev = dev;
	c->worker = w;
	c->log = dev->machine->log;
	c->in.fd = c->out.fd = c->listener.fd = c->slave = -1;
	c->write_max = KIB(64);
	c->in_break = SIZE_MAX;
	c->out_io.done = out_done;
	c->delay_io.done = delay_done;
	c->in_io.done = in_done;
	c->out_post.fn = out_posted;
	c->in_post.fn = in_posted;
	c->pause_post.fn = toggle_pause;
	c->stall_io.done = stall_done;
	c->dead = true;
	lock_init(&c->lock, LOCK_LEAF);
	lock_cond_init(&c->moved);
	return c;
}

static int open_chan(struct chan **cp, struct chan *c, const char *spec, struct err *err)
{
	struct machine *m = c->dev->machine;
	int ret;

	ret = chan_host_open(c, spec ? spec : "none", err);
	if (ret) {
		chan_close(c);
		return ret;
	}
	if (c->kind != CHAN_NONE) {
		c->dead = false;
		/* A reader that has gone is an error of write(), as is a file that may not grow.
		 * Both are the process's dispositions; nothing in skep wants the signals. */
		signal(SIGPIPE, SIG_IGN);
		signal(SIGXFSZ, SIG_IGN);
		chan_in_next(c);
	}
	c->next = m->chans;
	m->chans = c;
	*cp = c;
	return 0;
}

int chan_open(struct chan **cp, struct device *dev, const char *spec, const struct chan_ops *ops,
	      struct err *err)
{
	struct chan *c = new_chan(dev, dev->machine->control, err);

	*cp = NULL;
	if (!c)
		return -ENOMEM;
	c->ops = ops;
	c->has_input = ops->input;
	return open_chan(cp, c, spec, err);
}

int chan_open_port(struct chan **cp, struct device *dev, struct worker *w, const char *spec,
		   const struct chan_port_ops *ops, void *port, struct err *err)
{
	struct chan *c = new_chan(dev, w, err);

	*cp = NULL;
	if (!c)
		return -ENOMEM;
	c->port_ops = ops;
	c->port = port;
	c->has_input = true;
	c->lossless = ops->lossless;
	c->untapped = ops->untapped;
	return open_chan(cp, c, spec, err);
}

size_t chan_queued(struct chan *c)
{
	size_t n;

	lock_take(&c->lock);
	n = c->out_tail - c->out_head;
	lock_drop(&c->lock);
	return n;
}

bool chan_connected(const struct chan *c)
{
	return chan_host_connected(c);
}

bool chan_window(const char *spec, unsigned int *cols, unsigned int *rows)
{
	return !strcmp(spec, "stdio") && isatty(STDIN_FILENO) && tty_foreground(STDIN_FILENO) &&
	       tty_size(STDIN_FILENO, cols, rows);
}

void chan_window_changed(struct machine *m)
{
	unsigned int cols, rows;

	for (struct chan *c = m->chans; c; c = c->next) {
		if (!c->terminal || !c->port_ops || !c->port_ops->resized ||
		    !chan_window("stdio", &cols, &rows))
			continue;
		device_lock(c->dev);
		c->port_ops->resized(c->port, cols, rows);
		device_unlock(c->dev);
	}
}

static void stop(struct chan *c, struct io *io)
{
	io_cancel(c->worker, io);
	io_drain(c->worker, io);
}

/* A write that does not wait; on what is not ours it stays below what poll() promises. */
static ssize_t write_now(const struct chan *c, const uint8_t *data, size_t len)
{
	ssize_t n = send(c->out.fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	return n < 0 && errno == ENOTSOCK ? write(c->out.fd, data, len) : n;
}

/* The last of the queue. The worker may not be running any more, so this does without. */
static void flush(struct chan *c)
{
	uint64_t deadline = clock_now() + CLOSE_WAIT, now;
	struct pollfd p = {.fd = c->out.fd, .events = POLLOUT};

	while (c->out.fd >= 0 && c->reader && c->out_tail > c->out_head) {
		ssize_t n;

		now = clock_now();
		if (now >= deadline)
			break;
		if (poll(&p, 1, (int)((deadline - now) / NS_PER_MS) + 1) <= 0)
			continue;
		c->in_flight = MIN(c->out_tail - c->out_head, c->write_max);
		n = write_now(c, c->out_buf + c->out_head, c->in_flight);
		if (n < 0 && errno == EAGAIN)
			continue;
		if (n > 0)
			deadline = clock_now() + CLOSE_WAIT;
		out_result(c, n < 0 ? -errno : (int)n);
	}
}

static void unlink_chan(const struct chan *c)
{
	struct chan **p = &c->dev->machine->chans;

	while (*p && *p != c)
		p = &(*p)->next;
	if (*p)
		*p = c->next;
}

void chan_close(struct chan *c)
{
	if (!c)
		return;
	unlink_chan(c);
	c->closing = true;
	stop(c, &c->out_io);
	stop(c, &c->delay_io);
	stop(c, &c->in_io);
	stop(c, &c->retry_io);
	stop(c, &c->client_io);
	stop(c, &c->stall_io);
	worker_unpost(c->dev->machine->control, &c->pause_post);
	worker_unpost(c->worker, &c->out_post);
	worker_unpost(c->worker, &c->in_post);
	flush(c);
	if (c->reader && c->out_tail == c->out_head)
		chan_host_linger(c);
	chan_host_close(c);
	c->totals.out_dropped += c->out_tail - c->out_head;
	if (c->totals.out_dropped)
		log_warn(c->log,
			 "%s: of %llu bytes of output, %llu were lost: %s did not take them",
			 c->dev->id, (unsigned long long)c->totals.out_bytes,
			 (unsigned long long)c->totals.out_dropped, c->what);
	if (c->out_buf)
		munmap(c->out_buf, CHAN_OUT_BYTES + CHAN_IN_BYTES);
	pthread_cond_destroy(&c->moved);
	lock_destroy(&c->lock);
	free(c->typed);
	free(c->what);
	free(c->path);
	free(c);
}

void chan_totals(struct chan *c, struct chan_totals *t)
{
	lock_take(&c->lock);
	*t = c->totals;
	lock_drop(&c->lock);
}
