/* SPDX-License-Identifier: BSD-2-Clause */
/* Channels on terminals: raw and put back, Ctrl-a, and pseudo-terminals as a host's end. */
#include <errno.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>

#include "chan_fixture.h"

struct tty {
	int master; /* does not block */
	int slave;
};

static struct tty tty_new(void)
{
	struct tty t;

	assert_int_equal(openpty(&t.master, &t.slave, NULL, NULL, NULL), 0);
	fcntl(t.master, F_SETFD, FD_CLOEXEC);
	fcntl(t.slave, F_SETFD, FD_CLOEXEC);
	assert_int_equal(fcntl(t.master, F_SETFL, O_NONBLOCK), 0);
	return t;
}

static void tty_free(struct tty *t)
{
	close(t->master);
	close(t->slave);
}

static struct termios attributes(int fd)
{
	struct termios a;

	assert_int_equal(tcgetattr(fd, &a), 0);
	return a;
}

static bool is_raw(int fd)
{
	struct termios a = attributes(fd);

	return !(a.c_lflag & (ICANON | ECHO | ISIG | IEXTEN)) && !(a.c_oflag & OPOST) &&
	       !(a.c_iflag & (IXON | ICRNL));
}

static bool same_attributes(const struct termios *a, int fd)
{
	struct termios b = attributes(fd);

	return a->c_iflag == b.c_iflag && a->c_oflag == b.c_oflag && a->c_lflag == b.c_lflag &&
	       a->c_cflag == b.c_cflag && !memcmp(a->c_cc, b.c_cc, sizeof(b.c_cc));
}

/* Bytes get through a pseudo-terminal a moment after they are written. */
static void settle(struct fixture *f)
{
	for (int i = 0; i < 5; i++) {
		run_later(f);
		poll(NULL, 0, 1);
	}
}

static void type(struct fixture *f, const struct tty *t, const char *keys)
{
	assert_int_equal(write(t->master, keys, strlen(keys)), (ssize_t)strlen(keys));
	settle(f);
}

/* Standard input and output are a terminal */

static void the_terminal_is_raw_meanwhile(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	struct tty t = tty_new();
	struct termios before = attributes(t.slave);

	(void)state;
	fixture_stdio(f, t.slave, t.slave);
	assert_false(is_raw(t.slave));
	fixture_open(f, "stdio");
	assert_true(is_raw(t.slave));
	assert_false(f->log.raw); /* the log is not a terminal */
	assert_int_equal(fcntl(0, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(fcntl(1, F_GETFL) & O_NONBLOCK, 0);
	/* What the guest says is what the terminal gets; what is typed is not echoed. */
	type(f, &t, "ls\r\003\004\032");
	assert_got(f, "ls\r\003\004\032");
	put_text(f, "a\nb\r\n");
	settle(f);
	assert_reads(t.master, "a\nb\r\n");
	fixture_close(f);
	assert_true(same_attributes(&before, t.slave));
	tty_free(&t);
	fixture_free(f);
}

static void log_lines_return_the_carriage(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	struct tty t = tty_new();
	int memory = f->log.fd;

	(void)state;
	f->log.fd = t.slave;
	fixture_stdio(f, t.slave, t.slave);
	fixture_open(f, "stdio");
	assert_true(f->log.raw);
	fixture_close(f);
	assert_false(f->log.raw);
	f->log.fd = memory;
	tty_free(&t);
	fixture_free(f);
}

static void escapes(void **state)
{
	static const struct {
		const char *keys, *got; /* a break is "~" */
	} trials[] = {
		{"plain", "plain"},
		{"\001a", "\001"},
		{"\001\001", "\001"},
		{"\001\001a", "\001a"},
		{"one\001btwo", "one~two"},
		{"\001b", "~"},
		{"\001bx", "~x"},
		{"\001z", ""},
		{"x\001", "x"},
		/* The end of the one above */
		{"ab", "\001b"},
		{"\001hno", "no"},
	};
	struct fixture *f = fixture_new(false, 0);
	struct tty t = tty_new();
	char all[256] = "";

	(void)state;
	fixture_stdio(f, t.slave, t.slave);
	fixture_open(f, "stdio");
	for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
		type(f, &t, trials[i].keys);
		strcat(all, trials[i].got);
		assert_got(f, all);
		assert_false(f->ended);
	}
	assert_int_equal(logged(f, "Ctrl-a x ends the machine, Ctrl-a p pauses it"), 1);
	type(f, &t, "\001p");
	assert_true(f->paused);
	assert_int_equal(logged(f, "paused; Ctrl-a p goes on"), 1);
	assert_int_equal(logged(f, "going on"), 0);
	type(f, &t, "\001pp");
	assert_false(f->paused);
	assert_int_equal(logged(f, "going on"), 1);
	strcat(all, "p");
	assert_got(f, all);
	type(f, &t, "\001x");
	assert_true(f->ended);
	assert_int_equal(f->ending.kind, END_USER);
	assert_non_null(strstr(f->ending.reason, "Ctrl-a x"));
	fixture_close(f);
	tty_free(&t);
	fixture_free(f);
}

/* In front of a guest that reads nothing, the escapes still work and nothing typed is lost. */
static void escapes_before_a_deaf_guest(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	struct tty t = tty_new();

	(void)state;
	f->room = 2;
	fixture_stdio(f, t.slave, t.slave);
	fixture_open(f, "stdio");
	type(f, &t, "abcd");
	assert_got(f, "ab");
	type(f, &t, "e\001bfg");
	type(f, &t, "h\001b\001bi");
	assert_got(f, "ab");
	give_room(f, 2);
	settle(f);
	assert_got(f, "abcd");
	/* The break keeps its place; a second one before the guest heard it is the same. */
	give_room(f, 2);
	settle(f);
	assert_got(f, "abcde~f");
	give_room(f, SIZE_MAX);
	settle(f);
	assert_got(f, "abcde~fghi");
	f->room = 0;
	type(f, &t, "more\001x");
	assert_true(f->ended);
	fixture_close(f);
	tty_free(&t);
	fixture_free(f);
}

static void much_typed_ahead(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	struct tty t = tty_new();
	size_t sent = 0, taken = 0;
	char line[1024];

	(void)state;
	f->room = 0;
	fixture_stdio(f, t.slave, t.slave);
	fixture_open(f, "stdio");
	/* More than the channel holds: the rest waits in the terminal. */
	memset(line, 'k', sizeof(line));
	for (int idle = 0; idle < 5;) {
		ssize_t n = write(t.master, line, sizeof(line));

		idle = n > 0 ? 0 : idle + 1;
		sent += n > 0 ? (size_t)n : 0;
		settle(f);
		if (sent > 80 * 1024)
			break;
	}
	while (taken < sent) {
		size_t before = f->got_len;

		give_room(f, 10000);
		settle(f);
		assert_true(f->got_len > before);
		taken = f->got_len;
	}
	assert_int_equal(taken, sent);
	fixture_close(f);
	tty_free(&t);
	fixture_free(f);
}

/* In a process of its own, with the terminal as its controlling one */

enum leave { LEAVE_KEY, LEAVE_EXIT, LEAVE_SEGV, LEAVE_ABORT, LEAVE_WORKER_SEGV, LEAVE_BACKGROUND };

/* A real fault, which the sanitizers are not to report first. */
__attribute__((no_sanitize("undefined", "address"))) static void crash(void *arg)
{
	volatile int *nowhere = arg;

	*nowhere = 1;
}

static void leave_by_crash(struct fixture *f, enum leave how)
{
	const struct rlimit none = {0};

	setrlimit(RLIMIT_CORE, &none);
	if (how == LEAVE_ABORT)
		abort();
	if (how == LEAVE_WORKER_SEGV)
		worker_call(f->machine.control, crash, NULL);
	crash(NULL);
}

/* Never returns. @ready is closed once the terminal is raw. */
static void child(const struct tty *t, int ready, enum leave how)
{
	struct fixture *f = fixture_new(!worker_probe(NULL), 0);

	setsid();
	ioctl(t->slave, TIOCSCTTY, 0);
	for (int i = 0; i < 3; i++)
		dup2(t->slave, i);
	chan_install_crash_restore();
	if (how == LEAVE_BACKGROUND) {
		/* A group that is not the terminal's foreground is stopped if it touches it. */
		if (fork()) {
			int status;

			waitpid(-1, &status, WUNTRACED);
			_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 99);
		}
		setpgid(0, 0);
	}
	fixture_open(f, "stdio");
	if (how == LEAVE_BACKGROUND)
		_exit(is_raw(0) || !logged(f, "in the background"));
	close(ready);
	if (how == LEAVE_KEY) {
		while (!f->ended)
			if (f->real)
				poll(NULL, 0, 1);
			else
				run_later(f);
		fixture_close(f);
		_exit(f->ending.kind == END_USER ? 0 : 1);
	}
	poll(NULL, 0, 5);
	if (how == LEAVE_EXIT)
		exit(7);
	leave_by_crash(f, how);
	_exit(98);
}

static int leave_terminal(struct tty *t, enum leave how)
{
	int ready[2], status;
	char byte;
	pid_t pid;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		close(t->master);
		close(ready[0]);
		child(t, ready[1], how);
	}
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 0);
	close(ready[0]);
	if (how == LEAVE_KEY) {
		assert_true(is_raw(t->slave));
		assert_int_equal(write(t->master, "\001x", 2), 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void the_terminal_is_put_back(void **state)
{
	static const struct {
		enum leave how;
		int status, signal;
	} trials[] = {
		{LEAVE_KEY, 0, 0},
		{LEAVE_EXIT, 7, 0},
		{LEAVE_SEGV, 0, SIGSEGV},
		{LEAVE_ABORT, 0, SIGABRT},
		{LEAVE_WORKER_SEGV, 0, SIGSEGV},
		{LEAVE_BACKGROUND, 0, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
		struct tty t = tty_new();
		struct termios before = attributes(t.slave);
		int status = leave_terminal(&t, trials[i].how);

		if (trials[i].signal) {
			assert_true(WIFSIGNALED(status));
			assert_int_equal(WTERMSIG(status), trials[i].signal);
		} else {
			assert_true(WIFEXITED(status));
			assert_int_equal(WEXITSTATUS(status), trials[i].status);
		}
		assert_true(same_attributes(&before, t.slave));
		tty_free(&t);
	}
}

static void a_terminal_hangs_up(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	struct tty t = tty_new();

	(void)state;
	fixture_stdio(f, t.slave, t.slave);
	fixture_open(f, "stdio");
	close(t.master);
	settle(f);
	put_text(f, "to nobody");
	settle(f);
	assert_int_equal(logged(f, "cannot write to standard output"), 1);
	assert_int_equal(totals(f).out_dropped, 9);
	assert_int_equal(worker_sim_run(f->machine.control, 10), 0);
	fixture_close(f);
	close(t.slave);
	fixture_free(f);
}

/* A pseudo-terminal as the host's end */

static void slave_name(struct fixture *f, char *name, size_t room)
{
	static const char says[] = "the console is at ";
	char buf[512];
	ssize_t n = pread(f->log.fd, buf, sizeof(buf) - 1, 0);
	char *p;

	assert_true(n > 0);
	buf[n] = '\0';
	p = strstr(buf, says);
	assert_non_null(p);
	p += strlen(says);
	p[strcspn(p, "\n")] = '\0';
	snprintf(name, room, "%s", p);
}

static int open_slave(struct fixture *f)
{
	char name[64];
	int fd;

	slave_name(f, name, sizeof(name));
	fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	assert_true(fd >= 0);
	return fd;
}

static void a_pty_is_raw_and_echoes_nothing(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	int fd;

	(void)state;
	fixture_open(f, "pty");
	/* Kept until somebody reads. */
	put_text(f, "early\r\n");
	settle(f);
	fd = open_slave(f);
	assert_true(is_raw(fd));
	assert_reads(fd, "early\r\n");
	assert_int_equal(write(fd, "\001x\r\n\003", 5), 5);
	settle(f);
	assert_got(f, "\001x\r\n\003"); /* escapes are the terminal's own affair */
	put_text(f, "echo");
	settle(f);
	assert_reads(fd, "echo");
	/* The reader goes and comes again. */
	close(fd);
	settle(f);
	put_text(f, "meanwhile");
	settle(f);
	fd = open_slave(f);
	assert_reads(fd, "meanwhile");
	assert_int_equal(write(fd, "!", 1), 1);
	settle(f);
	assert_got(f, "\001x\r\n\003!");
	close(fd);
	fixture_close(f);
	assert_int_equal(logged(f, "lost"), 0);
	fixture_free(f);
}

/* A session whose terminal it was ends, and hangs up every descriptor of the slave. */
static void a_session_ends_on_the_pty(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	char name[64];
	int fd, status;
	pid_t pid;

	(void)state;
	fixture_open(f, "pty");
	slave_name(f, name, sizeof(name));
	pid = fork();
	if (!pid) {
		setsid();
		_exit(open(name, O_RDWR) < 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	put_text(f, "into the void, or kept");
	settle(f);
	settle(f);
	fd = open_slave(f);
	put_text(f, "back");
	settle(f);
	assert_reads(fd, "into the void, or keptback");
	assert_int_equal(write(fd, "ok", 2), 2);
	settle(f);
	assert_got(f, "ok");
	close(fd);
	fixture_close(f);
	fixture_free(f);
}

/* The last words are still there for a reader that is a little slow. */
static void a_pty_lingers_for_its_reader(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	int fd, status;
	char buf[64];
	ssize_t n;
	pid_t pid;

	(void)state;
	fixture_open(f, "pty");
	fd = open_slave(f);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		poll(NULL, 0, 100);
		n = read(fd, buf, sizeof(buf));
		_exit(n != 5 || memcmp(buf, "ciao\n", 5));
	}
	close(fd);
	put_text(f, "ciao\n");
	fixture_close(f);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(logged(f, "lost"), 0);
	fixture_free(f);
}

static void a_pty_that_nobody_opens(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	static char page[4096];

	(void)state;
	fixture_open(f, "pty");
	for (unsigned int i = 0; i < 10; i++) {
		put(f, page, sizeof(page));
		run(f);
	}
	assert_int_equal(totals(f).out_dropped, 0);
	assert_int_equal(logged(f, "has taken nothing"), 0);
	fixture_close(f);
	assert_int_equal(logged(f, "were lost"), 1);
	fixture_free(f);
}

static void a_pty_on_the_hosts_worker(void **state)
{
	struct err err;
	struct fixture *f;
	char buf[4];
	int fd;

	(void)state;
	if (worker_probe(&err)) {
		print_message("no io_uring here: %s\n", err.text);
		skip();
	}
	f = fixture_new(true, 0);
	fixture_open(f, "pty");
	fd = open_slave(f);
	fcntl(fd, F_SETFL, 0);
	for (unsigned int i = 0; i < 5; i++) {
		put_text(f, "ping");
		for (size_t n = 0; n < sizeof(buf); n++)
			assert_int_equal(read(fd, buf + n, 1), 1);
		assert_memory_equal(buf, "ping", 4);
		assert_int_equal(write(fd, "pong", 4), 4);
		wait_got(f, 4 * (i + 1));
	}
	assert_got(f, "pongpongpongpongpong");
	close(fd);
	fixture_close(f);
	fixture_free(f);
}

static void nothing(void *arg)
{
	(void)arg;
}

/* A terminal that takes nothing, as when its window is frozen, holds up no thread of skep. */
static void a_stuck_terminal_on_the_hosts_worker(void **state)
{
	struct err err;
	struct fixture *f;
	struct tty t;
	static char page[4096];
	char buf[4096];
	size_t taken = 0;

	(void)state;
	if (worker_probe(&err)) {
		print_message("no io_uring here: %s\n", err.text);
		skip();
	}
	f = fixture_new(true, 0);
	t = tty_new();
	fixture_stdio(f, t.slave, t.slave);
	fixture_open(f, "stdio");
	for (unsigned int i = 0; i < 40; i++) {
		put(f, page, sizeof(page));
		worker_call(f->machine.control, nothing, NULL);
	}
	assert_int_equal(write(t.master, "typed", 5), 5);
	wait_got(f, 5);
	while (taken < 40 * sizeof(page)) {
		ssize_t n = read(t.master, buf, sizeof(buf));

		if (n > 0)
			taken += (size_t)n;
		else
			poll(NULL, 0, 1);
	}
	assert_int_equal(totals(f).out_dropped, 0);
	fixture_close(f);
	tty_free(&t);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_terminal_is_raw_meanwhile),
		cmocka_unit_test(log_lines_return_the_carriage),
		cmocka_unit_test(escapes),
		cmocka_unit_test(escapes_before_a_deaf_guest),
		cmocka_unit_test(much_typed_ahead),
		cmocka_unit_test(the_terminal_is_put_back),
		cmocka_unit_test(a_terminal_hangs_up),
		cmocka_unit_test(a_pty_is_raw_and_echoes_nothing),
		cmocka_unit_test(a_session_ends_on_the_pty),
		cmocka_unit_test(a_pty_lingers_for_its_reader),
		cmocka_unit_test(a_pty_that_nobody_opens),
		cmocka_unit_test(a_pty_on_the_hosts_worker),
		cmocka_unit_test(a_stuck_terminal_on_the_hosts_worker),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
