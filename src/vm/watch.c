/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Finds machines whose vCPUs have all halted with interrupts off: they can never wake.
 *
 * KVM keeps halts to itself, so the vCPUs are asked: WATCH_FIRST after they were last seen busy,
 * then half as often each time, so that an idle machine is left in peace; or, where somebody waits
 * for a verdict, every WATCH_CLOSE. Two rounds must agree, for a vCPU that was seen halted may be
 * woken by another that was asked later. Control thread.
 */
#include <errno.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "vm_priv.h"

#define WATCH_CLOSE  (25 * NS_PER_MS)
#define WATCH_FIRST  (40 * NS_PER_MS)
#define WATCH_LAST   (64 * NS_PER_S)
#define WATCH_ANSWER (5 * NS_PER_MS)
#define WATCH_TRIES  4 /* times WATCH_ANSWER, for a busy host */
#define WATCH_ROUNDS 2

static void watch_in(struct vm *vm, uint64_t ns)
{
	io_timeout(vm->machine.control, &vm->watch.io, clock_now() + ns);
}

static void watch_next(struct vm *vm)
{
	struct vm_watch *w = &vm->watch;
	const uint64_t exits = kvm_exits(vm->kvm), cpu = kvm_cpu_time(vm->kvm);
	/* A guest that computes makes no exits. */
	const bool busy = exits != w->exits || cpu - w->cpu > w->every / 8;

	w->every = w->closely ? WATCH_CLOSE : busy ? WATCH_FIRST : MIN(2 * w->every, WATCH_LAST);
	w->exits = exits;
	w->cpu = cpu;
	w->round = 0;
	watch_in(vm, w->every);
}

static void ask(struct vm *vm)
{
	kvm_ask_halted(vm->kvm);
	vm->watch.round++;
	vm->watch.tries = 0;
	watch_in(vm, WATCH_ANSWER);
}

/* All have answered, or had the time to. */
static bool answered(struct vm *vm)
{
	return kvm_all_halted(vm->kvm) || !kvm_halt_asked(vm->kvm) ||
	       ++vm->watch.tries >= WATCH_TRIES;
}

static void on_watch(struct io *io, int result)
{
	struct vm *vm = container_of(io, struct vm, watch.io);
	struct vm_watch *w = &vm->watch;

	if (result != -ETIME)
		return;
	if (w->round && !vm->paused && !answered(vm))
		watch_in(vm, WATCH_ANSWER);
	else if (vm->paused || (w->round && !kvm_all_halted(vm->kvm)))
		watch_next(vm);
	else if (w->round < WATCH_ROUNDS)
		ask(vm);
	else
		machine_end(&vm->machine, END_HALTED, 0,
			    "the guest hangs: every vCPU has halted with interrupts off");
}

void vm_watch_start(struct vm *vm)
{
	vm->watch.io.done = on_watch;
	vm->watch.every = WATCH_FIRST;
	vm->watch.exits = kvm_exits(vm->kvm);
	vm->watch.cpu = kvm_cpu_time(vm->kvm);
	vm->watch.round = 0;
	watch_in(vm, vm->watch.closely ? WATCH_CLOSE : WATCH_FIRST);
}

void vm_watch_stop(struct vm *vm)
{
	io_cancel(vm->machine.control, &vm->watch.io);
	io_drain(vm->machine.control, &vm->watch.io);
}

void vm_watch_closely(struct vm *vm)
{
	vm->watch.closely = true;
}
