/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * paging - the page tables with which a kernel is entered that runs with paging on.
 *
 * The first 4 GiB map to themselves, except where a segment is linked elsewhere than it is loaded:
 * there its addresses map to it. Segments above 4 GiB are mapped as well. Everything is writable
 * and executable, as a loader cannot know what a kernel does with its own memory.
 */
#ifndef BOOT_PAGING_H
#define BOOT_PAGING_H

#include <stdbool.h>

struct elf;
struct err;
struct plan;

/*
 * Adds the tables to the plan, behind all other pieces, and sets cr3 and cr4: those of long mode,
 * with pages of 2 MiB, or a page directory of 32-bit mode, with pages of 4 MiB (CR4.PSE); and pages
 * of 4 KiB where a large one will not do. @elf may be NULL; the memory of its segments is in the
 * plan.
 *
 * -ENOEXEC for a segment that cannot be mapped: not congruent to its place modulo 4 KiB, not
 * canonical, in the way of another, or over the memory of a piece, which has to map to itself.
 */
int paging_plan(struct plan *plan, const struct elf *elf, bool long_mode, struct err *err);

#endif
