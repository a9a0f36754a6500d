/* SPDX-License-Identifier: BSD-2-Clause */
#include <ctype.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/topology.h"

const struct option topology_option_table[] = {
	{.name = "count",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct topology_options, count),
	 .min = 1,
	 .max = TOPOLOGY_CPUS_MAX,
	 .help = "vCPUs (default: sockets times cores times threads)"},
	{.name = "sockets",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct topology_options, sockets),
	 .min = 1,
	 .max = TOPOLOGY_CPUS_MAX,
	 .help = "processor packages (default: 1)"},
	{.name = "cores",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct topology_options, cores),
	 .min = 1,
	 .max = TOPOLOGY_CPUS_MAX,
	 .help = "cores of a package (default: what the other numbers leave)"},
	{.name = "threads",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct topology_options, threads),
	 .min = 1,
	 .max = TOPOLOGY_CPUS_MAX,
	 .help = "threads of a core (default: 1)"},
	{.name = "pin",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct topology_options, pin),
	 .help = "host CPUs, dealt out to the vCPUs in turn: 0-3:8"},
	{.name = "hide",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct topology_options, hide),
	 .help = "features that the guest's CPUID does not show: avx512f:kvm-pv-eoi"},
	OPTION_END,
};

/* More CPUs than any host has: where parsing and asking stop. */
#define HOST_CPUS_MAX 65536

static unsigned int bits_for(unsigned int n)
{
	unsigned int bits = 0;

	while (1U << bits < n)
		bits++;
	return bits;
}

/* What is left out of the four numbers; one that does not divide is told by the caller. */
static void infer(struct topology_options *o)
{
	if (!o->threads)
		o->threads = o->count && o->sockets && o->cores
				     ? MAX(o->count / (o->sockets * o->cores), 1U)
				     : 1;
	if (!o->sockets)
		o->sockets = o->count && o->cores ? MAX(o->count / (o->cores * o->threads), 1U) : 1;
	if (!o->cores)
		o->cores = o->count ? MAX(o->count / (o->sockets * o->threads), 1U) : 1;
	if (!o->count)
		o->count = o->sockets * o->cores * o->threads;
}

static int set_numbers(struct topology *t, const struct topology_options *options, struct err *err)
{
	struct topology_options o = *options;
	uint32_t last;

	infer(&o);
	if (o.sockets * o.cores * o.threads != o.count)
		return err_set(
			err, EINVAL,
			"cpus: sockets=%llu, cores=%llu, threads=%llu make %llu vCPUs, not %llu",
			(unsigned long long)o.sockets, (unsigned long long)o.cores,
			(unsigned long long)o.threads,
			(unsigned long long)(o.sockets * o.cores * o.threads),
			(unsigned long long)o.count);
	if (o.count > TOPOLOGY_CPUS_MAX)
		return err_set(err, EINVAL, "cpus: %llu vCPUs are too many, the most is %d",
			       (unsigned long long)o.count, TOPOLOGY_CPUS_MAX);
	t->cpus = (unsigned int)o.count;
	t->sockets = (unsigned int)o.sockets;
	t->cores = (unsigned int)o.cores;
	t->threads = (unsigned int)o.threads;
	t->thread_bits = bits_for(t->threads);
	t->core_bits = bits_for(t->cores);
	last = topology_apic_id(t, t->cpus - 1);
	if (last > TOPOLOGY_APIC_ID_MAX)
		return err_set(
			err, EINVAL,
			"cpus: with sockets=%u, cores=%u, threads=%u the last APIC id is %u, "
			"past %d; powers of two leave no gaps between ids",
			t->sockets, t->cores, t->threads, last, TOPOLOGY_APIC_ID_MAX);
	return 0;
}

/* The host CPUs that this process may run on. */
struct host_cpus {
	cpu_set_t *set;
	size_t size;
};

static int host_cpus_get(struct host_cpus *h, struct err *err)
{
	/* The kernel wants room for every CPU that it could ever have, and does not tell how many
	 * those are. */
	h->size = CPU_ALLOC_SIZE(HOST_CPUS_MAX);
	h->set = CPU_ALLOC(HOST_CPUS_MAX);
	if (!h->set)
		return err_sys(err, ENOMEM, "cpus.pin");
	CPU_ZERO_S(h->size, h->set);
	if (sched_getaffinity(0, h->size, h->set)) {
		CPU_FREE(h->set);
		return err_sys(err, errno, "cpus.pin: the host does not tell its CPUs");
	}
	return 0;
}

static bool host_cpus_have(const struct host_cpus *h, unsigned int cpu)
{
	return CPU_ISSET_S(cpu, h->size, h->set);
}

/* "0-3,8": as it goes into a sentence, so a long one is cut. */
static void host_cpus_print(const struct host_cpus *h, char *text, size_t room)
{
	size_t n = 0;

	text[0] = '\0';
	for (unsigned int from = 0, to; from < HOST_CPUS_MAX && n < room; from = to + 1) {
		to = from;
		if (!host_cpus_have(h, from))
			continue;
		while (to + 1 < HOST_CPUS_MAX && host_cpus_have(h, to + 1))
			to++;
		n += (size_t)snprintf(text + n, room - n, from == to ? "%s%u" : "%s%u-%u",
				      n ? "," : "", from, to);
	}
}

static int pin_refused(const struct host_cpus *h, unsigned int cpu, struct err *err)
{
	char known[128];

	host_cpus_print(h, known, sizeof(known));
	return err_set(err, EINVAL, "cpus.pin: skep cannot run on CPU %u of this host, only on %s",
		       cpu, known);
}

/* A decimal number at *@p, which is moved behind it; -1 for anything else. */
static long take_number(const char **p)
{
	unsigned long v;
	char *end;

	if (!isdigit((unsigned char)**p))
		return -1;
	v = strtoul(*p, &end, 10);
	*p = end;
	return v < HOST_CPUS_MAX ? (long)v : HOST_CPUS_MAX - 1;
}

static int pin_range(struct topology *t, const struct host_cpus *h, long from, long to,
		     struct err *err)
{
	for (long cpu = from; cpu <= to; cpu++) {
		if (!host_cpus_have(h, (unsigned int)cpu))
			return pin_refused(h, (unsigned int)cpu, err);
		if (t->pins == t->cpus)
			return err_set(err, EINVAL,
				       "cpus.pin: the list has more host CPUs than there are vCPUs "
				       "(%u)",
				       t->cpus);
		t->pin[t->pins++] = (int)cpu;
	}
	return 0;
}

static int set_pins(struct topology *t, const char *list, struct err *err)
{
	struct host_cpus h;
	const char *p = list;
	int ret = host_cpus_get(&h, err);

	if (ret)
		return ret;
	do {
		long from = take_number(&p), to = from;

		if (*p == '-') {
			p++;
			to = take_number(&p);
		}
		if (from < 0 || to < from || (*p && !strchr(",:", *p)))
			ret = err_set(err, EINVAL,
				      "cpus.pin: '%.64s' is not a list of host CPUs like 0-3:8",
				      list);
		else
			ret = pin_range(t, &h, from, to, err);
	} while (!ret && *p++);
	CPU_FREE(h.set);
	return ret;
}

int topology_init(struct topology *t, const struct topology_options *options, struct err *err)
{
	int ret;

	*t = (struct topology){.hide = options->hide};
	ret = set_numbers(t, options, err);
	if (!ret && options->pin)
		ret = set_pins(t, options->pin, err);
	return ret;
}

struct topology_place topology_place(const struct topology *t, unsigned int cpu)
{
	bug_on(cpu >= t->cpus);
	return (struct topology_place){
		.socket = cpu / t->threads / t->cores,
		.core = cpu / t->threads % t->cores,
		.thread = cpu % t->threads,
	};
}

uint32_t topology_apic_id(const struct topology *t, unsigned int cpu)
{
	struct topology_place p = topology_place(t, cpu);

	return (p.socket << t->core_bits | p.core) << t->thread_bits | p.thread;
}

int topology_pin(const struct topology *t, unsigned int cpu)
{
	bug_on(cpu >= t->cpus);
	return t->pins ? t->pin[cpu % t->pins] : -1;
}
