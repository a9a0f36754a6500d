/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The block device as a driver sees it, over both transports and with both rings: what section 5.2
 * promises, requests cut in every way, and drivers that break every rule. What a disk does beneath
 * is tests/unit/disk.c.
 */
#include "support/cm.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/worker_sim.h"
#include "support/vdriver.h"

#define SECTOR  512U
#define SECTORS 256U
#define ANY     UINT64_MAX

#define FEATURE(name) VIRTIO_FEATURE(VIRTIO_BLK_F_##name)

/* Of everything linked to this program: how often data was made durable. */
static unsigned int syncs;

int fdatasync(int fd)
{
	(void)fd;
	syncs++;
	return 0;
}

/* And where the last transfer from a file went. */
static const void *read_into;

ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t at, int flags)
{
	if (at >= 0)
		read_into = iov->iov_base;
	return syscall(SYS_preadv2, fd, iov, n, at, 0, flags);
}

/* A machine with a disk. */
struct setup {
	struct vmachine m;
	struct vdriver d;
	char dir[32], image[48];
	uint32_t random;
};

static uint32_t draw(struct setup *s, uint32_t below)
{
	s->random = s->random * 1664525 + 1013904223;
	return (s->random >> 8) % below;
}

static uint8_t byte_at(uint64_t sector, unsigned int i)
{
	return (uint8_t)(sector * 7 + i / 16);
}

static void image_init(struct setup *s)
{
	uint8_t *data = malloc((size_t)SECTORS * SECTOR);
	int fd;

	memset(s, 0, sizeof(*s));
	assert_non_null(data);
	strcpy(s->dir, "/tmp/skep-blk-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->image, sizeof(s->image), "%s/image", s->dir);
	for (unsigned int i = 0; i < SECTORS * SECTOR; i++)
		data[i] = byte_at(i / SECTOR, i % SECTOR);
	fd = open(s->image, O_CREAT | O_WRONLY, 0600);
	assert_int_equal(write(fd, data, SECTORS * SECTOR), SECTORS * SECTOR);
	close(fd);
	free(data);
	vmachine_init(&s->m);
}

static void image_fini(struct setup *s)
{
	vmachine_fini(&s->m);
	unlink(s->image);
	assert_int_equal(rmdir(s->dir), 0);
}

static void setup_init(struct setup *s, const struct vdriver_way *way, const char *options,
		       uint64_t features)
{
	char text[256];

	image_init(s);
	snprintf(text, sizeof(text), "path=%s %s", s->image, options);
	vdriver_create(&s->d, &s->m, way, "virtio_blk", text);
	vdriver_start(&s->d, features);
}

static void setup_fini(struct setup *s)
{
	vdriver_destroy(&s->d);
	image_fini(s);
}

static uint64_t alloc(struct setup *s, uint64_t len)
{
	return vmachine_alloc(&s->m, len);
}

static void *ptr(struct setup *s, uint64_t gpa, uint64_t len)
{
	return gmem_hva(s->m.rig.machine.mem, gpa, len);
}

/* A request: its header, data and status, each in a buffer of its own. */
struct request {
	uint64_t header, data, status;
	uint32_t len;
};

static struct request request_new(struct setup *s, uint32_t type, uint64_t sector, uint32_t len)
{
	struct request r = {
		.header = alloc(s, sizeof(struct virtio_blk_outhdr)),
		.data = alloc(s, MAX(len, 16U)),
		.status = alloc(s, 1),
		.len = len,
	};
	struct virtio_blk_outhdr h = {.type = htole32(type), .sector = htole64(sector)};

	memcpy(ptr(s, r.header, sizeof(h)), &h, sizeof(h));
	*(uint8_t *)ptr(s, r.status, 1) = 0xff;
	return r;
}

static uint8_t status_of(struct setup *s, const struct request *r)
{
	return *(uint8_t *)ptr(s, r->status, 1);
}

static unsigned int bufs_of(const struct request *r, bool in, struct vring_buf bufs[3],
			    unsigned int *out)
{
	unsigned int n = 0;

	bufs[n++] = (struct vring_buf){r->header, sizeof(struct virtio_blk_outhdr)};
	if (r->len)
		bufs[n++] = (struct vring_buf){r->data, r->len};
	bufs[n++] = (struct vring_buf){r->status, 1};
	*out = in ? 1 : n - 1;
	return n - *out;
}

/* Sends it and waits; returns the status, and in *@written what the device says it wrote. */
static uint8_t transact(struct setup *s, const struct request *r, bool in, uint32_t *written)
{
	struct vring_buf bufs[3];
	unsigned int out, ins = bufs_of(r, in, bufs, &out);
	uint32_t n = vdriver_transact(&s->d, 0, bufs, out, ins);

	if (written)
		*written = n;
	return status_of(s, r);
}

static uint8_t ask(struct setup *s, uint32_t type, uint64_t sector, uint32_t len)
{
	struct request r = request_new(s, type, sector, len);

	return transact(s, &r, type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID, NULL);
}

static uint8_t ask_range(struct setup *s, uint32_t type, uint64_t sector, uint32_t count,
			 uint32_t flags)
{
	struct request r = request_new(s, type, 0, sizeof(struct virtio_blk_discard_write_zeroes));
	struct virtio_blk_discard_write_zeroes seg = {
		.sector = htole64(sector),
		.num_sectors = htole32(count),
		.flags = htole32(flags),
	};

	memcpy(ptr(s, r.data, sizeof(seg)), &seg, sizeof(seg));
	return transact(s, &r, false, NULL);
}

static void write_sector(struct setup *s, uint64_t sector, uint8_t byte)
{
	struct request r = request_new(s, VIRTIO_BLK_T_OUT, sector, SECTOR);

	memset(ptr(s, r.data, SECTOR), byte, SECTOR);
	assert_int_equal(transact(s, &r, false, NULL), VIRTIO_BLK_S_OK);
}

/* The first byte of a sector, read by the driver. */
static uint8_t read_byte(struct setup *s, uint64_t sector)
{
	struct request r = request_new(s, VIRTIO_BLK_T_IN, sector, SECTOR);

	assert_int_equal(transact(s, &r, true, NULL), VIRTIO_BLK_S_OK);
	return *(uint8_t *)ptr(s, r.data, 1);
}

/* 5.2.3, 5.2.4 */

static uint64_t config(struct setup *s, size_t at, unsigned int size)
{
	return vdriver_config(&s->d, (unsigned int)at, size);
}
#define CONFIG(s, field)                                       \
	config((s), offsetof(struct virtio_blk_config, field), \
	       sizeof(((struct virtio_blk_config *)0)->field))

static void test_identity(void **state)
{
	struct setup s;
	uint64_t offered;

	setup_init(&s, *state, "", ANY);
	assert_int_equal(s.d.id, 2);
	offered = vdriver_offered(&s.d) & 0xffffff;
	assert_int_equal(offered, FEATURE(SEG_MAX) | FEATURE(BLK_SIZE) | FEATURE(TOPOLOGY) |
					  FEATURE(FLUSH) | FEATURE(CONFIG_WCE) | FEATURE(DISCARD) |
					  FEATURE(WRITE_ZEROES));
	assert_int_equal(CONFIG(&s, capacity), SECTORS);
	assert_int_equal(CONFIG(&s, seg_max), 254);
	assert_int_equal(CONFIG(&s, blk_size), 512);
	assert_int_equal(CONFIG(&s, physical_block_exp), 3);
	assert_int_equal(CONFIG(&s, alignment_offset), 0);
	assert_int_equal(CONFIG(&s, min_io_size), 0);
	assert_int_equal(CONFIG(&s, wce), 1);
	assert_int_equal(CONFIG(&s, num_queues), 1);
	assert_int_equal(CONFIG(&s, max_discard_seg), 1);
	assert_int_equal(CONFIG(&s, max_write_zeroes_seg), 1);
	assert_int_equal(CONFIG(&s, write_zeroes_may_unmap), 1);
	assert_int_equal(CONFIG(&s, unused), 0);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(config(&s, offsetof(struct virtio_blk_config, unused1) + i, 1), 0);
	/* 2.5: what a driver writes to what it may not write is lost. */
	vdriver_set_config(&s.d, 0, 4, 1);
	assert_int_equal(CONFIG(&s, capacity), SECTORS);
	setup_fini(&s);
}

static void test_features_by_options(void **state)
{
	struct setup s;

	setup_init(&s, *state, "ro=on", ANY);
	assert_int_equal(vdriver_offered(&s.d) & 0xffffff, FEATURE(SEG_MAX) | FEATURE(BLK_SIZE) |
								   FEATURE(TOPOLOGY) |
								   FEATURE(FLUSH) | FEATURE(RO));
	setup_fini(&s);
	setup_init(&s, *state,
		   "cache=unsafe discard=off queues=4 queue-size=64 block-size=4096 "
		   "physical-block-size=16K",
		   ANY);
	assert_int_equal(vdriver_offered(&s.d) & 0xffffff, FEATURE(SEG_MAX) | FEATURE(BLK_SIZE) |
								   FEATURE(TOPOLOGY) | FEATURE(MQ) |
								   FEATURE(WRITE_ZEROES));
	assert_int_equal(CONFIG(&s, num_queues), 4);
	assert_int_equal(CONFIG(&s, seg_max), 62);
	assert_int_equal(CONFIG(&s, blk_size), 4096);
	assert_int_equal(CONFIG(&s, physical_block_exp), 2);
	setup_fini(&s);
}

/* 5.2.6 */

static void test_read_and_write(void **state)
{
	struct setup s;
	struct request r;
	uint32_t written;

	setup_init(&s, *state, "", ANY);
	r = request_new(&s, VIRTIO_BLK_T_IN, 3, 4 * SECTOR);
	assert_int_equal(transact(&s, &r, true, &written), VIRTIO_BLK_S_OK);
	assert_int_equal(written, 4 * SECTOR + 1);
	for (unsigned int i = 0; i < 4 * SECTOR; i++)
		assert_int_equal(((uint8_t *)ptr(&s, r.data, r.len))[i],
				 byte_at(3 + i / SECTOR, i % SECTOR));
	r = request_new(&s, VIRTIO_BLK_T_OUT, 5, 2 * SECTOR);
	memset(ptr(&s, r.data, r.len), 0xa5, r.len);
	assert_int_equal(transact(&s, &r, false, &written), VIRTIO_BLK_S_OK);
	assert_int_equal(written, 1);
	assert_int_equal(read_byte(&s, 4), byte_at(4, 0));
	assert_int_equal(read_byte(&s, 5), 0xa5);
	assert_int_equal(read_byte(&s, 6), 0xa5);
	assert_int_equal(read_byte(&s, 7), byte_at(7, 0));
	/* Nothing at all is a request too. */
	assert_int_equal(ask(&s, VIRTIO_BLK_T_IN, SECTORS, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(ask(&s, VIRTIO_BLK_T_OUT, 0, 0), VIRTIO_BLK_S_OK);
	setup_fini(&s);
}

/* Cuts @len bytes at @gpa into up to @most pieces at random places. */
static unsigned int cut(struct setup *s, uint64_t gpa, uint32_t len, unsigned int most,
			struct vring_buf *bufs)
{
	unsigned int n = 0;

	while (len && n < most - 1) {
		uint32_t piece = 1 + draw(s, len);

		bufs[n++] = (struct vring_buf){gpa, piece};
		gpa += piece;
		len -= piece;
	}
	if (len)
		bufs[n++] = (struct vring_buf){gpa, len};
	return n;
}

/* 2.7.4: a device makes no assumption on where a message is cut. */
static void test_any_layout(void **state)
{
	struct setup s;
	struct worker *w;

	setup_init(&s, *state, "", ANY);
	w = vmachine_worker(&s.m);
	worker_sim_shorten(w, 2);
	for (unsigned int i = 0; i < 60; i++) {
		uint32_t len = SECTOR * (1 + draw(&s, 6));
		uint64_t sector = draw(&s, SECTORS - 6);
		struct request r = request_new(&s, i % 2, sector, 0);
		uint64_t all = alloc(&s, sizeof(struct virtio_blk_outhdr) + len + 1);
		struct vring_buf bufs[16];
		unsigned int out, in;
		uint8_t *p = ptr(&s, all, sizeof(struct virtio_blk_outhdr) + len + 1);

		memcpy(p, ptr(&s, r.header, 16), 16);
		memset(p + 16, (int)i, len);
		p[16 + len] = 0xff;
		if (i % 2 == VIRTIO_BLK_T_OUT) {
			out = cut(&s, all, 16 + len, 8, bufs);
			in = cut(&s, all + 16 + len, 1, 8, bufs + out);
			assert_int_equal(vdriver_transact(&s.d, 0, bufs, out, in), 1);
		} else {
			out = cut(&s, all, 16, 8, bufs);
			in = cut(&s, all + 16, len + 1, 8, bufs + out);
			assert_int_equal(vdriver_transact(&s.d, 0, bufs, out, in), len + 1);
		}
		assert_int_equal(p[16 + len], VIRTIO_BLK_S_OK);
		if (i % 2 == VIRTIO_BLK_T_OUT) {
			assert_int_equal(read_byte(&s, sector), i);
			assert_int_equal(read_byte(&s, sector + len / SECTOR - 1), i);
		} else {
			assert_int_equal(p[16], read_byte(&s, sector));
			assert_int_equal(p[16 + len - SECTOR],
					 read_byte(&s, sector + len / SECTOR - 1));
		}
	}
	setup_fini(&s);
}

/* Past the page cache there is no copy either, where the data itself lies well. */
static void test_direct(void **state)
{
	struct request r;
	struct setup s;
	int fd;

	image_init(&s);
	fd = open(s.image, O_RDONLY | O_DIRECT);
	image_fini(&s);
	if (fd < 0)
		skip();
	close(fd);
	setup_init(&s, *state, "direct=on", ANY);
	r = request_new(&s, VIRTIO_BLK_T_IN, 8, 8192);
	r.status++; /* as odd as it may lie */
	assert_int_equal(transact(&s, &r, true, NULL), VIRTIO_BLK_S_OK);
	assert_ptr_equal(read_into, ptr(&s, r.data, 8192));
	assert_int_equal(*(uint8_t *)ptr(&s, r.data + 4096, 1), byte_at(16, 0));
	/* Elsewhere there is. */
	r = request_new(&s, VIRTIO_BLK_T_IN, 8, 4096);
	r.data = alloc(&s, 8192) + 1;
	assert_int_equal(transact(&s, &r, true, NULL), VIRTIO_BLK_S_OK);
	assert_ptr_not_equal(read_into, ptr(&s, r.data, 4096));
	assert_int_equal(*(uint8_t *)ptr(&s, r.data, 1), byte_at(8, 0));
	setup_fini(&s);
}

static void test_get_id(void **state)
{
	struct setup s;
	struct request r;
	uint32_t written;

	setup_init(&s, *state, "serial=12345678901234567890", ANY);
	r = request_new(&s, VIRTIO_BLK_T_GET_ID, 0, 20);
	assert_int_equal(transact(&s, &r, true, &written), VIRTIO_BLK_S_OK);
	assert_int_equal(written, 21);
	assert_memory_equal(ptr(&s, r.data, 20), "12345678901234567890", 20);
	r = request_new(&s, VIRTIO_BLK_T_GET_ID, 0, 100);
	assert_int_equal(transact(&s, &r, true, &written), VIRTIO_BLK_S_OK);
	assert_int_equal(written, 20);
	r = request_new(&s, VIRTIO_BLK_T_GET_ID, 0, 19);
	assert_int_equal(transact(&s, &r, true, &written), VIRTIO_BLK_S_IOERR);
	assert_int_equal(written, 0);
	setup_fini(&s);
	setup_init(&s, *state, "serial=abc", ANY);
	r = request_new(&s, VIRTIO_BLK_T_GET_ID, 0, 20);
	memset(ptr(&s, r.data, 20), 0xff, 20);
	assert_int_equal(transact(&s, &r, true, NULL), VIRTIO_BLK_S_OK);
	assert_memory_equal(ptr(&s, r.data, 20), "abc\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
	setup_fini(&s);
}

/* 5.2.6.2: flags that are not known, ranges that are not there. */
static void test_discard_and_zeroes(void **state)
{
	const uint32_t discard = VIRTIO_BLK_T_DISCARD, zero = VIRTIO_BLK_T_WRITE_ZEROES;
	struct request r;
	uint64_t most;
	struct setup s;

	setup_init(&s, *state, "", ANY);
	assert_int_equal(ask_range(&s, zero, 10, 5, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(ask_range(&s, zero, 20, 5, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(read_byte(&s, 9), byte_at(9, 0));
	for (unsigned int i = 0; i < 5; i++) {
		assert_int_equal(read_byte(&s, 10 + i), 0);
		assert_int_equal(read_byte(&s, 20 + i), 0);
	}
	assert_int_equal(read_byte(&s, 15), byte_at(15, 0));
	assert_int_equal(ask_range(&s, discard, 40, 8, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(ask_range(&s, discard, 40, 8, 1), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ask_range(&s, discard, 40, 8, 2), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ask_range(&s, zero, 40, 8, 2), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ask_range(&s, zero, 40, 8, 0x80000001), VIRTIO_BLK_S_UNSUPP);
	for (unsigned int i = 0; i < 2; i++) {
		uint32_t type = i ? discard : zero;

		most = i ? CONFIG(&s, max_discard_sectors) : CONFIG(&s, max_write_zeroes_sectors);
		assert_int_equal(ask_range(&s, type, SECTORS - 1, 2, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(ask_range(&s, type, SECTORS, 1, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(ask_range(&s, type, UINT64_MAX, 1, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(ask_range(&s, type, UINT64_MAX / SECTOR, 1, 0),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(ask_range(&s, type, 0, UINT32_MAX, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(ask_range(&s, type, 0, (uint32_t)most + 1, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(ask_range(&s, type, SECTORS, 0, 0), VIRTIO_BLK_S_OK);
		/* No segment, a part of one, more than one. */
		r = request_new(&s, type, 0, 0);
		assert_int_equal(transact(&s, &r, false, NULL), VIRTIO_BLK_S_IOERR);
		r = request_new(&s, type, 0, 15);
		assert_int_equal(transact(&s, &r, false, NULL), VIRTIO_BLK_S_IOERR);
		r = request_new(&s, type, 0, 32);
		assert_int_equal(transact(&s, &r, false, NULL), VIRTIO_BLK_S_IOERR);
	}
	setup_fini(&s);
	/* What was not negotiated is not there. */
	setup_init(&s, *state, "", 0);
	assert_int_equal(ask_range(&s, zero, 10, 5, 0), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ask_range(&s, discard, 10, 5, 0), VIRTIO_BLK_S_UNSUPP);
	setup_fini(&s);
}

/* A range is no longer than the device says that it may be, on a disk that has so much. */
static void test_longest_range(void **state)
{
	struct setup s;
	char text[96];
	uint64_t most;

	image_init(&s);
	assert_int_equal(truncate(s.image, 1 << 30), 0);
	snprintf(text, sizeof(text), "path=%s", s.image);
	vdriver_create(&s.d, &s.m, *state, "virtio_blk", text);
	vdriver_start(&s.d, ANY);
	most = CONFIG(&s, max_discard_sectors);
	assert_in_range(most, 1, (1 << 21) - 1);
	assert_int_equal(ask_range(&s, VIRTIO_BLK_T_DISCARD, 1, (uint32_t)most, 0),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(ask_range(&s, VIRTIO_BLK_T_DISCARD, 1, (uint32_t)most + 1, 0),
			 VIRTIO_BLK_S_IOERR);
	most = CONFIG(&s, max_write_zeroes_sectors);
	assert_int_equal(ask_range(&s, VIRTIO_BLK_T_WRITE_ZEROES, 1, (uint32_t)most, 1),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(ask_range(&s, VIRTIO_BLK_T_WRITE_ZEROES, 1, (uint32_t)most + 1, 1),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(read_byte(&s, 0), byte_at(0, 0));
	assert_int_equal(read_byte(&s, 1), 0);
	setup_fini(&s);
}

static void test_unsupported(void **state)
{
	static const uint32_t types[] = {2,  3,  5,  7,  10, 12, 14,         15,        16,
					 18, 20, 22, 24, 26, 99, 0x80000000, UINT32_MAX};
	struct setup s;

	setup_init(&s, *state, "", ANY);
	for (unsigned int i = 0; i < ARRAY_SIZE(types); i++)
		assert_int_equal(ask(&s, types[i], 0, SECTOR), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(read_byte(&s, 0), byte_at(0, 0));
	setup_fini(&s);
}

/* 5.2.6.2: of a read-only device nothing is written. */
static void test_read_only(void **state)
{
	struct setup s;

	setup_init(&s, *state, "ro=on", ANY);
	assert_int_equal(ask(&s, VIRTIO_BLK_T_OUT, 1, SECTOR), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask_range(&s, VIRTIO_BLK_T_WRITE_ZEROES, 1, 1, 0), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ask_range(&s, VIRTIO_BLK_T_DISCARD, 1, 1, 0), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ask(&s, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(read_byte(&s, 1), byte_at(1, 0));
	setup_fini(&s);
}

static void test_bad_transfers(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t len;
	} bad[] = {
		{SECTORS, SECTOR},
		{SECTORS - 1, 2 * SECTOR},
		{UINT64_MAX, SECTOR},
		{UINT64_MAX / SECTOR + 1, SECTOR},
		{UINT64_MAX / SECTOR, SECTOR},
		{INT64_MAX / SECTOR, SECTOR},
		{0, SECTOR - 1},
		{0, SECTOR + 1},
		{0, 1},
		{SECTORS + 1, 0},
	};
	struct setup s;

	setup_init(&s, *state, "", ANY);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(ask(&s, VIRTIO_BLK_T_IN, bad[i].sector, bad[i].len),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(ask(&s, VIRTIO_BLK_T_OUT, bad[i].sector, bad[i].len),
				 VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(read_byte(&s, 0), byte_at(0, 0));
	setup_fini(&s);
}

static void test_header_cut_short(void **state)
{
	struct vring_buf bufs[2];
	struct request r;
	struct setup s;

	setup_init(&s, *state, "", ANY);
	for (uint32_t len = 0; len < sizeof(struct virtio_blk_outhdr); len++) {
		r = request_new(&s, VIRTIO_BLK_T_FLUSH, 0, 0);
		bufs[0] = (struct vring_buf){r.header, len};
		bufs[1] = (struct vring_buf){r.status, 1};
		if (len)
			assert_int_equal(vdriver_transact(&s.d, 0, bufs, 1, 1), 1);
		else
			assert_int_equal(vdriver_transact(&s.d, 0, bufs + 1, 0, 1), 1);
		assert_int_equal(status_of(&s, &r), VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(read_byte(&s, 0), byte_at(0, 0));
	setup_fini(&s);
}

/* Nobody can be told how it went: the device needs a reset, and works again behind it. */
static void test_no_status(void **state)
{
	struct vring_buf buf = {.len = sizeof(struct virtio_blk_outhdr)};
	struct request r;
	struct setup s;

	setup_init(&s, *state, "", ANY);
	r = request_new(&s, VIRTIO_BLK_T_FLUSH, 0, 0);
	buf.gpa = r.header;
	assert_int_equal(vdriver_transact(&s.d, 0, &buf, 1, 0), 0);
	assert_true(vdriver_get(&s.d, VREG_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_true(vdriver_config_interrupted(&s.d));
	vdriver_start(&s.d, ANY);
	assert_int_equal(read_byte(&s, 0), byte_at(0, 0));
	setup_fini(&s);
}

/* 5.2.5.2, 5.2.6.2: when a write is durable. */

static unsigned int syncs_of_write(struct setup *s)
{
	unsigned int before = syncs;

	write_sector(s, 0, 1);
	return syncs - before;
}

static void test_durable(void **state)
{
	const unsigned int wce = offsetof(struct virtio_blk_config, wce);
	const uint64_t flush = FEATURE(FLUSH), both = flush | FEATURE(CONFIG_WCE);
	unsigned int before;
	struct setup s;

	/* Case 3, with a flush; and what the driver may choose, case 2. */
	setup_init(&s, *state, "", both);
	assert_int_equal(syncs_of_write(&s), 0);
	before = syncs;
	assert_int_equal(ask(&s, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(syncs - before, 1);
	vdriver_set_config(&s.d, wce, 1, 0);
	assert_int_equal(CONFIG(&s, wce), 0);
	assert_int_equal(syncs_of_write(&s), 1);
	vdriver_set_config(&s.d, wce, 1, 1);
	assert_int_equal(CONFIG(&s, wce), 1);
	assert_int_equal(syncs_of_write(&s), 0);
	vdriver_set_config(&s.d, wce, 1, 0xfe);
	assert_int_equal(CONFIG(&s, wce), 0);
	setup_fini(&s);
	/* Case 1: neither was negotiated. */
	setup_init(&s, *state, "", 0);
	assert_int_equal(syncs_of_write(&s), 1);
	vdriver_set_config(&s.d, wce, 1, 0);
	assert_int_equal(CONFIG(&s, wce), 1);
	assert_int_equal(syncs_of_write(&s), 1);
	setup_fini(&s);
	setup_init(&s, *state, "", flush);
	assert_int_equal(syncs_of_write(&s), 0);
	setup_fini(&s);
	/* A cache that cannot be flushed is none. */
	setup_init(&s, *state, "", FEATURE(CONFIG_WCE));
	assert_int_equal(CONFIG(&s, wce), 0);
	assert_int_equal(syncs_of_write(&s), 1);
	/* From FEATURES_OK on, and until the driver says otherwise, be it before DRIVER_OK. */
	vdriver_reset(&s.d);
	vdriver_set_config(&s.d, wce, 1, 1);
	assert_true(vdriver_negotiate(&s.d, FEATURE(CONFIG_WCE)));
	assert_int_equal(CONFIG(&s, wce), 0);
	vdriver_set_config(&s.d, wce, 1, 1);
	assert_int_equal(CONFIG(&s, wce), 1);
	vdriver_go(&s.d);
	assert_int_equal(CONFIG(&s, wce), 1);
	/* What one driver chose is not the next one's. */
	vdriver_set_config(&s.d, wce, 1, 0);
	vdriver_reset(&s.d);
	assert_int_equal(CONFIG(&s, wce), 1);
	setup_fini(&s);
	setup_init(&s, *state, "cache=writethrough", flush);
	assert_int_equal(CONFIG(&s, wce), 0);
	assert_int_equal(syncs_of_write(&s), 1);
	setup_fini(&s);
	setup_init(&s, *state, "cache=writethrough", both);
	assert_int_equal(CONFIG(&s, wce), 0);
	assert_int_equal(syncs_of_write(&s), 1);
	vdriver_set_config(&s.d, wce, 1, 1);
	assert_int_equal(syncs_of_write(&s), 0);
	setup_fini(&s);
	setup_init(&s, *state, "cache=unsafe", ANY);
	assert_int_equal(syncs_of_write(&s), 0);
	before = syncs;
	assert_int_equal(ask(&s, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(syncs, before);
	setup_fini(&s);
}

/* The host fails */

static void test_host_fails(void **state)
{
	struct worker *w;
	struct setup s;
	uint8_t status;
	bool ok;

	setup_init(&s, *state, "", ANY);
	assert_int_equal(truncate(s.image, SECTOR), 0);
	assert_int_equal(ask(&s, VIRTIO_BLK_T_IN, 1, SECTOR), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ask(&s, VIRTIO_BLK_T_IN, 0, 2 * SECTOR), VIRTIO_BLK_S_IOERR);
	assert_int_equal(read_byte(&s, 0), byte_at(0, 0));
	w = vmachine_worker(&s.m);
	worker_sim_fail(w, 2, ENOSPC);
	do {
		status = ask(&s, VIRTIO_BLK_T_OUT, 0, SECTOR);
		ok = status == VIRTIO_BLK_S_OK;
		assert_true(ok || status == VIRTIO_BLK_S_IOERR);
	} while (ok);
	worker_sim_fail(w, 0, 0);
	assert_int_equal(ask(&s, VIRTIO_BLK_T_OUT, 0, SECTOR), VIRTIO_BLK_S_OK);
	assert_false(vdriver_get(&s.d, VREG_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	setup_fini(&s);
}

/* Many at once, on many queues */

static void add(struct setup *s, unsigned int queue, struct request *r)
{
	struct vring_buf bufs[3];
	unsigned int out, in = bufs_of(r, true, bufs, &out);

	assert_int_equal(vring_add(vdriver_ring(&s->d, queue), bufs, out, in, false, r), 0);
}

static unsigned int reap(struct setup *s, unsigned int queue)
{
	struct vring_done done;
	unsigned int n = 0;

	for (; vring_reap(vdriver_ring(&s->d, queue), &done); n++) {
		const struct request *r = done.cookie;

		assert_int_equal(status_of(s, r), VIRTIO_BLK_S_OK);
		assert_int_equal(
			*(uint8_t *)ptr(s, r->data, 1),
			byte_at(((struct virtio_blk_outhdr *)ptr(s, r->header, 16))->sector, 0));
	}
	return n;
}

static void test_many(void **state)
{
	struct request requests[4][60];
	struct setup s;

	setup_init(&s, *state, "queues=4", ANY);
	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < 60; i++)
			for (unsigned int q = 0; q < 4; q++) {
				requests[q][i] =
					request_new(&s, VIRTIO_BLK_T_IN, draw(&s, SECTORS), SECTOR);
				add(&s, q, &requests[q][i]);
			}
		for (unsigned int q = 0; q < 4; q++)
			vdriver_kick(&s.d, q);
		vdriver_turn(&s.d);
		for (unsigned int q = 0; q < 4; q++)
			assert_int_equal(reap(&s, q), 60);
	}
	setup_fini(&s);
}

/* A reset ends what is under way; a pause loses none of it. */
static void test_stopped(void **state)
{
	struct request requests[50];
	struct setup s;

	setup_init(&s, *state, "queues=2", ANY);
	for (unsigned int round = 0; round < 5; round++) {
		unsigned int back;

		for (unsigned int i = 0; i < 50; i++) {
			requests[i] = request_new(&s, VIRTIO_BLK_T_IN, i, SECTOR);
			add(&s, round % 2, &requests[i]);
		}
		vdriver_kick(&s.d, round % 2);
		worker_sim_run(vmachine_worker(&s.m), 10 * round);
		virtio_quiesce(vdriver_virtio(&s.d));
		back = reap(&s, round % 2);
		assert_false(worker_sim_run(vmachine_worker(&s.m), 100) &&
			     reap(&s, round % 2)); /* nothing goes on */
		virtio_resume(vdriver_virtio(&s.d));
		vdriver_turn(&s.d);
		assert_int_equal(back + reap(&s, round % 2), 50);
	}
	for (unsigned int i = 0; i < 50; i++)
		add(&s, 0, &requests[i]);
	vdriver_kick(&s.d, 0);
	worker_sim_run(vmachine_worker(&s.m), 10);
	vdriver_reset(&s.d);
	vdriver_start(&s.d, ANY);
	assert_int_equal(read_byte(&s, 0), byte_at(0, 0));
	/* And one that is destroyed at work. */
	for (unsigned int i = 0; i < 50; i++)
		add(&s, 1, &requests[i]);
	vdriver_kick(&s.d, 1);
	worker_sim_run(vmachine_worker(&s.m), 10);
	setup_fini(&s);
}

/* What a limit holds back stays in the ring, through a pause, and is gone with a reset. */
static void test_limited(void **state)
{
	struct worker *w;
	struct request requests[50];
	unsigned int back;
	struct setup s;

	setup_init(&s, *state, "iops=1 burst=0", ANY);
	w = vmachine_worker(&s.m);
	for (unsigned int i = 0; i < 50; i++) {
		requests[i] = request_new(&s, VIRTIO_BLK_T_IN, i, SECTOR);
		add(&s, 0, &requests[i]);
	}
	vdriver_kick(&s.d, 0);
	vdriver_turn(&s.d);
	back = reap(&s, 0);
	assert_in_range(back, 1, 49);
	virtio_quiesce(vdriver_virtio(&s.d));
	worker_sim_advance(w, UINT64_MAX / 4);
	vdriver_turn(&s.d);
	assert_int_equal(reap(&s, 0), 0);
	virtio_resume(vdriver_virtio(&s.d));
	vdriver_turn(&s.d);
	assert_int_equal(back + reap(&s, 0), 50);
	vdriver_reset(&s.d);
	vdriver_start(&s.d, ANY);
	assert_int_equal(read_byte(&s, 0), byte_at(0, 0));
	setup_fini(&s);
}

/* Saved and loaded */

static void test_loaded(void **state)
{
	const struct state_table *table;
	struct device *dev;
	uint8_t saved[16384];
	struct err err;
	struct setup s;
	long size;
	void *at;

	setup_init(&s, *state, "", ANY);
	dev = s.d.dev;
	vdriver_set_config(&s.d, offsetof(struct virtio_blk_config, wce), 1, 0);
	virtio_quiesce(vdriver_virtio(&s.d));
	table = device_state_part(dev, 0, &at);
	assert_non_null(table);
	size = state_save(table, at, saved, sizeof(saved));
	assert_true(size > 0);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(state_load(table, at, saved, (size_t)size, &err), 0);
		if (i) /* another capacity */
			((uint8_t *)virtio_config(vdriver_virtio(&s.d)))[0] ^= 1;
		device_lock(dev);
		if (dev->class->family->loaded(dev, &err))
			fail_msg("%s", err.text);
		assert_int_equal(dev->class->loaded(dev, &err), i ? -EPROTO : 0);
		device_unlock(dev);
		if (!i) {
			virtio_resume(vdriver_virtio(&s.d));
			assert_int_equal(CONFIG(&s, wce), 0);
			assert_int_equal(syncs_of_write(&s), 1);
			virtio_quiesce(vdriver_virtio(&s.d));
		}
	}
	assert_non_null(strstr(err.text, "another size"));
	setup_fini(&s);
}

/* Mistakes */

/* @ is the image. */
static void refused(struct setup *s, const struct vdriver_way *way, const char *options,
		    const char *sentence)
{
	char text[256];

	if (*options == '@')
		snprintf(text, sizeof(text), "path=%s%s", s->image, options + 1);
	else
		snprintf(text, sizeof(text), "%s", options);
	assert_false(vdriver_try(&s->d, &s->m, way, "virtio_blk", text));
	if (!strstr(s->m.rig.err.text, sentence) || strchr(s->m.rig.err.text, '\n'))
		fail_msg("'%s' instead of '%s'", s->m.rig.err.text, sentence);
}

/* The rig keeps what was set, so each mistake has a machine of its own. */
static void refused_alone(const struct vdriver_way *way, const char *options, const char *sentence)
{
	struct setup s;

	image_init(&s);
	refused(&s, way, options, sentence);
	image_fini(&s);
}

static void test_mistakes(void **state)
{
	struct setup s;

	refused_alone(*state, "", "needs an image: path=FILE");
	refused_alone(*state, "path=/no/such/image", "cannot open the image /no/such/image");
	refused_alone(*state, "@ serial=123456789012345678901", "is longer than 20 bytes");
	refused_alone(*state, "@ queues=0", "too small");
	refused_alone(*state, "@ queues=33", "too large");
	refused_alone(*state, "@ queues=2 iops=100", "has one queue only");
	refused_alone(*state, "@ queue-size=2", "queue-size is at least 4");
	refused_alone(*state, "@ queue-size=5", "not a power of two");
	refused_alone(*state, "@ iofixed=on", "add memory.wired=on");
	refused_alone(*state, "@ cache=none", "none of writeback|writethrough|unsafe");
	refused_alone(*state, "@ ovrlay=x", "overlay");
	image_init(&s);
	assert_int_equal(truncate(s.image, 100), 0);
	refused(&s, *state, "@", "not a multiple of 512");
	image_fini(&s);
}

static void test_two_on_one_image(void **state)
{
	struct setup s;
	struct vdriver d;
	char text[128];

	setup_init(&s, *state, "", ANY);
	snprintf(text, sizeof(text), "path=%s", s.image);
	assert_false(vdriver_try(&d, &s.m, *state, "virtio_blk", text));
	assert_non_null(strstr(s.m.rig.err.text, "is in use by another machine or process"));
	setup_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		VDRIVER_TESTS(test_identity),
		VDRIVER_TESTS(test_features_by_options),
		VDRIVER_TESTS(test_read_and_write),
		VDRIVER_TESTS(test_any_layout),
		VDRIVER_TESTS(test_direct),
		VDRIVER_TESTS(test_get_id),
		VDRIVER_TESTS(test_discard_and_zeroes),
		VDRIVER_TESTS(test_longest_range),
		VDRIVER_TESTS(test_unsupported),
		VDRIVER_TESTS(test_read_only),
		VDRIVER_TESTS(test_bad_transfers),
		VDRIVER_TESTS(test_header_cut_short),
		VDRIVER_TESTS(test_no_status),
		VDRIVER_TESTS(test_durable),
		VDRIVER_TESTS(test_host_fails),
		VDRIVER_TESTS(test_many),
		VDRIVER_TESTS(test_stopped),
		VDRIVER_TESTS(test_limited),
		VDRIVER_TESTS(test_loaded),
		VDRIVER_TESTS(test_mistakes),
		VDRIVER_TESTS(test_two_on_one_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
