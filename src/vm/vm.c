/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine's life, all of it on the control thread but for vm_end(), which any thread may call.
 *
 * The machine runs while the control worker runs: whatever ends it leaves its reason and stops the
 * worker, and vm_run() then gets the vCPUs out of the guest. So an ending is one place, however
 * many things end a machine.
 */
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "skep/acpi.h"
#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/bus.h"
#include "skep/clock.h"
#include "skep/config.h"
#include "skep/cpu.h"
#include "skep/demo.h"
#include "skep/e820.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/irq.h"
#include "skep/kvm.h"
#include "skep/log.h"
#include "skep/timer.h"
#include "skep/topology.h"
#include "skep/vm.h"
#include "skep/worker.h"

#define DEVICES_MAX 64
#define INITRDS_MAX 16

/* What makes a console appear on the first serial port. */
#define DEFAULT_APPEND "console=ttyS0"

struct vm_options {
	uint64_t memory;
	struct topology_options cpus;
	const char *kernel;
	const char *append;
	const char *name;
	uint64_t timeout; /* seconds; 0: none */
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

	atomic_bool ending_taken; /* somebody writes the ending */
	struct ending ending;     /* read on the control thread, behind ended */
	struct post ended;

	int signals; /* a signalfd */
	int signals_slot;
	struct signalfd_siginfo signal;
	struct io signal_io;
	struct io timeout_io;

	struct vm_report report;
};

static const struct option memory_options[] = {
	{.name = "size",
	 .type = OPTION_SIZE,
	 .offset = offsetof(struct vm_options, memory),
	 .fallback = "512M",
	 .min = MIB(1),
	 .help = "guest memory"},
	OPTION_END,
};

static const struct option boot_options[] = {
	{.name = "kernel",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct vm_options, kernel),
	 .help = "kernel image; without one, the built-in demo guest"},
	{.name = "append",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct vm_options, append),
	 .help = "kernel command line"},
	OPTION_END,
};

static const struct option machine_options[] = {
	{.name = "name",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct vm_options, name),
	 .fallback = "skep",
	 .help = "what messages and reports call the machine"},
	{.name = "timeout",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct vm_options, timeout),
	 .max = 1000000000,
	 .help = "seconds after which the machine is ended"},
	OPTION_END,
};

static const struct {
	const char *name;
	const struct option *table; /* NULL: read elsewhere */
	size_t at;                  /* of its struct in the vm_options */
} sections[] = {
	{"memory", memory_options, 0},
	{"cpus", topology_option_table, offsetof(struct vm_options, cpus)},
	{"boot", boot_options, 0},
	{"machine", machine_options, 0},
	{"device", NULL, 0},
};

int vm_defaults(struct config *config, struct err *err)
{
	static const char *const pairs[] = {
		"device.com1=uart8250",   "device.com1.line=com1", "device.com1.backend=stdio",
		"device.exit=debug_exit", "device.pm=acpi_pm",
	};
	int ret = 0;

	for (size_t i = 0; !ret && i < ARRAY_SIZE(pairs); i++)
		ret = config_set_pair(config, pairs[i], err);
	return ret;
}

static int check_sections(const struct config *config, struct err *err)
{
	const char *words[ARRAY_SIZE(sections) + 1] = {NULL};
	const char *near;
	char name[64];
	size_t pos = 0;

	for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
		words[i] = sections[i].name;
	while (config_next_child(config, "", &pos, name, sizeof(name))) {
		size_t i = 0;

		while (words[i] && strcmp(words[i], name))
			i++;
		if (words[i])
			continue;
		near = nearest_word(name, words);
		return err_set(err, EINVAL, "unknown option '%s.…'%s%s%s", name,
			       near ? "; did you mean '" : "", near ? near : "",
			       near ? ".…'?" : "");
	}
	return 0;
}

static int read_options(struct vm *vm, const struct config *config, struct err *err)
{
	int ret = check_sections(config, err);

	for (size_t i = 0; !ret && i < ARRAY_SIZE(sections); i++)
		if (sections[i].table)
			ret = config_read(config, sections[i].name, sections[i].table,
					  (char *)&vm->options + sections[i].at, err);
	return ret ? ret : topology_init(&vm->topology, &vm->options.cpus, err);
}

/* Guest memory is reserved, not taken, so the host would say nothing until it ran out. */
static int check_host_memory(const struct vm *vm, struct err *err)
{
	struct sysinfo info;
	uint64_t most;

	if (sysinfo(&info))
		return 0;
	most = ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
	if (vm->options.memory <= most)
		return 0;
	return err_set(err, ENOMEM, "memory.size: %llu MiB are more than this host's %llu MiB",
		       (unsigned long long)(vm->options.memory >> 20),
		       (unsigned long long)(most >> 20));
}

/* Endings */

static void on_ended(struct post *post)
{
	struct vm *vm = container_of(post, struct vm, ended);

	worker_stop(vm->machine.control);
}

static void vm_end(struct machine *m, const struct ending *ending)
{
	struct vm *vm = container_of(m, struct vm, machine);

	if (atomic_exchange(&vm->ending_taken, true))
		return;
	vm->ending = *ending;
	kvm_hold(vm->kvm);
	worker_post(m->control, &vm->ended);
}

static void on_timeout(struct io *io, int result)
{
	struct vm *vm = container_of(io, struct vm, timeout_io);

	if (result == -ETIME)
		machine_end(&vm->machine, END_TIMEOUT, 0, "the guest had not ended after %llu s",
			    (unsigned long long)vm->options.timeout);
}

static void on_signal(struct io *io, int result)
{
	struct vm *vm = container_of(io, struct vm, signal_io);
	unsigned int signo = vm->signal.ssi_signo;

	if (result == sizeof(vm->signal))
		machine_end(&vm->machine, END_SIGNAL, signo, "signal %u (%s) ended skep", signo,
			    sigdescr_np((int)signo));
}

static int take_signals(struct vm *vm, struct err *err)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGQUIT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	vm->signals = signalfd(-1, &set, SFD_CLOEXEC);
	if (vm->signals < 0)
		return err_sys(err, errno, "cannot listen for signals");
	vm->signals_slot = worker_add_file(vm->machine.control, vm->signals);
	if (vm->signals_slot < 0)
		return err_sys(err, -vm->signals_slot, "cannot listen for signals");
	return 0;
}

/* Assembly */

static int create_machine(struct vm *vm, struct err *err)
{
	struct machine *m = &vm->machine;
	int ret;

	ret = gmem_create(&m->mem, vm->options.memory, err);
	if (!ret)
		ret = bus_create(&m->ports, "port", 65536, err);
	if (!ret)
		ret = bus_create(&m->mmio, "memory", UINT64_MAX, err);
	if (!ret)
		ret = irqs_create(&m->irqs, err);
	if (!ret)
		ret = vtime_create(&m->time, err);
	if (!ret)
		ret = worker_create(&m->control, "control", err);
	if (!ret)
		worker_set_vtime(m->control, m->time);
	return ret;
}

static int create_devices(struct vm *vm, const struct config *config, struct err *err)
{
	size_t pos = 0;
	char id[sizeof(vm->devices[0]->id)];
	char key[64];
	int ret = 0;

	while (!ret && config_next_child(config, "device", &pos, id, sizeof(id))) {
		const char *model;

		snprintf(key, sizeof(key), "device.%s", id);
		model = config_get(config, key);
		if (model && !strcmp(model, "none"))
			continue;
		if (vm->device_count == DEVICES_MAX)
			return err_set(err, ENOSPC, "a machine has %d devices at most",
				       DEVICES_MAX);
		ret = device_create(&vm->devices[vm->device_count], id, config, &vm->machine, err);
		if (!ret)
			vm->device_count++;
	}
	return ret;
}

static int open_images(struct vm *vm, const struct config *config, struct err *err)
{
	const void *demo;
	size_t pos = 0, len;
	char name[16], key[64];
	int ret;

	if (vm->options.kernel) {
		ret = boot_open(&vm->kernel, "kernel", vm->options.kernel, err);
	} else {
		demo = demo_image(&len);
		ret = boot_open_memory(&vm->kernel, "kernel", "the demo guest", demo, len, err);
	}
	while (!ret && config_next_child(config, "boot.initrd", &pos, name, sizeof(name))) {
		if (vm->initrd_count == INITRDS_MAX)
			return err_set(err, ENOSPC, "there are %d initrds at most", INITRDS_MAX);
		snprintf(key, sizeof(key), "boot.initrd.%s", name);
		ret = boot_open(&vm->initrds[vm->initrd_count], "initrd", config_get(config, key),
				err);
		if (!ret)
			vm->initrd_count++;
	}
	return ret;
}

/* A machine without ACPI's fixed hardware has no tables: its kernel must do without. */
static int describe(struct vm *vm, uint64_t *rsdp, struct err *err)
{
	uint32_t apic_ids[TOPOLOGY_CPUS_MAX];
	const struct acpi_request req = {
		.mem = vm->machine.mem,
		.apic_ids = apic_ids,
		.cpus = vm->topology.cpus,
		.devices = vm->devices,
		.devices_count = vm->device_count,
	};
	int ret;

	for (unsigned int i = 0; i < req.cpus; i++)
		apic_ids[i] = topology_apic_id(&vm->topology, i);
	ret = acpi_build(&req, rsdp, err);
	return ret == -ENODEV ? 0 : ret;
}

static int load(struct vm *vm, struct err *err)
{
	const struct gmem_region *regions;
	unsigned int count = gmem_regions(vm->machine.mem, &regions);
	const struct boot_image *initrds[INITRDS_MAX];
	struct boot_request req = {
		.kernel = vm->kernel,
		.initrds = initrds,
		.initrd_count = vm->initrd_count,
		.cmdline = vm->options.append,
	};
	struct cpu_entry entry;
	struct e820 map;
	int ret;

	if (!req.cmdline && vm->options.kernel)
		req.cmdline = DEFAULT_APPEND;
	for (unsigned int i = 0; i < vm->initrd_count; i++)
		initrds[i] = vm->initrds[i];
	ret = e820_build(&map, regions, count, err);
	req.memory = &map;
	if (!ret)
		ret = describe(vm, &req.rsdp, err);
	if (!ret)
		ret = boot_load(&req, vm->machine.mem, &entry, NULL, err);
	if (!ret)
		ret = kvm_set_entry(vm->kvm, &entry, err);
	return ret;
}

static int assemble(struct vm *vm, const struct config *config, int kvm_fd, struct err *err)
{
	int ret = read_options(vm, config, err);

	if (!ret)
		ret = check_host_memory(vm, err);
	/* Files are opened before anything is made: the likeliest mistakes are told soonest. */
	if (!ret)
		ret = open_images(vm, config, err);
	if (!ret)
		ret = create_machine(vm, err);
	if (ret) {
		close(kvm_fd);
		return ret;
	}
	ret = kvm_create(&vm->kvm, kvm_fd, &vm->machine, &vm->topology, KVM_CHIPS_KERNEL, err);
	if (!ret)
		ret = take_signals(vm, err);
	if (!ret)
		ret = create_devices(vm, config, err);
	return ret;
}

int vm_create(struct vm **out, const struct config *config, int kvm_fd, struct log *log,
	      struct err *err)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	int ret;

	if (!vm) {
		close(kvm_fd);
		return err_sys(err, ENOMEM, "machine");
	}
	vm->report.created = clock_now();
	vm->machine.log = log;
	vm->machine.end = vm_end;
	vm->ended.fn = on_ended;
	vm->signals = -1;
	ret = assemble(vm, config, kvm_fd, err);
	vm->report.assembled = clock_now();
	if (!ret)
		ret = load(vm, err);
	vm->report.loaded = clock_now();
	if (ret) {
		vm_destroy(vm);
		return ret;
	}
	/* What only assembly needed goes back to the host: a machine lives longer than that. */
	malloc_trim(0);
	*out = vm;
	return 0;
}

int vm_run(struct vm *vm, struct ending *ending, struct err *err)
{
	struct worker *control = vm->machine.control;
	int ret;

	vm->signal_io.done = on_signal;
	io_read(control, &vm->signal_io, vm->signals_slot, &vm->signal, sizeof(vm->signal),
		IO_STREAM);
	vm->timeout_io.done = on_timeout;
	if (vm->options.timeout)
		io_timeout(control, &vm->timeout_io, clock_now() + vm->options.timeout * NS_PER_S);
	vtime_resume(vm->machine.time);
	ret = kvm_start(vm->kvm, err);
	if (!ret) {
		ret = worker_run(control);
		kvm_stop(vm->kvm);
		if (ret)
			err_sys(err, -ret, "the control thread cannot do I/O");
		*ending = vm->ending;
	}
	vtime_pause(vm->machine.time);
	vm->report.ended = clock_now();
	io_cancel(control, &vm->timeout_io);
	io_drain(control, &vm->timeout_io);
	io_cancel(control, &vm->signal_io);
	io_drain(control, &vm->signal_io);
	return ret;
}

void vm_destroy(struct vm *vm)
{
	struct machine *m;

	if (!vm)
		return;
	m = &vm->machine;
	while (vm->device_count)
		device_destroy(vm->devices[--vm->device_count]);
	kvm_destroy(vm->kvm);
	for (unsigned int i = 0; i < vm->initrd_count; i++)
		boot_close(vm->initrds[i]);
	boot_close(vm->kernel);
	if (vm->signals >= 0) {
		if (vm->signals_slot >= 0)
			worker_remove_file(m->control, vm->signals_slot);
		close(vm->signals);
	}
	worker_destroy(m->control);
	vtime_destroy(m->time);
	irqs_destroy(m->irqs);
	bus_destroy(m->mmio);
	bus_destroy(m->ports);
	gmem_destroy(m->mem);
	free(vm);
}

static uint64_t resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long long resident = 0;
	char line[128], *second;

	if (!f)
		return 0;
	/* "size resident shared …", in pages (proc(5)). */
	if (fgets(line, sizeof(line), f)) {
		strtoull(line, &second, 10);
		resident = strtoull(second, NULL, 10);
	}
	fclose(f);
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

void vm_report(const struct vm *vm, struct vm_report *report)
{
	struct kvm_exit_count counts[KVM_EXIT_COUNTS_MAX];
	size_t n = kvm_exit_counts(vm->kvm, counts, KVM_EXIT_COUNTS_MAX);
	uint64_t resident = resident_bytes();

	*report = vm->report;
	report->first_entry = kvm_first_entry(vm->kvm);
	for (size_t i = 0; i < n; i++)
		report->exits += counts[i].count;
	report->unclaimed = bus_misses(vm->machine.ports) + bus_misses(vm->machine.mmio);
	report->guest_bytes = gmem_resident(vm->machine.mem);
	report->own_bytes = resident - MIN(resident, report->guest_bytes);
}

size_t vm_exit_counts(const struct vm *vm, struct kvm_exit_count *counts, size_t room)
{
	return kvm_exit_counts(vm->kvm, counts, room);
}
