/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * elf - what a loader needs of an ELF file: its segments, its notes, and where its sections are.
 *
 * Section numbers are those of the System V ABI, edition 4.1, chapter 4 and 5. Everything in
 * a struct elf was checked: segments lie within the file, and no sum of their fields wraps.
 */
#ifndef BOOT_ELF_H
#define BOOT_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct boot_image;
struct err;

/* Kernels have less than ten. */
#define ELF_SEGMENTS_MAX 64

struct elf_segment {
	uint32_t type;
	uint32_t flags;
	uint64_t offset; /* in the file */
	uint64_t vaddr;
	uint64_t paddr;
	uint64_t filesz;
	uint64_t memsz;
};

struct elf {
	bool is_64;
	bool relocatable; /* ET_DYN */
	uint64_t entry;
	uint64_t headers_end; /* in the file, of its header and program headers right behind */
	uint64_t end;         /* of the last segment or section header in the file */
	uint64_t shoff;
	uint16_t shentsize;
	uint16_t shnum; /* 0: no sections, or none that can be read */
	uint16_t shstrndx;
	unsigned int segment_count;
	struct elf_segment segments[ELF_SEGMENTS_MAX];
};

bool elf_magic(const uint8_t *head, size_t len);

/*
 * Reads the headers of @img. -ENOEXEC and the field that is wrong, when it is not an executable for
 * x86 of which every loadable segment is there.
 */
int elf_read(const struct boot_image *img, struct elf *elf, struct err *err);

/* The range of physical addresses that its loadable segments take; false when there are none. */
bool elf_span(const struct elf *elf, uint64_t *lo, uint64_t *hi);

/* The physical address at which the segment that holds virtual address @vaddr has it. */
bool elf_paddr(const struct elf *elf, uint64_t vaddr, uint64_t *paddr);

/*
 * Looks for a note (chapter 5, "Note Section") of @owner with @type, any type when that is
 * ELF_NOTE_ANY. Its first @room bytes go to @desc; *@len is how many it has.
 */
#define ELF_NOTE_ANY UINT32_MAX
bool elf_note(const struct boot_image *img, const struct elf *elf, const char *owner, uint32_t type,
	      void *desc, size_t room, size_t *len);

#endif
