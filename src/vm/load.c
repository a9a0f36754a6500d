/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a firmware would leave in memory, and the kernel.
 */
#include "skep/acpi.h"
#include "skep/bios.h"
#include "skep/boot.h"
#include "skep/bus.h"
#include "skep/cpu.h"
#include "skep/e820.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/mptable.h"
#include "skep/pci.h"
#include "skep/screen.h"
#include "skep/smbios.h"
#include "vm_priv.h"

/* What makes Linux's console appear on the first serial port. */
#define DEFAULT_APPEND "console=ttyS0"
/* And on a screen that somebody looks at; the last is that of user space. */
#define SCREEN_APPEND "console=ttyS0 console=tty0"

/* The tables share what E820 keeps for the firmware. */
_Static_assert(ACPI_AREA >= E820_LOW_RAM_END && ACPI_AREA + ACPI_AREA_LEN <= MPTABLE_AREA &&
		       MPTABLE_AREA + MPTABLE_AREA_LEN <= SMBIOS_AREA &&
		       SMBIOS_AREA + SMBIOS_AREA_LEN <= BIOS_AREA &&
		       BIOS_AREA + BIOS_AREA_LEN <= E820_HIGH_RAM_BASE,
	       "no two tables overlap");

/* A machine without ACPI's fixed hardware has no ACPI: its kernel must do with the MP table. */
static int describe_acpi(struct vm *vm, uint64_t *rsdp, struct err *err)
{
	uint32_t apic_ids[TOPOLOGY_CPUS_MAX];
	const struct acpi_request req = {
		.mem = vm->machine.mem,
		.apic_ids = apic_ids,
		.cpus = vm->topology.cpus,
		.devices = vm->devices,
		.devices_count = vm->device_count,
	};
	int ret;

	for (unsigned int i = 0; i < req.cpus; i++)
		apic_ids[i] = topology_apic_id(&vm->topology, i);
	ret = acpi_build(&req, rsdp, err);
	return ret == -ENODEV ? 0 : ret;
}

static int describe(struct vm *vm, uint64_t *rsdp, struct err *err)
{
	const struct mptable_request mp = {
		.mem = vm->machine.mem,
		.topology = &vm->topology,
		.lapic = ACPI_LAPIC_AT,
		.ioapic = ACPI_IOAPIC_AT,
		.pci = pci_present(vm->machine.pci),
	};
	const struct smbios_request smbios = {
		.mem = vm->machine.mem,
		.topology = &vm->topology,
		.version = SKEP_VERSION,
	};
	int ret = describe_acpi(vm, rsdp, err);

	if (!ret)
		ret = mptable_build(&mp, err);
	if (!ret)
		ret = smbios_build(&smbios, err);
	return ret;
}

/*
 * The ISA interrupts that PCI's wires are tied to are level-triggered: a guest that uses the 8259A
 * pair and has no ACPI leaves the control register (82371AB, ELCR2) as its firmware did. KVM's own
 * pair is made so.
 */
#define ELCR2 0x4d1

static int place_pci(struct vm *vm, struct err *err)
{
	const struct machine *m = &vm->machine;
	const unsigned int levels = 3U << (PCI_INTX_ISA - 8);

	if (!pci_present(m->pci))
		return 0;
	if (vm->options.chips == KVM_CHIPS_SPLIT)
		bus_write(m->ports, ELCR2, 1, bus_read(m->ports, ELCR2, 1) | levels);
	return pci_place(m->pci, err);
}

int vm_load(struct vm *vm, struct err *err)
{
	const struct gmem_region *regions;
	unsigned int count = gmem_regions(vm->machine.mem, &regions);
	const struct boot_image *initrds[INITRDS_MAX];
	const struct screen *screen = vm->machine.screen;
	struct boot_request req = {
		.kernel = vm->kernel,
		.options = &vm->options.boot,
		.initrds = initrds,
		.initrd_count = vm->initrd_count,
		.modules = vm->modules,
		.module_count = vm->module_count,
		.cmdline = vm->options.boot.append,
		.text_screen = screen,
	};
	uint8_t rsdp[BOOT_RSDP_LEN];
	struct boot_layout layout = {0};
	struct cpu_entry entry;
	struct e820 map;
	int ret;

	if (vm->options.boot.kernel)
		req.linux_cmdline = screen && screen->read_at_end ? SCREEN_APPEND : DEFAULT_APPEND;
	for (unsigned int i = 0; i < vm->initrd_count; i++)
		initrds[i] = vm->initrds[i];
	ret = place_pci(vm, err);
	if (!ret)
		ret = e820_build(&map, regions, count, err);
	if (!ret && pci_present(vm->machine.pci))
		ret = e820_set(&map, PCI_ECAM_AT, PCI_ECAM_LEN, E820_RESERVED, err);
	req.memory = &map;
	if (!ret)
		ret = describe(vm, &req.rsdp, err);
	if (!ret && req.rsdp && !gmem_read(vm->machine.mem, req.rsdp, rsdp, sizeof(rsdp)))
		req.rsdp_copy = rsdp;
	if (!ret)
		ret = boot_load(&req, vm->machine.mem, &entry, &layout, err);
	if (!ret)
		ret = kvm_set_entry(vm->kvm, &entry, err);
	if (!ret)
		vm->protocol = layout.protocol;
	if (!vm->report.resets) {
		vm->report.unpacks_itself = layout.unpacks_itself;
		vm->report.unpack_from = layout.unpack_from;
		vm->report.unpack_to = layout.unpack_to;
	}
	return ret;
}
