/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * smp - the processors that the MADT lists start, are who it says they are, share memory with
 * locked instructions, and wake one another from HLT.
 *
 * Command line: cpus=N, how many the machine was given.
 */
#include "check.h"

#define PING  0x20
#define TURNS 100
/* One vector for each of the others: two of the same could become one. */
#define PONG(index) (0x20 + (index))
#define OTHERS_MAX  16

static struct {
	uint32_t lapic_id, cpuid_id;
	bool ping;
} others[OTHERS_MAX + 1];
static uint32_t first_id;
static uint32_t locked;
static volatile uint32_t pongs; /* a bit for each of the others */

static void take_ping(struct intr_frame *frame)
{
	uint32_t id = lapic_id();

	(void)frame;
	for (unsigned int i = 1; i <= OTHERS_MAX; i++)
		if (others[i].lapic_id == id)
			__atomic_store_n(&others[i].ping, true, __ATOMIC_SEQ_CST);
	lapic_write(LAPIC_EOI, 0);
}

static void take_pong(struct intr_frame *frame)
{
	pongs |= 1u << (frame->vector - PONG(0));
	lapic_write(LAPIC_EOI, 0);
}

/* On each of the others. */
static void other(unsigned int index)
{
	if (index > OTHERS_MAX)
		return;
	/* First: once the count is full the ping comes, and a disabled APIC would drop it. */
	lapic_enable();
	others[index].lapic_id = lapic_id();
	others[index].cpuid_id = cpuid(1).ebx >> 24;
	for (unsigned int i = 0; i < TURNS; i++)
		__atomic_add_fetch(&locked, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&others[index].ping, __ATOMIC_SEQ_CST))
		wait_for_interrupt();
	lapic_send(first_id, PONG(index));
}

static void check_identities(const struct acpi *a, unsigned int n)
{
	for (unsigned int i = 1; i <= n; i++) {
		bool listed = false;

		check_eq(others[i].cpuid_id, others[i].lapic_id);
		check(others[i].lapic_id != first_id);
		for (unsigned int j = 0; j < a->cpus; j++)
			listed |= a->cpu_id[j] == others[i].lapic_id;
		check(listed);
		for (unsigned int j = 1; j < i; j++)
			check(others[j].lapic_id != others[i].lapic_id);
	}
}

int guest_main(void)
{
	uint32_t ids[OTHERS_MAX];
	struct acpi a;
	unsigned int n = 0, arrived;

	pic_mask();
	intr_set(PING, take_ping);
	for (unsigned int i = 1; i <= OTHERS_MAX; i++)
		intr_set(PONG(i), take_pong);
	lapic_enable();
	first_id = lapic_id();
	check_eq(cpuid(1).ebx >> 24, first_id);

	acpi_find(&a);
	check_eq(a.cpus, boot_number("cpus", 1));
	for (unsigned int i = 0; i < a.cpus && n < OTHERS_MAX; i++)
		if (a.cpu_id[i] != first_id)
			ids[n++] = a.cpu_id[i];
	check_eq(n, a.cpus - 1);

	arrived = smp_start(ids, n, other);
	check_eq(arrived, n);
	check(wait_until(__atomic_load_n(&locked, __ATOMIC_SEQ_CST) == n * TURNS));
	check_eq(locked, n * TURNS);
	check_identities(&a, arrived);
	for (unsigned int i = 0; i < n; i++)
		lapic_send(ids[i], PING);
	check(wait_until_interrupt(pongs == (1u << (n + 1)) - 2));
	check(wait_until(smp_done() == n));
	return check_result("smp");
}
