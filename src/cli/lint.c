/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rules listen as a tap of the trace, on whatever thread records. Their questions go to the
 * vCPU whose thread that is, which is outside the guest then.
 */
#include "lint.h"

#include <stdio.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "skep/kvm.h"
#include "skep/log.h"
#include "skep/symbols.h"
#include "skep/vm.h"

#define FINDING_MAX 1024

static bool ask_gate(void *arg, unsigned int vcpu, uint8_t vector, struct kvm_gate *gate)
{
	const struct lint_run *run = arg;

	return vm_gate(run->vm, vcpu, vector, gate);
}

static uint64_t ask_rip(void *arg, unsigned int vcpu)
{
	const struct lint_run *run = arg;

	return vm_rip(run->vm, vcpu);
}

static bool ask_symbol(void *arg, uint64_t address, char *text, size_t room)
{
	const struct lint_run *run = arg;

	return symbols_name(run->symbols, address, text, room);
}

static void listen(struct trace_tap *tap, const struct trace_record *record)
{
	lint_event(container_of(tap, struct lint_run, tap)->lint, record);
}

static void say(void *arg, const struct lint_finding *finding)
{
	const struct lint_run *run = arg;
	char text[FINDING_MAX], *rest;

	lint_format(finding, run->start, text, sizeof(text));
	rest = strchr(text, '\n');
	if (rest)
		*rest++ = '\0';
	log_error(run->log, "%s", text);
	if (rest)
		log_error(run->log, "%s", rest);
}

/* Of the kernel without being asked: where it has none, there are addresses. */
static int open_symbols(struct lint_run *run, const char *path, const char *kernel, struct err *err)
{
	struct err ignored;
	int ret;

	if (path) {
		ret = symbols_open(&run->symbols, path, err);
		return ret ? ret : symbols_prepare(run->symbols, err);
	}
	if (kernel && !symbols_open(&run->symbols, kernel, &ignored))
		symbols_prepare(run->symbols, &ignored);
	return 0;
}

int lint_begin(struct lint_run *run, struct vm *vm, const char *symbols, const char *kernel,
	       struct log *log, struct err *err)
{
	struct trace *trace = vm_trace(vm);
	int ret;

	if (!trace)
		return err_set(err, EINVAL, "--lint needs trace.memory=on");
	run->vm = vm;
	run->log = log;
	run->start = trace_header(trace)->start;
	run->live = (struct lint_live){ask_gate, ask_rip, ask_symbol, run};
	run->tap.event = listen;
	ret = open_symbols(run, symbols, kernel, err);
	if (!ret)
		ret = lint_create(&run->lint, trace_header(trace), true, &run->live, say, run, err);
	if (!ret) {
		trace_add_tap(trace, &run->tap);
		vm_watch_closely(vm);
	}
	return ret;
}

/* What was not told of each rule: those after the first few, and those that came again. */
static void say_totals(const struct lint_run *run)
{
	const struct lint_finding *found;
	size_t n = lint_findings(run->lint, &found), rules;
	const struct lint_rule *rule = lint_rules(&rules);

	for (size_t i = 0; i < rules; i++) {
		uint64_t all = lint_untold(run->lint, i), told = 0;

		for (size_t k = 0; k < n; k++)
			if (found[k].rule == &rule[i]) {
				all += found[k].count;
				told++;
			}
		if (all > told)
			log_error(run->log, "lint: %s: %llu times in all", rule[i].name,
				  (unsigned long long)all);
	}
}

void lint_end(struct lint_run *run)
{
	if (!run->lint)
		return;
	lint_finish(run->lint, clock_now());
	say_totals(run);
}

void lint_free(struct lint_run *run)
{
	lint_destroy(run->lint);
	symbols_close(run->symbols);
	run->lint = NULL;
	run->symbols = NULL;
}

/* Reports */

size_t lint_count(const struct lint_run *run)
{
	const struct lint_finding *found;

	return run->lint ? lint_findings(run->lint, &found) : 0;
}

static json_t *finding_json(const struct lint_run *run, const struct lint_finding *f)
{
	json_t *o = json_object();
	char rip[24];

	json_object_set_new(o, "rule", json_string(f->rule->name));
	json_object_set_new(o, "time_us",
			    json_integer((json_int_t)((f->time - run->start) / NS_PER_US)));
	if (f->vcpu >= 0)
		json_object_set_new(o, "vcpu", json_integer(f->vcpu));
	if (f->rip) {
		snprintf(rip, sizeof(rip), "0x%llx", (unsigned long long)f->rip);
		json_object_set_new(o, "rip", json_string(rip));
	}
	if (*f->symbol)
		json_object_set_new(o, "symbol", json_string(f->symbol));
	json_object_set_new(o, "what", json_string(f->what));
	json_object_set_new(o, "right", json_string(f->rule->right));
	json_object_set_new(o, "source", json_string(f->rule->source));
	json_object_set_new(o, "count", json_integer((json_int_t)f->count));
	return o;
}

json_t *lint_json(const struct lint_run *run)
{
	json_t *all = json_array(), *untold = json_object(), *o = json_object();
	const struct lint_finding *found;
	size_t n = lint_findings(run->lint, &found), rules;
	const struct lint_rule *rule = lint_rules(&rules);

	for (size_t i = 0; i < n; i++)
		json_array_append_new(all, finding_json(run, &found[i]));
	for (size_t i = 0; i < rules; i++)
		if (lint_untold(run->lint, i))
			json_object_set_new(untold, rule[i].name,
					    json_integer((json_int_t)lint_untold(run->lint, i)));
	json_object_set_new(o, "findings", all);
	json_object_set_new(o, "more", untold);
	return o;
}

/* A trace */

static void print(void *arg, const struct lint_finding *finding)
{
	const struct lint_run *run = arg;
	char text[FINDING_MAX];

	lint_format(finding, run->start, text, sizeof(text));
	puts(text);
}

int lint_trace(struct trace_reader *reader, const char *symbols, struct err *err)
{
	const struct trace_header *header = trace_reader_header(reader);
	struct lint_run run = {.live = {.symbol = ask_symbol, .arg = &run}, .start = header->start};
	struct trace_record record;
	uint64_t last = header->start;
	int ret = open_symbols(&run, symbols, NULL, err);

	if (!ret)
		ret = lint_create(&run.lint, header, !trace_reader_lost(reader), &run.live, print,
				  &run, err);
	while (!ret && (ret = trace_next(reader, &record, err)) > 0) {
		last = record.event.time;
		lint_event(run.lint, &record);
		ret = 0;
	}
	if (!ret) {
		lint_finish(run.lint, last);
		printf("%zu finding%s\n", lint_count(&run), lint_count(&run) == 1 ? "" : "s");
	}
	lint_free(&run);
	return ret;
}

void lint_print_rules(void)
{
	size_t n;
	const struct lint_rule *rule = lint_rules(&n);

	for (size_t i = 0; i < n; i++)
		printf("%s%-16s %s\n%16s right: %s\n%16s %s\n", i ? "\n" : "", rule[i].name,
		       rule[i].summary, "", rule[i].right, "", rule[i].source);
}
