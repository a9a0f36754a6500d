/* SPDX-License-Identifier: BSD-2-Clause */
#include "skep/e820.h"
#include "skep/bits.h"
#include "skep/err.h"
#include "skep/gmem.h"

/*
 * A map under construction: setting a range splits at most one entry in two and adds one, and only
 * what is left behind merging has to fit.
 */
struct draft {
	unsigned int count;
	struct e820_entry entries[E820_MAX + 2];
};

static void append(struct draft *d, uint64_t gpa, uint64_t len, enum e820_type type)
{
	struct e820_entry *last = d->count ? &d->entries[d->count - 1] : NULL;

	if (!len)
		return;
	if (last && last->type == type && last->gpa + last->len == gpa) {
		last->len += len;
		return;
	}
	bug_on(d->count == ARRAY_SIZE(d->entries));
	d->entries[d->count++] = (struct e820_entry){.gpa = gpa, .len = len, .type = type};
}

int e820_set(struct e820 *map, uint64_t gpa, uint64_t len, enum e820_type type, struct err *err)
{
	struct draft d = {.count = 0};
	const uint64_t end = gpa + len;
	bool placed = false;

	/* The last byte of the address space stays out, so that every end is a number. */
	if (!len || !range_fits(gpa, len, UINT64_MAX))
		return err_set(err, EINVAL,
			       "memory map: %llu bytes from 0x%llx are no range of addresses",
			       (unsigned long long)len, (unsigned long long)gpa);
	for (unsigned int i = 0; i < map->count; i++) {
		const struct e820_entry *e = &map->entries[i];
		const uint64_t e_end = e->gpa + e->len;

		if (e->gpa < gpa)
			append(&d, e->gpa, MIN(e_end, gpa) - e->gpa, e->type);
		if (!placed && e_end > gpa) {
			append(&d, gpa, len, type);
			placed = true;
		}
		if (e_end > end)
			append(&d, MAX(e->gpa, end), e_end - MAX(e->gpa, end), e->type);
	}
	if (!placed)
		append(&d, gpa, len, type);
	if (d.count > E820_MAX)
		return err_set(err, ENOSPC, "memory map: more than %d entries", E820_MAX);
	map->count = d.count;
	memcpy(map->entries, d.entries, d.count * sizeof(d.entries[0]));
	return 0;
}

int e820_build(struct e820 *map, const struct gmem_region *regions, unsigned int count,
	       struct err *err)
{
	int ret = 0;

	map->count = 0;
	for (unsigned int i = 0; !ret && i < count; i++)
		ret = e820_set(map, regions[i].gpa, regions[i].size, E820_RAM, err);
	/*
	 * Reserved whether RAM is behind it or not: the tables that lie there are found by
	 * scanning, and nothing may be loaded over them.
	 */
	if (!ret)
		ret = e820_set(map, E820_LOW_RAM_END, E820_HIGH_RAM_BASE - E820_LOW_RAM_END,
			       E820_RESERVED, err);
	return ret;
}

bool e820_is(const struct e820 *map, uint64_t gpa, uint64_t len, enum e820_type type)
{
	/* Entries of one type never touch: a range of one type lies within one entry. */
	for (unsigned int i = 0; i < map->count; i++) {
		const struct e820_entry *e = &map->entries[i];

		if (gpa >= e->gpa && range_fits(gpa - e->gpa, len, e->len))
			return len && e->type == type;
	}
	return false;
}

uint64_t e820_ram_end(const struct e820 *map, uint64_t limit)
{
	uint64_t end = 0;

	for (unsigned int i = 0; i < map->count; i++) {
		const struct e820_entry *e = &map->entries[i];

		if (e->type == E820_RAM && e->gpa < limit)
			end = MIN(e->gpa + e->len, limit);
	}
	return end;
}

const char *e820_type_name(enum e820_type type)
{
	static const char *const name[] = {
		[E820_RAM] = "RAM",      [E820_RESERVED] = "reserved", [E820_ACPI] = "ACPI tables",
		[E820_NVS] = "ACPI NVS", [E820_UNUSABLE] = "unusable",
	};

	return type < ARRAY_SIZE(name) && name[type] ? name[type] : "unknown";
}
