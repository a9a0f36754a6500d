/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * check - assertions of a payload guest. Each payload is one source file, which includes this once.
 *
 * What does not hold is kept and said at the end: a payload may be using the console's UART for
 * something else. The first processor only.
 */
#ifndef TESTS_GUEST_CHECK_H
#define TESTS_GUEST_CHECK_H

#include "guest.h"

#define CHECK_KEPT 16

static struct {
	unsigned int done, failed;
	struct {
		unsigned int line;
		const char *what;
		uint64_t got, want;
	} kept[CHECK_KEPT];
} check_state;

static inline bool check_one(unsigned int line, const char *what, uint64_t got, uint64_t want)
{
	unsigned int n = check_state.failed;

	check_state.done++;
	if (got == want)
		return true;
	check_state.failed++;
	if (n >= CHECK_KEPT)
		return false;
	check_state.kept[n].line = line;
	check_state.kept[n].what = what;
	check_state.kept[n].got = got;
	check_state.kept[n].want = want;
	return false;
}

/* Both are true when the check holds. */
#define check_eq(got, want) check_one(__LINE__, #got, (uint64_t)(got), (uint64_t)(want))
#define check(condition)    check_one(__LINE__, #condition, !!(condition), 1)

/* The result of the payload @name. */
static inline int check_result(const char *name)
{
	unsigned int kept = check_state.failed < CHECK_KEPT ? check_state.failed : CHECK_KEPT;

	for (unsigned int i = 0; i < kept; i++)
		say("%s.c:%u: %s is %lx, not %lx\n", name, check_state.kept[i].line,
		    check_state.kept[i].what, check_state.kept[i].got, check_state.kept[i].want);
	if (check_state.failed)
		say("%s: %u of %u checks failed\n", name, check_state.failed, check_state.done);
	else
		say("%s: %u checks hold\n", name, check_state.done);
	return check_state.failed ? 1 : 0;
}

#endif
