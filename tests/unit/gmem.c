/* SPDX-License-Identifier: BSD-2-Clause */
#include "support/cm.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/gmem.h"

static struct gmem *make(uint64_t size)
{
	struct gmem *m;
	struct err err;

	if (gmem_create(&m, &(struct gmem_options){.size = size}, &err))
		fail_msg("%s", err.text);
	return m;
}

static void sizes_that_cannot_be(void **state)
{
	static const uint64_t bad[] = {0,          4096,          MIB(1) - 4096, MIB(1) + 1,
				       MIB(2) - 1, GIB(4) + 2048, UINT64_MAX};
	static const uint64_t huge[] = {(UINT64_C(1) << 46) + 4096, UINT64_C(1) << 63,
					UINT64_MAX - 4095, UINT64_MAX - GMEM_HOLE_START - 4095};
	struct gmem *m = (struct gmem *)&m;
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		m = (struct gmem *)&m;
		assert_int_equal(gmem_create(&m, &(struct gmem_options){.size = bad[i]}, &err),
				 -EINVAL);
		assert_non_null(strstr(err.text, "is not a multiple of 4 KiB from 1 MiB up"));
		assert_null(m);
	}
	for (size_t i = 0; i < ARRAY_SIZE(huge); i++) {
		m = (struct gmem *)&m;
		assert_int_equal(gmem_create(&m, &(struct gmem_options){.size = huge[i]}, &err),
				 -EINVAL);
		assert_non_null(strstr(err.text, "is more than a process can map"));
		assert_null(m);
	}
	gmem_destroy(NULL);
}

static void ram_leaves_the_hole_free(void **state)
{
	static const uint64_t sizes[] = {
		MIB(1),          MIB(1) + 4096,          GMEM_HOLE_START - 4096,
		GMEM_HOLE_START, GMEM_HOLE_START + 4096, GIB(5) + 4096};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct gmem *m = make(sizes[i]);
		const struct gmem_region *r;
		unsigned int n = gmem_regions(m, &r);

		assert_true(gmem_size(m) == sizes[i]);
		assert_int_equal(n, sizes[i] > GMEM_HOLE_START ? 2 : 1);
		assert_true(r[0].gpa == 0);
		assert_true(r[0].size == MIN(sizes[i], GMEM_HOLE_START));
		if (n == 2) {
			assert_true(r[1].gpa == GMEM_HOLE_END);
			assert_true(r[0].size + r[1].size == sizes[i]);
		}
		for (unsigned int j = 0; j < n; j++)
			assert_int_equal(((uintptr_t)r[j].hva - r[j].gpa) % MIB(2), 0);
		gmem_destroy(m);
	}
}

/* Whether the kernel can read the byte at @p: asks without a signal. */
static bool readable(const void *p)
{
	int out[2];
	bool ret;

	assert_int_equal(pipe(out), 0);
	ret = write(out[1], p, 1) == 1;
	close(out[0]);
	close(out[1]);
	return ret;
}

static bool reserved(char *p)
{
	unsigned char map;

	return !mincore((char *)align_down((uintptr_t)p, 4096), 4096, &map);
}

/* An address computed wrongly by skep meets nothing of skep's. */
static void ram_stands_between_guards(void **state)
{
	struct gmem *m = make(GMEM_HOLE_START + MIB(1) + 4096);
	const struct gmem_region *r;
	unsigned int n = gmem_regions(m, &r);

	(void)state;
	for (unsigned int i = 0; i < n; i++) {
		char *start = r[i].hva, *end = start + r[i].size;

		assert_true(readable(start) && readable(end - 1));
		assert_true(reserved(start - 1) && !readable(start - 1));
		assert_true(reserved(end) && !readable(end));
		assert_true(reserved(end + 65535) && !readable(end + 65535));
	}
	gmem_destroy(m);
}

/* Two of these are more than an address space has room for. */
static void the_host_may_have_too_little(void **state)
{
	struct gmem *m[3] = {NULL};
	struct err err;
	int ret = 0;

	(void)state;
	for (unsigned int i = 0; !ret && i < ARRAY_SIZE(m); i++)
		ret = gmem_create(&m[i], &(struct gmem_options){.size = bit64(46)}, &err);
	assert_int_equal(ret, -ENOMEM);
	assert_non_null(strstr(err.text, "cannot reserve 67105792 MiB of guest memory: "));
	for (unsigned int i = 0; i < ARRAY_SIZE(m); i++)
		gmem_destroy(m[i]);
	gmem_destroy(make(MIB(1)));
}

static void memory_is_given_back(void **state)
{
	(void)state;
	/* 1,000 times 64 GiB fit into no address space. */
	for (unsigned int i = 0; i < 3000; i++)
		gmem_destroy(make(GIB(64)));
}

static void what_is_written_is_read(void **state)
{
	struct gmem *m = make(MIB(1));
	uint8_t in[300], out[300];

	(void)state;
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7);
	memset(out, 0xa5, sizeof(out));
	assert_int_equal(gmem_read(m, 0, out, sizeof(out)), 0);
	for (size_t i = 0; i < sizeof(out); i++)
		assert_int_equal(out[i], 0);
	assert_int_equal(gmem_write(m, MIB(1) - sizeof(in), in, sizeof(in)), 0);
	assert_int_equal(gmem_read(m, MIB(1) - sizeof(in), out, sizeof(out)), 0);
	assert_memory_equal(in, out, sizeof(in));
	assert_memory_equal(gmem_hva(m, MIB(1) - sizeof(in), sizeof(in)), in, sizeof(in));
	assert_int_equal(gmem_fill(m, 4093, 0xee, 6), 0);
	assert_int_equal(gmem_read(m, 4092, out, 8), 0);
	assert_memory_equal(out, "\0\xee\xee\xee\xee\xee\xee\0", 8);
	gmem_destroy(m);
}

static void assert_no_ram(struct gmem *m, uint64_t gpa, uint64_t len)
{
	struct iovec iov[GMEM_REGIONS_MAX];
	uint8_t buf[64], before[64];

	memset(buf, 0xa5, sizeof(buf));
	memset(before, 0xa5, sizeof(before));
	/* The lengths are a guest's, the buffers are not: nothing may be copied. */
	assert_int_equal(gmem_read(m, gpa, buf, len), -EFAULT);
	assert_memory_equal(buf, before, sizeof(buf));
	assert_int_equal(gmem_write(m, gpa, buf, len), -EFAULT);
	assert_int_equal(gmem_fill(m, gpa, 0xa5, len), -EFAULT);
	assert_int_equal(gmem_iov(m, gpa, len, iov, GMEM_REGIONS_MAX), -EFAULT);
	assert_null(gmem_hva(m, gpa, len));
}

static void what_is_not_wholly_ram_is_refused_wholly(void **state)
{
	struct gmem *m = make(GMEM_HOLE_START + MIB(1));
	const uint64_t top = GMEM_HOLE_END + MIB(1);
	static const uint64_t lens[] = {1,
					2,
					4096,
					GMEM_HOLE_START,
					GIB(4),
					GIB(5),
					UINT64_C(1) << 63,
					UINT64_MAX - 1,
					UINT64_MAX};
	uint8_t b;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		assert_no_ram(m, GMEM_HOLE_START, lens[i]);
		assert_no_ram(m, GMEM_HOLE_END - 1, lens[i]);
		assert_no_ram(m, top, lens[i]);
		assert_no_ram(m, UINT64_MAX, lens[i]);
		assert_no_ram(m, UINT64_MAX - 4095, lens[i]);
		assert_no_ram(m, UINT64_C(1) << 63, lens[i]);
		if (lens[i] > 1) {
			assert_no_ram(m, GMEM_HOLE_START - 1, lens[i]);
			assert_no_ram(m, top - 1, lens[i]);
		}
		/* Ends that wrap onto RAM again. */
		assert_no_ram(m, UINT64_MAX - lens[i] / 2, lens[i]);
	}
	assert_no_ram(m, 0, GMEM_HOLE_START + 1);
	assert_no_ram(m, 1, UINT64_MAX);
	/* From RAM over the hole to RAM. */
	assert_no_ram(m, GMEM_HOLE_START - 1, GIB(1) + 2);

	assert_int_equal(gmem_read(m, GMEM_HOLE_START - 1, &b, 1), 0);
	assert_int_equal(b, 0);
	assert_int_equal(gmem_read(m, top - 1, &b, 1), 0);
	assert_int_equal(b, 0);
	assert_int_equal(gmem_read(m, GMEM_HOLE_END, &b, 1), 0);
	assert_int_equal(b, 0);
	gmem_destroy(m);
}

static void no_bytes_are_no_fault(void **state)
{
	struct gmem *m = make(MIB(1));
	struct iovec iov;

	(void)state;
	assert_int_equal(gmem_read(m, UINT64_MAX, NULL, 0), 0);
	assert_int_equal(gmem_write(m, MIB(1), NULL, 0), 0);
	assert_int_equal(gmem_fill(m, GMEM_HOLE_START, 1, 0), 0);
	assert_int_equal(gmem_iov(m, UINT64_MAX, 0, &iov, 1), 0);
	assert_int_equal(gmem_iov(m, 0, 0, NULL, 0), 0);
	gmem_destroy(m);
}

static void iovecs_describe_ranges(void **state)
{
	struct gmem *m = make(GMEM_HOLE_START + MIB(1));
	const struct gmem_region *r;
	struct iovec iov[2];

	(void)state;
	gmem_regions(m, &r);
	assert_int_equal(gmem_iov(m, 5, 10, iov, 2), 1);
	assert_ptr_equal(iov[0].iov_base, (char *)r[0].hva + 5);
	assert_int_equal(iov[0].iov_len, 10);
	assert_int_equal(gmem_iov(m, 0, GMEM_HOLE_START, iov, 1), 1);
	assert_true(iov[0].iov_len == GMEM_HOLE_START);
	assert_int_equal(gmem_iov(m, GMEM_HOLE_END, MIB(1), iov, 2), 1);
	assert_ptr_equal(iov[0].iov_base, r[1].hva);
	assert_int_equal(gmem_iov(m, 0, 1, iov, 0), -E2BIG);
	assert_int_equal(gmem_iov(m, 0, 1, NULL, 0), -E2BIG);
	gmem_destroy(m);
}

static void one_stretch_of_host_memory(void **state)
{
	struct gmem *m = make(GMEM_HOLE_START + MIB(1));
	const struct gmem_region *r;

	(void)state;
	gmem_regions(m, &r);
	assert_ptr_equal(gmem_hva(m, 0, GMEM_HOLE_START), r[0].hva);
	assert_ptr_equal(gmem_hva(m, GMEM_HOLE_START - 1, 1),
			 (char *)r[0].hva + GMEM_HOLE_START - 1);
	assert_ptr_equal(gmem_hva(m, GMEM_HOLE_END + 4096, MIB(1) - 4096), (char *)r[1].hva + 4096);
	gmem_destroy(m);
}

static void the_host_holds_what_the_guest_has_touched(void **state)
{
	struct gmem *m = make(GMEM_HOLE_START + MIB(64));

	(void)state;
	assert_true(gmem_resident(m) == 0);
	assert_int_equal(gmem_fill(m, 0, 1, MIB(4)), 0);
	assert_in_range(gmem_resident(m), MIB(4), MIB(8));
	assert_int_equal(gmem_fill(m, GMEM_HOLE_END + MIB(60), 1, MIB(4)), 0);
	assert_in_range(gmem_resident(m), MIB(8), MIB(16));
	gmem_destroy(m);
}

struct user {
	struct gmem *m;
	unsigned int n;
	bool good;
};

static void *use(void *arg)
{
	struct user *u = arg;
	const uint64_t base = u->n * KIB(64);
	uint32_t v;

	u->good = true;
	for (uint32_t i = 0; i < 5000; i++) {
		uint64_t at = base + i % 1000 * UINT64_C(4);

		if (gmem_write(u->m, at, &i, sizeof(i)) || gmem_read(u->m, at, &v, sizeof(v)) ||
		    v != i || !gmem_hva(u->m, at, 4) || gmem_size(u->m) != MIB(1))
			u->good = false;
	}
	return NULL;
}

static void any_thread_may_use_it(void **state)
{
	struct gmem *m = make(MIB(1));
	struct user users[4];
	pthread_t threads[4];

	(void)state;
	for (unsigned int i = 0; i < 4; i++) {
		users[i] = (struct user){.m = m, .n = i};
		assert_int_equal(pthread_create(&threads[i], NULL, use, &users[i]), 0);
	}
	for (unsigned int i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_true(users[i].good);
	}
	gmem_destroy(m);
}

static struct gmem_options read_options(const char *pairs)
{
	struct gmem_options o = {0};
	struct config *c = config_new();
	struct err err;

	assert_non_null(c);
	if (config_set_list(c, "memory", "size", pairs, &err) ||
	    config_read(c, "memory", gmem_option_table, &o, &err))
		fail_msg("%s", err.text);
	config_free(c);
	return o;
}

static void options_have_names(void **state)
{
	struct gmem_options o = read_options("64M");

	(void)state;
	assert_true(o.size == MIB(64));
	assert_int_equal(o.hugepages, GMEM_HUGEPAGES_OFF);
	assert_false(o.prealloc || o.wired || o.shared || o.merge);
	o = read_options("1G,hugepages=1G,prealloc=on,wired=on,shared=on,merge=on");
	assert_int_equal(o.hugepages, GMEM_HUGEPAGES_1G);
	assert_true(o.prealloc && o.wired && o.shared && o.merge);
	assert_int_equal(read_options("1G,hugepages=2M").hugepages, GMEM_HUGEPAGES_2M);
}

static void assert_refused(const char *pairs, int ret, const char *why)
{
	struct gmem_options o = read_options(pairs);
	struct gmem *m;
	struct err err;

	assert_int_equal(gmem_create(&m, &o, &err), ret);
	assert_string_equal(err.text, why);
	assert_null(m);
}

static void options_that_exclude_one_another(void **state)
{
	(void)state;
	assert_refused("64M,merge=on,shared=on", -EINVAL,
		       "memory.merge: the host merges private memory of ordinary pages only, not "
		       "memory.shared");
	assert_refused("64M,merge=on,hugepages=2M", -EINVAL,
		       "memory.merge: the host merges private memory of ordinary pages only, not "
		       "memory.hugepages");
	assert_refused("64M,merge=on,wired=on", -EINVAL,
		       "memory.merge: a page that was merged has to be taken anew when it is "
		       "written, which is what memory.wired rules out");
	assert_refused("65M,hugepages=2M", -EINVAL,
		       "memory.size: 66560 KiB are not a multiple of the huge page of 2M");
	assert_refused("1025M,hugepages=1G", -EINVAL,
		       "memory.size: 1049600 KiB are not a multiple of the huge page of 1G");
}

/* A machine's memory by @pairs; skips the test when this host cannot have it. */
static struct gmem *make_or_skip(const char *pairs)
{
	struct gmem_options o = read_options(pairs);
	struct gmem *m;
	struct err err;

	if (gmem_create(&m, &o, &err)) {
		print_message("%s\n", err.text);
		skip();
	}
	return m;
}

/* Both regions hold what is written to them, and end where they should. */
static void assert_memory(struct gmem *m)
{
	const struct gmem_region *r;
	unsigned int n = gmem_regions(m, &r);
	char word[8];

	for (unsigned int i = 0; i < n; i++) {
		uint64_t last = r[i].gpa + r[i].size - sizeof(word);
		char *start = r[i].hva;

		assert_int_equal(gmem_read(m, last, word, sizeof(word)), 0);
		assert_memory_equal(word, "\0\0\0\0\0\0\0", sizeof(word));
		assert_int_equal(gmem_write(m, last, "the end", sizeof(word)), 0);
		assert_int_equal(gmem_read(m, last, word, sizeof(word)), 0);
		assert_string_equal(word, "the end");
		assert_true(reserved(start - 1) && !readable(start - 1));
		assert_true(reserved(start + r[i].size) && !readable(start + r[i].size));
	}
}

static void assert_shared(struct gmem *m)
{
	const struct gmem_region *r;
	unsigned int n = gmem_regions(m, &r);
	uint64_t offset = 0;

	for (unsigned int i = 0; i < n; i++) {
		char *other;

		assert_true(r[i].fd >= 0 && r[i].fd == r[0].fd);
		assert_true(r[i].fd_offset == offset);
		offset += r[i].size;
		other = mmap(NULL, r[i].size, PROT_READ, MAP_SHARED, r[i].fd,
			     (off_t)r[i].fd_offset);
		assert_ptr_not_equal(other, MAP_FAILED);
		assert_int_equal(gmem_fill(m, r[i].gpa + 77, (uint8_t)(0x51 + i), 1), 0);
		assert_int_equal(other[77], 0x51 + i);
		munmap(other, r[i].size);
	}
	/* Nobody can cut it short. */
	assert_int_equal(ftruncate(r[0].fd, 0), -1);
	assert_int_equal(errno, EPERM);
}

static void memory_may_be_shared(void **state)
{
	struct gmem *m = make_or_skip("3073M,shared=on");
	const struct gmem_region *r;

	(void)state;
	assert_int_equal(gmem_regions(m, &r), 2);
	assert_memory(m);
	assert_shared(m);
	gmem_destroy(m);
	m = make(MIB(1));
	gmem_regions(m, &r);
	assert_int_equal(r[0].fd, -1);
	gmem_destroy(m);
}

static void memory_may_be_taken_in_advance(void **state)
{
	struct gmem *m = make_or_skip("24M,prealloc=on");

	(void)state;
	assert_true(gmem_resident(m) == MIB(24));
	assert_memory(m);
	gmem_destroy(m);
	m = make_or_skip("24M,prealloc=on,shared=on");
	assert_true(gmem_resident(m) == MIB(24));
	gmem_destroy(m);
}

/* KiB of this process that stay in memory. */
static unsigned long locked_kib(void)
{
	unsigned long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/self/status", "re");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, "VmLck:", 6))
			kib = strtoul(line + 6, NULL, 10);
	fclose(f);
	return kib;
}

static void memory_may_be_wired(void **state)
{
	unsigned long before = locked_kib();
	struct gmem *m = make_or_skip("4M,wired=on");

	(void)state;
	assert_int_equal(locked_kib() - before, 4096);
	assert_true(gmem_resident(m) < MIB(4));
	assert_memory(m);
	gmem_destroy(m);
	assert_int_equal(locked_kib(), before);
	m = make_or_skip("4M,wired=on,prealloc=on");
	assert_int_equal(locked_kib() - before, 4096);
	assert_true(gmem_resident(m) == MIB(4));
	gmem_destroy(m);
}

static void assert_given_back(const char *options)
{
	struct gmem *m = make_or_skip(options);
	uint64_t before;
	uint8_t byte;

	assert_int_equal(gmem_page_size(m), 4096);
	assert_int_equal(gmem_fill(m, MIB(2), 0xa5, MIB(4)), 0);
	before = gmem_resident(m);
	/* Pages wholly within; what is around them stays. */
	assert_int_equal(gmem_discard(m, MIB(2) + 4095, MIB(1) + 2), 0);
	assert_int_equal(before - gmem_resident(m), MIB(1));
	assert_int_equal(gmem_read(m, MIB(2) + 4095, &byte, 1), 0);
	assert_int_equal(byte, 0xa5);
	assert_int_equal(gmem_read(m, MIB(2) + 4096, &byte, 1), 0);
	assert_int_equal(byte, 0);
	assert_int_equal(gmem_read(m, MIB(3) + 4096, &byte, 1), 0);
	assert_int_equal(byte, 0xa5);
	/* Less than a page is nothing. */
	before = gmem_resident(m);
	assert_int_equal(gmem_discard(m, MIB(4) + 1, 8190), 0);
	assert_int_equal(gmem_discard(m, MIB(4), 0), 0);
	assert_int_equal(gmem_resident(m), before);
	/* Nothing by halves. */
	assert_int_equal(gmem_discard(m, MIB(5), MIB(3) + 1), -EFAULT);
	assert_int_equal(gmem_discard(m, UINT64_MAX - 4095, 8192), -EFAULT);
	assert_int_equal(gmem_resident(m), before);
	/* What was given back can be used again. */
	assert_int_equal(gmem_fill(m, MIB(2), 1, MIB(2)), 0);
	gmem_destroy(m);
}

static void memory_is_discarded(void **state)
{
	(void)state;
	assert_given_back("8M");
	assert_given_back("8M,shared=on");
	assert_given_back("8M,merge=on");
}

static void discarding_crosses_the_hole(void **state)
{
	struct gmem *m = make(GMEM_HOLE_START + MIB(4));

	(void)state;
	assert_int_equal(gmem_fill(m, GMEM_HOLE_END, 1, MIB(4)), 0);
	/* RAM ends where the hole begins. */
	assert_int_equal(gmem_discard(m, GMEM_HOLE_START - MIB(1), MIB(2)), -EFAULT);
	assert_int_equal(gmem_discard(m, GMEM_HOLE_END, MIB(4)), 0);
	assert_int_equal(gmem_resident(m), 0);
	gmem_destroy(m);
}

static void wired_memory_stays(void **state)
{
	struct gmem *m = make_or_skip("4M,wired=on");
	uint8_t byte;

	(void)state;
	assert_int_equal(gmem_fill(m, 0, 7, MIB(1)), 0);
	assert_int_equal(gmem_discard(m, 0, MIB(1)), -EPERM);
	assert_int_equal(gmem_read(m, 0, &byte, 1), 0);
	assert_int_equal(byte, 7);
	gmem_destroy(m);
}

static void the_way_back_from_the_host(void **state)
{
	struct gmem *m = make(GMEM_HOLE_START + MIB(4));
	const struct gmem_region *r;
	uint64_t gpa;

	(void)state;
	assert_int_equal(gmem_regions(m, &r), 2);
	assert_true(gmem_gpa(m, (char *)r[0].hva + 5, &gpa));
	assert_int_equal(gpa, 5);
	assert_true(gmem_gpa(m, (char *)r[1].hva + MIB(4) - 1, &gpa));
	assert_int_equal(gpa, GMEM_HOLE_END + MIB(4) - 1);
	assert_false(gmem_gpa(m, (char *)r[1].hva + MIB(4), &gpa));
	assert_false(gmem_gpa(m, (char *)r[0].hva - 1, &gpa));
	assert_false(gmem_gpa(m, NULL, &gpa));
	gmem_destroy(m);
}

/* In a process of its own, which has given away the right to lock what it likes. */
static void there_is_a_limit_to_wiring(void **state)
{
	const struct rlimit limit = {.rlim_cur = KIB(64), .rlim_max = KIB(64)};
	const struct gmem_options o = {.size = MIB(2), .wired = true};
	struct gmem *m;
	struct err err;
	int status;
	pid_t pid = fork();

	(void)state;
	assert_true(pid >= 0);
	if (!pid) {
		if (setrlimit(RLIMIT_MEMLOCK, &limit) || (!getuid() && setuid(65534)))
			_exit(2);
		if (!gmem_create(&m, &o, &err) || m)
			_exit(3);
		_exit(!!strcmp(err.text,
			       "memory.wired: 2 MiB of guest memory are more than the 64 KiB that "
			       "this process may lock; raise that limit with ulimit -l"));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 2) {
		print_message("this process cannot lower its limits\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void memory_may_be_merged(void **state)
{
	struct gmem *m = make_or_skip("2M,merge=on");

	(void)state;
	assert_memory(m);
	gmem_destroy(m);
}

static unsigned long long huge_pages(const char *what)
{
	char path[96], text[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-2048kB/%s", what);
	f = fopen(path, "re");
	if (!f) {
		print_message("this host has no huge pages of 2 MiB\n");
		skip();
	}
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	return strtoull(text, NULL, 10);
}

static void memory_may_be_huge_pages(void **state)
{
	struct gmem *m = make_or_skip("8M,hugepages=2M");
	const struct gmem_region *r;

	(void)state;
	assert_memory(m);
	assert_shared(m);
	gmem_regions(m, &r);
	assert_int_equal((uintptr_t)r[0].hva % MIB(2), 0);
	assert_int_equal(gmem_fill(m, 0, 1, MIB(8)), 0);
	assert_int_equal(gmem_page_size(m), MIB(2));
	assert_int_equal(gmem_discard(m, 4096, MIB(2)), 0);
	assert_true(gmem_resident(m) == MIB(8));
	assert_int_equal(gmem_discard(m, 4096, MIB(4)), 0);
	assert_true(gmem_resident(m) == MIB(6));
	gmem_destroy(m);
	m = make_or_skip("8M,hugepages=2M,prealloc=on,wired=on");
	assert_true(gmem_resident(m) == MIB(8));
	gmem_destroy(m);
}

static void huge_pages_may_be_missing(void **state)
{
	unsigned long long all = huge_pages("nr_hugepages"), unused = huge_pages("free_hugepages");
	struct gmem_options o = {.hugepages = GMEM_HUGEPAGES_2M};
	struct gmem *m;
	struct err err;
	char why[256];

	(void)state;
	unused -= huge_pages("resv_hugepages");
	if (huge_pages("nr_overcommit_hugepages")) {
		print_message("this host makes huge pages as they are asked for\n");
		skip();
	}
	o.size = (unused + 3) * MIB(2);
	assert_int_equal(gmem_create(&m, &o, &err), -ENOMEM);
	snprintf(why, sizeof(why),
		 "memory.hugepages: huge pages of 2M: %llu needed, %llu free, 3 missing; reserve "
		 "them with echo %llu >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
		 unused + 3, unused, all + 3);
	assert_string_equal(err.text, why);
	assert_null(m);
	/* What was promised on the way was given back. */
	assert_true(huge_pages("free_hugepages") - huge_pages("resv_hugepages") == unused);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sizes_that_cannot_be),
		cmocka_unit_test(ram_leaves_the_hole_free),
		cmocka_unit_test(ram_stands_between_guards),
		cmocka_unit_test(the_host_may_have_too_little),
		cmocka_unit_test(memory_is_given_back),
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(what_is_not_wholly_ram_is_refused_wholly),
		cmocka_unit_test(no_bytes_are_no_fault),
		cmocka_unit_test(iovecs_describe_ranges),
		cmocka_unit_test(one_stretch_of_host_memory),
		cmocka_unit_test(the_host_holds_what_the_guest_has_touched),
		cmocka_unit_test(any_thread_may_use_it),
		cmocka_unit_test(options_have_names),
		cmocka_unit_test(options_that_exclude_one_another),
		cmocka_unit_test(memory_may_be_shared),
		cmocka_unit_test(memory_may_be_taken_in_advance),
		cmocka_unit_test(memory_may_be_wired),
		cmocka_unit_test(memory_is_discarded),
		cmocka_unit_test(discarding_crosses_the_hole),
		cmocka_unit_test(wired_memory_stays),
		cmocka_unit_test(the_way_back_from_the_host),
		cmocka_unit_test(there_is_a_limit_to_wiring),
		cmocka_unit_test(memory_may_be_merged),
		cmocka_unit_test(memory_may_be_huge_pages),
		cmocka_unit_test(huge_pages_may_be_missing),
	};

	return cmocka_run_group_tests_name("gmem", tests, NULL, NULL);
}
