/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * multiboot_common - what both versions of Multiboot share: finding the header, loading the image,
 * its sections and modules, and what is handed over of memory.
 *
 * A kernel is handed one block that holds all there is to say; it lies below 1 MiB where there is
 * room. Sections that no segment holds, and then modules, are each the lowest fit behind the
 * kernel, or if there is none, the lowest fit between 1 MiB and the kernel.
 */
#ifndef BOOT_MULTIBOOT_COMMON_H
#define BOOT_MULTIBOOT_COMMON_H

#include "protocol.h"

enum multiboot_version {
	MULTIBOOT_1,
	MULTIBOOT_2,
};

/* As far as a header may reach into the file (Multiboot, 3.1; Multiboot2, 3.1). */
#define MULTIBOOT_1_REACH KIB(8)
#define MULTIBOOT_2_REACH KIB(32)

/*
 * Whether the image is meant for @version: it has the header, or what can only be one that is in
 * the wrong place or has a wrong checksum.
 */
bool multiboot_recognises(const struct kernel *k, enum multiboot_version version, const char **why);

/* Where the header is in the file; -ENOEXEC when it is not where or what it should be. */
int multiboot_header(const struct kernel *k, enum multiboot_version version, uint32_t *at,
		     struct err *err);

enum multiboot_preference {
	MULTIBOOT_ANYWHERE,
	MULTIBOOT_LOWEST,
	MULTIBOOT_HIGHEST,
};

struct multiboot_image {
	/* What the header says. */
	uint32_t header_at; /* in the file */
	bool by_header;     /* addresses in the header say where it goes, not an ELF file's */
	uint32_t header_addr;
	uint32_t load_addr;
	uint32_t load_end_addr; /* 0: to the end of the file */
	uint32_t bss_end_addr;  /* 0: no bss */
	bool has_entry;
	uint32_t entry_addr;
	bool relocatable; /* to a multiple of @align in [@min_addr, @max_addr) */
	uint32_t min_addr, max_addr;
	uint32_t align;
	uint32_t preference; /* enum multiboot_preference, or anything else */

	/* What multiboot_image() makes of it: addresses as they were linked. */
	uint64_t lo, hi;
	uint64_t entry;
	unsigned int part_count;
	struct multiboot_part {
		uint64_t gpa;
		uint64_t len;
		uint64_t offset; /* in the file */
		uint64_t filled; /* from there; the rest is zeroes */
	} parts[ELF_SEGMENTS_MAX];
};

/* Finds out what is loaded, and checks it against the file. */
int multiboot_image(const struct kernel *k, struct multiboot_image *im, struct err *err);
void multiboot_describe_image(const struct multiboot_image *im, struct boot_info *info);

/*
 * Everything for a kernel but the block of information: the pieces of the image, its sections
 * with the symbols, the modules, segments; and the registers that both versions have alike.
 */
struct multiboot_load {
	uint64_t base, end; /* of the image, where it is */
	struct {
		uint8_t *table; /* section headers, sh_addr filled in; NULL: none */
		uint32_t count, size, names;
	} sections;
	unsigned int module_count;
	struct multiboot_module {
		uint32_t start, end;
		const char *cmdline;
	} * modules;
	uint32_t mem_lower, mem_upper; /* KiB from 0 and from 1 MiB */
	const char *cmdline;           /* never NULL */
};
int multiboot_load(struct plan *plan, const struct multiboot_image *im, struct multiboot_load *load,
		   struct err *err);
/* The modules alone, for a kernel without a header that is in the plan already. */
int multiboot_load_modules(struct plan *plan, struct multiboot_load *load, struct err *err);
void multiboot_load_free(struct multiboot_load *load);

#define MULTIBOOT_LOADER_NAME "skep " SKEP_VERSION

/* A text screen (Multiboot, 3.3, framebuffer_type 2). */
#define MULTIBOOT_TEXT_AT     0xb8000
#define MULTIBOOT_TEXT_COLS   80
#define MULTIBOOT_TEXT_ROWS   25
#define MULTIBOOT_TEXT_BPP    16
#define MULTIBOOT_TEXT_PITCH  160
#define MULTIBOOT_FRAMES_TEXT 2

/* The block of information, while it is put together. */
struct multiboot_block {
	uint64_t gpa;
	uint8_t *bytes; /* NULL: only counted */
	uint64_t len;
};

/*
 * Adds @len bytes, zeroes if @bytes is NULL, at the next multiple of @align. Returns the gpa at
 * which they will be.
 */
uint64_t multiboot_put(struct multiboot_block *b, const void *bytes, uint64_t len, uint64_t align);
/* Fills in what was added before. */
void multiboot_poke(struct multiboot_block *b, uint64_t gpa, const void *bytes, size_t len);

/* @fill runs twice: it counts, and then it writes where the block will be. Sets rax and rbx. */
typedef void multiboot_fill_fn(const struct plan *plan, const struct multiboot_load *load,
			       const void *header, struct multiboot_block *b);
int multiboot_hand_over(struct plan *plan, uint32_t magic, const struct multiboot_load *load,
			multiboot_fill_fn *fill, const void *header, struct err *err);

/* Loads the modules and hands them over as Multiboot 1 does, to a kernel without a header. */
int multiboot_inform(struct plan *plan, struct err *err);

#endif
