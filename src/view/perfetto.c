/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A trace in Chrome's trace event format, which ui.perfetto.dev loads. An event is written as it is
 * read; times are microseconds since recording began.
 *
 * Threads are threads: the exits of a vCPU are its slices ("B" and "E"), what happens meanwhile are
 * instants. Interrupts from raised to taken and from taken to ended, and chains from popped to
 * done, overlap, so they are asynchronous slices ("b" and "e") with numbers of their own.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "skep/err.h"
#include "skep/trace.h"
#include "skep/view.h"

#include "out.h"
#include "story.h"

#define PID      1
#define NO_TRACK 0

struct writer {
	struct trace_reader *reader;
	const struct trace_header *header;
	const struct view_options *options;
	struct story *story;
	FILE *out;
	uint64_t slices;              /* asynchronous ones so far */
	bool open[TRACE_THREADS_MAX]; /* the thread has a slice that goes on */
	uint64_t end;
	bool more; /* it is not the first event */
};

/* A string of JSON, whatever it holds. */
static void put_text(struct writer *w, const char *text)
{
	json_t *string = out_text(text);

	if (!string || json_dumpf(string, w->out, JSON_ENCODE_ANY | JSON_ENSURE_ASCII))
		fputs("\"\"", w->out);
	json_decref(string);
}

/* The beginning that all events share. */
static void begin(struct writer *w, const char *phase, unsigned int thread, uint64_t at)
{
	fprintf(w->out, "%s{\"ph\":\"%s\",\"pid\":%d,\"tid\":%u,\"ts\":%" PRIu64 ".%03u",
		w->more ? ",\n" : "", phase, PID, thread + 1, at / 1000, (unsigned int)(at % 1000));
	w->more = true;
}

static void put_name(struct writer *w, const char *key, const char *text)
{
	fprintf(w->out, ",\"%s\":", key);
	put_text(w, text);
}

static void put_number(struct writer *w, const char *key, uint64_t v)
{
	if (v)
		fprintf(w->out, ",\"%s\":\"%#" PRIx64 "\"", key, v);
}

static void put_args(struct writer *w, const struct story_event *e)
{
	const struct story_kind *k = story_kind(w->story, e->kind);

	fputs(",\"args\":{\"kind\":", w->out);
	put_text(w, k->name);
	if (e->device)
		put_name(w, "device", w->header->devices[e->device - 1].id);
	if (k->address)
		put_number(w, k->address, e->address);
	if (k->value)
		put_number(w, k->value, e->value);
	put_number(w, "rip", e->rip);
	if (e->took)
		fprintf(w->out, ",\"%s\":\"%" PRIu64 " ns\"", k->took ? k->took : "took", e->took);
	fputs("}}", w->out);
}

static void put_metadata(struct writer *w)
{
	const struct trace_header *h = w->header;

	begin(w, "M", NO_TRACK, 0);
	fputs(",\"name\":\"process_name\",\"args\":{\"name\":", w->out);
	put_text(w, w->options->title);
	fputs("}}", w->out);
	for (unsigned int i = 0; i < h->thread_count; i++) {
		begin(w, "M", i, 0);
		fputs(",\"name\":\"thread_name\",\"args\":{\"name\":", w->out);
		put_text(w, h->threads[i].name);
		fputs("}}", w->out);
	}
}

/* A slice of @e->took that ends with @e. */
static void put_slice(struct writer *w, const struct story_event *e, const char *track,
		      const char *name)
{
	const uint64_t number = ++w->slices;

	for (unsigned int i = 0; i < 2; i++) {
		begin(w, i ? "e" : "b", e->thread, i ? e->at : e->at - e->took);
		fprintf(w->out, ",\"id\":%" PRIu64, number);
		put_name(w, "cat", track);
		put_name(w, "name", name);
		fputs("}", w->out);
	}
}

static void put_event(struct writer *w, const struct story_event *e)
{
	const struct story_kind *k = story_kind(w->story, e->kind);
	char name[64];

	if (k->span) {
		begin(w, "B", e->thread, e->at);
		w->open[e->thread] = true;
	} else {
		begin(w, "i", e->thread, e->at);
		fputs(",\"s\":\"t\"", w->out);
	}
	put_name(w, "name", e->words);
	put_args(w, e);
	if (!e->took || e->took > e->at)
		return;
	if (e->line && (k->role == ROLE_TAKEN || k->role == ROLE_ENDED)) {
		const char *line = story_line(w->story, e->line - 1);

		snprintf(name, sizeof(name), "%s %s", line,
			 k->role == ROLE_TAKEN ? "pending" : "in service");
		put_slice(w, e, line, name);
	} else if (k->role == ROLE_CHAIN) {
		snprintf(name, sizeof(name), "%s chains", w->header->devices[e->device - 1].id);
		put_slice(w, e, name, name);
	}
}

static void put_end(struct writer *w, unsigned int thread, uint64_t at)
{
	if (!w->open[thread])
		return;
	begin(w, "E", thread, at);
	fputs("}", w->out);
	w->open[thread] = false;
}

static void put_phases(struct writer *w)
{
	const struct story_phase *f;

	for (unsigned int i = 0; (f = story_phase(w->story, i)); i++) {
		const struct story_event e = {
			.at = f->end ? f->end : w->end,
			.took = (f->end ? f->end : w->end) - f->start,
		};

		put_slice(w, &e, "phases", f->name);
	}
}

static int write_all(struct writer *w, struct err *err)
{
	struct story_event e;
	int step;

	fputs("{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n", w->out);
	put_metadata(w);
	while ((step = story_next(w->story, &e, err)) > STORY_OVER) {
		w->end = e.at;
		if (step == STORY_ENTERED)
			put_end(w, e.thread, e.at);
		else if (story_wanted(w->story, w->options))
			put_event(w, &e);
	}
	for (unsigned int i = 0; i < w->header->thread_count; i++)
		put_end(w, i, w->end);
	put_phases(w);
	fprintf(w->out, "\n],\"otherData\":{\"lost\":\"%" PRIu64 "\",\"maker\":",
		trace_reader_lost(w->reader));
	put_text(w, w->header->maker);
	fputs("}}\n", w->out);
	return step;
}

int view_perfetto(struct trace_reader *reader, const struct view_options *options, const char *path,
		  struct err *err)
{
	struct writer *w = calloc(1, sizeof(*w));
	int ret;

	if (!w)
		return err_sys(err, ENOMEM, "a picture for Perfetto");
	w->reader = reader;
	w->header = trace_reader_header(reader);
	w->options = options;
	w->out = out_open(path, err);
	if (!w->out) {
		free(w);
		return -EIO;
	}
	w->story = story_new(reader, options->symbols);
	ret = w->story ? write_all(w, err) : err_sys(err, ENOMEM, "a picture for Perfetto");
	ret = out_close(w->out, path, ret, err);
	story_free(w->story);
	free(w);
	return ret;
}
