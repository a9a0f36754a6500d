/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which system calls a thread may make once the guest runs, and why.
 *
 * All threads share one memory, so who takes over one of them has in the end what the control
 * thread may do: the narrower tables of the others are so many more steps on the way. What no
 * table has, for it would be a way out: open, socket, connect, execve, clone, ptrace, bpf,
 * io_uring_setup (whose rings would not be restricted), and memory that is executable.
 */
#include "skep/sandbox_table.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <termios.h>

#include "skep/bits.h"

#define ALLOW(call, who, reason)                                 \
	{                                                        \
		.name = (call), .kinds = (who), .why = (reason), \
	}
#define ALLOW_BY(call, who, by, reason)                                           \
	{                                                                         \
		.name = (call), .kinds = (who), .engines = (by), .why = (reason), \
	}
#define ALLOW_IF(call, who, n, bits, is, reason)                                           \
	{                                                                                  \
		.name = (call), .kinds = (who), .arg = (n), .mask = (bits), .value = (is), \
		.why = (reason),                                                           \
	}
#define ALLOW_WITH(call, who, n, is, reason) ALLOW_IF(call, who, n, UINT64_MAX, is, reason)
#define RING(call, is, reason)                                                                    \
	{                                                                                         \
		.name = (call), .kinds = KIND_LOOPS, .arg = 1, .mask = UINT64_MAX, .value = (is), \
		.why = (reason),                                                                  \
	}
#define ANSWER(call, code, reason)                                                    \
	{                                                                             \
		.name = (call), .kinds = KIND_ALL, .refuse = (code), .why = (reason), \
	}

const struct sandbox_rule sandbox_rules[] = {
	/* Files that are open. */
	ALLOW("read", KIND_LOOPS | KIND_VCPU, "eventfds: wake-ups, pending messages"),
	ALLOW("write", KIND_ALL, "eventfds: wake-ups, messages; lines of the log"),
	ALLOW("readv", KIND_NET | KIND_WORKER, "frames from a tap"),
	ALLOW("writev", KIND_ALL, "frames to a tap; the C library's last words"),
	ALLOW("recvfrom", KIND_NET | KIND_WORKER, "frames from a socket"),
	ALLOW_WITH("sendto", KIND_LOOPS & ~KIND_DISK, 4, 0,
		   "frames and console output, to who is connected"),
	ALLOW("sendmsg", KIND_NET | KIND_WORKER, "frames to a socket"),
	ALLOW("preadv2", KIND_LOOPS | KIND_HELPER, "transfers that a ring would hand to a thread"),
	ALLOW("pwritev2", KIND_LOOPS | KIND_HELPER, "the same"),
	ALLOW("pread64", KIND_CONTROL, "kernel and initrds at a reset, and what they hash to"),
	ALLOW("pwrite64", KIND_CONTROL, "the maps of an overlay when it is closed"),
	ALLOW("fsync", KIND_RINGS | KIND_HELPER, "flushes of files in memory; without a ring, all"),
	ALLOW("fdatasync", KIND_LOOPS | KIND_HELPER, "the same; an overlay when it is closed"),
	ALLOW("fallocate", KIND_ALL & ~(KIND_VCPU | KIND_NET),
	      "discards without a ring; the balloon's pages; the holes of a trace"),
	ALLOW("ftruncate", KIND_CONTROL, "the end of a dump"),
	ALLOW("fstatfs", KIND_RINGS, "whether a file that is added is an eventfd"),
	ALLOW_WITH("fcntl", KIND_LOOPS, 1, F_GETFL, "whether a file blocks"),
	ALLOW_WITH("fcntl", KIND_LOOPS, 1, F_SETFL, "clients of a console do not block"),
	ALLOW_WITH("fcntl", KIND_LOOPS, 1, F_GETFD, "whether a file is open"),
	ALLOW_WITH("fcntl", KIND_CONTROL, 1, F_OFD_SETLK, "an image is unlocked"),
	ALLOW("close", KIND_LOOPS, "clients of a console; KVM's descriptors at a reset"),

	/* Waiting. */
	ALLOW("io_uring_enter", KIND_LOOPS, "host I/O by the ring that is there"),
	RING("io_uring_register", IORING_REGISTER_FILES_UPDATE, "files that come and go"),
	RING("io_uring_register", IORING_UNREGISTER_FILES,
	     "files are given back before their ring"),
	ALLOW_BY("epoll_wait", KIND_LOOPS, BY_EPOLL, "host I/O without a ring"),
	ALLOW_BY("epoll_ctl", KIND_LOOPS, BY_EPOLL, "the same"),
	ALLOW_BY("timerfd_settime", KIND_LOOPS, BY_EPOLL, "the same"),
	ALLOW_BY("accept4", KIND_CONTROL | KIND_WORKER, BY_EPOLL, "a console's client"),
	ALLOW("poll", KIND_ALL, "whether a console takes more; pending messages; to pause"),
	ALLOW("futex", KIND_ALL, "locks, and threads that wait for one another"),
	ALLOW("clock_gettime", KIND_ALL, "hosts whose clock is not readable without a call"),
	ALLOW("restart_syscall", KIND_ALL, "a wait that a signal interrupted goes on"),

	/* Memory, never executable. */
	ALLOW_IF("mmap", KIND_ALL, 2, PROT_EXEC, 0, "the heap; processors at a reset"),
	ALLOW_IF("mprotect", KIND_ALL, 2, PROT_EXEC, 0, "the heap of a thread grows"),
	ALLOW("munmap", KIND_ALL, "the heap; what the machine held, at its end"),
	ALLOW("brk", KIND_ALL, "the heap"),
	ALLOW("sysinfo", KIND_RINGS, "qsort() asks how much memory there is: the balloon's pages"),
	ALLOW("mincore", KIND_CONTROL, "how much of guest memory the host holds, for a report"),
	ALLOW("madvise", KIND_ALL,
	      "the heap, the stack of a thread that ends; the balloon's pages"),

	/* Threads and signals. */
	ALLOW("rt_sigprocmask", KIND_ALL, "the terminal is put back; a thread ends"),
	ALLOW("rt_sigreturn", KIND_ALL, "the signal that gets a vCPU out of the guest"),
	ALLOW_WITH("tgkill", KIND_ALL, 0, SANDBOX_OWN_PID, "that signal; to abort"),
	ALLOW("getpid", KIND_ALL, "the same"),
	ALLOW("gettid", KIND_ALL, "the same; whose a ring is"),
	ALLOW_WITH("prctl", KIND_ALL, 0, PR_GET_NAME, "a thread's last words name it"),
	ALLOW("wait4", KIND_CONTROL, "passt has ended"),
	ALLOW("pidfd_send_signal", KIND_CONTROL, "passt does not end"),
	ALLOW("getrandom", KIND_CONTROL, "a random address for Linux at a reset"),
	ALLOW("exit", KIND_ALL & ~KIND_CONTROL, "a thread ends"),
	ALLOW("exit_group", KIND_ALL, "the process ends"),

	/*
	 * What libraries ask on their own account, and do without: files of their own, a better
	 * buffer for a stream. And what a worker does without that another thread tears down.
	 */
	ANSWER("open", EACCES, "libraries look for files of theirs"),
	ANSWER("openat", EACCES, "the same"),
	ANSWER("access", EACCES, "the same"),
	ANSWER("readlink", EACCES, "the same"),
	ANSWER("stat", EACCES, "the same"),
	ANSWER("newfstatat", EACCES, "the same; it would tell of any path"),
	ANSWER("statx", EACCES, "the same"),
	ANSWER("lseek", ESPIPE, "standard input is put back where it was, at exit"),
	ANSWER("mremap", ENOMEM, "the heap copies a large block instead"),
	{.name = "sysinfo",
	 .kinds = KIND_ALL & ~KIND_RINGS,
	 .refuse = ENOSYS,
	 .why = "qsort() does without"},
	ANSWER("io_uring_setup", EPERM, "a ring of one's own would not be restricted"),
};

const size_t sandbox_rules_count = ARRAY_SIZE(sandbox_rules);

#define REQUEST(what, who, reason)                                                           \
	{                                                                                    \
		.name = #what, .kinds = (who), .request = (uint32_t)(what), .why = (reason), \
	}

const struct sandbox_request sandbox_requests[] = {
	REQUEST(TCGETS, KIND_CONTROL | KIND_WORKER, "whether a file is a terminal"),
	REQUEST(TCSETS, KIND_CONTROL | KIND_WORKER, "the terminal is put back; a slave is raw"),
	REQUEST(TIOCGWINSZ, KIND_CONTROL, "the terminal has another size"),
	REQUEST(TIOCGPTPEER, KIND_CONTROL | KIND_WORKER, "a pseudo-terminal that was hung up"),
	REQUEST(FIONREAD, KIND_CONTROL, "whether its reader has read all"),
	REQUEST(TUNSETOFFLOAD, (KIND_LOOPS | KIND_VCPU) & ~KIND_DISK,
		"what a guest's card can do, on its tap"),
	REQUEST(TUNSETQUEUE, (KIND_LOOPS | KIND_VCPU) & ~KIND_DISK, "how many queues it uses"),
};

const size_t sandbox_requests_count = ARRAY_SIZE(sandbox_requests);
