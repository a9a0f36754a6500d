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
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>

#include "check.h"
#include "user.h"
#include "vring.h"

#define BLOCK   4096U
#define SECTORS (BLOCK / 512)
#define DEPTH   VRING_SLOTS

#define PCI_ADDRESS     0xcf8
#define PCI_DATA        0xcfc
#define PCI_SLOTS       32
#define PCI_COMMAND     0x04
#define PCI_COMMAND_ON  0x0006 /* memory, bus master */
#define PCI_BAR         0x10
#define PCI_BAR_64      0x4
#define PCI_CAPS        0x34
#define PCI_CAP_VENDOR  0x09
#define PCI_CAP_MSIX    0x11
#define PCI_MSIX_ENABLE 0x80000000U
#define VIRTIO_BLK_PCI  0x10421af4U

#define VECTOR 0x31

static struct {
	bool mmio;
	unsigned int slot, msix; /* PCI: where it is, and its capability */
	uint64_t common, notify, config;
	uint32_t notify_every;
	uint64_t features, sectors;
} disk;

struct slot {
	struct virtio_blk_outhdr header;
	uint8_t status;
} __attribute__((aligned(64)));

static struct slot slots[DEPTH];
static uint64_t blocks[DEPTH][BLOCK / 8] __attribute__((section(".noinit.vblk"), aligned(4096)));

/* PCI, mechanism #1 (PCI 3.0, section 3.2.2.3.2) */

static uint32_t pci_read(unsigned int slot, unsigned int at)
{
	out32(PCI_ADDRESS, 0x80000000U | slot << 11 | at);
	return in32(PCI_DATA);
}

static void pci_write(unsigned int slot, unsigned int at, uint32_t v)
{
	out32(PCI_ADDRESS, 0x80000000U | slot << 11 | at);
	out32(PCI_DATA, v);
}

/* Where the bytes at @offset of a BAR are; ring 3 may use them. */
static uint64_t bar(unsigned int n, uint32_t offset)
{
	uint32_t low = pci_read(disk.slot, PCI_BAR + 4 * n);
	uint64_t at = low & ~0xfU;

	if (low & PCI_BAR_64)
		at |= (uint64_t)pci_read(disk.slot, PCI_BAR + 4 * n + 4) << 32;
	at += offset;
	if (!check(at) || !check(map_high(at)))
		return 0;
	user_map(at, 4);
	return at;
}

/* Virtual I/O Device 1.2, section 4.1.4. */
static void take_capability(unsigned int at)
{
	uint32_t head = pci_read(disk.slot, at);
	unsigned int n = pci_read(disk.slot, at + 4) & 0xff;
	uint32_t offset = pci_read(disk.slot, at + 8);

	switch (head >> 24) {
	case VIRTIO_PCI_CAP_COMMON_CFG:
		disk.common = bar(n, offset);
		break;
	case VIRTIO_PCI_CAP_NOTIFY_CFG:
		disk.notify = bar(n, offset);
		disk.notify_every = pci_read(disk.slot, at + 16);
		break;
	case VIRTIO_PCI_CAP_DEVICE_CFG:
		disk.config = bar(n, offset);
		break;
	default:
		break;
	}
}

static bool find_pci(void)
{
	while (disk.slot < PCI_SLOTS && pci_read(disk.slot, 0) != VIRTIO_BLK_PCI)
		disk.slot++;
	if (!check(disk.slot < PCI_SLOTS))
		return false;
	for (unsigned int at = pci_read(disk.slot, PCI_CAPS) & 0xfc, n = 0; at && n < 48; n++) {
		uint32_t head = pci_read(disk.slot, at);

		if ((head & 0xff) == PCI_CAP_VENDOR)
			take_capability(at);
		else if ((head & 0xff) == PCI_CAP_MSIX)
			disk.msix = at;
		at = head >> 8 & 0xfc;
	}
	pci_write(disk.slot, PCI_COMMAND, PCI_COMMAND_ON);
	return check(disk.common && disk.notify && disk.config && disk.msix);
}

static bool find_mmio(void)
{
	user_map(disk.common, 4);
	disk.config = disk.common + VIRTIO_MMIO_CONFIG;
	check_eq(mmio_read32(disk.common + VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	check_eq(mmio_read32(disk.common + VIRTIO_MMIO_VERSION), 2);
	return check_eq(mmio_read32(disk.common + VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_BLOCK);
}

/* Set-up (section 3.1) */

static void set_status(uint8_t status)
{
	if (disk.mmio)
		mmio_write32(disk.common + VIRTIO_MMIO_STATUS, status);
	else
		mmio_write8(disk.common + VIRTIO_PCI_COMMON_STATUS, status);
}

static uint8_t get_status(void)
{
	if (disk.mmio)
		return (uint8_t)mmio_read32(disk.common + VIRTIO_MMIO_STATUS);
	return mmio_read8(disk.common + VIRTIO_PCI_COMMON_STATUS);
}

static uint64_t get_features(void)
{
	const uint64_t select = disk.common + (disk.mmio ? VIRTIO_MMIO_DEVICE_FEATURES_SEL
							 : VIRTIO_PCI_COMMON_DFSELECT);
	const uint64_t at =
		disk.common + (disk.mmio ? VIRTIO_MMIO_DEVICE_FEATURES : VIRTIO_PCI_COMMON_DF);
	uint64_t features;

	mmio_write32(select, 0);
	features = mmio_read32(at);
	mmio_write32(select, 1);
	return features | (uint64_t)mmio_read32(at) << 32;
}

static void set_features(uint64_t features)
{
	const uint64_t select = disk.common + (disk.mmio ? VIRTIO_MMIO_DRIVER_FEATURES_SEL
							 : VIRTIO_PCI_COMMON_GFSELECT);
	const uint64_t at =
		disk.common + (disk.mmio ? VIRTIO_MMIO_DRIVER_FEATURES : VIRTIO_PCI_COMMON_GF);

	mmio_write32(select, 0);
	mmio_write32(at, (uint32_t)features);
	mmio_write32(select, 1);
	mmio_write32(at, (uint32_t)(features >> 32));
}

static bool negotiate(void)
{
	const uint64_t ring = boot_number("packed", 0) ? UINT64_C(1) << VIRTIO_F_RING_PACKED : 0;
	const uint64_t want = UINT64_C(1) << VIRTIO_F_VERSION_1 |
			      UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX |
			      UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC |
			      UINT64_C(1) << VIRTIO_BLK_F_FLUSH | ring;
	uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	set_status(0);
	check_eq(get_status(), 0);
	set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE);
	set_status(status);
	disk.features = get_features();
	if (!check_eq(disk.features & want, want))
		return false;
	set_features(want);
	status |= VIRTIO_CONFIG_S_FEATURES_OK;
	set_status(status);
	vring_state.packed = ring;
	vring_state.event_idx = true;
	return check_eq(get_status(), status);
}

static void set_area(unsigned int pci, unsigned int mmio, const volatile void *area)
{
	const uint64_t at = disk.common + (disk.mmio ? mmio : pci);

	mmio_write32(at, (uint32_t)(uintptr_t)area);
	mmio_write32(at + 4, (uint32_t)((uintptr_t)area >> 32));
}

static void start_queue(void)
{
	const uint64_t at = disk.common;

	if (disk.mmio) {
		mmio_write32(at + VIRTIO_MMIO_QUEUE_SEL, 0);
		check(mmio_read32(at + VIRTIO_MMIO_QUEUE_NUM_MAX) >= DEPTH);
		mmio_write32(at + VIRTIO_MMIO_QUEUE_NUM, DEPTH);
		vring_state.bell = at + VIRTIO_MMIO_QUEUE_NOTIFY;
		vring_state.bell_32 = true;
	} else {
		mmio_write16(at + VIRTIO_PCI_COMMON_Q_SELECT, 0);
		check(mmio_read16(at + VIRTIO_PCI_COMMON_Q_SIZE) >= DEPTH);
		mmio_write16(at + VIRTIO_PCI_COMMON_Q_SIZE, DEPTH);
		mmio_write16(at + VIRTIO_PCI_COMMON_Q_MSIX, 0);
		check_eq(mmio_read16(at + VIRTIO_PCI_COMMON_Q_MSIX), 0);
		vring_state.bell = disk.notify + (uint64_t)disk.notify_every *
							 mmio_read16(at + VIRTIO_PCI_COMMON_Q_NOFF);
	}
	set_area(VIRTIO_PCI_COMMON_Q_DESCLO, VIRTIO_MMIO_QUEUE_DESC_LOW, &vring_desc);
	set_area(VIRTIO_PCI_COMMON_Q_AVAILLO, VIRTIO_MMIO_QUEUE_AVAIL_LOW, &vring_driver);
	set_area(VIRTIO_PCI_COMMON_Q_USEDLO, VIRTIO_MMIO_QUEUE_USED_LOW, &vring_device);
	if (disk.mmio)
		mmio_write32(at + VIRTIO_MMIO_QUEUE_READY, 1);
	else
		mmio_write16(at + VIRTIO_PCI_COMMON_Q_ENABLE, 1);
}

/* Vector 0 of the table (PCI 3.0, section 6.8.2). */
static void start_msix(void)
{
	uint32_t place = pci_read(disk.slot, disk.msix + 4);
	uint64_t table = bar(place & 7, place & ~7U);

	mmio_write32(table, LAPIC | lapic_id() << 12);
	mmio_write32(table + 4, 0);
	mmio_write32(table + 8, VECTOR);
	mmio_write32(table + 12, 0);
	pci_write(disk.slot, disk.msix, pci_read(disk.slot, disk.msix) | PCI_MSIX_ENABLE);
}

static bool start(void)
{
	disk.common = boot_number("mmio", 0);
	disk.mmio = disk.common;
	if (!(disk.mmio ? find_mmio() : find_pci()) || !negotiate())
		return false;
	disk.sectors = mmio_read32(disk.config);
	disk.sectors |= (uint64_t)mmio_read32(disk.config + 4) << 32;
	if (!disk.mmio)
		start_msix();
	start_queue();
	set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
		   VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK);
	return check(disk.sectors >= DEPTH * SECTORS);
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
		check_eq(one(disk.sectors - SECTORS), VIRTIO_BLK_S_OK);
		check_eq(one(disk.sectors - SECTORS + 1), VIRTIO_BLK_S_IOERR);
		check_eq(one(disk.sectors), VIRTIO_BLK_S_IOERR);
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
	submit(slot, ((x >> 32) * (disk.sectors / SECTORS) >> 32) * SECTORS);
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
	set_status(0);
	check_eq(get_status(), 0);
	return check_result("vblk");
}
