/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rig - a machine without KVM, for driving a device as a guest would.
 *
 * The rig has the two buses, a PCI bus, a little guest memory, virtual time that moves only when
 * told to, interrupt wires that record, and a deterministic worker, which is the workers of devices
 * as well. A test makes devices from option pairs, reads and writes their registers, and looks at
 * what happened.
 *
 * Eventfds that are bound to messages are looked at when the test calls rig_deliver(), and when one
 * is bound or unbound; KVM does so when they are written.
 */
#ifndef TESTS_SUPPORT_RIG_H
#define TESTS_SUPPORT_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "skep/bus.h"
#include "skep/config.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/irq.h"
#include "skep/pci.h"
#include "skep/timer.h"
#include "skep/worker.h"

#define RIG_BOUND_MAX 128

struct rig {
	struct machine machine; /* first: end() finds the rig by it */
	struct config *config;
	struct err err;
	bool level[GSI_MAX];          /* of each wire */
	unsigned int raised[GSI_MAX]; /* how often it went up */
	unsigned int messages;        /* MSIs sent */
	struct msi last_message;
	struct rig_bound { /* eventfd @fd sends @msi; handle: index + 1 */
		bool used;
		int fd;
		struct msi msi;
		unsigned int sent;
	} bound[RIG_BOUND_MAX];
	unsigned int binds, unbinds; /* calls; a change of the message is a bind */
	int bind_fails;              /* with this errno, if not 0 */
	bool intr;                   /* the wire from the 8259A pair to the processor */
	uint64_t watched;            /* bit n: pin n of the IOAPIC sends level-triggered */
	struct msi watched_message[GSI_MAX];
	bool ended;
	struct ending ending;
};

/* Fails the test when it cannot. @memory may be 0: 1 MiB. */
void rig_init(struct rig *r, uint64_t memory);
void rig_fini(struct rig *r);

/*
 * Makes a device: @options are "key=value" pairs separated by spaces, without the device.ID. in
 * front. NULL when it fails, with the reason in r->err.
 */
struct device *rig_device(struct rig *r, const char *id, const char *model, const char *options);

/* What @fd is bound to; NULL: nothing. */
const struct rig_bound *rig_bound(const struct rig *r, int fd);
/* Sends a message for each bound eventfd that has a count, and returns how many. */
unsigned int rig_deliver(struct rig *r);

uint8_t rig_in8(struct rig *r, uint16_t port);
void rig_out8(struct rig *r, uint16_t port, uint8_t value);

#endif
