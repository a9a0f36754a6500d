/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chan - a byte channel between a device and the host: a console's two directions.
 *
 * Output: the device puts bytes into a bounded queue from a vCPU thread; the control worker writes
 * them out in batches. A reader that takes nothing (a full pipe, a stopped terminal) fills the
 * queue; then chan_settle() makes the vCPU wait, outside every lock, for a bounded time. If the
 * reader has still taken nothing, the channel is stalled: bytes are dropped and counted until it
 * takes some again, and the person is told, when it starts, when it ends, and in the totals.
 *
 * Input: the control worker reads from the host only while the device has room, and calls
 * ops->input with the device's lock held.
 *
 * A device whose queues have a worker of their own, as a virtio device, opens its channels as
 *ports: all of the above is done by that worker, without the device's lock. The device puts as much
 *as there is room for and hears when there is room again, so nobody waits; and a port may be
 *lossless.
 *
 * Backends, by the text that names them:
 *	stdio		standard input and output; the terminal is raw while the channel is open
 *	pty		a new pseudo-terminal, whose name is logged
 *	file:PATH	output to a file, truncated; no input
 *	unix:PATH	a listening stream socket, one client at a time; output while there is no
 *			client is kept as long as the queue holds it
 *	stdout		standard output; no input, and a terminal stays as it is
 *	none		output vanishes, there is no input
 *
 * When standard input is a terminal, Ctrl-a begins an escape: x ends the machine, p pauses it and
 * has it go on, b sends a break, a or Ctrl-a sends Ctrl-a itself, h shows this. Other input is
 * passed on as it is.
 */
#ifndef SKEP_CHAN_H
#define SKEP_CHAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chan;
struct device;
struct err;
struct machine;
struct worker;

struct chan_ops {
	/*
	 * @data has arrived. Control thread, device's lock held. Returns how many bytes the device
	 * took; the rest is offered again after chan_want_input().
	 */
	size_t (*input)(struct device *dev, const uint8_t *data, size_t len);
	/* A person asked for a break condition (Ctrl-a b). As input. May be NULL. */
	void (*input_break)(struct device *dev);
	/* Input has nowhere to go, and is taken for the terminal's escapes alone. */
	bool deaf;
};

/*
 * Opens the channel @spec for @dev. Control thread, from the device's create. SIGPIPE and SIGXFSZ
 * are ignored from then on: readers that go and files that may not grow are errors of the write.
 * At most one channel is stdio. -EINVAL, -EBUSY, or what the host says.
 */
int chan_open(struct chan **c, struct device *dev, const char *spec, const struct chan_ops *ops,
	      struct err *err);

/* Of a port; on its worker, without the device's lock, unless they say otherwise. */
struct chan_port_ops {
	/* As chan_ops.input. Breaks are not passed on. */
	size_t (*input)(void *port, const uint8_t *data, size_t len);
	/* There is room behind a chan_offer() that did not take everything. */
	void (*room)(void *port);
	/* A client has come to the socket, or left it. May be NULL. */
	void (*connected)(void *port, bool there);
	/* The terminal has another size. Control thread, device's lock held. May be NULL. */
	void (*resized)(void *port, unsigned int cols, unsigned int rows);
	/*
	 * Nothing is dropped for want of a reader, however long that lasts, and what a client sent
	 * before it left is offered until it was taken; the next client waits meanwhile.
	 */
	bool lossless;
	/* What is put is no console's output: no tap hears it. */
	bool untapped;
};

/*
 * As chan_open(), for a port of @dev that is served by @w, which does not run yet; @port goes to
 * @ops.
 */
int chan_open_port(struct chan **c, struct device *dev, struct worker *w, const char *spec,
		   const struct chan_port_ops *ops, void *port, struct err *err);

/*
 * Queues as many of the bytes as there is room for, and returns how many; ops->room() follows when
 * those are not all. A port that is not lossless takes everything while its reader is stalled.
 */
size_t chan_offer(struct chan *c, const uint8_t *data, size_t len);

/* Bytes that are queued and not written yet. */
size_t chan_queued(struct chan *c);

/* Of a port: whether anybody may be at the host's end. On its worker, or before that runs. */
bool chan_connected(const struct chan *c);

/* The size of the terminal that a channel @spec has its input from; false: it has none, or it does
 * not say. Before the channel is opened as well. Control thread. */
bool chan_window(const char *spec, unsigned int *cols, unsigned int *rows);
/* The process was told that its terminal has another size (SIGWINCH). Control thread. */
void chan_window_changed(struct machine *m);

/*
 * Writes out what is queued (waiting a bounded time for a reader that makes no progress), logs the
 * totals of what was lost, if any, and gives everything back. NULL is allowed. Control thread; no
 * vCPU runs, and a port's worker does not.
 */
void chan_close(struct chan *c);

/* Queues bytes. vCPU thread, device's lock held, or a port's worker; never waits. */
void chan_put(struct chan *c, const uint8_t *data, size_t len);

/* Waits for room in the queue: from bus_ops.settle, no lock held. */
void chan_settle(struct chan *c);

/*
 * While @on, chan_settle() of any of @m's channels returns at once, with nothing lost: the vCPUs
 * are wanted out of the guest. Control thread.
 */
void chan_hurry(struct machine *m, bool on);

/* The device has room for input again. Device's lock held; for a port, on its worker. */
void chan_want_input(struct chan *c);

/*
 * Whoever wants to hear what a machine's consoles say: every byte that is put, in order, before any
 * is dropped, whatever the channel's end, "none" too. On the thread that puts it, with the device's
 * lock held or on the port's worker; so bytes() is quick, never waits, and takes leaf locks alone.
 */
struct chan_tap {
	void (*bytes)(struct chan_tap *tap, const struct device *dev, const uint8_t *data,
		      size_t len);
	struct chan_tap *next; /* chan.c's */
};
/* Before vm_run(); @tap outlives the machine. */
void chan_add_tap(struct machine *m, struct chan_tap *tap);

/*
 * Types @len bytes into the console of @m that @dev is: they come to the device as if they had come
 * from the host, as it has room for them, and before anything else that waits. NULL is the console
 * that was opened first. -ENODEV: it is no console, or one without input; -ENOMEM. Control thread.
 */
int chan_type(struct machine *m, const struct device *dev, const char *text, size_t len);

struct chan_totals {
	uint64_t out_bytes;   /* put by the device */
	uint64_t out_dropped; /* of these, lost to a stalled reader or a failed write */
	uint64_t out_writes;  /* host writes that carried them */
	uint64_t in_bytes;
};
void chan_totals(struct chan *c, struct chan_totals *t);

/*
 * Has chan_restore_terminals() write @text to standard output, once; NULL: nothing any more. It is
 * what ends whatever else a terminal was put into. @text stays in place.
 */
void chan_restore_text(const char *text);

/*
 * Puts every terminal that this process made raw back as it was. Async-signal-safe: for crash
 * handlers and exit paths.
 */
void chan_restore_terminals(void);

/*
 * Has chan_restore_terminals() called at exit() and when a signal that reports a bug (SIGSEGV,
 * SIGABRT and their like) ends the process, which it then does as before. Once, at the start.
 */
void chan_install_crash_restore(void);

#endif
