/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a firmware would leave in memory, and the kernel.
 */
#include "skep/acpi.h"
#include "skep/boot.h"
#include "skep/cpu.h"
#include "skep/e820.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "vm_priv.h"

/* What makes a console appear on the first serial port. */
#define DEFAULT_APPEND "console=ttyS0"

/* A machine without ACPI's fixed hardware has no tables: its kernel must do without. */
static int describe(struct vm *vm, uint64_t *rsdp, struct err *err)
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

int vm_load(struct vm *vm, struct err *err)
{
	const struct gmem_region *regions;
	unsigned int count = gmem_regions(vm->machine.mem, &regions);
	const struct boot_image *initrds[INITRDS_MAX];
	struct boot_request req = {
		.kernel = vm->kernel,
		.initrds = initrds,
		.initrd_count = vm->initrd_count,
		.cmdline = vm->options.append,
	};
	struct cpu_entry entry;
	struct e820 map;
	int ret;

	if (!req.cmdline && vm->options.kernel)
		req.cmdline = DEFAULT_APPEND;
	for (unsigned int i = 0; i < vm->initrd_count; i++)
		initrds[i] = vm->initrds[i];
	ret = e820_build(&map, regions, count, err);
	req.memory = &map;
	if (!ret)
		ret = describe(vm, &req.rsdp, err);
	if (!ret)
		ret = boot_load(&req, vm->machine.mem, &entry, NULL, err);
	if (!ret)
		ret = kvm_set_entry(vm->kvm, &entry, err);
	return ret;
}
