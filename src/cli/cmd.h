/*
 * cmd: the sub-commands, and what all of them do alike.
 *
 * A command gets ARGV as a program would, with the sub-command's word in
 * argv[0]; a mount without the word "mount" gets the program's own argv, whose
 * argv[0] may also be mount.rawcow or mount.fuse.rawcow. It returns the exit
 * status.
 */
#pragma once

#include <stdbool.h>

#include "base/err.h"
#include "cli/args.h"
#include "core/host/hostfile.h"
#include "fuse/textfile.h"
#include "core/host/hostlock.h"

int cmd_mount(int argc, char **argv);  /* cmd_mount.c */
int cmd_umount(int argc, char **argv); /* cmd_umount.c */
int cmd_create(int argc, char **argv);
int cmd_info(int argc, char **argv);
int cmd_amend(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_rebase(int argc, char **argv);
int cmd_commit(int argc, char **argv);
int cmd_map(int argc, char **argv);
int cmd_resize(int argc, char **argv);
int cmd_snapshot(int argc, char **argv);
int cmd_bitmap(int argc, char **argv);
int cmd_status(int argc, char **argv);

/* What "info" and "status" print with --json: the files of .rawcow/ in a mount
 * (fuse/textfile.h). 0 or -errno, logged. */
int cmd_info_text(struct image *img, const struct ctl_status *st, FILE *out);
int cmd_status_text(struct image *img, const struct ctl_status *st, FILE *out);

/* args_parse() for a command. False when it is over: with the help, *STATUS 0,
 * or with a message, *STATUS 1. */
bool cmd_parse(const struct args_spec *spec, void *into, int argc, char **argv,
	       int *status);

/* Print "rawcow: IMAGE: text" on stderr, the name escaped; IMAGE may be NULL
 * when the text says which file. Returns 1. */
int cmd_fail(const char *image, const struct err *err);

/*
 * Open PATH to read and take the locks of ROLE. On a filesystem without locks
 * it is opened without. *OUT belongs to the caller. The text names the file.
 */
int cmd_open(struct hostfile **out, const char *path, enum hostlock_role role,
	     struct err *err);

/* As cmd_open() to read and write, as the only one (HOSTLOCK_IMAGE_RW). A
 * filesystem without locks is refused. */
int cmd_open_rw(struct hostfile **out, const char *path, struct err *err);

/* The folder of PATH and NAME in it; NAME itself when it is absolute. NULL: no
 * memory. The caller frees. */
char *cmd_beside(const char *path, const char *name);

/* Is NAME more than a path for QEMU ("nbd:...", "json:...")? */
bool cmd_is_url(const char *name);
