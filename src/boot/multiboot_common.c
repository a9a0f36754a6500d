/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Section numbers are those of the Multiboot Specification 0.6.96 ("1, …") and of the Multiboot2
 * Specification 2.0 ("2, …"). Where both leave something open, it is as GRUB does it.
 */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/e820.h"
#include "skep/gmem.h"

#include "image.h"
#include "multiboot_common.h"

#define PAGE KIB(4)
/* What is below, a BIOS keeps for itself. */
#define LOWEST PAGE

/* A header is known by its magic number, and by words that sum to 0, that being the first. */
static const struct header_kind {
	const char *name;
	uint32_t magic;
	uint32_t words;
	uint32_t align;
	uint32_t reach;
	const char *there, *damaged, *missing;
} kinds[] = {
	/* 1, 3.1 */
	[MULTIBOOT_1] = {"Multiboot", 0x1badb002, 3, 4, MULTIBOOT_1_REACH,
			 "it has a Multiboot header", "it has a damaged Multiboot header",
			 "it has no Multiboot header"},
	/* 2, 3.1 */
	[MULTIBOOT_2] = {"Multiboot2", 0xe85250d6, 4, 8, MULTIBOOT_2_REACH,
			 "it has a Multiboot2 header", "it has a damaged Multiboot2 header",
			 "it has no Multiboot2 header"},
};

/* In this order, the better ones last. */
enum header_state {
	HEADER_ABSENT,
	HEADER_BAD_SUM,
	HEADER_TOO_FAR,
	HEADER_MISALIGNED,
	HEADER_GOOD,
};

static enum header_state state_at(const struct header_kind *kind, const uint8_t *head, size_t at)
{
	uint32_t sum = 0;

	if (load_le32(head + at) != kind->magic)
		return HEADER_ABSENT;
	for (uint32_t i = 0; i < kind->words; i++)
		sum += load_le32(head + at + 4 * (size_t)i);
	if (at + 4 * (size_t)kind->words > kind->reach)
		return sum ? HEADER_ABSENT : HEADER_TOO_FAR;
	if (at % kind->align)
		return sum ? HEADER_ABSENT : HEADER_MISALIGNED;
	return sum ? HEADER_BAD_SUM : HEADER_GOOD;
}

/* The first of the best. */
static enum header_state find(const struct kernel *k, enum multiboot_version version, uint32_t *at)
{
	const struct header_kind *kind = &kinds[version];
	enum header_state best = HEADER_ABSENT;

	for (size_t i = 0; best != HEADER_GOOD && i + 4 * (size_t)kind->words <= k->head_len; i++) {
		enum header_state state = state_at(kind, k->head, i);

		if (state <= best)
			continue;
		best = state;
		*at = (uint32_t)i;
	}
	return best;
}

bool multiboot_recognises(const struct kernel *k, enum multiboot_version version, const char **why)
{
	uint32_t at;
	enum header_state state = find(k, version, &at);

	*why = state == HEADER_GOOD ? kinds[version].there
	       : state              ? kinds[version].damaged
				    : kinds[version].missing;
	/* A magic number alone may be there by chance, and the other version's header not. */
	if (state != HEADER_GOOD && version == MULTIBOOT_2 && find(k, MULTIBOOT_1, &at))
		return false;
	return state != HEADER_ABSENT;
}

int multiboot_header(const struct kernel *k, enum multiboot_version version, uint32_t *at,
		     struct err *err)
{
	const struct header_kind *kind = &kinds[version];
	const char *label = image_label(k->img);
	uint32_t sum = 0;

	switch (find(k, version, at)) {
	case HEADER_GOOD:
		return 0;
	case HEADER_ABSENT:
		return err_set(err, ENOEXEC, "%s has no %s header", label, kind->name);
	case HEADER_TOO_FAR:
		return err_set(err, ENOEXEC,
			       "%s has its %s header at 0x%x, but it must lie within the first %u "
			       "bytes of the file; link it further to the front",
			       label, kind->name, *at, kind->reach);
	case HEADER_MISALIGNED:
		return err_set(err, ENOEXEC,
			       "%s has its %s header at 0x%x, but it must be at a multiple of %u",
			       label, kind->name, *at, kind->align);
	case HEADER_BAD_SUM:
		break;
	}
	for (uint32_t i = 0; i + 1 < kind->words; i++)
		sum += load_le32(k->head + *at + 4 * (size_t)i);
	return err_set(err, ENOEXEC,
		       "%s is damaged: the checksum of its %s header at 0x%x is 0x%x, not 0x%x",
		       label, kind->name, *at,
		       load_le32(k->head + *at + 4 * (size_t)(kind->words - 1)), -sum);
}

static void add_part(struct multiboot_image *im, const struct multiboot_part *part)
{
	im->parts[im->part_count++] = *part;
	im->lo = MIN(im->lo, part->gpa);
	im->hi = MAX(im->hi, part->gpa + part->len);
}

/* 1, 3.1.3 and 2, 3.1.5: the addresses of a header say where the file goes. */
static int image_by_header(const struct kernel *k, struct multiboot_image *im, struct err *err)
{
	const char *label = image_label(k->img);
	const uint64_t back = (uint64_t)im->header_addr - im->load_addr;
	struct multiboot_part part = {.gpa = im->load_addr};

	if (im->header_addr < im->load_addr)
		return err_set(err, ENOEXEC,
			       "%s is damaged: its load_addr 0x%x is above its header_addr 0x%x",
			       label, im->load_addr, im->header_addr);
	if (back > im->header_at)
		return err_set(err, ENOEXEC,
			       "%s is damaged: its load_addr 0x%x is 0x%llx before its header, "
			       "which is at 0x%x of the file",
			       label, im->load_addr, (unsigned long long)back, im->header_at);
	part.offset = im->header_at - back;
	part.filled = boot_image_size(k->img) - part.offset;
	if (im->load_end_addr) {
		if (im->load_end_addr <= im->load_addr ||
		    im->load_end_addr - im->load_addr > part.filled)
			return err_set(err, ENOEXEC,
				       "%s is truncated or damaged: its load_addr is 0x%x and its "
				       "load_end_addr 0x%x, the file has 0x%llx bytes for that",
				       label, im->load_addr, im->load_end_addr,
				       (unsigned long long)part.filled);
		part.filled = im->load_end_addr - im->load_addr;
	}
	part.len = part.filled;
	if (im->bss_end_addr) {
		if (im->bss_end_addr < part.gpa + part.filled)
			return err_set(err, ENOEXEC,
				       "%s is damaged: its bss_end_addr 0x%x is below the end of "
				       "what is loaded, 0x%llx",
				       label, im->bss_end_addr,
				       (unsigned long long)(part.gpa + part.filled));
		part.len = im->bss_end_addr - part.gpa;
	}
	add_part(im, &part);
	return 0;
}

static int image_by_elf(const struct kernel *k, struct multiboot_image *im, struct err *err)
{
	const char *label = image_label(k->img);

	if (!k->is_elf)
		return err_set(err, ENOEXEC,
			       "%s is no ELF file, and its Multiboot header has no load addresses",
			       label);
	if (k->elf_ret) {
		if (err)
			*err = k->elf_err;
		return k->elf_ret;
	}
	for (unsigned int i = 0; i < k->elf.segment_count; i++) {
		const struct elf_segment *s = &k->elf.segments[i];

		if (s->type == PT_LOAD && s->memsz)
			add_part(im, &(struct multiboot_part){s->paddr, s->memsz, s->offset,
							      s->filesz});
	}
	if (!im->part_count)
		return err_set(err, ENOEXEC, "%s has no segment that is loaded (p_type PT_LOAD)",
			       label);
	/*
	 * Virtual addresses may be anywhere; the kernel is entered without paging. Kernels that are
	 * linked high often name the physical address themselves.
	 */
	if (!im->has_entry && !elf_paddr(&k->elf, k->elf.entry, &im->entry))
		im->entry = k->elf.entry;
	return 0;
}

static bool is_loaded(const struct multiboot_image *im, uint64_t gpa)
{
	for (unsigned int i = 0; i < im->part_count; i++)
		if (gpa >= im->parts[i].gpa && gpa - im->parts[i].gpa < im->parts[i].filled)
			return true;
	return false;
}

int multiboot_image(const struct kernel *k, struct multiboot_image *im, struct err *err)
{
	const char *label = image_label(k->img);
	int ret;

	im->lo = UINT64_MAX;
	if (im->has_entry)
		im->entry = im->entry_addr;
	ret = im->by_header ? image_by_header(k, im, err) : image_by_elf(k, im, err);
	if (ret)
		return ret;
	if (im->hi > GMEM_HOLE_END)
		return err_set(err, ENOEXEC,
			       "%s cannot be entered in 32-bit mode: what it loads ends at 0x%llx, "
			       "above 4 GiB",
			       label, (unsigned long long)im->hi);
	if (!is_loaded(im, im->entry))
		return err_set(err, ENOEXEC,
			       "%s is damaged: its entry 0x%llx is outside of what is loaded, "
			       "which lies from 0x%llx to 0x%llx",
			       label, (unsigned long long)im->entry, (unsigned long long)im->lo,
			       (unsigned long long)im->hi);
	return 0;
}

void multiboot_describe_image(const struct multiboot_image *im, struct boot_info *info)
{
	boot_fact(info, "loaded", "to 0x%llx up to 0x%llx, as %s, and entered at 0x%llx",
		  (unsigned long long)im->lo, (unsigned long long)im->hi,
		  im->by_header ? "its header says" : "an ELF file", (unsigned long long)im->entry);
}

/* 2, 3.1.13: where the image goes that was linked for @im->lo. */
static int relocate(const struct plan *plan, const struct multiboot_image *im, uint64_t *base,
		    struct err *err)
{
	struct plan_want want = {
		.name = "the kernel",
		.lo = MAX((uint64_t)im->min_addr, LOWEST),
		.hi = im->max_addr,
		.len = im->hi - im->lo,
		.align = im->align ? im->align : 1,
		.highest = im->preference == MULTIBOOT_HIGHEST,
	};
	const char *label = image_label(plan->req->kernel);
	struct plan_want here = want;

	if (!is_power_of_two(want.align))
		return err_set(err, ENOEXEC,
			       "%s is damaged: its relocatable header tag has the align 0x%x, "
			       "which is no power of two",
			       label, im->align);
	if (want.hi < want.lo || want.hi - want.lo < want.len)
		return err_set(err, ENOEXEC,
			       "%s is damaged: its relocatable header tag has it between min_addr "
			       "0x%x and max_addr 0x%x, too little for its 0x%llx bytes",
			       label, im->min_addr, im->max_addr, (unsigned long long)want.len);
	here.lo = im->lo;
	here.hi = im->hi;
	if (im->preference != MULTIBOOT_LOWEST && im->preference != MULTIBOOT_HIGHEST &&
	    im->lo >= want.lo && im->hi <= want.hi && !plan_find(plan, &here, base, NULL))
		return 0;
	return plan_find(plan, &want, base, err);
}

static int load_image(struct plan *plan, const struct multiboot_image *im, uint64_t *base,
		      struct err *err)
{
	char name[32] = "kernel";
	int ret = 0;

	*base = im->lo;
	if (im->relocatable)
		ret = relocate(plan, im, base, err);
	for (unsigned int i = 0; !ret && i < im->part_count; i++) {
		const struct multiboot_part *p = &im->parts[i];

		if (im->part_count > 1)
			snprintf(name, sizeof(name), "kernel, segment %u", i);
		ret = plan_file(plan, name, *base + (p->gpa - im->lo), p->len, plan->kernel->img,
				p->offset, p->filled, err);
	}
	plan->entry.rip = *base + (im->entry - im->lo);
	return ret;
}

/*
 * A place that is not within the kernel, also not where it has no segment: above it or below, the
 * former first if @above.
 */
static int find_beside(const struct plan *plan, const struct multiboot_load *load,
		       const struct plan_want *want, bool above, uint64_t *gpa, struct err *err)
{
	struct plan_want first = *want, second = *want;
	struct plan_want *low = above ? &second : &first, *high = above ? &first : &second;
	int ret;

	low->hi = MIN(want->hi, align_down(load->base, PAGE));
	high->lo = MAX(want->lo, align_up(load->end, PAGE));
	ret = plan_find(plan, &first, gpa, above ? err : NULL);
	if (ret && !plan_find(plan, &second, gpa, above ? NULL : err))
		return 0;
	return ret;
}

/* The fields of a section header that matter, of either class. */
struct section {
	uint32_t type;
	uint64_t addr, offset, size;
};

static struct section read_section(const struct elf *elf, const uint8_t *raw)
{
	Elf64_Shdr s64;
	Elf32_Shdr s32;

	if (elf->is_64) {
		memcpy(&s64, raw, sizeof(s64));
		return (struct section){s64.sh_type, s64.sh_addr, s64.sh_offset, s64.sh_size};
	}
	memcpy(&s32, raw, sizeof(s32));
	return (struct section){s32.sh_type, s32.sh_addr, s32.sh_offset, s32.sh_size};
}

/* Whether no segment has loaded it, but could have. */
static bool is_left(const struct section *s)
{
	return !s->addr && s->size && s->type != SHT_NULL && s->type != SHT_NOBITS;
}

/* The part of the file from the first section that is left to the last. */
static int find_left(const struct kernel *k, const uint8_t *table, uint64_t *lo, uint64_t *hi,
		     struct err *err)
{
	const struct elf *elf = &k->elf;

	*lo = boot_image_size(k->img);
	*hi = 0;
	for (unsigned int i = 0; i < elf->shnum; i++) {
		const struct section s = read_section(elf, table + (size_t)i * elf->shentsize);

		if (!is_left(&s))
			continue;
		if (!range_fits(s.offset, s.size, boot_image_size(k->img)))
			return err_set(err, ENOEXEC,
				       "%s is truncated: its section %u has sh_offset 0x%llx and "
				       "sh_size 0x%llx, the file has %llu bytes",
				       image_label(k->img), i, (unsigned long long)s.offset,
				       (unsigned long long)s.size,
				       (unsigned long long)boot_image_size(k->img));
		*lo = MIN(*lo, s.offset);
		*hi = MAX(*hi, s.offset + s.size);
	}
	return 0;
}

/*
 * 1, 3.3, syms: sections that no segment holds, the symbols for one, are loaded for sh_addr to say.
 * Linkers put them one behind the other at the end of the file: they are loaded as one piece, which
 * starts as far into a page as in the file, so that all are aligned as they are there.
 */
static int load_left(struct plan *plan, struct multiboot_load *load, struct err *err)
{
	const struct kernel *k = plan->kernel;
	struct plan_want want = {
		.name = "the kernel's sections",
		.lo = MIB(1),
		.hi = GMEM_HOLE_END,
		.align = PAGE,
	};
	uint64_t lo, hi, page, gpa;
	int ret = find_left(k, load->sections.table, &lo, &hi, err);

	if (ret || lo >= hi)
		return ret;
	page = align_down(lo, PAGE);
	want.len = hi - page;
	ret = find_beside(plan, load, &want, true, &gpa, err);
	if (!ret)
		ret = plan_file(plan, "sections", gpa + (lo - page), hi - lo, k->img, lo, hi - lo,
				err);
	for (unsigned int i = 0; !ret && i < k->elf.shnum; i++) {
		uint8_t *raw = load->sections.table + (size_t)i * k->elf.shentsize;
		const struct section s = read_section(&k->elf, raw);

		if (is_left(&s) && k->elf.is_64)
			store_le64(raw + offsetof(Elf64_Shdr, sh_addr), gpa + (s.offset - page));
		else if (is_left(&s))
			store_le32(raw + offsetof(Elf32_Shdr, sh_addr),
				   (uint32_t)(gpa + (s.offset - page)));
	}
	return ret;
}

static int load_sections(struct plan *plan, struct multiboot_load *load, struct err *err)
{
	const struct elf *elf = &plan->kernel->elf;
	const size_t len = (size_t)elf->shnum * elf->shentsize;
	int ret;

	if (!elf->shnum)
		return 0;
	load->sections.table = malloc(len);
	if (!load->sections.table)
		return err_sys(err, ENOMEM, "%s: its section headers",
			       image_label(plan->req->kernel));
	load->sections.count = elf->shnum;
	load->sections.size = elf->shentsize;
	load->sections.names = elf->shstrndx < elf->shnum ? elf->shstrndx : SHN_UNDEF;
	ret = image_read(plan->kernel->img, elf->shoff, load->sections.table, len, err);
	return ret ? ret : load_left(plan, load, err);
}

static int load_module(struct plan *plan, struct multiboot_load *load, const struct boot_image *img,
		       const char *cmdline, struct err *err)
{
	const uint64_t size = boot_image_size(img);
	const struct plan_want want = {
		.name = image_label(img),
		.lo = MIB(1),
		.hi = GMEM_HOLE_END,
		.len = size,
		.align = PAGE, /* whether the header asks for it or not */
	};
	struct multiboot_module *m = &load->modules[load->module_count++];
	char name[32];
	uint64_t gpa = 0;
	int ret;

	snprintf(name, sizeof(name), "module %u", load->module_count);
	ret = find_beside(plan, load, &want, true, &gpa, err);
	if (!ret)
		ret = plan_file(plan, name, gpa, size, img, 0, size, err);
	*m = (struct multiboot_module){(uint32_t)gpa, (uint32_t)(gpa + size), cmdline};
	return ret;
}

/* 1, 3.3, mods: the initrds first, which have no command line. */
static int load_modules(struct plan *plan, struct multiboot_load *load, struct err *err)
{
	const struct boot_request *req = plan->req;
	const size_t count = (size_t)req->initrd_count + req->module_count;
	int ret = 0;

	if (!count)
		return 0;
	load->modules = calloc(count, sizeof(*load->modules));
	if (!load->modules)
		return err_sys(err, ENOMEM, "a list of %zu modules", count);
	for (unsigned int i = 0; !ret && i < req->initrd_count; i++)
		ret = load_module(plan, load, req->initrds[i], "", err);
	for (unsigned int i = 0; !ret && i < req->module_count; i++)
		ret = load_module(plan, load, req->modules[i].img, req->modules[i].cmdline, err);
	return ret;
}

/* 1, 3.3, mem: KiB of RAM from @from up to the first hole. */
static uint32_t memory_from(const struct e820 *map, uint64_t from)
{
	for (unsigned int i = 0; i < map->count; i++) {
		const struct e820_entry *e = &map->entries[i];

		if (e->type == E820_RAM && from >= e->gpa && from - e->gpa < e->len)
			return (uint32_t)MIN((e->gpa + e->len - from) >> 10, UINT32_MAX);
	}
	return 0;
}

/*
 * Where a BIOS keeps the segment of its extended data area and the KiB of memory below that: Xen
 * for one takes room below 1 MiB by these, whatever it is told.
 */
#define BIOS_EBDA_SEGMENT 0x40e
#define BIOS_BASE_MEMORY  0x413

static int load_bios_data(struct plan *plan, struct err *err)
{
	uint8_t data[BIOS_BASE_MEMORY + 2 - BIOS_EBDA_SEGMENT] = {0};
	const struct plan_want want = {
		.name = "BIOS data",
		.lo = BIOS_EBDA_SEGMENT,
		.hi = BIOS_EBDA_SEGMENT + sizeof(data),
		.len = sizeof(data),
		.align = 1,
	};
	uint64_t gpa;

	/* A kernel that is loaded there does not look. */
	if (plan_find(plan, &want, &gpa, NULL))
		return 0;
	store_le16(data, E820_LOW_RAM_END >> 4);
	store_le16(&data[BIOS_BASE_MEMORY - BIOS_EBDA_SEGMENT], E820_LOW_RAM_END >> 10);
	return plan_bytes(plan, want.name, gpa, data, sizeof(data), err);
}

static void begin_load(const struct boot_request *req, struct multiboot_load *load)
{
	*load = (struct multiboot_load){
		.cmdline = req->cmdline ? req->cmdline : "",
		.mem_lower = MIN(memory_from(req->memory, 0), UINT32_C(640)),
		.mem_upper = memory_from(req->memory, MIB(1)),
	};
}

int multiboot_load_modules(struct plan *plan, struct multiboot_load *load, struct err *err)
{
	begin_load(plan->req, load);
	/* Everything up to the end of the kernel is taken for it. */
	for (unsigned int i = 0; i < plan->count; i++)
		if (plan->pieces[i].gpa < GMEM_HOLE_START)
			load->end = plan->pieces[i].gpa + plan->pieces[i].len;
	return load_modules(plan, load, err);
}

int multiboot_load(struct plan *plan, const struct multiboot_image *im, struct multiboot_load *load,
		   struct err *err)
{
	int ret;

	begin_load(plan->req, load);
	ret = load_image(plan, im, &load->base, err);
	load->end = load->base + (im->hi - im->lo);
	if (!ret && !im->by_header)
		ret = load_sections(plan, load, err);
	if (!ret)
		ret = load_modules(plan, load, err);
	if (!ret)
		ret = load_bios_data(plan, err);
	/* 1, 3.2 and 2, 3.3: they may rely on the segments as they are, not on the table. */
	return ret ? ret : plan_segments(plan, CPU_PROT32, err);
}

void multiboot_load_free(struct multiboot_load *load)
{
	free(load->sections.table);
	free(load->modules);
}

uint64_t multiboot_put(struct multiboot_block *b, const void *bytes, uint64_t len, uint64_t align)
{
	const uint64_t at = align_up(b->len, align);

	b->len = at + len;
	if (b->bytes && bytes)
		memcpy(b->bytes + at, bytes, len);
	return b->gpa + at;
}

void multiboot_poke(struct multiboot_block *b, uint64_t gpa, const void *bytes, size_t len)
{
	if (b->bytes)
		memcpy(b->bytes + (gpa - b->gpa), bytes, len);
}

int multiboot_hand_over(struct plan *plan, uint32_t magic, const struct multiboot_load *load,
			multiboot_fill_fn *fill, const void *header, struct err *err)
{
	struct multiboot_block b = {0};
	struct plan_want want = {
		.name = "the boot information",
		.lo = BOOT_INFO_GPA,
		.hi = GMEM_HOLE_END,
		.align = 8,
	};
	int ret;

	fill(plan, load, header, &b);
	want.len = b.len;
	ret = find_beside(plan, load, &want, false, &b.gpa, err);
	if (ret)
		return ret;
	b.bytes = calloc(1, b.len);
	if (!b.bytes)
		return err_sys(err, ENOMEM, "%s", want.name);
	b.len = 0;
	fill(plan, load, header, &b);
	ret = plan_bytes(plan, "boot information", b.gpa, b.bytes, b.len, err);
	free(b.bytes);
	plan->entry.rax = magic;
	plan->entry.rbx = b.gpa;
	return ret;
}
