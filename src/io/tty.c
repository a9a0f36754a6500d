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

void chan_restore_text(const char *text)
{
	atomic_store(&terminal.text, text);
}

/* A terminal that is stuck keeps nobody from ending. */
static void write_text(void)
{
	const char *text = atomic_exchange(&terminal.text, NULL);
	struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

	if (text && poll(&p, 1, 0) > 0 && write(STDOUT_FILENO, text, strlen(text)) < 0)
		return;
}

void chan_restore_terminals(void)
{
	int saved_errno = errno;
	sigset_t ttou, old;

	write_text();
	if (!atomic_exchange(&terminal.raw, false)) {
		errno = saved_errno;
		return;
	}
	/* A process that was moved to the background would be stopped here. */
	sigemptyset(&ttou);
	sigaddset(&ttou, SIGTTOU);
	pthread_sigmask(SIG_BLOCK, &ttou, &old);
	tcsetattr(terminal.fd, TCSANOW, &terminal.saved);
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
