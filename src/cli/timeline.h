/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * timeline - what a person reads of a boot's phases (phases.h), and the times that they allow them.
 */
#ifndef SRC_CLI_TIMELINE_H
#define SRC_CLI_TIMELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "skep/phases.h"

struct err;

#define BUDGETS_MAX 32

/* Beside phases: the time up to init, all of the time, and up to a mark. */
enum budget_kind {
	BUDGET_BOOT = PHASE_KINDS,
	BUDGET_TOTAL,
	BUDGET_MARK,
};

struct timeline_args {
	bool show;
	unsigned int budget_count;
	struct budget {
		unsigned int kind;          /* enum phase_kind, enum budget_kind */
		char mark[PHASE_MARK_NAME]; /* BUDGET_MARK */
		uint64_t most;              /* ns */
	} budgets[BUDGETS_MAX];
};

/* @text is PHASE=TIME, TIME a number with ms, us or s. -EINVAL and one sentence. */
int budget_add(struct timeline_args *args, const char *text, struct err *err);

/* Whether @t keeps to all budgets; if not, @why is a sentence that says which it does not. */
bool budgets_kept(const struct timeline_args *args, const struct timeline *t, char *why,
		  size_t room);

/* A table with bars, a line a phase. */
void timeline_print(const struct timeline *t, FILE *to);

#endif
