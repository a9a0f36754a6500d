/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * debug_exit - the port by which a guest ends the machine with a code of its own.
 *
 * A write of any size, to any of its four ports, ends the machine. Port f4h is where guests that
 * were written for QEMU's isa-debug-exit mostly have it: a PC has nothing there, while 501h, that
 * device's own default, lies in the middle of ports that firmware gives away.
 *
 * A guest's codes are 0 to 99: what is above belongs to skep's own verdicts and must not be
 * confused with them. A larger value ends with 99, and the reason gives the value. With
 * compat=qemu the code is what a shell would see of QEMU, (value << 1 | 1) in eight bits; a guest
 * cannot report 0 that way.
 *
 * No state. vCPU threads, under the device's lock.
 */
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/device.h"
#include "skep/err.h"

#define EXIT_PORTS    4
#define EXIT_CODE_MAX 99

enum exit_compat { EXIT_PLAIN, EXIT_QEMU };

struct exit_options {
	uint64_t port;
	unsigned int compat;
};

struct exit_port {
	struct device dev;
	struct exit_options options;
	bool mapped;
};

static const struct option exit_options[] = {
	{
		.name = "port",
		.type = OPTION_UINT,
		.offset = offsetof(struct exit_options, port),
		.fallback = "0xf4",
		.max = 0x10000 - EXIT_PORTS,
		.help = "first of four ports",
	},
	{
		.name = "compat",
		.type = OPTION_CHOICE,
		.offset = offsetof(struct exit_options, compat),
		.fallback = "none",
		.choices = "none|qemu",
		.help = "none: the value is the code; qemu: value * 2 + 1",
	},
	OPTION_END,
};

static struct exit_port *to_exit(struct device *dev)
{
	return container_of(dev, struct exit_port, dev);
}

static void exit_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	uint64_t code = value;

	(void)offset;
	if (to_exit(dev)->options.compat == EXIT_QEMU)
		code = (uint8_t)(value << 1 | 1);
	if (code <= EXIT_CODE_MAX)
		machine_end(dev->machine, END_CODE, (unsigned int)code,
			    "the guest ended with code %u", (unsigned int)code);
	else
		machine_end(dev->machine, END_CODE, EXIT_CODE_MAX,
			    "the guest wrote %llu (0x%0*llx) to the exit port; a code is at most "
			    "%u, so it counts as that",
			    (unsigned long long)value, (int)(2 * size), (unsigned long long)value,
			    EXIT_CODE_MAX);
}

/* Nothing drives the bus when it is read. */
static const struct bus_ops exit_ops = {
	.write = exit_write,
};

static int exit_create(struct device *dev, struct err *err)
{
	struct exit_port *e = to_exit(dev);
	int ret = bus_map(dev->machine->ports, e->options.port, EXIT_PORTS, &exit_ops, dev, err);

	e->mapped = !ret;
	return ret;
}

static void exit_destroy(struct device *dev)
{
	struct exit_port *e = to_exit(dev);

	if (e->mapped)
		bus_unmap(dev->machine->ports, e->options.port);
}

static void exit_explain(const struct access *a, struct explain_memory *m, struct explanation *e)
{
	(void)m;
	explain_reg(e, "EXIT");
	if (a->write)
		explain_add(e, "code %llu", (unsigned long long)a->value);
}

DEVICE_CLASS(debug_exit) = {
	.name = "debug_exit",
	.summary = "port that ends the machine with the guest's own code",
	.size = sizeof(struct exit_port),
	.options = exit_options,
	.options_offset = offsetof(struct exit_port, options),
	.create = exit_create,
	.destroy = exit_destroy,
	.explain = exit_explain,
};
