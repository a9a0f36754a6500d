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

struct err;
struct gmem;

/* What the PC leaves free below 4 GiB for devices: RAM continues at 4 GiB. */
#define GMEM_HOLE_START UINT64_C(0xc0000000)
#define GMEM_HOLE_END   UINT64_C(0x100000000)

#define GMEM_REGIONS_MAX 8

struct gmem_region {
	uint64_t gpa;
	uint64_t size;
	void *hva; /* aligned as gpa is, modulo 2 MiB, so that huge pages fit */
};

/*
 * Reserves @size bytes of guest RAM, untouched (host memory is taken as the guest uses it): up to
 * GMEM_HOLE_START at gpa 0, the rest from GMEM_HOLE_END. @size is a multiple of 4 KiB, at least
 * 1 MiB, at most 64 TiB. -EINVAL, -ENOMEM; then *@mem is NULL.
 */
int gmem_create(struct gmem **mem, uint64_t size, struct err *err);
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

/* Bytes of guest RAM that the host holds in memory at this moment, for reports. */
uint64_t gmem_resident(const struct gmem *mem);

#endif
