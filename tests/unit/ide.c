/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The IDE disk as a driver sees it: what ATA/ATAPI-6 promises of registers, protocols and commands,
 * guests that break every rule, and a host that fails. What a disk does beneath is
 * tests/unit/disk.c.
 */
#include "support/cm.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/state.h"
#include "skep/worker_sim.h"
#include "support/rig.h"

#define SECTOR  512U
#define SECTORS 4096U /* CHS: 4 cylinders, 16 heads, 63 sectors, and 64 sectors that are left */
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

struct bench {
	struct rig rig;
	struct device *dev;
	char dir[32], image[48];
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

static void finish(struct bench *b)
{
	device_destroy(b->dev);
	assert_int_equal(rig_in8(&b->rig, COMMAND + STATUS), 0xff);
	assert_int_equal(rig_in8(&b->rig, CONTROL), 0xff);
	rig_fini(&b->rig);
	unlink(b->image);
	assert_int_equal(rmdir(b->dir), 0);
	free(b);
}

static int set_up(void **state)
{
	*state = make("", SECTORS);
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
	uint8_t data[BUFFER * SECTOR];
	uint64_t done = 0;

	(void)state;
	address_ext(b, 70000 - 65536, 0);
	assert_int_equal(simple(b, VERIFY_EXT), IDLE);
	put(b, COUNT, BUFFER);
	assert_int_equal(simple(b, SET_MULTIPLE), IDLE);
	address_ext(b, 0, 0);
	put(b, STATUS, READ_MULTIPLE_EXT);
	while (settled(b) & DRQ) {
		read_block(b, data, BUFFER);
		done += BUFFER;
	}
	assert_int_equal(done, 65536);
	assert_int_equal(alt(b), IDLE);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
#define ON_A_BENCH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
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
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_read_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
