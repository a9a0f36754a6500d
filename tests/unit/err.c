/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/cm.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "skep/err.h"

static void set_fills_the_sentence_and_returns_the_code(void **state)
{
	struct err e = {"left over"};

	(void)state;
	assert_int_equal(err_set(&e, ENOENT, "no %s number %d", "disk", 7), -ENOENT);
	assert_string_equal(e.text, "no disk number 7");
}

static void sys_says_what_the_code_means(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(err_sys(&e, ENOENT, "cannot open %s", "/x"), -ENOENT);
	assert_string_equal(e.text, "cannot open /x: No such file or directory");
}

/* io_uring, KVM and a hostile server can all come with codes that libc has no words for. */
static void sys_names_a_code_that_libc_does_not_know(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(err_sys(&e, 4001, "cannot go on"), -4001);
	assert_string_equal(e.text, "cannot go on: error 4001");
}

static void layers_add_context_and_advice(void **state)
{
	struct err e;

	(void)state;
	err_sys(&e, EACCES, "cannot open %s", "/dev/kvm");
	err_prefix(&e, "vm '%s'", "a");
	err_advise(&e, "join the group %s", "kvm");
	assert_string_equal(e.text,
			    "vm 'a': cannot open /dev/kvm: Permission denied; join the group kvm");
}

static void no_err_means_only_the_code_is_wanted(void **state)
{
	(void)state;
	assert_int_equal(err_set(NULL, EIO, "%d", 1), -EIO);
	assert_int_equal(err_sys(NULL, EIO, "%d", 1), -EIO);
	err_prefix(NULL, "%d", 1);
	err_advise(NULL, "%d", 1);
}

/* Whatever the lengths, the text ends within its room and starts as it should. */
static void every_length_is_cut_at_the_room(void **state)
{
	char word[2 * sizeof(((struct err *)0)->text)];
	struct err e;

	(void)state;
	for (int n = 0; n < (int)sizeof(word) - 1; n++) {
		memset(word, 'w', sizeof(word));
		word[n] = '\0';
		assert_int_equal(err_set(&e, EIO, "%s", word), -EIO);
		assert_int_equal(strlen(e.text), n < 511 ? n : 511);
		err_prefix(&e, "p%d", 1);
		assert_int_equal(strncmp(e.text, "p1: w", n ? 5 : 4), 0);
		assert_int_equal(strlen(e.text), n + 4 < 511 ? n + 4 : 511);
		err_sys(&e, EIO, "%s", word);
		assert_in_range(strlen(e.text), 18, 511);
		err_prefix(&e, "%s", word);
		assert_in_range(strlen(e.text), 18, 511);
	}
}

static void advice_that_does_not_begin_to_fit_leaves_the_sentence_alone(void **state)
{
	char word[512];
	struct err e;

	(void)state;
	for (int n = 500; n < 512; n++) {
		memset(word, 'w', sizeof(word));
		word[n] = '\0';
		err_set(&e, EIO, "%s", word);
		err_advise(&e, "advice");
		assert_int_equal(strncmp(e.text, word, (size_t)n), 0);
		if (n >= 509)
			assert_string_equal(e.text, word);
		else
			assert_int_equal(strncmp(e.text + n, "; advice", 511 - (size_t)n), 0);
	}
}

static void a_check_that_holds_does_nothing_but_evaluate_once(void **state)
{
	unsigned int evaluated = 0;

	(void)state;
	bug_on(evaluated++ > 0);
	assert_int_equal(evaluated, 1);
	if (evaluated)
		bug_on(false);
	else
		fail();
}

static void a_check_that_fails_reports_and_aborts(void **state)
{
	const struct rlimit no_core = {0};
	char text[256] = "";
	int out[2], status;
	ssize_t n;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(out), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		setrlimit(RLIMIT_CORE, &no_core);
		signal(SIGABRT, SIG_DFL);
		dup2(out[1], STDERR_FILENO);
		bug_on(1 + 1 == 2);
		_exit(0);
	}
	close(out[1]);
	n = read(out[0], text, sizeof(text) - 1);
	close(out[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_true(n > 0);
	assert_non_null(strstr(text, "skep: bug: 1 + 1 == 2 at "));
	assert_non_null(strstr(text, "err.c:"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_fills_the_sentence_and_returns_the_code),
		cmocka_unit_test(sys_says_what_the_code_means),
		cmocka_unit_test(sys_names_a_code_that_libc_does_not_know),
		cmocka_unit_test(layers_add_context_and_advice),
		cmocka_unit_test(no_err_means_only_the_code_is_wanted),
		cmocka_unit_test(every_length_is_cut_at_the_room),
		cmocka_unit_test(advice_that_does_not_begin_to_fit_leaves_the_sentence_alone),
		cmocka_unit_test(a_check_that_holds_does_nothing_but_evaluate_once),
		cmocka_unit_test(a_check_that_fails_reports_and_aborts),
	};

	return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
