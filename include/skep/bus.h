/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bus - decodes an address to a device: one bus for ports, one for memory-mapped I/O.
 *
 * vCPU threads read and write; the device's lock is held around each of its callbacks, so device
 * code never locks. Mapping and unmapping may happen while vCPUs run, from a callback too; an
 * access that was decoded just before may then still arrive at the old place just behind.
 *
 * Devices see only accesses of a size they said they take, that do not cross their end: the bus
 * cuts larger ones into pieces, lowest address first, as a PC's bus does. Pieces are not aligned if
 * the guest's access is not. What no device decodes reads as all ones, swallows writes, and is
 * counted.
 */
#ifndef SKEP_BUS_H
#define SKEP_BUS_H

#include <stdbool.h>
#include <stdint.h>

struct bus;
struct device;
struct err;

struct bus_ops {
	/*
	 * @offset counts from where the range was mapped; @size is 1, 2, 4 or 8, no more than
	 * @max_size, and the access is within the range. Read returns the value in the low @size
	 * bytes; write finds zeroes above them. Either may be NULL: all ones, swallowed.
	 */
	uint64_t (*read)(struct device *dev, uint64_t offset, unsigned int size);
	void (*write)(struct device *dev, uint64_t offset, unsigned int size, uint64_t value);

	/*
	 * May be NULL. Runs behind a guest's write, once for a whole string of them however it was
	 * cut, without the device's lock: the one place where a vCPU may wait, for a bounded time,
	 * for the host to take what the guest sent.
	 */
	void (*settle)(struct device *dev);

	unsigned int max_size; /* 0: 8 */
	uint8_t region;        /* tells ranges of one device apart in the trace: up to 127 */

	/*
	 * Bit n: a write of one byte at offset n may reach the device late, though still in order
	 * with every other access of the guest. For a port that takes a stream of bytes.
	 */
	uint64_t late;
};

/*
 * Doorbells: a write that is delivered as an eventfd signal instead of a callback. KVM does it
 * without an exit; this hook lets it. Without a hook the bus signals the eventfd itself.
 */
struct bus_doorbell {
	uint64_t at;
	unsigned int size; /* 1, 2, 4, 8; 0: a write of any size */
	bool match;        /* only writes of @value; needs a size */
	uint64_t value;
	int fd; /* not owned; open until the doorbell is removed */
};

struct bus_doorbell_sink {
	int (*add)(void *arg, const struct bus *bus, const struct bus_doorbell *bell,
		   struct err *err);
	void (*del)(void *arg, const struct bus *bus, const struct bus_doorbell *bell);
	void *arg;
};

/* @name outlives the bus. @limit: one past the highest address (65,536 for ports; UINT64_MAX for
 * memory). */
int bus_create(struct bus **bus, const char *name, uint64_t limit, struct err *err);
void bus_destroy(struct bus *bus);
const char *bus_name(const struct bus *bus);

/* -EBUSY when the range overlaps another (both are named), -EINVAL outside the bus, -ENOMEM. */
int bus_map(struct bus *bus, uint64_t at, uint64_t len, const struct bus_ops *ops,
	    struct device *dev, struct err *err);
void bus_unmap(struct bus *bus, uint64_t at);

/*
 * -EINVAL for a size or an address that cannot be, -EEXIST when one write could ring this one and
 * another, or what the sink says.
 */
int bus_doorbell_add(struct bus *bus, const struct bus_doorbell *bell, struct err *err);
void bus_doorbell_del(struct bus *bus, const struct bus_doorbell *bell);
/* Before the first doorbell; NULL takes it away. */
void bus_set_doorbell_sink(struct bus *bus, const struct bus_doorbell_sink *sink);

/* A guest's access. @size 1 to 8. The value read has zeroes above @size bytes. */
uint64_t bus_read(struct bus *bus, uint64_t at, unsigned int size);
void bus_write(struct bus *bus, uint64_t at, unsigned int size, uint64_t value);

/*
 * A string access: @count elements of @size bytes, all at the same address (INS, OUTS). The device
 * sees them in order; its lock is taken once, unless the elements have to be cut.
 */
void bus_read_string(struct bus *bus, uint64_t at, unsigned int size, void *to, uint32_t count);
void bus_write_string(struct bus *bus, uint64_t at, unsigned int size, const void *from,
		      uint32_t count);

/* Whether a write of one byte at @at may be late: see bus_ops.late. */
bool bus_takes_late(struct bus *bus, uint64_t at);

/* Accesses, or pieces of them, that no device decoded, since the bus was made. */
uint64_t bus_misses(const struct bus *bus);

/* Grows with writes to devices, but for those that an idle guest makes: see device_class.ticks. */
uint64_t bus_signs(const struct bus *bus);

/* Calls @fn for each mapped range in ascending order; @fn must not change the bus. */
void bus_each(struct bus *bus,
	      void (*fn)(void *arg, uint64_t at, uint64_t len, const struct device *dev),
	      void *arg);

#endif
