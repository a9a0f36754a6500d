/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rules about accesses: of registers that do not take them, and of places where no device is.
 */
#include "lint_priv.h"
#include "skep/bits.h"

/* An operating system probes for devices, dozens of times; it does not wait for one. */
#define NOBODY_MAX 256

/* Ports that are written for the time that it takes, whether or not there is a device. */
static bool is_delay(uint64_t port)
{
	return port == 0x80 || port == 0xed;
}

/* A device's window into memory is one place for writes, as to a screen. */
static uint64_t place_of(const struct trace_event *e)
{
	return e->sub & TRACE_MEMORY && e->kind == TRACE_WRITE ? align_down(e->c, 4096) : e->c;
}

static void nobody(struct lint *lint, const struct trace_event *e)
{
	const bool memory = e->sub & TRACE_MEMORY;
	const uint64_t at = place_of(e);
	struct lint_access *a = &lint->access;
	size_t slot = 0;

	if (!memory && is_delay(at))
		return;
	for (size_t i = 0; i < PLACES_WATCHED; i++) {
		if (a->places[i].count && a->places[i].at == at && a->places[i].memory == memory) {
			slot = i;
			break;
		}
		if (a->places[i].age < a->places[slot].age)
			slot = i;
	}
	if (a->places[slot].at != at || a->places[slot].memory != memory) {
		a->places[slot].count = 0;
		a->places[slot].told = false;
	}
	a->places[slot].at = at;
	a->places[slot].memory = memory;
	a->places[slot].age = ++a->clock;
	if (++a->places[slot].count < NOBODY_MAX || a->places[slot].told)
		return;
	a->places[slot].told = true;
	lint_find(lint, RULE_NOBODY, at << 1 | memory, 0,
		  "%s %llxh was accessed %d times, last by a %s, and no device is there",
		  memory ? "memory address" : "port", (unsigned long long)e->c, NOBODY_MAX,
		  e->kind == TRACE_WRITE ? "write" : "read");
}

static void remark(struct lint *lint, const struct trace_event *e)
{
	const uint64_t key = (uint64_t)e->device << 32 | e->a;
	const char *id = lint_device(lint, e->device), *model = lint_model(lint, e->device);

	switch (e->sub) {
	case TRACE_EMPTY_READ:
		lint_find(lint, RULE_EMPTY_READ, key, 0,
			  "the data port of %s was read, and it held no byte", id);
		break;
	case TRACE_FIXED_WRITE:
		lint_find(lint, RULE_READ_ONLY, key, 0,
			  "%llxh is written to register %xh of %s (%s), which is read-only",
			  (unsigned long long)e->b, e->a, id, model);
		break;
	case TRACE_BLIND_READ:
		lint_find(lint, RULE_WRITE_ONLY, key, 0,
			  "register %xh of %s (%s) is read, which is write-only", e->a, id, model);
		break;
	default:
		break;
	}
}

void access_event(struct lint *lint, const struct trace_event *e)
{
	if (e->kind == TRACE_REMARK)
		remark(lint, e);
	else if ((e->kind == TRACE_READ || e->kind == TRACE_WRITE) && e->device == TRACE_NO_DEVICE)
		nobody(lint, e);
}
