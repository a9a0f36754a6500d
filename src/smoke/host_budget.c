/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the host has for guests: by its own account, and by those of the control groups, of either
 * version, that this process is in. A group that cannot be read sets no limit.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skep/bits.h"
#include "skep/runner.h"

#define PATH_ROOM 1024

/* The whole of a small file, or false. */
static bool read_file(char *text, size_t room, const char *root, const char *dir, const char *group,
		      const char *name)
{
	char path[PATH_ROOM];
	FILE *f;
	size_t n;

	if ((size_t)snprintf(path, sizeof(path), "%s%s%s/%s", root, dir, group, name) >=
	    sizeof(path))
		return false;
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fread(text, 1, room - 1, f);
	text[n] = '\0';
	fclose(f);
	return true;
}

/* The number in a file, or behind @key in it; @otherwise without. */
static uint64_t number(const char *text, const char *key, uint64_t otherwise)
{
	const char *p = key ? strstr(text, key) : text;
	unsigned long long v;
	char *end;

	if (!p)
		return otherwise;
	p += key ? strlen(key) : 0;
	p += strspn(p, " \t");
	v = strtoull(p, &end, 10);
	return end > p && *p != '-' ? v : otherwise;
}

static uint64_t file_number(const char *root, const char *dir, const char *group, const char *name,
			    const char *key, uint64_t otherwise)
{
	char text[8192];

	if (!read_file(text, sizeof(text), root, dir, group, name))
		return otherwise;
	return number(text, key, otherwise);
}

/* How the two versions call the same things. */
struct group_files {
	const char *memory_dir, *limit, *usage, *cache;
	const char *cpu_dir, *quota, *period;
};
static const struct group_files version2 = {
	"/sys/fs/cgroup", "memory.max", "memory.current", "\ninactive_file", "/sys/fs/cgroup",
	"cpu.max",        NULL,
};
static const struct group_files version1 = {
	"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
	"\ntotal_inactive_file", "/sys/fs/cgroup/cpu",    "cpu.cfs_quota_us",
	"cpu.cfs_period_us",
};

/* What one group leaves: its limit less what is in use and could not be dropped. */
static void limit_memory(struct host_budget *b, const char *root, const struct group_files *f,
			 const char *group)
{
	const uint64_t limit = file_number(root, f->memory_dir, group, f->limit, NULL, UINT64_MAX);
	uint64_t usage, cache;

	if (limit == UINT64_MAX)
		return;
	usage = file_number(root, f->memory_dir, group, f->usage, NULL, 0);
	cache = file_number(root, f->memory_dir, group, "memory.stat", f->cache, 0);
	usage -= MIN(usage, cache);
	usage = MIN(usage, limit);
	b->memory = MIN(b->memory, limit - usage);
}

static void limit_cpus(struct host_budget *b, const char *root, const struct group_files *f,
		       const char *group)
{
	uint64_t quota = UINT64_MAX, period = 0;
	char text[64];

	if (f->period) {
		quota = file_number(root, f->cpu_dir, group, f->quota, NULL, UINT64_MAX);
		period = file_number(root, f->cpu_dir, group, f->period, NULL, 0);
	} else if (read_file(text, sizeof(text), root, f->cpu_dir, group, f->quota)) {
		/* "QUOTA PERIOD", or "max PERIOD" */
		quota = number(text, NULL, UINT64_MAX);
		period = number(text, " ", 0);
	}
	if (quota == UINT64_MAX || !period || !quota)
		return;
	/* A part of a CPU is one. */
	quota = (quota - 1) / period + 1;
	b->cpus = (unsigned int)MIN(b->cpus, quota);
}

/* The group and all that it is in. */
static void limit_by(struct host_budget *b, const char *root, const struct group_files *f,
		     char *group, bool memory, bool cpus)
{
	for (;;) {
		char *slash = strrchr(group, '/');

		if (slash && !slash[1])
			*slash = '\0';
		if (memory)
			limit_memory(b, root, f, group);
		if (cpus)
			limit_cpus(b, root, f, group);
		if (!*group)
			return;
		slash = strrchr(group, '/');
		if (!slash)
			return;
		*slash = '\0';
	}
}

static bool controls(const char *controllers, const char *what)
{
	const size_t n = strlen(what);

	for (const char *p = controllers; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (!strncmp(p, what, n) && (!p[n] || p[n] == ','))
			return true;
	}
	return false;
}

void host_budget_under(struct host_budget *b, const char *root, unsigned int affinity)
{
	char text[8192], *save = NULL;

	b->memory = file_number(root, "/proc", "", "meminfo", "\nMemAvailable:", 0) * 1024;
	b->cpus = affinity;
	/* "NUMBER:CONTROLLERS:GROUP", of version 2 without controllers */
	if (!read_file(text, sizeof(text), root, "/proc", "/self", "cgroup"))
		text[0] = '\0';
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *controllers = strchr(line, ':');
		char *group = controllers ? strchr(controllers + 1, ':') : NULL;

		if (!group)
			continue;
		controllers++;
		*group++ = '\0';
		if (!*controllers)
			limit_by(b, root, &version2, group, true, true);
		else
			limit_by(b, root, &version1, group, controls(controllers, "memory"),
				 controls(controllers, "cpu"));
	}
	b->memory -= b->memory / 10;
	b->cpus = MAX(b->cpus, 1u);
}

void host_budget_now(struct host_budget *b)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	if (sched_getaffinity(0, sizeof(cpus), &cpus))
		CPU_SET(0, &cpus);
	host_budget_under(b, "", (unsigned int)CPU_COUNT(&cpus));
}
