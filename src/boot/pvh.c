/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PVH, Xen's way into a kernel without any other loader (Xen, docs/misc/pvh.pandoc, and
 * xen/include/public/arch-x86/hvm/start_info.h): a note in an ELF file names a 32-bit entry, and
 * EBX points at a structure that says what memory there is and what was loaded.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/e820.h"
#include "skep/gmem.h"

#include "image.h"
#include "protocol.h"

#define NOTE_PHYS32_ENTRY 18 /* xen/include/public/elfnote.h */

#define START_MAGIC 0x336ec578

struct start_info {
	uint32_t magic;
	uint32_t version; /* 1: it has a memory map */
	uint32_t flags;
	uint32_t module_count;
	uint64_t modules;
	uint64_t cmdline;
	uint64_t rsdp;
	uint64_t map;
	uint32_t map_count;
	uint32_t reserved;
};

struct start_module {
	uint64_t gpa;
	uint64_t size;
	uint64_t cmdline; /* 0: none */
	uint64_t reserved;
};

struct start_range {
	uint64_t gpa;
	uint64_t len;
	uint32_t type;
	uint32_t reserved;
};

#define MODULES_MAX 128

/* All of it as it lies in guest memory, from BOOT_INFO_GPA on, with texts behind. */
struct start {
	struct start_info info;
	struct start_module modules[MODULES_MAX];
	struct start_range map[E820_MAX];
	char texts[KIB(32)];
};

_Static_assert(sizeof(struct start) <= CMDLINE_GPA - BOOT_INFO_GPA, "it has room");
_Static_assert(sizeof(struct start_info) == 56 && sizeof(struct start_module) == 32 &&
		       sizeof(struct start_range) == 24,
	       "start_info.h");

static uint64_t gpa_of(const struct start *s, const void *part)
{
	return BOOT_INFO_GPA + (uint64_t)((const char *)part - (const char *)s);
}

static bool find_entry(const struct kernel *k, uint64_t *entry)
{
	uint8_t desc[8] = {0};
	size_t len;

	if (!k->is_elf || k->elf_ret ||
	    !elf_note(k->img, &k->elf, "Xen", NOTE_PHYS32_ENTRY, desc, sizeof(desc), &len) ||
	    (len != 4 && len != 8))
		return false;
	*entry = len == 4 ? load_le32(desc) : load_le64(desc);
	return true;
}

static bool recognises(const struct kernel *k, const char **why)
{
	uint64_t entry;
	bool found = find_entry(k, &entry);

	*why = found ? "it has a note of PVH's, which names its 32-bit entry"
		     : "it is no ELF file with a note (Xen, 18) that names a 32-bit entry";
	return found;
}

static int add_text(struct start *s, const struct plan *plan, size_t *used, const char *text,
		    uint64_t *gpa, struct err *err)
{
	const size_t len = strlen(text) + 1;

	if (len > sizeof(s->texts) - *used)
		return err_set(err, E2BIG,
			       "%s: the command lines of its modules have more than %zu "
			       "characters",
			       image_label(plan->req->kernel), sizeof(s->texts));
	memcpy(s->texts + *used, text, len);
	*gpa = gpa_of(s, s->texts + *used);
	*used += len;
	return 0;
}

static int place_module(struct plan *plan, const char *name, const struct boot_image *img,
			uint64_t lo, struct start_module *m, struct err *err)
{
	const struct plan_want want = {
		.name = name,
		.lo = lo,
		.hi = GMEM_HOLE_START,
		.len = boot_image_size(img),
		.align = KIB(4),
	};
	int ret = plan_find(plan, &want, &m->gpa, err);

	m->size = want.len;
	return ret ? ret : plan_file(plan, name, m->gpa, want.len, img, 0, want.len, err);
}

/* Behind the kernel, which ends at @lo. The initrds are one module, as Linux takes them, and the
 * first. */
static int add_modules(struct plan *plan, struct start *s, uint64_t lo, struct err *err)
{
	const struct boot_request *req = plan->req;
	struct start_module *m = s->modules;
	size_t used = 0;
	char name[32];
	int ret = 0;

	if (req->initrd_count)
		ret = plan_initrds_from(plan, lo, &m->gpa, &m->size, err);
	m += req->initrd_count ? 1 : 0;
	if (req->module_count >= MODULES_MAX)
		return err_set(err, E2BIG, "%s: more than %d modules", image_label(req->kernel),
			       MODULES_MAX - 1);
	for (unsigned int i = 0; !ret && i < req->module_count; i++, m++) {
		snprintf(name, sizeof(name), "module %u", i + 1);
		ret = place_module(plan, name, req->modules[i].img, lo, m, err);
		if (!ret)
			ret = add_text(s, plan, &used, req->modules[i].cmdline, &m->cmdline, err);
	}
	s->info.module_count = (uint32_t)(m - s->modules);
	s->info.modules = s->info.module_count ? gpa_of(s, s->modules) : 0;
	return ret;
}

static void add_map(const struct plan *plan, struct start *s)
{
	const struct e820 *map = plan->req->memory;

	for (unsigned int i = 0; i < map->count; i++)
		s->map[i] = (struct start_range){
			.gpa = map->entries[i].gpa,
			.len = map->entries[i].len,
			.type = map->entries[i].type,
		};
	s->info.map = gpa_of(s, s->map);
	s->info.map_count = map->count;
}

static int plan_start(struct plan *plan, uint64_t kernel_end, struct err *err)
{
	struct start *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return err_sys(err, ENOMEM, "cannot load %s", image_label(plan->kernel->img));
	s->info.magic = START_MAGIC;
	s->info.version = 1;
	s->info.cmdline = CMDLINE_GPA;
	s->info.rsdp = plan->req->rsdp;
	add_map(plan, s);
	ret = plan_cmdline(plan, CMDLINE_ROOM, err);
	if (!ret)
		ret = add_modules(plan, s, kernel_end, err);
	if (!ret)
		ret = plan_bytes(plan, "start info", BOOT_INFO_GPA, s, sizeof(*s), err);
	free(s);
	return ret;
}

static int plan_pvh(struct plan *plan, struct err *err)
{
	const struct kernel *k = plan->kernel;
	uint64_t lo, hi, entry = 0;
	int ret;

	if (!find_entry(k, &entry) || !elf_span(&k->elf, &lo, &hi) || entry < lo || entry >= hi)
		return err_set(err, ENOEXEC,
			       "%s is damaged: its PVH entry 0x%llx is outside of what is loaded",
			       image_label(k->img), (unsigned long long)entry);
	ret = plan_elf_segments(plan, &k->elf, err);
	if (!ret)
		ret = plan_segments(plan, CPU_PROT32, err);
	if (!ret)
		ret = plan_start(plan, hi, err);
	plan->entry.rip = entry;
	plan->entry.rbx = BOOT_INFO_GPA;
	return ret;
}

static void describe(const struct kernel *k, struct boot_info *info)
{
	uint64_t entry;

	if (find_entry(k, &entry))
		boot_fact(info, "PVH entry", "0x%llx", (unsigned long long)entry);
}

const struct protocol pvh_protocol = {
	.name = "pvh",
	.words = "PVH",
	.recognises = recognises,
	.plan = plan_pvh,
	.describe = describe,
};
