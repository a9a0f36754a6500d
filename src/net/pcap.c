/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A capture file: every frame that went through a port, as tcpdump and Wireshark read it.
 *
 * The format is libpcap's classic one with nanoseconds, in the host's byte order. Frames are put
 * into one of two buffers, from any thread, while one worker writes the other. When both are full
 * frames are left out and counted: a slow disk does not slow the guest. A file that cannot be
 * written is told of once, and no longer written.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net_priv.h"
#include "skep/bits.h"
#include "skep/err.h"
#include "skep/lock.h"
#include "skep/log.h"
#include "skep/worker.h"

#define MAGIC_NS          0xa1b23c4dU
#define LINKTYPE_ETHERNET 1U
#define BUFFER_BYTES      ((size_t)4 << 20) /* more than 64 of the largest frames */

struct file_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t zone, accuracy; /* 0 */
	uint32_t snaplen;
	uint32_t linktype;
};

struct record_header {
	uint32_t s, ns;
	uint32_t kept; /* bytes that follow */
	uint32_t length;
};

struct pcap {
	char id[32];
	char *path;
	int fd;
	struct log *log;
	uint32_t snaplen;
	struct worker *worker; /* NULL: not given yet */
	int slot;
	struct post post;

	struct lock lock; /* the rest, but for what is being written */
	uint8_t *filling;
	size_t filled;
	uint64_t left_out;
	bool failed;

	/* The worker's. */
	uint8_t *writing;
	size_t write_at, write_end;
	struct io io;
};

static void fail(struct pcap *c, int errnum)
{
	bool first;

	lock_take(&c->lock);
	first = !c->failed;
	c->failed = true;
	c->filled = 0;
	lock_drop(&c->lock);
	if (first)
		log_warn(c->log, "%s: the capture ends here, for %s cannot be written: %s", c->id,
			 c->path, strerrordesc_np(errnum));
}

/* Makes what was filled what is written; false when there is nothing. */
static bool swap(struct pcap *c)
{
	uint8_t *full = c->filling;

	lock_take(&c->lock);
	c->write_at = 0;
	c->write_end = c->failed ? 0 : c->filled;
	if (c->write_end) {
		c->filling = c->writing;
		c->writing = full;
		c->filled = 0;
	}
	lock_drop(&c->lock);
	return c->write_end;
}

static void write_next(struct pcap *c)
{
	if (c->write_at < c->write_end || swap(c))
		io_write(c->worker, &c->io, c->slot, c->writing + c->write_at,
			 (uint32_t)(c->write_end - c->write_at), IO_STREAM);
}

static void written(struct io *io, int result)
{
	struct pcap *c = container_of(io, struct pcap, io);

	if (result == -ECANCELED)
		return; /* pcap_close() does the rest */
	if (result > 0) {
		c->write_at += (size_t)result;
	} else {
		fail(c, result ? -result : EIO);
		c->write_at = c->write_end;
	}
	write_next(c);
}

static void on_post(struct post *post)
{
	struct pcap *c = container_of(post, struct pcap, post);

	if (!io_pending(&c->io))
		write_next(c);
}

/* What is kept of it, with the lock held; false when there is no room. */
static bool put(struct pcap *c, const struct iovec *iov, size_t len)
{
	const uint32_t length = (uint32_t)(len - NETPORT_HEADER);
	struct record_header h = {.length = length, .kept = MIN(length, c->snaplen)};
	struct timespec now;

	if (c->failed)
		return false;
	if (c->filled + sizeof(h) + h.kept > BUFFER_BYTES) {
		c->left_out++;
		return false;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	h.s = (uint32_t)now.tv_sec;
	h.ns = (uint32_t)now.tv_nsec;
	memcpy(c->filling + c->filled, &h, sizeof(h));
	iov_get(iov, NETPORT_HEADER, c->filling + c->filled + sizeof(h), h.kept);
	c->filled += sizeof(h) + h.kept;
	return true;
}

void pcap_add(struct pcap *c, const struct iovec *iov, unsigned int count, size_t len)
{
	bool put_in;

	(void)count;
	lock_take(&c->lock);
	put_in = put(c, iov, len);
	lock_drop(&c->lock);
	if (put_in && c->worker)
		worker_post(c->worker, &c->post);
}

int pcap_set_worker(struct pcap *c, struct worker *w, struct err *err)
{
	c->slot = worker_add_file(w, c->fd);
	if (c->slot < 0)
		return err_sys(err, -c->slot, "cannot hand the capture file %s to a worker",
			       c->path);
	c->worker = w;
	return 0;
}

static int create_file(struct pcap *c, struct err *err)
{
	const struct file_header h = {
		.magic = MAGIC_NS,
		.major = 2,
		.minor = 4,
		.snaplen = c->snaplen,
		.linktype = LINKTYPE_ETHERNET,
	};
	/* O_NONBLOCK: a pipe that nobody reads is an error, not a wait. */
	const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	int ret;

	c->fd = open(c->path, flags, 0666);
	if (c->fd < 0) {
		ret = err_sys(err, errno, "cannot write the capture file %s", c->path);
		if (ret == -ENXIO)
			err_advise(err, "if it is a pipe, start its reader first");
		return ret;
	}
	memcpy(c->filling, &h, sizeof(h));
	c->filled = sizeof(h);
	return 0;
}

int pcap_open(struct pcap **pcap, const char *id, const struct netport_options *options,
	      struct log *log, struct err *err)
{
	struct pcap *c = calloc(1, sizeof(*c));

	*pcap = c;
	if (!c)
		return err_sys(err, ENOMEM, "capture file of %s", id);
	signal(SIGPIPE, SIG_IGN);
	lock_init(&c->lock, LOCK_LEAF);
	strncpy(c->id, id, sizeof(c->id) - 1);
	c->fd = -1;
	c->log = log;
	c->snaplen = (uint32_t)options->snaplen;
	c->post.fn = on_post;
	c->io.done = written;
	c->path = strdup(options->pcap);
	c->filling = malloc(BUFFER_BYTES);
	c->writing = malloc(BUFFER_BYTES);
	if (!c->path || !c->filling || !c->writing)
		return err_sys(err, ENOMEM, "capture file of %s", id);
	return create_file(c, err);
}

static void write_out(struct pcap *c)
{
	while (c->write_at < c->write_end) {
		ssize_t n = write(c->fd, c->writing + c->write_at, c->write_end - c->write_at);

		if (n <= 0 && errno != EINTR) {
			fail(c, n ? errno : EIO);
			return;
		}
		if (n > 0)
			c->write_at += (size_t)n;
	}
}

void pcap_close(struct pcap *c)
{
	if (!c)
		return;
	if (c->worker) {
		worker_unpost(c->worker, &c->post);
		io_cancel(c->worker, &c->io);
		io_drain(c->worker, &c->io);
		worker_remove_file(c->worker, c->slot);
	}
	if (c->fd >= 0) {
		write_out(c);
		if (swap(c))
			write_out(c);
		close(c->fd);
	}
	if (c->left_out)
		log_warn(c->log, "%s: %s lacks %llu frames, which came faster than it was written",
			 c->id, c->path, (unsigned long long)c->left_out);
	lock_destroy(&c->lock);
	free(c->path);
	free(c->filling);
	free(c->writing);
	free(c);
}
