/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multiboot and Multiboot2, on kernels made here: what they are handed, to the byte against
 * tests/golden/multiboot, every rule of the specifications about where things go, every file that
 * is refused and what is said then, and that no file makes skep leave guest RAM or the file.
 */
#include "support/cm.h"

#include <elf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/cpu.h"
#include "skep/e820.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "support/golden.h"
#include "support/loading.h"

/* The file: ELF headers, the Multiboot header, code, data, symbols. */
#define HEADER   0x100
#define TEXT     0x400
#define TEXT_LEN 0x200
#define DATA     0x600
#define DATA_LEN 0x100
#define SYMTAB   0x700
#define STRTAB   0x760
#define NAMES    0x780
#define SHDRS    0x800
#define SECTIONS 6
#define TOTAL    0xa00
#define ROOM     0x12000

/* In memory. */
#define TEXT_AT 0x100000
#define DATA_AT 0x102000
#define BSS_END 0x105000

#define MAGIC_1 0x1badb002
#define MAGIC_2 0xe85250d6

/* The Multiboot header's fields, 3.1.1. */
#define M_FLAGS     4
#define M_SUM       8
#define M_HEADER    12
#define M_LOAD      16
#define M_LOAD_END  20
#define M_BSS_END   24
#define M_ENTRY     28
#define M_MODE_TYPE 32

struct rig {
	uint8_t file[ROOM];
	size_t len;
	size_t tag; /* where the next tag of a Multiboot2 header goes */
	struct gmem *mem;
	struct e820 map;
	struct boot_image *kernel, *initrds[2];
	struct boot_module modules[2];
	struct boot_request req;
	struct boot_options options;
	struct boot_layout layout;
	struct cpu_entry entry;
	struct err err;
};

static void poke(struct rig *r, size_t at, unsigned int size, uint64_t value)
{
	value = htole64(value);
	memcpy(r->file + at, &value, size);
}

static void begin(struct rig *r, uint64_t memory)
{
	const struct gmem_region regions[] = {
		{.gpa = 0, .size = MIN(memory, GMEM_HOLE_START)},
		{.gpa = GMEM_HOLE_END, .size = memory - MIN(memory, GMEM_HOLE_START)},
	};

	memset(r, 0, sizeof(*r));
	assert_int_equal(e820_build(&r->map, regions, regions[1].size ? 2 : 1, NULL), 0);
	assert_int_equal(gmem_create(&r->mem, &(struct gmem_options){.size = memory}, NULL), 0);
	/* A reset loads into memory that a guest has used. */
	assert_int_equal(gmem_fill(r->mem, 0, 0xff, MIN(memory, MIB(2))), 0);
	r->req.memory = &r->map;
	r->req.options = &r->options;
	r->req.initrds = (const struct boot_image *const *)r->initrds;
	r->req.modules = r->modules;
	for (size_t i = 0; i < TOTAL; i++)
		r->file[i] = (uint8_t)(i * 7 + (i >> 8) + 1);
	r->len = TOTAL;
}

static void close_images(struct rig *r)
{
	boot_close(r->kernel);
	r->kernel = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(r->initrds); i++) {
		boot_close(r->initrds[i]);
		r->initrds[i] = NULL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(r->modules); i++) {
		boot_close(r->modules[i].img);
		r->modules[i].img = NULL;
	}
}

static void end(struct rig *r)
{
	close_images(r);
	gmem_destroy(r->mem);
}

static void add_initrd(struct rig *r, const void *data, size_t len)
{
	const unsigned int n = r->req.initrd_count++;

	assert_int_equal(boot_open_memory(&r->initrds[n], "initrd", "rd", data, len, NULL), 0);
}

static void add_module(struct rig *r, const void *data, size_t len, const char *cmdline)
{
	const unsigned int n = r->req.module_count++;

	assert_int_equal(boot_open_memory(&r->modules[n].img, "module", "m", data, len, NULL), 0);
	r->modules[n].cmdline = cmdline;
}

static int load(struct rig *r)
{
	boot_close(r->kernel);
	assert_int_equal(boot_open_memory(&r->kernel, "kernel", "k", r->file, r->len, NULL), 0);
	r->req.kernel = r->kernel;
	r->err.text[0] = '\0';
	return boot_load(&r->req, r->mem, &r->entry, &r->layout, &r->err);
}

static void load_or_fail(struct rig *r)
{
	if (load(r))
		fail_msg("%s", r->err.text);
}

static void assert_refused(struct rig *r, const char *words)
{
	assert_int_equal(load(r), -ENOEXEC);
	assert_says(r, words);
}

static void assert_sound(const struct rig *r)
{
	const struct boot_layout *l = &r->layout;
	uint64_t last = 0;
	bool entered = false;

	for (unsigned int i = 0; i < l->count; i++) {
		const struct boot_piece *p = &l->pieces[i];

		assert_true(p->len > 0);
		assert_true(p->gpa >= last);
		assert_true(e820_is(&r->map, p->gpa, p->len, E820_RAM));
		last = p->gpa + p->len;
		if (l->entry >= p->gpa && l->entry < last && !strncmp(p->name, "kernel", 6))
			entered = true;
	}
	assert_true(last <= GMEM_HOLE_END);
	assert_true(entered);
	assert_int_equal(r->entry.mode, CPU_PROT32);
	assert_int_equal(r->entry.cr3, 0);
	assert_int_equal(r->entry.rip, l->entry);
	assert_int_equal(r->entry.rbx % 8, 0);
	assert_int_equal(r->entry.rbx, piece(l, "boot information")->gpa);
}

static const char *string(const struct rig *r, uint64_t gpa)
{
	return gmem_hva(r->mem, gpa, 1);
}

/* ELF files. The kernel runs in the upper half, and is loaded at 1 MiB. */

static void put_segment(struct rig *r, bool is_64, unsigned int n, uint64_t offset, uint64_t gpa,
			uint64_t filesz, uint64_t memsz)
{
	const Elf64_Phdr p64 = {
		.p_type = PT_LOAD,
		.p_offset = offset,
		.p_vaddr = 0xffffffff80000000 + gpa,
		.p_paddr = gpa,
		.p_filesz = filesz,
		.p_memsz = memsz,
	};
	const Elf32_Phdr p32 = {
		.p_type = PT_LOAD,
		.p_offset = (uint32_t)offset,
		.p_vaddr = (uint32_t)(0xc0000000 + gpa),
		.p_paddr = (uint32_t)gpa,
		.p_filesz = (uint32_t)filesz,
		.p_memsz = (uint32_t)memsz,
	};

	if (is_64)
		memcpy(r->file + sizeof(Elf64_Ehdr) + n * sizeof(p64), &p64, sizeof(p64));
	else
		memcpy(r->file + sizeof(Elf32_Ehdr) + n * sizeof(p32), &p32, sizeof(p32));
}

static void put_section(struct rig *r, bool is_64, unsigned int n, uint32_t type, uint64_t addr,
			uint64_t offset, uint64_t size)
{
	const Elf64_Shdr s64 = {
		.sh_type = type,
		.sh_addr = addr ? 0xffffffff80000000 + addr : 0,
		.sh_offset = offset,
		.sh_size = size,
		.sh_link = type == SHT_SYMTAB ? n + 1 : 0,
		.sh_addralign = 16,
	};
	const Elf32_Shdr s32 = {
		.sh_type = type,
		.sh_addr = addr ? (uint32_t)(0xc0000000 + addr) : 0,
		.sh_offset = (uint32_t)offset,
		.sh_size = (uint32_t)size,
		.sh_link = type == SHT_SYMTAB ? n + 1 : 0,
		.sh_addralign = 16,
	};

	if (is_64)
		memcpy(r->file + SHDRS + n * sizeof(s64), &s64, sizeof(s64));
	else
		memcpy(r->file + SHDRS + n * sizeof(s32), &s32, sizeof(s32));
}

static void make_elf(struct rig *r, bool is_64)
{
	Elf64_Ehdr h64 = {
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_version = EV_CURRENT,
		.e_entry = 0xffffffff80000000 + TEXT_AT + 0x10,
		.e_phoff = sizeof(h64),
		.e_shoff = SHDRS,
		.e_ehsize = sizeof(h64),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 2,
		.e_shentsize = sizeof(Elf64_Shdr),
		.e_shnum = SECTIONS,
		.e_shstrndx = 5,
	};
	Elf32_Ehdr h32 = {
		.e_type = ET_EXEC,
		.e_machine = EM_386,
		.e_version = EV_CURRENT,
		.e_entry = 0xc0000000 + TEXT_AT + 0x10,
		.e_phoff = sizeof(h32),
		.e_shoff = SHDRS,
		.e_ehsize = sizeof(h32),
		.e_phentsize = sizeof(Elf32_Phdr),
		.e_phnum = 2,
		.e_shentsize = sizeof(Elf32_Shdr),
		.e_shnum = SECTIONS,
		.e_shstrndx = 5,
	};
	const char ident[] = {
		ELFMAG0,     ELFMAG1,   ELFMAG2, ELFMAG3, (char)(is_64 ? ELFCLASS64 : ELFCLASS32),
		ELFDATA2LSB, EV_CURRENT};

	memcpy(h64.e_ident, ident, sizeof(ident));
	memcpy(h32.e_ident, ident, sizeof(ident));
	if (is_64)
		memcpy(r->file, &h64, sizeof(h64));
	else
		memcpy(r->file, &h32, sizeof(h32));
	put_segment(r, is_64, 0, TEXT, TEXT_AT, TEXT_LEN, TEXT_LEN);
	put_segment(r, is_64, 1, DATA, DATA_AT, DATA_LEN, BSS_END - DATA_AT);
	put_section(r, is_64, 0, SHT_NULL, 0, 0, 0);
	put_section(r, is_64, 1, SHT_PROGBITS, TEXT_AT, TEXT, TEXT_LEN);
	put_section(r, is_64, 2, SHT_NOBITS, 0, DATA, 0x100000);
	put_section(r, is_64, 3, SHT_SYMTAB, 0, SYMTAB, STRTAB - SYMTAB);
	put_section(r, is_64, 4, SHT_STRTAB, 0, STRTAB, NAMES - STRTAB);
	put_section(r, is_64, 5, SHT_STRTAB, 0, NAMES, 0x1b);
}

/* Multiboot headers. */

static void seal_1(struct rig *r, size_t at)
{
	poke(r, at + M_SUM, 4, 0U - (MAGIC_1 + load_le32(r->file + at + M_FLAGS)));
}

static void put_header_1(struct rig *r, size_t at, uint32_t flags)
{
	memset(r->file + at, 0, 48);
	poke(r, at, 4, MAGIC_1);
	poke(r, at + M_FLAGS, 4, flags);
	seal_1(r, at);
}

static void make_1(struct rig *r, bool is_64)
{
	make_elf(r, is_64);
	put_header_1(r, HEADER, 3);
}

/* Loads the file but for its first 200h bytes; the header is before that. */
static void make_raw_1(struct rig *r)
{
	put_header_1(r, 0x220, 0x10003);
	poke(r, 0x220 + M_HEADER, 4, 0x200020);
	poke(r, 0x220 + M_LOAD, 4, 0x200000);
	poke(r, 0x220 + M_LOAD_END, 4, 0x200700);
	poke(r, 0x220 + M_BSS_END, 4, 0x203000);
	poke(r, 0x220 + M_ENTRY, 4, 0x200100);
}

static void seal_2(struct rig *r, size_t at)
{
	poke(r, at + 12, 4,
	     0U - (MAGIC_2 + load_le32(r->file + at + 4) + load_le32(r->file + at + 8)));
}

static void add_tag(struct rig *r, uint16_t type, uint16_t flags, unsigned int count, ...)
{
	const size_t at = r->tag, size = 8 + 4 * (size_t)count;
	va_list ap;

	memset(r->file + at, 0, align_up(size, 8));
	poke(r, at, 2, type);
	poke(r, at + 2, 2, flags);
	poke(r, at + 4, 4, size);
	va_start(ap, count);
	for (unsigned int i = 0; i < count; i++)
		poke(r, at + 8 + 4 * (size_t)i, 4, va_arg(ap, unsigned int));
	va_end(ap);
	r->tag = at + align_up(size, 8);
}

static void begin_2(struct rig *r, size_t at)
{
	poke(r, at, 4, MAGIC_2);
	poke(r, at + 4, 4, 0);
	r->tag = at + 16;
}

static void end_2(struct rig *r, size_t at)
{
	const size_t next = r->tag;

	add_tag(r, 0, 0, 0);
	poke(r, at + 8, 4, r->tag - at);
	seal_2(r, at);
	r->tag = next; /* more may still be added */
}

static void make_2(struct rig *r, bool is_64)
{
	make_elf(r, is_64);
	begin_2(r, HEADER);
	end_2(r, HEADER);
}

static void tag_2(struct rig *r, uint16_t type, uint16_t flags, unsigned int count, uint32_t a,
		  uint32_t b, uint32_t c, uint32_t d)
{
	add_tag(r, type, flags, count, a, b, c, d);
	end_2(r, HEADER);
}

/* What is handed over, for people and golden files. */

struct text {
	char s[16384];
	size_t len;
};

__attribute__((format(printf, 2, 3))) static void print(struct text *t, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	t->len += (size_t)vsnprintf(t->s + t->len, sizeof(t->s) - t->len, fmt, ap);
	va_end(ap);
	assert_true(t->len < sizeof(t->s));
}

static void print_bytes(struct text *t, const struct rig *r, uint64_t gpa, uint64_t len)
{
	for (uint64_t i = 0; i < len; i++)
		print(t, "%s%02x", i % 16 ? " " : "\n   ",
		      (unsigned int)guest_number(r->mem, gpa + i, 1));
	print(t, "\n");
}

static void print_layout(struct text *t, const struct rig *r)
{
	print(t, "protocol %s, entered at 0x%llx in %s, eax 0x%llx, ebx 0x%llx\n",
	      r->layout.protocol, (unsigned long long)r->layout.entry, r->layout.mode,
	      (unsigned long long)r->entry.rax, (unsigned long long)r->entry.rbx);
	for (unsigned int i = 0; i < r->layout.count; i++) {
		const struct boot_piece *p = &r->layout.pieces[i];

		/* How long that is depends on the version. */
		if (strcmp(p->name, "boot information") != 0)
			print(t, "0x%08llx %6llx %s\n", (unsigned long long)p->gpa,
			      (unsigned long long)p->len, p->name);
	}
}

/* All but the name of the loader, which is last. */
static void print_info_1(struct text *t, const struct rig *r)
{
	const uint64_t name = guest_number(r->mem, r->entry.rbx + 64, 4);

	assert_string_equal(string(r, name), "skep " SKEP_VERSION);
	print(t, "information");
	print_bytes(t, r, r->entry.rbx, name - r->entry.rbx);
}

static void print_info_2(struct text *t, const struct rig *r)
{
	const uint64_t info = r->entry.rbx;
	uint64_t at = info + 8, type;

	do {
		const uint64_t size = guest_number(r->mem, at + 4, 4);

		type = guest_number(r->mem, at, 4);
		print(t, "tag %llu", (unsigned long long)type);
		if (type == 2)
			print(t, " %s\n",
			      strcmp(string(r, at + 8), "skep " SKEP_VERSION) ? "wrong" : "right");
		else
			print_bytes(t, r, at, size);
		at += align_up(size, 8);
	} while (type);
	assert_int_equal(at - info, guest_number(r->mem, info, 4));
	assert_int_equal(guest_number(r->mem, info + 4, 4), 0);
	assert_int_equal(piece(&r->layout, "boot information")->len, at - info);
}

static const char first[5000] = "the first", second[] = "the second", third[] = "the third";

static void add_everything(struct rig *r)
{
	static const uint8_t rsdp[BOOT_RSDP_LEN] = "RSD PTR 0123456\2";

	r->req.cmdline = "root=hive  verbose";
	r->req.linux_cmdline = "console=ttyS0";
	r->req.text_screen = true;
	r->req.rsdp = 0xe0000;
	r->req.rsdp_copy = rsdp;
	add_initrd(r, first, sizeof(first));
	add_module(r, second, sizeof(second), "second of three");
	add_module(r, third, sizeof(third), "");
}

static void compare(struct rig *r, const char *name, bool second_version)
{
	static struct text t;
	char *path = golden_path("multiboot/%s.txt", name);

	t.len = 0;
	load_or_fail(r);
	assert_sound(r);
	print_layout(&t, r);
	if (second_version)
		print_info_2(&t, r);
	else
		print_info_1(&t, r);
	golden_compare(path, t.s);
	free(path);
}

static void test_golden(void **state)
{
	static struct rig r;

	(void)state;
	for (unsigned int is_64 = 0; is_64 < 2; is_64++) {
		begin(&r, MIB(32));
		make_1(&r, is_64);
		add_everything(&r);
		compare(&r, is_64 ? "multiboot-elf64" : "multiboot-elf32", false);
		end(&r);
		begin(&r, MIB(32));
		make_2(&r, is_64);
		add_everything(&r);
		compare(&r, is_64 ? "multiboot2-elf64" : "multiboot2-elf32", true);
		end(&r);
	}
	begin(&r, MIB(32));
	make_raw_1(&r);
	compare(&r, "multiboot-raw", false);
	end(&r);
	begin(&r, MIB(32));
	make_2(&r, false);
	tag_2(&r, 2, 0, 4, 0x800000 + HEADER, 0x800000, 0x800000 + SYMTAB, 0x801000);
	tag_2(&r, 3, 0, 1, 0x800000 + TEXT, 0, 0, 0);
	tag_2(&r, 10, 0, 4, 0x1000000, 0x1800000, 0x10000, 2);
	compare(&r, "multiboot2-raw-moved", true);
	end(&r);
}

/* Bytes of segments, and nothing left of what was there before. */
static void test_segments(void **state)
{
	static struct rig r;

	(void)state;
	for (unsigned int i = 0; i < 4; i++) {
		begin(&r, MIB(32));
		if (i < 2)
			make_1(&r, i);
		else
			make_2(&r, i - 2);
		load_or_fail(&r);
		assert_sound(&r);
		assert_int_equal(r.entry.rip, TEXT_AT + 0x10);
		assert_int_equal(r.entry.rax, i < 2 ? 0x2badb002 : 0x36d76289);
		assert_memory_equal(gmem_hva(r.mem, TEXT_AT, TEXT_LEN), r.file + TEXT, TEXT_LEN);
		assert_memory_equal(gmem_hva(r.mem, DATA_AT, DATA_LEN), r.file + DATA, DATA_LEN);
		for (uint64_t at = DATA_AT + DATA_LEN; at < BSS_END; at += 8)
			assert_int_equal(guest_number(r.mem, at, 8), 0);
		assert_int_equal(guest_number(r.mem, TEXT_AT + TEXT_LEN, 8), UINT64_MAX);
		end(&r);
	}
}

/* 3.3, syms: sections that no segment holds are loaded, and their headers say where. */
static void test_sections(void **state)
{
	static struct rig r;

	(void)state;
	for (unsigned int is_64 = 0; is_64 < 2; is_64++) {
		const unsigned int size = is_64 ? 64 : 40, addr = is_64 ? 16 : 12;
		uint64_t table, at;

		begin(&r, MIB(32));
		make_1(&r, is_64);
		load_or_fail(&r);
		assert_int_equal(guest_number(r.mem, r.entry.rbx, 4) & 0x30, 0x20);
		assert_int_equal(guest_number(r.mem, r.entry.rbx + 28, 4), SECTIONS);
		assert_int_equal(guest_number(r.mem, r.entry.rbx + 32, 4), size);
		assert_int_equal(guest_number(r.mem, r.entry.rbx + 40, 4), 5);
		table = guest_number(r.mem, r.entry.rbx + 36, 4);
		assert_int_equal(guest_number(r.mem, table + 1 * size + addr, 4),
				 (is_64 ? 0x80000000 : 0xc0000000) + TEXT_AT);
		assert_int_equal(guest_number(r.mem, table + 2 * size + addr, 4), 0);
		at = guest_number(r.mem, table + 3 * size + addr, 4);
		assert_int_equal(at % 16, 0);
		assert_true(at >= BSS_END);
		assert_memory_equal(gmem_hva(r.mem, at, STRTAB - SYMTAB), r.file + SYMTAB,
				    STRTAB - SYMTAB);
		at = guest_number(r.mem, table + 5 * size + addr, 4);
		assert_memory_equal(gmem_hva(r.mem, at, 0x1b), r.file + NAMES, 0x1b);

		poke(&r, SHDRS + 4 * size + (is_64 ? 24 : 16), 4, TOTAL - 1);
		assert_refused(&r, "section 4 has sh_offset 0x9ff");

		/* The headers themselves not in the file, or of another size: as if without. */
		make_1(&r, is_64);
		poke(&r, is_64 ? 0x28 : 0x20, 4, TOTAL);
		load_or_fail(&r);
		assert_int_equal(guest_number(r.mem, r.entry.rbx, 4) & 0x30, 0);
		assert_null(find_piece(&r.layout, "sections"));
		/* A table of names that there is not. */
		make_1(&r, is_64);
		poke(&r, is_64 ? 0x3e : 0x32, 2, SECTIONS);
		load_or_fail(&r);
		assert_int_equal(guest_number(r.mem, r.entry.rbx + 40, 4), 0);
		end(&r);
	}
}

/* A header that is not at the beginning, in each of the right places. */
static void test_header_places(void **state)
{
	static struct rig r;

	(void)state;
	for (size_t at = 8192 - 12; at <= 8192 - 8; at += 2) {
		begin(&r, MIB(32));
		make_elf(&r, false);
		r.len = 8192 + 64;
		put_header_1(&r, at, 0);
		if (at == 8192 - 12)
			load_or_fail(&r);
		else
			assert_refused(&r, "first 8192 bytes");
		end(&r);
	}
	for (size_t at = 0x101; at < 0x104; at++) {
		begin(&r, MIB(32));
		make_elf(&r, false);
		put_header_1(&r, at, 0);
		assert_refused(&r, "must be at a multiple of 4");
		end(&r);
	}
	for (size_t at = 32768 - 32; at <= 32768 - 16; at += 4) {
		begin(&r, MIB(32));
		make_elf(&r, false);
		r.len = ROOM;
		begin_2(&r, at);
		end_2(&r, at);
		if (at == 32768 - 32 || at == 32768 - 24)
			load_or_fail(&r);
		else if (at == 32768 - 16)
			assert_refused(&r, "header_length");
		else
			assert_refused(&r, "multiple of 8");
		end(&r);
	}
	begin(&r, MIB(32));
	make_elf(&r, false);
	r.len = ROOM;
	begin_2(&r, 0xfff0);
	poke(&r, 0xfff8, 4, 16);
	seal_2(&r, 0xfff0);
	assert_refused(&r, "Multiboot2 header at 0xfff0, but it must lie within the first 32768");
	end(&r);
}

/* Of the two kinds, and several of one kind, in a file. */
static void test_header_choice(void **state)
{
	static struct rig r;

	(void)state;
	begin(&r, MIB(32));
	make_1(&r, false);
	begin_2(&r, 0x140);
	end_2(&r, 0x140);
	load_or_fail(&r);
	assert_string_equal(r.layout.protocol, "multiboot2");
	r.options.protocol = "multiboot";
	load_or_fail(&r);
	assert_string_equal(r.layout.protocol, "multiboot");
	/* A magic number alone is not taken for a header while there is a good one. */
	r.options.protocol = NULL;
	poke(&r, 0x14c, 4, 0);
	load_or_fail(&r);
	assert_string_equal(r.layout.protocol, "multiboot");
	make_1(&r, false);
	poke(&r, 0x90, 4, MAGIC_1);
	load_or_fail(&r);
	/* And by itself, it is a header with a wrong checksum. */
	poke(&r, HEADER + M_SUM, 4, 5);
	assert_refused(&r, "checksum of its Multiboot header at 0x90");
	end(&r);
	begin(&r, MIB(32));
	make_2(&r, false);
	poke(&r, HEADER + 12, 4, 1);
	assert_refused(&r, "checksum of its Multiboot2 header at 0x100 is 0x1, not 0x17adaf12");
	end(&r);
}

static void test_flags(void **state)
{
	static struct rig r;

	(void)state;
	begin(&r, MIB(32));
	make_1(&r, false);
	for (unsigned int bit = 0; bit < 32; bit++) {
		put_header_1(&r, HEADER, UINT32_C(1) << bit);
		if (bit == 16)
			continue; /* the addresses: test_addresses() */
		if (bit > 2 && bit < 16)
			assert_refused(&r, "what skep does not know");
		else
			load_or_fail(&r);
	}
	/* A graphics mode is a wish (3.1.4), and a screen is there or not, whatever it says. */
	put_header_1(&r, HEADER, 4);
	load_or_fail(&r);
	assert_int_equal(guest_number(r.mem, r.entry.rbx, 4) & 0x1000, 0);
	r.req.text_screen = true;
	load_or_fail(&r);
	assert_int_equal(guest_number(r.mem, r.entry.rbx, 4) & 0x1000, 0x1000);
	assert_int_equal(guest_number(r.mem, r.entry.rbx + 109, 1), 2);
	/* The fields that flags promise have to be there. */
	put_header_1(&r, HEADER, 4);
	r.len = HEADER + 47;
	poke(&r, 0x20, 4, 0); /* no sections */
	assert_int_equal(load(&r), -ENOEXEC);
	end(&r);
	begin(&r, MIB(32));
	make_elf(&r, false);
	r.len = 0x2100;
	put_header_1(&r, 0x2000 - 44, 4);
	assert_refused(&r, "has 48 bytes, as its flags 0x4 say");
	end(&r);
}

/* 3.1.3, the "a.out kludge": what goes where, and which addresses are nonsense. */
static void test_addresses(void **state)
{
	static const struct {
		uint32_t header, load, load_end, bss_end, entry;
		const char *says; /* NULL: loaded */
		uint64_t offset, len, filled;
	} cases[] = {
		{0x200020, 0x200000, 0x200700, 0x203000, 0x200100, NULL, 0x200, 0x3000, 0x700},
		{0x200220, 0x200000, 0x200800, 0x203000, 0x200100, NULL, 0, 0x3000, 0x800},
		{0x200000, 0x200000, 0, 0, 0x200100, NULL, 0x220, TOTAL - 0x220, TOTAL - 0x220},
		{0x200020, 0x200000, 0, 0x300000, 0x200000, NULL, 0x200, 0x100000, 0x800},
		{0x200020, 0x200000, 0x200800, 0, 0x2007ff, NULL, 0x200, 0x800, 0x800},
		{0x20, 0x20000 - 0x1ff, 0, 0, 0, "load_addr 0x1fe01 is above its header_addr", 0, 0,
		 0},
		{0x200221, 0x200000, 0, 0, 0, "load_addr 0x200000 is 0x221 before its header", 0, 0,
		 0},
		{0xffffffff, 0, 0, 0, 0, "load_addr 0x0 is 0xffffffff before", 0, 0, 0},
		{0x200020, 0x200000, 0x200801, 0, 0, "load_end_addr 0x200801", 0, 0, 0},
		{0x200020, 0x200000, 0x1fffff, 0, 0, "load_end_addr 0x1fffff", 0, 0, 0},
		{0x200020, 0x200000, 0x200000, 0, 0, "load_end_addr 0x200000", 0, 0, 0},
		{0x200020, 0x200000, 0x200700, 0x2006ff, 0, "bss_end_addr 0x2006ff is below", 0, 0,
		 0},
		{0x200020, 0x200000, 0x200700, 0x203000, 0x200700, "entry 0x200700 is outside", 0,
		 0, 0},
		{0x200020, 0x200000, 0x200700, 0x203000, 0x1fffff, "entry 0x1fffff is outside", 0,
		 0, 0},
		{0xffffff20, 0xffffff00, 0, 0, 0xffffff00, "above 4 GiB", 0, 0, 0},
	};
	static struct rig r;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct boot_piece *kernel;

		begin(&r, MIB(32));
		make_raw_1(&r);
		poke(&r, 0x220 + M_HEADER, 4, cases[i].header);
		poke(&r, 0x220 + M_LOAD, 4, cases[i].load);
		poke(&r, 0x220 + M_LOAD_END, 4, cases[i].load_end);
		poke(&r, 0x220 + M_BSS_END, 4, cases[i].bss_end);
		poke(&r, 0x220 + M_ENTRY, 4, cases[i].entry);
		if (cases[i].says) {
			assert_refused(&r, cases[i].says);
			end(&r);
			continue;
		}
		load_or_fail(&r);
		assert_sound(&r);
		kernel = piece(&r.layout, "kernel");
		assert_int_equal(kernel->gpa, cases[i].load);
		assert_int_equal(kernel->len, cases[i].len);
		assert_int_equal(r.entry.rip, cases[i].entry);
		assert_memory_equal(gmem_hva(r.mem, kernel->gpa, cases[i].filled),
				    r.file + cases[i].offset, cases[i].filled);
		if (cases[i].len > cases[i].filled + 8)
			assert_int_equal(guest_number(r.mem, kernel->gpa + cases[i].filled, 8), 0);
		end(&r);
	}
}

/* A kernel that is linked high may say in e_entry where it is loaded. */
static void test_physical_entry(void **state)
{
	static struct rig r;

	(void)state;
	begin(&r, MIB(32));
	make_1(&r, false);
	poke(&r, 0x18, 4, TEXT_AT + 0x20);
	load_or_fail(&r);
	assert_int_equal(r.entry.rip, TEXT_AT + 0x20);
	end(&r);
}

/* The addresses win over an ELF file's, and no sections are told of then. */
static void test_addresses_in_elf(void **state)
{
	static struct rig r;

	(void)state;
	begin(&r, MIB(32));
	make_elf(&r, true);
	make_raw_1(&r);
	load_or_fail(&r);
	assert_int_equal(r.entry.rip, 0x200100);
	assert_int_equal(guest_number(r.mem, r.entry.rbx, 4) & 0x20, 0);
	end(&r);
	begin(&r, MIB(32));
	put_header_1(&r, HEADER, 0);
	assert_refused(&r, "is no ELF file, and its Multiboot header has no load addresses");
	end(&r);
}

static void test_bad_elf(void **state)
{
	static struct rig r;

	(void)state;
	begin(&r, MIB(32));
	make_1(&r, false);
	poke(&r, 0x18, 4, 0xc0000000 + DATA_AT + DATA_LEN); /* in the bss */
	assert_refused(&r, "entry 0x102100 is outside of what is loaded");
	poke(&r, 0x18, 4, 0x1000);
	assert_refused(&r, "entry 0x1000 is outside of what is loaded");
	make_1(&r, false);
	put_segment(&r, false, 0, TEXT, TEXT_AT, TOTAL, TOTAL);
	assert_refused(&r, "segment 0 has p_offset 0x400");
	make_1(&r, false);
	put_segment(&r, false, 1, DATA, TEXT_AT + 8, DATA_LEN, DATA_LEN);
	assert_int_equal(load(&r), -EEXIST);
	assert_says(&r, "overlaps");
	put_segment(&r, false, 1, DATA, MIB(64), DATA_LEN, DATA_LEN);
	assert_int_equal(load(&r), -ENOMEM);
	assert_says(&r, "give it more: -m 65M");
	put_segment(&r, false, 1, DATA, 0xa0000, DATA_LEN, DATA_LEN);
	assert_int_equal(load(&r), -ENOMEM);
	assert_says(&r, "is not in guest RAM");
	make_1(&r, false);
	poke(&r, 0x34, 4, PT_NOTE);
	poke(&r, 0x54, 4, PT_NOTE);
	assert_refused(&r, "no segment that is loaded");
	make_1(&r, true);
	put_segment(&r, true, 1, DATA, GIB(4) - 8, DATA_LEN, DATA_LEN);
	assert_refused(&r, "above 4 GiB");
	end(&r);
}

/* Modules: on pages, whole, and in order, the initrds first. */
static void test_modules(void **state)
{
	static struct rig r;
	uint64_t mods, low;

	(void)state;
	begin(&r, MIB(32));
	make_1(&r, false);
	load_or_fail(&r);
	assert_int_equal(guest_number(r.mem, r.entry.rbx, 4) & 8, 0);
	low = r.layout.least_memory;
	add_everything(&r);
	load_or_fail(&r);
	assert_sound(&r);
	assert_int_equal(guest_number(r.mem, r.entry.rbx + 20, 4), 3);
	mods = guest_number(r.mem, r.entry.rbx + 24, 4);
	for (unsigned int i = 0; i < 3; i++) {
		static const struct {
			const char *data, *cmdline;
			size_t len;
		} want[] = {
			{first, "", sizeof(first)},
			{second, "second of three", sizeof(second)},
			{third, "", sizeof(third)},
		};
		const uint64_t at = guest_number(r.mem, mods + 16 * i, 4);

		assert_int_equal(at % KIB(4), 0);
		assert_true(at >= BSS_END);
		assert_int_equal(guest_number(r.mem, mods + 16 * i + 4, 4), at + want[i].len);
		assert_memory_equal(gmem_hva(r.mem, at, want[i].len), want[i].data, want[i].len);
		assert_string_equal(string(&r, guest_number(r.mem, mods + 16 * i + 8, 4)),
				    want[i].cmdline);
		assert_int_equal(guest_number(r.mem, mods + 16 * i + 12, 4), 0);
	}
	assert_int_equal(low, MIB(2));
	assert_int_equal(r.layout.least_memory, MIB(2));
	end(&r);
}

/* The largest module that fits, and one byte more. */
static void test_module_room(void **state)
{
	static uint8_t big[MIB(1)];
	static struct rig r;

	(void)state;
	begin(&r, MIB(2));
	make_raw_1(&r);
	poke(&r, 0x220 + M_HEADER, 4, 0x100020);
	poke(&r, 0x220 + M_LOAD, 4, 0x100000);
	poke(&r, 0x220 + M_LOAD_END, 4, 0x100700);
	poke(&r, 0x220 + M_BSS_END, 4, 0x101000);
	poke(&r, 0x220 + M_ENTRY, 4, 0x100000);
	add_initrd(&r, big, sizeof(big) - KIB(4));
	load_or_fail(&r);
	assert_sound(&r);
	boot_close(r.initrds[0]);
	r.req.initrd_count = 0;
	add_initrd(&r, big, sizeof(big) - KIB(4) + 1);
	assert_int_equal(load(&r), -ENOMEM);
	assert_says(&r, "initrd 'rd' needs 3 MiB of guest memory, the guest has 2; give it more");
	end(&r);
}

/* A kernel where everything else would have gone, or that leaves it no room. */
static void test_kernel_low(void **state)
{
	static struct rig r;

	(void)state;
	begin(&r, MIB(4));
	make_raw_1(&r);
	poke(&r, 0x220 + M_HEADER, 4, 0x8020);
	poke(&r, 0x220 + M_LOAD, 4, 0x8000);
	poke(&r, 0x220 + M_LOAD_END, 4, 0x8700);
	poke(&r, 0x220 + M_BSS_END, 4, 0x9f000);
	poke(&r, 0x220 + M_ENTRY, 4, 0x8000);
	r.req.cmdline = "low";
	load_or_fail(&r);
	assert_sound(&r);
	assert_string_equal(string(&r, guest_number(r.mem, r.entry.rbx + 16, 4)), "low");
	/* What a BIOS would have left of where room is below 1 MiB. */
	assert_int_equal(guest_number(r.mem, 0x40e, 2), 0x9fc0);
	assert_int_equal(guest_number(r.mem, 0x413, 2), 639);
	poke(&r, 0x220 + M_BSS_END, 4, MIB(1));
	assert_int_equal(load(&r), -ENOMEM);
	assert_says(&r, "is not in guest RAM");
	/* Where the kernel is, it is the kernel's. */
	poke(&r, 0x220 + M_HEADER, 4, 0x420);
	poke(&r, 0x220 + M_LOAD, 4, 0x400);
	poke(&r, 0x220 + M_LOAD_END, 4, 0xb00);
	poke(&r, 0x220 + M_BSS_END, 4, 0);
	poke(&r, 0x220 + M_ENTRY, 4, 0x400);
	load_or_fail(&r);
	assert_sound(&r);
	assert_memory_equal(gmem_hva(r.mem, 0x400, 0x700), r.file + 0x200, 0x700);
	assert_null(find_piece(&r.layout, "BIOS data"));
	end(&r);
}

/* Of memory: up to the first hole, as a PC's BIOS counts. */
static void test_memory(void **state)
{
	static const struct {
		uint64_t memory;
		uint32_t upper;
	} cases[] = {
		{MIB(2), 1024},
		{MIB(32), 31 * 1024},
		{GIB(4), 3 * 1024 * 1024 - 1024},
	};
	static struct rig r;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		begin(&r, cases[i].memory);
		make_1(&r, false);
		load_or_fail(&r);
		assert_int_equal(guest_number(r.mem, r.entry.rbx + 4, 4), 639);
		assert_int_equal(guest_number(r.mem, r.entry.rbx + 8, 4), cases[i].upper);
		assert_int_equal(guest_number(r.mem, r.entry.rbx + 44, 4), 24 * r.map.count);
		for (unsigned int e = 0; e < r.map.count; e++) {
			const uint64_t at =
				guest_number(r.mem, r.entry.rbx + 48, 4) + 24 * (uint64_t)e;

			assert_int_equal(guest_number(r.mem, at, 4), 20);
			assert_int_equal(guest_number(r.mem, at + 4, 8), r.map.entries[e].gpa);
			assert_int_equal(guest_number(r.mem, at + 12, 8), r.map.entries[e].len);
			assert_int_equal(guest_number(r.mem, at + 20, 4), r.map.entries[e].type);
		}
		end(&r);
	}
}

/* Without --append there is no command line: what Linux would be told is Linux's. */
static void test_cmdline(void **state)
{
	static char longest[100000];
	static struct rig r;

	(void)state;
	begin(&r, MIB(2));
	make_1(&r, false);
	r.req.linux_cmdline = "console=ttyS0";
	load_or_fail(&r);
	assert_string_equal(string(&r, guest_number(r.mem, r.entry.rbx + 16, 4)), "");
	memset(longest, 'a', sizeof(longest) - 1);
	r.req.cmdline = longest;
	load_or_fail(&r);
	assert_string_equal(string(&r, guest_number(r.mem, r.entry.rbx + 16, 4)), longest);
	end(&r);
}

/* Multiboot2. */

/* The tag of @type in the boot information; 0: there is none. */
static uint64_t tag_at(const struct rig *r, uint32_t type)
{
	uint64_t at = r->entry.rbx + 8;

	while (guest_number(r->mem, at, 4) && guest_number(r->mem, at, 4) != type)
		at += align_up(guest_number(r->mem, at + 4, 4), 8);
	return guest_number(r->mem, at, 4) == type ? at : 0;
}

static void test_bad_tags(void **state)
{
	static const struct {
		unsigned int at, size; /* behind the header */
		uint64_t value;
		const char *says;
	} cases[] = {
		{4, 4, 4, "architecture 4, not 0"},
		{8, 4, 15, "header_length 0xf"},
		{8, 4, 16, "has no end tag"},
		{8, 4, 0x7f00, "header_length 0x7f00"},
		{8, 4, 0xffffffff, "header_length 0xffffffff"},
		{20, 4, 0, "tag at 0x110 of its Multiboot2 header, type 5, has the size 0x0"},
		{20, 4, 19, "has the size 0x13; it must be 20 at least"},
		{20, 4, 0x100, "has the size 0x100"},
		{20, 4, 0xfffffff9, "has the size 0xfffffff9"},
		{16, 2, 2, "type 2, has the size 0x14; it must be 24 at least"},
		{16, 2, 10, "type 10, has the size 0x14; it must be 24 at least"},
		{16, 2, 7, "the tag of the type 7, EFI boot services"},
		{16, 2, 11, "the tag of the type 11"},
		{16, 2, 0xffff, "the tag of the type 65535"},
		{16, 2, 1, "boot information of the type 640"},
	};
	static struct rig r;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		begin(&r, MIB(32));
		make_2(&r, false);
		tag_2(&r, 5, 0, 3, 640, 480, 32, 0);
		poke(&r, HEADER + cases[i].at, cases[i].size, cases[i].value);
		seal_2(&r, HEADER);
		assert_refused(&r, cases[i].says);
		end(&r);
	}
}

/* 3.1.3: what may be ignored is, however little is known of it. */
static void test_optional_tags(void **state)
{
	static struct rig r;

	(void)state;
	begin(&r, MIB(32));
	make_2(&r, false);
	tag_2(&r, 0x7777, 1, 1, 5, 0, 0, 0);
	tag_2(&r, 7, 1, 0, 0, 0, 0, 0);
	tag_2(&r, 1, 1, 2, 99, 13, 0, 0);
	tag_2(&r, 1, 0, 4, 1, 17, 21, 7);
	tag_2(&r, 6, 0, 0, 0, 0, 0, 0);
	tag_2(&r, 8, 0, 1, 0x1234, 0, 0, 0);
	tag_2(&r, 9, 0, 1, 0x1234, 0, 0, 0);
	load_or_fail(&r);
	assert_int_equal(r.entry.rip, TEXT_AT + 0x10);
	tag_2(&r, 1, 0, 4, 1, 2, 3, 13);
	assert_refused(&r, "boot information of the type 13");
	end(&r);
}

/* 3.1.9 */
static void test_consoles(void **state)
{
	static struct rig r;

	(void)state;
	for (uint32_t flags = 0; flags < 4; flags++)
		for (unsigned int with = 0; with < 4; with++) {
			const bool screen = with & 1, optional = with & 2, text = flags & 2;

			begin(&r, MIB(32));
			make_2(&r, false);
			tag_2(&r, 4, optional, 1, flags, 0, 0, 0);
			r.req.text_screen = screen;
			if (!(flags & 1) || optional || (screen && text)) {
				load_or_fail(&r);
				assert_int_equal(!!tag_at(&r, 8), screen && text);
			} else if (text) {
				assert_refused(&r, "must have a screen, by the flags tag of its "
						   "Multiboot2 header; give it one");
			} else {
				assert_refused(&r, "that is no text screen");
			}
			end(&r);
		}
}

/* 3.1.5 and 3.1.6 */
static void test_address_tags(void **state)
{
	static struct rig r;

	(void)state;
	begin(&r, MIB(32));
	make_2(&r, true);
	tag_2(&r, 2, 0, 4, 0x800000, 0x800000, 0x800700, 0);
	assert_refused(&r, "address tag, but no entry address tag");
	tag_2(&r, 3, 0, 1, 0x800100, 0, 0, 0);
	load_or_fail(&r);
	assert_int_equal(r.entry.rip, 0x800100);
	assert_memory_equal(gmem_hva(r.mem, 0x800000, 0x700), r.file + HEADER, 0x700);
	assert_int_equal(tag_at(&r, 9), 0);
	/* The file from its beginning. */
	make_2(&r, true);
	tag_2(&r, 2, 0, 4, 0x800000, UINT32_MAX, 0, 0x900000);
	tag_2(&r, 3, 0, 1, 0x800000, 0, 0, 0);
	load_or_fail(&r);
	assert_int_equal(piece(&r.layout, "kernel")->gpa, 0x800000 - HEADER);
	assert_memory_equal(gmem_hva(r.mem, 0x800000 - HEADER, TOTAL), r.file, TOTAL);
	assert_int_equal(guest_number(r.mem, 0x800000 - HEADER + TOTAL, 8), 0);
	make_2(&r, true);
	tag_2(&r, 2, 0, 4, HEADER - 1, UINT32_MAX, 0, 0);
	assert_refused(&r, "header_addr 0xff leaves no room");
	/* An entry for an ELF file. */
	make_2(&r, true);
	tag_2(&r, 3, 0, 1, DATA_AT + 4, 0, 0, 0);
	load_or_fail(&r);
	assert_int_equal(r.entry.rip, DATA_AT + 4);
	assert_int_equal(tag_at(&r, 21), 0);
	make_2(&r, true);
	tag_2(&r, 3, 0, 1, BSS_END, 0, 0, 0);
	assert_refused(&r, "entry 0x105000 is outside");
	end(&r);
}

/* 3.1.13: where an image goes that is linked for 100000h to 105000h. */
static void test_relocation(void **state)
{
	static const struct {
		uint32_t min, max, align, preference;
		uint64_t base; /* 0: refused */
	} cases[] = {
		/* Anywhere: where it was linked for, if that can be. */
		{0, 0xffffffff, 0x1000, 0, TEXT_AT},
		{0x100000, 0x105000, 0x1000, 0, TEXT_AT},
		{0x100001, 0xffffffff, 0x1000, 0, 0x101000},
		{0, 0x104fff, 0x1000, 0, 0x1000},
		{0, 0xffffffff, 0x200000, 0, 0x200000},
		{0, 0xffffffff, 0x1000, 77, TEXT_AT},
		/* As low as can be, but not where a BIOS has its own. */
		{0, 0xffffffff, 0, 1, 0x1000},
		{0x123456, 0xffffffff, 1, 1, 0x123456},
		{0x123456, 0xffffffff, 0x10000, 1, 0x130000},
		{0x9b000, 0xffffffff, 1, 1, TEXT_AT},
		/* As high as can be. */
		{0, 0xffffffff, 0x1000, 2, MIB(32) - 0x5000},
		{0, 0x1234567, 1, 2, 0x1234567 - 0x5000},
		{0, 0x1234567, 0x200000, 2, 0x1200000},
		{0, 0x104fff, 0x1000, 2, 0x9a000},
		/* Not at all. */
		{0x100000, 0x104fff, 1, 1, 0},
		{0x200000, 0x100000, 1, 1, 0},
		{0, 0xffffffff, 3, 1, 0},
		{0, 0xffffffff, 0x80000000, 1, 0},
		{0xa0000, 0xfffff, 1, 2, 0},
		{0x80000000, 0xffffffff, 1, 2, 0},
	};
	static struct rig r;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const uint64_t base = cases[i].base;

		begin(&r, MIB(32));
		make_2(&r, i & 1);
		tag_2(&r, 10, 0, 4, cases[i].min, cases[i].max, cases[i].align,
		      cases[i].preference);
		if (!base) {
			assert_true(load(&r) < 0);
			assert_says(&r, i == 16 ? "align 0x3" : "kernel");
			end(&r);
			continue;
		}
		if (load(&r))
			fail_msg("case %zu: %s", i, r.err.text);
		assert_sound(&r);
		assert_int_equal(r.entry.rip, base + 0x10);
		assert_int_equal(guest_number(r.mem, tag_at(&r, 21) + 8, 4), base);
		assert_memory_equal(gmem_hva(r.mem, base, TEXT_LEN), r.file + TEXT, TEXT_LEN);
		assert_memory_equal(gmem_hva(r.mem, base + 0x2000, DATA_LEN), r.file + DATA,
				    DATA_LEN);
		/* What is between the segments is not the kernel's to clear. */
		assert_int_equal(piece(&r.layout, "kernel, segment 1")->gpa, base + 0x2000);
		assert_in_range(r.layout.least_memory, MIB(1), MIB(4));
		end(&r);
	}
}

static void test_rsdp(void **state)
{
	static const uint8_t old[BOOT_RSDP_LEN] = "RSD PTR 01234567\1\2\3\4";
	static struct rig r;

	(void)state;
	begin(&r, MIB(32));
	make_2(&r, false);
	load_or_fail(&r);
	assert_int_equal(tag_at(&r, 14) | tag_at(&r, 15), 0);
	/* One that names the table of ACPI 1.0. */
	r.req.rsdp_copy = old;
	load_or_fail(&r);
	assert_int_equal(guest_number(r.mem, tag_at(&r, 14) + 4, 4), 28);
	assert_memory_equal(string(&r, tag_at(&r, 14) + 8), old, 20);
	assert_int_equal(guest_number(r.mem, tag_at(&r, 15) + 4, 4), 44);
	assert_memory_equal(string(&r, tag_at(&r, 15) + 8), old, 36);
	end(&r);
}

/* What `skep inspect` shows. */

static const char *fact(const struct boot_info *info, const char *label)
{
	for (unsigned int i = 0; i < info->fact_count; i++)
		if (!strcmp(info->facts[i].label, label))
			return info->facts[i].text;
	return "";
}

static void test_examine(void **state)
{
	static struct boot_info info;
	static struct rig r;

	(void)state;
	begin(&r, MIB(32));
	make_1(&r, true);
	assert_int_equal(load(&r), 0);
	assert_int_equal(boot_examine(&r.req, &info, &r.err), 0);
	assert_string_equal(info.chosen, "multiboot");
	assert_string_equal(fact(&info, "Multiboot header"),
			    "at 0x100, flags 0x3, modules on pages, memory sizes");
	assert_string_equal(fact(&info, "loaded"),
			    "to 0x100000 up to 0x105000, as an ELF file, and entered at 0x100010");
	put_header_1(&r, HEADER, 4);
	poke(&r, HEADER + M_MODE_TYPE + 4, 4, 1024);
	poke(&r, HEADER + M_MODE_TYPE + 8, 4, 768);
	assert_int_equal(boot_examine(&r.req, &info, &r.err), 0);
	assert_string_equal(fact(&info, "video mode"), "graphics, 1024 by 768, 0 bits");

	/* What cannot be booted is described all the same. */
	put_header_1(&r, HEADER, 0x8003);
	assert_int_equal(boot_examine(&r.req, &info, &r.err), 0);
	assert_string_equal(info.chosen, "multiboot");
	assert_non_null(strstr(fact(&info, "Multiboot header"), "flags 0x8003"));

	make_2(&r, false);
	tag_2(&r, 10, 0, 4, 0x200000, 0xffffffff, 0x200000, 2);
	tag_2(&r, 6, 0, 0, 0, 0, 0, 0);
	assert_int_equal(boot_examine(&r.req, &info, &r.err), 0);
	assert_string_equal(info.chosen, "multiboot2");
	assert_string_equal(fact(&info, "Multiboot2 header"), "at 0x100, 56 bytes");
	assert_string_equal(fact(&info, "header tags"), "module alignment, relocatable");
	assert_string_equal(fact(&info, "relocatable"),
			    "within 0x200000 to 0xffffffff, by 0x200000, as high as can be");
	end(&r);
}

/* Whatever is missing from the end of a file. */
static void test_truncations(void **state)
{
	static struct rig r;

	(void)state;
	for (unsigned int kind = 0; kind < 3; kind++) {
		for (size_t len = 1; len <= TOTAL; len += len < 0x300 ? 1 : 37) {
			uint8_t *copy = malloc(len);

			begin(&r, MIB(2));
			if (kind == 2)
				make_raw_1(&r);
			else if (kind)
				make_2(&r, true);
			else
				make_1(&r, false);
			poke(&r, 0x220 + M_BSS_END, 4, 0);
			assert_non_null(copy);
			memcpy(copy, r.file, len);
			boot_open_memory(&r.kernel, "kernel", "k", copy, len, NULL);
			r.req.kernel = r.kernel;
			if (boot_load(&r.req, r.mem, &r.entry, &r.layout, &r.err))
				assert_says(&r, "kernel 'k'");
			else
				assert_sound(&r);
			end(&r);
			free(copy);
		}
	}
}

static const uint64_t nasty[] = {
	0,          1,          4,          7,          8,          9,           0xff,
	0xfff,      0x1000,     0x7fff,     0xffff,     0xa0000,    0x100000,    0x1000001,
	0x7fffffff, 0x80000000, 0xfffff000, 0xfffffff8, UINT32_MAX, 0x100000000, 0x7fffffffffffffff,
	UINT64_MAX,
};

static void mutate(struct rig *r, unsigned int *seed)
{
	static const uint8_t sizes[] = {1, 2, 4, 4, 4, 8};
	static const struct {
		size_t at, len;
	} parts[] = {{0, 0xb0}, {HEADER, 0x80}, {0x220, 0x20}, {SHDRS, 0x180}};
	unsigned int n = 1 + (unsigned int)rand_r(seed) % 3;
	const uint32_t magic = load_le32(r->file + HEADER);

	while (n--) {
		const size_t part = (size_t)rand_r(seed) % ARRAY_SIZE(parts);
		const size_t at = parts[part].at + (size_t)rand_r(seed) % parts[part].len;
		const unsigned int size = sizes[(unsigned int)rand_r(seed) % sizeof(sizes)];
		uint64_t v = nasty[(unsigned int)rand_r(seed) % ARRAY_SIZE(nasty)];

		if (rand_r(seed) & 1)
			v = (uint64_t)rand_r(seed) << ((unsigned int)rand_r(seed) % 33);
		poke(r, at, size, v);
	}
	/* Mostly, what lies behind the checksum is what is to be seen. */
	if (rand_r(seed) % 8) {
		if (magic == MAGIC_2)
			seal_2(r, HEADER);
		else
			seal_1(r, magic == MAGIC_1 ? HEADER : 0x220);
	}
	if (rand_r(seed) % 8 == 0)
		r->len = 1 + (size_t)rand_r(seed) % TOTAL;
}

static void make_kind(struct rig *r, unsigned int kind)
{
	for (size_t i = 0; i < TOTAL; i++)
		r->file[i] = (uint8_t)(i * 7 + (i >> 8) + 1);
	r->len = TOTAL;
	if (kind < 2) {
		make_1(r, kind);
	} else if (kind == 2) {
		make_raw_1(r);
	} else {
		make_2(r, kind & 1);
		tag_2(r, 1, 0, 2, 1, 6, 0, 0);
		if (kind & 2)
			tag_2(r, 10, 0, 4, 0x100000, 0x1000000, 0x1000, kind % 3);
		else
			tag_2(r, 3, 0, 1, TEXT_AT, 0, 0, 0);
		tag_2(r, 4, 0, 1, 2, 0, 0, 0);
	}
}

/*
 * Whatever a file says, loading either fails with a sentence or leaves everything in RAM and
 * nothing over anything else. ASan has the guest's memory between guards and the file in a block of
 * just its size.
 */
static void test_mutations(void **state)
{
	static struct boot_info info;
	static struct rig r;
	unsigned int seed = 96, loaded = 0, all = 8000;

	(void)state;
	begin(&r, MIB(8));
	add_module(&r, second, sizeof(second), "two");
	for (unsigned int i = 0; i < all; i++) {
		uint8_t *copy;

		make_kind(&r, i % 8);
		mutate(&r, &seed);
		copy = malloc(r.len);
		assert_non_null(copy);
		memcpy(copy, r.file, r.len);
		boot_open_memory(&r.kernel, "kernel", "mutant", copy, r.len, NULL);
		r.req.kernel = r.kernel;
		r.err.text[0] = '\0';
		boot_examine(&r.req, &info, &r.err);
		if (boot_load(&r.req, r.mem, &r.entry, &r.layout, &r.err)) {
			assert_says(&r, "e");
		} else if (!strncmp(r.layout.protocol, "multiboot", 9)) {
			loaded++;
			assert_sound(&r);
		}
		boot_close(r.kernel);
		r.kernel = NULL;
		free(copy);
	}
	/* The sweep is worth something only when it goes both ways. */
	assert_in_range(loaded, all / 10, all * 9 / 10);
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),         cmocka_unit_test(test_segments),
		cmocka_unit_test(test_sections),       cmocka_unit_test(test_header_places),
		cmocka_unit_test(test_header_choice),  cmocka_unit_test(test_flags),
		cmocka_unit_test(test_addresses),      cmocka_unit_test(test_addresses_in_elf),
		cmocka_unit_test(test_physical_entry), cmocka_unit_test(test_bad_elf),
		cmocka_unit_test(test_modules),        cmocka_unit_test(test_module_room),
		cmocka_unit_test(test_kernel_low),     cmocka_unit_test(test_memory),
		cmocka_unit_test(test_cmdline),        cmocka_unit_test(test_bad_tags),
		cmocka_unit_test(test_optional_tags),  cmocka_unit_test(test_consoles),
		cmocka_unit_test(test_address_tags),   cmocka_unit_test(test_relocation),
		cmocka_unit_test(test_rsdp),           cmocka_unit_test(test_examine),
		cmocka_unit_test(test_truncations),    cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests_name("multiboot", tests, NULL, NULL);
}
