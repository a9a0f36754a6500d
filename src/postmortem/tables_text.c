/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Page walks and descriptor tables, for reading.
 */
#include <string.h>

#include "pm_priv.h"
#include "skep/bits.h"
#include "skep/text.h"
#include "tables.h"
#include "walk.h"

/* Exceptions: 6.3.1 */
#define EXCEPTIONS 32

/* How many descriptors of a GDT are shown. */
#define DESCRIPTORS_SHOWN 32

/* The bits of an entry that lead on, and those that allow. */
static void entry_words(const struct walk_level *l, char *text, size_t room)
{
	const uint64_t e = l->entry;

	if (!l->read)
		snprintf(text, room, "unreadable");
	else if (!(e & 1))
		snprintf(text, room, "NOT PRESENT");
	else
		snprintf(text, room, "%s %llx%s%s%s%s", l->leaf ? "page at" : "table at",
			 (unsigned long long)(e & UINT64_C(0x000ffffffffff000)),
			 e & 2 ? ", writable" : ", read-only", e & 4 ? ", user" : ", supervisor",
			 l->leaf && strcmp(l->name, "PTE") != 0 ? ", large" : "",
			 l->bytes == 8 && e >> 63 ? ", NX" : "");
}

void walk_write(const struct view *v, const char *what, uint64_t address, unsigned int access,
		FILE *to)
{
	char words[128];
	struct walk w;

	walk(v->mem, v->cpu, address, access, &w);
	fprintf(to, "Page walk of %s, %llx (%s)\n", what, (unsigned long long)address, w.mode);
	for (unsigned int i = 0; i < w.count; i++) {
		const struct walk_level *l = &w.levels[i];

		entry_words(l, words, sizeof(words));
		fprintf(to, "    %-5s %3u at %8llx: %0*llx  %s\n", l->name, l->index,
			(unsigned long long)l->at, (int)l->bytes * 2, (unsigned long long)l->entry,
			words);
	}
	if (w.mapped)
		fprintf(to, "    is physical %llx, in a page of %s that is %s%s%s\n",
			(unsigned long long)w.gpa, size_text(w.page).s,
			w.writable ? "writable" : "read-only",
			w.user ? ", the user's" : ", the supervisor's",
			w.no_execute ? ", not executable" : "");
	if (*w.wrong)
		fprintf(to, "  ! %s\n", w.wrong);
}

static void gdt_write(const struct view *v, FILE *to)
{
	const struct cpu_state *cpu = v->cpu;
	const unsigned int room = (cpu->gdt.limit + 1U) / 8;
	struct descriptor d;
	char words[128];

	fprintf(to, "GDT at %llx, limit %x: room for %u descriptors\n",
		(unsigned long long)cpu->gdt.base, cpu->gdt.limit, room);
	for (unsigned int i = 1; i < room && i < DESCRIPTORS_SHOWN; i++) {
		switch (descriptor_read(v->mem, cpu, (uint16_t)(i * 8), &d)) {
		case LOOKUP_UNMAPPED:
			fprintf(to, "  ! it cannot be read from descriptor %u on\n", i);
			return;
		case LOOKUP_FOUND:
			break;
		default:
			continue;
		}
		if (!d.present && !d.type && !d.base && !d.limit)
			continue; /* empty */
		descriptor_words(cpu, &d, words, sizeof(words));
		fprintf(to, "    %02x  %s\n", i * 8, words);
		if (cpu->efer & EFER_LMA && d.present && !d.code_or_data)
			i++;
	}
}

static void gate_write(const struct view *v, unsigned int vector, FILE *to)
{
	const char *name = vector_name(vector);
	struct delivery d;
	struct gate g;

	gate_read(v->mem, v->cpu, vector, &g);
	deliver(v->mem, v->cpu, vector, &d);
	fprintf(to, "  %s %3u %-4s", d.fault >= 0 || *d.text ? "!" : " ", vector, name ? name : "");
	if (g.present)
		fprintf(to, "%02x:%llx%s", g.selector, (unsigned long long)g.offset,
			name_of(v, g.offset).s);
	if (g.ist)
		fprintf(to, ", IST%u", g.ist);
	fprintf(to, "%s%s\n", g.present && *d.text ? ": " : "", d.text);
}

static void idt_write(const struct view *v, bool all, FILE *to)
{
	const struct cpu_state *cpu = v->cpu;
	const unsigned int room = gate_room(cpu);
	unsigned int present = 0, bad = 0;

	for (unsigned int i = 0; i < room; i++) {
		struct delivery d;
		struct gate g;

		if (gate_read(v->mem, cpu, i, &g) != LOOKUP_FOUND || !g.present)
			continue;
		present++;
		deliver(v->mem, cpu, i, &d);
		bad += d.fault >= 0 || *d.text;
	}
	fprintf(to, "IDT at %llx, limit %x: %u gates present of %u%s\n",
		(unsigned long long)cpu->idt.base, cpu->idt.limit, present, room,
		bad ? ", and some cannot be entered (!)" : "");
	for (unsigned int i = 0; i < room && i < EXCEPTIONS; i++) {
		struct gate g;

		gate_read(v->mem, cpu, i, &g);
		if (i == VECTOR_DF || i == VECTOR_GP || i == VECTOR_PF ||
		    (all && !g.empty && vector_name(i)))
			gate_write(v, i, to);
	}
}

static void tss_write(const struct view *v, FILE *to)
{
	const struct cpu_segment *tr = &v->cpu->segment[CPU_TR];
	const bool is_long = v->cpu->efer & EFER_LMA;
	uint64_t sp[3] = {0}, ist[7] = {0};
	uint32_t esp0[2] = {0};

	fprintf(to, "TSS at %llx, limit %x%s\n", (unsigned long long)tr->base, tr->limit,
		tr->selector ? "" : " (none was loaded)");
	if (!tr->selector)
		return;
	/* 7.7 and 7.2.1 */
	if (is_long && walk_read(v->mem, v->cpu, tr->base + 4, sp, sizeof(sp)) == sizeof(sp) &&
	    walk_read(v->mem, v->cpu, tr->base + 36, ist, sizeof(ist)) == sizeof(ist)) {
		fprintf(to, "    RSP0 %llx  RSP1 %llx  RSP2 %llx\n", (unsigned long long)sp[0],
			(unsigned long long)sp[1], (unsigned long long)sp[2]);
		for (unsigned int i = 0; i < 7; i++)
			if (ist[i])
				fprintf(to, "    IST%u %llx\n", i + 1, (unsigned long long)ist[i]);
	} else if (!is_long &&
		   walk_read(v->mem, v->cpu, tr->base + 4, esp0, sizeof(esp0)) == sizeof(esp0)) {
		fprintf(to, "    ESP0 %x  SS0 %x\n", esp0[0], esp0[1] & 0xffff);
	} else {
		fprintf(to, "  ! it cannot be read\n");
	}
}

void tables_write(const struct view *v, bool all, FILE *to)
{
	if (all && v->cpu->cr0 & CR0_PE)
		gdt_write(v, to);
	idt_write(v, all, to);
	if (all && v->cpu->cr0 & CR0_PE)
		tss_write(v, to);
}
