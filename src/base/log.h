/*
 * log: lines for the person who runs rawcow.
 *
 * Before the program goes to the background lines go to stderr as
 * "rawcow: text"; afterwards to syslog (or to stderr with -f, where systemd
 * adds the time). Repeated errors of one kind are limited, so that a broken
 * image under load cannot fill a disk. Thread-safe.
 */
#pragma once

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_target { LOG_TARGET_STDERR, LOG_TARGET_SYSLOG };

/* Where lines go and the least important level that is written. Not
 * thread-safe: call while there is one thread. Defaults: stderr, INFO. */
void log_setup(enum log_target target, enum log_level least);

/* Write one line (no newline in FMT). */
void log_line(enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* As log_line(), but at most ten lines in ten seconds from all callers. */
void log_limited(enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
