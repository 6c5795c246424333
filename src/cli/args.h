/*
 * args: the command line, in the manner of getopt and of QEMU's -o lists.
 */
#pragma once

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Values for long options without a letter. */
enum { ARGS_LONG = 256 };

/* getopt_long() that prints nothing: the option, -1 behind the last one, or
 * '?' with text. */
int args_next(int argc, char **argv, const char *letters,
	      const struct option *longs, struct err *err);

/*
 * Take "key=value,key=value" apart and call SET for each. In a value ",,"
 * stands for a comma; '-' in a key becomes '_'; a key alone has the value
 * "on". Stops at the first result of SET that is not 0 and returns it.
 */
int args_list(const char *text,
	      int (*set)(void *ctx, const char *key, const char *value,
			 struct err *err),
	      void *ctx, struct err *err);

/* on, off, yes, no, true, false. 0 or -EINVAL with text that names KEY. */
int args_bool(const char *key, const char *value, bool *out, struct err *err);

/* A size as size_parse() takes it. -EINVAL, -ERANGE with text. */
int args_size(const char *key, const char *value, uint64_t *out,
	      struct err *err);

/* The index of VALUE in WORDS (ends with NULL), or -EINVAL with text. */
int args_word(const char *key, const char *value, const char *const *words,
	      struct err *err);

/* The value of --output: *JSON for "json", not for "human". */
int args_output(const char *value, bool *json, struct err *err);

/* The value of -f, which can only be "qcow2": nothing is guessed. */
int args_format(const char *value, struct err *err);
