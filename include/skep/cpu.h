/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cpu - the state in which a boot loader wants the first vCPU to enter the guest.
 *
 * Loaders (src/boot) fill it, src/kvm turns it into registers; neither knows the other.
 */
#ifndef SKEP_CPU_H
#define SKEP_CPU_H

#include <stdint.h>

/* Interrupts are off in all of them, and the interrupt table is empty where nothing else is said.
 */
enum cpu_mode {
	/*
	 * Protected mode: flat 4 GiB segments, CS is selector 10h, the data segments are 18h, and
	 * GDTR points at a GDT in guest memory that says the same. With cr3, paging is on.
	 */
	CPU_PROT32,
	/* Long mode with the same selectors, CS a 64-bit segment, and page tables at cr3. */
	CPU_LONG64,
	/*
	 * Real mode as after a BIOS: interrupt vectors at 0, the 64 KiB segments all at 16 times
	 * @segment, and 16 bits of rip and rsp count.
	 */
	CPU_REAL16,
};

struct cpu_entry {
	enum cpu_mode mode;
	uint64_t rip;
	uint64_t rsp;
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp;
	uint64_t cr3;       /* gpa of the page tables; 0: no paging */
	uint64_t cr4;       /* CR4 bits beyond what the mode needs, like PSE */
	uint64_t gdt;       /* gpa */
	uint16_t gdt_limit; /* bytes less one */
	uint16_t segment;   /* CPU_REAL16 */
};

#endif
