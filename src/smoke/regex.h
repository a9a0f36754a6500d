/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * regex - regular expressions over what a guest says, by PCRE2.
 *
 * The text is hostile and the expression a person's: text is bytes, never decoded, and the work on
 * one search is bounded. An expression that runs into the bound on a text is REGEX_COSTLY, which is
 * neither a match nor none.
 *
 * Text that may go on matches only where nothing that follows could change that: "ok\b" does not
 * match in "ok" before the line has ended, nor does ".*". So what is found does not depend on how a
 * guest's text was cut.
 *
 * PCRE2 is opened with the first expression. One thread at a time uses a set and its expressions.
 */
#ifndef SRC_SMOKE_REGEX_H
#define SRC_SMOKE_REGEX_H

#include <stdbool.h>
#include <stddef.h>

struct err;
struct regex;
struct regexes; /* the library, and what searches share */

enum regex_found {
	REGEX_NO,
	REGEX_YES,
	REGEX_OPEN, /* that depends on what follows */
	REGEX_COSTLY,
};

struct regex_text {
	const char *at; /* bytes before @from can be looked back at */
	size_t from;
	size_t len;
	bool cut;   /* a line's beginning is not there: ^ does not match at 0 */
	bool going; /* more may follow: neither $ nor what depends on the end matches */
	bool piece; /* more follows, and it is decided without: $ does not match */
};

int regexes_open(struct regexes **set, struct err *err);
void regexes_close(struct regexes *set);

/* What an expression is made fast for, which takes time, and memory that can be executed. */
enum regex_use {
	REGEX_ONCE,  /* nothing: it may be made while the guest runs */
	REGEX_LINES, /* lines that are whole */
	REGEX_TEXT,  /* text that may go on as well */
};

/* -EINVAL and the reason, with the byte at which the expression goes wrong. */
int regex_compile(struct regex **re, struct regexes *set, const char *pattern, enum regex_use use,
		  struct err *err);
void regex_free(struct regex *re);

/* @start and @end are set for REGEX_YES alone. */
enum regex_found regex_search(const struct regex *re, const struct regex_text *text, size_t *start,
			      size_t *end);

#endif
