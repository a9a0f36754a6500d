/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * view - pictures of a trace: a page for a browser, and what Perfetto loads.
 *
 * Both read the trace from its first event to its last and write as they go. What the guest did is
 * in the trace, and so are its words: none of it becomes markup or breaks out of a string.
 * One thread.
 */
#ifndef SKEP_VIEW_H
#define SKEP_VIEW_H

#include <stdbool.h>

struct err;
struct explanation;
struct symbols;
struct trace_reader;
struct trace_record;

struct view_options {
	const char *title; /* what the picture is called; any bytes */
	/* NULL: all. Events that are not wanted are left out, but count where others are timed. */
	bool (*wanted)(const void *arg, const struct trace_record *record,
		       const struct explanation *meaning);
	const void *arg;
	struct symbols *symbols; /* NULL: none */
};

/* One self-contained HTML page. The newest VIEW_PAGE_EVENTS are in it; it says how many are not. */
int view_page(struct trace_reader *reader, const struct view_options *options, const char *path,
	      struct err *err);
#define VIEW_PAGE_EVENTS 4000000

/* Chrome's trace event format, JSON. */
int view_perfetto(struct trace_reader *reader, const struct view_options *options, const char *path,
		  struct err *err);

#endif
