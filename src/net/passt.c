/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * passt started at the other end of a stream socket: it turns frames into connections of the host
 * user's own, so it takes no privileges, and serves addresses by DHCP.
 *
 * It is started before the machine runs and ends by itself when our end of the socket is closed,
 * be it because skep was killed. What it has to say goes to our stderr.
 *
 * Control thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net_priv.h"
#include "skep/clock.h"
#include "skep/err.h"

/* For how long it may end by itself. */
#define LINGER_MS 1000

/* In the child: all descriptors but stdio and @fd are close-on-exec or not ours to judge. */
static void become_passt(int fd, int report)
{
	char number[12];
	sigset_t none;
	int errnum;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	snprintf(number, sizeof(number), "%d", fd);
	if (!fcntl(fd, F_SETFD, 0))
		execlp("passt", "passt", "--foreground", "--quiet", "--fd", number, (char *)NULL);
	errnum = errno;
	(void)!write(report, &errnum, sizeof(errnum));
	_exit(127);
}

/* Whether exec succeeded: nothing is reported then, for the pipe closes with it. */
static int await_exec(int report, struct err *err)
{
	int errnum = 0;
	ssize_t n;

	do
		n = read(report, &errnum, sizeof(errnum));
	while (n < 0 && errno == EINTR);
	if (n != sizeof(errnum))
		return 0;
	if (errnum == ENOENT)
		return err_set(err, errnum,
			       "there is no passt on the PATH; on Debian, 'apt install passt' "
			       "brings it");
	return err_sys(err, errnum, "cannot start passt");
}

static int start(struct netport *p, int fd, int *report, struct err *err)
{
	int pipes[2], errnum;

	if (pipe2(pipes, O_CLOEXEC))
		return err_sys(err, errno, "cannot start passt");
	p->passt = fork();
	if (!p->passt)
		become_passt(fd, pipes[1]);
	close(pipes[1]);
	*report = pipes[0];
	/* By number anybody could be killed: a sandbox has none of that. */
	p->passt_fd = p->passt > 0 ? pidfd_open(p->passt, 0) : -1;
	if (p->passt_fd >= 0)
		return 0;
	errnum = errno;
	if (p->passt > 0) {
		kill(p->passt, SIGKILL);
		waitpid(p->passt, NULL, 0);
	}
	p->passt = 0;
	close(pipes[0]);
	return err_sys(err, errnum, "cannot start passt");
}

int passt_start(struct netport *p, struct err *err)
{
	int ends[2], report = -1, ret;

	snprintf(p->name, sizeof(p->name), "socket to passt");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return err_sys(err, errno, "cannot make a socket for passt");
	ret = stream_take(p, ends[0], err);
	if (!ret)
		ret = start(p, ends[1], &report, err);
	close(ends[1]);
	if (ret)
		return ret;
	ret = await_exec(report, err);
	close(report);
	return ret;
}

void passt_end(struct netport *p)
{
	struct pollfd end = {.fd = p->passt_fd, .events = POLLIN};

	if (!p->passt)
		return;
	if (poll(&end, 1, LINGER_MS) != 1)
		pidfd_send_signal(p->passt_fd, SIGKILL, NULL, 0);
	while (waitpid(p->passt, NULL, 0) < 0 && errno == EINTR)
		;
	close(p->passt_fd);
}
