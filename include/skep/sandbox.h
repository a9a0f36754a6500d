/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sandbox - what the process may still ask of the kernel once a guest runs.
 *
 * What a process may do is the process's, so there is one sandbox and it is entered once, by the
 * thread that is the control thread from then on, when everything that the machine needs of the
 * host is open. From then on nothing can be opened, and no thread, process or socket be made; what
 * a thread may ask beyond that depends on what it is for (sandbox_table.h). A call that is in no
 * table ends the process with a sentence that names it.
 *
 * The order is: sandbox_enter(), the threads are made and each goes into its own filter, and last
 * the control thread into its. docs/threat-model.md says what all of this is for.
 */
#ifndef SKEP_SANDBOX_H
#define SKEP_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "skep/config.h"

struct err;
struct log;

/* What a thread is for. */
enum sandbox_kind {
	SANDBOX_CONTROL,
	SANDBOX_VCPU,
	SANDBOX_DISK,   /* a worker that serves disks, */
	SANDBOX_NET,    /* network cards, */
	SANDBOX_WORKER, /* anything else, or several of these */
	SANDBOX_HELPER, /* blocks on files for a worker that has no io_uring */
	SANDBOX_KINDS,
};

/* What the threads of this process do their I/O by. */
enum sandbox_engine {
	SANDBOX_URING,
	SANDBOX_EPOLL, /* some of them, where there was no memory for more rings, or all */
	SANDBOX_ENGINES,
};

struct sandbox_options {
	unsigned int mode; /* enum sandbox_mode */
	const char *user;  /* to become; NULL: stay who we are */
	bool namespaces;   /* of our own */
};

enum sandbox_mode {
	SANDBOX_ON,
	SANDBOX_OFF,
};

extern const struct option sandbox_option_table[];

/*
 * Gives up what the process has and will not need: everything but the filters. Whatever was asked
 * for by name and cannot be had is an error; what this kernel lacks is told on @log, and done
 * without. One thread, before any other is made. Nothing when the mode is off.
 */
int sandbox_enter(const struct sandbox_options *options, enum sandbox_engine engine,
		  struct log *log, struct err *err);

/* Puts the calling thread into the filter of its kind; nothing when the sandbox was not entered. */
int sandbox_thread(enum sandbox_kind kind, struct err *err);

/* Whether sandbox_enter() was called with mode on: nothing can be opened. Any thread. */
bool sandbox_entered(void);

/*
 * Before sandbox_enter(): @fd's file may be opened anew, by a request to a file that is open (the
 * slave of a pseudo-terminal, by its master).
 */
void sandbox_keep(int fd);
/* Not any more: it is closed. */
void sandbox_forsake(int fd);

/*
 * What takes files is done by a process that sandbox_enter() makes before it shuts the door: the
 * aide. @fn is called there, with @arg and a question, and returns the length of its answer; of our
 * descriptors the aide has @fd, unless that is -1. Before sandbox_enter(); returns the number of
 * the errand, the same for the same, or -1.
 */
#define SANDBOX_QUESTION_MAX 64
#define SANDBOX_ANSWER_MAX   512
typedef size_t sandbox_errand_fn(void *arg, const void *question, size_t n, void *answer,
				 size_t room);
int sandbox_errand(sandbox_errand_fn *fn, void *arg, int fd);
/* @arg goes: no errand takes it any more. */
void sandbox_errand_not(const void *arg);
/* Whether @errand is the aide's: if not, the caller does it itself. Any thread. */
bool sandbox_asks(int errand);
/* Has the aide do it; 0: no answer came. Any thread, no lock of a higher rank held. */
size_t sandbox_ask(int errand, const void *question, size_t n, void *answer, size_t room);

/*
 * Before sandbox_enter(): when the process has ended, however it does, the aide removes @path, if
 * it is still the same file and empty, as sockets are.
 */
int sandbox_remove_later(const char *path, struct err *err);
/* Before sandbox_enter(): not any more. */
void sandbox_remove_not(const char *path);

/* The machine is gone: so is the aide when this returns, and what it was to remove. */
void sandbox_leave(void);

/* What the sandbox can use of this host, for `skep doctor`. */
struct sandbox_fact {
	const char *what;
	char value[64];
	const char *cure; /* NULL when nothing is amiss */
};
#define SANDBOX_FACTS_MAX 8
size_t sandbox_facts(struct sandbox_fact *facts, size_t room);

#endif
