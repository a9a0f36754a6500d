/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/e820.h"
#include "skep/err.h"
#include "skep/gmem.h"

#include "image.h"
#include "place.h"

#define PAGE KIB(4)

static unsigned long long mib_up(uint64_t bytes)
{
	return (bytes >> 20) + !!(bytes & (MIB(1) - 1));
}

static int place_low(const struct boot_request *req, const struct boot_info *info,
		     struct placement *p, struct err *err)
{
	const size_t len = req->cmdline ? strlen(req->cmdline) : 0;
	const uint64_t most = MIN((uint64_t)info->cmdline_size, CMDLINE_ROOM - 1);

	if (len > most)
		return err_set(err, E2BIG,
			       "the kernel command line has %zu characters, %s takes %llu at most; "
			       "shorten it",
			       len, image_label(req->kernel), (unsigned long long)most);
	p->cmdline_len = len + 1;
	if (!e820_is(req->memory, GDT_GPA, GDT_ENTRIES * sizeof(uint64_t), E820_RAM) ||
	    !e820_is(req->memory, BOOT_PARAMS_GPA, PAGE, E820_RAM) ||
	    !e820_is(req->memory, CMDLINE_GPA, p->cmdline_len, E820_RAM))
		return err_set(err, ENOMEM,
			       "the guest has no RAM below 640 KiB for the boot parameters of %s",
			       image_label(req->kernel));
	return 0;
}

/* Neither place nor memory: says which of the three reasons it is. */
static int no_room(const struct boot_request *req, const char *what, uint64_t needed,
		   struct err *err)
{
	const uint64_t have = e820_ram_end(req->memory, GMEM_HOLE_END);

	if (needed > GMEM_HOLE_START)
		return err_set(err, ENOMEM,
			       "%s needs %llu MiB of memory below 4 GiB, a guest has %llu at most",
			       what, mib_up(needed), mib_up(GMEM_HOLE_START));
	if (needed > have)
		return err_set(
			err, ENOMEM,
			"%s needs %llu MiB of guest memory, the guest has %llu; give it more: "
			"-m %lluM",
			what, mib_up(needed), mib_up(have), mib_up(needed));
	return err_set(err, ENOMEM, "%s finds no range of guest RAM that is free and large enough",
		       what);
}

/*
 * Sets kernel and room_end when the kernel can go into RAM [lo, hi).
 *
 * Not below pref_address: boot.rst has a relocatable kernel run from where it is loaded, but Linux
 * takes pref_address for the least it may be (arch/x86/boot/compressed/head_64.S and head_32.S,
 * LOAD_PHYSICAL_ADDR), and would move itself to it, whether there is RAM or not.
 */
static bool kernel_fits(const struct boot_info *info, uint64_t lo, uint64_t hi, struct placement *p)
{
	const uint64_t run = MAX(info->pref_address, MIB(1));

	if (info->relocatable) {
		p->kernel = align_up(MAX(run, lo), info->kernel_alignment);
		p->room_end = p->kernel + MAX((uint64_t)info->init_size, info->code_size);
	} else {
		/* Loaded at 1 MiB, it moves itself to where it wants to run. */
		p->kernel = MIB(1);
		p->room_end = MAX(run + info->init_size, p->kernel + info->code_size);
	}
	return p->kernel >= lo && p->room_end <= hi;
}

static int place_kernel(const struct boot_request *req, const struct boot_info *info,
			struct placement *p, struct err *err)
{
	for (unsigned int i = 0; i < req->memory->count; i++) {
		const struct e820_entry *e = &req->memory->entries[i];

		if (e->type == E820_RAM &&
		    kernel_fits(info, e->gpa, MIN(e->gpa + e->len, GMEM_HOLE_END), p))
			return 0;
	}
	kernel_fits(info, 0, UINT64_MAX, p);
	return no_room(req, image_label(req->kernel), p->room_end, err);
}

/* The highest page in [lo, hi) from which @len bytes are free of the kernel; 0: none. */
static uint64_t highest_fit(uint64_t lo, uint64_t hi, uint64_t len, const struct placement *p)
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
static uint64_t least_on_pc(const struct boot_info *info, uint64_t initrd_len, uint64_t limit)
{
	struct placement pc;

	kernel_fits(info, 0, UINT64_MAX, &pc);
	if (initrd_len && !highest_fit(0, MIN(pc.room_end, limit), initrd_len, &pc)) {
		if (!highest_fit(0, limit, initrd_len, &pc))
			return UINT64_MAX;
		pc.room_end += align_up(initrd_len, PAGE);
	}
	return pc.room_end;
}

static int place_initrd(const struct boot_request *req, const struct boot_info *info,
			struct placement *p, struct err *err)
{
	/* boot.rst, initrd_addr_max: the highest byte that may be used. */
	const uint64_t limit = MIN((uint64_t)info->initrd_addr_max + 1, GMEM_HOLE_END);
	char what[128];

	p->least_memory = least_on_pc(info, p->initrd_len, limit);
	for (unsigned int i = req->memory->count; p->initrd_len && i--;) {
		const struct e820_entry *e = &req->memory->entries[i];

		if (e->type != E820_RAM)
			continue;
		p->initrd = highest_fit(e->gpa, MIN(e->gpa + e->len, limit), p->initrd_len, p);
		if (p->initrd)
			break;
	}
	if (p->initrd || !p->initrd_len)
		return 0;
	snprintf(what, sizeof(what), "the initrd of %llu MiB beside the kernel's %llu MiB",
		 mib_up(p->initrd_len), mib_up(p->room_end - p->kernel));
	if (p->least_memory == UINT64_MAX)
		return err_set(err, EFBIG,
			       "%s does not fit below 0x%llx, where %s wants it to end; make the "
			       "initrd smaller",
			       what, (unsigned long long)limit, image_label(req->kernel));
	return no_room(req, what, p->least_memory, err);
}

static int sum_initrds(const struct boot_request *req, struct placement *p, struct err *err)
{
	for (unsigned int i = 0; i < req->initrd_count; i++) {
		/* Neither term of the sum comes near to wrapping: file sizes are signed. */
		p->initrd_len += initrd_padded(req->initrds[i]);
		if (p->initrd_len > UINT32_MAX)
			return err_set(err, EFBIG,
				       "%s makes the initrd larger than the 4 GiB that Linux takes",
				       image_label(req->initrds[i]));
	}
	return 0;
}

int place_all(const struct boot_request *req, const struct bzimage *bz, struct placement *p,
	      struct err *err)
{
	const struct boot_info *info = &bz->info;
	int ret;

	*p = (struct placement){0};
	ret = place_low(req, info, p, err);
	if (!ret)
		ret = sum_initrds(req, p, err);
	if (!ret)
		ret = place_kernel(req, info, p, err);
	if (!ret)
		ret = place_initrd(req, info, p, err);
	if (!ret)
		p->least_memory = align_up(p->least_memory, MIB(1));
	return ret;
}
