/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a Linux kernel and its initrd go. Pure arithmetic.
 */
#include <stdio.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/e820.h"
#include "skep/err.h"
#include "skep/gmem.h"

#include "image.h"
#include "linux.h"

#define PAGE KIB(4)

/*
 * Sets kernel and room_end when the kernel can go into RAM [lo, hi).
 *
 * Not below where it wants to run: boot.rst has a relocatable kernel run from where it is loaded,
 * but Linux takes pref_address for the least it may be (arch/x86/boot/compressed/head_64.S and
 * head_32.S, LOAD_PHYSICAL_ADDR), and would move itself to it, whether there is RAM or not.
 */
static bool kernel_fits(const struct linux_needs *n, uint64_t lo, uint64_t hi,
			struct linux_place *p)
{
	if (n->relocatable) {
		p->kernel = align_up(MAX(n->run, lo), n->align);
		p->room_end = p->kernel + MAX(n->room, n->loaded);
	} else if (n->unpacked) {
		p->kernel = n->run;
		p->room_end = n->run + n->room;
	} else {
		/* Loaded at 1 MiB, it moves itself to where it wants to run. */
		p->kernel = MIB(1);
		p->room_end = MAX(n->run + n->room, p->kernel + n->loaded);
	}
	return p->kernel >= lo && p->room_end <= hi;
}

static int place_kernel(const struct plan *plan, const struct linux_needs *n, struct linux_place *p,
			struct err *err)
{
	const struct e820 *map = plan->req->memory;

	for (unsigned int i = 0; i < map->count; i++) {
		const struct e820_entry *e = &map->entries[i];

		if (e->type == E820_RAM &&
		    kernel_fits(n, e->gpa, MIN(e->gpa + e->len, GMEM_HOLE_END), p))
			return 0;
	}
	kernel_fits(n, 0, UINT64_MAX, p);
	return plan_no_room(plan, image_label(plan->req->kernel), p->room_end, err);
}

/* The highest page in [lo, hi) from which @len bytes are free of the kernel; 0: none. */
static uint64_t highest_fit(uint64_t lo, uint64_t hi, uint64_t len, const struct linux_place *p)
{
	uint64_t at;

	lo = MAX(lo, MIB(1));
	if (hi < lo || hi - lo < len)
		return 0;
	at = align_down(hi - len, PAGE);
	if (ranges_overlap(at, len, p->kernel, p->room_end - p->kernel)) {
		if (p->kernel < lo || p->kernel - lo < len)
			return 0;
		at = align_down(p->kernel - len, PAGE);
	}
	return at >= lo ? at : 0;
}

/* A PC's RAM has no gaps from 1 MiB on: what fits there and then decides how much there must be. */
static uint64_t least_on_pc(const struct linux_needs *n, uint64_t initrd_len)
{
	struct linux_place pc;

	kernel_fits(n, 0, UINT64_MAX, &pc);
	if (initrd_len && !highest_fit(0, MIN(pc.room_end, n->initrd_limit), initrd_len, &pc)) {
		if (!highest_fit(0, n->initrd_limit, initrd_len, &pc))
			return UINT64_MAX;
		pc.room_end += align_up(initrd_len, PAGE);
	}
	return pc.room_end;
}

static bool find_initrd(const struct plan *plan, const struct linux_needs *n, struct linux_place *p)
{
	const struct e820 *map = plan->req->memory;

	p->initrd = 0;
	for (unsigned int i = map->count; p->initrd_len && !p->initrd && i--;) {
		const struct e820_entry *e = &map->entries[i];

		if (e->type == E820_RAM)
			p->initrd = highest_fit(e->gpa, MIN(e->gpa + e->len, n->initrd_limit),
						p->initrd_len, p);
	}
	return p->initrd || !p->initrd_len;
}

static int place_initrd(struct plan *plan, const struct linux_needs *n, struct linux_place *p,
			struct err *err)
{
	char what[128];

	if (find_initrd(plan, n, p))
		return 0;
	snprintf(what, sizeof(what), "the initrd of %llu MiB beside the kernel's %llu MiB",
		 mib_up(p->initrd_len), mib_up(p->room_end - p->kernel));
	if (plan->least_memory == UINT64_MAX)
		return err_set(err, EFBIG,
			       "%s does not fit below 0x%llx, where %s wants it to end; make the "
			       "initrd smaller",
			       what, (unsigned long long)n->initrd_limit,
			       image_label(plan->req->kernel));
	return plan_no_room(plan, what, plan->least_memory, err);
}

static int sum_initrds(const struct boot_request *req, struct linux_place *p, struct err *err)
{
	for (unsigned int i = 0; i < req->initrd_count; i++) {
		/* Neither term of the sum comes near to wrapping: file sizes are signed. */
		p->initrd_len += align_up(boot_image_size(req->initrds[i]), 4);
		if (p->initrd_len > UINT32_MAX)
			return err_set(err, EFBIG,
				       "%s makes the initrd larger than the 4 GiB that Linux takes",
				       image_label(req->initrds[i]));
	}
	return 0;
}

/* Whether all of it can be where the kernel would rather be. */
static bool place_as_wished(const struct plan *plan, const struct linux_needs *n,
			    struct linux_place *p)
{
	struct linux_place wish = *p;

	if (!n->wish || !e820_is(plan->req->memory, n->wish, n->room, E820_RAM))
		return false;
	wish.kernel = n->wish;
	wish.room_end = n->wish + n->room;
	if (!find_initrd(plan, n, &wish))
		return false;
	*p = wish;
	return true;
}

int linux_place(struct plan *plan, const struct linux_needs *n, struct linux_place *p,
		struct err *err)
{
	int ret;

	*p = (struct linux_place){0};
	ret = sum_initrds(plan->req, p, err);
	if (ret)
		return ret;
	plan->least_memory = least_on_pc(n, p->initrd_len);
	if (!place_as_wished(plan, n, p)) {
		ret = place_kernel(plan, n, p, err);
		if (!ret)
			ret = place_initrd(plan, n, p, err);
	}
	if (!ret)
		plan->least_memory = align_up(plan->least_memory, MIB(1));
	return ret;
}
