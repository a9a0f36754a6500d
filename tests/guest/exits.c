/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exits - makes exits=N exits (1,000 if nothing is said), each a byte written to the POST port: to
 * see what one costs skep.
 */
#include "check.h"

#define POST_PORT 0x80

int guest_main(void)
{
	const uint64_t count = boot_number("exits", 1000);

	for (uint64_t i = 0; i < count; i++)
		out8(POST_PORT, (uint8_t)(i & 0x7f));
	check(true);
	return check_result("exits");
}
