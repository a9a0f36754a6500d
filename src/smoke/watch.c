/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each console has two buffers: one that is filled, under the leaf lock of the watch, and one that
 * is being judged. The judge has a lock of its own, beneath which the buffers are exchanged, so
 * batches come to it in order whichever thread brings them; its rank allows that with a device's
 * lock held, as the thread of a vCPU has it here.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"
#include "skep/bits.h"
#include "skep/chan.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "skep/lock.h"
#include "skep/log.h"
#include "skep/vm.h"
#include "skep/worker.h"
#include "watch.h"

/* Text is collected for so long: the guest of a chatty console is not disturbed for each line. */
#define BATCH_DELAY  (5 * NS_PER_MS)
#define BUFFER_BYTES KIB(32)

/* How often progress is looked for in the time in which there has to be some. */
#define HANG_LOOKS  8
#define HANG_ANSWER (20 * NS_PER_MS)

struct ear {
	const struct device *dev;
	int console;     /* the judge's number */
	size_t len;      /* of what has been filled */
	uint8_t *fill;   /* BUFFER_BYTES each */
	uint8_t *judged; /* the judge's lock */
};

struct watch {
	struct vm *vm;
	struct machine *machine;
	struct judge *judge;
	struct chan_tap tap;

	struct lock judging; /* the judge, and ear.judged */
	struct lock lock;    /* the ears */
	struct ear ears[JUDGE_CONSOLES];
	unsigned int ear_count;
	bool deaf; /* a console is not listened to, for want of room */
	bool waiting;

	/* Control thread. */
	struct post said;
	struct io batch; /* while one comes together */
	struct io clock;
	uint64_t wake; /* when the judge wants to look at the clock */
	bool told;     /* the machine has its verdict */

	/* The same: a guest that hangs. */
	uint64_t hang; /* 0: it may */
	struct io hang_io;
	bool asked;
	uint64_t progress;
	uint64_t since; /* no progress */
};

/* Listening; any thread */

static struct ear *ear_of(struct watch *w, const struct device *dev)
{
	struct ear *ear = NULL;

	for (unsigned int i = 0; i < w->ear_count && !ear; i++)
		if (w->ears[i].dev == dev)
			ear = &w->ears[i];
	if (ear || w->ear_count == JUDGE_CONSOLES)
		return ear;
	ear = &w->ears[w->ear_count];
	ear->fill = malloc(2 * BUFFER_BYTES);
	if (!ear->fill)
		return NULL;
	ear->judged = ear->fill + BUFFER_BYTES;
	ear->dev = dev;
	ear->console = -1;
	w->ear_count++;
	return ear;
}

/* Hands the judge what has been said so far. The judge's lock is held. */
static void bring(struct watch *w)
{
	unsigned int count;

	lock_take(&w->lock);
	w->waiting = false;
	count = w->ear_count;
	lock_drop(&w->lock);
	for (unsigned int i = 0; i < count; i++) {
		struct ear *ear = &w->ears[i];
		uint8_t *text;
		size_t len;

		lock_take(&w->lock);
		text = ear->fill;
		len = ear->len;
		ear->fill = ear->judged;
		ear->judged = text;
		ear->len = 0;
		lock_drop(&w->lock);
		if (len && ear->console < 0)
			ear->console = judge_console(w->judge, ear->dev->id);
		if (len && ear->console >= 0)
			judge_feed(w->judge, ear->console, text, len, clock_now());
	}
}

/* Returns how much was taken; *@post says that the control thread is to hear of it. */
static size_t hear(struct watch *w, const struct device *dev, const uint8_t *data, size_t len,
		   bool *post)
{
	struct ear *ear;

	*post = false;
	lock_take(&w->lock);
	ear = ear_of(w, dev);
	if (!ear) {
		w->deaf = true;
	} else {
		len = MIN(len, BUFFER_BYTES - ear->len);
		memcpy(ear->fill + ear->len, data, len);
		ear->len += len;
		*post = !w->waiting;
		w->waiting = true;
	}
	lock_drop(&w->lock);
	return len;
}

static void on_bytes(struct chan_tap *tap, const struct device *dev, const uint8_t *data,
		     size_t len)
{
	struct watch *w = container_of(tap, struct watch, tap);

	for (;;) {
		bool post;
		size_t n = hear(w, dev, data, len, &post);

		if (post)
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

	for (unsigned int i = 0; i < w->ear_count; i++)
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

	lock_take(&w->judging);
	bring(w);
	judge_look(w->judge, now);
	v = judge_verdict(w->judge, now);
	due = judge_due(w->judge);
	lock_drop(&w->judging);
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

void watch_end(struct watch *w, struct ending *ending)
{
	w->told = true;
	worker_unpost(w->machine->control, &w->said);
	stop(w, &w->batch);
	stop(w, &w->clock);
	stop(w, &w->hang_io);
	lock_take(&w->judging);
	bring(w);
	judge_end(w->judge, clock_now());
	judge_correct(w->judge, ending);
	lock_drop(&w->judging);
	if (w->deaf)
		log_warn(w->machine->log, "not all consoles were judged: there were more than %d",
			 JUDGE_CONSOLES);
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	for (unsigned int i = 0; i < w->ear_count; i++)
		free(MIN(w->ears[i].fill, w->ears[i].judged));
	lock_destroy(&w->judging);
	lock_destroy(&w->lock);
	free(w);
}
