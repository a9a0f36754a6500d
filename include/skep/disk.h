/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * disk - a disk image: what the models of disks read from and write to.
 *
 * An image is a regular file or a block device, raw. In front of it may lie an overlay, a file that
 * takes what is written while the image stays as it is. The image is locked against other machines
 * for as long as it is open.
 *
 * A disk is opened on the control thread. Whoever works on it opens a queue on a worker, and starts
 * requests there; they complete on that worker, in any order. Nothing is allocated in flight: a
 * request is embedded in whatever asked for it.
 *
 * Requests are in bytes, at multiples of the disk's align. What came out is 0 or -errno: -EIO when
 * the image has become shorter than it was, -ENOSPC when its file system is full. The disk goes on
 * after any failure, with one exception: once the host could not make written data durable, no
 * flush succeeds any more, because the kernel forgets what it could not write.
 */
#ifndef SKEP_DISK_H
#define SKEP_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "skep/config.h"
#include "skep/worker.h"

struct disk;
struct disk_queue;
struct err;
struct log;

#define DISK_SECTOR 512U

enum disk_cache {
	DISK_WRITEBACK,    /* written data is durable behind a flush */
	DISK_WRITETHROUGH, /* behind each write */
	DISK_UNSAFE,       /* when the host likes; a flush does nothing */
};

/* Options that a model of a disk has beside its own. */
struct disk_options {
	const char *path;
	bool ro;
	bool direct;
	bool discard;
	unsigned int cache;  /* enum disk_cache */
	const char *overlay; /* a file's path or "temporary"; NULL: none */
	uint64_t iops, bandwidth, burst;
	uint64_t block_size, physical_block_size; /* 0: as the image has it */
};

/* Rows for the table of a model whose options are a @container with the above as its @member. */
#define DISK_OPTION(container, member, name_, type_, field, ...) \
	{.name = (name_),                                        \
	 .type = OPTION_##type_,                                 \
	 .offset = offsetof(container, member.field),            \
	 __VA_ARGS__},
#define DISK_OPTIONS(c, m)                                                                      \
	DISK_OPTION(c, m, "path", STRING, path, .help = "the image: a file or block device")    \
	DISK_OPTION(c, m, "ro", BOOL, ro, .fallback = "off", .help = "the guest may read only") \
	DISK_OPTION(c, m, "direct", BOOL, direct, .fallback = "off",                            \
		    .help = "past the host's page cache (O_DIRECT)")                            \
	DISK_OPTION(c, m, "discard", BOOL, discard, .fallback = "on",                           \
		    .help = "what the guest discards is freed on the host")                     \
	DISK_OPTION(c, m, "cache", CHOICE, cache, .fallback = "writeback",                      \
		    .choices = "writeback|writethrough|unsafe",                                 \
		    .help = "when written data is durable: at a flush, at once, never")         \
	DISK_OPTION(c, m, "overlay", STRING, overlay,                                           \
		    .help = "file that takes the writes, or 'temporary'")                       \
	DISK_OPTION(c, m, "iops", UINT, iops, .fallback = "0", .max = 1000000000,               \
		    .help = "most requests a second; 0: no limit")                              \
	DISK_OPTION(c, m, "bandwidth", SIZE, bandwidth, .fallback = "0",                        \
		    .help = "most bytes a second; 0: no limit")                                 \
	DISK_OPTION(c, m, "burst", UINT, burst, .fallback = "100", .max = 3600000,              \
		    .help = "milliseconds of these that may come at once")                      \
	DISK_OPTION(c, m, "block-size", SIZE, block_size, .fallback = "0", .max = 4096,         \
		    .help = "logical block size, 512 or 4096; 0: the image's")                  \
	DISK_OPTION(c, m, "physical-block-size", SIZE, physical_block_size, .fallback = "0",    \
		    .max = 65536, .help = "physical block size; 0: the image's")

struct disk_info {
	uint64_t size;          /* bytes, a multiple of block_size unless a person says so */
	uint32_t align;         /* of a request's offset and length */
	uint32_t block_size;    /* logical: at least align */
	uint32_t physical_size; /* a power of two, at least block_size */
	uint32_t min_io;        /* bytes, multiples of block_size; 0: none is better than another */
	uint32_t opt_io;
	uint32_t discard_align; /* bytes */
	enum disk_cache cache;
	bool read_only;
	bool discard;
	bool one_queue; /* it has an overlay or limits, and takes no more than one */
};

/*
 * Opens and locks the image. -EINVAL, -EBUSY when another process or device has it, or what the
 * host answered. @log, which outlives the disk, is told what a person should know; may be NULL.
 */
int disk_open(struct disk **d, const struct disk_options *options, struct log *log,
	      struct err *err);
/* No queue is open. Makes an overlay that is kept complete. NULL is allowed. */
void disk_close(struct disk *d);

const struct disk_info *disk_info(const struct disk *d);
/* As the person called it. */
const char *disk_path(const struct disk *d);

/* Whether a write is durable before it completes. Any thread; a write under way may see either. */
void disk_set_write_through(struct disk *d, bool on);

/*
 * While the worker does not run, or on its thread. -EINVAL for more queues than the disk takes. No
 * request is under way on a queue that is closed; NULL is allowed.
 */
int disk_queue_open(struct disk_queue **q, struct disk *d, struct worker *w, struct err *err);
void disk_queue_close(struct disk_queue *q);

struct disk_request {
	void (*done)(struct disk_request *r, int result);
	/* Private to the disk. */
	struct disk_queue *queue;
	struct disk_request *next;
	struct io io;
	struct iovec *iov;
	unsigned int count;
	int slot; /* of the transfer under way */
	uint64_t file_offset;
	unsigned int clip_at; /* the last iovec of the transfer under way */
	size_t clipped;       /* bytes cut off it */
	uint64_t start, length;
	uint64_t offset, left;
	int result;
	uint8_t op;
	bool unmap;
	bool bounced;
	bool by_writing; /* zeroes: there is no better way */
};

/*
 * On the queue's worker: start @r, whose done is set, and which completes exactly once and never
 * from within the call. @iov, at most 1,024 that hold less than 4 GiB, and what it points to belong
 * to the disk until then; the array is consumed. Beyond the disk's end, misaligned, or writing to a
 * read-only disk: -EINVAL, -EROFS.
 */
void disk_read(struct disk_queue *q, struct disk_request *r, struct iovec *iov, unsigned int count,
	       uint64_t offset);
void disk_write(struct disk_queue *q, struct disk_request *r, struct iovec *iov, unsigned int count,
		uint64_t offset);
/* All writes that completed before it was started are durable. */
void disk_flush(struct disk_queue *q, struct disk_request *r);
/* A hint: what the range holds from then on is undefined. Never fails for want of support. */
void disk_discard(struct disk_queue *q, struct disk_request *r, uint64_t offset, uint64_t length);
/* With @unmap its room on the host may be freed. */
void disk_write_zeroes(struct disk_queue *q, struct disk_request *r, uint64_t offset,
		       uint64_t length, bool unmap);

/*
 * Limits. Whoever has a request to start asks before, each time: false means that it is too early,
 * and @w->ready(@w) is called when it is time to ask again, on the worker. One waits at a time.
 * What is started without asking runs at once, and counts.
 */
struct disk_waiter {
	void (*ready)(struct disk_waiter *w);
};
bool disk_admits(struct disk_queue *q, struct disk_waiter *w);
/* Whoever waits is not called any more. */
void disk_forget(struct disk_queue *q);

#endif
