/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A flat file in real mode, anywhere below 1 MiB: what it was entered with. Its code, to the exit
 * port, is 0, or the number of what did not hold.
 */
	.code16
	.section .start, "ax"
	.globl	start
start:
	pushw	%ax			/* the stack that it was given */
	popw	%cx
	movb	$1, %al
	testw	%cx, %cx
	jnz	end
	movb	$2, %al
	movw	%ds, %bx
	movw	%cs, %cx
	cmpw	%bx, %cx
	jne	end
	movw	%ss, %bx
	cmpw	%bx, %cx
	jne	end
	movw	%es, %bx
	cmpw	%bx, %cx
	jne	end
	movb	$3, %al			/* interrupts off */
	pushfw
	popw	%bx
	testw	$0x200, %bx
	jnz	end
	movb	$4, %al			/* real mode */
	smsw	%bx
	testw	$1, %bx
	jnz	end
	movb	$5, %al			/* a known place, in its own segment */
	call	1f
1:	popw	%bx
	cmpl	$0x736b6570, %cs:(word - 1b)(%bx)
	jne	end
	movb	$6, %al			/* which is the one that it should be */
	movzwl	%bx, %ebx
	movzwl	%cx, %ecx
	shll	$4, %ecx
	leal	(start - 1b)(%ebx, %ecx), %ebx
	cmpl	$0x7c00, %ebx
	je	2f
	cmpl	$0x12340, %ebx
	jne	end
2:	xorb	%al, %al
end:
	outb	%al, $0xf4
	hlt
	.balign	4
word:
	.long	0x736b6570
	.section .note.GNU-stack, "", @progbits
