/* SPDX-License-Identifier: BSD-2-Clause */
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/pci.h"
#include "skep/worker_sim.h"
#include "support/cm.h"
#include "support/vdriver.h"

#define MEMORY    MIB(64)
#define MEMORY_AT MIB(1)

#define MMIO_AT    UINT64_C(0xd0000000)
#define MMIO_STEP  0x1000U
#define MMIO_COUNT 64U

#define MSI_ADDRESS 0xfee00000U

const struct vdriver_way vdriver_ways[4] = {
	{false, false},
	{false, true},
	{true, false},
	{true, true},
};

/* Offset and width. */
static const struct {
	uint16_t at;
	uint8_t size;
} pci_regs[VREG_COUNT] =
	{
		[VREG_DEVICE_FEATURE_SELECT] = {0, 4},
		[VREG_DEVICE_FEATURE] = {4, 4},
		[VREG_DRIVER_FEATURE_SELECT] = {8, 4},
		[VREG_DRIVER_FEATURE] = {12, 4},
		[VREG_CONFIG_VECTOR] = {16, 2},
		[VREG_NUM_QUEUES] = {18, 2},
		[VREG_STATUS] = {20, 1},
		[VREG_GENERATION] = {21, 1},
		[VREG_QUEUE_SELECT] = {22, 2},
		[VREG_QUEUE_MAX] = {24, 2},
		[VREG_QUEUE_SIZE] = {24, 2},
		[VREG_QUEUE_VECTOR] = {26, 2},
		[VREG_QUEUE_ENABLE] = {28, 2},
		[VREG_QUEUE_NOTIFY_OFF] = {30, 2},
		[VREG_QUEUE_DESC_LOW] = {32, 4},
		[VREG_QUEUE_DESC_HIGH] = {36, 4},
		[VREG_QUEUE_DRIVER_LOW] = {40, 4},
		[VREG_QUEUE_DRIVER_HIGH] = {44, 4},
		[VREG_QUEUE_DEVICE_LOW] = {48, 4},
		[VREG_QUEUE_DEVICE_HIGH] = {52, 4},
		[VREG_QUEUE_RESET] = {58, 2},
},
  mmio_regs[VREG_COUNT] = {
	  [VREG_DEVICE_FEATURE] = {0x10, 4},
	  [VREG_DEVICE_FEATURE_SELECT] = {0x14, 4},
	  [VREG_DRIVER_FEATURE] = {0x20, 4},
	  [VREG_DRIVER_FEATURE_SELECT] = {0x24, 4},
	  [VREG_QUEUE_SELECT] = {0x30, 4},
	  [VREG_QUEUE_MAX] = {0x34, 4},
	  [VREG_QUEUE_SIZE] = {0x38, 4},
	  [VREG_QUEUE_ENABLE] = {0x44, 4},
	  [VREG_ISR] = {0x60, 4},
	  [VREG_ISR_ACK] = {0x64, 4},
	  [VREG_STATUS] = {0x70, 4},
	  [VREG_QUEUE_DESC_LOW] = {0x80, 4},
	  [VREG_QUEUE_DESC_HIGH] = {0x84, 4},
	  [VREG_QUEUE_DRIVER_LOW] = {0x90, 4},
	  [VREG_QUEUE_DRIVER_HIGH] = {0x94, 4},
	  [VREG_QUEUE_DEVICE_LOW] = {0xa0, 4},
	  [VREG_QUEUE_DEVICE_HIGH] = {0xa4, 4},
	  [VREG_QUEUE_RESET] = {0xc0, 4},
	  [VREG_GENERATION] = {0xfc, 4},
};

/* The machine */

static void sink_level(void *arg, unsigned int gsi, bool level)
{
	struct vmachine *m = arg;

	__atomic_store_n(&m->rig.level[gsi], level, __ATOMIC_SEQ_CST);
	m->rig.raised[gsi] += level;
}

static void count(struct vmachine *m, uint32_t data, uint64_t times)
{
	assert_in_range(data, 0, ARRAY_SIZE(m->raised) - 1);
	m->raised[data] += (unsigned int)times;
}

static int sink_message(void *arg, const struct msi *msi)
{
	struct vmachine *m = arg;

	assert_int_equal(msi->address, MSI_ADDRESS);
	m->rig.messages++;
	m->rig.last_message = *msi;
	count(m, msi->data, 1);
	return 0;
}

/* What was signalled by now was delivered by now. */
static void deliver(struct vmachine *m)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(m->bound); i++) {
		struct pollfd p = {.fd = m->bound[i].fd, .events = POLLIN};
		uint64_t n;

		if (p.fd >= 0 && poll(&p, 1, 0) == 1 && read(p.fd, &n, sizeof(n)) == sizeof(n))
			count(m, m->bound[i].data, n);
	}
}

static int sink_bind(void *arg, int fd, const struct msi *msi, uint32_t *handle, struct err *err)
{
	struct vmachine *m = arg;
	uint32_t n = *handle;

	(void)err;
	assert_int_equal(msi->address, MSI_ADDRESS);
	deliver(m);
	for (unsigned int i = 1; !n && i < ARRAY_SIZE(m->bound); i++)
		if (m->bound[i].fd < 0)
			n = i;
	assert_true(n);
	m->bound[n] = (struct vmachine_binding){.fd = fd, .data = msi->data};
	*handle = n;
	return 0;
}

static void sink_unbind(void *arg, int fd, uint32_t handle)
{
	struct vmachine *m = arg;

	assert_int_equal(m->bound[handle].fd, fd);
	deliver(m);
	m->bound[handle].fd = -1;
}

void vmachine_init(struct vmachine *m)
{
	const struct irq_sink sink = {
		.set = sink_level,
		.msi = sink_message,
		.bind = sink_bind,
		.unbind = sink_unbind,
		.arg = m,
	};
	struct machine *machine = &m->rig.machine;

	memset(m, 0, sizeof(*m));
	rig_init(&m->rig, MEMORY);
	for (unsigned int i = 0; i < ARRAY_SIZE(m->bound); i++)
		m->bound[i].fd = -1;
	m->next = MEMORY_AT;
	irqs_set_sink(machine->irqs, &sink);
	assert_int_equal(pci_claim(machine->pci, &m->rig.err), 0);
}

void vmachine_fini(struct vmachine *m)
{
	pci_release(m->rig.machine.pci);
	rig_fini(&m->rig);
}

uint64_t vmachine_alloc(struct vmachine *m, uint64_t len)
{
	uint64_t at = m->next;

	m->next = align_up(at + len, 4096);
	assert_true(m->next <= MEMORY);
	return at;
}

unsigned int vmachine_messages(struct vmachine *m, uint32_t data)
{
	unsigned int n;

	deliver(m);
	n = m->raised[data];
	m->raised[data] = 0;
	return n;
}

/* Registers */

static uint64_t reg_at(const struct vdriver *d, enum vreg reg, unsigned int *size)
{
	if (reg == VREG_ISR && !d->way.mmio) {
		*size = 1;
		return d->isr;
	}
	*size = d->way.mmio ? mmio_regs[reg].size : pci_regs[reg].size;
	assert_true(*size);
	return d->registers + (d->way.mmio ? mmio_regs[reg].at : pci_regs[reg].at);
}

uint32_t vdriver_get(struct vdriver *d, enum vreg reg)
{
	unsigned int size;
	uint64_t at = reg_at(d, reg, &size);

	return (uint32_t)bus_read(d->m->rig.machine.mmio, at, size);
}

void vdriver_set(struct vdriver *d, enum vreg reg, uint32_t value)
{
	unsigned int size;
	uint64_t at = reg_at(d, reg, &size);

	bus_write(d->m->rig.machine.mmio, at, size, value);
}

uint64_t vdriver_config(struct vdriver *d, unsigned int at, unsigned int size)
{
	return bus_read(d->m->rig.machine.mmio, d->config + at, size);
}

void vdriver_set_config(struct vdriver *d, unsigned int at, unsigned int size, uint64_t value)
{
	bus_write(d->m->rig.machine.mmio, d->config + at, size, value);
}

/* Finding the device */

static uint32_t pci_get(const struct vdriver *d, unsigned int devfn, unsigned int at,
			unsigned int size)
{
	return pci_config_read(d->m->rig.machine.pci, devfn, at, size);
}

static bool is_port(const struct vdriver *d, unsigned int bar)
{
	return pci_get(d, d->devfn, 0x10 + 4 * bar, 4) & 1;
}

static uint64_t bar_at(const struct vdriver *d, unsigned int bar)
{
	uint32_t low = pci_get(d, d->devfn, 0x10 + 4 * bar, 4);

	if (low & 1)
		return low & ~3U;
	return (low & ~0xfU) |
	       ((low & 6) == 4 ? (uint64_t)pci_get(d, d->devfn, 0x14 + 4 * bar, 4) << 32 : 0);
}

static void find_structures(struct vdriver *d)
{
	unsigned int cap = pci_get(d, d->devfn, 0x34, 1);

	for (unsigned int n = 0; cap; cap = pci_get(d, d->devfn, cap + 1, 1)) {
		unsigned int id = pci_get(d, d->devfn, cap, 1);
		uint64_t at;

		assert_in_range(n++, 0, 48);
		if (id == 0x11) {
			d->msix_cap = cap;
			d->vectors = (pci_get(d, d->devfn, cap + 2, 2) & 0x7ff) + 1;
			at = pci_get(d, d->devfn, cap + 4, 4);
			d->msix_table = bar_at(d, at & 7) + (at & ~7U);
		}
		if (id != 9 || pci_get(d, d->devfn, cap + 3, 1) == VIRTIO_PCI_CAP_PCI_CFG)
			continue;
		at = bar_at(d, pci_get(d, d->devfn, cap + 4, 1)) + pci_get(d, d->devfn, cap + 8, 4);
		switch (pci_get(d, d->devfn, cap + 3, 1)) {
		case VIRTIO_PCI_CAP_COMMON_CFG:
			d->registers = at;
			break;
		case VIRTIO_PCI_CAP_NOTIFY_CFG:
			/* The first is to be taken (4.1.4). */
			if (d->notify)
				break;
			d->notify_port = is_port(d, pci_get(d, d->devfn, cap + 4, 1));
			d->notify = at;
			d->notify_every = pci_get(d, d->devfn, cap + 16, 4);
			break;
		case VIRTIO_PCI_CAP_ISR_CFG:
			d->isr = at;
			break;
		case VIRTIO_PCI_CAP_DEVICE_CFG:
			d->config = at;
			break;
		default:
			fail_msg("capability of type %u", pci_get(d, d->devfn, cap + 3, 1));
		}
	}
	assert_true(d->registers && d->notify && d->isr && d->msix_table);
}

static uint32_t pci_slots(const struct vdriver *d)
{
	uint32_t slots = 0;

	for (unsigned int i = 0; i < PCI_SLOTS; i++)
		if (pci_get(d, i << 3, 0, 2) == 0x1af4)
			slots |= 1U << i;
	return slots;
}

static uint64_t mmio_places(const struct vdriver *d)
{
	uint64_t places = 0;

	for (unsigned int i = 0; i < MMIO_COUNT; i++)
		if (bus_read(d->m->rig.machine.mmio, MMIO_AT + i * MMIO_STEP, 4) == 0x74726976)
			places |= bit64(i);
	return places;
}

static void find_pci(struct vdriver *d, uint32_t before)
{
	uint32_t fresh = pci_slots(d) & ~before;

	assert_true(is_power_of_two(fresh));
	d->devfn = (unsigned int)__builtin_ctz(fresh) << 3;
	d->id = (uint16_t)(pci_get(d, d->devfn, 2, 2) - 0x1040);
	assert_int_equal(pci_place(d->m->rig.machine.pci, &d->m->rig.err), 0);
	/* Memory space and bus master. */
	pci_config_write(d->m->rig.machine.pci, d->devfn, 4, 2, 7);
	find_structures(d);
	d->gsi = PCI_INTX_GSI + pci_intx_wire(d->devfn >> 3);
}

static void find_mmio(struct vdriver *d, uint64_t before)
{
	static const uint8_t wires[] = {5, 7, 14, 15};
	uint64_t fresh = mmio_places(d) & ~before;
	unsigned int n;

	assert_true(is_power_of_two(fresh));
	n = (unsigned int)__builtin_ctzll(fresh);
	d->registers = MMIO_AT + n * MMIO_STEP;
	d->config = d->registers + VIRTIO_MMIO_CONFIG;
	d->gsi = wires[n % ARRAY_SIZE(wires)];
	assert_int_equal(bus_read(d->m->rig.machine.mmio, d->registers + 4, 4), 2);
	d->id = (uint16_t)bus_read(d->m->rig.machine.mmio, d->registers + 8, 4);
}

bool vdriver_try(struct vdriver *d, struct vmachine *m, const struct vdriver_way *way,
		 const char *model, const char *options)
{
	uint64_t places;
	uint32_t slots;
	char all[512], id[16];

	memset(d, 0, sizeof(*d));
	d->m = m;
	d->way = *way;
	d->msix = true;
	slots = pci_slots(d);
	places = mmio_places(d);
	snprintf(all, sizeof(all), "transport=%s packed=%s %s", way->mmio ? "mmio" : "pci",
		 way->packed ? "on" : "off", options);
	snprintf(id, sizeof(id), "dev%u",
		 (unsigned int)(__builtin_popcount(slots) + __builtin_popcountll(places)));
	d->dev = rig_device(&m->rig, id, model, all);
	if (!d->dev)
		return false;
	if (way->mmio)
		find_mmio(d, places);
	else
		find_pci(d, slots);
	return true;
}

void vdriver_create(struct vdriver *d, struct vmachine *m, const struct vdriver_way *way,
		    const char *model, const char *options)
{
	if (!vdriver_try(d, m, way, model, options))
		fail_msg("%s", m->rig.err.text);
}

static void forget_rings(struct vdriver *d)
{
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		if (d->set_up[i])
			vring_teardown(&d->rings[i]);
		d->set_up[i] = false;
	}
}

void vdriver_destroy(struct vdriver *d)
{
	forget_rings(d);
	device_destroy(d->dev);
}

/* Bringing it up */

uint64_t vdriver_offered(struct vdriver *d)
{
	uint64_t low;

	vdriver_set(d, VREG_DEVICE_FEATURE_SELECT, 0);
	low = vdriver_get(d, VREG_DEVICE_FEATURE);
	vdriver_set(d, VREG_DEVICE_FEATURE_SELECT, 1);
	return low | (uint64_t)vdriver_get(d, VREG_DEVICE_FEATURE) << 32;
}

void vdriver_reset(struct vdriver *d)
{
	vdriver_set(d, VREG_STATUS, 0);
	assert_int_equal(vdriver_get(d, VREG_STATUS), 0);
	d->came = 0;
	forget_rings(d);
}

/* Vector n carries n. */
static void set_vectors(struct vdriver *d)
{
	struct machine *m = &d->m->rig.machine;

	for (unsigned int i = 0; d->msix && i < d->vectors; i++) {
		bus_write(m->mmio, d->msix_table + 16 * i, 4, MSI_ADDRESS);
		bus_write(m->mmio, d->msix_table + 16 * i + 4, 4, 0);
		bus_write(m->mmio, d->msix_table + 16 * i + 8, 4, i);
		bus_write(m->mmio, d->msix_table + 16 * i + 12, 4, 0);
	}
	pci_config_write(m->pci, d->devfn, d->msix_cap + 2, 2, d->msix ? 0x8000 : 0);
}

bool vdriver_negotiate(struct vdriver *d, uint64_t features)
{
	uint64_t offered = vdriver_offered(d);

	vdriver_reset(d);
	if (!d->way.mmio)
		set_vectors(d);
	vdriver_set(d, VREG_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	vdriver_set(d, VREG_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	if (features == UINT64_MAX)
		features &= ~VIRTIO_FEATURE(VIRTIO_F_IN_ORDER);
	features &= ~VIRTIO_FEATURE(VIRTIO_F_RING_PACKED);
	features |= VIRTIO_FEATURE(VIRTIO_F_VERSION_1);
	features |= d->way.packed ? VIRTIO_FEATURE(VIRTIO_F_RING_PACKED) : 0;
	d->features = features & offered;
	vdriver_set(d, VREG_DRIVER_FEATURE_SELECT, 0);
	vdriver_set(d, VREG_DRIVER_FEATURE, (uint32_t)d->features);
	vdriver_set(d, VREG_DRIVER_FEATURE_SELECT, 1);
	vdriver_set(d, VREG_DRIVER_FEATURE, (uint32_t)(d->features >> 32));
	vdriver_set(d, VREG_STATUS,
		    VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			    VIRTIO_CONFIG_S_FEATURES_OK);
	if (!d->way.mmio)
		vdriver_set(d, VREG_CONFIG_VECTOR, d->msix ? 0 : VIRTIO_MSI_NO_VECTOR);
	return vdriver_get(d, VREG_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK;
}

static void set_area(struct vdriver *d, enum vreg low, uint64_t gpa)
{
	vdriver_set(d, low, (uint32_t)gpa);
	vdriver_set(d, low + 1, (uint32_t)(gpa >> 32));
}

static bool has(const struct vdriver *d, unsigned int bit)
{
	return d->features >> bit & 1;
}

void vdriver_queue(struct vdriver *d, unsigned int n, unsigned int size, uint64_t room)
{
	const struct virtq_features features = {
		.packed = has(d, VIRTIO_F_RING_PACKED),
		.event_idx = has(d, VIRTIO_RING_F_EVENT_IDX),
		.indirect = has(d, VIRTIO_RING_F_INDIRECT_DESC),
		.in_order = has(d, VIRTIO_F_IN_ORDER),
	};
	struct vring_driver *ring = &d->rings[n];

	vdriver_set(d, VREG_QUEUE_SELECT, n);
	assert_int_equal(vdriver_get(d, VREG_QUEUE_ENABLE), 0);
	size = size ? size : vdriver_get(d, VREG_QUEUE_MAX);
	assert_true(size);
	room += 40 * size;
	if (d->set_up[n])
		vring_teardown(ring);
	vring_setup(ring, d->m->rig.machine.mem, vmachine_alloc(d->m, room), room, size, &features);
	d->set_up[n] = true;
	vdriver_set(d, VREG_QUEUE_SIZE, size);
	set_area(d, VREG_QUEUE_DESC_LOW, ring->setup.desc);
	set_area(d, VREG_QUEUE_DRIVER_LOW, ring->setup.driver);
	set_area(d, VREG_QUEUE_DEVICE_LOW, ring->setup.device);
	if (!d->way.mmio && d->msix) {
		vdriver_set(d, VREG_QUEUE_VECTOR, n + 1);
		assert_int_equal(vdriver_get(d, VREG_QUEUE_VECTOR), n + 1);
	}
	vdriver_set(d, VREG_QUEUE_ENABLE, 1);
	assert_int_equal(vdriver_get(d, VREG_QUEUE_ENABLE), 1);
}

uint8_t vdriver_go(struct vdriver *d)
{
	vdriver_set(d, VREG_STATUS, vdriver_get(d, VREG_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
	return (uint8_t)vdriver_get(d, VREG_STATUS);
}

void vdriver_start(struct vdriver *d, uint64_t features)
{
	assert_true(vdriver_negotiate(d, features));
	for (unsigned int i = 0; i < VIRTIO_QUEUES_MAX; i++) {
		vdriver_set(d, VREG_QUEUE_SELECT, i);
		if (vdriver_get(d, VREG_QUEUE_MAX))
			vdriver_queue(d, i, 0, KIB(256));
	}
	assert_int_equal(vdriver_go(d), VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
						VIRTIO_CONFIG_S_FEATURES_OK |
						VIRTIO_CONFIG_S_DRIVER_OK);
}

/* Using it */

struct vring_driver *vdriver_ring(struct vdriver *d, unsigned int n)
{
	assert_true(d->set_up[n]);
	return &d->rings[n];
}

void vdriver_ring_bell(struct vdriver *d, unsigned int n)
{
	struct bus *bus = d->m->rig.machine.mmio;

	if (d->way.mmio) {
		bus_write(bus, d->registers + VIRTIO_MMIO_QUEUE_NOTIFY, 4, n);
		return;
	}
	if (d->notify_port)
		bus = d->m->rig.machine.ports;
	vdriver_set(d, VREG_QUEUE_SELECT, n);
	bus_write(bus,
		  d->notify + (uint64_t)vdriver_get(d, VREG_QUEUE_NOTIFY_OFF) * d->notify_every, 2,
		  n);
}

void vdriver_kick(struct vdriver *d, unsigned int n)
{
	if (vring_must_kick(vdriver_ring(d, n)))
		vdriver_ring_bell(d, n);
}

void vdriver_turn(struct vdriver *d)
{
	assert_true(worker_sim_run(vmachine_worker(d->m), 1000000) < 1000000);
}

uint32_t vdriver_transact(struct vdriver *d, unsigned int n, const struct vring_buf *bufs,
			  unsigned int out, unsigned int in)
{
	struct vring_driver *ring = vdriver_ring(d, n);
	struct vring_done done;

	assert_int_equal(vring_add(ring, bufs, out, in, false, d), 0);
	vdriver_kick(d, n);
	vdriver_turn(d);
	assert_true(vring_reap(ring, &done));
	assert_ptr_equal(done.cookie, d);
	return done.written;
}

static bool line_interrupted(struct vdriver *d, uint8_t bit)
{
	bool came;

	if (__atomic_load_n(&d->m->rig.level[d->gsi], __ATOMIC_SEQ_CST)) {
		uint32_t isr = vdriver_get(d, VREG_ISR);

		d->came |= (uint8_t)isr;
		if (d->way.mmio)
			vdriver_set(d, VREG_ISR_ACK, isr);
	}
	came = d->came & bit;
	d->came &= (uint8_t)~bit;
	return came;
}

bool vdriver_interrupted(struct vdriver *d, unsigned int n)
{
	if (!d->way.mmio && d->msix)
		return vmachine_messages(d->m, n + 1);
	return line_interrupted(d, VIRTIO_MMIO_INT_VRING);
}

bool vdriver_config_interrupted(struct vdriver *d)
{
	if (!d->way.mmio && d->msix)
		return vmachine_messages(d->m, 0);
	return line_interrupted(d, VIRTIO_MMIO_INT_CONFIG);
}

struct virtio *vdriver_virtio(struct vdriver *d)
{
	return (struct virtio *)((uintptr_t)d->dev + d->dev->class->family_offset);
}
