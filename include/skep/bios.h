/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bios - what a boot sector finds of a PC's firmware: a few calls, in real mode.
 *
 * firmware/bios/bios.S says which. Its code starts in real mode with all segments BIOS_SEGMENT,
 * makes interrupt vectors and the BIOS data area, and enters the boot sector at 7C00h, which has to
 * be there, with DL 80h. It runs in the guest, on ports alone: a disk is one of devices/ide.c.
 *
 * Any thread.
 */
#ifndef SKEP_BIOS_H
#define SKEP_BIOS_H

#include <stdint.h>

struct e820;

/* Where it goes: behind the tables that a firmware leaves. */
#define BIOS_AREA     UINT64_C(0xfe000)
#define BIOS_AREA_LEN UINT64_C(0x2000)

#define BIOS_SEGMENT 0xf000 /* and the offset, of its first instruction */
#define BIOS_START   0xe000

/* Where the boot sector goes, and how much of it. */
#define BIOS_BOOT_AT  UINT64_C(0x7c00)
#define BIOS_BOOT_LEN UINT64_C(512)

/* Fills @rom with it, for a guest with this memory. */
void bios_build(uint8_t rom[BIOS_AREA_LEN], const struct e820 *memory);

#endif
