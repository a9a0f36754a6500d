/* SPDX-License-Identifier: BSD-2-Clause */
/* cmocka wants these in this order. */
#ifndef TESTS_SUPPORT_CM_H
#define TESTS_SUPPORT_CM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/*
 * The most guest memory that a test may reserve: ThreadSanitizer leaves a program little of its
 * address space.
 */
#if defined(__SANITIZE_THREAD__)
#define TEST_MEMORY_MOST (UINT64_C(1) << 36)
#else
#define TEST_MEMORY_MOST UINT64_MAX
#endif

#endif
