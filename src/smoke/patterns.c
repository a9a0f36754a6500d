/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Expressions are as narrow as the kernels' own messages allow: what a program of the guest prints
 * must not be taken for its kernel. Where a message begins a line, so does the expression, with the
 * time and level that Linux and NetBSD may put in front.
 */
#include <stdio.h>
#include <string.h>

#include "patterns.h"
#include "skep/bits.h"
#include "skep/config.h"
#include "skep/err.h"

#define HEAD PATTERN_HEAD

#define PANICKED "the guest's kernel panicked"
#define FAULTED  "the guest's kernel met an error of its own"
#define NO_ROOT  "the guest's kernel could not mount its root file system"
#define NO_INIT  "the guest's kernel found no program to start"
#define STUCK    "the guest's kernel found itself stuck"
#define WARNED   "the guest's kernel warned"

/* clang-format off */
const struct pattern patterns[] = {
	/* Linux: kernel/panic.c, init/do_mounts.c, init/main.c, arch/x86/kernel, mm/ */
	{PATTERNS_LINUX, "no-root", HEAD "(?:Kernel panic - not syncing: )?VFS: Unable to mount root fs",
	 END_PANIC, NO_ROOT,
	 "[    1.523432] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"},
	{PATTERNS_LINUX, "no-init", HEAD "(?:Kernel panic - not syncing: )(?:No working init found|"
	 "Requested init .* failed|No init found)", END_PANIC, NO_INIT,
	 "[    1.104482] Kernel panic - not syncing: No working init found.  Try passing init= option to kernel."},
	{PATTERNS_LINUX, "init-died", HEAD "Kernel panic - not syncing: Attempted to kill init",
	 END_PANIC, "the guest's first program ended, and its kernel panicked",
	 "[    2.011121] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100"},
	{PATTERNS_LINUX, "panic", HEAD "Kernel panic - not syncing", END_PANIC, PANICKED,
	 "[    0.824163] Kernel panic - not syncing: Fatal exception in interrupt"},
	{PATTERNS_LINUX, "panic-end", HEAD "---\\[ end Kernel panic", END_PANIC, PANICKED,
	 "[    1.6] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---"},
	{PATTERNS_LINUX, "kasan", HEAD "BUG: K(?:A|C|M)SAN: ", END_PANIC, FAULTED,
	 "[   12.345678] BUG: KASAN: slab-out-of-bounds in kmalloc_oob_right+0x8f/0xa0"},
	{PATTERNS_LINUX, "kfence", HEAD "BUG: KFENCE: ", END_PANIC, FAULTED,
	 "[    3.412345] BUG: KFENCE: use-after-free read in test_use_after_free_read+0xb3/0x143"},
	{PATTERNS_LINUX, "bad-address", HEAD "BUG: (?:unable to handle|kernel NULL pointer dereference)",
	 END_PANIC, FAULTED,
	 "[    4.100000][    T1] BUG: kernel NULL pointer dereference, address: 0000000000000008"},
	{PATTERNS_LINUX, "bug-at", HEAD "(?:------------\\[ cut here.*)?kernel BUG at ", END_PANIC, FAULTED,
	 "[    2.345678] kernel BUG at mm/slub.c:381!"},
	{PATTERNS_LINUX, "bug", HEAD "BUG: (?:Bad (?:page|rss-counter|page map)|scheduling while atomic|"
	 "sleeping function called|spinlock |rwlock |using smp_processor_id|MAX_LOCK|recent printk|"
	 "stack guard page|TASK stack guard|IRQ stack guard|workqueue leaked|Invalid wait context)",
	 END_PANIC, FAULTED, "[    5.000001] BUG: scheduling while atomic: swapper/0/1/0x00000002"},
	{PATTERNS_LINUX, "oops", HEAD "(?:Oops|general protection fault|divide error|invalid opcode|"
	 "stack segment|double fault|int3|bounds|invalid TSS|segment not present|alignment check|"
	 "PANIC: double fault).*(?: \\[#\\d+\\]|, error_code: 0x)", END_PANIC, FAULTED,
	 "[    1.234567] Oops: 0002 [#1] PREEMPT SMP NOPTI"},
	{PATTERNS_LINUX, "early-exception", "^PANIC: early exception ", END_PANIC,
	 "the guest's kernel met an exception too early to handle it",
	 "PANIC: early exception 0x0e IP 10:ffffffff810a4e12 error 0 cr2 0xffffffffff200000"},
	{PATTERNS_LINUX, "unpacker", "^(?: -- System halted|Out of memory while allocating|"
	 "(?:LZMA|XZ|LZ4|LZO|ZSTD|GZIP|uncompression) (?:data is corrupt|error)|"
	 "incomplete literal tree|Destination address (?:inappropriately aligned|too large))",
	 END_PANIC, "the guest's kernel could not unpack itself", " -- System halted"},
	{PATTERNS_LINUX, "shell-of-despair", "^\\(initramfs\\) ", END_PANIC,
	 "the guest's initramfs gave up, and started a shell", "(initramfs) "},
	/* FreeBSD and DragonFly: kern_shutdown.c, trap.c, vfs_mountroot.c; NetBSD: subr_prf.c, trap.c;
	 * OpenBSD: subr_prf.c, trap.c */
	{PATTERNS_BSD, "bsd-panic", HEAD "panic(?:\\[cpu\\d+\\])?: ", END_PANIC, PANICKED,
	 "panic: mountroot: unable to (re-)mount root."},
	{PATTERNS_BSD, "bsd-trap", HEAD "(?:Fatal trap \\d+: |fatal .*(?:trap|fault).* in supervisor mode|"
	 "uvm_fault\\(.*\\) -> |kernel: .* trap, code=)", END_PANIC, FAULTED,
	 "Fatal trap 12: page fault while in kernel mode"},
	{PATTERNS_BSD, "bsd-no-root", "^mountroot> ?$|^Mounting from .* failed with error \\d+", END_PANIC,
	 NO_ROOT, "Mounting from ufs:/dev/vtbd0p2 failed with error 19."},
	{PATTERNS_BSD, "bsd-debugger", "^(?:db(?:\\{\\d+\\})?> |KDB: enter: panic|Stopped at +\\S+:)",
	 END_PANIC, "the guest's kernel stopped in its debugger", "KDB: enter: panic"},
	/* Xen: xen/common/page_alloc.c, xen/drivers/char/console.c, xen/arch/x86/traps.c */
	{PATTERNS_XEN, "xen-panic", "^\\(XEN\\) (?:\\[.*\\] )?(?:Panic on CPU \\d+:|FATAL TRAP: |"
	 "FATAL PAGE FAULT|Xen BUG at |Assertion '.*' failed|GENERAL PROTECTION FAULT)", END_PANIC,
	 "Xen panicked", "(XEN) Panic on CPU 0:"},
	{PATTERNS_XEN, "xen-dom0", "^\\(XEN\\) (?:\\[.*\\] )?(?:Hardware Dom0 (?:crashed|halted)|"
	 "Domain 0 (?:crashed|shutdown: crash)|d0v\\d+ Triple fault)", END_PANIC, "Xen's domain 0 crashed",
	 "(XEN) Hardware Dom0 crashed: rebooting machine in 5 seconds."},
	/* Kernels from courses: xv6, JOS, Pintos, MINIX, Rust, and those of one's own */
	{PATTERNS_STUDENT, "own-panic", "^(?:\\S+:? \\d+: |\\[.*\\] ?)?(?i:kernel[ _])?"
	 "(?:panic|PANIC|Panic)(?:\\b *(?:[:!(]|at |on )| *$)", END_PANIC, PANICKED,
	 "lapicid 0: panic: kerneltrap"},
	{PATTERNS_STUDENT, "rust-panic", "\\bpanicked at (?:'.*', )?\\S+:\\d+", END_PANIC, PANICKED,
	 "panicked at src/main.rs:23:5:"},
	{PATTERNS_STUDENT, "own-exception", "^(?:\\[.*\\] ?)?(?:\\*+ ?)?(?i:unhandled|unexpected|fatal) "
	 "(?i:(?:cpu |kernel )?(?:exception|trap|interrupt|page fault|fault))\\b", END_PANIC, FAULTED,
	 "Unhandled exception 14 at 0x100e3f"},
	{PATTERNS_STUDENT, "own-assertion", "^(?:\\S+:\\d+:.*)?(?:Assertion .* failed|ASSERT(?:ION)? "
	 "(?i:failed))", END_PANIC, "an assertion of the guest's failed",
	 "kernel/proc.c:81: Assertion `p->state == RUNNABLE' failed"},
	/* Linux again, of a kernel that may go on: for those who ask */
	{PATTERNS_LOCKUP, "lockup", HEAD "(?:watchdog: )?BUG: (?:soft lockup|workqueue lockup)", END_HALTED,
	 STUCK, "[   48.100000] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [swapper/0:1]"},
	{PATTERNS_LOCKUP, "hard-lockup", HEAD "(?:NMI watchdog: )?Watchdog detected hard LOCKUP",
	 END_HALTED, STUCK, "[   20.000000] NMI watchdog: Watchdog detected hard LOCKUP on cpu 1"},
	{PATTERNS_LOCKUP, "stall", HEAD "rcu: (?:INFO: )?rcu_\\w+ (?:self-)?(?:detected|kthread)",
	 END_HALTED, STUCK, "[   60.012345] rcu: INFO: rcu_sched self-detected stall on CPU"},
	{PATTERNS_LOCKUP, "hung-task", HEAD "INFO: task .* blocked for more than \\d+ seconds", END_HALTED,
	 STUCK, "[  241.000000] INFO: task sh:112 blocked for more than 120 seconds."},
	{PATTERNS_WARNING, "warning", HEAD "WARNING: CPU: \\d+ PID: ", END_PANIC, WARNED,
	 "[    1.100000] WARNING: CPU: 0 PID: 1 at kernel/sched/core.c:1234 foo+0x1/0x2"},
	{PATTERNS_WARNING, "ubsan", HEAD "UBSAN: ", END_PANIC, WARNED,
	 "[    1.200000] UBSAN: shift-out-of-bounds in drivers/foo.c:12:3"},
	{0, NULL, NULL, 0, NULL, NULL},
};
/* clang-format on */

static const struct {
	const char *name;
	unsigned int sets;
} names[] = {
	{"linux", PATTERNS_LINUX},
	{"bsd", PATTERNS_BSD},
	{"xen", PATTERNS_XEN},
	{"student", PATTERNS_STUDENT},
	{"lockup", PATTERNS_LOCKUP},
	{"warning", PATTERNS_WARNING},
	{"usual", PATTERNS_USUAL},
	{"all", PATTERNS_USUAL | PATTERNS_LOCKUP | PATTERNS_WARNING},
	{"none", 0},
};

int patterns_parse(unsigned int *sets, const char *text, struct err *err)
{
	const char *words[ARRAY_SIZE(names) + 1] = {NULL};
	const char *near;
	char word[32];

	*sets = 0;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		words[i] = names[i].name;
	for (const char *p = text;; p++) {
		const size_t n = strcspn(p, ",");
		size_t i = 0;

		snprintf(word, sizeof(word), "%.*s", (int)MIN(n, sizeof(word) - 1), p);
		while (words[i] && strcmp(words[i], word) != 0)
			i++;
		if (!words[i]) {
			near = nearest_word(word, words);
			return err_set(err, EINVAL, "there is no set of patterns '%s'%s%s%s", word,
				       near ? "; did you mean '" : "", near ? near : "",
				       near ? "'?" : "");
		}
		*sets |= names[i].sets;
		p += n;
		if (!*p)
			return 0;
	}
}
