/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rules about the IOAPIC and the local APICs: vectors that cannot be, vectors without a gate, and
 * that what a local APIC has in service is ended.
 *
 * A message is sent on any thread, at any moment, and is taken when its processor lets it. So its
 * gate is looked at with the next event of that processor that shows interrupts to be on: until
 * then the guest may still load its IDT. Which processor that is, is known where there is one only,
 * or for a message to the first one by its number.
 */
#include <string.h>

#include "lint_priv.h"
#include "skep/bits.h"

#define IOREGSEL    UINT64_C(0xfec00000)
#define IOWIN       UINT64_C(0xfec00010)
#define REG_ENTRIES 0x10U

#define ENTRY_DELIVERY_SHIFT 8
#define ENTRY_LOGICAL        (UINT64_C(1) << 11)
#define ENTRY_MASKED         (UINT64_C(1) << 16)
#define ENTRY_DEST_SHIFT     56

/* SDM volume 3, section 11.11 */
#define MSI_LOGICAL        4U
#define MSI_DEST_SHIFT     12
#define MSI_DELIVERY_SHIFT 8

#define EXCEPTIONS 32
#define PATIENCE   256

void apic_start(struct lint *lint)
{
	struct lint_apic *a = &lint->apic;

	memset(a, 0, sizeof(*a));
	for (unsigned int pin = 0; pin < APIC_PINS; pin++)
		a->entries[pin] = ENTRY_MASKED;
}

/* Fixed, or to the lowest priority: these have vectors. */
static bool has_vector(unsigned int delivery)
{
	return delivery <= 1;
}

static void write_window(struct lint *lint, uint32_t value)
{
	struct lint_apic *a = &lint->apic;
	unsigned int pin = (a->select - REG_ENTRIES) / 2;
	uint64_t *entry;

	if (a->select < REG_ENTRIES || pin >= APIC_PINS)
		return;
	entry = &a->entries[pin];
	if (a->select & 1) {
		*entry = (*entry & UINT32_MAX) | (uint64_t)value << 32;
		return;
	}
	*entry = (*entry & ~(uint64_t)UINT32_MAX) | value;
	if (*entry & ENTRY_MASKED || !has_vector(value >> ENTRY_DELIVERY_SHIFT & 7))
		return;
	if ((uint8_t)value < EXCEPTIONS)
		lint_find(lint, RULE_EXCEPTION_VECTOR, 0x100 | pin, 0,
			  "pin %u of the IOAPIC is unmasked with vector %u, which is an exception "
			  "of the "
			  "processor",
			  pin, value & 0xff);
}

static unsigned int vcpus(const struct lint *lint)
{
	unsigned int n = 0;

	for (uint32_t i = 0; i < lint->header->thread_count && i < TRACE_THREADS_MAX; i++)
		n += lint->header->threads[i].kind == TRACE_VCPU;
	return n;
}

static void sent(struct lint *lint, uint8_t vector, bool logical, unsigned int destination)
{
	if (vcpus(lint) != 1 && (logical || destination != 0))
		return;
	lint->apic.sent[vector / 64] |= bit64(vector % 64);
	lint->apic.patience = PATIENCE;
}

/* False when the processor does not take interrupts, so that its table may be unfinished. */
static bool look_at(struct lint *lint, uint8_t vector)
{
	struct kvm_gate gate;

	if (!lint_gate(lint, vector, &gate))
		return true;
	if (!gate.interrupts_on)
		return false;
	if (!gate.within || !gate.present)
		lint_find(lint, RULE_NO_HANDLER, vector, 0,
			  "vector %xh was sent by a message while interrupts are on, and its gate "
			  "in the "
			  "IDT %s",
			  vector, gate.within ? "is not present" : "is beyond the limit");
	return true;
}

static void look(struct lint *lint)
{
	struct lint_apic *a = &lint->apic;

	if (!a->patience || lint_vcpu(lint) != 0)
		return;
	a->patience--;
	for (unsigned int i = 0; i < ARRAY_SIZE(a->sent); i++)
		while (a->sent[i]) {
			unsigned int at = (unsigned int)__builtin_ctzll(a->sent[i]);

			if (!look_at(lint, (uint8_t)(64 * i + at)))
				return;
			a->sent[i] &= ~bit64(at);
		}
	a->patience = 0;
}

/* What waits is of no higher class than what is in service: SDM volume 3, section 11.8.3.1. */
static void halted(struct lint *lint, uint32_t vectors)
{
	uint8_t service = (uint8_t)(vectors >> 8), waits = (uint8_t)vectors;
	struct kvm_gate gate = {.handler = 0};

	if (!service || !waits || waits >> 4 > service >> 4)
		return;
	lint_gate(lint, service, &gate);
	lint_find(lint, RULE_EOI_APIC, service, gate.handler,
		  "vector %xh was taken and never ended: the processor halts, and vector %xh waits",
		  service, waits);
}

static bool has_pic(const struct lint *lint)
{
	for (unsigned int i = 0; i < lint->header->device_count && i < TRACE_DEVICES_MAX; i++)
		if (!strcmp(lint->header->devices[i].model, "pic8259a"))
			return true;
	return false;
}

/* One processor, and nobody who could wake it: the chips are known if they are the machine's own.
 */
static void deaf(struct lint *lint, bool timer)
{
	bool initialized;
	int asks;

	if (timer || lint->apic.messages || vcpus(lint) != 1 || !has_pic(lint) ||
	    !pic_is_shut(lint))
		return;
	for (unsigned int pin = 0; pin < APIC_PINS; pin++)
		if (!(lint->apic.entries[pin] & ENTRY_MASKED))
			return;
	asks = pic_asks(lint, &initialized);
	if (asks < 0)
		return;
	lint_find(lint, RULE_ALL_MASKED, 0, 0, "the processor halts, interrupt %d asks, and %s",
		  asks,
		  initialized ? "every line is masked" : "the 8259A pair was never initialized");
}

static void access(struct lint *lint, const struct trace_event *e)
{
	if (e->kind != TRACE_WRITE || !(e->sub & TRACE_MEMORY))
		return;
	if (e->c == IOREGSEL)
		lint->apic.select = (uint8_t)e->b;
	else if (e->c == IOWIN)
		write_window(lint, (uint32_t)e->b);
}

void apic_event(struct lint *lint, const struct trace_event *e)
{
	switch (e->kind) {
	case TRACE_READ:
	case TRACE_WRITE:
		access(lint, e);
		look(lint);
		break;
	case TRACE_DELIVER:
		if (e->a < APIC_PINS)
			sent(lint, (uint8_t)e->b, lint->apic.entries[e->a] & ENTRY_LOGICAL,
			     (unsigned int)(lint->apic.entries[e->a] >> ENTRY_DEST_SHIFT));
		break;
	case TRACE_MSI:
		if (has_vector((unsigned int)(e->c >> MSI_DELIVERY_SHIFT & 7)))
			sent(lint, (uint8_t)e->c, e->b & MSI_LOGICAL,
			     (unsigned int)(e->b >> MSI_DEST_SHIFT & 0xff));
		break;
	case TRACE_HALTED:
		look(lint);
		if (!e->sub)
			break;
		halted(lint, e->a);
		/* Unless one was sent already, and is about to be taken. */
		if (!e->a && !e->c)
			deaf(lint, e->b);
		break;
	case TRACE_BIND:
		lint->apic.messages = true;
		break;
	default:
		break;
	}
}
