/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the gates of the IDT lead: 48 small entries, which push the number of their vector, and one
 * way to interrupt() in C and back.
 */
	.section .rodata
	.balign	4
	.globl	entries
entries:				/* their addresses, by vector */
	.text
	.set	vector, 0
	.rept	48
	.pushsection .rodata
	.long	1f
	.popsection
1:	.if	!(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
	pushl	$0			/* for those the processor pushes no error code */
	.endif
	pushl	$vector
	jmp	common
	.set	vector, vector + 1
	.endr

common:
	pushal
	cld
	pushl	%esp			/* struct frame * */
	call	interrupt
	addl	$4, %esp
	popal
	addl	$8, %esp		/* vector and error code */
	/*
	 * EIP, CS and EFLAGS are left. IRETL takes all three, and here is what it does, spelled out:
	 * there are hosts whose KVM cannot run that one instruction (docs/lab-guide.md).
	 */
	pushl	8(%esp)
	popfl
	lretl	$4
	.section .note.GNU-stack, "", @progbits
