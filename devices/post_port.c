/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * post_port - port 80h, where a PC's firmware says how far it has got.
 *
 * A diagnostic card shows the byte written last. Here it is kept, counted, and logged at the debug
 * level when it changes: Linux writes to the port merely to pass a microsecond, and would fill the
 * log. It reads back, as from the page register of the DMA controller that answers on a PC.
 *
 * A guest marks how far it has got, for the timeline, by three bytes in a row, which no firmware
 * counts through: A5h, 5Ah, and a number from 1 to FFh, which is the mark's name in decimal. Or 0
 * and then a name of letters, digits, '-', '_' and '.', ended by 0. Anything else is no mark.
 *
 * vCPU threads, under the device's lock.
 */
#include <ctype.h>
#include <stdio.h>

#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/log.h"
#include "skep/trace.h"

#define MARK_FIRST  0xa5
#define MARK_SECOND 0x5a
#define MARK_NAME   22 /* bytes at most */

enum mark_step {
	MARK_NONE,
	MARK_BEGUN, /* MARK_FIRST was written */
	MARK_KIND,  /* both were */
	MARK_NAMED, /* a name comes */
	MARK_STEPS,
};

struct post_options {
	uint64_t port;
};

struct post_state {
	uint64_t writes;
	uint64_t code;     /* one byte; 0 before the first */
	uint8_t mark_step; /* enum mark_step */
	uint8_t mark_len;
	uint8_t mark_name[MARK_NAME];
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
	STATE_FIELD_SINCE(struct post_state, mark_step, 2),
	STATE_FIELD_SINCE(struct post_state, mark_len, 2),
	STATE_ARRAY_SINCE(struct post_state, mark_name, 2),
};
static const struct state_table post_state =
	STATE_TABLE("post_port", 2, struct post_state, post_fields);

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

static void mark(struct post_port *p, const char *name)
{
	struct machine *m = p->dev.machine;

	p->state.mark_step = MARK_NONE;
	trace_text(TRACE_MARK, p->dev.number, 0, 0, name);
	if (m->mark)
		m->mark(m, name);
}

static bool in_a_name(uint8_t c)
{
	return isalnum(c) || c == '-' || c == '_' || c == '.';
}

static void mark_named(struct post_port *p, uint8_t code)
{
	struct post_state *s = &p->state;
	char name[MARK_NAME + 1] = "";

	if (in_a_name(code) && s->mark_len < MARK_NAME) {
		s->mark_name[s->mark_len++] = code;
		return;
	}
	s->mark_step = MARK_NONE;
	memcpy(name, s->mark_name, s->mark_len);
	if (!code && s->mark_len)
		mark(p, name);
}

static void mark_next(struct post_port *p, uint8_t code)
{
	struct post_state *s = &p->state;
	char number[8];

	if (s->mark_step == MARK_NAMED) {
		mark_named(p, code);
	} else if (s->mark_step == MARK_KIND && code) {
		snprintf(number, sizeof(number), "%u", code);
		mark(p, number);
	} else if (s->mark_step == MARK_KIND) {
		s->mark_step = MARK_NAMED;
		s->mark_len = 0;
	} else if (s->mark_step == MARK_BEGUN && code == MARK_SECOND) {
		s->mark_step = MARK_KIND;
	} else {
		s->mark_step = code == MARK_FIRST ? MARK_BEGUN : MARK_NONE;
	}
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
	mark_next(to_post(dev), (uint8_t)value);
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
	if (s->mark_step >= MARK_STEPS || s->mark_len > MARK_NAME)
		return err_set(err, EPROTO, "%s: no mark has %u bytes at step %u", dev->id,
			       s->mark_len, s->mark_step);
	for (unsigned int i = 0; s->mark_step == MARK_NAMED && i < s->mark_len; i++)
		if (!in_a_name(s->mark_name[i]))
			return err_set(err, EPROTO, "%s: a mark's name has no byte %02x", dev->id,
				       s->mark_name[i]);
	return 0;
}

static void post_destroy(struct device *dev)
{
	struct post_port *p = to_post(dev);

	if (p->mapped)
		bus_unmap(dev->machine->ports, p->options.port);
}

static void post_explain(const struct access *a, struct explain_memory *m, struct explanation *e)
{
	(void)m;
	explain_reg(e, "POST");
	explain_add(e, "code %02x", (unsigned int)(a->value & 0xff));
}

DEVICE_CLASS(post_port) = {
	.name = "post_port",
	.summary = "port 80h: progress codes of firmware, and marks for the timeline",
	.size = sizeof(struct post_port),
	.options = post_options,
	.options_offset = offsetof(struct post_port, options),
	.state = &post_state,
	.state_offset = offsetof(struct post_port, state),
	.ticks = true,
	.create = post_create,
	.reset = post_reset,
	.loaded = post_loaded,
	.destroy = post_destroy,
	.explain = post_explain,
};
