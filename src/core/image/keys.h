/*
 * keys: which passphrases the user gave, and where they come from: a file, a
 * descriptor, a systemd credential, or, for an image that needs one, a question
 * on the terminal. What "rawcow mount" and the commands share.
 */
#pragma once

#include "core/image/image.h"
#include "core/image/secret.h"

struct keys {
	const char *file;	  /* NULL: none */
	int fd;			  /* -1: none; closed by keys_load() */
	bool strip;		  /* without the newline at the end */
	const char *backing_file; /* of the images behind; NULL: the same */
	struct secret *key, *backing; /* owned; NULL: none */
};

#define KEYS_INIT { .fd = -1 }

/*
 * Get them, and put them into OPTS, which then refers to K (NULL: an image that
 * is still to be made, and a file or descriptor was given). PATH is the image:
 * it is looked at only to know whether to ask. 0 also when it needs none.
 * Call before the program goes to the background.
 */
int keys_load(struct keys *k, const char *path, struct image_opts *opts,
	      struct err *err);

/* The process that fork() made keeps them. */
void keys_keep(struct keys *k);

/* Wipe them. */
void keys_fini(struct keys *k);
