#include "core/admin/merge.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/seed.h"
#include "core/admin/extdata.h"
#include "core/admin/resize.h"
#include "core/admin/trim.h"
#include "core/format/qcow2.h"
#include "core/image/open.h"
#include "core/meta/l2map.h"
#include "core/meta/rolescan.h"

#define PIECE (1U << 20)

struct work {
	struct image *img;
	const struct merge_opts *opts;
	struct image *last;	   /* the image right above the base */
	struct chain_backing *base; /* behind it */
	uint8_t *buf;		   /* PIECE bytes */
	struct err *err;
};

static const char *base_name(const struct work *w)
{
	return w->base->image ? w->base->image->file->name :
				w->base->raw->name;
}

static int base_failed(const struct work *w, int r)
{
	char shown[256];
	const char *name = base_name(w);
	bool two = w->base->image && w->base->image->data_file;

	err_escape(shown, sizeof(shown), name, strlen(name));
	if (r == -ENOSPC)
		return err_set(w->err, r,
			       "no room to write to the backing file '%s'%s; nothing is lost, the image still has it all",
			       shown, two ? " or its data file" : "");
	err_set_sys(w->err, r, "cannot write to it");
	err_wrap(w->err, "backing file '%s'", shown);
	return r;
}

/* --- what the base lacks ----------------------------------------------------- */

enum what { NOTHING, ZEROES, DATA };

static enum what what_of(enum l2entry_kind kind)
{
	switch (kind) {
	case L2ENTRY_PLAIN:
	case L2ENTRY_COMPRESSED:
		return DATA;
	case L2ENTRY_ZERO_PLAIN:
	case L2ENTRY_ZERO_ALLOC:
		return ZEROES;
	case L2ENTRY_UNALLOCATED:
	case L2ENTRY_RESERVED:
		break;
	}
	return NOTHING;
}

/* What the images above the base have at OFF, the same for *LEN bytes. */
static int look(const struct work *w, uint64_t off, uint64_t *len,
		enum what *what)
{
	struct image *img = w->img;

	for (;;) {
		struct extent e;
		int r = l2map_lookup(&img->meta, off, *len, &e);

		if (r < 0)
			return r;
		*len = e.len;
		*what = what_of(e.kind);
		if (*what != NOTHING || img == w->last)
			return 0;
		img = img->backing.image;
		if (off >= image_size(img)) {
			/* it ends here, and does not show what is behind */
			*what = ZEROES;
			return 0;
		}
		*len = NUM_MIN(*len, image_size(img) - off);
	}
}

/* --- the base ------------------------------------------------------------------ */

static int put(struct work *w, const void *buf, size_t len, uint64_t off)
{
	return w->base->image ? image_write(w->base->image, buf, len, off) :
				hostfile_pwrite_full(w->base->raw, buf, len,
						     off);
}

static int put_zeroes(struct work *w, uint64_t off, uint64_t len)
{
	int r;

	if (w->base->image)
		return image_zero(w->base->image, off, len, true);
	r = hostfile_punch(w->base->raw, off, len);
	return r == -EOPNOTSUPP ? hostfile_zero(w->base->raw, off, len) : r;
}

static int copy(struct work *w, uint64_t off, uint64_t len)
{
	while (len) {
		size_t n = (size_t)NUM_MIN(len, PIECE);
		int r = image_read(w->img, w->buf, n, off);

		if (r < 0)
			return err_set_sys(w->err, r,
					   "cannot read the disk at offset %" PRIu64,
					   off);
		r = put(w, w->buf, n, off);
		if (r < 0)
			return base_failed(w, r);
		off += n;
		len -= n;
	}
	return 0;
}

static int merge_one(struct work *w, uint64_t off, uint64_t *len)
{
	enum what what;
	int r = look(w, off, len, &what);

	if (r < 0)
		return err_set_sys(w->err, r,
				   "cannot read the tables for offset %" PRIu64,
				   off);
	if (what == DATA)
		return copy(w, off, *len);
	r = what == ZEROES ? put_zeroes(w, off, *len) : 0;
	return r < 0 ? base_failed(w, r) : 0;
}

static int merge_all(struct work *w)
{
	const struct merge_opts *o = w->opts;
	uint64_t size = image_size(w->img);
	uint64_t step = NUM_MAX(size / 1000, (uint64_t)PIECE);
	uint64_t len;
	int r = 0;

	for (uint64_t off = 0; off < size && r == 0; off += len) {
		len = NUM_MIN(size - off, step);
		r = merge_one(w, off, &len);
		if (o->progress)
			o->progress(o->progress_arg,
				    (unsigned)(off / (size / 1000 + 1)));
	}
	return r;
}

/* A raw file whose last sector is cut short has the rest of it as zeroes. */
static int grow_raw(struct work *w, uint64_t size)
{
	struct host_stat st;
	int r = hostfile_stat(w->base->raw, &st);

	if (r == 0 && size > num_round_up(st.size, QCOW2_SECTOR)) {
		if (st.block_device)
			return err_set(w->err, -ENOSPC,
				       "the backing file '%s' is a device of %" PRIu64
				       " bytes, and the disk has %" PRIu64,
				       base_name(w), st.size, size);
		r = hostfile_truncate(w->base->raw, size);
	}
	return r < 0 ? base_failed(w, r) : 0;
}

static int grow_base(struct work *w)
{
	uint64_t size = image_size(w->img);
	int r;

	if (w->base->raw)
		return grow_raw(w, size);
	if (image_size(w->base->image) >= size)
		return 0;
	r = resize_image(w->base->image, size, false, w->err);
	if (r < 0)
		err_wrap(w->err, "backing file '%s'", base_name(w));
	return r;
}

/* [R9] What the image is about to lose is stable in the base. */
static int sync_base(struct work *w)
{
	int r;

	if (SEED_BUG(SEED_BASE_UNSYNCED))
		return 0;
	r = w->base->image ? writeback_all(&w->base->image->meta) :
			     hostfile_sync(w->base->raw);
	return r < 0 ? base_failed(w, r) : 0;
}

/* --- the image ------------------------------------------------------------------ */

/* Let all mappings go. [R5] What they named in a data file, which frees nothing
 * by itself, is punched when they are gone for good: until then it is the
 * disk. */
static int unmap_all(struct image *img)
{
	int r;

	if (img->data_file && SEED_BUG(SEED_DATA_PUNCH_EARLY))
		extdata_empty(img);
	r = trim_end(&img->meta, 0, img->geom.size);
	if (r == 0)
		r = writeback_all(&img->meta);
	if (r == 0 && img->data_file)
		extdata_empty(img);
	return r;
}

/* One entry after the other: whatever a crash leaves of them shows what it did,
 * from here or from the base. */
static int empty(struct work *w)
{
	static const char what[] =
		"all of it is in the backing file, but the image could not be emptied";
	struct image *img = w->img;
	int r = gate_quiesce(img);

	if (r < 0)
		return err_set_sys(w->err, r, "%s", what);
	r = state_finish_roles(img, what, w->err);
	if (r == 0) {
		r = unmap_all(img);
		if (r == 0)
			r = trim_file(&img->meta);
		if (r == 0)
			r = writeback_all(&img->meta);
		if (r < 0)
			err_set_sys(w->err, r, "%s", what);
	}
	gate_open(img);
	return r;
}

static int check(struct work *w)
{
	const char *reason;

	if (image_readonly(w->img)) {
		reason = image_readonly_reason(w->img);
		return err_set(w->err, -EROFS, "the image is not changed: %s",
			       reason ? reason : "it was opened to read");
	}
	if (w->img->meta.header.nb_snapshots)
		return err_set(w->err, -ENOTSUP,
			       "it has internal snapshots, which show the backing file where they hold nothing and would change with it; delete them first, or use 'qemu-img convert' to merge");
	if (w->base->image && image_readonly(w->base->image)) {
		reason = image_readonly_reason(w->base->image);
		return err_set(w->err, -EROFS,
			       "backing file '%s' is not changed: %s",
			       base_name(w), reason ? reason : "read-only");
	}
	return 0;
}

static int find_base(struct work *w)
{
	struct image *img = w->img;

	for (unsigned d = 1; img && d < w->opts->depth; d++)
		img = img->backing.image;
	if (!img || !img->disk.backing)
		return err_set(w->err, -EINVAL,
			       "it has no backing file, so there is nothing to commit to");
	w->last = img;
	w->base = &img->backing;
	return 0;
}

int merge_image(struct image *img, const struct merge_opts *opts,
		struct err *err)
{
	autofree uint8_t *buf = malloc(PIECE);
	struct work w = { .img = img, .opts = opts, .buf = buf, .err = err };
	int r = find_base(&w);

	if (r == 0 && !buf)
		r = err_set_sys(err, -ENOMEM, "cannot commit");
	if (r == 0)
		r = check(&w);
	if (r < 0)
		return r;
	if (SEED_BUG(SEED_EMPTIED_FIRST))
		(void)!empty(&w);
	r = grow_base(&w);
	if (r == 0)
		r = merge_all(&w);
	if (r == 0)
		r = sync_base(&w);
	else if (w.base->image) /* what was freed meanwhile shall not leak */
		(void)!writeback_all(&w.base->image->meta);
	if (r == 0 && !opts->keep)
		r = empty(&w);
	return r;
}

unsigned merge_depth(struct image *img, uint64_t dev, uint64_t ino)
{
	struct host_stat st;

	for (unsigned d = 1; img && img->disk.backing; d++) {
		struct hostfile *f = img->backing.raw;

		img = img->backing.image;
		if (img)
			f = img->file;
		if (hostfile_stat(f, &st) == 0 && st.dev == dev &&
		    st.ino == ino)
			return d;
	}
	return 0;
}
