/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * unpack - a kernel's payload, decompressed on the host instead of by the kernel itself.
 *
 * The payload of a bzImage is a compressed file, by the compressor that the kernel's configuration
 * chose, and behind it, in 4 bytes, little-endian, how long it is unpacked; gzip ends with such a
 * number of its own. What follows the end of the compressed stream is ignored, as the kernel's own
 * unpackers do. (lz4's stream has no end: there everything up to the 4 bytes is the stream.)
 *
 * The decompressors are Debian's libraries, and the one that is needed is opened when it is needed,
 * so that no start of a machine pays for the others. Every byte of a payload is hostile: nothing is
 * written outside what the caller gave, and no more memory is taken than the payload's length and
 * the dictionary that xz and lzma ask for, 128 MiB at most. Pure, apart from reading the image; one
 * thread for each call.
 *
 * Each function returns 0 or
 *   -ENOSYS  the host lacks the library; the sentence names the package
 *   -ENOTSUP the payload is of a kind, or needs a dictionary, that is not supported
 *   -ENOEXEC it is damaged, or not as long as it says
 *   -ENOMEM  there is no memory to unpack it with
 *   -EIO     the file became shorter, or cannot be read
 * With the first two and -ENOMEM, a kernel may be able to do what skep was not.
 */
#ifndef BOOT_UNPACK_H
#define BOOT_UNPACK_H

#include <stddef.h>
#include <stdint.h>

struct boot_image;
struct err;

/* How long the payload at [@offset, @offset + @len) of @img says it is unpacked. */
int unpack_size(const struct boot_image *img, uint64_t offset, uint64_t len, uint64_t *size,
		struct err *err);

/* Memory that is soon written from its start to its end, for free(); NULL when there is none. */
void *unpack_room(uint64_t len);

/* Unpacks it into exactly @out_len bytes at @out, which after a failure hold anything. */
int unpack(const struct boot_image *img, uint64_t offset, uint64_t len, void *out, uint64_t out_len,
	   struct err *err);

/* The same for a payload in memory. */
int unpack_bytes(const uint8_t *in, size_t len, void *out, size_t out_len, struct err *err);

#endif
