/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * demo - the built-in guest, that `skep run` boots when no kernel is named.
 *
 * A Linux bzImage for the 32-bit boot protocol, which shows the machine that it finds on COM1 and
 * ends with 0 through the exit port; with a sum of what was wrong: 1 timer, 2 processors, 4 ACPI
 * tables, 8 no memory map. Words on its command line: `quiet` leaves the report out; `flood=BYTES`
 * writes so many; `exit=N`, `halt`, `spin`, `triple`, `poweroff`, `reset` end it in these ways.
 */
#ifndef SKEP_DEMO_H
#define SKEP_DEMO_H

#include <stddef.h>

/* The image, and its length. Any thread. */
const void *demo_image(size_t *len);

#endif
