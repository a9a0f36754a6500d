/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/cm.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/config.h"
#include "skep/device.h"
#include "skep/err.h"

/* What the models below report to: the machine that they sit in. */
struct bench {
	struct machine machine;
	struct config *config;
	struct err err;
	char trace[256];
	bool wrong;
	struct ending ending;
	unsigned int ends;
};

static struct bench *bench_of(const struct device *dev)
{
	return container_of(dev->machine, struct bench, machine);
}

static void note(const struct device *dev, const char *what)
{
	struct bench *b = bench_of(dev);

	snprintf(b->trace + strlen(b->trace), sizeof(b->trace) - strlen(b->trace), "%s:%s ",
		 dev->id, what);
}

static bool locked(struct device *dev)
{
	int ret = pthread_mutex_trylock(&dev->lock.mutex);

	if (!ret)
		pthread_mutex_unlock(&dev->lock.mutex);
	return ret == EBUSY;
}

struct full {
	struct device dev;
	struct full_options {
		uint64_t port;
		bool fail;
	} options;
	uint32_t scratch;
	struct full_state {
		uint32_t reg;
	} state;
};

static const struct option full_options[] = {
	{.name = "port",
	 .type = OPTION_UINT,
	 .offset = offsetof(struct full_options, port),
	 .fallback = "0x80",
	 .max = 65535,
	 .help = "where it is"},
	{.name = "fail",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct full_options, fail),
	 .help = "whether creating it fails"},
	OPTION_END,
};

static const struct state_field full_fields[] = {
	STATE_FIELD(struct full_state, reg),
};

static const struct state_table full_state =
	STATE_TABLE("zz-full", 1, struct full_state, full_fields);

static int full_create(struct device *dev, struct err *err)
{
	struct full *f = container_of(dev, struct full, dev);

	note(dev, "create");
	if (f->scratch || f->state.reg || locked(dev))
		bench_of(dev)->wrong = true;
	f->scratch = 7;
	if (f->options.fail)
		return err_set(err, EBUSY, "port %llx is taken",
			       (unsigned long long)f->options.port);
	return 0;
}

static void full_reset(struct device *dev)
{
	struct full *f = container_of(dev, struct full, dev);

	note(dev, "reset");
	if (f->scratch != 7 || !locked(dev))
		bench_of(dev)->wrong = true;
	f->state.reg = 0x55;
}

static int full_loaded(struct device *dev, struct err *err)
{
	(void)dev;
	(void)err;
	return 0;
}

static void full_destroy(struct device *dev)
{
	note(dev, "destroy");
}

DEVICE_CLASS(zz_full) = {
	.name = "zz-full",
	.summary = "a model with everything",
	.size = sizeof(struct full),
	.options = full_options,
	.options_offset = offsetof(struct full, options),
	.lock_rank = LOCK_CHIP,
	.state = &full_state,
	.state_offset = offsetof(struct full, state),
	.create = full_create,
	.reset = full_reset,
	.loaded = full_loaded,
	.destroy = full_destroy,
};

static int bare_create(struct device *dev, struct err *err)
{
	(void)err;
	note(dev, "create");
	return 0;
}

DEVICE_CLASS(zz_bare) = {
	.name = "zz-bare",
	.summary = "a model with nothing",
	.size = sizeof(struct device),
	.create = bare_create,
};

static void end(struct machine *m, const struct ending *ending)
{
	struct bench *b = container_of(m, struct bench, machine);

	b->ends++;
	b->ending = *ending;
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	b->config = config_new();
	assert_non_null(b->config);
	b->machine.end = end;
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;

	assert_false(b->wrong);
	config_free(b->config);
	free(b);
	return 0;
}

static void set(struct bench *b, const char *key, const char *value)
{
	if (config_set(b->config, key, value, &b->err))
		fail_msg("%s", b->err.text);
}

static int create(struct bench *b, struct device **dev, const char *id)
{
	*dev = (struct device *)b; /* not NULL */
	return device_create(dev, id, b->config, &b->machine, &b->err);
}

static void assert_trace(struct bench *b, const char *want)
{
	assert_string_equal(b->trace, want);
	b->trace[0] = '\0';
}

static void a_device_is_what_the_tree_says(void **state)
{
	struct bench *b = *state;
	struct device *dev, *other;
	struct full *f;

	set(b, "device.one", "zz-full");
	set(b, "device.one.port", "0x3f8");
	set(b, "device.one.deeper.key", "is not the table's");
	set(b, "device.two", "zz-full");
	assert_int_equal(create(b, &dev, "one"), 0);
	assert_trace(b, "one:create one:reset ");
	assert_ptr_equal(dev->class, &zz_full);
	assert_ptr_equal(dev->machine, &b->machine);
	assert_string_equal(dev->id, "one");
	assert_int_equal(dev->lock.rank, LOCK_CHIP);
	f = container_of(dev, struct full, dev);
	assert_true(f->options.port == 0x3f8);
	assert_false(f->options.fail);
	assert_ptr_equal(device_state(dev), &f->state);
	assert_int_equal(f->state.reg, 0x55);

	assert_int_equal(create(b, &other, "two"), 0);
	assert_true(container_of(other, struct full, dev)->options.port == 0x80);
	b->trace[0] = '\0';
	device_destroy(other);
	device_destroy(dev);
	assert_trace(b, "two:destroy one:destroy ");
	device_destroy(NULL);
}

static void most_of_a_class_may_be_left_out(void **state)
{
	struct bench *b = *state;
	struct device *dev;

	set(b, "device.x", "zz-bare");
	assert_int_equal(create(b, &dev, "x"), 0);
	assert_trace(b, "x:create ");
	assert_int_equal(dev->lock.rank, LOCK_DEVICE);
	assert_null(device_state(dev));
	device_lock(dev);
	assert_true(locked(dev));
	device_unlock(dev);
	assert_false(locked(dev));
	device_destroy(dev);
	set(b, "device.x.port", "1");
	assert_int_equal(create(b, &dev, "x"), -EINVAL);
	assert_string_equal(b->err.text, "unknown option 'device.x.port'; there are none");
	assert_null(dev);
}

static void assert_fails(struct bench *b, const char *id, int ret, const char *want)
{
	struct device *dev;

	assert_int_equal(create(b, &dev, id), ret);
	assert_string_equal(b->err.text, want);
	assert_null(dev);
}

static void what_cannot_be_made_says_why(void **state)
{
	struct bench *b = *state;

	assert_fails(b, "com1", -EINVAL, "device 'com1' has no model; say device.com1=MODEL");
	set(b, "device.com1", "zz-fulll");
	assert_fails(b, "com1", -ENOENT,
		     "device.com1: there is no device model 'zz-fulll'; did you mean 'zz-full'?");
	set(b, "device.com1", "zz-full");
	set(b, "device.com1.prot", "1");
	assert_fails(b, "com1", -EINVAL,
		     "unknown option 'device.com1.prot'; did you mean 'device.com1.port'?");
	set(b, "device.com2", "zz-full");
	set(b, "device.com2.port", "65536");
	assert_fails(b, "com2", -EINVAL, "device.com2.port: 65536 is too large, the most is 65535");
	/* The bad options are found before anything is taken: only destroy has run. */
	assert_trace(b, "com1:destroy com2:destroy ");
}

static void what_is_made_by_half_is_destroyed(void **state)
{
	struct bench *b = *state;

	set(b, "device.com1", "zz-full");
	set(b, "device.com1.fail", "on");
	assert_fails(b, "com1", -EBUSY, "com1: port 80 is taken");
	assert_trace(b, "com1:create com1:destroy ");
}

static void an_id_has_at_most_31_bytes(void **state)
{
	struct bench *b = *state;
	char id[101], key[128], want[256];
	struct device *dev;

	memset(id, 'i', sizeof(id));
	for (size_t n = 31; n < sizeof(id); n++) {
		id[n] = '\0';
		snprintf(key, sizeof(key), "device.%s", id);
		set(b, key, "zz-full");
		snprintf(key, sizeof(key), "device.%s.port", id);
		set(b, key, "0x11");
		if (n == 31) {
			assert_int_equal(create(b, &dev, id), 0);
			assert_string_equal(dev->id, id);
			assert_true(container_of(dev, struct full, dev)->options.port == 0x11);
			device_destroy(dev);
		} else {
			snprintf(want, sizeof(want), "the device name '%s' is longer than 31 bytes",
				 id);
			assert_fails(b, id, -EINVAL, want);
		}
		id[n] = 'i';
	}
}

static void a_device_can_end_the_machine(void **state)
{
	struct bench *b = *state;
	char text[512];

	machine_end(&b->machine, END_CODE, 3, "the guest wrote %d to the exit port", 3);
	assert_int_equal(b->ends, 1);
	assert_int_equal(b->ending.kind, END_CODE);
	assert_int_equal(b->ending.code, 3);
	assert_string_equal(b->ending.reason, "the guest wrote 3 to the exit port");
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	machine_end(&b->machine, END_RESET, 0, "%s", text);
	assert_int_equal(strlen(b->ending.reason), sizeof(b->ending.reason) - 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_device_is_what_the_tree_says), TEST(most_of_a_class_may_be_left_out),
		TEST(what_cannot_be_made_says_why),   TEST(what_is_made_by_half_is_destroyed),
		TEST(an_id_has_at_most_31_bytes),     TEST(a_device_can_end_the_machine),
	};

	return cmocka_run_group_tests_name("device", tests, NULL, NULL);
}
