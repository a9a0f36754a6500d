/* SPDX-License-Identifier: BSD-2-Clause */
#include <archive.h>
#include <archive_entry.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pack.h"
#include "skep/bits.h"
#include "skep/err.h"
#include "skep/log.h"
#include "skep/text.h"

#define LIBRARY "libarchive.so.13"

#define DEPTH_MAX   128
#define PIECE       KIB(64)
#define HEADER_LEN  110 /* of an entry, without its name: Linux, initramfs/buffer-format */
#define LINKS_FIRST 64

#define FUNCTIONS(X)                          \
	X(archive_write_new)                  \
	X(archive_write_free)                 \
	X(archive_write_set_format_cpio_newc) \
	X(archive_write_add_filter_none)      \
	X(archive_write_open_fd)              \
	X(archive_write_header)               \
	X(archive_write_data)                 \
	X(archive_write_close)                \
	X(archive_error_string)               \
	X(archive_entry_new)                  \
	X(archive_entry_free)                 \
	X(archive_entry_clear)                \
	X(archive_entry_set_pathname)         \
	X(archive_entry_set_mode)             \
	X(archive_entry_set_size)             \
	X(archive_entry_set_symlink)          \
	X(archive_entry_set_ino64)            \
	X(archive_entry_set_nlink)            \
	X(archive_entry_set_mtime)            \
	X(archive_entry_set_rdevmajor)        \
	X(archive_entry_set_rdevminor)

struct library {
#define X(name) __typeof__(&(name)) name;
	FUNCTIONS(X)
#undef X
};

/* A file of the host with several names: the first that was packed has its contents. */
struct link {
	dev_t dev;
	ino_t ino;
	int64_t number;
};

struct pack {
	void *handle;
	struct library lib;
	struct archive *archive;
	struct archive_entry *entry;
	struct log *log;
	int fd;
	uint64_t most, used;
	int64_t number; /* of the next entry, as its inode */
	struct link *links;
	size_t link_count, link_room;
	unsigned int left_out;
	char first_left_out[PATH_MAX];
};

static bool find_functions(struct pack *p)
{
#define X(name)                                                     \
	p->lib.name = (__typeof__(&(name)))dlsym(p->handle, #name); \
	if (!p->lib.name)                                           \
		return false;
	FUNCTIONS(X)
#undef X
	return true;
}

CALLS_LIBRARY
static int failed(const struct pack *p, const char *name, struct err *err)
{
	const char *why = p->lib.archive_error_string(p->archive);

	return err_set(err, EIO, "cannot pack %.200s: %.200s", name, why ? why : "no reason given");
}

CALLS_LIBRARY
static int begin(struct pack *p, struct err *err)
{
	p->archive = p->lib.archive_write_new();
	p->entry = p->lib.archive_entry_new();
	p->fd = memfd_create("initramfs", MFD_CLOEXEC);
	if (!p->archive || !p->entry)
		return err_sys(err, ENOMEM, "initramfs");
	if (p->fd < 0)
		return err_sys(err, errno, "initramfs");
	if (p->lib.archive_write_set_format_cpio_newc(p->archive) ||
	    p->lib.archive_write_add_filter_none(p->archive) ||
	    p->lib.archive_write_open_fd(p->archive, p->fd))
		return failed(p, "an initramfs", err);
	return 0;
}

int pack_open(struct pack **out, uint64_t most, struct log *log, struct err *err)
{
	struct pack *p = calloc(1, sizeof(*p));
	int ret;

	*out = NULL;
	if (!p)
		return err_sys(err, ENOMEM, "initramfs");
	p->fd = -1;
	p->most = most;
	p->log = log;
	p->number = 1;
	p->handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!p->handle)
		ret = err_set(err, ENOSYS,
			      "an initramfs is packed by libarchive: install libarchive13");
	else if (!find_functions(p))
		ret = err_set(err, ENOSYS, "this host's " LIBRARY " is too old");
	else
		ret = begin(p, err);
	if (ret) {
		pack_free(p);
		return ret;
	}
	*out = p;
	return 0;
}

CALLS_LIBRARY
void pack_free(struct pack *p)
{
	if (!p)
		return;
	if (p->entry)
		p->lib.archive_entry_free(p->entry);
	if (p->archive)
		p->lib.archive_write_free(p->archive);
	if (p->fd >= 0)
		close(p->fd);
	if (p->handle)
		dlclose(p->handle);
	free(p->links);
	free(p);
}

/* Takes the room for an entry and its @size bytes. */
static int reserve(struct pack *p, const char *name, uint64_t size, struct err *err)
{
	const uint64_t need = HEADER_LEN + strlen(name) + 8;

	if (size > p->most || p->used + need > p->most - size)
		return err_set(err, EFBIG,
			       "what the guest is to find is more than %s, half of its memory; say "
			       "--memory",
			       size_text(p->most).s);
	p->used += need + size;
	return 0;
}

/* Begins the entry @name; bytes may follow. */
CALLS_LIBRARY
static int put_header(struct pack *p, const char *name, mode_t mode, uint64_t size, int64_t number,
		      unsigned int links, struct err *err)
{
	int ret = reserve(p, name, size, err);

	if (ret)
		return ret;
	p->lib.archive_entry_set_pathname(p->entry, name);
	p->lib.archive_entry_set_mode(p->entry, mode);
	p->lib.archive_entry_set_size(p->entry, (int64_t)size);
	p->lib.archive_entry_set_mtime(p->entry, 0, 0);
	p->lib.archive_entry_set_ino64(p->entry, number);
	p->lib.archive_entry_set_nlink(p->entry, links);
	ret = p->lib.archive_write_header(p->archive, p->entry) < ARCHIVE_WARN
		      ? failed(p, name, err)
		      : 0;
	p->lib.archive_entry_clear(p->entry);
	return ret;
}

CALLS_LIBRARY
static int put_data(struct pack *p, const char *name, const void *data, size_t len, struct err *err)
{
	return p->lib.archive_write_data(p->archive, data, len) == (ssize_t)len
		       ? 0
		       : failed(p, name, err);
}

int pack_folder(struct pack *p, const char *name, struct err *err)
{
	return put_header(p, name, S_IFDIR | 0755, 0, p->number++, 2, err);
}

int pack_bytes(struct pack *p, const char *name, mode_t mode, const void *data, size_t len,
	       struct err *err)
{
	int ret = put_header(p, name, S_IFREG | mode, len, p->number++, 1, err);

	return ret || !len ? ret : put_data(p, name, data, len, err);
}

CALLS_LIBRARY
int pack_link(struct pack *p, const char *name, const char *target, struct err *err)
{
	/* It is the entry's body, and libarchive knows how long it is. */
	p->used += strlen(target);
	p->lib.archive_entry_set_symlink(p->entry, target);
	return put_header(p, name, S_IFLNK | 0777, 0, p->number++, 1, err);
}

CALLS_LIBRARY
int pack_char_device(struct pack *p, const char *name, unsigned int major, unsigned int minor,
		     struct err *err)
{
	p->lib.archive_entry_set_rdevmajor(p->entry, major);
	p->lib.archive_entry_set_rdevminor(p->entry, minor);
	return put_header(p, name, S_IFCHR | 0600, 0, p->number++, 1, err);
}

/* The number under which the file was packed before; 0: it is now, and is remembered. */
static int64_t packed_before(struct pack *p, const struct stat *st)
{
	struct link *links;

	for (size_t i = 0; i < p->link_count; i++)
		if (p->links[i].dev == st->st_dev && p->links[i].ino == st->st_ino)
			return p->links[i].number;
	if (p->link_count == p->link_room) {
		const size_t room = p->link_room ? 2 * p->link_room : LINKS_FIRST;

		/* Without room the file is packed once more, which is no more than wasteful. */
		links = reallocarray(p->links, room, sizeof(*links));
		if (!links)
			return 0;
		p->links = links;
		p->link_room = room;
	}
	p->links[p->link_count++] =
		(struct link){.dev = st->st_dev, .ino = st->st_ino, .number = p->number};
	return 0;
}

/* @size bytes of @fd; it may not shrink meanwhile. */
static int put_contents(struct pack *p, const char *name, int fd, uint64_t size, struct err *err)
{
	char *piece = malloc(PIECE);
	int ret = piece ? 0 : err_sys(err, ENOMEM, "initramfs");

	while (!ret && size) {
		ssize_t n = read(fd, piece, (size_t)MIN(size, (uint64_t)PIECE));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			ret = err_sys(err, errno, "cannot read %.200s", name);
		else if (!n)
			ret = err_set(err, EIO, "%.200s became shorter while it was packed", name);
		else
			ret = put_data(p, name, piece, (size_t)n, err);
		size -= n > 0 ? (uint64_t)n : 0;
	}
	free(piece);
	return ret;
}

static int put_file(struct pack *p, const char *name, mode_t mode, int fd, struct err *err)
{
	int64_t number = 0;
	struct stat st;
	int ret;

	if (fstat(fd, &st))
		return err_sys(err, errno, "cannot read %.200s", name);
	if (!S_ISREG(st.st_mode))
		return err_set(err, EINVAL, "%.200s is no file", name);
	if (st.st_nlink > 1)
		number = packed_before(p, &st);
	if (number)
		return put_header(p, name, S_IFREG | mode, 0, number, 2, err);
	ret = put_header(p, name, S_IFREG | mode, (uint64_t)st.st_size, p->number++,
			 st.st_nlink > 1 ? 2 : 1, err);
	return ret ? ret : put_contents(p, name, fd, (uint64_t)st.st_size, err);
}

int pack_file(struct pack *p, const char *name, mode_t mode, const char *from, struct err *err)
{
	int fd = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int ret;

	if (fd < 0)
		return err_sys(err, errno, "cannot read %.200s", from);
	ret = put_file(p, name, mode, fd, err);
	close(fd);
	return ret;
}

/* Folders */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

struct names {
	char **at;
	size_t count;
};

static void names_free(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->at[i]);
	free(names->at);
}

/* What is in @dir, sorted. */
static int names_of(struct names *names, DIR *dir)
{
	struct dirent *d;

	errno = 0;
	while ((d = readdir(dir))) {
		char **at;

		if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
			continue;
		at = reallocarray(names->at, names->count + 1, sizeof(*at));
		if (!at)
			return -ENOMEM;
		names->at = at;
		at[names->count] = strdup(d->d_name);
		if (!at[names->count])
			return -ENOMEM;
		names->count++;
	}
	if (errno)
		return -errno;
	if (names->count)
		qsort(names->at, names->count, sizeof(*names->at), by_name);
	return 0;
}

static int put_folder(struct pack *p, int fd, char *path, size_t len, unsigned int depth,
		      struct err *err);

static int put_symlink(struct pack *p, int dir, const char *name, const char *path, struct err *err)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

	if (n < 0)
		return err_sys(err, errno, "cannot read the link %.200s", path);
	target[n] = '\0';
	return pack_link(p, path, target, err);
}

static int put_open(struct pack *p, int dir, const char *name, const struct stat *st, char *path,
		    size_t len, unsigned int depth, struct err *err)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	int ret;

	if (fd < 0)
		return err_sys(err, errno, "cannot read %.200s", path);
	if (S_ISDIR(st->st_mode)) {
		ret = put_header(p, path, S_IFDIR | (st->st_mode & 07777), 0, p->number++, 2, err);
		if (!ret)
			return put_folder(p, fd, path, len, depth + 1, err);
	} else {
		ret = put_file(p, path, st->st_mode & 07777, fd, err);
	}
	close(fd);
	return ret;
}

/* @path is its name in the archive, of @len bytes. */
static int put_one(struct pack *p, int dir, const char *name, char *path, size_t len,
		   unsigned int depth, struct err *err)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW))
		return err_sys(err, errno, "cannot read %.200s", path);
	switch (st.st_mode & S_IFMT) {
	case S_IFDIR:
	case S_IFREG:
		return put_open(p, dir, name, &st, path, len, depth, err);
	case S_IFLNK:
		return put_symlink(p, dir, name, path, err);
	case S_IFIFO:
		return put_header(p, path, st.st_mode & (S_IFMT | 07777), 0, p->number++, 1, err);
	default:
		if (!p->left_out++)
			snprintf(p->first_left_out, sizeof(p->first_left_out), "%s", path);
		return 0;
	}
}

/* What is in @fd, which is closed. @path, of PATH_MAX bytes, is its name: @len bytes of it. */
static int put_folder(struct pack *p, int fd, char *path, size_t len, unsigned int depth,
		      struct err *err)
{
	struct names names = {.count = 0};
	DIR *dir = depth < DEPTH_MAX ? fdopendir(fd) : NULL;
	int ret;

	if (!dir) {
		close(fd);
		return err_set(err, ELOOP, "%.200s: folders lie too deep in one another", path);
	}
	ret = names_of(&names, dir);
	if (ret)
		err_sys(err, -ret, "cannot read the folder %.200s", path);
	for (size_t i = 0; !ret && i < names.count; i++) {
		int n = snprintf(path + len, PATH_MAX - len, "%s%s", len ? "/" : "", names.at[i]);

		if ((size_t)n >= PATH_MAX - len)
			ret = err_set(err, ENAMETOOLONG, "%.200s…: the name is too long", path);
		else
			ret = put_one(p, dirfd(dir), names.at[i], path, len + (size_t)n, depth,
				      err);
	}
	path[len] = '\0';
	names_free(&names);
	closedir(dir);
	return ret;
}

int pack_tree(struct pack *p, const char *from, struct err *err)
{
	char *path = calloc(1, PATH_MAX);
	int fd = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret;

	if (!path || fd < 0) {
		ret = path ? errno : ENOMEM;
		free(path);
		if (fd >= 0)
			close(fd);
		return err_sys(err, ret, "cannot read the folder %.200s", from);
	}
	ret = put_folder(p, fd, path, 0, 0, err);
	free(path);
	if (!ret && p->left_out)
		log_warn(p->log, "%.200s: %u devices or sockets are left out, as %.200s", from,
			 p->left_out, p->first_left_out);
	return ret;
}

CALLS_LIBRARY
int pack_finish(struct pack *p, struct err *err)
{
	int fd = p->fd;

	if (p->lib.archive_write_close(p->archive))
		return failed(p, "an initramfs", err);
	p->fd = -1;
	return fd;
}
