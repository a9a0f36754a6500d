/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * string - INS and OUTS: every element arrives, in order, in either direction, across pages.
 */
#include "check.h"

#define SCRATCH (COM1 + 7)
#define NO_PORT 0x5a0
#define PAGE    4096

/* Two pages, so that there is a boundary to cross. */
__attribute__((section(".noinit.string"), aligned(4096))) static uint8_t area[2 * PAGE];

static void outs16(uint16_t port, const void *from, size_t n)
{
	__asm__ volatile("rep outsw" : "+S"(from), "+c"(n) : "d"(port) : "memory");
}

static void outs32(uint16_t port, const void *from, size_t n)
{
	__asm__ volatile("rep outsl" : "+S"(from), "+c"(n) : "d"(port) : "memory");
}

static void ins16(uint16_t port, void *to, size_t n)
{
	__asm__ volatile("rep insw" : "+D"(to), "+c"(n) : "d"(port) : "memory");
}

static void ins32(uint16_t port, void *to, size_t n)
{
	__asm__ volatile("rep insl" : "+D"(to), "+c"(n) : "d"(port) : "memory");
}

/* From @to downwards, itself included. */
static void ins8_backwards(uint16_t port, void *to, size_t n)
{
	__asm__ volatile("std; rep insb; cld" : "+D"(to), "+c"(n) : "d"(port) : "memory");
}

/* Whether @n bytes are all @byte; by quads, for this is where the instructions go. */
static bool all(const uint8_t *p, size_t n, uint8_t byte)
{
	uint64_t pattern = 0x0101010101010101 * byte;

	for (; n >= 8; n -= 8, p += 8)
		if (mmio_read64((uint64_t)p) != pattern)
			return false;
	while (n--)
		if (*p++ != byte)
			return false;
	return true;
}

/* The expected console has these lines. */
static void check_output(void)
{
	static const char text[] = "0123456789abcdefghijklmnopqrstuvwxyz\r\n";
	uint8_t *across = area + PAGE - 10;

	outs8(COM1, text, sizeof(text) - 1);
	outs8(COM1, text, 0);
	memcpy(across, text, sizeof(text) - 1);
	outs8(COM1, across, sizeof(text) - 1);
	/* What nothing takes. */
	outs16(NO_PORT, area, 20);
	outs32(NO_PORT, area, 20);
}

static void check_input(void)
{
	memset(area, 0, sizeof(area));
	out8(SCRATCH, 0x5a);
	ins8(SCRATCH, area + PAGE - 100, 200);
	check(all(area, PAGE - 100, 0));
	check(all(area + PAGE - 100, 200, 0x5a));
	check(all(area + PAGE + 100, PAGE - 100, 0));

	memset(area, 0, 512);
	ins8(SCRATCH, area, 0);
	check_eq(area[0], 0);
	ins8_backwards(SCRATCH, area + 63, 32);
	check(all(area, 32, 0));
	check(all(area + 32, 32, 0x5a));
	check_eq(area[64], 0);

	/* More than one exit's worth. */
	ins8(NO_PORT, area, PAGE + 1000);
	check(all(area, PAGE + 1000, 0xff));
}

/* Wide elements at the UART's last register: the low byte is its, the rest nobody's. */
static void check_width(void)
{
	out8(SCRATCH, 0xa5);
	check_eq(in16(SCRATCH), 0xffa5);
	check_eq(in32(SCRATCH), 0xffffffa5);
	memset(area, 0, 64);
	ins16(SCRATCH, area, 3);
	check_eq(mmio_read64((uint64_t)area), 0x0000ffa5ffa5ffa5);
	ins32(SCRATCH, area, 2);
	check_eq(mmio_read64((uint64_t)area), 0xffffffa5ffffffa5);
	check_eq(area[8], 0);
	out16(SCRATCH, 0x1234);
	check_eq(in8(SCRATCH), 0x34);
}

int guest_main(void)
{
	check_output();
	check_input();
	check_width();
	return check_result("string");
}
