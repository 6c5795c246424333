/*
 * node: the fixed files and folders of a mount and their attributes. The table
 * is made at mount; mode, owner and times can be changed and live in memory
 * only. What is in snapshots/ comes and goes: snapdir.h.
 */
#pragma once

#include <stdatomic.h>
#include <sys/stat.h>

#include "base/lock.h"
#include "core/image/image.h"
#include "fuse/fuselib.h"

enum node_layout {
	NODE_LAYOUT_FILE,   /* the mount point is the disk */
	NODE_LAYOUT_FOLDER, /* the disk is disk.raw in it, beside others */
};

enum node_kind { NODE_FOLDER, NODE_DISK, NODE_TEXT };

#define NODE_DISK_NAME "disk.raw"
#define NODE_SNAPSHOTS_NAME "snapshots"
#define NODE_BITMAPS_NAME "bitmaps"
#define NODE_META_NAME ".rawcow"

struct node {
	fuse_ino_t ino, parent;
	enum node_kind kind;
	const char *name;
	unsigned text; /* NODE_TEXT: which one */
	/* guarded by the table's lock */
	mode_t mode; /* permission bits */
	uid_t uid;
	gid_t gid;
	int64_t atime_ns, ctime_ns;
	/* set by each write without a lock */
	_Atomic int64_t mtime_ns;
};

#define NODE_MAX 12

struct node_table {
	struct lock lock;
	struct node nodes[NODE_MAX];
	unsigned n;
	/* folders; 0: there is none */
	fuse_ino_t snapshots, bitmaps, meta;
	/* Until the server is ready everything is its own [node_lend]. */
	atomic_bool ready;
};

struct node_owner {
	uid_t uid;
	gid_t gid;
	mode_t file_mode, folder_mode;
};

void node_table_init(struct node_table *t, enum node_layout layout,
		     const struct node_owner *owner, int64_t mtime_ns);
/* Put text file number I, NAME (kept), into the folder .rawcow, if the layout
 * has one and there is room. */
void node_add_text(struct node_table *t, unsigned i, const char *name,
		   const struct node_owner *owner, int64_t mtime_ns);
void node_table_fini(struct node_table *t);

/* The disk file. */
struct node *node_disk(struct node_table *t);

/* NULL: no such inode; no such name in the folder PARENT. */
struct node *node_get(struct node_table *t, fuse_ino_t ino);
struct node *node_find(struct node_table *t, fuse_ino_t parent,
		       const char *name);

/* Attributes of ND; IMG gives size and blocks of the disk. */
void node_stat(struct node_table *t, struct node *nd, struct image *img,
	       struct stat *st);

/* Make ST the server's own, whatever owner and mode the user chose: for its own
 * calls. */
void node_lend(struct stat *st);

/* Take from ST what TO_SET (FUSE_SET_ATTR_*) names, but not the size. */
void node_set(struct node_table *t, struct node *nd, const struct stat *st,
	      int to_set);

/* The disk was written. */
void node_touch(struct node *nd);
