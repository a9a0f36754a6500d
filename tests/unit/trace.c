/* SPDX-License-Identifier: BSD-2-Clause */
/* trace: what is recorded is read, by time, whatever became of its writer; and hostile files. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "skep/trace.h"
#include "support/cm.h"

struct fixture {
	char path[64];
	struct trace *trace;
	struct trace_ring *control, *vcpu;
	struct err err;
};

static void begin(struct fixture *f, uint64_t size)
{
	const struct trace_options options = {.path = f->path, .size = size};
	int fd;

	snprintf(f->path, sizeof(f->path), "/tmp/skep-trace-XXXXXX");
	fd = mkstemp(f->path);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(trace_create(&f->trace, &options, "box", &f->err), 0);
	f->control = trace_ring(f->trace, TRACE_CONTROL, 0, "control");
	f->vcpu = trace_ring(f->trace, TRACE_VCPU, 0, "vcpu 0");
	assert_non_null(f->vcpu);
}

static void end(struct fixture *f)
{
	trace_enter(NULL);
	trace_destroy(f->trace);
	f->trace = NULL;
}

static struct trace_reader *read_back(struct fixture *f)
{
	struct trace_reader *r;

	assert_int_equal(trace_open(&r, f->path, &f->err), 0);
	return r;
}

static void test_off(void **state)
{
	unsigned int touched = 0;

	(void)state;
	assert_false(trace_on());
	trace_event(TRACE_IRQ, TRACE_NO_DEVICE, 1, 0, touched++, 0, 0);
	trace_text(TRACE_MARK, TRACE_NO_DEVICE, touched++, 0, "nobody hears");
	assert_int_equal(touched, 0);
	assert_int_equal(trace_device(NULL, "x", "y"), TRACE_NO_DEVICE);
	assert_null(trace_ring(NULL, TRACE_VCPU, 0, "x"));
	trace_gsi(NULL, 0, 0);
	trace_range(NULL, 0, 0, 0, 1);
	trace_destroy(NULL);
}

static void *on_vcpu(void *arg)
{
	struct fixture *f = arg;
	const struct trace_event exit = {
		.kind = TRACE_EXIT,
		.device = TRACE_NO_DEVICE,
		.sub = 2,
		.size = 1,
		.a = TRACE_EXIT_WRITE | 1U << TRACE_EXIT_COUNT_SHIFT,
		.b = 0x20,
		.c = 0x1234,
	};

	trace_enter(f->vcpu);
	trace_put_event(&exit);
	trace_event(TRACE_WRITE, 0, 0, 1, 0, 0x64, 0x20);
	return NULL;
}

static void record_some(struct fixture *f)
{
	pthread_t thread;

	assert_int_equal(trace_device(f->trace, "pic", "pic8259a"), 0);
	assert_int_equal(trace_device(f->trace, "pit", "pit8254"), 1);
	trace_gsi(f->trace, 1, 0);
	trace_range(f->trace, 0, 0, 0x20, 2);
	trace_start(f->trace);
	trace_enter(f->control);
	trace_event(TRACE_IRQ, 1, 1, 0, 0, 0, 0);
	assert_int_equal(pthread_create(&thread, NULL, on_vcpu, f), 0);
	pthread_join(thread, NULL);
	trace_text(TRACE_MARK, TRACE_NO_DEVICE, 0, 0,
		   "a mark that is longer than one event, and has \033[2J in it");
	trace_text(TRACE_END, TRACE_NO_DEVICE, 1, 7, "");
}

static void expect(struct trace_reader *r, struct trace_record *rec, unsigned int kind,
		   unsigned int thread)
{
	assert_int_equal(trace_next(r, rec, NULL), 1);
	assert_int_equal(rec->event.kind, kind);
	assert_int_equal(rec->thread, thread);
}

static void check_some(struct trace_reader *r)
{
	const struct trace_header *h = trace_reader_header(r);
	struct trace_record rec;
	uint64_t last;

	assert_string_equal(h->name, "box");
	assert_int_equal(h->thread_count, 2);
	assert_string_equal(h->threads[1].name, "vcpu 0");
	assert_string_equal(h->devices[1].model, "pit8254");
	assert_int_equal(h->gsis[0], 1U << 1);
	assert_int_equal(h->devices[0].ranges[0].at, 0x20);
	assert_int_equal(trace_reader_lost(r), 0);
	for (int i = 0; i < 2; i++) {
		expect(r, &rec, TRACE_IRQ, 0);
		assert_int_equal(rec.rip, 0);
		last = rec.event.time;
		assert_true(last >= h->start);
		expect(r, &rec, TRACE_EXIT, 1);
		assert_true(rec.event.time >= last);
		assert_int_equal(rec.event.b, 0x20);
		expect(r, &rec, TRACE_WRITE, 1);
		assert_int_equal(rec.event.b, 0x64);
		assert_int_equal(rec.rip, 0x1234);
		expect(r, &rec, TRACE_MARK, 0);
		assert_string_equal(rec.text,
				    "a mark that is longer than one event, and has ?[2J in it");
		expect(r, &rec, TRACE_END, 0);
		assert_string_equal(rec.text, "");
		assert_int_equal(rec.event.size, 7);
		assert_int_equal(trace_next(r, &rec, NULL), 0);
		assert_int_equal(trace_next(r, &rec, NULL), 0);
		trace_rewind(r);
	}
}

static void test_read_back(void **state)
{
	struct fixture f;
	struct trace_reader *r;
	struct stat st;

	(void)state;
	begin(&f, TRACE_SIZE_MIN);
	record_some(&f);
	/* While it is being written, and behind that. */
	r = read_back(&f);
	assert_int_equal(trace_reader_header(r)->closed, 0);
	check_some(r);
	trace_close(r);
	end(&f);
	r = read_back(&f);
	assert_int_equal(trace_reader_header(r)->closed, 1);
	check_some(r);
	trace_close(r);
	assert_int_equal(stat(f.path, &st), 0);
	assert_int_equal(st.st_size, TRACE_SIZE_MIN);
	unlink(f.path);
}

/* What a process recorded is there when it is gone, by whatever way. */
static void test_killed(void **state)
{
	struct fixture f;
	struct trace_reader *r;
	pid_t pid;
	int status;

	(void)state;
	begin(&f, TRACE_SIZE_MIN);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		record_some(&f);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	r = read_back(&f);
	assert_int_equal(trace_reader_header(r)->closed, 0);
	check_some(r);
	trace_close(r);
	end(&f);
	unlink(f.path);
}

static void test_full(void **state)
{
	struct fixture f;
	struct trace_reader *r;
	struct trace_record rec;
	uint64_t room, count, n = 0;

	(void)state;
	begin(&f, TRACE_SIZE_MIN);
	trace_start(f.trace);
	trace_enter(f.vcpu);
	room = trace_header(f.trace)->threads[1].room;
	assert_in_range(room, 1000, TRACE_SIZE_MIN / 32);
	count = 2 * room + 17;
	for (uint64_t i = 0; i < count; i++)
		trace_event(TRACE_NOTIFY, TRACE_NO_DEVICE, 0, 0, 0, i, 0);
	/* The slot behind the last may be half-written: the oldest is not believed. */
	r = read_back(&f);
	assert_int_equal(trace_reader_events(r), room - 1);
	assert_int_equal(trace_reader_lost(r), count - room + 1);
	trace_close(r);
	end(&f);
	r = read_back(&f);
	assert_int_equal(trace_reader_events(r), room);
	assert_int_equal(trace_reader_lost(r), count - room);
	for (; trace_next(r, &rec, NULL) == 1; n++)
		assert_int_equal(rec.event.b, count - room + n);
	assert_int_equal(n, room);
	trace_close(r);
	unlink(f.path);
}

/* The beginning of a text was overwritten, its end was not. */
static void test_headless_text(void **state)
{
	struct fixture f;
	struct trace_reader *r;
	struct trace_record rec;
	uint64_t room;

	(void)state;
	begin(&f, TRACE_SIZE_MIN);
	trace_start(f.trace);
	trace_enter(f.vcpu);
	room = trace_header(f.trace)->threads[1].room;
	trace_text(TRACE_MARK, TRACE_NO_DEVICE, 0, 0, "thirty letters and more of text");
	for (uint64_t i = 0; i < room - 1; i++)
		trace_event(TRACE_ENTER, TRACE_NO_DEVICE, 0, 0, 0, 0, 0);
	end(&f);
	r = read_back(&f);
	assert_int_equal(trace_next(r, &rec, NULL), 1);
	assert_int_equal(rec.event.kind, TRACE_ENTER);
	trace_close(r);
	unlink(f.path);
}

struct hearing {
	struct trace_tap tap;
	unsigned int count;
	char last[TRACE_TEXT_MAX + 1];
	uint64_t rip;
};

static void hear(struct trace_tap *tap, const struct trace_record *record)
{
	struct hearing *h = container_of(tap, struct hearing, tap);

	h->count++;
	h->rip = record->rip;
	snprintf(h->last, sizeof(h->last), "%s", record->text);
}

static void test_tap(void **state)
{
	const struct trace_options options = {.size = TRACE_SIZE_MIN};
	struct hearing a = {.tap.event = hear}, b = {.tap.event = hear};
	struct fixture f = {0};

	(void)state;
	assert_int_equal(trace_create(&f.trace, &options, NULL, &f.err), 0);
	trace_add_tap(f.trace, &a.tap);
	trace_add_tap(f.trace, &b.tap);
	f.control = trace_ring(f.trace, TRACE_CONTROL, 0, "control");
	f.vcpu = trace_ring(f.trace, TRACE_VCPU, 0, "vcpu 0");
	record_some(&f);
	assert_int_equal(a.count, 5);
	assert_int_equal(b.count, 5);
	assert_string_equal(a.last, "");
	trace_event(TRACE_EXIT, TRACE_NO_DEVICE, 5, 0, 0, 0, 0x77);
	assert_int_equal(a.rip, 0x77);
	trace_text(TRACE_MARK, TRACE_NO_DEVICE, 0, 0, "twenty letters, or more");
	assert_string_equal(b.last, "twenty letters, or more");
	end(&f);
}

static void test_tables(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, TRACE_SIZE_MIN);
	for (unsigned int i = 0; i < TRACE_DEVICES_MAX; i++)
		assert_int_equal(trace_device(f.trace, "d", "m"), i);
	assert_int_equal(trace_device(f.trace, "d", "m"), TRACE_NO_DEVICE);
	for (unsigned int i = 2; i < TRACE_THREADS_MAX; i++)
		assert_non_null(trace_ring(f.trace, TRACE_WORKER, i, "w"));
	assert_null(trace_ring(f.trace, TRACE_WORKER, 0, "w"));
	/* A range comes, moves, and there may be more than are noted. */
	trace_range(f.trace, 3, TRACE_MEMORY, 0x1000, 0x100);
	trace_range(f.trace, 3, TRACE_MEMORY, 0x1000, 0);
	trace_range(f.trace, 3, TRACE_MEMORY, 0x2000, 0x100);
	assert_int_equal(trace_header(f.trace)->devices[3].ranges[0].at, 0x2000);
	for (unsigned int i = 0; i < 2 * TRACE_RANGES_MAX; i++)
		trace_range(f.trace, 3, 0, 0x3000 + i, 1);
	trace_range(f.trace, TRACE_NO_DEVICE, 0, 0, 1);
	trace_gsi(f.trace, 0, TRACE_GSIS_MAX);
	trace_start(f.trace);
	trace_close(read_back(&f));
	end(&f);
	unlink(f.path);
}

static void test_exits(void **state)
{
	struct trace_exits *exits = calloc(1, sizeof(*exits));
	struct trace_event out[TRACE_LAST_EXITS];
	struct trace_event e = {.kind = TRACE_EXIT};

	(void)state;
	assert_non_null(exits);
	assert_int_equal(trace_exits_copy(exits, out, TRACE_LAST_EXITS), 0);
	for (e.a = 0; e.a < 3; e.a++)
		trace_exits_add(exits, &e);
	assert_int_equal(trace_exits_copy(exits, out, TRACE_LAST_EXITS), 3);
	assert_int_equal(out[0].a, 0);
	for (; e.a < 1000; e.a++)
		trace_exits_add(exits, &e);
	assert_int_equal(trace_exits_copy(exits, out, TRACE_LAST_EXITS), TRACE_LAST_EXITS);
	assert_int_equal(out[0].a, 1000 - TRACE_LAST_EXITS);
	assert_int_equal(trace_exits_copy(exits, out, 2), 2);
	assert_int_equal(out[1].a, 999);
	free(exits);
}

static void test_refused(void **state)
{
	struct trace_options options = {.path = "/nonexistent/x", .size = TRACE_SIZE_MIN};
	struct fixture f;
	struct trace *second;
	struct trace_reader *r;

	(void)state;
	assert_int_equal(trace_create(&second, &options, NULL, &f.err), -ENOENT);
	options.path = "/dev/null";
	assert_int_equal(trace_create(&second, &options, NULL, &f.err), -EINVAL);
	begin(&f, TRACE_SIZE_MIN);
	options.path = f.path;
	assert_int_equal(trace_create(&second, &options, NULL, &f.err), -EBUSY);
	assert_non_null(strstr(f.err.text, "another process does"));
	end(&f);
	unlink(f.path);
	assert_int_equal(trace_open(&r, f.path, &f.err), -ENOENT);
	assert_int_equal(trace_open(&r, "/dev/zero", &f.err), -EINVAL);
	assert_int_equal(trace_open(&r, "/etc/passwd", &f.err), -EBADMSG);
	assert_non_null(strstr(f.err.text, "not a trace"));
}

/* A file in memory, to be spoiled. */
struct image {
	struct trace_header *header;
	uint8_t *bytes;
	size_t size;
};

static struct image image_make(void)
{
	struct fixture f;
	struct image m;
	int fd;

	begin(&f, TRACE_SIZE_MIN);
	record_some(&f);
	end(&f);
	m.size = TRACE_SIZE_MIN;
	m.bytes = malloc(m.size);
	assert_non_null(m.bytes);
	m.header = (struct trace_header *)(void *)m.bytes;
	fd = open(f.path, O_RDONLY);
	assert_int_equal(read(fd, m.bytes, m.size), m.size);
	close(fd);
	unlink(f.path);
	return m;
}

/* What comes of it: events read, or the error. */
static int try(const struct image *m, const char *want)
{
	struct trace_reader *r;
	struct trace_record rec;
	struct err err = {""};
	int n = 0, ret = trace_open_memory(&r, m->bytes, m->size, &err);

	if (!ret) {
		while ((ret = trace_next(r, &rec, &err)) == 1)
			n++;
		trace_close(r);
	}
	if (ret && !strstr(err.text, want))
		fail_msg("'%s' was to say '%s'", err.text, want);
	return ret ? ret : n;
}

static struct trace_event *event_of(const struct image *m, unsigned int thread, unsigned int n)
{
	return (struct trace_event *)(void *)(m->bytes + m->header->threads[thread].offset) + n;
}

#define SPOILT(m, what, value, want)                           \
	do {                                                   \
		__typeof__(what) was_ = (what);                \
		(what) = (value);                              \
		assert_int_equal(try(&(m), (want)), -EBADMSG); \
		(what) = was_;                                 \
		assert_int_equal(try(&(m), ""), 5);            \
	} while (0)

static void test_garbled(void **state)
{
	struct image m = image_make();
	struct trace_header *h = m.header;

	(void)state;
	assert_int_equal(try(&m, ""), 5);
	SPOILT(m, m.size, 0, "not a trace");
	SPOILT(m, m.size, 4096, "cut short");
	SPOILT(m, m.size, m.size - 4096, "cut short");
	SPOILT(m, h->magic[0], 'x', "not a trace");
	SPOILT(m, h->version, 2, "version 2");
	SPOILT(m, h->event_bytes, 16, "version");
	SPOILT(m, h->thread_count, 100000, "header is garbled");
	SPOILT(m, h->device_count, 65, "header is garbled");
	SPOILT(m, h->name[0], '\033', "header is garbled");
	SPOILT(m, h->closed, 3, "header is garbled");
	SPOILT(m, h->start, UINT64_MAX, "header is garbled");
	SPOILT(m, h->devices[1].id[0], '\0', "device 1 is garbled");
	SPOILT(m, *(uint64_t *)(void *)h->devices[1].model, UINT64_MAX, "device 1 is garbled");
	SPOILT(m, h->threads[0].kind, 3, "thread 0 is garbled");
	SPOILT(m, h->threads[0].room, UINT64_MAX, "cut short");
	SPOILT(m, h->threads[0].room, 0, "thread 0 is garbled");
	SPOILT(m, h->threads[0].offset, 0, "thread 0 is garbled");
	SPOILT(m, h->threads[0].offset, UINT64_MAX - 31, "cut short");
	SPOILT(m, h->threads[0].count, UINT64_MAX, "thread 0 is garbled");
	SPOILT(m, event_of(&m, 0, 0)->kind, TRACE_KINDS, "garbled at event 0 of control");
	SPOILT(m, event_of(&m, 1, 1)->kind, TRACE_NONE, "garbled at event 1 of vcpu 0");
	SPOILT(m, event_of(&m, 1, 1)->device, 2, "garbled");
	SPOILT(m, event_of(&m, 1, 1)->size, 9, "garbled");
	SPOILT(m, event_of(&m, 0, 0)->a, TRACE_GSIS_MAX, "garbled");
	SPOILT(m, event_of(&m, 0, 0)->time, UINT64_MAX, "garbled");
	free(m.bytes);
}

/* Times of a clock that goes back are of no harm to whoever subtracts them. */
static void test_times(void **state)
{
	struct image m = image_make();
	struct trace_reader *r;
	struct trace_record rec;
	uint64_t last = m.header->start;

	(void)state;
	event_of(&m, 0, 0)->time = 0;
	event_of(&m, 1, 1)->time = 5;
	assert_int_equal(trace_open_memory(&r, m.bytes, m.size, NULL), 0);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(trace_next(r, &rec, NULL), 1);
		assert_true(rec.event.time >= last);
		last = rec.event.time;
	}
	trace_close(r);
	free(m.bytes);
}

static void test_names(void **state)
{
	(void)state;
	for (unsigned int i = 1; i < TRACE_MORE; i++)
		assert_non_null(trace_kind_name(i));
	assert_null(trace_kind_name(TRACE_NONE));
	assert_null(trace_kind_name(TRACE_KINDS));
	for (unsigned int i = 0; i < TRACE_PHASES; i++)
		assert_non_null(trace_phase_name(i));
	assert_null(trace_phase_name(TRACE_PHASES));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_off),     cmocka_unit_test(test_read_back),
		cmocka_unit_test(test_killed),  cmocka_unit_test(test_full),
		cmocka_unit_test(test_tap),     cmocka_unit_test(test_headless_text),
		cmocka_unit_test(test_tables),  cmocka_unit_test(test_exits),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_garbled),
		cmocka_unit_test(test_times),   cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
