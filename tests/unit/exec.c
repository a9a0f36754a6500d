/* SPDX-License-Identifier: BSD-2-Clause */
/* A command for a guest: what the option tree and the initramfs come to, and what is refused. */
#include "support/cm.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../src/smoke/exec.h"
#include "skep/bits.h"
#include "skep/config.h"
#include "skep/err.h"
#include "skep/log.h"

static char dir[] = "/tmp/skep-exec-XXXXXX";
static struct log messages;
static struct err err;

static struct config *config_of(const char *const *pairs)
{
	struct config *c = config_new();

	assert_non_null(c);
	assert_int_equal(config_set_pair(c, "device.exit=debug_exit", &err), 0);
	for (; *pairs; pairs++)
		assert_int_equal(config_set_pair(c, *pairs, &err), 0);
	return c;
}

#define CONFIG(...) config_of((const char *const[]){__VA_ARGS__, NULL})

/* Whether the archive behind @fd has @text somewhere. */
static bool holds(int fd, const char *text)
{
	struct stat st;
	void *at;
	bool found;

	assert_int_equal(fstat(fd, &st), 0);
	at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	found = memmem(at, (size_t)st.st_size, text, strlen(text));
	munmap(at, (size_t)st.st_size);
	return found;
}

static void a_command_in_a_folder(void **state)
{
	struct exec x = {.command = "echo hello; exit 3", .root = dir, .fd = -1};
	struct config *c = CONFIG("boot.kernel=bzImage", "boot.initrd.0=first",
				  "device.exit.port=0x501", "boot.append=quiet");
	char path[32];

	(void)state;
	if (exec_prepare(&x, c, 1, &messages, &err))
		fail_msg("%s", err.text);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", x.fd);
	assert_string_equal(config_get(c, "boot.initrd.1"), path);
	assert_string_equal(config_get(c, "boot.append"), "quiet rdinit=/.skep/init");
	assert_true(holds(x.fd, "1281 0\necho hello; exit 3"));
	assert_true(holds(x.fd, ".skep/init"));
	assert_true(holds(x.fd, "of the host"));
	exec_free(&x);
	assert_int_equal(x.fd, -1);
	config_free(c);
}

/* The userland is that of the initrd; what Linux has by default is said, for it is not added to. */
static void a_command_in_an_initrd(void **state)
{
	struct exec x = {.command = "true", .fd = -1};
	struct config *c = CONFIG("boot.kernel=bzImage");

	(void)state;
	assert_int_equal(exec_prepare(&x, c, 1, &messages, &err), 0);
	assert_string_equal(config_get(c, "boot.append"), "console=ttyS0 rdinit=/.skep/init");
	assert_true(holds(x.fd, "244 0\ntrue"));
	assert_false(holds(x.fd, "BusyBox v"));
	exec_free(&x);
	config_free(c);
}

static void a_folder_alone(void **state)
{
	struct exec x = {.root = dir, .fd = -1};
	struct config *c = CONFIG("boot.kernel=bzImage"), *named;
	char init[64];

	(void)state;
	assert_int_equal(exec_prepare(&x, c, 0, &messages, &err), -ENOENT);
	assert_non_null(strstr(err.text, "has no /init"));
	named = CONFIG("boot.kernel=bzImage", "boot.append=rdinit=/file");
	assert_int_equal(exec_prepare(&x, named, 0, &messages, &err), 0);
	assert_string_equal(config_get(named, "boot.append"), "rdinit=/file");
	exec_free(&x);
	config_free(named);
	/* It may point to where there is something in the guest alone. */
	snprintf(init, sizeof(init), "%s/init", dir);
	assert_int_equal(symlink("/bin/no-such-init", init), 0);
	assert_int_equal(exec_prepare(&x, c, 0, &messages, &err), 0);
	assert_null(config_get(c, "boot.append"));
	exec_free(&x);
	unlink(init);
	config_free(c);
}

static void refused(const char *want, struct config *c)
{
	struct exec x = {.command = "true", .root = dir, .fd = -1};

	assert_true(exec_prepare(&x, c, 0, &messages, &err) < 0);
	assert_int_equal(x.fd, -1);
	if (!strstr(err.text, want))
		fail_msg("'%s' does not say '%s'", err.text, want);
	config_free(c);
}

static void what_is_refused(void **state)
{
	(void)state;
	refused("--exec is for a Linux kernel: name one", CONFIG("memory.size=64M"));
	refused("leave device.exit as it is", CONFIG("boot.kernel=k", "device.exit=none"));
	refused("leave device.exit as it is", CONFIG("boot.kernel=k", "device.exit.compat=qemu"));
	refused("half of its memory", CONFIG("boot.kernel=k", "memory.size=1M"));
	refused("memory.sise", CONFIG("boot.kernel=k", "memory.sise=4K"));
}

/* A host without a busybox, or with one that needs libraries. */
static void no_userland(void **state)
{
	struct exec x = {.command = "true", .fd = -1};
	struct config *c = CONFIG("boot.kernel=k");

	(void)state;
	if (exec_prepare(&x, c, 0, &messages, &err)) {
		assert_non_null(strstr(err.text, "--exec needs a userland"));
	} else {
		assert_true(holds(x.fd, "244 1\ntrue"));
		assert_true(holds(x.fd, "BusyBox v"));
		exec_free(&x);
	}
	config_free(c);
}

static int make_dir(void **state)
{
	char path[64];
	int fd;

	(void)state;
	log_init(&messages, memfd_create("log", MFD_CLOEXEC), LOG_INFO);
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/file", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	if (fd < 0 || write(fd, "of the host", 11) != 11 || ftruncate(fd, 600000))
		return -1;
	return close(fd);
}

static int remove_dir(void **state)
{
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "%s/file", dir);
	unlink(path);
	close(messages.fd);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_command_in_a_folder), cmocka_unit_test(a_command_in_an_initrd),
		cmocka_unit_test(a_folder_alone),        cmocka_unit_test(what_is_refused),
		cmocka_unit_test(no_userland),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
