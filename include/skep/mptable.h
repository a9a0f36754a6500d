/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mptable - the MP configuration table, by which a kernel without ACPI finds its CPUs and its
 * interrupt chips.
 *
 * Intel MultiProcessor Specification 1.4: the floating pointer structure and one table, of a PC
 * with an ISA bus, maybe PCI bus 0, an IOAPIC whose pins are the ISA interrupts (the 8254 on pin 2)
 * and then those of PCI, and the 8259A pair on LINT0 of the boot processor.
 *
 * Control thread, before the machine runs.
 */
#ifndef SKEP_MPTABLE_H
#define SKEP_MPTABLE_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct gmem;
struct topology;

/* Where it goes: the first part of the area in which a guest looks for it (section 4). */
#define MPTABLE_AREA     UINT64_C(0xf0000)
#define MPTABLE_AREA_LEN UINT64_C(0x2000)

struct mptable_request {
	struct gmem *mem;
	const struct topology *topology;
	uint32_t lapic;  /* where each CPU sees its local APIC */
	uint32_t ioapic; /* where the IOAPIC is; its id is 0 */
	bool pci;        /* there is PCI bus 0, wired as pci.h says */
};

/* -EFAULT when there is no memory at MPTABLE_AREA. */
int mptable_build(const struct mptable_request *req, struct err *err);

#endif
