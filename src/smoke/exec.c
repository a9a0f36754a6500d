/* SPDX-License-Identifier: BSD-2-Clause */
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "exec.h"
#include "pack.h"
#include "skep/bits.h"
#include "skep/config.h"
#include "skep/err.h"
#include "skep/gmem.h"
#include "skep/init.h"

#define INIT        ".skep/init"
#define EXEC_FILE   ".skep/exec"
#define COMMAND_MAX 100000 /* init has a buffer for it */
#define PORT_USUAL  "0xf4"
/* What vm.h appends for Linux where nobody says anything. */
#define APPEND_USUAL "console=ttyS0"

/* An x86-64 executable that asks for no interpreter. */
static bool is_static(const char *path)
{
	Elf64_Ehdr eh;
	Elf64_Phdr ph;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool is = fd >= 0 && pread(fd, &eh, sizeof(eh), 0) == sizeof(eh) &&
		  !memcmp(eh.e_ident, ELFMAG, SELFMAG) && eh.e_machine == EM_X86_64 &&
		  eh.e_phentsize == sizeof(ph);

	for (unsigned int i = 0; is && i < eh.e_phnum; i++)
		is = pread(fd, &ph, sizeof(ph), (off_t)(eh.e_phoff + i * sizeof(ph))) ==
			     sizeof(ph) &&
		     ph.p_type != PT_INTERP;
	if (fd >= 0)
		close(fd);
	return is;
}

/* Debian has it in /bin, whatever PATH says. */
static bool find_busybox(char path[PATH_MAX])
{
	const char *dirs = getenv("PATH");
	char all[PATH_MAX];
	char *rest = all, *dir;

	snprintf(all, sizeof(all), "%s:/bin:/usr/bin", dirs ? dirs : "");
	while ((dir = strsep(&rest, ":"))) {
		if (*dir != '/' || snprintf(path, PATH_MAX, "%s/busybox", dir) >= PATH_MAX)
			continue;
		if (!access(path, X_OK) && is_static(path))
			return true;
	}
	return false;
}

static int pack_busybox(struct pack *p, struct err *err)
{
	char path[PATH_MAX];
	int ret;

	if (!find_busybox(path))
		return err_set(err, ENOENT,
			       "--exec needs a userland: name a folder with --root, an initramfs "
			       "with --initrd, or install a static busybox (Debian: "
			       "busybox-static)");
	ret = pack_folder(p, "bin", err);
	if (!ret)
		ret = pack_file(p, "bin/busybox", 0755, path, err);
	return ret ? ret : pack_link(p, "bin/sh", "busybox", err);
}

/* The guest's console is there before anything is mounted. */
static int pack_init(struct pack *p, const struct exec *x, unsigned long port, bool install,
		     struct err *err)
{
	size_t len;
	const void *init = init_image(&len);
	char *text;
	int ret, n;

	n = asprintf(&text, "%lu %d\n%s", port, install, x->command);
	if (n < 0)
		return err_sys(err, ENOMEM, "--exec");
	ret = pack_folder(p, ".skep", err);
	if (!ret)
		ret = pack_bytes(p, INIT, 0755, init, len, err);
	if (!ret)
		ret = pack_bytes(p, EXEC_FILE, 0600, text, (size_t)n, err);
	if (!ret)
		ret = pack_folder(p, "dev", err);
	if (!ret)
		ret = pack_char_device(p, "dev/console", 5, 1, err);
	free(text);
	return ret;
}

/* The port to which the status goes, which must mean the status and nothing else. */
static int find_port(const struct config *config, unsigned long *port, struct err *err)
{
	const char *model = config_get(config, "device.exit");
	const char *compat = config_get(config, "device.exit.compat");
	const char *text = config_get(config, "device.exit.port");

	if (!model || strcmp(model, "debug_exit") != 0 || (compat && strcmp(compat, "none") != 0))
		return err_set(err, EINVAL,
			       "--exec tells the status by the exit port: leave device.exit as it "
			       "is");
	*port = strtoul(text ? text : PORT_USUAL, NULL, 0);
	return 0;
}

static int check(const struct exec *x, const struct config *config, struct err *err)
{
	const char *append = config_get(config, "boot.append");
	char init[PATH_MAX];
	struct stat st;

	if (!config_get(config, "boot.kernel"))
		return err_set(err, EINVAL, "%s is for a Linux kernel: name one with --kernel",
			       x->command ? "--exec" : "--root");
	if (x->command && strlen(x->command) > COMMAND_MAX)
		return err_set(err, EINVAL, "--exec: a command has %d bytes at most", COMMAND_MAX);
	if (x->command)
		return 0;
	snprintf(init, sizeof(init), "%s/init", x->root);
	if (lstat(init, &st) && errno == ENOENT && !(append && strstr(append, "rdinit=")))
		return err_set(err, ENOENT,
			       "%.200s has no /init that the kernel could start; --exec needs none",
			       x->root);
	return 0;
}

static int set_append(struct config *config, struct err *err)
{
	const char *append = config_get(config, "boot.append");
	char *text;
	int ret;

	if (asprintf(&text, "%s rdinit=/" INIT, append ? append : APPEND_USUAL) < 0)
		return err_sys(err, ENOMEM, "--exec");
	ret = config_set(config, "boot.append", text, err);
	free(text);
	return ret;
}

static int fill(struct pack *p, const struct exec *x, unsigned int initrds, unsigned long port,
		struct err *err)
{
	const bool busybox = x->command && !x->root && !initrds;
	int ret = 0;

	if (x->root)
		ret = pack_tree(p, x->root, err);
	else if (busybox)
		ret = pack_busybox(p, err);
	/* Behind the folder: of two files of a name, the kernel keeps the last. */
	return ret || !x->command ? ret : pack_init(p, x, port, busybox, err);
}

int exec_prepare(struct exec *x, struct config *config, unsigned int initrds, struct log *log,
		 struct err *err)
{
	struct gmem_options memory;
	unsigned long port = 0;
	struct pack *p = NULL;
	char key[32], path[32];
	int ret = check(x, config, err);

	if (!ret && x->command)
		ret = find_port(config, &port, err);
	if (!ret)
		ret = config_read(config, "memory", gmem_option_table, &memory, err);
	if (!ret)
		ret = pack_open(&p, memory.size / 2, log, err);
	if (!ret)
		ret = fill(p, x, initrds, port, err);
	if (!ret) {
		x->fd = pack_finish(p, err);
		ret = MIN(x->fd, 0);
	}
	pack_free(p);
	if (ret)
		return ret;
	snprintf(key, sizeof(key), "boot.initrd.%u", initrds);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", x->fd);
	ret = config_set(config, key, path, err);
	return ret || !x->command ? ret : set_append(config, err);
}

void exec_free(struct exec *x)
{
	if (x->fd >= 0)
		close(x->fd);
	x->fd = -1;
}
