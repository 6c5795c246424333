#include "bitmapops.h"

#include <stdlib.h>

#include "core/admin/bitmap.h"

bool bitmapops_has(enum workload_type type)
{
	return type >= WORKLOAD_BITMAP_ADD && type <= WORKLOAD_BITMAP_MERGE;
}

struct bitmodel_op bitmapops_decode(const struct workload_op *op)
{
	unsigned n = CHECKER_BITMAPS, sec = (unsigned)(op->sec % 64);
	struct bitmodel_op out = {
		.what = BITMODEL_ADD + (op->type - WORKLOAD_BITMAP_ADD),
		.map = sec % n,
		/* another one, before it or behind it */
		.from = (sec % n + 1 + sec / n % (n - 1)) % n,
	};

	if (out.what == BITMODEL_ADD || out.what == BITMODEL_REMOVE)
		out.map = n - 1; /* "x": the others stay */
	return out;
}

int bitmapops_run(struct image *img, const struct bitmodel_op *op,
		  struct err *err)
{
	const char name[2] = { CHECKER_BITMAP_NAMES[op->map], '\0' };
	const char from[2] = { CHECKER_BITMAP_NAMES[op->from], '\0' };

	switch (op->what) {
	case BITMODEL_ADD:
		return bitmap_add(img, name, 0, err);
	case BITMODEL_REMOVE:
		return bitmap_remove(img, name, err);
	case BITMODEL_CLEAR:
		return bitmap_clear(img, name, err);
	case BITMODEL_ENABLE:
		return bitmap_enable(img, name, err);
	case BITMODEL_DISABLE:
		return bitmap_disable(img, name, err);
	case BITMODEL_MERGE:
		return bitmap_merge(img, name, img, from, err);
	}
	abort();
}

struct bitmodel *bitmapops_model(unsigned config, uint64_t sectors,
				 const uint32_t *init)
{
	const struct imgmake *m = workload_config(config);
	unsigned added = m->cluster_bits;
	struct bitmodel *b;

	if (!workload_has_bitmaps(config))
		return NULL;
	b = malloc(sizeof(*b));
	if (!b)
		abort();
	/* the default, see core/admin/bitmap.h */
	added = added < 12 ? 12 : added > 16 ? 16 : added;
	bitmodel_init(b, sectors, init, m->bitmaps, added);
	return b;
}
