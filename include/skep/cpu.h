/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cpu - the state in which a boot loader wants the first vCPU to enter the guest.
 *
 * Loaders (src/boot) fill it, src/kvm turns it into registers; neither knows the other.
 */
#ifndef SKEP_CPU_H
#define SKEP_CPU_H

#include <stdint.h>

enum cpu_mode {
	/*
	 * Protected mode, paging off, interrupts off, flat 4 GiB segments: CS is selector 10h, the
	 * data segments are 18h, and GDTR points at a GDT in guest memory that says the same.
	 */
	CPU_PROT32,
};

struct cpu_entry {
	enum cpu_mode mode;
	uint64_t rip;
	uint64_t rsp;
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp;
	uint64_t gdt;       /* gpa */
	uint16_t gdt_limit; /* bytes less one */
};

#endif
