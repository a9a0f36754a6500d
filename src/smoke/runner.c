/* SPDX-License-Identifier: BSD-2-Clause */
#include "skep/runner.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "job.h"
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/text.h"

/* How long a run may take to end when it is asked to. */
#define GRACE        (3 * NS_PER_S)
#define FDS_OF_A_JOB 3u  /* polled */
#define FDS_SPARE    64u /* of the process: reports, standard streams, and what starting takes */

struct run_loop {
	struct runner *r;
	struct job *jobs;
	struct pollfd *fds; /* the signals, and three of each job */
	unsigned int room;  /* for jobs */
	unsigned int running;
	unsigned int next; /* the record to start next */
	uint64_t memory;   /* of the runs under way */
	unsigned int cpus;
	unsigned int cpus_max;
	int signals;
	sigset_t old_mask;
	bool stopping; /* nothing is started any more */
	bool crowded;  /* the host refused one more: not before one has ended */
	uint64_t ticked;
};

const char *run_state_word(enum run_state state)
{
	static const char *const words[] = {
		[RUN_WAITING] = "waiting", [RUN_RUNNING] = "running", [RUN_PASSED] = "passed",
		[RUN_FAILED] = "failed",   [RUN_ERROR] = "error",     [RUN_STOPPED] = "stopped",
		[RUN_SKIPPED] = "skipped",
	};

	return words[state];
}

double run_seconds(const struct run_record *r)
{
	return r->started ? (double)(r->ended - r->started) / (double)NS_PER_S : 0;
}

static uint64_t memory_of(const struct run_spec *spec)
{
	return spec->memory + RUN_OWN_MEMORY;
}

int runner_check(const struct runner *r, struct err *err)
{
	for (unsigned int i = 0; i < r->count; i++) {
		const struct run_spec *spec = &r->specs[i];

		if (memory_of(spec) <= r->budget.memory)
			continue;
		return err_set(
			err, E2BIG, "%s needs %s of memory, and of this host's only %s can be had",
			spec->name, size_text(memory_of(spec)).s, size_text(r->budget.memory).s);
	}
	return 0;
}

/* Calls */

static void settle(struct run_loop *l, struct run_record *record)
{
	struct runner *r = l->r;

	r->states[record->state]++;
	for (struct run_watch *w = r->watches; w; w = w->next)
		if (w->ended)
			w->ended(w, record);
	/* There may be thousands of them, and it is a dozen KiB. One that is alone is kept. */
	if (r->count > 1) {
		json_decref(record->result);
		record->result = NULL;
	}
}

static void tick(struct run_loop *l, uint64_t now)
{
	if (now - l->ticked < RUN_TICK_NS)
		return;
	l->ticked = now;
	for (struct run_watch *w = l->r->watches; w; w = w->next)
		if (w->tick)
			w->tick(w);
}

/* Starting */

static bool fits(const struct run_loop *l, const struct run_spec *spec)
{
	if (!l->running)
		return true;
	return !l->crowded && l->running < l->room &&
	       memory_of(spec) <= l->r->budget.memory - l->memory &&
	       l->cpus + spec->cpus <= l->cpus_max;
}

/* There is one: fits() said so. */
static struct job *free_place(struct run_loop *l)
{
	unsigned int i = 0;

	while (l->jobs[i].record) {
		i++;
		bug_on(i == l->room);
	}
	return &l->jobs[i];
}

static bool passing(int ret)
{
	return ret == -EAGAIN || ret == -ENOMEM || ret == -EMFILE || ret == -ENFILE;
}

static void start_next(struct run_loop *l)
{
	struct run_record *record = &l->r->records[l->next];
	struct err err;
	int ret = job_start(free_place(l), record, l->r->program, &l->old_mask, &err);

	/* Too many processes or files: fewer will do. */
	if (passing(ret) && l->running) {
		l->crowded = true;
		return;
	}
	l->next++;
	if (ret) {
		record->status = 125;
		record_say(record, RUN_ERROR, "host", "%s", err.text);
		settle(l, record);
		return;
	}
	l->running++;
	l->memory += memory_of(record->spec);
	l->cpus += record->spec->cpus;
	for (struct run_watch *w = l->r->watches; w; w = w->next)
		if (w->begun)
			w->begun(w, record);
}

/* Ending */

static void stop_all(struct run_loop *l, enum job_stop why, uint64_t grace)
{
	l->stopping = true;
	for (unsigned int i = 0; i < l->room; i++)
		if (l->jobs[i].record)
			job_stop(&l->jobs[i], why, grace);
}

static void end_job(struct run_loop *l, struct job *job)
{
	struct run_record *record = job->record;

	job_end(job, l->r->watches);
	l->running--;
	l->memory -= memory_of(record->spec);
	l->cpus -= record->spec->cpus;
	l->crowded = false;
	settle(l, record);
	if (l->r->fail_fast && !l->stopping && record->state != RUN_PASSED)
		stop_all(l, STOP_FAILURE, GRACE);
}

static void take_signals(struct run_loop *l)
{
	struct signalfd_siginfo si;

	while (read(l->signals, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		stop_all(l, STOP_SIGNAL, l->r->signal ? 0 : GRACE);
		if (!l->r->signal)
			l->r->signal = (int)si.ssi_signo;
	}
}

/* What is due by the clock; returns when the next of it is. */
static uint64_t keep_limits(struct run_loop *l, uint64_t now)
{
	uint64_t due = l->ticked + RUN_TICK_NS;

	for (unsigned int i = 0; i < l->room; i++) {
		struct job *job = &l->jobs[i];
		uint64_t limit;

		if (!job->record)
			continue;
		limit = job->record->spec->limit_ns;
		if (job->kill_at && now >= job->kill_at)
			job_stop(job, job->stop, 0);
		else if (limit && job->stop == STOP_NONE && now - job->record->started >= limit)
			job_stop(job, STOP_LIMIT, GRACE);
	}
	return due;
}

/* Polling */

static void watch(struct run_loop *l)
{
	l->fds[0] = (struct pollfd){.fd = l->signals, .events = POLLIN};
	for (unsigned int i = 0; i < l->room; i++) {
		const struct job *job = &l->jobs[i];
		struct pollfd *fds = &l->fds[1 + FDS_OF_A_JOB * (size_t)i];
		const bool there = job->record;

		fds[0] = (struct pollfd){.fd = there ? job->pidfd : -1, .events = POLLIN};
		fds[1] = (struct pollfd){.fd = there ? job->out : -1, .events = POLLIN};
		fds[2] = (struct pollfd){.fd = there ? job->err : -1, .events = POLLIN};
	}
}

static void take_events(struct run_loop *l)
{
	if (l->fds[0].revents)
		take_signals(l);
	for (unsigned int i = 0; i < l->room; i++) {
		struct job *job = &l->jobs[i];
		const struct pollfd *fds = &l->fds[1 + FDS_OF_A_JOB * (size_t)i];

		if (!job->record)
			continue;
		if (fds[1].revents)
			job_read(job, &job->out, l->r->watches);
		if (fds[2].revents)
			job_read(job, &job->err, l->r->watches);
		if (fds[0].revents)
			end_job(l, job);
	}
}

static void turn(struct run_loop *l)
{
	uint64_t now, due;
	struct timespec left;

	while (!l->stopping && l->next < l->r->count && fits(l, l->r->records[l->next].spec)) {
		start_next(l);
		if (l->crowded)
			break;
	}
	now = clock_now();
	tick(l, now);
	due = keep_limits(l, now);
	left = clock_timespec(due > now ? due - now : 0);
	watch(l);
	if (ppoll(l->fds, 1 + FDS_OF_A_JOB * (nfds_t)l->room, &left, NULL) > 0)
		take_events(l);
}

/* The beginning and the end */

/* As many runs at a time as there is work, leave and room for. Each has a processor at least. */
static unsigned int choose_room(const struct runner *r)
{
	unsigned int room = MIN(MAX(r->budget.cpus, r->jobs), RUNNER_JOBS_MAX);
	struct rlimit files;

	if (r->jobs)
		room = MIN(room, r->jobs);
	room = MAX(MIN(room, r->count), 1u);
	if (getrlimit(RLIMIT_NOFILE, &files))
		return room;
	if (files.rlim_cur < FDS_SPARE + 4 * (rlim_t)room) {
		files.rlim_cur = MIN(files.rlim_max, FDS_SPARE + 4 * (rlim_t)room);
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (files.rlim_cur < FDS_SPARE + 4 * (rlim_t)room)
		room = files.rlim_cur > FDS_SPARE ? (unsigned int)(files.rlim_cur - FDS_SPARE) / 4
						  : 1;
	return MAX(room, 1u);
}

static int open_signals(struct run_loop *l, struct err *err)
{
	static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		sigaddset(&set, ends[i]);
	pthread_sigmask(SIG_BLOCK, &set, &l->old_mask);
	l->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return l->signals < 0 ? err_sys(err, errno, "signals") : 0;
}

static void skip_rest(struct run_loop *l)
{
	struct runner *r = l->r;

	for (; l->next < r->count; l->next++) {
		struct run_record *record = &r->records[l->next];

		record_say(record, RUN_SKIPPED, "skipped", "was not started, as %s",
			   r->signal ? "skep was told to end" : "another run had failed");
		settle(l, record);
	}
}

static int status_of(const struct runner *r)
{
	if (r->signal)
		return 128 + r->signal;
	for (unsigned int i = 0; i < r->count; i++) {
		const struct run_record *record = &r->records[i];

		/* One that contradicts itself, or was silent, may have ended with 0. */
		if (record->state == RUN_FAILED || record->state == RUN_ERROR)
			return record->status ? record->status : 125;
	}
	return 0;
}

static void run_all(struct run_loop *l)
{
	struct runner *r = l->r;

	for (unsigned int i = 0; i < r->count; i++)
		r->records[i].spec = &r->specs[i];
	while (l->running || (!l->stopping && l->next < r->count))
		turn(l);
	skip_rest(l);
	for (struct run_watch *w = r->watches; w; w = w->next)
		if (w->finished)
			w->finished(w, r);
}

int runner_run(struct runner *r, struct err *err)
{
	struct run_loop l = {.r = r, .room = choose_room(r), .signals = -1};
	int ret;

	l.cpus_max = MAX(r->budget.cpus, r->jobs);
	memset(r->states, 0, sizeof(r->states));
	r->signal = 0;
	r->records = calloc(MAX(r->count, 1u), sizeof(*r->records));
	l.jobs = calloc(l.room, sizeof(*l.jobs));
	l.fds = calloc(1 + FDS_OF_A_JOB * (size_t)l.room, sizeof(*l.fds));
	if (!r->records || !l.jobs || !l.fds) {
		ret = err_sys(err, ENOMEM, "%u runs", r->count);
		goto out;
	}
	ret = open_signals(&l, err);
	if (!ret) {
		run_all(&l);
		ret = status_of(r);
	}
	pthread_sigmask(SIG_SETMASK, &l.old_mask, NULL);
	close(l.signals);
out:
	free(l.jobs);
	free(l.fds);
	return ret;
}

void runner_free(struct runner *r)
{
	for (unsigned int i = 0; r->records && i < r->count; i++) {
		free(r->records[i].console);
		free(r->records[i].messages);
		json_decref(r->records[i].result);
	}
	free(r->records);
	r->records = NULL;
}
