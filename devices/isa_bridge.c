/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * isa_bridge - the function by which a guest sees that this PC has ISA's devices: class 0601h.
 *
 * Those devices are at their old addresses with or without it, so it has no registers but its
 * header, and no interrupt pin. In a machine without PCI there is nothing to bridge, and it is not
 * there. It calls itself Intel's 82371AB (PIIX4), which guests
 * take as it is: an older PIIX has them switch off DMA that is not there, a younger ICH has them
 * look for its registers.
 *
 * vCPU threads, under the device's lock.
 */
#include "skep/bits.h"
#include "skep/device.h"
#include "skep/pci.h"

struct isa {
	struct device dev;
	struct pci_function function;
	struct isa_options {
		const char *addr;
	} options;
};

static const struct option isa_options[] = {
	{
		.name = "addr",
		.type = OPTION_STRING,
		.offset = offsetof(struct isa_options, addr),
		.help = "PCI slot, SLOT or SLOT.FUNCTION in hexadecimal; the first free one",
	},
	OPTION_END,
};

static struct isa *to_isa(struct device *dev)
{
	return container_of(dev, struct isa, dev);
}

static int isa_create(struct device *dev, struct err *err)
{
	static const struct pci_ids ids = {
		.vendor = 0x8086,
		.device = 0x7110,
		.class_code = 0x060100,
		.silent = true,
	};
	struct isa *isa = to_isa(dev);

	if (!pci_present(dev->machine->pci))
		return 0;
	return pci_attach(dev->machine->pci, &isa->function, dev, &ids, NULL, isa->options.addr,
			  err);
}

static void isa_destroy(struct device *dev)
{
	pci_detach(&to_isa(dev)->function);
}

DEVICE_CLASS(isa_bridge) = {
	.name = "isa_bridge",
	.summary = "PCI-to-ISA bridge",
	.size = sizeof(struct isa),
	.family = &pci_family,
	.family_offset = offsetof(struct isa, function),
	.options = isa_options,
	.options_offset = offsetof(struct isa, options),
	.create = isa_create,
	.destroy = isa_destroy,
};
