/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port by its options, and what all kinds of ports have in common.
 *
 * Control thread, but for sending and receiving: see netport.h.
 */
#include <linux/if_ether.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net_priv.h"
#include "skep/bits.h"
#include "skep/err.h"
#include "skep/log.h"

#define MTU_LEAST 68 /* 5.1.4.1 */

void iov_put(const struct iovec *iov, size_t at, const void *from, size_t len)
{
	const char *p = from;

	for (; at >= iov->iov_len && len; iov++)
		at -= iov->iov_len;
	for (; len; iov++, at = 0) {
		size_t n = MIN(len, iov->iov_len - at);

		memcpy((char *)iov->iov_base + at, p, n);
		p += n;
		len -= n;
	}
}

void iov_get(const struct iovec *iov, size_t at, void *to, size_t len)
{
	char *p = to;

	for (; at >= iov->iov_len && len; iov++)
		at -= iov->iov_len;
	for (; len; iov++, at = 0) {
		size_t n = MIN(len, iov->iov_len - at);

		memcpy(p, (const char *)iov->iov_base + at, n);
		p += n;
		len -= n;
	}
}

int netport_lost(struct netport *p, const char *fmt, ...)
{
	char why[256];
	va_list ap;

	if (!atomic_exchange(&p->lost, true)) {
		va_start(ap, fmt);
		vsnprintf(why, sizeof(why), fmt, ap);
		va_end(ap);
		log_warn(p->log, "%s: %s; the guest's link is down", p->id, why);
	}
	return -ENOTCONN;
}

static int check(const struct netport_options *o, struct err *err)
{
	const int kinds = !!o->tap + !!o->fd + !!o->stream + o->passt;

	if (kinds != 1)
		return err_set(err, EINVAL,
			       "%s; say one of tap=NAME, fd=N, stream=SOCKET and passt=on",
			       kinds ? "a network card has one network"
				     : "which network is meant is missing");
	if (o->mtu && o->mtu < MTU_LEAST)
		return err_set(err, EINVAL, "mtu: %u is the least", MTU_LEAST);
	if (o->queues > 1 && !o->tap && !o->fd)
		return err_set(err, EINVAL, "queues: only a tap has more than one pair");
	return 0;
}

static int open_kind(struct netport *p, const struct netport_options *o, struct err *err)
{
	if (o->tap)
		return tap_open(p, o, err);
	if (o->fd)
		return tap_take(p, o, err);
	if (o->stream)
		return stream_open(p, o->stream, err);
	return passt_start(p, err);
}

int netport_open(struct netport **port, const char *id, const struct netport_options *options,
		 struct log *log, struct err *err)
{
	struct netport *p;
	int ret = check(options, err);

	*port = NULL;
	if (ret)
		return ret;
	p = calloc(1, sizeof(*p));
	if (!p)
		return err_sys(err, ENOMEM, "network of %s", id);
	snprintf(p->id, sizeof(p->id), "%s", id);
	p->log = log;
	p->info.name = p->name;
	p->info.queues = (unsigned int)options->queues;
	for (unsigned int i = 0; i < NETPORT_QUEUES_MAX; i++)
		p->fds[i] = -1;
	ret = open_kind(p, options, err);
	if (!ret && options->mtu)
		p->info.mtu = (uint16_t)options->mtu;
	if (!ret && options->pcap)
		ret = pcap_open(&p->pcap, id, options, log, err);
	if (ret) {
		netport_close(p);
		return ret;
	}
	*port = p;
	return 0;
}

void netport_close(struct netport *p)
{
	if (!p)
		return;
	pcap_close(p->pcap);
	for (unsigned int i = 0; i < NETPORT_QUEUES_MAX; i++)
		if (p->fds[i] >= 0)
			close(p->fds[i]);
	stream_close(p);
	passt_end(p);
	free(p);
}

const struct netport_info *netport_info(const struct netport *p)
{
	return &p->info;
}

int netport_capture(struct netport *p, struct worker *w, struct err *err)
{
	return p->pcap ? pcap_set_worker(p->pcap, w, err) : 0;
}

int netport_fd(const struct netport *p, unsigned int queue)
{
	return p->fds[queue];
}

int netport_set_offloads(struct netport *p, uint64_t features)
{
	return p->ops->set_offloads ? p->ops->set_offloads(p, features) : 0;
}

int netport_set_queues(struct netport *p, unsigned int count)
{
	return p->ops->set_queues ? p->ops->set_queues(p, count) : 0;
}

int netport_send(struct netport *p, unsigned int queue, const struct iovec *iov, unsigned int count,
		 size_t len)
{
	int ret;

	if (len < NETPORT_HEADER + ETH_HLEN || len > NETPORT_FRAME_MAX)
		return -EMSGSIZE;
	ret = p->ops->send(p, queue, iov, count, len);
	if (p->pcap && !ret)
		pcap_add(p->pcap, iov, count, len);
	return ret;
}

ssize_t netport_receive(struct netport *p, unsigned int queue, const struct iovec *iov,
			unsigned int count)
{
	ssize_t n = p->ops->receive(p, queue, iov, count);

	if (p->pcap && n > 0)
		pcap_add(p->pcap, iov, count, (size_t)n);
	return n;
}
