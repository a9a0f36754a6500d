/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * intr - exceptions, interrupts, and the chips that bring them.
 */
#include "guest.h"
#include "layout.h"

static intr_fn *handlers[VECTORS];

void intr_dispatch(struct intr_frame *frame);

void intr_dispatch(struct intr_frame *frame)
{
	uint64_t cr2;

	if (handlers[frame->vector]) {
		handlers[frame->vector](frame);
		return;
	}
	if (frame->vector == INTR_SPURIOUS)
		return;
	__asm__ volatile("movq %%cr2, %0" : "=r"(cr2));
	say("\nunexpected vector %lu at %lx, error %lx, rsp %lx, cr2 %lx\n", frame->vector,
	    frame->rip, frame->error, frame->rsp, cr2);
	guest_exit(GUEST_CRASHED);
}

void intr_set(unsigned int vector, intr_fn *fn)
{
	handlers[vector] = fn;
}

void pic_mask(void)
{
	out8(0x21, 0xff);
	out8(0xa1, 0xff);
}

void lapic_enable(void)
{
	lapic_write(LAPIC_TPR, 0);
	lapic_write(LAPIC_SVR, LAPIC_SVR_ENABLE | INTR_SPURIOUS);
}

void lapic_send(uint32_t id, unsigned int vector)
{
	lapic_write(LAPIC_ICR_TO, id << 24);
	lapic_write(LAPIC_ICR, vector);
}

uint32_t ioapic_read(uint64_t at, unsigned int reg)
{
	mmio_write32(at, reg);
	return mmio_read32(at + 0x10);
}

void ioapic_write(uint64_t at, unsigned int reg, uint32_t v)
{
	mmio_write32(at, reg);
	mmio_write32(at + 0x10, v);
}

void ioapic_route(uint64_t at, unsigned int pin, unsigned int vector, uint32_t flags, uint32_t id)
{
	ioapic_write(at, IOAPIC_PIN(pin) + 1, id << 24);
	ioapic_write(at, IOAPIC_PIN(pin), vector | flags);
}
