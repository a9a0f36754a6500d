/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/cm.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/topology.h"

static int init(struct topology *t, struct err *err, const char *pairs)
{
	struct topology_options options = {0};
	struct config *c = config_new();
	int ret;

	assert_non_null(c);
	ret = config_set_list(c, "cpus", NULL, pairs, err);
	if (!ret)
		ret = config_read(c, "cpus", topology_option_table, &options, err);
	if (!ret)
		ret = topology_init(t, &options, err);
	config_free(c);
	return ret;
}

static struct topology make(const char *pairs)
{
	struct topology t;
	struct err err;

	if (init(&t, &err, pairs))
		fail_msg("%s: %s", pairs, err.text);
	return t;
}

static void assert_refused(const char *pairs, const char *why)
{
	struct topology t;
	struct err err;

	assert_int_equal(init(&t, &err, pairs), -EINVAL);
	assert_string_equal(err.text, why);
}

static void what_is_left_out_follows(void **state)
{
	static const struct {
		const char *pairs;
		unsigned int cpus, sockets, cores, threads;
	} cases[] = {
		{"", 1, 1, 1, 1},
		{"count=1", 1, 1, 1, 1},
		{"count=6", 6, 1, 6, 1},
		{"count=254", 254, 1, 254, 1},
		{"count=8,sockets=2", 8, 2, 4, 1},
		{"count=8,cores=2", 8, 4, 2, 1},
		{"count=8,threads=2", 8, 1, 4, 2},
		{"count=8,sockets=2,threads=2", 8, 2, 2, 2},
		{"count=8,cores=2,threads=2", 8, 2, 2, 2},
		{"count=8,sockets=2,cores=2", 8, 2, 2, 2},
		{"count=12,sockets=2,cores=3,threads=2", 12, 2, 3, 2},
		{"sockets=2,cores=3,threads=2", 12, 2, 3, 2},
		{"sockets=4", 4, 4, 1, 1},
		{"cores=4", 4, 1, 4, 1},
		{"threads=2", 2, 1, 1, 2},
		{"cores=3,threads=2", 6, 1, 3, 2},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct topology t = make(cases[i].pairs);

		assert_int_equal(t.cpus, cases[i].cpus);
		assert_int_equal(t.sockets, cases[i].sockets);
		assert_int_equal(t.cores, cases[i].cores);
		assert_int_equal(t.threads, cases[i].threads);
	}
}

static void numbers_that_do_not_multiply_out(void **state)
{
	(void)state;
	assert_refused("count=4,sockets=3",
		       "cpus: sockets=3, cores=1, threads=1 make 3 vCPUs, not 4");
	assert_refused("count=2,sockets=4",
		       "cpus: sockets=4, cores=1, threads=1 make 4 vCPUs, not 2");
	assert_refused("count=7,cores=2",
		       "cpus: sockets=3, cores=2, threads=1 make 6 vCPUs, not 7");
	assert_refused("count=9,threads=2",
		       "cpus: sockets=1, cores=4, threads=2 make 8 vCPUs, not 9");
	assert_refused("count=8,sockets=2,cores=3",
		       "cpus: sockets=2, cores=3, threads=1 make 6 vCPUs, not 8");
	assert_refused("count=8,sockets=2,cores=2,threads=1",
		       "cpus: sockets=2, cores=2, threads=1 make 4 vCPUs, not 8");
	assert_refused("sockets=16,cores=16", "cpus: 256 vCPUs are too many, the most is 254");
	assert_refused("sockets=254,cores=254,threads=254",
		       "cpus: 16387064 vCPUs are too many, the most is 254");
	assert_refused("count=0", "cpus.count: 0 is too small, the least is 1");
	assert_refused("count=255", "cpus.count: 255 is too large, the most is 254");
	assert_refused("cores=0", "cpus.cores: 0 is too small, the least is 1");
	assert_refused("core=2", "unknown option 'cpus.core'; did you mean 'cpus.cores'?");
}

static void ids_are_bit_fields(void **state)
{
	static const uint32_t want[] = {0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13};
	struct topology t = make("sockets=2,cores=3,threads=2");

	(void)state;
	assert_int_equal(t.thread_bits, 1);
	assert_int_equal(t.core_bits, 2);
	for (unsigned int i = 0; i < t.cpus; i++) {
		struct topology_place p = topology_place(&t, i);

		assert_int_equal(topology_apic_id(&t, i), want[i]);
		assert_int_equal(p.socket, i / 6);
		assert_int_equal(p.core, i / 2 % 3);
		assert_int_equal(p.thread, i % 2);
	}
}

/* Whatever the shape: the boot processor is 0, ids ascend, and each field holds its number. */
static void ids_are_unique(void **state)
{
	unsigned int shapes = 0;

	(void)state;
	for (unsigned int s = 1; s <= 254; s++)
		for (unsigned int c = 1; s * c <= 254; c++)
			for (unsigned int n = 1; s * c * n <= 254; n++) {
				const struct topology_options o = {
					.sockets = s, .cores = c, .threads = n};
				uint32_t last = 0;
				struct topology t;

				if (topology_init(&t, &o, NULL))
					continue;
				shapes++;
				assert_int_equal(topology_apic_id(&t, 0), 0);
				for (unsigned int i = 1; i < t.cpus; i++) {
					uint32_t id = topology_apic_id(&t, i);

					assert_true(id > last);
					last = id;
				}
				assert_true(last <= TOPOLOGY_APIC_ID_MAX);
				assert_int_equal(last >> (t.core_bits + t.thread_bits), s - 1);
			}
	assert_true(shapes > 1000);
}

static void ids_past_what_a_chip_can_name(void **state)
{
	struct topology t = make("sockets=2,cores=127");

	(void)state;
	assert_int_equal(topology_apic_id(&t, 253), 254);
	assert_refused("count=252,cores=3",
		       "cpus: with sockets=84, cores=3, threads=1 the last APIC id is 334, past "
		       "254; powers of two leave no gaps between ids");
}

/* The first CPUs of this host that the test may run on. */
static unsigned int host_cpus(unsigned int *cpus, unsigned int room)
{
	cpu_set_t set;
	unsigned int n = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	for (unsigned int i = 0; i < CPU_SETSIZE && n < room; i++)
		if (CPU_ISSET(i, &set))
			cpus[n++] = i;
	return n;
}

static void without_pins_the_host_decides(void **state)
{
	struct topology t = make("count=2");

	(void)state;
	assert_int_equal(topology_pin(&t, 0), -1);
	assert_int_equal(topology_pin(&t, 1), -1);
}

static void pins_are_dealt_out_in_turn(void **state)
{
	unsigned int cpus[2];
	struct topology t;
	char pairs[64];

	(void)state;
	assert_true(host_cpus(cpus, 1) == 1);
	snprintf(pairs, sizeof(pairs), "count=3,pin=%u", cpus[0]);
	t = make(pairs);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(topology_pin(&t, i), (int)cpus[0]);
	/* The same one for each, by name. */
	snprintf(pairs, sizeof(pairs), "count=2,pin=%u:%u", cpus[0], cpus[0]);
	t = make(pairs);
	assert_int_equal(topology_pin(&t, 1), (int)cpus[0]);
	if (host_cpus(cpus, 2) < 2)
		return;
	snprintf(pairs, sizeof(pairs), "count=3,pin=%u:%u", cpus[1], cpus[0]);
	t = make(pairs);
	assert_int_equal(topology_pin(&t, 0), (int)cpus[1]);
	assert_int_equal(topology_pin(&t, 1), (int)cpus[0]);
	assert_int_equal(topology_pin(&t, 2), (int)cpus[1]);
	/* A comma within a value is written twice. */
	snprintf(pairs, sizeof(pairs), "count=2,pin=%u,,%u", cpus[0], cpus[1]);
	t = make(pairs);
	assert_int_equal(topology_pin(&t, 1), (int)cpus[1]);
	if (cpus[1] != cpus[0] + 1)
		return;
	snprintf(pairs, sizeof(pairs), "count=2,pin=%u-%u", cpus[0], cpus[1]);
	t = make(pairs);
	assert_int_equal(topology_pin(&t, 0), (int)cpus[0]);
	assert_int_equal(topology_pin(&t, 1), (int)cpus[1]);
}

static void pins_that_cannot_be_had(void **state)
{
	static const char *const bad[] = {"x", "-", "0-", "-1", "1-0", "0:", "0::1", "0 1", "0x1"};
	char pairs[64], why[128];
	unsigned int cpu;
	struct topology t;
	struct err err;

	(void)state;
	assert_true(host_cpus(&cpu, 1) == 1);
	assert_int_equal(init(&t, &err, "count=2,pin=65000"), -EINVAL);
	assert_non_null(strstr(err.text, "cpus.pin: skep cannot run on CPU 65000 of this host, "
					 "only on "));
	/* One that no host has, however it is written. */
	assert_int_equal(init(&t, &err, "count=2,pin=99999999999999999999999"), -EINVAL);
	assert_non_null(strstr(err.text, "cpus.pin: skep cannot run on CPU "));
	snprintf(pairs, sizeof(pairs), "count=1,pin=%u:%u", cpu, cpu);
	assert_refused(pairs, "cpus.pin: the list has more host CPUs than there are vCPUs (1)");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(pairs, sizeof(pairs), "count=4,pin=%s", bad[i]);
		snprintf(why, sizeof(why), "cpus.pin: '%s' is not a list of host CPUs like 0-3:8",
			 bad[i]);
		/* Where CPU 0 is not ours, that is said first. */
		if (cpu && (!strcmp(bad[i], "0:") || !strcmp(bad[i], "0::1")))
			continue;
		assert_refused(pairs, why);
	}
	assert_refused("count=4,pin=", "cpus.pin: '' is not a list of host CPUs like 0-3:8");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_left_out_follows),
		cmocka_unit_test(numbers_that_do_not_multiply_out),
		cmocka_unit_test(ids_are_bit_fields),
		cmocka_unit_test(ids_are_unique),
		cmocka_unit_test(ids_past_what_a_chip_can_name),
		cmocka_unit_test(without_pins_the_host_decides),
		cmocka_unit_test(pins_are_dealt_out_in_turn),
		cmocka_unit_test(pins_that_cannot_be_had),
	};

	return cmocka_run_group_tests_name("topology", tests, NULL, NULL);
}
