/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stopwatch: run a virtual machine monitor, and say as one line of JSON how long it took from its
 * exec to the moment a given text arrives on its stdout, and what it holds at that moment.
 *
 * It runs inside the test bed, where by the counted clock every instruction of the machine counts:
 * so it is one small static program that sleeps in read() until the text is there, and looks at
 * /proc and debugfs only after it has stopped the clock. The guest must hold still for a second
 * after the text, so that all monitors are looked at in the same state.
 *
 * Figures:
 *   time_ns        from just before the fork to the text's last byte
 *   cpu_ns         processor time of the monitor's threads until then, vCPUs included
 *   minor_faults   page faults of the monitor until then
 *   guest_kb       resident part of the guest's memory: of the mappings that are readable, writable
 *                  and at least half as large as the guest's memory
 *   beyond_kb      resident part of all other mappings, shared pages counted in full
 *   private_kb     of beyond_kb, the pages that no other process maps
 *   table_kb       page tables of the monitor
 *   threads        threads of the monitor
 *   status         how it ended, as a shell would say it
 *   kvm.NAME       KVM's own counters for this virtual machine, where debugfs has them
 *   user_exits     returns from KVM_RUN, with --trace; user_exits.REASON by KVM's number
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TRIGGER   "/sys/kernel/tracing/events/kvm/kvm_userspace_exit/trigger"
#define HIST      "/sys/kernel/tracing/events/kvm/kvm_userspace_exit/hist"
#define KVM_STATS "/sys/kernel/debug/kvm"

static void die(const char *what)
{
	fprintf(stderr, "stopwatch: %s: %s\n", what, strerror(errno));
	exit(125);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void figure(const char *name, uint64_t value)
{
	printf(", \"%s\": %llu", name, (unsigned long long)value);
}

/* A small file's text; the empty string if it cannot be read. */
static void slurp(const char *path, char *text, size_t size)
{
	size_t used = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	while (fd >= 0 && used < size - 1) {
		ssize_t n = read(fd, text + used, size - 1 - used);

		if (n <= 0)
			break;
		used += (size_t)n;
	}
	text[used] = '\0';
	if (fd >= 0)
		close(fd);
}

static void write_trigger(const char *text)
{
	int fd = open(TRIGGER, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(TRIGGER);
	close(fd);
}

static void report_user_exits(void)
{
	uint64_t total = 0, by_reason[64] = {0};
	char line[256];
	FILE *f = fopen(HIST, "re");

	if (!f)
		die(HIST);
	while (fgets(line, sizeof(line), f)) {
		unsigned int reason;
		unsigned long long hits;

		if (sscanf(line, "{ reason: %u } hitcount: %llu", &reason, &hits) != 2)
			continue;
		total += hits;
		by_reason[reason < 63 ? reason : 63] += hits;
	}
	fclose(f);
	figure("user_exits", total);
	for (unsigned int reason = 0; reason < 64; reason++) {
		char name[32];

		snprintf(name, sizeof(name), "user_exits.%u", reason);
		if (by_reason[reason])
			figure(name, by_reason[reason]);
	}
}

/* KVM names a machine's directory after the thread that created it, and its descriptor. */
static void report_kvm(pid_t pid)
{
	char path[512], text[64];
	struct dirent *vm, *stat;
	DIR *all = opendir(KVM_STATS), *dir = NULL;

	while (all && !dir && (vm = readdir(all))) {
		if (!strchr(vm->d_name, '-'))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%d", pid, atoi(vm->d_name));
		if (access(path, F_OK))
			continue;
		snprintf(path, sizeof(path), KVM_STATS "/%s", vm->d_name);
		dir = opendir(path);
	}
	while (dir && (stat = readdir(dir))) {
		char name[300], *end;
		uint64_t value;
		int fd = openat(dirfd(dir), stat->d_name, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

		if (fd >= 0)
			close(fd);
		if (n <= 0)
			continue;
		text[n] = '\0';
		value = strtoull(text, &end, 10);
		snprintf(name, sizeof(name), "kvm.%s", stat->d_name);
		if (end != text && *end == '\n')
			figure(name, value);
	}
	if (dir)
		closedir(dir);
	if (all)
		closedir(all);
}

static void report_memory(pid_t pid, uint64_t memory_kb)
{
	uint64_t guest = 0, beyond = 0, private = 0, value, mapped = 0;
	bool is_guest = false;
	char path[64], line[512];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	f = fopen(path, "re");
	if (!f)
		die(path);
	while (fgets(line, sizeof(line), f)) {
		unsigned long long from, to, number;
		char perms[8];

		if (sscanf(line, "%llx-%llx %7s", &from, &to, perms) == 3) {
			is_guest = (to - from) / 1024 >= memory_kb / 2 && !strncmp(perms, "rw", 2);
			if (is_guest)
				mapped += (to - from) / 1024;
		} else if (sscanf(line, "Rss: %llu kB", &number) == 1) {
			value = number;
			*(is_guest ? &guest : &beyond) += value;
		} else if (sscanf(line, "Private_Clean: %llu kB", &number) == 1 ||
			   sscanf(line, "Private_Dirty: %llu kB", &number) == 1) {
			private += is_guest ? 0 : number;
		}
	}
	fclose(f);
	if (mapped < memory_kb) {
		fprintf(stderr, "stopwatch: cannot tell which mappings are the guest's memory\n");
		exit(125);
	}
	figure("guest_kb", guest);
	figure("beyond_kb", beyond);
	figure("private_kb", private);
}

static void report_process(pid_t pid)
{
	char path[300], text[4096], *at;
	uint64_t cpu = 0, threads = 0, faults = 0;
	struct dirent *task;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (task = readdir(dir))) {
		if (task->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, task->d_name);
		slurp(path, text, sizeof(text));
		cpu += strtoull(text, NULL, 10);
		threads++;
	}
	if (dir)
		closedir(dir);
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	slurp(path, text, sizeof(text));
	/* The fields after the name in parentheses: state and six more, then minor faults. */
	at = strrchr(text, ')');
	if (at)
		sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %lu", &faults);
	figure("cpu_ns", cpu);
	figure("threads", threads);
	figure("minor_faults", faults);
	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	slurp(path, text, sizeof(text));
	at = strstr(text, "VmPTE:");
	if (at)
		figure("table_kb", strtoull(at + 6, NULL, 10));
}

/*
 * Read until the marker has come, or to the end if there is no marker. Keeps the output, so that a
 * failure can be told. False if the output ended, or the time did.
 */
static bool read_output(int fd, const char *marker, uint64_t deadline, char *output, size_t size)
{
	static size_t used;

	for (;;) {
		uint64_t now = now_ns();
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (now >= deadline || poll(&p, 1, (int)((deadline - now) / 1000000) + 1) == 0)
			return false;
		if (used >= size - 4096) {
			/* Only the marker and the last words matter. */
			memmove(output, output + size / 2, used - size / 2);
			used -= size / 2;
		}
		n = read(fd, output + used, size - 1 - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return !marker;
		used += (size_t)n;
		output[used] = '\0';
		if (marker && memmem(output, used, marker, strlen(marker)))
			return true;
	}
}

static pid_t start(char **command, int output)
{
	pid_t pid = vfork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDONLY);

		dup2(null, 0);
		dup2(output, 1);
		execvp(command[0], command);
		_exit(127);
	}
	return pid;
}

int main(int argc, char **argv)
{
	static char output[1 << 16];
	const char *marker = "";
	uint64_t memory_kb = 0, limit = 120, begin, end;
	bool trace = false, seen, ended = false;
	int option, pipes[2], status = 0;
	pid_t pid;

	while ((option = getopt(argc, argv, "+m:g:l:t")) != -1) {
		if (option == 'm')
			marker = optarg;
		else if (option == 'g')
			memory_kb = strtoull(optarg, NULL, 10) * 1024;
		else if (option == 'l')
			limit = strtoull(optarg, NULL, 10);
		else if (option == 't')
			trace = true;
		else
			optind = argc;
	}
	if (optind >= argc || !*marker || !memory_kb) {
		fprintf(stderr,
			"usage: stopwatch -m MARKER -g GUEST_MIB [-l SECONDS] [-t] COMMAND…\n");
		return 125;
	}
	if (pipe2(pipes, O_CLOEXEC))
		die("pipe");
	if (trace)
		write_trigger("hist:keys=reason");
	begin = now_ns();
	pid = start(argv + optind, pipes[1]);
	if (pid < 0)
		die(argv[optind]);
	close(pipes[1]);
	seen = read_output(pipes[0], marker, begin + limit * 1000000000u, output, sizeof(output));
	end = now_ns();

	printf("{\"time_ns\": %llu", (unsigned long long)(end - begin));
	if (seen) {
		if (trace)
			report_user_exits();
		report_kvm(pid);
		report_process(pid);
		report_memory(pid, memory_kb);
		ended = read_output(pipes[0], NULL, now_ns() + limit * 1000000000u, output,
				    sizeof(output));
	}
	if (!ended)
		kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (trace)
		write_trigger("!hist:keys=reason");
	figure("status",
	       (uint64_t)(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)));
	puts("}");
	if (ended)
		return 0;
	fprintf(stderr, "stopwatch: %s: %s; its last words:\n%.*s\n", argv[optind],
		seen ? "did not end" : "did not say the marker", 2000,
		strlen(output) > 2000 ? output + strlen(output) - 2000 : output);
	return 1;
}
