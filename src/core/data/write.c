#include "core/data/write.h"

#include <errno.h>

#include "base/num.h"
#include "base/seed.h"
#include "core/data/cow.h"
#include "core/data/pack.h"
#include "core/data/payload.h"
#include "core/meta/l2map.h"

/* Clusters that one allocation takes at most: enough to make the I/O long,
 * few enough that other writers of the range do not wait for it. */
#define RUN_BYTES_MAX (4ULL << 20)

static bool in_place(const struct extent *e)
{
	return e->kind == L2ENTRY_PLAIN && e->copied;
}

static bool reads_zero(const struct disk *d, const struct extent *e,
		       uint64_t goff)
{
	return e->kind == L2ENTRY_ZERO_PLAIN || e->kind == L2ENTRY_ZERO_ALLOC ||
	       ((e->kind == L2ENTRY_UNALLOCATED ||
		 e->kind == L2ENTRY_RESERVED) &&
		disk_hole_is_zero(d, goff));
}

/* Make RUN as long as what follows it needs new clusters, too, up to END. */
static void extend_run(struct disk *d, struct cow_run *run, uint64_t end)
{
	uint64_t at = run->goff + run->len;

	while (at < end) {
		struct extent e;

		/* an error there is that request's which begins there */
		if (l2map_lookup(d->meta, at, end - at, &e) < 0 || e.copied ||
		    e.kind == L2ENTRY_COMPRESSED)
			break;
		run->zero = run->zero && reads_zero(d, &e, at);
		run->moved |= e.hoff != 0;
		run->len += e.len;
		at += e.len;
	}
}

/* In a data file there is one place, ours for ever. What is around LEN bytes at
 * GOFF need not be filled where the file has a hole: that is as stable as what
 * is written, with the data file's F [R1]. */
static void own_place(struct disk *d, struct cow_run *run, uint64_t goff,
		      uint64_t len)
{
	uint64_t end = NUM_MIN(run->goff + run->len, d->geom->size);
	uint64_t hole;
	bool data;

	run->own = true;
	run->hoff = run->goff;
	if (!run->zero || (goff == run->goff && goff + len >= end))
		return;
	run->fresh = hostfile_next_extent(d->data, run->hoff, &data, &hole) ==
			     0 &&
		     !data && hole >= end;
}

/* Which units the start of [GOFF, GOFF + LEN) is written to. *E: what they are,
 * or the first of them when they need new clusters. */
static int plan_run(struct disk *d, uint64_t goff, uint64_t len,
		    struct extent *e, struct cow_run *run)
{
	const struct geom *g = d->geom;
	uint64_t end = num_round_up(goff + len, g->sub_size);
	int r;

	*run = (struct cow_run){ .goff = num_round_down(goff, g->sub_size),
				 .unit = g->sub_size };
	r = l2map_lookup(d->meta, run->goff, end - run->goff, e);
	if (r < 0 || in_place(e))
		return r;
	if (e->kind == L2ENTRY_COMPRESSED) {
		run->goff = num_round_down(goff, g->cluster_size);
		run->len = run->unit = g->cluster_size;
		return 0;
	}
	run->len = e->len;
	run->zero = reads_zero(d, e, run->goff);
	run->own = e->copied;
	run->moved = !run->own && e->hoff;
	run->hoff = e->hoff;
	if (g->data_file)
		own_place(d, run, goff, len);
	if (!run->own)
		extend_run(d, run, end);
	return 0;
}

/* A place for RUN: the one reserved for it, or newly allocated clusters, maybe
 * fewer than it has. */
static int find_place(struct disk *d, struct cow_run *run)
{
	const struct geom *g = d->geom;
	uint64_t in = geom_in_cluster(g, run->goff);
	struct meta *m = d->meta;
	uint64_t hidx, n;
	int r;

	if (run->own)
		return 0;
	lock_take(&m->lock);
	r = l2map_prepare_locked(m, run->goff);
	if (r == 0)
		r = alloc_run_locked(m, geom_clusters(g, in + run->len), &hidx,
				     &n, &run->fresh);
	lock_drop(&m->lock);
	if (r < 0)
		return r;
	run->hoff = (hidx << g->cluster_bits) + in;
	run->len = NUM_MIN(run->len, (n << g->cluster_bits) - in);
	return 0;
}

/* The run's data is written: let the guest's clusters point to it, and
 * subclusters have it [R1]. */
static int install(struct disk *d, const struct cow_run *run)
{
	const struct l2map_change c = { .what = L2MAP_DATA,
					.goff = run->goff,
					.len = run->len,
					.hoff = run->hoff };
	struct meta *m = d->meta;
	int r;

	/* also where a stable entry has the cluster: its bits are new */
	if (!run->own || !SEED_BUG(SEED_SUBCLUSTER_UNSYNCED))
		meta_note_new_data(m);
	lock_take(&m->lock);
	r = l2map_change_locked(m, &c);
	lock_drop(&m->lock);
	return r;
}

static void give_back(struct disk *d, const struct cow_run *run)
{
	const struct geom *g = d->geom;
	uint64_t in = geom_in_cluster(g, run->hoff);

	if (run->own)
		return;
	lock_take(&d->meta->lock);
	alloc_give_back_locked(d->meta, run->hoff >> g->cluster_bits,
			       geom_clusters(g, in + run->len));
	lock_drop(&d->meta->lock);
}

/* Fill RUN and publish it; LEN bytes of BUF at GOFF lie inside it. */
static int fill_and_install(struct disk *d, const struct cow_run *run,
			    const uint8_t *buf, size_t len, uint64_t goff)
{
	int r;

	if (SEED_BUG(SEED_INSTALL_BEFORE_DATA))
		(void)!install(d, run);
	r = cow_write(d, run, buf, len, goff);
	if (r == 0)
		r = install(d, run);
	if (r < 0)
		give_back(d, run);
	return r;
}

/* The bytes of BUF are all that the guest sees of the cluster at GOFF. */
static bool is_whole(const struct disk *d, uint64_t len, uint64_t goff)
{
	return geom_in_cluster(d->geom, goff) == 0 &&
	       (len >= d->geom->cluster_size ||
		goff + len == d->geom->size);
}

/* Try to write the cluster at GOFF compressed; *DONE stays 0 if not. */
static int write_packed(struct disk *d, const uint8_t *buf, uint64_t len,
			uint64_t goff, uint64_t *done)
{
	bool packed;
	int r;

	len = NUM_MIN(len, d->geom->cluster_size);
	r = pack_cluster(d, buf, (size_t)len, goff, &packed);
	if (packed)
		*done = len;
	return r;
}

/* Write the start of [GOFF, GOFF + LEN) whose clusters need a place. *DONE is
 * 0 when somebody else gave them one meanwhile. */
static int write_held(struct disk *d, const uint8_t *buf, uint64_t len,
		      uint64_t goff, uint64_t *done)
{
	struct cow_run run;
	struct extent e;
	int r = plan_run(d, goff, len, &e, &run);

	*done = 0;
	if (r < 0 || in_place(&e))
		return r;
	if (d->compress && is_whole(d, len, goff)) {
		r = write_packed(d, buf, len, goff, done);
		if (r < 0 || *done)
			return r;
		/* what follows may compress */
		run.len = NUM_MIN(run.len, d->geom->cluster_size);
	}
	r = find_place(d, &run);
	if (r < 0)
		return r;
	len = NUM_MIN(len, run.goff + run.len - goff);
	r = fill_and_install(d, &run, buf, len, goff);
	if (r == 0)
		*done = len;
	return r;
}

static int write_alloc(struct disk *d, const uint8_t *buf, uint64_t len,
		       uint64_t goff, uint64_t *done)
{
	uint64_t size = d->geom->cluster_size;
	uint64_t first = num_round_down(goff, size);
	struct inflight_range held;
	int r;

	len = NUM_MIN(len, l2map_reach(d->meta, goff));
	len = NUM_MIN(len, NUM_MAX(RUN_BYTES_MAX, size) - (goff - first));
	inflight_begin(&d->inflight, &held, first,
		       num_round_up(goff + len, size) - first);
	r = write_held(d, buf, len, goff, done);
	inflight_end(&d->inflight, &held);
	return r;
}

int write_range(struct disk *d, const void *buf, size_t len, uint64_t goff)
{
	const uint8_t *p = buf;
	int r = 0;

	while (len && r == 0) {
		struct extent e;
		uint64_t done = 0;

		r = l2map_lookup(d->meta, goff, len, &e);
		if (r == 0 && in_place(&e)) {
			done = e.len;
			r = payload_write(d, p, done, e.hoff, goff);
		} else if (r == 0) {
			r = write_alloc(d, p, len, goff, &done);
		}
		p += done;
		goff += done;
		len -= done;
	}
	/* after an error, too: what is there of the data can be read, and a sync
	 * makes it stay */
	atomic_store(&d->meta->data_unsynced, true);
	return r;
}

int write_zero_bytes(struct disk *d, uint64_t len, uint64_t goff)
{
	static const uint8_t zeroes[65536];

	while (len) {
		size_t n = (size_t)NUM_MIN(len, sizeof(zeroes));
		int r = write_range(d, zeroes, n, goff);

		if (r < 0)
			return r;
		goff += n;
		len -= n;
	}
	return 0;
}
