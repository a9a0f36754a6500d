/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port that is a stream socket: each frame behind its length, 32 bits, big-endian. This is what
 * QEMU's stream sockets and passt speak.
 *
 * There is no room for virtio's header on the wire, so there are no offloads. What was received is
 * read into one buffer and cut into frames there; of what is sent, the part of a frame for which
 * the socket had no room is kept, and goes out in front of the next. Neither buffer holds more than
 * a frame or two.
 *
 * The two directions share nothing but the descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "net_priv.h"
#include "skep/bits.h"
#include "skep/err.h"

#define LENGTH     4U
#define FRAME_MOST (NETPORT_FRAME_MAX - NETPORT_HEADER)
#define IN_BYTES   (2 * (LENGTH + FRAME_MOST))
#define OUT_BYTES  (LENGTH + FRAME_MOST)
#define IOV_MOST   1024U /* UIO_MAXIOV */

struct stream {
	size_t in_at, in_end;   /* what was received and not yet taken */
	size_t out_at, out_end; /* what is still to go out */
	struct iovec iov[IOV_MOST];
	uint8_t in[IN_BYTES];
	uint8_t out[OUT_BYTES];
};

static int closed(struct netport *p, int errnum)
{
	if (errnum && errnum != EPIPE && errnum != ECONNRESET)
		return netport_lost(p, "the %s failed: %s", p->name, strerrordesc_np(errnum));
	return netport_lost(p, "the other end of the %s has closed it", p->name);
}

/* Sending */

/* 0 when nothing is left over. */
static int flush(struct netport *p)
{
	struct stream *s = p->stream;

	while (s->out_at < s->out_end) {
		ssize_t n = send(p->fds[0], s->out + s->out_at, s->out_end - s->out_at,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? -EAGAIN : closed(p, errno);
		s->out_at += (size_t)n;
	}
	return 0;
}

/* Nothing was negotiated that the header could ask for. */
static bool asks_nothing(const struct iovec *iov)
{
	struct virtio_net_hdr_v1 h;

	iov_get(iov, 0, &h, sizeof(h));
	return !(h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) && h.gso_type == VIRTIO_NET_HDR_GSO_NONE;
}

/* The frame without virtio's header, behind its length; returns the iovecs used. */
static unsigned int gather(struct stream *s, const uint8_t *length, const struct iovec *iov,
			   unsigned int count)
{
	size_t skip = NETPORT_HEADER;
	unsigned int n = 1;

	s->iov[0] = (struct iovec){.iov_base = (void *)(uintptr_t)length, .iov_len = LENGTH};
	for (unsigned int i = 0; i < count; i++) {
		size_t cut = MIN(skip, iov[i].iov_len);

		skip -= cut;
		if (cut < iov[i].iov_len)
			s->iov[n++] = (struct iovec){.iov_base = (char *)iov[i].iov_base + cut,
						     .iov_len = iov[i].iov_len - cut};
	}
	return n;
}

static int stream_send(struct netport *p, unsigned int queue, const struct iovec *iov,
		       unsigned int count, size_t len)
{
	struct stream *s = p->stream;
	const uint32_t frame = (uint32_t)(len - NETPORT_HEADER);
	const uint32_t length = htobe32(frame);
	struct msghdr m = {.msg_iov = s->iov};
	uint8_t bytes[LENGTH];
	size_t sent;
	ssize_t n;
	int ret = flush(p);

	(void)queue;
	if (ret)
		return ret;
	if (count >= IOV_MOST || !asks_nothing(iov))
		return -EINVAL;
	memcpy(bytes, &length, sizeof(bytes));
	m.msg_iovlen = gather(s, bytes, iov, count);
	do
		n = sendmsg(p->fds[0], &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? -EAGAIN : closed(p, errno);
	sent = (size_t)n;
	s->out_at = 0;
	s->out_end = LENGTH + frame - sent;
	iov_get(s->iov, sent, s->out, s->out_end);
	return 0;
}

/* Receiving */

/* Bytes of the frame that lies complete in the buffer, 0 when there is none, or -errno. */
static ssize_t next_frame(struct netport *p)
{
	const struct stream *s = p->stream;
	const size_t have = s->in_end - s->in_at;
	uint32_t length;

	if (have < LENGTH)
		return 0;
	memcpy(&length, s->in + s->in_at, sizeof(length));
	length = be32toh(length);
	if (!length || length > FRAME_MOST)
		return netport_lost(p, "on the %s came a frame of %u bytes, which cannot be",
				    p->name, length);
	return have - LENGTH < length ? 0 : (ssize_t)length;
}

/* Reads as much as there is and the buffer holds. */
static int refill(struct netport *p)
{
	struct stream *s = p->stream;
	ssize_t n;

	if (s->in_at) {
		memmove(s->in, s->in + s->in_at, s->in_end - s->in_at);
		s->in_end -= s->in_at;
		s->in_at = 0;
	}
	do
		n = recv(p->fds[0], s->in + s->in_end, sizeof(s->in) - s->in_end, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n && errno == EAGAIN ? -EAGAIN : closed(p, n ? errno : 0);
	s->in_end += (size_t)n;
	return 0;
}

static ssize_t stream_receive(struct netport *p, unsigned int queue, const struct iovec *iov,
			      unsigned int count)
{
	static const uint8_t header[NETPORT_HEADER];
	struct stream *s = p->stream;
	ssize_t n = next_frame(p);

	(void)queue;
	(void)count;
	if (!n) {
		int ret = refill(p);

		if (ret)
			return ret;
		n = next_frame(p);
	}
	if (n <= 0)
		return n ? n : -EAGAIN;
	iov_put(iov, 0, header, sizeof(header));
	iov_put(iov, NETPORT_HEADER, s->in + s->in_at + LENGTH, (size_t)n);
	s->in_at += LENGTH + (size_t)n;
	return NETPORT_HEADER + n;
}

static const struct netport_ops stream_ops = {
	.send = stream_send,
	.receive = stream_receive,
};

int stream_take(struct netport *p, int fd, struct err *err)
{
	p->fds[0] = fd;
	p->ops = &stream_ops;
	p->stream = malloc(sizeof(*p->stream));
	if (!p->stream)
		return err_sys(err, ENOMEM, "network of %s", p->id);
	p->stream->in_at = p->stream->in_end = 0;
	p->stream->out_at = p->stream->out_end = 0;
	return 0;
}

void stream_close(struct netport *p)
{
	free(p->stream);
}

int stream_open(struct netport *p, const char *path, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd;

	if (!*path || strlen(path) >= sizeof(addr.sun_path))
		return err_set(err, EINVAL,
			       "stream: a socket's path has 1 to %zu bytes, this one %zu",
			       sizeof(addr.sun_path) - 1, strlen(path));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	snprintf(p->name, sizeof(p->name), "socket %s", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_sys(err, errno, "cannot make a socket for %s", path);
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr))) {
		int ret = err_sys(err, errno, "cannot connect to the socket %s", path);

		if (ret == -ENOENT || ret == -ECONNREFUSED)
			err_advise(err, "start who listens there first, as in 'passt --socket %s'",
				   path);
		close(fd);
		return ret;
	}
	return stream_take(p, fd, err);
}
