/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rtc146818 - the clock of a PC, with its battery-backed memory.
 *
 * Follows the data sheet of the Motorola MC146818A. Port 70h takes the index (bit 7, which masks
 * the NMI on a PC, is ignored; reads as all ones), port 71h is the byte there. Bytes 0 to 9 are the
 * time, 0Ah to 0Dh registers A to D, the rest is memory, in which the century is at 32h, a PC's
 * firmware keeps the sizes of the guest's memory, and 10h to 2Dh have their checksum at 2Eh.
 *
 * The clock starts with `base` when the machine starts, and follows virtual time: it stands still
 * while the machine is paused. A machine reset leaves it alone, as a battery would.
 *
 * Nothing ticks. The divider chain is a count of 32,768 Hz made from virtual time; when somebody
 * looks, the updates that have come since the last look are done at once. The bytes are kept as the
 * guest wrote them, so nonsense is read back as it is until the next update puts it right by
 * carrying: second 61 is second 1 of the next minute. Updates take no time; UIP announces them by
 * the 244 us in which a guest may still read (t_BUC). Any time base but that of a 32,768 Hz crystal
 * (DV = 2) stops the chain. The century is part of the calendar, so 2100 is no leap year. Daylight
 * saving is not done, DSE is only kept; there is no square wave.
 *
 * The interrupt is a level that rises with IRQF. A host timer runs only while it is low and an
 * enabled event is to come: a guest that does not read register C causes no wake-ups, and the
 * periodic interrupt comes no faster than it is acknowledged, 8,192 Hz at most.
 *
 * The saved state counts from the start of virtual time, which is saved with the machine and is
 * there again before its devices are loaded.
 *
 * vCPU threads and the control thread, under the device's lock.
 */
#include <time.h>

#include "skep/aml.h"
#include "skep/bits.h"
#include "skep/bus.h"
#include "skep/clock.h"
#include "skep/device.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/irq.h"
#include "skep/timer.h"
#include "skep/trace.h"

#define RTC_HZ    UINT64_C(32768)
#define RTC_T_BUC 8 /* UIP to update: 244 us */
#define RTC_DAY   UINT64_C(86400)
#define RTC_DAYS  UINT64_C(3652425) /* of 10,000 years, behind which the calendar starts anew */
#define RTC_NEVER UINT64_MAX
#define RTC_RAM   128

enum {
	RTC_GSI = 8,
	RTC_BASE = 0x70,
	RTC_LEN = 2,
};

enum {
	RTC_SECONDS = 0x00,
	RTC_SECONDS_ALARM = 0x01,
	RTC_MINUTES = 0x02,
	RTC_MINUTES_ALARM = 0x03,
	RTC_HOURS = 0x04,
	RTC_HOURS_ALARM = 0x05,
	RTC_WEEKDAY = 0x06, /* Sunday is 1 */
	RTC_DAY_OF_MONTH = 0x07,
	RTC_MONTH = 0x08,
	RTC_YEAR = 0x09,
	RTC_A = 0x0a,
	RTC_B = 0x0b,
	RTC_C = 0x0c,
	RTC_D = 0x0d,
	/* What a PC's firmware keeps. 0Eh: diagnosis, 0Fh: shutdown; both 0. */
	CMOS_EQUIPMENT = 0x14,
	CMOS_BASE_MEMORY = 0x15,     /* KiB, 2 bytes */
	CMOS_EXTENDED_MEMORY = 0x17, /* KiB above 1 MiB, 2 bytes */
	CMOS_CHECKED = 0x10,
	CMOS_CHECKSUM = 0x2e, /* of 10h to 2Dh, the high byte first */
	CMOS_EXTENDED_FOUND = 0x30,
	CMOS_CENTURY = 0x32,
	CMOS_ABOVE_16M = 0x34, /* 64 KiB, 2 bytes */
	CMOS_ABOVE_4G = 0x5b,  /* 64 KiB, 3 bytes */
};

#define EQUIPMENT_FPU 0x02

#define A_UIP      0x80
#define A_DV       0x70
#define A_DV_RUNS  0x20
#define A_RS       0x0f
#define A_POWER_ON (A_DV_RUNS | 6) /* 1,024 Hz, as a PC's firmware has it */

#define B_SET  0x80
#define B_PIE  0x40
#define B_AIE  0x20
#define B_UIE  0x10
#define B_SQWE 0x08
#define B_DM   0x04 /* binary */
#define B_24H  0x02

/* The enable bits of register B are in the places of these. */
#define C_IRQF   0x80
#define C_PF     0x40
#define C_AF     0x20
#define C_UF     0x10
#define C_EVENTS (C_PF | C_AF | C_UF)

#define D_VRT 0x80

struct rtc_state {
	uint8_t ram[RTC_RAM]; /* register A without UIP, C without IRQF */
	uint8_t index;
	uint8_t reserved[7]; /* 0 */
	uint64_t phase;      /* ns by which the divider chain is ahead of virtual time, below 1 s */
	uint64_t at;         /* what of the divider's count the rest of this knows */
};

struct rtc_options {
	const char *base;
};

struct rtc {
	struct device dev;
	struct rtc_options options;
	struct rtc_state state;
	struct irq_line line;
	struct timer event;
	bool mapped;
};

static const struct option rtc_options[] = {
	{
		.name = "base",
		.type = OPTION_STRING,
		.offset = offsetof(struct rtc_options, base),
		.fallback = "utc",
		.help = "the time at the start: utc, localtime or YYYY-MM-DDTHH:MM:SS",
	},
	OPTION_END,
};

static const struct state_field rtc_fields[] = {
	STATE_ARRAY(struct rtc_state, ram),      STATE_FIELD(struct rtc_state, index),
	STATE_ARRAY(struct rtc_state, reserved), STATE_FIELD(struct rtc_state, phase),
	STATE_FIELD(struct rtc_state, at),
};
static const struct state_table rtc_state =
	STATE_TABLE("rtc146818", 1, struct rtc_state, rtc_fields);

static struct rtc *to_rtc(struct device *dev)
{
	return container_of(dev, struct rtc, dev);
}

/* Calendar: Gregorian, in days from 1 January of the year 0, a Saturday and in a leap year. */

static bool is_leap(uint64_t year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static uint64_t days_before_year(uint64_t year)
{
	return year * 365 + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
}

/* Of @month months, 0 to 12, from January on. */
static uint64_t days_before_month(uint64_t year, unsigned int month)
{
	static const uint16_t days[] = {
		0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365,
	};

	return days[month] + (month > 1 && is_leap(year) ? 1U : 0U);
}

/*
 * @month and @day count from 1, and are whatever a byte can say. The result is RTC_DAYS too large,
 * for month 0 and day 0 come in front.
 */
static uint64_t days_of(uint64_t year, unsigned int month, unsigned int day)
{
	unsigned int months = month + 11;

	year += 9999 + months / 12;
	return days_before_year(year) + days_before_month(year, months % 12) + day - 1;
}

struct date {
	uint64_t year;
	unsigned int month;
	unsigned int day;
};

/* @days is below RTC_DAYS. */
static struct date date_of(uint64_t days)
{
	struct date d = {.year = days / 366, .month = 1}; /* at most 20 years too few */

	while (days_before_year(d.year + 1) <= days)
		d.year++;
	days -= days_before_year(d.year);
	while (days_before_month(d.year, d.month) <= days)
		d.month++;
	d.day = (unsigned int)(days - days_before_month(d.year, d.month - 1)) + 1;
	return d;
}

/* Time, as the bytes have it: BCD or binary, 12 or 24 hours */

static unsigned int decode(const struct rtc_state *s, uint8_t v)
{
	return s->ram[RTC_B] & B_DM ? v : (v >> 4) * 10U + (v & 15);
}

static uint8_t encode(const struct rtc_state *s, uint64_t n)
{
	return (uint8_t)(s->ram[RTC_B] & B_DM ? n : n / 10 << 4 | n % 10);
}

/* Table 2: bit 7 says p.m. */
static unsigned int decode_hour(const struct rtc_state *s, uint8_t v)
{
	unsigned int hour;

	if (s->ram[RTC_B] & B_24H)
		return decode(s, v);
	hour = decode(s, v & 0x7f);
	return (hour == 12 ? 0 : hour) + (v & 0x80 ? 12 : 0);
}

static uint8_t encode_hour(const struct rtc_state *s, uint64_t hour)
{
	if (s->ram[RTC_B] & B_24H)
		return encode(s, hour);
	return encode(s, hour % 12 ? hour % 12 : 12) | (hour < 12 ? 0 : 0x80);
}

static uint64_t second_of_day(const struct rtc_state *s)
{
	return decode_hour(s, s->ram[RTC_HOURS]) * UINT64_C(3600) +
	       decode(s, s->ram[RTC_MINUTES]) * UINT64_C(60) + decode(s, s->ram[RTC_SECONDS]);
}

static uint64_t day_of_calendar(const struct rtc_state *s)
{
	return days_of(decode(s, s->ram[CMOS_CENTURY]) * UINT64_C(100) +
			       decode(s, s->ram[RTC_YEAR]),
		       decode(s, s->ram[RTC_MONTH]), decode(s, s->ram[RTC_DAY_OF_MONTH]));
}

static void set_date(struct rtc_state *s, uint64_t days)
{
	struct date d = date_of(days % RTC_DAYS);

	s->ram[RTC_DAY_OF_MONTH] = encode(s, d.day);
	s->ram[RTC_MONTH] = encode(s, d.month);
	s->ram[RTC_YEAR] = encode(s, d.year % 100);
	s->ram[CMOS_CENTURY] = encode(s, d.year / 100);
}

static void set_second_of_day(struct rtc_state *s, uint64_t second)
{
	s->ram[RTC_SECONDS] = encode(s, second % 60);
	s->ram[RTC_MINUTES] = encode(s, second / 60 % 60);
	s->ram[RTC_HOURS] = encode_hour(s, second / 3600);
}

static void advance_time(struct rtc_state *s, uint64_t seconds)
{
	uint64_t was = day_of_calendar(s), second = second_of_day(s) + seconds;
	uint64_t days = second / RTC_DAY;

	set_second_of_day(s, second % RTC_DAY);
	set_date(s, was + days);
	/* The day of the week is a counter of its own: whatever the guest says it is. */
	if (days)
		s->ram[RTC_WEEKDAY] =
			encode(s, (decode(s, s->ram[RTC_WEEKDAY]) + 6 + days) % 7 + 1);
}

/* Alarm */

/* "Don't care" codes are C0h to FFh. */
static bool alarm_takes(const struct rtc_state *s, unsigned int alarm, uint8_t byte)
{
	return s->ram[alarm] >= 0xc0 || s->ram[alarm] == byte;
}

/* Whether there is a time that the alarm bytes are. */
static bool alarm_possible(const struct rtc_state *s)
{
	unsigned int hour = decode_hour(s, s->ram[RTC_HOURS_ALARM]) % 24;
	unsigned int minute = decode(s, s->ram[RTC_MINUTES_ALARM]) % 60;
	unsigned int second = decode(s, s->ram[RTC_SECONDS_ALARM]) % 60;

	return alarm_takes(s, RTC_HOURS_ALARM, encode_hour(s, hour)) &&
	       alarm_takes(s, RTC_MINUTES_ALARM, encode(s, minute)) &&
	       alarm_takes(s, RTC_SECONDS_ALARM, encode(s, second));
}

/* Updates until the time is the alarm's. Goes by hours, then minutes, then seconds: at most a day,
 * an hour and a minute of them, and what is left of those that it starts in. */
static uint64_t updates_to_alarm(const struct rtc_state *s)
{
	uint64_t now = second_of_day(s) % RTC_DAY, t = now + 1;

	if (!alarm_possible(s))
		return RTC_NEVER;
	while (t <= now + RTC_DAY) {
		if (!alarm_takes(s, RTC_HOURS_ALARM, encode_hour(s, t / 3600 % 24)))
			t = (t / 3600 + 1) * 3600;
		else if (!alarm_takes(s, RTC_MINUTES_ALARM, encode(s, t / 60 % 60)))
			t = (t / 60 + 1) * 60;
		else if (!alarm_takes(s, RTC_SECONDS_ALARM, encode(s, t % 60)))
			t++;
		else
			return t - now;
	}
	return RTC_NEVER;
}

/* Divider chain */

static bool chain_runs(const struct rtc_state *s)
{
	return (s->ram[RTC_A] & A_DV) == A_DV_RUNS;
}

static bool updates_run(const struct rtc_state *s)
{
	return chain_runs(s) && !(s->ram[RTC_B] & B_SET);
}

/* What the chain has counted at virtual time @now. */
static uint64_t chain_count(const struct rtc_state *s, uint64_t now)
{
	uint64_t ns = now % NS_PER_S + s->phase;

	return (now / NS_PER_S + ns / NS_PER_S) * RTC_HZ + ns % NS_PER_S * RTC_HZ / NS_PER_S;
}

/* The virtual time at which it has counted so much. */
static uint64_t chain_moment(const struct rtc_state *s, uint64_t count)
{
	uint64_t rest = count % RTC_HZ * NS_PER_S;

	return count / RTC_HZ * NS_PER_S + (rest + RTC_HZ - 1) / RTC_HZ - s->phase;
}

/* Table 5: the tap for the periodic interrupt, as the number of bits below it; 0: none. */
static unsigned int periodic_tap(const struct rtc_state *s)
{
	unsigned int rs = s->ram[RTC_A] & A_RS;

	if (!rs)
		return 0;
	return rs < 3 ? rs + 6 : rs - 1;
}

static void rtc_catch_up(struct rtc *rtc)
{
	struct rtc_state *s = &rtc->state;
	uint64_t count = chain_count(s, vtime_now(rtc->dev.machine->time)), was = s->at;
	uint64_t updates = count / RTC_HZ - was / RTC_HZ;
	unsigned int tap = periodic_tap(s);

	s->at = count;
	if (chain_runs(s) && tap && count >> tap != was >> tap)
		s->ram[RTC_C] |= C_PF;
	if (!updates_run(s) || !updates)
		return;
	s->ram[RTC_C] |= C_UF;
	if (updates_to_alarm(s) <= updates)
		s->ram[RTC_C] |= C_AF;
	advance_time(s, updates);
}

/* The chain's count at the next event that is enabled. */
static uint64_t next_event(const struct rtc_state *s)
{
	uint64_t next = RTC_NEVER, updates = s->at / RTC_HZ, alarm;
	unsigned int tap = periodic_tap(s);

	if (chain_runs(s) && tap && s->ram[RTC_B] & B_PIE)
		next = ((s->at >> tap) + 1) << tap;
	if (!updates_run(s))
		return next;
	if (s->ram[RTC_B] & B_UIE)
		return MIN(next, (updates + 1) * RTC_HZ);
	if (s->ram[RTC_B] & B_AIE) {
		alarm = updates_to_alarm(s);
		if (alarm != RTC_NEVER)
			next = MIN(next, (updates + alarm) * RTC_HZ);
	}
	return next;
}

/* Brings the line and the host timer in step with the registers. */
static void rtc_update(struct rtc *rtc)
{
	const struct rtc_state *s = &rtc->state;
	bool irqf = s->ram[RTC_C] & s->ram[RTC_B];
	uint64_t next = irqf ? RTC_NEVER : next_event(s);

	irq_set(&rtc->line, irqf);
	if (next == RTC_NEVER)
		timer_cancel(&rtc->event);
	else
		timer_arm(&rtc->event, chain_moment(s, next));
}

static void rtc_event(struct device *dev, struct timer *t)
{
	struct rtc *rtc = to_rtc(dev);

	(void)t;
	rtc_catch_up(rtc);
	rtc_update(rtc);
}

/* Registers */

static uint8_t read_a(const struct rtc_state *s)
{
	bool uip = updates_run(s) && s->at % RTC_HZ >= RTC_HZ - RTC_T_BUC;

	return s->ram[RTC_A] | (uip ? A_UIP : 0);
}

static uint8_t read_c(struct rtc *rtc)
{
	struct rtc_state *s = &rtc->state;
	uint8_t c = s->ram[RTC_C];

	if (c & s->ram[RTC_B])
		c |= C_IRQF;
	s->ram[RTC_C] = 0;
	if (c)
		rtc_update(rtc);
	return c;
}

static uint64_t rtc_read(struct device *dev, uint64_t offset, unsigned int size)
{
	struct rtc *rtc = to_rtc(dev);
	const struct rtc_state *s = &rtc->state;

	(void)size;
	if (!offset)
		return 0xff;
	rtc_catch_up(rtc);
	switch (s->index) {
	case RTC_A:
		return read_a(s);
	case RTC_C:
		return read_c(rtc);
	default:
		return s->ram[s->index];
	}
}

/* "DV2, DV1, DV0": the first update comes half a second after the chain was let go. */
static void start_chain(struct rtc *rtc)
{
	struct rtc_state *s = &rtc->state;
	uint64_t now = vtime_now(rtc->dev.machine->time);

	s->phase = (NS_PER_S + NS_PER_S / 2 - now % NS_PER_S) % NS_PER_S;
	s->at = chain_count(s, now);
}

static void rtc_write(struct device *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct rtc *rtc = to_rtc(dev);
	struct rtc_state *s = &rtc->state;
	uint8_t byte = (uint8_t)value;
	bool ran;

	(void)size;
	if (!offset) {
		s->index = byte % RTC_RAM;
		return;
	}
	rtc_catch_up(rtc);
	switch (s->index) {
	case RTC_A:
		ran = chain_runs(s);
		s->ram[RTC_A] = byte & (uint8_t)~A_UIP;
		if (!ran && chain_runs(s))
			start_chain(rtc);
		break;
	case RTC_B:
		/* "UIE": SET going high clears it. */
		s->ram[RTC_B] = byte & B_SET ? byte & (uint8_t)~B_UIE : byte;
		break;
	case RTC_C:
	case RTC_D:
		trace_event(TRACE_REMARK, dev->number, TRACE_FIXED_WRITE, 0, s->index, byte, 0);
		return;
	default:
		s->ram[s->index] = byte;
	}
	if (s->index <= RTC_B)
		rtc_update(rtc);
}

static const struct bus_ops rtc_ops = {.read = rtc_read, .write = rtc_write, .max_size = 1};

/* Set-up */

static bool has_form(const char *text, const char *form)
{
	for (; *form; text++, form++)
		if (*form == '0' ? *text < '0' || *text > '9' : *text != *form)
			return false;
	return !*text;
}

static unsigned int number(const char *digits, unsigned int count)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < count; i++)
		n = 10 * n + (unsigned int)(digits[i] - '0');
	return n;
}

static int parse_date(const char *text, struct tm *tm)
{
	unsigned int year, month, day, hour, minute, second;

	if (!has_form(text, "0000-00-00T00:00:00"))
		return -EINVAL;
	year = number(text, 4);
	month = number(text + 5, 2);
	day = number(text + 8, 2);
	hour = number(text + 11, 2);
	minute = number(text + 14, 2);
	second = number(text + 17, 2);
	if (month < 1 || month > 12 || day < 1 ||
	    day > days_before_month(year, month) - days_before_month(year, month - 1) ||
	    hour > 23 || minute > 59 || second > 59)
		return -ERANGE;
	*tm = (struct tm){
		.tm_year = (int)year - 1900,
		.tm_mon = (int)month - 1,
		.tm_mday = (int)day,
		.tm_hour = (int)hour,
		.tm_min = (int)minute,
		.tm_sec = (int)second,
	};
	return 0;
}

static int read_base(const char *base, struct tm *tm, uint64_t *ns, struct err *err)
{
	struct timespec now;
	struct tm *done;
	int ret;

	*ns = 0;
	if (strcmp(base, "utc") != 0 && strcmp(base, "localtime") != 0) {
		ret = parse_date(base, tm);
		if (ret == -EINVAL)
			return err_set(err, EINVAL,
				       "base '%.64s' is none of utc, localtime and "
				       "YYYY-MM-DDTHH:MM:SS",
				       base);
		if (ret)
			return err_set(err, EINVAL, "base '%.64s' is not in the calendar", base);
		return 0;
	}
	if (clock_gettime(CLOCK_REALTIME, &now))
		return err_sys(err, errno, "the host's time");
	done = *base == 'u' ? gmtime_r(&now.tv_sec, tm) : localtime_r(&now.tv_sec, tm);
	if (!done || tm->tm_year < -1900 || tm->tm_year > 9999 - 1900)
		return err_set(err, EOVERFLOW,
			       "the host's time has a year that the clock has no room for; give "
			       "another base");
	*ns = (uint64_t)now.tv_nsec;
	return 0;
}

static void set_clock(struct rtc_state *s, const struct tm *tm)
{
	uint64_t days = days_of((uint64_t)(tm->tm_year + 1900), (unsigned int)tm->tm_mon + 1,
				(unsigned int)tm->tm_mday) -
			RTC_DAYS;
	unsigned int second = (unsigned int)MIN(tm->tm_sec, 59); /* a leap second is the last */

	set_date(s, days);
	set_second_of_day(s, (unsigned int)(tm->tm_hour * 3600 + tm->tm_min * 60) + second);
	s->ram[RTC_WEEKDAY] = encode(s, (days + 6) % 7 + 1);
}

/* @bytes 2 or 3; what does not fit is the most that does. */
static void put(struct rtc_state *s, unsigned int at, unsigned int bytes, uint64_t v)
{
	v = MIN(v, ones(bytes));
	for (unsigned int i = 0; i < bytes; i++)
		s->ram[at + i] = (uint8_t)(v >> (8 * i));
}

static void fill_memory_sizes(struct rtc_state *s, const struct gmem *mem)
{
	const struct gmem_region *regions;
	unsigned int count = gmem_regions(mem, &regions);
	uint64_t below = 0, above = 0;

	for (unsigned int i = 0; i < count; i++)
		if (regions[i].gpa < GMEM_HOLE_END)
			below = regions[i].gpa + regions[i].size;
		else
			above += regions[i].size;
	put(s, CMOS_BASE_MEMORY, 2, 640);
	put(s, CMOS_EXTENDED_MEMORY, 2, (below - MIN(below, MIB(1))) / KIB(1));
	put(s, CMOS_EXTENDED_FOUND, 2, (below - MIN(below, MIB(1))) / KIB(1));
	put(s, CMOS_ABOVE_16M, 2, (below - MIN(below, MIB(16))) / KIB(64));
	put(s, CMOS_ABOVE_4G, 3, above / KIB(64));
}

static void fill_checksum(struct rtc_state *s)
{
	unsigned int sum = 0;

	for (unsigned int i = CMOS_CHECKED; i < CMOS_CHECKSUM; i++)
		sum += s->ram[i];
	s->ram[CMOS_CHECKSUM] = (uint8_t)(sum >> 8);
	s->ram[CMOS_CHECKSUM + 1] = (uint8_t)sum;
}

static int rtc_create(struct device *dev, struct err *err)
{
	struct rtc *rtc = to_rtc(dev);
	struct rtc_state *s = &rtc->state;
	struct machine *m = dev->machine;
	uint64_t now = vtime_now(m->time), ns;
	struct tm tm = {0};
	int ret;

	timer_init(&rtc->event, m->time, dev, rtc_event);
	ret = read_base(rtc->options.base, &tm, &ns, err);
	if (ret)
		return ret;
	s->ram[RTC_A] = A_POWER_ON;
	s->ram[RTC_B] = B_24H;
	s->ram[RTC_D] = D_VRT;
	s->ram[CMOS_EQUIPMENT] = EQUIPMENT_FPU;
	fill_memory_sizes(s, m->mem);
	fill_checksum(s);
	set_clock(s, &tm);
	s->phase = (ns + NS_PER_S - now % NS_PER_S) % NS_PER_S;
	s->at = chain_count(s, now);
	ret = irq_attach(m->irqs, &rtc->line, RTC_GSI, err);
	if (ret)
		return ret;
	ret = bus_map(m->ports, RTC_BASE, RTC_LEN, &rtc_ops, dev, err);
	rtc->mapped = !ret;
	return ret;
}

/* "RESET": the clock, the alarm and the memory stay. */
static void rtc_reset(struct device *dev)
{
	struct rtc *rtc = to_rtc(dev);
	struct rtc_state *s = &rtc->state;

	rtc_catch_up(rtc);
	s->ram[RTC_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE | B_SQWE);
	s->ram[RTC_C] = 0;
	s->index = 0;
	rtc_update(rtc);
}

static int rtc_loaded(struct device *dev, struct err *err)
{
	struct rtc *rtc = to_rtc(dev);
	const struct rtc_state *s = &rtc->state;
	bool clean = true;

	for (unsigned int i = 0; i < sizeof(s->reserved); i++)
		clean = clean && !s->reserved[i];
	if (!clean || s->index >= RTC_RAM || s->ram[RTC_A] & A_UIP || s->ram[RTC_C] & ~C_EVENTS ||
	    s->ram[RTC_D] != D_VRT || (s->ram[RTC_B] & B_SET && s->ram[RTC_B] & B_UIE))
		return err_set(err, EPROTO,
			       "%s: index %#x, registers %#x, %#x, %#x, %#x are not a state that "
			       "the device can be in",
			       dev->id, s->index, s->ram[RTC_A], s->ram[RTC_B], s->ram[RTC_C],
			       s->ram[RTC_D]);
	if (s->phase >= NS_PER_S || s->at > chain_count(s, vtime_now(dev->machine->time)))
		return err_set(err, EPROTO, "%s: the clock is ahead of the machine's time",
			       dev->id);
	rtc_update(rtc);
	return 0;
}

static void rtc_destroy(struct device *dev)
{
	struct rtc *rtc = to_rtc(dev);

	if (rtc->mapped)
		bus_unmap(dev->machine->ports, RTC_BASE);
	timer_cancel(&rtc->event);
	irq_detach(&rtc->line);
}

static void rtc_describe(const struct device *dev, struct aml *aml)
{
	(void)dev;
	aml_device(aml, "RTC");
	aml_name(aml, "_HID");
	aml_eisa_id(aml, "PNP0B00");
	aml_name(aml, "_CRS");
	aml_resources(aml);
	aml_io(aml, RTC_BASE, RTC_LEN);
	aml_irq(aml, RTC_GSI);
	aml_end(aml);
	aml_end(aml);
	aml_has_cmos_rtc(aml, CMOS_CENTURY);
}

/* Explaining: the index is remembered. */

static void explain_byte(uint8_t index, uint8_t value, struct explanation *e)
{
	static const char *const names[] = {
		"SECONDS", "SECONDS_ALARM",
		"MINUTES", "MINUTES_ALARM",
		"HOURS",   "HOURS_ALARM",
		"WEEKDAY", "DAY_OF_MONTH",
		"MONTH",   "YEAR",
		"A",       "B",
		"C",       "D",
	};
	static const char *const b[] = {"DSE", "24h", "binary", "SQWE", "UIE", "AIE", "PIE", "SET"};
	static const char *const c[] = {NULL, NULL, NULL, NULL, "UF", "AF", "PF", "IRQF"};

	if (index < ARRAY_SIZE(names))
		explain_reg(e, "%s", names[index]);
	else
		explain_reg(e, index == CMOS_CENTURY ? "CENTURY" : "RAM_%02x", index);
	if (index == RTC_A)
		explain_add(e, "rate %u%s", value & A_RS, value & A_UIP ? " UIP" : "");
	else if (index == RTC_B)
		explain_bits(e, value, b, ARRAY_SIZE(b));
	else if (index == RTC_C)
		explain_bits(e, value, c, ARRAY_SIZE(c));
}

static void rtc_explain(const struct access *a, struct explain_memory *m, struct explanation *e)
{
	struct explanation at = {.part = ""};

	if (a->offset % 2) {
		explain_byte(m->byte[a->offset / 2 % 2], (uint8_t)a->value, e);
		return;
	}
	explain_reg(e, "INDEX");
	if (!a->write)
		return;
	m->byte[a->offset / 2 % 2] = (uint8_t)a->value % RTC_RAM;
	explain_byte((uint8_t)a->value % RTC_RAM, 0, &at);
	explain_add(e, "%s%s", at.reg, a->value & 0x80 ? ", NMI off" : "");
}

DEVICE_CLASS(rtc146818) = {
	.name = "rtc146818",
	.summary = "clock and battery-backed memory of a PC (MC146818A)",
	.size = sizeof(struct rtc),
	.options = rtc_options,
	.options_offset = offsetof(struct rtc, options),
	.state = &rtc_state,
	.state_offset = offsetof(struct rtc, state),
	.ticks = true,
	.create = rtc_create,
	.reset = rtc_reset,
	.loaded = rtc_loaded,
	.destroy = rtc_destroy,
	.describe = rtc_describe,
	.explain = rtc_explain,
};
