/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <pty.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/chan.h"
#include "skep/clock.h"
#include "skep/worker_sim.h"
#include "skep/workers.h"
#include "support/vdriver.h"

#define RX(port) ((port) ? 2 + 2 * (port) : 0U)
#define TX(port) ((port) ? 3 + 2 * (port) : 1U)
#define CRX      2U
/* All features but that of many ports: as early Linux, or firmware, has it. */
#define SINGLE (~(VIRTIO_FEATURE(VIRTIO_CONSOLE_F_MULTIPORT) | VIRTIO_FEATURE(VIRTIO_F_IN_ORDER)))
#define CTX    3U

struct con {
	struct vmachine m;
	struct vdriver d;
	struct chunk { /* of output */
		uint64_t gpa;
		bool busy;
	} chunks[16];
};

static char dir[] = "/tmp/skep-vcon-XXXXXX";

/* Options in which every "@" stands for the directory. */
static const char *with_dir(const char *text)
{
	static char out[512];
	size_t n = 0;

	for (; *text; text++)
		n += (size_t)snprintf(out + n, sizeof(out) - n, *text == '@' ? "%s" : "%.1s",
				      *text == '@' ? dir : text);
	out[n] = '\0';
	return out;
}

static struct con *con_new(const struct vdriver_way *way, const char *options)
{
	struct con *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	vmachine_init(&c->m);
	vdriver_create(&c->d, &c->m, way, "virtio_console", with_dir(options));
	return c;
}

static void con_free(struct con *c)
{
	vdriver_destroy(&c->d);
	vmachine_fini(&c->m);
	free(c);
}

static void turn(struct con *c)
{
	vdriver_turn(&c->d);
}

/* And the moment that a console collects a batch in. */
static void later(struct con *c)
{
	turn(c);
	worker_sim_advance(vmachine_worker(&c->m), clock_now() + NS_PER_S);
	turn(c);
}

/* -1 when too many wait to be let in. */
static int try_dial(const char *name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", dir, name);
	if (!connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return fd;
	assert_int_equal(errno, EAGAIN);
	close(fd);
	return -1;
}

static int dial(const char *name)
{
	int fd = try_dial(name);

	assert_true(fd >= 0);
	return fd;
}

static void assert_reads(int fd, const char *text)
{
	char buf[256];
	ssize_t n = read(fd, buf, sizeof(buf) - 1);

	assert_true(n >= 0);
	buf[n] = '\0';
	assert_string_equal(buf, text);
}

static void assert_nothing(int fd)
{
	char c;

	assert_int_equal(read(fd, &c, 1), -1);
	assert_int_equal(errno, EAGAIN);
}

/* Sends text to a port's transmit queue; whether the chain came back. */
static bool say(struct con *c, unsigned int queue, const char *text)
{
	struct vring_driver *ring = vdriver_ring(&c->d, queue);
	struct vring_buf buf = vring_buffer(ring, text, (uint32_t)strlen(text));
	struct vring_done done;

	assert_int_equal(vring_add(ring, &buf, 1, 0, false, c), 0);
	vdriver_kick(&c->d, queue);
	later(c);
	if (!vring_reap(ring, &done))
		return false;
	assert_int_equal(done.written, 0);
	return true;
}

/* Gives @queue @n buffers of @len bytes; their address is the cookie. */
static void give(struct con *c, unsigned int queue, unsigned int n, uint32_t len)
{
	struct vring_driver *ring = vdriver_ring(&c->d, queue);

	while (n--) {
		struct vring_buf buf = {.gpa = vring_alloc(ring, len), .len = len};

		assert_int_equal(
			vring_add(ring, &buf, 0, 1, false, vring_ptr(ring, buf.gpa, len ? len : 1)),
			0);
	}
	vdriver_kick(&c->d, queue);
	turn(c);
}

/* Puts what has come to a receive queue behind one another. */
static size_t hear(struct con *c, unsigned int queue, char *to, size_t room)
{
	struct vring_done done;
	size_t n = 0;

	turn(c);
	while (n < room && vring_reap(vdriver_ring(&c->d, queue), &done)) {
		assert_true(done.written <= room - n);
		memcpy(to + n, done.cookie, done.written);
		n += done.written;
	}
	return n;
}

static void assert_hears(struct con *c, unsigned int queue, const char *text)
{
	char buf[256];
	size_t n = hear(c, queue, buf, sizeof(buf) - 1);

	buf[n] = '\0';
	assert_string_equal(buf, text);
}

/* Control messages */

static void tell(struct con *c, uint32_t id, unsigned int event, unsigned int value)
{
	struct vring_driver *ring = vdriver_ring(&c->d, CTX);
	uint8_t m[8];
	struct vring_buf buf;
	struct vring_done done;

	store_le32(m, id);
	store_le16(m + 4, (uint16_t)event);
	store_le16(m + 6, (uint16_t)value);
	buf = vring_buffer(ring, m, sizeof(m));
	assert_int_equal(vring_add(ring, &buf, 1, 0, false, c), 0);
	vdriver_kick(&c->d, CTX);
	turn(c);
	assert_true(vring_reap(ring, &done));
	assert_int_equal(done.written, 0);
}

/* The next message, with what is behind it as text. */
static void assert_told_bytes(struct con *c, uint32_t id, unsigned int event, unsigned int value,
			      const void *behind, size_t len)
{
	struct vring_done done;
	const uint8_t *m;

	turn(c);
	assert_true(vring_reap(vdriver_ring(&c->d, CRX), &done));
	m = done.cookie;
	assert_int_equal(done.written, 8 + len);
	assert_int_equal(load_le32(m), id);
	assert_int_equal(load_le16(m + 4), event);
	assert_int_equal(load_le16(m + 6), value);
	assert_memory_equal(m + 8, behind, len);
}

static void assert_told(struct con *c, uint32_t id, unsigned int event, unsigned int value,
			const char *behind)
{
	assert_told_bytes(c, id, event, value, behind, strlen(behind));
}

static void assert_no_message(struct con *c)
{
	struct vring_done done;

	turn(c);
	assert_false(vring_reap(vdriver_ring(&c->d, CRX), &done));
}

/* As a driver does for port @id. */
static void bring_up(struct con *c, uint32_t id, const char *name, bool connected)
{
	tell(c, id, VIRTIO_CONSOLE_PORT_READY, 1);
	if (id)
		assert_told(c, id, VIRTIO_CONSOLE_PORT_NAME, 1, name);
	else
		assert_told(c, id, VIRTIO_CONSOLE_CONSOLE_PORT, 1, "");
	assert_told(c, id, VIRTIO_CONSOLE_PORT_OPEN, connected, "");
	tell(c, id, VIRTIO_CONSOLE_PORT_OPEN, 1);
}

/* Started, with one named port that is open on both sides. */
static struct con *con_with_port(const struct vdriver_way *way, int *fd)
{
	struct con *c = con_new(way, "port1=org.skep.1:unix:@/p1");

	vdriver_start(&c->d, UINT64_MAX);
	give(c, CRX, 16, 64);
	*fd = dial("p1");
	turn(c);
	tell(c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	assert_told(c, 0, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	assert_told(c, 1, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	bring_up(c, 1, "org.skep.1", true);
	return c;
}

/* 5.3.1 to 5.3.4 */
static void test_identity(void **state)
{
	struct con *c = con_new(*state, "");

	assert_int_equal(c->d.id, 3);
	assert_int_equal(vdriver_offered(&c->d) & 0xffffff,
			 VIRTIO_FEATURE(VIRTIO_CONSOLE_F_EMERG_WRITE) |
				 VIRTIO_FEATURE(VIRTIO_CONSOLE_F_MULTIPORT));
	vdriver_set(&c->d, VREG_QUEUE_SELECT, CTX);
	assert_int_equal(vdriver_get(&c->d, VREG_QUEUE_MAX), 256);
	vdriver_set(&c->d, VREG_QUEUE_SELECT, CTX + 1);
	assert_int_equal(vdriver_get(&c->d, VREG_QUEUE_MAX), 0);
	con_free(c);
	c = con_new(*state, "port2=two:none port8=eight:none");
	assert_int_equal(vdriver_offered(&c->d) & 0xffffff,
			 VIRTIO_FEATURE(VIRTIO_CONSOLE_F_EMERG_WRITE) |
				 VIRTIO_FEATURE(VIRTIO_CONSOLE_F_MULTIPORT));
	vdriver_set(&c->d, VREG_QUEUE_SELECT, TX(8));
	assert_int_equal(vdriver_get(&c->d, VREG_QUEUE_MAX), 256);
	vdriver_set(&c->d, VREG_QUEUE_SELECT, TX(8) + 1);
	assert_int_equal(vdriver_get(&c->d, VREG_QUEUE_MAX), 0);
	assert_int_equal(vdriver_config(&c->d, 4, 4), 9);
	/* The rest is not for the driver to write. */
	vdriver_set_config(&c->d, 4, 4, 77);
	assert_int_equal(vdriver_config(&c->d, 4, 4), 9);
	con_free(c);
}

static void test_console(void **state)
{
	struct con *c = con_new(*state, "backend=unix:@/con");
	struct vring_driver *ring;
	struct vring_buf bufs[3];
	struct vring_done done;
	int fd = dial("con");

	vdriver_start(&c->d, SINGLE);
	assert_true(say(c, TX(0), "hello "));
	assert_true(vdriver_interrupted(&c->d, TX(0)));
	ring = vdriver_ring(&c->d, TX(0));
	bufs[0] = vring_buffer(ring, "wo", 2);
	bufs[1] = vring_buffer(ring, "r", 1);
	bufs[2] = vring_buffer(ring, "ld", 2);
	assert_int_equal(vring_add(ring, bufs, 3, 0, true, c), 0);
	/* Against 5.3.6.1: what is writable in a transmit queue is no output. */
	assert_int_equal(vring_add(ring, bufs, 0, 2, false, c), 0);
	assert_int_equal(vring_add(ring, bufs, 1, 1, false, c), 0);
	vdriver_kick(&c->d, TX(0));
	later(c);
	for (int i = 0; i < 3; i++) {
		assert_true(vring_reap(ring, &done));
		assert_int_equal(done.written, 0);
	}
	assert_reads(fd, "hello worldwo");
	/* What is typed before there is a buffer waits. */
	assert_int_equal(write(fd, "keys", 4), 4);
	turn(c);
	give(c, RX(0), 1, 3);
	assert_hears(c, RX(0), "key");
	assert_true(vdriver_interrupted(&c->d, RX(0)));
	give(c, RX(0), 3, 16);
	assert_hears(c, RX(0), "s");
	assert_int_equal(write(fd, "more", 4), 4);
	assert_hears(c, RX(0), "more");
	/* A client that goes, and another that comes. */
	close(fd);
	turn(c);
	fd = dial("con");
	assert_true(say(c, TX(0), "again"));
	assert_reads(fd, "again");
	assert_int_equal(write(fd, "!", 1), 1);
	assert_hears(c, RX(0), "!");
	close(fd);
	con_free(c);
}

/* Buffers for input that are none, and more of them than one turn fills. */
static void test_odd_buffers(void **state)
{
	struct con *c = con_new(*state, "backend=unix:@/con");
	struct vring_driver *ring;
	struct vring_done done;
	struct vring_buf out;
	int fd = dial("con");
	char text[200];

	vdriver_start(&c->d, SINGLE);
	ring = vdriver_ring(&c->d, RX(0));
	out = vring_buffer(ring, "mine", 4);
	turn(c);
	assert_int_equal(vring_add(ring, &out, 1, 0, false, c), 0);
	vdriver_kick(&c->d, RX(0));
	give(c, RX(0), 150, 1);
	memset(text, 'x', sizeof(text));
	assert_int_equal(write(fd, text, 150), 150);
	turn(c);
	/* The driver's own stays as it was. */
	assert_true(vring_reap(ring, &done));
	assert_int_equal(done.written, 0);
	assert_memory_equal(vring_ptr(ring, out.gpa, 4), "mine", 4);
	memset(text, 0, sizeof(text));
	assert_int_equal(hear(c, RX(0), text, sizeof(text)), 150);
	for (int i = 0; i < 150; i++)
		assert_int_equal(text[i], 'x');
	close(fd);
	con_free(c);
}

/* 5.3.5 and 5.3.6.2: the hand-shake, and everybody's coming and going. */
static void test_ports(void **state)
{
	struct con *c = con_new(*state, "backend=none port1=org.skep.1:unix:@/p1 "
					"port3=three:none");
	int fd;

	vdriver_start(&c->d, UINT64_MAX);
	give(c, CRX, 32, 64);
	assert_no_message(c);
	/* A driver that failed hears nothing. */
	tell(c, 0, VIRTIO_CONSOLE_DEVICE_READY, 0);
	assert_no_message(c);
	tell(c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	assert_told(c, 0, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	assert_told(c, 1, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	assert_told(c, 3, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	/* 5.3.6.2.1: none that exists is added. */
	tell(c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	assert_no_message(c);
	/* Who comes before the port is ready is told of with it. */
	fd = dial("p1");
	assert_no_message(c);
	bring_up(c, 1, "org.skep.1", true);
	bring_up(c, 3, "three", true);
	bring_up(c, 0, "", true);
	assert_true(vdriver_interrupted(&c->d, CRX));
	close(fd);
	assert_told(c, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	fd = dial("p1");
	assert_told(c, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
	assert_no_message(c);
	/* 2.4: a reset forgets all of it. */
	vdriver_reset(&c->d);
	vdriver_start(&c->d, UINT64_MAX);
	give(c, CRX, 32, 64);
	tell(c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	assert_told(c, 0, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	assert_told(c, 1, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	assert_told(c, 3, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	bring_up(c, 1, "org.skep.1", true);
	close(fd);
	con_free(c);
}

/* What is typed before the console is one, is for the console. */
static void test_typed_ahead(void **state)
{
	struct con *c = con_new(*state, "backend=unix:@/con");
	int fd = dial("con");

	assert_int_equal(write(fd, "early", 5), 5);
	turn(c);
	vdriver_start(&c->d, UINT64_MAX);
	give(c, RX(0), 2, 16);
	give(c, CRX, 8, 64);
	assert_hears(c, RX(0), "");
	tell(c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	assert_told(c, 0, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	assert_hears(c, RX(0), "");
	bring_up(c, 0, "", true);
	assert_hears(c, RX(0), "early");
	close(fd);
	con_free(c);
}

/* A driver that takes no messages, however many it asks for. */
static void test_messages_wait(void **state)
{
	struct con *c = con_new(*state, "port1=one:unix:@/p1");
	int fd;

	vdriver_start(&c->d, UINT64_MAX);
	for (int i = 0; i < 100; i++) {
		tell(c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
		tell(c, 1, VIRTIO_CONSOLE_PORT_READY, 1);
		fd = dial("p1");
		turn(c);
		close(fd);
		turn(c);
	}
	/* Each once, as it stands now, and in order. */
	give(c, CRX, 2, 64);
	assert_told(c, 0, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	assert_told(c, 1, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	assert_no_message(c);
	give(c, CRX, 1, 64);
	assert_told(c, 1, VIRTIO_CONSOLE_PORT_NAME, 1, "one");
	give(c, CRX, 4, 64);
	assert_told(c, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	assert_no_message(c);
	con_free(c);
}

/* Whatever the driver says: it stays a driver's problem. */
static void test_nonsense(void **state)
{
	static const uint32_t ids[] = {0, 1, 2, 8, 9, 255, UINT32_MAX};
	struct con *c = con_new(*state, "port1=one:none");
	struct vring_driver *ring;
	struct vring_buf bufs[2];
	struct vring_done done;

	vdriver_start(&c->d, UINT64_MAX);
	/* Of ports that were not added. */
	for (unsigned int i = 0; i < ARRAY_SIZE(ids); i++)
		for (unsigned int event = 1; event < 10; event++)
			tell(c, ids[i], event, 1);
	give(c, CRX, 8, 64);
	assert_no_message(c);
	ring = vdriver_ring(&c->d, CTX);
	/* Too short, too long, in pieces, none at all, and to be written. */
	bufs[0] = vring_buffer(ring, "\0\0\0\0\0\0\1", 7);
	bufs[1] = vring_buffer(ring, "\0", 1);
	assert_int_equal(vring_add(ring, bufs, 1, 0, false, c), 0);
	assert_int_equal(vring_add(ring, bufs, 0, 1, false, c), 0);
	vdriver_kick(&c->d, CTX);
	assert_no_message(c);
	assert_true(vring_reap(ring, &done));
	assert_true(vring_reap(ring, &done));
	bufs[0] = vring_buffer(ring, "\0\0\0\0\0\0\1", 7);
	assert_int_equal(vring_add(ring, bufs, 2, 0, false, c), 0);
	vdriver_kick(&c->d, CTX);
	assert_told(c, 0, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	assert_told(c, 1, VIRTIO_CONSOLE_PORT_ADD, 1, "");
	for (unsigned int i = 0; i < ARRAY_SIZE(ids); i++)
		for (unsigned int event = 0; event < 300; event += 1 + event / 10)
			tell(c, ids[i], event, event);
	while (vring_reap(vdriver_ring(&c->d, CRX), &done))
		;
	/* Buffers that messages do not fit into: what fits is written. */
	give(c, CRX, 1, 0x40);
	give(c, CRX, 2, 4);
	tell(c, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	turn(c);
	while (vring_reap(vdriver_ring(&c->d, CRX), &done))
		assert_true(done.written <= 64);
	assert_int_equal(vdriver_get(&c->d, VREG_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	con_free(c);
}

/* A ring that cannot be: the device says so, and is well again behind a reset. */
static void test_broken_ring(void **state)
{
	struct con *c = con_new(*state, "backend=unix:@/con");
	struct vring_buf bad = {.gpa = UINT64_C(1) << 40, .len = 16};
	int fd = dial("con");

	vdriver_start(&c->d, SINGLE);
	assert_int_equal(vring_add(vdriver_ring(&c->d, TX(0)), &bad, 1, 0, false, c), 0);
	vdriver_kick(&c->d, TX(0));
	turn(c);
	assert_true(vdriver_get(&c->d, VREG_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(write(fd, "in", 2), 2);
	turn(c);
	vdriver_reset(&c->d);
	vdriver_start(&c->d, SINGLE);
	assert_true(say(c, TX(0), "well"));
	assert_reads(fd, "well");
	give(c, RX(0), 1, 8);
	assert_hears(c, RX(0), "in");
	close(fd);
	con_free(c);
}

static void test_closed_port(void **state)
{
	int fd;
	struct con *c = con_with_port(*state, &fd);

	give(c, RX(1), 4, 64);
	tell(c, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	assert_int_equal(write(fd, "for you", 7), 7);
	assert_hears(c, RX(1), "");
	tell(c, 1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_hears(c, RX(1), "for you");
	/* Output of a closed port is output. */
	tell(c, 1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	assert_true(say(c, TX(1), "the rest"));
	assert_reads(fd, "the rest");
	close(fd);
	con_free(c);
}

/* Byte @n of a long text. */
static uint8_t nth(size_t n)
{
	return (uint8_t)(n * 31 + n / 253);
}

#define MUCH KIB(1500)

/* Adds chains of output, of all sizes, as long as there is room for them. */
static void pour(struct con *c, size_t *sent, size_t most)
{
	struct vring_driver *ring = vdriver_ring(&c->d, TX(1));
	struct vring_done done;

	while (vring_reap(ring, &done))
		((struct chunk *)done.cookie)->busy = false;
	for (unsigned int i = 0; i < ARRAY_SIZE(c->chunks) && *sent < most; i++) {
		uint32_t len = (uint32_t)MIN(1 + *sent % KIB(12), most - *sent), half = len / 2;
		struct chunk *chunk = &c->chunks[i];
		struct vring_buf bufs[2];
		uint8_t *p;

		if (chunk->busy)
			continue;
		chunk->busy = true;
		if (!chunk->gpa)
			chunk->gpa = vring_alloc(ring, KIB(12));
		bufs[0] = (struct vring_buf){.gpa = chunk->gpa, .len = half};
		bufs[1] = (struct vring_buf){.gpa = chunk->gpa + half, .len = len - half};
		p = vring_ptr(ring, chunk->gpa, len);
		for (uint32_t j = 0; j < len; j++)
			p[j] = nth(*sent + j);
		assert_int_equal(vring_add(ring, bufs, 2, 0, i & 1, chunk), 0);
		*sent += len;
	}
	vdriver_kick(&c->d, TX(1));
}

static size_t drain(int fd, size_t got)
{
	uint8_t buf[5000];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++)
			if (buf[i] != nth(got++))
				fail_msg("byte %zu of the output is wrong", got - 1);
	return got;
}

/* More than any buffer holds, to a reader that sleeps at first, with a pause now and then. */
static void test_much_output(void **state)
{
	int fd;
	struct con *c = con_with_port(*state, &fd);
	size_t sent = 0, got = 0;

	worker_sim_shorten(vmachine_worker(&c->m), 3);
	for (int i = 0; i < 100; i++) {
		pour(c, &sent, MUCH);
		later(c);
	}
	/* It is held back, and nothing turns meanwhile. */
	assert_in_range(sent, KIB(192), MUCH - 1);
	for (int i = 0; got < MUCH; i++) {
		assert_true(i < 10000);
		got = drain(fd, got);
		if (i % 7 == 3) {
			virtio_quiesce(vdriver_virtio(&c->d));
			virtio_resume(vdriver_virtio(&c->d));
		}
		turn(c);
		pour(c, &sent, MUCH);
		turn(c);
	}
	assert_int_equal(got, MUCH);
	assert_nothing(fd);
	close(fd);
	con_free(c);
}

/* A chain that was sent in part when the device was reset has no part in what follows. */
static void test_reset_within_a_chain(void **state)
{
	int fd;
	struct con *c = con_with_port(*state, &fd);
	struct vring_driver *ring = vdriver_ring(&c->d, TX(1));
	struct vring_buf buf = {.gpa = vring_alloc(ring, KIB(128)), .len = KIB(128)};
	static char sink[KIB(1024)];

	memset(vring_ptr(ring, buf.gpa, KIB(128)), 'a', KIB(128));
	for (int i = 0; i < 8; i++)
		assert_int_equal(vring_add(ring, &buf, 1, 0, false, c), 0);
	vdriver_kick(&c->d, TX(1));
	later(c);
	vdriver_reset(&c->d);
	while (read(fd, sink, sizeof(sink)) > 0)
		later(c);
	vdriver_start(&c->d, UINT64_MAX);
	assert_true(say(c, TX(1), "a new life"));
	assert_reads(fd, "a new life");
	close(fd);
	con_free(c);
}

static void test_much_input(void **state)
{
	int fd;
	struct con *c = con_with_port(*state, &fd);
	struct vring_driver *ring = vdriver_ring(&c->d, RX(1));
	size_t sent = 0, got = 0;
	static uint8_t text[MUCH];
	struct vring_done done;

	worker_sim_shorten(vmachine_worker(&c->m), 3);
	for (size_t i = 0; i < MUCH; i++)
		text[i] = nth(i);
	/* A guest that takes nothing: held back in the socket. */
	for (int i = 0; i < 10; i++) {
		ssize_t n = write(fd, text + sent, MUCH - sent);

		sent += n > 0 ? (size_t)n : 0;
		turn(c);
	}
	assert_true(sent < MUCH);
	give(c, RX(1), 20, 1000);
	for (int i = 0; got < MUCH; i++) {
		ssize_t n = write(fd, text + sent, MUCH - sent);

		assert_true(i < 100000);
		sent += n > 0 ? (size_t)n : 0;
		if (sent == MUCH && fd >= 0) {
			close(fd); /* behind its last word */
			fd = -1;
		}
		turn(c);
		while (vring_reap(ring, &done)) {
			struct vring_buf buf = {.len = 1000};

			assert_memory_equal(done.cookie, text + got, done.written);
			got += done.written;
			buf.gpa = (uint64_t)((uint8_t *)done.cookie -
					     (uint8_t *)gmem_hva(c->m.rig.machine.mem, 0, 1));
			assert_int_equal(vring_add(ring, &buf, 0, 1, false, done.cookie), 0);
		}
		vdriver_kick(&c->d, RX(1));
	}
	assert_int_equal(got, MUCH);
	assert_told(c, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, "");
	con_free(c);
}

/* Without MULTIPORT there is port 0, and no control queue to be heard on. */
static void test_single_port_driver(void **state)
{
	struct con *c = con_new(*state, "backend=unix:@/con port1=one:unix:@/p1");
	int fd = dial("con"), other = dial("p1");

	vdriver_start(&c->d, SINGLE);
	give(c, CRX, 4, 64);
	tell(c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	assert_no_message(c);
	assert_true(say(c, TX(0), "one"));
	assert_reads(fd, "one");
	give(c, RX(1), 1, 16);
	assert_int_equal(write(other, "x", 1), 1);
	assert_hears(c, RX(1), "");
	close(fd);
	close(other);
	con_free(c);
}

/* 5.3.5.1: at any time, and of the lowest byte. */
static void test_emergency(void **state)
{
	struct con *c = con_new(*state, "backend=unix:@/con");
	int fd = dial("con");

	vdriver_set_config(&c->d, 8, 4, 0x12345600 | 'h');
	later(c);
	assert_reads(fd, "h");
	vdriver_set_config(&c->d, 8, 1, 'e');
	vdriver_set_config(&c->d, 8, 2, 'l');
	vdriver_set_config(&c->d, 9, 1, 'n');
	vdriver_set_config(&c->d, 12, 4, 'n');
	vdriver_start(&c->d, UINT64_MAX);
	vdriver_set_config(&c->d, 8, 4, 'p');
	later(c);
	assert_reads(fd, "elp");
	assert_int_equal(vdriver_config(&c->d, 8, 4), 'p');
	vdriver_reset(&c->d);
	assert_int_equal(vdriver_config(&c->d, 8, 4), 0);
	close(fd);
	con_free(c);
}

/* The machine ends in the middle of everything. */
static void test_destroyed(void **state)
{
	for (int turns = 0; turns < 12; turns++) {
		int fd;
		struct con *c = con_with_port(*state, &fd);
		size_t sent = 0;

		give(c, RX(1), 4, 16);
		assert_int_equal(write(fd, "something", 9), 9);
		pour(c, &sent, KIB(500));
		vdriver_ring_bell(&c->d, TX(0));
		vdriver_ring_bell(&c->d, CTX);
		for (int i = 0; i < turns; i++)
			worker_sim_step(vmachine_worker(&c->m));
		if (turns & 1)
			close(fd);
		con_free(c);
		if (!(turns & 1))
			close(fd);
	}
}

/* A saved state that cannot be, and one that can. */
static void test_loaded(void **state)
{
	int fd;
	struct con *c = con_with_port(*state, &fd);
	struct device *dev = c->d.dev;
	uint8_t saved[256], *s = device_state(dev);
	size_t size = dev->class->state->size;
	unsigned int refused = 0;

	assert_true(size <= sizeof(saved));
	memcpy(saved, s, size);
	assert_int_equal(dev->class->loaded(dev, &c->m.rig.err), 0);
	for (uint64_t seed = 0; seed < 2000; seed++) {
		state_mutate(dev->class->state, s, seed);
		if (dev->class->loaded(dev, &c->m.rig.err)) {
			assert_non_null(strstr(c->m.rig.err.text, "cannot be as it was saved"));
			refused++;
			memcpy(s, saved, size);
			continue;
		}
		/* What is not refused does no harm. */
		assert_int_equal(write(fd, "x", 1), 1);
		turn(c);
	}
	assert_in_range(refused, 1000, 1999);
	close(fd);
	con_free(c);
}

/* Standard input and output are @fd, or again what they were. */
static void exchange_stdio(int fd, int saved[2])
{
	fflush(stdout);
	for (int i = 0; i < 2; i++) {
		if (fd >= 0)
			saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
		assert_int_equal(dup2(fd >= 0 ? fd : saved[i], i), i);
		if (fd < 0)
			close(saved[i]);
	}
}

static void set_window(int fd, unsigned int cols, unsigned int rows)
{
	struct winsize size = {.ws_col = (uint16_t)cols, .ws_row = (uint16_t)rows};

	assert_int_equal(ioctl(fd, TIOCSWINSZ, &size), 0);
}

/* F_SIZE: in the configuration, and by a message where there are more ports. */
static void check_window(const struct vdriver_way *way, int tty, bool ports)
{
	struct con *c = con_new(way, ports ? "backend=stdio port1=one:none" : "backend=stdio");

	/* Without ports all of it is in the configuration. */
	assert_int_equal(vdriver_offered(&c->d) & 3,
			 VIRTIO_FEATURE(VIRTIO_CONSOLE_F_SIZE) |
				 (ports ? VIRTIO_FEATURE(VIRTIO_CONSOLE_F_MULTIPORT) : 0));
	vdriver_set(&c->d, VREG_QUEUE_SELECT, CRX);
	assert_int_equal(vdriver_get(&c->d, VREG_QUEUE_MAX), ports ? 256 : 0);
	assert_int_equal(vdriver_config(&c->d, 0, 2), 80);
	assert_int_equal(vdriver_config(&c->d, 2, 2), 24);
	vdriver_start(&c->d, UINT64_MAX);
	if (ports) {
		give(c, CRX, 8, 64);
		tell(c, 0, VIRTIO_CONSOLE_DEVICE_READY, 1);
		assert_told(c, 0, VIRTIO_CONSOLE_PORT_ADD, 1, "");
		assert_told(c, 1, VIRTIO_CONSOLE_PORT_ADD, 1, "");
		tell(c, 0, VIRTIO_CONSOLE_PORT_READY, 1);
		assert_told(c, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, "");
		assert_told(c, 0, VIRTIO_CONSOLE_PORT_OPEN, 1, "");
		assert_told_bytes(c, 0, VIRTIO_CONSOLE_RESIZE, 1, "\x50\0\x18", 4);
	}
	assert_false(vdriver_config_interrupted(&c->d));
	chan_window_changed(&c->m.rig.machine);
	assert_false(vdriver_config_interrupted(&c->d));
	set_window(tty, 'A' | 'B' << 8, 'C' | 'D' << 8);
	chan_window_changed(&c->m.rig.machine);
	assert_true(vdriver_config_interrupted(&c->d));
	assert_int_equal(vdriver_config(&c->d, 0, 4), 0x44434241);
	if (ports)
		assert_told(c, 0, VIRTIO_CONSOLE_RESIZE, 1, "ABCD");
	set_window(tty, 80, 24);
	con_free(c);
}

static void test_window(void **state)
{
	int master, slave, saved[2] = {-1, -1};

	assert_int_equal(openpty(&master, &slave, NULL, NULL, NULL), 0);
	set_window(slave, 80, 24);
	exchange_stdio(slave, saved);
	check_window(*state, master, false);
	check_window(*state, master, true);
	exchange_stdio(-1, saved);
	close(master);
	close(slave);
}

/* Threads: the device's worker, the control thread's part, a client; this one is the vCPU. */

struct stress {
	struct con *c;
	int master;
	atomic_bool end;
	atomic_uint echoed;
};

static void *control_thread(void *arg)
{
	struct stress *s = arg;
	char sink[4096];

	for (unsigned int n = 0; !atomic_load(&s->end); n++) {
		set_window(s->master, 80 + n % 2, 24);
		chan_window_changed(&s->c->m.rig.machine);
		while (read(s->master, sink, sizeof(sink)) > 0)
			;
		if (write(s->master, "k", 1) < 0)
			assert_int_equal(errno, EAGAIN);
		usleep(200);
	}
	return NULL;
}

static void *client_thread(void *arg)
{
	struct stress *s = arg;
	char buf[4096];

	while (!atomic_load(&s->end)) {
		int fd = try_dial("p1");

		if (fd < 0)
			usleep(200);
		for (int i = 0; fd >= 0 && i < 20 && !atomic_load(&s->end); i++) {
			ssize_t n = read(fd, buf, sizeof(buf));

			if (n > 0 && write(fd, buf, (size_t)n) > 0)
				atomic_fetch_add(&s->echoed, 1);
			usleep(100);
		}
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

/* Adds a chain and rings, if there is room. */
static void post_chain(struct con *c, unsigned int queue, const struct vring_buf *buf, bool out)
{
	if (!vring_add(vdriver_ring(&c->d, queue), buf, out, !out, false, c))
		vdriver_kick(&c->d, queue);
}

static void use(struct con *c, unsigned int round)
{
	static const uint8_t queues[] = {0, 1, CRX, CTX, 4, 5};
	uint8_t ready[2][8] = {{0, 0, 0, 0, 0, 0, 1, 0}, {1, 0, 0, 0, 3, 0, 1, 0}};
	uint8_t open[8] = {1, 0, 0, 0, 6, 0, 1, 0};
	struct vring_buf bufs[6], messages[3];
	struct vring_done done;

	c->m.next = MIB(1);
	vdriver_start(&c->d, round % 3 ? UINT64_MAX : SINGLE);
	for (unsigned int i = 0; i < ARRAY_SIZE(queues); i++)
		bufs[i] = (struct vring_buf){
			.gpa = vring_alloc(vdriver_ring(&c->d, queues[i]), 200), .len = 200};
	messages[0] = vring_buffer(vdriver_ring(&c->d, CTX), ready[0], 8);
	messages[1] = vring_buffer(vdriver_ring(&c->d, CTX), ready[1], 8);
	messages[2] = vring_buffer(vdriver_ring(&c->d, CTX), open, 8);
	for (unsigned int i = 0; i < 200; i++) {
		if (i < 3)
			post_chain(c, CTX, &messages[i], true);
		post_chain(c, 0, &bufs[0], false);
		post_chain(c, 1, &bufs[1], true);
		post_chain(c, CRX, &bufs[2], false);
		post_chain(c, RX(1), &bufs[4], false);
		post_chain(c, TX(1), &bufs[5], true);
		vdriver_set_config(&c->d, 8, 1, '.');
		vdriver_config(&c->d, 0, 4);
		for (unsigned int q = 0; q < ARRAY_SIZE(queues); q++)
			while (vring_reap(vdriver_ring(&c->d, queues[q]), &done))
				;
		usleep(20);
	}
	if (round % 2) {
		virtio_quiesce(vdriver_virtio(&c->d));
		virtio_resume(vdriver_virtio(&c->d));
	}
	vdriver_reset(&c->d);
}

static void test_threads(void **state)
{
	int slave, saved[2] = {-1, -1};
	pthread_t control, client;
	struct machine *machine;
	struct stress s = {0};
	struct con *c;
	struct err err;

	if (worker_probe(&err))
		skip();
	c = calloc(1, sizeof(*c));
	assert_non_null(c);
	s.c = c;
	assert_int_equal(openpty(&s.master, &slave, NULL, NULL, NULL), 0);
	assert_int_equal(fcntl(s.master, F_SETFL, O_NONBLOCK), 0);
	set_window(slave, 80, 24);
	exchange_stdio(slave, saved);
	vmachine_init(&c->m);
	machine = &c->m.rig.machine;
	workers_destroy(machine->workers);
	assert_int_equal(workers_create(&machine->workers, 0, &err), 0);
	vdriver_create(&c->d, &c->m, *state, "virtio_console",
		       with_dir("backend=stdio port1=one:unix:@/p1"));
	assert_int_equal(workers_start(machine->workers, &err), 0);
	assert_int_equal(pthread_create(&control, NULL, control_thread, &s), 0);
	assert_int_equal(pthread_create(&client, NULL, client_thread, &s), 0);
	for (unsigned int round = 0; round < 12 || !atomic_load(&s.echoed); round++)
		use(c, round);
	atomic_store(&s.end, true);
	pthread_join(control, NULL);
	pthread_join(client, NULL);
	workers_stop(machine->workers);
	con_free(c);
	exchange_stdio(-1, saved);
	close(s.master);
	close(slave);
}

static void test_mistakes(void **state)
{
	static const struct {
		const char *options, *says;
	} mistakes[] = {
		{"backend=pipe", "is not a console"},
		{"port1=unix", "a port is NAME:BACKEND"},
		{"port1=:none", "a port is NAME:BACKEND"},
		{"port1=.:none", "a port is NAME:BACKEND"},
		{"port1=a/b:none", "a port is NAME:BACKEND"},
		{"port1=012345678901234567890123456789012:none", "at most 32 letters, this one 33"},
		{"port1=a:none port4=a:none", "port1 and port4 have the same name, a"},
		{"port1=a:unix:@/p1 port2=b:pipe", "port2: 'pipe' is not a console"},
		{"port1=a:unix:@/p1 port2=b:unix:@/p1", "port2: somebody listens"},
		{"port9=a:none", "port9"},
	};
	struct vmachine m;
	struct vdriver d;

	for (unsigned int i = 0; i < ARRAY_SIZE(mistakes); i++) {
		const char *options = with_dir(mistakes[i].options);

		vmachine_init(&m);
		assert_false(vdriver_try(&d, &m, *state, "virtio_console", options));
		if (!strstr(m.rig.err.text, mistakes[i].says))
			fail_msg("%s: %s", options, m.rig.err.text);
		vmachine_fini(&m);
	}
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		VDRIVER_TESTS(test_identity),
		VDRIVER_TESTS(test_console),
		VDRIVER_TESTS(test_odd_buffers),
		VDRIVER_TESTS(test_ports),
		VDRIVER_TESTS(test_typed_ahead),
		VDRIVER_TESTS(test_messages_wait),
		VDRIVER_TESTS(test_nonsense),
		VDRIVER_TESTS(test_broken_ring),
		VDRIVER_TESTS(test_closed_port),
		VDRIVER_TESTS(test_much_output),
		VDRIVER_TESTS(test_reset_within_a_chain),
		VDRIVER_TESTS(test_much_input),
		VDRIVER_TESTS(test_single_port_driver),
		VDRIVER_TESTS(test_emergency),
		VDRIVER_TESTS(test_destroyed),
		VDRIVER_TESTS(test_loaded),
		VDRIVER_TESTS(test_window),
		VDRIVER_TESTS(test_threads),
		VDRIVER_TESTS(test_mistakes),
	};

	return cmocka_run_group_tests_name("virtio_console", tests, make_dir, remove_dir);
}
