/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The entry points of interrupts and exceptions in long mode, and the IDT that leads to them. Each
 * makes a struct intr_frame on the stack and hands it to intr_dispatch().
 */
#include "layout.h"

/* Exceptions that push an error code (AMD64 manual 2, section 8.2): 8, 10 to 14, 17, 21, 29, 30. */
#define WITH_ERROR_CODE 0x60227d00

	.section .vectors, "ax"
	.code64
	.set	vector, 0
	.rept	VECTORS
	.balign	VECTOR_SIZE
	.if	vector >= 32 || !((WITH_ERROR_CODE >> vector) & 1)
	pushq	$0
	.endif
	pushq	$vector
	jmp	common
	.set	vector, vector + 1
	.endr
	.balign	VECTOR_SIZE

	.text
common:
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	pushq	%rbx
	pushq	%rbp
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	cld
	movq	%rsp, %rdi
	call	intr_dispatch
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rbp
	popq	%rbx
	popq	%rdx
	popq	%rcx
	popq	%rax
	addq	$16, %rsp
	iretq

	.section .data, "aw"
	.globl	idt
	.balign	16
idt:
	.set	address, VECTORS_AT
	.rept	VECTORS
	.word	address & 0xffff, SEL_CODE64, 0x8e00, address >> 16
	.quad	0
	.set	address, address + VECTOR_SIZE
	.endr

	.section .note.GNU-stack, "", @progbits
