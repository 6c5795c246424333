/*
 * args: the command line of a sub-command, as a table of its options. The same
 * table makes the help, so the two cannot differ.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/*
 * Take VALUE ("on" when the option has none) for the option NAME into FIELD. 0
 * or -errno with text.
 */
typedef int args_take(void *field, const char *name, const char *value,
		      struct err *err);

/* One option, or one key of a list (no letter). Tables end with ARGS_END. */
struct args_opt {
	char letter;	   /* 0: none */
	const char *name;  /* without dashes; NULL: none */
	const char *value; /* what the help calls it; NULL: takes none */
	args_take *take;   /* NULL: VALUE is a list of spec->keys */
	size_t at;	   /* offset of the field in the command's struct */
	const char *help;  /* of 53 columns at most a line; NULL: not shown. A
			      key is, by its VALUE, unless that is NULL */
};

/* -o, with the keys of spec->keys. */
#define ARGS_KEYS { 'o', NULL, "KEY=VALUE,...", NULL, 0, "any of these:" }
#define ARGS_END { 0, NULL, NULL, NULL, 0, NULL }
/* Options that many commands have. */
#define ARGS_QUIET(at) { 'q', "quiet", NULL, args_flag, at, \
	"print nothing but errors" }
#define ARGS_PROGRESS(at) { 'p', "progress", NULL, args_flag, at, \
	"show progress on a terminal" }
#define ARGS_OUTPUT(at) \
	{ 0, "output", "human|json", args_output, at, \
	  "how to print (--json for short)" }, \
	{ 0, "json", NULL, args_flag, at, NULL }
/* A struct keys at AT (core/image/keys.h). */
#define ARGS_KEY_SOURCES(at) \
	{ 0, "key-file", "FILE", args_text, (at) + offsetof(struct keys, file), \
	  "the passphrase of an encrypted image" }, \
	{ 0, "key-fd", "N", args_fd, (at) + offsetof(struct keys, fd), \
	  "read it from this descriptor" }, \
	{ 0, "key-file-strip", NULL, args_flag, \
	  (at) + offsetof(struct keys, strip), \
	  "without the newline at the end" }
#define ARGS_FORMAT { 'f', "format", "qcow2", args_format, 0, \
	"accepted, since there is no other" }

/* A sub-command. */
struct args_spec {
	const char *usage; /* "create [OPTION...] IMAGE [SIZE]" */
	const char *what;  /* lines below it: what it does */
	const struct args_opt *opts;
	const struct args_opt *keys; /* of -o; NULL: none */
	const char *tail; /* lines at the end of the help; NULL: none */
	/* where the words that are no options go: char * fields */
	unsigned min_words, max_words;
	const char *wants;  /* "one image": for who gives other words */
	size_t words[2];
	/* what no single option can see; NULL: nothing */
	int (*check)(void *into, struct err *err);
};

enum { ARGS_HELPED = 1 };

/*
 * Parse ARGV, argv[0] being the sub-command's word, into the struct INTO that
 * SPEC describes; strings point into ARGV. 0; ARGS_HELPED: the help was asked
 * for and printed; -EINVAL, -ERANGE, -ENOMEM with text.
 */
int args_parse(const struct args_spec *spec, void *into, int argc, char **argv,
	       struct err *err);

/*
 * Take "key=value,key=value" apart, each as KEYS says. In a value ",," stands
 * for a comma; '-' in a key becomes '_'; a key alone has the value "on", if it
 * is one of "on|off" or of no value that the help knows. Values are gone on
 * return. COMMAND is for the text about a key that is not known.
 */
int args_list(const char *text, const struct args_opt *keys, void *into,
	      const char *command, struct err *err);

/* What tables can name; FIELD is of the type said here. */
args_take args_flag;	/* bool: true */
args_take args_on_off;	/* bool: on, off, yes, no, true, false */
args_take args_text;	/* const char *: the word itself (options only) */
args_take args_string;	/* char *: a copy, that the command frees */
args_take args_size;	/* uint64_t: bytes, as size_parse() takes them */
args_take args_fd;	/* int: an open file descriptor */
args_take args_output;	/* bool: true for json, false for human */
args_take args_format;	/* none: qcow2 and nothing else */
args_take args_backing; /* enum image_backing: dir, none, any */
args_take args_prealloc; /* enum create_prealloc: off, metadata... */

/* The index of VALUE in WORDS (ends with NULL), or -EINVAL with text. */
int args_word(const char *name, const char *value, const char *const *words,
	      struct err *err);
