/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The cache of unpacked kernels: what is found in it and what is not, whatever somebody did to the
 * kernel, to an entry or to the directory; and that a start never fails on its account.
 *
 * An entry's bytes carry no checksum, so a test sees where a payload came from by marking them.
 */
#include "support/cm.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/err.h"

#include "../../src/boot/cache.h"
#include "../../src/boot/image.h"

#define DATA    4096 /* where an entry's bytes begin */
#define CONTENT 8000
#define PAYLOAD (4 + 4 + 1 + (CONTENT - 15) / 255 + 1 + CONTENT + 4)
#define OFFSET  100 /* of the payload in the kernel */
#define MARK    0xee

/* The linker gives the cache this for pwrite() (tests/CMakeLists.txt). */
ssize_t __real_pwrite(int fd, const void *data, size_t len, off_t at);
ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t at);

static struct {
	char root[64], dir[96], kernel[96], entry[160];
	uint8_t content[CONTENT];
	uint8_t file[OFFSET + PAYLOAD];
	off_t disk_full_at; /* 0: it is not */
	size_t write_most;  /* 0: all */
	bool change_kernel; /* while an entry is written */
} t;

ssize_t __wrap_pwrite(int fd, const void *data, size_t len, off_t at)
{
	if (t.change_kernel)
		assert_int_equal(chmod(t.kernel, 0600), 0);
	if (t.disk_full_at && at + (off_t)len > t.disk_full_at) {
		errno = ENOSPC;
		return -1;
	}
	return __real_pwrite(fd, data, t.write_most ? MIN(len, t.write_most) : len, at);
}

/* --- A kernel whose payload is lz4's legacy frame with one block of literals. --- */

static void make_content(uint8_t seed)
{
	uint8_t *p = t.file + OFFSET;

	for (size_t i = 0; i < CONTENT; i++)
		t.content[i] = (uint8_t)(i * 7 + (i >> 8) + seed);
	memset(t.file, 0xcc, OFFSET);
	memcpy(p, "\x02\x21\x4c\x18", 4);
	store_le32(p + 4, PAYLOAD - 4 - 4 - 4);
	p += 8;
	*p++ = 0xf0;
	for (size_t n = CONTENT - 15; p[-1] == 0xf0 || p[-1] == 255; n -= MIN(n, (size_t)255))
		*p++ = (uint8_t)MIN(n, (size_t)255);
	memcpy(p, t.content, CONTENT);
	store_le32(p + CONTENT, CONTENT);
	assert_ptr_equal(p + CONTENT + 4, t.file + sizeof(t.file));
}

static void write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(__real_pwrite(fd, data, len, 0), len);
	close(fd);
}

static uint64_t age_ns(const char *path)
{
	struct timespec now;
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)((now.tv_sec - st.st_ctim.tv_sec) * 1000000000 + now.tv_nsec -
			  st.st_ctim.tv_nsec);
}

/* Until a change of the kernel would show in its times. */
static void wait_until_settled(void)
{
	const struct timespec pause = {.tv_nsec = 10000000};
	struct stat st;

	assert_int_equal(stat(t.kernel, &st), 0);
	while (age_ns(t.kernel) < (st.st_ctim.tv_nsec ? 120000000 : 2100000000))
		nanosleep(&pause, NULL);
}

static void write_kernel(uint8_t seed)
{
	make_content(seed);
	write_file(t.kernel, t.file, sizeof(t.file));
	wait_until_settled();
}

static void remove_all(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *de;
	char name[512];

	while (d && (de = readdir(d))) {
		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, de->d_name);
		if (unlink(name))
			remove_all(name);
	}
	if (d)
		closedir(d);
	rmdir(path);
}

static int setup(void **state)
{
	struct stat st;

	(void)state;
	memset(&t, 0, sizeof(t));
	strcpy(t.root, "/tmp/skep-cache-XXXXXX");
	assert_non_null(mkdtemp(t.root));
	snprintf(t.dir, sizeof(t.dir), "%s/a/b", t.root);
	snprintf(t.kernel, sizeof(t.kernel), "%s/vmlinuz", t.root);
	write_kernel(1);
	assert_int_equal(stat(t.kernel, &st), 0);
	snprintf(t.entry, sizeof(t.entry), "%s/%llx-%llx.unpacked", t.dir,
		 (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	chmod(t.dir, 0700);
	remove_all(t.root);
	return 0;
}

/* Unpacks the kernel, and whether that was by the cache. */
static bool unpacked_by(const char *dir)
{
	struct boot_image *img, *unpacked;
	uint8_t got[CONTENT];
	struct err err;
	bool hit;

	assert_int_equal(boot_open(&img, "kernel", t.kernel, &err), 0);
	if (cache_unpack(dir, img, OFFSET, PAYLOAD, CONTENT, &unpacked, &err))
		fail_msg("%s", err.text);
	assert_int_equal(boot_image_size(unpacked), CONTENT);
	assert_int_equal(image_read(unpacked, 0, got, CONTENT, &err), 0);
	assert_int_equal(image_read(unpacked, 1, got, CONTENT, &err), -EIO);
	boot_close(unpacked);
	boot_close(img);
	hit = got[0] == MARK && t.content[0] != MARK;
	if (hit)
		got[0] = t.content[0];
	assert_memory_equal(got, t.content, CONTENT);
	return hit;
}

static bool cached(void)
{
	return unpacked_by(t.dir);
}

static void poke(size_t at, uint8_t byte)
{
	int fd = open(t.entry, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(__real_pwrite(fd, &byte, 1, (off_t)at), 1);
	close(fd);
}

static uint8_t peek(size_t at)
{
	int fd = open(t.entry, O_RDONLY | O_CLOEXEC);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	close(fd);
	return byte;
}

static void mark(void)
{
	poke(DATA, MARK);
}

/* A marked entry, which is known to be found. */
static void fill_cache(void)
{
	assert_false(cached());
	mark();
	assert_true(cached());
}

static unsigned int files_in(const char *path, const char *part)
{
	DIR *d = opendir(path);
	unsigned int count = 0;
	struct dirent *de;

	while (d && (de = readdir(d)))
		if (de->d_name[0] != '.' && strstr(de->d_name, part))
			count++;
	if (d)
		closedir(d);
	return count;
}

static bool entry_exists(void)
{
	struct stat st;

	return !lstat(t.entry, &st);
}

/* The entry was not taken, and a good one is in its place. */
static void expect_replaced(void)
{
	struct stat st;

	assert_false(cached());
	assert_int_equal(lstat(t.entry, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, DATA + CONTENT);
	assert_int_equal(files_in(t.dir, ""), 1);
	mark();
	assert_true(cached());
}

/* --- Tests. --- */

static void found_the_second_time(void **state)
{
	struct stat st;

	(void)state;
	fill_cache();
	assert_int_equal(stat(t.dir, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat(t.entry, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, DATA + CONTENT);
	assert_int_equal(files_in(t.dir, ""), 1);
	assert_false(unpacked_by(NULL));
}

static void a_changed_kernel(void **state)
{
	struct timespec times[2];
	struct stat st;

	(void)state;
	fill_cache();
	/* In place, of the same length, and somebody sets the clock back. */
	assert_int_equal(stat(t.kernel, &st), 0);
	make_content(2);
	write_file(t.kernel, t.file, sizeof(t.file));
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	assert_int_equal(utimensat(AT_FDCWD, t.kernel, times, 0), 0);
	assert_false(cached());
	wait_until_settled();
	expect_replaced();
}

static void a_kernel_that_changed_just_now(void **state)
{
	bool young = false;

	(void)state;
	/* On a busy machine this may take longer than the kernel stays young. */
	for (unsigned int i = 0; !young && i < 100; i++) {
		unlink(t.entry);
		assert_int_equal(chmod(t.kernel, i % 2 ? 0600 : 0644), 0);
		assert_false(cached());
		young = age_ns(t.kernel) < 100000000;
	}
	if (!young)
		skip();
	assert_false(entry_exists());
}

static void a_kernel_that_changes_while_it_is_unpacked(void **state)
{
	(void)state;
	t.change_kernel = true;
	assert_false(cached());
	assert_int_equal(files_in(t.dir, ""), 0);
}

static void another_payload_of_the_same_file(void **state)
{
	struct boot_image *img, *unpacked;
	struct err err;

	(void)state;
	fill_cache();
	assert_int_equal(boot_open(&img, "kernel", t.kernel, &err), 0);
	assert_int_equal(cache_unpack(t.dir, img, OFFSET - 4, PAYLOAD, CONTENT, &unpacked, &err),
			 -ENOTSUP);
	assert_null(unpacked);
	assert_int_equal(cache_unpack(t.dir, img, OFFSET, PAYLOAD - 1, MIB(4096), &unpacked, &err),
			 -ENOEXEC);
	assert_null(unpacked);
	boot_close(img);
	assert_true(cached());
}

static void truncated_entries(void **state)
{
	static const off_t lengths[] = {
		0, 10, DATA - 1, DATA, DATA + CONTENT - 1, DATA + CONTENT + 1,
	};

	(void)state;
	fill_cache();
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		assert_int_equal(truncate(t.entry, lengths[i]), 0);
		expect_replaced();
	}
}

static void damaged_headers(void **state)
{
	(void)state;
	fill_cache();
	for (size_t at = 0; at < 2144; at += at < 96 ? 1 : 61) {
		poke(at, peek(at) ^ 0x10);
		expect_replaced();
	}
}

static void entries_of_others(void **state)
{
	static const mode_t modes[] = {0620, 0602, 0666};

	(void)state;
	fill_cache();
	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		assert_int_equal(chmod(t.entry, modes[i]), 0);
		expect_replaced();
	}
	if (geteuid())
		return;
	assert_int_equal(chown(t.entry, 12345, 12345), 0);
	expect_replaced();
}

static void entries_that_are_no_files(void **state)
{
	char other[128];

	(void)state;
	fill_cache();
	snprintf(other, sizeof(other), "%s/other", t.root);
	assert_int_equal(rename(t.entry, other), 0);
	assert_int_equal(symlink(other, t.entry), 0);
	expect_replaced();
	assert_int_equal(unlink(t.entry), 0);
	assert_int_equal(mkfifo(t.entry, 0600), 0);
	expect_replaced();
	/* This one stays, and there is no cache for this kernel. */
	assert_int_equal(unlink(t.entry), 0);
	assert_int_equal(mkdir(t.entry, 0700), 0);
	assert_false(cached());
	assert_false(cached());
	assert_int_equal(files_in(t.dir, ""), 1);
}

static void a_directory_of_others(void **state)
{
	(void)state;
	fill_cache();
	assert_int_equal(chmod(t.dir, 0770), 0);
	assert_false(cached());
	assert_int_equal(chmod(t.dir, 0707), 0);
	assert_false(cached());
	assert_int_equal(chmod(t.dir, 0755), 0);
	assert_true(cached());
	if (geteuid())
		return;
	assert_int_equal(chown(t.dir, 12345, 12345), 0);
	assert_false(cached());
}

static void places_without_a_cache(void **state)
{
	char path[128], *longest = malloc(2 * PATH_MAX);

	(void)state;
	snprintf(path, sizeof(path), "%s/vmlinuz/cache", t.root);
	assert_false(unpacked_by(path));
	assert_false(unpacked_by(t.kernel));
	assert_false(unpacked_by(""));
	assert_non_null(longest);
	memset(longest, 'x', 2 * PATH_MAX);
	longest[0] = '/';
	longest[2 * PATH_MAX - 1] = '\0';
	assert_false(unpacked_by(longest));
	free(longest);
}

static void disks_that_are_full(void **state)
{
	static const off_t full[] = {1, DATA + 1, DATA + CONTENT - 1};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(full); i++) {
		t.disk_full_at = full[i];
		assert_false(cached());
		assert_int_equal(files_in(t.dir, ""), 0);
	}
	t.disk_full_at = 0;
	t.write_most = 999;
	fill_cache();
}

static void files_that_may_not_be_so_long(void **state)
{
	const struct rlimit limit = {.rlim_cur = DATA, .rlim_max = DATA};
	pid_t child;
	int status;

	(void)state;
	child = fork();
	assert_true(child >= 0);
	if (!child)
		_exit(setrlimit(RLIMIT_FSIZE, &limit) || cached() || files_in(t.dir, ""));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void set_age(const char *path, time_t seconds)
{
	const struct timespec times[2] = {
		{.tv_nsec = UTIME_OMIT},
		{.tv_sec = time(NULL) - seconds},
	};

	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void what_killed_ones_left_behind(void **state)
{
	char old[128], young[128];

	(void)state;
	fill_cache();
	snprintf(old, sizeof(old), "%s/partial-1-1", t.dir);
	snprintf(young, sizeof(young), "%s/partial-2-2", t.dir);
	write_file(old, "x", 1);
	write_file(young, "x", 1);
	set_age(old, 2 * 3600);
	assert_int_equal(unlink(t.entry), 0);
	assert_false(cached());
	assert_int_equal(files_in(t.dir, "partial-1"), 0);
	assert_int_equal(files_in(t.dir, "partial-2"), 1);
	assert_true(entry_exists());
}

static void use_is_noted(void **state)
{
	struct stat st;

	(void)state;
	fill_cache();
	set_age(t.entry, 1800);
	assert_true(cached());
	assert_int_equal(stat(t.entry, &st), 0);
	assert_true(st.st_mtim.tv_sec < time(NULL) - 1000);
	set_age(t.entry, 3 * 3600);
	assert_true(cached());
	assert_int_equal(stat(t.entry, &st), 0);
	assert_true(st.st_mtim.tv_sec > time(NULL) - 1000);
}

/* Those that were used last stay, within the bound; what is no entry stays as well. */
static void the_oldest_go_first(void **state)
{
	char path[160];

	(void)state;
	fill_cache();
	for (unsigned int i = 0; i < 6; i++) {
		snprintf(path, sizeof(path), "%s/5-%x.unpacked", t.dir, i);
		write_file(path, "x", 1);
		assert_int_equal(truncate(path, (off_t)MIB(110)), 0);
		set_age(path, 100 + (i ^ 1));
	}
	snprintf(path, sizeof(path), "%s/somebody's file", t.dir);
	write_file(path, "x", 1);
	assert_int_equal(truncate(path, (off_t)MIB(600)), 0);
	set_age(path, 1000000);
	assert_int_equal(files_in(t.dir, ""), 8);
	/* What is found removes nothing. */
	assert_true(cached());
	assert_int_equal(files_in(t.dir, ""), 8);
	assert_int_equal(unlink(t.entry), 0);
	assert_false(cached());
	assert_true(entry_exists());
	assert_int_equal(files_in(t.dir, "5-"), 4);
	/* The ages were 101, 100, 103, 102, 105, 104. */
	assert_int_equal(files_in(t.dir, "5-4"), 0);
	assert_int_equal(files_in(t.dir, "5-5"), 0);
	assert_int_equal(files_in(t.dir, "somebody"), 1);
}

static void several_at_once(void **state)
{
	pid_t children[4];
	int status;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(children); i++) {
		children[i] = fork();
		assert_true(children[i] >= 0);
		if (children[i])
			continue;
		t.write_most = 1000;
		for (unsigned int n = 0; n < 50; n++) {
			cached();
			if (n % 3 == 0)
				unlink(t.entry);
		}
		_exit(0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(children); i++) {
		assert_int_equal(waitpid(children[i], &status, 0), children[i]);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
	unlink(t.entry);
	assert_int_equal(files_in(t.dir, ""), 0);
	fill_cache();
}

/* A skep that is killed at any moment leaves an entry that is whole, or none. */
static void killed_at_any_moment(void **state)
{
	(void)state;
	for (long us = 0; us < 3000; us += 150) {
		const struct timespec pause = {.tv_nsec = us * 1000};
		pid_t child = fork();
		int status;

		assert_true(child >= 0);
		if (!child) {
			t.write_most = 100;
			for (;;) {
				cached();
				unlink(t.entry);
			}
		}
		nanosleep(&pause, NULL);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
		cached();
		mark();
		assert_true(cached());
		unlink(t.entry);
	}
}

static void errors_are_those_of_unpacking(void **state)
{
	struct boot_image *img, *unpacked;
	struct err err;

	(void)state;
	assert_int_equal(boot_open(&img, "kernel", t.kernel, &err), 0);
	assert_int_equal(cache_unpack(t.dir, img, OFFSET, PAYLOAD, CONTENT - 1, &unpacked, &err),
			 -E2BIG);
	assert_null(unpacked);
	assert_false(entry_exists());
	fill_cache();
	assert_int_equal(cache_unpack(t.dir, img, OFFSET, PAYLOAD, CONTENT - 1, &unpacked, &err),
			 -E2BIG);
	boot_close(img);

	store_le32(t.file + OFFSET + PAYLOAD - 4, CONTENT + 1);
	write_file(t.kernel, t.file, sizeof(t.file));
	wait_until_settled();
	assert_int_equal(boot_open(&img, "kernel", t.kernel, &err), 0);
	unlink(t.entry);
	assert_int_equal(cache_unpack(t.dir, img, OFFSET, PAYLOAD, MIB(1), &unpacked, &err),
			 -ENOEXEC);
	assert_non_null(strstr(err.text, "vmlinuz': the lz4 payload is 8000 bytes"));
	assert_false(entry_exists());
	boot_close(img);
}

static void an_image_in_memory_is_not_kept(void **state)
{
	struct boot_image *img, *unpacked;
	uint8_t got[CONTENT];
	struct err err;

	(void)state;
	assert_int_equal(boot_open_memory(&img, "kernel", "k", t.file, sizeof(t.file), &err), 0);
	assert_int_equal(cache_unpack(t.dir, img, OFFSET, PAYLOAD, CONTENT, &unpacked, &err), 0);
	assert_int_equal(image_read(unpacked, 0, got, CONTENT, &err), 0);
	assert_memory_equal(got, t.content, CONTENT);
	assert_string_equal(image_label(unpacked), "kernel 'k'");
	boot_close(unpacked);
	boot_close(img);
	assert_int_equal(files_in(t.dir, ""), 0);
}

static void where_it_is(void **state)
{
	char dir[PATH_MAX], want[128];

	(void)state;
	unsetenv("XDG_CACHE_HOME");
	unsetenv("HOME");
	assert_false(cache_default(dir));
	setenv("HOME", "relative", 1);
	assert_false(cache_default(dir));
	setenv("HOME", t.root, 1);
	assert_true(cache_default(dir));
	snprintf(want, sizeof(want), "%s/.cache/skep/kernels", t.root);
	assert_string_equal(dir, want);
	setenv("XDG_CACHE_HOME", "relative", 1);
	assert_true(cache_default(dir));
	assert_string_equal(dir, want);
	/* It need not be there yet. */
	snprintf(want, sizeof(want), "%s/xdg", t.root);
	setenv("XDG_CACHE_HOME", want, 1);
	assert_true(cache_default(dir));
	strcat(want, "/skep/kernels");
	assert_string_equal(dir, want);
	assert_false(unpacked_by(dir));
	assert_int_equal(files_in(dir, ".unpacked"), 1);
	/* The home of somebody else. */
	if (!geteuid())
		assert_int_equal(chown(t.root, 12345, 12345), 0);
	unsetenv("XDG_CACHE_HOME");
	setenv("HOME", geteuid() ? "/" : t.root, 1);
	assert_false(cache_default(dir));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(found_the_second_time),
		TEST(a_changed_kernel),
		TEST(a_kernel_that_changed_just_now),
		TEST(a_kernel_that_changes_while_it_is_unpacked),
		TEST(another_payload_of_the_same_file),
		TEST(truncated_entries),
		TEST(damaged_headers),
		TEST(entries_of_others),
		TEST(entries_that_are_no_files),
		TEST(a_directory_of_others),
		TEST(places_without_a_cache),
		TEST(disks_that_are_full),
		TEST(files_that_may_not_be_so_long),
		TEST(what_killed_ones_left_behind),
		TEST(use_is_noted),
		TEST(the_oldest_go_first),
		TEST(several_at_once),
		TEST(killed_at_any_moment),
		TEST(errors_are_those_of_unpacking),
		TEST(an_image_in_memory_is_not_kept),
		TEST(where_it_is),
	};

	return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
