#include "fuse/node.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS 1000000000LL

static int64_t now_ns(void)
{
	struct timespec t;

	/* a read of shared memory, no system call: it is on the write path */
	clock_gettime(CLOCK_REALTIME_COARSE, &t);
	return t.tv_sec * NS + t.tv_nsec;
}

static int64_t to_ns(const struct timespec *t)
{
	return t->tv_sec * NS + t->tv_nsec;
}

static struct timespec from_ns(int64_t ns)
{
	struct timespec t = { .tv_sec = ns / NS, .tv_nsec = ns % NS };

	if (t.tv_nsec < 0) {
		t.tv_nsec += NS;
		t.tv_sec--;
	}
	return t;
}

static fuse_ino_t add(struct node_table *t, enum node_kind kind,
		      const char *name, const struct node_owner *owner,
		      int64_t mtime_ns)
{
	struct node *nd = &t->nodes[t->n++];

	nd->ino = t->n;
	nd->parent = FUSE_ROOT_ID;
	nd->kind = kind;
	nd->name = name;
	nd->mode = kind == NODE_FOLDER ? owner->folder_mode : owner->file_mode;
	nd->uid = owner->uid;
	nd->gid = owner->gid;
	nd->atime_ns = nd->ctime_ns = mtime_ns;
	atomic_init(&nd->mtime_ns, mtime_ns);
	return nd->ino;
}

void node_table_init(struct node_table *t, enum node_layout layout,
		     const struct node_owner *owner, int64_t mtime_ns)
{
	lock_init(&t->lock);
	t->n = 0;
	t->snapshots = t->bitmaps = t->meta = 0;
	atomic_init(&t->ready, false);
	if (layout == NODE_LAYOUT_FOLDER)
		add(t, NODE_FOLDER, NULL, owner, mtime_ns);
	add(t, NODE_DISK, NODE_DISK_NAME, owner, mtime_ns);
	if (layout == NODE_LAYOUT_FILE)
		return;
	t->snapshots = add(t, NODE_FOLDER, NODE_SNAPSHOTS_NAME, owner,
			   mtime_ns);
	t->bitmaps = add(t, NODE_FOLDER, NODE_BITMAPS_NAME, owner, mtime_ns);
	t->meta = add(t, NODE_FOLDER, NODE_META_NAME, owner, mtime_ns);
	/* nothing is made or removed there */
	t->nodes[t->bitmaps - 1].mode &= ~0222U;
	t->nodes[t->meta - 1].mode &= ~0222U;
}

void node_add_text(struct node_table *t, unsigned i, const char *name,
		   const struct node_owner *owner, int64_t mtime_ns)
{
	struct node *nd = &t->nodes[t->n];

	if (!t->meta || t->n >= NODE_MAX)
		return;
	add(t, NODE_TEXT, name, owner, mtime_ns);
	nd->parent = t->meta;
	nd->mode &= ~0222U;
	nd->text = i;
}

void node_table_fini(struct node_table *t)
{
	lock_fini(&t->lock);
}

struct node *node_disk(struct node_table *t)
{
	/* alone, or after the folder that it is in */
	return &t->nodes[t->nodes[0].kind == NODE_DISK ? 0 : 1];
}

struct node *node_get(struct node_table *t, fuse_ino_t ino)
{
	return ino >= 1 && ino <= t->n ? &t->nodes[ino - 1] : NULL;
}

struct node *node_find(struct node_table *t, fuse_ino_t parent,
		       const char *name)
{
	for (unsigned i = 1; i < t->n; i++)
		if (t->nodes[i].parent == parent &&
		    !strcmp(t->nodes[i].name, name))
			return &t->nodes[i];
	return NULL;
}

static void stat_locked(struct node *nd, struct stat *st)
{
	st->st_mode = (nd->kind == NODE_FOLDER ? S_IFDIR : S_IFREG) | nd->mode;
	st->st_uid = nd->uid;
	st->st_gid = nd->gid;
	st->st_atim = from_ns(nd->atime_ns);
	st->st_mtim = from_ns(atomic_load(&nd->mtime_ns));
	st->st_ctim = from_ns(nd->ctime_ns > atomic_load(&nd->mtime_ns) ?
			      nd->ctime_ns : atomic_load(&nd->mtime_ns));
}

void node_stat(struct node_table *t, struct node *nd, struct image *img,
	       struct stat *st)
{
	*st = (struct stat){ .st_ino = nd->ino };
	lock_take(&t->lock);
	stat_locked(nd, st);
	lock_drop(&t->lock);
	st->st_nlink = nd->kind == NODE_FOLDER ? 2 : 1;
	if (nd->kind == NODE_DISK) {
		st->st_size = (off_t)image_size(img);
		st->st_blocks = (blkcnt_t)image_blocks(img);
	}
	st->st_blksize = 4096;
}

void node_lend(struct stat *st)
{
	st->st_uid = geteuid();
	st->st_gid = getegid();
	st->st_mode |= S_IRUSR | S_IWUSR;
	if (S_ISDIR(st->st_mode))
		st->st_mode |= S_IXUSR;
}

static void set_locked(struct node *nd, const struct stat *st, int to_set)
{
	int64_t now = now_ns();

	if (to_set & FUSE_SET_ATTR_MODE)
		nd->mode = st->st_mode & 07777;
	if (to_set & FUSE_SET_ATTR_UID)
		nd->uid = st->st_uid;
	if (to_set & FUSE_SET_ATTR_GID)
		nd->gid = st->st_gid;
	if (to_set & FUSE_SET_ATTR_ATIME_NOW)
		nd->atime_ns = now;
	else if (to_set & FUSE_SET_ATTR_ATIME)
		nd->atime_ns = to_ns(&st->st_atim);
	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		atomic_store(&nd->mtime_ns, now);
	else if (to_set & FUSE_SET_ATTR_MTIME)
		atomic_store(&nd->mtime_ns, to_ns(&st->st_mtim));
	nd->ctime_ns = to_set & FUSE_SET_ATTR_CTIME ? to_ns(&st->st_ctim) : now;
}

void node_set(struct node_table *t, struct node *nd, const struct stat *st,
	      int to_set)
{
	lock_take(&t->lock);
	set_locked(nd, st, to_set);
	lock_drop(&t->lock);
}

void node_touch(struct node *nd)
{
	atomic_store_explicit(&nd->mtime_ns, now_ns(), memory_order_relaxed);
}
