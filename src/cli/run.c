/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * skep run - boots a kernel and ends as the guest ends.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli_priv.h"
#include "result.h"
#include "skep/chan.h"
#include "skep/clock.h"
#include "skep/config.h"
#include "skep/err.h"
#include "skep/kvm.h"
#include "skep/log.h"
#include "skep/vm.h"

#define SERIALS_MAX 4

struct run {
	struct config *config;
	unsigned int serials; /* how often --serial was given */
	unsigned int initrds, modules;
	unsigned int disks;
	unsigned int ide_disks; /* of those */
	unsigned int nets;
	bool print_config;
	bool dump_state;
	const char *result;
	struct log log;
};

/* Flags that fill one key. */
static int apply_key(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct run *run = ctx;

	return config_set(run->config, flag->key, value, err);
}

/* Flags of the form FIRST,key=value…: their key names where FIRST goes. */
static int apply_list(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct run *run = ctx;
	const char *dot = strchr(flag->key, '.');
	char section[32];

	snprintf(section, sizeof(section), "%.*s", (int)(dot - flag->key), flag->key);
	return config_set_list(run->config, section, dot + 1, value, err);
}

static int apply_initrd(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct run *run = ctx;
	char key[32];

	(void)flag;
	snprintf(key, sizeof(key), "boot.initrd.%u", run->initrds++);
	return config_set(run->config, key, value, err);
}

static int apply_module(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct run *run = ctx;
	char key[32];

	(void)flag;
	snprintf(key, sizeof(key), "boot.module.%u", run->modules++);
	return config_set(run->config, key, value, err);
}

static int apply_serial(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct run *run = ctx;
	char id[8], pair[64];
	int ret;

	(void)flag;
	if (run->serials == SERIALS_MAX)
		return err_set(err, EINVAL, "--serial: there are %d serial ports", SERIALS_MAX);
	snprintf(id, sizeof(id), "com%u", ++run->serials);
	snprintf(pair, sizeof(pair), "device.%s=uart8250", id);
	ret = config_set_pair(run->config, pair, err);
	snprintf(pair, sizeof(pair), "device.%s.line=%s", id, id);
	if (!ret)
		ret = config_set_pair(run->config, pair, err);
	snprintf(pair, sizeof(pair), "device.%s.backend", id);
	return ret ? ret : config_set(run->config, pair, value, err);
}

/* --net KIND[,key=value…]: KIND is a pair as well, or the word passt or none. */
static int apply_net(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct run *run = ctx;
	const size_t n = strcspn(value, ",");
	char key[48], section[24];
	int ret;

	(void)flag;
	snprintf(section, sizeof(section), "device.net%u", run->nets++);
	if (!strcmp(value, "none"))
		return config_set(run->config, section, "none", err);
	ret = config_set(run->config, section, "virtio_net", err);
	if (!ret && n == strlen("passt") && !strncmp(value, "passt", n)) {
		snprintf(key, sizeof(key), "%s.passt", section);
		ret = config_set(run->config, key, "on", err);
		value += n + (value[n] == ',');
	} else if (!memchr(value, '=', n)) {
		return err_set(err, EINVAL,
			       "--net: '%.32s' is no network; say tap=NAME, fd=N, stream=SOCKET, "
			       "passt or none",
			       value);
	}
	return ret ? ret : config_set_list(run->config, section, NULL, value, err);
}

/* --console BACKEND[,key=value…] */
static int apply_console(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct run *run = ctx;
	int ret = config_set(run->config, "device.console", "virtio_console", err);

	(void)flag;
	/* The terminal goes to the console that was asked for, unless COM1 was asked for too. */
	if (!ret && !strncmp(value, "stdio", 5) && !run->serials)
		ret = config_set(run->config, "device.com1.backend", "none", err);
	return ret ? ret : config_set_list(run->config, "device.console", "backend", value, err);
}

/* --display WHERE[,key=value…] */
static int apply_display(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct run *run = ctx;
	int ret;

	(void)flag;
	if (!strcmp(value, "none"))
		return config_set(run->config, "device.screen", "none", err);
	ret = config_set(run->config, "device.screen", "vga_text", err);
	/* The terminal is the screen's then, unless COM1 was asked for too. */
	if (!ret && !strncmp(value, "text", 4) && !run->serials)
		ret = config_set(run->config, "device.com1.backend", "none", err);
	return ret ? ret : config_set_list(run->config, "device.screen", "display", value, err);
}

/* What @said says below @section goes into the tree, but for the model. */
static int take_disk(struct run *run, const struct config *said, const char *section,
		     struct err *err)
{
	char name[CONFIG_KEY_MAX + 1], key[2 * CONFIG_KEY_MAX];
	const char *value;
	size_t pos = 0;
	int ret = 0;

	while (!ret && config_next_child(said, section, &pos, name, sizeof(name))) {
		snprintf(key, sizeof(key), "%s.%s", section, name);
		value = config_get(said, key);
		if (value && strcmp(name, "model") != 0)
			ret = config_set(run->config, key, value, err);
	}
	return ret;
}

/* The first IDE disk is on channel 0, the second on 1, unless somebody says otherwise. */
static int next_channel(struct run *run, const char *section, struct err *err)
{
	char key[64], n[16];

	snprintf(key, sizeof(key), "%s.channel", section);
	snprintf(n, sizeof(n), "%u", run->ide_disks++);
	return config_set(run->config, key, n, err);
}

/* --disk FILE[,model=ide][,key=value…] */
static int apply_disk(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct run *run = ctx;
	struct config *said = config_new();
	const char *model;
	char section[32], key[64];
	int ret;

	(void)flag;
	if (!said)
		return err_sys(err, ENOMEM, "options");
	snprintf(section, sizeof(section), "device.disk%u", run->disks++);
	snprintf(key, sizeof(key), "%s.model", section);
	ret = config_set_list(said, section, "path", value, err);
	model = config_get(said, key);
	if (!ret)
		ret = config_set(run->config, section, model ? model : "virtio_blk", err);
	if (!ret && model && !strcmp(model, "ide"))
		ret = next_channel(run, section, err);
	if (!ret)
		ret = take_disk(run, said, section, err);
	config_free(said);
	return ret;
}

/* --device MODEL[,key=value…]: called by its model, or by the id= among the pairs. */
static int apply_device(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct run *run = ctx;
	size_t n = strcspn(value, ",");
	const char *pairs = value + n + (value[n] == ',');
	const char *id = strstr(pairs, "id=");
	char key[64], model[32];
	int ret;

	(void)flag;
	snprintf(model, sizeof(model), "%.*s", (int)n, value);
	if (id && (id == pairs || id[-1] == ','))
		return err_set(err, EINVAL, "--device: an id is given as -o device.ID=%s", model);
	snprintf(key, sizeof(key), "device.%s", model);
	for (unsigned int i = 1; config_get(run->config, key) && i < 100; i++)
		snprintf(key, sizeof(key), "device.%s%u", model, i);
	ret = config_set(run->config, key, model, err);
	return ret ? ret : config_set_list(run->config, key, NULL, pairs, err);
}

static int apply_pair(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct run *run = ctx;

	(void)flag;
	return config_set_pair(run->config, value, err);
}

static int apply_config(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct run *run = ctx;

	(void)flag;
	return config_read_file(run->config, value, err);
}

static int apply_print_config(void *ctx, const struct flag *flag, const char *value,
			      struct err *err)
{
	struct run *run = ctx;

	(void)flag;
	(void)value;
	(void)err;
	run->print_config = true;
	return 0;
}

static int apply_dump_state(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct run *run = ctx;

	(void)flag;
	(void)value;
	(void)err;
	run->dump_state = true;
	return 0;
}

static int apply_result(void *ctx, const struct flag *flag, const char *value, struct err *err)
{
	struct run *run = ctx;

	(void)flag;
	(void)err;
	run->result = value;
	return 0;
}

const struct flag run_flags[] = {
	{'k', "kernel", "FILE", "kernel to boot; without one, the built-in demo guest", apply_key,
	 "boot.kernel"},
	{'i', "initrd", "FILE", "initial RAM disk; repeatable, concatenated in order", apply_initrd,
	 NULL},
	{0, "module", "FILE[,TEXT]",
	 "a boot module with its command line, for kernels that take such; repeatable",
	 apply_module, NULL},
	{0, "protocol", "NAME[,KEY=VALUE]",
	 "how the kernel is booted (default: as the image says); `skep inspect` names them",
	 apply_list, "boot.protocol"},
	{'a', "append", "TEXT", "kernel command line (default for Linux: console=ttyS0)", apply_key,
	 "boot.append"},
	{'m', "memory", "SIZE[,KEY=VALUE]", "guest memory (default 512M)", apply_list,
	 "memory.size"},
	{'c', "cpus", "N[,KEY=VALUE]", "vCPUs (default 1)", apply_list, "cpus.count"},
	{0, "irqchip", "split|kernel", "whose 8259A, IOAPIC and 8254: skep's own, or KVM's",
	 apply_key, "machine.irqchip"},
	{'d', "disk", "FILE[,KEY=VALUE]", "a disk: an image file or a block device; repeatable",
	 apply_disk, NULL},
	{'n', "net", "NETWORK[,KEY=VALUE]",
	 "a network card; tap=NAME, fd=N, stream=SOCKET, passt or none; repeatable", apply_net,
	 NULL},
	{0, "serial", "BACKEND",
	 "stdio, pty, file:PATH, unix:PATH or none; repeatable: COM1 to COM4", apply_serial, NULL},
	{0, "console", "BACKEND[,KEY=VALUE]", "a virtio console, /dev/hvc0 of Linux; as --serial",
	 apply_console, NULL},
	{0, "display", "text|dump|none",
	 "a VGA in text mode; text: on this terminal, with its keys; dump: printed at the end",
	 apply_display, NULL},
	{0, "device", "MODEL[,KEY=VALUE]", "a device; `skep devices` lists the models",
	 apply_device, NULL},
	{0, "config", "FILE", "read options from a file of KEY = VALUE lines", apply_config, NULL},
	{'o', "option", "KEY=VALUE", "set one option of the tree that all of these fill",
	 apply_pair, NULL},
	{0, "print-config", NULL, "print that tree and end", apply_print_config, NULL},
	{0, "timeout", "SECONDS", "end the machine after this time, with status 124", apply_key,
	 "machine.timeout"},
	{0, "on-reset", "reboot|exit", "what a guest's reset does (default reboot)", apply_key,
	 "machine.on-reset"},
	{0, "workers", "N", "threads for host I/O at most (default one per device or queue)",
	 apply_key, "machine.workers"},
	{0, "dump-state", NULL, "print every device's state at the end, on stderr",
	 apply_dump_state, NULL},
	{0, "result", "FILE", "write what happened as a JSON object", apply_result, NULL},
	{0, "name", "TEXT", "what messages and reports call the machine", apply_key,
	 "machine.name"},
	{0, NULL, NULL, NULL, NULL, NULL},
};

/* Says on stderr what a person would not see from the guest itself. */
static void tell(struct run *run, const struct ending *ending)
{
	switch (ending->kind) {
	case END_POWEROFF:
	case END_CODE:
	case END_USER:
		log_info(&run->log, "%s", ending->reason);
		break;
	default:
		log_error(&run->log, "%s", ending->reason);
		break;
	}
}

static int run_machine(struct run *run, struct result *result, struct err *err)
{
	char screen[SCREEN_TEXT_MAX] = "";
	struct vm *vm;
	int kvm_fd = kvm_open(err);
	int ret;

	if (kvm_fd < 0) {
		result->status = STATUS_NO_KVM;
		return kvm_fd;
	}
	ret = vm_create(&vm, run->config, kvm_fd, &run->log, err);
	if (ret)
		return ret;
	ret = vm_run(vm, &result->ending, err);
	if (!ret) {
		result->ran = true;
		result->status = ending_status(&result->ending);
		if (run->result)
			result_collect(result, vm);
		if (run->dump_state)
			vm_dump_state(vm, stderr);
		vm_last_screen(vm, screen);
	}
	vm_destroy(vm);
	/* Behind what consoles had left to say. */
	fputs(screen, stdout);
	return ret;
}

static int run_and_tell(struct run *run)
{
	struct result result = {
		.started = clock_now(),
		.status = STATUS_REFUSED,
		.kernel = config_get(run->config, "boot.kernel"),
		.name = config_get(run->config, "machine.name"),
	};
	FILE *to;
	struct err err;

	if (result_open(&to, run->result, &err))
		return cli_fail(STATUS_REFUSED, &err);
	chan_install_crash_restore();
	if (run_machine(run, &result, &err)) {
		cli_fail(result.status, &err);
		snprintf(result.ending.reason, sizeof(result.ending.reason), "%.*s",
			 (int)sizeof(result.ending.reason) - 1, err.text);
	} else {
		tell(run, &result.ending);
	}
	if (result_write(&result, to, &err))
		return cli_fail(STATUS_REFUSED, &err);
	return result.status;
}

int cmd_run(int argc, char **argv)
{
	struct run run = {.config = config_new()};
	int status = STATUS_OK;
	struct err err;
	bool helped;

	log_init(&run.log, STDERR_FILENO, LOG_WARN);
	if (!run.config) {
		err_sys(&err, ENOMEM, "options");
		return cli_fail(STATUS_REFUSED, &err);
	}
	if (vm_defaults(run.config, &err) ||
	    flags_parse(command_find("run"), argc, argv, &run, &helped, &err) < 0)
		status = cli_fail(STATUS_REFUSED, &err);
	else if (run.print_config)
		config_print(run.config, stdout);
	else if (!helped)
		status = run_and_tell(&run);
	config_free(run.config);
	return status;
}
