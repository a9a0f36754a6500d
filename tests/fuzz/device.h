/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of the device target share: a machine around one model (device_bench.c), a driver
 * of virtio devices that is as bad as the input wants it (device_driver.c), the book-keeping of
 * chains (device_chains.c), and inputs made of recordings (device_seeds.c). device.c has the
 * operations that an input is made of.
 */
#ifndef TESTS_FUZZ_DEVICE_H
#define TESTS_FUZZ_DEVICE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "skep/virtio.h"
#include "support/rig.h"
#include "support/vdriver.h"

#define BENCH_DEVICES 5
#define BENCH_WINDOWS 64
#define BENCH_QUEUES  20U

/* Guest memory: rings, of BENCH_QUEUES queues, and behind them buffers. */
#define RINGS_AT     UINT64_C(0x10000)
#define RING_LEN     UINT64_C(0x2000)
#define BUFFERS_AT   UINT64_C(0x40000)
#define BUFFER_LEN   UINT64_C(0x1000)
#define BUFFER_COUNT 64U

/* Where a guest can reach something: a mapped range, or the configuration space of a function. */
struct window {
	struct bus *bus;
	uint64_t at, len;
};

struct bench {
	struct vmachine m; /* of which the rig alone is used */
	struct device *devices[BENCH_DEVICES];
	unsigned int count;
	struct device *subject; /* one of these */
	unsigned int model, variant;
	bool paused;
	unsigned int saves;
	bool tampered; /* it has a state that it did not come to by itself */
	int peer;      /* the network's other end, or -1 */
	struct irq_line in[GSI_MAX];
	bool in_attached[GSI_MAX];

	/* As it is when it is new. */
	bool level[GSI_MAX];
	bool intr;
	uint64_t watched;
	uint64_t time;

	/* The driver's. */
	struct virtio *virtio; /* NULL: the subject is none */
	struct vdriver driver;
	unsigned int ring_size;
	bool packed;
	uint16_t avail[BENCH_QUEUES]; /* free-running; what lies in a packed ring is counted here */
	unsigned int buffer;
};

struct input {
	const uint8_t *at, *end;
};

/* Little-endian; zeroes behind the end. */
uint64_t input_get(struct input *in, unsigned int bytes);

#define must(good)                                                                         \
	do {                                                                               \
		if (!(good)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #good); \
			abort();                                                           \
		}                                                                          \
	} while (0)

/* A machine around the model that @model and @variant choose; all is new. */
void bench_init(struct bench *b, unsigned int model, unsigned int variant);
void bench_fini(struct bench *b);
unsigned int bench_windows(struct bench *b, struct window windows[BENCH_WINDOWS]);
/* Lets the worker do @steps steps at most. */
void bench_turn(struct bench *b, unsigned int steps);
void bench_pass_time(struct bench *b, uint64_t ns);
void bench_pause(struct bench *b);
void bench_resume(struct bench *b);
/* Resets all devices. */
void bench_reset(struct bench *b);
/* Every device is saved, reset and loaded, and is then what it was. */
void bench_survives(struct bench *b);
/* The subject is given a state of its own that was changed as the input says. */
void bench_tamper(struct bench *b, struct input *in);
/* Reset, every device is what a new one is; no line is left up. */
void bench_is_new(struct bench *b);

void driver_start(struct bench *b, struct input *in);
void driver_chain(struct bench *b, struct input *in);
void driver_poke(struct bench *b, struct input *in);
void driver_kick(struct bench *b, unsigned int queue);

/* No queue has chains at the beginning of an input, nor at its end. */
void chains_init(void);
/* Chains taken since this was last called. */
unsigned int chains_taken(void);

/* The host's clock as the target has it. */
void clock_advance(uint64_t ns);

int seeds_write(const char *traces, const char *to);

/* What the first byte of an operation says, modulo the number of entries of ops[] in device.c. */
enum op {
	OP_READ,
	OP_WRITE,
	OP_STRING,
	OP_FAR,
	OP_TIME,
	OP_TURN,
	OP_WIRE,
	OP_ACKNOWLEDGE,
	OP_EOI,
	OP_TYPE,
	OP_FRAME,
	OP_HOST,
	OP_START,
	OP_CHAIN,
	OP_POKE,
	OP_KICK,
	OP_PAUSE,
	OP_SAVE,
	OP_TAMPER,
	OP_RESET,
	OP_COUNT,
};
#define OP_BYTES 64U

#endif
