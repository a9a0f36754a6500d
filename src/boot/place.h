/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * place - where a Linux kernel and what comes with it goes in guest memory. Pure arithmetic.
 *
 *	1000h	global descriptor table
 *	10000h	boot_params; a stack grows down from here
 *	20000h	command line, up to A0000h at most
 *	1 MiB	kernel, where it asks to be, then room for it to unpack itself
 *	top	initrd, as high as the kernel takes it
 */
#ifndef BOOT_PLACE_H
#define BOOT_PLACE_H

#include <stdint.h>

#include "bzimage.h"

#define GDT_GPA         UINT64_C(0x1000)
#define GDT_ENTRIES     4
#define BOOT_PARAMS_GPA UINT64_C(0x10000)
#define CMDLINE_GPA     UINT64_C(0x20000)
#define CMDLINE_ROOM    UINT64_C(0x70000) /* leaves the unpacker's trampoline at 9D000h alone */

struct placement {
	uint64_t cmdline_len; /* with its terminating zero */
	uint64_t kernel;      /* where the protected-mode part is loaded and entered */
	uint64_t room_end;    /* the kernel may use all from where it is loaded up to here */
	uint64_t initrd;
	uint64_t initrd_len; /* 0: none */
	uint64_t least_memory;
};

int place_all(const struct boot_request *req, const struct bzimage *bz, struct placement *p,
	      struct err *err);

/* What @img occupies among the initrds. */
static inline uint64_t initrd_padded(const struct boot_image *img)
{
	return (boot_image_size(img) + 3) & ~UINT64_C(3);
}

#endif
