/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file without a format: put where a person says, and entered at its first byte in the mode that
 * they say. Nothing is handed to it but registers: flat segments or, in real mode, one segment for
 * everything, a stack, interrupts off.
 */
#include <string.h>

#include "skep/bits.h"
#include "skep/e820.h"
#include "skep/err.h"

#include "image.h"
#include "paging.h"
#include "protocol.h"

/*
 * Real mode reaches 1 MiB in segments of 64 KiB. In the first of them a file keeps its address, and
 * the stack is below it, as below a boot sector; elsewhere the segment starts with the file, and
 * the stack is at its end.
 */
static int enter_real(struct plan *plan, uint64_t at, struct err *err)
{
	if (at >= E820_HIGH_RAM_BASE)
		return err_set(err, EINVAL,
			       "%s cannot be entered in real mode at 0x%llx, which is not below "
			       "1 MiB",
			       image_label(plan->kernel->img), (unsigned long long)at);
	plan->entry.mode = CPU_REAL16;
	plan->entry.segment = (uint16_t)(at < KIB(64) ? 0 : at >> 4);
	plan->entry.rip = at < KIB(64) ? at : at & 15;
	plan->entry.rsp = at < KIB(64) ? align_down(at, 16) : 0;
	plan->entry_gpa = at;
	return 0;
}

static int enter_protected(struct plan *plan, uint64_t at, enum cpu_mode mode, struct err *err)
{
	int ret;

	if (at >= GIB(4))
		return err_set(err, EINVAL,
			       "%s cannot be entered at 0x%llx, which is not below "
			       "4 GiB",
			       image_label(plan->kernel->img), (unsigned long long)at);
	plan->entry.rip = at;
	ret = plan_segments(plan, mode, err);
	if (!ret)
		ret = plan_stack(plan, err);
	if (!ret && mode == CPU_LONG64)
		ret = paging_plan(plan, NULL, true, err);
	return ret;
}

static int plan_flat(struct plan *plan, struct err *err)
{
	const struct boot_request *req = plan->req;
	const struct boot_image *img = plan->kernel->img;
	const uint64_t at = plan->options->at, len = boot_image_size(img);
	int ret;

	if (!at)
		return err_set(err, EINVAL,
			       "%s does not say where it goes; say it: --protocol flat,at=0x100000",
			       image_label(img));
	if (req->initrd_count || req->module_count)
		return err_set(err, EINVAL,
			       "%s is booted as a flat file and would not hear of the %s",
			       image_label(img), req->initrd_count ? "initrd" : "module");
	ret = plan_file(plan, "file", at, len, img, 0, len, err);
	if (ret)
		return ret;
	switch (plan->options->mode) {
	case BOOT_REAL16:
		return enter_real(plan, at, err);
	case BOOT_LONG64:
		return enter_protected(plan, at, CPU_LONG64, err);
	}
	return enter_protected(plan, at, CPU_PROT32, err);
}

static bool asked_for(const struct kernel *k, const char **why)
{
	const char *name = k->req->options ? k->req->options->protocol : NULL;

	*why = "any file is, when it is asked for";
	return name && !strcmp(name, flat_protocol.name);
}

const struct protocol flat_protocol = {
	.name = "flat",
	.words = "as a flat file, put where at= says",
	.by_name_only = true,
	.takes_at = true,
	.takes_mode = true,
	.recognises = asked_for,
	.plan = plan_flat,
};
