/* SPDX-License-Identifier: BSD-2-Clause */
#include <asm/bootparam.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/e820.h"
#include "skep/err.h"
#include "skep/gmem.h"

#include "handoff.h"
#include "image.h"
#include "linux.h"
#include "multiboot_common.h"

#define PAGE KIB(4)

/* The latest version of the header that boot.rst has. */
#define HEADER_VERSION 0x020f

/* Linux's setup header as a kernel would have it that has none of its own (boot.rst). */
static void make_header(struct bzimage *bz)
{
	const struct setup_header h = {
		.boot_flag = 0xaa55,
		.header = 0x53726448, /* "HdrS" */
		.version = HEADER_VERSION,
		.loadflags = LOADED_HIGH,
		.initrd_addr_max = UINT32_MAX,
		.kernel_alignment = (uint32_t)PAGE,
		.cmdline_size = (uint32_t)CMDLINE_ROOM - 1,
	};

	*bz = (struct bzimage){
		.cmdline_size = h.cmdline_size,
		.header_len = sizeof(h),
	};
	_Static_assert(sizeof(h) <= sizeof(bz->header), "a header has room for its fields");
	memcpy(bz->header, &h, sizeof(h));
}

/* Behind the kernel, as high as that has any of its pieces. */
static int place_initrd(const struct plan *plan, struct linux_place *p, struct err *err)
{
	struct plan_want want = {
		.name = "the initrd",
		.lo = E820_HIGH_RAM_BASE,
		.hi = GMEM_HOLE_END,
		.align = PAGE,
	};

	p->initrd_len = plan_initrds_len(plan);
	if (!p->initrd_len)
		return 0;
	for (unsigned int i = 0; i < plan->count; i++)
		if (plan->pieces[i].gpa < GMEM_HOLE_START)
			want.lo = MAX(want.lo, plan->pieces[i].gpa + plan->pieces[i].len);
	want.len = p->initrd_len;
	return plan_find(plan, &want, &p->initrd, err);
}

static int hand_params(struct plan *plan, enum cpu_mode mode, struct err *err)
{
	struct linux_place place = {0};
	struct bzimage bz;
	int ret;

	if (plan->req->module_count)
		return err_set(err, EINVAL,
			       "%s is handed Linux's boot_params, which name no boot modules; give "
			       "it an initrd with -i",
			       image_label(plan->kernel->img));
	make_header(&bz);
	place.kernel = plan->entry_gpa ? plan->entry_gpa : plan->entry.rip;
	ret = place_initrd(plan, &place, err);
	return ret ? ret : linux_params(plan, &bz, &place, mode, err);
}

/* As version 1 has it, but for the mode of a 64-bit kernel. */
static int hand_multiboot(struct plan *plan, enum cpu_mode mode, struct err *err)
{
	int ret = plan_segments(plan, mode, err);

	return ret ? ret : multiboot_inform(plan, err);
}

static int hand_nothing(struct plan *plan, enum cpu_mode mode, struct err *err)
{
	const struct boot_request *req = plan->req;

	if (req->initrd_count || req->module_count)
		return err_set(err, EINVAL,
			       "%s is handed nothing (handoff=none) and would not hear of the %s",
			       image_label(req->kernel), req->initrd_count ? "initrd" : "module");
	return plan_segments(plan, mode, err);
}

int handoff_plan(struct plan *plan, enum cpu_mode mode, struct err *err)
{
	int ret = -EINVAL;

	switch (plan->options->handoff) {
	case BOOT_HANDOFF_MULTIBOOT:
		ret = hand_multiboot(plan, mode, err);
		break;
	case BOOT_HANDOFF_PARAMS:
		ret = hand_params(plan, mode, err);
		break;
	case BOOT_HANDOFF_NONE:
		ret = hand_nothing(plan, mode, err);
		break;
	}
	return ret ? ret : plan_stack(plan, err);
}
