/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * smbios - what a guest may know of the machine as a thing: who made it, how much memory and how
 * many processors are in it.
 *
 * DMTF DSP0134, SMBIOS 3.0: both entry points, for kernels old and new, and one set of structures.
 *
 * Control thread, before the machine runs.
 */
#ifndef SKEP_SMBIOS_H
#define SKEP_SMBIOS_H

#include <stdint.h>

struct err;
struct gmem;
struct topology;

/* Where it goes: a part of the area in which a guest looks for it (section 5.2.1). What is above,
 * up to 1 MiB, is left to the reset vector. */
#define SMBIOS_AREA     UINT64_C(0xf2000)
#define SMBIOS_AREA_LEN UINT64_C(0xc000)

struct smbios_request {
	struct gmem *mem; /* told of as well */
	const struct topology *topology;
	const char *version; /* of skep */
};

/* -EFAULT when there is no memory at SMBIOS_AREA, -ENOSPC when it is too small. */
int smbios_build(const struct smbios_request *req, struct err *err);

#endif
