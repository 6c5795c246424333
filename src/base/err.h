/*
 * err: an error code with one line of text, built without malloc.
 *
 * Control paths (open, create, check, options) take a struct err as their last
 * argument. The place that finds the fault sets the text, callers on the way up
 * put their context in front of it, and the program prints it once.
 */
#pragma once

#include <stdarg.h>

#define ERR_TEXT_MAX 512

struct err {
	char text[ERR_TEXT_MAX]; /* always NUL-terminated; cut with "..."; control
				    characters are '?' */
};

/*
 * Replace the text of ERR and return CODE, so that a caller can write
 * "return err_set(err, -EINVAL, ...)". ERR may be NULL. CODE is -errno.
 */
int err_set(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As err_set(), and append ": " and the system's text for -CODE. */
int err_set_sys(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Put the formatted context and ": " in front of the text that is there. Where
 * there is no room for both the beginning of the context goes. */
void err_wrap(struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Put the formatted text behind the text that is there. */
void err_append(struct err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * Copy SRC (LEN bytes, not NUL-terminated, untrusted) to DST as printable
 * ASCII: every other byte, the backslash and the quote become \xNN or \c. DST
 * has SIZE bytes and is always terminated. Returns DST.
 */
const char *err_escape(char *dst, unsigned long size, const void *src,
		       unsigned long len);
