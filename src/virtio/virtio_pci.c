/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio over PCI (section 4.1), without the legacy interface: one 64-bit BAR with a page for each
 * of the four structures, MSI-X in a BAR of its own, and the capability by which the structures are
 * reached through configuration space (4.1.4.9).
 *
 * Where the option says so there is a port as well, the doorbell of all queues, in front of that in
 * memory: a driver takes the first that it supports (4.1.4). To find out what a write to memory
 * was, KVM reads the guest's instruction, unless the processor is Intel's; of a port it need not.
 * But few drivers other than Linux's look whether a BAR is one of ports.
 *
 * Of the common configuration a write has effect if it is one of a field as a whole, or of one half
 * of a 64-bit field; reads may be of any size (4.1.3.1). A reset, of the device or of a queue, is
 * over when the write that asks for it returns, so status and queue_reset read as 0 at once
 * (4.1.4.3.1).
 *
 * vCPU threads with the device's lock; what virtio_priv.h says of interrupts on any thread.
 */
#include <linux/virtio_ids.h>

#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/err.h"
#include "skep/trace.h"
#include "virtio_priv.h"

#define PCI_VENDOR_VIRTIO 0x1af4
#define PCI_DEVICE_VIRTIO 0x1040 /* 4.1.2: and the virtio device ID on top */
#define PCI_SUBSYSTEM     0x40   /* 4.1.2.1: no less */
#define PCI_CAP_VENDOR    0x09

#define BAR_REGISTERS 0
#define BAR_NOTIFY    2
#define BAR_MSIX      4

#define PAGE_LEN     VIRTIO_PCI_PAGE
#define PAGE_COMMON  0x0000U
#define PAGE_ISR     0x1000U
#define PAGE_CONFIG  0x2000U
#define PAGE_NOTIFY  0x3000U
#define REGISTERS    0x4000U
#define NOTIFY_EVERY VIRTIO_PCI_NOTIFY_EVERY /* notify_off_multiplier: each queue has its own */
#define PORTS        4U                      /* of BAR_NOTIFY, where the multiplier is 0 */

/* Section 4.1.4.3; <linux/virtio_pci.h> has no struct of all of it. */
struct common {
	uint32_t device_feature_select;
	uint32_t device_feature;
	uint32_t driver_feature_select;
	uint32_t driver_feature;
	uint16_t config_msix_vector;
	uint16_t num_queues;
	uint8_t device_status;
	uint8_t config_generation;
	uint16_t queue_select;
	uint16_t queue_size;
	uint16_t queue_msix_vector;
	uint16_t queue_enable;
	uint16_t queue_notify_off;
	uint64_t queue_desc;
	uint64_t queue_driver;
	uint64_t queue_device;
	uint16_t queue_notify_data;
	uint16_t queue_reset;
} __attribute__((packed));

_Static_assert(sizeof(struct common) == 60, "section 4.1.4.3");

/* Section 4.1.4. */
struct capability {
	uint8_t cap_vndr;
	uint8_t cap_next;
	uint8_t cap_len;
	uint8_t cfg_type;
	uint8_t bar;
	uint8_t id;
	uint8_t padding[2];
	uint32_t offset;
	uint32_t length;
	uint32_t more; /* notify: the multiplier; configuration access: the data */
} __attribute__((packed));

static struct virtio *virtio_of_function(const struct pci_function *f)
{
	return container_of(f, struct virtio, pci);
}

/* The common configuration */

static void fill_queue(const struct virtio *v, struct common *c)
{
	const struct virtio_data *d = &v->data;
	unsigned int n;

	if (!virtio_selected(v, &n)) {
		c->queue_msix_vector = VIRTIO_MSI_NO_VECTOR;
		return;
	}
	c->queue_size = d->size[n];
	c->queue_msix_vector = d->vector[n];
	c->queue_enable = d->enabled[n];
	c->queue_notify_off = (uint16_t)n;
	c->queue_desc = d->desc[n];
	c->queue_driver = d->driver[n];
	c->queue_device = d->device[n];
}

static uint64_t read_common(const struct virtio *v, uint64_t at, unsigned int size)
{
	struct common c = {
		.device_feature_select = v->data.device_feature_select,
		.device_feature = virtio_read_offered(v),
		.driver_feature_select = v->data.driver_feature_select,
		.driver_feature = virtio_read_accepted(v),
		.config_msix_vector = v->data.config_vector,
		.num_queues = (uint16_t)v->queue_count,
		.device_status = virtio_status(v),
		.config_generation = (uint8_t)v->data.generation,
		.queue_select = v->data.queue_select,
	};
	uint64_t value = 0;

	if (at <= VIRTIO_PCI_COMMON_STATUS && at + size > VIRTIO_PCI_COMMON_STATUS)
		trace_event(TRACE_REMARK, v->dev->number, TRACE_STATUS_READ, 0, 0, c.device_status,
			    0);
	fill_queue(v, &c);
	if (at < sizeof(c))
		memcpy(&value, (const char *)&c + at, MIN(size, sizeof(c) - at));
	return value;
}

/* "Read-only for driver" in section 4.1.4.3. */
static bool is_fixed(uint64_t at)
{
	return at == VIRTIO_PCI_COMMON_DF || at == VIRTIO_PCI_COMMON_NUMQ ||
	       at == VIRTIO_PCI_COMMON_CFGGENERATION || at == VIRTIO_PCI_COMMON_Q_NOFF;
}

/* A vector that there is not cannot be had (4.1.5.1.2.1). */
static uint16_t vector_of(const struct virtio *v, uint64_t value)
{
	return value <= v->queue_count ? (uint16_t)value : VIRTIO_MSI_NO_VECTOR;
}

static void write_narrow(struct virtio *v, uint64_t at, uint64_t value)
{
	unsigned int n;

	switch (at) {
	case VIRTIO_PCI_COMMON_MSIX:
		__atomic_store_n(&v->data.config_vector, vector_of(v, value), __ATOMIC_RELAXED);
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		v->data.queue_select = (uint16_t)value;
		break;
	case VIRTIO_PCI_COMMON_Q_SIZE:
		virtio_set_size(v, (uint32_t)value);
		break;
	case VIRTIO_PCI_COMMON_Q_MSIX:
		if (virtio_selected(v, &n))
			__atomic_store_n(&v->data.vector[n], vector_of(v, value), __ATOMIC_RELAXED);
		break;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		if (value == 1)
			virtio_enable_queue(v);
		break;
	case VIRTIO_PCI_COMMON_Q_RESET:
		if (value == 1)
			virtio_reset_queue(v);
		break;
	default:
		break;
	}
}

static void write_wide(struct virtio *v, uint64_t at, uint32_t value)
{
	uint64_t *areas[] = {v->data.desc, v->data.driver, v->data.device};

	switch (at) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		v->data.device_feature_select = value;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT:
		v->data.driver_feature_select = value;
		break;
	case VIRTIO_PCI_COMMON_GF:
		virtio_write_accepted(v, value);
		break;
	default:
		if (at >= VIRTIO_PCI_COMMON_Q_DESCLO && at <= VIRTIO_PCI_COMMON_Q_USEDHI &&
		    at % 4 == 0)
			virtio_set_area(v, areas[(at - VIRTIO_PCI_COMMON_Q_DESCLO) / 8], at % 8,
					value);
		break;
	}
}

static void write_common(struct virtio *v, uint64_t at, unsigned int size, uint64_t value)
{
	if (size == 4)
		write_wide(v, at, (uint32_t)value);
	else if (size == 2)
		write_narrow(v, at, value);
	else if (size == 1 && at == VIRTIO_PCI_COMMON_STATUS)
		virtio_write_status(v, (uint8_t)value);
}

/* The BAR */

static uint64_t registers_read(struct device *dev, uint64_t offset, unsigned int size)
{
	struct virtio *v = virtio_of(dev);
	uint64_t at = offset % PAGE_LEN;

	switch (offset - at) {
	case PAGE_COMMON:
		return read_common(v, at, size);
	case PAGE_ISR:
		return at ? 0 : virtio_take_isr(v);
	case PAGE_CONFIG:
		return virtio_read_config(v, at, size);
	default:
		return 0;
	}
}

static void registers_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct virtio *v = virtio_of(dev);
	uint64_t at = offset % PAGE_LEN;

	bool taken = true;

	switch (offset - at) {
	case PAGE_COMMON:
		write_common(v, at, size, value);
		taken = !is_fixed(at);
		break;
	case PAGE_CONFIG:
		taken = virtio_write_config(v, at, size, value);
		break;
	case PAGE_NOTIFY:
		if (at % NOTIFY_EVERY == 0)
			virtio_queue_rung(v, (unsigned int)(at / NOTIFY_EVERY));
		break;
	default:
		taken = false; /* the interrupt status is cleared by reading it */
		break;
	}
	if (!taken)
		trace_event(TRACE_REMARK, dev->number, TRACE_FIXED_WRITE, 0, (uint32_t)offset,
			    value, 0);
}

static const struct bus_ops registers_ops = {
	.read = registers_read,
	.write = registers_write,
	.max_size = 4,
	.region = VIRTIO_REGION_PCI,
};

static bool has_ports(const struct virtio *v)
{
	return v->options.doorbell == VIRTIO_DOORBELL_AUTO
		       ? v->dev->machine->linux_guest
		       : v->options.doorbell == VIRTIO_DOORBELL_PORTS;
}

/* What is written is the queue (4.1.5.2). */
static uint64_t ports_read(struct device *dev, uint64_t offset, unsigned int size)
{
	(void)dev;
	(void)offset;
	(void)size;
	return 0;
}

static void ports_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	if (!offset && size >= 2)
		virtio_queue_rung(virtio_of(dev), (uint16_t)value);
}

static const struct bus_ops ports_ops = {
	.read = ports_read,
	.write = ports_write,
	.max_size = 4,
	.region = VIRTIO_REGION_PORTS,
};

static void bar_moved(struct pci_function *f, unsigned int bar, bool mapped, uint64_t at)
{
	struct virtio *v = virtio_of_function(f);

	if (bar == BAR_REGISTERS) {
		v->at_pci.mapped = mapped;
		v->at_pci.at = at;
	} else if (bar == BAR_NOTIFY) {
		v->at_pci.ports_mapped = mapped;
		v->at_pci.ports = at;
	}
	virtio_queues_bells(v);
}

static struct bus *pci_doorbell(const struct virtio *v, unsigned int index, unsigned int which,
				struct bus_doorbell *bell)
{
	const struct virtio_pci *p = &v->at_pci;

	if (which) {
		*bell = (struct bus_doorbell){
			.at = p->ports,
			.size = 2,
			.match = true,
			.value = index,
		};
		return p->ports_mapped ? v->dev->machine->ports : NULL;
	}
	*bell = (struct bus_doorbell){
		.at = p->at + PAGE_NOTIFY + (uint64_t)index * NOTIFY_EVERY,
	};
	return p->mapped ? v->dev->machine->mmio : NULL;
}

/*
 * Access through configuration space (4.1.4.9): the driver fills in bar, offset and length of the
 * capability, and each access of its data is one of the BAR.
 */
static const struct bus_ops *window(const struct virtio *v, unsigned int at, uint64_t *offset,
				    unsigned int *size)
{
	const struct capability *cap = (const void *)(v->pci.data.config + v->at_pci.window);
	uint64_t end = (uint64_t)load_le32(&cap->offset) + load_le32(&cap->length);

	*offset = load_le32(&cap->offset);
	*size = load_le32(&cap->length);
	if (at != v->at_pci.window + offsetof(struct capability, more) ||
	    (*size != 1 && *size != 2 && *size != 4) || *offset % *size)
		return NULL;
	if (cap->bar == BAR_REGISTERS && end <= REGISTERS)
		return &registers_ops;
	return cap->bar == BAR_NOTIFY && has_ports(v) && end <= PORTS ? &ports_ops : NULL;
}

static bool window_read(struct pci_function *f, unsigned int at, unsigned int size, uint32_t *value)
{
	struct virtio *v = virtio_of_function(f);
	const struct bus_ops *ops;
	unsigned int len;
	uint64_t offset;

	(void)size;
	ops = window(v, at, &offset, &len);
	if (ops)
		*value = (uint32_t)ops->read(v->dev, offset, len);
	return ops;
}

static bool window_write(struct pci_function *f, unsigned int at, unsigned int size, uint32_t value)
{
	struct virtio *v = virtio_of_function(f);
	const struct bus_ops *ops;
	unsigned int len;
	uint64_t offset;

	(void)size;
	ops = window(v, at, &offset, &len);
	if (ops)
		ops->write(v->dev, offset, len, value & (uint32_t)ones(len));
	return ops;
}

/* Interrupts */

static void pci_set_line(struct virtio *v, bool level)
{
	pci_intx(&v->pci, level);
}

static bool pci_may_work(struct virtio *v)
{
	return pci_master(&v->pci);
}

static bool pci_vectored(const struct virtio *v)
{
	return pci_msix_enabled(&v->pci);
}

static int pci_vector_fd(const struct virtio *v, unsigned int vector)
{
	return pci_msix_fd(&v->pci, vector);
}

static void pci_raise(struct virtio *v, unsigned int vector)
{
	pci_msix_raise(&v->pci, vector);
}

/* Making and unmaking */

static unsigned int add_capability(struct virtio *v, uint8_t type, unsigned int bar, uint32_t page,
				   uint32_t len)
{
	static const struct capability free_fields = {
		.bar = UINT8_MAX,
		.offset = UINT32_MAX,
		.length = UINT32_MAX,
		.more = UINT32_MAX,
	};
	const bool window = type == VIRTIO_PCI_CAP_PCI_CFG;
	const bool notify = type == VIRTIO_PCI_CAP_NOTIFY_CFG;
	uint8_t size =
		window || notify ? sizeof(struct capability) : offsetof(struct capability, more);
	const struct capability cap = {
		.cap_len = size,
		.cfg_type = type,
		.bar = (uint8_t)bar,
		.offset = htole32(page),
		.length = htole32(len),
		.more = htole32(notify && bar == BAR_REGISTERS ? NOTIFY_EVERY : 0),
	};

	/* The first two bytes are the list's. */
	return pci_add_cap(&v->pci, PCI_CAP_VENDOR, size, &cap.cap_len,
			   window ? &free_fields.cap_len : NULL, window);
}

static void add_capabilities(struct virtio *v)
{
	const unsigned int bar = BAR_REGISTERS;

	add_capability(v, VIRTIO_PCI_CAP_COMMON_CFG, bar, PAGE_COMMON, sizeof(struct common));
	if (has_ports(v))
		add_capability(v, VIRTIO_PCI_CAP_NOTIFY_CFG, BAR_NOTIFY, 0, 2);
	add_capability(v, VIRTIO_PCI_CAP_NOTIFY_CFG, bar, PAGE_NOTIFY,
		       v->queue_count * NOTIFY_EVERY);
	add_capability(v, VIRTIO_PCI_CAP_ISR_CFG, bar, PAGE_ISR, 1);
	if (v->config_size)
		add_capability(v, VIRTIO_PCI_CAP_DEVICE_CFG, bar, PAGE_CONFIG, v->config_size);
	v->at_pci.window = add_capability(v, VIRTIO_PCI_CAP_PCI_CFG, bar, 0, 0);
}

static int pci_transport_attach(struct virtio *v, struct err *err)
{
	static const struct pci_ops ops = {
		.bar_moved = bar_moved,
		.config_read = window_read,
		.config_write = window_write,
	};
	const struct pci_ids ids = {
		.vendor = PCI_VENDOR_VIRTIO,
		.device = (uint16_t)(PCI_DEVICE_VIRTIO + v->model->id),
		.subsystem_vendor = PCI_VENDOR_VIRTIO,
		.subsystem = (uint16_t)(PCI_SUBSYSTEM + v->model->id),
		.class_code = v->model->class_code,
		.revision = 1,
	};
	int ret =
		pci_attach(v->dev->machine->pci, &v->pci, v->dev, &ids, &ops, v->options.addr, err);

	if (!ret)
		ret = pci_add_bar(&v->pci, BAR_REGISTERS, PCI_BAR_MEM64, REGISTERS, &registers_ops,
				  err);
	if (!ret && has_ports(v))
		ret = pci_add_bar(&v->pci, BAR_NOTIFY, PCI_BAR_IO, PORTS, &ports_ops, err);
	if (!ret)
		ret = pci_add_msix(&v->pci, BAR_MSIX, v->queue_count + 1, err);
	if (!ret)
		add_capabilities(v);
	return ret;
}

static void pci_transport_detach(struct virtio *v)
{
	pci_detach(&v->pci);
}

static void pci_transport_reset(struct virtio *v)
{
	pci_reset(&v->pci);
}

static int pci_transport_loaded(struct virtio *v, struct err *err)
{
	return pci_loaded(&v->pci, err);
}

const struct virtio_transport virtio_pci_transport = {
	.attach = pci_transport_attach,
	.detach = pci_transport_detach,
	.reset = pci_transport_reset,
	.loaded = pci_transport_loaded,
	.doorbell = pci_doorbell,
	.may_work = pci_may_work,
	.set_line = pci_set_line,
	.vectored = pci_vectored,
	.vector_fd = pci_vector_fd,
	.raise = pci_raise,
};
