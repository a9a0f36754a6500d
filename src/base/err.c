/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "skep/err.h"

int err_set(struct err *e, int errnum, const char *fmt, ...)
{
	va_list ap;

	if (e) {
		va_start(ap, fmt);
		vsnprintf(e->text, sizeof(e->text), fmt, ap);
		va_end(ap);
	}
	return -errnum;
}

/* Not strerror(): that depends on the locale, and may share a buffer between threads. */
static void append_errnum(struct err *e, int errnum)
{
	const char *meaning = strerrordesc_np(errnum);
	size_t n = strlen(e->text);

	if (meaning)
		snprintf(e->text + n, sizeof(e->text) - n, ": %s", meaning);
	else
		snprintf(e->text + n, sizeof(e->text) - n, ": error %d", errnum);
}

int err_sys(struct err *e, int errnum, const char *fmt, ...)
{
	va_list ap;

	if (e) {
		va_start(ap, fmt);
		vsnprintf(e->text, sizeof(e->text), fmt, ap);
		va_end(ap);
		append_errnum(e, errnum);
	}
	return -errnum;
}

void err_prefix(struct err *e, const char *fmt, ...)
{
	char old[sizeof(e->text)];
	va_list ap;
	size_t n;

	if (!e)
		return;
	memcpy(old, e->text, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	n = strlen(e->text);
	snprintf(e->text + n, sizeof(e->text) - n, ": %s", old);
}

void err_advise(struct err *e, const char *fmt, ...)
{
	va_list ap;
	size_t n;

	if (!e)
		return;
	n = strlen(e->text);
	if (n + 3 >= sizeof(e->text))
		return; /* no room for "; " and a word: better none than half of it */
	memcpy(e->text + n, "; ", 2);
	va_start(ap, fmt);
	vsnprintf(e->text + n + 2, sizeof(e->text) - n - 2, fmt, ap);
	va_end(ap);
}

void bug_report(const char *cond, const char *file, int line)
{
	dprintf(STDERR_FILENO, "skep: bug: %s at %s:%d\n", cond, file, line);
	abort();
}
