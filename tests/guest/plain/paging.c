/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * paging - a Multiboot kernel of 32-bit paging with all that such a kernel has: descriptor tables,
 * page tables, the 8259A pair, ticks of the 8254, keys, the text screen, page faults, the memory
 * map and a module. Physical memory is mapped from c0000000h on.
 *
 * Needs a KVM that runs 32-bit paging. Command line: the machine's memory in MiB, as two digits.
 * "skep" is typed once the keyboard is enabled; the module is files/second. Its code, to the exit
 * port, is 0 or the number of the first check that did not hold.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COM1   0x3f8
#define EXIT   0xf4
#define OFFSET 0xc0000000
#define TEXT   0xb8000
#define COLS   80

#define PIC1 0x20
#define PIC2 0xa0
#define IRQ0 0x20 /* its vector */

#define PAGE     4096
#define PRESENT  0x01
#define WRITABLE 0x02
#define ACCESSED 0x20
#define DIRTY    0x40
#define LARGE    0x80
#define CR0_WP   0x10000

/* Where pages come and go: nothing else is there. */
#define WINDOW 0xd0000000

#define PAGE_FAULT 14
#define BREAKPOINT 3

struct frame {
	uint32_t edi, esi, ebp, esp, ebx, edx, ecx, eax;
	uint32_t vector, error, eip, cs, eflags;
};

/* Multiboot Specification 0.6.96, section 3.3 */
struct info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr;
	uint32_t syms[4];
	uint32_t mmap_length, mmap_addr;
};

struct mod {
	uint32_t start, end, string, reserved;
};

extern const uint32_t entries[48];
extern const uint8_t start[], image_end[];

int kernel_main(uint32_t magic, uint32_t info);
void interrupt(struct frame *f);

static uint32_t directory[1024] __attribute__((aligned(PAGE)));
static uint32_t low_table[1024] __attribute__((aligned(PAGE)));
static uint32_t window_table[1024] __attribute__((aligned(PAGE)));
static uint32_t null_table[1024] __attribute__((aligned(PAGE)));
static uint8_t frames[4][PAGE] __attribute__((aligned(PAGE)));
static const uint32_t constant_page[PAGE / 4] __attribute__((aligned(PAGE))) = {0x600df00d};
static uint64_t gdt[3], idt[48];

static volatile uint32_t ticks, breakpoints, faults, fault_at, fault_error, codes;
static volatile uint8_t code[16];
static uint32_t fault_want, fault_entry; /* the next page fault, and what mends it */

static void out8(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static uint8_t in8(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static void say(const char *text)
{
	while (*text)
		out8(COM1, (uint8_t)*text++);
}

static void say_number(uint32_t v)
{
	if (v >= 10)
		say_number(v / 10);
	out8(COM1, (uint8_t)('0' + v % 10));
}

static void check(uint8_t number, bool holds)
{
	if (holds)
		return;
	say("paging: check ");
	say_number(number);
	say(" does not hold\n");
	out8(EXIT, number);
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* What the compiler may not think about: addresses that are no object of its own. */
static volatile uint32_t *at(uint32_t address)
{
	__asm__("" : "+r"(address));
	return (volatile uint32_t *)address;
}

static void *mapped(uint32_t gpa)
{
	return (void *)at(gpa + OFFSET);
}

static uint32_t physical(const volatile void *p)
{
	return (uint32_t)p - OFFSET;
}

static void set_page(uint32_t address, uint32_t entry)
{
	uint32_t *table = mapped(directory[address >> 22] & ~(PAGE - 1u));

	table[address >> 12 & 1023] = entry;
	__asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

static uint32_t page(uint32_t address)
{
	const uint32_t *table = mapped(directory[address >> 22] & ~(PAGE - 1u));

	return *(const volatile uint32_t *)&table[address >> 12 & 1023];
}

static void take_key(void)
{
	const uint8_t v = in8(0x60);

	if (codes < sizeof(code))
		code[codes] = v;
	codes++;
}

/* The error code, the address and the end of a fault: the access is tried again. */
static void take_fault(const struct frame *f)
{
	uint32_t cr2;

	__asm__ volatile("movl %%cr2, %0" : "=r"(cr2));
	faults++;
	fault_at = cr2;
	fault_error = f->error;
	check(90, fault_entry && cr2 == fault_want);
	set_page(cr2, fault_entry);
	fault_entry = 0;
}

void interrupt(struct frame *f)
{
	switch (f->vector) {
	case BREAKPOINT:
		breakpoints++;
		return;
	case PAGE_FAULT:
		take_fault(f);
		return;
	case IRQ0:
		ticks++;
		break;
	case IRQ0 + 1:
		take_key();
		break;
	default:
		check(91, false);
	}
	out8(PIC1, 0x60 | (uint8_t)(f->vector - IRQ0)); /* a specific end of interrupt */
}

static void load_tables(void)
{
	struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) gdtr = {sizeof(gdt) - 1, (uint32_t)gdt},
				  idtr = {sizeof(idt) - 1, (uint32_t)idt};

	gdt[1] = 0x00cf9b000000ffff;
	gdt[2] = 0x00cf93000000ffff;
	for (unsigned int i = 0; i < 48; i++)
		idt[i] = (uint64_t)(entries[i] & 0xffff0000) << 32 | 0x8e0000080000 |
			 (entries[i] & 0xffff);
	__asm__ volatile("lgdt %0\n"
			 "ljmp $8, $1f\n"
			 "1: movw %w2, %%ds; movw %w2, %%es; movw %w2, %%ss\n"
			 "movw %w2, %%fs; movw %w2, %%gs\n"
			 "lidt %1"
			 :
			 : "m"(gdtr), "m"(idtr), "r"(0x10)
			 : "memory");
	__asm__ volatile("int3");
	check(10, breakpoints == 1);
}

/*
 * The first 4 MiB at c0000000h by pages of 4 KiB, the kernel's constants read-only; 60 MiB behind
 * them by pages of 4 MiB; nothing below, where the kernel came from.
 */
static void map_memory(void)
{
	for (uint32_t i = 0; i < 1024; i++)
		low_table[i] = i * PAGE | PRESENT | WRITABLE;
	low_table[physical(constant_page) / PAGE] &= ~(uint32_t)WRITABLE;
	directory[OFFSET >> 22] = physical(low_table) | PRESENT | WRITABLE;
	for (uint32_t i = 1; i < 16; i++)
		directory[(OFFSET >> 22) + i] = i << 22 | PRESENT | WRITABLE | LARGE;
	directory[0] = physical(null_table) | PRESENT | WRITABLE;
	directory[WINDOW >> 22] = physical(window_table) | PRESENT | WRITABLE;
	__asm__ volatile("movl %0, %%cr3" : : "r"(physical(directory)) : "memory");
	__asm__ volatile("movl %%cr0, %%eax; orl %0, %%eax; movl %%eax, %%cr0"
			 :
			 : "i"(CR0_WP)
			 : "eax", "memory");
}

/* One access at @address that faults with @error, and goes on with what is in @frame. */
static void check_fault(uint8_t number, uint32_t address, uint32_t error, const void *frame)
{
	const uint32_t before = faults;

	fault_want = address;
	fault_entry = (physical(frame) & ~(PAGE - 1u)) | PRESENT | WRITABLE;
	if (error & 2)
		*at(address) = number;
	check(number, *at(address) == (error & 2 ? number : *(const volatile uint32_t *)frame));
	check(number + 1, faults == before + 1 && fault_at == address && fault_error == error);
	check(number + 2, *at(address) == *(const volatile uint32_t *)frame);
	check(number + 3,
	      (page(address) & (ACCESSED | DIRTY)) == (error & 2 ? ACCESSED | DIRTY : ACCESSED));
}

static void check_paging(void)
{
	uint32_t *first = (uint32_t *)frames[0], *second = (uint32_t *)frames[1];

	*first = 0x11111111;
	*second = 0x22222222;
	check_fault(20, WINDOW, 0, frames[0]);
	check_fault(24, WINDOW + 5 * PAGE + 8, 2, frames[2] + 8);
	check_fault(28, 0, 0, frames[0]); /* a null pointer */
	check_fault(32, (uint32_t)constant_page, 3, constant_page);
	check(36, *first == 0x11111111);

	/* Another frame at the same address, and none. */
	set_page(WINDOW, physical(frames[1]) | PRESENT);
	check(37, *at(WINDOW) == 0x22222222);
	set_page(WINDOW, 0);
	check_fault(38, WINDOW, 2, frames[3]);
	check(42, *second == 0x22222222);
	/* A page of 4 MiB, and the frame behind it. */
	*at(OFFSET + 0x2345678) = 0x12345678;
	set_page(WINDOW + PAGE, 0x2345000 | PRESENT);
	check(43, *at(WINDOW + PAGE + 0x678) == 0x12345678);
	check(44, faults == 5);
}

static void start_interrupts(void)
{
	static const uint8_t words[] = {0x11, IRQ0, 0x04, 0x01, 0x11, IRQ0 + 8, 0x02, 0x01};

	for (unsigned int i = 0; i < sizeof(words); i++)
		out8((uint16_t)((i < 4 ? PIC1 : PIC2) + (i % 4 ? 1 : 0)), words[i]);
	out8(PIC1 + 1, 0xfc);
	out8(PIC2 + 1, 0xff);
	check(50, in8(PIC1 + 1) == 0xfc && in8(PIC2 + 1) == 0xff);
	out8(0x43, 0x34); /* 8254: counter 0, mode 2, 1 kHz */
	out8(0x40, 1193 & 0xff);
	out8(0x40, 1193 >> 8);
	__asm__ volatile("sti");
	while (ticks < 20)
		__asm__ volatile("hlt");
}

static void check_keys(void)
{
	static const uint8_t skep[] = {0xfa, 0x1f, 0x9f, 0x25, 0xa5, 0x12, 0x92, 0x19, 0x99};

	out8(0x64, 0x60); /* i8042: translation, the keyboard's interrupt */
	out8(0x60, 0x45);
	out8(0x60, 0xf4);
	while (codes < sizeof(skep))
		__asm__ volatile("hlt");
	for (unsigned int i = 0; i < sizeof(skep); i++)
		check(51, code[i] == skep[i]);
}

static void check_screen(void)
{
	static const char text[] = "paging: on the screen";
	volatile uint16_t *cells = mapped(TEXT);
	const uint16_t cursor = COLS + sizeof(text) - 1;

	for (unsigned int i = 0; text[i]; i++)
		cells[COLS + i] = (uint16_t)(0x1f00 | text[i]);
	out8(0x3d4, 0x0e);
	out8(0x3d5, cursor >> 8);
	out8(0x3d4, 0x0f);
	out8(0x3d5, cursor & 0xff);
	check(52, in8(0x3d5) == (cursor & 0xff) && cells[COLS] == 0x1f70);
}

static void check_memory(const struct info *info)
{
	const char *words = mapped(info->cmdline);
	const uint8_t *e = mapped(info->mmap_addr), *end = e + info->mmap_length;
	const uint32_t mib = (uint32_t)(words[0] - '0') * 10 + (uint32_t)(words[1] - '0');
	uint64_t last = 0, ram = 0;

	check(3, info->mem_lower >= 600 && info->mem_upper == (mib - 1) * 1024);
	for (; e < end; e += *(const uint32_t *)e + 4) {
		const uint64_t gpa = *(const uint64_t *)(e + 4), len = *(const uint64_t *)(e + 12);

		check(4, gpa >= last && len);
		last = gpa + len;
		if (*(const uint32_t *)(e + 20) == 1)
			ram += len;
	}
	check(5, e == end && (ram + 0xfffff) >> 20 == mib);
}

static void check_module(const struct info *info)
{
	static const char want[] = "The second is short.\n";
	const struct mod *mod = mapped(info->mods_addr);
	const char *text = mapped(mod->start);

	check(6, info->mods_count == 1 && !(mod->start & (PAGE - 1)));
	check(7, mod->start >= physical(image_end) || mod->end <= physical(start));
	check(8, mod->end - mod->start == sizeof(want) - 1);
	for (unsigned int i = 0; i < sizeof(want) - 1; i++)
		check(9, text[i] == want[i]);
}

int kernel_main(uint32_t magic, uint32_t info)
{
	check(1, magic == 0x2badb002);
	load_tables();
	map_memory();
	check(2, (*(const uint32_t *)mapped(info) & 0x4d) == 0x4d);
	check_memory(mapped(info));
	check_module(mapped(info));
	check_paging();
	start_interrupts();
	check_keys();
	check_screen();
	say("paging: checks hold\n");
	return 0;
}
