/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ports that are stream sockets: frames however they are cut, passt at the other end, captures.
 *
 * Called as "passt", this program is a passt that sends back what it gets.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/log.h"
#include "skep/netport.h"
#include "skep/worker.h"
#include "skep/worker_sim.h"
#include "support/cm.h"

#define FRAME_MOST (NETPORT_FRAME_MAX - NETPORT_HEADER)

static char dir[] = "/tmp/skep-net-XXXXXX";

static const char *in_dir(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir); /* fails when a test has left something */
}

struct fixture {
	struct netport *port;
	struct err err;
	struct log log;
	int listener, peer;
};

static struct netport_options options(void)
{
	return (struct netport_options){.queues = 1, .snaplen = 65535};
}

static void fixture_init(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	log_init(&f->log, memfd_create("log", MFD_CLOEXEC), LOG_WARN);
	f->listener = f->peer = -1;
}

/* A port whose other end is f->peer, captured to @pcap in the directory. */
static void fixture_connect(struct fixture *f, const char *pcap)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct netport_options o = options();

	fixture_init(f);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%.107s", in_dir("socket"));
	f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(f->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(f->listener, 1), 0);
	o.stream = addr.sun_path;
	if (pcap) {
		o.pcap = in_dir(pcap);
		o.snaplen = 100;
	}
	if (netport_open(&f->port, "net0", &o, &f->log, &f->err))
		fail_msg("%s", f->err.text);
	f->peer = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(f->peer >= 0);
	unlink(addr.sun_path);
}

static void fixture_fini(struct fixture *f)
{
	netport_close(f->port);
	if (f->peer >= 0)
		close(f->peer);
	if (f->listener >= 0)
		close(f->listener);
	close(f->log.fd);
}

/* How many lines of the log have @what in them. */
static unsigned int logged(const struct fixture *f, const char *what)
{
	char text[4096];
	ssize_t n = pread(f->log.fd, text, sizeof(text) - 1, 0);
	unsigned int count = 0;

	assert_true(n >= 0);
	text[n] = '\0';
	for (const char *p = text; (p = strstr(p, what)); p++)
		count++;
	return count;
}

static void fill(uint8_t *p, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

/* A frame of @len bytes as it is on the wire; returns the bytes with the length. */
static size_t wire(uint8_t *to, size_t len, unsigned int seed)
{
	const uint32_t be = htobe32((uint32_t)len);

	memcpy(to, &be, sizeof(be));
	fill(to + sizeof(be), len, seed);
	return sizeof(be) + len;
}

static ssize_t receive(struct fixture *f, uint8_t *buf)
{
	/* In pieces, of which one is empty and one ends within the header. */
	const struct iovec iov[] = {
		{buf, 7}, {buf + 7, 0}, {buf + 7, 50}, {buf + 57, NETPORT_FRAME_MAX - 57}};

	memset(buf, 0xee, NETPORT_FRAME_MAX);
	return netport_receive(f->port, 0, iov, ARRAY_SIZE(iov));
}

static void assert_frame(struct fixture *f, size_t len, unsigned int seed)
{
	static uint8_t got[NETPORT_FRAME_MAX], want[NETPORT_FRAME_MAX];

	assert_int_equal(receive(f, got), NETPORT_HEADER + len);
	memset(want, 0, NETPORT_HEADER);
	fill(want + NETPORT_HEADER, len, seed);
	assert_memory_equal(got, want, NETPORT_HEADER + len);
}

static void assert_none(struct fixture *f)
{
	static uint8_t got[NETPORT_FRAME_MAX];

	assert_int_equal(receive(f, got), -EAGAIN);
}

static int transmit(struct fixture *f, size_t len, unsigned int seed, uint8_t flags, uint8_t gso)
{
	static uint8_t buf[NETPORT_HEADER + FRAME_MOST + 1];
	const struct iovec iov[] = {{buf, 5}, {buf + 5, 20}, {buf + 25, NETPORT_HEADER + len - 25}};

	memset(buf, 0, NETPORT_HEADER);
	buf[0] = flags;
	buf[1] = gso;
	fill(buf + NETPORT_HEADER, len, seed);
	return netport_send(f->port, 0, iov, ARRAY_SIZE(iov), NETPORT_HEADER + len);
}

/* Receiving */

static void frames_cut_anywhere_arrive(void **state)
{
	uint8_t bytes[256];
	size_t len = 0;
	struct fixture f;

	(void)state;
	fixture_connect(&f, NULL);
	len += wire(bytes, 60, 1);
	len += wire(bytes + len, 1, 2);
	len += wire(bytes + len, 99, 3);
	for (size_t cut = 0; cut <= len; cut++) {
		assert_none(&f);
		assert_int_equal(send(f.peer, bytes, cut, 0), cut);
		if (cut >= 64)
			assert_frame(&f, 60, 1);
		if (cut >= 69)
			assert_frame(&f, 1, 2);
		if (cut == len)
			assert_frame(&f, 99, 3);
		assert_none(&f);
		assert_int_equal(send(f.peer, bytes + cut, len - cut, 0), len - cut);
		if (cut < 64)
			assert_frame(&f, 60, 1);
		if (cut < 69)
			assert_frame(&f, 1, 2);
		if (cut < len)
			assert_frame(&f, 99, 3);
	}
	assert_none(&f);
	fixture_fini(&f);
}

static void the_largest_frames_arrive(void **state)
{
	static uint8_t bytes[4 + FRAME_MOST];
	struct fixture f;

	(void)state;
	fixture_connect(&f, NULL);
	for (unsigned int i = 0; i < 5; i++) {
		size_t len = wire(bytes, FRAME_MOST - i, i), sent = 0;

		while (sent < len) {
			ssize_t n = send(f.peer, bytes + sent, len - sent, MSG_DONTWAIT);

			if (n > 0)
				sent += (size_t)n;
			if (sent < len)
				assert_none(&f);
		}
		assert_frame(&f, FRAME_MOST - i, i);
	}
	assert_none(&f);
	fixture_fini(&f);
}

static void a_frame_that_cannot_be_ends_the_port(void **state)
{
	static const uint32_t lengths[] = {0, FRAME_MOST + 1, UINT32_MAX};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		const uint32_t be = htobe32(lengths[i]);
		uint8_t bytes[64], buf[NETPORT_FRAME_MAX];
		size_t len = wire(bytes, 20, 9);
		struct fixture f;

		fixture_connect(&f, NULL);
		assert_int_equal(send(f.peer, bytes, len, 0), len);
		assert_int_equal(send(f.peer, &be, sizeof(be), 0), sizeof(be));
		assert_frame(&f, 20, 9);
		assert_int_equal(receive(&f, buf), -ENOTCONN);
		assert_int_equal(receive(&f, buf), -ENOTCONN);
		assert_int_equal(logged(&f, "which cannot be; the guest's link is down"), 1);
		fixture_fini(&f);
	}
}

static void a_peer_that_goes_is_told_of_once(void **state)
{
	uint8_t bytes[64], buf[NETPORT_FRAME_MAX];
	size_t len = wire(bytes, 20, 9);
	struct fixture f;

	(void)state;
	fixture_connect(&f, NULL);
	/* What came before is still received. */
	assert_int_equal(send(f.peer, bytes, len, 0), len);
	assert_int_equal(send(f.peer, bytes, 3, 0), 3);
	close(f.peer);
	f.peer = -1;
	assert_frame(&f, 20, 9);
	assert_int_equal(receive(&f, buf), -ENOTCONN);
	assert_int_equal(transmit(&f, 60, 1, 0, 0), -ENOTCONN);
	assert_int_equal(receive(&f, buf), -ENOTCONN);
	assert_int_equal(logged(&f, "net0: the other end of the socket /tmp/skep-net-"), 1);
	assert_int_equal(logged(&f, "link is down"), 1);
	fixture_fini(&f);
}

/* Sending */

static void frames_go_out_behind_their_lengths(void **state)
{
	uint8_t want[256], got[256];
	struct fixture f;
	size_t len;

	(void)state;
	fixture_connect(&f, NULL);
	assert_int_equal(transmit(&f, 60, 1, 0, 0), 0);
	assert_int_equal(transmit(&f, 100, 2, 0, 0), 0);
	len = wire(want, 60, 1);
	len += wire(want + len, 100, 2);
	assert_int_equal(recv(f.peer, got, sizeof(got), MSG_DONTWAIT), len);
	assert_memory_equal(got, want, len);
	fixture_fini(&f);
}

static void a_full_socket_loses_nothing(void **state)
{
	static uint8_t want[4 + FRAME_MOST], got[4 + FRAME_MOST];
	unsigned int sent = 0, seen = 0, full = 0;
	size_t have = 0;
	struct fixture f;
	int small = 4096;

	(void)state;
	fixture_connect(&f, NULL);
	setsockopt(netport_fd(f.port, 0), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	while (seen < 300) {
		const size_t len = 4 + 60 + (size_t)seen * 211;
		ssize_t n;

		if (sent < 300) {
			int ret = transmit(&f, 60 + (size_t)sent * 211, sent, 0, 0);

			if (ret)
				assert_int_equal(ret, -EAGAIN);
			sent += !ret;
			full += !!ret;
		} else if (transmit(&f, 60, 0, VIRTIO_NET_HDR_F_NEEDS_CSUM, 0) == -EAGAIN) {
			full++; /* a refused frame pushes out what is left over, too */
		}
		n = recv(f.peer, got + have, MIN(len - have, (size_t)1999), MSG_DONTWAIT);
		if (n > 0)
			have += (size_t)n;
		if (have < len)
			continue;
		assert_int_equal(wire(want, len - 4, seen), len);
		assert_memory_equal(got, want, len);
		have = 0;
		seen++;
	}
	assert_true(full > 0);
	fixture_fini(&f);
}

static void frames_that_cannot_be_are_refused(void **state)
{
	struct fixture f;
	char byte;

	(void)state;
	fixture_connect(&f, NULL);
	assert_int_equal(netport_info(f.port)->features, 0);
	assert_int_equal(transmit(&f, 60, 1, VIRTIO_NET_HDR_F_NEEDS_CSUM, 0), -EINVAL);
	assert_int_equal(transmit(&f, 60, 1, 0, VIRTIO_NET_HDR_GSO_TCPV4), -EINVAL);
	assert_int_equal(transmit(&f, 13, 1, 0, 0), -EMSGSIZE);
	assert_int_equal(transmit(&f, FRAME_MOST + 1, 1, 0, 0), -EMSGSIZE);
	assert_int_equal(recv(f.peer, &byte, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	fixture_fini(&f);
}

/* Options */

static void refuse(const struct netport_options *o, const char *why)
{
	struct netport *p;
	struct fixture f;

	fixture_init(&f);
	assert_true(netport_open(&p, "net0", o, &f.log, &f.err) < 0);
	assert_null(p);
	if (!strstr(f.err.text, why))
		fail_msg("'%s' is not in: %s", why, f.err.text);
	fixture_fini(&f);
}

static void options_that_cannot_be_are_refused(void **state)
{
	struct netport_options o = options();
	char path[200];

	(void)state;
	refuse(&o, "which network is meant is missing; say one of tap=NAME");
	o.stream = "/tmp/x";
	o.passt = true;
	refuse(&o, "a network card has one network; say one of");
	o.passt = false;
	o.mtu = 67;
	refuse(&o, "mtu: 68 is the least");
	o.mtu = 0;
	o.queues = 2;
	refuse(&o, "queues: only a tap has more than one pair");
	o.queues = 1;
	o.stream = in_dir("nobody");
	refuse(&o, "start who listens there first, as in 'passt --socket /tmp/skep-net-");
	o.stream = "";
	refuse(&o, "a socket's path has 1 to 107 bytes, this one 0");
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	o.stream = path;
	refuse(&o, "this one 199");
}

/* passt */

static void passt_is_started_and_ended(void **state)
{
	const char *old = getenv("PATH");
	struct netport_options o = options();
	static uint8_t buf[NETPORT_FRAME_MAX];
	struct fixture f;
	ssize_t n;

	(void)state;
	o.passt = true;
	assert_int_equal(setenv("PATH", dir, 1), 0);
	refuse(&o, "there is no passt on the PATH");
	assert_int_equal(symlink("/dev/null", in_dir("passt")), 0);
	refuse(&o, "cannot start passt: Permission denied");
	unlink(in_dir("passt"));

	assert_true(readlink("/proc/self/exe", (char *)buf, sizeof(buf)) > 0);
	buf[readlink("/proc/self/exe", (char *)buf, sizeof(buf))] = '\0';
	assert_int_equal(symlink((char *)buf, in_dir("passt")), 0);
	fixture_init(&f);
	if (netport_open(&f.port, "net0", &o, &f.log, &f.err))
		fail_msg("%s", f.err.text);
	assert_string_equal(netport_info(f.port)->name, "socket to passt");
	assert_int_equal(transmit(&f, 77, 7, 0, 0), 0);
	do
		n = receive(&f, buf);
	while (n == -EAGAIN);
	assert_int_equal(n, NETPORT_HEADER + 77);
	fixture_fini(&f);
	setenv("PATH", old, 1);
	unlink(in_dir("passt"));
}

static int be_passt(int argc, char **argv)
{
	char buf[4096];
	ssize_t n;
	int fd;

	if (argc != 5 || strcmp(argv[3], "--fd"))
		return 1;
	fd = atoi(argv[4]); /* NOLINT(cert-err34-c): it is ours */
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		if (write(fd, buf, (size_t)n) != n)
			return 1;
	return 0;
}

/* Captures */

struct record {
	uint32_t s, ns, kept, length;
};

static size_t read_file(uint8_t *to, size_t room)
{
	int fd = open(in_dir("pcap"), O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, to, room);

	assert_true(n >= 0);
	close(fd);
	return (size_t)n;
}

static void captures_hold_both_ways(void **state)
{
	const uint32_t header[] = {0xa1b23c4d, 2 | 4 << 16, 0, 0, 100, 1};
	uint8_t bytes[512], want[256];
	struct worker *w;
	struct fixture f;
	struct record r;
	size_t len;

	(void)state;
	fixture_connect(&f, "pcap");
	assert_int_equal(worker_sim_create(&w, 1, &f.err), 0);
	assert_int_equal(netport_capture(f.port, w, &f.err), 0);
	assert_int_equal(transmit(&f, 60, 1, 0, 0), 0);
	assert_true(worker_sim_run(w, 100) < 100);
	assert_int_equal(read_file(bytes, sizeof(bytes)), 24 + 16 + 60);
	len = wire(want, 150, 2);
	assert_int_equal(send(f.peer, want, len, 0), len);
	assert_frame(&f, 150, 2);
	netport_close(f.port); /* writes what the worker did not */
	f.port = NULL;
	assert_int_equal(read_file(bytes, sizeof(bytes)), 24 + 16 + 60 + 16 + 100);
	assert_memory_equal(bytes, header, sizeof(header));
	memcpy(&r, bytes + 24, sizeof(r));
	assert_int_equal(r.kept, 60);
	assert_int_equal(r.length, 60);
	assert_true(r.ns < 1000000000);
	fill(want, 60, 1);
	assert_memory_equal(bytes + 40, want, 60);
	memcpy(&r, bytes + 100, sizeof(r));
	assert_int_equal(r.kept, 100);
	assert_int_equal(r.length, 150);
	fill(want, 100, 2);
	assert_memory_equal(bytes + 116, want, 100);
	fixture_fini(&f);
	worker_destroy(w);
	unlink(in_dir("pcap"));
}

static void captures_that_fail_are_told_of_once(void **state)
{
	struct worker *w;
	struct fixture f;

	(void)state;
	fixture_connect(&f, "pcap");
	assert_int_equal(worker_sim_create(&w, 1, &f.err), 0);
	worker_sim_fail(w, 1, ENOSPC);
	assert_int_equal(netport_capture(f.port, w, &f.err), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(transmit(&f, 60, 1, 0, 0), 0);
		assert_true(worker_sim_run(w, 100) < 100);
	}
	assert_int_equal(logged(&f, "pcap cannot be written: No space left on device"), 1);
	fixture_fini(&f);
	worker_destroy(w);
	unlink(in_dir("pcap"));
}

static void captures_drop_what_is_too_much(void **state)
{
	static uint8_t got[NETPORT_FRAME_MAX];
	struct fixture f;
	struct stat st;

	(void)state;
	fixture_connect(&f, "pcap");
	/* Nobody writes: a buffer's worth is kept. */
	for (int i = 0; i < 60000; i++) {
		assert_int_equal(transmit(&f, 60, 1, 0, 0), 0);
		assert_int_equal(recv(f.peer, got, 64, 0), 64);
	}
	netport_close(f.port);
	f.port = NULL;
	assert_int_equal(stat(in_dir("pcap"), &st), 0);
	assert_int_equal(st.st_size, 24 + 76 * ((4096 * 1024 - 24) / 76));
	assert_int_equal(logged(&f, "lacks 4813 frames"), 1);
	fixture_fini(&f);
	unlink(in_dir("pcap"));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_cut_anywhere_arrive),
		cmocka_unit_test(the_largest_frames_arrive),
		cmocka_unit_test(a_frame_that_cannot_be_ends_the_port),
		cmocka_unit_test(a_peer_that_goes_is_told_of_once),
		cmocka_unit_test(frames_go_out_behind_their_lengths),
		cmocka_unit_test(a_full_socket_loses_nothing),
		cmocka_unit_test(frames_that_cannot_be_are_refused),
		cmocka_unit_test(options_that_cannot_be_are_refused),
		cmocka_unit_test(passt_is_started_and_ended),
		cmocka_unit_test(captures_hold_both_ways),
		cmocka_unit_test(captures_that_fail_are_told_of_once),
		cmocka_unit_test(captures_drop_what_is_too_much),
	};
	const char *name = strrchr(argv[0], '/');

	if (!strcmp(name ? name + 1 : argv[0], "passt"))
		return be_passt(argc, argv);
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
