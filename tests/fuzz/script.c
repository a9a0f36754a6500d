/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scripts of expectations.
 */
#include <stdint.h>

#include "../../src/smoke/judge.h"
#include "../../src/smoke/script.h"
#include "skep/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct judge *j;
	struct err err;

	if (judge_new(&j, &err))
		return 0;
	if (!script_parse(j, "script", (const char *)data, size, &err))
		judge_begin(j, 0, &err);
	judge_free(j);
	return 0;
}
