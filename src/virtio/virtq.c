/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtqueue as devices see it: starting and stopping, what a chain is made of, and completion in
 * order. The rings are in virtq_split.c and virtq_packed.c; virtq_priv.h has the rules for both.
 *
 * Runs on the thread that owns the queue. Follows the Virtual I/O Device specification 1.2; numbers
 * in brackets are its sections.
 *
 * Where drivers and devices disagree on the specification, a queue is lenient as vhost is: a
 * descriptor of no bytes adds nothing to its chain and its address is not looked at. It is strict
 * in what bounds its work: a chain has at most as many buffers as the queue has entries, those of
 * an indirect table counted (2.7.5.3.1, 2.8.17), and less than 4 GiB (2.7.5.2).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "virtq_priv.h"

int virtq_create(struct virtq **vq, struct gmem *mem, unsigned int size, struct err *err)
{
	unsigned int early = 1;
	struct virtq *q;

	*vq = NULL;
	if (!ring_size_valid(size, true))
		return err_set(err, EINVAL, "a virtqueue has 1 to %d entries, not %u",
			       VIRTQ_SIZE_MAX, size);
	while (early < size)
		early *= 2;
	q = calloc(1, sizeof(*q) + early * sizeof(q->early[0]));
	if (!q)
		return err_sys(err, ENOMEM, "a virtqueue of %u entries", size);
	q->mem = mem;
	q->size_max = size;
	q->early_mask = (uint16_t)(early - 1);
	*vq = q;
	return 0;
}

void virtq_destroy(struct virtq *vq)
{
	free(vq);
}

void *virtq_area(struct virtq *vq, const char *name, uint64_t gpa, uint64_t len, unsigned int align,
		 struct err *err)
{
	void *hva = NULL;

	if (gpa % align)
		err_set(err, EINVAL, "the queue's %s at %#llx is not aligned to %u bytes", name,
			(unsigned long long)gpa, align);
	else
		hva = gmem_hva(vq->mem, gpa, len);
	if (!hva && gpa % align == 0)
		err_set(err, EINVAL, "the queue's %s, %llu bytes at %#llx, is outside RAM", name,
			(unsigned long long)len, (unsigned long long)gpa);
	return hva;
}

static int check_start(const struct virtq *vq, const struct virtq_setup *setup, bool packed,
		       const struct virtq_position *from, struct err *err)
{
	if (!ring_size_valid(setup->size, packed))
		return err_set(err, EINVAL, "a %s queue cannot have %u entries",
			       packed ? "packed" : "split", setup->size);
	if (setup->size > vq->size_max)
		return err_set(err, EINVAL, "a queue of %u entries is larger than the device's %u",
			       setup->size, vq->size_max);
	if (!from)
		return 0;
	if (from->avail != from->used)
		return err_set(err, EINVAL,
			       "a queue cannot go on with chains that it does not have: next %#x "
			       "to take, %#x to give back",
			       from->avail, from->used);
	if (packed && !packed_valid(from->avail, setup->size))
		return err_set(err, EINVAL, "position %#x is not in a queue of %u entries",
			       from->avail, setup->size);
	return 0;
}

int virtq_start(struct virtq *vq, const struct virtq_setup *setup,
		const struct virtq_features *features, const struct virtq_position *from,
		struct err *err)
{
	const uint16_t first = features->packed ? PACKED_START : 0;
	const struct gmem_region *regions;
	int ret = check_start(vq, setup, features->packed, from, err);

	if (ret)
		return ret;
	for (unsigned int i = 0; i <= vq->early_mask; i++)
		vq->early[i].done = false;
	gmem_regions(vq->mem, &regions);
	vq->region = regions;
	vq->broken = NULL;
	vq->features = *features;
	vq->inflight = 0;
	vq->size = setup->size;
	vq->avail = from ? from->avail : first;
	vq->used = from ? from->used : first;
	vq->popped = 0;
	vq->next_order = 0;
	return features->packed ? packed_start(vq, setup, err) : split_start(vq, setup, err);
}

void virtq_stop(struct virtq *vq, struct virtq_position *at)
{
	if (at)
		*at = (struct virtq_position){.avail = vq->avail, .used = vq->used};
}

int virtq_break(struct virtq *vq, const char *reason)
{
	vq->broken = reason;
	return -EPROTO;
}

const char *virtq_broken(const struct virtq *vq)
{
	return vq->broken;
}

unsigned int virtq_inflight(const struct virtq *vq)
{
	return vq->inflight;
}

/* Describes what does not lie in the region that the buffer before it was in. */
static int locate(struct virtq *vq, uint64_t gpa, uint32_t len, struct iovec *iov,
		  unsigned int room)
{
	const struct gmem_region *regions;
	unsigned int count = gmem_regions(vq->mem, &regions);

	for (unsigned int i = 0; i < count; i++)
		if (gpa - regions[i].gpa < regions[i].size)
			vq->region = &regions[i];
	return gmem_iov(vq->mem, gpa, len, iov, room);
}

int virtq_gather(struct virtq *vq, struct virtq_chain *chain, unsigned int room, uint64_t gpa,
		 uint32_t len, bool writable)
{
	const unsigned int have = (unsigned int)chain->out + chain->in;
	const uint64_t at = gpa - vq->region->gpa;
	int n = 1;

	/* 2.7.4.2, 2.8.17 */
	if (!writable && chain->in)
		return virtq_break(vq, "a buffer to read follows one to write");
	if (!len)
		return 0;
	if ((uint64_t)chain->out_len + chain->in_len + len > UINT32_MAX)
		return virtq_break(vq, "a chain has 4 GiB or more"); /* 2.7.5.2 */
	if (have < room && range_fits(at, len, vq->region->size))
		chain->iov[have] = (struct iovec){(char *)vq->region->hva + at, len};
	else
		n = locate(vq, gpa, len, chain->iov + have, room - have);
	if (n == -E2BIG)
		return virtq_break(vq, "a chain has more buffers than the device takes");
	if (n < 0)
		return virtq_break(vq, "a buffer is outside RAM");
	if (writable) {
		chain->in = (uint16_t)(chain->in + n);
		chain->in_len += len;
	} else {
		chain->out = (uint16_t)(chain->out + n);
		chain->out_len += len;
	}
	return 0;
}

const void *virtq_table(struct virtq *vq, uint64_t gpa, uint32_t len)
{
	const uint64_t at = gpa - vq->region->gpa;
	const void *hva;

	if (!len || len % sizeof(struct vring_desc)) {
		virtq_break(vq, "the length of an indirect table is not a multiple of 16");
		return NULL;
	}
	if (range_fits(at, len, vq->region->size))
		return (const char *)vq->region->hva + at;
	hva = gmem_hva(vq->mem, gpa, len);
	if (!hva)
		virtq_break(vq, "an indirect table is outside RAM");
	return hva;
}

int virtq_pop(struct virtq *vq, struct virtq_chain *chain, unsigned int room)
{
	int ret;

	if (vq->broken)
		return -EPROTO;
	chain->out = 0;
	chain->in = 0;
	chain->out_len = 0;
	chain->in_len = 0;
	room = MIN(room, (unsigned int)UINT16_MAX);
	if (vq->features.packed)
		ret = packed_pop(vq, chain, room);
	else
		ret = split_pop(vq, chain, room);
	if (ret > 0) {
		chain->order = vq->popped++;
		vq->inflight++;
	}
	return ret;
}

bool virtq_head(const struct virtq *vq, const struct virtq_chain *chain, bool done,
		struct virtq_head *head)
{
	if (!vq->features.packed)
		split_head(vq, chain, head);
	else if (!done)
		packed_head(vq, chain, head);
	else
		return false;
	return true;
}

void virtq_unpop(struct virtq *vq, const struct virtq_chain *chain)
{
	vq->popped--;
	bug_on(!vq->inflight || chain->order != vq->popped);
	vq->inflight--;
	if (vq->features.packed)
		packed_unpop(vq, chain);
	else
		split_unpop(vq);
}

static void use(struct virtq *vq, const struct virtq_used *used)
{
	if (vq->features.packed)
		packed_use(vq, used);
	else
		split_use(vq, used);
}

/*
 * In order, one that is done before its turn waits in vq->early. At most vq->size chains are out at
 * a time, so that no two share a place there. Each has a used entry of its own: 2.7.9 and 2.8.8
 * would allow one for a batch, but that says nothing of the bytes written.
 */
void virtq_push(struct virtq *vq, const struct virtq_chain *chain, uint32_t written)
{
	const struct virtq_used used = {
		.len = written,
		.id = chain->id,
		.count = chain->count,
		.done = true,
	};
	struct virtq_used *next;

	bug_on(!vq->inflight || written > chain->in_len);
	vq->inflight--;
	if (!vq->features.in_order) {
		use(vq, &used);
		return;
	}
	vq->early[chain->order & vq->early_mask] = used;
	next = &vq->early[vq->next_order & vq->early_mask];
	while (next->done) {
		next->done = false;
		use(vq, next);
		next = &vq->early[++vq->next_order & vq->early_mask];
	}
}

bool virtq_publish(struct virtq *vq)
{
	return vq->features.packed ? packed_publish(vq) : split_publish(vq);
}

bool virtq_pending(const struct virtq *vq)
{
	if (vq->broken)
		return true;
	return vq->features.packed ? packed_pending(vq) : split_pending(vq);
}

void virtq_disarm(struct virtq *vq)
{
	if (vq->features.packed)
		packed_disarm(vq);
	else
		split_disarm(vq);
}

bool virtq_arm(struct virtq *vq)
{
	if (vq->broken)
		return false;
	return vq->features.packed ? packed_arm(vq) : split_arm(vq);
}

/* Copies between @buf and the bytes from @from on of the @n iovecs at @iov; @to_chain: into them.
 */
static size_t copy(const struct iovec *iov, unsigned int n, size_t from, void *buf, size_t len,
		   bool to_chain)
{
	size_t done = 0;

	for (; n && done < len; n--, iov++) {
		char *at = (char *)iov->iov_base + from;
		size_t part;

		if (from >= iov->iov_len) {
			from -= iov->iov_len;
			continue;
		}
		part = MIN(iov->iov_len - from, len - done);
		if (to_chain)
			memcpy(at, (char *)buf + done, part);
		else
			memcpy((char *)buf + done, at, part);
		done += part;
		from = 0;
	}
	return done;
}

size_t virtq_chain_read(const struct virtq_chain *chain, size_t from, void *to, size_t len)
{
	return copy(chain->iov, chain->out, from, to, len, false);
}

size_t virtq_chain_write(const struct virtq_chain *chain, size_t from, const void *data, size_t len)
{
	return copy(chain->iov + chain->out, chain->in, from, (void *)(uintptr_t)data, len, true);
}
