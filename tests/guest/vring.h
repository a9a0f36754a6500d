/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vring - the driver's side of a virtqueue whose buffers are slots that never change: each has an
 * indirect table of its own, made once, and to submit one is to write its number (split ring) or
 * one descriptor (packed ring).
 *
 * Positions in the ring run free in either kind. In a packed ring the wrap counter is 1 in every
 * second round, the first among them (Virtual I/O Device 1.2, section 2.8.1).
 */
#ifndef TESTS_GUEST_VRING_H
#define TESTS_GUEST_VRING_H

#include <linux/virtio_ring.h>

#include "guest.h"

#define VRING_SLOTS 32
#define VRING_PARTS 3 /* of a slot */
#define VRING_BOTH  (1 << VRING_PACKED_DESC_F_AVAIL | 1 << VRING_PACKED_DESC_F_USED)

struct vring_part {
	const void *at;
	uint32_t len;
	bool device_writes;
};

union vring_table {
	struct vring_desc split[VRING_PARTS];
	struct vring_packed_desc packed[VRING_PARTS];
};

/* The three areas, for either kind of ring. */
static union {
	struct vring_desc split[VRING_SLOTS];
	struct vring_packed_desc packed[VRING_SLOTS];
} vring_desc __attribute__((aligned(4096)));
static union {
	struct {
		uint16_t flags, idx, ring[VRING_SLOTS], used_event;
	} split;
	struct vring_packed_desc_event packed;
} vring_driver __attribute__((aligned(64)));
static union {
	struct {
		uint16_t flags, idx;
		struct vring_used_elem ring[VRING_SLOTS];
		uint16_t avail_event;
	} split;
	struct vring_packed_desc_event packed;
} vring_device __attribute__((aligned(64)));

static union vring_table vring_tables[VRING_SLOTS] __attribute__((aligned(64)));

static struct {
	bool packed, event_idx;
	uint16_t next; /* where the next one is made available */
	uint16_t told; /* where it was when the device was last thought of */
	uint16_t seen; /* where the next one used will be */
	uint64_t bell;
	bool bell_32; /* it is 32 bits wide, not 16 */
	uint32_t rings;
} vring_state;

static void vring_slot(unsigned int slot, const struct vring_part *parts)
{
	union vring_table *t = &vring_tables[slot];

	for (unsigned int i = 0; i < VRING_PARTS; i++) {
		const uint16_t write = parts[i].device_writes ? VRING_DESC_F_WRITE : 0;

		if (vring_state.packed) {
			t->packed[i].addr = (uintptr_t)parts[i].at;
			t->packed[i].len = parts[i].len;
			t->packed[i].flags = write;
		} else {
			t->split[i].addr = (uintptr_t)parts[i].at;
			t->split[i].len = parts[i].len;
			t->split[i].flags = write | (i + 1 < VRING_PARTS ? VRING_DESC_F_NEXT : 0);
			t->split[i].next = (uint16_t)(i + 1);
		}
	}
	if (!vring_state.packed)
		vring_desc.split[slot] =
			(struct vring_desc){(uintptr_t)t, sizeof(*t), VRING_DESC_F_INDIRECT, 0};
}

/* The flags of a packed descriptor that is available at @position; used ones have both equal. */
static inline uint16_t vring_flags(uint16_t position, bool used)
{
	const bool wrap = !(position / VRING_SLOTS & 1);
	const bool second = used ? wrap : !wrap;

	return (uint16_t)(wrap << VRING_PACKED_DESC_F_AVAIL | second << VRING_PACKED_DESC_F_USED);
}

/* The device may have it from here on, or not before vring_publish(). */
static inline void vring_submit(unsigned int slot)
{
	const uint16_t at = vring_state.next++;
	struct vring_packed_desc *d = &vring_desc.packed[at % VRING_SLOTS];

	if (!vring_state.packed) {
		vring_driver.split.ring[at % VRING_SLOTS] = (uint16_t)slot;
		return;
	}
	d->addr = (uintptr_t)&vring_tables[slot];
	d->len = sizeof(vring_tables[slot]);
	d->id = (uint16_t)slot;
	__atomic_store_n(&d->flags, vring_flags(at, false) | VRING_DESC_F_INDIRECT,
			 __ATOMIC_RELEASE);
}

/* Whether the device wants to hear of what came behind @before (2.7.10, 2.8.21). */
static inline bool vring_wanted(uint16_t before)
{
	const uint16_t count = vring_state.next - before;
	uint16_t event, flags;

	if (!vring_state.packed) {
		event = __atomic_load_n(&vring_device.split.avail_event, __ATOMIC_RELAXED);
		flags = __atomic_load_n(&vring_device.split.flags, __ATOMIC_RELAXED);
		if (!vring_state.event_idx)
			return !(flags & VRING_USED_F_NO_NOTIFY);
		return (uint16_t)(vring_state.next - event - 1) < count;
	}
	flags = __atomic_load_n(&vring_device.packed.flags, __ATOMIC_RELAXED);
	event = __atomic_load_n(&vring_device.packed.off_wrap, __ATOMIC_RELAXED);
	if (flags != VRING_PACKED_EVENT_FLAG_DESC)
		return flags == VRING_PACKED_EVENT_FLAG_ENABLE;
	/* Two rounds are what can be told apart. */
	event = (uint16_t)((event & 0x7fff) + (event >> 15 ? 0 : VRING_SLOTS));
	return (uint16_t)(vring_state.next - event - 1) % (2 * VRING_SLOTS) < count;
}

static inline void vring_publish(void)
{
	const uint16_t before = vring_state.told;

	vring_state.told = vring_state.next;
	if (before == vring_state.next)
		return;
	if (!vring_state.packed)
		__atomic_store_n(&vring_driver.split.idx, vring_state.next, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!vring_wanted(before))
		return;
	vring_state.rings++;
	if (vring_state.bell_32)
		mmio_write32(vring_state.bell, 0);
	else
		mmio_write16(vring_state.bell, 0);
}

/* The next slot that the device has used, and how many bytes it says to have written; -1: none. */
static inline int vring_reap(uint32_t *len)
{
	const uint16_t at = vring_state.seen, both = vring_flags(at, true);
	const struct vring_packed_desc *d = &vring_desc.packed[at % VRING_SLOTS];
	const struct vring_used_elem *e = &vring_device.split.ring[at % VRING_SLOTS];

	if (!vring_state.packed) {
		if (__atomic_load_n(&vring_device.split.idx, __ATOMIC_ACQUIRE) == at)
			return -1;
		vring_state.seen++;
		*len = e->len;
		return (int)e->id;
	}
	if ((__atomic_load_n(&d->flags, __ATOMIC_ACQUIRE) & VRING_BOTH) != both)
		return -1;
	vring_state.seen++;
	*len = d->len;
	return d->id;
}

/* Interrupts for what is used from now on, or none. Polling needs none. */
static inline void vring_interrupts(bool on)
{
	if (vring_state.packed) {
		__atomic_store_n(&vring_driver.packed.flags,
				 on ? VRING_PACKED_EVENT_FLAG_ENABLE
				    : VRING_PACKED_EVENT_FLAG_DISABLE,
				 __ATOMIC_SEQ_CST);
		return;
	}
	/* Without EVENT_IDX the one counts, with it the other: half a round of the index away. */
	__atomic_store_n(&vring_driver.split.flags, on ? 0 : VRING_AVAIL_F_NO_INTERRUPT,
			 __ATOMIC_SEQ_CST);
	__atomic_store_n(&vring_driver.split.used_event,
			 (uint16_t)(vring_state.seen + (on ? 0 : 0x8000)), __ATOMIC_SEQ_CST);
}

#endif
