/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A Multiboot kernel that is linked to c0100000h and loaded at 1 MiB: the way from the one to the
 * other by pages of 4 MiB, and the entries of its interrupts.
 */
#define OFFSET	0xc0000000
#define LARGE	0x83			/* present, writable, 4 MiB */
#define CR4_PSE	0x10
#define CR0_PG	0x80000000

	.section .start, "ax"
	.balign	4
	.long	0x1badb002, 3, -(0x1badb002 + 3)	/* modules on pages, memory */

	.globl	start
start:
	movl	$(first_directory - OFFSET), %ecx
	movl	%ecx, %cr3
	movl	%cr4, %ecx
	orl	$CR4_PSE, %ecx
	movl	%ecx, %cr4
	movl	%cr0, %ecx
	orl	$CR0_PG, %ecx
	movl	%ecx, %cr0
	movl	$1f, %ecx
	jmp	*%ecx
1:	movl	$stack_end, %esp
	xorl	%ebp, %ebp
	pushl	%ebx
	pushl	%eax
	cld
	call	kernel_main
2:	outb	%al, $0xf4
	hlt
	jmp	2b

/* entries[v] is where the gate of vector v leads; those without an error code get one of 0. */
	.section .rodata
	.balign	4
	.globl	entries
entries:
	.text
	.set	vector, 0
	.rept	48
	.pushsection .rodata
	.long	1f
	.popsection
1:	.if	!(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
	pushl	$0
	.endif
	pushl	$vector
	jmp	common
	.set	vector, vector + 1
	.endr

common:
	pushal
	cld
	pushl	%esp
	call	interrupt
	addl	$4, %esp
	popal
	addl	$8, %esp
	iretl

	.data
	.balign	4096
first_directory:
	.long	LARGE
	.fill	767, 4, 0
	.long	LARGE
	.fill	255, 4, 0

	.bss
	.balign	16
	.skip	16384
stack_end:
	.section .note.GNU-stack, "", @progbits
