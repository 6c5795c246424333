/* What the persistent bitmaps of an image say. */
#include "core/image/image.h"

#include <errno.h>

#include "base/num.h"
#include "core/image/bitmapread.h"
#include "core/image/open.h"

/* The list of an open image, or TEMP, read from its file: only who writes an
 * image has it in memory. Inside a request. */
static int get_list(struct image *img, struct bitmaplist *temp,
		    const struct bitmaplist **list, struct err *err)
{
	if (!img->state.readonly) {
		*list = &img->bitmaps.list;
		if (img->bitmaps.why.text[0])
			return err_set(err, -EUCLEAN, "%s",
				       img->bitmaps.why.text);
		return 0;
	}
	*list = temp;
	/* a snapshot has none: they belong to the disk as it is now */
	if (img->of_snapshot)
		return 0;
	return bitmaplist_load(temp, img->file, &img->header, &img->geom, err);
}

int image_bitmap_list(struct image *img,
		      int (*fn)(void *arg, const struct image_bitmap *b),
		      void *arg, struct err *err)
{
	struct epoch_ticket t = gate_enter(img);
	struct bitmaplist temp = { 0 };
	const struct bitmaplist *list;
	int r = get_list(img, &temp, &list, err);

	for (size_t i = 0; r == 0 && i < list->n; i++) {
		const struct bitmap *b = &list->b[i];
		struct image_bitmap out = {
			.name = bitmaplist_name(b),
			.granularity = 1ULL << (b->e.granularity_bits & 63),
			.enabled = b->e.flags & BITMAPDIR_AUTO,
			.in_use = b->e.flags & BITMAPDIR_IN_USE,
			.invalid = bitmaps_invalid(b),
		};

		r = fn(arg, &out);
	}
	gate_leave(img, t);
	bitmaplist_fini(&temp);
	return r;
}

/* Runs of bits become extents of the disk. */
struct extents {
	uint64_t size;
	unsigned bits; /* of the granularity */
	int (*fn)(void *arg, uint64_t start, uint64_t len, bool dirty);
	void *arg;
};

static int on_run(void *arg, uint64_t bit, uint64_t n, bool set)
{
	struct extents *x = arg;
	uint64_t start = bit << x->bits;
	uint64_t end = NUM_MIN(x->size, (bit + n) << x->bits);

	return start < end ? x->fn(x->arg, start, end - start, set) : 0;
}

static int extents_of(struct image *img, const struct bitmaplist *list,
		      const char *name, struct extents *x, struct err *err)
{
	const char *why;
	size_t i;
	int r = bitmaplist_find(list, name, &i, err);

	if (r < 0)
		return r;
	why = bitmaps_invalid(&list->b[i]);
	if (why)
		return err_set(err, -ENOTSUP, "the bitmap says nothing: %s", why);
	x->bits = list->b[i].e.granularity_bits;
	return bitmapread_each(img, &list->b[i], on_run, x, err);
}

int image_bitmap_extents(struct image *img, const char *name,
			 int (*fn)(void *arg, uint64_t start, uint64_t len,
				   bool dirty),
			 void *arg, struct err *err)
{
	struct epoch_ticket t = gate_enter(img);
	struct extents x = { .size = img->geom.size, .fn = fn, .arg = arg };
	struct bitmaplist temp = { 0 };
	const struct bitmaplist *list;
	int r = get_list(img, &temp, &list, err);

	if (r == 0)
		r = extents_of(img, list, name, &x, err);
	gate_leave(img, t);
	bitmaplist_fini(&temp);
	return r;
}
