/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * job - one run under way: its process, its pipes, and the judgement of its end. Runner's thread.
 */
#ifndef SRC_SMOKE_JOB_H
#define SRC_SMOKE_JOB_H

#include <signal.h>
#include <sys/types.h>

#include "skep/runner.h"

/* Why the runner ended a run. */
enum job_stop {
	STOP_NONE,
	STOP_SIGNAL,
	STOP_FAILURE, /* another run failed */
	STOP_LIMIT,   /* it did not end by itself */
};

struct job {
	struct run_record *record; /* NULL: the place is free */
	pid_t pid;
	int pidfd;
	int out, err; /* -1: at its end */
	int result;   /* the memory file for --result */
	enum job_stop stop;
	uint64_t kill_at; /* SIGKILL follows then; 0: not */
};

/* Gives @record its state, and what there is to say of it. */
void record_say(struct run_record *r, enum run_state state, const char *verdict, const char *fmt,
		...) __attribute__((format(printf, 4, 5)));

/* Starts @record's run. -errno: nothing was started. */
int job_start(struct job *job, struct run_record *record, const char *program, const sigset_t *mask,
	      struct err *err);

/*
 * Takes what @fd, one of the job's streams, has at hand, and hands it to the watches. False at the
 * end of the stream, and when nothing is there now.
 */
bool job_read(struct job *job, int *fd, struct run_watch *watches);

/* Has it end: by SIGTERM, and by SIGKILL when it still runs @grace later; at once without. */
void job_stop(struct job *job, enum job_stop why, uint64_t grace);

/* Its process has ended: takes the rest, judges, and gives everything back. */
void job_end(struct job *job, struct run_watch *watches);

#endif
