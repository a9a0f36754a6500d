/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bzimage - the setup header of a Linux kernel, read once, checked, then used.
 *
 * References like "boot.rst, setup_sects" are to the field of that name in the Linux/x86 boot
 * document (Documentation/arch/x86/boot.rst).
 */
#ifndef BOOT_BZIMAGE_H
#define BOOT_BZIMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct boot_image;
struct boot_info;
struct err;

/* The header as it goes into boot_params: from setup_sects to where boot_params has other uses. */
#define SETUP_HEADER_START 0x1f1
#define SETUP_HEADER_LIMIT 0x290

struct bzimage {
	/* Under the names of the boot document; 0 for what the header is too old to have. */
	uint16_t protocol;   /* 0x020f is 2.15 */
	bool loaded_high;    /* a bzImage; if not, a zImage */
	uint32_t setup_size; /* bytes of the real-mode part, where the protected-mode part starts */
	uint64_t code_size;  /* bytes of the protected-mode part */
	uint64_t pref_address;
	uint32_t init_size; /* an estimate where the header does not say */
	uint32_t kernel_alignment;
	bool relocatable;
	uint8_t min_alignment; /* a power of two's exponent */
	uint16_t xloadflags;
	uint32_t cmdline_size; /* without the terminating zero */
	uint32_t initrd_addr_max;
	uint32_t payload_offset; /* within the protected-mode part; checked, as its length is */
	uint32_t payload_length; /* 0: none */
	uint16_t kernel_version; /* less 0x200, in the file */

	const char *payload; /* how it is compressed; NULL when that is not known */
	uint32_t header_len; /* from SETUP_HEADER_START */
	uint8_t header[SETUP_HEADER_LIMIT - SETUP_HEADER_START];
};

/* Whether a file that starts so has a setup header, sound or not. */
bool bzimage_magic(const uint8_t *head, size_t len);

/* 0 when the image can be booted; -ENOEXEC and what is wrong with it. */
int bzimage_read(const struct boot_image *img, struct bzimage *bz, struct err *err);

void bzimage_describe(const struct boot_image *img, const struct bzimage *bz,
		      struct boot_info *info);

#endif
