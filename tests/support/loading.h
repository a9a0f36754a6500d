/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loading - what tests of boot protocols look at: sentences, pieces, and guest memory.
 */
#ifndef TESTS_SUPPORT_LOADING_H
#define TESTS_SUPPORT_LOADING_H

#include <stdint.h>

#include "skep/boot.h"
#include "skep/err.h"

/* The sentence has these words, one line, and an end that was not cut off. */
void assert_sentence(const struct err *err, const char *words);
/* Of any struct with an err. */
#define assert_says(rig, words) assert_sentence(&(rig)->err, (words))

/* The piece of that name; NULL when there is none, or the test fails. */
const struct boot_piece *find_piece(const struct boot_layout *l, const char *name);
const struct boot_piece *piece(const struct boot_layout *l, const char *name);

/* @size bytes, little-endian; the test fails when they are not in RAM. */
uint64_t guest_number(const struct gmem *mem, uint64_t gpa, unsigned int size);

#endif
