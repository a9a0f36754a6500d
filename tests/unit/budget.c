/* SPDX-License-Identifier: BSD-2-Clause */
/* What a person allows a boot's phases, and reads of them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/cli/timeline.h"
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "support/cm.h"

static const struct timeline sample = {
	.phases =
		{
			[PHASE_START] = {true, 0, 400000},
			[PHASE_LOADER] = {true, 400000, 30 * NS_PER_MS},
			[PHASE_UNPACK] = {true, 500000, 20 * NS_PER_MS},
			[PHASE_KERNEL] = {true, 40 * NS_PER_MS, 460 * NS_PER_MS},
			[PHASE_INIT] = {true, 500 * NS_PER_MS, 12 * NS_PER_S},
		},
	.mark_count = 1,
	.marks = {{.at = 700 * NS_PER_MS, .name = "ready"}},
	.total = 500 * NS_PER_MS + 12 * NS_PER_S,
};

static void times_are_read(void **state)
{
	static const struct {
		const char *text;
		unsigned int kind;
		uint64_t ns;
	} good[] = {
		{"kernel=500ms", PHASE_KERNEL, 500 * NS_PER_MS}, {"start=1us", PHASE_START, 1000},
		{"boot=1.5s", BUDGET_BOOT, 1500 * NS_PER_MS},    {"total=0s", BUDGET_TOTAL, 0},
		{"mark:7=2s", BUDGET_MARK, 2 * NS_PER_S},
	};
	struct timeline_args args = {0};
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(budget_add(&args, good[i].text, &err), 0);
		assert_int_equal(args.budgets[i].kind, good[i].kind);
		assert_int_equal(args.budgets[i].most, good[i].ns);
	}
	assert_string_equal(args.budgets[4].mark, "7");
	assert_int_equal(args.budget_count, ARRAY_SIZE(good));
}

static void mistakes_cost_a_sentence(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{"kernle=1s", "did you mean kernel?"},
		{"ini=1s", "did you mean init?"},
		{"xyzzy=1s", "say start, assembly"},
		{"=1s", "no phase ''"},
		{"mark:=1s", "a mark's name"},
		{"mark:a-name-of-many-more-bytes-than-one-has=1s", "a mark's name"},
		{"marc:ready=1s", "no phase 'marc:ready'"},
		{"kernel", "boot=2s"},
		{"", "boot=2s"},
		{"kernel=", "is no time"},
		{"kernel=5", "is no time"},
		{"kernel=ms", "is no time"},
		{"kernel=-5ms", "is no time"},
		{"kernel= 5ms", "is no time"},
		{"kernel=5 ms", "is no time"},
		{"kernel=5min", "is no time"},
		{"kernel=0x5s", "is no time"},
		{"kernel=1e3s", "is no time"},
		{"kernel=nans", "is no time"},
		{"kernel=infs", "is no time"},
		{"kernel=9999999999s", "is no time"},
	};
	struct timeline_args args = {0};
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(budget_add(&args, bad[i].text, &err), -EINVAL);
		if (!strstr(err.text, bad[i].says))
			fail_msg("%s: %s", bad[i].text, err.text);
	}
	assert_int_equal(args.budget_count, 0);
	for (unsigned int i = 0; i < BUDGETS_MAX; i++)
		assert_int_equal(budget_add(&args, "kernel=1s", &err), 0);
	assert_int_equal(budget_add(&args, "kernel=1s", &err), -ENOSPC);
}

static void judged(const char *budget, const char *expected)
{
	struct timeline_args args = {0};
	char why[384];
	struct err err;

	assert_int_equal(budget_add(&args, budget, &err), 0);
	assert_int_equal(budgets_kept(&args, &sample, why, sizeof(why)), !expected);
	assert_string_equal(why, expected ? expected : "");
}

static void budgets_are_judged(void **state)
{
	(void)state;
	judged("kernel=460ms", NULL);
	judged("kernel=450ms",
	       "phase kernel took 460.000 ms, which is 10.000 ms over its budget of "
	       "450.000 ms");
	judged("unpack=20ms", NULL);
	judged("boot=500ms", NULL);
	judged("boot=1us", "boot took 500.000 ms, which is 499.999 ms over its budget of 0.001 ms");
	judged("total=13s", NULL);
	judged("total=12s", "total took 12.500 s, which is 500.000 ms over its budget of 12.000 s");
	judged("mark:ready=0.7s", NULL);
	judged("mark:ready=0.6s", "mark ready took 700.000 ms, which is 100.000 ms over its budget "
				  "of 600.000 ms");
	judged("mark:other=9s", "mark other never came, and its budget is 9000.000 ms");
	judged("decompress=9s", "phase decompress never came, and its budget is 9000.000 ms");
}

/* However many are broken, the sentence ends where it has to. */
static void all_that_are_broken_are_told(void **state)
{
	struct timeline_args args = {0};
	char why[100], large[4096];
	struct err err;

	(void)state;
	for (unsigned int i = 0; i < BUDGETS_MAX; i++)
		assert_int_equal(budget_add(&args, i % 2 ? "kernel=1s" : "init=1s", &err), 0);
	assert_false(budgets_kept(&args, &sample, why, sizeof(why)));
	assert_int_equal(strlen(why), sizeof(why) - 1);
	assert_false(budgets_kept(&args, &sample, large, sizeof(large)));
	assert_non_null(strstr(large, "; phase init took"));
	assert_null(strstr(large, "kernel"));
}

static char *table(const struct timeline *t)
{
	static char text[8192];
	FILE *f = fmemopen(text, sizeof(text), "w");

	assert_non_null(f);
	timeline_print(t, f);
	fclose(f);
	return text;
}

static void the_table_has_a_line_for_each(void **state)
{
	static const struct timeline nothing;

	(void)state;
	assert_string_equal(table(&sample), "phase                        at           took\n"
					    "start                  0.000 ms       0.400 ms  |#    "
					    "                                   |\n"
					    "loader                 0.400 ms      30.000 ms  |#    "
					    "                                   |\n"
					    "  unpack               0.500 ms      20.000 ms  |-    "
					    "                                   |\n"
					    "kernel                40.000 ms     460.000 ms  |#    "
					    "                                   |\n"
					    "init                 500.000 ms       12.000 s  | "
					    "#######################################|\n"
					    "mark ready           700.000 ms                 |  ^  "
					    "                                   |\n"
					    "total                                 12.500 s\n");
	assert_non_null(strstr(table(&nothing), "total"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_are_read),
		cmocka_unit_test(mistakes_cost_a_sentence),
		cmocka_unit_test(budgets_are_judged),
		cmocka_unit_test(all_that_are_broken_are_told),
		cmocka_unit_test(the_table_has_a_line_for_each),
	};

	return cmocka_run_group_tests_name("budget", tests, NULL, NULL);
}
