/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio_rng - the entropy device (Virtual I/O Device specification 1.2, section 5.4).
 *
 * One queue; each buffer of the driver's is filled, in part at least, with bytes of a file of the
 * host. A request is one read of at most RNG_MOST bytes, and there is one at a time, so a guest
 * that wants much does not keep the worker's other devices waiting.
 */
#include <fcntl.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/virtio.h"

#define RNG_ID   4
#define RNG_MOST 4096

struct rng {
	struct device dev;
	struct virtio virtio;
	struct rng_options {
		const char *source;
	} options;
	struct worker *worker;
	int fd, slot;
	struct io io;
	struct virtio_request *request; /* that @io is for */
};

static const struct option rng_options[] = {
	{.name = "source",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct rng_options, source),
	 .fallback = "/dev/urandom",
	 .help = "file that the entropy is read from"},
	OPTION_END,
};

static void rng_done(struct io *io, int result)
{
	struct rng *rng = container_of(io, struct rng, io);

	if (result == -ECANCELED) {
		virtio_untake(rng->request);
		return;
	}
	if (result <= 0)
		virtio_break(&rng->virtio, "%s gives no more: %s", rng->options.source,
			     result ? strerror(-result) : "end of file");
	virtio_done(rng->request, result > 0 ? (uint32_t)result : 0);
}

static void rng_request(struct virtio_request *r)
{
	struct rng *rng = container_of(r->queue->virtio, struct rng, virtio);
	const struct iovec *to = &r->chain.iov[r->chain.out];

	/* 5.4.6.1: buffers are for the device to write; one that is not gets nothing. */
	if (!r->chain.in_len) {
		virtio_done(r, 0);
		return;
	}
	rng->request = r;
	io_read(r->queue->worker, &rng->io, rng->slot, to->iov_base,
		(uint32_t)MIN(to->iov_len, (size_t)RNG_MOST), IO_STREAM);
}

/* A hardware generator may have nothing for long. */
static void rng_cancel(struct virtio_queue *q)
{
	io_cancel(q->worker, &container_of(q->virtio, struct rng, virtio)->io);
}

static int rng_create(struct device *dev, struct err *err)
{
	static const struct virtio_model model = {
		.id = RNG_ID,
		.worker = SANDBOX_WORKER,
		.class_code = 0xff0000, /* fits no class */
		.depth = 1,
		.request = rng_request,
		.cancel = rng_cancel,
	};
	struct rng *rng = container_of(dev, struct rng, dev);
	int ret;

	rng->slot = -1;
	rng->io.done = rng_done;
	rng->virtio.queue_count = 1;
	rng->fd = open(rng->options.source, O_RDONLY | O_CLOEXEC);
	if (rng->fd < 0)
		return err_sys(err, errno, "cannot open %s", rng->options.source);
	ret = virtio_attach(&rng->virtio, dev, &model, err);
	if (ret)
		return ret;
	rng->worker = rng->virtio.queues[0].worker;
	rng->slot = worker_add_file(rng->worker, rng->fd);
	return rng->slot < 0 ? err_sys(err, -rng->slot, "cannot read %s", rng->options.source) : 0;
}

static void rng_destroy(struct device *dev)
{
	struct rng *rng = container_of(dev, struct rng, dev);

	virtio_detach(&rng->virtio);
	if (rng->slot >= 0)
		worker_remove_file(rng->worker, rng->slot);
	if (rng->fd >= 0)
		close(rng->fd);
}

DEVICE_CLASS(virtio_rng) = {
	.name = "virtio_rng",
	.summary = "entropy source (virtio)",
	.size = sizeof(struct rng),
	.options = rng_options,
	.options_offset = offsetof(struct rng, options),
	.family = &virtio_family,
	.family_offset = offsetof(struct rng, virtio),
	.create = rng_create,
	.destroy = rng_destroy,
};
