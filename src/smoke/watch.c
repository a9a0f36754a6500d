/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each console has a ring: the thread that puts bytes fills it, one at a time, for it holds the
 * device's lock or is the port's worker; who has the judge's lock empties it. So batches come to
 * the judge in order whichever thread brings them. The rank of that lock allows to take it with a
 * device's lock held, as the thread of a vCPU does whose ring is full.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"
#include "rows.h"
#include "skep/bits.h"
#include "skep/chan.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "skep/lock.h"
#include "skep/log.h"
#include "skep/screen.h"
#include "skep/vm.h"
#include "skep/worker.h"
#include "watch.h"

/* Text is collected for so long: the guest of a chatty console is not disturbed for each line. */
#define BATCH_DELAY (5 * NS_PER_MS)
#define RING_BYTES  KIB(32) /* a power of two */

/* A screen says nothing by itself: it is looked at. */
#define SCREEN_EVERY (40 * NS_PER_MS)

/* How often progress is looked for in the time in which there has to be some. */
#define HANG_LOOKS  8
#define HANG_ANSWER (20 * NS_PER_MS)

struct ear {
	const struct device *dev;
	uint8_t *ring;
	atomic_ulong filled;  /* bytes ever put; the console's thread */
	atomic_ulong emptied; /* bytes ever taken; the judge's lock */
	int console;          /* the judge's number; the same */
};

struct watch {
	struct vm *vm;
	struct machine *machine;
	struct judge *judge;
	struct chan_tap tap;

	struct lock judging; /* the judge */
	struct lock lock;    /* who adds an ear */
	struct ear ears[JUDGE_CONSOLES];
	atomic_uint ear_count;
	atomic_bool deaf;    /* a console is not listened to, for want of room */
	atomic_bool waiting; /* the control thread will look by itself */

	/* Control thread. */
	struct post said;
	struct io batch; /* while one comes together */
	struct io clock;
	uint64_t wake; /* when the judge wants to look at the clock */
	bool told;     /* the machine has its verdict */

	/* The same: a text screen. */
	struct io screen_io;
	struct rows rows;
	int screen_console; /* the judge's number; -1: it has shown nothing yet */

	/* The same: a guest that hangs. */
	uint64_t hang; /* 0: it may */
	struct io hang_io;
	bool asked;
	uint64_t progress;
	uint64_t since; /* no progress */
};

/* Listening; any thread */

static struct ear *find_ear(struct watch *w, const struct device *dev)
{
	const unsigned int count = atomic_load_explicit(&w->ear_count, memory_order_acquire);

	for (unsigned int i = 0; i < count; i++)
		if (w->ears[i].dev == dev)
			return &w->ears[i];
	return NULL;
}

/* A console's first word; NULL: there is no room for what it says. */
static struct ear *add_ear(struct watch *w, const struct device *dev)
{
	struct ear *ear = NULL;
	unsigned int n;

	lock_take(&w->lock);
	n = atomic_load(&w->ear_count);
	if (n < JUDGE_CONSOLES) {
		ear = &w->ears[n];
		ear->dev = dev;
		ear->console = -1;
		ear->ring = malloc(RING_BYTES);
		if (ear->ring)
			atomic_store(&w->ear_count, n + 1);
		else
			ear = NULL;
	}
	lock_drop(&w->lock);
	if (!ear)
		atomic_store(&w->deaf, true);
	return ear;
}

/* Hands the judge what @ear has heard; false: nothing. The judge's lock is held. */
static bool empty(struct watch *w, struct ear *ear)
{
	unsigned long at = atomic_load_explicit(&ear->emptied, memory_order_relaxed);
	unsigned long left = atomic_load_explicit(&ear->filled, memory_order_acquire) - at;
	const bool any = left;

	if (left && ear->console < 0)
		ear->console = judge_console(w->judge, ear->dev->id);
	while (left) {
		const size_t from = at % RING_BYTES;
		const size_t n = MIN(left, RING_BYTES - from);

		if (ear->console >= 0)
			judge_feed(w->judge, ear->console, ear->ring + from, n, clock_now());
		at += n;
		left -= n;
	}
	atomic_store_explicit(&ear->emptied, at, memory_order_release);
	return any;
}

/*
 * Hands the judge what has been said so far; false: nothing. The judge's lock is held. Who fills a
 * ring at this very moment may still take the control thread for waiting, and not be seen here: so
 * where something was said, look() comes again.
 */
static bool bring(struct watch *w)
{
	unsigned int count;
	bool any = false;

	atomic_store(&w->waiting, false);
	count = atomic_load(&w->ear_count);
	for (unsigned int i = 0; i < count; i++)
		any |= empty(w, &w->ears[i]);
	return any;
}

/* Returns how much there was room for. */
static size_t fill(struct ear *ear, const uint8_t *data, size_t len)
{
	const unsigned long at = atomic_load_explicit(&ear->filled, memory_order_relaxed);
	const unsigned long used = at - atomic_load_explicit(&ear->emptied, memory_order_acquire);
	const size_t n = MIN(len, RING_BYTES - used), from = at % RING_BYTES;
	const size_t first = MIN(n, RING_BYTES - from);

	/* A serial port puts one byte at a time, for which a copy of any length is dear. */
	if (n == 1) {
		ear->ring[from] = *data;
	} else {
		memcpy(ear->ring + from, data, first);
		memcpy(ear->ring, data + first, n - first);
	}
	/* No more than that, for each byte of a chatty guest comes by here: see bring(). */
	atomic_store_explicit(&ear->filled, at + n, memory_order_release);
	return n;
}

static void on_bytes(struct chan_tap *tap, const struct device *dev, const uint8_t *data,
		     size_t len)
{
	struct watch *w = container_of(tap, struct watch, tap);
	struct ear *ear = find_ear(w, dev);

	if (!ear)
		ear = add_ear(w, dev);
	while (ear && len) {
		size_t n = fill(ear, data, len);

		if (!atomic_load_explicit(&w->waiting, memory_order_relaxed) &&
		    !atomic_exchange(&w->waiting, true))
			worker_post(w->machine->control, &w->said);
		data += n;
		len -= n;
		if (!len)
			return;
		lock_take(&w->judging);
		bring(w);
		lock_drop(&w->judging);
	}
}

/* Judging; control thread */

/* Where the last expectation was met; if that takes no input, on the machine's first console. */
static void type(struct watch *w, int console, const char *text, size_t len)
{
	const struct device *dev = NULL;
	int ret = -ENODEV;

	for (unsigned int i = 0; i < atomic_load(&w->ear_count); i++)
		if (console >= 0 && w->ears[i].console == console)
			dev = w->ears[i].dev;
	if (dev)
		ret = chan_type(w->machine, dev, text, len);
	if (ret == -ENODEV)
		ret = chan_type(w->machine, NULL, text, len);
	if (ret)
		log_warn(w->machine->log, "what was to be sent to the guest was not: %s",
			 ret == -ENODEV ? "it has no console that takes input"
					: strerrordesc_np(-ret));
}

/* The lock is not held across typing, which takes others. */
static void send_due(struct watch *w)
{
	const char *text;
	size_t len;
	int console;
	bool due;

	for (;;) {
		lock_take(&w->judging);
		due = judge_take_send(w->judge, &text, &len, &console);
		lock_drop(&w->judging);
		if (!due)
			return;
		type(w, console, text, len);
	}
}

static void tell(struct watch *w, const struct judge_verdict *v)
{
	if (w->told)
		return;
	w->told = true;
	machine_end(w->machine, v->ending.kind, v->ending.code, "%s", v->ending.reason);
}

static void wake_at(struct watch *w, uint64_t at)
{
	const bool sooner = at < w->wake;

	if (at == UINT64_MAX)
		return;
	if (!io_pending(&w->clock)) {
		w->wake = at;
		io_timeout(w->machine->control, &w->clock, at);
	} else if (sooner) {
		w->wake = at;
		io_cancel(w->machine->control, &w->clock);
	}
}

static void look(struct watch *w)
{
	const struct judge_verdict *v;
	uint64_t now = clock_now(), due;
	bool any;

	lock_take(&w->judging);
	any = bring(w);
	judge_look(w->judge, now);
	v = judge_verdict(w->judge, now);
	due = judge_due(w->judge);
	lock_drop(&w->judging);
	if (any)
		due = MIN(due, now + JUDGE_QUIET);
	send_due(w);
	if (v)
		tell(w, v);
	else
		wake_at(w, MAX(due, now + NS_PER_MS));
}

static void on_clock(struct io *io, int result)
{
	struct watch *w = container_of(io, struct watch, clock);

	(void)result;
	if (w->told)
		return;
	/* Called off, for it is wanted sooner. */
	if (clock_now() < w->wake)
		io_timeout(w->machine->control, &w->clock, w->wake);
	else
		look(w);
}

static void on_batch(struct io *io, int result)
{
	(void)result;
	look(container_of(io, struct watch, batch));
}

static void on_said(struct post *post)
{
	struct watch *w = container_of(post, struct watch, said);

	if (!w->told && !io_pending(&w->batch))
		io_timeout(w->machine->control, &w->batch, clock_now() + BATCH_DELAY);
}

/* The screen; control thread */

/* The judge's lock is held. */
static void on_row(void *arg, const char *text, size_t len)
{
	struct watch *w = arg;
	const uint64_t now = clock_now();

	if (w->screen_console < 0)
		w->screen_console = judge_console(w->judge, w->machine->screen->dev->id);
	if (w->screen_console < 0)
		return;
	judge_feed(w->judge, w->screen_console, (const uint8_t *)text, len, now);
	judge_feed(w->judge, w->screen_console, (const uint8_t *)"\n", 1, now);
}

static void look_at_screen(struct watch *w)
{
	const struct rows_sink sink = {.row = on_row, .arg = w};
	char text[SCREEN_TEXT_MAX];

	screen_text(w->machine, text);
	lock_take(&w->judging);
	rows_look(&w->rows, text, &sink);
	lock_drop(&w->judging);
}

static void on_screen_io(struct io *io, int result)
{
	struct watch *w = container_of(io, struct watch, screen_io);

	if (result != -ETIME || w->told)
		return;
	look_at_screen(w);
	look(w);
	io_timeout(w->machine->control, io, clock_now() + SCREEN_EVERY);
}

/* Hangs; control thread */

static void await_progress(struct watch *w, uint64_t wait)
{
	io_timeout(w->machine->control, &w->hang_io, clock_now() + wait);
}

static void look_for_progress(struct watch *w)
{
	const uint64_t now = clock_now(), progress = vm_progress(w->vm);

	if (progress != w->progress || vm_paused(w->vm)) {
		w->progress = progress;
		w->since = now;
	} else if (now - w->since >= w->hang) {
		machine_end(w->machine, END_HALTED, 0,
			    "the guest hangs: it has said and done nothing for %.3g s",
			    (double)(now - w->since) / (double)NS_PER_S);
	}
}

static void on_hang_io(struct io *io, int result)
{
	struct watch *w = container_of(io, struct watch, hang_io);

	if (result != -ETIME || w->told)
		return;
	w->asked = !w->asked;
	if (w->asked) {
		vm_ask_progress(w->vm);
		await_progress(w, HANG_ANSWER);
	} else {
		look_for_progress(w);
		await_progress(w, w->hang / HANG_LOOKS);
	}
}

/* Beginning and end */

int watch_begin(struct watch **out, struct vm *vm, struct judge *j, uint64_t hang, struct err *err)
{
	struct watch *w = calloc(1, sizeof(*w));
	int ret;

	*out = NULL;
	if (!w)
		return err_sys(err, ENOMEM, "expectations");
	w->vm = vm;
	w->machine = vm_machine(vm);
	w->hang = hang;
	w->judge = j;
	w->tap.bytes = on_bytes;
	w->said.fn = on_said;
	w->batch.done = on_batch;
	w->clock.done = on_clock;
	w->hang_io.done = on_hang_io;
	w->screen_io.done = on_screen_io;
	w->screen_console = -1;
	/* Below a device's lock, and above the leaves. */
	lock_init(&w->judging, LOCK_CHIP);
	lock_init(&w->lock, LOCK_LEAF);
	ret = judge_begin(j, clock_now(), err);
	if (ret) {
		watch_free(w);
		return ret;
	}
	chan_add_tap(w->machine, &w->tap);
	wake_at(w, judge_due(j));
	w->since = clock_now();
	if (w->machine->screen)
		io_timeout(w->machine->control, &w->screen_io, clock_now() + SCREEN_EVERY);
	if (hang)
		await_progress(w, hang / HANG_LOOKS);
	*out = w;
	return 0;
}

static void stop(struct watch *w, struct io *io)
{
	io_cancel(w->machine->control, io);
	io_drain(w->machine->control, io);
}

void watch_leave(struct watch *w)
{
	if (!w)
		return;
	w->told = true;
	worker_unpost(w->machine->control, &w->said);
	stop(w, &w->batch);
	stop(w, &w->clock);
	stop(w, &w->hang_io);
	stop(w, &w->screen_io);
}

void watch_end(struct watch *w, struct ending *ending)
{
	watch_leave(w);
	if (w->machine->screen)
		look_at_screen(w);
	lock_take(&w->judging);
	bring(w);
	judge_end(w->judge, clock_now());
	judge_correct(w->judge, ending);
	lock_drop(&w->judging);
	if (atomic_load(&w->deaf))
		log_warn(w->machine->log, "not all consoles were judged: there were more than %d",
			 JUDGE_CONSOLES);
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	for (unsigned int i = 0; i < atomic_load(&w->ear_count); i++)
		free(w->ears[i].ring);
	lock_destroy(&w->judging);
	lock_destroy(&w->lock);
	free(w);
}
