/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * card - a PCI function for tests, and a guest's view of configuration space.
 *
 * Model test_card: BAR 0 are 16 ports, BAR 1 is 4 KiB of memory, BAR 2 is 64 KiB of 64-bit memory,
 * BAR 4 has MSI-X if there are to be vectors. A read of a BAR answers CARD_ANSWER(bar, offset), a
 * write is remembered. Capability CARD_HOOKED is hooked.
 */
#ifndef TESTS_SUPPORT_CARD_H
#define TESTS_SUPPORT_CARD_H

#include "skep/pci.h"
#include "support/rig.h"

#define CARD_ID                  0x5ca21af4U
#define CARD_HOOKED              0x09 /* vendor-specific */
#define CARD_BARS                6
#define CARD_PORTS               16
#define CARD_MEM32               0x1000
#define CARD_MEM64               0x10000
#define CARD_ANSWER(bar, offset) (0x5a000000U | (unsigned int)(bar) << 20 | (unsigned int)(offset))

struct card {
	struct device dev;
	struct pci_function function;
	struct card_options {
		const char *addr;
		uint64_t vectors;
		uint64_t mem64; /* bytes; 0: CARD_MEM64 */
	} options;
	struct card_bar { /* as bar_moved() was told */
		bool mapped;
		uint64_t at;
		unsigned int moves;
	} bars[CARD_BARS];
	uint64_t written; /* last, to a BAR */
	unsigned int hook_reads, hook_writes;
	uint32_t hook_value;
	unsigned int hooked; /* offset of the capability */
};

/* Fails the test if it cannot be made. */
struct card *card_new(struct rig *r, const char *id, const char *options);

/* By memory-mapped configuration; a pci_host is there. */
uint32_t config_in(struct rig *r, unsigned int devfn, unsigned int at, unsigned int size);
void config_out(struct rig *r, unsigned int devfn, unsigned int at, unsigned int size,
		uint32_t value);

#endif
