/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kvm - the machine's processors, by Linux KVM.
 *
 * KVM stands beside the devices: it gives guest memory its slots, implements the sinks of bus.h
 * (doorbells by ioeventfd) and irq.h (wires by its interrupt chips, messages by irqfd), and runs
 * one thread per vCPU that turns exits into bus accesses. Only src/kvm includes <linux/kvm.h>.
 *
 * Everything here is called on the control thread unless it says otherwise.
 */
#ifndef SKEP_KVM_H
#define SKEP_KVM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cpu_entry;
struct cpu_state;
struct err;
struct kvm;
struct machine;
struct topology;
struct trace;
struct trace_event;

/*
 * Opens /dev/kvm and checks that it has what skep cannot do without. Returns a descriptor, or
 * -errno and the sentence that says what is missing and how it is cured.
 */
int kvm_open(struct err *err);

/* What a host offers, for `skep doctor`. */
struct kvm_fact {
	const char *what;
	char value[48];
	const char *cure; /* NULL when nothing is amiss */
	bool vital;       /* no guest runs without it */
};
#define KVM_FACTS_MAX 24
/* Describes the KVM behind @fd; returns the number of facts. */
size_t kvm_facts(int fd, struct kvm_fact *facts, size_t room);

/* "kvm_intel", "kvm_amd", "kvm_pvm", or "kvm": what stands behind /dev/kvm. */
const char *kvm_flavour(void);
/* Whether guest kernels run on the processor itself: a stock kernel can boot. */
bool kvm_runs_kernels(void);

/* Which interrupt chips are KVM's. */
enum kvm_chips {
	KVM_CHIPS_SPLIT,  /* the local APICs; the others are devices of the machine */
	KVM_CHIPS_KERNEL, /* all of them, and the 8254 */
};

/*
 * Makes a VM with the processors of @topology, which outlives it, around @m's memory, buses and
 * interrupt wires, whose sinks it becomes. @fd is kvm_open()'s and passes to the VM, on failure
 * too.
 */
int kvm_create(struct kvm **kvm, int fd, struct machine *m, const struct topology *topology,
	       enum kvm_chips chips, struct err *err);
/* The vCPUs are stopped. NULL is allowed. */
void kvm_destroy(struct kvm *kvm);

/* Bits of a guest physical address, as the guest's CPUID tells them. */
unsigned int kvm_address_bits(const struct kvm *kvm);

/* Puts vCPU 0 where @entry says; the others wait for INIT and SIPI. The vCPUs are stopped. */
int kvm_set_entry(struct kvm *kvm, const struct cpu_entry *entry, struct err *err);

/* Opens what is needed only when something has gone wrong: nothing can be opened in a sandbox. */
void kvm_prepare(void);
/* Makes the vCPU threads, which wait in their sandbox for kvm_start(). On failure there is none. */
int kvm_ready(struct kvm *kvm, struct err *err);
/* Has the vCPU threads run the guest; on failure none runs. Behind kvm_pause() they wait for
 * kvm_resume(). */
int kvm_start(struct kvm *kvm, struct err *err);
/* Gets every vCPU out of the guest. Their threads wait for the next kvm_start(). */
void kvm_rest(struct kvm *kvm);
/* The same, and joins the threads. */
void kvm_stop(struct kvm *kvm);
/* No vCPU that is outside the guest at this moment enters again. Any thread, any lock held. */
void kvm_hold(struct kvm *kvm);

/*
 * Parks every vCPU: when this returns, all are out of the guest, what a device answered is in their
 * registers, and no device hears of the guest until kvm_resume(). It waits for devices to return,
 * bus_ops.settle included. Legal in every state; a stop and a reset leave the machine paused.
 *
 * kvmclock stands still meanwhile, and the guest's watchdogs are told (KVM_KVMCLOCK_CTRL). What KVM
 * runs on the host's time goes on: the TSC, the timers of local APICs and KVM's own 8254, whose
 * interrupts then wait for the vCPUs, as do those that devices send.
 */
void kvm_pause(struct kvm *kvm);
void kvm_resume(struct kvm *kvm);

/*
 * A new VM of KVM in the place of the old one, which is as good as a reset of all that KVM holds:
 * processors, local APICs, chips. Counters go on. The vCPUs are stopped; kvm_set_entry() is due.
 */
int kvm_reset(struct kvm *kvm, struct err *err);

/*
 * Asks every vCPU whether it has halted for good: halted with interrupts off, or not started by
 * any other. Some moments later kvm_all_halted() says whether all of them said so.
 */
void kvm_ask_halted(struct kvm *kvm);
bool kvm_all_halted(const struct kvm *kvm);
/* Whether an answer is still to come. */
bool kvm_halt_asked(const struct kvm *kvm);

/* Where a vector leads on a vCPU. */
struct kvm_gate {
	uint64_t handler; /* its address in the code segment; linear in real mode */
	bool protected_mode;
	bool within;  /* the limit of the interrupt table; if not, there is no more to say */
	bool present; /* the gate, or in real mode a vector that is not 0 */
	bool interrupts_on;
};
/* On the vCPU's own thread, outside the guest, or while it stands still. False: nobody knows. */
bool kvm_gate(const struct kvm *kvm, unsigned int vcpu, uint8_t vector, struct kvm_gate *gate);
/* The same; 0: nobody knows. */
uint64_t kvm_rip(const struct kvm *kvm, unsigned int vcpu);

/*
 * Asks every vCPU what it is at. Some moments later kvm_progress() takes the answers: it grows with
 * each vCPU that was running, in a state in which none was seen before. One that waits in a loop
 * has few states.
 */
void kvm_ask_progress(struct kvm *kvm);
uint64_t kvm_progress(struct kvm *kvm);

/* Exits to user space so far, roughly: the vCPUs run. */
uint64_t kvm_exits(const struct kvm *kvm);
/* The time in ns that the threads of the vCPUs have run on the host, the guest in it. */
uint64_t kvm_cpu_time(const struct kvm *kvm);

/*
 * The last exits of vCPU @vcpu, at most @room and TRACE_LAST_EXITS (trace.h), oldest first; returns
 * how many. It is stopped or parked.
 */
size_t kvm_last_exits(const struct kvm *kvm, unsigned int vcpu, struct trace_event *events,
		      size_t room);
/* What KVM calls an exit, as in TRACE_EXIT: "io"; "other" for those skep does not know. */
const char *kvm_exit_name(unsigned int reason);

/* Gives each vCPU a ring in @trace, which may be NULL. Before they start. */
void kvm_record(struct kvm *kvm, struct trace *trace);

/* What the vCPUs did; they are stopped. */
struct kvm_exit_count {
	const char *reason;
	uint64_t count;
};
#define KVM_EXIT_COUNTS_MAX 48
/* Exits to user space by reason, those that happened; returns how many entries were filled. */
size_t kvm_exit_counts(const struct kvm *kvm, struct kvm_exit_count *counts, size_t room);
/* The same for exits by access to a port, ascending. */
struct kvm_port_count {
	uint16_t port;
	uint64_t count;
};
#define KVM_PORT_COUNTS_MAX 256
size_t kvm_port_counts(const struct kvm *kvm, struct kvm_port_count *counts, size_t room);

unsigned int kvm_vcpus(const struct kvm *kvm);
/* All registers of vCPU @n; it is stopped. */
int kvm_cpu_state(const struct kvm *kvm, unsigned int n, struct cpu_state *state, struct err *err);
/*
 * A second life: whether one can be had, when only the vCPU that is to blame ever ran; and that the
 * one to come, behind kvm_reset(), is one (replay.c). Then kvm_cpu_state() of that vCPU tells its
 * registers before its last instruction, or at its last exit. kvm_replayed() says whether it ended
 * like the first, and how many steps were made.
 */
bool kvm_can_replay(const struct kvm *kvm);
void kvm_replay(struct kvm *kvm);
bool kvm_replayed(const struct kvm *kvm, uint64_t *steps);
/* The vCPU on whose account the machine ended, by a fault or by an access to a device; -1: none. */
int kvm_culprit(const struct kvm *kvm);

/* clock_now() when the first vCPU first entered the guest; 0 if none has. */
uint64_t kvm_first_entry(const struct kvm *kvm);
/* The same for its first exit to user space. */
uint64_t kvm_first_exit(const struct kvm *kvm);

#endif
