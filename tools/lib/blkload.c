/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * blkload: what a block device of a guest does, as one line of JSON.
 *
 *	blkload DEVICE NAME:BYTES:DEPTH:COUNT…
 *
 * Each load reads COUNT times BYTES at random aligned places of DEVICE with O_DIRECT, DEPTH of them
 * under way at any time, by Linux's own asynchronous I/O. A quarter of COUNT goes ahead unmeasured.
 * It runs in guests whose processor is slow: one small static program, without libaio.
 *
 * Figures: NAME_ns, the time of a request (all of them together, divided by COUNT), by the guest's
 * own monotonic clock.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX 256

struct load {
	int fd;
	uint64_t blocks; /* of @bytes each, on the device */
	size_t bytes;
	unsigned int depth;
	char *buffers;
	uint64_t random;
	aio_context_t context;
	struct iocb blocks_io[DEPTH_MAX];
};

static void die(const char *what)
{
	fprintf(stderr, "blkload: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* xorshift64: the same places in every run. */
static uint64_t next_block(struct load *l)
{
	l->random ^= l->random << 13;
	l->random ^= l->random >> 7;
	l->random ^= l->random << 17;
	return l->random % l->blocks;
}

static void prepare(struct load *l, struct iocb *io)
{
	size_t slot = (size_t)(io - l->blocks_io);

	memset(io, 0, sizeof(*io));
	io->aio_lio_opcode = IOCB_CMD_PREAD;
	io->aio_fildes = (uint32_t)l->fd;
	io->aio_buf = (uintptr_t)(l->buffers + slot * l->bytes);
	io->aio_nbytes = l->bytes;
	io->aio_offset = (int64_t)(next_block(l) * l->bytes);
	io->aio_data = slot;
}

static void submit(struct load *l, struct iocb **list, long n)
{
	for (long done = 0; done < n;) {
		long ret = syscall(SYS_io_submit, l->context, n - done, list + done);

		if (ret < 0 && errno != EAGAIN)
			die("io_submit");
		done += ret > 0 ? ret : 0;
	}
}

static void run(struct load *l, unsigned long count)
{
	struct io_event events[DEPTH_MAX];
	struct iocb *list[DEPTH_MAX];
	unsigned long started = 0, done = 0;
	long n = 0;

	for (; started < count && started < l->depth; started++) {
		prepare(l, &l->blocks_io[started]);
		list[n++] = &l->blocks_io[started];
	}
	submit(l, list, n);
	while (done < count) {
		long got = syscall(SYS_io_getevents, l->context, 1, l->depth, events, NULL);

		if (got < 0 && errno != EINTR)
			die("io_getevents");
		n = 0;
		for (long i = 0; i < got; i++) {
			if (events[i].res != (int64_t)l->bytes) {
				errno = events[i].res < 0 ? (int)-events[i].res : EIO;
				die("read");
			}
			done++;
			if (started++ >= count)
				continue;
			list[n] = &l->blocks_io[events[i].data];
			prepare(l, list[n++]);
		}
		submit(l, list, n);
	}
}

static void measure(int fd, uint64_t size, const char *spec)
{
	static struct load l;
	unsigned long count;
	uint64_t begin;
	char name[32];

	memset(&l, 0, sizeof(l));
	l.fd = fd;
	l.random = 88172645463325252u;
	if (sscanf(spec, "%31[^:]:%zu:%u:%lu", name, &l.bytes, &l.depth, &count) != 4 || !l.depth ||
	    l.depth > DEPTH_MAX || !l.bytes || l.bytes % 4096 || size < l.bytes || !count) {
		fprintf(stderr, "blkload: cannot do '%s'\n", spec);
		exit(1);
	}
	l.blocks = size / l.bytes;
	l.buffers = mmap(NULL, l.bytes * l.depth, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (l.buffers == MAP_FAILED || syscall(SYS_io_setup, l.depth, &l.context))
		die("setup");
	run(&l, count / 4 + 1);
	begin = now_ns();
	run(&l, count);
	printf(", \"%s_ns\": %llu", name, (unsigned long long)((now_ns() - begin) / count));
	syscall(SYS_io_destroy, l.context);
	munmap(l.buffers, l.bytes * l.depth);
}

int main(int argc, char **argv)
{
	off_t size;
	int fd;

	if (argc < 3) {
		fprintf(stderr, "usage: blkload DEVICE NAME:BYTES:DEPTH:COUNT…\n");
		return 1;
	}
	fd = open(argv[1], O_RDONLY | O_DIRECT | O_CLOEXEC);
	size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	if (size <= 0)
		die(argv[1]);
	printf("skep-bench: {\"bytes\": %lld", (long long)size);
	for (int i = 2; i < argc; i++)
		measure(fd, (uint64_t)size, argv[i]);
	puts("}");
	return 0;
}
