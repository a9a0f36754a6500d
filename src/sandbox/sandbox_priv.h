/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of src/sandbox share. */
#ifndef SRC_SANDBOX_SANDBOX_PRIV_H
#define SRC_SANDBOX_SANDBOX_PRIV_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "skep/lock.h"
#include "skep/sandbox.h"

#define KEPT_MAX    8
#define REMOVE_MAX  32
#define ERRANDS_MAX 16

/*
 * The process's: a filter and a signal handler have no other. Written by the thread that enters,
 * before there are others.
 */
struct sandbox {
	atomic_bool entered;
	bool filters; /* this kernel has them */
	enum sandbox_engine engine;
	struct sigaction before; /* what SIGSYS did */
	int kept[KEPT_MAX];
	unsigned int kept_count;

	struct {
		char *path;
		dev_t dev;
		ino_t ino;
	} remove[REMOVE_MAX];
	unsigned int remove_count;
	struct {
		sandbox_errand_fn *fn;
		void *arg;
		int fd;
	} errands[ERRANDS_MAX];
	unsigned int errand_count;
	pid_t aide; /* who does them; 0: none */
	int aide_fd;
	bool aide_late; /* an answer did not come in time */
	struct lock aide_lock;
	void *capng; /* the library; NULL: not wanted, or absent */
};

extern struct sandbox sandbox;

/* seccomp.c */
bool filters_available(void);
void filters_take_signal(void);
int filters_install(enum sandbox_kind kind, enum sandbox_engine engine, struct err *err);

/* landlock.c: the version of its interface, 0 when this kernel has none. */
int landlock_version(void);
/* No path can be opened, but for the files of @kept. */
int landlock_shut(const int *kept, unsigned int count, struct err *err);

/* Files can be read, and removed, but not written or made. For the aide. */
void landlock_read_only(void);

/* privileges.c: what takes files, and the rest. */
struct sandbox_user {
	const char *name; /* NULL: it is who it shall be */
	uid_t uid;
	gid_t gid;
};
int privileges_prepare(const struct sandbox_options *options, struct sandbox_user *user,
		       struct err *err);
/* Whether there are none to give up, or what takes them. */
bool privileges_can_drop(void);
int privileges_drop(const struct sandbox_user *user, struct log *log, struct err *err);
/* Namespaces of the process's own, with an empty root. */
int namespaces_enter(struct err *err);
bool namespaces_available(void);

/* aide.c */
int aide_start(struct err *err);

#endif
