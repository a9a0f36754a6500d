/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A frame is painted when the one before has gone out: the channel's queue is never longer than
 * one, so nothing is ever dropped, and a terminal that stands still costs a look at the queue.
 *
 * While the screen is up, log lines that would go to a terminal wait in memory: they are shown on
 * the line below the screen, and printed when the terminal is back.
 *
 * Control thread; display_room() is posted by whatever thread takes keys from the keyboard.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chan_priv.h"
#include "keys.h"
#include "painter.h"
#include "skep/clock.h"
#include "skep/device.h"
#include "skep/display.h"
#include "skep/err.h"
#include "skep/log.h"

#define FRAME_EVERY (33 * NS_PER_MS)
#define STILL_EVERY (250 * NS_PER_MS)
/* The bytes of a key's sequence come together; a person's next key does not come so soon. */
#define ESCAPE_WAIT (25 * NS_PER_MS)
#define NOTE_STAYS  (6 * NS_PER_S)

#define FRAME_BYTES KIB(16)
#define STROKES     64

struct display {
	struct machine *machine;
	struct chan *chan;
	bool entered; /* the terminal shows its other screen */
	bool closing;

	struct io tick;
	uint64_t every;
	struct painter painter;
	struct screen_frame frame;
	char bytes[FRAME_BYTES];

	struct keys keys;
	struct io escape;
	bool heard; /* bytes have come since @escape was started */
	struct stroke strokes[STROKES];
	unsigned int stroke_first, stroke_count;
	struct post room;

	int log_kept; /* where log lines went before, or -1: they still do */
	off_t log_seen;
	uint64_t note_until;
};

/* Log lines */

static void keep_log(struct display *d)
{
	struct log *log = d->machine->log;
	int fd;

	d->log_kept = -1;
	if (!log || !isatty(log->fd))
		return;
	fd = memfd_create("log", MFD_CLOEXEC);
	if (fd < 0)
		return;
	d->log_kept = log->fd;
	log->fd = fd;
}

static void release_log(struct display *d)
{
	struct log *log = d->machine->log;
	char buf[1024];
	ssize_t n;
	int fd;

	if (d->log_kept < 0)
		return;
	fd = log->fd;
	log->fd = d->log_kept;
	for (off_t at = 0; (n = pread(fd, buf, sizeof(buf), at)) > 0; at += n)
		if (write(log->fd, buf, (size_t)n) != n)
			break;
	close(fd);
}

/* The last line of the log, if there is a new one, becomes the note for a while. */
static void look_at_log(struct display *d)
{
	char buf[1024];
	const char *line;
	const int fd = d->machine->log ? d->machine->log->fd : -1;
	off_t end = d->log_seen;
	ssize_t n;

	while (d->log_kept >= 0 && (n = pread(fd, buf, sizeof(buf), end)) > 0)
		end += n;
	if (end > d->log_seen) {
		d->log_seen = end;
		n = pread(fd, buf, sizeof(buf) - 1, MAX(end - (off_t)sizeof(buf) + 1, (off_t)0));
		buf[MAX(n, (ssize_t)1) - 1] = '\0'; /* its newline */
		line = strrchr(buf, '\n');
		snprintf(d->painter.note, sizeof(d->painter.note), "%.*s", PAINTER_NOTE_MAX - 1,
			 line ? line + 1 : buf);
		d->note_until = clock_now() + NOTE_STAYS;
	} else if (d->painter.note[0] && clock_now() >= d->note_until) {
		d->painter.note[0] = '\0';
	}
}

/* Frames */

static void enter(struct display *d)
{
	d->entered = true;
	chan_restore_text(PAINTER_LEAVE);
	chan_offer(d->chan, (const uint8_t *)PAINTER_ENTER, strlen(PAINTER_ENTER));
}

/* Returns whether anything had changed. */
static bool paint(struct display *d)
{
	unsigned int cols, rows;
	size_t n;

	if (!d->entered)
		enter(d);
	/* A terminal that does not say is taken for one of its kind. */
	if (!tty_size(STDOUT_FILENO, &cols, &rows)) {
		cols = 80;
		rows = 25;
	}
	if (cols != d->painter.cols || rows != d->painter.rows)
		painter_resize(&d->painter, cols, rows);
	look_at_log(d);
	if (!screen_look(d->machine, &d->frame))
		return false;
	if (d->frame.graphics && !d->painter.note[0])
		snprintf(d->painter.note, sizeof(d->painter.note),
			 "the guest has put its screen into a graphics mode, which is not shown");
	n = painter_paint(&d->painter, &d->frame, d->bytes, sizeof(d->bytes));
	if (n)
		chan_offer(d->chan, (const uint8_t *)d->bytes, n);
	return n;
}

static void start_tick(struct display *d)
{
	io_timeout(d->machine->control, &d->tick, clock_now() + d->every);
}

static void display_tick(struct io *io, int result)
{
	struct display *d = container_of(io, struct display, tick);

	(void)result;
	if (d->closing)
		return;
	if (chan_queued(d->chan) || paint(d))
		d->every = FRAME_EVERY;
	else
		d->every = MIN(2 * d->every, STILL_EVERY);
	start_tick(d);
}

/* Something is about to change: no waiting for it. */
static void hasten(struct display *d)
{
	if (d->every <= FRAME_EVERY)
		return;
	d->every = FRAME_EVERY;
	io_cancel(d->machine->control, &d->tick);
}

/* Keys */

static void send_strokes(struct display *d)
{
	while (d->stroke_count) {
		struct keyboard *k = d->machine->keyboard;
		bool taken = true;

		if (k) {
			device_lock(k->dev);
			taken = k->strike(k->dev, d->strokes[d->stroke_first]);
			if (!taken)
				k->room = &d->room;
			device_unlock(k->dev);
		}
		if (!taken)
			return;
		d->stroke_first = (d->stroke_first + 1) % STROKES;
		d->stroke_count--;
	}
}

static void add_stroke(struct display *d, struct stroke s)
{
	d->strokes[(d->stroke_first + d->stroke_count++) % STROKES] = s;
}

static void display_room(struct post *post)
{
	struct display *d = container_of(post, struct display, room);

	send_strokes(d);
	hasten(d);
	chan_want_input(d->chan);
}

static void start_escape(struct display *d)
{
	d->heard = false;
	if (keys_waiting(&d->keys) && !io_pending(&d->escape))
		io_timeout(d->machine->control, &d->escape, clock_now() + ESCAPE_WAIT);
}

static void escape_done(struct io *io, int result)
{
	struct display *d = container_of(io, struct display, escape);
	struct stroke s;

	(void)result;
	if (d->closing)
		return;
	if (d->heard) {
		start_escape(d);
		return;
	}
	/* A full row of strokes is a person who leans on the keyboard: one is lost. */
	if (keys_expire(&d->keys, &s) && d->stroke_count < STROKES)
		add_stroke(d, s);
	send_strokes(d);
}

static size_t display_input(void *port, const uint8_t *data, size_t len)
{
	struct display *d = port;
	struct stroke s;
	size_t n = 0;

	while (n < len && d->stroke_count < STROKES) {
		if (keys_take(&d->keys, data[n++], &s))
			add_stroke(d, s);
		send_strokes(d);
	}
	d->heard = true;
	if (!io_pending(&d->escape))
		start_escape(d);
	hasten(d);
	return n;
}

static void display_resized(void *port, unsigned int cols, unsigned int rows)
{
	(void)cols;
	(void)rows;
	hasten(port);
}

static void more_room(void *port)
{
	hasten(port);
}

static const struct chan_port_ops display_chan_ops = {
	.input = display_input,
	.room = more_room,
	.resized = display_resized,
	.untapped = true,
};

/* Opening and closing */

static int check_terminal(struct err *err)
{
	if (!isatty(STDOUT_FILENO))
		return err_set(
			err, ENOTTY,
			"standard output is no terminal to show the screen on; --display dump "
			"prints it at the end");
	if (!tty_foreground(STDOUT_FILENO))
		return err_set(
			err, EBUSY,
			"skep runs in the background, and cannot have the terminal; --display "
			"dump prints the screen at the end");
	return 0;
}

int display_open(struct display **out, struct device *dev, struct err *err)
{
	const char *no_colour = getenv("NO_COLOR");
	struct display *d;
	int ret = check_terminal(err);

	*out = NULL;
	if (ret)
		return ret;
	d = calloc(1, sizeof(*d));
	if (!d)
		return err_sys(err, ENOMEM, "display of %s", dev->id);
	d->machine = dev->machine;
	d->tick.done = display_tick;
	d->escape.done = escape_done;
	d->room.fn = display_room;
	d->every = FRAME_EVERY;
	d->painter.colour = !no_colour || !*no_colour;
	keep_log(d);
	ret = chan_open_port(&d->chan, dev, d->machine->control, "stdio", &display_chan_ops, d,
			     err);
	if (ret) {
		display_close(d);
		return ret;
	}
	io_timeout(d->machine->control, &d->tick, clock_now());
	*out = d;
	return 0;
}

static void stop(struct display *d, struct io *io)
{
	io_cancel(d->machine->control, io);
	io_drain(d->machine->control, io);
}

void display_close(struct display *d)
{
	struct keyboard *k;

	if (!d)
		return;
	k = d->machine->keyboard;
	d->closing = true;
	if (k) {
		device_lock(k->dev);
		if (k->room == &d->room)
			k->room = NULL;
		device_unlock(k->dev);
	}
	worker_unpost(d->machine->control, &d->room);
	stop(d, &d->tick);
	stop(d, &d->escape);
	if (d->entered) {
		chan_restore_text(NULL);
		chan_offer(d->chan, (const uint8_t *)PAINTER_LEAVE, strlen(PAINTER_LEAVE));
	}
	chan_close(d->chan);
	release_log(d);
	free(d);
}
