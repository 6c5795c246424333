#include "core/image/bitmaps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/num.h"
#include "base/seed.h"
#include "core/image/bitmapbits.h"
#include "core/image/bitmapread.h"
#include "core/image/bitmapstore.h"
#include "core/image/open.h"

/* What a person may call it. */
#define SAFE_NAME 128

static const char *safe_name(char out[SAFE_NAME], const struct bitmap *b)
{
	return err_escape(out, SAFE_NAME, b->e.name, b->e.name_len);
}

const char *bitmaps_invalid(const struct bitmap *b)
{
	if (b->e.flags & BITMAPDIR_IN_USE)
		return "it was not stored when the image was last written, so it misses changes";
	if (b->broken)
		return "its table has an invalid entry";
	return bitmapdir_unusable(&b->e);
}

/* --- in memory -------------------------------------------------------------------- */

/* Is there memory for B, if the disk has SIZE bytes? */
static int check_memory(struct image *img, const struct bitmap *b,
			uint64_t size, struct err *err)
{
	const struct bitmaplist *list = &img->bitmaps.list;
	uint64_t sum = bitmapdir_bytes(size, b->e.granularity_bits);

	for (size_t i = 0; i < list->n && sum <= BITMAPS_MEMORY_MAX; i++)
		if (list->b[i].words && &list->b[i] != b)
			sum += bitmapdir_bytes(size,
					       list->b[i].e.granularity_bits);
	if (sum <= BITMAPS_MEMORY_MAX)
		return 0;
	return err_set(err, -ENOMEM,
		       "the bits of all bitmaps would need more than %llu MiB of memory",
		       BITMAPS_MEMORY_MAX >> 20);
}

int bitmaps_hold(struct image *img, struct bitmap *b, struct err *err)
{
	int r;

	if (b->words)
		return 0;
	r = check_memory(img, b, img->geom.size, err);
	return r < 0 ? r : bitmapread_load(img, b, err);
}

int bitmaps_blank(struct image *img, struct bitmap *b, struct err *err)
{
	uint64_t bits = bitmapdir_bits(img->geom.size, b->e.granularity_bits);
	int r = check_memory(img, b, img->geom.size, err);

	if (r < 0)
		return r;
	b->words = bitmapbits_new(bits);
	if (!b->words)
		return err_set(err, -ENOMEM, "no memory for a bitmap");
	b->bits = bits;
	atomic_store(&b->changed, true);
	return 0;
}

void bitmaps_release(struct bitmap *b)
{
	if (b->tracked)
		return;
	free(b->words);
	b->words = NULL;
}

void bitmaps_track(struct image *img, struct bitmap *b, bool on)
{
	struct bitmaps *bs = &img->bitmaps;

	if (bs->deferred || b->tracked == on)
		return;
	b->tracked = on;
	bs->tracked += on ? 1 : (size_t)-1;
	bs->in_use = bs->tracked > 0;
}

/* --- opening ----------------------------------------------------------------------- */

static int track_one(struct image *img, struct bitmap *b, struct err *err)
{
	const char *why = bitmapdir_unusable(&b->e);
	char safe[SAFE_NAME];
	int r = why ? err_set(err, -ENOTSUP, "%s", why) :
		      bitmaps_hold(img, b, err);

	if (r < 0) {
		err_wrap(err, "its bitmap '%s' could not be kept right",
			 safe_name(safe, b));
		return r;
	}
	b->tracked = true;
	img->bitmaps.tracked++;
	return 0;
}

int bitmaps_open(struct image *img, const struct headerext_list *ext,
		 bool defer, struct err *err)
{
	struct bitmaps *bs = &img->bitmaps;
	struct host_stat st;
	int r = hostfile_stat(img->file, &st);

	bs->deferred = defer;
	if (r < 0)
		return err_set_sys(err, r, "cannot stat");
	r = bitmaplist_read(&bs->list, img->file, &img->header, ext,
			    &img->geom, st.size, err);
	if (r < 0)
		err_wrap(err, "its bitmaps are broken (run 'rawcow check')");
	for (size_t i = 0; r == 0 && !defer && i < bs->list.n; i++) {
		struct bitmap *b = &bs->list.b[i];

		if ((b->e.flags & BITMAPDIR_AUTO) &&
		    !(b->e.flags & BITMAPDIR_IN_USE))
			r = track_one(img, b, err);
	}
	if (r < 0)
		bs->why = *err;
	return defer ? 0 : r;
}

void bitmaps_fini(struct bitmaps *bs)
{
	bitmaplist_fini(&bs->list);
}

/* --- requests ------------------------------------------------------------------------ */

static void touch(struct bitmap *b, uint64_t off, uint64_t len)
{
	uint64_t first = off >> b->e.granularity_bits;
	uint64_t end = ((off + len - 1) >> b->e.granularity_bits) + 1;

	end = NUM_MIN(end, b->bits);
	if (first < end && bitmapbits_set(b->words, first, end - first))
		atomic_store_explicit(&b->changed, true, memory_order_relaxed);
}

void bitmaps_touch(struct image *img, uint64_t off, uint64_t len)
{
	struct bitmaps *bs = &img->bitmaps;

	if (!bs->tracked || !len)
		return;
	for (size_t i = 0; i < bs->list.n; i++)
		if (bs->list.b[i].tracked)
			touch(&bs->list.b[i], off, len);
}

/* --- a session ------------------------------------------------------------------------ */

int bitmaps_begin(struct image *img)
{
	struct bitmaps *bs = &img->bitmaps;
	int r;

	if (!bs->tracked || bs->in_use)
		return 0;
	r = bitmapstore_put_flags(img, true);
	bs->in_use = r == 0;
	return r;
}

static bool any_changed(const struct bitmaps *bs)
{
	for (size_t i = 0; i < bs->list.n; i++)
		if (bs->list.b[i].words &&
		    atomic_load(&bs->list.b[i].changed))
			return true;
	return false;
}

/* Store what is tracked, and say that it is right. */
static int store_clean(struct image *img, struct err *err)
{
	struct bitmaps *bs = &img->bitmaps;
	int r;

	bs->in_use = false;
	r = any_changed(bs) ? bitmapstore_put(img, NULL, err) :
			      bitmapstore_put_flags(img, false);
	if (r == 0)
		r = writeback_all(&img->meta);
	bs->in_use = r < 0;
	return r;
}

int bitmaps_close(struct image *img)
{
	struct err err = { "" };
	int r;

	if (!img->bitmaps.in_use || atomic_load(&img->meta.failed) ||
	    atomic_load(&img->meta.corrupt))
		return 0;
	r = store_clean(img, &err);
	if (r < 0)
		log_line(LOG_LEVEL_ERROR,
			 "%s: its bitmaps are not stored (%s), so they stay marked as in use and are of no use any more; remove them with 'rawcow bitmap --remove' and make new ones; the disk itself is complete",
			 img->file->name,
			 err.text[0] ? err.text : strerror(-r));
	return r;
}

/* --- another size ----------------------------------------------------------------------- */

/* Take B into memory for a disk of SIZE bytes. */
static int hold_for(struct image *img, struct bitmap *b, uint64_t size,
		    struct err *err)
{
	const char *why = bitmaps_invalid(b);
	char safe[SAFE_NAME];
	int r = 0;

	if (b->e.flags & BITMAPDIR_IN_USE)
		return 0;
	if (why)
		r = err_set(err, -ENOTSUP, "%s", why);
	else if (bitmapdir_bytes(size, b->e.granularity_bits) >
		 BITMAPDIR_DATA_MAX)
		r = err_set(err, -EFBIG, "it would be larger than 512 MiB");
	if (r == 0)
		r = check_memory(img, b, size, err);
	if (r == 0)
		r = bitmaps_hold(img, b, err);
	if (r < 0)
		err_wrap(err, "bitmap '%s' cannot be kept", safe_name(safe, b));
	return r;
}

static void release_all(struct bitmaps *bs)
{
	for (size_t i = 0; i < bs->list.n; i++)
		bitmaps_release(&bs->list.b[i]);
}

/* May the tables be as long as a disk of SIZE bytes needs them? */
static int check_tables(struct image *img, uint64_t size, struct err *err)
{
	const struct bitmaplist *list = &img->bitmaps.list;
	struct geom g = img->geom;
	uint64_t bytes = 0;
	int r = 0;

	g.size = size;
	for (size_t i = 0; i < list->n && r == 0; i++) {
		const struct bitmapdir_entry *e = &list->b[i].e;
		uint64_t n = e->flags & BITMAPDIR_IN_USE ?
				     e->table_entries :
				     bitmapdir_table_need(&g,
							  e->granularity_bits);

		r = bitmapdir_add_table(&bytes, n, err);
	}
	return r < 0 ? -EFBIG : 0;
}

int bitmaps_resize(struct image *img, uint64_t size, struct err *err)
{
	struct bitmaps *bs = &img->bitmaps;
	size_t held = 0;
	int r;

	if (bs->why.text[0])
		return err_set(err, -EUCLEAN, "%s", bs->why.text);
	r = check_tables(img, size, err);
	for (size_t i = 0; r == 0 && i < bs->list.n; i++) {
		r = hold_for(img, &bs->list.b[i], size, err);
		held += bs->list.b[i].words != NULL;
	}
	if (r == 0 && held > bs->tracked) {
		r = bitmapstore_put_flags(img, true);
		if (r < 0)
			err_set_sys(err, r, "cannot mark its bitmaps");
	}
	if (r < 0)
		release_all(bs);
	bs->old_size = img->geom.size;
	return r;
}

static int resize_one(struct image *img, struct bitmap *b)
{
	uint64_t bits = bitmapdir_bits(img->geom.size, b->e.granularity_bits);
	_Atomic uint64_t *words = bitmapbits_resized(b->words, b->bits, bits);

	if (!words)
		return -ENOMEM;
	free(b->words);
	b->words = words;
	b->bits = bits;
	atomic_store(&b->changed, true);
	return 0;
}

/* B's bits mean nothing any more. *LOST: the first such. */
static void give_up(struct image *img, struct bitmap *b,
		    const struct bitmap **lost)
{
	bitmaps_track(img, b, false);
	b->e.flags |= BITMAPDIR_IN_USE;
	bitmaps_release(b);
	if (!*lost)
		*lost = b;
}

/* The size is what it was, and so are the bits: the marks go in place. */
static int unmark(struct image *img, struct err *err)
{
	struct bitmaps *bs = &img->bitmaps;
	bool marked = false;
	int r;

	for (size_t i = 0; i < bs->list.n; i++)
		marked |= bs->list.b[i].words && !bs->list.b[i].tracked;
	release_all(bs);
	r = marked ? bitmapstore_put_flags(img, bs->in_use) : 0;
	return r < 0 ? err_set_sys(err, r, "its bitmaps stay marked as in use") :
		       0;
}

/* Cut or extend all that are held, and store them; what is tracked can still be
 * stored at close. *LOST, if it is not NULL after an error. */
static int store_resized(struct image *img, const struct bitmap **lost,
			 struct err *err)
{
	struct bitmaps *bs = &img->bitmaps;
	bool held = false;
	int r = 0, stored = 0;

	for (size_t i = 0; i < bs->list.n; i++) {
		struct bitmap *b = &bs->list.b[i];

		held |= b->words != NULL;
		if (b->words && resize_one(img, b) < 0) {
			r = err_set(err, -ENOMEM, "no memory for a bitmap");
			give_up(img, b, lost);
		}
	}
	if (img->geom.size > bs->old_size)
		bitmaps_touch(img, bs->old_size,
			      img->geom.size - bs->old_size);
	if (held && !atomic_load(&img->meta.failed))
		stored = bitmapstore_put(img, NULL, err);
	for (size_t i = 0; i < bs->list.n; i++)
		if (stored < 0 && bs->list.b[i].words &&
		    !bs->list.b[i].tracked)
			give_up(img, &bs->list.b[i], lost);
	release_all(bs);
	return stored < 0 ? stored : r;
}

int bitmaps_resized(struct image *img, int r, struct err *err)
{
	const struct bitmap *lost = NULL;
	struct err why = { "" };
	char safe[SAFE_NAME];
	int stored;

	if (img->geom.size == img->bitmaps.old_size)
		stored = unmark(img, &why);
	else
		stored = store_resized(img, &lost, &why);
	if (lost)
		err_wrap(&why, "the disk has its new size, but bitmap '%s' is lost",
			 safe_name(safe, lost));
	if (stored == 0)
		return r;
	if (r == 0 && lost)
		return err_set(err, stored, "%s", why.text);
	log_line(LOG_LEVEL_ERROR, "%s: %s", img->file->name, why.text);
	return r;
}
