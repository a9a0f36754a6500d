/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/lock.h"
#include "skep/timer.h"
#include "skep/trace.h"

/*
 * A machine has a few dozen timers, most of them idle: a sorted list is the right size.
 *
 * Lock order: a device's lock, then vtime's. A timer that falls due is taken off the list under
 * vtime's lock, and only then is its device's lock taken; TIMER_FIRING in between tells a device
 * that cancels or re-arms meanwhile that it got there first.
 */
struct vtime {
	struct lock lock;
	bool manual;
	bool running;
	uint64_t offset; /* running: host clock minus virtual time */
	uint64_t still;  /* not running, or manual: virtual time */
	struct timer *first;
	void (*wake)(void *arg);
	void *wake_arg;
};

static int create(struct vtime **vt, bool manual, struct err *err)
{
	*vt = calloc(1, sizeof(**vt));
	if (!*vt)
		return err_sys(err, ENOMEM, "virtual time");
	lock_init(&(*vt)->lock, LOCK_LEAF);
	(*vt)->manual = manual;
	return 0;
}

int vtime_create(struct vtime **vt, struct err *err)
{
	return create(vt, false, err);
}

int vtime_create_manual(struct vtime **vt, struct err *err)
{
	return create(vt, true, err);
}

void vtime_destroy(struct vtime *vt)
{
	if (!vt)
		return;
	lock_destroy(&vt->lock);
	free(vt);
}

static struct vtime *writable(const struct vtime *vt)
{
	return (struct vtime *)(uintptr_t)vt;
}

static uint64_t now_locked(const struct vtime *vt)
{
	return vt->running ? clock_now() - vt->offset : vt->still;
}

uint64_t vtime_now(const struct vtime *vt)
{
	struct vtime *w = writable(vt);
	uint64_t now;

	lock_take(&w->lock);
	now = now_locked(vt);
	lock_drop(&w->lock);
	return now;
}

void timer_init(struct timer *t, struct vtime *vt, struct device *dev, timer_fn *fn)
{
	*t = (struct timer){.vtime = vt, .dev = dev, .fn = fn};
}

static void unlink_timer(struct vtime *vt, struct timer *t)
{
	struct timer **p = &vt->first;

	while (*p != t)
		p = &(*p)->next;
	*p = t->next;
}

void timer_arm(struct timer *t, uint64_t at)
{
	struct vtime *vt = t->vtime;
	struct timer **p = &vt->first;
	void (*wake)(void *arg) = NULL;
	void *wake_arg;

	lock_take(&vt->lock);
	if (t->state == TIMER_ARMED)
		unlink_timer(vt, t);
	/*
	 * What has passed is due now, behind what was due before: so a guest that makes a timer
	 * fire at once, again and again, starves nobody, and vtime_run() comes to its end.
	 */
	at = MAX(at, now_locked(vt));
	while (*p && (*p)->at <= at)
		p = &(*p)->next;
	t->at = at;
	t->next = *p;
	t->state = TIMER_ARMED;
	*p = t;
	trace_event(TRACE_TIMER_ARM, t->dev->number, 0, 0, 0, at, 0);
	if (vt->first == t && vt->running)
		wake = vt->wake;
	wake_arg = vt->wake_arg;
	lock_drop(&vt->lock);
	if (wake)
		wake(wake_arg);
}

void timer_cancel(struct timer *t)
{
	if (!t->vtime)
		return;
	lock_take(&t->vtime->lock);
	if (t->state == TIMER_ARMED)
		unlink_timer(t->vtime, t);
	t->state = TIMER_IDLE;
	lock_drop(&t->vtime->lock);
}

bool timer_armed(const struct timer *t)
{
	bool armed;

	if (!t->vtime)
		return false;
	lock_take(&t->vtime->lock);
	armed = t->state != TIMER_IDLE;
	lock_drop(&t->vtime->lock);
	return armed;
}

void vtime_set_wake(struct vtime *vt, void (*wake)(void *arg), void *arg)
{
	lock_take(&vt->lock);
	vt->wake = wake;
	vt->wake_arg = arg;
	lock_drop(&vt->lock);
}

uint64_t vtime_deadline(struct vtime *vt)
{
	uint64_t at = UINT64_MAX;

	lock_take(&vt->lock);
	if (vt->running && vt->first && vt->first->at < UINT64_MAX - vt->offset)
		at = vt->first->at + vt->offset;
	lock_drop(&vt->lock);
	return at;
}

static struct timer *take_due(struct vtime *vt, uint64_t until)
{
	struct timer *t;

	lock_take(&vt->lock);
	t = vt->first;
	if (t && t->at <= until) {
		vt->first = t->next;
		t->state = TIMER_FIRING;
		if (vt->manual && t->at > vt->still)
			vt->still = t->at;
	} else {
		t = NULL;
	}
	lock_drop(&vt->lock);
	return t;
}

static void fire(struct vtime *vt, struct timer *t)
{
	uint64_t late = 0;
	bool due;

	device_lock(t->dev);
	lock_take(&vt->lock);
	due = t->state == TIMER_FIRING;
	if (due)
		t->state = TIMER_IDLE;
	if (due && trace_on())
		late = now_locked(vt) - t->at;
	lock_drop(&vt->lock);
	if (due) {
		trace_event(TRACE_TIMER_FIRE, t->dev->number, 0, 0, 0, t->at, late);
		t->fn(t->dev, t);
	}
	device_unlock(t->dev);
}

static void run_until(struct vtime *vt, uint64_t until)
{
	struct timer *t;

	while ((t = take_due(vt, until)))
		fire(vt, t);
}

void vtime_run(struct vtime *vt)
{
	uint64_t until;
	bool moves;

	lock_take(&vt->lock);
	moves = vt->running || vt->manual;
	until = now_locked(vt);
	lock_drop(&vt->lock);
	/* Bounded by a deadline taken once: timers armed for later wait for the next turn. */
	if (moves)
		run_until(vt, until);
}

void vtime_pause(struct vtime *vt)
{
	lock_take(&vt->lock);
	if (!vt->manual && vt->running) {
		vt->still = now_locked(vt);
		vt->running = false;
	}
	lock_drop(&vt->lock);
}

void vtime_resume(struct vtime *vt)
{
	void (*wake)(void *arg);
	void *wake_arg;

	lock_take(&vt->lock);
	if (!vt->manual && !vt->running) {
		vt->offset = clock_now() - vt->still;
		vt->running = true;
	}
	wake = vt->wake;
	wake_arg = vt->wake_arg;
	lock_drop(&vt->lock);
	if (wake)
		wake(wake_arg);
}

void vtime_advance(struct vtime *vt, uint64_t ns)
{
	uint64_t until = vtime_now(vt);

	until = ns < UINT64_MAX - until ? until + ns : UINT64_MAX;
	run_until(vt, until);
	lock_take(&vt->lock);
	vt->still = until;
	lock_drop(&vt->lock);
}
