/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * skep inspect as a person sees it: what stands on stdout and stderr, and the exit status.
 */
#include "support/cm.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../src/cli/cli_priv.h"
#include "skep/bits.h"

#define KERNEL_SIZE 8192

struct seen {
	int status;
	char out[8192];
	char err[1024];
};

struct temp {
	char dir[32];
	char kernel[64];
	char initrd[64];
};

static void put_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
}

/* Protocol 2.15, at 16 MiB, 8 MiB to unpack itself in; boot.rst, "The Real-Mode Kernel Header". */
static void make_kernel(uint8_t *k)
{
	memset(k, 0, KERNEL_SIZE);
	k[0x1f1] = 1;
	store_le32(k + 0x1f4, (KERNEL_SIZE - 1024) / 16);
	store_le16(k + 0x1fe, 0xaa55);
	memcpy(k + 0x200, "\xeb\x6aHdrS\x0f\x02", 8);
	store_le16(k + 0x20e, 0x100);
	strcpy((char *)k + 0x300, "6.1.0-hive");
	k[0x211] = 1;
	store_le32(k + 0x22c, 0x7fffffff);
	store_le32(k + 0x230, 0x200000);
	k[0x234] = 1;
	store_le16(k + 0x236, 1);
	store_le32(k + 0x238, 2047);
	store_le32(k + 0x24c, 4096);
	memcpy(k + 1024, "\xfd\x37", 2);
	store_le64(k + 0x258, MIB(16));
	store_le32(k + 0x260, MIB(8));
}

static void temp_make(struct temp *t)
{
	uint8_t kernel[KERNEL_SIZE];

	strcpy(t->dir, "/tmp/skep-inspect-XXXXXX");
	assert_non_null(mkdtemp(t->dir));
	snprintf(t->kernel, sizeof(t->kernel), "%s/kernel", t->dir);
	snprintf(t->initrd, sizeof(t->initrd), "%s/initrd", t->dir);
	make_kernel(kernel);
	put_file(t->kernel, kernel, sizeof(kernel));
	put_file(t->initrd, kernel, 5000);
}

static void temp_remove(const struct temp *t)
{
	unlink(t->kernel);
	unlink(t->initrd);
	assert_int_equal(rmdir(t->dir), 0);
}

static int redirect(int fd, int *saved)
{
	int to = memfd_create("seen", MFD_CLOEXEC);

	assert_true(to >= 0);
	*saved = dup(fd);
	assert_true(*saved >= 0);
	assert_int_equal(dup2(to, fd), fd);
	return to;
}

static void restore(int fd, int saved, int from, char *text, size_t room)
{
	ssize_t n;

	dup2(saved, fd);
	close(saved);
	n = pread(from, text, room - 1, 0);
	text[MAX(n, 0)] = '\0';
	close(from);
}

/* Runs `skep inspect` with up to four words, as many as are not NULL. */
static void inspect(struct seen *s, const char *a, const char *b, const char *c, const char *d)
{
	char *argv[] = {(char[]){"inspect"},  (char *)(uintptr_t)a, (char *)(uintptr_t)b,
			(char *)(uintptr_t)c, (char *)(uintptr_t)d, NULL};
	int argc = 1, out, err, saved_out, saved_err;

	while (argv[argc])
		argc++;
	fflush(stdout);
	out = redirect(STDOUT_FILENO, &saved_out);
	err = redirect(STDERR_FILENO, &saved_err);
	s->status = cmd_inspect(argc, argv);
	fflush(stdout);
	restore(STDOUT_FILENO, saved_out, out, s->out, sizeof(s->out));
	restore(STDERR_FILENO, saved_err, err, s->err, sizeof(s->err));
}

static void assert_has(const char *text, const char *words)
{
	if (!strstr(text, words))
		fail_msg("'%s' is not in:\n%s", words, text);
}

static void test_kernel(void **state)
{
	struct temp t;
	struct seen s;

	(void)state;
	temp_make(&t);
	inspect(&s, t.kernel, NULL, NULL, NULL);
	assert_int_equal(s.status, 0);
	assert_string_equal(s.err, "");
	assert_ptr_equal(strstr(s.out, t.kernel), s.out);
	assert_has(s.out, "a Linux bzImage\n");
	assert_has(s.out, "6.1.0-hive\n");
	assert_has(s.out, "2.15\n");
	assert_has(s.out, "1 KiB of setup code, 7 KiB of kernel\n");
	assert_has(s.out, "xz, 4 KiB at 0x400\n");
	assert_has(s.out, "0x1000000, or higher in steps of 2 MiB\n");
	assert_has(s.out, "8 MiB from there\n");
	assert_has(s.out, " 64-bit kernel\n");
	assert_has(s.out, "2047 characters at most\n");
	assert_has(s.out, "up to 0x7fffffff\n");
	assert_has(s.out, "by the 64-bit Linux boot protocol, straight into the kernel (linux)\n");
	assert_has(s.out, "(--protocol linux32)\n");
	assert_has(s.out, "at 0x1000000, in 64-bit mode\n");
	assert_has(s.out, " 24 MiB\n");
	assert_has(s.out, "with 512 MiB\n");
	assert_has(s.out, "    0x20000000 +---");
	assert_has(s.out, "     0x1000000 +---");
	assert_has(s.out, "             0 +---");
	assert_has(s.out, "entered at its start");
	temp_remove(&t);
}

static void test_memory_and_initrd(void **state)
{
	struct temp t;
	struct seen s;

	(void)state;
	temp_make(&t);
	inspect(&s, "-m5G", "--initrd", t.initrd, t.kernel);
	assert_int_equal(s.status, 0);
	assert_has(s.out, "with 5 GiB\n");
	assert_has(s.out, "24 MiB with this initrd\n");
	assert_has(s.out, "| initrd                         4.883 KiB |");
	assert_has(s.out, "(devices)");
	assert_has(s.out, "   0x180000000 +---");
	inspect(&s, "-m", "20M", t.kernel, NULL);
	assert_int_equal(s.status, STATUS_REFUSED);
	assert_has(s.out, "no: kernel '");
	assert_has(s.out, "give it more: -m 24M");
	assert_null(strstr(s.out, "+---"));
	temp_remove(&t);
}

/* Each file is looked at; one that cannot be booted decides the status. */
static void test_several(void **state)
{
	struct temp t;
	struct seen s;

	(void)state;
	temp_make(&t);
	put_file(t.initrd, "\x28\xb5\x2f\xfd rest", 9);
	inspect(&s, t.initrd, t.dir, t.kernel, NULL);
	assert_int_equal(s.status, STATUS_REFUSED);
	assert_has(s.out, "zstd data\n");
	assert_has(s.out, "none that can be booted but zstd data; unpack it first\n");
	assert_has(s.out, "linux32: it has no setup header of Linux\n");
	assert_has(s.err, "skep: kernel '");
	assert_has(s.err, "is a directory");
	assert_has(s.out, "6.1.0-hive\n");
	temp_remove(&t);
}

static void test_mistakes(void **state)
{
	struct temp t;
	struct seen s;

	(void)state;
	temp_make(&t);
	inspect(&s, NULL, NULL, NULL, NULL);
	assert_int_equal(s.status, STATUS_REFUSED);
	assert_has(s.err, "skep: inspect needs a file");
	inspect(&s, "-m", "lots", t.kernel, NULL);
	assert_int_equal(s.status, STATUS_REFUSED);
	assert_has(s.err, "'lots' is not a size");
	inspect(&s, "-m", "1000", t.kernel, NULL);
	assert_int_equal(s.status, STATUS_REFUSED);
	inspect(&s, "-i", "/tmp/skep-no-such", t.kernel, NULL);
	assert_int_equal(s.status, STATUS_REFUSED);
	assert_has(s.err, "cannot open initrd '/tmp/skep-no-such'");
	inspect(&s, "--memroy", "1G", t.kernel, NULL);
	assert_int_equal(s.status, STATUS_REFUSED);
	assert_has(s.err, "did you mean --memory?");
	assert_string_equal(s.out, "");
	inspect(&s, "--help", NULL, NULL, NULL);
	assert_int_equal(s.status, 0);
	assert_has(s.out, "--initrd FILE");
	temp_remove(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kernel),
		cmocka_unit_test(test_memory_and_initrd),
		cmocka_unit_test(test_several),
		cmocka_unit_test(test_mistakes),
	};

	return cmocka_run_group_tests_name("inspect", tests, NULL, NULL);
}
