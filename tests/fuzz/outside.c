/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts that are driven here are outside of the sandbox, which is not linked. */
#include "skep/sandbox.h"

bool sandbox_entered(void)
{
	return false;
}

int sandbox_thread(enum sandbox_kind kind, struct err *err)
{
	(void)kind;
	(void)err;
	return 0;
}

void sandbox_keep(int fd)
{
	(void)fd;
}

void sandbox_forsake(int fd)
{
	(void)fd;
}

int sandbox_remove_later(const char *path, struct err *err)
{
	(void)path;
	(void)err;
	return 0;
}

void sandbox_remove_not(const char *path)
{
	(void)path;
}
