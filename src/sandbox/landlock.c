/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Landlock, by its system calls: no path can be opened, made, moved or removed, and no TCP port
 * bound or connected to. It stands behind the filters, in case one of them has a hole.
 *
 * The kernel's header may be older than the kernel, so what later versions brought is named here
 * (linux/landlock.h, Documentation/userspace-api/landlock.rst).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox_priv.h"
#include "skep/bits.h"
#include "skep/err.h"

/* Version 1 has 13 rights to files; these came with 2, 3 and 5. */
#define FS_FIRST    ((1ULL << 13) - 1)
#define FS_REFER    (1ULL << 13)
#define FS_TRUNCATE (1ULL << 14)
#define FS_IOCTL    (1ULL << 15)
/* 4: to bind and to connect. */
#define NET_TCP 3ULL
/* 6: no abstract UNIX socket of others. */
#define SCOPE_ABSTRACT 1ULL

struct ruleset {
	uint64_t fs;
	uint64_t net;
	uint64_t scoped;
};

int landlock_version(void)
{
	long v = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return v > 0 ? (int)v : 0;
}

static int create(struct ruleset *rules)
{
	const int version = landlock_version();
	size_t size = sizeof(*rules);

	*rules = (struct ruleset){.fs = FS_FIRST};
	if (version >= 2)
		rules->fs |= FS_REFER;
	if (version >= 3)
		rules->fs |= FS_TRUNCATE;
	if (version >= 4)
		rules->net = NET_TCP;
	if (version >= 5)
		rules->fs |= FS_IOCTL;
	if (version >= 6)
		rules->scoped = SCOPE_ABSTRACT;
	if (version < 4)
		size = offsetof(struct ruleset, net);
	else if (version < 6)
		size = offsetof(struct ruleset, scoped);
	return (int)syscall(SYS_landlock_create_ruleset, rules, size, 0);
}

int landlock_shut(const int *kept, unsigned int count, struct err *err)
{
	const uint64_t use = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
			     FS_TRUNCATE | FS_IOCTL;
	struct ruleset rules;
	int fd = create(&rules), errnum = 0;

	for (unsigned int i = 0; fd >= 0 && !errnum && i < count; i++) {
		const struct landlock_path_beneath_attr one = {
			.allowed_access = use & rules.fs,
			.parent_fd = kept[i],
		};

		if (syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &one, 0))
			errnum = errno;
	}
	if (fd < 0 || (!errnum && syscall(SYS_landlock_restrict_self, fd, 0)))
		errnum = errno;
	if (fd >= 0)
		close(fd);
	return errnum ? err_sys(err, errnum, "Landlock cannot be had") : 0;
}

void landlock_read_only(void)
{
	const uint64_t read = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR |
			      LANDLOCK_ACCESS_FS_EXECUTE;
	struct ruleset rules = {.fs = FS_FIRST & ~(LANDLOCK_ACCESS_FS_REMOVE_FILE | read)};
	int fd;

	if (!landlock_version())
		return;
	fd = (int)syscall(SYS_landlock_create_ruleset, &rules, offsetof(struct ruleset, net), 0);
	if (fd < 0)
		return;
	syscall(SYS_landlock_restrict_self, fd, 0);
	close(fd);
}
