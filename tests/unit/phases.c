/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a boot's time goes, by what skep knows and what the guest says. Times here are in ms. */
#include <stdio.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/device.h"
#include "skep/phases.h"
#include "support/cm.h"

struct bench {
	struct phases p;
	struct device com1, hvc0;
	struct phase_facts facts;
	struct timeline t;
};

static uint64_t ms(uint64_t n)
{
	return n * NS_PER_MS;
}

static int set_up(void **state)
{
	static struct bench b;

	b = (struct bench){
		.facts =
			{
				.started = ms(1000),
				.created = ms(1001),
				.assembled = ms(1003),
				.loaded = ms(1010),
				.first_entry = ms(1012),
				.first_exit = ms(1020),
				.ended = ms(2000),
			},
	};
	phases_init(&b.p);
	*state = &b;
	return 0;
}

static int tear_down(void **state)
{
	phases_fini(&((struct bench *)*state)->p);
	return 0;
}

static void says(struct bench *b, const struct device *dev, uint64_t at, const char *text)
{
	phases_bytes(&b->p, dev, (const uint8_t *)text, strlen(text), ms(at));
}

static void one_by_one(struct bench *b, uint64_t at, const char *text)
{
	for (; *text; text++)
		phases_bytes(&b->p, &b->com1, (const uint8_t *)text, 1, ms(at));
}

/* @took: UINT64_MAX is "did not come". */
static void took(struct bench *b, enum phase_kind kind, uint64_t at, uint64_t took)
{
	const struct timeline_phase *p = &b->t.phases[kind];

	phases_timeline(&b->p, &b->facts, &b->t);
	if (p->came != (took != UINT64_MAX) ||
	    (p->came && (p->at != ms(at) || p->took != ms(took))))
		fail_msg("%s: %d, at %llu us for %llu us", phase_name(kind), p->came,
			 (unsigned long long)p->at / 1000, (unsigned long long)p->took / 1000);
}

static void absent(struct bench *b, enum phase_kind kind)
{
	took(b, kind, 0, UINT64_MAX);
}

static void a_silent_guest_has_what_skep_knows(void **state)
{
	struct bench *b = *state;

	took(b, PHASE_START, 0, 1);
	took(b, PHASE_ASSEMBLY, 1, 2);
	took(b, PHASE_LOADER, 3, 7);
	absent(b, PHASE_UNPACK);
	took(b, PHASE_ENTRY, 10, 2);
	absent(b, PHASE_DECOMPRESS);
	took(b, PHASE_KERNEL, 12, 988);
	absent(b, PHASE_INIT);
	assert_int_equal(b->t.total, ms(1000));
	assert_int_equal(b->t.mark_count, 0);
}

static void unpacking_is_a_part_of_loading(void **state)
{
	struct bench *b = *state;

	b->facts.unpack_from = ms(1004);
	b->facts.unpack_to = ms(1009);
	took(b, PHASE_LOADER, 3, 7);
	took(b, PHASE_UNPACK, 4, 5);
}

static void no_instruction_was_run(void **state)
{
	struct bench *b = *state;

	b->facts.first_entry = b->facts.first_exit = 0;
	b->facts.ended = ms(1011);
	took(b, PHASE_ENTRY, 10, 1);
	absent(b, PHASE_KERNEL);
}

/* The first line comes late, for the console does; the clock began 20 ms behind the entry. */
static void a_log_is_placed_by_its_own_clock(void **state)
{
	struct bench *b = *state;

	b->facts.unpacks_itself = true;
	b->facts.first_exit = ms(1100);
	says(b, &b->com1, 1140, "[    0.000000] Linux version 6.1.0\r\n");
	says(b, &b->com1, 1141, "[    0.010000] Command line: console=ttyS0\r\n");
	says(b, &b->com1, 1152, "[    0.120000] smp: Brought up 1 node, 1 CPU\r\n");
	says(b, &b->com1, 1300, "[    0.200000][    T1] Run /init as init process\r\n");
	took(b, PHASE_DECOMPRESS, 12, 20);
	took(b, PHASE_KERNEL, 32, 200);
	took(b, PHASE_INIT, 232, 768);
	/* What user space says is nothing to go by. */
	says(b, &b->com1, 1400, "[    0.399000] Run /init as init process\r\n");
	took(b, PHASE_INIT, 232, 768);
}

static void bytes_come_as_they_come(void **state)
{
	struct bench *b = *state;

	one_by_one(b, 1030, "[   ");
	one_by_one(b, 1035, " 0.010000] Linux version\n\n");
	one_by_one(b, 1050, "\r\n[    0.0");
	/* The other console's line stands by itself. */
	says(b, &b->hvc0, 1051, "[    0.02");
	one_by_one(b, 1060, "30000] Run /sbin/init as init process\n");
	took(b, PHASE_KERNEL, 12, 38);
	took(b, PHASE_INIT, 50, 950);
}

static void a_log_without_times_is_placed_as_it_comes(void **state)
{
	struct bench *b = *state;

	b->facts.unpacks_itself = true;
	b->facts.first_exit = ms(1100);
	says(b, &b->com1, 1090, "Linux version 6.1.0\n");
	says(b, &b->com1, 1500, "Run /init as init process\n");
	took(b, PHASE_DECOMPRESS, 12, 78);
	took(b, PHASE_KERNEL, 90, 410);
	took(b, PHASE_INIT, 500, 500);
}

static void a_decompressor_that_speaks_is_believed(void **state)
{
	struct bench *b = *state;

	b->facts.unpacks_itself = true;
	says(b, &b->com1, 1021, "Decompressing Linux... Parsing ELF... done.\n");
	says(b, &b->com1, 1200, "Booting the kernel (entry_offset: 0x0).\n");
	says(b, &b->com1, 1300, "[    0.000000] Linux version 6.1.0\r\n");
	took(b, PHASE_DECOMPRESS, 12, 188);
	took(b, PHASE_KERNEL, 200, 800);
}

/* Nothing on the console: the first thing that a kernel does outside is the sign. */
static void a_quiet_kernel_shows_by_its_first_exit(void **state)
{
	struct bench *b = *state;

	b->facts.unpacks_itself = true;
	took(b, PHASE_DECOMPRESS, 12, 8);
	took(b, PHASE_KERNEL, 20, 980);
	b->facts.first_exit = 0;
	took(b, PHASE_DECOMPRESS, 12, 988);
	absent(b, PHASE_KERNEL);
}

static void the_first_mark_stands_for_init(void **state)
{
	struct bench *b = *state;

	phases_mark(&b->p, "7", ms(1500));
	phases_mark(&b->p, "ready", ms(1600));
	phases_mark(&b->p, "7", ms(1700));
	took(b, PHASE_KERNEL, 12, 488);
	took(b, PHASE_INIT, 500, 500);
	assert_int_equal(b->t.mark_count, 2);
	assert_string_equal(b->t.marks[0].name, "7");
	assert_int_equal(b->t.marks[0].at, ms(500));
	assert_string_equal(b->t.marks[1].name, "ready");
	assert_int_equal(b->t.marks[1].at, ms(600));
	says(b, &b->com1, 1550, "Run /init as init process\n");
	took(b, PHASE_INIT, 550, 450);
}

/* What a user's shell can do, where it cannot reach the port. */
static void a_line_is_a_mark(void **state)
{
	struct bench *b = *state;

	says(b, &b->com1, 1500, "[    0.200000] Run /init as init process\r\n");
	one_by_one(b, 1600, "skep-mark: net-up\r\n");
	says(b, &b->com1, 1650, "[    0.300000] skep-mark: from.kmsg\n");
	says(b, &b->com1, 1700, "# echo skep-mark: typed\n");
	says(b, &b->com1, 1700, "skep-mark: two words\n");
	says(b, &b->com1, 1700, "skep-mark: \n");
	says(b, &b->com1, 1700, "skep-mark: a-name-of-more-bytes-than-one-may-have\n");
	says(b, &b->com1, 1700, "skep-mark: e\x1b[2J\n");
	says(b, &b->com1, 1800, "skep-mark: unfinished");
	phases_timeline(&b->p, &b->facts, &b->t);
	assert_int_equal(b->t.mark_count, 2);
	assert_string_equal(b->t.marks[0].name, "net-up");
	assert_int_equal(b->t.marks[0].at, ms(600));
	assert_string_equal(b->t.marks[1].name, "from.kmsg");
}

static void marks_are_bounded(void **state)
{
	struct bench *b = *state;
	char name[64];

	phases_mark(&b->p, "a-name-that-is-longer-than-any-mark-may-be", ms(1500));
	for (unsigned int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "%u", i);
		phases_mark(&b->p, name, ms(1500 + i));
	}
	phases_timeline(&b->p, &b->facts, &b->t);
	assert_int_equal(b->t.mark_count, PHASE_MARKS_MAX);
	assert_int_equal(strlen(b->t.marks[0].name), PHASE_MARK_NAME - 1);
}

static void what_comes_behind_a_reset_does_not_count(void **state)
{
	struct bench *b = *state;

	phases_mark(&b->p, "one", ms(1100));
	phases_mark(&b->p, "two", ms(1400));
	says(b, &b->com1, 1450, "Run /init as init process\n");
	b->facts.first_reset = ms(1300);
	took(b, PHASE_KERNEL, 12, 288);
	assert_int_equal(b->t.mark_count, 1);
	assert_int_equal(b->t.total, ms(1000));
}

static void a_guest_that_lies_puts_nothing_out_of_place(void **state)
{
	static const char *const lies[] = {
		"[999999999.999999] x\n",
		"[    0.000000] Run /init as init process\n",
		"[9999999999.000000] x\n",
		"[    1.000000 x\n",
		"[] x\n",
		"[    0.0000001] x\n",
		"[    0.000000][ x\n",
		"[",
		"\n",
		"Run ",
	};
	struct bench *b = *state;
	uint8_t all[256];

	for (unsigned int i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)i;
	b->facts.unpacks_itself = true;
	for (unsigned int i = 0; i < 2000; i++) {
		says(b, &b->com1, 1100, lies[i % ARRAY_SIZE(lies)]);
		phases_bytes(&b->p, &b->hvc0, all, sizeof(all), ms(1100));
		b->p.heard_init = false;
	}
	phases_timeline(&b->p, &b->facts, &b->t);
	for (unsigned int i = 0; i < PHASE_KINDS; i++) {
		const struct timeline_phase *p = &b->t.phases[i];

		assert_true(!p->came || p->at + p->took <= b->t.total);
	}
}

static void more_consoles_than_there_is_room_for(void **state)
{
	struct bench *b = *state;
	struct device many[PHASE_CONSOLES_MAX + 3];

	for (unsigned int i = 0; i < ARRAY_SIZE(many); i++)
		says(b, &many[i], 1100, "Run ");
	says(b, &many[ARRAY_SIZE(many) - 1], 1200, "/init as init process\n");
	absent(b, PHASE_INIT);
	says(b, &many[0], 1300, "/init as init process\n");
	took(b, PHASE_INIT, 100, 900);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_silent_guest_has_what_skep_knows),
		TEST(unpacking_is_a_part_of_loading),
		TEST(no_instruction_was_run),
		TEST(a_log_is_placed_by_its_own_clock),
		TEST(bytes_come_as_they_come),
		TEST(a_log_without_times_is_placed_as_it_comes),
		TEST(a_decompressor_that_speaks_is_believed),
		TEST(a_quiet_kernel_shows_by_its_first_exit),
		TEST(the_first_mark_stands_for_init),
		TEST(a_line_is_a_mark),
		TEST(marks_are_bounded),
		TEST(what_comes_behind_a_reset_does_not_count),
		TEST(a_guest_that_lies_puts_nothing_out_of_place),
		TEST(more_consoles_than_there_is_room_for),
	};

	return cmocka_run_group_tests_name("phases", tests, NULL, NULL);
}
