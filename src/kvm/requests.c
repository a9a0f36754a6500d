/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What skep asks of KVM while a guest runs, by thread: the sandbox refuses the rest.
 */
#include <linux/kvm.h>

#include "skep/bits.h"
#include "skep/sandbox_table.h"

#define REQUEST(what, who, reason)                                                           \
	{                                                                                    \
		.name = #what, .kinds = (who), .request = (uint32_t)(what), .why = (reason), \
	}

/* Whoever may touch a device. */
#define DEVICES (KIND_LOOPS | KIND_VCPU)
/* A guest that programs a device, and a reset. */
#define GUEST (KIND_CONTROL | KIND_VCPU)

const struct sandbox_request kvm_requests[] = {
	REQUEST(KVM_RUN, KIND_VCPU, "the guest"),
	REQUEST(KVM_INTERRUPT, KIND_VCPU, "interrupts of the 8259A pair"),
	REQUEST(KVM_KVMCLOCK_CTRL, KIND_VCPU, "tells the guest's watchdog of a pause"),
	REQUEST(KVM_GET_MP_STATE, GUEST, "whether the vCPU has halted for good"),
	REQUEST(KVM_TRANSLATE, GUEST, "the instruction that KVM stumbled over"),
	REQUEST(KVM_GET_REGS, GUEST, "the same, and whether interrupts are off"),
	REQUEST(KVM_GET_SREGS, GUEST, "the same; a reset starts from KVM's own"),
	REQUEST(KVM_GET_LAPIC, KIND_VCPU, "whether anything can wake the vCPU"),
	REQUEST(KVM_GET_MSRS, GUEST, "registers, for who wants to know why a guest died"),
	REQUEST(KVM_GET_VCPU_EVENTS, GUEST, "the same"),
	REQUEST(KVM_GET_DEBUGREGS, GUEST, "the same"),
	REQUEST(KVM_SET_GUEST_DEBUG, GUEST, "the same: a second life, step by step"),

	REQUEST(KVM_IRQ_LINE, DEVICES, "a device's interrupt wire"),
	REQUEST(KVM_SIGNAL_MSI, DEVICES, "a device's message"),
	REQUEST(KVM_SET_GSI_ROUTING, GUEST, "messages that a guest programs"),
	REQUEST(KVM_IRQFD, GUEST, "the same"),
	REQUEST(KVM_IOEVENTFD, GUEST, "doorbells move with their BAR"),
	REQUEST(KVM_REGISTER_COALESCED_MMIO, KIND_CONTROL, "a burst of writes to a port"),
	REQUEST(KVM_UNREGISTER_COALESCED_MMIO, KIND_CONTROL, "its end"),
	REQUEST(KVM_GET_CLOCK, KIND_CONTROL, "kvmclock stands still in a pause"),
	REQUEST(KVM_SET_CLOCK, KIND_CONTROL, "the same"),

	REQUEST(KVM_CREATE_VM, KIND_CONTROL, "a reset makes KVM's part of the machine anew"),
	REQUEST(KVM_SET_IDENTITY_MAP_ADDR, KIND_CONTROL, "the same"),
	REQUEST(KVM_SET_TSS_ADDR, KIND_CONTROL, "the same"),
	REQUEST(KVM_SET_USER_MEMORY_REGION, KIND_CONTROL, "the same"),
	REQUEST(KVM_ENABLE_CAP, KIND_CONTROL, "the same: the split interrupt chips"),
	REQUEST(KVM_CREATE_IRQCHIP, KIND_CONTROL, "the same: KVM's own"),
	REQUEST(KVM_CREATE_PIT2, KIND_CONTROL, "the same"),
	REQUEST(KVM_GET_IRQCHIP, KIND_CONTROL, "the same"),
	REQUEST(KVM_SET_IRQCHIP, KIND_CONTROL, "the same"),
	REQUEST(KVM_CHECK_EXTENSION, KIND_CONTROL, "the same"),
	REQUEST(KVM_GET_SUPPORTED_CPUID, KIND_CONTROL, "the same: processors"),
	REQUEST(KVM_GET_VCPU_MMAP_SIZE, KIND_CONTROL, "the same"),
	REQUEST(KVM_CREATE_VCPU, KIND_CONTROL, "the same"),
	REQUEST(KVM_SET_CPUID2, KIND_CONTROL, "the same"),
	REQUEST(KVM_SET_MSRS, KIND_CONTROL, "the same"),
	REQUEST(KVM_SET_SREGS, KIND_CONTROL, "the same"),
	REQUEST(KVM_SET_REGS, KIND_CONTROL, "the same"),
};

const size_t kvm_requests_count = ARRAY_SIZE(kvm_requests);
