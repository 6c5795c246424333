#include "core/data/zero.h"

#include "base/num.h"
#include "base/seed.h"
#include "core/data/payload.h"
#include "core/data/write.h"
#include "core/meta/l2map.h"

/* Does this extent read as zero, so that nothing need be done? */
static bool is_zero_already(const struct disk *d, const struct extent *e,
			    uint64_t goff)
{
	return e->kind == L2ENTRY_ZERO_PLAIN || e->kind == L2ENTRY_ZERO_ALLOC ||
	       ((e->kind == L2ENTRY_UNALLOCATED ||
		 e->kind == L2ENTRY_RESERVED) &&
		disk_hole_is_zero(d, goff));
}

/* Bytes of a unit's part: only data can say it. */
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

/* Which change makes units at GOFF read as zero. */
static enum l2map_what choose(const struct disk *d, uint64_t goff,
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

/* Is E at GOFF a part of a compressed cluster, which has no parts? */
static bool is_compressed_part(const struct geom *g, const struct extent *e,
			       uint64_t goff)
{
	return e->kind == L2ENTRY_COMPRESSED &&
	       (geom_in_cluster(g, goff) || e->len < g->cluster_size);
}

/* Change units that are held, within reach; none of the clusters splits a
 * compressed one. */
static int change_held(struct disk *d, uint64_t goff, uint64_t len, bool unmap)
{
	struct l2map_change c = { .what = choose(d, goff, unmap),
				  .goff = goff,
				  .len = len };
	struct meta *m = d->meta;
	int r;

	if (d->geom->version == 2)
		c.what = L2MAP_UNMAP;
	lock_take(&m->lock);
	r = l2map_change_locked(m, &c);
	lock_drop(&m->lock);
	return r;
}

/* Would changing [GOFF, GOFF + LEN) split a compressed cluster? */
static int splits(struct disk *d, uint64_t goff, uint64_t len)
{
	while (d->geom->extended && len) {
		struct extent e;
		int r = l2map_lookup(d->meta, goff, len, &e);

		if (r < 0)
			return r;
		if (is_compressed_part(d->geom, &e, goff))
			return 1;
		goff += e.len;
		len -= e.len;
	}
	return 0;
}

/* Make [GOFF, GOFF + LEN), whole units within reach, read as zero by metadata.
 * *DONE is false when somebody else wrote compressed clusters there
 * meanwhile. */
static int change_run(struct disk *d, uint64_t goff, uint64_t len, bool unmap,
		      bool *done)
{
	uint64_t size = d->geom->cluster_size;
	uint64_t first = num_round_down(goff, size);
	struct inflight_range held;
	int r;

	inflight_begin(&d->inflight, &held, first,
		       num_round_up(goff + len, size) - first);
	r = splits(d, goff, len);
	*done = r == 0;
	if (r == 0)
		r = change_held(d, goff, len, unmap);
	/* What is written here next goes to the same place, once we let go: so
	 * not later. And not too early [R5]: zero is what the range reads. Not
	 * so if it is encrypted: the entry that is stable would show noise in a
	 * hole, so the room stays [R12]. */
	if (*done && r == 0 && unmap && d->geom->data_file &&
	    (!d->crypt || SEED_BUG(SEED_CIPHER_PUNCHED)))
		payload_discard(d, len, goff);
	inflight_end(&d->inflight, &held);
	return r < 0 ? r : 0;
}

/*
 * How much of [GOFF, GOFF + LEN), which begins with E, to change at once. Where
 * all of a cluster is asked for it changes as one, whatever its subclusters
 * are: only so its place can be given up.
 */
static uint64_t run_length(const struct disk *d, const struct extent *e,
			   uint64_t goff, uint64_t len)
{
	uint64_t size = d->geom->cluster_size;
	uint64_t left = size - geom_in_cluster(d->geom, goff);
	uint64_t n = NUM_MIN(e->len, l2map_reach(d->meta, goff));

	if (left < size || len < size)
		return NUM_MIN(n, left);
	return NUM_MAX(num_round_down(n, size), size);
}

/* Zero the start of [GOFF, GOFF + *LEN), whole units; *LEN: how much. */
static int zero_step(struct disk *d, uint64_t goff, uint64_t *len, bool unmap)
{
	uint64_t size = d->geom->size;
	struct extent e;
	bool idle, done;
	int r = l2map_lookup(d->meta, goff, *len, &e);

	if (r < 0)
		return r;
	idle = is_zero_already(d, &e, goff) &&
	       !(unmap && (e.kind == L2ENTRY_ZERO_ALLOC ||
			   e.kind == L2ENTRY_RESERVED));
	if (idle || needs_data(d, &e, goff, unmap) ||
	    is_compressed_part(d->geom, &e, goff)) {
		*len = e.len;
		return idle || goff >= size
			       ? 0
			       : write_zero_bytes(d, NUM_MIN(e.len, size - goff),
						  goff);
	}
	*len = run_length(d, &e, goff, *len);
	r = change_run(d, goff, *len, unmap, &done);
	if (!done)
		*len = 0;
	return r;
}

/* As zero_range(), whole units; the last may end behind the disk's end. */
static int zero_units(struct disk *d, uint64_t goff, uint64_t len, bool unmap)
{
	while (len) {
		uint64_t n = len;
		int r = zero_step(d, goff, &n, unmap);

		if (r < 0)
			return r;
		goff += n;
		len -= n;
	}
	return 0;
}

/* A raw data file must read as zero by itself. Entries stay: the clusters that
 * they map read so with it, all others do already. */
static int zero_raw(struct disk *d, uint64_t goff, uint64_t len, bool unmap)
{
	int r = payload_zero(d, len, goff, unmap);

	atomic_store(&d->meta->data_unsynced, true); /* a part, after an error */
	return r;
}

int zero_range(struct disk *d, uint64_t goff, uint64_t len, bool unmap)
{
	uint64_t end = goff + len;
	uint64_t first = num_round_up(goff, d->geom->sub_size);
	/* nobody sees the rest of a cluster at the end of the disk */
	uint64_t last = end == d->geom->size
				? num_round_up(end, d->geom->cluster_size)
				: num_round_down(end, d->geom->sub_size);
	int r;

	if (d->geom->data_raw && !SEED_BUG(SEED_RAW_BY_FLAG))
		return zero_raw(d, goff, len, unmap);
	if (first >= last)
		return zero_part(d, goff, len);
	r = zero_part(d, goff, first - goff);
	if (r == 0)
		r = zero_units(d, first, last - first, unmap);
	if (r == 0 && end > last)
		r = zero_part(d, last, end - last);
	return r;
}
