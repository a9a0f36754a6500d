/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Matrix files; of those that are taken, every run is looked at.
 */
#include "skep/matrix.h"

#include <stdint.h>
#include <string.h>

#include "skep/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct matrix_run run;
	struct matrix *m;
	struct err err;

	if (matrix_parse(&m, "matrix", (const char *)data, size, &err))
		return 0;
	for (unsigned int i = 0; i < matrix_runs(m); i++) {
		matrix_run(m, i, &run);
		bug_on(strlen(run.name) >= sizeof(run.name) || !run.axes);
	}
	matrix_free(m);
	return 0;
}
