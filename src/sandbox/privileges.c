/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who the process is: another user if one was named, without capabilities, without a way to new
 * ones, and in namespaces of its own if they were asked for.
 *
 * libcap-ng is opened only by a process that has capabilities; an ordinary user's has none.
 */
#include <cap-ng.h>
#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox_priv.h"
#include "skep/bits.h"
#include "skep/err.h"
#include "skep/log.h"

#define LIBRARY "libcap-ng.so.0"

static bool have_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

	if (syscall(SYS_capget, &header, data))
		return true;
	return data[0].permitted || data[1].permitted;
}

/* @user NULL: stays who it is. */
CALLS_LIBRARY
static int drop(void *library, const struct sandbox_user *user, struct err *err)
{
	__typeof__(&capng_clear) clear = (__typeof__(&capng_clear))dlsym(library, "capng_clear");
	__typeof__(&capng_apply) apply = (__typeof__(&capng_apply))dlsym(library, "capng_apply");
	__typeof__(&capng_change_id) change =
		(__typeof__(&capng_change_id))dlsym(library, "capng_change_id");

	if (!clear || !apply || !change)
		return err_set(err, ENOSYS, LIBRARY " is not libcap-ng");
	clear(CAPNG_SELECT_ALL);
	if (user &&
	    change((int)user->uid, (int)user->gid, CAPNG_CLEAR_BOUNDING | CAPNG_CLEAR_AMBIENT))
		return err_sys(err, EPERM, "cannot become the user %s", user->name);
	/* Of the bounding set nothing can be had any more; not everybody may take from it. */
	if (apply(CAPNG_SELECT_ALL) && apply(CAPNG_SELECT_CAPS))
		return err_sys(err, EPERM, "cannot give up capabilities");
	return 0;
}

int privileges_prepare(const struct sandbox_options *options, struct sandbox_user *user,
		       struct err *err)
{
	const struct passwd *pw;

	/* An ordinary user has none, but within a namespace of its own. */
	if (have_capabilities() || options->namespaces)
		sandbox.capng = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	*user = (struct sandbox_user){.name = options->user};
	if (!options->user)
		return 0;
	pw = getpwnam(options->user);
	if (!pw)
		return err_set(err, ENOENT, "sandbox.user: there is no user '%.64s'",
			       options->user);
	user->uid = pw->pw_uid;
	user->gid = pw->pw_gid;
	if (geteuid() == pw->pw_uid) {
		user->name = NULL;
		return 0;
	}
	if (geteuid())
		return err_set(err, EPERM, "sandbox.user: only root can become %.64s",
			       options->user);
	if (!sandbox.capng)
		return err_set(err, ENOSYS,
			       "sandbox.user: users are changed by libcap-ng: install libcap-ng0");
	/* While there is a file to read of it. */
	if (initgroups(options->user, pw->pw_gid))
		return err_sys(err, errno, "sandbox.user: the groups of %.64s", options->user);
	return 0;
}

bool privileges_can_drop(void)
{
	void *library;

	if (!have_capabilities())
		return true;
	library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (library)
		dlclose(library);
	return library;
}

int privileges_drop(const struct sandbox_user *user, struct log *log, struct err *err)
{
	int ret = 0;

	if (sandbox.capng)
		ret = drop(sandbox.capng, user->name ? user : NULL, err);
	else if (have_capabilities())
		log_warn(log, "the sandbox keeps the capabilities of root: install libcap-ng0");
	if (sandbox.capng)
		dlclose(sandbox.capng);
	sandbox.capng = NULL;
	if (!ret && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		ret = err_sys(err, errno, "sandbox: cannot forgo new privileges");
	return ret;
}

/* All but that of processes: there a thread could be made no more, and processes are not. */
#define NAMESPACES (CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)

bool namespaces_available(void)
{
	FILE *f = fopen("/proc/sys/user/max_user_namespaces", "re");
	unsigned int most = 0;

	if (f) {
		if (fscanf(f, "%u", &most) != 1) /* NOLINT(cert-err34-c): 0 will do */
			most = 0;
		fclose(f);
	}
	return most || !geteuid();
}

/* The root is an empty file system, which lies where every host has a directory. */
static int empty_root(struct err *err)
{
	static const char at[] = "/proc";

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", at, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,mode=0555") ||
	    chdir(at) || chroot(".") ||
	    mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL))
		return err_sys(err, errno, "sandbox.namespaces: cannot have an empty root");
	return 0;
}

int namespaces_enter(struct err *err)
{
	int ret;

	if (!unshare(NAMESPACES) || !unshare(CLONE_NEWUSER | NAMESPACES))
		return empty_root(err);
	ret = err_sys(err, errno, "sandbox.namespaces: the host refuses them");
	if (errno == EPERM || ret == -EPERM)
		err_advise(err, "sysctl user.max_user_namespaces and "
				"kernel.unprivileged_userns_clone allow them");
	return ret;
}
