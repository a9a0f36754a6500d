/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port that is a tap interface of the host's.
 *
 * The kernel checks what the guest wrote into a frame's header (virtio_net_hdr_to_skb()) against a
 * copy of its own, fills checksums in and cuts segments, so header and frame go from guest memory
 * to the kernel as they are. Frames towards the guest carry the offloads that were last set.
 *
 * A queue is a descriptor. Without IFF_MULTI_QUEUE there is one; with it, those not in use are
 * detached, or the kernel would spread flows over them.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net_priv.h"
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/config.h"
#include "skep/err.h"
#include "skep/log.h"

#define TUN_FLAGS (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
#define BUSY_WAIT (500 * NS_PER_MS)

static const struct {
	unsigned int host;                 /* TUN_F_… */
	unsigned int to_guest, from_guest; /* VIRTIO_NET_F_… */
} offloads[] = {
	{TUN_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_CSUM},
	{TUN_F_TSO4, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_HOST_TSO4},
	{TUN_F_TSO6, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_HOST_TSO6},
	{TUN_F_TSO_ECN, VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_HOST_ECN},
	{TUN_F_UFO, VIRTIO_NET_F_GUEST_UFO, VIRTIO_NET_F_HOST_UFO},
};

static int tap_set_offloads(struct netport *p, uint64_t features)
{
	unsigned long flags = 0;

	/* Of features whose own need is missing (5.1.3.1) the kernel would refuse all. */
	if (features & bit64(VIRTIO_NET_F_GUEST_CSUM))
		for (size_t i = 0; i < ARRAY_SIZE(offloads); i++)
			if (features & bit64(offloads[i].to_guest))
				flags |= offloads[i].host;
	if (!(flags & (TUN_F_TSO4 | TUN_F_TSO6)))
		flags &= ~(unsigned long)TUN_F_TSO_ECN;
	return ioctl(p->fds[0], TUNSETOFFLOAD, flags) ? -errno : 0;
}

static int tap_set_queues(struct netport *p, unsigned int count)
{
	struct ifreq ifr = {0};

	for (; p->attached < count; p->attached++) {
		ifr.ifr_flags = IFF_ATTACH_QUEUE;
		if (ioctl(p->fds[p->attached], TUNSETQUEUE, &ifr))
			return -errno;
	}
	for (; p->attached > count; p->attached--) {
		ifr.ifr_flags = IFF_DETACH_QUEUE;
		if (ioctl(p->fds[p->attached - 1], TUNSETQUEUE, &ifr))
			return -errno;
	}
	return 0;
}

/* A queue that is merely detached still has its interface, and nothing to receive. */
static int failed(struct netport *p, int errnum)
{
	return errnum == EBADFD ? netport_lost(p, "the %s was removed", p->name) : -errnum;
}

static int tap_send(struct netport *p, unsigned int queue, const struct iovec *iov,
		    unsigned int count, size_t len)
{
	(void)len;
	return writev(p->fds[queue], iov, (int)count) >= 0 ? 0 : failed(p, errno);
}

static ssize_t tap_receive(struct netport *p, unsigned int queue, const struct iovec *iov,
			   unsigned int count)
{
	ssize_t n = readv(p->fds[queue], iov, (int)count);

	return n >= 0 ? n : failed(p, errno);
}

static const struct netport_ops tap_ops = {
	.set_offloads = tap_set_offloads,
	.set_queues = tap_set_queues,
	.send = tap_send,
	.receive = tap_receive,
};

/* Opening */

/* What all taps are set to, whoever made them. */
static int configure(struct netport *p, struct err *err)
{
	const unsigned long all = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
	unsigned long can = all | TUN_F_UFO;
	int size = NETPORT_HEADER;

	if (ioctl(p->fds[0], TUNSETVNETHDRSZ, &size))
		return err_sys(err, errno, "the %s does not take frames with virtio's headers",
			       p->name);
	if (ioctl(p->fds[0], TUNSETOFFLOAD, can)) {
		can = all;
		if (ioctl(p->fds[0], TUNSETOFFLOAD, can))
			can = 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(offloads); i++)
		if (can & offloads[i].host)
			p->info.features |=
				bit64(offloads[i].to_guest) | bit64(offloads[i].from_guest);
	for (unsigned int i = 0; i < p->info.queues; i++)
		fcntl(p->fds[i], F_SETFL, O_RDWR | O_NONBLOCK);
	p->attached = p->info.queues;
	p->ops = &tap_ops;
	return ioctl(p->fds[0], TUNSETOFFLOAD, 0UL) ? err_sys(err, errno, "the %s", p->name) : 0;
}

/* The interface's own settings: ours to make if the interface is ours. */
static int set_up(struct netport *p, const char *name, bool ours, uint64_t mtu, struct err *err)
{
	int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret = 0;
	struct ifreq ifr = {0};

	if (s < 0)
		return err_sys(err, errno, "cannot ask for the settings of the %s", p->name);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	ifr.ifr_mtu = (int)mtu;
	if (ours && mtu && ioctl(s, SIOCSIFMTU, &ifr))
		ret = err_sys(err, errno, "cannot set the MTU of the %s to %u", p->name,
			      (unsigned int)mtu);
	if (!ret && !ioctl(s, SIOCGIFMTU, &ifr)) {
		p->info.mtu = (uint16_t)MIN(ifr.ifr_mtu, 65535);
		if (mtu > p->info.mtu)
			log_warn(p->log,
				 "%s: packets over %u bytes will be lost: 'ip link set %s mtu %u'",
				 p->id, p->info.mtu, name, (unsigned int)mtu);
	}
	if (!ret && !ioctl(s, SIOCGIFFLAGS, &ifr) && !(ifr.ifr_flags & IFF_UP)) {
		ifr.ifr_flags |= IFF_UP;
		if (!ours)
			log_warn(p->log, "%s: the %s is down: 'ip link set %s up'", p->id, p->name,
				 name);
		else if (ioctl(s, SIOCSIFFLAGS, &ifr))
			ret = err_sys(err, errno, "cannot bring the %s up", p->name);
	}
	close(s);
	return ret;
}

static int open_tun(struct err *err)
{
	const char path[] = "/dev/net/tun";
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		return err_set(err, errno,
			       "this host has no %s; load its driver as root with 'modprobe tun'",
			       path);
	return err_sys(err, errno, "cannot open %s", path);
}

static int set_interface(int fd, const char *name, unsigned int flags)
{
	struct ifreq ifr = {.ifr_flags = (short)flags};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	return ioctl(fd, TUNSETIFF, &ifr) ? -errno : 0;
}

static int refused(int fd, int errnum, const char *name, bool many, bool there, struct err *err)
{
	const char *multi = many ? " multi_queue" : "";

	switch (errnum) {
	case EBUSY:
		return err_set(err, errnum, "the tap %s is in use by another program", name);
	case EPERM:
		if (there)
			return err_set(err, errnum,
				       "the tap %s is another user's; as root, make one for this "
				       "user with 'ip tuntap add NAME mode tap user $USER%s'",
				       name, multi);
		return err_set(err, errnum,
			       "there is no tap %s, and to make one takes privileges; as root, "
			       "'ip tuntap add %s mode tap user $USER%s' makes it for this user",
			       name, name, multi);
	case EINVAL:
		if (there && many && !set_interface(fd, name, TUN_FLAGS))
			return err_set(err, errnum,
				       "the tap %s has one queue; make it with 'ip tuntap add %s "
				       "mode tap multi_queue'",
				       name, name);
		if (there)
			return err_set(err, errnum, "the interface %s is no tap", name);
		return err_sys(err, errnum, "'%s' cannot be the name of a tap", name);
	default:
		return err_sys(err, errnum, "cannot attach to the tap %s", name);
	}
}

/* The rings of a process that has just ended give its files back a moment later. */
static int set_interface_soon(int fd, const char *name, unsigned int flags)
{
	const struct timespec pause = clock_timespec(10 * NS_PER_MS);
	const uint64_t deadline = clock_now() + BUSY_WAIT;
	int ret;

	while ((ret = set_interface(fd, name, flags)) == -EBUSY && clock_now() < deadline)
		nanosleep(&pause, NULL);
	return ret;
}

/* A tap made with multi_queue is attached to as such, though only one queue is wanted of it. */
static int attach(struct netport *p, const char *name, bool there, struct err *err)
{
	const bool many = p->info.queues > 1;
	unsigned int flags = TUN_FLAGS | (many ? IFF_MULTI_QUEUE : 0);
	int ret;

	for (unsigned int i = 0; i < p->info.queues; i++) {
		p->fds[i] = open_tun(err);
		if (p->fds[i] < 0)
			return p->fds[i];
		ret = set_interface_soon(p->fds[i], name, flags);
		if (ret == -EINVAL && there && !many)
			ret = set_interface_soon(p->fds[i], name, flags | IFF_MULTI_QUEUE);
		if (ret)
			return refused(p->fds[i], -ret, name, many, there, err);
	}
	return 0;
}

int tap_open(struct netport *p, const struct netport_options *options, struct err *err)
{
	const char *name = options->tap;
	const bool there = if_nametoindex(name);
	int ret;

	if (!*name || strlen(name) >= IFNAMSIZ || strpbrk(name, "/% "))
		return err_set(err, EINVAL,
			       "'%.32s' cannot be the name of a tap: 1 to %d letters and digits",
			       name, IFNAMSIZ - 1);
	snprintf(p->name, sizeof(p->name), "tap %s", name);
	ret = attach(p, name, there, err);
	if (!ret)
		ret = configure(p, err);
	return ret ? ret : set_up(p, name, !there, options->mtu, err);
}

/* Descriptors that somebody with privileges opened for us. */

static int check_taken(struct netport *p, int fd, char name[static IFNAMSIZ], struct err *err)
{
	struct ifreq ifr = {0};

	if (fcntl(fd, F_SETFD, FD_CLOEXEC))
		return err_sys(err, errno, "fd: descriptor %d", fd);
	if (ioctl(fd, TUNGETIFF, &ifr))
		return err_set(err, EINVAL, "fd: descriptor %d is not a tap's", fd);
	if ((ifr.ifr_flags & TUN_FLAGS) != TUN_FLAGS)
		return err_set(err, EINVAL,
			       "fd: descriptor %d is of %s, which was not set up with IFF_TAP, "
			       "IFF_NO_PI and IFF_VNET_HDR",
			       fd, ifr.ifr_name);
	if (*name && strcmp(name, ifr.ifr_name))
		return err_set(err, EINVAL, "fd: the descriptors are of two taps, %s and %s", name,
			       ifr.ifr_name);
	snprintf(name, IFNAMSIZ, "%s", ifr.ifr_name);
	snprintf(p->name, sizeof(p->name), "tap %s", name);
	return 0;
}

int tap_take(struct netport *p, const struct netport_options *options, struct err *err)
{
	char name[IFNAMSIZ] = "";
	const char *at = options->fd;
	unsigned int n = 0;
	int ret;

	for (;; at++) {
		char word[12];
		uint64_t fd;

		snprintf(word, sizeof(word), "%.*s", (int)strcspn(at, ":"), at);
		if (n == NETPORT_QUEUES_MAX || parse_uint(word, &fd) || fd > INT32_MAX)
			return err_set(err, EINVAL,
				       "fd: '%.64s' is not one to %u descriptors like 5 or 5:6",
				       options->fd, NETPORT_QUEUES_MAX);
		ret = check_taken(p, (int)fd, name, err);
		if (ret)
			return ret;
		p->fds[n++] = (int)fd;
		at += strlen(word);
		if (*at != ':')
			break;
	}
	p->info.queues = n;
	ret = configure(p, err);
	return ret ? ret : set_up(p, name, false, options->mtu, err);
}
