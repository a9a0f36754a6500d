/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The filters of threads, which were compiled when skep was built, and what is said when one of
 * them meets a call that it does not know.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox_filters.h"
#include "sandbox_priv.h"
#include "skep/bits.h"
#include "skep/err.h"
#include "skep/sandbox_table.h"

static const struct {
	const struct sock_filter *code;
	unsigned int len;
} filters[SANDBOX_KINDS][SANDBOX_ENGINES] = FILTERS;

static long seccomp(unsigned int operation, unsigned int flags, void *args)
{
	return syscall(SYS_seccomp, operation, flags, args);
}

bool filters_available(void)
{
	uint32_t action = SECCOMP_RET_TRAP;

	return !seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &action);
}

int filters_install(enum sandbox_kind kind, enum sandbox_engine engine, struct err *err)
{
	const unsigned int len = filters[kind][engine].len;
	struct sock_filter *code = calloc(len, sizeof(*code));
	struct sock_fprog program = {.len = (unsigned short)len, .filter = code};
	int errnum = 0;

	if (!code)
		return err_sys(err, ENOMEM, "sandbox");
	memcpy(code, filters[kind][engine].code, len * sizeof(*code));
	for (unsigned int i = 0; i < len; i++)
		if (code[i].k == SANDBOX_OWN_PID)
			code[i].k = (uint32_t)getpid();
	if (seccomp(SECCOMP_SET_MODE_FILTER, 0, &program))
		errnum = errno;
	free(code);
	if (!errnum)
		return 0;
	return err_sys(err, errnum, "the kernel refuses a filter of system calls");
}

/* Async-signal-safe; @room counts what is left of @text. */
static char *put(char *text, size_t *room, const char *word)
{
	while (*word && *room > 1) {
		*text++ = *word++;
		--*room;
	}
	return text;
}

static char *put_number(char *text, size_t *room, unsigned int n)
{
	char digits[12];
	size_t at = sizeof(digits);

	digits[--at] = '\0';
	do
		digits[--at] = (char)('0' + n % 10);
	while (n /= 10);
	return put(text, room, digits + at);
}

static const char *call_name(unsigned int nr)
{
	const char *at = call_names;

	if (nr >= CALL_NAMES)
		return "an unknown one";
	while (nr--)
		at += strlen(at) + 1;
	return *at ? at : "an unknown one";
}

/*
 * The call was not made. The signal does what it would have done before, which ends the process:
 * it is held back only until this returns.
 */
static void on_refused(int sig, siginfo_t *info, void *context)
{
	char line[256], thread[16] = "", *at = line;
	size_t room = sizeof(line);

	(void)context;
	prctl(PR_GET_NAME, thread);
	at = put(at, &room, "skep: the sandbox stopped the thread '");
	at = put(at, &room, thread);
	at = put(at, &room, "', which made the system call ");
	at = put_number(at, &room, (unsigned int)info->si_syscall);
	at = put(at, &room, " (");
	at = put(at, &room, call_name((unsigned int)info->si_syscall));
	at = put(at, &room,
		 "): a bug in skep, or somebody has taken it over; --sandbox off does without it"
		 "\r\n");
	(void)!write(STDERR_FILENO, line, (size_t)(at - line));
	if (sandbox.before.sa_handler != SIG_DFL && sandbox.before.sa_handler != SIG_IGN)
		sandbox.before.sa_handler(sig);
	else
		raise(sig);
}

void filters_take_signal(void)
{
	struct sigaction sa = {
		.sa_sigaction = on_refused,
		.sa_flags = (int)SA_RESETHAND | SA_ONSTACK | SA_SIGINFO,
	};

	sigemptyset(&sa.sa_mask);
	sigaction(SIGSYS, &sa, &sandbox.before);
}
