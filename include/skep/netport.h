/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netport - a port to a network of the host: what the models of network cards send to and receive
 * from.
 *
 * A port is a tap interface, or a stream socket on which each frame follows its length, as QEMU and
 * passt speak it; passt may be started for it. What goes through any of them can be kept in a
 * capture file.
 *
 * A frame is an Ethernet frame behind a struct virtio_net_hdr_v1 of NETPORT_HEADER bytes, as in
 * section 5.1.6 of the Virtual I/O Device specification 1.2, whose num_buffers is the caller's
 * matter. A port that cannot carry offloads receives with headers of zeroes, and refuses frames
 * that want something done.
 *
 * A port is opened and closed on the control thread, before and after the machine runs. It has one
 * or more pairs of queues. Each direction of a queue is used by one thread at a time, which sends
 * and receives by itself and never waits: a tap takes a frame in one system call, for which the way
 * through a worker's ring would be a detour. It is the ring that waits, by polling netport_fd().
 */
#ifndef SKEP_NETPORT_H
#define SKEP_NETPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "skep/config.h"

struct err;
struct log;
struct netport;
struct worker;

#define NETPORT_HEADER     12U
#define NETPORT_QUEUES_MAX 16U
/* The most bytes that one frame has, its header included: a segment of 64 KiB with an Ethernet
 * header and a VLAN tag (5.1.6.3.1). */
#define NETPORT_FRAME_MAX (NETPORT_HEADER + 18U + 65536U)

/* Options that a model of a network card has beside its own: one of the first four is given. */
struct netport_options {
	const char *tap;    /* an interface's name */
	const char *fd;     /* descriptors of a tap's queues: "5" or "5:6:7" */
	const char *stream; /* a listening socket's path */
	bool passt;
	const char *pcap; /* capture file; NULL: none */
	uint64_t snaplen; /* bytes of each frame in it */
	uint64_t queues;  /* pairs */
	uint64_t mtu;     /* 0: as the port has it */
};

/* Rows for a model's table, whose struct of @type_ has the struct netport_options @member_. */
#define NETPORT_OPTION(type_, member_, field_, kind_) \
	.name = #field_, .offset = offsetof(type_, member_.field_), .type = OPTION_##kind_
#define NETPORT_OPTIONS(type_, member_)                                                           \
	{NETPORT_OPTION(type_, member_, tap, STRING),                                             \
	 .help = "a tap interface, made if there is none of that name"},                          \
		{NETPORT_OPTION(type_, member_, fd, STRING),                                      \
		 .help = "open descriptors of a tap, one a queue: 5 or 5:6"},                     \
		{NETPORT_OPTION(type_, member_, stream, STRING),                                  \
		 .help = "a socket on which passt or QEMU listens"},                              \
		{NETPORT_OPTION(type_, member_, passt, BOOL), .fallback = "off",                  \
		 .help = "start passt: a network that takes no privileges"},                      \
		{NETPORT_OPTION(type_, member_, pcap, STRING),                                    \
		 .help = "capture file of all frames"},                                           \
		{NETPORT_OPTION(type_, member_, snaplen, UINT), .fallback = "65535", .min = 64,   \
		 .max = 262144, .help = "bytes of each frame that it keeps"},                     \
		{NETPORT_OPTION(type_, member_, queues, UINT), .fallback = "1", .min = 1,         \
		 .max = NETPORT_QUEUES_MAX, .help = "pairs of queues; more than one is a tap's"}, \
	{                                                                                         \
		NETPORT_OPTION(type_, member_, mtu, UINT),                                        \
			.fallback = "0", .max = 65535,                                            \
			.help = "largest packet, from 68 bytes on; 0: the network's"              \
	}

struct netport_info {
	uint64_t features; /* VIRTIO_NET_F_… bits of the offloads that it can carry */
	unsigned int queues;
	uint16_t mtu;     /* 0: not known */
	const char *name; /* unique on this host while the port is open: "tap tap0" */
};

/*
 * Opens the port. @id names the device in messages to @log, which outlives the port and may be
 * NULL. -EINVAL for options that cannot be, or what the host answered.
 */
int netport_open(struct netport **p, const char *id, const struct netport_options *options,
		 struct log *log, struct err *err);
/* Writes out what the capture file is still to get, and ends a passt that was started. NULL is
 * allowed. The worker of netport_capture() does not run. */
void netport_close(struct netport *p);

const struct netport_info *netport_info(const struct netport *p);

/* Has @w write the capture file, if there is one. Before the machine runs. */
int netport_capture(struct netport *p, struct worker *w, struct err *err);

/* What to poll for frames (POLLIN) and for room (POLLOUT) of @queue: open as long as the port. */
int netport_fd(const struct netport *p, unsigned int queue);

/*
 * The guest takes frames with the offloads among @features and no others. One thread at a time.
 * 0 or -errno.
 */
int netport_set_offloads(struct netport *p, uint64_t features);

/* The first @count queues are in use, the others get no frames. One thread at a time. */
int netport_set_queues(struct netport *p, unsigned int count);

/*
 * Sends the frame of @len bytes in the @count iovecs, which it may read more than once. 0; -EAGAIN
 * when there is no room now; -ENOTCONN when the port has gone for good, which the person has been
 * told; any other failure is this frame's, which is lost.
 */
int netport_send(struct netport *p, unsigned int queue, const struct iovec *iov, unsigned int count,
		 size_t len);

/*
 * Receives a frame into the @count iovecs, which together have NETPORT_FRAME_MAX bytes or more, and
 * returns its bytes; else as netport_send().
 */
ssize_t netport_receive(struct netport *p, unsigned int queue, const struct iovec *iov,
			unsigned int count);

/* Copies @len bytes into or out of iovecs, which have that many from @at on. */
void iov_put(const struct iovec *iov, size_t at, const void *from, size_t len);
void iov_get(const struct iovec *iov, size_t at, void *to, size_t len);

#endif
