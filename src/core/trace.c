/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Recording. A ring has one writer, which writes an event and then the count that makes it one: a
 * process that is killed in between leaves at most one half-written slot, the one behind the last.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/config.h"
#include "skep/err.h"
#include "skep/lock.h"
#include "skep/trace.h"

#define HEADER_BYTES align_up(sizeof(struct trace_header), KIB(4))

struct trace_ring {
	struct trace *trace;
	struct trace_thread *thread; /* in the header */
	struct trace_event *events;
	uint64_t room;
	uint64_t count;
	uint64_t at; /* @count modulo @room */
	uint64_t rip;
	uint64_t number;
};
_Static_assert(sizeof(struct trace_ring) == 64, "a cache line");

struct trace {
	struct trace_header *header; /* the beginning of the mapping */
	uint64_t bytes;              /* of all of it */
	int fd;                      /* -1: in memory only */
	struct lock lock;            /* the header's tables, and who calls taps */
	struct trace_tap *taps;
	struct trace_ring *rings; /* TRACE_THREADS_MAX */
};

_Thread_local struct trace_ring *trace_self;

const struct option trace_option_table[] = {
	{.name = "path",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct trace_options, path),
	 .help = "file into which the machine is recorded, for `skep trace`"},
	{.name = "size",
	 .type = OPTION_SIZE,
	 .offset = offsetof(struct trace_options, size),
	 .fallback = "32M",
	 .min = TRACE_SIZE_MIN,
	 .max = TRACE_SIZE_MAX,
	 .help = "of that file; the oldest of what does not fit is lost"},
	{.name = "memory",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct trace_options, memory),
	 .fallback = "off",
	 .help = "record without a file too, for whoever listens"},
	OPTION_END,
};

/* Making and unmaking */

static int open_file(struct trace *t, const char *path, struct err *err)
{
	struct stat st;

	/* Not cut down yet: somebody may have it mapped. */
	t->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (t->fd < 0)
		return err_sys(err, errno, "cannot record into %s", path);
	if (fstat(t->fd, &st) || !S_ISREG(st.st_mode))
		return err_set(err, EINVAL, "cannot record into %s: it is not a plain file", path);
	if (flock(t->fd, LOCK_EX | LOCK_NB))
		return err_set(err, EBUSY, "cannot record into %s: another process does", path);
	if (ftruncate(t->fd, 0) || ftruncate(t->fd, (off_t)t->bytes))
		return err_sys(err, errno, "cannot record into %s", path);
	/* Or the first page that finds no room ends the process. Not every file system can. */
	if (fallocate(t->fd, 0, 0, (off_t)t->bytes) && errno == ENOSPC) {
		(void)!ftruncate(t->fd, 0);
		err_sys(err, ENOSPC, "cannot keep %llu MiB for %s",
			(unsigned long long)(t->bytes >> 20), path);
		err_advise(err, "size= makes it smaller");
		return -ENOSPC;
	}
	return 0;
}

static int map(struct trace *t, struct err *err)
{
	const int flags = t->fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
	void *at = mmap(NULL, t->bytes, PROT_READ | PROT_WRITE, flags, t->fd, 0);

	if (at == MAP_FAILED)
		return err_sys(err, errno, "cannot map %llu MiB to record into",
			       (unsigned long long)(t->bytes >> 20));
	t->header = at;
	return 0;
}

static void fill_header(struct trace *t, const char *name)
{
	struct trace_header *h = t->header;
	struct timespec real;

	clock_gettime(CLOCK_REALTIME, &real);
	h->version = TRACE_VERSION;
	h->header_bytes = sizeof(*h);
	h->event_bytes = sizeof(struct trace_event);
	h->start = clock_now();
	h->start_real = (uint64_t)real.tv_sec * NS_PER_S + (uint64_t)real.tv_nsec;
	snprintf(h->maker, sizeof(h->maker), "skep %s", SKEP_VERSION);
	snprintf(h->name, sizeof(h->name), "%s", name ? name : "");
	memcpy(h->magic, TRACE_MAGIC, sizeof(TRACE_MAGIC));
}

int trace_create(struct trace **trace, const struct trace_options *options, const char *name,
		 struct err *err)
{
	struct trace *t = calloc(1, sizeof(*t));
	int ret = 0;

	if (!t)
		return err_sys(err, ENOMEM, "trace");
	t->fd = -1;
	t->rings = aligned_alloc(64, TRACE_THREADS_MAX * sizeof(*t->rings));
	if (!t->rings) {
		free(t);
		return err_sys(err, ENOMEM, "trace");
	}
	memset(t->rings, 0, TRACE_THREADS_MAX * sizeof(*t->rings));
	t->bytes = align_up(MAX(options->size, TRACE_SIZE_MIN), KIB(4));
	lock_init(&t->lock, LOCK_TRACE);
	if (options->path)
		ret = open_file(t, options->path, err);
	if (!ret)
		ret = map(t, err);
	if (ret) {
		trace_destroy(t);
		return ret;
	}
	fill_header(t, name);
	*trace = t;
	return 0;
}

/* What no event ever touched is given back: the file stays as long as it is, with holes. */
static void give_back(const struct trace *t)
{
	for (unsigned int i = 0; i < t->header->thread_count; i++) {
		const struct trace_ring *r = &t->rings[i];
		uint64_t used = MIN(r->count, r->room) * sizeof(struct trace_event);
		uint64_t from = align_up(r->thread->offset + used, KIB(4));
		uint64_t to = r->thread->offset + r->room * sizeof(struct trace_event);

		to = align_down(to, KIB(4));
		/* Some file systems cannot: then it takes the room that it was promised. */
		if (from < to)
			(void)!fallocate(t->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					 (off_t)from, (off_t)(to - from));
	}
}

void trace_destroy(struct trace *t)
{
	if (!t)
		return;
	if (t->header) {
		t->header->closed = 1;
		if (t->fd >= 0)
			give_back(t);
		munmap(t->header, t->bytes);
	}
	if (t->fd >= 0)
		close(t->fd);
	lock_destroy(&t->lock);
	free(t->rings);
	free(t);
}

const struct trace_header *trace_header(const struct trace *t)
{
	return t->header;
}

void trace_add_tap(struct trace *t, struct trace_tap *tap)
{
	tap->next = t->taps;
	t->taps = tap;
}

/* Threads */

struct trace_ring *trace_ring(struct trace *t, enum trace_thread_kind kind, unsigned int index,
			      const char *name)
{
	struct trace_header *h;
	struct trace_ring *r;

	if (!t || t->header->thread_count == TRACE_THREADS_MAX)
		return NULL;
	h = t->header;
	r = &t->rings[h->thread_count];
	r->trace = t;
	r->number = h->thread_count;
	r->thread = &h->threads[h->thread_count++];
	r->thread->kind = (uint8_t)kind;
	r->thread->index = index;
	snprintf(r->thread->name, sizeof(r->thread->name), "%s", name);
	return r;
}

/* vCPUs have most to say, the control thread least. */
static uint64_t share_of(const struct trace_thread *thread)
{
	switch (thread->kind) {
	case TRACE_VCPU:
		return 4;
	case TRACE_WORKER:
		return 2;
	default:
		return 1;
	}
}

void trace_start(struct trace *t)
{
	const uint64_t room = (t->bytes - HEADER_BYTES) / sizeof(struct trace_event);
	struct trace_header *h = t->header;
	uint64_t shares = 0, at = HEADER_BYTES;

	for (unsigned int i = 0; i < h->thread_count; i++)
		shares += share_of(&h->threads[i]);
	for (unsigned int i = 0; i < h->thread_count; i++) {
		struct trace_ring *r = &t->rings[i];

		r->room = room * share_of(r->thread) / shares;
		r->events = (struct trace_event *)(void *)((char *)h + at);
		r->thread->room = r->room;
		r->thread->offset = at;
		at += r->room * sizeof(struct trace_event);
	}
}

void trace_enter(struct trace_ring *ring)
{
	/* One without room has no place to write to. */
	trace_self = ring && ring->room ? ring : NULL;
}

/* The header's tables */

unsigned int trace_device(struct trace *t, const char *id, const char *model)
{
	unsigned int n = TRACE_NO_DEVICE;
	struct trace_device *d;

	if (!t)
		return n;
	lock_take(&t->lock);
	if (t->header->device_count < TRACE_DEVICES_MAX) {
		n = t->header->device_count;
		d = &t->header->devices[n];
		snprintf(d->id, sizeof(d->id), "%s", id);
		snprintf(d->model, sizeof(d->model), "%s", model);
		t->header->device_count++;
	}
	lock_drop(&t->lock);
	return n;
}

void trace_gsi(struct trace *t, unsigned int device, unsigned int gsi)
{
	if (!t || device >= TRACE_DEVICES_MAX || gsi >= TRACE_GSIS_MAX)
		return;
	lock_take(&t->lock);
	t->header->gsis[gsi] |= bit64(device);
	lock_drop(&t->lock);
}

/* The place in the table for the range [@at, …): its own, or a free one; NULL when it is full. */
static struct trace_range *range_of(struct trace_device *d, unsigned int sub, uint64_t at,
				    bool mine)
{
	for (unsigned int i = 0; i < TRACE_RANGES_MAX; i++) {
		struct trace_range *r = &d->ranges[i];

		if (mine ? r->len && r->sub == sub && r->at == at : !r->len)
			return r;
	}
	return NULL;
}

void trace_range(struct trace *t, unsigned int device, unsigned int sub, uint64_t at, uint64_t len)
{
	struct trace_range *r;

	if (!t || device >= TRACE_DEVICES_MAX)
		return;
	lock_take(&t->lock);
	r = range_of(&t->header->devices[device], sub, at, !len);
	if (r)
		*r = (struct trace_range){.at = at, .len = len, .sub = (uint8_t)sub};
	lock_drop(&t->lock);
	trace_event(TRACE_MAP, device, sub, 0, !len, at, len);
}

/* Events */

static void tell_taps(struct trace_ring *r, const struct trace_event *event, const char *text)
{
	const struct trace_record record = {
		.event = *event,
		.thread = (unsigned int)r->number,
		.rip = r->rip,
		.text = text,
	};

	lock_take(&r->trace->lock);
	for (struct trace_tap *tap = r->trace->taps; tap; tap = tap->next)
		tap->event(tap, &record);
	lock_drop(&r->trace->lock);
}

/* The event at the ring's head is written: it counts. */
static void commit(struct trace_ring *r)
{
	const struct trace_event *event = &r->events[r->at];

	if (event->kind == TRACE_EXIT)
		r->rip = event->c;
	if (++r->at == r->room)
		r->at = 0;
	/* Whoever sees the count, in this process's memory or in the file, sees the event. */
	__atomic_store_n(&r->thread->count, ++r->count, __ATOMIC_RELEASE);
}

static void put(struct trace_ring *r, const struct trace_event *event)
{
	r->events[r->at] = *event;
	commit(r);
}

void trace_put(enum trace_kind kind, unsigned int device, unsigned int sub, unsigned int size,
	       uint32_t a, uint64_t b, uint64_t c)
{
	struct trace_ring *r = trace_self;
	struct trace_event *event = &r->events[r->at];

	*event = (struct trace_event){
		.time = clock_now(),
		.kind = (uint8_t)kind,
		.sub = (uint8_t)sub,
		.size = (uint8_t)size,
		.device = (uint8_t)device,
		.a = a,
		.b = b,
		.c = c,
	};
	commit(r);
	if (__builtin_expect(r->trace->taps != NULL, 0))
		tell_taps(r, event, "");
}

void trace_put_event(const struct trace_event *event)
{
	struct trace_ring *r = trace_self;
	struct trace_event now = *event;

	if (!now.time)
		now.time = clock_now();
	put(r, &now);
	if (r->trace->taps)
		tell_taps(r, &now, "");
}

void trace_put_text(enum trace_kind kind, unsigned int device, unsigned int sub, unsigned int size,
		    const char *text)
{
	struct trace_event event = {
		.time = clock_now(),
		.kind = (uint8_t)kind,
		.sub = (uint8_t)sub,
		.size = (uint8_t)size,
		.device = (uint8_t)device,
	};
	char whole[TRACE_TEXT_MAX + 1];
	size_t n;

	snprintf(whole, sizeof(whole), "%s", text);
	n = strlen(whole);
	for (size_t i = 0; i < n; i++)
		if (whole[i] < ' ' || whole[i] > '~')
			whole[i] = '?';
	for (size_t i = 0; i == 0 || i < n; i += TRACE_INLINE_TEXT) {
		if (i)
			event.kind = TRACE_MORE;
		memset(event.text, 0, sizeof(event.text));
		memcpy(event.text, whole + i, MIN(n - i, (size_t)TRACE_INLINE_TEXT));
		put(trace_self, &event);
	}
	event.kind = (uint8_t)kind;
	if (trace_self->trace->taps)
		tell_taps(trace_self, &event, whole);
}

size_t trace_exits_copy(const struct trace_exits *exits, struct trace_event *events, size_t room)
{
	uint64_t n = MIN(exits->count, (uint64_t)TRACE_LAST_EXITS);

	n = MIN(n, (uint64_t)room);

	for (uint64_t i = 0; i < n; i++)
		events[i] = exits->events[(exits->count - n + i) % TRACE_LAST_EXITS];
	return n;
}
