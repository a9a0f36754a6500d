/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tables - GDT, IDT and TSS, and what the processor would find in them on its way to a handler.
 *
 * Section numbers are those of Intel's SDM, volume 3A. All contents are the guest's: read once, and
 * bounded by what GDTR, IDTR and TR can say.
 */
#ifndef POSTMORTEM_TABLES_H
#define POSTMORTEM_TABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpu_state;
struct gmem;

enum vector {
	VECTOR_DE = 0,
	VECTOR_UD = 6,
	VECTOR_DF = 8,
	VECTOR_TS = 10,
	VECTOR_NP = 11,
	VECTOR_SS = 12,
	VECTOR_GP = 13,
	VECTOR_PF = 14,
};

/* "#PF", "#GP", …; "vector 32" is for the caller to say: NULL. */
const char *vector_name(unsigned int vector);

/* 3.4.5, 3.5 */
struct descriptor {
	uint64_t base;
	uint32_t limit;
	uint8_t type, dpl;
	bool present, code_or_data, wide, big;
};

/* Why a table has no such entry. */
enum lookup {
	LOOKUP_FOUND,
	LOOKUP_NULL,     /* a null selector */
	LOOKUP_BEYOND,   /* the limit */
	LOOKUP_UNMAPPED, /* the table cannot be read there */
};

/* The descriptor that @selector names; its upper half too, where it has one. */
enum lookup descriptor_read(const struct gmem *mem, const struct cpu_state *cpu, uint16_t selector,
			    struct descriptor *d);
/* "code 64, ring 0", "TSS 64 (busy)", … */
void descriptor_words(const struct cpu_state *cpu, const struct descriptor *d, char *text,
		      size_t room);

/* 6.11, 6.14.1 */
struct gate {
	uint64_t offset;
	uint16_t selector;
	uint8_t type, dpl, ist;
	bool present, empty; /* all zeroes */
};

enum lookup gate_read(const struct gmem *mem, const struct cpu_state *cpu, unsigned int vector,
		      struct gate *g);
/* How many gates IDTR makes room for, 256 at most. */
unsigned int gate_room(const struct cpu_state *cpu);

/* What delivering an exception comes to. */
struct delivery {
	/* The exception that the processor meets on the way; -1: none, the handler is entered. */
	int fault;
	/* Where it would enter, and with which stack pointer; 0 when it does not come so far. */
	uint64_t handler, stack;
	bool lost;      /* the frame goes where no RAM is */
	char text[224]; /* what is wrong; "" when nothing is */
};

/* 6.12, 6.14: @vector, which is no software interrupt, in the state @cpu. */
void deliver(const struct gmem *mem, const struct cpu_state *cpu, unsigned int vector,
	     struct delivery *d);

/* 6.15, table 6-5: whether @second, met while @first was delivered, makes a double fault. */
bool makes_double_fault(unsigned int first, unsigned int second);

#endif
