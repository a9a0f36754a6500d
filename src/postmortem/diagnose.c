/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What most likely happened, in sentences.
 *
 * KVM says only that a vCPU shut down. So the instruction at RIP is done again on paper: what would
 * it have met, and what would the processor have met while it delivered that, and so on, until it
 * gives up (SDM volume 3A, 6.15, interrupt 8).
 */
#include <stdarg.h>
#include <string.h>

#include "pm_priv.h"
#include "skep/bits.h"
#include "skep/disasm.h"
#include "skep/gmem.h"
#include "tables.h"
#include "walk.h"

/* The exception that began it. */
struct first {
	int vector;
	bool has_address;
	uint64_t address;
	unsigned int access;
	char text[280];
};

__attribute__((format(printf, 2, 3))) static void say(struct diagnosis *d, const char *fmt, ...)
{
	va_list ap;

	if (d->count == DIAGNOSIS_LINES)
		return;
	va_start(ap, fmt);
	vsnprintf(d->lines[d->count++], sizeof(d->lines[0]), fmt, ap);
	va_end(ap);
}

__attribute__((format(printf, 3, 4))) static bool begins(struct first *f, int vector,
							 const char *fmt, ...)
{
	va_list ap;

	f->vector = vector;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	return true;
}

static bool begins_at(struct first *f, const struct walk *w, unsigned int access, const char *verb)
{
	f->has_address = w->fault == VECTOR_PF;
	f->address = w->address;
	f->access = access;
	return begins(f, w->fault, "it %s %llx: %s", verb, (unsigned long long)w->address,
		      w->wrong);
}

static unsigned int user(const struct cpu_state *cpu)
{
	return cpu_cpl(cpu) == 3 ? WALK_USER : 0;
}

static uint64_t effective(const struct cpu_state *cpu, const struct insn *insn,
			  const struct insn_memory *m)
{
	uint64_t at = (uint64_t)m->disp;

	if (m->base == INSN_IP)
		at += cpu->rip + insn->len;
	else if (m->base >= 0)
		at += cpu->gpr[m->base];
	if (m->index >= 0 && m->index < CPU_GPRS)
		at += cpu->gpr[m->index] * m->scale;
	return m->address_bytes && m->address_bytes < 8 ? at & ones(m->address_bytes) : at;
}

/* SDM volume 3A, 5.3 and 5.4.1: limits and null segments, where there is segmentation. */
static bool segment_fault(const struct cpu_state *cpu, const struct insn_memory *m, uint64_t offset,
			  struct first *f)
{
	const struct cpu_segment *s = &cpu->segment[m->segment];
	const int vector = m->segment == CPU_SS ? VECTOR_SS : VECTOR_GP;
	static const char *const names[] = {"ES", "CS", "SS", "DS", "FS", "GS"};

	if (cpu_code_bits(cpu) == 64)
		return false;
	if (cpu->cr0 & CR0_PE && (s->unusable || !s->present))
		return begins(f, vector, "it uses %s, which holds a null selector",
			      names[m->segment]);
	if (s->code_or_data && !(s->type & 8) && s->type & 4)
		return false; /* expands down */
	if (!range_fits(offset, MAX(m->size, 1U), (uint64_t)s->limit + 1))
		return begins(f, vector, "it accesses %llx in %s, beyond its limit %x",
			      (unsigned long long)offset, names[m->segment], s->limit);
	return false;
}

static bool memory_fault(const struct view *v, const struct insn *insn, struct first *f)
{
	const struct cpu_state *cpu = v->cpu;

	for (unsigned int i = 0; i < insn->memory_count; i++) {
		const struct insn_memory *m = &insn->memory[i];
		const unsigned int access = (m->write ? WALK_WRITE : WALK_READ) | user(cpu);
		const uint64_t offset = effective(cpu, insn, m);
		const uint64_t at = walk_linear(cpu, (unsigned int)m->segment, offset);
		struct walk w;

		if (segment_fault(cpu, m, offset, f))
			return true;
		walk(v->mem, cpu, at, access, &w);
		if (w.fault < 0 && m->size > 1)
			walk(v->mem, cpu, at + m->size - 1, access, &w);
		if (w.fault == VECTOR_GP && m->segment == CPU_SS)
			w.fault = VECTOR_SS;
		if (w.fault >= 0)
			return begins_at(f, &w, access, m->write ? "writes to" : "reads");
	}
	return false;
}

static bool stack_fault(const struct view *v, const struct insn *insn, struct first *f)
{
	const struct cpu_state *cpu = v->cpu;
	const unsigned int bits = cpu_code_bits(cpu);
	const bool push = insn->kind == INSN_PUSH;
	const struct insn_memory slot = {
		.base = CPU_RSP,
		.index = -1,
		.segment = CPU_SS,
		.disp = push ? -(int64_t)(bits / 8) : 0,
		.address_bytes = bits == 64                 ? 8
				 : cpu->segment[CPU_SS].big ? 4
							    : 2,
		.size = bits / 8,
		.write = push,
	};
	struct insn access = {.memory_count = 1, .memory = {slot}};

	if (!memory_fault(v, &access, f))
		return false;
	begins(f, f->vector, "its stack pointer is bad: %s %llx",
	       push ? "there is no pushing at" : "nothing can be popped at",
	       (unsigned long long)cpu->gpr[CPU_RSP]);
	return true;
}

static bool divides_by_zero(const struct cpu_state *cpu, const struct insn *insn)
{
	return insn->kind == INSN_DIVIDE && insn->reg >= 0 && insn->reg < CPU_GPRS &&
	       insn->reg_bytes && insn->reg_bytes <= 8 &&
	       !(cpu->gpr[insn->reg] & ones(insn->reg_bytes));
}

static bool instruction_fault(const struct view *v, const struct insn *insn, struct first *f)
{
	switch (insn->kind) {
	case INSN_UNDEF:
		return begins(f, VECTOR_UD, "it is the instruction that is there to be undefined");
	case INSN_INT:
	case INSN_TRAP:
		return begins(f, (int)(insn->immediate & 255), "it asks for interrupt %u",
			      (unsigned int)insn->immediate & 255);
	case INSN_PUSH:
	case INSN_POP:
		if (stack_fault(v, insn, f))
			return true;
		break;
	default:
		break;
	}
	if (memory_fault(v, insn, f))
		return true;
	if (divides_by_zero(v->cpu, insn))
		return begins(f, VECTOR_DE, "it divides by zero");
	return false;
}

/* The instruction before RIP, if it is one that changes how addresses are translated. */
static const char *just_done(const struct view *v)
{
	uint8_t code[3];
	uint64_t at = v->cpu->rip - sizeof(code);

	/* Where it ran, that is: at a physical address, most likely. */
	if (walk_read(v->mem, v->cpu, at, code, sizeof(code)) < sizeof(code) &&
	    gmem_read(v->mem, at, code, sizeof(code)))
		return "";
	if (code[0] != 0x0f || code[1] != 0x22) /* MOV to a control register */
		return "";
	if ((code[2] & 0xf8) == 0xc0)
		return "; the instruction before it switched paging on, with page tables that do "
		       "not map the code that does so";
	if ((code[2] & 0xf8) == 0xd8)
		return "; the instruction before it loaded CR3, with page tables that do not map "
		       "the code that does so";
	return "";
}

/* What the instruction at RIP meets; false when nothing is wrong with it. */
static bool find_first(const struct view *v, struct first *f, struct insn *insn)
{
	const struct cpu_state *cpu = v->cpu;
	const uint64_t at = walk_linear(cpu, CPU_CS, cpu->rip);
	struct disasm *disasm;
	uint8_t code[INSN_MAX];
	struct walk w;
	size_t n;
	bool found;

	memset(f, 0, sizeof(*f));
	memset(insn, 0, sizeof(*insn));
	f->vector = -1;
	walk(v->mem, cpu, at, WALK_FETCH | user(cpu), &w);
	if (w.fault >= 0) {
		f->has_address = w.fault == VECTOR_PF;
		f->address = at;
		f->access = WALK_FETCH | user(cpu);
		return begins(f, w.fault, "the instruction there cannot be fetched: %s%s", w.wrong,
			      just_done(v));
	}
	if (*w.wrong)
		return begins(f, -1, "nothing can be executed there: %s", w.wrong);
	n = walk_read(v->mem, cpu, at, code, sizeof(code));
	disasm = disasm_open(cpu_code_bits(cpu));
	if (!disasm)
		return false;
	if (disasm_one(disasm, code, n, cpu->rip, insn))
		found = instruction_fault(v, insn, f);
	else
		found = n == sizeof(code) &&
			begins(f, VECTOR_UD, "the bytes there are no instruction");
	disasm_close(disasm);
	return found;
}

/* "#PF", or "interrupt 32" */
struct vector_text {
	char s[16];
};
static struct vector_text vector_text(int vector)
{
	const char *name = vector >= 0 ? vector_name((unsigned int)vector) : NULL;
	struct vector_text t;

	if (name)
		snprintf(t.s, sizeof(t.s), "%s", name);
	else
		snprintf(t.s, sizeof(t.s), "interrupt %d", vector);
	return t;
}

/* From the first exception to the end, one sentence each. */
static void follow(const struct view *v, int vector, struct diagnosis *out)
{
	char before[sizeof(((struct delivery *)NULL)->text)] = "";

	for (unsigned int i = 0; i < 4; i++) {
		const struct vector_text now = vector_text(vector);
		struct delivery d;

		deliver(v->mem, v->cpu, (unsigned int)vector, &d);
		if (d.fault < 0 && *d.text) {
			say(out, "Delivering %s: %s.", now.s, d.text);
			if (d.handler && !d.lost)
				say(out,
				    "So the handler is a fault itself, again and again, until the "
				    "stack is used up.");
			return;
		}
		if (d.fault < 0) {
			say(out,
			    "%s has a handler that can be entered, at %llx%s, so what ended the "
			    "guest happened in there or behind it.",
			    now.s, (unsigned long long)d.handler, name_of(v, d.handler).s);
			return;
		}
		if (vector == VECTOR_DF) {
			say(out, "Delivering #DF: %s. That is a triple fault.",
			    strcmp(before, d.text) != 0 ? d.text : "the same");
			return;
		}
		say(out, "Delivering %s: %s, which is %s.", now.s,
		    strcmp(before, d.text) != 0 ? d.text : "the same",
		    makes_double_fault((unsigned int)vector, (unsigned int)d.fault)
			    ? "a double fault, #DF"
			    : vector_text(d.fault).s);
		memcpy(before, d.text, sizeof(before));
		vector = makes_double_fault((unsigned int)vector, (unsigned int)d.fault) ? VECTOR_DF
											 : d.fault;
	}
}

/* Nothing is wrong with the instruction: what else may tell. */
static void guess(const struct view *v, struct first *f, const struct insn *insn,
		  struct diagnosis *d)
{
	const struct cpu_state *cpu = v->cpu;
	const char *text = insn->len ? insn->text : "?";
	struct delivery meant;
	struct walk w;

	if (cpu->exception >= 0) {
		f->vector = cpu->exception;
		say(d, "At RIP %llx%s, in `%s`, %s was under way.", (unsigned long long)cpu->rip,
		    name_of(v, cpu->rip).s, text, vector_text(f->vector).s);
		return;
	}
	if (cpu->rflags & RFLAGS_IF && cpu->interrupt >= 0) {
		deliver(v->mem, cpu, (unsigned int)cpu->interrupt, &meant);
		if (meant.fault >= 0) {
			f->vector = cpu->interrupt;
			say(d,
			    "At RIP %llx%s, in `%s`: most likely interrupt %d, which the 8259A "
			    "pair gave last.",
			    (unsigned long long)cpu->rip, name_of(v, cpu->rip).s, text,
			    cpu->interrupt);
			return;
		}
	}
	walk(v->mem, cpu, cpu->cr2, WALK_READ, &w);
	if (cpu->cr0 & CR0_PG && cpu->cr2 && w.fault == VECTOR_PF) {
		f->vector = VECTOR_PF;
		f->has_address = true;
		f->address = cpu->cr2;
		say(d,
		    "At RIP %llx%s, in `%s`: most likely a page fault, #PF, for CR2 is %llx%s, "
		    "where %s.",
		    (unsigned long long)cpu->rip, name_of(v, cpu->rip).s, text,
		    (unsigned long long)cpu->cr2, name_of(v, cpu->cr2).s, w.wrong);
		return;
	}
	say(d,
	    "At RIP %llx%s, in `%s`: which exception began it, the registers do not tell. As an "
	    "example, #GP:",
	    (unsigned long long)cpu->rip, name_of(v, cpu->rip).s, text);
	f->vector = VECTOR_GP;
}

/* KVM does itself what the processor cannot: accesses to what is no RAM, above all. */
static void say_emulated(const struct view *v, const struct insn *insn, struct diagnosis *d)
{
	const struct cpu_state *cpu = v->cpu;

	for (unsigned int i = 0; i < insn->memory_count; i++) {
		const struct insn_memory *m = &insn->memory[i];
		const uint64_t at =
			walk_linear(cpu, (unsigned int)m->segment, effective(cpu, insn, m));
		struct walk w;

		walk(v->mem, cpu, at, m->write ? WALK_WRITE : WALK_READ, &w);
		if (w.fault >= 0 || !*w.wrong)
			continue;
		say(d,
		    "At RIP %llx%s, in `%s`: it %s %llx, and %s. Such accesses KVM does itself, "
		    "and "
		    "it does not know this instruction.",
		    (unsigned long long)cpu->rip, name_of(v, cpu->rip).s, insn->text,
		    m->write ? "writes to" : "reads", (unsigned long long)at, w.wrong);
		d->has_address = true;
		d->address = at;
		d->access = m->write ? WALK_WRITE : WALK_READ;
		return;
	}
}

static void diagnose_fault(const struct view *v, bool triple, struct diagnosis *d)
{
	const struct cpu_state *cpu = v->cpu;
	struct insn insn;
	struct first f;

	if (cpu->when == CPU_SECOND_EXIT) {
		say(d, "Which exception began it is not known. As an example, #GP:");
		follow(v, VECTOR_GP, d);
		return;
	}
	if (find_first(v, &f, &insn))
		say(d, "At RIP %llx%s%s%s%s: %s%s%s.", (unsigned long long)cpu->rip,
		    name_of(v, cpu->rip).s, insn.len ? ", in `" : "", insn.text,
		    insn.len ? "`" : "", f.text, f.vector >= 0 ? ", which is " : "",
		    f.vector >= 0 ? vector_text(f.vector).s : "");
	else if (triple)
		guess(v, &f, &insn, d);
	else
		say_emulated(v, &insn, d);
	d->vector = f.vector;
	if (f.has_address) {
		d->has_address = true;
		d->address = f.address;
		d->access = f.access;
	}
	if (triple && f.vector >= 0)
		follow(v, f.vector, d);
}

/* A vCPU that was stopped from outside. */
static void diagnose_rest(const struct view *v, const struct ending *ending, struct diagnosis *d)
{
	const struct cpu_state *cpu = v->cpu;
	const struct name_text name = name_of(v, cpu->rip);
	const bool open = cpu->rflags & RFLAGS_IF;

	if (ending->kind == END_PANIC)
		say(d,
		    "The guest's kernel found the fault itself and said so; its own words are on "
		    "its console.");
	if (cpu->activity == CPU_HALTED)
		say(d, "vCPU %u is halted behind RIP %llx%s with interrupts %s.", v->id,
		    (unsigned long long)cpu->rip, name.s,
		    open ? "on: it waits for one that does not come, or not for the better"
			 : "off (IF is 0): nothing but an NMI or a reset can wake it");
	else if (cpu->activity == CPU_AWAITS_SIPI)
		say(d, "vCPU %u was never started by another (INIT, SIPI).", v->id);
	else if (ending->kind == END_TIMEOUT || ending->kind == END_UNMET)
		say(d, "vCPU %u still ran, at RIP %llx%s, with interrupts %s.", v->id,
		    (unsigned long long)cpu->rip, name.s, open ? "on" : "off");
}

void diagnose(const struct view *v, const struct ending *ending, struct diagnosis *d)
{
	memset(d, 0, sizeof(*d));
	d->vector = -1;
	switch (ending->kind) {
	case END_TRIPLE_FAULT:
		diagnose_fault(v, true, d);
		break;
	case END_STUCK:
		diagnose_fault(v, false, d);
		break;
	default:
		diagnose_rest(v, ending, d);
		break;
	}
}
