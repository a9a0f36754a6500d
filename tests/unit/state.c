/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/cm.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/state.h"

struct part {
	uint8_t a;
	uint8_t pad;
	uint16_t b;
	uint32_t c;
	uint64_t d;
	uint16_t e[4];
	uint64_t f[2];
};

static const struct state_field part_fields[] = {
	STATE_FIELD(struct part, a), STATE_FIELD(struct part, pad), STATE_FIELD(struct part, b),
	STATE_FIELD(struct part, c), STATE_FIELD(struct part, d),   STATE_ARRAY(struct part, e),
	STATE_ARRAY(struct part, f),
};

static const struct state_table part = STATE_TABLE("part", 1, struct part, part_fields);

static const struct part sample = {
	.a = 0x12,
	.b = 0x3456,
	.c = 0x789abcde,
	.d = UINT64_C(0xfedcba9876543210),
	.e = {1, 2, 3, 0xffff},
	.f = {UINT64_MAX, 5},
};

/* Tables */

static void assert_bad_table(const struct state_field *fields, uint32_t count, uint32_t size,
			     const char *want)
{
	const struct state_table t = {
		.name = "bad", .version = 2, .size = size, .count = count, .fields = fields};
	struct err err;

	assert_int_equal(state_check_table(&t, &err), -EINVAL);
	assert_string_equal(err.text, want);
	assert_int_equal(state_check_table(&t, NULL), -EINVAL);
}

static void a_table_that_tiles_is_good(void **state)
{
	const struct state_table empty = {.name = "empty", .version = 1};
	struct err err;

	(void)state;
	assert_int_equal(state_check_table(&part, &err), 0);
	assert_int_equal(state_check_table(&empty, &err), 0);
}

static void a_table_that_does_not_tile_is_not(void **state)
{
	const struct state_field gap[] = {{"a", 0, 1, 1, 0}, {"b", 2, 2, 1, 0}};
	const struct state_field overlap[] = {{"a", 0, 4, 1, 0}, {"b", 2, 2, 1, 0}};
	const struct state_field start[] = {{"a", 1, 1, 1, 0}};
	const struct state_field width[] = {{"a", 0, 3, 1, 0}};
	const struct state_field wide[] = {{"a", 0, 16, 1, 0}};
	const struct state_field none[] = {{"a", 0, 4, 0, 0}};
	const struct state_field future[] = {{"a", 0, 4, 1, 3}};
	const struct state_field twice[] = {{"a", 0, 4, 1, 0}, {"a", 4, 4, 1, 0}};

	(void)state;
	assert_bad_table(gap, 2, 4, "state bad: there is a gap from 1 to b at 2");
	assert_bad_table(overlap, 2, 4, "state bad: b at 2 overlaps what ends at 4");
	assert_bad_table(start, 1, 2, "state bad: there is a gap from 0 to a at 1");
	assert_bad_table(width, 1, 3, "state bad: a is 1 elements of 3 bytes");
	assert_bad_table(wide, 1, 16, "state bad: a is 1 elements of 16 bytes");
	assert_bad_table(none, 1, 0, "state bad: a is 0 elements of 4 bytes");
	assert_bad_table(gap, 1, 8, "state bad: there is a gap from 1 to the end at 8");
	assert_bad_table(overlap, 1, 2, "state bad: the fields end at 4, the struct at 2");
	assert_bad_table(future, 1, 4, "state bad: a is newer than the table");
	assert_bad_table(twice, 2, 8, "state bad: two fields are called a");
}

/* A name's length is one byte in the saved form. */
static void a_name_has_at_most_255_bytes(void **state)
{
	struct state_field f = {.offset = 0, .width = 1, .count = 1};
	struct state_table t = {.name = "t", .version = 1, .size = 1, .count = 1, .fields = &f};
	char name[257];
	struct err err;

	(void)state;
	memset(name, 'n', sizeof(name));
	name[256] = '\0';
	f.name = name;
	assert_int_equal(state_check_table(&t, &err), -EINVAL);
	assert_non_null(strstr(err.text, "a name is longer than 255 bytes"));
	name[255] = '\0';
	assert_int_equal(state_check_table(&t, &err), 0);
	f.name = "f";
	name[255] = 'n';
	t.name = name;
	assert_int_equal(state_check_table(&t, &err), -EINVAL);
	f.name = "";
	t.name = "t";
	assert_int_equal(state_check_table(&t, &err), -EINVAL);
	assert_string_equal(err.text, "state t: a field has no name");
}

/* Saving */

static void the_saved_form_is_what_the_source_says(void **state)
{
	static const struct state_field fields[] = {
		{.name = "ab", .offset = 0, .width = 2, .count = 1},
		{.name = "c", .offset = 2, .width = 1, .count = 2},
	};
	static const struct state_table t = {
		.name = "t", .version = 0x102, .size = 4, .count = 2, .fields = fields};
	static const uint8_t want[] = {
		1,    't',  0x02, 0x01, 2, 0, /* name, version, fields */
		2,    'a',  'b',  2,    1, 0, /* name, width, count */
		0x34, 0x12,                   /* its value */
		1,    'c',  1,    2,    0,    /* name, width, count */
		0x56, 0x78,                   /* its values */
	};
	const uint8_t s[4] = {0x34, 0x12, 0x56, 0x78};
	uint8_t buf[sizeof(want)];

	(void)state;
	assert_int_equal(state_saved_size(&t), sizeof(want));
	assert_int_equal(state_save(&t, s, buf, sizeof(buf)), sizeof(want));
	assert_memory_equal(buf, want, sizeof(want));
}

static void no_room_writes_nothing(void **state)
{
	size_t need = state_saved_size(&part);
	uint8_t buf[512], untouched[512];

	(void)state;
	assert_in_range(need, 1, sizeof(buf));
	memset(buf, 0xa5, sizeof(buf));
	memset(untouched, 0xa5, sizeof(untouched));
	for (size_t room = 0; room < need; room++) {
		assert_int_equal(state_save(&part, &sample, buf, room), -ENOSPC);
		assert_memory_equal(buf, untouched, sizeof(buf));
	}
	assert_int_equal(state_save(&part, &sample, buf, need), need);
	assert_memory_equal(buf + need, untouched, sizeof(buf) - need);
}

/* Loading */

struct saved {
	uint8_t buf[512];
	size_t len;
};

static struct saved save(const struct state_table *t, const void *s)
{
	struct saved f = {.len = state_saved_size(t)};

	assert_int_equal(state_save(t, s, f.buf, sizeof(f.buf)), f.len);
	return f;
}

/* Refused with @want, and the struct as it was. */
static void assert_refused(const struct state_table *t, const void *buf, size_t len,
			   const char *want)
{
	uint8_t s[sizeof(struct part)], before[sizeof(s)];
	struct err err;

	memset(s, 0xa5, sizeof(s));
	memcpy(before, s, sizeof(s));
	assert_int_equal(state_load(t, s, buf, len, &err), -EPROTO);
	if (want)
		assert_string_equal(err.text, want);
	assert_memory_equal(s, before, sizeof(s));
	assert_int_equal(state_load(t, s, buf, len, NULL), -EPROTO);
}

static void what_is_saved_loads(void **state)
{
	const struct saved f = save(&part, &sample);
	struct part s;
	struct err err;

	(void)state;
	memset(&s, 0xa5, sizeof(s));
	assert_int_equal(state_load(&part, &s, f.buf, f.len, &err), 0);
	assert_memory_equal(&s, &sample, sizeof(s));
}

static void what_is_cut_short_or_too_long_does_not(void **state)
{
	struct saved f = save(&part, &sample);

	(void)state;
	for (size_t len = 0; len < f.len; len++) {
		/* Exactly as long, so that a sanitizer sees a read behind the end. */
		uint8_t *cut = malloc(len ? len : 1);

		assert_non_null(cut);
		memcpy(cut, f.buf, len);
		assert_refused(&part, cut, len, "state part: the saved form is cut short");
		free(cut);
	}
	assert_refused(&part, NULL, 0, "state part: the saved form is cut short");
	assert_refused(&part, f.buf, f.len + 1, "state part: 1 bytes too many");
	assert_refused(&part, f.buf, f.len + 7, "state part: 7 bytes too many");
}

static const struct state_field ab_fields[] = {
	{.name = "a", .offset = 0, .width = 2, .count = 1},
	{.name = "b", .offset = 2, .width = 2, .count = 1},
};

static void what_is_of_another_table_does_not(void **state)
{
	const struct state_table t = {
		.name = "t", .version = 3, .size = 4, .count = 2, .fields = ab_fields};
	const uint8_t s[4] = {0};
	struct state_field fields[2];
	struct state_table other = t;
	struct saved f;

	(void)state;
	other.fields = fields;
	other.name = "tt";
	memcpy(fields, ab_fields, sizeof(fields));
	f = save(&other, s);
	assert_refused(&t, f.buf, f.len, "state t: this is the state of 'tt'");

	other = t;
	other.fields = fields;
	other.version = 4;
	f = save(&other, s);
	assert_refused(&t, f.buf, f.len, "state t: version 4 is newer than this skep's 3");

	other.version = 3;
	fields[1].name = "bb";
	f = save(&other, s);
	assert_refused(&t, f.buf, f.len, "state t: unknown field 'bb'");
	fields[1].name = "a";
	f = save(&other, s);
	assert_refused(&t, f.buf, f.len, "state t: a is there twice");
	fields[1] = (struct state_field){.name = "b", .offset = 2, .width = 1, .count = 2};
	f = save(&other, s);
	assert_refused(&t, f.buf, f.len, "state t: b has another shape");
	fields[1] = (struct state_field){.name = "b", .offset = 2, .width = 1, .count = 1};
	f = save(&other, s);
	assert_refused(&t, f.buf, f.len, "state t: b has another shape");
	other.count = 1;
	f = save(&other, s);
	assert_refused(&t, f.buf, f.len, "state t: b is missing");
	other.count = 0;
	f = save(&other, s);
	assert_refused(&t, f.buf, f.len, "state t: a is missing");
}

static void the_order_of_fields_does_not_matter(void **state)
{
	static const struct state_field swapped[] = {
		{.name = "b", .offset = 2, .width = 2, .count = 1},
		{.name = "a", .offset = 0, .width = 2, .count = 1},
	};
	const struct state_table t = {
		.name = "t", .version = 1, .size = 4, .count = 2, .fields = ab_fields};
	struct state_table other = t;
	const uint8_t from[4] = {1, 2, 3, 4};
	uint8_t to[4] = {0};
	struct saved f;

	(void)state;
	other.fields = swapped;
	f = save(&other, from);
	assert_int_equal(state_load(&t, to, f.buf, f.len, NULL), 0);
	assert_memory_equal(to, from, sizeof(to));
}

static void older_versions_load(void **state)
{
	static const struct state_field fields[] = {
		{.name = "a", .offset = 0, .width = 1, .count = 1},
		{.name = "b", .offset = 1, .width = 1, .count = 1, .since = 1},
		{.name = "c", .offset = 2, .width = 1, .count = 1, .since = 2},
		{.name = "d", .offset = 3, .width = 1, .count = 1, .since = 3},
	};
	const struct state_table now = {
		.name = "t", .version = 3, .size = 4, .count = 4, .fields = fields};
	struct state_table then = now;
	const uint8_t saved[4] = {1, 2, 3, 4};
	struct err err;
	struct saved f;

	(void)state;
	for (uint16_t version = 1; version <= 3; version++) {
		uint8_t s[4] = {91, 92, 93, 94};

		then.version = version;
		then.count = version + 1;
		f = save(&then, saved);
		assert_int_equal(state_load(&now, s, f.buf, f.len, &err), 0);
		for (unsigned int i = 0; i < 4; i++)
			assert_int_equal(s[i], i <= version ? saved[i] : 91 + i);
	}
	/* A field that the saved version did have must be there, */
	then.version = 2;
	then.count = 2;
	f = save(&then, saved);
	assert_refused(&now, f.buf, f.len, "state t: c is missing");
	/* and one that it did not have yet cannot be. */
	then.version = 1;
	then.count = 3;
	f = save(&then, saved);
	assert_refused(&now, f.buf, f.len, "state t: unknown field 'c'");
}

/* Any damage is refused or loaded; nothing else happens. */
static void damage_is_harmless(void **state)
{
	const struct saved f = save(&part, &sample);
	struct part s;

	(void)state;
	for (size_t at = 0; at < f.len; at++) {
		uint8_t *copy = malloc(f.len);

		assert_non_null(copy);
		for (unsigned int bit = 0; bit < 8; bit++) {
			int ret;

			memcpy(copy, f.buf, f.len);
			copy[at] ^= (uint8_t)(1 << bit);
			s = sample;
			ret = state_load(&part, &s, copy, f.len, NULL);
			if (ret) {
				assert_int_equal(ret, -EPROTO);
				assert_memory_equal(&s, &sample, sizeof(s));
			}
		}
		free(copy);
	}
}

/* A packed struct has members that are not aligned. */
static void fields_need_no_alignment(void **state)
{
	struct __attribute__((packed)) odd {
		uint8_t a;
		uint64_t b;
		uint32_t c[2];
		uint16_t d;
	};
	static const struct state_field fields[] = {
		{.name = "a", .offset = 0, .width = 1, .count = 1},
		{.name = "b", .offset = 1, .width = 8, .count = 1},
		{.name = "c", .offset = 9, .width = 4, .count = 2},
		{.name = "d", .offset = 17, .width = 2, .count = 1},
	};
	static const struct state_table t = STATE_TABLE("odd", 1, struct odd, fields);
	struct odd from = {1, 2, {3, 4}, 5}, to = {0};
	struct saved f;
	char text[256] = "";
	FILE *out = fmemopen(text, sizeof(text), "w");

	(void)state;
	assert_non_null(out);
	assert_int_equal(state_check_table(&t, NULL), 0);
	f = save(&t, &from);
	assert_non_null(state_compare(&t, &from, &to));
	assert_int_equal(state_load(&t, &to, f.buf, f.len, NULL), 0);
	assert_null(state_compare(&t, &from, &to));
	for (uint64_t seed = 0; seed < 100; seed++)
		state_mutate(&t, &to, seed);
	state_print(&t, &to, out, "");
	fclose(out);
}

/* Showing, comparing, mutating */

static void a_line_for_each_field(void **state)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	(void)state;
	assert_non_null(f);
	state_print(&part, &sample, f, "  ");
	fclose(f);
	assert_string_equal(text, "  a = 0x12\n"
				  "  pad = 0x0\n"
				  "  b = 0x3456\n"
				  "  c = 0x789abcde\n"
				  "  d = 0xfedcba9876543210\n"
				  "  e = 0001 0002 0003 ffff\n"
				  "  f = ffffffffffffffff 0000000000000005\n");
	free(text);
}

static void the_first_difference(void **state)
{
	struct part other = sample;

	(void)state;
	assert_null(state_compare(&part, &sample, &other));
	other.f[1]++;
	assert_ptr_equal(state_compare(&part, &sample, &other), &part_fields[6]);
	other.e[3]--;
	assert_ptr_equal(state_compare(&part, &sample, &other), &part_fields[5]);
	other.d ^= bit64(63);
	assert_ptr_equal(state_compare(&part, &sample, &other), &part_fields[4]);
	other.a ^= 1;
	assert_ptr_equal(state_compare(&part, &sample, &other), &part_fields[0]);
}

static void a_mutation_changes_one_field_by_the_seed(void **state)
{
	unsigned int hits[ARRAY_SIZE(part_fields)] = {0};

	(void)state;
	for (uint64_t seed = 0; seed < 20000; seed++) {
		struct part a = sample, b = sample;
		unsigned int changed = 0;

		state_mutate(&part, &a, seed);
		state_mutate(&part, &b, seed);
		assert_memory_equal(&a, &b, sizeof(a));
		for (unsigned int i = 0; i < ARRAY_SIZE(part_fields); i++) {
			const struct state_field *f = &part_fields[i];

			if (!memcmp((char *)&a + f->offset, (const char *)&sample + f->offset,
				    (size_t)f->width * f->count))
				continue;
			changed++;
			hits[i]++;
		}
		assert_int_equal(changed, 1);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(hits); i++)
		assert_in_range(hits[i], 1000, 20000);
}

static void an_empty_table_has_nothing_to_mutate(void **state)
{
	const struct state_table empty = {.name = "empty", .version = 1};
	uint8_t s = 7;
	struct saved f = save(&empty, &s);

	(void)state;
	state_mutate(&empty, &s, 1);
	assert_int_equal(s, 7);
	assert_null(state_compare(&empty, &s, &s));
	assert_int_equal(state_load(&empty, &s, f.buf, f.len, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_table_that_tiles_is_good),
		cmocka_unit_test(a_table_that_does_not_tile_is_not),
		cmocka_unit_test(a_name_has_at_most_255_bytes),
		cmocka_unit_test(the_saved_form_is_what_the_source_says),
		cmocka_unit_test(no_room_writes_nothing),
		cmocka_unit_test(what_is_saved_loads),
		cmocka_unit_test(what_is_cut_short_or_too_long_does_not),
		cmocka_unit_test(what_is_of_another_table_does_not),
		cmocka_unit_test(the_order_of_fields_does_not_matter),
		cmocka_unit_test(older_versions_load),
		cmocka_unit_test(damage_is_harmless),
		cmocka_unit_test(fields_need_no_alignment),
		cmocka_unit_test(a_line_for_each_field),
		cmocka_unit_test(the_first_difference),
		cmocka_unit_test(a_mutation_changes_one_field_by_the_seed),
		cmocka_unit_test(an_empty_table_has_nothing_to_mutate),
	};

	return cmocka_run_group_tests_name("state", tests, NULL, NULL);
}
