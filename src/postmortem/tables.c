/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/cpu_state.h"
#include "skep/gmem.h"

#include "tables.h"
#include "walk.h"

/* 3.5, table 3-2 */
#define TYPE_TASK_GATE   5
#define TYPE_INTERRUPT16 6
#define TYPE_TRAP16      7
#define TYPE_TSS_FREE    9
#define TYPE_TSS_BUSY    11
#define TYPE_INTERRUPT   14
#define TYPE_TRAP        15

/* 7.7 and 7.2.1: what the processor takes of a TSS. */
#define TSS64_RSP0 4
#define TSS64_IST1 36
#define TSS32_ESP0 4

static bool is_long(const struct cpu_state *cpu)
{
	return cpu->efer & EFER_LMA;
}

const char *vector_name(unsigned int vector)
{
	/* 6.3.1, table 6-1 */
	static const char *const names[] = {
		"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", NULL,  "#TS",
		"#NP", "#SS", "#GP", "#PF", NULL,  "#MF", "#AC", "#MC", "#XM", "#VE", "#CP",
	};

	return vector < ARRAY_SIZE(names) ? names[vector] : NULL;
}

/* Descriptors */

static void decode(uint64_t raw, struct descriptor *d)
{
	d->base = (raw >> 16 & 0xffffff) | (raw >> 56 & 0xff) << 24;
	d->limit = (uint32_t)((raw & 0xffff) | (raw >> 32 & 0xf0000));
	if (raw >> 55 & 1)
		d->limit = d->limit << 12 | 0xfff;
	d->type = raw >> 40 & 15;
	d->code_or_data = raw >> 44 & 1;
	d->dpl = raw >> 45 & 3;
	d->present = raw >> 47 & 1;
	d->wide = raw >> 53 & 1;
	d->big = raw >> 54 & 1;
}

enum lookup descriptor_read(const struct gmem *mem, const struct cpu_state *cpu, uint16_t selector,
			    struct descriptor *d)
{
	const bool local = selector & 4;
	const uint64_t base = local ? cpu->segment[CPU_LDTR].base : cpu->gdt.base;
	const uint32_t limit = local ? cpu->segment[CPU_LDTR].limit : cpu->gdt.limit;
	const uint32_t at = selector & ~7U;
	uint64_t raw;

	memset(d, 0, sizeof(*d));
	if (!(selector & ~3U))
		return LOOKUP_NULL;
	if ((local && (cpu->segment[CPU_LDTR].unusable || !cpu->segment[CPU_LDTR].present)) ||
	    at + 7 > limit)
		return LOOKUP_BEYOND;
	if (walk_read(mem, cpu, base + at, &raw, sizeof(raw)) < sizeof(raw))
		return LOOKUP_UNMAPPED;
	decode(le64toh(raw), d);
	/* 3.5.2: system descriptors of long mode are twice as long. */
	if (is_long(cpu) && d->present && !d->code_or_data && at + 15 <= limit &&
	    walk_read(mem, cpu, base + at + 8, &raw, sizeof(raw)) == sizeof(raw))
		d->base |= le64toh(raw) << 32;
	return LOOKUP_FOUND;
}

static const char *system_words(const struct cpu_state *cpu, unsigned int type)
{
	static const char *const words[16] = {
		NULL,
		"TSS 16",
		"LDT",
		"TSS 16 (busy)",
		"call gate 16",
		"task gate",
		"gate 16",
		"gate 16",
		NULL,
		"TSS 32",
		NULL,
		"TSS 32 (busy)",
		"call gate",
		NULL,
		"interrupt gate",
		"trap gate",
	};

	if (is_long(cpu) && type == TYPE_TSS_FREE)
		return "TSS 64";
	if (is_long(cpu) && type == TYPE_TSS_BUSY)
		return "TSS 64 (busy)";
	return words[type] ? words[type] : "reserved type";
}

void descriptor_words(const struct cpu_state *cpu, const struct descriptor *d, char *text,
		      size_t room)
{
	const char *absent = d->present ? "" : ", NOT PRESENT";

	if (!d->code_or_data)
		snprintf(text, room, "%s, base %llx, limit %x%s", system_words(cpu, d->type),
			 (unsigned long long)d->base, d->limit, absent);
	else if (d->type & 8)
		snprintf(text, room, "code %s, ring %u%s%s",
			 d->wide  ? d->big ? "64 AND 32" : "64"
			 : d->big ? "32"
				  : "16",
			 d->dpl, d->type & 4 ? ", conforming" : "", absent);
	else
		snprintf(text, room, "data %s, ring %u, %s%s%s", d->big ? "32" : "16", d->dpl,
			 d->type & 2 ? "writable" : "read-only",
			 d->type & 4 ? ", expands down" : "", absent);
	if (d->code_or_data && !d->wide && (d->base || d->limit != UINT32_MAX)) {
		const size_t n = strlen(text);

		snprintf(text + n, room - n, ", base %llx, limit %x", (unsigned long long)d->base,
			 d->limit);
	}
}

/* Gates */

static unsigned int gate_size(const struct cpu_state *cpu)
{
	return is_long(cpu) ? 16 : cpu->cr0 & CR0_PE ? 8 : 4;
}

unsigned int gate_room(const struct cpu_state *cpu)
{
	return MIN((cpu->idt.limit + 1U) / gate_size(cpu), 256U);
}

enum lookup gate_read(const struct gmem *mem, const struct cpu_state *cpu, unsigned int vector,
		      struct gate *g)
{
	const unsigned int size = gate_size(cpu);
	uint64_t raw[2] = {0, 0};

	memset(g, 0, sizeof(*g));
	if (vector >= gate_room(cpu))
		return LOOKUP_BEYOND;
	if (walk_read(mem, cpu, cpu->idt.base + (uint64_t)vector * size, raw, size) < size)
		return LOOKUP_UNMAPPED;
	raw[0] = le64toh(raw[0]);
	raw[1] = le64toh(raw[1]);
	g->empty = !raw[0] && !raw[1];
	if (!(cpu->cr0 & CR0_PE)) {
		/* 20.1.4: the interrupt table of real mode. */
		g->offset = raw[0] & 0xffff;
		g->selector = raw[0] >> 16 & 0xffff;
		g->type = TYPE_INTERRUPT16;
		g->present = true;
		return LOOKUP_FOUND;
	}
	g->offset = (raw[0] & 0xffff) | (raw[0] >> 48) << 16;
	g->selector = raw[0] >> 16 & 0xffff;
	g->type = raw[0] >> 40 & 31;
	g->dpl = raw[0] >> 45 & 3;
	g->present = raw[0] >> 47 & 1;
	if (is_long(cpu)) {
		g->offset |= raw[1] << 32;
		g->ist = raw[0] >> 32 & 7;
	} else if (g->type == TYPE_INTERRUPT16 || g->type == TYPE_TRAP16) {
		g->offset &= 0xffff;
	}
	return LOOKUP_FOUND;
}

/* Delivery */

/* Has the delivery stop at @vector, for a reason; false, so that checks can return it. */
__attribute__((format(printf, 3, 4))) static bool meets(struct delivery *d, int vector,
							const char *fmt, ...)
{
	va_list ap;

	d->fault = vector;
	va_start(ap, fmt);
	vsnprintf(d->text, sizeof(d->text), fmt, ap);
	va_end(ap);
	return false;
}

static bool check_gate(const struct gmem *mem, const struct cpu_state *cpu, unsigned int vector,
		       struct gate *g, struct delivery *d)
{
	const uint64_t at = cpu->idt.base + (uint64_t)vector * gate_size(cpu);
	struct walk w;

	switch (gate_read(mem, cpu, vector, g)) {
	case LOOKUP_BEYOND:
		return meets(d, VECTOR_GP,
			     gate_room(cpu) ? "the IDT has gates 0 to %u only (limit %x)"
					    : "there is no IDT: IDTR has no room for a gate",
			     gate_room(cpu) - 1, cpu->idt.limit);
	case LOOKUP_UNMAPPED:
		walk(mem, cpu, at, WALK_READ, &w);
		return meets(d, w.fault >= 0 ? w.fault : VECTOR_GP,
			     "gate %u of the IDT, at %llx, cannot be read: %s", vector,
			     (unsigned long long)at, w.wrong);
	default:
		break;
	}
	if (g->empty)
		return meets(d, VECTOR_GP, "gate %u of the IDT is not present: it is empty",
			     vector);
	if (g->type != TYPE_INTERRUPT && g->type != TYPE_TRAP &&
	    (is_long(cpu) ||
	     (g->type != TYPE_INTERRUPT16 && g->type != TYPE_TRAP16 && g->type != TYPE_TASK_GATE)))
		return meets(d, VECTOR_GP,
			     "gate %u of the IDT is of type %xh, which is no gate of this mode",
			     vector, g->type);
	if (!g->present)
		return meets(d, VECTOR_NP, "gate %u of the IDT is not present (P is 0)", vector);
	return true;
}

static bool check_code(const struct gmem *mem, const struct cpu_state *cpu, unsigned int vector,
		       const struct gate *g, struct descriptor *code, struct delivery *d)
{
	switch (descriptor_read(mem, cpu, g->selector, code)) {
	case LOOKUP_NULL:
		return meets(d, VECTOR_GP, "gate %u names the null selector as its code segment",
			     vector);
	case LOOKUP_BEYOND:
		return meets(d, VECTOR_GP,
			     "gate %u names selector %xh, beyond the end of the %s (limit %x)",
			     vector, g->selector, g->selector & 4 ? "LDT" : "GDT", cpu->gdt.limit);
	case LOOKUP_UNMAPPED:
		return meets(d, cpu->cr0 & CR0_PG ? VECTOR_PF : VECTOR_GP,
			     "gate %u names selector %xh, and the GDT at %llx cannot be read there",
			     vector, g->selector, (unsigned long long)cpu->gdt.base);
	default:
		break;
	}
	if (!code->code_or_data || !(code->type & 8))
		return meets(d, VECTOR_GP, "gate %u names selector %xh, which is no code segment",
			     vector, g->selector);
	if (is_long(cpu) && (!code->wide || code->big))
		return meets(d, VECTOR_GP,
			     "gate %u names selector %xh, which is no 64-bit code segment", vector,
			     g->selector);
	if (code->dpl > cpu_cpl(cpu))
		return meets(d, VECTOR_GP, "gate %u names selector %xh, code of ring %u", vector,
			     g->selector, code->dpl);
	if (!code->present)
		return meets(d, VECTOR_NP, "gate %u names selector %xh, which is not present",
			     vector, g->selector);
	if (!walk_canonical(cpu, g->offset))
		return meets(d, VECTOR_GP, "the handler's address %llx is not canonical",
			     (unsigned long long)g->offset);
	if (!is_long(cpu) && g->offset > code->limit)
		return meets(d, VECTOR_GP, "the handler's address %llx is beyond its segment",
			     (unsigned long long)g->offset);
	return true;
}

/* The stack pointer that the TSS has at @at. */
static bool stack_of_tss(const struct gmem *mem, const struct cpu_state *cpu, unsigned int at,
			 uint64_t *sp, struct delivery *d)
{
	const struct cpu_segment *tr = &cpu->segment[CPU_TR];
	const unsigned int size = is_long(cpu) ? 8 : 4;

	*sp = 0;
	if (at + size - 1 > tr->limit)
		return meets(d, VECTOR_TS, "the TSS ends before its stack pointer (limit %x)%s",
			     tr->limit, tr->selector ? "" : ": no LTR was done");
	if (walk_read(mem, cpu, tr->base + at, sp, size) < size)
		return meets(d, VECTOR_PF, "the TSS at %llx cannot be read",
			     (unsigned long long)tr->base);
	return true;
}

/* The frame, of @words words, goes below @sp. */
static bool check_stack(const struct gmem *mem, const struct cpu_state *cpu, uint64_t sp,
			unsigned int words, const char *whose, struct delivery *d)
{
	const unsigned int len = words * (is_long(cpu) ? 8 : 4);
	struct walk w;

	d->stack = sp;
	if (!walk_canonical(cpu, sp - len))
		return meets(d, VECTOR_SS, "%s, %llx, is not canonical", whose,
			     (unsigned long long)sp);
	/* A word at each end: a frame crosses one page at most. */
	for (unsigned int i = 0; i < 2; i++) {
		const uint64_t at = i ? sp - len : sp - (is_long(cpu) ? 8 : 4);

		walk(mem, cpu, is_long(cpu) ? at : (uint32_t)at, WALK_WRITE, &w);
		if (w.fault >= 0)
			return meets(d, w.fault, "the frame cannot be pushed at %llx (%s): %s",
				     (unsigned long long)w.address, whose, w.wrong);
		if (*w.wrong) {
			d->lost = true;
			snprintf(d->text, sizeof(d->text), "the frame is pushed at %llx (%s): %s",
				 (unsigned long long)w.address, whose, w.wrong);
		}
	}
	return true;
}

static bool has_error_code(unsigned int vector)
{
	return vector == VECTOR_DF || (vector >= VECTOR_TS && vector <= VECTOR_PF) ||
	       vector == 17 || vector == 21;
}

static bool stack_long(const struct gmem *mem, const struct cpu_state *cpu, unsigned int vector,
		       const struct gate *g, const struct descriptor *code, struct delivery *d)
{
	char whose[32] = "RSP";
	uint64_t sp = cpu->gpr[CPU_RSP];

	if (g->ist) {
		snprintf(whose, sizeof(whose), "IST%u of the TSS", g->ist);
		if (!stack_of_tss(mem, cpu, TSS64_IST1 + 8U * (g->ist - 1U), &sp, d))
			return false;
	} else if (code->dpl < cpu_cpl(cpu) && !(code->type & 4)) {
		snprintf(whose, sizeof(whose), "RSP%u of the TSS", code->dpl);
		if (!stack_of_tss(mem, cpu, TSS64_RSP0 + 8U * code->dpl, &sp, d))
			return false;
	}
	return check_stack(mem, cpu, sp & ~UINT64_C(15), has_error_code(vector) ? 6 : 5, whose, d);
}

static bool stack_short(const struct gmem *mem, const struct cpu_state *cpu, unsigned int vector,
			const struct descriptor *code, struct delivery *d)
{
	const struct cpu_segment *ss = &cpu->segment[CPU_SS];
	const unsigned int words = has_error_code(vector) ? 4 : 3;
	uint64_t sp = cpu->gpr[CPU_RSP];

	if (code->dpl < cpu_cpl(cpu) && !(code->type & 4)) {
		if (!stack_of_tss(mem, cpu, TSS32_ESP0 + 8U * code->dpl, &sp, d))
			return false;
		return check_stack(mem, cpu, sp, words + 2, "ESP0 of the TSS", d);
	}
	sp &= ss->big ? UINT32_MAX : UINT16_MAX;
	/* 6.15, interrupt 12. Segments that expand down are Windows 3's. */
	if (!(ss->type & 4) && (uint32_t)(sp - 1) > ss->limit)
		return meets(d, VECTOR_SS, "ESP, %llx, is beyond the limit of SS (%x)",
			     (unsigned long long)sp, ss->limit);
	return check_stack(mem, cpu, (uint32_t)(ss->base + sp), words, "ESP", d);
}

static void check_handler(const struct gmem *mem, const struct cpu_state *cpu, struct delivery *d)
{
	struct walk w;

	walk(mem, cpu, d->handler, WALK_FETCH, &w);
	if (*w.wrong)
		snprintf(d->text, sizeof(d->text), "its handler at %llx cannot be executed: %s",
			 (unsigned long long)d->handler, w.wrong);
}

/* 7.3: by a task switch, of which only the first steps are looked at. */
static void deliver_by_task(const struct gmem *mem, const struct cpu_state *cpu,
			    const struct gate *g, struct delivery *d)
{
	struct descriptor tss;

	if (g->selector & 4 || descriptor_read(mem, cpu, g->selector, &tss) != LOOKUP_FOUND)
		meets(d, VECTOR_GP, "its task gate names selector %xh, which is not in the GDT",
		      g->selector);
	else if (tss.code_or_data || (tss.type != TYPE_TSS_FREE && tss.type != 1))
		meets(d, VECTOR_GP, "its task gate names selector %xh, which is no free TSS",
		      g->selector);
	else if (!tss.present)
		meets(d, VECTOR_NP, "its task gate names selector %xh, which is not present",
		      g->selector);
	else if (tss.limit < 103)
		meets(d, VECTOR_TS, "its task gate names a TSS that is too short (limit %x)",
		      tss.limit);
	else
		snprintf(d->text, sizeof(d->text), "it is a switch to the task of the TSS at %llx",
			 (unsigned long long)tss.base);
}

/* 20.1.4 */
static void deliver_real(const struct gmem *mem, const struct cpu_state *cpu, unsigned int vector,
			 struct delivery *d)
{
	const uint64_t sp = cpu->gpr[CPU_RSP] & UINT16_MAX;
	struct gate g;

	if (gate_read(mem, cpu, vector, &g) != LOOKUP_FOUND) {
		meets(d, VECTOR_GP, "the interrupt table has no entry %u (base %llx, limit %x)",
		      vector, (unsigned long long)cpu->idt.base, cpu->idt.limit);
		return;
	}
	if (sp > 0 && sp < 6) {
		meets(d, VECTOR_SS, "there is no room on the stack: SP is %llx",
		      (unsigned long long)sp);
		return;
	}
	d->handler = ((uint64_t)g.selector << 4) + g.offset;
	d->stack = cpu->segment[CPU_SS].base + sp;
	if (g.empty)
		snprintf(d->text, sizeof(d->text), "its vector is 0000:0000, the table itself");
	else
		check_handler(mem, cpu, d);
}

void deliver(const struct gmem *mem, const struct cpu_state *cpu, unsigned int vector,
	     struct delivery *d)
{
	struct descriptor code;
	struct gate g;
	bool ok;

	memset(d, 0, sizeof(*d));
	d->fault = -1;
	if (!(cpu->cr0 & CR0_PE)) {
		deliver_real(mem, cpu, vector, d);
		return;
	}
	if (!check_gate(mem, cpu, vector, &g, d))
		return;
	if (g.type == TYPE_TASK_GATE) {
		deliver_by_task(mem, cpu, &g, d);
		return;
	}
	if (!check_code(mem, cpu, vector, &g, &code, d))
		return;
	ok = is_long(cpu) ? stack_long(mem, cpu, vector, &g, &code, d)
			  : stack_short(mem, cpu, vector, &code, d);
	if (!ok)
		return;
	d->handler = is_long(cpu) ? g.offset : (uint32_t)(code.base + g.offset);
	if (!*d->text)
		check_handler(mem, cpu, d);
}

bool makes_double_fault(unsigned int first, unsigned int second)
{
	const bool contributes =
		second == VECTOR_DE || (second >= VECTOR_TS && second <= VECTOR_GP);

	if (first == VECTOR_PF)
		return contributes || second == VECTOR_PF;
	return contributes && (first == VECTOR_DE || (first >= VECTOR_TS && first <= VECTOR_GP));
}
