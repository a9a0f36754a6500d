/* SPDX-License-Identifier: BSD-2-Clause */
/* The hash of an image, against the examples of FIPS 180-4 and sha256sum(1)'s word on long ones. */
#include "support/cm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "skep/boot.h"
#include "skep/err.h"

static void expect(const void *data, size_t len, const char *sum)
{
	struct boot_image *img;
	char hex[BOOT_HASH_TEXT];
	struct err err;
	int ret;

	assert_int_equal(boot_open_memory(&img, "kernel", "data", data, len, &err), 0);
	ret = boot_image_hash(img, hex, &err);
	boot_close(img);
	if (ret == -ENOSYS) {
		print_message("%s\n", err.text);
		skip();
	}
	assert_int_equal(ret, 0);
	assert_string_equal(hex, sum);
}

static void short_and_long_images(void **state)
{
	char *million = malloc(1000000);

	(void)state;
	assert_non_null(million);
	memset(million, 'a', 1000000);
	expect("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	expect(million, 1000000,
	       "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	free(million);
}

static void a_file_that_shrank_has_no_hash(void **state)
{
	char path[] = "/tmp/skep-hash-XXXXXX", hex[BOOT_HASH_TEXT];
	int fd = mkstemp(path);
	struct boot_image *img;
	struct err err;
	int ret;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 100000), 0);
	assert_int_equal(boot_open(&img, "initrd", path, &err), 0);
	assert_int_equal(ftruncate(fd, 10), 0);
	ret = boot_image_hash(img, hex, &err);
	assert_true(ret == -EIO || ret == -ENOSYS);
	boot_close(img);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_and_long_images),
		cmocka_unit_test(a_file_that_shrank_has_no_hash),
	};

	return cmocka_run_group_tests_name("hash", tests, NULL, NULL);
}
