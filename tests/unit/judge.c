/* SPDX-License-Identifier: BSD-2-Clause */
/* The judge: the same verdict however the text was cut, hostile text, order, time. */
#include "support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/smoke/judge.h"
#include "../../src/smoke/patterns.h"
#include "../../src/smoke/stream.h"
#include "skep/bits.h"
#include "skep/err.h"

#define T0 (1000 * NS_PER_S)

static struct judge *begun(void (*ask)(struct judge *j))
{
	struct judge *j;
	struct err err;

	assert_int_equal(judge_new(&j, &err), 0);
	ask(j);
	if (judge_begin(j, T0, &err))
		fail_msg("%s", err.text);
	assert_int_equal(judge_console(j, "com1"), 0);
	return j;
}

static void expect(struct judge *j, const char *regex)
{
	struct err err;

	if (judge_expect(j, "--expect", regex, &err))
		fail_msg("%s", err.text);
}

static void rule(struct judge *j, enum judge_rule kind, const char *regex)
{
	static const char *const where[RULE_COUNT] = {"--forbid", "pass", "fail"};
	struct err err;

	if (judge_rule(j, where[kind], kind, regex, &err))
		fail_msg("%s", err.text);
}

static void say(struct judge *j, const char *text, uint64_t now)
{
	judge_feed(j, 0, (const uint8_t *)text, strlen(text), now);
	judge_look(j, now);
}

/* The status and the reason of a guest that says @text and powers off. */
struct outcome {
	enum end_kind kind;
	char reason[384];
	bool early; /* the verdict was out before the guest's end */
};

static struct outcome end(struct judge *j, uint64_t now)
{
	struct outcome o = {.early = judge_verdict(j, now)};
	struct ending ending = {.kind = END_POWEROFF, .reason = "the guest powered off"};

	judge_end(j, now);
	judge_correct(j, &ending);
	o.kind = ending.kind;
	snprintf(o.reason, sizeof(o.reason), "%s", ending.reason);
	judge_free(j);
	return o;
}

/* @at: where the text is cut in two; 0: every byte by itself. */
static struct outcome outcome_of(void (*ask)(struct judge *j), const char *text, size_t len,
				 size_t at)
{
	struct judge *j = begun(ask);
	uint64_t now = T0;

	for (size_t from = 0; from < len;) {
		size_t n = at ? (from ? len - from : MIN(at, len)) : 1;

		judge_feed(j, 0, (const uint8_t *)text + from, n, now);
		judge_look(j, now);
		from += n;
		now += NS_PER_MS / 10;
	}
	return end(j, now);
}

/* Cut anywhere, or into bytes, it comes to the same. */
static struct outcome of(void (*ask)(struct judge *j), const char *text, size_t len)
{
	const struct outcome whole = outcome_of(ask, text, len, len);

	for (size_t at = 0; at < len; at++) {
		struct outcome o = outcome_of(ask, text, len, at);

		if (o.kind != whole.kind || strcmp(o.reason, whole.reason) != 0)
			fail_msg("cut at %zu: %s; whole: %s", at, o.reason, whole.reason);
	}
	return whole;
}

#define OF(ask, text) of(ask, text, sizeof(text) - 1)

static void ask_nothing(struct judge *j)
{
	(void)j;
}

static void ask_three(struct judge *j)
{
	expect(j, "one");
	expect(j, "two");
	expect(j, "^three$");
}

static void ask_word(struct judge *j)
{
	expect(j, "\\bready\\b");
}

static void ask_greedy(struct judge *j)
{
	expect(j, "took (\\d+) ms");
	expect(j, ".*end");
}

static void ask_panic(struct judge *j)
{
	judge_set_patterns(j, PATTERNS_LINUX);
}

static void ask_for_panic(struct judge *j)
{
	judge_set_patterns(j, PATTERNS_LINUX);
	expect(j, "Kernel panic - not syncing: VFS.*on.*");
}

static void ask_forbidden(struct judge *j)
{
	expect(j, "first");
	expect(j, "done");
	rule(j, RULE_FORBID, "error \\d");
}

static void order(void **state)
{
	(void)state;
	assert_int_equal(OF(ask_three, "one\ntwo\nthree\n").kind, END_MET);
	assert_int_equal(OF(ask_three, "one two\r\nthree\r\n").kind, END_MET);
	assert_int_equal(OF(ask_three, "zero one xx two\nno three\nthree").kind, END_MET);
	assert_int_equal(OF(ask_three, "two\none\nthree\n").kind, END_UNMET);
	assert_string_equal(OF(ask_three, "one\n").reason,
			    "the guest powered off; it had not said 'two' (expectation 2 of 3)");
	assert_int_equal(OF(ask_three, "one\ntwo\nthree!\n").kind, END_UNMET);
	assert_int_equal(OF(ask_nothing, "anything\n").kind, END_POWEROFF);
	assert_int_equal(OF(ask_nothing, "").kind, END_POWEROFF);
}

static void what_depends_on_what_follows(void **state)
{
	(void)state;
	assert_int_equal(OF(ask_word, "already\nreadying\n").kind, END_UNMET);
	assert_int_equal(OF(ask_word, "I am ready.").kind, END_MET);
	assert_int_equal(OF(ask_word, "ready").kind, END_MET);
	assert_int_equal(OF(ask_greedy, "took 12 ms, end\n").kind, END_MET);
	assert_int_equal(OF(ask_greedy, "took 12 ms\nsome end of it\n").kind, END_MET);
	assert_int_equal(OF(ask_greedy, "the end took 12 ms\n").kind, END_UNMET);
}

static void terminals_do_not_disturb(void **state)
{
	(void)state;
	assert_int_equal(OF(ask_three, "\033[1;32mo\033[0mne\033[K\r\ntw\0o\n\033]0;title\007three"
				       "\033(B\n")
				 .kind,
			 END_MET);
	/* CR alone begins the line anew; several before LF are one end. */
	assert_int_equal(OF(ask_three, "one 10%\rone 20%\rtwo\r\r\nthree\r\r\n").kind, END_MET);
	assert_int_equal(OF(ask_three, "one\ntwo\nthr\bee\n").kind, END_MET);
	/* A sequence that does not end cannot swallow the rest. */
	assert_int_equal(OF(ask_three, "\033]0;no end of it\none\033[\ntwo\033P\nthree\n").kind,
			 END_MET);
	assert_int_equal(OF(ask_three, "\x80\xff one \xc3\ntwo\xed\xa0\x80\nthree\n").kind,
			 END_MET);
}

static void endless_sequences_end(void **state)
{
	static char text[2048];

	(void)state;
	memset(text, '1', sizeof(text));
	memcpy(text, "\033]", 2);
	memcpy(text + 1024, "one two\nthree\n", 14);
	assert_int_equal(outcome_of(ask_three, text, 1024 + 14, 1024 + 14).kind, END_MET);
	assert_int_equal(outcome_of(ask_three, text, 1024 + 14, 0).kind, END_MET);
}

static void failures_are_found(void **state)
{
	struct outcome o = OF(ask_panic, "[    0.1] fine\n[    1.2] Kernel panic - not syncing: "
					 "VFS: Unable to mount root fs on unknown-block(0,0)\n");

	(void)state;
	assert_int_equal(o.kind, END_PANIC);
	assert_non_null(strstr(o.reason, "could not mount its root file system: [    1.2] Kernel"));
	/* Without the end of its line. */
	assert_int_equal(OF(ask_panic, "Kernel panic - not syncing: x").kind, END_PANIC);
	assert_int_equal(OF(ask_panic, "the Kernel panic - not syncing\n").kind, END_POWEROFF);
	/* Somebody who expects a panic gets one. */
	assert_int_equal(OF(ask_for_panic, "[ 1.0] Kernel panic - not syncing: VFS: Unable to "
					   "mount root fs on vda\n")
				 .kind,
			 END_MET);
	assert_int_equal(OF(ask_for_panic, "[ 1.0] Kernel panic - not syncing: other\n").kind,
			 END_PANIC);
}

static void what_is_forbidden(void **state)
{
	(void)state;
	assert_int_equal(OF(ask_forbidden, "first\ndone\nerror 5\n").kind, END_MET);
	assert_int_equal(OF(ask_forbidden, "first\nerror 5\ndone\n").kind, END_UNMET);
	assert_int_equal(OF(ask_forbidden, "first, error 5, done\n").kind, END_UNMET);
	assert_int_equal(OF(ask_forbidden, "first, done, error 5\n").kind, END_MET);
	assert_int_equal(OF(ask_forbidden, "first error \x1b[1m5\n").kind, END_UNMET);
}

static void ask_greedy_rules(struct judge *j)
{
	expect(j, "a.*b");
	rule(j, RULE_FORBID, "e.*x");
	rule(j, RULE_PASS, "g{3}");
}

static void which_is_first_is_seen_at_the_end(void **state)
{
	(void)state;
	assert_int_equal(OF(ask_greedy_rules, "a b e x\n").kind, END_MET);
	assert_int_equal(OF(ask_greedy_rules, "a e x b\n").kind, END_UNMET);
	assert_int_equal(OF(ask_greedy_rules, "e x ggg\n").kind, END_UNMET);
	assert_int_equal(OF(ask_greedy_rules, "ggg e x a b").kind, END_MET);
	assert_int_equal(OF(ask_greedy_rules, "a b e x b").kind, END_UNMET);
}

static void ask_own(struct judge *j)
{
	rule(j, RULE_PASS, "^all is well");
	rule(j, RULE_FAIL, "^it broke");
	expect(j, "never said");
}

static void rules_of_ones_own(void **state)
{
	(void)state;
	assert_int_equal(OF(ask_own, "x\nall is well\n").kind, END_MET);
	assert_int_equal(OF(ask_own, "x\nit broke\nall is well\n").kind, END_PANIC);
	assert_int_equal(OF(ask_own, "x\n").kind, END_UNMET);
}

/* The window of a long line slides: what is within half of it is found, wherever it is. */
static void long_lines(void **state)
{
	const size_t len = MIB(1);
	char *text = malloc(len + 1);

	(void)state;
	assert_non_null(text);
	for (size_t at = 0; at < 3 * STREAM_LINE_MAX; at += 97) {
		memset(text, 'x', len);
		memcpy(text + at, "one", 3);
		memcpy(text + at + 1500, "two", 3);
		memcpy(text + len - 7, "\nthree\n", 7);
		assert_int_equal(outcome_of(ask_three, text, len, len).kind, END_MET);
	}
	/* ^ matches at the beginning of a line alone, not of a piece. */
	memset(text, 'x', len);
	memcpy(text, "one two", 7);
	memcpy(text + STREAM_LINE_MAX / 2, "three", 5);
	text[STREAM_LINE_MAX / 2 + 5] = '\n';
	assert_int_equal(outcome_of(ask_three, text, len, len).kind, END_UNMET);
	free(text);
}

static void ask_much(struct judge *j)
{
	expect(j, "(a+)+$");
}

/* What an expression cannot do in time is neither a match nor none. */
static void costly_expressions(void **state)
{
	char text[3000];
	struct outcome o;

	(void)state;
	memset(text, 'a', sizeof(text));
	text[sizeof(text) - 2] = 'b';
	text[sizeof(text) - 1] = '\n';
	o = outcome_of(ask_much, text, sizeof(text), sizeof(text));
	assert_int_equal(o.kind, END_UNMET);
	assert_non_null(strstr(o.reason, "takes too long"));
}

static void time_is_kept(void **state)
{
	struct judge *j = begun(ask_nothing);
	struct err err;
	struct outcome o;

	(void)state;
	expect(j, "first");
	assert_int_equal(judge_within(j, "--within", "5", &err), 0);
	expect(j, "second");
	assert_int_equal(judge_within(j, "--within", "0.25", &err), 0);
	assert_int_equal(judge_due(j), T0 + 5 * NS_PER_S);
	say(j, "fir", T0 + NS_PER_S);
	say(j, "st\n", T0 + 4 * NS_PER_S);
	assert_int_equal(judge_due(j), T0 + 4 * NS_PER_S + 250 * NS_PER_MS);
	judge_look(j, T0 + 4 * NS_PER_S + 249 * NS_PER_MS);
	assert_null(judge_verdict(j, UINT64_MAX));
	judge_look(j, T0 + 4 * NS_PER_S + 250 * NS_PER_MS);
	o = end(j, T0 + 5 * NS_PER_S);
	assert_true(o.early);
	assert_int_equal(o.kind, END_UNMET);
	assert_string_equal(o.reason, "--expect: the guest did not say 'second' within 0.25 s of "
				      "when its turn came");
}

/* A failure waits for the rest of its text, and no longer than that. */
static void failures_settle(void **state)
{
	struct judge *j = begun(ask_panic);
	struct ending ending = {.kind = END_TRIPLE_FAULT, .reason = "vCPU 0 had a triple fault"};
	int console;

	(void)state;
	say(j, "Kernel panic - not syncing: x\n", T0);
	assert_null(judge_verdict(j, T0));
	assert_int_equal(judge_due(j), T0 + JUDGE_SETTLE);
	say(j, "Call Trace:\n", T0 + NS_PER_MS);
	assert_non_null(judge_verdict(j, T0 + JUDGE_SETTLE));
	assert_string_equal(judge_verdict(j, UINT64_MAX)->name, "panic");
	assert_string_equal(judge_last_line(j, 1, &console), "Call Trace:");
	assert_null(judge_last_line(j, 2, &console));
	/* A machine that ends meanwhile has ended for that. */
	judge_correct(j, &ending);
	assert_int_equal(ending.kind, END_PANIC);
	/* But not one that somebody ended. */
	ending = (struct ending){.kind = END_SIGNAL, .code = 15, .reason = "signal 15"};
	judge_correct(j, &ending);
	assert_int_equal(ending.kind, END_SIGNAL);
	judge_free(j);

	/* A line that does not end is looked at when it has stood still. */
	j = begun(ask_panic);
	say(j, "Kernel panic - not syncing: x", T0);
	assert_int_equal(judge_due(j), T0 + JUDGE_QUIET);
	judge_look(j, T0 + JUDGE_QUIET - 1);
	assert_null(judge_verdict(j, UINT64_MAX));
	judge_look(j, T0 + JUDGE_QUIET);
	assert_non_null(judge_verdict(j, T0 + JUDGE_QUIET + JUDGE_SETTLE));
	judge_free(j);
}

static void ask_login(struct judge *j)
{
	struct err err;

	expect(j, "login: ");
	assert_int_equal(judge_send(j, "--send", "root\\n", &err), 0);
	assert_int_equal(judge_send(j, "--send", "a\\x41\\t\\e\\\\", &err), 0);
	expect(j, "# ");
	assert_int_equal(judge_wait(j, "wait", "1", &err), 0);
	assert_int_equal(judge_send(j, "--send", "reboot\\r", &err), 0);
	expect(j, "bye");
}

static void what_is_sent(void **state)
{
	struct judge *j = begun(ask_login);
	const char *text;
	size_t len;
	int console;

	(void)state;
	assert_false(judge_take_send(j, &text, &len, &console));
	assert_int_equal(judge_console(j, "hvc"), 1);
	judge_feed(j, 1, (const uint8_t *)"login: ", 7, T0);
	judge_look(j, T0);
	assert_true(judge_take_send(j, &text, &len, &console));
	assert_int_equal(len, 5);
	assert_memory_equal(text, "root\n", 5);
	assert_int_equal(console, 1);
	assert_true(judge_take_send(j, &text, &len, &console));
	assert_int_equal(len, 5);
	assert_memory_equal(text, "aA\t\033\\", 5);
	assert_false(judge_take_send(j, &text, &len, &console));
	say(j, "# ", T0);
	/* What comes in a wait meets nothing. */
	say(j, "bye\n", T0 + NS_PER_MS);
	assert_false(judge_take_send(j, &text, &len, &console));
	assert_null(judge_verdict(j, UINT64_MAX));
	judge_look(j, T0 + JUDGE_QUIET);
	assert_int_equal(judge_due(j), T0 + NS_PER_S);
	judge_look(j, T0 + NS_PER_S);
	assert_true(judge_take_send(j, &text, &len, &console));
	assert_memory_equal(text, "reboot\r", 7);
	say(j, "bye\n", T0 + 2 * NS_PER_S);
	assert_int_equal(judge_verdict(j, UINT64_MAX)->ending.kind, END_MET);
	judge_free(j);
}

static void consoles_are_apart(void **state)
{
	struct judge *j = begun(ask_three);

	(void)state;
	assert_int_equal(judge_console(j, "hvc"), 1);
	judge_feed(j, 0, (const uint8_t *)"o", 1, T0);
	judge_feed(j, 1, (const uint8_t *)"one", 3, T0);
	judge_feed(j, 0, (const uint8_t *)"ne", 2, T0);
	judge_look(j, T0);
	judge_feed(j, 1, (const uint8_t *)" two", 4, T0);
	judge_feed(j, 0, (const uint8_t *)"\nthree\n", 7, T0);
	judge_look(j, T0);
	/* "two" was looked at behind "three": it had not ended its line. */
	assert_null(judge_verdict(j, T0));
	judge_feed(j, 0, (const uint8_t *)"three\n", 6, T0);
	assert_int_equal(judge_verdict(j, T0)->ending.kind, END_MET);
	judge_free(j);
}

static void the_end_is_corrected(void **state)
{
	struct judge *j = begun(ask_three);
	struct ending ending = {.kind = END_TIMEOUT, .reason = "the guest had not ended after 9 s"};

	(void)state;
	judge_correct(j, &ending);
	assert_int_equal(ending.kind, END_TIMEOUT);
	assert_string_equal(ending.reason, "the guest had not ended after 9 s; it had not said "
					   "'one' (expectation 1 of 3)");
	ending = (struct ending){.kind = END_CODE, .code = 7, .reason = "code 7"};
	judge_correct(j, &ending);
	assert_int_equal(ending.kind, END_CODE);
	ending = (struct ending){.kind = END_CODE, .code = 0, .reason = "code 0"};
	judge_correct(j, &ending);
	assert_int_equal(ending.kind, END_UNMET);
	judge_free(j);
}

static void until_the_end(void **state)
{
	struct judge *j;
	struct err err;
	struct ending ending = {.kind = END_POWEROFF, .reason = "the guest powered off"};

	(void)state;
	assert_int_equal(judge_new(&j, &err), 0);
	expect(j, "one");
	judge_until_end(j);
	assert_int_equal(judge_begin(j, T0, &err), 0);
	assert_int_equal(judge_console(j, "com1"), 0);
	say(j, "one\n", T0);
	assert_null(judge_verdict(j, UINT64_MAX));
	judge_correct(j, &ending);
	assert_int_equal(ending.kind, END_POWEROFF);
	judge_free(j);
}

static void mistakes(void **state)
{
	struct judge *j;
	struct err err;

	(void)state;
	assert_int_equal(judge_new(&j, &err), 0);
	assert_int_equal(judge_expect(j, "--expect", "a(b", &err), -EINVAL);
	assert_string_equal(err.text, "--expect: 'a(b' is no expression: missing closing "
				      "parenthesis, at byte 3");
	assert_int_equal(judge_expect(j, "--expect", "(*UTF)x", &err), -EINVAL);
	assert_int_equal(judge_rule(j, "--forbid", RULE_FORBID, "[z-a]", &err), -EINVAL);
	assert_int_equal(judge_send(j, "--send", "x\\q", &err), -EINVAL);
	assert_int_equal(judge_send(j, "--send", "x\\", &err), -EINVAL);
	assert_int_equal(judge_send(j, "--send", "x\\x4", &err), -EINVAL);
	assert_int_equal(judge_within(j, "--within", "5", &err), -EINVAL);
	assert_string_equal(err.text, "--within: it belongs behind what is expected");
	expect(j, "x");
	assert_int_equal(judge_within(j, "--within", "0", &err), -EINVAL);
	assert_int_equal(judge_within(j, "--within", "nan", &err), -EINVAL);
	assert_int_equal(judge_within(j, "--within", "5s", &err), -EINVAL);
	assert_int_equal(judge_within(j, "--within", "1e99", &err), -EINVAL);
	assert_int_equal(judge_within(j, "--within", "5", &err), 0);
	assert_int_equal(judge_within(j, "--within", "5", &err), -EINVAL);
	judge_free(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order),
		cmocka_unit_test(what_depends_on_what_follows),
		cmocka_unit_test(terminals_do_not_disturb),
		cmocka_unit_test(endless_sequences_end),
		cmocka_unit_test(failures_are_found),
		cmocka_unit_test(what_is_forbidden),
		cmocka_unit_test(which_is_first_is_seen_at_the_end),
		cmocka_unit_test(rules_of_ones_own),
		cmocka_unit_test(long_lines),
		cmocka_unit_test(costly_expressions),
		cmocka_unit_test(time_is_kept),
		cmocka_unit_test(failures_settle),
		cmocka_unit_test(what_is_sent),
		cmocka_unit_test(consoles_are_apart),
		cmocka_unit_test(the_end_is_corrected),
		cmocka_unit_test(until_the_end),
		cmocka_unit_test(mistakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
