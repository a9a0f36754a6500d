/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a driver sees of a virtio device, whichever transport carries it: features, status,
 * configuration, the set-up of queues (sections 2.1 to 2.6 and 3.1).
 *
 * Invariants: v->features is what the driver accepted once FEATURES_OK is set, and 0 before; a
 * queue runs only while DRIVER_OK is set and it is enabled; the set-up of an enabled queue does not
 * change; behind a status of 0 no queue runs and nothing is in flight. vCPU threads with the
 * device's lock; what says any thread is called by workers as well.
 */
#include <linux/virtio_ring.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/log.h"
#include "skep/trace.h"
#include "virtio_priv.h"

#define STATUS_DRIVERS                                                                      \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK | \
	 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_FAILED)

static const struct option virtio_options[] = {
	{.name = "transport",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct virtio_options, transport),
	 .choices = "pci|mmio",
	 .fallback = "pci",
	 .help = "how the guest reaches it"},
	{.name = "addr",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct virtio_options, addr),
	 .help = "PCI slot, in hexadecimal: SLOT or SLOT.FUNCTION (default: the next free one)"},
	{.name = "doorbell",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct virtio_options, doorbell),
	 .choices = "auto|memory|ports",
	 .fallback = "auto",
	 .help = "how a driver on PCI notifies it; auto: by a port, which costs less, if the "
		 "kernel is Linux, and by memory for drivers that may know nothing else"},
	{.name = "queue-size",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct virtio_options, queue_size),
	 .fallback = "256",
	 .min = 1,
	 .max = VIRTQ_SIZE_MAX,
	 .help = "entries of a queue at most; a power of two"},
	{.name = "packed",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct virtio_options, packed),
	 .help = "offer packed rings"},
	{.name = "in-order",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct virtio_options, in_order),
	 .help = "offer to complete requests in order"},
	OPTION_END,
};

static const struct state_field virtio_fields[] = {
	STATE_FIELD(struct virtio_data, driver_features),
	STATE_ARRAY(struct virtio_data, desc),
	STATE_ARRAY(struct virtio_data, driver),
	STATE_ARRAY(struct virtio_data, device),
	STATE_FIELD(struct virtio_data, device_feature_select),
	STATE_FIELD(struct virtio_data, driver_feature_select),
	STATE_FIELD(struct virtio_data, generation),
	STATE_ARRAY(struct virtio_data, size),
	STATE_ARRAY(struct virtio_data, avail),
	STATE_ARRAY(struct virtio_data, used),
	STATE_ARRAY(struct virtio_data, vector),
	STATE_FIELD(struct virtio_data, queue_select),
	STATE_FIELD(struct virtio_data, config_vector),
	STATE_ARRAY(struct virtio_data, enabled),
	STATE_FIELD(struct virtio_data, status),
	STATE_FIELD(struct virtio_data, isr),
	STATE_FIELD(struct virtio_data, config_stale),
	STATE_ARRAY(struct virtio_data, config),
	STATE_ARRAY(struct virtio_data, pad),
};

const struct state_table virtio_data_state =
	STATE_TABLE("virtio", 1, struct virtio_data, virtio_fields);

/* Interrupts */

static uint8_t pending(const struct virtio *v)
{
	bool vectored = v->transport->vectored && v->transport->vectored(v);

	return vectored ? 0 : __atomic_load_n(&v->data.isr, __ATOMIC_SEQ_CST);
}

/*
 * The line follows the interrupt status, which any thread changes without a lock: whoever drove the
 * line looks again, so whoever drives it last drives it right.
 */
static void update_line(struct virtio *v)
{
	bool level;

	do {
		level = pending(v);
		v->transport->set_line(v, level);
	} while (level != (pending(v) != 0));
}

void virtio_interrupt(struct virtio *v, uint8_t bits)
{
	__atomic_fetch_or(&v->data.isr, bits, __ATOMIC_SEQ_CST);
	update_line(v);
}

uint8_t virtio_take_isr(struct virtio *v)
{
	uint8_t isr = __atomic_exchange_n(&v->data.isr, 0, __ATOMIC_SEQ_CST);

	update_line(v);
	return isr;
}

void virtio_clear_isr(struct virtio *v, uint8_t bits)
{
	__atomic_fetch_and(&v->data.isr, (uint8_t)~bits, __ATOMIC_SEQ_CST);
	update_line(v);
}

/* Only a driver that is ready is told (2.1.2). The status bit goes with a message too (4.1.4.5.1).
 */
static void interrupt_config(struct virtio *v)
{
	unsigned int vector = __atomic_load_n(&v->data.config_vector, __ATOMIC_RELAXED);

	if (!(virtio_status(v) & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	virtio_interrupt(v, ISR_CONFIG);
	if (v->transport->vectored && v->transport->vectored(v) && vector != VIRTIO_MSI_NO_VECTOR)
		v->transport->raise(v, vector);
}

void virtio_config_changed(struct virtio *v)
{
	v->data.config_stale = 1;
	interrupt_config(v);
}

void virtio_break(struct virtio *v, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (__atomic_fetch_or(&v->data.status, VIRTIO_CONFIG_S_NEEDS_RESET, __ATOMIC_SEQ_CST) &
	    VIRTIO_CONFIG_S_NEEDS_RESET)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	trace_text(TRACE_BROKEN, v->dev->number, UINT8_MAX, 0, text);
	log_guest(v->dev->machine->log, LOG_WARN, "%s needs a reset: %s", v->dev->id, text);
	interrupt_config(v);
}

/* Status */

static void stop_queues(struct virtio *v, bool keep)
{
	for (unsigned int i = 0; i < v->queue_count; i++)
		virtio_queue_stop(v, i, keep);
}

static void clear_queue(struct virtio *v, unsigned int n)
{
	struct virtio_data *d = &v->data;

	d->desc[n] = d->driver[n] = d->device[n] = 0;
	d->avail[n] = d->used[n] = 0;
	d->size[n] = (uint16_t)v->options.queue_size;
	d->enabled[n] = 0;
	__atomic_store_n(&d->vector[n], VIRTIO_MSI_NO_VECTOR, __ATOMIC_RELAXED);
}

static unsigned int writable_end(const struct virtio *v)
{
	const struct virtio_model *m = v->model;

	if (!m->config_written)
		return m->writable_at;
	return m->writable_len ? m->writable_at + m->writable_len : v->config_size;
}

/* Section 2.4. When this returns the device has nothing under way and says so. */
static void reset(struct virtio *v)
{
	const unsigned int at = v->model->writable_at;
	struct virtio_data *d = &v->data;

	stop_queues(v, false);
	if (v->live && v->model->stop)
		v->model->stop(v);
	v->live = false;
	v->features = d->driver_features = 0;
	d->device_feature_select = d->driver_feature_select = 0;
	d->queue_select = 0;
	__atomic_store_n(&d->config_vector, VIRTIO_MSI_NO_VECTOR, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < v->queue_count; i++)
		clear_queue(v, i);
	memcpy(d->config + at, v->power_on + at, writable_end(v) - at);
	__atomic_store_n(&d->status, 0, __ATOMIC_SEQ_CST);
	virtio_clear_isr(v, UINT8_MAX);
}

/* Section 2.2.2; a driver that is not of this device's age has no bit 32 (6.1). */
static bool features_fit(const struct virtio *v)
{
	return !(v->data.driver_features & ~v->offered) &&
	       v->data.driver_features & VIRTIO_FEATURE(VIRTIO_F_VERSION_1);
}

static bool start_model(struct virtio *v)
{
	int ret = v->model->start ? v->model->start(v) : 0;

	v->live = !ret;
	if (ret)
		virtio_break(v, "it cannot start as the driver wants it: %s", strerror(-ret));
	return v->live;
}

/*
 * Section 3.1.1. Bits that were set stay until a reset; FEATURES_OK does not set for features that
 * do not fit, and DRIVER_OK not without it.
 */
void virtio_write_status(struct virtio *v, uint8_t value)
{
	uint8_t was = virtio_status(v), set = value & STATUS_DRIVERS & (uint8_t)~was, now;

	if (!value) {
		reset(v);
		trace_event(TRACE_REMARK, v->dev->number, TRACE_STATUS_WRITE, 0, value, was, 0);
		return;
	}
	if (set & VIRTIO_CONFIG_S_FEATURES_OK && !features_fit(v))
		set &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
	now = virtio_status(v) | set;
	if (!(now & VIRTIO_CONFIG_S_FEATURES_OK))
		set &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
	if (set & VIRTIO_CONFIG_S_FEATURES_OK) {
		v->features = v->data.driver_features;
		if (v->model->negotiated)
			v->model->negotiated(v);
	}
	__atomic_fetch_or(&v->data.status, set, __ATOMIC_SEQ_CST);
	trace_event(TRACE_REMARK, v->dev->number, TRACE_STATUS_WRITE, 0, value, was, was | set);
	if (!(set & VIRTIO_CONFIG_S_DRIVER_OK) || !start_model(v))
		return;
	for (unsigned int i = 0; i < v->queue_count; i++)
		if (v->data.enabled[i])
			virtio_queue_start(v, i, false);
}

/* Features */

static uint32_t word_of(uint64_t features, uint32_t select)
{
	return select < 2 ? (uint32_t)(features >> (32 * select)) : 0;
}

uint32_t virtio_read_offered(const struct virtio *v)
{
	return word_of(v->offered, v->data.device_feature_select);
}

uint32_t virtio_read_accepted(const struct virtio *v)
{
	return word_of(v->data.driver_features, v->data.driver_feature_select);
}

void virtio_write_accepted(struct virtio *v, uint32_t word)
{
	unsigned int shift = 32 * v->data.driver_feature_select;
	uint64_t *features = &v->data.driver_features;

	if (virtio_status(v) & VIRTIO_CONFIG_S_FEATURES_OK)
		trace_event(TRACE_REMARK, v->dev->number, TRACE_FEATURES_LATE, 0, 0,
			    virtio_status(v), 0);
	if (v->data.driver_feature_select > 1 || virtio_status(v) & VIRTIO_CONFIG_S_FEATURES_OK)
		return;
	*features &= ~((uint64_t)UINT32_MAX << shift);
	*features |= (uint64_t)word << shift;
}

/* Queues */

bool virtio_selected(const struct virtio *v, unsigned int *n)
{
	*n = v->data.queue_select;
	return *n < v->queue_count;
}

/* What cannot be is not taken, so it is never presented either (4.1.4.3.1). */
void virtio_set_size(struct virtio *v, uint32_t size)
{
	unsigned int n;

	if (!virtio_selected(v, &n) || v->data.enabled[n])
		return;
	if (size && size <= v->options.queue_size &&
	    (is_power_of_two(size) || virtio_has(v, VIRTIO_F_RING_PACKED)))
		v->data.size[n] = (uint16_t)size;
}

void virtio_set_area(struct virtio *v, uint64_t *area, bool high, uint32_t word)
{
	unsigned int n;

	if (!virtio_selected(v, &n) || v->data.enabled[n])
		return;
	area[n] = high ? (area[n] & UINT32_MAX) | (uint64_t)word << 32
		       : (area[n] & ~(uint64_t)UINT32_MAX) | word;
}

void virtio_enable_queue(struct virtio *v)
{
	unsigned int n;

	if (!virtio_selected(v, &n) || v->data.enabled[n])
		return;
	trace_event(TRACE_REMARK, v->dev->number, TRACE_QUEUE_ENABLE, 0, n, virtio_status(v),
		    v->data.desc[n] && v->data.driver[n] && v->data.device[n]);
	v->data.enabled[n] = 1;
	if (v->live)
		virtio_queue_start(v, n, false);
}

void virtio_disable_queue(struct virtio *v)
{
	unsigned int n;

	if (!virtio_selected(v, &n))
		return;
	virtio_queue_stop(v, n, false);
	v->data.enabled[n] = 0;
}

void virtio_reset_queue(struct virtio *v)
{
	unsigned int n;

	if (!virtio_selected(v, &n) || !virtio_has(v, VIRTIO_F_RING_RESET))
		return;
	virtio_queue_stop(v, n, false);
	clear_queue(v, n);
}

/* Configuration */

/*
 * Counting reads that find a change, not changes, keeps a generation of 8 bits from coming round
 * between two that the driver compares (4.1.4.3.1).
 */
uint64_t virtio_read_config(struct virtio *v, uint64_t at, unsigned int size)
{
	uint64_t value = 0;

	v->data.generation += v->data.config_stale != 0;
	v->data.config_stale = 0;
	if (at < v->config_size)
		memcpy(&value, v->data.config + at, MIN(size, v->config_size - at));
	return le64toh(value);
}

bool virtio_write_config(struct virtio *v, uint64_t at, unsigned int size, uint64_t value)
{
	const struct virtio_model *m = v->model;

	if (at < m->writable_at || !range_fits(at, size, writable_end(v)))
		return false;
	value = htole64(value);
	memcpy(v->data.config + at, &value, size);
	m->config_written(v, (unsigned int)at, size);
	return true;
}

/* Pause */

/* Queues that should run and do not. */
static void resume(struct virtio *v)
{
	for (unsigned int i = 0; v->live && i < v->queue_count; i++)
		if (v->data.enabled[i] && !virtio_broken(v))
			virtio_queue_start(v, i, true);
}

void virtio_quiesce(struct virtio *v)
{
	device_lock(v->dev);
	stop_queues(v, true);
	device_unlock(v->dev);
}

void virtio_resume(struct virtio *v)
{
	device_lock(v->dev);
	resume(v);
	device_unlock(v->dev);
}

/* Making and unmaking */

static uint64_t core_features(const struct virtio_options *o)
{
	return VIRTIO_FEATURE(VIRTIO_F_VERSION_1) | VIRTIO_FEATURE(VIRTIO_F_RING_RESET) |
	       VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC) |
	       VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX) |
	       (o->packed ? VIRTIO_FEATURE(VIRTIO_F_RING_PACKED) : 0) |
	       (o->in_order ? VIRTIO_FEATURE(VIRTIO_F_IN_ORDER) : 0);
}

int virtio_attach(struct virtio *v, struct device *dev, const struct virtio_model *model,
		  struct err *err)
{
	int ret;

	bug_on(!v->queue_count || v->queue_count > VIRTIO_QUEUES_MAX ||
	       v->config_size > VIRTIO_CONFIG_MAX);
	bug_on(model->writable_at + model->writable_len > v->config_size);
	if (!is_power_of_two(v->options.queue_size))
		return err_set(err, EINVAL, "queue-size=%llu is not a power of two",
			       (unsigned long long)v->options.queue_size);
	v->dev = dev;
	v->model = model;
	v->transport = v->options.transport == VIRTIO_MMIO ? &virtio_mmio_transport
							   : &virtio_pci_transport;
	v->offered |= core_features(&v->options);
	memcpy(v->power_on, v->data.config, sizeof(v->power_on));
	ret = virtio_queues_create(v, err);
	return ret ? ret : v->transport->attach(v, err);
}

void virtio_detach(struct virtio *v)
{
	if (!v->transport)
		return;
	if (v->queues)
		stop_queues(v, false);
	/* Before the transport, whose vectors they know. */
	virtio_queues_destroy(v);
	v->transport->detach(v);
}

/* Of the machine: no vCPU runs, nor any worker. */
static void family_reset(struct device *dev)
{
	struct virtio *v = virtio_of(dev);

	reset(v);
	if (v->transport->reset)
		v->transport->reset(v);
}

static bool queue_possible(const struct virtio *v, unsigned int n)
{
	const struct virtio_data *d = &v->data;

	if (n >= v->queue_count)
		return !d->enabled[n];
	return d->enabled[n] <= 1 && d->size[n] && d->size[n] <= v->options.queue_size;
}

static bool status_possible(const struct virtio *v)
{
	uint8_t s = v->data.status;

	if (s & (uint8_t) ~(STATUS_DRIVERS | VIRTIO_CONFIG_S_NEEDS_RESET))
		return false;
	if (s & VIRTIO_CONFIG_S_FEATURES_OK)
		return features_fit(v);
	return !(s & VIRTIO_CONFIG_S_DRIVER_OK);
}

/* Queues wait for virtio_resume(). */
static int family_loaded(struct device *dev, struct err *err)
{
	struct virtio *v = virtio_of(dev);
	struct virtio_data *d = &v->data;

	stop_queues(v, false);
	if (v->live && v->model->stop)
		v->model->stop(v);
	v->live = false;
	v->features = 0;
	if (!status_possible(v))
		return err_set(err, EPROTO,
			       "%s: status %#x with features %#llx is not one that the device can "
			       "be in",
			       dev->id, d->status, (unsigned long long)d->driver_features);
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++)
		if (!queue_possible(v, i))
			return err_set(err, EPROTO, "%s: queue %u cannot be enabled %u, size %u",
				       dev->id, i, d->enabled[i], d->size[i]);
	if (d->status & VIRTIO_CONFIG_S_FEATURES_OK)
		v->features = d->driver_features;
	if (d->status & VIRTIO_CONFIG_S_DRIVER_OK)
		start_model(v);
	/* Of a PCI function the line is part of what is loaded. */
	if (v->transport->loaded)
		return v->transport->loaded(v, err);
	update_line(v);
	return 0;
}

static void family_describe(const struct device *dev, struct aml *aml)
{
	const struct virtio *v = virtio_of(dev);

	if (v->transport->describe)
		v->transport->describe(v, aml);
}

static void family_pause(struct device *dev)
{
	virtio_quiesce(virtio_of(dev));
}

static void family_resume(struct device *dev)
{
	virtio_resume(virtio_of(dev));
}

const struct device_family virtio_family = {
	.name = "virtio",
	.options = virtio_options,
	.options_offset = offsetof(struct virtio, options),
	.states =
		(const struct state_part[]){
			{&virtio_data_state, offsetof(struct virtio, data)},
			{&pci_function_state, offsetof(struct virtio, pci.data)},
			{NULL, 0},
		},
	.reset = family_reset,
	.loaded = family_loaded,
	.describe = family_describe,
	.pause = family_pause,
	.resume = family_resume,
	.explain = virtio_explain,
};
