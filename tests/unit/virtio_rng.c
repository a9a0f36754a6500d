/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/cm.h"

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/worker_sim.h"
#include "support/vdriver.h"

static bool all_are(const uint8_t *p, size_t n, uint8_t byte)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != byte)
			return false;
	return true;
}

/* 5.4.2 to 5.4.4: one queue, no features, no configuration. */
static void test_identity(void **state)
{
	struct vmachine m;
	struct vdriver d;

	vmachine_init(&m);
	vdriver_create(&d, &m, *state, "virtio_rng", "");
	assert_int_equal(d.id, 4);
	assert_int_equal(vdriver_offered(&d) & 0xffffff, 0);
	vdriver_set(&d, VREG_QUEUE_SELECT, 0);
	assert_int_equal(vdriver_get(&d, VREG_QUEUE_MAX), 256);
	vdriver_set(&d, VREG_QUEUE_SELECT, 1);
	assert_int_equal(vdriver_get(&d, VREG_QUEUE_MAX), 0);
	if (!d.way.mmio)
		assert_int_equal(d.config, 0);
	vdriver_destroy(&d);
	vmachine_fini(&m);
}

/* 5.4.6.2: one byte at least, and no more than there is room for. */
static void test_bytes(void **state)
{
	struct vring_buf buf = {.len = 64};
	struct vmachine m;
	struct vdriver d;
	uint8_t *p;

	vmachine_init(&m);
	vdriver_create(&d, &m, *state, "virtio_rng", "");
	vdriver_start(&d, UINT64_MAX);
	buf.gpa = vring_alloc(vdriver_ring(&d, 0), 128);
	p = vring_ptr(vdriver_ring(&d, 0), buf.gpa, 128);
	assert_int_equal(vdriver_transact(&d, 0, &buf, 0, 1), 64);
	assert_true(vdriver_interrupted(&d, 0));
	assert_false(vdriver_interrupted(&d, 0));
	assert_false(all_are(p, 64, 0));
	assert_true(all_are(p + 64, 64, 0));
	vdriver_destroy(&d);
	vmachine_fini(&m);
}

/* A request is one bounded read, however much the driver asks for. */
static void test_bounded(void **state)
{
	struct vring_buf bufs[2] = {{.len = KIB(64)}, {.len = 16}};
	struct vring_buf out = {.len = 16};
	struct vmachine m;
	struct vdriver d;

	vmachine_init(&m);
	vdriver_create(&d, &m, *state, "virtio_rng", "source=/dev/zero");
	vdriver_start(&d, UINT64_MAX);
	for (unsigned int i = 0; i < 2; i++)
		bufs[i].gpa = vring_alloc(vdriver_ring(&d, 0), bufs[i].len);
	assert_int_equal(vdriver_transact(&d, 0, bufs, 0, 2), 4096);
	/* Against 5.4.6.1. */
	out.gpa = bufs[0].gpa;
	assert_int_equal(vdriver_transact(&d, 0, &out, 1, 0), 0);
	/* Read-only buffers in front are passed over. */
	bufs[0].len = 1;
	assert_int_equal(vdriver_transact(&d, 0, bufs, 1, 1), 16);
	vdriver_destroy(&d);
	vmachine_fini(&m);
}

/* More requests than the device takes at once. */
static void test_many(void **state)
{
	struct vring_buf buf = {.len = 1};
	struct vring_done done;
	unsigned int n = 0;
	struct vmachine m;
	struct vdriver d;

	vmachine_init(&m);
	vdriver_create(&d, &m, *state, "virtio_rng", "source=/dev/zero");
	vdriver_start(&d, UINT64_MAX);
	buf.gpa = vring_alloc(vdriver_ring(&d, 0), 1);
	for (unsigned int i = 0; i < 256; i++)
		assert_int_equal(vring_add(vdriver_ring(&d, 0), &buf, 0, 1, false, &d), 0);
	vdriver_kick(&d, 0);
	vdriver_turn(&d);
	while (vring_reap(vdriver_ring(&d, 0), &done)) {
		assert_int_equal(done.written, 1);
		n++;
	}
	assert_int_equal(n, 256);
	vdriver_destroy(&d);
	vmachine_fini(&m);
}

/* A source that has nothing keeps neither a reset nor a pause waiting, and a pause loses nothing.
 */
static void test_waiting_source(void **state)
{
	struct vring_buf buf = {.len = 4};
	struct vring_done done;
	char options[64], path[] = "/tmp/skep-rng-XXXXXX";
	struct vmachine m;
	struct vdriver d;
	int fd;

	assert_non_null(mkdtemp(path));
	snprintf(options, sizeof(options), "source=%s/fifo", path);
	assert_int_equal(mkfifo(options + 7, 0600), 0);
	fd = open(options + 7, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	vmachine_init(&m);
	vdriver_create(&d, &m, *state, "virtio_rng", options);
	vdriver_start(&d, UINT64_MAX);
	buf.gpa = vring_alloc(vdriver_ring(&d, 0), 4);
	assert_int_equal(vring_add(vdriver_ring(&d, 0), &buf, 0, 1, false, &d), 0);
	vdriver_kick(&d, 0);
	vdriver_turn(&d);
	assert_false(vring_reap(vdriver_ring(&d, 0), &done));
	virtio_quiesce(vdriver_virtio(&d));
	assert_false(vring_reap(vdriver_ring(&d, 0), &done));
	virtio_resume(vdriver_virtio(&d));
	vdriver_turn(&d);
	assert_int_equal(write(fd, "abc", 3), 3);
	vdriver_turn(&d);
	assert_true(vring_reap(vdriver_ring(&d, 0), &done));
	assert_int_equal(done.written, 3);
	assert_memory_equal(vring_ptr(vdriver_ring(&d, 0), buf.gpa, 3), "abc", 3);
	assert_int_equal(vring_add(vdriver_ring(&d, 0), &buf, 0, 1, false, &d), 0);
	vdriver_kick(&d, 0);
	vdriver_turn(&d);
	vdriver_reset(&d);
	vdriver_destroy(&d);
	vmachine_fini(&m);
	close(fd);
	unlink(options + 7);
	rmdir(path);
}

/* A source that ends, or fails, is no entropy source: the device says so. */
static void test_failing_source(void **state)
{
	struct vring_buf buf = {.len = 4};
	struct vmachine m;
	struct vdriver d;

	vmachine_init(&m);
	vdriver_create(&d, &m, *state, "virtio_rng", "source=/dev/null");
	vdriver_start(&d, UINT64_MAX);
	buf.gpa = vring_alloc(vdriver_ring(&d, 0), 4);
	assert_int_equal(vdriver_transact(&d, 0, &buf, 0, 1), 0);
	assert_true(vdriver_get(&d, VREG_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_true(vdriver_config_interrupted(&d));
	vdriver_destroy(&d);
	vmachine_fini(&m);
}

static void test_no_source(void **state)
{
	struct vmachine m;
	struct vdriver d;

	vmachine_init(&m);
	assert_false(vdriver_try(&d, &m, *state, "virtio_rng", "source=/nonexistent"));
	assert_non_null(strstr(m.rig.err.text, "/nonexistent"));
	assert_false(vdriver_try(&d, &m, *state, "virtio_rng", "source=/dev/zero queue-size=100"));
	assert_non_null(strstr(m.rig.err.text, "power of two"));
	vmachine_fini(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		VDRIVER_TESTS(test_identity),       VDRIVER_TESTS(test_bytes),
		VDRIVER_TESTS(test_bounded),        VDRIVER_TESTS(test_many),
		VDRIVER_TESTS(test_waiting_source), VDRIVER_TESTS(test_failing_source),
		VDRIVER_TESTS(test_no_source),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
