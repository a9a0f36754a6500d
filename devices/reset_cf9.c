/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reset_cf9 - the reset control register of PC chip sets.
 *
 * Intel 82371SB (PIIX3), section 2.5 "RC - Reset control register", I/O address CF9h, default 00h;
 * bit 3 came with the ICH:
 *
 *	bit 1	SRST	which reset: 1 hard, 0 soft
 *	bit 2	RCPU	going from 0 to 1 carries it out
 *	bit 3	full reset: takes the power away for a while
 *
 * So a guest writes 02h, then 06h; one that leaves bit 2 set must clear it before the next. Every
 * kind of reset is the machine's here.
 *
 * The register lies within the doubleword of PCI's configuration address, which answers to
 * doublewords only (PCI 2.1, section 3.7.4.1): a model of a host bridge maps around it.
 *
 * vCPU threads, under the device's lock.
 */
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/device.h"
#include "skep/err.h"

#define RC_AT   0xcf9
#define RC_SRST 0x02
#define RC_RCPU 0x04
#define RC_FULL 0x08
#define RC_MASK (RC_SRST | RC_RCPU | RC_FULL)

struct rc {
	struct device dev;
	struct rc_state {
		uint8_t value;
	} state;
	bool mapped;
};

static const struct state_field rc_fields[] = {STATE_FIELD(struct rc_state, value)};
static const struct state_table rc_state = STATE_TABLE("reset_cf9", 1, struct rc_state, rc_fields);

static struct rc *to_rc(struct device *dev)
{
	return container_of(dev, struct rc, dev);
}

static uint64_t rc_read(struct device *dev, uint64_t offset, unsigned int size)
{
	(void)offset;
	(void)size;
	return to_rc(dev)->state.value;
}

static void rc_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct rc_state *s = &to_rc(dev)->state;
	uint8_t was = s->value;

	(void)offset;
	(void)size;
	s->value = value & RC_MASK;
	if (s->value & ~was & RC_RCPU)
		machine_end(dev->machine, END_RESET, 0,
			    "the guest asked for a %s reset through port CF9h",
			    s->value & RC_SRST ? "hard" : "soft");
}

static const struct bus_ops rc_ops = {
	.read = rc_read,
	.write = rc_write,
	.max_size = 1,
};

static int rc_create(struct device *dev, struct err *err)
{
	int ret = bus_map(dev->machine->ports, RC_AT, 1, &rc_ops, dev, err);

	to_rc(dev)->mapped = !ret;
	return ret;
}

static void rc_reset(struct device *dev)
{
	to_rc(dev)->state.value = 0;
}

static int rc_loaded(struct device *dev, struct err *err)
{
	uint8_t value = to_rc(dev)->state.value;

	if (value & ~RC_MASK)
		return err_set(err, EPROTO, "%s: port CF9h has no bits for %#x", dev->id, value);
	return 0;
}

static void rc_destroy(struct device *dev)
{
	if (to_rc(dev)->mapped)
		bus_unmap(dev->machine->ports, RC_AT);
}

DEVICE_CLASS(reset_cf9) = {
	.name = "reset_cf9",
	.summary = "reset control register at port CF9h (PIIX3)",
	.size = sizeof(struct rc),
	.state = &rc_state,
	.state_offset = offsetof(struct rc, state),
	.create = rc_create,
	.reset = rc_reset,
	.loaded = rc_loaded,
	.destroy = rc_destroy,
};
