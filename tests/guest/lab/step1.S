/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Step 1 - a boot sector: 512 bytes in real mode, which the BIOS loads at 7c00h. It prints by INT
 * 10h, function 0Eh, and ends the machine by the exit port.
 */
	.code16
	.globl	start
start:
	cli
	xorw	%ax, %ax		/* segments: nobody says what they are */
	movw	%ax, %ds
	movw	%ax, %ss
	movw	$0x7c00, %sp		/* the stack grows down from here */
	sti
	cld
	movw	$text, %si
1:	lodsb				/* the next character, to AL */
	testb	%al, %al
	jz	2f
	movb	$0x0e, %ah		/* teletype */
	movw	$0x0007, %bx		/* page 0, grey on black */
	int	$0x10
	jmp	1b
2:	xorb	%al, %al
	outb	%al, $0xf4		/* the exit port: status 0 */
	hlt

text:	.asciz	"Hello from 512 bytes.\r\n"

	.org	510
	.word	0xaa55			/* what makes it a boot sector */
	.section .note.GNU-stack, "", @progbits
