/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * machine - what the commands that run a machine share: its flags (machine_flags.c), and running
 * one to its end with what is to be told of it (machine_run.c). All on the process's first thread.
 */
#ifndef SRC_CLI_MACHINE_H
#define SRC_CLI_MACHINE_H

#include <stdbool.h>

#include "cli_priv.h"
#include "lint.h"
#include "result.h"
#include "skep/log.h"
#include "timeline.h"

struct config;
struct err;
struct vm;

/* What the flags fill. A command with flags of its own has it as the first member of its context.
 */
struct machine_args {
	struct config *config;
	unsigned int serials; /* how often --serial was given */
	unsigned int initrds, modules;
	unsigned int disks;
	unsigned int ide_disks; /* of those */
	unsigned int nets;
	bool print_config;
	bool dump_state;
	bool result_state;
	const char *result;
	const char *symbols; /* an ELF file; NULL: the kernel */
	struct lint_run lint;
	struct timeline_args timeline;
	struct log log;
};

/* A tree with the devices that every machine has. machine_args_free() either way. */
int machine_args_init(struct machine_args *args, struct err *err);
void machine_args_free(struct machine_args *args);

/* The flags of a machine; their context is a struct machine_args. */
extern const struct flag machine_flags[];

/* What a command adds to the life of the machine that it runs; each may be NULL. */
struct machine_hooks {
	/* It is assembled and loaded: everything that may have to be opened is opened now. */
	int (*ready)(void *ctx, struct vm *vm, struct err *err);
	/* It has ended, nothing of it runs, and it is not taken apart yet; result->ending may be
	 * corrected. */
	void (*ended)(void *ctx, struct vm *vm, struct result *result);
	/* It is going to be taken apart, whether it ran or not; behind ready(), however that went.
	 */
	void (*leave)(void *ctx);
	void *ctx;
};

/*
 * Runs the machine of @args once and fills @result: in any case its status, and how it ended or why
 * it did not run. -errno and a sentence if it did not run to an end.
 */
int machine_run(struct machine_args *args, const struct machine_hooks *hooks, struct result *result,
		struct err *err);

/* A result for @args, of a command that begins now. */
void machine_result_init(struct result *result, const struct machine_args *args);

#endif
