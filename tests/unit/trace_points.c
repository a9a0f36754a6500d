/* SPDX-License-Identifier: BSD-2-Clause */
/* What devices, buses, wires and timers record, on the rig; heard by a tap. */
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/trace.h"
#include "support/cm.h"
#include "support/rig.h"
#include "support/vdriver.h"

#define HEARD_MAX 4096

struct points {
	struct rig rig;
	struct trace_tap tap;
	struct trace_record *heard;
	unsigned int count;
};

static void hear(struct trace_tap *tap, const struct trace_record *record)
{
	struct points *p = container_of(tap, struct points, tap);

	assert_true(p->count < HEARD_MAX);
	p->heard[p->count++] = *record;
}

/* Devices are made between the two. */
static void begin(struct points *p)
{
	const struct trace_options options = {.size = TRACE_SIZE_MIN};

	*p = (struct points){.tap.event = hear};
	p->heard = calloc(HEARD_MAX, sizeof(*p->heard));
	assert_non_null(p->heard);
	rig_init(&p->rig, 0);
	assert_int_equal(trace_create(&p->rig.machine.trace, &options, "rig", &p->rig.err), 0);
	trace_add_tap(p->rig.machine.trace, &p->tap);
}

static void record(struct points *p)
{
	struct trace *t = p->rig.machine.trace;
	struct trace_ring *ring = trace_ring(t, TRACE_VCPU, 0, "vcpu 0");

	trace_start(t);
	trace_enter(ring);
}

static void end(struct points *p)
{
	trace_enter(NULL);
	rig_fini(&p->rig);
	trace_destroy(p->rig.machine.trace);
	free(p->heard);
}

/* The one event of @kind behind number *@at, which it becomes. */
static const struct trace_event *next(const struct points *p, unsigned int *at, unsigned int kind)
{
	for (; *at < p->count; (*at)++)
		if (p->heard[*at].event.kind == kind)
			return &p->heard[(*at)++].event;
	fail_msg("there is no event '%s' any more", trace_kind_name(kind));
	return NULL;
}

static void test_accesses(void **state)
{
	const struct trace_event *e;
	struct points p;
	struct device *dev;
	unsigned int at = 0;
	uint16_t words[2];

	(void)state;
	begin(&p);
	dev = rig_device(&p.rig, "post", "post_port", "");
	record(&p);
	rig_out8(&p.rig, 0x80, 0x42);
	e = next(&p, &at, TRACE_WRITE);
	assert_int_equal(e->device, dev->number);
	assert_string_equal(trace_device_id(trace_header(p.rig.machine.trace), e->device), "post");
	assert_int_equal(e->size, 1);
	assert_int_equal(e->a, 0);
	assert_int_equal(e->b, 0x42);
	assert_int_equal(e->c, 0x80);
	assert_int_equal(e->sub, 0);
	/* Nobody's, of ports and of memory, and a string. */
	bus_read_string(p.rig.machine.ports, 0x99, 2, words, 2);
	for (int i = 0; i < 2; i++) {
		e = next(&p, &at, TRACE_READ);
		assert_int_equal(e->device, TRACE_NO_DEVICE);
		assert_int_equal(e->size, 2);
		assert_int_equal(e->b, 0xffff);
		assert_int_equal(e->c, 0x99);
	}
	bus_write(p.rig.machine.mmio, 0xd0000000, 8, 0x1122334455667788);
	e = next(&p, &at, TRACE_WRITE);
	assert_int_equal(e->sub, TRACE_MEMORY);
	assert_int_equal(e->b, 0x1122334455667788);
	assert_int_equal(p.count, at);
	device_destroy(dev);
	end(&p);
}

static void test_line(void **state)
{
	const struct trace_header *h;
	const struct trace_event *e;
	struct points p;
	struct device *dev;
	unsigned int at = 0;

	(void)state;
	begin(&p);
	dev = rig_device(&p.rig, "pit", "pit8254", "");
	record(&p);
	h = trace_header(p.rig.machine.trace);
	assert_int_equal(h->gsis[0], bit64(dev->number));
	assert_int_equal(h->devices[dev->number].ranges[0].at, 0x40);
	assert_string_equal(h->devices[dev->number].model, "pit8254");
	/* One shot of channel 0, in mode 0: the line falls, and rises. */
	rig_out8(&p.rig, 0x43, 0x30);
	rig_out8(&p.rig, 0x40, 0x10);
	rig_out8(&p.rig, 0x40, 0x00);
	e = next(&p, &at, TRACE_TIMER_ARM);
	assert_int_equal(e->device, dev->number);
	vtime_advance(p.rig.machine.time, 1000000);
	e = next(&p, &at, TRACE_TIMER_FIRE);
	assert_int_equal(e->device, dev->number);
	e = next(&p, &at, TRACE_IRQ);
	assert_int_equal(e->a, 0);
	assert_int_equal(e->sub, 1);
	assert_int_equal(e->device, dev->number);
	device_reset(dev);
	next(&p, &at, TRACE_RESET);
	device_destroy(dev);
	end(&p);
}

/* A request of interrupt 9, from the wire to the ends of both controllers. */
static void test_pic(void **state)
{
	const struct trace_event *e;
	struct irq_line line;
	struct points p;
	struct device *dev;
	unsigned int at;

	(void)state;
	begin(&p);
	dev = rig_device(&p.rig, "pic", "pic8259a", "");
	assert_int_equal(irq_attach(p.rig.machine.irqs, &line, 9, &p.rig.err), 0);
	record(&p);
	for (unsigned int i = 0; i < 2; i++) {
		rig_out8(&p.rig, i ? 0xa0 : 0x20, 0x11);
		rig_out8(&p.rig, i ? 0xa1 : 0x21, i ? 0x28 : 0x20);
		rig_out8(&p.rig, i ? 0xa1 : 0x21, i ? 2 : 4);
		rig_out8(&p.rig, i ? 0xa1 : 0x21, 1);
		rig_out8(&p.rig, i ? 0xa1 : 0x21, 0);
	}
	at = p.count;
	irq_set(&line, true);
	e = next(&p, &at, TRACE_IRQ);
	assert_int_equal(e->device, TRACE_NO_DEVICE);
	assert_int_equal(irqs_acknowledge(p.rig.machine.irqs), 0x29);
	e = next(&p, &at, TRACE_INTA);
	assert_int_equal(e->device, dev->number);
	assert_int_equal(e->a, 9);
	assert_int_equal(e->b, 0x29);
	assert_int_equal(e->sub, 0);
	irq_set(&line, false);
	rig_out8(&p.rig, 0xa0, 0x20);
	e = next(&p, &at, TRACE_EOI);
	assert_int_equal(e->a, 9);
	assert_int_equal(e->b, 0x29);
	rig_out8(&p.rig, 0x20, 0x62);
	e = next(&p, &at, TRACE_EOI);
	assert_int_equal(e->a, 2);
	/* An EOI of nothing is the write only. */
	at = p.count;
	rig_out8(&p.rig, 0x20, 0x20);
	assert_int_equal(p.count, at + 1);
	/* A request that was taken back. */
	assert_int_equal(irqs_acknowledge(p.rig.machine.irqs), 0x27);
	e = next(&p, &at, TRACE_INTA);
	assert_int_equal(e->a, 7);
	assert_int_equal(e->sub, 1);
	irq_detach(&line);
	device_destroy(dev);
	end(&p);
}

static void write_ioapic(struct points *p, uint8_t reg, uint32_t value)
{
	bus_write(p->rig.machine.mmio, 0xfec00000, 4, reg);
	bus_write(p->rig.machine.mmio, 0xfec00010, 4, value);
}

static void test_ioapic(void **state)
{
	const struct trace_event *e;
	struct irq_line line;
	struct points p;
	struct device *dev;
	unsigned int at;

	(void)state;
	begin(&p);
	dev = rig_device(&p.rig, "ioapic", "ioapic", "");
	assert_int_equal(irq_attach(p.rig.machine.irqs, &line, 9, &p.rig.err), 0);
	record(&p);
	write_ioapic(&p, 0x10 + 2 * 9, 0x8051);
	at = p.count;
	irq_set(&line, true);
	e = next(&p, &at, TRACE_DELIVER);
	assert_int_equal(e->device, dev->number);
	assert_int_equal(e->a, 9);
	assert_int_equal(e->b, 0x51);
	assert_int_equal(e->sub, 1);
	e = next(&p, &at, TRACE_MSI);
	assert_int_equal(e->b, 0xfee00000);
	irq_set(&line, false);
	irqs_eoi(p.rig.machine.irqs, 0x51);
	e = next(&p, &at, TRACE_EOI);
	assert_int_equal(e->a, 9);
	irq_detach(&line);
	device_destroy(dev);
	end(&p);
}

/* A chain of a virtio device, from the doorbell to the interrupt. */
static void test_queue(void **state)
{
	const struct trace_options options = {.size = TRACE_SIZE_MIN};
	struct points p = {.tap.event = hear};
	struct vring_buf buf = {.len = 64};
	const struct trace_event *e;
	struct trace_ring *ring;
	struct vmachine m;
	struct vdriver d;
	struct trace *t;
	unsigned int at = 0;

	p.heard = calloc(HEARD_MAX, sizeof(*p.heard));
	assert_non_null(p.heard);
	vmachine_init(&m);
	assert_int_equal(trace_create(&t, &options, NULL, &m.rig.err), 0);
	m.rig.machine.trace = t;
	trace_add_tap(t, &p.tap);
	ring = trace_ring(t, TRACE_CONTROL, 0, "control");
	trace_start(t);
	vdriver_create(&d, &m, *state, "virtio_rng", "source=/dev/zero");
	vdriver_start(&d, UINT64_MAX);
	buf.gpa = vring_alloc(vdriver_ring(&d, 0), 128);
	worker_record(vmachine_worker(&m), ring);
	trace_enter(ring);
	assert_int_equal(vdriver_transact(&d, 0, &buf, 0, 1), 64);
	trace_enter(NULL);
	e = next(&p, &at, TRACE_NOTIFY);
	assert_int_equal(e->device, d.dev->number);
	assert_int_equal(e->sub, 0);
	e = next(&p, &at, TRACE_POP);
	assert_int_equal(e->b, 0);
	assert_int_equal(e->c, 64);
	e = next(&p, &at, TRACE_DONE);
	assert_int_equal(e->b, 64);
	e = next(&p, &at, TRACE_PUBLISH);
	assert_int_equal(e->a, 1);
	next(&p, &at, d.way.mmio ? TRACE_IRQ : TRACE_SIGNAL);
	trace_enter(ring);
	virtio_break(vdriver_virtio(&d), "there is %s", "no more");
	next(&p, &at, TRACE_BROKEN);
	trace_enter(NULL);
	worker_record(vmachine_worker(&m), NULL);
	vdriver_destroy(&d);
	vmachine_fini(&m);
	trace_destroy(t);
	free(p.heard);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accesses), cmocka_unit_test(test_line),
		cmocka_unit_test(test_pic),      cmocka_unit_test(test_ioapic),
		VDRIVER_TESTS(test_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
