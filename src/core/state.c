/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The saved form, all numbers little-endian:
 *
 *	u8 n, n bytes table name, u16 version, u16 fields, then per field
 *	u8 n, n bytes field name, u8 width, u16 count, width * count bytes
 */
#include <stdbool.h>
#include <stdlib.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/state.h"

/* Elements of an array that a person is shown. */
#define PRINTED 256U

struct cursor {
	uint8_t *at;
	size_t left;
};

static bool width_ok(const struct state_field *f)
{
	return f->width == 1 || f->width == 2 || f->width == 4 || f->width == 8;
}

static size_t field_bytes(const struct state_field *f)
{
	return (size_t)f->width * f->count;
}

/* Names are what a saved form is read by. */
static int check_names(const struct state_table *t, struct err *err)
{
	if (strlen(t->name) > UINT8_MAX)
		return err_set(err, EINVAL, "state %.64s...: a name is longer than %d bytes",
			       t->name, UINT8_MAX);
	for (uint32_t i = 0; i < t->count; i++) {
		const char *name = t->fields[i].name;

		if (!*name)
			return err_set(err, EINVAL, "state %s: a field has no name", t->name);
		if (strlen(name) > UINT8_MAX)
			return err_set(err, EINVAL, "state %s: a name is longer than %d bytes",
				       t->name, UINT8_MAX);
		for (uint32_t j = 0; j < i; j++)
			if (!strcmp(name, t->fields[j].name))
				return err_set(err, EINVAL, "state %s: two fields are called %s",
					       t->name, name);
	}
	return 0;
}

int state_check_table(const struct state_table *t, struct err *err)
{
	uint32_t at = 0;
	int ret;

	ret = check_names(t, err);
	if (ret)
		return ret;
	for (uint32_t i = 0; i < t->count; i++) {
		const struct state_field *f = &t->fields[i];

		if (!width_ok(f) || !f->count)
			return err_set(err, EINVAL, "state %s: %s is %u elements of %u bytes",
				       t->name, f->name, f->count, f->width);
		if (f->offset > at)
			return err_set(err, EINVAL, "state %s: there is a gap from %u to %s at %u",
				       t->name, at, f->name, f->offset);
		if (f->offset < at)
			return err_set(err, EINVAL, "state %s: %s at %u overlaps what ends at %u",
				       t->name, f->name, f->offset, at);
		if (f->since > t->version)
			return err_set(err, EINVAL, "state %s: %s is newer than the table", t->name,
				       f->name);
		at += (uint32_t)field_bytes(f);
	}
	if (at < t->size)
		return err_set(err, EINVAL, "state %s: there is a gap from %u to the end at %u",
			       t->name, at, t->size);
	if (at > t->size)
		return err_set(err, EINVAL, "state %s: the fields end at %u, the struct at %u",
			       t->name, at, t->size);
	return 0;
}

size_t state_saved_size(const struct state_table *t)
{
	size_t n = 1 + strlen(t->name) + 2 + 2;

	for (uint32_t i = 0; i < t->count; i++)
		n += 1 + strlen(t->fields[i].name) + 1 + 2 + field_bytes(&t->fields[i]);
	return n;
}

static void put(struct cursor *c, uint64_t v, unsigned int bytes)
{
	v = htole64(v);
	memcpy(c->at, &v, bytes);
	c->at += bytes;
}

static void put_name(struct cursor *c, const char *name)
{
	size_t n = strlen(name);

	put(c, n, 1);
	memcpy(c->at, name, n);
	c->at += n;
}

/* skep's hosts are little-endian: the low bytes come first, and a packed struct does no harm. */
static uint64_t element(const struct state_field *f, const void *s, unsigned int i)
{
	uint64_t v = 0;

	memcpy(&v, (const char *)s + f->offset + (size_t)i * f->width, f->width);
	return v;
}

static void set_element(const struct state_field *f, void *s, unsigned int i, uint64_t v)
{
	memcpy((char *)s + f->offset + (size_t)i * f->width, &v, f->width);
}

long state_save(const struct state_table *t, const void *s, void *buf, size_t room)
{
	struct cursor c = {.at = buf};

	if (room < state_saved_size(t))
		return -ENOSPC;
	put_name(&c, t->name);
	put(&c, t->version, 2);
	put(&c, t->count, 2);
	for (uint32_t i = 0; i < t->count; i++) {
		const struct state_field *f = &t->fields[i];

		put_name(&c, f->name);
		put(&c, f->width, 1);
		put(&c, f->count, 2);
		for (unsigned int e = 0; e < f->count; e++)
			put(&c, element(f, s, e), f->width);
	}
	return (long)(c.at - (uint8_t *)buf);
}

static bool take(struct cursor *c, uint64_t *v, unsigned int bytes)
{
	if (c->left < bytes)
		return false;
	*v = 0;
	memcpy(v, c->at, bytes);
	*v = le64toh(*v);
	c->at += bytes;
	c->left -= bytes;
	return true;
}

static bool take_name(struct cursor *c, const char **name, size_t *len)
{
	uint64_t n;

	if (!take(c, &n, 1) || c->left < n)
		return false;
	*name = (const char *)c->at;
	*len = n;
	c->at += n;
	c->left -= n;
	return true;
}

static const struct state_field *find_field(const struct state_table *t, const char *name,
					    size_t len)
{
	for (uint32_t i = 0; i < t->count; i++)
		if (strlen(t->fields[i].name) == len && !memcmp(t->fields[i].name, name, len))
			return &t->fields[i];
	return NULL;
}

static int cut_short(const struct state_table *t, struct err *err)
{
	return err_set(err, EPROTO, "state %s: the saved form is cut short", t->name);
}

static int load_field(const struct state_table *t, void *s, uint64_t version, bool *seen,
		      struct cursor *c, struct err *err)
{
	const struct state_field *f;
	uint64_t width, count, v;
	const char *name;
	size_t len;

	if (!take_name(c, &name, &len) || !take(c, &width, 1) || !take(c, &count, 2))
		return cut_short(t, err);
	f = find_field(t, name, len);
	if (!f || f->since > version)
		return err_set(err, EPROTO, "state %s: unknown field '%.*s'", t->name, (int)len,
			       name);
	if (seen[f - t->fields])
		return err_set(err, EPROTO, "state %s: %s is there twice", t->name, f->name);
	if (width != f->width || count != f->count)
		return err_set(err, EPROTO, "state %s: %s has another shape", t->name, f->name);
	seen[f - t->fields] = true;
	for (unsigned int e = 0; e < f->count; e++) {
		if (!take(c, &v, f->width))
			return cut_short(t, err);
		set_element(f, s, e, v);
	}
	return 0;
}

static int load_fields(const struct state_table *t, void *s, bool *seen, struct cursor *c,
		       struct err *err)
{
	uint64_t version, count;
	const char *name;
	size_t len;
	int ret;

	if (!take_name(c, &name, &len))
		return cut_short(t, err);
	if (strlen(t->name) != len || memcmp(t->name, name, len))
		return err_set(err, EPROTO, "state %s: this is the state of '%.*s'", t->name,
			       (int)len, name);
	if (!take(c, &version, 2) || !take(c, &count, 2))
		return cut_short(t, err);
	if (version > t->version)
		return err_set(err, EPROTO, "state %s: version %u is newer than this skep's %u",
			       t->name, (unsigned int)version, t->version);
	for (uint64_t i = 0; i < count; i++) {
		ret = load_field(t, s, version, seen, c, err);
		if (ret)
			return ret;
	}
	if (c->left)
		return err_set(err, EPROTO, "state %s: %zu bytes too many", t->name, c->left);
	for (uint32_t i = 0; i < t->count; i++)
		if (!seen[i] && t->fields[i].since <= version)
			return err_set(err, EPROTO, "state %s: %s is missing", t->name,
				       t->fields[i].name);
	return 0;
}

int state_load(const struct state_table *t, void *s, const void *buf, size_t len, struct err *err)
{
	struct cursor c = {.at = (uint8_t *)(uintptr_t)buf, .left = len};
	bool *seen = calloc(t->count, sizeof(*seen));
	void *copy = malloc(t->size);
	int ret;

	if (!seen || !copy) {
		ret = err_sys(err, ENOMEM, "state %s", t->name);
	} else {
		memcpy(copy, s, t->size);
		ret = load_fields(t, copy, seen, &c, err);
		if (!ret)
			memcpy(s, copy, t->size);
	}
	free(copy);
	free(seen);
	return ret;
}

void state_print(const struct state_table *t, const void *s, FILE *to, const char *indent)
{
	for (uint32_t i = 0; i < t->count; i++) {
		const struct state_field *f = &t->fields[i];

		fprintf(to, "%s%s =", indent, f->name);
		if (f->count == 1)
			fprintf(to, " 0x%llx", (unsigned long long)element(f, s, 0));
		for (unsigned int e = 0; f->count > 1 && e < MIN(f->count, PRINTED); e++)
			fprintf(to, " %0*llx", 2 * f->width, (unsigned long long)element(f, s, e));
		if (f->count > PRINTED)
			fprintf(to, " and %u more", f->count - PRINTED);
		fputc('\n', to);
	}
}

const struct state_field *state_compare(const struct state_table *t, const void *a, const void *b)
{
	for (uint32_t i = 0; i < t->count; i++)
		for (unsigned int e = 0; e < t->fields[i].count; e++)
			if (element(&t->fields[i], a, e) != element(&t->fields[i], b, e))
				return &t->fields[i];
	return NULL;
}

/* splitmix64: small, and good enough to pick fields and values. */
static uint64_t next_random(uint64_t *seed)
{
	uint64_t z = (*seed += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

void state_mutate(const struct state_table *t, void *s, uint64_t seed)
{
	const struct state_field *f;
	uint64_t old, v;
	unsigned int i;

	if (!t->count)
		return;
	f = &t->fields[next_random(&seed) % t->count];
	i = (unsigned int)(next_random(&seed) % f->count);
	old = element(f, s, i);
	v = next_random(&seed);
	/* One value in 256 would change nothing in a byte. */
	set_element(f, s, i, (v ^ old) & ones(f->width) ? v : old ^ 1);
}
