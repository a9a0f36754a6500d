/* SPDX-License-Identifier: BSD-2-Clause */
/* Initramfs images made on the spot: what is in them, the same bytes each time, and their limits.
 */
#include "support/cm.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../src/smoke/pack.h"
#include "skep/bits.h"
#include "skep/err.h"
#include "skep/log.h"

static char dir[] = "/tmp/skep-pack-XXXXXX";
static struct log messages;
static struct err err;

static const char *in_dir(const char *name)
{
	static char path[2][256];
	static unsigned int next;
	char *p = path[next++ % 2];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

static void put(const char *name, mode_t mode, const char *text)
{
	int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

/* Linux, Documentation/driver-api/early-userspace/buffer-format: fields of 8 hexadecimal digits. */
enum field { INO, MODE, UID, GID, NLINK, MTIME, FILESIZE, MAJ, MIN_, RMAJ, RMIN, NAMESIZE, CHK };

static unsigned long field(const char *header, enum field f)
{
	char digits[9] = "";

	memcpy(digits, header + 6 + 8 * (size_t)f, 8);
	return strtoul(digits, NULL, 16);
}

struct archive_text {
	char s[4096];
};

/* One line for each entry; *@ids gets the inode of each. */
static struct archive_text list(int fd, unsigned long *ids)
{
	struct archive_text t = {""};
	struct stat st;
	const char *at, *p;
	size_t n = 0;

	assert_int_equal(fstat(fd, &st), 0);
	at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	for (p = at;;) {
		const char *name = p + 110;
		const size_t body = 110 + field(p, NAMESIZE), size = field(p, FILESIZE);

		assert_true(p + 110 < at + st.st_size);
		assert_memory_equal(p, "070701", 6);
		if (!strcmp(name, "TRAILER!!!"))
			break;
		assert_int_equal(field(p, UID) | field(p, GID) | field(p, MTIME), 0);
		p += body + (-body & 3);
		snprintf(t.s + n, sizeof(t.s) - n, "%06lo %s %.*s%lu,%lu\n",
			 field(name - 110, MODE), name, (int)MIN(size, (size_t)40), p,
			 field(name - 110, RMAJ), field(name - 110, RMIN));
		n += strlen(t.s + n);
		if (ids)
			*ids++ = field(name - 110, INO);
		p += size + (-size & 3);
	}
	munmap((void *)(uintptr_t)at, (size_t)st.st_size);
	return t;
}

static void make_tree(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	put("b", 0640, "second");
	put("a", 04755, "first");
	assert_int_equal(mkdir(in_dir("sub"), 0700), 0);
	put("sub/z", 0600, "");
	assert_int_equal(link(in_dir("a"), in_dir("sub/again")), 0);
	assert_int_equal(symlink("../b", in_dir("sub/link")), 0);
	assert_int_equal(mkfifo(in_dir("pipe"), 0622), 0);
	assert_int_equal(chmod(in_dir("pipe"), 0622), 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", in_dir("socket"));
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
}

static int packed(uint64_t most)
{
	struct pack *p;
	int fd;

	assert_int_equal(pack_open(&p, most, &messages, &err), 0);
	fd = pack_tree(p, dir, &err);
	if (!fd)
		fd = pack_finish(p, &err);
	pack_free(p);
	return fd;
}

static void a_tree_is_packed_as_it_is(void **state)
{
	unsigned long ids[16];
	char said[512] = "";
	int fd = packed(MIB(1));

	(void)state;
	assert_true(fd >= 0);
	assert_string_equal(list(fd, ids).s, "104755 a first0,0\n"
					     "100640 b second0,0\n"
					     "010622 pipe 0,0\n"
					     "040700 sub 0,0\n"
					     "104755 sub/again 0,0\n"
					     "120777 sub/link ../b0,0\n"
					     "100600 sub/z 0,0\n");
	/* The second name of a file has its inode, and not its bytes. */
	assert_int_equal(ids[4], ids[0]);
	assert_int_not_equal(ids[1], ids[0]);
	assert_true(pread(messages.fd, said, sizeof(said) - 1, 0) > 0);
	assert_non_null(strstr(said, "1 devices or sockets are left out, as socket"));
	close(fd);
}

static void the_same_bytes_each_time(void **state)
{
	static char first[8192], second[8192];
	int fds[2] = {packed(MIB(1)), packed(MIB(1))};
	ssize_t len = pread(fds[0], first, sizeof(first), 0);

	(void)state;
	assert_true(len > 0 && len < (ssize_t)sizeof(first));
	assert_int_equal(pread(fds[1], second, sizeof(second), 0), len);
	assert_memory_equal(first, second, (size_t)len);
	close(fds[0]);
	close(fds[1]);
}

static void entries_by_hand(void **state)
{
	struct pack *p;
	int fd;

	(void)state;
	assert_int_equal(pack_open(&p, MIB(1), &messages, &err), 0);
	assert_int_equal(pack_folder(p, "dev", &err), 0);
	assert_int_equal(pack_char_device(p, "dev/console", 5, 1, &err), 0);
	assert_int_equal(pack_bytes(p, "file", 0644, "bytes", 5, &err), 0);
	assert_int_equal(pack_bytes(p, "empty", 0644, NULL, 0, &err), 0);
	assert_int_equal(pack_link(p, "sh", "busybox", &err), 0);
	assert_int_equal(pack_file(p, "copy", 0755, in_dir("b"), &err), 0);
	assert_int_equal(pack_file(p, "none", 0755, in_dir("none"), &err), -ENOENT);
	assert_int_equal(pack_file(p, "none", 0755, dir, &err), -EINVAL);
	fd = pack_finish(p, &err);
	assert_string_equal(list(fd, NULL).s, "040755 dev 0,0\n"
					      "020600 dev/console 5,1\n"
					      "100644 file bytes0,0\n"
					      "100644 empty 0,0\n"
					      "120777 sh busybox0,0\n"
					      "100755 copy second0,0\n");
	pack_free(p);
	close(fd);
}

static void there_is_a_limit(void **state)
{
	(void)state;
	assert_int_equal(packed(600), -EFBIG);
	assert_non_null(strstr(err.text, "half of its memory"));
	assert_int_equal(truncate(in_dir("b"), 1LL << 40), 0);
	assert_int_equal(packed(MIB(1)), -EFBIG);
	assert_int_equal(truncate(in_dir("b"), 0), 0);
	put("b", 0640, "second");
}

static void what_cannot_be_packed(void **state)
{
	struct pack *p;

	(void)state;
	assert_int_equal(pack_open(&p, MIB(1), &messages, &err), 0);
	assert_int_equal(pack_tree(p, in_dir("none"), &err), -ENOENT);
	assert_int_equal(pack_tree(p, in_dir("a"), &err), -ENOTDIR);
	pack_free(p);
}

static int make_dir(void **state)
{
	(void)state;
	umask(022);
	log_init(&messages, memfd_create("log", MFD_CLOEXEC), LOG_INFO);
	if (!mkdtemp(dir))
		return -1;
	make_tree();
	return 0;
}

static int remove_dir(void **state)
{
	static const char *const names[] = {"a",         "b",        "pipe", "socket",
					    "sub/again", "sub/link", "sub/z"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		unlink(in_dir(names[i]));
	rmdir(in_dir("sub"));
	close(messages.fd);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_tree_is_packed_as_it_is),
		cmocka_unit_test(the_same_bytes_each_time),
		cmocka_unit_test(entries_by_hand),
		cmocka_unit_test(there_is_a_limit),
		cmocka_unit_test(what_cannot_be_packed),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
