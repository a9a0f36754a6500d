/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The setup header of the Linux/x86 boot protocol 2.15 (Documentation/arch/x86/boot.rst, "The
 * Real-Mode Kernel Header"), for loaders that enter at the 32-bit entry point. There is no
 * real-mode code behind it: a loader that starts there is told so on COM1 and stops.
 */
#include "layout.h"

	.section .setup, "a"
	.code16
setup:
	.org	0x1f1
	.byte	SETUP_SECTORS		/* setup_sects */
	.word	0			/* root_flags */
	.long	setup_syssize		/* in 16-byte units */
	.word	0			/* ram_size */
	.word	0xffff			/* vid_mode: normal */
	.word	0			/* root_dev */
	.word	0xaa55			/* boot_flag */
	.org	0x200
	.byte	0xeb, realmode - header	/* jump; its second byte is the header's end */
header:
	.ascii	"HdrS"
	.word	0x020f			/* version */
	.long	0			/* realmode_swtch */
	.word	0			/* start_sys_seg */
	.word	version - setup - 0x200 /* kernel_version */
	.byte	0			/* type_of_loader */
	.byte	0x01			/* loadflags: LOADED_HIGH */
	.word	0			/* setup_move_size */
	.long	IMAGE_BASE		/* code32_start */
	.long	0, 0			/* ramdisk_image, ramdisk_size */
	.long	0			/* bootsect_kludge */
	.word	0			/* heap_end_ptr */
	.byte	0, 0			/* ext_loader_ver, ext_loader_type */
	.long	0			/* cmd_line_ptr */
	.long	0x7fffffff		/* initrd_addr_max */
	.long	0x1000			/* kernel_alignment */
	.byte	0			/* relocatable_kernel */
	.byte	12			/* min_alignment, as a power of two */
	.word	0			/* xloadflags: no 64-bit entry point */
	.long	2047			/* cmdline_size */
	.long	0			/* hardware_subarch: PC */
	.quad	0			/* hardware_subarch_data */
	.long	0, 0			/* payload_offset, payload_length: nothing compressed */
	.quad	0			/* setup_data */
	.quad	IMAGE_BASE		/* pref_address */
	.long	setup_init_size		/* init_size */
	.long	0			/* handover_offset */
	.long	0			/* kernel_info_offset */

realmode:
	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	movw	$0x3f8, %dx
	/* CS is 20h paragraphs above the start of the file, 512 bytes. */
	movw	$(refusal - setup - 0x200), %si
	movw	$(refusal_end - refusal), %cx
	rep outsb
1:	hlt
	jmp	1b

refusal:
	.ascii	"skep's guest has only a 32-bit entry point\r\n"
refusal_end:
version:
	.asciz	GUEST_VERSION
