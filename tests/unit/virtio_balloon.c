/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/cm.h"

#include <linux/virtio_balloon.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/worker_sim.h"
#include "support/vdriver.h"

enum { INFLATE, DEFLATE, STATISTICS, REPORT_TOO, REPORT };

#define F(name) VIRTIO_FEATURE(VIRTIO_BALLOON_F_##name)

struct bal {
	struct vmachine m;
	struct vdriver d;
	uint64_t pages; /* gpa of 8 MiB */
};

static void bal_init(struct bal *b, const struct vdriver_way *way, const char *options)
{
	vmachine_init(&b->m);
	vdriver_create(&b->d, &b->m, way, "virtio_balloon", options);
	vdriver_start(&b->d, UINT64_MAX);
	b->pages = vmachine_alloc(&b->m, MIB(8));
}

static void bal_fini(struct bal *b)
{
	vdriver_destroy(&b->d);
	vmachine_fini(&b->m);
}

static uint64_t resident(struct bal *b)
{
	return gmem_resident(b->m.rig.machine.mem);
}

static void touch(struct bal *b, uint64_t gpa, uint64_t len)
{
	assert_int_equal(gmem_fill(b->m.rig.machine.mem, gpa, 0xaa, len), 0);
}

static uint8_t byte_at(struct bal *b, uint64_t gpa)
{
	uint8_t byte;

	assert_int_equal(gmem_read(b->m.rig.machine.mem, gpa, &byte, 1), 0);
	return byte;
}

/* One field of the device's state, by its name. */
static uint64_t counted(struct bal *b, const char *name)
{
	const struct state_table *t = b->d.dev->class->state;
	uint64_t value;

	for (uint32_t i = 0; i < t->count; i++)
		if (!strcmp(t->fields[i].name, name)) {
			memcpy(&value, (char *)device_state(b->d.dev) + t->fields[i].offset, 8);
			return value;
		}
	fail_msg("no field %s", name);
	return 0;
}

static void send_pfns(struct bal *b, unsigned int queue, const uint32_t *pfns, size_t count)
{
	struct vring_buf buf =
		vring_buffer(vdriver_ring(&b->d, queue), pfns, (uint32_t)(count * sizeof(*pfns)));

	assert_int_equal(vdriver_transact(&b->d, queue, &buf, 1, 0), 0);
}

/* 5.5.1 to 5.5.4 */
static void test_identity(void **state)
{
	struct vmachine m;
	struct vdriver d;

	vmachine_init(&m);
	vdriver_create(&d, &m, *state, "virtio_balloon", "size=16M");
	assert_int_equal(d.id, 5);
	assert_int_equal(vdriver_offered(&d) & 0xffffff,
			 F(STATS_VQ) | F(DEFLATE_ON_OOM) | F(REPORTING));
	assert_int_equal(vdriver_config(&d, 0, 4), 4096);
	assert_int_equal(vdriver_config(&d, 4, 4), 0);
	vdriver_set(&d, VREG_QUEUE_SELECT, REPORT);
	assert_int_equal(vdriver_get(&d, VREG_QUEUE_MAX), 256);
	vdriver_set(&d, VREG_QUEUE_SELECT, REPORT + 1);
	assert_int_equal(vdriver_get(&d, VREG_QUEUE_MAX), 0);
	vdriver_destroy(&d);
	vdriver_create(&d, &m, *state, "virtio_balloon", "size=0 reporting=off deflate-on-oom=off");
	assert_int_equal(vdriver_offered(&d) & 0xffffff, F(STATS_VQ));
	assert_int_equal(vdriver_config(&d, 0, 4), 0);
	vdriver_set(&d, VREG_QUEUE_SELECT, REPORT_TOO);
	assert_int_equal(vdriver_get(&d, VREG_QUEUE_MAX), 0);
	vdriver_destroy(&d);
	vmachine_fini(&m);
}

/* Only 'actual' is the driver's, until a reset. */
static void test_config(void **state)
{
	struct bal b;

	bal_init(&b, *state, "size=1M");
	vdriver_set_config(&b.d, 4, 4, 77);
	assert_int_equal(vdriver_config(&b.d, 4, 4), 77);
	for (unsigned int at = 0; at < 16; at += 4)
		if (at != 4)
			vdriver_set_config(&b.d, at, 4, 99);
	assert_int_equal(vdriver_config(&b.d, 0, 4), 256);
	assert_int_equal(vdriver_config(&b.d, 8, 4), 0);
	assert_int_equal(vdriver_config(&b.d, 12, 4), 0);
	vdriver_reset(&b.d);
	assert_int_equal(vdriver_config(&b.d, 4, 4), 0);
	/* Of a driver too that never was ready. */
	vdriver_set_config(&b.d, 4, 4, 78);
	vdriver_reset(&b.d);
	assert_int_equal(vdriver_config(&b.d, 4, 4), 0);
	assert_int_equal(vdriver_config(&b.d, 0, 4), 256);
	bal_fini(&b);
}

/* What goes in is the host's; what comes out is the guest's, and zeroes. */
static void test_inflate(void **state)
{
	struct bal b;
	uint32_t pfns[256];
	uint64_t before;

	bal_init(&b, *state, "size=1M");
	touch(&b, b.pages, MIB(2));
	/* Every page of the second MiB, backwards and then in disorder. */
	for (unsigned int i = 0; i < 256; i++)
		pfns[i] = (uint32_t)((b.pages + MIB(1)) >> 12) + 255 - i;
	pfns[3] ^= pfns[200];
	pfns[200] ^= pfns[3];
	pfns[3] ^= pfns[200];
	before = resident(&b);
	send_pfns(&b, INFLATE, pfns, 256);
	assert_true(vdriver_interrupted(&b.d, INFLATE));
	assert_int_equal(before - resident(&b), MIB(1));
	assert_int_equal(counted(&b, "pages_in"), 256);
	assert_int_equal(byte_at(&b, b.pages + MIB(1) - 1), 0xaa);
	assert_int_equal(byte_at(&b, b.pages + MIB(1)), 0);
	send_pfns(&b, DEFLATE, pfns, 256);
	assert_int_equal(counted(&b, "pages_out"), 256);
	touch(&b, b.pages + MIB(1), MIB(1));
	assert_int_equal(resident(&b), before);
	assert_int_equal(byte_at(&b, b.pages + MIB(1)), 0xaa);
	bal_fini(&b);
}

/* A page number may lie across descriptors. */
static void test_any_layout(void **state)
{
	struct bal b;
	struct vring_buf bufs[7];
	uint32_t pfns[3];

	bal_init(&b, *state, "size=1M");
	touch(&b, b.pages, MIB(1));
	for (unsigned int i = 0; i < 3; i++)
		pfns[i] = (uint32_t)(b.pages >> 12) + 10 * i;
	for (unsigned int i = 0; i < 6; i++)
		bufs[i] = vring_buffer(vdriver_ring(&b.d, INFLATE), (char *)pfns + 2 * i, 2);
	/* Half a number is none. */
	bufs[6] = vring_buffer(vdriver_ring(&b.d, INFLATE), "\0\0", 2);
	assert_int_equal(vdriver_transact(&b.d, INFLATE, bufs, 7, 0), 0);
	assert_int_equal(counted(&b, "pages_in"), 3);
	for (unsigned int i = 0; i < 30; i++)
		assert_int_equal(byte_at(&b, b.pages + 4096 * i), i % 10 ? 0xaa : 0);
	bal_fini(&b);
}

static void test_hostile_pages(void **state)
{
	static uint32_t pfns[5000];
	struct vring_buf bufs[2] = {{.len = 64}, {.len = KIB(16)}};
	struct bal b;
	uint64_t before;

	bal_init(&b, *state, "size=1M");
	touch(&b, b.pages, MIB(8));
	before = resident(&b);
	/* Not RAM, the last page of all, beyond RAM's end. */
	pfns[0] = 0xc0000;
	pfns[1] = UINT32_MAX;
	pfns[2] = MIB(64) >> 12;
	send_pfns(&b, INFLATE, pfns, 3);
	assert_int_equal(counted(&b, "pages_in"), 0);
	assert_int_equal(resident(&b), before);
	/* The same page again and again. */
	for (unsigned int i = 0; i < 256; i++)
		pfns[i] = (uint32_t)(b.pages >> 12);
	send_pfns(&b, INFLATE, pfns, 256);
	assert_int_equal(before - resident(&b), 4096);
	/* More than is looked at: 1,024 pages of a chain. */
	for (unsigned int i = 0; i < ARRAY_SIZE(pfns); i++)
		pfns[i] = (uint32_t)(b.pages >> 12) + i % 2000;
	send_pfns(&b, INFLATE, pfns, ARRAY_SIZE(pfns));
	assert_int_equal(before - resident(&b), 1024 * 4096);
	/* Nothing at all, and what is writable, in each queue. */
	for (unsigned int q = INFLATE; q <= DEFLATE; q++) {
		bufs[0].gpa = vring_alloc(vdriver_ring(&b.d, q), 64);
		assert_int_equal(vdriver_transact(&b.d, q, bufs, 0, 1), 0);
	}
	assert_int_equal(vdriver_get(&b.d, VREG_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	/* Its own ring goes into the balloon: then that ring is empty, and nothing worse. */
	pfns[0] = (uint32_t)(vdriver_ring(&b.d, DEFLATE)->setup.desc >> 12);
	send_pfns(&b, INFLATE, pfns, 1);
	vdriver_ring_bell(&b.d, DEFLATE);
	vdriver_turn(&b.d);
	bal_fini(&b);
}

static void put_stat(uint8_t *to, unsigned int tag, uint64_t value)
{
	store_le16(to, (uint16_t)tag);
	store_le64(to + 2, value);
}

static bool statistics_back(struct bal *b)
{
	struct vring_done done;

	vdriver_turn(&b->d);
	if (!vring_reap(vdriver_ring(&b->d, STATISTICS), &done))
		return false;
	assert_int_equal(done.written, 0);
	return true;
}

static void give_stats(struct bal *b, const uint8_t *stats, uint32_t len)
{
	struct vring_driver *ring = vdriver_ring(&b->d, STATISTICS);
	struct vring_buf buf = vring_buffer(ring, stats, len);

	assert_int_equal(vring_add(ring, &buf, 1, 0, false, b), 0);
	vdriver_kick(&b->d, STATISTICS);
	vdriver_turn(&b->d);
}

/* 5.5.6.3 */
static void test_statistics(void **state)
{
	struct vtime *time;
	uint8_t stats[KIB(2)];
	struct bal b;

	bal_init(&b, *state, "stats=5");
	time = b.m.rig.machine.time;
	put_stat(stats, VIRTIO_BALLOON_S_MEMTOT, 1000);
	put_stat(stats + 10, 999, 1);
	put_stat(stats + 20, VIRTIO_BALLOON_S_MEMFREE, UINT64_MAX);
	put_stat(stats + 30, 16, 5);
	give_stats(&b, stats, 45);
	assert_int_equal(counted(&b, "memory_total"), 1000);
	assert_true(counted(&b, "memory_free") == UINT64_MAX);
	assert_int_equal(counted(&b, "stats_received"), 1);
	/* The buffer stays until somebody wants to know. */
	assert_false(statistics_back(&b));
	vtime_advance(time, 4 * NS_PER_S);
	assert_false(statistics_back(&b));
	vtime_advance(time, NS_PER_S);
	assert_true(statistics_back(&b));
	assert_true(vdriver_interrupted(&b.d, STATISTICS));
	/* A driver that is late is not asked twice. */
	vtime_advance(time, 60 * NS_PER_S);
	assert_false(statistics_back(&b));
	put_stat(stats, VIRTIO_BALLOON_S_MEMTOT, 2000);
	give_stats(&b, stats, 10);
	assert_int_equal(counted(&b, "memory_total"), 2000);
	assert_true(counted(&b, "memory_free") == UINT64_MAX);
	/* Behind a pause it is there still. */
	virtio_quiesce(vdriver_virtio(&b.d));
	virtio_resume(vdriver_virtio(&b.d));
	vdriver_turn(&b.d);
	assert_false(statistics_back(&b));
	vtime_advance(time, 5 * NS_PER_S);
	assert_true(statistics_back(&b));
	/* One more than there should be, much too long, and empty. */
	give_stats(&b, stats, 10);
	memset(stats, 0, sizeof(stats));
	give_stats(&b, stats, sizeof(stats));
	assert_true(statistics_back(&b));
	give_stats(&b, stats, 9);
	assert_true(statistics_back(&b));
	/* A reset has it forgotten. */
	vdriver_reset(&b.d);
	vtime_advance(time, 60 * NS_PER_S);
	vdriver_start(&b.d, UINT64_MAX);
	give_stats(&b, stats, 10);
	assert_false(statistics_back(&b));
	vtime_advance(time, 5 * NS_PER_S);
	assert_true(statistics_back(&b));
	bal_fini(&b);
}

/* Asked once, for nobody said how often. */
static void test_statistics_once(void **state)
{
	uint8_t stats[10];
	struct bal b;

	bal_init(&b, *state, "");
	put_stat(stats, VIRTIO_BALLOON_S_SWAP_IN, 7);
	give_stats(&b, stats, sizeof(stats));
	assert_int_equal(counted(&b, "swapped_in"), 7);
	vtime_advance(b.m.rig.machine.time, 3600 * NS_PER_S);
	assert_false(statistics_back(&b));
	bal_fini(&b);
}

/* 5.5.6.7, by the queue of the specification and by that of a driver that leaves out no number. */
static void test_reporting(void **state)
{
	struct vring_buf bufs[3];
	struct bal b;
	uint64_t before;

	bal_init(&b, *state, "");
	for (unsigned int q = REPORT_TOO; q <= REPORT; q++) {
		touch(&b, b.pages, MIB(8));
		before = resident(&b);
		bufs[0] = (struct vring_buf){.gpa = b.pages, .len = MIB(2)};
		bufs[1] = (struct vring_buf){.gpa = b.pages + MIB(4), .len = KIB(4)};
		/* Pages that are free in part are not. */
		bufs[2] = (struct vring_buf){.gpa = b.pages + MIB(6) + 1, .len = KIB(12)};
		assert_int_equal(vdriver_transact(&b.d, q, bufs, 0, 3), 0);
		assert_true(vdriver_interrupted(&b.d, q));
		assert_int_equal(before - resident(&b), MIB(2) + KIB(4) + KIB(8));
		assert_int_equal(byte_at(&b, b.pages + MIB(2)), 0xaa);
		assert_int_equal(byte_at(&b, b.pages + MIB(6)), 0xaa);
		/* What is only to be read is not reported. */
		before = resident(&b);
		bufs[0].gpa = b.pages + MIB(3);
		bufs[0].len = MIB(1);
		assert_int_equal(vdriver_transact(&b.d, q, bufs, 1, 0), 0);
		assert_int_equal(resident(&b), before);
	}
	assert_int_equal(counted(&b, "bytes_reported"), 2 * (MIB(2) + KIB(16)));
	/* Beyond RAM is a broken ring. */
	bufs[0].gpa = MIB(63);
	bufs[0].len = MIB(2);
	assert_int_equal(vring_add(vdriver_ring(&b.d, REPORT), bufs, 0, 1, false, &b), 0);
	vdriver_kick(&b.d, REPORT);
	vdriver_turn(&b.d);
	assert_true(vdriver_get(&b.d, VREG_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	bal_fini(&b);
}

/* A driver that does not want a feature has its queue for nothing. */
static void test_features_left_out(void **state)
{
	struct vring_buf buf;
	struct bal b;
	uint64_t before;

	bal_init(&b, *state, "stats=5");
	vdriver_reset(&b.d);
	vdriver_start(&b.d, ~(F(STATS_VQ) | F(REPORTING) | VIRTIO_FEATURE(VIRTIO_F_IN_ORDER)));
	touch(&b, b.pages, MIB(1));
	before = resident(&b);
	buf = (struct vring_buf){.gpa = b.pages, .len = MIB(1)};
	assert_int_equal(vdriver_transact(&b.d, REPORT, &buf, 0, 1), 0);
	assert_int_equal(resident(&b), before);
	buf.len = 10;
	assert_int_equal(vdriver_transact(&b.d, STATISTICS, &buf, 1, 0), 0);
	assert_int_equal(counted(&b, "stats_received"), 0);
	vtime_advance(b.m.rig.machine.time, 3600 * NS_PER_S);
	vdriver_turn(&b.d);
	bal_fini(&b);
}

/* Loaded into a machine with another target. */
static void test_loaded(void **state)
{
	struct bal b;

	bal_init(&b, *state, "size=2M");
	((uint8_t *)virtio_config(vdriver_virtio(&b.d)))[0] = 1;
	assert_false(vdriver_config_interrupted(&b.d));
	assert_int_equal(b.d.dev->class->loaded(b.d.dev, &b.m.rig.err), 0);
	assert_int_equal(vdriver_config(&b.d, 0, 4), 512);
	assert_true(vdriver_config_interrupted(&b.d));
	assert_int_equal(b.d.dev->class->loaded(b.d.dev, &b.m.rig.err), 0);
	assert_false(vdriver_config_interrupted(&b.d));
	bal_fini(&b);
}

static void test_mistakes(void **state)
{
	struct vmachine m;
	struct vdriver d;

	vmachine_init(&m);
	assert_false(vdriver_try(&d, &m, *state, "virtio_balloon", "size=64M"));
	assert_non_null(strstr(m.rig.err.text, "leaves nothing of the guest's 64 MiB"));
	vmachine_fini(&m);
}

/* Memory of which a balloon gives nothing back. */
static void test_memory_that_stays(void **state)
{
	static const struct {
		struct gmem_options memory;
		const char *options, *says;
	} kinds[] = {
		{{.size = MIB(4), .wired = true}, "", "memory.wired"},
		{{.size = MIB(4), .hugepages = GMEM_HUGEPAGES_2M}, "size=1M", "memory.hugepages"},
	};
	struct vmachine m;
	struct vdriver d;
	unsigned int tried = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct gmem *mem, *before;

		if (gmem_create(&mem, &kinds[i].memory, NULL))
			continue;
		vmachine_init(&m);
		before = m.rig.machine.mem;
		m.rig.machine.mem = mem;
		assert_false(vdriver_try(&d, &m, *state, "virtio_balloon", kinds[i].options));
		assert_non_null(strstr(m.rig.err.text, kinds[i].says));
		m.rig.machine.mem = before;
		gmem_destroy(mem);
		vmachine_fini(&m);
		tried++;
	}
	if (!tried)
		skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		VDRIVER_TESTS(test_identity),          VDRIVER_TESTS(test_config),
		VDRIVER_TESTS(test_inflate),           VDRIVER_TESTS(test_any_layout),
		VDRIVER_TESTS(test_hostile_pages),     VDRIVER_TESTS(test_statistics),
		VDRIVER_TESTS(test_statistics_once),   VDRIVER_TESTS(test_reporting),
		VDRIVER_TESTS(test_features_left_out), VDRIVER_TESTS(test_loaded),
		VDRIVER_TESTS(test_mistakes),          VDRIVER_TESTS(test_memory_that_stays),
	};

	return cmocka_run_group_tests_name("virtio_balloon", tests, NULL, NULL);
}
