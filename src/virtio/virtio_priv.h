/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of virtio share: virtio.c has what a driver sees of a device, virtio_queue.c what
 * the workers do, virtio_pci.c and virtio_mmio.c the registers.
 *
 * Everything here is called with the device's lock held unless it says otherwise. The device's
 * status and interrupt status are atomic: workers set bits of them, and no worker waits for a
 * device's lock.
 */
#ifndef SKEP_VIRTIO_PRIV_H
#define SKEP_VIRTIO_PRIV_H

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>

#include "skep/virtio.h"

struct aml;

/* Bits of the interrupt status (4.1.4.5, 4.2.2). */
#define ISR_QUEUE  VIRTIO_MMIO_INT_VRING
#define ISR_CONFIG VIRTIO_MMIO_INT_CONFIG

/* bus_ops.region; virtio_mmio.c's is 0. */
#define VIRTIO_REGION_PCI   2
#define VIRTIO_REGION_PORTS 3

/* virtio_pci.c: a page for each structure, and how far doorbells are apart. */
#define VIRTIO_PCI_PAGE         0x1000U
#define VIRTIO_PCI_NOTIFY_EVERY 4U

/* virtio_mmio.c: behind the registers that <linux/virtio_mmio.h> names (4.2.2). */
#define MMIO_QUEUE_RESET 0x0c0

/* virtio_explain.c */
explain_fn virtio_explain;

struct virtio_transport {
	int (*attach)(struct virtio *v, struct err *err);
	/* Legal when attach failed or never ran. */
	void (*detach)(struct virtio *v);
	/* Of the machine; the device itself was reset. May be NULL. */
	void (*reset)(struct virtio *v);
	int (*loaded)(struct virtio *v, struct err *err);          /* may be NULL */
	void (*describe)(const struct virtio *v, struct aml *aml); /* may be NULL */
	/* Way @which, below VIRTIO_BELLS, of notifying queue @index, and the bus it is on; NULL:
	 * there is no such way at this moment. */
	struct bus *(*doorbell)(const struct virtio *v, unsigned int index, unsigned int which,
				struct bus_doorbell *bell);

	/* The rest: any thread, the device's lock at most held. Interrupts go by the line while
	 * vectored() is NULL or false. */
	bool (*may_work)(struct virtio *v); /* reach guest memory; NULL: always */
	void (*set_line)(struct virtio *v, bool level);
	bool (*vectored)(const struct virtio *v);
	int (*vector_fd)(const struct virtio *v, unsigned int vector);
	void (*raise)(struct virtio *v, unsigned int vector);
};

extern const struct virtio_transport virtio_pci_transport;
extern const struct virtio_transport virtio_mmio_transport;

static inline struct virtio *virtio_of(const struct device *dev)
{
	return (struct virtio *)((uintptr_t)dev + dev->class->family_offset);
}

static inline uint8_t virtio_status(const struct virtio *v)
{
	return __atomic_load_n(&v->data.status, __ATOMIC_SEQ_CST);
}

static inline bool virtio_broken(const struct virtio *v)
{
	return virtio_status(v) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* virtio.c: what the registers of both transports do. */

void virtio_write_status(struct virtio *v, uint8_t value);
/* The word of the offered and the accepted features that the driver has selected. */
uint32_t virtio_read_offered(const struct virtio *v);
uint32_t virtio_read_accepted(const struct virtio *v);
void virtio_write_accepted(struct virtio *v, uint32_t word);
/* The number of the selected queue; false: there is none of that number. */
bool virtio_selected(const struct virtio *v, unsigned int *n);
void virtio_set_size(struct virtio *v, uint32_t size);
/* Sets half of an address of the selected queue: @area is one of data.desc, driver, device. */
void virtio_set_area(struct virtio *v, uint64_t *area, bool high, uint32_t word);
void virtio_enable_queue(struct virtio *v);
void virtio_disable_queue(struct virtio *v);
/* Sections 2.6.1 and 2.6.1.1; nothing unless VIRTIO_F_RING_RESET was negotiated. */
void virtio_reset_queue(struct virtio *v);
uint8_t virtio_take_isr(struct virtio *v);             /* reads and clears */
void virtio_clear_isr(struct virtio *v, uint8_t bits); /* clears */
/* Bytes behind the end read as zeroes and swallow writes. @size 1 to 8. False: the driver may not
 * write there. */
uint64_t virtio_read_config(struct virtio *v, uint64_t at, unsigned int size);
bool virtio_write_config(struct virtio *v, uint64_t at, unsigned int size, uint64_t value);

/* Sets @bits in the interrupt status and the line by it. Any thread. */
void virtio_interrupt(struct virtio *v, uint8_t bits);

/* virtio_queue.c */

/* Everything that the queues will need; virtio_queues_destroy() in any case. */
int virtio_queues_create(struct virtio *v, struct err *err);
void virtio_queues_destroy(struct virtio *v);
/* Has the queue's worker serve it, from data.avail and data.used on if @resume. */
void virtio_queue_start(struct virtio *v, unsigned int n, bool resume);
/* With @keep, what was done is published and data.avail and data.used say where it stands. */
void virtio_queue_stop(struct virtio *v, unsigned int n, bool keep);
/* The driver rang without the help of a doorbell. */
void virtio_queue_rung(struct virtio *v, unsigned int n);
/* The transport's doorbells have come, moved, or gone. */
void virtio_queues_bells(struct virtio *v);

#endif
