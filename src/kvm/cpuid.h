/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the guest's CPUID says, as a table that is changed in place: no KVM is asked. Pure.
 */
#ifndef SRC_KVM_CPUID_H
#define SRC_KVM_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>

struct err;
struct topology;

#define CPUID_ENTRIES_MAX 256

/*
 * Turns @c, which holds what KVM supports or what this made of it for another CPU, into what @cpu
 * of @t is told. @c has room for CPUID_ENTRIES_MAX entries. @tsc_deadline: whether KVM has the
 * APIC timer's deadline mode, which is no part of the table.
 */
void cpuid_patch(struct kvm_cpuid2 *c, const struct topology *t, unsigned int cpu,
		 bool tsc_deadline);

/*
 * Features that a guest is not to see: @list has their names, with colons between them (hide.c).
 * Only a list that has been checked is taken. -EINVAL and the nearest name.
 */
int cpuid_check_hidden(const char *list, struct err *err);
void cpuid_hide(struct kvm_cpuid2 *c, const char *list);

/* Bits of the physical addresses that a guest can use: leaf 80000008h. 36 where none is told. */
unsigned int cpuid_address_bits(struct kvm_cpuid2 *c);

#endif
