/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What becomes of exits that no guest on this host earns at will: an entry that the processor
 * refuses, what KVM cannot emulate, events of the system. By a vCPU that KVM knows nothing of.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/kvm/kvm_priv.h"
#include "support/cm.h"
#include "support/rig.h"

struct bench {
	struct rig rig;
	struct kvm kvm;
	struct vcpu vcpu;
	struct kvm_run run;
};

static int set_up(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	assert_non_null(b);
	rig_init(&b->rig, 0);
	b->kvm.machine = &b->rig.machine;
	b->kvm.vcpus = &b->vcpu;
	b->kvm.vcpu_count = 1;
	b->kvm.fd = b->kvm.sys_fd = -1;
	b->vcpu = (struct vcpu){.kvm = &b->kvm, .id = 0, .fd = -1, .run = &b->run};
	*state = b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	rig_fini(&b->rig);
	free(b);
	return 0;
}

/* The machine ends so, and the vCPU enters no more. */
static void ends(struct bench *b, uint32_t reason, enum end_kind kind, const char *says)
{
	b->run.exit_reason = reason;
	assert_false(exit_handle(&b->vcpu));
	assert_true(b->rig.ended);
	assert_int_equal(b->rig.ending.kind, kind);
	if (!strstr(b->rig.ending.reason, says))
		fail_msg("'%s' does not say '%s'", b->rig.ending.reason, says);
}

static void an_entry_is_refused(void **state)
{
	struct bench *b = *state;

	b->run.fail_entry.hardware_entry_failure_reason = 0x80000021;
	ends(b, KVM_EXIT_FAIL_ENTRY, END_STUCK,
	     "could not enter the guest: the processor says 80000021");
}

static void kvm_cannot_be_entered(void **state)
{
	struct bench *b = *state;

	exit_run_failed(&b->vcpu, EFAULT);
	assert_true(b->rig.ended);
	assert_int_equal(b->rig.ending.kind, END_STUCK);
	assert_non_null(strstr(b->rig.ending.reason, "Bad address"));
}

static void an_instruction_is_not_emulated(void **state)
{
	static const uint8_t popcnt[] = {0xf3, 0x0f, 0xb8, 0x00};
	struct bench *b = *state;

	b->run.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
	b->run.internal.ndata = 4;
	b->run.emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
	b->run.emulation_failure.insn_size = sizeof(popcnt);
	memcpy(b->run.emulation_failure.insn_bytes, popcnt, sizeof(popcnt));
	ends(b, KVM_EXIT_INTERNAL_ERROR, END_STUCK, "f3 0f b8 00");
}

/* More bytes than there can be, as if KVM had lost its mind. */
static void an_instruction_is_too_long(void **state)
{
	struct bench *b = *state;

	b->run.internal.suberror = KVM_INTERNAL_ERROR_EMULATION;
	b->run.internal.ndata = 16;
	b->run.emulation_failure.flags = KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES;
	b->run.emulation_failure.insn_size = 255;
	ends(b, KVM_EXIT_INTERNAL_ERROR, END_STUCK, "does not emulate");
}

static void an_event_cannot_be_delivered(void **state)
{
	struct bench *b = *state;

	b->run.internal.suberror = KVM_INTERNAL_ERROR_DELIVERY_EV;
	ends(b, KVM_EXIT_INTERNAL_ERROR, END_STUCK, "its tables lie outside memory");
}

static void other_internal_errors(void **state)
{
	struct bench *b = *state;

	b->run.internal.suberror = 77;
	ends(b, KVM_EXIT_INTERNAL_ERROR, END_STUCK, "kind 77");
}

static void a_shutdown(void **state)
{
	ends(*state, KVM_EXIT_SHUTDOWN, END_TRIPLE_FAULT, "triple fault");
}

static void system_events(void **state)
{
	struct bench *b = *state;

	b->run.system_event.type = KVM_SYSTEM_EVENT_SHUTDOWN;
	ends(b, KVM_EXIT_SYSTEM_EVENT, END_POWEROFF, "powered off");
	b->rig.ended = false;
	b->run.system_event.type = KVM_SYSTEM_EVENT_RESET;
	ends(b, KVM_EXIT_SYSTEM_EVENT, END_RESET, "reset");
	b->rig.ended = false;
	b->run.system_event.type = KVM_SYSTEM_EVENT_CRASH;
	ends(b, KVM_EXIT_SYSTEM_EVENT, END_STUCK, "crash");
}

static void reasons_that_nobody_knows(void **state)
{
	struct bench *b = *state;

	ends(b, 4711, END_STUCK, "does not know: other (4711)");
	b->rig.ended = false;
	ends(b, KVM_EXIT_DEBUG, END_STUCK, "debug");
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_entry_is_refused),
		TEST(kvm_cannot_be_entered),
		TEST(an_instruction_is_not_emulated),
		TEST(an_instruction_is_too_long),
		TEST(an_event_cannot_be_delivered),
		TEST(other_internal_errors),
		TEST(a_shutdown),
		TEST(system_events),
		TEST(reasons_that_nobody_knows),
	};

	return cmocka_run_group_tests_name("kvm_exit", tests, NULL, NULL);
}
