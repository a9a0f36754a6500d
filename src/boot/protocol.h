/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * protocol - a way to boot a kernel. There is one constant record for each, listed in boot.c.
 */
#ifndef BOOT_PROTOCOL_H
#define BOOT_PROTOCOL_H

#include "skep/bits.h"
#include "skep/err.h"

#include "bzimage.h"
#include "elf.h"
#include "plan.h"

/*
 * As much of a file's beginning as any protocol looks at: twice as much as a Multiboot2 header may
 * reach into it (3.1), to be able to say that one is too far behind.
 */
#define KERNEL_HEAD KIB(64)

/* A kernel image, looked at once for all protocols. */
struct kernel {
	const struct boot_image *img;
	const struct boot_request *req;
	size_t head_len;
	uint8_t head[KERNEL_HEAD];
	/* Each 0 when it can be used; -ENOEXEC and the sentence when it is damaged, or is nothing
	 * of the kind at all. */
	bool is_bzimage, is_elf; /* by their magic numbers */
	int bzimage_ret, elf_ret;
	struct err bzimage_err, elf_err;
	struct bzimage bzimage;
	struct elf elf;
};

struct protocol {
	const char *name;
	const char *words;
	bool by_name_only; /* for images that say nothing of themselves */
	/* Which options it has a use for, of those that most have not; others are refused. */
	bool takes_at, takes_mode, takes_handoff;
	/*
	 * Whether the image is of the kind; *@why is static text, "it has a setup header". An image
	 * of the kind may still be damaged: that is plan()'s to say.
	 */
	bool (*recognises)(const struct kernel *k, const char **why);
	/* -ENOSYS or -ENOTSUP from here or from what the plan calls later: another may do better.
	 */
	int (*plan)(struct plan *plan, struct err *err);
	/* What a person would want to know of an image of the kind; may be NULL. */
	void (*describe)(const struct kernel *k, struct boot_info *info);
};

/* Adds a fact; more than there is room for are left out. */
void boot_fact(struct boot_info *info, const char *label, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

extern const struct protocol linux_protocol;
extern const struct protocol linux64_protocol;
extern const struct protocol linux32_protocol;
extern const struct protocol multiboot2_protocol;
extern const struct protocol multiboot_protocol;
extern const struct protocol elf_protocol;
extern const struct protocol bootsector_protocol;
extern const struct protocol flat_protocol;
extern const struct protocol pvh_protocol;

#endif
