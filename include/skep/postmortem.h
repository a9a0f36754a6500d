/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * postmortem - why a guest died, for a person to read: what most likely happened, in sentences, and
 * what they are derived from: registers, code, stack, page tables, descriptor tables.
 *
 * All of it comes from the registers that KVM still has and from guest memory, behind the machine's
 * end. Everything there is the guest's: it is bounded, and none of its bytes reach the text but as
 * numbers and, in names, as printable ASCII.
 *
 * All on the machine's control thread. Libraries (Capstone, elfutils) are opened when something is
 * to be written; in the sandbox its aide asks them.
 */
#ifndef SKEP_POSTMORTEM_H
#define SKEP_POSTMORTEM_H

#include <stdbool.h>
#include <stdio.h>

#include "skep/config.h"

struct ending;
struct err;
struct postmortem;
struct vm;

enum postmortem_detail {
	POSTMORTEM_OFF,
	POSTMORTEM_SHORT, /* fits on a screen */
	POSTMORTEM_FULL,
};

enum postmortem_replay {
	/* A second life when this host's KVM left no registers of the first, and it can be had. */
	POSTMORTEM_REPLAY_AUTO,
	POSTMORTEM_REPLAY_ON, /* also when it left some */
	POSTMORTEM_REPLAY_OFF,
};

struct postmortem_options {
	unsigned int detail; /* enum postmortem_detail */
	unsigned int replay; /* enum postmortem_replay */
};
extern const struct option postmortem_option_table[];

/*
 * Before the guest runs: @symbols is the ELF file that its addresses are named by; NULL: the kernel
 * that is booted, if it is one.
 */
int postmortem_open(struct postmortem **pm, struct vm *vm, const char *symbols, struct err *err);
/* NULL is allowed. */
void postmortem_close(struct postmortem *pm);

/* 32 or 64: of which class the file is that addresses are named by; 0: there is none. */
unsigned int postmortem_bits(const struct postmortem *pm);

/* Whether an ending is one that wants explaining. */
bool postmortem_due(const struct ending *ending);

/*
 * Whether the end wants a second life (vm_replay()), by what there is of the first. If so,
 * postmortem_replay() has it; what is written before tells of the first life, and what is written
 * behind of the second, if that came to the same end, or of why there was none.
 */
bool postmortem_wants_replay(struct postmortem *pm, const struct ending *ending,
			     enum postmortem_replay when);
/* False: what is left of the first life is lost, and there is nothing of the second. */
bool postmortem_replay(struct postmortem *pm);

/* Behind vm_run(). */
void postmortem_write(struct postmortem *pm, const struct ending *ending,
		      enum postmortem_detail detail, FILE *to);

#endif
