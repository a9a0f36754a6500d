/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The overlay: a file that holds what was written since, while the image stays as it is.
 *
 * An overlay that is kept has three parts:
 *
 *	0      header, 4 KiB: magic, version, and which image it belongs to
 *	4096   bitmap: one bit for each sector of the image, lowest bit first, rounded up to 4 KiB
 *	data   the sectors, each as far from here as it is from the start of the image
 *
 * The data begins at the next multiple of 64 KiB. Numbers are little-endian. A sector whose bit is
 * set is read from the overlay, and any other from the image. There is no table to look up, no
 * space to give out and nothing to copy: the file is sparse, and the host's file system does all
 * that. Where sectors and not larger clusters are counted, no write needs to read what is around
 * it first.
 *
 * A kill of skep or of the host at any moment leaves a good overlay, because of these invariants:
 *
 * 1. The header is written once, when the file is made, and does not change. Every field of it is
 *    compared with what it has to be when the overlay is opened.
 * 2. A bit in the file only ever goes from 0 to 1. So whatever mixture of an older and a newer
 *    bitmap is found, be it torn at any byte, each bit is that of the one or the other.
 * 3. A bit is written to the file only when its sector's data has been made durable. So each
 *    mixture is a right one: data that counts is there.
 * 4. A flush completes when the bits of all that was written before it are durable. So all that was
 *    flushed is there. What was not is old or new, sector by sector.
 *
 * A flush therefore takes the bits as they are at its beginning, makes the data durable, writes
 * these bits, and makes them durable. One is under way at a time; those that come meanwhile share
 * the next. Without flushes (cache=unsafe) the bits are written when the overlay is closed.
 *
 * A temporary overlay is the data alone, in a file without a name, and is gone with skep.
 *
 * Runs on the one worker of its disk; opened and closed on the control thread.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk_priv.h"
#include "skep/bits.h"
#include "skep/err.h"
#include "skep/log.h"

#define BLOCK      4096U
#define DATA_ALIGN KIB(64)
#define VERSION    1U
/* Bits of the bitmap are handled as words, and what of it is to be written as blocks. */
#define WORD_BITS 64U
/* Of the bitmap, written at once. */
#define RUN_BLOCKS (MIB(1) / BLOCK)

/* The first block of the file; the rest of it is zeroes. */
struct header {
	char magic[8];
	uint32_t version;
	uint32_t sector;  /* 512 */
	uint64_t size;    /* of the image, in bytes */
	uint64_t data;    /* where the data begins */
	uint64_t mtime_s; /* when the image was last written to; 0 for a block device */
	uint32_t mtime_ns;
	uint32_t reserved;
};
_Static_assert(sizeof(struct header) == 48, "no padding");

static const char magic[8] = {'s', 'k', 'e', 'p', 'O', 'V', 'L', '\n'};

enum flush_stage { FLUSH_IDLE, FLUSH_DATA, FLUSH_BITS, FLUSH_DURABLE };

struct overlay {
	int fd;
	char *path;    /* NULL: temporary */
	bool ready;    /* it was opened */
	uint64_t size; /* of the image */
	uint64_t data;
	uint64_t blocks; /* of the bitmap */

	uint64_t *bits;  /* whose data is in the file */
	uint64_t *saved; /* those that the file has, or is being given */
	uint64_t *dirty; /* a bit a block: @bits may have more than @saved */

	/* The flush under way. */
	enum flush_stage stage;
	uint64_t *writing; /* a bit a block: what of @saved the file has not got yet */
	uint64_t block;    /* being written; those in front of it are */
	bool wrote;
	struct disk_queue *queue;
	struct io io;
	struct request_list served;
	struct request_list waiting;
};

static bool test(const uint64_t *map, uint64_t n)
{
	return map[n / WORD_BITS] >> (n % WORD_BITS) & 1;
}

static void set(uint64_t *map, uint64_t n)
{
	map[n / WORD_BITS] |= bit64(n % WORD_BITS);
}

static void clear(uint64_t *map, uint64_t n)
{
	map[n / WORD_BITS] &= ~bit64(n % WORD_BITS);
}

/* The first bit at or behind @n that is @value, but at most @end. */
static uint64_t find(const uint64_t *map, uint64_t n, uint64_t end, bool value)
{
	while (n < end) {
		uint64_t word = map[n / WORD_BITS];

		word = (value ? word : ~word) >> (n % WORD_BITS);
		if (word)
			return MIN(n + (uint64_t)__builtin_ctzll(word), end);
		n = align_down(n, WORD_BITS) + WORD_BITS;
	}
	return end;
}

int overlay_fd(const struct overlay *o)
{
	return o->fd;
}

uint64_t overlay_at(const struct overlay *o, uint64_t offset)
{
	return o->data + offset;
}

bool overlay_has(const struct overlay *o, uint64_t offset, uint64_t len, uint64_t *run)
{
	uint64_t first = offset / DISK_SECTOR, end = (offset + len - 1) / DISK_SECTOR + 1;
	bool has = test(o->bits, first);
	uint64_t next = find(o->bits, first, end, !has);

	*run = MIN(next * DISK_SECTOR - offset, len);
	return has;
}

/* Sets bits [@n, @end) of @map; returns whether one was not. */
static bool set_range(uint64_t *map, uint64_t n, uint64_t end)
{
	bool changed = false;

	while (n < end) {
		uint64_t count = MIN(WORD_BITS - n % WORD_BITS, end - n);
		uint64_t mask = (UINT64_MAX >> (WORD_BITS - count)) << (n % WORD_BITS);
		uint64_t *word = &map[n / WORD_BITS];

		if ((*word & mask) != mask) {
			*word |= mask;
			changed = true;
		}
		n += count;
	}
	return changed;
}

void overlay_add(struct overlay *o, uint64_t offset, uint64_t len)
{
	uint64_t n = offset / DISK_SECTOR, end = n + len / DISK_SECTOR;
	const uint64_t in_block = UINT64_C(8) * BLOCK;

	while (n < end) {
		uint64_t stop = MIN(end, align_down(n, in_block) + in_block);

		if (set_range(o->bits, n, stop) && o->path)
			set(o->dirty, n / in_block);
		n = stop;
	}
}

/* Flushing */

static void *block_of(uint64_t *map, uint64_t block)
{
	return (uint8_t *)map + block * BLOCK;
}

/* The bits as they are now are those that this flush is about. */
static void take_dirty(struct overlay *o)
{
	uint64_t b = 0;

	while ((b = find(o->dirty, b, o->blocks, true)) < o->blocks) {
		memcpy(block_of(o->saved, b), block_of(o->bits, b), BLOCK);
		clear(o->dirty, b);
		set(o->writing, b);
	}
}

static void begin_flush(struct overlay *o);

static void tell(struct request_list *l, int result)
{
	struct disk_request *r;

	while ((r = request_pop(l)))
		request_finish(r, result);
}

static void end_flush(struct overlay *o, int result)
{
	struct request_list ended = o->served, refused = {0};
	uint64_t b = 0;

	/* What the file was not given is for the next flush to write. */
	while ((b = find(o->writing, b, o->blocks, true)) < o->blocks) {
		clear(o->writing, b);
		set(o->dirty, b);
	}
	if (atomic_load(&o->queue->disk->sync_failed)) {
		refused = o->waiting;
		o->waiting.first = NULL;
	}
	o->stage = FLUSH_IDLE;
	if (o->waiting.first)
		begin_flush(o);
	tell(&ended, result);
	tell(&refused, -EIO);
}

static void sync_file(struct overlay *o, enum flush_stage stage)
{
	o->stage = stage;
	io_sync(o->queue->worker, &o->io, o->queue->top, true);
}

static void write_bits(struct overlay *o)
{
	uint64_t end;

	o->block = find(o->writing, o->block, o->blocks, true);
	if (o->block == o->blocks) {
		if (o->wrote)
			sync_file(o, FLUSH_DURABLE);
		else
			end_flush(o, 0);
		return;
	}
	end = find(o->writing, o->block, MIN(o->blocks, o->block + RUN_BLOCKS), false);
	o->stage = FLUSH_BITS;
	o->wrote = true;
	io_write(o->queue->worker, &o->io, o->queue->top, block_of(o->saved, o->block),
		 (uint32_t)((end - o->block) * BLOCK), BLOCK + o->block * BLOCK);
}

/* @bytes of the run are in the file: whole blocks of it are done with. */
static int wrote_bits(struct overlay *o, int bytes)
{
	if (bytes <= 0)
		return bytes ? bytes : -EIO;
	for (; bytes >= (int)BLOCK; bytes -= (int)BLOCK)
		clear(o->writing, o->block++);
	return 0;
}

static void flush_went_on(struct io *io, int result)
{
	struct overlay *o = container_of(io, struct overlay, io);

	if (o->stage == FLUSH_BITS)
		result = wrote_bits(o, result);
	else if (result < 0)
		atomic_store(&o->queue->disk->sync_failed, true);
	if (result < 0 || o->stage == FLUSH_DURABLE)
		end_flush(o, result);
	else
		write_bits(o);
}

static void begin_flush(struct overlay *o)
{
	o->served = o->waiting;
	o->waiting.first = NULL;
	o->queue = o->served.first->queue;
	o->block = 0;
	o->wrote = false;
	o->io.done = flush_went_on;
	take_dirty(o);
	sync_file(o, FLUSH_DATA);
}

void overlay_flush(struct overlay *o, struct disk_request *r)
{
	request_append(&o->waiting, r);
	if (o->stage == FLUSH_IDLE)
		begin_flush(o);
}

bool overlay_kept(const struct overlay *o)
{
	return o->path;
}

/* Closing */

static int write_dirty(struct overlay *o)
{
	uint64_t b = 0;

	take_dirty(o);
	for (; (b = find(o->writing, b, o->blocks, true)) < o->blocks; b++) {
		ssize_t n = pwrite(o->fd, block_of(o->saved, b), BLOCK, (off_t)(BLOCK + b * BLOCK));

		if (n < (ssize_t)BLOCK)
			return n < 0 ? -errno : -ENOSPC;
	}
	return 0;
}

/* The last flush, with nobody to wait for it. */
static int complete(struct overlay *o)
{
	int rc;

	if (fdatasync(o->fd))
		return -errno;
	rc = write_dirty(o);
	if (!rc && fdatasync(o->fd))
		rc = -errno;
	return rc;
}

static void free_maps(struct overlay *o)
{
	if (o->bits)
		munmap(o->bits, o->blocks * BLOCK);
	if (o->saved)
		munmap(o->saved, o->blocks * BLOCK);
	free(o->dirty);
	free(o->writing);
}

void overlay_close(struct overlay *o, bool lost, struct log *log)
{
	struct err err;

	if (!o)
		return;
	if (o->path && o->ready && !lost) {
		int rc = complete(o);

		if (rc) {
			err_sys(&err, -rc, "overlay %s: cannot write what was not flushed yet",
				o->path);
			log_error(log, "%s", err.text);
		}
	}
	file_close(o->fd);
	free_maps(o);
	free(o->path);
	free(o);
}

/* Opening */

static void *map_zeroes(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* Untouched parts of the maps take no memory. */
static int make_maps(struct overlay *o, struct err *err)
{
	uint64_t bytes = (o->size / DISK_SECTOR + 7) / 8;
	size_t words;

	o->blocks = (bytes + BLOCK - 1) / BLOCK;
	words = o->blocks / WORD_BITS + 1;
	o->data = o->path ? align_up(BLOCK + o->blocks * BLOCK, DATA_ALIGN) : 0;
	if (o->size > (uint64_t)INT64_MAX - o->data) {
		err_set(err, EFBIG, "the overlay would be larger than a file can be");
		return -EFBIG;
	}
	o->bits = map_zeroes(o->blocks * BLOCK);
	o->saved = map_zeroes(o->blocks * BLOCK);
	o->dirty = calloc(words, sizeof(*o->dirty));
	o->writing = calloc(words, sizeof(*o->writing));
	if (o->bits && o->saved && o->dirty && o->writing)
		return 0;
	err_sys(err, ENOMEM, "the overlay's table");
	return -ENOMEM;
}

static int open_temporary(struct overlay *o, struct err *err)
{
	const char *dir = getenv("TMPDIR");
	char name[4096];

	if (!dir || !*dir)
		dir = "/var/tmp";
	o->fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (o->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
		snprintf(name, sizeof(name), "%s/skep-XXXXXX", dir);
		o->fd = mkostemp(name, O_CLOEXEC);
		if (o->fd >= 0)
			unlink(name);
	}
	if (o->fd < 0 || ftruncate(o->fd, (off_t)o->size))
		return err_sys(err, errno, "cannot make a temporary overlay in %s", dir);
	return 0;
}

static struct header header_for(const struct overlay *o, const struct stat *base)
{
	struct header h = {
		.version = htole32(VERSION),
		.sector = htole32(DISK_SECTOR),
		.size = htole64(o->size),
		.data = htole64(o->data),
	};

	memcpy(h.magic, magic, sizeof(magic));
	if (S_ISREG(base->st_mode)) {
		h.mtime_s = htole64((uint64_t)base->st_mtim.tv_sec);
		h.mtime_ns = htole32((uint32_t)base->st_mtim.tv_nsec);
	}
	return h;
}

/* The file's name is to survive the host as well. */
static int sync_directory(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int rc = fd < 0 || fsync(fd) ? -errno : 0;

	if (fd >= 0)
		close(fd);
	free(dir);
	return rc;
}

static int write_header(struct overlay *o, const struct header *h, struct err *err)
{
	uint8_t block[BLOCK] = {0};
	ssize_t n;
	int rc = 0;

	memcpy(block, h, sizeof(*h));
	n = pwrite(o->fd, block, sizeof(block), 0);
	if (n != (ssize_t)sizeof(block))
		rc = n < 0 ? -errno : -ENOSPC;
	else if (ftruncate(o->fd, (off_t)(o->data + o->size)) || fsync(o->fd))
		rc = -errno;
	else
		rc = sync_directory(o->path);
	return rc ? err_sys(err, -rc, "cannot make the overlay %s", o->path) : 0;
}

static int check_header(const struct overlay *o, const struct header *expect, const char *image,
			struct err *err)
{
	struct header h;

	if (pread(o->fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h) ||
	    memcmp(h.magic, magic, sizeof(magic)) != 0)
		return err_set(err, EINVAL,
			       "%s is not an overlay that skep made; give the name of a new file",
			       o->path);
	if (h.version != expect->version)
		return err_set(err, EINVAL, "the overlay %s has version %u; this skep knows %u",
			       o->path, le32toh(h.version), VERSION);
	if (h.size != expect->size)
		return err_set(err, EINVAL,
			       "the overlay %s belongs to an image of %llu bytes, and %s has %llu",
			       o->path, (unsigned long long)le64toh(h.size), image,
			       (unsigned long long)o->size);
	if (h.mtime_s != expect->mtime_s || h.mtime_ns != expect->mtime_ns)
		return err_set(err, EINVAL,
			       "the image %s has been written to since the overlay %s was made, or "
			       "is another one; they do not fit together any more",
			       image, o->path);
	if (memcmp(&h, expect, sizeof(h)) != 0)
		return err_set(err, EINVAL, "the overlay %s has a damaged header", o->path);
	return 0;
}

static int load_bits(struct overlay *o, struct err *err)
{
	off_t end = (off_t)(BLOCK + o->blocks * BLOCK), at = BLOCK;

	while ((at = lseek(o->fd, at, SEEK_DATA)) >= 0 && at < end) {
		off_t hole = MIN(lseek(o->fd, at, SEEK_HOLE), end);

		while (at < hole) {
			uint8_t *to = (uint8_t *)o->bits + (at - (off_t)BLOCK);
			ssize_t n = pread(o->fd, to, (size_t)(hole - at), at);

			if (n <= 0)
				return err_sys(err, n ? errno : EIO, "cannot read the overlay %s",
					       o->path);
			memcpy((uint8_t *)o->saved + (at - (off_t)BLOCK), to, (size_t)n);
			at += n;
		}
	}
	if (at < 0 && errno != ENXIO)
		return err_sys(err, errno, "cannot read the overlay %s", o->path);
	return 0;
}

static int open_kept(struct overlay *o, const struct disk *base, struct err *err)
{
	struct stat image, st;
	struct header h;
	int rc;

	o->fd = open(o->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
	if (o->fd < 0)
		return err_sys(err, errno, "cannot open the overlay %s", o->path);
	if (fstat(o->fd, &st) || fstat(base->fd, &image))
		return err_sys(err, errno, "cannot examine the overlay %s", o->path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, EINVAL, "the overlay %s is not a regular file", o->path);
	if (st.st_dev == image.st_dev && st.st_ino == image.st_ino)
		return err_set(err, EINVAL, "%s cannot be the overlay of itself", o->path);
	rc = file_settle(o->fd, true, "overlay", o->path, err);
	if (rc)
		return rc;
	if (fstat(o->fd, &st))
		return err_sys(err, errno, "cannot examine the overlay %s", o->path);
	h = header_for(o, &image);
	if (!st.st_size)
		return write_header(o, &h, err);
	rc = check_header(o, &h, base->path, err);
	if (rc)
		return rc;
	/* Killed while it was made: no bit is set yet. */
	if (st.st_size == BLOCK)
		return write_header(o, &h, err);
	if ((uint64_t)st.st_size < o->data + o->size)
		return err_set(err, EINVAL, "the overlay %s is shorter than it was made", o->path);
	return load_bits(o, err);
}

int overlay_open(struct overlay **out, const char *path, const struct disk *base, struct err *err)
{
	struct overlay *o = calloc(1, sizeof(*o));
	int rc;

	if (!o)
		return err_sys(err, ENOMEM, "overlay");
	o->fd = -1;
	o->size = base->info.size;
	o->path = path ? strdup(path) : NULL;
	if (path && !o->path) {
		free(o);
		return err_sys(err, ENOMEM, "overlay");
	}
	rc = make_maps(o, err);
	if (!rc)
		rc = path ? open_kept(o, base, err) : open_temporary(o, err);
	if (rc) {
		overlay_close(o, true, NULL);
		return rc;
	}
	o->ready = true;
	*out = o;
	return 0;
}
