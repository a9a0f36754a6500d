/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/cm.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/timer.h"

#define TIMERS 4
#define HITS   64

/* A device whose timers write down when they fired, and may do something then. */
struct part {
	struct device dev;
	struct vtime *vt;
	struct timer timer[TIMERS];
	void (*then[TIMERS])(struct part *p, struct timer *t);
	struct {
		unsigned int timer;
		uint64_t at;
	} hit[HITS];
	unsigned int hits;
	bool unlocked;
	uint64_t period;
};

static void record(struct device *dev, struct timer *t)
{
	struct part *p = container_of(dev, struct part, dev);
	unsigned int i = (unsigned int)(t - p->timer);

	/* The mutex is the ordinary kind: whoever tries it again learns that it is taken. */
	if (pthread_mutex_trylock(&dev->lock.mutex) != EBUSY)
		p->unlocked = true;
	if (timer_armed(t))
		p->unlocked = true;
	if (p->hits < HITS) {
		p->hit[p->hits].timer = i;
		p->hit[p->hits].at = vtime_now(p->vt);
	}
	p->hits++;
	if (p->then[i])
		p->then[i](p, t);
}

static struct part *new_part(struct vtime *vt)
{
	struct part *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->vt = vt;
	lock_init(&p->dev.lock, LOCK_DEVICE);
	for (unsigned int i = 0; i < TIMERS; i++)
		timer_init(&p->timer[i], vt, &p->dev, record);
	return p;
}

static void free_part(struct part *p)
{
	assert_false(p->unlocked);
	lock_destroy(&p->dev.lock);
	free(p);
}

static int setup(void **state)
{
	struct vtime *vt;

	assert_int_equal(vtime_create_manual(&vt, NULL), 0);
	*state = new_part(vt);
	return 0;
}

static int setup_real(void **state)
{
	struct vtime *vt;

	assert_int_equal(vtime_create(&vt, NULL), 0);
	*state = new_part(vt);
	return 0;
}

static int teardown(void **state)
{
	struct part *p = *state;

	for (unsigned int i = 0; i < TIMERS; i++)
		timer_cancel(&p->timer[i]);
	vtime_destroy(p->vt);
	free_part(p);
	return 0;
}

static void assert_hits(struct part *p, const char *want)
{
	char got[1024] = "";
	size_t n = 0;

	for (unsigned int i = 0; i < MIN(p->hits, 32U); i++)
		n += (size_t)snprintf(got + n, sizeof(got) - n, "%s%u@%llu", i ? " " : "",
				      p->hit[i].timer, (unsigned long long)p->hit[i].at);
	assert_string_equal(got, want);
	p->hits = 0;
}

/* Manual time */

static void manual_time_moves_when_told(void **state)
{
	struct part *p = *state;

	assert_true(vtime_now(p->vt) == 0);
	vtime_advance(p->vt, 5);
	assert_true(vtime_now(p->vt) == 5);
	vtime_advance(p->vt, 0);
	assert_true(vtime_now(p->vt) == 5);
	vtime_pause(p->vt);
	vtime_resume(p->vt);
	assert_true(vtime_now(p->vt) == 5);
	assert_true(vtime_deadline(p->vt) == UINT64_MAX);
}

static void timers_fire_in_order_each_at_its_moment(void **state)
{
	struct part *p = *state;

	timer_arm(&p->timer[2], 30);
	timer_arm(&p->timer[0], 10);
	timer_arm(&p->timer[3], 40);
	timer_arm(&p->timer[1], 20);
	for (unsigned int i = 0; i < TIMERS; i++)
		assert_true(timer_armed(&p->timer[i]));
	vtime_advance(p->vt, 9);
	assert_hits(p, "");
	vtime_advance(p->vt, 1);
	assert_hits(p, "0@10");
	assert_false(timer_armed(&p->timer[0]));
	vtime_advance(p->vt, 29);
	assert_hits(p, "1@20 2@30");
	vtime_advance(p->vt, 1000);
	assert_hits(p, "3@40");
	assert_true(vtime_now(p->vt) == 1039);
	vtime_advance(p->vt, 1000);
	assert_hits(p, "");
}

static void equal_deadlines_fire_as_they_were_armed(void **state)
{
	struct part *p = *state;

	timer_arm(&p->timer[3], 10);
	timer_arm(&p->timer[1], 10);
	timer_arm(&p->timer[2], 10);
	timer_arm(&p->timer[3], 10);
	vtime_advance(p->vt, 10);
	assert_hits(p, "1@10 2@10 3@10");
}

static void what_has_passed_fires_at_once(void **state)
{
	struct part *p = *state;

	vtime_advance(p->vt, 100);
	timer_arm(&p->timer[0], 50);
	assert_true(timer_armed(&p->timer[0]));
	vtime_advance(p->vt, 0);
	assert_hits(p, "0@100");
	timer_arm(&p->timer[1], 0);
	timer_arm(&p->timer[0], 100);
	vtime_run(p->vt);
	assert_hits(p, "1@100 0@100");
}

static void a_cancelled_timer_does_not_fire(void **state)
{
	struct part *p = *state;

	timer_arm(&p->timer[0], 10);
	timer_arm(&p->timer[1], 10);
	timer_cancel(&p->timer[0]);
	timer_cancel(&p->timer[0]);
	assert_false(timer_armed(&p->timer[0]));
	vtime_advance(p->vt, 100);
	assert_hits(p, "1@10");
	timer_cancel(&p->timer[1]);
}

static void a_timer_armed_anew_forgets_its_old_deadline(void **state)
{
	struct part *p = *state;

	timer_arm(&p->timer[0], 10);
	timer_arm(&p->timer[0], 30);
	timer_arm(&p->timer[1], 40);
	timer_arm(&p->timer[1], 20);
	vtime_advance(p->vt, 100);
	assert_hits(p, "1@20 0@30");
}

static void again(struct part *p, struct timer *t)
{
	timer_arm(t, vtime_now(p->vt) + p->period);
}

static void a_function_may_arm_its_own_timer(void **state)
{
	struct part *p = *state;

	p->period = 10;
	p->then[0] = again;
	timer_arm(&p->timer[0], 10);
	timer_arm(&p->timer[1], 25);
	vtime_advance(p->vt, 45);
	assert_hits(p, "0@10 0@20 1@25 0@30 0@40");
	assert_true(timer_armed(&p->timer[0]));
	vtime_advance(p->vt, 5);
	assert_hits(p, "0@50");
}

static void stop_others(struct part *p, struct timer *t)
{
	timer_cancel(t);
	timer_cancel(&p->timer[1]);
	timer_arm(&p->timer[2], vtime_now(p->vt) + 5);
}

static void a_function_may_cancel_and_move_others(void **state)
{
	struct part *p = *state;

	p->then[0] = stop_others;
	timer_arm(&p->timer[0], 10);
	timer_arm(&p->timer[1], 10);
	timer_arm(&p->timer[2], 10);
	timer_arm(&p->timer[3], 11);
	vtime_advance(p->vt, 100);
	assert_hits(p, "0@10 3@11 2@15");
}

static void the_end_of_time(void **state)
{
	struct part *p = *state;

	vtime_advance(p->vt, UINT64_MAX - 10);
	timer_arm(&p->timer[0], UINT64_MAX - 5);
	timer_arm(&p->timer[1], UINT64_MAX);
	vtime_advance(p->vt, 7);
	assert_hits(p, "0@18446744073709551610");
	vtime_advance(p->vt, 100);
	assert_true(vtime_now(p->vt) == UINT64_MAX);
	assert_hits(p, "1@18446744073709551615");
	vtime_advance(p->vt, UINT64_MAX);
	assert_true(vtime_now(p->vt) == UINT64_MAX);
}

static void a_timer_that_was_never_set_up(void **state)
{
	struct timer never = {0};

	(void)state;
	timer_cancel(&never);
	assert_false(timer_armed(&never));
	vtime_destroy(NULL);
}

/* A timer that has fallen due while another thread holds its device's lock */

static void *advance(void *arg)
{
	struct part *p = arg;

	vtime_advance(p->vt, 10);
	return NULL;
}

/* Starts vtime_advance() on another thread and returns once timer 0 is on its way, not yet run. */
static pthread_t fall_due(struct part *p)
{
	pthread_t thread;

	timer_arm(&p->timer[0], 5);
	device_lock(&p->dev);
	assert_int_equal(pthread_create(&thread, NULL, advance, p), 0);
	while (vtime_now(p->vt) != 5)
		usleep(1000);
	return thread;
}

static void a_timer_on_its_way_is_armed_still(void **state)
{
	struct part *p = *state;
	pthread_t thread = fall_due(p);

	assert_true(timer_armed(&p->timer[0]));
	device_unlock(&p->dev);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_false(timer_armed(&p->timer[0]));
	assert_hits(p, "0@5");
}

static void a_timer_on_its_way_can_be_cancelled(void **state)
{
	struct part *p = *state;
	pthread_t thread = fall_due(p);

	timer_cancel(&p->timer[0]);
	assert_false(timer_armed(&p->timer[0]));
	device_unlock(&p->dev);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_hits(p, "");
}

static void a_timer_on_its_way_can_be_moved(void **state)
{
	struct part *p = *state;
	pthread_t thread = fall_due(p);

	timer_arm(&p->timer[0], 20);
	assert_true(timer_armed(&p->timer[0]));
	device_unlock(&p->dev);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_hits(p, "");
	vtime_advance(p->vt, 10);
	assert_hits(p, "0@20");
}

static void a_timer_cancelled_on_its_way_can_be_armed_again(void **state)
{
	struct part *p = *state;
	pthread_t thread = fall_due(p);

	timer_cancel(&p->timer[0]);
	timer_arm(&p->timer[0], 8);
	device_unlock(&p->dev);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_hits(p, "0@8");
}

/* The host's time */

static void count_wake(void *arg)
{
	++*(unsigned int *)arg;
}

static void a_new_machine_stands_still(void **state)
{
	struct part *p = *state;

	assert_true(vtime_now(p->vt) == 0);
	timer_arm(&p->timer[0], 0);
	usleep(1000);
	vtime_run(p->vt);
	assert_true(vtime_now(p->vt) == 0);
	assert_true(vtime_deadline(p->vt) == UINT64_MAX);
	assert_hits(p, "");
	vtime_resume(p->vt);
	vtime_run(p->vt);
	assert_int_equal(p->hits, 1);
}

static void time_follows_the_clock_but_for_pauses(void **state)
{
	struct part *p = *state;
	uint64_t then, still, host;

	host = clock_now();
	vtime_resume(p->vt);
	usleep(1000);
	then = vtime_now(p->vt);
	assert_true(then >= NS_PER_MS && then <= clock_now() - host);
	vtime_resume(p->vt);
	assert_true(vtime_now(p->vt) >= then);
	vtime_pause(p->vt);
	still = vtime_now(p->vt);
	assert_true(still >= then);
	usleep(20000);
	vtime_pause(p->vt);
	assert_true(vtime_now(p->vt) == still);
	host = clock_now();
	vtime_resume(p->vt);
	then = vtime_now(p->vt);
	assert_true(then >= still && then - still <= clock_now() - host);
}

static void the_deadline_is_the_hosts(void **state)
{
	struct part *p = *state;
	uint64_t before, after, at;

	before = clock_now();
	vtime_resume(p->vt);
	after = clock_now();
	assert_true(vtime_deadline(p->vt) == UINT64_MAX);
	timer_arm(&p->timer[0], 500 * NS_PER_S);
	timer_arm(&p->timer[1], 400 * NS_PER_S);
	at = vtime_deadline(p->vt);
	assert_true(at >= before + 400 * NS_PER_S && at <= after + 400 * NS_PER_S);
	timer_cancel(&p->timer[1]);
	assert_true(vtime_deadline(p->vt) == at + 100 * NS_PER_S);
	vtime_pause(p->vt);
	assert_true(vtime_deadline(p->vt) == UINT64_MAX);
	vtime_resume(p->vt);
	/* The pause has put it off. */
	assert_true(vtime_deadline(p->vt) >= at + 100 * NS_PER_S);
	/* Never comes, and does not wrap. */
	timer_arm(&p->timer[0], UINT64_MAX);
	assert_true(vtime_deadline(p->vt) == UINT64_MAX);
	timer_arm(&p->timer[0], UINT64_MAX - 1);
	assert_true(vtime_deadline(p->vt) == UINT64_MAX);
}

static void only_what_is_due_fires(void **state)
{
	struct part *p = *state;

	vtime_resume(p->vt);
	timer_arm(&p->timer[0], 0);
	timer_arm(&p->timer[1], 1000 * NS_PER_S);
	timer_arm(&p->timer[2], 1);
	vtime_run(p->vt);
	assert_int_equal(p->hits, 2);
	assert_true(timer_armed(&p->timer[1]));
	vtime_run(p->vt);
	assert_int_equal(p->hits, 2);
}

static void the_host_is_woken_when_the_deadline_moves_closer(void **state)
{
	struct part *p = *state;
	unsigned int wakes = 0;

	vtime_set_wake(p->vt, count_wake, &wakes);
	timer_arm(&p->timer[0], 500 * NS_PER_S);
	assert_int_equal(wakes, 0); /* time stands still */
	vtime_resume(p->vt);
	assert_int_equal(wakes, 1);
	timer_arm(&p->timer[1], 400 * NS_PER_S);
	assert_int_equal(wakes, 2);
	timer_arm(&p->timer[2], 450 * NS_PER_S);
	timer_arm(&p->timer[3], 400 * NS_PER_S);
	assert_int_equal(wakes, 2);
	timer_arm(&p->timer[0], 0);
	assert_int_equal(wakes, 3);
	vtime_set_wake(p->vt, NULL, NULL);
	timer_arm(&p->timer[1], 0);
	assert_int_equal(wakes, 3);
}

static void at_once(struct part *p, struct timer *t)
{
	(void)p;
	timer_arm(t, 0);
}

/*
 * A guest can program a period of nothing. The control thread still gets out of vtime_run(), and
 * the timers of others still fire.
 */
static void a_timer_that_is_always_due_starves_nobody(void **state)
{
	struct part *p = *state;
	bool fired = false;

	p->then[0] = at_once;
	vtime_resume(p->vt);
	timer_arm(&p->timer[0], 0);
	timer_arm(&p->timer[1], 1);
	for (unsigned int i = 0; i < 10; i++)
		vtime_run(p->vt);
	for (unsigned int i = 0; i < MIN(p->hits, (unsigned int)HITS); i++)
		fired |= p->hit[i].timer == 1;
	assert_true(fired);
	assert_true(p->hits >= 11);
}

/* Devices and the control thread at once */

struct race {
	struct device dev;
	struct vtime *vt;
	struct timer timer;
	bool expected; /* under the device's lock: a firing is wanted */
	uint64_t at;
	unsigned int fired, wrong;
	atomic_bool done;
};

static void race_fn(struct device *dev, struct timer *t)
{
	struct race *r = container_of(dev, struct race, dev);

	r->fired++;
	if (!r->expected || vtime_now(r->vt) < r->at || timer_armed(t))
		r->wrong++;
	r->expected = false;
}

static void *race_device(void *arg)
{
	struct race *r = arg;

	for (unsigned int i = 0; i < 20000; i++) {
		device_lock(&r->dev);
		if (timer_armed(&r->timer) != r->expected)
			r->wrong++;
		if (i % 3) {
			r->at = vtime_now(r->vt) + i % 7 * UINT64_C(500);
			r->expected = true;
			timer_arm(&r->timer, r->at);
		} else {
			timer_cancel(&r->timer);
			r->expected = false;
		}
		device_unlock(&r->dev);
		if (i % 64 == 1)
			usleep(20); /* time enough for it to fire, often */
	}
	return NULL;
}

/* Armed and then left alone, it does fire. */
static void race_end(struct race *r)
{
	bool waiting = true;

	device_lock(&r->dev);
	r->at = 0;
	r->expected = true;
	timer_arm(&r->timer, r->at);
	device_unlock(&r->dev);
	while (waiting) {
		usleep(100);
		device_lock(&r->dev);
		waiting = r->expected;
		device_unlock(&r->dev);
	}
}

static void *race_control(void *arg)
{
	struct race *r = arg;

	for (unsigned int i = 0; !atomic_load(&r->done); i++) {
		vtime_run(r->vt);
		if (i % 64 == 63) {
			vtime_pause(r->vt);
			vtime_deadline(r->vt);
			vtime_resume(r->vt);
		}
	}
	return NULL;
}

static void what_is_cancelled_or_moved_under_the_lock_does_not_fire(void **state)
{
	struct race r = {.expected = false};
	pthread_t device[2], control;

	(void)state;
	assert_int_equal(vtime_create(&r.vt, NULL), 0);
	lock_init(&r.dev.lock, LOCK_DEVICE);
	timer_init(&r.timer, r.vt, &r.dev, race_fn);
	vtime_resume(r.vt);
	assert_int_equal(pthread_create(&control, NULL, race_control, &r), 0);
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&device[i], NULL, race_device, &r), 0);
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(device[i], NULL), 0);
	race_end(&r);
	atomic_store(&r.done, true);
	assert_int_equal(pthread_join(control, NULL), 0);
	assert_int_equal(r.wrong, 0);
	assert_true(r.fired > 0);
	timer_cancel(&r.timer);
	vtime_destroy(r.vt);
	lock_destroy(&r.dev.lock);
}

#define MANUAL(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define REAL(name)   cmocka_unit_test_setup_teardown(name, setup_real, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		MANUAL(manual_time_moves_when_told),
		MANUAL(timers_fire_in_order_each_at_its_moment),
		MANUAL(equal_deadlines_fire_as_they_were_armed),
		MANUAL(what_has_passed_fires_at_once),
		MANUAL(a_cancelled_timer_does_not_fire),
		MANUAL(a_timer_armed_anew_forgets_its_old_deadline),
		MANUAL(a_function_may_arm_its_own_timer),
		MANUAL(a_function_may_cancel_and_move_others),
		MANUAL(the_end_of_time),
		MANUAL(a_timer_that_was_never_set_up),
		MANUAL(a_timer_on_its_way_is_armed_still),
		MANUAL(a_timer_on_its_way_can_be_cancelled),
		MANUAL(a_timer_on_its_way_can_be_moved),
		MANUAL(a_timer_cancelled_on_its_way_can_be_armed_again),
		REAL(a_new_machine_stands_still),
		REAL(time_follows_the_clock_but_for_pauses),
		REAL(the_deadline_is_the_hosts),
		REAL(only_what_is_due_fires),
		REAL(the_host_is_woken_when_the_deadline_moves_closer),
		REAL(a_timer_that_is_always_due_starves_nobody),
		cmocka_unit_test(what_is_cancelled_or_moved_under_the_lock_does_not_fire),
	};

	return cmocka_run_group_tests_name("timer", tests, NULL, NULL);
}
