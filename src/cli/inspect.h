/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of `skep inspect` share. */
#ifndef SRC_CLI_INSPECT_H
#define SRC_CLI_INSPECT_H

#include <jansson.h>

#include "skep/boot.h"
#include "skep/e820.h"
#include "skep/err.h"

#define INITRDS_MAX 16
#define MODULES_MAX 64

/* What the flags ask for. */
struct inspection {
	struct config *config; /* boot.KEY, as `skep run` has them */
	struct boot_options options;
	uint64_t memory;
	bool json;
	unsigned int initrd_count, module_count;
	struct boot_image *initrds[INITRDS_MAX];
	struct boot_module modules[MODULES_MAX];
	struct e820 map;
	json_t *report; /* an array; NULL: text is wanted */
};

/* What was found out about one file. */
struct finding {
	const char *path;
	bool opened; /* it could be read: info is filled */
	struct boot_info info;
	bool boots; /* layout is filled; if not, why has the reason */
	struct boot_layout layout;
	struct err why;
};

void inspect_print(const struct inspection *in, const struct finding *f);
/* Adds to the report. */
void inspect_report(const struct inspection *in, const struct finding *f);

#endif
