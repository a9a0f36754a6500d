/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a proof says: each function proof_NAME() of tests/proof is one, and
 * each long_NAME(), which takes minutes. It takes any values, assumes
 * what is known of them, calls the code, and claims. tools/prove has it hold for all values, or
 * shows some for which it does not. Beside what is claimed, every access lies within its object, no
 * signed overflow or other undefined behaviour is there, atomics are aligned, and bug_on() is out
 * of reach.
 *
 * A loop goes round as often as it can, and 16 times at most, unless there is a function
 * invariant_FUNCTION() for the one loop of FUNCTION(). Its arguments are called as variables of
 * FUNCTION() are. It holds when the loop is reached and after each round, and nothing else is known
 * of what the loop writes.
 */
#ifndef SKEP_PROOF_H
#define SKEP_PROOF_H

#include <stdbool.h>
#include <stdint.h>

bool any_bool(void);
uint16_t any_u16(void);
uint32_t any_u32(void);
uint64_t any_u64(void);

/* Memory of a guest, which writes to it at any moment: no two reads need be the same. */
void *any_memory(uint64_t size);
/* How many there are from @at to the end of the object. */
uint64_t bytes_at(const void *at);

void assume(bool what);
void claim(bool what);

#endif
