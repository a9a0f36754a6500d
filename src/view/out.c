/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "skep/err.h"
#include "skep/text.h"

#include "out.h"

FILE *out_open(const char *path, struct err *err)
{
	FILE *out = fopen(path, "we");

	if (!out)
		err_sys(err, errno, "cannot write %s", path);
	return out;
}

int out_close(FILE *out, const char *path, int ret, struct err *err)
{
	const bool failed = ferror(out);
	struct stat st;
	/* A device or a pipe stays where it is. */
	const bool plain = !fstat(fileno(out), &st) && S_ISREG(st.st_mode);

	errno = EIO;
	if ((fclose(out) || failed) && !ret)
		ret = err_sys(err, errno, "cannot write %s", path);
	if (ret && plain)
		unlink(path);
	return ret;
}

json_t *out_text(const char *bytes)
{
	const size_t len = strlen(bytes);
	char *text = malloc(TEXT_SAFE_ROOM(len));
	json_t *string;
	size_t taken;

	if (!text)
		return NULL;
	text_safe(text, TEXT_SAFE_ROOM(len), bytes, len, false, &taken);
	string = json_string(text);
	free(text);
	return string;
}
