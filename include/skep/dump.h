/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dump - a machine's memory and registers as an ELF core, which gdb and crash open.
 *
 * RAM is in the file once, with holes for pages of zeroes. A PT_LOAD stands for each region of it,
 * with its physical address; where paging is on, others before them have the virtual addresses at
 * which the page tables of the vCPU that is to blame show it. Each vCPU is a thread of the core:
 * NT_PRSTATUS has its general registers, a note of QEMU's form the control registers and segments.
 *
 * Control thread, behind vm_run().
 */
#ifndef SKEP_DUMP_H
#define SKEP_DUMP_H

#include <stdbool.h>

#include "skep/config.h"

struct dump;
struct ending;
struct err;
struct symbols;
struct vm;

struct dump_options {
	const char *path;  /* NULL: none */
	unsigned int when; /* enum dump_when */
};
enum dump_when {
	DUMP_BAD, /* at an ending whose status is not 0 */
	DUMP_ALWAYS,
};
extern const struct option dump_option_table[];

/* Makes the file anew, so that a place that cannot be written is told before the guest runs. */
int dump_open(struct dump **dump, const struct dump_options *options, struct err *err);
/* A file that nothing was written to goes away again. NULL is allowed. */
void dump_close(struct dump *dump);

bool dump_due(const struct dump *dump, const struct ending *ending);

/* @bits, 32 or 64, is the class that the core is to have, for gdb wants that of the kernel's file;
 * 0: that of the mode that the guest was in. */
int dump_write(struct dump *dump, struct vm *vm, unsigned int bits, struct err *err);

#endif
