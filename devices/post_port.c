/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * post_port - port 80h, where a PC's firmware says how far it has got.
 *
 * A diagnostic card shows the byte written last. Here it is kept, counted, and logged at the debug
 * level when it changes: Linux writes to the port merely to pass a microsecond, and would fill the
 * log. It reads back, as from the page register of the DMA controller that answers on a PC.
 *
 * vCPU threads, under the device's lock.
 */
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/log.h"

struct post_options {
	uint64_t port;
};

struct post_state {
	uint64_t writes;
	uint64_t code; /* one byte; 0 before the first */
};

struct post_port {
	struct device dev;
	struct post_options options;
	struct post_state state;
	bool mapped;
};

static const struct option post_options[] = {
	{
		.name = "port",
		.type = OPTION_UINT,
		.offset = offsetof(struct post_options, port),
		.fallback = "0x80",
		.max = 0xffff,
		.help = "the port",
	},
	OPTION_END,
};

static const struct state_field post_fields[] = {
	STATE_FIELD(struct post_state, writes),
	STATE_FIELD(struct post_state, code),
};
static const struct state_table post_state =
	STATE_TABLE("post_port", 1, struct post_state, post_fields);

static struct post_port *to_post(struct device *dev)
{
	return container_of(dev, struct post_port, dev);
}

static uint64_t post_read(struct device *dev, uint64_t offset, unsigned int size)
{
	(void)offset;
	(void)size;
	return to_post(dev)->state.code;
}

static void post_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct post_state *s = &to_post(dev)->state;

	(void)offset;
	(void)size;
	if (!s->writes++ || s->code != value)
		log_guest(dev->machine->log, LOG_DEBUG, "%s: POST code %02x", dev->id,
			  (unsigned int)value);
	s->code = value;
}

static const struct bus_ops post_ops = {
	.read = post_read,
	.write = post_write,
	.max_size = 1,
};

static int post_create(struct device *dev, struct err *err)
{
	struct post_port *p = to_post(dev);
	int ret = bus_map(dev->machine->ports, p->options.port, 1, &post_ops, dev, err);

	p->mapped = !ret;
	return ret;
}

static void post_reset(struct device *dev)
{
	to_post(dev)->state = (struct post_state){0};
}

static int post_loaded(struct device *dev, struct err *err)
{
	const struct post_state *s = &to_post(dev)->state;

	if (s->code > 0xff || (s->code && !s->writes))
		return err_set(err, EPROTO, "%s: nobody can have written POST code %#llx", dev->id,
			       (unsigned long long)s->code);
	return 0;
}

static void post_destroy(struct device *dev)
{
	struct post_port *p = to_post(dev);

	if (p->mapped)
		bus_unmap(dev->machine->ports, p->options.port);
}

DEVICE_CLASS(post_port) = {
	.name = "post_port",
	.summary = "port 80h: progress codes of firmware",
	.size = sizeof(struct post_port),
	.options = post_options,
	.options_offset = offsetof(struct post_port, options),
	.state = &post_state,
	.state_offset = offsetof(struct post_port, state),
	.create = post_create,
	.reset = post_reset,
	.loaded = post_loaded,
	.destroy = post_destroy,
};
