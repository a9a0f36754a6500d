/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vdriver - a guest's driver of a virtio device, over PCI or MMIO, with split or packed rings.
 *
 * It finds the device as a guest does, through configuration space or by its magic number, and
 * knows of it only what the registers say. A test of a device:
 *
 *	static void test_it(void **state)
 *	{
 *		const struct vdriver_way *way = *state;
 *		struct vmachine m;
 *		struct vdriver d;
 *
 *		vmachine_init(&m);
 *		vdriver_create(&d, &m, way, "virtio_rng", "source=/dev/zero");
 *		vdriver_start(&d, UINT64_MAX);
 *		vring_add(vdriver_ring(&d, 0), …);
 *		vdriver_kick(&d, 0);
 *		vdriver_turn(&d);
 *		assert_true(vdriver_interrupted(&d, 0));
 *		vring_reap(vdriver_ring(&d, 0), …);
 *		vdriver_destroy(&d);
 *		vmachine_fini(&m);
 *	}
 *
 *	int main(void)
 *	{
 *		const struct CMUnitTest tests[] = {VDRIVER_TESTS(test_it)};
 *		…
 *	}
 *
 * Everything runs on one thread: the device's worker is the machine's control worker, a
 * worker_sim.
 */
#ifndef TESTS_SUPPORT_VDRIVER_H
#define TESTS_SUPPORT_VDRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "skep/virtio.h"
#include "support/rig.h"
#include "support/vring.h"

struct vdriver_way {
	bool mmio, packed;
};
extern const struct vdriver_way vdriver_ways[4];

/* The four entries of one test in a table of cmocka's; *state is the way. */
#define VDRIVER_TEST(test, way, name)                                                   \
	{                                                                               \
#test " " name, test, NULL, NULL, (void *)(uintptr_t)&vdriver_ways[way] \
	}
#define VDRIVER_TESTS(test)                                                            \
	VDRIVER_TEST(test, 0, "(pci, split)"), VDRIVER_TEST(test, 1, "(pci, packed)"), \
		VDRIVER_TEST(test, 2, "(mmio, split)"), VDRIVER_TEST(test, 3, "(mmio, packed)")

/* A rig whose PCI bus a bridge has claimed, and whose messages are counted. */
struct vmachine {
	struct rig rig;                             /* first */
	unsigned int raised[VIRTIO_QUEUES_MAX + 1]; /* messages, by their data */
	struct vmachine_binding {
		int fd; /* an irqfd; -1: none */
		uint32_t data;
	} bound[PCI_MSIX_MAX * 2];
	uint64_t next; /* of guest memory, for rings and buffers */
};

void vmachine_init(struct vmachine *m);
void vmachine_fini(struct vmachine *m);
/* The worker of every device. */
static inline struct worker *vmachine_worker(struct vmachine *m)
{
	return m->rig.machine.control;
}
/* 64 MiB of guest memory in all. */
uint64_t vmachine_alloc(struct vmachine *m, uint64_t len);
/* How often the message that carries @data came since this was last asked. */
unsigned int vmachine_messages(struct vmachine *m, uint32_t data);

/* A device's registers, by one name for both transports; those that only one has are marked. */
enum vreg {
	VREG_DEVICE_FEATURE_SELECT,
	VREG_DEVICE_FEATURE,
	VREG_DRIVER_FEATURE_SELECT,
	VREG_DRIVER_FEATURE,
	VREG_STATUS,
	VREG_GENERATION,
	VREG_QUEUE_SELECT,
	VREG_QUEUE_MAX,  /* PCI: the same as the size, read before that is written */
	VREG_QUEUE_SIZE, /* MMIO: not to be read */
	VREG_QUEUE_ENABLE,
	VREG_QUEUE_RESET,
	VREG_QUEUE_DESC_LOW,
	VREG_QUEUE_DESC_HIGH,
	VREG_QUEUE_DRIVER_LOW,
	VREG_QUEUE_DRIVER_HIGH,
	VREG_QUEUE_DEVICE_LOW,
	VREG_QUEUE_DEVICE_HIGH,
	VREG_ISR,        /* reading clears it by PCI, not by MMIO */
	VREG_ISR_ACK,    /* MMIO */
	VREG_NUM_QUEUES, /* PCI; and those below */
	VREG_CONFIG_VECTOR,
	VREG_QUEUE_VECTOR,
	VREG_QUEUE_NOTIFY_OFF,
	VREG_COUNT,
};

struct vdriver {
	struct vmachine *m;
	struct vdriver_way way;
	struct device *dev;
	bool msix; /* by PCI: interrupts are messages; set before vdriver_negotiate(), true at first
		    */
	uint64_t features; /* accepted */

	/* Where things are. */
	uint64_t registers, isr, notify, config; /* gpa */
	uint32_t notify_every;
	bool notify_port; /* @notify is a port */
	uint64_t msix_table;
	unsigned int devfn, msix_cap, vectors;
	unsigned int gsi; /* of the line */
	uint16_t id;      /* the virtio device ID */
	uint8_t came;     /* by the line, acknowledged and not asked for yet */

	struct vring_driver rings[VIRTIO_QUEUES_MAX];
	bool set_up[VIRTIO_QUEUES_MAX];
};

/*
 * Makes a device of @model with @options ("key=value" pairs, spaces between) and finds it. Fails
 * the test when that cannot be; vdriver_try() says why in m->rig.err instead, and returns false.
 */
void vdriver_create(struct vdriver *d, struct vmachine *m, const struct vdriver_way *way,
		    const char *model, const char *options);
bool vdriver_try(struct vdriver *d, struct vmachine *m, const struct vdriver_way *way,
		 const char *model, const char *options);
/* Without a word to the device. */
void vdriver_destroy(struct vdriver *d);

uint32_t vdriver_get(struct vdriver *d, enum vreg reg);
void vdriver_set(struct vdriver *d, enum vreg reg, uint32_t value);

/* What the device offers. */
uint64_t vdriver_offered(struct vdriver *d);
/*
 * Resets the device and accepts what of @features it offers, VERSION_1 in any case, packed rings as
 * the way has it and in-order completion only if @features is not UINT64_MAX. Whether the device
 * took them (FEATURES_OK).
 */
bool vdriver_negotiate(struct vdriver *d, uint64_t features);
/* Sets up queue @n: @size entries, 0 for as many as may be, and @room bytes for buffers. */
void vdriver_queue(struct vdriver *d, unsigned int n, unsigned int size, uint64_t room);
/* DRIVER_OK, and what became of the status. */
uint8_t vdriver_go(struct vdriver *d);
/* All of it: negotiates, sets up every queue with 256 KiB for buffers, and goes. */
void vdriver_start(struct vdriver *d, uint64_t features);
void vdriver_reset(struct vdriver *d);

struct vring_driver *vdriver_ring(struct vdriver *d, unsigned int n);
/* Notifies the device, if it wants to be. */
void vdriver_kick(struct vdriver *d, unsigned int n);
/* Notifies it in any case. */
void vdriver_ring_bell(struct vdriver *d, unsigned int n);
/* Lets the worker do all that it can. */
void vdriver_turn(struct vdriver *d);
/* Adds a chain, notifies, and turns until it is used: the bytes written. The chain must come back.
 */
uint32_t vdriver_transact(struct vdriver *d, unsigned int n, const struct vring_buf *bufs,
			  unsigned int out, unsigned int in);

/* Whether queue @n, or the configuration, interrupted since this was last asked; the interrupt is
 * acknowledged. Over a line queues cannot be told apart: then any queue's counts. */
bool vdriver_interrupted(struct vdriver *d, unsigned int n);
bool vdriver_config_interrupted(struct vdriver *d);

/* The device's configuration space, in accesses of the natural size. */
uint64_t vdriver_config(struct vdriver *d, unsigned int at, unsigned int size);
void vdriver_set_config(struct vdriver *d, unsigned int at, unsigned int size, uint64_t value);

/* The device, for looking behind the registers. */
struct virtio *vdriver_virtio(struct vdriver *d);

#endif
