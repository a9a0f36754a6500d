/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtq - the device's side of a virtqueue, split or packed.
 *
 * Follows the Virtual I/O Device specification 1.2, sections 2.6 to 2.10. Rings, indirect tables,
 * event index and in-order completion are hidden here: a device pops chains, pushes them back with
 * the bytes it wrote, and publishes what it pushed.
 *
 * Everything in a ring is the driver's to write at any moment. Each index, address and length is
 * fetched once, checked once and bounded; a chain carries iovecs that lie wholly in guest RAM. What
 * cannot be is -EPROTO, with a reason in @broken, and the queue gives nothing more until it is
 * started anew.
 *
 * One thread at a time: the worker that owns the queue, or whoever starts and stops it.
 */
#ifndef SKEP_VIRTQ_H
#define SKEP_VIRTQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "skep/state.h"

struct err;
struct gmem;

#define VIRTQ_SIZE_MAX 32768

/* What the driver set up. Guest-visible, and saved: no booleans. */
struct virtq_setup {
	uint64_t desc;   /* gpa of the descriptor area */
	uint64_t driver; /* gpa of the driver area: available ring, or driver event suppression */
	uint64_t device; /* gpa of the device area: used ring, or device event suppression */
	uint16_t size;   /* entries; a power of two when split */
	uint16_t pad[3];
};

/* Which of the negotiated features bear on the ring. */
struct virtq_features {
	bool packed;    /* VIRTIO_F_RING_PACKED */
	bool event_idx; /* VIRTIO_F_EVENT_IDX */
	bool indirect;  /* VIRTIO_F_INDIRECT_DESC */
	bool in_order;  /* VIRTIO_F_IN_ORDER */
};

/*
 * Where a queue stands, for saving it and going on; free-running, or with the wrap counter in bit
 * 15. Equal once all chains that were popped are pushed and published, and only from there can a
 * queue go on: nothing tells which chains somebody else had.
 */
struct virtq_position {
	uint16_t avail; /* next to pop */
	uint16_t used;  /* next to fill */
};

/* A buffer of the driver's: first what the device reads, then what it writes. */
struct virtq_chain {
	struct iovec *iov; /* the caller's room; all in guest RAM */
	uint16_t out;      /* iovecs that the device reads */
	uint16_t in;       /* iovecs, behind those, that it writes */
	uint32_t out_len;  /* bytes of each; together less than 4 GiB */
	uint32_t in_len;
	/* Private. */
	uint16_t id;    /* head descriptor, or buffer ID */
	uint16_t count; /* ring entries that it takes (packed) */
	uint16_t order; /* which one it was, counted by pops (in order) */
};

struct virtq;

/* Memory for a queue of at most @size entries: everything that it will need. */
int virtq_create(struct virtq **vq, struct gmem *mem, unsigned int size, struct err *err);
void virtq_destroy(struct virtq *vq);

/*
 * Starts it at @from (NULL: the beginning). -EINVAL and the reason for a size that cannot be,
 * misaligned areas, areas outside RAM, or a @from that was not drained. Notifications by the driver
 * are on. What was in flight before is forgotten.
 */
int virtq_start(struct virtq *vq, const struct virtq_setup *setup,
		const struct virtq_features *features, const struct virtq_position *from,
		struct err *err);
/*
 * Tells in @at (which may be NULL) where it stood. To go on from there, drain it first: push all
 * chains and publish them. Those still in flight are lost to the driver, as a reset wants it; they
 * are no longer to be pushed.
 */
void virtq_stop(struct virtq *vq, struct virtq_position *at);

/*
 * The next chain: 1; 0 when there is none; -EPROTO when the ring is broken. @chain->iov has @room
 * iovecs. A chain that would need more, or more descriptors than the queue has entries, is broken.
 * Descriptors of no bytes are left out, so that a chain may have no iovecs. What is in flight when
 * a ring breaks can be pushed and published as ever.
 */
int virtq_pop(struct virtq *vq, struct virtq_chain *chain, unsigned int room);
/* Takes back the last pop, as if it had not been. */
void virtq_unpop(struct virtq *vq, const struct virtq_chain *chain);
/* Hands @chain back: @written bytes of it, no more than in_len. Not seen before virtq_publish(). */
void virtq_push(struct virtq *vq, const struct virtq_chain *chain, uint32_t written);
/* Makes all that was pushed visible. True when the driver wants to be interrupted for it. */
bool virtq_publish(struct virtq *vq);

/* A chain's first descriptor. */
struct virtq_head {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t number; /* in the table, or the ring (packed) */
};
/*
 * What it says at this moment of the chain popped last, or of one that is about to be pushed
 * (@done). False where it cannot be told: a packed ring's device writes over it.
 */
bool virtq_head(const struct virtq *vq, const struct virtq_chain *chain, bool done,
		struct virtq_head *head);

/* Whether virtq_pop() has something to say. A glance: what it sees may be a moment old. */
bool virtq_pending(const struct virtq *vq);

/* Asks for no notifications of new chains, while the device looks by itself. A hint. */
void virtq_disarm(struct virtq *vq);
/* Asks for a notification of the next chain; true when there is one already: pop again. */
bool virtq_arm(struct virtq *vq);

/* Chains popped and not yet pushed. */
unsigned int virtq_inflight(const struct virtq *vq);
/* One sentence on what broke it; NULL while nothing has. */
const char *virtq_broken(const struct virtq *vq);

/* Helpers for a chain's bytes: @from is an offset. Return how many bytes there were. */
size_t virtq_chain_read(const struct virtq_chain *chain, size_t from, void *to, size_t len);
size_t virtq_chain_write(const struct virtq_chain *chain, size_t from, const void *data,
			 size_t len);

#endif
