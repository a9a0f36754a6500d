/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening a disk: what the image is, whether anybody else has it, and what it can do.
 *
 * The lock is an open file description lock on the whole file: it goes with the descriptor, so a
 * kill leaves none behind, and it tells two disks of one process apart. An io_uring has the file as
 * well, and lives on for a moment behind its process, so a lock that is taken is asked for again.
 * Writers exclude everybody, readers only writers. A block device is opened exclusively by writers
 * as well, which mounted file systems and swap refuse.
 *
 * Control thread; queues as disk.h says.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk_priv.h"
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "skep/log.h"

/* What file systems mostly have, and where nothing is known. */
#define USUAL_BLOCK 4096U

/* For what a process that has just been killed leaves to the kernel. */
#define LOCK_TRIES 50
#define LOCK_PAUSE (10 * NS_PER_MS)

static int lock_file(int fd, short type)
{
	const struct timespec pause = clock_timespec(LOCK_PAUSE);
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET};

	for (unsigned int i = 0; i < LOCK_TRIES; i++) {
		if (!fcntl(fd, F_OFD_SETLK, &lock))
			return 0;
		if (errno != EAGAIN && errno != EACCES)
			return -errno;
		nanosleep(&pause, NULL);
	}
	return -EBUSY;
}

void file_close(int fd)
{
	if (fd < 0)
		return;
	lock_file(fd, F_UNLCK);
	close(fd);
}

int file_settle(int fd, bool write, const char *what, const char *path, struct err *err)
{
	int flags = fcntl(fd, F_GETFL), rc;

	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK))
		return err_sys(err, errno, "cannot set up the %s %s", what, path);
	rc = lock_file(fd, write ? F_WRLCK : F_RDLCK);
	if (rc == -EBUSY)
		return err_set(err, EBUSY, "the %s %s is in use by another machine or process%s",
			       what, path,
			       write ? ", and only one may write to it" : ", which writes to it");
	return rc ? err_sys(err, -rc, "cannot lock the %s %s", what, path) : 0;
}

static int open_failed(const char *path, bool write, int errnum, struct err *err)
{
	switch (errnum) {
	case EBUSY:
		return err_set(err, errnum,
			       "the image %s is in use by this host: it is mounted, or part of "
			       "another device",
			       path);
	case EACCES:
	case EROFS:
	case EPERM:
		err_sys(err, errnum, "cannot open the image %s%s", path,
			write ? " for writing" : "");
		if (write)
			err_advise(err, "with ro=on or an overlay it need not be writable");
		return -errnum;
	case EISDIR:
		return err_set(err, errnum, "the image %s is a directory", path);
	default:
		return err_sys(err, errnum, "cannot open the image %s", path);
	}
}

/* The type is known first: opening a device of another kind may do something. */
static int open_image(struct disk *d, const struct disk_options *o, struct err *err)
{
	bool write = !d->info.read_only && !o->overlay;
	int flags = (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	struct stat st;

	if (stat(d->path, &st))
		return open_failed(d->path, write, errno, err);
	if (S_ISDIR(st.st_mode))
		return open_failed(d->path, write, EISDIR, err);
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return err_set(err, EINVAL,
			       "the image %s is neither a regular file nor a block device",
			       d->path);
	d->is_block = S_ISBLK(st.st_mode);
	if (d->is_block && write)
		flags |= O_EXCL;
	d->fd = open(d->path, flags);
	if (d->fd < 0)
		return open_failed(d->path, write, errno, err);
	if (fstat(d->fd, &st))
		return err_sys(err, errno, "cannot examine the image %s", d->path);
	if (S_ISBLK(st.st_mode) != d->is_block || (!d->is_block && !S_ISREG(st.st_mode)))
		return err_set(err, EINVAL, "the image %s was exchanged while it was opened",
			       d->path);
	return file_settle(d->fd, write, "image", d->path, err);
}

static int find_size(struct disk *d, struct err *err)
{
	struct stat st;
	uint64_t size = 0;

	if (d->is_block) {
		if (ioctl(d->fd, BLKGETSIZE64, &size))
			return err_sys(err, errno, "cannot find the size of the image %s", d->path);
	} else {
		if (fstat(d->fd, &st))
			return err_sys(err, errno, "cannot find the size of the image %s", d->path);
		size = (uint64_t)st.st_size;
	}
	if (!size)
		return err_set(err, EINVAL, "the image %s is empty%s", d->path,
			       d->is_block ? "" : "; give it a size with 'truncate -s 1G FILE'");
	if (size % DISK_SECTOR)
		return err_set(err, EINVAL,
			       "the image %s has %llu bytes, which is not a multiple of %u",
			       d->path, (unsigned long long)size, DISK_SECTOR);
	d->info.size = size;
	return 0;
}

/* What the device under it says of itself; a file is taken to be like any other. */
static void find_topology(struct disk *d)
{
	unsigned int physical = 0, min_io = 0, opt_io = 0;
	int logical = 0;

	d->info.block_size = DISK_SECTOR;
	d->info.physical_size = USUAL_BLOCK;
	d->info.discard_align = USUAL_BLOCK;
	if (!d->is_block)
		return;
	if (!ioctl(d->fd, BLKSSZGET, &logical) && logical > 0)
		d->info.block_size = (uint32_t)logical;
	if (!ioctl(d->fd, BLKPBSZGET, &physical) && is_power_of_two(physical))
		d->info.physical_size = physical;
	if (!ioctl(d->fd, BLKIOMIN, &min_io))
		d->info.min_io = min_io;
	if (!ioctl(d->fd, BLKIOOPT, &opt_io))
		d->info.opt_io = opt_io;
	d->info.discard_align = d->info.block_size;
}

/* Linux 6.1 and newer say what O_DIRECT needs; older ones need the block size at most. */
static int go_direct(struct disk *d, struct err *err)
{
	int flags = fcntl(d->fd, F_GETFL);
	uint32_t align = d->is_block ? d->info.block_size : USUAL_BLOCK;
	struct statx st;

	d->direct = true;
	d->mem_align = d->dio_align = align;
#ifdef STATX_DIOALIGN
	if (!statx(d->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) && st.stx_mask & STATX_DIOALIGN) {
		d->mem_align = st.stx_dio_mem_align;
		d->dio_align = st.stx_dio_offset_align;
	}
#endif
	if (!is_power_of_two(d->mem_align) || !is_power_of_two(d->dio_align) ||
	    d->mem_align > USUAL_BLOCK || d->dio_align > CHUNK ||
	    fcntl(d->fd, F_SETFL, flags | O_DIRECT))
		return err_set(
			err, EINVAL,
			"the file system of the image %s has no direct I/O; leave out direct",
			d->path);
	if (d->info.size % d->dio_align)
		return err_set(err, EINVAL,
			       "the image %s has %llu bytes, and direct I/O there needs a multiple "
			       "of %u",
			       d->path, (unsigned long long)d->info.size, d->dio_align);
	d->info.align = MAX(d->info.align, d->dio_align);
	return 0;
}

/* Block sizes as the person wants them, or as they have to be. */
static int settle_blocks(struct disk *d, const struct disk_options *o, struct err *err)
{
	struct disk_info *i = &d->info;

	i->block_size = MAX(i->block_size, i->align);
	if (o->block_size) {
		if (o->block_size != DISK_SECTOR && o->block_size != USUAL_BLOCK)
			return err_set(err, EINVAL, "block-size is 512 or 4096, not %llu",
				       (unsigned long long)o->block_size);
		if (o->block_size < i->align)
			return err_set(err, EINVAL,
				       "direct I/O on the image %s needs a block-size of %u",
				       d->path, i->align);
		i->block_size = (uint32_t)o->block_size;
	}
	if (o->physical_block_size) {
		if (!is_power_of_two(o->physical_block_size) ||
		    o->physical_block_size < i->block_size)
			return err_set(err, EINVAL,
				       "physical-block-size is a power of two, at least the "
				       "block-size, which is %u",
				       i->block_size);
		i->physical_size = (uint32_t)o->physical_block_size;
	}
	i->physical_size = MAX(i->physical_size, i->block_size);
	i->discard_align = MAX(i->discard_align, i->block_size);
	i->min_io = (uint32_t)align_down(i->min_io, i->block_size);
	i->opt_io = (uint32_t)align_down(i->opt_io, i->block_size);
	if (i->size % i->block_size)
		return err_set(err, EINVAL,
			       "the image %s has %llu bytes, which is not a multiple of its "
			       "block-size of %u",
			       d->path, (unsigned long long)i->size, i->block_size);
	return 0;
}

static int check_options(const struct disk_options *o, struct err *err)
{
	if (!o->path || !*o->path)
		return err_set(err, EINVAL, "a disk needs an image: path=FILE");
	if (o->overlay && !*o->overlay)
		return err_set(err, EINVAL, "the overlay is a file, or 'temporary'");
	if (o->overlay && o->ro)
		return err_set(err, EINVAL,
			       "ro and overlay exclude each other: nothing is "
			       "written to either");
	if (o->overlay && o->direct)
		return err_set(err, EINVAL, "direct and overlay exclude each other");
	return 0;
}

static void set_limits(struct disk *d, const struct disk_options *o)
{
	struct limit *l = &d->limit;

	if (o->iops)
		l->op_cost = NS_PER_S / o->iops;
	l->bandwidth = o->bandwidth;
	l->burst = o->burst * NS_PER_MS;
}

static int set_up(struct disk *d, const struct disk_options *o, struct err *err)
{
	int rc = open_image(d, o, err);

	if (!rc)
		rc = find_size(d, err);
	if (rc)
		return rc;
	find_topology(d);
	if (o->direct)
		rc = go_direct(d, err);
	if (!rc)
		rc = settle_blocks(d, o, err);
	if (!rc && o->overlay)
		rc = overlay_open(&d->overlay,
				  strcmp(o->overlay, "temporary") != 0 ? o->overlay : NULL, d, err);
	return rc;
}

int disk_open(struct disk **out, const struct disk_options *o, struct log *log, struct err *err)
{
	int rc = check_options(o, err);
	struct disk *d;

	if (rc)
		return rc;
	d = calloc(1, sizeof(*d));
	if (d)
		d->path = strdup(o->path);
	if (!d || !d->path) {
		free(d);
		return err_sys(err, ENOMEM, "disk");
	}
	d->fd = -1;
	d->log = log;
	d->info.align = DISK_SECTOR;
	d->dio_align = d->mem_align = 1;
	d->info.read_only = o->ro;
	d->info.discard = o->discard;
	d->info.cache = (enum disk_cache)o->cache;
	d->info.one_queue = o->overlay || o->iops || o->bandwidth;
	d->write_through = o->cache == DISK_WRITETHROUGH;
	set_limits(d, o);
	rc = set_up(d, o, err);
	if (rc) {
		disk_close(d);
		return rc;
	}
	if (o->cache == DISK_UNSAFE && !o->ro)
		log_warn(log,
			 "disk %s: with cache=unsafe nothing is made durable: a crash of this host "
			 "loses what the guest takes to be written",
			 d->path);
	*out = d;
	return 0;
}

void disk_close(struct disk *d)
{
	if (!d)
		return;
	overlay_close(d->overlay, atomic_load(&d->sync_failed), d->log);
	file_close(d->fd);
	free(d->path);
	free(d);
}

const struct disk_info *disk_info(const struct disk *d)
{
	return &d->info;
}

const char *disk_path(const struct disk *d)
{
	return d->path;
}

void disk_set_write_through(struct disk *d, bool on)
{
	atomic_store(&d->write_through, on);
}

static void *map_chunk(int prot)
{
	void *p = mmap(NULL, CHUNK, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int add_files(struct disk_queue *q, struct err *err)
{
	struct disk *d = q->disk;

	q->base = worker_add_file(q->worker, d->fd);
	q->top = q->base;
	if (q->base >= 0 && d->overlay)
		q->top = worker_add_file(q->worker, overlay_fd(d->overlay));
	if (q->base < 0 || q->top < 0)
		return err_sys(err, q->base < 0 ? -q->base : -q->top,
			       "cannot hand the image %s to a worker", d->path);
	return 0;
}

int disk_queue_open(struct disk_queue **out, struct disk *d, struct worker *w, struct err *err)
{
	struct disk_queue *q;
	int rc;

	if (d->info.one_queue && d->queues)
		return err_set(err, EINVAL,
			       "a disk with an overlay, iops or bandwidth has one queue only");
	q = calloc(1, sizeof(*q));
	if (!q)
		return err_sys(err, ENOMEM, "disk queue");
	q->disk = d;
	q->worker = w;
	d->queues++;
	q->base = q->top = -1;
	/* Never touched, these are the host's one page of zeroes over and over. */
	q->zeroes = map_chunk(PROT_READ);
	if (d->direct)
		q->bounce = map_chunk(PROT_READ | PROT_WRITE);
	if (!q->zeroes || (d->direct && !q->bounce))
		rc = err_sys(err, ENOMEM, "disk queue");
	else
		rc = add_files(q, err);
	if (rc) {
		disk_queue_close(q);
		return rc;
	}
	*out = q;
	return 0;
}

void disk_queue_close(struct disk_queue *q)
{
	if (!q)
		return;
	disk_forget(q);
	io_drain(q->worker, &q->disk->limit.timer);
	q->disk->queues--;
	if (q->top >= 0 && q->top != q->base)
		worker_remove_file(q->worker, q->top);
	if (q->base >= 0)
		worker_remove_file(q->worker, q->base);
	if (q->zeroes)
		munmap(q->zeroes, CHUNK);
	if (q->bounce)
		munmap(q->bounce, CHUNK);
	free(q);
}
