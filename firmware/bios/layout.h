/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * layout - where things are in the BIOS, for its assembly, its linker script and who fills it in.
 * All but the segments are offsets in LAYOUT_SEGMENT.
 */
#ifndef BIOS_LAYOUT_H
#define BIOS_LAYOUT_H

#define LAYOUT_SEGMENT 0xf000
#define LAYOUT_START   0xe000

/* What the loader fills in: KiB from 1 MiB to 16 MiB, 64 KiB from there, KiB from 1 MiB, the map.
 */
#define LAYOUT_KIB_LOW     0xec00
#define LAYOUT_BLOCKS_HIGH 0xec02
#define LAYOUT_KIB_ALL     0xec04
#define LAYOUT_MAP_COUNT   0xec08
#define LAYOUT_MAP         0xec0c

#define LAYOUT_RESET 0xfff0

/* As E820_LOW_RAM_END. */
#define LAYOUT_EBDA_SEGMENT 0x9fc0

#endif
