/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * failing - a host that fails, for programs that are linked with its list of wrapped functions
 * (CMakeLists.txt): allocations, and the calls of libc and liburing by which skep asks the host for
 * something.
 *
 * Each of those calls of skep's own code is a point, counted from 1 while the host is armed, on all
 * threads together. The host fails the point it was told to, with an errno that the real call has.
 * What libraries do inside is not a point, but for what jansson allocates; nor is what takes things
 * down and cannot fail.
 *
 * Any thread. The book that is kept lies in shared memory, so it can be read when the process that
 * failed is gone, and is written without a system call, which a sandbox might refuse.
 */
#ifndef TESTS_FAULTS_FAILING_H
#define TESTS_FAULTS_FAILING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum failing_how {
	FAILING_ERROR, /* the call is not made, and fails */
	FAILING_EINTR, /* a call that a signal can interrupt is; others are no points */
	FAILING_SHORT, /* a transfer of more than a byte is cut in half; others are no points */
};

#define FAILING_SITES_MAX 65536U

struct failing_point {
	const char *call;
	uintptr_t from;     /* where in skep */
	unsigned long what; /* an ioctl's request, a system call's number */
};

struct failing_book {
	atomic_uint count; /* points so far */
	atomic_uint fired; /* how many of them failed */
	struct failing_point failed;
	/* The first ones. */
	struct failing_point points[FAILING_SITES_MAX];
};

/* NULL when there is no memory for it. To be shared with children; never freed. */
struct failing_book *failing_init(void);

/* From now on point @n fails; if @lasting all behind it as well. 0: none does, all are counted. */
void failing_arm(enum failing_how how, unsigned int n, bool lasting);
void failing_disarm(void);

/* While it is armed no ring can be made, as on a host without io_uring; that is no point then. */
void failing_rings(bool refused);

#endif
