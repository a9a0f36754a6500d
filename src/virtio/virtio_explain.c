/* SPDX-License-Identifier: BSD-2-Clause */
/* What accesses to the registers of virtio devices mean, for readers of a trace. */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>

#include "skep/bits.h"
#include "virtio_priv.h"

struct name {
	uint16_t at;
	const char *name;
};

/* Section 4.1.4.3: struct virtio_pci_common_cfg. */
static const struct name common[] = {
	{0, "device_feature_select"}, {4, "device_feature"},      {8, "driver_feature_select"},
	{12, "driver_feature"},       {16, "config_msix_vector"}, {18, "num_queues"},
	{20, "device_status"},        {21, "config_generation"},  {22, "queue_select"},
	{24, "queue_size"},           {26, "queue_msix_vector"},  {28, "queue_enable"},
	{30, "queue_notify_off"},     {32, "queue_desc"},         {36, "queue_desc.high"},
	{40, "queue_driver"},         {44, "queue_driver.high"},  {48, "queue_device"},
	{52, "queue_device.high"},    {56, "queue_notify_data"},  {58, "queue_reset"},
};

/* Section 4.2.2 */
static const struct name mmio[] = {
	{VIRTIO_MMIO_MAGIC_VALUE, "MagicValue"},
	{VIRTIO_MMIO_VERSION, "Version"},
	{VIRTIO_MMIO_DEVICE_ID, "DeviceID"},
	{VIRTIO_MMIO_VENDOR_ID, "VendorID"},
	{VIRTIO_MMIO_DEVICE_FEATURES, "DeviceFeatures"},
	{VIRTIO_MMIO_DEVICE_FEATURES_SEL, "DeviceFeaturesSel"},
	{VIRTIO_MMIO_DRIVER_FEATURES, "DriverFeatures"},
	{VIRTIO_MMIO_DRIVER_FEATURES_SEL, "DriverFeaturesSel"},
	{VIRTIO_MMIO_QUEUE_SEL, "QueueSel"},
	{VIRTIO_MMIO_QUEUE_NUM_MAX, "QueueSizeMax"},
	{VIRTIO_MMIO_QUEUE_NUM, "QueueSize"},
	{VIRTIO_MMIO_QUEUE_READY, "QueueReady"},
	{VIRTIO_MMIO_QUEUE_NOTIFY, "QueueNotify"},
	{VIRTIO_MMIO_INTERRUPT_STATUS, "InterruptStatus"},
	{VIRTIO_MMIO_INTERRUPT_ACK, "InterruptACK"},
	{VIRTIO_MMIO_STATUS, "Status"},
	{VIRTIO_MMIO_QUEUE_DESC_LOW, "QueueDescLow"},
	{VIRTIO_MMIO_QUEUE_DESC_HIGH, "QueueDescHigh"},
	{VIRTIO_MMIO_QUEUE_AVAIL_LOW, "QueueDriverLow"},
	{VIRTIO_MMIO_QUEUE_AVAIL_HIGH, "QueueDriverHigh"},
	{VIRTIO_MMIO_QUEUE_USED_LOW, "QueueDeviceLow"},
	{VIRTIO_MMIO_QUEUE_USED_HIGH, "QueueDeviceHigh"},
	{MMIO_QUEUE_RESET, "QueueReset"},
	{VIRTIO_MMIO_CONFIG_GENERATION, "ConfigGeneration"},
};

static const char *name_at(const struct name *names, size_t count, uint64_t at)
{
	for (size_t i = 0; i < count; i++)
		if (names[i].at == at)
			return names[i].name;
	return NULL;
}

static void explain_status(uint64_t value, struct explanation *e)
{
	static const char *const bits[] = {"ACKNOWLEDGE", "DRIVER", "DRIVER_OK",   "FEATURES_OK",
					   NULL,          NULL,     "NEEDS_RESET", "FAILED"};

	if (value)
		explain_bits(e, value, bits, ARRAY_SIZE(bits));
	else
		explain_add(e, "reset");
}

static void explain_isr(uint64_t value, struct explanation *e)
{
	static const char *const bits[] = {"queue", "configuration"};

	explain_bits(e, value, bits, ARRAY_SIZE(bits));
}

static void explain_msix(const struct access *a, struct explanation *e)
{
	static const char *const words[] = {"address", "address.high", "data", "control"};

	if (a->offset >= PCI_MSIX_PBA_AT) {
		explain_reg(e, "PBA");
		return;
	}
	explain_reg(e, "MSIX%u.%s", (unsigned int)(a->offset / 16), words[a->offset / 4 % 4]);
	if (a->offset / 4 % 4 == 3)
		explain_add(e, a->value & 1 ? "masked" : "open");
}

static void explain_pci(const struct access *a, struct explanation *e)
{
	const char *name;

	switch (a->offset / VIRTIO_PCI_PAGE) {
	case 0:
		name = name_at(common, ARRAY_SIZE(common), a->offset);
		if (name)
			explain_reg(e, "%s", name);
		if (a->offset == 20)
			explain_status(a->value, e);
		break;
	case 1:
		explain_reg(e, "ISR");
		explain_isr(a->value, e);
		break;
	case 2:
		explain_reg(e, "config+%u", (unsigned int)(a->offset % VIRTIO_PCI_PAGE));
		break;
	default:
		explain_reg(e, "notify");
		explain_add(e, "queue %u",
			    (unsigned int)(a->offset % VIRTIO_PCI_PAGE / VIRTIO_PCI_NOTIFY_EVERY));
		break;
	}
}

static void explain_mmio(const struct access *a, struct explanation *e)
{
	const char *name = name_at(mmio, ARRAY_SIZE(mmio), a->offset);

	if (name)
		explain_reg(e, "%s", name);
	else if (a->offset >= VIRTIO_MMIO_CONFIG)
		explain_reg(e, "config+%u", (unsigned int)(a->offset - VIRTIO_MMIO_CONFIG));
	switch (a->offset) {
	case VIRTIO_MMIO_STATUS:
		explain_status(a->value, e);
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		explain_add(e, "queue %u", (unsigned int)(a->value & UINT16_MAX));
		break;
	case VIRTIO_MMIO_INTERRUPT_STATUS:
	case VIRTIO_MMIO_INTERRUPT_ACK:
		explain_isr(a->value, e);
		break;
	default:
		break;
	}
}

void virtio_explain(const struct access *a, struct explain_memory *m, struct explanation *e)
{
	(void)m;
	switch (a->region) {
	case PCI_REGION_MSIX:
		explain_msix(a, e);
		break;
	case VIRTIO_REGION_PCI:
		explain_pci(a, e);
		break;
	case VIRTIO_REGION_PORTS:
		explain_reg(e, "notify");
		explain_add(e, "queue %u", (unsigned int)(a->value & UINT16_MAX));
		break;
	default:
		explain_mmio(a, e);
		break;
	}
}
