/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * maker FILE EVENTS - a trace of about so many events, as a machine with four vCPUs, two workers
 * and the devices of a small PC would leave it. The same each time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "skep/trace.h"

#define VCPUS 4

/* Of linux/kvm.h, which only src/kvm/ includes. */
#define EXIT_IO         2
#define EXIT_MMIO       6
#define EXIT_IOAPIC_EOI 26

enum { PIC, PIT, UART, IOAPIC, DISK, NET, DEVICES };

static const struct {
	const char *id, *model;
} devices[DEVICES] = {
	[PIC] = {"pic", "pic8259a"},      [PIT] = {"pit0", "pit8254"},
	[UART] = {"uart0", "uart8250"},   [IOAPIC] = {"ioapic", "ioapic"},
	[DISK] = {"disk0", "virtio_blk"}, [NET] = {"net0", "virtio_net"},
};

struct maker {
	uint64_t seed;
	uint64_t now[VCPUS + 3]; /* of each ring */
	struct trace_ring *rings[VCPUS + 3];
	uint64_t count;
	uint32_t chain;
};

/* SplitMix64. */
static uint64_t draw(struct maker *m, uint64_t below)
{
	uint64_t z = m->seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return (z ^ z >> 31) % below;
}

static void put(struct maker *m, unsigned int ring, uint64_t after, enum trace_kind kind,
		unsigned int device, unsigned int sub, unsigned int size, uint32_t a, uint64_t b,
		uint64_t c)
{
	struct trace_event e = {
		.time = m->now[ring] += after,
		.kind = (uint8_t)kind,
		.sub = (uint8_t)sub,
		.size = (uint8_t)size,
		.device = (uint8_t)device,
	};

	e.a = a;
	e.b = b;
	e.c = c;
	trace_enter(m->rings[ring]);
	trace_put_event(&e);
	/* Entering the guest is no event of its own in a picture. */
	m->count += kind != TRACE_ENTER;
}

static void port(struct maker *m, unsigned int cpu, unsigned int device, uint64_t at, uint64_t base,
		 bool write, uint64_t value)
{
	put(m, cpu, 600 + draw(m, 4000), TRACE_EXIT, TRACE_NO_DEVICE, EXIT_IO, 1,
	    write ? TRACE_EXIT_WRITE : 0, at, 0);
	put(m, cpu, 150 + draw(m, 100), write ? TRACE_WRITE : TRACE_READ, device, 0, 1,
	    (uint32_t)(at - base), value, at);
	put(m, cpu, 200 + draw(m, 600), TRACE_ENTER, TRACE_NO_DEVICE, 0, 0, 0, 0, 0);
}

static void tick(struct maker *m, unsigned int cpu)
{
	const unsigned int control = VCPUS;

	m->now[control] = MAX(m->now[control], m->now[cpu]);
	put(m, control, 50, TRACE_TIMER_FIRE, PIT, 0, 0, 0, 0, 900 + draw(m, 30000));
	put(m, control, 80, TRACE_IRQ, TRACE_NO_DEVICE, 1, 0, 0, 0, 0);
	put(m, control, 40, TRACE_IRQ, TRACE_NO_DEVICE, 0, 0, 0, 0, 0);
	m->now[cpu] = MAX(m->now[cpu], m->now[control] + 1000 + draw(m, 5000));
	put(m, cpu, 10, TRACE_INTA, PIC, 0, 0, 0, 0x30, 0);
	put(m, cpu, 900 + draw(m, 900), TRACE_EXIT, TRACE_NO_DEVICE, EXIT_IO, 1, TRACE_EXIT_WRITE,
	    0x20, 0);
	put(m, cpu, 200, TRACE_WRITE, PIC, 0, 1, 0, 0x60, 0x20);
	put(m, cpu, 60, TRACE_EOI, PIC, 0, 0, 0, 0x30, 0);
	put(m, cpu, 300, TRACE_ENTER, TRACE_NO_DEVICE, 0, 0, 0, 0, 0);
}

static void disk(struct maker *m, unsigned int cpu)
{
	const unsigned int worker = VCPUS + 1 + (unsigned int)draw(m, 2);
	const unsigned int device = worker == VCPUS + 1 ? DISK : NET;
	const unsigned int chains = 1 + (unsigned int)draw(m, 6);

	m->now[worker] = MAX(m->now[worker], m->now[cpu] + 800);
	put(m, worker, 100 + draw(m, 900), TRACE_NOTIFY, device, 0, 0, 0, 1, 0);
	for (unsigned int i = 0; i < chains; i++)
		put(m, worker, 150, TRACE_POP, device, 0, 0, (m->chain + i) % 256, 16, 4097);
	put(m, worker, 300, TRACE_SUBMIT, TRACE_NO_DEVICE, 0, 0, chains, 0, 0);
	put(m, worker, 9000 + draw(m, 60000), TRACE_COMPLETE, TRACE_NO_DEVICE, 0, 0, chains, 0, 0);
	for (unsigned int i = 0; i < chains; i++)
		put(m, worker, 120, TRACE_DONE, device, 0, 0, (m->chain + i) % 256, 4097, 0);
	put(m, worker, 90, TRACE_PUBLISH, device, 0, 0, 1, 0, 0);
	put(m, worker, 400, TRACE_SIGNAL, device, 0, 0, 1, 0, 0);
	m->chain += chains;
}

static void memory(struct maker *m, unsigned int cpu)
{
	const uint64_t at = 0xfec00000 + 0x10 * draw(m, 2);

	put(m, cpu, 900 + draw(m, 3000), TRACE_EXIT, TRACE_NO_DEVICE, EXIT_MMIO, 4,
	    TRACE_EXIT_WRITE, at, 0);
	put(m, cpu, 180, TRACE_WRITE, IOAPIC, TRACE_MEMORY, 4, (uint32_t)(at & 0xff),
	    0x10 + draw(m, 48), at);
	put(m, cpu, 500, TRACE_ENTER, TRACE_NO_DEVICE, 0, 0, 0, 0, 0);
}

static void step(struct maker *m)
{
	unsigned int cpu = 0;

	for (unsigned int i = 1; i < VCPUS; i++)
		if (m->now[i] < m->now[cpu])
			cpu = i;
	switch (draw(m, 12)) {
	case 0:
		tick(m, cpu);
		break;
	case 1:
	case 2:
		disk(m, cpu);
		m->now[cpu] += draw(m, 40000);
		break;
	case 3:
		memory(m, cpu);
		break;
	case 4:
		/* The guest has nothing to do. */
		m->now[cpu] += draw(m, 200) ? draw(m, 100000) : draw(m, 40000000);
		break;
	case 5:
		port(m, cpu, TRACE_NO_DEVICE, 0x80, 0x80, true, draw(m, 256));
		break;
	case 6:
	case 7:
		port(m, cpu, UART, 0x3fd, 0x3f8, false, 0x60);
		break;
	default:
		port(m, cpu, UART, 0x3f8, 0x3f8, true, 32 + draw(m, 95));
	}
}

static struct trace *open_trace(struct maker *m, const char *path, uint64_t events, struct err *err)
{
	const struct trace_options options = {.path = path, .size = MIB(2) + events * 32 * 5};
	struct trace *trace;
	char name[16];

	if (trace_create(&trace, &options, "a machine that never was", err))
		return NULL;
	for (unsigned int i = 0; i < VCPUS + 3; i++) {
		const bool vcpu = i < VCPUS;

		snprintf(name, sizeof(name),
			 vcpu        ? "vcpu%u"
			 : i > VCPUS ? "worker%u"
				     : "control",
			 vcpu ? i : i - VCPUS - 1);
		m->rings[i] = trace_ring(trace,
					 vcpu        ? TRACE_VCPU
					 : i > VCPUS ? TRACE_WORKER
						     : TRACE_CONTROL,
					 i, name);
		m->now[i] = trace_header(trace)->start + 30 * NS_PER_MS;
	}
	for (unsigned int i = 0; i < DEVICES; i++)
		trace_device(trace, devices[i].id, devices[i].model);
	trace_gsi(trace, PIT, 0);
	trace_range(trace, PIC, 0, 0x20, 2);
	trace_range(trace, UART, 0, 0x3f8, 8);
	trace_range(trace, IOAPIC, TRACE_MEMORY, 0xfec00000, 32);
	trace_start(trace);
	return trace;
}

int main(int argc, char **argv)
{
	static const uint64_t phases[] = {1, 9, 24, 30};
	struct maker m = {.seed = 1};
	struct trace *trace;
	struct err err;
	uint64_t events;

	if (argc < 3)
		return 2;
	events = strtoull(argv[2], NULL, 0);
	trace = open_trace(&m, argv[1], events, &err);
	if (!trace) {
		fprintf(stderr, "maker: %s\n", err.text);
		return 1;
	}
	m.now[VCPUS] = trace_header(trace)->start;
	for (unsigned int i = 0; i < ARRAY_SIZE(phases); i++) {
		m.now[VCPUS] = trace_header(trace)->start + phases[i] * NS_PER_MS;
		put(&m, VCPUS, 0, TRACE_PHASE, TRACE_NO_DEVICE, TRACE_CREATED + i, 0, 0, 0, 0);
	}
	if (argc > 3)
		trace_put_text(TRACE_MARK, TRACE_NO_DEVICE, 0, 0, argv[3]);
	while (m.count < events)
		step(&m);
	put(&m, VCPUS, NS_PER_MS, TRACE_PHASE, TRACE_NO_DEVICE, TRACE_STOPPED, 0, 0, 0, 0);
	trace_enter(NULL);
	trace_destroy(trace);
	printf("%llu\n", (unsigned long long)m.count);
	return 0;
}
