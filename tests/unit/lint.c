/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rules of lint.h, each with events that earn it and events that nearly do. Real guests that
 * make these mistakes are in tests/guest/lint.c; what firmware and Linux do to the chips is held
 * against the rules in golden.c.
 */
#include "support/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/clock.h"
#include "skep/err.h"
#include "skep/kvm.h"
#include "skep/lint.h"
#include "skep/trace.h"

enum { VCPU0, WORKER, VCPU1 }; /* threads */
enum { CHIP, DISK };           /* devices */

struct fixture {
	struct trace_header header;
	struct lint_live live;
	struct kvm_gate gate;
	struct lint *lint;
	uint64_t time;
	unsigned int told;
};

static bool ask_gate(void *arg, unsigned int vcpu, uint8_t vector, struct kvm_gate *gate)
{
	const struct fixture *f = arg;

	(void)vcpu;
	(void)vector;
	*gate = f->gate;
	return true;
}

static uint64_t ask_rip(void *arg, unsigned int vcpu)
{
	(void)arg;
	return 0x100000 + vcpu;
}

static bool ask_symbol(void *arg, uint64_t address, char *text, size_t room)
{
	(void)arg;
	snprintf(text, room, "f+0x%llx", (unsigned long long)(address & 0xff));
	return true;
}

static void told(void *arg, const struct lint_finding *finding)
{
	struct fixture *f = arg;

	assert_non_null(finding->rule);
	f->told++;
}

static void begin(struct fixture *f, bool from_power_on)
{
	struct err err;

	*f = (struct fixture){
		.gate = {.handler = 0x100500,
			 .protected_mode = true,
			 .within = true,
			 .present = true,
			 .interrupts_on = true},
		.live = {.gate = ask_gate, .rip = ask_rip, .symbol = ask_symbol, .arg = f},
	};
	f->header.thread_count = 2;
	f->header.threads[WORKER].kind = TRACE_WORKER;
	f->header.threads[VCPU0].kind = TRACE_VCPU;
	f->header.threads[VCPU1].kind = TRACE_VCPU;
	f->header.threads[VCPU1].index = 1;
	f->header.device_count = 2;
	strcpy(f->header.devices[CHIP].id, "chip");
	strcpy(f->header.devices[CHIP].model, "model");
	strcpy(f->header.devices[DISK].id, "disk0");
	assert_int_equal(lint_create(&f->lint, &f->header, from_power_on, &f->live, told, f, &err),
			 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	begin(f, true);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	lint_destroy(f->lint);
	free(f);
	return 0;
}

static void happen_on(struct fixture *f, unsigned int thread, struct trace_event e,
		      const char *text)
{
	struct trace_record r = {.event = e, .thread = thread, .text = text};

	f->time += NS_PER_US;
	r.event.time = f->time;
	lint_event(f->lint, &r);
}

static void happen(struct fixture *f, struct trace_event e)
{
	happen_on(f, VCPU0, e, "");
}

static void out(struct fixture *f, uint16_t port, uint8_t value)
{
	happen(f, (struct trace_event){
			  .kind = TRACE_WRITE, .size = 1, .device = CHIP, .b = value, .c = port});
}

static void in(struct fixture *f, uint16_t port, uint8_t value)
{
	happen(f, (struct trace_event){
			  .kind = TRACE_READ, .size = 1, .device = CHIP, .b = value, .c = port});
}

static void wire(struct fixture *f, unsigned int gsi, bool level)
{
	happen(f, (struct trace_event){.kind = TRACE_IRQ, .sub = level, .a = gsi});
}

static void take(struct fixture *f, unsigned int irq)
{
	happen(f,
	       (struct trace_event){.kind = TRACE_INTA, .device = CHIP, .a = irq, .b = 0x20 + irq});
}

static void halt(struct fixture *f, bool interrupts_on, uint32_t apic)
{
	happen(f, (struct trace_event){.kind = TRACE_HALTED, .sub = interrupts_on, .a = apic});
}

static void remark(struct fixture *f, enum trace_remark what, uint32_t a, uint64_t b, uint64_t c)
{
	happen(f, (struct trace_event){.kind = TRACE_REMARK,
				       .sub = (uint8_t)what,
				       .device = DISK,
				       .a = a,
				       .b = b,
				       .c = c});
}

/* The pair as it should be, everything unmasked but what @mask says. */
static void init(struct fixture *f, uint8_t mask)
{
	static const uint8_t words[][2] = {
		{0x20, 0x11}, {0x21, 0x20}, {0x21, 0x04}, {0x21, 0x01},
		{0xa0, 0x11}, {0xa1, 0x28}, {0xa1, 0x02}, {0xa1, 0x01},
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		out(f, words[i][0], words[i][1]);
	out(f, 0x21, mask);
	out(f, 0xa1, 0);
}

static void tick(struct fixture *f)
{
	wire(f, 0, true);
	wire(f, 0, false);
}

static void must_find_nothing(const struct fixture *f)
{
	const struct lint_finding *findings;
	char text[1024];

	if (!lint_findings(f->lint, &findings))
		return;
	lint_format(&findings[0], 0, text, sizeof(text));
	fail_msg("%s", text);
}

/* One finding, which it returns. */
static const struct lint_finding *must_find(const struct fixture *f, const char *rule)
{
	const struct lint_finding *findings;
	size_t n = lint_findings(f->lint, &findings);

	assert_int_equal(n, 1);
	assert_int_equal(f->told, 1);
	assert_string_equal(findings[0].rule->name, rule);
	return findings;
}

/* The 8259A pair */

static void test_order_of_words(void **state)
{
	struct fixture *f = *state;

	/* A mask before any word is how one finds out whether there is a chip. */
	out(f, 0x21, 0xff);
	in(f, 0x21, 0xff);
	init(f, 0xff);
	init(f, 0xfb);
	must_find_nothing(f);
	out(f, 0x20, 0x11);
	out(f, 0x21, 0x20);
	out(f, 0x20, 0x11);
	assert_non_null(strstr(must_find(f, "icw-order")->what, "ICW3"));
}

static void test_command_amid_words(void **state)
{
	struct fixture *f = *state;

	out(f, 0xa0, 0x11);
	out(f, 0x20, 0x0b); /* that is the other one's */
	must_find_nothing(f);
	out(f, 0xa0, 0x0b);
	assert_non_null(strstr(must_find(f, "icw-order")->what, "ICW2"));
}

static void test_mask_taken_for_icw4(void **state)
{
	struct fixture *f = *state;

	out(f, 0x20, 0x11);
	out(f, 0x21, 0x20);
	out(f, 0x21, 0x04);
	out(f, 0x21, 0x1d); /* master of buffered mode, special fully nested: no mask */
	out(f, 0x21, 0xfe);
	must_find_nothing(f);
	out(f, 0x20, 0x11);
	out(f, 0x21, 0x20);
	out(f, 0x21, 0x04);
	out(f, 0x21, 0xfe);
	assert_non_null(strstr(must_find(f, "icw-order")->what, "taken as ICW4"));
}

static void test_values_of_words(void **state)
{
	static const uint8_t wrong[][4] = {
		{0x13, 0x20, 0x01, 0xff}, /* single */
		{0x10, 0x20, 0x04, 0xff}, /* no ICW4 */
		{0x11, 0x21, 0x04, 0x01}, /* vectors */
		{0x11, 0x20, 0x02, 0x01}, /* the slave's ICW3 */
		{0x11, 0x20, 0x04, 0x00}, /* MCS-80 */
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		lint_destroy(f->lint);
		begin(f, true);
		out(f, 0x20, wrong[i][0]);
		for (unsigned int n = 1; n < 4; n++)
			out(f, 0x21, wrong[i][n]);
		must_find(f, "icw-value");
	}
}

static void test_missing_eoi_at_halt(void **state)
{
	struct fixture *f = *state;

	init(f, 0xfe);
	tick(f);
	take(f, 0);
	halt(f, false, 0); /* in the handler, say: this is no waiting */
	happen(f, (struct trace_event){.kind = TRACE_HALTED, .sub = 1, .c = 1}); /* on its way */
	must_find_nothing(f);
	halt(f, true, 0);
	halt(f, true, 0);
	assert_int_equal(must_find(f, "eoi-missing")->rip, 0x100500);
}

static void test_ended_in_time(void **state)
{
	struct fixture *f = *state;

	init(f, 0);
	for (unsigned int i = 0; i < 300; i++) {
		tick(f);
		take(f, 0);
		out(f, 0x20, i % 2 ? 0x20 : 0x60);
		halt(f, true, 0);
	}
	take(f, 12);
	out(f, 0xa0, 0x20);
	out(f, 0x20, 0x20);
	/* In the other order, and in special mask mode, and by itself. */
	take(f, 12);
	out(f, 0x20, 0x62);
	out(f, 0xa0, 0x64);
	halt(f, true, 0);
	out(f, 0x20, 0x11);
	out(f, 0x21, 0x20);
	out(f, 0x21, 0x04);
	out(f, 0x21, 0x03);
	take(f, 0);
	halt(f, true, 0);
	f->time += NS_PER_S;
	lint_finish(f->lint, f->time);
	must_find_nothing(f);
}

/* A handler of low priority is long, and interrupted by the tick all the time. */
static void test_long_handler(void **state)
{
	struct fixture *f = *state;

	init(f, 0);
	wire(f, 4, true);
	take(f, 4);
	for (unsigned int i = 0; i < 200; i++) {
		tick(f);
		take(f, 0);
		out(f, 0x20, 0x20);
	}
	must_find_nothing(f);
	/* What is more urgent does not wait for it, and what is masked does not wait. */
	wire(f, 7, true);
	wire(f, 3, true);
	take(f, 3);
	out(f, 0x21, 0x80);
	out(f, 0x20, 0x20);
	must_find_nothing(f);
	out(f, 0x21, 0);
	assert_non_null(strstr(must_find(f, "eoi-missing")->what, "interrupt 4"));
}

static void test_missing_eoi_at_the_end(void **state)
{
	struct fixture *f = *state;

	init(f, 0);
	tick(f);
	take(f, 0);
	tick(f);
	lint_finish(f->lint, f->time + NS_PER_MS);
	must_find_nothing(f);
	lint_finish(f->lint, f->time + NS_PER_S);
	must_find(f, "eoi-missing");
}

static void test_master_alone(void **state)
{
	struct fixture *f = *state;

	init(f, 0);
	take(f, 12);
	out(f, 0x20, 0x20);
	must_find_nothing(f);
	halt(f, true, 0);
	assert_non_null(strstr(must_find(f, "eoi-master-only")->what, "interrupt 12"));
}

static void test_slave_alone(void **state)
{
	struct fixture *f = *state;

	init(f, 0);
	take(f, 12);
	out(f, 0xa0, 0x20);
	must_find_nothing(f);
	halt(f, true, 0);
	must_find(f, "eoi-slave-only");
}

static void test_neither(void **state)
{
	struct fixture *f = *state;

	init(f, 0);
	take(f, 12);
	halt(f, true, 0);
	assert_non_null(strstr(must_find(f, "eoi-missing")->what, "interrupt 12"));
}

static void test_nothing_to_end(void **state)
{
	struct fixture *f = *state;

	init(f, 0);
	tick(f);
	take(f, 0);
	out(f, 0x20, 0x20);
	must_find_nothing(f);
	out(f, 0x20, 0x20);
	assert_int_equal(must_find(f, "eoi-nothing")->rip, 0x100000);
	assert_string_equal(must_find(f, "eoi-nothing")->symbol, "f+0x0");
}

static void test_another_to_end(void **state)
{
	struct fixture *f = *state;

	init(f, 0);
	tick(f);
	take(f, 0);
	out(f, 0x20, 0x61);
	assert_non_null(strstr(must_find(f, "eoi-nothing")->what, "input 1"));
}

static void test_spurious(void **state)
{
	struct fixture *f = *state;

	init(f, 0);
	happen(f, (struct trace_event){
			  .kind = TRACE_INTA, .sub = 1, .device = CHIP, .a = 7, .b = 0x27});
	halt(f, true, 0);
	must_find_nothing(f);
	out(f, 0x20, 0x20);
	must_find(f, "eoi-nothing");
}

/* Of a trace whose beginning was lost nobody knows what is in service. */
static void test_unknown(void **state)
{
	struct fixture *f = *state;

	lint_destroy(f->lint);
	begin(f, false);
	out(f, 0x20, 0x20);
	out(f, 0xa0, 0x20);
	out(f, 0x21, 0xfe);
	take(f, 0);
	halt(f, true, 0);
	must_find_nothing(f);
	init(f, 0);
	out(f, 0x20, 0x20);
	must_find(f, "eoi-nothing");
}

static void test_polled(void **state)
{
	struct fixture *f = *state;

	init(f, 0);
	tick(f);
	out(f, 0x20, 0x0c);
	in(f, 0x20, 0x80);
	out(f, 0x20, 0x20);
	must_find_nothing(f);
	out(f, 0x20, 0x0c);
	in(f, 0x20, 0x00);
	out(f, 0x20, 0x20);
	must_find(f, "eoi-nothing");
}

static void test_reset(void **state)
{
	struct fixture *f = *state;

	init(f, 0);
	take(f, 0);
	happen(f, (struct trace_event){.kind = TRACE_RESET, .device = TRACE_NO_DEVICE});
	halt(f, true, 0);
	must_find_nothing(f);
}

static void test_no_gate(void **state)
{
	struct fixture *f = *state;

	init(f, 0);
	take(f, 0);
	out(f, 0x20, 0x20);
	must_find_nothing(f);
	f->gate.present = false;
	take(f, 0);
	assert_non_null(strstr(must_find(f, "no-handler")->what, "not present"));
}

static void test_beyond_the_table(void **state)
{
	struct fixture *f = *state;

	init(f, 0);
	f->gate.within = false;
	take(f, 5);
	assert_non_null(strstr(must_find(f, "no-handler")->what, "beyond the limit"));
}

static void test_exception_vector(void **state)
{
	struct fixture *f = *state;
	struct trace_event e = {.kind = TRACE_INTA, .device = CHIP, .a = 0, .b = 8};

	init(f, 0);
	f->gate.protected_mode = false; /* as a BIOS has it */
	happen(f, e);
	out(f, 0x20, 0x20);
	must_find_nothing(f);
	f->gate.protected_mode = true;
	happen(f, e);
	must_find(f, "exception-vector");
}

/* The guest does something in each period. */
static void ticks(struct fixture *f, unsigned int n, bool busy)
{
	while (n--) {
		tick(f);
		if (busy)
			out(f, 0x3f8, 'x');
	}
}

static void test_lost_ticks(void **state)
{
	struct fixture *f = *state;

	init(f, 0);
	ticks(f, 100, true); /* it has never taken one: nobody wants them yet */
	take(f, 0);
	out(f, 0x20, 0x20);
	ticks(f, 60, true);
	take(f, 0);
	out(f, 0x20, 0x20);
	ticks(f, 100, false); /* the host was busy with something else */
	must_find_nothing(f);
	take(f, 0);
	out(f, 0x20, 0x20);
	out(f, 0x21, 1);
	ticks(f, 100, true); /* masked */
	must_find_nothing(f);
	take(f, 0);
	out(f, 0x20, 0x20);
	out(f, 0x21, 0);
	ticks(f, 70, true);
	assert_non_null(strstr(must_find(f, "tick-lost")->what, "interrupts to be on"));
}

/* The IOAPIC and the local APIC */

static void redirect(struct fixture *f, unsigned int pin, uint64_t entry)
{
	const uint64_t words[][2] = {
		{0xfec00000, 0x11 + 2 * pin},
		{0xfec00010, entry >> 32},
		{0xfec00000, 0x10 + 2 * pin},
		{0xfec00010, (uint32_t)entry},
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		happen(f, (struct trace_event){.kind = TRACE_WRITE,
					       .sub = TRACE_MEMORY,
					       .size = 4,
					       .device = CHIP,
					       .b = words[i][1],
					       .c = words[i][0]});
}

static void test_ioapic_vectors(void **state)
{
	struct fixture *f = *state;

	redirect(f, 1, 0x20);
	redirect(f, 2, 0x10008); /* masked */
	redirect(f, 3, 0x700);   /* ExtINT: the vector is the 8259A's */
	must_find_nothing(f);
	redirect(f, 2, 0x1f);
	must_find(f, "exception-vector");
}

static void deliver(struct fixture *f, unsigned int pin, uint8_t vector)
{
	happen_on(
		f, WORKER,
		(struct trace_event){.kind = TRACE_DELIVER, .device = CHIP, .a = pin, .b = vector},
		"");
}

static void test_message_without_gate(void **state)
{
	struct fixture *f = *state;

	redirect(f, 4, 0x24);
	f->gate.present = f->gate.interrupts_on = false;
	deliver(f, 4, 0x24);
	out(f, 0x3f8, 'x'); /* the table is still to be loaded */
	must_find_nothing(f);
	f->gate.present = f->gate.interrupts_on = true;
	out(f, 0x3f8, 'x');
	must_find_nothing(f);
	f->gate.present = false;
	out(f, 0x3f8, 'x'); /* it was taken by then */
	must_find_nothing(f);
	deliver(f, 4, 0x24);
	out(f, 0x3f8, 'x');
	assert_non_null(strstr(must_find(f, "no-handler")->what, "24h"));
}

/* To which of two processors a message goes is not known from its destination alone. */
static void test_message_to_another(void **state)
{
	struct fixture *f = *state;

	f->header.thread_count = 3;
	f->gate.present = false;
	redirect(f, 4, UINT64_C(1) << 56 | 0x24);
	deliver(f, 4, 0x24);
	out(f, 0x3f8, 'x');
	must_find_nothing(f);
	redirect(f, 4, 0x24);
	deliver(f, 4, 0x24);
	out(f, 0x3f8, 'x');
	must_find(f, "no-handler");
}

static void test_local_apic(void **state)
{
	struct fixture *f = *state;

	halt(f, true, 0x0000);
	halt(f, true, 0x3000);  /* nothing waits */
	halt(f, true, 0x3041);  /* what waits is more urgent: it is about to be taken */
	halt(f, false, 0x3030); /* interrupts are off */
	must_find_nothing(f);
	halt(f, true, 0x3031);
	assert_non_null(strstr(must_find(f, "eoi-apic")->what, "30h"));
}

static void test_all_masked(void **state)
{
	struct fixture *f = *state;

	halt(f, true, 0);
	tick(f);
	halt(f, true, 0); /* the chips may be KVM's */
	strcpy(f->header.devices[CHIP].model, "pic8259a");
	halt(f, false, 0);
	init(f, 0xfe);
	tick(f);
	halt(f, true, 0); /* one is open */
	out(f, 0x21, 0xfb);
	halt(f, true, 0); /* those of the slave are */
	out(f, 0x21, 0xff);
	redirect(f, 5, 0x30);
	halt(f, true, 0); /* of the IOAPIC */
	redirect(f, 5, 0x10030);
	happen(f, (struct trace_event){.kind = TRACE_HALTED, .sub = 1, .b = 1}); /* the timer */
	must_find_nothing(f);
	halt(f, true, 0);
	assert_non_null(strstr(must_find(f, "all-masked")->what, "every line is masked"));
}

static void test_never_initialized(void **state)
{
	struct fixture *f = *state;

	strcpy(f->header.devices[CHIP].model, "pic8259a");
	halt(f, true, 0); /* nobody asks: it is the end, maybe */
	must_find_nothing(f);
	tick(f);
	halt(f, true, 0);
	assert_non_null(strstr(must_find(f, "all-masked")->what, "never initialized"));
}

/* Virtio */

/* The driver's steps to its status, each looked at. */
static void steps(struct fixture *f, const uint8_t *status, size_t n)
{
	uint8_t before = 0;

	for (size_t i = 0; i < n; i++) {
		remark(f, TRACE_STATUS_WRITE, status[i], before, status[i]);
		before = status[i];
		remark(f, TRACE_STATUS_READ, 0, before, 0);
	}
}

static void test_virtio_order(void **state)
{
	static const uint8_t right[] = {0, 1, 3, 11, 15, 0, 1, 3, 11, 15, 0x8f};
	static const uint8_t wrong[][4] = {
		{0, 2, 11, 15}, /* no ACKNOWLEDGE */
		{0, 1, 9, 15},  /* FEATURES_OK with DRIVER to come */
		{0, 1, 3, 7},   /* a legacy driver */
		{0, 1, 3, 8},   /* bits are cleared */
	};
	struct fixture *f = *state;

	steps(f, right, ARRAY_SIZE(right));
	must_find_nothing(f);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		lint_destroy(f->lint);
		begin(f, true);
		steps(f, wrong[i], 4);
		must_find(f, "virtio-order");
	}
}

static void test_virtio_not_looked(void **state)
{
	struct fixture *f = *state;

	remark(f, TRACE_STATUS_WRITE, 1, 0, 1);
	remark(f, TRACE_STATUS_WRITE, 3, 1, 3);
	remark(f, TRACE_STATUS_READ, 0, 3, 0);
	remark(f, TRACE_STATUS_WRITE, 11, 3, 11);
	must_find_nothing(f);
	remark(f, TRACE_STATUS_WRITE, 15, 11, 15);
	assert_non_null(strstr(must_find(f, "virtio-order")->what, "nobody looked"));
}

static void test_virtio_features(void **state)
{
	struct fixture *f = *state;

	remark(f, TRACE_STATUS_WRITE, 1, 0, 1);
	remark(f, TRACE_STATUS_WRITE, 3, 1, 3);
	must_find_nothing(f);
	remark(f, TRACE_STATUS_WRITE, 11, 3, 3);
	must_find(f, "virtio-features");
}

static void test_virtio_features_late(void **state)
{
	struct fixture *f = *state;

	remark(f, TRACE_FEATURES_LATE, 0, 11, 0);
	must_find(f, "virtio-features");
}

static void test_virtio_early(void **state)
{
	struct fixture *f = *state;

	remark(f, TRACE_QUEUE_ENABLE, 0, 11, 1);
	remark(f, TRACE_QUEUE_DEAF, 0, 0x4f, 0); /* the device needs a reset */
	must_find_nothing(f);
	remark(f, TRACE_QUEUE_DEAF, 0, 11, 0);
	assert_non_null(strstr(must_find(f, "virtio-early")->what, "before DRIVER_OK"));
}

static void test_virtio_enabled_early(void **state)
{
	struct fixture *f = *state;

	remark(f, TRACE_QUEUE_ENABLE, 1, 3, 1);
	assert_non_null(strstr(must_find(f, "virtio-early")->what, "before FEATURES_OK"));
}

static void test_virtio_no_areas(void **state)
{
	struct fixture *f = *state;

	remark(f, TRACE_QUEUE_ENABLE, 1, 11, 0);
	assert_non_null(strstr(must_find(f, "virtio-early")->what, "addresses"));
}

static void head(struct fixture *f, bool done, unsigned int number, uint64_t address, uint32_t len,
		 uint16_t flags)
{
	happen_on(f, WORKER,
		  (struct trace_event){.kind = TRACE_HEAD,
				       .size = done,
				       .device = DISK,
				       .a = len,
				       .b = address,
				       .c = (uint64_t)number << 16 | flags},
		  "");
}

static void test_ring_before_descriptor(void **state)
{
	struct fixture *f = *state;

	head(f, false, 0, 0, 16, 0);
	head(f, false, 1, 0x1000, 0, 0);
	head(f, false, 2, 0, 0, 1);
	must_find_nothing(f);
	head(f, false, 3, 0, 0, 0);
	assert_int_equal(must_find(f, "ring-first")->vcpu, -1);
}

static void test_changed_descriptor(void **state)
{
	struct fixture *f = *state;

	head(f, false, 3, 0x1000, 16, 1);
	head(f, true, 3, 0x1000, 16, 1);
	head(f, false, 3, 0x2000, 16, 1); /* a new chain */
	head(f, true, 3, 0x2000, 16, 1);
	head(f, true, 3, 0x3000, 16, 1); /* of nothing that was seen */
	head(f, false, 4, 0x2000, 16, 1);
	head(f, true, 5, 0x2000, 16, 2);
	must_find_nothing(f);
	head(f, true, 4, 0x2000, 8, 1);
	must_find(f, "ring-changed");
}

static void test_loop(void **state)
{
	struct fixture *f = *state;
	struct trace_event e = {.kind = TRACE_BROKEN, .sub = UINT8_MAX, .device = DISK};

	happen_on(f, WORKER, e, "the host has no room");
	must_find_nothing(f);
	happen_on(f, WORKER, e, "queue 0: a chain is longer than the queue, or a loop");
	must_find(f, "ring-loop");
}

static void test_broken_ring(void **state)
{
	struct fixture *f = *state;

	happen_on(f, WORKER, (struct trace_event){.kind = TRACE_BROKEN, .device = DISK},
		  "queue 0: a buffer is outside RAM");
	must_find(f, "ring-broken");
}

/* Accesses */

static void test_remarks(void **state)
{
	static const struct {
		enum trace_remark what;
		const char *rule;
	} remarks[] = {
		{TRACE_EMPTY_READ, "empty-read"},
		{TRACE_FIXED_WRITE, "read-only"},
		{TRACE_BLIND_READ, "write-only"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(remarks); i++) {
		lint_destroy(f->lint);
		begin(f, true);
		remark(f, remarks[i].what, 5, 7, 0);
		must_find(f, remarks[i].rule);
	}
}

static void nowhere(struct fixture *f, enum trace_kind kind, unsigned int sub, uint64_t at)
{
	happen(f, (struct trace_event){.kind = (uint8_t)kind,
				       .sub = (uint8_t)sub,
				       .size = 1,
				       .device = TRACE_NO_DEVICE,
				       .b = 0xff,
				       .c = at});
}

static void test_nobody(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < 1000; i++) {
		nowhere(f, TRACE_WRITE, 0, 0x80);          /* a delay */
		nowhere(f, TRACE_READ, 0, 0x300 + i % 32); /* probing for devices */
		in(f, 0x64, 0x18);                         /* waiting for one that is there */
	}
	must_find_nothing(f);
	for (unsigned int i = 0; i < 1000; i++)
		nowhere(f, TRACE_READ, 0, 0x1f7);
	assert_non_null(strstr(must_find(f, "nobody")->what, "port 1f7h"));
}

static void test_no_screen(void **state)
{
	struct fixture *f = *state;

	for (unsigned int i = 0; i < 2000; i++)
		nowhere(f, TRACE_WRITE, TRACE_MEMORY, 0xb8000 + 2 * i);
	assert_non_null(strstr(must_find(f, "nobody")->what, "memory address b8"));
}

/* What is kept */

static void test_bounds(void **state)
{
	struct fixture *f = *state;
	const struct lint_finding *findings;
	size_t rules, rule = 0;

	for (unsigned int i = 0; i < 100; i++) {
		remark(f, TRACE_FIXED_WRITE, i % 50, i, 0);
		remark(f, TRACE_FIXED_WRITE, 0, i, 0);
	}
	assert_int_equal(lint_findings(f->lint, &findings), LINT_TOLD_MAX);
	assert_int_equal(f->told, LINT_TOLD_MAX);
	assert_int_equal(findings[0].count, 102);
	while (strcmp(lint_rules(&rules)[rule].name, "read-only") != 0)
		rule++;
	assert_int_equal(lint_untold(f->lint, rule), 2 * (50 - LINT_TOLD_MAX));
	assert_int_equal(lint_untold(f->lint, rules), 0);
}

static void test_rules(void **state)
{
	size_t n;
	const struct lint_rule *rules = lint_rules(&n);

	(void)state;
	for (size_t i = 0; i < n; i++) {
		assert_true(strlen(rules[i].name) && strlen(rules[i].summary) &&
			    strlen(rules[i].right) && strlen(rules[i].source));
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(rules[i].name, rules[k].name);
	}
}

static void test_format(void **state)
{
	struct fixture *f = *state;
	const struct lint_finding *findings;
	char text[1024];

	remark(f, TRACE_EMPTY_READ, 0, 0, 0);
	assert_int_equal(lint_findings(f->lint, &findings), 1);
	lint_format(findings, 0, text, sizeof(text));
	assert_non_null(strstr(text, "lint: 0.000001 s, vCPU 0 at 100000 (f+0x0): empty-read: "));
	assert_non_null(strstr(text, "\n  right: "));
	assert_non_null(strstr(text, "IBM PS/2"));
	/* Without anybody to ask. */
	lint_destroy(f->lint);
	f->live = (struct lint_live){.gate = NULL};
	f->told = 0;
	assert_int_equal(lint_create(&f->lint, &f->header, true, NULL, NULL, NULL, NULL), 0);
	remark(f, TRACE_EMPTY_READ, 0, 0, 0);
	init(f, 0);
	take(f, 0);
	deliver(f, 4, 0x24);
	halt(f, true, 0x3131);
	assert_int_equal(lint_findings(f->lint, &findings), 3);
	lint_format(findings, 0, text, sizeof(text));
	assert_non_null(strstr(text, "s, vCPU 0: empty-read: "));
}

#define RULE_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RULE_TEST(test_order_of_words),
		RULE_TEST(test_command_amid_words),
		RULE_TEST(test_mask_taken_for_icw4),
		RULE_TEST(test_values_of_words),
		RULE_TEST(test_missing_eoi_at_halt),
		RULE_TEST(test_ended_in_time),
		RULE_TEST(test_long_handler),
		RULE_TEST(test_missing_eoi_at_the_end),
		RULE_TEST(test_master_alone),
		RULE_TEST(test_slave_alone),
		RULE_TEST(test_neither),
		RULE_TEST(test_nothing_to_end),
		RULE_TEST(test_another_to_end),
		RULE_TEST(test_spurious),
		RULE_TEST(test_unknown),
		RULE_TEST(test_polled),
		RULE_TEST(test_reset),
		RULE_TEST(test_no_gate),
		RULE_TEST(test_beyond_the_table),
		RULE_TEST(test_exception_vector),
		RULE_TEST(test_lost_ticks),
		RULE_TEST(test_ioapic_vectors),
		RULE_TEST(test_message_without_gate),
		RULE_TEST(test_message_to_another),
		RULE_TEST(test_local_apic),
		RULE_TEST(test_all_masked),
		RULE_TEST(test_never_initialized),
		RULE_TEST(test_virtio_order),
		RULE_TEST(test_virtio_not_looked),
		RULE_TEST(test_virtio_features),
		RULE_TEST(test_virtio_features_late),
		RULE_TEST(test_virtio_early),
		RULE_TEST(test_virtio_enabled_early),
		RULE_TEST(test_virtio_no_areas),
		RULE_TEST(test_ring_before_descriptor),
		RULE_TEST(test_changed_descriptor),
		RULE_TEST(test_loop),
		RULE_TEST(test_broken_ring),
		RULE_TEST(test_remarks),
		RULE_TEST(test_nobody),
		RULE_TEST(test_no_screen),
		RULE_TEST(test_bounds),
		RULE_TEST(test_rules),
		RULE_TEST(test_format),
	};

	return cmocka_run_group_tests_name("lint", tests, NULL, NULL);
}
