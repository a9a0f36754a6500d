/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * uart8250 - a 16550A serial port: COM1 to COM4.
 *
 * Follows the data sheet of the National Semiconductor PC16550D (June 1995); sections are named
 * where a rule comes from them. Registers, from the base port:
 *
 *	0	RBR (read), THR (write); DLL with DLAB	4	MCR
 *	1	IER; DLM with DLAB			5	LSR
 *	2	IIR (read), FCR (write)			6	MSR
 *	3	LCR					7	SCR
 *
 * The wire is a channel of the host (chan.h). Transmission takes no time: THR is always empty, and
 * THRE and TEMT always read as one, but their interrupt comes and goes as the part's does. The host
 * is held back instead of overrunning the receiver, so overruns come from loopback and breaks only.
 * The far end always asserts DCD, DSR and CTS. Bytes to and from the host are not cut to the word
 * length, so that a guest that never sets LCR (5 bits after a reset) is still readable.
 *
 * The character-timeout deadline is not part of the saved state: it starts anew after a load.
 *
 * Invariants: rx_count is at most 16, and at most 1 while the FIFOs are off; the errors of the
 * character at the top of the FIFO are in lsr, not in rx_errors; the line is IIR's "pending",
 * gated by OUT2. vCPU threads and the control thread, under the device's lock.
 */
#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/chan.h"
#include "skep/clock.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/irq.h"
#include "skep/timer.h"
#include "skep/trace.h"

#define UART_PORTS     8
#define UART_FIFO      16
#define UART_BAUD_BASE 115200 /* 1.8432 MHz / 16 */
#define UART_LINES     4

enum {
	UART_DATA = 0, /* RBR, THR, DLL */
	UART_IER = 1,  /* DLM */
	UART_IIR = 2,  /* FCR */
	UART_LCR = 3,
	UART_MCR = 4,
	UART_LSR = 5,
	UART_MSR = 6,
	UART_SCR = 7,
};

/* Interrupt enable register */
#define IER_ERBFI 0x01 /* received data available, timeout */
#define IER_ETBEI 0x02 /* transmitter holding register empty */
#define IER_ELSI  0x04 /* receiver line status */
#define IER_EDSSI 0x08 /* modem status */
#define IER_MASK  0x0f

/* Interrupt identification register */
#define IIR_NONE    0x01
#define IIR_LINE    0x06
#define IIR_DATA    0x04
#define IIR_TIMEOUT 0x0c
#define IIR_THRE    0x02
#define IIR_MODEM   0x00
#define IIR_FIFOS   0xc0

/* FIFO control register; the rest of its bits act at once or on pins that a PC leaves open */
#define FCR_ENABLE   0x01
#define FCR_RX_RESET 0x02
#define FCR_TRIGGER  0xc0
#define FCR_MASK     (FCR_ENABLE | FCR_TRIGGER)

/* Line control register */
#define LCR_WORD   0x03
#define LCR_STOP   0x04
#define LCR_PARITY 0x08
#define LCR_BREAK  0x40
#define LCR_DLAB   0x80

/* Modem control register */
#define MCR_DTR  0x01
#define MCR_RTS  0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define MCR_MASK 0x1f

/* Line status register */
#define LSR_DR   0x01
#define LSR_OE   0x02
#define LSR_PE   0x04
#define LSR_FE   0x08
#define LSR_BI   0x10
#define LSR_THRE 0x20
#define LSR_TEMT 0x40
#define LSR_FIFO 0x80
/* Those that belong to a character, and travel through the FIFO with it */
#define LSR_CHAR (LSR_PE | LSR_FE | LSR_BI)
#define LSR_ERRS (LSR_CHAR | LSR_OE)

/* Modem status register */
#define MSR_DELTAS 0x0f
#define MSR_TERI   0x04
#define MSR_CTS    0x10
#define MSR_DSR    0x20
#define MSR_RI     0x40
#define MSR_DCD    0x80
#define MSR_LINES  0xf0

struct uart_state {
	uint8_t ier;
	uint8_t fcr; /* what of it lasts: FCR_MASK */
	uint8_t lcr;
	uint8_t mcr;
	uint8_t lsr; /* the errors that were not read yet: LSR_ERRS */
	uint8_t msr;
	uint8_t scr;
	uint8_t thre;    /* 1: the THRE interrupt was not acknowledged yet */
	uint8_t timeout; /* 1: the character timeout has come */
	uint8_t rx_head;
	uint8_t rx_count;
	uint8_t reserved; /* 0 */
	uint16_t divisor;
	uint8_t rx_data[UART_FIFO];
	uint8_t rx_errors[UART_FIFO]; /* LSR_CHAR */
};

struct uart_options {
	unsigned int line;
	uint64_t port;
	uint64_t irq;
	const char *backend;
};

struct uart {
	struct device dev;
	struct uart_options options;
	struct uart_state state;
	struct irq_line irq;
	struct timer silence;
	uint64_t silent_at; /* when the receiver will have been left alone for four characters */
	struct chan *chan;
	uint16_t port;
	bool mapped;
};

static const struct {
	uint16_t port;
	uint8_t irq;
	const char *name;
} uart_lines[UART_LINES] = {
	{.port = 0x3f8, .irq = 4, .name = "COM1"},
	{.port = 0x2f8, .irq = 3, .name = "COM2"},
	{.port = 0x3e8, .irq = 4, .name = "COM3"},
	{.port = 0x2e8, .irq = 3, .name = "COM4"},
};

static const struct option uart_options[] = {
	{
		.name = "line",
		.type = OPTION_CHOICE,
		.offset = offsetof(struct uart_options, line),
		.fallback = "com1",
		.choices = "com1|com2|com3|com4",
		.help = "which of a PC's serial ports it is",
	},
	{
		.name = "port",
		.type = OPTION_UINT,
		.offset = offsetof(struct uart_options, port),
		.min = 0x100,
		.max = 0x10000 - UART_PORTS,
		.help = "first port; by default the line's",
	},
	{
		.name = "irq",
		.type = OPTION_UINT,
		.offset = offsetof(struct uart_options, irq),
		.min = 1,
		.max = GSI_MAX - 1,
		.help = "interrupt; by default the line's",
	},
	{
		.name = "backend",
		.type = OPTION_STRING,
		.offset = offsetof(struct uart_options, backend),
		.fallback = "none",
		.help = "the host's end: stdio, stdout, pty, file:PATH, unix:PATH or none",
	},
	OPTION_END,
};

static const struct state_field uart_fields[] = {
	STATE_FIELD(struct uart_state, ier),       STATE_FIELD(struct uart_state, fcr),
	STATE_FIELD(struct uart_state, lcr),       STATE_FIELD(struct uart_state, mcr),
	STATE_FIELD(struct uart_state, lsr),       STATE_FIELD(struct uart_state, msr),
	STATE_FIELD(struct uart_state, scr),       STATE_FIELD(struct uart_state, thre),
	STATE_FIELD(struct uart_state, timeout),   STATE_FIELD(struct uart_state, rx_head),
	STATE_FIELD(struct uart_state, rx_count),  STATE_FIELD(struct uart_state, reserved),
	STATE_FIELD(struct uart_state, divisor),   STATE_ARRAY(struct uart_state, rx_data),
	STATE_ARRAY(struct uart_state, rx_errors),
};
static const struct state_table uart_state =
	STATE_TABLE("uart8250", 1, struct uart_state, uart_fields);

static struct uart *to_uart(struct device *dev)
{
	return container_of(dev, struct uart, dev);
}

static bool fifos_on(const struct uart_state *s)
{
	return s->fcr & FCR_ENABLE;
}

static unsigned int rx_room(const struct uart_state *s)
{
	return (fifos_on(s) ? UART_FIFO : 1U) - s->rx_count;
}

/* "FIFO control register": bits 6 and 7. */
static unsigned int rx_trigger(const struct uart_state *s)
{
	static const uint8_t level[] = {1, 4, 8, 14};

	return fifos_on(s) ? level[s->fcr >> 6] : 1;
}

/* "Interrupt identification register": the pending interrupt of the highest priority. */
static uint8_t pending(const struct uart_state *s)
{
	if ((s->ier & IER_ELSI) && s->lsr)
		return IIR_LINE;
	if ((s->ier & IER_ERBFI) && s->rx_count >= rx_trigger(s))
		return IIR_DATA;
	if ((s->ier & IER_ERBFI) && s->timeout)
		return IIR_TIMEOUT;
	if ((s->ier & IER_ETBEI) && s->thre)
		return IIR_THRE;
	if ((s->ier & IER_EDSSI) && (s->msr & MSR_DELTAS))
		return IIR_MODEM;
	return IIR_NONE;
}

/*
 * A PC gates the interrupt with OUT2. In loopback the pin is inactive, but integrated parts gate
 * with the bit, and so let drivers test their interrupts in loopback; as do we.
 */
static void update_line(struct uart *u)
{
	irq_set(&u->irq, pending(&u->state) != IIR_NONE && (u->state.mcr & MCR_OUT2));
}

/* Receiver */

/* Four character times: start bit, word, parity, one, one and a half or two stop bits. */
static uint64_t four_characters(const struct uart_state *s)
{
	unsigned int word = 5 + (s->lcr & LCR_WORD);
	unsigned int halves = 2 * (1 + word + !!(s->lcr & LCR_PARITY) + 1);
	/* 0 is not a divisor ("Programmable baud generator"): as fast as can be. */
	uint64_t divisor = s->divisor ? s->divisor : 1;

	if (s->lcr & LCR_STOP)
		halves += word == 5 ? 1 : 2;
	return halves * divisor * 2 * NS_PER_S / UART_BAUD_BASE;
}

/*
 * "FIFO interrupt mode operation": a character received or read puts the timeout off. The timer is
 * left where it was, for it is cheap to let it look again and dear to move it for each character.
 */
static void listen_for_silence(struct uart *u)
{
	const struct uart_state *s = &u->state;

	if (!fifos_on(s) || !s->rx_count) {
		timer_cancel(&u->silence);
		return;
	}
	u->silent_at = vtime_now(u->dev.machine->time) + four_characters(s);
	if (!timer_armed(&u->silence))
		timer_arm(&u->silence, u->silent_at);
}

static void silence_fired(struct device *dev, struct timer *t)
{
	struct uart *u = to_uart(dev);

	if (vtime_now(dev->machine->time) < u->silent_at) {
		timer_arm(t, u->silent_at);
		return;
	}
	u->state.timeout = 1;
	update_line(u);
}

/* The errors of a character show when it gets to the top of the FIFO ("Line status register"). */
static void show_top(struct uart_state *s)
{
	s->lsr |= s->rx_errors[s->rx_head];
	s->rx_errors[s->rx_head] = 0;
}

/* A character has come in from the line. */
static void receive(struct uart_state *s, uint8_t data, uint8_t errors)
{
	unsigned int at = (s->rx_head + s->rx_count) % UART_FIFO;

	if (!rx_room(s)) {
		/* "Line status register": with FIFOs the new character is lost, without them the
		 * old one. */
		s->lsr |= LSR_OE;
		if (fifos_on(s))
			return;
		at = s->rx_head;
		s->rx_count = 0;
	}
	s->rx_data[at] = data;
	s->rx_errors[at] = errors;
	s->rx_count++;
	if (s->rx_count == 1)
		show_top(s);
}

/* Spacing for longer than a character: one zero, with BI, and without the stop bit. */
static void receive_break(struct uart *u)
{
	receive(&u->state, 0, LSR_BI | LSR_FE);
	listen_for_silence(u);
}

static void rx_clear(struct uart *u)
{
	struct uart_state *s = &u->state;

	memset(s->rx_errors, 0, sizeof(s->rx_errors));
	s->rx_count = 0;
	s->timeout = 0;
	listen_for_silence(u);
	chan_want_input(u->chan);
}

static uint8_t read_rbr(struct uart *u)
{
	struct uart_state *s = &u->state;
	uint8_t data;

	if (!s->rx_count) /* still what was read last */
		return s->rx_data[(s->rx_head + UART_FIFO - 1) % UART_FIFO];
	data = s->rx_data[s->rx_head];
	s->rx_head = (uint8_t)((s->rx_head + 1) % UART_FIFO);
	s->rx_count--;
	s->timeout = 0;
	if (s->rx_count)
		show_top(s);
	else
		chan_want_input(u->chan);
	listen_for_silence(u);
	update_line(u);
	return data;
}

static size_t uart_input(struct device *dev, const uint8_t *data, size_t len)
{
	struct uart *u = to_uart(dev);
	size_t n;

	/* "Modem control register": in loopback SIN is disconnected. The host waits. */
	if (u->state.mcr & MCR_LOOP)
		return 0;
	n = MIN(len, (size_t)rx_room(&u->state));
	for (size_t i = 0; i < n; i++)
		receive(&u->state, data[i], 0);
	if (n)
		listen_for_silence(u);
	update_line(u);
	return n;
}

static void uart_input_break(struct device *dev)
{
	struct uart *u = to_uart(dev);

	if (u->state.mcr & MCR_LOOP)
		return;
	receive_break(u);
	update_line(u);
}

static const struct chan_ops uart_chan_ops = {
	.input = uart_input,
	.input_break = uart_input_break,
};

/* Transmitter */

static void write_thr(struct uart *u, uint8_t data)
{
	struct uart_state *s = &u->state;

	/* The write acknowledges the interrupt, and the next follows as the character leaves. A
	 * guest whose line is an edge must see it fall in between. */
	s->thre = 0;
	update_line(u);
	s->thre = 1;
	if (s->lcr & LCR_BREAK) {
		/* The line is held spacing: the character goes nowhere ("Line control register").
		 */
	} else if (s->mcr & MCR_LOOP) {
		receive(s, data & (uint8_t)(0xff >> (3 - (s->lcr & LCR_WORD))), 0);
		listen_for_silence(u);
	} else {
		chan_put(u->chan, &data, 1);
	}
	update_line(u);
}

/* Modem lines and line control */

static uint8_t modem_lines(const struct uart_state *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_DCD | MSR_DSR | MSR_CTS;
	return (uint8_t)((s->mcr & MCR_DTR ? MSR_DSR : 0) | (s->mcr & MCR_RTS ? MSR_CTS : 0) |
			 (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

/* "Modem status register": CTS, DSR and DCD report any change, RI only its trailing edge. */
static void update_modem_lines(struct uart_state *s)
{
	uint8_t lines = modem_lines(s), was = s->msr & MSR_LINES;
	uint8_t deltas = (uint8_t)(((lines ^ was) & (MSR_CTS | MSR_DSR | MSR_DCD)) >> 4);

	if (was & ~lines & MSR_RI)
		deltas |= MSR_TERI;
	s->msr = (uint8_t)(lines | deltas | (s->msr & MSR_DELTAS));
}

static bool hears_own_break(const struct uart_state *s)
{
	return (s->mcr & MCR_LOOP) && (s->lcr & LCR_BREAK);
}

static void write_lcr(struct uart *u, uint8_t v)
{
	bool heard = hears_own_break(&u->state);

	u->state.lcr = v;
	if (!heard && hears_own_break(&u->state))
		receive_break(u);
}

static void write_mcr(struct uart *u, uint8_t v)
{
	struct uart_state *s = &u->state;
	bool heard = hears_own_break(s), looped = s->mcr & MCR_LOOP;

	s->mcr = v & MCR_MASK;
	update_modem_lines(s);
	if (!heard && hears_own_break(s))
		receive_break(u);
	if (looped && !(s->mcr & MCR_LOOP))
		chan_want_input(u->chan);
}

static void write_ier(struct uart_state *s, uint8_t v)
{
	/* Enabled while THR is empty, the interrupt comes at once. */
	if (!(s->ier & IER_ETBEI))
		s->thre = 1;
	s->ier = v & IER_MASK;
}

/* "FIFO control register": without bit 0 the others are not programmed; bits 1 and 2 act at once;
 * changing bit 0 clears the FIFOs. */
static void write_fcr(struct uart *u, uint8_t v)
{
	struct uart_state *s = &u->state;
	bool changed = (v ^ s->fcr) & FCR_ENABLE;

	s->fcr = v & FCR_ENABLE ? v & FCR_MASK : 0;
	if (changed || (v & (FCR_ENABLE | FCR_RX_RESET)) == (FCR_ENABLE | FCR_RX_RESET))
		rx_clear(u);
	if (changed)
		s->thre = 1;
}

/* Registers */

static uint8_t read_lsr(struct uart *u)
{
	struct uart_state *s = &u->state;
	uint8_t lsr = s->lsr | LSR_THRE | LSR_TEMT;
	uint8_t errors = s->lsr & LSR_CHAR;

	if (s->rx_count) {
		lsr |= LSR_DR;
		if (fifos_on(s))
			for (unsigned int i = 1; i < s->rx_count; i++)
				errors |= s->rx_errors[(s->rx_head + i) % UART_FIFO];
	}
	if (fifos_on(s) && errors)
		lsr |= LSR_FIFO;
	if (s->lsr) {
		s->lsr = 0;
		update_line(u);
	}
	return lsr;
}

static uint8_t read_iir(struct uart *u)
{
	struct uart_state *s = &u->state;
	uint8_t iir = pending(s);

	if (iir == IIR_THRE) {
		s->thre = 0;
		update_line(u);
	}
	return fifos_on(s) ? iir | IIR_FIFOS : iir;
}

static uint8_t read_msr(struct uart *u)
{
	uint8_t msr = u->state.msr;

	if (msr & MSR_DELTAS) {
		u->state.msr &= MSR_LINES;
		update_line(u);
	}
	return msr;
}

static uint64_t uart_read(struct device *dev, uint64_t offset, unsigned int size)
{
	struct uart *u = to_uart(dev);
	const struct uart_state *s = &u->state;
	bool dlab = s->lcr & LCR_DLAB;

	(void)size;
	switch (offset) {
	case UART_DATA:
		return dlab ? s->divisor & 0xff : read_rbr(u);
	case UART_IER:
		return dlab ? s->divisor >> 8 : s->ier;
	case UART_IIR:
		return read_iir(u);
	case UART_LCR:
		return s->lcr;
	case UART_MCR:
		return s->mcr;
	case UART_LSR:
		return read_lsr(u);
	case UART_MSR:
		return read_msr(u);
	default:
		return s->scr;
	}
}

static void uart_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct uart *u = to_uart(dev);
	struct uart_state *s = &u->state;
	bool dlab = s->lcr & LCR_DLAB;
	uint8_t v = (uint8_t)value;

	(void)size;
	switch (offset) {
	case UART_DATA:
		if (!dlab) {
			write_thr(u, v);
			return;
		}
		s->divisor = (uint16_t)((s->divisor & 0xff00) | v);
		break;
	case UART_IER:
		if (dlab)
			s->divisor = (uint16_t)((s->divisor & 0xff) | v << 8);
		else
			write_ier(s, v);
		break;
	case UART_IIR:
		write_fcr(u, v);
		break;
	case UART_LCR:
		write_lcr(u, v);
		break;
	case UART_MCR:
		write_mcr(u, v);
		break;
	case UART_SCR:
		s->scr = v;
		break;
	default: /* LSR and MSR are written in factory tests only */
		trace_event(TRACE_REMARK, dev->number, TRACE_FIXED_WRITE, 0, (uint32_t)offset, v,
			    0);
		return;
	}
	update_line(u);
}

static void uart_settle(struct device *dev)
{
	chan_settle(to_uart(dev)->chan);
}

static const struct bus_ops uart_ops = {
	.read = uart_read,
	.write = uart_write,
	.settle = uart_settle,
	.max_size = 1,
	.late = 1U << UART_DATA,
};

/* The instance */

static int uart_create(struct device *dev, struct err *err)
{
	struct uart *u = to_uart(dev);
	struct machine *m = dev->machine;
	unsigned int irq =
		u->options.irq ? (unsigned int)u->options.irq : uart_lines[u->options.line].irq;
	int ret;

	u->port = u->options.port ? (uint16_t)u->options.port : uart_lines[u->options.line].port;
	timer_init(&u->silence, m->time, dev, silence_fired);
	ret = irq_attach(m->irqs, &u->irq, irq, err);
	if (ret)
		return ret;
	ret = chan_open(&u->chan, dev, u->options.backend, &uart_chan_ops, err);
	if (ret)
		return ret;
	ret = bus_map(m->ports, u->port, UART_PORTS, &uart_ops, dev, err);
	if (ret)
		return ret;
	u->mapped = true;
	return 0;
}

/*
 * "UART reset configuration", Table I. The divisor survives a reset of the part, and is undefined
 * at power-on; a firmware leaves 115,200 baud behind, and early consoles compute with what they
 * find.
 */
static void uart_reset(struct device *dev)
{
	struct uart *u = to_uart(dev);

	u->state = (struct uart_state){.divisor = 1};
	u->state.msr = modem_lines(&u->state);
	timer_cancel(&u->silence);
	update_line(u);
	chan_want_input(u->chan);
}

static int uart_loaded(struct device *dev, struct err *err)
{
	struct uart *u = to_uart(dev);
	const struct uart_state *s = &u->state;
	bool ok = !(s->ier & ~IER_MASK) && !(s->fcr & ~FCR_MASK) && (fifos_on(s) || !s->fcr) &&
		  !(s->mcr & ~MCR_MASK) && !(s->lsr & ~LSR_ERRS) && s->thre <= 1 &&
		  s->timeout <= 1 && !s->reserved && s->rx_head < UART_FIFO &&
		  s->rx_count <= (fifos_on(s) ? UART_FIFO : 1) && (s->rx_count || !s->timeout) &&
		  (s->msr & MSR_LINES) == modem_lines(s);

	for (unsigned int i = 0; ok && i < UART_FIFO; i++)
		ok = !(s->rx_errors[i] & ~LSR_CHAR);
	if (!ok)
		return err_set(err, EPROTO, "the registers of %s contradict one another", dev->id);
	timer_cancel(&u->silence);
	listen_for_silence(u);
	update_line(u);
	chan_want_input(u->chan);
	return 0;
}

static void uart_destroy(struct device *dev)
{
	struct uart *u = to_uart(dev);

	if (u->mapped)
		bus_unmap(dev->machine->ports, u->port);
	chan_close(u->chan);
	timer_cancel(&u->silence);
	irq_detach(&u->irq);
}

static void uart_describe(const struct device *dev, struct aml *aml)
{
	const struct uart *u = container_of(dev, const struct uart, dev);

	aml_device(aml, uart_lines[u->options.line].name);
	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0501");
	aml_name(aml, "_UID");
	aml_integer(aml, u->options.line + 1);
	aml_name(aml, "_CRS");
	aml_resources(aml);
	aml_io(aml, u->port, UART_PORTS);
	if (u->irq.gsi < 16)
		aml_irq(aml, u->irq.gsi);
	else
		aml_interrupt(aml, u->irq.gsi, false, false, false);
	aml_end(aml);
	aml_end(aml);
}

/* Explaining: LCR is remembered, whose bit 7 says which registers are at 0 and 1. */

static void explain_lcr(uint8_t value, struct explanation *e)
{
	explain_reg(e, "LCR");
	/* Bits 5 to 3: parity is none, odd, none, even, none, mark, none, space. */
	explain_add(e, "%u%c%u", 5U + (value & LCR_WORD), "NONENMNS"[value >> 3 & 7],
		    value & LCR_STOP ? 2 : 1);
	if (value & LCR_BREAK)
		explain_add(e, "break");
	if (value & LCR_DLAB)
		explain_add(e, "DLAB");
}

static void explain_iir(uint8_t value, struct explanation *e)
{
	explain_reg(e, "IIR");
	switch (value & 0x0f) {
	case IIR_NONE:
		explain_add(e, "none");
		break;
	case IIR_LINE:
		explain_add(e, "line status");
		break;
	case IIR_DATA:
		explain_add(e, "received data");
		break;
	case IIR_TIMEOUT:
		explain_add(e, "character timeout");
		break;
	case IIR_THRE:
		explain_add(e, "transmitter empty");
		break;
	case IIR_MODEM:
		explain_add(e, "modem status");
		break;
	default:
		break;
	}
}

static void explain_data(const struct access *a, bool latch, struct explanation *e)
{
	if (latch) {
		explain_reg(e, "DLL");
		explain_add(e, "divisor, low byte");
		return;
	}
	explain_reg(e, a->write ? "THR" : "RBR");
	explain_char(e, a->value);
}

static void explain_ier(const struct access *a, bool latch, struct explanation *e)
{
	static const char *const bits[] = {"received data", "transmitter empty", "line status",
					   "modem status"};

	explain_reg(e, latch ? "DLM" : "IER");
	if (latch)
		explain_add(e, "divisor, high byte");
	else
		explain_bits(e, a->value, bits, ARRAY_SIZE(bits));
}

static void uart_explain(const struct access *a, struct explain_memory *m, struct explanation *e)
{
	static const char *const fcr[] = {"enable", "clear receiver", "clear transmitter"};
	static const char *const mcr[] = {"DTR", "RTS", "OUT1", "OUT2", "loop"};
	static const char *const lsr[] = {"DR", "OE", "PE", "FE", "BI", "THRE", "TEMT", "FIFO"};
	static const char *const msr[] = {"DCTS", "DDSR", "TERI", "DDCD",
					  "CTS",  "DSR",  "RI",   "DCD"};
	const bool latch = m->byte[0] & LCR_DLAB;

	switch (a->offset) {
	case UART_DATA:
		explain_data(a, latch, e);
		break;
	case UART_IER:
		explain_ier(a, latch, e);
		break;
	case UART_IIR:
		if (!a->write) {
			explain_iir((uint8_t)a->value, e);
			break;
		}
		explain_reg(e, "FCR");
		explain_bits(e, a->value, fcr, ARRAY_SIZE(fcr));
		break;
	case UART_LCR:
		explain_lcr((uint8_t)a->value, e);
		m->byte[0] = (uint8_t)a->value;
		break;
	case UART_MCR:
		explain_reg(e, "MCR");
		explain_bits(e, a->value, mcr, ARRAY_SIZE(mcr));
		break;
	case UART_LSR:
		explain_reg(e, "LSR");
		explain_bits(e, a->value, lsr, ARRAY_SIZE(lsr));
		break;
	case UART_MSR:
		explain_reg(e, "MSR");
		explain_bits(e, a->value, msr, ARRAY_SIZE(msr));
		break;
	default:
		explain_reg(e, "SCR");
		break;
	}
}

DEVICE_CLASS(uart8250) = {
	.name = "uart8250",
	.summary = "serial port (16550A)",
	.size = sizeof(struct uart),
	.options = uart_options,
	.options_offset = offsetof(struct uart, options),
	.state = &uart_state,
	.state_offset = offsetof(struct uart, state),
	.create = uart_create,
	.reset = uart_reset,
	.loaded = uart_loaded,
	.destroy = uart_destroy,
	.describe = uart_describe,
	.explain = uart_explain,
};
