/* SPDX-License-Identifier: BSD-2-Clause */
/* What devices, buses, wires and timers record, on the rig; heard by a tap. */
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/trace.h"
#include "support/cm.h"
#include "support/rig.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accesses),
		cmocka_unit_test(test_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
