/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Payloads of kernels, hostile ones: the first two bytes say how long they promise to be.
 */
#include "../../src/boot/unpack.h"

#include <stdlib.h>

#include "skep/bits.h"
#include "skep/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err;
	size_t room;
	void *out;

	if (size < 2)
		return 0;
	room = load_le16(data);
	out = malloc(room + 1);
	if (!out)
		return 0;
	unpack_bytes(data + 2, size - 2, out, room, &err);
	free(out);
	return 0;
}
