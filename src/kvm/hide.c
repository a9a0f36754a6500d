/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Features that a guest is not to see (cpus.hide): each is a bit of CPUID, called as Linux calls
 * it in /proc/cpuinfo, or, for what KVM offers a guest, as Linux's documentation of KVM's CPUID
 * leaves does. Hiding a bit takes nothing away from a guest that uses the feature unasked.
 *
 * Leaves by Intel's manual volume 2A (CPUID), AMD's volume 3, appendix E, and Linux's
 * Documentation/virt/kvm/x86/cpuid.rst (4000_0001h).
 */
#include <asm/kvm_para.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cpuid.h"
#include "skep/bits.h"
#include "skep/config.h"
#include "skep/err.h"

enum reg {
	EAX,
	EBX,
	ECX,
	EDX,
};

static const struct feature {
	const char *name;
	uint32_t function;
	uint32_t index;
	enum reg reg;
	uint32_t bits;
} features[] = {
	{"pcid", 0x1, 0, ECX, 1U << 17},
	{"x2apic", 0x1, 0, ECX, 1U << 21},
	{"tsc_deadline_timer", 0x1, 0, ECX, 1U << 24},
	{"aes", 0x1, 0, ECX, 1U << 25},
	{"xsave", 0x1, 0, ECX, 1U << 26},
	{"avx", 0x1, 0, ECX, 1U << 28},
	{"rdrand", 0x1, 0, ECX, 1U << 30},
	{"hypervisor", 0x1, 0, ECX, 1U << 31},
	{"pse", 0x1, 0, EDX, 1U << 3},
	{"tsc", 0x1, 0, EDX, 1U << 4},
	{"pae", 0x1, 0, EDX, 1U << 6},
	{"apic", 0x1, 0, EDX, 1U << 9},
	{"pge", 0x1, 0, EDX, 1U << 13},
	{"pat", 0x1, 0, EDX, 1U << 16},
	{"arat", 0x6, 0, EAX, 1U << 2},
	{"fsgsbase", 0x7, 0, EBX, 1U << 0},
	{"smep", 0x7, 0, EBX, 1U << 7},
	{"invpcid", 0x7, 0, EBX, 1U << 10},
	{"avx512f", 0x7, 0, EBX, 1U << 16},
	{"rdseed", 0x7, 0, EBX, 1U << 18},
	{"smap", 0x7, 0, EBX, 1U << 20},
	{"umip", 0x7, 0, ECX, 1U << 2},
	{"pku", 0x7, 0, ECX, 1U << 3},
	{"la57", 0x7, 0, ECX, 1U << 16},
	{"kvm-clock", KVM_CPUID_FEATURES, 0, EAX,
	 1U << KVM_FEATURE_CLOCKSOURCE | 1U << KVM_FEATURE_CLOCKSOURCE2 |
		 1U << KVM_FEATURE_CLOCKSOURCE_STABLE_BIT},
	{"kvm-async-pf", KVM_CPUID_FEATURES, 0, EAX, 1U << KVM_FEATURE_ASYNC_PF},
	{"kvm-steal-time", KVM_CPUID_FEATURES, 0, EAX, 1U << KVM_FEATURE_STEAL_TIME},
	{"kvm-pv-eoi", KVM_CPUID_FEATURES, 0, EAX, 1U << KVM_FEATURE_PV_EOI},
	{"kvm-pv-unhalt", KVM_CPUID_FEATURES, 0, EAX, 1U << KVM_FEATURE_PV_UNHALT},
	{"kvm-pv-ipi", KVM_CPUID_FEATURES, 0, EAX, 1U << KVM_FEATURE_PV_SEND_IPI},
	{"syscall", 0x80000001, 0, EDX, 1U << 11},
	{"nx", 0x80000001, 0, EDX, 1U << 20},
	{"pdpe1gb", 0x80000001, 0, EDX, 1U << 26},
	{"rdtscp", 0x80000001, 0, EDX, 1U << 27},
	{"lm", 0x80000001, 0, EDX, 1U << 29},
	{"constant_tsc", 0x80000007, 0, EDX, 1U << 8},
};

/* The first @n characters of @name, found; NULL if there is no such feature. */
static const struct feature *find_feature(const char *name, size_t n)
{
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		if (strlen(features[i].name) == n && !strncmp(features[i].name, name, n))
			return &features[i];
	return NULL;
}

static int refused(const char *name, size_t n, struct err *err)
{
	const char *words[ARRAY_SIZE(features) + 1] = {NULL};
	char given[32];
	const char *near;

	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		words[i] = features[i].name;
	snprintf(given, sizeof(given), "%.*s", (int)MIN(n, sizeof(given) - 1), name);
	near = nearest_word(given, words);
	return err_set(err, EINVAL, "cpus.hide: there is no feature '%s' to hide%s%s%s", given,
		       near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

int cpuid_check_hidden(const char *list, struct err *err)
{
	for (const char *p = list; *p; p += *p == ':') {
		size_t n = strcspn(p, ":");

		if (!find_feature(p, n))
			return refused(p, n, err);
		p += n;
	}
	return 0;
}

static void hide(struct kvm_cpuid2 *c, const struct feature *f)
{
	for (uint32_t i = 0; i < c->nent; i++) {
		struct kvm_cpuid_entry2 *e = &c->entries[i];
		uint32_t *const regs[] = {&e->eax, &e->ebx, &e->ecx, &e->edx};

		if (e->function == f->function && e->index == f->index)
			*regs[f->reg] &= ~f->bits;
	}
}

void cpuid_hide(struct kvm_cpuid2 *c, const char *list)
{
	for (const char *p = list; *p; p += *p == ':') {
		size_t n = strcspn(p, ":");
		const struct feature *f = find_feature(p, n);

		bug_on(!f);
		hide(c, f);
		p += n;
	}
}
