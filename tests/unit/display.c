/* SPDX-License-Identifier: BSD-2-Clause */
/* The text screen on a terminal, and the terminal's keys in the keyboard: a VGA and an 8042 on the
 * rig, and a pseudo-terminal for standard input and output. */
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "../../src/io/painter.h"
#include "skep/bits.h"
#include "skep/chan.h"
#include "skep/clock.h"
#include "skep/log.h"
#include "skep/screen.h"
#include "skep/worker_sim.h"
#include "support/cm.h"
#include "support/rig.h"

#define PATIENCE 4000 /* turns of at least a millisecond */

struct bench {
	struct rig rig;
	struct log log;
	struct device *kbd, *screen;
	int master, slave, saved[2];
	uint64_t now; /* of the worker */
	struct termios before;
	uint16_t *text;
	char out[512 * 1024]; /* what the terminal got */
	size_t out_len;
	char codes[4096]; /* of the keyboard, in hexadecimal */
};

static void exchange_stdio(struct bench *b, int in, int out)
{
	const int fds[2] = {in, out};

	fflush(stdout);
	for (int i = 0; i < 2; i++) {
		b->saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
		assert_true(b->saved[i] >= 0);
		assert_int_equal(dup2(fds[i], i), i);
	}
}

static void give_stdio_back(struct bench *b)
{
	for (int i = 0; i < 2; i++) {
		dup2(b->saved[i], i);
		close(b->saved[i]);
	}
}

static void resize(struct bench *b, unsigned short cols, unsigned short rows)
{
	const struct winsize size = {.ws_col = cols, .ws_row = rows};

	assert_int_equal(ioctl(b->master, TIOCSWINSZ, &size), 0);
}

static struct bench *bench_new(void)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	assert_int_equal(openpty(&b->master, &b->slave, NULL, NULL, NULL), 0);
	assert_int_equal(fcntl(b->master, F_SETFL, O_NONBLOCK), 0);
	resize(b, 80, 25);
	assert_int_equal(tcgetattr(b->slave, &b->before), 0);
	rig_init(&b->rig, 0);
	log_init(&b->log, b->slave, LOG_INFO);
	b->rig.machine.log = &b->log;
	return b;
}

static void open_screen(struct bench *b)
{
	exchange_stdio(b, b->slave, b->slave);
	b->screen = rig_device(&b->rig, "screen", "vga_text", "display=text");
	if (!b->screen) {
		give_stdio_back(b);
		fail_msg("%s", b->rig.err.text);
	}
	b->text = gmem_hva(b->rig.machine.mem, 0xb8000, KIB(32));
}

static void read_terminal(struct bench *b)
{
	ssize_t n;

	while ((n = read(b->master, b->out + b->out_len, sizeof(b->out) - 1 - b->out_len)) > 0)
		b->out_len += (size_t)n;
	b->out[b->out_len] = '\0';
	assert_true(b->out_len < sizeof(b->out) - 1);
}

static void close_screen(struct bench *b)
{
	device_destroy(b->screen);
	b->screen = NULL;
	give_stdio_back(b);
	/* The line discipline hands it on a moment later. */
	for (unsigned int i = 0; i < 20; i++) {
		poll(NULL, 0, 1);
		read_terminal(b);
	}
}

static void bench_free(struct bench *b)
{
	if (b->screen)
		close_screen(b);
	device_destroy(b->kbd);
	rig_fini(&b->rig);
	close(b->master);
	close(b->slave);
	free(b);
}

static int set_up(void **state)
{
	struct bench *b = bench_new();

	b->kbd = rig_device(&b->rig, "kbd", "i8042", "");
	assert_non_null(b->kbd);
	open_screen(b);
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	bench_free(*state);
	return 0;
}

/* The worker's time goes with the host's, and the guest's too. */
static void turn_unread(struct bench *b)
{
	uint64_t now;

	poll(NULL, 0, 1);
	now = clock_now();
	worker_sim_advance(b->rig.machine.control, now - b->now);
	b->now = now;
	vtime_advance(b->rig.machine.time, 10 * NS_PER_MS);
	worker_sim_run(b->rig.machine.control, 1000);
}

static void turn(struct bench *b)
{
	turn_unread(b);
	read_terminal(b);
}

/* Until the terminal has got @text, and then forgets what it had down to there. */
static void await(struct bench *b, const char *text)
{
	char *at;

	for (unsigned int i = 0; !(at = strstr(b->out, text)); i++) {
		if (i == PATIENCE)
			fail_msg("the terminal did not get %s, but %s", text, b->out);
		turn(b);
	}
	at += strlen(text);
	b->out_len -= (size_t)(at - b->out);
	memmove(b->out, at, b->out_len + 1);
}

/* Until the keyboard has said @codes. */
static void await_codes(struct bench *b, const char *codes)
{
	size_t n = 0;

	b->codes[0] = '\0';
	for (unsigned int i = 0; strcmp(b->codes, codes) != 0; i++) {
		if (i == PATIENCE)
			fail_msg("the keyboard said %s, not %s", b->codes, codes);
		turn(b);
		while (rig_in8(&b->rig, 0x64) & 1)
			n += (size_t)snprintf(b->codes + n, sizeof(b->codes) - n, "%s%02x",
					      n ? " " : "", rig_in8(&b->rig, 0x60));
	}
}

static void type(struct bench *b, const char *bytes)
{
	assert_int_equal(write(b->master, bytes, strlen(bytes)), (ssize_t)strlen(bytes));
}

static void draw(struct bench *b, unsigned int row, const char *text)
{
	for (unsigned int col = 0; text[col]; col++)
		b->text[row * 80 + col] = (uint16_t)(0x0700 | (uint8_t)text[col]);
}

static bool as_before(struct bench *b)
{
	struct termios now;

	assert_int_equal(tcgetattr(b->slave, &now), 0);
	return now.c_iflag == b->before.c_iflag && now.c_oflag == b->before.c_oflag &&
	       now.c_lflag == b->before.c_lflag;
}

static void the_screen_is_drawn(void **state)
{
	struct bench *b = *state;

	assert_false(as_before(b)); /* raw */
	await(b, PAINTER_ENTER);
	await(b, "\033[?25h");
	draw(b, 0, "hello");
	await(b, "\033[0;37;40mhello");
	rig_out8(&b->rig, 0x3d4, 0x0a);
	rig_out8(&b->rig, 0x3d5, 0x20);
	await(b, "\033[?25l");
	close_screen(b);
	assert_non_null(strstr(b->out, PAINTER_LEAVE));
	assert_true(as_before(b));
}

/* A machine that never came to run leaves no trace. */
static void nothing_is_drawn_before_it_runs(void **state)
{
	struct bench *b = *state;

	close_screen(b);
	assert_string_equal(b->out, "");
	assert_true(as_before(b));
}

static void keys_reach_the_keyboard(void **state)
{
	struct bench *b = *state;

	type(b, "a\033[A");
	await_codes(b, "1e 9e e0 48 e0 c8");
	type(b, "\033");
	await_codes(b, "01 81");
	type(b, "\033x\001\001");
	await_codes(b, "38 2d ad b8 1d 1e 9e 9d"); /* Ctrl-a twice is one */
	type(b, "\033O");
	turn(b);
	type(b, "P");
	for (unsigned int i = 0; i < 100 && !(rig_in8(&b->rig, 0x64) & 1); i++)
		turn(b);
	assert_true(rig_in8(&b->rig, 0x64) & 1);
	assert_false(b->rig.ended);
	type(b, "\001x");
	for (unsigned int i = 0; i < PATIENCE && !b->rig.ended; i++)
		turn(b);
	assert_int_equal(b->rig.ending.kind, END_USER);
}

/* More than keyboard and display hold. */
static void much_is_typed_ahead(void **state)
{
	struct bench *b = *state;
	char want[600 * 6 + 1] = "";
	size_t n = 0;

	for (unsigned int i = 0; i < 300; i++) {
		type(b, i % 2 ? "b" : "a");
		n += (size_t)snprintf(want + n, sizeof(want) - n, "%s%s", i ? " " : "",
				      i % 2 ? "30 b0" : "1e 9e");
		turn(b);
	}
	await_codes(b, want);
}

static void keys_without_a_keyboard_vanish(void **state)
{
	struct bench *b = *state;

	device_destroy(b->kbd);
	b->kbd = NULL;
	for (unsigned int i = 0; i < 100; i++) {
		type(b, "\033[Akey");
		turn(b);
	}
	draw(b, 3, "still here");
	await(b, "still here");
}

/* Frames are left out; nothing is lost, and nobody waits. */
static void a_terminal_that_is_not_read(void **state)
{
	struct bench *b = *state;
	char line[40];

	await(b, "\033[?25h");
	for (unsigned int i = 0; i < 300; i++) {
		for (unsigned int row = 0; row < 25; row++) {
			snprintf(line, sizeof(line), "frame %u of many, row %u", i, row);
			draw(b, row, line);
			b->text[row * 80 + i % 80 + 1] = (uint16_t)(0x0741 + (i << 8));
		}
		turn_unread(b);
	}
	for (unsigned int i = 0; i < 25 * 80; i++)
		b->text[i] = SCREEN_BLANK;
	draw(b, 24, "the end");
	await(b, "the end");
	close_screen(b);
	assert_null(strstr(b->out, "lost"));
	assert_null(strstr(b->out, "dropped"));
	assert_non_null(strstr(b->out, PAINTER_LEAVE));
}

static void it_follows_the_terminals_size(void **state)
{
	struct bench *b = *state;

	draw(b, 0, "first");
	draw(b, 24, "last");
	await(b, "last");
	rig_out8(&b->rig, 0x3d4, 0x0e);
	rig_out8(&b->rig, 0x3d5, (24 * 80) >> 8);
	rig_out8(&b->rig, 0x3d4, 0x0f);
	rig_out8(&b->rig, 0x3d5, (24 * 80) & 0xff);
	await(b, "\033[25;1H");
	resize(b, 40, 10);
	chan_window_changed(&b->rig.machine);
	await(b, "\033[10;1H\033[0;37;40mlast");
	resize(b, 100, 40);
	chan_window_changed(&b->rig.machine);
	await(b, "\033[25;1Hlast");
}

static void log_lines_are_notes(void **state)
{
	struct bench *b = *state;

	resize(b, 80, 30);
	await(b, "\033[?25h");
	log_warn(&b->log, "one\ntwo");
	log_warn(&b->log, "a warning");
	await(b, "\033[26;1H\033[0;7mskep: warning: a warning");
	type(b, "\001h");
	await(b, "Ctrl-a x ends the machine");
	close_screen(b);
	/* Behind the screen they are all there, and the log is where it was. */
	assert_int_equal(b->log.fd, b->slave);
	assert_false(b->log.raw);
	assert_non_null(strstr(strstr(b->out, PAINTER_LEAVE), "skep: warning: a warning\r\n"));
	assert_non_null(strstr(strstr(b->out, PAINTER_LEAVE), "Ctrl-a h shows this\r\n"));
}

static void graphics_are_told(void **state)
{
	struct bench *b = *state;

	draw(b, 0, "text");
	await(b, "text");
	rig_out8(&b->rig, 0x3ce, 0x06);
	rig_out8(&b->rig, 0x3cf, 0x05);
	await(b, "graphics mode");
	rig_out8(&b->rig, 0x3cf, 0x0e);
	await(b, "text");
}

static void without_colours(void **state)
{
	struct bench *b = bench_new();

	(void)state;
	setenv("NO_COLOR", "1", 1);
	open_screen(b);
	unsetenv("NO_COLOR");
	b->text[0] = 0x1f41;
	await(b, "\033[1;1H\033[0;1mA");
	bench_free(b);
}

static void only_on_a_terminal(void **state)
{
	struct bench *b = bench_new();
	struct device *dev;
	int pipe_fds[2];

	(void)state;
	assert_int_equal(pipe(pipe_fds), 0);
	exchange_stdio(b, b->slave, pipe_fds[1]);
	dev = rig_device(&b->rig, "screen", "vga_text", "display=text");
	give_stdio_back(b);
	assert_null(dev);
	assert_non_null(strstr(b->rig.err.text, "--display dump"));
	assert_null(b->rig.machine.screen);
	assert_true(as_before(b));
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	bench_free(b);
}

static void there_is_one_terminal(void **state)
{
	struct bench *b = bench_new();
	struct device *first, *second;

	(void)state;
	exchange_stdio(b, b->slave, b->slave);
	first = rig_device(&b->rig, "com1", "uart8250", "line=com1 backend=stdio");
	second = rig_device(&b->rig, "screen", "vga_text", "display=text");
	device_destroy(first);
	give_stdio_back(b);
	assert_non_null(first);
	assert_null(second);
	assert_non_null(strstr(b->rig.err.text, "another console's"));
	assert_int_equal(b->log.fd, b->slave);
	bench_free(b);
}

static void a_crash_puts_the_terminal_back(void **state)
{
	struct bench *b = bench_new();
	int status;
	pid_t pid;

	(void)state;
	fflush(stdout);
	pid = fork();
	if (!pid) {
		/* Guest memory is not inherited: it takes a machine of its own. */
		rig_init(&b->rig, 0);
		b->rig.machine.log = &b->log;
		dup2(b->slave, 2);
		open_screen(b);
		chan_install_crash_restore();
		for (unsigned int i = 0; i < 50; i++)
			turn_unread(b);
		signal(SIGABRT, SIG_DFL);
		chan_install_crash_restore();
		abort();
	}
	for (unsigned int i = 0; i < PATIENCE && !waitpid(pid, &status, WNOHANG); i++) {
		poll(NULL, 0, 5);
		read_terminal(b);
	}
	read_terminal(b);
	assert_non_null(strstr(b->out, PAINTER_ENTER));
	assert_non_null(strstr(b->out, PAINTER_LEAVE));
	assert_true(as_before(b));
	bench_free(b);
}

#define with_bench(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_bench(the_screen_is_drawn),
		with_bench(nothing_is_drawn_before_it_runs),
		with_bench(keys_reach_the_keyboard),
		with_bench(much_is_typed_ahead),
		with_bench(keys_without_a_keyboard_vanish),
		with_bench(a_terminal_that_is_not_read),
		with_bench(it_follows_the_terminals_size),
		with_bench(log_lines_are_notes),
		with_bench(graphics_are_told),
		cmocka_unit_test(without_colours),
		cmocka_unit_test(only_on_a_terminal),
		cmocka_unit_test(there_is_one_terminal),
		cmocka_unit_test(a_crash_puts_the_terminal_back),
	};

	return cmocka_run_group_tests_name("display", tests, NULL, NULL);
}
