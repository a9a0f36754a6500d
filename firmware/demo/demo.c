/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * demo - the built-in guest: what `skep run` boots when no kernel is named.
 *
 * It shows the machine that it finds itself in, in the order in which an operating system would
 * find it, sets the other processors and a timer going, and ends. Its code is 0, or the sum of what
 * was wrong. Words on the command line make it end otherwise; see endings[].
 */
#include <asm/bootparam.h>

#include "guest.h"

enum wrong {
	WRONG_TIMER = 1,      /* the local APIC's timer did not tick */
	WRONG_PROCESSORS = 2, /* one that the MADT lists did not start */
	WRONG_TABLES = 4,     /* an ACPI table that is not one */
	WRONG_MEMORY = 8,     /* the loader left no memory map */
};

#define TICK_VECTOR 0x20
#define TICKS       4
#define TICK_US     250

static unsigned int ticks;
static struct {
	uint32_t id;
	uint64_t tsc;
} reports[ACPI_CPUS_MAX];

static void show_processor(void)
{
	uint32_t brand[13] = {0}, maker[4] = {0}, under[4] = {0};
	const char *name = (const char *)brand;
	struct cpuid c = cpuid(0x80000000);

	if (c.eax >= 0x80000004) {
		for (size_t i = 0; i < 3; i++) {
			c = cpuid(0x80000002 + (uint32_t)i);
			memcpy(brand + 4 * i, &c, sizeof(c));
		}
	}
	while (*name == ' ')
		name++;
	c = cpuid(0);
	maker[0] = c.ebx;
	maker[1] = c.edx;
	maker[2] = c.ecx;
	say("cpu     %s%s%s", (const char *)maker, *name ? ", " : "", name);
	if (cpuid(1).ecx >> 31) {
		c = cpuid(0x40000000);
		under[0] = c.ebx;
		under[1] = c.ecx;
		under[2] = c.edx;
		say(", under %s", (const char *)under);
	}
	say("\n");
}

static void show_loader(void)
{
	const struct setup_header *h = &boot_params()->hdr;

	say("boot    loader %02x, command line \"%s\"", h->type_of_loader, boot_cmdline());
	if (h->ramdisk_size)
		say(", initrd of %u bytes at %x", h->ramdisk_size, h->ramdisk_image);
	say("\n");
}

static const char *e820_name(uint32_t type)
{
	static const char *const names[] = {"?",        "RAM",       "reserved",  "ACPI tables",
					    "ACPI NVS", "defective", "disabled?", "persistent"};

	return names[type < ARRAY_SIZE(names) ? type : 0];
}

static unsigned int show_memory(void)
{
	const struct boot_params *bp = boot_params();

	for (unsigned int i = 0; i < bp->e820_entries && i < 8; i++) {
		const struct boot_e820_entry *e = &bp->e820_table[i];
		uint64_t from = e->addr, size = e->size;
		bool mib = size >= 1 << 20;

		say("%s%9lx %5lu %s %s\n", i ? "        " : "memory  ", from,
		    size >> (mib ? 20 : 10), mib ? "MiB" : "KiB", e820_name(e->type));
	}
	if (bp->e820_entries > 8)
		say("        and %u more\n", bp->e820_entries - 8);
	return bp->e820_entries ? 0 : WRONG_MEMORY;
}

static unsigned int show_tables(const struct acpi *a)
{
	if (!a->tables && !a->bad)
		say("ACPI    none\n");
	else if (a->bad)
		say("ACPI    %u tables, %u not valid\n", a->tables + a->bad, a->bad);
	return a->bad ? WRONG_TABLES : 0;
}

/* Runs on each application processor. */
static void report_in(unsigned int index)
{
	if (index < ACPI_CPUS_MAX) {
		reports[index].id = lapic_id();
		reports[index].tsc = rdtsc();
	}
}

static unsigned int start_processors(const struct acpi *a, uint64_t *cycles)
{
	uint32_t others[ACPI_CPUS_MAX], self = lapic_id();
	unsigned int n = 0, arrived;
	uint64_t from = rdtsc();

	for (unsigned int i = 0; i < a->cpus && i < ACPI_CPUS_MAX; i++)
		if (a->cpu_id[i] != self && a->cpu_id[i] < 255)
			others[n++] = a->cpu_id[i];
	arrived = smp_start(others, n, report_in);
	wait_until(smp_done() >= arrived);
	for (unsigned int i = 1; i <= arrived && i < ACPI_CPUS_MAX; i++)
		if (reports[i].tsc - from < WAIT_CYCLES && reports[i].tsc - from > *cycles)
			*cycles = reports[i].tsc - from;
	return n ? smp_done() : 0;
}

static unsigned int show_processors(const struct acpi *a, unsigned int done, uint32_t us)
{
	say("cpus    %u, APIC IDs %u", a->cpus, lapic_id());
	for (unsigned int i = 1; i <= done && i < ACPI_CPUS_MAX; i++)
		say(" %u", reports[i].id);
	if (a->cpus > 1 && done)
		say(", the last up after %u us", us);
	if (done + 1 < a->cpus)
		say("; %u did not start", a->cpus - 1 - done);
	say("\n");
	return done + 1 < a->cpus ? WRONG_PROCESSORS : 0;
}

static void show_uarts(void)
{
	static const uint16_t ports[] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
	const char *comma = "";

	say("serial  ");
	for (unsigned int i = 0; i < ARRAY_SIZE(ports); i++) {
		uint16_t port = ports[i];

		out8(port + 7, 0x5a); /* the scratch register, which the 8250 lacks */
		if (in8(port + 7) != 0x5a)
			continue;
		out8(port + 2, 0x01); /* IIR bits 7:6 say what becomes of the FIFO */
		say("%sCOM%u 16%s at %x", comma, i + 1, in8(port + 2) >= 0xc0 ? "550A" : "450",
		    port);
		comma = ", ";
	}
	say("%s\n", *comma ? "" : "none");
}

static bool pic_answers(void)
{
	bool both;

	out8(0x21, 0xfb);
	out8(0xa1, 0xbf);
	both = in8(0x21) == 0xfb && in8(0xa1) == 0xbf;
	pic_mask();
	return both;
}

/* The status of counter 0, by a read-back command: neither mode 7 nor BCD. */
static bool pit_answers(void)
{
	out8(0x43, 0xe2);
	return (in8(0x40) & 0x0f) != 0x0f;
}

static bool rtc_answers(void)
{
	out8(0x70, 0x0d);
	return !(in8(0x71) & 0x7f); /* register D: only VRT may be set */
}

static bool pci_answers(void)
{
	out32(0xcf8, 0x80000000);
	return in32(0xcf8) == 0x80000000;
}

static void show_chips(const struct acpi *a)
{
	uint64_t ioapic = a->ioapics ? a->ioapic[0].at : 0xfec00000;
	uint32_t version = ioapic_read(ioapic, IOAPIC_VERSION);

	say("chips   LAPIC %x", lapic_read(LAPIC_VERSION) & 0xff);
	if (version != 0xffffffff)
		say(", IOAPIC %x of %u pins", version & 0xff, (version >> 16 & 0xff) + 1);
	if (pic_answers())
		say(", 8259A pair");
	if (pit_answers())
		say(", 8254");
	if (rtc_answers())
		say(", RTC");
	if (in8(0x64) != 0xff)
		say(", 8042");
	if (pci_answers())
		say(", PCI");
	if (a->pm_timer)
		say(", PM timer");
	say("\n");
}

static void tick(struct intr_frame *frame)
{
	(void)frame;
	ticks++;
	lapic_write(LAPIC_EOI, 0);
}

struct rates {
	uint32_t tsc_mhz, lapic_mhz;
};

/* Sets the TSC against the reference, and the local APIC's timer against the TSC. */
static struct rates measure(const struct refclock *ref)
{
	struct moment from = refclock_now(ref), to;
	uint64_t started, cycles, count;
	struct rates rates;
	uint32_t ns;

	lapic_write(LAPIC_TIMER_DIVIDE, LAPIC_TIMER_DIVIDE_BY_1);
	lapic_write(LAPIC_LVT_TIMER, LAPIC_LVT_MASKED | TICK_VECTOR);
	started = rdtsc();
	lapic_write(LAPIC_TIMER_FROM, 0xffffffff);
	started += (rdtsc() - started) / 2;
	do {
		to = refclock_now(ref);
		ns = refclock_ns(ref, &from, &to);
	} while (ns < 300000 && to.tsc - from.tsc < WAIT_CYCLES);
	cycles = rdtsc() - started;
	count = 0xffffffff - lapic_read(LAPIC_TIMER_NOW);
	cycles += (rdtsc() - started - cycles) / 2;
	rates.tsc_mhz = ns ? (uint32_t)((to.tsc - from.tsc) * 1000 / ns) : 0;
	rates.lapic_mhz = (uint32_t)(count * rates.tsc_mhz / cycles);
	return rates;
}

/*
 * The first tick is awaited by polling, so that a timer that is dead cannot hang the guest; the
 * others find the processor asleep.
 */
static bool await_ticks(void)
{
	if (!wait_until_interrupt(ticks >= 1))
		return false;
	while (ticks < TICKS)
		wait_for_interrupt();
	return true;
}

static unsigned int show_timer(const struct refclock *ref, bool have_ref, struct rates rates)
{
	uint64_t from, cycles;
	bool ticked;

	intr_set(TICK_VECTOR, tick);
	lapic_enable();
	lapic_write(LAPIC_LVT_TIMER, LAPIC_LVT_PERIODIC | TICK_VECTOR);
	from = rdtsc();
	lapic_write(LAPIC_TIMER_FROM, TICK_US * (rates.lapic_mhz ? rates.lapic_mhz : 1000));
	ticked = await_ticks();
	cycles = rdtsc() - from;
	lapic_write(LAPIC_LVT_TIMER, LAPIC_LVT_MASKED | TICK_VECTOR);

	if (!have_ref) {
		say("timer   no clock to measure by");
	} else {
		say("timer   by the %s: TSC %u MHz, LAPIC timer %u MHz", ref->name, rates.tsc_mhz,
		    rates.lapic_mhz);
	}
	if (!ticked)
		say("; it does not tick\n");
	else if (!have_ref)
		say("; it ticks\n");
	else
		say(", %u ticks of %u us in %lu us\n", TICKS, TICK_US, cycles / rates.tsc_mhz);
	return ticked ? 0 : WRONG_TIMER;
}

static unsigned int show_machine(const struct acpi *a)
{
	struct rates rates = {0};
	struct refclock ref;
	bool have_ref;
	uint64_t up = 0;
	unsigned int done, wrong = 0;

	say("skep demo " GUEST_VERSION ": the machine as its guest finds it\n");
	show_processor();
	show_loader();
	wrong |= show_memory();
	wrong |= show_tables(a);
	have_ref = refclock_find(&ref, a);
	if (have_ref)
		rates = measure(&ref);
	rates.tsc_mhz += !rates.tsc_mhz;
	lapic_enable();
	done = start_processors(a, &up);
	wrong |= show_processors(a, done, (uint32_t)(up / rates.tsc_mhz));
	show_uarts();
	show_chips(a);
	wrong |= show_timer(&ref, have_ref, rates);
	if (have_ref)
		say("end     %u, %lu us after entry\n", wrong,
		    (rdtsc() - entry.tsc) / rates.tsc_mhz);
	return wrong;
}

/* Ways to end, for tests and for the curious. */

static void end_exit(const struct acpi *a, uint64_t n)
{
	(void)a;
	guest_exit((unsigned int)n);
}

static void end_halt(const struct acpi *a, uint64_t n)
{
	(void)a, (void)n;
	guest_halt();
}

static void end_spin(const struct acpi *a, uint64_t n)
{
	(void)a, (void)n;
	for (;;)
		pause();
}

static void end_idle(const struct acpi *a, uint64_t n)
{
	(void)a, (void)n;
	for (;;)
		__asm__ volatile("sti; hlt");
}

static void end_triple(const struct acpi *a, uint64_t n)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) no_idt = {0, 0};

	(void)a, (void)n;
	__asm__ volatile("lidt %0; ud2" : : "m"(no_idt));
}

static void end_power_off(const struct acpi *a, uint64_t n)
{
	(void)n;
	acpi_power_off(a);
	say("this machine does not power off\n");
}

static void end_reset(const struct acpi *a, uint64_t n)
{
	(void)n;
	acpi_reset(a);
	say("this machine does not reset\n");
}

/* @n bytes in numbered lines of 64, so that a loss shows. Goes on afterwards. */
static void flood(const struct acpi *a, uint64_t n)
{
	char line[65] = "00000000 yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n";

	(void)a;
	while (n) {
		size_t len = n < 64 ? n : 64;

		outs8(COM1, line, len);
		n -= len;
		for (unsigned int i = 7; ++line[i] > '9' && i; i--)
			line[i] = '0';
	}
}

static const struct ending {
	const char *word;
	void (*end)(const struct acpi *a, uint64_t n);
	bool number;
} endings[] = {
	{"exit", end_exit, true},           /* end with this code */
	{"halt", end_halt, false},          /* stop, interrupts off */
	{"spin", end_spin, false},          /* run for ever */
	{"idle", end_idle, false},          /* wait for ever, interrupts on */
	{"triple", end_triple, false},      /* a triple fault */
	{"poweroff", end_power_off, false}, /* ACPI S5 */
	{"reset", end_reset, false},        /* ACPI, 8042, CF9h */
	{"flood", flood, true},             /* write so many bytes first */
};

static void end_as_asked(const struct acpi *a)
{
	const char *at = boot_cmdline();
	struct word w;
	uint64_t n = 0;

	while (boot_word(&at, &w))
		for (unsigned int i = 0; i < ARRAY_SIZE(endings); i++)
			if (word_is(&w, endings[i].word) && endings[i].number == !!w.value &&
			    (!w.value || word_number(&w, &n)))
				endings[i].end(a, n);
}

/* "quiet" leaves the report out. */
static bool quiet(void)
{
	const char *at = boot_cmdline();
	struct word w;

	while (boot_word(&at, &w))
		if (word_is(&w, "quiet"))
			return true;
	return false;
}

int guest_main(void)
{
	struct acpi a;
	unsigned int wrong = 0;

	pic_mask();
	acpi_find(&a);
	if (!quiet())
		wrong = show_machine(&a);
	end_as_asked(&a);
	return (int)wrong;
}
