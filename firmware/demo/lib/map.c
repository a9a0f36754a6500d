/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map - memory above the 4 GiB that start.S maps, one to one like those.
 */
#include "guest.h"
#include "layout.h"

#define PTE_TABLE  0x63 /* present, writable, accessed, dirty */
#define PTE_PAGE   0xe3 /* and large */
#define PD_SHIFT   21
#define PDPT_SHIFT 30

extern uint64_t pdpt[512];

__attribute__((section(".noinit.tables"), aligned(4096))) static uint64_t pds[MAP_HIGH_MAX][512];
static unsigned int pds_used;

void *map_high(uint64_t at)
{
	uint64_t *slot;

	if (at >> 39)
		return NULL;
	slot = &pdpt[at >> PDPT_SHIFT];
	if (!*slot) {
		if (pds_used == MAP_HIGH_MAX)
			return NULL;
		memset(pds[pds_used], 0, sizeof(pds[0]));
		*slot = (uintptr_t)pds[pds_used++] | PTE_TABLE;
	}
	if (at >= UINT64_C(1) << 32)
		((uint64_t *)(*slot & ~UINT64_C(4095)))[at >> PD_SHIFT & 511] =
			(at & ~((UINT64_C(1) << PD_SHIFT) - 1)) | PTE_PAGE;
	return (void *)at;
}
