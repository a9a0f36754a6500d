/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lint - what --lint does: has the rules of skep/lint.h listen to a machine that runs, and to a
 * trace of one that ran.
 */
#ifndef SRC_CLI_LINT_H
#define SRC_CLI_LINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "skep/lint.h"
#include "skep/trace.h"

struct err;
struct log;
struct symbols;
struct trace_reader;
struct vm;

/* Of one machine: lint_begin() to lint_end(), and lint_free() in any case. */
struct lint_run {
	bool on;    /* somebody wants it */
	bool fails; /* a finding fails the run */

	/* Private. */
	struct lint *lint;
	struct lint_live live;
	struct symbols *symbols;
	struct trace_tap tap;
	struct log *log;
	struct vm *vm;
	uint64_t start;
};

/*
 * The machine was made, with trace.memory=on, and does not run yet. @symbols is an ELF file; NULL:
 * @kernel, if it is one. What is found is said on @log at once.
 */
int lint_begin(struct lint_run *run, struct vm *vm, const char *symbols, const char *kernel,
	       struct log *log, struct err *err);
/* It has ended: says what was found only now, and how much was not told. */
void lint_end(struct lint_run *run);
void lint_free(struct lint_run *run);

/* How many findings were told, 0 without --lint; and all of it for a report. */
size_t lint_count(const struct lint_run *run);
json_t *lint_json(const struct lint_run *run);

/* The rules over a whole trace; prints what they find. */
int lint_trace(struct trace_reader *reader, const char *symbols, struct err *err);
/* The table of rules, for a person. */
void lint_print_rules(void);

#endif
