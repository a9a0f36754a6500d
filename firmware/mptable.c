/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The structures are the specification's own (MP 1.4, chapter 4), little-endian as every host that
 * skep runs on.
 */
#include <string.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/mptable.h"
#include "skep/pci.h"
#include "skep/topology.h"

#define PACKED __attribute__((packed))

#define SPEC_REV      4 /* 1.4 */
#define LAPIC_VERSION 0x14
/* Of the 82093AA. A kernel believes the chip itself, which may be a later one. */
#define IOAPIC_VERSION 0x11
#define ISA_IRQS       16

/* Section 4.1 */
struct floating {
	char signature[4];
	uint32_t table;
	uint8_t length; /* in units of 16 bytes */
	uint8_t spec_rev;
	uint8_t checksum;
	uint8_t features[5]; /* 0: there is a table; 0: no IMCR, virtual wire mode */
} PACKED;

/* Section 4.2 */
struct header {
	char signature[4];
	uint16_t length;
	uint8_t spec_rev;
	uint8_t checksum;
	char oem_id[8];
	char product_id[12];
	uint32_t oem_table;
	uint16_t oem_table_size;
	uint16_t entries;
	uint32_t lapic;
	uint16_t extended_length;
	uint8_t extended_checksum;
	uint8_t reserved;
} PACKED;

/* Section 4.3 */
enum {
	ENTRY_PROCESSOR = 0,
	ENTRY_BUS = 1,
	ENTRY_IOAPIC = 2,
	ENTRY_IO_INTERRUPT = 3,
	ENTRY_LOCAL_INTERRUPT = 4,
};

/* Section 4.3.1 */
struct processor {
	uint8_t type;
	uint8_t apic_id;
	uint8_t apic_version;
	uint8_t flags;
	uint32_t signature;
	uint32_t features;
	uint8_t reserved[8];
} PACKED;

enum {
	PROCESSOR_ENABLED = 1 << 0,
	PROCESSOR_BOOT = 1 << 1,
	FEATURE_FPU = 1 << 0,
	FEATURE_APIC = 1 << 9,
};

/* Section 4.3.2 */
struct bus_entry {
	uint8_t type;
	uint8_t id;
	char name[6];
} PACKED;

/* Section 4.3.3 */
struct ioapic {
	uint8_t type;
	uint8_t id;
	uint8_t version;
	uint8_t flags;
	uint32_t address;
} PACKED;

enum {
	IOAPIC_ENABLED = 1 << 0,
};

/* Sections 4.3.4 and 4.3.5 */
struct interrupt {
	uint8_t type;
	uint8_t kind;
	uint16_t flags; /* 0: polarity and trigger as the bus has them */
	uint8_t bus;
	uint8_t irq;
	uint8_t apic_id;
	uint8_t pin;
} PACKED;

enum {
	INTERRUPT_INT = 0,
	INTERRUPT_NMI = 1,
	INTERRUPT_EXTINT = 3,
	ALL_APICS = 0xff,
};

_Static_assert(sizeof(struct floating) == 16 && sizeof(struct header) == 44, "sections 4.1, 4.2");
_Static_assert(sizeof(struct processor) == 20 && sizeof(struct bus_entry) == 8 &&
		       sizeof(struct ioapic) == 8 && sizeof(struct interrupt) == 8,
	       "table 4-3");

struct area {
	struct floating floating;
	struct header header;
	uint8_t entries[MPTABLE_AREA_LEN - sizeof(struct floating) - sizeof(struct header)];
} PACKED;

_Static_assert(sizeof(struct area) == MPTABLE_AREA_LEN, "the area is filled");
_Static_assert(TOPOLOGY_CPUS_MAX * sizeof(struct processor) + 2 * sizeof(struct bus_entry) +
			       sizeof(struct ioapic) +
			       (ISA_IRQS + PCI_SLOTS + 2) * sizeof(struct interrupt) <=
		       sizeof(((struct area *)NULL)->entries),
	       "as many CPUs as a machine can have fit");

/* What makes the bytes add up to zero, if it is added. */
static uint8_t checksum(const void *p, size_t len)
{
	const uint8_t *b = p;
	uint8_t sum = 0;

	while (len--)
		sum = (uint8_t)(sum + *b++);
	return (uint8_t)-sum;
}

static void put(struct area *area, const void *entry, size_t len)
{
	uint8_t *end = (uint8_t *)&area->header + area->header.length;

	memcpy(end, entry, len);
	area->header.length = (uint16_t)(area->header.length + len);
	area->header.entries++;
}

static void put_processors(struct area *area, const struct topology *t)
{
	for (unsigned int i = 0; i < t->cpus; i++) {
		const struct processor p = {
			.type = ENTRY_PROCESSOR,
			.apic_id = (uint8_t)topology_apic_id(t, i),
			.apic_version = LAPIC_VERSION,
			.flags = PROCESSOR_ENABLED | (i ? 0 : PROCESSOR_BOOT),
			/* Family 6: a kernel that wants to know more asks the processor. */
			.signature = 0x600,
			.features = FEATURE_FPU | FEATURE_APIC,
		};

		put(area, &p, sizeof(p));
	}
}

static void put_interrupt(struct area *area, uint8_t type, uint8_t kind, uint8_t bus, uint8_t irq,
			  uint8_t apic_id, uint8_t pin)
{
	const struct interrupt interrupt = {
		.type = type,
		.kind = kind,
		.bus = bus,
		.irq = irq,
		.apic_id = apic_id,
		.pin = pin,
	};

	put(area, &interrupt, sizeof(interrupt));
}

static void put_bus(struct area *area, uint8_t id, const char name[6])
{
	struct bus_entry bus = {.type = ENTRY_BUS, .id = id};

	memcpy(bus.name, name, sizeof(bus.name));
	put(area, &bus, sizeof(bus));
}

/* What an IOAPIC's pin is on the buses. A slot's INTA is its number times 4: appendix D.1. */
static void put_pins(struct area *area, uint8_t isa, bool pci)
{
	/* Interrupt 2 is the cascade of the 8259A pair, and its pin is the 8254's. */
	for (uint8_t irq = 0; irq < ISA_IRQS; irq++)
		if (irq != 2)
			put_interrupt(area, ENTRY_IO_INTERRUPT, INTERRUPT_INT, isa, irq, 0,
				      irq ? irq : 2);
	for (unsigned int slot = 0; pci && slot < PCI_SLOTS; slot++)
		put_interrupt(area, ENTRY_IO_INTERRUPT, INTERRUPT_INT, 0, (uint8_t)(slot << 2), 0,
			      (uint8_t)(PCI_INTX_GSI + pci_intx_wire(slot)));
}

/* Entries by ascending type (section 4.3). There is one IOAPIC, number 0. A PCI bus must have the
 * number that it goes by in configuration space (section D.1), so ISA's comes behind it. */
static void put_entries(struct area *area, const struct mptable_request *req)
{
	const uint8_t isa = req->pci ? 1 : 0;
	const struct ioapic ioapic = {
		.type = ENTRY_IOAPIC,
		.version = IOAPIC_VERSION,
		.flags = IOAPIC_ENABLED,
		.address = req->ioapic,
	};

	put_processors(area, req->topology);
	if (req->pci)
		put_bus(area, 0, "PCI   ");
	put_bus(area, isa, "ISA   ");
	put(area, &ioapic, sizeof(ioapic));
	put_pins(area, isa, req->pci);
	put_interrupt(area, ENTRY_LOCAL_INTERRUPT, INTERRUPT_EXTINT, isa, 0,
		      (uint8_t)topology_apic_id(req->topology, 0), 0);
	put_interrupt(area, ENTRY_LOCAL_INTERRUPT, INTERRUPT_NMI, isa, 0, ALL_APICS, 1);
}

int mptable_build(const struct mptable_request *req, struct err *err)
{
	struct area area = {
		.floating =
			{
				.signature = {'_', 'M', 'P', '_'},
				.table = MPTABLE_AREA + offsetof(struct area, header),
				.length = 1,
				.spec_rev = SPEC_REV,
			},
		.header =
			{
				.signature = {'P', 'C', 'M', 'P'},
				.length = sizeof(area.header),
				.spec_rev = SPEC_REV,
				.oem_id = {'S', 'K', 'E', 'P', ' ', ' ', ' ', ' '},
				.product_id = {'M', 'A', 'C', 'H', 'I', 'N', 'E', ' ', ' ', ' ',
					       ' ', ' '},
				.lapic = req->lapic,
			},
	};

	put_entries(&area, req);
	area.floating.checksum = checksum(&area.floating, sizeof(area.floating));
	area.header.checksum = checksum(&area.header, area.header.length);
	if (gmem_write(req->mem, MPTABLE_AREA, &area,
		       offsetof(struct area, header) + area.header.length))
		return err_set(err, EFAULT, "MP table: there is no guest memory at %#llx",
			       (unsigned long long)MPTABLE_AREA);
	return 0;
}
