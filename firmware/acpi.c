/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The area is built in host memory and written to the guest's at the end. The structures below are
 * ACPI's own, little-endian as every host that skep runs on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/acpi.h"
#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/gmem.h"

#define PACKED __attribute__((packed))

/* Section 5.2.5.3 */
struct rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum; /* of all */
	uint8_t reserved[3];
} PACKED;

#define RSDP_V1_LEN 20

/* Section 5.2.6 */
struct header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} PACKED;

/* Section 5.2.3.2: the generic address structure */
struct gas {
	uint8_t space;
	uint8_t bits;
	uint8_t offset;
	uint8_t access;
	uint64_t address;
} PACKED;

enum {
	GAS_SYSTEM_IO = 1,
};

/* Section 5.2.9 */
struct fadt {
	struct header header;
	uint32_t firmware_ctrl;
	uint32_t dsdt;
	uint8_t reserved_44;
	uint8_t preferred_pm_profile;
	uint16_t sci_int;
	uint32_t smi_cmd;
	uint8_t acpi_enable;
	uint8_t acpi_disable;
	uint8_t s4bios_req;
	uint8_t pstate_cnt;
	uint32_t pm1a_evt_blk;
	uint32_t pm1b_evt_blk;
	uint32_t pm1a_cnt_blk;
	uint32_t pm1b_cnt_blk;
	uint32_t pm2_cnt_blk;
	uint32_t pm_tmr_blk;
	uint32_t gpe0_blk;
	uint32_t gpe1_blk;
	uint8_t pm1_evt_len;
	uint8_t pm1_cnt_len;
	uint8_t pm2_cnt_len;
	uint8_t pm_tmr_len;
	uint8_t gpe0_blk_len;
	uint8_t gpe1_blk_len;
	uint8_t gpe1_base;
	uint8_t cst_cnt;
	uint16_t p_lvl2_lat;
	uint16_t p_lvl3_lat;
	uint16_t flush_size;
	uint16_t flush_stride;
	uint8_t duty_offset;
	uint8_t duty_width;
	uint8_t day_alrm;
	uint8_t mon_alrm;
	uint8_t century;
	uint16_t iapc_boot_arch;
	uint8_t reserved_111;
	uint32_t flags;
	struct gas reset_reg;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl;
	uint64_t x_dsdt;
	struct gas x_pm1a_evt_blk;
	struct gas x_pm1b_evt_blk;
	struct gas x_pm1a_cnt_blk;
	struct gas x_pm1b_cnt_blk;
	struct gas x_pm2_cnt_blk;
	struct gas x_pm_tmr_blk;
	struct gas x_gpe0_blk;
	struct gas x_gpe1_blk;
	struct gas sleep_control_reg;
	struct gas sleep_status_reg;
	uint64_t hypervisor_vendor;
} PACKED;

/* Table 5.11. Not LEGACY_DEVICES: what there is on ISA is in the DSDT. */
enum {
	BOOT_8042 = 1 << 1,
	BOOT_VGA_NOT_PRESENT = 1 << 2,
	BOOT_CMOS_RTC_NOT_PRESENT = 1 << 5,
};

/* Table 5.10 */
enum {
	FADT_WBINVD = 1 << 0,
	FADT_PROC_C1 = 1 << 2,
	FADT_PWR_BUTTON = 1 << 4, /* not fixed hardware, if there is one at all */
	FADT_SLP_BUTTON = 1 << 5, /* likewise */
	FADT_FIX_RTC = 1 << 6,    /* no RTC wake status in the fixed hardware */
	FADT_TMR_VAL_EXT = 1 << 8,
	FADT_RESET_REG_SUP = 1 << 10,
	FADT_HEADLESS = 1 << 12,
};

/* Section 5.2.10 */
struct facs {
	char signature[4];
	uint32_t length;
	uint32_t hardware_signature;
	uint32_t waking_vector;
	uint32_t global_lock;
	uint32_t flags;
	uint64_t x_waking_vector;
	uint8_t version;
	uint8_t reserved_33[3];
	uint32_t ospm_flags;
	uint8_t reserved_40[24];
} PACKED;

/* Section 5.2.12 */
struct madt {
	struct header header;
	uint32_t lapic;
	uint32_t flags;
} PACKED;

enum {
	MADT_PCAT_COMPAT = 1 << 0, /* there is an 8259A pair, to be masked */
};

struct madt_lapic {
	uint8_t type, length;
	uint8_t uid;
	uint8_t apic_id;
	uint32_t flags;
} PACKED;

struct madt_ioapic {
	uint8_t type, length;
	uint8_t ioapic_id;
	uint8_t reserved;
	uint32_t address;
	uint32_t gsi_base;
} PACKED;

struct madt_override {
	uint8_t type, length;
	uint8_t bus;
	uint8_t irq;
	uint32_t gsi;
	uint16_t flags;
} PACKED;

struct madt_lapic_nmi {
	uint8_t type, length;
	uint8_t uid;
	uint16_t flags;
	uint8_t lint;
} PACKED;

struct madt_x2apic {
	uint8_t type, length;
	uint16_t reserved;
	uint32_t x2apic_id;
	uint32_t flags;
	uint32_t uid;
} PACKED;

struct madt_x2apic_nmi {
	uint8_t type, length;
	uint16_t flags;
	uint32_t uid;
	uint8_t lint;
	uint8_t reserved[3];
} PACKED;

/* Table 5.20 */
enum {
	MADT_LAPIC = 0,
	MADT_IOAPIC = 1,
	MADT_OVERRIDE = 2,
	MADT_LAPIC_NMI = 4,
	MADT_X2APIC = 9,
	MADT_X2APIC_NMI = 10,
};

enum {
	LAPIC_ENABLED = 1 << 0,
	INTI_ACTIVE_HIGH = 1 << 0, /* table 5.25 */
	INTI_LEVEL = 3 << 2,
	ALL_CPUS = 0xff,
};

#define ALL_X2APICS UINT32_MAX

/* PCI Firmware Specification 3.3, section 4.1.2 */
struct mcfg {
	struct header header;
	uint64_t reserved;
	struct {
		uint64_t base; /* of bus 0 */
		uint16_t segment;
		uint8_t first, last; /* bus */
		uint32_t reserved;
	} PACKED range;
} PACKED;

_Static_assert(sizeof(struct mcfg) == 60, "table 4-3");
_Static_assert(sizeof(struct rsdp) == 36, "section 5.2.5.3");
_Static_assert(sizeof(struct header) == 36, "section 5.2.6");
_Static_assert(sizeof(struct fadt) == 276, "section 5.2.9");
_Static_assert(sizeof(struct facs) == 64, "section 5.2.10");
_Static_assert(sizeof(struct madt) == 44, "section 5.2.12");
_Static_assert(sizeof(struct madt_lapic) == 8 && sizeof(struct madt_ioapic) == 12 &&
		       sizeof(struct madt_override) == 10 && sizeof(struct madt_lapic_nmi) == 6 &&
		       sizeof(struct madt_x2apic) == 16 && sizeof(struct madt_x2apic_nmi) == 12,
	       "sections 5.2.12.2 to 5.2.12.13");

struct area {
	uint8_t *buf;
	size_t len;
	bool full;
};

/* Room for @len zeroes at a multiple of @align; NULL when there is none. */
static void *area_take(struct area *area, size_t len, size_t align)
{
	size_t at = align_up(area->len, align);

	if (area->full || !range_fits(at, len, ACPI_AREA_LEN)) {
		area->full = true;
		return NULL;
	}
	area->len = at + len;
	return area->buf + at;
}

static void area_put(struct area *area, const void *from, size_t len)
{
	void *to = area_take(area, len, 1);

	if (to)
		memcpy(to, from, len);
}

static uint64_t area_gpa(const struct area *area, const void *p)
{
	return ACPI_AREA + (uint64_t)((const uint8_t *)p - area->buf);
}

/* What makes the bytes add up to zero, if it is added. */
static uint8_t checksum(const void *p, size_t len)
{
	const uint8_t *b = p;
	uint8_t sum = 0;

	while (len--)
		sum = (uint8_t)(sum + *b++);
	return (uint8_t)-sum;
}

static struct header header(const char *signature, uint8_t revision)
{
	struct header h = {
		.revision = revision,
		.oem_id = {'S', 'K', 'E', 'P', ' ', ' '},
		.oem_table_id = {'S', 'K', 'E', 'P', ' ', ' ', ' ', ' '},
		.oem_revision = 1,
		.creator_id = {'S', 'K', 'E', 'P'},
		.creator_revision = 1,
	};

	memcpy(h.signature, signature, sizeof(h.signature));
	return h;
}

/* The table that starts at @h ends where the area does now. */
static void finish(struct area *area, struct header *h)
{
	h->length = (uint32_t)(area->buf + area->len - (uint8_t *)h);
	h->checksum = checksum(h, h->length);
}

static void describe_cpus(const struct acpi_request *req, struct aml *a)
{
	char name[5];

	for (unsigned int i = 0; i < req->cpus; i++) {
		snprintf(name, sizeof(name), "C%03X", i & (ACPI_CPUS_MAX - 1));
		aml_device(a, name);
		aml_name(a, "_HID");
		aml_string(a, "ACPI0007");
		aml_name(a, "_UID");
		aml_integer(a, i);
		aml_end(a);
	}
}

static void describe_devices(const struct acpi_request *req, struct aml *a)
{
	for (unsigned int i = 0; i < req->devices_count; i++) {
		const struct device *dev = req->devices[i];
		unsigned int depth = a->depth;

		if (dev->class->family && dev->class->family->describe)
			dev->class->family->describe(dev, a);
		if (dev->class->describe)
			dev->class->describe(dev, a);
		bug_on(!a->failed && a->depth != depth);
	}
}

/* Section 7.4.2: what to write into SLP_TYP of PM1a_CNT and PM1b_CNT, and two reserved numbers. */
static void describe_s5(const struct acpi_fixed *fixed, struct aml *a)
{
	aml_name(a, "\\_S5");
	aml_package(a, 4);
	aml_integer(a, fixed->sleep_s5);
	for (int i = 0; i < 3; i++)
		aml_integer(a, 0);
	aml_end(a);
}

/* Leaves in @notes what devices said of themselves beside AML. */
static int build_dsdt(struct area *area, const struct acpi_request *req, struct header **dsdt,
		      struct aml *notes, struct err *err)
{
	struct aml a;
	long len;

	/* Revision 2: integers have 64 bits. */
	*dsdt = area_take(area, sizeof(**dsdt), 16);
	if (!*dsdt)
		return 0;
	**dsdt = header("DSDT", 2);
	aml_init(&a, area->buf + area->len, ACPI_AREA_LEN - area->len);
	aml_scope(&a, "\\_SB");
	describe_cpus(req, &a);
	describe_devices(req, &a);
	aml_end(&a);
	describe_s5(&a.fixed, &a);
	*notes = a;

	if (!a.fixed_count)
		return err_set(err, ENODEV,
			       "ACPI tables: no device is the power switch; add acpi_pm");
	if (a.fixed_count > 1)
		return err_set(err, EEXIST,
			       "ACPI tables: %u devices are the power switch; leave one",
			       a.fixed_count);
	len = aml_finish(&a);
	if (len < 0) {
		area->full = true;
		return 0;
	}
	area->len += (size_t)len;
	finish(area, *dsdt);
	return 0;
}

/* @access: the size of the accesses as a GAS writes it, 1 for a byte, 2 for two, 3 for four. */
static struct gas port(uint16_t at, unsigned int bytes, uint8_t access)
{
	return (struct gas){
		.space = GAS_SYSTEM_IO,
		.bits = (uint8_t)(8 * bytes),
		.access = access,
		.address = at,
	};
}

static uint16_t boot_arch(const struct aml *notes)
{
	return (uint16_t)((notes->has_vga ? 0 : BOOT_VGA_NOT_PRESENT) |
			  (notes->has_8042 ? BOOT_8042 : 0) |
			  (notes->has_cmos_rtc ? 0 : BOOT_CMOS_RTC_NOT_PRESENT));
}

static struct header *build_fadt(struct area *area, const struct aml *notes, uint32_t facs,
				 uint32_t dsdt)
{
	const struct acpi_fixed *fixed = &notes->fixed;
	struct fadt *fadt = area_take(area, sizeof(*fadt), 16);

	if (!fadt)
		return NULL;
	*fadt = (struct fadt){
		.header = header("FACP", 6),
		.minor_version = 5,
		/* Only one of the two FACS fields may be in use. */
		.firmware_ctrl = facs,
		.dsdt = dsdt,
		.x_dsdt = dsdt,
		.sci_int = fixed->sci,
		/* SMI_CMD 0: the machine is in ACPI mode from the start, and stays there. */
		.pm1a_evt_blk = fixed->pm1_event,
		.pm1_evt_len = 4,
		.x_pm1a_evt_blk = port(fixed->pm1_event, 4, 2),
		.pm1a_cnt_blk = fixed->pm1_control,
		.pm1_cnt_len = 2,
		.x_pm1a_cnt_blk = port(fixed->pm1_control, 2, 2),
		/* Latencies that stand for "no C2" and "no C3". */
		.p_lvl2_lat = 101,
		.p_lvl3_lat = 1001,
		.century = notes->century,
		.iapc_boot_arch = boot_arch(notes),
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_PWR_BUTTON | FADT_SLP_BUTTON |
			 FADT_FIX_RTC | FADT_RESET_REG_SUP | FADT_HEADLESS,
		.reset_reg = port(fixed->reset, 1, 1),
		.reset_value = fixed->reset_value,
	};
	if (fixed->pm_timer) {
		fadt->pm_tmr_blk = fixed->pm_timer;
		fadt->pm_tmr_len = 4;
		fadt->x_pm_tmr_blk = port(fixed->pm_timer, 4, 3);
		fadt->flags |= FADT_TMR_VAL_EXT;
	}
	finish(area, &fadt->header);
	return &fadt->header;
}

static uint32_t build_facs(struct area *area)
{
	struct facs *facs = area_take(area, sizeof(*facs), 64);

	if (!facs)
		return 0;
	*facs = (struct facs){
		.signature = {'F', 'A', 'C', 'S'},
		.length = sizeof(*facs),
		.version = 2,
	};
	return (uint32_t)area_gpa(area, facs);
}

/*
 * One entry per CPU. An APIC id from 255 on takes the wider form (section 5.2.12.12), and so does
 * such a _UID: 255 in the narrow one would stand for all.
 */
static void put_cpus(struct area *area, const struct acpi_request *req)
{
	bool wide = false;

	for (unsigned int i = 0; i < req->cpus; i++) {
		uint32_t id = req->apic_ids[i];

		if (id < ALL_CPUS && i < ALL_CPUS) {
			area_put(area,
				 &(struct madt_lapic){MADT_LAPIC, sizeof(struct madt_lapic),
						      .uid = (uint8_t)i, .apic_id = (uint8_t)id,
						      .flags = LAPIC_ENABLED},
				 sizeof(struct madt_lapic));
			continue;
		}
		wide = true;
		area_put(area,
			 &(struct madt_x2apic){MADT_X2APIC, sizeof(struct madt_x2apic), .uid = i,
					       .x2apic_id = id, .flags = LAPIC_ENABLED},
			 sizeof(struct madt_x2apic));
	}
	area_put(area,
		 &(struct madt_lapic_nmi){MADT_LAPIC_NMI, sizeof(struct madt_lapic_nmi),
					  .uid = ALL_CPUS, .lint = 1},
		 sizeof(struct madt_lapic_nmi));
	if (wide)
		area_put(area,
			 &(struct madt_x2apic_nmi){MADT_X2APIC_NMI, sizeof(struct madt_x2apic_nmi),
						   .uid = ALL_X2APICS, .lint = 1},
			 sizeof(struct madt_x2apic_nmi));
}

static void put_override(struct area *area, uint8_t irq, uint32_t gsi, uint16_t flags)
{
	const struct madt_override o = {
		MADT_OVERRIDE, sizeof(o), .irq = irq, .gsi = gsi, .flags = flags,
	};

	area_put(area, &o, sizeof(o));
}

static struct header *build_madt(struct area *area, const struct acpi_request *req,
				 const struct acpi_fixed *fixed)
{
	struct madt *madt = area_take(area, sizeof(*madt), 16);
	const struct madt_ioapic ioapic = {
		MADT_IOAPIC,
		sizeof(ioapic),
		.address = ACPI_IOAPIC_AT,
	};

	if (!madt)
		return NULL;
	*madt = (struct madt){
		.header = header("APIC", 6),
		.lapic = ACPI_LAPIC_AT,
		.flags = MADT_PCAT_COMPAT,
	};
	put_cpus(area, req);
	area_put(area, &ioapic, sizeof(ioapic));
	/* The 8254 is wired to pin 2, as the 8259A pair's own output is to pin 0. */
	put_override(area, 0, 2, 0);
	put_override(area, fixed->sci, fixed->sci, INTI_ACTIVE_HIGH | INTI_LEVEL);
	finish(area, &madt->header);
	return &madt->header;
}

static struct header *build_mcfg(struct area *area, const struct aml *notes)
{
	struct mcfg *mcfg = area_take(area, sizeof(*mcfg), 16);

	if (!mcfg)
		return NULL;
	*mcfg = (struct mcfg){
		.header = header("MCFG", 1),
		.range =
			{
				.base = notes->ecam,
				.first = notes->ecam_first,
				.last = notes->ecam_last,
			},
	};
	finish(area, &mcfg->header);
	return &mcfg->header;
}

static uint64_t build_xsdt(struct area *area, const struct header *const *tables,
			   unsigned int count)
{
	struct header *xsdt = area_take(area, sizeof(*xsdt), 16);

	if (!xsdt)
		return 0;
	*xsdt = header("XSDT", 1);
	for (unsigned int i = 0; i < count; i++) {
		uint64_t gpa = area_gpa(area, tables[i]);

		area_put(area, &gpa, sizeof(gpa));
	}
	finish(area, xsdt);
	return area_gpa(area, xsdt);
}

static int build(struct area *area, const struct acpi_request *req, struct err *err)
{
	struct rsdp *rsdp = area_take(area, sizeof(*rsdp), 16);
	uint32_t facs = build_facs(area);
	const struct header *tables[3];
	unsigned int count = 0;
	struct aml notes = {.len = 0};
	struct header *dsdt;
	uint64_t xsdt = 0;
	int ret;

	ret = build_dsdt(area, req, &dsdt, &notes, err);
	if (ret)
		return ret;
	if (!area->full)
		tables[count++] = build_fadt(area, &notes, facs, (uint32_t)area_gpa(area, dsdt));
	if (!area->full)
		tables[count++] = build_madt(area, req, &notes.fixed);
	if (!area->full && notes.ecam)
		tables[count++] = build_mcfg(area, &notes);
	if (!area->full)
		xsdt = build_xsdt(area, tables, count);
	if (area->full)
		return err_set(err, ENOSPC,
			       "ACPI tables of %u CPUs and %u devices do not fit into %llu KiB",
			       req->cpus, req->devices_count,
			       (unsigned long long)(ACPI_AREA_LEN >> 10));
	*rsdp = (struct rsdp){
		.signature = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '},
		.oem_id = {'S', 'K', 'E', 'P', ' ', ' '},
		.revision = 2,
		.length = sizeof(*rsdp),
		.xsdt = xsdt,
	};
	rsdp->checksum = checksum(rsdp, RSDP_V1_LEN);
	rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
	return 0;
}

int acpi_build(const struct acpi_request *req, uint64_t *rsdp, struct err *err)
{
	struct area area = {0};
	int ret;

	if (!req->cpus || req->cpus > ACPI_CPUS_MAX)
		return err_set(err, EINVAL, "ACPI tables name 1 to %u CPUs, not %u", ACPI_CPUS_MAX,
			       req->cpus);
	area.buf = calloc(1, ACPI_AREA_LEN);
	if (!area.buf)
		return err_sys(err, ENOMEM, "ACPI tables");
	ret = build(&area, req, err);
	if (!ret && gmem_write(req->mem, ACPI_AREA, area.buf, area.len))
		ret = err_set(err, EFAULT, "ACPI tables: there is no guest memory at %#llx",
			      (unsigned long long)ACPI_AREA);
	free(area.buf);
	*rsdp = ACPI_AREA;
	return ret;
}
