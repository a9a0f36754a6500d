/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * debugcon - the one-port console of Bochs and QEMU: a byte written comes out on the host.
 *
 * It reads as E9h, wherever the port is: that is how a guest tells that somebody listens. It has
 * no input, no status and no state. vCPU threads, under the device's lock.
 */
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/chan.h"
#include "skep/device.h"
#include "skep/err.h"

#define DEBUGCON_HERE 0xe9

struct debugcon_options {
	uint64_t port;
	const char *backend;
};

struct debugcon {
	struct device dev;
	struct debugcon_options options;
	struct chan *chan;
	bool mapped;
};

static const struct option debugcon_options[] = {
	{
		.name = "port",
		.type = OPTION_UINT,
		.offset = offsetof(struct debugcon_options, port),
		.fallback = "0xe9",
		.max = 0xffff,
		.help = "the port",
	},
	{
		.name = "backend",
		.type = OPTION_STRING,
		.offset = offsetof(struct debugcon_options, backend),
		.fallback = "none",
		.help = "the host's end: stdio, stdout, pty, file:PATH, unix:PATH or none",
	},
	OPTION_END,
};

static struct debugcon *to_debugcon(struct device *dev)
{
	return container_of(dev, struct debugcon, dev);
}

static uint64_t debugcon_read(struct device *dev, uint64_t offset, unsigned int size)
{
	(void)dev;
	(void)offset;
	(void)size;
	return DEBUGCON_HERE;
}

static void debugcon_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	uint8_t byte = (uint8_t)value;

	(void)offset;
	(void)size;
	chan_put(to_debugcon(dev)->chan, &byte, 1);
}

static void debugcon_settle(struct device *dev)
{
	chan_settle(to_debugcon(dev)->chan);
}

static const struct bus_ops debugcon_ops = {
	.read = debugcon_read,
	.write = debugcon_write,
	.settle = debugcon_settle,
	.max_size = 1,
};

/* What a person types has nowhere to go. */
static size_t debugcon_input(struct device *dev, const uint8_t *data, size_t len)
{
	(void)dev;
	(void)data;
	return len;
}

static const struct chan_ops debugcon_chan_ops = {.input = debugcon_input, .deaf = true};

static int debugcon_create(struct device *dev, struct err *err)
{
	struct debugcon *d = to_debugcon(dev);
	int ret = chan_open(&d->chan, dev, d->options.backend, &debugcon_chan_ops, err);

	if (ret)
		return ret;
	ret = bus_map(dev->machine->ports, d->options.port, 1, &debugcon_ops, dev, err);
	d->mapped = !ret;
	return ret;
}

static void debugcon_destroy(struct device *dev)
{
	struct debugcon *d = to_debugcon(dev);

	if (d->mapped)
		bus_unmap(dev->machine->ports, d->options.port);
	chan_close(d->chan);
}

static void debugcon_explain(const struct access *a, struct explain_memory *m,
			     struct explanation *e)
{
	(void)m;
	explain_reg(e, "DATA");
	if (a->write)
		explain_char(e, a->value);
}

DEVICE_CLASS(debugcon) = {
	.name = "debugcon",
	.summary = "one-port console for debugging (Bochs, QEMU)",
	.size = sizeof(struct debugcon),
	.options = debugcon_options,
	.options_offset = offsetof(struct debugcon, options),
	.create = debugcon_create,
	.destroy = debugcon_destroy,
	.explain = debugcon_explain,
};
