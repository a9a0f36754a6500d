/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pvpanic - the port by which a guest's kernel says that it has panicked.
 *
 * QEMU, docs/specs/pvpanic, "ISA Interface". Read: the events that the device knows. Written, bits
 * that it does not know are ignored:
 *
 *	bit 0	panicked, and the host is to deal with it: the machine ends
 *	bit 1	panicked, and the guest deals with it (a crash kernel is loaded): told, no more
 *
 * Linux finds the port by the ACPI name QEMU0001 and its first resource. No state. vCPU threads,
 * under the device's lock.
 */
#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/log.h"

#define PVPANIC_PANICKED     0x01
#define PVPANIC_CRASH_LOADED 0x02

struct pvpanic_options {
	uint64_t port;
};

struct pvpanic {
	struct device dev;
	struct pvpanic_options options;
	bool mapped;
};

static const struct option pvpanic_options[] = {
	{
		.name = "port",
		.type = OPTION_UINT,
		.offset = offsetof(struct pvpanic_options, port),
		.fallback = "0x505",
		.max = 0xffff,
		.help = "the port",
	},
	OPTION_END,
};

static struct pvpanic *to_pvpanic(struct device *dev)
{
	return container_of(dev, struct pvpanic, dev);
}

static uint64_t pvpanic_read(struct device *dev, uint64_t offset, unsigned int size)
{
	(void)dev;
	(void)offset;
	(void)size;
	return PVPANIC_PANICKED | PVPANIC_CRASH_LOADED;
}

static void pvpanic_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	(void)offset;
	(void)size;
	if (value & PVPANIC_PANICKED)
		machine_end(dev->machine, END_PANIC, 0, "the guest's kernel panicked");
	else if (value & PVPANIC_CRASH_LOADED)
		log_guest(dev->machine->log, LOG_WARN,
			  "the guest's kernel panicked; its crash kernel goes on");
}

static const struct bus_ops pvpanic_ops = {
	.read = pvpanic_read,
	.write = pvpanic_write,
	.max_size = 1,
};

static int pvpanic_create(struct device *dev, struct err *err)
{
	struct pvpanic *p = to_pvpanic(dev);
	int ret = bus_map(dev->machine->ports, p->options.port, 1, &pvpanic_ops, dev, err);

	p->mapped = !ret;
	return ret;
}

static void pvpanic_destroy(struct device *dev)
{
	struct pvpanic *p = to_pvpanic(dev);

	if (p->mapped)
		bus_unmap(dev->machine->ports, p->options.port);
}

static void pvpanic_describe(const struct device *dev, struct aml *aml)
{
	const struct pvpanic *p = container_of(dev, const struct pvpanic, dev);

	aml_device(aml, "PEVT");
	aml_name(aml, "_HID");
	aml_string(aml, "QEMU0001");
	aml_name(aml, "_CRS");
	aml_resources(aml);
	aml_io(aml, (uint16_t)p->options.port, 1);
	aml_end(aml);
	aml_end(aml);
}

static void pvpanic_explain(const struct access *a, struct explain_memory *m, struct explanation *e)
{
	static const char *const bits[] = {"panicked", "crash kernel loaded"};

	(void)m;
	explain_reg(e, "EVENTS");
	explain_bits(e, a->value, bits, ARRAY_SIZE(bits));
}

DEVICE_CLASS(pvpanic) = {
	.name = "pvpanic",
	.summary = "port by which a guest's kernel reports its panic (QEMU)",
	.size = sizeof(struct pvpanic),
	.options = pvpanic_options,
	.options_offset = offsetof(struct pvpanic, options),
	.create = pvpanic_create,
	.destroy = pvpanic_destroy,
	.describe = pvpanic_describe,
	.explain = pvpanic_explain,
};
