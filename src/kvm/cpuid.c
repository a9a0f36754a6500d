/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the guest's CPUID says: what this host's KVM supports, with the topology of this machine
 * (one package, one thread a core) and each vCPU's own APIC id put in. Leaves by Intel's manual
 * volume 2A (CPUID) and AMD's manual volume 3, appendix E.
 */
#include <stdlib.h>
#include <sys/ioctl.h>

#include "kvm_priv.h"
#include "skep/bits.h"
#include "skep/err.h"

#define ENTRIES_MAX 256

#define LEVEL_THREAD 1
#define LEVEL_CORE   2

struct kvm_cpuid2 *cpuid_template(const struct kvm *kvm, struct err *err)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + ENTRIES_MAX * sizeof(c->entries[0]));

	if (!c) {
		err_sys(err, ENOMEM, "CPUID");
		return NULL;
	}
	c->nent = ENTRIES_MAX;
	if (ioctl(kvm->sys_fd, KVM_GET_SUPPORTED_CPUID, c)) {
		err_sys(err, errno, "KVM does not tell what CPUID it supports");
		free(c);
		return NULL;
	}
	return c;
}

/* Bits that it takes to number @n things. */
static unsigned int bits_for(unsigned int n)
{
	unsigned int bits = 0;

	while (1U << bits < n)
		bits++;
	return bits;
}

static void set_field(uint32_t *reg, unsigned int low, unsigned int width, uint32_t value)
{
	uint32_t mask = (uint32_t)ones(4) >> (32 - width) << low;

	*reg = (*reg & ~mask) | (value << low & mask);
}

/* Leaf 4: which threads share a cache. Levels 1 and 2 are a core's, 3 is the package's. */
static void patch_caches(struct kvm_cpuid_entry2 *e, unsigned int cores)
{
	unsigned int level = e->eax >> 5 & 7;

	if (!(e->eax & 0x1f))
		return;
	set_field(&e->eax, 14, 12, level >= 3 ? (1U << bits_for(cores)) - 1 : 0);
	set_field(&e->eax, 26, 6, MIN((1U << bits_for(cores)) - 1, 63U));
}

/* Leaf 0Bh: extended topology. */
static void patch_topology(struct kvm_cpuid_entry2 *e, unsigned int id, unsigned int cores)
{
	e->eax = e->ebx = 0;
	e->ecx = e->index;
	e->edx = id;
	if (e->index == 0) {
		e->ebx = 1;
		e->ecx |= LEVEL_THREAD << 8;
	} else if (e->index == 1) {
		e->eax = bits_for(cores);
		e->ebx = cores;
		e->ecx |= LEVEL_CORE << 8;
	}
}

static void patch(struct kvm_cpuid_entry2 *e, const struct vcpu *vcpu, bool deadline)
{
	unsigned int cores = vcpu->kvm->vcpu_count;

	switch (e->function) {
	case 0x1:
		set_field(&e->ebx, 24, 8, vcpu->id);
		set_field(&e->ebx, 16, 8, MIN(1U << bits_for(cores), 255U));
		e->ecx |= 1U << 31; /* a hypervisor is present */
		set_field(&e->ecx, 24, 1, deadline);
		set_field(&e->edx, 28, 1, cores > 1);
		break;
	case 0x4:
		patch_caches(e, cores);
		break;
	case 0x6:
		/* KVM's APIC timer never stops: without this bit Linux keeps the 8254 ticking. */
		e->eax |= 1U << 2;
		break;
	case 0xb:
		patch_topology(e, vcpu->id, cores);
		break;
	case 0x1f:
		/* Leaf 0Bh says it all. */
		e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	case 0x80000008:
		set_field(&e->ecx, 0, 8, cores - 1);
		set_field(&e->ecx, 12, 4, bits_for(cores));
		break;
	case 0x8000001e:
		e->eax = vcpu->id;
		e->ebx = vcpu->id & 0xff; /* core id; one thread a core */
		e->ecx = 0;               /* one node, number 0 */
		break;
	default:
		break;
	}
}

/* Leaf 0Bh needs three subleaves, the last of them empty; KVM may give fewer. */
static void add_missing(struct kvm_cpuid2 *c)
{
	bool have[3] = {false};
	uint32_t max = 0;

	for (uint32_t i = 0; i < c->nent; i++) {
		if (c->entries[i].function == 0)
			max = c->entries[i].eax;
		if (c->entries[i].function == 0xb && c->entries[i].index < 3)
			have[c->entries[i].index] = true;
	}
	for (uint32_t i = 0; max >= 0xb && i < 3 && c->nent < ENTRIES_MAX; i++)
		if (!have[i])
			c->entries[c->nent++] = (struct kvm_cpuid_entry2){
				.function = 0xb,
				.index = i,
				.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
			};
}

int cpuid_apply(struct vcpu *vcpu, struct kvm_cpuid2 *template, struct err *err)
{
	bool deadline =
		ioctl(vcpu->kvm->sys_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;

	add_missing(template);
	for (uint32_t i = 0; i < template->nent; i++)
		patch(&template->entries[i], vcpu, deadline);
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, template))
		return err_sys(err, errno, "KVM refuses the CPUID of vCPU %u", vcpu->id);
	return 0;
}
