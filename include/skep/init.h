/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * init - the first program of a Linux guest that runs one command (firmware/init): a static
 * executable, part of skep. Constant; any thread.
 */
#ifndef SKEP_INIT_H
#define SKEP_INIT_H

#include <stddef.h>

const void *init_image(size_t *len);

#endif
