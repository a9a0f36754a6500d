/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ioapic - the interrupt controller that sends messages: 24 pins at fec00000h.
 *
 * Intel 82093AA data sheet (290566), and the ICH family's for version 20h, which adds the EOI
 * register; messages as Intel's SDM has them (volume 3, section 11.11). Offsets:
 *
 *	00	IOREGSEL	10	IOWIN		40	EOI, version 20h only
 *
 * All are defined for 32-bit accesses only. A narrower read gets those bytes of the register, a
 * narrower write at the register's own address counts as one with zeroes above, any other is
 * swallowed, and so does KVM's IOAPIC. What holds no register reads as zero.
 *
 * A wire says whether its device asks, not how many volts that is: the polarity bit is kept for
 * the guest to read and means nothing, as in every hypervisor. The wires are those of a PC: gsi 0,
 * the 8254, is pin 2, gsi 2 is the cascade of the 8259A and goes nowhere, pin 0 is free.
 *
 * - An edge on a masked pin is lost; a level still counts when the pin is unmasked (3.2.4, bit 16).
 * - SMI, and the two delivery modes that are reserved, send nothing. NMI, INIT and ExtINT are
 *   edges even where the entry says level (3.2.4, bits 10:8).
 * - Remote IRR is cleared by writing edge to the entry: guests end an interrupt so where there is
 *   no EOI register.
 * - Bits 55:49 are bits 14:8 of the destination and travel in bits 11:5 of the message's address,
 *   where a guest that is told of extended destinations puts them as well (KVM's CPUID 40000001h,
 *   EAX bit 15).
 *
 * Invariants: remote IRR is set in level-triggered entries only. A pin is watched while its entry
 * may send a level-triggered message, or waits for the end of one. vCPU threads, and whoever drives
 * a wire, under the device's lock.
 */
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/irq.h"
#include "skep/trace.h"

#define IOAPIC_AT   UINT64_C(0xfec00000)
#define IOAPIC_LEN  0x1000
#define IOAPIC_PINS 24U

enum {
	IOREGSEL_AT = 0x00,
	IOWIN_AT = 0x10,
	EOI_AT = 0x40,
};

enum {
	REG_ID = 0x00,
	REG_VERSION = 0x01,
	REG_ARBITRATION = 0x02,
	REG_ENTRIES = 0x10, /* two for each pin */
};

#define ID_SHIFT 24
#define ID_MAX   0xfU

/* A redirection entry: section 3.2.4 */
#define ENTRY_VECTOR         UINT64_C(0xff)
#define ENTRY_DELIVERY_SHIFT 8
#define ENTRY_LOGICAL        (UINT64_C(1) << 11)
#define ENTRY_LOW_ACTIVE     (UINT64_C(1) << 13)
#define ENTRY_REMOTE_IRR     (UINT64_C(1) << 14)
#define ENTRY_LEVEL          (UINT64_C(1) << 15)
#define ENTRY_MASKED         (UINT64_C(1) << 16)
#define ENTRY_EXTENDED_SHIFT 49
#define ENTRY_DEST_SHIFT     56
/* The rest is reserved, or the delivery status: a message leaves at once, so that is idle. */
#define ENTRY_WRITABLE                                                                           \
	(ENTRY_VECTOR | UINT64_C(7) << ENTRY_DELIVERY_SHIFT | ENTRY_LOGICAL | ENTRY_LOW_ACTIVE | \
	 ENTRY_LEVEL | ENTRY_MASKED | UINT64_C(0x7f) << ENTRY_EXTENDED_SHIFT |                   \
	 UINT64_C(0xff) << ENTRY_DEST_SHIFT)

enum delivery {
	DELIVERY_FIXED = 0,
	DELIVERY_LOWEST = 1,
	DELIVERY_NMI = 4,
	DELIVERY_INIT = 5,
	DELIVERY_EXTINT = 7,
};

/* SDM volume 3, sections 11.11.1 and 11.11.2 */
#define MSI_AT             UINT64_C(0xfee00000)
#define MSI_LOGICAL        (1U << 2)
#define MSI_EXTENDED_SHIFT 5
#define MSI_DEST_SHIFT     12
#define MSI_DELIVERY_SHIFT 8
#define MSI_ASSERT         (1U << 14)
#define MSI_LEVEL          (1U << 15)

enum ioapic_version { VERSION_20, VERSION_11 };

struct ioapic_options {
	unsigned int version;
};

struct ioapic_state {
	uint64_t entries[IOAPIC_PINS];
	uint32_t wires; /* pins that are high */
	uint8_t select; /* IOREGSEL */
	uint8_t id;
	uint16_t reserved; /* 0 */
};

struct ioapic {
	struct device dev;
	struct ioapic_options options;
	struct ioapic_state state;
	struct irq_chip chip;
	uint32_t watched; /* pins, as irqs_watch() was told */
	bool mapped;
};

static const struct option ioapic_options[] = {
	{
		.name = "version",
		.type = OPTION_CHOICE,
		.offset = offsetof(struct ioapic_options, version),
		.fallback = "0x20",
		.choices = "0x20|0x11",
		.help = "0x20 has an EOI register, 0x11 is the 82093AA",
	},
	OPTION_END,
};

static const struct state_field ioapic_fields[] = {
	STATE_ARRAY(struct ioapic_state, entries),  STATE_FIELD(struct ioapic_state, wires),
	STATE_FIELD(struct ioapic_state, select),   STATE_FIELD(struct ioapic_state, id),
	STATE_FIELD(struct ioapic_state, reserved),
};
static const struct state_table ioapic_state =
	STATE_TABLE("ioapic", 1, struct ioapic_state, ioapic_fields);

static struct ioapic *to_ioapic(struct device *dev)
{
	return container_of(dev, struct ioapic, dev);
}

static enum delivery entry_delivery(uint64_t entry)
{
	return (enum delivery)(entry >> ENTRY_DELIVERY_SHIFT & 7);
}

static bool entry_is_level(uint64_t entry)
{
	enum delivery delivery = entry_delivery(entry);

	return entry & ENTRY_LEVEL && (delivery == DELIVERY_FIXED || delivery == DELIVERY_LOWEST);
}

static bool entry_sends(uint64_t entry)
{
	switch (entry_delivery(entry)) {
	case DELIVERY_FIXED:
	case DELIVERY_LOWEST:
	case DELIVERY_NMI:
	case DELIVERY_INIT:
	case DELIVERY_EXTINT:
		return !(entry & ENTRY_MASKED);
	default:
		return false;
	}
}

static struct msi entry_message(uint64_t entry)
{
	struct msi msi = {
		.address = MSI_AT | (entry >> ENTRY_DEST_SHIFT) << MSI_DEST_SHIFT |
			   (entry >> ENTRY_EXTENDED_SHIFT & 0x7f) << MSI_EXTENDED_SHIFT,
		.data = (uint32_t)(entry & ENTRY_VECTOR) | (uint32_t)entry_delivery(entry)
								   << MSI_DELIVERY_SHIFT,
	};

	if (entry & ENTRY_LOGICAL)
		msi.address |= MSI_LOGICAL;
	if (entry_is_level(entry))
		msi.data |= MSI_LEVEL | MSI_ASSERT;
	return msi;
}

static int ioapic_send(struct ioapic *io, unsigned int pin)
{
	const uint64_t entry = io->state.entries[pin];
	struct msi msi = entry_message(entry);

	trace_event(TRACE_DELIVER, io->dev.number, entry_is_level(entry), 0, pin,
		    entry & ENTRY_VECTOR, 0);
	return msi_send(io->dev.machine->irqs, &msi);
}

/*
 * Sends for a level-triggered pin that asks, unless the end of the last message is still to come.
 * A message that no processor takes is not waited for: the next write to the entry tries again.
 */
static void ioapic_send_level(struct ioapic *io, unsigned int pin)
{
	uint64_t *entry = &io->state.entries[pin];

	if (!(io->state.wires & bit64(pin)) || !entry_is_level(*entry) || !entry_sends(*entry) ||
	    *entry & ENTRY_REMOTE_IRR)
		return;
	if (!ioapic_send(io, pin))
		*entry |= ENTRY_REMOTE_IRR;
}

static void ioapic_watch(struct ioapic *io, unsigned int pin)
{
	uint64_t entry = io->state.entries[pin];
	struct msi msi = entry_message(entry);

	if (entry_is_level(entry) && (entry_sends(entry) || entry & ENTRY_REMOTE_IRR)) {
		io->watched |= (uint32_t)bit64(pin);
		irqs_watch(io->dev.machine->irqs, pin, &msi);
	} else if (io->watched & bit64(pin)) {
		io->watched &= ~(uint32_t)bit64(pin);
		irqs_watch(io->dev.machine->irqs, pin, NULL);
	}
}

static void ioapic_watch_all(struct ioapic *io)
{
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++)
		ioapic_watch(io, pin);
}

static void ioapic_set(struct irq_chip *chip, unsigned int gsi, bool level)
{
	struct ioapic *io = container_of(chip, struct ioapic, chip);
	struct ioapic_state *s = &io->state;
	unsigned int pin = gsi == 0 ? 2 : gsi;
	bool was;

	if (gsi == 2 || pin >= IOAPIC_PINS)
		return;
	device_lock(&io->dev);
	was = s->wires & bit64(pin);
	if (level)
		s->wires |= (uint32_t)bit64(pin);
	else
		s->wires &= ~(uint32_t)bit64(pin);
	if (entry_is_level(s->entries[pin]))
		ioapic_send_level(io, pin);
	else if (level && !was && entry_sends(s->entries[pin]))
		ioapic_send(io, pin);
	device_unlock(&io->dev);
}

/* All entries of that vector hear of its end: the message does not say which pin was meant. */
static void ioapic_end(struct ioapic *io, uint8_t vector)
{
	struct ioapic_state *s = &io->state;

	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t *entry = &s->entries[pin];

		if (!(*entry & ENTRY_REMOTE_IRR) || (*entry & ENTRY_VECTOR) != vector)
			continue;
		*entry &= ~ENTRY_REMOTE_IRR;
		trace_event(TRACE_EOI, io->dev.number, 0, 0, pin, vector, 0);
		if (*entry & ENTRY_MASKED)
			ioapic_watch(io, pin);
		else
			ioapic_send_level(io, pin);
	}
}

static void ioapic_eoi(struct irq_chip *chip, uint8_t vector)
{
	struct ioapic *io = container_of(chip, struct ioapic, chip);

	device_lock(&io->dev);
	ioapic_end(io, vector);
	device_unlock(&io->dev);
}

static uint32_t ioapic_read_register(const struct ioapic *io)
{
	const struct ioapic_state *s = &io->state;
	unsigned int pin = (s->select - REG_ENTRIES) / 2U;

	switch (s->select) {
	case REG_ID:
	case REG_ARBITRATION: /* loaded whenever the ID is (section 3.2.3) */
		return (uint32_t)s->id << ID_SHIFT;
	case REG_VERSION:
		return (io->options.version == VERSION_20 ? 0x20 : 0x11) | (IOAPIC_PINS - 1) << 16;
	default:
		if (s->select < REG_ENTRIES || pin >= IOAPIC_PINS)
			return 0;
		return (uint32_t)(s->entries[pin] >> (s->select % 2 ? 32 : 0));
	}
}

static void ioapic_write_entry(struct ioapic *io, unsigned int pin, uint64_t value,
			       uint64_t touched)
{
	uint64_t *entry = &io->state.entries[pin];

	touched &= ENTRY_WRITABLE;
	*entry = (*entry & ~touched) | (value & touched);
	if (!entry_is_level(*entry))
		*entry &= ~ENTRY_REMOTE_IRR;
	/* In this order: the end of a message may come as soon as it is sent. */
	ioapic_watch(io, pin);
	ioapic_send_level(io, pin);
}

static void ioapic_write_register(struct ioapic *io, uint32_t value)
{
	struct ioapic_state *s = &io->state;
	unsigned int pin = (s->select - REG_ENTRIES) / 2U;

	if (s->select == REG_ID)
		s->id = value >> ID_SHIFT & ID_MAX;
	if (s->select == REG_VERSION || s->select == REG_ARBITRATION)
		trace_event(TRACE_REMARK, io->dev.number, TRACE_FIXED_WRITE, 0, s->select, value,
			    0);
	if (s->select < REG_ENTRIES || pin >= IOAPIC_PINS)
		return;
	if (s->select % 2)
		ioapic_write_entry(io, pin, (uint64_t)value << 32, ~ones(4));
	else
		ioapic_write_entry(io, pin, value, ones(4));
}

static uint64_t ioapic_read(struct device *dev, uint64_t offset, unsigned int size)
{
	const struct ioapic *io = to_ioapic(dev);
	uint64_t value = 0;

	if (align_down(offset, 4) == IOREGSEL_AT)
		value = io->state.select;
	else if (align_down(offset, 4) == IOWIN_AT)
		value = ioapic_read_register(io);
	return value >> (8 * (offset % 4)) & ones(size);
}

static void ioapic_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct ioapic *io = to_ioapic(dev);

	(void)size;
	switch (offset) {
	case IOREGSEL_AT:
		io->state.select = (uint8_t)value;
		break;
	case IOWIN_AT:
		ioapic_write_register(io, (uint32_t)value);
		break;
	case EOI_AT:
		if (io->options.version == VERSION_20)
			ioapic_end(io, (uint8_t)value);
		break;
	default:
		break;
	}
}

static const struct bus_ops ioapic_ops = {
	.read = ioapic_read,
	.write = ioapic_write,
	.max_size = 4,
};

static int ioapic_create(struct device *dev, struct err *err)
{
	struct ioapic *io = to_ioapic(dev);
	struct machine *m = dev->machine;
	int ret;

	io->chip = (struct irq_chip){.set = ioapic_set, .eoi = ioapic_eoi};
	ret = irqs_add_chip(m->irqs, &io->chip, err);
	if (ret)
		return ret;
	ret = bus_map(m->mmio, IOAPIC_AT, IOAPIC_LEN, &ioapic_ops, dev, err);
	io->mapped = !ret;
	return ret;
}

static void ioapic_destroy(struct device *dev)
{
	struct ioapic *io = to_ioapic(dev);

	if (io->mapped)
		bus_unmap(dev->machine->mmio, IOAPIC_AT);
	irqs_remove_chip(dev->machine->irqs, &io->chip);
}

/* The wires are not the chip's to reset. */
static void ioapic_reset(struct device *dev)
{
	struct ioapic *io = to_ioapic(dev);

	io->state = (struct ioapic_state){.wires = io->state.wires};
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++)
		io->state.entries[pin] = ENTRY_MASKED;
	ioapic_watch_all(io);
}

/* Sends nothing: whoever would take it may not be loaded yet. */
static int ioapic_loaded(struct device *dev, struct err *err)
{
	struct ioapic *io = to_ioapic(dev);
	const struct ioapic_state *s = &io->state;

	if (s->wires & ~(bit64(IOAPIC_PINS) - 2) || s->id > ID_MAX || s->reserved)
		return err_set(err, EPROTO,
			       "%s: wires %#x, ID %#x are not a state that the IOAPIC can be in",
			       dev->id, s->wires, s->id);
	for (unsigned int pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t entry = s->entries[pin];

		if (entry & ~(ENTRY_WRITABLE | ENTRY_REMOTE_IRR) ||
		    (entry & ENTRY_REMOTE_IRR && !entry_is_level(entry)))
			return err_set(err, EPROTO,
				       "%s: the redirection entry of pin %u cannot be %#llx",
				       dev->id, pin, (unsigned long long)entry);
	}
	ioapic_watch_all(io);
	return 0;
}

/* Explaining: IOREGSEL is remembered. */

static void explain_entry(uint8_t select, uint32_t value, struct explanation *e)
{
	static const char *const delivery[] = {"fixed", "lowest", "SMI", "?",
					       "NMI",   "INIT",   "?",   "ExtINT"};
	const unsigned int pin = (select - REG_ENTRIES) / 2U;

	explain_reg(e, "REDTBL%u.%s", pin, select % 2 ? "high" : "low");
	if (select % 2) {
		explain_add(e, "destination %x", value >> 24);
		return;
	}
	explain_add(e, "vector %02x %s %s", (unsigned int)(value & ENTRY_VECTOR),
		    delivery[entry_delivery(value)], value & ENTRY_LEVEL ? "level" : "edge");
	if (value & ENTRY_LOGICAL)
		explain_add(e, "logical");
	if (value & ENTRY_REMOTE_IRR)
		explain_add(e, "remote-IRR");
	if (value & ENTRY_MASKED)
		explain_add(e, "masked");
}

static void explain_window(uint8_t select, uint32_t value, struct explanation *e)
{
	static const char *const names[] = {"ID", "VERSION", "ARBITRATION"};

	if (select < ARRAY_SIZE(names))
		explain_reg(e, "%s", names[select]);
	else if (select >= REG_ENTRIES && select < REG_ENTRIES + 2 * IOAPIC_PINS)
		explain_entry(select, value, e);
	else
		explain_reg(e, "reserved %02x", select);
}

static void ioapic_explain(const struct access *a, struct explain_memory *m, struct explanation *e)
{
	struct explanation at = {.part = ""};

	switch (align_down(a->offset, 4)) {
	case IOREGSEL_AT:
		explain_reg(e, "IOREGSEL");
		explain_window((uint8_t)a->value, 0, &at);
		explain_add(e, "%s", at.reg);
		if (a->write)
			m->byte[0] = (uint8_t)a->value;
		break;
	case IOWIN_AT:
		explain_window(m->byte[0], (uint32_t)a->value, e);
		break;
	case EOI_AT:
		explain_reg(e, "EOI");
		explain_add(e, "vector %02x", (unsigned int)(a->value & ENTRY_VECTOR));
		break;
	default:
		break;
	}
}

DEVICE_CLASS(ioapic) = {
	.name = "ioapic",
	.summary = "I/O APIC with 24 pins",
	.size = sizeof(struct ioapic),
	.options = ioapic_options,
	.options_offset = offsetof(struct ioapic, options),
	.lock_rank = LOCK_CHIP,
	.split_only = true,
	.state = &ioapic_state,
	.state_offset = offsetof(struct ioapic, state),
	.ticks = true,
	.create = ioapic_create,
	.reset = ioapic_reset,
	.loaded = ioapic_loaded,
	.destroy = ioapic_destroy,
	.explain = ioapic_explain,
};
