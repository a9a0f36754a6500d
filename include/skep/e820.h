/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * e820 - the map of guest physical memory that a PC's firmware hands to what it boots.
 *
 * Named after the BIOS call (INT 15h, AX=E820h; ACPI 6.5, section 15.1). A map is a plain value:
 * entries in ascending order that never overlap, never wrap, are never empty, and touch only where
 * their types differ. What no entry covers is open to devices. One thread at a time.
 */
#ifndef SKEP_E820_H
#define SKEP_E820_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct gmem_region;

/* As many as Linux's boot_params hold. */
#define E820_MAX 128

/* ACPI 6.5, table 15.5 */
enum e820_type {
	E820_RAM = 1,
	E820_RESERVED = 2,
	E820_ACPI = 3, /* tables, which the guest may reclaim when it has read them */
	E820_NVS = 4,
	E820_UNUSABLE = 5,
};

struct e820_entry {
	uint64_t gpa;
	uint64_t len;
	enum e820_type type;
};

struct e820 {
	unsigned int count;
	struct e820_entry entries[E820_MAX];
};

/* Where a PC keeps what its firmware left: the EBDA, the video and option ROM space, the BIOS. */
#define E820_LOW_RAM_END   UINT64_C(0x9fc00)
#define E820_HIGH_RAM_BASE UINT64_C(0x100000)

/* The map of a PC with these @count regions of RAM: all of them, less the legacy area. */
int e820_build(struct e820 *map, const struct gmem_region *regions, unsigned int count,
	       struct err *err);

/*
 * Makes [gpa, gpa + len) @type, whatever it was before. -EINVAL for a range that is empty or
 * wraps, -ENOSPC when the map is full; the map is then as it was.
 */
int e820_set(struct e820 *map, uint64_t gpa, uint64_t len, enum e820_type type, struct err *err);

/* Whether all of [gpa, gpa + len) is @type; len > 0. */
bool e820_is(const struct e820 *map, uint64_t gpa, uint64_t len, enum e820_type type);

/* One past the highest RAM below @limit; 0 when there is none. */
uint64_t e820_ram_end(const struct e820 *map, uint64_t limit);

/* A word for people: "RAM", "reserved", … */
const char *e820_type_name(enum e820_type type);

#endif
