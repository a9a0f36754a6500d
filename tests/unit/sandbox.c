/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sandbox: what a thread of each kind tries once it is in its filter, as the user who runs the
 * test and, where that is root, as an ordinary one. Each attempt is a process of its own, for there
 * is no way back; it ends by SIGSYS, or says that it was refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/io/worker_engine.h"
#include "skep/bits.h"
#include "skep/err.h"
#include "skep/log.h"
#include "skep/sandbox.h"
#include "skep/sandbox_table.h"
#include "skep/worker.h"
#include "support/cm.h"

#define NOBODY 65534

enum {
	REFUSED = 10, /* the call failed */
	DONE,         /* it did not */
	NO_SANDBOX,   /* of this build, or on this host */
};

/* Attempts: what the call returned. */

static long try_open(void)
{
	return syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY, 0);
}

static long try_old_open(void)
{
	return syscall(SYS_open, "/dev/null", O_RDONLY, 0);
}

static long try_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static long try_exec(void)
{
	char *argv[] = {NULL};

	return execve("/bin/true", argv, argv);
}

static long try_exec_at(void)
{
	char *argv[] = {NULL};

	return syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, argv, 0);
}

static long try_fork(void)
{
	long pid = syscall(SYS_fork);

	if (!pid)
		_exit(0);
	return pid;
}

static void *do_nothing(void *arg)
{
	return arg;
}

static long try_thread(void)
{
	pthread_t t;

	/* glibc begins with clone3(). */
	return pthread_create(&t, NULL, do_nothing, NULL) ? -1 : 0;
}

static long try_ptrace(void)
{
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static long try_read_process(void)
{
	struct iovec iov = {0};

	return syscall(SYS_process_vm_readv, getppid(), &iov, 1, &iov, 1, 0);
}

static long try_map_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
			       MAP_FAILED
		       ? -1
		       : 0;
}

static long try_make_code(void)
{
	static char page[8192] __attribute__((aligned(4096)));

	return mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static long try_ring(void)
{
	struct io_uring_params p = {0};

	return syscall(SYS_io_uring_setup, 4, &p);
}

/* What lets a ring do more than it was made for. */
static long try_ring_files(void)
{
	return syscall(SYS_io_uring_register, 0, IORING_REGISTER_BUFFERS, NULL, 0);
}

static long try_kill_others(void)
{
	return kill(getppid(), 0);
}

static long try_kill_thread(void)
{
	return syscall(SYS_tgkill, 1, 1, 0);
}

static long try_steal_file(void)
{
	return syscall(SYS_pidfd_getfd, 0, 0, 0);
}

static long try_handler(void)
{
	return signal(SIGSYS, SIG_IGN) == SIG_ERR ? -1 : 0;
}

static long try_terminal(void)
{
	return ioctl(0, TIOCSTI, "x");
}

static long try_dumpable(void)
{
	return prctl(PR_SET_DUMPABLE, 1);
}

static long try_owner(void)
{
	return fcntl(0, F_SETOWN, 1);
}

static long try_user(void)
{
	return setuid(0);
}

static long try_bpf(void)
{
	return syscall(SYS_bpf, 0, NULL, 0);
}

static long try_namespace(void)
{
	return syscall(SYS_unshare, 0x10000000);
}

static long try_mount(void)
{
	return syscall(SYS_mount, "none", "/", "tmpfs", 0, NULL);
}

static long try_unlink(void)
{
	return unlink("/nowhere");
}

static long try_nothing(void)
{
	return getpid() > 0 ? 0 : -1;
}

/* Neither has anything to work on: they fail, behind the filter. */
static long try_ring_enter(void)
{
	return syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0) < 0 && errno == EBADF ? 0 : -1;
}

static long try_epoll_wait(void)
{
	struct epoll_event e;

	return epoll_wait(-1, &e, 1, 0) < 0 && errno == EBADF ? 0 : -1;
}

static const struct {
	const char *name;
	long (*call)(void);
} attempts[] = {
	{"open", try_open},
	{"open, the old call", try_old_open},
	{"socket", try_socket},
	{"exec", try_exec},
	{"execveat", try_exec_at},
	{"fork", try_fork},
	{"a thread", try_thread},
	{"ptrace", try_ptrace},
	{"memory of another process", try_read_process},
	{"executable memory", try_map_code},
	{"memory made executable", try_make_code},
	{"a ring", try_ring},
	{"more for a ring", try_ring_files},
	{"a signal to another process", try_kill_others},
	{"a signal to another's thread", try_kill_thread},
	{"a file of another process", try_steal_file},
	{"a signal handler", try_handler},
	{"typing into the terminal", try_terminal},
	{"being dumpable", try_dumpable},
	{"signals by a file", try_owner},
	{"another user", try_user},
	{"bpf", try_bpf},
	{"a namespace", try_namespace},
	{"a mount", try_mount},
	{"removing a file", try_unlink},
};

struct attempt {
	enum sandbox_kind kind;
	long (*call)(void);
};

static void *in_thread(void *arg)
{
	const struct attempt *a = arg;
	struct err err;
	sigset_t sys;

	if (sandbox_thread(a->kind, &err))
		_exit(NO_SANDBOX);
	sigemptyset(&sys);
	sigaddset(&sys, SIGSYS);
	pthread_sigmask(SIG_UNBLOCK, &sys, NULL);
	_exit(a->call() < 0 ? REFUSED : DONE);
}

/* In a child. */
__attribute__((noreturn)) static void attempt(struct attempt a, enum sandbox_engine engine,
					      bool ordinary)
{
	const struct sandbox_options options = {.mode = SANDBOX_ON};
	struct err err;
	struct log log;
	pthread_t t;
	int null = open("/dev/null", O_RDWR);

	dup2(null, STDERR_FILENO);
	log_init(&log, null, LOG_ERROR);
	if (ordinary && (setgid(NOBODY) || setuid(NOBODY)))
		_exit(NO_SANDBOX);
	if (sandbox_enter(&options, engine, &log, &err))
		_exit(NO_SANDBOX);
	if (a.kind == SANDBOX_CONTROL)
		in_thread(&a);
	pthread_create(&t, NULL, in_thread, &a);
	pthread_join(t, NULL);
	_exit(NO_SANDBOX);
}

static int outcome(struct attempt a, enum sandbox_engine engine, bool ordinary)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		signal(SIGSYS, SIG_DFL); /* not cmocka's */
		attempt(a, engine, ordinary);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void need_sandbox(void)
{
	const struct attempt a = {.kind = SANDBOX_CONTROL, .call = try_nothing};
	const int status = outcome(a, SANDBOX_URING, false);

	if (WIFEXITED(status) && WEXITSTATUS(status) == NO_SANDBOX) {
		print_message("this build, or this host, has no sandbox\n");
		skip();
	}
}

static void check_all(bool ordinary)
{
	for (unsigned int kind = 0; kind < SANDBOX_KINDS; kind++)
		for (size_t i = 0; i < ARRAY_SIZE(attempts); i++) {
			const struct attempt a = {(enum sandbox_kind)kind, attempts[i].call};
			const int status =
				outcome(a, (enum sandbox_engine)(i % SANDBOX_ENGINES), ordinary);

			if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
				continue;
			if (!WIFEXITED(status) || WEXITSTATUS(status) != REFUSED)
				fail_msg("kind %u: %s: status %x", kind, attempts[i].name, status);
		}
}

static void test_refused(void **state)
{
	(void)state;
	need_sandbox();
	check_all(false);
}

static void test_refused_to_ordinary(void **state)
{
	(void)state;
	need_sandbox();
	if (geteuid()) {
		print_message("an ordinary user runs this test anyway\n");
		skip();
	}
	check_all(true);
}

/* What a thread needs goes on. */
static void test_allowed(void **state)
{
	(void)state;
	need_sandbox();
	for (unsigned int kind = 0; kind < SANDBOX_KINDS; kind++) {
		const struct attempt a = {(enum sandbox_kind)kind, try_nothing};
		const int status = outcome(a, SANDBOX_URING, false);

		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), DONE);
	}
}

/* When there was no memory for all rings, some threads have one, and others do without. */
static void test_mixed_engines(void **state)
{
	long (*const calls[])(void) = {try_ring_enter, try_epoll_wait};

	(void)state;
	need_sandbox();
	for (unsigned int kind = 0; kind < SANDBOX_KINDS; kind++)
		for (size_t i = 0; i < ARRAY_SIZE(calls) && KIND_LOOPS & 1U << kind; i++) {
			const struct attempt a = {(enum sandbox_kind)kind, calls[i]};
			const int status = outcome(a, SANDBOX_EPOLL, false);

			assert_true(WIFEXITED(status));
			assert_int_equal(WEXITSTATUS(status), DONE);
		}
}

/* The words that a person reads. */
static void test_report(void **state)
{
	const struct sandbox_options options = {.mode = SANDBOX_ON};
	char text[512] = "";
	struct err err;
	struct log log;
	int ends[2], status;
	pid_t pid;

	(void)state;
	need_sandbox();
	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (!pid) {
		signal(SIGSYS, SIG_DFL);
		dup2(ends[1], STDERR_FILENO);
		log_init(&log, ends[1], LOG_ERROR);
		prctl(PR_SET_NAME, "some thread");
		if (sandbox_enter(&options, SANDBOX_URING, &log, &err) ||
		    sandbox_thread(SANDBOX_VCPU, &err))
			_exit(NO_SANDBOX);
		try_socket();
		_exit(DONE);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
	assert_true(read(ends[0], text, sizeof(text) - 1) > 0);
	assert_non_null(strstr(text, "the thread 'some thread'"));
	assert_non_null(strstr(text, "41 (socket)"));
	close(ends[0]);
	close(ends[1]);
}

/* Landlock, where no filter is: what an attacker has who found a hole in one. */

struct reach {
	int version; /* of Landlock, from which on it is refused */
	long (*call)(const char *victim);
};

static long reach_file(const char *victim)
{
	return open(victim, O_RDONLY | O_CLOEXEC);
}

static long reach_file_to_write(const char *victim)
{
	return open(victim, O_WRONLY | O_CLOEXEC);
}

static long reach_directory(const char *victim)
{
	(void)victim;
	return open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static long make_one(const char *victim)
{
	(void)victim;
	return open("/tmp/skep-made-by-guest", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
}

static long make_directory(const char *victim)
{
	(void)victim;
	return mkdir("/tmp/skep-made-by-guest", 0700);
}

static long make_link(const char *victim)
{
	return symlink(victim, "/tmp/skep-made-by-guest");
}

static long remove_one(const char *victim)
{
	return unlink(victim);
}

static long move_one(const char *victim)
{
	return rename(victim, "/tmp/skep-made-by-guest");
}

static long cut_one(const char *victim)
{
	return truncate(victim, 0);
}

static long run_program(const char *victim)
{
	char *const argv[] = {(char[]){"true"}, NULL};

	(void)victim;
	return execv("/bin/true", argv);
}

static long reach_network(const char *victim)
{
	const struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htobe16(9),
		.sin_addr.s_addr = htobe32(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)victim;
	return connect(fd, (const struct sockaddr *)&to, sizeof(to));
}

static const struct reach reaches[] = {
	{1, reach_file},      {1, reach_file_to_write},
	{1, reach_directory}, {1, make_one},
	{1, make_directory},  {1, make_link},
	{1, remove_one},      {1, move_one},
	{1, run_program},     {3, cut_one},
	{4, reach_network},
};

/* The first that is not refused by Landlock, from 1 on; 0: none. */
static void *reach_all(void *victim)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);

	for (size_t i = 0; i < ARRAY_SIZE(reaches); i++)
		if (version >= reaches[i].version &&
		    (reaches[i].call(victim) >= 0 || errno != EACCES))
			return (void *)(i + 1);
	return NULL;
}

__attribute__((noreturn)) static void reach_out(char *victim, bool ordinary)
{
	const struct sandbox_options options = {.mode = SANDBOX_ON};
	void *first, *second = NULL;
	struct err err;
	struct log log;
	pthread_t t;

	log_init(&log, STDERR_FILENO, LOG_ERROR);
	if (ordinary && (setgid(NOBODY) || setuid(NOBODY)))
		_exit(NO_SANDBOX);
	if (reaches[0].call(victim) < 0 || sandbox_enter(&options, SANDBOX_URING, &log, &err))
		_exit(NO_SANDBOX);
	first = reach_all(victim);
	if (pthread_create(&t, NULL, reach_all, victim) || pthread_join(t, &second))
		_exit(NO_SANDBOX);
	_exit((int)(uintptr_t)(first ? first : second));
}

static void test_landlock_alone(void **state)
{
	char victim[] = "/tmp/skep-victim-XXXXXX";
	int fd;

	(void)state;
	need_sandbox();
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) <= 0) {
		print_message("this host has no Landlock\n");
		skip();
	}
	fd = mkstemp(victim);
	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, 0666), 0);
	close(fd);
	for (int ordinary = geteuid() != 0; ordinary <= 1; ordinary++) {
		pid_t pid = fork();
		int status;

		if (!pid)
			reach_out(victim, ordinary && !geteuid());
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
	assert_int_equal(unlink(victim), 0);
}

/* The ring of a worker */

static int ring_of_worker(void)
{
	char path[32], name[64];

	for (int fd = 3; fd < 64; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, name, sizeof(name) - 1);
		if (n > 0 && !memcmp(name, "anon_inode:[io_uring]", 21))
			return fd;
	}
	return -1;
}

static const int opcodes[] = {
	IORING_OP_OPENAT,   IORING_OP_OPENAT2, IORING_OP_SOCKET, IORING_OP_CONNECT,
	IORING_OP_UNLINKAT, IORING_OP_STATX,   IORING_OP_SPLICE, IORING_OP_SENDMSG,
};

/* The result of an operation that the ring was not made for. */
static int abuse(struct io_uring *ring, int opcode)
{
	struct io_uring_sq *sq = &ring->sq;
	unsigned int tail = *ring->cq.ktail;
	struct io_uring_sqe *sqe;

	sq->sqe_head = sq->sqe_tail = *sq->ktail;
	sqe = io_uring_get_sqe(ring);
	io_uring_prep_rw(opcode, sqe, AT_FDCWD, "/dev/null", 0, 0);
	sqe->flags = IOSQE_FIXED_FILE;
	if (io_uring_submit(ring) != 1 || *ring->cq.ktail == tail)
		return 0;
	return ring->cq.cqes[tail & *ring->cq.kring_mask].res;
}

/* On the worker, whose own view of its ring is no good behind this: so ends the process. */
static void abuse_ring(void *arg)
{
	for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++)
		if (abuse(arg, opcodes[i]) != -EACCES)
			_exit(20 + (int)i);
	_exit(REFUSED);
}

__attribute__((noreturn)) static void abuse_in_child(void)
{
	const struct sandbox_options options = {.mode = SANDBOX_ON};
	struct io_uring_params p = {.flags = IORING_SETUP_CQSIZE, .cq_entries = URING_CQ_ENTRIES};
	struct io_uring twin, ring;
	struct worker *w;
	struct err err;
	struct log log;
	int fd;

	log_init(&log, STDERR_FILENO, LOG_ERROR);
	if (worker_create(&w, "abused", &err) || worker_engine_reason(w))
		_exit(NO_SANDBOX);
	fd = ring_of_worker();
	/* Of the same size, so it lies in memory as the worker's does. */
	if (io_uring_queue_init_params(URING_ENTRIES, &twin, &p) ||
	    io_uring_queue_mmap(fd, &p, &ring))
		_exit(1);
	io_uring_queue_exit(&twin);
	if (sandbox_enter(&options, SANDBOX_URING, &log, &err))
		_exit(NO_SANDBOX);
	worker_set_kind(w, SANDBOX_DISK);
	if (worker_start(w, &err))
		_exit(2);
	worker_call(w, abuse_ring, &ring);
	_exit(3);
}

static void test_ring_opcodes(void **state)
{
	pid_t pid;
	int status;

	(void)state;
	need_sandbox();
	pid = fork();
	if (!pid) {
		signal(SIGSYS, SIG_DFL);
		abuse_in_child();
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == NO_SANDBOX)
		skip();
	assert_int_equal(WEXITSTATUS(status), REFUSED);
}

/* The aide */

static size_t read_a_file(void *arg, const void *question, size_t n, void *answer, size_t room)
{
	char path[SANDBOX_QUESTION_MAX + 1] = "";
	int fd;
	ssize_t got;

	(void)arg;
	memcpy(path, question, n);
	fd = open(path, O_RDONLY);
	got = fd < 0 ? 0 : read(fd, answer, room);
	close(fd);
	return got > 0 ? (size_t)got : 0;
}

static size_t write_a_file(void *arg, const void *question, size_t n, void *answer, size_t room)
{
	int fd = open(arg, O_WRONLY | O_CREAT, 0600);

	(void)question;
	(void)n;
	if (room < 4)
		return 0;
	snprintf(answer, room, "%s", fd < 0 && errno == EACCES ? "no" : "yes");
	return 4;
}

__attribute__((noreturn)) static void ask_aide(const char *victim, const char *kept)
{
	static const char path[] = "/proc/self/comm";
	const struct sandbox_options options = {.mode = SANDBOX_ON};
	char answer[SANDBOX_ANSWER_MAX] = "", made[] = "/tmp/skep-made-by-aide";
	int errand = sandbox_errand(read_a_file, NULL, -1);
	int writes = sandbox_errand(write_a_file, made, -1);
	bool landlock = syscall(SYS_landlock_create_ruleset, NULL, 0, 1) > 0;
	struct err err;
	struct log log;

	log_init(&log, STDERR_FILENO, LOG_ERROR);
	if (sandbox_errand(read_a_file, NULL, -1) != errand || sandbox_asks(errand) ||
	    sandbox_remove_later(victim, &err) || sandbox_remove_later(kept, &err))
		_exit(1);
	if (sandbox_enter(&options, SANDBOX_URING, &log, &err) ||
	    sandbox_thread(SANDBOX_CONTROL, &err))
		_exit(NO_SANDBOX);
	if (!sandbox_asks(errand) || sandbox_errand(write_a_file, NULL, -1) >= 0)
		_exit(2);
	if (!sandbox_ask(errand, path, sizeof(path) - 1, answer, sizeof(answer)) ||
	    strcmp(answer, "skep aide\n") != 0)
		_exit(3);
	if (sandbox_ask(errand, "/nowhere", 8, answer, sizeof(answer)))
		_exit(4);
	if (!sandbox_ask(writes, "", 0, answer, sizeof(answer)))
		_exit(5);
	if (strcmp(answer, "no") != 0 && landlock)
		_exit(6);
	sandbox_leave();
	_exit(0);
}

static void make_file(char *path, const char *content)
{
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	close(fd);
}

static void test_aide(void **state)
{
	char victim[] = "/tmp/skep-victim-XXXXXX", kept[] = "/tmp/skep-kept-XXXXXX";
	int status;
	pid_t pid;

	(void)state;
	need_sandbox();
	make_file(victim, "");
	make_file(kept, "something");
	pid = fork();
	if (!pid)
		ask_aide(victim, kept);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(access(victim, F_OK), -1);
	assert_int_equal(access(kept, F_OK), 0);
	unlink(kept);
}

/* The tables */

static bool same_call(const struct sandbox_rule *a, const struct sandbox_rule *b)
{
	return !strcmp(a->name, b->name);
}

static unsigned int calls_of(unsigned int kind, unsigned int engine)
{
	unsigned int n = 1; /* ioctl */

	for (size_t i = 0; i < sandbox_rules_count; i++) {
		const struct sandbox_rule *r = &sandbox_rules[i];
		bool again = false;

		if (r->refuse || !(r->kinds & 1U << kind) ||
		    (r->engines && !(r->engines & 1U << engine)))
			continue;
		for (size_t before = 0; before < i; before++)
			again = again || (same_call(r, &sandbox_rules[before]) &&
					  sandbox_rules[before].kinds & 1U << kind);
		n += !again;
	}
	return n;
}

static void test_few_calls(void **state)
{
	(void)state;
	for (unsigned int kind = 0; kind < SANDBOX_KINDS; kind++)
		for (unsigned int engine = 0; engine < SANDBOX_ENGINES; engine++)
			assert_in_range(calls_of(kind, engine), 5, 40);
}

/* A worker that devices of several kinds share may do what any of them wants. */
static bool is_shared(unsigned int kinds)
{
	return !(kinds & (KIND_DISK | KIND_NET)) || kinds & KIND_WORKER;
}

static void test_shared_workers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sandbox_rules_count; i++)
		if (!is_shared(sandbox_rules[i].kinds))
			fail_msg("a shared worker may not call %s", sandbox_rules[i].name);
	for (size_t i = 0; i < sandbox_requests_count; i++)
		assert_true(is_shared(sandbox_requests[i].kinds));
	for (size_t i = 0; i < kvm_requests_count; i++)
		assert_true(is_shared(kvm_requests[i].kinds));
}

static void test_reasons(void **state)
{
	(void)state;
	for (size_t i = 0; i < sandbox_rules_count; i++) {
		assert_true(sandbox_rules[i].kinds);
		assert_non_null(sandbox_rules[i].why);
		assert_true(strlen(sandbox_rules[i].why) > 3);
	}
	for (size_t i = 0; i < sandbox_requests_count; i++)
		assert_non_null(sandbox_requests[i].why);
	for (size_t i = 0; i < kvm_requests_count; i++)
		assert_non_null(kvm_requests[i].why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),        cmocka_unit_test(test_refused_to_ordinary),
		cmocka_unit_test(test_allowed),        cmocka_unit_test(test_mixed_engines),
		cmocka_unit_test(test_landlock_alone), cmocka_unit_test(test_report),
		cmocka_unit_test(test_ring_opcodes),   cmocka_unit_test(test_aide),
		cmocka_unit_test(test_few_calls),      cmocka_unit_test(test_reasons),
		cmocka_unit_test(test_shared_workers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
