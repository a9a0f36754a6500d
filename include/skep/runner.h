/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * runner - many runs at once, each a process of its own, and what became of each.
 *
 * A run is a command line of a program that gives its verdict twice: as its exit status, and as the
 * JSON object of `--result FILE`, which the runner adds to the command line. A run has passed when
 * both are there and both say 0; whatever else happens to it, it has not. A run that is killed,
 * dies of a signal or says nothing is told as just that.
 *
 * Runs start in order, as soon as the host has room for the next (struct host_budget). One thread
 * polls: the pipes of the runs' standard output and error, a pidfd for each, and signals. SIGINT,
 * SIGTERM, SIGHUP and SIGQUIT end all runs, by SIGTERM first, and what is left of them a few
 * seconds later, or at the next signal, by SIGKILL. A run's process belongs to a process group of
 * its own, so a terminal's keys reach the runner alone; see to it in the program that none outlives
 * the runner.
 *
 * Who wants to know of the runs (reports, a table) hangs a struct run_watch into the list; all its
 * functions are called on the runner's thread.
 */
#ifndef SKEP_RUNNER_H
#define SKEP_RUNNER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "skep/err.h"

struct runner;

enum run_state {
	RUN_WAITING,
	RUN_RUNNING,
	RUN_PASSED,
	RUN_FAILED,  /* the guest did not do what it should: statuses 1 to 124 */
	RUN_ERROR,   /* there is no verdict on the guest: refused, killed, or silent */
	RUN_STOPPED, /* the runner ended it: a signal, or another one failed */
	RUN_SKIPPED, /* never started, for the same reasons */
};
/* "passed", "failed", … */
const char *run_state_word(enum run_state state);

/* What is to be run; belongs to the caller. */
struct run_spec {
	const char *name;
	char *const *argv;   /* NULL behind the last; "--result FILE" is added */
	char *const *replay; /* the words that a person would type behind "skep" */
	const char *folder;  /* where a report on it goes; NULL: nowhere */
	/* For reports: axes and their values, and which of how many of the same; 0: once. */
	unsigned int axes;
	const char *const *axis, *const *value;
	unsigned int repeat;
	uint64_t memory; /* of the guest */
	unsigned int cpus;
	uint64_t limit_ns; /* it should have ended by itself long before; 0: none */
};

/* The last bytes of a stream. */
#define RUN_TAIL_MAX 8192u
struct run_tail {
	uint64_t total; /* that came in all */
	uint8_t ring[RUN_TAIL_MAX];
};
/* The bytes in order; returns how many. */
size_t run_tail_bytes(const struct run_tail *tail, uint8_t bytes[RUN_TAIL_MAX]);

struct run_record {
	const struct run_spec *spec;
	enum run_state state;
	int status; /* as an exit status: 128+n for one that died of signal n */
	char verdict[32];
	char reason[512];        /* a sentence; safe text (text.h), as the verdict is */
	uint64_t started, ended; /* clock_now()'s */
	int64_t wall;            /* when it started, in seconds since 1970 */
	/* What the run said of itself; NULL: nothing, or it is one of several and was told. */
	json_t *result;
	/* What it had to say last; NULL once it has passed, and before it started. */
	struct run_tail *console, *messages;
};
double run_seconds(const struct run_record *r);

struct run_watch {
	void (*begun)(struct run_watch *w, const struct run_record *r);
	/* Bytes of its standard output, or error. */
	void (*console)(struct run_watch *w, const struct run_record *r, const uint8_t *data,
			size_t len);
	void (*message)(struct run_watch *w, const struct run_record *r, const uint8_t *data,
			size_t len);
	/* It has its state; also for those that were skipped. */
	void (*ended)(struct run_watch *w, const struct run_record *r);
	/* Every RUN_TICK_NS or so. */
	void (*tick)(struct run_watch *w);
	/* Nothing runs any more, and all records are as they will be. */
	void (*finished)(struct run_watch *w, const struct runner *r);
	/* Gives everything back; -errno and a sentence when not all could be written. */
	int (*close)(struct run_watch *w, struct err *err);
	struct run_watch *next;
};
#define RUN_TICK_NS (100 * UINT64_C(1000000))

/* What the host has for the runs that are under way at one time. */
struct host_budget {
	uint64_t memory;
	unsigned int cpus;
};
/*
 * What this process may use now: nine tenths of the memory that is available, by the host and by
 * every cgroup that it is in, and the CPUs of its affinity and of the cgroups' quota.
 */
void host_budget_now(struct host_budget *b);
/* The same of another root than "/", for tests: @root/proc, @root/sys. */
void host_budget_under(struct host_budget *b, const char *root, unsigned int affinity);

/* What a run takes of the host beside its guest's memory. */
#define RUN_OWN_MEMORY (UINT64_C(16) << 20)

struct runner {
	const char *program; /* the file that every run executes */
	const struct run_spec *specs;
	unsigned int count;
	unsigned int jobs; /* at one time; 0: as many as fit */
	struct host_budget budget;
	bool fail_fast;
	struct run_watch *watches;
	/* Filled by runner_run(). */
	struct run_record *records;
	unsigned int states[RUN_SKIPPED + 1]; /* how many records are in each */
	int signal;                           /* that ended everything; 0: none did */
};

#define RUNNER_JOBS_MAX 1024u

/* -E2BIG and a sentence when one of the runs could never have the memory that it needs. */
int runner_check(const struct runner *r, struct err *err);

/*
 * Makes all runs, and returns when none is under way any more; what became of them is in the
 * records, and in the returned status: 0 when every run has passed, 128+n when signal n ended them,
 * and else the status of the first that has not, in the order of specs. -errno: it could not begin.
 */
int runner_run(struct runner *r, struct err *err);
void runner_free(struct runner *r); /* the records */

#endif
