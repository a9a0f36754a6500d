/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * walk - what the processor would find on its way from a linear address to memory.
 *
 * Section numbers are those of Intel's SDM, volume 3A. Tables are the guest's: each entry is read
 * once, whatever it says leads at most five entries far, and addresses that are not RAM are told,
 * never followed. Pure but for reading guest memory; the vCPU is stopped.
 */
#ifndef POSTMORTEM_WALK_H
#define POSTMORTEM_WALK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpu_state;
struct gmem;

/* What for; together. */
enum walk_access {
	WALK_READ = 0,
	WALK_WRITE = 1,
	WALK_FETCH = 2,
	WALK_USER = 4, /* with the rights of ring 3 */
};

#define WALK_LEVELS 5

struct walk {
	const char *mode; /* "no paging", "4-level paging", … */
	uint64_t address; /* linear */
	unsigned int count;
	struct walk_level {
		const char *name; /* "PML4E", … */
		unsigned int index;
		unsigned int bytes; /* of the entry */
		uint64_t at;        /* its gpa */
		uint64_t entry;
		bool read;
		bool leaf; /* it maps a page */
	} levels[WALK_LEVELS];
	uint64_t span; /* bytes of address space that the last entry stands for */
	bool mapped;
	uint64_t gpa, page; /* when mapped: where to, and the size of the page */
	bool writable, user, no_execute;
	/* The exception that the access would meet, with its error code; -1: none. */
	int fault;
	unsigned int error;
	/* What is wrong, "" when nothing is. It may be set without a fault: no RAM lies there. */
	char wrong[160];
};

void walk(const struct gmem *mem, const struct cpu_state *cpu, uint64_t address,
	  unsigned int access, struct walk *w);

/*
 * The mappings of the page tables that lead to RAM, as runs that are contiguous on both sides:
 * those of the upper half, which is the kernel's, first. Returns how many were filled; the effort
 * is bounded, so of tables that are hostile, or very scattered, some are left out.
 */
struct walk_run {
	uint64_t address, gpa, len;
};
unsigned int walk_runs(const struct gmem *mem, const struct cpu_state *cpu, struct walk_run *runs,
		       unsigned int room);

/* Reads at a linear address as the kernel would; returns how many bytes could be read. */
size_t walk_read(const struct gmem *mem, const struct cpu_state *cpu, uint64_t address, void *to,
		 size_t len);

/* The linear address of @offset in segment number @segment (cpu_state.h). */
uint64_t walk_linear(const struct cpu_state *cpu, unsigned int segment, uint64_t offset);

/* Whether bits 63 to 47, or 56, of an address are alike (volume 1, 3.3.7.1). */
bool walk_canonical(const struct cpu_state *cpu, uint64_t address);

#endif
