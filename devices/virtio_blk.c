/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio_blk - a disk: the virtio block device (Virtual I/O Device 1.2, section 5.2).
 *
 * A request is a header, data, and a status byte, cut into descriptors in any way. Each part of the
 * header is copied once and checked; data moves between guest memory and the image without a copy.
 * Requests complete in any order. What a request asks that cannot be gets VIRTIO_BLK_S_IOERR, and
 * what this device does not know VIRTIO_BLK_S_UNSUPP. Where there is no room for a status there is
 * nobody to tell: then the device needs a reset.
 *
 * When is a write durable (5.2.6.2)? With a write-back cache, behind a flush; with CONFIG_WCE the
 * driver chooses, and a driver that negotiates no FLUSH has no other way than writing through.
 * With cache=unsafe FLUSH is not offered, as the specification wants it of devices that lose data.
 *
 * Threads. A queue and its requests belong to the queue's worker. Configuration accesses, start
 * and reset come with the device's lock held, and touch of the disk only whether it writes through.
 */
#include <linux/virtio_blk.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "skep/bits.h"
#include "skep/device.h"
#include "skep/disk.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/log.h"
#include "skep/virtio.h"

#define BLK_ID         2
#define BLK_CLASS_CODE 0x018000 /* mass storage, of no kind that PCI knows */
#define BLK_QUEUES_MAX 32
/* Descriptors of data in a request; there are two more. All of them together are no more than the
 * queue is long, be they indirect (2.7.5.3.1), so a queue of 1 or 2 has no room for a request. */
#define BLK_SEGMENTS       254U
#define BLK_QUEUE_SIZE_MIN 4U
/* What one discard or write-zeroes request may cover. */
#define BLK_RANGE_SECTORS (MIB(256) / DISK_SECTOR)
/* Up to max_secure_erase_sectors, which not every version of the header has. */
#define BLK_CONFIG_SIZE (offsetof(struct virtio_blk_config, unused1) + 3)

struct blk_options {
	struct disk_options disk;
	const char *serial;
	uint64_t queues;
	bool iofixed;
};

struct blk_queue {
	struct blk *blk;
	struct virtio_queue *vq;
	struct disk_queue *disk;
	struct disk_waiter waiter;
};

struct blk {
	struct device dev; /* first */
	struct virtio virtio;
	struct blk_options options;
	struct disk *disk;
	struct blk_queue *queues;
	uint32_t seg_max;
	char id[VIRTIO_BLK_ID_BYTES];
	atomic_bool told; /* that the host fails; once is enough */
};

struct blk_request {
	struct virtio_request virtio; /* first */
	struct disk_request disk;
	uint8_t *status;
	uint32_t type;
	uint32_t data; /* bytes that the driver has room for, without the status */
	uint32_t done; /* of those, when the request succeeds */
	uint64_t sector;
};

static struct blk *to_blk(struct device *dev)
{
	return container_of(dev, struct blk, dev);
}

static struct blk *blk_of(struct virtio *v)
{
	return container_of(v, struct blk, virtio);
}

static struct blk_queue *queue_of(struct virtio_queue *q)
{
	return &blk_of(q->virtio)->queues[q->index];
}

static const struct option blk_options[] = {
	DISK_OPTIONS(struct blk_options, disk)
	/* of this model alone: */
	{.name = "serial",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct blk_options, serial),
	 .help = "what the guest sees as its serial number, up to 20 bytes (default: the id)"},
	{.name = "queues",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct blk_options, queues),
	 .fallback = "1",
	 .min = 1,
	 .max = BLK_QUEUES_MAX,
	 .help = "request queues, each with a thread on the host"},
	{.name = "iofixed",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct blk_options, iofixed),
	 .fallback = "off",
	 .help = "register guest memory, which is wired, with io_uring: direct I/O costs less"},
	OPTION_END,
};

/* Requests */

/*
 * Hands the chain back. The length says how many bytes were written from the beginning on
 * (2.7.8.2), so the status, which stands last, counts when all in front of it was written.
 */
static void finish(struct blk_request *r, uint8_t status)
{
	uint32_t written = status == VIRTIO_BLK_S_OK ? r->done : 0;

	*r->status = status;
	virtio_done(&r->virtio, written == r->data ? written + 1 : written);
}

/* What went wrong on the host's account, for the person: the first time. */
static void tell(struct blk *b, const struct blk_request *r, int result)
{
	static const char *const verbs[] = {
		[VIRTIO_BLK_T_IN] = "read",           [VIRTIO_BLK_T_OUT] = "write",
		[VIRTIO_BLK_T_FLUSH] = "flush",       [VIRTIO_BLK_T_DISCARD] = "discard",
		[VIRTIO_BLK_T_WRITE_ZEROES] = "zero",
	};
	struct err err;

	if (result == -EINVAL || result == -EROFS || atomic_exchange(&b->told, true))
		return;
	err_sys(&err, -result, "%s: cannot %s %s at sector %llu", b->dev.id, verbs[r->type],
		disk_path(b->disk), (unsigned long long)r->sector);
	err_advise(&err, "the guest gets an I/O error, and further ones are not told of");
	log_guest(b->dev.machine->log, LOG_WARN, "%s", err.text);
}

static void disk_done(struct disk_request *d, int result)
{
	struct blk_request *r = container_of(d, struct blk_request, disk);

	if (result)
		tell(blk_of(r->virtio.queue->virtio), r, result);
	finish(r, result ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
}

/* Reads and writes: the iovecs of the data alone are the disk's, which sees whether they fit. */
static void transfer(struct blk_queue *q, struct blk_request *r)
{
	struct virtq_chain *chain = &r->virtio.chain;
	bool in = r->type == VIRTIO_BLK_T_IN;
	struct iovec *iov = chain->iov + (in ? chain->out : 0);
	unsigned int n = in ? chain->in : chain->out;
	uint32_t len = in ? r->data : chain->out_len - (uint32_t)sizeof(struct virtio_blk_outhdr);
	size_t skip = in ? 0 : sizeof(struct virtio_blk_outhdr);

	if (r->sector > disk_info(q->blk->disk)->size / DISK_SECTOR) {
		finish(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	for (; n && skip >= iov->iov_len; n--)
		skip -= iov++->iov_len;
	if (skip) {
		iov->iov_base = (uint8_t *)iov->iov_base + skip;
		iov->iov_len -= skip;
	}
	if (in) {
		/* The status; where it stands alone, nothing is left of its iovec. */
		if (!--iov[n - 1].iov_len)
			n--;
		r->done = len;
		disk_read(q->disk, &r->disk, iov, n, r->sector * DISK_SECTOR);
	} else {
		disk_write(q->disk, &r->disk, iov, n, r->sector * DISK_SECTOR);
	}
}

/* 5.2.6.2: what flags are legal; one segment, as the configuration says. */
static void range(struct blk_queue *q, struct blk_request *r)
{
	const struct virtq_chain *chain = &r->virtio.chain;
	bool discard = r->type == VIRTIO_BLK_T_DISCARD;
	struct virtio_blk_discard_write_zeroes segment;
	uint32_t flags, sectors;
	uint64_t length;

	if (!virtio_has(&q->blk->virtio,
			discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES)) {
		finish(r, VIRTIO_BLK_S_UNSUPP);
		return;
	}
	if (chain->out_len != sizeof(struct virtio_blk_outhdr) + sizeof(segment)) {
		finish(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	virtq_chain_read(chain, sizeof(struct virtio_blk_outhdr), &segment, sizeof(segment));
	flags = le32toh(segment.flags);
	sectors = le32toh(segment.num_sectors);
	r->sector = le64toh(segment.sector);
	length = (uint64_t)sectors * DISK_SECTOR;
	if (flags & ~(discard ? 0U : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
		finish(r, VIRTIO_BLK_S_UNSUPP);
	else if (sectors > BLK_RANGE_SECTORS ||
		 r->sector > disk_info(q->blk->disk)->size / DISK_SECTOR)
		finish(r, VIRTIO_BLK_S_IOERR);
	else if (discard)
		disk_discard(q->disk, &r->disk, r->sector * DISK_SECTOR, length);
	else
		disk_write_zeroes(q->disk, &r->disk, r->sector * DISK_SECTOR, length,
				  flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP);
}

static void get_id(struct blk_queue *q, struct blk_request *r)
{
	if (r->data < VIRTIO_BLK_ID_BYTES) {
		finish(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	virtq_chain_write(&r->virtio.chain, 0, q->blk->id, VIRTIO_BLK_ID_BYTES);
	r->done = VIRTIO_BLK_ID_BYTES;
	finish(r, VIRTIO_BLK_S_OK);
}

static void dispatch(struct blk_queue *q, struct blk_request *r)
{
	switch (r->type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		transfer(q, r);
		break;
	case VIRTIO_BLK_T_FLUSH:
		disk_flush(q->disk, &r->disk);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		range(q, r);
		break;
	case VIRTIO_BLK_T_GET_ID:
		get_id(q, r);
		break;
	default:
		finish(r, VIRTIO_BLK_S_UNSUPP);
		break;
	}
}

static void handle(struct blk_queue *q, struct blk_request *r)
{
	const struct virtq_chain *chain = &r->virtio.chain;
	struct virtio_blk_outhdr header;
	const struct iovec *last;

	if (!chain->in_len) {
		virtio_break(&q->blk->virtio, "a request to the disk has no room for its status");
		virtio_done(&r->virtio, 0);
		return;
	}
	last = &chain->iov[chain->out + chain->in - 1];
	r->disk.done = disk_done;
	r->status = (uint8_t *)last->iov_base + last->iov_len - 1;
	r->data = chain->in_len - 1;
	r->done = 0;
	if (virtq_chain_read(chain, 0, &header, sizeof(header)) < sizeof(header)) {
		finish(r, VIRTIO_BLK_S_IOERR);
		return;
	}
	r->type = le32toh(header.type);
	r->sector = le64toh(header.sector);
	dispatch(q, r);
}

/* What a limit does not admit yet stays in the ring. */
static void blk_ready(struct virtio_queue *vq)
{
	struct blk_queue *q = queue_of(vq);
	struct virtio_request *r;

	while (disk_admits(q->disk, &q->waiter) && (r = virtio_take(vq)))
		handle(q, container_of(r, struct blk_request, virtio));
}

static void admitted(struct disk_waiter *w)
{
	virtio_again(container_of(w, struct blk_queue, waiter)->vq);
}

/* Configuration */

static struct virtio_blk_config *config_of(struct blk *b)
{
	return virtio_config(&b->virtio);
}

static uint8_t default_wce(const struct blk *b)
{
	return disk_info(b->disk)->cache == DISK_WRITEBACK;
}

static void fill_config(struct blk *b)
{
	const struct disk_info *info = disk_info(b->disk);
	uint32_t block = info->block_size;
	struct virtio_blk_config c = {
		.capacity = htole64(info->size / DISK_SECTOR),
		.seg_max = htole32(b->seg_max),
		.blk_size = htole32(block),
		.physical_block_exp = (uint8_t)__builtin_ctz(info->physical_size / block),
		.min_io_size = htole16((uint16_t)MIN(info->min_io / block, 0xffffU)),
		.opt_io_size = htole32(info->opt_io / block),
		.wce = default_wce(b),
		.num_queues = htole16((uint16_t)b->options.queues),
		.max_discard_sectors = htole32(BLK_RANGE_SECTORS),
		.max_discard_seg = htole32(1),
		.discard_sector_alignment = htole32(info->discard_align / DISK_SECTOR),
		.max_write_zeroes_sectors = htole32(BLK_RANGE_SECTORS),
		.max_write_zeroes_seg = htole32(1),
		.write_zeroes_may_unmap = 1,
	};

	memcpy(config_of(b), &c, BLK_CONFIG_SIZE);
}

static uint64_t features_of(const struct blk *b)
{
	const struct disk_info *info = disk_info(b->disk);
	uint64_t f = VIRTIO_FEATURE(VIRTIO_BLK_F_SEG_MAX) | VIRTIO_FEATURE(VIRTIO_BLK_F_BLK_SIZE) |
		     VIRTIO_FEATURE(VIRTIO_BLK_F_TOPOLOGY);

	if (b->options.queues > 1)
		f |= VIRTIO_FEATURE(VIRTIO_BLK_F_MQ);
	if (info->cache != DISK_UNSAFE)
		f |= VIRTIO_FEATURE(VIRTIO_BLK_F_FLUSH);
	if (info->read_only)
		return f | VIRTIO_FEATURE(VIRTIO_BLK_F_RO);
	if (info->cache != DISK_UNSAFE)
		f |= VIRTIO_FEATURE(VIRTIO_BLK_F_CONFIG_WCE);
	if (info->discard)
		f |= VIRTIO_FEATURE(VIRTIO_BLK_F_DISCARD);
	return f | VIRTIO_FEATURE(VIRTIO_BLK_F_WRITE_ZEROES);
}

static void apply_wce(struct blk *b)
{
	const struct virtio *v = &b->virtio;
	bool back;

	if (virtio_has(v, VIRTIO_BLK_F_CONFIG_WCE))
		back = config_of(b)->wce;
	else
		back = virtio_has(v, VIRTIO_BLK_F_FLUSH) && default_wce(b);
	disk_set_write_through(b->disk, !back);
}

/* Bit 0 of the field counts; without the feature it cannot be written. */
static void blk_config_written(struct virtio *v, unsigned int at, unsigned int size)
{
	struct blk *b = blk_of(v);

	(void)at;
	(void)size;
	if (virtio_has(v, VIRTIO_BLK_F_CONFIG_WCE))
		config_of(b)->wce &= 1;
	else
		config_of(b)->wce = default_wce(b);
	apply_wce(b);
}

/* 5.2.5.2: a cache that cannot be flushed is none, until the driver chooses otherwise. */
static void blk_negotiated(struct virtio *v)
{
	struct blk *b = blk_of(v);

	if (virtio_has(v, VIRTIO_BLK_F_CONFIG_WCE) && !virtio_has(v, VIRTIO_BLK_F_FLUSH))
		config_of(b)->wce = 0;
	apply_wce(b);
}

/* What was saved is of this disk; only the cache mode is the driver's to choose. */
static int blk_loaded(struct device *dev, struct err *err)
{
	struct blk *b = to_blk(dev);
	struct virtio_blk_config saved = {0};

	memcpy(&saved, config_of(b), BLK_CONFIG_SIZE);
	fill_config(b);
	config_of(b)->wce = saved.wce & 1;
	if (saved.wce > 1 || memcmp(&saved, config_of(b), BLK_CONFIG_SIZE) != 0)
		return err_set(err, EPROTO, "%s: the saved disk has another size or other limits",
			       dev->id);
	apply_wce(b);
	return 0;
}

/* Set-up */

static int set_id(struct blk *b, struct err *err)
{
	const char *id = b->options.serial ? b->options.serial : b->dev.id;
	size_t n = strlen(id);

	if (b->options.serial && n > sizeof(b->id))
		return err_set(err, EINVAL, "the serial '%.64s' is longer than %zu bytes", id,
			       sizeof(b->id));
	memcpy(b->id, id, MIN(n, sizeof(b->id)));
	return 0;
}

static int open_queues(struct blk *b, struct err *err)
{
	unsigned int n = b->virtio.queue_count;
	int rc = 0;

	for (unsigned int i = 0; !rc && i < n; i++) {
		struct blk_queue *q = &b->queues[i];

		q->blk = b;
		q->vq = &b->virtio.queues[i];
		q->waiter.ready = admitted;
		rc = disk_queue_open(&q->disk, b->disk, q->vq->worker, err);
	}
	return rc;
}

/*
 * Each worker's ring holds the pages that make up guest memory at this moment, so they must be the
 * guest's for good: no balloon takes them, nothing moves them.
 */
static int fix_memory(struct blk *b, struct err *err)
{
	const struct gmem *mem = b->dev.machine->mem;
	struct iovec memory[GMEM_REGIONS_MAX];
	const struct gmem_region *regions;
	unsigned int n = gmem_regions(mem, &regions);
	int rc = 0;

	if (!b->options.iofixed)
		return 0;
	if (!gmem_wired(mem))
		return err_set(err, EINVAL,
			       "iofixed: guest memory must stay where it is; add memory.wired=on");
	for (unsigned int i = 0; i < n; i++)
		memory[i] = (struct iovec){regions[i].hva, regions[i].size};
	for (unsigned int i = 0; !rc && i < b->virtio.queue_count; i++)
		rc = worker_wire(b->virtio.queues[i].worker, memory, n, err);
	return rc;
}

static const struct virtio_model blk_model = {
	.id = BLK_ID,
	.worker = SANDBOX_DISK,
	.class_code = BLK_CLASS_CODE,
	.request_size = sizeof(struct blk_request),
	.segments_max = BLK_SEGMENTS + 2,
	.answers = true,
	.ready = blk_ready,
	.negotiated = blk_negotiated,
	.config_written = blk_config_written,
	.writable_at = offsetof(struct virtio_blk_config, wce),
	.writable_len = 1,
};

static int blk_create(struct device *dev, struct err *err)
{
	struct blk *b = to_blk(dev);
	struct virtio *v = &b->virtio;
	int rc = set_id(b, err);

	if (!rc && v->options.queue_size < BLK_QUEUE_SIZE_MIN)
		rc = err_set(err, EINVAL, "a disk's queue-size is at least %u", BLK_QUEUE_SIZE_MIN);
	if (!rc)
		rc = disk_open(&b->disk, &b->options.disk, dev->machine->log, err);
	if (rc)
		return rc;
	b->queues = calloc(b->options.queues, sizeof(*b->queues));
	if (!b->queues)
		return err_sys(err, ENOMEM, "queues");
	b->seg_max = (uint32_t)MIN(BLK_SEGMENTS, v->options.queue_size - 2);
	v->offered = features_of(b);
	v->queue_count = (unsigned int)b->options.queues;
	v->config_size = BLK_CONFIG_SIZE;
	v->spread = v->queue_count > 1;
	fill_config(b);
	rc = virtio_attach(v, dev, &blk_model, err);
	if (!rc)
		rc = open_queues(b, err);
	return rc ? rc : fix_memory(b, err);
}

static void blk_destroy(struct device *dev)
{
	struct blk *b = to_blk(dev);

	/* Stops the queues: then nothing of the disk is under way. */
	virtio_detach(&b->virtio);
	for (unsigned int i = 0; b->queues && i < b->options.queues; i++)
		disk_queue_close(b->queues[i].disk);
	free(b->queues);
	disk_close(b->disk);
}

DEVICE_CLASS(virtio_blk) = {
	.name = "virtio_blk",
	.summary = "disk: a file or block device of the host",
	.size = sizeof(struct blk),
	.options = blk_options,
	.options_offset = offsetof(struct blk, options),
	.family = &virtio_family,
	.family_offset = offsetof(struct blk, virtio),
	.outside = true,
	.create = blk_create,
	.loaded = blk_loaded,
	.destroy = blk_destroy,
};
