/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The terminal: raw while a channel uses it, and put back whatever happens.
 *
 * A process has one standard input, and a crash handler has no argument: this is the one place
 * with state of its own. It is written by the control thread while @raw is false, and taken by
 * whoever first makes @raw false again, a signal handler perhaps.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "chan_priv.h"

static struct {
	atomic_bool raw;
	int fd;
	struct termios saved;
	_Atomic(const char *) text; /* to be written to standard output; NULL: none */
	int kept, to;               /* and what behind it, and where to */
} terminal;

bool tty_foreground(int fd)
{
	pid_t group = tcgetpgrp(fd);

	/* Without job control (not our controlling terminal) nobody is stopped. */
	return group < 0 || group == getpgrp();
}

int tty_make_raw(int fd)
{
	struct termios t;

	if (atomic_load(&terminal.raw))
		return -EBUSY;
	if (tcgetattr(fd, &t))
		return -errno;
	terminal.fd = fd;
	terminal.saved = t;
	/* Output too: a guest sends \r\n by itself. */
	cfmakeraw(&t);
	atomic_store(&terminal.raw, true);
	if (tcsetattr(fd, TCSANOW, &t)) {
		int ret = -errno;

		atomic_store(&terminal.raw, false);
		return ret;
	}
	return 0;
}

bool tty_size(int fd, unsigned int *cols, unsigned int *rows)
{
	struct winsize size;

	if (ioctl(fd, TIOCGWINSZ, &size) || !size.ws_col || !size.ws_row)
		return false;
	*cols = size.ws_col;
	*rows = size.ws_row;
	return true;
}

void chan_restore_text(const char *text, int kept, int to)
{
	terminal.kept = kept;
	terminal.to = to;
	atomic_store(&terminal.text, text);
}

void tty_pour(int kept, int to)
{
	char buf[512];
	ssize_t n;

	for (off_t at = 0; (n = pread(kept, buf, sizeof(buf), at)) > 0; at += n)
		if (write(to, buf, (size_t)n) != n)
			return;
}

/* A terminal that is stuck keeps nobody from ending. */
static void write_text(void)
{
	const char *text = atomic_exchange(&terminal.text, NULL);
	struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

	if (!text || poll(&p, 1, 0) <= 0 || write(STDOUT_FILENO, text, strlen(text)) < 0)
		return;
	if (terminal.to >= 0)
		tty_pour(terminal.kept, terminal.to);
}

void chan_restore_terminals(void)
{
	int saved_errno = errno;
	sigset_t ttou, old;

	if (!atomic_exchange(&terminal.raw, false)) {
		write_text();
		errno = saved_errno;
		return;
	}
	/* A process that was moved to the background would be stopped here. */
	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &ttou, &old);
	tcsetattr(terminal.fd, TCSANOW, &terminal.saved);
	write_text();
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = saved_errno;
}

/* The disposition is the default again (SA_RESETHAND): the signal does what it would have done. */
static void crashed(int sig)
{
	chan_restore_terminals();
	raise(sig);
}

void chan_install_crash_restore(void)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};
	struct sigaction sa = {.sa_handler = crashed, .sa_flags = (int)SA_RESETHAND | SA_ONSTACK};

	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaction(signals[i], &sa, NULL);
	atexit(chan_restore_terminals);
}
