/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The IDE disk as a driver sees it: what ATA/ATAPI-6 promises of registers, protocols and commands,
 * guests that break every rule, and a host that fails. What a disk does beneath is
 * tests/unit/disk.c.
 */
#include "support/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/state.h"
#include "skep/worker_sim.h"
#include "skep/workers.h"
#include "support/rig.h"

#define SECTOR  512U
#define SECTORS 4096U /* CHS: 4 cylinders, 16 heads, 63 sectors, and 64 sectors that are left */
#define SECOND  100U  /* of device 1, where there is one */
#define BUFFER  128U  /* sectors that the drive has under way at once */
#define ENOUGH  10000U

#define COMMAND 0x1f0
#define CONTROL 0x3f6
#define IRQ     14

enum { DATA, FEATURE, COUNT, LOW, MID, HIGH, DEVICE, STATUS };

#define ERR  0x01
#define DRQ  0x08
#define DSC  0x10
#define DRDY 0x40
#define BSY  0x80
#define IDLE (DRDY | DSC)

#define ABRT 0x04
#define IDNF 0x10
#define UNC  0x40

#define NIEN 0x02
#define SRST 0x04
#define HOB  0x80

#define LBA  0x40
#define DEV1 0x10

enum {
	READ = 0x20,
	READ_EXT = 0x24,
	READ_MULTIPLE_EXT = 0x29,
	WRITE = 0x30,
	WRITE_EXT = 0x34,
	WRITE_MULTIPLE_EXT = 0x39,
	VERIFY = 0x40,
	VERIFY_EXT = 0x42,
	SEEK = 0x70,
	DIAGNOSE = 0x90,
	SET_GEOMETRY = 0x91,
	IDENTIFY_PACKET = 0xa1,
	READ_MULTIPLE = 0xc4,
	WRITE_MULTIPLE = 0xc5,
	SET_MULTIPLE = 0xc6,
	CHECK_POWER = 0xe5,
	SLEEP = 0xe6,
	FLUSH = 0xe7,
	FLUSH_EXT = 0xea,
	IDENTIFY = 0xec,
	SET_FEATURES = 0xef,
};

/* Of everything linked to this program: how often data was made durable. */
static unsigned int syncs;

int fdatasync(int fd)
{
	(void)fd;
	syncs++;
	return 0;
}

/* A sector that the host can neither read nor write; and how many sectors it was asked for. */
static int64_t bad = -1;
static uint64_t asked;

static bool is_bad(const struct iovec *iov, int n, off_t at)
{
	size_t len = 0;

	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	asked += len / SECTOR;
	return bad >= 0 && at / SECTOR <= bad && (at + (off_t)len - 1) / SECTOR >= bad;
}

ssize_t preadv2(int fd, const struct iovec *iov, int n, off_t at, int flags)
{
	if (is_bad(iov, n, at)) {
		errno = EIO;
		return -1;
	}
	return syscall(SYS_preadv2, fd, iov, n, at, 0, flags);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t at, int flags)
{
	if (is_bad(iov, n, at)) {
		errno = EIO;
		return -1;
	}
	return syscall(SYS_pwritev2, fd, iov, n, at, 0, flags);
}

struct bench {
	struct rig rig;
	struct device *dev;
	char dir[32], image[48], second[48];
	uint16_t base, control;
	unsigned int irq;
	uint64_t random;
};

static uint8_t byte_at(uint64_t sector, unsigned int i)
{
	return (uint8_t)(sector * 7 + i / 16 + i);
}

static void fill(uint8_t *sector, uint64_t n)
{
	for (unsigned int i = 0; i < SECTOR; i++)
		sector[i] = byte_at(n, i);
}

static struct bench *make(const char *options, uint64_t sectors)
{
	struct bench *b = calloc(1, sizeof(*b));
	uint8_t sector[SECTOR];
	int fd;

	assert_non_null(b);
	strcpy(b->dir, "/tmp/skep-ide-XXXXXX");
	assert_non_null(mkdtemp(b->dir));
	snprintf(b->image, sizeof(b->image), "%s/image", b->dir);
	fd = open(b->image, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	for (unsigned int i = 0; i < MIN(sectors, SECTORS); i++) {
		fill(sector, i);
		assert_int_equal(write(fd, sector, SECTOR), SECTOR);
	}
	assert_int_equal(ftruncate(fd, (off_t)(sectors * SECTOR)), 0);
	close(fd);
	rig_init(&b->rig, 0);
	b->base = COMMAND;
	b->control = CONTROL;
	b->irq = IRQ;
	b->random = 1;
	if (options) {
		char text[256];

		snprintf(text, sizeof(text), "path=%s %s", b->image, options);
		b->dev = rig_device(&b->rig, "disk0", "ide", text);
		if (!b->dev)
			fail_msg("%s", b->rig.err.text);
	}
	return b;
}

/* With a device 1 of SECOND sectors. */
static struct bench *make_two(void)
{
	struct bench *b = make(NULL, SECTORS);
	char options[128];
	int fd;

	snprintf(b->second, sizeof(b->second), "%s/second", b->dir);
	fd = open(b->second, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_int_equal(ftruncate(fd, SECOND * SECTOR), 0);
	close(fd);
	snprintf(options, sizeof(options), "path=%s path1=%s", b->image, b->second);
	b->dev = rig_device(&b->rig, "disk0", "ide", options);
	assert_non_null(b->dev);
	return b;
}

static void finish(struct bench *b)
{
	device_destroy(b->dev);
	assert_int_equal(rig_in8(&b->rig, COMMAND + STATUS), 0xff);
	assert_int_equal(rig_in8(&b->rig, CONTROL), 0xff);
	rig_fini(&b->rig);
	unlink(b->image);
	if (*b->second)
		unlink(b->second);
	assert_int_equal(rmdir(b->dir), 0);
	free(b);
}

static int set_up(void **state)
{
	*state = make("", SECTORS);
	return 0;
}

static int set_up_two(void **state)
{
	*state = make_two();
	return 0;
}

static int tear_down(void **state)
{
	finish(*state);
	return 0;
}

/* Registers */

static uint8_t get(struct bench *b, unsigned int reg)
{
	return rig_in8(&b->rig, (uint16_t)(b->base + reg));
}

static void put(struct bench *b, unsigned int reg, unsigned int v)
{
	rig_out8(&b->rig, (uint16_t)(b->base + reg), (uint8_t)v);
}

static uint8_t alt(struct bench *b)
{
	return rig_in8(&b->rig, b->control);
}

static void control(struct bench *b, unsigned int v)
{
	rig_out8(&b->rig, b->control, (uint8_t)v);
}

static uint8_t get_high(struct bench *b, unsigned int reg)
{
	uint8_t v;

	control(b, HOB);
	v = get(b, reg);
	control(b, 0);
	return v;
}

static bool raised(const struct bench *b)
{
	return b->rig.level[b->irq];
}

static void run(struct bench *b)
{
	worker_sim_run(b->rig.machine.control, ENOUGH);
}

/* Lets the host work until the drive is not busy; returns its status, the interrupt acknowledged.
 */
static uint8_t settled(struct bench *b)
{
	run(b);
	assert_false(alt(b) & BSY);
	return get(b, STATUS);
}

static void address(struct bench *b, uint64_t lba, unsigned int count)
{
	put(b, DEVICE, LBA | (lba >> 24 & 0xf));
	put(b, COUNT, count);
	put(b, LOW, (unsigned int)lba);
	put(b, MID, (unsigned int)(lba >> 8));
	put(b, HIGH, (unsigned int)(lba >> 16));
}

static void address_ext(struct bench *b, uint64_t lba, unsigned int count)
{
	put(b, DEVICE, LBA);
	put(b, COUNT, count >> 8);
	put(b, LOW, (unsigned int)(lba >> 24));
	put(b, MID, (unsigned int)(lba >> 32));
	put(b, HIGH, (unsigned int)(lba >> 40));
	put(b, COUNT, count);
	put(b, LOW, (unsigned int)lba);
	put(b, MID, (unsigned int)(lba >> 8));
	put(b, HIGH, (unsigned int)(lba >> 16));
}

static uint64_t address_left(struct bench *b)
{
	return (uint64_t)(get(b, DEVICE) & 0xf) << 24 | (uint64_t)get(b, HIGH) << 16 |
	       (uint64_t)get(b, MID) << 8 | get(b, LOW);
}

static uint64_t address_left_ext(struct bench *b)
{
	return (uint64_t)get_high(b, HIGH) << 40 | (uint64_t)get_high(b, MID) << 32 |
	       (uint64_t)get_high(b, LOW) << 24 | (uint64_t)get(b, HIGH) << 16 |
	       (uint64_t)get(b, MID) << 8 | get(b, LOW);
}

static void read_block(struct bench *b, void *to, unsigned int sectors)
{
	bus_read_string(b->rig.machine.ports, b->base, 2, to, sectors * SECTOR / 2);
}

static void write_block(struct bench *b, const void *from, unsigned int sectors)
{
	bus_write_string(b->rig.machine.ports, b->base, 2, from, sectors * SECTOR / 2);
}

/* A command that moves no data: returns the status, behind exactly one interrupt. */
static uint8_t simple(struct bench *b, unsigned int command)
{
	unsigned int before = b->rig.raised[b->irq];

	put(b, STATUS, command);
	run(b);
	assert_true(raised(b));
	assert_int_equal(b->rig.raised[b->irq], before + 1);
	return settled(b);
}

static void aborts(struct bench *b, unsigned int command)
{
	assert_int_equal(simple(b, command), IDLE | ERR);
	assert_int_equal(get(b, FEATURE), ABRT);
}

/* PIO data-in (9.5): an interrupt in front of each block of @block sectors, none behind the last.
 */
static void reads(struct bench *b, unsigned int command, unsigned int count, unsigned int block,
		  uint64_t first)
{
	unsigned int before = b->rig.raised[b->irq], blocks = 0;
	uint8_t data[BUFFER * SECTOR], want[SECTOR];

	put(b, STATUS, command);
	for (unsigned int done = 0, n; done < count; done += n, blocks++) {
		n = MIN(block, count - done);
		assert_int_equal(settled(b), IDLE | DRQ);
		assert_false(raised(b));
		read_block(b, data, n);
		for (unsigned int i = 0; i < n; i++) {
			fill(want, first + done + i);
			assert_memory_equal(data + (size_t)i * SECTOR, want, SECTOR);
		}
	}
	assert_false(raised(b));
	assert_int_equal(settled(b), IDLE);
	assert_int_equal(b->rig.raised[b->irq], before + blocks);
}

/* PIO data-out (9.6): no interrupt in front of the first block, one behind each. */
static void writes(struct bench *b, unsigned int command, unsigned int count, unsigned int block,
		   uint64_t pattern)
{
	unsigned int before = b->rig.raised[b->irq], blocks = 0;
	uint8_t data[BUFFER * SECTOR];

	put(b, STATUS, command);
	run(b);
	assert_false(raised(b));
	for (unsigned int done = 0, n; done < count; done += n, blocks++) {
		n = MIN(block, count - done);
		assert_int_equal(settled(b), IDLE | DRQ);
		for (unsigned int i = 0; i < n; i++)
			fill(data + (size_t)i * SECTOR, pattern + done + i);
		write_block(b, data, n);
		run(b);
		assert_true(raised(b));
	}
	assert_int_equal(settled(b), IDLE);
	assert_false(raised(b));
	assert_int_equal(b->rig.raised[b->irq], before + blocks);
}

/* The image itself. */
static void image_has(struct bench *b, uint64_t sector, uint64_t pattern)
{
	uint8_t data[SECTOR], want[SECTOR];
	int fd = open(b->image, O_RDONLY | O_CLOEXEC);

	assert_int_equal(pread(fd, data, SECTOR, (off_t)(sector * SECTOR)), SECTOR);
	fill(want, pattern);
	assert_memory_equal(data, want, SECTOR);
	close(fd);
}

static void identify(struct bench *b, uint16_t id[256])
{
	uint8_t data[SECTOR];

	put(b, STATUS, IDENTIFY);
	assert_true(raised(b));
	assert_int_equal(settled(b), IDLE | DRQ);
	read_block(b, data, 1);
	assert_int_equal(settled(b), IDLE);
	for (unsigned int i = 0; i < 256; i++)
		id[i] = load_le16(data + 2 * (size_t)i);
}

static void assert_text(const uint16_t *words, unsigned int n, const char *want)
{
	char text[64] = "", padded[64];

	for (unsigned int i = 0; i < n; i++) {
		text[2 * i] = (char)(words[i] >> 8);
		text[2 * i + 1] = (char)words[i];
	}
	text[2 * n] = '\0';
	snprintf(padded, sizeof(padded), "%-*s", 2 * (int)n, want);
	assert_string_equal(text, padded);
}

static void assert_signature(struct bench *b)
{
	assert_int_equal(get(b, FEATURE), 1);
	assert_int_equal(get(b, COUNT), 1);
	assert_int_equal(get(b, LOW), 1);
	assert_int_equal(get(b, MID), 0);
	assert_int_equal(get(b, HIGH), 0);
	assert_int_equal(get(b, DEVICE), 0);
}

/* 9.1, 9.12 */
static void test_power_on(void **state)
{
	struct bench *b = *state;

	assert_int_equal(alt(b), IDLE);
	assert_signature(b);
	assert_false(raised(b));
	assert_int_equal(get(b, STATUS), IDLE);
	/* Nothing is at the other channel, and nothing at what is the floppy's. */
	assert_int_equal(rig_in8(&b->rig, 0x177), 0xff);
	assert_int_equal(rig_in8(&b->rig, 0x376), 0xff);
	assert_int_equal(rig_in8(&b->rig, 0x3f7), 0xff);
}

/* 8.15 */
static void test_identify(void **state)
{
	struct bench *b = *state;
	uint16_t id[256];
	uint8_t sum = 0;

	identify(b, id);
	assert_int_equal(id[0] & 0x8040, 0x40);
	assert_int_equal(id[1], 4);
	assert_int_equal(id[3], 16);
	assert_int_equal(id[6], 63);
	assert_text(id + 10, 10, "disk0");
	assert_text(id + 27, 20, "skep disk");
	assert_int_equal(id[47], 0x8000 | BUFFER);
	assert_int_equal(id[49] & 0x300, 0x200); /* LBA, no DMA */
	assert_int_equal(id[54], 4);
	assert_int_equal(id[57] | (uint32_t)id[58] << 16, 4 * 16 * 63);
	assert_int_equal(id[59], 0x110);
	assert_int_equal(id[60] | (uint32_t)id[61] << 16, SECTORS);
	assert_int_equal(id[80] & 0x40, 0x40);
	assert_int_equal(id[83] & 0xc400, 0x4400);
	assert_int_equal(id[85] & 0x20, 0x20);
	assert_int_equal(id[100] | (uint32_t)id[101] << 16, SECTORS);
	for (unsigned int i = 0; i < 256; i++)
		sum = (uint8_t)(sum + id[i] + (id[i] >> 8));
	assert_int_equal(sum, 0);
	/* It is no packet device, and there is more that it is not. */
	aborts(b, IDENTIFY_PACKET);
}

static void test_identify_large(void **state)
{
	const uint64_t sectors = (UINT64_C(3) << 40) / SECTOR;
	struct bench *b = make("serial=twentytwentytwenty20 cache=writethrough", sectors);
	uint16_t id[256];

	(void)state;
	identify(b, id);
	assert_int_equal(id[1], 16383);
	assert_text(id + 10, 10, "twentytwentytwenty20");
	assert_int_equal(id[54], 65535);
	assert_int_equal(id[60] | (uint32_t)id[61] << 16, 0x0fffffff);
	assert_int_equal(id[100] | (uint64_t)id[101] << 16 | (uint64_t)id[102] << 32, sectors);
	assert_int_equal(id[85] & 0x20, 0);
	/* Where 28 bits end, and behind that. */
	address_ext(b, sectors - 1, 1);
	assert_int_equal(simple(b, VERIFY_EXT), IDLE);
	assert_int_equal(address_left_ext(b), sectors - 1);
	address_ext(b, sectors - 1, 2);
	assert_int_equal(simple(b, VERIFY_EXT), IDLE | ERR);
	assert_int_equal(get(b, FEATURE), IDNF);
	assert_int_equal(address_left_ext(b), sectors);
	address(b, 0x0ffffffe, 1);
	assert_int_equal(simple(b, VERIFY), IDLE);
	address(b, 0x0ffffffe, 2);
	assert_int_equal(simple(b, VERIFY), IDLE | ERR);
	assert_int_equal(address_left(b), 0x0fffffff);
	finish(b);
}

static void test_read(void **state)
{
	struct bench *b = *state;

	address(b, 0, 1);
	reads(b, READ, 1, 1, 0);
	address(b, 17, 9);
	reads(b, READ, 9, 1, 17);
	assert_int_equal(address_left(b), 25);
	assert_int_equal(get(b, COUNT), 0);
	address(b, SECTORS - 256, 0); /* 256 sectors */
	reads(b, READ + 1, 256, 1, SECTORS - 256);
	address_ext(b, 100, 300);
	reads(b, READ_EXT, 300, 1, 100);
	assert_int_equal(address_left_ext(b), 399);
}

static void test_write(void **state)
{
	struct bench *b = *state;

	address(b, 5, 1);
	writes(b, WRITE, 1, 1, 1000);
	image_has(b, 4, 4);
	image_has(b, 5, 1000);
	image_has(b, 6, 6);
	address(b, 1000, 0);
	writes(b, WRITE + 1, 256, 1, 7000);
	image_has(b, 999, 999);
	for (unsigned int i = 0; i < 256; i++)
		image_has(b, 1000 + i, 7000 + i);
	image_has(b, 1256, 1256);
	address_ext(b, SECTORS - 300, 300);
	writes(b, WRITE_EXT, 300, 1, 9000);
	image_has(b, SECTORS - 1, 9299);
	assert_int_equal(address_left_ext(b), SECTORS - 1);
}

/* 8.30, 8.60, 8.49 */
static void test_multiple(void **state)
{
	struct bench *b = *state;
	uint16_t id[256];

	/* What it is from the beginning (word 59). */
	address(b, 3, 40);
	reads(b, READ_MULTIPLE, 40, 16, 3);
	for (unsigned int n = 1; n <= BUFFER; n *= 2) {
		put(b, COUNT, n);
		assert_int_equal(simple(b, SET_MULTIPLE), IDLE);
		identify(b, id);
		assert_int_equal(id[59], 0x100 | n);
		address(b, n, 201);
		reads(b, READ_MULTIPLE, 201, n, n);
		address_ext(b, 2 * n, 300);
		reads(b, READ_MULTIPLE_EXT, 300, n, 2 * n);
		address(b, 2000, 77);
		writes(b, WRITE_MULTIPLE, 77, n, n);
		address_ext(b, 2077, 130);
		writes(b, WRITE_MULTIPLE_EXT, 130, n, n + 77);
		image_has(b, 1999, 1999);
		for (unsigned int i = 0; i < 207; i++)
			image_has(b, 2000 + i, n + i);
		image_has(b, 2207, 2207);
	}
	put(b, COUNT, 3);
	aborts(b, SET_MULTIPLE);
	put(b, COUNT, 255);
	aborts(b, SET_MULTIPLE);
	put(b, COUNT, 0);
	assert_int_equal(simple(b, SET_MULTIPLE), IDLE);
	address(b, 0, 1);
	aborts(b, READ_MULTIPLE);
	aborts(b, WRITE_MULTIPLE);
	identify(b, id);
	assert_int_equal(id[59], 0);
}

static void chs(struct bench *b, unsigned int cylinder, unsigned int head, unsigned int sector,
		unsigned int count)
{
	put(b, DEVICE, 0xa0 | head);
	put(b, COUNT, count);
	put(b, LOW, sector);
	put(b, MID, cylinder);
	put(b, HIGH, cylinder >> 8);
}

static void assert_chs(struct bench *b, unsigned int cylinder, unsigned int head,
		       unsigned int sector)
{
	assert_int_equal(get(b, MID) | get(b, HIGH) << 8, cylinder);
	assert_int_equal(get(b, DEVICE), 0xa0 | head);
	assert_int_equal(get(b, LOW), sector);
}

static void not_found(struct bench *b, unsigned int command)
{
	assert_int_equal(simple(b, command), IDLE | ERR);
	assert_int_equal(get(b, FEATURE), IDNF);
}

/* 6.2.2, and ATA/ATAPI-5, section 8.16 */
static void test_chs(void **state)
{
	struct bench *b = *state;
	uint16_t id[256];

	chs(b, 2, 3, 4, 70);
	reads(b, READ, 70, 1, (2 * 16 + 3) * 63 + 3);
	assert_chs(b, 2, 4, 10);
	chs(b, 3, 15, 63, 1);
	reads(b, READ, 1, 1, 4 * 16 * 63 - 1);
	chs(b, 3, 15, 63, 2);
	not_found(b, READ);
	assert_chs(b, 4, 0, 1);
	chs(b, 0, 0, 0, 1);
	not_found(b, READ);
	chs(b, 0, 0, 64, 1);
	not_found(b, READ);
	chs(b, 4, 0, 1, 1);
	not_found(b, SEEK);
	chs(b, 1, 1, 1, 1);
	assert_int_equal(simple(b, SEEK), IDLE);
	assert_int_equal(simple(b, 0x10), IDLE); /* RECALIBRATE */

	chs(b, 0, 3, 0, 32);
	assert_int_equal(simple(b, SET_GEOMETRY), IDLE);
	identify(b, id);
	assert_int_equal(id[54], SECTORS / (4 * 32));
	assert_int_equal(id[55], 4);
	assert_int_equal(id[56], 32);
	assert_int_equal(id[1], 4); /* the default stays what it is */
	chs(b, 31, 3, 32, 1);
	reads(b, READ, 1, 1, SECTORS - 1);
	chs(b, 0, 4, 1, 1);
	not_found(b, READ);
	chs(b, 0, 3, 0, 0);
	aborts(b, SET_GEOMETRY);
	/* 48-bit commands have no such addresses. */
	aborts(b, READ_EXT);
}

static void test_past_the_end(void **state)
{
	struct bench *b = *state;

	address(b, SECTORS, 1);
	not_found(b, READ);
	assert_int_equal(address_left(b), SECTORS);
	address(b, SECTORS - 2, 3);
	not_found(b, READ);
	assert_int_equal(address_left(b), SECTORS);
	address(b, SECTORS - 255, 0);
	not_found(b, WRITE);
	address(b, 0x0fffffff, 1);
	not_found(b, VERIFY);
	assert_int_equal(address_left(b), 0x0fffffff);
	address_ext(b, SECTORS - 1, 0); /* 65,536 */
	not_found(b, READ_EXT);
	assert_int_equal(address_left_ext(b), SECTORS);
	address_ext(b, UINT64_C(0xffffffffffff), 1);
	not_found(b, WRITE_EXT);
	assert_int_equal(address_left_ext(b), UINT64_C(0xffffffffffff));
	image_has(b, SECTORS - 1, SECTORS - 1);
}

/* 65,536 sectors by one command. */
static void test_count_0_ext(void **state)
{
	struct bench *b = make("", 70000);
	uint64_t before = asked;

	(void)state;
	address_ext(b, 70000 - 65536, 0);
	assert_int_equal(simple(b, VERIFY_EXT), IDLE);
	assert_int_equal(address_left_ext(b), 69999);
	assert_int_equal(asked - before, 65536);
	address_ext(b, 70000 - 65535, 0);
	assert_int_equal(simple(b, VERIFY_EXT), IDLE | ERR);
	assert_int_equal(address_left_ext(b), 70000);
	finish(b);
}

static void test_verify_and_flush(void **state)
{
	struct bench *b = *state;
	unsigned int before;

	address(b, 1, 200);
	assert_int_equal(simple(b, VERIFY), IDLE);
	assert_int_equal(address_left(b), 200);
	before = syncs;
	assert_int_equal(simple(b, FLUSH), IDLE);
	assert_int_equal(syncs, before + 1);
	assert_int_equal(simple(b, FLUSH_EXT), IDLE);
	assert_int_equal(syncs, before + 2);
}

/* 8.46 */
static void test_features(void **state)
{
	struct bench *b = *state;
	unsigned int before = syncs;
	uint16_t id[256];

	address(b, 0, 1);
	writes(b, WRITE, 1, 1, 1);
	assert_int_equal(syncs, before);
	put(b, FEATURE, 0x82);
	assert_int_equal(simple(b, SET_FEATURES), IDLE);
	identify(b, id);
	assert_int_equal(id[85] & 0x20, 0);
	address(b, 0, 1);
	writes(b, WRITE, 1, 1, 2);
	assert_int_equal(syncs, before + 1);
	put(b, FEATURE, 0x02);
	assert_int_equal(simple(b, SET_FEATURES), IDLE);
	writes(b, WRITE, 256, 1, 2); /* the count was left at 0 */
	assert_int_equal(syncs, before + 1);

	put(b, FEATURE, 0x03);
	for (unsigned int mode = 0; mode < 256; mode++) {
		put(b, COUNT, mode);
		if (mode < 2 || (mode >= 8 && mode <= 12))
			assert_int_equal(simple(b, SET_FEATURES), IDLE);
		else
			aborts(b, SET_FEATURES);
	}
	put(b, FEATURE, 0x5d);
	aborts(b, SET_FEATURES);
}

static void soft_reset(struct bench *b)
{
	control(b, SRST);
	assert_int_equal(alt(b), BSY);
	control(b, 0);
	run(b);
	assert_false(raised(b));
	assert_int_equal(alt(b), IDLE);
	assert_signature(b);
}

/* 9.2; settings go by 8.46. */
static void test_soft_reset(void **state)
{
	struct bench *b = *state;
	uint16_t id[256];

	put(b, COUNT, 64);
	assert_int_equal(simple(b, SET_MULTIPLE), IDLE);
	address(b, 7, 2);
	put(b, STATUS, READ);
	assert_int_equal(settled(b), IDLE | DRQ);
	soft_reset(b);
	identify(b, id);
	assert_int_equal(id[59], 0x110);
	put(b, COUNT, 64);
	assert_int_equal(simple(b, SET_MULTIPLE), IDLE);
	put(b, FEATURE, 0x66);
	assert_int_equal(simple(b, SET_FEATURES), IDLE);
	soft_reset(b);
	identify(b, id);
	assert_int_equal(id[59], 0x140);
	/* Registers take nothing while it lasts. */
	control(b, SRST);
	put(b, COUNT, 9);
	put(b, STATUS, IDENTIFY);
	assert_int_equal(alt(b), BSY);
	control(b, 0);
	assert_int_equal(get(b, COUNT), 1);
	/* An interrupt does not outlast it. */
	put(b, STATUS, CHECK_POWER);
	assert_true(raised(b));
	soft_reset(b);
	assert_int_equal(simple(b, DIAGNOSE), IDLE);
	assert_signature(b);
	device_reset(b->dev);
	identify(b, id);
	assert_int_equal(id[59], 0x110);
}

/* 7.3, 7.8, 7.15, 5.2.9 */
static void test_interrupts(void **state)
{
	struct bench *b = *state;

	put(b, STATUS, CHECK_POWER);
	assert_true(raised(b));
	assert_int_equal(alt(b), IDLE);
	assert_true(raised(b));
	assert_int_equal(get(b, STATUS), IDLE);
	assert_false(raised(b));
	assert_int_equal(get(b, COUNT), 0xff);

	control(b, NIEN);
	put(b, STATUS, CHECK_POWER);
	assert_false(raised(b));
	control(b, 0);
	assert_true(raised(b));
	control(b, NIEN);
	assert_false(raised(b));
	get(b, STATUS);
	control(b, 0);
	assert_false(raised(b));

	/* A new command acknowledges what the one before left. */
	put(b, STATUS, CHECK_POWER);
	address(b, 0, 1);
	put(b, STATUS, WRITE);
	assert_false(raised(b));
	soft_reset(b);

	/* The device must be selected. */
	put(b, STATUS, CHECK_POWER);
	put(b, DEVICE, DEV1);
	assert_false(raised(b));
	assert_int_equal(get(b, STATUS), 0);
	put(b, DEVICE, 0);
	assert_true(raised(b));
	get(b, STATUS);
	assert_false(raised(b));
}

/* 9.16.1 */
static void test_device_1(void **state)
{
	struct bench *b = *state;
	unsigned int before = b->rig.raised[IRQ];

	put(b, COUNT, 0x12);
	put(b, DEVICE, 0xa0 | DEV1);
	assert_int_equal(get(b, STATUS), 0);
	assert_int_equal(alt(b), 0);
	assert_int_equal(get(b, DEVICE), 0xa0 | DEV1);
	assert_int_equal(get(b, COUNT), 0x12);
	put(b, COUNT, 0x34);
	put(b, STATUS, IDENTIFY);
	put(b, STATUS, READ);
	run(b);
	assert_int_equal(get(b, STATUS), 0);
	assert_int_equal(b->rig.raised[IRQ], before);
	put(b, DEVICE, 0xa0);
	assert_int_equal(alt(b), IDLE);
	assert_int_equal(get(b, COUNT), 0x34);
	put(b, DEVICE, 0xa0 | DEV1);
	assert_int_equal(simple(b, DIAGNOSE), IDLE);
	assert_signature(b);
}

/* 6.20 */
static void test_hob(void **state)
{
	struct bench *b = *state;

	for (unsigned int reg = COUNT; reg <= HIGH; reg++) {
		put(b, reg, 0x10 + reg);
		put(b, reg, 0x20 + reg);
	}
	control(b, HOB);
	for (unsigned int reg = COUNT; reg <= HIGH; reg++)
		assert_int_equal(get(b, reg), 0x10 + reg);
	put(b, LOW, 0x99);
	/* Which has cleared it. */
	assert_int_equal(get(b, LOW), 0x99);
	assert_int_equal(get(b, COUNT), 0x20 + COUNT);
}

static void test_unknown_commands(void **state)
{
	static const uint8_t known[] = {
		READ,         READ + 1,      READ_EXT,       READ_MULTIPLE_EXT,
		WRITE,        WRITE + 1,     WRITE_EXT,      VERIFY,
		VERIFY + 1,   VERIFY_EXT,    SEEK,           DIAGNOSE,
		SET_GEOMETRY, READ_MULTIPLE, WRITE_MULTIPLE, SET_MULTIPLE,
		0xe0,         0xe1,          0xe2,           0xe3,
		CHECK_POWER,  SLEEP,         FLUSH,          FLUSH_EXT,
		IDENTIFY,     SET_FEATURES,  0x39,
	};
	struct bench *b = *state;

	for (unsigned int c = 0; c < 256; c++)
		if ((c & 0xf0) != 0x10 && !memchr(known, (int)c, sizeof(known)))
			aborts(b, c);
	/* The error goes with the next command. */
	assert_int_equal(simple(b, CHECK_POWER), IDLE);
	assert_int_equal(get(b, FEATURE), 0);
}

static void test_power(void **state)
{
	struct bench *b = *state;

	assert_int_equal(simple(b, 0xe0), IDLE);
	assert_int_equal(simple(b, CHECK_POWER), IDLE);
	assert_int_equal(get(b, COUNT), 0);
	address(b, 0, 1);
	reads(b, READ, 1, 1, 0);
	assert_int_equal(simple(b, CHECK_POWER), IDLE);
	assert_int_equal(get(b, COUNT), 0xff);
	assert_int_equal(simple(b, 0xe2), IDLE);
	assert_int_equal(simple(b, 0xe1), IDLE);
	assert_int_equal(simple(b, CHECK_POWER), IDLE);
	assert_int_equal(get(b, COUNT), 0xff);
	/* 8.50: nothing but a reset wakes it. */
	assert_int_equal(simple(b, SLEEP), IDLE);
	put(b, STATUS, IDENTIFY);
	run(b);
	assert_int_equal(alt(b), IDLE);
	assert_false(raised(b));
	soft_reset(b);
	assert_int_equal(simple(b, CHECK_POWER), IDLE);
	assert_int_equal(get(b, COUNT), 0xff);
}

/* Bytes lose their other half, double words are two, and elsewhere each byte is a register. */
static void test_widths(void **state)
{
	struct bench *b = *state;
	struct bus *ports = b->rig.machine.ports;
	uint8_t want[SECTOR];

	fill(want, 9);
	address(b, 9, 1);
	put(b, STATUS, READ);
	settled(b);
	assert_int_equal(bus_read(ports, COMMAND, 4), load_le32(want));
	assert_int_equal(bus_read(ports, COMMAND, 1), want[4]);
	assert_int_equal(bus_read(ports, COMMAND, 2), load_le16(want + 6));
	for (unsigned int i = 8; i < SECTOR; i += 4)
		assert_int_equal(bus_read(ports, COMMAND, 4), load_le32(want + i));
	assert_int_equal(alt(b), IDLE);
	assert_int_equal(bus_read(ports, COMMAND, 2), 0xffff);
	bus_write(ports, COMMAND, 2, 0x1234);

	address(b, 9, 1);
	put(b, STATUS, WRITE);
	fill(want, 77);
	for (unsigned int i = 0; i < SECTOR; i += 4)
		bus_write(ports, COMMAND, 4, load_le32(want + i));
	assert_int_equal(settled(b), IDLE);
	image_has(b, 9, 77);

	bus_write(ports, COMMAND + COUNT, 4, 0x04030201);
	assert_int_equal(bus_read(ports, COMMAND + COUNT, 4), 0x04030201);
	assert_int_equal(get(b, HIGH), 4);
	assert_int_equal(bus_read(ports, COMMAND + DEVICE, 2), IDLE << 8 | LBA);
}

static void test_second_channel(void **state)
{
	struct bench *b = *state;
	struct device *second;
	char options[128], other[64];
	struct err *err = &b->rig.err;

	snprintf(other, sizeof(other), "%s/other", b->dir);
	assert_int_equal(symlink(b->image, other), 0);
	snprintf(options, sizeof(options), "path=%s ro=on", other);
	assert_null(rig_device(&b->rig, "same", "ide", options));
	assert_non_null(strstr(err->text, "in use"));
	unlink(other);
	assert_int_equal(close(open(other, O_CREAT | O_WRONLY, 0600)), 0);
	assert_int_equal(truncate(other, 8 * SECTOR), 0);
	assert_null(rig_device(&b->rig, "same", "ide", options));
	assert_non_null(strstr(err->text, "overlaps"));
	snprintf(options, sizeof(options), "path=%s channel=1", other);
	second = rig_device(&b->rig, "second", "ide", options);
	assert_non_null(second);
	b->base = 0x170;
	b->control = 0x376;
	b->irq = 15;
	address(b, 3, 5);
	writes(b, WRITE, 5, 1, 3);
	address(b, 3, 5);
	reads(b, READ, 5, 1, 3);
	device_destroy(second);
	unlink(other);
}

/* Device 1: what it has of its own, and that only the selected one is heard. */
static void test_two_devices(void **state)
{
	struct bench *b = make_two();
	uint16_t id[256];
	struct stat st;

	(void)state;
	put(b, DEVICE, DEV1);
	assert_int_equal(alt(b), IDLE);
	identify(b, id);
	assert_text(id + 10, 10, "disk0-1");
	assert_int_equal(id[60], SECOND);
	put(b, COUNT, 64);
	assert_int_equal(simple(b, SET_MULTIPLE), IDLE);
	put(b, DEVICE, 0);
	identify(b, id);
	assert_text(id + 10, 10, "disk0");
	assert_int_equal(id[60], SECTORS);
	assert_int_equal(id[59], 0x110);

	address(b, 90, 10);
	put(b, DEVICE, LBA | DEV1);
	writes(b, WRITE, 10, 1, 5);
	address(b, 90, 10);
	put(b, DEVICE, LBA | DEV1);
	reads(b, READ, 10, 1, 5);
	image_has(b, 90, 90);
	address(b, 90, 10);
	reads(b, READ, 10, 1, 90);

	/* Its end is its own, and so are its error and its interrupt. */
	address(b, 91, 10);
	put(b, DEVICE, LBA | DEV1);
	put(b, STATUS, READ);
	assert_true(raised(b));
	put(b, DEVICE, LBA);
	assert_false(raised(b));
	assert_int_equal(get(b, STATUS), IDLE);
	put(b, DEVICE, LBA | DEV1);
	assert_true(raised(b));
	assert_int_equal(get(b, STATUS), IDLE | ERR);
	assert_int_equal(get(b, FEATURE), IDNF);
	assert_false(raised(b));
	/* While one works, the other cannot be selected. */
	address(b, 0, 1);
	put(b, STATUS, READ);
	put(b, DEVICE, LBA | DEV1);
	assert_int_equal(settled(b), IDLE | DRQ);
	assert_int_equal(get(b, DEVICE), LBA);
	soft_reset(b);
	put(b, DEVICE, DEV1);
	assert_int_equal(simple(b, FLUSH), IDLE);
	assert_int_equal(simple(b, DIAGNOSE), IDLE);
	assert_signature(b);
	assert_int_equal(stat(b->second, &st), 0);
	assert_int_equal(st.st_size, SECOND * SECTOR);
	finish(b);
}

static void test_options(void **state)
{
	struct bench *b = make(NULL, SECTORS);
	char options[192];

	(void)state;
	assert_null(rig_device(&b->rig, "a", "ide", ""));
	assert_non_null(strstr(b->rig.err.text, "needs an image"));
	snprintf(options, sizeof(options), "path=%s channel=2", b->image);
	assert_null(rig_device(&b->rig, "b", "ide", options));
	snprintf(options, sizeof(options), "path=%s block-size=4096", b->image);
	assert_null(rig_device(&b->rig, "c", "ide", options));
	assert_non_null(strstr(b->rig.err.text, "sectors of 512 bytes"));
	snprintf(options, sizeof(options), "path=%s serial=123456789012345678901", b->image);
	assert_null(rig_device(&b->rig, "d", "ide", options));
	assert_non_null(strstr(b->rig.err.text, "longer than 20 bytes"));
	finish(b);
}

static void test_read_only(void **state)
{
	struct bench *b = make("ro=on", SECTORS);

	(void)state;
	address(b, 1, 1);
	aborts(b, WRITE);
	aborts(b, WRITE_MULTIPLE);
	address_ext(b, 1, 1);
	aborts(b, WRITE_EXT);
	address(b, 1, 1);
	reads(b, READ, 1, 1, 1);
	assert_int_equal(simple(b, FLUSH), IDLE);
	finish(b);
}

/* While the host works */

static void test_busy(void **state)
{
	struct bench *b = *state;

	address(b, 1, 1);
	put(b, STATUS, READ);
	assert_int_equal(alt(b), BSY);
	assert_int_equal(get(b, STATUS), BSY);
	assert_false(raised(b));
	/* No register takes anything, no command is taken, there is no data. */
	address(b, 99, 9);
	put(b, STATUS, DIAGNOSE);
	put(b, STATUS, WRITE);
	assert_int_equal(bus_read(b->rig.machine.ports, COMMAND, 2), 0xffff);
	bus_write(b->rig.machine.ports, COMMAND, 2, 0);
	assert_int_equal(alt(b), BSY);
	run(b);
	assert_true(raised(b));
	assert_int_equal(get(b, STATUS), IDLE | DRQ);
	/* Nor while there is data. */
	put(b, STATUS, READ);
	address(b, 99, 9);
	bus_write(b->rig.machine.ports, COMMAND, 2, 0);
	assert_int_equal(address_left(b), 1);
	for (unsigned int i = 0; i < SECTOR; i++)
		bus_read(b->rig.machine.ports, COMMAND, 2);
	assert_int_equal(settled(b), IDLE);
	assert_int_equal(address_left(b), 1);
}

static void still_works(struct bench *b)
{
	address(b, 200, 200);
	reads(b, READ, 200, 1, 200);
}

static void test_soft_reset_under_way(void **state)
{
	struct bench *b = *state;

	/* It lasts until the host is done with what it has. */
	address(b, 1, 200);
	put(b, STATUS, READ);
	worker_sim_step(b->rig.machine.control);
	control(b, SRST);
	control(b, 0);
	assert_int_equal(alt(b), BSY);
	put(b, STATUS, IDENTIFY);
	run(b);
	assert_int_equal(alt(b), IDLE);
	assert_signature(b);
	assert_false(raised(b));
	still_works(b);

	address(b, 1, 1);
	put(b, STATUS, VERIFY);
	control(b, SRST);
	run(b);
	assert_int_equal(alt(b), BSY);
	control(b, 0);
	assert_int_equal(alt(b), IDLE);
	assert_false(raised(b));
	still_works(b);
}

static void test_reset_under_way(void **state)
{
	static const uint8_t commands[] = {READ, VERIFY, WRITE, FLUSH};
	struct bench *b = *state;
	uint8_t data[SECTOR] = {0};

	for (unsigned int c = 0; c < ARRAY_SIZE(commands); c++)
		for (unsigned int steps = 0; steps < 8; steps++) {
			address(b, 3, 1);
			put(b, STATUS, commands[c]);
			if (commands[c] == WRITE)
				write_block(b, data, 1);
			worker_sim_run(b->rig.machine.control, steps);
			device_reset(b->dev);
			assert_int_equal(alt(b), IDLE);
			assert_signature(b);
			assert_false(raised(b));
			run(b);
			assert_int_equal(alt(b), IDLE);
			assert_false(raised(b));
			still_works(b);
		}
	/* And taken apart. */
	address(b, 3, 1);
	put(b, STATUS, READ);
	worker_sim_step(b->rig.machine.control);
}

static void test_pause(void **state)
{
	const char *const options[] = {"", "iops=1 burst=0"};
	uint8_t data[SECTOR], want[SECTOR];

	(void)state;
	for (unsigned int o = 0; o < ARRAY_SIZE(options); o++)
		for (unsigned int steps = 0; steps < 8; steps++) {
			struct bench *b = make(options[o], SECTORS);
			struct worker *w = b->rig.machine.control;
			bool limited = o;

			address(b, 0, 1);
			put(b, STATUS, VERIFY);
			run(b);
			address(b, 6, 1);
			put(b, STATUS, READ);
			worker_sim_run(w, steps);
			device_pause(b->dev);
			device_pause(b->dev);
			/* What was begun is there; what was not waits. */
			assert_int_equal(alt(b) == BSY, limited || !steps);
			run(b);
			worker_sim_advance(w, clock_now() + 10 * NS_PER_S);
			assert_int_equal(worker_sim_run(w, ENOUGH), 0);
			assert_int_equal(alt(b) == BSY, limited || !steps);
			device_resume(b->dev);
			device_resume(b->dev);
			run(b);
			worker_sim_advance(w, clock_now() + 100 * NS_PER_S);
			assert_int_equal(settled(b), IDLE | DRQ);
			read_block(b, data, 1);
			fill(want, 6);
			assert_memory_equal(data, want, SECTOR);
			finish(b);
		}
}

/* A command is reset after so many @steps of the host, and the machine paused at once. */
static void pause_behind_reset(struct bench *b, unsigned int steps)
{
	address(b, 1, 200);
	put(b, STATUS, VERIFY);
	worker_sim_run(b->rig.machine.control, steps);
	control(b, SRST);
	control(b, 0);
	device_pause(b->dev);
}

/* A pause in the middle of a software reset, and of a command of many pieces. */
static void test_pause_in_between(void **state)
{
	struct bench *b = *state;

	for (unsigned int steps = 0; steps < 6; steps++) {
		pause_behind_reset(b, steps);
		device_resume(b->dev);
		run(b);
		assert_int_equal(alt(b), IDLE);
		assert_signature(b);
		assert_false(raised(b));
	}
	for (unsigned int steps = 0; steps < 20; steps++) {
		address_ext(b, 0, 1000);
		put(b, STATUS, VERIFY_EXT);
		worker_sim_run(b->rig.machine.control, steps);
		device_pause(b->dev);
		run(b);
		device_resume(b->dev);
		assert_int_equal(settled(b), IDLE);
		assert_int_equal(address_left_ext(b), 999);
	}
	still_works(b);
}

static void test_limits(void **state)
{
	struct bench *b = make("iops=10 burst=0", SECTORS);
	struct worker *w = b->rig.machine.control;

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		address(b, i, 1);
		put(b, STATUS, VERIFY);
		run(b);
		assert_int_equal(alt(b) == BSY, i);
		worker_sim_advance(w, i ? NS_PER_S : clock_now());
		assert_int_equal(settled(b), IDLE);
	}
	finish(b);
}

/* A host that fails */

static void fails_at(struct bench *b, unsigned int command, uint8_t error, uint64_t lba)
{
	put(b, STATUS, command);
	run(b);
	assert_true(raised(b));
	assert_int_equal(settled(b), IDLE | ERR);
	assert_int_equal(get(b, FEATURE), error);
	assert_int_equal(address_left(b), lba);
}

static void test_bad_sector(void **state)
{
	struct bench *b = *state;
	uint8_t data[BUFFER * SECTOR] = {0};
	uint64_t before;

	bad = 300;
	address(b, 300, 1);
	fails_at(b, READ, UNC, 300);
	before = asked;
	address(b, 190, 0);
	put(b, STATUS, READ);
	for (unsigned int i = 0; i < 256 && settled(b) & DRQ; i++)
		read_block(b, data, 1);
	assert_int_equal(alt(b), IDLE | ERR);
	assert_int_equal(get(b, FEATURE), UNC);
	assert_int_equal(address_left(b), 300);
	assert_int_equal(get(b, COUNT), 256 - 110);
	assert_in_range(asked - before, 128, 256);
	address(b, 290, 20);
	fails_at(b, READ_MULTIPLE, UNC, 300);
	address(b, 299, 3);
	fails_at(b, VERIFY, UNC, 300);
	address(b, 301, 3);
	assert_int_equal(simple(b, VERIFY), IDLE);

	put(b, COUNT, BUFFER);
	assert_int_equal(simple(b, SET_MULTIPLE), IDLE);
	address(b, 250, BUFFER);
	put(b, STATUS, WRITE_MULTIPLE);
	write_block(b, data, BUFFER);
	assert_int_equal(settled(b), IDLE | ERR);
	assert_int_equal(get(b, FEATURE), ABRT);
	assert_int_equal(address_left(b), 300);
	bad = -1;
	image_has(b, 249, 249);
	image_has(b, 301, 301);
	address(b, 300, 20);
	reads(b, READ, 20, 1, 300);
}

static void test_flush_fails(void **state)
{
	struct bench *b = *state;

	worker_sim_fail(b->rig.machine.control, 1, EIO);
	aborts(b, FLUSH);
	worker_sim_fail(b->rig.machine.control, 0, 0);
	/* The disk keeps to that: what was written may be lost. */
	aborts(b, FLUSH_EXT);
}

/* Transfers cut short, and failures that do not last: each sector has a second try. */
static void test_unreliable_host(void **state)
{
	struct bench *b = *state;
	struct worker *w = b->rig.machine.control;
	unsigned int failed = 0;

	worker_sim_shorten(w, 2);
	for (unsigned int i = 0; i < 10; i++) {
		address_ext(b, 1000 + i, 300);
		writes(b, WRITE_EXT, 300, 1, i);
		address_ext(b, 1000 + i, 300);
		reads(b, READ_EXT, 300, 1, i);
	}
	worker_sim_fail(w, 50, EIO);
	for (unsigned int i = 0; i < 100; i++) {
		address(b, 3000, 100);
		put(b, STATUS, VERIFY);
		failed += settled(b) & ERR;
		assert_in_range(address_left(b), 3000, 3099);
	}
	assert_in_range(failed, 1, 99);
	worker_sim_fail(w, 0, 0);
	worker_sim_shorten(w, 0);
	still_works(b);
}

/* State */

static void *saved(struct bench *b, size_t *len)
{
	const struct state_table *t = b->dev->class->state;
	void *buf = malloc(state_saved_size(t));

	*len = state_saved_size(t);
	assert_non_null(buf);
	assert_int_equal(state_save(t, device_state(b->dev), buf, *len), *len);
	return buf;
}

static int load(struct bench *b, const void *buf, size_t len)
{
	const struct device_class *class = b->dev->class;
	int ret;

	device_lock(b->dev);
	ret = state_load(class->state, device_state(b->dev), buf, len, &b->rig.err);
	if (!ret)
		ret = class->loaded(b->dev, &b->rig.err);
	device_unlock(b->dev);
	return ret;
}

/* A reset that waited for the host when the machine was paused is over behind the pause. */
static void test_save_and_load_paused(void **state)
{
	struct bench *b = *state;

	for (unsigned int steps = 0; steps < 6; steps++) {
		size_t len, again_len;
		void *buf, *again;

		pause_behind_reset(b, steps);
		buf = saved(b, &len);
		device_reset(b->dev);
		assert_int_equal(load(b, buf, len), 0);
		again = saved(b, &again_len);
		assert_memory_equal(again, buf, len);
		device_resume(b->dev);
		run(b);
		assert_signature(b);
		free(again);
		free(buf);
	}
	still_works(b);
}

/* In the midst of a block, of a command, and of what the host does. */
static void test_save_and_load(void **state)
{
	struct bench *b = *state;
	struct bus *ports = b->rig.machine.ports;
	uint8_t data[SECTOR], want[SECTOR];
	size_t len;
	void *buf;

	for (unsigned int at = 0; at < SECTOR; at += 100) {
		address(b, 10, 3);
		put(b, STATUS, READ);
		settled(b);
		bus_read_string(ports, COMMAND, 2, data, at / 2);
		buf = saved(b, &len);
		device_reset(b->dev);
		assert_int_equal(load(b, buf, len), 0);
		free(buf);
		bus_read_string(ports, COMMAND, 2, data + at, (SECTOR - at) / 2);
		fill(want, 10);
		assert_memory_equal(data, want, SECTOR);
		assert_true(raised(b));
		assert_int_equal(settled(b), IDLE | DRQ);
		soft_reset(b);

		fill(data, 2000 + at);
		address(b, 20, 1);
		put(b, STATUS, WRITE);
		bus_write_string(ports, COMMAND, 2, data, at / 2);
		buf = saved(b, &len);
		device_reset(b->dev);
		assert_int_equal(load(b, buf, len), 0);
		free(buf);
		bus_write_string(ports, COMMAND, 2, data + at, (SECTOR - at) / 2);
		buf = saved(b, &len);
		device_reset(b->dev);
		run(b);
		assert_int_equal(load(b, buf, len), 0);
		free(buf);
		assert_int_equal(alt(b), BSY);
		assert_int_equal(settled(b), IDLE);
		image_has(b, 20, 2000 + at);
	}
}

static uint64_t draw(struct bench *b, uint64_t below)
{
	b->random ^= b->random << 13;
	b->random ^= b->random >> 7;
	b->random ^= b->random << 17;
	return b->random % below;
}

/* Whatever a guest does, the host's work for it ends, and a reset gets the drive back. */
static void poke(struct bench *b)
{
	static const uint8_t commands[] = {
		READ,         READ_EXT,  READ_MULTIPLE, READ_MULTIPLE_EXT,  WRITE,
		WRITE_EXT,    VERIFY,    VERIFY_EXT,    WRITE_MULTIPLE_EXT, WRITE_MULTIPLE,
		SET_MULTIPLE, IDENTIFY,  SET_GEOMETRY,  DIAGNOSE,           SEEK,
		SET_FEATURES, FLUSH_EXT,
	};
	struct bus *ports = b->rig.machine.ports;
	uint8_t block[4 * SECTOR];
	unsigned int size = 1U << draw(b, 4), reg = (unsigned int)draw(b, 9);

	memset(block, (int)draw(b, 256), sizeof(block));
	switch (draw(b, 8)) {
	case 0:
		bus_write(ports, reg < 8 ? b->base + reg : b->control, size, draw(b, UINT64_MAX));
		break;
	case 1:
		bus_read(ports, reg < 8 ? b->base + reg : b->control, size);
		break;
	case 2:
		bus_write_string(ports, b->base, size, block, (uint32_t)draw(b, sizeof(block) / 8));
		break;
	case 3:
		bus_read_string(ports, b->base, size, block, (uint32_t)draw(b, sizeof(block) / 8));
		break;
	case 4:
		if (draw(b, 2))
			address_ext(b, draw(b, SECTORS + 100), (unsigned int)draw(b, 1000));
		else
			address(b, draw(b, SECTORS + 100), (unsigned int)draw(b, 256));
		break;
	case 5:
		put(b, STATUS, commands[draw(b, sizeof(commands))]);
		break;
	case 6:
		worker_sim_run(b->rig.machine.control, (unsigned int)draw(b, 30));
		break;
	default:
		control(b,
			draw(b, 10) ? NIEN * (unsigned int)draw(b, 2) : (unsigned int)draw(b, 256));
		break;
	}
}

static void comes_back(struct bench *b)
{
	control(b, 0);
	control(b, SRST);
	control(b, 0);
	worker_sim_run(b->rig.machine.control, ENOUGH);
	assert_int_equal(alt(b), IDLE);
	assert_signature(b);
}

static void test_hostile_guest(void **state)
{
	struct bench *b = *state;

	worker_sim_shorten(b->rig.machine.control, 10);
	for (unsigned int seed = 1; seed <= 100; seed++) {
		b->random = seed * UINT64_C(0x9e3779b97f4a7c15);
		worker_sim_fail(b->rig.machine.control, seed % 3 ? 0 : 20, EIO);
		for (unsigned int i = 0; i < 300; i++)
			poke(b);
		if (seed % 5 == 0) {
			device_pause(b->dev);
			device_resume(b->dev);
		}
		if (seed % 7 == 0)
			device_reset(b->dev);
		comes_back(b);
	}
	worker_sim_fail(b->rig.machine.control, 0, 0);
	device_reset(b->dev);
	address(b, 77, 1);
	writes(b, WRITE, 1, 1, 5);
	address(b, 77, 1);
	reads(b, READ, 1, 1, 5);
}

/* What is loaded is a state that can be, or refused; and from there the same holds. */
static void test_hostile_state(void **state)
{
	struct bench *b = *state;
	const struct device_class *class = b->dev->class;
	unsigned int taken = 0;

	for (uint64_t seed = 1; seed <= 600; seed++) {
		b->random = seed;
		device_reset(b->dev);
		address_ext(b, draw(b, SECTORS - 600), 300 + (unsigned int)draw(b, 300));
		put(b, STATUS,
		    seed % 4 == 0   ? WRITE_EXT
		    : seed % 4 == 1 ? READ_EXT
		    : seed % 4 == 2 ? READ_MULTIPLE_EXT
				    : VERIFY_EXT);
		worker_sim_run(b->rig.machine.control, (unsigned int)draw(b, 10));
		device_lock(b->dev);
		for (unsigned int i = 0; i < 1 + seed % 3; i++)
			state_mutate(class->state, device_state(b->dev), seed * 5 + i);
		if (class->loaded(b->dev, &b->rig.err)) {
			device_unlock(b->dev);
			continue;
		}
		device_unlock(b->dev);
		taken++;
		for (unsigned int i = 0; i < 30; i++)
			poke(b);
		comes_back(b);
	}
	assert_in_range(taken, 60, 599);
	device_reset(b->dev);
}

/* Threads: control and the worker have theirs, this one is the vCPU. */

static void pause_and_resume(void *arg)
{
	device_pause(arg);
	device_resume(arg);
}

static uint8_t awaited(struct bench *b)
{
	uint8_t v;

	while ((v = alt(b)) & BSY)
		usleep(20);
	return v;
}

static void use(struct bench *b, unsigned int round)
{
	uint8_t data[BUFFER * SECTOR], want[SECTOR];

	for (unsigned int i = 0; i < 20; i++) {
		uint64_t lba = (round * 131 + i * 17) % (SECTORS - 300);

		address_ext(b, lba, 200);
		put(b, STATUS, i % 2 ? READ_MULTIPLE_EXT : VERIFY_EXT);
		if (i % 5 == 0)
			worker_call(b->rig.machine.control, pause_and_resume, b->dev);
		if (i % 7 == 0) {
			control(b, SRST);
			control(b, 0);
			assert_int_equal(awaited(b), IDLE);
			continue;
		}
		assert_int_equal(awaited(b), i % 2 ? IDLE | DRQ : IDLE);
		if (i % 2 == 0)
			continue;
		for (unsigned int n = 0; awaited(b) & DRQ; n += 16) {
			read_block(b, data, MIN(16U, 200 - n));
			fill(want, lba + n);
			assert_memory_equal(data, want, SECTOR);
			get(b, STATUS);
		}
	}
}

static void test_threads(void **state)
{
	struct bench *b = make(NULL, SECTORS);
	struct machine *m = &b->rig.machine;
	struct worker *simulated = m->control;
	char options[64];
	struct err err;

	(void)state;
	workers_destroy(m->workers);
	assert_int_equal(workers_create(&m->workers, 0, &err), 0);
	assert_int_equal(worker_create(&m->control, "control", &err), 0);
	snprintf(options, sizeof(options), "path=%s", b->image);
	b->dev = rig_device(&b->rig, "disk0", "ide", options);
	assert_non_null(b->dev);
	for (unsigned int round = 0; round < 10; round++) {
		assert_int_equal(workers_start(m->workers, &err), 0);
		assert_int_equal(worker_start(m->control, &err), 0);
		use(b, round);
		address(b, 0, 1);
		put(b, STATUS, VERIFY);
		worker_stop(m->control);
		workers_stop(m->workers);
		device_reset(b->dev);
		assert_int_equal(alt(b), IDLE);
	}
	device_destroy(b->dev);
	b->dev = NULL;
	worker_destroy(m->control);
	m->control = simulated;
	finish(b);
}

static void test_described(void **state)
{
	struct bench *b = *state;
	uint8_t text[256];
	struct aml aml;

	aml_init(&aml, text, sizeof(text));
	b->dev->class->describe(b->dev, &aml);
	assert_true(aml_finish(&aml) > 0);
	assert_non_null(memmem(text, (size_t)aml_finish(&aml), "IDE0", 4));
	/* I/O port descriptors (ACPI 6.5, 6.4.2.5), and interrupt 14 (6.4.2.1). */
	assert_non_null(memmem(text, sizeof(text), "\x47\x01\xf0\x01\xf0\x01\x01\x08", 8));
	assert_non_null(memmem(text, sizeof(text), "\x47\x01\xf6\x03\xf6\x03\x01\x01", 8));
	assert_non_null(memmem(text, sizeof(text), "\x22\x00\x40", 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define ON_A_BENCH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define ON_TWO(test)     cmocka_unit_test_setup_teardown(test, set_up_two, tear_down)
		ON_A_BENCH(test_power_on),
		ON_A_BENCH(test_identify),
		cmocka_unit_test(test_identify_large),
		ON_A_BENCH(test_read),
		ON_A_BENCH(test_write),
		ON_A_BENCH(test_multiple),
		ON_A_BENCH(test_chs),
		ON_A_BENCH(test_past_the_end),
		cmocka_unit_test(test_count_0_ext),
		ON_A_BENCH(test_verify_and_flush),
		ON_A_BENCH(test_features),
		ON_A_BENCH(test_soft_reset),
		ON_A_BENCH(test_interrupts),
		ON_A_BENCH(test_device_1),
		ON_A_BENCH(test_hob),
		ON_A_BENCH(test_unknown_commands),
		ON_A_BENCH(test_power),
		ON_A_BENCH(test_widths),
		ON_A_BENCH(test_second_channel),
		cmocka_unit_test(test_two_devices),
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_read_only),
		ON_A_BENCH(test_busy),
		ON_A_BENCH(test_soft_reset_under_way),
		ON_A_BENCH(test_reset_under_way),
		cmocka_unit_test(test_pause),
		ON_A_BENCH(test_pause_in_between),
		cmocka_unit_test(test_limits),
		ON_A_BENCH(test_bad_sector),
		ON_A_BENCH(test_flush_fails),
		ON_A_BENCH(test_unreliable_host),
		ON_A_BENCH(test_save_and_load),
		ON_A_BENCH(test_save_and_load_paused),
		ON_A_BENCH(test_hostile_guest),
		ON_A_BENCH(test_hostile_state),
		ON_TWO(test_hostile_guest),
		ON_TWO(test_hostile_state),
		cmocka_unit_test(test_threads),
		ON_A_BENCH(test_described),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
