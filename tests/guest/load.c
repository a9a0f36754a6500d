/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load - keeps all virtio devices that it finds on PCI at work at once: a disk, a card, a console
 * and a source of entropy; and leaves the machine while they are, by a reset or an exit.
 *
 * Command line: lives=N to go through N - 1 resets, and exit in the last life (1); requests=N that
 * are to be done in each life (1,000), or turns=N in which they may come (100,000); end=0 to stay
 * at work for ever.
 *
 * The rings are filled and polled in ring 3, which is fast where privileged code is emulated, so
 * interrupts are raised and not taken.
 */
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>

#include "check.h"
#include "user.h"
#include "vdev.h"

#define SLOTS  16
#define PARTS  4 /* descriptors of a slot */
#define BUFFER 4096U
#define VECTOR 0x31

#define NET_HEADER 12U /* struct virtio_net_hdr_v1 */
#define FRAME      600U
#define LINE       64U
#define NONCE      64U

/* One queue, whose slots are asked again as soon as they are answered. */
struct lane {
	struct vring_desc desc[SLOTS * PARTS] __attribute__((aligned(4096)));
	struct {
		uint16_t flags, idx, ring[SLOTS * PARTS];
	} driver __attribute__((aligned(64)));
	struct {
		uint16_t flags, idx;
		struct vring_used_elem ring[SLOTS * PARTS];
	} device __attribute__((aligned(64)));
	struct {
		struct virtio_blk_outhdr header;
		uint8_t status;
	} disk[SLOTS];
	uint8_t buffers[SLOTS][BUFFER] __attribute__((aligned(4096)));
	const struct kind *kind;
	uint64_t bell, sectors, done, failed;
	uint16_t seen;
};

static const struct kind {
	uint32_t id;
	unsigned int queue;
	uint32_t len;
	bool device_writes; /* what has no header */
} kinds[] = {
	{VIRTIO_ID_BLOCK, 0, BUFFER, true},  {VIRTIO_ID_RNG, 0, NONCE, true},
	{VIRTIO_ID_NET, 0, BUFFER, true},    {VIRTIO_ID_NET, 1, NET_HEADER + FRAME, false},
	{VIRTIO_ID_CONSOLE, 1, LINE, false},
};

static struct lane lanes[ARRAY_SIZE(kinds)] __attribute__((section(".noinit.load")));
static unsigned int lane_count;
static uint64_t requests, turns;

/* Memory keeps it through a reset. */
#define LIVING UINT64_C(0x6c6f616420697320)
static struct {
	uint64_t living, lives;
} memory __attribute__((section(".noinit.load.memory")));

static void fill(struct lane *l)
{
	for (unsigned int i = 0; i < SLOTS; i++) {
		const unsigned int head = i * PARTS;
		uint8_t *data = l->buffers[i];

		l->desc[head] =
			(struct vring_desc){(uintptr_t)data, l->kind->len,
					    l->kind->device_writes ? VRING_DESC_F_WRITE : 0, 0};
		for (unsigned int j = 0; j < LINE && l->kind->id == VIRTIO_ID_CONSOLE; j++)
			data[j] = j + 1 < LINE ? (uint8_t)('a' + i) : '\n';
		/* To everybody, of a type for experiments (IEEE 802). */
		for (unsigned int j = 0; j < 14 && l->kind->id == VIRTIO_ID_NET; j++)
			data[NET_HEADER + j] = j < 6 ? 0xff : j < 12 ? 0x02 : j == 12 ? 0x88 : 0xb5;
	}
}

/* A read or a write of a block, in turn. */
static void fill_disk(struct lane *l, unsigned int slot, uint64_t n)
{
	const bool write = n & 1;
	const unsigned int head = slot * PARTS;
	const uint64_t blocks = l->sectors / (BUFFER / 512);

	l->disk[slot].header = (struct virtio_blk_outhdr){
		.type = write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN,
		.sector = n * 7 % blocks * (BUFFER / 512),
	};
	l->disk[slot].status = 0xff;
	l->desc[head] =
		(struct vring_desc){(uintptr_t)&l->disk[slot].header, sizeof(l->disk[slot].header),
				    VRING_DESC_F_NEXT, (uint16_t)(head + 1)};
	l->desc[head + 1] = (struct vring_desc){
		(uintptr_t)l->buffers[slot], BUFFER,
		(uint16_t)(VRING_DESC_F_NEXT | (write ? 0 : VRING_DESC_F_WRITE)),
		(uint16_t)(head + 2)};
	l->desc[head + 2] =
		(struct vring_desc){(uintptr_t)&l->disk[slot].status, 1, VRING_DESC_F_WRITE, 0};
}

static void submit(struct lane *l, unsigned int slot)
{
	uint16_t at = l->driver.idx;

	if (l->sectors)
		fill_disk(l, slot, l->done + slot);
	l->driver.ring[at % ARRAY_SIZE(l->driver.ring)] = (uint16_t)(slot * PARTS);
	__atomic_store_n(&l->driver.idx, (uint16_t)(at + 1), __ATOMIC_RELEASE);
}

static void ring(struct lane *l)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!(__atomic_load_n(&l->device.flags, __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY))
		mmio_write16(l->bell, (uint16_t)l->kind->queue);
}

static unsigned int reap(struct lane *l)
{
	unsigned int n = 0;

	while (__atomic_load_n(&l->device.idx, __ATOMIC_ACQUIRE) != l->seen) {
		const struct vring_used_elem *e =
			&l->device.ring[l->seen++ % ARRAY_SIZE(l->device.ring)];
		const unsigned int slot = e->id / PARTS;

		if (slot >= SLOTS || (l->sectors && l->disk[slot].status != VIRTIO_BLK_S_OK)) {
			l->failed++;
			continue;
		}
		l->done++;
		submit(l, slot);
		n++;
	}
	if (n)
		ring(l);
	return n;
}

/* In ring 3. */
static void work(void)
{
	uint64_t done = 0;

	for (unsigned int i = 0; i < lane_count; i++) {
		for (unsigned int slot = 0; slot < SLOTS; slot++)
			submit(&lanes[i], slot);
		ring(&lanes[i]);
	}
	for (uint64_t i = 0; i < turns && done < requests; i++) {
		for (unsigned int j = 0; j < lane_count; j++)
			done += reap(&lanes[j]);
		pause();
	}
}

static bool start(struct lane *l, const struct kind *kind, const struct vdev *d)
{
	memset(l, 0, sizeof(*l));
	l->kind = kind;
	if (!check(vdev_queue_size(d, kind->queue, ARRAY_SIZE(l->desc)) >= ARRAY_SIZE(l->desc)))
		return false;
	l->bell = vdev_queue(d, l->desc, &l->driver, &l->device);
	fill(l);
	if (kind->id != VIRTIO_ID_BLOCK)
		return true;
	l->sectors = mmio_read32(d->config);
	return check(l->sectors >= SLOTS * BUFFER / 512);
}

/* The kinds of one device stand together. */
static bool start_all(void)
{
	for (unsigned int i = 0, next; i < ARRAY_SIZE(kinds); i = next) {
		const uint32_t id = kinds[i].id;
		struct vdev d;

		for (next = i + 1; next < ARRAY_SIZE(kinds) && kinds[next].id == id; next++)
			;
		if (!vdev_find_pci(&d, id))
			continue;
		if (!check(vdev_negotiate(&d, 0)))
			return false;
		vdev_start_msix(&d, VECTOR);
		for (unsigned int j = i; j < next; j++)
			if (!start(&lanes[lane_count++], &kinds[j], &d))
				return false;
		vdev_set_status(&d, VDEV_READY | VIRTIO_CONFIG_S_DRIVER_OK);
	}
	return check(lane_count);
}

int guest_main(void)
{
	const uint64_t lives = boot_number("lives", 1);
	struct acpi acpi;

	if (memory.living != LIVING)
		memory.lives = 0;
	memory.living = LIVING;
	memory.lives++;
	pic_mask();
	acpi_find(&acpi);
	user_init();
	requests = boot_number("requests", 1000);
	turns = boot_number("turns", 100000);
	if (!boot_number("end", 1))
		requests = turns = UINT64_MAX;
	if (start_all())
		user_call(work);
	for (unsigned int i = 0; i < lane_count; i++)
		check_eq(lanes[i].failed, 0);
	if (check_state.failed || memory.lives >= lives)
		return check_result("load");
	acpi_reset(&acpi);
	return check_result("load");
}
