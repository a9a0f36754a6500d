/* SPDX-License-Identifier: BSD-2-Clause */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/boot.h"
#include "skep/err.h"
#include "skep/gmem.h"

#include "image.h"

/* A path longer than this is cut in messages, which have to stay readable. */
#define LABEL_MAX 160

struct boot_image {
	int fd;         /* -1: in memory */
	bool borrowed;  /* @fd is another's */
	struct kept {   /* of a file: where it is unpacked */
		int fd; /* -1: not known */
		uint64_t base, size;
	} * kept;            /* NULL: of no file, or there is no memory for it */
	const uint8_t *data; /* NULL: a file */
	void *own;           /* what of it is to be freed */
	uint64_t base;       /* where it begins in the file */
	uint64_t size;
	char label[LABEL_MAX];
};

static const char *file_kind(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a pipe";
	case S_IFSOCK:
		return "a socket";
	case S_IFCHR:
	case S_IFBLK:
		return "a device";
	}
	return "no regular file";
}

static int open_file(struct boot_image *img, const char *path, struct err *err)
{
	struct stat st;

	/*
	 * Looked at before it is opened, for opening some devices and pipes has effects; and again
	 * afterwards, for the path may have changed its meaning in between.
	 */
	if (stat(path, &st))
		return err_sys(err, errno, "cannot open %s", img->label);
	if (S_ISREG(st.st_mode)) {
		img->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		if (img->fd < 0 || fstat(img->fd, &st))
			return err_sys(err, errno, "cannot open %s", img->label);
	}
	if (!S_ISREG(st.st_mode))
		return err_set(err, S_ISDIR(st.st_mode) ? EISDIR : EINVAL,
			       "%s is %s; name a regular file", img->label, file_kind(st.st_mode));
	img->kept = malloc(sizeof(*img->kept));
	if (img->kept)
		img->kept->fd = -1;
	img->size = (uint64_t)st.st_size;
	if (!img->size)
		return err_set(err, ENODATA, "%s is empty", img->label);
	return 0;
}

static struct boot_image *image_new(const char *role, const char *name)
{
	struct boot_image *img = calloc(1, sizeof(*img));
	size_t len = strlen(name);

	if (!img)
		return NULL;
	img->fd = -1;
	/* The end of a path says more than its beginning. */
	if (len > LABEL_MAX - 32)
		snprintf(img->label, sizeof(img->label), "%.20s '...%s'", role,
			 name + len - (LABEL_MAX - 32));
	else
		snprintf(img->label, sizeof(img->label), "%.20s '%s'", role, name);
	return img;
}

int boot_open(struct boot_image **img, const char *role, const char *path, struct err *err)
{
	struct boot_image *i = image_new(role, path);
	int ret;

	if (!i)
		return err_sys(err, ENOMEM, "cannot open %s", role);
	ret = open_file(i, path, err);
	if (ret) {
		boot_close(i);
		return ret;
	}
	*img = i;
	return 0;
}

int boot_open_memory(struct boot_image **img, const char *role, const char *name, const void *data,
		     size_t len, struct err *err)
{
	struct boot_image *i = image_new(role, name);

	if (!i)
		return err_sys(err, ENOMEM, "cannot open %s", role);
	i->data = data;
	i->size = len;
	if (!len) {
		err_set(err, ENODATA, "%s is empty", i->label);
		boot_close(i);
		return -ENODATA;
	}
	*img = i;
	return 0;
}

int boot_open_module(struct boot_module *module, const char *spec, struct err *err)
{
	const size_t n = strcspn(spec, ",");
	char *path = strndup(spec, n);
	int ret;

	if (!path)
		return err_sys(err, ENOMEM, "cannot open a module");
	module->cmdline = spec + n + (spec[n] == ',');
	ret = boot_open(&module->img, "module", path, err);
	free(path);
	return ret;
}

void boot_close(struct boot_image *img)
{
	if (!img)
		return;
	if (img->fd >= 0 && !img->borrowed)
		close(img->fd);
	if (img->kept && img->kept->fd >= 0)
		close(img->kept->fd);
	free(img->kept);
	free(img->own);
	free(img);
}

static struct boot_image *image_unpacked(const struct boot_image *from, uint64_t size)
{
	struct boot_image *img = calloc(1, sizeof(*img));

	if (!img)
		return NULL;
	img->fd = -1;
	img->size = size;
	memcpy(img->label, from->label, sizeof(img->label));
	return img;
}

struct boot_image *image_unpacked_file(const struct boot_image *from, int fd, uint64_t base,
				       uint64_t size)
{
	struct boot_image *img = image_unpacked(from, size);

	if (!img)
		return NULL;
	img->fd = fd;
	img->base = base;
	if (from->kept && from->kept->fd < 0)
		*from->kept = (struct kept){fcntl(fd, F_DUPFD_CLOEXEC, 0), base, size};
	return img;
}

struct boot_image *image_unpacked_before(const struct boot_image *from)
{
	struct boot_image *img = NULL;

	if (from->kept && from->kept->fd >= 0)
		img = image_unpacked(from, from->kept->size);
	if (img) {
		img->fd = from->kept->fd;
		img->base = from->kept->base;
		img->borrowed = true;
	}
	return img;
}

struct boot_image *image_unpacked_memory(const struct boot_image *from, void *data, uint64_t size)
{
	struct boot_image *img = image_unpacked(from, size);

	if (img)
		img->data = img->own = data;
	return img;
}

bool image_stat(const struct boot_image *img, struct stat *st)
{
	return img->fd >= 0 && !fstat(img->fd, st);
}

int boot_image_fd(const struct boot_image *img)
{
	return img->fd;
}

uint64_t boot_image_size(const struct boot_image *img)
{
	return img->size;
}

const char *image_label(const struct boot_image *img)
{
	return img->label;
}

int image_read(const struct boot_image *img, uint64_t offset, void *to, size_t len, struct err *err)
{
	if (!range_fits(offset, len, img->size))
		return err_set(err, EIO, "%s ends before offset %llu", img->label,
			       (unsigned long long)offset + len);
	if (img->data) {
		memcpy(to, img->data + offset, len);
		return 0;
	}
	while (len) {
		ssize_t n = pread(img->fd, to, len, (off_t)(img->base + offset));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(err, errno, "cannot read %s", img->label);
		if (!n)
			return err_set(err, EIO, "%s became shorter while it was in use",
				       img->label);
		to = (char *)to + n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int image_load(const struct boot_image *img, uint64_t offset, struct gmem *mem, uint64_t gpa,
	       uint64_t len, struct err *err)
{
	struct iovec iov[GMEM_REGIONS_MAX];
	int ret = 0, n = gmem_iov(mem, gpa, len, iov, GMEM_REGIONS_MAX);

	if (n < 0)
		return err_set(err, EFAULT, "%s: 0x%llx is not in guest memory", img->label,
			       (unsigned long long)gpa);
	for (int i = 0; !ret && i < n; i++) {
		ret = image_read(img, offset, iov[i].iov_base, iov[i].iov_len, err);
		offset += iov[i].iov_len;
	}
	return ret;
}
