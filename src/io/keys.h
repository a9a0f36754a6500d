/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * keys - what a terminal sends, as the keys that were struck.
 *
 * Characters come as they are, other keys as escape sequences: ECMA-48 control sequences as xterm
 * and its like send them (ctlseqs, "PC-Style Function Keys"), with the variants of the Linux
 * console and of rxvt. An ESC in front of a character is Alt. A lone ESC is told from the beginning
 * of a sequence by time alone, which is the caller's: see keys_expire().
 *
 * Pure.
 */
#ifndef SKEP_IO_KEYS_H
#define SKEP_IO_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "skep/keyboard.h"

/* Starts as all zeroes. */
struct keys {
	enum { KEYS_PLAIN, KEYS_ESC, KEYS_CSI, KEYS_SS3, KEYS_LINUX } state;
	unsigned int params[2]; /* of the sequence so far; what is behind the second is left out */
	unsigned int param;     /* which of them is being read */
	bool unknown;           /* it is none of those below */
};

/* A byte has come. True when it completes a stroke, which is then in *@out. */
bool keys_take(struct keys *k, uint8_t byte, struct stroke *out);

/* Whether more bytes may belong to what has come. */
static inline bool keys_waiting(const struct keys *k)
{
	return k->state != KEYS_PLAIN;
}

/* Nothing has come for a while: what had come was no sequence, but keys. True when that is a
 * stroke. */
bool keys_expire(struct keys *k, struct stroke *out);

#endif
