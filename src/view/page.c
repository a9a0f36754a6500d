/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A trace as one HTML page. The frame is page.html, in which page.css, page.js and the trace take
 * the places of words between two '@'.
 *
 * Nothing of the trace is markup: its events are columns.h's blocks, and all texts are in one JSON
 * object, which is written as a block too, so that not one of their characters stands in the page
 * as it is. The page's policy allows its own script and its own style, by their hashes (CSP
 * 3, 2.3.1), and nothing else: a text that became markup all the same could not run or load
 * anything.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/embed.h"
#include "skep/err.h"
#include "skep/trace.h"
#include "skep/view.h"

#include "columns.h"
#include "out.h"
#include "story.h"
#include "strings.h"

EMBED(view_frame, SKEP_VIEW_FRAME);

#define HASH_BYTES 32

/* As page.js names them. */
static const char *const roles[] = {
	[ROLE_NONE] = "",       [ROLE_EXIT] = "exit",   [ROLE_RAISED] = "raised",
	[ROLE_TAKEN] = "taken", [ROLE_ENDED] = "ended", [ROLE_CHAIN] = "chain",
};

struct page {
	struct trace_reader *reader;
	const struct view_options *options;
	struct story *story;
	struct columns *columns;
	struct strings *strings;
	uint64_t left_out; /* older events */
	uint64_t end;      /* time of the last event that is in the page */
	uint64_t last;     /* of the last in the trace */
	/* Kinds that occur, by the numbers that they have here. */
	unsigned int kind_count;
	uint8_t numbers[256]; /* of a kind of the story's, and one; 0: did not occur */
	uint8_t kinds[256];
	/* The last span of a thread, if it goes on: the number of its event, and one. */
	uint64_t open[TRACE_THREADS_MAX];
	json_t *late; /* [number, ns]: of spans that ended when their block had been written */
};

/* The trace */

static unsigned int number_of(struct page *p, unsigned int kind)
{
	if (!p->numbers[kind]) {
		p->kinds[p->kind_count] = (uint8_t)kind;
		p->numbers[kind] = (uint8_t)++p->kind_count;
	}
	return p->numbers[kind] - 1U;
}

static int add(struct page *p, const struct story_event *e)
{
	const uint64_t row[COLUMNS] = {
		[AT] = e->at,           [KIND] = number_of(p, e->kind),
		[THREAD] = e->thread,   [DEVICE] = e->device,
		[LINE] = e->line,       [TEXT] = strings_add(p->strings, e->words),
		[ADDRESS] = e->address, [VALUE] = e->value,
		[TOOK] = e->took,       [RIP] = e->rip,
	};

	if (story_kind(p->story, e->kind)->span)
		p->open[e->thread] = columns_count(p->columns) + 1;
	p->end = e->at;
	return columns_add(p->columns, row);
}

static void close_span(struct page *p, const struct story_event *e)
{
	const uint64_t number = p->open[e->thread];

	if (!number)
		return;
	p->open[e->thread] = 0;
	p->end = e->at;
	if (columns_took(p->columns, number - 1, e->took))
		json_array_append_new(
			p->late, json_pack("[I,I]", (json_int_t)(number - 1), (json_int_t)e->took));
}

/* How many events there would be. */
static int count(struct page *p, uint64_t *n, struct err *err)
{
	struct story_event *e = malloc(sizeof(*e));
	int step;

	*n = 0;
	p->story = story_new(p->reader, p->options->symbols);
	if (!e || !p->story) {
		step = err_sys(err, ENOMEM, "a page");
	} else {
		while ((step = story_next(p->story, e, err)) > STORY_OVER)
			if (step == STORY_EVENT && story_wanted(p->story, p->options))
				++*n;
	}
	story_free(p->story);
	p->story = NULL;
	free(e);
	return step;
}

static int write_event(struct page *p, const struct story_event *e, uint64_t *skip)
{
	if (story_wanted(p->story, p->options) && !*skip)
		return add(p, e);
	if (story_wanted(p->story, p->options))
		--*skip;
	if (story_kind(p->story, e->kind)->span)
		p->open[e->thread] = 0;
	return 0;
}

static int write_events(struct page *p, struct err *err)
{
	uint64_t skip = p->left_out;
	struct story_event e;
	int step, ret = 0;

	while (!ret && (step = story_next(p->story, &e, err)) != STORY_OVER) {
		if (step < 0)
			return step;
		p->last = e.at;
		if (step == STORY_EVENT)
			ret = write_event(p, &e, &skip);
		else
			close_span(p, &e);
	}
	if (!ret)
		ret = columns_finish(p->columns);
	return ret ? err_sys(err, -ret, "a page") : 0;
}

/* Everything else, in JSON */

static json_t *kinds_json(const struct page *p)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < p->kind_count; i++) {
		const struct story_kind *k = story_kind(p->story, p->kinds[i]);

		json_array_append_new(list,
				      json_pack("{s:s, s:s, s:i, s:b, s:s?, s:s?, s:s?}", "name",
						k->name, "role", roles[k->role], "colour",
						k->colour, "span", k->span, "took", k->took,
						"address", k->address, "value", k->value));
	}
	return list;
}

static json_t *threads_json(const struct trace_header *h)
{
	static const char *const words[TRACE_THREAD_KINDS] = {"control", "vCPU", "worker"};
	json_t *list = json_array();

	for (unsigned int i = 0; i < h->thread_count; i++)
		json_array_append_new(list,
				      json_pack("{s:o, s:s}", "name", out_text(h->threads[i].name),
						"kind", words[h->threads[i].kind]));
	return list;
}

static json_t *devices_json(const struct trace_header *h)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < h->device_count; i++)
		json_array_append_new(list,
				      json_pack("{s:o, s:o}", "name", out_text(h->devices[i].id),
						"model", out_text(h->devices[i].model)));
	return list;
}

static json_t *lines_json(const struct page *p)
{
	json_t *list = json_array();

	for (unsigned int i = 0; story_line(p->story, i); i++)
		json_array_append_new(list, out_text(story_line(p->story, i)));
	return list;
}

static json_t *phases_json(const struct page *p)
{
	json_t *list = json_array();
	const struct story_phase *f;

	for (unsigned int i = 0; (f = story_phase(p->story, i)); i++)
		json_array_append_new(list, json_pack("{s:o, s:I, s:I}", "name", out_text(f->name),
						      "start", (json_int_t)f->start, "end",
						      (json_int_t)(f->end ? f->end : p->last)));
	return list;
}

static json_t *strings_json(const struct page *p)
{
	json_t *list = json_array();
	const char *text;

	for (uint32_t i = 0; (text = strings_get(p->strings, i)); i++)
		json_array_append_new(list, out_text(text));
	return list;
}

/* What a person must know of what is not there. */
static json_t *notices_json(const struct page *p)
{
	const uint64_t lost = trace_reader_lost(p->reader);
	json_t *list = json_array();

	if (lost)
		json_array_append_new(list,
				      json_sprintf("%llu older events are lost: the trace's file "
						   "had no room for more.",
						   (unsigned long long)lost));
	if (p->left_out)
		json_array_append_new(
			list, json_sprintf("%llu older events of the trace are not in "
					   "this page, which holds %d at most.",
					   (unsigned long long)p->left_out, VIEW_PAGE_EVENTS));
	if (p->options->wanted)
		json_array_append_new(list, json_string("Only a part of the trace was asked for."));
	return list;
}

static int write_head(struct page *p, struct err *err)
{
	const struct trace_header *h = trace_reader_header(p->reader);
	json_t *head =
		json_pack("{s:o, s:o, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:O}", "title",
			  out_text(p->options->title), "maker", out_text(h->maker), "events",
			  (json_int_t)columns_count(p->columns), "end", (json_int_t)p->end, "kinds",
			  kinds_json(p), "threads", threads_json(h), "devices", devices_json(h),
			  "lines", lines_json(p), "phases", phases_json(p), "strings",
			  strings_json(p), "notices", notices_json(p), "late", p->late);
	char *text = head ? json_dumps(head, JSON_COMPACT) : NULL;
	int ret = text ? columns_bytes(p->columns, text, strlen(text)) : -ENOMEM;

	free(text);
	json_decref(head);
	return ret ? err_sys(err, -ret, "a page") : 0;
}

/* The frame */

/* Like 'sha256-…' of a policy; @hex is what CMake made of the file. */
static void write_hash(FILE *out, const char *hex)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t bytes[HASH_BYTES];

	for (unsigned int i = 0; i < HASH_BYTES; i++)
		bytes[i] = (uint8_t)((strchr(digits, hex[2UL * i]) - digits) << 4 |
				     (strchr(digits, hex[2UL * i + 1]) - digits));
	fputs("'sha256-", out);
	base64_write(out, bytes, sizeof(bytes));
	fputs("'", out);
}

static void write_policy(FILE *out)
{
	fputs("default-src 'none'; base-uri 'none'; form-action 'none'; script-src ", out);
	write_hash(out, SKEP_VIEW_SCRIPT_HASH);
	fputs("; style-src ", out);
	write_hash(out, SKEP_VIEW_STYLE_HASH);
}

/* Writes the frame up to the next "@WORD@", and returns what is behind that. */
static const char *write_frame(FILE *out, const char *frame, const char *word)
{
	const char *at = strstr(frame, word);

	bug_on(!at);
	fwrite(frame, 1, (size_t)(at - frame), out);
	return at + strlen(word);
}

static int write_page(struct page *p, FILE *out, struct err *err)
{
	char *frame = columns_frame(p->columns, view_frame_start,
				    (size_t)(view_frame_end - view_frame_start));
	const char *at;
	int ret;

	if (!frame)
		return err_sys(err, ENOMEM, "a page");
	at = write_frame(out, frame, "@POLICY@");
	write_policy(out);
	at = write_frame(out, at, "@BLOCKS@");
	ret = write_events(p, err);
	if (!ret)
		ret = write_head(p, err);
	fputs(at, out);
	free(frame);
	return ret;
}

static int prepare(struct page *p, FILE *out, struct err *err)
{
	uint64_t events;
	int ret = columns_new(&p->columns, out, err);

	/* Counting takes a reading of the whole trace, and most are not so long. */
	if (!ret && trace_reader_events(p->reader) > VIEW_PAGE_EVENTS) {
		ret = count(p, &events, err);
		p->left_out = events > VIEW_PAGE_EVENTS ? events - VIEW_PAGE_EVENTS : 0;
	}
	if (ret)
		return ret;
	p->story = story_new(p->reader, p->options->symbols);
	p->strings = strings_new();
	p->late = json_array();
	return p->story && p->strings && p->late ? 0 : err_sys(err, ENOMEM, "a page");
}

int view_page(struct trace_reader *reader, const struct view_options *options, const char *path,
	      struct err *err)
{
	struct page *p = calloc(1, sizeof(*p));
	FILE *out;
	int ret;

	if (!p)
		return err_sys(err, ENOMEM, "a page");
	p->reader = reader;
	p->options = options;
	out = out_open(path, err);
	if (out) {
		ret = prepare(p, out, err);
		if (!ret)
			ret = write_page(p, out, err);
		ret = out_close(out, path, ret, err);
	} else {
		ret = -EIO;
	}
	json_decref(p->late);
	strings_free(p->strings);
	story_free(p->story);
	columns_free(p->columns);
	free(p);
	return ret;
}
