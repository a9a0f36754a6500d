/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pack - an initramfs made on the spot: a cpio archive (newc) in memory, by libarchive.
 *
 * The same contents give the same bytes: names are sorted, all belongs to root, no times are kept.
 * Hard links stay such, symbolic links are not followed, and what cannot be in a folder that
 * anybody may pack (devices, sockets) is left out and told of. Beyond the limit nothing is added.
 *
 * libarchive is opened at run time. One thread at a time.
 */
#ifndef SRC_SMOKE_PACK_H
#define SRC_SMOKE_PACK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct log;
struct pack;

/* @most: bytes of the archive. */
int pack_open(struct pack **p, uint64_t most, struct log *log, struct err *err);
/* Names are without a slash in front; folders come before what is in them. */
int pack_folder(struct pack *p, const char *name, struct err *err);
int pack_bytes(struct pack *p, const char *name, mode_t mode, const void *data, size_t len,
	       struct err *err);
int pack_link(struct pack *p, const char *name, const char *target, struct err *err);
int pack_char_device(struct pack *p, const char *name, unsigned int major, unsigned int minor,
		     struct err *err);
/* File @from of the host. */
int pack_file(struct pack *p, const char *name, mode_t mode, const char *from, struct err *err);
/* All that is in folder @from of the host. */
int pack_tree(struct pack *p, const char *from, struct err *err);

/* Finishes the archive; returns a descriptor of it, a file in memory that is the caller's. */
int pack_finish(struct pack *p, struct err *err);
/* NULL is allowed. */
void pack_free(struct pack *p);

#endif
