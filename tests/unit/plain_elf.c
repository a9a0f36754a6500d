/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ELF executables without a boot protocol of their own, made here: where they are loaded, what the
 * page tables of those that are linked high map, what they are handed, which are refused and what
 * is said then, and that no damaged one is loaded outside RAM.
 */
#include "support/cm.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>

#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/cpu.h"
#include "skep/e820.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "support/loading.h"

#define SEGMENTS 3
#define FILE_MAX KIB(32)
#define BODY     KIB(4) /* of the first segment, in the file */

struct segment {
	uint64_t vaddr, paddr, filesz, memsz;
	uint64_t offset; /* 0: behind the one before */
	uint32_t type;   /* 0: PT_LOAD */
};

struct rig {
	uint8_t file[FILE_MAX];
	size_t len;
	struct gmem *mem;
	struct e820 map;
	struct boot_image *kernel, *initrd;
	const struct boot_image *initrds[1];
	struct boot_options options;
	struct boot_request req;
	struct boot_layout layout;
	struct cpu_entry entry;
	struct err err;
};

static void put_segment(uint8_t *at, bool is_64, const struct segment *s, uint64_t offset)
{
	const uint32_t type = s->type ? s->type : PT_LOAD;
	const Elf64_Phdr p64 = {
		.p_type = type,
		.p_flags = PF_R | PF_X,
		.p_offset = offset,
		.p_vaddr = s->vaddr,
		.p_paddr = s->paddr,
		.p_filesz = s->filesz,
		.p_memsz = s->memsz,
	};
	const Elf32_Phdr p32 = {
		.p_type = type,
		.p_flags = PF_R | PF_W,
		.p_offset = (uint32_t)offset,
		.p_vaddr = (uint32_t)s->vaddr,
		.p_paddr = (uint32_t)s->paddr,
		.p_filesz = (uint32_t)s->filesz,
		.p_memsz = (uint32_t)s->memsz,
	};

	if (is_64)
		memcpy(at, &p64, sizeof(p64));
	else
		memcpy(at, &p32, sizeof(p32));
}

static void put_header(struct rig *r, bool is_64, uint64_t entry, unsigned int count)
{
	const Elf64_Ehdr h64 = {
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = entry,
		.e_phoff = sizeof(h64),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = (uint16_t)count,
	};
	const Elf32_Ehdr h32 = {
		.e_type = ET_EXEC,
		.e_machine = EM_386,
		.e_version = EV_CURRENT,
		.e_entry = (uint32_t)entry,
		.e_phoff = sizeof(h32),
		.e_phentsize = sizeof(Elf32_Phdr),
		.e_phnum = (uint16_t)count,
	};

	if (is_64)
		memcpy(r->file, &h64, sizeof(h64));
	else
		memcpy(r->file, &h32, sizeof(h32));
	memcpy(r->file, ELFMAG, SELFMAG);
	r->file[EI_CLASS] = is_64 ? ELFCLASS64 : ELFCLASS32;
	r->file[EI_DATA] = ELFDATA2LSB;
	r->file[EI_VERSION] = EV_CURRENT;
}

/* A file of these segments, one behind the other from 4 KiB on; their bytes are never zero. */
static void make(struct rig *r, bool is_64, uint64_t entry, const struct segment *s)
{
	const size_t head = is_64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr);
	const size_t size = is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
	uint64_t offset = BODY;
	unsigned int n = 0;

	for (size_t i = 0; i < FILE_MAX; i++)
		r->file[i] = (uint8_t)(1 | (i * 7 + (i >> 8)));
	for (; n < SEGMENTS && s[n].memsz; n++) {
		put_segment(r->file + head + n * size, is_64, &s[n],
			    s[n].offset ? s[n].offset : offset);
		if (!s[n].offset && offset + s[n].filesz <= FILE_MAX)
			offset += s[n].filesz;
	}
	put_header(r, is_64, entry, n);
	r->len = offset;
}

static void begin(struct rig *r, uint64_t memory)
{
	const struct gmem_region region = {.gpa = 0, .size = memory};

	memset(r, 0, sizeof(*r));
	assert_int_equal(e820_build(&r->map, &region, 1, NULL), 0);
	assert_int_equal(gmem_create(&r->mem, &(struct gmem_options){.size = memory}, NULL), 0);
	assert_int_equal(gmem_fill(r->mem, 0, 0xee, memory), 0);
	r->req.memory = &r->map;
	r->req.options = &r->options;
	r->options.handoff = BOOT_HANDOFF_NONE;
}

static void end(struct rig *r)
{
	boot_close(r->kernel);
	boot_close(r->initrd);
	gmem_destroy(r->mem);
}

static int load(struct rig *r)
{
	boot_close(r->kernel);
	assert_int_equal(boot_open_memory(&r->kernel, "kernel", "tiny", r->file, r->len, NULL), 0);
	r->req.kernel = r->kernel;
	r->err.text[0] = '\0';
	return boot_load(&r->req, r->mem, &r->entry, &r->layout, &r->err);
}

/* Pieces in ascending order, in RAM, none over another. */
static void assert_sound(const struct rig *r)
{
	uint64_t last = 0;

	for (unsigned int i = 0; i < r->layout.count; i++) {
		const struct boot_piece *p = &r->layout.pieces[i];

		assert_true(p->len > 0 && p->gpa >= last);
		assert_true(e820_is(&r->map, p->gpa, p->len, E820_RAM));
		last = p->gpa + p->len;
	}
}

#define NOT_MAPPED UINT64_MAX

/* SDM volume 3, 4.3: 32-bit paging with CR4.PSE. */
static uint64_t walk32(const struct rig *r, uint64_t at)
{
	uint64_t e = guest_number(r->mem, r->entry.cr3 + (at >> 22) * 4, 4);

	if (!(e & 1))
		return NOT_MAPPED;
	assert_int_equal(e & 2, 2);
	if (e & 0x80) {
		assert_int_equal(e & 0x3fe000, 0); /* reserved, or above 4 GiB */
		return (e & 0xffc00000) + (at & 0x3fffff);
	}
	e = guest_number(r->mem, (e & 0xfffff000) + (at >> 12 & 1023) * 4, 4);
	assert_int_equal(e & 2, 2);
	return e & 1 ? (e & 0xfffff000) + (at & 0xfff) : NOT_MAPPED;
}

/* SDM volume 3, 4.5.4: 4-level paging. */
static uint64_t walk64(const struct rig *r, uint64_t at)
{
	uint64_t e = r->entry.cr3;

	for (unsigned int shift = 39;; shift -= 9) {
		e = guest_number(r->mem, (e & ~UINT64_C(0xfff)) + (at >> shift & 511) * 8, 8);
		if (!(e & 1))
			return NOT_MAPPED;
		assert_int_equal(e & 2, 2);
		assert_int_equal(e >> 52, 0);
		if (shift == 12 || e & 0x80) {
			const uint64_t mask = (UINT64_C(1) << shift) - 1;

			assert_true(shift <= 21);
			/* Bit 12 of a large page is PAT. */
			assert_int_equal(e & mask & ~UINT64_C(0xfff), 0);
			return (e & ~(mask | 0xfff)) + (at & mask);
		}
	}
}

static uint64_t walk(const struct rig *r, uint64_t at)
{
	return r->entry.mode == CPU_LONG64 ? walk64(r, at) : walk32(r, at);
}

/* Each byte of each segment at its own address, each piece at its place. */
static void assert_mapped(const struct rig *r, const struct segment *s, uint64_t off)
{
	for (unsigned int n = 0; n < SEGMENTS && s[n].memsz; n++) {
		for (uint64_t i = 0; i < s[n].memsz; i += i + 512 < s[n].memsz ? 512 : 1)
			assert_int_equal(walk(r, s[n].vaddr + i), s[n].paddr - off + i);
	}
	for (unsigned int i = 0; i < r->layout.count; i++) {
		const struct boot_piece *p = &r->layout.pieces[i];

		assert_int_equal(walk(r, p->gpa), p->gpa);
		assert_int_equal(walk(r, p->gpa + p->len - 1), p->gpa + p->len - 1);
	}
}

/* The bytes of the file, then zeroes. */
static void assert_loaded(const struct rig *r, const struct segment *s, uint64_t off)
{
	uint64_t offset = BODY;

	for (unsigned int n = 0; n < SEGMENTS && s[n].memsz; offset += s[n++].filesz) {
		const uint8_t *at = gmem_hva(r->mem, s[n].paddr - off, s[n].memsz);

		assert_non_null(at);
		if (s[n].filesz)
			assert_memory_equal(at, r->file + offset, s[n].filesz);
		for (uint64_t i = s[n].filesz; i < s[n].memsz; i++)
			assert_int_equal(at[i], 0);
	}
}

static void test_flat32(void **state)
{
	static const struct segment s[SEGMENTS] = {
		{.vaddr = 0x100000, .paddr = 0x100000, .filesz = 300, .memsz = 300},
		{.vaddr = 0x102000, .paddr = 0x102000, .filesz = 7, .memsz = 9000},
		{.vaddr = 0x2000, .paddr = 0x2000, .filesz = 1, .memsz = 1},
	};
	struct rig r;

	(void)state;
	begin(&r, MIB(4));
	make(&r, false, 0x100010, s);
	assert_int_equal(load(&r), 0);
	assert_sound(&r);
	assert_loaded(&r, s, 0);
	assert_string_equal(r.layout.protocol, "elf");
	assert_string_equal(r.layout.mode, "32-bit mode");
	assert_int_equal(r.layout.entry, 0x100010);
	assert_int_equal(r.layout.least_memory, MIB(2));
	assert_int_equal(r.entry.mode, CPU_PROT32);
	assert_int_equal(r.entry.rip, 0x100010);
	assert_int_equal(r.entry.cr3 | r.entry.cr4, 0);
	assert_int_equal(r.entry.rax | r.entry.rbx | r.entry.rsi, 0);
	assert_int_equal(r.entry.rsp, piece(&r.layout, "stack")->gpa + KIB(32));
	assert_int_equal(guest_number(r.mem, r.entry.gdt + 0x10, 8), 0x00cf9b000000ffff);
	assert_null(find_piece(&r.layout, "page tables"));
	assert_null(find_piece(&r.layout, "command line"));
	end(&r);
}

static void test_flat64(void **state)
{
	static const struct segment s[SEGMENTS] = {
		{.vaddr = 0x200000, .paddr = 0x200000, .filesz = 300, .memsz = 4096},
	};
	struct rig r;

	(void)state;
	begin(&r, MIB(4));
	make(&r, true, 0x200000, s);
	assert_int_equal(load(&r), 0);
	assert_sound(&r);
	assert_loaded(&r, s, 0);
	assert_mapped(&r, s, 0);
	assert_int_equal(r.entry.mode, CPU_LONG64);
	assert_int_equal(r.entry.rip, 0x200000);
	assert_int_equal(guest_number(r.mem, r.entry.gdt + 0x10, 8), 0x00af9b000000ffff);
	for (uint64_t at = 0; at < GIB(4); at += MIB(2) - 1)
		assert_int_equal(walk(&r, at), at);
	assert_int_equal(walk(&r, GIB(4)), NOT_MAPPED);
	assert_int_equal(walk(&r, UINT64_MAX), NOT_MAPPED);
	end(&r);
}

/* What is loaded where the loader has its own things makes them go elsewhere. */
static void test_low(void **state)
{
	static const struct segment s[SEGMENTS] = {
		{.vaddr = 0x1000, .paddr = 0x1000, .filesz = 4096, .memsz = 0xe800},
	};
	struct rig r;

	(void)state;
	begin(&r, MIB(2));
	for (int is_64 = 0; is_64 < 2; is_64++) {
		make(&r, is_64, 0x1000, s);
		assert_int_equal(load(&r), 0);
		assert_sound(&r);
		assert_loaded(&r, s, 0);
		assert_true(r.entry.gdt >= 0xf800);
		assert_true(r.entry.rsp >= 0xf800 + KIB(32));
	}
	assert_mapped(&r, s, 0);
	end(&r);
}

struct high {
	bool is_64;
	uint64_t entry, at, gpa;
	uint64_t off; /* of where segments go, to their paddr */
	struct segment s[SEGMENTS];
};

static const struct high highs[] = {
	/* AT() in the linker script: large pages. */
	{false, 0xc0100004, 0, 0x100004, 0, {{0xc0100000, 0x100000, 4096, 0x5000, 0, 0}}},
	{true,
	 0xffffffff80100004,
	 0,
	 0x100004,
	 0,
	 {{0xffffffff80100000, 0x100000, 4096, 0x5000, 0, 0},
	  {0xffffffff80300000, 0x300000, 4096, 0x5000, 0, 0}}},
	/* To the last page of the address space. */
	{false, 0xfffff000, 0, 0x100000, 0, {{0xfffff000, 0x100000, 4095, 4095, 0, 0}}},
	{true,
	 0xfffffffffffff000,
	 0,
	 0x100000,
	 0,
	 {{0xfffffffffffff000, 0x100000, 4095, 4095, 0, 0}}},
	/* A distance that is no multiple of a large page. */
	{false, 0xc0000000, 0, 0x100000, 0, {{0xc0000000, 0x100000, 4096, 0x6001, 0, 0}}},
	{true, 0xc0000000, 0, 0x123000, 0, {{0xc0000000, 0x123000, 4096, 0x6001, 0, 0}}},
	/* Two distances within one large page, and one that has a page of its own. */
	{false,
	 0xc0000010,
	 0,
	 0x100010,
	 0,
	 {{0xc0000010, 0x100010, 4000, 4000, 0, 0},
	  {0xc0003000, 0x180000, 4096, 0x5000, 0, 0},
	  {0xd0000000, 0x400000, 100, 0x10000, 0, 0}}},
	{true,
	 0xffff800000000010,
	 0,
	 0x100010,
	 0,
	 {{0xffff800000000010, 0x100010, 4000, 4000, 0, 0},
	  {0xffff800000003000, 0x180000, 4096, 0x5000, 0, 0},
	  {0x7fffffe00000, 0x400000, 100, 0x10000, 0, 0}}},
	/* Part of it where it is loaded, entered in the other. */
	{true,
	 0xffffffff80000000,
	 0,
	 0x101000,
	 0,
	 {{0x100000, 0x100000, 4096, 4096, 0, 0},
	  {0xffffffff80000000, 0x101000, 4096, 4096, 0, 0}}},
	/* No AT(): the lowest page goes to 1 MiB, or to where it is told to. */
	{false,
	 0xc0105000,
	 0,
	 0x105000,
	 0xc0000000,
	 {{0xc0105000, 0xc0105000, 4096, 4096, 0, 0}, {0xc0100020, 0xc0100020, 1, 1, 0, 0}}},
	{true,
	 0xffffffff81000123,
	 0,
	 0x100123,
	 0xffffffff80f00000,
	 {{0xffffffff81000123, 0xffffffff81000123, 77, 4096, 0, 0}}},
	{false,
	 0xc0000000,
	 0x300000,
	 0x300000,
	 0xbfd00000,
	 {{0xc0000000, 0xc0000000, 4096, 4096, 0, 0}}},
	/* at= against what the file says. */
	{true,
	 0x40000000,
	 0x200000,
	 0x200000,
	 0,
	 {{0x40000000, 0x200000, 4096, 4096, 0, 0}, {0x40001000, 0x201000, 4, 4, 0, 0}}},
};

static void test_linked_high(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, MIB(8));
	for (size_t i = 0; i < ARRAY_SIZE(highs); i++) {
		const struct high *h = &highs[i];

		make(&r, h->is_64, h->entry, h->s);
		r.options.at = h->at;
		if (load(&r))
			fail_msg("%zu: %s", i, r.err.text);
		assert_sound(&r);
		assert_loaded(&r, h->s, h->off);
		assert_mapped(&r, h->s, h->off);
		assert_int_equal(r.entry.mode, h->is_64 ? CPU_LONG64 : CPU_PROT32);
		assert_int_equal(r.entry.cr4, h->is_64 ? 0 : 0x10);
		assert_int_equal(r.entry.rip, h->entry);
		assert_int_equal(r.layout.entry, h->gpa);
		assert_int_equal(walk(&r, h->entry), h->gpa);
	}
	end(&r);
}

/* A kernel that turns paging on itself is entered at its physical address, without. */
static void test_own_paging(void **state)
{
	static const struct segment s[SEGMENTS] = {
		{.vaddr = 0xc0100000, .paddr = 0x100000, .filesz = 4096, .memsz = 4096},
	};
	static const struct segment boot[SEGMENTS] = {
		{.vaddr = 0x100000, .paddr = 0x100000, .filesz = 64, .memsz = 64},
		{.vaddr = 0xc0101000, .paddr = 0x101000, .filesz = 4096, .memsz = 4096},
	};
	struct rig r;

	(void)state;
	begin(&r, MIB(4));
	make(&r, false, 0x100020, s);
	assert_int_equal(load(&r), 0);
	assert_int_equal(r.entry.rip, 0x100020);
	assert_int_equal(r.entry.cr3, 0);
	make(&r, false, 0x100020, boot);
	assert_int_equal(load(&r), 0);
	assert_int_equal(r.entry.rip, 0x100020);
	assert_int_equal(r.entry.cr3, 0);
	end(&r);
}

/* ld puts the headers of the file in front of what -Ttext places, where there is no RAM. */
static void test_headers(void **state)
{
	static const struct segment s[SEGMENTS] = {
		{.vaddr = 0x100000, .paddr = 0x100000, .filesz = 4096, .memsz = 4096},
		{.vaddr = 0xff000, .paddr = 0xff000, .filesz = 0x74, .memsz = 0x74, .offset = 1},
	};
	struct rig r;
	Elf32_Phdr p;

	(void)state;
	begin(&r, MIB(4));
	make(&r, false, 0x100000, s);
	memcpy(&p, r.file + sizeof(Elf32_Ehdr) + sizeof(p), sizeof(p));
	assert_true(load(&r) < 0);
	assert_says(&r, "segment 1 at 0xff000, of 0x74 bytes, is not in guest RAM");
	p.p_offset = 0;
	memcpy(r.file + sizeof(Elf32_Ehdr) + sizeof(p), &p, sizeof(p));
	assert_int_equal(load(&r), 0);
	assert_null(find_piece(&r.layout, "segment 1"));
	p.p_memsz++;
	memcpy(r.file + sizeof(Elf32_Ehdr) + sizeof(p), &p, sizeof(p));
	assert_true(load(&r) < 0);
	end(&r);
}

static void test_params(void **state)
{
	static const struct segment s[SEGMENTS] = {
		{.vaddr = 0x100000, .paddr = 0x100000, .filesz = 100, .memsz = 0x1001},
	};
	static const uint8_t initrd[5001] = {[5000] = 77};
	struct boot_params bp;
	struct rig r;

	(void)state;
	begin(&r, MIB(4));
	make(&r, false, 0x100000, s);
	r.options.handoff = BOOT_HANDOFF_PARAMS;
	r.req.cmdline = "one two";
	r.req.rsdp = 0xe0000;
	assert_int_equal(boot_open_memory(&r.initrd, "initrd", "rd", initrd, sizeof(initrd), NULL),
			 0);
	r.initrds[0] = r.initrd;
	r.req.initrds = r.initrds;
	r.req.initrd_count = 1;
	assert_int_equal(load(&r), 0);
	assert_sound(&r);
	assert_int_equal(gmem_read(r.mem, r.entry.rsi, &bp, sizeof(bp)), 0);
	assert_int_equal(bp.hdr.header, 0x53726448);
	assert_int_equal(bp.hdr.version, 0x20f);
	assert_int_equal(bp.hdr.boot_flag, 0xaa55);
	assert_int_equal(bp.hdr.type_of_loader, 0xff);
	assert_int_equal(bp.hdr.loadflags, LOADED_HIGH);
	assert_int_equal(bp.hdr.code32_start, 0x100000);
	assert_int_equal(bp.acpi_rsdp_addr, 0xe0000);
	assert_int_equal(bp.e820_entries, r.map.count);
	assert_int_equal(bp.hdr.ramdisk_image, 0x102000);
	assert_int_equal(bp.hdr.ramdisk_size, 5004);
	assert_int_equal(guest_number(r.mem, 0x102000 + 5000, 4), 77);
	assert_string_equal(gmem_hva(r.mem, bp.hdr.cmd_line_ptr, 8), "one two");
	assert_int_equal(r.entry.rsp, 0x10000);
	end(&r);
}

/* Multiboot 1, 3.3, by the default. */
static void test_multiboot(void **state)
{
	static const struct segment s[SEGMENTS] = {
		{.vaddr = 0xffffffff80200000, .paddr = 0x200000, .filesz = 100, .memsz = 0x1001},
	};
	struct boot_module module = {.cmdline = "its own"};
	uint64_t info, mods, map;
	struct rig r;

	(void)state;
	begin(&r, MIB(8));
	make(&r, true, 0xffffffff80200000, s);
	memset(&r.options, 0, sizeof(r.options));
	r.req.cmdline = "one two";
	assert_int_equal(boot_open_memory(&r.initrd, "module", "m", "abcd", 4, NULL), 0);
	module.img = r.initrd;
	r.initrds[0] = r.initrd;
	r.req.initrds = r.initrds;
	r.req.initrd_count = 1;
	r.req.modules = &module;
	r.req.module_count = 1;
	assert_int_equal(load(&r), 0);
	assert_sound(&r);
	assert_mapped(&r, s, 0);
	info = r.entry.rbx;
	assert_int_equal(r.entry.rax, 0x2badb002);
	assert_int_equal(r.entry.rsi, 0);
	assert_int_equal(guest_number(r.mem, info, 4), 0x1 | 0x4 | 0x8 | 0x40 | 0x200);
	assert_int_equal(guest_number(r.mem, info + 8, 4), MIB(7) / 1024);
	assert_string_equal(gmem_hva(r.mem, guest_number(r.mem, info + 16, 4), 8), "one two");
	assert_int_equal(guest_number(r.mem, info + 20, 4), 2);
	mods = guest_number(r.mem, info + 24, 4);
	for (unsigned int i = 0; i < 2; i++) {
		const uint64_t at = guest_number(r.mem, mods + 16UL * i, 4);

		assert_int_equal(at & 4095, 0);
		assert_int_equal(guest_number(r.mem, mods + 16UL * i + 4, 4), at + 4);
		assert_memory_equal(gmem_hva(r.mem, at, 4), "abcd", 4);
	}
	assert_string_equal(gmem_hva(r.mem, guest_number(r.mem, mods + 24, 4), 8), "its own");
	assert_int_equal(guest_number(r.mem, info + 44, 4), r.map.count * 24);
	map = guest_number(r.mem, info + 48, 4);
	for (unsigned int i = 0; i < r.map.count; i++) {
		assert_int_equal(guest_number(r.mem, map + 24UL * i, 4), 20);
		assert_int_equal(guest_number(r.mem, map + 24UL * i + 4, 8), r.map.entries[i].gpa);
	}
	end(&r);
}

static void test_unheard(void **state)
{
	static const struct segment s[SEGMENTS] = {
		{.vaddr = 0x100000, .paddr = 0x100000, .filesz = 100, .memsz = 100},
	};
	struct boot_module module = {.cmdline = ""};
	struct rig r;

	(void)state;
	begin(&r, MIB(4));
	make(&r, false, 0x100000, s);
	assert_int_equal(boot_open_memory(&r.initrd, "module", "m", "abcd", 4, NULL), 0);
	module.img = r.initrd;
	r.req.modules = &module;
	r.req.module_count = 1;
	assert_int_equal(load(&r), -EINVAL);
	assert_says(&r, "would not hear of the module");
	r.options.handoff = BOOT_HANDOFF_PARAMS;
	assert_int_equal(load(&r), -EINVAL);
	assert_says(&r, "give it an initrd with -i");
	r.options.handoff = BOOT_HANDOFF_NONE;
	r.req.module_count = 0;
	r.req.initrd_count = 1;
	assert_int_equal(load(&r), -EINVAL);
	assert_says(&r, "would not hear of the initrd");
	end(&r);
}

struct refusal {
	bool is_64;
	uint64_t entry;
	const char *says;
	struct segment s[SEGMENTS];
	uint64_t at;
};

static const struct refusal refusals[] = {
	{false,
	 0x100000,
	 "none of its segments is of type PT_LOAD",
	 {{0x100000, 0x100000, 9, 9, 0, PT_NOTE}},
	 0},
	{false,
	 0x100000,
	 "an operating system, not one (it has a segment of type PT_INTERP)",
	 {{0x100000, 0x100000, 9, 9, 0, 0}, {0, 0, 9, 9, 0, PT_INTERP}},
	 0},
	{false,
	 0x100064,
	 "entry point (e_entry) 0x100064 is in nothing that is loaded",
	 {{0x100000, 0x100000, 100, 200, 0, 0}},
	 0},
	{false,
	 0,
	 "entry point (e_entry) 0x0 is in nothing",
	 {{0x100000, 0x100000, 100, 200, 0, 0}},
	 0},
	{false,
	 0x100000,
	 "is truncated: its segment 0 has p_offset 0x1000 and p_filesz 0x10000",
	 {{0x100000, 0x100000, 0x10000, 0x10000, 0, 0}},
	 0},
	{false,
	 0x100000,
	 "p_memsz 0x63, less than p_filesz 0x64",
	 {{0x100000, 0x100000, 100, 99, 0, 0}},
	 0},
	{true, 0x100000, "its segment 0 wraps", {{0x100000, UINT64_MAX - 50, 100, 100, 0, 0}}, 0},
	{true, 0x100000, "its segment 0 wraps", {{UINT64_MAX - 50, 0x100000, 100, 100, 0, 0}}, 0},
	{true,
	 0x100000,
	 "needs 17 MiB of guest memory, the guest has 4; give it more: -m 17M",
	 {{0x1000000, 0x1000000, 100, 100, 0, 0}},
	 0},
	{true,
	 0x100000,
	 "its segment 0 at 0xa0000, of 0x64 bytes, is not in guest RAM",
	 {{0xa0000, 0xa0000, 100, 100, 0, 0}},
	 0},
	{true,
	 0x100000,
	 "its segment 1 at 0x100063 overlaps its segment 0 at 0x100000",
	 {{0x100000, 0x100000, 100, 100, 0, 0}, {0x200000, 0x100063, 1, 1, 0, 0}},
	 0},
	{true,
	 0x80000000,
	 "segment 0 with p_vaddr 0x80000000 cannot be mapped to 0x100010",
	 {{0x80000000, 0x100010, 100, 100, 0, 0}},
	 0},
	{true,
	 0x800000000000,
	 "is at no address that long mode has",
	 {{0x800000000000, 0x100000, 100, 100, 0, 0}},
	 0},
	{true,
	 0x7fffffffff00,
	 "is at no address that long mode has",
	 {{0x7fffffffff00, 0x100f00, 100, 4096, 0, 0}},
	 0},
	{false,
	 0xfffff000,
	 "is at no address that 32-bit mode has",
	 {{0xfffff000, 0x100000, 100, 4097, 0, 0}},
	 0},
	{false,
	 0xc0000000,
	 "segment 1 with p_vaddr 0xc0000f00 shares a page with another",
	 {{0xc0000000, 0x100000, 100, 100, 0, 0}, {0xc0000f00, 0x200f00, 1, 1, 0, 0}},
	 0},
	{false,
	 0x200000,
	 "segment 0 with p_vaddr 0x200000 would hide its segment 1 at 0x200000",
	 {{0x200000, 0x100000, 100, 100, 0, 0}, {0xc0000000, 0x200000, 1, 1, 0, 0}},
	 0},
	/* Whole large pages. */
	{true,
	 0x800000,
	 "would hide its segment 1 at 0x9f0000",
	 {{0x800000, 0x200000, 100, 100, 0, 0}, {0xc09f0000, 0x9f0000, 1, 1, 0, 0}},
	 0},
	{false,
	 0x100000,
	 "its segment 0 at 0xfffffffffffff is out of reach for 32-bit mode",
	 {{0x100000, 0x100000, 100, 100, 0, 0}},
	 (UINT64_C(1) << 52) - 1},
	{true,
	 0,
	 "is not in guest RAM",
	 {{0, 0, 100, 100, 0, 0}, {UINT64_MAX - 4096, 0, 100, 100, 0, 0}},
	 0x100000},
};

static void test_refusals(void **state)
{
	struct rig r;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		const struct refusal *x = &refusals[i];

		begin(&r, strstr(x->says, "0x9f0000") ? MIB(16) : MIB(4));
		make(&r, x->is_64, x->entry, x->s);
		r.options.at = x->at;
		if (load(&r) >= 0)
			fail_msg("%zu: loaded, not '%s'", i, x->says);
		assert_says(&r, x->says);
		end(&r);
	}
}

/* Whatever is damaged: it is refused in a sentence, or loaded into RAM and nowhere else. */
static void test_mutations(void **state)
{
	uint64_t seed = 20201;
	unsigned int loaded = 0;
	struct rig r;

	(void)state;
	begin(&r, MIB(4));
	for (unsigned int i = 0; i < 3000; i++) {
		const struct high *h = &highs[i % ARRAY_SIZE(highs)];

		make(&r, h->is_64, h->entry, h->s);
		r.options.at = h->at;
		for (unsigned int n = 0; n < 1 + i % 3; n++) {
			seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
			r.file[seed >> 40 & 255] = (uint8_t)(seed >> 33);
		}
		if (load(&r)) {
			assert_true(r.err.text[0]);
			assert_null(strchr(r.err.text, '\n'));
			continue;
		}
		loaded++;
		assert_sound(&r);
		if (r.entry.cr3)
			assert_int_equal(walk(&r, r.entry.rip), r.layout.entry);
	}
	assert_in_range(loaded, 100, 2900);
	end(&r);
}

static void test_examine(void **state)
{
	struct boot_info info;
	struct rig r;
	bool seen = false;

	(void)state;
	begin(&r, MIB(8));
	make(&r, false, highs[0].entry, highs[0].s);
	assert_int_equal(load(&r), 0);
	assert_int_equal(boot_examine(&r.req, &info, &r.err), 0);
	assert_string_equal(info.format, "a 32-bit ELF executable");
	assert_string_equal(info.chosen, "elf");
	for (unsigned int i = 0; i < info.fact_count; i++) {
		seen |= !strcmp(info.facts[i].label, "segments");
		if (!strcmp(info.facts[i].label, "e_entry"))
			assert_string_equal(info.facts[i].text, "0xc0100004, linked high");
		if (!strcmp(info.facts[i].label, "segments"))
			assert_string_equal(info.facts[i].text,
					    "rw- 0x5000 bytes, 0x1000 in the file, at 0x100000, "
					    "linked to 0xc0100000");
	}
	assert_true(seen);
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flat32),     cmocka_unit_test(test_flat64),
		cmocka_unit_test(test_low),        cmocka_unit_test(test_linked_high),
		cmocka_unit_test(test_own_paging), cmocka_unit_test(test_headers),
		cmocka_unit_test(test_params),     cmocka_unit_test(test_multiboot),
		cmocka_unit_test(test_unheard),    cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_mutations),  cmocka_unit_test(test_examine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
