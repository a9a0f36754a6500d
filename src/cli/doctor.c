/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * skep doctor - what this host offers and lacks, with the cure for each lack.
 */
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli_priv.h"
#include "skep/boot.h"
#include "skep/err.h"
#include "skep/kvm.h"
#include "skep/sandbox.h"
#include "skep/worker.h"

static void print_fact(const char *mark, const char *what, const char *value, const char *cure)
{
	printf("%-5s %-32s %s\n", mark, what, value);
	if (cure)
		printf("      %-32s %s\n", "", cure);
}

/* Returns whether KVM can run a guest. */
static bool examine_kvm(void)
{
	struct kvm_fact facts[KVM_FACTS_MAX];
	bool good = true;
	struct err err;
	int fd = kvm_open(&err);
	size_t n;

	if (fd < 0) {
		print_fact("LACKS", "/dev/kvm", "unusable", err.text);
		return false;
	}
	print_fact("ok", "/dev/kvm", "usable", NULL);
	n = kvm_facts(fd, facts, KVM_FACTS_MAX);
	for (size_t i = 0; i < n; i++) {
		print_fact(facts[i].vital  ? "LACKS"
			   : facts[i].cure ? "note"
					   : "ok",
			   facts[i].what, facts[i].value, facts[i].cure);
		good = good && !facts[i].vital;
	}
	close(fd);
	return good;
}

/* Without io_uring, epoll and threads do the same, slower. */
static void examine_io(void)
{
	struct err err;

	if (worker_probe(&err))
		print_fact("note", "io_uring", "unusable, epoll serves instead", err.text);
	else
		print_fact("ok", "io_uring", "usable", NULL);
}

static void examine_sandbox(void)
{
	struct sandbox_fact facts[SANDBOX_FACTS_MAX];
	size_t n = sandbox_facts(facts, SANDBOX_FACTS_MAX);

	for (size_t i = 0; i < n; i++)
		print_fact(facts[i].cure ? "note" : "ok", facts[i].what, facts[i].value,
			   facts[i].cure);
}

static void examine_huge_pages(void)
{
	char line[128] = "";
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");

	if (f) {
		if (!fgets(line, sizeof(line), f))
			line[0] = '\0';
		fclose(f);
	}
	line[strcspn(line, "\n")] = '\0';
	if (!f || strstr(line, "[never]"))
		print_fact("note", "transparent huge pages", f ? line : "absent",
			   "guests run slower: echo madvise > "
			   "/sys/kernel/mm/transparent_hugepage/enabled");
	else
		print_fact("ok", "transparent huge pages", line, NULL);
}

/* Adds a word that is not there yet. */
static void add_word(char *list, size_t room, const char *word)
{
	const size_t at = strlen(list);

	if (!strstr(list, word))
		snprintf(list + at, room - at, "%s%s", at ? " " : "", word);
}

/* A kernel that the host cannot unpack does it itself, each time. */
static void examine_unpackers(void)
{
	char there[80] = "", missing[120] = "", cure[160];
	struct boot_unpacker u;

	for (unsigned int n = 0; boot_unpacker(n, &u); n++)
		if (u.there && u.package)
			add_word(there, sizeof(there), u.kind);
		else if (!u.there)
			add_word(missing, sizeof(missing), u.package);
	snprintf(cure, sizeof(cure), "others unpack themselves: install %s", missing);
	print_fact(missing[0] ? "note" : "ok", "kernels are unpacked from", there,
		   missing[0] ? cure : NULL);
}

static void examine_host(void)
{
	struct utsname u;
	struct sysinfo s;
	char text[64];

	uname(&u);
	print_fact("ok", "kernel", u.release, NULL);
	snprintf(text, sizeof(text), "%ld", sysconf(_SC_NPROCESSORS_ONLN));
	print_fact("ok", "processors", text, NULL);
	if (!sysinfo(&s)) {
		snprintf(text, sizeof(text), "%llu MiB, %llu free",
			 (unsigned long long)s.totalram * s.mem_unit >> 20,
			 (unsigned long long)s.freeram * s.mem_unit >> 20);
		print_fact("ok", "memory", text, NULL);
	}
}

int cmd_doctor(int argc, char **argv)
{
	struct err err;
	bool helped, good;
	int i = flags_parse(command_find("doctor"), argc, argv, NULL, &helped, &err);

	if (i < 0)
		return cli_fail(STATUS_REFUSED, &err);
	if (helped)
		return STATUS_OK;
	examine_host();
	good = examine_kvm();
	examine_io();
	examine_sandbox();
	examine_huge_pages();
	examine_unpackers();
	printf("\n%s\n", !good                ? "This host cannot run guests."
			 : kvm_runs_kernels() ? "This host can run guests."
					      : "This host can run small payload guests only.");
	return good ? STATUS_OK : STATUS_NO_KVM;
}
