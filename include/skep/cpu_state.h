/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cpu_state - the registers of a vCPU, for whoever explains what a guest did. Plain values.
 *
 * src/kvm fills it (kvm_cpu_state()), so that nothing above knows KVM's structures.
 */
#ifndef SKEP_CPU_STATE_H
#define SKEP_CPU_STATE_H

#include <stdbool.h>
#include <stdint.h>

#define CR0_PE (UINT64_C(1) << 0)
#define CR0_WP (UINT64_C(1) << 16)
#define CR0_PG (UINT64_C(1) << 31)

#define CR4_PSE  (UINT64_C(1) << 4)
#define CR4_PAE  (UINT64_C(1) << 5)
#define CR4_LA57 (UINT64_C(1) << 12)
#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_SMAP (UINT64_C(1) << 21)

#define EFER_LMA (UINT64_C(1) << 10)
#define EFER_NXE (UINT64_C(1) << 11)

#define RFLAGS_TF (UINT64_C(1) << 8)
#define RFLAGS_IF (UINT64_C(1) << 9)
#define RFLAGS_VM (UINT64_C(1) << 17)

/* As instructions number them. */
enum cpu_gpr {
	CPU_RAX,
	CPU_RCX,
	CPU_RDX,
	CPU_RBX,
	CPU_RSP,
	CPU_RBP,
	CPU_RSI,
	CPU_RDI,
	CPU_R8, /* to R15 */
	CPU_GPRS = 16,
};

enum cpu_segment_name {
	CPU_ES,
	CPU_CS,
	CPU_SS,
	CPU_DS,
	CPU_FS,
	CPU_GS,
	CPU_TR,
	CPU_LDTR,
	CPU_SEGMENTS,
};

/* What the processor holds of a segment; the table it came from may say other things by now. */
struct cpu_segment {
	uint64_t base;
	uint32_t limit; /* in bytes, granularity applied */
	uint16_t selector;
	uint8_t type; /* SDM volume 3, 3.4.5.1 and 3.5 */
	uint8_t dpl;
	bool present, code_or_data, big, wide; /* P, S, D/B, L */
	bool unusable;
};

/* GDTR, IDTR */
struct cpu_table {
	uint64_t base;
	uint16_t limit;
};

enum cpu_activity {
	CPU_RUNS,
	CPU_HALTED,
	CPU_AWAITS_SIPI, /* another vCPU has not started it */
};

/* Of which moment registers are. */
enum cpu_when {
	CPU_NOW,
	/* This host's KVM has reset the vCPU at its end; of its last exit before that there are: */
	CPU_LAST_EXIT_GENERAL, /* RIP, RFLAGS and the general registers, no more */
	CPU_LAST_EXIT_NOTHING,
	/* In a second life (kvm_replay()); no MSRs. */
	CPU_SECOND_EXIT, /* at its last exit */
	CPU_SECOND_STEP, /* before its last instruction */
};

struct cpu_state {
	uint64_t gpr[CPU_GPRS];
	uint64_t rip, rflags;
	struct cpu_segment segment[CPU_SEGMENTS];
	struct cpu_table gdt, idt;
	uint64_t cr0, cr2, cr3, cr4, cr8;
	uint64_t efer, apic_base;
	uint64_t dr[4], dr6, dr7;
	/* MSRs; those that could not be read are 0. */
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat, tsc;
	enum cpu_activity activity;
	/* An exception that was being delivered; -1: none. */
	int exception;
	unsigned int address_bits; /* of a physical address */
	/* An interrupt of the 8259A pair that it was given last; -1: none. */
	int interrupt;
	enum cpu_when when;
};

/* The mode as SDM volume 3, 2.2 has it: 16, 32 or 64 bits of code. */
static inline unsigned int cpu_code_bits(const struct cpu_state *s)
{
	if (!(s->cr0 & CR0_PE) || (s->rflags & RFLAGS_VM))
		return 16;
	if ((s->efer & EFER_LMA) && s->segment[CPU_CS].wide)
		return 64;
	return s->segment[CPU_CS].big ? 32 : 16;
}

/* The current privilege level. */
static inline unsigned int cpu_cpl(const struct cpu_state *s)
{
	return s->cr0 & CR0_PE ? s->segment[CPU_SS].dpl : 0;
}

#endif
