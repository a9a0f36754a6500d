/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vm - a whole machine: assembled from a config tree, run to its end, taken apart.
 *
 * All functions are called on one thread, which is the machine's control thread.
 *
 * Keys that are the machine's own (devices have theirs below device.ID):
 *	memory.KEY, by gmem_option_table
 *	cpus.KEY, by topology_option_table
 *	boot.KEY, by boot_option_table; boot.initrd.N, boot.module.N
 *	trace.KEY, by trace_option_table
 *	machine.name	machine.timeout	machine.irqchip	machine.on-reset
 *	machine.workers
 */
#ifndef SKEP_VM_H
#define SKEP_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "skep/device.h"
#include "skep/phases.h"
#include "skep/screen.h"

struct boot_image;
struct config;
struct cpu_state;
struct err;
struct kvm_exit_count;
struct kvm_gate;
struct kvm_port_count;
struct log;
struct trace;
struct trace_event;
struct vm;

/* Puts the devices that every machine has into the tree: before the person's own keys. */
int vm_defaults(struct config *config, struct err *err);

/*
 * Assembles the machine and loads its kernel. @kvm_fd is kvm_open()'s and passes to the VM, on
 * failure too. @config and @log outlive it. Signals SIGINT, SIGTERM, SIGHUP and SIGQUIT are
 * blocked from here on, and end the machine.
 */
int vm_create(struct vm **vm, const struct config *config, int kvm_fd, struct log *log,
	      struct err *err);

/* The machine itself, for whoever watches it. */
struct machine *vm_machine(struct vm *vm);

/* The protocol by which its kernel is booted, by name (boot.h). */
const char *vm_protocol(const struct vm *vm);

/*
 * Signs of progress: vm_progress() is the same as before while the guest shows none. These are
 * signs: a byte on a console; a write to a device that is no part of a clock (device_class.ticks);
 * work that a virtio device gets done; a vCPU that runs in a state in which none was seen before.
 * Of the last vm_ask_progress() asks, and the answers are there some moments later. So a guest that
 * only waits for time, for input, or in a loop without a counter makes none. Control thread.
 */
void vm_ask_progress(struct vm *vm);
uint64_t vm_progress(struct vm *vm);

/* Runs the machine until it ends. */
int vm_run(struct vm *vm, struct ending *ending, struct err *err);

/*
 * Has the guest stand still, and go on, without noticing: when vm_pause() returns, every vCPU is
 * out of the guest, its last access completed, and virtual time does not move. Control thread, no
 * lock held, from vm_create() on; what is the case already stays so.
 *
 * What the queues of its devices have under way is finished first, and no more is taken: nothing
 * writes into guest memory meanwhile. Interrupts wait in KVM, a console's input in the device.
 * The TSC and the timers of local APICs are KVM's and run by the host's time (kvm.h); so does
 * machine.timeout. A paused machine can be ended, and a reset leaves it paused.
 */
void vm_pause(struct vm *vm);
void vm_resume(struct vm *vm);
bool vm_paused(const struct vm *vm);

/*
 * Finds out within 100 ms that every vCPU has halted for good, at the price of waking an idle
 * machine as often. Before vm_run().
 */
void vm_watch_closely(struct vm *vm);

/*
 * Has the machine live once more, from its start, when it has ended in a triple fault behind which
 * this host's KVM leaves no registers: in silence, and at the end one instruction at a time. Then
 * vm_cpu_state() tells of that life, and memory is that life's. vm_can_replay() is 0, or -errno and
 * why there can be no second life; vm_replay() is 0 when it came to the same end. Else what the
 * first life left is lost. Control thread, behind vm_run().
 */
struct vm_replay {
	uint64_t steps; /* instructions that were done one at a time */
};
int vm_can_replay(const struct vm *vm, struct err *err);
int vm_replay(struct vm *vm, struct vm_replay *replay, struct err *err);

/* Takes the machine apart; consoles write out what they hold. NULL is allowed. */
void vm_destroy(struct vm *vm);

/* The exit status that the command line promises for an ending. */
int ending_status(const struct ending *ending);
/* One word: "poweroff", "code", "reset", … */
const char *ending_word(const struct ending *ending);

/* What happened; filled by vm_report() behind vm_run(). Times are clock_now()'s. */
struct vm_report {
	uint64_t created;     /* vm_create() was called */
	uint64_t assembled;   /* memory, KVM and devices stood */
	uint64_t loaded;      /* the kernel was in place */
	uint64_t first_entry; /* the first instruction of the guest */
	uint64_t ended;       /* the last vCPU had left it */
	uint64_t exits;       /* to user space, in all */
	uint64_t first_exit;  /* of the first vCPU behind that; 0: none */
	uint64_t first_reset; /* that the machine went through; 0: none */
	uint64_t unpack_from; /* skep decompressed the kernel; 0: it did not have to */
	uint64_t unpack_to;
	bool unpacks_itself;  /* the kernel does */
	uint64_t resets;      /* that the guest asked for, and the machine went through */
	uint64_t unclaimed;   /* accesses that no device decoded */
	uint64_t guest_bytes; /* of guest memory that the host holds */
	uint64_t own_bytes;   /* resident memory of skep beyond that */
};
void vm_report(const struct vm *vm, struct vm_report *report);
/* Has vm_timeline() know what consoles say of it; before vm_run(). A trace has it heard as well. */
void vm_listen(struct vm *vm);
/* Where the time went, from @started on, clock_now() when the command began. As vm_report(). */
void vm_timeline(const struct vm *vm, uint64_t started, struct timeline *t);
/*
 * The files that the guest was booted from, number @n counting from 0: the kernel, unless it is the
 * demo guest, the initrds and the modules in order. What the option tree calls it in *@key; NULL
 * past the last.
 */
const struct boot_image *vm_image(const struct vm *vm, unsigned int n, char key[32]);
/* What the screen shows, in UTF-8; "" when it is blank, or there is none. Behind vm_run(). */
void vm_screen(const struct vm *vm, char text[SCREEN_TEXT_MAX]);
/* The same, if a person wants to read it at the end: "" when not. */
void vm_last_screen(const struct vm *vm, char text[SCREEN_TEXT_MAX]);
/* Every device's state, by its state table. Behind vm_run(). */
void vm_dump_state(const struct vm *vm, FILE *to);
/* What it is recorded into; NULL: nothing. Taps are added before vm_run(). */
struct trace *vm_trace(const struct vm *vm);
/* As kvm_gate() and kvm_rip(). */
bool vm_gate(const struct vm *vm, unsigned int vcpu, uint8_t vector, struct kvm_gate *gate);
uint64_t vm_rip(const struct vm *vm, unsigned int vcpu);
/* As the functions of kvm.h that are called so. Behind vm_run(). */
unsigned int vm_vcpus(const struct vm *vm);
int vm_cpu_state(const struct vm *vm, unsigned int n, struct cpu_state *state, struct err *err);
int vm_culprit(const struct vm *vm);
size_t vm_last_exits(const struct vm *vm, unsigned int n, struct trace_event *events, size_t room);
size_t vm_exit_counts(const struct vm *vm, struct kvm_exit_count *counts, size_t room);
size_t vm_port_counts(const struct vm *vm, struct kvm_port_count *counts, size_t room);

#endif
