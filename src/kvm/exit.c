/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a vCPU does with each exit to user space. Runs on the vCPU's thread.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm_priv.h"
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/clock.h"
#include "skep/device.h"
#include "skep/disasm.h"
#include "skep/gmem.h"
#include "skep/irq.h"

/* Behind a reset the processor starts here; where KVM has reset the vCPU, it says nothing. */
#define RESET_RIP 0xfff0

static const char *const names[EXIT_REASONS] = {
	[KVM_EXIT_UNKNOWN] = "unknown",
	[KVM_EXIT_EXCEPTION] = "exception",
	[KVM_EXIT_IO] = "io",
	[KVM_EXIT_HYPERCALL] = "hypercall",
	[KVM_EXIT_DEBUG] = "debug",
	[KVM_EXIT_HLT] = "hlt",
	[KVM_EXIT_MMIO] = "mmio",
	[KVM_EXIT_IRQ_WINDOW_OPEN] = "irq_window_open",
	[KVM_EXIT_SHUTDOWN] = "shutdown",
	[KVM_EXIT_FAIL_ENTRY] = "fail_entry",
	[KVM_EXIT_INTR] = "intr",
	[KVM_EXIT_SET_TPR] = "set_tpr",
	[KVM_EXIT_TPR_ACCESS] = "tpr_access",
	[KVM_EXIT_NMI] = "nmi",
	[KVM_EXIT_INTERNAL_ERROR] = "internal_error",
	[KVM_EXIT_SYSTEM_EVENT] = "system_event",
	[KVM_EXIT_IOAPIC_EOI] = "ioapic_eoi",
	[KVM_EXIT_HYPERV] = "hyperv",
	[KVM_EXIT_X86_RDMSR] = "rdmsr",
	[KVM_EXIT_X86_WRMSR] = "wrmsr",
	[KVM_EXIT_DIRTY_RING_FULL] = "dirty_ring_full",
	[KVM_EXIT_X86_BUS_LOCK] = "bus_lock",
};

const char *kvm_exit_name(unsigned int reason)
{
	return reason < EXIT_REASONS && names[reason] ? names[reason] : "other";
}

/* Of the access, or whatever else the exit is about. */
static void describe(const struct kvm_run *run, struct trace_event *e)
{
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		e->size = run->io.size;
		e->a = MIN(run->io.count, (uint32_t)UINT16_MAX) << TRACE_EXIT_COUNT_SHIFT;
		e->a |= run->io.direction == KVM_EXIT_IO_OUT ? TRACE_EXIT_WRITE : 0;
		e->b = run->io.port;
		break;
	case KVM_EXIT_MMIO:
		e->size = (uint8_t)MIN(run->mmio.len, 8U);
		e->a = 1U << TRACE_EXIT_COUNT_SHIFT | (run->mmio.is_write ? TRACE_EXIT_WRITE : 0);
		e->b = run->mmio.phys_addr;
		break;
	case KVM_EXIT_IOAPIC_EOI:
		e->b = run->eoi.vector;
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		e->b = run->internal.suberror;
		break;
	case KVM_EXIT_SYSTEM_EVENT:
		e->b = run->system_event.type;
		break;
	default:
		break;
	}
}

void exit_record(struct vcpu *vcpu, int errnum)
{
	const struct kvm_run *run = vcpu->run;
	struct trace_event e = {
		.time = clock_now(),
		.kind = TRACE_EXIT,
		.sub = KVM_EXIT_INTR,
		.device = TRACE_NO_DEVICE,
		.c = vcpu->kvm->syncs ? run->s.regs.regs.rip : 0,
	};

	/* Where KVM_RUN fails, what stands there is the reason of the time before. */
	if (!errnum) {
		e.sub = (uint8_t)MIN(run->exit_reason, (uint32_t)UINT8_MAX);
		describe(run, &e);
	}
	/* Steps would leave no room for others. */
	if (e.sub == KVM_EXIT_DEBUG)
		return;
	trace_exits_add(&vcpu->last, &e);
	if (trace_on())
		trace_put_event(&e);
}

static void handle_io(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct bus *ports = vcpu->kvm->machine->ports;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	vcpu->port_exits[run->io.port]++;

	if (run->io.direction == KVM_EXIT_IO_IN) {
		bus_read_string(ports, run->io.port, run->io.size, data, run->io.count);
		return;
	}
	bus_write_string(ports, run->io.port, run->io.size, data, run->io.count);
	if (run->io.size == 1)
		burst_note(vcpu->kvm, run->io.port);
}

static void handle_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct bus *mmio = vcpu->kvm->machine->mmio;
	unsigned int len = MIN(run->mmio.len, 8U);
	uint64_t v = 0;

	if (run->mmio.is_write) {
		memcpy(&v, run->mmio.data, len);
		bus_write(mmio, run->mmio.phys_addr, len, v);
	} else {
		v = bus_read(mmio, run->mmio.phys_addr, len);
		memcpy(run->mmio.data, &v, len);
	}
}

static uint64_t rip_of(const struct vcpu *vcpu)
{
	struct kvm_regs regs;

	if (vcpu->kvm->syncs)
		return vcpu->run->s.regs.regs.rip;
	return ioctl(vcpu->fd, KVM_GET_REGS, &regs) ? 0 : regs.rip;
}

static void handle_shutdown(struct vcpu *vcpu)
{
	uint64_t rip = rip_of(vcpu);

	vcpu->shut_down = true;
	if (rip == RESET_RIP)
		machine_end(vcpu->kvm->machine, END_TRIPLE_FAULT, 0,
			    "vCPU %u had a triple fault (this host's KVM has reset its registers)",
			    vcpu->id);
	else
		machine_end(vcpu->kvm->machine, END_TRIPLE_FAULT, 0,
			    "vCPU %u had a triple fault at RIP %llx", vcpu->id,
			    (unsigned long long)rip);
}

static void handle_system_event(struct vcpu *vcpu)
{
	struct machine *m = vcpu->kvm->machine;

	switch (vcpu->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		machine_end(m, END_POWEROFF, 0, "the guest powered off");
		break;
	case KVM_SYSTEM_EVENT_RESET:
		machine_end(m, END_RESET, 0, "the guest asked for a reset");
		break;
	default:
		machine_end(m, END_STUCK, 0, "KVM reports a crash of the guest (system event %u)",
			    vcpu->run->system_event.type);
		break;
	}
}

/* The bytes at the vCPU's RIP: KVM's own copy where it gives one, else from guest memory. */
static size_t fetch_instruction(const struct vcpu *vcpu, uint64_t rip, uint8_t *bytes, size_t room)
{
	const struct kvm_run *run = vcpu->run;
	struct kvm_sregs sregs;
	struct kvm_translation tr;
	size_t n;

	if (run->internal.ndata >= 3 &&
	    run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES) {
		n = MIN((size_t)run->emulation_failure.insn_size, room);
		n = MIN(n, sizeof(run->emulation_failure.insn_bytes));
		memcpy(bytes, run->emulation_failure.insn_bytes, n);
		return n;
	}
	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return 0;
	tr.linear_address = sregs.cs.base + rip;
	if (ioctl(vcpu->fd, KVM_TRANSLATE, &tr) || !tr.valid)
		return 0;
	n = MIN(room, KIB(4) - (tr.physical_address & (KIB(4) - 1)));
	return gmem_read(vcpu->kvm->machine->mem, tr.physical_address, bytes, n) ? 0 : n;
}

static unsigned int code_bits(const struct vcpu *vcpu)
{
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return 64;
	return sregs.cs.l ? 64 : sregs.cs.db ? 32 : 16;
}

static void emulation_failed(struct vcpu *vcpu)
{
	uint64_t rip = rip_of(vcpu);
	uint8_t bytes[INSN_MAX];
	char text[128];
	size_t n = fetch_instruction(vcpu, rip, bytes, sizeof(bytes));

	insn_describe(code_bits(vcpu), bytes, n, rip, text, sizeof(text));
	machine_end(vcpu->kvm->machine, END_STUCK, 0,
		    "vCPU %u met an instruction that this host's KVM does not emulate, at RIP "
		    "%llx: %s%s",
		    vcpu->id, (unsigned long long)rip, text,
		    !vcpu->kvm->emulates
			    ? ""
			    : "; this host's kvm_pvm emulates guest kernels, and stock "
			      "ones do not run on it: use another host, or tools/testbed");
}

static void handle_internal_error(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;

	switch (run->internal.suberror) {
	case KVM_INTERNAL_ERROR_EMULATION:
		emulation_failed(vcpu);
		break;
	case KVM_INTERNAL_ERROR_DELIVERY_EV:
		machine_end(vcpu->kvm->machine, END_STUCK, 0,
			    "vCPU %u: delivering an interrupt or exception led to an exit that KVM "
			    "cannot handle, at RIP %llx; its tables lie outside memory",
			    vcpu->id, (unsigned long long)rip_of(vcpu));
		break;
	default:
		machine_end(vcpu->kvm->machine, END_STUCK, 0,
			    "vCPU %u: KVM met an internal error of kind %u at RIP %llx", vcpu->id,
			    run->internal.suberror, (unsigned long long)rip_of(vcpu));
		break;
	}
}

static bool handle(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	unsigned int reason = run->exit_reason;

	switch (reason) {
	case KVM_EXIT_IO:
		handle_io(vcpu);
		return true;
	case KVM_EXIT_MMIO:
		handle_mmio(vcpu);
		return true;
	case KVM_EXIT_IOAPIC_EOI:
		irqs_eoi(vcpu->kvm->machine->irqs, run->eoi.vector);
		return true;
	case KVM_EXIT_INTR:
	case KVM_EXIT_HLT:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return true;
	case KVM_EXIT_SHUTDOWN:
		handle_shutdown(vcpu);
		return false;
	case KVM_EXIT_SYSTEM_EVENT:
		handle_system_event(vcpu);
		return false;
	case KVM_EXIT_INTERNAL_ERROR:
		handle_internal_error(vcpu);
		return false;
	case KVM_EXIT_FAIL_ENTRY:
		machine_end(
			vcpu->kvm->machine, END_STUCK, 0,
			"vCPU %u could not enter the guest: the processor says %llx, at RIP %llx",
			vcpu->id, (unsigned long long)run->fail_entry.hardware_entry_failure_reason,
			(unsigned long long)rip_of(vcpu));
		return false;
	default:
		machine_end(vcpu->kvm->machine, END_STUCK, 0,
			    "vCPU %u left the guest for a reason skep does not know: %s (%u)",
			    vcpu->id, kvm_exit_name(reason), reason);
		return false;
	}
}

/* The first vCPU at whose exit the machine ended did it. */
static void blame(struct vcpu *vcpu)
{
	int none = -1;

	atomic_compare_exchange_strong(&vcpu->kvm->culprit, &none, (int)vcpu->id);
}

bool exit_handle(struct vcpu *vcpu)
{
	const bool going = !atomic_load_explicit(&vcpu->kvm->stop, memory_order_relaxed);
	bool again;

	if (!vcpu->first_exit)
		vcpu->first_exit = clock_now();
	vcpu->exits[MIN(vcpu->run->exit_reason, EXIT_REASONS - 1U)]++;
	/* Only this thread writes it. */
	atomic_store_explicit(&vcpu->all_exits,
			      atomic_load_explicit(&vcpu->all_exits, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	replay_keep(vcpu);
	if (vcpu->kvm->replay.on)
		replay_note(vcpu);
	again = (vcpu->kvm->replay.on && vcpu->run->exit_reason == KVM_EXIT_DEBUG) || handle(vcpu);
	if (!again || (going && atomic_load_explicit(&vcpu->kvm->stop, memory_order_relaxed)))
		blame(vcpu);
	return again;
}

void exit_run_failed(struct vcpu *vcpu, int errnum)
{
	/* Memory that the host does not have, or has lost, is not the guest's doing. */
	const enum end_kind kind = errnum == ENOMEM || errnum == EHWPOISON ? END_HOST : END_STUCK;

	machine_end(vcpu->kvm->machine, kind, 0, "KVM cannot run vCPU %u: %s", vcpu->id,
		    strerrordesc_np(errnum));
}
