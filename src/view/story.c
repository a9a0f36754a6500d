/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/explain.h"
#include "skep/kvm.h"
#include "skep/symbols.h"

#include "story.h"

#define LINES_MAX 512
#define SIGNALS   32 /* messages of a device that have lines of their own */

/* Kinds of events by their numbers; of exits, those behind them. */
#define KIND_PORT_IN      TRACE_KINDS
#define KIND_PORT_OUT     (KIND_PORT_IN + 1)
#define KIND_MEMORY_READ  (KIND_PORT_IN + 2)
#define KIND_MEMORY_WRITE (KIND_PORT_IN + 3)
#define KIND_WIRE_LOW     (KIND_PORT_IN + 4)
#define KIND_EXIT         (KIND_PORT_IN + 5)
#define EXITS_NAMED       64
#define KINDS             (KIND_EXIT + EXITS_NAMED)

/* The IOAPIC's pin 2 is gsi 0, and the cascade between the 8259As is no interrupt's (ACPI 6.5,
 * 5.2.12.5). */
#define PIN_OF_GSI0 2

#define CHAINS 4096
#define PROBES 8

/* A chain that a device has: when it took it. */
struct chain {
	uint64_t key;
	uint64_t popped; /* 0: free */
};

struct line {
	char name[STORY_LINE_NAME];
	uint64_t raised, taken; /* 0: not */
};

struct story {
	struct trace_reader *reader;
	const struct trace_header *header;
	struct trace_record record;
	struct symbols *symbols;
	struct explainer *explainer;
	struct explanation explanation; /* of the record, if it is explained */
	bool explained;
	struct story_kind kinds[KINDS];
	uint64_t exits[TRACE_THREADS_MAX]; /* when the thread's vCPU left the guest; 0: it is there
					    */
	struct line lines[LINES_MAX];
	unsigned int line_count;
	/* Numbers of lines and one; 0: there is none yet. */
	uint16_t gsis[TRACE_GSIS_MAX];
	uint16_t signals[TRACE_DEVICES_MAX][SIGNALS];
	struct chain chains[CHAINS];
	struct story_phase phases[STORY_PHASES_MAX];
	unsigned int phase_count;
};

/* Kinds */

static const struct story_kind plain_kinds[KIND_EXIT] = {
	[TRACE_READ] = {.name = "register read",
			.colour = 10,
			.address = "address",
			.value = "value"},
	[TRACE_WRITE] = {.name = "register write",
			 .colour = 2,
			 .address = "address",
			 .value = "value"},
	[TRACE_IRQ] = {.name = "interrupt raised", .role = ROLE_RAISED, .colour = 6},
	[KIND_WIRE_LOW] = {.name = "interrupt lowered", .colour = 12},
	[TRACE_INTA] = {.name = "interrupt taken",
			.role = ROLE_TAKEN,
			.colour = 4,
			.took = "after it was raised"},
	[TRACE_DELIVER] = {.name = "interrupt delivered",
			   .role = ROLE_TAKEN,
			   .colour = 11,
			   .took = "after it was raised"},
	[TRACE_EOI] = {.name = "interrupt ended",
		       .role = ROLE_ENDED,
		       .colour = 7,
		       .took = "after it was taken"},
	[TRACE_MSI] = {.name = "message sent", .colour = 13, .address = "address", .value = "data"},
	[TRACE_SIGNAL] = {.name = "message signalled", .role = ROLE_RAISED, .colour = 6},
	[TRACE_BIND] = {.name = "message bound",
			.colour = 12,
			.address = "address",
			.value = "data"},
	[TRACE_NOTIFY] = {.name = "queue notified", .colour = 3},
	[TRACE_POP] = {.name = "chain taken", .colour = 9},
	[TRACE_DONE] = {.name = "chain done",
			.role = ROLE_CHAIN,
			.colour = 8,
			.took = "after it was taken"},
	[TRACE_PUBLISH] = {.name = "chains published", .colour = 5},
	[TRACE_BROKEN] = {.name = "device broken", .colour = 6},
	[TRACE_SUBMIT] = {.name = "batch submitted", .colour = 0},
	[TRACE_COMPLETE] = {.name = "batch completed", .colour = 2},
	[TRACE_TIMER_ARM] = {.name = "timer armed", .colour = 12},
	[TRACE_TIMER_FIRE] = {.name = "timer fired", .colour = 1, .took = "late by"},
	[TRACE_MAP] = {.name = "range mapped", .colour = 9, .address = "address"},
	[TRACE_RESET] = {.name = "reset", .colour = 6},
	[TRACE_PHASE] = {.name = "phase", .colour = 7},
	[TRACE_END] = {.name = "end", .colour = 6},
	[TRACE_MARK] = {.name = "mark", .colour = 3},
	[TRACE_HALTED] = {.name = "halted", .colour = 12},
	[TRACE_HEAD] = {.name = "descriptor", .colour = 9, .address = "address"},
	[TRACE_REMARK] = {.name = "remark", .colour = 6, .address = "b", .value = "c"},
	[KIND_PORT_IN] = {.name = "exit: port in", .colour = 5},
	[KIND_PORT_OUT] = {.name = "exit: port out", .colour = 0},
	[KIND_MEMORY_READ] = {.name = "exit: memory read", .colour = 9},
	[KIND_MEMORY_WRITE] = {.name = "exit: memory write", .colour = 1},
};

static bool is_exit(unsigned int kind)
{
	return (kind >= KIND_PORT_IN && kind <= KIND_MEMORY_WRITE) || kind >= KIND_EXIT;
}

static void make_kinds(struct story *s)
{
	static const uint8_t colours[] = {4, 7, 11, 12, 13, 3};

	memcpy(s->kinds, plain_kinds, sizeof(plain_kinds));
	for (unsigned int i = KIND_PORT_IN; i < KINDS; i++) {
		struct story_kind *k = &s->kinds[i];

		if (!is_exit(i))
			continue;
		k->role = ROLE_EXIT;
		k->span = true;
		k->took = "in skep";
		k->address = "address";
		if (i < KIND_EXIT)
			continue;
		k->colour = colours[i % ARRAY_SIZE(colours)];
		k->address = NULL;
		snprintf(k->name, sizeof(k->name), "exit: %s",
			 i + 1 < KINDS ? kvm_exit_name(i - KIND_EXIT) : "other");
	}
}

/* Lines and phases */

/* The number of the line that *@slot stands for, and one; 0 when there are too many. */
static unsigned int line_of(struct story *s, uint16_t *slot, const char *device, const char *what,
			    unsigned int n)
{
	struct line *l = &s->lines[s->line_count];

	if (*slot || s->line_count == LINES_MAX)
		return *slot;
	snprintf(l->name, sizeof(l->name), "%s%s%s %u", device, *device ? " " : "", what, n);
	*slot = (uint16_t)++s->line_count;
	return *slot;
}

static unsigned int gsi_line(struct story *s, uint64_t gsi)
{
	return gsi < TRACE_GSIS_MAX ? line_of(s, &s->gsis[gsi], "", "gsi", (unsigned int)gsi) : 0;
}

static unsigned int signal_line(struct story *s, const struct trace_event *e)
{
	if (e->device >= s->header->device_count || e->a >= SIGNALS)
		return 0;
	return line_of(s, &s->signals[e->device][e->a], s->header->devices[e->device].id, "message",
		       e->a);
}

static bool is_ioapic(const struct story *s, const struct trace_event *e)
{
	return e->device < s->header->device_count &&
	       !strcmp(s->header->devices[e->device].model, "ioapic");
}

static unsigned int chip_line(struct story *s, const struct trace_event *e)
{
	return gsi_line(s, is_ioapic(s, e) && e->a == PIN_OF_GSI0 ? 0 : e->a);
}

static void raised(struct story *s, unsigned int line, uint64_t at)
{
	if (line && !s->lines[line - 1].raised)
		s->lines[line - 1].raised = at;
}

static uint64_t taken(struct story *s, unsigned int line, uint64_t at)
{
	struct line *l;
	uint64_t took;

	if (!line)
		return 0;
	l = &s->lines[line - 1];
	took = l->raised ? at - l->raised : 0;
	l->raised = 0;
	l->taken = at;
	return took;
}

static uint64_t ended(struct story *s, unsigned int line, uint64_t at)
{
	struct line *l;
	uint64_t took;

	if (!line)
		return 0;
	l = &s->lines[line - 1];
	took = l->taken ? at - l->taken : 0;
	l->taken = 0;
	return took;
}

static void phase(struct story *s, const char *name, uint64_t at)
{
	if (s->phase_count && !s->phases[s->phase_count - 1].end)
		s->phases[s->phase_count - 1].end = at;
	if (s->phase_count == STORY_PHASES_MAX)
		return;
	snprintf(s->phases[s->phase_count].name, sizeof(s->phases[0].name), "%s", name);
	s->phases[s->phase_count].start = at;
	s->phases[s->phase_count++].end = 0;
}

/* Chains */

static struct chain *chain_find(struct story *s, uint64_t key, bool add)
{
	const uint64_t start = (key * UINT64_C(0x9e3779b97f4a7c15)) >> 32;
	struct chain *free = NULL;

	for (unsigned int i = 0; i < PROBES; i++) {
		struct chain *c = &s->chains[(start + i) % CHAINS];

		if (c->popped && c->key == key)
			return c;
		if (!c->popped && !free)
			free = c;
	}
	return add ? free : NULL;
}

static uint64_t chain_key(const struct trace_event *e)
{
	return (uint64_t)e->device << 48 | (uint64_t)e->sub << 32 | e->a;
}

static void popped(struct story *s, const struct trace_event *e, uint64_t at)
{
	struct chain *c = chain_find(s, chain_key(e), true);

	if (c)
		*c = (struct chain){.key = chain_key(e), .popped = at};
}

static uint64_t chain_done(struct story *s, const struct trace_event *e, uint64_t at)
{
	struct chain *c = chain_find(s, chain_key(e), false);
	uint64_t took = c ? at - c->popped : 0;

	if (c)
		c->popped = 0;
	return took;
}

/* Events */

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

#define say(event, ...) snprintf((event)->words, sizeof((event)->words), __VA_ARGS__)

static __attribute__((format(printf, 2, 3))) void say_more(struct story_event *e, const char *fmt,
							   ...)
{
	const size_t n = strlen(e->words);
	va_list args;

	va_start(args, fmt);
	vsnprintf(e->words + n, sizeof(e->words) - n, fmt, args);
	va_end(args);
}

static void tell_exit(struct story *s, const struct trace_event *e, struct story_event *to)
{
	const unsigned int count = e->a >> TRACE_EXIT_COUNT_SHIFT;
	const char *name = kvm_exit_name(e->sub);
	const bool write = e->a & TRACE_EXIT_WRITE;
	const bool port = !strcmp(name, "io");
	char times[24] = "";

	s->exits[s->record.thread] = to->at;
	to->address = e->b;
	if (!port && strcmp(name, "mmio") != 0) {
		to->kind = KIND_EXIT + MIN((unsigned int)e->sub, EXITS_NAMED - 1U);
		say(to, "exit: %s", name);
		if (!strcmp(name, "ioapic_eoi"))
			say(to, "exit: %s, vector %llu", name, (unsigned long long)e->b);
		return;
	}
	to->kind = port ? (write ? KIND_PORT_OUT : KIND_PORT_IN)
			: (write ? KIND_MEMORY_WRITE : KIND_MEMORY_READ);
	if (count > 1)
		snprintf(times, sizeof(times), ", %u times", count);
	say(to, "%s %#llx, %u byte%s%s", s->kinds[to->kind].name, (unsigned long long)e->b, e->size,
	    plural(e->size), times);
}

static void tell_access(struct story *s, const struct trace_event *e, struct story_event *to)
{
	const struct explanation *x = &s->explanation;
	const bool read = e->kind == TRACE_READ;

	to->address = e->c;
	to->value = e->b;
	if (s->explained && x->reg[0])
		say(to, "%s%s %s%s%s%s", trace_device_id(s->header, e->device), x->part, x->reg,
		    read ? " read" : "", x->text[0] ? (read ? ": " : " ") : "", x->text);
	else
		say(to, "%s %s %#llx", trace_device_id(s->header, e->device),
		    read ? "read" : "write", (unsigned long long)e->c);
	if (!s->explained || !x->text[0])
		say_more(to, " = %#llx", (unsigned long long)e->b);
}

/* Who drives @gsi, for those who do not know it by heart. */
static void tell_drivers(const struct story *s, unsigned int gsi, struct story_event *to)
{
	uint64_t drivers = s->header->gsis[gsi];
	const char *between = " (";

	for (unsigned int i = 0; i < s->header->device_count; i++) {
		if (!(drivers & bit64(i)))
			continue;
		say_more(to, "%s%s", between, s->header->devices[i].id);
		between = ", ";
	}
	if (*between == ',')
		say_more(to, ")");
}

static void tell_irq(struct story *s, const struct trace_event *e, struct story_event *to)
{
	const char *id = trace_device_id(s->header, e->device);

	switch (e->kind) {
	case TRACE_IRQ:
		to->line = gsi_line(s, e->a);
		if (e->sub)
			raised(s, to->line, to->at);
		else
			to->kind = KIND_WIRE_LOW;
		say(to, "gsi %u %s", e->a, e->sub ? "high" : "low");
		tell_drivers(s, e->a, to);
		break;
	case TRACE_INTA:
		to->line = e->sub ? 0 : chip_line(s, e);
		to->took = taken(s, to->line, to->at);
		say(to, "%s irq %u taken%s, vector %#llx", id, e->a, e->sub ? " (spurious)" : "",
		    (unsigned long long)e->b);
		break;
	case TRACE_DELIVER:
		to->line = chip_line(s, e);
		to->took = taken(s, to->line, to->at);
		say(to, "%s pin %u delivered, vector %#llx, %s", id, e->a, (unsigned long long)e->b,
		    e->sub ? "level" : "edge");
		break;
	case TRACE_EOI:
		to->line = chip_line(s, e);
		to->took = ended(s, to->line, to->at);
		say(to, "%s end of interrupt %u%s", id, e->a, e->sub ? " (by itself)" : "");
		break;
	case TRACE_SIGNAL:
		to->line = signal_line(s, e);
		say(to, "%s message %u of its table", id, e->a);
		break;
	default:
		to->address = e->b;
		to->value = e->c;
		say(to, "message %#llx to %#llx", (unsigned long long)e->c,
		    (unsigned long long)e->b);
	}
}

static void tell_queue(struct story *s, const struct trace_event *e, struct story_event *to)
{
	const char *id = trace_device_id(s->header, e->device);

	switch (e->kind) {
	case TRACE_NOTIFY:
		say(to, "%s queue %u notified", id, e->sub);
		if (e->b > 1)
			say(to, "%s queue %u notified, %llu times", id, e->sub,
			    (unsigned long long)e->b);
		break;
	case TRACE_POP:
		popped(s, e, to->at);
		say(to, "%s queue %u takes chain %u: %llu bytes to read, %llu to write", id, e->sub,
		    e->a, (unsigned long long)e->b, (unsigned long long)e->c);
		break;
	case TRACE_DONE:
		to->took = chain_done(s, e, to->at);
		say(to, "%s queue %u is done with chain %u, %llu bytes written", id, e->sub, e->a,
		    (unsigned long long)e->b);
		break;
	case TRACE_PUBLISH:
		say(to, "%s queue %u publishes, %s interrupt", id, e->sub, e->a ? "with an" : "no");
		break;
	default:
		say(to, "%s broken: %s", id, s->record.text);
	}
}

static const char *const phase_words[TRACE_PHASES] = {
	[TRACE_CREATED] = "assembly", [TRACE_ASSEMBLED] = "loader", [TRACE_LOADED] = "entry",
	[TRACE_RUNNING] = "guest",    [TRACE_STOPPED] = "end",      [TRACE_PAUSED] = "paused",
	[TRACE_RESUMED] = "guest",
};

static void tell_rest(struct story *s, const struct trace_event *e, struct story_event *to)
{
	const char *id = trace_device_id(s->header, e->device);

	switch (e->kind) {
	case TRACE_SUBMIT:
	case TRACE_COMPLETE:
		say(to, "%u operation%s %s", e->a, plural(e->a),
		    e->kind == TRACE_SUBMIT ? "submitted" : "completed");
		if (!e->a && e->kind == TRACE_SUBMIT)
			say(to, "waits");
		break;
	case TRACE_TIMER_ARM:
		say(to, "%s timer armed", id);
		break;
	case TRACE_TIMER_FIRE:
		to->took = e->c;
		say(to, "%s timer fires", id);
		break;
	case TRACE_MAP:
		to->address = e->b;
		say(to, "%s %s %#llx, %llu bytes: %s", id,
		    e->sub & TRACE_MEMORY ? "memory" : "ports", (unsigned long long)e->b,
		    (unsigned long long)e->c, e->a ? "gone" : "there");
		break;
	case TRACE_RESET:
		say(to, "%s reset", e->device == TRACE_NO_DEVICE ? "machine" : id);
		break;
	case TRACE_PHASE:
		if (e->sub < TRACE_PHASES)
			phase(s, phase_words[e->sub], to->at);
		say(to, "%s", trace_phase_name(e->sub) ? trace_phase_name(e->sub) : "phase");
		break;
	case TRACE_HALTED:
		say(to, "halted, interrupts %s", e->sub ? "on" : "off");
		break;
	case TRACE_HEAD:
		to->address = e->b;
		say(to, "%s queue %u, descriptor %llu of a chain %s: %u bytes", id, e->sub,
		    (unsigned long long)(e->c >> 16 & 0xffff), e->size ? "done" : "taken", e->a);
		break;
	case TRACE_REMARK:
		to->address = e->b;
		to->value = e->c;
		say(to, "%s remark %u on register %#x", id, e->sub, e->a);
		break;
	case TRACE_END:
		say(to, "end: %s", s->record.text);
		break;
	default:
		phase(s, s->record.text, to->at);
		say(to, "%s", s->record.text);
	}
}

static int tell(struct story *s, struct story_event *to)
{
	const struct trace_event *e = &s->record.event;
	const unsigned int thread = s->record.thread;
	char symbol[SYMBOLS_TEXT];

	*to = (struct story_event){
		.at = e->time - s->header->start,
		.kind = e->kind,
		.thread = thread,
		.device = e->device < s->header->device_count ? e->device + 1U : 0,
		.rip = s->record.rip,
	};
	switch (e->kind) {
	case TRACE_ENTER:
		if (!s->exits[thread])
			return STORY_OVER;
		to->took = to->at - s->exits[thread];
		s->exits[thread] = 0;
		return STORY_ENTERED;
	case TRACE_EXIT:
		tell_exit(s, e, to);
		if (e->c && symbols_name(s->symbols, e->c, symbol, sizeof(symbol)))
			say_more(to, " at %s", symbol);
		break;
	case TRACE_READ:
	case TRACE_WRITE:
		tell_access(s, e, to);
		break;
	case TRACE_IRQ ... TRACE_BIND:
		tell_irq(s, e, to);
		break;
	case TRACE_NOTIFY ... TRACE_BROKEN:
		tell_queue(s, e, to);
		break;
	default:
		tell_rest(s, e, to);
	}
	return STORY_EVENT;
}

int story_next(struct story *s, struct story_event *event, struct err *err)
{
	int step = STORY_OVER;

	while (!step) {
		int ret = trace_next(s->reader, &s->record, err);

		if (ret <= 0)
			return ret;
		s->explained = explainer_see(s->explainer, &s->record.event, &s->explanation);
		step = tell(s, event);
	}
	return step;
}

bool story_wanted(const struct story *s, const struct view_options *options)
{
	return !options->wanted || options->wanted(options->arg, &s->record, &s->explanation);
}

const struct story_kind *story_kind(const struct story *s, unsigned int n)
{
	return n < KINDS ? &s->kinds[n] : NULL;
}

const char *story_line(const struct story *s, unsigned int n)
{
	return n < s->line_count ? s->lines[n].name : NULL;
}

const struct story_phase *story_phase(const struct story *s, unsigned int n)
{
	return n < s->phase_count ? &s->phases[n] : NULL;
}

struct story *story_new(struct trace_reader *reader, struct symbols *symbols)
{
	struct story *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->reader = reader;
	s->symbols = symbols;
	s->header = trace_reader_header(reader);
	if (explainer_create(&s->explainer, s->header, NULL)) {
		free(s);
		return NULL;
	}
	make_kinds(s);
	trace_rewind(reader);
	return s;
}

void story_free(struct story *s)
{
	if (s)
		explainer_destroy(s->explainer);
	free(s);
}
