/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An instruction in words, for the sentence that says why KVM could not go on. Without Capstone the
 * bytes must do.
 */
#include <stdio.h>

#include "kvm_priv.h"
#include "skep/bits.h"
#include "skep/disasm.h"

void insn_describe(unsigned int bits, const uint8_t *bytes, size_t n, uint64_t rip, char *text,
		   size_t room)
{
	struct disasm *d = disasm_open(bits);
	struct insn insn;
	size_t at;

	disasm_one(d, bytes, n, rip, &insn);
	disasm_close(d);
	at = (size_t)snprintf(text, room, "%s%s", insn.text, insn.len ? ", bytes" : "bytes");
	for (size_t i = 0; i < (insn.len ? insn.len : n) && at < room; i++)
		at += (size_t)snprintf(text + at, room - at, " %02x", bytes[i]);
	if (!n && at < room)
		snprintf(text + at, room - at, " unreadable");
}
