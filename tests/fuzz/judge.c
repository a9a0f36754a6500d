/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest says, against expectations of many kinds: whole and cut in two it comes to the same.
 * The first two bytes say where it is cut.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/smoke/judge.h"
#include "../../src/smoke/patterns.h"
#include "skep/bits.h"
#include "skep/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum end_kind outcome(const uint8_t *text, size_t len, size_t at)
{
	struct ending ending = {.kind = END_POWEROFF, .reason = "the guest powered off"};
	struct judge *j;
	struct err err;

	if (judge_new(&j, &err) || judge_expect(j, "1", "a\\b", &err) ||
	    judge_expect(j, "2", "^b.*c", &err) || judge_expect(j, "3", "d$", &err) ||
	    judge_rule(j, "4", RULE_FORBID, "e[^f]", &err) ||
	    judge_rule(j, "5", RULE_PASS, "g{3}", &err))
		abort();
	judge_set_patterns(j, PATTERNS_USUAL);
	if (judge_begin(j, 0, &err) || judge_console(j, "com1"))
		abort();
	judge_feed(j, 0, text, at, 0);
	judge_look(j, 0);
	judge_feed(j, 0, text + at, len - at, 1);
	judge_look(j, 1);
	judge_end(j, 2);
	judge_correct(j, &ending);
	judge_free(j);
	return ending.kind;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t at;

	if (size < 2)
		return 0;
	at = load_le16(data);
	data += 2;
	size -= 2;
	if (outcome(data, size, MIN(at, size)) != outcome(data, size, size))
		abort();
	return 0;
}
