/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * text - how numbers, and bytes from anywhere, are written for people. Pure; any thread.
 */
#ifndef SKEP_TEXT_H
#define SKEP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "17 bytes", "1.5 MiB" */
struct size_text {
	char s[32];
};
struct size_text size_text(uint64_t bytes);

/* The room that text_safe() needs for all of @n bytes. */
#define TEXT_SAFE_ROOM(n) (4 * (size_t)(n) + 1)

/*
 * Writes @bytes, which may be anything a guest says, as text that neither a terminal nor a report
 * can be garbled with: UTF-8 that a terminal shows as it is, XML 1.0 (2.2) allows, and no editor
 * reorders. Line feeds and tabs stay, carriage returns in front of a line feed go, and what else is
 * a control character, no UTF-8 or no character is written \xNN or \uNNNN.
 *
 * Stops where the next piece does not fit into @room, and returns the length; there is a NUL behind
 * it, and *@taken of the bytes went into it. With @more those at the end stay untaken that may be
 * the first part of something whole: at most 3, or carriage returns.
 */
size_t text_safe(char *out, size_t room, const void *bytes, size_t len, bool more, size_t *taken);

#endif
