/* SPDX-License-Identifier: BSD-2-Clause */
#include <asm/bootparam.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/cpu.h"
#include "skep/e820.h"
#include "skep/err.h"
#include "skep/gmem.h"

#include "bzimage.h"
#include "image.h"
#include "place.h"

/* boot.rst, type_of_loader: a loader without an assigned number. */
#define LOADER_UNDEFINED 0xff
/* boot.rst, "Special Command Line Options": vga=normal. */
#define VIDEO_NORMAL 0xffff

_Static_assert(sizeof(struct boot_params) == 4096, "boot_params is one page");
_Static_assert(offsetof(struct boot_params, hdr) == SETUP_HEADER_START, "setup header moved");
_Static_assert(E820_MAX == E820_MAX_ENTRIES_ZEROPAGE, "a map fits into boot_params");

static void add_piece(struct boot_layout *l, const char *name, uint64_t gpa, uint64_t len)
{
	unsigned int at = l->count;

	if (!len)
		return;
	bug_on(l->count == BOOT_PIECES_MAX);
	for (; at && l->pieces[at - 1].gpa > gpa; at--)
		l->pieces[at] = l->pieces[at - 1];
	l->pieces[at] = (struct boot_piece){.name = name, .gpa = gpa, .len = len};
	l->count++;
}

static void describe(const struct bzimage *bz, const struct placement *p, struct boot_layout *l)
{
	const uint64_t kernel_end = p->kernel + bz->info.code_size;

	*l = (struct boot_layout){.entry = p->kernel, .least_memory = p->least_memory};
	add_piece(l, "descriptor table", GDT_GPA, GDT_ENTRIES * sizeof(uint64_t));
	add_piece(l, "boot parameters", BOOT_PARAMS_GPA, sizeof(struct boot_params));
	add_piece(l, "command line", CMDLINE_GPA, p->cmdline_len);
	add_piece(l, "kernel", p->kernel, bz->info.code_size);
	add_piece(l, "room for the kernel", kernel_end, p->room_end - kernel_end);
	add_piece(l, "initrd", p->initrd, p->initrd_len);
}

static int plan(const struct boot_request *req, struct bzimage *bz, struct placement *p,
		struct err *err)
{
	int ret = bzimage_read(req->kernel, bz, err);

	return ret ? ret : place_all(req, bz, p, err);
}

int boot_plan(const struct boot_request *req, struct boot_layout *layout, struct err *err)
{
	struct placement p;
	struct bzimage bz;
	int ret = plan(req, &bz, &p, err);

	if (!ret)
		describe(&bz, &p, layout);
	return ret;
}

static int load_initrds(const struct boot_request *req, struct gmem *mem, uint64_t gpa,
			struct err *err)
{
	static const uint8_t zeroes[4];
	int ret = 0;

	for (unsigned int i = 0; !ret && i < req->initrd_count; i++) {
		const struct boot_image *img = req->initrds[i];
		const uint64_t size = boot_image_size(img);

		ret = image_load(img, 0, mem, gpa, size, err);
		if (!ret)
			ret = gmem_write(mem, gpa + size, zeroes, initrd_padded(img) - size);
		gpa += initrd_padded(img);
	}
	return ret;
}

/*
 * boot.rst, "32-bit Boot Protocol": a page of zeroes, into it the setup header and nothing else of
 * the file, then what the loader has to say. screen_info stays zero: no VGA, no text console.
 */
static void fill_boot_params(const struct boot_request *req, const struct bzimage *bz,
			     const struct placement *p, struct boot_params *bp)
{
	memset(bp, 0, sizeof(*bp));
	memcpy((uint8_t *)bp + SETUP_HEADER_START, bz->header, bz->header_len);
	bp->hdr.type_of_loader = LOADER_UNDEFINED;
	bp->hdr.vid_mode = VIDEO_NORMAL;
	bp->hdr.code32_start = (uint32_t)p->kernel;
	bp->hdr.cmd_line_ptr = (uint32_t)CMDLINE_GPA;
	bp->hdr.ramdisk_image = (uint32_t)p->initrd;
	bp->hdr.ramdisk_size = (uint32_t)p->initrd_len;
	bp->hdr.setup_data = 0;
	bp->acpi_rsdp_addr = req->rsdp;
	bp->e820_entries = (uint8_t)req->memory->count;
	for (unsigned int i = 0; i < req->memory->count; i++) {
		bp->e820_table[i].addr = req->memory->entries[i].gpa;
		bp->e820_table[i].size = req->memory->entries[i].len;
		bp->e820_table[i].type = req->memory->entries[i].type;
	}
}

static int load_parameters(const struct boot_request *req, const struct bzimage *bz,
			   const struct placement *p, struct gmem *mem, struct err *err)
{
	/* Flat 4 GiB segments: code, execute and read, at 10h; data, read and write, at 18h. */
	static const uint64_t gdt[GDT_ENTRIES] = {
		[2] = 0x00cf9b000000ffff,
		[3] = 0x00cf93000000ffff,
	};
	struct boot_params bp;

	fill_boot_params(req, bz, p, &bp);
	if (gmem_write(mem, GDT_GPA, gdt, sizeof(gdt)) ||
	    gmem_write(mem, BOOT_PARAMS_GPA, &bp, sizeof(bp)) ||
	    gmem_write(mem, CMDLINE_GPA, req->cmdline ? req->cmdline : "", p->cmdline_len))
		return err_set(err, EFAULT, "guest memory below 640 KiB is not what its map says");
	return 0;
}

int boot_load(const struct boot_request *req, struct gmem *mem, struct cpu_entry *entry,
	      struct boot_layout *layout, struct err *err)
{
	struct placement p;
	struct bzimage bz;
	int ret;

	ret = plan(req, &bz, &p, err);
	if (!ret)
		ret = image_load(req->kernel, bz.info.setup_size, mem, p.kernel, bz.info.code_size,
				 err);
	if (!ret)
		ret = load_initrds(req, mem, p.initrd, err);
	if (!ret)
		ret = load_parameters(req, &bz, &p, mem, err);
	if (ret)
		return ret;
	/* boot.rst, "32-bit Boot Protocol": ESI has boot_params; EBP, EDI and EBX are zero. */
	*entry = (struct cpu_entry){
		.mode = CPU_PROT32,
		.rip = p.kernel,
		.rsp = BOOT_PARAMS_GPA,
		.rsi = BOOT_PARAMS_GPA,
		.gdt = GDT_GPA,
		.gdt_limit = GDT_ENTRIES * sizeof(uint64_t) - 1,
	};
	if (layout)
		describe(&bz, &p, layout);
	return 0;
}
