/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bursts: a guest that pours bytes into one port, as a chatty console does, pays an exit to user
 * space for each. KVM can hold such writes back in a ring and hand them over with the next exit
 * (KVM_CAP_COALESCED_PIO). It tells nobody that it did, so the ring must be looked at, and looking
 * is a wake-up. Hence only while a burst lasts:
 *
 * - A vCPU that sees BURST_BYTES writes without a BURST_PAUSE to a port whose device takes late
 *   writes (bus_ops.late) asks the control thread for a burst. That has KVM hold writes back, and
 *   sweeps the ring every SWEEP_EVERY: if bytes wait there, vCPU 0 is kicked to take them out.
 * - Every vCPU empties the ring behind each exit, before it handles it: devices see every access
 *   in the order in which the guest made it.
 * - When QUIET_SWEEPS find nothing new, the burst is over, and each write exits again. So no byte
 *   ever waits for longer than one sweep.
 * - A guest that waits for the device's answer to each handful of bytes is slowed down. If
 *   STARVED_SWEEPS in a row take out no more than a FIFO's worth, there is never a burst again.
 *
 * KVM_UNREGISTER waits for KVM's readers, which is why the control thread does it.
 */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm_priv.h"
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/clock.h"
#include "skep/device.h"

#define BURST_BYTES    64
#define BURST_PAUSE    (1 * NS_PER_MS)
#define SWEEP_EVERY    (1 * NS_PER_MS)
#define QUIET_SWEEPS   20
#define STARVED_SWEEPS 8
#define FIFO_BYTES     16

/* The ring's page: KVM's layout, with the room of the host's page size. */
static uint32_t ring_room(void)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (uint32_t)((page - sizeof(struct kvm_coalesced_mmio_ring)) /
			  sizeof(struct kvm_coalesced_mmio));
}

static uint32_t ring_waiting(const struct burst *b)
{
	uint32_t first = __atomic_load_n(&b->ring->first, __ATOMIC_ACQUIRE);
	uint32_t last = __atomic_load_n(&b->ring->last, __ATOMIC_ACQUIRE);

	return (last + b->room - first) % b->room;
}

/* Takes bytes for one port out of the ring, at most @max; returns how many. */
static uint32_t take_run(struct burst *b, uint8_t *bytes, uint32_t max, uint64_t *port)
{
	uint32_t waiting = ring_waiting(b);
	uint32_t at = b->ring->first;
	uint32_t n = 0;

	while (n < MIN(waiting, max)) {
		const struct kvm_coalesced_mmio *e = &b->ring->coalesced_mmio[at];

		if (n && e->phys_addr != *port)
			break;
		*port = e->phys_addr;
		bytes[n++] = e->data[0];
		at = (at + 1) % b->room;
	}
	__atomic_store_n(&b->ring->first, at, __ATOMIC_RELEASE);
	return n;
}

void burst_drain(struct kvm *kvm)
{
	struct burst *b = &kvm->burst;
	uint8_t bytes[256];
	uint64_t port = 0;
	uint32_t n;

	if (!b->ring || !ring_waiting(b))
		return;
	/* Held around the devices: another vCPU's bytes, or its exit, may not overtake. */
	lock_take(&b->lock);
	while ((n = take_run(b, bytes, sizeof(bytes), &port))) {
		atomic_fetch_add(&b->drained, n);
		bus_write_string(kvm->machine->ports, port, 1, bytes, n);
	}
	lock_drop(&b->lock);
}

void burst_note(struct kvm *kvm, uint16_t port)
{
	struct burst *b = &kvm->burst;
	uint64_t now;

	if (!b->ring || atomic_load_explicit(&b->on, memory_order_relaxed))
		return;
	if (atomic_load_explicit(&b->port, memory_order_relaxed) != port) {
		if (!bus_takes_late(kvm->machine->ports, port))
			return;
		atomic_store(&b->port, port);
		atomic_store(&b->count, 0);
	}
	now = clock_now();
	if (now - atomic_exchange(&b->last, now) > BURST_PAUSE)
		atomic_store(&b->count, 0);
	if (atomic_fetch_add(&b->count, 1) + 1 == BURST_BYTES)
		worker_post(kvm->machine->control, &b->begin);
}

static int hold_back(struct kvm *kvm, unsigned long request)
{
	const struct kvm_coalesced_mmio_zone zone = {
		.addr = kvm->burst.zone,
		.size = 1,
		.pio = 1,
	};

	return ioctl(kvm->fd, request, &zone);
}

static void burst_end(struct kvm *kvm)
{
	hold_back(kvm, KVM_UNREGISTER_COALESCED_MMIO);
	atomic_store(&kvm->burst.on, false);
	/* What came in between. */
	if (ring_waiting(&kvm->burst) && atomic_load(&kvm->vcpus[0].started))
		vcpu_kick(&kvm->vcpus[0]);
}

static void arm_sweep(struct burst *b)
{
	io_timeout(b->kvm->machine->control, &b->sweep, clock_now() + SWEEP_EVERY);
}

static void on_sweep(struct io *io, int result)
{
	struct burst *b = container_of(io, struct burst, sweep);
	uint32_t waiting = ring_waiting(b);
	uint64_t drained = atomic_load(&b->drained);
	uint64_t moved = drained - b->swept;

	if (result != -ETIME)
		return;
	b->swept = drained;
	b->quiet = moved || waiting ? 0 : b->quiet + 1;
	/* Nothing moved: the vCPU did not run, which says nothing of the guest. */
	if (moved)
		b->starved = waiting && moved <= FIFO_BYTES ? b->starved + 1 : 0;
	if (waiting)
		vcpu_kick(&b->kvm->vcpus[0]);
	if (b->starved == STARVED_SWEEPS)
		b->banned = true;
	if (b->banned || b->quiet == QUIET_SWEEPS)
		burst_end(b->kvm);
	else
		arm_sweep(b);
}

static void on_begin(struct post *post)
{
	struct burst *b = container_of(post, struct burst, begin);

	if (b->banned || atomic_load(&b->on) || !atomic_load(&b->kvm->vcpus[0].started))
		return;
	b->zone = atomic_load(&b->port);
	if (hold_back(b->kvm, KVM_REGISTER_COALESCED_MMIO)) {
		b->banned = true;
		return;
	}
	atomic_store(&b->on, true);
	atomic_store(&b->count, 0);
	b->swept = atomic_load(&b->drained);
	b->quiet = 0;
	b->starved = 0;
	arm_sweep(b);
}

void burst_create(struct kvm *kvm)
{
	struct burst *b = &kvm->burst;
	int page = ioctl(kvm->sys_fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO);

	b->kvm = kvm;
	b->begin.fn = on_begin;
	b->sweep.done = on_sweep;
	b->room = ring_room();
	/* Without a control thread nobody would sweep. */
	if (page <= 0 || !kvm->machine->control ||
	    ioctl(kvm->sys_fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_PIO) <= 0)
		return;
	lock_init(&b->lock, LOCK_VM);
	b->banned = false;
	b->ring = (struct kvm_coalesced_mmio_ring *)((char *)kvm->vcpus[0].run +
						     page * sysconf(_SC_PAGESIZE));
}

void burst_destroy(struct kvm *kvm)
{
	struct burst *b = &kvm->burst;

	if (!b->ring)
		return;
	worker_unpost(kvm->machine->control, &b->begin);
	io_cancel(kvm->machine->control, &b->sweep);
	io_drain(kvm->machine->control, &b->sweep);
	lock_destroy(&b->lock);
	b->ring = NULL;
	atomic_store(&b->on, false);
}
