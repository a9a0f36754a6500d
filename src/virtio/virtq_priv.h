/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the two ring formats share. virtq.c has the queue and what a chain is made of, virtq_split.c
 * and virtq_packed.c the rings.
 *
 * A ring is accessed by the atomics below alone, since a driver writes to it at any moment. The
 * structures are little-endian, as is every host that skep runs on.
 *
 * Two rules order everything. What the driver wrote before it made a chain available is read behind
 * the acquiring load that finds the chain. And each side publishes first and looks second: a
 * sequentially consistent store (of an index, of flags, of an event) followed by a sequentially
 * consistent load of what the other side publishes, so that of two sides that do this at once at
 * least one sees the other (2.7.13.4, 2.8.21.2).
 */
#ifndef SKEP_VIRTQ_PRIV_H
#define SKEP_VIRTQ_PRIV_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "ring_math.h"
#include "skep/gmem.h"
#include "skep/virtq.h"

#define load_relaxed(p)     __atomic_load_n((p), __ATOMIC_RELAXED)
#define load_acquire(p)     __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define load_ordered(p)     __atomic_load_n((p), __ATOMIC_SEQ_CST)
#define store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define store_ordered(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)

/* A chain that was handed back, as the driver will see it. */
struct virtq_used {
	uint32_t len;
	uint16_t id;
	uint16_t count; /* ring entries (packed) */
	bool done;      /* in virtq.early: handed back before its turn */
};

struct split_ring {
	const struct vring_desc *desc;
	const struct vring_avail *avail;
	struct vring_used *used;
	const uint16_t *used_event;
	uint16_t *avail_event;
	uint16_t avail_seen; /* the driver's index when it was last looked at */
	uint16_t published;  /* the device's index that the driver knows */
};

struct packed_ring {
	struct vring_packed_desc *desc;
	const uint32_t *driver_event; /* struct vring_packed_desc_event, as one word */
	uint32_t *device_event;
	uint32_t device_event_now;
	uint16_t taken;   /* entries popped that the driver did not get back */
	uint16_t pending; /* entries used and not published */
	/* The first descriptor of those: as long as its flags are not written, none is seen. */
	uint16_t *first;
	uint16_t first_flags;
};

struct virtq {
	struct gmem *mem;
	const struct gmem_region *region; /* where the last buffer was */
	const char *broken;
	struct virtq_features features;
	unsigned int inflight;
	uint16_t size;
	uint16_t avail;      /* next to pop; as in struct virtq_position */
	uint16_t used;       /* next to fill */
	uint16_t popped;     /* chains, free-running: the next one's order */
	uint16_t next_order; /* in order: whose turn it is to be used */
	uint16_t early_mask;
	union {
		struct split_ring split;
		struct packed_ring packed;
	};
	unsigned int size_max;
	struct virtq_used early[]; /* early_mask + 1 by their order modulo that */
};

/* Nothing more is taken from the ring. Returns -EPROTO. */
int virtq_break(struct virtq *vq, const char *reason);

/* The hva of an indirect table of @len bytes, which may be any; NULL when the ring is broken. */
const void *virtq_table(struct virtq *vq, uint64_t gpa, uint32_t len);

/* A descriptor of either format: the buffer's address and the rest. */
struct virtq_words {
	uint64_t addr, rest;
};

/*
 * Takes a copy of the descriptor at @from. Those of a ring are aligned; the specification does not
 * say that indirect tables are.
 */
static inline struct virtq_words virtq_fetch(const void *from)
{
	const uint64_t *words = from;
	struct virtq_words w;

	if ((uintptr_t)from % sizeof(*words) == 0) {
		w.addr = load_relaxed(&words[0]);
		w.rest = load_relaxed(&words[1]);
	} else {
		memcpy(&w, from, sizeof(w));
		/* The compiler is not to read it again in place of the copy. */
		__asm__ volatile("" ::: "memory");
	}
	return w;
}

/* Adds a buffer to @chain. 0, or -EPROTO. */
int virtq_gather(struct virtq *vq, struct virtq_chain *chain, unsigned int room, uint64_t gpa,
		 uint32_t len, bool writable);

int split_start(struct virtq *vq, const struct virtq_setup *setup, struct err *err);
int split_pop(struct virtq *vq, struct virtq_chain *chain, unsigned int room);
void split_head(const struct virtq *vq, const struct virtq_chain *chain, struct virtq_head *head);
void split_unpop(struct virtq *vq);
void split_use(struct virtq *vq, const struct virtq_used *used);
bool split_publish(struct virtq *vq);
bool split_pending(const struct virtq *vq);
void split_disarm(struct virtq *vq);
bool split_arm(struct virtq *vq);

int packed_start(struct virtq *vq, const struct virtq_setup *setup, struct err *err);
int packed_pop(struct virtq *vq, struct virtq_chain *chain, unsigned int room);
void packed_head(const struct virtq *vq, const struct virtq_chain *chain, struct virtq_head *head);
void packed_unpop(struct virtq *vq, const struct virtq_chain *chain);
void packed_use(struct virtq *vq, const struct virtq_used *used);
bool packed_publish(struct virtq *vq);
bool packed_pending(const struct virtq *vq);
void packed_disarm(struct virtq *vq);
bool packed_arm(struct virtq *vq);

/* An area of the ring, aligned and in RAM as a whole; NULL and the reason if it cannot be. */
void *virtq_area(struct virtq *vq, const char *name, uint64_t gpa, uint64_t len, unsigned int align,
		 struct err *err);

#endif
