/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The post-mortem as a whole: what is looked at, and in which order it is told.
 */
#include <stdlib.h>
#include <string.h>

#include "pm_priv.h"
#include "skep/boot.h"
#include "skep/disasm.h"
#include "skep/err.h"
#include "skep/kvm.h"
#include "skep/postmortem.h"
#include "skep/trace.h"
#include "skep/vm.h"
#include "walk.h"

/* Of the last exits, when few are enough. */
#define EXITS_SHOWN 16

#define COLUMNS 98

/* Of the other vCPUs: a line each. */
#define OTHERS_SHOWN 16

struct postmortem {
	struct vm *vm;
	struct symbols *symbols;
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

void postmortem_prepare(struct postmortem *pm)
{
	disasm_prepare();
	if (pm->symbols)
		symbols_prepare(pm->symbols, NULL);
}

bool postmortem_due(const struct ending *ending)
{
	switch (ending->kind) {
	case END_TRIPLE_FAULT:
	case END_PANIC:
	case END_STUCK:
	case END_HALTED:
	case END_TIMEOUT:
	case END_UNMET:
		return true;
	default:
		return false;
	}
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

/* What lies in memory would be looked at with the wrong registers. */
static void write_reset(FILE *to)
{
	fprintf(to,
		"  This host's KVM resets a vCPU at a triple fault before anybody can look at it,\n"
		"  so what its registers held is gone (kvm_amd does so; kvm_intel does not).\n");
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
	} else if (cpu.reset) {
		write_reset(to);
	} else {
		diagnose(&v, ending, &d);
		for (unsigned int i = 0; i < d.count; i++)
			write_sentence(d.lines[i], to);
		write_vcpu(&v, &d, detail, to);
	}
	write_exits(pm, &v, detail == POSTMORTEM_FULL, to);
	write_others(pm, id, to);
	fprintf(to, "---\n");
}
