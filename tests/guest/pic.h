/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pic - the 8259A pair, as far as payloads drive it (Intel 8259A, "Initialization Command Words").
 */
#ifndef TESTS_GUEST_PIC_H
#define TESTS_GUEST_PIC_H

#include "guest.h"

#define PIC_VECTOR 0x20

/* Vectors 20h to 2fh, everything masked. */
static inline void pic_init(void)
{
	out8(0x20, 0x11); /* ICW1: edge triggered, cascaded, ICW4 follows */
	out8(0x21, PIC_VECTOR);
	out8(0x21, 0x04); /* ICW3: the slave is at input 2 */
	out8(0x21, 0x01); /* ICW4: 8086 mode */
	out8(0xa0, 0x11);
	out8(0xa1, PIC_VECTOR + 8);
	out8(0xa1, 0x02);
	out8(0xa1, 0x01);
	pic_mask();
}

/* Lets @irq in, which is one of the master's. */
static inline void pic_unmask(unsigned int irq)
{
	out8(0x21, (uint8_t) ~(1u << irq));
}

/* A specific end of interrupt. */
static inline void pic_eoi(unsigned int irq)
{
	out8(0x20, (uint8_t)(0x60 | irq));
}

#endif
