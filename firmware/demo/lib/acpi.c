/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * acpi - finds ACPI's tables and reads what this library has a use for (ACPI 6.5, section 5.2).
 *
 * Tables are believed only when they lie below 4 GiB, are of a plausible length, and sum to zero.
 */
#include <asm/bootparam.h>

#include "guest.h"

#define FADT_RESET_REG_SUP    (1u << 10)
#define FADT_TMR_VAL_EXT      (1u << 8)
#define FADT_HARDWARE_REDUCED (1u << 20)

#define SLP_EN (1u << 13)

#define TABLE_MAX  65536
#define TABLES_MAX 32

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t more[4];
} __attribute__((packed));

struct table {
	uint32_t signature;
	uint32_t length;
	uint8_t revision, checksum;
	char oem[26];
	uint8_t body[];
} __attribute__((packed));

#define SIGNATURE(a, b, c, d) \
	((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

static uint32_t load32(const void *p)
{
	const struct {
		uint32_t v;
	} __attribute__((packed)) *at = p;

	return at->v;
}

static uint64_t load64(const void *p)
{
	return load32(p) | (uint64_t)load32((const uint8_t *)p + 4) << 32;
}

/* Eight bytes a turn: each of four lanes keeps a sum of which the low byte counts. */
static bool sums_to_zero(const void *p, size_t len)
{
	const uint8_t *at = p;
	uint64_t lanes = 0, mask = 0x00ff00ff00ff00ff;
	uint8_t sum = 0;

	for (; len >= 8; at += 8, len -= 8) {
		uint64_t v = load64(at);

		lanes = (lanes & mask) + (v & mask) + ((v >> 8) & mask);
	}
	for (unsigned int shift = 0; shift < 64; shift += 16)
		sum = (uint8_t)(sum + (lanes >> shift));
	while (len--)
		sum = (uint8_t)(sum + *at++);
	return !sum;
}

static const struct table *table_at(uint64_t at)
{
	const struct table *t = (const struct table *)at;

	if (!at || at > UINT32_MAX - TABLE_MAX || t->length < sizeof(*t) || t->length > TABLE_MAX)
		return NULL;
	return sums_to_zero(t, t->length) ? t : NULL;
}

static const struct rsdp *rsdp_at(uint64_t at)
{
	const struct rsdp *r = (const struct rsdp *)at;

	if (!at || at > UINT32_MAX - sizeof(*r) || memcmp(r->signature, "RSD PTR ", 8))
		return NULL;
	return sums_to_zero(r, 20) ? r : NULL;
}

static const struct rsdp *find_rsdp(void)
{
	const struct rsdp *r = rsdp_at(boot_params()->acpi_rsdp_addr);

	/* Section 5.2.5.1: on a 16-byte boundary of the BIOS's read-only memory. */
	for (uint32_t at = 0xe0000; !r && at < 0x100000; at += 16)
		if (load32((const void *)(uintptr_t)at) == SIGNATURE('R', 'S', 'D', ' '))
			r = rsdp_at(at);
	return r;
}

/* Section 5.2.12. */
static void read_madt(struct acpi *a, const struct table *t)
{
	const uint8_t *at = (const uint8_t *)t + 44, *end = (const uint8_t *)t + t->length;

	a->cpus = 0;
	for (; at + 2 <= end && at[1] >= 2 && at + at[1] <= end; at += at[1]) {
		bool local = at[0] == 0 && at[1] >= 8, x2apic = at[0] == 9 && at[1] >= 16;

		if ((local && load32(at + 4) & 1) || (x2apic && load32(at + 8) & 1)) {
			if (a->cpus < ACPI_CPUS_MAX)
				a->cpu_id[a->cpus] = local ? at[3] : load32(at + 4);
			a->cpus++;
		} else if (at[0] == 1 && at[1] >= 12 && a->ioapics < ACPI_IOAPICS_MAX) {
			a->ioapic[a->ioapics].at = load32(at + 4);
			a->ioapic[a->ioapics++].gsi_base = load32(at + 8);
		} else if (at[0] == 2 && at[1] >= 10 && at[3] < 16) {
			a->isa_gsi[at[3]] = load32(at + 4);
		}
	}
}

/* A block of the FADT: the extended field if there is one, else the legacy one. */
static uint16_t fadt_port(const struct table *t, unsigned int legacy, unsigned int extended)
{
	const uint8_t *p = (const uint8_t *)t;
	const struct acpi_register *x = (const void *)(p + extended);

	if (t->length >= extended + sizeof(*x) && x->space == 1 && x->at)
		return (uint16_t)x->at;
	return (uint16_t)load32(p + legacy);
}

/* Section 5.2.9; by offset, for the table has grown with each version. */
static void read_fadt(struct acpi *a, const struct table *t)
{
	const uint8_t *p = (const uint8_t *)t;
	uint32_t flags;

	if (t->length < 116)
		return;
	flags = load32(p + 112);
	a->dsdt = load32(p + 40);
	if (t->length >= 148 && load64(p + 140))
		a->dsdt = load64(p + 140);
	a->hardware_reduced = flags & FADT_HARDWARE_REDUCED;
	if (!a->hardware_reduced) {
		a->pm1a_event = fadt_port(t, 56, 148);
		a->pm1a_control = fadt_port(t, 64, 172);
		a->pm_timer = fadt_port(t, 76, 208);
		a->pm_timer_32 = flags & FADT_TMR_VAL_EXT;
	}
	if (t->length >= 129 && flags & FADT_RESET_REG_SUP) {
		memcpy(&a->reset, p + 116, sizeof(a->reset));
		a->reset_value = p[128];
	}
	if (t->length >= 256)
		memcpy(&a->sleep_control, p + 244, sizeof(a->sleep_control));
}

static void read_table(struct acpi *a, uint64_t at)
{
	const struct table *t = table_at(at);

	if (!t) {
		a->bad++;
		return;
	}
	a->tables++;
	if (t->signature == SIGNATURE('A', 'P', 'I', 'C') && t->length >= 44)
		read_madt(a, t);
	else if (t->signature == SIGNATURE('F', 'A', 'C', 'P'))
		read_fadt(a, t);
}

void acpi_find(struct acpi *a)
{
	const struct rsdp *r = find_rsdp();
	const struct table *root = NULL;
	size_t width = 8;

	memset(a, 0, sizeof(*a));
	a->cpus = 1;
	a->cpu_id[0] = lapic_id();
	for (unsigned int i = 0; i < 16; i++)
		a->isa_gsi[i] = i;

	if (r && r->revision >= 2)
		root = table_at(r->xsdt);
	if (r && !root) {
		root = table_at(r->rsdt);
		width = 4;
	}
	if (r && !root)
		a->bad++;
	if (!root)
		return;
	for (size_t i = 0; i < TABLES_MAX && sizeof(*root) + (i + 1) * width <= root->length; i++) {
		const uint8_t *p = root->body + i * width;

		read_table(a, width == 8 ? load64(p) : load32(p));
	}
}

/*
 * The sleep type of S5, from the package \_S5 that the DSDT names: NameOp, the name, PackageOp, a
 * length, a count, then the values for PM1a and PM1b. The only AML that is read here.
 */
static bool find_s5(const struct acpi *a, unsigned int *type)
{
	const struct table *t = table_at(a->dsdt);
	const uint8_t *end, *p;

	if (!t)
		return false;
	end = (const uint8_t *)t + t->length;
	for (p = t->body; p + 12 <= end; p++) {
		if (load32(p) != SIGNATURE('_', 'S', '5', '_') || p[4] != 0x12)
			continue;
		p += 5;
		p += 1 + (*p >> 6); /* PkgLength (section 20.2.4) */
		p++;                /* NumElements */
		if (p + 2 > end)
			return false;
		*type = *p == 0x0a ? p[1] : *p; /* BytePrefix, or ZeroOp or OneOp */
		return *type < 8;
	}
	return false;
}

static void register_write(const struct acpi_register *r, uint8_t v)
{
	if (r->space == 1)
		out8((uint16_t)r->at, v);
	else if (r->space == 0 && r->at <= UINT32_MAX)
		mmio_write8(r->at, v);
}

/* Long enough for a host that asks a person, short enough not to look like a hang. */
static void wait_for_the_end(void)
{
	uint64_t from = rdtsc();

	while (rdtsc() - from < WAIT_CYCLES / 8)
		take_interrupts();
}

void acpi_power_off(const struct acpi *a)
{
	unsigned int type;

	if (!find_s5(a, &type))
		return;
	if (a->hardware_reduced && a->sleep_control.at)
		register_write(&a->sleep_control, (uint8_t)(type << 2 | 0x20));
	else if (a->pm1a_control)
		out16(a->pm1a_control, (uint16_t)(type << 10 | SLP_EN));
	else
		return;
	wait_for_the_end();
}

void acpi_reset(const struct acpi *a)
{
	if (a->reset.at) {
		register_write(&a->reset, a->reset_value);
		wait_for_the_end();
	}
	out8(0x64, 0xfe); /* the keyboard controller pulses the reset line */
	wait_for_the_end();
	out8(0xcf9, 0x06); /* the chip set's reset control register */
	wait_for_the_end();
}
