/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Saved states. The first byte says whether the rest is a state as it is, or changes (two bytes of
 * where, one of what) of a good one. What is loaded saves as bytes that load as the same; what is
 * refused has changed nothing. That devices judge what is loaded is target device's.
 */
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct thing {
	uint64_t wide[3];
	uint32_t word;
	uint16_t half, halves[5];
	uint8_t byte, bytes[7];
};

static const struct state_field fields[] = {
	STATE_ARRAY(struct thing, wide), STATE_FIELD(struct thing, word),
	STATE_FIELD(struct thing, half), STATE_ARRAY_SINCE(struct thing, halves, 2),
	STATE_FIELD(struct thing, byte), STATE_ARRAY(struct thing, bytes),
};
static const struct state_table table = STATE_TABLE("thing", 2, struct thing, fields);

static void must(bool good)
{
	if (!good)
		abort();
}

static void try(const uint8_t *data, size_t size)
{
	struct thing before, a, b;
	uint8_t saved[1024];
	struct err err = {.text = ""};
	long len;

	memset(&before, 0x5a, sizeof(before));
	a = b = before;
	if (state_load(&table, &a, data, size, &err)) {
		must(err.text[0] && !memcmp(&a, &before, sizeof(a)));
		return;
	}
	len = state_save(&table, &a, saved, sizeof(saved));
	must(len > 0 && !state_load(&table, &b, saved, (size_t)len, &err));
	must(!state_compare(&table, &a, &b) && !memcmp(&a, &b, sizeof(a)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct thing good = {.word = 1};
	uint8_t saved[1024];
	long len;

	if (!size)
		return 0;
	if (data[0] & 1) {
		try(data + 1, size - 1);
		return 0;
	}
	len = state_save(&table, &good, saved, sizeof(saved));
	must(len > 0);
	for (size_t i = 1; i + 3 <= size; i += 3)
		saved[load_le16(data + i) % (size_t)len] = data[i + 2];
	/* Cut off at times. */
	try(saved, (size_t)len - MIN((size_t)data[0] >> 5, (size_t)len));
	return 0;
}
