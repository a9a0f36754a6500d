/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nothing - addresses and ports where nothing is: reads are all ones, writes are swallowed, and the
 * machine goes on.
 */
#include "check.h"

#define NO_PORT 0x5a0

/* Not a chip of a PC, with room to its sides; and far above any memory, yet within 36 bits. */
static const uint64_t nowhere[] = {0xfea00000, UINT64_C(0xfe0000000)};

static void check_memory(uint64_t at)
{
	uint8_t copy[16] = {0};
	const void *from = (const void *)at;
	void *to = copy;
	size_t n = sizeof(copy);

	check_eq(mmio_read8(at), 0xff);
	check_eq(mmio_read16(at), 0xffff);
	check_eq(mmio_read32(at), 0xffffffff);
	check_eq(mmio_read64(at), UINT64_MAX);
	check_eq(mmio_read8(at + 0xfff), 0xff);
	check_eq(mmio_read32(at + 3), 0xffffffff);
	check_eq(mmio_read64(at + 0xffc), UINT64_MAX);
	mmio_write8(at, 0);
	mmio_write16(at, 0);
	mmio_write32(at + 1, 0);
	mmio_write64(at + 0xffc, 0);
	check_eq(mmio_read64(at), UINT64_MAX);
	check_eq(mmio_read64(at + 0xffc), UINT64_MAX);

	__asm__ volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(n) : : "memory");
	for (unsigned int i = 0; i < sizeof(copy); i++)
		check_eq(copy[i], 0xff);
	to = (void *)at;
	n = sizeof(copy);
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(0) : "memory");
	check_eq(mmio_read8(at), 0xff);
}

static void check_ports(void)
{
	check_eq(in8(NO_PORT), 0xff);
	check_eq(in16(NO_PORT), 0xffff);
	check_eq(in32(NO_PORT), 0xffffffff);
	check_eq(in16(NO_PORT + 1), 0xffff);
	check_eq(in32(NO_PORT + 3), 0xffffffff);
	out8(NO_PORT, 0);
	out16(NO_PORT, 0);
	out32(NO_PORT + 1, 0);
	check_eq(in32(NO_PORT), 0xffffffff);
	check_eq(in8(0xffff), 0xff);
	/* What lies past the last port is nobody's business, but must not stop the machine. */
	check_eq(in32(0xffff) & 0xff, 0xff);
	out32(0xffff, 0xffffffff);
}

int guest_main(void)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(nowhere); i++) {
		check(map_high(nowhere[i]));
		check_memory(nowhere[i]);
	}
	check_ports();
	return check_result("nothing");
}
