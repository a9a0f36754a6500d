/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * KVM as the machine's processors, driven by a guest of a few instructions. Skipped where there is
 * no usable /dev/kvm.
 */
#include "support/cm.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/clock.h"
#include "skep/cpu.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/irq.h"
#include "skep/kvm.h"
#include "skep/topology.h"
#include "skep/trace.h"
#include "skep/worker.h"

#define CODE_GPA  0x1000
#define GDT_GPA   0x800
#define END_PORT  0xe0
#define BELL_PORT 0xe4
#define PATIENCE  (50 * NS_PER_S)

static const struct gmem_options memory = {.size = MIB(2)};
static const struct topology one_cpu = {.cpus = 1, .sockets = 1, .cores = 1, .threads = 1};

/*
 * The guests: 32-bit, flat, entered at their label. They end by a write to END_PORT, or badly.
 */
__asm__(".section .rodata\n"
	".code32\n"
	".globl guest_start, guest_end\n"
	"guest_start:\n"

	/* Ends with 42. */
	"guest_plain:\n"
	"	movb $42, %al\n"
	"	outb %al, $0xe0\n"
	"1:	hlt\n"
	"	jmp 1b\n"

	/* What lies where nothing is: port 99h and gpa D0000000h. */
	"guest_empty:\n"
	"	inb $0x99, %al\n"
	"	cmpb $0xff, %al\n"
	"	jne bad\n"
	"	movl 0xd0000000, %eax\n"
	"	cmpl $-1, %eax\n"
	"	jne bad\n"
	"	movl %eax, 0xd0000000\n"
	"	jmp guest_plain\n"
	"bad:	movb $1, %al\n"
	"	outb %al, $0xe0\n"
	"2:	hlt\n"
	"	jmp 2b\n"

	/* Without an IDT the first exception is a triple fault. */
	"guest_triple:\n"
	"	ud2\n"

	/* For ever. */
	"guest_spin:\n"
	"	jmp guest_spin\n"

	/* Writes 100,000 bytes to E8h, one by one, and halts. */
	"guest_flood:\n"
	"	xorl %ecx, %ecx\n"
	"5:	movb %cl, %al\n"
	"	outb %al, $0xe8\n"
	"	incl %ecx\n"
	"	cmpl $100000, %ecx\n"
	"	jne 5b\n"
	"6:	hlt\n"
	"	jmp 6b\n"

	/* Rings the doorbell, and ends in the handler of interrupt 30h. */
	"guest_bell:\n"
	"	lidt 0x1000 + idt_pointer - guest_start\n"
	"	movl $0x1ff, 0xfee000f0\n" /* software-enables the local APIC */
	"	movb $7, %al\n"
	"	outb %al, $0xe4\n"
	"	sti\n"
	"3:	hlt\n"
	"	jmp 3b\n"
	"handler:\n"
	"	movb $43, %al\n"
	"	outb %al, $0xe0\n"
	"4:	hlt\n"
	"	jmp 4b\n"
	"	.balign 8\n"
	"idt:	.fill 0x30, 8, 0\n"
	"	.word 0x1000 + handler - guest_start, 0x10, 0x8e00, 0\n"
	"idt_pointer:\n"
	"	.word 0x31 * 8 - 1\n"
	"	.long 0x1000 + idt - guest_start\n"
	"guest_end:\n"
	".code64\n"
	".text\n");

extern const char guest_start[], guest_end[], guest_plain[], guest_empty[], guest_triple[],
	guest_spin[], guest_flood[], guest_bell[];

struct bench {
	struct machine machine; /* first */
	struct kvm *kvm;
	pthread_mutex_t lock;
	pthread_cond_t ended_cond;
	bool ended;
	struct ending ending;
	struct device port; /* at END_PORT */
};

static void take_end(struct machine *m, const struct ending *ending)
{
	struct bench *b = container_of(m, struct bench, machine);

	pthread_mutex_lock(&b->lock);
	if (!b->ended)
		b->ending = *ending;
	b->ended = true;
	kvm_hold(b->kvm);
	pthread_cond_signal(&b->ended_cond);
	pthread_mutex_unlock(&b->lock);
}

static void end_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	(void)offset;
	(void)size;
	machine_end(dev->machine, END_CODE, (unsigned int)value, "the guest is done");
}

static const struct bus_ops end_ops = {.write = end_write, .max_size = 1};

static void bench_init_on(struct bench *b, const char *entry, enum kvm_chips chips,
			  struct worker *control)
{
	static const uint64_t gdt[] = {0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
	const struct cpu_entry at = {
		.mode = CPU_PROT32,
		.rip = CODE_GPA + (uint64_t)(entry - guest_start),
		.rsp = CODE_GPA - 16,
		.gdt = GDT_GPA,
		.gdt_limit = sizeof(gdt) - 1,
	};
	struct machine *m = &b->machine;
	struct err err = {.text = ""};
	int fd = kvm_open(&err);

	if (fd < 0) {
		print_message("%s\n", err.text);
		skip();
	}
	memset(b, 0, sizeof(*b));
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->ended_cond, NULL);
	m->end = take_end;
	m->control = control;
	assert_int_equal(gmem_create(&m->mem, &memory, &err), 0);
	assert_int_equal(bus_create(&m->ports, "port", 65536, &err), 0);
	assert_int_equal(bus_create(&m->mmio, "memory", UINT64_MAX, &err), 0);
	assert_int_equal(irqs_create(&m->irqs, &err), 0);
	b->port.machine = m;
	lock_init(&b->port.lock, LOCK_DEVICE);
	assert_int_equal(bus_map(m->ports, END_PORT, 1, &end_ops, &b->port, &err), 0);
	assert_int_equal(gmem_write(m->mem, GDT_GPA, gdt, sizeof(gdt)), 0);
	assert_int_equal(
		gmem_write(m->mem, CODE_GPA, guest_start, (uint64_t)(guest_end - guest_start)), 0);
	assert_int_equal(kvm_create(&b->kvm, fd, m, &one_cpu, chips, &err), 0);
	assert_int_equal(kvm_set_entry(b->kvm, &at, &err), 0);
}

static void bench_init_with(struct bench *b, const char *entry, enum kvm_chips chips)
{
	bench_init_on(b, entry, chips, NULL);
}

static void bench_init(struct bench *b, const char *entry)
{
	bench_init_with(b, entry, KVM_CHIPS_SPLIT);
}

static void bench_run(struct bench *b)
{
	struct err err;

	assert_int_equal(kvm_start(b->kvm, &err), 0);
}

/* Whether the machine ended within PATIENCE. */
static bool bench_wait(struct bench *b)
{
	struct timespec until;
	bool ended;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += (time_t)(PATIENCE / NS_PER_S);
	pthread_mutex_lock(&b->lock);
	while (!b->ended && !pthread_cond_timedwait(&b->ended_cond, &b->lock, &until))
		;
	ended = b->ended;
	pthread_mutex_unlock(&b->lock);
	return ended;
}

static void bench_fini(struct bench *b)
{
	kvm_stop(b->kvm);
	kvm_destroy(b->kvm);
	irqs_destroy(b->machine.irqs);
	bus_destroy(b->machine.mmio);
	bus_destroy(b->machine.ports);
	gmem_destroy(b->machine.mem);
	lock_destroy(&b->port.lock);
	pthread_cond_destroy(&b->ended_cond);
	pthread_mutex_destroy(&b->lock);
}

static void a_guest_runs_and_ends(void **state)
{
	struct kvm_exit_count counts[KVM_EXIT_COUNTS_MAX];
	struct bench b;
	uint64_t before = clock_now();

	(void)state;
	bench_init(&b, guest_plain);
	assert_true(kvm_first_entry(b.kvm) == 0);
	bench_run(&b);
	assert_true(bench_wait(&b));
	kvm_stop(b.kvm);
	assert_int_equal(b.ending.kind, END_CODE);
	assert_int_equal(b.ending.code, 42);
	assert_true(kvm_first_entry(b.kvm) >= before);
	assert_int_equal(kvm_exit_counts(b.kvm, counts, KVM_EXIT_COUNTS_MAX), 1);
	assert_string_equal(counts[0].reason, "io");
	assert_int_equal(counts[0].count, 1);
	bench_fini(&b);
}

static void emptiness_reads_all_ones_and_is_counted(void **state)
{
	struct bench b;

	(void)state;
	bench_init(&b, guest_empty);
	bench_run(&b);
	assert_true(bench_wait(&b));
	kvm_stop(b.kvm);
	assert_int_equal(b.ending.kind, END_CODE);
	assert_int_equal(b.ending.code, 42);
	assert_int_equal(bus_misses(b.machine.ports), 1);
	assert_int_equal(bus_misses(b.machine.mmio), 2);
	bench_fini(&b);
}

/* Of the exits only: what is asked for, and what RIP was if this KVM tells. */
static void check_exit(const struct trace_event *e, uint64_t at, unsigned int size, bool write)
{
	assert_int_equal(e->kind, TRACE_EXIT);
	assert_int_equal(e->b, at);
	assert_int_equal(e->size, size);
	assert_int_equal(e->a, 1U << TRACE_EXIT_COUNT_SHIFT | (write ? TRACE_EXIT_WRITE : 0));
	assert_true(!e->c || (e->c >= CODE_GPA && e->c < CODE_GPA + 0x1000));
	assert_true(e->time > 0);
}

struct hearing {
	struct trace_tap tap;
	unsigned int kinds[TRACE_KINDS];
};

static void hear(struct trace_tap *tap, const struct trace_record *record)
{
	container_of(tap, struct hearing, tap)->kinds[record->event.kind]++;
}

static void exits_and_accesses_are_recorded(void **state)
{
	const struct trace_options options = {.size = TRACE_SIZE_MIN};
	struct hearing h = {.tap.event = hear};
	struct trace_event last[TRACE_LAST_EXITS];
	struct bench b;
	struct err err;

	(void)state;
	bench_init(&b, guest_empty);
	assert_int_equal(kvm_last_exits(b.kvm, 0, last, TRACE_LAST_EXITS), 0);
	assert_int_equal(kvm_last_exits(b.kvm, 1, last, TRACE_LAST_EXITS), 0);
	assert_int_equal(trace_create(&b.machine.trace, &options, NULL, &err), 0);
	trace_add_tap(b.machine.trace, &h.tap);
	kvm_record(b.kvm, b.machine.trace);
	trace_start(b.machine.trace);
	bench_run(&b);
	assert_true(bench_wait(&b));
	kvm_stop(b.kvm);
	/* The last entry completes the last access. */
	assert_int_equal(kvm_last_exits(b.kvm, 0, last, TRACE_LAST_EXITS), 5);
	check_exit(&last[0], 0x99, 1, false);
	assert_string_equal(kvm_exit_name(last[0].sub), "io");
	check_exit(&last[1], 0xd0000000, 4, false);
	assert_string_equal(kvm_exit_name(last[1].sub), "mmio");
	check_exit(&last[2], 0xd0000000, 4, true);
	check_exit(&last[3], END_PORT, 1, true);
	assert_string_equal(kvm_exit_name(last[4].sub), "intr");
	assert_int_equal(h.kinds[TRACE_ENTER], 5);
	assert_int_equal(h.kinds[TRACE_EXIT], 5);
	assert_int_equal(h.kinds[TRACE_READ], 2);
	assert_int_equal(h.kinds[TRACE_WRITE], 2);
	bench_fini(&b);
	trace_destroy(b.machine.trace);
}

static void a_triple_fault_is_told(void **state)
{
	struct bench b;

	(void)state;
	bench_init(&b, guest_triple);
	bench_run(&b);
	assert_true(bench_wait(&b));
	assert_int_equal(b.ending.kind, END_TRIPLE_FAULT);
	assert_non_null(strstr(b.ending.reason, "vCPU 0 had a triple fault"));
	bench_fini(&b);
}

static void a_guest_that_spins_is_stopped_and_goes_on(void **state)
{
	struct bench b;

	(void)state;
	bench_init(&b, guest_spin);
	for (int i = 0; i < 3; i++) {
		bench_run(&b);
		usleep(2000);
		kvm_stop(b.kvm);
		assert_false(b.ended);
	}
	bench_fini(&b);
}

/* Guest write → ioeventfd → this thread → irqfd → guest's handler, with no exit for the write. */
static void doorbell_and_message(enum kvm_chips chips)
{
	struct kvm_exit_count counts[KVM_EXIT_COUNTS_MAX];
	const struct msi msi = {.address = 0xfee00000, .data = 0x30};
	const struct msi wrong = {.address = 0xfee00000, .data = 0x31};
	struct bus_doorbell bell = {.at = BELL_PORT, .size = 1, .match = true, .value = 7};
	int answer = eventfd(0, EFD_CLOEXEC);
	struct pollfd rung;
	uint32_t handle = 0, other = 0;
	uint64_t one = 1;
	struct err err;
	struct bench b;

	bench_init_with(&b, guest_bell, chips);
	bell.fd = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(bus_doorbell_add(b.machine.ports, &bell, &err), 0);
	assert_int_equal(bus_doorbell_add(b.machine.ports, &bell, &err), -EEXIST);
	assert_int_equal(msi_bind(b.machine.irqs, answer, &wrong, &handle, &err), 0);
	/* The same handle takes another message. */
	assert_int_equal(msi_bind(b.machine.irqs, answer, &msi, &handle, &err), 0);
	assert_true(handle >= 24);
	/* An eventfd raises one interrupt only. */
	assert_int_equal(msi_bind(b.machine.irqs, answer, &msi, &other, &err), -EBUSY);
	bench_run(&b);
	rung = (struct pollfd){.fd = bell.fd, .events = POLLIN};
	assert_int_equal(poll(&rung, 1, (int)(PATIENCE / NS_PER_MS)), 1);
	assert_int_equal(write(answer, &one, sizeof(one)), sizeof(one));
	assert_true(bench_wait(&b));
	kvm_stop(b.kvm);
	assert_int_equal(b.ending.code, 43);
	assert_int_equal(kvm_exit_counts(b.kvm, counts, KVM_EXIT_COUNTS_MAX), 1);
	assert_string_equal(counts[0].reason, "io");
	assert_int_equal(counts[0].count, 1);
	bus_doorbell_del(b.machine.ports, &bell);
	msi_unbind(b.machine.irqs, answer, handle);
	close(bell.fd);
	close(answer);
	bench_fini(&b);
}

static void a_doorbell_is_answered_by_a_message(void **state)
{
	(void)state;
	doorbell_and_message(KVM_CHIPS_SPLIT);
	doorbell_and_message(KVM_CHIPS_KERNEL);
}

/* A message sent without an eventfd reaches the same handler. */
static void a_message_reaches_the_guest(void **state)
{
	const struct msi msi = {.address = 0xfee00000, .data = 0x30};
	struct bus_doorbell bell = {.at = BELL_PORT};
	struct pollfd rung;
	struct err err;
	struct bench b;

	(void)state;
	bench_init(&b, guest_bell);
	bell.fd = eventfd(0, EFD_CLOEXEC);
	assert_int_equal(bus_doorbell_add(b.machine.ports, &bell, &err), 0);
	bench_run(&b);
	rung = (struct pollfd){.fd = bell.fd, .events = POLLIN};
	assert_int_equal(poll(&rung, 1, (int)(PATIENCE / NS_PER_MS)), 1);
	assert_int_equal(msi_send(b.machine.irqs, &msi), 0);
	assert_true(bench_wait(&b));
	assert_int_equal(b.ending.code, 43);
	bus_doorbell_del(b.machine.ports, &bell);
	close(bell.fd);
	bench_fini(&b);
}

/* A pair of 8259A that has one interrupt, 30h, to give. */
struct pair {
	struct irq_chip chip;
	struct irqs *irqs;
	atomic_uint taken;
};

static void pair_set(struct irq_chip *chip, unsigned int gsi, bool level)
{
	(void)chip;
	(void)gsi;
	(void)level;
}

static int pair_acknowledge(struct irq_chip *chip)
{
	struct pair *pair = container_of(chip, struct pair, chip);

	irqs_set_intr(pair->irqs, false);
	return atomic_fetch_add(&pair->taken, 1) ? -1 : 0x30;
}

/* INTR wakes a vCPU that halts in KVM, and waits for one that does not take interrupts yet. */
static void intr_reaches_the_guest(void **state)
{
	for (int early = 0; early < 2; early++) {
		struct bus_doorbell bell = {.at = BELL_PORT};
		struct pair pair = {.chip = {.set = pair_set, .acknowledge = pair_acknowledge}};
		struct pollfd rung;
		struct err err;
		struct bench b;

		(void)state;
		bench_init_with(&b, guest_bell, KVM_CHIPS_SPLIT);
		pair.irqs = b.machine.irqs;
		assert_int_equal(irqs_add_chip(b.machine.irqs, &pair.chip, &err), 0);
		bell.fd = eventfd(0, EFD_CLOEXEC);
		assert_int_equal(bus_doorbell_add(b.machine.ports, &bell, &err), 0);
		if (early)
			irqs_set_intr(b.machine.irqs, true);
		bench_run(&b);
		rung = (struct pollfd){.fd = bell.fd, .events = POLLIN};
		assert_int_equal(poll(&rung, 1, (int)(PATIENCE / NS_PER_MS)), 1);
		if (!early) {
			usleep(5000);
			irqs_set_intr(b.machine.irqs, true);
		}
		assert_true(bench_wait(&b));
		kvm_stop(b.kvm);
		assert_int_equal(b.ending.code, 43);
		assert_int_equal(atomic_load(&pair.taken), 1);
		bus_doorbell_del(b.machine.ports, &bell);
		irqs_remove_chip(b.machine.irqs, &pair.chip);
		close(bell.fd);
		bench_fini(&b);
	}
}

static void start_on_control(void *arg)
{
	bench_run(arg);
}

/* Takes a stream of bytes, each one more than the last. */
struct drain {
	struct device dev;
	atomic_uint bytes;
	atomic_uint wrong;
};

static void drain_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct drain *d = container_of(dev, struct drain, dev);
	unsigned int n = atomic_fetch_add(&d->bytes, 1);

	(void)offset;
	(void)size;
	if (value != (n & 0xff))
		atomic_fetch_add(&d->wrong, 1);
}

#define FLOOD_BYTES 100000

/* Returns how many exits it took. */
static uint64_t flood(void)
{
	static const struct bus_ops ops = {.write = drain_write, .max_size = 1, .late = 1};
	struct kvm_exit_count counts[KVM_EXIT_COUNTS_MAX];
	uint64_t deadline = clock_now() + PATIENCE;
	struct drain drain = {0};
	struct worker *control;
	struct err err;
	struct bench b;

	if (worker_create(&control, "control", &err)) {
		print_message("%s\n", err.text);
		skip();
	}
	bench_init_on(&b, guest_flood, KVM_CHIPS_SPLIT, control);
	drain.dev.machine = &b.machine;
	lock_init(&drain.dev.lock, LOCK_DEVICE);
	assert_int_equal(bus_map(b.machine.ports, 0xe8, 1, &ops, &drain.dev, &err), 0);
	assert_int_equal(worker_start(control, &err), 0);
	worker_call(control, start_on_control, &b);
	while (atomic_load(&drain.bytes) < FLOOD_BYTES && clock_now() < deadline)
		usleep(1000);
	assert_int_equal(atomic_load(&drain.bytes), FLOOD_BYTES);
	assert_int_equal(atomic_load(&drain.wrong), 0);
	worker_stop(control);
	kvm_stop(b.kvm);
	kvm_exit_counts(b.kvm, counts, KVM_EXIT_COUNTS_MAX);
	assert_string_equal(counts[0].reason, "io");
	print_message("%d bytes in %llu exits\n", FLOOD_BYTES, (unsigned long long)counts[0].count);
	bench_fini(&b);
	worker_destroy(control);
	lock_destroy(&drain.dev.lock);
	return counts[0].count;
}

/*
 * A flood costs far fewer exits than bytes (Linux 4.20 and newer hold writes back), and its end
 * arrives though the guest never leaves KVM again.
 */
static void a_flood_arrives_whole(void **state)
{
	uint64_t exits = FLOOD_BYTES;

	(void)state;
	/* A host that is too busy to let the guest pour sees no burst: it has three tries. */
	for (int i = 0; i < 3 && exits >= FLOOD_BYTES / 2; i++)
		exits = flood();
	assert_true(exits < FLOOD_BYTES / 2);
}

static void more_vcpus_than_the_host_has_are_refused(void **state)
{
	static const struct topology many = {.cpus = 1000000};
	struct kvm *kvm = NULL;
	struct machine m = {0};
	struct err err = {.text = ""};
	int fd = kvm_open(&err);

	(void)state;
	if (fd < 0) {
		print_message("%s\n", err.text);
		skip();
	}
	assert_int_equal(gmem_create(&m.mem, &memory, &err), 0);
	assert_int_equal(bus_create(&m.ports, "port", 65536, &err), 0);
	assert_int_equal(bus_create(&m.mmio, "memory", UINT64_MAX, &err), 0);
	assert_int_equal(irqs_create(&m.irqs, &err), 0);
	assert_int_equal(kvm_create(&kvm, fd, &m, &many, KVM_CHIPS_SPLIT, &err), -EINVAL);
	assert_non_null(strstr(err.text, "1000000 vCPUs"));
	irqs_destroy(m.irqs);
	bus_destroy(m.mmio);
	bus_destroy(m.ports);
	gmem_destroy(m.mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_runs_and_ends),
		cmocka_unit_test(emptiness_reads_all_ones_and_is_counted),
		cmocka_unit_test(exits_and_accesses_are_recorded),
		cmocka_unit_test(a_triple_fault_is_told),
		cmocka_unit_test(a_guest_that_spins_is_stopped_and_goes_on),
		cmocka_unit_test(a_doorbell_is_answered_by_a_message),
		cmocka_unit_test(a_message_reaches_the_guest),
		cmocka_unit_test(intr_reaches_the_guest),
		cmocka_unit_test(a_flood_arrives_whole),
		cmocka_unit_test(more_vcpus_than_the_host_has_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
