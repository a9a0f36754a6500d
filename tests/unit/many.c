/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Many runs of skep itself, as a person starts them: whole machines, what ends them from outside,
 * and what a person gets wrong. What needs a guest is skipped where there is no usable /dev/kvm.
 */
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utmp.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/kvm.h"
#include "support/cm.h"

#define PATIENCE 6000 /* turns of 10 milliseconds */
#define VERDICT  " -m 16M -k " SKEP_IMAGES "/verdict.bz "

struct place {
	char dir[32];
	char text[1 << 20];
	size_t len;
};

static struct place *new_place(void)
{
	struct place *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	strcpy(p->dir, "/tmp/many-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	return p;
}

static void free_place(struct place *p)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -r %s", p->dir);
	assert_int_equal(system(command), 0);
	free(p);
}

static void need_kvm(void)
{
	struct err err;
	int kvm = kvm_open(&err);

	if (kvm < 0) {
		print_message("skipped: %s\n", err.text);
		skip();
	}
	close(kvm);
}

static void need(const char *program)
{
	char command[64];

	snprintf(command, sizeof(command), "command -v %s >/dev/null", program);
	if (system(command)) {
		print_message("skipped: %s is not installed\n", program);
		skip();
	}
}

/* The status of a shell command in the place's directory, in which "skep" is a word. */
static int shell(const struct place *p, const char *line)
{
	char *command;
	int status;

	assert_true(asprintf(&command, "skep() { " SKEP_PROGRAM " \"$@\"; }; cd %s && { %s\n}",
			     p->dir, line) > 0);
	fflush(stdout);
	status = system(command);
	free(command);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static const char *contents(struct place *p, const char *name)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	f = fopen(path, "r");
	if (!f)
		fail_msg("there is no %s", path);
	p->len = fread(p->text, 1, sizeof(p->text) - 1, f);
	p->text[p->len] = '\0';
	fclose(f);
	return p->text;
}

static void write_file(const struct place *p, const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static bool exists(const struct place *p, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", p->dir, name);
	return !access(path, F_OK);
}

#define assert_says(text, part)                                         \
	do {                                                            \
		if (!strstr(text, part))                                \
			fail_msg("'%s' does not say '%s'", text, part); \
	} while (0)

static void mistakes_cost_one_sentence(void **state)
{
	static const struct {
		const char *line, *sentence;
	} cases[] = {
		{"--matrix nowhere", "cannot open the matrix nowhere: No such file"},
		{"--matrix .", "cannot read the matrix .: Is a directory"},
		{"--matrix bad-line", "bad-line:3: a value of the axis a is NAME = OPTIONS"},
		{"--matrix bad-flag", "bad-flag:4: skep smoke has no option --kernl; did you mean "
				      "--kernel?"},
		{"--matrix bad-regex", "bad-regex:2: --expect"},
		{"--matrix bad-value", "bad-value:5: "},
		{"--matrix of-many", "of-many:2: an option about many runs has no place in a "
				     "matrix"},
		{"--matrix helps", "helps:2: --help has no place here"},
		{"--matrix results", "results:2: --result has no place in a matrix"},
		{"--matrix huge", "a=y needs 1.049e+06 GiB of memory, and of this host's only "},
		{"--matrix cut", "cut:2: --kernel needs a value"},
		{"--repeat 0", "--repeat: '0' is no number from 1 to 100000"},
		{"--jobs many", "--jobs: 'many' is no number from 1 to 1024"},
		{"--repeat 100000 --matrix two", "more than 100000 runs"},
		{"--fail-fast --keep-going", "opposites"},
		{"--report-all", "--report-all wants a --report DIR"},
		{"--junit x --jsonl x", "name the same file, x"},
		{"--junit nowhere/x", "cannot write the report nowhere/x: No such file"},
		{"--jsonl .", "cannot write the report .: Is a directory"},
		{"--report bad-line", "cannot write into the report folder bad-line"},
		{"--report nowhere/x", "cannot make the report folder nowhere/x"},
		{"--repeat 2 --result x", "--result is of one run"},
		{"--repeat 2 -c 0", "cpus"},
		{"--matrix long --name x", "is longer than 255 bytes, so no file can have it"},
		{"--matix x", "did you mean --matrix?"},
	};
	struct place *p = new_place();
	char line[128];

	(void)state;
	write_file(p, "bad-line", "[a]\n\nnonsense\n");
	write_file(p, "bad-flag", "[all]\n[a]\nx = -m 16M\ny = --kernl x\n");
	write_file(p, "bad-regex", "[all]\n--expect '('\n[a]\nx =\n");
	write_file(p, "bad-value", "[a]\nx =\n\n[b]\ny = -o nonsense\n");
	write_file(p, "of-many", "[a]\nx = --repeat 2\n");
	write_file(p, "helps", "[a]\nx = --help\n");
	write_file(p, "results", "[a]\nx = --result y\n");
	write_file(p, "huge", "[a]\nx =\ny = -m 1024T\n");
	write_file(p, "cut", "[a]\nx = --kernel\n[b]\ny = file\n");
	write_file(p, "long",
		   "[a123456789012345678901234567890]\nb123456789012345678901234567890 =\n"
		   "[c123456789012345678901234567890]\nd123456789012345678901234567890 =\n"
		   "[e123456789012345678901234567890]\nf123456789012345678901234567890 =\n"
		   "[g123456789012345678901234567890]\nh123456789012345678901234567890 =\n");
	write_file(p, "two", "[a]\nx =\ny =\n");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(line, sizeof(line), "skep smoke %s >out 2>err", cases[i].line);
		assert_int_equal(shell(p, line), 125);
		assert_string_equal(contents(p, "out"), "");
		assert_says(contents(p, "err"), cases[i].sentence);
		assert_ptr_equal(strchr(p->text, '\n') + 1, p->text + p->len);
	}
	free_place(p);
}

/* Every verdict that a guest can earn, side by side, and each told as what it is. */
static void every_verdict_is_its_own(void **state)
{
	static const struct {
		const char *name;
		int status;
		const char *state;
	} cases[] = {
		{"fine", 0, "passed"},    {"said", 0, "passed"},    {"silent", 100, "failed"},
		{"code", 7, "failed"},    {"panic", 101, "failed"}, {"triple", 102, "failed"},
		{"reset", 104, "failed"}, {"hang", 105, "failed"},  {"late", 124, "failed"},
		{"junk", 3, "failed"},    {"gone", 125, "error"},
	};
	struct place *p = new_place();
	unsigned int seen = 0;

	(void)state;
	need_kvm();
	need("xmllint");
	write_file(p, "m",
		   "[all]\n" VERDICT "--timeout 60\n[guest]\n"
		   "fine = -a code=0\nsaid = -a say=hello~ -e '^hel+o'\n"
		   "silent = -a code=0 -e hello\ncode = -a code=7\npanic = -a pvpanic=1\n"
		   "triple = -a triple\nreset = -a reset\nhang = -a halt\n"
		   "late = -a tick --timeout 1\njunk = -a 'junk=5000 code=3'\n"
		   "gone = -k nowhere\n");
	assert_int_equal(shell(p, "skep smoke --matrix m --jobs 4 --jsonl l --junit x --report r "
				  ">out"),
			 100);
	assert_says(contents(p, "out"), "11 runs: 2 passed, 8 failed, 1 error; ");
	contents(p, "l");
	for (char *line = p->text; *line; seen++) {
		const size_t n = strcspn(line, "\n");
		json_t *o = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
		const char *name =
			json_string_value(json_object_get(json_object_get(o, "axes"), "guest"));
		unsigned int i = 0;

		assert_non_null(name);
		while (strcmp(name, cases[i].name) != 0)
			i++;
		assert_int_equal(json_integer_value(json_object_get(o, "status")), cases[i].status);
		assert_string_equal(json_string_value(json_object_get(o, "state")), cases[i].state);
		json_decref(o);
		line += n + 1;
	}
	assert_int_equal(seen, ARRAY_SIZE(cases));
	assert_int_equal(
		shell(p, "xmllint --noout --schema " SKEP_SUPPORT_DIR "/junit.xsd x 2>err"), 0);
	assert_false(exists(p, "r/guest=fine"));
	assert_true(exists(p, "r/guest=junk/console.raw"));
	assert_true(exists(p, "r/guest=panic/state.txt"));
	assert_true(exists(p, "r/guest=gone/messages.txt"));
	/* Any of them does it again, from anywhere. */
	assert_int_equal(shell(p, "here=$PWD; cd / && $here/r/guest=code/replay.sh >$here/o 2>&1"),
			 7);
	assert_int_equal(shell(p, "r/guest=fine/replay.sh 2>/dev/null"), 127);
	free_place(p);
}

/* In the suite fewer than may be: `skep smoke --repeat 500 --jobs 64` by hand. */
static void many_demo_guests_all_pass(void **state)
{
	struct place *p = new_place();

	(void)state;
	need_kvm();
	need("prove");
	assert_int_equal(shell(p, "skep smoke --repeat 40 --jobs 8 -m 16M --tap >tap"), 0);
	assert_int_equal(shell(p, "prove -e cat tap >out"), 0);
	assert_says(contents(p, "out"), "Tests=40,");
	free_place(p);
}

static void one_run_is_shown_as_ever(void **state)
{
	struct place *p = new_place();

	(void)state;
	need_kvm();
	assert_int_equal(shell(p, "skep smoke" VERDICT "-a 'say=hello~ code=5' --junit x >out "
				  "2>err"),
			 5);
	assert_string_equal(contents(p, "out"), "hello\n");
	assert_says(contents(p, "err"), "fail (5)");
	assert_says(contents(p, "x"), "tests=\"1\" failures=\"1\"");
	assert_says(p->text, "<testcase name=\"smoke\"");
	assert_int_equal(shell(p, "skep smoke" VERDICT "-a code=4 --tap --result r --name 'a b' "
				  ">out"),
			 4);
	assert_says(contents(p, "out"), "not ok 1 - a b\n");
	assert_says(contents(p, "r"), "\"verdict\": \"code\"");
	free_place(p);
}

static void a_screen_is_part_of_a_report(void **state)
{
	struct place *p = new_place();

	(void)state;
	need_kvm();
	assert_int_equal(shell(p, "skep smoke -k " SKEP_IMAGES "/screen.bz -o "
				  "device.screen=vga_text --report r --report-all >out 2>err"),
			 0);
	assert_says(contents(p, "r/smoke/screen.txt"), "skep draws\n");
	assert_says(contents(p, "r/smoke/state.txt"), "screen (vga_text)\n");
	assert_null(strstr(contents(p, "r/smoke/result.json"), "\"screen\":"));
	free_place(p);
}

/* Files that an option names may be each run's own. */
static void runs_have_files_of_their_own(void **state)
{
	struct place *p = new_place();

	(void)state;
	need_kvm();
	write_file(
		p, "m",
		"[all]\n" VERDICT "--serial file:{run}.out\n[text]\n"
		"a = -a say=this~\nb = -a say=that~ -o 'device.com1.backend=file:x{run}{run}'\n");
	assert_int_equal(shell(p, "skep smoke --matrix m --name n --report r --report-all >out"),
			 0);
	assert_string_equal(contents(p, "n,text=a.out"), "this\n");
	assert_string_equal(contents(p, "xn,text=bn,text=b"), "that\n");
	assert_int_equal(shell(p, "rm n,text=a.out; r/n,text=a/replay.sh 2>err"), 0);
	assert_string_equal(contents(p, "n,text=a.out"), "this\n");
	free_place(p);
}

/* Ending it from outside */

/* skep with the words of @line in the place, its output in the file out. */
static pid_t start(const struct place *p, const char *line)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		char *command;

		if (chdir(p->dir) < 0 ||
		    asprintf(&command, "exec " SKEP_PROGRAM " %s >out 2>&1", line) < 0)
			_exit(200);
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(200);
	}
	return pid;
}

/* The first child of @pid; waits until it has one. */
static pid_t child_of(pid_t pid)
{
	char path[64], text[256];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)pid, (int)pid);
	for (unsigned int i = 0; i < PATIENCE; i++) {
		FILE *f = fopen(path, "r");
		size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;

		if (f)
			fclose(f);
		text[n] = '\0';
		if (n)
			return (pid_t)strtol(text, NULL, 10);
		poll(NULL, 0, 10);
	}
	fail_msg("skep starts nothing");
	return -1;
}

/* Waits until @name says @part. */
static void await(struct place *p, const char *name, const char *part)
{
	for (unsigned int i = 0; !exists(p, name) || !strstr(contents(p, name), part); i++) {
		if (i == PATIENCE)
			fail_msg("%s does not say %s", name, part);
		poll(NULL, 0, 10);
	}
}

static void a_run_that_is_killed_is_no_pass(void **state)
{
	struct place *p = new_place();
	int status;
	pid_t pid;

	(void)state;
	need_kvm();
	pid = start(p, "smoke --repeat 2 --jobs 1 --report r --jsonl l" VERDICT
		       "-a 'say=here~ tick' -e never");
	await(p, "r/smoke,repeat=1/console.log", "here");
	assert_int_equal(kill(child_of(pid), SIGKILL), 0);
	await(p, "l", "\"repeat\":1");
	assert_says(p->text, "\"state\":\"error\",\"verdict\":\"killed\",\"status\":137,\"reason\":"
			     "\"skep itself died of signal 9 (SIGKILL)\"");
	/* What it had said is there. */
	await(p, "r/smoke,repeat=2/console.log", "here");
	assert_int_equal(kill(pid, SIGTERM), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 143);
	assert_says(contents(p, "out"), "2 runs: 1 error, 1 stopped; ");
	assert_true(exists(p, "r/smoke,repeat=1/replay.sh"));
	free_place(p);
}

static void no_run_outlives_its_runner(void **state)
{
	struct place *p = new_place();
	pid_t pid, child;

	(void)state;
	need_kvm();
	pid = start(p, "smoke --repeat 2 --report r" VERDICT "-a 'say=here~ tick' -e never");
	await(p, "r/smoke,repeat=1/console.log", "here");
	child = child_of(pid);
	assert_int_equal(kill(child, 0), 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	/* Somebody else's child by now: it is gone, or waits to be buried. */
	for (unsigned int i = 0; !kill(child, 0); i++) {
		char path[64], text[256] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/stat", (int)child);
		f = fopen(path, "r");
		if (f && fgets(text, sizeof(text), f) && strstr(text, ") Z ")) {
			fclose(f);
			break;
		}
		if (f)
			fclose(f);
		assert_true(i < PATIENCE);
		poll(NULL, 0, 10);
	}
	free_place(p);
}

/* The table */

struct screen {
	int master;
	pid_t pid;
	char out[1 << 18];
	size_t len;
	int status;
};

static struct screen *on_terminal(const struct place *p, const char *line, unsigned short cols)
{
	const struct winsize size = {.ws_col = cols, .ws_row = 10};
	struct screen *s = calloc(1, sizeof(*s));
	bool ended = false;
	int slave;

	assert_non_null(s);
	assert_int_equal(openpty(&s->master, &slave, NULL, NULL, &size), 0);
	fflush(stdout);
	s->pid = fork();
	assert_true(s->pid >= 0);
	if (!s->pid) {
		close(s->master);
		if (login_tty(slave) || chdir(p->dir))
			_exit(200);
		execl("/bin/sh", "sh", "-c", line, NULL);
		_exit(200);
	}
	close(slave);
	assert_int_equal(fcntl(s->master, F_SETFL, O_NONBLOCK), 0);
	for (unsigned int i = 0; i < PATIENCE; i++) {
		ssize_t n = read(s->master, s->out + s->len, sizeof(s->out) - 1 - s->len);

		if (n > 0)
			s->len += (size_t)n;
		else if (ended)
			break;
		else if (waitpid(s->pid, &s->status, WNOHANG) == s->pid)
			ended = true;
		else
			poll(NULL, 0, 10);
	}
	assert_true(ended);
	close(s->master);
	return s;
}

static void a_terminal_has_a_table(void **state)
{
	struct place *p = new_place();
	struct screen *s;
	char *at;

	(void)state;
	need_kvm();
	write_file(p, "m",
		   "[all]\n" VERDICT "\n[guest]\nfine = -a code=0\n"
		   "late = -a 'say=\x1b[31mticking\x1b[m~ tick'\nmore = -a tick\n");
	s = on_terminal(
		p, "TERM=xterm NO_COLOR= " SKEP_PROGRAM " smoke --matrix m --jobs 3 --timeout 4",
		60);
	assert_int_equal(WEXITSTATUS(s->status), 124);
	/* While it ran: how far it was, who was under way, and what that said. */
	assert_says(s->out, " of 3 done");
	assert_says(s->out, "  guest=late  ticking\x1b[K\r\n");
	/* Those that failed stay; the table does not, and nothing else of what it did. */
	assert_says(s->out, "\x1b[31mFAILED \x1b[m  guest=late");
	assert_null(strstr(s->out, "ok     "));
	at = strstr(s->out, "3 runs: 1 passed, 2 failed; ");
	assert_non_null(at);
	assert_memory_equal(at - 3, "\x1b[J", 3);
	assert_null(strchr(at, '\x1b'));
	assert_null(strstr(s->out, "\x1b[?"));
	free(s);
	/* No colours; on a terminal that can do nothing, lines. */
	s = on_terminal(
		p, "TERM=xterm NO_COLOR=1 " SKEP_PROGRAM " smoke --matrix m --jobs 3 --timeout 1",
		20);
	assert_null(strstr(s->out, "\x1b[31m"));
	free(s);
	s = on_terminal(p, "TERM=dumb " SKEP_PROGRAM " smoke --matrix m --jobs 3 --timeout 1", 60);
	assert_null(strchr(s->out, '\x1b'));
	assert_says(s->out, "ok       guest=fine");
	free(s);
	free_place(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mistakes_cost_one_sentence),
		cmocka_unit_test(every_verdict_is_its_own),
		cmocka_unit_test(many_demo_guests_all_pass),
		cmocka_unit_test(one_run_is_shown_as_ever),
		cmocka_unit_test(a_screen_is_part_of_a_report),
		cmocka_unit_test(runs_have_files_of_their_own),
		cmocka_unit_test(a_run_that_is_killed_is_no_pass),
		cmocka_unit_test(no_run_outlives_its_runner),
		cmocka_unit_test(a_terminal_has_a_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
