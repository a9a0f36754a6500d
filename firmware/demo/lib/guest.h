/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guest - a small library for programs that are the only thing in a virtual machine.
 *
 * A program is a bzImage that a loader of the Linux boot protocol enters at its 32-bit entry point,
 * or a kernel of another protocol that enters it in the same mode; what of the below is said to
 * come from boot_params is then not there. start.S takes the first processor to 64-bit mode with
 * the lowest 4 GiB mapped one to one, an IDT, and interrupts off, and calls guest_main(); what that
 * returns is the guest's code, and ends the machine. There is nothing else: no heap, no threads but
 * the processors themselves.
 *
 * Privileged code may run in an instruction emulator at some 250 ns an instruction, and takes
 * interrupts at HLT, at an exit, or after 1,024 instructions only. So: few instructions, no `int`,
 * wait with wait_for_interrupt(), and no wait without a bound.
 *
 * Everything here is for the first processor, except where it says otherwise.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Given by the program. Its result, 0 to 255, goes to the exit port. */
int guest_main(void);

/* Ends the machine with @code. */
_Noreturn void guest_exit(unsigned int code);
/* Stops this processor for good. */
_Noreturn void guest_halt(void);
/* What an unexpected exception ends the machine with, once it is on the console. */
#define GUEST_CRASHED 99

/* The state in which the loader entered; start.S fills it by offset. */
struct entry {
	uint32_t eax, ebx, ecx, edx, esi, edi, ebp, esp, eflags;
	uint32_t cr0, cr3, cr4;
	uint16_t cs, ds, es, ss;
	struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) gdtr;
	uint16_t pad;
	uint64_t tsc;
};
extern struct entry entry;

/* Any processor: ports. */

static inline uint8_t in8(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint16_t in16(uint16_t port)
{
	uint16_t v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline void out8(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void out16(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void out32(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}

static inline void outs8(uint16_t port, const void *from, size_t n)
{
	__asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(port) : "memory");
}

static inline void ins8(uint16_t port, void *to, size_t n)
{
	__asm__ volatile("rep insb" : "+D"(to), "+c"(n) : "d"(port) : "memory");
}

/* Any processor: memory-mapped registers. One MOV each, whatever the compiler would rather do. */

static inline uint8_t mmio_read8(uint64_t at)
{
	uint8_t v;

	__asm__ volatile("movb (%1), %0" : "=r"(v) : "r"(at) : "memory");
	return v;
}

static inline uint16_t mmio_read16(uint64_t at)
{
	uint16_t v;

	__asm__ volatile("movw (%1), %0" : "=r"(v) : "r"(at) : "memory");
	return v;
}

static inline uint32_t mmio_read32(uint64_t at)
{
	uint32_t v;

	__asm__ volatile("movl (%1), %0" : "=r"(v) : "r"(at) : "memory");
	return v;
}

static inline uint64_t mmio_read64(uint64_t at)
{
	uint64_t v;

	__asm__ volatile("movq (%1), %0" : "=r"(v) : "r"(at) : "memory");
	return v;
}

static inline void mmio_write8(uint64_t at, uint8_t v)
{
	__asm__ volatile("movb %0, (%1)" : : "q"(v), "r"(at) : "memory");
}

static inline void mmio_write16(uint64_t at, uint16_t v)
{
	__asm__ volatile("movw %0, (%1)" : : "r"(v), "r"(at) : "memory");
}

static inline void mmio_write32(uint64_t at, uint32_t v)
{
	__asm__ volatile("movl %0, (%1)" : : "r"(v), "r"(at) : "memory");
}

static inline void mmio_write64(uint64_t at, uint64_t v)
{
	__asm__ volatile("movq %0, (%1)" : : "r"(v), "r"(at) : "memory");
}

/* Any processor: the processor itself. */

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static inline void pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}

struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf)
{
	struct cpuid c;

	__asm__ volatile("cpuid"
			 : "=a"(c.eax), "=b"(c.ebx), "=c"(c.ecx), "=d"(c.edx)
			 : "a"(leaf), "c"(0));
	return c;
}

/* Sleeps until an interrupt was handled. Interrupts are off before and after. */
static inline void wait_for_interrupt(void)
{
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

/* Lets pending interrupts in for a moment; costs an exit, which is what takes them everywhere. */
static inline void take_interrupts(void)
{
	__asm__ volatile("sti; outb %%al, $0x80; cli" : : "a"(0) : "memory");
}

/* The bound of waits for something that should come at once: seconds, whatever the processor. */
#define WAIT_CYCLES UINT64_C(8000000000)

/* Waits until @condition holds; false when it did not come. */
#define wait_until(condition)                                                            \
	({                                                                               \
		uint64_t wait_from_ = rdtsc();                                           \
		bool wait_met_;                                                          \
		while (!(wait_met_ = (condition)) && rdtsc() - wait_from_ < WAIT_CYCLES) \
			pause();                                                         \
		wait_met_;                                                               \
	})

/* The same for something that an interrupt brings; polls, so nothing needs to wake it. */
#define wait_until_interrupt(condition)                                                  \
	({                                                                               \
		uint64_t wait_from_ = rdtsc();                                           \
		bool wait_met_;                                                          \
		while (!(wait_met_ = (condition)) && rdtsc() - wait_from_ < WAIT_CYCLES) \
			take_interrupts();                                               \
		wait_met_;                                                               \
	})

/* The console on COM1. */

#define COM1 0x3f8

/* printf's %[-][0][width](s|c|u|x|lu|lx|%). A line goes out whole when it is complete. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* What the loader left. */

struct boot_params;
const struct boot_params *boot_params(void);
/* The command line, never NULL. */
const char *boot_cmdline(void);
/*
 * Steps through the words of the command line: @*at starts as boot_cmdline(). False at the end.
 * A word is NAME or NAME=VALUE.
 */
struct word {
	const char *name;
	size_t name_len;
	const char *value; /* NULL without "=" */
	size_t value_len;
};
bool boot_word(const char **at, struct word *w);
bool word_is(const struct word *w, const char *name);
/* Decimal, or hexadecimal behind 0x, then perhaps K, M or G. False when it is not a number. */
bool word_number(const struct word *w, uint64_t *v);
/* The number that @words, NAME=VALUE each, give @name; @otherwise when they do not. */
uint64_t words_number(const char *words, const char *name, uint64_t otherwise);
/* The same of the command line. */
uint64_t boot_number(const char *name, uint64_t otherwise);

/*
 * Maps the 2 MiB around @at, which may lie anywhere below 512 GiB, and returns @at; NULL when it
 * cannot: it has tables for 16 different gigabytes.
 */
void *map_high(uint64_t at);

/* ACPI's tables (ACPI 6.5, section 5.2), as far as this library has a use for them. */

#define ACPI_CPUS_MAX    65
#define ACPI_IOAPICS_MAX 4

struct acpi_register { /* section 5.2.3.2, Generic Address Structure */
	uint8_t space, width, offset, access;
	uint64_t at;
} __attribute__((packed));

struct acpi {
	unsigned int tables; /* with a good checksum, that the root table names; 0: no ACPI */
	unsigned int bad;    /* with a bad one */

	/* From the MADT. */
	unsigned int cpus; /* usable; all are counted, the first so many are in cpu_id */
	uint32_t cpu_id[ACPI_CPUS_MAX];
	unsigned int ioapics;
	struct {
		uint32_t at, gsi_base;
	} ioapic[ACPI_IOAPICS_MAX];
	uint32_t isa_gsi[16]; /* where each ISA interrupt arrives */

	/* From the FADT: 0 is "there is none". */
	uint64_t dsdt;
	uint16_t pm1a_event, pm1a_control, pm_timer;
	bool pm_timer_32;
	bool hardware_reduced;
	struct acpi_register reset, sleep_control;
	uint8_t reset_value;
};

/* Fills @a: with what a PC has by convention, where there are no tables. */
void acpi_find(struct acpi *a);
/* Asks for S5, soft off (section 7.4.2). Returns if that cannot be asked for, or nothing came. */
void acpi_power_off(const struct acpi *a);
/* Asks for a reset by every means that there is; returns if nothing came. */
void acpi_reset(const struct acpi *a);

/* Interrupts. Vectors 0 to 63 exist; those below 32 are the processor's own. */

struct intr_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

/* Runs on the processor that was interrupted, interrupts off. It may change the frame. */
typedef void intr_fn(struct intr_frame *frame);
void intr_set(unsigned int vector, intr_fn *fn);
#define INTR_SPURIOUS 63

/* Masks every input of the 8259A pair. */
void pic_mask(void);

/* The local APIC of this processor (Intel SDM 3, chapter 11), in xAPIC mode. */
#define LAPIC 0xfee00000

enum {
	LAPIC_ID = 0x20,
	LAPIC_VERSION = 0x30,
	LAPIC_TPR = 0x80,
	LAPIC_EOI = 0xb0,
	LAPIC_SVR = 0xf0,
	LAPIC_ICR = 0x300,
	LAPIC_ICR_TO = 0x310,
	LAPIC_LVT_TIMER = 0x320,
	LAPIC_LVT_LINT0 = 0x350,
	LAPIC_TIMER_FROM = 0x380,
	LAPIC_TIMER_NOW = 0x390,
	LAPIC_TIMER_DIVIDE = 0x3e0,
};
#define LAPIC_SVR_ENABLE        0x100
#define LAPIC_LVT_MASKED        0x10000
#define LAPIC_LVT_PERIODIC      0x20000
#define LAPIC_LVT_EXTINT        0x700
#define LAPIC_TIMER_DIVIDE_BY_1 0xb

static inline uint32_t lapic_read(unsigned int reg)
{
	return mmio_read32(LAPIC + reg);
}

static inline void lapic_write(unsigned int reg, uint32_t v)
{
	mmio_write32(LAPIC + reg, v);
}

static inline uint32_t lapic_id(void)
{
	return lapic_read(LAPIC_ID) >> 24;
}

/* Lets this processor take interrupts. */
void lapic_enable(void);
/* Sends @vector to the processor @id. */
void lapic_send(uint32_t id, unsigned int vector);

/* An IOAPIC at @at (Intel 82093AA). */
uint32_t ioapic_read(uint64_t at, unsigned int reg);
void ioapic_write(uint64_t at, unsigned int reg, uint32_t v);
#define IOAPIC_VERSION    1
#define IOAPIC_PIN(n)     (0x10 + 2 * (n))
#define IOAPIC_ACTIVE_LOW 0x2000
#define IOAPIC_LEVEL      0x8000
#define IOAPIC_MASKED     0x10000
/* Has @pin bring @vector, with the flags above, to the processor @id. */
void ioapic_route(uint64_t at, unsigned int pin, unsigned int vector, uint32_t flags, uint32_t id);

/* Other processors. */

/*
 * Starts the processors in @ids: each calls @fn with its own number, from 1 in order of arrival,
 * on its own stack of 4 KiB, then stops. Returns how many arrived in time. One call a boot.
 */
unsigned int smp_start(const uint32_t *ids, unsigned int n, void (*fn)(unsigned int index));
/* How many have returned from @fn. */
unsigned int smp_done(void);

/* A clock of known rate, to measure others by: the ACPI PM timer, else counter 2 of the 8254. */

struct refclock {
	const char *name;
	uint32_t hz;
	uint32_t mask; /* of the bits that count */
	uint16_t port;
	uint32_t (*read)(uint16_t port);
};

/* False when there is none that runs. */
bool refclock_find(struct refclock *c, const struct acpi *a);

/* A moment, by the reference and by the TSC. */
struct moment {
	uint32_t ref;
	uint64_t tsc;
};

struct moment refclock_now(const struct refclock *c);
/* Good for half a revolution: 27 ms of the 8254, 2 s of the PM timer. */
uint32_t refclock_ns(const struct refclock *c, const struct moment *from, const struct moment *to);

/* Any processor. */
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);

#endif
