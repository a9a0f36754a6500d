/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vblk - a virtio disk keeps what was written to it, whichever its transport and ring; refuses what
 * cannot be; and interrupts by MSI-X. Or, to measure it, reads from it with 32 requests under way.
 *
 * The rings are filled and polled in ring 3, so that it is the disk that is measured where
 * privileged code is slow.
 *
 * Command line: mmio=ADDRESS where it is, if not on PCI; packed=1 when it shall have packed rings;
 * measure=N to read N times 4 KiB at random places.
 */
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>

#include "check.h"
#include "user.h"
#include "vdev.h"
#include "vring.h"

#define BLOCK   4096U
#define SECTORS (BLOCK / 512)
#define DEPTH   VRING_SLOTS

#define VECTOR 0x31

static struct vdev disk;
static uint64_t sectors;

struct slot {
	struct virtio_blk_outhdr header;
	uint8_t status;
} __attribute__((aligned(64)));

static struct slot slots[DEPTH];
static uint64_t blocks[DEPTH][BLOCK / 8] __attribute__((section(".noinit.vblk"), aligned(4096)));

static void start_queue(void)
{
	check(vdev_queue_size(&disk, 0, DEPTH) >= DEPTH);
	vring_state.bell = vdev_queue(&disk, &vring_desc, &vring_driver, &vring_device);
	vring_state.bell_32 = disk.mmio;
}

static bool start(void)
{
	const uint64_t at = boot_number("mmio", 0);
	const bool packed = boot_number("packed", 0);
	const uint64_t want = UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX |
			      UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC |
			      UINT64_C(1) << VIRTIO_BLK_F_FLUSH |
			      (uint64_t)packed << VIRTIO_F_RING_PACKED;

	if (at)
		check(vdev_find_mmio(&disk, at, VIRTIO_ID_BLOCK));
	else
		check(vdev_find_pci(&disk, VIRTIO_ID_BLOCK) && disk.config && disk.msix);
	if (check_state.failed || !check(vdev_negotiate(&disk, want)))
		return false;
	vring_state.packed = packed;
	vring_state.event_idx = true;
	sectors = mmio_read32(disk.config);
	sectors |= (uint64_t)mmio_read32(disk.config + 4) << 32;
	if (!disk.mmio)
		vdev_start_msix(&disk, VECTOR);
	start_queue();
	vdev_set_status(&disk, VDEV_READY | VIRTIO_CONFIG_S_DRIVER_OK);
	return check(sectors >= DEPTH * SECTORS);
}

/* Requests */

/* What the slots ask from now on: a block of @len bytes, to the device or from it. */
static void prepare(uint32_t type, uint32_t len)
{
	for (unsigned int i = 0; i < DEPTH; i++) {
		const struct vring_part parts[VRING_PARTS] = {
			{&slots[i].header, sizeof(slots[i].header), false},
			{blocks[i], len, type != VIRTIO_BLK_T_OUT},
			{&slots[i].status, 1, true},
		};

		slots[i].header = (struct virtio_blk_outhdr){.type = type};
		vring_slot(i, parts);
	}
}

static void submit(unsigned int slot, uint64_t sector)
{
	slots[slot].header.sector = sector;
	slots[slot].status = 0xff;
	vring_submit(slot);
}

/* The next slot that is done; its @len of bytes. -1 if there is none in time. */
static int await(uint32_t *len)
{
	int slot;

	if (!check(wait_until((slot = vring_reap(len)) >= 0)))
		return -1;
	return check(slot < (int)DEPTH) ? slot : -1;
}

/* What the slots ask, at @sector, by slot 0. */
static uint8_t one(uint64_t sector)
{
	uint32_t len;

	submit(0, sector);
	vring_publish();
	check_eq(await(&len), 0);
	return slots[0].status;
}

/* All slots, for the first blocks of the disk; @written is what each must have got. */
static void all(uint32_t type, uint32_t written)
{
	uint32_t seen = 0, len = 0;

	prepare(type, BLOCK);
	for (unsigned int i = 0; i < DEPTH; i++)
		submit(i, i * SECTORS);
	vring_publish();
	for (unsigned int i = 0; i < DEPTH; i++) {
		int slot = await(&len);

		if (slot < 0)
			return;
		seen |= 1U << slot;
		check_eq(len, written);
		check_eq(slots[slot].status, VIRTIO_BLK_S_OK);
	}
	check_eq(seen, UINT32_MAX);
}

/* Different in each quad of the disk, and never 0. */
static uint64_t pattern(unsigned int block, unsigned int quad)
{
	return UINT64_C(0x5ca1ab1e00000001) + ((uint64_t)block << 16) + ((uint64_t)quad << 1);
}

/* In ring 3: */

static void write_and_read(void)
{
	unsigned int wrong = 0;

	for (unsigned int i = 0; i < DEPTH; i++)
		for (unsigned int j = 0; j < ARRAY_SIZE(blocks[i]); j++)
			blocks[i][j] = pattern(i, j);
	all(VIRTIO_BLK_T_OUT, 1);
	memset(blocks, 0, sizeof(blocks));
	all(VIRTIO_BLK_T_IN, BLOCK + 1);
	for (unsigned int i = 0; i < DEPTH; i++)
		for (unsigned int j = 0; j < ARRAY_SIZE(blocks[i]); j++)
			wrong += blocks[i][j] != pattern(i, j);
	check_eq(wrong, 0);
	prepare(VIRTIO_BLK_T_FLUSH, 0);
	check_eq(one(0), VIRTIO_BLK_S_OK);
}

static void cannot_be(void)
{
	for (uint32_t type = VIRTIO_BLK_T_IN; type <= VIRTIO_BLK_T_OUT; type++) {
		prepare(type, BLOCK);
		check_eq(one(sectors - SECTORS), VIRTIO_BLK_S_OK);
		check_eq(one(sectors - SECTORS + 1), VIRTIO_BLK_S_IOERR);
		check_eq(one(sectors), VIRTIO_BLK_S_IOERR);
		check_eq(one(UINT64_MAX), VIRTIO_BLK_S_IOERR);
		prepare(type, BLOCK - 1);
		check_eq(one(0), VIRTIO_BLK_S_IOERR);
	}
	prepare(0x4242, BLOCK);
	check_eq(one(0), VIRTIO_BLK_S_UNSUPP);
	/* And it still works. */
	prepare(VIRTIO_BLK_T_IN, BLOCK);
	check_eq(one(0), VIRTIO_BLK_S_OK);
}

static struct {
	uint64_t count, started, done, failed, random;
} load;

static void submit_random(unsigned int slot)
{
	uint64_t x = load.random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	load.random = x;
	load.started++;
	submit(slot, ((x >> 32) * (sectors / SECTORS) >> 32) * SECTORS);
}

/* Always DEPTH under way: a slot that is done is used again at once. */
static void read_at_random(void)
{
	uint64_t heard = rdtsc();
	uint32_t len;
	int slot;

	for (unsigned int i = 0; i < DEPTH && i < load.count; i++)
		submit_random(i);
	vring_publish();
	while (load.done < load.count && rdtsc() - heard < WAIT_CYCLES) {
		uint64_t before = load.done;

		for (; (slot = vring_reap(&len)) >= 0; load.done++) {
			load.failed += len != BLOCK + 1 || slots[slot].status != VIRTIO_BLK_S_OK;
			if (load.started < load.count)
				submit_random((unsigned int)slot);
		}
		if (load.done == before) {
			pause();
			continue;
		}
		heard = rdtsc();
		vring_interrupts(false);
		vring_publish();
	}
}

/* Ring 0 again. */

static unsigned int interrupts;

static void take(struct intr_frame *frame)
{
	(void)frame;
	__atomic_fetch_add(&interrupts, 1, __ATOMIC_RELAXED);
	lapic_write(LAPIC_EOI, 0);
}

static void check_interrupts(void)
{
	uint32_t len;

	intr_set(VECTOR, take);
	lapic_enable();
	prepare(VIRTIO_BLK_T_IN, BLOCK);
	for (unsigned int i = 1; i <= 3; i++) {
		vring_interrupts(true);
		submit(0, 0);
		vring_publish();
		check(wait_until_interrupt(__atomic_load_n(&interrupts, __ATOMIC_RELAXED) == i));
		check_eq(vring_reap(&len), 0);
	}
	vring_interrupts(false);
}

#define RATE_NS 20000000

static void measure(uint64_t count)
{
	struct moment from, to;
	struct refclock ref;
	uint64_t start, ns;
	struct acpi a;

	acpi_find(&a);
	if (!check(refclock_find(&ref, &a)))
		return;
	from = refclock_now(&ref);
	do {
		to = refclock_now(&ref);
		ns = refclock_ns(&ref, &from, &to);
	} while (ns < RATE_NS);
	prepare(VIRTIO_BLK_T_IN, BLOCK);
	vring_interrupts(false);
	load.count = count;
	load.random = UINT64_C(0x9e3779b97f4a7c15);
	start = rdtsc();
	user_call(read_at_random);
	start = rdtsc() - start;
	check_eq(load.done, count);
	check_eq(load.failed, 0);
	say("%lu reads of %u bytes in %lu us, %u rings of the bell\n", count, BLOCK,
	    start / 1000 * ns / (to.tsc - from.tsc), vring_state.rings);
}

int guest_main(void)
{
	uint64_t count = boot_number("measure", 0);

	pic_mask();
	user_init();
	if (!start())
		return check_result("vblk");
	if (count) {
		measure(count);
		return check_result("vblk");
	}
	vring_interrupts(false);
	user_call(write_and_read);
	user_call(cannot_be);
	if (!disk.mmio)
		check_interrupts();
	vdev_set_status(&disk, 0);
	check_eq(vdev_get_status(&disk), 0);
	return check_result("vblk");
}
