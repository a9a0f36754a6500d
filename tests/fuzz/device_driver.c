/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver of virtio devices that brings one up in few bytes of input, and then lays chains into
 * its rings that are as good or as bad as the input wants. What lies where is fixed, so that input
 * can write over all of it.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "device.h"
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/pci.h"

#define DRIVER_OFFSET UINT64_C(0x1000)
#define DEVICE_OFFSET UINT64_C(0x1400)

#define MSI_ADDRESS 0xfee00000U

enum { START_PACKED = 1, START_EVENTS = 2, START_INDIRECT = 4, START_ORDER = 8, START_MSIX = 16 };
enum { CHAIN_INDIRECT = 8, CHAIN_SILENT = 16, CHAIN_HIDDEN = 32 };
enum { BUFFER_WRITE = 16, BUFFER_FAR = 32, BUFFER_DATA = 64 };

/* A queue that is not kicked, but reset (2.6.1). */
#define KICK_RESETS 128U

/* Whether the registers are where they can be reached. */
static bool find(struct bench *b)
{
	const struct virtio *v = b->virtio;

	if (!v)
		return false;
	b->driver.m = &b->m;
	b->driver.way.mmio = v->options.transport == VIRTIO_MMIO;
	b->driver.registers = b->driver.way.mmio ? v->at_mmio.at : v->at_pci.at;
	return b->driver.way.mmio || v->at_pci.mapped;
}

static void set_area(struct vdriver *d, enum vreg low, uint64_t gpa)
{
	vdriver_set(d, low, (uint32_t)gpa);
	vdriver_set(d, low + 1, (uint32_t)(gpa >> 32));
}

static void set_vectors(struct bench *b, bool on)
{
	struct machine *m = &b->m.rig.machine;
	const struct pci_function *f = &b->virtio->pci;
	const unsigned int devfn = f->devfn;
	unsigned int cap = pci_config_read(m->pci, devfn, 0x34, 1), n = 0;
	uint64_t table;

	while (cap && pci_config_read(m->pci, devfn, cap, 1) != 0x11 && n++ < 48)
		cap = pci_config_read(m->pci, devfn, cap + 1, 1);
	table = pci_config_read(m->pci, devfn, 0x20, 4) & ~15U;
	for (unsigned int i = 0; on && i <= b->virtio->queue_count; i++) {
		bus_write(m->mmio, table + 16 * (uint64_t)i, 4, MSI_ADDRESS);
		bus_write(m->mmio, table + 16 * (uint64_t)i + 8, 4, i);
		bus_write(m->mmio, table + 16 * (uint64_t)i + 12, 4, 0);
	}
	pci_config_write(m->pci, devfn, cap + 2, 2, on ? 0x8000 : 0);
}

static void set_queue(struct bench *b, unsigned int n, bool msix)
{
	struct vdriver *d = &b->driver;
	const uint64_t at = RINGS_AT + n * RING_LEN;

	vdriver_set(d, VREG_QUEUE_SELECT, n);
	vdriver_set(d, VREG_QUEUE_SIZE, b->ring_size);
	set_area(d, VREG_QUEUE_DESC_LOW, at);
	set_area(d, VREG_QUEUE_DRIVER_LOW, at + DRIVER_OFFSET);
	set_area(d, VREG_QUEUE_DEVICE_LOW, at + DEVICE_OFFSET);
	if (msix)
		vdriver_set(d, VREG_QUEUE_VECTOR, n + 1);
	vdriver_set(d, VREG_QUEUE_ENABLE, 1);
}

/* Section 3.1.1. One byte of what is wanted, four of features that are not. */
void driver_start(struct bench *b, struct input *in)
{
	const unsigned int flags = (unsigned int)input_get(in, 1);
	uint64_t features = ~input_get(in, 4);
	const bool msix = flags & START_MSIX;
	struct vdriver *d = &b->driver;

	if (!find(b))
		return;
	vdriver_set(d, VREG_STATUS, 0);
	vdriver_set(d, VREG_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	vdriver_set(d, VREG_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	b->packed = flags & START_PACKED;
	features &= ~(b->packed ? 0 : VIRTIO_FEATURE(VIRTIO_F_RING_PACKED));
	features &= ~(flags & START_EVENTS ? 0 : VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX));
	features &= ~(flags & START_INDIRECT ? 0 : VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC));
	features &= ~(flags & START_ORDER ? 0 : VIRTIO_FEATURE(VIRTIO_F_IN_ORDER));
	features &= b->virtio->offered;
	vdriver_set(d, VREG_DRIVER_FEATURE_SELECT, 0);
	vdriver_set(d, VREG_DRIVER_FEATURE, (uint32_t)features);
	vdriver_set(d, VREG_DRIVER_FEATURE_SELECT, 1);
	vdriver_set(d, VREG_DRIVER_FEATURE, (uint32_t)(features >> 32));
	vdriver_set(d, VREG_STATUS,
		    VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			    VIRTIO_CONFIG_S_FEATURES_OK);
	if (!d->way.mmio)
		set_vectors(b, msix);
	if (!d->way.mmio && msix)
		vdriver_set(d, VREG_CONFIG_VECTOR, 0);
	b->ring_size = 8U << (flags >> 6);
	memset(b->avail, 0, sizeof(b->avail));
	gmem_fill(b->m.rig.machine.mem, RINGS_AT, 0,
		  RING_LEN * MIN(b->virtio->queue_count, BENCH_QUEUES));
	for (unsigned int i = 0; i < MIN(b->virtio->queue_count, BENCH_QUEUES); i++)
		set_queue(b, i, msix && !d->way.mmio);
	vdriver_set(d, VREG_STATUS, vdriver_get(d, VREG_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
}

void driver_kick(struct bench *b, unsigned int queue)
{
	struct bus *bus = b->m.rig.machine.mmio;

	if (!find(b))
		return;
	if (queue & KICK_RESETS) {
		vdriver_set(&b->driver, VREG_QUEUE_SELECT, queue & ~KICK_RESETS);
		vdriver_set(&b->driver, VREG_QUEUE_RESET, 1);
		return;
	}
	if (b->driver.way.mmio)
		bus_write(bus, b->driver.registers + VIRTIO_MMIO_QUEUE_NOTIFY, 4, queue);
	else
		bus_write(bus, b->driver.registers + 0x3000 + 4 * (uint64_t)queue, 2, queue);
}

static uint32_t get_length(struct input *in, unsigned int code)
{
	static const uint32_t lengths[] = {0,  1,  2,   4,    8,    12,   16,
					   20, 24, 512, 1024, 1526, 4096, 65536};

	if (code < ARRAY_SIZE(lengths))
		return lengths[code];
	return (uint32_t)input_get(in, code == 14 ? 2 : 4);
}

/* One byte of what it is, then what that says is to follow. */
static struct vring_desc get_buffer(struct bench *b, struct input *in)
{
	const unsigned int kind = (unsigned int)input_get(in, 1);
	struct vring_desc d = {
		.addr = BUFFERS_AT + b->buffer++ % BUFFER_COUNT * BUFFER_LEN,
		.len = get_length(in, kind & 15),
		.flags = kind & BUFFER_WRITE ? VRING_DESC_F_WRITE : 0,
	};

	if (kind & BUFFER_FAR)
		d.addr = input_get(in, 4);
	if (kind & BUFFER_DATA)
		for (uint64_t i = 0, n = input_get(in, 1) & 63; i < n; i++) {
			const uint8_t byte = (uint8_t)input_get(in, 1);

			gmem_write(b->m.rig.machine.mem, d.addr + i, &byte, 1);
		}
	return d;
}

static void put_split(struct bench *b, unsigned int q, const struct vring_desc *d, unsigned int n,
		      bool hidden)
{
	struct gmem *mem = b->m.rig.machine.mem;
	const uint64_t at = RINGS_AT + q * RING_LEN;
	/* Every chain has eight descriptors of its own, in turn. */
	const uint16_t head = (uint16_t)(b->avail[q] * 8U % b->ring_size);
	uint16_t idx = b->avail[q];

	for (unsigned int i = 0; i < n; i++) {
		struct vring_desc e = d[i];

		e.next = (uint16_t)((head + i + 1) % b->ring_size);
		e.flags |= i + 1 < n ? VRING_DESC_F_NEXT : 0;
		gmem_write(mem, at + 16 * (uint64_t)((head + i) % b->ring_size), &e, sizeof(e));
	}
	gmem_write(mem, at + DRIVER_OFFSET + 4 + 2 * (uint64_t)(idx % b->ring_size), &head, 2);
	if (hidden)
		return;
	b->avail[q] = ++idx;
	gmem_write(mem, at + DRIVER_OFFSET + 2, &idx, 2);
}

static void put_packed(struct bench *b, unsigned int q, const struct vring_desc *d, unsigned int n,
		       bool hidden)
{
	for (unsigned int i = n; i-- > 0;) {
		const unsigned int at = b->avail[q] + i;
		const bool wrap = at / b->ring_size % 2 == 0;
		struct vring_packed_desc e = {
			.addr = d[i].addr,
			.len = d[i].len,
			.id = (uint16_t)(b->avail[q] % b->ring_size),
			.flags = d[i].flags,
		};

		e.flags |= i + 1 < n ? VRING_DESC_F_NEXT : 0;
		e.flags |= (uint16_t)(1U << (wrap != hidden ? VRING_PACKED_DESC_F_AVAIL
							    : VRING_PACKED_DESC_F_USED));
		gmem_write(b->m.rig.machine.mem,
			   RINGS_AT + q * RING_LEN + 16 * (uint64_t)(at % b->ring_size), &e,
			   sizeof(e));
	}
	if (!hidden)
		b->avail[q] = (uint16_t)(b->avail[q] + n);
}

/* The chain's buffers go into a table, which is all that the ring has of it. */
static struct vring_desc put_table(struct bench *b, struct vring_desc *d, unsigned int n)
{
	const struct vring_desc table = {
		.addr = BUFFERS_AT + b->buffer++ % BUFFER_COUNT * BUFFER_LEN,
		.len = n * 16,
		.flags = VRING_DESC_F_INDIRECT,
	};

	for (unsigned int i = 0; i < n && !b->packed; i++) {
		d[i].next = (uint16_t)(i + 1);
		d[i].flags |= i + 1 < n ? VRING_DESC_F_NEXT : 0;
	}
	for (unsigned int i = 0; i < n; i++) {
		const struct vring_packed_desc p = {d[i].addr, d[i].len, 0, d[i].flags};

		gmem_write(b->m.rig.machine.mem, table.addr + 16 * (uint64_t)i,
			   b->packed ? (const void *)&p : &d[i], 16);
	}
	return table;
}

/* A byte for the queue, one of how many and how, and the buffers. */
void driver_chain(struct bench *b, struct input *in)
{
	const unsigned int q = (unsigned int)input_get(in, 1) % BENCH_QUEUES;
	const unsigned int how = (unsigned int)input_get(in, 1);
	unsigned int n = 1 + (how & 7);
	struct vring_desc d[8];

	if (!b->virtio || !b->ring_size)
		return;
	for (unsigned int i = 0; i < n; i++)
		d[i] = get_buffer(b, in);
	if (how & CHAIN_INDIRECT) {
		d[0] = put_table(b, d, n);
		n = 1;
	}
	if (b->packed)
		put_packed(b, q, d, n, how & CHAIN_HIDDEN);
	else
		put_split(b, q, d, n, how & CHAIN_HIDDEN);
	if (how & CHAIN_SILENT)
		return;
	driver_kick(b, q);
	bench_turn(b, 16U << (how >> 5 & 6));
}

/* Over rings or buffers: two bytes of where (the first queue's are the likeliest), and what. */
void driver_poke(struct bench *b, struct input *in)
{
	const uint64_t where = input_get(in, 2);
	const uint64_t at = where & 0x8000 ? BUFFERS_AT + (where & 0x7fff) * 8 : RINGS_AT + where;
	const unsigned int n = 1 + (input_get(in, 1) & 15);

	for (unsigned int i = 0; i < n; i++) {
		const uint8_t byte = (uint8_t)input_get(in, 1);

		gmem_write(b->m.rig.machine.mem, at + i, &byte, 1);
	}
}
