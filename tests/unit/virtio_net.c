/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The network card, by a driver on all four ways, with a socket for a network.
 */
#include "support/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/log.h"
#include "skep/netport.h"
#include "skep/state.h"
#include "skep/worker_sim.h"
#include "support/vdriver.h"

#define RX     0
#define TX     1
#define CTRL   2
#define HEADER NETPORT_HEADER

#define CONFIG_STATUS 6
#define CONFIG_PAIRS  8
#define CONFIG_MTU    10

static const uint8_t own[6] = {0x02, 0, 0, 0x12, 0x34, 0x56};
static const uint8_t other[6] = {0x02, 0, 0, 0x12, 0x34, 0x57};
static const uint8_t group[6] = {0x33, 0x33, 0, 0, 0, 1};
static const uint8_t broad[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

struct fixture {
	struct vmachine m;
	struct vdriver d;
	struct log log;
	int peer;
	uint64_t gpa[1024]; /* of receive buffers, by their number */
	unsigned int posted;
};

static int make_listener(struct sockaddr_un *addr)
{
	static unsigned int number;
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(addr->sun_path, sizeof(addr->sun_path), "/tmp/skep-net-%d-%u", getpid(), number++);
	assert_int_equal(bind(s, (struct sockaddr *)addr, sizeof(*addr)), 0);
	assert_int_equal(listen(s, 1), 0);
	return s;
}

static void init(struct fixture *f, void **state, const char *more, uint64_t features)
{
	struct sockaddr_un addr;
	char options[256];
	int listener = make_listener(&addr);

	memset(f, 0, sizeof(*f));
	log_init(&f->log, memfd_create("log", MFD_CLOEXEC), LOG_WARN);
	vmachine_init(&f->m);
	f->m.rig.machine.log = &f->log;
	snprintf(options, sizeof(options), "stream=%s mac=02:00:00:12:34:56 %s", addr.sun_path,
		 more);
	vdriver_create(&f->d, &f->m, *state, "virtio_net", options);
	f->peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(f->peer >= 0);
	close(listener);
	unlink(addr.sun_path);
	if (features)
		vdriver_start(&f->d, features);
	vdriver_turn(&f->d);
}

static void fini(struct fixture *f)
{
	vdriver_destroy(&f->d);
	vmachine_fini(&f->m);
	if (f->peer >= 0)
		close(f->peer);
	close(f->log.fd);
}

static struct vring_driver *ring(struct fixture *f, unsigned int n)
{
	return vdriver_ring(&f->d, n);
}

static void pass_time(struct fixture *f, uint64_t ns)
{
	/* Deadlines are by the host's clock, which the simulated one starts behind. */
	worker_sim_advance(vmachine_worker(&f->m), clock_now() + ns);
	vdriver_turn(&f->d);
}

static void make_frame(uint8_t *p, const uint8_t to[6], size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(seed + i * 3 + (i >> 8));
	memcpy(p, to, 6);
}

/* From the network to the guest. */
static void inject(struct fixture *f, const uint8_t to[6], size_t len, unsigned int seed)
{
	static uint8_t wire[4 + 70000];
	const uint32_t be = htobe32((uint32_t)len);

	memcpy(wire, &be, sizeof(be));
	make_frame(wire + 4, to, len, seed);
	assert_int_equal(send(f->peer, wire, 4 + len, 0), 4 + len);
}

static void post(struct fixture *f, unsigned int count, uint32_t len)
{
	while (count--) {
		struct vring_buf buf = {vring_alloc(ring(f, RX), len), len};

		memset(vring_ptr(ring(f, RX), buf.gpa, len), 0xee, len);
		f->gpa[f->posted] = buf.gpa;
		assert_int_equal(vring_add(ring(f, RX), &buf, 0, 1, false, &f->gpa[f->posted++]),
				 0);
	}
	vdriver_kick(&f->d, RX);
	vdriver_turn(&f->d);
}

/* The next frame that the guest gets is this one, in @buffers buffers. */
static void assert_got(struct fixture *f, const uint8_t to[6], size_t len, unsigned int seed,
		       unsigned int buffers)
{
	static uint8_t want[70000], got[70000];
	struct virtio_net_hdr_v1 h = {.num_buffers = htole16((uint16_t)buffers)};
	struct vring_done done;
	size_t at = 0;

	for (unsigned int i = 0; i < buffers; i++) {
		assert_true(vring_reap(ring(f, RX), &done));
		memcpy(got + at, vring_ptr(ring(f, RX), *(uint64_t *)done.cookie, done.written),
		       done.written);
		at += done.written;
	}
	assert_int_equal(at, HEADER + len);
	memcpy(want, &h, HEADER);
	make_frame(want + HEADER, to, len, seed);
	assert_memory_equal(got, want, at);
}

static void assert_got_none(struct fixture *f)
{
	struct vring_done done;

	vdriver_turn(&f->d);
	assert_false(vring_reap(ring(f, RX), &done));
}

/* From the guest: the header in a buffer of its own, the frame in two. */
static void transmit(struct fixture *f, size_t len, unsigned int seed, uint8_t flags)
{
	static uint8_t frame[70000];
	const uint8_t header[HEADER] = {flags};
	struct vring_driver *r = ring(f, TX);
	struct vring_buf bufs[3];

	make_frame(frame, other, len, seed);
	bufs[0] = vring_buffer(r, header, HEADER);
	bufs[1] = vring_buffer(r, frame, 10);
	bufs[2] = vring_buffer(r, frame + 10, (uint32_t)len - 10);
	assert_int_equal(vring_add(r, bufs, 3, 0, true, f), 0);
	vdriver_kick(&f->d, TX);
}

static void assert_sent(struct fixture *f, size_t len, unsigned int seed)
{
	static uint8_t want[70000], got[70000];
	const uint32_t be = htobe32((uint32_t)len);
	unsigned int tries = 0;
	size_t have = 0;

	while (have < len + 4) {
		ssize_t n = recv(f->peer, got + have, len + 4 - have, 0);

		assert_true(n > 0 || tries++ < 100);
		if (n < 0)
			vdriver_turn(&f->d);
		else
			have += (size_t)n;
	}
	memcpy(want, &be, 4);
	make_frame(want + 4, other, len, seed);
	assert_memory_equal(got, want, len + 4);
}

static unsigned int reaped(struct fixture *f, unsigned int n)
{
	struct vring_done done;
	unsigned int count = 0;

	while (vring_reap(ring(f, n), &done)) {
		assert_int_equal(done.written, 0);
		count++;
	}
	return count;
}

/* A command with its data in a buffer of its own; what the device answers. */
static uint8_t command(struct fixture *f, uint8_t class, uint8_t cmd, const void *data,
		       uint32_t len)
{
	const uint8_t header[] = {class, cmd};
	const uint8_t none = 0xaa;
	struct vring_driver *r = ring(f, CTRL);
	struct vring_buf bufs[3];

	bufs[0] = vring_buffer(r, header, sizeof(header));
	if (len)
		bufs[1] = vring_buffer(r, data, len);
	bufs[1 + !!len] = vring_buffer(r, &none, 1);
	assert_int_equal(vdriver_transact(&f->d, CTRL, bufs, 1 + !!len, 1), 1);
	return *(uint8_t *)vring_ptr(r, bufs[1 + !!len].gpa, 1);
}

static uint8_t rx_mode(struct fixture *f, uint8_t mode, uint8_t on)
{
	return command(f, VIRTIO_NET_CTRL_RX, mode, &on, 1);
}

/* 5.1.2 to 5.1.4: queues, features, configuration. */
static void test_identity(void **state)
{
	const uint64_t offloads =
		VIRTIO_FEATURE(VIRTIO_NET_F_CSUM) | VIRTIO_FEATURE(VIRTIO_NET_F_GUEST_CSUM) |
		VIRTIO_FEATURE(VIRTIO_NET_F_HOST_TSO4) | VIRTIO_FEATURE(VIRTIO_NET_F_GUEST_TSO4) |
		VIRTIO_FEATURE(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
	const uint64_t always =
		VIRTIO_FEATURE(VIRTIO_NET_F_MAC) | VIRTIO_FEATURE(VIRTIO_NET_F_STATUS) |
		VIRTIO_FEATURE(VIRTIO_NET_F_MRG_RXBUF) | VIRTIO_FEATURE(VIRTIO_NET_F_CTRL_VQ) |
		VIRTIO_FEATURE(VIRTIO_NET_F_CTRL_RX);
	struct fixture f;

	init(&f, state, "mtu=9000", 0);
	assert_int_equal(f.d.id, 1);
	assert_int_equal(vdriver_offered(&f.d) & offloads, 0);
	assert_int_equal(vdriver_offered(&f.d) & always, always);
	assert_true(vdriver_offered(&f.d) & VIRTIO_FEATURE(VIRTIO_NET_F_MTU));
	assert_false(vdriver_offered(&f.d) & VIRTIO_FEATURE(VIRTIO_NET_F_MQ));
	for (unsigned int i = 0; i < 6; i++)
		assert_int_equal(vdriver_config(&f.d, i, 1), own[i]);
	assert_int_equal(vdriver_config(&f.d, CONFIG_STATUS, 2), VIRTIO_NET_S_LINK_UP);
	assert_int_equal(vdriver_config(&f.d, CONFIG_PAIRS, 2), 1);
	assert_int_equal(vdriver_config(&f.d, CONFIG_MTU, 2), 9000);
	vdriver_set(&f.d, VREG_QUEUE_SELECT, 2);
	assert_int_equal(vdriver_get(&f.d, VREG_QUEUE_MAX), 256);
	vdriver_set(&f.d, VREG_QUEUE_SELECT, 3);
	assert_int_equal(vdriver_get(&f.d, VREG_QUEUE_MAX), 0);
	/* 5.1.4.2: the configuration is read-only. */
	vdriver_set_config(&f.d, 0, 1, 0x77);
	assert_int_equal(vdriver_config(&f.d, 0, 1), own[0]);
	fini(&f);
}

static void test_options(void **state)
{
	static const struct {
		const char *options, *why;
	} wrong[] = {
		{"", "which network is meant is missing"},
		{"passt=on mac=02:00:00:00:00", "is not an address like"},
		{"passt=on mac=02:00:00:00:00:000", "is not an address like"},
		{"passt=on mac=01:00:00:00:00:00", "is no card's address"},
		{"passt=on mac=00:00:00:00:00:00", "is no card's address"},
		{"stream=/nowhere/at/all", "cannot connect to the socket /nowhere/at/all"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct vmachine m;
		struct vdriver d;

		vmachine_init(&m);
		assert_false(vdriver_try(&d, &m, *state, "virtio_net", wrong[i].options));
		if (!strstr(m.rig.err.text, wrong[i].why))
			fail_msg("'%s' is not in: %s", wrong[i].why, m.rig.err.text);
		vmachine_fini(&m);
	}
}

/* 5.1.6.2.1: what is in the buffers goes out, and they come back. */
static void test_transmit(void **state)
{
	struct fixture f;

	init(&f, state, "", UINT64_MAX);
	transmit(&f, 60, 1, 0);
	vdriver_turn(&f.d);
	assert_sent(&f, 60, 1);
	/* The last one's buffers wait a moment. */
	assert_int_equal(reaped(&f, TX), 0);
	transmit(&f, 1514, 2, 0);
	transmit(&f, 65550, 3, 0);
	vdriver_turn(&f.d);
	assert_sent(&f, 1514, 2);
	assert_sent(&f, 65550, 3);
	assert_int_equal(reaped(&f, TX), 2);
	pass_time(&f, NS_PER_S);
	assert_int_equal(reaped(&f, TX), 1);
	fini(&f);
}

/* Small frames come back eight at a time, one interrupt for all; large ones with the next. */
static void test_transmit_one_by_one(void **state)
{
	struct fixture f;

	init(&f, state, "", UINT64_MAX);
	for (unsigned int i = 0; i < 8; i++) {
		transmit(&f, 60, i, 0);
		vdriver_turn(&f.d);
		assert_int_equal(reaped(&f, TX), 0);
	}
	vdriver_interrupted(&f.d, TX);
	transmit(&f, 60, 8, 0);
	vdriver_turn(&f.d);
	assert_int_equal(reaped(&f, TX), 8);
	assert_true(vdriver_interrupted(&f.d, TX));
	assert_false(vdriver_interrupted(&f.d, TX));
	transmit(&f, 1514, 9, 0);
	vdriver_turn(&f.d);
	assert_int_equal(reaped(&f, TX), 1);
	transmit(&f, 60, 10, 0);
	vdriver_turn(&f.d);
	assert_int_equal(reaped(&f, TX), 1);
	pass_time(&f, NS_PER_S);
	assert_int_equal(reaped(&f, TX), 1);
	fini(&f);
}

static void test_transmit_what_cannot_be(void **state)
{
	struct vring_buf bufs[2];
	struct fixture f;
	char byte;

	init(&f, state, "", UINT64_MAX);
	transmit(&f, 60, 1, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	transmit(&f, 13, 1, 0); /* shorter than an Ethernet header */
	bufs[0] = vring_buffer(ring(&f, TX), own, 5);
	assert_int_equal(vring_add(ring(&f, TX), bufs, 1, 0, false, &f), 0);
	bufs[0].gpa = vring_alloc(ring(&f, TX), 100); /* nothing to send at all */
	bufs[0].len = 100;
	assert_int_equal(vring_add(ring(&f, TX), bufs, 0, 1, false, &f), 0);
	vdriver_kick(&f.d, TX);
	vdriver_turn(&f.d);
	pass_time(&f, NS_PER_S);
	assert_int_equal(reaped(&f, TX), 4);
	assert_int_equal(recv(f.peer, &byte, 1, 0), -1);
	assert_int_equal(vdriver_get(&f.d, VREG_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	fini(&f);
}

static void test_full_socket(void **state)
{
	unsigned int back = 0;
	struct fixture f;

	init(&f, state, "", UINT64_MAX);
	for (unsigned int i = 0; i < 100; i++)
		transmit(&f, 2000, i, 0);
	vdriver_turn(&f.d);
	/* The socket holds less than that. */
	for (unsigned int i = 100; i < 110; i++)
		transmit(&f, 2000, i, 0);
	vdriver_turn(&f.d);
	back = reaped(&f, TX);
	for (unsigned int i = 0; i < 110; i++)
		assert_sent(&f, 2000, i);
	pass_time(&f, NS_PER_S);
	assert_int_equal(back + reaped(&f, TX), 110);
	fini(&f);
}

/* 5.1.6.4: one buffer or many. */
static void test_receive_merged(void **state)
{
	struct fixture f;

	init(&f, state, "", UINT64_MAX);
	post(&f, 8, 200);
	inject(&f, own, 60, 1);
	vdriver_turn(&f.d);
	assert_true(vdriver_interrupted(&f.d, RX));
	assert_got(&f, own, 60, 1, 1);
	inject(&f, own, 600 - HEADER, 2); /* three exactly */
	inject(&f, own, 601 - HEADER, 3);
	vdriver_turn(&f.d);
	assert_got(&f, own, 600 - HEADER, 2, 3);
	assert_got(&f, own, 601 - HEADER, 3, 4);
	assert_got_none(&f);
	fini(&f);
}

static void test_receive_unmerged(void **state)
{
	struct fixture f;

	init(&f, state, "", VIRTIO_FEATURE(VIRTIO_NET_F_MAC));
	post(&f, 3, 1600);
	inject(&f, own, 60, 1);
	inject(&f, own, 1600, 2); /* too large: dropped */
	inject(&f, own, 1514, 3);
	vdriver_turn(&f.d);
	assert_got(&f, own, 60, 1, 1);
	assert_got(&f, own, 1514, 3, 1);
	assert_got_none(&f);
	fini(&f);
}

/* 5.1.4.2: nothing larger than the MTU. */
static void test_mtu(void **state)
{
	struct fixture f;

	init(&f, state, "mtu=1300", UINT64_MAX);
	post(&f, 3, 2000);
	inject(&f, own, 1300 + 18, 1);
	inject(&f, own, 1300 + 19, 2);
	inject(&f, own, 60, 3);
	vdriver_turn(&f.d);
	assert_got(&f, own, 1300 + 18, 1, 1);
	assert_got(&f, own, 60, 3, 1);
	assert_got_none(&f);
	fini(&f);
}

/* Without buffers the network is left alone, and nobody turns in circles. */
static void test_no_buffers(void **state)
{
	struct fixture f;

	init(&f, state, "", UINT64_MAX);
	inject(&f, own, 60, 1);
	inject(&f, own, 61, 2);
	vdriver_turn(&f.d);
	post(&f, 1, 2000);
	assert_got(&f, own, 60, 1, 1);
	assert_got_none(&f);
	post(&f, 1, 2000);
	assert_got(&f, own, 61, 2, 1);
	fini(&f);
}

static void test_large_frame_waits(void **state)
{
	struct fixture f;

	init(&f, state, "", UINT64_MAX);
	post(&f, 2, 1000);
	inject(&f, own, 4000, 1);
	inject(&f, own, 60, 2);
	vdriver_turn(&f.d);
	assert_got_none(&f);
	post(&f, 1, 1000);
	assert_got_none(&f);
	post(&f, 3, 1000);
	assert_got(&f, own, 4000, 1, 5);
	assert_got(&f, own, 60, 2, 1);
	/* The next waits in vain, and the one behind it gets its buffers. */
	post(&f, 2, 1000);
	inject(&f, own, 4000, 3);
	inject(&f, own, 60, 4);
	vdriver_turn(&f.d);
	assert_got_none(&f);
	pass_time(&f, NS_PER_S);
	assert_got(&f, own, 60, 4, 1);
	assert_got_none(&f);
	fini(&f);
}

/* 5.1.6.3.1: a buffer that not even the header fits into. */
static void test_small_buffers(void **state)
{
	struct vring_buf out;
	struct fixture f;

	init(&f, state, "", UINT64_MAX);
	post(&f, 3, HEADER);
	assert_int_equal(reaped(&f, RX), 3);
	out = vring_buffer(ring(&f, RX), own, 6);
	assert_int_equal(vring_add(ring(&f, RX), &out, 1, 0, false, &f), 0);
	vdriver_kick(&f.d, RX);
	vdriver_turn(&f.d);
	assert_int_equal(reaped(&f, RX), 1);
	post(&f, 12, HEADER + 6); /* the destination begins behind the header, where it ends */
	inject(&f, own, 60, 1);
	vdriver_turn(&f.d);
	assert_got(&f, own, 60, 1, 4);
	fini(&f);
}

/* One behind a good buffer has its turn when that is used, so that both can be taken back. */
static void test_small_buffer_behind_another(void **state)
{
	struct fixture f;

	init(&f, state, "", UINT64_MAX);
	post(&f, 1, 200);
	post(&f, 1, HEADER);
	assert_int_equal(reaped(&f, RX), 0);
	device_pause(f.d.dev);
	device_resume(f.d.dev);
	inject(&f, own, 60, 1);
	inject(&f, own, 600, 2); /* there is no room for it */
	vdriver_turn(&f.d);
	pass_time(&f, NS_PER_S);
	assert_got(&f, own, 60, 1, 1);
	assert_int_equal(reaped(&f, RX), 1);
	post(&f, 1, 200);
	post(&f, 1, HEADER);
	vdriver_reset(&f.d);
	fini(&f);
}

/* 5.1.6.5.1, 5.1.6.5.2 */
static void test_filter(void **state)
{
	uint8_t tables[4 + 6 + 4 + 6] = {1};
	static const uint8_t *const to[] = {own, other, group, broad};
	static const struct {
		uint8_t mode, on, pass; /* bit n: frames to to[n] */
	} steps[] = {
		{VIRTIO_NET_CTRL_RX_PROMISC, 1, 0xf},  {VIRTIO_NET_CTRL_RX_PROMISC, 0, 0x9},
		{VIRTIO_NET_CTRL_RX_ALLMULTI, 1, 0xd}, {VIRTIO_NET_CTRL_RX_ALLUNI, 1, 0xf},
		{VIRTIO_NET_CTRL_RX_NOMULTI, 1, 0xb},  {VIRTIO_NET_CTRL_RX_NOUNI, 1, 0x8},
		{VIRTIO_NET_CTRL_RX_NOBCAST, 1, 0x0},  {VIRTIO_NET_CTRL_RX_NOUNI, 0, 0x3},
		{VIRTIO_NET_CTRL_RX_ALLUNI, 0, 0x1},   {VIRTIO_NET_CTRL_RX_NOBCAST, 0, 0x9},
		{VIRTIO_NET_CTRL_RX_NOMULTI, 0, 0xd},  {VIRTIO_NET_CTRL_RX_ALLMULTI, 0, 0x9},
	};
	struct fixture f;

	init(&f, state, "", UINT64_MAX);
	post(&f, 60, 100);
	for (size_t i = 0; i < ARRAY_SIZE(steps) + 2; i++) {
		uint8_t pass = 0xf;

		if (i < ARRAY_SIZE(steps)) {
			pass = steps[i].pass;
			assert_int_equal(rx_mode(&f, steps[i].mode, steps[i].on), VIRTIO_NET_OK);
		} else {
			/* One address in each table, then none. */
			const bool full = i == ARRAY_SIZE(steps);

			tables[0] = full;
			memcpy(tables + 4, other, 6);
			tables[full ? 10 : 4] = full;
			memcpy(tables + 14, group, 6);
			if (!full)
				memset(tables, 0, sizeof(tables));
			assert_int_equal(command(&f, VIRTIO_NET_CTRL_MAC,
						 VIRTIO_NET_CTRL_MAC_TABLE_SET, tables,
						 full ? 20 : 8),
					 VIRTIO_NET_OK);
			pass = full ? 0xf : 0x9;
		}
		for (unsigned int n = 0; n < 4; n++)
			inject(&f, to[n], 60, n);
		vdriver_turn(&f.d);
		for (unsigned int n = 0; n < 4; n++)
			if (pass >> n & 1)
				assert_got(&f, to[n], 60, n, 1);
		assert_got_none(&f);
	}
	fini(&f);
}

static void test_more_addresses_than_there_is_room_for(void **state)
{
	static uint8_t tables[8 + 6 * 200];
	struct fixture f;

	init(&f, state, "", UINT64_MAX);
	post(&f, 8, 100);
	assert_int_equal(rx_mode(&f, VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	store_le32(tables, 0);
	store_le32(tables + 4, 200);
	assert_int_equal(command(&f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, tables,
				 sizeof(tables)),
			 VIRTIO_NET_OK);
	inject(&f, other, 60, 1);
	inject(&f, group, 60, 2);
	vdriver_turn(&f.d);
	assert_got(&f, group, 60, 2, 1);
	assert_got_none(&f);
	/* Tables that are not as long as they say leave things as they were. */
	for (uint32_t i = 0; i < 4; i++) {
		static const uint32_t counts[] = {201, 1U << 30, UINT32_MAX, 0x2aaaaaab};

		store_le32(tables + 4, counts[i]);
		assert_int_equal(command(&f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET,
					 tables, sizeof(tables)),
				 VIRTIO_NET_ERR);
		store_le32(tables + 4, 200);
		store_le32(tables, counts[i]);
		assert_int_equal(command(&f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET,
					 tables, sizeof(tables)),
				 VIRTIO_NET_ERR);
		store_le32(tables, 0);
	}
	inject(&f, group, 60, 3);
	vdriver_turn(&f.d);
	assert_got(&f, group, 60, 3, 1);
	fini(&f);
}

static void test_commands_that_cannot_be(void **state)
{
	struct vring_buf bufs[2];
	uint64_t word = 1;
	struct fixture f;

	init(&f, state, "", UINT64_MAX);
	for (unsigned int class = 0; class < 256; class += 3)
		for (unsigned int cmd = 6; cmd < 256; cmd += 50)
			assert_int_equal(command(&f, (uint8_t) class, (uint8_t)cmd, &word, 8),
					 VIRTIO_NET_ERR);
	assert_int_equal(command(&f, VIRTIO_NET_CTRL_RX, 0, NULL, 0), VIRTIO_NET_ERR);
	assert_int_equal(command(&f, VIRTIO_NET_CTRL_MAC, 1, own, 5), VIRTIO_NET_ERR);
	assert_int_equal(command(&f, VIRTIO_NET_CTRL_MAC, 0, own, 3), VIRTIO_NET_ERR);
	/* These were not offered. */
	assert_int_equal(command(&f, VIRTIO_NET_CTRL_MQ, 0, &word, 2), VIRTIO_NET_ERR);
	assert_int_equal(command(&f, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &word, 8), VIRTIO_NET_ERR);
	/* No room for the answer; no command at all. */
	bufs[0] = vring_buffer(ring(&f, CTRL), &word, 3);
	assert_int_equal(vdriver_transact(&f.d, CTRL, bufs, 1, 0), 0);
	bufs[0] = vring_buffer(ring(&f, CTRL), &word, 1);
	assert_int_equal(vdriver_transact(&f.d, CTRL, bufs, 0, 1), 1);
	assert_int_equal(*(uint8_t *)vring_ptr(ring(&f, CTRL), bufs[0].gpa, 1), VIRTIO_NET_ERR);
	fini(&f);
}

static void test_address(void **state)
{
	struct fixture f;

	init(&f, state, "", UINT64_MAX);
	post(&f, 4, 100);
	assert_int_equal(rx_mode(&f, VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	assert_int_equal(command(&f, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6),
			 VIRTIO_NET_OK);
	assert_int_equal(vdriver_config(&f.d, 5, 1), other[5]);
	inject(&f, own, 60, 1);
	inject(&f, other, 60, 2);
	vdriver_turn(&f.d);
	assert_got(&f, other, 60, 2, 1);
	assert_got_none(&f);
	/* A reset brings the old one back, and promiscuity. */
	vdriver_start(&f.d, UINT64_MAX);
	f.posted = 0;
	assert_int_equal(vdriver_config(&f.d, 5, 1), own[5]);
	post(&f, 4, 100);
	inject(&f, other, 60, 3);
	vdriver_turn(&f.d);
	assert_got(&f, other, 60, 3, 1);
	fini(&f);
}

/* Buffers in hand, a poll under way, a frame that waits: a reset takes them all back. */
static void test_reset(void **state)
{
	struct fixture f;

	init(&f, state, "", UINT64_MAX);
	for (unsigned int i = 0; i < 10; i++) {
		post(&f, 2, 1000);
		if (i % 2)
			inject(&f, own, 5000, i);
		transmit(&f, 60, i, 0);
		vdriver_turn(&f.d);
		assert_sent(&f, 60, i);
		vdriver_start(&f.d, UINT64_MAX);
		f.posted = 0;
		vdriver_turn(&f.d);
	}
	post(&f, 2, 1000);
	inject(&f, own, 60, 99);
	vdriver_turn(&f.d);
	assert_got(&f, own, 60, 99, 1);
	fini(&f);
}

/* Behind a pause nothing that was there before is missing. */
static void test_pause(void **state)
{
	struct fixture f;

	init(&f, state, "", UINT64_MAX);
	post(&f, 4, 1000);
	assert_int_equal(rx_mode(&f, VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	for (unsigned int i = 0; i < 3; i++) {
		transmit(&f, 60, i, 0);
		vdriver_turn(&f.d);
		virtio_quiesce(vdriver_virtio(&f.d));
		inject(&f, own, 60, i);
		inject(&f, other, 60, i);
		vdriver_turn(&f.d);
		assert_sent(&f, 60, i);
		assert_int_equal(reaped(&f, TX), 1);
		virtio_resume(vdriver_virtio(&f.d));
		vdriver_turn(&f.d);
		assert_got(&f, own, 60, i, 1);
		assert_got_none(&f);
	}
	fini(&f);
}

/* More at once than a queue's share of the worker, and than the hand of a receive queue holds. */
static void test_many_frames(void **state)
{
	struct fixture f;

	init(&f, state, "", UINT64_MAX);
	for (unsigned int round = 0; round < 5; round++) {
		post(&f, 200, 200);
		for (unsigned int i = 0; i < 200; i++)
			inject(&f, own, 60, i);
		vdriver_turn(&f.d);
		for (unsigned int i = 0; i < 200; i++)
			assert_got(&f, own, 60, i, 1);
	}
	for (unsigned int i = 0; i < 150; i++)
		transmit(&f, 60, i, 0);
	vdriver_turn(&f.d);
	for (unsigned int i = 0; i < 150; i++)
		assert_sent(&f, 60, i);
	fini(&f);
}

/* What is no Ethernet frame is not shown to the guest. */
static void test_short_frame(void **state)
{
	struct fixture f;

	init(&f, state, "", UINT64_MAX);
	post(&f, 2, 200);
	inject(&f, own, 5, 1);
	inject(&f, own, 60, 2);
	vdriver_turn(&f.d);
	assert_got(&f, own, 60, 2, 1);
	assert_got_none(&f);
	fini(&f);
}

static int load_parts(struct device *dev, uint8_t (*saved)[8192], const long *len, struct err *err)
{
	const struct state_table *table;
	int ret = 0;
	void *at;

	device_lock(dev);
	for (unsigned int n = 0; !ret && (table = device_state_part(dev, n, &at)); n++)
		ret = state_load(table, at, saved[n], (size_t)len[n], err);
	if (!ret)
		ret = dev->class->family->loaded(dev, err);
	if (!ret)
		ret = dev->class->loaded(dev, err);
	device_unlock(dev);
	return ret;
}

/* Saved, reset and loaded, the card goes on with its rings and its filter. */
static void test_saved(void **state)
{
	static uint8_t saved[4][8192];
	const struct state_table *table;
	struct device *dev;
	struct fixture f;
	long len[4];
	void *at;

	init(&f, state, "", UINT64_MAX);
	dev = f.d.dev;
	post(&f, 4, 1000);
	assert_int_equal(rx_mode(&f, VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	device_pause(dev);
	for (unsigned int n = 0; (table = device_state_part(dev, n, &at)); n++) {
		len[n] = state_save(table, at, saved[n], sizeof(saved[n]));
		assert_true(len[n] > 0);
	}
	device_reset(dev);
	assert_int_equal(load_parts(dev, saved, len, &f.m.rig.err), 0);
	device_resume(dev);
	inject(&f, other, 60, 1);
	inject(&f, own, 60, 2);
	vdriver_turn(&f.d);
	assert_got(&f, own, 60, 2, 1);
	assert_got_none(&f);
	/* A pair of queues less than one is a state of no card. */
	device_pause(dev);
	table = device_state_part(dev, 0, &at);
	for (uint64_t seed = 1; len[0] && seed < 1000; seed++) {
		state_load(table, at, saved[0], (size_t)len[0], &f.m.rig.err);
		state_mutate(table, at, seed);
		device_lock(dev);
		if (dev->class->loaded(dev, &f.m.rig.err))
			len[0] = 0;
		device_unlock(dev);
	}
	assert_int_equal(len[0], 0);
	assert_non_null(strstr(f.m.rig.err.text, "queues"));
	device_reset(dev);
	fini(&f);
}

/* 5.1.4.2: the link goes down, the driver hears of it, and nothing else happens. */
static void test_link(void **state)
{
	char text[512] = "";
	struct fixture f;

	init(&f, state, "", UINT64_MAX);
	post(&f, 4, 1000);
	inject(&f, own, 60, 1);
	close(f.peer);
	f.peer = -1;
	vdriver_turn(&f.d);
	assert_got(&f, own, 60, 1, 1);
	assert_true(vdriver_config_interrupted(&f.d));
	assert_int_equal(vdriver_config(&f.d, CONFIG_STATUS, 2), 0);
	for (unsigned int i = 0; i < 5; i++)
		transmit(&f, 60, i, 0);
	vdriver_turn(&f.d);
	pass_time(&f, NS_PER_S);
	assert_int_equal(reaped(&f, TX), 5);
	assert_true(pread(f.log.fd, text, sizeof(text) - 1, 0) > 0);
	assert_non_null(strstr(text, "has closed it; the guest's link is down"));
	vdriver_start(&f.d, UINT64_MAX);
	vdriver_turn(&f.d);
	assert_int_equal(vdriver_config(&f.d, CONFIG_STATUS, 2), 0);
	fini(&f);
}

/* 5.1.6.5.5, where the control queue comes last, and 5.1.2, where it is the third. */
static void test_pairs(void **state)
{
	struct vmachine m;
	struct vdriver d;
	struct vring_buf bufs[2];
	uint8_t request[] = {VIRTIO_NET_CTRL_MQ, 0, 0, 0}, *answer;

	if (unshare(CLONE_NEWNET) || access("/dev/net/tun", R_OK | W_OK))
		skip();
	vmachine_init(&m);
	vdriver_create(&d, &m, *state, "virtio_net", "tap=tap0 queues=4");
	assert_int_equal(vdriver_config(&d, CONFIG_PAIRS, 2), 4);
	assert_int_equal(vdriver_config(&d, CONFIG_MTU, 2), 1500);
	for (unsigned int mq = 0; mq < 2; mq++) {
		const unsigned int ctrl = mq ? 8 : 2;

		vdriver_start(&d, mq ? UINT64_MAX
				     : VIRTIO_FEATURE(VIRTIO_NET_F_CTRL_VQ) |
						  VIRTIO_FEATURE(VIRTIO_NET_F_MRG_RXBUF));
		for (uint8_t pairs = 0; pairs < 6; pairs++) {
			const bool can = mq && pairs >= 1 && pairs <= 4;

			request[2] = pairs;
			bufs[0] = vring_buffer(vdriver_ring(&d, ctrl), request, sizeof(request));
			bufs[1] = vring_buffer(vdriver_ring(&d, ctrl), request, 1);
			assert_int_equal(vdriver_transact(&d, ctrl, bufs, 1, 1), 1);
			answer = vring_ptr(vdriver_ring(&d, ctrl), bufs[1].gpa, 1);
			assert_int_equal(*answer, can ? VIRTIO_NET_OK : VIRTIO_NET_ERR);
		}
	}
	vdriver_destroy(&d);
	vmachine_fini(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		VDRIVER_TESTS(test_identity),
		VDRIVER_TESTS(test_options),
		VDRIVER_TESTS(test_transmit),
		VDRIVER_TESTS(test_transmit_one_by_one),
		VDRIVER_TESTS(test_transmit_what_cannot_be),
		VDRIVER_TESTS(test_full_socket),
		VDRIVER_TESTS(test_receive_merged),
		VDRIVER_TESTS(test_receive_unmerged),
		VDRIVER_TESTS(test_mtu),
		VDRIVER_TESTS(test_no_buffers),
		VDRIVER_TESTS(test_large_frame_waits),
		VDRIVER_TESTS(test_small_buffers),
		VDRIVER_TESTS(test_small_buffer_behind_another),
		VDRIVER_TESTS(test_filter),
		VDRIVER_TESTS(test_more_addresses_than_there_is_room_for),
		VDRIVER_TESTS(test_commands_that_cannot_be),
		VDRIVER_TESTS(test_address),
		VDRIVER_TESTS(test_reset),
		VDRIVER_TESTS(test_pause),
		VDRIVER_TESTS(test_many_frames),
		VDRIVER_TESTS(test_short_frame),
		VDRIVER_TESTS(test_saved),
		VDRIVER_TESTS(test_link),
		VDRIVER_TESTS(test_pairs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
