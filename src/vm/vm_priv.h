/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of src/vm share. */
#ifndef SRC_VM_VM_PRIV_H
#define SRC_VM_VM_PRIV_H

#include <stdatomic.h>
#include <sys/signalfd.h>

#include "skep/boot.h"
#include "skep/chan.h"
#include "skep/gmem.h"
#include "skep/kvm.h"
#include "skep/phases.h"
#include "skep/sandbox.h"
#include "skep/topology.h"
#include "skep/trace.h"
#include "skep/vm.h"
#include "skep/worker.h"

#define DEVICES_MAX 64
#define INITRDS_MAX 16
#define MODULES_MAX 64

struct vm_options {
	struct gmem_options memory;
	struct topology_options cpus;
	struct boot_options boot;
	struct trace_options trace;
	struct sandbox_options sandbox;
	const char *name;
	uint64_t timeout;      /* seconds; 0: none */
	uint64_t workers;      /* at most; 0: as many as devices want */
	unsigned int chips;    /* enum kvm_chips */
	unsigned int on_reset; /* enum on_reset */
};

enum on_reset {
	ON_RESET_REBOOT,
	ON_RESET_EXIT,
};

struct vm {
	struct machine machine; /* first: vm_end() finds the VM by it */
	struct vm_options options;
	struct topology topology;
	struct kvm *kvm;
	struct device *devices[DEVICES_MAX];
	unsigned int device_count;
	struct boot_image *kernel;
	struct boot_image *initrds[INITRDS_MAX];
	unsigned int initrd_count;
	struct boot_module modules[MODULES_MAX];
	unsigned int module_count;

	atomic_bool reset_asked;  /* by the guest, and the machine is to go through it */
	atomic_bool ending_taken; /* somebody writes the ending */
	struct ending ending;     /* read on the control thread, behind ended */
	struct post ended;

	int signals; /* a signalfd */
	int signals_slot;
	struct signalfd_siginfo signal;
	struct io signal_io;
	struct io timeout_io;

	struct vm_watch { /* for a machine that can never wake: see watch.c */
		struct io io;
		bool closely;
		uint64_t every;
		uint64_t exits, cpu; /* as they were the last time */
		unsigned int round, tries;
	} watch;

	bool running; /* the vCPUs run their threads */
	bool shut;    /* the control thread is in its sandbox */
	int statm;    /* /proc/self/statm, or -1 */
	bool paused;

	const char *protocol; /* by which the kernel was booted */
	struct vm_report report;
	struct phases phases;
	struct chan_tap phases_tap;
};

/* load.c: tables and kernel into memory, vCPU 0 to its entry. Again at each reset. */
int vm_load(struct vm *vm, struct err *err);

/* trim.c: a machine lives much longer than its assembly. */
void vm_trim(void);

/* watch.c: while the vCPUs have their threads. */
void vm_watch_start(struct vm *vm);
void vm_watch_stop(struct vm *vm);

/* life.c */
void vm_end(struct machine *m, const struct ending *ending);
bool vm_toggle_pause(struct machine *m);
void vm_on_ended(struct post *post);
/* As a reset line does it: devices and processors start anew, memory keeps what it held. */
int vm_reset(struct vm *vm, struct err *err);
int vm_take_signals(struct vm *vm, struct err *err);

#endif
