/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exec - a command that a Linux guest runs: the initramfs with it, packed on the spot, and what the
 * option tree has to say so that the guest does so and its status ends the machine.
 *
 * The userland is the folder that was named; without one, that of the initrds; without any, the
 * host's busybox, if it is static.
 */
#ifndef SRC_SMOKE_EXEC_H
#define SRC_SMOKE_EXEC_H

struct config;
struct err;
struct log;

struct exec {
	const char *command; /* NULL: none, the folder's own /init starts */
	const char *root;    /* a folder of the host; NULL: none */
	int fd;              /* of the initramfs, while the machine may read it; -1 */
};

/* Packs, and adds to @config; @initrds are there already. */
int exec_prepare(struct exec *x, struct config *config, unsigned int initrds, struct log *log,
		 struct err *err);
void exec_free(struct exec *x);

#endif
