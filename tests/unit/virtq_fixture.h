/* SPDX-License-Identifier: BSD-2-Clause */
/* A queue with both its sides, for the tests of virtq. */
#ifndef TESTS_UNIT_VIRTQ_FIXTURE_H
#define TESTS_UNIT_VIRTQ_FIXTURE_H

#include "support/cm.h"

#include <string.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/virtq.h"
#include "support/vring.h"

#define RAM      MIB(8)
#define FEATURES 16

static inline uint32_t draw(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)(*seed >> 33);
}

struct pair {
	struct gmem *mem;
	struct virtq *vq;
	struct virtq_features features;
	struct vring_driver d;
	struct err err;
};

static inline void pair_start(struct pair *p, const struct virtq_position *from)
{
	if (virtq_start(p->vq, &p->d.setup, &p->features, from, &p->err))
		fail_msg("%s", p->err.text);
}

static inline void pair_init(struct pair *p, unsigned int size, const struct virtq_features *f)
{
	memset(p, 0, sizeof(*p));
	p->features = *f;
	assert_int_equal(gmem_create(&p->mem, &(struct gmem_options){.size = RAM}, &p->err), 0);
	vring_setup(&p->d, p->mem, 4096, RAM - 4096, size, f);
	assert_int_equal(virtq_create(&p->vq, p->mem, size, &p->err), 0);
	pair_start(p, NULL);
}

static inline void pair_fini(struct pair *p)
{
	virtq_destroy(p->vq);
	vring_teardown(&p->d);
	gmem_destroy(p->mem);
}

/* Each combination of features by a number below FEATURES. */
static inline struct virtq_features features_of(unsigned int n)
{
	return (struct virtq_features){
		.packed = n & 1,
		.event_idx = n & 2,
		.indirect = n & 4,
		.in_order = n & 8,
	};
}

/* Adds a chain of @len bytes to read. */
static inline void add_one(struct pair *p, uint32_t len)
{
	const struct vring_buf buf = {4096, len};

	assert_int_equal(vring_add(&p->d, &buf, 1, 0, false, p), 0);
}

#endif
