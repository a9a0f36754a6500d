/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache - payloads of kernels, unpacked once and kept for the next start.
 *
 * An entry is a file: a page that says what was unpacked, then the bytes, ready to be read into
 * guest memory. It is found by the kernel file's device and inode, and taken only if the file is
 * still the one that was unpacked: its length, both its times to the nanosecond, the place of the
 * payload, and sixteen samples of the payload, the first and the last bytes among them, are what
 * they were. The times tell of every change that the host's kernel knows of; the samples are for
 * read-only file systems whose images carry equal times. Hashing the whole payload would cost as
 * much as unpacking it, with the faster kinds. As git does with its index, no entry is made for a
 * file that changed so recently that another change might leave its times as they are.
 *
 * The directory and the entries are the user's own and writable for nobody else, or they are not
 * looked at. An entry is written under another name, then renamed, so it is there wholly or not at
 * all, however many skeps there are and wherever one is killed; its length says that it was written
 * to its end. Its bytes carry no checksum: what can be flipped there can be flipped in the kernel
 * file as well. Nor are they forced to the disk: file systems write data before the length that has
 * it, so a host that lost its power shows a short entry. Together the entries take CACHE_BYTES_MAX
 * at most, and those that were not used for the longest time go first.
 *
 * A cache that cannot be used is never an error: there is only none. One thread for each call.
 */
#ifndef BOOT_CACHE_H
#define BOOT_CACHE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct boot_image;
struct err;

#define CACHE_BYTES_MAX (UINT64_C(512) << 20)

/* Where it is unless somebody says otherwise: in the user's cache, XDG Base Directory
 * Specification. False when the environment names no such place. */
bool cache_default(char dir[PATH_MAX]);

/*
 * The payload at [@offset, @offset + @len) of @img, unpacked, as an image to be closed: out of the
 * cache in @dir (NULL: without a cache), or else by unpack.h, whose errors these are; and then kept
 * in @dir. -E2BIG: it says that it is more than @most bytes.
 */
int cache_unpack(const char *dir, const struct boot_image *img, uint64_t offset, uint64_t len,
		 uint64_t most, struct boot_image **unpacked, struct err *err);

#endif
