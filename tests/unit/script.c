/* SPDX-License-Identifier: BSD-2-Clause */
/* Scripts of expectations: every word, and what is told of every mistake. */
#include "support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src/smoke/judge.h"
#include "../../src/smoke/script.h"
#include "skep/bits.h"
#include "skep/err.h"

static struct err err;

static int parse(const char *text, size_t len, struct judge **j)
{
	assert_int_equal(judge_new(j, &err), 0);
	return script_parse(*j, "boot.smoke", text, len, &err);
}

static void every_word(void **state)
{
	static const char text[] = "# a comment\r\n"
				   "\n"
				   "\t expect  two blanks: \n"
				   "within 2.5\n"
				   "send a\\tb\\n\r\n"
				   "wait 1\n"
				   "expect\t^last$\n"
				   "forbid no\n"
				   "pass yes\n"
				   "fail broken\n"
				   "patterns linux,lockup\n"
				   "until-end";
	struct judge_report r;
	struct judge *j;

	(void)state;
	if (parse(text, sizeof(text) - 1, &j))
		fail_msg("%s", err.text);
	assert_true(judge_report(j, 0, &r));
	assert_string_equal(r.regex, " two blanks: ");
	assert_string_equal(r.where, "boot.smoke:3");
	assert_true(judge_report(j, 1, &r));
	assert_string_equal(r.regex, "^last$");
	assert_false(judge_report(j, 2, &r));
	judge_free(j);
}

static void mistakes_have_a_place(void **state)
{
	static const struct {
		const char *text, *told;
	} bad[] = {
		{"expct x\n", "boot.smoke:1: there is no word 'expct'; did you mean 'expect'?"},
		{"\n\nxyzzy\n", "boot.smoke:3: there is no word 'xyzzy'; docs/smoke.md has them"},
		{"expect\n", "boot.smoke:1: expect needs something behind it"},
		{"expect \n", "boot.smoke:1: expect needs something behind it"},
		{"expect a\nexpect (\n", "boot.smoke:2: '(' is no expression: missing closing "
					 "parenthesis, at byte 1"},
		{"within 5\n", "boot.smoke:1: it belongs behind what is expected"},
		{"expect a\nwithin soon\n",
		 "boot.smoke:2: 'soon' is no time; say seconds, as in 2.5"},
		{"send \\z\n", "boot.smoke:1: behind a backslash there is n, r, t, e, xNN or a "
			       "backslash"},
		{"patterns linux,bds\n",
		 "boot.smoke:1: there is no set of patterns 'bds'; did you mean 'bsd'?"},
		{"until-end now\n", "boot.smoke:1: until-end takes nothing"},
		{"\033[31m\n", "boot.smoke:1: there is no word '?[31m'; docs/smoke.md has them"},
		{"a-word-that-is-much-longer-than-any\n",
		 "boot.smoke:1: there is no word 'a-word-that-is-much-lon'; docs/smoke.md has "
		 "them"},
	};
	struct judge *j;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(parse(bad[i].text, strlen(bad[i].text), &j), -EINVAL);
		assert_string_equal(err.text, bad[i].told);
		judge_free(j);
	}
	assert_int_equal(parse("expect a\0b\n", 11, &j), -EINVAL);
	assert_string_equal(err.text, "boot.smoke:1: there is a NUL in the line");
	judge_free(j);
}

static void lines_have_an_end(void **state)
{
	const size_t len = KIB(64) + 2;
	char *text = malloc(len);
	struct judge *j;

	(void)state;
	assert_non_null(text);
	memset(text, '#', len);
	assert_int_equal(parse(text, len, &j), -EINVAL);
	assert_string_equal(err.text, "boot.smoke:1: the line is too long");
	judge_free(j);
	free(text);
}

static void files_are_read(void **state)
{
	char path[] = "/tmp/skep-script-XXXXXX";
	struct judge_report r;
	struct judge *j;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "expect x", 8), 8);
	assert_int_equal(judge_new(&j, &err), 0);
	assert_int_equal(script_read(j, path, &err), 0);
	assert_true(judge_report(j, 0, &r));
	assert_int_equal(ftruncate(fd, (1 << 20) + 1), 0);
	assert_int_equal(script_read(j, path, &err), -EFBIG);
	close(fd);
	unlink(path);
	assert_int_equal(script_read(j, path, &err), -ENOENT);
	assert_int_equal(script_read(j, "/tmp", &err), -EISDIR);
	judge_free(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_word),
		cmocka_unit_test(mistakes_have_a_place),
		cmocka_unit_test(lines_have_an_end),
		cmocka_unit_test(files_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
