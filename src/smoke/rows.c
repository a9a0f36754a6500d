/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "rows.h"
#include "skep/bits.h"

struct row {
	const char *text;
	size_t len;
	uint64_t digest;
};

/* FNV-1a, and never that of a blank row. */
static uint64_t digest(const char *text, size_t len)
{
	uint64_t sum = 0xcbf29ce484222325;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ (uint8_t)text[i]) * 0x100000001b3;
	return len ? sum | 1 : 0;
}

static void split(struct row rows[SCREEN_ROWS_MAX], const char *text)
{
	for (unsigned int i = 0; i < SCREEN_ROWS_MAX; i++) {
		const size_t len = strcspn(text, "\n");

		rows[i] = (struct row){.text = text, .len = len, .digest = digest(text, len)};
		text += len + !!text[len];
	}
}

/* How many rows that are not blank were there before, @up rows lower. */
static unsigned int alike(const struct rows *r, const struct row *now, unsigned int up)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i + up < SCREEN_ROWS_MAX; i++)
		n += now[i].digest && now[i].digest == r->seen[i + up];
	return n;
}

void rows_look(struct rows *r, const char *text, const struct rows_sink *sink)
{
	struct row now[SCREEN_ROWS_MAX];
	unsigned int up = 0, most = 0;

	split(now, text);
	for (unsigned int i = 0; i < SCREEN_ROWS_MAX; i++) {
		const unsigned int n = alike(r, now, i);

		if (n > most) {
			most = n;
			up = i;
		}
	}
	for (unsigned int i = 0; i < SCREEN_ROWS_MAX; i++) {
		const bool was_there = i + up < SCREEN_ROWS_MAX && now[i].digest == r->seen[i + up];

		if (now[i].digest && !was_there)
			sink->row(sink->arg, now[i].text, now[i].len);
	}
	for (unsigned int i = 0; i < SCREEN_ROWS_MAX; i++)
		r->seen[i] = now[i].digest;
}
