/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio - what all virtio devices share, over PCI or over MMIO.
 *
 * Follows the Virtual I/O Device specification 1.2. A model embeds a struct virtio, describes
 * itself by a struct virtio_model and gives what differs: what to do with a chain. Feature
 * negotiation, status, queues, notifications both ways, configuration generation, reset and
 * DEVICE_NEEDS_RESET are here; the transports (virtio_pci.c, virtio_mmio.c) only carry registers.
 *
 * Threads. A driver's register accesses arrive on vCPU threads with the device's lock held. A queue
 * that runs belongs to one worker: its doorbell is an eventfd that the worker reads, and ready(),
 * request() and cancel() run on that worker without the device's lock. start() and stop() of
 * queues are made by worker_call(), so nothing of a queue is ever touched by two threads. What both
 * sides need of the device (features, options) does not change while queues run.
 *
 * Nothing is allocated in flight: each queue has its requests from the beginning, and takes no more
 * chains than it has requests.
 */
#ifndef SKEP_VIRTIO_H
#define SKEP_VIRTIO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "skep/class.h"
#include "skep/device.h"
#include "skep/lock.h"
#include "skep/pci.h"
#include "skep/virtq.h"
#include "skep/worker.h"

struct virtio;
struct virtio_queue;
struct virtio_transport;

#define VIRTIO_QUEUES_MAX 65
#define VIRTIO_CONFIG_MAX 64

/* Feature bits of section 6 that are not a device's own. */
#define VIRTIO_FEATURE(bit) (UINT64_C(1) << (bit))

/* A chain of the driver's that the device works on. A model's own request struct begins with it. */
struct virtio_request {
	struct virtio_queue *queue;
	struct virtq_chain chain;
	/* Private. */
	struct virtio_request *next;
	bool taken;
};

struct virtio_model {
	uint16_t id;               /* section 5: 4 is the entropy device */
	uint32_t class_code;       /* as a PCI function; 24 bits */
	size_t request_size;       /* of the model's request struct; 0: struct virtio_request */
	unsigned int segments_max; /* iovecs that a chain may have, at most 1024; 0: 64 */
	unsigned int depth;        /* requests a queue has at most; 0: 128 */

	/*
	 * There may be chains to take from @q: the driver has rung, the queue has started, or a
	 * request was done while all had been taken. Worker. NULL: the core takes them one by one
	 * and calls request().
	 */
	void (*ready)(struct virtio_queue *q);
	void (*request)(struct virtio_request *r);
	/* Has what is under way on @q complete soon: the queue is to stop. Worker. May be NULL. */
	void (*cancel)(struct virtio_queue *q);

	/*
	 * The driver is ready (DRIVER_OK), the features are settled; queues start behind it.
	 * Device's lock held. -errno: the device needs a reset. May be NULL.
	 */
	int (*start)(struct virtio *v);
	/* All queues have stopped. Device's lock held. May be NULL. */
	void (*stop)(struct virtio *v);
	/* The driver wrote into the configuration, @config has it. Device's lock held. NULL: it is
	 * read-only. */
	void (*config_written)(struct virtio *v, unsigned int at, unsigned int size);
};

struct virtio_options {
	unsigned int transport; /* pci|mmio */
	const char *addr;       /* PCI slot */
	uint64_t queue_size;
	bool packed; /* offer the packed ring */
	bool iommu;  /* offer VIRTIO_F_ACCESS_PLATFORM: addresses are physical all the same */
};

/* Guest-visible; described by virtio_data_state. */
struct virtio_data {
	uint64_t driver_features;
	uint32_t device_feature_select;
	uint32_t driver_feature_select;
	uint32_t generation;
	uint16_t queue_select;
	uint16_t config_vector;
	uint8_t status;
	uint8_t isr;
	uint8_t pad[6];
	uint8_t config[VIRTIO_CONFIG_MAX];
	struct virtq_setup setup[VIRTIO_QUEUES_MAX];
	uint16_t position[VIRTIO_QUEUES_MAX][2];
	uint16_t vector[VIRTIO_QUEUES_MAX];
	uint8_t enabled[VIRTIO_QUEUES_MAX];
};

struct virtio_queue {
	struct virtio *virtio;
	unsigned int index;
	struct worker *worker;
	struct virtq *vq;
	/* Private. */
	bool running;
	bool starved; /* a chain waits for a request to take it with */
	int kick_fd;  /* the doorbell */
	int kick_slot;
	uint64_t kick_count;
	struct io kick_io;
	int call_slots[PCI_MSIX_MAX]; /* of the vectors' eventfds, once used; -1 */
	uint64_t call_count;
	struct io call_io;
	bool call_again;
	struct deferral publish;
	struct post interrupt;
	unsigned int inflight;
	void *requests; /* one block */
	struct virtio_request *free;
};

struct virtio {
	/* Set by the model before virtio_attach(). */
	uint64_t offered; /* the device's own feature bits; the core adds its own */
	unsigned int queue_count;
	/* Config space: the model's view is virtio_config(). */
	unsigned int config_size;
	bool spread; /* each queue has a worker of its own; if not, one serves all */

	/* Private, from here on. */
	struct virtio_data data;
	struct virtio_options options;
	const struct virtio_model *model;
	struct device *dev;
	const struct virtio_transport *transport;
	uint64_t features; /* negotiated; settled while queues run */
	struct virtio_queue *queues;
	struct lock isr_lock; /* LOCK_LINE: isr and the line */
	struct pci_function pci;
	struct virtio_mmio *mmio;
};

/* A model's class says: .family = &virtio_family, .family_offset = offsetof(struct X, virtio). */
extern const struct device_family virtio_family;

/*
 * Completes @v, whose public members are set, and makes it reachable by the transport of its
 * options. From the model's create; virtio_detach() follows in its destroy, in any case.
 */
int virtio_attach(struct virtio *v, struct device *dev, const struct virtio_model *model,
		  struct err *err);
void virtio_detach(struct virtio *v);

/* The configuration space, config_size bytes, little-endian. Device's lock held, or before the
 * machine runs. */
static inline void *virtio_config(struct virtio *v)
{
	return v->data.config;
}
/* The device changed it: a new generation, and an interrupt. Device's lock held. */
void virtio_config_changed(struct virtio *v);

/* Whether feature @bit was negotiated. While queues run, any thread. */
static inline bool virtio_has(const struct virtio *v, unsigned int bit)
{
	return v->features >> bit & 1;
}

/* On the queue's worker, while it runs: */

/*
 * Takes the next chain. NULL when there is none (then the driver's next one makes the queue ready
 * again), when all requests are taken (then ready again when one is done), or when the ring is
 * broken.
 */
struct virtio_request *virtio_take(struct virtio_queue *q);
/* Gives the last one taken back to the ring, untouched; the queue is not ready by itself then. */
void virtio_untake(struct virtio_request *r);
/* Hands the chain back to the driver, with the bytes written into it. At the end of the worker's
 * turn all that were done are published with one interrupt. */
void virtio_done(struct virtio_request *r, uint32_t written);

/*
 * The device can go on no longer: sets DEVICE_NEEDS_RESET (2.1.1) and tells the driver. Any thread
 * without locks; the queues stop soon after. The person reads the sentence, from a bounded log.
 */
void virtio_break(struct virtio *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Runs @fn on the queue's worker, if the queue runs then. Any thread, device's lock at most held.
 */
void virtio_on_queue(struct virtio_queue *q, void (*fn)(struct virtio_queue *q));

/* All queues finish what is under way and take no more, and go on. Control thread, vCPUs parked. */
void virtio_quiesce(struct virtio *v);
void virtio_resume(struct virtio *v);

#endif
