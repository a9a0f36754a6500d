/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading what trace.c recorded, or anything else that is called a trace: nothing in the file is
 * believed. The header is copied and checked as a whole, and each event before it is handed out; no
 * number in the file sizes anything but what is bounded by the file's own length.
 *
 * One thread. The file may be written meanwhile: a part of a ring is read, and then the count is
 * looked at once more, which tells what of it may have been overwritten.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/trace.h"

#define CHUNK 128

/* More than any ring can count, and any clock can show. */
#define COUNT_MAX bit64(60)
#define TIME_MAX  bit64(60)

/* The events of one thread. */
struct stream {
	unsigned int thread;
	uint64_t first, end; /* numbers of events: the oldest there is, one past the last */
	uint64_t next;       /* to be read from the file */
	uint64_t rip;
	unsigned int at, have; /* in @events */
	struct trace_event events[CHUNK];
};

struct trace_reader {
	int fd;               /* -1: in memory */
	const uint8_t *bytes; /* then */
	uint64_t size;
	struct trace_header header;
	struct stream *streams;
	unsigned int count;
	uint64_t last; /* time of the event handed out last */
	char text[TRACE_TEXT_MAX + 1];
};

static const char *const kind_names[TRACE_KINDS] = {
	[TRACE_ENTER] = "enter",
	[TRACE_EXIT] = "exit",
	[TRACE_READ] = "read",
	[TRACE_WRITE] = "write",
	[TRACE_IRQ] = "irq",
	[TRACE_INTA] = "inta",
	[TRACE_DELIVER] = "deliver",
	[TRACE_EOI] = "eoi",
	[TRACE_MSI] = "msi",
	[TRACE_SIGNAL] = "signal",
	[TRACE_BIND] = "bind",
	[TRACE_NOTIFY] = "notify",
	[TRACE_POP] = "pop",
	[TRACE_DONE] = "done",
	[TRACE_PUBLISH] = "publish",
	[TRACE_BROKEN] = "broken",
	[TRACE_SUBMIT] = "submit",
	[TRACE_COMPLETE] = "complete",
	[TRACE_TIMER_ARM] = "timer-arm",
	[TRACE_TIMER_FIRE] = "timer-fire",
	[TRACE_MAP] = "map",
	[TRACE_RESET] = "reset",
	[TRACE_PHASE] = "phase",
	[TRACE_END] = "end",
	[TRACE_MARK] = "mark",
	[TRACE_HALTED] = "halted",
	[TRACE_HEAD] = "head",
	[TRACE_REMARK] = "remark",
};

static const char *const phase_names[TRACE_PHASES] = {
	[TRACE_CREATED] = "created", [TRACE_ASSEMBLED] = "assembled", [TRACE_LOADED] = "loaded",
	[TRACE_RUNNING] = "running", [TRACE_STOPPED] = "stopped",     [TRACE_PAUSED] = "paused",
	[TRACE_RESUMED] = "resumed",
};

const char *trace_kind_name(unsigned int kind)
{
	return kind < TRACE_KINDS && kind_names[kind] ? kind_names[kind] : NULL;
}

const char *trace_phase_name(unsigned int phase)
{
	return phase < TRACE_PHASES ? phase_names[phase] : NULL;
}

const char *trace_device_id(const struct trace_header *header, unsigned int device)
{
	return device < header->device_count ? header->devices[device].id : "nobody";
}

/* The header */

static int read_at(const struct trace_reader *r, uint64_t at, void *to, size_t len)
{
	size_t done = 0;

	if (!range_fits(at, len, r->size))
		return -EBADMSG;
	if (r->fd < 0) {
		memcpy(to, r->bytes + at, len);
		return 0;
	}
	while (done < len) {
		ssize_t n = pread(r->fd, (char *)to + done, len - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EBADMSG; /* it was cut meanwhile */
		done += (size_t)n;
	}
	return 0;
}

/* Whether it ends within its room, and does nothing to a terminal. */
static bool is_name(const char *name, size_t room)
{
	const size_t n = strnlen(name, room);

	for (size_t i = 0; i < n; i++)
		if (name[i] < ' ' || name[i] > '~')
			return false;
	return n < room;
}

static bool good_thread(const struct trace_thread *t)
{
	return is_name(t->name, sizeof(t->name)) && t->kind < TRACE_THREAD_KINDS &&
	       t->count <= COUNT_MAX && t->offset >= sizeof(struct trace_header) &&
	       t->offset % sizeof(struct trace_event) == 0 && (t->room || !t->count);
}

static bool fits(const struct trace_reader *r, const struct trace_thread *t)
{
	return t->offset <= r->size &&
	       t->room <= (r->size - t->offset) / sizeof(struct trace_event);
}

static bool good_device(const struct trace_device *d)
{
	return is_name(d->id, sizeof(d->id)) && is_name(d->model, sizeof(d->model)) && d->id[0];
}

static int check_header(const struct trace_reader *r, struct err *err)
{
	const struct trace_header *h = &r->header;

	if (memcmp(h->magic, TRACE_MAGIC, sizeof(h->magic)) != 0)
		return err_set(err, EBADMSG, "it is not a trace of skep's");
	if (h->version != TRACE_VERSION || h->header_bytes != sizeof(*h) ||
	    h->event_bytes != sizeof(struct trace_event))
		return err_set(err, EBADMSG, "its format is version %u, and this skep reads %u",
			       h->version, TRACE_VERSION);
	if (h->thread_count > TRACE_THREADS_MAX || h->device_count > TRACE_DEVICES_MAX ||
	    h->closed > 1 || h->start > TIME_MAX || !is_name(h->maker, sizeof(h->maker)) ||
	    !is_name(h->name, sizeof(h->name)))
		return err_set(err, EBADMSG, "its header is garbled");
	for (unsigned int i = 0; i < h->device_count; i++)
		if (!good_device(&h->devices[i]))
			return err_set(err, EBADMSG, "its device %u is garbled", i);
	for (unsigned int i = 0; i < h->thread_count; i++) {
		if (!good_thread(&h->threads[i]))
			return err_set(err, EBADMSG, "its thread %u is garbled", i);
		if (!fits(r, &h->threads[i]))
			return err_set(err, EBADMSG,
				       "it is cut short: the events of %s are not all "
				       "in its %llu bytes",
				       h->threads[i].name, (unsigned long long)r->size);
	}
	return 0;
}

static int read_header(struct trace_reader *r, struct err *err)
{
	if (r->size < sizeof(r->header.magic) ||
	    read_at(r, 0, r->header.magic, sizeof(r->header.magic)) ||
	    memcmp(r->header.magic, TRACE_MAGIC, sizeof(r->header.magic)) != 0)
		return err_set(err, EBADMSG, "it is not a trace of skep's");
	if (read_at(r, 0, &r->header, sizeof(r->header)))
		return err_set(err, EBADMSG, "it is cut short within its header");
	return check_header(r, err);
}

/*
 * The oldest event there is. While a ring that is full has a writer, or had one that was killed,
 * the slot behind the last may be half-written.
 */
static uint64_t oldest(const struct trace_header *h, const struct trace_thread *t, uint64_t count)
{
	const uint64_t slots = count + !h->closed;

	return slots > t->room ? MIN(slots - t->room, count) : 0;
}

static int make_streams(struct trace_reader *r, struct err *err)
{
	const struct trace_header *h = &r->header;

	r->streams = calloc(MAX(h->thread_count, 1U), sizeof(*r->streams));
	if (!r->streams)
		return err_sys(err, ENOMEM, "trace");
	for (unsigned int i = 0; i < h->thread_count; i++) {
		struct stream *s = &r->streams[r->count];

		if (!h->threads[i].count)
			continue;
		s->thread = i;
		s->end = h->threads[i].count;
		s->first = s->next = oldest(h, &h->threads[i], s->end);
		r->count++;
	}
	return 0;
}

static int start(struct trace_reader **reader, struct trace_reader *r, struct err *err)
{
	int ret = read_header(r, err);

	if (!ret)
		ret = make_streams(r, err);
	if (ret) {
		trace_close(r);
		return ret;
	}
	trace_rewind(r);
	*reader = r;
	return 0;
}

int trace_open_memory(struct trace_reader **reader, const void *bytes, size_t size, struct err *err)
{
	struct trace_reader *r = calloc(1, sizeof(*r));

	if (!r)
		return err_sys(err, ENOMEM, "trace");
	r->fd = -1;
	r->bytes = bytes;
	r->size = size;
	return start(reader, r, err);
}

int trace_open(struct trace_reader **reader, const char *path, struct err *err)
{
	struct trace_reader *r = calloc(1, sizeof(*r));
	struct stat st = {0};
	int ret;

	if (!r)
		return err_sys(err, ENOMEM, "trace");
	/* A pipe without a writer would keep us waiting. */
	r->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (r->fd < 0 || fstat(r->fd, &st))
		ret = err_sys(err, errno, "cannot read the trace %s", path);
	else if (!S_ISREG(st.st_mode))
		ret = err_set(err, EINVAL, "cannot read the trace %s: it is not a plain file",
			      path);
	else
		ret = 0;
	if (ret) {
		trace_close(r);
		return ret;
	}
	r->size = (uint64_t)st.st_size;
	ret = start(reader, r, err);
	if (ret)
		err_prefix(err, "cannot read the trace %s", path);
	return ret;
}

void trace_close(struct trace_reader *r)
{
	if (!r)
		return;
	if (r->fd >= 0)
		close(r->fd);
	free(r->streams);
	free(r);
}

const struct trace_header *trace_reader_header(const struct trace_reader *r)
{
	return &r->header;
}

uint64_t trace_reader_events(const struct trace_reader *r)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < r->count; i++)
		n += r->streams[i].end - r->streams[i].first;
	return n;
}

uint64_t trace_reader_lost(const struct trace_reader *r)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < r->count; i++)
		n += r->streams[i].first;
	return n;
}

void trace_rewind(struct trace_reader *r)
{
	for (unsigned int i = 0; i < r->count; i++) {
		struct stream *s = &r->streams[i];

		s->next = s->first;
		s->at = s->have = 0;
		s->rip = 0;
	}
	r->last = r->header.start;
}

/* Events */

static bool has_text(unsigned int kind)
{
	return kind == TRACE_BROKEN || kind == TRACE_END || kind == TRACE_MARK;
}

static bool good_event(const struct trace_header *h, const struct trace_event *e)
{
	if (e->time > TIME_MAX || (e->device >= h->device_count && e->device != TRACE_NO_DEVICE))
		return false;
	switch (e->kind) {
	case TRACE_READ:
	case TRACE_WRITE:
		return e->size >= 1 && e->size <= 8;
	case TRACE_IRQ:
		return e->a < TRACE_GSIS_MAX && e->sub <= 1;
	case TRACE_INTA:
	case TRACE_DELIVER:
	case TRACE_EOI:
		return e->a < TRACE_GSIS_MAX && e->b <= UINT8_MAX;
	case TRACE_PHASE:
		return e->sub < TRACE_PHASES;
	case TRACE_MORE:
		return true;
	default:
		return trace_kind_name(e->kind);
	}
}

/* Events that were overwritten while they were read are left out. */
static int refill(struct trace_reader *r, struct stream *s)
{
	const struct trace_thread *t = &r->header.threads[s->thread];
	const uint64_t at = (uint64_t)((const char *)&t->count - (const char *)&r->header);
	const uint64_t straight = MIN(s->end - s->next, t->room - s->next % t->room);
	uint64_t count = 0, old;
	int ret;

	s->at = 0;
	s->have = (unsigned int)MIN(straight, (uint64_t)CHUNK);
	ret = read_at(r, t->offset + s->next % t->room * sizeof(s->events[0]), s->events,
		      s->have * sizeof(s->events[0]));
	if (!ret)
		ret = read_at(r, at, &count, sizeof(count));
	if (ret)
		return ret;
	old = oldest(&r->header, t, MIN(count, COUNT_MAX));
	s->next += s->have;
	if (old > s->next - s->have)
		s->at = (unsigned int)MIN(old - (s->next - s->have), (uint64_t)s->have);
	return 0;
}

/* The stream's next event: 1, 0 when there is none, or -errno. */
static int peek(struct trace_reader *r, struct stream *s, struct trace_event **e)
{
	while (s->at == s->have) {
		int ret;

		if (s->next >= s->end)
			return 0;
		ret = refill(r, s);
		if (ret)
			return ret;
	}
	*e = &s->events[s->at];
	return good_event(&r->header, *e) ? 1 : -EBADMSG;
}

static void add_text(char *text, const struct trace_event *e)
{
	const size_t n = strlen(text);
	const size_t more = MIN(strnlen(e->text, TRACE_INLINE_TEXT), TRACE_TEXT_MAX - n);

	memcpy(text + n, e->text, more);
	text[n + more] = '\0';
	for (char *c = text + n; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

/* Takes @e, the next of @s, and the rest of its text if it has one. */
static int take(struct trace_reader *r, struct stream *s, const struct trace_event *e,
		struct trace_record *record)
{
	struct trace_event *more;

	if (e->kind == TRACE_EXIT)
		s->rip = e->c;
	record->event = *e;
	record->thread = s->thread;
	record->rip = s->rip;
	record->text = r->text;
	r->text[0] = '\0';
	r->last = record->event.time = MAX(e->time, r->last);
	s->at++;
	if (!has_text(record->event.kind))
		return 1;
	add_text(r->text, &record->event);
	while (peek(r, s, &more) == 1 && more->kind == TRACE_MORE) {
		add_text(r->text, more);
		s->at++;
	}
	/* What is wrong with the next one is told when it is its turn. */
	return 1;
}

/* The stream's next event that is more than the rest of a text whose beginning is lost. */
static int peek_whole(struct trace_reader *r, struct stream *s, struct trace_event **e)
{
	int ret;

	while ((ret = peek(r, s, e)) == 1 && *e && (*e)->kind == TRACE_MORE)
		s->at++;
	return ret;
}

int trace_next(struct trace_reader *r, struct trace_record *record, struct err *err)
{
	struct trace_event *e = NULL, *first = NULL;
	struct stream *from = NULL;

	for (unsigned int i = 0; i < r->count; i++) {
		struct stream *s = &r->streams[i];
		int ret = peek_whole(r, s, &e);

		if (ret < 0)
			return err_set(err, -ret, "the trace is garbled at event %llu of %s",
				       (unsigned long long)(s->next - s->have + s->at),
				       r->header.threads[s->thread].name);
		if (ret && (!first || e->time < first->time)) {
			first = e;
			from = s;
		}
	}
	return first ? take(r, from, first, record) : 0;
}
