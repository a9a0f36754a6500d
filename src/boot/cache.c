/* SPDX-License-Identifier: BSD-2-Clause */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/err.h"
#include "skep/sandbox.h"

#include "cache.h"
#include "image.h"
#include "unpack.h"

#define MAGIC   "skep\0un\1" /* the last byte is the version */
#define DATA    4096         /* where the bytes begin in an entry */
#define SUFFIX  ".unpacked"
#define PARTIAL "partial-"

#define SAMPLES    16
#define SAMPLE_LEN 128

/* How many entries are looked at when room is made; there is room for a dozen kernels. */
#define ENTRIES_MAX 256

/* What is older than this and still has the name of a file being written will never be more. */
#define PARTIAL_SECONDS 3600

/* An entry's time says when it was used, this often. */
#define USED_SECONDS 3600

/*
 * File systems tell the time of a change by the host's clock tick, at most 10 ms, or by the second
 * or two; these have no nanoseconds.
 */
#define SECOND_NS UINT64_C(1000000000)
#define TICK_NS   (SECOND_NS / 10)
#define COARSE_NS (SECOND_NS * 2)

struct key {
	uint64_t dev, ino, size;
	uint64_t mtime, mtime_ns;
	uint64_t ctime, ctime_ns;
	uint64_t offset, len;
	uint8_t samples[SAMPLES][SAMPLE_LEN];
};

struct header {
	uint8_t magic[8];
	uint64_t check; /* of what follows */
	uint64_t unpacked;
	struct key key;
};

_Static_assert(sizeof(struct header) == 3 * 8 + 9 * 8 + SAMPLES * SAMPLE_LEN, "no holes");
_Static_assert(sizeof(struct header) <= DATA, "a header is in front of the data");

/* FNV-1a: this is against accidents, and short. */
static uint64_t checksum(const struct header *h)
{
	const uint8_t *p = (const uint8_t *)&h->unpacked;
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < sizeof(*h) - offsetof(struct header, unpacked); i++)
		sum = (sum ^ p[i]) * UINT64_C(0x100000001b3);
	return sum;
}

bool cache_default(char dir[PATH_MAX])
{
	const char *base = getenv("XDG_CACHE_HOME"), *below = "skep/kernels";
	struct stat st;
	int len;

	/* A relative path is to be ignored. */
	if (!base || base[0] != '/') {
		base = getenv("HOME");
		below = ".cache/skep/kernels";
	}
	if (!base || base[0] != '/')
		return false;
	/* Root with somebody's environment leaves nothing in their home. */
	if (!stat(base, &st) && st.st_uid != geteuid())
		return false;
	len = snprintf(dir, PATH_MAX, "%s/%s", base, below);
	return len > 0 && len < PATH_MAX;
}

/* --- What a kernel file is. --- */

static void key_times(struct key *key, const struct stat *st)
{
	key->dev = st->st_dev;
	key->ino = st->st_ino;
	key->size = (uint64_t)st->st_size;
	key->mtime = (uint64_t)st->st_mtim.tv_sec;
	key->mtime_ns = (uint64_t)st->st_mtim.tv_nsec;
	key->ctime = (uint64_t)st->st_ctim.tv_sec;
	key->ctime_ns = (uint64_t)st->st_ctim.tv_nsec;
}

/* False for what cannot be kept: an image in memory, a payload that is hardly one. */
static bool key_make(struct key *key, const struct boot_image *img, uint64_t offset, uint64_t len)
{
	struct stat st;

	memset(key, 0, sizeof(*key));
	if (len < sizeof(key->samples) || !image_stat(img, &st))
		return false;
	key_times(key, &st);
	key->offset = offset;
	key->len = len;
	for (uint64_t i = 0; i < SAMPLES; i++) {
		const uint64_t at = (len - SAMPLE_LEN) * i / (SAMPLES - 1);

		if (image_read(img, offset + at, key->samples[i], SAMPLE_LEN, NULL))
			return false;
	}
	return true;
}

/*
 * Whether a change from now on gives the file another time than it has. Where the file's time is a
 * server's and its clock is behind, this says yes too early; a change would have to fall into the
 * same tick of the server's to go unnoticed.
 */
static bool key_settled(const struct key *key)
{
	const uint64_t grain = key->ctime_ns ? TICK_NS : COARSE_NS;
	struct timespec now;
	uint64_t seconds;

	clock_gettime(CLOCK_REALTIME, &now);
	if (now.tv_sec < (int64_t)key->ctime)
		return false;
	seconds = (uint64_t)now.tv_sec - key->ctime;
	return seconds > 3 || seconds * SECOND_NS + (uint64_t)now.tv_nsec > key->ctime_ns + grain;
}

static bool key_still_true(const struct key *key, const struct boot_image *img)
{
	struct key now = *key;
	struct stat st;

	if (!image_stat(img, &st))
		return false;
	key_times(&now, &st);
	return !memcmp(&now, key, sizeof(now));
}

static void entry_name(const struct key *key, char name[64])
{
	snprintf(name, 64, "%llx-%llx" SUFFIX, (unsigned long long)key->dev,
		 (unsigned long long)key->ino);
}

/* --- The directory. --- */

/* Nobody else could have written it. */
static bool private(const struct stat *st, mode_t type)
{
	return (st->st_mode & S_IFMT) == type && st->st_uid == geteuid() &&
	       !(st->st_mode & (S_IWGRP | S_IWOTH));
}

static int open_dir(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd >= 0 && (fstat(fd, &st) || !private(&st, S_IFDIR))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* With those above it. */
static void make_dir(const char *path)
{
	char part[PATH_MAX];
	size_t len = strlen(path);

	if (len >= sizeof(part))
		return;
	for (size_t i = 1; i <= len; i++)
		if (path[i] == '/' || !path[i]) {
			memcpy(part, path, i);
			part[i] = '\0';
			mkdir(part, S_IRWXU);
		}
}

struct entry {
	struct timespec used;
	uint64_t size;
	char name[64];
};

static int by_age(const void *a, const void *b)
{
	const struct timespec *x = &((const struct entry *)a)->used;
	const struct timespec *y = &((const struct entry *)b)->used;

	if (x->tv_sec != y->tv_sec)
		return x->tv_sec < y->tv_sec ? -1 : 1;
	return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

static bool ends_with(const char *name, const char *end)
{
	const size_t len = strlen(name), n = strlen(end);

	return len > n && !strcmp(name + len - n, end);
}

/* Lists the entries but @except, and removes what killed skeps left behind. */
static size_t list_entries(DIR *d, struct entry *entries, const char *except)
{
	const time_t now = time(NULL);
	struct dirent *de;
	size_t count = 0;
	struct stat st;

	while (count < ENTRIES_MAX && (de = readdir(d))) {
		struct entry *e = &entries[count];
		const size_t len = strlen(de->d_name);

		if (len >= sizeof(e->name) || !strcmp(de->d_name, except) ||
		    fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		if (!strncmp(de->d_name, PARTIAL, sizeof(PARTIAL) - 1)) {
			if (now - st.st_mtim.tv_sec > PARTIAL_SECONDS)
				unlinkat(dirfd(d), de->d_name, 0);
			continue;
		}
		if (!ends_with(de->d_name, SUFFIX) || !S_ISREG(st.st_mode))
			continue;
		memcpy(e->name, de->d_name, len + 1);
		e->size = (uint64_t)st.st_size;
		e->used = st.st_mtim;
		count++;
	}
	return count;
}

/* Removes entries until @need bytes more are within bounds; @except is about to be replaced. */
static void make_room(int dir, uint64_t need, const char *except)
{
	struct entry *entries = calloc(ENTRIES_MAX, sizeof(*entries));
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	size_t count = 0;

	if (!d && fd >= 0)
		close(fd);
	if (entries && d) {
		count = list_entries(d, entries, except);
		qsort(entries, count, sizeof(*entries), by_age);
	}
	for (size_t i = 0; i < count; i++)
		need += entries[i].size;
	for (size_t i = 0; i < count && need > CACHE_BYTES_MAX; i++) {
		unlinkat(dir, entries[i].name, 0);
		need -= entries[i].size;
	}
	if (d)
		closedir(d);
	free(entries);
}

/* --- Entries. --- */

/* Not at each use: that would be a write to the disk each time. */
static void mark_used(int fd, const struct stat *st)
{
	const time_t now = time(NULL);

	if (now < st->st_mtim.tv_sec || now - st->st_mtim.tv_sec > USED_SECONDS)
		futimens(fd, NULL);
}

static bool entry_good(int fd, const struct key *key, uint64_t *size)
{
	struct header h;
	struct stat st;

	if (fstat(fd, &st) || !private(&st, S_IFREG) ||
	    pread(fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h))
		return false;
	if (memcmp(h.magic, MAGIC, sizeof(h.magic)) || h.check != checksum(&h) ||
	    memcmp(&h.key, key, sizeof(*key)))
		return false;
	if (!h.unpacked || h.unpacked > CACHE_BYTES_MAX ||
	    (uint64_t)st.st_size != DATA + h.unpacked)
		return false;
	mark_used(fd, &st);
	*size = h.unpacked;
	return true;
}

static struct boot_image *find(const char *path, const struct boot_image *img,
			       const struct key *key)
{
	int dir = open_dir(path), fd = -1;
	struct boot_image *unpacked = NULL;
	char name[64];
	uint64_t size;

	if (dir >= 0) {
		entry_name(key, name);
		fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		close(dir);
	}
	if (fd >= 0 && entry_good(fd, key, &size))
		unpacked = image_unpacked_file(img, fd, DATA, size);
	if (fd >= 0 && !unpacked)
		close(fd);
	return unpacked;
}

static bool write_all(int fd, const void *data, uint64_t len, uint64_t at)
{
	while (len) {
		ssize_t n = pwrite(fd, data, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data = (const uint8_t *)data + n;
		len -= (size_t)n;
		at += (size_t)n;
	}
	return true;
}

/* A longer file would end the process with a signal. */
static bool file_may_have(uint64_t size)
{
	struct rlimit limit;

	return !getrlimit(RLIMIT_FSIZE, &limit) && size <= limit.rlim_cur;
}

static bool write_entry(int dir, const char *name, const struct header *h, const void *data)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			S_IRUSR | S_IWUSR);
	bool good;

	if (fd < 0)
		return false;
	good = write_all(fd, h, sizeof(*h), 0) && write_all(fd, data, h->unpacked, DATA);
	if (close(fd))
		good = false;
	if (!good)
		unlinkat(dir, name, 0);
	return good;
}

static void store(const char *path, const struct boot_image *img, const struct key *key,
		  const void *data, uint64_t size)
{
	struct header h = {.unpacked = size, .key = *key};
	char partial[64], name[64];
	struct timespec now;
	int dir;

	if (size > CACHE_BYTES_MAX - DATA || !file_may_have(DATA + size))
		return;
	dir = open_dir(path);
	if (dir < 0) {
		make_dir(path);
		dir = open_dir(path);
	}
	if (dir < 0)
		return;
	memcpy(h.magic, MAGIC, sizeof(h.magic));
	h.check = checksum(&h);
	entry_name(key, name);
	make_room(dir, DATA + size, name);
	clock_gettime(CLOCK_REALTIME, &now);
	snprintf(partial, sizeof(partial), PARTIAL "%d-%llx", (int)getpid(),
		 (unsigned long long)now.tv_sec * SECOND_NS + (unsigned long long)now.tv_nsec);
	if (write_entry(dir, partial, &h, data) &&
	    (!key_still_true(key, img) || renameat(dir, partial, dir, name)))
		unlinkat(dir, partial, 0);
	close(dir);
}

/* --- Both. --- */

static int unpack_new(const struct boot_image *img, uint64_t offset, uint64_t len, uint64_t most,
		      void **data, uint64_t *size, struct err *err)
{
	int ret = unpack_size(img, offset, len, size, err);

	if (ret)
		return ret;
	if (*size > most)
		return err_set(err, E2BIG, "%s is %llu MiB unpacked, and there is room for %llu",
			       image_label(img), (unsigned long long)(*size >> 20),
			       (unsigned long long)(most >> 20));
	*data = unpack_room(*size);
	if (!*data)
		return err_set(err, ENOMEM, "there is no memory for the unpacked %s",
			       image_label(img));
	ret = unpack(img, offset, len, *data, *size, err);
	if (ret) {
		free(*data);
		*data = NULL;
	}
	return ret;
}

int cache_unpack(const char *dir, const struct boot_image *img, uint64_t offset, uint64_t len,
		 uint64_t most, struct boot_image **unpacked, struct err *err)
{
	struct key key;
	const bool keyed = dir && key_make(&key, img, offset, len);
	const bool settled = keyed && key_settled(&key);
	uint64_t size = 0;
	void *data = NULL;
	int ret;

	if (keyed)
		*unpacked = find(dir, img, &key);
	else
		*unpacked = dir && sandbox_entered() ? image_unpacked_before(img) : NULL;
	if (*unpacked && boot_image_size(*unpacked) <= most)
		return 0;
	boot_close(*unpacked);
	*unpacked = NULL;
	ret = unpack_new(img, offset, len, most, &data, &size, err);
	if (ret)
		return ret;
	if (settled)
		store(dir, img, &key, data, size);
	*unpacked = image_unpacked_memory(img, data, size);
	if (!*unpacked) {
		free(data);
		return err_set(err, ENOMEM, "there is no memory for the unpacked %s",
			       image_label(img));
	}
	return 0;
}
