/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a post-mortem reads out of guest memory: page walks in every mode, descriptors, gates,
 * deliveries, and the sentences made of them; then the same of memory full of anything.
 */
#include "support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/postmortem/pm_priv.h"
#include "../../src/postmortem/tables.h"
#include "../../src/postmortem/walk.h"
#include "skep/bits.h"
#include "skep/cpu_state.h"
#include "skep/disasm.h"
#include "skep/err.h"
#include "skep/gmem.h"

#define P  1U
#define RW 2U
#define US 4U
#define PS 0x80U
#define NX (UINT64_C(1) << 63)

/* Where things lie in guest memory. */
#define ROOT  0x1000
#define LEVEL 0x1000 /* each table behind the one above */
#define PAGE  0x10000
#define GDT   0x20000
#define IDT   0x21000
#define TSS   0x22000
#define CODE  0x30000
#define STACK 0x40000

static const struct gmem_options options = {.size = MIB(4)};

struct rig {
	struct gmem *mem;
	struct cpu_state cpu;
};

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct err err;

	assert_non_null(r);
	assert_int_equal(gmem_create(&r->mem, &options, &err), 0);
	r->cpu.address_bits = 39;
	r->cpu.exception = -1;
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	gmem_destroy(r->mem);
	free(r);
	return 0;
}

static void put(struct rig *r, uint64_t at, uint64_t value, unsigned int bytes)
{
	uint8_t raw[8];

	store_le64(raw, value);
	assert_int_equal(gmem_write(r->mem, at, raw, bytes), 0);
}

static struct walk go(struct rig *r, uint64_t address, unsigned int access)
{
	struct walk w;

	walk(r->mem, &r->cpu, address, access, &w);
	assert_true(w.count <= WALK_LEVELS);
	return w;
}

static void meets(struct rig *r, uint64_t address, unsigned int access, int vector,
		  unsigned int error, const char *words)
{
	struct walk w = go(r, address, access);

	assert_int_equal(w.fault, vector);
	assert_int_equal(w.error, error);
	if (!strstr(w.wrong, words))
		fail_msg("'%s' does not say '%s'", w.wrong, words);
}

static void arrives(struct rig *r, uint64_t address, unsigned int access, uint64_t gpa,
		    uint64_t page)
{
	struct walk w = go(r, address, access);

	assert_string_equal(w.wrong, "");
	assert_int_equal(w.fault, -1);
	assert_true(w.mapped);
	assert_int_equal(w.gpa, gpa);
	assert_int_equal(w.page, page);
}

static void protect(struct rig *r)
{
	r->cpu.cr0 = CR0_PE | CR0_WP;
	r->cpu.segment[CPU_CS] = (struct cpu_segment){.limit = UINT32_MAX,
						      .selector = 0x08,
						      .type = 11,
						      .present = true,
						      .code_or_data = true,
						      .big = true};
	for (unsigned int i = 0; i <= CPU_GS; i++)
		if (i != CPU_CS)
			r->cpu.segment[i] = (struct cpu_segment){.limit = UINT32_MAX,
								 .selector = 0x10,
								 .type = 3,
								 .present = true,
								 .code_or_data = true,
								 .big = true};
}

/* Tables for @address, each entry with P, RW and US, down to @depth from the top of @levels. */
static void map_path(struct rig *r, uint64_t address, unsigned int levels, unsigned int depth,
		     uint64_t leaf)
{
	for (unsigned int i = 0; i < depth; i++) {
		const unsigned int shift = 12 + 9 * (levels - 1 - i);
		const uint64_t table = ROOT + (uint64_t)i * LEVEL;

		put(r, table + (address >> shift & 511) * 8,
		    i == depth - 1 ? leaf : (table + LEVEL) | P | RW | US, 8);
	}
}

static void enter_long(struct rig *r, bool five)
{
	protect(r);
	r->cpu.cr0 |= CR0_PG;
	r->cpu.cr3 = ROOT;
	r->cpu.cr4 = CR4_PAE | (five ? CR4_LA57 : 0);
	r->cpu.efer = EFER_LMA | EFER_NXE | 1 << 8;
	r->cpu.segment[CPU_CS].wide = true;
	r->cpu.segment[CPU_CS].big = false;
}

static void without_paging(void **state)
{
	struct rig *r = *state;
	struct walk w;

	arrives(r, 0x1234, WALK_FETCH, 0x1234, KIB(4));
	/* No fault, but nothing there. */
	w = go(r, 0xd0000000, WALK_READ);
	assert_int_equal(w.fault, -1);
	assert_non_null(strstr(w.wrong, "no RAM"));
}

static void legacy_paging(void **state)
{
	struct rig *r = *state;

	protect(r);
	r->cpu.cr0 |= CR0_PG;
	r->cpu.cr3 = ROOT | 0x18; /* PCD and PWT are no part of the address */
	put(r, ROOT + 0x300 * 4, 0x2000 | P | RW, 4);
	put(r, 0x2000 + 5 * 4, PAGE | P, 4);
	arrives(r, 0xc0005678, WALK_READ, PAGE + 0x678, KIB(4));
	meets(r, 0xc0005678, WALK_WRITE, 14, 3, "read-only");
	meets(r, 0xc0005678, WALK_READ | WALK_USER, 14, 5, "supervisor's");
	meets(r, 0xc0006000, WALK_WRITE, 14, 2, "the PTE is not present");
	meets(r, 0x400000, WALK_FETCH, 14, 0, "the PDE is not present");
	r->cpu.cr0 &= ~CR0_WP;
	arrives(r, 0xc0005678, WALK_WRITE, PAGE + 0x678, KIB(4));

	/* Pages of 4 MiB are PSE's; without it the bit means nothing. */
	put(r, ROOT, 0 | P | RW | PS, 4);
	r->cpu.cr4 = CR4_PSE;
	arrives(r, 0x12345, WALK_WRITE, 0x12345, MIB(4));
	put(r, ROOT, 0 | P | RW | PS | 1 << 21, 4);
	meets(r, 0x12345, WALK_WRITE, 14, 11, "bit 21");
	put(r, ROOT, 0x2000 | P | RW | PS, 4);
	r->cpu.cr4 = 0;
	arrives(r, 0x5678, WALK_READ, PAGE + 0x678, KIB(4));

	r->cpu.cr3 = 0xf0000000;
	meets(r, 0x5678, WALK_READ, 14, 0, "CR3 is wrong");
}

static void pae_paging(void **state)
{
	struct rig *r = *state;
	const uint64_t top = 0x1020; /* a multiple of 32 is enough */

	protect(r);
	r->cpu.cr0 |= CR0_PG;
	r->cpu.cr3 = top;
	r->cpu.cr4 = CR4_PAE;
	put(r, top + 3 * 8, 0x2000 | P, 8);
	put(r, 0x2000, 0x3000 | P | RW | US, 8);
	put(r, 0x3000, PAGE | P | RW | US, 8);
	put(r, 0x2008, MIB(2) | P | RW | PS, 8);
	arrives(r, 0xc0000123, WALK_WRITE | WALK_USER, PAGE + 0x123, KIB(4));
	arrives(r, 0xc0200123, WALK_WRITE, MIB(2) + 0x123, MIB(2));
	put(r, 0x3000, PAGE | P | NX, 8);
	meets(r, 0xc0000123, WALK_READ, 14, 9, "EFER.NXE");
	r->cpu.efer = EFER_NXE;
	meets(r, 0xc0000123, WALK_FETCH, 14, 17, "not executable");
	put(r, 0x2008, (MIB(2) + 0x4000) | P | PS, 8);
	meets(r, 0xc0200123, WALK_READ, 14, 9, "no address of a page of that size");
	put(r, top + 3 * 8, 0x2000 | P | RW, 8);
	meets(r, 0xc0000123, WALK_READ, 14, 9, "reserved");
	meets(r, 0x123, WALK_READ, 14, 0, "the PDPTE is not present");
}

static void four_and_five_levels(void **state)
{
	struct rig *r = *state;
	const uint64_t address = UINT64_C(0xffffffff80201234);

	for (unsigned int levels = 4; levels <= 5; levels++) {
		struct walk w;

		enter_long(r, levels == 5);
		map_path(r, address, levels, levels, PAGE | P | RW | US);
		arrives(r, address, WALK_WRITE | WALK_USER, PAGE + 0x234, KIB(4));
		w = go(r, address, WALK_READ);
		assert_int_equal(w.count, levels);
		assert_string_equal(w.levels[0].name, levels == 5 ? "PML5E" : "PML4E");
		assert_true(w.levels[levels - 1].leaf);
		map_path(r, address, levels, levels - 1, MIB(2) | P | RW | PS);
		arrives(r, address, WALK_WRITE, MIB(2) + 0x1234, MIB(2));
		meets(r, address, WALK_WRITE | WALK_USER, 14, 7, "supervisor's");
		map_path(r, address, levels, levels - 2, 0 | P | RW | PS);
		w = go(r, address, WALK_READ);
		assert_int_equal(w.page, GIB(1));
		assert_int_equal(w.gpa, 0x201234); /* of the gigabyte at 0 */
		map_path(r, address, levels, 1, 0x2000 | P | RW | PS);
		meets(r, address, WALK_READ, 14, 9, "PS (bit 7)");
	}
	/* Bits 47 to 56 are all ones here as well as there. */
	meets(r, UINT64_C(0x0100000000000000), WALK_READ, 13, 0, "not canonical");
}

static void addresses_that_cannot_be(void **state)
{
	struct rig *r = *state;

	enter_long(r, false);
	meets(r, UINT64_C(0x0000800000000000), WALK_READ, 13, 0, "bits 63 to 47");
	meets(r, UINT64_C(0xffff7fffffffffff), WALK_READ, 13, 0, "bits 63 to 47");
	map_path(r, 0x1234, 4, 4, UINT64_C(1) << 40 | P);
	meets(r, 0x1234, WALK_READ, 14, 9, "more address bits");
	map_path(r, 0x1234, 4, 4, UINT64_C(1) << 38 | P);
	assert_non_null(strstr(go(r, 0x1234, WALK_READ).wrong, "no RAM"));
	map_path(r, 0x1234, 4, 2, UINT64_C(1) << 38 | P);
	meets(r, 0x1234, WALK_READ, 14, 0, "where there is no RAM");
}

static void supervisor_protections(void **state)
{
	struct rig *r = *state;

	enter_long(r, false);
	map_path(r, 0x1234, 4, 4, PAGE | P | RW | US);
	r->cpu.cr4 |= CR4_SMEP;
	meets(r, 0x1234, WALK_FETCH, 14, 17, "SMEP");
	r->cpu.cr4 |= CR4_SMAP;
	meets(r, 0x1234, WALK_READ, 14, 1, "SMAP");
	r->cpu.rflags |= 1 << 18;
	arrives(r, 0x1234, WALK_READ, PAGE + 0x234, KIB(4));
}

static void runs_of_mappings(void **state)
{
	struct rig *r = *state;
	struct walk_run runs[8];

	assert_int_equal(walk_runs(r->mem, &r->cpu, runs, 8), 0);
	enter_long(r, false);
	/* Two pages that follow one another, one that does not, one that is no RAM; then 2 MiB. */
	map_path(r, UINT64_C(0xffffffff80001000), 4, 4, PAGE | P);
	put(r, ROOT + 3 * LEVEL + 2 * 8, (PAGE + 0x1000) | P, 8);
	put(r, ROOT + 3 * LEVEL + 3 * 8, CODE | P, 8);
	put(r, ROOT + 3 * LEVEL + 4 * 8, 0xd0000000 | P, 8);
	put(r, ROOT, 0x8000 | P, 8);
	put(r, 0x8000, 0x9000 | P, 8);
	put(r, 0x9008, MIB(2) | P | PS, 8);
	assert_int_equal(walk_runs(r->mem, &r->cpu, runs, 8), 3);
	assert_int_equal(runs[0].address, UINT64_C(0xffffffff80001000));
	assert_int_equal(runs[0].gpa, PAGE);
	assert_int_equal(runs[0].len, 0x2000);
	assert_int_equal(runs[1].gpa, CODE);
	assert_int_equal(runs[1].len, 0x1000);
	/* Then the lower half. */
	assert_int_equal(runs[2].address, 0x200000);
	assert_int_equal(runs[2].len, MIB(2));
	assert_int_equal(walk_runs(r->mem, &r->cpu, runs, 2), 2);
}

static void reading_ends_where_pages_do(void **state)
{
	struct rig *r = *state;
	uint8_t data[64];

	enter_long(r, false);
	map_path(r, 0x1000, 4, 4, PAGE | P);
	put(r, PAGE + 0xff8, UINT64_C(0x1122334455667788), 8);
	assert_int_equal(walk_read(r->mem, &r->cpu, 0x1ff8, data, sizeof(data)), 8);
	assert_int_equal(load_le64(data), UINT64_C(0x1122334455667788));
	assert_int_equal(walk_read(r->mem, &r->cpu, 0x2000, data, sizeof(data)), 0);
	assert_int_equal(walk_read(r->mem, &r->cpu, UINT64_MAX - 3, data, sizeof(data)), 0);
}

/* Tables */

static void descriptors(void **state)
{
	struct rig *r = *state;
	struct descriptor d;
	char words[128];

	protect(r);
	r->cpu.gdt = (struct cpu_table){GDT, 0x27};
	put(r, GDT + 0x08, UINT64_C(0x00cf9b000000ffff), 8);
	put(r, GDT + 0x10, UINT64_C(0x00cf93000000ffff), 8);
	put(r, GDT + 0x18, UINT64_C(0x12008b3456780067), 8);
	assert_int_equal(descriptor_read(r->mem, &r->cpu, 0, &d), LOOKUP_NULL);
	assert_int_equal(descriptor_read(r->mem, &r->cpu, 3, &d), LOOKUP_NULL);
	assert_int_equal(descriptor_read(r->mem, &r->cpu, 0x28, &d), LOOKUP_BEYOND);
	assert_int_equal(descriptor_read(r->mem, &r->cpu, 0x0c, &d), LOOKUP_BEYOND); /* no LDT */
	assert_int_equal(descriptor_read(r->mem, &r->cpu, 0x0b, &d), LOOKUP_FOUND);
	descriptor_words(&r->cpu, &d, words, sizeof(words));
	assert_string_equal(words, "code 32, ring 0");
	assert_int_equal(descriptor_read(r->mem, &r->cpu, 0x18, &d), LOOKUP_FOUND);
	descriptor_words(&r->cpu, &d, words, sizeof(words));
	assert_string_equal(words, "TSS 32 (busy), base 12345678, limit 67");
	r->cpu.gdt.base = 0xd0000000;
	assert_int_equal(descriptor_read(r->mem, &r->cpu, 0x08, &d), LOOKUP_UNMAPPED);
}

static void put_gate32(struct rig *r, unsigned int vector, uint32_t offset, unsigned int selector,
		       unsigned int kind)
{
	put(r, IDT + vector * 8,
	    (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)kind << 40 |
		    (uint64_t)(offset >> 16) << 48,
	    8);
}

static void expect_delivery(struct rig *r, unsigned int vector, int fault, const char *words)
{
	struct delivery d;

	deliver(r->mem, &r->cpu, vector, &d);
	assert_int_equal(d.fault, fault);
	if (*words ? !strstr(d.text, words) : *d.text)
		fail_msg("'%s' does not say '%s'", d.text, words);
}

static void kernel32(struct rig *r)
{
	protect(r);
	r->cpu.gdt = (struct cpu_table){GDT, 0x17};
	put(r, GDT + 0x08, UINT64_C(0x00cf9b000000ffff), 8);
	put(r, GDT + 0x10, UINT64_C(0x00cf93000000ffff), 8);
	r->cpu.idt = (struct cpu_table){IDT, 15 * 8 - 1};
	r->cpu.gpr[CPU_RSP] = STACK;
	r->cpu.rip = CODE;
}

static void deliveries_in_protected_mode(void **state)
{
	struct rig *r = *state;

	kernel32(r);
	expect_delivery(r, 15, 13, "gates 0 to 14 only");
	expect_delivery(r, 14, 13, "gate 14 of the IDT is not present: it is empty");
	put_gate32(r, 14, CODE, 0x08, 0x8e);
	expect_delivery(r, 14, -1, "");
	put_gate32(r, 14, CODE, 0x08, 0x0e);
	expect_delivery(r, 14, 11, "not present (P is 0)");
	put_gate32(r, 14, CODE, 0x08, 0x8c); /* a call gate */
	expect_delivery(r, 14, 13, "type ch");
	put_gate32(r, 14, CODE, 0x10, 0x8e);
	expect_delivery(r, 14, 13, "no code segment");
	put_gate32(r, 14, CODE, 0x00, 0x8e);
	expect_delivery(r, 14, 13, "null selector");
	put_gate32(r, 14, CODE, 0x18, 0x8e);
	expect_delivery(r, 14, 13, "beyond the end of the GDT (limit 17)");
	put_gate32(r, 14, 0xd0000000, 0x08, 0x8e);
	expect_delivery(r, 14, -1, "no RAM");
	put_gate32(r, 14, CODE, 0x08, 0x8e);
	r->cpu.gpr[CPU_RSP] = 0xd0000000;
	expect_delivery(r, 14, -1, "the frame is pushed at");
	/* From ring 3 the stack is the TSS's. */
	r->cpu.gpr[CPU_RSP] = STACK;
	r->cpu.segment[CPU_SS].dpl = 3;
	r->cpu.segment[CPU_TR].limit = 3;
	expect_delivery(r, 14, 10, "no LTR was done");
	r->cpu.segment[CPU_TR] = (struct cpu_segment){.base = TSS, .limit = 0x67, .selector = 0x18};
	put(r, TSS + 4, STACK, 4);
	expect_delivery(r, 14, -1, "");
	r->cpu.idt.limit = 0;
	expect_delivery(r, 14, 13, "there is no IDT");
}

static void deliveries_in_long_mode(void **state)
{
	struct rig *r = *state;

	enter_long(r, false);
	map_path(r, 0, 4, 3, 0 | P | RW | PS);
	r->cpu.gdt = (struct cpu_table){GDT, 0x17};
	put(r, GDT + 0x08, UINT64_C(0x00af9b000000ffff), 8);
	put(r, GDT + 0x10, UINT64_C(0x00cf9b000000ffff), 8);
	r->cpu.idt = (struct cpu_table){IDT, 32 * 16 - 1};
	r->cpu.gpr[CPU_RSP] = STACK;
	/* The offset's upper half is in bits 63 to 48. */
	put(r, IDT + 14 * 16,
	    (CODE & 0xffff) | UINT64_C(0x08) << 16 | UINT64_C(0x8e00) << 32 |
		    (uint64_t)(CODE >> 16) << 48,
	    8);
	expect_delivery(r, 14, -1, "");
	put(r, IDT + 14 * 16 + 2, 0x10, 2);
	expect_delivery(r, 14, 13, "no 64-bit code segment");
	put(r, IDT + 14 * 16 + 2, 0x08, 2);
	put(r, IDT + 14 * 16 + 8, 0x1234567, 4);
	expect_delivery(r, 14, 13, "not canonical");
	put(r, IDT + 14 * 16 + 8, 0x1234, 4);
	expect_delivery(r, 14, -1, "cannot be executed");
	put(r, IDT + 14 * 16 + 8, 0, 4);
	r->cpu.gpr[CPU_RSP] = MIB(2);
	expect_delivery(r, 14, -1, "");
	r->cpu.gpr[CPU_RSP] = MIB(2) + 8;
	expect_delivery(r, 14, -1, ""); /* aligned to 16 */
	r->cpu.gpr[CPU_RSP] = MIB(4);
	expect_delivery(r, 14, 14, "the PDE is not present");
	r->cpu.gpr[CPU_RSP] = UINT64_C(0x900000000000);
	expect_delivery(r, 14, 12, "not canonical");
	/* A stack of its own. */
	put(r, IDT + 14 * 16 + 4, 1, 1);
	r->cpu.segment[CPU_TR] = (struct cpu_segment){.base = TSS, .limit = 0x67, .selector = 0x18};
	put(r, TSS + 36, STACK, 8);
	expect_delivery(r, 14, -1, "");
	r->cpu.segment[CPU_TR].limit = 36;
	expect_delivery(r, 14, 10, "the TSS ends before");
}

static void double_faults(void **state)
{
	(void)state;
	assert_true(makes_double_fault(14, 14));
	assert_true(makes_double_fault(14, 13));
	assert_true(makes_double_fault(13, 11));
	assert_true(makes_double_fault(0, 13));
	assert_false(makes_double_fault(13, 14));
	assert_false(makes_double_fault(6, 13));
	assert_false(makes_double_fault(14, 6));
}

/* Sentences */

static void tell(struct rig *r, enum end_kind kind, const char *const *want)
{
	const struct view v = {.mem = r->mem, .cpu = &r->cpu};
	const struct ending ending = {.kind = kind};
	struct diagnosis d;

	diagnose(&v, &ending, &d);
	for (unsigned int i = 0; want[i]; i++) {
		if (i >= d.count)
			fail_msg("it does not say '%s'", want[i]);
		if (!strstr(d.lines[i], want[i]))
			fail_msg("'%s' does not say '%s'", d.lines[i], want[i]);
	}
}

static void put_code(struct rig *r, const void *code, size_t n)
{
	assert_int_equal(gmem_write(r->mem, CODE, code, n), 0);
}

static void chains(void **state)
{
	struct rig *r = *state;
	struct disasm *disasm = disasm_open(32);

	if (!disasm)
		skip();
	disasm_close(disasm);
	kernel32(r);
	put_code(r, "\x0f\x0b", 2);
	r->cpu.idt.limit = 0;
	tell(r, END_TRIPLE_FAULT,
	     (const char *const[]){"`ud2`", "Delivering #UD: there is no IDT", "Delivering #GP: ",
				   "Delivering #DF: the same. That is a triple fault.", NULL});
	/* What KVM has to do, for there is no RAM. */
	put_code(r, "\xa1\x00\x00\x00\xd0", 5);
	tell(r, END_STUCK, (const char *const[]){"it reads d0000000, and there is no RAM", NULL});
	/* Beyond the limit of a segment. */
	put_code(r, "\xa1\x00\x00\x10\x00", 5);
	r->cpu.segment[CPU_DS].limit = 0xffff;
	tell(r, END_TRIPLE_FAULT,
	     (const char *const[]){"accesses 100000 in DS, beyond its limit ffff, which is #GP",
				   "a double fault", "That is a triple fault.", NULL});
	r->cpu.segment[CPU_DS].unusable = true;
	tell(r, END_TRIPLE_FAULT, (const char *const[]){"DS, which holds a null selector", NULL});
	put_code(r, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 15);
	tell(r, END_TRIPLE_FAULT, (const char *const[]){"no instruction, which is #UD", NULL});
	put_code(r, "\xcd\x80", 2);
	tell(r, END_TRIPLE_FAULT,
	     (const char *const[]){"it asks for interrupt 128", "there is no IDT", NULL});
	/* Paging that does not map the code that switches it on. */
	put_code(r, "\x0f\x22\xc0", 3);
	r->cpu.rip += 3;
	r->cpu.cr0 |= CR0_PG;
	r->cpu.cr3 = ROOT;
	tell(r, END_TRIPLE_FAULT, (const char *const[]){"switched paging on", NULL});
	r->cpu.activity = CPU_HALTED;
	tell(r, END_HALTED,
	     (const char *const[]){"is halted behind RIP 30003 with interrupts off", NULL});
}

/* Whatever the registers and the memory hold, it ends and stays within itself. */
static void anything(void **state)
{
	struct rig *r = *state;
	const struct view v = {.mem = r->mem, .cpu = &r->cpu};
	uint64_t *page = calloc(1, MIB(4));
	FILE *to = fopen("/dev/null", "we");
	struct walk_run runs[64];
	unsigned int seed = 1;

	assert_non_null(page);
	assert_non_null(to);
	for (unsigned int round = 0; round < 300; round++) {
		const struct ending ending = {.kind = round % 2 ? END_TRIPLE_FAULT : END_STUCK};
		uint64_t *words = (uint64_t *)&r->cpu;
		struct diagnosis d;

		for (size_t i = 0; i < MIB(4) / 8; i += 1 + (size_t)(rand_r(&seed) % 8))
			page[i] = (uint64_t)rand_r(&seed) * (uint64_t)rand_r(&seed);
		assert_int_equal(gmem_write(r->mem, 0, page, MIB(4)), 0);
		for (size_t i = 0; i < sizeof(r->cpu) / 8; i++)
			words[i] = rand_r(&seed) % 3 ? (uint64_t)rand_r(&seed) & (MIB(4) - 1)
						     : (uint64_t)rand_r(&seed) << 33;
		/* What KVM gives is within these. */
		for (unsigned int i = 0; i < CPU_SEGMENTS; i++) {
			struct cpu_segment *s = &r->cpu.segment[i];

			*s = (struct cpu_segment){.base = s->base,
						  .limit = s->limit,
						  .selector = s->selector,
						  .type = s->type & 15,
						  .dpl = s->dpl & 3,
						  .present = round & 1,
						  .code_or_data = round & 2,
						  .big = round & 4,
						  .wide = round & 8};
		}
		r->cpu.cr0 = (round & 16 ? CR0_PG : 0) | (round % 7 ? CR0_PE : 0);
		r->cpu.cr4 = (round & 32 ? CR4_PAE : 0) | (round & 64 ? CR4_LA57 : CR4_PSE);
		r->cpu.efer = round & 32 && round & 128 ? EFER_LMA : 0;
		r->cpu.activity = CPU_RUNS;
		r->cpu.exception = (int)(round % 33) - 1;
		r->cpu.address_bits = 39;
		diagnose(&v, &ending, &d);
		code_write(&v, 8, 8, to);
		stack_write(&v, 32, to);
		backtrace_write(&v, 32, to);
		registers_write(&v, true, to);
		walk_write(&v, "CR2", r->cpu.cr2, WALK_WRITE, to);
		tables_write(&v, true, to);
		if (round % 60 == 1)
			walk_runs(r->mem, &r->cpu, runs, ARRAY_SIZE(runs));
	}
	fclose(to);
	free(page);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(without_paging, setup, teardown),
		cmocka_unit_test_setup_teardown(legacy_paging, setup, teardown),
		cmocka_unit_test_setup_teardown(pae_paging, setup, teardown),
		cmocka_unit_test_setup_teardown(four_and_five_levels, setup, teardown),
		cmocka_unit_test_setup_teardown(addresses_that_cannot_be, setup, teardown),
		cmocka_unit_test_setup_teardown(supervisor_protections, setup, teardown),
		cmocka_unit_test_setup_teardown(runs_of_mappings, setup, teardown),
		cmocka_unit_test_setup_teardown(reading_ends_where_pages_do, setup, teardown),
		cmocka_unit_test_setup_teardown(descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(deliveries_in_protected_mode, setup, teardown),
		cmocka_unit_test_setup_teardown(deliveries_in_long_mode, setup, teardown),
		cmocka_unit_test(double_faults),
		cmocka_unit_test_setup_teardown(chains, setup, teardown),
		cmocka_unit_test_setup_teardown(anything, setup, teardown),
	};

	return cmocka_run_group_tests_name("postmortem", tests, NULL, NULL);
}
