/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's CPUID from tables as KVM would give them on two made-up hosts. Wherever a processor
 * tells its own APIC id, these hosts say HOST_ID, which no guest may see.
 */
#include "support/cm.h"

#include <stdlib.h>
#include <string.h>

#include "../../src/kvm/cpuid.h"
#include "skep/bits.h"
#include "skep/err.h"
#include "skep/topology.h"

#define HOST_ID 0xa5U

struct table {
	struct kvm_cpuid2 *c;
	struct topology t;
};

static void add(struct kvm_cpuid2 *c, uint32_t function, uint32_t index, uint32_t eax, uint32_t ebx,
		uint32_t ecx, uint32_t edx)
{
	assert_true(c->nent < CPUID_ENTRIES_MAX);
	c->entries[c->nent++] = (struct kvm_cpuid_entry2){
		.function = function,
		.index = index,
		.flags = index ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
		.eax = eax,
		.ebx = ebx,
		.ecx = ecx,
		.edx = edx,
	};
}

static void add_kvm(struct kvm_cpuid2 *c)
{
	add(c, 0x40000000, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d);
	add(c, 0x40000001, 0, 0x01007efb, 0, 0, 0);
}

/* Two sockets of 16 cores of two threads; "GenuineIntel". */
static void intel(struct kvm_cpuid2 *c)
{
	add(c, 0, 0, 0x20, 0x756e6547, 0x6c65746e, 0x49656e69);
	add(c, 1, 0, 0x606a6, HOST_ID << 24 | 0x400800, 0x76fab203 | 1U << 15 | 1U << 2,
	    0x0f8bfbff | 1U << 28 | 1U << 21);
	add(c, 4, 0, 0xfc004121, 0x02c0003f, 0x3f, 0);
	add(c, 4, 1, 0xfc004122, 0x01c0003f, 0x3f, 0);
	add(c, 4, 2, 0xfc004143, 0x04c0003f, 0x3ff, 0);
	add(c, 4, 3, 0xfc1fc163, 0x02c0003f, 0xffff, 4);
	add(c, 4, 4, 0, 0, 0, 0);
	add(c, 6, 0, 0, 0, 0, 0);
	add(c, 7, 0, 0, 0xf1bf07ab, 0x405fc6, 0xbc000410);
	add(c, 0xa, 0, 0x08300805, 0, 0xf, 0x8604);
	add(c, 0xb, 0, 1, 2, 0x100, HOST_ID);
	add(c, 0xb, 1, 6, 32, 0x201, HOST_ID);
	add(c, 0x1f, 0, 1, 2, 0x100, HOST_ID);
	add(c, 0x1f, 1, 5, 16, 0x201, HOST_ID);
	add(c, 0x1f, 2, 6, 32, 0x502, HOST_ID);
	add(c, 0x1f, 3, 0, 0, 3, HOST_ID);
	add_kvm(c);
	add(c, 0x80000000, 0, 0x80000008, 0, 0, 0);
	add(c, 0x80000001, 0, 0, 0, 0x121, 0x2c100800);
	add(c, 0x80000007, 0, 7, 8, 9, 0x1ff);
	add(c, 0x80000008, 0, 0x3039, 0, 0xc07f, 0);
}

/* One socket of 64 cores of two threads, leaf 0Bh empty; "AuthenticAMD". */
static void amd(struct kvm_cpuid2 *c)
{
	add(c, 0, 0, 0x10, 0x68747541, 0x444d4163, 0x69746e65);
	add(c, 1, 0, 0x830f10, HOST_ID << 24 | 0x800800, 0x76d83203, 0x178bfbff);
	add(c, 4, 0, 0, 0, 0, 0);
	add(c, 6, 0, 4, 0, 0, 0);
	add(c, 0xa, 0, 0, 0, 0, 0);
	add_kvm(c);
	add(c, 0x80000000, 0, 0x80000026, 0x68747541, 0x444d4163, 0x69746e65);
	add(c, 0x80000001, 0, 0x830f10, 0x40000000, 0x35c233ff, 0x2fd3fbff);
	add(c, 0x80000007, 0, 0, 3, 0, 0);
	add(c, 0x80000008, 0, 0x3030, 0x108ed205, 0x707f, 0x10007);
	add(c, 0x8000001d, 0, 0x4121, 0x1c0003f, 0x3f, 0);
	add(c, 0x8000001d, 1, 0x4122, 0x1c0003f, 0x3f, 0);
	add(c, 0x8000001d, 2, 0x4143, 0x1c0003f, 0x3ff, 2);
	add(c, 0x8000001d, 3, 0x1c163, 0x3c0003f, 0x3fff, 1);
	add(c, 0x8000001d, 4, 0, 0, 0, 0);
	add(c, 0x8000001e, 0, HOST_ID, 0x100 | HOST_ID, HOST_ID, 0);
	add(c, 0x80000022, 0, 1, 0x10106, 3, 0);
	add(c, 0x80000026, 0, 1, 2, 0x100, HOST_ID);
}

static struct table make(void (*host)(struct kvm_cpuid2 *), unsigned int sockets,
			 unsigned int cores, unsigned int threads)
{
	const struct topology_options o = {.sockets = sockets, .cores = cores, .threads = threads};
	struct table x;

	x.c = calloc(1, sizeof(*x.c) + CPUID_ENTRIES_MAX * sizeof(x.c->entries[0]));
	assert_non_null(x.c);
	assert_int_equal(topology_init(&x.t, &o, NULL), 0);
	host(x.c);
	return x;
}

static const struct kvm_cpuid_entry2 *get(const struct table *x, uint32_t function, uint32_t index)
{
	const struct kvm_cpuid_entry2 *found = NULL;

	for (uint32_t i = 0; i < x->c->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &x->c->entries[i];

		if (e->function != function || e->index != index)
			continue;
		/* KVM would take either. */
		assert_null(found);
		found = e;
	}
	if (!found)
		fail_msg("there is no leaf %#x.%u", function, index);
	return found;
}

static void assert_leaf(const struct table *x, uint32_t function, uint32_t index, uint32_t eax,
			uint32_t ebx, uint32_t ecx, uint32_t edx)
{
	const struct kvm_cpuid_entry2 *e = get(x, function, index);

	assert_int_equal(e->eax, eax);
	assert_int_equal(e->ebx, ebx);
	assert_int_equal(e->ecx, ecx);
	assert_int_equal(e->edx, edx);
}

static void one_cpu(void **state)
{
	struct table x = make(intel, 1, 1, 1);

	(void)state;
	cpuid_patch(x.c, &x.t, 0, true);
	assert_leaf(&x, 1, 0, 0x606a6, 0x00010800, 0xf7fa3203, 0x0f8bfbff & ~(1U << 21));
	assert_leaf(&x, 0xb, 0, 0, 1, 0x100, 0);
	assert_leaf(&x, 0xb, 1, 0, 1, 0x201, 0);
	assert_leaf(&x, 0xb, 2, 0, 0, 2, 0);
	assert_int_equal(get(&x, 4, 0)->eax, 0x121);
	assert_int_equal(get(&x, 4, 3)->eax, 0x163);
	free(x.c);
}

/* CPU 9 is thread 1 of core 1 of socket 1; its APIC id is 1 01 1. */
static void intel_topology(void **state)
{
	struct table x = make(intel, 2, 3, 2);

	(void)state;
	cpuid_patch(x.c, &x.t, 9, true);
	assert_leaf(&x, 1, 0, 0x606a6, 0x0b080800, 0xf7fa3203,
		    (0x0f8bfbff & ~(1U << 21)) | 1U << 28);
	/* Levels 1 and 2 belong to two ids, level 3 to eight; four core ids. */
	assert_int_equal(get(&x, 4, 0)->eax, 3U << 26 | 1U << 14 | 0x121);
	assert_int_equal(get(&x, 4, 1)->eax, 3U << 26 | 1U << 14 | 0x122);
	assert_int_equal(get(&x, 4, 2)->eax, 3U << 26 | 1U << 14 | 0x143);
	assert_int_equal(get(&x, 4, 3)->eax, 3U << 26 | 7U << 14 | 0x163);
	assert_leaf(&x, 4, 4, 0, 0, 0, 0);
	for (uint32_t leaf = 0xb; leaf <= 0x1f; leaf += 0x14) {
		assert_leaf(&x, leaf, 0, 1, 2, 0x100, 11);
		assert_leaf(&x, leaf, 1, 3, 6, 0x201, 11);
		assert_leaf(&x, leaf, 2, 0, 0, 2, 11);
	}
	assert_leaf(&x, 0x1f, 3, 0, 0, 3, 11);
	assert_leaf(&x, 0x80000008, 0, 0x3039, 0, 0, 0);
	free(x.c);
}

static void amd_topology(void **state)
{
	struct table x = make(amd, 2, 3, 2);

	(void)state;
	cpuid_patch(x.c, &x.t, 9, false);
	/* Six CPUs, and the eight ids that they are taken from. */
	assert_leaf(&x, 1, 0, 0x830f10, 0x0b060800, 0xf6d83203, 0x178bfbff);
	assert_leaf(&x, 4, 0, 0, 0, 0, 0);
	assert_leaf(&x, 0xb, 0, 1, 2, 0x100, 11);
	assert_leaf(&x, 0xb, 1, 3, 6, 0x201, 11);
	assert_leaf(&x, 0xb, 2, 0, 0, 2, 11);
	assert_int_equal(get(&x, 0x80000001, 0)->ecx & 2, 2);
	assert_leaf(&x, 0x80000008, 0, 0x3030, 0x108ed205, 0x3005, 0x10007);
	assert_int_equal(get(&x, 0x8000001d, 0)->eax, 1U << 14 | 0x121);
	assert_int_equal(get(&x, 0x8000001d, 2)->eax, 1U << 14 | 0x143);
	assert_int_equal(get(&x, 0x8000001d, 3)->eax, 7U << 14 | 0x163);
	assert_leaf(&x, 0x8000001d, 4, 0, 0, 0, 0);
	assert_leaf(&x, 0x8000001e, 0, 11, 0x101, 1, 0);
	assert_leaf(&x, 0x80000026, 0, 0, 0, 0, 0);
	free(x.c);
}

/* Leaf 8000001Eh is for all to read where a core has threads, even if the host's cores do not. */
static void an_amd_host_without_threads(void **state)
{
	struct table x = make(amd, 1, 2, 2);
	struct kvm_cpuid_entry2 *e;

	(void)state;
	for (e = x.c->entries; e->function != 0x80000001; e++)
		;
	e->ecx &= ~(1U << 22);
	cpuid_patch(x.c, &x.t, 3, false);
	assert_int_equal(e->ecx >> 22 & 1, 1);
	assert_leaf(&x, 0x8000001e, 0, 3, 0x101, 0, 0);
	free(x.c);
	x = make(amd, 1, 4, 1);
	for (e = x.c->entries; e->function != 0x80000001; e++)
		;
	e->ecx &= ~(1U << 22);
	cpuid_patch(x.c, &x.t, 3, false);
	assert_int_equal(e->ecx >> 22 & 1, 0);
	free(x.c);
}

static void one_amd_cpu(void **state)
{
	struct table x = make(amd, 1, 1, 1);

	(void)state;
	cpuid_patch(x.c, &x.t, 0, false);
	assert_leaf(&x, 1, 0, 0x830f10, 0x00010800, 0xf6d83203, 0x078bfbff);
	assert_int_equal(get(&x, 0x80000001, 0)->ecx & 2, 0);
	assert_int_equal(get(&x, 0x80000008, 0)->ecx, 0);
	assert_leaf(&x, 0x8000001e, 0, 0, 0, 0, 0);
	free(x.c);
}

static void many_cpus(void **state)
{
	struct table x = make(intel, 1, 254, 1);

	(void)state;
	cpuid_patch(x.c, &x.t, 253, true);
	assert_int_equal(get(&x, 1, 0)->ebx, 0xfdff0800);
	assert_int_equal(get(&x, 4, 3)->eax, 63U << 26 | 255U << 14 | 0x163);
	assert_leaf(&x, 0xb, 1, 8, 254, 0x201, 253);
	free(x.c);
	x = make(amd, 1, 254, 1);
	cpuid_patch(x.c, &x.t, 253, true);
	assert_int_equal(get(&x, 1, 0)->ebx, 0xfdfe0800);
	assert_int_equal(get(&x, 0x80000008, 0)->ecx, 0x80fd);
	assert_leaf(&x, 0x8000001e, 0, 253, 253, 0, 0);
	free(x.c);
}

static void policy(void **state)
{
	struct table x = make(intel, 1, 2, 1);

	(void)state;
	cpuid_patch(x.c, &x.t, 0, true);
	assert_int_equal(get(&x, 1, 0)->ecx >> 31, 1);
	assert_int_equal(get(&x, 1, 0)->ecx >> 24 & 1, 1);
	assert_int_equal(get(&x, 1, 0)->ecx >> 21 & 1, 1);
	assert_leaf(&x, 6, 0, 4, 0, 0, 0);
	assert_leaf(&x, 0xa, 0, 0, 0, 0, 0);
	/* Invariant TSC, since this host has it, and nothing else of power management. */
	assert_leaf(&x, 0x80000007, 0, 0, 0, 0, 0x100);
	assert_leaf(&x, 0x40000001, 0, 0x01007efb, 0, 0, 0);
	assert_leaf(&x, 7, 0, 0, 0xf1bf07ab, 0x405fc6, 0xbc000410);
	/* KVM's word on the deadline timer holds, whatever the table said. */
	cpuid_patch(x.c, &x.t, 0, false);
	assert_int_equal(get(&x, 1, 0)->ecx >> 24 & 1, 0);
	free(x.c);

	x = make(amd, 1, 2, 1);
	cpuid_patch(x.c, &x.t, 0, true);
	assert_int_equal(get(&x, 0x80000001, 0)->ecx & (1U << 23 | 1U << 24 | 1U << 28), 0);
	assert_leaf(&x, 0x80000007, 0, 0, 0, 0, 0);
	assert_leaf(&x, 0x80000022, 0, 0, 0, 0, 0);
	free(x.c);
}

/* One table serves all CPUs in turn: what was made for one leaves no trace in another's. */
static void a_table_is_made_anew_for_each_cpu(void **state)
{
	void (*const hosts[])(struct kvm_cpuid2 *) = {intel, amd};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		struct table x = make(hosts[i], 2, 5, 2), y = make(hosts[i], 2, 5, 2);

		for (unsigned int cpu = 0; cpu < x.t.cpus; cpu++)
			cpuid_patch(x.c, &x.t, cpu, cpu & 1);
		cpuid_patch(y.c, &y.t, x.t.cpus - 1, true);
		assert_int_equal(x.c->nent, y.c->nent);
		assert_memory_equal(x.c->entries, y.c->entries,
				    x.c->nent * sizeof(x.c->entries[0]));
		free(x.c);
		free(y.c);
	}
}

static bool tells(uint32_t reg)
{
	return reg >> 24 == HOST_ID || (reg & 0xff) == HOST_ID;
}

static void no_leaf_tells_the_hosts_ids(void **state)
{
	void (*const hosts[])(struct kvm_cpuid2 *) = {intel, amd};
	unsigned int before = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		struct table x = make(hosts[i], 1, 4, 2);

		for (uint32_t j = 0; j < x.c->nent; j++)
			before += tells(x.c->entries[j].ebx) || tells(x.c->entries[j].edx);
		for (unsigned int cpu = 0; cpu < x.t.cpus; cpu++) {
			cpuid_patch(x.c, &x.t, cpu, true);
			for (uint32_t j = 0; j < x.c->nent; j++) {
				const struct kvm_cpuid_entry2 *e = &x.c->entries[j];

				assert_false(tells(e->eax) || tells(e->ebx) || tells(e->ecx) ||
					     tells(e->edx));
			}
		}
		free(x.c);
	}
	assert_true(before > 8);
}

/* KVM may be short of words: what is needed is added, what the host cannot have is not. */
static void short_tables(void **state)
{
	struct table x = make(intel, 1, 2, 1);

	(void)state;
	x.c->nent = 0;
	add(x.c, 0, 0, 0xd, 0x68747541, 0x444d4163, 0x69746e65);
	add(x.c, 0x80000000, 0, 0x8000001e, 0, 0, 0);
	add(x.c, 0x80000001, 0, 0, 0, 1U << 22, 0);
	cpuid_patch(x.c, &x.t, 1, true);
	assert_leaf(&x, 0xb, 0, 0, 1, 0x100, 1);
	assert_leaf(&x, 0xb, 2, 0, 0, 2, 1);
	assert_true(get(&x, 0xb, 0)->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	assert_leaf(&x, 0x8000001e, 0, 1, 1, 0, 0);
	assert_int_equal(x.c->nent, 7);

	x.c->nent = 0;
	add(x.c, 0, 0, 7, 0x756e6547, 0x6c65746e, 0x49656e69);
	add(x.c, 0x80000000, 0, 0x80000008, 0, 0, 0);
	cpuid_patch(x.c, &x.t, 1, true);
	assert_int_equal(x.c->nent, 2);
	x.c->nent = 0;
	cpuid_patch(x.c, &x.t, 1, true);
	assert_int_equal(x.c->nent, 0);
	free(x.c);
}

/* No room is no reason to write past the end. */
static void full_tables(void **state)
{
	struct table x = make(intel, 1, 2, 1);

	(void)state;
	x.c->nent = 0;
	add(x.c, 0, 0, 0x1f, 0x756e6547, 0x6c65746e, 0x49656e69);
	while (x.c->nent < CPUID_ENTRIES_MAX)
		add(x.c, 0x20000000 + x.c->nent, 0, 0, 0, 0, 0);
	cpuid_patch(x.c, &x.t, 1, true);
	assert_int_equal(x.c->nent, CPUID_ENTRIES_MAX);
	free(x.c);
}

static void address_bits(void **state)
{
	struct table x = make(intel, 1, 1, 1);

	(void)state;
	x.c->nent = 0;
	assert_int_equal(cpuid_address_bits(x.c), 36);
	add(x.c, 0x80000008, 0, 0, 0, 0, 0);
	assert_int_equal(cpuid_address_bits(x.c), 36);
	x.c->entries[0].eax = 0x3030;
	assert_int_equal(cpuid_address_bits(x.c), 48);
	x.c->entries[0].eax = 0x303934;
	assert_int_equal(cpuid_address_bits(x.c), 48);
	free(x.c);
}

static const struct kvm_cpuid_entry2 *leaf(const struct table *x, uint32_t function)
{
	for (uint32_t i = 0; i < x->c->nent; i++)
		if (x->c->entries[i].function == function && !x->c->entries[i].index)
			return &x->c->entries[i];
	fail_msg("no leaf %x", function);
	return NULL;
}

static void hidden_features(void **state)
{
	struct table x = make(intel, 1, 1, 1);
	uint32_t ecx = leaf(&x, 1)->ecx, ebx = leaf(&x, 7)->ebx;
	uint32_t eax = leaf(&x, 0x40000001)->eax;
	struct err err;

	(void)state;
	assert_int_equal(cpuid_check_hidden("kvm-pv-eoi:avx512f:avx", &err), 0);
	cpuid_hide(x.c, "kvm-pv-eoi:avx512f:avx");
	assert_int_equal(leaf(&x, 1)->ecx, ecx & ~(1U << 28));
	assert_int_equal(leaf(&x, 7)->ebx, ebx & ~(1U << 16));
	assert_int_equal(leaf(&x, 0x40000001)->eax, eax & ~(1U << 6));
	assert_true(ecx & 1U << 28 && ebx & 1U << 16 && eax & 1U << 6);
	/* All bits of one name. */
	cpuid_hide(x.c, "kvm-clock");
	assert_int_equal(leaf(&x, 0x40000001)->eax & (1U << 0 | 1U << 3 | 1U << 24), 0);
	cpuid_hide(x.c, "");
	free(x.c);
}

static void features_that_cannot_be_hidden(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(cpuid_check_hidden("avx:kvm-pv-eio", &err), -EINVAL);
	assert_non_null(strstr(err.text, "'kvm-pv-eio'"));
	assert_non_null(strstr(err.text, "'kvm-pv-eoi'"));
	assert_int_equal(cpuid_check_hidden(":", &err), -EINVAL);
	assert_int_equal(cpuid_check_hidden("avx::aes", &err), -EINVAL);
	assert_int_equal(cpuid_check_hidden("", &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_cpu),
		cmocka_unit_test(intel_topology),
		cmocka_unit_test(amd_topology),
		cmocka_unit_test(an_amd_host_without_threads),
		cmocka_unit_test(one_amd_cpu),
		cmocka_unit_test(many_cpus),
		cmocka_unit_test(policy),
		cmocka_unit_test(a_table_is_made_anew_for_each_cpu),
		cmocka_unit_test(no_leaf_tells_the_hosts_ids),
		cmocka_unit_test(short_tables),
		cmocka_unit_test(full_tables),
		cmocka_unit_test(address_bits),
		cmocka_unit_test(hidden_features),
		cmocka_unit_test(features_that_cannot_be_hidden),
	};

	return cmocka_run_group_tests_name("cpuid", tests, NULL, NULL);
}
