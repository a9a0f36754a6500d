/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * layout - the places and numbers that the guest's C, its assembly and its linker script share.
 */
#ifndef GUEST_LAYOUT_H
#define GUEST_LAYOUT_H

/* Where the loader puts the protected-mode part, and enters it. */
#define IMAGE_BASE 0x100000
/* The boot sector and one sector of setup stand in front of it in the file. */
#define SETUP_SECTORS 1
#define SETUP_SIZE    ((SETUP_SECTORS + 1) * 512)

/*
 * Interrupt entry points, 16 bytes each, at a fixed address: so the IDT is a constant, and costs no
 * instruction to build where privileged code is slow.
 */
#define VECTORS     64
#define VECTORS_AT  (IMAGE_BASE + 0x400)
#define VECTOR_SIZE 16

/* The first two as the 32-bit boot protocol has them. */
#define SEL_CODE32 0x10
#define SEL_DATA   0x18
#define SEL_CODE64 0x20

#define STACK_SIZE 8192
/* Application processors that smp_start() can start, and the stack of each. */
#define SMP_MAX        64
#define SMP_STACK_BITS 12

/* Gigabytes above the fourth of which map_high() can map something. */
#define MAP_HIGH_MAX 16

#endif
