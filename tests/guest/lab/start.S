/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The entry of the lab's Multiboot kernels (steps 3 to 7): the header by which a loader knows one
 * (Multiboot Specification 0.6.96, section 3.1), and a stack, which C needs first of all.
 */
	.section .header, "a"
	.balign	4
	.long	0x1badb002		/* magic */
	.long	0x3			/* flags: modules on pages, memory information */
	.long	-(0x1badb002 + 0x3)	/* the sum of the three is 0 */

	.section .start, "ax"
	.globl	start
start:
	movl	$stack_end, %esp
	cld
	pushl	%ebx			/* the loader's information */
	pushl	%eax			/* 2badb002h */
	call	kernel_main
1:	cli
	hlt
	jmp	1b

	.bss
	.balign	16
	.skip	16384
stack_end:
	.section .note.GNU-stack, "", @progbits
