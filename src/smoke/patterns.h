/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * patterns - what kernels say when they have failed: a table of expressions, each with its name,
 * the verdict, and a line on which it is tested. Sets are for a family of kernels each.
 */
#ifndef SRC_SMOKE_PATTERNS_H
#define SRC_SMOKE_PATTERNS_H

#include <stdbool.h>
#include <stddef.h>

#include "skep/device.h"

struct err;

enum pattern_set {
	PATTERNS_LINUX = 1U << 0,
	PATTERNS_BSD = 1U << 1,
	PATTERNS_XEN = 1U << 2,
	PATTERNS_STUDENT = 1U << 3,
	PATTERNS_LOCKUP = 1U << 4,
	PATTERNS_WARNING = 1U << 5,
};

#define PATTERNS_USUAL (PATTERNS_LINUX | PATTERNS_BSD | PATTERNS_XEN | PATTERNS_STUDENT)

/*
 * "<0>", "[    1.234567]", "[    T1]" or "[ C0 ]", in front of a line of Linux's or NetBSD's log.
 * It is here so that what begins so is looked for with one look at it.
 */
#define PATTERN_HEAD \
	"^(?:<\\d++>)?+(?:\\[ *+\\d++\\.\\d++\\]\\s*+)?+(?:\\[ *+[TC]\\d++ *+\\]\\s*+)?+"

struct pattern {
	enum pattern_set set;
	const char *name;
	const char *regex;
	enum end_kind kind; /* END_PANIC, or END_HALTED for a kernel that says it is stuck */
	const char *what;   /* "the guest's kernel panicked": how a sentence begins */
	const char *line;   /* one that it is for */
};

/* All of them; the name of the last is NULL. */
extern const struct pattern patterns[];

/* Sets by name, separated by commas: "none", "all", or those of `enum pattern_set`. */
int patterns_parse(unsigned int *sets, const char *text, struct err *err);

#endif
