/* SPDX-License-Identifier: BSD-2-Clause */
/* What the forms of reports share. Runner's thread. */
#ifndef SRC_SMOKE_REPORT_PRIV_H
#define SRC_SMOKE_REPORT_PRIV_H

#include <jansson.h>

#include "skep/report.h"
#include "skep/text.h"

/* How much of a console's end goes into reports that are read as a whole. */
#define REPORT_TAIL_MAX  4096u
#define REPORT_TAIL_ROOM TEXT_SAFE_ROOM(REPORT_TAIL_MAX)

/* The last lines of @tail as safe text, without an empty line at the end; "" for NULL. */
void report_tail(const struct run_tail *tail, char text[REPORT_TAIL_ROOM]);

/* Whether there is a folder to point to when all is done. */
bool report_has_folder(const struct run_record *r);

/*
 * All that is known of a run, as an object; NULL when memory is out. Without @texts what the run
 * said of itself lacks the long ones, which a folder has as files.
 */
json_t *report_object(const struct run_record *r, bool texts);
/* The members of a run's own object that are such texts, and the files for them. */
struct report_text {
	const char *member, *file;
};
#define REPORT_TEXTS 3u
extern const struct report_text report_texts[REPORT_TEXTS];

/* Closes @f, which may be NULL; what could not be written to @path is told. */
int report_close_file(FILE *f, const char *path, struct err *err);

#endif
