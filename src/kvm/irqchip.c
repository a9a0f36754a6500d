/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * KVM as the sink of irq.h. Two ways:
 *
 * kernel	local APICs, IOAPIC, 8259A pair and 8254 are KVM's: a wire is KVM_IRQ_LINE.
 * split	only the local APICs are KVM's. The other chips are devices that listen to the
 *wires; what they have to say arrives as a message, or as INTR, which vCPU 0 takes through
 *		KVM_INTERRUPT as soon as it accepts interrupts. KVM tells ends of interrupt for the
 *		vectors of level-triggered pins, which it knows by the routes of their gsi.
 *
 * In both a message is KVM_SIGNAL_MSI, or an irqfd with a route of its own.
 */
#include <stdlib.h>
#include <sys/ioctl.h>

#include "kvm_priv.h"
#include "skep/bits.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/irq.h"
#include "skep/pci.h"

#define PIC_PINS    8
#define IOAPIC_PINS 24

static void sink_set(void *arg, unsigned int gsi, bool level)
{
	struct kvm *kvm = arg;
	struct kvm_irq_level line = {.irq = gsi, .level = level};

	ioctl(kvm->fd, KVM_IRQ_LINE, &line);
}

static int sink_msi(void *arg, const struct msi *msi)
{
	struct kvm *kvm = arg;
	const struct kvm_msi m = {
		.address_lo = (uint32_t)msi->address,
		.address_hi = (uint32_t)(msi->address >> 32),
		.data = msi->data,
	};

	/* 0 means that the guest blocked it, which is the guest's right. */
	return ioctl(kvm->fd, KVM_SIGNAL_MSI, &m) < 0 ? -errno : 0;
}

static size_t add_chip_pins(struct kvm_irq_routing_entry *entries)
{
	size_t n = 0;

	for (uint32_t i = 0; i < 2 * PIC_PINS; i++)
		entries[n++] = (struct kvm_irq_routing_entry){
			.gsi = i,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = {i < PIC_PINS ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
				      i % PIC_PINS},
		};
	for (uint32_t i = 0; i < IOAPIC_PINS; i++)
		if (i != 2)
			entries[n++] = (struct kvm_irq_routing_entry){
				.gsi = i,
				.type = KVM_IRQ_ROUTING_IRQCHIP,
				.u.irqchip = {KVM_IRQCHIP_IOAPIC, i == 0 ? 2 : i},
			};
	return n;
}

/*
 * KVM takes the routes only as a whole. The kernel's chips come first, wired as in a PC: the 8254
 * is ISA interrupt 0 of the 8259A and pin 2 of the IOAPIC, whose pin 0 stays free; ISA interrupt 2
 * is the cascade of the 8259A.
 */
static int set_routes(struct kvm *kvm)
{
	struct kvm_irq_routing *table;
	size_t n = 0;
	int ret;

	table = calloc(1, sizeof(*table) + (2 * PIC_PINS + IOAPIC_PINS + ROUTES_MAX) *
						   sizeof(table->entries[0]));
	if (!table)
		return -ENOMEM;
	if (!kvm->split)
		n = add_chip_pins(table->entries);
	for (uint32_t i = 0; i < ROUTES_MAX; i++) {
		const struct msi *msi = &kvm->routes[i].msi;

		if (kvm->routes[i].used)
			table->entries[n++] = (struct kvm_irq_routing_entry){
				.gsi = i,
				.type = KVM_IRQ_ROUTING_MSI,
				.u.msi = {.address_lo = (uint32_t)msi->address,
					  .address_hi = (uint32_t)(msi->address >> 32),
					  .data = msi->data},
			};
	}
	table->nr = (uint32_t)n;
	ret = ioctl(kvm->fd, KVM_SET_GSI_ROUTING, table) ? -errno : 0;
	free(table);
	return ret;
}

static uint32_t free_gsi(const struct kvm *kvm)
{
	uint32_t gsi = IOAPIC_PINS;

	while (gsi < ROUTES_MAX && kvm->routes[gsi].used)
		gsi++;
	return gsi;
}

static int bind_locked(struct kvm *kvm, int fd, const struct msi *msi, uint32_t *handle)
{
	const struct kvm_irqfd irqfd = {
		.fd = (uint32_t)fd,
		.gsi = *handle ? *handle : free_gsi(kvm),
	};
	int ret;

	if (irqfd.gsi >= ROUTES_MAX)
		return -ENOSPC;
	kvm->routes[irqfd.gsi] = (struct msi_route){.used = true, .msi = *msi};
	ret = set_routes(kvm);
	if (!ret && !*handle && ioctl(kvm->fd, KVM_IRQFD, &irqfd))
		ret = -errno;
	if (ret && !*handle)
		kvm->routes[irqfd.gsi].used = false;
	if (!ret)
		*handle = irqfd.gsi;
	return ret;
}

static int sink_bind(void *arg, int fd, const struct msi *msi, uint32_t *handle, struct err *err)
{
	struct kvm *kvm = arg;
	int ret;

	lock_take(&kvm->routes_lock);
	ret = bind_locked(kvm, fd, msi, handle);
	lock_drop(&kvm->routes_lock);
	return ret ? err_sys(err, -ret, "KVM cannot route a message-signalled interrupt") : 0;
}

static void sink_unbind(void *arg, int fd, uint32_t handle)
{
	struct kvm *kvm = arg;
	const struct kvm_irqfd irqfd = {
		.fd = (uint32_t)fd,
		.gsi = handle,
		.flags = KVM_IRQFD_FLAG_DEASSIGN,
	};

	lock_take(&kvm->routes_lock);
	ioctl(kvm->fd, KVM_IRQFD, &irqfd);
	kvm->routes[handle].used = false;
	set_routes(kvm);
	lock_drop(&kvm->routes_lock);
}

/*
 * A pin that is masked or edge-triggered again keeps its route: at worst KVM tells of an end that
 * nobody waits for, and guests mask far more often than they change a trigger mode.
 */
static void sink_watch(void *arg, unsigned int pin, const struct msi *msi)
{
	struct kvm *kvm = arg;
	struct msi_route *route = &kvm->routes[pin];

	if (!msi)
		return;
	lock_take(&kvm->routes_lock);
	if (!route->used || route->msi.address != msi->address || route->msi.data != msi->data) {
		*route = (struct msi_route){.used = true, .msi = *msi};
		set_routes(kvm);
	}
	lock_drop(&kvm->routes_lock);
}

static void sink_intr(void *arg, bool level)
{
	struct kvm *kvm = arg;
	struct vcpu *vcpu = &kvm->vcpus[0];

	atomic_store(&kvm->intr, level);
	/* On its own thread vCPU 0 looks before it enters. */
	if (level && atomic_load(&vcpu->started) && !pthread_equal(pthread_self(), vcpu->thread))
		vcpu_kick(vcpu);
}

void irqchip_offer(struct vcpu *vcpu)
{
	struct kvm *kvm = vcpu->kvm;
	struct kvm_interrupt interrupt;
	int vector;

	if (atomic_load(&kvm->intr) && vcpu->run->ready_for_interrupt_injection) {
		vector = irqs_acknowledge(kvm->machine->irqs);
		interrupt.irq = (uint32_t)vector;
		vcpu->offered = vector;
		if (vector >= 0)
			ioctl(vcpu->fd, KVM_INTERRUPT, &interrupt);
		vcpu->run->ready_for_interrupt_injection = 0;
	}
	/* What is left, or came when it could not be taken: KVM says when it can. */
	vcpu->run->request_interrupt_window = atomic_load(&kvm->intr);
}

/* As a firmware leaves it: the interrupts of the 8259A pair that PCI drives are level-triggered. */
static int set_trigger_modes(const struct kvm *kvm)
{
	struct kvm_irqchip slave = {.chip_id = KVM_IRQCHIP_PIC_SLAVE};

	if (ioctl(kvm->fd, KVM_GET_IRQCHIP, &slave))
		return -errno;
	slave.chip.pic.elcr |= 3U << (PCI_INTX_ISA - PIC_PINS);
	return ioctl(kvm->fd, KVM_SET_IRQCHIP, &slave) ? -errno : 0;
}

static int create_kernel(struct kvm *kvm, struct irq_sink *sink, struct err *err)
{
	const struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	int ret;

	if (ioctl(kvm->fd, KVM_CREATE_IRQCHIP, 0))
		return err_sys(err, errno, "KVM cannot make its interrupt chips");
	if (ioctl(kvm->fd, KVM_CREATE_PIT2, &pit))
		return err_sys(err, errno, "KVM cannot make its 8254");
	ret = set_trigger_modes(kvm);
	if (!ret)
		ret = set_routes(kvm);
	if (ret)
		return err_sys(err, -ret, "KVM cannot wire its interrupt chips");
	sink->set = sink_set;
	return 0;
}

static int create_split(struct kvm *kvm, struct irq_sink *sink, struct err *err)
{
	const struct kvm_enable_cap cap = {
		.cap = KVM_CAP_SPLIT_IRQCHIP,
		.args = {IOAPIC_PINS},
	};

	if (ioctl(kvm->fd, KVM_ENABLE_CAP, &cap)) {
		int ret = err_sys(err, errno, "KVM cannot do with local APICs only");

		err_advise(err, "--irqchip kernel needs less of it");
		return ret;
	}
	sink->intr = sink_intr;
	sink->watch = sink_watch;
	return 0;
}

int irqchip_create(struct kvm *kvm, struct err *err)
{
	struct irq_sink sink = {
		.msi = sink_msi,
		.bind = sink_bind,
		.unbind = sink_unbind,
		.arg = kvm,
	};
	int ret = kvm->split ? create_split(kvm, &sink, err) : create_kernel(kvm, &sink, err);

	if (!ret)
		irqs_set_sink(kvm->machine->irqs, &sink);
	return ret;
}

void irqchip_destroy(struct kvm *kvm)
{
	irqs_set_sink(kvm->machine->irqs, NULL);
}
