/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * multiboot - what a loader owes a kernel by the Multiboot Specification 0.6.96.
 *
 * Command line: ram=SIZE, what the machine was given; modules=N; elf=1: it was loaded as an ELF
 * file; screen=1: there is a text screen; size= and sum= of the initrd, if the first module is one.
 * WITH_ADDRESSES: the header says where it goes, the "a.out kludge".
 */
#include "loaded.h"

/* Section 3.1: modules on pages, memory sizes, a video mode. */
#ifdef WITH_ADDRESSES
#define FLAGS 0x10007
#else
#define FLAGS 0x7
#endif
#define STR_(x) #x
#define STR(x)  STR_(x)

__asm__(".section .header, \"a\"\n"
	"	.balign 4\n"
	"multiboot_header:\n"
	"	.long 0x1badb002, " STR(FLAGS) ", -(0x1badb002 + " STR(
		FLAGS) ")\n"
		       "	.long multiboot_header, multiboot_header, image_end, memory_end, "
		       "start32\n"
		       "	.long 1, 80, 25, 0\n"
		       "	.previous\n");

/* Section 3.3 */
struct info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
	uint32_t shdr_num, shdr_size, shdr_addr, shdr_shndx;
	uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, loader_name;
	uint32_t apm_table, vbe[4];
	uint64_t screen_addr;
	uint32_t screen_pitch, screen_width, screen_height;
	uint8_t screen_bpp, screen_type;
};

#define ALWAYS 0x245 /* memory, command line, map, name of the loader */
#define MODS   0x8U
#define SHDR   0x20U
#define SCREEN 0x1000U

struct mod {
	uint32_t start, end, string, reserved;
};

static const void *at(uint32_t gpa)
{
	return (const void *)(uintptr_t)gpa;
}

static void check_modules(const struct info *info, const char *words)
{
	const struct mod *mods = at(info->mods_addr);

	check_eq(info->mods_count, words_number(words, "modules", 0));
	for (uint32_t i = 0; i < info->mods_count; i++) {
		const char *string = at(mods[i].string);

		check_eq(mods[i].reserved, 0);
		check_module(mods[i].start, mods[i].end, *string ? string : words);
		check(*string || !i);
	}
}

static void check_map(const struct info *info, uint64_t ram)
{
	const uint8_t *e = at(info->mmap_addr), *end = e + info->mmap_length;
	struct map_check m = {0};

	for (; e < end; e += *(const uint32_t *)e + 4)
		check_map_entry(&m, *(const uint64_t *)(e + 4), *(const uint64_t *)(e + 12),
				*(const uint32_t *)(e + 20));
	check(e == end);
	check_map_end(&m, ram);
}

static void check_screen(const struct info *info)
{
	check_eq(info->screen_addr, 0xb8000);
	check_eq(info->screen_pitch, 160);
	check_eq(info->screen_width, 80);
	check_eq(info->screen_height, 25);
	check_eq(info->screen_bpp, 16);
	check_eq(info->screen_type, 2);
}

int guest_main(void)
{
	const struct info *info = at(entry.ebx);
	const char *words = at(info->cmdline);
	const uint64_t ram = words_number(words, "ram", 0);
	const bool elf = words_number(words, "elf", 0), screen = words_number(words, "screen", 0);

	check_eq(entry.eax, 0x2badb002);
	check_eq(entry.ebx & 3, 0);
	check_flat32();
	check_eq(info->flags & ~(MODS | SHDR | SCREEN), ALWAYS);
	check_eq(!!(info->flags & SHDR), elf);
	check_eq(!!(info->flags & SCREEN), screen);
	check_eq(memcmp(words, "ram=", 4), 0);
	check_eq(memcmp(at(info->loader_name), "skep ", 5), 0);
	check_sizes(info->mem_lower, info->mem_upper, ram);
	check_map(info, ram);
	if (info->flags & MODS)
		check_modules(info, words);
	else
		check_eq(words_number(words, "modules", 0), 0);
	if (info->flags & SHDR)
		check_symbols(at(info->shdr_addr), info->shdr_size, info->shdr_num,
			      info->shdr_shndx);
	if (info->flags & SCREEN)
		check_screen(info);
	return check_result("multiboot");
}
