/*
 * opts: what the user asked for, from the command line of "rawcow mount" or
 * from mount(8). Nothing is opened or mounted here.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"
#include "core/image/image.h"
#include "core/image/keys.h"

enum opts_cache {
	OPTS_CACHE_WRITEBACK,
	OPTS_CACHE_WRITETHROUGH,
	OPTS_CACHE_NONE,
	OPTS_CACHE_DIRECTSYNC,
	OPTS_CACHE_UNSAFE,
};

enum opts_action {
	OPTS_MOUNT,
	OPTS_HELP,
	OPTS_VERSION,
	OPTS_NOTHING, /* mount -f: all is well, do nothing */
};

struct opts {
	enum opts_action action;
	bool helper; /* called by mount(8): its exit codes, its letters */
	bool sloppy; /* helper: ignore options that are not known */
	char *image;	  /* absolute */
	char *mountpoint; /* absolute, no symbolic links */
	bool foreground, debug, single_thread;
	char *pidfile; /* absolute, or NULL */
	int ready_fd;  /* -1: none */

	enum opts_cache cache;
	struct image_opts img; /* its strings are those below */
	char *backing_file, *data_file, *snapshot;
	char *key_file, *backing_key_file;
	struct keys keys; /* its strings are those above */
	bool rw; /* said, and not by mount(8), which always says it */
	bool growable, shrinkable;
	unsigned idle_timeout; /* seconds; 0: none */
	bool norecovery; /* a dirty image is not repaired, and so read-only */
	bool cow;	/* writes go to an overlay */
	char *cow_file; /* absolute; NULL: one that vanishes */
	unsigned commit_interval; /* seconds */
	unsigned max_threads;
	unsigned max_read; /* bytes of a request; 0: as the kernel likes */
	bool clone_fd;
	unsigned busy_poll; /* microseconds; 0: never */
	bool nonempty;
	bool allow_other, allow_root;
	uid_t uid;
	gid_t gid;
	mode_t umask; /* taken from 0666 when has_umask */
	bool has_umask;
	char *fuse_opts; /* for libfuse: "a,b=c", escaped; may be NULL */
};

/*
 * Parse. 0, or -EINVAL with a line that names the argument at fault. OPTS is
 * filled in either case and needs opts_fini(). argv[0] decides whether mount(8)
 * is the caller (mount.rawcow, mount.fuse.rawcow).
 */
int opts_parse(struct opts *opts, int argc, char **argv, struct err *err);
void opts_fini(struct opts *opts);

/* Parse one -o list into OPTS; as opts_parse(). */
int opts_list(struct opts *opts, const char *list, struct err *err);

/* Append NAME, or NAME=VALUE, escaped, to the list for libfuse. -ENOMEM. */
int opts_pass(struct opts *opts, const char *name, const char *value);

/* The text of "rawcow mount -h". */
extern const char opts_help[];
