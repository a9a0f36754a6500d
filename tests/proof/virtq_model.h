/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtqueue and what is around it, as far as proofs of rings need it: RAM of any size at any
 * address, and a chain with room for any number of buffers. virtq.c is included as it is.
 *
 * There is one region of RAM: code that takes each as it comes knows nothing of a second.
 */
#ifndef SKEP_VIRTQ_MODEL_H
#define SKEP_VIRTQ_MODEL_H

#include "../../src/virtio/virtq.c"
#include "proof.h"

struct gmem {
	struct gmem_region region;
};

struct model {
	struct gmem mem;
	struct virtq_chain chain;
	unsigned int room_of_chain;
	union {
		struct virtq vq;
		char room[sizeof(struct virtq) + sizeof(struct virtq_used)];
	};
};

/* In the host it is aligned as it is for the guest. */
static void *memory_at(uint64_t gpa, uint64_t size)
{
	void *hva = any_memory(size);

	assume(((uintptr_t)hva ^ gpa) % 4096 == 0);
	return hva;
}

static void *area(unsigned int align, uint64_t size)
{
	void *hva = any_memory(size);

	assume((uintptr_t)hva % align == 0);
	return hva;
}

unsigned int gmem_regions(const struct gmem *mem, const struct gmem_region **regions)
{
	*regions = &mem->region;
	return 1;
}

void *gmem_hva(const struct gmem *mem, uint64_t gpa, uint64_t len)
{
	(void)mem;
	return any_bool() ? memory_at(gpa, len) : NULL;
}

static bool gmem_iov_may(int n, unsigned int room)
{
	return n == -EFAULT || n == -E2BIG || (n >= 0 && (unsigned int)n <= room);
}

int gmem_iov(const struct gmem *mem, uint64_t gpa, uint64_t len, struct iovec *iov,
	     unsigned int room)
{
	const int n = (int)any_u32();

	(void)mem;
	(void)gpa;
	(void)len;
	/* The caller owns as many as it says. */
	claim(bytes_at(iov) >= room * sizeof(*iov));
	assume(gmem_iov_may(n, room));
	return n;
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
	(void)err;
	(void)fmt;
	return -code;
}

/* In place of virtq_gather() where it is not what is proved: gather.c does that. */
static int any_gather(struct virtq *vq, struct virtq_chain *chain, unsigned int room, uint64_t gpa,
		      uint32_t len, bool writable)
{
	(void)chain;
	(void)room;
	(void)gpa;
	(void)len;
	(void)writable;
	return any_bool() ? virtq_break(vq, "it cannot be a part of the chain") : 0;
}

static void any_ram(struct model *m)
{
	m->mem.region.gpa = any_u64();
	m->mem.region.size = any_u64();
	m->mem.region.hva = memory_at(m->mem.region.gpa, m->mem.region.size);
	m->vq.mem = &m->mem;
	m->vq.region = &m->mem.region;
	m->vq.early_mask = 0;
	m->vq.size_max = any_u32();
	assume(m->vq.size_max <= VIRTQ_SIZE_MAX);
}

/* Starts a queue in any way. False if that is refused. */
static bool start_any(struct model *m, bool packed)
{
	const struct virtq_setup setup = {any_u64(), any_u64(), any_u64(), any_u16(), {0}};
	const struct virtq_features features = {packed, any_bool(), any_bool(), false};
	const struct virtq_position from = {any_u16(), any_u16()};

	any_ram(m);
	return !virtq_start(&m->vq, &setup, &features, any_bool() ? &from : NULL, NULL);
}

/* A queue as it may be some time after it was started, but for its ring. */
static void any_started(struct model *m, bool packed)
{
	any_ram(m);
	m->vq.broken = any_bool() ? "it was broken before" : NULL;
	m->vq.features = (struct virtq_features){packed, any_bool(), any_bool(), false};
	m->vq.size = any_u16();
	assume(ring_size_valid(m->vq.size, packed));
	m->vq.avail = any_u16();
	m->vq.used = any_u16();
	m->vq.popped = any_u16();
	m->vq.inflight = any_u32();
}

static void any_room(struct model *m)
{
	m->room_of_chain = any_u32();
	m->chain.iov = any_memory((uint64_t)m->room_of_chain * sizeof(struct iovec));
}

#endif
