/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vring - a driver's side of a virtqueue, split or packed, as a guest has it.
 *
 * A test gives it a piece of guest memory, and it lays out the rings and hands out buffers there.
 * It adds chains, tells whether the device has to be notified, and reaps what was used; it knows no
 * more of the device than a guest does. Descriptors and buffer IDs are reused last in, first out,
 * so that a ring soon is in disorder; with in_order they go round, as 2.7.5.2 wants it.
 *
 * All of it for one thread, while another one drives the device. What cannot be fails the test.
 */
#ifndef TESTS_SUPPORT_VRING_H
#define TESTS_SUPPORT_VRING_H

#include <stdbool.h>
#include <stdint.h>

#include "skep/gmem.h"
#include "skep/virtq.h"

struct vring_buf {
	uint64_t gpa;
	uint32_t len;
};

struct vring_chain {
	void *cookie;
	uint64_t table; /* room for an indirect table */
	uint32_t room;  /* of how many descriptors */
	uint32_t count; /* ring entries that it takes; 0: the ID is free */
};

struct vring_done {
	void *cookie;
	uint32_t id;
	uint32_t written;
};

struct vring_driver {
	struct gmem *mem;
	struct virtq_setup setup; /* for the device */
	struct virtq_features features;
	uint64_t next, end; /* what is left of the memory */
	unsigned int free;  /* entries of the ring */

	/* Private. */
	struct vring_chain *chains; /* by ID */
	uint16_t *ids;              /* free ones: a stack, or a ring when in order */
	uint16_t *links;            /* split: what follows a descriptor in its chain */
	unsigned int id_count, id_next;
	uint32_t avail, used; /* entries made available and given back, ever */
	uint32_t told;        /* .avail at the last decision on a notification */
	void *desc, *driver, *device;
};

/* Rings of @size entries at @gpa, and memory up to @gpa + @len. Interrupts are on. */
void vring_setup(struct vring_driver *d, struct gmem *mem, uint64_t gpa, uint64_t len,
		 unsigned int size, const struct virtq_features *features);
void vring_teardown(struct vring_driver *d);

/* Memory for a buffer, zeroed and aligned to 16 bytes; it is not given back. */
uint64_t vring_alloc(struct vring_driver *d, uint64_t len);
/* The same with contents. */
struct vring_buf vring_buffer(struct vring_driver *d, const void *data, uint32_t len);
void *vring_ptr(const struct vring_driver *d, uint64_t gpa, uint64_t len);

/*
 * Makes a chain available: @out buffers that the device reads, then @in that it writes. -ENOSPC
 * when the ring has no room for it, or, with @indirect, none for one entry.
 */
int vring_add(struct vring_driver *d, const struct vring_buf *bufs, unsigned int out,
	      unsigned int in, bool indirect, void *cookie);

/* Whether the device wants to hear of what was added since this was last asked. */
bool vring_must_kick(struct vring_driver *d);

/* The next used chain, if there is one. */
bool vring_reap(struct vring_driver *d, struct vring_done *done);

/* Asks for no interrupts: a hint. */
void vring_mask(struct vring_driver *d);
/*
 * Asks for one when the @after-th entry behind the next one is used; without events, for every one.
 * True when something was used already: reap again.
 */
bool vring_unmask(struct vring_driver *d, unsigned int after);
/* Whether the device, which has published @now entries in all and @before at the last time, had to
 * interrupt, by the letter of the specification. */
bool vring_wants_interrupt(const struct vring_driver *d, uint32_t before, uint32_t now);

#endif
