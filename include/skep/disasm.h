/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * disasm - x86 instructions in words, and what they do to memory.
 *
 * Capstone does it, opened at run time: its tables would cost every machine resident memory and
 * start-up time. One thread at a time.
 */
#ifndef SKEP_DISASM_H
#define SKEP_DISASM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disasm;

/* SDM volume 2A, section 2.3.11. */
#define INSN_MAX 15

/* What one may do besides what its operands say. */
enum insn_kind {
	INSN_OTHER,
	INSN_PUSH, /* writes below the stack pointer: pushes and calls */
	INSN_POP,  /* reads at the stack pointer: pops and returns */
	INSN_IRET,
	INSN_INT,   /* its immediate is a vector */
	INSN_TRAP,  /* int3, into, int1: a vector of its own, in immediate */
	INSN_UNDEF, /* ud2 and its like */
	INSN_DIVIDE,
	INSN_HLT,
};

/* Registers are numbered as cpu_state.h does; -1: none, INSN_IP: the instruction pointer. */
#define INSN_IP 16
struct insn_memory {
	int base, index;
	int segment; /* an override, or the one that goes with the base */
	unsigned int scale;
	int64_t disp;
	unsigned int address_bytes; /* 2, 4, 8 */
	unsigned int size;          /* bytes there */
	bool write;
};

struct insn {
	uint64_t at;
	unsigned int len; /* 0: these bytes are no instruction */
	enum insn_kind kind;
	uint64_t immediate;
	int reg; /* its first register operand, and the bytes of it that count */
	unsigned int reg_bytes;
	unsigned int memory_count;
	struct insn_memory memory[2];
	char text[128];
};

/* For code of @bits (16, 32, 64). NULL: this host has no Capstone. */
struct disasm *disasm_open(unsigned int bits);
/* NULL is allowed. */
void disasm_close(struct disasm *d);

/* The instruction at the start of @bytes, which lie at @at; false when they are none. */
bool disasm_one(struct disasm *d, const uint8_t *bytes, size_t n, uint64_t at, struct insn *insn);

/* For a process that will not be allowed to open files later (sandbox.h): its aide will do it. */
void disasm_prepare(void);

#endif
