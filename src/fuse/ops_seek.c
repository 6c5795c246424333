/* SEEK_DATA and SEEK_HOLE, by the image's mapping. */
#include <errno.h>
#include <unistd.h>

#include "fuse/ops.h"
#include "fuse/ops_tree.h"
#include "fuse/reply.h"

static bool is_data(const struct image_extent *e)
{
	return e->kind == IMAGE_EXTENT_DATA ||
	       e->kind == IMAGE_EXTENT_COMPRESSED;
}

/* The first offset >= *OFF that is data (-ENXIO: none is) or is a hole, which
 * the end is too. */
static int seek_in_image(struct image *img, bool data, uint64_t *off)
{
	struct image_extent e;
	uint64_t end;
	int rc;

	while (*off < (end = image_size(img))) {
		rc = image_map(img, *off, end - *off, &e);
		if (rc == -ERANGE)
			continue; /* it has just become smaller */
		if (rc || data == is_data(&e))
			return rc;
		*off += e.len;
	}
	*off = end;
	return data ? -ENXIO : 0;
}

/* A file of END bytes: by the mapping of IMG, or all of it is data (NULL). */
static void answer(fuse_req_t req, struct image *img, uint64_t end,
		   uint64_t off, int whence)
{
	int rc = 0;

	if (img)
		rc = seek_in_image(img, whence == SEEK_DATA, &off);
	else if (whence == SEEK_HOLE)
		off = end;
	if (rc)
		reply_status(req, rc);
	else
		fuse_reply_lseek(req, (off_t)off);
}

void ops_answer_seek(struct ops_server *s, fuse_req_t req, uint64_t off,
		     int whence, bool sent)
{
	answer(req, sent ? s->img : NULL, image_size(s->img), off, whence);
}

static void seek_disk(struct ops_server *s, fuse_req_t req, uint64_t off,
		      int whence)
{
	if (atomic_load(&s->kernel_writeback) && atomic_load(&s->writers)) {
		if (own_seek(s->own, req, off, whence))
			ops_answer_seek(s, req, off, whence, false);
		return;
	}
	ops_answer_seek(s, req, off, whence, true);
}

void ops_seek(fuse_req_t req, fuse_ino_t ino, off_t at, int whence,
	      struct fuse_file_info *fi)
{
	struct ops_server *s = fuse_req_userdata(req);
	bool disk = ino == node_disk(&s->nodes)->ino;
	struct snapdir_file *f = disk ? NULL : ops_tree_snapshot(ino, fi);
	uint64_t end;

	if ((!disk && !f) || (whence != SEEK_DATA && whence != SEEK_HOLE)) {
		reply_status(req, -EINVAL);
		return;
	}
	end = disk ? image_size(s->img) : snapdir_size(f);
	if (at < 0 || (uint64_t)at >= end)
		reply_status(req, -ENXIO);
	else if (disk)
		seek_disk(s, req, (uint64_t)at, whence);
	else
		answer(req, snapdir_disk(f), end, (uint64_t)at, whence);
}
