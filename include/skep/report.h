/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report - what became of runs (runner.h), in the forms that other programs read, and a folder for
 * each that failed.
 *
 * Each is a watch to be hung into the runner's list, and ends with its close(). Files are opened
 * before anything runs, so what cannot be written is told then. What a guest said goes into reports
 * as safe text (text.h), whatever it was.
 */
#ifndef SKEP_REPORT_H
#define SKEP_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "skep/runner.h"

/* The Test Anything Protocol, version 13, on @to: a line for each run as it ends. */
int report_tap_open(struct run_watch **w, FILE *to, unsigned int runs, struct err *err);

/* A JUnit file of one suite, @suite. */
int report_junit_open(struct run_watch **w, const char *path, const char *suite, struct err *err);

/* A JSON object on a line of its own for each run, as it ends. */
int report_jsonl_open(struct run_watch **w, const char *path, struct err *err);

/*
 * A folder for each run that has failed, or with @all for each: spec->folder, which is within
 * @path; that is made if it does not exist. What a report left there before on the same runs goes.
 * @program is what replay.sh starts.
 */
int report_folder_open(struct run_watch **w, const char *path, bool all, const char *program,
		       const struct run_spec *specs, unsigned int runs, struct err *err);

/*
 * For a person, on @to: a line for each run as it ends, and the totals. On a terminal that can,
 * only of those that have not passed, above a table of those under way. @total is how many there
 * are.
 */
int report_lines_open(struct run_watch **w, FILE *to, unsigned int total, struct err *err);

/* What a single run has to say, as it comes: the console to standard output, messages to stderr. */
int report_echo_open(struct run_watch **w, struct err *err);

#endif
