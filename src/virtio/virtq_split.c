/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The split ring of a virtqueue, section 2.7: a table of descriptors, a ring of what the driver
 * makes available and one of what the device has used. virtq_priv.h has the rules.
 *
 * Invariant: used - published chains wait for their publication, and the driver never has more than
 * size chains outstanding from published on: that is checked wherever its index is taken.
 */
#include <errno.h>

#include "virtq_priv.h"

int split_start(struct virtq *vq, const struct virtq_setup *setup, struct err *err)
{
	const unsigned int n = setup->size;
	struct split_ring *r = &vq->split;

	/* The sizes and alignments of 2.7; the events are a part even where nobody uses them. */
	r->desc = virtq_area(vq, "descriptor table", setup->desc, n * sizeof(*r->desc),
			     VRING_DESC_ALIGN_SIZE, err);
	if (!r->desc)
		return -EINVAL;
	r->avail = virtq_area(vq, "available ring", setup->driver, 6 + 2 * n,
			      VRING_AVAIL_ALIGN_SIZE, err);
	if (!r->avail)
		return -EINVAL;
	r->used = virtq_area(vq, "used ring", setup->device, 6 + 8 * n, VRING_USED_ALIGN_SIZE, err);
	if (!r->used)
		return -EINVAL;
	r->used_event = &r->avail->ring[n];
	r->avail_event = (uint16_t *)&r->used->ring[n];
	r->avail_seen = vq->avail;
	r->published = vq->used;
	/* 2.7.10.2: with events, flags are 0. */
	store_relaxed(&r->used->flags, 0);
	if (vq->features.event_idx)
		store_relaxed(r->avail_event, vq->avail);
	return 0;
}

/* Whether there are chains; looks at the driver's index when those that it knows of are taken. */
static int find(struct virtq *vq)
{
	struct split_ring *r = &vq->split;

	if (r->avail_seen != vq->avail)
		return 1;
	r->avail_seen = load_acquire(&r->avail->idx);
	if (!split_idx_valid(r->avail_seen, vq->avail, r->published, vq->size))
		return virtq_break(vq, "the available index is behind, or ahead by more than the "
				       "queue is long");
	return r->avail_seen != vq->avail;
}

static struct vring_desc fetch(const struct vring_desc *from)
{
	const struct virtq_words w = virtq_fetch(from);

	return (struct vring_desc){
		.addr = w.addr,
		.len = (uint32_t)w.rest,
		.flags = (uint16_t)(w.rest >> 32),
		.next = (uint16_t)(w.rest >> 48),
	};
}

/* The table that @desc refers to: 2.7.5.3. Its WRITE flag means nothing (2.7.5.3.2). */
static const struct vring_desc *enter(struct virtq *vq, const struct vring_desc *desc)
{
	if (!vq->features.indirect)
		virtq_break(vq, "an indirect table was not negotiated");
	else if (desc->flags & VRING_DESC_F_NEXT)
		virtq_break(vq, "a chain goes on behind an indirect table");
	else
		return virtq_table(vq, desc->addr, desc->len);
	return NULL;
}

/* Adds the buffers of the chain that starts at @i: some descriptors of the ring's own table, then,
 * maybe, an indirect one. */
static int walk(struct virtq *vq, struct virtq_chain *chain, unsigned int room, uint32_t i)
{
	const struct vring_desc *table = vq->split.desc;
	uint32_t entries = vq->size, left = vq->size;
	bool indirect = false;

	for (;;) {
		const struct vring_desc desc = fetch(table + i);
		int ret;

		if (desc.flags & VRING_DESC_F_INDIRECT) {
			if (indirect)
				return virtq_break(vq, "an indirect table is within another");
			table = enter(vq, &desc);
			if (!table)
				return -EPROTO;
			indirect = true;
			entries = desc.len / (uint32_t)sizeof(desc);
			i = 0;
			continue;
		}
		if (!left--)
			return virtq_break(vq, "a chain is longer than the queue, or a loop");
		ret = virtq_gather(vq, chain, room, desc.addr, desc.len,
				   desc.flags & VRING_DESC_F_WRITE);
		if (ret || !(desc.flags & VRING_DESC_F_NEXT))
			return ret;
		i = desc.next;
		if (i >= entries)
			return virtq_break(vq, "a chain goes on outside the table");
	}
}

int split_pop(struct virtq *vq, struct virtq_chain *chain, unsigned int room)
{
	struct split_ring *r = &vq->split;
	uint16_t head;
	int ret = find(vq);

	if (ret <= 0)
		return ret;
	head = load_relaxed(&r->avail->ring[split_slot(vq->avail, vq->size)]);
	if (head >= vq->size)
		return virtq_break(vq, "a chain starts outside the table");
	ret = walk(vq, chain, room, head);
	if (ret)
		return ret;
	chain->id = head;
	chain->count = 1;
	vq->avail++;
	return 1;
}

void split_head(const struct virtq *vq, const struct virtq_chain *chain, struct virtq_head *head)
{
	const struct vring_desc desc = fetch(&vq->split.desc[chain->id]);

	*head = (struct virtq_head){desc.addr, desc.len, desc.flags, chain->id};
}

void split_unpop(struct virtq *vq)
{
	vq->avail--;
}

/* 2.7.8; not seen before the index is. */
void split_use(struct virtq *vq, const struct virtq_used *used)
{
	struct vring_used_elem *e = &vq->split.used->ring[split_slot(vq->used, vq->size)];

	store_relaxed(&e->id, used->id);
	store_relaxed(&e->len, used->len);
	vq->used++;
}

bool split_publish(struct virtq *vq)
{
	struct split_ring *r = &vq->split;
	const uint16_t before = r->published;

	if (before == vq->used)
		return false;
	r->published = vq->used;
	store_ordered(&r->used->idx, vq->used);
	/* 2.7.7.2 */
	if (vq->features.event_idx)
		return ring_need_event(load_ordered(r->used_event), vq->used, before);
	return !(load_ordered(&r->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
}

bool split_pending(const struct virtq *vq)
{
	return load_relaxed(&vq->split.avail->idx) != vq->avail;
}

/* 2.7.10.2: flags are all there is without events. With them, an event that is behind us stays so
 * for 65535 chains; the one that was asked for last may be the next chain still. */
void split_disarm(struct virtq *vq)
{
	struct split_ring *r = &vq->split;

	if (!vq->features.event_idx)
		store_relaxed(&r->used->flags, VRING_USED_F_NO_NOTIFY);
	else if (load_relaxed(r->avail_event) == vq->avail)
		store_relaxed(r->avail_event, vq->avail - 1);
}

bool split_arm(struct virtq *vq)
{
	struct split_ring *r = &vq->split;

	if (vq->features.event_idx)
		store_ordered(r->avail_event, vq->avail);
	else
		store_ordered(&r->used->flags, 0);
	return load_ordered(&r->avail->idx) != vq->avail;
}
