/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * refuse - a host that lacks something, as a container's system call filter makes it.
 */
#ifndef TESTS_SUPPORT_REFUSE_H
#define TESTS_SUPPORT_REFUSE_H

#include <stdbool.h>

/* io_uring_setup(2) fails with @errnum in this process from now on. False if it cannot be had. */
bool refuse_io_uring(int errnum);

#endif
