/* SPDX-License-Identifier: BSD-2-Clause */
/* What is heard of a console by a tap, and what is typed into one. */
#include "chan_fixture.h"

struct heard {
	struct chan_tap tap;
	char text[1 << 20];
	size_t len;
	const struct device *dev;
};

static void hear(struct chan_tap *tap, const struct device *dev, const uint8_t *data, size_t len)
{
	struct heard *h = container_of(tap, struct heard, tap);

	assert_true(h->len + len < sizeof(h->text));
	memcpy(h->text + h->len, data, len);
	h->len += len;
	h->dev = dev;
}

static struct heard first, second;

static struct fixture *tapped(const char *spec)
{
	struct fixture *f = fixture_new(false, 0);

	memset(&first, 0, sizeof(first));
	memset(&second, 0, sizeof(second));
	first.tap.bytes = second.tap.bytes = hear;
	chan_add_tap(&f->machine, &first.tap);
	chan_add_tap(&f->machine, &second.tap);
	fixture_open(f, spec);
	return f;
}

static void a_tap_hears_what_goes_nowhere(void **state)
{
	struct fixture *f = tapped("none");

	(void)state;
	put_text(f, "one ");
	put_text(f, "two\n");
	assert_string_equal(first.text, "one two\n");
	assert_string_equal(second.text, "one two\n");
	assert_ptr_equal(first.dev, &f->dev);
	fixture_close(f);
	fixture_free(f);
}

/* In a second life. */
static void a_silent_machine_says_nothing(void **state)
{
	struct fixture *f = tapped("none");

	(void)state;
	put_text(f, "one\n");
	f->machine.silent = true;
	put_text(f, "two\n");
	f->machine.silent = false;
	put_text(f, "three\n");
	assert_string_equal(first.text, "one\nthree\n");
	assert_int_equal(totals(f).out_bytes, strlen("one\nthree\n"));
	fixture_close(f);
	fixture_free(f);
}

/* A queue that nobody empties drops what does not fit: the tap has heard it. */
static void a_tap_hears_what_is_dropped(void **state)
{
	struct fixture *f = tapped("none");
	char path[] = "/tmp/skep-tap-XXXXXX";
	char spec[64], line[1024];

	fixture_close(f);
	close(mkstemp(path));
	snprintf(spec, sizeof(spec), "file:%s", path);
	fixture_open(f, spec);

	(void)state;
	memset(line, 'x', sizeof(line));
	for (unsigned int i = 0; i < 600; i++) {
		device_lock(&f->dev);
		chan_put(f->chan, (uint8_t *)line, sizeof(line));
		device_unlock(&f->dev);
	}
	assert_int_equal(first.len, 600 * sizeof(line));
	assert_true(totals(f).out_dropped > 0);
	fixture_close(f);
	unlink(path);
	fixture_free(f);
}

static size_t port_input(void *port, const uint8_t *data, size_t len)
{
	(void)port;
	(void)data;
	return len;
}

static void port_room(void *port)
{
	(void)port;
}

static void ports_say_whether_they_are_heard(void **state)
{
	static const struct chan_port_ops ops[2] = {
		{.input = port_input, .room = port_room},
		{.input = port_input, .room = port_room, .untapped = true},
	};
	struct fixture *f = tapped("none");
	struct chan *port[2];

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(chan_open_port(&port[i], &f->dev, f->machine.control, "none",
						&ops[i], NULL, &f->err),
				 0);
		assert_int_equal(chan_offer(port[i], (const uint8_t *)"port\n", 5), 5);
	}
	assert_string_equal(first.text, "port\n");
	chan_close(port[0]);
	chan_close(port[1]);
	fixture_close(f);
	fixture_free(f);
}

static void what_is_typed_waits_for_room(void **state)
{
	struct fixture *f = tapped("none");
	struct device other = {.machine = &f->machine};

	(void)state;
	f->room = 3;
	assert_int_equal(chan_type(&f->machine, &f->dev, "", 0), 0);
	assert_int_equal(chan_type(&f->machine, &f->dev, "", 0), 0);
	assert_int_equal(chan_type(&f->machine, &f->dev, "hello", 5), 0);
	assert_int_equal(chan_type(&f->machine, &f->dev, ", world\n", 8), 0);
	run(f);
	assert_got(f, "hel");
	give_room(f, 4);
	run(f);
	assert_got(f, "hello, ");
	give_room(f, SIZE_MAX);
	run(f);
	assert_got(f, "hello, world\n");
	assert_int_equal(totals(f).in_bytes, 13);
	assert_int_equal(chan_type(&f->machine, &other, "x", 1), -ENODEV);
	fixture_close(f);
	fixture_free(f);
}

/* More than one piece; behind it comes what the host's end has, and nothing is mixed. */
static void what_is_typed_goes_first(void **state)
{
	struct fixture *f = fixture_new(false, 0);
	char text[1000];
	int in[2], null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	(void)state;
	memset(text, 't', sizeof(text));
	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	fixture_stdio(f, in[0], null);
	f->room = 0;
	fixture_open(f, "stdio");
	assert_int_equal(write(in[1], "piped", 5), 5);
	run(f);
	assert_int_equal(chan_type(&f->machine, &f->dev, text, sizeof(text)), 0);
	run(f);
	give_room(f, 600);
	run(f);
	give_room(f, SIZE_MAX);
	run(f);
	assert_int_equal(f->got_len, sizeof(text) + 5);
	assert_memory_equal(f->got, text, sizeof(text));
	assert_memory_equal(f->got + sizeof(text), "piped", 5);
	fixture_close(f);
	close(in[0]);
	close(in[1]);
	close(null);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tap_hears_what_goes_nowhere),
		cmocka_unit_test(a_silent_machine_says_nothing),
		cmocka_unit_test(a_tap_hears_what_is_dropped),
		cmocka_unit_test(ports_say_whether_they_are_heard),
		cmocka_unit_test(what_is_typed_waits_for_room),
		cmocka_unit_test(what_is_typed_goes_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
