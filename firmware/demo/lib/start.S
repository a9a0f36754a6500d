/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From the 32-bit boot protocol to C in long mode, for the first processor; from real mode to the
 * same place for those that smp_start() wakes.
 *
 * The first processor arrives with flat segments, paging and interrupts off, and ESI at the
 * boot_params. All it arrived with is kept in struct entry for whoever wants to look.
 */
#include "layout.h"

#define CR0_PE	 0x00000001
#define CR0_ET	 0x00000010
#define CR0_NE	 0x00000020
#define CR0_PG	 0x80000000
#define CR4_PAE	 0x20
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100

#define PTE_TABLE 0x63 /* present, writable, accessed, dirty */
#define PTE_PAGE  0xe3 /* and large */
#define PTE_UC	  0x18 /* PCD, PWT */
#define UC_FROM	  0xfe000000 /* where the interrupt chips are */

	.section .start, "ax"
	.code32
	.globl	start32
start32:
	movl	%eax, entry + 0
	movl	%ebx, entry + 4
	movl	%ecx, entry + 8
	movl	%edx, entry + 12
	movl	%esi, entry + 16
	movl	%edi, entry + 20
	movl	%ebp, entry + 24
	movl	%esp, entry + 28
	movl	$stack_top, %esp
	pushfl
	popl	entry + 32
	movl	%cr0, %eax
	movl	%eax, entry + 36
	movl	%cr3, %eax
	movl	%eax, entry + 40
	movl	%cr4, %eax
	movl	%eax, entry + 44
	movl	%cs, %eax
	movw	%ax, entry + 48
	movl	%ds, %eax
	movw	%ax, entry + 50
	movl	%es, %eax
	movw	%ax, entry + 52
	movl	%ss, %eax
	movw	%ax, entry + 54
	sgdtl	entry + 56
	rdtsc
	movl	%eax, entry + 64
	movl	%edx, entry + 68
	cld

	/* The lowest 4 GiB, one to one, in pages of 2 MiB. */
	movl	$pml4, %edi
	movl	$(2 * 1024), %ecx
	xorl	%eax, %eax
	rep stosl
	movl	$(pdpt + PTE_TABLE), pml4
	movl	$(pd + PTE_TABLE), pdpt
	movl	$(pd + 0x1000 + PTE_TABLE), pdpt + 8
	movl	$(pd + 0x2000 + PTE_TABLE), pdpt + 16
	movl	$(pd + 0x3000 + PTE_TABLE), pdpt + 24
	movl	$PTE_PAGE, %eax
1:	movl	%eax, (%edi)
	movl	$0, 4(%edi)
	addl	$8, %edi
	addl	$0x200000, %eax
	cmpl	$(UC_FROM + PTE_PAGE), %eax
	jb	1b
	orl	$PTE_UC, %eax
	movl	$16, %ecx
1:	movl	%eax, (%edi)
	movl	$0, 4(%edi)
	addl	$8, %edi
	addl	$0x200000, %eax
	loop	1b

	lgdtl	gdt_pointer
	movl	$start64, %ebp

/* Turns long mode on, for EBP in 64-bit code. */
long_mode:
	movl	$CR4_PAE, %eax
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	rdmsr
	orl	$EFER_LME, %eax
	wrmsr
	movl	$(CR0_PE | CR0_ET | CR0_NE | CR0_PG), %eax
	movl	%eax, %cr0
	ljmpl	$SEL_CODE64, $1f
	.code64
1:	movl	$SEL_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	lidtq	idt_pointer
	movl	%ebp, %eax
	jmpq	*%rax

start64:
	movl	$stack_top, %esp
	movl	$bss_start, %edi
	movl	$bss_quads, %ecx
	xorl	%eax, %eax
	rep stosq
	xorl	%ebp, %ebp
	call	guest_start
	ud2

/* An application processor, out of the trampoline, flat 32-bit. */
	.code32
smp_start32:
	movl	$SEL_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$smp_start64, %ebp
	jmp	long_mode
	.code64
smp_start64:
	movl	$1, %edi
	lock xaddl %edi, smp_arrived
	cmpl	$SMP_MAX, %edi
	jae	smp_park
	leal	1(%rdi), %esp
	shll	$SMP_STACK_BITS, %esp
	addl	$smp_stacks, %esp
	xorl	%ebp, %ebp
	call	smp_enter
smp_park:
	cli
1:	hlt
	jmp	1b

/* Copied to a page below 1 MiB, where a start-up interrupt enters it in real mode. */
	.globl	smp_trampoline, smp_trampoline_end
	.code16
smp_trampoline:
	cli
	lgdtl	%cs:(trampoline_gdt - smp_trampoline)
	movl	$(CR0_PE | CR0_ET | CR0_NE), %eax
	movl	%eax, %cr0
	ljmpl	$SEL_CODE32, $smp_start32
	.balign	4
trampoline_gdt:
	.word	gdt_end - gdt - 1
	.long	gdt
smp_trampoline_end:

	.section .data, "aw"
	.balign	8
gdt:
	.quad	0, 0
	.quad	0x00cf9b000000ffff /* SEL_CODE32 */
	.quad	0x00cf93000000ffff /* SEL_DATA */
	.quad	0x00af9b000000ffff /* SEL_CODE64 */
gdt_end:
gdt_pointer:
	.word	gdt_end - gdt - 1
	.quad	gdt
	.balign	8
idt_pointer:
	.word	VECTORS * 16 - 1
	.quad	idt
	.globl	entry
	.balign	8
entry:
	.fill	72, 1, 0

	.section .noinit, "aw", @nobits
	.balign	4096
	.globl	pml4, pdpt
pml4:
	.skip	4096
pdpt:
	.skip	4096
pd:
	.skip	4 * 4096
smp_stacks:
	.skip	SMP_MAX << SMP_STACK_BITS
stack:
	.skip	STACK_SIZE
stack_top:

	.section .note.GNU-stack, "", @progbits
