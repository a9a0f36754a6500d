/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Doorbells by ioeventfd: KVM signals the eventfd itself, and the write costs no exit to user
 * space.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "kvm_priv.h"
#include "skep/bus.h"
#include "skep/device.h"
#include "skep/err.h"

static int set_doorbell(struct kvm *kvm, const struct bus *bus, const struct bus_doorbell *bell,
			bool add)
{
	struct kvm_ioeventfd io = {
		.datamatch = bell->value,
		.addr = bell->at,
		.len = bell->size,
		.fd = bell->fd,
	};

	if (bus == kvm->machine->ports)
		io.flags |= KVM_IOEVENTFD_FLAG_PIO;
	if (bell->match)
		io.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
	if (!add)
		io.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
	return ioctl(kvm->fd, KVM_IOEVENTFD, &io) ? -errno : 0;
}

static int add_doorbell(void *arg, const struct bus *bus, const struct bus_doorbell *bell,
			struct err *err)
{
	int ret = set_doorbell(arg, bus, bell, true);

	return ret ? err_sys(err, -ret, "KVM cannot watch the doorbell at %s %llx", bus_name(bus),
			     (unsigned long long)bell->at)
		   : 0;
}

static void del_doorbell(void *arg, const struct bus *bus, const struct bus_doorbell *bell)
{
	set_doorbell(arg, bus, bell, false);
}

void doorbell_attach(struct kvm *kvm)
{
	const struct bus_doorbell_sink sink = {
		.add = add_doorbell,
		.del = del_doorbell,
		.arg = kvm,
	};

	bus_set_doorbell_sink(kvm->machine->ports, &sink);
	bus_set_doorbell_sink(kvm->machine->mmio, &sink);
}

void doorbell_detach(struct kvm *kvm)
{
	bus_set_doorbell_sink(kvm->machine->ports, NULL);
	bus_set_doorbell_sink(kvm->machine->mmio, NULL);
}
