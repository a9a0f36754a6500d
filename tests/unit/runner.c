/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Many runs, whose programs are shell scripts that end in every way there is. The script gets
 * "--result FILE" as $1 and $2.
 */
#include "skep/runner.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "support/cm.h"

#define RUNS_MAX 64
/* What a script says when it has passed. */
#define SAYS(status)                                                                            \
	"printf '{\"verdict\": \"code\", \"status\": %d, \"reason\": \"it said so\"}' " #status \
	" >$2\n"

struct fixture {
	struct run_watch watch;
	struct runner runner;
	struct run_spec specs[RUNS_MAX];
	char *argv[RUNS_MAX][5];
	char names[RUNS_MAX][16];
	unsigned int under_way, most, begun, ended, finished;
	unsigned int order[RUNS_MAX];
	unsigned int cpus, most_cpus;
	size_t console, messages;
	int stop_at; /* a signal to send to ourselves when the first run says something */
};

static unsigned int index_of(const struct fixture *f, const struct run_record *r)
{
	return (unsigned int)(r->spec - f->specs);
}

static void on_begun(struct run_watch *w, const struct run_record *r)
{
	struct fixture *f = container_of(w, struct fixture, watch);

	f->order[f->begun++] = index_of(f, r);
	f->under_way++;
	f->most = MAX(f->most, f->under_way);
	f->cpus += r->spec->cpus;
	f->most_cpus = MAX(f->most_cpus, f->cpus);
	assert_int_equal(r->state, RUN_RUNNING);
}

static void on_console(struct run_watch *w, const struct run_record *r, const uint8_t *data,
		       size_t len)
{
	struct fixture *f = container_of(w, struct fixture, watch);

	(void)r;
	(void)data;
	f->console += len;
	if (f->stop_at)
		kill(getpid(), f->stop_at);
}

static void on_message(struct run_watch *w, const struct run_record *r, const uint8_t *data,
		       size_t len)
{
	struct fixture *f = container_of(w, struct fixture, watch);

	(void)r;
	(void)data;
	f->messages += len;
}

static void on_ended(struct run_watch *w, const struct run_record *r)
{
	struct fixture *f = container_of(w, struct fixture, watch);

	f->ended++;
	if (r->state == RUN_SKIPPED || !r->started)
		return;
	f->under_way--;
	f->cpus -= r->spec->cpus;
}

static void on_finished(struct run_watch *w, const struct runner *r)
{
	struct fixture *f = container_of(w, struct fixture, watch);

	assert_ptr_equal(r, &f->runner);
	f->finished++;
}

static struct fixture *new_fixture(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->watch = (struct run_watch){
		.begun = on_begun,
		.console = on_console,
		.message = on_message,
		.ended = on_ended,
		.finished = on_finished,
	};
	f->runner = (struct runner){
		.program = "/bin/sh",
		.specs = f->specs,
		.budget = {.memory = GIB(1), .cpus = 2},
		.watches = &f->watch,
	};
	return f;
}

static struct run_spec *add(struct fixture *f, const char *script)
{
	static char sh[] = "sh", c[] = "-c";
	const unsigned int n = f->runner.count++;
	struct run_spec *spec = &f->specs[n];

	assert_true(n < RUNS_MAX);
	snprintf(f->names[n], sizeof(f->names[n]), "run=%u", n);
	f->argv[n][0] = sh;
	f->argv[n][1] = c;
	f->argv[n][2] = strdup(script);
	f->argv[n][3] = sh; /* $0 */
	spec->name = f->names[n];
	spec->argv = f->argv[n];
	spec->memory = MIB(16);
	spec->cpus = 1;
	return spec;
}

static int run(struct fixture *f)
{
	struct err err = {""};
	int status = runner_run(&f->runner, &err);

	if (status < 0)
		fail_msg("%s", err.text);
	assert_int_equal(f->under_way, 0);
	assert_int_equal(f->ended, f->runner.count);
	assert_int_equal(f->finished, 1);
	return status;
}

static void free_fixture(struct fixture *f)
{
	for (unsigned int i = 0; i < f->runner.count; i++)
		free(f->argv[i][2]);
	runner_free(&f->runner);
	free(f);
}

/* Every way in which one run can end, and what is made of it. */
static void every_end_is_told_as_what_it_is(void **state)
{
	static const struct {
		const char *script;
		enum run_state state;
		int status;
		const char *verdict, *reason;
	} cases[] = {
		{SAYS(0), RUN_PASSED, 0, "code", "it said so"},
		{SAYS(7) "exit 7", RUN_FAILED, 7, "code", "it said so"},
		{SAYS(124) "exit 124", RUN_FAILED, 124, "code", "it said so"},
		{SAYS(125) "exit 125", RUN_ERROR, 125, "code", "it said so"},
		{SAYS(126) "exit 126", RUN_ERROR, 126, "code", "it said so"},
		{"true", RUN_ERROR, 0, "silent", "ended with status 0, but gave no verdict"},
		{"echo first >&2; echo 'skep: cannot do it' >&2; exit 125", RUN_ERROR, 125,
		 "refused", "cannot do it"},
		{"exit 126", RUN_ERROR, 126, "silent", "ended with status 126, but"},
		{"echo 'skep: fine' >&2; exit 0", RUN_ERROR, 0, "silent", "ended with status 0"},
		{"exit 3", RUN_ERROR, 3, "silent", "ended with status 3, but gave no verdict"},
		{"echo '{' >$2", RUN_ERROR, 0, "silent",
		 "ended with status 0, but gave no verdict"},
		{"echo '[]' >$2", RUN_ERROR, 0, "silent", "gave no verdict"},
		{"echo '{\"status\": 0}' >$2", RUN_ERROR, 0, "silent", "gave no verdict"},
		{"echo '{\"status\": \"0\", \"verdict\": \"code\"}' >$2", RUN_ERROR, 0, "silent",
		 "gave no verdict"},
		{SAYS(0) "printf x >>$2", RUN_ERROR, 0, "silent", "gave no verdict"},
		{"printf '\\0\\377' >$2", RUN_ERROR, 0, "silent", "gave no verdict"},
		{SAYS(0) "exit 9", RUN_ERROR, 9, "contradicts-itself",
		 "ended with status 9, but its verdict says 0"},
		{SAYS(9) "exit 0", RUN_ERROR, 0, "contradicts-itself",
		 "ended with status 0, but its verdict says 9"},
		{SAYS(0) "kill -9 $$", RUN_ERROR, 137, "killed",
		 "skep itself died of signal 9 (SIGKILL)"},
		{SAYS(0) "kill -TERM $$", RUN_ERROR, 143, "killed", "signal 15 (SIGTERM)"},
		{"ulimit -c 0; kill -SEGV $$", RUN_ERROR, 139, "killed", "signal 11 (SIGSEGV)"},
		{"printf '{\"verdict\": \"a\\\\nb\\\\u001b[2J\", \"status\": 1}' >$2; exit 1",
		 RUN_FAILED, 1, "a b\\x1b[2J", "a b\\x1b[2J"},
		{"exec 2>&- >&-; " SAYS(0), RUN_PASSED, 0, "code", "it said so"},
	};
	struct fixture *f = new_fixture();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		add(f, cases[i].script);
	assert_int_equal(run(f), 7);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct run_record *r = &f->runner.records[i];

		if (r->state != cases[i].state || r->status != cases[i].status ||
		    strcmp(r->verdict, cases[i].verdict) || !strstr(r->reason, cases[i].reason))
			fail_msg("%s: %s, %d, %s: %s", cases[i].script, run_state_word(r->state),
				 r->status, r->verdict, r->reason);
		assert_true(r->started && r->ended >= r->started);
		assert_true(r->state == RUN_PASSED ? !r->console : !!r->console);
	}
	assert_int_equal(f->runner.states[RUN_PASSED], 2);
	assert_int_equal(f->runner.states[RUN_FAILED], 3);
	free_fixture(f);
}

/* A silent run that ends with 0 is none of a matrix that has passed. */
static void nothing_but_passes_is_a_pass(void **state)
{
	struct fixture *f = new_fixture();

	(void)state;
	add(f, SAYS(0));
	add(f, "true");
	assert_int_equal(run(f), 125);
	free_fixture(f);
	f = new_fixture();
	add(f, SAYS(0));
	add(f, SAYS(0));
	assert_int_equal(run(f), 0);
	free_fixture(f);
}

static void streams_are_kept_apart_and_their_ends_kept(void **state)
{
	uint8_t tail[RUN_TAIL_MAX];
	struct fixture *f = new_fixture();
	size_t n;

	(void)state;
	/* More than a pipe holds, and the end of it. */
	add(f, "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; "
	       "i=$((i + 1)); done; echo the last; echo oops >&2; exit 1");
	assert_int_equal(run(f), 1);
	assert_int_equal(f->console, 3000 * 41 + 9);
	assert_int_equal(f->messages, 5);
	assert_int_equal(f->runner.records[0].console->total, 3000 * 41 + 9);
	n = run_tail_bytes(f->runner.records[0].console, tail);
	assert_int_equal(n, RUN_TAIL_MAX);
	assert_memory_equal(tail + n - 13, "789\nthe last\n", 13);
	n = run_tail_bytes(f->runner.records[0].messages, tail);
	assert_int_equal(n, 5);
	assert_memory_equal(tail, "oops\n", 5);
	free_fixture(f);
}

/* One that waits for another would not end if they came one by one. */
static void runs_wait_for_nobody(void **state)
{
	char dir[] = "/tmp/runner-XXXXXX", script[256];
	struct fixture *f = new_fixture();

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(script, sizeof(script), "until [ -e %s/x ]; do sleep 0.01; done; rm %s/x; %s", dir,
		 dir, SAYS(0));
	add(f, script)->limit_ns = 60 * NS_PER_S;
	snprintf(script, sizeof(script), "touch %s/x; %s", dir, SAYS(0));
	add(f, script);
	assert_int_equal(run(f), 0);
	assert_int_equal(rmdir(dir), 0);
	free_fixture(f);
}

static void runs_are_side_by_side_as_far_as_they_fit(void **state)
{
	struct fixture *f = new_fixture();

	(void)state;
	for (unsigned int i = 0; i < 12; i++)
		add(f, SAYS(0))->cpus = 1 + i % 2;
	f->runner.jobs = 3;
	assert_int_equal(run(f), 0);
	assert_true(f->most <= 3 && f->most_cpus <= 3);
	for (unsigned int i = 0; i < 12; i++)
		assert_int_equal(f->order[i], i);
	free_fixture(f);

	/* No more vCPUs than processors when nobody says so; alone what has more than there are. */
	f = new_fixture();
	for (unsigned int i = 0; i < 4; i++)
		add(f, SAYS(0))->cpus = 1 + 3 * (i % 2);
	assert_int_equal(run(f), 0);
	assert_int_equal(f->most_cpus, 4);
	assert_int_equal(f->most, 1);
	free_fixture(f);

	/* Memory for two, whatever --jobs says. */
	f = new_fixture();
	for (unsigned int i = 0; i < 8; i++)
		add(f, SAYS(0))->memory = MIB(400);
	f->runner.jobs = 8;
	assert_int_equal(run(f), 0);
	assert_true(f->most <= 2);
	free_fixture(f);
}

static void what_could_never_fit_is_refused(void **state)
{
	struct fixture *f = new_fixture();
	struct err err;

	(void)state;
	add(f, SAYS(0));
	assert_int_equal(runner_check(&f->runner, &err), 0);
	add(f, SAYS(0))->memory = GIB(2);
	assert_int_equal(runner_check(&f->runner, &err), -E2BIG);
	assert_string_equal(err.text, "run=1 needs 2.016 GiB of memory, and of this host's only "
				      "1 GiB can be had");
	free_fixture(f);
}

static void the_first_failure_may_end_everything(void **state)
{
	struct fixture *f = new_fixture();

	(void)state;
	add(f, "exec sleep 600");
	add(f, SAYS(5) "exit 5");
	add(f, SAYS(0));
	f->runner.fail_fast = true;
	assert_int_equal(run(f), 5);
	assert_int_equal(f->runner.records[0].state, RUN_STOPPED);
	assert_string_equal(f->runner.records[0].reason, "was ended, as another run had failed");
	assert_int_equal(f->runner.records[1].state, RUN_FAILED);
	assert_int_equal(f->runner.records[2].state, RUN_SKIPPED);
	assert_int_equal(f->begun, 2);
	free_fixture(f);
}

static void a_signal_ends_everything(void **state)
{
	struct fixture *f = new_fixture();

	(void)state;
	/* One that ends with 128+15 and says so, as skep does. */
	add(f, "trap '"
	       "printf \"{\\\"verdict\\\": \\\"signal\\\", \\\"status\\\": 143}\" >$2; "
	       "exit 143' TERM; echo here; while :; do sleep 0.05; done");
	add(f, "exec sleep 600");
	add(f, SAYS(0));
	f->stop_at = SIGINT;
	assert_int_equal(run(f), 130);
	assert_int_equal(f->runner.signal, SIGINT);
	assert_int_equal(f->runner.records[0].state, RUN_STOPPED);
	assert_string_equal(f->runner.records[0].reason, "was ended, as skep was told to end");
	assert_int_equal(f->runner.records[1].state, RUN_STOPPED);
	assert_int_equal(f->runner.records[2].state, RUN_SKIPPED);
	free_fixture(f);
}

static void what_does_not_end_is_ended(void **state)
{
	struct fixture *f = new_fixture();

	(void)state;
	add(f, "exec sleep 600")->limit_ns = 50 * NS_PER_MS;
	add(f, SAYS(0))->limit_ns = 100 * NS_PER_S;
	assert_int_equal(run(f), 143);
	assert_int_equal(f->runner.records[0].state, RUN_ERROR);
	assert_string_equal(f->runner.records[0].verdict, "overdue");
	assert_int_equal(f->runner.records[1].state, RUN_PASSED);
	free_fixture(f);
}

/* It leaves somebody behind who has the pipes open: that is waited for by nobody. */
static void what_a_run_leaves_behind_is_not_waited_for(void **state)
{
	struct fixture *f = new_fixture();
	uint8_t tail[RUN_TAIL_MAX + 1];

	(void)state;
	add(f, "sleep 600 & echo $!; exit 3");
	assert_int_equal(run(f), 3);
	tail[run_tail_bytes(f->runner.records[0].console, tail)] = '\0';
	assert_int_equal(kill((pid_t)strtol((const char *)tail, NULL, 10), SIGKILL), 0);
	free_fixture(f);
}

static void a_program_that_is_not_there_is_told(void **state)
{
	struct fixture *f = new_fixture();

	(void)state;
	f->runner.program = "/nowhere/skep";
	add(f, "");
	assert_int_equal(run(f), 125);
	assert_int_equal(f->runner.records[0].state, RUN_ERROR);
	assert_non_null(strstr(f->runner.records[0].reason, "cannot start /nowhere/skep: No such"));
	free_fixture(f);
}

/* Budgets of hosts that are made up. */

struct host_file {
	const char *path, *text;
};

static void make_host(const char *root, const struct host_file *files, size_t count)
{
	char path[512];

	for (size_t i = 0; i < count; i++) {
		FILE *f;

		snprintf(path, sizeof(path), "%s%s", root, files[i].path);
		for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); *p++ = '/') {
			*p = '\0';
			mkdir(path, 0755);
		}
		f = fopen(path, "w");
		assert_non_null(f);
		fputs(files[i].text, f);
		fclose(f);
	}
}

static struct host_budget budget_with(const struct host_file *files, size_t count)
{
	char root[] = "/tmp/budget-XXXXXX", command[64];
	struct host_budget b;

	assert_non_null(mkdtemp(root));
	make_host(root, files, count);
	host_budget_under(&b, root, 8);
	snprintf(command, sizeof(command), "rm -r %s", root);
	assert_int_equal(system(command), 0);
	return b;
}

#define MEMINFO                                                                                 \
	{                                                                                       \
		"/proc/meminfo", "MemTotal: 99 kB\nMemFree: 5 kB\nMemAvailable:   1000000 kB\n" \
	}
#define KB(n) ((uint64_t)(n)*1024)

static void the_host_and_its_groups_set_the_budget(void **state)
{
	static const struct host_file bare[] = {MEMINFO};
	static const struct host_file two[] = {
		MEMINFO,
		{"/proc/self/cgroup", "0::/ci/job\n"},
		{"/sys/fs/cgroup/ci/memory.max", "512000000\n"},
		{"/sys/fs/cgroup/ci/memory.current", "112000000\n"},
		{"/sys/fs/cgroup/ci/memory.stat", "anon 5\ninactive_file 12000000\n"},
		{"/sys/fs/cgroup/ci/cpu.max", "250000 100000\n"},
		{"/sys/fs/cgroup/ci/job/memory.max", "max\n"},
		{"/sys/fs/cgroup/ci/job/cpu.max", "max 100000\n"},
	};
	static const struct host_file one[] = {
		MEMINFO,
		{"/proc/self/cgroup", "4:memory:/a\n2:cpu,cpuacct:/b/c\n1:name=systemd:/\n0::/\n"},
		{"/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"},
		{"/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "1000000\n"},
		{"/sys/fs/cgroup/memory/a/memory.usage_in_bytes", "2000000\n"},
		{"/sys/fs/cgroup/cpu/b/cpu.cfs_quota_us", "50000\n"},
		{"/sys/fs/cgroup/cpu/b/cpu.cfs_period_us", "100000\n"},
		{"/sys/fs/cgroup/cpu/b/c/cpu.cfs_quota_us", "-1\n"},
		{"/sys/fs/cgroup/cpu/b/c/cpu.cfs_period_us", "100000\n"},
	};
	struct host_budget b;

	(void)state;
	b = budget_with(bare, ARRAY_SIZE(bare));
	assert_int_equal(b.memory, KB(900000));
	assert_int_equal(b.cpus, 8);
	b = budget_with(two, ARRAY_SIZE(two));
	assert_int_equal(b.memory, 412000000 / 10 * 9);
	assert_int_equal(b.cpus, 3);
	b = budget_with(one, ARRAY_SIZE(one));
	assert_int_equal(b.memory, 0);
	assert_int_equal(b.cpus, 1);
	host_budget_now(&b);
	assert_true(b.memory > 0 && b.cpus > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_end_is_told_as_what_it_is),
		cmocka_unit_test(nothing_but_passes_is_a_pass),
		cmocka_unit_test(streams_are_kept_apart_and_their_ends_kept),
		cmocka_unit_test(runs_wait_for_nobody),
		cmocka_unit_test(runs_are_side_by_side_as_far_as_they_fit),
		cmocka_unit_test(what_could_never_fit_is_refused),
		cmocka_unit_test(the_first_failure_may_end_everything),
		cmocka_unit_test(a_signal_ends_everything),
		cmocka_unit_test(what_does_not_end_is_ended),
		cmocka_unit_test(what_a_run_leaves_behind_is_not_waited_for),
		cmocka_unit_test(a_program_that_is_not_there_is_told),
		cmocka_unit_test(the_host_and_its_groups_set_the_budget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
