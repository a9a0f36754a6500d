/* SPDX-License-Identifier: BSD-2-Clause */
/* Each pattern finds its line, and none finds what a guest in good health says. */
#include "support/cm.h"

#include <string.h>

#include "../../src/smoke/patterns.h"
#include "../../src/smoke/regex.h"
#include "skep/bits.h"
#include "skep/err.h"

static struct regexes *set;

static bool finds(const struct pattern *p, const char *line)
{
	const struct regex_text text = {.at = line, .len = strlen(line)};
	struct regex *re;
	struct err err;
	size_t start, end;
	enum regex_found found;

	if (regex_compile(&re, set, p->regex, REGEX_ONCE, &err))
		fail_msg("%s: %s", p->name, err.text);
	found = regex_search(re, &text, &start, &end);
	assert_int_not_equal(found, REGEX_COSTLY);
	regex_free(re);
	return found == REGEX_YES;
}

/* The first of @sets that finds @line; NULL: none. */
static const char *who(unsigned int sets, const char *line)
{
	for (const struct pattern *p = patterns; p->name; p++)
		if ((p->set & sets) && finds(p, line))
			return p->name;
	return NULL;
}

static void each_finds_its_line(void **state)
{
	(void)state;
	for (const struct pattern *p = patterns; p->name; p++) {
		const char *first = who(p->set, p->line);

		if (!first || strcmp(first, p->name) != 0)
			fail_msg("'%s' is %s, and not %s", p->line, first ? first : "nothing",
				 p->name);
		assert_non_null(p->what);
		assert_true(p->kind == END_PANIC || p->kind == END_HALTED);
	}
}

static void names_are_unique(void **state)
{
	(void)state;
	for (const struct pattern *p = patterns; p->name; p++)
		for (const struct pattern *o = patterns; o != p; o++)
			assert_string_not_equal(p->name, o->name);
}

static void kernels_say_it_in_more_ways(void **state)
{
	static const struct {
		unsigned int sets;
		const char *line, *name;
	} lines[] = {
		{PATTERNS_LINUX, "Kernel panic - not syncing: Out of memory", "panic"},
		{PATTERNS_LINUX, "<0>[    0.812345] Kernel panic - not syncing: x", "panic"},
		{PATTERNS_LINUX, "[    0.812345][    T1] Kernel panic - not syncing: x", "panic"},
		{PATTERNS_LINUX, "VFS: Unable to mount root fs on /dev/vda1", "no-root"},
		{PATTERNS_LINUX,
		 "[    1.1] Kernel panic - not syncing: Requested init /bin/x failed (error -2).",
		 "no-init"},
		{PATTERNS_LINUX,
		 "[ 1.2] general protection fault, probably for non-canonical "
		 "address 0xdead: 0000 [#1] SMP PTI",
		 "oops"},
		{PATTERNS_LINUX, "[ 1.2] invalid opcode: 0000 [#1] PREEMPT SMP", "oops"},
		{PATTERNS_LINUX, "[ 1.2] BUG: unable to handle page fault for address: ffff",
		 "bad-address"},
		{PATTERNS_BSD, "[   1.0300] panic: cnopen: no console device", "bsd-panic"},
		{PATTERNS_BSD, "db{0}> ", "bsd-debugger"},
		{PATTERNS_BSD, "Stopped at      db_enter+0x10:  popq    %rbp", "bsd-debugger"},
		{PATTERNS_XEN, "(XEN) [2024-01-01 10:00:00] Xen BUG at page_alloc.c:123",
		 "xen-panic"},
		{PATTERNS_STUDENT, "KERNEL PANIC: out of memory", "own-panic"},
		{PATTERNS_STUDENT, "kernel panic on CPU 0 at kern/init.c:61: x", "own-panic"},
		{PATTERNS_STUDENT, "Kernel PANIC at ../../threads/thread.c:253 in f()",
		 "own-panic"},
		{PATTERNS_STUDENT, "panic: acquire", "own-panic"},
		{PATTERNS_STUDENT, "PANIC", "own-panic"},
		{PATTERNS_STUDENT, "panicked at 'index out of bounds', src/main.rs:3",
		 "rust-panic"},
		{PATTERNS_STUDENT, "*** Unhandled interrupt 13", "own-exception"},
		{PATTERNS_STUDENT, "Assertion x == 1 failed", "own-assertion"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		const char *name = who(lines[i].sets, lines[i].line);

		if (!name || strcmp(name, lines[i].name) != 0)
			fail_msg("'%s' is %s, and not %s", lines[i].line, name ? name : "nothing",
				 lines[i].name);
	}
}

static void a_guest_in_good_health_is_left_alone(void **state)
{
	static const char *const lines[] = {
		"[    0.000000] Command line: console=ttyS0 panic=-1 oops=panic",
		"[    0.000000] Kernel command line: panic=1 panic_on_warn=0",
		"[    0.500000] rcu: Hierarchical RCU implementation.",
		"[    0.500000] rcu: \tRCU restricting CPUs from NR_CPUS=64 to nr_cpu_ids=1.",
		"[    0.600000] rcu: srcu_init: Setting srcu_struct sizes based on contention.",
		"[    0.700000] NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.",
		"[    0.800000] Run /init as init process",
		"[    0.800000] BUGS: none that we know of",
		"[    0.900000] random: crng init done",
		"[    1.000000] pvpanic-mmio QEMU0001:00: registered",
		"[    1.000000] mce: CPU supports 0 MCE banks, exception handling on",
		"[    1.000000] x86/fpu: Supporting XSAVE feature 0x001: 'x87 registers'",
		"[    1.100000] EXT4-fs (vda): mounted filesystem without journal.",
		"[    1.200000] systemd[1]: Started Panic dump collector.",
		"test_panic ... ok",
		"no panic: all tests passed",
		"do not panic",
		"I was told not to panic: 42",
		"# BUG: unable to reproduce",
		"error: 0 warnings, 0 BUG: markers",
		"kernel: BUG tracker at https://bugs.example.org",
		"the assertion that it failed is wrong",
		"1 test failed",
		"handled exception 3",
		"Exception handlers installed",
		"double fault handler: installed",
		"double fault stack at 0x1000",
		"(XEN) Xen version 4.17",
		"(XEN) Watchdog timer fired for domain 0 is disabled",
		"(XEN) Assertions are compiled in",
		"trap frame at 0x1234",
		"panic_timeout = 5",
		"> is not a prompt here, says the manual",
		"login: ",
		"",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		const char *name =
			who(PATTERNS_USUAL | PATTERNS_LOCKUP | PATTERNS_WARNING, lines[i]);

		if (name)
			fail_msg("'%s' is %s", lines[i], name);
	}
}

static void sets_have_names(void **state)
{
	unsigned int sets;
	struct err err;

	(void)state;
	assert_int_equal(patterns_parse(&sets, "none", &err), 0);
	assert_int_equal(sets, 0);
	assert_int_equal(patterns_parse(&sets, "linux,lockup", &err), 0);
	assert_int_equal(sets, PATTERNS_LINUX | PATTERNS_LOCKUP);
	assert_int_equal(patterns_parse(&sets, "usual", &err), 0);
	assert_int_equal(sets, PATTERNS_USUAL);
	assert_int_equal(patterns_parse(&sets, "linux,", &err), -EINVAL);
	assert_int_equal(patterns_parse(&sets, "", &err), -EINVAL);
	assert_int_equal(patterns_parse(&sets, "studnet", &err), -EINVAL);
	assert_string_equal(err.text,
			    "there is no set of patterns 'studnet'; did you mean 'student'?");
}

static int open_set(void **state)
{
	struct err err;

	(void)state;
	return regexes_open(&set, &err);
}

static int close_set(void **state)
{
	(void)state;
	regexes_close(set);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_finds_its_line),
		cmocka_unit_test(names_are_unique),
		cmocka_unit_test(kernels_say_it_in_more_ways),
		cmocka_unit_test(a_guest_in_good_health_is_left_alone),
		cmocka_unit_test(sets_have_names),
	};

	return cmocka_run_group_tests(tests, open_set, close_set);
}
