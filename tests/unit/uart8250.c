/* SPDX-License-Identifier: BSD-2-Clause */
/* The 16550A, register by register, as the data sheet of the PC16550D has it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/state.h"
#include "skep/worker_sim.h"
#include "support/cm.h"
#include "support/rig.h"

#define BASE 0x3f8
#define IRQ  4

enum { DATA = BASE, IER, IIR, LCR, MCR, LSR, MSR, SCR, FCR = IIR };

#define LOOP 0x10
#define OUT2 0x08

struct fixture {
	struct rig rig;
	struct device *dev;
	char dir[32];
	char path[64];
	int client;
};

static void *start(const char *options)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->client = -1;
	rig_init(&f->rig, 0);
	f->dev = rig_device(&f->rig, "com1", "uart8250", options);
	if (!f->dev)
		fail_msg("%s", f->rig.err.text);
	return f;
}

static int setup(void **state)
{
	*state = start("");
	return 0;
}

/* With a client at the other end of the wire. */
static int setup_wired(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char dir[] = "/tmp/skep-uart-XXXXXX", options[160];
	struct fixture *f;

	assert_non_null(mkdtemp(dir));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/s", dir);
	snprintf(options, sizeof(options), "backend=unix:%s", addr.sun_path);
	f = start(options);
	*state = f;
	snprintf(f->dir, sizeof(f->dir), "%s", dir);
	f->client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_true(f->client >= 0);
	assert_int_equal(connect(f->client, (struct sockaddr *)&addr, sizeof(addr)), 0);
	worker_sim_run(f->rig.machine.control, 1000);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	device_destroy(f->dev);
	rig_fini(&f->rig);
	if (f->client >= 0)
		close(f->client);
	if (*f->dir)
		assert_int_equal(rmdir(f->dir), 0); /* the socket is gone */
	free(f);
	return 0;
}

static uint8_t in(struct fixture *f, uint16_t port)
{
	return rig_in8(&f->rig, port);
}

static void out(struct fixture *f, uint16_t port, uint8_t v)
{
	rig_out8(&f->rig, port, v);
}

static void run(struct fixture *f)
{
	worker_sim_run(f->rig.machine.control, 10000);
}

static void type(struct fixture *f, const char *text)
{
	assert_int_equal(write(f->client, text, strlen(text)), (ssize_t)strlen(text));
	run(f);
}

static void settle_time(struct fixture *f, uint64_t ns)
{
	vtime_advance(f->rig.machine.time, ns);
}

/* The state after a reset: Table I. */
static void reset_values(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(in(f, IER), 0x00);
		assert_int_equal(in(f, IIR), 0x01);
		assert_int_equal(in(f, LCR), 0x00);
		assert_int_equal(in(f, MCR), 0x00);
		assert_int_equal(in(f, LSR), 0x60);
		assert_int_equal(in(f, MSR), 0xb0);
		assert_int_equal(in(f, SCR), 0x00);
		assert_int_equal(in(f, DATA), 0x00);
		out(f, LCR, 0x80);
		assert_int_equal(in(f, DATA), 0x01);
		assert_int_equal(in(f, IER), 0x00);
		out(f, LCR, 0x03);
		/* Disturb all of it, and reset again. */
		out(f, FCR, 0xc1);
		out(f, IER, 0x0f);
		out(f, MCR, LOOP | OUT2);
		out(f, SCR, 0x5a);
		for (int j = 0; j < 20; j++)
			out(f, DATA, 0xff);
		assert_true(f->rig.level[IRQ]);
		device_lock(f->dev);
		f->dev->class->reset(f->dev);
		device_unlock(f->dev);
		assert_false(f->rig.level[IRQ]);
	}
}

static void register_masks(void **state)
{
	static const struct {
		uint16_t port;
		uint8_t written, read;
	} trials[] = {
		{IER, 0xff, 0x0f}, {IER, 0xf5, 0x05}, {IER, 0x00, 0x00}, {LCR, 0x7f, 0x7f},
		{LCR, 0xff, 0xff}, {LCR, 0x00, 0x00}, {SCR, 0xa5, 0xa5}, {SCR, 0x5a, 0x5a},
		{MCR, 0xff, 0x1f}, {MCR, 0xe0, 0x00}, {LSR, 0x1f, 0x60}, /* written in factory tests
									    only */
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
		out(f, trials[i].port, trials[i].written);
		assert_int_equal(in(f, trials[i].port), trials[i].read);
	}
	in(f, MSR);
	out(f, MSR, 0x0f);
	assert_int_equal(in(f, MSR), 0xb0);
}

static void divisor_latch(void **state)
{
	struct fixture *f = *state;

	out(f, IER, 0x05);
	out(f, LCR, 0x83);
	out(f, DATA, 0x34);
	out(f, IER, 0x12);
	assert_int_equal(in(f, DATA), 0x34);
	assert_int_equal(in(f, IER), 0x12);
	/* The others are not behind DLAB. */
	out(f, FCR, 0x01);
	assert_int_equal(in(f, IIR), 0xc1);
	out(f, LCR, 0x03);
	assert_int_equal(in(f, IER), 0x05);
	assert_int_equal(in(f, DATA), 0x00);
	out(f, LCR, 0x83);
	assert_int_equal(in(f, DATA), 0x34);
	assert_int_equal(in(f, IER), 0x12);
}

static void wider_accesses_are_bytes(void **state)
{
	struct fixture *f = *state;

	/* LCR and MCR in one write, and LCR to SCR in one read. */
	bus_write(f->rig.machine.ports, LCR, 2, 0x0b03);
	assert_int_equal(in(f, LCR), 0x03);
	assert_int_equal(in(f, MCR), 0x0b);
	assert_int_equal(bus_read(f->rig.machine.ports, LCR, 4), 0xb0600b03);
}

/* Loopback: data, cut to the word length, and status. */
static void loopback_data(void **state)
{
	static const uint8_t masks[] = {0x1f, 0x3f, 0x7f, 0xff};
	struct fixture *f = *state;

	out(f, MCR, LOOP);
	for (uint8_t word = 0; word < 4; word++) {
		out(f, LCR, word);
		for (unsigned int v = 0; v < 256; v += 5) {
			assert_int_equal(in(f, LSR), 0x60);
			out(f, DATA, (uint8_t)v);
			assert_int_equal(in(f, LSR), 0x61);
			assert_int_equal(in(f, DATA), v & masks[word]);
			assert_int_equal(in(f, LSR), 0x60);
			/* Read again, RBR still holds it. */
			assert_int_equal(in(f, DATA), v & masks[word]);
		}
	}
}

/* Loopback: DTR, RTS, OUT1, OUT2 are DSR, CTS, RI, DCD. */
static void loopback_modem_lines(void **state)
{
	static const struct {
		uint8_t mcr, msr;
	} steps[] = {
		/* From DCD, DSR, CTS to nothing: three deltas */
		{LOOP, 0x0b},        {LOOP, 0x00},
		{LOOP | 0x01, 0x22}, /* DTR: DSR, DDSR */
		{LOOP | 0x03, 0x31}, /* RTS: CTS, DCTS */
		{LOOP | 0x07, 0x70}, /* OUT1: RI, whose leading edge is not reported */
		{LOOP | 0x0f, 0xf8}, /* OUT2: DCD, DDCD */
		{LOOP | 0x0b, 0xb4}, /* RI's trailing edge */
		{LOOP | 0x0b, 0xb0}, {LOOP | 0x00, 0x0b},
		{LOOP | 0x0a, 0x99},               /* what Linux looks for */
		{0x00, 0xb2},        {0x0f, 0xb0}, /* not in loopback: the far end's lines */
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		out(f, MCR, steps[i].mcr);
		assert_int_equal(in(f, MSR), steps[i].msr);
		assert_int_equal(in(f, MSR), steps[i].msr & 0xf0);
	}
}

static void modem_status_interrupt(void **state)
{
	struct fixture *f = *state;

	out(f, MCR, OUT2 | LOOP);
	in(f, MSR);
	out(f, IER, 0x08);
	assert_false(f->rig.level[IRQ]);
	out(f, MCR, OUT2 | LOOP | 0x02);
	assert_true(f->rig.level[IRQ]);
	assert_int_equal(in(f, IIR), 0x00);
	assert_int_equal(in(f, IIR), 0x00); /* reading IIR does not clear it */
	out(f, MCR, OUT2 | LOOP);
	/* Deltas gather until they are read. */
	assert_int_equal(in(f, MSR), 0x81);
	assert_false(f->rig.level[IRQ]);
	assert_int_equal(in(f, IIR), 0x01);
}

static void out2_gates_the_line(void **state)
{
	struct fixture *f = *state;

	out(f, IER, 0x02);
	assert_int_equal(in(f, IIR), 0x02); /* pending in the part, */
	out(f, IER, 0x00);
	out(f, IER, 0x02);
	assert_false(f->rig.level[IRQ]); /* but not on the line */
	out(f, MCR, OUT2);
	assert_true(f->rig.level[IRQ]);
	out(f, MCR, 0);
	assert_false(f->rig.level[IRQ]);
	out(f, MCR, OUT2);
	assert_true(f->rig.level[IRQ]);
	assert_int_equal(f->rig.raised[IRQ], 2);
}

static void thre_interrupt(void **state)
{
	struct fixture *f = *state;
	unsigned int raised;

	out(f, MCR, OUT2);
	assert_false(f->rig.level[IRQ]);
	/* Enabled while THR is empty: at once. */
	out(f, IER, 0x02);
	assert_true(f->rig.level[IRQ]);
	/* Reading IIR acknowledges it. */
	assert_int_equal(in(f, IIR), 0x02);
	assert_false(f->rig.level[IRQ]);
	assert_int_equal(in(f, IIR), 0x01);
	/* Writing IER again without a change does not raise it. */
	out(f, IER, 0x02);
	assert_false(f->rig.level[IRQ]);
	/* Disabled and enabled: asserted again (what Linux tests for). */
	out(f, IER, 0x00);
	out(f, IER, 0x02);
	assert_true(f->rig.level[IRQ]);
	/* A write clears it, and the empty register raises it: an edge. */
	raised = f->rig.raised[IRQ];
	out(f, DATA, 'x');
	assert_true(f->rig.level[IRQ]);
	assert_int_equal(f->rig.raised[IRQ], raised + 1);
	assert_int_equal(in(f, LSR), 0x60);
	assert_true(f->rig.level[IRQ]); /* LSR does not acknowledge it */
	assert_int_equal(in(f, IIR), 0x02);
	assert_false(f->rig.level[IRQ]);
	out(f, DATA, 'y');
	assert_true(f->rig.level[IRQ]);
	out(f, IER, 0x00);
	assert_false(f->rig.level[IRQ]);
}

static void received_data_without_fifos(void **state)
{
	struct fixture *f = *state;

	out(f, LCR, 0x03);
	out(f, MCR, LOOP | OUT2);
	out(f, IER, 0x01);
	assert_false(f->rig.level[IRQ]);
	out(f, DATA, 0x41);
	assert_true(f->rig.level[IRQ]);
	assert_int_equal(in(f, IIR), 0x04);
	assert_int_equal(in(f, IIR), 0x04); /* until RBR is read */
	assert_int_equal(in(f, DATA), 0x41);
	assert_false(f->rig.level[IRQ]);
	assert_int_equal(in(f, IIR), 0x01);
}

static void overrun_without_fifos(void **state)
{
	struct fixture *f = *state;

	out(f, LCR, 0x03);
	out(f, MCR, LOOP | OUT2);
	out(f, IER, 0x04);
	out(f, DATA, 0x41);
	assert_false(f->rig.level[IRQ]);
	out(f, DATA, 0x42);
	assert_true(f->rig.level[IRQ]);
	assert_int_equal(in(f, IIR), 0x06);
	/* The old character is the one that is lost. */
	assert_int_equal(in(f, LSR), 0x63);
	assert_false(f->rig.level[IRQ]);
	assert_int_equal(in(f, LSR), 0x61);
	assert_int_equal(in(f, DATA), 0x42);
	assert_int_equal(in(f, LSR), 0x60);
}

static void overrun_with_fifos(void **state)
{
	struct fixture *f = *state;

	out(f, LCR, 0x03);
	out(f, FCR, 0xc1);
	out(f, MCR, LOOP | OUT2);
	out(f, IER, 0x04);
	for (uint8_t i = 0; i < 16; i++)
		out(f, DATA, i);
	assert_false(f->rig.level[IRQ]);
	/* The new character is the one that is lost; LSR bit 7 is not for overruns. */
	out(f, DATA, 0x99);
	assert_true(f->rig.level[IRQ]);
	assert_int_equal(in(f, LSR), 0x63);
	assert_false(f->rig.level[IRQ]);
	for (uint8_t i = 0; i < 16; i++) {
		assert_int_equal(in(f, LSR), 0x61);
		assert_int_equal(in(f, DATA), i);
	}
	assert_int_equal(in(f, LSR), 0x60);
}

static void fifo_trigger_levels(void **state)
{
	static const struct {
		uint8_t fcr, level;
	} trials[] = {{0x01, 1}, {0x41, 4}, {0x81, 8}, {0xc1, 14}};
	struct fixture *f = *state;

	out(f, LCR, 0x03);
	out(f, MCR, LOOP | OUT2);
	out(f, IER, 0x01);
	for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
		out(f, FCR, trials[i].fcr | 0x02);
		assert_int_equal(in(f, IIR), 0xc1);
		for (uint8_t n = 1; n <= 16; n++) {
			out(f, DATA, n);
			assert_int_equal(f->rig.level[IRQ], n >= trials[i].level);
			assert_int_equal(in(f, IIR), n >= trials[i].level ? 0xc4 : 0xc1);
		}
		/* It falls as soon as the FIFO drops below the level. */
		for (uint8_t n = 16; n-- > 0;) {
			assert_int_equal(in(f, DATA), 16 - n);
			assert_int_equal(f->rig.level[IRQ], n >= trials[i].level);
		}
	}
}

static void fifo_control(void **state)
{
	struct fixture *f = *state;

	out(f, LCR, 0x03);
	out(f, MCR, LOOP);
	/* Without bit 0 the other bits are not programmed. */
	out(f, FCR, 0xc6);
	assert_int_equal(in(f, IIR), 0x01);
	out(f, DATA, 1);
	/* Turning the FIFOs on, and off, clears them. */
	out(f, FCR, 0x01);
	assert_int_equal(in(f, IIR), 0xc1);
	assert_int_equal(in(f, LSR), 0x60);
	out(f, DATA, 2);
	out(f, DATA, 3);
	/* Bit 1 clears the receiver and is not kept: the next write without it leaves data be. */
	out(f, FCR, 0x03);
	assert_int_equal(in(f, LSR), 0x60);
	out(f, DATA, 4);
	out(f, FCR, 0x01);
	assert_int_equal(in(f, LSR), 0x61);
	/* Bit 2 is the transmitter's, which is empty. */
	out(f, FCR, 0x05);
	assert_int_equal(in(f, LSR), 0x61);
	assert_int_equal(in(f, DATA), 4);
	out(f, DATA, 5);
	out(f, FCR, 0x00);
	assert_int_equal(in(f, IIR), 0x01);
	assert_int_equal(in(f, LSR), 0x60);
}

struct timing {
	uint8_t lcr;
	uint16_t divisor;
	uint64_t ns; /* of four characters */
};

/* Four character times after the last character, by divisor and frame. */
static void character_timeout(void **state)
{
	static const struct timing trials[] = {
		{0x03, 1, 4 * 10 * NS_PER_S / 115200}, {0x03, 12, 4 * 10 * NS_PER_S / 9600},
		{0x0b, 12, 4 * 11 * NS_PER_S / 9600},  /* parity */
		{0x07, 12, 4 * 11 * NS_PER_S / 9600},  /* two stop bits */
		{0x00, 12, 4 * 7 * NS_PER_S / 9600},   /* five bits */
		{0x04, 12, 2 * 15 * NS_PER_S / 9600},  /* and one stop bit and a half */
		{0x0f, 384, 4 * 12 * NS_PER_S / 300},  /* the data sheet's 160 ms */
		{0x03, 0, 4 * 10 * NS_PER_S / 115200}, /* not a divisor */
		{0x03, 0xffff, UINT64_C(22755208333)},
	};
	struct fixture *f = *state;

	out(f, MCR, LOOP | OUT2);
	out(f, IER, 0x01);
	for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
		const struct timing *t = &trials[i];

		out(f, LCR, 0x80);
		out(f, DATA, (uint8_t)t->divisor);
		out(f, IER, (uint8_t)(t->divisor >> 8));
		out(f, LCR, t->lcr);
		out(f, FCR, 0x83);
		out(f, DATA, 1);
		out(f, DATA, 2);
		settle_time(f, t->ns / 2);
		assert_false(f->rig.level[IRQ]);
		/* A further character puts it off. */
		out(f, DATA, 3);
		settle_time(f, t->ns - NS_PER_US);
		assert_false(f->rig.level[IRQ]);
		settle_time(f, 2 * NS_PER_US);
		assert_true(f->rig.level[IRQ]);
		assert_int_equal(in(f, IIR), 0xcc);
		/* A read clears it and starts the time anew. */
		assert_int_equal(in(f, DATA), 1);
		assert_false(f->rig.level[IRQ]);
		settle_time(f, t->ns - NS_PER_US);
		assert_false(f->rig.level[IRQ]);
		assert_int_equal(in(f, DATA), 2);
		settle_time(f, t->ns - NS_PER_US);
		assert_false(f->rig.level[IRQ]);
		settle_time(f, 2 * NS_PER_US);
		assert_int_equal(in(f, IIR), 0xcc);
		assert_int_equal(in(f, DATA), 3);
		/* An empty FIFO has none. */
		settle_time(f, 2 * t->ns);
		assert_false(f->rig.level[IRQ]);
		assert_int_equal(in(f, IIR), 0xc1);
	}
}

static void no_timeout_without_fifos(void **state)
{
	struct fixture *f = *state;

	out(f, LCR, 0x03);
	out(f, MCR, LOOP | OUT2);
	out(f, DATA, 1);
	out(f, IER, 0x01);
	settle_time(f, NS_PER_S);
	assert_int_equal(in(f, IIR), 0x04);
	/* A FIFO that is cleared forgets its timeout. */
	out(f, FCR, 0x81);
	out(f, DATA, 1);
	settle_time(f, NS_PER_S);
	assert_int_equal(in(f, IIR), 0xcc);
	out(f, FCR, 0x83);
	assert_int_equal(in(f, IIR), 0xc1);
	assert_false(f->rig.level[IRQ]);
}

/* All sources at once, taken away from the highest down. */
static void interrupt_priorities(void **state)
{
	struct fixture *f = *state;

	out(f, LCR, 0x03);
	out(f, FCR, 0xc1);
	out(f, MCR, LOOP | OUT2);
	out(f, IER, 0x0f);
	for (uint8_t i = 0; i < 17; i++)
		out(f, DATA, i);
	assert_int_equal(in(f, IIR), 0xc6);
	assert_int_equal(in(f, LSR), 0x63);
	assert_int_equal(in(f, IIR), 0xc4);
	for (uint8_t i = 0; i < 3; i++)
		in(f, DATA);
	settle_time(f, NS_PER_S);
	assert_int_equal(in(f, IIR), 0xcc);
	for (uint8_t i = 0; i < 13; i++)
		in(f, DATA);
	assert_int_equal(in(f, IIR), 0xc2);
	assert_true(f->rig.level[IRQ]);
	assert_int_equal(in(f, IIR), 0xc0);
	assert_true(f->rig.level[IRQ]);
	in(f, MSR);
	assert_int_equal(in(f, IIR), 0xc1);
	assert_false(f->rig.level[IRQ]);
}

static void break_in_loopback(void **state)
{
	struct fixture *f = *state;

	out(f, LCR, 0x03);
	out(f, MCR, LOOP | OUT2);
	out(f, IER, 0x04);
	out(f, LCR, 0x43);
	assert_int_equal(in(f, IIR), 0x06);
	/* Break and a missing stop bit, with a zero; bit 7 is for FIFOs only. */
	assert_int_equal(in(f, LSR), 0x79);
	assert_int_equal(in(f, LSR), 0x61);
	assert_int_equal(in(f, DATA), 0x00);
	/* Held, it is one break; what is sent meanwhile is not seen. */
	out(f, LCR, 0x43);
	out(f, DATA, 0x55);
	assert_int_equal(in(f, LSR), 0x60);
	/* Held while loopback begins, it is heard then. */
	out(f, MCR, OUT2);
	out(f, MCR, LOOP | OUT2);
	assert_int_equal(in(f, LSR), 0x79);
	assert_int_equal(in(f, DATA), 0x00);
	out(f, LCR, 0x03);
	out(f, DATA, 0x55);
	assert_int_equal(in(f, DATA), 0x55);
}

/* Errors travel through the FIFO with their character; bit 7 says that one is in there. */
static void errors_in_the_fifo(void **state)
{
	struct fixture *f = *state;

	out(f, LCR, 0x03);
	out(f, FCR, 0xc1);
	out(f, MCR, LOOP | OUT2);
	out(f, IER, 0x04);
	out(f, DATA, 'a');
	out(f, LCR, 0x43);
	out(f, LCR, 0x03);
	out(f, DATA, 'b');
	out(f, LCR, 0x43);
	out(f, LCR, 0x03);
	/* a, break, b, break: the first break is below the top. */
	assert_false(f->rig.level[IRQ]);
	assert_int_equal(in(f, LSR), 0xe1);
	assert_int_equal(in(f, LSR), 0xe1); /* reading does not reach it either */
	assert_int_equal(in(f, DATA), 'a');
	assert_true(f->rig.level[IRQ]);
	assert_int_equal(in(f, IIR), 0xc6);
	assert_int_equal(in(f, LSR), 0xf9);
	assert_false(f->rig.level[IRQ]);
	assert_int_equal(in(f, LSR), 0xe1); /* the second */
	assert_int_equal(in(f, DATA), 0);
	assert_int_equal(in(f, DATA), 'b');
	assert_int_equal(in(f, LSR), 0xf9);
	/* Read, and with no other behind it: clear. */
	assert_int_equal(in(f, LSR), 0x61);
	assert_int_equal(in(f, DATA), 0);
	assert_int_equal(in(f, LSR), 0x60);
}

static void output_reaches_the_host(void **state)
{
	struct fixture *f = *state;
	char buf[8192], page[4096];
	ssize_t n;

	out(f, DATA, 'h');
	out(f, DATA, 'i');
	/* OUTS by the page */
	for (size_t i = 0; i < sizeof(page); i++)
		page[i] = (char)i;
	bus_write_string(f->rig.machine.ports, DATA, 1, page, sizeof(page));
	/* Not to the wire: loopback, and a line held spacing. */
	out(f, MCR, LOOP);
	out(f, DATA, '!');
	out(f, MCR, 0);
	out(f, LCR, 0x43);
	out(f, DATA, '!');
	out(f, LCR, 0x03);
	out(f, DATA, '.');
	run(f);
	worker_sim_advance(f->rig.machine.control, clock_now() + NS_PER_S);
	run(f);
	n = read(f->client, buf, sizeof(buf));
	assert_int_equal(n, 2 + sizeof(page) + 1);
	assert_memory_equal(buf, "hi", 2);
	assert_memory_equal(buf + 2, page, sizeof(page));
	assert_int_equal(buf[n - 1], '.');
}

static void input_waits_for_room(void **state)
{
	static const char text[] = "The quick brown fox jumps over the lazy dog, and again.";
	struct fixture *f = *state;

	out(f, LCR, 0x03);
	out(f, MCR, OUT2);
	out(f, IER, 0x05);
	type(f, text);
	/* Without FIFOs one character at a time, none overrun. */
	for (size_t i = 0; i < 20; i++) {
		assert_true(f->rig.level[IRQ]);
		assert_int_equal(in(f, LSR), 0x61);
		assert_int_equal(in(f, DATA), text[i]);
		assert_false(f->rig.level[IRQ]);
		run(f);
	}
	/* The change loses what is in the part: one character. */
	out(f, FCR, 0xc1);
	run(f);
	assert_int_equal(in(f, IIR), 0xc4);
	for (size_t i = 21; i < sizeof(text) - 1; i++) {
		if (in(f, LSR) == 0x60)
			run(f);
		assert_int_equal(in(f, LSR), 0x61);
		assert_int_equal(in(f, DATA), text[i]);
	}
	run(f);
	assert_int_equal(in(f, LSR), 0x60);
}

static void input_waits_for_loopback(void **state)
{
	struct fixture *f = *state;

	out(f, LCR, 0x03);
	out(f, FCR, 0x01);
	out(f, MCR, LOOP);
	type(f, "later");
	assert_int_equal(in(f, LSR), 0x60);
	out(f, DATA, 'x');
	assert_int_equal(in(f, DATA), 'x');
	run(f);
	assert_int_equal(in(f, LSR), 0x60);
	out(f, MCR, 0);
	run(f);
	for (const char *p = "later"; *p; p++)
		assert_int_equal(in(f, DATA), *p);
	assert_int_equal(in(f, LSR), 0x60);
}

/* A timeout for what comes from the host, and a reset that does not lose what waits there. */
static void input_timeout_and_reset(void **state)
{
	struct fixture *f = *state;

	out(f, LCR, 0x03);
	out(f, FCR, 0xc1);
	out(f, MCR, OUT2);
	out(f, IER, 0x01);
	type(f, "0123456789abcdefgh");
	assert_int_equal(in(f, IIR), 0xc4);
	for (unsigned int i = 0; i < 16; i++)
		in(f, DATA);
	run(f);
	assert_false(f->rig.level[IRQ]);
	settle_time(f, NS_PER_MS);
	assert_int_equal(in(f, IIR), 0xcc);
	assert_int_equal(in(f, DATA), 'g');
	type(f, "ijklmnopqrstuvwxyz");
	device_lock(f->dev);
	f->dev->class->reset(f->dev);
	device_unlock(f->dev);
	run(f);
	/* h is lost with the part, and so is what filled it up; the next one is in. */
	assert_int_equal(in(f, LSR), 0x61);
	assert_int_equal(in(f, DATA), 'x');
}

static void state_table_tiles(void **state)
{
	struct fixture *f = *state;
	struct err err;

	if (state_check_table(f->dev->class->state, &err))
		fail_msg("%s", err.text);
}

/* Brings the part into a state with something in every field. */
static void disturb(struct fixture *f)
{
	out(f, LCR, 0x80);
	out(f, DATA, 0x0c);
	out(f, LCR, 0x03);
	out(f, FCR, 0xc1);
	out(f, SCR, 0x77);
	out(f, MCR, LOOP | OUT2 | 0x01);
	out(f, IER, 0x01);
	for (uint8_t i = 0; i < 5; i++)
		out(f, DATA, i);
	in(f, DATA);
	out(f, LCR, 0x43);
	out(f, LCR, 0x03);
}

static int load(struct fixture *f, const void *buf, size_t len)
{
	int ret;

	device_lock(f->dev);
	ret = state_load(f->dev->class->state, device_state(f->dev), buf, len, &f->rig.err);
	if (!ret)
		ret = f->dev->class->loaded(f->dev, &f->rig.err);
	device_unlock(f->dev);
	return ret;
}

static void save_and_load(void **state)
{
	const struct state_table *table;
	struct fixture *f = *state, *g = start("");
	char buf[2048], again[2048];
	long n;

	table = f->dev->class->state;
	disturb(f);
	n = state_save(table, device_state(f->dev), buf, sizeof(buf));
	assert_true(n > 0);
	assert_int_equal(load(g, buf, (size_t)n), 0);
	assert_null(state_compare(table, device_state(f->dev), device_state(g->dev)));
	assert_int_equal(state_save(table, device_state(g->dev), again, sizeof(again)), n);
	assert_memory_equal(buf, again, (size_t)n);
	/* Both go on alike; the timeout counts from the load. */
	assert_false(g->rig.level[IRQ]);
	settle_time(f, NS_PER_S);
	settle_time(g, NS_PER_S);
	assert_true(f->rig.level[IRQ]);
	assert_true(g->rig.level[IRQ]);
	for (unsigned int i = 0; i < 7; i++) {
		assert_int_equal(in(g, IIR), in(f, IIR));
		assert_int_equal(in(g, LSR), in(f, LSR));
		assert_int_equal(in(g, DATA), in(f, DATA));
		assert_int_equal(in(g, MSR), in(f, MSR));
	}
	/* A pending interrupt shows on the line right after the load. */
	out(f, DATA, 1);
	settle_time(f, NS_PER_S);
	n = state_save(table, device_state(f->dev), buf, sizeof(buf));
	assert_int_equal(load(g, buf, (size_t)n), 0);
	assert_true(g->rig.level[IRQ]);
	teardown((void **)&g);
}

/* A hostile state is refused, or one that the part could be in: it never indexes outside. */
static void mutated_states(void **state)
{
	const struct state_table *table;
	struct fixture *f = *state;
	unsigned int refused = 0;
	char good[2048], buf[2048];
	long n, m;

	table = f->dev->class->state;
	disturb(f);
	n = state_save(table, device_state(f->dev), good, sizeof(good));
	assert_true(n > 0);
	for (uint64_t seed = 0; seed < 3000; seed++) {
		assert_int_equal(load(f, good, (size_t)n), 0);
		state_mutate(table, device_state(f->dev), seed);
		m = state_save(table, device_state(f->dev), buf, sizeof(buf));
		assert_int_equal(load(f, good, (size_t)n), 0);
		if (load(f, buf, (size_t)m)) {
			refused++;
			assert_non_null(strstr(f->rig.err.text, "com1"));
			continue;
		}
		for (uint16_t port = BASE; port < BASE + 8; port++)
			in(f, port);
		for (unsigned int i = 0; i < 20; i++)
			out(f, DATA, (uint8_t)i);
		for (unsigned int i = 0; i < 20; i++)
			in(f, DATA);
		settle_time(f, NS_PER_MS);
	}
	assert_true(refused > 100 && refused < 3000);
}

/* No access leaves the part in a state that it would not load itself. */
static void random_accesses(void **state)
{
	const struct state_table *table;
	struct fixture *f = *state;
	uint64_t random = 1;
	char buf[2048];
	bool level;
	long n;

	table = f->dev->class->state;
	for (unsigned int i = 0; i < 20000; i++) {
		uint16_t port;

		random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
		port = (uint16_t)(BASE + (random >> 33) % 8);
		if (random >> 40 & 1)
			in(f, port);
		else
			out(f, port, (uint8_t)(random >> 48));
		if (!(random >> 41 & 0xf))
			settle_time(f, random >> 52);
		level = f->rig.level[IRQ];
		n = state_save(table, device_state(f->dev), buf, sizeof(buf));
		if (load(f, buf, (size_t)n))
			fail_msg("step %u: %s", i, f->rig.err.text);
		/* Loading worked the line out anew. */
		assert_int_equal(f->rig.level[IRQ], level);
	}
}

static void lines_and_options(void **state)
{
	static const struct {
		const char *options;
		uint16_t port;
		unsigned int irq;
		const char *name;
	} trials[] = {
		{"line=com1", 0x3f8, 4, "COM1"},
		{"line=com2", 0x2f8, 3, "COM2"},
		{"line=com3", 0x3e8, 4, "COM3"},
		{"line=com4", 0x2e8, 3, "COM4"},
		{"line=com2 port=0x1000 irq=11", 0x1000, 11, "COM2"},
		{"irq=20 backend=none", 0x3f8, 20, "COM1"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
		static const uint8_t eisa_id[] = {0x41, 0xd0, 0x05, 0x01}; /* PNP0501 */
		struct fixture *f = start(trials[i].options);
		uint8_t buf[256];
		struct aml aml;
		long n;

		out(f, (uint16_t)(trials[i].port + 4), OUT2);
		out(f, (uint16_t)(trials[i].port + 1), 0x02);
		assert_true(f->rig.level[trials[i].irq]);
		aml_init(&aml, buf, sizeof(buf));
		f->dev->class->describe(f->dev, &aml);
		n = aml_finish(&aml);
		assert_true(n > 0);
		assert_non_null(memmem(buf, (size_t)n, trials[i].name, 4));
		assert_non_null(memmem(buf, (size_t)n, eisa_id, sizeof(eisa_id)));
		teardown((void **)&f);
	}
}

static void bad_options_are_refused(void **state)
{
	static const struct {
		const char *options, *says;
	} trials[] = {
		{"line=com5", "com5"},
		{"port=0xfff9", "0xfff9"},
		{"irq=64", "64"},
		{"backend=stdoi", "stdio"},
		{"backend=file:/nonexistent/console", "/nonexistent/console"},
		{"bakend=stdio", "backend"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
		struct rig r;

		rig_init(&r, 0);
		assert_null(rig_device(&r, "com1", "uart8250", trials[i].options));
		if (!strstr(r.err.text, trials[i].says))
			fail_msg("%s: %s", trials[i].options, r.err.text);
		rig_fini(&r);
	}
}

#define test(fn)  cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define wired(fn) cmocka_unit_test_setup_teardown(fn, setup_wired, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(reset_values),
		test(register_masks),
		test(divisor_latch),
		test(wider_accesses_are_bytes),
		test(loopback_data),
		test(loopback_modem_lines),
		test(modem_status_interrupt),
		test(out2_gates_the_line),
		test(thre_interrupt),
		test(received_data_without_fifos),
		test(overrun_without_fifos),
		test(overrun_with_fifos),
		test(fifo_trigger_levels),
		test(fifo_control),
		test(character_timeout),
		test(no_timeout_without_fifos),
		test(interrupt_priorities),
		test(break_in_loopback),
		test(errors_in_the_fifo),
		wired(output_reaches_the_host),
		wired(input_waits_for_room),
		wired(input_waits_for_loopback),
		wired(input_timeout_and_reset),
		test(state_table_tiles),
		test(save_and_load),
		test(mutated_states),
		test(random_accesses),
		cmocka_unit_test(lines_and_options),
		cmocka_unit_test(bad_options_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
