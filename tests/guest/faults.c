/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * faults - ways to a triple fault, one for each word of the command line. What skep says of each is
 * in expect.
 */
#include "guest.h"

#define NOWHERE   UINT64_C(0x7f0012345000) /* not mapped */
#define CROOKED   UINT64_C(0x0123456789abcdef)
#define CODE      0x20
#define PRESENT   0x8000
#define INTERRUPT 0x0e00

struct gate {
	uint16_t offset_low, selector, kind, offset_middle;
	uint32_t offset_high, reserved;
};

static struct gate gates[32];
static uint64_t no_tables[512] __attribute__((aligned(4096)));

static void load_idt(uint16_t limit)
{
	const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) idtr = {limit, (uint64_t)gates};

	__asm__ volatile("lidt %0" : : "m"(idtr) : "memory");
}

static void set_gate(unsigned int vector, uint64_t handler, unsigned int kind)
{
	gates[vector] = (struct gate){
		.offset_low = (uint16_t)handler,
		.selector = CODE,
		.kind = (uint16_t)kind,
		.offset_middle = (uint16_t)(handler >> 16),
		.offset_high = (uint32_t)(handler >> 32),
	};
}

/* By its own name in a list of calls. */
#define TOLD __attribute__((noinline))

TOLD static void write_nowhere(void)
{
	__asm__ volatile("movl $1, (%0)" : : "r"(NOWHERE) : "memory");
}

/* Gate 14 says that it is not present, all others are empty. */
TOLD static void gate_not_present(void)
{
	set_gate(14, 0x100000, INTERRUPT);
	load_idt(sizeof(gates) - 1);
	write_nowhere();
}

/* A handler that itself does what it cannot: #GP, whose gate is empty. */
void fault_handler(void);
__asm__(".text\n"
	"fault_handler:\n"
	"	movabsq $0x0123456789abcdef, %rax\n"
	"	movb $0, (%rax)\n"
	"	iretq\n");

TOLD static void fault_in_handler(void)
{
	set_gate(6, (uint64_t)fault_handler, PRESENT | INTERRUPT);
	load_idt(sizeof(gates) - 1);
	__asm__ volatile("ud2");
}

/* All gates are good; no frame can be pushed. */
TOLD static void bad_stack(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(gates); i++)
		set_gate(i, (uint64_t)fault_handler, PRESENT | INTERRUPT);
	load_idt(sizeof(gates) - 1);
	__asm__ volatile("movq %0, %%rsp; pushq %%rax" : : "r"(NOWHERE) : "memory");
}

/* Page tables that map nothing, not even this. */
TOLD static void bad_tables(void)
{
	__asm__ volatile("movq %0, %%cr3" : : "r"(no_tables) : "memory");
}

TOLD static void divide(void)
{
	load_idt(0);
	__asm__ volatile("xorl %%ecx, %%ecx; divl %%ecx" : : "a"(1), "d"(0) : "rcx");
}

TOLD static void jump(void)
{
	load_idt(0);
	((void (*)(void))NOWHERE)();
}

static const struct {
	const char *word;
	void (*fn)(void);
} ways[] = {
	{"gate", gate_not_present}, {"handler", fault_in_handler},
	{"stack", bad_stack},       {"tables", bad_tables},
	{"divide", divide},         {"jump", jump},
};

int guest_main(void)
{
	const char *at = boot_cmdline();
	struct word w;

	while (boot_word(&at, &w))
		for (unsigned int i = 0; i < ARRAY_SIZE(ways); i++)
			if (word_is(&w, ways[i].word))
				ways[i].fn();
	return 1;
}
