/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux entered at its own 64-bit entry, and by PVH, on kernels made here: where segments go, what
 * relocations do, how random the place is, and what is said of kernels that lie.
 */
#include "support/cm.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>

#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/cpu.h"
#include "skep/e820.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "support/golden.h"
#include "support/loading.h"

/*
 * A vmlinux that is linked for 2 MiB, in a bzImage that has it unpacked: a segment of two pages,
 * and one of a page that takes two. What relocations correct is in the first.
 */
#define RUN      MIB(2)
#define MAP      UINT64_C(0xffffffff80000000)
#define SETUP    1024
#define PAYLOAD  256 /* within the protected-mode part */
#define VMLINUX  (SETUP + PAYLOAD)
#define TEXT_AT  4096 /* within the vmlinux */
#define TEXT_LEN 8192
#define DATA_AT  (TEXT_AT + TEXT_LEN)
#define DATA_LEN 4096
#define ELF_LEN  (DATA_AT + DATA_LEN)
#define TAIL     (VMLINUX + ELF_LEN)
#define ROOM     (TAIL + 1024)

#define INIT_SIZE MIB(1)
#define ALIGN     MIB(2)
#define MEMORY    MIB(256)

struct rig {
	uint8_t file[ROOM];
	size_t len;
	struct gmem *mem;
	struct e820 map;
	struct boot_image *kernel, *initrd;
	struct boot_options options;
	struct boot_request req;
	struct boot_layout layout;
	struct cpu_entry entry;
	struct err err;
};

static Elf64_Ehdr *elf(struct rig *r)
{
	return (Elf64_Ehdr *)(void *)(r->file + VMLINUX);
}

static Elf64_Phdr *segment(struct rig *r, unsigned int n)
{
	return (Elf64_Phdr *)(void *)(r->file + VMLINUX + sizeof(Elf64_Ehdr)) + n;
}

static void make_vmlinux(struct rig *r)
{
	*elf(r) = (Elf64_Ehdr){
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_entry = RUN + 16,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3,
	};
	*segment(r, 0) = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_offset = TEXT_AT,
		.p_vaddr = MAP + RUN,
		.p_paddr = RUN,
		.p_filesz = TEXT_LEN,
		.p_memsz = TEXT_LEN,
	};
	*segment(r, 1) = (Elf64_Phdr){
		.p_type = PT_LOAD,
		.p_offset = DATA_AT,
		.p_vaddr = MAP + RUN + TEXT_LEN,
		.p_paddr = RUN + TEXT_LEN,
		.p_filesz = DATA_LEN,
		.p_memsz = 2 * DATA_LEN,
	};
	/* Its notes are at the end of the first page: Linux's own, and PVH's. */
	*segment(r, 2) = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = 2048, .p_filesz = 44};
	memcpy(r->file + VMLINUX + 2048,
	       "\6\0\0\0\4\0\0\0\0\1\0\0Linux\0\0\0abcd"
	       "\4\0\0\0\4\0\0\0\22\0\0\0Xen\0\100\0\40\0",
	       44);
	for (unsigned int i = 0; i < TEXT_LEN + DATA_LEN; i++)
		r->file[VMLINUX + TEXT_AT + i] = (uint8_t)(i * 13 + (i >> 8));
}

/* boot.rst, "The Real-Mode Kernel Header"; protocol 2.15. */
static void make_header(struct rig *r)
{
	uint8_t *k = r->file;
	const uint32_t code = (uint32_t)r->len - SETUP;

	k[0x1f1] = 1;
	store_le32(k + 0x1f4, (code + 15) / 16);
	store_le16(k + 0x1fe, 0xaa55);
	memcpy(k + 0x200, "\xeb\x6aHdrS\x0f\x02", 8);
	k[0x211] = 1;
	store_le32(k + 0x22c, 0x7fffffff);
	store_le32(k + 0x230, ALIGN);
	k[0x234] = 1;
	store_le16(k + 0x236, 1);
	store_le32(k + 0x238, 255);
	store_le32(k + 0x248, PAYLOAD);
	store_le32(k + 0x24c, code - PAYLOAD);
	store_le64(k + 0x258, RUN);
	store_le32(k + 0x260, INIT_SIZE);
}

static void put_word(struct rig *r, uint32_t word)
{
	assert_true(r->len + 4 <= ROOM);
	store_le32(r->file + r->len, word);
	r->len += 4;
}

/* The virtual address at which the kernel refers to what is @at from its start on. */
static uint32_t link_at(uint32_t at)
{
	return (uint32_t)(MAP + RUN) + at;
}

/* What relocations of each kind correct. */
#define REF64   64U
#define REFNEG  128U
#define REF32_A 256U
#define REF32_B 4097U /* nothing says that it is aligned */

static void put_relocations(struct rig *r, bool inverse)
{
	put_word(r, 0);
	put_word(r, link_at(REF64));
	if (inverse) {
		put_word(r, 0);
		put_word(r, link_at(REFNEG));
	}
	put_word(r, 0);
	put_word(r, link_at(REF32_A));
	put_word(r, link_at(REF32_B));
}

static void begin(struct rig *r)
{
	const struct gmem_region region = {.gpa = 0, .size = MEMORY};

	memset(r, 0, sizeof(*r));
	r->len = TAIL;
	make_vmlinux(r);
	assert_int_equal(e820_build(&r->map, &region, 1, NULL), 0);
	assert_int_equal(gmem_create(&r->mem, &(struct gmem_options){.size = MEMORY}, NULL), 0);
	r->options.cache = "off";
	r->options.kaslr = BOOT_OFF;
	r->req.options = &r->options;
	r->req.memory = &r->map;
}

/* A whole one, with relocations of all kinds. */
static void begin_whole(struct rig *r)
{
	begin(r);
	put_relocations(r, true);
	make_header(r);
}

static void end(struct rig *r)
{
	boot_close(r->kernel);
	boot_close(r->initrd);
	gmem_destroy(r->mem);
}

static int load_bytes(struct rig *r, const uint8_t *bytes, size_t len)
{
	boot_close(r->kernel);
	assert_int_equal(boot_open_memory(&r->kernel, "kernel", "tiny", bytes, len, NULL), 0);
	r->req.kernel = r->kernel;
	r->err.text[0] = '\0';
	return boot_load(&r->req, r->mem, &r->entry, &r->layout, &r->err);
}

static int load(struct rig *r)
{
	return load_bytes(r, r->file, r->len);
}

static const uint8_t *at(const struct rig *r, uint64_t gpa, uint64_t len)
{
	const uint8_t *p = gmem_hva(r->mem, gpa, len);

	assert_non_null(p);
	return p;
}

/* The page tables that the entry has map @vaddr to itself (SDM volume 3, 4.5). */
static void assert_maps_itself(const struct rig *r, uint64_t vaddr)
{
	uint64_t table = r->entry.cr3;

	for (unsigned int shift = 39; shift >= 21; shift -= 9) {
		const uint64_t e = load_le64(at(r, table + 8 * (vaddr >> shift & 511), 8));

		assert_int_equal(e & 3, 3);
		table = e & UINT64_C(0xffffffffff000);
		if (shift > 21)
			assert_int_equal(e & 0x80, 0);
		else
			assert_int_equal(e & 0x80, 0x80);
	}
	assert_int_equal(table, align_down(vaddr, MIB(2)));
}

static void test_as_linked(void **state)
{
	struct rig r;

	(void)state;
	begin_whole(&r);
	r.req.cmdline = "quiet";
	gmem_fill(r.mem, RUN, 0xff, MIB(1));
	assert_int_equal(load(&r), 0);
	assert_string_equal(r.layout.protocol, "linux");
	assert_int_equal(r.entry.mode, CPU_LONG64);
	assert_int_equal(r.entry.rip, RUN + 16);
	assert_memory_equal(at(&r, RUN, TEXT_LEN + DATA_LEN), r.file + VMLINUX + TEXT_AT,
			    TEXT_LEN + DATA_LEN);
	for (unsigned int i = 0; i < DATA_LEN; i++)
		assert_int_equal(*at(&r, RUN + TEXT_LEN + DATA_LEN + i, 1), 0);
	for (uint64_t v = 0; v < GIB(4); v += MIB(510))
		assert_maps_itself(&r, v);
	/* boot.rst, hdr: the setup header, and where the command line is. */
	assert_int_equal(load_le32(at(&r, r.entry.rsi + 0x202, 4)), 0x53726448);
	assert_string_equal((const char *)at(&r, load_le32(at(&r, r.entry.rsi + 0x228, 4)), 6),
			    "quiet");
	/* boot.rst, loadflags, bit 1: KASLR_FLAG. */
	assert_int_equal(*at(&r, r.entry.rsi + 0x211, 1) & 2, 0);
	end(&r);
}

/* Where the kernel was put, found by what its entry says; and by how much it was moved. */
static uint64_t check_moved(struct rig *r, uint64_t *base)
{
	const uint8_t *was = r->file + VMLINUX + TEXT_AT, *is;
	uint64_t delta;

	*base = r->entry.rip - 16;
	assert_int_equal(*base % ALIGN, 0);
	assert_true(*base >= RUN && *base + INIT_SIZE <= MEMORY);
	is = at(r, *base, TEXT_LEN);
	delta = load_le64(is + REF64) - load_le64(was + REF64);
	assert_int_equal(delta % ALIGN, 0);
	assert_true(RUN + delta + INIT_SIZE <= GIB(1));
	assert_int_equal((uint32_t)(load_le32(is + REF32_A) - load_le32(was + REF32_A)), delta);
	assert_int_equal((uint32_t)(load_le32(is + REF32_B) - load_le32(was + REF32_B)), delta);
	assert_int_equal((uint32_t)(load_le32(was + REFNEG) - load_le32(is + REFNEG)),
			 r->file[TAIL + 8] ? 0 : delta);
	/* What is not referred to stays. */
	assert_memory_equal(is, was, REF64);
	assert_memory_equal(is + 512, was + 512, 2048);
	return delta;
}

/* 64 machines are at 50 different places at least, in each of the two senses. */
static void test_random(void **state)
{
	static const char initrd[MIB(2)];
	uint64_t deltas[64], bases[64], base;
	unsigned int different = 0, places = 0;
	struct rig r;

	(void)state;
	begin_whole(&r);
	r.options.kaslr = BOOT_AUTO;
	assert_int_equal(boot_open_memory(&r.initrd, "initrd", "rd", initrd, sizeof(initrd), NULL),
			 0);
	r.req.initrds = (const struct boot_image *const *)&r.initrd;
	r.req.initrd_count = 1;
	for (unsigned int i = 0; i < ARRAY_SIZE(deltas); i++) {
		unsigned int same = 0, here = 0;

		assert_int_equal(load(&r), 0);
		assert_int_equal(*at(&r, r.entry.rsi + 0x211, 1) & 2, 2);
		deltas[i] = check_moved(&r, &base);
		bases[i] = base;
		for (unsigned int j = 0; j < i; j++) {
			same += deltas[j] == deltas[i];
			here += bases[j] == base;
		}
		different += !same;
		places += !here;
	}
	assert_in_range(different, 50, 64);
	/* There are 127 places in this memory: 64 draws hit 50 or so. */
	assert_in_range(places, 30, 64);
	end(&r);
}

/* Kernels from 6.15 on have no inverse relocations. */
static void test_two_lists(void **state)
{
	struct rig r;
	uint64_t base;

	(void)state;
	begin(&r);
	put_relocations(&r, false);
	make_header(&r);
	r.options.kaslr = BOOT_ON;
	assert_int_equal(load(&r), 0);
	store_le32(r.file + TAIL + 8, 1); /* check_moved(): nothing to see at REFNEG */
	check_moved(&r, &base);
	end(&r);
}

static void test_not_random(void **state)
{
	static const struct {
		const char *cmdline;
		bool moved, placed;
	} cases[] = {
		{"nokaslr", false, false},      {"a nokaslr b", false, false},
		{"a\tnokaslr\n", false, false}, {"nokaslrx", true, true},
		{"mem=128M", true, false},      {"x memmap=64K$1M", true, false},
		{"amem=1", true, true},         {"default_hugepagesz=1G", true, true},
	};
	struct rig r;

	(void)state;
	begin_whole(&r);
	r.options.kaslr = BOOT_ON;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool moved = false, placed = false;
		uint64_t base;

		r.req.cmdline = cases[i].cmdline;
		/* One in a hundred is where it was linked for by chance, eight in a row are not. */
		for (unsigned int n = 0; n < 8; n++) {
			assert_int_equal(load(&r), 0);
			moved |= check_moved(&r, &base) != 0;
			placed |= base != RUN;
		}
		if (moved != cases[i].moved || placed != cases[i].placed)
			fail_msg("'%s': moved %d, placed %d", cases[i].cmdline, moved, placed);
	}
	end(&r);
}

/* Without relocations only the physical place can be random, and only what asked for more fails. */
static void test_no_relocations(void **state)
{
	struct rig r;

	(void)state;
	begin(&r);
	make_header(&r);
	r.options.kaslr = BOOT_AUTO;
	assert_int_equal(load(&r), 0);
	assert_memory_equal(at(&r, r.entry.rip - 16, TEXT_LEN), r.file + VMLINUX + TEXT_AT,
			    TEXT_LEN);
	r.options.kaslr = BOOT_ON;
	assert_int_equal(load(&r), -ENOEXEC);
	assert_says(&r, "it has no relocations");
	/* What stands behind it is no list of addresses. */
	r.len = TAIL;
	put_word(&r, 5);
	put_word(&r, 0);
	make_header(&r);
	assert_int_equal(load(&r), -ENOEXEC);
	r.options.kaslr = BOOT_AUTO;
	assert_int_equal(load(&r), 0);
	end(&r);
}

static void test_lies(void **state)
{
	struct rig r;

	(void)state;
	begin_whole(&r);
	elf(&r)->e_entry = RUN + TEXT_LEN + 2 * DATA_LEN;
	assert_int_equal(load(&r), -ENOEXEC);
	assert_says(&r, "e_entry");
	elf(&r)->e_entry = RUN - 1;
	assert_int_equal(load(&r), -ENOEXEC);
	make_vmlinux(&r);
	segment(&r, 1)->p_memsz = INIT_SIZE;
	assert_int_equal(load(&r), -ENOEXEC);
	assert_says(&r, "init_size");
	make_vmlinux(&r);
	segment(&r, 0)->p_paddr = RUN - 4096;
	assert_int_equal(load(&r), -ENOEXEC);
	assert_says(&r, "pref_address");
	make_vmlinux(&r);
	segment(&r, 0)->p_offset = ROOM;
	assert_int_equal(load(&r), -ENOEXEC);
	assert_says(&r, "p_offset");
	make_vmlinux(&r);
	store_le32(r.file + 0x260, ELF_LEN);
	assert_int_equal(load(&r), -ENOEXEC);
	assert_says(&r, "larger than its header (init_size) has room for");
	end(&r);
}

static void test_bad_relocations(void **state)
{
	static const uint32_t words[] = {1, 0x7fffffff, 0x80000000, 0xffffffff};
	struct rig r;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		begin(&r);
		put_relocations(&r, true);
		put_word(&r, words[i]);
		make_header(&r);
		r.options.kaslr = BOOT_ON;
		assert_int_equal(load(&r), -ENOEXEC);
		assert_says(&r, "outside of it");
		end(&r);
	}
	/* The last byte of the room may be referred to, one further may not. */
	for (uint32_t past = 0; past < 2; past++) {
		begin(&r);
		put_relocations(&r, true);
		put_word(&r, link_at((uint32_t)INIT_SIZE - 4 + past));
		make_header(&r);
		r.options.kaslr = BOOT_ON;
		assert_int_equal(load(&r), past ? -ENOEXEC : 0);
		end(&r);
	}
}

/* A payload that cannot be unpacked here is the kernel's own business. */
static void test_next_protocol(void **state)
{
	struct rig r;

	(void)state;
	begin_whole(&r);
	/* lzma, with a dictionary of 2 GiB, and 100 bytes when it is unpacked. */
	put_word(&r, 100);
	make_header(&r);
	memcpy(r.file + VMLINUX, "\x5d\0\0\0\x80\xff\xff\xff\xff\xff\xff\xff\xff", 13);
	assert_int_equal(load(&r), 0);
	assert_string_equal(r.layout.protocol, "linux32");
	assert_int_equal(r.entry.mode, CPU_PROT32);
	r.options.protocol = "linux";
	assert_int_equal(load(&r), -ENOTSUP);
	r.options.protocol = "linux64";
	assert_int_equal(load(&r), 0);
	assert_int_equal(r.entry.mode, CPU_LONG64);
	assert_int_equal(r.entry.rip, RUN + 0x200);
	assert_maps_itself(&r, RUN);
	end(&r);
}

static void test_vmlinux(void **state)
{
	const struct boot_module module = {.img = NULL, .cmdline = ""};
	struct rig r;

	(void)state;
	begin(&r);
	assert_int_equal(load_bytes(&r, r.file + VMLINUX, ELF_LEN), 0);
	assert_string_equal(r.layout.protocol, "linux");
	assert_int_equal(r.entry.mode, CPU_LONG64);
	assert_int_equal(r.entry.rip, RUN + 16);
	assert_memory_equal(at(&r, RUN, TEXT_LEN + DATA_LEN), r.file + VMLINUX + TEXT_AT,
			    TEXT_LEN + DATA_LEN);
	assert_int_equal(load_le16(at(&r, r.entry.rsi + 0x1fe, 2)), 0xaa55);
	assert_int_equal(r.layout.least_memory, MIB(3));
	elf(&r)->e_entry = RUN - 1;
	assert_int_equal(load_bytes(&r, r.file + VMLINUX, ELF_LEN), -ENOEXEC);
	assert_says(&r, "e_entry");
	make_vmlinux(&r);
	segment(&r, 1)->p_paddr = RUN + 4096;
	assert_int_equal(load_bytes(&r, r.file + VMLINUX, ELF_LEN), -EEXIST);
	assert_says(&r, "overlaps");
	make_vmlinux(&r);
	segment(&r, 1)->p_paddr = MEMORY - DATA_LEN;
	assert_int_equal(load_bytes(&r, r.file + VMLINUX, ELF_LEN), -ENOMEM);
	make_vmlinux(&r);
	r.req.modules = &module;
	r.req.module_count = 1;
	assert_int_equal(load_bytes(&r, r.file + VMLINUX, ELF_LEN), -EINVAL);
	assert_says(&r, "takes no boot modules");
	end(&r);
}

/* start_info.h */
static void test_pvh(void **state)
{
	struct boot_module module = {.cmdline = "of mine"};
	const uint8_t *info, *list;
	struct rig r;

	(void)state;
	begin(&r);
	r.options.protocol = "pvh";
	r.req.cmdline = "bees";
	r.req.rsdp = 0xe0000;
	assert_int_equal(boot_open_memory(&module.img, "module", "m", "honey", 5, NULL), 0);
	assert_int_equal(boot_open_memory(&r.initrd, "initrd", "rd", "wax", 3, NULL), 0);
	r.req.initrds = (const struct boot_image *const *)&r.initrd;
	r.req.initrd_count = 1;
	r.req.modules = &module;
	r.req.module_count = 1;
	assert_int_equal(load_bytes(&r, r.file + VMLINUX, ELF_LEN), 0);
	assert_int_equal(r.entry.mode, CPU_PROT32);
	assert_int_equal(r.entry.cr3, 0);
	assert_int_equal(r.entry.rip, RUN + 64);
	info = at(&r, r.entry.rbx, 56);
	assert_int_equal(load_le32(info), 0x336ec578);
	assert_int_equal(load_le32(info + 4), 1);
	assert_int_equal(load_le32(info + 12), 2);
	assert_string_equal((const char *)at(&r, load_le64(info + 24), 5), "bees");
	assert_int_equal(load_le64(info + 32), 0xe0000);
	list = at(&r, load_le64(info + 16), 64);
	assert_memory_equal(at(&r, load_le64(list), 3), "wax", 3);
	assert_int_equal(load_le64(list + 32 + 8), 5);
	assert_memory_equal(at(&r, load_le64(list + 32), 5), "honey", 5);
	assert_string_equal((const char *)at(&r, load_le64(list + 32 + 16), 8), "of mine");
	assert_int_equal(load_le32(info + 48), r.map.count);
	for (unsigned int i = 0; i < r.map.count; i++) {
		const uint8_t *e = at(&r, load_le64(info + 40) + 24 * i, 24);

		assert_int_equal(load_le64(e), r.map.entries[i].gpa);
		assert_int_equal(load_le64(e + 8), r.map.entries[i].len);
		assert_int_equal(load_le32(e + 16), r.map.entries[i].type);
	}
	/* The entry is in no segment. */
	store_le32(r.file + VMLINUX + 2048 + 40, 64);
	assert_int_equal(load_bytes(&r, r.file + VMLINUX, ELF_LEN), -ENOEXEC);
	assert_says(&r, "PVH entry 0x40");
	boot_close(module.img);
	end(&r);
}

/* Golden files: the pieces, and of the structure that is handed over each line that says something.
 */

static void print_lines(FILE *to, const uint8_t *bytes, size_t len)
{
	static const uint8_t nothing[16];

	for (size_t i = 0; i + 16 <= len; i += 16) {
		if (!memcmp(bytes + i, nothing, 16))
			continue;
		fprintf(to, "%04zx", i);
		for (size_t j = 0; j < 16; j++)
			fprintf(to, " %02x", bytes[i + j]);
		fputc('\n', to);
	}
}

static void compare(struct rig *r, const char *name, uint64_t structure, size_t len)
{
	char *text = NULL, *path = golden_path("linux/%s.txt", name);
	size_t size = 0;
	FILE *to = open_memstream(&text, &size);

	assert_non_null(to);
	fprintf(to, "protocol %s, entered at 0x%llx in %s\n", r->layout.protocol,
		(unsigned long long)r->layout.entry, r->layout.mode);
	for (unsigned int i = 0; i < r->layout.count; i++)
		fprintf(to, "0x%08llx %8llx %s\n", (unsigned long long)r->layout.pieces[i].gpa,
			(unsigned long long)r->layout.pieces[i].len, r->layout.pieces[i].name);
	print_lines(to, at(r, structure, len), len);
	fclose(to);
	golden_compare(path, text);
	free(path);
	free(text);
}

static void test_golden(void **state)
{
	static const char *const protocols[] = {"linux", "linux32", "linux64"};
	struct rig r;

	(void)state;
	begin_whole(&r);
	r.req.cmdline = "console=ttyS0 quiet";
	r.req.rsdp = 0xe0000;
	r.req.text_screen = true;
	assert_int_equal(boot_open_memory(&r.initrd, "initrd", "rd", "070701", 6, NULL), 0);
	r.req.initrds = (const struct boot_image *const *)&r.initrd;
	r.req.initrd_count = 1;
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		r.options.protocol = protocols[i];
		assert_int_equal(load(&r), 0);
		compare(&r, protocols[i], r.entry.rsi, 4096);
	}
	r.options.protocol = "linux";
	assert_int_equal(load_bytes(&r, r.file + VMLINUX, ELF_LEN), 0);
	compare(&r, "vmlinux", r.entry.rsi, 4096);
	r.options.protocol = "pvh";
	assert_int_equal(load_bytes(&r, r.file + VMLINUX, ELF_LEN), 0);
	compare(&r, "pvh", r.entry.rbx, KIB(8));
	end(&r);
}

/* Whatever is changed in it: it loads, or a sentence says why not. ASan watches the rest. */
static void test_mutations(void **state)
{
	unsigned int seed = 5, loaded = 0;
	struct rig r;

	(void)state;
	for (unsigned int i = 0; i < 3000; i++) {
		uint8_t *copy;

		begin_whole(&r);
		r.options.kaslr = i & 1 ? BOOT_ON : BOOT_OFF;
		for (unsigned int n = 1 + (unsigned int)rand_r(&seed) % 3; n--;) {
			static const unsigned int from[] = {0x1f1, VMLINUX, VMLINUX + 2048, TAIL};
			const unsigned int where = from[(unsigned int)rand_r(&seed) % 4] +
						   (unsigned int)rand_r(&seed) % 0x80;

			r.file[where % r.len] = (uint8_t)rand_r(&seed);
		}
		copy = malloc(r.len);
		assert_non_null(copy);
		memcpy(copy, r.file, r.len);
		if (!load_bytes(&r, i & 2 ? copy : copy + VMLINUX, i & 2 ? r.len : r.len - VMLINUX))
			loaded++;
		else
			assert_says(&r, "'");
		end(&r);
		free(copy);
	}
	assert_in_range(loaded, 300, 2900);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_linked),       cmocka_unit_test(test_random),
		cmocka_unit_test(test_two_lists),       cmocka_unit_test(test_not_random),
		cmocka_unit_test(test_no_relocations),  cmocka_unit_test(test_lies),
		cmocka_unit_test(test_bad_relocations), cmocka_unit_test(test_next_protocol),
		cmocka_unit_test(test_vmlinux),         cmocka_unit_test(test_pvh),
		cmocka_unit_test(test_golden),          cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests_name("linux_direct", tests, NULL, NULL);
}
