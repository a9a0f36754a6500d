/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loader against hostile kernels, by one protocol (PROTOCOL, at compile time): whatever the
 * bytes are, it is either a sentence, or everything lies in RAM and nothing over anything else.
 * ASan has the file in a block of just its size, and guest memory between guards.
 */
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/cpu.h"
#include "skep/e820.h"
#include "skep/err.h"
#include "skep/gmem.h"

#define MEMORY MIB(32)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct rig {
	struct gmem *mem;
	struct e820 map;
	struct boot_image *initrd;
	struct boot_module module;
};

static void must(bool good)
{
	if (!good)
		abort();
}

static struct rig *rig_make(void)
{
	static struct rig r;
	const struct gmem_options options = {.size = MEMORY};
	const struct gmem_region *regions;
	unsigned int count;

	if (r.mem)
		return &r;
	must(!gmem_create(&r.mem, &options, NULL));
	count = gmem_regions(r.mem, &regions);
	must(!e820_build(&r.map, regions, count, NULL));
	must(!boot_open_memory(&r.initrd, "initrd", "rd", "0707", 5, NULL));
	must(!boot_open_memory(&r.module.img, "module", "m", "honey", 6, NULL));
	r.module.cmdline = "a module's";
	return &r;
}

static void check(const struct boot_layout *l, const struct e820 *map)
{
	uint64_t last = 0;

	must(l->count > 0 && l->count <= BOOT_PIECES_MAX);
	for (unsigned int i = 0; i < l->count; i++) {
		const struct boot_piece *p = &l->pieces[i];

		must(p->len > 0 && p->gpa >= last);
		last = p->gpa + p->len;
		must(last > p->gpa && last <= MEMORY);
		/* A BIOS is where RAM is not. */
		must(e820_is(map, p->gpa, p->len, E820_RAM) ||
		     (p->gpa >= KIB(640) && last <= MIB(1)));
	}
	must(l->least_memory % MIB(1) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const bool flat = !strcmp(PROTOCOL, "flat"), elf = !strcmp(PROTOCOL, "elf");
	/* Where an option has no effect, it is refused. */
	const struct boot_options options = {
		.protocol = PROTOCOL,
		.cache = "off",
		.at = flat || (elf && size >> 3 & 1) ? MIB(1) : 0,
		.mode = flat ? (unsigned int)(size >> 3) % 3 : 0,
		.handoff = elf ? (unsigned int)(size >> 4) % 3 : 0,
	};
	struct rig *r = rig_make();
	struct boot_request req = {
		.options = &options,
		.memory = &r->map,
		.cmdline = "fuzz",
		.text_screen = size & 1,
	};
	struct boot_layout layout;
	struct boot_info info;
	struct boot_image *img;
	struct cpu_entry entry;
	struct err err = {.text = ""};

	if (boot_open_memory(&img, "kernel", "fuzz", data, size, &err))
		return 0;
	req.kernel = img;
	req.initrds = (const struct boot_image *const *)&r->initrd;
	req.initrd_count = size >> 1 & 1;
	req.modules = &r->module;
	req.module_count = size >> 2 & 1;
	boot_examine(&req, &info, &err);
	if (!boot_load(&req, r->mem, &entry, &layout, &err))
		check(&layout, &r->map);
	else
		must(err.text[0]);
	boot_close(img);
	return 0;
}
