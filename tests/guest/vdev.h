/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vdev - a virtio device as its driver finds it and sets it up, over PCI or by MMIO (Virtual I/O
 * Device 1.2, sections 3.1, 4.1 and 4.2). Its registers are open to ring 3 as well: user_init()
 * comes first. Over PCI all of its queues have one vector.
 */
#ifndef TESTS_GUEST_VDEV_H
#define TESTS_GUEST_VDEV_H

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>

#include "guest.h"
#include "user.h"

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
#define VIRTIO_PCI_ID   0x10401af4U

#define VDEV_READY \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)

struct vdev {
	bool mmio;
	unsigned int slot, msix; /* PCI: where it is, and its capability */
	uint64_t common, notify, config;
	uint32_t notify_every;
};

/* PCI, mechanism #1 (PCI 3.0, section 3.2.2.3.2) */

static inline uint32_t pci_read(unsigned int slot, unsigned int at)
{
	out32(PCI_ADDRESS, 0x80000000U | slot << 11 | at);
	return in32(PCI_DATA);
}

static inline void pci_write(unsigned int slot, unsigned int at, uint32_t v)
{
	out32(PCI_ADDRESS, 0x80000000U | slot << 11 | at);
	out32(PCI_DATA, v);
}

/* Where the bytes at @offset of a BAR are; 0 if they are out of reach. */
static inline uint64_t vdev_bar(const struct vdev *d, unsigned int n, uint32_t offset)
{
	uint32_t low = pci_read(d->slot, PCI_BAR + 4 * n);
	uint64_t at = low & ~0xfU;

	if (low & PCI_BAR_64)
		at |= (uint64_t)pci_read(d->slot, PCI_BAR + 4 * n + 4) << 32;
	at += offset;
	if (!at || !map_high(at))
		return 0;
	user_map(at, 4);
	return at;
}

/* Section 4.1.4. */
static inline void vdev_take_capability(struct vdev *d, unsigned int at)
{
	uint32_t head = pci_read(d->slot, at);
	unsigned int n = pci_read(d->slot, at + 4) & 0xff;
	uint32_t offset = pci_read(d->slot, at + 8);

	switch (head >> 24) {
	case VIRTIO_PCI_CAP_COMMON_CFG:
		d->common = vdev_bar(d, n, offset);
		break;
	case VIRTIO_PCI_CAP_NOTIFY_CFG:
		d->notify = vdev_bar(d, n, offset);
		d->notify_every = pci_read(d->slot, at + 16);
		break;
	case VIRTIO_PCI_CAP_DEVICE_CFG:
		d->config = vdev_bar(d, n, offset);
		break;
	default:
		break;
	}
}

/* The first device of the kind @id. */
static inline bool vdev_find_pci(struct vdev *d, uint32_t id)
{
	*d = (struct vdev){0};
	while (d->slot < PCI_SLOTS && pci_read(d->slot, 0) != VIRTIO_PCI_ID + (id << 16))
		d->slot++;
	if (d->slot == PCI_SLOTS)
		return false;
	for (unsigned int at = pci_read(d->slot, PCI_CAPS) & 0xfc, n = 0; at && n < 48; n++) {
		uint32_t head = pci_read(d->slot, at);

		if ((head & 0xff) == PCI_CAP_VENDOR)
			vdev_take_capability(d, at);
		else if ((head & 0xff) == PCI_CAP_MSIX)
			d->msix = at;
		at = head >> 8 & 0xfc;
	}
	pci_write(d->slot, PCI_COMMAND, PCI_COMMAND_ON);
	return d->common && d->notify;
}

/* The device @id, whose registers are @at. */
static inline bool vdev_find_mmio(struct vdev *d, uint64_t at, uint32_t id)
{
	*d = (struct vdev){.mmio = true, .common = at, .config = at + VIRTIO_MMIO_CONFIG};
	user_map(at, 4);
	return mmio_read32(at + VIRTIO_MMIO_MAGIC_VALUE) == 0x74726976 &&
	       mmio_read32(at + VIRTIO_MMIO_VERSION) == 2 &&
	       mmio_read32(at + VIRTIO_MMIO_DEVICE_ID) == id;
}

/* Set-up (section 3.1) */

static inline void vdev_set_status(const struct vdev *d, uint8_t status)
{
	if (d->mmio)
		mmio_write32(d->common + VIRTIO_MMIO_STATUS, status);
	else
		mmio_write8(d->common + VIRTIO_PCI_COMMON_STATUS, status);
}

static inline uint8_t vdev_get_status(const struct vdev *d)
{
	if (d->mmio)
		return (uint8_t)mmio_read32(d->common + VIRTIO_MMIO_STATUS);
	return mmio_read8(d->common + VIRTIO_PCI_COMMON_STATUS);
}

static inline uint64_t vdev_offered(const struct vdev *d)
{
	const uint64_t select = d->common + (d->mmio ? VIRTIO_MMIO_DEVICE_FEATURES_SEL
						     : VIRTIO_PCI_COMMON_DFSELECT);
	const uint64_t at =
		d->common + (d->mmio ? VIRTIO_MMIO_DEVICE_FEATURES : VIRTIO_PCI_COMMON_DF);
	uint64_t features;

	mmio_write32(select, 0);
	features = mmio_read32(at);
	mmio_write32(select, 1);
	return features | (uint64_t)mmio_read32(at) << 32;
}

static inline void vdev_accept(const struct vdev *d, uint64_t features)
{
	const uint64_t select = d->common + (d->mmio ? VIRTIO_MMIO_DRIVER_FEATURES_SEL
						     : VIRTIO_PCI_COMMON_GFSELECT);
	const uint64_t at =
		d->common + (d->mmio ? VIRTIO_MMIO_DRIVER_FEATURES : VIRTIO_PCI_COMMON_GF);

	mmio_write32(select, 0);
	mmio_write32(at, (uint32_t)features);
	mmio_write32(select, 1);
	mmio_write32(at, (uint32_t)(features >> 32));
}

/* Up to FEATURES_OK, with VERSION_1 and all of @features; false: there is something it has not. */
static inline bool vdev_negotiate(const struct vdev *d, uint64_t features)
{
	const uint64_t want = features | UINT64_C(1) << VIRTIO_F_VERSION_1;

	vdev_set_status(d, 0);
	if (vdev_get_status(d))
		return false;
	vdev_set_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	vdev_set_status(d, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	if ((vdev_offered(d) & want) != want)
		return false;
	vdev_accept(d, want);
	vdev_set_status(d, VDEV_READY);
	return vdev_get_status(d) == VDEV_READY;
}

/* Selects queue @n and has it be @size long; how long it may be. */
static inline uint32_t vdev_queue_size(const struct vdev *d, unsigned int n, unsigned int size)
{
	const uint64_t at = d->common;
	uint32_t most;

	if (d->mmio) {
		mmio_write32(at + VIRTIO_MMIO_QUEUE_SEL, n);
		most = mmio_read32(at + VIRTIO_MMIO_QUEUE_NUM_MAX);
		mmio_write32(at + VIRTIO_MMIO_QUEUE_NUM, size);
	} else {
		mmio_write16(at + VIRTIO_PCI_COMMON_Q_SELECT, (uint16_t)n);
		most = mmio_read16(at + VIRTIO_PCI_COMMON_Q_SIZE);
		mmio_write16(at + VIRTIO_PCI_COMMON_Q_SIZE, (uint16_t)size);
	}
	return most;
}

static inline void vdev_area(const struct vdev *d, unsigned int pci, unsigned int mmio,
			     const volatile void *area)
{
	const uint64_t at = d->common + (d->mmio ? mmio : pci);

	mmio_write32(at, (uint32_t)(uintptr_t)area);
	mmio_write32(at + 4, (uint32_t)((uintptr_t)area >> 32));
}

/* Enables the selected queue; where its bell is. With MMIO its number is what rings it. */
static inline uint64_t vdev_queue(const struct vdev *d, const volatile void *desc,
				  const volatile void *driver, const volatile void *device)
{
	const uint64_t at = d->common;

	vdev_area(d, VIRTIO_PCI_COMMON_Q_DESCLO, VIRTIO_MMIO_QUEUE_DESC_LOW, desc);
	vdev_area(d, VIRTIO_PCI_COMMON_Q_AVAILLO, VIRTIO_MMIO_QUEUE_AVAIL_LOW, driver);
	vdev_area(d, VIRTIO_PCI_COMMON_Q_USEDLO, VIRTIO_MMIO_QUEUE_USED_LOW, device);
	if (d->mmio) {
		mmio_write32(at + VIRTIO_MMIO_QUEUE_READY, 1);
		return at + VIRTIO_MMIO_QUEUE_NOTIFY;
	}
	mmio_write16(at + VIRTIO_PCI_COMMON_Q_MSIX, 0);
	mmio_write16(at + VIRTIO_PCI_COMMON_Q_ENABLE, 1);
	return d->notify + (uint64_t)d->notify_every * mmio_read16(at + VIRTIO_PCI_COMMON_Q_NOFF);
}

/* Vector 0 of the table (PCI 3.0, section 6.8.2) is @vector of this processor. */
static inline void vdev_start_msix(const struct vdev *d, uint8_t vector)
{
	uint32_t place = pci_read(d->slot, d->msix + 4);
	uint64_t table = vdev_bar(d, place & 7, place & ~7U);

	mmio_write32(table, LAPIC | lapic_id() << 12);
	mmio_write32(table + 4, 0);
	mmio_write32(table + 8, vector);
	mmio_write32(table + 12, 0);
	pci_write(d->slot, d->msix, pci_read(d->slot, d->msix) | PCI_MSIX_ENABLE);
}

#endif
