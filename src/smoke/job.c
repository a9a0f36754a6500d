/* SPDX-License-Identifier: BSD-2-Clause */
#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/text.h"

/* What the verdict of one run may come to; a post-mortem is in it. */
#define RESULT_MAX MIB(16)

static int add_actions(posix_spawn_file_actions_t *fa, int out, int err, int result)
{
	int ret = posix_spawn_file_actions_addopen(fa, STDIN_FILENO, "/dev/null", O_RDONLY, 0);

	if (!ret)
		ret = posix_spawn_file_actions_adddup2(fa, out, STDOUT_FILENO);
	if (!ret)
		ret = posix_spawn_file_actions_adddup2(fa, err, STDERR_FILENO);
	/* Onto itself: it stays open there. */
	if (!ret)
		ret = posix_spawn_file_actions_adddup2(fa, result, result);
	return ret;
}

static int set_attributes(posix_spawnattr_t *attr, const sigset_t *mask)
{
	sigset_t defaults;

	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE);
	posix_spawnattr_setsigmask(attr, mask);
	posix_spawnattr_setsigdefault(attr, &defaults);
	posix_spawnattr_setpgroup(attr, 0);
	return posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
						      POSIX_SPAWN_SETPGROUP);
}

/* Returns an errno, as the functions of its family do. */
static int spawn(pid_t *pid, const char *program, char *const *argv, const sigset_t *mask, int out,
		 int err, int result)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	int ret = posix_spawn_file_actions_init(&fa);

	if (ret)
		return ret;
	ret = posix_spawnattr_init(&attr);
	if (!ret) {
		ret = add_actions(&fa, out, err, result);
		if (!ret)
			ret = set_attributes(&attr, mask);
		if (!ret)
			ret = posix_spawn(pid, program, &fa, &attr, argv, environ);
		posix_spawnattr_destroy(&attr);
	}
	posix_spawn_file_actions_destroy(&fa);
	return ret;
}

/* With the words of @argv, and those that say where the verdict is to go. */
static int start_process(struct job *job, const char *program, char *const *argv,
			 const sigset_t *mask, int out, int err)
{
	char path[32], option[] = "--result";
	size_t n = 0;
	char **all;
	int ret;

	while (argv[n])
		n++;
	all = calloc(n + 3, sizeof(*all));
	if (!all)
		return ENOMEM;
	memcpy(all, argv, n * sizeof(*all));
	all[n] = option;
	all[n + 1] = path;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", job->result);
	ret = spawn(&job->pid, program, all, mask, out, err, job->result);
	free(all);
	if (ret)
		return ret;
	job->pidfd = pidfd_open(job->pid, 0);
	if (job->pidfd >= 0)
		return 0;
	ret = errno;
	kill(job->pid, SIGKILL);
	waitpid(job->pid, NULL, 0);
	return ret;
}

static void job_close(struct job *job)
{
	int *const fds[] = {&job->pidfd, &job->out, &job->err, &job->result};

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
	job->record = NULL;
}

/* A pipe of which the runner reads one end without waiting. */
static int open_pipe(int *mine, int *theirs)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC))
		return errno;
	*mine = fds[0];
	*theirs = fds[1];
	return fcntl(fds[0], F_SETFL, O_NONBLOCK) ? errno : 0;
}

static int open_streams(struct job *job, int *out, int *err)
{
	int ret = open_pipe(&job->out, out);

	if (!ret)
		ret = open_pipe(&job->err, err);
	if (!ret) {
		job->result = memfd_create("skep-result", MFD_CLOEXEC);
		ret = job->result < 0 ? errno : 0;
	}
	return ret;
}

int job_start(struct job *job, struct run_record *record, const char *program, const sigset_t *mask,
	      struct err *err)
{
	int out = -1, errors = -1;
	int ret;

	*job = (struct job){.record = record, .pidfd = -1, .out = -1, .err = -1, .result = -1};
	record->console = calloc(1, sizeof(*record->console));
	record->messages = calloc(1, sizeof(*record->messages));
	ret = record->console && record->messages ? open_streams(job, &out, &errors) : ENOMEM;
	if (!ret)
		ret = start_process(job, program, record->spec->argv, mask, out, errors);
	if (out >= 0)
		close(out);
	if (errors >= 0)
		close(errors);
	if (!ret) {
		record->state = RUN_RUNNING;
		record->started = clock_now();
		record->wall = time(NULL);
		return 0;
	}
	free(record->console);
	free(record->messages);
	record->console = record->messages = NULL;
	job_close(job);
	return err_sys(err, ret, "cannot start %s", program);
}

/* Streams */

static void tail_add(struct run_tail *tail, const uint8_t *data, size_t len)
{
	if (len > RUN_TAIL_MAX) {
		tail->total += len - RUN_TAIL_MAX;
		data += len - RUN_TAIL_MAX;
		len = RUN_TAIL_MAX;
	}
	while (len) {
		const size_t at = tail->total % RUN_TAIL_MAX;
		const size_t n = MIN(len, RUN_TAIL_MAX - at);

		memcpy(tail->ring + at, data, n);
		tail->total += n;
		data += n;
		len -= n;
	}
}

size_t run_tail_bytes(const struct run_tail *tail, uint8_t bytes[RUN_TAIL_MAX])
{
	const size_t at = tail->total % RUN_TAIL_MAX;

	if (tail->total <= RUN_TAIL_MAX) {
		memcpy(bytes, tail->ring, tail->total);
		return tail->total;
	}
	memcpy(bytes, tail->ring + at, RUN_TAIL_MAX - at);
	memcpy(bytes + RUN_TAIL_MAX - at, tail->ring, at);
	return RUN_TAIL_MAX;
}

bool job_read(struct job *job, int *fd, struct run_watch *watches)
{
	const bool console = fd == &job->out;
	struct run_record *r = job->record;
	uint8_t data[16384];
	ssize_t n;

	do {
		n = *fd < 0 ? 0 : read(*fd, data, sizeof(data));
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0) {
		if (*fd >= 0)
			close(*fd);
		*fd = -1;
		return false;
	}
	tail_add(console ? r->console : r->messages, data, (size_t)n);
	for (struct run_watch *w = watches; w; w = w->next) {
		if (console && w->console)
			w->console(w, r, data, (size_t)n);
		if (!console && w->message)
			w->message(w, r, data, (size_t)n);
	}
	return true;
}

void job_stop(struct job *job, enum job_stop why, uint64_t grace)
{
	if (job->stop == STOP_NONE)
		job->stop = why;
	job->kill_at = grace ? clock_now() + grace : 0;
	pidfd_send_signal(job->pidfd, grace ? SIGTERM : SIGKILL, NULL, 0);
}

/* Judgement */

/* One line of @text that neither a terminal nor a report is garbled with. */
static void safe_line(char *out, size_t room, const char *text)
{
	text_safe(out, room, text, strlen(text), false, NULL);
	for (char *p = out; *p; p++)
		if (*p == '\n' || *p == '\t')
			*p = ' ';
}

void record_say(struct run_record *r, enum run_state state, const char *verdict, const char *fmt,
		...)
{
	char reason[sizeof(r->reason)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	r->state = state;
	safe_line(r->verdict, sizeof(r->verdict), verdict);
	safe_line(r->reason, sizeof(r->reason), reason);
}

/* The object that the run left, or NULL. */
static json_t *read_result(int fd)
{
	const off_t size = lseek(fd, 0, SEEK_END);
	json_t *o = NULL;
	char *text;

	if (size <= 0 || size > (off_t)RESULT_MAX)
		return NULL;
	text = malloc((size_t)size);
	if (text && pread(fd, text, (size_t)size, 0) == size)
		o = json_loadb(text, (size_t)size, JSON_REJECT_DUPLICATES, NULL);
	free(text);
	if (o && !json_is_object(o)) {
		json_decref(o);
		o = NULL;
	}
	return o;
}

/*
 * It was refused before it had anywhere to say so but on standard error: what it said there last,
 * without "skep: "; false when it said nothing.
 */
static bool refusal(const struct run_record *r, char *line, size_t room)
{
	uint8_t bytes[RUN_TAIL_MAX];
	size_t end = run_tail_bytes(r->messages, bytes), from;

	while (end && bytes[end - 1] == '\n')
		end--;
	for (from = end; from && bytes[from - 1] != '\n'; from--)
		;
	if (end - from > 6 && !memcmp(bytes + from, "skep: ", 6))
		from += 6;
	snprintf(line, room, "%.*s", (int)(end - from), (const char *)bytes + from);
	return end > from;
}

/* The run ended by itself with @status: it has to have said the same. */
static void judge_status(struct run_record *r, int status)
{
	const char *verdict = json_string_value(json_object_get(r->result, "verdict"));
	const char *reason = json_string_value(json_object_get(r->result, "reason"));
	const json_t *said = json_object_get(r->result, "status");
	char line[sizeof(r->reason)];

	r->status = status;
	if (!r->result && (status == 125 || status == 126) && refusal(r, line, sizeof(line))) {
		record_say(r, RUN_ERROR, "refused", "%s", line);
		return;
	}
	if (!r->result || !verdict || !json_is_integer(said)) {
		record_say(r, RUN_ERROR, "silent", "ended with status %d, but gave no verdict",
			   status);
		return;
	}
	if (json_integer_value(said) != status) {
		record_say(r, RUN_ERROR, "contradicts-itself",
			   "ended with status %d, but its verdict says %lld", status,
			   (long long)json_integer_value(said));
		return;
	}
	record_say(r,
		   status == 0     ? RUN_PASSED
		   : status <= 124 ? RUN_FAILED
				   : RUN_ERROR,
		   verdict, "%s", reason ? reason : verdict);
}

static void judge_stopped(struct job *job)
{
	struct run_record *r = job->record;

	switch (job->stop) {
	case STOP_NONE:
		break;
	case STOP_SIGNAL:
		record_say(r, RUN_STOPPED, "stopped", "was ended, as skep was told to end");
		break;
	case STOP_FAILURE:
		record_say(r, RUN_STOPPED, "stopped", "was ended, as another run had failed");
		break;
	case STOP_LIMIT:
		record_say(r, RUN_ERROR, "overdue",
			   "did not end by itself within %.0f s, and was killed",
			   (double)r->spec->limit_ns / (double)NS_PER_S);
		break;
	}
}

static void judge(struct job *job, const siginfo_t *end)
{
	struct run_record *r = job->record;
	const bool exited = end->si_code == CLD_EXITED;

	r->result = read_result(job->result);
	if (exited && !(job->stop != STOP_NONE && end->si_status == 128 + SIGTERM)) {
		judge_status(r, end->si_status);
		return;
	}
	r->status = exited ? end->si_status : 128 + end->si_status;
	if (job->stop != STOP_NONE) {
		judge_stopped(job);
		return;
	}
	record_say(r, RUN_ERROR, "killed", "skep itself died of signal %d (SIG%s)%s",
		   end->si_status,
		   sigabbrev_np(end->si_status) ? sigabbrev_np(end->si_status) : "?",
		   end->si_code == CLD_DUMPED ? ", and left a core file" : "");
}

void job_end(struct job *job, struct run_watch *watches)
{
	struct run_record *r = job->record;
	siginfo_t end = {0};

	/* What else holds the pipes may write for ever: what fits into one is what was left. */
	for (unsigned int i = 0; i < 64 && job_read(job, &job->out, watches); i++)
		;
	for (unsigned int i = 0; i < 64 && job_read(job, &job->err, watches); i++)
		;
	r->ended = clock_now();
	if (waitid(P_PIDFD, (id_t)job->pidfd, &end, WEXITED))
		end = (siginfo_t){.si_code = CLD_KILLED};
	judge(job, &end);
	if (r->state == RUN_PASSED) {
		free(r->console);
		free(r->messages);
		r->console = r->messages = NULL;
	}
	job_close(job);
}
