/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The wrappers. The linker resolves skep's CALL to __wrap_CALL, and __real_CALL to the library's
 * (--wrap). What is to be wrapped stands here and in the file "wrapped".
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "failing.h"

static struct failing_book *book;
static atomic_bool armed;
static enum failing_how mode;
static unsigned int nth;
static bool lasts;

/* What kinds of failure a call has. A file of a disk is not waited for as a signal can see it. */
#define CAN_FAIL       (1U << FAILING_ERROR)
#define CAN_EINTR      (CAN_FAIL | 1U << FAILING_EINTR)
#define CAN_SHORT      (CAN_FAIL | 1U << FAILING_SHORT)
#define CAN_BOTH       (CAN_EINTR | CAN_SHORT)
#define CAN_ONLY_EINTR (1U << FAILING_EINTR)

/* Whether the point that this is fails now. */
static bool point(const char *call, uintptr_t from, unsigned long what, unsigned int can)
{
	const struct failing_point p = {call, from, what};
	unsigned int n;

	if (!atomic_load_explicit(&armed, memory_order_relaxed) || !(can & 1U << mode))
		return false;
	n = atomic_fetch_add(&book->count, 1) + 1;
	if (n <= FAILING_SITES_MAX)
		book->points[n - 1] = p;
	if (!nth || n < nth)
		return false;
	/* Nothing has to be waited for again for ever. */
	if (n > nth && (!lasts || (mode == FAILING_ERROR && can & 1U << FAILING_EINTR)))
		return false;
	if (!atomic_fetch_add(&book->fired, 1))
		book->failed = p;
	return true;
}

#define HERE ((uintptr_t)__builtin_return_address(0))

/* How the call fails: EINTR, or what it fails with if it must. */
static int reason(int errnum)
{
	return mode == FAILING_EINTR ? EINTR : errnum;
}

#define DECLARE(type, name, params) \
	type __real_##name params;  \
	type __wrap_##name params

/* A call that says -1, NULL, … and sets errno. */
#define WRAP(can, type, name, result, errnum, params, args) \
	DECLARE(type, name, params);                        \
	type __wrap_##name params                           \
	{                                                   \
		if (point(#name, HERE, 0, can)) {           \
			errno = reason(errnum);             \
			return result;                      \
		}                                           \
		return __real_##name args;                  \
	}

/* A call that returns the errno, negated or not. */
#define WRAP_NUMBER(can, type, name, sign, errnum, params, args) \
	DECLARE(type, name, params);                             \
	type __wrap_##name params                                \
	{                                                        \
		if (point(#name, HERE, 0, can))                  \
			return sign reason(errnum);              \
		return __real_##name args;                       \
	}

/* A transfer of @len bytes, which may be cut short. */
#define WRAP_TRANSFER(can, name, errnum, params, args, len)                               \
	DECLARE(ssize_t, name, params);                                                   \
	ssize_t __wrap_##name params                                                      \
	{                                                                                 \
		if ((mode != FAILING_SHORT || (len) > 1) && point(#name, HERE, 0, can)) { \
			if (mode == FAILING_SHORT) {                                      \
				(len) /= 2;                                               \
			} else {                                                          \
				errno = reason(errnum);                                   \
				return -1;                                                \
			}                                                                 \
		}                                                                         \
		return __real_##name args;                                                \
	}

/* Memory. */

WRAP(CAN_FAIL, void *, malloc, NULL, ENOMEM, (size_t n), (n))
WRAP(CAN_FAIL, void *, calloc, NULL, ENOMEM, (size_t n, size_t size), (n, size))
WRAP(CAN_FAIL, void *, realloc, NULL, ENOMEM, (void *p, size_t n), (p, n))
WRAP(CAN_FAIL, void *, reallocarray, NULL, ENOMEM, (void *p, size_t n, size_t size), (p, n, size))
WRAP(CAN_FAIL, void *, aligned_alloc, NULL, ENOMEM, (size_t align, size_t n), (align, n))
WRAP(CAN_FAIL, char *, strdup, NULL, ENOMEM, (const char *s), (s))
WRAP(CAN_FAIL, char *, strndup, NULL, ENOMEM, (const char *s, size_t n), (s, n))
WRAP(CAN_FAIL, cpu_set_t *, __sched_cpualloc, NULL, ENOMEM, (size_t n), (n))
WRAP_NUMBER(CAN_FAIL, int, posix_memalign, , ENOMEM, (void **p, size_t align, size_t n),
	    (p, align, n))
WRAP(CAN_FAIL, void *, mmap, MAP_FAILED, ENOMEM,
     (void *at, size_t len, int prot, int flags, int fd, off_t offset),
     (at, len, prot, flags, fd, offset))
WRAP(CAN_FAIL, int, mprotect, -1, ENOMEM, (void *at, size_t len, int prot), (at, len, prot))
WRAP(CAN_FAIL, int, madvise, -1, ENOMEM, (void *at, size_t len, int advice), (at, len, advice))
WRAP(CAN_FAIL, int, mincore, -1, EAGAIN, (void *at, size_t len, unsigned char *vec), (at, len, vec))
WRAP(CAN_FAIL, int, mlock2, -1, ENOMEM, (const void *at, size_t len, unsigned int flags),
     (at, len, flags))
WRAP(CAN_FAIL, int, memfd_create, -1, EMFILE, (const char *name, unsigned int flags), (name, flags))

/* asprintf() by vasprintf(). */
int __wrap_asprintf(char **s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int __wrap_asprintf(char **s, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (point("asprintf", HERE, 0, CAN_FAIL)) {
		errno = ENOMEM;
		return -1;
	}
	va_start(ap, fmt);
	n = vasprintf(s, fmt, ap);
	va_end(ap);
	return n;
}

static void *json_allocate(size_t n)
{
	return point("jansson's malloc", HERE, 0, CAN_FAIL) ? NULL : __real_malloc(n);
}

/* Files. */

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
	va_list ap;
	mode_t bits;

	va_start(ap, flags);
	bits = va_arg(ap, mode_t);
	va_end(ap);
	if (point("open", HERE, 0, CAN_FAIL)) {
		errno = EMFILE;
		return -1;
	}
	return __real_open(path, flags, bits);
}

int __real_openat(int dir, const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...);
int __wrap_openat(int dir, const char *path, int flags, ...)
{
	va_list ap;
	mode_t bits;

	va_start(ap, flags);
	bits = va_arg(ap, mode_t);
	va_end(ap);
	if (point("openat", HERE, 0, CAN_FAIL)) {
		errno = EMFILE;
		return -1;
	}
	return __real_openat(dir, path, flags, bits);
}

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
	const unsigned long kvm_run = 0xae80;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (point("ioctl", HERE, request, request == kvm_run ? CAN_EINTR : CAN_FAIL)) {
		errno = reason(ENOMEM);
		return -1;
	}
	return __real_ioctl(fd, request, arg);
}

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, command);
	arg = va_arg(ap, void *);
	va_end(ap);
	/* Flags are there to be read and set. */
	if (command != F_GETFL && command != F_SETFL && command != F_GETFD &&
	    point("fcntl", HERE, (unsigned long)command, CAN_FAIL)) {
		errno = EINVAL;
		return -1;
	}
	return __real_fcntl(fd, command, arg);
}

long __real_syscall(long n, ...);
long __wrap_syscall(long n, ...);
long __wrap_syscall(long n, ...)
{
	long a[6];
	va_list ap;

	va_start(ap, n);
	for (unsigned int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (point("syscall", HERE, (unsigned long)n, CAN_FAIL)) {
		errno = EPERM;
		return -1;
	}
	return __real_syscall(n, a[0], a[1], a[2], a[3], a[4], a[5]);
}

WRAP(CAN_FAIL, FILE *, fopen, NULL, EMFILE, (const char *path, const char *how), (path, how))
WRAP(CAN_FAIL, FILE *, fdopen, NULL, ENOMEM, (int fd, const char *how), (fd, how))
WRAP(CAN_FAIL, FILE *, open_memstream, NULL, ENOMEM, (char **buf, size_t *len), (buf, len))
WRAP(CAN_FAIL, DIR *, opendir, NULL, EMFILE, (const char *path), (path))
WRAP(CAN_FAIL, DIR *, fdopendir, NULL, ENOMEM, (int fd), (fd))
WRAP(CAN_FAIL, int, fflush, EOF, ENOSPC, (FILE * f), (f))
WRAP(CAN_FAIL, int, mkostemp, -1, EACCES, (char *name, int flags), (name, flags))
WRAP(CAN_FAIL, int, fallocate, -1, ENOSPC, (int fd, int how, off_t at, off_t len),
     (fd, how, at, len))
WRAP(CAN_FAIL, int, ftruncate, -1, ENOSPC, (int fd, off_t len), (fd, len))
WRAP(CAN_FAIL, int, fsync, -1, EIO, (int fd), (fd))
WRAP(CAN_FAIL, int, fdatasync, -1, EIO, (int fd), (fd))
WRAP(CAN_FAIL, int, fstat, -1, ENOMEM, (int fd, struct stat *st), (fd, st))
WRAP(CAN_FAIL, int, stat, -1, ENOMEM, (const char *path, struct stat *st), (path, st))
WRAP(CAN_FAIL, int, lstat, -1, ENOMEM, (const char *path, struct stat *st), (path, st))
WRAP(CAN_FAIL, int, fstatat, -1, ENOMEM, (int dir, const char *path, struct stat *st, int flags),
     (dir, path, st, flags))
WRAP(CAN_FAIL, int, statx, -1, ENOMEM,
     (int dir, const char *path, int flags, unsigned int mask, struct statx *st),
     (dir, path, flags, mask, st))
WRAP(CAN_FAIL, int, fstatfs, -1, ENOMEM, (int fd, struct statfs *st), (fd, st))
WRAP(CAN_FAIL, off_t, lseek, -1, EINVAL, (int fd, off_t at, int from), (fd, at, from))
WRAP(CAN_FAIL, int, flock, -1, ENOLCK, (int fd, int how), (fd, how))
WRAP(CAN_FAIL, int, mkdir, -1, ENOSPC, (const char *path, mode_t bits), (path, bits))
WRAP(CAN_FAIL, int, unlink, -1, EACCES, (const char *path), (path))
WRAP(CAN_FAIL, int, unlinkat, -1, EACCES, (int dir, const char *path, int flags),
     (dir, path, flags))
WRAP(CAN_FAIL, int, renameat, -1, ENOSPC, (int from, const char *a, int to, const char *b),
     (from, a, to, b))
WRAP(CAN_FAIL, ssize_t, readlink, -1, ENOMEM, (const char *path, char *buf, size_t n),
     (path, buf, n))
WRAP(CAN_FAIL, ssize_t, readlinkat, -1, ENOMEM, (int dir, const char *path, char *buf, size_t n),
     (dir, path, buf, n))

WRAP_TRANSFER(CAN_BOTH, read, EIO, (int fd, void *buf, size_t n), (fd, buf, n), n)

/* Of 8 bytes: that is an eventfd, and has no way to fail. */
DECLARE(ssize_t, write, (int fd, const void *buf, size_t n));
ssize_t __wrap_write(int fd, const void *buf, size_t n)
{
	if (n == sizeof(uint64_t) || (mode == FAILING_SHORT && n < 2) ||
	    !point("write", HERE, 0, CAN_BOTH))
		return __real_write(fd, buf, n);
	if (mode == FAILING_SHORT)
		return __real_write(fd, buf, n / 2);
	errno = reason(ENOSPC);
	return -1;
}
WRAP_TRANSFER(CAN_SHORT, pread, EIO, (int fd, void *buf, size_t n, off_t at), (fd, buf, n, at), n)
WRAP_TRANSFER(CAN_SHORT, pwrite, ENOSPC, (int fd, const void *buf, size_t n, off_t at),
	      (fd, buf, n, at), n)
WRAP_TRANSFER(CAN_BOTH, recv, ECONNRESET, (int fd, void *buf, size_t n, int flags),
	      (fd, buf, n, flags), n)
WRAP_TRANSFER(CAN_BOTH, send, ECONNRESET, (int fd, const void *buf, size_t n, int flags),
	      (fd, buf, n, flags), n)
WRAP_TRANSFER(CAN_BOTH, readv, EIO, (int fd, const struct iovec *iov, int n), (fd, iov, n), n)
WRAP_TRANSFER(CAN_BOTH, writev, ENOSPC, (int fd, const struct iovec *iov, int n), (fd, iov, n), n)
WRAP_TRANSFER(CAN_SHORT, preadv2, EIO,
	      (int fd, const struct iovec *iov, int n, off_t at, int flags),
	      (fd, iov, n, at, flags), n)
WRAP_TRANSFER(CAN_SHORT, pwritev2, ENOSPC,
	      (int fd, const struct iovec *iov, int n, off_t at, int flags),
	      (fd, iov, n, at, flags), n)
WRAP(CAN_EINTR, ssize_t, getrandom, -1, EAGAIN, (void *buf, size_t n, unsigned int flags),
     (buf, n, flags))

/* Descriptors that stand for something, and waiting for them. */

WRAP(CAN_FAIL, int, eventfd, -1, EMFILE, (unsigned int count, int flags), (count, flags))
WRAP(CAN_FAIL, int, epoll_create1, -1, EMFILE, (int flags), (flags))
WRAP(CAN_FAIL, int, epoll_ctl, -1, ENOSPC, (int ep, int op, int fd, struct epoll_event *e),
     (ep, op, fd, e))
WRAP(CAN_ONLY_EINTR, int, epoll_wait, -1, EBADF, (int ep, struct epoll_event *e, int n, int ms),
     (ep, e, n, ms))
WRAP(CAN_FAIL, int, timerfd_create, -1, EMFILE, (int clock, int flags), (clock, flags))
WRAP(CAN_FAIL, int, signalfd, -1, EMFILE, (int fd, const sigset_t *set, int flags),
     (fd, set, flags))
WRAP(CAN_FAIL, int, pipe2, -1, EMFILE, (int fds[2], int flags), (fds, flags))
WRAP(CAN_FAIL, int, socket, -1, EMFILE, (int family, int type, int protocol),
     (family, type, protocol))
WRAP(CAN_FAIL, int, socketpair, -1, EMFILE, (int family, int type, int protocol, int fds[2]),
     (family, type, protocol, fds))
WRAP(CAN_FAIL, int, bind, -1, EADDRINUSE, (int fd, const struct sockaddr *to, socklen_t n),
     (fd, to, n))
WRAP(CAN_FAIL, int, listen, -1, EADDRINUSE, (int fd, int n), (fd, n))
WRAP(CAN_EINTR, int, connect, -1, ECONNREFUSED, (int fd, const struct sockaddr *to, socklen_t n),
     (fd, to, n))
WRAP(CAN_EINTR, int, accept4, -1, EMFILE, (int fd, struct sockaddr *from, socklen_t *n, int flags),
     (fd, from, n, flags))
WRAP(CAN_EINTR, int, poll, -1, ENOMEM, (struct pollfd * fds, nfds_t n, int ms), (fds, n, ms))
WRAP(CAN_EINTR, int, ppoll, -1, ENOMEM,
     (struct pollfd * fds, nfds_t n, const struct timespec *t, const sigset_t *set),
     (fds, n, t, set))
WRAP(CAN_FAIL, int, posix_openpt, -1, EMFILE, (int flags), (flags))
WRAP(CAN_FAIL, int, tcgetattr, -1, EIO, (int fd, struct termios *t), (fd, t))
WRAP(CAN_FAIL, int, tcsetattr, -1, EIO, (int fd, int when, const struct termios *t), (fd, when, t))

/* Threads and processes. */

WRAP_NUMBER(CAN_FAIL, int, pthread_create, , EAGAIN,
	    (pthread_t * t, const pthread_attr_t *attr, void *(*fn)(void *), void *arg),
	    (t, attr, fn, arg))
WRAP(CAN_FAIL, int, pidfd_open, -1, EMFILE, (pid_t pid, unsigned int flags), (pid, flags))
WRAP(CAN_FAIL, pid_t, fork, -1, EAGAIN, (void), ())
WRAP_NUMBER(CAN_FAIL, int, posix_spawn, , EAGAIN,
	    (pid_t * pid, const char *path, const posix_spawn_file_actions_t *actions,
	     const posix_spawnattr_t *attr, char *const argv[], char *const env[]),
	    (pid, path, actions, attr, argv, env))
WRAP(CAN_ONLY_EINTR, pid_t, waitpid, -1, ECHILD, (pid_t pid, int *status, int how),
     (pid, status, how))
WRAP(CAN_ONLY_EINTR, int, waitid, -1, ECHILD, (idtype_t type, id_t id, siginfo_t *info, int how),
     (type, id, info, how))
WRAP(CAN_FAIL, int, setrlimit, -1, EPERM, (__rlimit_resource_t what, const struct rlimit *limit),
     (what, limit))
WRAP(CAN_FAIL, int, getrlimit, -1, EINVAL, (__rlimit_resource_t what, struct rlimit *limit),
     (what, limit))
WRAP(CAN_FAIL, int, sched_getaffinity, -1, EINVAL, (pid_t pid, size_t n, cpu_set_t *set),
     (pid, n, set))
WRAP(CAN_ONLY_EINTR, int, sem_wait, -1, EINTR, (sem_t * s), (s))
WRAP(CAN_ONLY_EINTR, int, nanosleep, -1, EINTR, (const struct timespec *t, struct timespec *left),
     (t, left))

/* Rings. */

static bool no_rings;

DECLARE(int, io_uring_queue_init_params,
	(unsigned int n, struct io_uring *r, struct io_uring_params *p));
int __wrap_io_uring_queue_init_params(unsigned int n, struct io_uring *r, struct io_uring_params *p)
{
	if (no_rings && atomic_load_explicit(&armed, memory_order_relaxed))
		return -EPERM;
	if (point("io_uring_queue_init_params", HERE, 0, CAN_FAIL))
		return -ENOMEM;
	return __real_io_uring_queue_init_params(n, r, p);
}

WRAP_NUMBER(CAN_FAIL, int, io_uring_register, -, ENOMEM,
	    (unsigned int fd, unsigned int op, const void *arg, unsigned int n), (fd, op, arg, n))
WRAP_NUMBER(CAN_FAIL, int, io_uring_register_buffers, -, ENOMEM,
	    (struct io_uring * r, const struct iovec *iov, unsigned int n), (r, iov, n))
WRAP_NUMBER(CAN_FAIL, int, io_uring_register_files, -, ENOMEM,
	    (struct io_uring * r, const int *fds, unsigned int n), (r, fds, n))
WRAP_NUMBER(CAN_FAIL, int, io_uring_register_files_update, -, ENOMEM,
	    (struct io_uring * r, unsigned int at, const int *fds, unsigned int n), (r, at, fds, n))
WRAP_NUMBER(CAN_EINTR, int, io_uring_submit, -, EAGAIN, (struct io_uring * r), (r))
WRAP_NUMBER(CAN_EINTR, int, io_uring_submit_and_get_events, -, EAGAIN, (struct io_uring * r), (r))
WRAP_NUMBER(CAN_EINTR, int, io_uring_submit_and_wait, -, EAGAIN,
	    (struct io_uring * r, unsigned int n), (r, n))
WRAP_NUMBER(CAN_EINTR, int, io_uring_submit_and_wait_timeout, -, EAGAIN,
	    (struct io_uring * r, struct io_uring_cqe **cqe, unsigned int n,
	     struct __kernel_timespec *t, sigset_t *set),
	    (r, cqe, n, t, set))

struct failing_book *failing_init(void)
{
	void *at = __real_mmap(NULL, sizeof(*book), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return NULL;
	book = at;
	json_set_alloc_funcs(json_allocate, free);
	return book;
}

void failing_arm(enum failing_how how, unsigned int n, bool lasting)
{
	atomic_store(&book->count, 0);
	atomic_store(&book->fired, 0);
	mode = how;
	nth = n;
	lasts = lasting;
	atomic_store(&armed, true);
}

void failing_rings(bool refused)
{
	no_rings = refused;
}

void failing_disarm(void)
{
	atomic_store(&armed, false);
}
