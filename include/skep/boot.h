/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * boot - puts a kernel into guest memory and says where the first vCPU enters it.
 *
 * Linux is booted by the 32-bit protocol of its x86 boot document
 * (Documentation/arch/x86/boot.rst), version 2.06 and later. Files are opened once and stay open,
 * so that a reset of the machine loads the very same files again, even when their paths are gone by
 * then. They are read straight into guest memory.
 *
 * Every value in a file is taken for hostile: whatever a file says, nothing outside guest RAM or
 * outside the file is touched. One thread at a time; no vCPU runs.
 */
#ifndef SKEP_BOOT_H
#define SKEP_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpu_entry;
struct e820;
struct err;
struct gmem;

/* A file to boot from: a kernel, an initrd. */
struct boot_image;

/* Opens the regular file @path; @role ("kernel", "initrd") is what messages call it. */
int boot_open(struct boot_image **img, const char *role, const char *path, struct err *err);

/* An image in memory, which stays the caller's and outlives it. */
int boot_open_memory(struct boot_image **img, const char *role, const char *name, const void *data,
		     size_t len, struct err *err);

/* NULL is allowed. */
void boot_close(struct boot_image *img);

uint64_t boot_image_size(const struct boot_image *img);

/* The SHA-256 of the image's bytes as they are now, in hexadecimal. -ENOSYS: this host has no
 * Nettle. */
#define BOOT_HASH_TEXT 65
int boot_image_hash(const struct boot_image *img, char hex[BOOT_HASH_TEXT], struct err *err);

/* What a kernel image says of itself. */
struct boot_info {
	const char *format; /* in words; never NULL */
	uint64_t size;      /* of the file */
	bool is_linux;      /* it has a setup header: the rest is filled as far as it goes */

	/* Under the names of the boot document; 0 for what the header is too old to have. */
	uint16_t protocol;   /* 0x020f is 2.15 */
	bool loaded_high;    /* a bzImage; if not, a zImage */
	uint32_t setup_size; /* bytes of the real-mode part, where the protected-mode part starts */
	uint64_t code_size;  /* bytes of the protected-mode part */
	uint64_t pref_address;
	uint32_t init_size;
	uint32_t kernel_alignment;
	bool relocatable;
	uint8_t min_alignment; /* a power of two's exponent */
	uint16_t xloadflags;
	uint32_t cmdline_size; /* without the terminating zero */
	uint32_t initrd_addr_max;
	uint32_t payload_offset; /* within the protected-mode part */
	uint32_t payload_length;

	char version[128];   /* printable; "" when the image names none */
	const char *payload; /* how it is compressed; NULL when that is not known */
};

/*
 * Reads the headers of @img. 0 when boot_load() can boot it, memory permitting; otherwise -errno
 * and the reason, with @info filled as far as the image could be understood.
 */
int boot_examine(const struct boot_image *img, struct boot_info *info, struct err *err);

struct boot_request {
	const struct boot_image *kernel;
	/* Concatenated in this order, each padded to 4 bytes. */
	const struct boot_image *const *initrds;
	unsigned int initrd_count;
	const char *cmdline;       /* NULL: empty */
	uint64_t rsdp;             /* gpa of the ACPI root pointer; 0: the guest looks for it */
	const struct e820 *memory; /* handed to the guest; only its RAM is loaded into */
};

#define BOOT_PIECES_MAX 8

/* What lies where, in ascending order; pieces never overlap and lie wholly in RAM. */
struct boot_layout {
	unsigned int count;
	struct boot_piece {
		const char *name; /* static text */
		uint64_t gpa;
		uint64_t len;
	} pieces[BOOT_PIECES_MAX];
	uint64_t entry;
	/* Bytes of RAM, a multiple of 1 MiB, with which a PC could boot this and with no less. */
	uint64_t least_memory;
};

/* Decides where everything goes; loads nothing. */
int boot_plan(const struct boot_request *req, struct boot_layout *layout, struct err *err);

/*
 * Loads by that plan. @layout may be NULL. May be called again, at each reset of the machine, and
 * depends on nothing that memory held before. On failure, guest memory is left half-written.
 */
int boot_load(const struct boot_request *req, struct gmem *mem, struct cpu_entry *entry,
	      struct boot_layout *layout, struct err *err);

#endif
