/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * acpi - the tables by which a guest finds its CPUs, its interrupt chips, its devices and its power
 * switch.
 *
 * ACPI 6.5: RSDP, XSDT, FADT, FACS, MADT, an MCFG if there is mapped PCI configuration, and a DSDT
 * in which every device of the machine has described itself. One device must be the fixed hardware
 * (aml_fixed_hardware()): devices/acpi_pm.
 *
 * The tables name a PC: 8259A pair, IOAPIC at ACPI_IOAPIC_AT with gsi 0 and up, the 8254 on gsi 2,
 * the NMI on LINT1; no VGA; an 8042 and a CMOS clock if a device says so.
 *
 * Control thread, before the machine runs.
 */
#ifndef SKEP_ACPI_H
#define SKEP_ACPI_H

#include <stdint.h>

struct device;
struct err;
struct gmem;

/*
 * Where the tables go: the lower half of the BIOS area, in which the guest looks for the RSDP
 * (section 5.2.5.1). Whoever draws the memory map marks it reserved.
 */
#define ACPI_AREA     UINT64_C(0xe0000)
#define ACPI_AREA_LEN UINT64_C(0x10000)

#define ACPI_LAPIC_AT  0xfee00000U
#define ACPI_IOAPIC_AT 0xfec00000U

/* The names of more would not fit. */
#define ACPI_CPUS_MAX 4096

struct acpi_request {
	struct gmem *mem;
	const uint32_t *apic_ids; /* of each CPU, the boot processor first */
	unsigned int cpus;
	struct device *const *devices;
	unsigned int devices_count;
};

/*
 * Writes the tables, and says where the RSDP is. -EINVAL for a number of CPUs that cannot be,
 * -ENODEV without fixed hardware, -EEXIST with two of it, -ENOSPC when the area is too small.
 */
int acpi_build(const struct acpi_request *req, uint64_t *rsdp, struct err *err);

#endif
