/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * timer - virtual time: what devices see pass, and timers on it.
 *
 * Virtual time is nanoseconds since the machine was made. It follows the host's monotonic clock
 * while the machine runs and stands still while it is paused, so a guest does not see pauses. In
 * tests it moves only when told to, and timers fire in exact order.
 *
 * A timer belongs to a device. It is armed and cancelled under the device's lock (or before the
 * machine runs); its function is called on the control thread with that lock held. A timer
 * cancelled or armed anew under the lock does not fire for its old deadline afterwards.
 */
#ifndef SKEP_TIMER_H
#define SKEP_TIMER_H

#include <stdbool.h>
#include <stdint.h>

struct device;
struct err;
struct timer;
struct vtime;

typedef void timer_fn(struct device *dev, struct timer *t);

struct timer {
	/* Private. */
	struct vtime *vtime;
	struct device *dev;
	timer_fn *fn;
	struct timer *next;
	uint64_t at;
	enum { TIMER_IDLE, TIMER_ARMED, TIMER_FIRING } state;
};

int vtime_create(struct vtime **vt, struct err *err);
/* Time that only vtime_advance() moves: for tests. */
int vtime_create_manual(struct vtime **vt, struct err *err);
void vtime_destroy(struct vtime *vt);

/* Any thread. */
uint64_t vtime_now(const struct vtime *vt);

void timer_init(struct timer *t, struct vtime *vt, struct device *dev, timer_fn *fn);
/* Fires at virtual time @at, at once if that has passed; in order of time, then of arming. */
void timer_arm(struct timer *t, uint64_t at);
/* Legal on a timer that is not armed, or was zeroed and never set up. */
void timer_cancel(struct timer *t);
/* Whether it will fire unless it is cancelled; under the device's lock. */
bool timer_armed(const struct timer *t);

/* The host's side; control thread. */

/* @wake is called, from any thread, when the earliest deadline moves closer. */
void vtime_set_wake(struct vtime *vt, void (*wake)(void *arg), void *arg);
/* The earliest deadline as a clock_now() time; UINT64_MAX when there is none or time is paused. */
uint64_t vtime_deadline(struct vtime *vt);
/* Fires what is due; nothing while time is paused. */
void vtime_run(struct vtime *vt);
/* Stands still, goes on. A new vtime stands still until the first vtime_resume(). */
void vtime_pause(struct vtime *vt);
void vtime_resume(struct vtime *vt);

/*
 * Manual time only: moves on by @ns, firing each timer at its own moment. Time stops at UINT64_MAX.
 * It stands still while a timer's function runs: one that arms its timer for now never lets go.
 */
void vtime_advance(struct vtime *vt, uint64_t ns);

#endif
