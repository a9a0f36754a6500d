/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ports that are taps, in a network namespace of the test's own. Skipped where the host gives
 * neither that nor /dev/net/tun.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/log.h"
#include "skep/netport.h"
#include "support/cm.h"

#define ETHERTYPE_TEST 0x88b5 /* for local experiments */

struct fixture {
	struct netport *port;
	struct netport_options options;
	struct err err;
	struct log log;
};

static int make_namespace(void **state)
{
	int fd, ret = unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET);

	(void)state;
	fd = ret ? -1 : open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		print_message("# no network namespace, or no /dev/net/tun: %s\n", strerror(errno));
		*state = NULL;
		return 0;
	}
	close(fd);
	*state = (void *)(uintptr_t) "ready";
	return 0;
}

static void fixture_init(struct fixture *f, void **state)
{
	if (!*state)
		skip();
	memset(f, 0, sizeof(*f));
	log_init(&f->log, memfd_create("log", MFD_CLOEXEC), LOG_WARN);
	f->options = (struct netport_options){.tap = "tap0", .queues = 1, .snaplen = 65535};
}

static void fixture_open(struct fixture *f)
{
	if (netport_open(&f->port, "net0", &f->options, &f->log, &f->err))
		fail_msg("%s", f->err.text);
}

static void fixture_fini(struct fixture *f)
{
	netport_close(f->port);
	close(f->log.fd);
}

static bool logged(const struct fixture *f, const char *what)
{
	char text[4096];
	ssize_t n = pread(f->log.fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return strstr(text, what);
}

static void refuse(struct fixture *f, int errnum, const char *why)
{
	struct netport *p;

	assert_int_equal(netport_open(&p, "net1", &f->options, &f->log, &f->err), -errnum);
	assert_null(p);
	if (!strstr(f->err.text, why))
		fail_msg("'%s' is not in: %s", why, f->err.text);
}

/* A tap that stays, made by somebody else; returns a descriptor of it. */
static int make_tap(const char *name, short flags, bool stays)
{
	struct ifreq ifr = {.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | flags)};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	assert_int_equal(ioctl(fd, TUNSETPERSIST, stays), 0);
	return fd;
}

static void remove_interface(const char *name)
{
	struct {
		struct nlmsghdr h;
		struct ifinfomsg info;
	} m = {
		.h = {.nlmsg_len = sizeof(m),
		      .nlmsg_type = RTM_DELLINK,
		      .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		.info = {.ifi_index = (int)if_nametoindex(name)},
	};
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	char answer[256];

	assert_int_equal(send(s, &m, sizeof(m), 0), sizeof(m));
	assert_true(recv(s, answer, sizeof(answer), 0) > 0);
	close(s);
	assert_int_equal(if_nametoindex(name), 0);
}

static int interface_flags(const char *name, int *mtu)
{
	int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), flags;
	struct ifreq ifr = {0};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(ioctl(s, SIOCGIFFLAGS, &ifr), 0);
	flags = ifr.ifr_flags;
	assert_int_equal(ioctl(s, SIOCGIFMTU, &ifr), 0);
	*mtu = ifr.ifr_mtu;
	close(s);
	return flags;
}

/* What the host's side of the interface sends and sees. */
static int packet_socket(const char *name)
{
	struct sockaddr_ll ll = {
		.sll_family = AF_PACKET,
		.sll_protocol = htobe16(ETHERTYPE_TEST),
		.sll_ifindex = (int)if_nametoindex(name),
	};
	int s = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htobe16(ETHERTYPE_TEST));

	assert_int_equal(bind(s, (struct sockaddr *)&ll, sizeof(ll)), 0);
	return s;
}

static void make_frame(uint8_t *p, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(seed + i);
	memset(p, 0xff, 6);
	memset(p + 6, 0x02, 6);
	p[12] = ETHERTYPE_TEST >> 8;
	p[13] = ETHERTYPE_TEST & 0xff;
}

/* Frames of others (the host's own neighbour discovery) are passed over. */
static ssize_t receive(struct fixture *f, unsigned int queue, uint8_t *buf)
{
	const struct iovec iov[] = {{buf, 100}, {buf + 100, NETPORT_FRAME_MAX - 100}};
	ssize_t n;

	do
		n = netport_receive(f->port, queue, iov, ARRAY_SIZE(iov));
	while (n > 0 && (buf[24] != ETHERTYPE_TEST >> 8 || buf[25] != (ETHERTYPE_TEST & 0xff)));
	return n;
}

static void frames_go_both_ways(void **state)
{
	static uint8_t frame[NETPORT_HEADER + 1000], got[NETPORT_FRAME_MAX];
	const struct iovec iov[] = {{frame, 12}, {frame + 12, 500}, {frame + 512, 500}};
	struct fixture f;
	int s, mtu;

	fixture_init(&f, state);
	f.options.mtu = 9000;
	fixture_open(&f);
	assert_true(interface_flags("tap0", &mtu) & IFF_UP);
	assert_int_equal(mtu, 9000);
	assert_int_equal(netport_info(f.port)->mtu, 9000);
	assert_string_equal(netport_info(f.port)->name, "tap tap0");
	assert_true(netport_info(f.port)->features & bit64(VIRTIO_NET_F_HOST_TSO4));
	assert_true(netport_info(f.port)->features & bit64(VIRTIO_NET_F_GUEST_TSO6));
	s = packet_socket("tap0");
	assert_int_equal(receive(&f, 0, got), -EAGAIN);

	make_frame(frame + NETPORT_HEADER, 1000, 1);
	assert_int_equal(netport_send(f.port, 0, iov, 3, sizeof(frame)), 0);
	assert_int_equal(recv(s, got, sizeof(got), 0), 1000);
	assert_memory_equal(got, frame + NETPORT_HEADER, 1000);
	assert_int_equal(send(s, frame + NETPORT_HEADER, 1000, 0), 1000);
	assert_int_equal(receive(&f, 0, got), sizeof(frame));
	assert_memory_equal(got, frame, 10);
	assert_memory_equal(got + NETPORT_HEADER, frame + NETPORT_HEADER, 1000);

	/* What the guest's header asks for cannot be. */
	frame[0] = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	store_le16(frame + 6, 5000);
	assert_int_equal(netport_send(f.port, 0, iov, 3, sizeof(frame)), -EINVAL);
	close(s);
	fixture_fini(&f);
	assert_int_equal(if_nametoindex("tap0"), 0);
}

static void offloads_are_as_negotiated(void **state)
{
	static const unsigned int each[] = {VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4,
					    VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_ECN,
					    VIRTIO_NET_F_GUEST_UFO};
	struct fixture f;

	fixture_init(&f, state);
	fixture_open(&f);
	for (uint64_t set = 0; set < 1 << ARRAY_SIZE(each); set++) {
		uint64_t features = 0;

		for (unsigned int i = 0; i < ARRAY_SIZE(each); i++)
			features |= (set >> i & 1) << each[i];
		if (netport_info(f.port)->features & bit64(VIRTIO_NET_F_GUEST_UFO) ||
		    !(features & bit64(VIRTIO_NET_F_GUEST_UFO)))
			assert_int_equal(netport_set_offloads(f.port, features), 0);
	}
	fixture_fini(&f);
}

static void queues_are_attached_as_used(void **state)
{
	static uint8_t got[NETPORT_FRAME_MAX];
	uint8_t frame[60];
	struct fixture f;
	int s;

	fixture_init(&f, state);
	f.options.queues = 3;
	fixture_open(&f);
	assert_int_equal(netport_info(f.port)->queues, 3);
	s = packet_socket("tap0");
	make_frame(frame, sizeof(frame), 1);
	assert_int_equal(netport_set_queues(f.port, 1), 0);
	for (int i = 0; i < 9; i++) {
		assert_int_equal(send(s, frame, sizeof(frame), 0), sizeof(frame));
		assert_true(receive(&f, 0, got) > 0);
	}
	assert_int_equal(receive(&f, 0, got), -EAGAIN);
	assert_int_equal(receive(&f, 2, got), -EAGAIN);
	assert_int_equal(netport_set_queues(f.port, 2), 0);
	assert_int_equal(receive(&f, 1, got), -EAGAIN);
	assert_int_equal(netport_set_queues(f.port, 3), 0);
	assert_int_equal(receive(&f, 2, got), -EAGAIN);
	assert_false(logged(&f, "down"));
	close(s);
	fixture_fini(&f);
}

static void a_removed_tap_is_told_of(void **state)
{
	static uint8_t got[NETPORT_FRAME_MAX];
	const struct iovec iov = {got, 100};
	struct fixture f;

	fixture_init(&f, state);
	fixture_open(&f);
	remove_interface("tap0");
	assert_int_equal(receive(&f, 0, got), -ENOTCONN);
	assert_int_equal(netport_send(f.port, 0, &iov, 1, 100), -ENOTCONN);
	assert_true(logged(&f, "net0: the tap tap0 was removed; the guest's link is down"));
	fixture_fini(&f);
}

static void taps_of_others_are_attached_to(void **state)
{
	struct fixture f;
	int mtu;

	fixture_init(&f, state);
	close(make_tap("tap0", 0, true));
	f.options.mtu = 2000;
	fixture_open(&f);
	assert_true(logged(&f, "net0: the tap tap0 is down: 'ip link set tap0 up'"));
	assert_true(logged(&f, "'ip link set tap0 mtu 2000'"));
	assert_false(interface_flags("tap0", &mtu) & IFF_UP);
	assert_int_equal(mtu, 1500);
	assert_int_equal(netport_info(f.port)->mtu, 2000);
	refuse(&f, EBUSY, "the tap tap0 is in use by another program");
	netport_close(f.port);
	f.port = NULL;
	f.options.queues = 2;
	refuse(&f, EINVAL, "the tap tap0 has one queue; make it with 'ip tuntap add tap0 mode tap");
	remove_interface("tap0");
	close(make_tap("tap0", IFF_MULTI_QUEUE, true));
	f.options.queues = 1;
	fixture_open(&f);
	remove_interface("tap0");
	fixture_fini(&f);
}

static void set_net_admin(bool on)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];

	assert_int_equal(syscall(SYS_capget, &h, d), 0);
	d[0].effective &= ~(1U << CAP_NET_ADMIN);
	d[0].effective |= (unsigned int)on << CAP_NET_ADMIN;
	assert_int_equal(syscall(SYS_capset, &h, d), 0);
}

static void what_cannot_be_is_said(void **state)
{
	struct fixture f;

	fixture_init(&f, state);
	f.options.tap = "lo";
	refuse(&f, EINVAL, "the interface lo is no tap");
	f.options.tap = "tap%d";
	refuse(&f, EINVAL, "'tap%d' cannot be the name of a tap");
	f.options.tap = "a-name-of-16-byt";
	refuse(&f, EINVAL, "cannot be the name of a tap");
	f.options.tap = "";
	refuse(&f, EINVAL, "cannot be the name of a tap");
	set_net_admin(false);
	f.options.tap = "tap7";
	refuse(&f, EPERM, "as root, 'ip tuntap add tap7 mode tap user $USER' makes it for");
	f.options.queues = 2;
	refuse(&f, EPERM, "'ip tuntap add tap7 mode tap user $USER multi_queue'");
	set_net_admin(true);
	fixture_fini(&f);
}

static void descriptors_are_taken(void **state)
{
	char text[16];
	struct fixture f;
	int fd;

	fixture_init(&f, state);
	f.options.tap = NULL;
	for (size_t i = 0; i < 5; i++) {
		static const char *const wrong[] = {"", "x", "x:5", ":5", "-1"};

		f.options.fd = wrong[i];
		refuse(&f, EINVAL, "descriptor");
	}
	f.options.fd = "999:";
	refuse(&f, EBADF, "fd: descriptor 999: Bad file descriptor");
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	snprintf(text, sizeof(text), "%d", fd);
	f.options.fd = text;
	refuse(&f, EINVAL, "is not a tap's");
	close(fd);
	fd = make_tap("tap0", 0, false);
	snprintf(text, sizeof(text), "%d", fd);
	refuse(&f, EINVAL, "is of tap0, which was not set up with IFF_TAP, IFF_NO_PI and IFF_VNET");
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	fd = make_tap("tap0", IFF_VNET_HDR, false);
	snprintf(text, sizeof(text), "%d", fd);
	fixture_open(&f);
	assert_string_equal(netport_info(f.port)->name, "tap tap0");
	assert_int_equal(netport_fd(f.port, 0), fd);
	fixture_fini(&f);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_go_both_ways),
		cmocka_unit_test(offloads_are_as_negotiated),
		cmocka_unit_test(queues_are_attached_as_used),
		cmocka_unit_test(a_removed_tap_is_told_of),
		cmocka_unit_test(taps_of_others_are_attached_to),
		cmocka_unit_test(what_cannot_be_is_said),
		cmocka_unit_test(descriptors_are_taken),
	};

	return cmocka_run_group_tests(tests, make_namespace, NULL);
}
