/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli_priv.h"
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/config.h"
#include "skep/err.h"
#include "timeline.h"

#define BAR 40

static const char *const other_names[] = {
	[BUDGET_BOOT - PHASE_KINDS] = "boot",
	[BUDGET_TOTAL - PHASE_KINDS] = "total",
	[BUDGET_MARK - PHASE_KINDS] = "mark:NAME",
};

#define NAMES (PHASE_KINDS + ARRAY_SIZE(other_names))

static const char *name_of(unsigned int kind)
{
	return kind < PHASE_KINDS ? phase_name((enum phase_kind)kind)
				  : other_names[kind - PHASE_KINDS];
}

static int unknown_phase(const char *given, struct err *err)
{
	const char *words[NAMES + 1];
	const char *near;

	for (unsigned int i = 0; i < NAMES; i++)
		words[i] = name_of(i);
	words[NAMES] = NULL;
	near = nearest_word(given, words);
	return near ? err_set(err, EINVAL, "--budget: there is no phase '%.32s'; did you mean %s?",
			      given, near)
		    : err_set(err, EINVAL,
			      "--budget: there is no phase '%.32s'; say start, assembly, loader, "
			      "unpack, entry, decompress, kernel, init, boot, total or mark:NAME",
			      given);
}

static int parse_phase(struct budget *b, const char *name, struct err *err)
{
	if (!strncmp(name, "mark:", 5)) {
		if (!name[5] || strlen(name + 5) >= sizeof(b->mark))
			return err_set(err, EINVAL, "--budget: a mark's name has 1 to %zu bytes",
				       sizeof(b->mark) - 1);
		b->kind = BUDGET_MARK;
		memcpy(b->mark, name + 5, strlen(name + 5) + 1);
		return 0;
	}
	for (b->kind = 0; b->kind < BUDGET_MARK; b->kind++)
		if (!strcmp(name, name_of(b->kind)))
			return 0;
	return unknown_phase(name, err);
}

int budget_add(struct timeline_args *args, const char *text, struct err *err)
{
	struct budget *b = &args->budgets[args->budget_count];
	const char *eq = strchr(text, '=');
	char name[64];
	int ret;

	if (args->budget_count == BUDGETS_MAX)
		return err_set(err, ENOSPC, "--budget: there are %d at most", BUDGETS_MAX);
	if (!eq)
		return err_set(err, EINVAL, "--budget: '%.32s' is not PHASE=TIME, as in boot=2s",
			       text);
	snprintf(name, sizeof(name), "%.*s", (int)MIN(eq - text, (long)sizeof(name)), text);
	ret = parse_phase(b, name, err);
	if (!ret)
		ret = cli_parse_time("budget", eq + 1, &b->most, err);
	args->budget_count += !ret;
	return ret;
}

struct time_text {
	char s[32];
};

static struct time_text time_text(uint64_t ns)
{
	struct time_text t;

	if (ns < 10 * NS_PER_S)
		snprintf(t.s, sizeof(t.s), "%.3f ms", (double)ns / 1e6);
	else
		snprintf(t.s, sizeof(t.s), "%.3f s", (double)ns / 1e9);
	return t;
}

/* What a budget bounds; false when that did not come. */
static bool measured(const struct budget *b, const struct timeline *t, uint64_t *ns)
{
	*ns = t->total;
	if (b->kind == BUDGET_MARK) {
		for (unsigned int i = 0; i < t->mark_count; i++) {
			*ns = t->marks[i].at;
			if (!strcmp(t->marks[i].name, b->mark))
				return true;
		}
		return false;
	}
	if (b->kind == BUDGET_TOTAL)
		return true;
	if (b->kind == BUDGET_BOOT) {
		*ns = t->phases[PHASE_INIT].at;
		return t->phases[PHASE_INIT].came;
	}
	*ns = t->phases[b->kind].took;
	return t->phases[b->kind].came;
}

static void complain(char *why, size_t room, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void complain(char *why, size_t room, const char *fmt, ...)
{
	size_t n = strlen(why);
	va_list ap;

	if (n)
		n += (size_t)snprintf(why + n, room - n, "; ");
	if (n >= room)
		return;
	va_start(ap, fmt);
	vsnprintf(why + n, room - n, fmt, ap);
	va_end(ap);
}

bool budgets_kept(const struct timeline_args *args, const struct timeline *t, char *why,
		  size_t room)
{
	why[0] = '\0';
	for (unsigned int i = 0; i < args->budget_count; i++) {
		const struct budget *b = &args->budgets[i];
		const bool mark = b->kind == BUDGET_MARK;
		const char *kind = mark ? "mark " : b->kind < PHASE_KINDS ? "phase " : "";
		const char *name = mark ? b->mark : name_of(b->kind);
		uint64_t ns;

		if (!measured(b, t, &ns))
			complain(why, room, "%s%s never came, and its budget is %s", kind, name,
				 time_text(b->most).s);
		else if (ns > b->most)
			complain(why, room, "%s%s took %s, which is %s over its budget of %s", kind,
				 name, time_text(ns).s, time_text(ns - b->most).s,
				 time_text(b->most).s);
	}
	return !why[0];
}

static void bar(char text[BAR + 1], const struct timeline *t, uint64_t at, uint64_t took, char with)
{
	const double scale = t->total ? (double)BAR / (double)t->total : 0;
	const unsigned int from = MIN((unsigned int)((double)at * scale), BAR - 1U);
	const unsigned int to = MIN((unsigned int)((double)(at + took) * scale), (unsigned int)BAR);

	memset(text, ' ', BAR);
	memset(text + from, with, to > from ? to - from : 1);
	text[BAR] = '\0';
}

void timeline_print(const struct timeline *t, FILE *to)
{
	char text[BAR + 1];

	fprintf(to, "%-16s %14s %14s\n", "phase", "at", "took");
	for (unsigned int i = 0; i < PHASE_KINDS; i++) {
		const struct timeline_phase *p = &t->phases[i];

		if (!p->came)
			continue;
		bar(text, t, p->at, p->took, i == PHASE_UNPACK ? '-' : '#');
		fprintf(to, "%s%-*s %14s %14s  |%s|\n", i == PHASE_UNPACK ? "  " : "",
			i == PHASE_UNPACK ? 14 : 16, phase_name((enum phase_kind)i),
			time_text(p->at).s, time_text(p->took).s, text);
	}
	for (unsigned int i = 0; i < t->mark_count; i++) {
		bar(text, t, t->marks[i].at, 0, '^');
		fprintf(to, "mark %-11s %14s %14s  |%s|\n", t->marks[i].name,
			time_text(t->marks[i].at).s, "", text);
	}
	fprintf(to, "%-16s %14s %14s\n", "total", "", time_text(t->total).s);
}
