/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio_console - the console device (Virtual I/O Device specification 1.2, section 5.3).
 *
 * Port 0 is a console: /dev/hvc0 of a Linux guest. Up to eight further ports have names, and are
 * byte streams between guest and host that lose nothing (/dev/virtio-ports/NAME). Each port is a
 * channel of the host (chan.h) that is served by the worker of the device's queues, so that queues
 * and channels are one thread's, and need no lock.
 *
 * Neither direction keeps bytes here. A chain of output that the channel has no room for goes back
 * to the ring untouched, but for a note of how many of its bytes were sent, and is taken again when
 * there is room. Input goes from the channel straight into the driver's buffers, and stays in the
 * channel while there are none. Port 0 is the exception to losing nothing: a Linux guest waits for
 * a console's output with its processor spinning, so a reader that has stopped reading is waited
 * for as long as a serial port waits.
 *
 * Messages to the driver wait as one bit for each port and kind: however many a guest asks for,
 * there is nothing that grows.
 *
 * With MULTIPORT a port has input once the driver says that it is open, and nothing is lost; Linux
 * throws away what comes to a single port before it is a console. But a window's size comes by
 * messages then, in the order of the specification (columns, rows), and many versions of Linux take
 * them exchanged; without, it is in the configuration. So MULTIPORT is not offered where there is a
 * window and nothing but the console.
 *
 * Invariants, on the worker: a port's channel is offered nothing while an earlier chain waits in
 * the ring; input goes to a port only while the guest has it open, if it can say so. Worker, but
 * for emerg_wr (vCPU threads) and the size of the window (control thread).
 */
#include <endian.h>
#include <linux/virtio_console.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/chan.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/virtio.h"

#define PORTS      9 /* the console, and those with names */
#define NAME_MOST  32
#define INPUT_TURN 64 /* buffers filled in one go */

enum { RX, TX, CONTROL_RX, CONTROL_TX, NAMED };

struct console_state {
	uint32_t sent[PORTS]; /* bytes of the next chain of output that the host has already */
	uint8_t added[PORTS]; /* the driver has heard of it */
	uint8_t ready[PORTS]; /* and has it */
	uint8_t open[PORTS];  /* and somebody in the guest uses it */
	uint8_t wait[PORTS];  /* messages that wait for a buffer: a bit for each event */
};

struct console_options {
	const char *backend;
	const char *port[PORTS]; /* [0]: unused */
};

struct console {
	struct device dev;
	struct virtio virtio;
	struct console_options options;
	struct console_state state;
	struct console_port {
		struct console *console;
		unsigned int id;
		struct chan *chan; /* NULL: there is no such port */
		char name[NAME_MOST + 1];
	} ports[PORTS];
	atomic_uint window;  /* columns, and rows in the upper half */
	atomic_bool resized; /* the driver is to be told */
};

#define PORT_OPTION(n)                                                                \
	{                                                                             \
		.name = "port" #n, .type = OPTION_STRING,                             \
		.offset = offsetof(struct console_options, port[n]),                  \
		.help = "a byte stream with a name, NAME:BACKEND: org.x:unix:/run/x", \
	}

static const struct option console_options[] = {
	{.name = "backend",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct console_options, backend),
	 .fallback = "none",
	 .help = "stdio, stdout, pty, file:PATH, unix:PATH or none"},
	PORT_OPTION(1),
	PORT_OPTION(2),
	PORT_OPTION(3),
	PORT_OPTION(4),
	PORT_OPTION(5),
	PORT_OPTION(6),
	PORT_OPTION(7),
	PORT_OPTION(8),
	OPTION_END,
};

static const struct state_field console_fields[] = {
	STATE_ARRAY(struct console_state, sent),  STATE_ARRAY(struct console_state, added),
	STATE_ARRAY(struct console_state, ready), STATE_ARRAY(struct console_state, open),
	STATE_ARRAY(struct console_state, wait),
};
static const struct state_table console_state =
	STATE_TABLE("virtio_console", 1, struct console_state, console_fields);

static struct console *to_console(struct virtio *v)
{
	return container_of(v, struct console, virtio);
}

/* The queues of port @id: RX or TX (5.3.2). */
static struct virtio_queue *queue_of(struct console *c, unsigned int id, unsigned int direction)
{
	return &c->virtio.queues[(id ? NAMED + 2 * (id - 1) : 0) + direction];
}

/* Output */

static size_t offer_from(struct chan *chan, const struct virtq_chain *chain, size_t from)
{
	size_t taken = 0;

	for (unsigned int i = 0; i < chain->out; i++) {
		const struct iovec *v = &chain->iov[i];
		size_t n;

		if (from >= v->iov_len) {
			from -= v->iov_len;
			continue;
		}
		n = chan_offer(chan, (const uint8_t *)v->iov_base + from, v->iov_len - from);
		taken += n;
		if (n < v->iov_len - from)
			break;
		from = 0;
	}
	return taken;
}

static void send_output(struct console_port *p, struct virtio_queue *q)
{
	uint32_t *sent = &p->console->state.sent[p->id];
	struct virtio_request *r;

	while ((r = virtio_take(q))) {
		/* The chain may not be the one it was: it is the driver's while it is in the ring.
		 */
		if (*sent < r->chain.out_len)
			*sent += (uint32_t)offer_from(p->chan, &r->chain, *sent);
		if (*sent < r->chain.out_len) {
			virtio_untake(r);
			return;
		}
		*sent = 0;
		virtio_done(r, 0);
	}
}

static void port_room(void *arg)
{
	struct console_port *p = arg;

	virtio_again(queue_of(p->console, p->id, TX));
}

/* Input */

static size_t port_input(void *arg, const uint8_t *data, size_t len)
{
	struct console_port *p = arg;
	struct virtio_queue *q = queue_of(p->console, p->id, RX);
	size_t given = 0;

	if (!p->console->state.open[p->id])
		return 0;
	for (unsigned int i = 0; given < len; i++) {
		struct virtio_request *r = i < INPUT_TURN ? virtio_take(q) : NULL;
		size_t n;

		if (!r) {
			if (i == INPUT_TURN)
				virtio_again(q);
			break;
		}
		n = virtq_chain_write(&r->chain, 0, data + given, len - given);
		given += n;
		virtio_done(r, (uint32_t)n);
	}
	return given;
}

/* Messages to the driver (5.3.6.2) */

static void post_message(struct console_port *p, unsigned int event)
{
	p->console->state.wait[p->id] |= (uint8_t)(1U << event);
}

static size_t compose(const struct console_port *p, unsigned int event, uint8_t *to)
{
	const unsigned int window = atomic_load(&p->console->window);
	size_t n = sizeof(struct virtio_console_control);

	store_le32(to, p->id);
	store_le16(to + 4, (uint16_t)event);
	store_le16(to + 6, event == VIRTIO_CONSOLE_PORT_OPEN ? chan_connected(p->chan) : 1);
	if (event == VIRTIO_CONSOLE_PORT_NAME) {
		memcpy(to + n, p->name, strlen(p->name));
		n += strlen(p->name);
	} else if (event == VIRTIO_CONSOLE_RESIZE) {
		store_le16(to + n, (uint16_t)window);
		store_le16(to + n + 2, (uint16_t)(window >> 16));
		n += 4;
	}
	return n;
}

/* False when the driver has no buffer for it now. What a buffer has no room for is lost. */
static bool send_message(struct console_port *p, unsigned int event)
{
	struct virtio_request *r = virtio_take(&p->console->virtio.queues[CONTROL_RX]);
	uint8_t message[sizeof(struct virtio_console_control) + NAME_MOST];
	size_t n;

	if (!r)
		return false;
	n = compose(p, event, message);
	virtio_done(r, (uint32_t)virtq_chain_write(&r->chain, 0, message, n));
	return true;
}

static bool send_messages_of(struct console_port *p)
{
	/* A port exists before anything is said of it. */
	static const uint8_t order[] = {VIRTIO_CONSOLE_PORT_ADD, VIRTIO_CONSOLE_CONSOLE_PORT,
					VIRTIO_CONSOLE_PORT_NAME, VIRTIO_CONSOLE_PORT_OPEN,
					VIRTIO_CONSOLE_RESIZE};
	uint8_t *wait = &p->console->state.wait[p->id];

	for (unsigned int i = 0; i < ARRAY_SIZE(order); i++) {
		if (!(*wait >> order[i] & 1))
			continue;
		if (!send_message(p, order[i]))
			return false;
		*wait &= (uint8_t) ~(1U << order[i]);
	}
	return true;
}

static void send_messages(struct console *c)
{
	if (!virtio_has(&c->virtio, VIRTIO_CONSOLE_F_MULTIPORT))
		return;
	if (c->state.ready[0] && atomic_exchange(&c->resized, false))
		post_message(&c->ports[0], VIRTIO_CONSOLE_RESIZE);
	for (unsigned int i = 0; i < PORTS; i++)
		if (c->ports[i].chan && !send_messages_of(&c->ports[i]))
			return;
}

static void port_connected(void *arg, bool there)
{
	struct console_port *p = arg;

	/* What is told is how it stands when the message goes out. */
	(void)there;
	if (!p->console->state.ready[p->id])
		return;
	post_message(p, VIRTIO_CONSOLE_PORT_OPEN);
	send_messages(p->console);
}

/* Messages from the driver */

static void device_ready(struct console *c)
{
	for (unsigned int i = 0; i < PORTS; i++) {
		/* 5.3.6.2.1: none that exists. */
		if (!c->ports[i].chan || c->state.added[i])
			continue;
		c->state.added[i] = 1;
		post_message(&c->ports[i], VIRTIO_CONSOLE_PORT_ADD);
	}
}

static void port_ready(struct console_port *p)
{
	struct console *c = p->console;

	c->state.ready[p->id] = 1;
	if (p->id) {
		post_message(p, VIRTIO_CONSOLE_PORT_NAME);
	} else {
		post_message(p, VIRTIO_CONSOLE_CONSOLE_PORT);
		if (atomic_load(&c->window))
			post_message(p, VIRTIO_CONSOLE_RESIZE);
	}
	post_message(p, VIRTIO_CONSOLE_PORT_OPEN);
}

/* Of what there is no such port or event, nothing becomes. */
static void heard(struct console *c, uint32_t id, unsigned int event, unsigned int value)
{
	struct console_port *p;

	if (event == VIRTIO_CONSOLE_DEVICE_READY && value) {
		device_ready(c);
		return;
	}
	if (id >= PORTS || !c->ports[id].chan || !c->state.added[id])
		return;
	p = &c->ports[id];
	if (event == VIRTIO_CONSOLE_PORT_READY && value) {
		port_ready(p);
	} else if (event == VIRTIO_CONSOLE_PORT_OPEN) {
		c->state.open[id] = value != 0;
		chan_want_input(p->chan);
	}
}

static void hear_messages(struct console *c, struct virtio_queue *q)
{
	uint8_t m[sizeof(struct virtio_console_control)];
	struct virtio_request *r;

	while ((r = virtio_take(q))) {
		if (virtq_chain_read(&r->chain, 0, m, sizeof(m)) == sizeof(m))
			heard(c, load_le32(m), load_le16(m + 4), load_le16(m + 6));
		virtio_done(r, 0);
	}
	send_messages(c);
}

/* The queues */

static void ready_for_input(struct console_port *p)
{
	struct console *c = p->console;

	/* A driver of one port has no way to say that it is open. */
	if (!p->id && !virtio_has(&c->virtio, VIRTIO_CONSOLE_F_MULTIPORT))
		c->state.open[0] = 1;
	chan_want_input(p->chan);
}

static void console_ready(struct virtio_queue *q)
{
	struct console *c = to_console(q->virtio);
	unsigned int n = q->index, id = n < NAMED ? 0 : (n - NAMED) / 2 + 1;

	if (n == CONTROL_RX)
		send_messages(c);
	else if (n == CONTROL_TX)
		hear_messages(c, q);
	else if (!c->ports[id].chan)
		return;
	else if (n % 2 == RX)
		ready_for_input(&c->ports[id]);
	else
		send_output(&c->ports[id], q);
}

/* Nothing is ever taken and kept; but what of the next chain was sent already means nothing to a
 * queue that begins anew. */
static void console_cancel(struct virtio_queue *q)
{
	unsigned int n = q->index;

	if (!q->pausing && n % 2 == TX && n != CONTROL_TX)
		to_console(q->virtio)->state.sent[n < NAMED ? 0 : (n - NAMED) / 2 + 1] = 0;
}

static void forget(void *state)
{
	memset(state, 0, sizeof(struct console_state));
}

/* The channels go on. */
static void console_stop(struct virtio *v)
{
	worker_call(v->queues[0].worker, forget, &to_console(v)->state);
}

/* The rest of the configuration */

/* 5.3.5.1: at any time. */
static void console_config_written(struct virtio *v, unsigned int at, unsigned int size)
{
	const struct virtio_console_config *config = virtio_config(v);
	uint8_t byte = (uint8_t)le32toh(config->emerg_wr);

	if (at == offsetof(struct virtio_console_config, emerg_wr) && size)
		chan_put(to_console(v)->ports[0].chan, &byte, 1);
}

static void set_window(struct console *c, unsigned int cols, unsigned int rows)
{
	struct virtio_console_config *config = virtio_config(&c->virtio);

	config->cols = htole16((uint16_t)cols);
	config->rows = htole16((uint16_t)rows);
	atomic_store(&c->window, cols | rows << 16);
}

static void tell_size(struct virtio_queue *q)
{
	send_messages(to_console(q->virtio));
}

static void port_resized(void *arg, unsigned int cols, unsigned int rows)
{
	const struct console_port *p = arg;
	struct console *c = p->console;

	if (atomic_load(&c->window) == (cols | rows << 16))
		return;
	set_window(c, cols, rows);
	atomic_store(&c->resized, true);
	virtio_config_changed(&c->virtio);
	if (c->virtio.queue_count > CONTROL_RX)
		virtio_on_queue(&c->virtio.queues[CONTROL_RX], tell_size);
}

/* Making and unmaking */

static const struct chan_port_ops console_ops = {
	.input = port_input,
	.room = port_room,
	.connected = port_connected,
	.resized = port_resized,
};

static const struct chan_port_ops named_ops = {
	.input = port_input,
	.room = port_room,
	.connected = port_connected,
	.lossless = true,
	.untapped = true,
};

/* NAME:BACKEND; the guest makes the name of a file of it. */
static int read_name(struct console_port *p, const char *text, struct err *err)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t n = strspn(text, letters);

	if (!n || text[n] != ':' || text[0] == '.')
		return err_set(err, EINVAL,
			       "port%u=%.64s: a port is NAME:BACKEND, its name of letters, digits, "
			       "'.', '_' and '-', as in port%u=org.example:unix:/tmp/socket",
			       p->id, text, p->id);
	if (n > NAME_MOST)
		return err_set(err, EINVAL, "port%u: a name has at most %u letters, this one %zu",
			       p->id, NAME_MOST, n);
	memcpy(p->name, text, n);
	for (const struct console_port *o = p - p->id; o < p; o++)
		if (!strcmp(o->name, p->name))
			return err_set(err, EINVAL, "port%u and port%u have the same name, %s",
				       o->id, p->id, p->name);
	return 0;
}

static int open_ports(struct console *c, struct err *err)
{
	struct worker *w = c->virtio.queues[0].worker;
	int ret = chan_open_port(&c->ports[0].chan, &c->dev, w, c->options.backend, &console_ops,
				 &c->ports[0], err);

	for (unsigned int i = 1; !ret && i < PORTS; i++) {
		struct console_port *p = &c->ports[i];

		if (!c->options.port[i])
			continue;
		ret = chan_open_port(&p->chan, &c->dev, w, c->options.port[i] + strlen(p->name) + 1,
				     &named_ops, p, err);
		if (ret)
			err_prefix(err, "port%u", i);
	}
	return ret;
}

static int console_create(struct device *dev, struct err *err)
{
	static const struct virtio_model model = {
		.id = VIRTIO_ID_CONSOLE,
		.worker = SANDBOX_WORKER,
		.class_code = 0x078000, /* a communication controller of another kind */
		.depth = 8,
		.ready = console_ready,
		.cancel = console_cancel,
		.stop = console_stop,
		.config_written = console_config_written,
		.writable_at = offsetof(struct virtio_console_config, emerg_wr),
		.writable_len = sizeof(uint32_t),
	};
	struct console *c = container_of(dev, struct console, dev);
	struct virtio_console_config *config = virtio_config(&c->virtio);
	unsigned int last = 0, cols, rows;
	bool window;
	int ret = 0;

	for (unsigned int i = 0; !ret && i < PORTS; i++) {
		c->ports[i].console = c;
		c->ports[i].id = i;
		if (!i || !c->options.port[i])
			continue;
		last = i;
		ret = read_name(&c->ports[i], c->options.port[i], err);
	}
	if (ret)
		return ret;
	window = chan_window(c->options.backend, &cols, &rows);
	if (window)
		set_window(c, cols, rows);
	config->max_nr_ports = htole32(last + 1);
	c->virtio.config_size = sizeof(*config);
	c->virtio.queue_count = last || !window ? NAMED + 2 * last : CONTROL_RX;
	c->virtio.offered = VIRTIO_FEATURE(VIRTIO_CONSOLE_F_EMERG_WRITE) |
			    (last || !window ? VIRTIO_FEATURE(VIRTIO_CONSOLE_F_MULTIPORT) : 0) |
			    (window ? VIRTIO_FEATURE(VIRTIO_CONSOLE_F_SIZE) : 0);
	ret = virtio_attach(&c->virtio, dev, &model, err);
	return ret ? ret : open_ports(c, err);
}

/* Of ports that there are, and in the order of the hand-shake. */
static bool port_possible(const struct console *c, unsigned int id)
{
	static const unsigned int events =
		1U << VIRTIO_CONSOLE_PORT_ADD | 1U << VIRTIO_CONSOLE_CONSOLE_PORT |
		1U << VIRTIO_CONSOLE_RESIZE | 1U << VIRTIO_CONSOLE_PORT_OPEN |
		1U << VIRTIO_CONSOLE_PORT_NAME;
	const struct console_state *s = &c->state;

	if (s->added[id] > 1 || s->ready[id] > 1 || s->open[id] > 1 || s->wait[id] & ~events)
		return false;
	if (!c->ports[id].chan)
		return !s->added[id] && !s->sent[id];
	return s->added[id] || !(s->ready[id] || (id && s->open[id]) || s->wait[id]);
}

/* The window is this machine's. Behind a reset, so no queue has run since. */
static int console_loaded(struct device *dev, struct err *err)
{
	struct console *c = container_of(dev, struct console, dev);
	const struct virtio_console_config *config = virtio_config(&c->virtio);
	unsigned int cols, rows;

	for (unsigned int i = 0; i < PORTS; i++)
		if (!port_possible(c, i))
			return err_set(err, EPROTO, "%s: port %u cannot be as it was saved",
				       dev->id, i);
	atomic_store(&c->window, le16toh(config->cols) | (unsigned int)le16toh(config->rows) << 16);
	if (chan_window(c->options.backend, &cols, &rows))
		port_resized(&c->ports[0], cols, rows);
	for (unsigned int i = 0; i < PORTS; i++)
		chan_want_input(c->ports[i].chan);
	return 0;
}

static void console_destroy(struct device *dev)
{
	struct console *c = container_of(dev, struct console, dev);
	struct chan *chans[PORTS];

	/* Channels call back until they are closed, so the queues outlive them; and a doorbell that
	 * is heard meanwhile finds no ports. */
	for (unsigned int i = 0; i < PORTS; i++) {
		chans[i] = c->ports[i].chan;
		c->ports[i].chan = NULL;
	}
	for (unsigned int i = 0; i < PORTS; i++)
		chan_close(chans[i]);
	virtio_detach(&c->virtio);
}

DEVICE_CLASS(virtio_console) = {
	.name = "virtio_console",
	.summary = "console and byte streams with names (virtio)",
	.size = sizeof(struct console),
	.options = console_options,
	.options_offset = offsetof(struct console, options),
	.family = &virtio_family,
	.family_offset = offsetof(struct console, virtio),
	.state = &console_state,
	.state_offset = offsetof(struct console, state),
	.create = console_create,
	.loaded = console_loaded,
	.destroy = console_destroy,
};
