/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of `skep trace` share: trace.c has the options and the filter, trace_print.c makes
 * a line of an event, trace_count.c adds up. One thread.
 */
#ifndef SRC_CLI_TRACE_CLI_H
#define SRC_CLI_TRACE_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "skep/explain.h"
#include "skep/trace.h"

struct symbols;

/* An event with what can be said of it. */
struct trace_line {
	const struct trace_record *record;
	struct explanation meaning; /* of an access */
	/* Of an exit: how long the guest ran; of an entry: how long it waited. 0: unknown. */
	uint64_t lasted;
	/* Of an access that an exit was for: where the guest made it. 0: unknown. */
	uint64_t rip;
};

struct trace_view {
	const struct trace_header *header;
	struct symbols *symbols; /* NULL: none */
};

/* "pic0", "disk0": the device's id, and which part of it. */
void trace_label(const struct trace_view *view, const struct trace_line *line, char *text,
		 size_t room);
/* What happened, behind time, thread and kind. */
void trace_describe(const struct trace_view *view, const struct trace_line *line, char *text,
		    size_t room);
/* The whole line. */
void trace_print(const struct trace_view *view, const struct trace_line *line);

struct trace_counts;
int trace_counts_create(struct trace_counts **counts, const struct trace_view *view,
			struct err *err);
void trace_counts_destroy(struct trace_counts *counts);
void trace_count(struct trace_counts *counts, const struct trace_line *line);
void trace_counts_print(struct trace_counts *counts);

#endif
