/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * result - what a run came to, as the JSON object that --result writes.
 */
#ifndef SRC_CLI_RESULT_H
#define SRC_CLI_RESULT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "skep/boot.h"
#include "skep/kvm.h"
#include "skep/vm.h"

struct json_t;

#define RESULT_IMAGES_MAX 81 /* a kernel, initrds, modules */

struct lint_run;

struct result {
	uint64_t started; /* clock_now() when the command began */
	int status;       /* skep's exit status */
	bool ran;         /* the guest ran; if not, only ending.reason holds */
	struct ending ending;
	const char *kernel; /* NULL: the demo guest */
	const char *name;
	struct result_image {
		char key[32];
		uint64_t size;
		char sha256[BOOT_HASH_TEXT]; /* "" when it could not be had */
	} images[RESULT_IMAGES_MAX];
	unsigned int image_count;
	char *state, *screen;        /* as text; NULL: not wanted, or no memory for it */
	struct json_t *more;         /* members that the command adds; NULL: none */
	const struct lint_run *lint; /* NULL: nobody asked */
	struct vm_report report;
	struct timeline timeline;
	struct kvm_exit_count exits[KVM_EXIT_COUNTS_MAX];
	size_t exit_count;
	struct kvm_port_count ports[KVM_PORT_COUNTS_MAX];
	size_t port_count;
	/* Why the guest died, NULL if it did not: for a person, and for the report. */
	char *post_mortem, *post_mortem_full;
	char kernel_release[65]; /* the host's */
	const char *kvm;         /* kvm_flavour() */
};

/* What is to be known, or opened, before the guest runs: later a sandbox refuses. */
void result_prepare(struct result *r);

/* Takes the figures of a machine that has ended, before it is taken apart, and the hashes of its
 * images, for as long as reading them takes; with @state its devices' state and its screen, too. */
void result_collect(struct result *r, const struct vm *vm, bool state);

/* Before the guest runs, so that a place that cannot be written is told at once. NULL is "none". */
int result_open(FILE **to, const char *path, struct err *err);
/* What it has on the heap. */
void result_free(struct result *r);

/* Writes the object and closes @to; NULL is allowed. */
int result_write(const struct result *r, FILE *to, struct err *err);

#endif
