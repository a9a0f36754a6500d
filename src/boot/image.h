/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * image - reading the files that a guest is booted from, and telling what they are.
 */
#ifndef BOOT_IMAGE_H
#define BOOT_IMAGE_H

#include <stddef.h>
#include <stdint.h>

struct boot_image;
struct err;
struct gmem;

/* "kernel '/boot/vmlinuz'", for the start of a sentence. */
const char *image_label(const struct boot_image *img);

/* Reads exactly [offset, offset + len); -EIO when the file has no such bytes (any more). */
int image_read(const struct boot_image *img, uint64_t offset, void *to, size_t len,
	       struct err *err);

/* The same into guest memory at @gpa, which is RAM. */
int image_load(const struct boot_image *img, uint64_t offset, struct gmem *mem, uint64_t gpa,
	       uint64_t len, struct err *err);

/* Enough of a file's beginning to tell what it is. */
#define FORMAT_HEAD 1024

/*
 * What a file that starts with @head is, in words with an article, and in *@advice what a person
 * who gave it as a kernel may do instead; NULL when nothing comes to mind.
 */
const char *format_guess(const uint8_t *head, size_t len, const char **advice);

/* How data that starts with the @len bytes at @head is compressed; NULL when that is not known. */
const char *format_compression(const uint8_t *head, size_t len);

#endif
