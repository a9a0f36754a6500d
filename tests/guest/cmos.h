/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cmos - the clock's registers and memory (Motorola MC146818A), as payloads reach them.
 */
#ifndef TESTS_GUEST_CMOS_H
#define TESTS_GUEST_CMOS_H

#include "guest.h"

#define CMOS_A     0x0a
#define CMOS_A_RUN 0x26 /* the divider of a 32,768 Hz crystal, and a tap of 1,024 Hz */
#define CMOS_B     0x0b
#define CMOS_B_SET 0x80
#define CMOS_B_24H 0x02
#define CMOS_C     0x0c
#define CMOS_D     0x0d
/* Events in register C; their enable bits in B are in the same places. */
#define CMOS_IRQF     0x80
#define CMOS_PERIODIC 0x40
#define CMOS_ALARM    0x20
#define CMOS_UPDATE   0x10

static inline uint8_t cmos_read(uint8_t at)
{
	out8(0x70, at);
	return in8(0x71);
}

static inline void cmos_write(uint8_t at, uint8_t v)
{
	out8(0x70, at);
	out8(0x71, v);
}

#endif
