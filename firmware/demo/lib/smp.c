/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * smp - starts the other processors (Intel SDM 3, section 9.4.4: INIT, then a start-up interrupt).
 *
 * The delays of the manual are for chips and wires; a virtual processor needs none.
 */
#include <asm/bootparam.h>

#include "guest.h"
#include "layout.h"

#define ICR_INIT    0x4500
#define ICR_STARTUP 0x4600

#define E820_RAM 1

extern const uint8_t smp_trampoline[], smp_trampoline_end[];

/* Processors that have taken a number; start.S counts. */
uint32_t smp_arrived;
static uint32_t smp_returned;
static void (*smp_fn)(unsigned int index);

void smp_enter(unsigned int number);

void smp_enter(unsigned int number)
{
	smp_fn(number + 1);
	__atomic_add_fetch(&smp_returned, 1, __ATOMIC_SEQ_CST);
}

unsigned int smp_done(void)
{
	return __atomic_load_n(&smp_returned, __ATOMIC_SEQ_CST);
}

static bool page_is_ram(const struct boot_params *bp, uint64_t page)
{
	for (unsigned int i = 0; i < bp->e820_entries; i++) {
		const struct boot_e820_entry *e = &bp->e820_table[i];

		if (e->type == E820_RAM && page >= e->addr && page + 4096 <= e->addr + e->size)
			return true;
	}
	return false;
}

/* A page below 1 MiB for the trampoline, that holds nothing the loader left; 0: there is none. */
static uint32_t find_page(void)
{
	const struct boot_params *bp = boot_params();
	uint32_t zero_page = entry.esi & ~4095u;
	uint32_t cmdline = bp->hdr.cmd_line_ptr & ~4095u;

	for (uint32_t page = 0x1000; page < 0x9f000; page += 4096)
		if (page - zero_page > 4096 && page != cmdline && page_is_ram(bp, page))
			return page;
	return 0;
}

unsigned int smp_start(const uint32_t *ids, unsigned int n, void (*fn)(unsigned int index))
{
	uint32_t page = find_page();

	if (!page || !n)
		return 0;
	smp_fn = fn;
	memcpy((void *)(uintptr_t)page, smp_trampoline,
	       (size_t)(smp_trampoline_end - smp_trampoline));
	for (unsigned int i = 0; i < n; i++) {
		lapic_send(ids[i], ICR_INIT);
		lapic_send(ids[i], ICR_STARTUP | page >> 12);
	}
	wait_until(__atomic_load_n(&smp_arrived, __ATOMIC_SEQ_CST) >= n);
	return __atomic_load_n(&smp_arrived, __ATOMIC_SEQ_CST);
}
