/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * err - why something could not be done, in one sentence for a person.
 *
 * A function that can fail on the host's account returns 0 or -errno and fills a struct err that
 * its caller owns. The layer that fails says what it tried, on what, and why; each layer above may
 * put its context in front, and what to do behind. Guest misbehaviour is not an err: it is an
 * outcome that the hardware defines. A bug in skep is not an err either: see bug_on().
 */
#ifndef SKEP_ERR_H
#define SKEP_ERR_H

#include <errno.h>

struct err {
	char text[512];
};

/* Sets the sentence and returns -@errnum. A NULL @e is allowed: only the code is wanted then. */
int err_set(struct err *e, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Like err_set(), with ": " and the text of @errnum behind the sentence. */
int err_sys(struct err *e, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "context: " in front of the sentence. */
void err_prefix(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "; advice" behind the sentence. */
void err_advise(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/*
 * An always-on check for bugs in skep itself, never for what a guest, a file or the host did.
 * Stops the process with a report and abort().
 */
#define bug_on(cond)                                           \
	do {                                                   \
		if (__builtin_expect(!!(cond), 0))             \
			bug_report(#cond, __FILE__, __LINE__); \
	} while (0)

__attribute__((noreturn, cold)) void bug_report(const char *cond, const char *file, int line);

#endif
