/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the guest's CPUID says: what this host's KVM supports, with the machine's topology and each
 * vCPU's own APIC id put in wherever a processor tells them, so that nothing of the host's shows.
 * Leaves by Intel's manual volume 2A (CPUID) and AMD's manual volume 3, appendix E.
 *
 * Features are KVM's, kvmclock and invariant TSC among them, with these exceptions:
 *
 *	hypervisor	there is one
 *	TSC deadline	an ability of KVM's APIC, of which it tells elsewhere
 *	ARAT		KVM's APIC timer never stops; without the bit Linux keeps the 8254 ticking
 *	counters	none: the processor's performance counters are the host's as well, they tell
 *			a guest about its neighbours, and few hosts offer the same ones
 */
#include <stdlib.h>
#include <sys/ioctl.h>

#include "cpuid.h"
#include "kvm_priv.h"
#include "skep/bits.h"
#include "skep/err.h"
#include "skep/topology.h"

#define LEVEL_THREAD 1
#define LEVEL_CORE   2

/* Leaf 1 */
#define ECX_DTES64       (1U << 2)
#define ECX_PDCM         (1U << 15)
#define ECX_TSC_DEADLINE 24
#define ECX_HYPERVISOR   (1U << 31)
#define EDX_DS           (1U << 21)
#define EDX_HTT          28
/* Leaf 6 */
#define EAX_ARAT (1U << 2)
/* Leaf 80000001h */
#define ECX_CMP_LEGACY   1
#define ECX_TOPOEXT      (1U << 22)
#define ECX_PERFCTR_CORE (1U << 23)
#define ECX_PERFCTR_NB   (1U << 24)
#define ECX_PERFCTR_LLC  (1U << 28)
/* Leaf 80000007h */
#define EDX_INVARIANT_TSC (1U << 8)

/* The CPU that a table is made for. */
struct subject {
	const struct topology *t;
	struct topology_place place;
	uint32_t apic_id;
	unsigned int package;      /* CPUs in a socket */
	unsigned int package_bits; /* that number them in an APIC id */
	bool amd;
	bool extended_ids; /* there is a leaf 8000001Eh */
	bool tsc_deadline;
};

static void set_field(uint32_t *reg, unsigned int low, unsigned int width, uint32_t value)
{
	uint32_t mask = (uint32_t)ones(4) >> (32 - width) << low;

	*reg = (*reg & ~mask) | (value << low & mask);
}

static void clear(struct kvm_cpuid_entry2 *e)
{
	e->eax = e->ebx = e->ecx = e->edx = 0;
}

static void patch_features(struct kvm_cpuid_entry2 *e, const struct subject *s)
{
	/* Intel counts the ids that a package could have, AMD the CPUs that it has. */
	unsigned int count = s->amd ? s->package : 1U << s->package_bits;

	set_field(&e->ebx, 24, 8, s->apic_id);
	set_field(&e->ebx, 16, 8, MIN(count, 255U));
	e->ecx &= ~(ECX_DTES64 | ECX_PDCM);
	e->ecx |= ECX_HYPERVISOR;
	set_field(&e->ecx, ECX_TSC_DEADLINE, 1, s->tsc_deadline);
	e->edx &= ~EDX_DS;
	set_field(&e->edx, EDX_HTT, 1, s->package > 1);
}

/*
 * Leaves 4 and 8000001Dh: which CPUs share a cache. Levels 1 and 2 are a core's, what is above is
 * the package's. Counted in ids here too: guests divide ids by this number.
 */
static void patch_cache(struct kvm_cpuid_entry2 *e, const struct subject *s)
{
	unsigned int level = e->eax >> 5 & 7;
	unsigned int bits = level <= 2 ? s->t->thread_bits : s->package_bits;

	if (!(e->eax & 0x1f))
		return;
	set_field(&e->eax, 14, 12, (1U << bits) - 1);
	/* A reserved field of AMD's leaf. */
	if (e->function == 4)
		set_field(&e->eax, 26, 6, MIN((1U << s->t->core_bits) - 1, 63U));
}

/* Leaves 0Bh and 1Fh: extended topology, of two levels; what follows them says that it is none. */
static void patch_levels(struct kvm_cpuid_entry2 *e, const struct subject *s)
{
	clear(e);
	e->ecx = e->index & 0xff;
	e->edx = s->apic_id;
	if (e->index == 0) {
		e->eax = s->t->thread_bits;
		e->ebx = s->t->threads;
		e->ecx |= LEVEL_THREAD << 8;
	} else if (e->index == 1) {
		e->eax = s->package_bits;
		e->ebx = s->package;
		e->ecx |= LEVEL_CORE << 8;
	}
}

/* Leaf 8000001Eh: a socket is one node of its own. */
static void patch_amd_ids(struct kvm_cpuid_entry2 *e, const struct subject *s)
{
	clear(e);
	if (!s->amd)
		return;
	e->eax = s->apic_id;
	e->ebx = (s->t->threads - 1) << 8 | (s->place.core & 0xff);
	e->ecx = s->place.socket & 0xff;
}

static void patch_extended(struct kvm_cpuid_entry2 *e, const struct subject *s)
{
	switch (e->function) {
	case 0x80000001:
		e->ecx &= ~(ECX_PERFCTR_CORE | ECX_PERFCTR_NB | ECX_PERFCTR_LLC);
		set_field(&e->ecx, ECX_CMP_LEGACY, 1, s->amd && s->package > 1);
		/* A promise of leaves 8000001Dh and 1Eh, no ability of the host's: without it
		 * guests take threads for cores. */
		if (s->amd && s->t->threads > 1 && s->extended_ids)
			e->ecx |= ECX_TOPOEXT;
		break;
	case 0x80000007:
		e->eax = e->ebx = e->ecx = 0;
		e->edx &= EDX_INVARIANT_TSC;
		break;
	case 0x80000008:
		e->ecx = s->amd ? s->package_bits << 12 | (s->package - 1) : 0;
		break;
	case 0x8000001d:
		patch_cache(e, s);
		break;
	case 0x8000001e:
		patch_amd_ids(e, s);
		break;
	case 0x80000022: /* performance counters */
	case 0x80000026: /* the levels of leaf 0Bh once more */
		clear(e);
		break;
	default:
		break;
	}
}

static void patch(struct kvm_cpuid_entry2 *e, const struct subject *s)
{
	switch (e->function) {
	case 0x1:
		patch_features(e, s);
		break;
	case 0x4:
		patch_cache(e, s);
		break;
	case 0x6:
		e->eax |= EAX_ARAT;
		break;
	case 0xa: /* performance counters */
		clear(e);
		break;
	case 0xb:
	case 0x1f:
		patch_levels(e, s);
		break;
	default:
		patch_extended(e, s);
		break;
	}
}

static struct kvm_cpuid_entry2 *find(struct kvm_cpuid2 *c, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < c->nent; i++)
		if (c->entries[i].function == function && c->entries[i].index == index)
			return &c->entries[i];
	return NULL;
}

static void add_missing(struct kvm_cpuid2 *c, uint32_t function, uint32_t index, uint32_t flags)
{
	const struct kvm_cpuid_entry2 *max = find(c, function & 0x80000000, 0);

	if (!max || max->eax < function || find(c, function, index) || c->nent == CPUID_ENTRIES_MAX)
		return;
	c->entries[c->nent++] = (struct kvm_cpuid_entry2){
		.function = function,
		.index = index,
		.flags = flags,
	};
}

/* KVM may leave out what is empty on the host. Leaves 0Bh and 1Fh end with an empty subleaf. */
static void complete(struct kvm_cpuid2 *c)
{
	for (uint32_t index = 0; index < 3; index++) {
		add_missing(c, 0xb, index, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
		add_missing(c, 0x1f, index, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	}
	add_missing(c, 0x8000001e, 0, 0);
}

/* AMD's leaves are Hygon's too. */
static bool is_amd(struct kvm_cpuid2 *c)
{
	const struct kvm_cpuid_entry2 *e = find(c, 0, 0);
	char vendor[12];

	if (!e)
		return false;
	store_le32(vendor, e->ebx);
	store_le32(vendor + 4, e->edx);
	store_le32(vendor + 8, e->ecx);
	return !memcmp(vendor, "AuthenticAMD", 12) || !memcmp(vendor, "HygonGenuine", 12);
}

void cpuid_patch(struct kvm_cpuid2 *c, const struct topology *t, unsigned int cpu,
		 bool tsc_deadline)
{
	struct subject s = {
		.t = t,
		.place = topology_place(t, cpu),
		.apic_id = topology_apic_id(t, cpu),
		.package = t->cores * t->threads,
		.package_bits = t->core_bits + t->thread_bits,
		.amd = is_amd(c),
		.tsc_deadline = tsc_deadline,
	};

	complete(c);
	s.extended_ids = find(c, 0x8000001e, 0);
	for (uint32_t i = 0; i < c->nent; i++)
		patch(&c->entries[i], &s);
}

unsigned int cpuid_address_bits(struct kvm_cpuid2 *c)
{
	const struct kvm_cpuid_entry2 *e = find(c, 0x80000008, 0);
	unsigned int all, mapped;

	if (!e || !(e->eax & 0xff))
		return 36;
	/* Of those, KVM may be able to map fewer: the guest's own page tables go by the first. */
	all = e->eax & 0xff;
	mapped = e->eax >> 16 & 0xff;
	return mapped ? MIN(all, mapped) : all;
}

/*
 * Four counters of AMD's processors are there whatever CPUID says. An older KVM cannot take them
 * away, and one without counters has nothing to take.
 */
static void counters_off(const struct kvm *kvm)
{
	const struct kvm_enable_cap off = {
		.cap = KVM_CAP_PMU_CAPABILITY,
		.args = {KVM_PMU_CAP_DISABLE},
	};

	ioctl(kvm->fd, KVM_ENABLE_CAP, &off);
}

/* Before the first vCPU is made: that fixes what there is of counters. */
struct kvm_cpuid2 *cpuid_template(const struct kvm *kvm, struct err *err)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + CPUID_ENTRIES_MAX * sizeof(c->entries[0]));
	const char *hidden = kvm->topology->hide;

	counters_off(kvm);
	if (!c) {
		err_sys(err, ENOMEM, "CPUID");
		return NULL;
	}
	c->nent = CPUID_ENTRIES_MAX;
	if (ioctl(kvm->sys_fd, KVM_GET_SUPPORTED_CPUID, c)) {
		err_sys(err, errno, "KVM does not tell what CPUID it supports");
		free(c);
		return NULL;
	}
	if (hidden && cpuid_check_hidden(hidden, err)) {
		free(c);
		return NULL;
	}
	return c;
}

int cpuid_apply(struct vcpu *vcpu, struct kvm_cpuid2 *template, struct err *err)
{
	bool deadline =
		ioctl(vcpu->kvm->sys_fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;

	cpuid_patch(template, vcpu->kvm->topology, vcpu->id, deadline);
	if (vcpu->kvm->topology->hide)
		cpuid_hide(template, vcpu->kvm->topology->hide);
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, template))
		return err_sys(err, errno, "KVM refuses the CPUID of vCPU %u", vcpu->id);
	return 0;
}
