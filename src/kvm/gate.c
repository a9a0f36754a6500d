/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a vector leads on a vCPU: its entry of the interrupt table, as the processor would find it
 * (SDM volume 3, sections 6.10 to 6.14; section 20.1.4 for real mode).
 */
#include <string.h>
#include <sys/ioctl.h>

#include "kvm_priv.h"
#include "skep/bits.h"
#include "skep/device.h"
#include "skep/gmem.h"

#define CR0_PE   1U
#define EFER_LMA (1U << 10)
#define FLAGS_IF (1U << 9)

#define GATE_PRESENT (UINT64_C(1) << 47)

/* Guest memory at a linear address; an entry may lie on two pages. */
static bool read_linear(const struct vcpu *vcpu, uint64_t at, void *to, size_t len)
{
	while (len) {
		size_t n = MIN(len, KIB(4) - at % KIB(4));
		struct kvm_translation tr = {.linear_address = at};

		if (ioctl(vcpu->fd, KVM_TRANSLATE, &tr) || !tr.valid ||
		    gmem_read(vcpu->kvm->machine->mem, tr.physical_address, to, n))
			return false;
		at += n;
		to = (char *)to + n;
		len -= n;
	}
	return true;
}

static void decode(const struct kvm_sregs *sregs, const uint64_t words[2], struct kvm_gate *gate)
{
	const uint64_t low = words[0];

	if (!gate->protected_mode) {
		gate->handler = (low >> 16 & 0xffff) * 16 + (low & 0xffff);
		gate->present = (uint32_t)low;
		return;
	}
	gate->present = low & GATE_PRESENT;
	gate->handler = (low & 0xffff) | (low >> 32 & 0xffff0000);
	if (sregs->efer & EFER_LMA)
		gate->handler |= words[1] << 32;
}

bool kvm_gate(const struct kvm *kvm, unsigned int id, uint8_t vector, struct kvm_gate *gate)
{
	const struct vcpu *vcpu;
	uint64_t words[2] = {0, 0};
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	unsigned int size;

	*gate = (struct kvm_gate){.handler = 0};
	if (id >= kvm->vcpu_count)
		return false;
	vcpu = &kvm->vcpus[id];
	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) || ioctl(vcpu->fd, KVM_GET_REGS, &regs))
		return false;
	gate->protected_mode = sregs.cr0 & CR0_PE;
	gate->interrupts_on = regs.rflags & FLAGS_IF;
	size = !gate->protected_mode ? 4 : sregs.efer & EFER_LMA ? 16 : 8;
	gate->within = (vector + 1U) * size - 1 <= sregs.idt.limit;
	if (!gate->within)
		return true;
	if (!read_linear(vcpu, sregs.idt.base + (uint64_t)vector * size, words, size))
		return false;
	words[0] = le64toh(words[0]);
	words[1] = le64toh(words[1]);
	decode(&sregs, words, gate);
	return true;
}

uint64_t kvm_rip(const struct kvm *kvm, unsigned int id)
{
	struct kvm_regs regs;

	return id < kvm->vcpu_count && !ioctl(kvm->vcpus[id].fd, KVM_GET_REGS, &regs) ? regs.rip
										      : 0;
}
