/*
 * opts_set: how the value of a mount option becomes a field of struct opts. The
 * table of options (opts_list.c) names these functions.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "fuse/opts.h"

struct opts_item;

/* Take VALUE (NULL: there was none) for the option IT. 0; -EINVAL with a text
 * that names the option and says what is allowed; -ENOMEM. */
typedef int opts_set(struct opts *o, const struct opts_item *it,
		     const char *value, struct err *err);

struct opts_word {
	const char *name;
	unsigned value;
};

struct opts_item {
	const char *name;
	opts_set *set;
	size_t at; /* field of struct opts */
	const struct opts_word *words; /* ends with a NULL name */
	uint64_t min, max;
	const char *wants; /* opts_set_text: what it calls its value */
};

/* Into the field at IT->at, which is of the type said here. */
opts_set opts_set_true;	  /* bool; takes no value */
opts_set opts_set_false;  /* bool; takes no value */
opts_set opts_set_word;	  /* an enum: one of IT->words */
opts_set opts_set_bool;	  /* bool: one of IT->words */
opts_set opts_set_number; /* unsigned: IT->min to IT->max */
opts_set opts_set_size;	  /* uint64_t: bytes of a cache */
opts_set opts_set_text;	  /* char *: a copy; not empty */

/* Into the fields of their names. */
opts_set opts_set_compress; /* a word, or none */
opts_set opts_set_uid;
opts_set opts_set_gid;
opts_set opts_set_umask;
opts_set opts_set_backing_file; /* and its format */
opts_set opts_set_snapshot;
opts_set opts_set_key_fd;
opts_set opts_set_cow;
opts_set opts_set_debug;
opts_set opts_set_rw; /* and not img.readonly */

/* The open file descriptor that TEXT names, which programs started later do not
 * get; -1: it is none. */
int opts_set_fd(const char *text);
