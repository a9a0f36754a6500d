/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Base address registers (PCI 3.0, section 6.2.5): what a guest writes into them and into the
 * command register, and where the function is on the buses. And the places that they are given
 * before the machine runs, for want of a firmware.
 *
 * Invariant: a BAR is mapped where its register says, or not at all.
 */
#include "pci_priv.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/log.h"

#define BAR_IO    0x1U
#define BAR_MEM64 0x4U

static uint8_t *bar_register(uint8_t *config, unsigned int bar)
{
	return config + CONFIG_BARS + (size_t)4 * bar;
}

/* Section 6.2.5.1. Of ports the upper half is hardwired to zero: a PC has 65,536. */
int pci_add_bar(struct pci_function *f, unsigned int bar, enum pci_bar_kind kind, uint64_t size,
		const struct bus_ops *ops, struct err *err)
{
	bool io = kind == PCI_BAR_IO, wide = kind == PCI_BAR_MEM64;
	uint64_t most = io ? 0x100 : wide ? UINT64_C(1) << 40 : UINT64_C(1) << 31;
	uint64_t mask = ~(size - 1) & (io ? UINT64_C(0xffff) : UINT64_MAX);

	bug_on(kind == PCI_BAR_NONE || bar + wide >= PCI_BARS || f->bars[bar].size ||
	       (bar && f->bars[bar - 1].kind == PCI_BAR_MEM64) || (wide && f->bars[bar + 1].size));
	if (!is_power_of_two(size) || size < (io ? 4 : 16) || size > most)
		return err_set(err, EINVAL, "PCI BAR %u of %s cannot be %llu bytes long", bar,
			       f->dev->id, (unsigned long long)size);
	f->bars[bar] = (struct pci_bar){.kind = kind, .size = size, .ops = ops};
	store_le32(bar_register(f->power_on, bar), io ? BAR_IO : wide ? BAR_MEM64 : 0);
	store_le32(bar_register(f->writable, bar), (uint32_t)mask);
	if (wide)
		store_le32(bar_register(f->writable, bar + 1), (uint32_t)(mask >> 32));
	f->writable[CONFIG_COMMAND] |= io ? COMMAND_IO : COMMAND_MEMORY;
	memcpy(f->data.config, f->power_on, sizeof(f->power_on));
	return 0;
}

static struct bus *bar_bus(const struct pci_function *f, const struct pci_bar *bar)
{
	const struct machine *m = f->pci->machine;

	return bar->kind == PCI_BAR_IO ? m->ports : m->mmio;
}

static uint64_t bar_address(const struct pci_function *f, unsigned int i)
{
	const uint8_t *reg = f->data.config + CONFIG_BARS + (size_t)4 * i;
	uint64_t at = load_le32(reg);

	if (f->bars[i].kind == PCI_BAR_MEM64)
		at |= (uint64_t)load_le32(reg + 4) << 32;
	/* The bits that say what it is lie below the smallest size. */
	return at & ~(f->bars[i].size - 1);
}

static bool bar_enabled(const struct pci_function *f, const struct pci_bar *bar)
{
	unsigned int bit = bar->kind == PCI_BAR_IO ? COMMAND_IO : COMMAND_MEMORY;

	return bar->kind != PCI_BAR_NONE && pci_command(f) & bit;
}

static bool is_ram(const struct machine *m, uint64_t at, uint64_t len)
{
	const struct gmem_region *regions;
	unsigned int count = gmem_regions(m->mem, &regions);

	for (unsigned int i = 0; i < count; i++)
		if (ranges_overlap(at, len, regions[i].gpa, regions[i].size))
			return true;
	return false;
}

static int map(struct pci_function *f, unsigned int i, struct err *err)
{
	struct pci_bar *bar = &f->bars[i];
	uint64_t at = bar_address(f, i);
	int ret;

	if (!at || (bar->kind != PCI_BAR_IO && is_ram(f->pci->machine, at, bar->size)))
		return err_set(err, EFAULT, "%llx is no address for a device",
			       (unsigned long long)at);
	ret = bus_map(bar_bus(f, bar), at, bar->size, bar->ops, f->dev, err);
	if (ret)
		return ret;
	bar->at = at;
	bar->mapped = true;
	if (f->ops && f->ops->bar_moved)
		f->ops->bar_moved(f, i, true, at);
	return 0;
}

static void unmap(struct pci_function *f, unsigned int i)
{
	struct pci_bar *bar = &f->bars[i];

	if (f->ops && f->ops->bar_moved)
		f->ops->bar_moved(f, i, false, bar->at);
	bus_unmap(bar_bus(f, bar), bar->at);
	bar->mapped = false;
}

bool pci_sync_bars(struct pci_function *f)
{
	bool moved = false;
	struct err err;

	/* First away from the old places, so that BARs of one function may change theirs. */
	for (unsigned int i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &f->bars[i];

		if (!bar->mapped || (bar_enabled(f, bar) && bar->at == bar_address(f, i)))
			continue;
		unmap(f, i);
		moved = true;
	}
	for (unsigned int i = 0; i < PCI_BARS; i++) {
		struct pci_bar *bar = &f->bars[i];

		if (!bar->mapped && bar_enabled(f, bar) && map(f, i, &err))
			log_guest(f->pci->machine->log, LOG_DEBUG,
				  "%s: the guest's BAR %u does not decode: %s", f->dev->id, i,
				  err.text);
	}
	return moved;
}

void pci_retry_bars(struct pci_function *f)
{
	for (unsigned int i = 0; i < PCI_BARS; i++)
		if (!f->bars[i].mapped && bar_enabled(f, &f->bars[i]))
			map(f, i, NULL);
}

void pci_unmap_bars(struct pci_function *f)
{
	for (unsigned int i = 0; i < PCI_BARS; i++)
		if (f->bars[i].mapped)
			unmap(f, i);
}

/* Windows */

void pci_set_address_bits(struct pci *pci, unsigned int bits)
{
	pci->address_bits = bits;
}

uint64_t pci_window64(const struct machine *m)
{
	const struct gmem_region *regions;
	unsigned int count = gmem_regions(m->mem, &regions);
	uint64_t end = GMEM_HOLE_END;

	for (unsigned int i = 0; i < count; i++)
		end = MAX(end, regions[i].gpa + regions[i].size);
	return align_up(end, GIB(1));
}

uint64_t pci_window64_len(const struct machine *m)
{
	uint64_t at = pci_window64(m), limit = bit64(MIN(m->pci->address_bits, 52U));

	return at < limit ? MIN(limit - at, PCI_MEM64_LEN) : 0;
}

struct window {
	uint64_t next, end;
};

struct windows {
	struct window io, mem32, mem64;
};

/* The first place in @w that nothing else has, and none when it is full. */
static bool place_in(struct pci_function *f, unsigned int i, struct window *w)
{
	struct pci_bar *bar = &f->bars[i];
	uint8_t *reg = bar_register(f->data.config, i);
	const uint32_t kind = load_le32(bar_register(f->power_on, i));

	for (uint64_t at = align_up(w->next, bar->size); range_fits(at, bar->size, w->end);
	     at += bar->size) {
		store_le32(reg, (uint32_t)at | kind);
		if (bar->kind == PCI_BAR_MEM64)
			store_le32(reg + 4, (uint32_t)(at >> 32));
		if (map(f, i, NULL))
			continue;
		w->next = at + bar->size;
		return true;
	}
	return false;
}

static bool place_bar(struct pci_function *f, unsigned int i, struct windows *w)
{
	switch (f->bars[i].kind) {
	case PCI_BAR_IO:
		return place_in(f, i, &w->io);
	case PCI_BAR_MEM32:
		return place_in(f, i, &w->mem32);
	case PCI_BAR_MEM64:
		/* Every kernel reaches what is below 4 GiB, however it was built. */
		return place_in(f, i, &w->mem32) || place_in(f, i, &w->mem64);
	default:
		return true;
	}
}

static int place_function(struct pci_function *f, struct windows *w, struct err *err)
{
	const unsigned int on = COMMAND_IO | COMMAND_MEMORY;
	uint8_t *config = f->data.config;

	pci_unmap_bars(f);
	if (config[CONFIG_INTERRUPT_PIN])
		config[CONFIG_INTERRUPT_LINE] =
			(uint8_t)(PCI_INTX_ISA + pci_intx_wire(f->devfn / PCI_FUNCTIONS) % 2);
	for (unsigned int i = 0; i < PCI_BARS; i++)
		if (!place_bar(f, i, w))
			return err_set(err, ENOSPC,
				       "%s: there is no room left for %llu bytes of PCI BAR %u",
				       f->dev->id, (unsigned long long)f->bars[i].size, i);
	lock_take(&f->intx_lock);
	config[CONFIG_COMMAND] |= (uint8_t)(on & f->writable[CONFIG_COMMAND]);
	lock_drop(&f->intx_lock);
	return 0;
}

int pci_place(struct pci *pci, struct err *err)
{
	const struct machine *m = pci->machine;
	const uint64_t at64 = pci_window64(m);
	struct windows w = {
		.io = {PCI_IO_AT, PCI_IO_END},
		.mem32 = {PCI_MEM32_AT, PCI_MEM32_END},
		.mem64 = {at64, at64 + pci_window64_len(m)},
	};
	int ret = 0;

	for (unsigned int i = 0; !ret && i < ARRAY_SIZE(pci->functions); i++) {
		struct pci_function *f = pci->functions[i];

		if (!f)
			continue;
		if (!pci->functions[align_down(i, PCI_FUNCTIONS)])
			return err_set(err, EINVAL,
				       "%s: PCI slot %x has no function 0, without which guests "
				       "look for no other",
				       f->dev->id, i / PCI_FUNCTIONS);
		pci_lock(f);
		ret = place_function(f, &w, err);
		pci_unlock(f);
	}
	return ret;
}
