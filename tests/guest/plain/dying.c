/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dying - a Multiboot kernel of 32-bit paging that dies of a triple fault as its command line says:
 * "gate" by a page fault whose gate is not present, "tick" by an interrupt that the IDT has no room
 * for. Needs a KVM that runs 32-bit paging.
 */
#include <stdint.h>

#define COM1    0x3f8
#define OFFSET  0xc0000000
#define NOWHERE 0x40000000

struct info { /* Multiboot Specification 0.6.96, section 3.3 */
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline;
};

extern const uint32_t entries[48];

int kernel_main(uint32_t magic, uint32_t info);
void interrupt(void *frame);

static uint64_t gdt[3] __attribute__((aligned(8))) = {0, 0x00cf9a000000ffff, 0x00cf92000000ffff};
static uint64_t idt[32] __attribute__((aligned(8)));
volatile uint32_t spins;

static void out8(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static void load_tables(uint16_t idt_limit)
{
	const struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) gdtr = {sizeof(gdt) - 1, (uint32_t)gdt},
				  idtr = {idt_limit, (uint32_t)idt};

	__asm__ volatile("lgdt %0; lidt %1; ljmp $8, $1f; 1:" : : "m"(gdtr), "m"(idtr));
	__asm__ volatile("movw %w0, %%ds; movw %w0, %%es; movw %w0, %%ss" : : "r"(16));
}

void interrupt(void *frame)
{
	(void)frame;
}

/* A call to tell, by this very name. */
#ifdef __clang__
#define TOLD __attribute__((noinline))
#else
#define TOLD __attribute__((noinline, noclone))
#endif

TOLD static void touch(uint32_t at)
{
	*(volatile uint32_t *)at = 1;
	spins++;
}

TOLD static void die_by_gate(void)
{
	load_tables(sizeof(idt) - 1);
	touch(NOWHERE);
	spins++;
}

/* The 8259A pair as the BIOS leaves it, but for its vectors; the 8254 ticks 18 times a second. */
static void die_by_tick(void)
{
	load_tables(0);
	out8(0x20, 0x11);
	out8(0x21, 0x20);
	out8(0x21, 0x04);
	out8(0x21, 0x01);
	out8(0x21, 0xfe);
	out8(0x43, 0x34);
	out8(0x40, 0xa9); /* 1193 of 1.193 MHz: a millisecond */
	out8(0x40, 0x04);
	__asm__ volatile("sti");
	for (;;)
		spins++;
}

int kernel_main(uint32_t magic, uint32_t at)
{
	const struct info *info = (const struct info *)(at + OFFSET);
	const char *word = (const char *)(info->cmdline + OFFSET);

	(void)magic;
	for (const char *s = "dying\n"; *s; s++)
		out8(COM1, (uint8_t)*s);
	while (*word) {
		if (word[0] == 'g' && word[1] == 'a' && word[2] == 't')
			die_by_gate();
		if (word[0] == 't' && word[1] == 'i' && word[2] == 'c')
			die_by_tick();
		word++;
	}
	return 1;
}
