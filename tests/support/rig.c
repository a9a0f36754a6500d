/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/worker_sim.h"
#include "skep/workers.h"
#include "support/cm.h"
#include "support/rig.h"

static void record_level(void *arg, unsigned int gsi, bool level)
{
	struct rig *r = arg;

	r->level[gsi] = level;
	r->raised[gsi] += level;
}

static int record_message(void *arg, const struct msi *msi)
{
	struct rig *r = arg;

	r->messages++;
	r->last_message = *msi;
	return 0;
}

static unsigned int deliver(struct rig *r, struct rig_bound *b)
{
	uint64_t count;

	if (!b->used || read(b->fd, &count, sizeof(count)) != sizeof(count))
		return 0;
	b->sent++;
	record_message(r, &b->msi);
	return 1;
}

/* As KVM does it: a count that is there already is sent at once. */
static int record_bind(void *arg, int fd, const struct msi *msi, uint32_t *handle, struct err *err)
{
	struct rig *r = arg;
	struct rig_bound *b;
	uint32_t i = *handle ? *handle - 1 : 0;

	r->binds++;
	if (r->bind_fails)
		return err_sys(err, r->bind_fails, "the rig binds nothing");
	while (!*handle && i < RIG_BOUND_MAX && r->bound[i].used) {
		assert_int_not_equal(r->bound[i].fd, fd);
		i++;
	}
	assert_true(i < RIG_BOUND_MAX);
	b = &r->bound[i];
	if (*handle) {
		assert_true(b->used && b->fd == fd);
		deliver(r, b);
	} else {
		*b = (struct rig_bound){.used = true, .fd = fd};
	}
	b->msi = *msi;
	*handle = i + 1;
	deliver(r, b);
	return 0;
}

static void record_unbind(void *arg, int fd, uint32_t handle)
{
	struct rig *r = arg;

	r->unbinds++;
	assert_true(handle && handle <= RIG_BOUND_MAX);
	assert_true(r->bound[handle - 1].used && r->bound[handle - 1].fd == fd);
	deliver(r, &r->bound[handle - 1]);
	r->bound[handle - 1].used = false;
}

const struct rig_bound *rig_bound(const struct rig *r, int fd)
{
	for (unsigned int i = 0; i < RIG_BOUND_MAX; i++)
		if (r->bound[i].used && r->bound[i].fd == fd)
			return &r->bound[i];
	return NULL;
}

unsigned int rig_deliver(struct rig *r)
{
	unsigned int sent = 0;

	for (unsigned int i = 0; i < RIG_BOUND_MAX; i++)
		sent += deliver(r, &r->bound[i]);
	return sent;
}

static void record_intr(void *arg, bool level)
{
	struct rig *r = arg;

	r->intr = level;
}

static void record_watch(void *arg, unsigned int pin, const struct msi *msi)
{
	struct rig *r = arg;

	assert_true(pin < GSI_MAX);
	r->watched &= ~bit64(pin);
	if (!msi)
		return;
	r->watched |= bit64(pin);
	r->watched_message[pin] = *msi;
}

static void record_end(struct machine *m, const struct ending *ending)
{
	struct rig *r = container_of(m, struct rig, machine);

	if (r->ended)
		return;
	r->ended = true;
	r->ending = *ending;
}

void rig_init(struct rig *r, uint64_t memory)
{
	const struct irq_sink sink = {
		.set = record_level,
		.msi = record_message,
		.bind = record_bind,
		.unbind = record_unbind,
		.intr = record_intr,
		.watch = record_watch,
		.arg = r,
	};
	const struct gmem_options options = {.size = memory ? memory : MIB(1)};
	struct machine *m = &r->machine;

	memset(r, 0, sizeof(*r));
	r->config = config_new();
	assert_non_null(r->config);
	assert_int_equal(gmem_create(&m->mem, &options, &r->err), 0);
	assert_int_equal(bus_create(&m->ports, "port", 65536, &r->err), 0);
	assert_int_equal(bus_create(&m->mmio, "memory", UINT64_MAX, &r->err), 0);
	assert_int_equal(irqs_create(&m->irqs, &r->err), 0);
	irqs_set_sink(m->irqs, &sink);
	assert_int_equal(vtime_create_manual(&m->time, &r->err), 0);
	assert_int_equal(worker_sim_create(&m->control, 1, &r->err), 0);
	assert_int_equal(workers_create_shared(&m->workers, m->control, &r->err), 0);
	assert_int_equal(pci_create(&m->pci, m, &r->err), 0);
	m->end = record_end;
}

void rig_fini(struct rig *r)
{
	for (unsigned int i = 0; i < RIG_BOUND_MAX; i++)
		assert_false(r->bound[i].used);
	pci_destroy(r->machine.pci);
	workers_destroy(r->machine.workers);
	worker_destroy(r->machine.control);
	vtime_destroy(r->machine.time);
	irqs_destroy(r->machine.irqs);
	bus_destroy(r->machine.mmio);
	bus_destroy(r->machine.ports);
	gmem_destroy(r->machine.mem);
	config_free(r->config);
}

struct device *rig_device(struct rig *r, const char *id, const char *model, const char *options)
{
	char key[64], *copy = strdup(options), *save = NULL;
	struct device *dev = NULL;

	assert_non_null(copy);
	snprintf(key, sizeof(key), "device.%s", id);
	assert_int_equal(config_set(r->config, key, model, &r->err), 0);
	for (char *p = strtok_r(copy, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
		char pair[256];

		snprintf(pair, sizeof(pair), "device.%s.%s", id, p);
		assert_int_equal(config_set_pair(r->config, pair, &r->err), 0);
	}
	free(copy);
	if (device_create(&dev, id, r->config, &r->machine, &r->err))
		return NULL;
	return dev;
}

uint8_t rig_in8(struct rig *r, uint16_t port)
{
	return (uint8_t)bus_read(r->machine.ports, port, 1);
}

void rig_out8(struct rig *r, uint16_t port, uint8_t value)
{
	bus_write(r->machine.ports, port, 1, value);
}
