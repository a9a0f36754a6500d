/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * linux - what the ways to boot Linux share: where it goes, and what it is told.
 */
#ifndef BOOT_LINUX_H
#define BOOT_LINUX_H

#include "protocol.h"

/* What a kernel asks of the place where it goes. */
struct linux_needs {
	bool unpacked;         /* it runs where it is put; if not, it unpacks itself first */
	bool relocatable;      /* at a multiple of @align from @run on; if not, only at @run */
	uint64_t run;          /* the least address at which it runs */
	uint64_t align;        /* a power of two */
	uint64_t loaded;       /* bytes that are put there */
	uint64_t room;         /* bytes that it takes from where it runs */
	uint64_t initrd_limit; /* one past the highest byte of an initrd */
	uint64_t wish; /* where it would rather be, if that can be had; 0: as low as can be */
};

struct linux_place {
	uint64_t kernel;   /* where it is put */
	uint64_t room_end; /* it may use all from there up to here */
	uint64_t initrd;
	uint64_t initrd_len; /* 0: none */
};

/*
 * Finds the place, and sets the plan's least_memory; adds no piece. As low as the kernel may be,
 * with the initrd as high as it may.
 */
int linux_place(struct plan *plan, const struct linux_needs *needs, struct linux_place *p,
		struct err *err);

/*
 * Adds what a kernel of @bz is handed: boot_params, the command line, the initrds, the segments.
 * Registers are those of boot.rst, "32-bit Boot Protocol" and "64-bit Boot Protocol".
 */
int linux_params(struct plan *plan, const struct bzimage *bz, const struct linux_place *p,
		 enum cpu_mode mode, struct err *err);

/* -EINVAL when there are boot modules, which Linux has no use for. */
int linux_no_modules(const struct plan *plan, struct err *err);

#endif
