/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/gmem.h"

#define HUGE_PAGE MIB(2)
/* Half of what a process can address on a host with four-level paging. */
#define RAM_LIMIT bit64(46)

/* The address space that a region was cut out of. */
struct reservation {
	void *base;
	uint64_t span;
};

struct gmem {
	unsigned int count;
	struct gmem_region regions[GMEM_REGIONS_MAX];
	struct reservation reserved[GMEM_REGIONS_MAX];
};

/*
 * Huge pages are what keeps a guest's page faults few: with nested paging each fault costs an exit
 * and a walk. They need host and guest address equal modulo 2 MiB, so a region is cut out of a
 * larger reservation. What is left on both sides stays as a guard without access.
 */
static int reserve(struct gmem_region *r, struct reservation *v, struct err *err)
{
	uint64_t span = align_up(r->size, HUGE_PAGE) + 2 * HUGE_PAGE;
	char *base, *at;

	base = mmap(NULL, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return err_sys(err, errno, "cannot reserve %llu MiB of guest memory",
			       (unsigned long long)(r->size >> 20));
	v->base = base;
	v->span = span;
	at = base + (align_up((uintptr_t)base + 1, HUGE_PAGE) - (uintptr_t)base);
	if (mprotect(at, r->size, PROT_READ | PROT_WRITE))
		return err_sys(err, errno, "cannot make guest memory accessible");
	/* Hosts without transparent huge pages say no; the guest runs all the same. */
	madvise(at, r->size, MADV_HUGEPAGE);
	/* A core dump of skep is for skep's bugs, not for the guest's gigabytes. */
	madvise(at, r->size, MADV_DONTDUMP);
	r->hva = at;
	return 0;
}

int gmem_create(struct gmem **mem, uint64_t size, struct err *err)
{
	struct gmem *m;
	int ret = 0;

	*mem = NULL;
	if (size < MIB(1) || size % KIB(4))
		return err_set(
			err, EINVAL,
			"guest memory of %llu bytes is not a multiple of 4 KiB from 1 MiB up",
			(unsigned long long)size);
	if (size > RAM_LIMIT)
		return err_set(err, EINVAL,
			       "guest memory of %llu GiB is more than a process can map",
			       (unsigned long long)(size >> 30));
	m = calloc(1, sizeof(*m));
	if (!m)
		return err_sys(err, ENOMEM, "guest memory");
	m->regions[0].size = MIN(size, GMEM_HOLE_START);
	m->count = 1;
	if (size > GMEM_HOLE_START) {
		m->regions[1].gpa = GMEM_HOLE_END;
		m->regions[1].size = size - GMEM_HOLE_START;
		m->count = 2;
	}
	for (unsigned int i = 0; !ret && i < m->count; i++)
		ret = reserve(&m->regions[i], &m->reserved[i], err);
	if (ret) {
		gmem_destroy(m);
		return ret;
	}
	*mem = m;
	return 0;
}

void gmem_destroy(struct gmem *mem)
{
	if (!mem)
		return;
	for (unsigned int i = 0; i < mem->count; i++)
		if (mem->reserved[i].base)
			munmap(mem->reserved[i].base, mem->reserved[i].span);
	free(mem);
}

unsigned int gmem_regions(const struct gmem *mem, const struct gmem_region **regions)
{
	*regions = mem->regions;
	return mem->count;
}

uint64_t gmem_size(const struct gmem *mem)
{
	uint64_t size = 0;

	for (unsigned int i = 0; i < mem->count; i++)
		size += mem->regions[i].size;
	return size;
}

static const struct gmem_region *region_at(const struct gmem *mem, uint64_t gpa)
{
	for (unsigned int i = 0; i < mem->count; i++)
		if (gpa - mem->regions[i].gpa < mem->regions[i].size)
			return &mem->regions[i];
	return NULL;
}

void *gmem_hva(const struct gmem *mem, uint64_t gpa, uint64_t len)
{
	const struct gmem_region *r = region_at(mem, gpa);

	if (!r || !range_fits(gpa - r->gpa, len, r->size))
		return NULL;
	return (char *)r->hva + (gpa - r->gpa);
}

int gmem_iov(const struct gmem *mem, uint64_t gpa, uint64_t len, struct iovec *iov,
	     unsigned int room)
{
	unsigned int n = 0;

	while (len) {
		const struct gmem_region *r = region_at(mem, gpa);
		uint64_t part;

		if (!r)
			return -EFAULT;
		if (n == room)
			return -E2BIG;
		part = MIN(len, r->size - (gpa - r->gpa));
		iov[n].iov_base = (char *)r->hva + (gpa - r->gpa);
		iov[n++].iov_len = part;
		len -= part;
		gpa += part;
		/* A region that ends the address space would wrap to 0. */
		if (len && !gpa)
			return -EFAULT;
	}
	return (int)n;
}

int gmem_read(const struct gmem *mem, uint64_t gpa, void *to, uint64_t len)
{
	struct iovec iov[GMEM_REGIONS_MAX];
	int n = gmem_iov(mem, gpa, len, iov, GMEM_REGIONS_MAX);

	for (int i = 0; i < n; i++) {
		memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to = (char *)to + iov[i].iov_len;
	}
	return MIN(n, 0);
}

int gmem_write(struct gmem *mem, uint64_t gpa, const void *from, uint64_t len)
{
	struct iovec iov[GMEM_REGIONS_MAX];
	int n = gmem_iov(mem, gpa, len, iov, GMEM_REGIONS_MAX);

	for (int i = 0; i < n; i++) {
		memcpy(iov[i].iov_base, from, iov[i].iov_len);
		from = (const char *)from + iov[i].iov_len;
	}
	return MIN(n, 0);
}

int gmem_fill(struct gmem *mem, uint64_t gpa, uint8_t byte, uint64_t len)
{
	struct iovec iov[GMEM_REGIONS_MAX];
	int n = gmem_iov(mem, gpa, len, iov, GMEM_REGIONS_MAX);

	for (int i = 0; i < n; i++)
		memset(iov[i].iov_base, byte, iov[i].iov_len);
	return MIN(n, 0);
}

uint64_t gmem_resident(const struct gmem *mem)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	unsigned char map[4096];
	uint64_t total = 0;

	for (unsigned int i = 0; i < mem->count; i++) {
		const struct gmem_region *r = &mem->regions[i];

		for (uint64_t at = 0; at < r->size; at += sizeof(map) * page) {
			uint64_t len = MIN(sizeof(map) * page, r->size - at);

			if (mincore((char *)r->hva + at, len, map))
				return total;
			for (uint64_t p = 0; p < len / page; p++)
				total += map[p] & 1 ? page : 0;
		}
	}
	return total;
}
