/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/golden.h"

#include "support/cm.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *golden_path(const char *fmt, ...)
{
	char name[256], *path = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	assert_in_range(n, 1, sizeof(name) - 1);
	assert_true(asprintf(&path, SKEP_GOLDEN_DIR "/%s", name) > 0);
	return path;
}

void golden_compare(const char *path, const char *text)
{
	char *was = NULL;
	size_t room = 0;
	FILE *f;

	if (getenv("SKEP_UPDATE_GOLDEN")) {
		f = fopen(path, "w");
		assert_non_null(f);
		assert_int_not_equal(fputs(text, f), EOF);
		assert_int_equal(fclose(f), 0);
	}
	f = fopen(path, "r");
	if (!f)
		fail_msg("%s cannot be read; SKEP_UPDATE_GOLDEN=1 writes it", path);
	assert_true(getdelim(&was, &room, '\0', f) > 0);
	fclose(f);
	assert_string_equal(text, was);
	free(was);
}
