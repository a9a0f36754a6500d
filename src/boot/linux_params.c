/* SPDX-License-Identifier: BSD-2-Clause */
#include <asm/bootparam.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/e820.h"
#include "skep/err.h"

#include "linux.h"

/* boot.rst, type_of_loader: a loader without an assigned number. */
#define LOADER_UNDEFINED 0xff
/* boot.rst, "Special Command Line Options": vga=normal. */
#define VIDEO_NORMAL 0xffff

_Static_assert(sizeof(struct boot_params) == 4096, "boot_params is one page");
_Static_assert(offsetof(struct boot_params, hdr) == SETUP_HEADER_START, "setup header moved");
_Static_assert(E820_MAX == E820_MAX_ENTRIES_ZEROPAGE, "a map fits into boot_params");

/* zero-page.rst, screen_info: a colour text screen as a BIOS leaves it. */
static void describe_screen(struct screen_info *s)
{
	s->orig_video_mode = 3;
	s->orig_video_cols = 80;
	s->orig_video_lines = 25;
	s->orig_video_points = 16;
	s->orig_video_isVGA = 1;
}

/*
 * boot.rst, "32-bit Boot Protocol": a page of zeroes, into it the setup header and nothing else of
 * the file, then what the loader has to say.
 */
static void fill_boot_params(const struct plan *plan, const struct bzimage *bz,
			     const struct linux_place *p, struct boot_params *bp)
{
	const struct e820 *map = plan->req->memory;

	memset(bp, 0, sizeof(*bp));
	memcpy((uint8_t *)bp + SETUP_HEADER_START, bz->header, bz->header_len);
	bp->hdr.type_of_loader = LOADER_UNDEFINED;
	bp->hdr.vid_mode = VIDEO_NORMAL;
	bp->hdr.code32_start = (uint32_t)p->kernel;
	bp->hdr.cmd_line_ptr = (uint32_t)CMDLINE_GPA;
	bp->hdr.ramdisk_image = (uint32_t)p->initrd;
	bp->hdr.ramdisk_size = (uint32_t)p->initrd_len;
	bp->hdr.setup_data = 0;
	if (plan->random)
		bp->hdr.loadflags |= KASLR_FLAG;
	if (plan->req->text_screen)
		describe_screen(&bp->screen_info);
	bp->acpi_rsdp_addr = plan->req->rsdp;
	bp->e820_entries = (uint8_t)map->count;
	for (unsigned int i = 0; i < map->count; i++) {
		bp->e820_table[i].addr = map->entries[i].gpa;
		bp->e820_table[i].size = map->entries[i].len;
		bp->e820_table[i].type = map->entries[i].type;
	}
}

int linux_params(struct plan *plan, const struct bzimage *bz, const struct linux_place *p,
		 enum cpu_mode mode, struct err *err)
{
	struct boot_params bp;
	int ret;

	fill_boot_params(plan, bz, p, &bp);
	ret = plan_segments(plan, mode, err);
	if (!ret)
		ret = plan_bytes(plan, "boot parameters", BOOT_INFO_GPA, &bp, sizeof(bp), err);
	if (!ret)
		ret = plan_cmdline(plan, bz->cmdline_size, err);
	if (!ret)
		ret = plan_initrds(plan, p->initrd, err);
	plan->entry.rsi = BOOT_INFO_GPA;
	plan->entry.rsp = BOOT_INFO_GPA;
	return ret;
}
