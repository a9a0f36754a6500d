/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pci_host - the bridge between the processors and PCI bus 0, with the two ways into configuration
 * space, and the reset control register, which lies within one of them.
 *
 *	CF8h	address, CFCh data: configuration mechanism #1 (PCI 3.0, section 3.2.2.3.2)
 *	PCI_ECAM_AT	memory-mapped configuration of bus 0 (PCI Express Base 5.0, section 7.2.2)
 *
 * The address register answers to doublewords only. Narrower accesses pass it by and find, at CF9h,
 * the reset control register (Intel 82371SB, section 2.5; bit 3 came with the ICH):
 *
 *	bit 1	SRST	which reset: 1 hard, 0 soft
 *	bit 2	RCPU	going from 0 to 1 carries it out
 *	bit 3	full reset: takes the power away for a while
 *
 * So a guest writes 02h, then 06h; one that leaves bit 2 set must clear it before the next. Every
 * kind of reset is the machine's here.
 *
 * Where there is no function, on any other bus, and while the address register's bit 31 is clear,
 * configuration reads as all ones and writes are swallowed. An access that crosses a doubleword is
 * made in pieces, lowest address first.
 *
 * The bridge is function 00.0 of the bus. Its ids are Red Hat's for a host bridge of virtual
 * machines: guests know them, and neither fix nor expect anything beyond the header. Those of
 * Intel's chip sets would have them look for registers that are not here.
 *
 * vCPU threads, under the device's lock, of rank LOCK_BRIDGE: it is held around the function's own.
 */
#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/pci.h"

#define ADDRESS_AT  0xcf8
#define DATA_AT     0xcfc
#define PORTS_LEN   4
#define RESET_AT    1 /* CF9h */
#define RESET_SRST  0x02
#define RESET_RCPU  0x04
#define RESET_FULL  0x08
#define RESET_MASK  (RESET_SRST | RESET_RCPU | RESET_FULL)
#define ADDRESS_ON  0x80000000U
#define ADDRESS_BUS 0x00ff0000U
/* Bits 30:24 are reserved, bits 1:0 always zero. */
#define ADDRESS_MASK 0x80fffffcU

struct host {
	struct device dev;
	struct pci_function function;
	struct host_state {
		uint32_t address;
		uint8_t reset;
		uint8_t reserved[3]; /* 0 */
	} state;
	bool claimed;
	unsigned int mapped; /* how many of host_ranges */
};

static const struct state_field host_fields[] = {
	STATE_FIELD(struct host_state, address),
	STATE_FIELD(struct host_state, reset),
	STATE_ARRAY(struct host_state, reserved),
};
static const struct state_table host_state =
	STATE_TABLE("pci_host", 1, struct host_state, host_fields);

static struct host *to_host(struct device *dev)
{
	return container_of(dev, struct host, dev);
}

/* Bytes of the next piece of an access: within a doubleword, aligned. */
static unsigned int next_piece(uint64_t at, unsigned int left)
{
	unsigned int n = 4;

	while (n > left || at % n)
		n /= 2;
	return n;
}

static uint64_t space_read(struct device *dev, unsigned int devfn, unsigned int at,
			   unsigned int size)
{
	uint64_t value = 0;

	for (unsigned int done = 0, n; done < size; done += n) {
		n = next_piece(at + done, size - done);
		value |= (uint64_t)pci_config_read(dev->machine->pci, devfn, at + done, n)
			 << (8 * done);
	}
	return value;
}

static void space_write(struct device *dev, unsigned int devfn, unsigned int at, unsigned int size,
			uint64_t value)
{
	for (unsigned int done = 0, n; done < size; done += n) {
		n = next_piece(at + done, size - done);
		pci_config_write(dev->machine->pci, devfn, at + done, n,
				 (uint32_t)(value >> (8 * done) & ones(n)));
	}
}

static void reset_write(struct host *h, uint8_t value)
{
	uint8_t was = h->state.reset;

	h->state.reset = value & RESET_MASK;
	if (h->state.reset & ~was & RESET_RCPU)
		machine_end(h->dev.machine, END_RESET, 0,
			    "the guest asked for a %s reset through port CF9h",
			    value & RESET_SRST ? "hard" : "soft");
}

static uint64_t address_read(struct device *dev, uint64_t offset, unsigned int size)
{
	const struct host *h = to_host(dev);

	if (size == 4)
		return h->state.address;
	return offset == RESET_AT && size == 1 ? h->state.reset : ones(size);
}

static void address_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct host *h = to_host(dev);

	if (size == 4)
		h->state.address = (uint32_t)value & ADDRESS_MASK;
	else if (offset == RESET_AT && size == 1)
		reset_write(h, (uint8_t)value);
}

/* Whether the address register is on, and names a function of bus 0. */
static bool selected(const struct host *h, unsigned int *devfn, unsigned int *at)
{
	*devfn = h->state.address >> 8 & 0xff;
	*at = h->state.address & 0xff;
	return h->state.address & ADDRESS_ON && !(h->state.address & ADDRESS_BUS);
}

static uint64_t data_read(struct device *dev, uint64_t offset, unsigned int size)
{
	unsigned int devfn, at;

	if (!selected(to_host(dev), &devfn, &at))
		return ones(size);
	return space_read(dev, devfn, at + (unsigned int)offset, size);
}

static void data_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	unsigned int devfn, at;

	if (selected(to_host(dev), &devfn, &at))
		space_write(dev, devfn, at + (unsigned int)offset, size, value);
}

/* 4 KiB for each function. An access that crosses into the next one's is cut short. */
static uint64_t ecam_read(struct device *dev, uint64_t offset, unsigned int size)
{
	return space_read(dev, (unsigned int)(offset >> 12), offset & 0xfff, size);
}

static void ecam_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	space_write(dev, (unsigned int)(offset >> 12), offset & 0xfff, size, value);
}

static const struct host_range {
	bool memory;
	uint64_t at, len;
	struct bus_ops ops;
} host_ranges[] = {
	{false,
	 ADDRESS_AT,
	 PORTS_LEN,
	 {.read = address_read, .write = address_write, .max_size = 4}},
	{false,
	 DATA_AT,
	 PORTS_LEN,
	 {.read = data_read, .write = data_write, .max_size = 4, .region = 1}},
	{true,
	 PCI_ECAM_AT,
	 PCI_ECAM_LEN,
	 {.read = ecam_read, .write = ecam_write, .max_size = 4, .region = 2}},
};

static struct bus *range_bus(const struct device *dev, const struct host_range *range)
{
	return range->memory ? dev->machine->mmio : dev->machine->ports;
}

static int host_create(struct device *dev, struct err *err)
{
	static const struct pci_ids ids = {
		.vendor = 0x1b36,
		.device = 0x0008,
		.class_code = 0x060000,
		.silent = true,
	};
	struct host *h = to_host(dev);
	int ret = pci_claim(dev->machine->pci, err);

	h->claimed = !ret;
	if (!ret)
		ret = pci_attach(dev->machine->pci, &h->function, dev, &ids, NULL, "0", err);
	while (!ret && h->mapped < ARRAY_SIZE(host_ranges)) {
		const struct host_range *range = &host_ranges[h->mapped];

		ret = bus_map(range_bus(dev, range), range->at, range->len, &range->ops, dev, err);
		h->mapped += !ret;
	}
	return ret;
}

static void host_destroy(struct device *dev)
{
	struct host *h = to_host(dev);

	while (h->mapped) {
		const struct host_range *range = &host_ranges[--h->mapped];

		bus_unmap(range_bus(dev, range), range->at);
	}
	pci_detach(&h->function);
	if (h->claimed)
		pci_release(dev->machine->pci);
}

static void host_reset(struct device *dev)
{
	to_host(dev)->state = (struct host_state){0};
}

static int host_loaded(struct device *dev, struct err *err)
{
	const struct host_state *s = &to_host(dev)->state;

	if (s->address & ~ADDRESS_MASK || s->reset & ~RESET_MASK || s->reserved[0] ||
	    s->reserved[1] || s->reserved[2])
		return err_set(err, EPROTO,
			       "%s: address %#x, reset control %#x are not a state that a host "
			       "bridge can be in",
			       dev->id, s->address, s->reset);
	return 0;
}

/* Which interrupt INTA of each slot is: _PRT's elements, ACPI 6.5, section 6.2.13. */
static void describe_routes(struct aml *a, const char *name, unsigned int first, unsigned int wires)
{
	aml_name(a, name);
	aml_package(a, PCI_SLOTS);
	for (unsigned int slot = 0; slot < PCI_SLOTS; slot++) {
		aml_package(a, 4);
		aml_integer(a, slot << 16 | 0xffff);
		aml_integer(a, 0); /* INTA */
		aml_integer(a, 0); /* no link device: a global interrupt */
		aml_integer(a, first + pci_intx_wire(slot) % wires);
		aml_end(a);
	}
	aml_end(a);
}

/* \_PIC (section 5.8.1) tells which interrupt chips the guest uses: 0, the 8259A pair. */
static void describe_interrupts(struct aml *a)
{
	aml_name(a, "\\PICM");
	aml_integer(a, 0);
	aml_method(a, "\\_PIC", 1, false);
	aml_store_argument(a, 0, "\\PICM");
	aml_end(a);
	describe_routes(a, "PRTA", PCI_INTX_GSI, PCI_INTX_WIRES);
	describe_routes(a, "PRTP", PCI_INTX_ISA, 2);
	aml_method(a, "_PRT", 0, false);
	aml_if(a, "\\PICM");
	aml_return_path(a, "PRTA");
	aml_end(a);
	aml_return_path(a, "PRTP");
	aml_end(a);
}

static void describe_windows(const struct machine *m, struct aml *a)
{
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_bus_window(a, 0, 0);
	aml_io(a, ADDRESS_AT, 2 * PORTS_LEN);
	aml_io_window(a, 0, ADDRESS_AT);
	aml_io_window(a, DATA_AT + PORTS_LEN, (uint16_t)(PCI_IO_END - DATA_AT - PORTS_LEN));
	aml_memory_window(a, PCI_MEM32_AT, PCI_MEM32_END - PCI_MEM32_AT);
	if (pci_window64_len(m))
		aml_memory_window(a, pci_window64(m), pci_window64_len(m));
	aml_end(a);
}

/* The mapped configuration is no part of the bridge's windows: a system board's device has it, as
 * the PCI Firmware Specification 3.3, section 4.1.2, wants it. */
static void describe_ecam(struct aml *a)
{
	aml_has_ecam(a, PCI_ECAM_AT, 0, 0);
	aml_device(a, "ECAM");
	aml_name(a, "_HID");
	aml_eisa_id(a, "PNP0C02");
	aml_name(a, "_UID");
	aml_string(a, "ECAM");
	aml_name(a, "_CRS");
	aml_resources(a);
	aml_memory32(a, (uint32_t)PCI_ECAM_AT, (uint32_t)PCI_ECAM_LEN, true);
	aml_end(a);
	aml_end(a);
}

static void host_describe(const struct device *dev, struct aml *a)
{
	aml_device(a, "PCI0");
	aml_name(a, "_HID");
	aml_eisa_id(a, "PNP0A08");
	aml_name(a, "_CID");
	aml_eisa_id(a, "PNP0A03");
	aml_name(a, "_UID");
	aml_integer(a, 0);
	aml_name(a, "_BBN");
	aml_integer(a, 0);
	describe_windows(dev->machine, a);
	describe_interrupts(a);
	aml_end(a);
	describe_ecam(a);
}

/* Explaining: CONFIG_ADDRESS is remembered, in four bytes. */

static void explain_config(uint32_t devfn, unsigned int at, struct explanation *e)
{
	static const char *const names[] = {
		"VENDOR",
		"DEVICE",
		"COMMAND",
		"STATUS",
		"REVISION",
		"CLASS",
		"CACHE_LINE",
		"HEADER",
		"BAR0",
		"BAR0+2",
		"BAR1",
		"BAR1+2",
		"BAR2",
		"BAR2+2",
		"BAR3",
		"BAR3+2",
		"BAR4",
		"BAR4+2",
		"BAR5",
		"BAR5+2",
		"CARDBUS",
		"CARDBUS+2",
		"SUBSYSTEM_VENDOR",
		"SUBSYSTEM",
		"ROM",
		"ROM+2",
		"CAPABILITIES",
		NULL,
		NULL,
		NULL,
		"INTERRUPT_LINE",
		"LATENCY",
	};

	if (at / 2 < ARRAY_SIZE(names) && names[at / 2])
		explain_reg(e, "%s%s", names[at / 2], at % 2 ? "+1" : "");
	else
		explain_reg(e, "CONFIG_%02x", at);
	explain_add(e, "of %02x:%02x.%u", devfn >> 8, devfn >> 3 & 31, devfn & 7);
}

static void explain_address(const struct access *a, uint8_t *memory, struct explanation *e)
{
	const uint32_t value = (uint32_t)a->value;

	if (a->offset == RESET_AT && a->size == 1) {
		explain_reg(e, "RESET_CONTROL");
		if (a->write && value & RESET_RCPU)
			explain_add(e, "reset%s", value & RESET_FULL ? ", full" : "");
		return;
	}
	explain_reg(e, "CONFIG_ADDRESS");
	if (!a->write || a->offset || a->size != 4)
		return;
	store_le32(memory, value & ADDRESS_MASK);
	explain_add(e, "%02x:%02x.%u register %02x%s", value >> 16 & 0xff, value >> 11 & 31,
		    value >> 8 & 7, value & 0xfc, value & ADDRESS_ON ? "" : ", off");
}

static void host_explain(const struct access *a, struct explain_memory *m, struct explanation *e)
{
	const uint32_t address = load_le32(m->byte);

	switch (a->region) {
	case 0:
		explain_address(a, m->byte, e);
		break;
	case 1:
		if (address & ADDRESS_ON)
			explain_config(address >> 8 & 0xffff,
				       (unsigned int)((address & 0xfc) + a->offset % 4), e);
		else
			explain_reg(e, "CONFIG_DATA");
		break;
	default:
		explain_config((uint32_t)(a->offset >> 12), a->offset & 0xfff, e);
		break;
	}
}

DEVICE_CLASS(pci_host) = {
	.name = "pci_host",
	.summary = "PCI host bridge, with the reset control register at port CF9h",
	.size = sizeof(struct host),
	.family = &pci_family,
	.family_offset = offsetof(struct host, function),
	.lock_rank = LOCK_BRIDGE,
	.state = &host_state,
	.state_offset = offsetof(struct host, state),
	.create = host_create,
	.reset = host_reset,
	.loaded = host_loaded,
	.destroy = host_destroy,
	.describe = host_describe,
	.explain = host_explain,
};
