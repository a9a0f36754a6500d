/* SPDX-License-Identifier: BSD-2-Clause */
/* The ISA bridge: a header, at any slot, and nothing at all without PCI. */
#include <string.h>

#include "skep/bits.h"
#include "support/card.h"
#include "support/cm.h"

#define ISA_ID 0x71108086U

static void is_in_the_first_free_slot(void **state)
{
	struct rig r;
	struct device *host, *isa;

	(void)state;
	rig_init(&r, 0);
	host = rig_device(&r, "pci", "pci_host", "");
	isa = rig_device(&r, "isa", "isa_bridge", "");
	assert_non_null(host);
	assert_non_null(isa);
	assert_int_equal(config_in(&r, 0x08, 0, 4), ISA_ID);
	assert_int_equal(config_in(&r, 0x08, 8, 4), 0x06010000);
	assert_int_equal(config_in(&r, 0x08, 0x0c, 4), 0);
	/* No interrupt: neither pin nor line, and no switch for it. */
	config_out(&r, 0x08, 0x3c, 4, UINT32_MAX);
	assert_int_equal(config_in(&r, 0x08, 0x3c, 4), 0);
	config_out(&r, 0x08, 0x04, 4, UINT32_MAX);
	assert_int_equal(config_in(&r, 0x08, 0x04, 4), 0x144);
	device_reset(isa);
	assert_int_equal(config_in(&r, 0x08, 0x04, 4), 0);
	device_destroy(isa);
	assert_int_equal(config_in(&r, 0x08, 0, 4), UINT32_MAX);
	device_destroy(host);
	rig_fini(&r);
}

static void addresses(void **state)
{
	static const struct {
		const char *options;
		unsigned int devfn; /* 0: refused */
	} trials[] = {
		{"addr=1f", 0xf8},    {"addr=1F.7", 0xff}, {"addr=1.1", 0x09}, {"addr=00.7", 0x07},
		{"addr=1f.07", 0xff}, {"addr=20", 0},      {"addr=3.8", 0},    {"addr=0", 0},
		{"addr=-1", 0},       {"addr=0x3", 0},     {"addr=3.", 0},     {"addr=.3", 0},
		{"addr=3.1.1", 0},    {"addr=3:1", 0},     {"addr=003", 0},    {"addr=g", 0},
		{"addr=3.-1", 0},     {"addr=+3", 0},      {"addr=3.001", 0},  {"addr=100", 0},
	};
	struct rig r;
	struct device *host;

	(void)state;
	rig_init(&r, 0);
	host = rig_device(&r, "pci", "pci_host", "");
	assert_non_null(host);
	for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
		char id[16];
		struct device *dev;

		snprintf(id, sizeof(id), "isa%zu", i);
		dev = rig_device(&r, id, "isa_bridge", trials[i].options);
		assert_int_equal(dev != NULL, trials[i].devfn != 0);
		if (!dev)
			continue;
		assert_int_equal(config_in(&r, trials[i].devfn, 0, 4), ISA_ID);
		device_destroy(dev);
		assert_int_equal(config_in(&r, trials[i].devfn, 0, 4), UINT32_MAX);
	}
	device_destroy(host);
	rig_fini(&r);
}

static void a_machine_without_pci(void **state)
{
	struct rig r;
	struct device *isa;

	(void)state;
	rig_init(&r, 0);
	isa = rig_device(&r, "isa", "isa_bridge", "");
	assert_non_null(isa);
	assert_int_equal(config_in(&r, 0x08, 0, 4), UINT32_MAX);
	device_reset(isa);
	assert_int_equal(pci_family.loaded(isa, &r.err), 0);
	assert_int_equal(pci_place(r.machine.pci, &r.err), 0);
	device_destroy(isa);
	rig_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_in_the_first_free_slot),
		cmocka_unit_test(addresses),
		cmocka_unit_test(a_machine_without_pci),
	};

	return cmocka_run_group_tests_name("isa_bridge", tests, NULL, NULL);
}
