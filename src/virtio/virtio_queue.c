/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The queues of a virtio device, from the doorbell to the interrupt.
 *
 * A queue's turn begins when its doorbell has rung: notifications are switched off, chains are
 * taken until there are none, notifications are switched on again, and the ring is looked at once
 * more, for a driver that added a chain in between did not ring. A turn takes at most TURN_SHARE
 * chains; what is left has another turn when the worker has seen to everything else at hand. Chains
 * that were done are published together at the end of the worker's turn, and raise one interrupt.
 *
 * Invariants, on the worker: every chain taken is in flight until it is done or untaken; a queue
 * that is neither armed nor about to have a turn has a chain in flight, or a model that knows of
 * chains left in the ring; the doorbell is read at all times while the queue runs.
 *
 * A driver most often answers what was published with new chains within microseconds, which is less
 * than it takes to ring and to wake the worker. So a queue of a model that says so watches its ring
 * for a moment after it has published, with notifications off. Where that turns out to be in vain
 * it is done less and less often.
 *
 * Stopping waits for what is in flight by turning the worker over, and needs nothing of it but that
 * operations complete: the doorbell's own read is what it drains, and the last chain to come back
 * rings it.
 */
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "skep/trace.h"
#include "skep/workers.h"
#include "virtio_priv.h"

#define TURN_SHARE     64
#define SEGMENTS_USUAL 64
#define SEGMENTS_MAX   1024
#define DEPTH_USUAL    128

/* How long a ring is watched, and how often it is not, at most, for each time that it is. */
#define WATCH      (20 * NS_PER_US)
#define WATCH_REST 256U

static unsigned int segments(const struct virtio_model *model)
{
	return model->segments_max ? MIN(model->segments_max, (unsigned int)SEGMENTS_MAX)
				   : SEGMENTS_USUAL;
}

static size_t request_size(const struct virtio_model *model)
{
	return align_up(MAX(model->request_size, sizeof(struct virtio_request)), 16);
}

/* Requests */

/* Those never used are not even in memory, as long as the host has zeroed them only on paper. */
static struct virtio_request *get_request(struct virtio_queue *q)
{
	const struct virtio_model *model = q->virtio->model;
	struct virtio_request *r = q->free;

	if (r) {
		q->free = r->next;
		return r;
	}
	if (q->fresh == q->depth)
		return NULL;
	r = (struct virtio_request *)(void *)(q->requests + q->stride * q->fresh++);
	r->queue = q;
	r->chain.iov = (struct iovec *)(void *)((char *)r + request_size(model));
	return r;
}

static void put_request(struct virtio_request *r)
{
	r->next = r->queue->free;
	r->queue->free = r;
}

/* The chain's next, when there is none: has the driver ring for it. */
static int pop(struct virtio_queue *q, struct virtq_chain *chain)
{
	unsigned int room = segments(q->virtio->model);
	int n = virtq_pop(q->vq, chain, room);

	if (n || q->armed)
		return n;
	q->armed = !virtq_arm(q->vq);
	if (q->armed)
		return 0;
	virtq_disarm(q->vq);
	return virtq_pop(q->vq, chain, room);
}

static void record_head(const struct virtio_queue *q, const struct virtq_chain *chain, bool done)
{
	struct virtq_head head;

	if (virtq_head(q->vq, chain, done, &head))
		trace_put(TRACE_HEAD, q->virtio->dev->number, q->index, done, head.len, head.addr,
			  (uint64_t)head.number << 16 | head.flags);
}

struct virtio_request *virtio_take(struct virtio_queue *q)
{
	struct virtio_request *r;
	int n;

	if (!q->running || q->stopping || virtio_broken(q->virtio))
		return NULL;
	if (q->turning && !q->share) {
		worker_post(q->worker, &q->again);
		return NULL;
	}
	r = get_request(q);
	if (!r) {
		q->starved = true;
		return NULL;
	}
	n = pop(q, &r->chain);
	if (n < 0)
		virtio_break(q->virtio, "queue %u: %s", q->index, virtq_broken(q->vq));
	if (n <= 0) {
		put_request(r);
		return NULL;
	}
	r->taken = true;
	trace_event(TRACE_POP, q->virtio->dev->number, q->index, 0, r->chain.id, r->chain.out_len,
		    r->chain.in_len);
	if (trace_on())
		record_head(q, &r->chain, false);
	q->inflight++;
	q->share -= q->turning;
	return r;
}

static void ring(const struct virtio_queue *q)
{
	const uint64_t one = 1;

	/* It can only fail full, which is as good as rung. */
	(void)!write(q->kick_fd, &one, sizeof(one));
}

/* The chain is the driver's again. */
static void release(struct virtio_request *r)
{
	struct virtio_queue *q = r->queue;

	bug_on(!r->taken);
	r->taken = false;
	put_request(r);
	q->inflight--;
	if (q->stopping && !q->inflight)
		ring(q);
}

void virtio_untake(struct virtio_request *r)
{
	virtq_unpop(r->queue->vq, &r->chain);
	release(r);
}

void virtio_done(struct virtio_request *r, uint32_t written)
{
	struct virtio_queue *q = r->queue;

	trace_event(TRACE_DONE, q->virtio->dev->number, q->index, 0, r->chain.id, written, 0);
	if (trace_on())
		record_head(q, &r->chain, true);
	virtq_push(q->vq, &r->chain, MIN(written, r->chain.in_len));
	release(r);
	worker_defer(q->worker, &q->publish);
}

/* Interrupts */

static void on_call(struct io *io, int result)
{
	struct virtio_queue *q = container_of(io, struct virtio_queue, call_io);

	if (result != sizeof(q->call_count))
		q->virtio->transport->raise(q->virtio, q->call_vector);
	else if (q->call_again)
		io_write(q->worker, &q->call_io, q->call_slot, &q->call_count,
			 sizeof(q->call_count), IO_STREAM);
	q->call_again = false;
}

/* Whether the file of @vector is at hand. A worker whose table is full does without. */
static bool aim(struct virtio_queue *q, unsigned int vector)
{
	if (q->call_slot >= 0 && q->call_vector == vector)
		return true;
	if (io_pending(&q->call_io))
		return false;
	if (q->call_slot >= 0)
		worker_remove_file(q->worker, q->call_slot);
	q->call_slot =
		worker_add_file(q->worker, q->virtio->transport->vector_fd(q->virtio, vector));
	q->call_vector = vector;
	return q->call_slot >= 0;
}

static void raise_by_file(struct virtio_queue *q, unsigned int vector)
{
	trace_event(TRACE_SIGNAL, q->virtio->dev->number, q->index, 0, vector, 0, 0);
	if (io_pending(&q->call_io))
		q->call_again = true;
	else
		io_write(q->worker, &q->call_io, q->call_slot, &q->call_count,
			 sizeof(q->call_count), IO_STREAM);
}

static void interrupt(struct virtio_queue *q)
{
	struct virtio *v = q->virtio;
	unsigned int vector = __atomic_load_n(&v->data.vector[q->index], __ATOMIC_RELAXED);

	if (!v->transport->vectored || !v->transport->vectored(v))
		virtio_interrupt(v, ISR_QUEUE);
	else if (vector == VIRTIO_MSI_NO_VECTOR)
		return;
	else if (!aim(q, vector))
		v->transport->raise(v, vector);
	else
		raise_by_file(q, vector);
}

static void turn(struct virtio_queue *q);

/* A driver that forbids it has no chain served, and rings again behind that. */
static bool may_turn(struct virtio_queue *q)
{
	const struct virtio_transport *transport = q->virtio->transport;

	return q->running && !q->stopping && !virtio_broken(q->virtio) &&
	       (!transport->may_work || transport->may_work(q->virtio));
}

static void end_watch(struct virtio_queue *q)
{
	q->watching = false;
	worker_undefer(q->worker, &q->watch);
}

/* From now on, if there is a chance. */
static void begin_watch(struct virtio_queue *q)
{
	if (!q->virtio->model->answers || q->stopping || !worker_may_spin(q->worker))
		return;
	if (q->watch_rest) {
		q->watch_rest--;
		return;
	}
	q->watch_until = clock_now() + WATCH;
	if (q->watching)
		return;
	q->watching = true;
	q->armed = false;
	virtq_disarm(q->vq);
	worker_defer(q->worker, &q->watch);
}

static void watch(struct deferral *d)
{
	struct virtio_queue *q = container_of(d, struct virtio_queue, watch);

	if (virtq_pending(q->vq)) {
		q->watch_miss = 0;
	} else if (clock_now() < q->watch_until) {
		__builtin_ia32_pause();
		worker_defer(q->worker, d);
		return;
	} else {
		q->watch_miss = MIN(2 * q->watch_miss + 1, WATCH_REST);
		q->watch_rest = q->watch_miss;
	}
	q->watching = false;
	if (may_turn(q)) {
		turn(q); /* has the driver ring again, if there is nothing */
	} else {
		virtq_arm(q->vq);
		q->armed = true;
	}
}

static void publish(struct deferral *d)
{
	struct virtio_queue *q = container_of(d, struct virtio_queue, publish);

	bool wanted;

	begin_watch(q);
	atomic_fetch_add_explicit(&q->virtio->dev->machine->signs, 1, memory_order_relaxed);
	wanted = virtq_publish(q->vq);
	trace_event(TRACE_PUBLISH, q->virtio->dev->number, q->index, 0, wanted, 0, 0);
	if (wanted)
		interrupt(q);
	if (q->starved)
		worker_post(q->worker, &q->again);
	q->starved = false;
}

/* Turns */

static void turn(struct virtio_queue *q)
{
	const struct virtio_model *model = q->virtio->model;
	struct virtio_request *r;

	if (!may_turn(q))
		return;
	end_watch(q);
	virtq_disarm(q->vq);
	q->armed = false;
	q->share = TURN_SHARE;
	q->turning = true;
	if (model->ready)
		model->ready(q);
	else
		while ((r = virtio_take(q)))
			model->request(r);
	q->turning = false;
}

static void turn_again(struct post *post)
{
	turn(container_of(post, struct virtio_queue, again));
}

void virtio_again(struct virtio_queue *q)
{
	if (q->running && !q->stopping)
		worker_post(q->worker, &q->again);
}

static void await_kick(struct virtio_queue *q)
{
	io_read(q->worker, &q->kick_io, q->kick_slot, &q->kick_count, sizeof(q->kick_count),
		IO_STREAM);
}

/* Of a doorbell that cannot be read nobody would hear again, so failures count as rings. */
static void on_kick(struct io *io, int result)
{
	struct virtio_queue *q = container_of(io, struct virtio_queue, kick_io);

	if (q->stopping)
		return;
	if (result == sizeof(q->kick_count))
		trace_event(TRACE_NOTIFY, q->virtio->dev->number, q->index, 0, 0, q->kick_count, 0);
	await_kick(q);
	turn(q);
}

struct on_queue {
	struct virtio_queue *q;
	void (*fn)(struct virtio_queue *q);
};

static void call_on_queue(void *arg)
{
	const struct on_queue *c = arg;

	if (c->q->running && !c->q->stopping)
		c->fn(c->q);
}

void virtio_on_queue(struct virtio_queue *q, void (*fn)(struct virtio_queue *q))
{
	struct on_queue c = {q, fn};

	worker_call(q->worker, call_on_queue, &c);
}

/* Starting and stopping */

struct change {
	struct virtio_queue *q;
	const struct virtq_position *from; /* start: NULL is the beginning */
	struct virtq_position *at;         /* stop: NULL is as good as never having run */
	struct err err;
	int ret;
};

static void start_on_worker(void *arg)
{
	struct change *c = arg;
	struct virtio_queue *q = c->q;
	const struct virtio *v = q->virtio;
	const struct virtio_data *d = &v->data;
	const struct virtq_setup setup = {
		.desc = d->desc[q->index],
		.driver = d->driver[q->index],
		.device = d->device[q->index],
		.size = d->size[q->index],
	};
	const struct virtq_features features = {
		.packed = virtio_has(v, VIRTIO_F_RING_PACKED),
		.event_idx = virtio_has(v, VIRTIO_RING_F_EVENT_IDX),
		.indirect = virtio_has(v, VIRTIO_RING_F_INDIRECT_DESC),
		.in_order = virtio_has(v, VIRTIO_F_IN_ORDER),
	};

	c->ret = virtq_start(q->vq, &setup, &features, c->from, &c->err);
	if (c->ret)
		return;
	q->running = true;
	q->armed = true;
	q->starved = false;
	await_kick(q);
	worker_post(q->worker, &q->again);
}

static void stop_on_worker(void *arg)
{
	struct change *c = arg;
	struct virtio_queue *q = c->q;
	struct virtq_position at;

	q->stopping = true;
	q->pausing = c->at;
	if (q->virtio->model->cancel)
		q->virtio->model->cancel(q);
	while (q->inflight) {
		if (!io_pending(&q->kick_io))
			await_kick(q);
		io_drain(q->worker, &q->kick_io);
	}
	end_watch(q);
	worker_undefer(q->worker, &q->publish);
	worker_unpost(q->worker, &q->again);
	if (c->at && virtq_publish(q->vq))
		interrupt(q);
	io_cancel(q->worker, &q->kick_io);
	io_drain(q->worker, &q->kick_io);
	while (io_pending(&q->call_io))
		io_drain(q->worker, &q->call_io);
	virtq_stop(q->vq, c->at ? c->at : &at);
	q->stopping = false;
	q->running = false;
}

static void add_bells(struct virtio_queue *q)
{
	const struct virtio *v = q->virtio;

	for (unsigned int i = 0; i < VIRTIO_BELLS && q->started; i++) {
		struct virtio_bell *b = &q->bells[i];
		struct bus *bus = v->transport->doorbell(v, q->index, i, &b->bell);

		b->bell.fd = q->kick_fd;
		/* A machine that cannot have one more does with the write itself. */
		if (bus && !bus_doorbell_add(bus, &b->bell, NULL))
			b->bus = bus;
	}
}

static void del_bells(struct virtio_queue *q)
{
	for (unsigned int i = 0; i < VIRTIO_BELLS; i++) {
		struct virtio_bell *b = &q->bells[i];

		if (b->bus)
			bus_doorbell_del(b->bus, &b->bell);
		b->bus = NULL;
	}
}

void virtio_queues_bells(struct virtio *v)
{
	for (unsigned int i = 0; v->queues && i < v->queue_count; i++) {
		del_bells(&v->queues[i]);
		add_bells(&v->queues[i]);
	}
}

void virtio_queue_rung(struct virtio *v, unsigned int n)
{
	if (n < v->queue_count && v->queues[n].started)
		ring(&v->queues[n]);
	else
		trace_event(TRACE_REMARK, v->dev->number, TRACE_QUEUE_DEAF, 0, n, virtio_status(v),
			    0);
}

void virtio_queue_start(struct virtio *v, unsigned int n, bool resume)
{
	struct virtio_queue *q = &v->queues[n];
	const struct virtq_position from = {v->data.avail[n], v->data.used[n]};
	struct change c = {.q = q, .from = resume ? &from : NULL};

	if (q->started)
		return;
	worker_call(q->worker, start_on_worker, &c);
	if (c.ret) {
		virtio_break(v, "queue %u: %s", n, c.err.text);
		return;
	}
	q->started = true;
	add_bells(q);
}

void virtio_queue_stop(struct virtio *v, unsigned int n, bool keep)
{
	struct virtio_queue *q = &v->queues[n];
	struct virtq_position at = {0};
	struct change c = {.q = q, .at = keep ? &at : NULL};

	if (!q->started)
		return;
	del_bells(q);
	worker_call(q->worker, stop_on_worker, &c);
	q->started = false;
	if (!keep)
		return;
	v->data.avail[n] = at.avail;
	v->data.used[n] = at.used;
}

/* Making and unmaking */

static int get_worker(struct virtio *v, unsigned int n, struct err *err)
{
	const struct device *dev = v->dev;
	char name[16];

	if (n && !v->spread) {
		v->queues[n].worker = v->queues[0].worker;
		return 0;
	}
	if (v->spread && v->queue_count > 1)
		snprintf(name, sizeof(name), "%.12s/%u", dev->id, n % 100);
	else
		snprintf(name, sizeof(name), "%.15s", dev->id);
	return workers_get(dev->machine->workers, name, v->model->worker, &v->queues[n].worker,
			   err);
}

static int create_queue(struct virtio *v, unsigned int n, struct err *err)
{
	const struct virtio_model *model = v->model;
	struct virtio_queue *q = &v->queues[n];
	unsigned int size = (unsigned int)v->options.queue_size;
	int ret = get_worker(v, n, err);

	if (ret)
		return ret;
	q->kick_fd = eventfd(0, EFD_CLOEXEC);
	if (q->kick_fd < 0)
		return err_sys(err, errno, "cannot create an eventfd");
	q->kick_slot = worker_add_file(q->worker, q->kick_fd);
	if (q->kick_slot < 0) {
		ret = err_sys(err, -q->kick_slot, "the worker of queue %u takes no more files", n);
		err_advise(err, "machine.workers=0 gives each device its own");
		return ret;
	}
	q->depth = MIN(model->depth ? model->depth : DEPTH_USUAL, size);
	q->stride = request_size(model) + segments(model) * sizeof(struct iovec);
	q->requests = calloc(q->depth, q->stride);
	if (!q->requests)
		return err_sys(err, ENOMEM, "queue %u", n);
	return virtq_create(&q->vq, v->dev->machine->mem, size, err);
}

int virtio_queues_create(struct virtio *v, struct err *err)
{
	int ret = 0;

	v->queues = calloc(v->queue_count, sizeof(*v->queues));
	if (!v->queues)
		return err_sys(err, ENOMEM, "queues");
	for (unsigned int i = 0; i < v->queue_count; i++) {
		struct virtio_queue *q = &v->queues[i];

		q->virtio = v;
		q->index = i;
		q->kick_fd = q->kick_slot = q->call_slot = -1;
		q->kick_io.done = on_kick;
		q->call_io.done = on_call;
		q->call_count = 1;
		q->publish.fn = publish;
		q->watch.fn = watch;
		q->again.fn = turn_again;
	}
	for (unsigned int i = 0; !ret && i < v->queue_count; i++)
		ret = create_queue(v, i, err);
	return ret;
}

void virtio_queues_destroy(struct virtio *v)
{
	for (unsigned int i = 0; v->queues && i < v->queue_count; i++) {
		struct virtio_queue *q = &v->queues[i];

		if (q->call_slot >= 0)
			worker_remove_file(q->worker, q->call_slot);
		if (q->kick_slot >= 0)
			worker_remove_file(q->worker, q->kick_slot);
		if (q->kick_fd >= 0)
			close(q->kick_fd);
		virtq_destroy(q->vq);
		free(q->requests);
	}
	free(v->queues);
	v->queues = NULL;
}
