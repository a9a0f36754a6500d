/* SPDX-License-Identifier: BSD-2-Clause */
/* skep trace: a line of each kind of event, and sums; and events that only a hostile file has. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src/cli/trace_cli.h"
#include "skep/bits.h"
#include "skep/device.h"
#include "support/cm.h"

struct fixture {
	struct trace_header *header;
	struct trace_view view;
};

static void begin(struct fixture *f)
{
	static const char *const models[] = {"pic8259a", "virtio_rng", "ioapic"};
	static const char *const ids[] = {"pic", "rng", "ioapic"};

	*f = (struct fixture){.header = calloc(1, sizeof(*f->header))};
	assert_non_null(f->header);
	f->view.header = f->header;
	f->header->device_count = ARRAY_SIZE(ids);
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		snprintf(f->header->devices[i].id, sizeof(f->header->devices[i].id), "%s", ids[i]);
		snprintf(f->header->devices[i].model, sizeof(f->header->devices[i].model), "%s",
			 models[i]);
	}
	f->header->thread_count = 1;
	snprintf(f->header->threads[0].name, sizeof(f->header->threads[0].name), "vcpu 0");
	f->header->gsis[4] = 3;
}

static void end(struct fixture *f)
{
	free(f->header);
}

static void check(struct fixture *f, const struct trace_event *e, const char *text,
		  const char *want)
{
	const struct trace_record record = {.event = *e, .text = text};
	struct trace_line line = {.record = &record, .meaning.part = ""};
	char got[512];

	trace_describe(&f->view, &line, got, sizeof(got));
	assert_string_equal(got, want);
}

#define CHECK(f, want, ...) check(f, &(const struct trace_event){__VA_ARGS__}, "", want)

static void test_lines(void **state)
{
	struct fixture f;
	struct trace_event e = {.kind = TRACE_BROKEN, .device = 1};

	(void)state;
	begin(&f);
	CHECK(&f, "", .kind = TRACE_ENTER);
	CHECK(&f, "io write of 3 times 2 bytes at 3f8, rip 1000", .kind = TRACE_EXIT, .sub = 2,
	      .size = 2, .a = TRACE_EXIT_WRITE | 3U << TRACE_EXIT_COUNT_SHIFT, .b = 0x3f8,
	      .c = 0x1000);
	CHECK(&f, "mmio read of 4 bytes at fee00000", .kind = TRACE_EXIT, .sub = 6, .size = 4,
	      .a = 1U << TRACE_EXIT_COUNT_SHIFT, .b = 0xfee00000);
	CHECK(&f, "ioapic_eoi 31", .kind = TRACE_EXIT, .sub = 26, .b = 0x31);
	CHECK(&f, "nobody port 99 = ff", .kind = TRACE_READ, .device = TRACE_NO_DEVICE, .size = 1,
	      .b = 0xff, .c = 0x99);
	CHECK(&f, "rng memory d0000000 = 00000001", .kind = TRACE_WRITE, .device = 1,
	      .sub = TRACE_MEMORY, .size = 4, .b = 1, .c = 0xd0000000);
	CHECK(&f, "4 high by rng", .kind = TRACE_IRQ, .device = 1, .sub = 1, .a = 4);
	CHECK(&f, "4 low of pic, rng", .kind = TRACE_IRQ, .device = TRACE_NO_DEVICE, .a = 4);
	CHECK(&f, "pic irq 7, vector 27, spurious", .kind = TRACE_INTA, .sub = 1, .a = 7,
	      .b = 0x27);
	CHECK(&f, "ioapic pin 4, vector 31, level", .kind = TRACE_DELIVER, .device = 2, .sub = 1,
	      .a = 4, .b = 0x31);
	CHECK(&f, "pic irq 4, vector 24", .kind = TRACE_EOI, .a = 4, .b = 0x24);
	CHECK(&f, "address fee00000 data 31", .kind = TRACE_MSI, .b = 0xfee00000, .c = 0x31);
	CHECK(&f, "rng vector 1", .kind = TRACE_SIGNAL, .device = 1, .a = 1);
	CHECK(&f, "rng vector 1 is address fee00000 data 31", .kind = TRACE_BIND, .device = 1,
	      .a = 1, .b = 0xfee00000, .c = 0x31);
	CHECK(&f, "rng queue 2, 3 times", .kind = TRACE_NOTIFY, .device = 1, .sub = 2, .b = 3);
	CHECK(&f, "rng queue 0 chain 5, 1 byte to read, 64 to write", .kind = TRACE_POP,
	      .device = 1, .a = 5, .b = 1, .c = 64);
	CHECK(&f, "rng queue 0 chain 5, 64 bytes written", .kind = TRACE_DONE, .device = 1, .a = 5,
	      .b = 64);
	CHECK(&f, "rng queue 0, with an interrupt", .kind = TRACE_PUBLISH, .device = 1, .a = 1);
	check(&f, &e, "a loop", "rng needs a reset: a loop");
	CHECK(&f, "7", .kind = TRACE_SUBMIT, .a = 7);
	CHECK(&f, "rng at 1.500000000", .kind = TRACE_TIMER_ARM, .device = 1, .b = 1500000000);
	CHECK(&f, "rng at 0.000000001, late by 12 us", .kind = TRACE_TIMER_FIRE, .device = 1,
	      .b = 1, .c = 12000);
	CHECK(&f, "rng memory 1000-1fff", .kind = TRACE_MAP, .device = 1, .sub = TRACE_MEMORY,
	      .b = 0x1000, .c = 0x1000);
	CHECK(&f, "rng port 60-60 no more", .kind = TRACE_MAP, .device = 1, .a = 1, .b = 0x60);
	CHECK(&f, "machine", .kind = TRACE_RESET, .device = TRACE_NO_DEVICE);
	CHECK(&f, "loaded", .kind = TRACE_PHASE, .sub = TRACE_LOADED);
	e = (struct trace_event){.kind = TRACE_END, .sub = END_CODE, .size = 7};
	check(&f, &e, "the guest ended", "code: the guest ended");
	e = (struct trace_event){.kind = TRACE_MARK};
	check(&f, &e, "here", "here");
	end(&f);
}

/* An access in the words of its model. */
static void test_meaning(void **state)
{
	const struct trace_record record = {
		.event = {.kind = TRACE_WRITE, .size = 1, .b = 0x64, .c = 0x20}};
	struct trace_line line = {.record = &record};
	struct explainer *ex;
	struct fixture f;
	char text[256];

	(void)state;
	begin(&f);
	assert_int_equal(explainer_create(&ex, f.header, NULL), 0);
	assert_true(explainer_see(ex, &record.event, &line.meaning));
	trace_describe(&f.view, &line, text, sizeof(text));
	assert_string_equal(text, "pic0 OCW2 = 64 specific EOI 4");
	explainer_destroy(ex);
	end(&f);
}

/* Any event that the reader lets through, printed and counted. */
static void test_hostile(void **state)
{
	struct trace_counts *counts;
	struct explainer *ex;
	struct fixture f;
	char text[512];
	int out, null;

	(void)state;
	begin(&f);
	srandom(7);
	assert_int_equal(explainer_create(&ex, f.header, NULL), 0);
	assert_int_equal(trace_counts_create(&counts, &f.view, NULL), 0);
	for (unsigned int i = 0; i < 200000; i++) {
		struct trace_record record = {
			.event =
				{
					.time = i,
					.kind = (uint8_t)(1 + random() % (TRACE_MORE - 1)),
					.sub = (uint8_t)random(),
					.size = (uint8_t)(1 + random() % 8),
					.device = (uint8_t)(random() % 4),
					.a = (uint32_t)random(),
					.b = (uint64_t)random() << (random() % 33),
					.c = (uint64_t)random() << (random() % 33),
				},
			.text = "words",
		};
		struct trace_line line = {.record = &record, .lasted = (uint64_t)random()};
		struct trace_event *e = &record.event;

		if (e->device == 3)
			e->device = TRACE_NO_DEVICE;
		if (e->kind >= TRACE_IRQ && e->kind <= TRACE_EOI)
			e->a %= TRACE_GSIS_MAX;
		if (e->kind == TRACE_PHASE)
			e->sub %= TRACE_PHASES;
		explainer_see(ex, e, &line.meaning);
		trace_describe(&f.view, &line, text, sizeof(text));
		trace_count(counts, &line);
	}
	/* What it comes to is of no interest. */
	fflush(stdout);
	out = dup(STDOUT_FILENO);
	null = open("/dev/null", O_WRONLY);
	dup2(null, STDOUT_FILENO);
	trace_counts_print(counts);
	fflush(stdout);
	dup2(out, STDOUT_FILENO);
	close(out);
	close(null);
	trace_counts_destroy(counts);
	explainer_destroy(ex);
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_meaning),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
