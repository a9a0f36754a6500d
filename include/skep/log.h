/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log - messages to the person who runs skep, on stderr, one line each.
 *
 * A struct log belongs to whoever starts the machine (the command line, a test) and outlives it.
 * Every function may be called from any thread; a line is one write(2), so lines never mix. A line
 * holds about 1,000 bytes, the rest is cut; control characters in it become '?'.
 *
 * What a guest provokes goes through log_guest(), which spends from a fixed budget of bytes: a
 * hostile guest cannot fill a disk. When the budget is gone, one line says so, and the rest is
 * only counted.
 */
#ifndef SKEP_LOG_H
#define SKEP_LOG_H

#include <stdatomic.h>
#include <stdbool.h>

enum log_level {
	LOG_ERROR,
	LOG_WARN,
	LOG_INFO,
	LOG_DEBUG,
};

struct log {
	enum log_level level;
	int fd;                     /* not owned */
	bool raw;                   /* the terminal is raw: lines need "\r\n" */
	atomic_long guest_budget;   /* bytes that guests may still cause */
	atomic_ulong guest_dropped; /* lines not written for want of budget */
};

#define LOG_GUEST_BUDGET (64L * 1024)

void log_init(struct log *log, int fd, enum log_level level);

/* A NULL @log is allowed and drops the line. No newline at the end of @fmt. */
void log_line(struct log *log, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void log_guest(struct log *log, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define log_error(log, ...) log_line(log, LOG_ERROR, __VA_ARGS__)
#define log_warn(log, ...)  log_line(log, LOG_WARN, __VA_ARGS__)
#define log_info(log, ...)  log_line(log, LOG_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_line(log, LOG_DEBUG, __VA_ARGS__)

#endif
