/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine assembled from its options, and taken apart.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/bus.h"
#include "skep/clock.h"
#include "skep/config.h"
#include "skep/demo.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/irq.h"
#include "skep/kvm.h"
#include "skep/log.h"
#include "skep/pci.h"
#include "skep/timer.h"
#include "skep/vm.h"
#include "skep/worker.h"
#include "skep/workers.h"
#include "vm_priv.h"

static const struct option machine_options[] = {
	{.name = "irqchip",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct vm_options, chips),
	 .choices = "split|kernel",
	 .fallback = "split",
	 .help = "split: 8259A, IOAPIC and 8254 are skep's own; kernel: they are KVM's"},
	{.name = "on-reset",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct vm_options, on_reset),
	 .choices = "reboot|exit",
	 .fallback = "reboot",
	 .help = "what a guest's reset does"},
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
	{.name = "workers",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct vm_options, workers),
	 .max = WORKERS_MAX,
	 .help = "threads for host I/O at most; 0: one for each device or queue"},
	OPTION_END,
};

static const struct {
	const char *name;
	const struct option *table; /* NULL: read elsewhere */
	size_t at;                  /* of its struct in the vm_options */
} sections[] = {
	{"memory", gmem_option_table, offsetof(struct vm_options, memory)},
	{"cpus", topology_option_table, offsetof(struct vm_options, cpus)},
	{"boot", boot_option_table, offsetof(struct vm_options, boot)},
	{"trace", trace_option_table, offsetof(struct vm_options, trace)},
	{"machine", machine_options, 0},
	{"sandbox", sandbox_option_table, offsetof(struct vm_options, sandbox)},
	{"device", NULL, 0},
	{"dump", NULL, 0},
	{"postmortem", NULL, 0},
};

int vm_defaults(struct config *config, struct err *err)
{
	static const char *const pairs[] = {
		"device.pci=pci_host",    "device.isa=isa_bridge",     "device.pic=pic8259a",
		"device.pit=pit8254",     "device.ioapic=ioapic",      "device.rtc=rtc146818",
		"device.kbd=i8042",       "device.port92=port92",      "device.post=post_port",
		"device.pvpanic=pvpanic", "device.pm=acpi_pm",         "device.com1=uart8250",
		"device.com1.line=com1",  "device.com1.backend=stdio", "device.exit=debug_exit",
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
	if (vm->options.memory.size <= most)
		return 0;
	return err_set(err, ENOMEM, "memory.size: %llu MiB are more than this host's %llu MiB",
		       (unsigned long long)(vm->options.memory.size >> 20),
		       (unsigned long long)(most >> 20));
}

/* Assembly */

static int create_machine(struct vm *vm, struct err *err)
{
	struct machine *m = &vm->machine;
	int ret = 0;

	if (vm->options.trace.path || vm->options.trace.memory)
		ret = trace_create(&m->trace, &vm->options.trace, vm->options.name, err);
	if (!ret)
		ret = gmem_create(&m->mem, &vm->options.memory, err);
	if (!ret)
		ret = bus_create(&m->ports, "port", 65536, err);
	if (!ret)
		ret = bus_create(&m->mmio, "memory", UINT64_MAX, err);
	if (!ret)
		ret = irqs_create(&m->irqs, err);
	if (!ret)
		ret = pci_create(&m->pci, m, err);
	if (!ret)
		ret = vtime_create(&m->time, err);
	if (!ret)
		ret = worker_create(&m->control, "control", err);
	if (!ret)
		worker_set_vtime(m->control, m->time);
	if (!ret)
		ret = workers_create(&m->workers, (unsigned int)vm->options.workers, err);
	return ret;
}

/* Whether KVM has this part of the machine in its place. */
static bool is_kvms(const struct vm *vm, const char *model)
{
	const struct device_class *class = class_find(model, NULL);

	return vm->options.chips == KVM_CHIPS_KERNEL && class && class->split_only;
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
		if (model && (!strcmp(model, "none") || is_kvms(vm, model)))
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

static int open_initrd(struct vm *vm, const char *path, struct err *err)
{
	int ret;

	if (vm->initrd_count == INITRDS_MAX)
		return err_set(err, ENOSPC, "there are %d initrds at most", INITRDS_MAX);
	ret = boot_open(&vm->initrds[vm->initrd_count], "initrd", path, err);
	if (!ret)
		vm->initrd_count++;
	return ret;
}

static int open_module(struct vm *vm, const char *spec, struct err *err)
{
	int ret;

	if (vm->module_count == MODULES_MAX)
		return err_set(err, ENOSPC, "there are %d modules at most", MODULES_MAX);
	ret = boot_open_module(&vm->modules[vm->module_count], spec, err);
	if (!ret)
		vm->module_count++;
	return ret;
}

/* Each value below @prefix, in the order in which they were given. */
static int open_each(struct vm *vm, const struct config *config, const char *prefix,
		     int (*open)(struct vm *vm, const char *value, struct err *err),
		     struct err *err)
{
	char name[16], key[64];
	size_t pos = 0;
	int ret = 0;

	while (!ret && config_next_child(config, prefix, &pos, name, sizeof(name))) {
		snprintf(key, sizeof(key), "%s.%s", prefix, name);
		ret = open(vm, config_get(config, key), err);
	}
	return ret;
}

static int open_images(struct vm *vm, const struct config *config, struct err *err)
{
	const void *demo;
	size_t len;
	int ret;

	if (vm->options.boot.kernel) {
		ret = boot_open(&vm->kernel, "kernel", vm->options.boot.kernel, err);
	} else {
		demo = demo_image(&len);
		ret = boot_open_memory(&vm->kernel, "kernel", "the demo guest", demo, len, err);
	}
	if (!ret)
		ret = open_each(vm, config, "boot.initrd", open_initrd, err);
	if (!ret)
		ret = open_each(vm, config, "boot.module", open_module, err);
	return ret;
}

/* Epoll takes over from io_uring in silence; a person should hear of it, once. */
static void tell_of_engine(const struct machine *m)
{
	const char *reason = worker_engine_reason(m->control);

	if (!reason)
		reason = workers_engine_reason(m->workers);
	if (reason)
		log_warn(m->log, "host I/O is by epoll and slower: %s", reason);
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
	ret = kvm_create(&vm->kvm, kvm_fd, &vm->machine, &vm->topology,
			 (enum kvm_chips)vm->options.chips, err);
	if (!ret)
		pci_set_address_bits(vm->machine.pci, kvm_address_bits(vm->kvm));
	if (!ret)
		ret = vm_take_signals(vm, err);
	vm->machine.linux_guest = boot_image_is_bzimage(vm->kernel);
	if (!ret)
		ret = create_devices(vm, config, err);
	if (!ret)
		tell_of_engine(&vm->machine);
	return ret;
}

static void mark(struct machine *m, const char *name)
{
	struct vm *vm = container_of(m, struct vm, machine);

	phases_mark(&vm->phases, name, clock_now());
	trace_text(TRACE_MARK, TRACE_NO_DEVICE, 0, 0, name);
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
	phases_init(&vm->phases);
	vm->machine.log = log;
	vm->machine.end = vm_end;
	vm->machine.mark = mark;
	vm->machine.toggle_pause = vm_toggle_pause;
	vm->ended.fn = vm_on_ended;
	vm->signals = -1;
	vm->statm = -1;
	ret = assemble(vm, config, kvm_fd, err);
	vm->report.assembled = clock_now();
	if (!ret)
		ret = vm_load(vm, err);
	vm->report.loaded = clock_now();
	if (ret) {
		vm_destroy(vm);
		return ret;
	}
	*out = vm;
	return 0;
}

void vm_destroy(struct vm *vm)
{
	struct machine *m;

	if (!vm)
		return;
	m = &vm->machine;
	if (vm->kvm)
		kvm_stop(vm->kvm);
	if (m->workers)
		workers_stop(m->workers);
	/* What is taken apart is not recorded: the trace's tables stay as the guest knew them. */
	trace_enter(NULL);
	trace_destroy(m->trace);
	m->trace = NULL;
	irqs_record(m->irqs, NULL, TRACE_NO_DEVICE);
	while (vm->device_count)
		device_destroy(vm->devices[--vm->device_count]);
	kvm_destroy(vm->kvm);
	for (unsigned int i = 0; i < vm->initrd_count; i++)
		boot_close(vm->initrds[i]);
	for (unsigned int i = 0; i < vm->module_count; i++)
		boot_close(vm->modules[i].img);
	boot_close(vm->kernel);
	if (vm->signals >= 0) {
		if (vm->signals_slot >= 0)
			worker_remove_file(m->control, vm->signals_slot);
		close(vm->signals);
	}
	workers_destroy(m->workers);
	worker_destroy(m->control);
	vtime_destroy(m->time);
	pci_destroy(m->pci);
	irqs_destroy(m->irqs);
	bus_destroy(m->mmio);
	bus_destroy(m->ports);
	gmem_destroy(m->mem);
	phases_fini(&vm->phases);
	if (vm->statm >= 0)
		close(vm->statm);
	sandbox_leave();
	free(vm);
}

struct machine *vm_machine(struct vm *vm)
{
	return &vm->machine;
}

void vm_ask_progress(struct vm *vm)
{
	kvm_ask_progress(vm->kvm);
}

uint64_t vm_progress(struct vm *vm)
{
	const struct machine *m = &vm->machine;

	return kvm_progress(vm->kvm) + bus_signs(m->ports) + bus_signs(m->mmio) +
	       atomic_load_explicit(&m->signs, memory_order_relaxed) + vm->report.resets;
}

const char *vm_protocol(const struct vm *vm)
{
	return vm->protocol;
}

static uint64_t resident_bytes(const struct vm *vm)
{
	unsigned long long resident = 0;
	char line[128], *second;
	ssize_t n = pread(vm->statm, line, sizeof(line) - 1, 0);

	/* "size resident shared …", in pages (proc(5)). */
	if (n > 0) {
		line[n] = '\0';
		strtoull(line, &second, 10);
		resident = strtoull(second, NULL, 10);
	}
	return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

void vm_report(const struct vm *vm, struct vm_report *report)
{
	struct kvm_exit_count counts[KVM_EXIT_COUNTS_MAX];
	size_t n = kvm_exit_counts(vm->kvm, counts, KVM_EXIT_COUNTS_MAX);
	uint64_t resident = resident_bytes(vm);

	*report = vm->report;
	report->first_entry = kvm_first_entry(vm->kvm);
	report->first_exit = kvm_first_exit(vm->kvm);
	for (size_t i = 0; i < n; i++)
		report->exits += counts[i].count;
	report->unclaimed = bus_misses(vm->machine.ports) + bus_misses(vm->machine.mmio);
	report->guest_bytes = gmem_resident(vm->machine.mem);
	report->own_bytes = resident - MIN(resident, report->guest_bytes);
}

static void hear(struct chan_tap *tap, const struct device *dev, const uint8_t *data, size_t len)
{
	struct vm *vm = container_of(tap, struct vm, phases_tap);

	if (phases_bytes(&vm->phases, dev, data, len, 0))
		trace_text(TRACE_MARK, TRACE_NO_DEVICE, 0, 0, "init");
}

void vm_listen(struct vm *vm)
{
	if (vm->phases_tap.bytes)
		return;
	vm->phases_tap.bytes = hear;
	chan_add_tap(&vm->machine, &vm->phases_tap);
}

void vm_timeline(const struct vm *vm, uint64_t started, struct timeline *t)
{
	const struct vm_report *r = &vm->report;
	const struct phase_facts facts = {
		.started = started,
		.created = r->created,
		.assembled = r->assembled,
		.loaded = r->loaded,
		.first_entry = kvm_first_entry(vm->kvm),
		.first_exit = kvm_first_exit(vm->kvm),
		.first_reset = r->first_reset,
		.ended = r->ended,
		.unpack_from = r->unpack_from,
		.unpack_to = r->unpack_to,
		.unpacks_itself = r->unpacks_itself,
	};

	phases_timeline(&vm->phases, &facts, t);
}

const struct boot_image *vm_image(const struct vm *vm, unsigned int n, char key[32])
{
	unsigned int files = vm->options.boot.kernel ? 1 : 0;

	if (n < files) {
		snprintf(key, 32, "boot.kernel");
		return vm->kernel;
	}
	n -= files;
	if (n < vm->initrd_count) {
		snprintf(key, 32, "boot.initrd.%u", n);
		return vm->initrds[n];
	}
	n -= vm->initrd_count;
	if (n >= vm->module_count)
		return NULL;
	snprintf(key, 32, "boot.module.%u", n);
	return vm->modules[n].img;
}

void vm_screen(const struct vm *vm, char text[SCREEN_TEXT_MAX])
{
	text[0] = '\0';
	if (vm->machine.screen)
		screen_text(&vm->machine, text);
}

void vm_last_screen(const struct vm *vm, char text[SCREEN_TEXT_MAX])
{
	text[0] = '\0';
	if (vm->machine.screen && vm->machine.screen->read_at_end)
		vm_screen(vm, text);
}

void vm_dump_state(const struct vm *vm, FILE *to)
{
	for (unsigned int i = 0; i < vm->device_count; i++) {
		struct device *dev = vm->devices[i];
		const struct state_table *table;
		void *state;

		for (unsigned int n = 0; (table = device_state_part(dev, n, &state)); n++) {
			if (!n)
				fprintf(to, "%s (%s)\n", dev->id, dev->class->name);
			device_lock(dev);
			state_print(table, state, to, "\t");
			device_unlock(dev);
		}
	}
}

struct trace *vm_trace(const struct vm *vm)
{
	return vm->machine.trace;
}

bool vm_gate(const struct vm *vm, unsigned int vcpu, uint8_t vector, struct kvm_gate *gate)
{
	return kvm_gate(vm->kvm, vcpu, vector, gate);
}

uint64_t vm_rip(const struct vm *vm, unsigned int vcpu)
{
	return kvm_rip(vm->kvm, vcpu);
}

size_t vm_exit_counts(const struct vm *vm, struct kvm_exit_count *counts, size_t room)
{
	return kvm_exit_counts(vm->kvm, counts, room);
}

size_t vm_port_counts(const struct vm *vm, struct kvm_port_count *counts, size_t room)
{
	return kvm_port_counts(vm->kvm, counts, room);
}

unsigned int vm_vcpus(const struct vm *vm)
{
	return kvm_vcpus(vm->kvm);
}

int vm_cpu_state(const struct vm *vm, unsigned int n, struct cpu_state *state, struct err *err)
{
	return kvm_cpu_state(vm->kvm, n, state, err);
}

int vm_culprit(const struct vm *vm)
{
	return kvm_culprit(vm->kvm);
}

size_t vm_last_exits(const struct vm *vm, unsigned int n, struct trace_event *events, size_t room)
{
	return kvm_last_exits(vm->kvm, n, events, room);
}
