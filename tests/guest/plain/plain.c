/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * plain - a kernel that is an ELF executable or a flat file and has no library: what it was entered
 * with, that all of it is where it was linked, and that what it was handed is true.
 *
 * Built several times: for 32 and 64 bits, linked where it is loaded and, with PHYSICAL, elsewhere.
 * FLAT is a build that skep knows nothing of but its address. Command line: probe=0x1234, first. An
 * initrd is an ELF file, and so is a module, whose command line is "two".
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COM1      0x3f8
#define EFLAGS_IF 0x200
#define CR0_PE    0x1
#define CR0_PG    0x80000000
#define CR4_PSE   0x10
#define CR4_PAE   0x20

/* boot.rst and zero-page.rst */
#define PARAMS_E820_ENTRIES 0x1e8
#define PARAMS_HEADER       0x202
#define PARAMS_INITRD       0x218
#define PARAMS_INITRD_SIZE  0x21c
#define PARAMS_CMDLINE      0x228
#define PARAMS_E820         0x2d0

/* Multiboot Specification 0.6.96, 3.2 and 3.3 */
#define LOADER_MAGIC 0x2badb002
#define INFO_CMDLINE 16
#define INFO_MODS    20
#define INFO_MMAP    44
#define INFO_FLAGS   (0x1 | 0x4 | 0x40)
#define INFO_HAS_MOD 0x8

int plain_main(void);

/* start.S fills it. */
struct {
	uint64_t ax, bx, cx, dx, si, di, bp, sp, flags;
	uint64_t cr0, cr3, cr4;
	uint64_t cs, ds, es, ss;
	uint16_t pad;
	struct {
		uint16_t limit;
		uintptr_t base;
	} __attribute__((packed)) gdtr;
} entered = {.pad = 1}; /* not in .bss */

_Static_assert(offsetof(typeof(entered), gdtr) == 0x82, "start.S knows");

static const volatile char constant[] = "rodata";
static volatile uint32_t variable = 0x12345678;
static volatile uint8_t zeroes[70000];
static unsigned int done, failed;

static void put(char c)
{
	__asm__ volatile("outb %0, %1" : : "a"(c), "d"((uint16_t)COM1));
}

static void say(const char *text)
{
	while (*text)
		put(*text++);
}

static void say_hex(uint64_t v)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		if (v >> shift || !shift)
			put("0123456789abcdef"[v >> shift & 15]);
}

static void check_one(const char *what, uint64_t got, uint64_t want)
{
	done++;
	if (got == want)
		return;
	failed++;
	say(what);
	say(" is ");
	say_hex(got);
	say(", not ");
	say_hex(want);
	say("\n");
}

#define check_eq(got, want) check_one(#got, (uint64_t)(got), (uint64_t)(want))
#define check(condition)    check_one(#condition, !!(condition), 1)

static uint64_t value(uint64_t at, unsigned int size)
{
	/* Hidden from the compiler, which knows what is at low addresses: nothing. */
	const uint8_t *p = (const uint8_t *)(uintptr_t)at;
	uint64_t v = 0;

	__asm__("" : "+r"(p));
	while (size--)
		v = v << 8 | p[size];
	return v;
}

static void check_registers(void)
{
	const uint64_t gdt = entered.gdtr.base;
	const bool wide = sizeof(void *) == 8;

	check_eq(entered.flags & EFLAGS_IF, 0);
	check_eq(entered.cr0 & CR0_PE, CR0_PE);
	check_eq(entered.cs, 0x10);
	check_eq(entered.ds, 0x18);
	check_eq(entered.es, 0x18);
	check_eq(entered.ss, 0x18);
	check(entered.gdtr.limit >= 0x1f);
	check_eq(value(gdt, 8), 0);
	/* Less the accessed bits, which the processor sets as it pleases. */
	check_eq(value(gdt + 0x10, 8) | 1ULL << 40,
		 wide ? 0x00af9b000000ffffULL : 0x00cf9b000000ffffULL);
	check_eq(value(gdt + 0x18, 8) | 1ULL << 40, 0x00cf93000000ffffULL);
	check_eq(entered.sp & 15, 0);
	check(entered.sp >= 0x8000);
	check_eq(entered.cx | entered.dx | entered.di | entered.bp, 0);
#if defined(__x86_64__)
	check_eq(entered.cr0 & CR0_PG, CR0_PG);
	check_eq(entered.cr4 & CR4_PAE, CR4_PAE);
#elif defined(PHYSICAL)
	check_eq(entered.cr0 & CR0_PG, CR0_PG);
	check_eq(entered.cr4 & CR4_PSE, CR4_PSE);
#else
	check_eq(entered.cr0 & CR0_PG, 0);
#endif
}

/* Each segment whole, and as often as it should be. */
static void check_image(void)
{
	extern const uint8_t start[], image_end[];

	check_eq(constant[0], 'r');
	check_eq(constant[5], 'a');
	check_eq(variable, 0x12345678);
	for (size_t i = 0; i < sizeof(zeroes); i += 4999)
		check_eq(zeroes[i], 0);
	zeroes[sizeof(zeroes) - 1] = 1;
	check_eq(zeroes[sizeof(zeroes) - 1], 1);
	check(entered.sp - 0x8000 > (uint64_t)(uintptr_t)image_end ||
	      entered.sp <= (uint64_t)(uintptr_t)start);
#ifdef PHYSICAL
	/* What lies there also maps to itself. */
	check_eq(value(PHYSICAL, 8), value((uintptr_t)start, 8));
	variable = 0x9abcdef0;
	check_eq(value(PHYSICAL + ((uintptr_t)&variable - (uintptr_t)start), 4), 0x9abcdef0);
#endif
}

/* Entries of 20 bytes, @step apart. */
static void check_memory(uint64_t at, uint64_t end, unsigned int step)
{
	uint64_t last = 0, ram = 0;

	for (; at < end; at += step) {
		const uint64_t gpa = value(at, 8), len = value(at + 8, 8);

		check(gpa >= last);
		last = gpa + len;
		if (value(at + 16, 4) == 1)
			ram += len;
	}
	check_eq((ram + 0xfffff) >> 20, 64);
}

static void check_file(uint64_t at, uint64_t end)
{
	check_eq(at & 4095, 0);
	check(end - at > 0x1000);
	check_eq(value(at, 4), 0x464c457f);
	value(end - 1, 1);
}

static void check_cmdline(uint64_t at)
{
	check_eq(value(at, 8), 0x78303d65626f7270); /* probe=0x */
	check_eq(value(at + 8, 4), 0x34333231);
}

static void check_info(uint64_t info)
{
	const uint64_t flags = value(info, 4), mmap = value(info + INFO_MMAP + 4, 4);
	const uint64_t mods = value(info + INFO_MODS + 4, 4);

	say("handed a Multiboot information structure");
	check_eq(entered.si, 0);
	check_eq(flags & INFO_FLAGS, INFO_FLAGS);
	check_cmdline(value(info + INFO_CMDLINE, 4));
	check_memory(mmap + 4, mmap + value(info + INFO_MMAP, 4), 24);
	if (flags & INFO_HAS_MOD) {
		check_eq(value(info + INFO_MODS, 4), 2);
		for (unsigned int i = 0; i < 2; i++)
			check_file(value(mods + i * 16, 4), value(mods + i * 16 + 4, 4));
		check_eq(value(value(mods + 8, 4), 1), 0);
		check_eq(value(value(mods + 16 + 8, 4), 4), 0x006f7774); /* two */
		say(" and modules");
	}
	say("\n");
}

static void check_params(uint64_t params)
{
	const uint64_t initrd = value(params + PARAMS_INITRD, 4);
	const uint64_t size = value(params + PARAMS_INITRD_SIZE, 4);
	const uint64_t map = params + PARAMS_E820;

	say("handed boot_params");
	check_eq(entered.ax | entered.bx, 0);
	check_eq(value(params + PARAMS_HEADER, 4), 0x53726448);
	check_cmdline(value(params + PARAMS_CMDLINE, 4));
	check_memory(map, map + value(params + PARAMS_E820_ENTRIES, 1) * 20, 20);
	if (size) {
		say(" and an initrd");
		check_file(initrd, initrd + size);
	}
	say("\n");
}

int plain_main(void)
{
	check_registers();
	check_image();
	if (entered.ax == LOADER_MAGIC)
		check_info(entered.bx);
	else if (entered.si)
		check_params(entered.si);
	else
		check_eq(entered.ax | entered.bx, 0);
	if (!failed)
		say("plain: checks hold\n");
	return failed || done < 20;
}
