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
#include "skep/sandbox.h"
#include "skep/virtq.h"
#include "skep/worker.h"

struct virtio;
struct virtio_queue;
struct virtio_transport;

#define VIRTIO_QUEUES_MAX 65
/* Ways to notify a queue that one transport may have. */
#define VIRTIO_BELLS      2
#define VIRTIO_CONFIG_MAX 96

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
	bool answers;              /* the driver answers what is done with chains, most often */
	enum sandbox_kind worker;  /* what its queues' workers may do */

	/*
	 * There may be chains to take from @q: the driver has rung, the queue has started, or
	 * virtio_take() had to refuse one. Worker. NULL: the core takes them one by one and calls
	 * request().
	 */
	void (*ready)(struct virtio_queue *q);
	void (*request)(struct virtio_request *r);
	/*
	 * The queue is to stop, for a reset or for a pause, and waits until every chain taken is
	 * done or untaken. Has operations complete soon that could take for ever (io_cancel());
	 * what was not begun is untaken, so that behind a pause, which @q->pausing tells from a
	 * reset, the driver misses nothing. Posts do not run meanwhile. Worker. May be NULL.
	 */
	void (*cancel)(struct virtio_queue *q);

	/* The features are settled (FEATURES_OK). Device's lock held. May be NULL. */
	void (*negotiated)(struct virtio *v);
	/*
	 * The driver is ready (DRIVER_OK), the features are settled; queues start behind it.
	 * Device's lock held. -errno: the device needs a reset. May be NULL.
	 */
	int (*start)(struct virtio *v);
	/* All queues have stopped. Device's lock held. May be NULL. */
	void (*stop)(struct virtio *v);
	/* The driver wrote into the configuration, which has it already. Device's lock held. NULL:
	 * it is read-only. */
	void (*config_written)(struct virtio *v, unsigned int at, unsigned int size);
	/* The part of it that can be written, and is behind a reset what it was when the device
	 * was attached; a @writable_len of 0: all. */
	unsigned int writable_at, writable_len;
};

enum virtio_transport_kind { VIRTIO_PCI, VIRTIO_MMIO };

/* Where a driver on PCI finds the doorbell first. */
enum virtio_doorbell { VIRTIO_DOORBELL_AUTO, VIRTIO_DOORBELL_MEMORY, VIRTIO_DOORBELL_PORTS };

struct virtio_options {
	unsigned int transport; /* enum virtio_transport_kind */
	const char *addr;       /* PCI slot */
	unsigned int doorbell;  /* enum virtio_doorbell */
	uint64_t queue_size;
	bool packed;   /* offer the packed ring */
	bool in_order; /* offer in-order completion */
};

/* Guest-visible; described by virtio_data_state. Entry n of an array is queue n's. */
struct virtio_data {
	uint64_t driver_features;
	uint64_t desc[VIRTIO_QUEUES_MAX]; /* see struct virtq_setup */
	uint64_t driver[VIRTIO_QUEUES_MAX];
	uint64_t device[VIRTIO_QUEUES_MAX];
	uint32_t device_feature_select;
	uint32_t driver_feature_select;
	uint32_t generation;
	uint16_t size[VIRTIO_QUEUES_MAX];
	uint16_t avail[VIRTIO_QUEUES_MAX]; /* see struct virtq_position */
	uint16_t used[VIRTIO_QUEUES_MAX];
	uint16_t vector[VIRTIO_QUEUES_MAX];
	uint16_t queue_select;
	uint16_t config_vector;
	uint8_t enabled[VIRTIO_QUEUES_MAX];
	uint8_t status;
	uint8_t isr;
	uint8_t config_stale; /* it has changed since the driver last read of it */
	uint8_t config[VIRTIO_CONFIG_MAX];
	uint8_t pad[4];
};
extern const struct state_table virtio_data_state;

struct virtio_queue {
	struct virtio *virtio;
	unsigned int index;
	struct worker *worker;
	struct virtq *vq;

	/* Private. With the device's lock: */
	bool started;
	struct virtio_bell {
		struct bus *bus; /* that it is on; NULL: none */
		struct bus_doorbell bell;
	} bells[VIRTIO_BELLS];
	int kick_fd; /* they all ring this */

	/* On the worker: */
	bool running;
	bool stopping;
	bool pausing;       /* while stopping: it goes on later with what is in the ring */
	bool armed;         /* the driver was asked to ring */
	bool turning;       /* within ready() */
	bool starved;       /* a chain waits for a request to take it with */
	unsigned int share; /* chains that may still be taken in this turn */
	unsigned int inflight;
	int kick_slot;
	uint64_t kick_count;
	struct io kick_io;
	int call_slot; /* of the eventfd of vector @call_vector; -1 */
	unsigned int call_vector;
	uint64_t call_count;
	struct io call_io;
	bool call_again;
	struct deferral publish;
	struct deferral watch; /* the ring, for the answer to what was published, */
	uint64_t watch_until;
	bool watching;
	unsigned int watch_rest; /* but not the next so many times, */
	unsigned int watch_miss; /* as it did not come so often */
	struct post again;
	char *requests; /* one block of @depth, of @stride bytes each */
	size_t stride;
	unsigned int depth;
	unsigned int fresh; /* those from here on were never used */
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
	uint8_t power_on[VIRTIO_CONFIG_MAX]; /* the configuration */
	struct virtio_data data; /* status and isr: atomically, of which any thread sets bits */
	struct virtio_options options;
	const struct virtio_model *model;
	struct device *dev;
	const struct virtio_transport *transport;
	uint64_t features; /* negotiated; settled while queues run */
	bool live;         /* the model was started */
	struct virtio_queue *queues;
	struct pci_function pci;
	struct virtio_pci {
		unsigned int window; /* offset of the capability for configuration access */
		bool mapped;
		uint64_t at; /* where the registers are */
		bool ports_mapped;
		uint64_t ports; /* where the doorbell of all queues is */
	} at_pci;
	struct virtio_mmio {
		bool mapped;
		uint64_t at;
		struct lock lock; /* LOCK_LINE: the line */
		struct irq_line line;
	} at_mmio;
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
/* The device changed it: a new generation when the driver reads of it, and an interrupt now.
 * Device's lock held. */
void virtio_config_changed(struct virtio *v);

/* Whether feature @bit was negotiated. While queues run, any thread. */
static inline bool virtio_has(const struct virtio *v, unsigned int bit)
{
	return v->features >> bit & 1;
}

/* On the queue's worker, while it runs: */

/*
 * Takes the next chain. NULL when there is none (then the driver's next one makes the queue ready
 * again), when all requests are taken (then ready again when one is done), when ready() has taken
 * its share of the worker's time (then ready again soon), or when the queue stops or is broken.
 */
struct virtio_request *virtio_take(struct virtio_queue *q);
/* Gives the last one taken that is not done back to the ring, untouched; the queue is not ready by
 * itself then. */
void virtio_untake(struct virtio_request *r);
/* Hands the chain back to the driver, with the bytes written into it. At the end of the worker's
 * turn all that were done are published with one interrupt. */
void virtio_done(struct virtio_request *r, uint32_t written);
/* Has the queue ready soon, with a share of its own of the worker's time. Nothing if it stopped. */
void virtio_again(struct virtio_queue *q);

/*
 * The device can go on no longer: sets DEVICE_NEEDS_RESET (2.1.1) and tells the driver. Any thread,
 * the device's lock at most held; no chain can be taken from then on. The person reads the
 * sentence, from a bounded log.
 */
void virtio_break(struct virtio *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Runs @fn on the queue's worker, if the queue runs then. Any thread, device's lock at most held.
 */
void virtio_on_queue(struct virtio_queue *q, void (*fn)(struct virtio_queue *q));

/*
 * All queues finish what is under way and take no more; what they stand at is in the device's
 * state. And go on, those that should run. Control thread, vCPUs parked, no lock held.
 */
void virtio_quiesce(struct virtio *v);
void virtio_resume(struct virtio *v);

#endif
