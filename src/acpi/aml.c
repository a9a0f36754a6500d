/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/err.h"

/* ACPI 6.5, section 20.3 */
enum {
	ZERO_OP = 0x00,
	ONE_OP = 0x01,
	NAME_OP = 0x08,
	BYTE_PREFIX = 0x0a,
	WORD_PREFIX = 0x0b,
	DWORD_PREFIX = 0x0c,
	STRING_PREFIX = 0x0d,
	QWORD_PREFIX = 0x0e,
	SCOPE_OP = 0x10,
	BUFFER_OP = 0x11,
	PACKAGE_OP = 0x12,
	METHOD_OP = 0x14,
	DUAL_NAME_PREFIX = 0x2e,
	MULTI_NAME_PREFIX = 0x2f,
	EXT_OP_PREFIX = 0x5b,
	ARG0_OP = 0x68,
	STORE_OP = 0x70,
	EXT_DEVICE_OP = 0x82,
	IF_OP = 0xa0,
	RETURN_OP = 0xa4,
};

/* ACPI 6.5, section 6.4: the first byte of a resource descriptor; small ones hold their length. */
enum {
	RESOURCE_IRQ = 0x22, /* two bytes follow: no flags, so edge, active high, exclusive */
	RESOURCE_IO = 0x47,
	RESOURCE_END_TAG = 0x79,
	RESOURCE_MEMORY32_FIXED = 0x86,
	RESOURCE_DWORD_SPACE = 0x87,
	RESOURCE_WORD_SPACE = 0x88,
	RESOURCE_EXTENDED_INTERRUPT = 0x89,
	RESOURCE_QWORD_SPACE = 0x8a,
};

/* Table 6.47 */
enum {
	SPACE_MEMORY = 0,
	SPACE_IO = 1,
	SPACE_BUS = 2,
};

/* The range is fixed at both ends, and the device passes it on: it is a producer (table 6.48). */
#define SPACE_FIXED     0x0c
#define SPACE_WRITABLE  0x01 /* table 6.49; not cacheable */
#define SPACE_ALL_PORTS 0x03 /* table 6.50: those of ISA and the others */

#define NAME_SEG 4

static void put(struct aml *a, const void *from, size_t len)
{
	if (a->failed || len > a->room - a->len) {
		a->failed = true;
		return;
	}
	memcpy(a->buf + a->len, from, len);
	a->len += len;
}

static void put8(struct aml *a, unsigned int v)
{
	put(a, &(uint8_t){(uint8_t)v}, 1);
}

static void put16(struct aml *a, uint16_t v)
{
	uint8_t b[2];

	store_le16(b, v);
	put(a, b, sizeof(b));
}

static void put32(struct aml *a, uint32_t v)
{
	uint8_t b[4];

	store_le32(b, v);
	put(a, b, sizeof(b));
}

/* The low @len bytes of @v. */
static void put_le(struct aml *a, uint64_t v, unsigned int len)
{
	uint8_t b[8];

	store_le64(b, v);
	put(a, b, len);
}

/* Puts @len bytes in at @at, before what stands there. */
static void insert(struct aml *a, size_t at, const void *from, size_t len)
{
	if (len > a->room - a->len) {
		a->failed = true;
		return;
	}
	memmove(a->buf + at + len, a->buf + at, a->len - at);
	memcpy(a->buf + at, from, len);
	a->len += len;
}

void aml_init(struct aml *a, void *buf, size_t room)
{
	*a = (struct aml){.buf = buf, .room = room};
}

long aml_finish(const struct aml *a)
{
	if (a->failed)
		return -ENOSPC;
	return a->depth ? -EINVAL : (long)a->len;
}

/* The shortest form of an integer (section 20.2.3). Not Ones: its width is the table's. */
static size_t encode_integer(uint8_t to[9], uint64_t v)
{
	uint8_t le[8];
	size_t len;

	store_le64(le, v);
	if (v <= 1) {
		to[0] = v ? ONE_OP : ZERO_OP;
		return 1;
	}
	if (v <= UINT8_MAX) {
		to[0] = BYTE_PREFIX;
		len = 1;
	} else if (v <= UINT16_MAX) {
		to[0] = WORD_PREFIX;
		len = 2;
	} else if (v <= UINT32_MAX) {
		to[0] = DWORD_PREFIX;
		len = 4;
	} else {
		to[0] = QWORD_PREFIX;
		len = 8;
	}
	memcpy(to + 1, le, len);
	return 1 + len;
}

/* PkgLength (section 20.2.4) of @len bytes that follow it: it counts itself too. */
static size_t encode_length(uint8_t to[4], size_t len)
{
	size_t n = 1;

	if (len + 1 < 1 << 6) {
		to[0] = (uint8_t)(len + 1);
		return 1;
	}
	while (len + n >= (size_t)1 << (4 + 8 * (n - 1)))
		n++;
	bug_on(n > 4);
	len += n;
	to[0] = (uint8_t)((n - 1) << 6 | (len & 0xf));
	for (size_t i = 1; i < n; i++)
		to[i] = (uint8_t)(len >> (4 + 8 * (i - 1)));
	return n;
}

static void open_object(struct aml *a)
{
	if (a->failed || a->depth == AML_DEPTH_MAX) {
		a->failed = true;
		return;
	}
	a->open[a->depth++] = a->len;
}

void aml_end(struct aml *a)
{
	uint8_t head[9];
	size_t at, n;

	if (a->failed)
		return;
	bug_on(!a->depth);
	at = a->open[--a->depth];
	/* A buffer says its size in front of its bytes, and then needs the end tag (6.4.2.9), whose
	 * checksum of 0 stands for "not checked". */
	if (a->buf[at - 1] == BUFFER_OP) {
		put16(a, RESOURCE_END_TAG);
		n = encode_integer(head, a->len - at);
		insert(a, at, head, n);
	}
	n = encode_length(head, a->len - at);
	insert(a, at, head, n);
}

static bool name_char(char c, bool first)
{
	return c == '_' || (c >= 'A' && c <= 'Z') || (!first && c >= '0' && c <= '9');
}

/* One segment, padded; returns what is behind it and its dot. */
static const char *put_segment(struct aml *a, const char *path)
{
	char seg[NAME_SEG] = {'_', '_', '_', '_'};
	size_t n = 0;

	for (; path[n] && path[n] != '.'; n++) {
		bug_on(n == NAME_SEG || !name_char(path[n], !n));
		seg[n] = path[n];
	}
	bug_on(!n || (path[n] && !path[n + 1]));
	put(a, seg, sizeof(seg));
	return path[n] ? path + n + 1 : path + n;
}

/* NameString (section 20.2.2) */
static void put_path(struct aml *a, const char *path)
{
	unsigned int segments = 1;

	if (*path == '\\')
		put8(a, (uint8_t)*path++);
	else
		for (; *path == '^'; path++)
			put8(a, (uint8_t)*path);
	if (!*path) {
		put8(a, ZERO_OP); /* NullName: the root or the parent itself */
		return;
	}
	for (const char *p = path; *p; p++)
		segments += *p == '.';
	bug_on(segments > UINT8_MAX);
	if (segments == 2) {
		put8(a, DUAL_NAME_PREFIX);
	} else if (segments > 2) {
		put8(a, MULTI_NAME_PREFIX);
		put8(a, segments);
	}
	while (*path)
		path = put_segment(a, path);
}

void aml_scope(struct aml *a, const char *path)
{
	put8(a, SCOPE_OP);
	open_object(a);
	put_path(a, path);
}

void aml_device(struct aml *a, const char *name)
{
	put8(a, EXT_OP_PREFIX);
	put8(a, EXT_DEVICE_OP);
	open_object(a);
	put_path(a, name);
}

void aml_method(struct aml *a, const char *name, unsigned int args, bool serialized)
{
	bug_on(args > 7);
	put8(a, METHOD_OP);
	open_object(a);
	put_path(a, name);
	put8(a, args | (serialized ? 1U << 3 : 0));
}

void aml_package(struct aml *a, unsigned int count)
{
	bug_on(count > UINT8_MAX);
	put8(a, PACKAGE_OP);
	open_object(a);
	put8(a, count);
}

void aml_if(struct aml *a, const char *path)
{
	put8(a, IF_OP);
	open_object(a);
	put_path(a, path);
}

void aml_resources(struct aml *a)
{
	put8(a, BUFFER_OP);
	open_object(a);
}

void aml_name(struct aml *a, const char *name)
{
	put8(a, NAME_OP);
	put_path(a, name);
}

void aml_integer(struct aml *a, uint64_t v)
{
	uint8_t b[9];
	size_t n = encode_integer(b, v);

	put(a, b, n);
}

void aml_string(struct aml *a, const char *s)
{
	for (const char *p = s; *p; p++)
		bug_on(*p & 0x80);
	put8(a, STRING_PREFIX);
	put(a, s, strlen(s) + 1);
}

static unsigned int hex_digit(char c)
{
	bug_on(!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'F')));
	return (unsigned int)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Three letters of five bits and four digits, as EISA puts them: highest first (6.1.5). */
void aml_eisa_id(struct aml *a, const char *id)
{
	unsigned int v = 0;

	bug_on(strlen(id) != 7);
	for (int i = 0; i < 3; i++) {
		bug_on(id[i] < 'A' || id[i] > 'Z');
		v = v << 5 | (unsigned int)(id[i] - 'A' + 1);
	}
	for (int i = 3; i < 7; i++)
		v = v << 4 | hex_digit(id[i]);
	put8(a, DWORD_PREFIX);
	put32(a, __builtin_bswap32(v));
}

void aml_return_integer(struct aml *a, uint64_t v)
{
	put8(a, RETURN_OP);
	aml_integer(a, v);
}

void aml_return_path(struct aml *a, const char *path)
{
	put8(a, RETURN_OP);
	put_path(a, path);
}

void aml_store_argument(struct aml *a, unsigned int n, const char *path)
{
	bug_on(n > 6);
	put8(a, STORE_OP);
	put8(a, ARG0_OP + n);
	put_path(a, path);
}

/* Section 6.4.2.5 */
void aml_io(struct aml *a, uint16_t base, uint8_t len)
{
	put8(a, RESOURCE_IO);
	put8(a, 1); /* decodes 16 bits */
	put16(a, base);
	put16(a, base);
	put8(a, 1); /* alignment */
	put8(a, len);
}

/* Section 6.4.2.1 */
void aml_irq(struct aml *a, unsigned int irq)
{
	bug_on(irq > 15);
	put8(a, RESOURCE_IRQ);
	put16(a, (uint16_t)(1U << irq));
}

/* Section 6.4.3.6 */
void aml_interrupt(struct aml *a, uint32_t gsi, bool level, bool active_low, bool shared)
{
	put8(a, RESOURCE_EXTENDED_INTERRUPT);
	put16(a, 6);
	/* Bit 0: the device consumes it. */
	put8(a, 1U | (level ? 0 : 1U << 1) | (active_low ? 1U << 2 : 0) | (shared ? 1U << 3 : 0));
	put8(a, 1);
	put32(a, gsi);
}

/* Section 6.4.3.4 */
void aml_memory32(struct aml *a, uint32_t base, uint32_t len, bool writable)
{
	put8(a, RESOURCE_MEMORY32_FIXED);
	put16(a, 9);
	put8(a, writable);
	put32(a, base);
	put32(a, len);
}

/* Sections 6.4.3.5.1 to 6.4.3.5.3, which differ in the size of their numbers. */
static void put_space(struct aml *a, unsigned int type, unsigned int flags, uint64_t base,
		      uint64_t len, unsigned int width)
{
	const uint8_t item[] = {
		[2] = RESOURCE_WORD_SPACE,
		[4] = RESOURCE_DWORD_SPACE,
		[8] = RESOURCE_QWORD_SPACE,
	};
	const uint64_t numbers[] = {0 /* granularity */, base, base + len - 1, 0 /* translation */,
				    len};

	put8(a, item[width]);
	put16(a, (uint16_t)(3 + width * ARRAY_SIZE(numbers)));
	put8(a, type);
	put8(a, SPACE_FIXED);
	put8(a, flags);
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		put_le(a, numbers[i], width);
}

void aml_bus_window(struct aml *a, uint8_t first, uint8_t last)
{
	put_space(a, SPACE_BUS, 0, first, last - first + 1U, 2);
}

void aml_io_window(struct aml *a, uint16_t base, uint16_t len)
{
	put_space(a, SPACE_IO, SPACE_ALL_PORTS, base, len, 2);
}

void aml_memory_window(struct aml *a, uint64_t base, uint64_t len)
{
	put_space(a, SPACE_MEMORY, SPACE_WRITABLE, base, len,
		  range_fits(base, len, UINT64_C(1) << 32) ? 4 : 8);
}

void aml_fixed_hardware(struct aml *a, const struct acpi_fixed *fixed)
{
	a->fixed_count++;
	a->fixed = *fixed;
}

void aml_has_8042(struct aml *a)
{
	a->has_8042 = true;
}

void aml_has_vga(struct aml *a)
{
	a->has_vga = true;
}

void aml_has_ecam(struct aml *a, uint64_t base, uint8_t first, uint8_t last)
{
	a->ecam = base;
	a->ecam_first = first;
	a->ecam_last = last;
}

void aml_has_cmos_rtc(struct aml *a, uint8_t century)
{
	a->has_cmos_rtc = true;
	a->century = century;
}
