/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lint - mistakes of a guest in what it does to its devices, told by rules.
 *
 * A rule is a state machine over the events of a trace (trace.h): it keeps account of what the
 * guest told a chip, and so knows when an interrupt was never ended or a word was taken for
 * another. The same rules read a machine that runs, as a tap of its trace, and the trace of one
 * that ran; from one that runs they also ask what only the processor knows (struct lint_live).
 *
 * What was before the first event is unknown unless the caller says that it was power-on, and a
 * rule that does not know says nothing. A rule speaks only where no right guest would have done the
 * same. What it finds is kept and told LINT_TOLD_MAX times, and counted beyond.
 *
 * Nothing here takes a lock: calls must not overlap, as those of a tap do not.
 */
#ifndef SKEP_LINT_H
#define SKEP_LINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct kvm_gate;
struct lint;
struct trace_header;
struct trace_record;

/* Findings of one rule that are told. */
#define LINT_TOLD_MAX 4

struct lint_rule {
	const char *name;
	const char *summary; /* the mistake, in a few words */
	const char *right;   /* what would be right: a sentence without its stop */
	const char *source;  /* who says so: specification and section */
};

/* All rules. */
const struct lint_rule *lint_rules(size_t *count);

/* What there is to ask. A function may be NULL; @arg is theirs. */
struct lint_live {
	/* On the thread that records an event of @vcpu. False: nobody knows. */
	bool (*gate)(void *arg, unsigned int vcpu, uint8_t vector, struct kvm_gate *gate);
	uint64_t (*rip)(void *arg, unsigned int vcpu); /* 0: nobody knows */
	/* "name+0x12" for an address of the guest; false: there is none. */
	bool (*symbol)(void *arg, uint64_t address, char *text, size_t room);
	void *arg;
};

struct lint_finding {
	const struct lint_rule *rule;
	uint64_t time; /* as in struct trace_event */
	uint64_t rip;  /* 0: not known */
	uint64_t key;  /* what tells findings of a rule apart */
	uint64_t count;
	int vcpu;        /* -1: no vCPU's */
	char symbol[80]; /* "": none */
	char what[256];  /* what the guest did: a sentence without its stop */
};

/*
 * @header, of the trace that the events are of, and @live, which may be NULL, outlive it.
 * @from_power_on: the events begin where the machine does. @told hears of each finding at once, on
 * the thread of its event; NULL: nobody does.
 */
int lint_create(struct lint **lint, const struct trace_header *header, bool from_power_on,
		const struct lint_live *live,
		void (*told)(void *arg, const struct lint_finding *finding), void *arg,
		struct err *err);
void lint_destroy(struct lint *lint);

void lint_event(struct lint *lint, const struct trace_record *record);
/* The machine has ended at @time: what was not done by now never will be. */
void lint_finish(struct lint *lint, uint64_t time);

/* The findings that were told, in order; valid until the next event. */
size_t lint_findings(const struct lint *lint, const struct lint_finding **findings);
/* How many more there were of rule number @rule. */
uint64_t lint_untold(const struct lint *lint, size_t rule);

/* One finding as a person reads it: two lines without the last one's end; @start: time 0. */
void lint_format(const struct lint_finding *finding, uint64_t start, char *text, size_t room);

#endif
