/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memory - the memory map is sane, says as much as the machine was given, and is true: all of it is
 * memory, no two addresses the same, and behind its end there is none.
 *
 * Command line: ram=SIZE, what the machine was given.
 */
#include <asm/bootparam.h>

#include "check.h"

#define E820_RAM 1
#define STEP     (UINT64_C(256) << 20)
/* Below, there are this program and what the loader left; it is in use, and so in order. */
#define LOW  (UINT64_C(16) << 20)
#define SALT UINT64_C(0x5ca1ab1e00000000)

static void check_map(const struct boot_params *bp)
{
	uint64_t ram = 0, end = 0, given = boot_number("ram", 0);

	for (unsigned int i = 0; i < bp->e820_entries; i++) {
		const struct boot_e820_entry *e = &bp->e820_table[i];

		check(e->addr >= end);
		check(e->size);
		end = e->addr + e->size;
		check(end > e->addr);
		if (e->type != E820_RAM)
			continue;
		ram += e->size;
		/* Not where a PC has its video memory, its ROMs and its interrupt chips. */
		check(end <= 0xa0000 || e->addr >= 0x100000);
		check(end <= 0xfec00000 || e->addr >= UINT64_C(1) << 32);
	}
	check(ram <= given);
	check(given - ram <= 1 << 20);
}

/* The quads that are looked at: every STEP bytes of @e, and its last. */
static uint64_t next_quad(const struct boot_e820_entry *e, uint64_t at)
{
	uint64_t last = e->addr + e->size - 8;

	if (!at)
		return e->addr < LOW ? LOW : e->addr;
	if (at == last)
		return UINT64_MAX;
	return at + STEP < last ? at + STEP : last;
}

static void each_quad(const struct boot_params *bp, void (*fn)(uint64_t at))
{
	for (unsigned int i = 0; i < bp->e820_entries; i++) {
		const struct boot_e820_entry *e = &bp->e820_table[i];

		if (e->type != E820_RAM || e->addr + e->size <= LOW)
			continue;
		for (uint64_t at = next_quad(e, 0); at != UINT64_MAX; at = next_quad(e, at))
			fn(at);
	}
}

static void write_quad(uint64_t at)
{
	check(map_high(at));
	mmio_write64(at, at ^ SALT);
}

static void check_quad(uint64_t at)
{
	check_eq(mmio_read64(at), at ^ SALT);
}

static void check_end(const struct boot_params *bp)
{
	const struct boot_e820_entry *last = &bp->e820_table[bp->e820_entries - 1];
	uint64_t end = last->addr + last->size;

	/* Past all that the map speaks of; all ones is what nothing reads as. */
	if (last->type == E820_RAM) {
		check(map_high(end));
		check_eq(mmio_read64(end), UINT64_MAX);
		mmio_write64(end, 0);
		check_eq(mmio_read64(end), UINT64_MAX);
	}
}

int guest_main(void)
{
	const struct boot_params *bp = boot_params();

	check_map(bp);
	each_quad(bp, write_quad);
	each_quad(bp, check_quad);
	check_end(bp);
	return check_result("memory");
}
