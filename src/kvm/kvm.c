/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The KVM system descriptor and the VM: API check, memory slots, start and stop of the vCPUs.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpuid.h"
#include "kvm_priv.h"
#include "skep/bits.h"
#include "skep/device.h"
#include "skep/disasm.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/topology.h"

/*
 * Three pages that Intel processors without unrestricted guest mode need for real mode, and one
 * for its identity map: below the 4 GiB mark, where no memory and no device lies.
 */
#define IDENTITY_MAP_GPA UINT64_C(0xfffbc000)
#define TSS_GPA          UINT64_C(0xfffbd000)

static const struct {
	int cap;
	const char *name;
} needed[] = {
	{KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
	{KVM_CAP_PIT2, "KVM_CAP_PIT2"},
	{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
	{KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
	{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
	{KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
	{KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
	{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
};

static int open_failed(int errnum, struct err *err)
{
	int ret = err_sys(err, errnum, "cannot open /dev/kvm");

	switch (errnum) {
	case ENOENT:
		err_advise(err, "this host offers no virtualization: enable it in the firmware and "
				"load kvm_intel or kvm_amd");
		break;
	case EACCES:
	case EPERM:
		err_advise(err, "join its group (usermod -aG kvm $USER) and log in anew");
		break;
	case ENODEV:
	case ENXIO:
		err_advise(err, "no KVM module is loaded: load kvm_intel or kvm_amd");
		break;
	default:
		break;
	}
	return ret;
}

int kvm_open(struct err *err)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int version;

	if (fd < 0)
		return open_failed(errno, err);
	version = ioctl(fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION) {
		close(fd);
		return err_set(err, ENODEV, "/dev/kvm speaks version %d of its interface, not %d",
			       version, KVM_API_VERSION);
	}
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (ioctl(fd, KVM_CHECK_EXTENSION, needed[i].cap) <= 0) {
			close(fd);
			return err_set(err, ENODEV,
				       "this host's KVM lacks %s; a newer kernel has it",
				       needed[i].name);
		}
	return fd;
}

static int add_slots(struct kvm *kvm, struct err *err)
{
	const struct gmem_region *regions;
	unsigned int n = gmem_regions(kvm->machine->mem, &regions);

	for (unsigned int i = 0; i < n; i++) {
		const struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = regions[i].gpa,
			.memory_size = regions[i].size,
			.userspace_addr = (uintptr_t)regions[i].hva,
		};

		if (ioctl(kvm->fd, KVM_SET_USER_MEMORY_REGION, &slot))
			return err_sys(err, errno, "KVM refuses %llu MiB of guest memory",
				       (unsigned long long)(slot.memory_size >> 20));
	}
	return 0;
}

static int create_vm(struct kvm *kvm, struct err *err)
{
	const uint64_t identity = IDENTITY_MAP_GPA;
	int ret;

	/* A signal that meets the allocation makes KVM give up early. */
	do {
		kvm->fd = ioctl(kvm->sys_fd, KVM_CREATE_VM, 0);
	} while (kvm->fd < 0 && errno == EINTR);
	if (kvm->fd < 0)
		return err_sys(err, errno, "KVM cannot make a virtual machine");
	if (ioctl(kvm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) ||
	    ioctl(kvm->fd, KVM_SET_TSS_ADDR, TSS_GPA))
		return err_sys(err, errno, "KVM refuses the pages for real mode");
	/*
	 * Slots before chips: both wait for readers of KVM's tables to be gone, and only the
	 * first wait is short. In the other order it takes milliseconds.
	 */
	ret = add_slots(kvm, err);
	if (!ret)
		ret = irqchip_create(kvm, err);
	return ret;
}

static int create_vcpus(struct kvm *kvm, struct err *err)
{
	struct kvm_cpuid2 *cpuid = cpuid_template(kvm, err);
	int ret = 0;

	if (!cpuid)
		return -ENOMEM;
	kvm->address_bits = cpuid_address_bits(cpuid);
	kvm->run_size = (size_t)ioctl(kvm->sys_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	for (unsigned int i = 0; !ret && i < kvm->vcpu_count; i++)
		ret = vcpu_create(&kvm->vcpus[i], cpuid, err);
	free(cpuid);
	return ret;
}

/* All that KVM holds of the machine. */
static int power_on(struct kvm *kvm, struct err *err)
{
	int ret = create_vm(kvm, err);

	if (!ret)
		ret = create_vcpus(kvm, err);
	if (ret)
		return ret;
	doorbell_attach(kvm);
	burst_create(kvm);
	return 0;
}

/* Legal when power_on() failed half-way. */
static void power_off(struct kvm *kvm)
{
	burst_destroy(kvm);
	doorbell_detach(kvm);
	irqchip_destroy(kvm);
	for (unsigned int i = 0; i < kvm->vcpu_count; i++)
		vcpu_destroy(&kvm->vcpus[i]);
	if (kvm->fd >= 0)
		close(kvm->fd);
	kvm->fd = -1;
}

static int alloc_vcpus(struct kvm *kvm, unsigned int count, struct err *err)
{
	int most = ioctl(kvm->sys_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);

	if (most > 0 && count > (unsigned int)most)
		return err_set(err, EINVAL, "%u vCPUs: this host's KVM runs %d at most", count,
			       most);
	kvm->vcpus = calloc(count, sizeof(*kvm->vcpus));
	if (!kvm->vcpus)
		return err_sys(err, ENOMEM, "%u vCPUs", count);
	kvm->vcpu_count = count;
	for (unsigned int i = 0; i < count; i++) {
		struct vcpu *vcpu = &kvm->vcpus[i];

		vcpu->fd = -1;
		/* Its thread outlives what a reset makes anew. */
		vcpu->kvm = kvm;
		vcpu->id = i;
		vcpu->port_exits =
			mmap(NULL, PORTS * sizeof(*vcpu->port_exits), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (vcpu->port_exits == MAP_FAILED) {
			vcpu->port_exits = NULL;
			return err_sys(err, ENOMEM, "%u vCPUs", count);
		}
	}
	return 0;
}

static bool syncs_registers(int fd)
{
	int sets = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS);

	return sets > 0 && (unsigned int)sets & KVM_SYNC_X86_REGS;
}

int kvm_create(struct kvm **out, int fd, struct machine *m, const struct topology *topology,
	       enum kvm_chips chips, struct err *err)
{
	struct kvm *kvm = calloc(1, sizeof(*kvm));
	int ret;

	if (!kvm) {
		close(fd);
		return err_sys(err, ENOMEM, "virtual machine");
	}
	kvm->sys_fd = fd;
	kvm->fd = -1;
	kvm->machine = m;
	kvm->topology = topology;
	kvm->split = chips == KVM_CHIPS_SPLIT;
	kvm->syncs = syncs_registers(fd);
	atomic_store(&kvm->culprit, -1);
	kvm->emulates = !kvm_runs_kernels();
	lock_init(&kvm->routes_lock, LOCK_LEAF);
	lock_init(&kvm->park.lock, LOCK_VM);
	lock_cond_init(&kvm->park.moved);
	ret = alloc_vcpus(kvm, topology->cpus, err);
	if (!ret)
		ret = power_on(kvm, err);
	if (ret) {
		kvm_destroy(kvm);
		return ret;
	}
	*out = kvm;
	return 0;
}

void kvm_destroy(struct kvm *kvm)
{
	if (!kvm)
		return;
	power_off(kvm);
	for (unsigned int i = 0; i < kvm->vcpu_count; i++)
		if (kvm->vcpus[i].port_exits)
			munmap(kvm->vcpus[i].port_exits, PORTS * sizeof(*kvm->vcpus[i].port_exits));
	free(kvm->vcpus);
	close(kvm->sys_fd);
	pthread_cond_destroy(&kvm->park.moved);
	lock_destroy(&kvm->park.lock);
	lock_destroy(&kvm->routes_lock);
	free(kvm);
}

/* The guest's kvmclock as it is now, for when the machine goes on. */
static void clock_keep(struct kvm *kvm)
{
	if (ioctl(kvm->fd, KVM_GET_CLOCK, &kvm->clock))
		memset(&kvm->clock, 0, sizeof(kvm->clock));
}

static void clock_go_on(struct kvm *kvm)
{
	const struct kvm_clock_data from = {.clock = kvm->clock.clock};

	if (from.clock)
		ioctl(kvm->fd, KVM_SET_CLOCK, &from);
}

int kvm_reset(struct kvm *kvm, struct err *err)
{
	int ret;

	power_off(kvm);
	memset(kvm->routes, 0, sizeof(kvm->routes));
	atomic_store(&kvm->intr, false);
	ret = power_on(kvm, err);
	if (!ret && atomic_load(&kvm->pause))
		clock_keep(kvm);
	return ret;
}

void kvm_ask_halted(struct kvm *kvm)
{
	for (unsigned int i = 0; i < kvm->vcpu_count; i++) {
		atomic_store(&kvm->vcpus[i].halt, HALT_ASKED);
		vcpu_kick(&kvm->vcpus[i]);
	}
}

void kvm_ask_progress(struct kvm *kvm)
{
	for (unsigned int i = 0; i < kvm->vcpu_count; i++) {
		atomic_store(&kvm->vcpus[i].sample_asked, true);
		vcpu_kick(&kvm->vcpus[i]);
	}
}

static void note_sample(struct kvm *kvm, uint64_t sample)
{
	const uint64_t count = MIN(kvm->samples.count, (uint64_t)SAMPLES);

	for (uint64_t i = 0; i < count; i++)
		if (kvm->samples.seen[i] == sample)
			return;
	kvm->samples.seen[kvm->samples.count++ % SAMPLES] = sample;
}

uint64_t kvm_progress(struct kvm *kvm)
{
	for (unsigned int i = 0; i < kvm->vcpu_count; i++) {
		uint64_t sample = atomic_exchange(&kvm->vcpus[i].sample, 0);

		if (sample)
			note_sample(kvm, sample);
	}
	return kvm->samples.count;
}

bool kvm_all_halted(const struct kvm *kvm)
{
	for (unsigned int i = 0; i < kvm->vcpu_count; i++)
		if (atomic_load(&kvm->vcpus[i].halt) != HALT_YES)
			return false;
	return true;
}

bool kvm_halt_asked(const struct kvm *kvm)
{
	for (unsigned int i = 0; i < kvm->vcpu_count; i++)
		if (atomic_load(&kvm->vcpus[i].halt) == HALT_ASKED)
			return true;
	return false;
}

uint64_t kvm_cpu_time(const struct kvm *kvm)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < kvm->vcpu_count; i++)
		sum += vcpu_cpu_time(&kvm->vcpus[i]);
	return sum;
}

uint64_t kvm_exits(const struct kvm *kvm)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < kvm->vcpu_count; i++)
		sum += atomic_load_explicit(&kvm->vcpus[i].all_exits, memory_order_relaxed);
	return sum;
}

int kvm_set_entry(struct kvm *kvm, const struct cpu_entry *entry, struct err *err)
{
	return vcpu_enter_at(&kvm->vcpus[0], entry, err);
}

void kvm_prepare(void)
{
	disasm_prepare();
}

int kvm_ready(struct kvm *kvm, struct err *err)
{
	int ret = 0;

	for (unsigned int i = 0; !ret && i < kvm->vcpu_count; i++)
		ret = vcpu_ready(&kvm->vcpus[i], err);
	if (ret)
		kvm_stop(kvm);
	return ret;
}

int kvm_start(struct kvm *kvm, struct err *err)
{
	int ret = kvm_ready(kvm, err);

	if (ret)
		return ret;
	atomic_store(&kvm->stop, false);
	vcpus_start(kvm);
	return 0;
}

void kvm_hold(struct kvm *kvm)
{
	atomic_store(&kvm->stop, true);
}

void kvm_rest(struct kvm *kvm)
{
	kvm_hold(kvm);
	vcpus_rest(kvm);
}

void kvm_stop(struct kvm *kvm)
{
	kvm_rest(kvm);
	vcpus_join(kvm);
}

void kvm_pause(struct kvm *kvm)
{
	if (atomic_load(&kvm->pause))
		return;
	atomic_store(&kvm->pause, true);
	vcpus_park(kvm);
	clock_keep(kvm);
}

void kvm_resume(struct kvm *kvm)
{
	if (!atomic_load(&kvm->pause))
		return;
	clock_go_on(kvm);
	atomic_store(&kvm->pause, false);
	vcpus_wake(kvm);
}

size_t kvm_last_exits(const struct kvm *kvm, unsigned int vcpu, struct trace_event *events,
		      size_t room)
{
	return vcpu < kvm->vcpu_count ? trace_exits_copy(&kvm->vcpus[vcpu].last, events, room) : 0;
}

void kvm_record(struct kvm *kvm, struct trace *trace)
{
	char name[16];

	for (unsigned int i = 0; i < kvm->vcpu_count; i++) {
		snprintf(name, sizeof(name), "vcpu %u", i);
		kvm->vcpus[i].ring = trace_ring(trace, TRACE_VCPU, i, name);
	}
}

size_t kvm_exit_counts(const struct kvm *kvm, struct kvm_exit_count *counts, size_t room)
{
	size_t n = 0;

	for (unsigned int reason = 0; reason < EXIT_REASONS && n < room; reason++) {
		uint64_t sum = 0;

		for (unsigned int i = 0; i < kvm->vcpu_count; i++)
			sum += kvm->vcpus[i].exits[reason];
		if (sum)
			counts[n++] = (struct kvm_exit_count){kvm_exit_name(reason), sum};
	}
	return n;
}

size_t kvm_port_counts(const struct kvm *kvm, struct kvm_port_count *counts, size_t room)
{
	size_t n = 0;

	for (unsigned int port = 0; port < PORTS && n < room; port++) {
		uint64_t sum = 0;

		for (unsigned int i = 0; i < kvm->vcpu_count; i++)
			sum += kvm->vcpus[i].port_exits[port];
		if (sum)
			counts[n++] = (struct kvm_port_count){(uint16_t)port, sum};
	}
	return n;
}

uint64_t kvm_first_entry(const struct kvm *kvm)
{
	return kvm->vcpu_count ? kvm->vcpus[0].first_entry : 0;
}

uint64_t kvm_first_exit(const struct kvm *kvm)
{
	return kvm->vcpu_count ? kvm->vcpus[0].first_exit : 0;
}

unsigned int kvm_address_bits(const struct kvm *kvm)
{
	return kvm->address_bits;
}
