/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The few calls of a PC's BIOS that boot sectors use, in real mode, at FE000h.
 *
 *	INT 10h	text on the screen at B8000h; what goes by teletype goes to COM1 as well
 *	INT 11h	equipment
 *	INT 12h	memory below 640 KiB
 *	INT 13h	reading disk 80h, by PIO through the channel at 1F0h
 *	INT 15h	memory maps; A20, which is always on
 *	INT 16h	the keyboard; what comes in by COM1 counts as typed
 *	INT 18h	says that there is nothing to boot, and halts
 *	INT 19h	resets the machine
 *	INT 1Ah	ticks since the start
 *
 * What a caller asks for that is not here is refused as a BIOS refuses what it does not know. Names
 * and places are those of the IBM PS/2 and Personal Computer BIOS Interface Technical Reference; of
 * memory it has the interrupt vectors, the BIOS data area at 40:0, and its caller's stack. Each loop
 * that waits for a device is counted; only INT 16h, function 0, waits for a person.
 */
#include "layout.h"

#define BDA	  0x40
#define TEXT	  0xb800
#define COLS	  80
#define ROWS	  25
#define BLANK	  0x0720
#define COM1	  0x3f8
#define BOOT_AT	  0x7c00
#define DISK	  0x80
#define SCRATCH	  0x600 /* what IDENTIFY DEVICE says, once */

/* The BIOS data area, and in its reserved part what is known of the disk. */
#define BDA_COM1       0x00
#define BDA_EBDA       0x0e
#define BDA_EQUIPMENT  0x10
#define BDA_MEMORY     0x13
#define BDA_SHIFT      0x17
#define BDA_HEAD       0x1a
#define BDA_TAIL       0x1c
#define BDA_BUFFER     0x1e
#define BDA_BUFFER_END 0x3e
#define BDA_MODE       0x49
#define BDA_COLS       0x4a
#define BDA_PAGE_SIZE  0x4c
#define BDA_CURSOR     0x50
#define BDA_SHAPE      0x60
#define BDA_CRTC       0x63
#define BDA_TICKS      0x6c
#define BDA_MIDNIGHT   0x70
#define BDA_DISK_ERROR 0x74
#define BDA_DISKS      0x75
#define BDA_BUFFER_PTR 0x80
#define BDA_ROWS       0x84
#define BDA_HEIGHT     0x85
#define BDA_SECTORS    0xb0 /* of the disk; 0: there is none */
#define BDA_HEADS      0xb4

#define TRACK 63	/* sectors */

/* 18.2 a second for 24 hours. */
#define TICKS_DAY 0x1800b0

/* What a call was entered with, below BP. */
#define R_BX	 16
#define R_DX	 20
#define R_CX	 24
#define R_AX	 28
#define R_ES	 32
#define R_DS	 34
#define R_IP	 36
#define R_CS	 38
#define R_FLAGS	 40
#define FLAG_CF	 0x01
#define FLAG_ZF	 0x40

	.macro	enter_call
	cld
	pushw	%ds
	pushw	%es
	pushal
	movw	%sp, %bp
	pushw	$BDA
	popw	%ds
	.endm

	.code16
	.section .start, "ax"
	.globl	start
start:
	cli
	cld
	xorw	%ax, %ax
	movw	%ax, %ss
	movw	$BOOT_AT, %sp
	movw	%ax, %es
	call	set_vectors
	call	set_data
	call	set_chips
	call	find_disk
	call	clear_screen
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %es
	xorl	%ebx, %ebx
	xorl	%ecx, %ecx
	movl	$DISK, %edx
	xorl	%esi, %esi
	xorl	%edi, %edi
	xorl	%ebp, %ebp
	sti
	ljmpw	$0, $BOOT_AT

	.text

/* --- The start. --- */

/* All 256 to a return, then those in the table. ES is 0. */
set_vectors:
	xorw	%di, %di
	movw	$256, %cx
	movl	$(LAYOUT_SEGMENT << 16), %eax
	movw	$ignore, %ax
	rep stosl
	movw	$vectors, %si
1:	movw	%cs:(%si), %di
	testw	%di, %di
	js	2f
	movw	%cs:2(%si), %ax
	stosl
	addw	$4, %si
	jmp	1b
2:	movw	$ignore_irq, %ax	/* of the first chip */
	movw	$(0x0a * 4), %di
	movw	$6, %cx
	rep stosl
	movw	$ignore_irq2, %ax
	movw	$(0x70 * 4), %di
	movw	$8, %cx
	rep stosl
	ret

set_data:
	pushw	$BDA
	popw	%es
	xorw	%di, %di
	xorw	%ax, %ax
	movw	$0x80, %cx
	rep stosw
	pushw	$BDA
	popw	%ds
	movw	$COM1, BDA_COM1
	movw	$LAYOUT_EBDA_SEGMENT, BDA_EBDA
	movw	$0x0220, BDA_EQUIPMENT	/* 80 by 25 in colour, one serial port */
	movw	$(LAYOUT_EBDA_SEGMENT >> 6), BDA_MEMORY
	movw	$BDA_BUFFER, BDA_HEAD
	movw	$BDA_BUFFER, BDA_TAIL
	movw	$BDA_BUFFER, BDA_BUFFER_PTR
	movw	$BDA_BUFFER_END, BDA_BUFFER_PTR + 2
	movb	$3, BDA_MODE
	movw	$COLS, BDA_COLS
	movw	$0x1000, BDA_PAGE_SIZE
	movw	$0x0607, BDA_SHAPE
	movw	$0x3d4, BDA_CRTC
	movb	$(ROWS - 1), BDA_ROWS
	movw	$16, BDA_HEIGHT
	ret

/* Pairs of a port and a byte: the 8259A pair, the 8254, COM1, the disk's interrupt off. */
set_chips:
	movw	$chips, %si
1:	movw	%cs:(%si), %dx
	testw	%dx, %dx
	jz	2f
	movb	%cs:2(%si), %al
	outb	%al, %dx
	addw	$3, %si
	jmp	1b
/* The keyboard: its interrupt, and scan codes of set 1. */
2:	movb	$0xae, %al
	call	controller
	movb	$0x60, %al
	call	controller
	movb	$0x45, %al
	outb	%al, $0x60
	movb	$0xf4, %al		/* scan; its answer is taken below */
	call	keyboard_ready
	outb	%al, $0x60
	movw	$1000, %cx
3:	inb	$0x64, %al
	testb	$1, %al
	loopz	3b
	inb	$0x60, %al
	ret

controller:
	call	keyboard_ready
	outb	%al, $0x64
keyboard_ready:
	pushw	%ax
	movw	$1000, %cx
1:	inb	$0x64, %al
	testb	$2, %al
	loopnz	1b
	popw	%ax
	ret

/* How many sectors it has (ATA/ATAPI-6, 8.15, words 60 and 61), and heads to count them by. */
find_disk:
	movw	$0x1f6, %dx
	movb	$0xe0, %al
	outb	%al, %dx
	incw	%dx
	inb	%dx, %al
	testb	%al, %al
	jz	1f
	incb	%al
	jz	1f
	movb	$0xec, %al
	call	disk_command
	jc	1f
	xorw	%ax, %ax
	movw	%ax, %es
	movw	$SCRATCH, %di
	call	disk_sector
	movl	%es:(SCRATCH + 120), %eax
	testl	%eax, %eax
	jz	1f
	movl	%eax, BDA_SECTORS
	movb	$1, BDA_DISKS
	movb	$16, BDA_HEADS
	cmpl	$(1024 * 16 * TRACK), %eax
	jbe	1f
	movb	$255, BDA_HEADS
1:	ret

/* --- The disk. --- */

/* Gives the command AL, and waits for data. CF: AH is the BIOS's error. Clobbers ECX and DX. */
disk_command:
	movw	$0x1f7, %dx
	outb	%al, %dx
	movw	$0x3f6, %dx
	movl	$0x100000, %ecx
1:	inb	%dx, %al
	testb	$0x80, %al
	jnz	2f
	testb	$0x21, %al
	jnz	3f
	testb	$0x08, %al
	jnz	4f
2:	decl	%ecx
	jnz	1b
	movb	$0x80, %ah		/* it does not answer */
	stc
	ret
3:	movb	$0x20, %ah		/* controller failure */
	stc
	ret
4:	clc
	ret

/* One sector to ES:DI. */
disk_sector:
	movw	$0x1f0, %dx
	movw	$256, %cx
	rep insw
	ret

/*
 * Reads SI sectors from EAX on to ES:DI. CF: AH is the error, and SI is what was not read. Clobbers
 * all but BX, BP and DS.
 */
disk_read:
	movw	%di, %cx		/* no sector crosses the end of a segment then */
	shrw	$4, %cx
	movw	%es, %dx
	addw	%cx, %dx
	movw	%dx, %es
	andw	$15, %di
	movl	BDA_SECTORS, %ecx
	testl	%ecx, %ecx
	jz	4f
	subl	%eax, %ecx
	jb	3f
	movzwl	%si, %edx
	cmpl	%edx, %ecx
	jb	3f
1:	testw	%si, %si
	jz	5f
	movl	%eax, %ecx
	pushl	%eax
	movw	$0x1f2, %dx
	movb	$1, %al
	outb	%al, %dx
	movb	$3, %ah
2:	incw	%dx			/* 1F3h to 1F5h */
	movb	%cl, %al
	outb	%al, %dx
	shrl	$8, %ecx
	decb	%ah
	jnz	2b
	incw	%dx
	movb	%cl, %al
	orb	$0xe0, %al
	outb	%al, %dx
	movb	$0x20, %al		/* READ SECTOR(S) */
	call	disk_command
	jc	6f
	call	disk_sector
	movw	%es, %ax
	addw	$32, %ax
	movw	%ax, %es
	subw	$512, %di
	popl	%eax
	incl	%eax
	decw	%si
	jmp	1b
3:	movb	$0x04, %ah		/* no such sector */
	stc
	ret
4:	movb	$0x80, %ah
	stc
	ret
5:	xorb	%ah, %ah
	ret
6:	popl	%ecx
	stc
	ret

int13:
	enter_call
	cmpb	$DISK, %dl
	jne	disk_unknown
	cmpb	$0x01, %ah
	je	disk_status
	cmpl	$0, BDA_SECTORS
	je	disk_none
	testb	%ah, %ah
	jz	disk_good
	cmpb	$0x02, %ah
	je	disk_chs
	cmpb	$0x08, %ah
	je	disk_geometry
	cmpb	$0x41, %ah
	je	disk_extensions
	cmpb	$0x42, %ah
	je	disk_lba
disk_unknown:
	movb	$0x01, %ah
	stc
	jmp	disk_end
disk_none:
	movb	$0x80, %ah
	stc
	jmp	disk_end
disk_good:
	xorb	%ah, %ah
disk_end:
	movb	%ah, BDA_DISK_ERROR
	movb	%ah, R_AX + 1(%bp)
	jmp	leave_flag
disk_status:
	movb	BDA_DISK_ERROR, %ah
	movb	%ah, R_AX + 1(%bp)
	negb	%ah			/* CF, where there was an error */
	jmp	leave_flag

/* Cylinders of the disk, at least one and 1024 at most, to EAX. */
disk_cylinders:
	movzbl	BDA_HEADS, %ecx
	imull	$TRACK, %ecx
	movl	BDA_SECTORS, %eax
	xorl	%edx, %edx
	divl	%ecx
	cmpl	$1024, %eax
	jbe	1f
	movl	$1024, %eax
1:	testl	%eax, %eax
	jnz	2f
	incl	%eax
2:	ret

/* AL sectors; cylinder CH and the top of CL, sector the rest of CL, head DH. To ES:BX. */
disk_chs:
	testb	%al, %al
	jz	disk_unknown
	cmpb	BDA_HEADS, %dh
	jae	1f
	movw	%bx, %di
	movzbw	%al, %si
	movzbl	%dh, %ebx
	movb	%ch, %al
	movb	%cl, %ah
	shrb	$6, %ah
	movzwl	%ax, %eax
	andw	$63, %cx
	jz	1f
	movzwl	%cx, %ecx
	movzbl	BDA_HEADS, %edx
	imull	%edx, %eax
	addl	%ebx, %eax
	imull	$TRACK, %eax
	leal	-1(%eax, %ecx), %eax
	pushw	%si
	call	disk_read
	popw	%cx
	pushfw
	subw	%si, %cx
	movb	%cl, R_AX(%bp)
	popfw
	jmp	disk_end
1:	movb	$0x04, %ah
	stc
	jmp	disk_end

disk_geometry:
	call	disk_cylinders
	decw	%ax
	movb	%al, R_CX + 1(%bp)
	shlb	$6, %ah
	orb	$TRACK, %ah
	movb	%ah, R_CX(%bp)
	movb	BDA_HEADS, %al
	decb	%al
	movb	%al, R_DX + 1(%bp)
	movb	BDA_DISKS, %al
	movb	%al, R_DX(%bp)
	jmp	disk_good

disk_extensions:
	cmpw	$0x55aa, %bx
	jne	disk_unknown
	movw	$0xaa55, R_BX(%bp)
	movw	$1, R_CX(%bp)		/* reading by packet */
	movb	$0, BDA_DISK_ERROR
	movb	$0x21, R_AX + 1(%bp)	/* version 1.1 */
	clc
	jmp	leave_flag

/* A packet at DS:SI: its length, 0, sectors, offset, segment, and where on the disk. */
disk_lba:
	movw	R_DS(%bp), %es
	cmpb	$16, %es:(%si)
	jb	disk_unknown
	cmpl	$0, %es:12(%si)
	jne	1f
	movl	%es:8(%si), %eax
	pushw	%si
	movw	%si, %bx
	movw	%es:2(%bx), %si
	pushw	%si
	lesw	%es:4(%bx), %di
	call	disk_read
	popw	%cx
	popw	%bx
	pushfw
	subw	%si, %cx
	movw	R_DS(%bp), %es
	movw	%cx, %es:2(%bx)
	popfw
	jmp	disk_end
1:	movb	$0x04, %ah
	stc
	jmp	disk_end

/* --- The screen. --- */

int10:
	enter_call
	cmpb	$0x0e, %ah
	je	video_teletype
	testb	%ah, %ah
	jz	video_mode
	cmpb	$0x01, %ah
	je	video_shape
	cmpb	$0x02, %ah
	je	video_move
	cmpb	$0x03, %ah
	je	video_where
	cmpb	$0x06, %ah
	je	video_up
	cmpb	$0x07, %ah
	je	video_down
	cmpb	$0x08, %ah
	je	video_read
	cmpb	$0x09, %ah
	je	video_write
	cmpb	$0x0a, %ah
	je	video_write
	cmpb	$0x0f, %ah
	je	video_which
	cmpb	$0x13, %ah
	je	video_string
leave:
	popal
	popw	%es
	popw	%ds
	iretw

/* CF as it is now goes to the caller. */
leave_flag:
	jc	1f
	andb	$~FLAG_CF, R_FLAGS(%bp)
	jmp	leave
1:	orb	$FLAG_CF, R_FLAGS(%bp)
	jmp	leave

/* There is text of 80 columns; no other mode is taken. Bit 7: the screen is kept. */
video_mode:
	movb	%al, %bl
	andb	$0x7f, %bl
	cmpb	$2, %bl
	je	1f
	cmpb	$3, %bl
	jne	leave
1:	movb	%bl, BDA_MODE
	movw	$0, BDA_CURSOR
	testb	$0x80, %al
	jnz	2f
	call	clear_screen
2:	call	show_cursor
	jmp	leave

video_shape:
	movw	%cx, BDA_SHAPE
	movb	$0x0a, %al
	call	crtc_word
	jmp	leave

video_move:
	testb	%bh, %bh
	jnz	leave
	call	clamp
	movw	%dx, BDA_CURSOR
	call	show_cursor
	jmp	leave

video_where:
	movw	BDA_CURSOR, %dx
	movw	%dx, R_DX(%bp)
	movw	BDA_SHAPE, %cx
	movw	%cx, R_CX(%bp)
	jmp	leave

video_up:
	movw	$1, %si
	jmp	1f
video_down:
	movw	$-1, %si
1:	call	scroll
	jmp	leave

video_read:
	movw	BDA_CURSOR, %dx
	call	cell
	movw	%es:(%di), %ax
	movw	%ax, R_AX(%bp)
	jmp	leave

/* AL, CX times, from the cursor on; with AH=09h BL is its attribute. To the screen's end at most. */
video_write:
	movw	BDA_CURSOR, %dx
	call	cell
1:	testw	%cx, %cx
	jz	leave
	cmpw	$(COLS * ROWS * 2), %di
	jae	leave
	movb	%al, %es:(%di)
	cmpb	$0x09, %ah
	jne	2f
	movb	%bl, %es:1(%di)
2:	addw	$2, %di
	decw	%cx
	jmp	1b

video_which:
	movb	BDA_MODE, %al
	movb	$COLS, %ah
	movw	%ax, R_AX(%bp)
	movb	$0, R_BX + 1(%bp)
	jmp	leave

video_teletype:
	call	teletype
	jmp	leave

/* CX characters at the caller's ES:BP, from DX on. AL: 1, the cursor goes along; 2, attributes. */
video_string:
	testb	%bh, %bh
	jnz	leave
	pushw	BDA_CURSOR
	call	clamp
	movw	%dx, BDA_CURSOR
	movw	8(%bp), %si
	movb	%al, %ah
1:	jcxz	3f
	movw	R_ES(%bp), %es
	movb	%es:(%si), %al
	incw	%si
	testb	$2, %ah
	jz	2f
	movb	%es:(%si), %bl
	incw	%si
2:	pushw	%ax
	pushw	%cx
	cmpb	$0x20, %al		/* what moves the cursor has no attribute */
	jb	4f
	movw	BDA_CURSOR, %dx
	call	cell
	movb	%bl, %es:1(%di)
4:	call	teletype
	popw	%cx
	popw	%ax
	decw	%cx
	jmp	1b
3:	popw	%dx
	testb	$1, %ah
	jnz	leave
	movw	%dx, BDA_CURSOR
	call	show_cursor
	jmp	leave

/* DX to a place on the screen. */
clamp:
	cmpb	$(COLS - 1), %dl
	jbe	1f
	movb	$(COLS - 1), %dl
1:	cmpb	$(ROWS - 1), %dh
	jbe	2f
	movb	$(ROWS - 1), %dh
2:	ret

/* The place of row DH and column DL: ES:DI. */
cell:
	pushw	%ax
	movb	$COLS, %al
	mulb	%dh
	movzbw	%dl, %di
	addw	%ax, %di
	addw	%di, %di
	pushw	$TEXT
	popw	%es
	popw	%ax
	ret

/* Two registers of the CRTC from AL on: CX. */
crtc_word:
	pushw	%ax
	movw	$0x3d4, %dx
	movb	%ch, %ah
	outw	%ax, %dx
	incb	%al
	movb	%cl, %ah
	outw	%ax, %dx
	popw	%ax
	ret

/* Keeps all registers. */
show_cursor:
	pushaw
	pushw	%es
	movw	BDA_CURSOR, %dx
	call	cell
	movw	%di, %cx
	shrw	$1, %cx
	movb	$0x0e, %al
	call	crtc_word
	popw	%es
	popaw
	ret

clear_screen:
	pushw	%es
	pushw	$TEXT
	popw	%es
	xorw	%di, %di
	pushw	%ax
	movw	$BLANK, %ax
	movw	$(COLS * ROWS), %cx
	rep stosw
	popw	%ax
	popw	%es
	movw	$0, BDA_CURSOR
	call	show_cursor
	ret

/*
 * The window from CX to DX, rows in the high bytes, by AL rows, up if SI is 1 and down if it is -1;
 * 0 is all of them. Rows that come in have the attribute BH. Clobbers all but BP and DS.
 */
scroll:
	call	clamp
	movb	%dh, %ah
	subb	%ch, %ah
	jb	4f
	cmpb	%cl, %dl
	jb	4f
	incb	%ah			/* rows */
	cmpb	%ah, %al
	ja	1f
	testb	%al, %al
	jnz	2f
1:	movb	%ah, %al
2:	movb	%ch, %bl		/* the row that is written */
	testw	%si, %si
	jns	3f
	movb	%dh, %bl
3:	call	scroll_row
	addw	%si, %bx		/* BH stays, but below row 0, which is the last */
	decb	%ah
	jnz	3b
4:	ret

/* Writes row BL of it, from the row that is AL further on, or blanks. Keeps all registers. */
scroll_row:
	pushaw
	pushw	%ds
	movb	%al, %ah		/* the row it comes from */
	testw	%si, %si
	jns	1f
	negb	%ah
1:	addb	%bl, %ah
	pushw	%dx
	subb	%cl, %dl
	movzbw	%dl, %si
	incw	%si			/* columns */
	popw	%dx
	cmpb	%ch, %ah
	jl	2f
	cmpb	%dh, %ah
	jg	2f
	movb	%ah, %dh
	movb	%cl, %dl
	call	cell
	pushw	%di
	movb	%bl, %dh
	call	cell
	movw	%si, %cx
	popw	%si
	pushw	%es
	popw	%ds
	rep movsw
	jmp	3f
2:	movb	%bl, %dh
	movb	%cl, %dl
	call	cell
	movw	%si, %cx
	movb	$0x20, %al
	movb	%bh, %ah
	rep stosw
3:	popw	%ds
	popaw
	ret

/* AL to COM1. Keeps all registers. */
serial_put:
	pushaw
	movb	%al, %ah
	movw	$(COM1 + 5), %dx
	movw	$1000, %cx
1:	inb	%dx, %al
	testb	$0x20, %al
	loopz	1b
	movw	$COM1, %dx
	movb	%ah, %al
	outb	%al, %dx
	popaw
	ret

/* AL at the cursor, which moves; BEL, BS, LF and CR do what they are for. Keeps all registers. */
teletype:
	pushaw
	pushw	%es
	call	serial_put
	movw	BDA_CURSOR, %dx
	cmpb	$0x07, %al
	je	5f
	cmpb	$0x08, %al
	je	2f
	cmpb	$0x0a, %al
	je	1f
	cmpb	$0x0d, %al
	je	3f
	call	cell
	movb	%al, %es:(%di)
	incb	%dl
	cmpb	$COLS, %dl
	jb	4f
	xorb	%dl, %dl
1:	incb	%dh
	cmpb	$ROWS, %dh
	jb	4f
	pushw	%dx
	movw	$0x0701, %bx
	movb	$1, %al
	xorw	%cx, %cx
	movw	$((ROWS - 1) << 8 | (COLS - 1)), %dx
	movw	$1, %si
	call	scroll
	popw	%dx
	movb	$(ROWS - 1), %dh
	jmp	4f
2:	testb	%dl, %dl
	jz	4f
	decb	%dl
	jmp	4f
3:	xorb	%dl, %dl
4:	movw	%dx, BDA_CURSOR
	call	show_cursor
5:	popw	%es
	popaw
	ret

/* --- Memory. --- */

int11:
	pushw	%ds
	pushw	$BDA
	popw	%ds
	movw	BDA_EQUIPMENT, %ax
	popw	%ds
	iretw

int12:
	pushw	%ds
	pushw	$BDA
	popw	%ds
	movw	BDA_MEMORY, %ax
	popw	%ds
	iretw

int15:
	enter_call
	cmpw	$0xe820, %ax
	je	memory_map
	cmpw	$0xe801, %ax
	je	memory_two
	cmpb	$0x88, %ah
	je	memory_one
	cmpb	$0x24, %ah
	je	a20
memory_unknown:
	movb	$0x86, R_AX + 1(%bp)
	stc
	jmp	leave_flag

/* ACPI 6.5, section 15.1 */
memory_map:
	cmpl	$0x534d4150, %edx	/* SMAP */
	jne	memory_unknown
	cmpl	$20, %ecx
	jb	memory_unknown
	cmpl	%cs:LAYOUT_MAP_COUNT, %ebx
	jae	memory_unknown
	movl	%edx, R_AX(%bp)
	movl	$20, R_CX(%bp)
	imulw	$20, %bx, %si
	addw	$LAYOUT_MAP, %si
	incl	%ebx
	cmpl	%cs:LAYOUT_MAP_COUNT, %ebx
	jb	1f
	xorl	%ebx, %ebx
1:	movl	%ebx, R_BX(%bp)
	movw	R_ES(%bp), %es
	pushw	%cs
	popw	%ds
	movw	$5, %cx
	rep movsl
	clc
	jmp	leave_flag

memory_two:
	movw	%cs:LAYOUT_KIB_LOW, %ax
	movw	%ax, R_AX(%bp)
	movw	%ax, R_CX(%bp)
	movw	%cs:LAYOUT_BLOCKS_HIGH, %ax
	movw	%ax, R_BX(%bp)
	movw	%ax, R_DX(%bp)
	clc
	jmp	leave_flag

memory_one:
	movw	%cs:LAYOUT_KIB_ALL, %ax
	movw	%ax, R_AX(%bp)
	clc
	jmp	leave_flag

/* It can be switched on, and is; 2: asked whether, 3: by which means it could be. */
a20:
	testb	%al, %al
	jz	memory_unknown
	cmpb	$3, %al
	ja	memory_unknown
	movb	$0, R_AX + 1(%bp)
	cmpb	$2, %al
	jb	1f
	movb	$1, R_AX(%bp)
	je	1f
	movb	$0, R_AX(%bp)
	movw	$0, R_BX(%bp)
1:	clc
	jmp	leave_flag

/* --- The keyboard. --- */

int16:
	enter_call
	andb	$~0x10, %ah		/* 10h and 11h for keyboards of 101 keys */
	jz	key_wait
	cmpb	$0x01, %ah
	je	key_look
	cmpb	$0x02, %ah
	jne	leave
	movb	BDA_SHIFT, %al
	movb	%al, R_AX(%bp)
	jmp	leave

key_wait:
	call	serial_key
	movw	BDA_HEAD, %si
	cmpw	BDA_TAIL, %si
	jne	1f
	sti
	hlt
	cli
	jmp	key_wait
1:	movw	(%si), %ax
	movw	%ax, R_AX(%bp)
	call	key_next
	movw	%si, BDA_HEAD
	jmp	leave

key_look:
	call	serial_key
	orb	$FLAG_ZF, R_FLAGS(%bp)
	movw	BDA_HEAD, %si
	cmpw	BDA_TAIL, %si
	je	leave
	andb	$~FLAG_ZF, R_FLAGS(%bp)
	movw	(%si), %ax
	movw	%ax, R_AX(%bp)
	jmp	leave

/* The place behind SI in the buffer. */
key_next:
	addw	$2, %si
	cmpw	$BDA_BUFFER_END, %si
	jb	1f
	movw	$BDA_BUFFER, %si
1:	ret

/* AX into the buffer, unless it is full. The buffer's pointers are a guest's to spoil. */
key_put:
	movw	BDA_TAIL, %di
	movw	%di, %si
	call	key_next
	cmpw	BDA_HEAD, %si
	je	1f
	movw	%ax, (%di)
	movw	%si, BDA_TAIL
1:	ret

/* A byte that has come in by COM1 is a key without a scan code. */
serial_key:
	movw	$(COM1 + 5), %dx
	inb	%dx, %al
	cmpb	$0xff, %al		/* no such port */
	je	1f
	testb	$1, %al
	jz	1f
	movw	$COM1, %dx
	inb	%dx, %al
	xorb	%ah, %ah
	call	key_put
1:	ret

irq1:
	enter_call
	inb	$0x64, %al		/* the edge may be of a byte that was polled for */
	testb	$1, %al
	jz	key_done
	inb	$0x60, %al
	movb	%al, %bl
	andb	$0x7f, %bl
	movw	$shifts, %si
1:	cmpb	$0, %cs:(%si)
	je	2f
	cmpb	%bl, %cs:(%si)
	je	3f
	addw	$2, %si
	jmp	1b
3:	movb	%cs:1(%si), %ah
	testb	$0x40, %ah		/* Caps Lock is turned over when it goes down */
	jnz	4f
	orb	%ah, BDA_SHIFT
	testb	$0x80, %al
	jz	key_done
	notb	%ah
	andb	%ah, BDA_SHIFT
	jmp	key_done
4:	testb	$0x80, %al
	jnz	key_done
	xorb	%ah, BDA_SHIFT
	jmp	key_done
2:	testb	$0x80, %al		/* another key goes up, or E0h and E1h in front of one */
	jnz	key_done
	movb	%al, %ah
	call	key_character
	call	key_put
key_done:
	movb	$0x20, %al
	outb	%al, $0x20
	jmp	leave

/* Of the key AH, with the shift keys as they are: AL. */
key_character:
	xorb	%al, %al
	cmpb	$0x3a, %ah
	jae	3f
	movzbw	%ah, %si
	movb	BDA_SHIFT, %bl
	movb	%cs:plain(%si), %al
	testb	$0x03, %bl
	jz	1f
	movb	%cs:shifted(%si), %al
1:	movb	%al, %bh
	orb	$0x20, %bh
	subb	$'a', %bh
	cmpb	$26, %bh
	jae	3f
	testb	$0x40, %bl
	jz	2f
	xorb	$0x20, %al
2:	testb	$0x04, %bl
	jz	3f
	andb	$0x1f, %al
3:	ret

/* --- Time, and the end. --- */

irq0:
	pushw	%ds
	pushw	%ax
	pushw	$BDA
	popw	%ds
	incl	BDA_TICKS
	cmpl	$TICKS_DAY, BDA_TICKS
	jb	1f
	movl	$0, BDA_TICKS
	movb	$1, BDA_MIDNIGHT
1:	int	$0x1c
	movb	$0x20, %al
	outb	%al, $0x20
	popw	%ax
	popw	%ds
	iretw

int1a:
	enter_call
	testb	%ah, %ah
	jz	1f
	cmpb	$0x01, %ah
	stc
	jne	leave_flag
	movw	%cx, BDA_TICKS + 2
	movw	%dx, BDA_TICKS
	movb	$0, BDA_MIDNIGHT
	clc
	jmp	leave_flag
1:	movw	BDA_TICKS, %dx
	movw	%dx, R_DX(%bp)
	movw	BDA_TICKS + 2, %cx
	movw	%cx, R_CX(%bp)
	xorb	%al, %al
	xchgb	%al, BDA_MIDNIGHT
	movb	%al, R_AX(%bp)
	clc
	jmp	leave_flag

int18:
	movw	$nothing, %si
	pushw	$BDA
	popw	%ds
	call	tell
	jmp	halt

/* A divide error or an invalid instruction would be taken again and again. */
fault:
	pushw	$BDA
	popw	%ds
	movw	$faulted, %si
	call	tell
	movw	%sp, %bp
	movw	2(%bp), %dx
	call	tell_word
	movb	$':', %al
	call	teletype
	movw	(%bp), %dx
	call	tell_word
	movb	$'\r', %al
	call	teletype
	movb	$'\n', %al
	call	teletype
halt:
	cli
	hlt
	jmp	halt

tell:
	movb	%cs:(%si), %al
	testb	%al, %al
	jz	1f
	call	teletype
	incw	%si
	jmp	tell
1:	ret

/* DX in hexadecimal. */
tell_word:
	movw	$4, %cx
1:	rolw	$4, %dx
	movb	%dl, %al
	andb	$15, %al
	addb	$'0', %al
	cmpb	$'9', %al
	jbe	2f
	addb	$('a' - '9' - 1), %al
2:	call	teletype
	loop	1b
	ret

/* Each way to it there is (PC/AT Technical Reference, "Keyboard controller"; port 92h). */
int19:
	movb	$0xfe, %al
	outb	%al, $0x64
	movb	$0x01, %al
	outb	%al, $0x92
	jmp	halt

ignore_irq2:
	pushw	%ax
	movb	$0x20, %al
	outb	%al, $0xa0
	outb	%al, $0x20
	popw	%ax
	iretw
ignore_irq:
	pushw	%ax
	movb	$0x20, %al
	outb	%al, $0x20
	popw	%ax
ignore:
	iretw

/* --- Tables. --- */

	.section .rodata, "a"
vectors:
	.word	0x00 * 4, fault
	.word	0x06 * 4, fault
	.word	0x08 * 4, irq0
	.word	0x09 * 4, irq1
	.word	0x10 * 4, int10
	.word	0x11 * 4, int11
	.word	0x12 * 4, int12
	.word	0x13 * 4, int13
	.word	0x15 * 4, int15
	.word	0x16 * 4, int16
	.word	0x18 * 4, int18
	.word	0x19 * 4, int19
	.word	0x1a * 4, int1a
	.word	0xffff

	.macro	port at, value
	.word	\at
	.byte	\value
	.endm
chips:
	port	0x20, 0x11
	port	0x21, 0x08
	port	0x21, 0x04
	port	0x21, 0x01
	port	0xa0, 0x11
	port	0xa1, 0x70
	port	0xa1, 0x02
	port	0xa1, 0x01
	port	0x21, 0xf8		/* the timer, the keyboard, the second chip */
	port	0xa1, 0xff
	port	0x43, 0x36		/* 65,536 pulses */
	port	0x40, 0
	port	0x40, 0
	port	COM1 + 1, 0
	port	COM1 + 3, 0x03		/* 8 data bits */
	port	COM1 + 4, 0x03
	port	0x3f6, 0x02
	.word	0

/* Scan codes of set 1, and what they are in BDA_SHIFT. */
shifts:
	.byte	0x2a, 0x02, 0x36, 0x01, 0x1d, 0x04, 0x38, 0x08, 0x3a, 0x40, 0
plain:
	.ascii	"\0\0331234567890-=\b\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 "
shifted:
	.ascii	"\0\033!@#$%^&*()_+\b\tQWERTYUIOP{}\r\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 "
nothing:
	.asciz	"There is nothing to boot.\r\n"
faulted:
	.asciz	"Divide error or invalid instruction at "

/* Where a processor starts that was reset. */
	.section .reset, "ax"
	ljmpw	$LAYOUT_SEGMENT, $start

	.section .note.GNU-stack, "", @progbits
