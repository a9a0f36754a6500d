/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Host I/O that fails: with each virtio device, each operation that its worker has of the host
 * fails once, with each of some errnos. The device then gives back what it can or asks to be reset,
 * and after a reset it works as before. And with transfers cut short, it works.
 *
 * The same of allocations and system calls is tests/faults.
 */
#include "support/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/worker_sim.h"
#include "support/vdriver.h"

#define CHAINS   8
#define BUFS_MAX 3
#define ANY      UINT64_MAX

/* What is asked of a device at once. */
struct chain {
	unsigned int queue, out, in; /* buffers */
	uint32_t len[BUFS_MAX];      /* 0: the chain is none */
	uint32_t word;               /* what the first begins with */
};

struct scene {
	const char *model, *options; /* with "@" for the directory */
	uint64_t features;
	unsigned int back; /* how many of its chains come back when nothing fails */
	bool peer;         /* its host's end is a socket that listens */
	bool forgets;      /* when that is gone, it does not come back */
	struct chain chains[CHAINS];
};

#define DISK(type, data, from)                                  \
	{                                                       \
		0, 1 + !(from), 1 + (from), {16, data, 1}, type \
	}
#define DISK_ASKS(type)                \
	{                              \
		0, 1, 1, {16, 1}, type \
	}

static const struct scene rng = {
	.model = "virtio_rng",
	.options = "source=/dev/zero",
	.features = ANY,
	.back = 3,
	.chains = {{0, 0, 1, {64}, 0}, {0, 0, 1, {5000}, 0}, {0, 0, 2, {1, 64}, 0}},
};

static const struct scene disk = {
	.model = "virtio_blk",
	.options = "path=@/image",
	.features = ANY,
	.back = 6,
	.chains = {DISK(VIRTIO_BLK_T_IN, 4096, 1), DISK(VIRTIO_BLK_T_OUT, 4096, 0),
		   DISK(VIRTIO_BLK_T_GET_ID, 20, 1), DISK_ASKS(VIRTIO_BLK_T_FLUSH),
		   DISK(VIRTIO_BLK_T_OUT, 512, 0), DISK(VIRTIO_BLK_T_IN, 512, 1)},
};

static const struct scene overlay = {
	.model = "virtio_blk",
	.options = "path=@/image overlay=@/overlay cache=writethrough",
	.features = ANY,
	.back = 4,
	.chains = {DISK(VIRTIO_BLK_T_OUT, 4096, 0), DISK(VIRTIO_BLK_T_IN, 4096, 1),
		   DISK_ASKS(VIRTIO_BLK_T_FLUSH), DISK(VIRTIO_BLK_T_OUT, 512, 0)},
};

static const struct scene console = {
	.model = "virtio_console",
	.options = "backend=file:@/console",
	.features = VIRTIO_FEATURE(VIRTIO_F_VERSION_1),
	.back = 3,
	.chains = {{0, 0, 1, {64}, 0},
		   {1, 1, 0, {64}, 0},
		   {1, 1, 0, {3000}, 0},
		   {1, 2, 0, {1, 64}, 0}},
};

static const struct scene balloon = {
	.model = "virtio_balloon",
	.options = "",
	.features = ANY,
	.back = 2,
	.chains = {{0, 1, 0, {16}, 300}, {1, 1, 0, {16}, 300}},
};

static const struct scene net = {
	.model = "virtio_net",
	.options = "stream=@/socket",
	.features = VIRTIO_FEATURE(VIRTIO_F_VERSION_1),
	.back = 3,
	.peer = true,
	.forgets = true,
	.chains = {{0, 0, 1, {2048}, 0},
		   {1, 1, 0, {76}, 0},
		   {1, 2, 0, {12, 64}, 0},
		   {1, 1, 0, {1500}, 0}},
};

static char dir[] = "/tmp/skep-done-XXXXXX";

static void with_dir(const char *text, char *out, size_t room)
{
	size_t n = 0;

	for (; *text; text++)
		n += (size_t)snprintf(out + n, room - n, *text == '@' ? "%s" : "%.1s",
				      *text == '@' ? dir : text);
	out[n] = '\0';
}

static const char *in_dir(const char *name)
{
	static char path[64];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static int listener(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(addr.sun_path, in_dir("socket"));
	unlink(addr.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

struct set {
	struct vmachine m;
	struct vdriver d;
	const struct scene *scene;
	int listens;
};

static void set_init(struct set *s, const struct scene *scene, const struct vdriver_way *way)
{
	char options[256];
	int fd;

	with_dir("@/image", options, sizeof(options));
	fd = open(options, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, 65536), 0);
	close(fd);
	unlink(in_dir("overlay"));
	with_dir(scene->options, options, sizeof(options));
	s->scene = scene;
	s->listens = scene->peer ? listener() : -1;
	vmachine_init(&s->m);
	vdriver_create(&s->d, &s->m, way, scene->model, options);
}

static void set_fini(struct set *s)
{
	vdriver_destroy(&s->d);
	vmachine_fini(&s->m);
	if (s->listens >= 0)
		close(s->listens);
	unlink(in_dir("image"));
	unlink(in_dir("overlay"));
	unlink(in_dir("console"));
	unlink(in_dir("socket"));
}

static void add(struct set *s, const struct chain *c)
{
	struct vring_driver *ring = vdriver_ring(&s->d, c->queue);
	struct vring_buf bufs[BUFS_MAX] = {0};

	for (unsigned int i = 0; i < c->out + c->in; i++)
		bufs[i] = (struct vring_buf){vring_alloc(ring, c->len[i]), c->len[i]};
	if (c->len[0] >= sizeof(c->word))
		memcpy(vring_ptr(ring, bufs[0].gpa, c->len[0]), &c->word, sizeof(c->word));
	assert_int_equal(vring_add(ring, bufs, c->out, c->in, false, s), 0);
}

static void settle(struct set *s)
{
	vdriver_turn(&s->d);
	/* And what is collected for a moment. */
	worker_sim_advance(vmachine_worker(&s->m), clock_now() + NS_PER_S);
	vdriver_turn(&s->d);
}

/* All of the scene, from a device that was reset: how many chains came back. */
static unsigned int play(struct set *s)
{
	struct vring_done done;
	unsigned int queues = 0, back = 0;

	vdriver_start(&s->d, s->scene->features);
	for (unsigned int i = 0; i < CHAINS && s->scene->chains[i].len[0]; i++) {
		add(s, &s->scene->chains[i]);
		queues = MAX(queues, s->scene->chains[i].queue + 1);
	}
	for (unsigned int q = 0; q < queues; q++)
		vdriver_kick(&s->d, q);
	settle(s);
	for (unsigned int q = 0; q < queues; q++)
		while (vring_reap(vdriver_ring(&s->d, q), &done)) {
			assert_ptr_equal(done.cookie, s);
			back++;
		}
	return back;
}

static bool is_broken(struct set *s)
{
	return vdriver_get(&s->d, VREG_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* One run with the @nth operation failing; whether there was one. */
static bool fail_one(const struct scene *scene, const struct vdriver_way *way, unsigned int nth,
		     int errnum)
{
	struct worker *w;
	unsigned int back;
	struct set s;
	bool came;

	set_init(&s, scene, way);
	w = vmachine_worker(&s.m);
	worker_sim_fail_nth(w, nth, errnum);
	back = play(&s);
	assert_true(back <= scene->back);
	assert_true(back == scene->back || is_broken(&s) || scene->forgets);
	came = worker_sim_nth_failed(w);
	worker_sim_fail(w, 0, 0);
	vdriver_reset(&s.d);
	assert_false(is_broken(&s));
	back = play(&s);
	assert_true(back == scene->back || scene->forgets);
	assert_false(is_broken(&s));
	set_fini(&s);
	return came;
}

static void each_fails(const struct scene *scene, const struct vdriver_way *way)
{
	static const int errnums[] = {EIO, ENOSPC};

	for (unsigned int i = 0; i < ARRAY_SIZE(errnums); i++) {
		unsigned int nth = 1;

		while (fail_one(scene, way, nth, errnums[i]))
			nth++;
		/* There was something to fail; a balloon asks nothing of a file. */
		assert_true(nth > 1 || scene == &balloon);
		assert_in_range(nth, 1, 100);
	}
}

static void cut_short(const struct scene *scene, const struct vdriver_way *way)
{
	struct set s;

	for (unsigned int round = 0; round < 3; round++) {
		set_init(&s, scene, way);
		worker_sim_shorten(vmachine_worker(&s.m), 2 + round);
		assert_int_equal(play(&s), scene->back);
		assert_false(is_broken(&s));
		set_fini(&s);
	}
}

#define TESTS(scene)                                   \
	static void test_##scene(void **state)         \
	{                                              \
		each_fails(&(scene), *state);          \
	}                                              \
	static void test_##scene##_short(void **state) \
	{                                              \
		cut_short(&(scene), *state);           \
	}

TESTS(rng)
TESTS(disk)
TESTS(overlay)
TESTS(console)
TESTS(balloon)
TESTS(net)

static int make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

int main(void)
{
	/* Transports and rings make no difference to workers, so one of each will do. */
	const struct CMUnitTest tests[] = {
		VDRIVER_TEST(test_rng, 0, "(pci, split)"),
		VDRIVER_TEST(test_rng, 3, "(mmio, packed)"),
		VDRIVER_TEST(test_rng_short, 0, "(pci, split)"),
		VDRIVER_TEST(test_disk, 0, "(pci, split)"),
		VDRIVER_TEST(test_disk, 3, "(mmio, packed)"),
		VDRIVER_TEST(test_disk_short, 0, "(pci, split)"),
		VDRIVER_TEST(test_overlay, 0, "(pci, split)"),
		VDRIVER_TEST(test_overlay, 3, "(mmio, packed)"),
		VDRIVER_TEST(test_overlay_short, 0, "(pci, split)"),
		VDRIVER_TEST(test_console, 0, "(pci, split)"),
		VDRIVER_TEST(test_console, 3, "(mmio, packed)"),
		VDRIVER_TEST(test_console_short, 0, "(pci, split)"),
		VDRIVER_TEST(test_balloon, 0, "(pci, split)"),
		VDRIVER_TEST(test_balloon, 3, "(mmio, packed)"),
		VDRIVER_TEST(test_balloon_short, 0, "(pci, split)"),
		VDRIVER_TEST(test_net, 0, "(pci, split)"),
		VDRIVER_TEST(test_net, 3, "(mmio, packed)"),
		VDRIVER_TEST(test_net_short, 0, "(pci, split)"),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
