/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * judge - whether a guest says what was expected of it.
 *
 * Steps are taken in order: an expectation is met by the first text that it matches behind what the
 * one before it matched, on any console; a text to be sent is due when all before it is done; a
 * wait lets time go by, and what comes meanwhile meets nothing. Rules hold at any time: what is
 * forbidden, what is enough, what is a failure; and the patterns of patterns.h.
 *
 * - Expressions are matched against lines (stream.h), also as far as a line has come (regex.h).
 *   Which verdict it is does not depend on how the text was cut.
 * - In one line, of what is forbidden and the last expectation that comes first which ends first; a
 *   verdict waits until that is sure, but no longer than the line stands still for JUDGE_QUIET. A
 *   line that meets an expectation is not held against the guest by patterns, so that somebody can
 *   expect a panic.
 * - A failure by a pattern is a verdict only JUDGE_SETTLE later, when the rest has been said.
 *
 * Pure: time is what callers say. One thread at a time.
 */
#ifndef SRC_SMOKE_JUDGE_H
#define SRC_SMOKE_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "skep/clock.h"
#include "skep/device.h"

struct err;
struct judge;

/* A verdict is out within 100 ms of its cause: this, JUDGE_QUIET, and a batch of text. */
#define JUDGE_SETTLE (30 * NS_PER_MS)
/* A line that has not ended for so long is looked at for failures as it is. */
#define JUDGE_QUIET (20 * NS_PER_MS)

#define JUDGE_LINE_MAX 160 /* bytes of a line that are kept */
#define JUDGE_LINES    24  /* the last lines that are kept */

enum judge_rule { RULE_FORBID, RULE_PASS, RULE_FAIL, RULE_COUNT };

int judge_new(struct judge **j, struct err *err);
void judge_free(struct judge *j);

/*
 * What is asked of the guest. @where says who asks, for sentences: "--expect", "FILE:LINE". Before
 * judge_begin(); -EINVAL and a sentence.
 */
int judge_expect(struct judge *j, const char *where, const char *regex, struct err *err);
/* Of the last expectation: seconds from when its turn came, fractions allowed. */
int judge_within(struct judge *j, const char *where, const char *seconds, struct err *err);
/* \n \r \t \e \\ and \xNN are what they are in C. */
int judge_send(struct judge *j, const char *where, const char *text, struct err *err);
int judge_wait(struct judge *j, const char *where, const char *seconds, struct err *err);
int judge_rule(struct judge *j, const char *where, enum judge_rule rule, const char *regex,
	       struct err *err);
/* Which of patterns.h. */
void judge_set_patterns(struct judge *j, unsigned int sets);
/* The same, unless somebody has said which; without either, none. */
void judge_usual_patterns(struct judge *j, unsigned int sets);
/* All expectations met are no verdict: only the guest's end is. */
void judge_until_end(struct judge *j);

/* The guest starts. */
int judge_begin(struct judge *j, uint64_t now, struct err *err);

/* A console that is listened to; returns its number, or -ENOSPC or -ENOMEM. */
#define JUDGE_CONSOLES 16
int judge_console(struct judge *j, const char *name);
const char *judge_console_name(const struct judge *j, int console);

/* Console @console said this. */
void judge_feed(struct judge *j, int console, const uint8_t *data, size_t len, uint64_t now);
/* All that has been said so far has been fed: looks at unfinished lines, and at the clock. */
void judge_look(struct judge *j, uint64_t now);
/* When judge_look() is due if nothing is said; UINT64_MAX: never. */
uint64_t judge_due(const struct judge *j);
/* The guest has ended, and no more will be said. */
void judge_end(struct judge *j, uint64_t now);

/* The next text that is due, on console *@console, -1 for the default; false: none. */
bool judge_take_send(struct judge *j, const char **text, size_t *len, int *console);

struct judge_verdict {
	struct ending ending;
	char line[JUDGE_LINE_MAX + 1]; /* as it was said; "": none */
	const char *name;              /* the pattern's; NULL: none */
	int console;
	uint64_t at; /* when its cause was seen */
};

/* NULL: none yet. Once it is out, it stays. */
const struct judge_verdict *judge_verdict(const struct judge *j, uint64_t now);

/*
 * What is to become of a machine that came to @ending by itself: a verdict that was on its way goes
 * before it, and a good end is none while expectations are not met.
 */
void judge_correct(struct judge *j, struct ending *ending);

/* For reports: expectation @n, counted from 0; false past the last. */
struct judge_report {
	const char *where, *regex;
	bool met;
	uint64_t at;      /* when */
	const char *line; /* in which line, as it was said */
	int console;
};
bool judge_report(const struct judge *j, unsigned int n, struct judge_report *report);
/* The last lines, oldest first; @n counts from 0; NULL past the last. */
const char *judge_last_line(const struct judge *j, unsigned int n, int *console);

#endif
