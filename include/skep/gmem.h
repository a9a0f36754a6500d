/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gmem - guest physical memory.
 *
 * RAM is a few regions of host memory, each at a guest physical address (gpa). The regions are
 * fixed once the machine runs, so every function below may be called from any thread. Contents are
 * shared with a guest that writes at any moment: fetch once into your own copy, check, then use.
 *
 * Addresses and lengths given here may come straight from a guest: anything that is not wholly RAM
 * is -EFAULT, and nothing is done by halves. No bytes at all are 0 at any address. What lies next
 * to a region in the host is never accessible.
 */
#ifndef SKEP_GMEM_H
#define SKEP_GMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "skep/config.h"

struct err;
struct gmem;

/* What the PC leaves free below 4 GiB for devices: RAM continues at 4 GiB. */
#define GMEM_HOLE_START UINT64_C(0xc0000000)
#define GMEM_HOLE_END   UINT64_C(0x100000000)

#define GMEM_REGIONS_MAX 8

struct gmem_region {
	uint64_t gpa;
	uint64_t size;
	void *hva; /* aligned as gpa is, modulo 2 MiB or a larger huge page, so that those fit */
	/* The file that the region is a part of, for other processes to map; -1: there is none. */
	int fd;
	uint64_t fd_offset;
};

enum gmem_hugepages {
	GMEM_HUGEPAGES_OFF, /* ordinary pages, which the host may put together on its own */
	GMEM_HUGEPAGES_2M,
	GMEM_HUGEPAGES_1G,
};

/* Below the key "memory". All zeroes but for @size is the plain case. */
struct gmem_options {
	uint64_t size;          /* a multiple of 4 KiB and of the huge page, 1 MiB to 64 TiB */
	unsigned int hugepages; /* enum gmem_hugepages: out of those the host has set aside */
	bool prealloc;          /* takes all of it from the host at once */
	bool wired;             /* what was taken is never swapped out or moved */
	bool shared;            /* in a file; that of huge pages always is */
	bool merge;             /* the host may merge pages that are alike (KSM) */
};
extern const struct option gmem_option_table[];

/*
 * Reserves guest RAM: up to GMEM_HOLE_START at gpa 0, the rest from GMEM_HOLE_END. It reads as
 * zeroes; host memory is taken as the guest uses it, unless @options say otherwise. -EINVAL for
 * options that cannot be, alone or together, -ENOMEM, or what the host answered; then *@mem is
 * NULL.
 */
int gmem_create(struct gmem **mem, const struct gmem_options *options, struct err *err);
void gmem_destroy(struct gmem *mem);

/* The regions in ascending order; their number is returned. */
unsigned int gmem_regions(const struct gmem *mem, const struct gmem_region **regions);

/* Bytes of RAM in all. */
uint64_t gmem_size(const struct gmem *mem);

/* Where [gpa, gpa + len) lies in the host; NULL unless it is within one region. len > 0. */
void *gmem_hva(const struct gmem *mem, uint64_t gpa, uint64_t len);

/* 0, or -EFAULT. */
int gmem_read(const struct gmem *mem, uint64_t gpa, void *to, uint64_t len);
int gmem_write(struct gmem *mem, uint64_t gpa, const void *from, uint64_t len);
int gmem_fill(struct gmem *mem, uint64_t gpa, uint8_t byte, uint64_t len);

/*
 * Describes [gpa, gpa + len) by iovecs. Returns how many were used, -EFAULT outside RAM, -E2BIG
 * when @room is too few.
 */
int gmem_iov(const struct gmem *mem, uint64_t gpa, uint64_t len, struct iovec *iov,
	     unsigned int room);

/* Bytes of a page of the host that it is made of: 4 KiB, or a huge page. */
uint64_t gmem_page_size(const struct gmem *mem);

/* Whether what was taken stays where it is: gmem_discard() gives nothing back. */
bool gmem_wired(const struct gmem *mem);

/* The gpa of what lies at @hva in the host; false when that is not RAM. */
bool gmem_gpa(const struct gmem *mem, const void *hva, uint64_t *gpa);

/*
 * Gives the host pages that lie wholly in [gpa, gpa + len) back to the host: they read as zeroes,
 * and take memory again when they are used. What is less than a page stays, so of huge pages most
 * requests give back nothing. -EFAULT outside RAM, -EPERM for memory that is wired, or what the
 * host says. Whoever has the pages in use loses what is in them, but not the pages.
 */
int gmem_discard(struct gmem *mem, uint64_t gpa, uint64_t len);

/* Bytes of guest RAM that the host holds in memory at this moment, for reports. */
uint64_t gmem_resident(const struct gmem *mem);

#endif
