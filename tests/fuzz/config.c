/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Configuration files. One that is taken says the same when it is printed and read again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "skep/config.h"
#include "skep/err.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
	if (!good)
		abort();
}

/* NULL: it was refused, with a sentence. */
static char *read_and_print(int file, const void *data, size_t size)
{
	char path[32], *text = NULL;
	struct err err = {.text = ""};
	struct config *c;
	size_t len;
	FILE *f;

	must(!ftruncate(file, 0) && pwrite(file, data, size, 0) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	c = config_new();
	must(c);
	if (config_read_file(c, path, &err)) {
		must(err.text[0]);
		config_free(c);
		return NULL;
	}
	f = open_memstream(&text, &len);
	config_print(c, f);
	must(!fclose(f));
	config_free(c);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int file = -1;
	char *once, *twice;

	if (file < 0)
		file = memfd_create("config", MFD_CLOEXEC);
	once = read_and_print(file, data, size);
	if (!once)
		return 0;
	twice = read_and_print(file, once, strlen(once));
	must(twice && !strcmp(once, twice));
	free(once);
	free(twice);
	return 0;
}
