/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sandbox_table - which system calls a thread may make, of what kind with which arguments, and
 * why. From these tables the filters are compiled when skep is built (src/sandbox/compile.c), and
 * `tools/sandbox-audit` compares them with what happens.
 */
#ifndef SKEP_SANDBOX_TABLE_H
#define SKEP_SANDBOX_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "skep/sandbox.h"

/* Sets of kinds, and of engines. */
#define KIND_CONTROL (1U << SANDBOX_CONTROL)
#define KIND_VCPU    (1U << SANDBOX_VCPU)
#define KIND_DISK    (1U << SANDBOX_DISK)
#define KIND_NET     (1U << SANDBOX_NET)
#define KIND_WORKER  (1U << SANDBOX_WORKER)
#define KIND_HELPER  (1U << SANDBOX_HELPER)
#define KIND_RINGS   (KIND_DISK | KIND_NET | KIND_WORKER)
#define KIND_LOOPS   (KIND_CONTROL | KIND_RINGS)
#define KIND_ALL     (KIND_LOOPS | KIND_VCPU | KIND_HELPER)

#define BY_EPOLL (1U << SANDBOX_EPOLL)

/* No argument of a system call is of this value: the process's id is put in its place. */
#define SANDBOX_OWN_PID 0x5eed1d00

struct sandbox_rule {
	const char *name;     /* of the call */
	unsigned int kinds;   /* of the threads that may make it */
	unsigned int engines; /* only with these; 0: with any */
	int refuse;           /* 0: it is carried out; an errno: it is answered with it */
	/* Only if argument number @arg, masked by @mask, is @value; mask 0: whatever it is. */
	unsigned int arg;
	uint64_t mask;
	uint64_t value;
	const char *why;
};

extern const struct sandbox_rule sandbox_rules[];
extern const size_t sandbox_rules_count;

/* Requests of ioctl(2). */
struct sandbox_request {
	const char *name;
	unsigned int kinds;
	uint32_t request;
	const char *why;
};

extern const struct sandbox_request sandbox_requests[];
extern const size_t sandbox_requests_count;

/* The same of KVM's: src/kvm/requests.c. */
extern const struct sandbox_request kvm_requests[];
extern const size_t kvm_requests_count;

#endif
