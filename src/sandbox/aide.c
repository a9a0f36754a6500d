/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What takes files when nothing can be opened any more is done by a process that was made before:
 * the aide. It does the errands that it knew of when it was made, one after the other, each of a
 * question and an answer of bounded length; and when we have ended, whatever the reason, it removes
 * what was to be removed, if that is still what it was and empty. It is us as we were then, but
 * cannot write to any file.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox_priv.h"
#include "skep/bits.h"
#include "skep/err.h"
#include "skep/lock.h"

/* An answer that takes longer will not come. */
#define PATIENCE_MS 5000

struct question {
	unsigned int errand;
	unsigned int len;
	char text[SANDBOX_QUESTION_MAX];
};

/* What is removed */

int sandbox_remove_later(const char *path, struct err *err)
{
	struct stat st;
	char *whole;

	if (sandbox.remove_count == REMOVE_MAX)
		return err_set(err, ENOSPC, "at most %d files can be removed at the end",
			       REMOVE_MAX);
	if (lstat(path, &st))
		return err_sys(err, errno, "cannot look at %s", path);
	whole = strdup(path);
	if (!whole)
		return err_sys(err, ENOMEM, "sandbox");
	sandbox.remove[sandbox.remove_count].path = whole;
	sandbox.remove[sandbox.remove_count].dev = st.st_dev;
	sandbox.remove[sandbox.remove_count].ino = st.st_ino;
	sandbox.remove_count++;
	return 0;
}

void sandbox_remove_not(const char *path)
{
	for (unsigned int i = 0; i < sandbox.remove_count; i++)
		if (!strcmp(sandbox.remove[i].path, path)) {
			free(sandbox.remove[i].path);
			sandbox.remove[i] = sandbox.remove[--sandbox.remove_count];
			return;
		}
}

/* Whoever took a place in the meantime keeps it. */
static void remove_all(void)
{
	struct stat st;

	for (unsigned int i = 0; i < sandbox.remove_count; i++)
		if (!lstat(sandbox.remove[i].path, &st) && st.st_dev == sandbox.remove[i].dev &&
		    st.st_ino == sandbox.remove[i].ino && !st.st_size)
			unlink(sandbox.remove[i].path);
}

/* The aide */

static void do_errand(int fd, const struct question *q)
{
	char answer[SANDBOX_ANSWER_MAX] = "";
	size_t n = 0;

	if (q->errand < sandbox.errand_count && q->len <= sizeof(q->text))
		n = sandbox.errands[q->errand].fn(sandbox.errands[q->errand].arg, q->text, q->len,
						  answer, sizeof(answer));
	(void)!send(fd, answer, n, MSG_NOSIGNAL);
}

/* Whoever waits for our end of a pipe, a socket or a lock waits for one process only. */
static void close_others(int fd)
{
	unsigned int from = 0;

	for (;;) {
		int next = fd >= (int)from ? fd : INT_MAX;

		for (unsigned int i = 0; i < sandbox.errand_count; i++)
			if (sandbox.errands[i].fd >= (int)from)
				next = MIN(next, sandbox.errands[i].fd);
		if (next == INT_MAX)
			break;
		if ((unsigned int)next > from)
			close_range(from, (unsigned int)next - 1, 0);
		from = (unsigned int)next + 1;
	}
	close_range(from, UINT_MAX, 0);
}

/* The terminal's signals are for who runs the machine, and so is the terminal. */
__attribute__((noreturn)) static void be_aide(int fd)
{
	struct question q;
	sigset_t all;
	ssize_t n;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	prctl(PR_SET_NAME, "skep aide");
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	landlock_read_only();
	close_others(fd);
	for (;;) {
		n = recv(fd, &q, sizeof(q), 0);
		if (n == sizeof(q))
			do_errand(fd, &q);
		else if (!(n < 0 && errno == EINTR))
			break;
	}
	remove_all();
	_exit(0);
}

int aide_start(struct err *err)
{
	int ends[2];

	if (!sandbox.remove_count && !sandbox.errand_count)
		return 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends))
		return err_sys(err, errno, "sandbox");
	lock_init(&sandbox.aide_lock, LOCK_LEAF);
	sandbox.aide = fork();
	if (!sandbox.aide) {
		close(ends[1]);
		be_aide(ends[0]);
	}
	close(ends[0]);
	sandbox.aide_fd = ends[1];
	if (sandbox.aide > 0)
		return 0;
	sandbox.aide = 0;
	close(ends[1]);
	return err_sys(err, errno, "cannot make the process that reads files for a sandbox");
}

int sandbox_errand(sandbox_errand_fn *fn, void *arg, int fd)
{
	for (unsigned int i = 0; i < sandbox.errand_count; i++)
		if (sandbox.errands[i].fn == fn && sandbox.errands[i].arg == arg)
			return (int)i;
	if (sandbox_entered() || sandbox.errand_count == ERRANDS_MAX)
		return -1;
	sandbox.errands[sandbox.errand_count].fn = fn;
	sandbox.errands[sandbox.errand_count].arg = arg;
	sandbox.errands[sandbox.errand_count].fd = fd;
	return (int)sandbox.errand_count++;
}

void sandbox_errand_not(const void *arg)
{
	for (unsigned int i = 0; i < sandbox.errand_count && !sandbox_entered(); i++)
		if (sandbox.errands[i].arg == arg)
			sandbox.errands[i--] = sandbox.errands[--sandbox.errand_count];
}

bool sandbox_asks(int errand)
{
	return errand >= 0 && sandbox_entered() && sandbox.aide;
}

size_t sandbox_ask(int errand, const void *question, size_t n, void *answer, size_t room)
{
	struct question q = {.errand = (unsigned int)errand, .len = (unsigned int)n};
	struct pollfd p = {.fd = sandbox.aide_fd, .events = POLLIN};
	char text[SANDBOX_ANSWER_MAX];
	ssize_t got = -1;

	bug_on(n > sizeof(q.text));
	memcpy(q.text, question, n);
	lock_take(&sandbox.aide_lock);
	/* One that was late once would answer the question before. */
	if (!sandbox.aide_late && write(sandbox.aide_fd, &q, sizeof(q)) == sizeof(q)) {
		if (poll(&p, 1, PATIENCE_MS) > 0)
			got = read(sandbox.aide_fd, text, sizeof(text));
		sandbox.aide_late = got < 0;
	}
	lock_drop(&sandbox.aide_lock);
	if (got < 0 || (size_t)got > room)
		return 0;
	memcpy(answer, text, (size_t)got);
	return (size_t)got;
}

void sandbox_leave(void)
{
	if (sandbox.aide) {
		close(sandbox.aide_fd);
		while (waitpid(sandbox.aide, NULL, 0) < 0 && errno == EINTR)
			;
		sandbox.aide = 0;
	}
	while (sandbox.remove_count)
		free(sandbox.remove[--sandbox.remove_count].path);
}
