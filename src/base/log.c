#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <syslog.h>
#include <time.h>

#define LIMIT_LINES 10
#define LIMIT_SECONDS 10

static enum log_target log_to = LOG_TARGET_STDERR;
static enum log_level log_least = LOG_LEVEL_INFO;

void log_setup(enum log_target target, enum log_level least)
{
	log_to = target;
	log_least = least;
	if (target == LOG_TARGET_SYSLOG)
		openlog("rawcow", LOG_PID, LOG_DAEMON);
}

static int syslog_priority(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return LOG_ERR;
	case LOG_LEVEL_WARN:
		return LOG_WARNING;
	case LOG_LEVEL_INFO:
		return LOG_INFO;
	case LOG_LEVEL_DEBUG:
		break;
	}
	return LOG_DEBUG;
}

static void __attribute__((format(printf, 2, 0)))
emit(enum log_level level, const char *fmt, va_list ap)
{
	char line[1024];

	if (level > log_least)
		return;
	vsnprintf(line, sizeof(line), fmt, ap);
	if (log_to == LOG_TARGET_SYSLOG)
		syslog(syslog_priority(level), "%s", line);
	else
		fprintf(stderr, "rawcow: %s\n", line);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(level, fmt, ap);
	va_end(ap);
}

void log_limited(enum log_level level, const char *fmt, ...)
{
	static atomic_llong window;
	static atomic_int lines;
	struct timespec now;
	va_list ap;

	clock_gettime(CLOCK_MONOTONIC, &now);
	long long w = now.tv_sec / LIMIT_SECONDS;
	if (atomic_exchange(&window, w) != w)
		atomic_store(&lines, 0);
	if (atomic_fetch_add(&lines, 1) >= LIMIT_LINES)
		return;
	va_start(ap, fmt);
	emit(level, fmt, ap);
	va_end(ap);
}
