/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * autopsy - what the commands that run a machine do about one that died: the post-mortem, the dump,
 * and a second life where that shows more. On the process's first thread.
 */
#ifndef SRC_CLI_AUTOPSY_H
#define SRC_CLI_AUTOPSY_H

#include "skep/postmortem.h"

struct dump;
struct err;
struct machine_args;
struct result;
struct vm;

struct autopsy {
	struct postmortem_options options;
	struct postmortem *pm;
	struct dump *dump; /* NULL: none was asked for */
};

/* Reads its options and opens all that it will need; before the guest runs. autopsy_close() either
 * way. */
int autopsy_open(struct autopsy *a, const struct machine_args *args, struct vm *vm,
		 struct err *err);
void autopsy_close(struct autopsy *a);

/* Behind all else that is told of @vm: texts go to @result, the dump to its file. */
void autopsy_do(struct autopsy *a, struct machine_args *args, struct vm *vm, struct result *result);

#endif
