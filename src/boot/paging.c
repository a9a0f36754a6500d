/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Section numbers are those of the Intel SDM, volume 3.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/e820.h"
#include "skep/err.h"
#include "skep/gmem.h"

#include "image.h"
#include "paging.h"
#include "plan.h"
#include "protocol.h"

#define PAGE KIB(4)

/* 4.3 and 4.5: present, writable; in a directory, a large page. */
#define ENTRY_TABLE 3U
#define ENTRY_LARGE 0x80U
/* 4.3, 4.5: bit 9 is ignored. Set where a segment has claimed a page. */
#define ENTRY_TAKEN 0x200U
#define ENTRY_BITS  UINT64_C(0xfff)

#define CR4_PSE (1U << 4)

/* Enough for 8 GiB in pages of 4 KiB. */
#define TABLES_MAX 4096

/* Of either kind of tables: how many bits of an address one level decides. */
struct paging {
	bool long_mode;
	unsigned int shift; /* of a large page */
	unsigned int count; /* pages of tables; the first is what CR3 points to */
	uint8_t *pages;
	uint64_t gpa; /* where they will be */
	bool full;    /* there can be no more */
};

static uint64_t entry_get(const struct paging *p, unsigned int page, unsigned int n)
{
	const uint8_t *at = p->pages + page * PAGE;

	return p->long_mode ? load_le64(at + 8UL * n) : load_le32(at + 4UL * n);
}

static void entry_set(struct paging *p, unsigned int page, unsigned int n, uint64_t v)
{
	uint8_t *at = p->pages + page * PAGE;

	if (p->long_mode)
		store_le64(at + 8UL * n, v);
	else
		store_le32(at + 4UL * n, (uint32_t)v);
}

/* A page of tables more, all zeroes; page 0 when there can be no more. */
static unsigned int page_new(struct paging *p)
{
	uint8_t *pages = NULL;

	if (p->count < TABLES_MAX)
		pages = realloc(p->pages, (p->count + 1) * PAGE);

	if (!pages) {
		p->full = true;
		return 0;
	}
	p->pages = pages;
	memset(pages + p->count * PAGE, 0, PAGE);
	return p->count++;
}

/* The table that entry @n of @page points to, made when there is none. */
static unsigned int table_below(struct paging *p, unsigned int page, unsigned int n)
{
	uint64_t entry = entry_get(p, page, n);
	unsigned int below;

	if (entry)
		return (unsigned int)(((entry & ~ENTRY_BITS) - p->gpa) / PAGE);
	below = page_new(p);
	if (!p->full)
		entry_set(p, page, n, (p->gpa + below * PAGE) | ENTRY_TABLE);
	return below;
}

/* The directory whose entries are large pages, and in *@n the one for @vaddr. */
static unsigned int directory_of(struct paging *p, uint64_t vaddr, unsigned int *n)
{
	unsigned int page;

	if (!p->long_mode) {
		*n = (unsigned int)(vaddr >> p->shift);
		return 0;
	}
	*n = vaddr >> p->shift & 511;
	page = table_below(p, 0, vaddr >> 39 & 511);
	return p->full ? 0 : table_below(p, page, vaddr >> 30 & 511);
}

static void map_large(struct paging *p, uint64_t vaddr, uint64_t paddr)
{
	unsigned int n, page = directory_of(p, vaddr, &n);

	if (!p->full)
		entry_set(p, page, n, paddr | ENTRY_LARGE | ENTRY_TABLE);
}

/* The table of small pages for @vaddr: in place of a large page, it maps the same. */
static unsigned int table_of(struct paging *p, uint64_t vaddr)
{
	const unsigned int entries = p->long_mode ? 512 : 1024;
	unsigned int n, page = directory_of(p, vaddr, &n), table;
	uint64_t large;

	if (p->full)
		return 0;
	large = entry_get(p, page, n);
	if (large && !(large & ENTRY_LARGE))
		return table_below(p, page, n);
	entry_set(p, page, n, 0);
	table = table_below(p, page, n);
	for (unsigned int i = 0; large && !p->full && i < entries; i++)
		entry_set(p, table, i, ((large & ~ENTRY_BITS) + i * PAGE) | ENTRY_TABLE);
	return table;
}

/* False when another segment has the page, and wants something else there. */
static bool map_small(struct paging *p, uint64_t vaddr, uint64_t paddr)
{
	const unsigned int mask = p->long_mode ? 511 : 1023;
	const unsigned int n = (unsigned int)(vaddr / PAGE) & mask, table = table_of(p, vaddr);
	const uint64_t entry = paddr | ENTRY_TAKEN | ENTRY_TABLE;
	uint64_t old;

	if (p->full)
		return true;
	old = entry_get(p, table, n);
	if (old & ENTRY_TAKEN && old != entry)
		return false;
	entry_set(p, table, n, entry);
	return true;
}

static bool is_mapped(const struct elf_segment *s)
{
	return s->type == PT_LOAD && s->memsz;
}

/* The last byte; a segment may end where the address space does. */
static uint64_t last_of(const struct elf_segment *s)
{
	return s->vaddr + s->memsz - 1;
}

/*
 * Whether the large page around @vaddr can be one: every segment in it is as far from its place as
 * the others, by a multiple of large pages. All of it is mapped then, also what lies between
 * segments: so a kernel that is linked at C0100000h and loaded at 1 MiB has the first megabyte at
 * C0000000h, where such kernels look for the screen.
 */
static bool is_uniform(const struct paging *p, const struct elf *elf, uint64_t vaddr, uint64_t off)
{
	const uint64_t size = UINT64_C(1) << p->shift, from = align_down(vaddr, size);

	if (off & (size - 1))
		return false;
	for (unsigned int i = 0; i < elf->segment_count; i++) {
		const struct elf_segment *s = &elf->segments[i];

		if (is_mapped(s) && s->vaddr <= from + (size - 1) && last_of(s) >= from &&
		    s->paddr - s->vaddr != off)
			return false;
	}
	return true;
}

/* False when it is in the way of another. */
static bool map_segment(struct paging *p, const struct elf *elf, const struct elf_segment *s)
{
	const uint64_t size = UINT64_C(1) << p->shift;
	const uint64_t off = s->paddr - s->vaddr;
	uint64_t at = align_down(s->vaddr, PAGE), step = 0;

	/* Counted down, as the end may be that of the address space. */
	for (uint64_t left = last_of(s) - at; !p->full; left -= step, at += step) {
		if (is_uniform(p, elf, at, off)) {
			map_large(p, align_down(at, size), align_down(at, size) + off);
			step = size - (at & (size - 1));
		} else {
			if (!map_small(p, at, at + off))
				return false;
			step = PAGE;
		}
		if (left < step)
			break;
	}
	return true;
}

static int check_segment(const struct plan *plan, const struct elf_segment *s, unsigned int n,
			 bool long_mode, struct err *err)
{
	const char *label = image_label(plan->kernel->img);
	const uint64_t low = s->vaddr >> 47, high = last_of(s) >> 47;

	if ((s->paddr - s->vaddr) & (PAGE - 1))
		return err_set(err, ENOEXEC,
			       "%s: its segment %u with p_vaddr 0x%llx cannot be mapped to 0x%llx, "
			       "which is not the same modulo 4 KiB",
			       label, n, (unsigned long long)s->vaddr,
			       (unsigned long long)s->paddr);
	if (low != high || (low && low != UINT64_MAX >> 47) ||
	    (!long_mode && last_of(s) > UINT32_MAX))
		return err_set(
			err, ENOEXEC,
			"%s: its segment %u with p_vaddr 0x%llx is at no address that %s has",
			label, n, (unsigned long long)s->vaddr,
			long_mode ? "long mode" : "32-bit mode");
	return 0;
}

/* What was loaded maps to itself: no other mapping, rounded up to its pages, may lie over it. */
static int check_hidden(const struct plan *plan, const struct paging *p,
			const struct elf_segment *s, unsigned int n, struct err *err)
{
	const uint64_t off = s->paddr - s->vaddr, large = UINT64_C(1) << p->shift;
	const uint64_t unit = off & (large - 1) ? PAGE : large;
	const uint64_t from = align_down(s->vaddr, unit);
	const uint64_t len = align_up(last_of(s) - from + 1, unit);

	for (unsigned int i = 0; off && i < plan->count; i++) {
		const struct plan_piece *piece = &plan->pieces[i];

		if (ranges_overlap(from, len, piece->gpa, piece->len))
			return err_set(
				err, ENOEXEC,
				"%s: its segment %u with p_vaddr 0x%llx would hide its %s at "
				"0x%llx; link it higher",
				image_label(plan->kernel->img), n, (unsigned long long)s->vaddr,
				piece->name, (unsigned long long)piece->gpa);
	}
	return 0;
}

/* Makes them for @p->gpa. */
static int build(struct paging *p, const struct plan *plan, const struct elf *elf, struct err *err)
{
	const uint64_t size = UINT64_C(1) << p->shift;

	free(p->pages);
	p->pages = NULL;
	p->count = 0;
	page_new(p);
	for (uint64_t at = 0; !p->full && at < GIB(4); at += size)
		map_large(p, at, at);
	for (unsigned int i = 0; elf && !p->full && i < elf->segment_count; i++) {
		const struct elf_segment *s = &elf->segments[i];

		if (is_mapped(s) && !map_segment(p, elf, s))
			return err_set(err, ENOEXEC,
				       "%s: its segment %u with p_vaddr 0x%llx shares a page with "
				       "another that is loaded elsewhere",
				       image_label(plan->kernel->img), i,
				       (unsigned long long)s->vaddr);
	}
	if (p->full)
		return err_set(err, ENOMEM, "%s needs more than %d pages of page tables",
			       image_label(plan->kernel->img), TABLES_MAX);
	return 0;
}

/* Below 1 MiB as long as there is room, for kernels take what follows them for free memory. */
static int find_room(const struct plan *plan, uint64_t len, uint64_t *gpa, struct err *err)
{
	static const uint64_t ranges[][2] = {
		{PAGE_TABLES_GPA, PAGE_TABLES_END},
		{CMDLINE_GPA, CMDLINE_GPA + CMDLINE_ROOM},
		{E820_HIGH_RAM_BASE, GMEM_HOLE_END},
	};
	int ret = -ENOMEM;

	for (size_t i = 0; ret && i < ARRAY_SIZE(ranges); i++) {
		const struct plan_want want = {
			.name = "the page tables",
			.lo = ranges[i][0],
			.hi = ranges[i][1],
			.len = len,
			.align = PAGE,
		};

		ret = plan_find(plan, &want, gpa, err);
	}
	return ret;
}

int paging_plan(struct plan *plan, const struct elf *elf, bool long_mode, struct err *err)
{
	struct paging p = {.long_mode = long_mode, .shift = long_mode ? 21 : 22};
	int ret = 0;

	for (unsigned int i = 0; !ret && elf && i < elf->segment_count; i++)
		if (is_mapped(&elf->segments[i]))
			ret = check_segment(plan, &elf->segments[i], i, long_mode, err);
	/* Once to learn how many there are, and again for where they go. */
	if (!ret)
		ret = build(&p, plan, elf, err);
	if (!ret)
		ret = find_room(plan, p.count * PAGE, &p.gpa, err);
	if (!ret)
		ret = build(&p, plan, elf, err);
	if (!ret)
		ret = plan_bytes(plan, "page tables", p.gpa, p.pages, p.count * PAGE, err);
	for (unsigned int i = 0; !ret && elf && i < elf->segment_count; i++)
		if (is_mapped(&elf->segments[i]))
			ret = check_hidden(plan, &p, &elf->segments[i], i, err);
	free(p.pages);
	plan->entry.cr3 = p.gpa;
	plan->entry.cr4 = long_mode ? 0 : CR4_PSE;
	return ret;
}
