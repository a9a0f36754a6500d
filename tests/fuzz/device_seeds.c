/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inputs to begin with: what firmware and Linux did with each chip (tests/golden/traces, whose
 * format record.py there explains), for virtio devices each way of setting them up, with chains for
 * each queue that begin like requests, and for the IDE disk its commands.
 */
#include <dirent.h>
#include <inttypes.h>
#include <string.h>

#include "device.h"
#include "skep/bits.h"
#include "skep/class.h"

#define SEED_MOST 4096U

struct seed {
	struct bench b; /* to ask where things are */
	size_t len;
	uint8_t bytes[SEED_MOST];
	uint64_t index, data; /* ports of a chip that has an index */
	unsigned int size;
};

static void put(struct seed *s, uint64_t value, unsigned int bytes)
{
	for (unsigned int i = 0; i < bytes && s->len < SEED_MOST; i++)
		s->bytes[s->len++] = (uint8_t)(value >> 8 * i);
}

/* The first OP_COUNT entries of ops[] are the operations in order. */
static void put_op(struct seed *s, enum op op)
{
	put(s, op, 1);
}

static void put_access(struct seed *s, bool write, uint64_t at, unsigned int size, uint64_t value)
{
	struct window windows[BENCH_WINDOWS];
	const unsigned int count = bench_windows(&s->b, windows);
	const struct machine *m = &s->b.m.rig.machine;
	const struct bus *bus = at < 0x10000 ? m->ports : m->mmio;
	unsigned int i = 0;

	while (i < count && (windows[i].bus != bus || at - windows[i].at >= windows[i].len))
		i++;
	if (i == count)
		return;
	put_op(s, write ? OP_WRITE : OP_READ);
	put(s, (uint64_t)__builtin_ctz(size), 1);
	put(s, i, 1);
	put(s, at - windows[i].at, 2);
	if (write)
		put(s, value, size);
}

/* As pass_time() in device.c reads it, a little less. */
static void put_time(struct seed *s, uint64_t ns)
{
	unsigned int shift = 0;

	while (ns >> shift * 2 > 31 && shift < 15)
		shift++;
	put_op(s, OP_TIME);
	put(s, shift << 4 | ((ns >> shift * 2) & 15), 1);
}

static void put_line(struct seed *s, const char *text)
{
	uint64_t a = 0, b = 0, c = 0;

	switch (*text) {
	case 'w':
	case 'r':
		sscanf(text + 1, "%" SCNx64 " %" SCNu64 " %" SCNx64, &a, &b, &c);
		put_access(s, *text == 'w', a, (unsigned int)b, c);
		break;
	case 'W':
	case 'R':
		sscanf(text + 1, "%" SCNx64 " %" SCNx64, &a, &b);
		put_access(s, true, s->index, s->size, a);
		put_access(s, *text == 'W', s->data, s->size, b);
		break;
	case 'i':
		sscanf(text + 1, "%" SCNu64 " %" SCNu64, &a, &b);
		put_op(s, OP_WIRE);
		put(s, a | (b ? 128 : 0), 1);
		break;
	case 'a':
		put_op(s, OP_ACKNOWLEDGE);
		break;
	case 'e':
		sscanf(text + 1, "%" SCNx64, &a);
		put_op(s, OP_EOI);
		put(s, a, 1);
		break;
	case 't':
		sscanf(text + 1, "%" SCNu64, &a);
		put_time(s, a * 1000);
		break;
	default:
		break;
	}
}

static bool write_seed(const struct seed *s, const char *to, const char *name)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", to, name);
	f = fopen(path, "w");
	if (!f)
		return false;
	fwrite(s->bytes, 1, s->len, f);
	return !fclose(f);
}

static void begin(struct seed *s, unsigned int model, unsigned int variant)
{
	memset(s, 0, sizeof(*s));
	bench_init(&s->b, model, variant);
	put(s, model, 1);
	put(s, variant, 1);
}

static unsigned int model_number(const char *name)
{
	const struct device_class *models[CLASS_MAX];
	const size_t count = MIN(class_table(models, CLASS_MAX), (size_t)CLASS_MAX);
	unsigned int i = 0;

	while (i < count && strcmp(models[i]->name, name) != 0)
		i++;
	must(i < count);
	return i;
}

/* Cut where an input ends. */
static bool convert(const char *traces, const char *name, const char *to)
{
	static struct seed s;
	char path[4096], *text = NULL, model[32];
	bool begun = false, good;
	size_t room = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", traces, name);
	f = fopen(path, "r");
	if (!f)
		return false;
	while (getline(&text, &room, f) > 0) {
		if (sscanf(text, "c %31s", model) == 1) {
			begin(&s, model_number(model), 0);
			begun = true;
			s.index = !strcmp(model, "ioapic") ? 0xfec00000 : 0x70;
			s.data = !strcmp(model, "ioapic") ? 0xfec00010 : 0x71;
			s.size = !strcmp(model, "ioapic") ? 4 : 1;
		} else if (begun) {
			put_line(&s, text);
		}
	}
	free(text);
	fclose(f);
	good = begun && write_seed(&s, to, name);
	if (begun)
		bench_fini(&s.b);
	return good;
}

/* A header of 16 bytes whose first word is @type, data as a disk has it, a byte for the status. */
static void put_request(struct seed *s, unsigned int queue, unsigned int type)
{
	put_op(s, OP_CHAIN);
	put(s, queue, 1);
	put(s, 2, 1);
	put(s, 64 | 6, 1);
	put(s, 16, 1);
	put(s, type, 8);
	put(s, 1, 8);
	if (type < 11) {
		put(s, type & 1 ? 9 : 16 | 9, 1);
	} else {
		put(s, 64 | 6, 1);
		put(s, 16, 1);
		put(s, 1, 8);
		put(s, 1, 8);
	}
	put(s, 16 | 1, 1);
}

static bool make_virtio(unsigned int model, unsigned int variant, unsigned int how, const char *to)
{
	static struct seed s;
	char name[64];
	bool good;

	begin(&s, model, variant);
	put_op(&s, OP_START);
	put(&s, how, 1);
	put(&s, 0, 4);
	for (unsigned int q = 0; q < MIN(s.b.virtio->queue_count, 6U); q++)
		for (unsigned int type = 0; type < 14; type++)
			put_request(&s, q, type);
	put_op(&s, OP_FRAME);
	put(&s, 64, 2);
	put(&s, 0x0202, 2);
	for (unsigned int i = 0; i < 62; i++)
		put(&s, i, 1);
	put_op(&s, OP_TYPE);
	put(&s, 4, 1);
	put(&s, 0x65656565, 4);
	put_op(&s, OP_TURN);
	put(&s, 200, 1);
	snprintf(name, sizeof(name), "%s-%u-%u", s.b.subject->class->name, variant, how);
	good = write_seed(&s, to, name);
	bench_fini(&s.b);
	return good;
}

static bool make_all_virtio(const char *to)
{
	const struct device_class *models[CLASS_MAX];
	const size_t count = MIN(class_table(models, CLASS_MAX), (size_t)CLASS_MAX);
	bool good = true;

	for (unsigned int i = 0; i < count; i++)
		for (unsigned int n = 0; n < 8 && models[i]->family == &virtio_family; n++)
			for (unsigned int how = 0; how < 2; how++)
				good = make_virtio(i, (n & 3) | (n & 4) << 2, 0xd6 + how, to) &&
				       good;
	return good;
}

/* A command of ATA with its registers, and a block of data in or out. */
static void put_command(struct seed *s, unsigned int command, bool out)
{
	static const uint8_t registers[] = {0, 0, 1, 1, 0, 0, 0xe0};

	for (unsigned int i = 2; i < ARRAY_SIZE(registers); i++)
		put_access(s, true, 0x1f0 + i, 1, registers[i]);
	put_access(s, true, 0x1f7, 1, command);
	put_op(s, OP_TURN);
	put(s, 50, 1);
	put_access(s, false, 0x1f7, 1, 0);
	for (unsigned int i = 0; i < 256; i += 31) {
		put_op(s, OP_STRING);
		put(s, MIN(31U, 256 - i) << 3 | (out ? 4 : 0) | 1, 1);
		put(s, 0, 3); /* the first window is 1f0h */
		for (unsigned int n = 0; out && n < 16; n++)
			put(s, n, 1);
	}
	put_op(s, OP_TURN);
	put(s, 50, 1);
}

static bool make_ide(const char *to)
{
	static const struct {
		uint8_t command;
		bool out;
	} commands[] = {{0xec, false}, {0x20, false}, {0x30, true},  {0xc6, false}, {0xc4, false},
			{0xc5, true},  {0x24, false}, {0x34, true},  {0xe7, false}, {0x40, false},
			{0x91, false}, {0x90, false}, {0x70, false}, {0xe5, false}};
	static struct seed s;
	bool good = true;
	char name[16];

	for (unsigned int variant = 0; variant < 4; variant++) {
		begin(&s, model_number("ide"), variant);
		for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
			put_command(&s, commands[i].command, commands[i].out);
		snprintf(name, sizeof(name), "ide-%u", variant);
		good = write_seed(&s, to, name) && good;
		bench_fini(&s.b);
	}
	return good;
}

int seeds_write(const char *traces, const char *to)
{
	DIR *dir = opendir(traces);
	bool good = dir && make_all_virtio(to) && make_ide(to);
	struct dirent *e;

	while (good && (e = readdir(dir)))
		if (strlen(e->d_name) > 6 && !strcmp(e->d_name + strlen(e->d_name) - 6, ".trace"))
			good = convert(traces, e->d_name, to);
	if (dir)
		closedir(dir);
	return good ? 0 : 1;
}
