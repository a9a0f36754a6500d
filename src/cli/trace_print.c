/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/kvm.h"
#include "skep/symbols.h"
#include "skep/vm.h"
#include "trace_cli.h"

/* A line being made. */
struct line {
	char *text;
	size_t room;
};

__attribute__((format(printf, 2, 3))) static void add(struct line *l, const char *fmt, ...)
{
	const size_t n = strlen(l->text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(l->text + n, l->room - n, fmt, ap);
	va_end(ap);
}

static void add_time(struct line *l, uint64_t ns)
{
	if (ns < 10 * NS_PER_US)
		add(l, "%llu ns", (unsigned long long)ns);
	else if (ns < 10 * NS_PER_MS)
		add(l, "%llu us", (unsigned long long)(ns / NS_PER_US));
	else
		add(l, "%llu ms", (unsigned long long)(ns / NS_PER_MS));
}

static void add_bytes(struct line *l, uint64_t n)
{
	add(l, "%llu byte%s", (unsigned long long)n, n == 1 ? "" : "s");
}

void trace_label(const struct trace_view *view, const struct trace_line *line, char *text,
		 size_t room)
{
	snprintf(text, room, "%s%s", trace_device_id(view->header, line->record->event.device),
		 line->meaning.part ? line->meaning.part : "");
}

static void add_rip(struct line *l, const struct trace_view *view, uint64_t rip)
{
	char name[SYMBOLS_TEXT];

	if (!rip)
		return;
	add(l, ", rip %llx", (unsigned long long)rip);
	if (symbols_name(view->symbols, rip, name, sizeof(name)))
		add(l, " %s", name);
}

static void add_exit(struct line *l, const struct trace_view *view, const struct trace_line *line)
{
	const struct trace_event *e = &line->record->event;
	const uint32_t count = e->a >> TRACE_EXIT_COUNT_SHIFT;

	add(l, "%s", kvm_exit_name(e->sub));
	if (e->size) {
		add(l, e->a & TRACE_EXIT_WRITE ? " write of " : " read of ");
		if (count > 1)
			add(l, "%u times ", count);
		add_bytes(l, e->size);
		add(l, " at %llx", (unsigned long long)e->b);
	} else if (e->b) {
		add(l, " %llx", (unsigned long long)e->b);
	}
	add_rip(l, view, e->c);
	if (line->lasted) {
		add(l, ", after ");
		add_time(l, line->lasted);
	}
}

static void add_access(struct line *l, const struct trace_view *view, const struct trace_line *line)
{
	const struct trace_event *e = &line->record->event;
	char label[64], name[SYMBOLS_TEXT];

	trace_label(view, line, label, sizeof(label));
	add(l, "%s ", label);
	if (line->meaning.reg[0])
		add(l, "%s", line->meaning.reg);
	else
		add(l, "%s %llx", e->sub & TRACE_MEMORY ? "memory" : "port",
		    (unsigned long long)e->c);
	add(l, " = %0*llx", 2 * e->size, (unsigned long long)e->b);
	if (line->meaning.text[0])
		add(l, " %s", line->meaning.text);
	/* Without a name it stands behind the exit, and that will do. */
	if (line->rip && symbols_name(view->symbols, line->rip, name, sizeof(name)))
		add(l, ", in %s", name);
}

static void add_wire(struct line *l, const struct trace_view *view, const struct trace_event *e)
{
	const uint64_t devices = view->header->gsis[e->a];
	const char *before = " of ";

	add(l, "%u %s", e->a, e->sub ? "high" : "low");
	if (e->device < view->header->device_count) {
		add(l, " by %s", trace_device_id(view->header, e->device));
		return;
	}
	for (unsigned int i = 0; i < view->header->device_count; i++)
		if (devices >> i & 1) {
			add(l, "%s%s", before, trace_device_id(view->header, i));
			before = ", ";
		}
}

static void add_interrupt(struct line *l, const struct trace_view *view,
			  const struct trace_event *e)
{
	const char *id = trace_device_id(view->header, e->device);
	const unsigned long long b = e->b, c = e->c;

	switch (e->kind) {
	case TRACE_IRQ:
		add_wire(l, view, e);
		break;
	case TRACE_INTA:
		add(l, "%s irq %u, vector %02llx%s", id, e->a, b, e->sub ? ", spurious" : "");
		break;
	case TRACE_DELIVER:
		add(l, "%s pin %u, vector %02llx, %s", id, e->a, b, e->sub ? "level" : "edge");
		break;
	case TRACE_EOI:
		add(l, "%s irq %u, vector %02llx%s", id, e->a, b, e->sub ? ", automatic" : "");
		break;
	case TRACE_MSI:
		add(l, "address %llx data %llx", b, c);
		break;
	case TRACE_SIGNAL:
		add(l, "%s vector %u", id, e->a);
		break;
	default:
		add(l, "%s vector %u is address %llx data %llx", id, e->a, b, c);
		break;
	}
}

static void add_queue(struct line *l, const struct trace_view *view, const struct trace_line *line)
{
	const struct trace_event *e = &line->record->event;
	const char *id = trace_device_id(view->header, e->device);

	if (e->kind == TRACE_BROKEN) {
		add(l, "%s needs a reset: %s", id, line->record->text);
		return;
	}
	add(l, "%s queue %u", id, e->sub);
	switch (e->kind) {
	case TRACE_NOTIFY:
		if (e->b > 1)
			add(l, ", %llu times", (unsigned long long)e->b);
		break;
	case TRACE_POP:
		add(l, " chain %u, ", e->a);
		add_bytes(l, e->b);
		add(l, " to read, %llu to write", (unsigned long long)e->c);
		break;
	case TRACE_DONE:
		add(l, " chain %u, ", e->a);
		add_bytes(l, e->b);
		add(l, " written");
		break;
	default:
		add(l, e->a ? ", with an interrupt" : ", without an interrupt");
		break;
	}
}

static void add_timer(struct line *l, const struct trace_view *view, const struct trace_event *e)
{
	add(l, "%s at %llu.%09llu", trace_device_id(view->header, e->device),
	    (unsigned long long)(e->b / NS_PER_S), (unsigned long long)(e->b % NS_PER_S));
	if (e->kind == TRACE_TIMER_FIRE) {
		add(l, ", late by ");
		add_time(l, e->c);
	}
}

static void add_range(struct line *l, const struct trace_view *view, const struct trace_event *e)
{
	add(l, "%s %s %llx-%llx", trace_device_id(view->header, e->device),
	    e->sub & TRACE_MEMORY ? "memory" : "port", (unsigned long long)e->b,
	    (unsigned long long)(e->b + (e->c ? e->c - 1 : 0)));
	if (e->a)
		add(l, " no more");
}

static void add_machine(struct line *l, const struct trace_view *view,
			const struct trace_line *line)
{
	const struct trace_event *e = &line->record->event;
	const struct ending ending = {.kind = (enum end_kind)e->sub};

	switch (e->kind) {
	case TRACE_MAP:
		add_range(l, view, e);
		break;
	case TRACE_RESET:
		add(l, "%s",
		    e->device == TRACE_NO_DEVICE ? "machine"
						 : trace_device_id(view->header, e->device));
		break;
	case TRACE_PHASE:
		add(l, "%s", trace_phase_name(e->sub));
		break;
	case TRACE_END:
		add(l, "%s: %s", ending_word(&ending), line->record->text);
		break;
	default:
		add(l, "%s", line->record->text);
		break;
	}
}

static void add_halt(struct line *l, const struct trace_event *e)
{
	add(l, e->sub ? "interrupts on" : "interrupts off");
	if (e->a >> 8 & 0xff)
		add(l, ", vector %#x in service", e->a >> 8 & 0xff);
	if (e->a & 0xff)
		add(l, ", vector %#x waits", e->a & 0xff);
	if (e->b)
		add(l, ", its timer is on");
}

static void add_head(struct line *l, const struct trace_view *view, const struct trace_event *e)
{
	add(l, "%s queue %u, descriptor %u of the chain %s: ",
	    trace_device_id(view->header, e->device), e->sub, (unsigned int)(e->c >> 16),
	    e->size ? "done" : "taken");
	add_bytes(l, e->a);
	add(l, " at %#llx, flags %#x", (unsigned long long)e->b, (unsigned int)(e->c & UINT16_MAX));
}

static void add_remark(struct line *l, const struct trace_view *view, const struct trace_event *e)
{
	static const char *const words[TRACE_REMARKS] = {
		[TRACE_EMPTY_READ] = "a register without data was read",
		[TRACE_FIXED_WRITE] = "a read-only register was written",
		[TRACE_BLIND_READ] = "a write-only register was read",
		[TRACE_STATUS_READ] = "status read",
		[TRACE_STATUS_WRITE] = "status written",
		[TRACE_FEATURES_LATE] = "features written behind FEATURES_OK",
		[TRACE_QUEUE_ENABLE] = "queue enabled",
		[TRACE_QUEUE_DEAF] = "queue rung that does not run",
	};
	const unsigned long long b = e->b, c = e->c;

	add(l, "%s %s", trace_device_id(view->header, e->device),
	    e->sub < TRACE_REMARKS ? words[e->sub] : "?");
	switch (e->sub) {
	case TRACE_STATUS_READ:
		add(l, ": %#llx", b);
		break;
	case TRACE_STATUS_WRITE:
		add(l, ": %#x, was %#llx, is %#llx", e->a, b, c);
		break;
	case TRACE_FEATURES_LATE:
		break;
	case TRACE_QUEUE_ENABLE:
	case TRACE_QUEUE_DEAF:
		add(l, ": %u, at status %#llx", e->a, b);
		break;
	default:
		add(l, ": %#x", e->a);
		break;
	}
}

void trace_describe(const struct trace_view *view, const struct trace_line *line, char *text,
		    size_t room)
{
	const struct trace_event *e = &line->record->event;
	struct line l = {text, room};

	text[0] = '\0';
	switch (e->kind) {
	case TRACE_ENTER:
		if (line->lasted) {
			add(&l, "after ");
			add_time(&l, line->lasted);
		}
		break;
	case TRACE_EXIT:
		add_exit(&l, view, line);
		break;
	case TRACE_READ:
	case TRACE_WRITE:
		add_access(&l, view, line);
		break;
	case TRACE_IRQ ... TRACE_BIND:
		add_interrupt(&l, view, e);
		break;
	case TRACE_NOTIFY ... TRACE_BROKEN:
		add_queue(&l, view, line);
		break;
	case TRACE_SUBMIT:
	case TRACE_COMPLETE:
		add(&l, "%u", e->a);
		break;
	case TRACE_TIMER_ARM:
	case TRACE_TIMER_FIRE:
		add_timer(&l, view, e);
		break;
	case TRACE_HALTED:
		add_halt(&l, e);
		break;
	case TRACE_HEAD:
		add_head(&l, view, e);
		break;
	case TRACE_REMARK:
		add_remark(&l, view, e);
		break;
	default:
		add_machine(&l, view, line);
		break;
	}
}

void trace_print(const struct trace_view *view, const struct trace_line *line)
{
	const struct trace_event *e = &line->record->event;
	const uint64_t at = e->time - view->header->start;
	char text[512];

	trace_describe(view, line, text, sizeof(text));
	printf("%3llu.%09llu %-8s %-*s%s\n", (unsigned long long)(at / NS_PER_S),
	       (unsigned long long)(at % NS_PER_S),
	       view->header->threads[line->record->thread].name, text[0] ? 11 : 0,
	       trace_kind_name(e->kind), text);
}
