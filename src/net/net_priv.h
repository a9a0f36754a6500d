/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * net_priv - what the kinds of ports share: the port itself (netport.c), taps (tap.c), stream
 * sockets (stream.c), passt behind one (passt.c), and captures of any (pcap.c).
 */
#ifndef SKEP_NET_NET_PRIV_H
#define SKEP_NET_NET_PRIV_H

#include <stdatomic.h>
#include <sys/types.h>

#include "skep/netport.h"

struct pcap;

struct netport_ops {
	/* As the functions of netport.h; NULL where there is nothing to do. */
	int (*set_offloads)(struct netport *p, uint64_t features);
	int (*set_queues)(struct netport *p, unsigned int count);
	int (*send)(struct netport *p, unsigned int queue, const struct iovec *iov,
		    unsigned int count, size_t len);
	ssize_t (*receive)(struct netport *p, unsigned int queue, const struct iovec *iov,
			   unsigned int count);
};

struct netport {
	const struct netport_ops *ops;
	struct netport_info info;
	char id[32];
	char name[160]; /* info.name: of a path, as much as a message can hold */
	struct log *log;
	atomic_bool lost;
	unsigned int attached; /* queues of a tap that are in use */
	int fds[NETPORT_QUEUES_MAX];
	struct stream *stream;
	struct pcap *pcap;
	pid_t passt;  /* 0: none was started */
	int passt_fd; /* a pidfd of it */
};

/* Each fills @p, whose fds are all -1; netport_close() follows in any case. */
int tap_open(struct netport *p, const struct netport_options *options, struct err *err);
int tap_take(struct netport *p, const struct netport_options *options, struct err *err);
int stream_open(struct netport *p, const char *path, struct err *err);
/* @fd is connected, and the port's from then on. */
int stream_take(struct netport *p, int fd, struct err *err);
void stream_close(struct netport *p);
int passt_start(struct netport *p, struct err *err);
/* The socket to it is closed. */
void passt_end(struct netport *p);

/* Tells the person once that the port has gone, and why. Returns -ENOTCONN. Any thread. */
int netport_lost(struct netport *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int pcap_open(struct pcap **c, const char *id, const struct netport_options *options,
	      struct log *log, struct err *err);
/* The worker does not run. NULL is allowed. */
void pcap_close(struct pcap *c);
int pcap_set_worker(struct pcap *c, struct worker *w, struct err *err);
/* The frame of @len bytes behind the first NETPORT_HEADER ones of @iov. Any thread. */
void pcap_add(struct pcap *c, const struct iovec *iov, unsigned int count, size_t len);

#endif
