/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The second life of a machine whose first ended in a triple fault that left no registers: kvm_amd
 * resets the vCPU before anybody can look (the VMCB is undefined behind a shutdown, so KVM does an
 * INIT).
 *
 * The vCPU's registers are kept at every exit, and from shortly before the exit at which the first
 * life ended on, it runs one instruction at a time, for a bounded number of instructions and time.
 * So behind the fault there are the registers from before the last instruction, or, where that was
 * not reached by steps, from the last exit. On the vCPU's thread, while it runs.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm_priv.h"
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/cpu_state.h"
#include "skep/device.h"
#include "skep/gmem.h"

#define STEPS_MAX 5000000U
#define STEPS_FOR (4 * NS_PER_S)

/* Lives differ by how often a guest polls for something; so stepping begins this much sooner. */
#define AHEAD_LEAST 64U
#define AHEAD_PART  8U

/* Breakpoints of the processor, and after how many steps it is looked where they belong. */
#define HANDLERS   4U
#define LOOK_AGAIN 16U

void replay_keep(struct vcpu *vcpu)
{
	const uint32_t reason = vcpu->run->exit_reason;

	if (reason == KVM_EXIT_SHUTDOWN || !vcpu->kvm->syncs)
		return;
	vcpu->then = vcpu->run->s.regs.regs;
	vcpu->has_then = true;
}

static void stop_stepping(const struct vcpu *vcpu)
{
	const struct kvm_guest_debug debug = {.control = 0};

	ioctl(vcpu->fd, KVM_SET_GUEST_DEBUG, &debug);
}

/* SDM volume 3B, 18.2.4: DR7 has bits for each breakpoint, and zeroes for "executed". */
#define DR7_GLOBAL(n) (UINT64_C(2) << (2 * (n)))
#define DR7_EXACT     UINT64_C(0x600)

static void step(const struct vcpu *vcpu, const uint64_t *handlers)
{
	struct kvm_guest_debug debug = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP};

	for (unsigned int i = 0; i < HANDLERS; i++)
		if (handlers[i]) {
			debug.control |= KVM_GUESTDBG_USE_HW_BP;
			debug.arch.debugreg[i] = handlers[i];
			debug.arch.debugreg[7] |= DR7_EXACT | DR7_GLOBAL(i);
		}
	ioctl(vcpu->fd, KVM_SET_GUEST_DEBUG, &debug);
}

/* Where the gate of @vector leads; 0: it cannot be told. SDM volume 3A, 6.11 and 6.14.1. */
static uint64_t handler_of(const struct vcpu *vcpu, const struct kvm_sregs *s, unsigned int vector)
{
	const unsigned int size = s->efer & EFER_LMA ? 16 : 8;
	struct kvm_translation tr = {.linear_address = s->idt.base + (uint64_t)vector * size};
	uint64_t raw[2] = {0, 0};

	if (!(s->cr0 & CR0_PE) || (vector + 1) * size > s->idt.limit + 1U ||
	    ioctl(vcpu->fd, KVM_TRANSLATE, &tr) || !tr.valid ||
	    gmem_read(vcpu->kvm->machine->mem, tr.physical_address, raw, size))
		return 0;
	return (raw[0] & 0xffff) | raw[0] >> 48 << 16 | raw[1] << 32;
}

/*
 * The processor clears TF where it enters a handler, so steps would end there: breakpoints on those
 * that matter begin them anew. One on the very instruction would stop there for ever.
 */
static void find_handlers(const struct vcpu *vcpu, const struct replay *r, uint64_t *handlers)
{
	const unsigned int vectors[HANDLERS] = {
		14, 13, 8, vcpu->offered < 0 ? 6 : (unsigned int)vcpu->offered};
	const uint64_t here = r->regs.rip + (r->sregs.cs.l ? 0 : r->sregs.cs.base);

	for (unsigned int i = 0; i < HANDLERS; i++) {
		handlers[i] = handler_of(vcpu, &r->sregs, vectors[i]);
		if (handlers[i] == here)
			handlers[i] = 0;
	}
}

static void note(struct vcpu *vcpu, struct replay *r, bool stepped)
{
	if (ioctl(vcpu->fd, KVM_GET_REGS, &r->regs) || ioctl(vcpu->fd, KVM_GET_SREGS, &r->sregs))
		return;
	r->has = true;
	r->stepped = stepped;
}

/* Behind a step. */
static void go_on(struct vcpu *vcpu, struct replay *r)
{
	const bool entered = vcpu->run->debug.arch.dr6 & ((1U << HANDLERS) - 1);
	uint64_t handlers[HANDLERS];

	if (++r->steps == STEPS_MAX || clock_now() > r->until) {
		/* It goes on as before, and registers are those of exits again. */
		stop_stepping(vcpu);
		return;
	}
	if (!entered && !r->entered && r->steps % LOOK_AGAIN && r->idt.base == r->sregs.idt.base &&
	    r->idt.limit == r->sregs.idt.limit)
		return;
	r->idt = r->sregs.idt;
	find_handlers(vcpu, r, handlers);
	if (entered || memcmp(handlers, r->handlers, sizeof(handlers)) != 0)
		step(vcpu, handlers);
	memcpy(r->handlers, handlers, sizeof(handlers));
	r->entered = entered;
}

void replay_note(struct vcpu *vcpu)
{
	struct replay *r = &vcpu->kvm->replay;
	const uint32_t reason = vcpu->run->exit_reason;
	const uint64_t exits = atomic_load_explicit(&vcpu->all_exits, memory_order_relaxed);

	if (vcpu->id != r->vcpu || reason == KVM_EXIT_SHUTDOWN)
		return;
	note(vcpu, r, reason == KVM_EXIT_DEBUG);
	if (reason == KVM_EXIT_DEBUG) {
		go_on(vcpu, r);
	} else if (!r->until && exits - vcpu->born >= r->from) {
		r->until = clock_now() + STEPS_FOR;
		step(vcpu, r->handlers);
	}
}

bool kvm_can_replay(const struct kvm *kvm)
{
	const int culprit = atomic_load(&kvm->culprit);

	if (culprit < 0)
		return false;
	for (unsigned int i = 0; i < kvm->vcpu_count; i++)
		if ((int)i != culprit && kvm->vcpus[i].all_exits != kvm->vcpus[i].born)
			return false;
	return true;
}

void kvm_replay(struct kvm *kvm)
{
	const unsigned int culprit = (unsigned int)atomic_load(&kvm->culprit);
	const struct vcpu *vcpu = &kvm->vcpus[culprit];
	const uint64_t exits = vcpu->all_exits - vcpu->born;
	const uint64_t ahead = MAX(exits / AHEAD_PART, (uint64_t)AHEAD_LEAST);

	kvm->vcpus[culprit].last.count = 0;
	kvm->replay = (struct replay){
		.on = true,
		.vcpu = culprit,
		.from = exits > ahead ? exits - ahead : 0,
	};
}

bool kvm_replayed(const struct kvm *kvm, uint64_t *steps)
{
	const struct vcpu *vcpu = &kvm->vcpus[kvm->replay.vcpu];

	*steps = kvm->replay.steps;
	return kvm->replay.has && vcpu->shut_down;
}
