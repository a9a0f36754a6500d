/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Instructions, by Capstone.
 */
#include <capstone.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/disasm.h"
#include "skep/sandbox.h"

#define LIBRARY "libcapstone.so.4"

struct disasm {
	unsigned int bits;
	int errand; /* the aide's */
	void *library;
	__typeof__(&cs_disasm) disasm;
	__typeof__(&cs_free) release;
	__typeof__(&cs_close) shut;
	csh handle;
};

CALLS_LIBRARY
static bool start(struct disasm *d, unsigned int bits)
{
	const cs_mode mode = bits == 64 ? CS_MODE_64 : bits == 32 ? CS_MODE_32 : CS_MODE_16;
	__typeof__(&cs_open) open = (__typeof__(&cs_open))dlsym(d->library, "cs_open");
	__typeof__(&cs_option) option = (__typeof__(&cs_option))dlsym(d->library, "cs_option");

	d->disasm = (__typeof__(&cs_disasm))dlsym(d->library, "cs_disasm");
	d->release = (__typeof__(&cs_free))dlsym(d->library, "cs_free");
	d->shut = (__typeof__(&cs_close))dlsym(d->library, "cs_close");
	if (!open || !option || !d->disasm || !d->release || !d->shut ||
	    open(CS_ARCH_X86, mode, &d->handle) != CS_ERR_OK)
		return false;
	option(d->handle, CS_OPT_DETAIL, CS_OPT_ON);
	return true;
}

struct question {
	uint64_t at;
	unsigned int bits;
	unsigned int n;
	uint8_t bytes[INSN_MAX];
};

_Static_assert(sizeof(struct question) <= SANDBOX_QUESTION_MAX &&
		       sizeof(struct insn) <= SANDBOX_ANSWER_MAX,
	       "an instruction is an errand");

/* In the aide, which may open Capstone. */
static size_t disasm_errand(void *arg, const void *question, size_t n, void *answer, size_t room)
{
	struct question q;
	struct disasm *d;
	size_t len = 0;

	(void)arg;
	if (n != sizeof(q) || room < sizeof(struct insn))
		return 0;
	memcpy(&q, question, sizeof(q));
	d = q.n <= sizeof(q.bytes) ? disasm_open(q.bits) : NULL;
	if (disasm_one(d, q.bytes, q.n, q.at, answer))
		len = sizeof(struct insn);
	disasm_close(d);
	return len;
}

static bool ask(const struct disasm *d, const uint8_t *bytes, size_t n, uint64_t at,
		struct insn *insn)
{
	struct question q = {
		.at = at, .bits = d->bits, .n = (unsigned int)MIN(n, (size_t)INSN_MAX)};

	memcpy(q.bytes, bytes, q.n);
	return sandbox_ask(d->errand, &q, sizeof(q), insn, sizeof(*insn)) == sizeof(*insn);
}

struct disasm *disasm_open(unsigned int bits)
{
	struct disasm *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->bits = bits;
	d->errand = sandbox_errand(disasm_errand, NULL, -1);
	if (sandbox_asks(d->errand))
		return d;
	/* It stays: the aide opens it for each instruction, and binding it takes 5 ms. */
	d->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (d->library && start(d, bits))
		return d;
	if (d->library)
		dlclose(d->library);
	free(d);
	return NULL;
}

CALLS_LIBRARY
void disasm_close(struct disasm *d)
{
	if (!d)
		return;
	if (d->library) {
		d->shut(&d->handle);
		dlclose(d->library);
	}
	free(d);
}

void disasm_prepare(void)
{
	sandbox_errand(disasm_errand, NULL, -1);
}

/* What they mean */

static const struct {
	x86_reg reg[3]; /* by width: 8, 4, 2 bytes */
	int number;
} registers[] = {
	{{X86_REG_RAX, X86_REG_EAX, X86_REG_AX}, 0},
	{{X86_REG_RCX, X86_REG_ECX, X86_REG_CX}, 1},
	{{X86_REG_RDX, X86_REG_EDX, X86_REG_DX}, 2},
	{{X86_REG_RBX, X86_REG_EBX, X86_REG_BX}, 3},
	{{X86_REG_RSP, X86_REG_ESP, X86_REG_SP}, 4},
	{{X86_REG_RBP, X86_REG_EBP, X86_REG_BP}, 5},
	{{X86_REG_RSI, X86_REG_ESI, X86_REG_SI}, 6},
	{{X86_REG_RDI, X86_REG_EDI, X86_REG_DI}, 7},
	{{X86_REG_R8, X86_REG_R8D, X86_REG_R8W}, 8},
	{{X86_REG_R9, X86_REG_R9D, X86_REG_R9W}, 9},
	{{X86_REG_R10, X86_REG_R10D, X86_REG_R10W}, 10},
	{{X86_REG_R11, X86_REG_R11D, X86_REG_R11W}, 11},
	{{X86_REG_R12, X86_REG_R12D, X86_REG_R12W}, 12},
	{{X86_REG_R13, X86_REG_R13D, X86_REG_R13W}, 13},
	{{X86_REG_R14, X86_REG_R14D, X86_REG_R14W}, 14},
	{{X86_REG_R15, X86_REG_R15D, X86_REG_R15W}, 15},
	{{X86_REG_RIP, X86_REG_EIP, X86_REG_IP}, INSN_IP},
};

static int number_of(x86_reg reg)
{
	if (reg == X86_REG_INVALID)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(registers); i++)
		for (size_t w = 0; w < 3; w++)
			if (registers[i].reg[w] == reg)
				return registers[i].number;
	return -1;
}

/* SDM volume 1, table 3-5: the stack's segment goes with the stack's registers. */
static int segment_of(const x86_op_mem *mem, int base)
{
	switch (mem->segment) {
	case X86_REG_ES:
		return 0;
	case X86_REG_CS:
		return 1;
	case X86_REG_SS:
		return 2;
	case X86_REG_DS:
		return 3;
	case X86_REG_FS:
		return 4;
	case X86_REG_GS:
		return 5;
	default:
		return base == 4 || base == 5 ? 2 : 3;
	}
}

static bool touches_memory(unsigned int id)
{
	switch (id) {
	case X86_INS_LEA:
	case X86_INS_NOP:
	case X86_INS_INVLPG:
	case X86_INS_PREFETCH:
	case X86_INS_PREFETCHW:
	case X86_INS_PREFETCHNTA:
	case X86_INS_PREFETCHT0:
	case X86_INS_PREFETCHT1:
	case X86_INS_PREFETCHT2:
		return false;
	default:
		return true;
	}
}

static enum insn_kind kind_of(unsigned int id, uint64_t *immediate)
{
	switch (id) {
	case X86_INS_PUSH:
	case X86_INS_PUSHAL:
	case X86_INS_PUSHAW:
	case X86_INS_PUSHF:
	case X86_INS_PUSHFD:
	case X86_INS_PUSHFQ:
	case X86_INS_CALL:
	case X86_INS_LCALL:
	case X86_INS_ENTER:
		return INSN_PUSH;
	case X86_INS_POP:
	case X86_INS_POPAL:
	case X86_INS_POPAW:
	case X86_INS_POPF:
	case X86_INS_POPFD:
	case X86_INS_POPFQ:
	case X86_INS_RET:
	case X86_INS_RETF:
	case X86_INS_RETFQ:
		return INSN_POP;
	case X86_INS_IRET:
	case X86_INS_IRETD:
	case X86_INS_IRETQ:
		return INSN_IRET;
	case X86_INS_INT:
		return INSN_INT;
	case X86_INS_INT1:
		*immediate = 1;
		return INSN_TRAP;
	case X86_INS_INT3:
		*immediate = 3;
		return INSN_TRAP;
	case X86_INS_UD0:
	case X86_INS_UD2:
	case X86_INS_UD2B:
		return INSN_UNDEF;
	case X86_INS_DIV:
	case X86_INS_IDIV:
		return INSN_DIVIDE;
	case X86_INS_HLT:
		return INSN_HLT;
	default:
		return INSN_OTHER;
	}
}

static void take_operands(struct insn *insn, const cs_x86 *x86, bool memory)
{
	for (unsigned int i = 0; i < x86->op_count; i++) {
		const cs_x86_op *op = &x86->operands[i];
		int base;

		if (op->type == X86_OP_IMM)
			insn->immediate = (uint64_t)op->imm;
		if (op->type == X86_OP_REG && insn->reg < 0) {
			insn->reg = number_of(op->reg);
			insn->reg_bytes = op->size;
		}
		if (op->type != X86_OP_MEM || !memory ||
		    insn->memory_count == ARRAY_SIZE(insn->memory))
			continue;
		base = number_of(op->mem.base);
		insn->memory[insn->memory_count++] = (struct insn_memory){
			.base = base,
			.index = number_of(op->mem.index),
			.segment = segment_of(&op->mem, base),
			.scale = (unsigned int)op->mem.scale,
			.disp = op->mem.disp,
			.address_bytes = x86->addr_size,
			.size = op->size,
			.write = op->access & CS_AC_WRITE,
		};
	}
}

CALLS_LIBRARY
bool disasm_one(struct disasm *d, const uint8_t *bytes, size_t n, uint64_t at, struct insn *insn)
{
	cs_insn *c;

	*insn = (struct insn){.at = at, .reg = -1};
	if (d && !d->library)
		return ask(d, bytes, n, at, insn);
	if (!d || d->disasm(d->handle, bytes, n, at, 1, &c) != 1)
		return false;
	insn->len = c->size;
	snprintf(insn->text, sizeof(insn->text), "%.31s%s%.92s", c->mnemonic, *c->op_str ? " " : "",
		 c->op_str);
	if (c->detail)
		take_operands(insn, &c->detail->x86, touches_memory(c->id));
	insn->kind = kind_of(c->id, &insn->immediate);
	d->release(c, 1);
	return true;
}
