/*
 * target: one file that an image names, or that the user names in its place,
 * and how it is opened: plain paths only, and by default only below the folder
 * of the image. The policy is that of docs/security.md.
 */
#pragma once

#include "core/host/hostfile.h"
#include "core/image/image.h"

/* What to open behind an image, or beside it. */
struct target {
	const char *what;   /* "backing file" or "data file" */
	const char *option; /* by which the user can name it */
	char *name;	    /* owned */
	char *format;	    /* owned; NULL: not recorded */
	bool by_user;	    /* named by an option: no policy applies */
	enum image_backing policy;
	unsigned write; /* HOSTFILE_RDWR, or 0 */
};

/* A string of the LEN bytes at P, to be freed; NULL: no memory. */
char *target_dup(const void *p, size_t len);

/* Untrusted NAME for a message, in BUF. */
const char *target_shown(char buf[256], const char *name);

/* -EPERM with text: the policy forbids T's name, whatever it leads to. */
int target_check_name(const struct target *t, struct err *err);

/*
 * Open T, whose relative name counts from the folder of IMAGE_NAME; OPTS may
 * wrap the file. The caller closes it. -EPERM: it lies where the policy
 * forbids; errors of hostfile_open().
 */
int target_open(struct hostfile **out, const char *image_name,
		const struct target *t, const struct image_opts *opts,
		struct err *err);

/* R is why a file could not be opened with OPTS. If it can be read, but not
 * written, and the user has that choice, say so. Returns R. */
int target_offer_ro(int r, const struct image_opts *opts, struct err *err);
