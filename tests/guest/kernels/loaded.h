/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loaded - what kernels of protocols other than Linux's check of the state in which they are
 * entered, and of what was put into memory for them.
 */
#ifndef TESTS_GUEST_LOADED_H
#define TESTS_GUEST_LOADED_H

#include "../check.h"

/* 32-bit mode without paging and interrupts (Multiboot 0.6.96, section 3.2). */
static inline void check_flat32(void)
{
	const uint32_t was = mmio_read32(0x600), above = mmio_read32(0x100600);

	check_eq(entry.cr0 & 0x80000001, 1);
	check_eq(entry.eflags & 0x20200, 0); /* VM, IF */
	check_eq(entry.ds, entry.ss);
	check_eq(entry.es, entry.ss);
	/* Address line 20 is not held down. */
	mmio_write32(0x600, ~above);
	check_eq(mmio_read32(0x100600), above);
	mmio_write32(0x600, was);
	/* What is left of a BIOS: the segment of its data area, and the KiB below that. */
	check_eq(mmio_read16(0x40e), 0x9fc0);
	check_eq(mmio_read16(0x413), 639);
}

static inline uint32_t sum_of(const uint8_t *p, const uint8_t *end)
{
	uint32_t sum = 0;

	while (p < end)
		sum = sum * 31 + *p++;
	return sum;
}

/* A module, whose command line, or @words instead, says its size= and its sum=. */
static inline void check_module(uint32_t start, uint32_t end, const char *words)
{
	check_eq(start & 0xfff, 0);
	check(start >= 0x100000);
	check_eq(end - start, words_number(words, "size", 0));
	check_eq(sum_of((const uint8_t *)(uintptr_t)start, (const uint8_t *)(uintptr_t)end),
		 words_number(words, "sum", 0));
}

/* Memory up to the first hole behind 1 MiB, in KiB, of a machine with @ram bytes. */
static inline void check_sizes(uint32_t lower, uint32_t upper, uint64_t ram)
{
	check_eq(lower, 639);
	check_eq(upper, ((ram < 0xc0000000 ? ram : 0xc0000000) >> 10) - 1024);
}

/* The map, entry by entry. */
struct map_check {
	uint64_t end, ram;
};

static inline void check_map_entry(struct map_check *m, uint64_t at, uint64_t len, uint32_t type)
{
	check(at >= m->end);
	check(len);
	m->end = at + len;
	check(m->end > at);
	if (type == 1)
		m->ram += len;
}

static inline void check_map_end(const struct map_check *m, uint64_t ram)
{
	check(m->ram <= ram);
	check(ram - m->ram <= 1 << 20);
}

/* An ELF file's own symbols: that of guest_main() is where it is. */
struct shdr32 {
	uint32_t name, type, flags, addr, offset, size, link, info, align, entsize;
};

struct shdr64 {
	uint32_t name, type;
	uint64_t flags, addr, offset, size;
	uint32_t link, info;
	uint64_t align, entsize;
};

struct table {
	uint32_t type, link;
	uintptr_t addr, size;
};

static inline struct table table_at(const uint8_t *headers, uint32_t size, uint32_t n)
{
	const struct shdr32 *s32 = (const void *)(headers + n * size);
	const struct shdr64 *s64 = (const void *)(headers + n * size);

	if (size == sizeof(*s32))
		return (struct table){s32->type, s32->link, s32->addr, s32->size};
	return (struct table){s64->type, s64->link, s64->addr, s64->size};
}

static inline bool is_main(const char *name)
{
	return !memcmp(name, "guest_main", sizeof("guest_main"));
}

static inline uint64_t find_main(const uint8_t *headers, uint32_t size, const struct table *symbols)
{
	const struct table names = table_at(headers, size, symbols->link);
	const uint32_t step = size == sizeof(struct shdr32) ? 16 : 24;

	for (uintptr_t at = symbols->addr; at < symbols->addr + symbols->size; at += step) {
		const uint32_t *s = (const uint32_t *)at;

		if (s[0] + sizeof("guest_main") <= names.size &&
		    is_main((const char *)names.addr + s[0]))
			return step == 16 ? s[1] : *(const uint64_t *)(at + 8);
	}
	return 0;
}

static inline void check_symbols(const uint8_t *headers, uint32_t size, uint32_t count,
				 uint32_t shndx)
{
	struct table names;
	uint64_t at = 0;

	check(size == sizeof(struct shdr32) || size == sizeof(struct shdr64));
	check(shndx && shndx < count);
	names = table_at(headers, size, shndx);
	check_eq(names.type, 3); /* SHT_STRTAB */
	check(names.addr >= 0x100000);
	for (uint32_t i = 0; i < count; i++) {
		const struct table t = table_at(headers, size, i);

		if (t.type == 2) /* SHT_SYMTAB */
			at = find_main(headers, size, &t);
	}
	check_eq(at, (uintptr_t)guest_main);
}

#endif
