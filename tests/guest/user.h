/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * user - functions of a payload in ring 3, which is fast where privileged code is emulated.
 *
 * Paging is on and one to one in either ring, so a function has all of the payload's data. It has
 * no ports, hence no console, and no interrupts. It comes back by UD2, as INT is not to be had in
 * every emulator. Any other exception there is unexpected. The first processor only.
 */
#ifndef TESTS_GUEST_USER_H
#define TESTS_GUEST_USER_H

#include "guest.h"

#define USER_DATA 0x2b
#define USER_CODE 0x33
#define USER_TSS  0x38

#define KERNEL_CODE 0x20
#define KERNEL_DATA 0x18

#define USER_PTE_USER  0x04
#define USER_PTE_LARGE 0x80
#define USER_PTE_AT    UINT64_C(0x000ffffffffff000)

struct user_tss { /* AMD64 manual 2, section 12.2.5 */
	uint32_t reserved;
	uint64_t rsp[3];
	uint64_t ist[8];
	uint64_t reserved_too;
	uint16_t reserved_as_well;
	uint16_t iopb;
} __attribute__((packed));

struct user_pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

static struct user_tss user_tss;
static uint8_t user_stacks[2][4096] __attribute__((section(".noinit.user"), aligned(16)));
/* The first five as start.S has them. */
static uint64_t user_gdt[] = {
	0,
	0,
	UINT64_C(0x00cf9b000000ffff),
	UINT64_C(0x00cf93000000ffff),
	UINT64_C(0x00af9b000000ffff),
	UINT64_C(0x00cff3000000ffff), /* USER_DATA */
	UINT64_C(0x00affb000000ffff), /* USER_CODE */
	0,
	0, /* USER_TSS */
};
uint64_t user_kernel_rsp;
extern const char user_end[], user_leave[];
void user_enter(void (*fn)(void), void *stack);

__asm__(".text\n"
	"user_enter:\n"
	"	pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n"
	"	movq %rsp, user_kernel_rsp\n"
	"	pushq $0x2b; pushq %rsi; pushq $2; pushq $0x33; pushq $user_start\n"
	"	iretq\n"
	"user_start:\n"
	"	callq *%rdi\n"
	"user_end:\n"
	"	ud2\n"
	"user_leave:\n"
	"	popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp\n"
	"	ret\n");

static void user_trap(struct intr_frame *frame)
{
	if (frame->cs != USER_CODE || frame->rip != (uintptr_t)user_end) {
		say("unexpected UD2 at %lx\n", frame->rip);
		guest_exit(GUEST_CRASHED);
	}
	frame->rip = (uintptr_t)user_leave;
	frame->cs = KERNEL_CODE;
	frame->ss = KERNEL_DATA;
	frame->rsp = user_kernel_rsp;
}

/* Opens the @len bytes from @at on to ring 3. Below 4 GiB, or mapped by map_high(). */
static void user_map(uint64_t at, uint64_t len)
{
	const uint64_t large = UINT64_C(1) << 21;
	uint64_t cr3;

	__asm__ volatile("movq %%cr3, %0" : "=r"(cr3));
	for (uint64_t page = at & ~(large - 1); page < at + len; page += large) {
		uint64_t *pte = (uint64_t *)(cr3 & USER_PTE_AT);

		for (unsigned int shift = 39;; shift -= 9) {
			pte += page >> shift & 511;
			*pte |= USER_PTE_USER;
			if (shift == 21)
				break;
			pte = (uint64_t *)(*pte & USER_PTE_AT);
		}
	}
	__asm__ volatile("movq %0, %%cr3" : : "r"(cr3) : "memory");
}

/* Once, before the rest. */
static void user_init(void)
{
	uint64_t base = (uintptr_t)&user_tss;
	const struct user_pointer gdtr = {sizeof(user_gdt) - 1, (uintptr_t)user_gdt};

	user_tss.rsp[0] = (uintptr_t)user_stacks[1];
	user_tss.iopb = sizeof(user_tss);
	user_gdt[USER_TSS / 8] = (sizeof(user_tss) - 1) | (base & 0xffffff) << 16 |
				 UINT64_C(0x89) << 40 | (base & 0xff000000) << 32;
	user_gdt[USER_TSS / 8 + 1] = base >> 32;
	__asm__ volatile("lgdtq %0; ltrw %w1" : : "m"(gdtr), "r"(USER_TSS) : "memory");
	intr_set(6, user_trap);
	user_map(0, UINT64_C(4) << 20);
}

static inline void user_call(void (*fn)(void))
{
	user_enter(fn, user_stacks[1] + sizeof(user_stacks[1]));
}

#endif
