/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Traces, hostile ones. A header is long and mostly zeroes, so one is made of a few bytes of the
 * input, bytes of it are changed at places that the input names, and the rest of the input is the
 * rings. An input that begins with 255 is a file as it is. What is read is judged by the rules of
 * lint.h as well.
 */
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/lint.h"
#include "skep/trace.h"

#define THREADS 3U
#define HEADER  align_up(sizeof(struct trace_header), 32)
#define CHANGES 32U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
	if (!good)
		abort();
}

/* What whoever prints or draws it relies on. */
static void check(const struct trace_header *h, const struct trace_record *r, uint64_t last)
{
	const struct trace_event *e = &r->event;

	must(e->kind != TRACE_MORE && trace_kind_name(e->kind));
	must(e->time >= last && e->time >= h->start);
	must(r->thread < h->thread_count);
	must(e->device < h->device_count || e->device == TRACE_NO_DEVICE);
	must(strlen(r->text) <= TRACE_TEXT_MAX);
	for (const char *c = r->text; *c; c++)
		must(*c >= ' ' && *c <= '~');
	must((e->kind != TRACE_READ && e->kind != TRACE_WRITE) || (e->size >= 1 && e->size <= 8));
	must(e->kind != TRACE_IRQ || e->a < TRACE_GSIS_MAX);
	must(e->kind != TRACE_PHASE || trace_phase_name(e->sub));
}

static void tell(void *arg, const struct lint_finding *finding)
{
	char text[1024];

	(void)arg;
	lint_format(finding, 0, text, sizeof(text));
	must(strlen(text) > strlen(finding->what));
}

static void judge(struct trace_reader *reader, bool from_power_on)
{
	const struct lint_finding *findings;
	struct trace_record record;
	struct err err = {""};
	struct lint *lint;

	if (lint_create(&lint, trace_reader_header(reader), from_power_on, NULL, tell, NULL, &err))
		return;
	while (trace_next(reader, &record, &err) == 1)
		lint_event(lint, &record);
	lint_finish(lint, UINT64_MAX);
	must(lint_findings(lint, &findings) <= 32 * (size_t)LINT_TOLD_MAX);
	lint_destroy(lint);
}

static uint64_t walk(struct trace_reader *reader)
{
	const struct trace_header *h = trace_reader_header(reader);
	struct trace_record record;
	uint64_t n = 0, last = h->start;
	struct err err = {""};
	int ret;

	while ((ret = trace_next(reader, &record, &err)) == 1) {
		check(h, &record, last);
		last = record.event.time;
		must(++n <= trace_reader_events(reader));
	}
	must(!ret || err.text[0]);
	return n;
}

static void try(const void *file, size_t size)
{
	struct trace_reader *reader;
	struct err err = {""};
	uint64_t n;

	if (trace_open_memory(&reader, file, size, &err)) {
		must(err.text[0]);
		return;
	}
	n = walk(reader);
	trace_rewind(reader);
	must(walk(reader) == n);
	trace_rewind(reader);
	judge(reader, n & 1);
	trace_close(reader);
}

static void make_header(struct trace_header *h, const uint8_t *in, size_t rings)
{
	const uint64_t room = rings / sizeof(struct trace_event) / THREADS;

	memcpy(h->magic, TRACE_MAGIC, sizeof(TRACE_MAGIC));
	h->version = TRACE_VERSION;
	h->header_bytes = sizeof(*h);
	h->event_bytes = sizeof(struct trace_event);
	h->thread_count = THREADS;
	h->device_count = 2;
	h->closed = in[0] & 1;
	for (unsigned int i = 0; i < 2; i++)
		h->devices[i].id[0] = (char)('a' + i);
	for (unsigned int i = 0; i < THREADS; i++) {
		h->threads[i].kind = (uint8_t)i;
		h->threads[i].name[0] = (char)('x' + i);
		h->threads[i].room = room;
		h->threads[i].offset = HEADER + i * room * sizeof(struct trace_event);
		h->threads[i].count = room ? in[1 + i] : 0;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned int changes;
	uint8_t *file;
	size_t rings;

	if (size && data[0] == 255) {
		try(data + 1, size - 1);
		return 0;
	}
	changes = size > 4 ? data[4] % CHANGES : 0;
	if (size < 5 + 3 * (size_t)changes)
		return 0;
	rings = size - 5 - 3 * (size_t)changes;
	file = calloc(1, HEADER + rings);
	if (!file)
		return 0;
	make_header((struct trace_header *)(void *)file, data, rings);
	for (unsigned int i = 0; i < changes; i++)
		file[load_le16(data + 5 + 3 * (size_t)i) % sizeof(struct trace_header)] =
			data[7 + 3 * (size_t)i];
	memcpy(file + HEADER, data + size - rings, rings);
	try(file, HEADER + rings);
	free(file);
	return 0;
}
