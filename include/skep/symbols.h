/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * symbols - what an ELF file calls the addresses of the program in it.
 *
 * Opening checks little more than that the file is one, and costs a system call or two. The table
 * of symbols is read when it is first needed, by libelf, which is opened then; lines come from
 * libdw where that is installed and the file has them.
 *
 * The file is taken for hostile: what is read of it is bounded, and no control character of a name
 * ever comes out. One thread at a time.
 */
#ifndef SKEP_SYMBOLS_H
#define SKEP_SYMBOLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct symbols;

/* "name+0x123" at most, with its NUL; longer names are cut. */
#define SYMBOLS_TEXT 128

/* Opens the ELF file @path for i386 or x86-64. On failure *@s is NULL. */
int symbols_open(struct symbols **s, const char *path, struct err *err);
/* The same with a descriptor, which stays the caller's; @label is what messages call the file. */
int symbols_open_fd(struct symbols **s, int fd, const char *label, struct err *err);
/* NULL is allowed. */
void symbols_close(struct symbols *s);

/* 32 or 64: of which class the file is. */
unsigned int symbols_bits(const struct symbols *s);

/*
 * Loads the libraries and reads the table now: what a process does that will not be allowed to open
 * files later. -ENOSYS: this host has no libelf; -ENODATA: the file has no symbols. The other
 * functions call it, and find nothing when it fails.
 */
int symbols_prepare(struct symbols *s, struct err *err);

/*
 * Puts "name+0x12", or "name" for the symbol's own address, into @text and returns true; "" and
 * false when no symbol covers @address. A kernel that is linked high has symbols at the physical
 * addresses of its segments as well, where it runs before it has switched paging on. NULL for @s is
 * a file without symbols.
 */
bool symbols_name(struct symbols *s, uint64_t address, char *text, size_t room);

/* The same with "file.c:12". */
bool symbols_line(struct symbols *s, uint64_t address, char *text, size_t room);

/* The program was moved: from now on addresses that are asked for are @by higher than the file's.
 */
void symbols_slide(struct symbols *s, uint64_t by);

/* The address of @name in the file; false when there is no such symbol. */
bool symbols_find(struct symbols *s, const char *name, uint64_t *address);

#endif
