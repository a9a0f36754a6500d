/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vCPU: its descriptor, its first registers, and the thread that runs it.
 *
 * Leaving the guest on demand takes two things: immediate_exit, which makes the next KVM_RUN
 * return at once, and a signal, which ends the one under way. Whichever comes at whatever moment,
 * the thread sees kvm->stop and kvm->pause before it enters again.
 *
 * A machine is paused when no thread is inside the gate (kvm->park), and the gate is shut: each
 * thread goes in before it enters the guest for the first time, and comes out to park or to end.
 *
 * Threads outlive a reset: they wait for the next round. So none is made once the guest has run,
 * which the sandbox would refuse.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm_priv.h"
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/cpu.h"
#include "skep/cpu_state.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/sandbox.h"
#include "skep/topology.h"

#define KICK_SIGNAL SIGRTMIN

#define VCPU_STACK KIB(128)

#define MSR_IA32_MISC_ENABLE  0x1a0
#define MSR_IA32_MTRR_DEFTYPE 0x2ff

/* As many as Linux can be built for. */
#define HOST_CPUS_MAX 8192UL

/* Of a local APIC: Intel SDM volume 3, table 11-1 */
#define APIC_ISR        0x100
#define APIC_IRR        0x200
#define APIC_LVT_TIMER  0x320
#define APIC_TIMER_FROM 0x380

#define LVT_MASKED       (1U << 16)
#define LVT_TSC_DEADLINE (1U << 18)

#define CR0_ET (1U << 4)

#define EFER_LME (1U << 8)

static void on_kick(int sig)
{
	(void)sig; /* its arrival is its message: KVM_RUN returns with EINTR */
}

/*
 * Memory is write-back wherever no MTRR says otherwise, as a firmware leaves it; fast string
 * operations are on. A host that refuses either is not worse off than with its own defaults.
 */
static void set_msrs(const struct vcpu *vcpu)
{
	static const struct kvm_msr_entry entries[] = {
		{.index = MSR_IA32_MTRR_DEFTYPE, .data = 1U << 11 | 6},
		{.index = MSR_IA32_MISC_ENABLE, .data = 1},
	};
	_Alignas(struct kvm_msrs) char buf[sizeof(struct kvm_msrs) + sizeof(entries)] = {0};
	struct kvm_msrs *msrs = (struct kvm_msrs *)buf;

	msrs->nmsrs = ARRAY_SIZE(entries);
	memcpy(msrs->entries, entries, sizeof(entries));
	ioctl(vcpu->fd, KVM_SET_MSRS, msrs);
}

int vcpu_create(struct vcpu *vcpu, struct kvm_cpuid2 *template, struct err *err)
{
	const struct kvm *kvm = vcpu->kvm;
	const unsigned int id = vcpu->id;
	int ret;

	vcpu->shut_down = vcpu->has_then = false;
	vcpu->born = atomic_load_explicit(&vcpu->all_exits, memory_order_relaxed);
	vcpu->offered = -1;
	vcpu->fd = ioctl(kvm->fd, KVM_CREATE_VCPU, topology_apic_id(kvm->topology, id));
	if (vcpu->fd < 0)
		return err_sys(err, errno, "KVM cannot make vCPU %u", id);
	vcpu->run = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		return err_sys(err, errno, "cannot map the state of vCPU %u", id);
	}
	/* Costs KVM some ten nanoseconds an exit, and spares every question for RIP. */
	vcpu->run->kvm_valid_regs = kvm->syncs ? KVM_SYNC_X86_REGS : 0;
	ret = cpuid_apply(vcpu, template, err);
	if (!ret)
		set_msrs(vcpu);
	return ret;
}

void vcpu_destroy(struct vcpu *vcpu)
{
	if (vcpu->run)
		munmap(vcpu->run, vcpu->kvm->run_size);
	vcpu->run = NULL;
	if (vcpu->fd >= 0)
		close(vcpu->fd);
	vcpu->fd = -1;
}

/* A segment as the tables of a loader describe it (SDM volume 3, 3.4.5). */
static struct kvm_segment flat_segment(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
		.base = 0,
		.limit = UINT32_MAX,
		.selector = selector,
		.type = type,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1,
	};
}

/* cpu.h: CPU_PROT32, and CPU_LONG64, which is entered with everything on that leads there. */
static void set_protected(struct kvm_sregs *s, const struct cpu_entry *entry)
{
	s->cs = flat_segment(0x10, 11);                                /* execute, read, accessed */
	s->ds = s->es = s->fs = s->gs = s->ss = flat_segment(0x18, 3); /* read, write, accessed */
	s->gdt.base = entry->gdt;
	s->gdt.limit = entry->gdt_limit;
	s->idt.base = 0;
	s->idt.limit = 0;
	s->cr0 = CR0_PE | CR0_ET | (entry->cr3 ? CR0_PG : 0);
	s->cr3 = entry->cr3;
	s->cr4 = entry->cr4;
	s->efer = 0;
	if (entry->mode == CPU_LONG64) {
		s->cs.db = 0;
		s->cs.l = 1;
		s->cr4 |= CR4_PAE;
		s->efer = EFER_LME | EFER_LMA;
	}
}

static void set_real(struct kvm_sregs *s, const struct cpu_entry *entry)
{
	struct kvm_segment segment = flat_segment(entry->segment, 3);

	segment.base = (uint64_t)entry->segment << 4;
	segment.limit = UINT16_MAX;
	segment.db = segment.g = 0;
	s->ds = s->es = s->fs = s->gs = s->ss = segment;
	segment.type = 11;
	s->cs = segment;
	s->idt.base = 0;
	s->idt.limit = 0x3ff;
	s->cr0 = CR0_ET;
	s->cr3 = 0;
	s->cr4 = 0;
	s->efer = 0;
}

int vcpu_enter_at(struct vcpu *vcpu, const struct cpu_entry *entry, struct err *err)
{
	const struct kvm_regs regs = {
		.rip = entry->rip,
		.rsp = entry->rsp,
		.rax = entry->rax,
		.rbx = entry->rbx,
		.rcx = entry->rcx,
		.rdx = entry->rdx,
		.rsi = entry->rsi,
		.rdi = entry->rdi,
		.rbp = entry->rbp,
		.rflags = 2, /* bit 1 is always set */
	};
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return err_sys(err, errno, "KVM does not tell the registers of vCPU %u", vcpu->id);
	if (entry->mode == CPU_REAL16)
		set_real(&sregs, entry);
	else
		set_protected(&sregs, entry);
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) || ioctl(vcpu->fd, KVM_SET_REGS, &regs))
		return err_sys(err, errno, "KVM refuses the first registers of vCPU %u", vcpu->id);
	return 0;
}

/* Halted with interrupts off, or waiting for another vCPU's INIT and SIPI. */
static bool halted_for_good(const struct vcpu *vcpu)
{
	struct kvm_mp_state mp;
	struct kvm_regs regs;

	if (ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp))
		return false;
	if (mp.mp_state == KVM_MP_STATE_UNINITIALIZED || mp.mp_state == KVM_MP_STATE_INIT_RECEIVED)
		return true;
	return mp.mp_state == KVM_MP_STATE_HALTED && !ioctl(vcpu->fd, KVM_GET_REGS, &regs) &&
	       !(regs.rflags & RFLAGS_IF);
}

/* The highest bit of 256 that lie, 32 at a time, in registers of a local APIC from @at on. */
static uint32_t highest(const struct kvm_lapic_state *apic, unsigned int at)
{
	for (unsigned int i = 8; i--;) {
		uint32_t word = load_le32(&apic->regs[at + 16 * i]);

		if (word)
			return 32 * i + 31 - (unsigned int)__builtin_clz(word);
	}
	return 0;
}

/* The deadline of a TSC is in an MSR, which is not looked at. */
static bool timer_is_open(const struct kvm_lapic_state *apic)
{
	uint32_t lvt = load_le32(&apic->regs[APIC_LVT_TIMER]);

	return !(lvt & LVT_MASKED) &&
	       (lvt & LVT_TSC_DEADLINE || load_le32(&apic->regs[APIC_TIMER_FROM]));
}

static void record_halted(struct vcpu *vcpu)
{
	struct kvm_lapic_state apic = {0};
	struct kvm_mp_state mp;
	struct kvm_regs regs;
	bool arrived;

	if (ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp) || mp.mp_state != KVM_MP_STATE_HALTED ||
	    ioctl(vcpu->fd, KVM_GET_REGS, &regs))
		return;
	ioctl(vcpu->fd, KVM_GET_LAPIC, &apic);
	/* What irqchip_offer() gave KVM has arrived when KVM would take the next. */
	arrived = vcpu->run->ready_for_interrupt_injection;
	trace_put(TRACE_HALTED, TRACE_NO_DEVICE, !!(regs.rflags & RFLAGS_IF), 0,
		  highest(&apic, APIC_ISR) << 8 | highest(&apic, APIC_IRR), timer_is_open(&apic),
		  vcpu->kvm->split && vcpu->id == 0 && !arrived);
}

/* What the vCPU is at, in a number that is not 0; 0 when it has halted. */
static uint64_t digest(const struct vcpu *vcpu)
{
	uint64_t words[sizeof(struct kvm_regs) / sizeof(uint64_t)];
	struct kvm_mp_state mp;
	struct kvm_regs regs;
	uint64_t sum = 0;

	if (ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp) || mp.mp_state != KVM_MP_STATE_RUNNABLE ||
	    ioctl(vcpu->fd, KVM_GET_REGS, &regs))
		return 0;
	memcpy(words, &regs, sizeof(regs));
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		sum = (sum ^ words[i]) * 0x9e3779b97f4a7c15;
	return (sum ^ vcpu->id) | 1;
}

static void answer_sample(struct vcpu *vcpu)
{
	if (!atomic_load_explicit(&vcpu->sample_asked, memory_order_relaxed))
		return;
	atomic_store(&vcpu->sample_asked, false);
	atomic_store(&vcpu->sample, digest(vcpu));
}

static void answer_halted(struct vcpu *vcpu)
{
	if (trace_on() && atomic_load_explicit(&vcpu->halt, memory_order_relaxed) == HALT_ASKED)
		record_halted(vcpu);
	if (atomic_load_explicit(&vcpu->halt, memory_order_relaxed) == HALT_ASKED)
		atomic_store(&vcpu->halt, halted_for_good(vcpu) ? HALT_YES : HALT_NO);
}

/* Into the guest and out of it; the errno of KVM_RUN. */
static int enter(struct vcpu *vcpu)
{
	int errnum;

	trace_event(TRACE_ENTER, TRACE_NO_DEVICE, 0, 0, 0, 0, 0);
	errnum = ioctl(vcpu->fd, KVM_RUN, 0) ? errno : 0;
	exit_record(vcpu, errnum);
	burst_drain(vcpu->kvm);
	return errnum;
}

/*
 * Only with the next entry does KVM complete the last access: registers are whole then. An access
 * that KVM cuts into pieces comes back with the next one. That ends: KVM does the pieces of one
 * access, or 1,024 elements of a string, before it would enter the guest, which it must not.
 */
static void finish_access(struct vcpu *vcpu)
{
	bool more;

	do {
		__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
		more = !enter(vcpu);
	} while (more && exit_handle(vcpu));
}

/* Waits at the gate while the machine is paused. One that ends lets everybody through. */
static void go_in(struct kvm *kvm)
{
	lock_take(&kvm->park.lock);
	while (atomic_load(&kvm->pause) && !atomic_load(&kvm->stop))
		lock_wait(&kvm->park.lock, &kvm->park.moved, UINT64_MAX);
	kvm->park.inside++;
	lock_drop(&kvm->park.lock);
}

static void come_out(struct vcpu *vcpu)
{
	struct kvm *kvm = vcpu->kvm;

	finish_access(vcpu);
	lock_take(&kvm->park.lock);
	if (!--kvm->park.inside)
		pthread_cond_broadcast(&kvm->park.moved);
	lock_drop(&kvm->park.lock);
}

void vcpus_park(struct kvm *kvm)
{
	for (unsigned int i = 0; i < kvm->vcpu_count; i++)
		vcpu_kick(&kvm->vcpus[i]);
	lock_take(&kvm->park.lock);
	while (kvm->park.inside)
		lock_wait(&kvm->park.lock, &kvm->park.moved, UINT64_MAX);
	lock_drop(&kvm->park.lock);
}

void vcpus_wake(struct kvm *kvm)
{
	lock_take(&kvm->park.lock);
	pthread_cond_broadcast(&kvm->park.moved);
	lock_drop(&kvm->park.lock);
}

static void park(struct vcpu *vcpu)
{
	come_out(vcpu);
	go_in(vcpu->kvm);
	/* So that the guest's watchdog forgives the gap; fails when the guest has no kvmclock. */
	ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, 0);
}

/*
 * One turn. What others want of this vCPU they write first, and then kick: so it is looked at
 * behind the reset of immediate_exit, and a kick that comes later ends KVM_RUN.
 */
static bool turn(struct vcpu *vcpu)
{
	struct kvm *kvm = vcpu->kvm;
	int errnum;

	__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	if (atomic_load(&kvm->stop))
		return false;
	if (atomic_load(&kvm->pause)) {
		park(vcpu);
		return true;
	}
	answer_sample(vcpu);
	if (kvm->split && vcpu == &kvm->vcpus[0])
		irqchip_offer(vcpu);
	errnum = enter(vcpu);
	if (!errnum)
		return exit_handle(vcpu);
	if (errnum == EINTR || errnum == EAGAIN) {
		answer_halted(vcpu);
		return true;
	}
	exit_run_failed(vcpu, errnum);
	return false;
}

/* From one start of the machine to the next stop. */
static void run_round(struct vcpu *vcpu)
{
	go_in(vcpu->kvm);
	if (!vcpu->first_entry)
		vcpu->first_entry = clock_now();
	while (turn(vcpu))
		;
	come_out(vcpu);
}

/* Waits for the next round; false: there is none. */
static bool await_round(struct vcpu *vcpu)
{
	struct kvm *kvm = vcpu->kvm;
	bool more;

	lock_take(&kvm->park.lock);
	while (kvm->park.round == vcpu->round && !kvm->park.quit)
		lock_wait(&kvm->park.lock, &kvm->park.moved, UINT64_MAX);
	more = kvm->park.round != vcpu->round;
	vcpu->round = kvm->park.round;
	lock_drop(&kvm->park.lock);
	return more;
}

static void end_round(struct kvm *kvm)
{
	lock_take(&kvm->park.lock);
	if (!--kvm->park.running)
		pthread_cond_broadcast(&kvm->park.moved);
	lock_drop(&kvm->park.lock);
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	struct err err;
	char name[16];
	int ret;

	trace_enter(vcpu->ring);
	snprintf(name, sizeof(name), "vcpu %u", vcpu->id);
	pthread_setname_np(pthread_self(), name);
	ret = sandbox_thread(SANDBOX_VCPU, &err);
	while (await_round(vcpu)) {
		if (!ret)
			run_round(vcpu);
		else
			machine_end(vcpu->kvm->machine, END_HOST, 0, "%s: %s", name, err.text);
		end_round(vcpu->kvm);
	}
	return NULL;
}

/* From its first instruction on the thread runs on host CPU @cpu; -1: anywhere. */
static void pin(pthread_attr_t *attr, int cpu)
{
	size_t size = CPU_ALLOC_SIZE(HOST_CPUS_MAX);
	cpu_set_t *set;

	if (cpu < 0)
		return;
	set = CPU_ALLOC(HOST_CPUS_MAX);
	if (!set)
		return;
	CPU_ZERO_S(size, set);
	CPU_SET_S((size_t)cpu, size, set);
	pthread_attr_setaffinity_np(attr, size, set);
	CPU_FREE(set);
}

int vcpu_ready(struct vcpu *vcpu, struct err *err)
{
	const struct sigaction kick = {.sa_handler = on_kick};
	pthread_attr_t attr;
	sigset_t all, old;
	int ret;

	if (vcpu->threaded)
		return 0;
	vcpu->round = vcpu->kvm->park.round;
	sigaction(KICK_SIGNAL, &kick, NULL);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, VCPU_STACK);
	pin(&attr, topology_pin(vcpu->kvm->topology, vcpu->id));
	/* Signals are the control thread's; a vCPU hears of nothing but its kick. */
	sigfillset(&all);
	sigdelset(&all, KICK_SIGNAL);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGABRT);
	sigdelset(&all, SIGSYS);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = pthread_create(&vcpu->thread, &attr, vcpu_thread, vcpu);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (ret)
		return err_sys(err, ret, "cannot start the thread of vCPU %u", vcpu->id);
	vcpu->threaded = true;
	return 0;
}

void vcpu_kick(struct vcpu *vcpu)
{
	if (!atomic_load(&vcpu->started))
		return;
	/* KVM reads it on another thread: a plain byte, written whole. */
	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pthread_kill(vcpu->thread, KICK_SIGNAL);
}

void vcpus_start(struct kvm *kvm)
{
	for (unsigned int i = 0; i < kvm->vcpu_count; i++)
		atomic_store(&kvm->vcpus[i].started, true);
	lock_take(&kvm->park.lock);
	kvm->park.round++;
	kvm->park.running = kvm->vcpu_count;
	pthread_cond_broadcast(&kvm->park.moved);
	lock_drop(&kvm->park.lock);
}

void vcpus_rest(struct kvm *kvm)
{
	for (unsigned int i = 0; i < kvm->vcpu_count; i++)
		vcpu_kick(&kvm->vcpus[i]);
	lock_take(&kvm->park.lock);
	pthread_cond_broadcast(&kvm->park.moved);
	while (kvm->park.running)
		lock_wait(&kvm->park.lock, &kvm->park.moved, UINT64_MAX);
	lock_drop(&kvm->park.lock);
	for (unsigned int i = 0; i < kvm->vcpu_count; i++)
		atomic_store(&kvm->vcpus[i].started, false);
}

void vcpus_join(struct kvm *kvm)
{
	lock_take(&kvm->park.lock);
	kvm->park.quit = true;
	pthread_cond_broadcast(&kvm->park.moved);
	lock_drop(&kvm->park.lock);
	for (unsigned int i = 0; i < kvm->vcpu_count; i++) {
		if (kvm->vcpus[i].threaded)
			pthread_join(kvm->vcpus[i].thread, NULL);
		kvm->vcpus[i].threaded = false;
	}
	kvm->park.quit = false;
}

uint64_t vcpu_cpu_time(const struct vcpu *vcpu)
{
	struct timespec t;
	clockid_t clock;

	if (!atomic_load(&vcpu->started) || pthread_getcpuclockid(vcpu->thread, &clock) ||
	    clock_gettime(clock, &t))
		return 0;
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}
