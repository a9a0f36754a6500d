/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify: writes a disk under load, and finds out whether it kept what it was given.
 *
 *	verify write TARGET FIRST COUNT [blocks|buffered|tell]…
 *	verify check TARGET FIRST END [blocks]
 *
 * TARGET is a block device or a file, of which the first MiB is used, in units of its sectors or,
 * with `blocks`, of 4 KiB. Operation k of a run is a read or a write of a place and a length that
 * follow from k alone, and so does each word written: another process can compute after a crash
 * what a sector ought to hold. The first operations of a run, from FIRST on, write everything once.
 *
 * `write` has several operations under way by Linux's own asynchronous I/O, with O_DIRECT unless
 * `buffered`; never two that overlap. It compares what it reads, flushes now and then, and after
 * COUNT operations (0: never) flushes, reads everything back and says "TARGET verified COUNT". With
 * `tell` it says "TARGET flushed END" behind each flush: what is in front of END is durable.
 *
 * `check` looks whether it is, and whether a sector holds what no operation wrote there.
 *
 * One small static program, for guests whose processor is slow; no library is needed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SECTOR      512U
#define WORDS       (SECTOR / sizeof(uint64_t))
#define AREA        (1U << 20)
#define SECTORS     (AREA / SECTOR)
#define LENGTH_MAX  65536U
#define DEPTH       16U
#define FLUSH_EVERY 32U

struct operation {
	uint64_t k;
	bool reads;
	unsigned int sector, sectors;
};

struct slot {
	struct iocb iocb; /* aio_data is the slot's number */
	struct operation op;
	bool busy;
	uint64_t *buffer;
};

struct target {
	const char *name;
	int fd;
	unsigned int unit; /* sectors that places and lengths are multiples of */
	bool tells;
	uint64_t first;
	uint64_t stamps[SECTORS]; /* the operation that wrote it last, plus one; 0: none */
	aio_context_t context;
	unsigned int inflight;
	struct slot slots[DEPTH];
};

static struct target target;

static void die(const struct target *t, const char *what)
{
	fprintf(stderr, "verify: %s: %s: %s\n", t->name, what, strerror(errno));
	exit(1);
}

/* The finalizer of splitmix64: a number without a pattern for each number. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15U;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
	x = (x ^ x >> 27) * 0x94d049bb133111ebU;
	return x ^ x >> 31;
}

static struct operation operation(const struct target *t, uint64_t k)
{
	const unsigned int units = SECTORS / t->unit, longest = LENGTH_MAX / SECTOR / t->unit;
	const uint64_t random = mix(k);
	struct operation op = {.k = k};
	unsigned int n;

	if (k - t->first < AREA / LENGTH_MAX) {
		op.sector = (unsigned int)(k - t->first) * (LENGTH_MAX / SECTOR);
		op.sectors = LENGTH_MAX / SECTOR;
		return op;
	}
	op.reads = random % 4 == 0;
	/* Mostly short ones: each length is drawn from a range that is drawn. */
	n = 1 + (unsigned int)(random >> 8) % longest;
	n = 1 + (unsigned int)(random >> 24 & 0xffff) % n;
	op.sectors = n * t->unit;
	op.sector = (unsigned int)(random >> 40) % (units - n + 1) * t->unit;
	return op;
}

/* What a sector holds when operation @stamp - 1 wrote it. */
static void fill(uint64_t *words, unsigned int sector, uint64_t stamp)
{
	uint64_t word = mix(stamp << 16 | sector);

	words[0] = stamp;
	for (unsigned int i = 1; i < WORDS; i++)
		words[i] = word += 0x9e3779b97f4a7c15U;
}

static bool holds(const uint64_t *words, unsigned int sector, uint64_t stamp)
{
	uint64_t expected[WORDS];

	fill(expected, sector, stamp);
	return memcmp(words, expected, SECTOR) == 0;
}

static void wrong(const struct target *t, unsigned int sector, const uint64_t *words,
		  const char *what)
{
	printf("%s: sector %u %s: it has stamp %llu and word %llx, and should have stamp %llu\n",
	       t->name, sector, what, (unsigned long long)words[0], (unsigned long long)words[1],
	       (unsigned long long)t->stamps[sector]);
	exit(1);
}

static void open_target(struct target *t, const char *name, uint64_t first, bool buffered,
			bool blocks)
{
	struct stat st;
	int bytes = blocks ? 4096 : SECTOR;
	char *room;

	t->name = name;
	t->first = first;
	t->fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | (buffered ? 0 : O_DIRECT), 0600);
	if (t->fd < 0 || fstat(t->fd, &st))
		die(t, "cannot open it");
	if (!blocks && S_ISBLK(st.st_mode) && ioctl(t->fd, BLKSSZGET, &bytes))
		die(t, "cannot ask for its block size");
	t->unit = (unsigned int)bytes / SECTOR;
	room = mmap(NULL, (size_t)DEPTH * LENGTH_MAX, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED || syscall(SYS_io_setup, DEPTH, &t->context))
		die(t, "cannot set up");
	for (unsigned int i = 0; i < DEPTH; i++)
		t->slots[i].buffer = (uint64_t *)(void *)(room + (size_t)i * LENGTH_MAX);
}

/* write */

static void submit(struct target *t, struct slot *s, const struct operation *op)
{
	struct iocb *one = &s->iocb;

	s->op = *op;
	for (unsigned int i = 0; i < op->sectors && !op->reads; i++) {
		t->stamps[op->sector + i] = op->k + 1;
		fill(s->buffer + i * WORDS, op->sector + i, op->k + 1);
	}
	*one = (struct iocb){
		.aio_data = (uint64_t)(s - t->slots),
		.aio_lio_opcode = op->reads ? IOCB_CMD_PREAD : IOCB_CMD_PWRITE,
		.aio_fildes = (uint32_t)t->fd,
		.aio_buf = (uintptr_t)s->buffer,
		.aio_nbytes = (uint64_t)op->sectors * SECTOR,
		.aio_offset = (int64_t)op->sector * SECTOR,
	};
	if (syscall(SYS_io_submit, t->context, 1L, &one) != 1)
		die(t, "cannot submit");
	s->busy = true;
	t->inflight++;
}

static void complete(struct target *t, const struct io_event *e)
{
	struct slot *s = &t->slots[e->data];
	const struct operation *op = &s->op;

	s->busy = false;
	t->inflight--;
	if (e->res != (int64_t)op->sectors * SECTOR) {
		errno = e->res < 0 ? (int)-e->res : EIO;
		die(t, op->reads ? "read" : "write");
	}
	for (unsigned int i = 0; i < op->sectors && op->reads; i++)
		if (!holds(s->buffer + i * WORDS, op->sector + i, t->stamps[op->sector + i]))
			wrong(t, op->sector + i, s->buffer + i * WORDS, "as it was read");
}

static void wait_for_one(struct target *t)
{
	struct io_event events[DEPTH];
	long n;

	do
		n = syscall(SYS_io_getevents, t->context, 1L, (long)DEPTH, events, NULL);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		die(t, "cannot wait");
	for (long i = 0; i < n; i++)
		complete(t, &events[i]);
}

/* A slot for @op, when nothing that is under way overlaps it. */
static struct slot *slot_for(struct target *t, const struct operation *op)
{
	struct slot *free = NULL;

	for (unsigned int i = 0; i < DEPTH; i++) {
		const struct operation *other = &t->slots[i].op;

		if (!t->slots[i].busy)
			free = &t->slots[i];
		else if (op->sector < other->sector + other->sectors &&
			 other->sector < op->sector + op->sectors)
			return NULL;
	}
	return free;
}

/* With whatever is under way; what is in front of the oldest of that is durable then. */
static void flush(struct target *t, uint64_t next)
{
	for (unsigned int i = 0; i < DEPTH; i++)
		if (t->slots[i].busy && t->slots[i].op.k < next)
			next = t->slots[i].op.k;
	if (fdatasync(t->fd))
		die(t, "flush");
	if (t->tells)
		printf("%s flushed %llu\n", t->name, (unsigned long long)next);
}

/* Calls @sector for each sector, as it is on the disk. */
static void read_back(struct target *t,
		      void (*check)(struct target *t, unsigned int sector, const uint64_t *words))
{
	uint64_t *words = t->slots[0].buffer;
	int fd = open(t->name, O_RDONLY | O_CLOEXEC | O_DIRECT);

	if (fd < 0)
		die(t, "cannot open it again");
	for (unsigned int at = 0; at < AREA; at += LENGTH_MAX) {
		if (pread(fd, words, LENGTH_MAX, at) != LENGTH_MAX)
			die(t, "read back");
		for (unsigned int i = 0; i < LENGTH_MAX / SECTOR; i++)
			check(t, at / SECTOR + i, words + i * WORDS);
	}
	close(fd);
}

static void as_written(struct target *t, unsigned int sector, const uint64_t *words)
{
	if (!holds(words, sector, t->stamps[sector]))
		wrong(t, sector, words, "read back");
}

static void write_all(struct target *t, uint64_t count)
{
	uint64_t k = t->first;

	for (; !count || k - t->first < count; k++) {
		const struct operation op = operation(t, k);
		struct slot *s;

		while (!(s = slot_for(t, &op)))
			wait_for_one(t);
		submit(t, s, &op);
		if (k % FLUSH_EVERY == FLUSH_EVERY - 1)
			flush(t, k + 1);
	}
	while (t->inflight)
		wait_for_one(t);
	flush(t, k);
	read_back(t, as_written);
	printf("%s verified %llu\n", t->name, (unsigned long long)count);
}

/* check */

/* What is there may be newer than what is durable, but a write to just this place. */
static void as_durable(struct target *t, unsigned int sector, const uint64_t *words)
{
	struct operation op;

	if (words[0] < t->stamps[sector] || !holds(words, sector, words[0]))
		wrong(t, sector, words, "after the crash");
	op = operation(t, words[0] - 1);
	if (op.reads || sector < op.sector || sector >= op.sector + op.sectors)
		wrong(t, sector, words, "belongs elsewhere");
}

static void check_all(struct target *t, uint64_t end)
{
	if (end <= t->first) {
		printf("%s: nothing of it is durable\n", t->name);
		exit(1);
	}
	for (uint64_t k = t->first; k < end; k++) {
		const struct operation op = operation(t, k);

		for (unsigned int i = 0; i < op.sectors && !op.reads; i++)
			t->stamps[op.sector + i] = k + 1;
	}
	read_back(t, as_durable);
	printf("%s checked %llu\n", t->name, (unsigned long long)end);
}

int main(int argc, char **argv)
{
	struct target *t = &target;
	bool buffered = false, blocks = false;

	for (int i = 5; i < argc; i++) {
		buffered |= !strcmp(argv[i], "buffered");
		blocks |= !strcmp(argv[i], "blocks");
		t->tells |= !strcmp(argv[i], "tell");
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 5) {
		fprintf(stderr, "usage: verify write|check TARGET FIRST COUNT|END [OPTION]…\n");
		return 2;
	}
	open_target(t, argv[2], strtoull(argv[3], NULL, 0), buffered, blocks);
	if (!strcmp(argv[1], "check"))
		check_all(t, strtoull(argv[4], NULL, 0));
	else
		write_all(t, strtoull(argv[4], NULL, 0));
	return 0;
}
