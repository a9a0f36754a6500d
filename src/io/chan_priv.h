/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chan_priv - what the files behind chan.h share: the queues (chan.c), the host's end of them
 * (chan_host.c) and the terminal (tty.c).
 */
#ifndef SKEP_IO_CHAN_PRIV_H
#define SKEP_IO_CHAN_PRIV_H

#include <stdatomic.h>
#include <sys/types.h>

#include "skep/bits.h"
#include "skep/chan.h"
#include "skep/lock.h"
#include "skep/worker.h"

/* Address space; memory is touched only as far as a backlog reaches. */
#define CHAN_OUT_BYTES KIB(256)
#define CHAN_IN_BYTES  KIB(64)

/* Beyond this much output a vCPU waits. What is left holds a string access from each of many. */
#define CHAN_CROWDED KIB(192)

enum chan_kind { CHAN_NONE, CHAN_STDIO, CHAN_PTY, CHAN_FILE, CHAN_UNIX };

/* What the worker knows of the output queue. */
enum out_state {
	OUT_IDLE,  /* nothing is queued: the next byte must be posted */
	OUT_DELAY, /* a batch is collected: a full one must be posted */
	OUT_BUSY,  /* the worker will look again by itself */
};

/* An open file that the worker knows. */
struct chan_file {
	int fd; /* -1: none */
	int slot;
	bool inherited; /* not ours to close */
};

struct chan {
	struct chan *next; /* of the machine's */
	struct device *dev;
	struct worker *worker;
	struct log *log;
	const struct chan_ops *ops;           /* NULL: a port */
	const struct chan_port_ops *port_ops; /* NULL: none */
	void *port;
	bool has_input; /* somebody wants it */
	bool lossless;
	bool untapped;
	enum chan_kind kind;
	char *what;       /* the host's end, for sentences */
	uint8_t *out_buf; /* CHAN_OUT_BYTES, and behind them the input's */
	uint8_t *in_buf;  /* CHAN_IN_BYTES */

	/* Control thread, or a port's worker. */
	struct chan_file in, out, listener;
	size_t write_max; /* as much as one write may carry */
	struct io out_io, delay_io, in_io;
	struct io client_io; /* unix: a client comes, or goes */
	struct io retry_io;  /* the host's end is to be tried again */
	struct io stall_io;  /* port: the reader may be stalled */
	struct post out_post, in_post;
	struct post pause_post;  /* on the control thread */
	bool wanted;             /* port: it is to hear of room */
	uint64_t stall_progress; /* port: .progress when @stall_io was started */
	size_t in_flight;        /* bytes of the write under way */
	int failing;             /* errno of the writes that fail at present */
	size_t in_at;            /* in_buf: offered up to here */
	size_t in_len;           /* filled up to here */
	size_t in_break;         /* where in in_buf a break is to be told; SIZE_MAX: nowhere */
	bool in_ended;           /* no more input from this end */
	bool terminal;           /* input is a raw terminal: Ctrl-a escapes */
	bool escape;             /* the last byte of input was Ctrl-a */
	bool hung_up;            /* unix: the client will read no more */
	bool leaving;            /* unix: the client is being taken leave of */
	bool closing;
	int slave;        /* pty: keeps the master from hanging up */
	char *path;       /* unix: the socket's; pty: the slave's */
	dev_t socket_dev; /* unix: which file we made */
	ino_t socket_ino;

	/* Under the device's lock; a port's worker. */
	bool in_blocked; /* the device took less than it was offered */

	struct lock lock;
	pthread_cond_t moved; /* the queue, while somebody waits for room */
	enum out_state out_state;
	size_t out_head;   /* out_buf: written up to here */
	size_t out_tail;   /* filled up to here */
	uint64_t progress; /* grows whenever room is made */
	uint64_t lost;     /* since the person was told last */
	bool reader;       /* there may be somebody who reads */
	bool stalled;      /* nobody waits for the reader */
	bool dead;         /* nothing will ever be written again */
	bool hurry;        /* nobody waits at all: see chan_hurry() */
	uint8_t *typed;    /* by chan_type(), and not taken yet */
	size_t typed_len;
	struct chan_totals totals;
	atomic_bool crowded; /* out_tail is beyond CHAN_CROWDED */
};

/* chan.c; the channel's worker: the control thread, or a port's */

/* Starts whatever input or output is possible now. */
void chan_in_next(struct chan *c);
void chan_out_next(struct chan *c, bool now);
/* Says whether anybody may read; without a reader nobody waits and nothing is written. */
void chan_set_reader(struct chan *c, bool reader);

/* chan_host.c; the same */

int chan_host_open(struct chan *c, const char *spec, struct err *err);
void chan_host_close(struct chan *c);
/* The last write failed; true if another reader may come, and nothing is lost. */
bool chan_host_out_failed(struct chan *c, int errnum);
/* There is no more input; @errnum is 0 for an end of file. */
void chan_host_in_ended(struct chan *c, int errnum);
/* An operation is over: parts from a client that has gone, once nothing is under way for it. */
void chan_host_check(struct chan *c);
/* See chan_connected(). */
bool chan_host_connected(const struct chan *c);
/* Waits, bounded, until what was written has been read, where closing would discard it. */
void chan_host_linger(struct chan *c);

/* tty.c; control thread */

/* Makes terminal @fd raw; -EBUSY when another is. */
int tty_make_raw(int fd);
/* Whether this process may use terminal @fd, or would be stopped for it. */
bool tty_foreground(int fd);
/* How large terminal @fd is; false: it does not say. */
bool tty_size(int fd, unsigned int *cols, unsigned int *rows);

#endif
