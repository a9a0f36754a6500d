/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of src/postmortem share. */
#ifndef SRC_POSTMORTEM_PM_PRIV_H
#define SRC_POSTMORTEM_PM_PRIV_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "skep/cpu_state.h"
#include "skep/device.h"
#include "skep/symbols.h"

struct gmem;

/* What one vCPU left behind, and who looks at it. */
struct view {
	const struct gmem *mem;
	const struct cpu_state *cpu;
	struct symbols *symbols; /* NULL: none */
	unsigned int id;
};

/* " name+0x12" of @address, "" when it has none. */
struct name_text {
	char s[SYMBOLS_TEXT + 3];
};
struct name_text name_of(const struct view *v, uint64_t address);

/* diagnose.c: what happened, in words: a few sentences. */
#define DIAGNOSIS_LINES 8
struct diagnosis {
	unsigned int count;
	char lines[DIAGNOSIS_LINES][400];
	int vector; /* of the first exception; -1: there was none, or nobody knows */
	bool has_address;
	uint64_t address; /* that could not be accessed, linear */
	unsigned int access;
};
void diagnose(const struct view *v, const struct ending *ending, struct diagnosis *d);

/* code.c */
/* @before and @after instructions around the one at RIP. */
void code_write(const struct view *v, unsigned int before, unsigned int after, FILE *to);
void stack_write(const struct view *v, unsigned int words, FILE *to);
void backtrace_write(const struct view *v, unsigned int frames, FILE *to);

/* registers.c */
void registers_write(const struct view *v, bool all, FILE *to);

/* tables_text.c */
void walk_write(const struct view *v, const char *what, uint64_t address, unsigned int access,
		FILE *to);
void tables_write(const struct view *v, bool all, FILE *to);

#endif
