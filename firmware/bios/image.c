/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * image - the BIOS as part of skep, and what it is told of memory.
 */
#include <string.h>

#include "skep/bios.h"
#include "skep/bits.h"
#include "skep/e820.h"
#include "skep/err.h"

#include "layout.h"

/* What the loader fills in, and the room behind it, are no part of skep. */
#define DIGITS_(number) #number
#define DIGITS(number)  DIGITS_(number)

/* clang-format off */
__asm__(".pushsection .rodata.bios_image, \"a\", @progbits\n"
	".globl bios_image_start, bios_image_reset, bios_image_end\n"
	".hidden bios_image_start, bios_image_reset, bios_image_end\n"
	"bios_image_start:\n"
	".incbin \"" SKEP_BIOS_IMAGE "\", 0, "
		DIGITS(LAYOUT_KIB_LOW) " - " DIGITS(LAYOUT_START) "\n"
	"bios_image_reset:\n"
	".incbin \"" SKEP_BIOS_IMAGE "\", " DIGITS(LAYOUT_RESET) " - " DIGITS(LAYOUT_START) "\n"
	"bios_image_end:\n"
	".popsection\n");
/* clang-format on */

extern const uint8_t bios_image_start[], bios_image_reset[], bios_image_end[];

/* Its 16-bit words end where the calls say: 15 MiB, 64 MiB in all, 4 GiB in blocks. */
#define KIB_LOW_MAX UINT64_C(0x3c00)
#define KIB_ALL_MAX UINT64_C(0xfc00)
#define BLOCKS_MAX  UINT64_C(0xff00)
#define MAP_ENTRY   20
#define ROM(offset) ((offset)-LAYOUT_START)

_Static_assert(LAYOUT_MAP + E820_MAX * MAP_ENTRY <= LAYOUT_RESET, "there is room for any map");
_Static_assert(LAYOUT_START == BIOS_START && LAYOUT_SEGMENT == BIOS_SEGMENT &&
		       LAYOUT_SEGMENT * UINT64_C(16) + LAYOUT_START == BIOS_AREA,
	       "it runs where it is put");
_Static_assert(LAYOUT_EBDA_SEGMENT *UINT64_C(16) == E820_LOW_RAM_END, "INT 12h says what is RAM");

/* Bytes of RAM from @from on, without a gap. */
static uint64_t ram_from(const struct e820 *map, uint64_t from)
{
	for (unsigned int i = 0; i < map->count; i++) {
		const struct e820_entry *e = &map->entries[i];

		if (e->type == E820_RAM && from >= e->gpa && from - e->gpa < e->len)
			return e->len - (from - e->gpa);
	}
	return 0;
}

void bios_build(uint8_t rom[BIOS_AREA_LEN], const struct e820 *memory)
{
	const uint64_t above_1m = ram_from(memory, MIB(1));
	uint8_t *at = rom + ROM(LAYOUT_MAP);

	memset(rom, 0, BIOS_AREA_LEN);
	memcpy(rom, bios_image_start, (size_t)(bios_image_reset - bios_image_start));
	memcpy(rom + ROM(LAYOUT_RESET), bios_image_reset,
	       (size_t)(bios_image_end - bios_image_reset));
	store_le16(rom + ROM(LAYOUT_KIB_LOW), (uint16_t)MIN(above_1m >> 10, KIB_LOW_MAX));
	store_le16(rom + ROM(LAYOUT_KIB_ALL), (uint16_t)MIN(above_1m >> 10, KIB_ALL_MAX));
	store_le16(rom + ROM(LAYOUT_BLOCKS_HIGH),
		   (uint16_t)MIN(ram_from(memory, MIB(16)) >> 16, BLOCKS_MAX));
	store_le32(rom + ROM(LAYOUT_MAP_COUNT), memory->count);
	for (unsigned int i = 0; i < memory->count; i++, at += MAP_ENTRY) {
		store_le64(at, memory->entries[i].gpa);
		store_le64(at + 8, memory->entries[i].len);
		store_le32(at + 16, memory->entries[i].type);
	}
}
