/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A second life of a machine that ended in a triple fault, to see its last instruction: for hosts
 * whose KVM leaves no registers behind one (kvm_amd).
 *
 * It is a reset into empty memory, with consoles that neither say nor take anything. That is sound
 * where the guest finds what it found the first time, so machines that changed something outside
 * have none, and neither have those in which several vCPUs ran, whose order nobody can repeat. Time
 * differs; whether the second life came to the same end is looked at, not taken for granted.
 *
 * Control thread, between vm_run() and vm_destroy().
 */
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/screen.h"
#include "vm_priv.h"

/* Seconds: longer lives are not lived again, and shorter ones may take so much longer. */
#define LONGEST  20
#define PATIENCE 10

int vm_can_replay(const struct vm *vm, struct err *err)
{
	const struct machine *m = &vm->machine;

	if (vm->ending.kind != END_TRIPLE_FAULT)
		return err_set(err, EINVAL, "it did not end in a triple fault");
	if (!kvm_can_replay(vm->kvm))
		return err_set(err, EOPNOTSUPP, "more than one vCPU ran");
	if (vm->report.ended - vm->report.loaded > LONGEST * NS_PER_S)
		return err_set(err, EOPNOTSUPP, "the first took longer than %d s", LONGEST);
	if (vm->report.resets)
		return err_set(err, EOPNOTSUPP, "it had gone through a reset");
	if (m->trace)
		return err_set(err, EOPNOTSUPP, "its trace would be mixed with that of the first");
	if (m->screen && !m->screen->read_at_end)
		return err_set(err, EOPNOTSUPP, "its screen is on a terminal");
	for (unsigned int i = 0; i < vm->device_count; i++)
		if (vm->devices[i]->class->outside)
			return err_set(err, EOPNOTSUPP,
				       "%s (%s) reaches what the first life may have changed",
				       vm->devices[i]->id, vm->devices[i]->class->name);
	return 0;
}

static int empty_memory(struct gmem *mem)
{
	const struct gmem_region *regions;
	unsigned int n = gmem_regions(mem, &regions);
	int ret = 0;

	for (unsigned int i = 0; !ret && i < n; i++)
		if (gmem_discard(mem, regions[i].gpa, regions[i].size))
			ret = gmem_fill(mem, regions[i].gpa, 0, regions[i].size);
	return ret;
}

static int live(struct vm *vm, struct ending *ending, struct err *err)
{
	const struct vm_options options = vm->options;
	const struct vm_report report = vm->report;
	int ret;

	vm->options.on_reset = ON_RESET_EXIT;
	vm->options.timeout = (report.ended - report.loaded) / NS_PER_S + PATIENCE;
	atomic_store(&vm->reset_asked, false);
	atomic_store(&vm->ending_taken, false);
	ret = vm_reset(vm, err);
	if (!ret)
		ret = vm_run(vm, ending, err);
	vm->options = options;
	vm->report = report;
	return ret;
}

int vm_replay(struct vm *vm, struct vm_replay *replay, struct err *err)
{
	const struct ending first = vm->ending;
	struct ending second;
	int ret = vm_can_replay(vm, err);

	if (ret)
		return ret;
	if (empty_memory(vm->machine.mem))
		return err_set(err, ENOMEM, "guest memory cannot be emptied");
	vm->machine.silent = true;
	kvm_replay(vm->kvm);
	ret = live(vm, &second, err);
	vm->machine.silent = false;
	vm->ending = first;
	if (ret)
		return ret;
	if (second.kind != END_TRIPLE_FAULT || !kvm_replayed(vm->kvm, &replay->steps))
		return err_set(err, EAGAIN, "this time the end was another: %s", second.reason);
	return 0;
}
