/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pictures of traces: how the page's blocks are written, what a story makes of events, and that
 * nothing in a trace gets out of the place that it has in a picture. The page itself is looked at
 * in a browser by tests/view.
 */
#include "support/cm.h"

#include <errno.h>
#include <jansson.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src/view/columns.h"
#include "../../src/view/story.h"
#include "../../src/view/strings.h"
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "skep/trace.h"
#include "skep/view.h"

#define HOSTILE "</script><script>alert(1)</script><!-- \"'\\ \n\x01\x1b[31m \xff\xc0\x80"

/* linux/kvm.h's */
#define EXIT_IO 2

/* Memory files */

struct text {
	char *bytes;
	size_t len;
	FILE *file;
};

static void text_open(struct text *t)
{
	t->file = open_memstream(&t->bytes, &t->len);
	assert_non_null(t->file);
}

static void text_close(struct text *t)
{
	assert_int_equal(fclose(t->file), 0);
}

static char *read_file(const char *path)
{
	FILE *f = fopen(path, "re");
	struct text t;
	int c;

	assert_non_null(f);
	text_open(&t);
	while ((c = fgetc(f)) != EOF)
		fputc(c, t.file);
	fclose(f);
	text_close(&t);
	return t.bytes;
}

/* Base64 and blocks */

static void base64_of_the_examples(void **state)
{
	/* RFC 4648, 10. */
	static const char *const examples[][2] = {
		{"", ""},
		{"f", "Zg=="},
		{"fo", "Zm8="},
		{"foo", "Zm9v"},
		{"foob", "Zm9vYg=="},
		{"fooba", "Zm9vYmE="},
		{"foobar", "Zm9vYmFy"},
	};
	struct text t;

	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(examples); i++) {
		text_open(&t);
		base64_write(t.file, (const uint8_t *)examples[i][0], strlen(examples[i][0]));
		text_close(&t);
		assert_string_equal(t.bytes, examples[i][1]);
		free(t.bytes);
	}
}

/* Decodes what is between '>' and '<', and inflates it. Returns how many bytes that made. */
static size_t unpack(const char *element, uint8_t *out, size_t room)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *from = strchr(element, '>') + 1;
	struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
	uint8_t *packed = malloc(strlen(from));
	size_t n = 0, made;
	uint32_t bits = 0;
	unsigned int have = 0;

	assert_non_null(packed);
	for (; *from != '<' && *from != '='; from++) {
		const char *digit = strchr(digits, *from);

		assert_non_null(digit);
		bits = bits << 6 | (uint32_t)(digit - digits);
		have += 6;
		if (have >= 8) {
			have -= 8;
			packed[n++] = (uint8_t)(bits >> have);
		}
	}
	assert_int_equal(libdeflate_zlib_decompress(d, packed, n, out, room, &made),
			 LIBDEFLATE_SUCCESS);
	libdeflate_free_decompressor(d);
	free(packed);
	return made;
}

static uint64_t number(const uint8_t **at)
{
	uint64_t v = 0;
	unsigned int shift = 0;

	do
		v |= (uint64_t)(**at & 127) << shift;
	while (shift += 7, *(*at)++ & 128);
	return v;
}

/* A row whose numbers have every length there is. */
static void make_row(uint64_t row[COLUMNS], uint64_t n)
{
	for (unsigned int i = 0; i < COLUMNS; i++)
		row[i] = (n * UINT64_C(0x9e3779b97f4a7c15) + i) >> (n + 7 * i) % 64;
	row[AT] = n * n / 3;
	row[TOOK] = n % 5 ? n : 0;
}

static void check_block(const char *element, uint64_t first, uint64_t count)
{
	const size_t room = MIB(16);
	uint8_t *plain = malloc(room);
	const size_t made = unpack(element, plain, room);
	const uint8_t *at = plain + 8;
	uint64_t row[COLUMNS], time = 0;

	assert_int_equal(load_le32(plain), first);
	assert_int_equal(load_le32(plain + 4), count);
	for (unsigned int column = 0; column < COLUMNS; column++)
		for (uint64_t i = first; i < first + count; i++) {
			const uint64_t v = number(&at);

			make_row(row, i);
			if (i % 1000 == 7)
				row[TOOK] = i + 1;
			if (column == AT)
				assert_int_equal(time += v, row[AT]);
			else
				assert_int_equal(v, row[column]);
		}
	assert_ptr_equal(at, plain + made);
	free(plain);
}

static void blocks_have_every_number(void **state)
{
	const uint64_t count = 3 * COLUMNS_BLOCK + 17;
	struct columns *c;
	uint64_t row[COLUMNS];
	struct text t;
	struct err err;
	char *at;

	(void)state;
	text_open(&t);
	assert_int_equal(columns_new(&c, t.file, &err), 0);
	for (uint64_t i = 0; i < count; i++) {
		make_row(row, i);
		assert_int_equal(columns_add(c, row), 0);
		/* A block later. */
		if (i >= COLUMNS_BLOCK - 1 && (i + 1 - COLUMNS_BLOCK) % 1000 == 7)
			assert_int_equal(
				columns_took(c, i + 1 - COLUMNS_BLOCK, i + 2 - COLUMNS_BLOCK), 0);
	}
	for (uint64_t i = count - COLUMNS_BLOCK; i < count; i++)
		if (i % 1000 == 7)
			assert_int_equal(columns_took(c, i, i + 1), 0);
	assert_int_equal(columns_took(c, 0, 1), -ENOENT);
	assert_int_equal(columns_took(c, count, 1), -ENOENT);
	assert_int_equal(columns_count(c), count);
	assert_int_equal(columns_finish(c), 0);
	columns_free(c);
	text_close(&t);
	at = t.bytes;
	for (uint64_t first = 0; first < count; first += COLUMNS_BLOCK) {
		at = strstr(at, "<script");
		assert_non_null(at);
		check_block(at++, first, MIN(count - first, (uint64_t)COLUMNS_BLOCK));
	}
	assert_null(strstr(at, "<script"));
	free(t.bytes);
}

static void texts_are_told_apart(void **state)
{
	struct strings *t = strings_new();
	char text[64];
	uint32_t full = 0;

	(void)state;
	assert_int_equal(strings_add(t, ""), 0);
	assert_int_equal(strings_add(t, "one"), 1);
	assert_int_equal(strings_add(t, "two"), 2);
	assert_int_equal(strings_add(t, "one"), 1);
	for (unsigned int i = 0; i < STRINGS_MAX + 100; i++) {
		snprintf(text, sizeof(text), "text number %u", i);
		full += !strings_add(t, text);
	}
	assert_int_equal(full, 103);
	assert_int_equal(strings_add(t, "two"), 2);
	assert_int_equal(strings_add(t, "late"), 0);
	assert_string_equal(strings_get(t, 0), "");
	assert_string_equal(strings_get(t, STRINGS_MAX - 1), "text number 65532");
	assert_null(strings_get(t, STRINGS_MAX));
	strings_free(t);
}

static void long_texts_are_bounded_too(void **state)
{
	struct strings *t = strings_new();
	char text[1001] = "";
	uint32_t got = 0;

	(void)state;
	memset(text, 'x', 1000);
	for (unsigned int i = 0; i < 10000; i++) {
		snprintf(text, 9, "%08u", i);
		text[8] = 'x';
		got += strings_add(t, text) != 0;
	}
	assert_int_equal(got, STRINGS_BYTES / 1001);
	strings_free(t);
}

/* Traces */

enum { PIC, IOAPIC, DISK };

struct recorded {
	char path[32];
	struct trace *trace;
	struct trace_ring *vcpu, *worker;
	uint64_t start;
	struct trace_reader *reader;
};

static void record_begin(struct recorded *r)
{
	struct trace_options options = {.path = r->path, .size = TRACE_SIZE_MIN};
	struct err err;
	int fd;

	strcpy(r->path, "/tmp/skep-view-XXXXXX");
	fd = mkstemp(r->path);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(trace_create(&r->trace, &options, "name", &err), 0);
	r->vcpu = trace_ring(r->trace, TRACE_VCPU, 0, "vcpu0");
	r->worker = trace_ring(r->trace, TRACE_WORKER, 0, "worker0");
	assert_int_equal(trace_device(r->trace, "pic", "pic8259a"), PIC);
	assert_int_equal(trace_device(r->trace, "ioapic", "ioapic"), IOAPIC);
	assert_int_equal(trace_device(r->trace, "disk0", "virtio_blk"), DISK);
	trace_start(r->trace);
	r->start = trace_header(r->trace)->start;
}

static void put(struct recorded *r, uint64_t at, enum trace_kind kind, unsigned int device,
		unsigned int sub, uint32_t a, uint64_t b, uint64_t c)
{
	struct trace_event e = {
		.time = r->start + at,
		.kind = (uint8_t)kind,
		.sub = (uint8_t)sub,
		.size = 1,
		.device = (uint8_t)device,
	};

	e.a = a;
	e.b = b;
	e.c = c;
	trace_enter(device == DISK ? r->worker : r->vcpu);
	trace_put_event(&e);
}

static void put_mark(struct recorded *r, const char *text)
{
	trace_enter(r->vcpu);
	trace_put_text(TRACE_MARK, TRACE_NO_DEVICE, 0, 0, text);
}

static void record_end(struct recorded *r)
{
	struct err err;

	trace_enter(NULL);
	trace_destroy(r->trace);
	assert_int_equal(trace_open(&r->reader, r->path, &err), 0);
}

static void record_remove(struct recorded *r)
{
	trace_close(r->reader);
	unlink(r->path);
}

/* The next step is one of a kind called @name, which took so long. */
static void expect(struct story *s, const char *name, uint64_t at, uint64_t took)
{
	struct story_event e;
	struct err err;

	assert_int_equal(story_next(s, &e, &err), name ? STORY_EVENT : STORY_ENTERED);
	if (name)
		assert_string_equal(story_kind(s, e.kind)->name, name);
	assert_int_equal(e.at, at);
	assert_int_equal(e.took, took);
}

static void record_exits(struct recorded *r)
{
	/* One that began before what was recorded. */
	put(r, 10, TRACE_ENTER, TRACE_NO_DEVICE, 0, 0, 0, 0);
	put(r, 20, TRACE_EXIT, TRACE_NO_DEVICE, EXIT_IO, TRACE_EXIT_WRITE, 0x20, 0xfff0);
	put(r, 22, TRACE_WRITE, PIC, 0, 0, 0x20, 0x20);
	put(r, 25, TRACE_ENTER, TRACE_NO_DEVICE, 0, 0, 0, 0);
	put(r, 30, TRACE_EXIT, TRACE_NO_DEVICE, 255, 0, 0, 0);
}

static void exits_take_until_the_next_entry(void **state)
{
	struct story_event e;
	struct recorded r;
	struct story *s;
	struct err err;

	(void)state;
	record_begin(&r);
	record_exits(&r);
	record_end(&r);
	s = story_new(r.reader, NULL);
	expect(s, "exit: port out", 20, 0);
	expect(s, "register write", 22, 0);
	expect(s, NULL, 25, 5);
	expect(s, "exit: other", 30, 0);
	assert_int_equal(story_next(s, &e, &err), STORY_OVER);
	story_free(s);
	record_remove(&r);
}

static void interrupts_are_timed_from_step_to_step(void **state)
{
	struct recorded r;
	struct story *s;

	(void)state;
	record_begin(&r);
	put(&r, 1, TRACE_EOI, PIC, 0, 4, 0, 0);
	put(&r, 10, TRACE_IRQ, TRACE_NO_DEVICE, 1, 4, 0, 0);
	put(&r, 11, TRACE_IRQ, TRACE_NO_DEVICE, 0, 4, 0, 0);
	put(&r, 12, TRACE_IRQ, TRACE_NO_DEVICE, 1, 4, 0, 0);
	put(&r, 30, TRACE_INTA, PIC, 0, 4, 0x34, 0);
	put(&r, 77, TRACE_EOI, PIC, 0, 4, 0x34, 0);
	put(&r, 80, TRACE_IRQ, TRACE_NO_DEVICE, 1, 0, 0, 0);
	/* gsi 0 is the IOAPIC's pin 2. */
	put(&r, 85, TRACE_DELIVER, IOAPIC, 0, 2, 0x30, 0);
	put(&r, 99, TRACE_EOI, IOAPIC, 0, 2, 0x30, 0);
	/* No line is kept for a message of that number. */
	put(&r, 102, TRACE_SIGNAL, DISK, 0, UINT32_MAX, 0, 0);
	put(&r, 103, TRACE_SIGNAL, DISK, 0, 1, 0, 0);
	record_end(&r);
	s = story_new(r.reader, NULL);
	expect(s, "interrupt ended", 1, 0);
	expect(s, "interrupt raised", 10, 0);
	expect(s, "interrupt lowered", 11, 0);
	expect(s, "interrupt raised", 12, 0);
	expect(s, "interrupt taken", 30, 20);
	expect(s, "interrupt ended", 77, 47);
	expect(s, "interrupt raised", 80, 0);
	expect(s, "interrupt delivered", 85, 5);
	expect(s, "interrupt ended", 99, 14);
	expect(s, "message signalled", 102, 0);
	expect(s, "message signalled", 103, 0);
	assert_string_equal(story_line(s, 0), "gsi 4");
	assert_string_equal(story_line(s, 1), "gsi 0");
	assert_string_equal(story_line(s, 2), "disk0 message 1");
	assert_null(story_line(s, 3));
	story_free(s);
	record_remove(&r);
}

static void chains_are_timed_by_their_queue_and_number(void **state)
{
	struct recorded r;
	struct story *s;

	(void)state;
	record_begin(&r);
	put(&r, 10, TRACE_POP, DISK, 0, 7, 16, 512);
	put(&r, 11, TRACE_POP, DISK, 1, 7, 16, 512);
	put(&r, 20, TRACE_DONE, DISK, 1, 7, 512, 0);
	put(&r, 40, TRACE_DONE, DISK, 0, 7, 512, 0);
	put(&r, 50, TRACE_DONE, DISK, 0, 7, 512, 0);
	record_end(&r);
	s = story_new(r.reader, NULL);
	expect(s, "chain taken", 10, 0);
	expect(s, "chain taken", 11, 0);
	expect(s, "chain done", 20, 9);
	expect(s, "chain done", 40, 30);
	expect(s, "chain done", 50, 0);
	story_free(s);
	record_remove(&r);
}

static void phases_follow_one_another(void **state)
{
	struct story_event e;
	struct recorded r;
	struct story *s;
	struct err err;

	(void)state;
	record_begin(&r);
	put(&r, 0, TRACE_PHASE, TRACE_NO_DEVICE, TRACE_CREATED, 0, 0, 0);
	put(&r, 5, TRACE_PHASE, TRACE_NO_DEVICE, TRACE_ASSEMBLED, 0, 0, 0);
	for (unsigned int i = 0; i < 2 * STORY_PHASES_MAX; i++)
		put(&r, 9 + i, TRACE_PHASE, TRACE_NO_DEVICE, TRACE_RUNNING, 0, 0, 0);
	record_end(&r);
	s = story_new(r.reader, NULL);
	while (story_next(s, &e, &err) == STORY_EVENT)
		;
	assert_string_equal(story_phase(s, 0)->name, "assembly");
	assert_int_equal(story_phase(s, 0)->end, 5);
	assert_string_equal(story_phase(s, 1)->name, "loader");
	assert_int_equal(story_phase(s, 1)->start, 5);
	assert_int_equal(story_phase(s, 1)->end, 9);
	assert_non_null(story_phase(s, STORY_PHASES_MAX - 1));
	assert_null(story_phase(s, STORY_PHASES_MAX));
	story_free(s);
	record_remove(&r);
}

/* Pictures */

static void a_page_has_no_text_of_the_trace_as_it_is(void **state)
{
	const struct view_options options = {.title = HOSTILE};
	char out[] = "/tmp/skep-view-XXXXXX";
	uint8_t *plain = malloc(KIB(64));
	struct recorded r;
	struct err err;
	char *page, *block;
	json_t *head;
	size_t n;

	(void)state;
	record_begin(&r);
	record_exits(&r);
	put_mark(&r, HOSTILE);
	record_end(&r);
	close(mkstemp(out));
	assert_int_equal(view_page(r.reader, &options, out, &err), 0);
	page = read_file(out);
	assert_null(strstr(page, "alert"));
	assert_null(strstr(page, "\x1b"));
	assert_non_null(strstr(page, "default-src 'none'"));
	/* The events, then everything else, then the page's own script and nothing behind it. */
	block = strstr(page, "<script class");
	assert_non_null(block);
	assert_int_equal(unpack(block, plain, KIB(64)) > 8, true);
	assert_int_equal(load_le32(plain + 4), 4);
	block = strstr(block + 1, "<script class");
	assert_non_null(block);
	n = unpack(block, plain, KIB(64));
	head = json_loadb((const char *)plain, n, 0, NULL);
	assert_non_null(head);
	assert_int_equal(json_integer_value(json_object_get(head, "events")), 4);
	assert_memory_equal(json_string_value(json_object_get(head, "title")), HOSTILE, 30);
	json_decref(head);
	assert_null(strstr(block + 1, "<script class"));
	free(page);
	free(plain);
	unlink(out);
	record_remove(&r);
}

static bool is_exit(const void *arg, const struct trace_record *record,
		    const struct explanation *meaning)
{
	(void)arg;
	(void)meaning;
	return record->event.kind == TRACE_EXIT;
}

static void perfetto_loads_what_is_in_a_trace(void **state)
{
	struct view_options options = {.title = HOSTILE};
	char out[] = "/tmp/skep-view-XXXXXX";
	json_t *all, *events, *e;
	struct recorded r;
	unsigned int begun = 0, ended = 0, instants = 0;
	struct err err;
	size_t i;

	(void)state;
	record_begin(&r);
	record_exits(&r);
	put(&r, 40, TRACE_POP, DISK, 0, 7, 16, 512);
	put(&r, 45, TRACE_DONE, DISK, 0, 7, 512, 0);
	put_mark(&r, HOSTILE);
	record_end(&r);
	close(mkstemp(out));
	for (unsigned int pass = 0; pass < 2; pass++) {
		assert_int_equal(view_perfetto(r.reader, &options, out, &err), 0);
		all = json_load_file(out, 0, NULL);
		assert_non_null(all);
		events = json_object_get(all, "traceEvents");
		begun = ended = instants = 0;
		json_array_foreach(events, i, e)
		{
			const char *phase = json_string_value(json_object_get(e, "ph"));

			begun += *phase == 'B' || *phase == 'b';
			ended += *phase == 'E' || *phase == 'e';
			instants += *phase == 'i';
		}
		/* The mark begins a phase. */
		assert_int_equal(begun, pass ? 3 : 4);
		assert_int_equal(ended, begun);
		assert_int_equal(instants, pass ? 0 : 4);
		json_decref(all);
		options.wanted = is_exit;
	}
	unlink(out);
	record_remove(&r);
}

/* Whatever the reader lets through: every kind, and numbers of all sizes. */
static void record_anything(struct recorded *r)
{
	uint64_t z = 1;

	for (unsigned int i = 0; i < 20000; i++) {
		uint8_t kind;

		z = z * UINT64_C(6364136223846793005) + 1442695040888963407U;
		kind = (uint8_t)((z >> 33) % (TRACE_MORE - TRACE_ENTER) + TRACE_ENTER);
		if (kind == TRACE_IRQ || kind == TRACE_INTA || kind == TRACE_DELIVER ||
		    kind == TRACE_EOI)
			put(r, i, kind, z >> 40 & 1 ? PIC : IOAPIC, z >> 41 & 1,
			    (uint32_t)(z >> 42) % TRACE_GSIS_MAX, z >> 48 & 0xff, 0);
		else if (kind == TRACE_PHASE)
			put(r, i, kind, TRACE_NO_DEVICE, z >> 40 & 3, 0, 0, 0);
		else
			put(r, i, kind, (unsigned int)(z >> 40) % 3, z >> 43 & 0xff,
			    (uint32_t)(z >> 44), ~z >> (z >> 58), z * z >> (z >> 57 & 63));
	}
}

static void anything_can_be_drawn(void **state)
{
	const struct view_options options = {.title = "t"};
	char out[] = "/tmp/skep-view-XXXXXX";
	struct recorded r;
	struct err err;
	json_t *all;
	char *page;

	(void)state;
	record_begin(&r);
	record_anything(&r);
	record_end(&r);
	close(mkstemp(out));
	assert_int_equal(view_page(r.reader, &options, out, &err), 0);
	page = read_file(out);
	assert_non_null(strstr(page, "<script class"));
	free(page);
	assert_int_equal(view_perfetto(r.reader, &options, out, &err), 0);
	all = json_load_file(out, 0, NULL);
	assert_non_null(all);
	json_decref(all);
	unlink(out);
	record_remove(&r);
}

static void what_cannot_be_written_is_told(void **state)
{
	const struct view_options options = {.title = "t"};
	struct recorded r;
	struct err err;

	(void)state;
	record_begin(&r);
	record_exits(&r);
	record_end(&r);
	assert_true(view_page(r.reader, &options, "/nowhere/page.html", &err) < 0);
	assert_non_null(strstr(err.text, "/nowhere/page.html"));
	assert_true(view_page(r.reader, &options, "/dev/full", &err) < 0);
	assert_non_null(strstr(err.text, "/dev/full"));
	assert_true(view_perfetto(r.reader, &options, "/nowhere/p.json", &err) < 0);
	assert_true(view_perfetto(r.reader, &options, "/dev/full", &err) < 0);
	assert_int_equal(access("/dev/full", F_OK), 0);
	record_remove(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(base64_of_the_examples),
		cmocka_unit_test(blocks_have_every_number),
		cmocka_unit_test(texts_are_told_apart),
		cmocka_unit_test(long_texts_are_bounded_too),
		cmocka_unit_test(exits_take_until_the_next_entry),
		cmocka_unit_test(interrupts_are_timed_from_step_to_step),
		cmocka_unit_test(chains_are_timed_by_their_queue_and_number),
		cmocka_unit_test(phases_follow_one_another),
		cmocka_unit_test(a_page_has_no_text_of_the_trace_as_it_is),
		cmocka_unit_test(perfetto_loads_what_is_in_a_trace),
		cmocka_unit_test(anything_can_be_drawn),
		cmocka_unit_test(what_cannot_be_written_is_told),
	};

	return cmocka_run_group_tests_name("view", tests, NULL, NULL);
}
