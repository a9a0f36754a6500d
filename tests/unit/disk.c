/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Disks against a model, on the deterministic worker: requests complete in any order, are cut short
 * and fail; the host is killed after every single step. Then the mistakes of persons, locks, limits
 * and what O_DIRECT asks for.
 */
#include <fcntl.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/disk.h"
#include "skep/err.h"
#include "skep/log.h"
#include "skep/worker.h"
#include "skep/worker_sim.h"
#include "support/cm.h"

#define SECTORS    256U
#define SIZE       (SECTORS * DISK_SECTOR)
#define AT_ONCE    6U
#define LONGEST    24U /* sectors in one request */
#define HISTORY    400U
#define STEPS_MOST 100000U

/* fdatasync() of everything linked to this program: what was durable when a file was last synced.
 */
static struct {
	bool on;
	uint8_t *copy;
	size_t room, size;
	atomic_uint calls;
} durable;

static void read_whole(int fd, uint8_t *to, size_t room, size_t *size)
{
	ssize_t n = pread(fd, to, room, 0);

	assert_true(n >= 0 && (size_t)n < room);
	*size = (size_t)n;
}

int fdatasync(int fd)
{
	durable.calls++;
	if (durable.on)
		read_whole(fd, durable.copy, durable.room, &durable.size);
	return 0;
}

struct place {
	char dir[64];
	char image[96];
	char overlay[96];
	struct err err;
};

static void put_file(const char *path, const void *data, size_t size)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, size), size);
	close(fd);
}

/* A sector is its tag, over and over. */
static void fill_sector(uint8_t *at, uint64_t tag)
{
	for (unsigned int i = 0; i < DISK_SECTOR; i += 8)
		store_le64(at + i, tag);
}

static uint64_t base_tag(unsigned int sector)
{
	return UINT64_C(0xba5e00000000) + sector;
}

static void place_init(struct place *p)
{
	uint8_t *data = malloc(SIZE);

	memset(p, 0, sizeof(*p));
	strcpy(p->dir, "/tmp/skep-disk-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	snprintf(p->image, sizeof(p->image), "%s/image", p->dir);
	snprintf(p->overlay, sizeof(p->overlay), "%s/overlay", p->dir);
	assert_non_null(data);
	for (unsigned int s = 0; s < SECTORS; s++)
		fill_sector(data + (size_t)s * DISK_SECTOR, base_tag(s));
	put_file(p->image, data, SIZE);
	free(data);
}

static void place_fini(struct place *p)
{
	unlink(p->image);
	unlink(p->overlay);
	assert_int_equal(rmdir(p->dir), 0);
}

static struct disk_options plain(const struct place *p)
{
	return (struct disk_options){.path = p->image, .discard = true, .burst = 100};
}

static struct disk *open_disk(struct place *p, const struct disk_options *o)
{
	struct disk *d;

	if (disk_open(&d, o, NULL, &p->err))
		fail_msg("%s", p->err.text);
	return d;
}

/* A disk on the deterministic worker. */
struct bench {
	struct worker *worker;
	struct disk *disk;
	struct disk_queue *queue;
	uint64_t random;
};

static uint64_t draw(struct bench *b, uint64_t below)
{
	b->random = b->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (b->random >> 33) % below;
}

static void bench_open(struct bench *b, struct place *p, const struct disk_options *o,
		       uint64_t seed)
{
	struct err err;

	b->random = seed * 77 + 1;
	assert_int_equal(worker_sim_create(&b->worker, seed, &err), 0);
	b->disk = open_disk(p, o);
	assert_int_equal(disk_queue_open(&b->queue, b->disk, b->worker, &err), 0);
}

static void bench_close(struct bench *b)
{
	disk_queue_close(b->queue);
	disk_close(b->disk);
	worker_destroy(b->worker);
}

struct single {
	struct disk_request request; /* first */
	bool done;
	int result;
};

static void single_done(struct disk_request *r, int result)
{
	struct single *s = container_of(r, struct single, request);

	assert_false(s->done);
	s->done = true;
	s->result = result;
}

static struct single single_new(void)
{
	return (struct single){.request.done = single_done};
}

static int finish(struct bench *b, struct single *s)
{
	assert_false(s->done); /* never from within the call */
	worker_sim_run(b->worker, STEPS_MOST);
	assert_true(s->done);
	return s->result;
}

static int do_read(struct bench *b, void *to, size_t len, uint64_t offset)
{
	struct iovec iov = {to, len};
	struct single s = single_new();

	disk_read(b->queue, &s.request, &iov, 1, offset);
	return finish(b, &s);
}

static int do_write(struct bench *b, const void *from, size_t len, uint64_t offset)
{
	struct iovec iov = {(void *)(uintptr_t)from, len};
	struct single s = single_new();

	disk_write(b->queue, &s.request, &iov, 1, offset);
	return finish(b, &s);
}

static int do_flush(struct bench *b)
{
	struct single s = single_new();

	disk_flush(b->queue, &s.request);
	return finish(b, &s);
}

static int do_discard(struct bench *b, uint64_t offset, uint64_t len)
{
	struct single s = single_new();

	disk_discard(b->queue, &s.request, offset, len);
	return finish(b, &s);
}

static int do_zero(struct bench *b, uint64_t offset, uint64_t len, bool unmap)
{
	struct single s = single_new();

	disk_write_zeroes(b->queue, &s.request, offset, len, unmap);
	return finish(b, &s);
}

/* The model */

struct sector {
	uint64_t tags[HISTORY]; /* in the order written; the first is the image's own */
	unsigned int count;
	unsigned int done;  /* the last one whose write completed */
	unsigned int floor; /* the last one that was flushed */
	bool busy;          /* a request is under way on it */
	bool any;           /* failed or discarded: may hold anything */
};

enum kind { READ, WRITE, ZERO, DISCARD, FLUSH };

struct job {
	struct disk_request request; /* first */
	struct load *load;
	bool busy;
	enum kind kind;
	unsigned int first, count;
	uint64_t tag;
	uint8_t *data;
	struct iovec iov[8];
	unsigned int mark[SECTORS]; /* of a flush: what was done when it began */
};

struct load {
	struct bench bench;
	struct sector sectors[SECTORS];
	struct job jobs[AT_ONCE];
	uint64_t next_tag;
	unsigned int left, completed, failures;
	bool discards;
};

static void check_sector(const struct sector *s, const uint8_t *at)
{
	uint64_t tag = load_le64(at);
	bool known = false;

	if (s->any)
		return;
	for (unsigned int i = 0; i < DISK_SECTOR; i += 8)
		assert_true(load_le64(at + i) == tag);
	for (unsigned int i = s->floor; i < s->count; i++)
		known |= s->tags[i] == tag;
	assert_true(known);
}

static void job_over(struct job *j, int result)
{
	struct load *l = j->load;

	for (unsigned int i = 0; i < j->count; i++) {
		struct sector *s = &l->sectors[j->first + i];

		s->busy = false;
		if (j->kind == READ) {
			if (!result && !s->any)
				assert_true(load_le64(j->data + i * DISK_SECTOR) ==
					    s->tags[s->count - 1]);
			if (!result)
				check_sector(s, j->data + i * DISK_SECTOR);
		} else if (result || j->kind == DISCARD) {
			s->any = true;
		} else {
			s->done = s->count - 1;
			s->any = false;
		}
	}
	if (j->kind == FLUSH && !result)
		for (unsigned int i = 0; i < SECTORS; i++)
			l->sectors[i].floor = MAX(l->sectors[i].floor, j->mark[i]);
}

static void job_done(struct disk_request *r, int result)
{
	struct job *j = container_of(r, struct job, request);

	assert_true(j->busy);
	j->busy = false;
	j->load->completed++;
	j->load->failures += result != 0;
	job_over(j, result);
}

/* A run of sectors that no request is under way on. */
static bool choose(struct load *l, struct job *j)
{
	j->count = 1 + (unsigned int)draw(&l->bench, LONGEST);
	j->first = (unsigned int)draw(&l->bench, SECTORS - j->count + 1);
	for (unsigned int i = 0; i < j->count; i++)
		if (l->sectors[j->first + i].busy)
			return false;
	for (unsigned int i = 0; i < j->count; i++)
		l->sectors[j->first + i].busy = true;
	return true;
}

/* The data in pieces of any size, empty ones too. */
static unsigned int scatter(struct load *l, struct job *j)
{
	size_t left = (size_t)j->count * DISK_SECTOR;
	uint8_t *at = j->data;
	unsigned int n = 0;

	for (; n < ARRAY_SIZE(j->iov) - 1 && left; n++) {
		size_t len = (size_t)draw(&l->bench, left + 1);

		j->iov[n] = (struct iovec){at, len};
		at += len;
		left -= len;
	}
	j->iov[n++] = (struct iovec){at, left};
	return n;
}

static void submit_write(struct load *l, struct job *j)
{
	uint64_t offset = (uint64_t)j->first * DISK_SECTOR;

	j->tag = j->kind == ZERO ? 0 : ++l->next_tag;
	for (unsigned int i = 0; i < j->count; i++) {
		struct sector *s = &l->sectors[j->first + i];

		assert_true(s->count < HISTORY);
		s->tags[s->count++] = j->tag;
		fill_sector(j->data + i * DISK_SECTOR, j->tag);
	}
	if (j->kind == ZERO)
		disk_write_zeroes(l->bench.queue, &j->request, offset,
				  (uint64_t)j->count * DISK_SECTOR, draw(&l->bench, 2));
	else
		disk_write(l->bench.queue, &j->request, j->iov, scatter(l, j), offset);
}

static void submit(struct load *l, struct job *j)
{
	static const enum kind kinds[] = {READ, READ, WRITE, WRITE, WRITE, ZERO, FLUSH, DISCARD};
	uint64_t offset;

	j->kind = kinds[draw(&l->bench, l->discards ? 8 : 7)];
	j->count = 0;
	if (j->kind != FLUSH && !choose(l, j))
		return;
	j->busy = true;
	l->left--;
	offset = (uint64_t)j->first * DISK_SECTOR;
	switch (j->kind) {
	case READ:
		memset(j->data, 0xee, (size_t)j->count * DISK_SECTOR);
		disk_read(l->bench.queue, &j->request, j->iov, scatter(l, j), offset);
		break;
	case WRITE:
	case ZERO:
		submit_write(l, j);
		break;
	case DISCARD:
		disk_discard(l->bench.queue, &j->request, offset, (uint64_t)j->count * DISK_SECTOR);
		break;
	case FLUSH:
		for (unsigned int i = 0; i < SECTORS; i++)
			j->mark[i] = l->sectors[i].done;
		disk_flush(l->bench.queue, &j->request);
		break;
	}
}

static struct load *load_new(struct place *p, const struct disk_options *o, uint64_t seed,
			     unsigned int requests)
{
	struct load *l = calloc(1, sizeof(*l));

	assert_non_null(l);
	bench_open(&l->bench, p, o, seed);
	l->left = requests;
	for (unsigned int s = 0; s < SECTORS; s++) {
		l->sectors[s].tags[0] = base_tag(s);
		l->sectors[s].count = 1;
	}
	for (unsigned int i = 0; i < AT_ONCE; i++) {
		struct job *j = &l->jobs[i];

		j->load = l;
		j->request.done = job_done;
		j->data = malloc((size_t)LONGEST * DISK_SECTOR);
		assert_non_null(j->data);
	}
	return l;
}

static void load_free(struct load *l)
{
	for (unsigned int i = 0; i < AT_ONCE; i++)
		free(l->jobs[i].data);
	free(l);
}

/* One request more if there is a place for it, and one step. False: all is over. */
static bool load_step(struct load *l)
{
	struct job *j = &l->jobs[draw(&l->bench, AT_ONCE)];

	if (l->left && !j->busy)
		submit(l, j);
	return worker_sim_step(l->bench.worker) || l->left;
}

/* Everything reads as the model has it. */
static void check_all(struct load *l, struct bench *b)
{
	uint8_t *data = malloc(SIZE);

	assert_non_null(data);
	assert_int_equal(do_read(b, data, SIZE, 0), 0);
	for (unsigned int s = 0; s < SECTORS; s++)
		check_sector(&l->sectors[s], data + (size_t)s * DISK_SECTOR);
	free(data);
}

/* What was completed is what counts, now that nothing is under way. */
static void settle_model(struct load *l)
{
	for (unsigned int s = 0; s < SECTORS; s++)
		l->sectors[s].floor = l->sectors[s].count - 1;
}

static void check_untouched(const struct place *p)
{
	uint8_t *data = malloc(SIZE + 1);
	size_t size;
	int fd = open(p->image, O_RDONLY);

	read_whole(fd, data, SIZE + 1, &size);
	close(fd);
	assert_int_equal(size, SIZE);
	for (unsigned int s = 0; s < SECTORS; s++)
		assert_true(load_le64(data + (size_t)s * DISK_SECTOR) == base_tag(s));
	free(data);
}

static void run_load(struct disk_options o, struct place *p, uint64_t seed, unsigned int fail)
{
	struct load *l = load_new(p, &o, seed, 300);
	struct bench again;

	l->discards = true;
	worker_sim_shorten(l->bench.worker, 3);
	worker_sim_fail(l->bench.worker, fail, EIO);
	while (load_step(l))
		;
	assert_int_equal(l->completed, 300);
	assert_int_equal(l->failures != 0, fail != 0);
	worker_sim_fail(l->bench.worker, 0, 0);
	settle_model(l);
	check_all(l, &l->bench);
	bench_close(&l->bench);
	if (o.overlay)
		check_untouched(p);
	/* With a temporary overlay the image is all there is; without failures, all was kept. */
	if (!o.overlay || (strcmp(o.overlay, "temporary") != 0 && !fail)) {
		bench_open(&again, p, &o, 0);
		check_all(l, &again);
		bench_close(&again);
	}
	load_free(l);
}

static void run_loads(unsigned int fail)
{
	static const char *const overlays[] = {NULL, "temporary", "file"};

	for (unsigned int i = 0; i < 3 * 3 * 4; i++) {
		struct disk_options o;
		struct place p;

		place_init(&p);
		o = plain(&p);
		o.cache = i % 3;
		o.overlay = overlays[i / 3 % 3];
		if (o.overlay && !strcmp(o.overlay, "file"))
			o.overlay = p.overlay;
		run_load(o, &p, i + 1, fail);
		place_fini(&p);
	}
}

static void test_model(void **state)
{
	(void)state;
	run_loads(0);
}

static void test_model_with_failures(void **state)
{
	(void)state;
	run_loads(15);
}

/* Killed at every step */

/* The overlay as a crash leaves it: this content, opened anew. */
static void check_crash(struct load *l, struct place *p, const uint8_t *content, size_t size)
{
	struct disk_options o = plain(p);
	char path[128];
	struct bench b;

	snprintf(path, sizeof(path), "%s/crashed", p->dir);
	put_file(path, content, size);
	o.overlay = path;
	durable.on = false;
	bench_open(&b, p, &o, 0);
	check_all(l, &b);
	bench_close(&b);
	durable.on = true;
	unlink(path);
}

/* Of what was written since the last sync, the host has lost some sectors and kept others. */
static void mix(struct bench *b, uint8_t *now, size_t size)
{
	for (size_t at = 0; at < size; at += DISK_SECTOR) {
		size_t n = MIN(size - at, (size_t)DISK_SECTOR);

		if (draw(b, 2))
			continue;
		if (at + n <= durable.size)
			memcpy(now + at, durable.copy + at, n);
		else
			memset(now + at, 0, n);
	}
}

static void crash_everywhere(uint64_t seed, unsigned int cache)
{
	struct disk_options o;
	struct place p;
	struct load *l;
	uint8_t *now;
	size_t size;
	int fd;

	place_init(&p);
	o = plain(&p);
	o.overlay = p.overlay;
	o.cache = cache;
	durable.room = MIB(1);
	durable.copy = malloc(durable.room);
	now = malloc(durable.room);
	l = load_new(&p, &o, seed, 60);
	fd = open(p.overlay, O_RDONLY);
	assert_true(fd >= 0);
	durable.on = true;
	fdatasync(fd);
	while (load_step(l)) {
		read_whole(fd, now, durable.room, &size);
		check_crash(l, &p, now, size); /* skep was killed */
		mix(&l->bench, now, size);
		check_crash(l, &p, now, size); /* the host was */
	}
	durable.on = false;
	close(fd);
	settle_model(l);
	check_all(l, &l->bench);
	bench_close(&l->bench);
	load_free(l);
	free(now);
	free(durable.copy);
	place_fini(&p);
}

static void test_crash_at_every_step(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 8; seed++)
		crash_everywhere(seed, DISK_WRITEBACK);
}

/* With cache=writethrough whatever completed is durable: then every write is its own flush. */
static void test_crash_writethrough(void **state)
{
	struct disk_options o;
	struct place p;
	struct bench b, again;
	uint8_t sector[DISK_SECTOR], back[DISK_SECTOR];

	(void)state;
	place_init(&p);
	o = plain(&p);
	o.overlay = p.overlay;
	o.cache = DISK_WRITETHROUGH;
	bench_open(&b, &p, &o, 3);
	durable.room = MIB(1);
	durable.copy = malloc(durable.room);
	durable.on = true;
	fill_sector(sector, 7);
	assert_int_equal(do_write(&b, sector, sizeof(sector), 5 * DISK_SECTOR), 0);
	durable.on = false;
	bench_close(&b);
	unlink(p.overlay);
	put_file(p.overlay, durable.copy, durable.size);
	free(durable.copy);
	bench_open(&again, &p, &o, 0);
	assert_int_equal(do_read(&again, back, sizeof(back), 5 * DISK_SECTOR), 0);
	assert_memory_equal(back, sector, sizeof(back));
	bench_close(&again);
	place_fini(&p);
}

/* An overlay cut off while it was being made is made anew. */
static void test_overlay_half_made(void **state)
{
	struct disk_options o;
	struct place p;
	struct bench b;
	uint8_t sector[DISK_SECTOR];

	(void)state;
	place_init(&p);
	o = plain(&p);
	o.overlay = p.overlay;
	for (off_t size = 0; size <= 4096; size += 4096) {
		disk_close(open_disk(&p, &o));
		assert_int_equal(truncate(p.overlay, size), 0);
		bench_open(&b, &p, &o, 0);
		assert_int_equal(do_read(&b, sector, sizeof(sector), 0), 0);
		assert_true(load_le64(sector) == base_tag(0));
		bench_close(&b);
	}
	place_fini(&p);
}

/* When is data durable */

static unsigned int syncs_of_write_and_flush(struct place *p, unsigned int cache, bool through,
					     unsigned int *of_write)
{
	struct disk_options o = plain(p);
	uint8_t sector[DISK_SECTOR] = {0};
	struct bench b;
	unsigned int before;

	o.cache = cache;
	bench_open(&b, p, &o, 1);
	if (through)
		disk_set_write_through(b.disk, true);
	before = durable.calls;
	assert_int_equal(do_write(&b, sector, sizeof(sector), 0), 0);
	assert_int_equal(do_zero(&b, 0, 4096, false), 0);
	*of_write = durable.calls - before;
	before = durable.calls;
	assert_int_equal(do_flush(&b), 0);
	before = durable.calls - before;
	bench_close(&b);
	return before;
}

static void test_cache_modes(void **state)
{
	unsigned int of_write;
	struct place p;

	(void)state;
	place_init(&p);
	assert_int_equal(syncs_of_write_and_flush(&p, DISK_WRITEBACK, false, &of_write), 1);
	assert_int_equal(of_write, 0);
	assert_int_equal(syncs_of_write_and_flush(&p, DISK_WRITETHROUGH, false, &of_write), 1);
	assert_int_equal(of_write, 2);
	assert_int_equal(syncs_of_write_and_flush(&p, DISK_WRITEBACK, true, &of_write), 1);
	assert_int_equal(of_write, 2);
	assert_int_equal(syncs_of_write_and_flush(&p, DISK_UNSAFE, true, &of_write), 0);
	assert_int_equal(of_write, 0);
	place_fini(&p);
}

/* What the host could not make durable it forgets: no later flush may say that it is. */
static void test_failed_flush_stays(void **state)
{
	uint8_t sector[DISK_SECTOR] = {0};
	struct disk_options o;
	struct place p;
	struct bench b;

	(void)state;
	place_init(&p);
	for (unsigned int i = 0; i < 2; i++) {
		o = plain(&p);
		o.overlay = i ? p.overlay : NULL;
		bench_open(&b, &p, &o, 1);
		assert_int_equal(do_write(&b, sector, sizeof(sector), 0), 0);
		worker_sim_fail(b.worker, 1, EIO);
		assert_int_equal(do_flush(&b), -EIO);
		worker_sim_fail(b.worker, 0, 0);
		assert_int_equal(do_flush(&b), -EIO);
		assert_int_equal(do_write(&b, sector, sizeof(sector), 0), 0);
		assert_int_equal(do_read(&b, sector, sizeof(sector), 0), 0);
		bench_close(&b);
	}
	place_fini(&p);
}

/* Nor may the one that waited for the turn of the failed one. */
static void test_failed_flush_fails_the_next(void **state)
{
	uint8_t sector[DISK_SECTOR] = {0};
	struct single first = single_new(), second = single_new();
	struct disk_options o;
	struct place p;
	struct bench b;

	(void)state;
	place_init(&p);
	o = plain(&p);
	o.overlay = p.overlay;
	bench_open(&b, &p, &o, 1);
	assert_int_equal(do_write(&b, sector, sizeof(sector), 0), 0);
	disk_flush(b.queue, &first.request);
	disk_flush(b.queue, &second.request);
	worker_sim_fail(b.worker, 1, EIO);
	assert_true(worker_sim_step(b.worker));
	worker_sim_fail(b.worker, 0, 0);
	worker_sim_run(b.worker, STEPS_MOST);
	assert_true(first.done && second.done);
	assert_int_equal(first.result, -EIO);
	assert_int_equal(second.result, -EIO);
	bench_close(&b);
	place_fini(&p);
}

/* A table that could not be written, unlike data that was lost, is written by the next flush. */
static void test_flush_again(void **state)
{
	uint8_t sector[DISK_SECTOR], back[DISK_SECTOR];
	struct single s = single_new();
	struct disk_options o;
	struct place p;
	struct bench b;

	(void)state;
	place_init(&p);
	o = plain(&p);
	o.overlay = p.overlay;
	bench_open(&b, &p, &o, 1);
	fill_sector(sector, 9);
	assert_int_equal(do_write(&b, sector, sizeof(sector), 0), 0);
	disk_flush(b.queue, &s.request);
	assert_true(worker_sim_step(b.worker)); /* the data */
	worker_sim_fail(b.worker, 1, ENOSPC);
	assert_int_equal(finish(&b, &s), -ENOSPC);
	worker_sim_fail(b.worker, 0, 0);
	assert_int_equal(do_flush(&b), 0);
	bench_close(&b);
	bench_open(&b, &p, &o, 1);
	assert_int_equal(do_read(&b, back, sizeof(back), 0), 0);
	assert_memory_equal(back, sector, sizeof(back));
	bench_close(&b);
	place_fini(&p);
}

/* At run time */

static void test_shrunk(void **state)
{
	uint8_t data[4 * DISK_SECTOR];
	struct disk_options o;
	struct place p;
	struct bench b;

	(void)state;
	place_init(&p);
	o = plain(&p);
	bench_open(&b, &p, &o, 1);
	assert_int_equal(truncate(p.image, SIZE - 2 * DISK_SECTOR), 0);
	assert_int_equal(do_read(&b, data, sizeof(data), SIZE - sizeof(data)), -EIO);
	assert_int_equal(do_read(&b, data, DISK_SECTOR, SIZE - DISK_SECTOR), -EIO);
	assert_int_equal(do_read(&b, data, sizeof(data), 0), 0);
	bench_close(&b);
	place_fini(&p);
}

static void test_full(void **state)
{
	uint8_t sector[DISK_SECTOR] = {0}, back[DISK_SECTOR];
	struct disk_options o;
	struct place p;
	struct bench b;

	(void)state;
	place_init(&p);
	o = plain(&p);
	o.overlay = p.overlay;
	bench_open(&b, &p, &o, 1);
	worker_sim_fail(b.worker, 1, ENOSPC);
	assert_int_equal(do_write(&b, sector, sizeof(sector), 0), -ENOSPC);
	worker_sim_fail(b.worker, 0, 0);
	assert_int_equal(do_read(&b, back, sizeof(back), 0), 0);
	assert_true(load_le64(back) == base_tag(0));
	assert_int_equal(do_write(&b, sector, sizeof(sector), 0), 0);
	bench_close(&b);
	place_fini(&p);
}

static void test_out_of_bounds(void **state)
{
	uint8_t sector[2 * DISK_SECTOR] = {0};
	struct disk_options o;
	struct place p;
	struct bench b;

	(void)state;
	place_init(&p);
	o = plain(&p);
	bench_open(&b, &p, &o, 1);
	assert_int_equal(do_read(&b, sector, sizeof(sector), SIZE - DISK_SECTOR), -EINVAL);
	assert_int_equal(do_read(&b, sector, sizeof(sector), SIZE), -EINVAL);
	assert_int_equal(do_write(&b, sector, sizeof(sector), UINT64_MAX - 511), -EINVAL);
	assert_int_equal(do_read(&b, sector, 100, 0), -EINVAL);
	assert_int_equal(do_read(&b, sector, DISK_SECTOR, 100), -EINVAL);
	assert_int_equal(do_zero(&b, 0, UINT64_C(1) << 63, true), -EINVAL);
	assert_int_equal(do_discard(&b, SIZE, DISK_SECTOR), -EINVAL);
	assert_int_equal(do_read(&b, sector, 0, 0), 0);
	assert_int_equal(do_zero(&b, SIZE, 0, true), 0);
	bench_close(&b);
	o.ro = true;
	bench_open(&b, &p, &o, 1);
	assert_int_equal(do_read(&b, sector, DISK_SECTOR, 0), 0);
	assert_int_equal(do_write(&b, sector, DISK_SECTOR, 0), -EROFS);
	assert_int_equal(do_zero(&b, 0, DISK_SECTOR, true), -EROFS);
	assert_int_equal(do_discard(&b, 0, DISK_SECTOR), -EROFS);
	assert_int_equal(do_flush(&b), 0);
	bench_close(&b);
	check_untouched(&p);
	place_fini(&p);
}

/* Where the host has no way to zero a range, zeroes are written; a discard is then nothing. */
static void test_ranges_unsupported(void **state)
{
	uint8_t data[SIZE];
	struct disk_options o;
	struct place p;
	struct bench b;

	(void)state;
	place_init(&p);
	o = plain(&p);
	bench_open(&b, &p, &o, 1);
	worker_sim_fail(b.worker, 1, EOPNOTSUPP);
	assert_int_equal(do_discard(&b, 0, SIZE), 0);
	worker_sim_fail(b.worker, 3, EOPNOTSUPP);
	for (unsigned int i = 0; i < 20; i++) {
		int result = do_zero(&b, DISK_SECTOR, SIZE - 2 * DISK_SECTOR, i % 2);

		assert_true(!result || result == -EOPNOTSUPP);
	}
	worker_sim_fail(b.worker, 0, 0);
	assert_int_equal(do_read(&b, data, SIZE, 0), 0);
	assert_true(load_le64(data) == base_tag(0));
	assert_true(load_le64(data + SIZE - DISK_SECTOR) == base_tag(SECTORS - 1));
	for (unsigned int i = DISK_SECTOR; i < SIZE - DISK_SECTOR; i++)
		assert_int_equal(data[i], 0);
	bench_close(&b);
	place_fini(&p);
}

static void test_discard_frees(void **state)
{
	struct disk_options o;
	struct stat before, after;
	struct place p;
	struct bench b;

	(void)state;
	place_init(&p);
	o = plain(&p);
	for (unsigned int on = 0; on < 2; on++) {
		o.discard = on;
		bench_open(&b, &p, &o, 1);
		assert_int_equal(stat(p.image, &before), 0);
		assert_int_equal(do_discard(&b, 0, SIZE), 0);
		assert_int_equal(stat(p.image, &after), 0);
		assert_int_equal(after.st_size, SIZE);
		if (!on)
			assert_int_equal(after.st_blocks, before.st_blocks);
		else
			assert_true(after.st_blocks <= before.st_blocks);
		bench_close(&b);
	}
	place_fini(&p);
}

/* Limits */

struct asker {
	struct disk_waiter waiter; /* first */
	struct bench *bench;
	struct single reads[64];
	struct iovec iov;
	uint8_t data[DISK_SECTOR];
	unsigned int started, most;
};

/* Starts as many reads as it may, up to @most. */
static void ask(struct disk_waiter *w)
{
	struct asker *a = container_of(w, struct asker, waiter);

	while (a->started < a->most && disk_admits(a->bench->queue, w)) {
		struct single *s = &a->reads[a->started++];

		*s = single_new();
		a->iov = (struct iovec){a->data, DISK_SECTOR};
		disk_read(a->bench->queue, &s->request, &a->iov, 1, 0);
		worker_sim_run(a->bench->worker, STEPS_MOST);
	}
}

static void asker_init(struct asker *a, struct bench *b, unsigned int most)
{
	memset(a, 0, sizeof(*a));
	a->waiter.ready = ask;
	a->bench = b;
	a->most = most;
}

static void test_bandwidth(void **state)
{
	struct disk_options o;
	struct asker *a = malloc(sizeof(*a));
	struct place p;
	struct bench b;

	(void)state;
	assert_non_null(a);
	place_init(&p);
	o = plain(&p);
	o.bandwidth = 1;
	o.burst = 1100000;
	bench_open(&b, &p, &o, 1);
	assert_true(disk_info(b.disk)->one_queue);
	/* Each takes 512 s, and the burst is 1,100 s: two fit, and one more may overdraw. */
	asker_init(a, &b, 4);
	ask(&a->waiter);
	assert_int_equal(a->started, 3);
	assert_true(a->reads[2].done);
	assert_int_equal(a->reads[2].result, 0);
	worker_sim_run(b.worker, STEPS_MOST);
	assert_int_equal(a->started, 3);
	/* What does not ask is not held up. */
	assert_int_equal(do_flush(&b), 0);
	worker_sim_advance(b.worker, UINT64_MAX / 2);
	worker_sim_run(b.worker, STEPS_MOST);
	assert_int_equal(a->started, 4);
	bench_close(&b);
	place_fini(&p);
	free(a);
}

static void test_iops(void **state)
{
	struct asker *a = malloc(sizeof(*a));
	struct disk_queue *second;
	struct disk_options o;
	struct place p;
	struct bench b;

	(void)state;
	assert_non_null(a);
	place_init(&p);
	o = plain(&p);
	o.iops = 1;
	o.burst = 0;
	bench_open(&b, &p, &o, 1);
	assert_int_equal(disk_queue_open(&second, b.disk, b.worker, &p.err), -EINVAL);
	assert_non_null(strstr(p.err.text, "has one queue only"));
	asker_init(a, &b, 64);
	ask(&a->waiter);
	assert_in_range(a->started, 1, 63);
	/* Time enough for all of them. */
	worker_sim_advance(b.worker, UINT64_MAX / 2);
	worker_sim_run(b.worker, STEPS_MOST);
	assert_int_equal(a->started, 64);
	/* Who waits while the queue is closed is not called. */
	a->started = 0;
	ask(&a->waiter);
	bench_close(&b);
	assert_in_range(a->started, 0, 63);
	place_fini(&p);
	free(a);
}

/* Who is forgotten is not called, and may ask again. */
static void test_forget(void **state)
{
	struct asker *a = malloc(sizeof(*a));
	unsigned int before;
	struct disk_options o;
	struct place p;
	struct bench b;

	(void)state;
	assert_non_null(a);
	place_init(&p);
	o = plain(&p);
	o.iops = 1;
	o.burst = 0;
	bench_open(&b, &p, &o, 1);
	asker_init(a, &b, 64);
	ask(&a->waiter);
	disk_forget(b.queue);
	disk_forget(b.queue);
	before = a->started;
	worker_sim_advance(b.worker, UINT64_MAX / 2);
	worker_sim_run(b.worker, STEPS_MOST);
	assert_int_equal(a->started, before);
	/* Asking while what was forgotten is still on its way out. */
	ask(&a->waiter);
	disk_forget(b.queue);
	ask(&a->waiter);
	worker_sim_run(b.worker, STEPS_MOST);
	assert_int_equal(a->started, 64);
	bench_close(&b);
	place_fini(&p);
	free(a);
}

/* O_DIRECT */

static void test_direct(void **state)
{
	uint8_t *memory = aligned_alloc(4096, SIZE + 4096), *back = aligned_alloc(4096, SIZE);
	struct single s[3];
	struct iovec iov[3][2];
	struct disk_options o;
	struct place p;
	struct bench b;
	struct disk *d;

	(void)state;
	place_init(&p);
	o = plain(&p);
	o.direct = true;
	if (disk_open(&d, &o, NULL, &p.err)) {
		assert_non_null(strstr(p.err.text, "no direct I/O; leave out direct"));
		place_fini(&p);
		free(memory);
		free(back);
		skip();
	}
	disk_close(d);
	bench_open(&b, &p, &o, 5);
	/* Three at once, from memory that is nowhere near aligned: all want the bounce buffer. */
	for (unsigned int i = 0; i < 3; i++) {
		uint8_t *at = memory + 1 + i * 8192;

		for (unsigned int k = 0; k < 16; k++)
			fill_sector(at + k * DISK_SECTOR, 100 + i);
		s[i] = single_new();
		iov[i][0] = (struct iovec){at, 100};
		iov[i][1] = (struct iovec){at + 100, 8192 - 100};
		disk_write(b.queue, &s[i].request, iov[i], 2, i * UINT64_C(8192));
	}
	worker_sim_run(b.worker, STEPS_MOST);
	for (unsigned int i = 0; i < 3; i++) {
		assert_true(s[i].done);
		assert_int_equal(s[i].result, 0);
	}
	assert_int_equal(do_read(&b, back, 24576, 0), 0);
	for (unsigned int i = 0; i < 24576; i += 8)
		assert_true(load_le64(back + i) == 100 + i / 8192);
	assert_int_equal(do_read(&b, memory + 3, SIZE, 0), 0);
	assert_memory_equal(memory + 3, back, 24576);
	assert_int_equal(do_zero(&b, 0, 8192, false), 0);
	assert_int_equal(do_read(&b, back, 16384, 0), 0);
	assert_true(load_le64(back + 8184) == 0 && load_le64(back + 8192) == 101);
	if (disk_info(b.disk)->align > DISK_SECTOR)
		assert_int_equal(do_write(&b, back, DISK_SECTOR, DISK_SECTOR), -EINVAL);
	bench_close(&b);
	place_fini(&p);
	free(memory);
	free(back);
}

/* Locks */

static void refused(struct place *p, const struct disk_options *o, int rc, const char *sentence)
{
	struct disk *d = NULL;
	struct err err = {0};
	int got = disk_open(&d, o, NULL, &err);

	if (!got)
		disk_close(d);
	if (got != rc || !strstr(err.text, sentence) || strchr(err.text, '\n'))
		fail_msg("%d '%s' instead of %d '%s'", got, err.text, rc, sentence);
	(void)p;
}

static void test_locks(void **state)
{
	struct disk_options writer, reader, overlaid;
	struct place p;
	struct disk *d, *other;

	(void)state;
	place_init(&p);
	writer = reader = overlaid = plain(&p);
	reader.ro = true;
	overlaid.overlay = p.overlay;
	d = open_disk(&p, &writer);
	refused(&p, &writer, -EBUSY, "is in use by another machine or process, and only one may");
	refused(&p, &reader, -EBUSY, "is in use by another machine or process, which writes to it");
	refused(&p, &overlaid, -EBUSY, p.image);
	disk_close(d);
	/* Readers get along, also those that write to an overlay. */
	d = open_disk(&p, &reader);
	other = open_disk(&p, &overlaid);
	refused(&p, &writer, -EBUSY, p.image);
	refused(&p, &overlaid, -EBUSY, p.overlay);
	disk_close(d);
	disk_close(other);
	d = open_disk(&p, &writer);
	disk_close(d);
	place_fini(&p);
}

/* A process that is killed leaves no lock behind. */
static void test_lock_of_the_dead(void **state)
{
	struct disk_options o;
	struct place p;
	int pipes[2], status;
	pid_t pid;
	char byte;

	(void)state;
	place_init(&p);
	o = plain(&p);
	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	if (!pid) {
		struct disk *d;

		byte = disk_open(&d, &o, NULL, NULL) ? 'n' : 'y';
		if (write(pipes[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_true(pid > 0);
	assert_int_equal(read(pipes[0], &byte, 1), 1);
	assert_int_equal(byte, 'y');
	refused(&p, &o, -EBUSY, "is in use by another machine or process");
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	disk_close(open_disk(&p, &o));
	close(pipes[0]);
	close(pipes[1]);
	place_fini(&p);
}

/* Whoever else has the file still, as a ring may, does not keep the lock. */
static void test_lock_ends_with_the_disk(void **state)
{
	struct disk_options o;
	struct disk *d;
	struct place p;
	int status;
	pid_t pid;

	(void)state;
	place_init(&p);
	o = plain(&p);
	d = open_disk(&p, &o);
	pid = fork();
	if (!pid)
		for (;;)
			pause();
	assert_true(pid > 0);
	disk_close(d);
	disk_close(open_disk(&p, &o));
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	place_fini(&p);
}

/* Mistakes */

static void test_bad_images(void **state)
{
	struct disk_options o;
	struct place p;

	(void)state;
	place_init(&p);
	o = plain(&p);
	o.path = NULL;
	refused(&p, &o, -EINVAL, "a disk needs an image: path=FILE");
	o.path = "/no/such/image";
	refused(&p, &o, -ENOENT, "cannot open the image /no/such/image: No such file");
	o.path = "/tmp";
	refused(&p, &o, -EISDIR, "the image /tmp is a directory");
	o.path = "/dev/null";
	refused(&p, &o, -EINVAL, "/dev/null is neither a regular file nor a block device");
	o.path = p.image;
	assert_int_equal(truncate(p.image, 0), 0);
	refused(&p, &o, -EINVAL, "is empty; give it a size with 'truncate");
	assert_int_equal(truncate(p.image, 1000), 0);
	refused(&p, &o, -EINVAL, "has 1000 bytes, which is not a multiple of 512");
	assert_int_equal(truncate(p.image, 4096 + 512), 0);
	o.block_size = 4096;
	refused(&p, &o, -EINVAL, "not a multiple of its block-size of 4096");
	o.block_size = 1000;
	refused(&p, &o, -EINVAL, "block-size is 512 or 4096, not 1000");
	o.block_size = 0;
	o.physical_block_size = 1000;
	refused(&p, &o, -EINVAL, "physical-block-size is a power of two");
	o.physical_block_size = 0;
	if (getuid()) {
		assert_int_equal(chmod(p.image, 0400), 0);
		refused(&p, &o, -EACCES, "need not be writable");
	}
	place_fini(&p);
}

static void test_bad_overlays(void **state)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = 1000000}};
	struct disk_options o;
	struct place p;

	(void)state;
	place_init(&p);
	o = plain(&p);
	o.overlay = "";
	refused(&p, &o, -EINVAL, "the overlay is a file, or 'temporary'");
	o.overlay = p.image;
	refused(&p, &o, -EINVAL, "cannot be the overlay of itself");
	o.overlay = "/no/such/overlay";
	refused(&p, &o, -ENOENT, "cannot open the overlay /no/such/overlay: No such file");
	o.overlay = "/dev/null";
	refused(&p, &o, -EINVAL, "the overlay /dev/null is not a regular file");
	o.overlay = p.overlay;
	o.ro = true;
	refused(&p, &o, -EINVAL, "ro and overlay exclude each other");
	o.ro = false;
	o.direct = true;
	refused(&p, &o, -EINVAL, "direct and overlay exclude each other");
	o.direct = false;
	put_file(p.overlay, "not an overlay", 14);
	refused(&p, &o, -EINVAL, "is not an overlay that skep made");
	unlink(p.overlay);
	disk_close(open_disk(&p, &o));
	assert_int_equal(truncate(p.overlay, 8192), 0);
	refused(&p, &o, -EINVAL, "is shorter than it was made");
	unlink(p.overlay);
	disk_close(open_disk(&p, &o));
	assert_int_equal(truncate(p.image, SIZE + 512), 0);
	refused(&p, &o, -EINVAL, "belongs to an image of 131072 bytes, and");
	assert_int_equal(truncate(p.image, SIZE), 0);
	assert_int_equal(utimensat(AT_FDCWD, p.image, times, 0), 0);
	refused(&p, &o, -EINVAL, "has been written to since the overlay");
	place_fini(&p);
}

/* Whatever bytes an overlay has in its header, it is refused or right. */
static void test_damaged_header(void **state)
{
	struct disk_options o;
	struct place p;
	struct disk *d;

	(void)state;
	place_init(&p);
	o = plain(&p);
	o.overlay = p.overlay;
	disk_close(open_disk(&p, &o));
	for (off_t at = 0; at < 48; at++) {
		int fd = open(p.overlay, O_RDWR);
		uint8_t byte;

		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		assert_int_equal(disk_open(&d, &o, NULL, &p.err), -EINVAL);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		close(fd);
	}
	disk_close(open_disk(&p, &o));
	place_fini(&p);
}

/* On io_uring */

struct run {
	struct single single; /* first */
	struct worker *worker;
};

static void stop_when_done(struct disk_request *r, int result)
{
	struct run *run = container_of(r, struct run, single.request);

	single_done(r, result);
	worker_stop(run->worker);
}

static void test_on_the_host(void **state)
{
	uint8_t out[8192], in[8192];
	struct iovec iov[2];
	struct disk_options o;
	struct disk_queue *q;
	struct worker *w;
	struct place p;
	struct disk *d;
	struct run run;

	(void)state;
	if (worker_probe(NULL))
		skip();
	place_init(&p);
	assert_int_equal(worker_create(&w, "test", &p.err), 0);
	o = plain(&p);
	o.overlay = p.overlay;
	d = open_disk(&p, &o);
	assert_int_equal(disk_queue_open(&q, d, w, &p.err), 0);
	memset(out, 0x5a, sizeof(out));
	for (unsigned int i = 0; i < 5; i++) {
		run = (struct run){.single.request.done = stop_when_done, .worker = w};
		iov[0] = (struct iovec){i == 1 ? in : out, 1000};
		iov[1] = (struct iovec){(uint8_t *)iov[0].iov_base + 1000, sizeof(out) - 1000};
		switch (i) {
		case 0:
			disk_write(q, &run.single.request, iov, 2, 4096);
			break;
		case 1:
			disk_read(q, &run.single.request, iov, 2, 4096);
			break;
		case 2:
			disk_flush(q, &run.single.request);
			break;
		case 3:
			disk_write_zeroes(q, &run.single.request, 0, 4096, true);
			break;
		default:
			disk_discard(q, &run.single.request, 0, SIZE);
			break;
		}
		assert_int_equal(worker_run(w), 0);
		assert_true(run.single.done);
		assert_int_equal(run.single.result, 0);
		if (i == 1)
			assert_memory_equal(in, out, sizeof(in));
	}
	disk_queue_close(q);
	disk_close(d);
	worker_destroy(w);
	check_untouched(&p);
	place_fini(&p);
}

/* Two workers with a queue each, on one disk */

struct pair {
	struct worker *worker;
	struct disk_queue *queue;
	struct disk_request request; /* one after the other */
	struct iovec iov;
	uint8_t data[4096];
	unsigned int left;
	uint64_t first; /* of the bytes that are this one's */
	sem_t over;
};

static void pair_next(struct disk_request *r, int result)
{
	struct pair *p = container_of(r, struct pair, request);
	uint64_t at = p->first + p->left % 8 * sizeof(p->data);

	assert_int_equal(result, 0);
	if (!p->left) {
		sem_post(&p->over);
		return;
	}
	p->left--;
	p->iov = (struct iovec){p->data, sizeof(p->data)};
	switch (p->left % 5) {
	case 0:
		disk_flush(p->queue, r);
		break;
	case 1:
		disk_write_zeroes(p->queue, r, at, sizeof(p->data), true);
		break;
	case 2:
		disk_read(p->queue, r, &p->iov, 1, at);
		break;
	default:
		disk_write(p->queue, r, &p->iov, 1, at);
		break;
	}
}

static void pair_begin(void *arg)
{
	struct pair *p = arg;

	pair_next(&p->request, 0);
}

static void test_two_workers(void **state)
{
	struct pair *pairs = calloc(2, sizeof(*pairs));
	struct disk_options o;
	struct place p;
	struct disk *d;

	(void)state;
	assert_non_null(pairs);
	place_init(&p);
	o = plain(&p);
	d = open_disk(&p, &o);
	for (unsigned int i = 0; i < 2; i++) {
		struct pair *q = &pairs[i];

		assert_int_equal(worker_create(&q->worker, "pair", &p.err), 0);
		assert_int_equal(disk_queue_open(&q->queue, d, q->worker, &p.err), 0);
		q->request.done = pair_next;
		q->left = 400;
		q->first = i * (uint64_t)SIZE / 2;
		memset(q->data, 1 + (int)i, sizeof(q->data));
		sem_init(&q->over, 0, 0);
		assert_int_equal(worker_start(q->worker, &p.err), 0);
		worker_call(q->worker, pair_begin, q);
	}
	for (unsigned int i = 0; i < 100; i++)
		disk_set_write_through(d, i % 2);
	for (unsigned int i = 0; i < 2; i++) {
		struct pair *q = &pairs[i];

		while (sem_wait(&q->over) && errno == EINTR)
			;
		worker_stop(q->worker);
		disk_queue_close(q->queue);
		worker_destroy(q->worker);
		sem_destroy(&q->over);
	}
	disk_close(d);
	free(pairs);
	place_fini(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_model),
		cmocka_unit_test(test_model_with_failures),
		cmocka_unit_test(test_crash_at_every_step),
		cmocka_unit_test(test_crash_writethrough),
		cmocka_unit_test(test_overlay_half_made),
		cmocka_unit_test(test_cache_modes),
		cmocka_unit_test(test_failed_flush_stays),
		cmocka_unit_test(test_failed_flush_fails_the_next),
		cmocka_unit_test(test_flush_again),
		cmocka_unit_test(test_shrunk),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_out_of_bounds),
		cmocka_unit_test(test_ranges_unsupported),
		cmocka_unit_test(test_discard_frees),
		cmocka_unit_test(test_bandwidth),
		cmocka_unit_test(test_iops),
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_direct),
		cmocka_unit_test(test_locks),
		cmocka_unit_test(test_lock_of_the_dead),
		cmocka_unit_test(test_lock_ends_with_the_disk),
		cmocka_unit_test(test_bad_images),
		cmocka_unit_test(test_bad_overlays),
		cmocka_unit_test(test_damaged_header),
		cmocka_unit_test(test_on_the_host),
		cmocka_unit_test(test_two_workers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
