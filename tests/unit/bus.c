/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/cm.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/device.h"
#include "skep/err.h"

/* A device of sixteen byte registers that writes down how it was reached. */
struct part {
	struct device dev;
	struct bus *bus;
	uint8_t regs[16];
	char trace[512];
	size_t len;
	unsigned int settled;
	bool wrong_lock;
};

__attribute__((format(printf, 2, 3))) static void note(struct part *p, const char *fmt, ...)
{
	va_list ap;

	if (p->len >= sizeof(p->trace))
		return;
	if (p->len)
		p->trace[p->len++] = ' ';
	va_start(ap, fmt);
	p->len += (size_t)vsnprintf(p->trace + p->len, sizeof(p->trace) - p->len, fmt, ap);
	va_end(ap);
}

/* The mutex is the ordinary kind: whoever tries it again learns whether it is taken. */
static void check_lock(struct part *p, bool taken)
{
	int ret = pthread_mutex_trylock(&p->dev.lock.mutex);

	if (!ret)
		pthread_mutex_unlock(&p->dev.lock.mutex);
	if ((ret == EBUSY) != taken)
		p->wrong_lock = true;
}

static uint64_t part_read(struct device *dev, uint64_t offset, unsigned int size)
{
	struct part *p = container_of(dev, struct part, dev);
	uint64_t v = UINT64_MAX; /* more than was asked for: the bus cuts it */

	check_lock(p, true);
	note(p, "r%llu/%u", (unsigned long long)offset, size);
	memcpy(&v, p->regs + offset % 16, MIN(size, 16 - (unsigned int)(offset % 16)));
	return v;
}

static void part_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct part *p = container_of(dev, struct part, dev);

	check_lock(p, true);
	note(p, "w%llu/%u=%llx", (unsigned long long)offset, size, (unsigned long long)value);
	memcpy(p->regs + offset % 16, &value, MIN(size, 16 - (unsigned int)(offset % 16)));
}

static void part_settle(struct device *dev)
{
	struct part *p = container_of(dev, struct part, dev);

	check_lock(p, false);
	note(p, "s");
	p->settled++;
}

static const struct bus_ops any = {.read = part_read, .write = part_write};
static const struct bus_ops by1 = {.read = part_read, .write = part_write, .max_size = 1};
static const struct bus_ops by2 = {.read = part_read, .write = part_write, .max_size = 2};
static const struct bus_ops by4 = {.read = part_read, .write = part_write, .max_size = 4};
static const struct bus_ops settling = {
	.read = part_read, .write = part_write, .settle = part_settle};
static const struct bus_ops settling_by1 = {
	.read = part_read, .write = part_write, .settle = part_settle, .max_size = 1};

struct ctx {
	struct bus *ports, *mmio;
	struct part a, b, c;
	struct err err;
};

static void part_init(struct part *p, const char *id)
{
	lock_init(&p->dev.lock, LOCK_DEVICE);
	snprintf(p->dev.id, sizeof(p->dev.id), "%s", id);
	for (unsigned int i = 0; i < 16; i++)
		p->regs[i] = (uint8_t)(0x10 + i);
}

static int setup(void **state)
{
	struct ctx *x = calloc(1, sizeof(*x));

	assert_non_null(x);
	assert_int_equal(bus_create(&x->ports, "port", 65536, &x->err), 0);
	assert_int_equal(bus_create(&x->mmio, "memory", UINT64_MAX, &x->err), 0);
	part_init(&x->a, "a");
	part_init(&x->b, "b");
	part_init(&x->c, "c");
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct ctx *x = *state;

	assert_false(x->a.wrong_lock || x->b.wrong_lock || x->c.wrong_lock);
	bus_destroy(x->ports);
	bus_destroy(x->mmio);
	lock_destroy(&x->a.dev.lock);
	lock_destroy(&x->b.dev.lock);
	lock_destroy(&x->c.dev.lock);
	free(x);
	return 0;
}

static void map(struct ctx *x, struct bus *bus, uint64_t at, uint64_t len,
		const struct bus_ops *ops, struct part *p)
{
	if (bus_map(bus, at, len, ops, &p->dev, &x->err))
		fail_msg("%s", x->err.text);
	p->bus = bus;
}

static void assert_trace(struct part *p, const char *want)
{
	assert_string_equal(p->trace, want);
	p->trace[p->len = 0] = '\0';
}

/* Mapping */

static void ranges_lie_on_the_bus(void **state)
{
	static const struct {
		bool port;
		uint64_t at, len;
	} bad[] = {
		{true, 0, 0},
		{true, 0x3f8, 0},
		{true, 65535, 2},
		{true, 65536, 1},
		{true, 0, 65537},
		{true, UINT64_MAX, 1},
		{true, UINT64_MAX, 2},
		{true, 1, UINT64_MAX},
		{false, UINT64_MAX, 1},
		{false, UINT64_MAX - 1, 2},
		{false, 1, UINT64_MAX},
		{false, UINT64_MAX - 1, UINT64_MAX},
		{false, UINT64_MAX, UINT64_MAX},
	};
	struct ctx *x = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct bus *bus = bad[i].port ? x->ports : x->mmio;
		char want[128];

		assert_int_equal(bus_map(bus, bad[i].at, bad[i].len, &any, &x->a.dev, &x->err),
				 -EINVAL);
		snprintf(want, sizeof(want), "%s %llx, %llu bytes long, is not on the bus",
			 bus_name(bus), (unsigned long long)bad[i].at,
			 (unsigned long long)bad[i].len);
		assert_string_equal(x->err.text, want);
	}
	map(x, x->ports, 65535, 1, &any, &x->a);
	map(x, x->ports, 0, 65535, &any, &x->b);
	map(x, x->mmio, UINT64_MAX - 1, 1, &any, &x->a);
	map(x, x->mmio, 0, UINT64_MAX - 1, &any, &x->b);
	assert_int_equal(bus_read(x->mmio, UINT64_MAX - 1, 1), 0x10);
	assert_trace(&x->a, "r0/1");
	assert_int_equal(bus_read(x->mmio, UINT64_MAX - 2, 1), 0x1d);
	assert_trace(&x->b, "r18446744073709551613/1");
	assert_int_equal(bus_read(x->mmio, UINT64_MAX, 1), 0xff);
	bus_unmap(x->mmio, 0);
	bus_unmap(x->mmio, UINT64_MAX - 1);
	map(x, x->mmio, 0, UINT64_MAX, &any, &x->b);
}

static void overlap_is_an_error_that_names_both(void **state)
{
	static const struct {
		uint64_t at, len;
		bool clash;
	} cases[] = {
		{0x90, 0x10, false}, {0xb0, 0x10, false}, {0x90, 0x11, true},    {0xaf, 1, true},
		{0xa0, 1, true},     {0xa0, 0x10, true},  {0xa4, 4, true},       {0x80, 0x40, true},
		{0, 65536, true},    {0, 0xa0, false},    {0xb0, 0xff50, false},
	};
	struct ctx *x = *state;

	map(x, x->ports, 0xa0, 0x10, &any, &x->a);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char want[128];
		int ret = bus_map(x->ports, cases[i].at, cases[i].len, &any, &x->b.dev, &x->err);

		assert_int_equal(ret, cases[i].clash ? -EBUSY : 0);
		if (!ret) {
			bus_unmap(x->ports, cases[i].at);
			continue;
		}
		snprintf(want, sizeof(want), "port %llx-%llx, for b, overlaps a0-af of a",
			 (unsigned long long)cases[i].at,
			 (unsigned long long)(cases[i].at + cases[i].len - 1));
		assert_string_equal(x->err.text, want);
		assert_int_equal(
			bus_map(x->ports, cases[i].at, cases[i].len, &any, &x->b.dev, NULL),
			-EBUSY);
	}
	/* The other bus is another matter. */
	map(x, x->mmio, 0xa0, 0x10, &any, &x->b);
}

struct seen {
	char text[256];
	size_t n;
};

static void see(void *arg, uint64_t at, uint64_t len, const struct device *dev)
{
	struct seen *s = arg;

	s->n += (size_t)snprintf(s->text + s->n, sizeof(s->text) - s->n, "%s%llx+%llx:%s",
				 s->n ? " " : "", (unsigned long long)at, (unsigned long long)len,
				 dev->id);
}

static void assert_map(struct bus *bus, const char *want)
{
	struct seen s = {.text = ""};

	bus_each(bus, see, &s);
	assert_string_equal(s.text, want);
}

static void ranges_are_listed_in_order(void **state)
{
	struct ctx *x = *state;

	assert_map(x->ports, "");
	map(x, x->ports, 0x60, 1, &any, &x->b);
	map(x, x->ports, 0x20, 2, &any, &x->a);
	map(x, x->ports, 0x3f8, 8, &any, &x->c);
	map(x, x->ports, 0x64, 1, &any, &x->b);
	assert_map(x->ports, "20+2:a 60+1:b 64+1:b 3f8+8:c");
	assert_map(x->mmio, "");
	bus_unmap(x->ports, 0x60);
	assert_map(x->ports, "20+2:a 64+1:b 3f8+8:c");
	/* Only the start of a range names it. */
	bus_unmap(x->ports, 0x3f9);
	bus_unmap(x->ports, 0x21);
	bus_unmap(x->ports, 0);
	bus_unmap(x->ports, UINT64_MAX);
	assert_map(x->ports, "20+2:a 64+1:b 3f8+8:c");
	bus_unmap(x->ports, 0x3f8);
	bus_unmap(x->ports, 0x20);
	bus_unmap(x->ports, 0x64);
	assert_map(x->ports, "");
	map(x, x->ports, 0x20, 4, &any, &x->c);
	assert_map(x->ports, "20+4:c");
	bus_destroy(NULL);
}

/* Access */

static void an_access_reaches_its_device(void **state)
{
	struct ctx *x = *state;

	map(x, x->mmio, 0x1000, 16, &any, &x->a);
	map(x, x->mmio, 0x1010, 16, &any, &x->b);
	assert_true(bus_read(x->mmio, 0x1000, 1) == 0x10);
	assert_true(bus_read(x->mmio, 0x1001, 2) == 0x1211);
	assert_true(bus_read(x->mmio, 0x1004, 4) == 0x17161514);
	assert_true(bus_read(x->mmio, 0x1008, 8) == UINT64_C(0x1f1e1d1c1b1a1918));
	assert_trace(&x->a, "r0/1 r1/2 r4/4 r8/8");
	bus_write(x->mmio, 0x1010, 1, 0x1234567890abcdef);
	bus_write(x->mmio, 0x1012, 2, 0x1234567890abcdef);
	bus_write(x->mmio, 0x1014, 4, 0x1234567890abcdef);
	bus_write(x->mmio, 0x1018, 8, 0x1234567890abcdef);
	assert_trace(&x->b, "w0/1=ef w2/2=cdef w4/4=90abcdef w8/8=1234567890abcdef");
	assert_int_equal(bus_misses(x->mmio), 0);
	assert_string_equal(bus_name(x->mmio), "memory");
}

static void what_nobody_decodes_reads_as_ones(void **state)
{
	struct ctx *x = *state;

	for (unsigned int size = 1; size <= 8; size++) {
		assert_true(bus_read(x->mmio, 0x1000, size) == ones(size));
		assert_true(bus_read(x->mmio, UINT64_MAX, size) == ones(size));
		assert_true(bus_read(x->ports, 65535, size) == ones(size));
		bus_write(x->mmio, 0x1000, size, 0);
	}
	assert_int_equal(bus_misses(x->mmio), 24);
	assert_int_equal(bus_misses(x->ports), 8);
}

static void a_device_sees_only_sizes_it_takes(void **state)
{
	static const struct {
		const struct bus_ops *ops;
		unsigned int size;
		const char *reads, *writes;
	} cases[] = {
		{&by1, 1, "r0/1", "w0/1=88"},
		{&by1, 4, "r0/1 r1/1 r2/1 r3/1", "w0/1=88 w1/1=77 w2/1=66 w3/1=55"},
		{&by2, 8, "r0/2 r2/2 r4/2 r6/2", "w0/2=7788 w2/2=5566 w4/2=3344 w6/2=1122"},
		{&by2, 3, "r0/2 r2/1", "w0/2=7788 w2/1=66"},
		{&by4, 8, "r0/4 r4/4", "w0/4=55667788 w4/4=11223344"},
		{&by4, 7, "r0/4 r4/2 r6/1", "w0/4=55667788 w4/2=3344 w6/1=22"},
		{&any, 8, "r0/8", "w0/8=1122334455667788"},
		{&any, 7, "r0/4 r4/2 r6/1", "w0/4=55667788 w4/2=3344 w6/1=22"},
		{&any, 6, "r0/4 r4/2", "w0/4=55667788 w4/2=3344"},
		{&any, 5, "r0/4 r4/1", "w0/4=55667788 w4/1=44"},
		{&any, 3, "r0/2 r2/1", "w0/2=7788 w2/1=66"},
	};
	struct ctx *x = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t regs;

		map(x, x->mmio, 0x1000, 16, cases[i].ops, &x->a);
		memcpy(&regs, x->a.regs, sizeof(regs));
		assert_true(bus_read(x->mmio, 0x1000, cases[i].size) ==
			    (regs & ones(cases[i].size)));
		assert_trace(&x->a, cases[i].reads);
		bus_write(x->mmio, 0x1000, cases[i].size, UINT64_C(0x1122334455667788));
		assert_trace(&x->a, cases[i].writes);
		bus_unmap(x->mmio, 0x1000);
	}
}

static void no_access_crosses_a_devices_end(void **state)
{
	struct ctx *x = *state;

	map(x, x->mmio, 0x1000, 3, &any, &x->a);
	map(x, x->mmio, 0x1003, 4, &by2, &x->b);
	map(x, x->mmio, 0x1009, 1, &any, &x->c);
	/* a a a b b b b - */
	assert_true(bus_read(x->mmio, 0x1000, 8) == UINT64_C(0xff13121110121110));
	assert_trace(&x->a, "r0/2 r2/1");
	assert_trace(&x->b, "r0/2 r2/2");
	assert_int_equal(bus_misses(x->mmio), 1);
	/* b b - - c - - - */
	bus_write(x->mmio, 0x1005, 8, UINT64_C(0x8877665544332211));
	assert_trace(&x->b, "w2/2=2211");
	assert_trace(&x->c, "w0/1=55");
	assert_int_equal(bus_misses(x->mmio), 3);
	/* - - a a: the gap in front is one miss */
	assert_true(bus_read(x->mmio, 0xffe, 4) == 0x1110ffff);
	assert_trace(&x->a, "r0/2");
	assert_int_equal(bus_misses(x->mmio), 4);
}

static void nothing_wraps_at_the_ends(void **state)
{
	struct ctx *x = *state;

	map(x, x->mmio, UINT64_MAX - 8, 8, &any, &x->a);
	map(x, x->mmio, 0, 8, &any, &x->b);
	assert_true(bus_read(x->mmio, UINT64_MAX - 3, 8) == UINT64_C(0xffffffffff171615));
	assert_trace(&x->a, "r5/2 r7/1");
	bus_write(x->mmio, UINT64_MAX, 8, 0);
	bus_write(x->mmio, UINT64_MAX - 1, 8, 0);
	assert_trace(&x->a, "w7/1=0");
	assert_trace(&x->b, "");
	map(x, x->ports, 65535, 1, &any, &x->c);
	map(x, x->ports, 0, 1, &any, &x->b);
	assert_true(bus_read(x->ports, 65535, 4) == 0xffffff10);
	assert_trace(&x->c, "r0/1");
	assert_trace(&x->b, "");
}

static void a_device_need_not_do_both(void **state)
{
	static const struct bus_ops deaf = {.read = part_read}, dumb = {.write = part_write};
	struct ctx *x = *state;

	map(x, x->mmio, 0, 4, &deaf, &x->a);
	map(x, x->mmio, 4, 4, &dumb, &x->b);
	bus_write(x->mmio, 0, 4, 1);
	assert_true(bus_read(x->mmio, 4, 4) == UINT32_MAX);
	assert_trace(&x->a, "");
	assert_trace(&x->b, "");
	assert_int_equal(bus_misses(x->mmio), 0);
}

/* Strings */

static void a_string_is_seen_in_order(void **state)
{
	const uint8_t bytes[] = {0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88};
	uint8_t in[8];
	struct ctx *x = *state;

	map(x, x->ports, 0x10, 8, &any, &x->a);
	bus_write_string(x->ports, 0x12, 1, bytes, 3);
	bus_write_string(x->ports, 0x12, 2, bytes, 2);
	bus_write_string(x->ports, 0x12, 4, bytes, 2);
	bus_write_string(x->ports, 0x12, 4, bytes, 0);
	assert_trace(&x->a, "w2/1=11 w2/1=22 w2/1=33 w2/2=2211 w2/2=4433 "
			    "w2/4=44332211 w2/4=88776655");
	bus_read_string(x->ports, 0x10, 2, in, 4);
	assert_memory_equal(in, "\x10\x11\x10\x11\x10\x11\x10\x11", 8);
	assert_trace(&x->a, "r0/2 r0/2 r0/2 r0/2");
	memset(in, 0, sizeof(in));
	bus_read_string(x->ports, 0x80, 4, in, 2);
	assert_memory_equal(in, "\xff\xff\xff\xff\xff\xff\xff\xff", 8);
	assert_int_equal(bus_misses(x->ports), 2);
}

static void a_string_over_a_devices_end_is_cut_element_by_element(void **state)
{
	const uint8_t bytes[] = {0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88};
	uint8_t in[8];
	struct ctx *x = *state;

	map(x, x->ports, 0x10, 2, &any, &x->a);
	map(x, x->ports, 0x13, 1, &any, &x->b);
	bus_write_string(x->ports, 0x11, 4, bytes, 2);
	assert_trace(&x->a, "w1/1=11 w1/1=55");
	assert_trace(&x->b, "w0/1=33 w0/1=77");
	bus_read_string(x->ports, 0x11, 4, in, 2);
	assert_memory_equal(in, "\x55\xff\x77\xff\x55\xff\x77\xff", 8);
	assert_int_equal(bus_misses(x->ports), 8);
}

static void settling_comes_once_behind_a_write(void **state)
{
	const uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	struct ctx *x = *state;
	uint8_t in[4];

	map(x, x->ports, 0x10, 4, &settling, &x->a);
	map(x, x->ports, 0x20, 4, &settling_by1, &x->b);
	bus_write(x->ports, 0x10, 2, 0x1234);
	assert_trace(&x->a, "w0/2=1234 s");
	bus_write_string(x->ports, 0x10, 1, bytes, 3);
	assert_trace(&x->a, "w0/1=1 w0/1=2 w0/1=3 s");
	/* However the accesses are cut. */
	bus_write(x->ports, 0x20, 2, 0x1234);
	assert_trace(&x->b, "w0/1=34 w1/1=12 s");
	bus_write_string(x->ports, 0x20, 2, bytes, 2);
	assert_trace(&x->b, "w0/1=1 w1/1=2 w0/1=3 w1/1=4 s");
	bus_write_string(x->ports, 0x22, 4, bytes, 2);
	assert_trace(&x->b, "w2/1=1 w3/1=2 w2/1=5 w3/1=6 s");
	/* Reads, and strings of nothing, have nothing to settle. */
	bus_read(x->ports, 0x10, 4);
	bus_read(x->ports, 0x20, 4);
	bus_read_string(x->ports, 0x20, 2, in, 2);
	x->a.settled = x->b.settled = 0;
	bus_write_string(x->ports, 0x10, 1, bytes, 0);
	assert_int_equal(x->a.settled + x->b.settled, 0);
	/* Two devices: each hears of its own. */
	map(x, x->ports, 0x14, 4, &settling, &x->c);
	assert_trace(&x->a, "r0/4");
	bus_write(x->ports, 0x12, 4, 0x44332211);
	assert_trace(&x->a, "w2/2=2211 s");
	assert_trace(&x->c, "w0/2=4433 s");
}

struct string_race {
	struct device dev;
	atomic_bool begun;
	unsigned int elements, seen_by_other;
};

static void string_race_write(struct device *dev, uint64_t offset, unsigned int size,
			      uint64_t value)
{
	struct string_race *r = container_of(dev, struct string_race, dev);

	(void)offset;
	(void)size;
	(void)value;
	r->elements++;
	atomic_store(&r->begun, true);
	usleep(100); /* the other thread stands before the lock by now */
}

static void *string_race_other(void *arg)
{
	struct string_race *r = arg;

	while (!atomic_load(&r->begun))
		usleep(10);
	device_lock(&r->dev);
	r->seen_by_other = r->elements;
	device_unlock(&r->dev);
	return NULL;
}

static void a_string_takes_the_lock_once(void **state)
{
	static const struct bus_ops ops = {.write = string_race_write};
	struct string_race r = {.elements = 0};
	struct ctx *x = *state;
	const uint8_t bytes[64] = {0};
	pthread_t thread;

	lock_init(&r.dev.lock, LOCK_DEVICE);
	assert_int_equal(bus_map(x->ports, 0x10, 1, &ops, &r.dev, &x->err), 0);
	assert_int_equal(pthread_create(&thread, NULL, string_race_other, &r), 0);
	bus_write_string(x->ports, 0x10, 1, bytes, sizeof(bytes));
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(r.seen_by_other, sizeof(bytes));
	lock_destroy(&r.dev.lock);
}

/* Changing the map from a callback, as a PCI function does when its BARs are written */

static void moving_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct part *p = container_of(dev, struct part, dev);

	part_write(dev, offset, size, value);
	bus_unmap(p->bus, 0x10);
	assert_int_equal(bus_map(p->bus, value, 4, &any, dev, NULL), 0);
}

static void a_callback_may_move_its_own_range(void **state)
{
	static const struct bus_ops ops = {.read = part_read, .write = moving_write};
	struct ctx *x = *state;

	map(x, x->ports, 0x10, 4, &ops, &x->a);
	bus_write(x->ports, 0x10, 1, 0x40);
	assert_trace(&x->a, "w0/1=40");
	assert_map(x->ports, "40+4:a");
	assert_true(bus_read(x->ports, 0x10, 1) == 0xff);
	assert_true(bus_read(x->ports, 0x41, 1) == 0x11);
}

/* Doorbells */

static unsigned int rung(int fd)
{
	uint64_t n;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? (unsigned int)n : 0;
}

static struct bus_doorbell bell(uint64_t at, unsigned int size, int fd)
{
	return (struct bus_doorbell){.at = at, .size = size, .fd = fd};
}

static void a_doorbell_takes_the_write(void **state)
{
	struct ctx *x = *state;
	int fd = eventfd(0, EFD_NONBLOCK);
	const struct bus_doorbell b = bell(0x1002, 2, fd);

	map(x, x->mmio, 0x1000, 16, &any, &x->a);
	assert_int_equal(bus_doorbell_add(x->mmio, &b, &x->err), 0);
	bus_write(x->mmio, 0x1002, 2, 7);
	bus_write(x->mmio, 0x1002, 2, UINT64_MAX);
	assert_int_equal(rung(fd), 2);
	assert_trace(&x->a, "");
	/* Another size, another address, a read, another bus: not this doorbell's. */
	bus_write(x->mmio, 0x1002, 1, 7);
	bus_write(x->mmio, 0x1002, 4, 7);
	bus_write(x->mmio, 0x1003, 2, 7);
	bus_write(x->mmio, 0x1001, 2, 7);
	bus_read(x->mmio, 0x1002, 2);
	bus_write(x->ports, 0x1002, 2, 7);
	assert_int_equal(rung(fd), 0);
	assert_trace(&x->a, "w2/1=7 w2/4=7 w3/2=7 w1/2=7 r2/2");
	bus_doorbell_del(x->mmio, &b);
	bus_write(x->mmio, 0x1002, 2, 7);
	assert_int_equal(rung(fd), 0);
	assert_trace(&x->a, "w2/2=7");
	bus_doorbell_del(x->mmio, &b);
	close(fd);
}

static void a_doorbell_of_any_size(void **state)
{
	struct ctx *x = *state;
	int fd = eventfd(0, EFD_NONBLOCK);
	const struct bus_doorbell b = bell(0x1000, 0, fd);

	assert_int_equal(bus_doorbell_add(x->mmio, &b, &x->err), 0);
	for (unsigned int size = 1; size <= 8; size++)
		bus_write(x->mmio, 0x1000, size, size);
	assert_int_equal(rung(fd), 8);
	bus_write(x->mmio, 0x1001, 1, 0);
	assert_int_equal(rung(fd), 0);
	assert_int_equal(bus_misses(x->mmio), 1);
	close(fd);
}

static void a_doorbell_for_one_value(void **state)
{
	struct ctx *x = *state;
	int one = eventfd(0, EFD_NONBLOCK), two = eventfd(0, EFD_NONBLOCK);
	struct bus_doorbell b = bell(0x1000, 2, one);

	map(x, x->mmio, 0x1000, 16, &any, &x->a);
	b.match = true;
	b.value = 1;
	assert_int_equal(bus_doorbell_add(x->mmio, &b, &x->err), 0);
	b.value = 2;
	b.fd = two;
	assert_int_equal(bus_doorbell_add(x->mmio, &b, &x->err), 0);
	bus_write(x->mmio, 0x1000, 2, 1);
	bus_write(x->mmio, 0x1000, 2, 0x50001); /* what lies above its size is not written */
	bus_write(x->mmio, 0x1000, 2, 2);
	bus_write(x->mmio, 0x1000, 2, 3);
	bus_write(x->mmio, 0x1000, 4, 1);
	assert_int_equal(rung(one), 2);
	assert_int_equal(rung(two), 1);
	assert_trace(&x->a, "w0/2=3 w0/4=1");
	b.value = 1;
	bus_doorbell_del(x->mmio, &b);
	bus_write(x->mmio, 0x1000, 2, 1);
	bus_write(x->mmio, 0x1000, 2, 2);
	assert_int_equal(rung(one), 0);
	assert_int_equal(rung(two), 1);
	assert_trace(&x->a, "w0/2=1");
	close(one);
	close(two);
}

static void doorbells_that_cannot_be(void **state)
{
	struct ctx *x = *state;
	struct bus_doorbell b = bell(0x1000, 0, 0);

	b.match = true;
	assert_int_equal(bus_doorbell_add(x->mmio, &b, &x->err), -EINVAL);
	assert_string_equal(x->err.text, "memory doorbell 1000 matches a value but has no size");
	for (unsigned int size = 0; size < 20; size++) {
		bool good = size == 0 || size == 1 || size == 2 || size == 4 || size == 8;

		b = bell(0x1000, size, 0);
		assert_int_equal(bus_doorbell_add(x->mmio, &b, &x->err), good ? 0 : -EINVAL);
		if (good)
			bus_doorbell_del(x->mmio, &b);
		else
			assert_non_null(strstr(x->err.text, "memory doorbell 1000 has a size of "));
	}
	b = bell(65536, 1, 0);
	assert_int_equal(bus_doorbell_add(x->ports, &b, &x->err), -EINVAL);
	assert_string_equal(x->err.text, "port doorbell 10000 is not on the bus");
	b = bell(65535, 2, 0);
	assert_int_equal(bus_doorbell_add(x->ports, &b, &x->err), -EINVAL);
	b = bell(UINT64_MAX, 0, 0);
	assert_int_equal(bus_doorbell_add(x->mmio, &b, NULL), -EINVAL);
}

/* As KVM has it: two doorbells that one write would ring are one too many. */
static void doorbells_that_exclude_one_another(void **state)
{
	static const struct {
		struct bus_doorbell a, b;
		bool clash;
	} cases[] = {
		{{.size = 2}, {.size = 2}, true},
		{{.size = 2}, {.size = 4}, false},
		{{.size = 0}, {.size = 4}, true},
		{{.size = 4}, {.size = 0}, true},
		{{.size = 0}, {.size = 0}, true},
		{{.size = 2, .match = true, .value = 1}, {.size = 2}, true},
		{{.size = 2}, {.size = 2, .match = true, .value = 1}, true},
		{{.size = 2, .match = true, .value = 1}, {.size = 0}, true},
		{{.size = 2, .match = true, .value = 1},
		 {.size = 2, .match = true, .value = 1},
		 true},
		{{.size = 2, .match = true, .value = 1},
		 {.size = 2, .match = true, .value = 2},
		 false},
		{{.size = 2, .match = true, .value = 1},
		 {.size = 4, .match = true, .value = 1},
		 false},
		{{.at = 1, .size = 2}, {.at = 2, .size = 2}, false},
	};
	struct ctx *x = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(bus_doorbell_add(x->ports, &cases[i].a, &x->err), 0);
		assert_int_equal(bus_doorbell_add(x->ports, &cases[i].b, &x->err),
				 cases[i].clash ? -EEXIST : 0);
		if (cases[i].clash)
			assert_string_equal(x->err.text, "port doorbell 0 is there already");
		else
			bus_doorbell_del(x->ports, &cases[i].b);
		bus_doorbell_del(x->ports, &cases[i].a);
	}
}

static void a_doorbell_that_rings_already(void **state)
{
	struct ctx *x = *state;
	int fd = eventfd(0, EFD_NONBLOCK);
	const struct bus_doorbell b = bell(0x1000, 2, fd);
	const uint64_t most = UINT64_MAX - 1;

	map(x, x->mmio, 0x1000, 16, &any, &x->a);
	assert_int_equal(bus_doorbell_add(x->mmio, &b, &x->err), 0);
	assert_int_equal(write(fd, &most, sizeof(most)), sizeof(most));
	bus_write(x->mmio, 0x1000, 2, 1);
	assert_trace(&x->a, "");
	close(fd);
}

static void a_string_rings_a_doorbell_too(void **state)
{
	const uint8_t bytes[] = {1, 0, 2, 0, 1, 0};
	struct ctx *x = *state;
	int fd = eventfd(0, EFD_NONBLOCK);
	struct bus_doorbell b = bell(0x10, 2, fd);

	map(x, x->ports, 0x10, 4, &any, &x->a);
	b.match = true;
	b.value = 1;
	assert_int_equal(bus_doorbell_add(x->ports, &b, &x->err), 0);
	bus_write_string(x->ports, 0x10, 2, bytes, 3);
	assert_int_equal(rung(fd), 2);
	assert_trace(&x->a, "w0/2=2");
	close(fd);
}

struct bell_sink {
	unsigned int added, deleted;
	const struct bus *bus;
	struct bus_doorbell last;
	int ret;
};

static int sink_add(void *arg, const struct bus *bus, const struct bus_doorbell *b, struct err *err)
{
	struct bell_sink *s = arg;

	s->added++;
	s->bus = bus;
	s->last = *b;
	return s->ret ? err_set(err, -s->ret, "KVM says no") : 0;
}

static void sink_del(void *arg, const struct bus *bus, const struct bus_doorbell *b)
{
	struct bell_sink *s = arg;

	s->deleted++;
	s->bus = bus;
	s->last = *b;
}

static void doorbells_go_to_the_sink(void **state)
{
	struct ctx *x = *state;
	struct bell_sink s = {0};
	const struct bus_doorbell_sink sink = {sink_add, sink_del, &s};
	int fd = eventfd(0, EFD_NONBLOCK);
	struct bus_doorbell b = bell(0x1000, 2, fd);

	map(x, x->mmio, 0x1000, 16, &any, &x->a);
	bus_set_doorbell_sink(x->mmio, &sink);
	assert_int_equal(bus_doorbell_add(x->mmio, &b, &x->err), 0);
	assert_int_equal(s.added, 1);
	assert_ptr_equal(s.bus, x->mmio);
	assert_int_equal(s.last.at, 0x1000);
	/* Who takes doorbells rings them: what arrives here is for the device. */
	bus_write(x->mmio, 0x1000, 2, 1);
	assert_int_equal(rung(fd), 0);
	assert_trace(&x->a, "w0/2=1");
	bus_doorbell_del(x->mmio, &b);
	assert_int_equal(s.deleted, 1);
	s.ret = -ENOSPC;
	assert_int_equal(bus_doorbell_add(x->mmio, &b, &x->err), -ENOSPC);
	assert_string_equal(x->err.text, "KVM says no");
	/* What cannot be does not get that far. */
	b.size = 3;
	assert_int_equal(bus_doorbell_add(x->mmio, &b, &x->err), -EINVAL);
	assert_int_equal(s.added, 2);
	b.size = 2;
	bus_set_doorbell_sink(x->mmio, NULL);
	assert_int_equal(bus_doorbell_add(x->mmio, &b, &x->err), 0);
	bus_write(x->mmio, 0x1000, 2, 1);
	assert_int_equal(rung(fd), 1);
	close(fd);
}

/* Threads */

struct storm {
	struct ctx *x;
	atomic_bool done;
	atomic_uint wrong;
	int fd;
};

static uint64_t storm_read(struct device *dev, uint64_t offset, unsigned int size)
{
	(void)dev;
	return offset * UINT64_C(0x0101010101010101) & ones(size);
}

static void storm_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct part *p = container_of(dev, struct part, dev);

	/* Not atomic: the device's lock is what keeps it whole. */
	p->settled++;
	(void)offset;
	(void)size;
	(void)value;
}

static const struct bus_ops storm_ops = {.read = storm_read, .write = storm_write};

static void *storm_vcpu(void *arg)
{
	struct storm *s = arg;
	struct bus *bus = s->x->mmio;
	uint8_t in[16];

	for (unsigned int i = 0; i < 4000; i++) {
		uint64_t v;

		/* a stays; b comes and goes. */
		if (bus_read(bus, 0x1003, 1) != 3)
			atomic_fetch_add(&s->wrong, 1);
		bus_write(bus, 0x1000, 4, i);
		v = bus_read(bus, 0x2005, 1);
		if (v != 5 && v != 0xff)
			atomic_fetch_add(&s->wrong, 1);
		bus_write(bus, 0x2000, 8, i);
		bus_write(bus, 0x3000, 2, i);
		bus_read(bus, 0x1ffc, 8);
		bus_read_string(bus, 0x2001, 2, in, 8);
	}
	return NULL;
}

static void *storm_mapper(void *arg)
{
	struct storm *s = arg;
	struct bus *bus = s->x->mmio;
	const struct bus_doorbell b = bell(0x3000, 2, s->fd);
	struct seen seen;

	while (!atomic_load(&s->done)) {
		if (bus_map(bus, 0x2000, 16, &storm_ops, &s->x->b.dev, NULL) ||
		    bus_map(bus, 0x800, 16, &storm_ops, &s->x->c.dev, NULL) ||
		    bus_doorbell_add(bus, &b, NULL))
			atomic_fetch_add(&s->wrong, 1);
		if (bus_map(bus, 0x1008, 16, &storm_ops, &s->x->b.dev, NULL) != -EBUSY)
			atomic_fetch_add(&s->wrong, 1);
		seen = (struct seen){.text = ""};
		bus_each(bus, see, &seen);
		if (strcmp(seen.text, "800+10:c 1000+10:a 2000+10:b"))
			atomic_fetch_add(&s->wrong, 1);
		bus_unmap(bus, 0x800);
		bus_unmap(bus, 0x2000);
		bus_doorbell_del(bus, &b);
		bus_misses(bus);
		usleep(10);
	}
	return NULL;
}

static void the_map_may_change_while_vcpus_run(void **state)
{
	struct storm s = {.x = *state};
	pthread_t vcpus[3], mapper;

	s.fd = eventfd(0, EFD_NONBLOCK);
	assert_true(s.fd >= 0);
	map(s.x, s.x->mmio, 0x1000, 16, &storm_ops, &s.x->a);
	assert_int_equal(pthread_create(&mapper, NULL, storm_mapper, &s), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(vcpus); i++)
		assert_int_equal(pthread_create(&vcpus[i], NULL, storm_vcpu, &s), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(vcpus); i++)
		assert_int_equal(pthread_join(vcpus[i], NULL), 0);
	atomic_store(&s.done, true);
	assert_int_equal(pthread_join(mapper, NULL), 0);
	assert_int_equal(atomic_load(&s.wrong), 0);
	assert_int_equal(s.x->a.settled, ARRAY_SIZE(vcpus) * 4000);
	close(s.fd);
}

/* Against a model: memory, byte by byte */

#define WORLD 64

struct bank {
	struct device dev;
	uint8_t *bytes; /* of this range, in the world */
	uint64_t len;
	unsigned int max;
	bool wrong;
};

static uint64_t bank_read(struct device *dev, uint64_t offset, unsigned int size)
{
	struct bank *b = container_of(dev, struct bank, dev);
	uint64_t v = 0;

	if (!is_power_of_two(size) || size > b->max || !range_fits(offset, size, b->len))
		b->wrong = true;
	else
		memcpy(&v, b->bytes + offset, size);
	return v;
}

static void bank_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct bank *b = container_of(dev, struct bank, dev);

	if (!is_power_of_two(size) || size > b->max || !range_fits(offset, size, b->len) ||
	    value & ~ones(size))
		b->wrong = true;
	else
		memcpy(b->bytes + offset, &value, size);
}

static void any_map_behaves_as_memory_with_holes(void **state)
{
	static const struct bus_ops ops[] = {
		{.read = bank_read, .write = bank_write, .max_size = 1},
		{.read = bank_read, .write = bank_write, .max_size = 2},
		{.read = bank_read, .write = bank_write, .max_size = 4},
		{.read = bank_read, .write = bank_write},
	};
	uint8_t world[WORLD + 8], model[WORLD + 8];
	bool ram[WORLD + 8];
	struct bank banks[8];
	struct ctx *x = *state;
	uint32_t seed = 1;

	(void)x;
	for (unsigned int round = 0; round < 300; round++) {
		unsigned int n = 0;
		struct bus *bus;

		assert_int_equal(bus_create(&bus, "memory", UINT64_MAX, NULL), 0);
		memset(ram, 0, sizeof(ram));
		for (unsigned int i = 0; i < sizeof(world); i++)
			world[i] = model[i] = (uint8_t)(i ^ round);
		while (n < ARRAY_SIZE(banks)) {
			unsigned int at = (seed = seed * 1103515245 + 12345) >> 16 & (WORLD - 1);
			unsigned int len = 1 + ((seed = seed * 1103515245 + 12345) >> 16) % 12;
			unsigned int kind = (seed = seed * 1103515245 + 12345) >> 16 & 3;
			struct bank *b = &banks[n];

			len = MIN(len, WORLD - at);
			*b = (struct bank){.bytes = world + at, .len = len, .max = 1U << kind};
			lock_init(&b->dev.lock, LOCK_DEVICE);
			if (bus_map(bus, at, len, &ops[kind], &b->dev, NULL)) {
				lock_destroy(&b->dev.lock);
				if (round & 1)
					break;
				continue;
			}
			memset(ram + at, 1, len);
			n++;
			if (n == 1 + round % 5)
				break;
		}
		for (unsigned int i = 0; i < 200; i++) {
			unsigned int at = (seed = seed * 1103515245 + 12345) >> 16 & (WORLD - 1);
			unsigned int size = 1 + ((seed = seed * 1103515245 + 12345) >> 16 & 7);
			uint64_t v = seed * UINT64_C(0x9e3779b97f4a7c15), want = 0;

			if (i & 1) {
				bus_write(bus, at, size, v);
				for (unsigned int j = 0; j < size; j++)
					if (ram[at + j])
						model[at + j] = (uint8_t)(v >> 8 * j);
			}
			for (unsigned int j = 0; j < size; j++)
				want |= (uint64_t)(ram[at + j] ? model[at + j] : 0xff) << 8 * j;
			assert_true(bus_read(bus, at, size) == want);
		}
		assert_memory_equal(world, model, sizeof(world));
		bus_destroy(bus);
		for (unsigned int i = 0; i < n; i++) {
			assert_false(banks[i].wrong);
			lock_destroy(&banks[i].dev.lock);
		}
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static void a_device_says_which_bytes_may_be_late(void **state)
{
	static const struct bus_ops ops = {.write = part_write, .late = 0x11};
	struct ctx *x = *state;

	map(x, x->ports, 0x3f8, 8, &ops, &x->a);
	map(x, x->ports, 0x400, 1, &any, &x->b);
	map(x, x->mmio, 0x1000, 0x1000, &ops, &x->c);
	for (unsigned int at = 0x3f0; at < 0x410; at++)
		assert_int_equal(bus_takes_late(x->ports, at), at == 0x3f8 || at == 0x3fc);
	/* Offsets that the mask has no bit for. */
	assert_true(bus_takes_late(x->mmio, 0x1004));
	assert_false(bus_takes_late(x->mmio, 0x1040));
	assert_false(bus_takes_late(x->mmio, 0x1044));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_device_says_which_bytes_may_be_late),
		TEST(ranges_lie_on_the_bus),
		TEST(overlap_is_an_error_that_names_both),
		TEST(ranges_are_listed_in_order),
		TEST(an_access_reaches_its_device),
		TEST(what_nobody_decodes_reads_as_ones),
		TEST(a_device_sees_only_sizes_it_takes),
		TEST(no_access_crosses_a_devices_end),
		TEST(nothing_wraps_at_the_ends),
		TEST(a_device_need_not_do_both),
		TEST(a_string_is_seen_in_order),
		TEST(a_string_over_a_devices_end_is_cut_element_by_element),
		TEST(settling_comes_once_behind_a_write),
		TEST(a_string_takes_the_lock_once),
		TEST(a_callback_may_move_its_own_range),
		TEST(a_doorbell_takes_the_write),
		TEST(a_doorbell_of_any_size),
		TEST(a_doorbell_for_one_value),
		TEST(doorbells_that_cannot_be),
		TEST(doorbells_that_exclude_one_another),
		TEST(a_doorbell_that_rings_already),
		TEST(a_string_rings_a_doorbell_too),
		TEST(doorbells_go_to_the_sink),
		TEST(the_map_may_change_while_vcpus_run),
		TEST(any_map_behaves_as_memory_with_holes),
	};

	return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
