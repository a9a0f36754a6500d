/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/cm.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/virtq.h"
#include "support/vring.h"

#define ROOM 64

/* A queue with both its sides. */
struct pair {
	struct gmem *mem;
	struct virtq *vq;
	struct vring_driver d;
	struct err err;
};

static void pair_init(struct pair *p, unsigned int size, const struct virtq_features *f)
{
	memset(p, 0, sizeof(*p));
	assert_int_equal(gmem_create(&p->mem, &(struct gmem_options){.size = MIB(8)}, &p->err), 0);
	vring_setup(&p->d, p->mem, 4096, MIB(8) - 4096, size, f);
	assert_int_equal(virtq_create(&p->vq, p->mem, size, &p->err), 0);
	if (virtq_start(p->vq, &p->d.setup, f, NULL, &p->err))
		fail_msg("%s", p->err.text);
}

static void pair_fini(struct pair *p)
{
	virtq_destroy(p->vq);
	vring_teardown(&p->d);
	gmem_destroy(p->mem);
}

/* Each combination of features by a number below 16. */
static struct virtq_features features_of(unsigned int n)
{
	return (struct virtq_features){
		.packed = n & 1,
		.event_idx = n & 2,
		.indirect = n & 4,
		.in_order = n & 8,
	};
}

static void round_trip(unsigned int size, unsigned int n)
{
	const struct virtq_features f = features_of(n);
	const unsigned int parts = MIN(size, 3u);
	struct iovec iov[ROOM];
	struct virtq_chain c = {.iov = iov};
	struct vring_buf bufs[3];
	struct vring_done done;
	struct pair p;
	char text[8];

	pair_init(&p, size, &f);
	bufs[0] = vring_buffer(&p.d, "abc", 3);
	bufs[1] = vring_buffer(&p.d, "defg", 4);
	bufs[2] = (struct vring_buf){vring_alloc(&p.d, 8), 8};
	assert_int_equal(virtq_pop(p.vq, &c, ROOM), 0);
	for (unsigned int i = 0; i < 3 * size + 2; i++) {
		assert_int_equal(vring_add(&p.d, bufs + 3 - parts, parts - 1, 1, f.indirect, &p),
				 0);
		assert_true(vring_must_kick(&p.d));
		assert_int_equal(virtq_pop(p.vq, &c, ROOM), 1);
		assert_int_equal(virtq_inflight(p.vq), 1);
		assert_int_equal(c.out, parts - 1);
		assert_int_equal(c.in, 1);
		assert_int_equal(c.in_len, 8);
		if (parts == 3) {
			assert_int_equal(virtq_chain_read(&c, 1, text, 8), 6);
			assert_memory_equal(text, "bcdefg", 6);
		}
		assert_int_equal(virtq_chain_write(&c, 2, "xy", 2), 2);
		assert_int_equal(virtq_pop(p.vq, &c, ROOM), 0);
		virtq_push(p.vq, &c, 0);
		assert_int_equal(virtq_inflight(p.vq), 0);
		assert_false(vring_reap(&p.d, &done));
		assert_true(virtq_publish(p.vq));
		assert_false(virtq_publish(p.vq));
		assert_true(vring_reap(&p.d, &done));
		assert_ptr_equal(done.cookie, &p);
		assert_memory_equal(vring_ptr(&p.d, bufs[2].gpa, 4), "\0\0xy", 4);
		assert_false(vring_unmask(&p.d, 0));
		assert_false(virtq_arm(p.vq));
	}
	pair_fini(&p);
}

static void every_feature_and_size(void **state)
{
	static const unsigned int sizes[] = {1, 2, 4, 8, 256, 1024, 3, 5, 7, 100, 255, 1023};

	(void)state;
	for (unsigned int n = 0; n < 16; n++)
		for (unsigned int i = 0; i < (n & 1 ? ARRAY_SIZE(sizes) : 6); i++)
			round_trip(sizes[i], n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_feature_and_size),
	};

	return cmocka_run_group_tests_name("virtq", tests, NULL, NULL);
}
