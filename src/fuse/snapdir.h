/*
 * snapdir: what is shown below snapshots/: for each internal snapshot a folder
 * with disk.raw and, if it has one, vmstate, and a link @ID to it that is not
 * listed. Names: snapname.h. A snapshot without a usable name, or with that of
 * another one, is the folder @ID; without a usable id either, @@N.
 *
 * Inodes and names stay for the session and are never used again. Files are
 * read through a view (core/image/view.h), which is open while they are.
 *
 * The table is read when somebody first looks, and again by snapdir_refresh().
 */
#pragma once

#include <stdatomic.h>
#include <sys/stat.h>

#include "base/lock.h"
#include "core/image/view.h"
#include "fuse/fuselib.h"
#include "fuse/snapname.h"

struct snap;
struct snapdir_file; /* open */

struct snapdir {
	/* const after init */
	struct image *img;
	fuse_ino_t ino; /* of snapshots/ itself */
	uid_t uid;
	gid_t gid;
	mode_t file_mode, folder_mode; /* permission bits */

	struct lock reading; /* level 0: one reads the table at a time */
	struct lock lock;    /* a leaf; guards what follows and what is in it */
	bool loaded;
	struct snap **slot; /* by inode; entries stay until the end */
	size_t n, cap;
	struct snapdir_file *files; /* open ones */
	struct snap *by_key, *by_shown, *by_id; /* those that are not gone */
};

/* The first inode of a snapshot. */
#define SNAPDIR_INO 0x10000000ULL

void snapdir_init(struct snapdir *d);
void snapdir_fini(struct snapdir *d);

/* No more requests: close what programs have left open, before the image. */
void snapdir_end(struct snapdir *d);

/*
 * Read the snapshot table again. GONE (may be NULL) is called for each name that
 * is there no more, with no lock held that matters to the kernel. Not inside a
 * request of the image. -EUCLEAN, -EIO, -ENOMEM; logged.
 */
int snapdir_refresh(struct snapdir *d,
		    void (*gone)(void *arg, const char *shown), void *arg);

/* The inode of NAME in the folder PARENT, snapshots/ or one in it. -ENOENT; as
 * snapdir_refresh(). */
int snapdir_lookup(struct snapdir *d, fuse_ino_t parent, const char *name,
		   fuse_ino_t *ino);

/* -ENOENT: no such inode, or not any more. */
int snapdir_stat(struct snapdir *d, fuse_ino_t ino, struct stat *st);

/* The first entry of the folder INO at or behind *POS (from 0, without "." and
 * ".."): its name, inode and type; *POS is behind it. -ENOENT: none. */
int snapdir_entry(struct snapdir *d, fuse_ino_t ino, uint64_t *pos,
		  char name[SNAPNAME_MAX + 1], struct stat *st);

/* Where the link INO leads. -ENOENT; -EINVAL: not a link. */
int snapdir_readlink(struct snapdir *d, fuse_ino_t ino,
		     char to[SNAPNAME_MAX + 1]);

/* Id and place (to be freed with snaptable_fini()) of the snapshot with the
 * folder NAME. -ENOENT, -ENOTDIR: it is a link; as snapdir_refresh(). */
int snapdir_find(struct snapdir *d, const char *name, struct snapshot *snap);

/* -EISDIR, -ENOENT, -EUCLEAN, -EIO, -ENOMEM. */
int snapdir_open(struct snapdir *d, fuse_ino_t ino, struct snapdir_file **out);
void snapdir_close(struct snapdir_file *f);

uint64_t snapdir_size(const struct snapdir_file *f); /* bytes */
/* The disk as an image; NULL: F is a vmstate. */
struct image *snapdir_disk(const struct snapdir_file *f);
/* Read LEN bytes at OFF, inside the size. Errors of image_read(). */
int snapdir_read(struct snapdir_file *f, void *buf, size_t len, uint64_t off);
