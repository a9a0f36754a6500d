/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rig - a machine without KVM, for driving a device as a guest would.
 *
 * The rig has the two buses, a little guest memory, virtual time that moves only when told to,
 * interrupt wires that record, and a deterministic worker. A test makes devices from option pairs,
 * reads and writes their registers, and looks at what happened.
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
#include "skep/timer.h"
#include "skep/worker.h"

struct rig {
	struct machine machine; /* first: end() finds the rig by it */
	struct config *config;
	struct err err;
	bool level[GSI_MAX];          /* of each wire */
	unsigned int raised[GSI_MAX]; /* how often it went up */
	unsigned int messages;        /* MSIs sent */
	struct msi last_message;
	bool intr;        /* the wire from the 8259A pair to the processor */
	uint64_t watched; /* bit n: pin n of the IOAPIC sends level-triggered */
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

uint8_t rig_in8(struct rig *r, uint16_t port);
void rig_out8(struct rig *r, uint16_t port, uint8_t value);

#endif
