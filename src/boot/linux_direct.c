/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux, entered where its own unpacker would jump to when it is done (boot.rst, "64-bit Boot
 * Protocol", and arch/x86/boot/compressed): a vmlinux, or the one that a bzImage has in it,
 * unpacked here. What the unpacker does beside unpacking is done here too: segments go where they
 * are linked to be, or, with address space layout randomisation, somewhere else, and then what
 * refers to addresses is corrected.
 *
 * A vmlinux in a bzImage is read only when it is loaded. A plan knows from the setup header how
 * much room it takes, and holds it to that.
 */
#include <asm/bootparam.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "skep/clock.h"
#include "skep/e820.h"
#include "skep/gmem.h"

#include "cache.h"
#include "image.h"
#include "linux.h"
#include "paging.h"

/* arch/x86/include/asm/page_64_types.h: where the kernel's image is mapped, and how far up it may
 * be when it is linked so that it can be moved. */
#define KERNEL_MAP      UINT64_C(0xffffffff80000000)
#define KERNEL_MAP_SIZE GIB(1)

/* What kernels take that do not say it: arch/x86/include/asm/setup.h, COMMAND_LINE_SIZE. */
#define VMLINUX_CMDLINE 2047

static bool recognises(const struct kernel *k, const char **why)
{
	char desc[8];
	size_t len;

	if (k->is_elf && !k->elf_ret && k->elf.is_64) {
		*why = "it has a note of Linux";
		if (elf_note(k->img, &k->elf, "Linux", ELF_NOTE_ANY, desc, sizeof(desc), &len))
			return true;
	}
	if (!k->is_bzimage || k->bzimage_ret) {
		*why = "it is neither a bzImage nor an ELF file with a note of Linux";
		return false;
	}
	*why = "its setup header (xloadflags) says that it is no 64-bit kernel";
	if (!(k->bzimage.xloadflags & XLF_KERNEL_64))
		return false;
	*why = "its setup header (payload_offset) names no payload that can be unpacked here";
	if (!k->bzimage.payload || !k->bzimage.pref_address)
		return false;
	*why = "its setup header says that it is a 64-bit kernel, and what is packed in it";
	return true;
}

/* Whether the command line has @word, or a word that starts with it when it ends in '='. */
static bool cmdline_has(const struct plan *plan, const char *word)
{
	const char *at = plan->req->cmdline ? plan->req->cmdline : "";
	const size_t n = strlen(word);

	while (*(at += strspn(at, " \t\n"))) {
		const size_t len = strcspn(at, " \t\n");

		if (len >= n && !strncmp(at, word, n) && (len == n || word[n - 1] == '='))
			return true;
		at += len;
	}
	return false;
}

static bool moves_at_random(const struct plan *plan, const struct bzimage *bz)
{
	return bz->relocatable && plan->options->kaslr != BOOT_OFF && !cmdline_has(plan, "nokaslr");
}

/* One of @count, all alike to within 2^-40. */
static uint64_t one_of(uint64_t count)
{
	uint64_t random;

	/* Never short at this length once the host is up (getrandom(2)). */
	bug_on(getrandom(&random, sizeof(random), 0) != sizeof(random));
	return random % count;
}

/* How many places there are for the kernel in one range of RAM, the first at *@first. */
static uint64_t places_in(const struct e820_entry *e, const struct linux_needs *n, uint64_t *first)
{
	const uint64_t end = MIN(e->gpa + e->len, GMEM_HOLE_START);

	*first = align_up(MAX(e->gpa, n->run), n->align);
	if (e->type != E820_RAM || end < *first || end - *first < n->room)
		return 0;
	return (end - *first - n->room) / n->align + 1;
}

/* As compressed/kaslr.c: any place in RAM, unless the command line says what RAM there is. */
static uint64_t random_place(const struct plan *plan, const struct linux_needs *n)
{
	const struct e820 *map = plan->req->memory;
	uint64_t count = 0, first, chosen;

	if (cmdline_has(plan, "mem=") || cmdline_has(plan, "memmap=") ||
	    cmdline_has(plan, "hugepages="))
		return 0;
	for (unsigned int i = 0; i < map->count; i++)
		count += places_in(&map->entries[i], n, &first);
	chosen = count ? one_of(count) : 0;
	for (unsigned int i = 0; i < map->count && count; i++) {
		const uint64_t here = places_in(&map->entries[i], n, &first);

		if (chosen < here)
			return first + chosen * n->align;
		chosen -= here;
	}
	return 0;
}

/* The lists of addresses behind the kernel: arch/x86/boot/compressed/misc.c, handle_relocations().
 */
struct relocations {
	uint8_t *bytes;
	struct list {
		const uint8_t *at;
		size_t count;
	} lists[3];
	unsigned int list_count;
};

/* Each list stands behind a zero; there are two, or three in kernels that have inverse ones. */
static void split_lists(struct relocations *r, size_t len)
{
	for (size_t at = 0; at + 4 <= len; at += 4) {
		if (load_le32(r->bytes + at)) {
			if (!r->list_count)
				return;
			r->lists[r->list_count - 1].count++;
			continue;
		}
		if (r->list_count == ARRAY_SIZE(r->lists)) {
			r->list_count = 0;
			return;
		}
		r->lists[r->list_count++] = (struct list){.at = r->bytes + at + 4};
	}
	if (r->list_count < 2)
		r->list_count = 0;
}

static int read_relocations(const struct boot_image *img, const struct elf *elf,
			    struct relocations *r, struct err *err)
{
	const uint64_t len = boot_image_size(img) - MIN(boot_image_size(img), elf->end);
	int ret;

	*r = (struct relocations){.bytes = NULL};
	if (!len)
		return 0;
	r->bytes = malloc(len);
	if (!r->bytes)
		return err_sys(err, ENOMEM, "%s: its relocations", image_label(img));
	ret = image_read(img, elf->end, r->bytes, len, err);
	if (!ret)
		split_lists(r, len);
	return ret;
}

/* A kernel in guest memory. */
struct loaded {
	uint8_t *hva;
	uint64_t len;
	uint64_t run; /* the physical address that hva was linked for */
};

/* Adds @delta to the @size bytes at each address of the list; false for one that is elsewhere. */
static bool move_list(const struct loaded *l, const struct list *list, unsigned int size,
		      uint64_t delta)
{
	for (size_t i = 0; i < list->count; i++) {
		/* Sign-extended: these are addresses in the last 2 GiB. */
		const uint64_t vaddr = (uint64_t)(int32_t)load_le32(list->at + 4 * i);
		const uint64_t at = vaddr - KERNEL_MAP - l->run;
		uint8_t *p = l->hva + at;

		if (!range_fits(at, size, l->len))
			return false;
		if (size == 8)
			store_le64(p, load_le64(p) + delta);
		else
			store_le32(p, load_le32(p) + (uint32_t)delta);
	}
	return true;
}

static int move(const struct plan *plan, const struct loaded *l, const struct relocations *r,
		uint64_t delta, struct err *err)
{
	const unsigned int last = r->list_count - 1;

	if (move_list(l, &r->lists[0], 8, delta) && move_list(l, &r->lists[last], 4, delta) &&
	    (last < 2 || move_list(l, &r->lists[1], 4, -delta)))
		return 0;
	return err_set(err, ENOEXEC,
		       "%s is damaged: one of its relocations is of an address outside of it",
		       image_label(plan->kernel->img));
}

/* Virtual addresses go up by a random number of steps; the kernel finds out itself where it is. */
static int randomise(const struct plan *plan, const struct boot_image *vmlinux,
		     const struct elf *elf, const struct loaded *l, struct err *err)
{
	const struct bzimage *bz = &plan->kernel->bzimage;
	const uint64_t top = bz->pref_address + bz->init_size;
	struct relocations r;
	int ret = read_relocations(vmlinux, elf, &r, err);

	if (!ret && r.list_count && top < KERNEL_MAP_SIZE)
		ret = move(plan, l, &r,
			   one_of((KERNEL_MAP_SIZE - top) / bz->kernel_alignment + 1) *
				   bz->kernel_alignment,
			   err);
	else if (!ret && plan->options->kaslr == BOOT_ON)
		ret = err_set(err, ENOEXEC,
			      "%s cannot be loaded at random (kaslr=on): it has no relocations",
			      image_label(plan->kernel->img));
	free(r.bytes);
	return ret;
}

/* A segment that is not where the setup header has room for it is refused. */
static int load_segments(const struct plan *plan, const struct boot_image *vmlinux,
			 const struct elf *elf, struct gmem *mem, uint64_t to, struct err *err)
{
	const struct bzimage *bz = &plan->kernel->bzimage;
	int ret = 0;

	for (unsigned int i = 0; !ret && i < elf->segment_count; i++) {
		const struct elf_segment *s = &elf->segments[i];
		const uint64_t at = s->paddr - bz->pref_address;

		if (s->type != PT_LOAD || !s->memsz)
			continue;
		if (!range_fits(at, s->memsz, bz->init_size))
			return err_set(
				err, ENOEXEC,
				"%s is damaged: segment %u of the kernel in it, 0x%llx bytes at "
				"0x%llx, is outside of what its header (pref_address, "
				"init_size) promises",
				image_label(plan->kernel->img), i, (unsigned long long)s->memsz,
				(unsigned long long)s->paddr);
		ret = image_load(vmlinux, s->offset, mem, to + at, s->filesz, err);
		if (!ret)
			ret = plan_clear(mem, to + at + s->filesz, s->memsz - s->filesz);
	}
	return ret;
}

static int load_vmlinux(struct plan *plan, const struct boot_image *vmlinux, struct gmem *mem,
			struct err *err)
{
	const struct bzimage *bz = &plan->kernel->bzimage;
	const uint64_t to = plan->entry.rip;
	struct loaded l = {.len = bz->init_size, .run = bz->pref_address};
	struct elf elf;
	uint64_t lo, hi;
	int ret = elf_read(vmlinux, &elf, err);

	if (!ret)
		ret = load_segments(plan, vmlinux, &elf, mem, to, err);
	if (ret)
		return ret;
	if (!elf_span(&elf, &lo, &hi) || elf.entry < lo || elf.entry >= hi)
		return err_set(err, ENOEXEC,
			       "%s is damaged: the kernel in it has its entry (e_entry) at 0x%llx, "
			       "outside of what is loaded",
			       image_label(plan->kernel->img), (unsigned long long)elf.entry);
	plan->entry.rip = to + (elf.entry - bz->pref_address);
	l.hva = gmem_hva(mem, to, l.len);
	if (!l.hva)
		return err_set(err, EFAULT, "guest memory at 0x%llx is not what its map says",
			       (unsigned long long)to);
	return plan->random ? randomise(plan, vmlinux, &elf, &l, err) : 0;
}

/* The directory of unpacked kernels, or NULL. */
static const char *cache_dir(const struct plan *plan, char dir[PATH_MAX])
{
	const char *asked = plan->options->cache;

	if (!asked)
		return cache_default(dir) ? dir : NULL;
	return strcmp(asked, "off") ? asked : NULL;
}

static int load_payload(struct plan *plan, struct gmem *mem, struct err *err)
{
	const struct kernel *k = plan->kernel;
	const struct bzimage *bz = &k->bzimage;
	const uint64_t at = (uint64_t)bz->setup_size + bz->payload_offset;
	struct boot_image *vmlinux;
	char dir[PATH_MAX];
	int ret;

	plan->unpack_from = clock_now();
	/* boot.rst, init_size: the unpacked kernel is part of what that has room for. */
	ret = cache_unpack(cache_dir(plan, dir), k->img, at, bz->payload_length, bz->init_size,
			   &vmlinux, err);
	plan->unpack_to = clock_now();
	if (ret == -E2BIG)
		return err_set(
			err, ENOEXEC,
			"%s is damaged: the kernel in it says that it is larger than its header "
			"(init_size) has room for, %u bytes",
			image_label(k->img), bz->init_size);
	if (ret)
		return ret;
	ret = load_vmlinux(plan, vmlinux, mem, err);
	boot_close(vmlinux);
	return ret;
}

static int plan_payload(struct plan *plan, struct linux_place *p, struct err *err)
{
	const struct bzimage *bz = &plan->kernel->bzimage;
	struct linux_needs needs = {
		.unpacked = true,
		.relocatable = bz->relocatable,
		.run = bz->pref_address,
		.align = bz->relocatable ? bz->kernel_alignment : 1,
		.room = bz->init_size,
		.initrd_limit = MIN((uint64_t)bz->initrd_addr_max + 1, GMEM_HOLE_END),
	};
	int ret;

	plan->random = moves_at_random(plan, bz);
	if (plan->random)
		needs.wish = random_place(plan, &needs);
	ret = linux_place(plan, &needs, p, err);
	if (!ret)
		ret = linux_params(plan, bz, p, CPU_LONG64, err);
	if (!ret)
		ret = plan_room(plan, "kernel", p->kernel, p->room_end - p->kernel, err);
	plan->entry.rip = p->kernel;
	plan->finish = load_payload;
	return ret;
}

/* The header that a vmlinux has not: boot.rst, "64-bit Boot Protocol", wants one all the same. */
static void make_header(struct bzimage *bz)
{
	struct setup_header h = {
		.boot_flag = 0xaa55,
		.header = 0x53726448,
		.version = 0x020c,
		.loadflags = LOADED_HIGH,
		.cmdline_size = VMLINUX_CMDLINE,
		.initrd_addr_max = INT32_MAX,
		.kernel_alignment = MIB(2),
		.xloadflags = XLF_KERNEL_64,
	};

	*bz = (struct bzimage){.cmdline_size = VMLINUX_CMDLINE, .header_len = sizeof(h)};
	memcpy(bz->header, &h, sizeof(h));
}

static int plan_vmlinux(struct plan *plan, struct linux_place *p, struct err *err)
{
	const struct kernel *k = plan->kernel;
	struct linux_needs needs = {.unpacked = true, .align = 1, .initrd_limit = GIB(2)};
	struct bzimage bz;
	uint64_t lo, hi;
	int ret;

	if (!elf_span(&k->elf, &lo, &hi) || k->elf.entry < lo || k->elf.entry >= hi)
		return err_set(err, ENOEXEC,
			       "%s is damaged: its entry (e_entry) 0x%llx is outside of what is "
			       "loaded",
			       image_label(k->img), (unsigned long long)k->elf.entry);
	if (plan->options->kaslr == BOOT_ON)
		return err_set(err, ENOEXEC,
			       "%s cannot be loaded at random (kaslr=on): it has no relocations",
			       image_label(k->img));
	needs.run = lo;
	needs.room = hi - lo;
	make_header(&bz);
	ret = linux_place(plan, &needs, p, err);
	if (!ret)
		ret = linux_params(plan, &bz, p, CPU_LONG64, err);
	if (!ret)
		ret = plan_elf_segments(plan, &k->elf, err);
	plan->entry.rip = k->elf.entry;
	return ret;
}

static int plan_direct(struct plan *plan, struct err *err)
{
	struct linux_place p;
	int ret = linux_no_modules(plan, err);

	if (!ret && plan->kernel->is_bzimage)
		ret = plan_payload(plan, &p, err);
	else if (!ret)
		ret = plan_vmlinux(plan, &p, err);
	return ret ? ret : paging_plan(plan, NULL, true, err);
}

static void describe(const struct kernel *k, struct boot_info *info)
{
	if (k->is_bzimage && k->bzimage.relocatable)
		boot_fact(info, "when it runs",
			  "it is somewhere at random; kaslr=off keeps it where "
			  "it wants to be");
}

const struct protocol linux_protocol = {
	.name = "linux",
	.words = "the 64-bit Linux boot protocol, straight into the kernel",
	.recognises = recognises,
	.plan = plan_direct,
	.describe = describe,
};
