#include "fuse/ops.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/log.h"
#include "base/num.h"
#include "core/admin/resize.h"
#include "fuse/ops_tree.h"
#include "fuse/order.h"
#include "fuse/reply.h"

_Static_assert(OPS_MESSAGE_HEAD == sizeof(struct fuse_in_header) +
					   sizeof(struct fuse_write_in),
	       "a WRITE");

static struct ops_server *server_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

static struct node *disk_of(struct ops_server *s, fuse_ino_t ino)
{
	struct node *nd = node_get(&s->nodes, ino);

	return nd && nd->kind == NODE_DISK ? nd : NULL;
}

static void complain(const char *what, uint64_t len, uint64_t off, int rc)
{
	if (rc < 0 && rc != -EROFS)
		log_limited(LOG_LEVEL_ERROR,
			    "%s of %llu bytes at %llu failed: %s", what,
			    (unsigned long long)len, (unsigned long long)off,
			    strerror(-rc));
}

static bool want(struct fuse_conn_info *conn, unsigned cap, bool on)
{
	if (on && (conn->capable & cap)) {
		conn->want |= cap;
		return true;
	}
	conn->want &= ~cap;
	return false;
}

static void op_init(void *arg, struct fuse_conn_info *conn)
{
	struct ops_server *s = arg;

	atomic_store(&s->kernel_writeback,
		     want(conn, FUSE_CAP_WRITEBACK_CACHE, s->writeback));
	want(conn, FUSE_CAP_ASYNC_READ, true);
	want(conn, FUSE_CAP_ASYNC_DIO, true);
	want(conn, FUSE_CAP_PARALLEL_DIROPS, true);
	/* nobody else writes the disk: pages stay valid until we say so */
	want(conn, FUSE_CAP_AUTO_INVAL_DATA, false);
	want(conn, FUSE_CAP_EXPLICIT_INVAL_DATA, true);
	/* open(O_TRUNC) is a change of size, and refused as such */
	want(conn, FUSE_CAP_ATOMIC_O_TRUNC, false);
	want(conn, FUSE_CAP_HANDLE_KILLPRIV, false);
	/* no faster than a buffer that the thread keeps */
	want(conn, FUSE_CAP_SPLICE_READ, false);
	want(conn, FUSE_CAP_SPLICE_WRITE, false);
	want(conn, FUSE_CAP_SPLICE_MOVE, false);
	conn->max_read = s->max_read;
	conn->max_write = OPS_WRITE_MAX;
	conn->time_gran = 1;
}

/* Resizing to SIZE has come to RC. What fails when the size is right, a bitmap
 * that is lost, is for the log only: the kernel must have that size. */
static int resized(struct ops_server *s, uint64_t size, int rc,
		   const struct err *err)
{
	if (!rc)
		return 0;
	log_limited(LOG_LEVEL_ERROR, "%s", err->text);
	return image_size(s->img) == size && !image_failed(s->img) ? 0 : rc;
}

/* What lies behind the new end is lost. Not all of it: an open() that only meant
 * to empty a file, as ">" of a shell does, would destroy the disk. */
static int shrink(struct ops_server *s, uint64_t size)
{
	struct err err = { "" };
	int rc;

	if (s->readonly)
		return -EROFS;
	if (!size)
		return -EOPNOTSUPP;
	rc = resize_image(s->img, size, true, &err);
	return resized(s, size, rc, &err);
}

/* Make the image larger, for whoever writes or truncates behind its end. */
static int grow(struct ops_server *s, uint64_t size)
{
	struct err err = { "" };
	int rc;

	if (s->readonly)
		return -EROFS;
	rc = resize_image(s->img, size, false, &err);
	if (rc == -EINVAL && image_size(s->img) >= size)
		return 0; /* another request has just made it as large */
	return resized(s, size, rc, &err);
}

int ops_set_size(struct ops_server *s, uint64_t size)
{
	uint64_t now = image_size(s->img);

	if (size == now)
		return 0;
	if (!(size < now ? s->shrinkable : s->growable))
		return -EOPNOTSUPP;
	if (size % 512) /* a disk has whole sectors */
		return -EINVAL;
	return size < now ? shrink(s, size) : grow(s, size);
}

static int64_t seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

void ops_note_use(struct ops_server *s)
{
	atomic_store(&s->used, seconds_now());
}

void ops_count_open(struct ops_server *s, bool write, int by)
{
	/* first: who sees no file open must see since when [ops_idle_seconds] */
	ops_note_use(s);
	atomic_fetch_add(&s->opens, (unsigned)by);
	if (write)
		atomic_fetch_add(&s->writers, (unsigned)by);
}

uint64_t ops_idle_seconds(struct ops_server *s)
{
	return atomic_load(&s->opens) ?
		       0 :
		       (uint64_t)(seconds_now() - atomic_load(&s->used));
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct ops_server *s = server_of(req);
	bool write = (fi->flags & O_ACCMODE) != O_RDONLY;

	if (!disk_of(s, ino)) {
		ops_tree_open(req, ino, fi);
		return;
	}
	if (write && s->readonly) {
		reply_status(req, -EROFS);
		return;
	}
	fi->keep_cache = 1;
	fi->direct_io = s->direct_io;
#if FUSELIB_HAS(3, 11)
	fi->noflush = !write;
#endif
#if FUSELIB_HAS(3, 15)
	fi->parallel_direct_writes = 1;
#endif
	fi->fh = write;
	ops_count_open(s, write, 1);
	/* fails when the opener was interrupted; no release follows then */
	if (fuse_reply_open(req, fi) == -ENOENT)
		ops_count_open(s, write, -1);
}

static void op_release(fuse_req_t req, fuse_ino_t ino,
		       struct fuse_file_info *fi)
{
	struct ops_server *s = server_of(req);

	if (disk_of(s, ino))
		ops_count_open(s, fi->fh, -1);
	else
		ops_tree_release(s, ino, fi);
	reply_status(req, 0);
}

/* How much of LEN bytes at OFF is inside the disk? */
static uint64_t inside(struct ops_server *s, uint64_t off, uint64_t len)
{
	uint64_t end = image_size(s->img);

	return off < end ? NUM_MIN(len, end - off) : 0;
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t len, off_t at,
		    struct fuse_file_info *fi)
{
	struct ops_server *s = server_of(req);
	uint64_t off = (uint64_t)at;
	size_t n;
	void *buf;
	int rc;

	if (!disk_of(s, ino)) {
		ops_tree_read(req, ino, len, off, fi);
		return;
	}
	buf = reply_buffer(len);
	do { /* again, if the disk becomes smaller meanwhile */
		n = inside(s, off, len);
		rc = !n ? 0 : buf ? image_read(s->img, buf, n, off) : -ENOMEM;
	} while (rc == -ERANGE);
	complain("read", n, off, rc);
	if (rc)
		reply_status(req, rc);
	else
		fuse_reply_buf(req, buf, n);
}

/* A disk has whole sectors, also if the kernel believes to know the size. */
static void grow_to_write(struct ops_server *s, uint64_t end)
{
	if (!grow(s, end) && end % 512 && atomic_load(&s->kernel_writeback))
		order_widen(s);
}

/* The kernel does not try it again: who wrote that may hear of it, or not. */
static void note_lost(struct ops_server *s, const struct fuse_file_info *fi,
		      int rc)
{
	if (fi->writepage)
		atomic_store(&s->lost, rc);
}

int ops_fetch(struct ops_server *s)
{
	int rc = 0;

	/* the last close of a file has sent its pages */
	if (atomic_load(&s->kernel_writeback) && atomic_load(&s->writers))
		rc = fuse_lowlevel_notify_inval_inode(
			s->se, node_disk(&s->nodes)->ino, 0, 0);
	return rc && rc != -ENOENT ? rc : atomic_exchange(&s->lost, 0);
}

/* A write that starts at or past the end, or none at all. */
static void write_outside(struct ops_server *s, fuse_req_t req, size_t len,
			  const struct fuse_file_info *fi)
{
	if (len == 0) {
		fuse_reply_write(req, 0);
		return;
	}
	if (fi->writepage)
		order_fix_size(s);
	note_lost(s, fi, -ENOSPC);
	reply_status(req, -ENOSPC);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf,
		     size_t len, off_t at, struct fuse_file_info *fi)
{
	struct ops_server *s = server_of(req);
	uint64_t off = (uint64_t)at;
	size_t n;
	int rc;

	if (s->growable && off + len > image_size(s->img))
		grow_to_write(s, off + len);
	do { /* again, if the disk becomes smaller meanwhile */
		n = inside(s, off, len);
		rc = image_write(s->img, buf, n, off);
	} while (rc == -ERANGE);
	if (!n) {
		write_outside(s, req, len, fi);
		return;
	}
	if (!rc && (s->flush_each_write || (fi->flags & O_DSYNC)))
		rc = image_flush(s->img);
	complain("write", n, off, rc);
	if (rc) {
		note_lost(s, fi, rc);
		reply_status(req, rc);
		return;
	}
	node_touch(node_get(&s->nodes, ino));
	if (n < len && fi->writepage)
		/* the program was told long ago that all was written */
		write_outside(s, req, len, fi);
	else
		fuse_reply_write(req, n);
}

static void flush(fuse_req_t req)
{
	int rc = image_flush(server_of(req)->img);

	if (rc)
		log_limited(LOG_LEVEL_ERROR, "commit failed: %s",
			    strerror(-rc));
	reply_status(req, rc);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino,
		     struct fuse_file_info *fi)
{
	if (fi->fh && disk_of(server_of(req), ino))
		flush(req);
	else
		reply_status(req, 0);
}

static void op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
		     struct fuse_file_info *fi)
{
	(void)ino;
	(void)datasync;
	(void)fi;
	flush(req);
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t at,
			 off_t length, struct fuse_file_info *fi)
{
	struct ops_server *s = server_of(req);
	uint64_t off = (uint64_t)at;
	uint64_t len;
	bool punch = mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
	bool keep = mode & FALLOC_FL_KEEP_SIZE;
	int rc;

	if (own_is_sizing(s->own, fuse_req_ctx(req)->pid)) {
		/* or another one has made it smaller again */
		reply_status(req, off + (uint64_t)length > image_size(s->img) ?
					  -EFBIG : 0);
		return;
	}
	/* room for later writes is not promised, so it is not pretended */
	if (!punch && (mode & ~FALLOC_FL_KEEP_SIZE) != FALLOC_FL_ZERO_RANGE) {
		reply_status(req, -EOPNOTSUPP);
		return;
	}
	if (!keep && !num_range_inside(off, (uint64_t)length,
				       image_size(s->img))) {
		reply_status(req, -EFBIG);
		return;
	}
	do {
		len = inside(s, off, (uint64_t)length);
		rc = image_zero(s->img, off, len, punch);
	} while (rc == -ERANGE);
	if (!rc && len && (s->flush_each_write || (fi->flags & O_DSYNC)))
		rc = image_flush(s->img);
	complain(punch ? "discard" : "zeroing", len, off, rc);
	if (!rc && len)
		node_touch(node_get(&s->nodes, ino));
	reply_status(req, rc);
}

/* The room that is left is the host's: "df" tells how far writing can go. */
static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct ops_server *s = server_of(req);
	int fd = hostfile_fd(image_file(s->img));
	struct statvfs st = { .f_bsize = 4096, .f_frsize = 4096 };

	(void)ino;
	if (fd >= 0 && fstatvfs(fd, &st) < 0) {
		reply_status(req, -errno);
		return;
	}
	st.f_files = s->nodes.n;
	st.f_ffree = st.f_favail = 0;
	st.f_namemax = 255;
	fuse_reply_statfs(req, &st);
}

void ops_server_init(struct ops_server *s)
{
	ctl_init(&s->ctl);
	snapdir_init(&s->snaps);
	bitmapdir_init(&s->bitmaps);
	textfile_init(&s->open_texts);
	atomic_init(&s->kernel_writeback, false);
	atomic_init(&s->writers, 0);
	atomic_init(&s->opens, 0);
	atomic_init(&s->used, 0);
	atomic_init(&s->fixing_size, false);
	atomic_init(&s->lost, 0);
}

void ops_server_fini(struct ops_server *s)
{
	textfile_fini(&s->open_texts);
	bitmapdir_fini(&s->bitmaps);
	snapdir_fini(&s->snaps);
	ctl_fini(&s->ctl);
}

const struct fuse_lowlevel_ops ops_table = {
	.init = op_init,
	.lookup = ops_tree_lookup,
	.getattr = ops_tree_getattr,
	.setattr = ops_tree_setattr,
	.opendir = ops_tree_opendir,
	.readdir = ops_tree_readdir,
	.readlink = ops_tree_readlink,
	.mkdir = ops_tree_mkdir,
	.rmdir = ops_tree_rmdir,
	.unlink = ops_tree_unlink,
	.mknod = ops_tree_mknod,
	.symlink = ops_tree_symlink,
	.link = ops_tree_link,
	.rename = ops_tree_rename,
	.fsyncdir = op_fsync,
	.open = op_open,
	.release = op_release,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.fsync = op_fsync,
	.fallocate = op_fallocate,
	.lseek = ops_seek,
	.statfs = op_statfs,
	.ioctl = ops_ioctl,
};
