/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * multiboot2 - what a loader owes a kernel by the Multiboot2 Specification 2.0.
 *
 * Command line: as of multiboot.c. WITH_ADDRESSES: the header says where it goes, and that it must
 * have a screen; without, that it can be moved, though only to where it was linked for.
 */
#include "loaded.h"

/* Section 3.1.3 and those behind it: a tag's type, and whether it may be ignored. */
#ifdef WITH_ADDRESSES
#define TAGS                                                          \
	"	.balign 8\n"                                                \
	"	.word 2, 0\n	.long 24, header, -1, image_end, memory_end\n" \
	"	.balign 8\n"                                                \
	"	.word 3, 0\n	.long 12, start32\n"                           \
	"	.balign 8\n"                                                \
	"	.word 4, 0\n	.long 12, 3\n"
#else
#define TAGS                                                         \
	"	.balign 8\n"                                               \
	"	.word 10, 0\n	.long 24, 0x100000, memory_end, 0x1000, 1\n" \
	"	.balign 8\n"                                               \
	"	.word 7, 1\n	.long 8\n"                                    \
	"	.balign 8\n"                                               \
	"	.word 9, 1\n	.long 12, 0\n"
#endif

__asm__(".section .header, \"a\"\n"
	"	.balign 8\n"
	"header:\n"
	"	.long 0xe85250d6, 0, header_end - header\n"
	"	.long -(0xe85250d6 + (header_end - header))\n"
	"	.word 1, 0\n	.long 8 + 4 * 8, 1, 2, 3, 4, 6, 8, 9, 15\n"
	"	.balign 8\n"
	"	.word 6, 0\n	.long 8\n" TAGS "	.balign 8\n"
	"	.word 0, 0\n	.long 8\n"
	"header_end:\n"
	"	.previous\n");

/* Section 3.6 */
enum {
	END = 0,
	CMDLINE = 1,
	LOADER_NAME = 2,
	MODULE = 3,
	MEMORY = 4,
	MAP = 6,
	SCREEN = 8,
	SECTIONS = 9,
	ACPI_NEW = 15,
	LOAD_BASE = 21,
};

struct tag {
	uint32_t type, size;
	uint32_t v[]; /* 32 bits each, what the tag holds */
};

static uint32_t seen[22]; /* tags, by type */

static const struct tag *next(const struct tag *t)
{
	return (const void *)((uintptr_t)t + ((t->size + 7) & ~7U));
}

static const struct tag *find(const struct tag *t, uint32_t type)
{
	while (t->type != type && t->type != END)
		t = next(t);
	return t;
}

static void check_map(const struct tag *t, uint64_t ram)
{
	const uint8_t *end = (const uint8_t *)t + t->size;
	struct map_check m = {0};

	check_eq(t->v[0], 24);
	check_eq(t->v[1], 0);
	check_eq((t->size - 16) % 24, 0);
	for (const uint8_t *e = (const uint8_t *)&t->v[2]; e < end; e += 24) {
		check_map_entry(&m, *(const uint64_t *)e, *(const uint64_t *)(e + 8),
				*(const uint32_t *)(e + 16));
		check_eq(*(const uint32_t *)(e + 20), 0);
	}
	check_map_end(&m, ram);
}

static void check_screen(const struct tag *t)
{
	check_eq(t->size, 32);
	check_eq(t->v[0], 0xb8000);
	check_eq(t->v[1], 0);
	check_eq(t->v[2], 160);
	check_eq(t->v[3], 80);
	check_eq(t->v[4], 25);
	check_eq(t->v[5], 2 << 8 | 16);
}

/* It is a copy of what can be found in the BIOS area (ACPI 6.5, section 5.2.5.1). */
static void check_rsdp(const struct tag *t)
{
	uint32_t at = 0xe0000;

	while (at < 0x100000 && memcmp((const void *)(uintptr_t)at, "RSD PTR ", 8))
		at += 16;
	check(at < 0x100000);
	check_eq(t->size, 8 + 36);
	check_eq(memcmp(t->v, (const void *)(uintptr_t)at, 36), 0);
}

static void check_tag(const struct tag *t, const char *words)
{
	const uint64_t ram = words_number(words, "ram", 0);
	const char *string = (const char *)t->v;

	switch (t->type) {
	case CMDLINE:
		check_eq(t->size, 9 + strlen(string));
		break;
	case LOADER_NAME:
		check_eq(t->size, 9 + strlen(string));
		check_eq(memcmp(string, "skep ", 5), 0);
		break;
	case MODULE:
		string += 8;
		check_eq(t->size, 17 + strlen(string));
		check_module(t->v[0], t->v[1], *string ? string : words);
		check(*string || seen[MODULE] == 1);
		break;
	case MEMORY:
		check_eq(t->size, 16);
		check_sizes(t->v[0], t->v[1], ram);
		break;
	case MAP:
		check_map(t, ram);
		break;
	case SCREEN:
		check_screen(t);
		break;
	case SECTIONS:
		check_eq(t->size, 20 + t->v[0] * t->v[1]);
		check_symbols((const uint8_t *)&t->v[3], t->v[1], t->v[0], t->v[2]);
		break;
	case ACPI_NEW:
		check_rsdp(t);
		break;
	case LOAD_BASE:
		check_eq(t->size, 12);
		check_eq(t->v[0], 0x100000);
		break;
	default:
		check_eq(t->type, END);
	}
}

int guest_main(void)
{
	const uint32_t *info = (const void *)(uintptr_t)entry.ebx;
	const struct tag *first = (const void *)&info[2], *t;
	const char *words = (const char *)find(first, CMDLINE)->v;
	const bool elf = words_number(words, "elf", 0);

	check_eq(entry.eax, 0x36d76289);
	check_eq(entry.ebx & 7, 0);
	check_flat32();
	check_eq(info[1], 0);
	for (t = first; t->type != END; t = next(t)) {
		seen[t->type < 22 ? t->type : END]++;
		check_tag(t, words);
	}
	check_eq(t->size, 8);
	check_eq((uintptr_t)next(t) - entry.ebx, info[0]);
	check_eq(seen[END], 0);
	check_eq(seen[CMDLINE], 1);
	check_eq(seen[LOADER_NAME], 1);
	check_eq(seen[MODULE], words_number(words, "modules", 0));
	check_eq(seen[MEMORY], 1);
	check_eq(seen[MAP], 1);
	check_eq(seen[SCREEN], words_number(words, "screen", 0));
	check_eq(seen[SECTIONS], elf);
	check_eq(seen[ACPI_NEW], 1);
	check_eq(seen[LOAD_BASE], elf);
	return check_result("multiboot2");
}
