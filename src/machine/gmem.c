/* SPDX-License-Identifier: BSD-2-Clause */
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/err.h"
#include "skep/gmem.h"

#define HUGE_PAGE MIB(2)
/* Half of what a process can address on a host with four-level paging. */
#define RAM_LIMIT bit64(46)

/* Since Linux 5.14; younger than some C libraries. */
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* The address space that a region was cut out of. */
struct reservation {
	void *base;
	uint64_t span;
};

struct gmem {
	int fd;        /* the file of all regions, or -1 */
	uint64_t page; /* of the host */
	bool wired;
	unsigned int count;
	struct gmem_region regions[GMEM_REGIONS_MAX];
	struct reservation reserved[GMEM_REGIONS_MAX];
};

const struct option gmem_option_table[] = {
	{.name = "size",
	 .type = OPTION_SIZE,
	 .offset = offsetof(struct gmem_options, size),
	 .fallback = "512M",
	 .min = MIB(1),
	 .help = "guest memory"},
	{.name = "hugepages",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct gmem_options, hugepages),
	 .fallback = "off",
	 .choices = "off|2M|1G",
	 .help = "huge pages that the host has set aside"},
	{.name = "prealloc",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct gmem_options, prealloc),
	 .fallback = "off",
	 .help = "take all memory at the start, not as the guest uses it"},
	{.name = "wired",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct gmem_options, wired),
	 .fallback = "off",
	 .help = "keep what is taken from being swapped out"},
	{.name = "shared",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct gmem_options, shared),
	 .fallback = "off",
	 .help = "keep memory in a file that other processes can map"},
	{.name = "merge",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct gmem_options, merge),
	 .fallback = "off",
	 .help = "let the host merge pages that are alike (KSM)"},
	OPTION_END,
};

/* By enum gmem_hugepages. */
static const struct {
	const char *name;
	uint64_t size;
	unsigned int memfd_flags;
} page_kinds[] = {
	[GMEM_HUGEPAGES_OFF] = {"4K", KIB(4), 0},
	[GMEM_HUGEPAGES_2M] = {"2M", MIB(2), MFD_HUGETLB | MFD_HUGE_2MB},
	[GMEM_HUGEPAGES_1G] = {"1G", GIB(1), MFD_HUGETLB | MFD_HUGE_1GB},
};

static uint64_t page_size(const struct gmem_options *o)
{
	return page_kinds[o->hugepages].size;
}

static int check_options(const struct gmem_options *o, struct err *err)
{
	if (o->size < MIB(1) || o->size % KIB(4))
		return err_set(
			err, EINVAL,
			"guest memory of %llu bytes is not a multiple of 4 KiB from 1 MiB up",
			(unsigned long long)o->size);
	if (o->size > RAM_LIMIT)
		return err_set(err, EINVAL,
			       "guest memory of %llu GiB is more than a process can map",
			       (unsigned long long)(o->size >> 30));
	if (o->size % page_size(o))
		return err_set(err, EINVAL,
			       "memory.size: %llu KiB are not a multiple of the huge page of %s",
			       (unsigned long long)(o->size >> 10), page_kinds[o->hugepages].name);
	if (o->merge && (o->hugepages || o->shared))
		return err_set(err, EINVAL,
			       "memory.merge: the host merges private memory of ordinary pages "
			       "only, not memory.%s",
			       o->hugepages ? "hugepages" : "shared");
	if (o->merge && o->wired)
		return err_set(err, EINVAL,
			       "memory.merge: a page that was merged has to be taken anew when it "
			       "is written, which is what memory.wired rules out");
	return 0;
}

/* A number that the host tells of its huge pages of @size; false when it does not. */
static bool read_huge(uint64_t size, const char *what, uint64_t *value)
{
	char path[96], text[32];
	bool read;
	FILE *f;

	*value = 0;
	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%llukB/%s",
		 (unsigned long long)(size >> 10), what);
	f = fopen(path, "re");
	if (!f)
		return false;
	read = fgets(text, sizeof(text), f);
	fclose(f);
	if (read)
		*value = strtoull(text, NULL, 10);
	return read;
}

/* @have: bytes that this memory has already been promised. */
static int no_huge_pages(const struct gmem_options *o, uint64_t have, int errnum, struct err *err)
{
	const uint64_t size = page_size(o), needed = o->size / size;
	const char *name = page_kinds[o->hugepages].name;
	uint64_t all, unused, promised;

	if (!read_huge(size, "nr_hugepages", &all) || !read_huge(size, "free_hugepages", &unused) ||
	    !read_huge(size, "resv_hugepages", &promised))
		return err_set(err, errnum, "memory.hugepages: this host has no huge pages of %s",
			       name);
	unused = unused - MIN(unused, promised) + have / size;
	if (unused >= needed)
		return err_sys(err, errnum, "memory.hugepages: cannot take huge pages of %s", name);
	return err_set(err, errnum,
		       "memory.hugepages: huge pages of %s: %llu needed, %llu free, %llu missing; "
		       "reserve them with echo %llu "
		       ">/sys/kernel/mm/hugepages/hugepages-%llukB/nr_hugepages",
		       name, (unsigned long long)needed, (unsigned long long)unused,
		       (unsigned long long)(needed - unused),
		       (unsigned long long)(all + needed - unused),
		       (unsigned long long)(size >> 10));
}

/*
 * The file that holds all regions, one behind the other. Its size is final: nobody whom it is given
 * to can cut it short under a running guest.
 */
static int create_file(struct gmem *m, const struct gmem_options *o, struct err *err)
{
	m->fd = memfd_create("guest memory", MFD_CLOEXEC | MFD_ALLOW_SEALING |
						     page_kinds[o->hugepages].memfd_flags);
	if (m->fd < 0 && o->hugepages)
		return no_huge_pages(o, 0, errno, err);
	if (m->fd < 0)
		return err_sys(err, errno, "memory.shared: cannot make a file in memory");
	if (ftruncate(m->fd, (off_t)o->size) ||
	    fcntl(m->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return err_sys(err, errno, "cannot give guest memory its %llu MiB",
			       (unsigned long long)(o->size >> 20));
	return 0;
}

/* Makes [at, at + r->size), which is reserved, memory. */
static int occupy(const struct gmem_region *r, char *at, const struct gmem_options *o,
		  struct err *err)
{
	if (r->fd < 0) {
		if (mprotect(at, r->size, PROT_READ | PROT_WRITE))
			return err_sys(err, errno, "cannot make guest memory accessible");
	} else if (mmap(at, r->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, r->fd,
			(off_t)r->fd_offset) == MAP_FAILED) {
		return o->hugepages ? no_huge_pages(o, r->fd_offset, errno, err)
				    : err_sys(err, errno, "cannot map guest memory");
	}
	if (o->merge && madvise(at, r->size, MADV_MERGEABLE))
		return err_sys(err, errno, "memory.merge: this host's kernel cannot merge pages");
	/* Hosts without transparent huge pages say no; the guest runs all the same. Pages that are
	 * to be merged are better small. */
	if (!o->hugepages && !o->merge)
		madvise(at, r->size, MADV_HUGEPAGE);
	/* A core dump of skep is for skep's bugs, not for the guest's gigabytes. */
	madvise(at, r->size, MADV_DONTDUMP);
	/* Programs that skep starts have no use for it, and what is pinned for transfers would be
	 * copied for them. */
	madvise(at, r->size, MADV_DONTFORK);
	return 0;
}

/*
 * Huge pages are what keeps a guest's page faults few: with nested paging each fault costs an exit
 * and a walk. They need host and guest address equal modulo their size, so a region is cut out of a
 * larger reservation. What is left on both sides stays as a guard without access.
 */
static int reserve(struct gmem_region *r, struct reservation *v, const struct gmem_options *o,
		   struct err *err)
{
	const uint64_t huge = MAX(page_size(o), HUGE_PAGE);
	uint64_t span = align_up(r->size, huge) + 2 * huge;
	char *base, *at;
	int ret;

	base = mmap(NULL, span, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return err_sys(err, errno, "cannot reserve %llu MiB of guest memory",
			       (unsigned long long)(r->size >> 20));
	v->base = base;
	v->span = span;
	at = base + (align_up((uintptr_t)base + 1, huge) - (uintptr_t)base);
	ret = occupy(r, at, o, err);
	if (!ret)
		r->hva = at;
	return ret;
}

static int wire(const struct gmem_region *r, const struct gmem_options *o, struct err *err)
{
	struct rlimit limit;
	int errnum;

	if (!mlock2(r->hva, r->size, o->prealloc ? 0 : MLOCK_ONFAULT))
		return 0;
	errnum = errno;
	if (!getrlimit(RLIMIT_MEMLOCK, &limit) && limit.rlim_cur < o->size)
		return err_set(err, errnum,
			       "memory.wired: %llu MiB of guest memory are more than the %llu KiB "
			       "that this process may lock; raise that limit with ulimit -l",
			       (unsigned long long)(o->size >> 20),
			       (unsigned long long)(limit.rlim_cur >> 10));
	return err_sys(err, errnum, "memory.wired: cannot lock %llu MiB of guest memory",
		       (unsigned long long)(o->size >> 20));
}

static int populate(const struct gmem_region *r, struct err *err)
{
	int ret;

	do {
		ret = madvise(r->hva, r->size, MADV_POPULATE_WRITE);
	} while (ret && errno == EINTR);
	if (!ret)
		return 0;
	if (errno == EINVAL)
		return err_set(err, EINVAL,
			       "memory.prealloc: this host's kernel cannot take memory in advance; "
			       "Linux 5.14 or newer can");
	return err_sys(err, errno, "memory.prealloc: cannot take %llu MiB of guest memory",
		       (unsigned long long)(r->size >> 20));
}

static void add_region(struct gmem *m, uint64_t gpa, uint64_t size)
{
	const struct gmem_region *last = m->count ? &m->regions[m->count - 1] : NULL;

	m->regions[m->count++] = (struct gmem_region){
		.gpa = gpa,
		.size = size,
		.fd = m->fd,
		.fd_offset = m->fd >= 0 && last ? last->fd_offset + last->size : 0,
	};
}

static int create(struct gmem *m, const struct gmem_options *o, struct err *err)
{
	int ret = 0;

	if (o->shared || o->hugepages)
		ret = create_file(m, o, err);
	add_region(m, 0, MIN(o->size, GMEM_HOLE_START));
	if (o->size > GMEM_HOLE_START)
		add_region(m, GMEM_HOLE_END, o->size - GMEM_HOLE_START);
	for (unsigned int i = 0; !ret && i < m->count; i++)
		ret = reserve(&m->regions[i], &m->reserved[i], o, err);
	for (unsigned int i = 0; !ret && o->wired && i < m->count; i++)
		ret = wire(&m->regions[i], o, err);
	for (unsigned int i = 0; !ret && o->prealloc && i < m->count; i++)
		ret = populate(&m->regions[i], err);
	return ret;
}

int gmem_create(struct gmem **mem, const struct gmem_options *options, struct err *err)
{
	struct gmem *m;
	int ret;

	*mem = NULL;
	ret = check_options(options, err);
	if (ret)
		return ret;
	m = calloc(1, sizeof(*m));
	if (!m)
		return err_sys(err, ENOMEM, "guest memory");
	m->fd = -1;
	m->page = page_size(options);
	m->wired = options->wired;
	ret = create(m, options, err);
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
	if (mem->fd >= 0)
		close(mem->fd);
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

uint64_t gmem_page_size(const struct gmem *mem)
{
	return mem->page;
}

bool gmem_wired(const struct gmem *mem)
{
	return mem->wired;
}

bool gmem_gpa(const struct gmem *mem, const void *hva, uint64_t *gpa)
{
	for (unsigned int i = 0; i < mem->count; i++) {
		const struct gmem_region *r = &mem->regions[i];
		uint64_t at = (uint64_t)((uintptr_t)hva - (uintptr_t)r->hva);

		if (at < r->size) {
			*gpa = r->gpa + at;
			return true;
		}
	}
	return false;
}

/* Whole pages of one region. */
static int give_back(const struct gmem_region *r, uint64_t at, uint64_t len)
{
	const int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	int ret = r->fd < 0 ? madvise((char *)r->hva + at, len, MADV_DONTNEED)
			    : fallocate(r->fd, hole, (off_t)(r->fd_offset + at), (off_t)len);

	return ret ? -errno : 0;
}

int gmem_discard(struct gmem *mem, uint64_t gpa, uint64_t len)
{
	struct iovec iov[GMEM_REGIONS_MAX];
	int n = gmem_iov(mem, gpa, len, iov, GMEM_REGIONS_MAX), ret = 0;

	if (n < 0)
		return n;
	if (mem->wired)
		return -EPERM;
	for (int i = 0; !ret && i < n; gpa += iov[i++].iov_len) {
		const struct gmem_region *r = region_at(mem, gpa);
		uint64_t at, end;

		bug_on(!r); /* the iovecs lie in regions */
		at = align_up(gpa - r->gpa, mem->page);
		end = align_down(gpa - r->gpa + iov[i].iov_len, mem->page);
		if (at < end)
			ret = give_back(r, at, end - at);
	}
	return ret;
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
