#include "fuse/ops_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "fuse/order.h"
#include "fuse/reply.h"

/* Fixed names never change, those of snapshots only together with an
 * invalidation; blocks and times do, but only by requests that make the kernel
 * ask again or, with the write-back cache, that it knows itself. */
#define ENTRY_TIMEOUT 3600.0
#define ATTR_TIMEOUT 1.0

static struct ops_server *server_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static bool is_snapshot(fuse_ino_t ino)
{
	return ino >= SNAPDIR_INO;
}

static bool is_bitmap(fuse_ino_t ino)
{
	return ino >= BITMAPDIR_INO && ino < SNAPDIR_INO;
}

/* Are names in INO the snapshots'? */
static bool has_snapshots(struct ops_server *s, fuse_ino_t ino)
{
	return is_snapshot(ino) || (ino == s->nodes.snapshots && ino);
}

/* --- attributes ---------------------------------------------------------------- */

/* Is REQ a part of what the server does with its mount itself? */
static bool is_own(struct ops_server *s, fuse_req_t req)
{
	return !atomic_load(&s->nodes.ready) ||
	       own_is_calling(s->own, fuse_req_ctx(req)->pid);
}

static double attr_timeout(fuse_ino_t ino)
{
	return is_snapshot(ino) ? ENTRY_TIMEOUT : ATTR_TIMEOUT;
}

static int stat_of(struct ops_server *s, fuse_ino_t ino, struct stat *st)
{
	struct node *nd;

	if (is_snapshot(ino))
		return snapdir_stat(&s->snaps, ino, st);
	if (is_bitmap(ino))
		return bitmapdir_stat(&s->bitmaps, ino, st);
	nd = node_get(&s->nodes, ino);
	if (nd)
		node_stat(&s->nodes, nd, s->img, st);
	return nd ? 0 : -ENOENT;
}

void ops_tree_getattr(fuse_req_t req, fuse_ino_t ino,
		      struct fuse_file_info *fi)
{
	struct ops_server *s = server_of(req);
	struct stat st;
	bool own = is_own(s, req);
	int rc = stat_of(s, ino, &st);

	(void)fi;
	if (!rc && own)
		node_lend(&st);
	if (rc)
		reply_status(req, rc);
	else
		fuse_reply_attr(req, &st, own ? 0.0 : attr_timeout(ino));
}

static int set_attr(struct ops_server *s, fuse_ino_t ino,
		    const struct stat *st, int to_set)
{
	struct node *nd = node_get(&s->nodes, ino);
	int rc = 0;

	if (!nd)
		return ino >= BITMAPDIR_INO ? -EROFS : -ENOENT;
	if (to_set & FUSE_SET_ATTR_SIZE)
		rc = nd->kind == NODE_DISK ?
			     ops_set_size(s, (uint64_t)st->st_size) :
			     -EOPNOTSUPP;
	if (!rc)
		node_set(&s->nodes, nd, st, to_set);
	return rc;
}

void ops_tree_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st,
		      int to_set, struct fuse_file_info *fi)
{
	struct ops_server *s = server_of(req);
	int rc;

	if (own_is_sizing(s->own, fuse_req_ctx(req)->pid))
		to_set &= ~FUSE_SET_ATTR_SIZE;
	rc = set_attr(s, ino, st, to_set);
	if (rc)
		reply_status(req, rc);
	else
		ops_tree_getattr(req, ino, fi);
}

/* --- names ------------------------------------------------------------------------ */

static int find(struct ops_server *s, fuse_ino_t parent, const char *name,
		fuse_ino_t *ino)
{
	struct node *nd;

	if (has_snapshots(s, parent))
		return snapdir_lookup(&s->snaps, parent, name, ino);
	if (parent == s->nodes.bitmaps && parent)
		return bitmapdir_lookup(&s->bitmaps, name, ino);
	nd = node_find(&s->nodes, parent, name);
	*ino = nd ? nd->ino : 0;
	return nd ? 0 : -ENOENT;
}

/* Do names come into this folder? */
static bool changes(struct ops_server *s, fuse_ino_t ino)
{
	return has_snapshots(s, ino) || ino == s->nodes.bitmaps;
}

int ops_tree_entry(struct ops_server *s, fuse_ino_t ino,
		   struct fuse_entry_param *e)
{
	int rc;

	*e = (struct fuse_entry_param){ .ino = ino };
	rc = stat_of(s, ino, &e->attr);
	/* before that the server's own calls ask again, and get another answer */
	e->attr_timeout = atomic_load(&s->nodes.ready) ? attr_timeout(ino) : 0;
	/* a link goes with the folder it leads to, which alone is announced;
	 * bitmaps come and go unannounced */
	e->entry_timeout = S_ISLNK(e->attr.st_mode) || is_bitmap(ino) ?
				   0.0 : ENTRY_TIMEOUT;
	return rc;
}

void ops_tree_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct ops_server *s = server_of(req);
	struct fuse_entry_param e = { .entry_timeout = ENTRY_TIMEOUT };
	fuse_ino_t ino;
	int rc = find(s, parent, name, &ino);

	if (!rc)
		rc = ops_tree_entry(s, ino, &e);
	/* an inode of 0 is "no", remembered by the kernel */
	if (rc == -ENOENT && !changes(s, parent))
		rc = 0;
	if (rc)
		reply_status(req, rc);
	else
		fuse_reply_entry(req, &e);
}

void ops_tree_readlink(fuse_req_t req, fuse_ino_t ino)
{
	struct ops_server *s = server_of(req);
	char to[SNAPNAME_MAX + 1];
	int rc = is_snapshot(ino) ? snapdir_readlink(&s->snaps, ino, to) :
				    -EINVAL;

	if (rc)
		reply_status(req, rc);
	else
		fuse_reply_readlink(req, to);
}

/* --- folders ---------------------------------------------------------------------- */

void ops_tree_opendir(fuse_req_t req, fuse_ino_t ino,
		      struct fuse_file_info *fi)
{
	struct ops_server *s = server_of(req);
	struct stat st;
	int rc = stat_of(s, ino, &st);

	if (!rc && !S_ISDIR(st.st_mode))
		rc = -ENOTDIR;
	if (rc) {
		reply_status(req, rc);
		return;
	}
	fi->keep_cache = fi->cache_readdir = !changes(s, ino);
	fuse_reply_open(req, fi);
}

/* Entry *POS of the folder INO, without "." and "..". */
static int entry_of(struct ops_server *s, fuse_ino_t ino, uint64_t *pos,
		    char *name, struct stat *st)
{
	const struct node *nd;

	if (has_snapshots(s, ino))
		return snapdir_entry(&s->snaps, ino, pos, name, st);
	if (ino == s->nodes.bitmaps)
		return bitmapdir_entry(&s->bitmaps, pos, name, st);
	for (; (nd = node_get(&s->nodes, *pos + 2)); ++*pos) {
		if (nd->parent != ino)
			continue;
		++*pos;
		st->st_ino = nd->ino;
		st->st_mode = nd->kind == NODE_FOLDER ? S_IFDIR : S_IFREG;
		strcpy(name, nd->name);
		return 0;
	}
	return -ENOENT;
}

/* The entry at *OFF, the kernel's position, which moves behind it. */
static int next_entry(struct ops_server *s, fuse_ino_t ino, uint64_t *off,
		      char *name, struct stat *st)
{
	uint64_t pos = *off - 2;
	int rc;

	*st = (struct stat){ .st_ino = ino, .st_mode = S_IFDIR };
	if (*off < 2) {
		strcpy(name, (*off)++ ? ".." : ".");
		return 0;
	}
	rc = entry_of(s, ino, &pos, name, st);
	*off = pos + 2;
	return rc;
}

void ops_tree_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t from,
		      struct fuse_file_info *fi)
{
	struct ops_server *s = server_of(req);
	char name[SNAPNAME_MAX + 1], *buf = reply_buffer(size);
	uint64_t off = (uint64_t)from;
	size_t used = 0;
	struct stat st;
	int rc = buf ? 0 : -ENOMEM;

	(void)fi;
	while (!rc) {
		size_t n;

		rc = next_entry(s, ino, &off, name, &st);
		if (rc)
			break;
		n = fuse_add_direntry(req, buf + used, size - used, name, &st,
				      (off_t)off);
		if (n > size - used)
			break;
		used += n;
	}
	if (rc && rc != -ENOENT && !used)
		reply_status(req, rc);
	else
		fuse_reply_buf(req, buf, used);
}

/* --- made and removed ---------------------------------------------------------------- */

void ops_tree_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
		    mode_t mode)
{
	struct ops_server *s = server_of(req);

	(void)mode;
	if (s->readonly)
		reply_status(req, -EROFS);
	else if (parent != s->nodes.snapshots)
		reply_status(req, -EPERM);
	else
		order_mkdir(s, req, name);
}

void ops_tree_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct ops_server *s = server_of(req);

	if (s->readonly)
		reply_status(req, -EROFS);
	else if (parent != s->nodes.snapshots)
		reply_status(req, -EPERM);
	else
		order_rmdir(s, req, name);
}

/* What is there is all there can be. */
static void refuse(fuse_req_t req)
{
	reply_status(req, server_of(req)->readonly ? -EROFS : -EPERM);
}

void ops_tree_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	(void)parent;
	(void)name;
	refuse(req);
}

void ops_tree_mknod(fuse_req_t req, fuse_ino_t parent, const char *name,
		    mode_t mode, dev_t rdev)
{
	(void)parent;
	(void)name;
	(void)mode;
	(void)rdev;
	refuse(req);
}

void ops_tree_symlink(fuse_req_t req, const char *to, fuse_ino_t parent,
		      const char *name)
{
	(void)to;
	(void)parent;
	(void)name;
	refuse(req);
}

void ops_tree_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent,
		   const char *name)
{
	(void)ino;
	(void)parent;
	(void)name;
	refuse(req);
}

void ops_tree_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
		     fuse_ino_t to_parent, const char *to, unsigned flags)
{
	(void)parent;
	(void)name;
	(void)to_parent;
	(void)to;
	(void)flags;
	refuse(req);
}
