/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>
#include <string.h>

#include "strings.h"

#define SLOTS (2 * STRINGS_MAX) /* half of them stay free, so that looking for one ends */

struct strings {
	uint32_t count;
	size_t used;
	uint32_t slots[SLOTS];        /* numbers of texts; 0: free */
	uint32_t starts[STRINGS_MAX]; /* in @bytes */
	char bytes[STRINGS_BYTES];    /* the first is number 0, the empty one */
};

struct strings *strings_new(void)
{
	struct strings *t = calloc(1, sizeof(*t));

	if (t) {
		t->count = 1;
		t->used = 1;
	}
	return t;
}

void strings_free(struct strings *t)
{
	free(t);
}

/* FNV-1a. */
static uint32_t hash(const char *text)
{
	uint32_t h = UINT32_C(2166136261);

	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * UINT32_C(16777619);
	return h;
}

uint32_t strings_add(struct strings *t, const char *text)
{
	const size_t room = strlen(text) + 1;
	uint32_t slot = hash(text) % SLOTS;

	if (!*text)
		return 0;
	for (; t->slots[slot]; slot = (slot + 1) % SLOTS)
		if (!strcmp(t->bytes + t->starts[t->slots[slot]], text))
			return t->slots[slot];
	if (t->count == STRINGS_MAX || room > STRINGS_BYTES - t->used)
		return 0;
	memcpy(t->bytes + t->used, text, room);
	t->starts[t->count] = (uint32_t)t->used;
	t->slots[slot] = t->count;
	t->used += room;
	return t->count++;
}

const char *strings_get(const struct strings *t, uint32_t n)
{
	return n < t->count ? t->bytes + t->starts[n] : NULL;
}
