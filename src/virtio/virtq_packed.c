/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The packed ring of a virtqueue, section 2.8: one ring of descriptors that both sides write, each
 * side marking them by flags whose meaning alternates from round to round. virtq_priv.h has the
 * rules.
 *
 * Invariant: the entries from used to avail are those of the chains that are out, so a used
 * descriptor never covers one that was not read. These and the pending ones, taken in all, are
 * never more than the ring has: a driver that makes an entry available before it got it back has
 * broken the ring.
 *
 * A buffer ID is the driver's own: it goes back as it came, whatever it is.
 */
#include <errno.h>

#include "virtq_priv.h"

int packed_start(struct virtq *vq, const struct virtq_setup *setup, struct err *err)
{
	struct packed_ring *r = &vq->packed;

	/* 2.8.10.1 */
	r->desc = virtq_area(vq, "descriptor ring", setup->desc, setup->size * sizeof(*r->desc),
			     VRING_DESC_ALIGN_SIZE, err);
	if (!r->desc)
		return -EINVAL;
	r->driver_event = virtq_area(vq, "driver event suppression", setup->driver,
				     sizeof(*r->driver_event), 4, err);
	if (!r->driver_event)
		return -EINVAL;
	r->device_event = virtq_area(vq, "device event suppression", setup->device,
				     sizeof(*r->device_event), 4, err);
	if (!r->device_event)
		return -EINVAL;
	r->taken = 0;
	r->pending = 0;
	store_relaxed(r->device_event, VRING_PACKED_EVENT_FLAG_ENABLE);
	return 0;
}

static struct vring_packed_desc fetch(const struct vring_packed_desc *from)
{
	const struct virtq_words w = virtq_fetch(from);

	return (struct vring_packed_desc){
		.addr = w.addr,
		.len = (uint32_t)w.rest,
		.id = (uint16_t)(w.rest >> 32),
		.flags = (uint16_t)(w.rest >> 48),
	};
}

/* Adds the table that @desc refers to. WRITE is the only flag that means anything in there, and
 * means nothing in @desc; NEXT and INDIRECT are ignored: 2.8.7. */
static int walk_table(struct virtq *vq, struct virtq_chain *chain, unsigned int room,
		      const struct vring_packed_desc *desc)
{
	const uint32_t n = desc->len / (uint32_t)sizeof(*desc);
	const struct vring_packed_desc *table;

	if (!vq->features.indirect)
		return virtq_break(vq, "an indirect table was not negotiated");
	if (desc->flags & VRING_DESC_F_NEXT)
		return virtq_break(vq, "a chain goes on behind an indirect table");
	table = virtq_table(vq, desc->addr, desc->len);
	if (!table)
		return -EPROTO;
	if (n > vq->size)
		return virtq_break(vq, "an indirect table is longer than the queue");
	for (uint32_t i = 0; i < n; i++) {
		const struct vring_packed_desc d = fetch(table + i);
		int ret =
			virtq_gather(vq, chain, room, d.addr, d.len, d.flags & VRING_DESC_F_WRITE);

		if (ret)
			return ret;
	}
	return 0;
}

/* The flags of the entry at @pos, with what belongs to them when they say that it is available. */
static uint16_t look(const struct virtq *vq, uint16_t pos)
{
	return load_acquire(&vq->packed.desc[packed_index(pos)].flags);
}

int packed_pop(struct virtq *vq, struct virtq_chain *chain, unsigned int room)
{
	struct packed_ring *r = &vq->packed;
	uint16_t pos = vq->avail, flags = look(vq, pos), n = 0;
	struct vring_packed_desc desc;
	int ret;

	if (!packed_is_avail(flags, pos))
		return 0;
	do {
		if (n == vq->size - r->taken)
			return virtq_break(vq, "a chain is longer than the entries that are free");
		desc = fetch(&r->desc[packed_index(pos)]);
		/* The first one's were read, and count, as they were when it was available. */
		if (!n)
			desc.flags = flags;
		if (!(desc.flags & VRING_DESC_F_INDIRECT))
			ret = virtq_gather(vq, chain, room, desc.addr, desc.len,
					   desc.flags & VRING_DESC_F_WRITE);
		else if (n)
			ret = virtq_break(vq, "an indirect table is within a chain"); /* 2.8.19 */
		else
			ret = walk_table(vq, chain, room, &desc);
		if (ret)
			return ret;
		pos = packed_advance(pos, 1, vq->size);
		n++;
	} while (desc.flags & VRING_DESC_F_NEXT);
	/* 2.8.6: the last one has the buffer ID. */
	chain->id = desc.id;
	chain->count = n;
	r->taken = (uint16_t)(r->taken + n);
	vq->avail = pos;
	return 1;
}

void packed_head(const struct virtq *vq, const struct virtq_chain *chain, struct virtq_head *head)
{
	const uint16_t at = packed_index(packed_retreat(vq->avail, chain->count, vq->size));
	const struct vring_packed_desc desc = fetch(&vq->packed.desc[at]);

	*head = (struct virtq_head){desc.addr, desc.len, desc.flags, at};
}

void packed_unpop(struct virtq *vq, const struct virtq_chain *chain)
{
	vq->packed.taken = (uint16_t)(vq->packed.taken - chain->count);
	vq->avail = packed_retreat(vq->avail, chain->count, vq->size);
}

/*
 * Writes one used descriptor for the chain and skips the entries that it took (2.8.6). The driver
 * looks at them one after the other, so that none is seen before the first one's flags are.
 */
void packed_use(struct virtq *vq, const struct virtq_used *used)
{
	struct packed_ring *r = &vq->packed;
	struct vring_packed_desc *d = &r->desc[packed_index(vq->used)];
	const uint16_t flags = packed_used_flags(vq->used, used->len);

	store_relaxed(&d->id, used->id);
	store_relaxed(&d->len, used->len);
	if (r->pending) {
		store_relaxed(&d->flags, flags);
	} else {
		r->first = &d->flags;
		r->first_flags = flags;
	}
	r->pending = (uint16_t)(r->pending + used->count);
	vq->used = packed_advance(vq->used, used->count, vq->size);
}

bool packed_publish(struct virtq *vq)
{
	struct packed_ring *r = &vq->packed;
	const uint16_t n = r->pending;
	uint32_t event;

	if (!n)
		return false;
	r->pending = 0;
	r->taken = (uint16_t)(r->taken - n);
	store_ordered(r->first, r->first_flags);
	/* 2.8.10; what is reserved counts as enabled. */
	event = load_ordered(r->driver_event);
	switch (event >> 16 & 3) {
	case VRING_PACKED_EVENT_FLAG_DISABLE:
		return false;
	case VRING_PACKED_EVENT_FLAG_DESC:
		return !vq->features.event_idx ||
		       packed_need_event((uint16_t)event, vq->used, n, vq->size);
	default:
		return true;
	}
}

bool packed_pending(const struct virtq *vq)
{
	const uint16_t *flags = &vq->packed.desc[packed_index(vq->avail)].flags;

	return packed_is_avail(load_relaxed(flags), vq->avail);
}

void packed_disarm(struct virtq *vq)
{
	store_relaxed(vq->packed.device_event, VRING_PACKED_EVENT_FLAG_DISABLE << 16);
}

bool packed_arm(struct virtq *vq)
{
	uint32_t event = VRING_PACKED_EVENT_FLAG_ENABLE << 16;

	if (vq->features.event_idx)
		event = VRING_PACKED_EVENT_FLAG_DESC << 16 | vq->avail;
	store_ordered(vq->packed.device_event, event);
	return packed_is_avail(load_ordered(&vq->packed.desc[packed_index(vq->avail)].flags),
			       vq->avail);
}
