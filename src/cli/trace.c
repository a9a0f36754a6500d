/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * skep trace - what a machine did that was recorded with --trace: a line an event, or added up.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli_priv.h"
#include "lint.h"
#include "skep/bits.h"
#include "skep/config.h"
#include "skep/err.h"
#include "skep/symbols.h"
#include "skep/trace.h"
#include "skep/view.h"
#include "trace_cli.h"

#define NAMES_MAX 16

/* Names that a person gave; none: all will do. */
struct names {
	const char *name[NAMES_MAX];
	unsigned int count;
};

struct trace_args {
	struct names devices, threads, kinds;
	int vcpu, irq; /* -1: any */
	uint64_t from, to;
	bool count, lint, rules;
	const char *symbols, *page, *perfetto;
};

static int take_name(struct names *names, const struct flag *flag, const char *value,
		     struct err *err)
{
	if (names->count == NAMES_MAX)
		return err_set(err, EINVAL, "--%s: more than %d of them", flag->name, NAMES_MAX);
	names->name[names->count++] = value;
	return 0;
}

static int apply_device(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	return take_name(&((struct trace_args *)ctx)->devices, flag, value, err);
}

static int apply_thread(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	return take_name(&((struct trace_args *)ctx)->threads, flag, value, err);
}

static int apply_kind(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	const char *words[TRACE_KINDS + 1];
	const char *near;
	size_t n = 0;

	for (unsigned int i = 0; i < TRACE_KINDS; i++)
		if (trace_kind_name(i))
			words[n++] = trace_kind_name(i);
	words[n] = NULL;
	for (size_t i = 0; i < n; i++)
		if (!strcmp(words[i], value))
			return take_name(&((struct trace_args *)ctx)->kinds, flag, words[i], err);
	near = nearest_word(value, words);
	return err_set(err, EINVAL, "--%s: there is no event '%.32s'%s%s%s", flag->name, value,
		       near ? "; did you mean " : "; exit, write, irq and eoi are some",
		       near ? near : "", near ? "?" : "");
}

static int apply_number(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct trace_args *args = ctx;
	int *into = !strcmp(flag->name, "irq") ? &args->irq : &args->vcpu;
	uint64_t n;

	if (parse_uint(value, &n) || n > UINT16_MAX)
		return err_set(err, EINVAL, "--%s: '%.32s' is no number", flag->name, value);
	*into = (int)n;
	return 0;
}

static int apply_time(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct trace_args *args = ctx;

	return cli_parse_time(flag->name, value,
			      !strcmp(flag->name, "from") ? &args->from : &args->to, err);
}

static int apply_symbols(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	(void)flag;
	(void)err;
	((struct trace_args *)ctx)->symbols = value;
	return 0;
}

static int apply_picture(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct trace_args *args = ctx;

	(void)err;
	*(!strcmp(flag->name, "page") ? &args->page : &args->perfetto) = value;
	return 0;
}

static int apply_mode(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct trace_args *args = ctx;

	(void)value;
	(void)err;
	args->count |= !strcmp(flag->name, "count");
	args->lint |= !strcmp(flag->name, "lint");
	args->rules |= !strcmp(flag->name, "rules");
	return 0;
}

const struct flag trace_flags[] = {
	{0, "count", NULL, "add up: exits, accesses by register, interrupts by line, queues",
	 apply_mode, NULL},
	{0, "device", "ID", "only events of this device, or of `nobody`; repeatable", apply_device,
	 NULL},
	{0, "vcpu", "N", "only events of this vCPU's thread", apply_number, NULL},
	{0, "thread", "NAME", "only events of this thread, as it is printed; repeatable",
	 apply_thread, NULL},
	{0, "kind", "KIND", "only events of this kind, as it is printed; repeatable", apply_kind,
	 NULL},
	{0, "irq", "N", "only events of this interrupt line", apply_number, NULL},
	{0, "from", "TIME", "only events from this time on: 1.5s, 20ms, 300us", apply_time, NULL},
	{0, "to", "TIME", "only events up to this time", apply_time, NULL},
	{0, "symbols", "ELF", "name the guest's addresses by the symbols of this file",
	 apply_symbols, NULL},
	{0, "page", "FILE", "draw it into this file, a page for a browser", apply_picture, NULL},
	{0, "perfetto", "FILE", "write it into this file, for ui.perfetto.dev", apply_picture,
	 NULL},
	{0, "lint", NULL, "tell what the guest got wrong with its devices", apply_mode, NULL},
	{0, "rules", NULL, "print the rules by which it does", apply_mode, NULL},
	{0, NULL, NULL, NULL, NULL, NULL},
};

/* The filter */

static bool among(const struct names *names, const char *name)
{
	for (unsigned int i = 0; i < names->count; i++)
		if (!strcmp(names->name[i], name))
			return true;
	return !names->count;
}

/* Whether the device is asked for: by its id, or by that of its part. */
static bool device_wanted(const struct trace_args *args, const struct trace_view *view,
			  const struct trace_line *line)
{
	const struct trace_event *e = &line->record->event;
	char label[64];

	if (!args->devices.count)
		return true;
	if (e->device == TRACE_NO_DEVICE && e->kind != TRACE_READ && e->kind != TRACE_WRITE)
		return false;
	trace_label(view, line, label, sizeof(label));
	return among(&args->devices, label) ||
	       among(&args->devices, trace_device_id(view->header, e->device));
}

/* Interrupt 0 is pin 2 of the IOAPIC. */
static bool irq_wanted(const struct trace_args *args, const struct trace_event *e)
{
	if (args->irq < 0)
		return true;
	switch (e->kind) {
	case TRACE_DELIVER:
		return e->a == (args->irq ? (unsigned int)args->irq : 2U);
	case TRACE_IRQ:
	case TRACE_INTA:
	case TRACE_EOI:
		return e->a == (unsigned int)args->irq;
	default:
		return false;
	}
}

static bool wanted(const struct trace_args *args, const struct trace_view *view,
		   const struct trace_line *line)
{
	const struct trace_event *e = &line->record->event;
	const struct trace_thread *t = &view->header->threads[line->record->thread];
	const uint64_t at = e->time - view->header->start;

	if (at < args->from || at > args->to)
		return false;
	if (args->vcpu >= 0 && (t->kind != TRACE_VCPU || t->index != (unsigned int)args->vcpu))
		return false;
	return among(&args->threads, t->name) && among(&args->kinds, trace_kind_name(e->kind)) &&
	       irq_wanted(args, e) && device_wanted(args, view, line);
}

/* A name that nothing in this trace has is a mistake, not an empty answer. */
static int check_devices(const struct trace_args *args, const struct trace_header *h,
			 struct err *err)
{
	const char *words[TRACE_DEVICES_MAX + 2];
	size_t n = 0;

	for (unsigned int i = 0; i < h->device_count; i++)
		words[n++] = h->devices[i].id;
	words[n++] = "nobody";
	words[n] = NULL;
	for (unsigned int i = 0; i < args->devices.count; i++) {
		const char *name = args->devices.name[i], *near = nearest_word(name, words);
		bool known = false;

		/* Or a part of one: pic0. */
		for (size_t k = 0; k < n && !known; k++)
			known = !strncmp(name, words[k], strlen(words[k]));
		if (!known)
			return err_set(err, EINVAL,
				       "--device: this trace has no device '%.32s'%s%s%s", name,
				       near ? "; did you mean " : "", near ? near : "",
				       near ? "?" : "");
	}
	return 0;
}

/* Going through */

struct walk {
	struct trace_view view;
	struct explainer *explainer;
	struct trace_counts *counts; /* NULL: print */
	struct followed {
		uint64_t changed;  /* when it last went in or out; 0: not seen yet */
		uint64_t at;       /* the access that it left the guest for, */
		unsigned int size; /* and its bytes; 0: none */
	} threads[TRACE_THREADS_MAX];
};

/*
 * An exit for an access is followed by that access, in pieces or many times. But writes that KVM
 * held back come behind an exit that was not theirs.
 */
static bool is_of_exit(const struct walk *w, const struct trace_record *record)
{
	const struct trace_event *e = &record->event;

	return (e->kind == TRACE_READ || e->kind == TRACE_WRITE) &&
	       e->c - w->threads[record->thread].at < w->threads[record->thread].size;
}

/* Keeps account of how long what lasts. */
static void follow(struct walk *w, struct trace_line *line)
{
	const struct trace_event *e = &line->record->event;
	struct followed *t = &w->threads[line->record->thread];

	if (e->kind != TRACE_ENTER && e->kind != TRACE_EXIT)
		return;
	line->lasted = t->changed ? e->time - t->changed : 0;
	t->changed = e->time;
	t->at = e->b;
	t->size = e->kind == TRACE_EXIT ? e->size : 0;
}

/* Every event is seen, wanted or not: what one means depends on those before. */
static void see(struct walk *w, const struct trace_args *args, const struct trace_record *record)
{
	const struct trace_event *e = &record->event;
	struct trace_line line = {.record = record};

	explainer_see(w->explainer, e, &line.meaning);
	follow(w, &line);
	if (is_of_exit(w, record))
		line.rip = record->rip;
	if (!wanted(args, &w->view, &line))
		return;
	if (w->counts)
		trace_count(w->counts, &line);
	else
		trace_print(&w->view, &line);
}

static int walk(struct walk *w, const struct trace_args *args, struct trace_reader *reader,
		struct err *err)
{
	struct trace_record record;
	int ret = explainer_create(&w->explainer, w->view.header, err);

	if (!ret && args->count)
		ret = trace_counts_create(&w->counts, &w->view, err);
	while (!ret && (ret = trace_next(reader, &record, err)) == 1) {
		see(w, args, &record);
		ret = 0;
		/* Whoever reads has gone: head, or a pager. */
		if (ferror(stdout))
			break;
	}
	if (w->counts && !ret)
		trace_counts_print(w->counts);
	trace_counts_destroy(w->counts);
	explainer_destroy(w->explainer);
	return ret;
}

/* Pictures */

struct pictured {
	const struct trace_args *args;
	const struct trace_view *view;
};

static bool picture_wanted(const void *arg, const struct trace_record *record,
			   const struct explanation *meaning)
{
	const struct pictured *p = arg;
	const struct trace_line line = {.record = record, .meaning = *meaning};

	return wanted(p->args, p->view, &line);
}

static bool everything(const struct trace_args *args)
{
	return !args->devices.count && !args->threads.count && !args->kinds.count &&
	       args->vcpu < 0 && args->irq < 0 && !args->from && args->to == UINT64_MAX;
}

/* Writing a picture over what it shows would leave neither. */
static int check_picture(const char *flag, const char *path, const char *trace, struct err *err)
{
	struct stat a, b;

	if (path && !stat(path, &a) && !stat(trace, &b) && a.st_dev == b.st_dev &&
	    a.st_ino == b.st_ino)
		return err_set(err, EINVAL, "--%s: %.256s is the trace itself", flag, path);
	return 0;
}

static int draw(const struct trace_view *view, const struct trace_args *args,
		struct trace_reader *reader, const char *title, struct err *err)
{
	const struct pictured pictured = {.args = args, .view = view};
	const struct view_options options = {
		.title = title,
		.wanted = everything(args) ? NULL : picture_wanted,
		.arg = &pictured,
		.symbols = view->symbols,
	};
	int ret = check_picture("page", args->page, title, err);

	if (!ret)
		ret = check_picture("perfetto", args->perfetto, title, err);
	if (!ret && args->page)
		ret = view_page(reader, &options, args->page, err);
	if (!ret && args->perfetto)
		ret = view_perfetto(reader, &options, args->perfetto, err);
	return ret;
}

static void tell_lost(const struct trace_reader *reader)
{
	const uint64_t lost = trace_reader_lost(reader);

	if (lost)
		fprintf(stderr,
			"skep: the oldest %llu events are lost, as the file was full; "
			"--trace FILE,size= makes it larger\n",
			(unsigned long long)lost);
}

static int show(const struct trace_args *args, struct trace_reader *reader, const char *path,
		struct err *err)
{
	struct walk w = {.view.header = trace_reader_header(reader)};
	int ret = check_devices(args, w.view.header, err);

	if (ret)
		return ret;
	if (args->symbols)
		ret = symbols_open(&w.view.symbols, args->symbols, err);
	if (w.view.symbols)
		ret = symbols_prepare(w.view.symbols, err);
	if (!ret)
		tell_lost(reader);
	if (!ret && (args->page || args->perfetto))
		ret = draw(&w.view, args, reader, path, err);
	else if (!ret)
		ret = walk(&w, args, reader, err);
	symbols_close(w.view.symbols);
	return ret;
}

static int show_file(const struct trace_args *args, int count, char **paths, struct err *err)
{
	struct trace_reader *reader;
	int ret;

	if (args->rules) {
		lint_print_rules();
		return 0;
	}
	if (count != 1)
		return err_set(err, EINVAL,
			       "trace takes one file, as `skep run --trace FILE` makes it");
	ret = trace_open(&reader, paths[0], err);
	if (ret)
		return ret;
	ret = args->lint ? lint_trace(reader, args->symbols, err)
			 : show(args, reader, paths[0], err);
	trace_close(reader);
	return ret;
}

int cmd_trace(int argc, char **argv)
{
	struct trace_args args = {.vcpu = -1, .irq = -1, .to = UINT64_MAX};
	struct err err;
	bool helped;
	int i = flags_parse(command_find("trace"), argc, argv, &args, &helped, &err);

	if (i >= 0 && helped)
		return STATUS_OK;
	if (i < 0 || show_file(&args, argc - i, argv + i, &err)) {
		fflush(stdout);
		return cli_fail(STATUS_REFUSED, &err);
	}
	return STATUS_OK;
}
