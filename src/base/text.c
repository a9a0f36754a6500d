/* SPDX-License-Identifier: BSD-2-Clause */
#include "skep/text.h"

#include <stdio.h>

#include "skep/bits.h"

struct size_text size_text(uint64_t bytes)
{
	const double kib = 1024, mib = 1024 * kib, gib = 1024 * mib;
	struct size_text t;

	if (bytes < KIB(1))
		snprintf(t.s, sizeof(t.s), "%llu byte%s", (unsigned long long)bytes,
			 bytes == 1 ? "" : "s");
	else if (bytes < MIB(1))
		snprintf(t.s, sizeof(t.s), "%.4g KiB", (double)bytes / kib);
	else if (bytes < GIB(1))
		snprintf(t.s, sizeof(t.s), "%.4g MiB", (double)bytes / mib);
	else
		snprintf(t.s, sizeof(t.s), "%.4g GiB", (double)bytes / gib);
	return t;
}
