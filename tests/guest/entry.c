/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * entry - what a loader owes a kernel (boot.rst, "32-bit Boot Protocol" and "The Real-Mode Kernel
 * Header"), and that the ACPI tables it points at are whole.
 *
 * Command line: probe=0x1234, first; initrd=1 when there is one, which is a bzImage.
 */
#include <asm/bootparam.h>

#include "check.h"

#define EFLAGS_IF 0x200
#define CR0_PE    0x1
#define CR0_PG    0x80000000

/* A GDT entry without its accessed bit, which the processor sets as it pleases. */
#define DESC_ACCESSED (UINT64_C(1) << 40)
#define DESC_CODE     UINT64_C(0x00cf9a000000ffff)
#define DESC_DATA     UINT64_C(0x00cf92000000ffff)

static void check_registers(void)
{
	const uint64_t *gdt = (const uint64_t *)(uintptr_t)entry.gdtr.base;

	check_eq(entry.cr0 & (CR0_PE | CR0_PG), CR0_PE);
	check_eq(entry.eflags & EFLAGS_IF, 0);
	check_eq(entry.cs, 0x10);
	check_eq(entry.ds, 0x18);
	check_eq(entry.es, 0x18);
	check_eq(entry.ss, 0x18);
	check_eq(entry.ebx, 0);
	check_eq(entry.ebp, 0);
	check_eq(entry.edi, 0);
	check(entry.esi);
	check(entry.gdtr.limit >= 0x1f);
	check_eq(gdt[2] & ~DESC_ACCESSED, DESC_CODE);
	check_eq(gdt[3] & ~DESC_ACCESSED, DESC_DATA);
}

static void check_initrd(const struct setup_header *h)
{
	const uint8_t *initrd = (const uint8_t *)(uintptr_t)h->ramdisk_image;

	check(h->ramdisk_size > 0x400);
	check_eq(h->ramdisk_image & 4095, 0);
	check(h->ramdisk_image >= 0x200000);
	check((uint64_t)h->ramdisk_image + h->ramdisk_size - 1 <= h->initrd_addr_max);
	check_eq(memcmp(initrd + 0x202, "HdrS", 4), 0);
}

static void check_params(void)
{
	const struct boot_params *bp = boot_params();
	const struct setup_header *h = &bp->hdr;

	check_eq(memcmp(&h->header, "HdrS", 4), 0);
	check_eq(h->version, 0x20f);
	check(h->type_of_loader);
	check_eq(h->loadflags & LOADED_HIGH, LOADED_HIGH);
	check_eq(h->code32_start, 0x100000);
	check_eq(h->pref_address, 0x100000);
	check_eq(bp->sentinel, 0);
	check(bp->e820_entries > 0);
	check(h->cmd_line_ptr);
	check(strlen(boot_cmdline()) <= h->cmdline_size);
	check_eq(memcmp(boot_cmdline(), "probe=0x1234", 12), 0);
	check_eq(boot_number("probe", 0), 0x1234);
	if (boot_number("initrd", 0))
		check_initrd(h);
	else
		check_eq(h->ramdisk_size, 0);
}

static void check_tables(void)
{
	struct acpi a;

	acpi_find(&a);
	check(a.tables >= 2);
	check_eq(a.bad, 0);
	check_eq(a.cpus, 1);
	check_eq(a.ioapics, 1);
	check_eq(a.ioapic[0].at, 0xfec00000);
	check_eq(a.ioapic[0].gsi_base, 0);
	check(a.dsdt);
}

int guest_main(void)
{
	check_registers();
	check_params();
	check_tables();
	return check_result("entry");
}
