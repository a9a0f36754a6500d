/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * topology - how a machine's processors are put together, what they are called, and where on the
 * host they run.
 *
 * CPUs are numbered from 0, thread by thread, core by core, socket by socket; CPU 0 is the boot
 * processor. A CPU's APIC id has a bit field for each of the three, as wide as its numbers need
 * (Intel's manual volume 3A, section 9.9.1; AMD's volume 3, appendix E.5): ids have gaps unless
 * cores and threads are powers of two. ACPI, the MP table, SMBIOS and CPUID all go by this.
 *
 * A topology is a plain value that does not change; any thread.
 */
#ifndef SKEP_TOPOLOGY_H
#define SKEP_TOPOLOGY_H

#include <stdint.h>

#include "skep/config.h"

struct err;

#define TOPOLOGY_CPUS_MAX 254
/* An interrupt chip's 8-bit destination can name no more; 255 stands for all. */
#define TOPOLOGY_APIC_ID_MAX 254

/* Below the key "cpus". 0 and NULL: left out. */
struct topology_options {
	uint64_t count;
	uint64_t sockets;
	uint64_t cores;   /* of a socket */
	uint64_t threads; /* of a core */
	const char *pin;  /* a list of host CPUs: "0-3,8", also "0-3:8" */
	const char *hide; /* CPU features, with colons between them */
};
extern const struct option topology_option_table[];

struct topology {
	unsigned int cpus;
	unsigned int sockets, cores, threads;
	unsigned int thread_bits, core_bits; /* widths within an APIC id */
	unsigned int pins;                   /* how many of @pin are in use */
	int pin[TOPOLOGY_CPUS_MAX];          /* host CPUs, dealt out in turn */
	const char *hide;                    /* the options' own; whoever makes CPUID checks it */
};

/* A CPU's place: its socket, its core within that, its thread within that. */
struct topology_place {
	unsigned int socket, core, thread;
};

/*
 * What is left out follows from the rest: one thread a core, then as many cores in one socket as
 * there are CPUs; one CPU if nothing is said. -EINVAL for numbers that do not multiply out, for ids
 * past TOPOLOGY_APIC_ID_MAX, and for a pin list that cannot be had.
 */
int topology_init(struct topology *t, const struct topology_options *options, struct err *err);

/* @cpu is less than t->cpus. */
struct topology_place topology_place(const struct topology *t, unsigned int cpu);
uint32_t topology_apic_id(const struct topology *t, unsigned int cpu);

/* The host CPU on which @cpu is to run, or -1: wherever the host likes. */
int topology_pin(const struct topology *t, unsigned int cpu);

#endif
