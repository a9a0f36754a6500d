/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keeps the registers that it was entered with, in the order of struct entered, and calls C on the
 * stack that it was entered with. What that returns goes to the exit port.
 */
	.section .start, "ax"
	.globl	start
#ifdef __x86_64__
start:
	movq	%rax, entered + 0x00(%rip)
	movq	%rbx, entered + 0x08(%rip)
	movq	%rcx, entered + 0x10(%rip)
	movq	%rdx, entered + 0x18(%rip)
	movq	%rsi, entered + 0x20(%rip)
	movq	%rdi, entered + 0x28(%rip)
	movq	%rbp, entered + 0x30(%rip)
	movq	%rsp, entered + 0x38(%rip)
	pushfq
	popq	entered + 0x40(%rip)
	movq	%cr0, %rax
	movq	%rax, entered + 0x48(%rip)
	movq	%cr3, %rax
	movq	%rax, entered + 0x50(%rip)
	movq	%cr4, %rax
	movq	%rax, entered + 0x58(%rip)
	movl	%cs, %eax
	movq	%rax, entered + 0x60(%rip)
	movl	%ds, %eax
	movq	%rax, entered + 0x68(%rip)
	movl	%es, %eax
	movq	%rax, entered + 0x70(%rip)
	movl	%ss, %eax
	movq	%rax, entered + 0x78(%rip)
	sgdt	entered + 0x82(%rip)
	cld
	call	plain_main
#else
	.code32
start:
	movl	%eax, entered + 0x00
	movl	%ebx, entered + 0x08
	movl	%ecx, entered + 0x10
	movl	%edx, entered + 0x18
	movl	%esi, entered + 0x20
	movl	%edi, entered + 0x28
	movl	%ebp, entered + 0x30
	movl	%esp, entered + 0x38
	pushfl
	popl	entered + 0x40
	movl	%cr0, %eax
	movl	%eax, entered + 0x48
	movl	%cr3, %eax
	movl	%eax, entered + 0x50
	movl	%cr4, %eax
	movl	%eax, entered + 0x58
	movl	%cs, %eax
	movl	%eax, entered + 0x60
	movl	%ds, %eax
	movl	%eax, entered + 0x68
	movl	%es, %eax
	movl	%eax, entered + 0x70
	movl	%ss, %eax
	movl	%eax, entered + 0x78
	sgdt	entered + 0x82
	cld
	call	plain_main
#endif
	outb	%al, $0xf4
1:	hlt
	jmp	1b
	.section .note.GNU-stack, "", @progbits
