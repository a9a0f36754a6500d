/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * class - the device table: one constant record per device model.
 *
 * A device model is one file in devices/ that declares one record with DEVICE_CLASS(). The linker
 * collects the records; nothing else in the tree names a model. The records are constant and may
 * be read by any thread.
 */
#ifndef SKEP_CLASS_H
#define SKEP_CLASS_H

#include <stdbool.h>
#include <stddef.h>

#include "skep/config.h"
#include "skep/explain.h"
#include "skep/state.h"

struct aml;
struct device;
struct err;

/*
 * What the models of a family share, as virtio devices do: options that a person may say to each of
 * them beside the model's own, state that is saved beside the model's own, and what is to be done
 * for all of them alike. It lies in one struct that the model embeds at its @family_offset.
 */
struct device_family {
	const char *name;
	const struct option *options;
	size_t options_offset; /* in the family's struct */
	/* Ended by one without a table; offsets in the family's struct. May be NULL. */
	const struct state_part *states;

	/* As those of a model, and called in front of the model's own. May be NULL. */
	void (*reset)(struct device *dev);
	int (*loaded)(struct device *dev, struct err *err);
	void (*describe)(const struct device *dev, struct aml *aml);
	void (*pause)(struct device *dev);
	void (*resume)(struct device *dev);

	/* For a model that has none of its own. May be NULL. */
	explain_fn *explain;
};

struct device_class {
	const char *name;    /* by part number: uart8250 */
	const char *summary; /* one line for `skep devices` */
	size_t size;         /* of the instance, whose first member is a struct device */

	/* Options of an instance, read into @options_offset of it before create. */
	const struct option *options;
	size_t options_offset;

	/* NULL for a model without. */
	const struct device_family *family;
	size_t family_offset;

	/* LOCK_CHIP for an interrupt chip, LOCK_BRIDGE for a bridge; 0: LOCK_DEVICE. */
	unsigned int lock_rank;

	/* A part that KVM has itself with machine.irqchip=kernel: then left out of the machine. */
	bool split_only;

	/* A part that a guest which does nothing goes on using, as its clock ticks: writing to it
	 * is no sign of progress (vm_progress()). */
	bool ticks;

	/* What a guest does with it stays outside, and it finds it there the next time: disks,
	 * networks. */
	bool outside;

	/* Guest-visible state, at @state_offset of the instance; NULL for a device without. */
	const struct state_table *state;
	size_t state_offset;

	/*
	 * Takes host resources, maps registers, claims lines. May fail: destroy follows. The
	 * instance is zeroed, its options are read. Control thread, no vCPU runs. The one function
	 * that every model has; the others may be NULL where there is nothing for them to do.
	 */
	int (*create)(struct device *dev, struct err *err);

	/* Power-on state. Cannot fail. Runs once behind create and at each machine reset, with
	 * the device's lock held. */
	void (*reset)(struct device *dev);

	/* Validates state that came from outside, and brings lines and timers in step with it. */
	int (*loaded)(struct device *dev, struct err *err);

	/*
	 * The machine stands still, and goes on: what the device does on workers comes to rest, so
	 * that nothing of the guest changes in between. Control thread, the vCPUs are parked; no
	 * lock is held. Either may be called twice.
	 */
	void (*pause)(struct device *dev);
	void (*resume)(struct device *dev);

	/* Gives host resources back. Legal on an instance whose create failed half-way. */
	void (*destroy)(struct device *dev);

	/*
	 * Says what an access means, for readers of a trace: explain.h. It has no instance, and
	 * any thread may call it. NULL: the trace shows numbers.
	 */
	explain_fn *explain;

	/* Describes the instance to ACPI: emits its Device() into \_SB. NULL: not described. */
	void (*describe)(const struct device *dev, struct aml *aml);
};

/*
 * Nobody names the record, so compiler and linker must be told to keep it: lld drops what it finds
 * unnamed with --gc-sections even where __start_ symbols refer to the section.
 */
#if __has_attribute(retain)
#define CLASS_KEPT used, retain
#else
#define CLASS_KEPT used
#endif

/* Declares the record of the model defined in this file. */
#define DEVICE_CLASS(ident)                                           \
	static const struct device_class ident;                       \
	__attribute__((CLASS_KEPT, section("skep_classes")))          \
	const struct device_class *const ident##_in_table = &(ident); \
	static const struct device_class ident

/*
 * Fills @table with the first @room records by name, sorted; returns how many there are in all.
 */
size_t class_table(const struct device_class **table, size_t room);

/* The model called @name, or NULL and a sentence that names the nearest. */
const struct device_class *class_find(const char *name, struct err *err);

#define CLASS_MAX 64

#endif
