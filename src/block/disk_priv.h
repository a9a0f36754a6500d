/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * disk_priv - what the parts of a disk share: opening it (disk.c), requests (request.c), the
 * overlay (overlay.c) and limits (limit.c).
 */
#ifndef SKEP_BLOCK_DISK_PRIV_H
#define SKEP_BLOCK_DISK_PRIV_H

#include <stdatomic.h>

#include "skep/disk.h"

struct overlay;

enum disk_op { DISK_OP_READ, DISK_OP_WRITE, DISK_OP_FLUSH, DISK_OP_DISCARD, DISK_OP_ZERO };

/* Requests in the order they came. */
struct request_list {
	struct disk_request *first, *last;
};

/*
 * Each rate is a moment up to which it has been used up: a request moves it on by what it costs,
 * and may start while it lies no further ahead than the burst. One worker.
 */
struct limit {
	uint64_t op_cost;   /* ns; 0: no limit */
	uint64_t bandwidth; /* bytes a second; 0: no limit */
	uint64_t burst;     /* ns */
	uint64_t op_used, byte_used;
	uint64_t deadline;          /* the timer's */
	uint64_t reached;           /* the last one that expired: time is at least this */
	struct disk_waiter *waiter; /* who is to ask again; NULL: nobody */
	struct io timer;
};

struct disk {
	struct disk_info info;
	char *path;
	int fd;
	bool direct;
	uint32_t mem_align; /* of a direct transfer's memory; */
	uint32_t dio_align; /* of its offset and length; 1 when it is not direct */
	bool is_block;
	atomic_bool write_through;
	atomic_bool sync_failed;
	struct overlay *overlay; /* NULL: none */
	struct limit limit;
	unsigned int queues; /* that are open */
	struct log *log;
};

struct disk_queue {
	struct disk *disk;
	struct worker *worker;
	int base;                         /* slot of the image */
	int top;                          /* slot of the overlay; else base */
	uint8_t *zeroes;                  /* CHUNK bytes that are never written to */
	uint8_t *bounce;                  /* CHUNK bytes; NULL without O_DIRECT */
	struct disk_request *bouncing;    /* who has the bounce buffer */
	struct request_list bounce_queue; /* who waits for it */
};

/* Of the bounce buffer, and of what is written where the host has no way to zero a range. */
#define CHUNK KIB(128)

static inline void request_append(struct request_list *l, struct disk_request *r)
{
	r->next = NULL;
	if (l->first)
		l->last->next = r;
	else
		l->first = r;
	l->last = r;
}

static inline struct disk_request *request_pop(struct request_list *l)
{
	struct disk_request *r = l->first;

	if (r)
		l->first = r->next;
	return r;
}

/* From a completion. */
void request_finish(struct disk_request *r, int result);

/* A request starts. */
void limit_spend(struct limit *l, enum disk_op op, uint64_t bytes);

/*
 * The overlay of an image of @size bytes that @base is. @path is NULL for one that vanishes.
 */
int overlay_open(struct overlay **o, const char *path, const struct disk *base, struct err *err);
/* Writes the last bits, unless data was @lost. NULL is allowed. */
void overlay_close(struct overlay *o, bool lost, struct log *log);
bool overlay_kept(const struct overlay *o);
int overlay_fd(const struct overlay *o);
/* Where @offset of the disk lies in the overlay's file. */
uint64_t overlay_at(const struct overlay *o, uint64_t offset);
/* Whether the overlay has the sector at @offset; *@run is how many of @len bytes are alike. */
bool overlay_has(const struct overlay *o, uint64_t offset, uint64_t len, uint64_t *run);
/* The overlay's file has these whole sectors now. */
void overlay_add(struct overlay *o, uint64_t offset, uint64_t len);
/* Makes durable what the overlay has now, and finishes @r. Not from within the call. */
void overlay_flush(struct overlay *o, struct disk_request *r);

/*
 * @fd was opened O_NONBLOCK, lest it be a pipe: it is none, so it waits from now on. Locks all of
 * it, for writing or reading. @what is "image" or "overlay".
 */
int file_settle(int fd, bool write, const char *what, const char *path, struct err *err);
/* Also where a worker still has the file, its lock is gone behind this. -1 is allowed. */
void file_close(int fd);

#endif
