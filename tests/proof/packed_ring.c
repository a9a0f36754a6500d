/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The packed ring, src/virtio/virtq_packed.c: from any state that the invariant allows, whatever
 * the driver has written and writes meanwhile, each operation stays within the ring, the tables
 * and the chain, and keeps the invariant. Numbers in brackets are sections of the Virtual I/O
 * Device specification 1.2.
 */
#include "virtq_model.h"
/* It has its own. */
#define fetch        packed_fetch
#define virtq_gather any_gather
#include "../../src/virtio/virtq_packed.c"

bool invariant_walk_table(const struct virtq *vq, const struct vring_packed_desc *table, uint32_t i,
			  uint32_t n)
{
	return i <= n && n <= vq->size && bytes_at(table) >= (uint64_t)n * sizeof(*table);
}

bool invariant_packed_pop(const struct virtq *vq, uint16_t pos, uint16_t n)
{
	return n <= vq->size - vq->packed.taken && pos == packed_advance(vq->avail, n, vq->size);
}

/*
 * The entries from used to avail are those of the chains that are out, one each at least; with
 * those that wait to be published they are never more than the ring has, and the first of these is
 * the one whose flags are held back.
 */
static bool holds(const struct virtq *vq)
{
	const struct packed_ring *r = &vq->packed;
	const uint16_t out = (uint16_t)(r->taken - r->pending);
	const uint16_t first = packed_retreat(vq->used, r->pending, vq->size);

	return packed_valid(vq->avail, vq->size) && packed_valid(vq->used, vq->size) &&
	       r->taken <= vq->size && r->pending <= r->taken &&
	       packed_advance(vq->used, out, vq->size) == vq->avail && vq->inflight <= out &&
	       (!r->pending || r->first == &r->desc[packed_index(first)].flags);
}

/* The areas are what a start makes them, as is claimed below. */
static void any_queue(struct model *m)
{
	struct packed_ring *r = &m->vq.packed;
	uint16_t first;

	any_started(m, true);
	r->desc = area(16, 16u * m->vq.size);
	r->driver_event = area(4, 4);
	r->device_event = area(4, 4);
	r->taken = any_u16();
	r->pending = any_u16();
	r->first_flags = any_u16();
	assume(m->vq.size && r->taken <= m->vq.size && r->pending <= r->taken);
	assume(packed_valid(m->vq.used, m->vq.size));
	/* One of the ways to have it hold. */
	m->vq.avail = packed_advance(m->vq.used, (uint16_t)(r->taken - r->pending), m->vq.size);
	first = packed_index(packed_retreat(m->vq.used, r->pending, m->vq.size));
	r->first = &r->desc[first].flags;
	assume(m->vq.inflight <= r->taken - r->pending);
	any_room(m);
}

/*
 * A chain that was popped: so many of the entries that are out are its own. Of steps, what
 * ring_math.c proves.
 */
static void any_chain(struct model *m)
{
	const uint16_t out = (uint16_t)(m->vq.packed.taken - m->vq.packed.pending);
	const uint16_t used = m->vq.used, size = m->vq.size, pending = m->vq.packed.pending;
	uint16_t n, to;

	n = any_u16();
	m->chain.count = n;
	m->chain.id = any_u16();
	m->chain.in_len = any_u32();
	assume(m->vq.inflight != 0 && n != 0 && n + (m->vq.inflight - 1) <= out);
	to = packed_advance(used, n, size);
	assume(packed_valid(to, size));
	assume(packed_advance(to, (uint16_t)(out - n), size) == packed_advance(used, out, size));
	assume(packed_retreat(to, (uint16_t)(pending + n), size) ==
	       packed_retreat(used, pending, size));
	assume(packed_retreat(m->vq.avail, n, size) ==
	       packed_advance(used, (uint16_t)(out - n), size));
	assume(packed_valid(packed_retreat(m->vq.avail, n, size), size));
}

/* 2.8.10.1, 2.8.1 */
void proof_packed_start_holds(void)
{
	struct model m;

	if (!start_any(&m, true))
		return;
	claim(holds(&m.vq));
	claim(ring_size_valid(m.vq.size, true) && m.vq.size <= m.vq.size_max);
	claim(bytes_at(m.vq.packed.desc) == 16u * m.vq.size);
	claim((uintptr_t)m.vq.packed.desc % 16 == 0);
	claim((uintptr_t)m.vq.packed.driver_event % 4 == 0);
	claim((uintptr_t)m.vq.packed.device_event % 4 == 0);
	claim(bytes_at(m.vq.packed.driver_event) == 4 && bytes_at(m.vq.packed.device_event) == 4);
}

/* Where indirect tables were not negotiated: with them there are more paths than Z3 gets done. */
static void pop(void)
{
	struct model m;
	uint16_t before, taken;
	int ret;

	any_queue(&m);
	m.vq.features.indirect = false;
	before = m.vq.avail;
	taken = m.vq.packed.taken;
	ret = virtq_pop(&m.vq, &m.chain, m.room_of_chain);
	claim(m.vq.inflight <= m.vq.packed.taken - m.vq.packed.pending);
	claim(m.vq.packed.taken <= m.vq.size);
	if (ret == 1) {
		claim(m.chain.count >= 1 && m.vq.packed.taken == taken + m.chain.count);
		claim(m.vq.avail == packed_advance(before, m.chain.count, m.vq.size));
	} else {
		claim(m.vq.avail == before && m.vq.packed.taken == taken);
		claim(ret == 0 || (ret == -EPROTO && m.vq.broken));
	}
}

/* 2.8.6, 2.8.19; that steps add up, which is left of the invariant, ring_math.c proves. */
void long_packed_pop_without_tables_holds(void)
{
	pop();
}

void long_packed_unpop_holds(void)
{
	struct model m;

	any_queue(&m);
	any_chain(&m);
	m.chain.order = (uint16_t)(m.vq.popped - 1);
	virtq_unpop(&m.vq, &m.chain);
	claim(holds(&m.vq));
}

/* 2.8.6 */
void long_packed_push_holds(void)
{
	struct model m;
	uint16_t before;
	uint32_t written;

	any_queue(&m);
	any_chain(&m);
	before = m.vq.used;
	written = any_u32();
	assume(written <= m.chain.in_len);
	virtq_push(&m.vq, &m.chain, written);
	claim(holds(&m.vq));
	claim(m.vq.used == packed_advance(before, m.chain.count, m.vq.size));
}

/* 2.8.10 */
void proof_packed_publish_holds(void)
{
	struct model m;
	bool any;

	any_queue(&m);
	any = m.vq.packed.pending != 0;
	if (virtq_publish(&m.vq))
		claim(any);
	claim(holds(&m.vq));
	claim(!m.vq.packed.pending);
}

void proof_packed_glances_and_notifications_hold(void)
{
	struct model m;
	struct virtq_head head;

	any_queue(&m);
	(void)virtq_pending(&m.vq);
	virtq_disarm(&m.vq);
	(void)virtq_arm(&m.vq);
	any_chain(&m);
	if (virtq_head(&m.vq, &m.chain, any_bool(), &head))
		claim(head.number < m.vq.size);
	claim(holds(&m.vq));
}
