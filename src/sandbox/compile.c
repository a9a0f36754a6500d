/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Compiles the tables of sandbox_table.h into filters, by libseccomp, while skep is built: so
 * neither the library nor the time for it is needed when a machine starts.
 *
 *	sandbox_compile			C for src/sandbox/seccomp.c, on stdout
 *	sandbox_compile --table		the tables: kind, engine, call, condition, answer, why; tabs
 */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/filter.h>

#include "skep/bits.h"
#include "skep/sandbox_table.h"

static const char *const kinds[SANDBOX_KINDS] = {
	[SANDBOX_CONTROL] = "control", [SANDBOX_VCPU] = "vcpu",     [SANDBOX_DISK] = "disk",
	[SANDBOX_NET] = "net",         [SANDBOX_WORKER] = "worker", [SANDBOX_HELPER] = "helper",
};

static const char *const engines[SANDBOX_ENGINES] = {
	[SANDBOX_URING] = "uring",
	[SANDBOX_EPOLL] = "epoll",
};

/* Numbers that have a name: those of today, and of some years to come. */
#define CALLS 480

static void die(const char *what, int rc)
{
	fprintf(stderr, "sandbox_compile: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static bool applies(const struct sandbox_rule *r, unsigned int kind, unsigned int engine)
{
	return r->kinds & 1U << kind && (!r->engines || r->engines & 1U << engine);
}

static void add(scmp_filter_ctx ctx, const char *call, uint32_t action,
		const struct scmp_arg_cmp *cmp)
{
	int nr = seccomp_syscall_resolve_name(call), rc;

	if (nr == __NR_SCMP_ERROR)
		die(call, -ENOSYS);
	rc = seccomp_rule_add_array(ctx, action, nr, cmp ? 1 : 0, cmp);
	if (rc)
		die(call, rc);
}

static void add_rule(scmp_filter_ctx ctx, const struct sandbox_rule *r)
{
	const struct scmp_arg_cmp cmp = {
		.arg = r->arg,
		.op = SCMP_CMP_MASKED_EQ,
		.datum_a = r->mask,
		.datum_b = r->value,
	};
	uint32_t action = r->refuse ? SCMP_ACT_ERRNO((uint32_t)r->refuse) : SCMP_ACT_ALLOW;

	add(ctx, r->name, action, r->mask ? &cmp : NULL);
}

static void add_requests(scmp_filter_ctx ctx, const struct sandbox_request *requests, size_t count,
			 unsigned int kind)
{
	for (size_t i = 0; i < count; i++) {
		const struct scmp_arg_cmp cmp = {
			.arg = 1,
			.op = SCMP_CMP_EQ,
			.datum_a = requests[i].request,
		};

		if (requests[i].kinds & 1U << kind)
			add(ctx, "ioctl", SCMP_ACT_ALLOW, &cmp);
	}
}

static scmp_filter_ctx compile(unsigned int kind, unsigned int engine)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_TRAP);
	int rc;

	if (!ctx)
		die("seccomp_init", -ENOMEM);
	rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (!rc)
		rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (rc)
		die("seccomp_attr_set", rc);
	for (size_t i = 0; i < sandbox_rules_count; i++)
		if (applies(&sandbox_rules[i], kind, engine))
			add_rule(ctx, &sandbox_rules[i]);
	add_requests(ctx, sandbox_requests, sandbox_requests_count, kind);
	add_requests(ctx, kvm_requests, kvm_requests_count, kind);
	return ctx;
}

/* The engine whose filter does for @engine as well: that of threads without I/O is always one. */
static unsigned int like(unsigned int kind, unsigned int engine)
{
	for (size_t i = 0; i < sandbox_rules_count; i++)
		if (sandbox_rules[i].engines && sandbox_rules[i].kinds & 1U << kind)
			return engine;
	return 0;
}

static void print_filter(unsigned int kind, unsigned int engine)
{
	scmp_filter_ctx ctx = compile(kind, engine);
	int fd = memfd_create("filter", MFD_CLOEXEC), rc = seccomp_export_bpf(ctx, fd);
	struct sock_filter f;

	if (rc)
		die("seccomp_export_bpf", rc);
	lseek(fd, 0, SEEK_SET);
	printf("static const struct sock_filter %s_%s[] = {\n", kinds[kind], engines[engine]);
	while (read(fd, &f, sizeof(f)) == sizeof(f))
		printf("\t{0x%x, %u, %u, 0x%x},\n", f.code, f.jt, f.jf, f.k);
	printf("};\n\n");
	close(fd);
	seccomp_release(ctx);
}

static void print_filters(void)
{
	for (unsigned int k = 0; k < SANDBOX_KINDS; k++)
		for (unsigned int e = 0; e < SANDBOX_ENGINES; e++)
			if (like(k, e) == e)
				print_filter(k, e);
	printf("#define FILTERS { \\\n");
	for (unsigned int k = 0; k < SANDBOX_KINDS; k++) {
		printf("\t{ \\\n");
		for (unsigned int e = 0; e < SANDBOX_ENGINES; e++) {
			const char *engine = engines[like(k, e)];

			printf("\t\t{%s_%s, sizeof(%s_%s) / sizeof(%s_%s[0])}, \\\n", kinds[k],
			       engine, kinds[k], engine, kinds[k], engine);
		}
		printf("\t}, \\\n");
	}
	printf("}\n\n");
}

/* Names of calls from 0 on, one behind the other and empty where there is no such call: no pointer
 * that would have to be relocated, and no number. */
static void print_names(void)
{
	printf("#define CALL_NAMES %d\nstatic const char call_names[] =\n", CALLS);
	for (int nr = 0; nr < CALLS; nr++) {
		char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, nr);

		printf("\t\"%s\\0\"\n", name ? name : "");
		free(name);
	}
	printf("\t\"\";\n");
}

static void print_row(unsigned int kind, const char *engine, const char *call, const char *when,
		      const char *answer, const char *why)
{
	printf("%s\t%s\t%s\t%s\t%s\t%s\n", kinds[kind], engine, call, when, answer, why);
}

static void print_table(unsigned int kind)
{
	char when[64], answer[16];

	for (size_t i = 0; i < sandbox_rules_count; i++) {
		const struct sandbox_rule *r = &sandbox_rules[i];

		if (!(r->kinds & 1U << kind))
			continue;
		if (r->mask)
			snprintf(when, sizeof(when), "%u & %llx == %llx", r->arg,
				 (unsigned long long)r->mask, (unsigned long long)r->value);
		else
			snprintf(when, sizeof(when), "-");
		snprintf(answer, sizeof(answer), r->refuse ? "errno %d" : "allow", r->refuse);
		print_row(kind, r->engines == BY_EPOLL ? "epoll" : "any", r->name, when, answer,
			  r->why);
	}
	for (size_t i = 0; i < sandbox_requests_count; i++)
		if (sandbox_requests[i].kinds & 1U << kind)
			print_row(kind, "any", "ioctl", sandbox_requests[i].name, "allow",
				  sandbox_requests[i].why);
	for (size_t i = 0; i < kvm_requests_count; i++)
		if (kvm_requests[i].kinds & 1U << kind)
			print_row(kind, "any", "ioctl", kvm_requests[i].name, "allow",
				  kvm_requests[i].why);
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--table")) {
		for (unsigned int k = 0; k < SANDBOX_KINDS; k++)
			print_table(k);
		return 0;
	}
	printf("/* Made by src/sandbox/compile.c. */\n\n");
	print_filters();
	print_names();
	return 0;
}
