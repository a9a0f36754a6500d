/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A whole machine on a terminal, as a person has it: `skep run --display text` with a payload guest
 * that draws and reads keys. Skipped where there is no usable /dev/kvm.
 */
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

#include "../../src/cli/cli_priv.h"
#include "../../src/io/painter.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "skep/kvm.h"
#include "support/cm.h"

#define PATIENCE 6000 /* turns of some 5 milliseconds */

struct terminal {
	int master, slave;
	pid_t pid;
	int status;
	bool ended;
	struct termios before;
	char out[256 * 1024];
	size_t len;
};

static void read_some(struct terminal *t)
{
	ssize_t n;

	poll(NULL, 0, 5);
	if (!t->ended)
		t->ended = waitpid(t->pid, &t->status, WNOHANG) == t->pid;
	while ((n = read(t->master, t->out + t->len, sizeof(t->out) - 1 - t->len)) > 0)
		t->len += (size_t)n;
	t->out[t->len] = '\0';
}

static void await(struct terminal *t, const char *text)
{
	for (unsigned int i = 0; !strstr(t->out, text); i++) {
		if (i == PATIENCE || (t->ended && i > 100))
			fail_msg("the terminal did not get %s, but %s", text, t->out);
		read_some(t);
	}
}

static void type(struct terminal *t, const char *bytes)
{
	assert_int_equal(write(t->master, bytes, strlen(bytes)), (ssize_t)strlen(bytes));
}

/* In the child: the terminal is its own, and the process becomes skep. */
_Noreturn static void be_skep(struct terminal *t, const char *append)
{
	char line[512], *argv[16], *save = NULL;
	int argc = 0, status;

	snprintf(line, sizeof(line), "run -k %s/screen.bz -a %s --display text --timeout 60",
		 SKEP_IMAGES, append);
	for (char *p = strtok_r(line, " ", &save); p; p = strtok_r(NULL, " ", &save))
		argv[argc++] = p;
	argv[argc] = NULL;
	close(t->master);
	if (login_tty(t->slave))
		_exit(200);
	status = cmd_run(argc, argv);
	fflush(stdout);
	_exit(status);
}

static struct terminal *start(const char *append)
{
	const struct winsize size = {.ws_col = 80, .ws_row = 25};
	struct terminal *t;
	struct err err;
	int kvm = kvm_open(&err);

	if (kvm < 0) {
		print_message("%s\n", err.text);
		skip();
	}
	close(kvm);
	t = calloc(1, sizeof(*t));
	assert_non_null(t);
	assert_int_equal(openpty(&t->master, &t->slave, NULL, NULL, &size), 0);
	assert_int_equal(fcntl(t->master, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(tcgetattr(t->slave, &t->before), 0);
	fflush(stdout);
	t->pid = fork();
	assert_true(t->pid >= 0);
	if (!t->pid)
		be_skep(t, append);
	return t;
}

/* The guest draws while frames are made: words come in pieces, and only a character is sure to be
 * whole. */
#define DRAWN "▒"

/* Waits for skep's end: its status, and the terminal as it was before. */
static void finish(struct terminal *t, int status)
{
	struct termios now;

	for (unsigned int i = 0; !t->ended; i++) {
		if (i == PATIENCE)
			fail_msg("skep did not end; the terminal got %s", t->out);
		read_some(t);
	}
	read_some(t);
	read_some(t);
	assert_true(WIFEXITED(t->status));
	if (WEXITSTATUS(t->status) != status)
		fail_msg("status %d; the terminal got %s", WEXITSTATUS(t->status), t->out);
	assert_int_equal(tcgetattr(t->slave, &now), 0);
	assert_int_equal(now.c_lflag, t->before.c_lflag);
	assert_int_equal(now.c_iflag, t->before.c_iflag);
	assert_int_equal(now.c_oflag, t->before.c_oflag);
	close(t->master);
	close(t->slave);
}

static const char *behind_the_screen(struct terminal *t)
{
	const char *leave = strstr(t->out, PAINTER_LEAVE);

	assert_non_null(leave);
	return leave + strlen(PAINTER_LEAVE);
}

static void it_draws_and_takes_keys(void **state)
{
	struct terminal *t = start("bytes=8");
	const char *last;

	(void)state;
	await(t, PAINTER_ENTER);
	await(t, DRAWN);
	type(t, "a\033[A\033");
	finish(t, 0);
	/* What was on the screen at the end stays to be read. */
	last = behind_the_screen(t);
	assert_non_null(strstr(last, "skep draws\r\n\r\n    ╔═╗ café ▒\r\n"));
	assert_non_null(strstr(last, "\r\n1e 9e e0 48 e0 c8 01 81\r\n"));
	free(t);
}

static void a_signal_puts_the_terminal_back(void **state)
{
	struct terminal *t = start("bytes=1");

	(void)state;
	await(t, DRAWN);
	assert_int_equal(kill(t->pid, SIGTERM), 0);
	finish(t, 128 + SIGTERM);
	assert_non_null(strstr(behind_the_screen(t), "skep draws\r\n"));
	assert_non_null(strstr(behind_the_screen(t), "signal 15"));
	free(t);
}

static void a_person_ends_it(void **state)
{
	struct terminal *t = start("bytes=1");

	(void)state;
	await(t, DRAWN);
	type(t, "\001p");
	await(t, "paused");
	type(t, "\001x");
	finish(t, 0);
	behind_the_screen(t);
	free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_draws_and_takes_keys),
		cmocka_unit_test(a_signal_puts_the_terminal_back),
		cmocka_unit_test(a_person_ends_it),
	};

	return cmocka_run_group_tests_name("terminal", tests, NULL, NULL);
}
