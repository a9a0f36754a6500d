/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/card.h"
#include "skep/bits.h"
#include "support/cm.h"

static struct card *to_card(struct device *dev)
{
	return container_of(dev, struct card, dev);
}

static uint64_t answer(unsigned int bar, uint64_t offset, unsigned int size)
{
	return CARD_ANSWER(bar, offset) & ones(MIN(size, 4U));
}

static uint64_t ports_read(struct device *dev, uint64_t offset, unsigned int size)
{
	(void)dev;
	return answer(0, offset, size);
}

static uint64_t mem32_read(struct device *dev, uint64_t offset, unsigned int size)
{
	(void)dev;
	return answer(1, offset, size);
}

static uint64_t mem64_read(struct device *dev, uint64_t offset, unsigned int size)
{
	(void)dev;
	return answer(2, offset, size);
}

static void bar_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	(void)offset, (void)size;
	to_card(dev)->written = value;
}

static const struct bus_ops ports_ops = {.read = ports_read, .write = bar_write, .max_size = 4};
static const struct bus_ops mem32_ops = {.read = mem32_read, .write = bar_write, .max_size = 4};
static const struct bus_ops mem64_ops = {.read = mem64_read, .write = bar_write, .max_size = 4};

static void bar_moved(struct pci_function *f, unsigned int bar, bool mapped, uint64_t at)
{
	struct card_bar *b = &container_of(f, struct card, function)->bars[bar];

	assert_int_equal(b->mapped, !mapped);
	if (!mapped)
		assert_int_equal(b->at, at);
	*b = (struct card_bar){.mapped = mapped, .at = at, .moves = b->moves + 1};
}

static bool hook_read(struct pci_function *f, unsigned int at, unsigned int size, uint32_t *value)
{
	struct card *c = container_of(f, struct card, function);

	assert_true(at >= c->hooked && at + size <= c->hooked + 8);
	c->hook_reads++;
	if (at < c->hooked + 4)
		return false;
	*value = c->hook_value;
	return true;
}

static bool hook_write(struct pci_function *f, unsigned int at, unsigned int size, uint32_t value)
{
	struct card *c = container_of(f, struct card, function);

	assert_true(at >= c->hooked && at + size <= c->hooked + 8);
	assert_true(!(value & ~ones(size)));
	c->hook_writes++;
	if (at < c->hooked + 4)
		return false;
	c->hook_value = value;
	return true;
}

static const struct pci_ops card_ops = {
	.bar_moved = bar_moved,
	.config_read = hook_read,
	.config_write = hook_write,
};

static int card_create(struct device *dev, struct err *err)
{
	static const struct pci_ids ids = {
		.vendor = CARD_ID & 0xffff,
		.device = CARD_ID >> 16,
		.subsystem_vendor = 0x1234,
		.subsystem = 0x5678,
		.class_code = 0xff0102,
		.revision = 3,
	};
	static const uint8_t body[6] = {8, 0, 0, 0, 0, 0}, writable[6] = {0, 0x0f, 0, 0, 0, 0};
	struct card *c = to_card(dev);
	struct pci_function *f = &c->function;
	uint64_t mem64 = c->options.mem64 ? c->options.mem64 : CARD_MEM64;
	int ret = pci_attach(dev->machine->pci, f, dev, &ids, &card_ops, c->options.addr, err);

	if (!ret)
		ret = pci_add_bar(f, 0, PCI_BAR_IO, CARD_PORTS, &ports_ops, err);
	if (!ret)
		ret = pci_add_bar(f, 1, PCI_BAR_MEM32, CARD_MEM32, &mem32_ops, err);
	if (!ret)
		ret = pci_add_bar(f, 2, PCI_BAR_MEM64, mem64, &mem64_ops, err);
	if (!ret && c->options.vectors)
		ret = pci_add_msix(f, 4, (unsigned int)c->options.vectors, err);
	if (!ret)
		c->hooked = pci_add_cap(f, CARD_HOOKED, 8, body, writable, true);
	return ret;
}

static void card_reset(struct device *dev)
{
	pci_reset(&to_card(dev)->function);
}

static int card_loaded(struct device *dev, struct err *err)
{
	return pci_loaded(&to_card(dev)->function, err);
}

static void card_destroy(struct device *dev)
{
	pci_detach(&to_card(dev)->function);
}

static const struct option card_options[] = {
	{.name = "addr",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct card_options, addr),
	 .help = "PCI slot"},
	{.name = "vectors",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct card_options, vectors),
	 .max = PCI_MSIX_MAX,
	 .help = "MSI-X vectors"},
	{.name = "mem64",
	 .type = OPTION_SIZE,
	 .offset = offsetof(struct card_options, mem64),
	 .max = UINT64_MAX,
	 .help = "bytes of BAR 2"},
	OPTION_END,
};

DEVICE_CLASS(test_card) = {
	.name = "test_card",
	.summary = "a PCI function of the tests",
	.size = sizeof(struct card),
	.options = card_options,
	.options_offset = offsetof(struct card, options),
	.state = &pci_function_state,
	.state_offset = offsetof(struct card, function.data),
	.create = card_create,
	.reset = card_reset,
	.loaded = card_loaded,
	.destroy = card_destroy,
};

struct card *card_new(struct rig *r, const char *id, const char *options)
{
	struct device *dev = rig_device(r, id, "test_card", options);

	if (!dev)
		fail_msg("%s", r->err.text);
	return to_card(dev);
}

static uint64_t ecam(unsigned int devfn, unsigned int at)
{
	return PCI_ECAM_AT + ((uint64_t)devfn << 12) + at;
}

uint32_t config_in(struct rig *r, unsigned int devfn, unsigned int at, unsigned int size)
{
	return (uint32_t)bus_read(r->machine.mmio, ecam(devfn, at), size);
}

void config_out(struct rig *r, unsigned int devfn, unsigned int at, unsigned int size,
		uint32_t value)
{
	bus_write(r->machine.mmio, ecam(devfn, at), size, value);
}
