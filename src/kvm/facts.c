/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What KVM on this host is and offers: for `skep doctor`, and for explaining why a guest stopped.
 */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm_priv.h"
#include "skep/bits.h"

const char *kvm_flavour(void)
{
	static const struct {
		const char *module, *name;
	} known[] = {
		{"/sys/module/kvm_intel", "kvm_intel"},
		{"/sys/module/kvm_amd", "kvm_amd"},
		{"/sys/module/kvm_pvm", "kvm_pvm"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (!access(known[i].module, F_OK))
			return known[i].name;
	return "kvm";
}

bool kvm_runs_kernels(void)
{
	return strcmp(kvm_flavour(), "kvm_pvm") != 0;
}

static const struct {
	int cap;
	const char *what;
	bool number; /* the value is a count, not a yes */
	bool vital;
	const char *cure;
} caps[] = {
	{KVM_CAP_IRQCHIP, "interrupt chips in the kernel", false, true, "a newer kernel has it"},
	{KVM_CAP_SPLIT_IRQCHIP, "split interrupt chips", false, false, "Linux 4.4 or newer has it"},
	{KVM_CAP_IOEVENTFD, "doorbells (ioeventfd)", false, true, "a newer kernel has it"},
	{KVM_CAP_IRQFD, "interrupts by eventfd (irqfd)", false, true, "a newer kernel has it"},
	{KVM_CAP_TSC_DEADLINE_TIMER, "TSC deadline timer", false, false,
	 "guests fall back to a slower timer"},
	{KVM_CAP_MAX_VCPUS, "vCPUs at most", true, false, NULL},
	{KVM_CAP_NR_MEMSLOTS, "memory slots at most", true, false, NULL},
};

size_t kvm_facts(int fd, struct kvm_fact *facts, size_t room)
{
	size_t n = 0;

	if (n < room) {
		facts[n] = (struct kvm_fact){.what = "KVM module"};
		snprintf(facts[n].value, sizeof(facts[n].value), "%s", kvm_flavour());
		n++;
	}
	if (n < room) {
		facts[n] = (struct kvm_fact){.what = "runs stock kernels"};
		snprintf(facts[n].value, sizeof(facts[n].value), "%s",
			 kvm_runs_kernels() ? "yes" : "no");
		if (!kvm_runs_kernels())
			facts[n].cure = "kvm_pvm emulates guest kernels: small payloads run; for "
					"stock kernels use another host, or tools/testbed";
		n++;
	}
	for (size_t i = 0; i < ARRAY_SIZE(caps) && n < room; i++, n++) {
		int v = ioctl(fd, KVM_CHECK_EXTENSION, caps[i].cap);

		facts[n] = (struct kvm_fact){.what = caps[i].what};
		if (caps[i].number)
			snprintf(facts[n].value, sizeof(facts[n].value), "%d", MAX(v, 0));
		else
			snprintf(facts[n].value, sizeof(facts[n].value), "%s",
				 v > 0 ? "yes" : "no");
		if (v <= 0) {
			facts[n].cure = caps[i].cure;
			facts[n].vital = caps[i].vital;
		}
	}
	return n;
}
