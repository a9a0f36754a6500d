/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an image is, by the SHA-256 of its bytes, for reports.
 *
 * Nettle is opened only for them. Where the guest runs in a sandbox, that is before it runs.
 */
#include <dlfcn.h>
#include <nettle/sha2.h>
#include <stdio.h>

#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/err.h"

#include "image.h"

#define LIBRARY "libnettle.so.8"

CALLS_LIBRARY
static int digest(void *library, const struct boot_image *img, uint8_t sum[SHA256_DIGEST_SIZE],
		  struct err *err)
{
	__typeof__(&sha256_init) init =
		(__typeof__(&sha256_init))dlsym(library, "nettle_sha256_init");
	__typeof__(&sha256_update) update =
		(__typeof__(&sha256_update))dlsym(library, "nettle_sha256_update");
	__typeof__(&sha256_digest) finish =
		(__typeof__(&sha256_digest))dlsym(library, "nettle_sha256_digest");
	uint64_t size = boot_image_size(img);
	struct sha256_ctx ctx;
	uint8_t part[16384];
	int ret = 0;

	if (!init || !update || !finish)
		return err_set(err, ENOSYS, LIBRARY " has no SHA-256");
	init(&ctx);
	for (uint64_t at = 0; !ret && at < size; at += sizeof(part)) {
		size_t n = (size_t)MIN(size - at, (uint64_t)sizeof(part));

		ret = image_read(img, at, part, n, err);
		if (!ret)
			update(&ctx, n, part);
	}
	if (!ret)
		finish(&ctx, SHA256_DIGEST_SIZE, sum);
	return ret;
}

void boot_hash_prepare(void)
{
	/* It stays: opened once more, it is found by its name. */
	dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
}

int boot_image_hash(const struct boot_image *img, char hex[BOOT_HASH_TEXT], struct err *err)
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	uint8_t sum[SHA256_DIGEST_SIZE] = {0};
	int ret;

	if (!library)
		return err_set(err, ENOSYS, "images are hashed by Nettle: install libnettle8");
	ret = digest(library, img, sum, err);
	dlclose(library);
	for (unsigned int i = 0; !ret && i < SHA256_DIGEST_SIZE; i++)
		snprintf(hex + 2UL * i, 3, "%02x", sum[i]);
	return ret;
}
