/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * handoff - the structure in which a kernel is told of the machine that does not say which it
 * wants.
 */
#ifndef BOOT_HANDOFF_H
#define BOOT_HANDOFF_H

#include "skep/cpu.h"

struct err;
struct plan;

/*
 * Adds what boot_options.handoff asks for to a plan that has all of the kernel in it, the segments
 * of @mode, and a stack, and sets the registers that go with them. Initrds and modules lie behind
 * the kernel. -EINVAL for an initrd or a module of which the kernel would not hear.
 */
int handoff_plan(struct plan *plan, enum cpu_mode mode, struct err *err);

#endif
