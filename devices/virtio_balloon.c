/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio_balloon - the traditional memory balloon (Virtual I/O Device specification 1.2, section
 * 5.5).
 *
 * What a guest puts into the balloon, and what it reports as free, goes back to the host at once
 * (gmem_discard()); it reads as zeroes and takes memory again when the guest uses it, whether that
 * was announced or not. So a deflated page needs nothing but to be counted, and a page that a
 * hostile guest gives away without having it costs that guest its contents and nobody else
 * anything.
 *
 * The target is an option; the guest may fall short of it, and take back what it needs when it runs
 * out of memory. Statistics are asked for by virtual time, so a paused guest is left alone; what
 * the guest says is kept for reports and believed for nothing.
 *
 * PAGE_POISON and FREE_PAGE_HINT are not offered. A driver that needs the former leaves reporting
 * off by itself. Without the latter there is no queue 3, and many versions of Linux number their
 * queues without gaps then, against 5.5.2: so queue 3 reports as well as queue 4.
 *
 * Worker, but for the timer (control thread, device's lock).
 */
#include <endian.h>
#include <linux/virtio_balloon.h>
#include <stdlib.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/log.h"
#include "skep/timer.h"
#include "skep/virtio.h"

#define PAGE       (UINT64_C(1) << VIRTIO_BALLOON_PFN_SHIFT)
#define PFNS       256  /* looked at together */
#define PFNS_MOST  1024 /* of a chain; the pages of others stay where they are */
#define STAT       10   /* bytes of one in a buffer: tag and value */
#define STATS      16   /* tags that are known: 5.5.6.4, and six that came later */
#define STATS_MOST 64   /* of a chain */

enum { INFLATE, DEFLATE, STATISTICS, REPORT_TOO, REPORT, QUEUES };

struct balloon_state {
	uint64_t pages_in; /* given to the balloon, ever; those out of bounds are not counted */
	uint64_t pages_out;
	uint64_t bytes_reported;
	uint64_t stats_received; /* how often */
	union {
		uint64_t stat[STATS];
		struct {
			uint64_t swapped_in, swapped_out, major_faults, minor_faults, memory_free,
				memory_total, memory_available, disk_caches, huge_pages_taken,
				huge_pages_missed, oom_kills, alloc_stalls, async_scan, direct_scan,
				async_reclaim, direct_reclaim;
		};
	};
};

struct balloon_options {
	uint64_t size;
	uint64_t stats;
	bool reporting;
	bool deflate_on_oom;
};

struct balloon {
	struct device dev;
	struct virtio virtio;
	struct balloon_options options;
	struct balloon_state state;
	struct timer timer;
	struct virtio_request *asking; /* the buffer that asks for statistics when it goes back */
};

static const struct option balloon_options[] = {
	{.name = "size",
	 .type = OPTION_SIZE,
	 .offset = offsetof(struct balloon_options, size),
	 .fallback = "0",
	 .help = "memory that the guest is asked to do without"},
	{.name = "stats",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct balloon_options, stats),
	 .fallback = "0",
	 .max = 86400,
	 .help = "seconds between requests for statistics (0: once, at the start)"},
	{.name = "reporting",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct balloon_options, reporting),
	 .fallback = "on",
	 .help = "take back what the guest reports as free"},
	{.name = "deflate-on-oom",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct balloon_options, deflate_on_oom),
	 .fallback = "on",
	 .help = "let the guest take memory back when it runs out"},
	OPTION_END,
};

static const struct state_field balloon_fields[] = {
	STATE_FIELD(struct balloon_state, pages_in),
	STATE_FIELD(struct balloon_state, pages_out),
	STATE_FIELD(struct balloon_state, bytes_reported),
	STATE_FIELD(struct balloon_state, stats_received),
	STATE_FIELD(struct balloon_state, swapped_in),
	STATE_FIELD(struct balloon_state, swapped_out),
	STATE_FIELD(struct balloon_state, major_faults),
	STATE_FIELD(struct balloon_state, minor_faults),
	STATE_FIELD(struct balloon_state, memory_free),
	STATE_FIELD(struct balloon_state, memory_total),
	STATE_FIELD(struct balloon_state, memory_available),
	STATE_FIELD(struct balloon_state, disk_caches),
	STATE_FIELD(struct balloon_state, huge_pages_taken),
	STATE_FIELD(struct balloon_state, huge_pages_missed),
	STATE_FIELD(struct balloon_state, oom_kills),
	STATE_FIELD(struct balloon_state, alloc_stalls),
	STATE_FIELD(struct balloon_state, async_scan),
	STATE_FIELD(struct balloon_state, direct_scan),
	STATE_FIELD(struct balloon_state, async_reclaim),
	STATE_FIELD(struct balloon_state, direct_reclaim),
};
static const struct state_table balloon_state =
	STATE_TABLE("virtio_balloon", 1, struct balloon_state, balloon_fields);

static struct balloon *to_balloon(struct virtio *v)
{
	return container_of(v, struct balloon, virtio);
}

static void complain(const struct balloon *b, uint64_t gpa, uint64_t len, int ret)
{
	if (ret == -EFAULT)
		log_guest(b->dev.machine->log, LOG_WARN,
			  "%s: the guest gives away %llu bytes at %llxh, which are not RAM",
			  b->dev.id, (unsigned long long)len, (unsigned long long)gpa);
	else
		log_guest(b->dev.machine->log, LOG_WARN,
			  "%s: the host does not take back %llu bytes of guest memory at %llxh: %s",
			  b->dev.id, (unsigned long long)len, (unsigned long long)gpa,
			  strerrordesc_np(-ret));
}

/* Inflating */

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Neighbours together: a call for each page would cost more than the page. False once one failed:
 * one complaint a chain is enough. */
static bool discard_pages(struct balloon *b, uint32_t *pfns, size_t count, bool quiet)
{
	qsort(pfns, count, sizeof(*pfns), compare);
	for (size_t i = 0, n; i < count; i += n) {
		uint64_t gpa = (uint64_t)pfns[i] * PAGE;
		int ret;

		for (n = 1; i + n < count && pfns[i + n] - pfns[i] == n; n++)
			;
		ret = gmem_discard(b->dev.machine->mem, gpa, n * PAGE);
		if (!ret) {
			b->state.pages_in += n;
			continue;
		}
		if (!quiet)
			complain(b, gpa, n * PAGE, ret);
		quiet = true;
	}
	return !quiet;
}

static void inflate(struct balloon *b, const struct virtq_chain *chain)
{
	uint32_t pfns[PFNS];
	bool quiet = false;

	for (size_t at = 0; at < PFNS_MOST * sizeof(*pfns); at += sizeof(pfns)) {
		size_t n = virtq_chain_read(chain, at, pfns, sizeof(pfns)) / sizeof(*pfns);

		for (size_t i = 0; i < n; i++)
			pfns[i] = le32toh(pfns[i]);
		quiet = !discard_pages(b, pfns, n, quiet);
		if (n < PFNS)
			break;
	}
}

/* Statistics (5.5.6.3) */

static void read_stats(struct balloon *b, const struct virtq_chain *chain)
{
	uint8_t stats[STATS_MOST * STAT];
	size_t len = virtq_chain_read(chain, 0, stats, sizeof(stats));

	for (const uint8_t *p = stats; len >= STAT; p += STAT, len -= STAT)
		if (load_le16(p) < STATS)
			b->state.stat[load_le16(p)] = load_le64(p + 2);
	b->state.stats_received++;
}

/* A driver has one buffer in the queue. Of more than one, the last is kept. */
static void keep_asking(struct balloon *b, struct virtio_request *r)
{
	struct virtio_request *before = b->asking;

	b->asking = r;
	if (before)
		virtio_done(before, 0);
}

static void ask(struct virtio_queue *q)
{
	struct balloon *b = to_balloon(q->virtio);

	if (b->asking)
		virtio_done(b->asking, 0);
	b->asking = NULL;
}

static void ask_again(struct balloon *b)
{
	timer_arm(&b->timer, vtime_now(b->dev.machine->time) + b->options.stats * NS_PER_S);
}

static void on_timer(struct device *dev, struct timer *t)
{
	struct balloon *b = container_of(dev, struct balloon, dev);

	(void)t;
	virtio_on_queue(&b->virtio.queues[STATISTICS], ask);
	ask_again(b);
}

/* Reporting (5.5.6.7) */

static void take_back(struct balloon *b, const struct virtq_chain *chain)
{
	for (unsigned int i = chain->out; i < (unsigned int)chain->out + chain->in; i++) {
		const struct iovec *v = &chain->iov[i];
		uint64_t gpa = 0;
		int ret;

		bug_on(!gmem_gpa(b->dev.machine->mem, v->iov_base, &gpa));
		ret = gmem_discard(b->dev.machine->mem, gpa, v->iov_len);
		if (ret) {
			complain(b, gpa, v->iov_len, ret);
			return;
		}
		b->state.bytes_reported += v->iov_len;
	}
}

/* The device */

static void balloon_request(struct virtio_request *r)
{
	struct balloon *b = to_balloon(r->queue->virtio);
	const struct virtio *v = &b->virtio;

	switch (r->queue->index) {
	case INFLATE:
		inflate(b, &r->chain);
		break;
	case DEFLATE:
		b->state.pages_out += r->chain.out_len / sizeof(uint32_t);
		break;
	case STATISTICS:
		if (!virtio_has(v, VIRTIO_BALLOON_F_STATS_VQ))
			break;
		read_stats(b, &r->chain);
		keep_asking(b, r);
		return;
	default:
		if (virtio_has(v, VIRTIO_BALLOON_F_REPORTING))
			take_back(b, &r->chain);
		break;
	}
	virtio_done(r, 0);
}

static void balloon_cancel(struct virtio_queue *q)
{
	struct balloon *b = to_balloon(q->virtio);

	if (q->index != STATISTICS || !b->asking)
		return;
	virtio_untake(b->asking);
	b->asking = NULL;
}

static int balloon_start(struct virtio *v)
{
	struct balloon *b = to_balloon(v);

	if (b->options.stats && virtio_has(v, VIRTIO_BALLOON_F_STATS_VQ))
		ask_again(b);
	return 0;
}

static void balloon_stop(struct virtio *v)
{
	timer_cancel(&to_balloon(v)->timer);
}

/* 'actual' is there to be read back; behind a reset nothing is in the balloon. */
static void balloon_config_written(struct virtio *v, unsigned int at, unsigned int size)
{
	(void)v;
	(void)at;
	(void)size;
}

static int check_options(const struct balloon *b, struct err *err)
{
	struct gmem *mem = b->dev.machine->mem;

	if (gmem_discard(mem, 0, 0) == -EPERM)
		return err_set(err, EINVAL,
			       "memory.wired keeps all memory that the guest ever used; a balloon "
			       "could give nothing back");
	if (b->options.size && gmem_page_size(mem) > PAGE)
		return err_set(err, EINVAL,
			       "size: a balloon's pages are of 4 KiB, of which memory.hugepages "
			       "gives none back; reporting works with both");
	if (b->options.size >= gmem_size(mem))
		return err_set(err, EINVAL,
			       "size: a balloon of %llu MiB leaves nothing of the guest's %llu MiB",
			       (unsigned long long)(b->options.size >> 20),
			       (unsigned long long)(gmem_size(mem) >> 20));
	return 0;
}

static int balloon_create(struct device *dev, struct err *err)
{
	static const struct virtio_model model = {
		.id = VIRTIO_ID_BALLOON,
		.worker = SANDBOX_WORKER,
		.class_code = 0xff0000, /* fits no class */
		.segments_max = 1024,
		.depth = 4,
		.request = balloon_request,
		.cancel = balloon_cancel,
		.start = balloon_start,
		.stop = balloon_stop,
		.config_written = balloon_config_written,
		.writable_at = offsetof(struct virtio_balloon_config, actual),
		.writable_len = sizeof(uint32_t),
	};
	struct balloon *b = container_of(dev, struct balloon, dev);
	struct virtio_balloon_config *config = virtio_config(&b->virtio);
	const struct balloon_options *o = &b->options;
	int ret = check_options(b, err);

	if (ret)
		return ret;
	timer_init(&b->timer, dev->machine->time, dev, on_timer);
	b->virtio.offered =
		VIRTIO_FEATURE(VIRTIO_BALLOON_F_STATS_VQ) |
		(o->deflate_on_oom ? VIRTIO_FEATURE(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) : 0) |
		(o->reporting ? VIRTIO_FEATURE(VIRTIO_BALLOON_F_REPORTING) : 0);
	b->virtio.queue_count = o->reporting ? QUEUES : REPORT_TOO;
	b->virtio.config_size = sizeof(*config);
	ret = virtio_attach(&b->virtio, dev, &model, err);
	if (!ret)
		config->num_pages = htole32((uint32_t)(o->size / PAGE));
	return ret;
}

static void balloon_reset(struct device *dev)
{
	memset(&container_of(dev, struct balloon, dev)->state, 0, sizeof(struct balloon_state));
}

/* Counters may be anything. The target is this machine's. */
static int balloon_loaded(struct device *dev, struct err *err)
{
	struct balloon *b = container_of(dev, struct balloon, dev);
	struct virtio_balloon_config *config = virtio_config(&b->virtio);
	uint32_t target = htole32((uint32_t)(b->options.size / PAGE));

	(void)err;
	if (config->num_pages == target)
		return 0;
	config->num_pages = target;
	virtio_config_changed(&b->virtio);
	return 0;
}

static void balloon_destroy(struct device *dev)
{
	struct balloon *b = container_of(dev, struct balloon, dev);

	timer_cancel(&b->timer);
	virtio_detach(&b->virtio);
}

DEVICE_CLASS(virtio_balloon) = {
	.name = "virtio_balloon",
	.summary = "memory balloon, statistics and free page reporting (virtio)",
	.size = sizeof(struct balloon),
	.options = balloon_options,
	.options_offset = offsetof(struct balloon, options),
	.family = &virtio_family,
	.family_offset = offsetof(struct balloon, virtio),
	.state = &balloon_state,
	.state_offset = offsetof(struct balloon, state),
	.create = balloon_create,
	.loaded = balloon_loaded,
	.reset = balloon_reset,
	.destroy = balloon_destroy,
};
