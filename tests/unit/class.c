/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device table, and what every model in it must keep to: these tests walk the table, so a new
 * model is checked without a line here.
 */
#include "support/cm.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/class.h"
#include "skep/config.h"
#include "skep/device.h"
#include "skep/err.h"

struct model {
	struct device dev;
	struct model_options {
		uint64_t port;
	} options;
	struct model_state {
		uint32_t a;
		uint16_t b[2];
	} state;
};

static const struct option model_options[] = {
	{.name = "port",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct model_options, port),
	 .fallback = "0x80",
	 .help = "where it is"},
	OPTION_END,
};

static const struct state_field model_fields[] = {
	STATE_FIELD(struct model_state, a),
	STATE_ARRAY(struct model_state, b),
};

static const struct state_table model_table =
	STATE_TABLE("zz-model", 1, struct model_state, model_fields);

static int create(struct device *dev, struct err *err)
{
	(void)dev;
	(void)err;
	return 0;
}

DEVICE_CLASS(zz_model) = {
	.name = "zz-model",
	.summary = "a model of this test",
	.size = sizeof(struct model),
	.options = model_options,
	.options_offset = offsetof(struct model, options),
	.state = &model_table,
	.state_offset = offsetof(struct model, state),
	.create = create,
};

DEVICE_CLASS(aa_model) = {
	.name = "0-model",
	.summary = "another model of this test",
	.size = sizeof(struct device),
	.create = create,
};

static void the_table_is_sorted_and_without_doubles(void **state)
{
	const struct device_class *table[CLASS_MAX];
	size_t n = class_table(table, CLASS_MAX);

	(void)state;
	assert_in_range(n, 2, CLASS_MAX);
	assert_ptr_equal(table[0], &aa_model);
	for (size_t i = 1; i < n; i++)
		assert_true(strcmp(table[i - 1]->name, table[i]->name) < 0);
}

static void room_for_fewer_gets_the_first(void **state)
{
	const struct device_class *all[CLASS_MAX], *some[CLASS_MAX];
	size_t n = class_table(all, CLASS_MAX);

	(void)state;
	assert_int_equal(class_table(NULL, 0), n);
	for (size_t room = 0; room <= n; room++) {
		memset(some, 0, sizeof(some));
		assert_int_equal(class_table(some, room), n);
		for (size_t i = 0; i < room; i++)
			assert_ptr_equal(some[i], all[i]);
		assert_null(some[room]);
	}
}

static void models_are_found_by_name(void **state)
{
	const struct device_class *table[CLASS_MAX];
	size_t n = class_table(table, CLASS_MAX);
	struct err err;

	(void)state;
	for (size_t i = 0; i < n; i++)
		assert_ptr_equal(class_find(table[i]->name, &err), table[i]);
	assert_ptr_equal(class_find("zz-model", NULL), &zz_model);
}

static void the_nearest_model_is_named(void **state)
{
	struct err err;
	char huge[2048];

	(void)state;
	assert_null(class_find("zz-modle", &err));
	assert_string_equal(err.text,
			    "there is no device model 'zz-modle'; did you mean 'zz-model'?");
	assert_null(class_find("nothing-like-it", &err));
	assert_string_equal(err.text, "there is no device model 'nothing-like-it'; "
				      "`skep devices` lists them");
	assert_null(class_find("", &err));
	assert_null(class_find("", NULL));
	memset(huge, 'x', sizeof(huge));
	huge[sizeof(huge) - 1] = '\0';
	assert_null(class_find(huge, &err));
	assert_non_null(strstr(err.text, "; `skep devices` lists them"));
}

static bool is_word(const char *s)
{
	return *s && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_-") == strlen(s);
}

/* Fails with the model's name in front. */
#define need(class, what)                                         \
	do {                                                      \
		if (!(what))                                      \
			fail_msg("%s: %s", (class)->name, #what); \
	} while (0)

static void every_record_is_complete(void **state)
{
	const struct device_class *table[CLASS_MAX];
	size_t n = class_table(table, CLASS_MAX);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		const struct device_class *c = table[i];

		need(c, is_word(c->name) && strlen(c->name) < 32);
		need(c, c->summary && *c->summary && strlen(c->summary) <= 80);
		need(c, !strchr(c->summary, '\n') && c->summary[strlen(c->summary) - 1] != '.');
		need(c, c->size >= sizeof(struct device));
		need(c, c->create);
		need(c, !c->lock_rank || c->lock_rank == LOCK_DEVICE || c->lock_rank == LOCK_CHIP ||
				c->lock_rank == LOCK_BRIDGE);
		need(c, !c->options || c->options_offset >= sizeof(struct device));
		need(c, !c->state || c->state_offset >= sizeof(struct device));
		need(c, !c->state || range_fits(c->state_offset, c->state->size, c->size));
		/* What is loaded is validated: anything may stand in a saved form. */
		need(c, !c->state || c == &zz_model || c->loaded);
	}
}

static size_t option_size(const struct option *o)
{
	switch (o->type) {
	case OPTION_BOOL:
		return sizeof(bool);
	case OPTION_UINT:
	case OPTION_SIZE:
		return sizeof(uint64_t);
	case OPTION_STRING:
		return sizeof(const char *);
	case OPTION_CHOICE:
		return sizeof(unsigned int);
	}
	return 0;
}

static void check_options(const struct device_class *c, const struct option *table, size_t offset,
			  const struct config *empty, void *instance)
{
	struct err err;

	for (const struct option *o = table; o && o->name; o++) {
		size_t at = offset + o->offset, size = option_size(o);

		need(c, is_word(o->name));
		need(c, o->help && *o->help);
		need(c, size && range_fits(at, size, c->size) && at % size == 0);
		need(c, (o->type == OPTION_CHOICE) == (o->choices != NULL));
		/* No word has two meanings: not in this table, not in the other. */
		for (const struct option *other = c->options; other && other->name; other++)
			need(c, other == o || strcmp(other->name, o->name));
		for (const struct option *other = table; other < o; other++)
			need(c,
			     !ranges_overlap(o->offset, size, other->offset, option_size(other)));
	}
	if (table && config_read(empty, "device.x", table, (char *)instance + offset, &err))
		fail_msg("%s: %s", c->name, err.text);
}

static void every_option_has_a_place_and_a_default_that_fits(void **state)
{
	const struct device_class *table[CLASS_MAX];
	size_t n = class_table(table, CLASS_MAX);
	struct config *empty = config_new();

	(void)state;
	assert_non_null(empty);
	for (size_t i = 0; i < n; i++) {
		const struct device_class *c = table[i];
		void *instance = calloc(1, c->size);

		assert_non_null(instance);
		check_options(c, c->options, c->options_offset, empty, instance);
		if (c->family)
			check_options(c, c->family->options,
				      c->family_offset + c->family->options_offset, empty,
				      instance);
		free(instance);
	}
	config_free(empty);
}

static void every_state_table_tiles_its_struct(void **state)
{
	const struct device_class *table[CLASS_MAX];
	size_t n = class_table(table, CLASS_MAX);
	struct err err;

	(void)state;
	for (size_t i = 0; i < n; i++) {
		const struct device_family *family = table[i]->family;

		if (table[i]->state && state_check_table(table[i]->state, &err))
			fail_msg("%s: %s", table[i]->name, err.text);
		for (const struct state_part *part = family ? family->states : NULL;
		     part && part->table; part++)
			if (state_check_table(part->table, &err))
				fail_msg("%s: %s: %s", table[i]->name, family->name, err.text);
	}
}

static void every_state_is_saved_and_loaded_whole(void **state)
{
	const struct device_class *table[CLASS_MAX];
	size_t n = class_table(table, CLASS_MAX);
	struct err err;

	(void)state;
	for (size_t i = 0; i < n; i++) {
		const struct state_table *t = table[i]->state;
		size_t room = t ? state_saved_size(t) : 0;
		void *a, *b, *buf;

		if (!t)
			continue;
		a = calloc(1, t->size);
		b = calloc(1, t->size);
		buf = malloc(room);
		assert_true(a && b && buf);
		for (uint64_t seed = 0; seed < 200; seed++) {
			state_mutate(t, a, seed);
			need(table[i], state_compare(t, a, b));
			need(table[i], state_save(t, a, buf, room) == (long)room);
			need(table[i], !state_load(t, b, buf, room, &err));
			assert_memory_equal(a, b, t->size);
		}
		free(a);
		free(b);
		free(buf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_is_sorted_and_without_doubles),
		cmocka_unit_test(room_for_fewer_gets_the_first),
		cmocka_unit_test(models_are_found_by_name),
		cmocka_unit_test(the_nearest_model_is_named),
		cmocka_unit_test(every_record_is_complete),
		cmocka_unit_test(every_option_has_a_place_and_a_default_that_fits),
		cmocka_unit_test(every_state_table_tiles_its_struct),
		cmocka_unit_test(every_state_is_saved_and_loaded_whole),
	};

	return cmocka_run_group_tests_name("class", tests, NULL, NULL);
}
