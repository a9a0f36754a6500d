/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A request on its way: piece by piece to the files, to its completion.
 *
 * Invariants. A request is in one place at a time: waiting for the bounce buffer, with the worker
 * by its io, or with the overlay's flush. It has one transfer under way at
 * most, so its iovecs are cut and consumed in place. What it wrote is entered into the overlay when
 * all of it is in the file, not before.
 *
 * Runs on the queue's worker.
 */
#include <fcntl.h>
#include <linux/falloc.h>

#include "disk_priv.h"
#include "skep/bits.h"
#include "skep/err.h"

/* The kernel transfers less than 2 GiB at once. */
#define TRANSFER_MAX GIB(1)

static void step(struct disk_request *r);

static struct disk_request *request_of(struct io *io)
{
	return container_of(io, struct disk_request, io);
}

void request_finish(struct disk_request *r, int result)
{
	r->done(r, result);
}

static void finish_now(struct io *io, int result)
{
	struct disk_request *r = request_of(io);

	(void)result;
	request_finish(r, r->result);
}

/* For what is known at the start: a completion is never called from within it. */
static void finish_soon(struct disk_request *r, int result)
{
	r->result = result;
	r->io.done = finish_now;
	io_timeout(r->queue->worker, &r->io, 0);
}

/* Durable data */

static void synced(struct io *io, int result)
{
	struct disk_request *r = request_of(io);

	if (result < 0)
		atomic_store(&r->queue->disk->sync_failed, true);
	request_finish(r, result);
}

static void flush(struct disk_request *r)
{
	struct disk *d = r->queue->disk;

	if (d->info.read_only || d->info.cache == DISK_UNSAFE ||
	    (d->overlay && !overlay_kept(d->overlay))) {
		finish_soon(r, 0);
	} else if (atomic_load(&d->sync_failed)) {
		finish_soon(r, -EIO);
	} else if (d->overlay) {
		overlay_flush(d->overlay, r);
	} else {
		r->io.done = synced;
		io_sync(r->queue->worker, &r->io, r->queue->base, true);
	}
}

/* All of @r is in the file. From a completion. */
static void written(struct disk_request *r)
{
	struct disk *d = r->queue->disk;

	if (d->overlay)
		overlay_add(d->overlay, r->start, r->length);
	if (atomic_load(&d->write_through) && d->info.cache != DISK_UNSAFE)
		flush(r);
	else
		request_finish(r, 0);
}

/* Transfers */

/* Where the next bytes are; how many of them are there together. */
static uint64_t locate(struct disk_request *r)
{
	struct disk_queue *q = r->queue;
	struct overlay *o = q->disk->overlay;
	uint64_t run = r->left;

	r->slot = q->base;
	r->file_offset = r->offset;
	if (o && (r->op != DISK_OP_READ || overlay_has(o, r->offset, r->left, &run))) {
		r->slot = q->top;
		r->file_offset = overlay_at(o, r->offset);
	}
	return run;
}

/* Cuts the iovecs to the next @len bytes; returns how many those are. */
static unsigned int clip(struct disk_request *r, size_t len)
{
	unsigned int n = 0;
	size_t have = 0;

	while (have < len)
		have += r->iov[n++].iov_len;
	r->clipped = have - len;
	r->clip_at = n - 1;
	r->iov[r->clip_at].iov_len -= r->clipped;
	return n;
}

static void unclip(struct disk_request *r)
{
	r->iov[r->clip_at].iov_len += r->clipped;
	r->clipped = 0;
}

/* @len bytes have been transferred. */
static void advance(struct disk_request *r, size_t len)
{
	r->offset += len;
	r->left -= len;
	while (len && len >= r->iov->iov_len) {
		len -= r->iov->iov_len;
		r->iov++;
		r->count--;
	}
	if (len) {
		r->iov->iov_base = (uint8_t *)r->iov->iov_base + len;
		r->iov->iov_len -= len;
	}
}

/* Copies between the request's memory and the bounce buffer. */
static void bounce_copy(struct disk_request *r, size_t len)
{
	uint8_t *at = r->queue->bounce;

	for (unsigned int i = 0; len; i++) {
		size_t n = MIN(len, r->iov[i].iov_len);

		if (r->op == DISK_OP_WRITE)
			memcpy(at, r->iov[i].iov_base, n);
		else
			memcpy(r->iov[i].iov_base, at, n);
		at += n;
		len -= n;
	}
}

/* Whoever waits for the bounce buffer goes on, until one takes it. */
static void release_bounce(struct disk_queue *q)
{
	struct disk_request *next;

	q->bouncing = NULL;
	while (!q->bouncing && (next = request_pop(&q->bounce_queue)))
		step(next);
}

static void transferred(struct io *io, int result)
{
	struct disk_request *r = request_of(io);
	struct disk_queue *q = r->queue;
	bool bounced = r->bounced;

	r->bounced = false;
	if (!bounced)
		unclip(r);
	else if (result > 0 && r->op == DISK_OP_READ)
		bounce_copy(r, (size_t)result);
	if (result > 0)
		advance(r, (size_t)result);
	if (bounced)
		release_bounce(q);
	/* Nothing at all: the file ends here. A part of a block: it ends within. */
	if (!result || (result > 0 && r->left % q->disk->dio_align))
		result = -EIO;
	if (result < 0)
		request_finish(r, result);
	else
		step(r);
}

static void bounce(struct disk_request *r, uint64_t run)
{
	struct disk_queue *q = r->queue;
	uint32_t len = (uint32_t)MIN(run, CHUNK);

	if (q->bouncing) {
		request_append(&q->bounce_queue, r);
		return;
	}
	q->bouncing = r;
	r->bounced = true;
	if (r->op == DISK_OP_WRITE) {
		bounce_copy(r, len);
		io_write(q->worker, &r->io, r->slot, q->bounce, len, r->file_offset);
	} else {
		io_read(q->worker, &r->io, r->slot, q->bounce, len, r->file_offset);
	}
}

static bool memory_aligned(const struct disk_request *r)
{
	const struct disk *d = r->queue->disk;

	if (!d->direct)
		return true;
	for (unsigned int i = 0; i < r->count; i++)
		if ((uintptr_t)r->iov[i].iov_base % d->mem_align ||
		    r->iov[i].iov_len % d->dio_align)
			return false;
	return true;
}

static void transfer(struct disk_request *r)
{
	struct worker *w = r->queue->worker;
	uint64_t run = MIN(locate(r), TRANSFER_MAX);
	unsigned int n;

	r->io.done = transferred;
	if (!memory_aligned(r)) {
		bounce(r, run);
		return;
	}
	n = clip(r, run);
	if (r->op == DISK_OP_WRITE)
		io_writev(w, &r->io, r->slot, r->iov, n, r->file_offset);
	else
		io_readv(w, &r->io, r->slot, r->iov, n, r->file_offset);
}

/* Ranges */

/* The file system or the device has no such operation, or not for this range. */
static bool unsupported(int result)
{
	return result == -EOPNOTSUPP || result == -EINVAL || result == -ENOSYS || result == -ENODEV;
}

static void wrote_zeroes(struct io *io, int result)
{
	struct disk_request *r = request_of(io);

	if (result <= 0) {
		request_finish(r, result ? result : -EIO);
		return;
	}
	r->offset += (uint64_t)result;
	r->left -= (uint64_t)result;
	if (r->left % r->queue->disk->dio_align)
		request_finish(r, -EIO);
	else
		step(r);
}

static void write_zeroes(struct disk_request *r)
{
	struct disk_queue *q = r->queue;

	r->io.done = wrote_zeroes;
	io_write(q->worker, &r->io, r->slot, q->zeroes, (uint32_t)MIN(r->left, CHUNK),
		 r->file_offset);
}

static void range_done(struct io *io, int result)
{
	struct disk_request *r = request_of(io);

	if (r->op == DISK_OP_DISCARD) {
		request_finish(r, unsupported(result) ? 0 : result);
	} else if (unsupported(result)) {
		r->by_writing = true;
		step(r);
	} else if (result < 0) {
		request_finish(r, result);
	} else {
		written(r);
	}
}

static void range(struct disk_request *r)
{
	int mode = FALLOC_FL_KEEP_SIZE;

	if (r->op == DISK_OP_DISCARD || r->unmap)
		mode |= FALLOC_FL_PUNCH_HOLE;
	else
		mode |= FALLOC_FL_ZERO_RANGE;
	r->io.done = range_done;
	io_fallocate(r->queue->worker, &r->io, r->slot, mode, r->file_offset, r->left);
}

/* From a completion, or with something left to do. */
static void step(struct disk_request *r)
{
	if (!r->left) {
		if (r->op == DISK_OP_READ)
			request_finish(r, 0);
		else
			written(r);
		return;
	}
	if (r->op == DISK_OP_READ || r->op == DISK_OP_WRITE) {
		transfer(r);
		return;
	}
	locate(r);
	if (r->by_writing)
		write_zeroes(r);
	else
		range(r);
}

static void run(struct disk_request *r)
{
	if (r->op == DISK_OP_FLUSH)
		flush(r);
	else if (!r->length || (r->op == DISK_OP_DISCARD && !r->queue->disk->info.discard))
		finish_soon(r, 0);
	else
		step(r);
}

/* Starting */

static int check(const struct disk_request *r)
{
	const struct disk_info *info = &r->queue->disk->info;

	if (r->op == DISK_OP_FLUSH)
		return 0;
	if (r->op != DISK_OP_READ && info->read_only)
		return -EROFS;
	if (!range_fits(r->start, r->length, info->size) || (r->start | r->length) % info->align)
		return -EINVAL;
	return 0;
}

static void start(struct disk_queue *q, struct disk_request *r, enum disk_op op, uint64_t offset,
		  uint64_t length)
{
	int rc;

	r->queue = q;
	r->op = (uint8_t)op;
	r->start = r->offset = offset;
	r->length = r->left = length;
	r->bounced = false;
	r->by_writing = false;
	rc = check(r);
	if (rc) {
		finish_soon(r, rc);
		return;
	}
	limit_spend(&q->disk->limit, op, length);
	run(r);
}

static void start_transfer(struct disk_queue *q, struct disk_request *r, enum disk_op op,
			   struct iovec *iov, unsigned int count, uint64_t offset)
{
	uint64_t length = 0;

	r->iov = iov;
	r->count = count;
	for (unsigned int i = 0; i < count; i++)
		length += iov[i].iov_len;
	start(q, r, op, offset, length);
}

void disk_read(struct disk_queue *q, struct disk_request *r, struct iovec *iov, unsigned int count,
	       uint64_t offset)
{
	start_transfer(q, r, DISK_OP_READ, iov, count, offset);
}

void disk_write(struct disk_queue *q, struct disk_request *r, struct iovec *iov, unsigned int count,
		uint64_t offset)
{
	start_transfer(q, r, DISK_OP_WRITE, iov, count, offset);
}

void disk_flush(struct disk_queue *q, struct disk_request *r)
{
	start(q, r, DISK_OP_FLUSH, 0, 0);
}

void disk_discard(struct disk_queue *q, struct disk_request *r, uint64_t offset, uint64_t length)
{
	start(q, r, DISK_OP_DISCARD, offset, length);
}

void disk_write_zeroes(struct disk_queue *q, struct disk_request *r, uint64_t offset,
		       uint64_t length, bool unmap)
{
	r->unmap = unmap;
	start(q, r, DISK_OP_ZERO, offset, length);
}
