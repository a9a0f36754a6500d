/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Written apart from src/virtio, on purpose: positions are plain counts of entries here, and events
 * are found by stepping over them one by one.
 */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "support/cm.h"
#include "support/vring.h"

#define F_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define F_USED  (1u << VRING_PACKED_DESC_F_USED)

#define get(p)     __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define put(p, v)  __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define post(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)

static uint32_t size_of(const struct vring_driver *d)
{
	return d->setup.size;
}

/* The wrap counter of the round in which the @n-th entry ever lies. */
static bool wrap_of(const struct vring_driver *d, uint32_t n)
{
	return n / size_of(d) % 2 == 0;
}

static struct vring_desc *split_desc(const struct vring_driver *d, uint32_t i)
{
	return (struct vring_desc *)d->desc + i;
}

static struct vring_packed_desc *packed_desc(const struct vring_driver *d, uint32_t n)
{
	return (struct vring_packed_desc *)d->desc + n % size_of(d);
}

static uint16_t *used_event(const struct vring_driver *d)
{
	return &((struct vring_avail *)d->driver)->ring[size_of(d)];
}

static const uint16_t *avail_event(const struct vring_driver *d)
{
	return (uint16_t *)&((struct vring_used *)d->device)->ring[size_of(d)];
}

uint64_t vring_alloc(struct vring_driver *d, uint64_t len)
{
	uint64_t gpa = (d->next + 15) & ~UINT64_C(15);

	assert_true(gpa <= d->end && len <= d->end - gpa);
	d->next = gpa + len;
	assert_int_equal(gmem_fill(d->mem, gpa, 0, len), 0);
	return gpa;
}

struct vring_buf vring_buffer(struct vring_driver *d, const void *data, uint32_t len)
{
	struct vring_buf b = {vring_alloc(d, len), len};

	assert_int_equal(gmem_write(d->mem, b.gpa, data, len), 0);
	return b;
}

void *vring_ptr(const struct vring_driver *d, uint64_t gpa, uint64_t len)
{
	void *p = gmem_hva(d->mem, gpa, len);

	assert_non_null(p);
	return p;
}

void vring_setup(struct vring_driver *d, struct gmem *mem, uint64_t gpa, uint64_t len,
		 unsigned int size, const struct virtq_features *features)
{
	const uint64_t driver = features->packed ? 4 : 6 + 2 * (uint64_t)size;
	const uint64_t device = features->packed ? 4 : 6 + 8 * (uint64_t)size;

	memset(d, 0, sizeof(*d));
	d->mem = mem;
	d->features = *features;
	d->next = gpa;
	d->end = gpa + len;
	d->free = size;
	d->setup.size = (uint16_t)size;
	d->setup.desc = vring_alloc(d, 16 * (uint64_t)size);
	d->setup.driver = vring_alloc(d, driver);
	d->setup.device = vring_alloc(d, device);
	d->desc = vring_ptr(d, d->setup.desc, 16 * (uint64_t)size);
	d->driver = vring_ptr(d, d->setup.driver, driver);
	d->device = vring_ptr(d, d->setup.device, device);
	d->chains = calloc(size, sizeof(*d->chains));
	d->ids = calloc(size, sizeof(*d->ids));
	d->links = calloc(size, sizeof(*d->links));
	assert_true(d->chains && d->ids && d->links);
	for (unsigned int i = 0; i < size; i++)
		d->ids[d->id_count++] = (uint16_t)i;
}

void vring_teardown(struct vring_driver *d)
{
	free(d->chains);
	free(d->ids);
	free(d->links);
}

static uint16_t take_id(struct vring_driver *d)
{
	assert_true(d->id_count);
	d->id_count--;
	if (d->features.in_order)
		return (uint16_t)(d->id_next++ % size_of(d));
	return d->ids[d->id_count];
}

static void give_id(struct vring_driver *d, uint16_t id)
{
	assert_true(d->id_count < size_of(d));
	d->ids[d->id_count++] = id;
}

/* The indirect table of the chain @id, for @n descriptors. */
static uint64_t table_of(struct vring_driver *d, uint16_t id, uint32_t n)
{
	struct vring_chain *c = &d->chains[id];

	if (c->room < n) {
		c->table = vring_alloc(d, 16 * (uint64_t)n);
		c->room = n;
	}
	return c->table;
}

static void split_write(struct vring_desc *d, const struct vring_buf *b, uint32_t flags,
			uint32_t next)
{
	put(&d->addr, b->gpa);
	put(&d->len, b->len);
	put(&d->flags, (uint16_t)flags);
	put(&d->next, (uint16_t)next);
}

static uint32_t split_flags(unsigned int i, unsigned int out, unsigned int n)
{
	return (i >= out ? VRING_DESC_F_WRITE : 0u) | (i + 1 < n ? VRING_DESC_F_NEXT : 0u);
}

static uint16_t split_fill(struct vring_driver *d, const struct vring_buf *bufs, unsigned int out,
			   unsigned int n, bool indirect)
{
	uint16_t head = take_id(d), at = head;

	if (indirect) {
		const struct vring_buf b = {table_of(d, head, n), 16 * n};
		struct vring_desc *table = vring_ptr(d, b.gpa, b.len);

		for (unsigned int i = 0; i < n; i++)
			split_write(&table[i], &bufs[i], split_flags(i, out, n), i + 1);
		split_write(split_desc(d, head), &b, VRING_DESC_F_INDIRECT, 0);
		return head;
	}
	for (unsigned int i = 0; i < n; i++) {
		uint16_t next = i + 1 < n ? take_id(d) : 0;

		split_write(split_desc(d, at), &bufs[i], split_flags(i, out, n), next);
		d->links[at] = next;
		at = next;
	}
	return head;
}

static void split_add(struct vring_driver *d, const struct vring_buf *bufs, unsigned int out,
		      unsigned int n, bool indirect, void *cookie)
{
	struct vring_avail *avail = d->driver;
	uint16_t head = split_fill(d, bufs, out, n, indirect);

	d->chains[head].cookie = cookie;
	d->chains[head].count = indirect ? 1 : n;
	d->free -= d->chains[head].count;
	put(&avail->ring[d->avail % size_of(d)], head);
	d->avail++;
	post(&avail->idx, (uint16_t)d->avail);
}

static void packed_write(struct vring_packed_desc *d, const struct vring_buf *b, uint16_t id)
{
	put(&d->addr, b->gpa);
	put(&d->len, b->len);
	put(&d->id, id);
}

static void packed_add(struct vring_driver *d, const struct vring_buf *bufs, unsigned int out,
		       unsigned int n, bool indirect, void *cookie)
{
	const uint16_t id = take_id(d);
	const uint32_t first = d->avail;
	struct vring_buf table_buf = {0};

	if (indirect) {
		struct vring_packed_desc *table;

		table_buf = (struct vring_buf){table_of(d, id, n), 16 * n};
		table = vring_ptr(d, table_buf.gpa, table_buf.len);
		for (unsigned int i = 0; i < n; i++) {
			packed_write(&table[i], &bufs[i], 0);
			put(&table[i].flags, i >= out ? VRING_DESC_F_WRITE : 0);
		}
		bufs = &table_buf;
		n = 1;
	}
	d->chains[id].cookie = cookie;
	d->chains[id].count = n;
	d->free -= n;
	d->avail += n;
	/* The first one last: 2.8.6. */
	for (unsigned int i = n; i-- > 0;) {
		struct vring_packed_desc *to = packed_desc(d, first + i);
		uint32_t flags = indirect ? VRING_DESC_F_INDIRECT : split_flags(i, out, n);

		packed_write(to, &bufs[i], id);
		flags |= wrap_of(d, first + i) ? F_AVAIL : F_USED;
		post(&to->flags, (uint16_t)flags);
	}
}

int vring_add(struct vring_driver *d, const struct vring_buf *bufs, unsigned int out,
	      unsigned int in, bool indirect, void *cookie)
{
	const unsigned int n = out + in;

	assert_true(n > 0);
	if (d->free < (indirect ? 1 : n))
		return -ENOSPC;
	if (d->features.packed)
		packed_add(d, bufs, out, n, indirect, cookie);
	else
		split_add(d, bufs, out, n, indirect, cookie);
	return 0;
}

/* A packed event word for the @n-th entry ever. */
static uint32_t event_word(const struct vring_driver *d, uint32_t n)
{
	return (VRING_PACKED_EVENT_FLAG_DESC << 16) | n % size_of(d) |
	       (wrap_of(d, n) ? 1u << VRING_PACKED_EVENT_F_WRAP_CTR : 0);
}

/* Whether one of the entries [@from, @to) is the one that packed @word asks for. */
static bool packed_passes(const struct vring_driver *d, uint32_t word, uint32_t from, uint32_t to)
{
	bool all = from != to;

	if (word >> 16 != VRING_PACKED_EVENT_FLAG_DESC)
		return all && word >> 16 == VRING_PACKED_EVENT_FLAG_ENABLE;
	assert_true(d->features.event_idx);
	for (; from != to; from++)
		if (event_word(d, from) == word)
			return true;
	return false;
}

static bool split_passes(uint16_t event, uint32_t from, uint32_t to)
{
	for (; from != to; from++)
		if ((uint16_t)from == event)
			return true;
	return false;
}

bool vring_must_kick(struct vring_driver *d)
{
	const struct vring_used *used = d->device;
	const uint32_t from = d->told;

	d->told = d->avail;
	if (d->features.packed)
		return packed_passes(d, get((uint32_t *)d->device), from, d->avail);
	if (d->features.event_idx)
		return split_passes(get(avail_event(d)), from, d->avail);
	return from != d->avail && !(get(&used->flags) & VRING_USED_F_NO_NOTIFY);
}

bool vring_wants_interrupt(const struct vring_driver *d, uint32_t before, uint32_t now)
{
	const struct vring_avail *avail = d->driver;

	if (d->features.packed)
		return packed_passes(d, get((uint32_t *)d->driver), before, now);
	if (d->features.event_idx)
		return split_passes(get(used_event(d)), before, now);
	return before != now && !(get(&avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
}

static bool is_used(const struct vring_driver *d)
{
	const struct vring_used *used = d->device;
	uint32_t flags;

	if (!d->features.packed)
		return get(&used->idx) != (uint16_t)d->used;
	flags = get(&packed_desc(d, d->used)->flags);
	return !!(flags & F_AVAIL) == wrap_of(d, d->used) &&
	       !!(flags & F_USED) == wrap_of(d, d->used);
}

static void split_free(struct vring_driver *d, uint32_t head)
{
	for (uint32_t n = d->chains[head].count; n; n--) {
		give_id(d, (uint16_t)head);
		head = d->links[head];
	}
}

bool vring_reap(struct vring_driver *d, struct vring_done *done)
{
	const struct vring_used *used = d->device;
	struct vring_chain *c;

	if (!is_used(d))
		return false;
	if (d->features.packed) {
		done->id = get(&packed_desc(d, d->used)->id);
		done->written = get(&packed_desc(d, d->used)->len);
	} else {
		done->id = get(&used->ring[d->used % size_of(d)].id);
		done->written = get(&used->ring[d->used % size_of(d)].len);
	}
	assert_true(done->id < size_of(d));
	c = &d->chains[done->id];
	assert_true(c->count);
	done->cookie = c->cookie;
	d->free += c->count;
	if (d->features.packed)
		give_id(d, (uint16_t)done->id);
	else
		split_free(d, done->id);
	d->used += d->features.packed ? c->count : 1;
	c->count = 0;
	return true;
}

void vring_mask(struct vring_driver *d)
{
	struct vring_avail *avail = d->driver;

	if (d->features.packed)
		post((uint32_t *)d->driver, (uint32_t)VRING_PACKED_EVENT_FLAG_DISABLE << 16);
	else if (!d->features.event_idx)
		post(&avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
}

bool vring_unmask(struct vring_driver *d, unsigned int after)
{
	struct vring_avail *avail = d->driver;
	const uint32_t at = d->used + after;

	if (d->features.packed)
		post((uint32_t *)d->driver,
		     d->features.event_idx ? event_word(d, at)
					   : (uint32_t)VRING_PACKED_EVENT_FLAG_ENABLE << 16);
	else if (d->features.event_idx)
		post(used_event(d), (uint16_t)at);
	else
		post(&avail->flags, 0);
	return is_used(d);
}
