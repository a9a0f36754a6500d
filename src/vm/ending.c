/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How an ending is told: as an exit status, and in a word.
 */

#include "skep/bits.h"
#include "skep/vm.h"

static const struct {
	const char *word;
	int status;
} told[] = {
	[END_POWEROFF] = {"poweroff", 0},
	[END_CODE] = {"code", 0}, /* plus the code */
	[END_PANIC] = {"panic", 101},
	[END_RESET] = {"reset", 104},
	[END_TRIPLE_FAULT] = {"triple-fault", 102},
	[END_STUCK] = {"stuck", 103},
	[END_HALTED] = {"hang", 105},
	[END_USER] = {"user", 0},
	[END_TIMEOUT] = {"timeout", 124},
	[END_SIGNAL] = {"signal", 128}, /* plus its number */
	[END_HOST] = {"host", 125},
	[END_BUDGET] = {"budget", 100},
	[END_MET] = {"expected", 0},
	[END_UNMET] = {"unexpected", 100},
	[END_LINT] = {"lint", 100},
};

int ending_status(const struct ending *ending)
{
	int status = told[ending->kind].status;

	if (ending->kind == END_CODE || ending->kind == END_SIGNAL)
		status += (int)ending->code;
	return status;
}

const char *ending_word(const struct ending *ending)
{
	return ending->kind < ARRAY_SIZE(told) ? told[ending->kind].word : "";
}
