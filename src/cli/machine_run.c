/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One machine, from its options to its result.
 */
#include <stdio.h>
#include <string.h>

#include "autopsy.h"
#include "machine.h"
#include "skep/chan.h"
#include "skep/clock.h"
#include "skep/config.h"
#include "skep/err.h"
#include "skep/kvm.h"
#include "skep/vm.h"

void machine_result_init(struct result *result, const struct machine_args *args)
{
	*result = (struct result){
		.started = clock_now(),
		.status = STATUS_REFUSED,
		.kernel = config_get(args->config, "boot.kernel"),
		.name = config_get(args->config, "machine.name"),
	};
}

/* A machine that ended badly ended as it did, however long it took. */
static void check_lint(struct machine_args *args, struct result *result)
{
	const size_t n = lint_count(&args->lint);

	if (args->lint.on)
		result->lint = &args->lint;
	if (!n || !args->lint.fails || ending_status(&result->ending))
		return;
	result->ending = (struct ending){.kind = END_LINT};
	snprintf(result->ending.reason, sizeof(result->ending.reason),
		 "the guest ended well, and --lint has %zu finding%s", n, n == 1 ? "" : "s");
}

static void check_budgets(struct machine_args *args, struct result *result)
{
	struct ending late = {.kind = END_BUDGET};

	if (budgets_kept(&args->timeline, &result->timeline, late.reason, sizeof(late.reason)))
		return;
	if (ending_status(&result->ending))
		log_error(&args->log, "%s", late.reason);
	else
		result->ending = late;
}

/* What there is to tell of a machine that has ended. */
static void collect(struct machine_args *args, const struct machine_hooks *hooks, struct vm *vm,
		    struct result *result)
{
	result->ran = true;
	vm_timeline(vm, result->started, &result->timeline);
	if (hooks && hooks->ended)
		hooks->ended(hooks->ctx, vm, result);
	check_budgets(args, result);
	check_lint(args, result);
	result->status = ending_status(&result->ending);
	if (args->result)
		result_collect(result, vm, args->result_state);
	if (args->dump_state)
		vm_dump_state(vm, stderr);
}

static int run(struct machine_args *args, const struct machine_hooks *hooks, struct result *result,
	       struct err *err)
{
	char screen[SCREEN_TEXT_MAX] = "";
	struct autopsy autopsy = {.pm = NULL};
	struct vm *vm;
	int kvm_fd = kvm_open(err);
	int ret;

	if (kvm_fd < 0) {
		result->status = STATUS_NO_KVM;
		return kvm_fd;
	}
	if (args->result)
		result_prepare(result);
	ret = vm_create(&vm, args->config, kvm_fd, &args->log, err);
	if (ret)
		return ret;
	if (hooks && hooks->ready)
		ret = hooks->ready(hooks->ctx, vm, err);
	if (!ret)
		ret = autopsy_open(&autopsy, args, vm, err);
	if (args->result || args->timeline.show || args->timeline.budget_count)
		vm_listen(vm);
	if (!ret && args->lint.on)
		ret = lint_begin(&args->lint, vm, args->symbols, result->kernel, &args->log, err);
	if (!ret)
		ret = vm_run(vm, &result->ending, err);
	lint_end(&args->lint);
	if (!ret) {
		collect(args, hooks, vm, result);
		vm_last_screen(vm, screen);
		autopsy_do(&autopsy, args, vm, result);
	}
	autopsy_close(&autopsy);
	if (hooks && hooks->leave)
		hooks->leave(hooks->ctx);
	vm_destroy(vm);
	/* Behind what consoles had left to say. */
	fputs(screen, stdout);
	if (!ret && args->timeline.show)
		timeline_print(&result->timeline, stderr);
	return ret;
}

int machine_run(struct machine_args *args, const struct machine_hooks *hooks, struct result *result,
		struct err *err)
{
	int ret;

	chan_install_crash_restore();
	ret = run(args, hooks, result, err);
	if (ret)
		snprintf(result->ending.reason, sizeof(result->ending.reason), "%.*s",
			 (int)sizeof(result->ending.reason) - 1, err->text);
	return ret;
}
