#include "core/data/zero.h"

#include "base/num.h"
#include "core/data/write.h"
#include "core/meta/l2map.h"

/* Does this extent read as zero, so that nothing need be done? */
static bool is_zero_already(const struct disk *d, const struct extent *e,
			    uint64_t goff)
{
	return e->kind == L2ENTRY_ZERO_PLAIN || e->kind == L2ENTRY_ZERO_ALLOC ||
	       (e->kind == L2ENTRY_UNALLOCATED && disk_hole_is_zero(d, goff));
}

/* Bytes of a cluster's part: only data can say it. */
static int zero_part(struct disk *d, uint64_t goff, uint64_t len)
{
	while (len) {
		struct extent e;
		int r = l2map_lookup(d->meta, goff, len, &e);

		if (r == 0 && !is_zero_already(d, &e, goff))
			r = write_zero_bytes(d, e.len, goff);
		if (r < 0)
			return r;
		goff += e.len;
		len -= e.len;
	}
	return 0;
}

/* Which change makes clusters at GOFF read as zero. */
static enum l2map_change choose(const struct disk *d, uint64_t goff,
				bool unmap)
{
	if (!unmap)
		return L2MAP_ZERO_KEEP;
	return disk_hole_is_zero(d, goff) ? L2MAP_UNMAP : L2MAP_ZERO_UNMAP;
}

/* Version 2 has no zero flag: a cluster reads as zero when nothing maps it and
 * nothing is behind it, or when it holds zeroes. */
static bool needs_data(const struct disk *d, const struct extent *e,
		       uint64_t goff, bool unmap)
{
	if (d->geom->version > 2)
		return false;
	return !disk_hole_is_zero(d, goff) || (!unmap && e->copied);
}

/* N clusters from GOFF, within reach, held. */
static int change_held(struct disk *d, uint64_t goff, uint64_t n, bool unmap)
{
	enum l2map_change what = choose(d, goff, unmap);
	struct meta *m = d->meta;
	int r;

	if (d->geom->version == 2)
		what = L2MAP_UNMAP;
	lock_take(&m->lock);
	r = l2map_change_locked(m, goff, n, what, 0);
	lock_drop(&m->lock);
	return r;
}

/* Whole clusters that E describes, a run that starts at GOFF. */
static int zero_run(struct disk *d, const struct extent *e, uint64_t goff,
		    uint64_t len, bool unmap)
{
	uint64_t size = d->geom->cluster_size;
	struct inflight_range held;
	int r;

	if (needs_data(d, e, goff, unmap))
		return write_zero_bytes(d, NUM_MIN(len, d->geom->size - goff),
					goff);
	inflight_begin(&d->inflight, &held, goff, len);
	r = change_held(d, goff, len / size, unmap);
	inflight_end(&d->inflight, &held);
	return r;
}

static int zero_clusters(struct disk *d, uint64_t goff, uint64_t len,
			 bool unmap)
{
	uint64_t size = d->geom->cluster_size;

	while (len) {
		struct extent e;
		int r = l2map_lookup(d->meta, goff, len, &e);
		bool idle;

		if (r < 0)
			return r;
		e.len = num_round_up(e.len, size);
		idle = is_zero_already(d, &e, goff) &&
		       !(unmap && e.kind == L2ENTRY_ZERO_ALLOC);
		if (!idle) {
			e.len = NUM_MIN(e.len, l2map_reach(d->meta, goff));
			r = zero_run(d, &e, goff, e.len, unmap);
		}
		if (r < 0)
			return r;
		goff += e.len;
		len -= NUM_MIN(e.len, len);
	}
	return 0;
}

int zero_range(struct disk *d, uint64_t goff, uint64_t len, bool unmap)
{
	uint64_t size = d->geom->cluster_size;
	uint64_t end = goff + len;
	uint64_t first = num_round_up(goff, size);
	/* nobody sees the rest of a cluster at the end of the disk */
	uint64_t last = end == d->geom->size ? num_round_up(end, size)
					     : num_round_down(end, size);
	int r;

	if (first >= last)
		return zero_part(d, goff, len);
	r = zero_part(d, goff, first - goff);
	if (r == 0)
		r = zero_clusters(d, first, last - first, unmap);
	if (r == 0 && end > last)
		r = zero_part(d, last, end - last);
	return r;
}
