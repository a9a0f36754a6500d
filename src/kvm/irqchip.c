/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * KVM's own interrupt chips as the sink of irq.h: local APICs, IOAPIC, 8259A pair and 8254 in the
 * kernel. A wire is KVM_IRQ_LINE; a message is KVM_SIGNAL_MSI, or an irqfd with a route of its own.
 */
#include <stdlib.h>
#include <sys/ioctl.h>

#include "kvm_priv.h"
#include "skep/bits.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/irq.h"

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

/*
 * KVM takes the routes only as a whole. The chips' pins come first, wired as in a PC: the 8254 is
 * ISA interrupt 0 of the 8259A and pin 2 of the IOAPIC, whose pin 0 stays free; ISA interrupt 2 is
 * the cascade of the 8259A.
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
	for (uint32_t i = 0; i < 2 * PIC_PINS; i++)
		table->entries[n++] = (struct kvm_irq_routing_entry){
			.gsi = i,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = {i < PIC_PINS ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
				      i % PIC_PINS},
		};
	for (uint32_t i = 0; i < IOAPIC_PINS; i++)
		if (i != 2)
			table->entries[n++] = (struct kvm_irq_routing_entry){
				.gsi = i,
				.type = KVM_IRQ_ROUTING_IRQCHIP,
				.u.irqchip = {KVM_IRQCHIP_IOAPIC, i == 0 ? 2 : i},
			};
	for (uint32_t i = 0; i < ROUTES_MAX; i++)
		if (kvm->route_used[i])
			table->entries[n++] = kvm->routes[i];
	table->nr = (uint32_t)n;
	ret = ioctl(kvm->fd, KVM_SET_GSI_ROUTING, table) ? -errno : 0;
	free(table);
	return ret;
}

static int find_route(struct kvm *kvm, uint32_t handle)
{
	if (handle)
		return (int)(handle - IOAPIC_PINS);
	for (int i = 0; i < ROUTES_MAX; i++)
		if (!kvm->route_used[i])
			return i;
	return -ENOSPC;
}

static int bind_locked(struct kvm *kvm, int fd, const struct msi *msi, uint32_t *handle)
{
	int i = find_route(kvm, *handle);
	struct kvm_irqfd irqfd = {.fd = (uint32_t)fd};
	int ret;

	if (i < 0)
		return i;
	kvm->routes[i] = (struct kvm_irq_routing_entry){
		.gsi = IOAPIC_PINS + (uint32_t)i,
		.type = KVM_IRQ_ROUTING_MSI,
		.u.msi = {.address_lo = (uint32_t)msi->address,
			  .address_hi = (uint32_t)(msi->address >> 32),
			  .data = msi->data},
	};
	kvm->route_used[i] = true;
	ret = set_routes(kvm);
	irqfd.gsi = kvm->routes[i].gsi;
	if (!ret && !*handle && ioctl(kvm->fd, KVM_IRQFD, &irqfd))
		ret = -errno;
	if (ret && !*handle)
		kvm->route_used[i] = false;
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
	kvm->route_used[handle - IOAPIC_PINS] = false;
	set_routes(kvm);
	lock_drop(&kvm->routes_lock);
}

int irqchip_create(struct kvm *kvm, struct err *err)
{
	const struct irq_sink sink = {
		.set = sink_set,
		.msi = sink_msi,
		.bind = sink_bind,
		.unbind = sink_unbind,
		.arg = kvm,
	};
	struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
	int ret;

	if (ioctl(kvm->fd, KVM_CREATE_IRQCHIP, 0))
		return err_sys(err, errno, "KVM cannot make its interrupt chips");
	if (ioctl(kvm->fd, KVM_CREATE_PIT2, &pit))
		return err_sys(err, errno, "KVM cannot make its 8254");
	ret = set_routes(kvm);
	if (ret)
		return err_sys(err, -ret, "KVM cannot wire its interrupt chips");
	irqs_set_sink(kvm->machine->irqs, &sink);
	return 0;
}

void irqchip_destroy(struct kvm *kvm)
{
	irqs_set_sink(kvm->machine->irqs, NULL);
}
