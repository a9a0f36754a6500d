/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Drives the queues as a guest would, by the driver's side in tests/support/vring.h: all features
 * and sizes, at random next to a model, and with two threads. Rings that no driver would make are
 * in virtq_bad.c.
 *
 * With --measure it tells what a chain costs instead.
 */
#include "support/cm.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "../../src/virtio/ring_math.h"
#include "skep/clock.h"
#include "virtq_fixture.h"

/* Arithmetic */

/* Entries by a plain count: where the @n-th ever lies. */
static uint16_t position(uint32_t n, uint32_t size)
{
	return (uint16_t)(n % size | (n / size % 2 ? 0 : PACKED_WRAP));
}

static void check_positions(uint32_t n, uint32_t step, uint16_t size)
{
	const uint16_t from = position(n, size), to = position(n + step, size);

	assert_int_equal(packed_advance(from, (uint16_t)step, size), to);
	assert_int_equal(packed_retreat(to, (uint16_t)step, size), from);
	assert_true(packed_valid(from, size));
	assert_false(packed_valid((uint16_t)(size | (n & PACKED_WRAP)), size) && size < 32768);
}

static void check_packed_event(uint32_t event, uint32_t now, uint32_t step, uint16_t size)
{
	if (event < now - size || event >= now + size)
		return;
	assert_int_equal(
		packed_need_event(position(event, size), position(now, size), (uint16_t)step, size),
		event >= now - step && event < now);
}

/* Events up to a round before and behind the last one published; of many, those at the bounds. */
static void check_packed_events(uint32_t now, uint32_t step, uint16_t size)
{
	const uint32_t bounds[] = {now - size, now - step, now, now + size};

	for (size_t i = 0; i < ARRAY_SIZE(bounds); i++)
		for (uint32_t d = 0; d < 8; d++)
			check_packed_event(bounds[i] - 4 + d, now, step, size);
}

static void packed_arithmetic(void **state)
{
	static const uint16_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 100, 1024, 32767, 32768};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		const uint16_t size = sizes[i];
		const uint32_t stride = size > 64 ? size / 13u : 1;

		for (uint32_t n = 0; n <= 3u * size; n += stride)
			for (uint32_t step = 0; step <= size; step += stride) {
				check_positions(n, step, size);
				check_packed_events(2u * size + n + step, step, size);
			}
	}
	for (uint32_t flags = 0; flags < 65536; flags++) {
		bool avail = flags & PACKED_F_AVAIL, used = flags & PACKED_F_USED;

		assert_int_equal(packed_is_avail((uint16_t)flags, PACKED_WRAP), avail && !used);
		assert_int_equal(packed_is_avail((uint16_t)flags, 0), !avail && used);
	}
	assert_int_equal(packed_used_flags(PACKED_WRAP | 3, true), 0x8082);
	assert_int_equal(packed_used_flags(3, false), 0);
}

static void split_arithmetic(void **state)
{
	static const uint16_t sizes[] = {1, 2, 4, 256, 32768};
	static const uint16_t starts[] = {0, 1, 255, 32767, 32768, 65534, 65535};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes) * ARRAY_SIZE(starts); i++) {
		const uint16_t size = sizes[i / ARRAY_SIZE(starts)];
		const uint16_t used = starts[i % ARRAY_SIZE(starts)];
		const uint16_t out = size / 2u;

		for (uint32_t ahead = 0; ahead < 65536; ahead++) {
			uint16_t idx = (uint16_t)(used + ahead);

			assert_int_equal(split_idx_valid(idx, (uint16_t)(used + out), used, size),
					 ahead >= out && ahead <= size);
			assert_int_equal(ring_need_event(idx, (uint16_t)(used + size), used),
					 ahead < size);
		}
	}
	assert_int_equal(split_slot(65535, 256), 255);
	assert_false(ring_size_valid(0, true));
	assert_false(ring_size_valid(32769, true));
	assert_false(ring_size_valid(65536, false));
	assert_false(ring_size_valid(3, false));
	assert_true(ring_size_valid(3, true) && ring_size_valid(32768, false));
}

/* Plain use */

static void round_trip(unsigned int size, unsigned int n)
{
	const struct virtq_features f = features_of(n);
	const unsigned int parts = MIN(size, 3u);
	struct iovec iov[4];
	struct virtq_chain c = {.iov = iov}, none = {0};
	struct vring_buf bufs[3];
	struct vring_done done;
	struct pair p;
	char text[8];

	pair_init(&p, size, &f);
	bufs[0] = vring_buffer(&p.d, "abc", 3);
	bufs[1] = vring_buffer(&p.d, "defg", 4);
	bufs[2] = (struct vring_buf){vring_alloc(&p.d, 8), 8};
	assert_int_equal(virtq_pop(p.vq, &none, 4), 0);
	for (unsigned int i = 0; i < 3 * size + 2; i++) {
		assert_int_equal(vring_add(&p.d, bufs + 3 - parts, parts - 1, 1, f.indirect, &p),
				 0);
		assert_true(vring_must_kick(&p.d));
		assert_int_equal(virtq_pop(p.vq, &c, 4), 1);
		assert_int_equal(virtq_inflight(p.vq), 1);
		assert_int_equal(c.out, parts - 1);
		assert_int_equal(c.in, 1);
		assert_int_equal(c.in_len, 8);
		if (parts == 3) {
			assert_int_equal(c.out_len, 7);
			assert_int_equal(virtq_chain_read(&c, 1, text, 8), 6);
			assert_memory_equal(text, "bcdefg", 6);
			assert_int_equal(virtq_chain_read(&c, 2, text, 3), 3);
			assert_memory_equal(text, "cde", 3);
		}
		assert_int_equal(virtq_chain_read(&c, c.out_len, text, 8), 0);
		assert_int_equal(virtq_chain_write(&c, 2, "xy", 2), 2);
		assert_int_equal(virtq_chain_write(&c, 7, "zz", 2), 1);
		assert_int_equal(virtq_chain_write(&c, SIZE_MAX, "zz", 2), 0);
		assert_int_equal(virtq_pop(p.vq, &none, 4), 0);
		virtq_push(p.vq, &c, 8);
		assert_int_equal(virtq_inflight(p.vq), 0);
		assert_false(vring_reap(&p.d, &done));
		assert_true(virtq_publish(p.vq));
		assert_false(virtq_publish(p.vq));
		assert_true(vring_reap(&p.d, &done));
		assert_ptr_equal(done.cookie, &p);
		assert_int_equal(done.written, 8);
		assert_memory_equal(vring_ptr(&p.d, bufs[2].gpa, 8), "\0\0xy\0\0\0z", 8);
		assert_false(vring_unmask(&p.d, 0));
		assert_false(virtq_arm(p.vq));
	}
	pair_fini(&p);
}

static void every_feature(void **state)
{
	static const unsigned int sizes[] = {1, 2, 4, 8, 256, 3, 5, 7, 100, 255};

	(void)state;
	for (unsigned int n = 0; n < FEATURES; n++)
		for (unsigned int i = 0; i < (n & 1 ? ARRAY_SIZE(sizes) : 5); i++)
			round_trip(sizes[i], n);
}

/* The driver fills the ring, the device empties it, in one order and in the other. */
static void lap(struct pair *p, struct virtq_chain *chains, struct vring_buf *buf, bool forward)
{
	const unsigned int size = p->d.setup.size;
	struct virtq_chain none = {0};
	struct vring_done done;

	for (unsigned int i = 0; i < size; i++)
		assert_int_equal(vring_add(&p->d, buf, 0, 1, false, buf), 0);
	assert_int_equal(vring_add(&p->d, buf, 0, 1, false, buf), -ENOSPC);
	for (unsigned int i = 0; i < size; i++)
		assert_int_equal(virtq_pop(p->vq, &chains[i], 1), 1);
	assert_int_equal(virtq_pop(p->vq, &none, 1), 0);
	for (unsigned int i = 0; i < size; i++)
		virtq_push(p->vq, &chains[forward ? i : size - 1 - i], i % 16);
	assert_false(vring_reap(&p->d, &done));
	assert_true(virtq_publish(p->vq));
	for (unsigned int i = 0; i < size; i++) {
		assert_true(vring_reap(&p->d, &done));
		assert_int_equal(done.written,
				 forward || !p->features.in_order ? i % 16 : (size - 1 - i) % 16);
	}
	assert_false(vring_reap(&p->d, &done));
	assert_false(vring_unmask(&p->d, 0));
}

static void fill_and_empty(unsigned int size, const struct virtq_features *f)
{
	struct virtq_chain *chains = calloc(size, sizeof(*chains));
	struct iovec *iov = calloc(size, sizeof(*iov));
	struct vring_buf buf;
	struct pair p;

	assert_true(chains && iov);
	pair_init(&p, size, f);
	buf = (struct vring_buf){vring_alloc(&p.d, 16), 16};
	for (unsigned int i = 0; i < size; i++)
		chains[i].iov = &iov[i];
	/* At least three times round, and past what 16 bits hold where that counts. */
	for (unsigned int n = 0; n < 3 * size || n < (f->packed ? 1000 : 66000); n += size)
		lap(&p, chains, &buf, n / size % 2);
	pair_fini(&p);
	free(chains);
	free(iov);
}

static void every_size(void **state)
{
	static const unsigned int odd[] = {3, 5, 6, 1000, 12345, 32766, 32767};

	(void)state;
	for (unsigned int size = 1; size <= VIRTQ_SIZE_MAX; size *= 2) {
		fill_and_empty(size, &(struct virtq_features){.event_idx = true});
		fill_and_empty(size, &(struct virtq_features){.packed = true, .in_order = true});
	}
	for (size_t i = 0; i < ARRAY_SIZE(odd); i++)
		fill_and_empty(odd[i], &(struct virtq_features){.packed = true, .event_idx = true});
}

static void taking_back_and_going_on(void **state)
{
	(void)state;
	for (unsigned int n = 0; n < FEATURES; n++) {
		const struct virtq_features f = features_of(n);
		struct iovec iov[2];
		struct virtq_chain a = {.iov = &iov[0]}, b = {.iov = &iov[1]};
		struct virtq_position at;
		struct vring_done done;
		struct pair p;

		pair_init(&p, 4, &f);
		for (uint32_t i = 1; i < 30; i++) {
			add_one(&p, 2 * i);
			add_one(&p, 2 * i + 1);
			assert_int_equal(virtq_pop(p.vq, &a, 1), 1);
			virtq_unpop(p.vq, &a);
			assert_true(virtq_arm(p.vq));
			assert_int_equal(virtq_pop(p.vq, &a, 1), 1);
			assert_int_equal(a.out_len, 2 * i);
			assert_int_equal(virtq_pop(p.vq, &b, 1), 1);
			virtq_push(p.vq, &a, 0);
			virtq_unpop(p.vq, &b);
			assert_int_equal(virtq_inflight(p.vq), 0);
			assert_true(virtq_publish(p.vq));
			assert_true(vring_reap(&p.d, &done));
			assert_false(vring_unmask(&p.d, 0));
			/* Somebody else goes on. */
			virtq_stop(p.vq, &at);
			assert_int_equal(at.avail, at.used);
			virtq_destroy(p.vq);
			assert_int_equal(virtq_create(&p.vq, p.mem, 8, &p.err), 0);
			pair_start(&p, &at);
			assert_int_equal(virtq_pop(p.vq, &b, 1), 1);
			assert_int_equal(b.out_len, 2 * i + 1);
			virtq_push(p.vq, &b, 0);
			assert_true(virtq_publish(p.vq));
			assert_true(vring_reap(&p.d, &done));
			assert_false(vring_reap(&p.d, &done));
			assert_false(vring_unmask(&p.d, 0));
		}
		virtq_stop(p.vq, NULL);
		pair_fini(&p);
	}
}

static void expect_refusal(struct pair *p, struct virtq_setup setup, bool packed,
			   const struct virtq_position *from, const char *why)
{
	const struct virtq_features f = {.packed = packed};

	assert_int_equal(virtq_start(p->vq, &setup, &f, from, &p->err), -EINVAL);
	if (!strstr(p->err.text, why))
		fail_msg("'%s' does not say '%s'", p->err.text, why);
}

static void queues_that_cannot_be(void **state)
{
	const struct virtq_setup good = {.desc = 4096, .driver = 8192, .device = 12288, .size = 4};
	struct virtq_setup s;
	struct pair p;

	(void)state;
	pair_init(&p, 64, &(struct virtq_features){0});
	for (unsigned int packed = 0; packed < 2; packed++) {
		uint64_t driver = packed ? 4 : 6 + 2 * 4, device = packed ? 4 : 6 + 8 * 4;

		expect_refusal(&p, (s = good, s.size = 0, s), packed, NULL, "cannot have 0");
		expect_refusal(&p, (s = good, s.size = 32769, s), packed, NULL, "cannot have");
		expect_refusal(&p, (s = good, s.size = 128, s), packed, NULL, "larger than");
		expect_refusal(&p, (s = good, s.desc = 4104, s), packed, NULL, "aligned to 16");
		expect_refusal(&p, (s = good, s.device += 2, s), packed, NULL, "aligned to 4");
		expect_refusal(&p, (s = good, s.desc = RAM - 48, s), packed, NULL, "outside RAM");
		expect_refusal(&p, (s = good, s.desc = -UINT64_C(16), s), packed, NULL, "outside");
		s = good;
		s.driver = align_down(RAM - driver, 4);
		s.device = align_down(RAM - device, 4);
		s.desc = RAM - 64;
		assert_int_equal(virtq_start(p.vq, &s, &(struct virtq_features){.packed = packed},
					     NULL, &p.err),
				 0);
		expect_refusal(&p, (s = good, s.driver = RAM - 4 + 4, s), packed, NULL, "outside");
		expect_refusal(&p, (s = good, s.device = RAM - 4 + 4, s), packed, NULL, "outside");
		expect_refusal(&p, good, packed, &(struct virtq_position){1, 2}, "chains that it");
	}
	expect_refusal(&p, (s = good, s.size = 3, s), false, NULL, "a split queue cannot have 3");
	expect_refusal(&p, (s = good, s.driver++, s), false, NULL, "aligned to 2");
	expect_refusal(&p, (s = good, s.driver += 2, s), true, NULL, "aligned to 4");
	expect_refusal(&p, (s = good, s.driver = RAM - 12, s), false, NULL, "outside RAM");
	expect_refusal(&p, (s = good, s.device = RAM - 36, s), false, NULL, "outside RAM");
	expect_refusal(&p, good, true, &(struct virtq_position){4, 4}, "not in a queue of 4");
	expect_refusal(&p, good, true, &(struct virtq_position){0x8004, 0x8004}, "not in a queue");
	virtq_destroy(p.vq);
	assert_int_equal(virtq_create(&p.vq, p.mem, 0, &p.err), -EINVAL);
	assert_null(p.vq);
	assert_int_equal(virtq_create(&p.vq, p.mem, 32769, &p.err), -EINVAL);
	pair_fini(&p);
}

/* At random, next to a model */

#define SLOTS 40 /* chains under way at most */
#define PARTS 6  /* buffers of a chain at most */
#define PART  40 /* bytes of a buffer at most */

/* A chain of the driver's. */
struct slot {
	uint64_t memory;
	struct vring_buf bufs[PARTS];
	unsigned int out, in;
	uint32_t in_len, written;
	uint32_t number;  /* counted by additions */
	uint32_t entries; /* of the ring */
	bool busy, pushed;
};

/* A chain that the device has. */
struct work {
	struct virtq_chain chain;
	struct iovec iov[PARTS];
	struct slot *slot;
};

struct model {
	struct pair p;
	uint64_t seed;
	struct slot slots[SLOTS];
	struct work works[SLOTS];
	unsigned int has;               /* works that are under way come first */
	uint32_t added, popped, reaped; /* chains */
	struct slot *order[SLOTS];      /* in order: by number, modulo */
	uint32_t turn;                  /* in order: the number that is to be used next */
	uint32_t used, published;       /* entries of the ring */
	bool device_sleeps, driver_sleeps;
};

static uint8_t byte_of(uint32_t number, uint32_t at, unsigned int side)
{
	return (uint8_t)(number * 37 + at * 11 + side * 101);
}

static void fill_slot(struct model *m, struct slot *s)
{
	uint32_t at = 0;

	s->in_len = 0;
	for (unsigned int i = 0; i < s->out + s->in; i++) {
		struct vring_buf *b = &s->bufs[i];
		uint8_t *to = vring_ptr(&m->p.d, s->memory + (uint64_t)i * PART, PART);

		*b = (struct vring_buf){s->memory + (uint64_t)i * PART, draw(&m->seed) % PART};
		/* Nobody looks at where nothing is. */
		if (!b->len)
			b->gpa = UINT64_MAX - 7;
		for (uint32_t k = 0; k < b->len; k++)
			to[k] = i < s->out ? byte_of(s->number, at++, 0) : 0;
		s->in_len += i < s->out ? 0 : b->len;
	}
}

static void model_add(struct model *m)
{
	const unsigned int most = MIN(m->p.d.setup.size, (unsigned int)PARTS);
	const bool indirect = m->p.features.indirect && draw(&m->seed) % 2;
	struct slot *s = &m->slots[0];

	while (s < m->slots + SLOTS && s->busy)
		s++;
	if (s == m->slots + SLOTS)
		return;
	s->out = draw(&m->seed) % (most + 1);
	s->in = draw(&m->seed) % (most - s->out + 1);
	s->in += !s->out && !s->in;
	s->number = m->added;
	fill_slot(m, s);
	if (vring_add(&m->p.d, s->bufs, s->out, s->in, indirect, s))
		return;
	s->busy = true;
	m->added++;
}

static void model_kick(struct model *m)
{
	if (vring_must_kick(&m->p.d))
		m->device_sleeps = false;
	assert_false(m->device_sleeps && m->added != m->popped);
}

static void check_popped(const struct model *m, const struct work *w)
{
	uint8_t bytes[PARTS * PART];
	uint32_t len = 0;

	for (unsigned int i = 0; i < w->slot->out; i++)
		len += w->slot->bufs[i].len;
	assert_int_equal(w->slot->number, m->popped);
	assert_int_equal(w->chain.out_len, len);
	assert_int_equal(w->chain.in_len, w->slot->in_len);
	assert_int_equal(virtq_chain_read(&w->chain, 0, bytes, sizeof(bytes)), len);
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(bytes[i], byte_of(m->popped, i, 0));
}

static void model_pop(struct model *m)
{
	struct work *w = &m->works[m->has];

	if (m->has == SLOTS)
		return;
	w->chain.iov = w->iov;
	if (!virtq_pop(m->p.vq, &w->chain, PARTS)) {
		assert_int_equal(m->added, m->popped);
		return;
	}
	assert_int_not_equal(m->added, m->popped);
	w->slot = m->p.d.chains[w->chain.id].cookie;
	check_popped(m, w);
	if (draw(&m->seed) % 8 == 0) {
		virtq_unpop(m->p.vq, &w->chain);
		assert_int_equal(virtq_inflight(m->p.vq), m->has);
		return;
	}
	w->slot->pushed = false;
	w->slot->entries = m->p.features.packed ? m->p.d.chains[w->chain.id].count : 1;
	m->order[m->popped++ % SLOTS] = w->slot;
	m->has++;
	assert_int_equal(virtq_inflight(m->p.vq), m->has);
}

static void model_push(struct model *m)
{
	uint8_t bytes[PARTS * PART];
	struct work *w, *last;
	struct slot *s;

	if (!m->has)
		return;
	w = &m->works[draw(&m->seed) % m->has];
	last = &m->works[--m->has];
	s = w->slot;
	s->written = draw(&m->seed) % (s->in_len + 1);
	for (uint32_t i = 0; i < s->written; i++)
		bytes[i] = byte_of(s->number, i, 1);
	assert_int_equal(virtq_chain_write(&w->chain, 0, bytes, s->written), s->written);
	virtq_push(m->p.vq, &w->chain, s->written);
	s->pushed = true;
	if (!m->p.features.in_order)
		m->used += s->entries;
	else
		for (; m->turn != m->popped && m->order[m->turn % SLOTS]->pushed; m->turn++)
			m->used += m->order[m->turn % SLOTS]->entries;
	if (w != last) {
		w->chain = last->chain;
		w->slot = last->slot;
		memcpy(w->iov, last->iov, sizeof(w->iov));
		w->chain.iov = w->iov;
	}
}

static void model_publish(struct model *m)
{
	const bool wanted = vring_wants_interrupt(&m->p.d, m->published, m->used);

	assert_int_equal(virtq_publish(m->p.vq), wanted);
	assert_false(m->driver_sleeps && m->published != m->used && !wanted);
	m->driver_sleeps = m->driver_sleeps && !wanted;
	m->published = m->used;
}

static bool model_reap(struct model *m)
{
	struct vring_done done;
	struct slot *s;
	uint32_t at = 0;

	if (!vring_reap(&m->p.d, &done))
		return false;
	s = done.cookie;
	assert_true(s->busy && s->pushed);
	assert_int_equal(done.written, s->written);
	if (m->p.features.in_order)
		assert_int_equal(s->number, m->reaped);
	for (unsigned int i = s->out; i < s->out + s->in; i++)
		for (uint32_t k = 0; k < s->bufs[i].len; k++, at++) {
			uint8_t *byte = vring_ptr(&m->p.d, s->bufs[i].gpa + k, 1);

			assert_int_equal(*byte, at < s->written ? byte_of(s->number, at, 1) : 0);
		}
	s->busy = false;
	m->reaped++;
	return true;
}

static void model_step(struct model *m)
{
	bool there;

	switch (draw(&m->seed) % 16) {
	case 0 ... 3:
		model_add(m);
		break;
	case 4:
		model_kick(m);
		break;
	case 5 ... 7:
		model_pop(m);
		break;
	case 8 ... 10:
		model_push(m);
		break;
	case 11:
		model_publish(m);
		break;
	case 12:
		while (model_reap(m) && draw(&m->seed) % 8)
			;
		break;
	case 13:
		if (draw(&m->seed) % 2)
			vring_mask(&m->p.d);
		else
			vring_unmask(&m->p.d, draw(&m->seed) % m->p.d.setup.size);
		m->driver_sleeps = false;
		break;
	case 14:
		there = vring_unmask(&m->p.d, 0);
		m->driver_sleeps = !there;
		break;
	default:
		virtq_disarm(m->p.vq);
		m->device_sleeps = false;
		if (draw(&m->seed) % 2)
			break;
		/* What was added and not told of is found by looking. */
		there = virtq_arm(m->p.vq);
		assert_int_equal(there, m->added != m->popped);
		m->device_sleeps = !there;
	}
}

/* All that is under way comes to its end. */
static void model_drain(struct model *m)
{
	while (m->popped != m->added)
		model_pop(m);
	while (m->has)
		model_push(m);
	model_publish(m);
	while (model_reap(m))
		;
	assert_int_equal(m->reaped, m->added);
	assert_int_equal(m->p.d.free, m->p.d.setup.size);
}

static void model_run(unsigned int size, unsigned int n, unsigned int steps)
{
	const struct virtq_features f = features_of(n);
	struct model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	pair_init(&m->p, size, &f);
	m->seed = size * FEATURES + n;
	for (unsigned int i = 0; i < SLOTS; i++)
		m->slots[i].memory = vring_alloc(&m->p.d, (uint64_t)PARTS * PART);
	for (unsigned int i = 0; i < steps; i++) {
		model_step(m);
		if (i % 1000 == 999)
			model_drain(m);
	}
	assert_true(m->reaped > steps / 50);
	pair_fini(&m->p);
	free(m);
}

static void at_random(void **state)
{
	static const unsigned int sizes[] = {1, 2, 4, 8, 16, 64, 3, 5, 7, 11, 13, 33};

	(void)state;
	for (unsigned int n = 0; n < FEATURES; n++)
		for (unsigned int i = 0; i < (n & 1 ? ARRAY_SIZE(sizes) : 6); i++)
			model_run(sizes[i], n, 6000);
}

/* Two threads */

#define CHAINS 4000

struct race {
	struct pair p;
	int kick, call; /* eventfds */
	uint64_t seed;
	uint32_t calls;
	const char *failed;
};

static void ring_bell(int fd)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		abort();
}

/* False when nobody rang for so long that nobody will. */
static bool wait_bell(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t count;

	return poll(&p, 1, 20000) == 1 && read(fd, &count, sizeof(count)) == sizeof(count);
}

/* Takes up to a few, hands them back in another order. Returns how many, or -1. */
static int device_turn(struct race *r, struct work *works, unsigned int room)
{
	unsigned int n = 0, most = 1 + draw(&r->seed) % room;

	for (; n < most; n++) {
		works[n].chain.iov = works[n].iov;
		if (virtq_pop(r->p.vq, &works[n].chain, PARTS) != 1)
			break;
	}
	for (unsigned int left = n; left; left--) {
		struct work *w = &works[draw(&r->seed) % left];
		uint32_t value;

		if (virtq_chain_read(&w->chain, 0, &value, sizeof(value)) != sizeof(value))
			return -1;
		value = ~value;
		virtq_chain_write(&w->chain, 0, &value, sizeof(value));
		virtq_push(r->p.vq, &w->chain, sizeof(value));
		if (draw(&r->seed) % 4 == 0 && virtq_publish(r->p.vq)) {
			ring_bell(r->call);
			r->calls++;
		}
		w->chain = works[left - 1].chain;
		memcpy(w->iov, works[left - 1].iov, sizeof(w->iov));
		w->chain.iov = w->iov;
	}
	if (virtq_publish(r->p.vq)) {
		ring_bell(r->call);
		r->calls++;
	}
	return (int)n;
}

static void *device_thread(void *arg)
{
	struct race *r = arg;
	struct work works[SLOTS];
	uint32_t done = 0;

	while (done < CHAINS) {
		int n = device_turn(r, works, MIN(r->p.d.setup.size, (unsigned int)SLOTS));

		if (n < 0) {
			r->failed = "a chain was not as the driver made it";
			return NULL;
		}
		done += (uint32_t)n;
		if (n || done == CHAINS)
			continue;
		if (virtq_broken(r->p.vq)) {
			r->failed = virtq_broken(r->p.vq);
			return NULL;
		}
		if (virtq_arm(r->p.vq))
			continue;
		if (!wait_bell(r->kick)) {
			r->failed = "the driver's notification was lost";
			return NULL;
		}
		virtq_disarm(r->p.vq);
	}
	return NULL;
}

/* Adds what fits. @bufs are two for each entry of the ring, free when their first word is 0. */
static void driver_adds(struct race *r, struct vring_buf (*bufs)[2], uint32_t *added)
{
	const unsigned int size = r->p.d.setup.size;

	for (unsigned int i = 0; i < size && *added < CHAINS; i++) {
		uint32_t *value = vring_ptr(&r->p.d, bufs[i][0].gpa, 4);
		bool indirect = r->p.features.indirect && *added % 3;

		if (*value)
			continue;
		*value = *added + 1;
		if (vring_add(&r->p.d, bufs[i], 1, 1, indirect, bufs[i])) {
			*value = 0;
			break;
		}
		++*added;
		if (*added % 5 == 0 && vring_must_kick(&r->p.d))
			ring_bell(r->kick);
	}
	if (vring_must_kick(&r->p.d))
		ring_bell(r->kick);
}

static uint32_t driver_reaps(struct race *r)
{
	struct vring_done done;
	uint32_t n = 0;

	for (; vring_reap(&r->p.d, &done); n++) {
		struct vring_buf *bufs = done.cookie;
		uint32_t *value = vring_ptr(&r->p.d, bufs[0].gpa, 4), reply;

		memcpy(&reply, vring_ptr(&r->p.d, bufs[1].gpa, 4), 4);
		assert_int_equal(reply, ~*value);
		*value = 0;
	}
	return n;
}

static void race(unsigned int size, unsigned int features)
{
	const struct virtq_features f = features_of(features);
	struct vring_buf(*bufs)[2] = calloc(size, sizeof(*bufs));
	uint32_t added = 0, reaped = 0;
	struct race r = {.seed = size + features};
	pthread_t thread;

	assert_non_null(bufs);
	pair_init(&r.p, size, &f);
	for (unsigned int i = 0; i < 2 * size; i++)
		bufs[i / 2][i % 2] = (struct vring_buf){vring_alloc(&r.p.d, 4), 4};
	r.kick = eventfd(0, EFD_CLOEXEC);
	r.call = eventfd(0, EFD_CLOEXEC);
	assert_true(r.kick >= 0 && r.call >= 0);
	assert_int_equal(pthread_create(&thread, NULL, device_thread, &r), 0);
	while (reaped < CHAINS) {
		uint32_t n;

		driver_adds(&r, bufs, &added);
		n = driver_reaps(&r);
		reaped += n;
		if (n || reaped == CHAINS || vring_unmask(&r.p.d, 0))
			continue;
		if (!wait_bell(r.call)) {
			print_error("no interrupt; %u of %u chains reaped\n", reaped, added);
			break;
		}
		vring_mask(&r.p.d);
	}
	pthread_join(thread, NULL);
	if (r.failed)
		fail_msg("%s", r.failed);
	assert_int_equal(reaped, CHAINS);
	close(r.kick);
	close(r.call);
	pair_fini(&r.p);
	free(bufs);
}

static void two_threads(void **state)
{
	(void)state;
	for (unsigned int n = 0; n < FEATURES; n++) {
		race(2, n);
		race(n & 1 ? 7 : 8, n);
		race(64, n);
	}
}

/* Both sides at the same moment */

#define MOMENTS 10000

struct moment {
	struct pair p;
	_Atomic uint32_t arrived;
	bool found[2], rang[2]; /* by the device's side and the driver's */
};

/* Both threads leave it together, but for a few nanoseconds that differ each time. */
static void meet(struct moment *m, uint32_t *meetings, uint64_t *seed)
{
	uint32_t all = 2 * ++*meetings;

	atomic_fetch_add(&m->arrived, 1);
	for (unsigned int i = 1; atomic_load(&m->arrived) < all; i++)
		if (i % 4096 == 0)
			sched_yield();
	for (volatile uint32_t i = draw(seed) % 32; i; i--)
		;
}

static void *device_moments(void *arg)
{
	struct moment *m = arg;
	struct iovec iov;
	struct virtq_chain c = {.iov = &iov};
	uint32_t meetings = 0;
	uint64_t seed = 1;

	for (unsigned int i = 0; i < MOMENTS; i++) {
		virtq_disarm(m->p.vq);
		meet(m, &meetings, &seed);
		m->found[0] = virtq_arm(m->p.vq);
		meet(m, &meetings, &seed);
		if (virtq_pop(m->p.vq, &c, 1) == 1)
			virtq_push(m->p.vq, &c, 0);
		meet(m, &meetings, &seed);
		m->rang[0] = virtq_publish(m->p.vq);
		meet(m, &meetings, &seed);
	}
	return NULL;
}

/*
 * One side looks for work for the last time while the other one makes some and decides whether to
 * tell: at least one of the two notices the other.
 */
static void moments(unsigned int features)
{
	const struct virtq_features f = features_of(features);
	struct moment m = {.arrived = 0};
	uint32_t meetings = 0, lost[2] = {0, 0};
	uint64_t seed = 2;
	struct vring_done done;
	pthread_t thread;

	pair_init(&m.p, 4, &f);
	assert_int_equal(pthread_create(&thread, NULL, device_moments, &m), 0);
	for (unsigned int i = 0; i < MOMENTS; i++) {
		vring_mask(&m.p.d);
		meet(&m, &meetings, &seed);
		add_one(&m.p, 8);
		m.rang[1] = vring_must_kick(&m.p.d);
		meet(&m, &meetings, &seed);
		lost[0] += !m.found[0] && !m.rang[1];
		meet(&m, &meetings, &seed);
		m.found[1] = vring_unmask(&m.p.d, 0);
		meet(&m, &meetings, &seed);
		lost[1] += !m.found[1] && !m.rang[0];
		vring_reap(&m.p.d, &done);
	}
	pthread_join(thread, NULL);
	assert_int_equal(m.p.d.free, 4);
	assert_int_equal(lost[0], 0);
	assert_int_equal(lost[1], 0);
	pair_fini(&m.p);
}

static void at_the_same_moment(void **state)
{
	(void)state;
	for (unsigned int n = 0; n < 4; n++)
		moments(n);
}

/* What it costs */

struct cost {
	uint64_t take, give;
};

static void measure_round(struct pair *p, struct virtq_chain *chains, unsigned int n,
			  bool publish_each, struct cost *cost)
{
	uint64_t start = clock_now(), taken;

	for (unsigned int i = 0; i < n; i++)
		if (virtq_pop(p->vq, &chains[i], 4) != 1)
			abort();
	taken = clock_now();
	for (unsigned int i = 0; i < n; i++) {
		virtq_push(p->vq, &chains[i], 0);
		if (publish_each)
			virtq_publish(p->vq);
	}
	virtq_publish(p->vq);
	cost->take += taken - start;
	cost->give += clock_now() - taken;
}

static void measure(unsigned int n, unsigned int parts, bool publish_each)
{
	enum { SIZE = 256, ROUNDS = 20000 };
	const struct virtq_features f = features_of(n);
	struct virtq_chain chains[SIZE];
	struct iovec iov[SIZE][4];
	const unsigned int each = SIZE / (f.indirect ? 1 : parts);
	const double count = (double)each * ROUNDS;
	struct cost cost = {0, 0};
	struct vring_done done;
	struct vring_buf buf;
	struct pair p;

	pair_init(&p, SIZE, &f);
	buf = (struct vring_buf){vring_alloc(&p.d, 512), 512};
	for (unsigned int i = 0; i < SIZE; i++)
		chains[i].iov = iov[i];
	for (unsigned int i = 0; i < ROUNDS; i++) {
		const struct vring_buf bufs[] = {buf, buf, buf};

		for (unsigned int k = 0; k < each; k++)
			vring_add(&p.d, bufs, parts - 1, 1, f.indirect, &p);
		measure_round(&p, chains, each, publish_each, &cost);
		while (vring_reap(&p.d, &done))
			;
	}
	printf("%-6s %u buffer%s%-9s%-9s publish %s: pop %5.1f ns, push %5.1f ns, both %5.1f ns\n",
	       f.packed ? "packed" : "split", parts, parts > 1 ? "s" : " ",
	       f.indirect ? " indirect" : "", f.in_order ? " in order" : "",
	       publish_each ? "each " : "batch", (double)cost.take / count,
	       (double)cost.give / count, (double)(cost.take + cost.give) / count);
	pair_fini(&p);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packed_arithmetic),
		cmocka_unit_test(split_arithmetic),
		cmocka_unit_test(every_feature),
		cmocka_unit_test(every_size),
		cmocka_unit_test(taking_back_and_going_on),
		cmocka_unit_test(queues_that_cannot_be),
		cmocka_unit_test(at_random),
		cmocka_unit_test(two_threads),
		cmocka_unit_test(at_the_same_moment),
	};

	if (argc < 2 || strcmp(argv[1], "--measure"))
		return cmocka_run_group_tests_name("virtq", tests, NULL, NULL);
	for (unsigned int n = 0; n < FEATURES; n++) {
		measure(n, 1, false);
		measure(n, 3, false);
		measure(n, 3, true);
	}
	return 0;
}
