/* What stands where: image_map(). */
#include <errno.h>

#include "base/num.h"
#include "core/format/qcow2.h"
#include "core/image/open.h"
#include "core/meta/l2map.h"

static int map_raw(struct hostfile *file, uint64_t off, uint64_t max,
		   unsigned depth, struct image_extent *out)
{
	uint64_t end;
	bool data;
	int r = hostfile_next_extent(file, off, &data, &end);

	if (r < 0)
		return r;
	*out = (struct image_extent){
		.kind = data ? IMAGE_EXTENT_DATA : IMAGE_EXTENT_ZERO,
		.len = NUM_MIN(max, end - off),
		.depth = depth,
		.has_hoff = true,
		.hoff = off,
	};
	return 0;
}

static int map_one(struct image *img, uint64_t off, uint64_t max,
		   unsigned depth, struct image_extent *out);

/* An unallocated range of IMG. */
static int map_behind(struct image *img, uint64_t off, uint64_t max,
		      unsigned depth, struct image_extent *out)
{
	const struct chain_backing *b = &img->backing;
	uint64_t size = b->backing.size;
	uint64_t end = b->raw ? num_round_up(size, QCOW2_SECTOR) : size;

	if (off >= end) { /* or there is none */
		*out = (struct image_extent){ .kind = IMAGE_EXTENT_HOLE,
					      .len = max,
					      .depth = depth };
		return 0;
	}
	max = NUM_MIN(max, end - off);
	if (off >= size) { /* the rest of a raw file's last sector */
		*out = (struct image_extent){ .kind = IMAGE_EXTENT_ZERO,
					      .len = max,
					      .depth = depth + 1,
					      .has_hoff = true,
					      .hoff = off };
		return 0;
	}
	return b->raw ? map_raw(b->raw, off, max, depth + 1, out)
		      : chain_error(map_one(b->image, off, max, depth + 1,
					    out));
}

/* Subclusters of IMG without data, in a cluster that has room for them: where
 * nothing is behind them, the place is still told, as QEMU does. */
static int map_reserved(struct image *img, uint64_t off,
			const struct extent *e, unsigned depth,
			struct image_extent *out)
{
	int r = map_behind(img, off, e->len, depth, out);

	if (r == 0 && out->kind == IMAGE_EXTENT_HOLE && out->depth == depth) {
		out->has_hoff = true;
		out->hoff = e->hoff;
	}
	return r;
}

static enum image_extent_kind kind_of(enum l2entry_kind kind)
{
	switch (kind) {
	case L2ENTRY_PLAIN:
		return IMAGE_EXTENT_DATA;
	case L2ENTRY_COMPRESSED:
		return IMAGE_EXTENT_COMPRESSED;
	case L2ENTRY_ZERO_PLAIN:
	case L2ENTRY_ZERO_ALLOC:
		return IMAGE_EXTENT_ZERO;
	case L2ENTRY_UNALLOCATED:
	case L2ENTRY_RESERVED:
		break;
	}
	return IMAGE_EXTENT_HOLE;
}

static int map_one(struct image *img, uint64_t off, uint64_t max,
		   unsigned depth, struct image_extent *out)
{
	struct epoch_ticket t = gate_enter(img);
	uint64_t size = img->geom.size;
	struct extent e;
	int r = img->view.gone ? -ESTALE : off >= size ? -ERANGE : 0;

	if (r == 0)
		r = l2map_lookup(&img->meta, off, NUM_MIN(max, size - off), &e);
	gate_leave(img, t);
	if (r < 0)
		return r;
	if (e.kind == L2ENTRY_UNALLOCATED)
		return map_behind(img, off, e.len, depth, out);
	if (e.kind == L2ENTRY_RESERVED)
		return map_reserved(img, off, &e, depth, out);
	*out = (struct image_extent){
		.kind = kind_of(e.kind),
		.len = e.len,
		.depth = depth,
		/* what stands there encrypted is of no use to anybody */
		.has_hoff = !img->disk.crypt &&
			    (e.kind == L2ENTRY_PLAIN ||
			     e.kind == L2ENTRY_ZERO_ALLOC),
		.hoff = e.hoff,
	};
	return 0;
}

static bool continues(const struct image_extent *a,
		      const struct image_extent *b)
{
	return a->kind == b->kind && a->depth == b->depth &&
	       a->has_hoff == b->has_hoff &&
	       (!a->has_hoff || a->hoff + a->len == b->hoff);
}

int image_map(struct image *img, uint64_t off, uint64_t max,
	      struct image_extent *out)
{
	struct image_extent next;
	int r = map_one(img, off, max, 0, out);

	if (r == -EUCLEAN)
		state_mark_corrupt(img);
	while (r == 0 && out->len < max) {
		r = map_one(img, off + out->len, max - out->len, 0, &next);
		if (r < 0 || !continues(out, &next))
			return 0;
		out->len += next.len;
	}
	return r;
}
