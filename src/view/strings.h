/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bounded table of distinct texts, numbered from 1 in the order in which they came. What finds no
 * room is number 0.
 */
#ifndef SRC_VIEW_STRINGS_H
#define SRC_VIEW_STRINGS_H

#include <stddef.h>
#include <stdint.h>

#define STRINGS_MAX   65536
#define STRINGS_BYTES ((size_t)6 << 20)

struct strings;

struct strings *strings_new(void);
void strings_free(struct strings *t);

uint32_t strings_add(struct strings *t, const char *text);
/* NULL past the last; 0 is the empty text. */
const char *strings_get(const struct strings *t, uint32_t n);

#endif
