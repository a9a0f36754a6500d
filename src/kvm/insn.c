/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An instruction in words, for the sentence that says why KVM could not go on.
 *
 * Capstone is opened only then: its tables would cost every machine resident memory and start-up
 * time. Without it the bytes must do.
 */
#include <capstone.h>
#include <dlfcn.h>
#include <stdio.h>

#include "kvm_priv.h"
#include "skep/bits.h"

#define LIBRARY "libcapstone.so.4"

CALLS_LIBRARY
static size_t disassemble(void *library, unsigned int bits, const uint8_t *bytes, size_t n,
			  uint64_t rip, char *text, size_t room)
{
	const cs_mode mode = bits == 64 ? CS_MODE_64 : bits == 32 ? CS_MODE_32 : CS_MODE_16;
	__typeof__(&cs_open) open = (__typeof__(&cs_open))dlsym(library, "cs_open");
	__typeof__(&cs_disasm) disasm = (__typeof__(&cs_disasm))dlsym(library, "cs_disasm");
	__typeof__(&cs_free) release = (__typeof__(&cs_free))dlsym(library, "cs_free");
	__typeof__(&cs_close) shut = (__typeof__(&cs_close))dlsym(library, "cs_close");
	size_t used = 0;
	cs_insn *insn;
	csh handle;

	if (!open || !disasm || !release || !shut || open(CS_ARCH_X86, mode, &handle) != CS_ERR_OK)
		return 0;
	if (disasm(handle, bytes, n, rip, 1, &insn) == 1) {
		snprintf(text, room, "%.31s%s%.95s", insn->mnemonic, *insn->op_str ? " " : "",
			 insn->op_str);
		used = insn->size;
		release(insn, 1);
	}
	shut(&handle);
	return used;
}

void insn_describe(unsigned int bits, const uint8_t *bytes, size_t n, uint64_t rip, char *text,
		   size_t room)
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	char words[128] = "";
	size_t used = 0, at;

	if (library) {
		used = disassemble(library, bits, bytes, n, rip, words, sizeof(words));
		dlclose(library);
	}
	at = (size_t)snprintf(text, room, "%s%s", words, *words ? ", bytes" : "bytes");
	for (size_t i = 0; i < (used ? used : n) && at < room; i++)
		at += (size_t)snprintf(text + at, room - at, " %02x", bytes[i]);
	if (!n && at < room)
		snprintf(text + at, room - at, " unreadable");
}
