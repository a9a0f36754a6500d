/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * clock - a reference clock: the ACPI PM timer, else counter 2 of the 8254.
 */
#include "guest.h"

#define PIT_HZ      1193182
#define PIT_2       0x42
#define PIT_CONTROL 0x43
#define PIT_GATE    0x61
#define PM_TIMER_HZ 3579545

static uint32_t read_pm_timer(uint16_t port)
{
	return in32(port);
}

/* The counter counts down; as a clock it shall count up. */
static uint32_t read_8254(uint16_t port)
{
	uint32_t low;

	out8(PIT_CONTROL, 0x80); /* latch counter 2 */
	low = in8(port);
	return ~(low | (uint32_t)in8(port) << 8);
}

static bool refclock_runs(const struct refclock *c)
{
	uint32_t from = c->read(c->port);

	for (unsigned int tries = 0; tries < 10; tries++)
		if ((c->read(c->port) - from) & c->mask)
			return true;
	return false;
}

bool refclock_find(struct refclock *c, const struct acpi *a)
{
	if (a->pm_timer) {
		*c = (struct refclock){"PM timer", PM_TIMER_HZ,
				       a->pm_timer_32 ? 0xffffffff : 0xffffff, a->pm_timer,
				       read_pm_timer};
		if (refclock_runs(c))
			return true;
	}
	*c = (struct refclock){"8254", PIT_HZ, 0xffff, PIT_2, read_8254};
	out8(PIT_GATE, (in8(PIT_GATE) & 0xfc) | 1); /* the gate open, the speaker off */
	out8(PIT_CONTROL, 0xb4);                    /* counter 2, both bytes, mode 2 */
	out8(PIT_2, 0);
	out8(PIT_2, 0);
	return refclock_runs(c);
}

struct moment refclock_now(const struct refclock *c)
{
	uint64_t before = rdtsc();
	uint32_t ref = c->read(c->port);

	return (struct moment){ref, before + (rdtsc() - before) / 2};
}

uint32_t refclock_ns(const struct refclock *c, const struct moment *from, const struct moment *to)
{
	return (uint32_t)(((to->ref - from->ref) & c->mask) * UINT64_C(1000000000) / c->hz);
}
