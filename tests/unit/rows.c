/* SPDX-License-Identifier: BSD-2-Clause */
/* A text screen as lines: what is new is handed out, and only that. */
#include "support/cm.h"

#include <stdio.h>
#include <string.h>

#include "../../src/smoke/rows.h"
#include "skep/bits.h"

static char got[8192];

static void note(void *arg, const char *text, size_t len)
{
	const size_t n = strlen(got);

	(void)arg;
	snprintf(got + n, sizeof(got) - n, "%.*s|", (int)len, text);
}

static void look(struct rows *r, const char *text, const char *want)
{
	static const struct rows_sink sink = {.row = note};

	got[0] = '\0';
	rows_look(r, text, &sink);
	assert_string_equal(got, want);
}

static void what_is_new(void **state)
{
	struct rows r = {.seen = {0}};

	(void)state;
	look(&r, "", "");
	look(&r, "one\n", "one|");
	look(&r, "one\n", "");
	look(&r, "one\n\ntwo\n", "two|");
	look(&r, "one\nlog\ntwo\n", "log|");
	look(&r, "one\nlogin:\ntwo\n", "login:|");
	look(&r, "", "");
	look(&r, "one", "one|");
}

static void scrolling(void **state)
{
	struct rows r = {.seen = {0}};

	(void)state;
	look(&r, "a\nb\nc\nd\n", "a|b|c|d|");
	look(&r, "b\nc\nd\ne\n", "e|");
	look(&r, "d\ne\nf\ng\n", "f|g|");
	/* All is new. */
	look(&r, "w\nx\ny\nz\n", "w|x|y|z|");
	/* A row that comes again is new where it was not before. */
	look(&r, "x\ny\nz\nz\n", "z|");
	look(&r, "$ \n$ \n$ \n", "$ |$ |$ |");
	look(&r, "$ \n$ \n$ \n$ \n", "$ |");
}

/* The largest screen, and more than that. */
static void a_full_screen(void **state)
{
	struct rows r = {.seen = {0}};
	char text[4096] = "", want[4096] = "";
	size_t n = 0, m = 0;

	(void)state;
	for (unsigned int i = 0; i < SCREEN_ROWS_MAX + 3; i++) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, "row %u\n", i);
		if (i < SCREEN_ROWS_MAX)
			m += (size_t)snprintf(want + m, sizeof(want) - m, "row %u|", i);
	}
	look(&r, text, want);
	look(&r, strchr(text, '\n') + 1, "row 60|");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_new),
		cmocka_unit_test(scrolling),
		cmocka_unit_test(a_full_screen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
