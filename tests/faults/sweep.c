/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * skep_faults - runs skep on a host that fails (failing.h), once for each point at which it can.
 *
 *	skep_faults [options] -- SKEP'S ARGUMENTS
 *
 *	--how error|eintr|short   what becomes of a point (error)
 *	--lasting                 and of all behind it
 *	--no-rings                the host has no io_uring
 *	--sites K                 of the points of one place in skep, the first K only
 *	--call NAME               only calls of this name
 *	--only N                  point N alone, with all that skep said
 *	--share I/N               the points that leave I when divided by N, for runs side by side
 *	--status S                how skep ends when nothing fails (0)
 *	--says TEXT               what its output then has
 *	--or S                    another status that a failure may come to, with a message;
 *repeatable
 *	--fresh FILE              removed before each run
 *	--patience SECONDS        a run that takes longer hangs (60)
 *
 * skep runs in a child, which is forked and not executed, so that a run costs little. One with a
 * failure ends well in one of two ways: as if there had been none, with all of its output, or the
 * message that some of it was lost; or with
 * status 125, 126 or one that was given, and a message. And it never crashes, is found fault with
 *by a sanitizer, hangs, or leaves a process, a descriptor or a thread behind. With eintr only the
 * first is right.
 *
 * Prints a line for each failure that did not end well, and the count. Exit status: 0 all ended
 * well, 1 not all, 77 this host cannot run guests, 125 wrong usage.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "failing.h"
#include "skep/bits.h"
#include "skep/clock.h"

#define SANITIZED 87 /* the status that sanitizers end with */
#define LEFT_FD   88
#define LEFT_TASK 89
#define TEXT_MAX  16384U

int skep_main(int argc, char **argv);

/* Found by the sanitizers' runtimes. */
const char *__asan_default_options(void) __attribute__((visibility("default")));
const char *__ubsan_default_options(void) __attribute__((visibility("default")));
extern const char __executable_start[];

const char *__asan_default_options(void)
{
	return "exitcode=87:abort_on_error=0:detect_leaks=1";
}

const char *__ubsan_default_options(void)
{
	return "exitcode=87:print_stacktrace=1";
}

struct sweep {
	enum failing_how how;
	bool lasting;
	unsigned int sites, only, share, shares;
	int status;
	const char *says, *call;
	bool allowed[256];
	const char *fresh[8];
	unsigned int fresh_count;
	int patience;
	char **argv;
	int argc;
	struct failing_book *book;
};

struct run {
	int status; /* of waitpid() */
	bool hung, orphans;
	char out[TEXT_MAX], err[TEXT_MAX]; /* what it said, the ends cut off */
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "skep_faults: %s\n", what);
	exit(125);
}

/* 0 in skep's sandbox, which lets nothing be opened. */
static unsigned int count_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned int n = 0;

	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Other than this one, and the kernel's own for io_uring, which go when they are idle. */
static unsigned int count_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	char path[300], name[32];
	unsigned int n = 0;
	struct dirent *e;
	FILE *f;

	while (dir && (e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", e->d_name);
		f = fopen(path, "re");
		n += f && fgets(name, sizeof(name), f) && strncmp(name, "iou-", 4);
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
	return n;
}

/* Those that ended stay listed for a moment. */
static bool threads_left(void)
{
	for (unsigned int tries = 0; tries < 5000; tries++) {
		if (count_threads() <= 1)
			return false;
		usleep(1000);
	}
	return true;
}

static _Noreturn void child(const struct sweep *s, unsigned int n, const int out[2])
{
	unsigned int before;
	int status, null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (null < 0 || dup2(null, 0) < 0 || dup2(out[0], 1) < 0 || dup2(out[1], 2) < 0)
		_exit(125);
	before = count_entries("/proc/self/fd");
	failing_arm(s->how, n, s->lasting);
	status = skep_main(s->argc, s->argv);
	failing_disarm();
	fflush(stdout);
	if (threads_left())
		_exit(LEFT_TASK);
	if (count_entries("/proc/self/fd") > before)
		_exit(LEFT_FD);
	exit(status);
}

static void fetch(int fd, char text[TEXT_MAX])
{
	ssize_t n = pread(fd, text, TEXT_MAX - 1, 0);

	text[n > 0 ? n : 0] = '\0';
}

static void run(const struct sweep *s, unsigned int n, struct run *r)
{
	int out[2] = {memfd_create("out", MFD_CLOEXEC), memfd_create("err", MFD_CLOEXEC)};
	struct pollfd p = {.events = POLLIN};
	pid_t pid;

	for (unsigned int i = 0; i < s->fresh_count; i++)
		unlink(s->fresh[i]);
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		child(s, n, out);
	p.fd = pid < 0 ? -1 : pidfd_open(pid, 0);
	if (p.fd < 0 || out[0] < 0 || out[1] < 0)
		die("no child");
	r->hung = poll(&p, 1, s->patience * 1000) != 1;
	if (r->hung)
		kill(-pid, SIGKILL);
	close(p.fd);
	waitpid(pid, &r->status, 0);
	r->orphans = !kill(-pid, SIGKILL);
	while (r->orphans && waitpid(-1, NULL, 0) > 0)
		;
	fetch(out[0], r->out);
	fetch(out[1], r->err);
	close(out[0]);
	close(out[1]);
}

/* As if nothing had failed. */
static bool is_whole(const struct sweep *s, const struct run *r)
{
	return WIFEXITED(r->status) && WEXITSTATUS(r->status) == s->status &&
	       (!s->says || strstr(r->out, s->says));
}

/* What is wrong with how a run ended; NULL: nothing. */
static const char *judge(const struct sweep *s, const struct run *r, char text[128])
{
	int status = WEXITSTATUS(r->status);

	if (r->hung)
		return "it hangs";
	if (WIFSIGNALED(r->status)) {
		snprintf(text, 128, "ended by signal %d", WTERMSIG(r->status));
		return text;
	}
	if (r->orphans)
		return "a process is left";
	if (status == SANITIZED)
		return "a sanitizer's complaint";
	if (status == LEFT_FD)
		return "a descriptor is left open";
	if (status == LEFT_TASK)
		return "a thread is left";
	if (is_whole(s, r))
		return NULL;
	/* A console that cannot be written costs its output, and not the guest. */
	if (status == s->status)
		return strstr(r->err, " were lost") ? NULL : "success without its output";
	snprintf(text, 128, "status %d", status);
	if (s->how == FAILING_EINTR || !s->allowed[status])
		return text;
	return strstr(r->err, "skep: ") ? NULL : "no message";
}

static void show(const struct sweep *s, unsigned int n, const struct run *r, const char *wrong)
{
	const struct failing_point *p = &s->book->failed;

	printf("%s %u: %s", wrong ? "not ok" : "ok", n,
	       atomic_load(&s->book->fired) ? p->call : "nothing failed");
	if (p->what)
		printf(" %#lx", p->what);
	if (atomic_load(&s->book->fired))
		printf(" at %#lx", (unsigned long)(p->from - (uintptr_t)__executable_start));
	printf(": %s\n%s", wrong ? wrong : "ended well", r->err);
	if (s->only)
		printf("%s\nstatus %#x\n", r->out, (unsigned int)r->status);
}

/* How many of the points before @n are of the same place. */
static unsigned int earlier(const struct failing_book *book, unsigned int n)
{
	const struct failing_point *p = &book->points[n - 1];
	unsigned int same = 0;

	for (unsigned int i = 0; i + 1 < n; i++)
		same += book->points[i].from == p->from && book->points[i].what == p->what;
	return same;
}

/* The points to be failed, from a run without failures: 0 behind the last. */
static unsigned int *choose(const struct sweep *s)
{
	unsigned int count = MIN(atomic_load(&s->book->count), FAILING_SITES_MAX), n = 0;
	unsigned int *chosen = calloc(count + 1, sizeof(*chosen));

	if (!chosen)
		die("no memory");
	for (unsigned int i = 1; i <= count; i++)
		if (i % s->shares == s->share && (!s->sites || earlier(s->book, i) < s->sites) &&
		    (!s->call || !strcmp(s->call, s->book->points[i - 1].call)))
			chosen[n++] = i;
	return chosen;
}

static unsigned int number(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (end == text || n > 1000000)
		die("that is no number");
	return (unsigned int)n;
}

static void parse_how(struct sweep *s, const char *word)
{
	static const char *const words[] = {"error", "eintr", "short"};

	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++)
		if (!strcmp(word, words[i])) {
			s->how = (enum failing_how)i;
			return;
		}
	die("--how error, eintr or short");
}

static void option(struct sweep *s, const char *name, const char *value)
{
	const char *end;

	if (!strcmp(name, "--how")) {
		parse_how(s, value);
	} else if (!strcmp(name, "--sites")) {
		s->sites = number(value);
	} else if (!strcmp(name, "--only")) {
		s->only = number(value);
	} else if (!strcmp(name, "--share")) {
		s->share = number(value);
		end = strchr(value, '/');
		s->shares = end ? number(end + 1) : 0;
		if (s->share >= s->shares)
			die("--share I/N");
	} else if (!strcmp(name, "--status")) {
		s->status = (int)number(value);
	} else if (!strcmp(name, "--call")) {
		s->call = value;
	} else if (!strcmp(name, "--says")) {
		s->says = value;
	} else if (!strcmp(name, "--or")) {
		s->allowed[number(value) & 255] = true;
	} else if (!strcmp(name, "--fresh") && s->fresh_count < ARRAY_SIZE(s->fresh)) {
		s->fresh[s->fresh_count++] = value;
	} else if (!strcmp(name, "--patience")) {
		s->patience = (int)number(value);
	} else {
		die(name);
	}
}

static void parse(struct sweep *s, int argc, char **argv)
{
	int i = 1;

	s->shares = 1;
	s->patience = 60;
	s->allowed[125] = s->allowed[126] = true;
	for (; i < argc && strcmp(argv[i], "--"); i++) {
		if (!strcmp(argv[i], "--lasting"))
			s->lasting = true;
		else if (!strcmp(argv[i], "--no-rings"))
			failing_rings(true);
		else if (i + 1 < argc)
			option(s, argv[i], argv[i + 1]), i++;
	}
	if (i + 1 >= argc)
		die("what is skep to do? See tests/faults/sweep.c");
	/* skep's own name is the "--". */
	s->argv = argv + i;
	s->argc = argc - i;
}

static int sweep(struct sweep *s)
{
	static struct run r;
	unsigned int *chosen, n, bad = 0, fired = 0, whole = 0;
	const char *wrong;
	char text[128];

	run(s, 0, &r);
	if (WIFEXITED(r.status) && WEXITSTATUS(r.status) == 126) {
		printf("SKIPPED: %s", r.err);
		return 77;
	}
	if (r.hung || !is_whole(s, &r)) {
		show(s, 0, &r, "it fails on a host that does not");
		printf("%s\n", r.out);
		return 1;
	}
	chosen = choose(s);
	for (n = 0; chosen[n]; n++) {
		run(s, chosen[n], &r);
		wrong = judge(s, &r, text);
		fired += atomic_load(&s->book->fired) > 0;
		whole += !wrong && is_whole(s, &r);
		if (wrong)
			show(s, chosen[n], &r, wrong);
		bad += !!wrong;
	}
	free(chosen);
	printf("%u runs, %u with a failure, %u of all were as if there was none, %u did not end "
	       "well\n",
	       n, fired, whole, bad);
	return bad > 0;
}

int main(int argc, char **argv)
{
	struct sweep s = {.share = 0};
	static struct run r;
	const char *wrong;
	char text[128];

	parse(&s, argc, argv);
	s.book = failing_init();
	if (!s.book)
		die("no memory");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (!s.only)
		return sweep(&s);
	run(&s, s.only, &r);
	wrong = judge(&s, &r, text);
	show(&s, s.only, &r, wrong);
	return !!wrong;
}
