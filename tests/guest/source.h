/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * source - a line that a payload raises and lowers as it likes: that of COM1, whose transmitter is
 * empty and asks for as long as it is enabled to (TI PC16550D, section 8.6.6).
 */
#ifndef TESTS_GUEST_SOURCE_H
#define TESTS_GUEST_SOURCE_H

#include "guest.h"

#define SOURCE_IRQ 4

/* Low, and connected to the bus. No output of the payload may be on its way. */
static inline void source_init(void)
{
	out8(COM1 + 1, 0);
	out8(COM1 + 4, 0x0b); /* OUT2 is what connects it */
	wait_until(in8(COM1 + 5) & 0x40);
}

static inline void source_raise(void)
{
	out8(COM1 + 1, 0x02);
}

static inline void source_lower(void)
{
	out8(COM1 + 1, 0);
}

static inline void source_pulse(void)
{
	source_lower();
	source_raise();
}

/* Lets what is pending in; a few turns, for a host that is slow to hear of it. */
static inline void source_drain(void)
{
	for (unsigned int i = 0; i < 20; i++)
		take_interrupts();
}

#endif
