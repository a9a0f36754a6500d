/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * i8042 - the keyboard controller of a PC, with a keyboard.
 *
 * IBM AT Technical Reference, sections "Keyboard controller" and "Keyboard"; IBM PS/2 Hardware
 * Interface Technical Reference, "Keyboard and auxiliary device controller", for what came later.
 *
 *	60h	output buffer (read), data for the controller or the keyboard (write)
 *	64h	status (read), command for the controller (write)
 *
 * Commands take no time: the input buffer is never full. An answer of the controller takes the
 * output buffer whatever is in it, as on the part. There a byte of the keyboard is lost so; here it
 * waits at the controller and is offered again, so that a guest that asks a question while somebody
 * types gets the right answer and misses no key.
 *
 * The keyboard is an MF2 without scan code set 3: it answers FEh to that, and to the commands that
 * only set 3 knows. It has a FIFO of 16 bytes. Its keys are struck by the host: a character from
 * the channel, or of the option type=, or a stroke that comes by machine.keyboard, becomes what
 * fingers would do on a US layout. The host is
 * held back instead of overrunning the FIFO, so the overrun code never comes; it is held back as
 * well to KEY_NS a stroke, for a driver that empties the buffer at its start counts how often it
 * has to, and takes an endless row of bytes for a missing controller. Answers to commands bypass
 * the FIFO; a command that comes in before the last was answered takes the answer's place.
 *
 * There is a port for an auxiliary device, and nothing is plugged into it: its lines test good
 * (A9h), loopback works (D3h), and what is sent to it (D4h) times out.
 *
 * A20 is a bit that is kept and read back; address line 20 is always there, as on any processor of
 * today. A reset of the processor is one of the machine.
 *
 * Invariants: a line is high while the output buffer holds a byte of its source and the command
 * byte enables it; out_kept and held_full are never both set. The pace of the typist is not part of
 * the saved state: it starts anew after a load. vCPU threads and the control thread, under the
 *device's lock.
 */
#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/chan.h"
#include "skep/clock.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/irq.h"
#include "skep/keyboard.h"
#include "skep/timer.h"
#include "skep/trace.h"
#include "skep/worker.h"

#define PORT_DATA    0x60
#define PORT_COMMAND 0x64
#define GSI_KEYBOARD 1
#define GSI_AUX      12

#define RAM_BYTES  32
#define FIFO_BYTES 16
#define KEY_NS     (5 * NS_PER_MS)

/* Status register */
#define STATUS_OBF     0x01
#define STATUS_SYSTEM  0x04
#define STATUS_COMMAND 0x08 /* the last write was to 64h */
#define STATUS_KEYLOCK 0x10 /* not locked */
#define STATUS_AUX     0x20 /* the byte is of the auxiliary device */
#define STATUS_TIMEOUT 0x40

/* Command byte: byte 0 of the controller's memory */
#define CTR_KBD_INT 0x01
#define CTR_AUX_INT 0x02
#define CTR_SYSTEM  0x04
#define CTR_KBD_OFF 0x10
#define CTR_AUX_OFF 0x20
#define CTR_XLATE   0x40

/* Output port */
#define OUTPUT_RUN     0x01 /* low: the processor is held in reset */
#define OUTPUT_A20     0x02
#define OUTPUT_KBD_OBF 0x10
#define OUTPUT_AUX_OBF 0x20
#define OUTPUT_IDLE    0xcd /* the lines to both devices float high */

/* What the keyboard says */
#define KBD_BREAK  0xf0
#define KBD_ACK    0xfa
#define KBD_BAT    0xaa
#define KBD_ECHO   0xee
#define KBD_RESEND 0xfe

#define KBD_RATE 0x2b /* 10.9 a second after half a second */

struct i8042_state {
	/* Controller */
	uint8_t ram[RAM_BYTES];
	uint8_t out;
	uint8_t out_status; /* STATUS_OBF, STATUS_AUX, STATUS_TIMEOUT */
	uint8_t out_kept;   /* 1: from the keyboard, and waits in held if an answer displaces it */
	uint8_t held;
	uint8_t held_full; /* 0 or 1 */
	uint8_t written;   /* 0 or STATUS_COMMAND */
	uint8_t command;   /* whose data byte is awaited at 60h; 0: none */
	uint8_t a20;       /* 0 or OUTPUT_A20 */
	uint8_t released;  /* 80h behind an F0h of the keyboard under translation, or 0 */

	/* Keyboard */
	uint8_t fifo[FIFO_BYTES];
	uint8_t fifo_head;
	uint8_t fifo_count;
	uint8_t reply[3];
	uint8_t reply_count;
	uint8_t sent;     /* last, for FEh */
	uint8_t expects;  /* the command whose parameter is awaited; 0: none */
	uint8_t scan_set; /* 1 or 2 */
	uint8_t leds;
	uint8_t rate;
	uint8_t scanning; /* 0 or 1 */
	uint8_t typing;   /* 1 once F4h has come: there is a driver to type for */
	uint16_t typed;   /* bytes of type= that have been typed */
};

struct i8042_options {
	const char *backend;
	const char *type;
};

struct i8042 {
	struct device dev;
	struct i8042_options options;
	struct i8042_state state;
	struct irq_line keyboard;
	struct irq_line aux;
	struct timer pace;
	struct chan *chan;
	struct keyboard door;
	bool data_mapped;
	bool command_mapped;
};

static const struct option i8042_options[] = {
	{
		.name = "backend",
		.type = OPTION_STRING,
		.offset = offsetof(struct i8042_options, backend),
		.fallback = "none",
		.help = "who types: unix:PATH, pty, stdio or none",
	},
	{
		.name = "type",
		.type = OPTION_STRING,
		.offset = offsetof(struct i8042_options, type),
		.fallback = "",
		.help = "text typed when the guest first enables the keyboard; \\n is Enter",
	},
	OPTION_END,
};

static const struct state_field i8042_fields[] = {
	STATE_ARRAY(struct i8042_state, ram),         STATE_FIELD(struct i8042_state, out),
	STATE_FIELD(struct i8042_state, out_status),  STATE_FIELD(struct i8042_state, out_kept),
	STATE_FIELD(struct i8042_state, held),        STATE_FIELD(struct i8042_state, held_full),
	STATE_FIELD(struct i8042_state, written),     STATE_FIELD(struct i8042_state, command),
	STATE_FIELD(struct i8042_state, a20),         STATE_FIELD(struct i8042_state, released),
	STATE_ARRAY(struct i8042_state, fifo),        STATE_FIELD(struct i8042_state, fifo_head),
	STATE_FIELD(struct i8042_state, fifo_count),  STATE_ARRAY(struct i8042_state, reply),
	STATE_FIELD(struct i8042_state, reply_count), STATE_FIELD(struct i8042_state, sent),
	STATE_FIELD(struct i8042_state, expects),     STATE_FIELD(struct i8042_state, scan_set),
	STATE_FIELD(struct i8042_state, leds),        STATE_FIELD(struct i8042_state, rate),
	STATE_FIELD(struct i8042_state, scanning),    STATE_FIELD(struct i8042_state, typing),
	STATE_FIELD(struct i8042_state, typed),
};
static const struct state_table i8042_state =
	STATE_TABLE("i8042", 1, struct i8042_state, i8042_fields);

/* Scan codes of set 2 as the controller turns them into set 1; from 80h on, with two exceptions,
 * a byte stays what it is. */
static const uint8_t to_set1[128] = {
	0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, /* 00 */
	0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59, /* 08 */
	0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, /* 10 */
	0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b, /* 18 */
	0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, /* 20 */
	0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d, /* 28 */
	0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, /* 30 */
	0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f, /* 38 */
	0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, /* 40 */
	0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61, /* 48 */
	0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, /* 50 */
	0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, /* 58 */
	0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, /* 60 */
	0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, /* 68 */
	0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, /* 70 */
	0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, /* 78 */
};

/* The keys of a US layout that characters need, by their codes in set 2. */
#define KEY_SHIFT 0x12
#define KEY_CTRL  0x14
#define KEY_ALT   0x11
#define KEY_LONG  0xe0 /* in front of the keys that an MF2 has beyond those of an AT */

/* Control, Alt and Shift, each down and up; a long key down and up. */
#define STROKE_BYTES (3 + 2 + 3 + 3 * 2)

static const struct key {
	uint8_t code;
	char plain, shifted;
} keys[] = {
	{0x0e, '`', '~'},   {0x16, '1', '!'},   {0x1e, '2', '@'},   {0x26, '3', '#'},
	{0x25, '4', '$'},   {0x2e, '5', '%'},   {0x36, '6', '^'},   {0x3d, '7', '&'},
	{0x3e, '8', '*'},   {0x46, '9', '('},   {0x45, '0', ')'},   {0x4e, '-', '_'},
	{0x55, '=', '+'},   {0x15, 'q', 'Q'},   {0x1d, 'w', 'W'},   {0x24, 'e', 'E'},
	{0x2d, 'r', 'R'},   {0x2c, 't', 'T'},   {0x35, 'y', 'Y'},   {0x3c, 'u', 'U'},
	{0x43, 'i', 'I'},   {0x44, 'o', 'O'},   {0x4d, 'p', 'P'},   {0x54, '[', '{'},
	{0x5b, ']', '}'},   {0x1c, 'a', 'A'},   {0x1b, 's', 'S'},   {0x23, 'd', 'D'},
	{0x2b, 'f', 'F'},   {0x34, 'g', 'G'},   {0x33, 'h', 'H'},   {0x3b, 'j', 'J'},
	{0x42, 'k', 'K'},   {0x4b, 'l', 'L'},   {0x4c, ';', ':'},   {0x52, '\'', '"'},
	{0x5d, '\\', '|'},  {0x1a, 'z', 'Z'},   {0x22, 'x', 'X'},   {0x21, 'c', 'C'},
	{0x2a, 'v', 'V'},   {0x32, 'b', 'B'},   {0x31, 'n', 'N'},   {0x3a, 'm', 'M'},
	{0x41, ',', '<'},   {0x49, '.', '>'},   {0x4a, '/', '?'},   {0x29, ' ', ' '},
	{0x5a, '\r', '\r'}, {0x5a, '\n', '\n'}, {0x0d, '\t', '\t'}, {0x66, '\b', '\b'},
	{0x66, 0x7f, 0x7f}, {0x76, 0x1b, 0x1b},
};

/* The others, from STROKE_UP on. */
static const struct {
	uint8_t code;
	bool is_long;
} other_keys[] = {
	{0x75, true},  {0x72, true},  {0x6b, true},  {0x74, true},  {0x6c, true},  {0x69, true},
	{0x7d, true},  {0x7a, true},  {0x70, true},  {0x71, true},  {0x05, false}, {0x06, false},
	{0x04, false}, {0x0c, false}, {0x03, false}, {0x0b, false}, {0x83, false}, {0x0a, false},
	{0x01, false}, {0x09, false}, {0x78, false}, {0x07, false},
};
_Static_assert(ARRAY_SIZE(other_keys) == STROKE_LAST + 1 - STROKE_UP, "a code for each");

static struct i8042 *to_i8042(struct device *dev)
{
	return container_of(dev, struct i8042, dev);
}

static uint8_t translate(uint8_t code)
{
	if (code < 0x80)
		return to_set1[code];
	return code == 0x83 ? 0x41 : code == 0x84 ? 0x54 : code;
}

/* Fingers */

static const struct key *key_of(char c)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (keys[i].plain == c || keys[i].shifted == c)
			return &keys[i];
	return NULL;
}

/* The code of the key that gives @c; what must be held for it goes to @with. 0 when no key does. */
static uint8_t code_of(char c, uint8_t *with)
{
	const struct key *key = key_of(c);

	if (!key && c >= 0 && c < ' ') {
		c = (char)(c + 0x40);
		if (c >= 'A' && c <= 'Z')
			c = (char)(c - 'A' + 'a');
		key = key_of(c);
		*with |= STROKE_CTRL;
	}
	if (!key)
		return 0;
	if (c != key->plain)
		*with |= STROKE_SHIFT;
	return key->code;
}

static const struct {
	uint8_t with, code;
} held_keys[] = {{STROKE_CTRL, KEY_CTRL}, {STROKE_ALT, KEY_ALT}, {STROKE_SHIFT, KEY_SHIFT}};

/* The bytes of set 2 for a stroke, at most STROKE_BYTES; 0 when no key gives it. */
static unsigned int stroke(uint8_t *codes, struct stroke s)
{
	unsigned int other = s.key - (unsigned int)STROKE_UP, n = 0;
	bool is_other = s.key >= STROKE_UP && other < ARRAY_SIZE(other_keys);
	bool is_long = is_other && other_keys[other].is_long;
	uint8_t code = 0;

	if (is_other)
		code = other_keys[other].code;
	else if (s.key < 0x100)
		code = code_of((char)s.key, &s.with);
	if (!code)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(held_keys); i++)
		if (s.with & held_keys[i].with)
			codes[n++] = held_keys[i].code;
	if (is_long)
		codes[n++] = KEY_LONG;
	codes[n++] = code;
	if (is_long)
		codes[n++] = KEY_LONG;
	codes[n++] = KBD_BREAK;
	codes[n++] = code;
	for (size_t i = ARRAY_SIZE(held_keys); i--;)
		if (s.with & held_keys[i].with) {
			codes[n++] = KBD_BREAK;
			codes[n++] = held_keys[i].code;
		}
	return n;
}

/* Set 1 as the keyboard itself would send it, in place. */
static unsigned int stroke_in_set1(uint8_t *codes, unsigned int n)
{
	unsigned int out = 0;
	uint8_t released = 0;

	for (unsigned int i = 0; i < n; i++) {
		if (codes[i] == KBD_BREAK) {
			released = 0x80;
			continue;
		}
		codes[out++] = translate(codes[i]) | released;
		released = 0;
	}
	return out;
}

static bool typist_rests(const struct i8042 *k)
{
	return !k->state.scanning || timer_armed(&k->pace);
}

/* False when the FIFO has no room yet. What no key gives is passed over. */
static bool strike(struct i8042 *k, struct stroke what)
{
	struct i8042_state *s = &k->state;
	uint8_t codes[STROKE_BYTES];
	unsigned int n = stroke(codes, what);

	if (s->scan_set == 1)
		n = stroke_in_set1(codes, n);
	if (!n)
		return true;
	if (n > FIFO_BYTES - (unsigned int)s->fifo_count)
		return false;
	for (unsigned int i = 0; i < n; i++)
		s->fifo[(s->fifo_head + s->fifo_count++) % FIFO_BYTES] = codes[i];
	timer_arm(&k->pace, vtime_now(k->dev.machine->time) + KEY_NS);
	return true;
}

static bool strike_char(struct i8042 *k, char c)
{
	return strike(k, (struct stroke){.key = (uint8_t)c});
}

/* The next character of type= and how many bytes of the option it takes; 0 when there is none. */
static unsigned int to_type(const struct i8042 *k, char *c)
{
	const char *text = k->options.type + k->state.typed;

	*c = *text;
	if (!k->state.typing || !*text)
		return 0;
	if (text[0] == '\\' && (text[1] == 'n' || text[1] == '\\')) {
		*c = text[1] == 'n' ? '\n' : '\\';
		return 2;
	}
	return 1;
}

/* Goes on with type=, then with what the host has to say. */
static void type_on(struct i8042 *k)
{
	unsigned int len;
	char c;

	while (!typist_rests(k) && (len = to_type(k, &c)) && strike_char(k, c))
		k->state.typed = (uint16_t)(k->state.typed + len);
	if (typist_rests(k) || to_type(k, &c))
		return;
	chan_want_input(k->chan);
	if (k->door.room)
		worker_post(k->dev.machine->control, k->door.room);
	k->door.room = NULL;
}

/* Keyboard */

static void keyboard_defaults(struct i8042_state *s)
{
	s->fifo_count = 0;
	s->scan_set = 2;
	s->leds = 0;
	s->rate = KBD_RATE;
}

static void keyboard_reply(struct i8042_state *s, unsigned int n, uint8_t a, uint8_t b, uint8_t c)
{
	s->reply[0] = a;
	s->reply[1] = b;
	s->reply[2] = c;
	s->reply_count = (uint8_t)n;
}

static void keyboard_ack(struct i8042_state *s)
{
	keyboard_reply(s, 1, KBD_ACK, 0, 0);
}

static void keyboard_parameter(struct i8042_state *s, uint8_t command, uint8_t v)
{
	keyboard_ack(s);
	if (command == 0xed) {
		s->leds = v & 7;
	} else if (command == 0xf3 && v < 0x80) {
		s->rate = v;
	} else if (command == 0xf0 && v == 0) {
		keyboard_reply(s, 2, KBD_ACK, s->scan_set, 0);
	} else if (command == 0xf0 && v <= 2) {
		s->scan_set = v;
		s->fifo_count = 0;
	} else {
		/* "Resend": it takes another, or a command. */
		keyboard_reply(s, 1, KBD_RESEND, 0, 0);
		s->expects = command;
	}
}

static void keyboard_command(struct i8042_state *s, uint8_t v)
{
	keyboard_ack(s);
	switch (v) {
	case 0xed: /* set LEDs */
	case 0xf0: /* scan code set */
	case 0xf3: /* typematic rate and delay */
		s->expects = v;
		break;
	case 0xee:
		keyboard_reply(s, 1, KBD_ECHO, 0, 0);
		break;
	case 0xf2: /* identify: MF2 */
		keyboard_reply(s, 3, KBD_ACK, 0xab, 0x83);
		break;
	case 0xf4: /* enable */
		s->fifo_count = 0;
		s->scanning = s->typing = 1;
		break;
	case 0xf5: /* defaults, and disable */
		keyboard_defaults(s);
		s->scanning = 0;
		break;
	case 0xf6:
		keyboard_defaults(s);
		break;
	case 0xfe:
		keyboard_reply(s, 1, s->sent, 0, 0);
		break;
	case 0xff: /* reset, and basic assurance test */
		keyboard_defaults(s);
		s->scanning = 1;
		keyboard_reply(s, 2, KBD_ACK, KBD_BAT, 0);
		break;
	default:
		keyboard_reply(s, 1, KBD_RESEND, 0, 0);
		break;
	}
}

static void keyboard_write(struct i8042_state *s, uint8_t v)
{
	uint8_t command = s->expects;

	/* A command in place of a parameter takes the place of the command before it. */
	s->expects = 0;
	if (command && v < 0xed)
		keyboard_parameter(s, command, v);
	else
		keyboard_command(s, v);
}

/* Takes the next byte that the keyboard sends. */
static bool keyboard_send(struct i8042_state *s, uint8_t *v)
{
	if (s->reply_count) {
		*v = s->reply[0];
		s->reply[0] = s->reply[1];
		s->reply[1] = s->reply[2];
		s->reply_count--;
	} else if (s->fifo_count) {
		*v = s->fifo[s->fifo_head];
		s->fifo_head = (uint8_t)((s->fifo_head + 1) % FIFO_BYTES);
		s->fifo_count--;
	} else {
		return false;
	}
	s->sent = *v;
	return true;
}

/* Controller */

static void update_lines(struct i8042 *k)
{
	const struct i8042_state *s = &k->state;
	bool full = s->out_status & STATUS_OBF, aux = s->out_status & STATUS_AUX;

	irq_set(&k->keyboard, full && !aux && (s->ram[0] & CTR_KBD_INT));
	irq_set(&k->aux, full && aux && (s->ram[0] & CTR_AUX_INT));
}

static void put_out(struct i8042_state *s, uint8_t v, uint8_t status, bool kept)
{
	s->out = v;
	s->out_status = STATUS_OBF | status;
	s->out_kept = kept;
}

/* Into the output buffer on the controller's own account. */
static void answer(struct i8042_state *s, uint8_t v, uint8_t status)
{
	if ((s->out_status & STATUS_OBF) && s->out_kept) {
		s->held = s->out;
		s->held_full = 1;
	}
	put_out(s, v, status, false);
}

/* Fills the output buffer from the keyboard, while it is empty and the keyboard has its clock. */
static void refill(struct i8042_state *s)
{
	uint8_t v;

	while (!(s->out_status & STATUS_OBF)) {
		if (s->held_full) {
			s->held_full = 0;
			put_out(s, s->held, 0, true);
		} else if ((s->ram[0] & CTR_KBD_OFF) || !keyboard_send(s, &v)) {
			return;
		} else if (!(s->ram[0] & CTR_XLATE)) {
			s->released = 0;
			put_out(s, v, 0, true);
		} else if (v == KBD_BREAK) {
			s->released = 0x80;
		} else {
			put_out(s, translate(v) | s->released, 0, true);
			s->released = 0;
		}
	}
}

/* Behind whatever happened: everybody does what can be done now. */
static void go_on(struct i8042 *k)
{
	refill(&k->state);
	type_on(k);
	refill(&k->state);
	update_lines(k);
}

static void reset_processor(struct i8042 *k)
{
	machine_end(k->dev.machine, END_RESET, 0,
		    "the guest asked for a reset through the keyboard controller");
}

static uint8_t output_port(const struct i8042_state *s)
{
	uint8_t v = OUTPUT_IDLE | s->a20;

	if (s->out_status & STATUS_OBF)
		v |= s->out_status & STATUS_AUX ? OUTPUT_AUX_OBF : OUTPUT_KBD_OBF;
	return v;
}

/* The data byte of @command. */
static void controller_data(struct i8042 *k, uint8_t command, uint8_t v)
{
	struct i8042_state *s = &k->state;

	switch (command) {
	case 0xd1: /* write output port; but for these two bits it belongs to the controller */
		s->a20 = v & OUTPUT_A20;
		if (!(v & OUTPUT_RUN))
			reset_processor(k);
		break;
	case 0xd2: /* write keyboard output buffer */
		answer(s, v, 0);
		break;
	case 0xd3: /* write auxiliary output buffer */
		answer(s, v, STATUS_AUX);
		break;
	case 0xd4: /* write to the auxiliary device, which is not there to take it */
		s->ram[0] &= (uint8_t)~CTR_AUX_OFF;
		answer(s, KBD_RESEND, STATUS_AUX | STATUS_TIMEOUT);
		break;
	default: /* 60h to 7Fh: write the controller's memory */
		s->ram[command % RAM_BYTES] = v;
		break;
	}
}

static void controller_command(struct i8042 *k, uint8_t v)
{
	struct i8042_state *s = &k->state;

	s->command = 0;
	switch (v) {
	case 0x20 ... 0x3f: /* read the controller's memory */
		answer(s, s->ram[v % RAM_BYTES], 0);
		break;
	case 0x60 ... 0x7f:
	case 0xd1 ... 0xd4:
		s->command = v;
		break;
	case 0xa4: /* is there a password? No. */
		answer(s, 0xf1, 0);
		break;
	case 0xa7:
		s->ram[0] |= CTR_AUX_OFF;
		break;
	case 0xa8:
		s->ram[0] &= (uint8_t)~CTR_AUX_OFF;
		break;
	case 0xa9: /* test the lines to the auxiliary device, to the keyboard */
	case 0xab:
		answer(s, 0x00, 0);
		break;
	case 0xaa: /* self-test */
		s->ram[0] |= CTR_SYSTEM;
		answer(s, 0x55, 0);
		break;
	case 0xad:
		s->ram[0] |= CTR_KBD_OFF;
		break;
	case 0xae:
		s->ram[0] &= (uint8_t)~CTR_KBD_OFF;
		break;
	case 0xc0: /* input port: not locked, no manufacturing jumper, memory, colour display */
		answer(s, 0xb0, 0);
		break;
	case 0xd0:
		answer(s, output_port(s), 0);
		break;
	case 0xe0: /* test inputs: data and clock of the keyboard */
		answer(s, s->ram[0] & CTR_KBD_OFF ? 0x02 : 0x03, 0);
		break;
	case 0xf0 ... 0xff: /* pulse those low of output port bits 3 to 0 whose bit is 0 */
		if (!(v & OUTPUT_RUN))
			reset_processor(k);
		break;
	default: /* not a command */
		break;
	}
}

/* Ports. Each is a range of its own: between them are others' ports. */

static uint64_t data_read(struct device *dev, uint64_t offset, unsigned int size)
{
	struct i8042 *k = to_i8042(dev);
	uint8_t v = k->state.out; /* empty: what was read last */

	(void)offset;
	(void)size;
	if (!(k->state.out_status & STATUS_OBF))
		trace_event(TRACE_REMARK, dev->number, TRACE_EMPTY_READ, 0, PORT_DATA, v, 0);
	/* The line falls before the next byte raises it: every byte is an edge. */
	k->state.out_status = 0;
	k->state.out_kept = 0;
	update_lines(k);
	go_on(k);
	return v;
}

static void data_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct i8042 *k = to_i8042(dev);
	struct i8042_state *s = &k->state;
	uint8_t command = s->command;

	(void)offset;
	(void)size;
	s->written = 0;
	s->command = 0;
	if (command) {
		controller_data(k, command, (uint8_t)value);
	} else {
		/* To talk to the keyboard the controller gives it its clock back. */
		s->ram[0] &= (uint8_t)~CTR_KBD_OFF;
		keyboard_write(s, (uint8_t)value);
	}
	go_on(k);
}

static uint64_t status_read(struct device *dev, uint64_t offset, unsigned int size)
{
	const struct i8042_state *s = &to_i8042(dev)->state;

	(void)offset;
	(void)size;
	return s->out_status | s->written | STATUS_KEYLOCK |
	       (s->ram[0] & CTR_SYSTEM ? STATUS_SYSTEM : 0);
}

static void command_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct i8042 *k = to_i8042(dev);

	(void)offset;
	(void)size;
	k->state.written = STATUS_COMMAND;
	controller_command(k, (uint8_t)value);
	go_on(k);
}

static const struct bus_ops data_ops = {.read = data_read, .write = data_write, .max_size = 1};
static const struct bus_ops command_ops = {
	.read = status_read,
	.write = command_write,
	.max_size = 1,
	.region = 1,
};

/* The host */

static size_t i8042_input(struct device *dev, const uint8_t *data, size_t len)
{
	struct i8042 *k = to_i8042(dev);
	size_t n = 0;
	char c;

	if (to_type(k, &c))
		return 0;
	while (n < len && !typist_rests(k) && strike_char(k, (char)data[n]))
		n++;
	refill(&k->state);
	update_lines(k);
	return n;
}

static bool i8042_strike(struct device *dev, struct stroke s)
{
	struct i8042 *k = to_i8042(dev);
	char c;

	if (to_type(k, &c) || typist_rests(k) || !strike(k, s))
		return false;
	refill(&k->state);
	update_lines(k);
	return true;
}

static const struct chan_ops i8042_chan_ops = {.input = i8042_input};

static void next_stroke(struct device *dev, struct timer *t)
{
	(void)t;
	go_on(to_i8042(dev));
}

/* The instance */

static int i8042_create(struct device *dev, struct err *err)
{
	struct i8042 *k = to_i8042(dev);
	struct machine *m = dev->machine;
	int ret;

	timer_init(&k->pace, m->time, dev, next_stroke);
	ret = irq_attach(m->irqs, &k->keyboard, GSI_KEYBOARD, err);
	if (ret)
		return ret;
	ret = irq_attach(m->irqs, &k->aux, GSI_AUX, err);
	if (ret)
		return ret;
	ret = chan_open(&k->chan, dev, k->options.backend, &i8042_chan_ops, err);
	if (ret)
		return ret;
	ret = bus_map(m->ports, PORT_DATA, 1, &data_ops, dev, err);
	k->data_mapped = !ret;
	if (ret)
		return ret;
	ret = bus_map(m->ports, PORT_COMMAND, 1, &command_ops, dev, err);
	k->command_mapped = !ret;
	if (ret)
		return ret;
	k->door = (struct keyboard){.dev = dev, .strike = i8042_strike};
	m->keyboard = &k->door;
	return 0;
}

/* As firmware leaves it: tested, translating, A20 open, and the auxiliary port off. */
static void i8042_reset(struct device *dev)
{
	struct i8042 *k = to_i8042(dev);

	k->state = (struct i8042_state){
		.ram = {CTR_KBD_INT | CTR_SYSTEM | CTR_AUX_OFF | CTR_XLATE},
		.a20 = OUTPUT_A20,
		.sent = KBD_BAT,
		.scanning = 1,
	};
	keyboard_defaults(&k->state);
	timer_cancel(&k->pace);
	go_on(k);
}

static bool takes_data(uint8_t command)
{
	return (command >= 0x60 && command <= 0x7f) || (command >= 0xd1 && command <= 0xd4);
}

static bool controller_can_be(const struct i8042_state *s)
{
	uint8_t status = s->out_status;

	return !(status & ~(STATUS_OBF | STATUS_AUX | STATUS_TIMEOUT)) &&
	       ((status & STATUS_OBF) || !(status | s->out_kept)) &&
	       ((status & STATUS_AUX) || !(status & STATUS_TIMEOUT)) && s->out_kept <= 1 &&
	       s->held_full <= 1 && !(s->out_kept && (s->held_full || (status & STATUS_AUX))) &&
	       !(s->written & ~STATUS_COMMAND) && (!s->command || takes_data(s->command)) &&
	       !(s->a20 & ~OUTPUT_A20) && !(s->released & 0x7f);
}

static bool keyboard_can_be(const struct i8042_state *s)
{
	return s->fifo_head < FIFO_BYTES && s->fifo_count <= FIFO_BYTES &&
	       s->reply_count <= sizeof(s->reply) &&
	       (!s->expects || s->expects == 0xed || s->expects == 0xf0 || s->expects == 0xf3) &&
	       (s->scan_set == 1 || s->scan_set == 2) && s->leds <= 7 && s->rate < 0x80 &&
	       s->scanning <= 1 && s->typing <= 1 && (s->typing || !s->typed);
}

static int i8042_loaded(struct device *dev, struct err *err)
{
	struct i8042 *k = to_i8042(dev);

	if (!controller_can_be(&k->state) || !keyboard_can_be(&k->state))
		return err_set(err, EPROTO,
			       "%s: not a state that a keyboard and its controller can be in",
			       dev->id);
	if (k->state.typed > strlen(k->options.type))
		return err_set(err, EPROTO,
			       "%s: %u bytes of the text to type were typed, but it has %zu",
			       dev->id, k->state.typed, strlen(k->options.type));
	/* Nothing is typed on the spot: what was loaded stays what was saved. */
	timer_arm(&k->pace, vtime_now(dev->machine->time) + KEY_NS);
	refill(&k->state);
	update_lines(k);
	return 0;
}

static void i8042_destroy(struct device *dev)
{
	struct i8042 *k = to_i8042(dev);

	if (dev->machine->keyboard == &k->door)
		dev->machine->keyboard = NULL;
	if (k->data_mapped)
		bus_unmap(dev->machine->ports, PORT_DATA);
	if (k->command_mapped)
		bus_unmap(dev->machine->ports, PORT_COMMAND);
	chan_close(k->chan);
	timer_cancel(&k->pace);
	irq_detach(&k->keyboard);
	irq_detach(&k->aux);
}

/* The auxiliary port is named too, though nothing is plugged in: as on a PC without a mouse. */
static void i8042_describe(const struct device *dev, struct aml *aml)
{
	(void)dev;
	aml_has_8042(aml);
	aml_device(aml, "KBD_");
	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0303");
	aml_name(aml, "_CRS");
	aml_resources(aml);
	aml_io(aml, PORT_DATA, 1);
	aml_io(aml, PORT_COMMAND, 1);
	aml_irq(aml, GSI_KEYBOARD);
	aml_end(aml);
	aml_end(aml);
	aml_device(aml, "MOU_");
	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0F13");
	aml_name(aml, "_CRS");
	aml_resources(aml);
	aml_irq(aml, GSI_AUX);
	aml_end(aml);
	aml_end(aml);
}

/* Explaining: a command that waits for its data byte is remembered. */

static const char *controller_word(uint8_t v)
{
	switch (v) {
	case 0x20:
		return "read command byte";
	case 0x60:
		return "write command byte";
	case 0xa7:
		return "auxiliary off";
	case 0xa8:
		return "auxiliary on";
	case 0xa9:
		return "test auxiliary lines";
	case 0xaa:
		return "self-test";
	case 0xab:
		return "test keyboard lines";
	case 0xad:
		return "keyboard off";
	case 0xae:
		return "keyboard on";
	case 0xc0:
		return "read input port";
	case 0xd0:
		return "read output port";
	case 0xd1:
		return "write output port";
	case 0xd2:
		return "write keyboard buffer";
	case 0xd3:
		return "write auxiliary buffer";
	case 0xd4:
		return "write to auxiliary";
	case 0xf0 ... 0xff:
		return v & OUTPUT_RUN ? "pulse output lines" : "reset processor";
	default:
		return v >= 0x20 && v <= 0x3f   ? "read memory"
		       : v >= 0x60 && v <= 0x7f ? "write memory"
						: "nothing";
	}
}

static const char *keyboard_word(uint8_t v)
{
	switch (v) {
	case 0xed:
		return "set LEDs";
	case 0xee:
		return "echo";
	case 0xf0:
		return "scan code set";
	case 0xf2:
		return "identify";
	case 0xf3:
		return "typematic rate";
	case 0xf4:
		return "enable";
	case 0xf5:
		return "disable";
	case 0xf6:
		return "defaults";
	case 0xfe:
		return "resend";
	case 0xff:
		return "reset";
	default:
		return "";
	}
}

static void explain_byte_in(uint8_t value, uint8_t *command, struct explanation *e)
{
	static const char *const ctr[] = {"IRQ1",         "IRQ12",         "system",   NULL,
					  "keyboard-off", "auxiliary-off", "translate"};

	if (*command == 0x60) {
		explain_reg(e, "COMMAND_BYTE");
		explain_bits(e, value, ctr, ARRAY_SIZE(ctr));
	} else if (*command) {
		explain_reg(e, "CONTROLLER_DATA");
		explain_add(e, "%s", controller_word(*command));
	} else {
		explain_reg(e, "KEYBOARD");
		explain_add(e, "%s", keyboard_word(value));
	}
	*command = 0;
}

static void i8042_explain(const struct access *a, struct explain_memory *m, struct explanation *e)
{
	static const char *const status[] = {"OBF",      "IBF",       "system",  "command",
					     "unlocked", "auxiliary", "timeout", "parity"};
	const uint8_t value = (uint8_t)a->value;

	if (!a->region && a->write) {
		explain_byte_in(value, &m->byte[0], e);
	} else if (!a->region) {
		explain_reg(e, "OUTPUT");
	} else if (!a->write) {
		explain_reg(e, "STATUS");
		explain_bits(e, value, status, ARRAY_SIZE(status));
	} else {
		explain_reg(e, "COMMAND");
		explain_add(e, "%s", controller_word(value));
		m->byte[0] = (value >= 0x60 && value <= 0x7f) || (value >= 0xd1 && value <= 0xd4)
				     ? value
				     : 0;
	}
}

DEVICE_CLASS(i8042) = {
	.name = "i8042",
	.summary = "keyboard controller and keyboard",
	.size = sizeof(struct i8042),
	.options = i8042_options,
	.options_offset = offsetof(struct i8042, options),
	.state = &i8042_state,
	.state_offset = offsetof(struct i8042, state),
	.create = i8042_create,
	.reset = i8042_reset,
	.loaded = i8042_loaded,
	.destroy = i8042_destroy,
	.describe = i8042_describe,
	.explain = i8042_explain,
};
