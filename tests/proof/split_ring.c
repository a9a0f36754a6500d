/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The split ring, src/virtio/virtq_split.c: from any state that the invariant allows, whatever the
 * driver has written and writes meanwhile, each operation stays within the three areas of the
 * ring, the tables and the chain, and keeps the invariant. Numbers in brackets are sections of the
 * Virtual I/O Device specification 1.2.
 */
#include "virtq_model.h"
/* It has its own. */
#define fetch        split_fetch
#define virtq_gather any_gather
#include "../../src/virtio/virtq_split.c"

bool invariant_walk(const struct virtq *vq, uint32_t i, const struct vring_desc *table,
		    uint32_t entries, uint32_t left, bool indirect)
{
	return i < entries && left <= vq->size &&
	       bytes_at(table) >= (uint64_t)entries * sizeof(*table) &&
	       indirect == (table != vq->split.desc);
}

/*
 * Counted from what the driver knows to be used, chains are used, taken and offered in this order,
 * and never more than the ring has entries. A broken ring takes nothing any more.
 */
static bool holds(const struct virtq *vq)
{
	const uint16_t from = vq->split.published, taken = split_distance(from, vq->avail);
	const uint16_t seen = split_distance(from, vq->split.avail_seen);

	return (vq->broken || (taken <= seen && seen <= vq->size)) && taken <= vq->size &&
	       split_distance(from, vq->used) <= taken &&
	       vq->inflight == split_distance(vq->used, vq->avail);
}

/* The areas are what a start makes them, as is claimed below. */
static void any_queue(struct model *m)
{
	struct split_ring *r = &m->vq.split;

	any_started(m, false);
	r->desc = area(16, 16u * m->vq.size);
	r->avail = area(2, 6 + 2u * m->vq.size);
	r->used = area(4, 6 + 8u * m->vq.size);
	r->used_event = &r->avail->ring[m->vq.size];
	r->avail_event = (uint16_t *)&r->used->ring[m->vq.size];
	r->avail_seen = any_u16();
	r->published = any_u16();
	assume(holds(&m->vq));
	any_room(m);
}

/* 2.7: what a queue starts with. */
void proof_split_start_holds(void)
{
	struct model m;

	if (!start_any(&m, false))
		return;
	claim(holds(&m.vq));
	claim(ring_size_valid(m.vq.size, false) && m.vq.size <= m.vq.size_max);
	claim(bytes_at(m.vq.split.desc) == 16u * m.vq.size);
	claim(bytes_at(m.vq.split.avail) == 6 + 2u * m.vq.size);
	claim(bytes_at(m.vq.split.used) == 6 + 8u * m.vq.size);
	/* The events are the last words of the rings: 2.7.6, 2.7.8. */
	claim(m.vq.split.used_event == &m.vq.split.avail->ring[m.vq.size]);
	claim(m.vq.split.avail_event == (uint16_t *)&m.vq.split.used->ring[m.vq.size]);
	claim(bytes_at(m.vq.split.used_event) == 2 && bytes_at(m.vq.split.avail_event) == 2);
	claim((uintptr_t)m.vq.split.desc % 16 == 0 && (uintptr_t)m.vq.split.avail % 2 == 0 &&
	      (uintptr_t)m.vq.split.used % 4 == 0);
}

/* Where indirect tables were not negotiated: with them there are more paths than Z3 gets done. */
static void pop(void)
{
	struct model m;
	uint16_t before;
	int ret;

	any_queue(&m);
	m.vq.features.indirect = false;
	before = m.vq.avail;
	ret = virtq_pop(&m.vq, &m.chain, m.room_of_chain);
	claim(holds(&m.vq));
	claim(m.vq.inflight <= m.vq.size);
	if (ret == 1) {
		claim(m.vq.avail == (uint16_t)(before + 1));
		claim(m.chain.id < m.vq.size);
	} else {
		claim(m.vq.avail == before);
		claim(ret == 0 || (ret == -EPROTO && m.vq.broken));
	}
}

/* 2.7.5, 2.7.6, 2.7.13 */
void long_split_pop_without_tables_holds(void)
{
	pop();
}

/* 2.7.6, 2.7.13: whether there is a chain, and which entry of the ring tells it. */
void proof_split_find_holds(void)
{
	struct model m;
	int ret;

	any_queue(&m);
	assume(!m.vq.broken);
	ret = find(&m.vq);
	claim(holds(&m.vq));
	claim(ret == 0 || ret == 1 || (ret == -EPROTO && m.vq.broken));
	if (ret == 1)
		claim(m.vq.inflight < m.vq.size && split_slot(m.vq.avail, m.vq.size) < m.vq.size);
}

void proof_split_unpop_holds(void)
{
	struct model m;
	uint16_t before;

	any_queue(&m);
	before = m.vq.avail;
	m.chain.order = (uint16_t)(m.vq.popped - 1);
	/* What was popped last can be taken back. */
	assume(m.vq.inflight != 0);
	virtq_unpop(&m.vq, &m.chain);
	claim(holds(&m.vq));
	claim(m.vq.avail == (uint16_t)(before - 1));
}

/* 2.7.8 */
void proof_split_push_holds(void)
{
	struct model m;
	uint16_t before;
	uint32_t written;

	any_queue(&m);
	before = m.vq.used;
	m.chain.id = any_u16();
	m.chain.in_len = any_u32();
	written = any_u32();
	/* A chain that was popped, and no more than was in it. */
	assume(m.vq.inflight != 0 && written <= m.chain.in_len);
	virtq_push(&m.vq, &m.chain, written);
	claim(holds(&m.vq));
	claim(m.vq.used == (uint16_t)(before + 1));
}

/* 2.7.7, 2.7.8 */
void proof_split_publish_holds(void)
{
	struct model m;
	bool any;

	any_queue(&m);
	any = m.vq.split.published != m.vq.used;
	if (virtq_publish(&m.vq))
		claim(any);
	claim(holds(&m.vq));
	claim(m.vq.split.published == m.vq.used);
}

/* 2.7.10 */
void proof_split_glances_and_notifications_hold(void)
{
	struct model m;
	struct virtq_head head;

	any_queue(&m);
	(void)virtq_pending(&m.vq);
	virtq_disarm(&m.vq);
	(void)virtq_arm(&m.vq);
	m.chain.id = any_u16();
	assume(m.chain.id < m.vq.size);
	claim(virtq_head(&m.vq, &m.chain, any_bool(), &head) && head.number < m.vq.size);
	claim(holds(&m.vq));
}
