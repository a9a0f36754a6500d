/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/cm.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/log.h"

/* Each write(2) to a packet socket arrives as one packet, so a test sees how lines were written. */
struct ear {
	int in, out;
	struct log log;
};

static void ear_init(struct ear *e, enum log_level level)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	e->in = pair[0];
	e->out = pair[1];
	log_init(&e->log, e->out, level);
}

static void ear_fini(struct ear *e)
{
	close(e->in);
	close(e->out);
}

/* The bytes of the next packet, as a string; -1 when there is none. */
static ssize_t hear(struct ear *e, char *line, size_t room)
{
	ssize_t n = recv(e->in, line, room - 1, MSG_DONTWAIT);

	line[MAX(n, 0)] = '\0';
	return n;
}

static void assert_line(struct ear *e, const char *want)
{
	char line[2048];

	assert_int_equal(hear(e, line, sizeof(line)), strlen(want));
	assert_string_equal(line, want);
}

static void assert_quiet(struct ear *e)
{
	char line[2048];

	assert_int_equal(hear(e, line, sizeof(line)), -1);
}

static void a_line_says_who_and_how_grave(void **state)
{
	struct ear e;

	(void)state;
	ear_init(&e, LOG_DEBUG);
	log_error(&e.log, "the disk %s is gone", "a");
	assert_line(&e, "skep: the disk a is gone\n");
	log_warn(&e.log, "slow");
	assert_line(&e, "skep: warning: slow\n");
	log_info(&e.log, "fine");
	assert_line(&e, "skep: fine\n");
	log_debug(&e.log, "%d", 3);
	assert_line(&e, "skep: debug: 3\n");
	assert_quiet(&e);
	ear_fini(&e);
}

static void the_level_keeps_lesser_lines_out(void **state)
{
	struct ear e;

	(void)state;
	for (enum log_level level = LOG_ERROR; level <= LOG_DEBUG; level++) {
		ear_init(&e, level);
		for (enum log_level l = LOG_ERROR; l <= LOG_DEBUG; l++) {
			char line[64];

			log_line(&e.log, l, "x");
			assert_int_equal(hear(&e, line, sizeof(line)) > 0, l <= level);
			log_guest(&e.log, l, "x");
			assert_int_equal(hear(&e, line, sizeof(line)) > 0, l <= level);
		}
		assert_int_equal(atomic_load(&e.log.guest_dropped), 0);
		ear_fini(&e);
	}
}

static void no_log_drops_the_line(void **state)
{
	(void)state;
	log_line(NULL, LOG_ERROR, "x");
	log_guest(NULL, LOG_ERROR, "x");
}

static void a_raw_terminal_gets_carriage_returns(void **state)
{
	struct ear e;

	(void)state;
	ear_init(&e, LOG_INFO);
	e.log.raw = true;
	log_info(&e.log, "x");
	assert_line(&e, "skep: x\r\n");
	ear_fini(&e);
}

static void a_line_of_any_length_is_one_write(void **state)
{
	char text[3000], line[3000];
	struct ear e;

	(void)state;
	ear_init(&e, LOG_INFO);
	for (unsigned int n = 990; n < 1100; n++) {
		memset(text, 'x', n);
		text[n] = '\0';
		for (unsigned int raw = 0; raw < 2; raw++) {
			ssize_t got;

			e.log.raw = raw;
			log_info(&e.log, "%s", text);
			got = hear(&e, line, sizeof(line));
			assert_in_range(got, 990, 1024);
			assert_int_equal(line[got - 1], '\n');
			assert_int_equal(line[got - 2], raw ? '\r' : 'x');
			assert_quiet(&e);
		}
	}
	ear_fini(&e);
}

/* A kernel's version string, a device's serial number: what comes from outside steers no terminal.
 */
static void control_characters_do_not_reach_the_terminal(void **state)
{
	struct ear e;

	(void)state;
	ear_init(&e, LOG_INFO);
	log_info(&e.log, "%s", "a\nskep: forged\r\x1b[2Jb\x7f\tc");
	assert_line(&e, "skep: a?skep: forged??[2Jb??c\n");
	log_guest(&e.log, LOG_INFO,
		  "Gr\xc3\xbc\xc3\x9f"
		  "e%c",
		  7);
	assert_line(&e, "skep: Gr\xc3\xbc\xc3\x9f"
			"e?\n");
	ear_fini(&e);
}

/* Returns how many lines were written, the notice included, and how many bytes. */
static unsigned int drain(struct ear *e, unsigned int *bytes, unsigned int *notices)
{
	unsigned int lines = 0;
	char line[2048];
	ssize_t n;

	while ((n = hear(e, line, sizeof(line))) > 0) {
		lines++;
		*bytes += (unsigned int)n;
		*notices += strstr(line, "further ones are only counted") != NULL;
	}
	return lines;
}

static void a_guest_spends_from_a_budget(void **state)
{
	unsigned int bytes = 0, notices = 0, lines = 0;
	const unsigned int tries = 10000;
	struct ear e;

	(void)state;
	ear_init(&e, LOG_INFO);
	for (unsigned int i = 0; i < tries; i++) {
		log_guest(&e.log, LOG_INFO, "the guest did something odd at %u", i);
		lines += drain(&e, &bytes, &notices);
	}
	assert_int_equal(notices, 1);
	/* The budget, the rest of the line that used it up, and the notice. */
	assert_in_range(bytes, LOG_GUEST_BUDGET, LOG_GUEST_BUDGET + 256);
	assert_int_equal(lines - 1 + atomic_load(&e.log.guest_dropped), tries);

	/* The person's own messages do not depend on it. */
	log_info(&e.log, "still here");
	assert_line(&e, "skep: still here\n");
	ear_fini(&e);
}

static void the_notice_shows_at_every_level(void **state)
{
	unsigned int bytes = 0, notices = 0;
	struct ear e;

	(void)state;
	ear_init(&e, LOG_ERROR);
	for (unsigned int i = 0; i < 10000; i++) {
		log_guest(&e.log, LOG_ERROR, "the guest did something odd");
		drain(&e, &bytes, &notices);
	}
	assert_int_equal(notices, 1);
	ear_fini(&e);
}

static void a_budget_used_up_to_the_byte_is_used_up(void **state)
{
	unsigned int bytes = 0, notices = 0;
	struct ear e;

	(void)state;
	ear_init(&e, LOG_INFO);
	atomic_store(&e.log.guest_budget, 8);
	log_guest(&e.log, LOG_INFO, "x"); /* "skep: x\n": eight bytes */
	assert_int_equal(drain(&e, &bytes, &notices), 2);
	assert_int_equal(notices, 1);
	log_guest(&e.log, LOG_INFO, "x");
	assert_quiet(&e);
	assert_int_equal(atomic_load(&e.log.guest_dropped), 1);
	ear_fini(&e);
}

#define CHATTERS      4
#define CHATTER_LINES 2000

static void *chatter(void *arg)
{
	struct log *log = arg;

	for (unsigned int i = 0; i < CHATTER_LINES; i++) {
		log_guest(log, LOG_INFO, "a guest's line, a guest's line, a guest's line");
		if (!(i % 100))
			log_info(log, "a person's line");
	}
	return NULL;
}

static void threads_share_a_budget_and_do_not_mix_lines(void **state)
{
	unsigned int guest = 0, person = 0, notices = 0;
	pthread_t threads[CHATTERS];
	FILE *f = tmpfile();
	char line[2048];
	struct log log;

	(void)state;
	assert_non_null(f);
	log_init(&log, fileno(f), LOG_INFO);
	for (unsigned int i = 0; i < CHATTERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, chatter, &log), 0);
	for (unsigned int i = 0; i < CHATTERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	rewind(f);
	while (fgets(line, sizeof(line), f)) {
		if (!strcmp(line, "skep: a guest's line, a guest's line, a guest's line\n"))
			guest++;
		else if (!strcmp(line, "skep: a person's line\n"))
			person++;
		else if (strstr(line, "further ones are only counted"))
			notices++;
		else
			fail_msg("mixed: %s", line);
	}
	assert_int_equal(notices, 1);
	assert_int_equal(person, CHATTERS * CHATTER_LINES / 100);
	assert_int_equal(guest + atomic_load(&log.guest_dropped), CHATTERS * CHATTER_LINES);
	assert_in_range(guest * 53, LOG_GUEST_BUDGET - 53, LOG_GUEST_BUDGET + 53);
	fclose(f);
}

static void nothing_can_be_done_about_a_closed_descriptor(void **state)
{
	struct log log;

	(void)state;
	log_init(&log, -1, LOG_INFO);
	log_info(&log, "x");
	log_guest(&log, LOG_INFO, "x");
	assert_int_equal(atomic_load(&log.guest_dropped), 0);
}

static int drain_fd; /* the one thing that the handler below needs */

static void drain_pipe(int sig)
{
	char buf[4096];

	(void)sig;
	if (read(drain_fd, buf, sizeof(buf)) < 0)
		_exit(1);
}

/* vCPU threads are kicked by signals: a line that waits for its reader survives one. */
static void a_signal_does_not_lose_a_line(void **state)
{
	struct sigaction sa = {.sa_handler = drain_pipe}, old;
	const struct itimerval soon = {.it_value.tv_usec = 10000};
	char buf[4096] = "";
	struct log log;
	int p[2];

	(void)state;
	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	assert_int_equal(fcntl(p[1], F_SETPIPE_SZ, 4096), 4096);
	assert_int_equal(write(p[1], buf, sizeof(buf)), sizeof(buf));
	drain_fd = p[0];
	assert_int_equal(sigaction(SIGALRM, &sa, &old), 0);
	log_init(&log, p[1], LOG_INFO);
	assert_int_equal(setitimer(ITIMER_REAL, &soon, NULL), 0);
	log_info(&log, "x");
	assert_int_equal(fcntl(p[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(read(p[0], buf, sizeof(buf)), 8);
	assert_int_equal(memcmp(buf, "skep: x\n", 8), 0);
	assert_int_equal(sigaction(SIGALRM, &old, NULL), 0);
	close(p[0]);
	close(p[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_says_who_and_how_grave),
		cmocka_unit_test(the_level_keeps_lesser_lines_out),
		cmocka_unit_test(no_log_drops_the_line),
		cmocka_unit_test(a_raw_terminal_gets_carriage_returns),
		cmocka_unit_test(a_line_of_any_length_is_one_write),
		cmocka_unit_test(control_characters_do_not_reach_the_terminal),
		cmocka_unit_test(a_guest_spends_from_a_budget),
		cmocka_unit_test(the_notice_shows_at_every_level),
		cmocka_unit_test(a_budget_used_up_to_the_byte_is_used_up),
		cmocka_unit_test(threads_share_a_budget_and_do_not_mix_lines),
		cmocka_unit_test(nothing_can_be_done_about_a_closed_descriptor),
		cmocka_unit_test(a_signal_does_not_lose_a_line),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
