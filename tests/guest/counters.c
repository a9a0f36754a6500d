/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * counters - the performance counters that every AMD processor has, CPUID says so or not, count
 * nothing: they would tell a guest about its neighbours (AMD manual volume 2, section 13.2).
 */
#include "check.h"

#define EVENT_0         0xc0010000
#define COUNTER_0       0xc0010004
#define CYCLES_ALL_RING UINT64_C(0x430076)
#define GP              13

static volatile bool refused;

/* WRMSR and RDMSR are two bytes long. */
static void take_gp(struct intr_frame *frame)
{
	refused = true;
	frame->rip += 2;
}

static void write_msr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))
			 : "memory");
}

static uint64_t read_msr(uint32_t msr)
{
	uint32_t low = 0, high = 0;

	__asm__ volatile("rdmsr" : "+a"(low), "+d"(high) : "c"(msr) : "memory");
	return (uint64_t)high << 32 | low;
}

int guest_main(void)
{
	struct cpuid vendor = cpuid(0);

	intr_set(GP, take_gp);
	if (vendor.ebx == 0x68747541) { /* "Auth" */
		write_msr(EVENT_0, CYCLES_ALL_RING);
		for (unsigned int i = 0; i < 1000; i++)
			pause();
		check(refused || read_msr(COUNTER_0) == 0);
	}
	return check_result("counters");
}
