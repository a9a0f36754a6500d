/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * text - how numbers are written for people. Pure; any thread.
 */
#ifndef SKEP_TEXT_H
#define SKEP_TEXT_H

#include <stdint.h>

/* "17 bytes", "1.5 MiB" */
struct size_text {
	char s[32];
};
struct size_text size_text(uint64_t bytes);

#endif
