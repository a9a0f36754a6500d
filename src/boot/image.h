/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * image - reading the files that a guest is booted from, and telling what they are.
 */
#ifndef BOOT_IMAGE_H
#define BOOT_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct boot_image;
struct err;
struct gmem;
struct stat;

/* "kernel '/boot/vmlinuz'", for the start of a sentence. */
const char *image_label(const struct boot_image *img);

/* Reads exactly [offset, offset + len); -EIO when the file has no such bytes (any more). */
int image_read(const struct boot_image *img, uint64_t offset, void *to, size_t len,
	       struct err *err);

/* The same into guest memory at @gpa, which is RAM. */
int image_load(const struct boot_image *img, uint64_t offset, struct gmem *mem, uint64_t gpa,
	       uint64_t len, struct err *err);

/* What the file is now; false for an image in memory. */
bool image_stat(const struct boot_image *img, struct stat *st);

/*
 * An image of what @from holds, unpacked: @size bytes at @base of the file @fd, or at @data, for
 * free(). NULL when there is no memory; otherwise @fd or @data is the image's.
 */
struct boot_image *image_unpacked_file(const struct boot_image *from, int fd, uint64_t base,
				       uint64_t size);
struct boot_image *image_unpacked_memory(const struct boot_image *from, void *data, uint64_t size);
/*
 * What image_unpacked_file() first said of @from, which stays open for as long as @from is: a
 * sandbox opens nothing at a reset. NULL when it has said nothing.
 */
struct boot_image *image_unpacked_before(const struct boot_image *from);

/* Enough of a file's beginning to tell what it is. */
#define FORMAT_HEAD 1024

/*
 * What a file that starts with @head is, in words with an article, and in *@advice what a person
 * who gave it as a kernel may do instead; NULL when nothing comes to mind.
 */
#define FORMAT_BOOT_SECTOR "a boot sector or disk image"
const char *format_guess(const uint8_t *head, size_t len, const char **advice);

/* How data that starts with the @len bytes at @head is compressed; NULL when that is not known. */
const char *format_compression(const uint8_t *head, size_t len);

#endif
