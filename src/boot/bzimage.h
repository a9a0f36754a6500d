/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bzimage - the setup header of a Linux kernel, read once, checked, then used.
 *
 * References like "boot.rst, setup_sects" are to the field of that name in the Linux/x86 boot
 * document.
 */
#ifndef BOOT_BZIMAGE_H
#define BOOT_BZIMAGE_H

#include "skep/boot.h"

/* The header as it goes into boot_params: from setup_sects to where boot_params has other uses. */
#define SETUP_HEADER_START 0x1f1
#define SETUP_HEADER_LIMIT 0x290

struct bzimage {
	struct boot_info info;
	uint32_t header_len; /* from SETUP_HEADER_START */
	uint8_t header[SETUP_HEADER_LIMIT - SETUP_HEADER_START];
};

/* 0 when the image can be booted. As boot_examine(), but leaves out version and payload. */
int bzimage_read(const struct boot_image *img, struct bzimage *bz, struct err *err);

#endif
