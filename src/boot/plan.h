/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * plan - what goes where in guest memory, and how the kernel is entered.
 *
 * A protocol adds pieces to a plan. Each is checked when it is added: it lies wholly in RAM of the
 * guest's map, wraps nowhere, and overlaps no other. So what loads a plan has nothing to check.
 */
#ifndef BOOT_PLAN_H
#define BOOT_PLAN_H

#include "skep/boot.h"
#include "skep/cpu.h"

struct elf;
struct kernel;
struct plan;

/* Where everything that a PC's loader needs for itself goes, below what kernels want. */
#define GDT_GPA         UINT64_C(0x1000)
#define PAGE_TABLES_GPA UINT64_C(0x2000)
#define PAGE_TABLES_END UINT64_C(0x8000)
#define BOOT_INFO_GPA   UINT64_C(0x10000) /* a stack grows down from here */
#define CMDLINE_GPA     UINT64_C(0x20000)
#define CMDLINE_ROOM    UINT64_C(0x70000) /* leaves Linux's trampoline at 9D000h alone */

struct plan_piece {
	char name[32];
	uint64_t gpa;
	uint64_t len;
	/* The first @filled bytes come from one of these; the rest, if @clear, is zeroes. */
	const struct boot_image *img;
	uint64_t offset;
	void *bytes; /* the plan's own */
	uint64_t filled;
	bool clear;
};

struct plan {
	const struct boot_request *req;
	const struct boot_options *options; /* never NULL */
	const struct kernel *kernel;
	unsigned int count;
	struct plan_piece pieces[BOOT_PIECES_MAX]; /* in ascending order */
	struct cpu_entry entry;
	uint64_t entry_gpa;    /* of the first instruction, where that is not entry.rip */
	uint64_t least_memory; /* 0: up to the end of the last piece */
	/* Called when all pieces are in place. */
	int (*finish)(struct plan *plan, struct gmem *mem, struct err *err);
	/* linux_direct.c: the kernel is somewhere else than it was linked for, at random. */
	bool random;
	bool unpacks_itself;
	uint64_t unpack_from, unpack_to; /* clock_now() */
};

/*
 * The kinds of pieces. -ENOMEM outside RAM, -EEXIST where another piece is, -E2BIG for more
 * pieces than there can be; the sentence names the piece. A piece of no length is not added.
 */
int plan_room(struct plan *plan, const char *name, uint64_t gpa, uint64_t len, struct err *err);
/* @filled bytes at @offset of @img, then zeroes up to @len. */
int plan_file(struct plan *plan, const char *name, uint64_t gpa, uint64_t len,
	      const struct boot_image *img, uint64_t offset, uint64_t filled, struct err *err);
/* A copy of these @len bytes. */
int plan_bytes(struct plan *plan, const char *name, uint64_t gpa, const void *bytes, uint64_t len,
	       struct err *err);

/* The same in the area of a BIOS (bios.h), which the map does not call RAM but reserved. */
int plan_bios(struct plan *plan, const char *name, uint64_t gpa, const void *bytes, uint64_t len,
	      struct err *err);

/*
 * Finds @len bytes of RAM in [lo, hi) that no piece has, at a multiple of @align (a power of two):
 * the lowest or the highest such. -ENOMEM.
 */
struct plan_want {
	const char *name; /* for the sentence */
	uint64_t lo, hi;
	uint64_t len;
	uint64_t align;
	bool highest;
};
int plan_find(const struct plan *plan, const struct plan_want *want, uint64_t *gpa,
	      struct err *err);

/* Whole mebibytes that hold @bytes, as sentences have them. */
static inline unsigned long long mib_up(uint64_t bytes)
{
	return (bytes >> 20) + !!(bytes & 0xfffff);
}

/* Says that @needed bytes from 0 on are wanted, and which of three reasons is in the way. */
int plan_no_room(const struct plan *plan, const char *what, uint64_t needed, struct err *err);

/*
 * The table of flat segments that cpu.h's CPU_PROT32 and CPU_LONG64 speak of, and its registers: at
 * GDT_GPA, or above where that is taken.
 */
int plan_segments(struct plan *plan, enum cpu_mode mode, struct err *err);

/* 32 KiB for a stack below BOOT_INFO_GPA, or where else there is room, and rsp at its end. */
int plan_stack(struct plan *plan, struct err *err);

/* Linux's command line with its terminating zero, at CMDLINE_GPA; at most @most characters. */
int plan_cmdline(struct plan *plan, uint64_t most, struct err *err);

/* What the initrds take one behind the other, each padded to 4 bytes. */
uint64_t plan_initrds_len(const struct plan *plan);

/* The initrds one behind the other at @gpa, each padded to 4 bytes. */
int plan_initrds(struct plan *plan, uint64_t gpa, struct err *err);

/* The same, in the lowest place from @lo on that has room for all; at least one. */
int plan_initrds_from(struct plan *plan, uint64_t lo, uint64_t *gpa, uint64_t *len,
		      struct err *err);

/* The loadable segments of the kernel's ELF file, where their p_paddr says. */
int plan_elf_segments(struct plan *plan, const struct elf *elf, struct err *err);

/* Zeroes [gpa, gpa + len); -EFAULT outside RAM. */
int plan_clear(struct gmem *mem, uint64_t gpa, uint64_t len);

/* Reads, writes and clears what the pieces say. */
int plan_load(struct plan *plan, struct gmem *mem, struct err *err);
void plan_free(struct plan *plan);

#endif
