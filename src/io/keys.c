/* SPDX-License-Identifier: BSD-2-Clause */
#include "keys.h"
#include "skep/bits.h"

#define ESC       0x1b
#define PARAM_MAX 999

static bool one(struct stroke *out, unsigned int key, unsigned int with)
{
	out->key = (uint16_t)key;
	out->with = (uint8_t)with;
	return true;
}

/* The key of a sequence that ends in a letter; 0: none. */
static unsigned int key_of_letter(uint8_t c)
{
	switch (c) {
	case 'A':
		return STROKE_UP;
	case 'B':
		return STROKE_DOWN;
	case 'C':
		return STROKE_RIGHT;
	case 'D':
		return STROKE_LEFT;
	case 'H':
		return STROKE_HOME;
	case 'F':
		return STROKE_END;
	case 'P' ... 'S':
		return STROKE_F1 + c - (unsigned int)'P';
	default:
		return 0;
	}
}

/* The key of a sequence that ends in a tilde, by its first parameter; 0: none. */
static unsigned int key_of_number(unsigned int n)
{
	static const uint16_t keys[] = {
		[1] = STROKE_HOME,    [2] = STROKE_INSERT,    [3] = STROKE_DELETE, [4] = STROKE_END,
		[5] = STROKE_PAGE_UP, [6] = STROKE_PAGE_DOWN, [7] = STROKE_HOME,   [8] = STROKE_END,
	};

	if (n < ARRAY_SIZE(keys))
		return keys[n];
	/* VT220's numbering has gaps. */
	if (n >= 11 && n <= 15)
		return STROKE_F1 + n - 11;
	if (n >= 17 && n <= 21)
		return STROKE_F1 + 5 + n - 17;
	if (n == 23 || n == 24)
		return STROKE_F1 + 10 + n - 23;
	return 0;
}

/* What is held down, by the second parameter: one more than the sum of 1, 2, 4 and 8. */
static unsigned int held(unsigned int param)
{
	unsigned int bits = param ? param - 1 : 0;

	return (bits & 1 ? STROKE_SHIFT : 0) | (bits & (2 | 8) ? STROKE_ALT : 0) |
	       (bits & 4 ? STROKE_CTRL : 0);
}

static bool sequence_ends(struct keys *k, uint8_t byte, struct stroke *out)
{
	unsigned int key = byte == '~' ? key_of_number(k->params[0]) : key_of_letter(byte);
	unsigned int with = held(k->params[1]);

	k->state = KEYS_PLAIN;
	if (k->unknown)
		return false;
	if (byte == 'Z')
		return one(out, '\t', STROKE_SHIFT | with);
	return key && one(out, key, with);
}

static bool plain(struct keys *k, uint8_t byte, struct stroke *out)
{
	k->state = byte == ESC ? KEYS_ESC : KEYS_PLAIN;
	/* No key of a US layout gives what is beyond ASCII. */
	return byte != ESC && byte < 0x80 && one(out, byte, 0);
}

static bool behind_esc(struct keys *k, uint8_t byte, struct stroke *out)
{
	*k = (struct keys){.state = KEYS_PLAIN};
	if (byte == '[') {
		k->state = KEYS_CSI;
	} else if (byte == 'O') {
		k->state = KEYS_SS3;
	} else if (byte == ESC) {
		k->state = KEYS_ESC;
		return one(out, ESC, 0);
	} else {
		return byte < 0x80 ? one(out, byte, STROKE_ALT) : one(out, ESC, 0);
	}
	return false;
}

static bool within(struct keys *k, uint8_t byte, struct stroke *out)
{
	unsigned int *param = k->param < ARRAY_SIZE(k->params) ? &k->params[k->param] : NULL;

	if (byte >= '0' && byte <= '9') {
		if (param)
			*param = MIN(*param * 10 + byte - '0', (unsigned int)PARAM_MAX);
	} else if (byte == ';') {
		k->param = MIN(k->param + 1, (unsigned int)ARRAY_SIZE(k->params));
	} else if (byte >= 0x20 && byte < 0x40) {
		k->unknown = true;
	} else if (byte >= 0x40 && byte < 0x7f) {
		return sequence_ends(k, byte, out);
	} else {
		/* It was broken off. */
		return plain(k, byte, out);
	}
	return false;
}

bool keys_take(struct keys *k, uint8_t byte, struct stroke *out)
{
	switch (k->state) {
	case KEYS_ESC:
		return behind_esc(k, byte, out);
	case KEYS_CSI:
		if (byte == '[' && !k->param && !k->params[0] && !k->unknown) {
			k->state = KEYS_LINUX;
			return false;
		}
		return within(k, byte, out);
	case KEYS_SS3:
		return within(k, byte, out);
	case KEYS_LINUX:
		if (byte < 'A' || byte > 'E')
			return plain(k, byte, out);
		k->state = KEYS_PLAIN;
		return one(out, STROKE_F1 + byte - (unsigned int)'A', 0);
	default:
		return plain(k, byte, out);
	}
}

bool keys_expire(struct keys *k, struct stroke *out)
{
	bool bare = !k->param && !k->params[0] && !k->unknown;
	bool key = false;

	if (k->state == KEYS_ESC)
		key = one(out, ESC, 0);
	else if (k->state == KEYS_CSI && bare)
		key = one(out, '[', STROKE_ALT);
	else if (k->state == KEYS_SS3 && bare)
		key = one(out, 'O', STROKE_ALT);
	k->state = KEYS_PLAIN;
	return key;
}
