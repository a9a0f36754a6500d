/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "skep/bits.h"
#include "skep/log.h"

#define LINE_MAX_BYTES 1024

static const char *const level_word[] = {
	[LOG_ERROR] = "",
	[LOG_WARN] = "warning: ",
	[LOG_INFO] = "",
	[LOG_DEBUG] = "debug: ",
};

void log_init(struct log *log, int fd, enum log_level level)
{
	log->level = level;
	log->fd = fd;
	log->raw = false;
	atomic_init(&log->guest_budget, LOG_GUEST_BUDGET);
	atomic_init(&log->guest_dropped, 0);
}

/* Returns the bytes of the line, so that log_guest() can account for it. */
__attribute__((format(printf, 4, 0))) static size_t
format_line(const struct log *log, enum log_level level, char *line, const char *fmt, va_list ap)
{
	const size_t room = LINE_MAX_BYTES - 2;
	size_t n;

	n = (size_t)snprintf(line, room, "skep: %s", level_word[level]);
	n += (size_t)vsnprintf(line + n, room - n, fmt, ap);
	n = MIN(n, room - 1);
	/* What is quoted may come from a guest or a file: it steers no terminal, forges no line. */
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	if (log->raw)
		line[n++] = '\r';
	line[n++] = '\n';
	return n;
}

static void put_line(const struct log *log, const char *line, size_t n)
{
	ssize_t put = write(log->fd, line, n);

	/*
	 * A kick that arrives while the reader is slow must not cost the line; but a reader that
	 * takes nothing must not keep the thread from what it was kicked for.
	 */
	if (put < 0 && errno == EINTR)
		put = write(log->fd, line, n);
	/* Nobody is left to tell when stderr itself cannot be written. */
	(void)put;
}

void log_line(struct log *log, enum log_level level, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list ap;
	size_t n;

	if (!log || level > log->level)
		return;
	va_start(ap, fmt);
	n = format_line(log, level, line, fmt, ap);
	va_end(ap);
	put_line(log, line, n);
}

void log_guest(struct log *log, enum log_level level, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	va_list ap;
	size_t n;
	long left;

	if (!log || level > log->level)
		return;
	if (atomic_load(&log->guest_budget) <= 0) {
		atomic_fetch_add(&log->guest_dropped, 1);
		return;
	}
	va_start(ap, fmt);
	n = format_line(log, level, line, fmt, ap);
	va_end(ap);
	left = atomic_fetch_sub(&log->guest_budget, (long)n) - (long)n;
	if (left + (long)n <= 0) {
		atomic_fetch_add(&log->guest_dropped, 1);
		return;
	}
	put_line(log, line, n);
	if (left <= 0) /* seen at every level at which the lines themselves were */
		log_line(log, log->level < LOG_WARN ? log->level : LOG_WARN,
			 "the guest has caused %ld KiB of messages; further ones are only counted",
			 LOG_GUEST_BUDGET / 1024);
}
