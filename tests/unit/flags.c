/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line's parser: every form of a flag, and one sentence for every mistake. */
#include "support/cm.h"

#include <stdio.h>
#include <string.h>

#include "../../src/cli/cli_priv.h"
#include "skep/bits.h"
#include "skep/err.h"

struct seen {
	unsigned int count;
	char log[256];
};

static int note(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct seen *seen = ctx;
	size_t n = strlen(seen->log);

	if (value && !strcmp(value, "bad"))
		return err_set(err, EINVAL, "refused");
	seen->count++;
	snprintf(seen->log + n, sizeof(seen->log) - n, "%s=%s;", flag->name, value ? value : "");
	return 0;
}

static const struct flag flags[] = {
	{'k', "kernel", "FILE", "a file", note, NULL},
	{'m', "memory", "SIZE", "a size", note, NULL},
	{'q', "quiet", NULL, "a switch", note, NULL},
	{0, "print-config", NULL, "a long switch", note, NULL},
	{0, NULL, NULL, NULL, NULL, NULL},
};
static const struct command plain = {"run", "runs", NULL, flags, NULL, NULL};
static const struct command taking = {"inspect", "inspects", "FILE...", flags, NULL, NULL};

#define WORDS_MAX 16

/* The words are gathered in @argv as flags_parse() left them. */
static int parse(const struct command *c, struct seen *seen, struct err *err, char **argv,
		 const char *const *words)
{
	bool helped;
	int argc = 0;

	while (words[argc])
		argc++;
	assert_true(argc < WORDS_MAX);
	memcpy(argv, words, (size_t)(argc + 1) * sizeof(*argv));
	memset(seen, 0, sizeof(*seen));
	err->text[0] = '\0';
	return flags_parse(c, argc, argv, seen, &helped, err);
}

#define PARSE(command, ...) \
	parse(command, &seen, &err, argv, (const char *const[]){"cmd", __VA_ARGS__, NULL})

static void every_form_is_taken(void **state)
{
	char *argv[WORDS_MAX];
	struct seen seen;
	struct err err;

	(void)state;
	assert_int_equal(PARSE(&plain, "-k", "a", "-kb", "--kernel", "c", "--kernel=d", "-q",
			       "--print-config"),
			 9);
	assert_string_equal(seen.log, "kernel=a;kernel=b;kernel=c;kernel=d;quiet=;print-config=;");
	/* A value may look like a flag, or be empty. */
	assert_int_equal(PARSE(&plain, "-k", "-q", "--memory="), 4);
	assert_string_equal(seen.log, "kernel=-q;memory=;");
}

static void arguments_gather_behind_the_flags(void **state)
{
	char *argv[WORDS_MAX];
	struct seen seen;
	struct err err;

	(void)state;
	assert_int_equal(PARSE(&taking, "one", "-q", "two", "-k", "x", "three"), 4);
	assert_string_equal(seen.log, "quiet=;kernel=x;");
	assert_string_equal(argv[4], "one");
	assert_string_equal(argv[5], "two");
	assert_string_equal(argv[6], "three");
	/* "-" is an argument. */
	assert_int_equal(PARSE(&taking, "-"), 1);
}

static void mistakes_cost_one_sentence(void **state)
{
	char *argv[WORDS_MAX];
	struct seen seen;
	struct err err;

	(void)state;
	assert_int_equal(PARSE(&plain, "--kernl", "x"), -EINVAL);
	assert_string_equal(err.text, "skep run has no option --kernl; did you mean --kernel?");
	assert_int_equal(PARSE(&plain, "--zzzzzz=5"), -EINVAL);
	assert_string_equal(err.text,
			    "skep run has no option --zzzzzz; `skep run --help` lists them");
	assert_int_equal(PARSE(&plain, "-z"), -EINVAL);
	assert_string_equal(err.text, "skep run has no option -z; `skep run --help` lists them");
	assert_int_equal(PARSE(&plain, "-k"), -EINVAL);
	assert_string_equal(err.text, "--kernel needs a value: FILE");
	assert_int_equal(PARSE(&plain, "--quiet=yes"), -EINVAL);
	assert_string_equal(err.text, "--quiet takes no value");
	assert_int_equal(PARSE(&plain, "vmlinuz"), -EINVAL);
	assert_non_null(strstr(err.text, "skep run takes no argument 'vmlinuz'"));
	assert_int_equal(PARSE(&plain, "-k", "bad"), -EINVAL);
	assert_string_equal(err.text, "refused");
	assert_int_equal(PARSE(&plain, "--", "x"), -EINVAL);
}

static void shared_flags_stand_behind_a_commands_own(void **state)
{
	static const struct flag own[] = {
		{'e', "expect", "TEXT", "a text", note, NULL},
		{0, NULL, NULL, NULL, NULL, NULL},
	};
	static const struct command both = {"smoke", "judges", NULL, own, flags, NULL};
	static const struct command shared = {"run", "runs", NULL, NULL, flags, NULL};
	char *argv[WORDS_MAX];
	struct seen seen;
	struct err err;
	const struct flag *f = command_flag(&both, NULL);

	(void)state;
	assert_ptr_equal(f, own);
	for (size_t i = 0; i + 1 < ARRAY_SIZE(flags); i++) {
		f = command_flag(&both, f);
		assert_ptr_equal(f, &flags[i]);
	}
	assert_null(command_flag(&both, f));
	assert_ptr_equal(command_flag(&shared, NULL), flags);
	assert_int_equal(PARSE(&both, "-k", "a", "--expect", "b", "-q"), 6);
	assert_string_equal(seen.log, "kernel=a;expect=b;quiet=;");
	assert_int_equal(PARSE(&both, "--expct", "b"), -EINVAL);
	assert_non_null(strstr(err.text, "did you mean --expect?"));
	assert_int_equal(PARSE(&both, "--memry", "b"), -EINVAL);
	assert_non_null(strstr(err.text, "did you mean --memory?"));
}

static void every_command_is_well_formed(void **state)
{
	(void)state;
	for (const struct command *c = commands; c->name; c++) {
		assert_non_null(c->summary);
		assert_non_null(c->run);
		assert_ptr_equal(command_find(c->name), c);
		for (const struct flag *f = NULL; (f = command_flag(c, f));) {
			assert_non_null(f->help);
			assert_non_null(f->apply);
			for (const struct flag *g = command_flag(c, NULL); g != f;
			     g = command_flag(c, g)) {
				assert_string_not_equal(f->name, g->name);
				assert_true(!f->letter || f->letter != g->letter);
			}
		}
	}
}

static bool not_memory(const struct flag *flag)
{
	return flag->letter != 'm';
}

/* What a command hands on to another of its kind. */
static void flags_can_be_left_out(void **state)
{
	char words[][16] = {"cmd",         "-k", "a",   "--memory",   "1G", "-m2G",
			    "--memory=3G", "-q", "-kb", "--kernel=c", "-m", "-q"};
	static const char *const want[] = {"-k", "a", "-q", "-kb", "--kernel=c"};
	char *argv[ARRAY_SIZE(words)], *kept[ARRAY_SIZE(words)];
	unsigned int n;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		argv[i] = words[i];
	n = flags_keep(&plain, ARRAY_SIZE(words), argv, not_memory, kept);
	assert_int_equal(n, ARRAY_SIZE(want));
	for (unsigned int i = 0; i < n; i++)
		assert_string_equal(kept[i], want[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_form_is_taken),
		cmocka_unit_test(arguments_gather_behind_the_flags),
		cmocka_unit_test(mistakes_cost_one_sentence),
		cmocka_unit_test(shared_flags_stand_behind_a_commands_own),
		cmocka_unit_test(every_command_is_well_formed),
		cmocka_unit_test(flags_can_be_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
