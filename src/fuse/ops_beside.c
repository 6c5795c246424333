/* Requests for files beside the disk: those of snapshots, and texts. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "fuse/ops_tree.h"
#include "fuse/reply.h"

/* What fi->fh is depends on the inode. */
static void *handle(const struct fuse_file_info *fi)
{
	return (void *)(uintptr_t)fi->fh;
}

struct snapdir_file *ops_tree_snapshot(fuse_ino_t ino,
				       struct fuse_file_info *fi)
{
	return ino >= SNAPDIR_INO ? handle(fi) : NULL;
}

struct text {
	struct ops_server *s;
	unsigned i;
};

static int make_text(void *arg, FILE *f)
{
	const struct text *t = arg;
	struct ctl_status st;

	ops_status(t->s, &st);
	return t->s->texts[t->i].make(t->s->img, &st, f);
}

static int open_text(struct ops_server *s, fuse_ino_t ino,
		     struct textfile **out)
{
	const struct node *nd = node_get(&s->nodes, ino);
	struct text t = { .s = s };

	if (ino >= BITMAPDIR_INO)
		return bitmapdir_open(&s->bitmaps, ino, &s->open_texts, out);
	if (!nd || nd->kind != NODE_TEXT)
		return -EISDIR;
	t.i = nd->text;
	return textfile_open(&s->open_texts, out, make_text, &t);
}

static int open_any(struct ops_server *s, fuse_ino_t ino,
		    struct fuse_file_info *fi)
{
	struct snapdir_file *f = NULL;
	struct textfile *t = NULL;
	int rc;

	if ((fi->flags & O_ACCMODE) != O_RDONLY)
		return -EROFS;
	rc = ino >= SNAPDIR_INO ? snapdir_open(&s->snaps, ino, &f) :
				  open_text(s, ino, &t);
	fi->fh = f ? (uintptr_t)f : (uintptr_t)t;
	fi->keep_cache = f != NULL;
	fi->direct_io = t != NULL;
	return rc;
}

void ops_tree_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct ops_server *s = fuse_req_userdata(req);
	int rc = open_any(s, ino, fi);

	if (rc) {
		reply_status(req, rc);
		return;
	}
#if FUSELIB_HAS(3, 11)
	fi->noflush = 1;
#endif
	ops_count_open(s, false, 1);
	/* fails when the opener was interrupted; no release follows then */
	if (fuse_reply_open(req, fi) == -ENOENT)
		ops_tree_release(s, ino, fi);
}

void ops_tree_release(struct ops_server *s, fuse_ino_t ino,
		      struct fuse_file_info *fi)
{
	ops_count_open(s, false, -1);
	if (ino >= SNAPDIR_INO)
		snapdir_close(handle(fi));
	else
		textfile_close(&s->open_texts, handle(fi));
}

static void read_snapshot(fuse_req_t req, struct snapdir_file *f, size_t len,
			  uint64_t off)
{
	uint64_t end = snapdir_size(f);
	void *buf;
	int rc;

	if (off >= end) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	len = NUM_MIN(len, end - off);
	buf = reply_buffer(len);
	rc = buf ? snapdir_read(f, buf, len, off) : -ENOMEM;
	if (!rc) {
		fuse_reply_buf(req, buf, len);
		return;
	}
	log_limited(LOG_LEVEL_ERROR, "read of a snapshot at %llu failed: %s",
		    (unsigned long long)off, strerror(-rc));
	reply_status(req, rc);
}

static void read_text(fuse_req_t req, const struct textfile *t, size_t len,
		      uint64_t off)
{
	const char *text = textfile_at(t, off, &len);
	void *buf = reply_buffer(len);

	if (!buf) {
		reply_status(req, -ENOMEM);
		return;
	}
	/* with the answer underway, another thread may release the text */
	memcpy(buf, text, len);
	fuse_reply_buf(req, buf, len);
}

void ops_tree_read(fuse_req_t req, fuse_ino_t ino, size_t len, uint64_t off,
		   struct fuse_file_info *fi)
{
	if (ino >= SNAPDIR_INO)
		read_snapshot(req, handle(fi), len, off);
	else
		read_text(req, handle(fi), len, off);
}
