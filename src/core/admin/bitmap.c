#include "core/admin/bitmap.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/num.h"
#include "base/seed.h"
#include "core/format/qcow2.h"
#include "core/image/bitmapbits.h"
#include "core/image/bitmapread.h"
#include "core/image/bitmapstore.h"
#include "core/image/open.h"

/* One operation on one bitmap. */
struct work {
	struct image *img;
	struct bitmaplist *list;
	struct bitmap *b;
	size_t i; /* of b in the list */
	const char *name;
	struct err *err;
};

static int begin(struct work *w, struct image *img, const char *name,
		 struct err *err)
{
	int r;

	*w = (struct work){ .img = img, .list = &img->bitmaps.list,
			    .name = name, .err = err };
	if (image_readonly_reason(img))
		return err_set(err, -EROFS, "the image is not changed: %s",
			       image_readonly_reason(img));
	if (img->bitmaps.why.text[0])
		return err_set(err, -EUCLEAN, "%s", img->bitmaps.why.text);
	if (img->header.version < 3)
		return err_set(err, -ENOTSUP,
			       "images of version 2 (compat 0.10) cannot hold bitmaps");
	r = gate_quiesce(img);
	return r < 0 ? err_set_sys(err, r, "cannot change bitmaps") : 0;
}

/* ... on a bitmap that is there. */
static int begin_with(struct work *w, struct image *img, const char *name,
		      struct err *err)
{
	int r = begin(w, img, name, err);

	if (r < 0)
		return r;
	r = bitmaplist_find(w->list, name, &w->i, err);
	if (r < 0)
		gate_open(img);
	else
		w->b = &w->list->b[w->i];
	return r;
}

/* ... whose bits are of use. */
static int begin_valid(struct work *w, struct image *img, const char *name,
		       struct err *err)
{
	const char *why;
	int r = begin_with(w, img, name, err);

	if (r < 0)
		return r;
	why = bitmaps_invalid(w->b);
	if (!why)
		return 0;
	gate_open(img);
	return err_set(err, -ENOTSUP,
		       "the bitmap can only be removed ('rawcow bitmap --remove'): %s",
		       why);
}

static int end(struct work *w, int r)
{
	if (w->b)
		bitmaps_release(w->b);
	gate_open(w->img);
	return r;
}

static int put(struct work *w)
{
	return bitmapstore_put(w->img, NULL, w->err);
}

/* --- add ---------------------------------------------------------------------- */

static int check_add(struct work *w, uint64_t granularity)
{
	size_t len = strlen(w->name);
	size_t i;

	if (!len || len > BITMAPDIR_NAME_MAX)
		return err_set(w->err, -EINVAL,
			       "a bitmap's name has 1 to %u bytes",
			       BITMAPDIR_NAME_MAX);
	if (bitmaplist_find(w->list, w->name, &i, NULL) == 0)
		return err_set(w->err, -EEXIST,
			       "there is a bitmap of that name already");
	if (w->list->n >= QCOW2_MAX_BITMAPS)
		return err_set(w->err, -EMFILE,
			       "there are %u bitmaps, as many as there can be; remove some",
			       QCOW2_MAX_BITMAPS);
	if (!num_is_pow2(granularity) ||
	    granularity < 1ULL << BITMAPDIR_GRANULARITY_MIN ||
	    granularity > 1ULL << BITMAPDIR_GRANULARITY_MAX)
		return err_set(w->err, -EINVAL,
			       "granularity %" PRIu64 " is not a power of two from 512 to 2147483648",
			       granularity);
	if (bitmapdir_bytes(w->img->geom.size,
			    (unsigned)__builtin_ctzll(granularity)) >
	    BITMAPDIR_DATA_MAX)
		return err_set(w->err, -EFBIG,
			       "the bitmap would be larger than 512 MiB; use a larger granularity");
	return 0;
}

static int add(struct work *w, uint64_t granularity)
{
	struct bitmapdir_entry e = {
		.flags = BITMAPDIR_AUTO,
		.type = BITMAPDIR_TYPE_DIRTY,
		.granularity_bits = (uint8_t)__builtin_ctzll(granularity),
		.name_len = (uint16_t)strlen(w->name),
		.name = w->name,
	};
	int r;

	if (bitmaplist_add(w->list, &e) < 0)
		return err_set(w->err, -ENOMEM, "no memory for a bitmap");
	w->i = w->list->n - 1;
	w->b = &w->list->b[w->i];
	r = bitmaps_blank(w->img, w->b, w->err);
	if (r == 0) {
		bitmaps_track(w->img, w->b, true);
		r = put(w);
	}
	if (r < 0) {
		bitmaps_track(w->img, w->b, false);
		bitmaplist_drop(w->list, w->i);
		w->b = NULL;
	}
	return r;
}

int bitmap_add(struct image *img, const char *name, uint64_t granularity,
	       struct err *err)
{
	struct work w;
	int r = begin(&w, img, name, err);

	if (r < 0)
		return r;
	if (!granularity)
		granularity = NUM_MAX(4096U, NUM_MIN(img->geom.cluster_size,
						     65536U));
	r = check_add(&w, granularity);
	return end(&w, r < 0 ? r : add(&w, granularity));
}

/* --- remove ------------------------------------------------------------------- */

int bitmap_remove(struct image *img, const char *name, struct err *err)
{
	struct work w;
	int r = begin_with(&w, img, name, err);

	if (r < 0)
		return r;
	r = bitmapstore_put(img, w.b, err);
	if (r == 0) {
		bitmaps_track(img, w.b, false);
		bitmaplist_drop(w.list, w.i);
		w.b = NULL;
	}
	return end(&w, r);
}

/* --- clear -------------------------------------------------------------------- */

int bitmap_clear(struct image *img, const char *name, struct err *err)
{
	_Atomic uint64_t *before;
	struct work w;
	bool changed;
	int r = begin_valid(&w, img, name, err);

	if (r < 0)
		return r;
	before = w.b->words;
	changed = atomic_load(&w.b->changed);
	w.b->words = NULL;
	r = bitmaps_blank(img, w.b, err);
	if (r == 0 && !SEED_BUG(SEED_BITMAP_CLEAR_LATE))
		r = put(&w);
	if (r < 0) {
		free(w.b->words);
		w.b->words = before;
		atomic_store(&w.b->changed, changed);
	} else {
		free(before);
	}
	return end(&w, r);
}

/* --- enable, disable ----------------------------------------------------------- */

static int set_auto(struct work *w, bool on)
{
	uint32_t before = w->b->e.flags;
	int r = on ? bitmaps_hold(w->img, w->b, w->err) : 0;

	if (r < 0)
		return r;
	w->b->e.flags = on ? before | BITMAPDIR_AUTO : before & ~BITMAPDIR_AUTO;
	bitmaps_track(w->img, w->b, on);
	/* bits and flag at once: what is not in use any more is right [R10] */
	r = SEED_BUG(SEED_BITMAP_DISABLE_BARE) && !on
		    ? bitmapstore_put_flags(w->img, false)
		    : put(w);
	if (r < 0) {
		w->b->e.flags = before;
		bitmaps_track(w->img, w->b, !on);
	}
	return r;
}

int bitmap_enable(struct image *img, const char *name, struct err *err)
{
	struct work w;
	int r = begin_valid(&w, img, name, err);

	if (r < 0)
		return r;
	return end(&w, w.b->e.flags & BITMAPDIR_AUTO ? 0 : set_auto(&w, true));
}

int bitmap_disable(struct image *img, const char *name, struct err *err)
{
	struct work w;
	int r = begin_valid(&w, img, name, err);

	if (r < 0)
		return r;
	return end(&w, w.b->e.flags & BITMAPDIR_AUTO ? set_auto(&w, false) : 0);
}

/* --- merge -------------------------------------------------------------------- */

/* Make [START, START + LEN) of the disk dirty in the bitmap of W. */
static int merge_extent(void *arg, uint64_t start, uint64_t len, bool dirty)
{
	struct work *w = arg;
	unsigned bits = w->b->e.granularity_bits;
	uint64_t first = start >> bits;

	if (dirty && bitmapbits_set(w->b->words, first,
				    ((start + len - 1) >> bits) - first + 1) &&
	    !SEED_BUG(SEED_BITMAP_MERGE_LOST))
		atomic_store(&w->b->changed, true);
	return 0;
}

/* Runs of a bitmap of the same image. */
struct merging {
	struct work *w;
	unsigned bits;
};

static int merge_run(void *arg, uint64_t bit, uint64_t n, bool set)
{
	const struct merging *m = arg;
	uint64_t size = m->w->img->geom.size;
	uint64_t start = bit << m->bits;
	uint64_t end = NUM_MIN(size, (bit + n) << m->bits);

	return start < end ? merge_extent(m->w, start, end - start, set) : 0;
}

static int merge_own(struct work *w, const char *from)
{
	struct merging m = { .w = w };
	const char *why;
	size_t i;
	int r = bitmaplist_find(w->list, from, &i, w->err);

	if (r < 0)
		return r;
	why = bitmaps_invalid(&w->list->b[i]);
	if (why)
		return err_set(w->err, -ENOTSUP,
			       "the bitmap to merge says nothing: %s", why);
	if (i == w->i)
		return 0;
	m.bits = w->list->b[i].e.granularity_bits;
	return bitmapread_each(w->img, &w->list->b[i], merge_run, &m, w->err);
}

static int merge_other(struct work *w, struct image *source, const char *from)
{
	if (image_size(source) != w->img->geom.size)
		return err_set(w->err, -EINVAL,
			       "the disks differ in size: %" PRIu64
			       " bytes here, %" PRIu64 " in the source",
			       w->img->geom.size, image_size(source));
	return image_bitmap_extents(source, from, merge_extent, w, w->err);
}

int bitmap_merge(struct image *img, const char *name, struct image *source,
		 const char *from, struct err *err)
{
	struct work w;
	int r = begin_valid(&w, img, name, err);

	if (r < 0)
		return r;
	r = bitmaps_hold(img, w.b, err);
	if (r == 0)
		r = source == img ? merge_own(&w, from) :
				    merge_other(&w, source, from);
	/* on error a tracked bitmap may say too much, which is no harm */
	return end(&w, r < 0 ? r : put(&w));
}
