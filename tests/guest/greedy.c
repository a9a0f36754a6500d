/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * greedy - does what costs its host most: touches whatever there is, floods each console, has each
 * queue of each virtio device full, in four ways, breaks a ring over and over, and provokes all
 * that is logged. Then it says "full" and spins, and bounds.sh looks at what has become of skep.
 *
 * With reset=1 it only fills the queues, and resets the machine at once; with resets=N as well, it
 * ends behind the Nth.
 *
 * Virtio devices are those by MMIO, from DEVICES on until one does not answer.
 */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#include "guest.h"

#include "cmos.h"

#define DEVICES     UINT64_C(0xd0000000)
#define STEP        0x1000U
#define DEVICES_MAX 16U
#define QUEUES_MAX  16U
#define MAGIC       0x74726976U
#define READY       (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)

/* Rings of the largest size, for each queue: memory that nothing else is in. */
#define RINGS     UINT64_C(0x1000000)
#define RING_STEP UINT64_C(0x200000)
#define AVAIL     UINT64_C(0x80000)
#define USED      UINT64_C(0x100000)
#define DATA      UINT64_C(0x3000000) /* 16 MiB to the end of 64 MiB */
#define DATA_LEN  UINT64_C(0x1000000)

#define BREAKS   200U
#define MESSAGES 1200U
#define FLOOD    4096U

static uint64_t random_state = 1;

static uint32_t draw(void)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)(random_state >> 33);
}

/* Ports and memory of the PC. */

/* But those that end the machine. */
static const struct {
	uint16_t from, to;
} ports[] = {
	{0x20, 0x21},   {0x40, 0x43},   {0x60, 0x61},   {0x70, 0x71},   {0x80, 0x80},
	{0xa0, 0xa1},   {0xe9, 0xe9},   {0x170, 0x177}, {0x1f0, 0x1f7}, {0x2e8, 0x2ef},
	{0x2f8, 0x2ff}, {0x376, 0x376}, {0x3b0, 0x3df}, {0x3e8, 0x3ef}, {0x3f6, 0x3f6},
	{0x402, 0x402}, {0x608, 0x60b}, {0x700, 0x70f},
};

static void touch_ports(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(ports); i++)
		for (uint32_t port = ports[i].from; port <= ports[i].to; port++)
			for (unsigned int n = 0; n < 4; n++) {
				out8((uint16_t)port, (uint8_t)draw());
				in8((uint16_t)port);
				out32((uint16_t)port & 0xfffc, draw());
			}
}

/* Every register of every function, where there are any. */
static void touch_pci(void)
{
	for (unsigned int devfn = 0; devfn < 256; devfn++) {
		out32(0xcf8, 0x80000000U | devfn << 8);
		if (in32(0xcfc) == 0xffffffff)
			continue;
		for (unsigned int at = 4; at < 256; at += 4) {
			out32(0xcf8, 0x80000000U | devfn << 8 | at);
			out32(0xcfc, draw());
			in32(0xcfc);
		}
	}
}

static void touch_memory(void)
{
	static const uint64_t from[] = {0xa0000, 0xb8000, 0xe0000000, 0xfec00000, 0xfed00000};

	for (unsigned int i = 0; i < ARRAY_SIZE(from); i++)
		for (unsigned int n = 0; n < 32; n++) {
			mmio_write32(from[i] + n * 16, draw());
			mmio_read32(from[i] + n * 16);
		}
}

static void flood_consoles(void)
{
	static const uint16_t consoles[] = {0x2f8, 0x3e8, 0x2e8, 0xe9, 0x402};
	char text[FLOOD];

	memset(text, 'y', sizeof(text));
	for (unsigned int i = 0; i < ARRAY_SIZE(consoles); i++)
		outs8(consoles[i], text, sizeof(text));
}

/* Panics that are told and not meant; marks with names of their own, without number. */
static void flood_messages(void)
{
	static const char digits[] = "0123456789abcdef";

	for (unsigned int i = 0; i < MESSAGES; i++) {
		out8(0x505, 2);
		out8(0x80, 0xa5);
		out8(0x80, 0x5a);
		out8(0x80, 0);
		for (unsigned int shift = 16; shift; shift -= 4)
			out8(0x80, (uint8_t)digits[i >> (shift - 4) & 15]);
		out8(0x80, 0);
	}
}

/* Virtio (Virtual I/O Device 1.2, sections 2.7 and 4.2) */

static uint64_t device;

static void set(unsigned int reg, uint32_t value)
{
	mmio_write32(device + reg, value);
}

static uint32_t get(unsigned int reg)
{
	return mmio_read32(device + reg);
}

/* What every device offers, and all of it. */
static void negotiate(void)
{
	uint32_t offered[2];

	set(VIRTIO_MMIO_STATUS, 0);
	set(VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	for (unsigned int i = 0; i < 2; i++) {
		set(VIRTIO_MMIO_DEVICE_FEATURES_SEL, i);
		offered[i] = get(VIRTIO_MMIO_DEVICE_FEATURES);
		set(VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
		/* Rings are split ones, and bit 35 wants buffers used in order. */
		set(VIRTIO_MMIO_DRIVER_FEATURES, i ? offered[i] & ~0xcU : offered[i]);
	}
	set(VIRTIO_MMIO_STATUS, READY);
}

enum way {
	ONE_BUFFER, /* chains of one buffer that the device writes, */
	ONE_OUT,    /* or that it reads */
	THREE,      /* of a header, data and a status */
	NONSENSE,   /* descriptors of random bits */
	WAYS,
};

static void fill(volatile struct vring_desc *desc, uint32_t size, enum way way)
{
	for (uint32_t i = 0; i < size; i++) {
		uint16_t flags = way == ONE_OUT ? 0 : VRING_DESC_F_WRITE;
		uint32_t len = way <= ONE_OUT ? 0x10000 : 0x1000;

		if (way == THREE && i % 3 < 2 && i + 1 < size)
			flags = i % 3 ? VRING_DESC_F_NEXT | VRING_DESC_F_WRITE : VRING_DESC_F_NEXT;
		if (way == THREE && i % 3 != 1)
			len = i % 3 ? 1 : 16;
		desc[i].addr = DATA + (uint64_t)i * 512 % (DATA_LEN - 0x20000);
		desc[i].len = len;
		desc[i].flags = flags;
		desc[i].next = (uint16_t)(i + 1);
		if (way == NONSENSE) {
			desc[i].addr = (uint64_t)draw() << (draw() & 31);
			desc[i].len = draw();
			desc[i].flags = (uint16_t)(draw() & 7);
			desc[i].next = (uint16_t)draw();
		}
	}
}

/* All of queue @n that there can be; whether there is such a queue. */
static bool start_queue(unsigned int n, enum way way, uint32_t limit)
{
	const uint64_t at = RINGS + n * RING_STEP;
	volatile struct vring_avail *avail = (volatile struct vring_avail *)(at + AVAIL);
	uint32_t size, chains;

	set(VIRTIO_MMIO_QUEUE_SEL, n);
	size = get(VIRTIO_MMIO_QUEUE_NUM_MAX);
	if (!size)
		return false;
	if (size > limit)
		size = limit;
	fill((volatile struct vring_desc *)at, size, way);
	chains = way == THREE ? size / 3 : size;
	for (uint32_t i = 0; i < size; i++)
		avail->ring[i] = (uint16_t)(way == THREE ? i % (chains ? chains : 1) * 3 : i);
	avail->flags = 0;
	avail->idx = (uint16_t)chains;
	((volatile struct vring_used *)(at + USED))->idx = 0;
	set(VIRTIO_MMIO_QUEUE_NUM, size);
	set(VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)at);
	set(VIRTIO_MMIO_QUEUE_DESC_HIGH, 0);
	set(VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)(at + AVAIL));
	set(VIRTIO_MMIO_QUEUE_AVAIL_HIGH, 0);
	set(VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)(at + USED));
	set(VIRTIO_MMIO_QUEUE_USED_HIGH, 0);
	set(VIRTIO_MMIO_QUEUE_READY, 1);
	return true;
}

static void start(enum way way, uint32_t limit)
{
	unsigned int queues = 0;

	negotiate();
	while (queues < QUEUES_MAX && start_queue(queues, way, limit))
		queues++;
	set(VIRTIO_MMIO_STATUS, READY | VIRTIO_CONFIG_S_DRIVER_OK);
	for (unsigned int n = 0; n < queues; n++)
		set(VIRTIO_MMIO_QUEUE_NOTIFY, n);
}

/* Of queue 0, which claims more chains than there are. */
static void break_ring(void)
{
	volatile struct vring_avail *avail = (volatile struct vring_avail *)(RINGS + AVAIL);

	negotiate();
	start_queue(0, ONE_BUFFER, 1);
	avail->idx = 1000;
	set(VIRTIO_MMIO_STATUS, READY | VIRTIO_CONFIG_S_DRIVER_OK);
	set(VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	for (unsigned int i = 0; i < 100; i++)
		if (get(VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET)
			break;
}

static unsigned int each_device(void (*fn)(enum way way, uint32_t limit), enum way way,
				uint32_t limit)
{
	unsigned int n = 0;

	for (; n < DEVICES_MAX; n++) {
		device = DEVICES + n * STEP;
		if (get(VIRTIO_MMIO_MAGIC_VALUE) != MAGIC)
			break;
		fn(way, limit);
	}
	return n;
}

/* Counts resets=N down in memory that a battery keeps; without it, never. */
static bool has_reset_enough(void)
{
	const unsigned int at = 0x50;
	const uint8_t begun = 0xa0;
	uint8_t count = cmos_read(at);

	if ((count & 0xf0) != begun)
		count = begun;
	cmos_write(at, count + 1 == begun + 16 ? count : count + 1);
	return boot_number("resets", 0) && count - begun >= (int)boot_number("resets", 0);
}

int guest_main(void)
{
	unsigned int devices;

	pic_mask();
	if (boot_number("reset", 0)) {
		each_device(start, (enum way)(rdtsc() % NONSENSE), 64);
		if (has_reset_enough()) {
			say("reset enough\n");
			return 0;
		}
		out8(0xcf9, 6);
	}
	touch_ports();
	touch_pci();
	touch_memory();
	flood_consoles();
	for (unsigned int round = 0; round < 2; round++)
		for (unsigned int way = 0; way < WAYS; way++)
			each_device(start, (enum way)way, round ? 16 : 256);
	device = DEVICES;
	for (unsigned int i = 0; i < BREAKS; i++)
		break_ring();
	flood_messages();
	/* And they stay full. */
	devices = each_device(start, ONE_BUFFER, 256);
	say("full, with %u devices\n", devices);
	for (;;)
		pause();
}
