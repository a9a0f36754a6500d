/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An ELF executable that says nothing of who boots it.
 *
 * Its segments are loaded at p_paddr, and it is entered at e_entry: a 32-bit one in 32-bit mode,
 * a 64-bit one in long mode, where the first 4 GiB map to themselves. If e_entry is an address to
 * which a segment is linked but at which it is not loaded ("linked high"), the kernel cannot run
 * before paging is on. What a loader has a trampoline for, the monitor does directly: it makes the
 * page tables and sets the registers.
 *
 * A linker script without AT() makes p_paddr the same as p_vaddr. Where no PC has memory, at 2 GiB
 * and above, that is not taken for the place: the lowest address then goes to 1 MiB, and all else
 * as far behind it as it is linked. The option `at` says another place, for any file.
 */
#include <elf.h>
#include <stdio.h>

#include "skep/bits.h"
#include "skep/e820.h"
#include "skep/err.h"

#include "handoff.h"
#include "image.h"
#include "paging.h"
#include "protocol.h"

#define PAGE KIB(4)

/* Half of what 32 bits address: the lowest border between programs and kernel in use. */
#define LINKED_HIGH UINT64_C(0x80000000)

static bool is_loaded(const struct elf_segment *s)
{
	return s->type == PT_LOAD && s->memsz;
}

/*
 * A segment that has nothing in it but the headers of the file is not loaded: ld makes one in front
 * of what -Ttext places, where often there is no RAM.
 */
static void drop_headers(struct elf *elf)
{
	for (unsigned int i = 0; i < elf->segment_count; i++) {
		struct elf_segment *s = &elf->segments[i];

		if (is_loaded(s) && !s->offset && s->memsz <= elf->headers_end &&
		    elf->entry - s->vaddr >= s->memsz && elf->entry - s->paddr >= s->memsz)
			s->memsz = 0;
	}
}

/* The lowest linked address; false when nothing is loaded. */
static bool lowest(const struct elf *elf, uint64_t *vaddr, bool *same)
{
	bool any = false;

	*vaddr = UINT64_MAX;
	*same = true;
	for (unsigned int i = 0; i < elf->segment_count; i++) {
		const struct elf_segment *s = &elf->segments[i];

		if (!is_loaded(s))
			continue;
		any = true;
		*vaddr = MIN(*vaddr, s->vaddr);
		*same = *same && s->vaddr == s->paddr;
	}
	return any;
}

/* Decides where each segment goes, and says so in its paddr. False when nothing is loaded. */
static bool place(struct elf *elf, uint64_t at)
{
	uint64_t low;
	bool same;

	drop_headers(elf);
	if (!lowest(elf, &low, &same))
		return false;
	if (!at && same && low >= LINKED_HIGH)
		at = E820_HIGH_RAM_BASE + (low & (PAGE - 1));
	for (unsigned int i = 0; at && i < elf->segment_count; i++) {
		struct elf_segment *s = &elf->segments[i];

		/* What is too far away is in no RAM either; the sum must not wrap. */
		if (is_loaded(s))
			s->paddr = at + MIN(s->vaddr - low, UINT64_C(1) << 52);
	}
	return true;
}

/*
 * The segment in which it is entered, and in *@gpa the place. The addresses of a file are those to
 * which it is linked (gABI, "ELF Header"), but kernels that turn paging on themselves often have
 * a physical one in e_entry.
 */
static const struct elf_segment *find_entry(const struct elf *elf, uint64_t *gpa)
{
	for (unsigned int i = 0; i < elf->segment_count; i++) {
		const struct elf_segment *s = &elf->segments[i];

		if (!is_loaded(s) || elf->entry < s->vaddr || elf->entry - s->vaddr >= s->filesz)
			continue;
		*gpa = s->paddr + (elf->entry - s->vaddr);
		return s;
	}
	for (unsigned int i = 0; i < elf->segment_count; i++) {
		const struct elf_segment *s = &elf->segments[i];

		if (!is_loaded(s) || elf->entry < s->paddr || elf->entry - s->paddr >= s->filesz)
			continue;
		*gpa = elf->entry;
		return s;
	}
	return NULL;
}

static int plan_segment(struct plan *plan, const struct elf_segment *s, unsigned int n, bool is_64,
			struct err *err)
{
	char name[32];

	if (!is_64 && s->paddr + s->memsz > UINT64_C(1) << 32)
		return err_set(err, ENOEXEC,
			       "%s: its segment %u at 0x%llx is out of reach for 32-bit mode",
			       image_label(plan->kernel->img), n, (unsigned long long)s->paddr);
	snprintf(name, sizeof(name), "segment %u", n);
	return plan_file(plan, name, s->paddr, s->memsz, plan->kernel->img, s->offset, s->filesz,
			 err);
}

static int plan_kernel(struct plan *plan, struct elf *elf, bool *high, struct err *err)
{
	const char *label = image_label(plan->kernel->img);
	uint64_t gpa;
	int ret = 0;

	for (unsigned int i = 0; i < elf->segment_count; i++)
		if (elf->segments[i].type == PT_INTERP)
			return err_set(err, ENOEXEC,
				       "%s is a program for an operating system, not one (it has a "
				       "segment of type PT_INTERP)",
				       label);
	if (!place(elf, plan->options->at))
		return err_set(err, ENOEXEC,
			       "%s has nothing to load: none of its segments is of type PT_LOAD",
			       label);
	for (unsigned int i = 0; !ret && i < elf->segment_count; i++)
		if (is_loaded(&elf->segments[i]))
			ret = plan_segment(plan, &elf->segments[i], i, elf->is_64, err);
	if (ret)
		return ret;
	if (!find_entry(elf, &gpa))
		return err_set(err, ENOEXEC,
			       "%s: its entry point (e_entry) 0x%llx is in nothing that is loaded",
			       label, (unsigned long long)elf->entry);
	*high = elf->entry != gpa || gpa >= GIB(4);
	plan->entry.rip = elf->entry;
	plan->entry_gpa = gpa;
	return 0;
}

static int plan_elf(struct plan *plan, struct err *err)
{
	const struct kernel *k = plan->kernel;
	const enum cpu_mode mode = k->elf.is_64 ? CPU_LONG64 : CPU_PROT32;
	struct elf elf = k->elf;
	bool high = false;
	int ret;

	if (k->elf_ret) {
		*err = k->elf_err;
		return k->elf_ret;
	}
	ret = plan_kernel(plan, &elf, &high, err);
	if (!ret)
		ret = handoff_plan(plan, mode, err);
	/* Long mode has paging in any case. */
	if (!ret && (high || elf.is_64))
		ret = paging_plan(plan, high ? &elf : NULL, elf.is_64, err);
	return ret;
}

static bool is_elf(const struct kernel *k, const char **why)
{
	*why = k->is_elf ? "it is an ELF file" : "it is no ELF file";
	return k->is_elf;
}

static void describe_segment(const struct elf_segment *s, unsigned int n, struct boot_info *info)
{
	boot_fact(info, n ? "" : "segments",
		  "%c%c%c 0x%llx bytes, 0x%llx in the file, at 0x%llx%s%.0llx",
		  s->flags & PF_R ? 'r' : '-', s->flags & PF_W ? 'w' : '-',
		  s->flags & PF_X ? 'x' : '-', (unsigned long long)s->memsz,
		  (unsigned long long)s->filesz, (unsigned long long)s->paddr,
		  s->paddr == s->vaddr ? "" : ", linked to 0x",
		  s->paddr == s->vaddr ? 0ULL : (unsigned long long)s->vaddr);
}

static void describe(const struct kernel *k, struct boot_info *info)
{
	const struct elf_segment *s;
	struct elf elf = k->elf;
	unsigned int n = 0;
	uint64_t gpa = 0;

	if (k->elf_ret)
		return;
	if (!place(&elf, k->req->options ? k->req->options->at : 0))
		return;
	s = find_entry(&elf, &gpa);
	boot_fact(info, "e_entry", "0x%llx%s", (unsigned long long)elf.entry,
		  !s                 ? ", in nothing that is loaded"
		  : gpa != elf.entry ? ", linked high"
				     : "");
	for (unsigned int i = 0; i < elf.segment_count; i++)
		if (is_loaded(&elf.segments[i]))
			describe_segment(&elf.segments[i], n++, info);
}

const struct protocol elf_protocol = {
	.name = "elf",
	.words = "as an ELF executable",
	.takes_at = true,
	.takes_handoff = true,
	.recognises = is_elf,
	.plan = plan_elf,
	.describe = describe,
};
