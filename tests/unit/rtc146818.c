/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The MC146818A by its data sheet, in virtual time: calendar against the C library's, alarm against
 * a watch that looks every second, periodic interrupts to the nanosecond.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/state.h"
#include "support/cm.h"
#include "support/rig.h"

#define INDEX 0x70
#define DATA  0x71
#define IRQ   8

enum {
	SECONDS,
	SECONDS_ALARM,
	MINUTES,
	MINUTES_ALARM,
	HOURS,
	HOURS_ALARM,
	WEEKDAY,
	DAY,
	MONTH,
	YEAR,
	A,
	B,
	C,
	D,
	CENTURY = 0x32,
};

#define UIP 0x80
#define SET 0x80
#define PIE 0x40
#define AIE 0x20
#define UIE 0x10
#define DM  0x04
#define H24 0x02
#define PF  0x40
#define AF  0x20
#define UF  0x10
#define ANY 0x80 /* IRQF */

struct bench {
	struct rig rig;
	struct device *rtc;
	uint64_t now;
};

static void bench_with(struct bench *b, const char *options, uint64_t memory)
{
	memset(b, 0, sizeof(*b));
	rig_init(&b->rig, memory);
	b->rtc = rig_device(&b->rig, "rtc", "rtc146818", options);
	if (!b->rtc)
		fail_msg("%s", b->rig.err.text);
}

static void bench_end(struct bench *b)
{
	device_destroy(b->rtc);
	rig_fini(&b->rig);
}

/* A Saturday. */
static int set_up(void **state)
{
	static struct bench b;

	bench_with(&b, "base=2000-02-26T23:59:50", 0);
	*state = &b;
	return 0;
}

static int tear_down(void **state)
{
	bench_end(*state);
	return 0;
}

static uint8_t get(struct bench *b, uint8_t index)
{
	rig_out8(&b->rig, INDEX, index);
	return rig_in8(&b->rig, DATA);
}

static void put(struct bench *b, uint8_t index, uint8_t v)
{
	rig_out8(&b->rig, INDEX, index);
	rig_out8(&b->rig, DATA, v);
}

static void advance(struct bench *b, uint64_t ns)
{
	vtime_advance(b->rig.machine.time, ns);
	b->now += ns;
}

static void advance_to(struct bench *b, uint64_t ns)
{
	assert_true(ns >= b->now);
	advance(b, ns - b->now);
}

static void seconds(struct bench *b, uint64_t n)
{
	advance(b, n * NS_PER_S);
}

static uint32_t draw(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005U + 1442695040888963407U;
	return (uint32_t)(*seed >> 33);
}

/* "century year month day, hour minute second, day of week" as the bytes are. */
static void expect_bytes(struct bench *b, const char *expected)
{
	char text[64];

	snprintf(text, sizeof(text), "%02x%02x-%02x-%02x %02x:%02x:%02x %02x", get(b, CENTURY),
		 get(b, YEAR), get(b, MONTH), get(b, DAY), get(b, HOURS), get(b, MINUTES),
		 get(b, SECONDS), get(b, WEEKDAY));
	assert_string_equal(text, expected);
}

static unsigned int number(struct bench *b, uint8_t v)
{
	return get(b, B) & DM ? v : (v >> 4) * 10U + (v & 15);
}

/* The time that the clock shows, read as a driver reads it. */
static time_t shown(struct bench *b)
{
	uint8_t hour = get(b, HOURS);
	struct tm tm = {
		.tm_sec = (int)number(b, get(b, SECONDS)),
		.tm_min = (int)number(b, get(b, MINUTES)),
		.tm_mday = (int)number(b, get(b, DAY)),
		.tm_mon = (int)number(b, get(b, MONTH)) - 1,
		.tm_year = (int)(number(b, get(b, CENTURY)) * 100 + number(b, get(b, YEAR))) - 1900,
	};

	if (get(b, B) & H24) {
		tm.tm_hour = (int)number(b, hour);
	} else {
		unsigned int h = number(b, hour & 0x7f);

		assert_in_range(h, 1, 12);
		tm.tm_hour = (int)(h % 12 + (hour & 0x80 ? 12 : 0));
	}
	return timegm(&tm);
}

/* Sets it as Linux does: with SET. */
static void set_time(struct bench *b, uint8_t mode, time_t t)
{
	struct tm tm;
	unsigned int hour, year;

	assert_non_null(gmtime_r(&t, &tm));
	year = (unsigned int)tm.tm_year + 1900;
	hour = (unsigned int)tm.tm_hour;
	put(b, B, SET | mode);
#define BYTE(n) ((uint8_t)(mode & DM ? (n) : (n) / 10 << 4 | (n) % 10))
	put(b, SECONDS, BYTE((unsigned int)tm.tm_sec));
	put(b, MINUTES, BYTE((unsigned int)tm.tm_min));
	if (mode & H24)
		put(b, HOURS, BYTE(hour));
	else
		put(b, HOURS, BYTE((hour + 11) % 12 + 1) | (hour >= 12 ? 0x80 : 0));
	put(b, WEEKDAY, (uint8_t)(tm.tm_wday + 1));
	put(b, DAY, BYTE((unsigned int)tm.tm_mday));
	put(b, MONTH, BYTE((unsigned int)tm.tm_mon + 1));
	put(b, YEAR, BYTE(year % 100));
	put(b, CENTURY, BYTE(year / 100));
#undef BYTE
	put(b, B, mode);
}

static void powers_on(void **state)
{
	struct bench *b = *state;

	expect_bytes(b, "2000-02-26 23:59:50 07");
	assert_int_equal(get(b, A), 0x26);
	assert_int_equal(get(b, B), H24);
	assert_int_equal(get(b, C), 0);
	assert_int_equal(get(b, D), 0x80);
	assert_int_equal(get(b, 0x0e), 0);
	assert_int_equal(get(b, 0x0f), 0);
	assert_false(b->rig.level[IRQ]);
	/* The index cannot be read back; its bit 7 masks the NMI and is not part of it. */
	assert_int_equal(rig_in8(&b->rig, INDEX), 0xff);
	assert_int_equal(get(b, 0x80 | CENTURY), 0x20);
	put(b, 0x80 | 0x0f, 0x5a);
	assert_int_equal(get(b, 0x0f), 0x5a);
	for (unsigned int i = 0x33; i < 0x80; i++) {
		put(b, (uint8_t)i, (uint8_t)(i * 3));
		assert_int_equal(get(b, (uint8_t)i), (uint8_t)(i * 3));
	}
	/* C and D are read only. */
	put(b, C, 0xff);
	put(b, D, 0);
	assert_int_equal(get(b, C), 0);
	assert_int_equal(get(b, D), 0x80);
	assert_false(b->rig.level[IRQ]);
}

static void goes(void **state)
{
	struct bench *b = *state;

	advance(b, NS_PER_S - 1);
	expect_bytes(b, "2000-02-26 23:59:50 07");
	advance(b, 1);
	expect_bytes(b, "2000-02-26 23:59:51 07");
	seconds(b, 8);
	expect_bytes(b, "2000-02-26 23:59:59 07");
	seconds(b, 1);
	expect_bytes(b, "2000-02-27 00:00:00 01");
	seconds(b, 2 * 86400);
	expect_bytes(b, "2000-02-29 00:00:00 03");
	seconds(b, 86400);
	expect_bytes(b, "2000-03-01 00:00:00 04");
	seconds(b, 3600 + 60 + 1);
	expect_bytes(b, "2000-03-01 01:01:01 04");
}

static void leap_years(void **state)
{
	static const struct {
		const char *base, *then;
	} years[] = {
		{"base=1999-02-28T23:59:59", "1999-03-01 00:00:00 02"},
		{"base=1996-02-28T23:59:59", "1996-02-29 00:00:00 05"},
		{"base=2024-02-29T23:59:59", "2024-03-01 00:00:00 06"},
		{"base=1900-02-28T23:59:59", "1900-03-01 00:00:00 05"},
		{"base=2000-02-28T23:59:59", "2000-02-29 00:00:00 03"},
		{"base=2100-02-28T23:59:59", "2100-03-01 00:00:00 02"},
		{"base=2400-02-28T23:59:59", "2400-02-29 00:00:00 03"},
		{"base=1999-12-31T23:59:59", "2000-01-01 00:00:00 07"},
		{"base=2099-12-31T23:59:59", "2100-01-01 00:00:00 06"},
		{"base=2023-04-30T23:59:59", "2023-05-01 00:00:00 02"},
		{"base=9999-12-31T23:59:59", "0000-01-01 00:00:00 07"},
		{"base=0000-02-28T23:59:59", "0000-02-29 00:00:00 03"},
	};
	static struct bench b;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(years); i++) {
		bench_with(&b, years[i].base, 0);
		seconds(&b, 1);
		expect_bytes(&b, years[i].then);
		bench_end(&b);
	}
}

/* Any moment of four centuries, in each form, and any time on from there. */
static void calendar(void **state)
{
	static const uint8_t modes[] = {0, DM, H24, DM | H24};
	static struct bench bench;
	struct bench *b = &bench;
	uint64_t seed = 7;

	(void)state;
	bench_with(b, "base=2000-01-01T00:00:00", 0);
	for (unsigned int i = 0; i < 4000; i++) {
		uint64_t span = UINT64_C(400) * 366 * 86400, far;
		time_t t = (time_t)((uint64_t)draw(&seed) * draw(&seed) % span) - 86400 * 365 * 50L;
		struct tm tm;

		/* Virtual time ends after 584 years. */
		if (b->now > UINT64_MAX / 2) {
			bench_end(b);
			bench_with(b, "base=2000-01-01T00:00:00", 0);
		}
		set_time(b, modes[i % 4], t);
		assert_int_equal(shown(b), t);
		far = draw(&seed) % 3 ? draw(&seed) % 200000 : draw(&seed) * UINT64_C(3);
		seconds(b, far);
		t += (time_t)far;
		assert_int_equal(shown(b), t);
		assert_non_null(gmtime_r(&t, &tm));
		assert_int_equal(get(b, WEEKDAY), tm.tm_wday + 1);
	}
	bench_end(b);
}

static void twelve_hours(void **state)
{
	static const uint8_t bcd[] = {0x12, 0x01, 0x02, 0x03, 0x04, 0x05,
				      0x06, 0x07, 0x08, 0x09, 0x10, 0x11};
	static const uint8_t binary[] = {12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
	struct bench *b = *state;

	for (unsigned int form = 0; form < 2; form++) {
		set_time(b, form ? DM : 0, 951523200); /* midnight */
		for (unsigned int hour = 0; hour < 48; hour++) {
			uint8_t h = form ? binary[hour % 12] : bcd[hour % 12];

			assert_int_equal(get(b, HOURS), hour % 24 < 12 ? h : h | 0x80);
			seconds(b, 3600);
		}
	}
}

/* Nonsense is read back as it is, and put right by the next update. */
static void nonsense(void **state)
{
	struct bench *b = *state;

	put(b, MONTH, 0x00);
	put(b, DAY, 0x00);
	put(b, SECONDS, 0x75);
	expect_bytes(b, "2000-00-00 23:59:75 07");
	seconds(b, 1);
	/* Month 0 of 2000 is December 1999, day 0 of it the last of November: and a day on. */
	expect_bytes(b, "1999-12-01 00:00:16 01");
	for (unsigned int i = 0; i < 10; i++)
		put(b, (uint8_t)i, 0xff);
	put(b, CENTURY, 0xff);
	seconds(b, 1);
	assert_in_range(number(b, get(b, MONTH)), 1, 12);
	assert_in_range(number(b, get(b, DAY)), 1, 31);
	assert_in_range(number(b, get(b, HOURS)), 0, 23);
	assert_in_range(number(b, get(b, MINUTES)), 0, 59);
	assert_in_range(number(b, get(b, SECONDS)), 0, 59);
	assert_in_range(number(b, get(b, WEEKDAY)), 1, 7);
	/* The alarm bytes are not touched. */
	assert_int_equal(get(b, HOURS_ALARM), 0xff);
	/* A day of the week that is wrong stays wrong. */
	set_time(b, H24, 951523199); /* 2000-02-25 23:59:59, a Friday */
	put(b, WEEKDAY, 3);
	seconds(b, 1);
	expect_bytes(b, "2000-02-26 00:00:00 04");
}

/* "SET": no updates; the chain goes on, so that the next comes with its second. */
static void set_bit(void **state)
{
	struct bench *b = *state;

	advance(b, NS_PER_S / 4);
	put(b, B, SET | UIE | H24);
	assert_int_equal(get(b, B), SET | H24);
	seconds(b, 10);
	expect_bytes(b, "2000-02-26 23:59:50 07");
	assert_int_equal(get(b, C) & UF, 0);
	assert_int_equal(get(b, A) & UIP, 0);
	put(b, MINUTES, 0x10);
	put(b, B, H24);
	advance(b, 3 * NS_PER_S / 4 - 1);
	expect_bytes(b, "2000-02-26 23:10:50 07");
	advance(b, 1);
	expect_bytes(b, "2000-02-26 23:10:51 07");
	assert_int_equal(get(b, C) & UF, UF);
	/* Without SET a byte takes effect as well. */
	put(b, HOURS, 0x05);
	seconds(b, 1);
	expect_bytes(b, "2000-02-26 05:10:52 07");
}

/* "DV": the chain in reset; let go, the first update comes half a second later. */
static void divider(void **state)
{
	struct bench *b = *state;

	advance(b, 300 * NS_PER_MS);
	for (unsigned int dv = 0; dv < 8; dv++) {
		if (dv == 2)
			continue;
		put(b, A, (uint8_t)(dv << 4 | 6));
		get(b, C);
		seconds(b, 100);
		expect_bytes(b, "2000-02-26 23:59:50 07");
		assert_int_equal(get(b, C), 0);
		assert_int_equal(get(b, A), dv << 4 | 6);
	}
	advance(b, 123456789);
	put(b, A, 0x26);
	advance(b, NS_PER_S / 2 - 1);
	expect_bytes(b, "2000-02-26 23:59:50 07");
	advance(b, 1);
	expect_bytes(b, "2000-02-26 23:59:51 07");
	seconds(b, 1);
	expect_bytes(b, "2000-02-26 23:59:52 07");
	/* Written again, it does not start anew. */
	advance(b, 900 * NS_PER_MS);
	put(b, A, 0xa6);
	assert_int_equal(get(b, A), 0x26);
	advance(b, 100 * NS_PER_MS);
	expect_bytes(b, "2000-02-26 23:59:53 07");
}

/* 244 us in front of each update (t_BUC), which is 8 periods of 32,768 Hz. */
static void update_in_progress(void **state)
{
	struct bench *b = *state;

	for (unsigned int i = 1; i < 4; i++) {
		advance_to(b, i * NS_PER_S - 244141);
		assert_int_equal(get(b, A) & UIP, 0);
		advance(b, 1);
		assert_int_equal(get(b, A) & UIP, UIP);
		advance(b, 244139);
		assert_int_equal(get(b, A) & UIP, UIP);
		advance(b, 1);
		assert_int_equal(get(b, A) & UIP, 0);
	}
}

static void update_ended(void **state)
{
	struct bench *b = *state;

	advance(b, NS_PER_S);
	/* The flag comes without its interrupt, and is cleared by a read. */
	assert_int_equal(get(b, C) & (UF | ANY), UF);
	assert_int_equal(get(b, C) & UF, 0);
	assert_int_equal(b->rig.raised[IRQ], 0);
	/* Enabled while it stands, it interrupts at once. */
	seconds(b, 1);
	put(b, B, UIE | H24);
	assert_true(b->rig.level[IRQ]);
	assert_int_equal(get(b, C) & (UF | ANY), UF | ANY);
	assert_false(b->rig.level[IRQ]);
	for (unsigned int i = 0; i < 5; i++) {
		advance(b, NS_PER_S - 1);
		assert_false(b->rig.level[IRQ]);
		advance(b, 1);
		assert_true(b->rig.level[IRQ]);
		get(b, C);
		assert_false(b->rig.level[IRQ]);
	}
	/* Not read: the line stays, and rises no more. */
	seconds(b, 10);
	assert_int_equal(b->rig.raised[IRQ], 7);
	put(b, B, H24);
	assert_false(b->rig.level[IRQ]);
	put(b, B, UIE | H24);
	assert_true(b->rig.level[IRQ]);
}

/* Table 5: every rate, every tick, to the nanosecond. */
static void periodic(void **state)
{
	static const unsigned int rate[] = {0,   256, 128, 8192, 4096, 2048, 1024, 512,
					    256, 128, 64,  32,   16,   8,    4,    2};
	struct bench *b = *state;

	for (unsigned int rs = 1; rs < 16; rs++) {
		uint64_t start = b->now;

		put(b, A, (uint8_t)(0x20 | rs));
		put(b, B, PIE | H24);
		get(b, C);
		for (uint64_t i = 1; i <= rate[rs]; i++) {
			uint64_t at = start + (i * NS_PER_S + rate[rs] - 1) / rate[rs];

			advance_to(b, at - 1);
			assert_false(b->rig.level[IRQ]);
			advance(b, 1);
			assert_true(b->rig.level[IRQ]);
			assert_int_equal(get(b, C) & (PF | ANY), PF | ANY);
			assert_false(b->rig.level[IRQ]);
		}
		assert_int_equal(b->now, start + NS_PER_S);
	}
	/* Rate 0: none. */
	put(b, A, 0x20);
	get(b, C);
	seconds(b, 2);
	assert_int_equal(get(b, C) & PF, 0);
	/* The flag needs no enable; SET does not stop it. */
	put(b, A, 0x2f);
	put(b, B, SET | H24);
	advance(b, NS_PER_S / 2);
	assert_int_equal(get(b, C), PF);
	/* A guest that does not read register C gets one. */
	put(b, A, 0x23);
	put(b, B, PIE | H24);
	b->rig.raised[IRQ] = 0;
	seconds(b, 10);
	assert_int_equal(b->rig.raised[IRQ], 1);
}

static void alarm_at(struct bench *b, uint8_t hour, uint8_t minute, uint8_t second)
{
	put(b, HOURS_ALARM, hour);
	put(b, MINUTES_ALARM, minute);
	put(b, SECONDS_ALARM, second);
}

static void alarm_once_a_day(void **state)
{
	struct bench *b = *state;

	alarm_at(b, 0x00, 0x00, 0x10);
	put(b, B, AIE | H24);
	advance(b, 20 * NS_PER_S - 1);
	assert_false(b->rig.level[IRQ]);
	advance(b, 1);
	assert_true(b->rig.level[IRQ]);
	assert_int_equal(get(b, C) & (AF | ANY), AF | ANY);
	advance(b, 86400 * NS_PER_S - 1);
	assert_false(b->rig.level[IRQ]);
	advance(b, 1);
	assert_true(b->rig.level[IRQ]);
	get(b, C);
	/* Set back, it comes when the clock says so. */
	put(b, HOURS, 0x23);
	put(b, HOURS_ALARM, 0x23);
	put(b, SECONDS_ALARM, 0x13);
	b->rig.raised[IRQ] = 0;
	advance(b, 3 * NS_PER_S - 1);
	assert_int_equal(b->rig.raised[IRQ], 0);
	advance(b, 1);
	assert_int_equal(b->rig.raised[IRQ], 1);
}

static void alarm_without_care(void **state)
{
	struct bench *b = *state;

	put(b, B, AIE | H24);
	/* Every second, every minute, every hour: C0h to FFh. */
	alarm_at(b, 0xc0, 0xff, 0xde);
	for (unsigned int i = 0; i < 5; i++) {
		advance(b, NS_PER_S);
		assert_int_equal(get(b, C) & AF, AF);
	}
	alarm_at(b, 0xff, 0xff, 0x30);
	advance(b, 35 * NS_PER_S - 1);
	assert_int_equal(get(b, C) & AF, 0);
	advance(b, 1);
	assert_int_equal(get(b, C) & AF, AF);
	advance(b, 60 * NS_PER_S);
	assert_int_equal(get(b, C) & AF, AF);
	alarm_at(b, 0xff, 0x15, 0x00);
	seconds(b, 3600);
	assert_int_equal(get(b, C) & AF, AF);
	/* No such time: never. 24 h, a second that is not BCD, minute 60. */
	b->rig.raised[IRQ] = 0;
	alarm_at(b, 0x24, 0xff, 0xff);
	seconds(b, 200000);
	alarm_at(b, 0xff, 0xff, 0x1a);
	seconds(b, 200000);
	alarm_at(b, 0xff, 0x60, 0xff);
	seconds(b, 200000);
	assert_int_equal(get(b, C) & AF, 0);
	assert_int_equal(b->rig.raised[IRQ], 0);
}

static bool matches(struct bench *b, uint8_t alarm, uint8_t time)
{
	uint8_t v = get(b, alarm);

	return (v & 0xc0) == 0xc0 || v == get(b, time);
}

static uint8_t alarm_byte(uint64_t *seed, uint8_t near)
{
	switch (draw(seed) % 4) {
	case 0:
		return (uint8_t)(0xc0 | draw(seed));
	case 1:
		return (uint8_t)draw(seed);
	default:
		return near;
	}
}

/* In every form and with any bytes, against a look at the bytes each second. */
static void alarm_as_the_bytes_say(void **state)
{
	static const uint8_t modes[] = {0, DM, H24, DM | H24};
	struct bench *b = *state;
	uint64_t seed = 11;

	for (unsigned int i = 0; i < 60; i++) {
		time_t t = (time_t)(draw(&seed) % 86400);
		unsigned int seen = 0;

		set_time(b, modes[i % 4], t + 100);
		alarm_at(b, alarm_byte(&seed, get(b, HOURS)), alarm_byte(&seed, get(b, MINUTES)),
			 alarm_byte(&seed, get(b, SECONDS)));
		set_time(b, modes[i % 4], t);
		put(b, B, modes[i % 4] | AIE);
		get(b, C);
		b->rig.raised[IRQ] = 0;
		for (unsigned int s = 0; s < 200; s++) {
			bool now;

			seconds(b, 1);
			now = matches(b, HOURS_ALARM, HOURS) &&
			      matches(b, MINUTES_ALARM, MINUTES) &&
			      matches(b, SECONDS_ALARM, SECONDS);
			seen += now;
			assert_int_equal(b->rig.level[IRQ], now);
			assert_int_equal(!!(get(b, C) & AF), now);
		}
		assert_int_equal(b->rig.raised[IRQ], seen);
		/* And over a long time at once: the flag, if it ever was. */
		put(b, B, modes[i % 4]);
		seconds(b, 86400);
		assert_true(!seen || get(b, C) & AF);
		get(b, C);
	}
}

/* The host's timer, in real time: whether there is a deadline, never when. */
static void wakes_nobody_without_reason(void **state)
{
	const struct timespec a_while = {.tv_nsec = 1000000};
	static struct bench b;
	struct vtime *manual;

	(void)state;
	memset(&b, 0, sizeof(b));
	rig_init(&b.rig, 0);
	manual = b.rig.machine.time;
	assert_int_equal(vtime_create(&b.rig.machine.time, &b.rig.err), 0);
	b.rtc = rig_device(&b.rig, "rtc", "rtc146818", "base=2001-01-01T12:00:00");
	assert_non_null(b.rtc);
	vtime_resume(b.rig.machine.time);

#define DEADLINE() (vtime_deadline(b.rig.machine.time) != UINT64_MAX)
	assert_false(DEADLINE());
	put(&b, A, 0x2f); /* slow, so that no tick comes meanwhile */
	alarm_at(&b, 0x06, 0x00, 0x00);
	assert_false(DEADLINE());
	for (uint8_t enable = UIE; enable; enable = (uint8_t)(enable << 1)) {
		put(&b, B, enable | H24);
		assert_int_equal(DEADLINE() || b.rig.level[IRQ], enable != SET);
		put(&b, B, H24);
		assert_false(DEADLINE());
	}
	/* An alarm that cannot be, a rate of none, a chain that stands. */
	put(&b, B, AIE | H24);
	assert_true(DEADLINE());
	put(&b, HOURS_ALARM, 0x77);
	assert_false(DEADLINE());
	put(&b, HOURS_ALARM, 0x07);
	assert_true(DEADLINE());
	put(&b, A, 0x60);
	assert_false(DEADLINE());
	put(&b, A, 0x20);
	assert_true(DEADLINE());
	put(&b, B, PIE | H24);
	assert_false(DEADLINE());
	/* A guest that does not read register C. */
	put(&b, A, 0x23);
	assert_true(DEADLINE());
	nanosleep(&a_while, NULL);
	vtime_run(b.rig.machine.time);
	assert_true(b.rig.level[IRQ]);
	assert_false(DEADLINE());
	assert_int_equal(get(&b, C), PF | ANY);
	assert_true(DEADLINE());
	device_destroy(b.rtc);
	assert_false(DEADLINE());
#undef DEADLINE
	vtime_destroy(b.rig.machine.time);
	b.rig.machine.time = manual;
	rig_fini(&b.rig);
}

/* The host's clock */

/* time() lags by a tick of the host: it may still be in the second before. */
static time_t host_seconds(void)
{
	struct timespec t;

	assert_int_equal(clock_gettime(CLOCK_REALTIME, &t), 0);
	return t.tv_sec;
}

static void starts_with_the_host(void **state)
{
	static struct bench b;
	time_t before, shows, after;
	struct tm tm;

	(void)state;
	before = host_seconds();
	bench_with(&b, "base=utc", 0);
	shows = shown(&b);
	after = host_seconds();
	assert_in_range(shows, before, after);
	/* Its seconds change when the host's do. */
	advance(&b, NS_PER_S);
	assert_int_equal(shown(&b), shows + 1);
	bench_end(&b);

	assert_int_equal(setenv("TZ", "XYZ-5:30", 1), 0);
	tzset();
	before = host_seconds();
	bench_with(&b, "base=localtime", 0);
	shows = shown(&b);
	after = host_seconds();
	assert_in_range(shows, before + 19800, after + 19800);
	assert_non_null(gmtime_r(&shows, &tm));
	assert_int_equal(get(&b, WEEKDAY), tm.tm_wday + 1);
	bench_end(&b);
	assert_int_equal(unsetenv("TZ"), 0);
	tzset();
}

static void bases_that_cannot_be(void **state)
{
	static const char *const bases[] = {
		"base=UTC",
		"base=now",
		"base=2000-01-01",
		"base=2000-01-01T00:00:000",
		"base=2000-01-01T00:00:0",
		"base=2000-01-01t00:00:00",
		"base=+200-01-01T00:00:00",
	};
	static const char *const dates[] = {
		"base=2001-02-29T00:00:00", "base=2100-02-29T00:00:00", "base=2000-13-01T00:00:00",
		"base=2000-00-01T00:00:00", "base=2000-01-00T00:00:00", "base=2000-04-31T00:00:00",
		"base=2000-01-01T24:00:00", "base=2000-01-01T00:60:00", "base=2000-01-01T00:00:60",
	};
	struct bench *b = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
		assert_null(rig_device(&b->rig, "clock", "rtc146818", bases[i]));
		assert_non_null(strstr(b->rig.err.text, "clock: base '"));
		assert_non_null(strstr(b->rig.err.text, "is none of utc, localtime and"));
	}
	for (size_t i = 0; i < ARRAY_SIZE(dates); i++) {
		assert_null(rig_device(&b->rig, "clock", "rtc146818", dates[i]));
		assert_non_null(strstr(b->rig.err.text, "is not in the calendar"));
	}
	/* The ports are taken. */
	assert_null(rig_device(&b->rig, "clock", "rtc146818", "base=2000-01-01T00:00:00"));
	expect_bytes(b, "2000-02-26 23:59:50 07");
}

static unsigned int word(struct bench *b, uint8_t at, unsigned int bytes)
{
	unsigned int v = 0;

	for (unsigned int i = 0; i < bytes; i++)
		v |= (unsigned int)get(b, (uint8_t)(at + i)) << (8 * i);
	return v;
}

static void memory_sizes(void **state)
{
	static const struct {
		uint64_t memory;
		unsigned int extended, above_16m, above_4g;
	} sizes[] = {
		{MIB(1), 0, 0, 0},
		{MIB(1) + KIB(64), 64, 0, 0},
		{MIB(16), 15360, 0, 0},
		{MIB(64), 64512, 768, 0},
		{MIB(65), 65535, 784, 0},
		{MIB(512), 65535, 7936, 0},
		{GIB(3), 65535, 48896, 0},
		{GIB(4), 65535, 48896, 16384},
		{GIB(2048), 65535, 48896, 0xffffff},
	};
	static struct bench b;
	unsigned int sum;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		if (sizes[i].memory > TEST_MEMORY_MOST)
			continue;
		bench_with(&b, "base=2000-01-01T00:00:00", sizes[i].memory);
		assert_int_equal(word(&b, 0x15, 2), 640);
		assert_int_equal(word(&b, 0x17, 2), sizes[i].extended);
		assert_int_equal(word(&b, 0x30, 2), sizes[i].extended);
		assert_int_equal(word(&b, 0x34, 2), sizes[i].above_16m);
		assert_int_equal(word(&b, 0x5b, 3), sizes[i].above_4g);
		sum = 0;
		for (uint8_t at = 0x10; at < 0x2e; at++)
			sum += get(&b, at);
		assert_int_equal(get(&b, 0x2e) << 8 | get(&b, 0x2f), sum);
		bench_end(&b);
	}
}

/* The machine */

static void machine_reset(void **state)
{
	struct bench *b = *state;

	put(b, 0x0f, 0x0a);
	put(b, 0x70, 0x77);
	alarm_at(b, 0x01, 0x02, 0x03);
	put(b, A, 0x2f);
	put(b, B, PIE | AIE | UIE | 0x08 | DM | H24 | 1);
	advance(b, 1500 * NS_PER_MS);
	assert_true(b->rig.level[IRQ]);
	device_lock(b->rtc);
	b->rtc->class->reset(b->rtc);
	device_unlock(b->rtc);
	assert_false(b->rig.level[IRQ]);
	assert_int_equal(get(b, A), 0x2f);
	assert_int_equal(get(b, B), DM | H24 | 1);
	assert_int_equal(get(b, C), 0);
	assert_int_equal(get(b, 0x0f), 0x0a);
	assert_int_equal(get(b, 0x70), 0x77);
	assert_int_equal(get(b, MINUTES_ALARM), 0x02);
	put(b, B, H24);
	advance(b, 500 * NS_PER_MS);
	/* The bytes were BCD when they were taken for binary numbers: 50h is 80. */
	put(b, B, SET | H24);
	put(b, SECONDS, 0x30);
	put(b, B, H24);
	seconds(b, 1);
	assert_int_equal(get(b, SECONDS), 0x31);
}

static int load(struct bench *b, const void *saved)
{
	int ret;

	device_lock(b->rtc);
	memcpy(device_state(b->rtc), saved, b->rtc->class->state->size);
	ret = b->rtc->class->loaded(b->rtc, &b->rig.err);
	device_unlock(b->rtc);
	return ret;
}

static void goes_on_elsewhere(void **state)
{
	struct bench *b = *state;
	const struct state_table *t = b->rtc->class->state;
	static struct bench other;
	uint8_t saved[1024];
	long len;

	put(b, A, 0x2d);
	alarm_at(b, 0xff, 0xff, 0x05);
	put(b, B, AIE | PIE | H24);
	advance(b, 7777777777);
	len = state_save(t, device_state(b->rtc), saved, sizeof(saved));
	assert_true(len > 0);

	bench_with(&other, "base=utc", 0);
	assert_int_equal(state_load(t, device_state(other.rtc), saved, (size_t)len, &other.rig.err),
			 0);
	assert_int_equal(other.rtc->class->loaded(other.rtc, &other.rig.err), -EPROTO);
	assert_non_null(strstr(other.rig.err.text, "ahead of the machine's time"));
	advance_to(&other, b->now);
	assert_int_equal(state_load(t, device_state(other.rtc), saved, (size_t)len, &other.rig.err),
			 0);
	assert_int_equal(other.rtc->class->loaded(other.rtc, &other.rig.err), 0);
	assert_true(other.rig.level[IRQ]);
	for (unsigned int i = 0; i < 1000; i++) {
		assert_int_equal(b->rig.level[IRQ], other.rig.level[IRQ]);
		assert_int_equal(get(b, C), get(&other, C));
		assert_int_equal(get(b, A), get(&other, A));
		assert_int_equal(shown(b), shown(&other));
		advance(b, 33333333);
		advance(&other, 33333333);
	}
	bench_end(&other);
}

static void loads_only_what_can_be(void **state)
{
	struct bench *b = *state;
	const struct state_table *t = b->rtc->class->state;
	uint8_t saved[512], broken[512];
	unsigned int refused = 0;

	assert_int_equal(state_check_table(t, &b->rig.err), 0);
	assert_true(t->size <= sizeof(saved));
	put(b, B, AIE | PIE | UIE | H24);
	advance(b, 5 * NS_PER_S / 2);
	memcpy(saved, device_state(b->rtc), t->size);
	for (uint64_t seed = 1; seed < 3000; seed++) {
		memcpy(broken, saved, t->size);
		state_mutate(t, broken, seed);
		if (load(b, broken)) {
			assert_non_null(strstr(b->rig.err.text, "rtc: "));
			refused++;
		} else {
			for (uint8_t i = 0; i < 0x80; i++)
				get(b, i);
			seconds(b, 1);
		}
		assert_int_equal(load(b, saved), 0);
	}
	assert_true(refused > 1000);
}

static void hostile_guest(void **state)
{
	struct bench *b = *state;
	uint64_t seed = 5;

	for (unsigned int i = 0; i < 60000; i++) {
		uint16_t port = (uint16_t)(0x6c + draw(&seed) % 8);
		unsigned int size = 1 + draw(&seed) % 8;
		uint64_t value = (uint64_t)draw(&seed) << 32 | draw(&seed);

		/* Mostly the registers. */
		if (draw(&seed) & 1)
			rig_out8(&b->rig, INDEX, (uint8_t)(draw(&seed) % 14));
		if (draw(&seed) & 1)
			bus_write(b->rig.machine.ports, port, size, value);
		else
			bus_read(b->rig.machine.ports, port, size);
		if (draw(&seed) % 8 == 0)
			advance(b, draw(&seed) % (draw(&seed) % 16 ? NS_PER_MS : 3 * NS_PER_S));
		if (draw(&seed) % 64 == 0)
			assert_int_equal(b->rtc->class->loaded(b->rtc, &b->rig.err), 0);
	}
	assert_false(b->rig.ended);
	put(b, A, 0x26);
	set_time(b, H24, 951523199);
	seconds(b, 1);
	expect_bytes(b, "2000-02-26 00:00:00 07");
}

static void describes_itself(void **state)
{
	struct bench *b = *state;
	static uint8_t buf[256];
	struct aml aml;

	aml_init(&aml, buf, sizeof(buf));
	b->rtc->class->describe(b->rtc, &aml);
	assert_true(aml_finish(&aml) > 0);
	/* PNP0B00; ports 70h and 71h; IRQ 8, an edge. */
	assert_non_null(memmem(buf, aml.len, "RTC_", 4));
	assert_non_null(memmem(buf, aml.len, "\x41\xd0\x0b\x00", 4));
	assert_non_null(memmem(buf, aml.len, "\x47\x01\x70\x00\x70\x00", 6));
	assert_non_null(memmem(buf, aml.len, "\x22\x00\x01", 3));
	assert_true(aml.has_cmos_rtc);
	assert_int_equal(aml.century, CENTURY);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(powers_on),
		WITH(goes),
		cmocka_unit_test(leap_years),
		cmocka_unit_test(calendar),
		WITH(twelve_hours),
		WITH(nonsense),
		WITH(set_bit),
		WITH(divider),
		WITH(update_in_progress),
		WITH(update_ended),
		WITH(periodic),
		WITH(alarm_once_a_day),
		WITH(alarm_without_care),
		WITH(alarm_as_the_bytes_say),
		cmocka_unit_test(wakes_nobody_without_reason),
		cmocka_unit_test(starts_with_the_host),
		WITH(bases_that_cannot_be),
		cmocka_unit_test(memory_sizes),
		WITH(machine_reset),
		WITH(goes_on_elsewhere),
		WITH(loads_only_what_can_be),
		WITH(hostile_guest),
		WITH(describes_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
