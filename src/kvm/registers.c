/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vCPU's registers, in skep's own terms. Runs on any thread while the vCPU does not.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "kvm_priv.h"
#include "skep/bits.h"
#include "skep/cpu_state.h"
#include "skep/err.h"

/* Behind a reset the processor starts here (SDM volume 3, table 10-1). */
#define RESET_RIP 0xfff0
#define RESET_CS  0xf000

/* SDM volume 4, table 2-2. */
#define MSR_SYSENTER_CS    0x174
#define MSR_SYSENTER_ESP   0x175
#define MSR_SYSENTER_EIP   0x176
#define MSR_PAT            0x277
#define MSR_TSC            0x10
#define MSR_STAR           0xc0000081
#define MSR_LSTAR          0xc0000082
#define MSR_CSTAR          0xc0000083
#define MSR_SFMASK         0xc0000084
#define MSR_KERNEL_GS_BASE 0xc0000102

static const struct {
	uint32_t index;
	size_t at;
} msrs[] = {
	{MSR_SYSENTER_CS, offsetof(struct cpu_state, sysenter_cs)},
	{MSR_SYSENTER_ESP, offsetof(struct cpu_state, sysenter_esp)},
	{MSR_SYSENTER_EIP, offsetof(struct cpu_state, sysenter_eip)},
	{MSR_PAT, offsetof(struct cpu_state, pat)},
	{MSR_TSC, offsetof(struct cpu_state, tsc)},
	{MSR_STAR, offsetof(struct cpu_state, star)},
	{MSR_LSTAR, offsetof(struct cpu_state, lstar)},
	{MSR_CSTAR, offsetof(struct cpu_state, cstar)},
	{MSR_SFMASK, offsetof(struct cpu_state, sfmask)},
	{MSR_KERNEL_GS_BASE, offsetof(struct cpu_state, kernel_gs_base)},
};

/* One by one: KVM stops at the first that it does not know. */
static void get_msrs(const struct vcpu *vcpu, struct cpu_state *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(msrs); i++) {
		const struct kvm_msr_entry entry = {.index = msrs[i].index};
		_Alignas(struct kvm_msrs) char buf[sizeof(struct kvm_msrs) + sizeof(entry)] = {0};
		struct kvm_msrs *one = (struct kvm_msrs *)buf;

		one->nmsrs = 1;
		memcpy(one->entries, &entry, sizeof(entry));
		if (ioctl(vcpu->fd, KVM_GET_MSRS, one) == 1)
			memcpy((char *)s + msrs[i].at, &one->entries[0].data, sizeof(uint64_t));
	}
}

static struct cpu_segment segment_of(const struct kvm_segment *k)
{
	return (struct cpu_segment){
		.base = k->base,
		.limit = k->limit,
		.selector = k->selector,
		.type = k->type,
		.dpl = k->dpl,
		.present = k->present,
		.code_or_data = k->s,
		.big = k->db,
		.wide = k->l,
		.unusable = k->unusable,
	};
}

static void take_regs(struct cpu_state *s, const struct kvm_regs *r)
{
	const uint64_t gpr[CPU_GPRS] = {r->rax, r->rcx, r->rdx, r->rbx, r->rsp, r->rbp,
					r->rsi, r->rdi, r->r8,  r->r9,  r->r10, r->r11,
					r->r12, r->r13, r->r14, r->r15};

	memcpy(s->gpr, gpr, sizeof(gpr));
	s->rip = r->rip;
	s->rflags = r->rflags;
}

static void take_sregs(struct cpu_state *s, const struct kvm_sregs *r)
{
	s->segment[CPU_ES] = segment_of(&r->es);
	s->segment[CPU_CS] = segment_of(&r->cs);
	s->segment[CPU_SS] = segment_of(&r->ss);
	s->segment[CPU_DS] = segment_of(&r->ds);
	s->segment[CPU_FS] = segment_of(&r->fs);
	s->segment[CPU_GS] = segment_of(&r->gs);
	s->segment[CPU_TR] = segment_of(&r->tr);
	s->segment[CPU_LDTR] = segment_of(&r->ldt);
	s->gdt = (struct cpu_table){r->gdt.base, r->gdt.limit};
	s->idt = (struct cpu_table){r->idt.base, r->idt.limit};
	s->cr0 = r->cr0;
	s->cr2 = r->cr2;
	s->cr3 = r->cr3;
	s->cr4 = r->cr4;
	s->cr8 = r->cr8;
	s->efer = r->efer;
	s->apic_base = r->apic_base;
}

static void get_rest(const struct vcpu *vcpu, struct cpu_state *s)
{
	struct kvm_vcpu_events events;
	struct kvm_debugregs debug;
	struct kvm_mp_state mp;

	s->exception = -1;
	if (!ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, &events) &&
	    (events.exception.injected || events.exception.pending))
		s->exception = events.exception.nr & 31;
	if (!ioctl(vcpu->fd, KVM_GET_DEBUGREGS, &debug)) {
		memcpy(s->dr, debug.db, sizeof(s->dr));
		s->dr6 = debug.dr6;
		s->dr7 = debug.dr7;
	}
	if (ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp))
		return;
	if (mp.mp_state == KVM_MP_STATE_HALTED)
		s->activity = CPU_HALTED;
	else if (mp.mp_state == KVM_MP_STATE_UNINITIALIZED ||
		 mp.mp_state == KVM_MP_STATE_INIT_RECEIVED)
		s->activity = CPU_AWAITS_SIPI;
}

/* To a moment before the vCPU's end, if it has no registers of that. */
static void go_back(const struct vcpu *vcpu, struct cpu_state *s)
{
	const struct replay *r = &vcpu->kvm->replay;
	const struct cpu_state blank = {
		.exception = -1, .interrupt = s->interrupt, .address_bits = s->address_bits};

	if (r->on && r->vcpu == vcpu->id && r->has) {
		*s = blank;
		take_regs(s, &r->regs);
		take_sregs(s, &r->sregs);
		s->when = r->stepped ? CPU_SECOND_STEP : CPU_SECOND_EXIT;
	} else if (s->rip == RESET_RIP && s->segment[CPU_CS].selector == RESET_CS) {
		*s = blank;
		if (vcpu->has_then)
			take_regs(s, &vcpu->then);
		s->when = vcpu->has_then ? CPU_LAST_EXIT_GENERAL : CPU_LAST_EXIT_NOTHING;
	}
}

int kvm_cpu_state(const struct kvm *kvm, unsigned int n, struct cpu_state *s, struct err *err)
{
	const struct vcpu *vcpu = &kvm->vcpus[n];
	struct kvm_regs regs;
	struct kvm_sregs sregs;

	bug_on(n >= kvm->vcpu_count);
	memset(s, 0, sizeof(*s));
	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs) || ioctl(vcpu->fd, KVM_GET_SREGS, &sregs))
		return err_sys(err, errno, "KVM does not tell the registers of vCPU %u", n);
	take_regs(s, &regs);
	take_sregs(s, &sregs);
	get_msrs(vcpu, s);
	get_rest(vcpu, s);
	s->address_bits = kvm->address_bits;
	s->interrupt = vcpu->offered;
	if (vcpu->shut_down)
		go_back(vcpu, s);
	return 0;
}

unsigned int kvm_vcpus(const struct kvm *kvm)
{
	return kvm->vcpu_count;
}

int kvm_culprit(const struct kvm *kvm)
{
	return atomic_load(&kvm->culprit);
}
