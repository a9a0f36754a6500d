/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of src/kvm share. */
#ifndef SRC_KVM_KVM_PRIV_H
#define SRC_KVM_KVM_PRIV_H

#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "skep/irq.h"
#include "skep/kvm.h"
#include "skep/lock.h"
#include "skep/trace.h"
#include "skep/worker.h"

#define EXIT_REASONS 48
#define ROUTES_MAX   256
#define SAMPLES      1024

/* The answer to kvm_ask_halted(). */
enum vcpu_halt {
	HALT_UNKNOWN,
	HALT_ASKED,
	HALT_NO,
	HALT_YES, /* for good */
};

struct vcpu {
	struct kvm *kvm;
	unsigned int id; /* its number in the topology */
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool threaded;       /* there is @thread */
	atomic_bool started; /* it runs a round; written on the control thread */
	unsigned int round;  /* the last that the thread has seen */
	atomic_uint halt;    /* enum vcpu_halt */
	atomic_bool sample_asked;
	atomic_ulong sample; /* a digest of its registers; 0: none, or it has halted */
	atomic_ulong all_exits;
	/* This thread's own until it is joined. */
	uint64_t exits[EXIT_REASONS];
	uint32_t *port_exits; /* by port; memory is taken as ports are used */
	uint64_t first_entry;
	uint64_t first_exit;
	struct trace_exits last; /* exits */
	struct trace_ring *ring;
	bool shut_down;       /* its last exit said so */
	struct kvm_regs then; /* at its last exit but that */
	bool has_then;
	uint64_t born; /* exits before its present life */
	int offered;   /* the last vector that the 8259A pair gave it; -1: none */
};

/* burst.c */
struct burst {
	struct kvm *kvm;
	struct kvm_coalesced_mmio_ring *ring; /* in vCPU 0's mapping; NULL: KVM has none */
	uint32_t room;                        /* entries of the ring */
	struct lock lock;                     /* who takes out of the ring */
	atomic_ulong drained;                 /* bytes taken out so far */

	/* Watching for a burst: vCPU threads. */
	atomic_uint port;
	atomic_uint count;
	atomic_ulong last; /* clock_now() of the last write */

	/* In a burst: control thread. */
	struct post begin;
	struct io sweep;
	atomic_bool on;
	bool banned;
	uint64_t zone; /* the port held back */
	uint64_t swept;
	unsigned int quiet;
	unsigned int starved;
};

/* replay.c */
struct replay {
	bool on;
	unsigned int vcpu;
	uint64_t from;  /* exits until it is stepped */
	uint64_t until; /* clock_now() when stepping is given up; 0: it has not begun */
	uint64_t steps;
	bool has, stepped;
	uint64_t handlers[4];  /* where it is stopped as well; 0: nowhere */
	struct kvm_dtable idt; /* for which they are these */
	bool entered;          /* one of these, with the step before */
	struct kvm_regs regs;
	struct kvm_sregs sregs;
};

struct kvm {
	int sys_fd;
	int fd;
	struct machine *machine;
	const struct topology *topology;
	size_t run_size;
	bool syncs;         /* with each exit KVM leaves the registers in vcpu->run */
	bool emulates;      /* guest kernels do not run on the processor: kvm_runs_kernels() */
	bool split;         /* the local APICs are KVM's; the other chips are devices */
	atomic_bool stop;   /* vCPU threads leave their loop */
	atomic_bool pause;  /* vCPU threads park */
	atomic_bool intr;   /* split: INTR of the 8259A pair is high */
	atomic_int culprit; /* the vCPU that ended the machine; -1: none */
	unsigned int address_bits;
	unsigned int vcpu_count;
	struct vcpu *vcpus;

	/* The gate between vCPU threads and the guest: vcpu.c. */
	struct {
		struct lock lock;
		pthread_cond_t moved;
		unsigned int inside; /* threads that may be in the guest */
		/* From a start to the next stop is a round. */
		unsigned int round;
		unsigned int running; /* threads that have not ended theirs */
		bool quit;            /* there will be no more */
	} park;
	struct kvm_clock_data clock; /* kvmclock, while the machine is paused */

	/*
	 * Message routes by gsi. Those of the IOAPIC's pins tell KVM which vectors are level
	 * (split); those above belong to irqfds.
	 */
	struct lock routes_lock;
	struct msi_route {
		bool used;
		struct msi msi;
	} routes[ROUTES_MAX];

	struct burst burst;
	struct replay replay;

	/* kvm_progress(); control thread. */
	struct {
		uint64_t seen[SAMPLES]; /* the last that were new */
		uint64_t count;         /* of new ones, ever */
	} samples;
};

/* irqchip.c */
int irqchip_create(struct kvm *kvm, struct err *err);
void irqchip_destroy(struct kvm *kvm);
/* vCPU 0's thread, before it enters: gives it what the 8259A pair has for it. */
void irqchip_offer(struct vcpu *vcpu);

/* doorbell.c */
void doorbell_attach(struct kvm *kvm);
void doorbell_detach(struct kvm *kvm);

/* replay.c */
/* Behind each exit, before it is handled: keeps the general registers. */
void replay_keep(struct vcpu *vcpu);
/* The same in a second life. */
void replay_note(struct vcpu *vcpu);

/* burst.c */
void burst_create(struct kvm *kvm);
void burst_destroy(struct kvm *kvm);
/* A vCPU wrote a byte to @port. */
void burst_note(struct kvm *kvm, uint16_t port);
/* vCPU thread, behind each exit: hands devices what KVM held back. */
void burst_drain(struct kvm *kvm);

/* cpuid.c */
/* What every vCPU is told, but for its id; freed by the caller. */
struct kvm_cpuid2 *cpuid_template(const struct kvm *kvm, struct err *err);
/* Gives @vcpu its own copy of @template, which is changed. */
int cpuid_apply(struct vcpu *vcpu, struct kvm_cpuid2 *template, struct err *err);

#define PORTS 65536

/* vcpu.c */
int vcpu_create(struct vcpu *vcpu, struct kvm_cpuid2 *template, struct err *err);
void vcpu_destroy(struct vcpu *vcpu);
int vcpu_enter_at(struct vcpu *vcpu, const struct cpu_entry *entry, struct err *err);
/* Gives @vcpu a thread, if it has none. */
int vcpu_ready(struct vcpu *vcpu, struct err *err);
void vcpu_kick(struct vcpu *vcpu);
/* What its thread has run, in ns; 0 when it has none. */
uint64_t vcpu_cpu_time(const struct vcpu *vcpu);
/* A round: all threads begin it; all have ended it, as kvm->stop wants; there will be no more. */
void vcpus_start(struct kvm *kvm);
void vcpus_rest(struct kvm *kvm);
void vcpus_join(struct kvm *kvm);
/* Gets every vCPU out of the guest and waits until none is inside the gate: kvm->pause is set. */
void vcpus_park(struct kvm *kvm);
/* Those at the gate look again at kvm->pause and kvm->stop. */
void vcpus_wake(struct kvm *kvm);

/* exit.c: handles one exit; false when the vCPU shall not enter again. */
bool exit_handle(struct vcpu *vcpu);
/* KVM_RUN failed with @errnum, not EINTR or EAGAIN. */
void exit_run_failed(struct vcpu *vcpu, int errnum);
/* The vCPU has left the guest, KVM_RUN ended with @errnum: notes it for whoever asks later. */
void exit_record(struct vcpu *vcpu, int errnum);

/* insn.c: the instruction that starts @bytes, @bits (16, 32, 64) wide code, disassembled. */
void insn_describe(unsigned int bits, const uint8_t *bytes, size_t n, uint64_t rip, char *text,
		   size_t room);

#endif
