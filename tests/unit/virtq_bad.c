/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rings that no driver would make: one by one, with the reason that each is refused for, and at
 * random.
 */
#include "support/cm.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/virtio/ring_math.h"
#include "virtq_fixture.h"

#define ROOM 6

#define BUF   0x100000u
#define TABLE 0x200000u

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next; /* packed: the ID */
};

/* A ring of four entries, and an indirect table. */
struct ring {
	const char *what;
	const char *reason; /* NULL: it is good */
	bool packed, no_indirect;
	uint16_t head, idx; /* split; idx 0 is 1 */
	unsigned int room;  /* 0 is 4 */
	uint64_t table_gpa; /* 0 is TABLE */
	struct desc desc[4];
	struct desc table[6];
	uint32_t out_len, in_len; /* of a good one */
};

#define NEXT  VRING_DESC_F_NEXT
#define WRITE VRING_DESC_F_WRITE
#define INDIR VRING_DESC_F_INDIRECT

#define D(addr_, len_, flags_, next_)                                              \
	{                                                                          \
		.addr = (addr_), .len = (len_), .flags = (flags_), .next = (next_) \
	}

/* clang-format off */
static const struct ring rings[] = {
	/* Split */
	{"a full ring", NULL, .idx = 4, .desc = {D(BUF, 7, 0, 0)}, .out_len = 7},
	{"an index too far ahead", "ahead by more", .idx = 5},
	{"an index far ahead", "ahead by more", .idx = 0x8000},
	{"an index behind", "ahead by more", .idx = 0xffff},
	{"a head outside", "starts outside", .head = 4},
	{"a head far outside", "starts outside", .head = 0xffff},
	{"the last head", NULL, .head = 3, .desc = {[3] = D(BUF, 9, 0, 0)}, .out_len = 9},
	{"a next outside", "goes on outside", .desc = {D(BUF, 1, NEXT, 4)}},
	{"a next that does not count", NULL, .desc = {D(BUF, 1, 0, 0xffff)}, .out_len = 1},
	{"a chain that bites itself", "longer than the queue", .desc = {D(BUF, 1, NEXT, 0)}},
	{"a loop of empty ones", "longer than the queue",
	 .desc = {D(BUF, 0, NEXT, 1), D(BUF, 0, NEXT, 0)}},
	{"a chain as long as the queue", NULL,
	 .desc = {D(BUF, 1, NEXT, 2), D(BUF, 2, WRITE, 0), D(BUF, 3, NEXT, 3), D(BUF, 4, NEXT | WRITE, 1)},
	 .out_len = 4, .in_len = 6},
	{"to read behind to write", "follows one to write",
	 .desc = {D(BUF, 1, NEXT | WRITE, 1), D(BUF, 1, 0, 0)}},
	{"empty to read behind empty to write", NULL,
	 .desc = {D(BUF, 0, NEXT | WRITE, 1), D(BUF, 1, 0, 0)}, .out_len = 1},
	{"nothing at all, nowhere", NULL, .desc = {D(UINT64_MAX, 0, 0, 0)}},
	{"right behind RAM", "outside RAM", .desc = {D(RAM, 1, 0, 0)}},
	{"half outside RAM", "outside RAM", .desc = {D(RAM - 1, 2, 0, 0)}},
	{"at the end of RAM", NULL, .desc = {D(RAM - 2, 2, WRITE, 0)}, .in_len = 2},
	{"in the hole", "outside RAM", .desc = {D(GMEM_HOLE_START, 1, 0, 0)}},
	{"round the end of addresses", "outside RAM", .desc = {D(UINT64_MAX, 2, 0, 0)}},
	{"long", "outside RAM", .desc = {D(0, UINT32_MAX, WRITE, 0)}},
	{"more buffers than wanted", "than the device takes", .room = 2,
	 .desc = {D(BUF, 1, NEXT, 1), D(BUF, 1, NEXT, 2), D(BUF, 1, 0, 0)}},
	{"as many buffers as wanted", NULL, .room = 2, .out_len = 2,
	 .desc = {D(BUF, 1, NEXT, 1), D(BUF, 0, NEXT, 2), D(BUF, 1, 0, 0)}},
	{"a table, not negotiated", "not negotiated", .no_indirect = true,
	 .desc = {D(TABLE, 16, INDIR, 0)}},
	{"a table", NULL, .desc = {D(TABLE, 32, INDIR | WRITE, 0)},
	 .table = {D(BUF, 3, NEXT, 1), D(BUF, 5, WRITE, 0)}, .out_len = 3, .in_len = 5},
	{"a table that is not all used", NULL, .desc = {D(TABLE, 96, INDIR, 0)},
	 .table = {D(BUF, 3, NEXT, 5), [5] = D(BUF, 5, 0, 0)}, .out_len = 8},
	{"buffers, then a table", NULL,
	 .desc = {D(BUF, 1, NEXT, 3), [3] = D(TABLE, 16, INDIR, 0)},
	 .table = {D(BUF, 3, 0, 0)}, .out_len = 4},
	{"a table that is not aligned", NULL, .table_gpa = TABLE + 3,
	 .desc = {D(TABLE + 3, 32, INDIR, 0)},
	 .table = {D(BUF, 3, NEXT, 1), D(BUF, 5, WRITE, 0)}, .out_len = 3, .in_len = 5},
	{"a table, and then more", "goes on behind", .desc = {D(TABLE, 16, INDIR | NEXT, 1)}},
	{"an empty table", "not a multiple", .desc = {D(TABLE, 0, INDIR, 0)}},
	{"part of a table", "not a multiple", .desc = {D(TABLE, 15, INDIR, 0)}},
	{"a table and a part", "not a multiple", .desc = {D(TABLE, 17, INDIR, 0)}},
	{"a table outside RAM", "table is outside RAM", .desc = {D(RAM - 16, 32, INDIR, 0)}},
	{"a table of all there is", "table is outside RAM", .desc = {D(0, UINT32_MAX - 15, INDIR, 0)}},
	{"a table in a table", "within another", .desc = {D(TABLE, 16, INDIR, 0)},
	 .table = {D(TABLE, 16, INDIR, 0)}},
	{"the ring's own table", "within another", .desc = {D(4096, 64, INDIR, 0)}},
	{"a next outside an indirect table", "goes on outside", .desc = {D(TABLE, 32, INDIR, 0)},
	 .table = {D(BUF, 1, NEXT, 2)}},
	{"a loop in a table", "longer than the queue", .desc = {D(TABLE, 16, INDIR, 0)},
	 .table = {D(BUF, 1, NEXT, 0)}},
	{"a table's chain that is too long", "longer than the queue", .room = 8,
	 .desc = {D(TABLE, 80, INDIR, 0)},
	 .table = {D(BUF, 1, NEXT, 1), D(BUF, 1, NEXT, 2), D(BUF, 1, NEXT, 3), D(BUF, 1, NEXT, 4)}},
	{"a chain too long by its table", "longer than the queue", .room = 8,
	 .desc = {D(BUF, 1, NEXT, 1), D(TABLE, 64, INDIR, 0)},
	 .table = {D(BUF, 1, NEXT, 1), D(BUF, 1, NEXT, 2), D(BUF, 1, NEXT, 3), D(BUF, 1, 0, 0)}},

	/* Packed */
	{"a chain", NULL, true, .desc = {D(BUF, 3, NEXT, 0), D(BUF, 5, WRITE, 77)}, .out_len = 3,
	 .in_len = 5},
	{"a chain as long as the ring", NULL, true, .out_len = 10,
	 .desc = {D(BUF, 1, NEXT, 0), D(BUF, 2, NEXT, 0), D(BUF, 3, NEXT, 0), D(BUF, 4, 0, 0)}},
	{"a chain without an end", "entries that are free", true,
	 .desc = {D(BUF, 1, NEXT, 0), D(BUF, 2, NEXT, 0), D(BUF, 3, NEXT, 0), D(BUF, 4, NEXT, 0)}},
	{"to read behind to write", "follows one to write", true,
	 .desc = {D(BUF, 1, NEXT | WRITE, 0), D(BUF, 1, 0, 0)}},
	{"right behind RAM", "outside RAM", true, .desc = {D(RAM, 1, 0, 0)}},
	{"round the end of addresses", "outside RAM", true, .desc = {D(UINT64_MAX, 2, 0, 0)}},
	{"nothing at all, nowhere", NULL, true, .desc = {D(UINT64_MAX, 0, 0, 0)}},
	{"more buffers than wanted", "than the device takes", true, .room = 1,
	 .desc = {D(BUF, 1, NEXT, 0), D(BUF, 1, 0, 0)}},
	{"a table, not negotiated", "not negotiated", true, .no_indirect = true,
	 .desc = {D(TABLE, 16, INDIR, 0)}},
	{"a table whose other flags do not count", NULL, true, .desc = {D(TABLE, 32, INDIR | WRITE, 0)},
	 .table = {D(BUF, 3, INDIR, 9), D(BUF, 5, WRITE | NEXT, 0xffff)}, .out_len = 3, .in_len = 5},
	{"a table that is not aligned", NULL, true, .table_gpa = TABLE + 4,
	 .desc = {D(TABLE + 4, 16, INDIR, 0)}, .table = {D(BUF, 6, 0, 0)}, .out_len = 6},
	{"a table, and then more", "goes on behind", true, .desc = {D(TABLE, 16, INDIR | NEXT, 0)}},
	{"a table in a chain", "within a chain", true, .desc = {D(BUF, 1, NEXT, 0), D(TABLE, 16, INDIR, 0)}},
	{"an empty table", "not a multiple", true, .desc = {D(TABLE, 0, INDIR, 0)}},
	{"a table and a part", "not a multiple", true, .desc = {D(TABLE, 40, INDIR, 0)}},
	{"a table outside RAM", "table is outside RAM", true, .desc = {D(RAM, 16, INDIR, 0)}},
	{"a table as long as the ring", NULL, true, .desc = {D(TABLE, 64, INDIR, 0)},
	 .table = {D(BUF, 1, 0, 0), D(BUF, 2, 0, 0), D(BUF, 3, 0, 0), D(BUF, 4, 0, 0)}, .out_len = 10},
	{"a table longer than the ring", "longer than the queue", true, .room = 8,
	 .desc = {D(TABLE, 80, INDIR, 0)}},
	{"to read behind to write in a table", "follows one to write", true,
	 .desc = {D(TABLE, 32, INDIR, 0)}, .table = {D(BUF, 3, WRITE, 0), D(BUF, 5, 0, 0)}},
};
/* clang-format on */

/* @flags are for the ring alone, not for a table. */
static void write_desc(struct pair *p, uint64_t gpa, const struct desc *d, uint16_t flags)
{
	const struct vring_desc split = {d->addr, d->len, d->flags, d->next};
	const struct vring_packed_desc packed = {d->addr, d->len, d->next, d->flags | flags};

	if (p->features.packed)
		assert_int_equal(gmem_write(p->mem, gpa, &packed, sizeof(packed)), 0);
	else
		assert_int_equal(gmem_write(p->mem, gpa, &split, sizeof(split)), 0);
}

static void write_ring(struct pair *p, const struct ring *r)
{
	struct vring_avail *avail = p->d.driver;
	const uint64_t table = r->table_gpa ? r->table_gpa : TABLE;

	for (unsigned int i = 0; i < ARRAY_SIZE(r->desc); i++)
		write_desc(p, p->d.setup.desc + i * sizeof(struct vring_desc), &r->desc[i],
			   PACKED_F_AVAIL);
	for (unsigned int i = 0; i < ARRAY_SIZE(r->table); i++)
		write_desc(p, table + i * sizeof(struct vring_desc), &r->table[i], 0);
	if (r->packed)
		return;
	avail->ring[0] = r->head;
	avail->idx = r->idx ? r->idx : 1;
}

static void check_ring(const struct ring *r)
{
	const struct virtq_features f = {.packed = r->packed, .indirect = !r->no_indirect};
	const unsigned int room = r->room ? r->room : 4;
	struct iovec iov[8];
	struct virtq_chain c = {.iov = iov};
	struct pair p;
	int ret;

	pair_init(&p, 4, &f);
	write_ring(&p, r);
	ret = virtq_pop(p.vq, &c, room);
	if (!r->reason) {
		if (ret != 1)
			fail_msg("%s: %d, %s", r->what, ret, virtq_broken(p.vq));
		assert_int_equal(c.out_len, r->out_len);
		assert_int_equal(c.in_len, r->in_len);
		virtq_push(p.vq, &c, 0);
		assert_true(virtq_publish(p.vq));
	} else {
		if (ret != -EPROTO || !strstr(virtq_broken(p.vq), r->reason))
			fail_msg("%s: %d, %s", r->what, ret, virtq_broken(p.vq));
		assert_int_equal(virtq_inflight(p.vq), 0);
		assert_int_equal(virtq_pop(p.vq, &c, room), -EPROTO);
		assert_false(virtq_arm(p.vq));
		assert_false(virtq_publish(p.vq));
		pair_start(&p, NULL);
		assert_null(virtq_broken(p.vq));
	}
	pair_fini(&p);
}

static void malformed_rings(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rings); i++)
		check_ring(&rings[i]);
}

/* What is under way when a ring breaks comes to its end all the same. */
static void broken_with_chains_under_way(void **state)
{
	struct iovec iov[2];
	struct virtq_chain a = {.iov = &iov[0]}, b = {.iov = &iov[1]};
	struct vring_avail *avail;
	struct vring_done done;
	struct pair p;

	(void)state;
	pair_init(&p, 4, &(struct virtq_features){0});
	avail = p.d.driver;
	add_one(&p, 1);
	add_one(&p, 2);
	assert_int_equal(virtq_pop(p.vq, &a, 1), 1);
	assert_int_equal(virtq_pop(p.vq, &b, 1), 1);
	/* Taking back what was offered, which was taken already. */
	avail->idx = 1;
	assert_true(virtq_arm(p.vq));
	assert_int_equal(virtq_pop(p.vq, &a, 1), -EPROTO);
	assert_non_null(strstr(virtq_broken(p.vq), "behind"));
	virtq_push(p.vq, &b, 0);
	virtq_push(p.vq, &a, 0);
	assert_true(virtq_publish(p.vq));
	assert_true(vring_reap(&p.d, &done) && vring_reap(&p.d, &done));
	pair_fini(&p);
}

/* Entries that the device has are made available once more. */
static void overrun(void **state)
{
	struct iovec iov[5];
	struct virtq_chain c[5];
	struct pair p;

	(void)state;
	for (unsigned int packed = 0; packed < 2; packed++) {
		pair_init(&p, 4, &(struct virtq_features){.packed = packed});
		for (unsigned int i = 0; i < 4; i++) {
			c[i].iov = &iov[i];
			add_one(&p, 1);
			assert_int_equal(virtq_pop(p.vq, &c[i], 1), 1);
		}
		/* Given back, but the driver does not know. */
		virtq_push(p.vq, &c[0], 0);
		if (packed)
			((struct vring_packed_desc *)p.d.desc)->flags = 1u
									<< VRING_PACKED_DESC_F_USED;
		else
			((struct vring_avail *)p.d.driver)->idx = 5;
		c[4].iov = &iov[4];
		assert_int_equal(virtq_pop(p.vq, &c[4], 1), -EPROTO);
		assert_non_null(virtq_broken(p.vq));
		pair_fini(&p);
	}
}

static void four_gigabytes(void **state)
{
	const unsigned int parts = GIB(4) / RAM;
	struct vring_buf *bufs = calloc(parts, sizeof(*bufs));
	struct iovec *iov = calloc(parts, sizeof(*iov));
	struct virtq_chain c = {.iov = iov};
	struct pair p;

	(void)state;
	assert_true(bufs && iov);
	for (unsigned int packed = 0; packed < 2; packed++) {
		pair_init(&p, 1024, &(struct virtq_features){.packed = packed});
		for (unsigned int i = 0; i < parts; i++)
			bufs[i] = (struct vring_buf){0, RAM};
		bufs[parts - 1].len--;
		assert_int_equal(vring_add(&p.d, bufs, 1, parts - 1, false, bufs), 0);
		assert_int_equal(virtq_pop(p.vq, &c, parts), 1);
		assert_int_equal((uint64_t)c.out_len + c.in_len, UINT32_MAX);
		bufs[parts - 1].len++;
		assert_int_equal(vring_add(&p.d, bufs, parts - 1, 1, false, bufs), 0);
		assert_int_equal(virtq_pop(p.vq, &c, parts), -EPROTO);
		assert_non_null(strstr(virtq_broken(p.vq), "4 GiB"));
		pair_fini(&p);
	}
	free(bufs);
	free(iov);
}

#define MUTATIONS 100000

/* Changes something in the rings or in what a table would be. */
static void mutate(struct pair *p, uint64_t *seed)
{
	const bool packed = p->features.packed;
	const uint64_t areas[][2] = {
		{p->d.setup.desc, 16u * p->d.setup.size},
		{p->d.setup.driver, packed ? 4 : 6 + 2u * p->d.setup.size},
		{p->d.setup.device, packed ? 4 : 6 + 8u * p->d.setup.size},
		{p->d.setup.desc, 16u * p->d.setup.size},
		{TABLE, 128},
	};
	const uint64_t *area = areas[draw(seed) % ARRAY_SIZE(areas)];
	static const uint64_t values[] = {0,   1,     2,       3,    4,         5,      7,
					  8,   16,    0x80,    0x81, 0x8000,    0x8002, UINT16_MAX,
					  BUF, TABLE, RAM - 1, RAM,  UINT64_MAX};
	const uint64_t value =
		draw(seed) % 2 ? values[draw(seed) % ARRAY_SIZE(values)] : draw(seed);
	const uint32_t width = 1u << draw(seed) % 4;
	const uint64_t at = align_down(draw(seed) % area[1], width);

	assert_int_equal(gmem_write(p->mem, area[0] + at, &value, MIN(width, area[1] - at)), 0);
	/* Makes something of it available, most of the time. */
	if (!packed && draw(seed) % 4)
		((struct vring_avail *)p->d.driver)->idx++;
	if (packed && draw(seed) % 4) {
		struct virtq_position pos;
		struct vring_packed_desc *d;

		virtq_stop(p->vq, &pos);
		d = (struct vring_packed_desc *)p->d.desc + packed_index(pos.avail);
		d->flags &= (uint16_t) ~(PACKED_F_AVAIL | PACKED_F_USED);
		d->flags |= packed_wrap(pos.avail) ? PACKED_F_AVAIL : PACKED_F_USED;
	}
}

/* A chain's iovecs lie in RAM and are what it says. */
static void check_chain(const struct pair *p, const struct virtq_chain *c)
{
	const char *base = gmem_hva(p->mem, 0, RAM);
	uint64_t len[2] = {0, 0};

	for (unsigned int i = 0; i < (unsigned int)c->out + c->in; i++) {
		const char *at = c->iov[i].iov_base;

		assert_true(at >= base && c->iov[i].iov_len <= RAM);
		assert_true((uint64_t)(at - base) <= RAM - c->iov[i].iov_len);
		len[i >= c->out] += c->iov[i].iov_len;
	}
	assert_int_equal(len[0], c->out_len);
	assert_int_equal(len[1], c->in_len);
}

static uint64_t mutations(unsigned int size, unsigned int n, unsigned int rounds)
{
	const struct virtq_features f = features_of(n);
	struct virtq_chain chains[8];
	struct iovec iov[8][ROOM];
	unsigned int has = 0;
	uint64_t seed = n * 1000 + size, popped = 0;
	struct pair p;

	pair_init(&p, size, &f);
	for (unsigned int i = 0; i < rounds; i++) {
		int ret = 0;

		mutate(&p, &seed);
		/* Never more under way than there are entries. */
		while (has < size && draw(&seed) % 4) {
			chains[has].iov = iov[has];
			ret = virtq_pop(p.vq, &chains[has], ROOM);
			if (ret != 1)
				break;
			check_chain(&p, &chains[has++]);
			popped++;
		}
		if (has == size)
			assert_true(virtq_pop(p.vq, &(struct virtq_chain){0}, 0) <= 0);
		while (has && draw(&seed) % 3) {
			struct virtq_chain *c = &chains[--has];

			virtq_push(p.vq, c, c->in_len ? draw(&seed) % c->in_len : 0);
		}
		if (draw(&seed) % 2)
			virtq_publish(p.vq);
		if (draw(&seed) % 2)
			virtq_arm(p.vq);
		assert_int_equal(virtq_inflight(p.vq), has);
		if (virtq_broken(p.vq) && draw(&seed) % 2) {
			assert_int_equal(gmem_fill(p.mem, p.d.setup.desc, 0, 4096), 0);
			pair_start(&p, NULL);
			has = 0;
		}
	}
	pair_fini(&p);
	return popped;
}

static void mutated_rings(void **state)
{
	(void)state;
	for (unsigned int n = 0; n < FEATURES; n++) {
		/* They are not all refused at once. */
		assert_true(mutations(8, n, MUTATIONS / FEATURES / 2) > 500);
		assert_true(mutations(n & 1 ? 3 : 2, n, MUTATIONS / FEATURES / 2 + 1) > 500);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(malformed_rings), cmocka_unit_test(broken_with_chains_under_way),
		cmocka_unit_test(overrun),         cmocka_unit_test(four_gigabytes),
		cmocka_unit_test(mutated_rings),
	};

	return cmocka_run_group_tests_name("virtq_bad", tests, NULL, NULL);
}
