/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A boot sector, and the disk that it is on: each call of the BIOS, and what it answers on a machine
 * of 64 MiB. Its code, to the exit port, is 0, or the number of the check that did not hold. Without
 * a disk it says so, by a call, and ends with 3. Keys: "skep" is typed; "r", "n" or "d"
 * has it end by INT 19h, INT 18h or a divide error.
 *
 * Sectors from PATTERN on hold their own number in each word.
 */
#define PATTERN	 16
#define SECTORS	 128
#define TEXT	 0xb800

	.macro	expect number, jump	/* jumps if it holds */
	\jump	holds_\@
	movb	$\number, %bl
	jmp	failed
holds_\@:
	.endm

	.code16
	.section .start, "ax"
	.globl	start
start:
	movw	%ds, %ax
	movw	%es, %bx
	orw	%bx, %ax
	movw	%ss, %bx
	orw	%bx, %ax
	movw	%cs, %bx
	orw	%bx, %ax
	expect	1, jz
	call	1f
1:	popw	%ax
	cmpw	$1b, %ax
	expect	2, je
	cmpb	$0x80, %dl
	expect	4, je

	movw	$0x0003, %ax
	int	$0x10
	movw	$(0x0200 | (PATTERN - 1)), %ax
	movw	$0x0002, %cx
	xorb	%dh, %dh
	movw	$rest, %bx
	int	$0x13
	jnc	rest
	cmpb	$0x80, %ah
	expect	5, je
	movw	$lonely, %si
	call	say
	movb	$3, %bl
failed:
	movb	%bl, %al
	outb	%al, $0xf4
	cli
1:	hlt
	jmp	1b

/* The text at SI, by teletype. */
say:
	lodsb
	testb	%al, %al
	jz	1f
	movw	$0x0007, %bx
	movb	$0x0e, %ah
	int	$0x10
	jmp	say
1:	ret

lonely:
	.asciz	"no disk\r\n"
	.org	510
	.word	0xaa55

rest:
	cmpb	$(PATTERN - 1), %al
	expect	6, je
	call	check_disk
	call	check_memory
	call	check_screen
	call	check_time
	call	check_keys
	movw	$all, %si
	call	say
	xorb	%bl, %bl
	jmp	failed

/* Pattern sectors at ES:DI: AX is the number of the first, BP how many. BL is the check. */
check_pattern:
	cld
1:	movw	$256, %cx
	repe scasw
	je	2f
	jmp	failed
2:	incw	%ax
	decw	%bp
	jnz	1b
	ret

check_disk:
	movb	$0x00, %ah
	int	$0x13
	expect	10, jnc
	movb	$0x08, %ah
	int	$0x13
	expect	11, jnc
	cmpw	$0x0f01, %dx		/* 16 heads, one disk */
	expect	12, je
	cmpw	$63, %cx		/* one cylinder, 63 sectors */
	expect	13, je

	movw	$0x1000, %ax		/* head 1, sector 1 is number 63; over the end of a segment */
	movw	%ax, %es
	movw	$0xff00, %bx
	movw	$0x0203, %ax
	movw	$0x0001, %cx
	movw	$0x0180, %dx
	int	$0x13
	expect	14, jnc
	cmpw	$0x0003, %ax
	expect	15, je
	movw	$0x1ff0, %ax
	movw	%ax, %es
	xorw	%di, %di
	movw	$63, %ax
	movw	$3, %bp
	movb	$16, %bl
	call	check_pattern

	movb	$0x41, %ah
	movw	$0x55aa, %bx
	movb	$0x80, %dl
	int	$0x13
	expect	17, jnc
	cmpw	$0xaa55, %bx
	expect	18, je
	testb	$1, %cl
	expect	19, jnz
	movw	$packet, %si
	movb	$0x42, %ah
	int	$0x13
	expect	20, jnc
	movw	$0x2000, %ax
	movw	%ax, %es
	movw	$0x10, %di
	movw	$(SECTORS - 4), %ax
	movw	$4, %bp
	movb	$21, %bl
	call	check_pattern

	incb	packet + 8		/* one sector too far */
	movb	$0x42, %ah
	int	$0x13
	expect	22, jc
	cmpb	$0x04, %ah
	expect	23, je
	cmpw	$0, packet + 2
	expect	24, je
	movb	$0x01, %ah
	int	$0x13
	cmpb	$0x04, %ah
	expect	25, je
	movw	$0x0201, %ax		/* sector 0, and a head that it does not have */
	xorw	%cx, %cx
	xorb	%dh, %dh
	int	$0x13
	expect	26, jc
	movw	$0x0201, %ax
	movw	$1, %cx
	movb	$16, %dh
	int	$0x13
	expect	27, jc
	movb	$0x00, %ah		/* another disk, and a call that is not there */
	movb	$0x81, %dl
	int	$0x13
	expect	28, jc
	movb	$0x80, %dl
	movb	$0x7f, %ah
	int	$0x13
	expect	29, jc
	ret

check_memory:
	xorw	%ax, %ax
	movw	%ax, %es
	int	$0x11
	testb	$0x30, %al
	expect	30, jnz
	int	$0x12
	cmpw	$639, %ax
	expect	31, je
	xorl	%ebx, %ebx
	xorl	%esi, %esi		/* KiB of RAM */
	xorl	%ebp, %ebp		/* where the last ended */
1:	movl	$0xe820, %eax
	movl	$0x534d4150, %edx
	movl	$20, %ecx
	movw	$entry, %di
	int	$0x15
	jc	2f
	cmpl	$0x534d4150, %eax
	jne	2f
	cmpl	$20, %ecx
	jne	2f
	cmpl	%ebp, entry
	jb	2f
	movl	entry, %ebp
	addl	entry + 8, %ebp
	cmpl	$1, entry + 16
	jne	3f
	movl	entry + 8, %eax
	shrl	$10, %eax
	addl	%eax, %esi
3:	testl	%ebx, %ebx
	jnz	1b
	cmpl	$(65536 - 1024 + 639), %esi
	expect	32, je
	movl	$0xe820, %eax		/* past the end, and for somebody else */
	movl	$0x534d4150, %edx
	movl	$1000, %ebx
	int	$0x15
	expect	33, jc
	movl	$0xe820, %eax
	xorl	%edx, %edx
	xorl	%ebx, %ebx
	int	$0x15
	expect	34, jc
	movw	$0xe801, %ax
	int	$0x15
	expect	35, jnc
	cmpw	$0x3c00, %ax
	expect	36, je
	cmpw	$768, %dx
	expect	37, je
	movb	$0x88, %ah
	int	$0x15
	cmpw	$0xfc00, %ax
	expect	38, je
	movw	$0x2402, %ax
	int	$0x15
	cmpw	$0x0001, %ax
	expect	39, je
	movw	$0x2401, %ax
	int	$0x15
	expect	40, jnc
	movb	$0xc0, %ah
	int	$0x15
	expect	41, jc
	cmpb	$0x86, %ah
	expect	42, je
	ret
2:	movb	$43, %bl
	jmp	failed

check_screen:
	movw	$TEXT, %ax
	movw	%ax, %es
	movw	$0x0003, %ax
	int	$0x10
	cmpw	$0x0720, %es:0
	expect	50, je
	movb	$0x0f, %ah
	int	$0x10
	cmpw	$0x5003, %ax
	expect	51, je
	movb	$0x02, %ah
	xorb	%bh, %bh
	movw	$0x0102, %dx
	int	$0x10
	movw	$0x0941, %ax		/* three white on blue As */
	movw	$0x001f, %bx
	movw	$3, %cx
	int	$0x10
	movb	$0x03, %ah
	xorb	%bh, %bh
	int	$0x10
	cmpw	$0x0102, %dx
	expect	52, je
	cmpl	$0x1f411f41, %es:((80 + 2) * 2)
	expect	53, je
	cmpl	$0x07201f41, %es:((80 + 4) * 2)
	expect	54, je
	movb	$0x08, %ah
	xorb	%bh, %bh
	int	$0x10
	cmpw	$0x1f41, %ax
	expect	55, je
	movw	$0x0601, %ax		/* up by a row, from column 3 on; what comes in is red */
	movb	$0x40, %bh
	xorw	%cx, %cx
	movb	$3, %cl
	movw	$0xffff, %dx
	int	$0x10
	cmpl	$0x1f410720, %es:(2 * 2)
	expect	56, je
	cmpl	$0x07201f41, %es:((80 + 2) * 2)
	expect	57, je
	cmpl	$0x40200720, %es:((24 * 80 + 2) * 2)
	expect	58, je
	movw	$0x0702, %ax		/* down by two */
	movb	$0x20, %bh
	xorw	%cx, %cx
	movw	$0x184f, %dx
	int	$0x10
	cmpw	$0x2020, %es:(80 * 2)
	expect	59, je
	cmpl	$0x1f410720, %es:((2 * 80 + 2) * 2)
	expect	60, je
	movw	$0x1301, %ax		/* a string at the end of the last row: it scrolls */
	movw	$0x0007, %bx
	movw	$2, %cx
	movw	$0x184e, %dx
	pushw	%cs
	popw	%es
	movw	$hello, %bp
	int	$0x10
	movw	$TEXT, %ax
	movw	%ax, %es
	cmpl	$0x07690748, %es:((23 * 80 + 78) * 2)
	expect	61, je
	movb	$0x03, %ah
	xorb	%bh, %bh
	int	$0x10
	cmpw	$0x1800, %dx
	expect	62, je
	movw	$0x0e0d, %ax
	int	$0x10
	movw	$0x0e0a, %ax
	int	$0x10
	movw	$0x0e07, %ax
	int	$0x10
	movw	$0x0e08, %ax
	int	$0x10
	movb	$0x03, %ah
	xorb	%bh, %bh
	int	$0x10
	cmpw	$0x1800, %dx
	expect	63, je
	ret

check_time:
	pushfw				/* a BIOS starts with interrupts on */
	popw	%ax
	testw	$0x200, %ax
	expect	70, jnz
	movb	$0x00, %ah
	int	$0x1a
	movw	%dx, %si
1:	hlt
	movb	$0x00, %ah
	int	$0x1a
	cmpw	%si, %dx
	je	1b
	cmpb	$0, %al
	expect	71, je
	movb	$0x01, %ah
	movw	$0x18, %cx
	movw	$0x00af, %dx		/* the last tick of a day */
	int	$0x1a
2:	hlt
	movb	$0x00, %ah
	int	$0x1a
	cmpb	$1, %al
	jne	2b
	testw	%cx, %cx
	expect	72, jz
	movb	$0x7f, %ah
	int	$0x1a
	expect	73, jc
	ret

check_keys:
	movw	$typed, %si
1:	movb	$0x00, %ah
	int	$0x16
	cmpb	$'r', %al
	je	3f
	cmpb	$'n', %al
	je	4f
	cmpb	$'d', %al
	je	5f
	cmpw	(%si), %ax
	je	2f
	testb	%ah, %ah		/* by COM1 */
	expect	80, jz
	cmpb	(%si), %al
	expect	83, je
2:	addw	$2, %si
	cmpw	$typed_end, %si
	jb	1b
	movb	$0x01, %ah
	int	$0x16
	expect	81, jz
	movb	$0x02, %ah
	int	$0x16
	testb	%al, %al
	expect	82, jz
	ret
3:	int	$0x19
4:	int	$0x18
5:	xorw	%cx, %cx
	divw	%cx
	movb	$84, %bl
	jmp	failed

	.balign	4
packet:
	.byte	16, 0
	.word	4, 0x10, 0x2000
	.quad	SECTORS - 4
hello:
	.ascii	"Hi"
all:
	.asciz	"all calls answer\r\n"
/* Scan codes and characters. */
typed:
	.word	0x1f73, 0x256b, 0x1265, 0x1970
typed_end:
	.balign	4
entry:
	.fill	20, 1, 0

	.org	PATTERN * 512
	.set	number, PATTERN
	.rept	SECTORS - PATTERN
	.fill	256, 2, number
	.set	number, number + 1
	.endr
	.section .note.GNU-stack, "", @progbits
