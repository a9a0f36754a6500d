/* SPDX-License-Identifier: BSD-2-Clause */
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bios.h"
#include "skep/bits.h"
#include "skep/e820.h"
#include "skep/err.h"
#include "skep/gmem.h"

#include "image.h"
#include "plan.h"
#include "protocol.h"

#define PAGE        KIB(4)
#define GDT_ENTRIES 4

int plan_no_room(const struct plan *plan, const char *what, uint64_t needed, struct err *err)
{
	const uint64_t have = e820_ram_end(plan->req->memory, GMEM_HOLE_END);

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

/* The sentence for a piece that is not in RAM: too high, or where a PC has none. */
static int not_ram(const struct plan *plan, const char *name, uint64_t gpa, uint64_t len,
		   struct err *err)
{
	char what[128];

	snprintf(what, sizeof(what), "%s: its %s at 0x%llx", image_label(plan->req->kernel), name,
		 (unsigned long long)gpa);
	if (gpa + len > e820_ram_end(plan->req->memory, GMEM_HOLE_END) && gpa < GMEM_HOLE_START)
		return plan_no_room(plan, what, gpa + len, err);
	return err_set(err, ENOMEM, "%s, of 0x%llx bytes, is not in guest RAM", what,
		       (unsigned long long)len);
}

/* Whether a piece can go there: all of it is @type. */
static int check(const struct plan *plan, const char *name, uint64_t gpa, uint64_t len,
		 enum e820_type type, struct err *err)
{
	if (!range_fits(gpa, len, UINT64_C(1) << 52) || !e820_is(plan->req->memory, gpa, len, type))
		return not_ram(plan, name, gpa, len, err);
	for (unsigned int i = 0; i < plan->count; i++) {
		const struct plan_piece *p = &plan->pieces[i];

		if (ranges_overlap(gpa, len, p->gpa, p->len))
			return err_set(
				err, EEXIST, "%s: its %s at 0x%llx overlaps its %s at 0x%llx",
				image_label(plan->req->kernel), name, (unsigned long long)gpa,
				p->name, (unsigned long long)p->gpa);
	}
	if (plan->count == BOOT_PIECES_MAX)
		return err_set(err, E2BIG, "%s is made of more than %d pieces",
			       image_label(plan->req->kernel), BOOT_PIECES_MAX);
	return 0;
}

static struct plan_piece *add(struct plan *plan, const char *name, uint64_t gpa, uint64_t len)
{
	struct plan_piece *piece;
	unsigned int at = plan->count++;

	for (; at && plan->pieces[at - 1].gpa > gpa; at--)
		plan->pieces[at] = plan->pieces[at - 1];
	piece = &plan->pieces[at];
	*piece = (struct plan_piece){.gpa = gpa, .len = len};
	snprintf(piece->name, sizeof(piece->name), "%s", name);
	return piece;
}

int plan_room(struct plan *plan, const char *name, uint64_t gpa, uint64_t len, struct err *err)
{
	int ret = len ? check(plan, name, gpa, len, E820_RAM, err) : 0;

	if (len && !ret)
		add(plan, name, gpa, len);
	return ret;
}

int plan_file(struct plan *plan, const char *name, uint64_t gpa, uint64_t len,
	      const struct boot_image *img, uint64_t offset, uint64_t filled, struct err *err)
{
	struct plan_piece *piece;
	int ret;

	bug_on(filled > len || !range_fits(offset, filled, boot_image_size(img)));
	if (!len)
		return 0;
	ret = check(plan, name, gpa, len, E820_RAM, err);
	if (ret)
		return ret;
	piece = add(plan, name, gpa, len);
	piece->img = img;
	piece->offset = offset;
	piece->filled = filled;
	piece->clear = true;
	return 0;
}

static int add_bytes(struct plan *plan, const char *name, uint64_t gpa, const void *bytes,
		     uint64_t len, enum e820_type type, struct err *err)
{
	struct plan_piece *piece;
	void *copy;
	int ret;

	if (!len)
		return 0;
	ret = check(plan, name, gpa, len, type, err);
	if (ret)
		return ret;
	copy = malloc(len);
	if (!copy)
		return err_sys(err, ENOMEM, "%s: %s", image_label(plan->req->kernel), name);
	memcpy(copy, bytes, len);
	piece = add(plan, name, gpa, len);
	piece->bytes = copy;
	piece->filled = len;
	return 0;
}

int plan_bytes(struct plan *plan, const char *name, uint64_t gpa, const void *bytes, uint64_t len,
	       struct err *err)
{
	return add_bytes(plan, name, gpa, bytes, len, E820_RAM, err);
}

int plan_bios(struct plan *plan, const char *name, uint64_t gpa, const void *bytes, uint64_t len,
	      struct err *err)
{
	bug_on(gpa < BIOS_AREA || !range_fits(gpa - BIOS_AREA, len, BIOS_AREA_LEN));
	return add_bytes(plan, name, gpa, bytes, len, E820_RESERVED, err);
}

/* The piece that is in the way of [at, at + len), the highest or the lowest such. */
static const struct plan_piece *in_the_way(const struct plan *plan, uint64_t at, uint64_t len,
					   bool highest)
{
	const struct plan_piece *found = NULL;

	for (unsigned int i = 0; i < plan->count; i++) {
		const struct plan_piece *p = &plan->pieces[i];

		if (!ranges_overlap(at, len, p->gpa, p->len))
			continue;
		if (highest)
			return p;
		found = p;
	}
	return found;
}

/* Within one range of RAM [lo, hi). Each step passes a piece, so there are no more than pieces. */
static bool find_in(const struct plan *plan, const struct plan_want *want, uint64_t lo, uint64_t hi,
		    uint64_t *gpa)
{
	const struct plan_piece *p;
	uint64_t at;

	lo = align_up(lo, want->align);
	if (hi < lo || hi - lo < want->len)
		return false;
	at = want->highest ? align_down(hi - want->len, want->align) : lo;
	while ((p = in_the_way(plan, at, want->len, want->highest))) {
		if (want->highest) {
			if (p->gpa < lo || p->gpa - lo < want->len)
				return false;
			at = align_down(p->gpa - want->len, want->align);
		} else {
			at = align_up(p->gpa + p->len, want->align);
		}
		if (at < lo || at > hi || hi - at < want->len)
			return false;
	}
	*gpa = at;
	return true;
}

int plan_find(const struct plan *plan, const struct plan_want *want, uint64_t *gpa, struct err *err)
{
	const struct e820 *map = plan->req->memory;
	uint64_t end = 0;

	for (unsigned int i = 0; i < map->count; i++) {
		const struct e820_entry *e = &map->entries[want->highest ? map->count - 1 - i : i];

		if (e->type == E820_RAM &&
		    find_in(plan, want, MAX(e->gpa, want->lo), MIN(e->gpa + e->len, want->hi), gpa))
			return 0;
	}
	for (unsigned int i = 0; i < plan->count; i++)
		if (plan->pieces[i].gpa < want->hi)
			end = MAX(end, plan->pieces[i].gpa + plan->pieces[i].len);
	return plan_no_room(plan, want->name, MAX(end, want->lo) + want->len, err);
}

int plan_segments(struct plan *plan, enum cpu_mode mode, struct err *err)
{
	/* Flat 4 GiB segments: code, execute and read, at 10h; data, read and write, at 18h. */
	uint64_t gdt[GDT_ENTRIES] = {
		[2] = mode == CPU_LONG64 ? 0x00af9b000000ffff : 0x00cf9b000000ffff,
		[3] = 0x00cf93000000ffff,
	};

	const struct plan_want want = {
		.name = "the descriptor table",
		.lo = GDT_GPA,
		.hi = CMDLINE_GPA + CMDLINE_ROOM,
		.len = sizeof(gdt),
		.align = 8,
	};
	int ret = plan_find(plan, &want, &plan->entry.gdt, err);

	plan->entry.mode = mode;
	plan->entry.gdt_limit = sizeof(gdt) - 1;
	return ret ? ret
		   : plan_bytes(plan, "descriptor table", plan->entry.gdt, gdt, sizeof(gdt), err);
}

int plan_cmdline(struct plan *plan, uint64_t most, struct err *err)
{
	const struct boot_request *req = plan->req;
	const char *cmdline = req->cmdline ? req->cmdline : req->linux_cmdline;
	size_t len;

	cmdline = cmdline ? cmdline : "";
	len = strlen(cmdline);
	most = MIN(most, CMDLINE_ROOM - 1);
	if (len > most)
		return err_set(err, E2BIG,
			       "the kernel command line has %zu characters, %s takes %llu at most; "
			       "shorten it",
			       len, image_label(plan->req->kernel), (unsigned long long)most);
	return plan_bytes(plan, "command line", CMDLINE_GPA, cmdline, len + 1, err);
}

uint64_t plan_initrds_len(const struct plan *plan)
{
	uint64_t len = 0;

	for (unsigned int i = 0; i < plan->req->initrd_count; i++)
		len += align_up(boot_image_size(plan->req->initrds[i]), 4);
	return len;
}

int plan_initrds(struct plan *plan, uint64_t gpa, struct err *err)
{
	const unsigned int count = plan->req->initrd_count;
	char name[32] = "initrd";
	int ret = 0;

	for (unsigned int i = 0; !ret && i < count; i++) {
		const struct boot_image *img = plan->req->initrds[i];
		const uint64_t size = boot_image_size(img);

		if (count > 1)
			snprintf(name, sizeof(name), "initrd %u of %u", i + 1, count);
		ret = plan_file(plan, name, gpa, align_up(size, 4), img, 0, size, err);
		gpa += align_up(size, 4);
	}
	return ret;
}

int plan_stack(struct plan *plan, struct err *err)
{
	struct plan_want want = {
		.name = "a stack",
		.lo = PAGE_TABLES_END,
		.hi = CMDLINE_GPA + CMDLINE_ROOM,
		.len = BOOT_INFO_GPA - PAGE_TABLES_END,
		.align = PAGE,
	};
	uint64_t gpa = 0;
	int ret = plan_find(plan, &want, &gpa, err);

	if (ret)
		return ret;
	plan->entry.rsp = gpa + want.len;
	return plan_room(plan, "stack", gpa, want.len, err);
}

int plan_initrds_from(struct plan *plan, uint64_t lo, uint64_t *gpa, uint64_t *len, struct err *err)
{
	struct plan_want want = {
		.name = "the initrd",
		.lo = lo,
		.hi = GMEM_HOLE_START,
		.align = KIB(4),
	};
	int ret;

	want.len = plan_initrds_len(plan);
	*len = want.len;
	ret = plan_find(plan, &want, gpa, err);
	return ret ? ret : plan_initrds(plan, *gpa, err);
}

int plan_elf_segments(struct plan *plan, const struct elf *elf, struct err *err)
{
	char name[32];
	int ret = 0;

	for (unsigned int i = 0; !ret && i < elf->segment_count; i++) {
		const struct elf_segment *s = &elf->segments[i];

		if (s->type != PT_LOAD)
			continue;
		snprintf(name, sizeof(name), "segment %u", i);
		ret = plan_file(plan, name, s->paddr, s->memsz, plan->req->kernel, s->offset,
				s->filesz, err);
	}
	return ret;
}

/*
 * Whole pages are given back to the host, which has zeroes for whoever asks next: memory that
 * nobody touched yet stays so.
 */
int plan_clear(struct gmem *mem, uint64_t gpa, uint64_t len)
{
	const uint64_t page = gmem_page_size(mem);
	const uint64_t first = align_up(gpa, page), last = align_down(gpa + len, page);
	int ret;

	if (!len)
		return 0;
	if (last <= first || gmem_discard(mem, first, last - first))
		return gmem_fill(mem, gpa, 0, len);
	ret = first > gpa ? gmem_fill(mem, gpa, 0, first - gpa) : 0;
	return ret || gpa + len == last ? ret : gmem_fill(mem, last, 0, gpa + len - last);
}

int plan_load(struct plan *plan, struct gmem *mem, struct err *err)
{
	int ret = 0;

	for (unsigned int i = 0; !ret && i < plan->count; i++) {
		const struct plan_piece *p = &plan->pieces[i];

		if (p->img && p->filled)
			ret = image_load(p->img, p->offset, mem, p->gpa, p->filled, err);
		else if (p->bytes)
			ret = gmem_write(mem, p->gpa, p->bytes, p->filled);
		if (!ret && p->clear && p->len > p->filled)
			ret = plan_clear(mem, p->gpa + p->filled, p->len - p->filled);
		if (ret == -EFAULT)
			err_set(err, EFAULT, "guest memory at 0x%llx is not what its map says",
				(unsigned long long)p->gpa);
	}
	return ret || !plan->finish ? ret : plan->finish(plan, mem, err);
}

void plan_free(struct plan *plan)
{
	if (!plan)
		return;
	for (unsigned int i = 0; i < plan->count; i++)
		free(plan->pieces[i].bytes);
	free(plan);
}
