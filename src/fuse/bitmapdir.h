/*
 * bitmapdir: bitmaps/, where each persistent bitmap of the disk is NAME.json:
 * its extents, as "rawcow map --bitmap" prints them. Names are escaped as those
 * of snapshots (snapname.h); a name too long for a file is "@@N.json".
 *
 * Bitmaps come and go, and are looked for at each request: the kernel remembers
 * no name of them. An inode stays with its name.
 */
#pragma once

#include <sys/stat.h>

#include "base/lock.h"
#include "core/image/image.h"
#include "fuse/fuselib.h"
#include "fuse/snapname.h"
#include "fuse/textfile.h"

struct bitmapdir_name;

struct bitmapdir {
	/* const after init */
	struct image *img;
	fuse_ino_t ino; /* of the folder */
	uid_t uid;
	gid_t gid;
	mode_t file_mode;

	struct lock lock; /* a leaf; guards what follows */
	struct bitmapdir_name **name; /* by inode; kept until the end */
	size_t n, cap;
	struct bitmapdir_name *by_stored;
	uint64_t begun, done; /* how often the bitmaps were looked for */
};

/* The first inode of a bitmap; below SNAPDIR_INO. */
#define BITMAPDIR_INO 0x100000ULL

void bitmapdir_init(struct bitmapdir *d);
void bitmapdir_fini(struct bitmapdir *d);

/* The inode of the file NAME. -ENOENT; -EUCLEAN, -EIO, -ENOMEM, logged. */
int bitmapdir_lookup(struct bitmapdir *d, const char *name, fuse_ino_t *ino);

/* -ENOENT. */
int bitmapdir_stat(struct bitmapdir *d, fuse_ino_t ino, struct stat *st);

/* As snapdir_entry(). */
int bitmapdir_entry(struct bitmapdir *d, uint64_t *pos,
		    char name[SNAPNAME_MAX + 1], struct stat *st);

/* -ENOENT; -EIO: its bits mean nothing, logged; -EFBIG. */
int bitmapdir_open(struct bitmapdir *d, fuse_ino_t ino, struct textfiles *all,
		   struct textfile **out);
