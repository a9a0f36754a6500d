/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of `skep smoke` share: one run (smoke.c), and many (many.c). */
#ifndef SRC_CLI_SMOKE_H
#define SRC_CLI_SMOKE_H

#include <stdint.h>

#include "../smoke/exec.h"
#include "machine.h"

struct judge;
struct watch;

/* What is asked of many runs, and which reports of them; all NULL, 0 and false: of one, and none.
 */
struct many {
	const char *matrix, *junit, *jsonl, *report;
	unsigned int jobs, repeat;
	bool fail_fast, keep_going, tap, report_all;
	bool wanted; /* any of the flags was given */
};

struct smoke {
	struct machine_args machine; /* first: shared flags fill it */
	struct judge *judge;
	struct watch *watch;
	bool quiet;
	uint64_t hang; /* seconds */
	struct exec exec;
	struct many many;
};

/* With what differs from run; smoke_free() either way. */
int smoke_init(struct smoke *s, struct err *err);
void smoke_free(struct smoke *s);

/* Flags of struct many, by their key. */
int many_apply(void *ctx, const struct flag *flag, const char *value, struct err *err);

/*
 * Makes the runs that @s asks for, of which @argv is the command line as it was given, "smoke"
 * first. Returns an exit status.
 */
int many_run(struct smoke *s, int argc, char **argv);

#endif
