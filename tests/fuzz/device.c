/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any device of the table against a hostile guest and a failing host. An input is a model, a
 *variant of its machine, and a list of operations: accesses of every size, chains in rings, what
 *the host brings, time. Behind them the machine must come to rest, be saved and loaded without a
 *change, and be reset to what a new one is; and meanwhile the rules of device_chains.c and
 * device_bench.c hold, those of the sanitizers, and skep's own bug_on() and lock checks.
 *
 * The same input has the same effect each time: there are no threads, and the clocks are the
 * target's.
 *
 *	fuzz_device --seeds TRACES TO
 *
 * writes inputs that do what the recordings of tests/golden/traces do, and for virtio devices some
 * that talk to each queue.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "device.h"
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/chan.h"
#include "skep/worker_sim.h"

#define OPS_MOST  512U
#define STEP_NS   500U
#define TIME_MOST (UINT64_C(1) << 36)
#define SAVES     3U /* in an input, for they take longest */
#define END_STEPS 1000U

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
const char *__asan_default_options(void);

/* What is likelier stands here more often. */
static const uint8_t ops[OP_BYTES] = {
	OP_READ,  OP_WRITE, OP_STRING, OP_FAR,   OP_TIME,  OP_TURN,  OP_WIRE,  OP_ACKNOWLEDGE,
	OP_EOI,   OP_TYPE,  OP_FRAME,  OP_HOST,  OP_START, OP_CHAIN, OP_POKE,  OP_KICK,
	OP_PAUSE, OP_SAVE,  OP_TAMPER, OP_RESET, OP_READ,  OP_READ,  OP_READ,  OP_READ,
	OP_WRITE, OP_WRITE, OP_WRITE,  OP_WRITE, OP_WRITE, OP_WRITE, OP_WRITE, OP_WRITE,
	OP_WRITE, OP_WRITE, OP_CHAIN,  OP_CHAIN, OP_CHAIN, OP_CHAIN, OP_CHAIN, OP_CHAIN,
	OP_CHAIN, OP_START, OP_START,  OP_POKE,  OP_POKE,  OP_KICK,  OP_TURN,  OP_TURN,
	OP_TIME,  OP_TIME,  OP_FRAME,  OP_TYPE,  OP_READ,  OP_READ,  OP_WRITE, OP_WRITE,
	OP_WIRE,  OP_TURN,  OP_WRITE,  OP_WRITE, OP_WRITE, OP_WRITE, OP_READ,  OP_CHAIN,
};

uint64_t input_get(struct input *in, unsigned int bytes)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < bytes && in->at < in->end; i++)
		value |= (uint64_t)*in->at++ << (8 * i);
	return value;
}

/* A byte for the window, two for the offset, which may lie a little outside. */
static const struct window *get_place(struct bench *b, struct input *in, uint64_t *at)
{
	static struct window windows[BENCH_WINDOWS];
	const unsigned int count = bench_windows(b, windows);
	const unsigned int n = (unsigned int)input_get(in, 1);
	const uint64_t offset = input_get(in, 2);
	const struct window *w;

	if (!count)
		return NULL;
	w = &windows[n % count];
	*at = w->at + offset % (w->len + 8);
	return w;
}

/* Chains are a worker's: an access serves none. */
static void access_window(struct bench *b, struct input *in, bool write)
{
	const unsigned int size = 1U << (input_get(in, 1) & 3);
	const struct window *w;
	uint64_t at, value;

	w = get_place(b, in, &at);
	if (!w)
		return;
	value = write ? input_get(in, size) : 0;
	if (write)
		bus_write(w->bus, at, size, value);
	else
		must(!(bus_read(w->bus, at, size) & ~ones(size)));
	must(!chains_taken());
}

static void access_string(struct bench *b, struct input *in)
{
	const unsigned int how = (unsigned int)input_get(in, 1), size = 1U << (how & 3);
	const unsigned int count = how >> 3;
	const struct window *w;
	uint8_t bytes[256] = {0};
	uint64_t at;

	w = get_place(b, in, &at);
	if (!w)
		return;
	for (unsigned int i = 0; how & 4 && i < 16; i++)
		bytes[i] = (uint8_t)input_get(in, 1);
	if (how & 4)
		bus_write_string(w->bus, at, size, bytes, count);
	else
		bus_read_string(w->bus, at, size, bytes, count);
	must(!chains_taken());
}

static void access_far(struct bench *b, struct input *in)
{
	const struct machine *m = &b->m.rig.machine;
	const unsigned int how = (unsigned int)input_get(in, 1), size = 1U << (how & 3);
	const uint64_t at = input_get(in, how & 4 ? 2 : 4);
	struct bus *bus = how & 4 ? m->ports : m->mmio;

	if (how & 8)
		bus_write(bus, at, size, input_get(in, size));
	else
		bus_read(bus, at, size);
	must(!chains_taken());
}

static void pass_time(struct bench *b, struct input *in)
{
	const unsigned int how = (unsigned int)input_get(in, 1);
	const uint64_t ns = (uint64_t)(16 + (how & 15)) << (how >> 4) * 2;

	if (b->time + ns < TIME_MOST)
		bench_pass_time(b, ns);
}

static void drive_wire(struct bench *b, struct input *in)
{
	const unsigned int how = (unsigned int)input_get(in, 1), gsi = how % GSI_MAX;
	struct rig *r = &b->m.rig;

	if (!b->in_attached[gsi])
		must(!irq_attach(r->machine.irqs, &b->in[gsi], gsi, &r->err));
	b->in_attached[gsi] = true;
	irq_set(&b->in[gsi], how & 128);
}

static void type(struct bench *b, struct input *in)
{
	const size_t len = MIN((size_t)input_get(in, 1), (size_t)(in->end - in->at));
	const struct machine *m = &b->m.rig.machine;

	if (m->chans)
		chan_type(&b->m.rig.machine, NULL, (const char *)in->at, len);
	in->at += len;
}

/* Bytes from the network: a frame behind its length, or not quite. */
static void send_frame(struct bench *b, struct input *in)
{
	const unsigned int how = (unsigned int)input_get(in, 1);
	const size_t len = MIN((size_t)input_get(in, 1), (size_t)(in->end - in->at));
	static uint8_t wire[4 + 2048];
	const uint32_t be = htobe32((uint32_t)(how & 7) * 256 + (uint32_t)len);

	memset(wire, 0, sizeof(wire));
	memcpy(wire, &be, 4);
	memcpy(wire + 4, in->at, len);
	in->at += len;
	if (b->peer < 0)
		return;
	if (how & 64)
		shutdown(b->peer, SHUT_WR);
	else
		send(b->peer, how & 32 ? wire + 4 : wire, 4 + (how & 7) * 256 + len,
		     MSG_DONTWAIT | MSG_NOSIGNAL);
	while (how & 128 && recv(b->peer, wire, sizeof(wire), MSG_DONTWAIT) > 0)
		;
}

static void set_host(struct bench *b, struct input *in)
{
	static const int errors[] = {EIO, ENOSPC, EBADF, ENOMEM, EINVAL, ECONNRESET, EPIPE, EAGAIN};
	const unsigned int how = (unsigned int)input_get(in, 1);
	struct worker *w = b->m.rig.machine.control;
	int errnum = errors[how >> 2 & 7];

	/* What would have to wait does not fail. */
	worker_sim_fail(w, how & 3, errnum == EAGAIN ? EIO : errnum);
	worker_sim_shorten(w, how >> 5);
}

static void operate(struct bench *b, struct input *in, enum op op)
{
	switch (op) {
	case OP_READ:
	case OP_WRITE:
		access_window(b, in, op == OP_WRITE);
		break;
	case OP_STRING:
		access_string(b, in);
		break;
	case OP_FAR:
		access_far(b, in);
		break;
	case OP_TIME:
		pass_time(b, in);
		break;
	case OP_TURN:
		bench_turn(b, (unsigned int)input_get(in, 1));
		break;
	case OP_WIRE:
		drive_wire(b, in);
		break;
	case OP_ACKNOWLEDGE:
		irqs_acknowledge(b->m.rig.machine.irqs);
		break;
	case OP_EOI:
		irqs_eoi(b->m.rig.machine.irqs, (uint8_t)input_get(in, 1));
		break;
	case OP_TYPE:
		type(b, in);
		break;
	case OP_FRAME:
		send_frame(b, in);
		break;
	case OP_HOST:
		set_host(b, in);
		break;
	case OP_START:
		driver_start(b, in);
		break;
	case OP_CHAIN:
		driver_chain(b, in);
		break;
	case OP_POKE:
		driver_poke(b, in);
		break;
	case OP_KICK:
		driver_kick(b, (unsigned int)input_get(in, 1));
		break;
	case OP_PAUSE:
		if (b->paused)
			bench_resume(b);
		else
			bench_pause(b);
		break;
	case OP_SAVE:
		bench_survives(b);
		break;
	case OP_TAMPER:
		bench_tamper(b, in);
		break;
	default:
		bench_reset(b);
		break;
	}
}

/* A guest does nothing while its machine is paused, and nothing once it has ended. */
static bool possible(struct bench *b, enum op op)
{
	if ((op == OP_SAVE || op == OP_TAMPER) && b->saves++ >= SAVES)
		return false;
	return !b->paused || op == OP_PAUSE || op == OP_SAVE || op == OP_TAMPER || op == OP_RESET;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, data + size};
	static struct bench b;
	unsigned int model, n = 0;

	model = (unsigned int)input_get(&in, 1);
	bench_init(&b, model, (unsigned int)input_get(&in, 1));
	while (in.at < in.end && n++ < OPS_MOST) {
		const enum op op = (enum op)ops[input_get(&in, 1) % OP_BYTES];

		if (b.m.rig.ended)
			bench_reset(&b);
		if (possible(&b, op))
			operate(&b, &in, op);
		bench_pass_time(&b, STEP_NS);
	}
	if (b.paused)
		bench_resume(&b);
	bench_turn(&b, END_STEPS);
	bench_survives(&b);
	bench_is_new(&b);
	bench_fini(&b);
	return 0;
}

/* Whoever freed what is used is found in the next input at the latest. */
const char *__asan_default_options(void)
{
	return "malloc_context_size=6:quarantine_size_mb=8";
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	if (*argc == 4 && !strcmp((*argv)[1], "--seeds"))
		exit(seeds_write((*argv)[2], (*argv)[3]));
	return 0;
}
