/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pausing the processors: guests of several vCPUs that spin, halt or pour out accesses. Skipped
 * where there is no usable /dev/kvm.
 *
 * With --measure it is no test: it prints how long kvm_pause() takes.
 */
#include "support/cm.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../../src/kvm/kvm_priv.h"
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/clock.h"
#include "skep/cpu.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/topology.h"

#define CPUS_MAX   4
#define GDT_GPA    0x800
#define CODE_GPA   0x1000
#define START_GPA  0x2000 /* of the other processors: SIPI vector 2 */
#define MAIL_GPA   0x3000
#define COUNT_GPA  0x3100
#define COUNT_SIZE 64
#define PORT       0x200
#define PORT_SIZE  4
#define MMIO       0xd0000000
#define MMIO_SIZE  0x2000
#define VECTOR     0x30
#define PATIENCE   (50 * NS_PER_S)

enum mode { SPIN, HALT, POUR, DIE };

/* At MAIL_GPA: what the test and the guest tell each other. */
struct mail {
	uint32_t up;     /* vCPUs that are running */
	uint32_t mode;   /* enum mode */
	uint32_t others; /* the first vCPU is to start the others */
};

/*
 * The guest: 32-bit, flat. Each vCPU takes a number, and counts in a place of its own how often it
 * has gone round, or was interrupted; it must not return from the handler, so it starts anew.
 */
__asm__(".section .rodata\n"
	".code32\n"
	"pause_guest:\n"
	"	cmpl $0, 0x3008\n"
	"	je 1f\n"
	"	movl $0x1ff, 0xfee000f0\n"   /* software-enables the local APIC, */
	"	movl $0xc4500, 0xfee00300\n" /* which sends INIT to all others, */
	"	movl $0xc4602, 0xfee00300\n" /* and SIPI */
	"1:	lidt 0x1000 + pause_idt_pointer - pause_guest\n"
	"	movl $0x1ff, 0xfee000f0\n"
	/* From here on an interrupt is not lost. */
	"	movl $1, %ebx\n"
	"	lock xaddl %ebx, 0x3000\n"
	"	movl %ebx, %ebp\n"
	"	shll $6, %ebp\n"
	"	addl $0x3100, %ebp\n"
	"	cmpl $1, 0x3004\n"
	"	je halt\n"
	"	cmpl $2, 0x3004\n"
	"	je pour\n"
	"	cmpl $3, 0x3004\n"
	"	je die\n"

	"spin:	incl (%ebp)\n"
	"	jmp spin\n"

	"halt:	movl %ebx, %esp\n"
	"	shll $12, %esp\n"
	"	addl $0x9000, %esp\n"
	"	sti\n"
	"2:	hlt\n"
	"	jmp 2b\n"
	"handler:\n"
	"	incl (%ebp)\n"
	"	movl $0, 0xfee000b0\n" /* end of interrupt */
	"	jmp halt\n"

	"die:	incl (%ebp)\n"
	"	cli\n"
	"3:	hlt\n"
	"	jmp 3b\n"

	/* What the device of this vCPU's own returns, it is given back: by ports, strings, and an
	 * access that lies across two pages. */
	"pour:	leal 0x200(,%ebx,4), %edx\n"
	"	movl %ebx, %esp\n"
	"	shll $13, %esp\n"
	"	addl $0xd0000ffe, %esp\n"
	"4:	inl %dx, %eax\n"
	"	outl %eax, %dx\n"
	"	movl (%esp), %eax\n"
	"	movl %eax, (%esp)\n"
	"	leal 16(%ebp), %edi\n"
	"	movl %edi, %esi\n"
	"	movl $40, %ecx\n"
	"	rep insb\n"
	"	movl $40, %ecx\n"
	"	rep outsb\n"
	"	incl (%ebp)\n"
	"	jmp 4b\n"

	"	.balign 8\n"
	"pause_idt:\n"
	"	.fill 0x30, 8, 0\n"
	"	.word 0x1000 + handler - pause_guest, 0x10, 0x8e00, 0\n"
	"pause_idt_pointer:\n"
	"	.word 0x31 * 8 - 1\n"
	"	.long 0x1000 + pause_idt - pause_guest\n"
	"pause_guest_end:\n"

	/* The others begin in real mode. */
	".code16\n"
	"pause_start:\n"
	"	xorw %ax, %ax\n"
	"	movw %ax, %ds\n"
	"	lgdtl 0x2000 + pause_gdt_pointer - pause_start\n"
	"	movl %cr0, %eax\n"
	"	orl $1, %eax\n"
	"	movl %eax, %cr0\n"
	"	ljmpl $0x10, $0x2000 + pause_start32 - pause_start\n"
	".code32\n"
	"pause_start32:\n"
	"	movw $0x18, %ax\n"
	"	movw %ax, %ds\n"
	"	movw %ax, %es\n"
	"	movw %ax, %ss\n"
	"	movl $0x1000 + 1b - pause_guest, %eax\n"
	"	jmp *%eax\n"
	"pause_gdt_pointer:\n"
	"	.word 31\n"
	"	.long 0x800\n"
	"pause_start_end:\n"
	".code64\n"
	".text\n");

extern const char pause_guest[], pause_guest_end[], pause_start[], pause_start_end[];

/* Returns numbers, and wants them back in their order. */
struct echo {
	struct device dev; /* first */
	atomic_uint read;
	atomic_uint written;
	atomic_uint wrong;
	atomic_bool slow; /* its settle takes a while */
	atomic_bool settling;
	atomic_uint end_at; /* so many writes end the machine; 0: none */
};

struct bench {
	struct machine machine; /* first */
	struct topology topology;
	struct kvm *kvm;
	struct echo echoes[CPUS_MAX];
	atomic_bool ended;
};

static void take_end(struct machine *m, const struct ending *ending)
{
	struct bench *b = container_of(m, struct bench, machine);

	(void)ending;
	atomic_store(&b->ended, true);
	kvm_hold(b->kvm);
}

static uint64_t truncate_to(uint64_t v, unsigned int size)
{
	return v & (UINT64_MAX >> (64 - 8 * size));
}

static uint64_t echo_read(struct device *dev, uint64_t offset, unsigned int size)
{
	struct echo *e = container_of(dev, struct echo, dev);

	(void)offset;
	return truncate_to(atomic_fetch_add(&e->read, 1), size);
}

static void echo_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct echo *e = container_of(dev, struct echo, dev);
	unsigned int n = atomic_fetch_add(&e->written, 1);

	(void)offset;
	if (value != truncate_to(n, size))
		atomic_fetch_add(&e->wrong, 1);
	if (n + 1 == atomic_load(&e->end_at))
		machine_end(dev->machine, END_CODE, 0, "the guest is done");
}

static void echo_settle(struct device *dev)
{
	struct echo *e = container_of(dev, struct echo, dev);

	if (!atomic_load(&e->slow))
		return;
	atomic_store(&e->settling, true);
	usleep(5000);
	atomic_store(&e->settling, false);
}

static const struct bus_ops echo_ops = {
	.read = echo_read,
	.write = echo_write,
	.settle = echo_settle,
};

static void make_echo(struct bench *b, unsigned int i)
{
	struct echo *e = &b->echoes[i];
	struct machine *m = &b->machine;
	struct err err;

	e->dev.machine = m;
	lock_init(&e->dev.lock, LOCK_DEVICE);
	assert_int_equal(bus_map(m->ports, PORT + (uint64_t)PORT_SIZE * i, PORT_SIZE, &echo_ops,
				 &e->dev, &err),
			 0);
	assert_int_equal(bus_map(m->mmio, MMIO + (uint64_t)MMIO_SIZE * i, MMIO_SIZE, &echo_ops,
				 &e->dev, &err),
			 0);
}

static void set_entry(struct bench *b)
{
	const struct cpu_entry at = {
		.mode = CPU_PROT32,
		.rip = CODE_GPA,
		.gdt = GDT_GPA,
		.gdt_limit = 31,
	};
	struct err err;

	assert_int_equal(kvm_set_entry(b->kvm, &at, &err), 0);
}

static void bench_init(struct bench *b, enum mode mode, unsigned int cpus, bool others)
{
	static const uint64_t gdt[] = {0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff};
	static const struct gmem_options memory = {.size = MIB(2)};
	const struct mail mail = {.mode = mode, .others = others};
	struct machine *m = &b->machine;
	struct err err = {.text = ""};
	int fd = kvm_open(&err);

	if (fd < 0) {
		print_message("%s\n", err.text);
		skip();
	}
	memset(b, 0, sizeof(*b));
	b->topology = (struct topology){.cpus = cpus, .sockets = 1, .cores = cpus, .threads = 1};
	m->end = take_end;
	assert_int_equal(gmem_create(&m->mem, &memory, &err), 0);
	assert_int_equal(bus_create(&m->ports, "port", 65536, &err), 0);
	assert_int_equal(bus_create(&m->mmio, "memory", UINT64_MAX, &err), 0);
	assert_int_equal(irqs_create(&m->irqs, &err), 0);
	for (unsigned int i = 0; i < cpus; i++)
		make_echo(b, i);
	gmem_write(m->mem, GDT_GPA, gdt, sizeof(gdt));
	gmem_write(m->mem, MAIL_GPA, &mail, sizeof(mail));
	gmem_write(m->mem, CODE_GPA, pause_guest, (uint64_t)(pause_guest_end - pause_guest));
	gmem_write(m->mem, START_GPA, pause_start, (uint64_t)(pause_start_end - pause_start));
	assert_int_equal(kvm_create(&b->kvm, fd, m, &b->topology, KVM_CHIPS_SPLIT, &err), 0);
	set_entry(b);
}

static void bench_fini(struct bench *b)
{
	kvm_stop(b->kvm);
	for (unsigned int i = 0; i < b->topology.cpus; i++) {
		assert_int_equal(atomic_load(&b->echoes[i].wrong), 0);
		lock_destroy(&b->echoes[i].dev.lock);
	}
	kvm_destroy(b->kvm);
	irqs_destroy(b->machine.irqs);
	bus_destroy(b->machine.mmio);
	bus_destroy(b->machine.ports);
	gmem_destroy(b->machine.mem);
}

static void start(struct bench *b)
{
	struct err err;

	assert_int_equal(kvm_start(b->kvm, &err), 0);
}

/* All that a guest can be seen to do. */
struct seen {
	uint32_t up;
	uint32_t counts[CPUS_MAX];
	unsigned int accesses[CPUS_MAX];
};

static struct seen look(struct bench *b)
{
	struct seen s = {0};

	gmem_read(b->machine.mem, MAIL_GPA, &s.up, sizeof(s.up));
	for (unsigned int i = 0; i < CPUS_MAX; i++) {
		gmem_read(b->machine.mem, COUNT_GPA + (uint64_t)COUNT_SIZE * i, &s.counts[i],
			  sizeof(s.counts[i]));
		s.accesses[i] =
			atomic_load(&b->echoes[i].read) + atomic_load(&b->echoes[i].written);
	}
	return s;
}

static void assert_still(struct bench *b)
{
	struct seen before = look(b), after;

	usleep(3000);
	after = look(b);
	assert_memory_equal(&before, &after, sizeof(before));
}

static void wait_up(struct bench *b, unsigned int cpus)
{
	uint64_t deadline = clock_now() + PATIENCE;

	while (look(b).up < cpus && clock_now() < deadline)
		usleep(200);
	assert_int_equal(look(b).up, cpus);
}

/* The first @cpus vCPUs have gone on since @before. */
static void wait_progress(struct bench *b, const struct seen *before, unsigned int cpus)
{
	uint64_t deadline = clock_now() + PATIENCE;

	for (unsigned int i = 0; i < cpus; i++) {
		while (look(b).counts[i] == before->counts[i] && clock_now() < deadline)
			usleep(200);
		assert_true(look(b).counts[i] != before->counts[i]);
	}
}

static void interrupt(struct bench *b, unsigned int cpu)
{
	const struct msi msi = {.address = 0xfee00000 | cpu << 12, .data = VECTOR};

	assert_int_equal(msi_send(b->machine.irqs, &msi), 0);
}

static const unsigned int counts[] = {1, 2, 4};

static void busy(enum mode mode)
{
	for (size_t n = 0; n < ARRAY_SIZE(counts); n++) {
		struct bench b;

		bench_init(&b, mode, counts[n], true);
		start(&b);
		wait_up(&b, counts[n]);
		for (int i = 0; i < 20; i++) {
			struct seen at;

			kvm_pause(b.kvm);
			at = look(&b);
			assert_still(&b);
			kvm_resume(b.kvm);
			wait_progress(&b, &at, counts[n]);
		}
		bench_fini(&b);
	}
}

static void guests_that_spin(void **state)
{
	(void)state;
	busy(SPIN);
}

/* Every access is made once, and its answer arrives. */
static void guests_that_pour(void **state)
{
	(void)state;
	busy(POUR);
}

/* An interrupt that comes meanwhile waits. */
static void guests_that_halt(void **state)
{
	(void)state;
	for (size_t n = 0; n < ARRAY_SIZE(counts); n++) {
		struct bench b;

		bench_init(&b, HALT, counts[n], true);
		start(&b);
		wait_up(&b, counts[n]);
		for (int i = 0; i < 10; i++) {
			struct seen at;

			kvm_pause(b.kvm);
			at = look(&b);
			for (unsigned int cpu = 0; cpu < counts[n]; cpu++)
				interrupt(&b, cpu);
			assert_still(&b);
			kvm_resume(b.kvm);
			wait_progress(&b, &at, counts[n]);
		}
		bench_fini(&b);
	}
}

static void vcpus_that_nobody_started(void **state)
{
	struct seen at;
	struct bench b;

	(void)state;
	bench_init(&b, SPIN, 4, false);
	start(&b);
	wait_up(&b, 1);
	for (int i = 0; i < 5; i++) {
		kvm_pause(b.kvm);
		at = look(&b);
		assert_still(&b);
		kvm_resume(b.kvm);
		wait_progress(&b, &at, 1);
	}
	assert_int_equal(look(&b).up, 1);
	bench_fini(&b);
}

/* Nothing can be said of halts meanwhile, and as ever afterwards. */
static void halts_are_not_told_meanwhile(void **state)
{
	uint64_t deadline = clock_now() + PATIENCE;
	struct bench b;

	(void)state;
	bench_init(&b, DIE, 2, true);
	start(&b);
	wait_up(&b, 2);
	kvm_pause(b.kvm);
	kvm_ask_halted(b.kvm);
	assert_still(&b);
	assert_false(kvm_all_halted(b.kvm));
	kvm_resume(b.kvm);
	while (!kvm_all_halted(b.kvm) && clock_now() < deadline) {
		kvm_ask_halted(b.kvm);
		usleep(2000);
	}
	assert_true(kvm_all_halted(b.kvm));
	bench_fini(&b);
}

static void again_and_again_changes_nothing(void **state)
{
	struct seen at;
	struct bench b;

	(void)state;
	bench_init(&b, SPIN, 2, true);
	kvm_resume(b.kvm);
	start(&b);
	kvm_resume(b.kvm);
	wait_up(&b, 2);
	/* Without a moment in between. */
	for (int i = 0; i < 200; i++) {
		kvm_pause(b.kvm);
		kvm_pause(b.kvm);
		if (i % 50 == 0)
			assert_still(&b);
		kvm_resume(b.kvm);
		kvm_resume(b.kvm);
	}
	at = look(&b);
	wait_progress(&b, &at, 2);
	bench_fini(&b);
}

static void a_paused_machine_starts_paused(void **state)
{
	struct seen at = {0};
	struct bench b;

	(void)state;
	bench_init(&b, SPIN, 2, true);
	kvm_pause(b.kvm);
	start(&b);
	assert_still(&b);
	assert_int_equal(look(&b).up, 0);
	kvm_resume(b.kvm);
	wait_up(&b, 2);
	wait_progress(&b, &at, 2);
	bench_fini(&b);
}

static void a_paused_machine_is_stopped(void **state)
{
	struct seen at;
	struct bench b;

	(void)state;
	bench_init(&b, POUR, 4, true);
	start(&b);
	wait_up(&b, 4);
	kvm_pause(b.kvm);
	kvm_hold(b.kvm);
	assert_still(&b);
	kvm_stop(b.kvm);
	at = look(&b);
	/* Still paused. */
	start(&b);
	assert_still(&b);
	kvm_resume(b.kvm);
	wait_progress(&b, &at, 4);
	/* An ending that came first: nobody goes on. */
	kvm_pause(b.kvm);
	kvm_hold(b.kvm);
	at = look(&b);
	kvm_resume(b.kvm);
	assert_still(&b);
	assert_int_equal(look(&b).counts[0], at.counts[0]);
	bench_fini(&b);
}

static void a_paused_machine_is_reset(void **state)
{
	const struct mail mail = {.mode = SPIN, .others = true};
	struct err err;
	struct seen at;
	struct bench b;

	(void)state;
	bench_init(&b, SPIN, 2, true);
	start(&b);
	wait_up(&b, 2);
	kvm_pause(b.kvm);
	kvm_stop(b.kvm);
	gmem_write(b.machine.mem, MAIL_GPA, &mail, sizeof(mail));
	assert_int_equal(kvm_reset(b.kvm, &err), 0);
	set_entry(&b);
	at = look(&b);
	start(&b);
	assert_still(&b);
	assert_int_equal(look(&b).up, 0);
	kvm_resume(b.kvm);
	wait_up(&b, 2);
	wait_progress(&b, &at, 2);
	bench_fini(&b);
}

/* Whichever comes first, a pause or an end by the guest itself. */
static void an_end_and_a_pause_meet(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 40; i++) {
		struct bench b;

		bench_init(&b, POUR, 2, true);
		atomic_store(&b.echoes[i % 2].end_at, 1 + 10 * i);
		start(&b);
		for (int j = 0; j < 10; j++) {
			kvm_pause(b.kvm);
			kvm_resume(b.kvm);
		}
		kvm_pause(b.kvm);
		assert_still(&b);
		bench_fini(&b);
	}
}

static void a_vcpu_that_settles_is_waited_for(void **state)
{
	struct bench b;

	(void)state;
	bench_init(&b, POUR, 1, true);
	atomic_store(&b.echoes[0].slow, true);
	start(&b);
	for (int i = 0; i < 5; i++) {
		while (!atomic_load(&b.echoes[0].settling))
			usleep(100);
		kvm_pause(b.kvm);
		assert_false(atomic_load(&b.echoes[0].settling));
		assert_still(&b);
		kvm_resume(b.kvm);
	}
	bench_fini(&b);
}

static void kvmclock_stands_still(void **state)
{
	struct kvm_clock_data before, after;
	uint64_t began, passed;
	struct bench b;

	(void)state;
	bench_init(&b, SPIN, 1, true);
	start(&b);
	wait_up(&b, 1);
	kvm_pause(b.kvm);
	assert_int_equal(ioctl(b.kvm->fd, KVM_GET_CLOCK, &before), 0);
	usleep(200000);
	began = clock_now();
	kvm_resume(b.kvm);
	assert_int_equal(ioctl(b.kvm->fd, KVM_GET_CLOCK, &after), 0);
	passed = clock_now() - began;
	/* It began at kvm_pause(), a little before; two clocks need not agree to the last. */
	assert_true(after.clock <= before.clock + passed + passed / 100 + NS_PER_MS);
	bench_fini(&b);
}

static int ascending(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

#define ROUNDS 200

static void measure(enum mode mode, const char *what, unsigned int cpus)
{
	uint64_t took[ROUNDS];
	struct bench b;

	bench_init(&b, mode, cpus, true);
	start(&b);
	wait_up(&b, cpus);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t began;

		/* Not in step with the guest. */
		usleep(2000 + (unsigned int)i * 37 % 1000);
		began = clock_now();
		kvm_pause(b.kvm);
		took[i] = clock_now() - began;
		kvm_resume(b.kvm);
	}
	bench_fini(&b);
	qsort(took, ROUNDS, sizeof(took[0]), ascending);
	printf("%-6s %u vCPUs: median %llu us, 90 %% within %llu us, worst of %d %llu us\n", what,
	       cpus, (unsigned long long)(took[ROUNDS / 2] / NS_PER_US),
	       (unsigned long long)(took[ROUNDS * 9 / 10] / NS_PER_US), ROUNDS,
	       (unsigned long long)(took[ROUNDS - 1] / NS_PER_US));
}

static void measure_all(void **state)
{
	(void)state;
	for (unsigned int cpus = 1; cpus <= CPUS_MAX; cpus++) {
		measure(SPIN, "spin", cpus);
		measure(HALT, "halt", cpus);
		measure(POUR, "pour", cpus);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest figures[] = {cmocka_unit_test(measure_all)};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(guests_that_spin),
		cmocka_unit_test(guests_that_pour),
		cmocka_unit_test(guests_that_halt),
		cmocka_unit_test(vcpus_that_nobody_started),
		cmocka_unit_test(halts_are_not_told_meanwhile),
		cmocka_unit_test(again_and_again_changes_nothing),
		cmocka_unit_test(a_paused_machine_starts_paused),
		cmocka_unit_test(a_paused_machine_is_stopped),
		cmocka_unit_test(a_paused_machine_is_reset),
		cmocka_unit_test(an_end_and_a_pause_meet),
		cmocka_unit_test(a_vcpu_that_settles_is_waited_for),
		cmocka_unit_test(kvmclock_stands_still),
	};

	if (argc == 2 && !strcmp(argv[1], "--measure"))
		return cmocka_run_group_tests(figures, NULL, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
