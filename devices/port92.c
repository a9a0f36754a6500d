/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * port92 - system control port A of the PS/2: the fast way to A20 and to a reset.
 *
 * IBM PS/2 Hardware Interface Technical Reference, "System control port A":
 *
 *	bit 0	alternate hot reset: going from 0 to 1 resets the processor
 *	bit 1	alternate gate A20
 *	7-2	watchdog, password lock, disk lights: a PC compatible has none, they read as 0
 *
 * Bit 1 is kept and read back, and gates nothing: address line 20 is always there, as on any
 * processor of today, and so the port powers on with the gate open. The reset is the machine's:
 * there is no firmware to which a processor could wake up alone.
 *
 * vCPU threads, under the device's lock.
 */
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/device.h"
#include "skep/err.h"

#define PORT92_AT    0x92
#define PORT92_RESET 0x01
#define PORT92_A20   0x02

struct port92 {
	struct device dev;
	struct port92_state {
		uint8_t value;
	} state;
	bool mapped;
};

static const struct state_field port92_fields[] = {STATE_FIELD(struct port92_state, value)};
static const struct state_table port92_state =
	STATE_TABLE("port92", 1, struct port92_state, port92_fields);

static struct port92 *to_port92(struct device *dev)
{
	return container_of(dev, struct port92, dev);
}

static uint64_t port92_read(struct device *dev, uint64_t offset, unsigned int size)
{
	(void)offset;
	(void)size;
	return to_port92(dev)->state.value;
}

static void port92_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct port92_state *s = &to_port92(dev)->state;
	uint8_t was = s->value;

	(void)offset;
	(void)size;
	s->value = value & (PORT92_RESET | PORT92_A20);
	if (s->value & ~was & PORT92_RESET)
		machine_end(dev->machine, END_RESET, 0,
			    "the guest asked for a reset through port 92h");
}

static const struct bus_ops port92_ops = {
	.read = port92_read,
	.write = port92_write,
	.max_size = 1,
};

static int port92_create(struct device *dev, struct err *err)
{
	int ret = bus_map(dev->machine->ports, PORT92_AT, 1, &port92_ops, dev, err);

	to_port92(dev)->mapped = !ret;
	return ret;
}

static void port92_reset(struct device *dev)
{
	to_port92(dev)->state.value = PORT92_A20;
}

static int port92_loaded(struct device *dev, struct err *err)
{
	uint8_t value = to_port92(dev)->state.value;

	if (value & ~(PORT92_RESET | PORT92_A20))
		return err_set(err, EPROTO, "%s: port 92h has no bits for %#x", dev->id, value);
	return 0;
}

static void port92_destroy(struct device *dev)
{
	if (to_port92(dev)->mapped)
		bus_unmap(dev->machine->ports, PORT92_AT);
}

static void port92_explain(const struct access *a, struct explain_memory *m, struct explanation *e)
{
	static const char *const bits[] = {"reset", "A20"};

	(void)m;
	explain_reg(e, "PORT_92");
	explain_bits(e, a->value, bits, ARRAY_SIZE(bits));
}

DEVICE_CLASS(port92) = {
	.name = "port92",
	.summary = "A20 and fast reset (system control port A)",
	.size = sizeof(struct port92),
	.state = &port92_state,
	.state_offset = offsetof(struct port92, state),
	.create = port92_create,
	.reset = port92_reset,
	.loaded = port92_loaded,
	.destroy = port92_destroy,
	.explain = port92_explain,
};
