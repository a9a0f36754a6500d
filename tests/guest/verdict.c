/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verdict - earns each verdict there is, the ugly ones as well: tools/verdicts runs it.
 *
 * It does what the words of its command line say, one after the other, and then ends with 0. In a
 * TEXT, '_' is a blank and '~' the end of a line. The mark `cause` is set before whatever the
 * verdict is to be about, so that the time from there to the verdict can be told.
 */
#include "guest.h"

#define COM2        0x2f8
#define POST_PORT   0x80
#define EXIT_PORT   0xf4
#define PVPANIC     0x505
#define NOWHERE     0xd0000000 /* no memory, and no device that this guest is given */
#define TICK_VECTOR 0x20

static struct acpi acpi;

static void cause(void)
{
	static const char name[] = {(char)0xa5, 0x5a, 0, 'c', 'a', 'u', 's', 'e', 0};

	for (unsigned int i = 0; i < sizeof(name); i++)
		out8(POST_PORT, (uint8_t)name[i]);
}

static uint8_t text_byte(char c)
{
	return (uint8_t)(c == '_' ? ' ' : c == '~' ? '\n' : c);
}

/* In one access. */
static void do_say(const struct word *w, uint64_t n)
{
	uint8_t line[256];
	size_t len = w->value_len < sizeof(line) ? w->value_len : sizeof(line);

	(void)n;
	for (size_t i = 0; i < len; i++)
		line[i] = text_byte(w->value[i]);
	outs8(COM1, line, len);
}

static void do_bytes(const struct word *w, uint64_t n)
{
	(void)n;
	for (size_t i = 0; i < w->value_len; i++)
		out8(COM1, text_byte(w->value[i]));
}

/* The same text on two consoles, a byte here and a byte there. */
static void do_both(const struct word *w, uint64_t n)
{
	(void)n;
	for (size_t i = 0; i < w->value_len; i++) {
		out8(COM1, text_byte(w->value[i]));
		out8(COM2, text_byte(w->value[i]));
	}
}

/* A third of it here, and the rest there: neither console says it. */
static void do_halves(const struct word *w, uint64_t n)
{
	(void)n;
	for (size_t i = 0; i < w->value_len; i++)
		out8(i < w->value_len / 3 ? COM1 : COM2, text_byte(w->value[i]));
}

/* Answers to a line that is typed. */
static void do_hear(const struct word *w, uint64_t n)
{
	static char answer[64] = "hello ";
	size_t len = 6;
	char c = 0;

	(void)w, (void)n;
	while (c != '\n' && len < sizeof(answer)) {
		while (!(in8(COM1 + 5) & 1))
			pause();
		c = answer[len++] = (char)in8(COM1);
	}
	outs8(COM1, answer, len);
}

/* What a careless console could choke on: zeroes, no UTF-8, escapes, and a line without an end. */
static void do_junk(const struct word *w, uint64_t n)
{
	uint8_t junk[256];

	(void)w;
	for (unsigned int i = 0; i < sizeof(junk); i++)
		junk[i] = (uint8_t)(i == '\n' ? 0xff : i);
	for (; n; n -= n < sizeof(junk) ? n : sizeof(junk))
		outs8(COM1, junk, n < sizeof(junk) ? n : sizeof(junk));
}

/* So many bytes; 0: for ever. */
static void do_flood(const struct word *w, uint64_t n)
{
	static const char line[] =
		"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\n";
	bool forever = !n;

	(void)w;
	for (; n || forever; n -= forever ? 0 : n < 64 ? n : 64)
		outs8(COM1, line, forever || n > 64 ? 64 : n);
}

static void do_cause(const struct word *w, uint64_t n)
{
	(void)w, (void)n;
	cause();
}

/* Milliseconds of the ACPI timer, by polling. */
static void do_wait(const struct word *w, uint64_t n)
{
	struct refclock clock;
	struct moment from, to;

	(void)w;
	if (!refclock_find(&clock, &acpi))
		return;
	from = refclock_now(&clock);
	do {
		to = refclock_now(&clock);
	} while (refclock_ns(&clock, &from, &to) / 1000000 < n);
}

static void do_code(const struct word *w, uint64_t n)
{
	(void)w;
	guest_exit((unsigned int)n);
}

/* As guests for QEMU's isa-debug-exit do it. */
static void do_exit32(const struct word *w, uint64_t n)
{
	(void)w;
	out32(EXIT_PORT, (uint32_t)n);
}

static void do_pvpanic(const struct word *w, uint64_t n)
{
	(void)w;
	out8(PVPANIC, (uint8_t)n);
}

static void do_halt(const struct word *w, uint64_t n)
{
	(void)w, (void)n;
	guest_halt();
}

static void do_idle(const struct word *w, uint64_t n)
{
	(void)w, (void)n;
	for (;;)
		wait_for_interrupt();
}

static void do_spin(const struct word *w, uint64_t n)
{
	(void)w, (void)n;
	for (;;)
		pause();
}

static void tick(struct intr_frame *frame)
{
	(void)frame;
	lapic_write(LAPIC_EOI, 0);
}

/* Spins as a kernel does that waits for a lock: its timer goes on. */
static void do_tick(const struct word *w, uint64_t n)
{
	(void)w, (void)n;
	intr_set(TICK_VECTOR, tick);
	lapic_enable();
	lapic_write(LAPIC_TIMER_DIVIDE, LAPIC_TIMER_DIVIDE_BY_1);
	lapic_write(LAPIC_LVT_TIMER, LAPIC_LVT_PERIODIC | TICK_VECTOR);
	lapic_write(LAPIC_TIMER_FROM, 10000000);
	__asm__ volatile("sti");
	for (;;)
		pause();
}

static void do_poweroff(const struct word *w, uint64_t n)
{
	(void)w, (void)n;
	acpi_power_off(&acpi);
}

static void do_reset(const struct word *w, uint64_t n)
{
	(void)w, (void)n;
	acpi_reset(&acpi);
}

struct table {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

static void do_triple(const struct word *w, uint64_t n)
{
	static const struct table none = {0, 0};

	(void)w, (void)n;
	__asm__ volatile("lidt %0; ud2" : : "m"(none));
}

/* An exception whose table lies where there is no memory: KVM has nothing to read it from. */
static void do_tables(const struct word *w, uint64_t n)
{
	static const struct table far = {0xfff, NOWHERE};

	(void)w, (void)n;
	__asm__ volatile("lidt %0; ud2" : : "m"(far));
}

/* Where nothing is, so that KVM must emulate it, and KVM's emulator does not know it. */
static void do_insn(const struct word *w, uint64_t n)
{
	uint32_t v;

	(void)w, (void)n;
	__asm__ volatile("popcntl (%1), %0" : "=r"(v) : "r"((uint64_t)NOWHERE) : "memory", "cc");
}

static void ap_spins(unsigned int index)
{
	(void)index;
	for (;;)
		pause();
}

static void ap_halts(unsigned int index)
{
	(void)index;
}

/* 1: the other processors spin; 0: they halt for good. */
static void do_others(const struct word *w, uint64_t n)
{
	uint32_t ids[ACPI_CPUS_MAX], self = lapic_id();
	unsigned int count = 0;

	(void)w;
	lapic_enable();
	for (unsigned int i = 0; i < acpi.cpus && i < ACPI_CPUS_MAX; i++)
		if (acpi.cpu_id[i] != self)
			ids[count++] = acpi.cpu_id[i];
	smp_start(ids, count, n ? ap_spins : ap_halts);
}

static const struct deed {
	const char *word;
	void (*fn)(const struct word *w, uint64_t n);
	enum { NOTHING, NUMBER, TEXT } value;
} deeds[] = {
	{"say", do_say, TEXT},           {"bytes", do_bytes, TEXT},
	{"both", do_both, TEXT},         {"halves", do_halves, TEXT},
	{"junk", do_junk, NUMBER},       {"flood", do_flood, NUMBER},
	{"cause", do_cause, NOTHING},    {"wait", do_wait, NUMBER},
	{"code", do_code, NUMBER},       {"exit32", do_exit32, NUMBER},
	{"pvpanic", do_pvpanic, NUMBER}, {"halt", do_halt, NOTHING},
	{"idle", do_idle, NOTHING},      {"spin", do_spin, NOTHING},
	{"tick", do_tick, NOTHING},      {"poweroff", do_poweroff, NOTHING},
	{"reset", do_reset, NOTHING},    {"triple", do_triple, NOTHING},
	{"tables", do_tables, NOTHING},  {"insn", do_insn, NOTHING},
	{"hear", do_hear, NOTHING},      {"others", do_others, NUMBER},
};

int guest_main(void)
{
	const char *at = boot_cmdline();
	struct word w;

	pic_mask();
	acpi_find(&acpi);
	while (boot_word(&at, &w)) {
		const struct deed *d = NULL;
		uint64_t n = 0;

		for (unsigned int i = 0; i < ARRAY_SIZE(deeds) && !d; i++)
			if (word_is(&w, deeds[i].word))
				d = &deeds[i];
		/* What is misspelt must not pass for an ending in order. */
		if (!d || !!w.value != (d->value != NOTHING) ||
		    (d->value == NUMBER && !word_number(&w, &n)))
			return 98;
		d->fn(&w, n);
	}
	return 0;
}
