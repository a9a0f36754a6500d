/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The structures are the specification's own, little-endian as every host that skep runs on. Fields
 * that are not named below are 0, which stands for nothing or for no string.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/smbios.h"
#include "skep/topology.h"

#define PACKED __attribute__((packed))

#define MAJOR 3
#define MINOR 0
/* What the 32-bit entry point promises: its kernels know no more. */
#define MAJOR_32 2
#define MINOR_32 8

#define VENDOR "skep"
/* Kernels work around what firmware of the last century got wrong: the year has to be a late one,
 * and the same in every build. */
#define RELEASE_DATE "01/01/2025"

/* Section 5.2.1 */
struct entry_32 {
	char anchor[4];
	uint8_t checksum; /* of all */
	uint8_t length;
	uint8_t major, minor;
	uint16_t largest; /* structure, strings included */
	uint8_t revision;
	uint8_t formatted[5];
	char dmi_anchor[5];
	uint8_t dmi_checksum; /* from dmi_anchor on */
	uint16_t table_length;
	uint32_t table;
	uint16_t structures;
	uint8_t bcd_revision;
} PACKED;

/* Section 5.2.2 */
struct entry_64 {
	char anchor[5];
	uint8_t checksum;
	uint8_t length;
	uint8_t major, minor, docrev;
	uint8_t revision;
	uint8_t reserved;
	uint32_t table_max_length;
	uint64_t table;
} PACKED;

/* Section 6.1.2. Members that end in _str are numbers of strings, from 1. */
struct header {
	uint8_t type;
	uint8_t length;
	uint16_t handle;
} PACKED;

/* Section 7.1 */
struct bios_info {
	struct header header;
	uint8_t vendor_str;
	uint8_t version_str;
	uint16_t segment;
	uint8_t date_str;
	uint8_t rom_size; /* in units of 64 KiB, less one */
	uint64_t characteristics;
	uint8_t extension[2];
	uint8_t major, minor;
	uint8_t ec_major, ec_minor;
} PACKED;

enum {
	BIOS_NOT_SUPPORTED = 1 << 3, /* no characteristics are told */
	BIOS_EXT1_ACPI = 1 << 0,
	BIOS_EXT2_VIRTUAL_MACHINE = 1 << 4,
	BIOS_NO_RELEASE = 0xff,
};

/* Section 7.2 */
struct system_info {
	struct header header;
	uint8_t manufacturer_str;
	uint8_t product_str;
	uint8_t version_str;
	uint8_t serial_str;
	uint8_t uuid[16]; /* zeroes: none */
	uint8_t wake_up;
	uint8_t sku_str;
	uint8_t family_str;
} PACKED;

enum {
	WAKE_UP_POWER_SWITCH = 6,
};

/* Section 7.4 */
struct enclosure {
	struct header header;
	uint8_t manufacturer_str;
	uint8_t type;
	uint8_t version_str;
	uint8_t serial_str;
	uint8_t asset_str;
	uint8_t boot_state;
	uint8_t power_state;
	uint8_t thermal_state;
	uint8_t security;
	uint32_t oem;
	uint8_t height;
	uint8_t power_cords;
	uint8_t elements;
	uint8_t element_length;
	uint8_t sku_str;
} PACKED;

enum {
	ENCLOSURE_OTHER = 1,
	STATE_SAFE = 3,
	SECURITY_NONE = 3,
};

/* Section 7.5 */
struct processor {
	struct header header;
	uint8_t socket_str;
	uint8_t type;
	uint8_t family;
	uint8_t manufacturer_str;
	uint64_t id;
	uint8_t version_str;
	uint8_t voltage;
	uint16_t external_clock;
	uint16_t max_speed;
	uint16_t current_speed;
	uint8_t status;
	uint8_t upgrade;
	uint16_t caches[3];
	uint8_t serial_str;
	uint8_t asset_str;
	uint8_t part_str;
	uint8_t cores, cores_enabled, threads; /* of the socket */
	uint16_t characteristics;
	uint16_t family_2;
	uint16_t cores_2, cores_enabled_2, threads_2;
} PACKED;

enum {
	PROCESSOR_CENTRAL = 3,
	FAMILY_OTHER = 1,
	STATUS_POPULATED_ENABLED = 1 << 6 | 1,
	UPGRADE_OTHER = 1,
	NO_CACHE = 0xffff,
	PROCESSOR_64_BIT = 1 << 2,
	PROCESSOR_MULTI_CORE = 1 << 3,
	PROCESSOR_THREADS = 1 << 4,
};

/* Section 7.17 */
struct memory_array {
	struct header header;
	uint8_t location;
	uint8_t use;
	uint8_t error_correction;
	uint32_t capacity_kib;
	uint16_t error_handle;
	uint16_t devices;
	uint64_t capacity;
} PACKED;

enum {
	LOCATION_BOARD = 3,
	USE_SYSTEM_MEMORY = 3,
	ERROR_CORRECTION_NONE = 3,
	NO_ERROR_HANDLE = 0xfffe,
};

#define CAPACITY_ELSEWHERE 0x80000000U

/* Section 7.18 */
struct memory_device {
	struct header header;
	uint16_t array;
	uint16_t error_handle;
	uint16_t total_width, data_width;
	uint16_t size_mib;
	uint8_t form_factor;
	uint8_t set;
	uint8_t locator_str;
	uint8_t bank_str;
	uint8_t type;
	uint16_t detail;
	uint16_t speed;
	uint8_t manufacturer_str;
	uint8_t serial_str;
	uint8_t asset_str;
	uint8_t part_str;
	uint8_t attributes;
	uint32_t extended_size_mib;
	uint16_t configured_speed;
	uint16_t min_voltage, max_voltage, configured_voltage;
} PACKED;

enum {
	WIDTH_UNKNOWN = 0xffff,
	SIZE_ELSEWHERE = 0x7fff,
	FORM_FACTOR_DIMM = 9,
	MEMORY_RAM = 7,
	DETAIL_OTHER = 1 << 1,
};

/* Section 7.20 */
struct mapped_address {
	struct header header;
	uint32_t first_kib, last_kib;
	uint16_t array;
	uint8_t devices;
	uint64_t first, last;
} PACKED;

#define ADDRESS_ELSEWHERE UINT32_MAX

/* Section 7.33 */
struct boot_status {
	struct header header;
	uint8_t reserved[6];
	uint8_t status; /* 0: no errors detected */
} PACKED;

_Static_assert(sizeof(struct entry_32) == 31 && sizeof(struct entry_64) == 24, "section 5.2");
_Static_assert(sizeof(struct bios_info) == 0x18 && sizeof(struct system_info) == 0x1b &&
		       sizeof(struct enclosure) == 0x16 && sizeof(struct processor) == 0x30 &&
		       sizeof(struct memory_array) == 0x17 &&
		       sizeof(struct memory_device) == 0x28 &&
		       sizeof(struct mapped_address) == 0x1f && sizeof(struct boot_status) == 0xb,
	       "the lengths of SMBIOS 3.0");

enum {
	TYPE_BIOS = 0,
	TYPE_SYSTEM = 1,
	TYPE_ENCLOSURE = 3,
	TYPE_PROCESSOR = 4,
	TYPE_MEMORY_ARRAY = 16,
	TYPE_MEMORY_DEVICE = 17,
	TYPE_MAPPED_ADDRESS = 19,
	TYPE_BOOT_STATUS = 32,
	TYPE_END = 127,
};

/* Entry points are found at multiples of 16. */
#define ENTRY_64_AT 0
#define ENTRY_32_AT 32
#define TABLE_AT    64

struct area {
	uint8_t *buf;
	size_t len;
	size_t largest;
	unsigned int structures;
	bool full;
};

/* A handle names one structure: by its type, and its number among those of that type. */
static uint16_t handle(uint8_t type, unsigned int number)
{
	return (uint16_t)((unsigned int)type << 8 | number);
}

#define HEADER(type_, number, structure)                                                       \
	{                                                                                      \
		.type = (type_), .length = sizeof(structure), .handle = handle(type_, number), \
	}

static void put_bytes(struct area *area, const void *from, size_t len)
{
	if (area->full || len > SMBIOS_AREA_LEN - area->len) {
		area->full = true;
		return;
	}
	memcpy(area->buf + area->len, from, len);
	area->len += len;
}

/* The structure that starts with @h, and its strings: NULL ends them (section 6.1.3). */
static void put(struct area *area, const struct header *h, const char *const *strings)
{
	size_t start = area->len;

	put_bytes(area, h, h->length);
	if (!*strings)
		put_bytes(area, "", 1);
	for (; *strings; strings++)
		put_bytes(area, *strings, strlen(*strings) + 1);
	put_bytes(area, "", 1);
	area->largest = MAX(area->largest, area->len - start);
	area->structures++;
}

#define PUT(area, structure, ...) \
	put(area, &(structure).header, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static void put_machine(struct area *area, const char *version)
{
	const struct bios_info bios = {
		.header = HEADER(TYPE_BIOS, 0, bios),
		.vendor_str = 1,
		.version_str = 2,
		.segment = 0xe000,
		.date_str = 3,
		.rom_size = 1,
		.characteristics = BIOS_NOT_SUPPORTED,
		.extension = {BIOS_EXT1_ACPI, BIOS_EXT2_VIRTUAL_MACHINE},
		.major = BIOS_NO_RELEASE,
		.minor = BIOS_NO_RELEASE,
		.ec_major = BIOS_NO_RELEASE,
		.ec_minor = BIOS_NO_RELEASE,
	};
	const struct system_info system = {
		.header = HEADER(TYPE_SYSTEM, 0, system),
		.manufacturer_str = 1,
		.product_str = 2,
		.version_str = 3,
		.wake_up = WAKE_UP_POWER_SWITCH,
	};
	const struct enclosure enclosure = {
		.header = HEADER(TYPE_ENCLOSURE, 0, enclosure),
		.manufacturer_str = 1,
		.type = ENCLOSURE_OTHER,
		.version_str = 2,
		.boot_state = STATE_SAFE,
		.power_state = STATE_SAFE,
		.thermal_state = STATE_SAFE,
		.security = SECURITY_NONE,
	};

	PUT(area, bios, VENDOR, version, RELEASE_DATE);
	PUT(area, system, VENDOR, "virtual machine", version);
	PUT(area, enclosure, VENDOR, version);
}

static void put_processors(struct area *area, const struct topology *t)
{
	const unsigned int threads = t->cores * t->threads;

	for (unsigned int i = 0; i < t->sockets; i++) {
		const struct processor p = {
			.header = HEADER(TYPE_PROCESSOR, i, p),
			.socket_str = 1,
			.type = PROCESSOR_CENTRAL,
			.family = FAMILY_OTHER,
			.manufacturer_str = 2,
			.status = STATUS_POPULATED_ENABLED,
			.upgrade = UPGRADE_OTHER,
			.caches = {NO_CACHE, NO_CACHE, NO_CACHE},
			.cores = (uint8_t)t->cores,
			.cores_enabled = (uint8_t)t->cores,
			.threads = (uint8_t)threads,
			.characteristics = (uint16_t)(PROCESSOR_64_BIT |
						      (t->cores > 1 ? PROCESSOR_MULTI_CORE : 0) |
						      (t->threads > 1 ? PROCESSOR_THREADS : 0)),
			.family_2 = FAMILY_OTHER,
			.cores_2 = (uint16_t)t->cores,
			.cores_enabled_2 = (uint16_t)t->cores,
			.threads_2 = (uint16_t)threads,
		};
		char socket[16];

		snprintf(socket, sizeof(socket), "CPU %u", i);
		PUT(area, p, socket, VENDOR);
	}
}

static void put_region(struct area *area, const struct gmem_region *r, unsigned int number)
{
	const uint64_t last = r->gpa + r->size - 1;
	struct mapped_address a = {
		.header = HEADER(TYPE_MAPPED_ADDRESS, number, a),
		.array = handle(TYPE_MEMORY_ARRAY, 0),
		.devices = 1,
	};

	/* 32 bits of KiB reach to 4 TiB. */
	if (last >> 10 < ADDRESS_ELSEWHERE) {
		a.first_kib = (uint32_t)(r->gpa >> 10);
		a.last_kib = (uint32_t)(last >> 10);
	} else {
		a.first_kib = a.last_kib = ADDRESS_ELSEWHERE;
		a.first = r->gpa;
		a.last = last;
	}
	PUT(area, a);
}

/* One module, in one array, which the guest sees in as many places as there are regions. */
static void put_memory(struct area *area, const struct gmem *mem)
{
	const uint64_t size = gmem_size(mem), mib = size >> 20;
	const struct gmem_region *regions;
	const unsigned int count = gmem_regions(mem, &regions);
	const bool large = size >> 10 >= CAPACITY_ELSEWHERE;
	const struct memory_array array = {
		.header = HEADER(TYPE_MEMORY_ARRAY, 0, array),
		.location = LOCATION_BOARD,
		.use = USE_SYSTEM_MEMORY,
		.error_correction = ERROR_CORRECTION_NONE,
		.capacity_kib = large ? CAPACITY_ELSEWHERE : (uint32_t)(size >> 10),
		.error_handle = NO_ERROR_HANDLE,
		.devices = 1,
		.capacity = large ? size : 0,
	};
	const struct memory_device device = {
		.header = HEADER(TYPE_MEMORY_DEVICE, 0, device),
		.array = handle(TYPE_MEMORY_ARRAY, 0),
		.error_handle = NO_ERROR_HANDLE,
		.total_width = WIDTH_UNKNOWN,
		.data_width = WIDTH_UNKNOWN,
		.size_mib = mib < SIZE_ELSEWHERE ? (uint16_t)mib : SIZE_ELSEWHERE,
		.form_factor = FORM_FACTOR_DIMM,
		.locator_str = 1,
		.type = MEMORY_RAM,
		.detail = DETAIL_OTHER,
		.manufacturer_str = 2,
		.extended_size_mib = mib < SIZE_ELSEWHERE ? 0 : (uint32_t)mib,
	};

	PUT(area, array);
	PUT(area, device, "DIMM 0", VENDOR);
	for (unsigned int i = 0; i < count; i++)
		put_region(area, &regions[i], i);
}

static void put_end(struct area *area)
{
	const struct boot_status status = {.header = HEADER(TYPE_BOOT_STATUS, 0, status)};
	const struct {
		struct header header;
	} end = {.header = HEADER(TYPE_END, 0, end)};

	PUT(area, status);
	PUT(area, end);
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

static void put_entry_points(struct area *area)
{
	const size_t len = area->len - TABLE_AT;
	struct entry_64 e64 = {
		.anchor = {'_', 'S', 'M', '3', '_'},
		.length = sizeof(e64),
		.major = MAJOR,
		.minor = MINOR,
		.revision = 1,
		.table_max_length = (uint32_t)len,
		.table = SMBIOS_AREA + TABLE_AT,
	};
	struct entry_32 e32 = {
		.anchor = {'_', 'S', 'M', '_'},
		.length = sizeof(e32),
		.major = MAJOR_32,
		.minor = MINOR_32,
		.largest = (uint16_t)area->largest,
		.dmi_anchor = {'_', 'D', 'M', 'I', '_'},
		.table_length = (uint16_t)len,
		.table = (uint32_t)SMBIOS_AREA + TABLE_AT,
		.structures = (uint16_t)area->structures,
		.bcd_revision = MAJOR_32 << 4 | MINOR_32,
	};
	const size_t dmi = offsetof(struct entry_32, dmi_anchor);

	e64.checksum = checksum(&e64, sizeof(e64));
	e32.dmi_checksum = checksum((uint8_t *)&e32 + dmi, sizeof(e32) - dmi);
	e32.checksum = checksum(&e32, sizeof(e32));
	memcpy(area->buf + ENTRY_64_AT, &e64, sizeof(e64));
	memcpy(area->buf + ENTRY_32_AT, &e32, sizeof(e32));
}

int smbios_build(const struct smbios_request *req, struct err *err)
{
	struct area area = {.len = TABLE_AT};
	int ret = 0;

	area.buf = calloc(1, SMBIOS_AREA_LEN);
	if (!area.buf)
		return err_sys(err, ENOMEM, "SMBIOS");
	put_machine(&area, req->version);
	put_processors(&area, req->topology);
	put_memory(&area, req->mem);
	put_end(&area);
	put_entry_points(&area);
	if (area.full)
		ret = err_set(err, ENOSPC,
			      "SMBIOS structures of %u sockets do not fit into %llu KiB",
			      req->topology->sockets, (unsigned long long)(SMBIOS_AREA_LEN >> 10));
	else if (gmem_write(req->mem, SMBIOS_AREA, area.buf, area.len))
		ret = err_set(err, EFAULT, "SMBIOS: there is no guest memory at %#llx",
			      (unsigned long long)SMBIOS_AREA);
	free(area.buf);
	return ret;
}
