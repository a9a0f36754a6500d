/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events added up. What is counted by name is bounded: a file decides what names there are.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "skep/kvm.h"
#include "trace_cli.h"

#define EXITS     256
#define REGISTERS 4096U /* a power of two */
#define QUEUES    256U
#define CHAINS    4096U /* a power of two */

/* Durations, of which there may be none. */
struct times {
	uint64_t count, sum, most;
};

struct exit_count {
	uint64_t count;
	struct times outside; /* until the next entry */
};

/* Of a device's register; the name is "" in a free one. */
struct register_count {
	char name[72];
	uint64_t reads, writes;
};

struct wire_count {
	uint64_t raised, taken, spurious, ended;
	uint64_t raised_at, taken_at; /* 0: not now */
	struct times waits, serves;
};

struct queue_count {
	uint64_t rings, chains, bytes, interrupts;
	struct times serves;
};

/* A chain that a device works on. */
struct chain_at {
	uint64_t key; /* 0: free */
	uint64_t time;
};

struct trace_counts {
	const struct trace_view *view;
	uint64_t kinds[TRACE_KINDS];
	struct exit_count exits[EXITS];
	struct times guest;
	uint8_t last_exit[TRACE_THREADS_MAX];
	struct register_count registers[REGISTERS];
	unsigned int register_count;
	uint64_t other_registers;
	struct wire_count wires[TRACE_GSIS_MAX];
	struct queue_count queues[TRACE_DEVICES_MAX][QUEUES];
	struct chain_at chains[CHAINS];
};

static void add_time(struct times *t, uint64_t ns)
{
	t->count++;
	t->sum += ns;
	t->most = MAX(t->most, ns);
}

int trace_counts_create(struct trace_counts **counts, const struct trace_view *view,
			struct err *err)
{
	*counts = calloc(1, sizeof(**counts));
	if (!*counts)
		return err_sys(err, ENOMEM, "counts");
	(*counts)->view = view;
	return 0;
}

void trace_counts_destroy(struct trace_counts *c)
{
	free(c);
}

static uint64_t hash_of(const void *bytes, size_t n)
{
	const uint8_t *p = bytes;
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * UINT64_C(0x100000001b3);
	return h ^ h >> 32;
}

/* The register of that name; NULL when there are too many. */
static struct register_count *find_register(struct trace_counts *c, const char *name)
{
	uint64_t at = hash_of(name, strlen(name));

	for (;; at++) {
		struct register_count *r = &c->registers[at % REGISTERS];

		if (!strcmp(r->name, name))
			return r;
		if (r->name[0])
			continue;
		if (c->register_count == REGISTERS / 2)
			return NULL;
		c->register_count++;
		snprintf(r->name, sizeof(r->name), "%s", name);
		return r;
	}
}

static void count_access(struct trace_counts *c, const struct trace_line *line)
{
	const struct trace_event *e = &line->record->event;
	struct register_count *r;
	char label[40], name[sizeof(r->name)];

	trace_label(c->view, line, label, sizeof(label));
	if (line->meaning.reg[0])
		snprintf(name, sizeof(name), "%s %s", label, line->meaning.reg);
	else
		snprintf(name, sizeof(name), "%s %s %llx", label,
			 e->sub & TRACE_MEMORY ? "memory" : "port", (unsigned long long)e->c);
	r = find_register(c, name);
	if (!r)
		c->other_registers++;
	else if (e->kind == TRACE_WRITE)
		r->writes++;
	else
		r->reads++;
}

static void count_vcpu(struct trace_counts *c, const struct trace_line *line)
{
	const struct trace_event *e = &line->record->event;
	uint8_t *last = &c->last_exit[line->record->thread];

	if (e->kind == TRACE_EXIT) {
		c->exits[e->sub].count++;
		*last = e->sub;
		if (line->lasted)
			add_time(&c->guest, line->lasted);
	} else if (line->lasted) {
		add_time(&c->exits[*last].outside, line->lasted);
	}
}

/* The wire that an interrupt chip's event is about: pin 2 of the IOAPIC is the 8254. */
static struct wire_count *wire_of(struct trace_counts *c, const struct trace_event *e)
{
	const struct trace_header *h = c->view->header;
	const bool ioapic =
		e->device < h->device_count && !strcmp(h->devices[e->device].model, "ioapic");

	return &c->wires[ioapic && e->a == 2 ? 0 : e->a];
}

static void count_wire(struct trace_counts *c, const struct trace_event *e)
{
	struct wire_count *w = e->kind == TRACE_IRQ ? &c->wires[e->a] : wire_of(c, e);

	if (e->kind == TRACE_IRQ) {
		if (!e->sub)
			return;
		w->raised++;
		w->raised_at = e->time;
	} else if (e->kind == TRACE_EOI) {
		w->ended++;
		if (w->taken_at)
			add_time(&w->serves, e->time - w->taken_at);
		w->taken_at = 0;
	} else if (e->kind == TRACE_INTA && e->sub) {
		w->spurious++;
	} else {
		w->taken++;
		w->taken_at = e->time;
		if (w->raised_at)
			add_time(&w->waits, e->time - w->raised_at);
		w->raised_at = 0;
	}
}

static void count_queue(struct trace_counts *c, const struct trace_event *e)
{
	const uint64_t key = (uint64_t)e->device << 40 | (uint64_t)e->sub << 32 | e->a;
	struct chain_at *chain = &c->chains[hash_of(&key, sizeof(key)) % CHAINS];
	struct queue_count *q;

	if (e->device >= c->view->header->device_count)
		return;
	q = &c->queues[e->device][e->sub];
	switch (e->kind) {
	case TRACE_NOTIFY:
		q->rings += e->b;
		break;
	case TRACE_POP:
		q->chains++;
		*chain = (struct chain_at){key + 1, e->time};
		break;
	case TRACE_DONE:
		q->bytes += e->b;
		if (chain->key == key + 1)
			add_time(&q->serves, e->time - chain->time);
		chain->key = 0;
		break;
	case TRACE_PUBLISH:
		q->interrupts += e->a != 0;
		break;
	default:
		break;
	}
}

void trace_count(struct trace_counts *c, const struct trace_line *line)
{
	const struct trace_event *e = &line->record->event;

	c->kinds[e->kind]++;
	switch (e->kind) {
	case TRACE_ENTER:
	case TRACE_EXIT:
		count_vcpu(c, line);
		break;
	case TRACE_READ:
	case TRACE_WRITE:
		count_access(c, line);
		break;
	case TRACE_IRQ:
	case TRACE_INTA:
	case TRACE_DELIVER:
	case TRACE_EOI:
		count_wire(c, e);
		break;
	case TRACE_NOTIFY ... TRACE_PUBLISH:
		count_queue(c, e);
		break;
	default:
		break;
	}
}

/* Printing */

struct time_text {
	char s[24];
};

static struct time_text mean(const struct times *t)
{
	struct time_text text = {"-"};

	if (t->count)
		snprintf(text.s, sizeof(text.s), "%.1f us",
			 (double)t->sum / (double)t->count / 1e3);
	return text;
}

static struct time_text most(const struct times *t)
{
	struct time_text text = {"-"};

	if (t->count)
		snprintf(text.s, sizeof(text.s), "%.1f us", (double)t->most / 1e3);
	return text;
}

static void print_kinds(const struct trace_counts *c)
{
	printf("%-12s %10s\n", "event", "count");
	for (unsigned int i = 0; i < TRACE_KINDS; i++)
		if (c->kinds[i])
			printf("%-12s %10llu\n", trace_kind_name(i),
			       (unsigned long long)c->kinds[i]);
}

static void print_exits(const struct trace_counts *c)
{
	if (!c->kinds[TRACE_EXIT])
		return;
	printf("\n%-16s %10s %14s %14s\n", "exit", "count", "outside, mean", "most");
	for (unsigned int i = 0; i < EXITS; i++)
		if (c->exits[i].count)
			printf("%-16s %10llu %14s %14s\n", kvm_exit_name(i),
			       (unsigned long long)c->exits[i].count, mean(&c->exits[i].outside).s,
			       most(&c->exits[i].outside).s);
	printf("%-16s %10s %14s %14s\n", "in the guest", "", mean(&c->guest).s, most(&c->guest).s);
}

static int by_count(const void *a, const void *b)
{
	const struct register_count *x = a, *y = b;
	const uint64_t n = x->reads + x->writes, m = y->reads + y->writes;

	if (n != m)
		return n < m ? 1 : -1;
	return strcmp(x->name, y->name);
}

static void print_registers(struct trace_counts *c)
{
	if (!c->register_count)
		return;
	/* The table is one of hashes no more. */
	qsort(c->registers, REGISTERS, sizeof(c->registers[0]), by_count);
	printf("\n%-32s %10s %10s\n", "register", "reads", "writes");
	for (unsigned int i = 0; i < c->register_count; i++)
		printf("%-32s %10llu %10llu\n", c->registers[i].name,
		       (unsigned long long)c->registers[i].reads,
		       (unsigned long long)c->registers[i].writes);
	if (c->other_registers)
		printf("%-32s %10llu in all\n", "others", (unsigned long long)c->other_registers);
}

static void print_wire(const struct trace_counts *c, unsigned int gsi)
{
	const struct trace_header *h = c->view->header;
	const struct wire_count *w = &c->wires[gsi];
	char who[48] = "";

	for (unsigned int i = 0; i < h->device_count; i++)
		if (h->gsis[gsi] >> i & 1)
			snprintf(who + strlen(who), sizeof(who) - strlen(who), "%s%s",
				 who[0] ? "," : "", h->devices[i].id);
	printf("%3u %-16.16s %8llu %8llu %8llu %8llu %12s %12s %12s %12s\n", gsi, who,
	       (unsigned long long)w->raised, (unsigned long long)w->taken,
	       (unsigned long long)w->ended, (unsigned long long)w->spurious, mean(&w->waits).s,
	       most(&w->waits).s, mean(&w->serves).s, most(&w->serves).s);
}

static void print_wires(const struct trace_counts *c)
{
	bool titled = false;

	for (unsigned int i = 0; i < TRACE_GSIS_MAX; i++) {
		const struct wire_count *w = &c->wires[i];

		if (!w->raised && !w->taken && !w->ended && !w->spurious)
			continue;
		if (!titled)
			printf("\n%3s %-16s %8s %8s %8s %8s %12s %12s %12s %12s\n", "irq", "of",
			       "raised", "taken", "ended", "spurious", "wait, mean", "most",
			       "service", "most");
		titled = true;
		print_wire(c, i);
	}
}

static void print_queues(const struct trace_counts *c)
{
	const struct trace_header *h = c->view->header;
	bool titled = false;

	for (unsigned int i = 0; i < h->device_count; i++)
		for (unsigned int n = 0; n < QUEUES; n++) {
			const struct queue_count *q = &c->queues[i][n];

			if (!q->rings && !q->chains)
				continue;
			if (!titled)
				printf("\n%-20s %10s %10s %12s %10s %12s %12s\n", "queue", "rings",
				       "chains", "bytes in", "interrupts", "chain, mean", "most");
			titled = true;
			printf("%-16.16s %3u %10llu %10llu %12llu %10llu %12s %12s\n",
			       h->devices[i].id, n, (unsigned long long)q->rings,
			       (unsigned long long)q->chains, (unsigned long long)q->bytes,
			       (unsigned long long)q->interrupts, mean(&q->serves).s,
			       most(&q->serves).s);
		}
}

void trace_counts_print(struct trace_counts *c)
{
	print_kinds(c);
	print_exits(c);
	print_registers(c);
	print_wires(c);
	print_queues(c);
}
