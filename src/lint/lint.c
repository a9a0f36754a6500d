/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of rules, and what was found by them. Whatever thread brings the events; calls do not
 * overlap.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lint_priv.h"
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/err.h"

#define PIC "Intel 8259A data sheet (231468), "
#define SDM "Intel SDM volume 3, "
#define VIO "Virtual I/O Device 1.2, "

static const struct lint_rule rules[] = {
	[RULE_ICW_ORDER] =
		{"icw-order", "the 8259A waits for an initialization word, and gets another",
		 "after ICW1 the next words to the odd port are ICW2, ICW3 and ICW4, and nothing "
		 "else is written in between",
		 PIC "\"Initialization Command Words\", figure 6"},
	[RULE_ICW_VALUE] =
		{"icw-value", "an initialization word that no PC has",
		 "ICW1 11h, ICW2 a multiple of 8, ICW3 04h (master) and 02h (slave), ICW4 with "
		 "bit 0 set",
		 PIC "\"Initialization Command Words 1 and 2\" to \"4\""},
	[RULE_EOI_MISSING] =
		{"eoi-missing", "an interrupt of the 8259A was taken and never ended",
		 "the handler ends it with an EOI: 20h to port 20h, and for interrupts 8 to 15 "
		 "to port a0h before that",
		 PIC "\"End of Interrupt (EOI)\""},
	[RULE_EOI_MASTER_ONLY] =
		{"eoi-master-only", "an interrupt of the slave 8259A was ended at the master alone",
		 "interrupts 8 to 15 take two EOIs: 20h to port a0h, then 20h to port 20h",
		 PIC "\"End of Interrupt (EOI)\", \"Cascade Mode\""},
	[RULE_EOI_SLAVE_ONLY] =
		{"eoi-slave-only", "an interrupt of the slave 8259A was ended at the slave alone",
		 "interrupts 8 to 15 take two EOIs: 20h to port a0h, then 20h to port 20h",
		 PIC "\"End of Interrupt (EOI)\", \"Cascade Mode\""},
	[RULE_EOI_NOTHING] =
		{"eoi-nothing", "an EOI to an 8259A that has no such interrupt in service",
		 "one EOI for each interrupt that was taken, none for a spurious one (bit 7 of "
		 "the ISR is clear), and none outside of handlers",
		 PIC "\"End of Interrupt (EOI)\", \"Reading the 8259A Status\""},
	[RULE_EOI_APIC] = {"eoi-apic", "an interrupt of a local APIC was taken and never ended",
			   "the handler writes 0 to the local APIC's EOI register (offset b0h)",
			   SDM "section 11.8.5"},
	[RULE_NO_HANDLER] =
		{"no-handler", "an interrupt was let through whose vector has no gate",
		 "the IDT is loaded, with a present gate for each vector that is unmasked, before "
		 "interrupts are switched on",
		 SDM "sections 6.10 to 6.12"},
	[RULE_EXCEPTION_VECTOR] =
		{"exception-vector",
		 "an interrupt uses a vector that belongs to the processor's exceptions",
		 "device interrupts have vectors from 20h on; the 8259A is told by ICW2",
		 SDM "section 6.2"},
	[RULE_ALL_MASKED] =
		{"all-masked", "the processor waits for an interrupt, and every line is masked",
		 "the 8259A pair is initialized, and the mask bit of each interrupt that is "
		 "wanted cleared (or the IOAPIC's), before the processor halts",
		 PIC "\"Operation Control Word 1\""},
	[RULE_TICK_LOST] =
		{"tick-lost", "ticks of the 8254 were lost, as the last one still waited",
		 "interrupts are on again, and a tick's handler has ended, before the next tick",
		 PIC "\"Edge and Level Triggered Modes\""},
	[RULE_RING_FIRST] =
		{"ring-first", "a chain was made available before its descriptor was written",
		 "a driver writes the descriptors, then the ring's entry, then, behind a barrier, "
		 "the index",
		 VIO "sections 2.7.13 and 2.8.21"},
	[RULE_RING_CHANGED] =
		{"ring-changed", "a descriptor was changed while the device had its chain",
		 "a descriptor belongs to the device until its chain is in the used ring",
		 VIO "sections 2.7.5 and 2.7.14"},
	[RULE_RING_LOOP] =
		{"ring-loop", "a chain of descriptors that never ends, or has too many",
		 "the last descriptor of a chain has no NEXT flag, and no chain is longer than its "
		 "queue",
		 VIO "sections 2.7.5.2 and 2.7.5.3.1"},
	[RULE_RING_BROKEN] = {"ring-broken", "a ring that cannot be understood",
			      "the rings as the specification has them, all addresses in RAM",
			      VIO "sections 2.7 and 2.8"},
	[RULE_VIRTIO_ORDER] =
		{"virtio-order",
		 "a virtio driver goes through its device's status in the wrong order",
		 "0, ACKNOWLEDGE, DRIVER, the features, FEATURES_OK, a look whether that "
		 "stayed, the queues, DRIVER_OK; each with the bits before it",
		 VIO "sections 2.1.1 and 3.1.1"},
	[RULE_VIRTIO_FEATURES] =
		{"virtio-features", "features of a virtio device that were not negotiated",
		 "a driver accepts VIRTIO_F_VERSION_1 and of the others what the device "
		 "offers and it knows, between DRIVER and FEATURES_OK",
		 VIO "sections 2.2.1, 3.1.1 and 6.1"},
	[RULE_VIRTIO_EARLY] =
		{"virtio-early", "a virtqueue was used before the device was ready for it",
		 "queues are given their areas and enabled behind FEATURES_OK, and rung behind "
		 "DRIVER_OK",
		 VIO "sections 3.1.1 and 4.1.5.1.3"},
	[RULE_READ_ONLY] = {"read-only", "a register was written that can only be read",
			    "the device's manual says which registers take a value",
			    "the device's manual"},
	[RULE_WRITE_ONLY] = {"write-only", "a register was read that can only be written",
			     "the driver remembers what it wrote", "the device's manual"},
	[RULE_EMPTY_READ] =
		{"empty-read", "the keyboard controller was read when it held no byte",
		 "port 60h is read when bit 0 of port 64h is set, or once for an interrupt 1",
		 "IBM PS/2 Hardware Interface Technical Reference, \"Keyboard and Auxiliary "
		 "Device Controller\""},
	[RULE_NOBODY] =
		{"nobody", "an address where no device is was accessed again and again",
		 "a driver finds out whether its device is there and gives up when it is not; all "
		 "ones is what nobody answers; `skep devices` lists what there is",
		 "PCI Local Bus 3.0, section 6.1, for a read that nobody answers"},
};
_Static_assert(ARRAY_SIZE(rules) == RULES, "every rule has its record");

const struct lint_rule *lint_rules(size_t *count)
{
	*count = ARRAY_SIZE(rules);
	return rules;
}

int lint_create(struct lint **lint, const struct trace_header *header, bool from_power_on,
		const struct lint_live *live,
		void (*told)(void *arg, const struct lint_finding *finding), void *arg,
		struct err *err)
{
	struct lint *l = calloc(1, sizeof(*l));

	*lint = l;
	if (!l)
		return err_sys(err, ENOMEM, "the rules");
	l->header = header;
	l->from_power_on = from_power_on;
	l->live = live;
	l->told = told;
	l->arg = arg;
	pic_start(l);
	apic_start(l);
	return 0;
}

void lint_destroy(struct lint *lint)
{
	free(lint);
}

/* The machine began anew: what was not done before never will be, and is nothing to tell of. */
static void reset(struct lint *lint)
{
	lint->from_power_on = true;
	pic_start(lint);
	apic_start(lint);
	memset(&lint->virtio, 0, sizeof(lint->virtio));
	memset(&lint->access, 0, sizeof(lint->access));
}

void lint_event(struct lint *lint, const struct trace_record *record)
{
	const struct trace_event *e = &record->event;

	lint->now = record;
	if (e->kind == TRACE_RESET && e->device == TRACE_NO_DEVICE)
		reset(lint);
	pic_event(lint, e);
	apic_event(lint, e);
	virtio_event(lint, e, record->text);
	access_event(lint, e);
}

void lint_finish(struct lint *lint, uint64_t time)
{
	lint->now = NULL;
	lint->end = time;
	pic_finish(lint);
}

/* What happens */

int lint_vcpu(const struct lint *lint)
{
	const struct trace_thread *t;

	if (!lint->now || lint->now->thread >= lint->header->thread_count)
		return -1;
	t = &lint->header->threads[lint->now->thread];
	return t->kind == TRACE_VCPU ? (int)t->index : -1;
}

uint64_t lint_time(const struct lint *lint)
{
	return lint->now ? lint->now->event.time : lint->end;
}

const char *lint_model(const struct lint *lint, unsigned int device)
{
	return device < lint->header->device_count ? lint->header->devices[device].model : "";
}

const char *lint_device(const struct lint *lint, unsigned int device)
{
	return device < lint->header->device_count ? lint->header->devices[device].id : "a device";
}

bool lint_gate(const struct lint *lint, uint8_t vector, struct kvm_gate *gate)
{
	int vcpu = lint_vcpu(lint);

	return vcpu >= 0 && lint->live && lint->live->gate &&
	       lint->live->gate(lint->live->arg, (unsigned int)vcpu, vector, gate);
}

static bool symbol(const struct lint *lint, uint64_t address, char *text, size_t room)
{
	return address && lint->live && lint->live->symbol &&
	       lint->live->symbol(lint->live->arg, address, text, room);
}

const char *lint_symbol(const struct lint *lint, uint64_t address, char *text, size_t room)
{
	char name[64];

	*text = '\0';
	if (symbol(lint, address, name, sizeof(name)))
		snprintf(text, room, " (%s)", name);
	return text;
}

/* Findings */

static uint64_t rip_now(const struct lint *lint)
{
	int vcpu = lint_vcpu(lint);

	if (vcpu < 0)
		return 0;
	if (lint->now->rip)
		return lint->now->rip;
	return lint->live && lint->live->rip ? lint->live->rip(lint->live->arg, (unsigned int)vcpu)
					     : 0;
}

void lint_find(struct lint *lint, enum lint_rule_id rule, uint64_t key, uint64_t rip,
	       const char *fmt, ...)
{
	struct lint_finding *f;
	va_list ap;

	for (size_t i = 0; i < lint->count; i++) {
		f = &lint->findings[i];
		if (f->rule == &rules[rule] && f->key == key) {
			f->count++;
			return;
		}
	}
	if (lint->told_of[rule] == LINT_TOLD_MAX) {
		lint->untold[rule]++;
		return;
	}
	lint->told_of[rule]++;
	f = &lint->findings[lint->count++];
	*f = (struct lint_finding){
		.rule = &rules[rule],
		.time = lint_time(lint),
		.vcpu = lint_vcpu(lint),
		.key = key,
		.count = 1,
		.rip = rip ? rip : rip_now(lint),
	};
	symbol(lint, f->rip, f->symbol, sizeof(f->symbol));
	va_start(ap, fmt);
	vsnprintf(f->what, sizeof(f->what), fmt, ap);
	va_end(ap);
	if (lint->told)
		lint->told(lint->arg, f);
}

size_t lint_findings(const struct lint *lint, const struct lint_finding **findings)
{
	*findings = lint->findings;
	return lint->count;
}

uint64_t lint_untold(const struct lint *lint, size_t rule)
{
	return rule < RULES ? lint->untold[rule] : 0;
}

void lint_format(const struct lint_finding *f, uint64_t start, char *text, size_t room)
{
	uint64_t us = f->time > start ? (f->time - start) / NS_PER_US : 0;
	char where[160] = "";
	size_t n = 0;

	if (f->vcpu >= 0)
		n = (size_t)snprintf(where, sizeof(where), ", vCPU %d", f->vcpu);
	if (f->rip)
		snprintf(where + n, sizeof(where) - n, " at %llx%s%s%s", (unsigned long long)f->rip,
			 *f->symbol ? " (" : "", f->symbol, *f->symbol ? ")" : "");
	snprintf(text, room,
		 "lint: %llu.%06llu s%s: %s: %s\n"
		 "  right: %s [%s]",
		 (unsigned long long)(us / 1000000), (unsigned long long)(us % 1000000), where,
		 f->rule->name, f->what, f->rule->right, f->rule->source);
}
