/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Step 2 - a flat file in 32-bit mode, without a header. It is loaded at 1 MiB and entered at its
 * first byte with flat segments. No BIOS here: the UART of COM1 takes what is said.
 */
	.globl	start
start:
	cld
	movl	$text, %esi
1:	lodsb
	testb	%al, %al
	jz	3f
	movb	%al, %ah
	movw	$0x3fd, %dx		/* line status */
2:	inb	%dx, %al
	testb	$0x20, %al		/* does it take a byte? */
	jz	2b
	movb	%ah, %al
	movw	$0x3f8, %dx		/* data */
	outb	%al, %dx
	jmp	1b
3:	xorb	%al, %al
	outb	%al, $0xf4
	hlt

text:	.asciz	"Hello from 32 bits.\n"
	.section .note.GNU-stack, "", @progbits
