/* SPDX-License-Identifier: BSD-2-Clause */
/* Names and lines of addresses: of a file made here, of this program, and of damaged files. */
#include "support/cm.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/symbols.h"

#define TEXT_AT UINT64_C(0xffffffff80100000)
#define LOAD_AT 0x100000

/* A kernel linked high, with its tables and no code: the smallest file that has symbols. */
struct image {
	Elf64_Ehdr head;
	Elf64_Phdr load;
	Elf64_Shdr sections[5];
	Elf64_Sym symbols[9];
	char names[96];
};

static unsigned int put_name(struct image *img, unsigned int *at, const char *name)
{
	const unsigned int here = *at;

	strcpy(img->names + here, name);
	*at += (unsigned int)strlen(name) + 1;
	assert_true(*at <= sizeof(img->names));
	return here;
}

static void put_symbol(struct image *img, unsigned int n, unsigned int name, unsigned char info,
		       unsigned short section, uint64_t value, uint64_t size)
{
	img->symbols[n] = (Elf64_Sym){
		.st_name = name,
		.st_info = info,
		.st_shndx = section,
		.st_value = value,
		.st_size = size,
	};
}

static void make_image(struct image *img)
{
	unsigned int at = 1;

	memset(img, 0, sizeof(*img));
	memcpy(img->head.e_ident, ELFMAG, SELFMAG);
	img->head.e_ident[EI_CLASS] = ELFCLASS64;
	img->head.e_ident[EI_DATA] = ELFDATA2LSB;
	img->head.e_ident[EI_VERSION] = EV_CURRENT;
	img->head.e_type = ET_EXEC;
	img->head.e_machine = EM_X86_64;
	img->head.e_version = EV_CURRENT;
	img->head.e_ehsize = sizeof(Elf64_Ehdr);
	img->head.e_phoff = offsetof(struct image, load);
	img->head.e_phentsize = sizeof(Elf64_Phdr);
	img->head.e_phnum = 1;
	img->head.e_shoff = offsetof(struct image, sections);
	img->head.e_shentsize = sizeof(Elf64_Shdr);
	img->head.e_shnum = ARRAY_SIZE(img->sections);
	img->head.e_shstrndx = 3;
	img->load = (Elf64_Phdr){
		.p_type = PT_LOAD, .p_vaddr = TEXT_AT, .p_paddr = LOAD_AT, .p_memsz = 0x1000};
	img->sections[1] = (Elf64_Shdr){.sh_type = SHT_NOBITS,
					.sh_flags = SHF_ALLOC,
					.sh_addr = TEXT_AT,
					.sh_size = 0x1000};
	img->sections[2] = (Elf64_Shdr){.sh_type = SHT_SYMTAB,
					.sh_offset = offsetof(struct image, symbols),
					.sh_size = sizeof(img->symbols),
					.sh_entsize = sizeof(Elf64_Sym),
					.sh_link = 3};
	img->sections[3] = (Elf64_Shdr){.sh_type = SHT_STRTAB,
					.sh_offset = offsetof(struct image, names),
					.sh_size = sizeof(img->names)};
	img->sections[4] = (Elf64_Shdr){.sh_name = put_name(img, &at, ".data..percpu"),
					.sh_type = SHT_NOBITS,
					.sh_flags = SHF_ALLOC,
					.sh_size = 0x1000};
	put_symbol(img, 1, put_name(img, &at, "start"), ELF64_ST_INFO(STB_GLOBAL, STT_NOTYPE), 1,
		   TEXT_AT, 0);
	put_symbol(img, 2, put_name(img, &at, "main"), ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), 1,
		   TEXT_AT + 0x100, 0x40);
	put_symbol(img, 3, put_name(img, &at, "alias"), ELF64_ST_INFO(STB_LOCAL, STT_NOTYPE), 1,
		   TEXT_AT + 0x100, 0);
	put_symbol(img, 4, put_name(img, &at, "e\033[2Jx"), ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), 1,
		   TEXT_AT + 0x200, 0x10);
	put_symbol(img, 5, put_name(img, &at, "constant"), STT_NOTYPE, SHN_ABS, TEXT_AT + 0x300, 0);
	put_symbol(img, 6, put_name(img, &at, ".Llocal"), STT_NOTYPE, 1, TEXT_AT + 0x208, 0);
	put_symbol(img, 7, put_name(img, &at, "counter"), STT_OBJECT, 4, 0x10, 8);
	put_symbol(img, 8, 0x7fffffff, STT_FUNC, 1, TEXT_AT + 0x400, 8);
}

static int as_file(const void *data, size_t len)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, data, len, 0), len);
	return fd;
}

/* NULL when this host has no libelf. */
static struct symbols *open_image(int fd)
{
	struct symbols *s;
	struct err err;

	assert_int_equal(symbols_open_fd(&s, fd, "kernel", &err), 0);
	if (symbols_prepare(s, &err) == -ENOSYS) {
		print_message("%s\n", err.text);
		symbols_close(s);
		close(fd);
		skip();
	}
	return s;
}

static void expect(struct symbols *s, uint64_t at, const char *want)
{
	char text[SYMBOLS_TEXT] = "unset";

	assert_int_equal(symbols_name(s, at, text, sizeof(text)), *want != '\0');
	assert_string_equal(text, want);
}

static void names_of_addresses(void **state)
{
	struct image img;
	struct symbols *s;
	uint64_t at;
	int fd;

	(void)state;
	make_image(&img);
	fd = as_file(&img, sizeof(img));
	s = open_image(fd);
	expect(s, TEXT_AT, "start");
	expect(s, TEXT_AT + 0xff, "start+0xff");
	expect(s, TEXT_AT + 0x100, "main");
	expect(s, TEXT_AT + 0x13f, "main+0x3f");
	/* Behind its end, and what lies in no section, outside one, or is another's address. */
	expect(s, TEXT_AT + 0x140, "");
	expect(s, TEXT_AT - 1, "");
	expect(s, TEXT_AT + 0x1000, "");
	expect(s, 0x10, "");
	expect(s, 0, "");
	expect(s, UINT64_MAX, "");
	/* Control characters stay in the file; an assembler's own labels do not hide names. */
	expect(s, TEXT_AT + 0x209, "e?[2Jx+0x9");
	/* Before paging is on. */
	expect(s, LOAD_AT + 0x104, "main+0x4");
	assert_true(symbols_find(s, "main", &at));
	assert_int_equal(at, TEXT_AT + 0x100);
	assert_false(symbols_find(s, "nothing", &at));
	symbols_slide(s, 0x200000);
	expect(s, TEXT_AT + 0x200104, "main+0x4");
	expect(s, TEXT_AT + 0x104, "");
	expect(NULL, TEXT_AT, "");
	symbols_close(s);
	close(fd);
}

static void a_short_buffer_is_not_overrun(void **state)
{
	char text[4] = "xyz";
	struct image img;
	struct symbols *s;
	int fd;

	(void)state;
	make_image(&img);
	fd = as_file(&img, sizeof(img));
	s = open_image(fd);
	assert_true(symbols_name(s, TEXT_AT + 0x101, text, 3));
	assert_string_equal(text, "ma");
	symbols_close(s);
	close(fd);
}

static void lines_of_this_program(void **state)
{
	char text[SYMBOLS_TEXT];
	struct symbols *s;
	struct err err;
	uint64_t at;

	(void)state;
	assert_int_equal(symbols_open(&s, "/proc/self/exe", &err), 0);
	if (symbols_prepare(s, &err) == -ENOSYS) {
		symbols_close(s);
		skip();
	}
	assert_true(symbols_find(s, "main", &at));
	expect(s, at, "main");
	/* Where libdw is. */
	if (symbols_line(s, at, text, sizeof(text)))
		assert_memory_equal(text, "symbols.c:", strlen("symbols.c:"));
	assert_false(symbols_line(s, 0, text, sizeof(text)));
	symbols_close(s);
}

static void refuse(const void *data, size_t len, const char *words)
{
	int fd = as_file(data, len);
	struct symbols *s;
	struct err err;
	int ret = symbols_open_fd(&s, fd, "kernel", &err);

	if (!ret)
		ret = symbols_prepare(s, &err);
	assert_true(ret < 0);
	if (ret != -ENOSYS && !strstr(err.text, words))
		fail_msg("'%s' does not say '%s'", err.text, words);
	symbols_close(s);
	close(fd);
}

static void files_without_symbols(void **state)
{
	struct image img;
	struct symbols *s;
	struct err err;

	(void)state;
	assert_int_equal(symbols_open(&s, "/nonexistent", &err), -ENOENT);
	assert_null(s);
	assert_int_equal(symbols_open(&s, "/", &err), -EISDIR);
	refuse("", 0, "no ELF file");
	refuse("#!/bin/sh\n: this is long enough to be a header of an ELF file, but is none", 70,
	       "no ELF file");
	make_image(&img);
	img.head.e_machine = EM_AARCH64;
	refuse(&img, sizeof(img), "another processor");
	make_image(&img);
	img.sections[2].sh_type = SHT_NULL;
	refuse(&img, sizeof(img), "stripped");
	make_image(&img);
	img.sections[2].sh_size = UINT64_MAX / 2;
	refuse(&img, sizeof(img), "cannot be read");
	make_image(&img);
	img.sections[2].sh_link = 77;
	refuse(&img, sizeof(img), "cannot be read");
	make_image(&img);
	img.sections[3].sh_offset = UINT64_MAX - 8;
	refuse(&img, sizeof(img), "cannot be read");
	make_image(&img);
	refuse(&img, offsetof(struct image, sections) + 7, "");
}

/* Whatever a byte is changed to, there is an answer. */
static void damaged_files(void **state)
{
	static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
	char text[SYMBOLS_TEXT];
	struct image img;
	struct symbols *s;

	(void)state;
	for (size_t i = SELFMAG; i < sizeof(img); i++)
		for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
			int fd;

			make_image(&img);
			((uint8_t *)&img)[i] = values[v];
			fd = as_file(&img, sizeof(img));
			if (!symbols_open_fd(&s, fd, "kernel", NULL)) {
				symbols_name(s, TEXT_AT + 0x104, text, sizeof(text));
				symbols_name(s, LOAD_AT + 0x104, text, sizeof(text));
				symbols_line(s, TEXT_AT + 0x104, text, sizeof(text));
				symbols_close(s);
			}
			close(fd);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_of_addresses),
		cmocka_unit_test(a_short_buffer_is_not_overrun),
		cmocka_unit_test(lines_of_this_program),
		cmocka_unit_test(files_without_symbols),
		cmocka_unit_test(damaged_files),
	};

	return cmocka_run_group_tests_name("symbols", tests, NULL, NULL);
}
