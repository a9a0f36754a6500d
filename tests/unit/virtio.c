/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The core of virtio and its two transports, by a device that echoes what it is sent.
 */
#include "support/cm.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/log.h"
#include "skep/worker_sim.h"
#include "skep/workers.h"
#include "support/vdriver.h"

#define TOY_ID     42
#define TOY_QUEUES 3
#define TOY_DEPTH  8
#define TOY_CONFIG 14
#define TOY_BIT    5

#define ALL_BUT_OK \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)
#define ALL_OK (ALL_BUT_OK | VIRTIO_CONFIG_S_DRIVER_OK)

/* The model */

struct toy {
	struct device dev;
	struct virtio virtio;
	struct toy_options {
		bool hold; /* requests are kept until the test lets them go */
		bool untake;
		bool fail; /* start() fails */
		bool pull; /* takes its chains itself */
		bool spread;
		bool slow; /* what is called off takes the worker some turns more */
	} options;
	unsigned int starts, stops, cancels, readies, requests, written;
	unsigned int written_at, written_size;
	struct toy_request *held[TOY_QUEUES * TOY_DEPTH];
	unsigned int held_count;
	struct io slow_io;
	int slow_fd, slow_slot;
	uint64_t slow_count;
	unsigned int slow_turns;
	/* Runs within each request. */
	void (*hook)(struct toy *t, struct virtio_request *r);
	void *hook_arg;
};

struct toy_request {
	struct virtio_request r;
	uint64_t canary;
};

static const struct option toy_options[] = {
	{.name = "hold", .type = OPTION_BOOL, .offset = offsetof(struct toy_options, hold)},
	{.name = "untake", .type = OPTION_BOOL, .offset = offsetof(struct toy_options, untake)},
	{.name = "fail", .type = OPTION_BOOL, .offset = offsetof(struct toy_options, fail)},
	{.name = "pull", .type = OPTION_BOOL, .offset = offsetof(struct toy_options, pull)},
	{.name = "slow", .type = OPTION_BOOL, .offset = offsetof(struct toy_options, slow)},
	{.name = "spread", .type = OPTION_BOOL, .offset = offsetof(struct toy_options, spread)},
	OPTION_END,
};

static struct toy *toy_of(struct virtio *v)
{
	return container_of(v, struct toy, virtio);
}

static struct toy *toy(struct vdriver *d)
{
	return container_of(d->dev, struct toy, dev);
}

/* What the device reads comes back in what it writes. */
static void echo(struct virtio_request *r)
{
	uint8_t data[512];
	size_t n = virtq_chain_read(&r->chain, 0, data, sizeof(data));

	virtio_done(r, (uint32_t)virtq_chain_write(&r->chain, 0, data, n));
}

static void toy_request(struct virtio_request *r)
{
	struct toy_request *own = container_of(r, struct toy_request, r);
	struct toy *t = toy_of(r->queue->virtio);

	__atomic_fetch_add(&t->requests, 1, __ATOMIC_RELAXED);
	own->canary = ~UINT64_C(0);
	assert_true(__atomic_load_n(&t->virtio.data.status, __ATOMIC_RELAXED) &
		    VIRTIO_CONFIG_S_DRIVER_OK);
	if (t->hook)
		t->hook(t, r);
	if (t->options.hold)
		t->held[t->held_count++] = own;
	else
		echo(r);
}

static void toy_ready(struct virtio_queue *q)
{
	struct virtio_request *r;

	toy_of(q->virtio)->readies++;
	while ((r = virtio_take(q)))
		toy_request(r);
}

/* Lets @n go, the oldest first. */
static void let_go(struct toy *t, unsigned int n)
{
	assert_true(n <= t->held_count);
	for (unsigned int i = 0; i < n; i++)
		echo(&t->held[i]->r);
	t->held_count -= n;
	for (unsigned int i = 0; i < t->held_count; i++)
		t->held[i] = t->held[i + n];
}

static void give_back(struct virtio_queue *q)
{
	struct toy *t = toy_of(q->virtio);
	unsigned int kept = 0;

	for (unsigned int i = t->held_count; i-- > 0;) {
		if (t->held[i]->r.queue != q)
			continue;
		if (t->options.untake)
			virtio_untake(&t->held[i]->r);
		else
			virtio_done(&t->held[i]->r, 0);
		t->held[i] = NULL;
	}
	for (unsigned int i = 0; i < t->held_count; i++)
		if (t->held[i])
			t->held[kept++] = t->held[i];
	t->held_count = kept;
}

/* Meanwhile the driver goes on ringing. */
static void toy_slow(struct io *io, int result)
{
	struct toy *t = container_of(io, struct toy, slow_io);
	struct virtio_queue *q = t->held[0]->r.queue;

	assert_int_equal(result, sizeof(t->slow_count));
	assert_int_equal(write(t->slow_fd, &t->slow_count, sizeof(t->slow_count)), 8);
	assert_int_equal(write(q->kick_fd, &t->slow_count, sizeof(t->slow_count)), 8);
	if (--t->slow_turns)
		io_read(q->worker, io, t->slow_slot, &t->slow_count, sizeof(t->slow_count),
			IO_STREAM);
	else
		give_back(q);
}

static void toy_cancel(struct virtio_queue *q)
{
	struct toy *t = toy_of(q->virtio);

	t->cancels++;
	assert_null(virtio_take(q));
	if (!t->options.slow) {
		give_back(q);
	} else if (q->inflight) {
		t->slow_turns = 20;
		io_read(q->worker, &t->slow_io, t->slow_slot, &t->slow_count, sizeof(t->slow_count),
			IO_STREAM);
	}
}

static int toy_start(struct virtio *v)
{
	toy_of(v)->starts++;
	return toy_of(v)->options.fail ? -EIO : 0;
}

static void toy_stop(struct virtio *v)
{
	toy_of(v)->stops++;
	assert_int_equal(toy_of(v)->held_count, 0);
}

static void toy_written(struct virtio *v, unsigned int at, unsigned int size)
{
	toy_of(v)->written++;
	toy_of(v)->written_at = at;
	toy_of(v)->written_size = size;
}

static int toy_create(struct device *dev, struct err *err)
{
	static const struct virtio_model model =
						 {
							 .id = TOY_ID,
							 .class_code = 0xff0000,
							 .request_size = sizeof(struct toy_request),
							 .depth = TOY_DEPTH,
							 .answers = true,
							 .request = toy_request,
							 .cancel = toy_cancel,
							 .start = toy_start,
							 .stop = toy_stop,
							 .config_written = toy_written,
							 .writable_at = 4,
							 .writable_len = 4,
						 },
					 pulling = {
						 .id = TOY_ID,
						 .class_code = 0xff0000,
						 .request_size = sizeof(struct toy_request),
						 .depth = TOY_DEPTH,
						 .answers = true,
						 .ready = toy_ready,
						 .cancel = toy_cancel,
					 };
	struct toy *t = container_of(dev, struct toy, dev);

	t->virtio.queue_count = TOY_QUEUES;
	t->virtio.spread = t->options.spread;
	t->virtio.config_size = TOY_CONFIG;
	t->virtio.offered = VIRTIO_FEATURE(TOY_BIT);
	for (unsigned int i = 0; i < TOY_CONFIG; i++)
		((uint8_t *)virtio_config(&t->virtio))[i] = (uint8_t)(0x10 + i);
	t->slow_io.done = toy_slow;
	t->slow_fd = t->options.slow ? eventfd(1, EFD_CLOEXEC) : -1;
	if (t->options.slow)
		t->slow_slot = worker_add_file(dev->machine->control, t->slow_fd);
	return virtio_attach(&t->virtio, dev, t->options.pull ? &pulling : &model, err);
}

static void toy_destroy(struct device *dev)
{
	struct toy *t = container_of(dev, struct toy, dev);

	virtio_detach(&t->virtio);
	if (!t->options.slow)
		return;
	worker_remove_file(dev->machine->control, t->slow_slot);
	close(t->slow_fd);
}

DEVICE_CLASS(zz_toy) = {
	.name = "zz_toy",
	.summary = "echoes",
	.size = sizeof(struct toy),
	.options = toy_options,
	.options_offset = offsetof(struct toy, options),
	.family = &virtio_family,
	.family_offset = offsetof(struct toy, virtio),
	.create = toy_create,
	.destroy = toy_destroy,
};

/* The fixture */

struct bench {
	struct vmachine m;
	struct vdriver d;
};

static void setup(struct bench *b, void **state, const char *options)
{
	vmachine_init(&b->m);
	vdriver_create(&b->d, &b->m, *state, "zz_toy", options);
}

static void teardown(struct bench *b)
{
	vdriver_destroy(&b->d);
	vmachine_fini(&b->m);
}

/* Adds a chain that sends @byte and has room for its echo; returns where that goes. */
static uint8_t *send(struct vdriver *d, unsigned int q, uint8_t byte)
{
	struct vring_driver *ring = vdriver_ring(d, q);
	struct vring_buf bufs[2] = {vring_buffer(ring, &byte, 1), {vring_alloc(ring, 4), 4}};
	uint8_t *echoed = vring_ptr(ring, bufs[1].gpa, 4);

	assert_int_equal(vring_add(ring, bufs, 1, 1, false, echoed), 0);
	return echoed;
}

static unsigned int reap_all(struct vdriver *d, unsigned int q)
{
	struct vring_done done;
	unsigned int n = 0;

	while (vring_reap(vdriver_ring(d, q), &done))
		n++;
	return n;
}

static void check_echo(struct vdriver *d, unsigned int q)
{
	uint8_t *echoed = send(d, q, 0x5a);
	struct vring_done done;

	vdriver_kick(d, q);
	vdriver_turn(d);
	assert_true(vring_reap(vdriver_ring(d, q), &done));
	assert_ptr_equal(done.cookie, echoed);
	assert_int_equal(done.written, 1);
	assert_int_equal(*echoed, 0x5a);
}

/* Features and status */

/* 6, 2.2: what is offered, and what never is. */
static void test_features_offered(void **state)
{
	const struct vdriver_way *way = *state;
	uint64_t always = VIRTIO_FEATURE(VIRTIO_F_VERSION_1) | VIRTIO_FEATURE(VIRTIO_F_RING_RESET) |
			  VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC) |
			  VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX) | VIRTIO_FEATURE(TOY_BIT) |
			  (way->packed ? VIRTIO_FEATURE(VIRTIO_F_RING_PACKED) : 0);
	struct bench b;

	setup(&b, state, "");
	assert_int_equal(vdriver_offered(&b.d), always);
	for (uint32_t select = 2; select; select <<= 1) {
		vdriver_set(&b.d, VREG_DEVICE_FEATURE_SELECT, select);
		assert_int_equal(vdriver_get(&b.d, VREG_DEVICE_FEATURE), 0);
	}
	teardown(&b);
	setup(&b, state, "in-order=on");
	assert_int_equal(vdriver_offered(&b.d), always | VIRTIO_FEATURE(VIRTIO_F_IN_ORDER));
	teardown(&b);
}

static void accept(struct vdriver *d, uint64_t features)
{
	vdriver_set(d, VREG_DRIVER_FEATURE_SELECT, 0);
	vdriver_set(d, VREG_DRIVER_FEATURE, (uint32_t)features);
	vdriver_set(d, VREG_DRIVER_FEATURE_SELECT, 1);
	vdriver_set(d, VREG_DRIVER_FEATURE, (uint32_t)(features >> 32));
}

static uint32_t try_features(struct vdriver *d, uint64_t features)
{
	vdriver_reset(d);
	vdriver_set(d, VREG_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	accept(d, features);
	vdriver_set(d, VREG_STATUS, ALL_BUT_OK);
	return vdriver_get(d, VREG_STATUS);
}

/* 2.2.2: any subset is taken, nothing else; 6.1: not without VERSION_1. */
static void test_features_accepted(void **state)
{
	const uint64_t v1 = VIRTIO_FEATURE(VIRTIO_F_VERSION_1);
	uint64_t offered;
	struct bench b;

	setup(&b, state, "");
	offered = vdriver_offered(&b.d);
	assert_int_equal(try_features(&b.d, offered), ALL_BUT_OK);
	assert_int_equal(try_features(&b.d, v1), ALL_BUT_OK);
	assert_int_equal(try_features(&b.d, offered & ~v1), ALL_BUT_OK & ~8U);
	assert_int_equal(try_features(&b.d, 0), ALL_BUT_OK & ~8U);
	for (unsigned int bit = 0; bit < 64; bit++)
		assert_int_equal(try_features(&b.d, v1 | bit64(bit)),
				 offered >> bit & 1 ? ALL_BUT_OK : ALL_BUT_OK & ~8U);
	/* The driver may try again with fewer. */
	assert_int_equal(try_features(&b.d, UINT64_MAX), ALL_BUT_OK & ~8U);
	accept(&b.d, offered);
	vdriver_set(&b.d, VREG_STATUS, ALL_BUT_OK);
	assert_int_equal(vdriver_get(&b.d, VREG_STATUS), ALL_BUT_OK);
	/* Once they are settled they stay. */
	accept(&b.d, v1);
	vdriver_set(&b.d, VREG_STATUS, ALL_OK);
	assert_int_equal(toy(&b.d)->virtio.features, offered);
	teardown(&b);
}

/* 2.1, 3.1.1 */
static void test_status(void **state)
{
	struct bench b;

	setup(&b, state, "");
	assert_int_equal(vdriver_get(&b.d, VREG_STATUS), 0);
	/* DRIVER_OK without FEATURES_OK does not come. */
	vdriver_set(&b.d, VREG_STATUS, 0xff);
	assert_int_equal(vdriver_get(&b.d, VREG_STATUS), 0x83);
	assert_int_equal(toy(&b.d)->starts, 0);
	/* Bits stay until a reset. */
	vdriver_set(&b.d, VREG_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	assert_int_equal(vdriver_get(&b.d, VREG_STATUS), 0x83);
	vdriver_reset(&b.d);
	vdriver_start(&b.d, UINT64_MAX);
	assert_int_equal(toy(&b.d)->starts, 1);
	vdriver_set(&b.d, VREG_STATUS, ALL_OK);
	assert_int_equal(toy(&b.d)->starts, 1);
	assert_int_equal(toy(&b.d)->stops, 0);
	check_echo(&b.d, 0);
	vdriver_reset(&b.d);
	assert_int_equal(toy(&b.d)->stops, 1);
	/* 2.4: as good as new. */
	vdriver_set(&b.d, VREG_QUEUE_SELECT, 0);
	assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_ENABLE), 0);
	assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_MAX), 256);
	vdriver_start(&b.d, 0);
	check_echo(&b.d, 2);
	teardown(&b);
}

/* 2.1.2: nothing is consumed and nobody interrupted before DRIVER_OK; then what is there counts. */
static void test_nothing_before_driver_ok(void **state)
{
	struct bench b;

	setup(&b, state, "");
	vdriver_ring_bell(&b.d, 0);
	assert_true(vdriver_negotiate(&b.d, UINT64_MAX));
	vdriver_queue(&b.d, 0, 0, KIB(4));
	send(&b.d, 0, 1);
	vdriver_ring_bell(&b.d, 0);
	virtio_config_changed(vdriver_virtio(&b.d));
	vdriver_turn(&b.d);
	assert_int_equal(reap_all(&b.d, 0), 0);
	assert_int_equal(toy(&b.d)->requests, 0);
	assert_false(vdriver_interrupted(&b.d, 0));
	assert_false(vdriver_config_interrupted(&b.d));
	assert_int_equal(vdriver_go(&b.d), ALL_OK);
	vdriver_turn(&b.d);
	assert_int_equal(reap_all(&b.d, 0), 1);
	assert_true(vdriver_interrupted(&b.d, 0));
	teardown(&b);
}

/* A device that cannot do what was negotiated says so. */
static void test_start_fails(void **state)
{
	struct bench b;

	setup(&b, state, "fail=on");
	assert_true(vdriver_negotiate(&b.d, UINT64_MAX));
	vdriver_queue(&b.d, 0, 0, KIB(4));
	assert_int_equal(vdriver_go(&b.d), ALL_OK | VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_true(vdriver_config_interrupted(&b.d));
	send(&b.d, 0, 1);
	vdriver_ring_bell(&b.d, 0);
	vdriver_turn(&b.d);
	assert_int_equal(reap_all(&b.d, 0), 0);
	vdriver_reset(&b.d);
	assert_int_equal(toy(&b.d)->stops, 0);
	teardown(&b);
}

/* Queues at work */

static void test_echo(void **state)
{
	struct bench b;

	setup(&b, state, "");
	for (unsigned int round = 0; round < 3; round++) {
		vdriver_start(&b.d, round == 1 ? 0 : UINT64_MAX);
		for (unsigned int i = 0; i < 400; i++)
			check_echo(&b.d, i % TOY_QUEUES);
	}
	teardown(&b);
}

/* One interrupt for all that was done in one turn of the worker. */
static void test_one_interrupt_per_batch(void **state)
{
	struct bench b;

	setup(&b, state, "");
	vdriver_start(&b.d, 0);
	for (unsigned int i = 0; i < 40; i++)
		send(&b.d, 0, (uint8_t)i);
	vdriver_ring_bell(&b.d, 0);
	/* The first turn after DRIVER_OK, and that after the ring. */
	vdriver_turn(&b.d);
	assert_int_equal(reap_all(&b.d, 0), 40);
	if (b.d.way.mmio)
		assert_int_equal(b.m.rig.raised[b.d.gsi], 1);
	else
		assert_int_equal(vmachine_messages(&b.m, 1), 1);
	teardown(&b);
}

/* 2.7.10, 2.8.10: a driver that does not want interrupts has none. */
static void test_interrupts_masked(void **state)
{
	struct bench b;

	setup(&b, state, "");
	vdriver_start(&b.d, 0);
	vring_mask(vdriver_ring(&b.d, 0));
	check_echo(&b.d, 0);
	assert_false(vdriver_interrupted(&b.d, 0));
	vring_unmask(vdriver_ring(&b.d, 0), 0);
	check_echo(&b.d, 0);
	assert_true(vdriver_interrupted(&b.d, 0));
	teardown(&b);
}

/* A chain that is added while the device is at work, without a ring, is found by looking again. */
static void add_once(struct toy *t, struct virtio_request *r)
{
	struct vdriver *d = t->hook_arg;

	(void)r;
	t->hook = NULL;
	send(d, 0, 2);
	assert_false(vring_must_kick(vdriver_ring(d, 0)));
}

static void test_looks_again(void **state)
{
	struct bench b;

	setup(&b, state, "");
	for (unsigned int pull = 0; pull < 2; pull++) {
		vdriver_start(&b.d, UINT64_MAX);
		vdriver_turn(&b.d);
		toy(&b.d)->hook = add_once;
		toy(&b.d)->hook_arg = &b.d;
		send(&b.d, 0, 1);
		vdriver_kick(&b.d, 0);
		vdriver_turn(&b.d);
		assert_int_equal(reap_all(&b.d, 0), 2);
		/* And the next one is rung for again. */
		send(&b.d, 0, 3);
		assert_true(vring_must_kick(vdriver_ring(&b.d, 0)));
		teardown(&b);
		setup(&b, state, "pull=on");
	}
	teardown(&b);
}

/* Until the next chain is used; the queue may still watch its ring then. */
static void step_until_used(struct vdriver *d, unsigned int q)
{
	for (unsigned int i = 0; !reap_all(d, q); i++) {
		assert_true(i < 1000000);
		worker_sim_step(vmachine_worker(d->m));
	}
}

/* A queue that watches its ring for a moment needs no ring, and asks for one again behind that. */
static void test_watches(void **state)
{
	struct bench b;

	setup(&b, state, "");
	worker_sim_may_spin(vmachine_worker(&b.m), true);
	for (unsigned int round = 0; round < 2; round++) {
		vdriver_start(&b.d, round ? 0 : UINT64_MAX);
		vdriver_turn(&b.d);
		for (unsigned int i = 0; i < 300; i++) {
			send(&b.d, 0, 1);
			vdriver_kick(&b.d, 0);
			step_until_used(&b.d, 0);
		}
		vdriver_turn(&b.d);
		/* Nothing came for a while. */
		send(&b.d, 0, 1);
		assert_true(vring_must_kick(vdriver_ring(&b.d, 0)));
		vdriver_ring_bell(&b.d, 0);
		step_until_used(&b.d, 0);
		/* It comes back from a stop that finds it watching. */
		virtio_quiesce(vdriver_virtio(&b.d));
		virtio_resume(vdriver_virtio(&b.d));
		send(&b.d, 0, 1);
		vdriver_kick(&b.d, 0);
		step_until_used(&b.d, 0);
	}
	teardown(&b);
}

/* A queue that never runs dry does not keep the others of its worker waiting. */
static void add_always(struct toy *t, struct virtio_request *r)
{
	struct vdriver *d = t->hook_arg;

	if (r->queue->index)
		return;
	reap_all(d, 0);
	if (vdriver_ring(d, 0)->free > 2 && vdriver_ring(d, 0)->end - vdriver_ring(d, 0)->next > 64)
		send(d, 0, 1);
}

static void test_fair(void **state)
{
	const char *options[] = {"", "pull=on"};
	struct bench b;

	for (unsigned int i = 0; i < ARRAY_SIZE(options); i++) {
		setup(&b, state, options[i]);
		assert_true(vdriver_negotiate(&b.d, UINT64_MAX));
		vdriver_queue(&b.d, 0, 0, MIB(16));
		vdriver_queue(&b.d, 1, 0, KIB(4));
		vdriver_go(&b.d);
		toy(&b.d)->hook = add_always;
		toy(&b.d)->hook_arg = &b.d;
		for (unsigned int n = 0; n < 8; n++)
			send(&b.d, 0, 1);
		vdriver_kick(&b.d, 0);
		send(&b.d, 1, 1);
		vdriver_kick(&b.d, 1);
		worker_sim_run(vmachine_worker(&b.m), 40);
		assert_int_equal(reap_all(&b.d, 1), 1);
		assert_true(toy(&b.d)->requests < 40 * 64);
		vdriver_turn(&b.d);
		/* Its share was used up at least once, and it went on behind that. */
		assert_true(toy(&b.d)->requests > 64 + 1);
		teardown(&b);
	}
}

/* No more chains are taken than there are requests; the rest when some are done. */
static void test_depth(void **state)
{
	struct bench b;
	struct toy *t;

	setup(&b, state, "hold=on");
	t = toy(&b.d);
	vdriver_start(&b.d, UINT64_MAX);
	for (unsigned int i = 0; i < 3 * TOY_DEPTH; i++)
		send(&b.d, 0, (uint8_t)i);
	vdriver_kick(&b.d, 0);
	vdriver_turn(&b.d);
	assert_int_equal(t->held_count, TOY_DEPTH);
	assert_int_equal(reap_all(&b.d, 0), 0);
	let_go(t, 3);
	vdriver_turn(&b.d);
	assert_int_equal(t->held_count, TOY_DEPTH);
	assert_int_equal(reap_all(&b.d, 0), 3);
	while (t->held_count) {
		let_go(t, 1);
		vdriver_turn(&b.d);
	}
	assert_int_equal(reap_all(&b.d, 0), 3 * TOY_DEPTH - 3);
	assert_int_equal(t->requests, 3 * TOY_DEPTH);
	teardown(&b);
}

static void count_up(struct virtio_queue *q)
{
	toy_of(q->virtio)->written++;
}

/* A model has work done on a queue's worker, and turns, while the queue runs. */
static void test_on_queue(void **state)
{
	struct virtio_queue *q;
	struct bench b;

	setup(&b, state, "pull=on");
	q = &vdriver_virtio(&b.d)->queues[0];
	virtio_on_queue(q, count_up);
	virtio_again(q);
	vdriver_turn(&b.d);
	assert_int_equal(toy(&b.d)->written, 0);
	assert_int_equal(toy(&b.d)->readies, 0);
	vdriver_start(&b.d, UINT64_MAX);
	vdriver_turn(&b.d);
	assert_int_equal(toy(&b.d)->readies, TOY_QUEUES);
	virtio_on_queue(q, count_up);
	assert_int_equal(toy(&b.d)->written, 1);
	virtio_again(q);
	vdriver_turn(&b.d);
	assert_int_equal(toy(&b.d)->readies, TOY_QUEUES + 1);
	/* A broken device has no turns, and breaks once. */
	virtio_break(vdriver_virtio(&b.d), "for the test");
	assert_true(vdriver_config_interrupted(&b.d));
	virtio_break(vdriver_virtio(&b.d), "for the test");
	assert_false(vdriver_config_interrupted(&b.d));
	virtio_again(q);
	vdriver_turn(&b.d);
	assert_int_equal(toy(&b.d)->readies, TOY_QUEUES + 1);
	vdriver_reset(&b.d);
	virtio_on_queue(q, count_up);
	assert_int_equal(toy(&b.d)->written, 1);
	teardown(&b);
}

/* Operations of the core's own that the host fails: nothing is lost by that. */
static void test_host_fails(void **state)
{
	struct bench b;

	setup(&b, state, "");
	vdriver_start(&b.d, 0);
	for (unsigned int one_in = 4; one_in; one_in--) {
		worker_sim_fail(vmachine_worker(&b.m), one_in, EIO);
		for (unsigned int i = 0; i < 50; i++) {
			send(&b.d, 0, 1);
			vdriver_kick(&b.d, 0);
			worker_sim_run(vmachine_worker(&b.m), 60);
			assert_int_equal(reap_all(&b.d, 0), 1);
			assert_true(vdriver_interrupted(&b.d, 0));
		}
	}
	worker_sim_fail(vmachine_worker(&b.m), 0, 0);
	check_echo(&b.d, 0);
	teardown(&b);
}

/* A worker that can take no more files, and one that can take just the doorbells. */
static void test_full_worker(void **state)
{
	int slots[WORKER_FILES_MAX + 1] = {0}, n = 0;
	struct worker *w;
	struct bench b;

	vmachine_init(&b.m);
	w = vmachine_worker(&b.m);
	while ((slots[n] = worker_add_file(w, STDERR_FILENO)) >= 0)
		n++;
	for (int left = 0; left < TOY_QUEUES; left++) {
		assert_false(vdriver_try(&b.d, &b.m, *state, "zz_toy", ""));
		assert_non_null(strstr(b.m.rig.err.text, "machine.workers"));
		worker_remove_file(w, slots[--n]);
	}
	vdriver_create(&b.d, &b.m, *state, "zz_toy", "");
	vdriver_start(&b.d, 0);
	for (unsigned int i = 0; i < 10; i++) {
		check_echo(&b.d, i % TOY_QUEUES);
		assert_true(vdriver_interrupted(&b.d, i % TOY_QUEUES));
	}
	vdriver_destroy(&b.d);
	while (n)
		worker_remove_file(w, slots[--n]);
	vmachine_fini(&b.m);
}

/* Reset, of all and of one */

/* 2.4.1 and the rest: what is in flight is called off, and nothing is written behind a reset. */
static void test_reset_in_flight(void **state)
{
	uint8_t before[64], *device;
	struct bench b;

	setup(&b, state, "hold=on");
	vdriver_start(&b.d, UINT64_MAX);
	for (unsigned int i = 0; i < 5; i++)
		send(&b.d, 0, 1);
	send(&b.d, 1, 1);
	vdriver_kick(&b.d, 0);
	vdriver_kick(&b.d, 1);
	vdriver_turn(&b.d);
	assert_int_equal(toy(&b.d)->held_count, 6);
	let_go(toy(&b.d), 1); /* not yet published */
	vdriver_set(&b.d, VREG_STATUS, 0);
	assert_int_equal(vdriver_get(&b.d, VREG_STATUS), 0);
	device = gmem_hva(b.m.rig.machine.mem, b.d.rings[0].setup.device, sizeof(before));
	memcpy(before, device, sizeof(before));
	assert_int_equal(reap_all(&b.d, 0), 0);
	assert_int_equal(toy(&b.d)->held_count, 0);
	assert_int_equal(toy(&b.d)->cancels, TOY_QUEUES);
	assert_int_equal(toy(&b.d)->stops, 1);
	vdriver_turn(&b.d);
	assert_memory_equal(before, device, sizeof(before));
	assert_false(vdriver_interrupted(&b.d, 0));
	assert_int_equal(vdriver_get(&b.d, VREG_ISR), 0);
	vdriver_reset(&b.d);
	toy(&b.d)->options.hold = false;
	vdriver_start(&b.d, UINT64_MAX);
	check_echo(&b.d, 0);
	teardown(&b);
}

/* A reset waits for what takes time, however much the driver rings. */
static void test_reset_waits(void **state)
{
	struct bench b;

	setup(&b, state, "hold=on slow=on");
	vdriver_start(&b.d, UINT64_MAX);
	for (unsigned int i = 0; i < 5; i++)
		send(&b.d, 0, 1);
	vdriver_kick(&b.d, 0);
	vdriver_turn(&b.d);
	assert_int_equal(toy(&b.d)->held_count, 5);
	vdriver_reset(&b.d);
	assert_int_equal(toy(&b.d)->slow_turns, 0);
	assert_int_equal(toy(&b.d)->held_count, 0);
	toy(&b.d)->options.hold = false;
	vdriver_start(&b.d, UINT64_MAX);
	check_echo(&b.d, 0);
	teardown(&b);
}

/* The same by a reset of the machine, twice. */
static void test_machine_reset(void **state)
{
	struct bench b;

	setup(&b, state, "hold=on");
	vdriver_start(&b.d, UINT64_MAX);
	send(&b.d, 0, 1);
	vdriver_kick(&b.d, 0);
	vdriver_turn(&b.d);
	device_reset(b.d.dev);
	assert_int_equal(toy(&b.d)->held_count, 0);
	assert_int_equal(toy(&b.d)->virtio.data.status, 0);
	device_reset(b.d.dev);
	if (!b.d.way.mmio) {
		/* BARs are where firmware puts them. */
		assert_int_equal(pci_place(b.m.rig.machine.pci, &b.m.rig.err), 0);
		pci_config_write(b.m.rig.machine.pci, b.d.devfn, 4, 2, 6);
	}
	toy(&b.d)->options.hold = false;
	vdriver_start(&b.d, UINT64_MAX);
	check_echo(&b.d, 0);
	teardown(&b);
}

/* 2.6.1: one queue starts anew, with other rings; the others do not notice. */
static void test_queue_reset(void **state)
{
	struct bench b;
	struct toy *t;

	setup(&b, state, "hold=on");
	t = toy(&b.d);
	vdriver_start(&b.d, UINT64_MAX);
	send(&b.d, 0, 1);
	send(&b.d, 1, 1);
	vdriver_kick(&b.d, 0);
	vdriver_kick(&b.d, 1);
	vdriver_turn(&b.d);
	assert_int_equal(t->held_count, 2);
	vdriver_set(&b.d, VREG_QUEUE_SELECT, 0);
	vdriver_set(&b.d, VREG_QUEUE_RESET, 1);
	assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_RESET), 0);
	assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_ENABLE), 0);
	assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_MAX), 256);
	assert_int_equal(t->held_count, 1);
	assert_int_equal(t->stops, 0);
	vdriver_ring_bell(&b.d, 0);
	vdriver_turn(&b.d);
	assert_int_equal(t->requests, 2);
	vdriver_queue(&b.d, 0, 16, KIB(16));
	t->options.hold = false;
	for (unsigned int i = 0; i < 40; i++)
		check_echo(&b.d, 0);
	assert_true(vdriver_interrupted(&b.d, 0));
	let_go(t, 1);
	vdriver_turn(&b.d);
	assert_int_equal(reap_all(&b.d, 1), 1);
	teardown(&b);
}

/* 4.1.4.3.1, 2.6.1: not unless it was negotiated, and not for a queue that there is not. */
static void test_queue_reset_refused(void **state)
{
	struct bench b;

	setup(&b, state, "");
	vdriver_start(&b.d, 0);
	vdriver_set(&b.d, VREG_QUEUE_SELECT, 0);
	vdriver_set(&b.d, VREG_QUEUE_RESET, 1);
	assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_ENABLE), 1);
	check_echo(&b.d, 0);
	vdriver_start(&b.d, UINT64_MAX);
	vdriver_set(&b.d, VREG_QUEUE_SELECT, TOY_QUEUES);
	vdriver_set(&b.d, VREG_QUEUE_RESET, 1);
	vdriver_set(&b.d, VREG_QUEUE_SELECT, 0);
	vdriver_set(&b.d, VREG_QUEUE_RESET, 2);
	assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_ENABLE), 1);
	check_echo(&b.d, 0);
	teardown(&b);
}

/* Registers of queues */

/* 2.7, 2.8: the most that a queue can have, and the least. */
static void test_queue_sizes(void **state)
{
	struct bench b;

	setup(&b, state, "queue-size=32768");
	assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_MAX), 32768);
	teardown(&b);
	setup(&b, state, "queue-size=1");
	assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_MAX), 1);
	teardown(&b);
}

/* 4.1.4.3, 4.2.2: a queue that there is not, sizes that cannot be, and a queue that is enabled. */
static void test_queue_registers(void **state)
{
	struct bench b;

	setup(&b, state, "queue-size=64");
	assert_true(vdriver_negotiate(&b.d, UINT64_MAX));
	for (uint32_t n = TOY_QUEUES; n < 0x10000; n = 2 * n + 1) {
		vdriver_set(&b.d, VREG_QUEUE_SELECT, n);
		assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_MAX), 0);
		vdriver_set(&b.d, VREG_QUEUE_SIZE, 16);
		vdriver_set(&b.d, VREG_QUEUE_DESC_LOW, 0x1000);
		vdriver_set(&b.d, VREG_QUEUE_ENABLE, 1);
		assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_ENABLE), 0);
	}
	vdriver_set(&b.d, VREG_QUEUE_SELECT, 1);
	vdriver_set(&b.d, VREG_QUEUE_SIZE, 65);
	vdriver_set(&b.d, VREG_QUEUE_SIZE, 0);
	assert_int_equal(toy(&b.d)->virtio.data.size[1], 64);
	/* 2.7, 2.8: only a packed ring may have any size. */
	vdriver_set(&b.d, VREG_QUEUE_SIZE, 33);
	assert_int_equal(toy(&b.d)->virtio.data.size[1], b.d.way.packed ? 33 : 64);
	vdriver_queue(&b.d, 1, 32, KIB(4));
	vdriver_set(&b.d, VREG_QUEUE_SIZE, 8);
	vdriver_set(&b.d, VREG_QUEUE_DESC_LOW, 0x1000);
	vdriver_set(&b.d, VREG_QUEUE_DRIVER_HIGH, 0x1000);
	vdriver_set(&b.d, VREG_QUEUE_DEVICE_LOW, 0x1000);
	assert_int_equal(toy(&b.d)->virtio.data.size[1], 32);
	vdriver_go(&b.d);
	for (unsigned int i = 0; i < 40; i++)
		check_echo(&b.d, 1);
	teardown(&b);
}

/* A queue may come behind DRIVER_OK; one whose rings cannot be breaks the device. */
static void test_queue_enabled_late(void **state)
{
	struct bench b;

	setup(&b, state, "");
	assert_true(vdriver_negotiate(&b.d, UINT64_MAX));
	vdriver_go(&b.d);
	vdriver_queue(&b.d, 0, 0, KIB(4));
	check_echo(&b.d, 0);
	vdriver_set(&b.d, VREG_QUEUE_SELECT, 1);
	vdriver_set(&b.d, VREG_QUEUE_DESC_HIGH, 0x1000);
	vdriver_set(&b.d, VREG_QUEUE_ENABLE, 1);
	assert_true(vdriver_get(&b.d, VREG_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_true(vdriver_config_interrupted(&b.d));
	vdriver_start(&b.d, UINT64_MAX);
	check_echo(&b.d, 1);
	teardown(&b);
}

/* 2.1.2, 2.6: a ring that makes no sense needs a reset, which is told once and cures it. */
static void test_needs_reset(void **state)
{
	struct bench b;
	uint32_t status;

	setup(&b, state, "");
	vdriver_start(&b.d, UINT64_MAX);
	check_echo(&b.d, 0);
	vdriver_interrupted(&b.d, 0);
	/* A buffer outside RAM. */
	assert_int_equal(vring_add(vdriver_ring(&b.d, 0),
				   &(struct vring_buf){.gpa = UINT64_C(1) << 60, .len = 16}, 1, 0,
				   false, NULL),
			 0);
	vdriver_ring_bell(&b.d, 0);
	vdriver_turn(&b.d);
	status = vdriver_get(&b.d, VREG_STATUS);
	assert_int_equal(status, ALL_OK | VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_true(vdriver_config_interrupted(&b.d));
	/* No queue goes on, and the driver cannot talk the bit away. */
	send(&b.d, 1, 1);
	vdriver_ring_bell(&b.d, 1);
	vdriver_ring_bell(&b.d, 0);
	vdriver_turn(&b.d);
	assert_int_equal(reap_all(&b.d, 1), 0);
	vdriver_set(&b.d, VREG_STATUS, ALL_OK);
	assert_int_equal(vdriver_get(&b.d, VREG_STATUS), status);
	assert_false(vdriver_config_interrupted(&b.d));
	vdriver_start(&b.d, UINT64_MAX);
	check_echo(&b.d, 0);
	check_echo(&b.d, 1);
	teardown(&b);
}

/* Configuration */

/* 2.5: any part can be read at any time, and what is not there reads as zeroes. */
static void test_config(void **state)
{
	struct bench b;

	setup(&b, state, "");
	for (unsigned int size = 1; size <= 8; size *= 2)
		for (unsigned int at = 0; at < TOY_CONFIG + 8; at++) {
			uint64_t v = vdriver_config(&b.d, at, size);

			for (unsigned int i = 0; i < size; i++, v >>= 8)
				assert_int_equal(v & 0xff, at + i < TOY_CONFIG ? 0x10 + at + i : 0);
		}
	/* What may be written, from 4 to 8, and what may not. */
	vdriver_set_config(&b.d, 4, 4, 0xa1a2a3a4);
	assert_int_equal(vdriver_config(&b.d, 4, 4), 0xa1a2a3a4);
	assert_int_equal(toy(&b.d)->written, 1);
	vdriver_set_config(&b.d, 6, 2, 0xb1b2);
	assert_int_equal(vdriver_config(&b.d, 4, 4), 0xb1b2a3a4);
	assert_int_equal(toy(&b.d)->written_at, 6);
	assert_int_equal(toy(&b.d)->written_size, 2);
	for (unsigned int size = 1; size <= 4; size *= 2)
		for (unsigned int at = 0; at < TOY_CONFIG + 8; at++)
			if (at < 4 || at + size > 8)
				vdriver_set_config(&b.d, at, size, UINT64_MAX);
	assert_int_equal(toy(&b.d)->written, 2);
	assert_int_equal(vdriver_config(&b.d, 0, 8), UINT64_C(0xb1b2a3a413121110));
	teardown(&b);
	/* A model that has no word for it is read-only. */
	setup(&b, state, "pull=on");
	vdriver_set_config(&b.d, 4, 4, 0);
	assert_int_equal(vdriver_config(&b.d, 4, 4), 0x17161514);
	teardown(&b);
}

static void change_config(struct vdriver *d)
{
	device_lock(d->dev);
	((uint8_t *)virtio_config(vdriver_virtio(d)))[0]++;
	virtio_config_changed(vdriver_virtio(d));
	device_unlock(d->dev);
}

/* 4.1.4.3.1, 4.2.2.1: a change between two reads shows in the generation, and each is told. */
static void test_generation(void **state)
{
	struct bench b;
	uint32_t before;

	setup(&b, state, "");
	vdriver_start(&b.d, UINT64_MAX);
	before = vdriver_get(&b.d, VREG_GENERATION);
	vdriver_config(&b.d, 0, 4);
	assert_int_equal(vdriver_get(&b.d, VREG_GENERATION), before);
	/* As often as a generation of 8 bits takes to come round. */
	for (unsigned int i = 0; i < 600; i++) {
		change_config(&b.d);
		for (unsigned int n = 0; n < 256 && i == 300; n++)
			change_config(&b.d);
		vdriver_config(&b.d, 0, 1);
		assert_int_not_equal(vdriver_get(&b.d, VREG_GENERATION), before);
		before = vdriver_get(&b.d, VREG_GENERATION);
		assert_true(vdriver_config_interrupted(&b.d));
		assert_false(vdriver_config_interrupted(&b.d));
	}
	/* Not by what the driver writes. */
	vdriver_set_config(&b.d, 4, 4, 1);
	vdriver_config(&b.d, 4, 4);
	assert_int_equal(vdriver_get(&b.d, VREG_GENERATION), before);
	teardown(&b);
}

/* Doorbells */

struct bells {
	struct bus_doorbell there[16];
	unsigned int count;
	bool full;
};

static int bells_add(void *arg, const struct bus *bus, const struct bus_doorbell *bell,
		     struct err *err)
{
	struct bells *bells = arg;

	(void)bus;
	(void)err;
	if (bells->full)
		return -ENOSPC;
	bells->there[bells->count++] = *bell;
	return 0;
}

static void bells_del(void *arg, const struct bus *bus, const struct bus_doorbell *bell)
{
	struct bells *bells = arg;
	unsigned int i = 0;

	(void)bus;
	while (i < bells->count &&
	       (bells->there[i].at != bell->at || bells->there[i].value != bell->value))
		i++;
	assert_true(i < bells->count);
	assert_int_equal(bells->there[i].fd, bell->fd);
	bells->there[i] = bells->there[--bells->count];
}

static void listen_to_bells(struct bench *b, struct bells *bells)
{
	const struct bus_doorbell_sink sink = {.add = bells_add, .del = bells_del, .arg = bells};

	memset(bells, 0, sizeof(*bells));
	bus_set_doorbell_sink(b->m.rig.machine.mmio, &sink);
}

/* 4.1.4.4, 4.2.2: where they are; there are some only while queues run. */
static void test_doorbells(void **state)
{
	struct bells bells;
	struct bench b;

	setup(&b, state, "");
	listen_to_bells(&b, &bells);
	assert_true(vdriver_negotiate(&b.d, UINT64_MAX));
	vdriver_queue(&b.d, 0, 0, KIB(64));
	vdriver_queue(&b.d, 2, 0, KIB(64));
	assert_int_equal(bells.count, 0);
	vdriver_go(&b.d);
	assert_int_equal(bells.count, 2);
	for (unsigned int i = 0; i < 2; i++) {
		const struct bus_doorbell *bell = &bells.there[i];

		assert_int_equal(bell->size, b.d.way.mmio ? 4 : 0);
		assert_int_equal(bell->match, b.d.way.mmio);
		if (b.d.way.mmio)
			assert_int_equal(bell->at, b.d.registers + VIRTIO_MMIO_QUEUE_NOTIFY);
		else
			assert_int_equal(bell->at, b.d.notify + 8 * i);
		assert_int_equal(bell->value, b.d.way.mmio ? 2 * i : 0);
	}
	/* A write that KVM did not take, for whatever reason, rings as well. */
	check_echo(&b.d, 0);
	vdriver_set(&b.d, VREG_QUEUE_SELECT, 0);
	vdriver_set(&b.d, VREG_QUEUE_RESET, 1);
	assert_int_equal(bells.count, 1);
	vdriver_reset(&b.d);
	assert_int_equal(bells.count, 0);
	vdriver_start(&b.d, UINT64_MAX);
	assert_int_equal(bells.count, 3);
	device_reset(b.d.dev);
	assert_int_equal(bells.count, 0);
	teardown(&b);
}

/* Where KVM has no room for one more doorbell, the write itself rings. */
static void test_no_room_for_doorbells(void **state)
{
	struct bells bells;
	struct bench b;

	setup(&b, state, "");
	listen_to_bells(&b, &bells);
	bells.full = true;
	vdriver_start(&b.d, UINT64_MAX);
	for (unsigned int i = 0; i < 10; i++)
		check_echo(&b.d, i % TOY_QUEUES);
	vdriver_reset(&b.d);
	teardown(&b);
}

/* Pause and state */

/* Behind a pause the driver misses nothing, and the device has lost nothing. */
static void test_quiesce(void **state)
{
	const char *options[] = {"hold=on", "hold=on untake=on", "pull=on"};
	struct bench b;
	struct toy *t;

	for (unsigned int i = 0; i < ARRAY_SIZE(options); i++) {
		bool untaken = strstr(options[i], "untake");

		setup(&b, state, options[i]);
		t = toy(&b.d);
		vdriver_start(&b.d, UINT64_MAX);
		for (unsigned int n = 0; n < 3; n++)
			send(&b.d, 0, 7);
		vdriver_kick(&b.d, 0);
		vdriver_turn(&b.d);
		/* One that nobody has looked at. */
		send(&b.d, 0, 7);
		vdriver_kick(&b.d, 0);
		device_pause(vdriver_virtio(&b.d)->dev);
		device_pause(vdriver_virtio(&b.d)->dev);
		assert_int_equal(t->held_count, 0);
		assert_int_equal(reap_all(&b.d, 0), untaken ? 0 : 3);
		vdriver_turn(&b.d);
		assert_int_equal(reap_all(&b.d, 0), 0);
		t->options.hold = false;
		device_resume(vdriver_virtio(&b.d)->dev);
		device_resume(vdriver_virtio(&b.d)->dev);
		vdriver_turn(&b.d);
		assert_int_equal(reap_all(&b.d, 0), untaken ? 4 : 1);
		for (unsigned int n = 0; n < 300; n++)
			check_echo(&b.d, 0);
		assert_int_equal(t->stops, 0);
		teardown(&b);
	}
}

/* Another device goes on where the first stood still, with an interrupt that was not looked at. */
static void test_save_and_load(void **state)
{
	static uint8_t saved[2][65536], again[65536];
	long len[2] = {0};
	const struct state_table *table;
	struct device *first;
	struct bench b;
	void *at;

	setup(&b, state, "");
	vdriver_start(&b.d, UINT64_MAX);
	for (unsigned int i = 0; i < 300; i++)
		check_echo(&b.d, 0);
	device_lock(b.d.dev);
	virtio_config_changed(vdriver_virtio(&b.d));
	device_unlock(b.d.dev);
	virtio_quiesce(vdriver_virtio(&b.d));
	for (unsigned int n = 0; (table = device_state_part(b.d.dev, n, &at)); n++) {
		len[n] = state_save(table, at, saved[n], sizeof(saved[n]));
		assert_true(len[n] > 0);
	}
	first = b.d.dev;
	device_destroy(first);
	b.d.dev = rig_device(&b.m.rig, "dev0", "zz_toy", "");
	assert_non_null(b.d.dev);
	for (unsigned int n = 0; (table = device_state_part(b.d.dev, n, &at)); n++)
		assert_int_equal(state_load(table, at, saved[n], (size_t)len[n], &b.m.rig.err), 0);
	assert_int_equal(virtio_family.loaded(b.d.dev, &b.m.rig.err), 0);
	for (unsigned int n = 0; (table = device_state_part(b.d.dev, n, &at)); n++) {
		assert_int_equal(state_save(table, at, again, sizeof(again)), len[n]);
		assert_memory_equal(again, saved[n], (size_t)len[n]);
	}
	virtio_resume(vdriver_virtio(&b.d));
	for (unsigned int i = 0; i < 300; i++)
		check_echo(&b.d, 0);
	check_echo(&b.d, 1);
	assert_true(vdriver_interrupted(&b.d, 0));
	teardown(&b);
}

/* State from outside is refused, or the device lives with it. */
static void test_hostile_state(void **state)
{
	unsigned int taken = 0;
	struct bench b;
	void *at;

	setup(&b, state, "");
	vdriver_start(&b.d, UINT64_MAX);
	for (uint64_t seed = 1; seed < 2000; seed++) {
		const struct state_table *table = device_state_part(b.d.dev, 0, &at);
		int ret;

		virtio_quiesce(vdriver_virtio(&b.d));
		state_mutate(table, at, seed);
		device_lock(b.d.dev);
		ret = virtio_family.loaded(b.d.dev, &b.m.rig.err);
		device_unlock(b.d.dev);
		assert_true(!ret || ret == -EPROTO);
		taken += !ret;
		if (!ret) {
			virtio_resume(vdriver_virtio(&b.d));
			vdriver_ring_bell(&b.d, 0);
			worker_sim_run(vmachine_worker(&b.m), 1000);
		}
		if (seed % 4 == 0)
			vdriver_start(&b.d, UINT64_MAX);
		b.m.next = MIB(1);
	}
	assert_true(taken);
	vdriver_start(&b.d, UINT64_MAX);
	check_echo(&b.d, 0);
	teardown(&b);
}

/* A hostile driver */

static uint64_t draw(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static void check_invariants(struct vdriver *d)
{
	const struct virtio *v = vdriver_virtio(d);
	uint8_t status = v->data.status;

	assert_int_equal(status & 0x30, 0);
	if (status & VIRTIO_CONFIG_S_DRIVER_OK)
		assert_true(status & VIRTIO_CONFIG_S_FEATURES_OK);
	if (status & VIRTIO_CONFIG_S_FEATURES_OK) {
		assert_int_equal(v->features & ~v->offered, 0);
		assert_true(virtio_has(v, VIRTIO_F_VERSION_1));
	} else {
		assert_int_equal(v->features, 0);
	}
	for (unsigned int i = 0; i < v->queue_count; i++) {
		const struct virtio_queue *q = &v->queues[i];

		assert_in_range(v->data.size[i], 1, 256);
		assert_int_equal(q->started, q->running);
		assert_true(q->inflight <= q->depth);
		if (q->started)
			assert_true(v->data.enabled[i] && status & VIRTIO_CONFIG_S_DRIVER_OK);
		assert_true(v->data.vector[i] <= TOY_QUEUES ||
			    v->data.vector[i] == VIRTIO_MSI_NO_VECTOR);
	}
}

static void scribble(struct vdriver *d, uint64_t *s)
{
	uint64_t at = draw(s) % d->m->next, value = draw(s) >> (draw(s) % 64);

	gmem_write(d->m->rig.machine.mem, at, &value, 1 + draw(s) % 8);
}

static void do_something(struct vdriver *d, uint64_t *s)
{
	struct bus *bus = d->m->rig.machine.mmio;
	uint64_t value = draw(s) >> (draw(s) % 64);
	unsigned int size = 1U << (draw(s) % 4);

	switch (draw(s) % 16) {
	case 0:
		vdriver_set(d, VREG_STATUS, (uint32_t)value);
		break;
	case 1:
		vdriver_set(d, VREG_STATUS, ALL_OK);
		break;
	case 2:
		for (unsigned int i = 0; i < 16; i++)
			scribble(d, s);
		break;
	case 3:
		vdriver_set(d, VREG_QUEUE_SELECT, (uint32_t)(draw(s) % 4));
		vdriver_set(d, VREG_QUEUE_ENABLE, 1);
		break;
	case 4:
		accept(d, vdriver_offered(d) & draw(s));
		break;
	case 5:
		if (draw(s) % 8 == 0)
			vdriver_start(d, UINT64_MAX);
		break;
	case 6:
		if (!d->way.mmio)
			pci_config_write(d->m->rig.machine.pci, d->devfn,
					 (unsigned int)(0x40 + draw(s) % 0xc0) & ~3U, 4,
					 (uint32_t)value);
		break;
	case 7:
		worker_sim_run(vmachine_worker(d->m), 100);
		break;
	default:
		bus_write(bus, d->registers + (d->way.mmio ? draw(s) % 0x200 : draw(s) % 0x4000),
			  size, value);
		bus_read(bus, d->registers + (d->way.mmio ? draw(s) % 0x200 : draw(s) % 0x4000),
			 size);
		break;
	}
}

static void test_hostile_driver(void **state)
{
	uint64_t s = 88172645463325252u;
	const char *options[] = {"", "hold=on", "pull=on"};
	struct bench b;

	for (unsigned int i = 0; i < ARRAY_SIZE(options); i++) {
		setup(&b, state, options[i]);
		vdriver_start(&b.d, UINT64_MAX);
		for (unsigned int n = 0; n < 10000; n++) {
			do_something(&b.d, &s);
			check_invariants(&b.d);
			b.m.next = MIB(1) + (b.m.next - MIB(1)) % MIB(32);
			if (toy(&b.d)->held_count && n % 5 == 0)
				let_go(toy(&b.d), 1);
		}
		toy(&b.d)->options.hold = false;
		if (!b.d.way.mmio)
			pci_config_write(b.m.rig.machine.pci, b.d.devfn, 4, 2, 6);
		b.m.next = MIB(1);
		vdriver_start(&b.d, UINT64_MAX);
		check_echo(&b.d, 0);
		teardown(&b);
	}
}

/* PCI alone */

static uint32_t space_read(struct bench *b, unsigned int at, unsigned int size)
{
	return pci_config_read(b->m.rig.machine.pci, b->d.devfn, at, size);
}

static void space_write(struct bench *b, unsigned int at, unsigned int size, uint32_t value)
{
	pci_config_write(b->m.rig.machine.pci, b->d.devfn, at, size, value);
}

/* 4.1.2.1 */
static void test_pci_identity(void **state)
{
	struct bench b;

	setup(&b, state, "");
	assert_int_equal(space_read(&b, 0, 2), 0x1af4);
	assert_int_equal(space_read(&b, 2, 2), 0x1040 + TOY_ID);
	assert_true(space_read(&b, 8, 1) >= 1);
	assert_int_equal(space_read(&b, 8, 4) >> 8, 0xff0000);
	assert_true(space_read(&b, 0x2e, 2) >= 0x40);
	assert_int_equal(vdriver_get(&b.d, VREG_NUM_QUEUES), TOY_QUEUES);
	assert_int_equal(b.d.vectors, TOY_QUEUES + 1);
	assert_int_equal(b.d.notify_every, 4);
	teardown(&b);
}

static unsigned int find_capability(struct bench *b, unsigned int type)
{
	unsigned int cap = space_read(b, 0x34, 1);

	while (cap && (space_read(b, cap, 1) != 9 || space_read(b, cap + 3, 1) != type))
		cap = space_read(b, cap + 1, 1);
	assert_true(cap);
	return cap;
}

/* 4.1.4.1 to 4.1.4.9: where the structures are. */
static void test_pci_capabilities(void **state)
{
	static const struct {
		unsigned int type, length, align;
	} caps[] = {
		{VIRTIO_PCI_CAP_COMMON_CFG, 56, 4},
		{VIRTIO_PCI_CAP_NOTIFY_CFG, (TOY_QUEUES - 1) * 4 + 2, 2},
		{VIRTIO_PCI_CAP_ISR_CFG, 1, 1},
		{VIRTIO_PCI_CAP_DEVICE_CFG, TOY_CONFIG, 4},
	};
	struct bench b;

	setup(&b, state, "");
	for (unsigned int i = 0; i < ARRAY_SIZE(caps); i++) {
		unsigned int cap = find_capability(&b, caps[i].type);

		assert_true(space_read(&b, cap + 2, 1) >=
			    (caps[i].type == VIRTIO_PCI_CAP_NOTIFY_CFG ? 20 : 16));
		assert_true(space_read(&b, cap + 4, 1) <= 5);
		assert_int_equal(space_read(&b, cap + 8, 4) % caps[i].align, 0);
		assert_true(space_read(&b, cap + 12, 4) >= caps[i].length);
		/* Read-only. */
		space_write(&b, cap + 8, 4, 0x80);
		assert_int_not_equal(space_read(&b, cap + 8, 4), 0x80);
	}
	teardown(&b);
}

/* 4.1.4.9.1: configuration space as the way to the structures. */
static void test_pci_window(void **state)
{
	unsigned int cap;
	struct bench b;

	setup(&b, state, "");
	vdriver_start(&b.d, UINT64_MAX);
	cap = find_capability(&b, VIRTIO_PCI_CAP_PCI_CFG);
	space_write(&b, cap + 4, 1, space_read(&b, find_capability(&b, 1) + 4, 1));
	space_write(&b, cap + 8, 4, VIRTIO_PCI_COMMON_NUMQ);
	space_write(&b, cap + 12, 4, 2);
	assert_int_equal(space_read(&b, cap + 16, 4), TOY_QUEUES);
	space_write(&b, cap + 8, 4, VIRTIO_PCI_COMMON_Q_SELECT);
	space_write(&b, cap + 16, 4, 0xffff0002);
	assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_SELECT), 2);
	/* A device's configuration, byte by byte. */
	space_write(&b, cap + 12, 4, 1);
	for (unsigned int i = 0; i < TOY_CONFIG; i++) {
		space_write(&b, cap + 8, 4, space_read(&b, find_capability(&b, 4) + 8, 4) + i);
		assert_int_equal(space_read(&b, cap + 16, 4) & 0xff, 0x10 + i);
	}
	/* Notification, by the last queue. */
	send(&b.d, 2, 1);
	space_write(&b, cap + 8, 4, space_read(&b, find_capability(&b, 2) + 8, 4) + 8);
	space_write(&b, cap + 12, 4, 2);
	space_write(&b, cap + 16, 4, 2);
	vdriver_turn(&b.d);
	assert_int_equal(reap_all(&b.d, 2), 1);
	/* Lengths, offsets and BARs that cannot be do nothing. */
	for (unsigned int len = 0; len < 10; len++) {
		space_write(&b, cap + 12, 4, len);
		space_write(&b, cap + 8, 4, len == 1 ? 0x4000 : 0x15);
		space_read(&b, cap + 16, 4);
		if (len > 1)
			space_write(&b, cap + 16, 4, 0);
	}
	space_write(&b, cap + 12, 4, 4);
	space_write(&b, cap + 8, 4, 0xfffffffc);
	space_read(&b, cap + 16, 4);
	for (unsigned int bar = 1; bar < 256; bar++) {
		space_write(&b, cap + 4, 1, bar);
		space_write(&b, cap + 8, 4, VIRTIO_PCI_COMMON_STATUS);
		space_write(&b, cap + 12, 4, 1);
		space_write(&b, cap + 16, 4, 0);
	}
	assert_int_equal(vdriver_get(&b.d, VREG_STATUS), ALL_OK);
	teardown(&b);
}

/* 4.1.3.1: reads of any size, writes of whole fields and halves. */
static void test_pci_access_sizes(void **state)
{
	struct bus *bus;
	uint8_t all[60];
	struct bench b;

	setup(&b, state, "");
	bus = b.m.rig.machine.mmio;
	vdriver_start(&b.d, UINT64_MAX);
	vdriver_set(&b.d, VREG_QUEUE_SELECT, 1);
	for (unsigned int i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)bus_read(bus, b.d.registers + i, 1);
	for (unsigned int size = 2; size <= 8; size *= 2)
		for (unsigned int at = 0; at + size <= sizeof(all); at++) {
			uint64_t v = bus_read(bus, b.d.registers + at, size);

			assert_memory_equal(&v, all + at, size);
		}
	/* A byte of a field of two changes nothing. */
	bus_write(bus, b.d.registers + VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
	assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_SELECT), 1);
	/* Both halves of a 64-bit field at once. */
	vdriver_reset(&b.d);
	bus_write(bus, b.d.registers + VIRTIO_PCI_COMMON_Q_DESCLO, 8, UINT64_C(0x123456000));
	assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_DESC_LOW), 0x23456000);
	assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_DESC_HIGH), 1);
	/* Read-only fields stay. */
	vdriver_set(&b.d, VREG_NUM_QUEUES, 1);
	vdriver_set(&b.d, VREG_GENERATION, 77);
	vdriver_set(&b.d, VREG_QUEUE_NOTIFY_OFF, 77);
	vdriver_set(&b.d, VREG_DEVICE_FEATURE, 0);
	assert_int_equal(vdriver_get(&b.d, VREG_NUM_QUEUES), TOY_QUEUES);
	assert_int_equal(vdriver_get(&b.d, VREG_GENERATION), 0);
	assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_NOTIFY_OFF), 0);
	assert_int_not_equal(vdriver_get(&b.d, VREG_DEVICE_FEATURE), 0);
	teardown(&b);
}

/* 4.1.5.1.2.1: vectors as they are mapped, and what cannot be is not. */
static void test_pci_vectors(void **state)
{
	struct bench b;

	setup(&b, state, "");
	vdriver_start(&b.d, 0);
	vdriver_set(&b.d, VREG_QUEUE_SELECT, 0);
	for (uint32_t v = 0; v < 0x10000; v++) {
		uint32_t want = v <= TOY_QUEUES ? v : VIRTIO_MSI_NO_VECTOR;

		vdriver_set(&b.d, VREG_QUEUE_VECTOR, v);
		assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_VECTOR), want);
		vdriver_set(&b.d, VREG_CONFIG_VECTOR, v);
		assert_int_equal(vdriver_get(&b.d, VREG_CONFIG_VECTOR), want);
	}
	/* Without a vector nobody is interrupted. */
	check_echo(&b.d, 0);
	virtio_config_changed(vdriver_virtio(&b.d));
	for (unsigned int i = 0; i <= TOY_QUEUES; i++)
		assert_int_equal(vmachine_messages(&b.m, i), 0);
	/* Two may share one, and one may be another's from now on. */
	for (unsigned int v = 0; v <= TOY_QUEUES; v++)
		for (unsigned int q = 0; q < TOY_QUEUES; q++) {
			vdriver_set(&b.d, VREG_QUEUE_SELECT, q);
			vdriver_set(&b.d, VREG_QUEUE_VECTOR, v);
			check_echo(&b.d, q);
			assert_int_equal(vmachine_messages(&b.m, v), 1);
		}
	vdriver_set(&b.d, VREG_CONFIG_VECTOR, 2);
	virtio_config_changed(vdriver_virtio(&b.d));
	assert_int_equal(vmachine_messages(&b.m, 2), 1);
	/* 4.1.5.1.2: a reset takes the mapping away. */
	vdriver_reset(&b.d);
	assert_int_equal(vdriver_get(&b.d, VREG_CONFIG_VECTOR), VIRTIO_MSI_NO_VECTOR);
	vdriver_set(&b.d, VREG_QUEUE_SELECT, 1);
	assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_VECTOR), VIRTIO_MSI_NO_VECTOR);
	teardown(&b);
}

/* A vector that is masked is pending until it is not. */
static void test_pci_masked(void **state)
{
	struct bench b;

	setup(&b, state, "");
	vdriver_start(&b.d, 0);
	bus_write(b.m.rig.machine.mmio, b.d.msix_table + 16 + 12, 4, 1);
	check_echo(&b.d, 0);
	assert_int_equal(vmachine_messages(&b.m, 1), 0);
	bus_write(b.m.rig.machine.mmio, b.d.msix_table + 16 + 12, 4, 0);
	assert_int_equal(vmachine_messages(&b.m, 1), 1);
	teardown(&b);
}

/* 4.1.4.5.1, 4.1.5.3: without MSI-X, the line and the interrupt status. */
static void test_pci_line(void **state)
{
	struct bench b;

	setup(&b, state, "");
	b.d.msix = false;
	vdriver_start(&b.d, 0);
	assert_int_equal(vdriver_get(&b.d, VREG_ISR), 0);
	check_echo(&b.d, 0);
	assert_true(b.m.rig.level[b.d.gsi]);
	assert_int_equal(space_read(&b, 6, 2) & 8, 8);
	assert_int_equal(vdriver_get(&b.d, VREG_ISR), 1);
	assert_false(b.m.rig.level[b.d.gsi]);
	assert_int_equal(space_read(&b, 6, 2) & 8, 0);
	assert_int_equal(vdriver_get(&b.d, VREG_ISR), 0);
	virtio_config_changed(vdriver_virtio(&b.d));
	check_echo(&b.d, 0);
	assert_int_equal(vdriver_get(&b.d, VREG_ISR), 3);
	assert_false(b.m.rig.level[b.d.gsi]);
	check_echo(&b.d, 0);
	vdriver_reset(&b.d);
	assert_false(b.m.rig.level[b.d.gsi]);
	assert_int_equal(b.m.rig.messages, 0);
	teardown(&b);
}

/* PCI 3.0, 6.2.2: a function that is not bus master leaves guest memory alone. */
static void test_pci_not_master(void **state)
{
	struct bench b;

	setup(&b, state, "");
	vdriver_start(&b.d, UINT64_MAX);
	vdriver_turn(&b.d);
	space_write(&b, 4, 2, 2);
	send(&b.d, 0, 1);
	vdriver_ring_bell(&b.d, 0);
	vdriver_turn(&b.d);
	assert_int_equal(toy(&b.d)->requests, 0);
	space_write(&b, 4, 2, 6);
	vdriver_ring_bell(&b.d, 0);
	vdriver_turn(&b.d);
	assert_int_equal(reap_all(&b.d, 0), 1);
	teardown(&b);
}

/* A queue that watches its ring and is not to reach guest memory meanwhile does not miss what comes
 * behind that. */
static void test_watches_in_vain(void **state)
{
	struct bench b;

	setup(&b, state, "");
	worker_sim_may_spin(vmachine_worker(&b.m), true);
	vdriver_start(&b.d, UINT64_MAX);
	for (unsigned int i = 0; i < 20; i++) {
		send(&b.d, 0, 1);
		vdriver_kick(&b.d, 0);
		step_until_used(&b.d, 0);
		space_write(&b, 4, 2, 2);
		vdriver_turn(&b.d);
		space_write(&b, 4, 2, 6);
		send(&b.d, 0, 1);
		vdriver_kick(&b.d, 0);
		step_until_used(&b.d, 0);
	}
	teardown(&b);
}

/* Doorbells follow their BAR. */
static void rings_by_memory(struct bench *b)
{
	unsigned int cap = find_capability(b, VIRTIO_PCI_CAP_NOTIFY_CFG);

	do
		cap = space_read(b, cap + 1, 1);
	while (space_read(b, cap, 1) != 9 ||
	       space_read(b, cap + 3, 1) != VIRTIO_PCI_CAP_NOTIFY_CFG);
	assert_int_equal(space_read(b, cap + 4, 1), 0);
	assert_int_equal(space_read(b, cap + 16, 4), 4);
	send(&b->d, 2, 1);
	bus_write(b->m.rig.machine.mmio,
		  (b->d.registers & ~UINT64_C(0xfff)) + space_read(b, cap + 8, 4) + 8, 2, 2);
	vdriver_turn(&b->d);
	assert_int_equal(reap_all(&b->d, 2), 1);
}

static void rings_by_window(struct bench *b)
{
	unsigned int cap = find_capability(b, VIRTIO_PCI_CAP_PCI_CFG);

	space_write(b, cap + 4, 1, 2);
	space_write(b, cap + 8, 4, 0);
	space_write(b, cap + 12, 4, 2);
	send(&b->d, 1, 1);
	space_write(b, cap + 16, 4, 1);
	vdriver_turn(&b->d);
	assert_int_equal(reap_all(&b->d, 1), 1);
	/* Not behind its end. */
	space_write(b, cap + 8, 4, 4);
	space_write(b, cap + 16, 4, 1);
	assert_int_equal(space_read(b, cap + 16, 4), 1);
}

/* 4.1.4.4, 4.1.5.2: one port for all queues, and the queue as what is written. */
static void test_pci_doorbell_port(void **state)
{
	struct bus *ports;
	struct bench b;

	setup(&b, state, "doorbell=ports");
	ports = b.m.rig.machine.ports;
	vdriver_start(&b.d, UINT64_MAX);
	assert_true(b.d.notify_port);
	assert_int_equal(b.d.notify_every, 0);
	for (unsigned int q = 0; q < TOY_QUEUES; q++)
		check_echo(&b.d, q);
	/* Queues that there are not, widths and places that are none. */
	send(&b.d, 0, 1);
	bus_write(ports, b.d.notify, 2, TOY_QUEUES);
	bus_write(ports, b.d.notify, 2, 0xffff);
	bus_write(ports, b.d.notify, 1, 0);
	bus_write(ports, b.d.notify + 2, 2, 0);
	vdriver_turn(&b.d);
	assert_int_equal(reap_all(&b.d, 0), 0);
	assert_int_equal(bus_read(ports, b.d.notify, 2), 0);
	bus_write(ports, b.d.notify, 4, 0);
	vdriver_turn(&b.d);
	assert_int_equal(reap_all(&b.d, 0), 1);
	rings_by_memory(&b);
	rings_by_window(&b);
	/* It moves, and the old place is nobody's. */
	space_write(&b, 0x18, 4, 0x7000);
	send(&b.d, 0, 1);
	bus_write(ports, b.d.notify, 2, 0);
	vdriver_turn(&b.d);
	assert_int_equal(reap_all(&b.d, 0), 0);
	b.d.notify = 0x7000;
	vdriver_ring_bell(&b.d, 0);
	vdriver_turn(&b.d);
	assert_int_equal(reap_all(&b.d, 0), 1);
	/* Nor decodes without the command register's leave. */
	space_write(&b, 4, 2, 6);
	send(&b.d, 0, 1);
	bus_write(ports, b.d.notify, 2, 0);
	vdriver_turn(&b.d);
	assert_int_equal(reap_all(&b.d, 0), 0);
	teardown(&b);
}

/* Drivers that know nothing but memory find nothing else, unless they are Linux's. */
static void test_pci_doorbell_auto(void **state)
{
	for (unsigned int linux_guest = 0; linux_guest <= 1; linux_guest++) {
		struct bench b;

		vmachine_init(&b.m);
		b.m.rig.machine.linux_guest = linux_guest;
		vdriver_create(&b.d, &b.m, *state, "zz_toy", "");
		vdriver_start(&b.d, UINT64_MAX);
		assert_int_equal(b.d.notify_port, linux_guest);
		assert_int_equal(space_read(&b, 0x18, 4) & 1, linux_guest);
		check_echo(&b.d, 1);
		check_echo(&b.d, 1);
		teardown(&b);
	}
}

static void test_pci_bar_moves(void **state)
{
	struct bells bells;
	struct bench b;

	setup(&b, state, "");
	listen_to_bells(&b, &bells);
	vdriver_start(&b.d, UINT64_MAX);
	assert_int_equal(bells.count, 3);
	space_write(&b, 4, 2, 4);
	assert_int_equal(bells.count, 0);
	space_write(&b, 0x10, 4, PCI_MEM32_AT + MIB(16));
	space_write(&b, 0x14, 4, 0);
	space_write(&b, 4, 2, 6);
	assert_int_equal(bells.count, 3);
	for (unsigned int i = 0; i < 3; i++)
		assert_in_range(bells.there[i].at, PCI_MEM32_AT + MIB(16),
				PCI_MEM32_AT + MIB(16) + 0x4000);
	b.d.notify += PCI_MEM32_AT + MIB(16) - b.d.registers;
	b.d.isr += PCI_MEM32_AT + MIB(16) - b.d.registers;
	b.d.registers = PCI_MEM32_AT + MIB(16);
	check_echo(&b.d, 0);
	vdriver_reset(&b.d);
	assert_int_equal(bells.count, 0);
	teardown(&b);
}

/* A machine that has no PCI bus, or no slot. */
static void test_pci_refused(void **state)
{
	struct bench b;
	struct vdriver d;

	setup(&b, state, "addr=5");
	assert_int_equal(b.d.devfn, 5 << 3);
	assert_false(vdriver_try(&d, &b.m, *state, "zz_toy", "addr=5"));
	pci_release(b.m.rig.machine.pci);
	assert_null(rig_device(&b.m.rig, "lone", "zz_toy", "transport=pci"));
	assert_int_equal(pci_claim(b.m.rig.machine.pci, &b.m.rig.err), 0);
	teardown(&b);
}

/* MMIO alone */

/* 4.2.2: what is fixed, what is reserved, and accesses of other sizes. */
static void test_mmio_registers(void **state)
{
	struct bench b;
	struct bus *bus;

	setup(&b, state, "");
	bus = b.m.rig.machine.mmio;
	assert_int_equal(bus_read(bus, b.d.registers, 4), 0x74726976);
	assert_int_equal(bus_read(bus, b.d.registers + 4, 4), 2);
	assert_int_equal(bus_read(bus, b.d.registers + 8, 4), TOY_ID);
	for (unsigned int at = 0xb0; at <= 0xbc; at += 4)
		assert_int_equal(bus_read(bus, b.d.registers + at, 4), UINT32_MAX);
	for (unsigned int at = 0; at < 0x100; at += 4) {
		assert_int_equal(bus_read(bus, b.d.registers + at, 1), 0);
		assert_int_equal(bus_read(bus, b.d.registers + at, 2), 0);
		bus_write(bus, b.d.registers + at, 1, 0xff);
		bus_write(bus, b.d.registers + at, 2, 0xffff);
		bus_write(bus, b.d.registers + at + 1, 4, UINT32_MAX);
	}
	assert_int_equal(vdriver_get(&b.d, VREG_STATUS), 0);
	teardown(&b);
}

/* 4.2.2.1: the line is up while there is something to acknowledge. */
static void test_mmio_line(void **state)
{
	struct bench b;

	setup(&b, state, "");
	vdriver_start(&b.d, 0);
	check_echo(&b.d, 0);
	virtio_config_changed(vdriver_virtio(&b.d));
	assert_true(b.m.rig.level[b.d.gsi]);
	assert_int_equal(vdriver_get(&b.d, VREG_ISR), 3);
	assert_int_equal(vdriver_get(&b.d, VREG_ISR), 3);
	vdriver_set(&b.d, VREG_ISR_ACK, 1);
	assert_int_equal(vdriver_get(&b.d, VREG_ISR), 2);
	assert_true(b.m.rig.level[b.d.gsi]);
	vdriver_set(&b.d, VREG_ISR_ACK, UINT32_MAX);
	assert_int_equal(vdriver_get(&b.d, VREG_ISR), 0);
	assert_false(b.m.rig.level[b.d.gsi]);
	check_echo(&b.d, 0);
	vdriver_reset(&b.d);
	assert_false(b.m.rig.level[b.d.gsi]);
	teardown(&b);
}

/* 4.2.2.2: a driver stops a queue by writing 0 to QueueReady. */
static void test_mmio_queue_stops(void **state)
{
	struct bench b;

	setup(&b, state, "hold=on");
	vdriver_start(&b.d, UINT64_MAX);
	send(&b.d, 0, 1);
	vdriver_kick(&b.d, 0);
	vdriver_turn(&b.d);
	vdriver_set(&b.d, VREG_QUEUE_SELECT, 0);
	vdriver_set(&b.d, VREG_QUEUE_ENABLE, 0);
	assert_int_equal(vdriver_get(&b.d, VREG_QUEUE_ENABLE), 0);
	assert_int_equal(toy(&b.d)->held_count, 0);
	send(&b.d, 0, 1);
	vdriver_ring_bell(&b.d, 0);
	vdriver_turn(&b.d);
	assert_int_equal(toy(&b.d)->held_count, 0);
	toy(&b.d)->options.hold = false;
	vdriver_queue(&b.d, 0, 0, KIB(4));
	check_echo(&b.d, 0);
	check_echo(&b.d, 1);
	teardown(&b);
}

/* Devices share wires; each still finds its own interrupts. There is an end to the places. */
static void test_mmio_many(void **state)
{
	static struct vdriver d[65];
	struct vmachine m;

	vmachine_init(&m);
	for (unsigned int i = 0; i < 5; i++) {
		vdriver_create(&d[i], &m, *state, "zz_toy", "queue-size=4");
		assert_int_equal(d[i].registers, UINT64_C(0xd0000000) + i * UINT64_C(0x1000));
		vdriver_start(&d[i], UINT64_MAX);
	}
	check_echo(&d[0], 0);
	check_echo(&d[4], 0);
	assert_true(vdriver_interrupted(&d[0], 0));
	assert_int_equal(d[0].gsi, d[4].gsi);
	assert_true(m.rig.level[d[0].gsi]);
	assert_true(vdriver_interrupted(&d[4], 0));
	assert_false(m.rig.level[d[0].gsi]);
	for (unsigned int i = 5; i < 64; i++)
		vdriver_create(&d[i], &m, *state, "zz_toy", "queue-size=4");
	assert_false(vdriver_try(&d[64], &m, *state, "zz_toy", ""));
	for (unsigned int i = 0; i < 64; i++)
		vdriver_destroy(&d[i]);
	vmachine_fini(&m);
}

/* What ACPI says of it; a PCI function is found by itself. */
static void test_described(void **state)
{
	uint8_t buf[512];
	struct bench b;
	struct aml aml;
	long len;

	setup(&b, state, "");
	aml_init(&aml, buf, sizeof(buf));
	virtio_family.describe(b.d.dev, &aml);
	len = aml_finish(&aml);
	if (!b.d.way.mmio) {
		assert_int_equal(len, 0);
	} else {
		const uint32_t at = (uint32_t)b.d.registers;

		assert_true(len > 0);
		assert_non_null(memmem(buf, (size_t)len, "VR00", 4));
		assert_non_null(memmem(buf, (size_t)len, "LNRO0005", 9));
		assert_non_null(memmem(buf, (size_t)len, &at, sizeof(at)));
	}
	teardown(&b);
}

/* Threads */

struct stress {
	struct bench b;
	atomic_bool end;
};

static void *keep_changing(void *arg)
{
	struct stress *s = arg;

	while (!atomic_load(&s->end)) {
		change_config(&s->b.d);
		usleep(100);
	}
	return NULL;
}

static void wait_for(struct vdriver *d, unsigned int q, unsigned int n)
{
	for (unsigned int got = 0; got < n;) {
		got += reap_all(d, q);
		if (got < n)
			usleep(50);
	}
}

/* As fast as it goes: the queue may still watch its ring when the next one comes, or no more. */
static void talk(struct vdriver *d, unsigned int q)
{
	for (unsigned int i = 0; i < 100; i++) {
		send(d, q, 1);
		vdriver_kick(d, q);
		while (!reap_all(d, q))
			sched_yield();
		if (i % 8 == 0)
			usleep(i);
	}
}

static void load(struct bench *b, unsigned int round)
{
	b->m.next = MIB(1);
	vdriver_start(&b->d, round % 2 ? UINT64_MAX : 0);
	talk(&b->d, round % TOY_QUEUES);
	for (unsigned int i = 0; i < 100; i++) {
		unsigned int q = i % TOY_QUEUES;

		for (unsigned int n = 0; n <= i % 5; n++)
			send(&b->d, q, 1);
		vdriver_kick(&b->d, q);
		if (i % 4)
			wait_for(&b->d, q, 1);
		vdriver_interrupted(&b->d, q);
	}
	if (round % 4 == 0) {
		virtio_quiesce(vdriver_virtio(&b->d));
		virtio_resume(vdriver_virtio(&b->d));
	}
	/* Each was rung for, so each comes; in the other rounds the reset finds some under way. */
	for (unsigned int q = 0; q < TOY_QUEUES && round % 3; q++)
		while (vdriver_ring(&b->d, q)->free < 256)
			wait_for(&b->d, q, 1);
}

/*
 * With workers that have threads, one for all queues or one each: no ring is lost, resets under
 * load come back, and a second thread changes the configuration meanwhile.
 */
static void test_threads(void **state)
{
	const char *options[] = {"", "spread=on"};
	struct machine *machine;
	struct stress s;
	pthread_t other;
	struct err err;

	if (worker_probe(&err))
		skip();
	for (unsigned int i = 0; i < ARRAY_SIZE(options); i++) {
		atomic_init(&s.end, false);
		vmachine_init(&s.b.m);
		machine = &s.b.m.rig.machine;
		workers_destroy(machine->workers);
		assert_int_equal(workers_create(&machine->workers, 0, &err), 0);
		vdriver_create(&s.b.d, &s.b.m, *state, "zz_toy", options[i]);
		assert_int_equal(workers_start(machine->workers, &err), 0);
		assert_int_equal(pthread_create(&other, NULL, keep_changing, &s), 0);
		for (unsigned int round = 0; round < 10; round++)
			load(&s.b, round);
		atomic_store(&s.end, true);
		pthread_join(other, NULL);
		workers_stop(machine->workers);
		teardown(&s.b);
	}
}

#define PCI_TESTS(test)  VDRIVER_TEST(test, 0, "(split)"), VDRIVER_TEST(test, 1, "(packed)")
#define MMIO_TESTS(test) VDRIVER_TEST(test, 2, "(split)"), VDRIVER_TEST(test, 3, "(packed)")

int main(void)
{
	const struct CMUnitTest tests[] = {
		VDRIVER_TESTS(test_features_offered),
		VDRIVER_TESTS(test_features_accepted),
		VDRIVER_TESTS(test_status),
		VDRIVER_TESTS(test_nothing_before_driver_ok),
		VDRIVER_TESTS(test_start_fails),
		VDRIVER_TESTS(test_echo),
		VDRIVER_TESTS(test_one_interrupt_per_batch),
		VDRIVER_TESTS(test_interrupts_masked),
		VDRIVER_TESTS(test_looks_again),
		VDRIVER_TESTS(test_watches),
		PCI_TESTS(test_watches_in_vain),
		VDRIVER_TESTS(test_fair),
		VDRIVER_TESTS(test_depth),
		VDRIVER_TESTS(test_on_queue),
		VDRIVER_TESTS(test_host_fails),
		VDRIVER_TESTS(test_full_worker),
		VDRIVER_TESTS(test_reset_in_flight),
		VDRIVER_TESTS(test_reset_waits),
		VDRIVER_TESTS(test_machine_reset),
		VDRIVER_TESTS(test_queue_reset),
		VDRIVER_TESTS(test_queue_reset_refused),
		VDRIVER_TESTS(test_queue_sizes),
		VDRIVER_TESTS(test_queue_registers),
		VDRIVER_TESTS(test_queue_enabled_late),
		VDRIVER_TESTS(test_needs_reset),
		VDRIVER_TESTS(test_config),
		VDRIVER_TESTS(test_generation),
		VDRIVER_TESTS(test_doorbells),
		VDRIVER_TESTS(test_no_room_for_doorbells),
		VDRIVER_TESTS(test_quiesce),
		VDRIVER_TESTS(test_save_and_load),
		VDRIVER_TESTS(test_hostile_state),
		VDRIVER_TESTS(test_hostile_driver),
		PCI_TESTS(test_pci_identity),
		PCI_TESTS(test_pci_capabilities),
		PCI_TESTS(test_pci_window),
		PCI_TESTS(test_pci_access_sizes),
		PCI_TESTS(test_pci_vectors),
		PCI_TESTS(test_pci_masked),
		PCI_TESTS(test_pci_line),
		PCI_TESTS(test_pci_not_master),
		PCI_TESTS(test_pci_bar_moves),
		PCI_TESTS(test_pci_doorbell_port),
		PCI_TESTS(test_pci_doorbell_auto),
		PCI_TESTS(test_pci_refused),
		MMIO_TESTS(test_mmio_registers),
		MMIO_TESTS(test_mmio_line),
		MMIO_TESTS(test_mmio_queue_stops),
		MMIO_TESTS(test_mmio_many),
		VDRIVER_TESTS(test_described),
		VDRIVER_TESTS(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
