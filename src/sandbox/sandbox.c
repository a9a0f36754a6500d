/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sandbox as a whole: which layers there are, and the order in which they are put on.
 *
 * The order matters. Namespaces and another user take privileges, so they come before those are
 * given up; Landlock and filters ask for no_new_privs, so they come behind it; and a limit of
 * descriptors below what is open does no harm to what is open.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "sandbox_priv.h"
#include "skep/bits.h"
#include "skep/config.h"
#include "skep/err.h"
#include "skep/log.h"

/* Descriptors that may come: clients of consoles, a processor for each at a reset. */
#define MORE_FILES 512

/* A build that counts its lines writes files as it ends. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(SKEP_COVERAGE)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
	__has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifdef SANITIZED
#define MODE "off"
#else
#define MODE "on"
#endif

struct sandbox sandbox;

const struct option sandbox_option_table[] = {
	{.name = "mode",
	 .type = OPTION_CHOICE,
	 .offset = offsetof(struct sandbox_options, mode),
	 .choices = "on|off",
	 .fallback = MODE,
	 .help = "once the guest runs, refuse all that skep does not need of the host"},
	{.name = "user",
	 .type = OPTION_STRING,
	 .offset = offsetof(struct sandbox_options, user),
	 .help = "the user to become, for root"},
	{.name = "namespaces",
	 .type = OPTION_BOOL,
	 .offset = offsetof(struct sandbox_options, namespaces),
	 .help = "namespaces of its own, with an empty root and no network"},
	OPTION_END,
};

bool sandbox_entered(void)
{
	return atomic_load_explicit(&sandbox.entered, memory_order_relaxed);
}

void sandbox_keep(int fd)
{
	if (sandbox.kept_count < KEPT_MAX)
		sandbox.kept[sandbox.kept_count++] = fd;
}

void sandbox_forsake(int fd)
{
	for (unsigned int i = 0; i < sandbox.kept_count; i++)
		if (sandbox.kept[i] == fd)
			sandbox.kept[i--] = sandbox.kept[--sandbox.kept_count];
}

static rlim_t highest_file(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *de;
	rlim_t most = 0;

	while (d && (de = readdir(d)))
		most = MAX(most, (rlim_t)strtoul(de->d_name, NULL, 10));
	if (d)
		closedir(d);
	return most;
}

static void lower(int resource, rlim_t to)
{
	struct rlimit limit;

	if (getrlimit((__rlimit_resource_t)resource, &limit) || limit.rlim_max < to)
		return;
	limit.rlim_max = to;
	limit.rlim_cur = MIN(limit.rlim_cur, to);
	setrlimit((__rlimit_resource_t)resource, &limit);
}

/*
 * A core would hold what the guest's devices know; RLIMIT_FSIZE and others stay the person's.
 * RLIMIT_NPROC too: KVM and io_uring make threads of the kernel's that are counted.
 */
static void limit_resources(void)
{
	rlim_t most = highest_file();

	lower(RLIMIT_CORE, 0);
	if (most)
		lower(RLIMIT_NOFILE, most + MORE_FILES);
}

static void look_at_kernel(struct log *log)
{
	sandbox.filters = filters_available();
	if (!sandbox.filters)
		log_warn(log, "the sandbox does without filters of system calls: this kernel has "
			      "no CONFIG_SECCOMP_FILTER");
}

static int shut_files(struct log *log, struct err *err)
{
	if (landlock_version())
		return landlock_shut(sandbox.kept, sandbox.kept_count, err);
	log_info(log, "the sandbox does without Landlock, which this kernel does not have");
	return 0;
}

int sandbox_enter(const struct sandbox_options *options, enum sandbox_engine engine,
		  struct log *log, struct err *err)
{
	struct sandbox_user user;
	int ret;

	if (options->mode == SANDBOX_OFF)
		return 0;
#ifdef SANITIZED
	return err_set(err, ENOTSUP,
		       "a build with sanitizers asks the kernel for more than the "
		       "sandbox gives; sandbox.mode=off");
#endif
	look_at_kernel(log);
	sandbox.engine = engine;
	filters_take_signal();
	ret = aide_start(err);
	if (!ret)
		limit_resources();
	if (!ret)
		ret = privileges_prepare(options, &user, err);
	if (!ret && options->namespaces)
		ret = namespaces_enter(err);
	if (!ret)
		ret = privileges_drop(&user, log, err);
	if (!ret)
		ret = shut_files(log, err);
	if (!ret)
		atomic_store(&sandbox.entered, true);
	return ret;
}

int sandbox_thread(enum sandbox_kind kind, struct err *err)
{
	if (!sandbox_entered() || !sandbox.filters)
		return 0;
	return filters_install(kind, sandbox.engine, err);
}

size_t sandbox_facts(struct sandbox_fact *facts, size_t room)
{
	const int landlock = landlock_version();
	struct sandbox_fact all[] = {
		{.what = "sandbox: system call filters",
		 .value = "usable",
		 .cure = filters_available() ? NULL : "a kernel with CONFIG_SECCOMP_FILTER"},
		{.what = "sandbox: Landlock",
		 .cure = landlock ? NULL
				  : "a kernel with CONFIG_SECURITY_LANDLOCK, and landlock "
				    "among its lsm= modules"},
		{.what = "sandbox: capabilities",
		 .value = "given up",
		 .cure = privileges_can_drop() ? NULL : "root's are kept: install libcap-ng0"},
		{.what = "sandbox: namespaces",
		 .value = "usable",
		 .cure = namespaces_available() ? NULL
						: "sysctl user.max_user_namespaces, for "
						  "sandbox.namespaces"},
	};
	size_t n = MIN(room, ARRAY_SIZE(all));

	snprintf(all[1].value, sizeof(all[1].value), "version %d", landlock);
	for (size_t i = 0; i < n; i++) {
		if (all[i].cure)
			snprintf(all[i].value, sizeof(all[i].value), "missing");
		facts[i] = all[i];
	}
	return n;
}
