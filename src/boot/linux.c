/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux by its boot document (boot.rst): a bzImage that unpacks itself, entered in 32-bit or in
 * 64-bit mode.
 */
#include <asm/bootparam.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/gmem.h"

#include "image.h"
#include "linux.h"
#include "paging.h"

/* boot.rst, "64-bit Boot Protocol": the entry is this far into the protected-mode part. */
#define ENTRY64 0x200

int linux_no_modules(const struct plan *plan, struct err *err)
{
	if (!plan->req->module_count)
		return 0;
	return err_set(
		err, EINVAL,
		"%s is a Linux kernel, which takes no boot modules; give it an initrd with -i",
		image_label(plan->req->kernel));
}

static int plan_self_unpacking(struct plan *plan, enum cpu_mode mode, struct err *err)
{
	const struct kernel *k = plan->kernel;
	const struct bzimage *bz = &k->bzimage;
	const struct linux_needs needs = {
		.relocatable = bz->relocatable,
		.run = MAX(bz->pref_address, MIB(1)),
		.align = bz->relocatable ? bz->kernel_alignment : 1,
		.loaded = bz->code_size,
		.room = bz->init_size,
		/* boot.rst, initrd_addr_max: the highest byte that may be used. */
		.initrd_limit = MIN((uint64_t)bz->initrd_addr_max + 1, GMEM_HOLE_END),
	};
	struct linux_place p = {0};
	uint64_t end;
	int ret;

	if (k->bzimage_ret) {
		*err = k->bzimage_err;
		return k->bzimage_ret;
	}
	ret = linux_no_modules(plan, err);
	if (!ret)
		ret = linux_place(plan, &needs, &p, err);
	if (!ret)
		ret = linux_params(plan, bz, &p, mode, err);
	if (!ret)
		ret = plan_file(plan, "kernel", p.kernel, bz->code_size, k->img, bz->setup_size,
				bz->code_size, err);
	end = p.kernel + bz->code_size;
	if (!ret)
		ret = plan_room(plan, "room for the kernel", end, p.room_end - end, err);
	plan->entry.rip = p.kernel;
	plan->unpacks_itself = bz->payload_length;
	return ret;
}

static bool has_header(const struct kernel *k, const char **why)
{
	*why = k->is_bzimage ? "it has a setup header" : "it has no setup header of Linux";
	return k->is_bzimage;
}

static int plan32(struct plan *plan, struct err *err)
{
	return plan_self_unpacking(plan, CPU_PROT32, err);
}

static bool enters_64(const struct kernel *k, const char **why)
{
	if (!has_header(k, why))
		return false;
	*why = "its setup header says that it has a 64-bit entry";
	if (k->bzimage.xloadflags & XLF_KERNEL_64)
		return true;
	*why = "its setup header (xloadflags) has no 64-bit entry";
	return false;
}

static int plan64(struct plan *plan, struct err *err)
{
	int ret = plan_self_unpacking(plan, CPU_LONG64, err);

	plan->entry.rip += ENTRY64;
	return ret ? ret : paging_plan(plan, NULL, true, err);
}

static void describe(const struct kernel *k, struct boot_info *info)
{
	bzimage_describe(k->img, &k->bzimage, info);
}

const struct protocol linux64_protocol = {
	.name = "linux64",
	.words = "the 64-bit Linux boot protocol, unpacking itself",
	.recognises = enters_64,
	.plan = plan64,
};

const struct protocol linux32_protocol = {
	.name = "linux32",
	.words = "the 32-bit Linux boot protocol, unpacking itself",
	.recognises = has_header,
	.plan = plan32,
	.describe = describe,
};
