/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio over MMIO (section 4.2, version 2): one page of registers and one interrupt line per
 * device.
 *
 * The devices lie one behind the other from MMIO_AT on, in the order in which they were made, and
 * take turns on the ISA interrupts that a PC of this kind leaves free, which every guest has, with
 * or without an IOAPIC. A guest finds them through ACPI as LNRO0005, with level-triggered, shared
 * interrupts, or is told on its command line (4.2.1). Linux then takes the interrupt for
 * edge-triggered, which does for devices that do not share it: a driver acknowledges what it has
 * seen before it looks at the rings, so what comes later is an edge again.
 *
 * vCPU threads with the device's lock; the line also from workers, under a lock of its own.
 */
#include <stdio.h>

#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/err.h"
#include "skep/log.h"
#include "skep/trace.h"
#include "virtio_priv.h"

#define MMIO_AT     UINT64_C(0xd0000000)
#define MMIO_STEP   UINT64_C(0x1000)
#define MMIO_LEN    UINT64_C(0x200)
#define MMIO_COUNT  64U
#define MMIO_MAGIC  0x74726976U /* "virt" */
#define MMIO_VENDOR 0x50454b53U /* "SKEP" */

static const uint8_t wires[] = {5, 7, 14, 15};

_Static_assert(VIRTIO_MMIO_CONFIG + VIRTIO_CONFIG_MAX <= MMIO_LEN, "the configuration fits");

static uint32_t read_queue(const struct virtio *v, uint64_t at)
{
	unsigned int n;

	if (!virtio_selected(v, &n))
		return 0;
	if (at == VIRTIO_MMIO_QUEUE_NUM_MAX)
		return (uint32_t)v->options.queue_size;
	/* A reset is over when the write that asked for it returns. */
	return at == VIRTIO_MMIO_QUEUE_READY ? v->data.enabled[n] : 0;
}

static uint32_t read_register(const struct virtio *v, uint64_t at)
{
	switch (at) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MMIO_MAGIC;
	case VIRTIO_MMIO_VERSION:
		return 2;
	case VIRTIO_MMIO_DEVICE_ID:
		return v->model->id;
	case VIRTIO_MMIO_VENDOR_ID:
		return MMIO_VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return virtio_read_offered(v);
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return __atomic_load_n(&v->data.isr, __ATOMIC_SEQ_CST);
	case VIRTIO_MMIO_STATUS:
		trace_event(TRACE_REMARK, v->dev->number, TRACE_STATUS_READ, 0, 0, virtio_status(v),
			    0);
		return virtio_status(v);
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return v->data.generation;
	case VIRTIO_MMIO_SHM_LEN_LOW: /* there is no shared memory region (4.2.2.1) */
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX;
	default:
		return read_queue(v, at);
	}
}

/* Control registers are 32 bits wide (4.2.2.2); other accesses of them have no effect. */
static uint64_t mmio_read(struct device *dev, uint64_t offset, unsigned int size)
{
	struct virtio *v = virtio_of(dev);

	if (offset >= VIRTIO_MMIO_CONFIG)
		return virtio_read_config(v, offset - VIRTIO_MMIO_CONFIG, size);
	return size == 4 && offset % 4 == 0 ? read_register(v, offset) : 0;
}

static void write_area(struct virtio *v, uint64_t at, uint32_t value)
{
	uint64_t *areas[] = {v->data.desc, v->data.driver, v->data.device};
	uint64_t n = (at - VIRTIO_MMIO_QUEUE_DESC_LOW) / 0x10;

	if (at % 0x10 <= 4)
		virtio_set_area(v, areas[n], at % 0x10 == 4, value);
}

/* "R" in section 4.2.2. */
static bool is_fixed(uint64_t at)
{
	return at <= VIRTIO_MMIO_DEVICE_FEATURES || at == VIRTIO_MMIO_QUEUE_NUM_MAX ||
	       at == VIRTIO_MMIO_INTERRUPT_STATUS || at == VIRTIO_MMIO_CONFIG_GENERATION;
}

static void write_register(struct virtio *v, uint64_t at, uint32_t value)
{
	switch (at) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		v->data.device_feature_select = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		v->data.driver_feature_select = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		virtio_write_accepted(v, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		v->data.queue_select = (uint16_t)MIN(value, (uint32_t)UINT16_MAX);
		break;
	case VIRTIO_MMIO_QUEUE_NUM:
		virtio_set_size(v, value);
		break;
	case VIRTIO_MMIO_QUEUE_READY:
		if (value == 1)
			virtio_enable_queue(v);
		else if (!value)
			virtio_disable_queue(v);
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		virtio_queue_rung(v, value);
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		virtio_clear_isr(v, (uint8_t)value);
		break;
	case VIRTIO_MMIO_STATUS:
		virtio_write_status(v, (uint8_t)value);
		break;
	case MMIO_QUEUE_RESET:
		if (value == 1)
			virtio_reset_queue(v);
		break;
	default:
		if (at >= VIRTIO_MMIO_QUEUE_DESC_LOW && at <= VIRTIO_MMIO_QUEUE_USED_HIGH)
			write_area(v, at, value);
		else if (is_fixed(at))
			trace_event(TRACE_REMARK, v->dev->number, TRACE_FIXED_WRITE, 0,
				    (uint32_t)at, value, 0);
		break;
	}
}

static void mmio_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct virtio *v = virtio_of(dev);

	if (offset >= VIRTIO_MMIO_CONFIG) {
		if (!virtio_write_config(v, offset - VIRTIO_MMIO_CONFIG, size, value))
			trace_event(TRACE_REMARK, dev->number, TRACE_FIXED_WRITE, 0,
				    (uint32_t)offset, value, 0);
	} else if (size == 4 && offset % 4 == 0) {
		write_register(v, offset, (uint32_t)value);
	}
}

static const struct bus_ops mmio_ops = {
	.read = mmio_read,
	.write = mmio_write,
	.max_size = 4,
};

static struct bus *mmio_doorbell(const struct virtio *v, unsigned int index, unsigned int which,
				 struct bus_doorbell *bell)
{
	if (which || !v->at_mmio.mapped)
		return NULL;
	*bell = (struct bus_doorbell){
		.at = v->at_mmio.at + VIRTIO_MMIO_QUEUE_NOTIFY,
		.size = 4,
		.match = true,
		.value = index,
	};
	return v->dev->machine->mmio;
}

static void mmio_set_line(struct virtio *v, bool level)
{
	lock_take(&v->at_mmio.lock);
	irq_set(&v->at_mmio.line, level);
	lock_drop(&v->at_mmio.lock);
}

static unsigned int number(const struct virtio *v)
{
	return (unsigned int)((v->at_mmio.at - MMIO_AT) / MMIO_STEP);
}

static int mmio_attach(struct virtio *v, struct err *err)
{
	struct virtio_mmio *at = &v->at_mmio;
	struct machine *m = v->dev->machine;
	int ret = -EBUSY;

	lock_init(&at->lock, LOCK_LINE);
	for (unsigned int i = 0; ret == -EBUSY && i < MMIO_COUNT; i++) {
		at->at = MMIO_AT + i * MMIO_STEP;
		ret = bus_map(m->mmio, at->at, MMIO_LEN, &mmio_ops, v->dev, err);
	}
	at->mapped = !ret;
	if (!ret)
		ret = irq_attach(m->irqs, &at->line, wires[number(v) % ARRAY_SIZE(wires)], err);
	if (!ret)
		log_info(
			m->log,
			"%s: virtio at %#llx, interrupt %u; a kernel without ACPI wants to be told "
			"virtio_mmio.device=%llu@%#llx:%u",
			v->dev->id, (unsigned long long)at->at, at->line.gsi,
			(unsigned long long)MMIO_LEN, (unsigned long long)at->at, at->line.gsi);
	return ret;
}

static void mmio_detach(struct virtio *v)
{
	if (v->at_mmio.mapped)
		bus_unmap(v->dev->machine->mmio, v->at_mmio.at);
	irq_detach(&v->at_mmio.line);
	lock_destroy(&v->at_mmio.lock);
}

static void mmio_describe(const struct virtio *v, struct aml *aml)
{
	char name[5];

	snprintf(name, sizeof(name), "VR%02X", number(v) & 0xff);
	aml_device(aml, name);
	aml_name(aml, "_HID");
	aml_string(aml, "LNRO0005");
	aml_name(aml, "_UID");
	aml_integer(aml, number(v));
	aml_name(aml, "_CRS");
	aml_resources(aml);
	aml_memory32(aml, (uint32_t)v->at_mmio.at, (uint32_t)MMIO_LEN, true);
	aml_interrupt(aml, v->at_mmio.line.gsi, true, false, true);
	aml_end(aml);
	aml_end(aml);
}

const struct virtio_transport virtio_mmio_transport = {
	.attach = mmio_attach,
	.detach = mmio_detach,
	.describe = mmio_describe,
	.doorbell = mmio_doorbell,
	.set_line = mmio_set_line,
};
