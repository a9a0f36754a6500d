/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The post-mortem as a whole: what is looked at, and in which order it is told.
 */
#include <stdlib.h>
#include <string.h>

#include "pm_priv.h"
#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/err.h"
#include "skep/kvm.h"
#include "skep/postmortem.h"
#include "skep/trace.h"
#include "skep/vm.h"
#include "tables.h"
#include "walk.h"

/* Of the last exits, when few are enough. */
#define EXITS_SHOWN 16

#define COLUMNS 98

/* Of the other vCPUs: a line each. */
#define OTHERS_SHOWN 16

struct postmortem {
	struct vm *vm;
	struct symbols *symbols;
	struct vm_replay replay;
	struct err no_replay; /* why there was none; "" when that needs no explanation */
};

const struct option postmortem_option_table[] = {
	{.name = "detail",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct postmortem_options, detail),
	 .choices = "off|short|full",
	 .fallback = "short",
	 .help = "how much is said of why a guest died"},
	{.name = "replay",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct postmortem_options, replay),
	 .choices = "auto|on|off",
	 .fallback = "auto",
	 .help = "a second life to see the last instruction; auto: where KVM left no registers"},
	OPTION_END,
};

int postmortem_open(struct postmortem **out, struct vm *vm, const char *symbols, struct err *err)
{
	struct postmortem *pm = calloc(1, sizeof(*pm));
	const struct boot_image *kernel;
	char key[32];
	int ret = 0;

	*out = NULL;
	if (!pm)
		return err_sys(err, ENOMEM, "post-mortem");
	pm->vm = vm;
	kernel = vm_image(vm, 0, key);
	if (symbols)
		ret = symbols_open(&pm->symbols, symbols, err);
	else if (kernel && boot_image_fd(kernel) >= 0)
		symbols_open_fd(&pm->symbols, boot_image_fd(kernel), "the kernel", NULL);
	if (ret)
		free(pm);
	else
		*out = pm;
	return ret;
}

void postmortem_close(struct postmortem *pm)
{
	if (!pm)
		return;
	symbols_close(pm->symbols);
	free(pm);
}

unsigned int postmortem_bits(const struct postmortem *pm)
{
	return pm->symbols ? symbols_bits(pm->symbols) : 0;
}

bool postmortem_due(const struct ending *ending)
{
	switch (ending->kind) {
	case END_TRIPLE_FAULT:
	case END_PANIC:
	case END_STUCK:
	case END_HALTED:
	case END_TIMEOUT:
		return true;
	case END_UNMET:
		return !ending->orderly;
	default:
		return false;
	}
}

/* Whether the symbol @name at @there tells by how much Linux has moved itself (KASLR). */
static bool slides(struct postmortem *pm, const char *name, uint64_t there)
{
	uint64_t at;

	if (!there || !symbols_find(pm->symbols, name, &at) || there - at >= GIB(1) ||
	    (there - at) & (MIB(2) - 1))
		return false;
	symbols_slide(pm->symbols, there - at);
	return true;
}

/*
 * At a random address Linux's symbols are all off by one and the same distance. What is known to
 * the processor by its address tells which: the entry of system calls, or handlers, the early ones
 * first.
 */
static void find_slide(struct postmortem *pm, const struct view *v)
{
	struct gate first, page_fault;

	if (!pm->symbols || !(v->cpu->efer & EFER_LMA))
		return;
	gate_read(v->mem, v->cpu, 0, &first);
	gate_read(v->mem, v->cpu, VECTOR_PF, &page_fault);
	if (!slides(pm, "entry_SYSCALL_64", v->cpu->lstar) &&
	    !slides(pm, "asm_exc_page_fault", page_fault.offset))
		slides(pm, "early_idt_handler_array", first.offset);
}

/* A sentence in lines that a terminal has room for. */
static void write_sentence(const char *text, FILE *to)
{
	size_t column = 0;

	while (*text) {
		const size_t word = strcspn(text, " ");

		if (column && column + word + 1 > COLUMNS) {
			fputs("\n    ", to);
			column = 2;
		} else {
			fputs(column ? " " : "  ", to);
		}
		fwrite(text, 1, word, to);
		column += word + 1;
		text += word + (text[word] == ' ');
	}
	fputc('\n', to);
}

bool postmortem_wants_replay(struct postmortem *pm, const struct ending *ending,
			     enum postmortem_replay when)
{
	const int culprit = vm_culprit(pm->vm);
	struct cpu_state cpu;

	if (ending->kind != END_TRIPLE_FAULT || when == POSTMORTEM_REPLAY_OFF || culprit < 0 ||
	    vm_cpu_state(pm->vm, (unsigned int)culprit, &cpu, NULL))
		return false;
	if (when == POSTMORTEM_REPLAY_AUTO && cpu.when == CPU_NOW)
		return false;
	return !vm_can_replay(pm->vm, &pm->no_replay);
}

bool postmortem_replay(struct postmortem *pm)
{
	return !vm_replay(pm->vm, &pm->replay, &pm->no_replay);
}

/* Of which moment the registers are. */
static void write_moment(const struct postmortem *pm, const struct cpu_state *cpu, FILE *to)
{
	char text[400] = "";

	switch (cpu->when) {
	case CPU_NOW:
		break;
	case CPU_LAST_EXIT_GENERAL:
	case CPU_LAST_EXIT_NOTHING:
		snprintf(text, sizeof(text),
			 "This host's KVM resets a vCPU at a triple fault, so its registers are "
			 "lost. "
			 "What is here is from its last exit to skep, some time before the fault.");
		break;
	case CPU_SECOND_EXIT:
		snprintf(text, sizeof(text),
			 "These are the registers of a second life, which came to the same end, at "
			 "its "
			 "last exit to skep, some time before the fault.");
		break;
	case CPU_SECOND_STEP:
		snprintf(text, sizeof(text),
			 "These are the registers of a second life, which came to the same end, "
			 "before its last instruction; %llu were done one by one.",
			 (unsigned long long)pm->replay.steps);
		break;
	}
	if (*text)
		write_sentence(text, to);
	if (!*pm->no_replay.text)
		return;
	snprintf(text, sizeof(text), "There is no second life that would show more: %.300s.",
		 pm->no_replay.text);
	write_sentence(text, to);
}

static void write_walks(const struct view *v, const struct diagnosis *d, bool all, FILE *to)
{
	const struct cpu_state *cpu = v->cpu;
	const uint64_t rip = walk_linear(cpu, CPU_CS, cpu->rip);
	struct walk w;

	walk(v->mem, cpu, rip, WALK_FETCH, &w);
	if (all || *w.wrong)
		walk_write(v, "RIP", rip, WALK_FETCH, to);
	if (d->has_address && d->address != rip)
		walk_write(v, "the address", d->address, d->access, to);
	if (all && cpu->cr0 & CR0_PG && cpu->cr2 != rip &&
	    !(d->has_address && d->address == cpu->cr2))
		walk_write(v, "CR2", cpu->cr2, WALK_READ, to);
}

static void write_vcpu(const struct view *v, const struct diagnosis *d,
		       enum postmortem_detail detail, FILE *to)
{
	const bool all = detail == POSTMORTEM_FULL;

	code_write(v, all ? 8 : 3, all ? 8 : 3, to);
	registers_write(v, all, to);
	backtrace_write(v, all ? 32 : 8, to);
	stack_write(v, all ? 32 : 4, to);
	write_walks(v, d, all, to);
	tables_write(v, all, to);
}

/* Exits, the last of them. */
static void write_exits(const struct postmortem *pm, const struct view *v, bool all, FILE *to)
{
	struct trace_event events[TRACE_LAST_EXITS];
	size_t n = vm_last_exits(pm->vm, v->id, events, all ? TRACE_LAST_EXITS : EXITS_SHOWN);

	/* What got the vCPU out of the guest behind its end. */
	while (n && !strcmp(kvm_exit_name(events[n - 1].sub), "intr"))
		n--;
	if (n)
		fprintf(to, "Exits, the last last, in us before the end\n");
	for (size_t i = 0; i < n; i++) {
		const struct trace_event *e = &events[i];
		const bool access = e->size;

		fprintf(to, "    %10.1f  %s", (double)(events[n - 1].time - e->time) / 1000,
			kvm_exit_name(e->sub));
		if (access)
			fprintf(to, " %s %llx, %u byte%s",
				e->a & TRACE_EXIT_WRITE ? "write" : "read",
				(unsigned long long)e->b, e->size, e->size > 1 ? "s" : "");
		if (access && e->a >> TRACE_EXIT_COUNT_SHIFT > 1)
			fprintf(to, ", %u times", e->a >> TRACE_EXIT_COUNT_SHIFT);
		if (e->c)
			fprintf(to, ", RIP %llx%s", (unsigned long long)e->c, name_of(v, e->c).s);
		fputc('\n', to);
	}
}

static void write_other(const struct view *v, FILE *to)
{
	static const char *const words[] = {"ran", "halted", "never started"};
	const struct cpu_state *cpu = v->cpu;

	fprintf(to, "vCPU %u %s", v->id, words[cpu->activity]);
	if (cpu->activity != CPU_AWAITS_SIPI)
		fprintf(to, ", at RIP %llx%s, interrupts %s", (unsigned long long)cpu->rip,
			name_of(v, cpu->rip).s, cpu->rflags & RFLAGS_IF ? "on" : "off");
	fputc('\n', to);
}

static void write_others(struct postmortem *pm, unsigned int told, FILE *to)
{
	struct cpu_state cpu;
	struct view v = {
		.mem = vm_machine(pm->vm)->mem,
		.cpu = &cpu,
		.symbols = pm->symbols,
	};

	for (v.id = 0; v.id < vm_vcpus(pm->vm) && v.id < OTHERS_SHOWN; v.id++)
		if (v.id != told && !vm_cpu_state(pm->vm, v.id, &cpu, NULL))
			write_other(&v, to);
}

void postmortem_write(struct postmortem *pm, const struct ending *ending,
		      enum postmortem_detail detail, FILE *to)
{
	const int culprit = vm_culprit(pm->vm);
	const unsigned int id = culprit < 0 ? 0 : (unsigned int)culprit;
	struct diagnosis d = {.count = 0};
	struct cpu_state cpu;
	const struct view v = {
		.mem = vm_machine(pm->vm)->mem,
		.cpu = &cpu,
		.symbols = pm->symbols,
		.id = id,
	};
	struct err err;

	if (detail == POSTMORTEM_OFF)
		return;
	fprintf(to, "--- post-mortem of vCPU %u of %u\n", id, vm_vcpus(pm->vm));
	if (vm_cpu_state(pm->vm, id, &cpu, &err)) {
		fprintf(to, "  %s\n", err.text);
	} else if (cpu.when == CPU_LAST_EXIT_GENERAL || cpu.when == CPU_LAST_EXIT_NOTHING) {
		write_moment(pm, &cpu, to);
		if (cpu.when == CPU_LAST_EXIT_GENERAL)
			registers_write(&v, false, to);
	} else {
		write_moment(pm, &cpu, to);
		find_slide(pm, &v);
		diagnose(&v, ending, &d);
		for (unsigned int i = 0; i < d.count; i++)
			write_sentence(d.lines[i], to);
		write_vcpu(&v, &d, detail, to);
	}
	write_exits(pm, &v, detail == POSTMORTEM_FULL, to);
	write_others(pm, id, to);
	fprintf(to, "---\n");
}
