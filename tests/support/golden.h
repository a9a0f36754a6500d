/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * golden - files of tests/golden, which say what a result is to be, to the byte.
 *
 * With SKEP_UPDATE_GOLDEN in the environment they are written instead, for a person to read what
 * has changed.
 */
#ifndef TESTS_SUPPORT_GOLDEN_H
#define TESTS_SUPPORT_GOLDEN_H

/* The path of tests/golden/NAME, NAME put together as by printf(). The caller frees it. */
char *golden_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Fails the test unless @text is what the file at @path holds. */
void golden_compare(const char *path, const char *text);

#endif
