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
	       (e->kind == L2ENTRY_UNALLOCATED && disk_hole_is_zero(d, goff));
}

/* A place for RUN, whose guest clusters are as E says: the cluster reserved
 * for them, or newly allocated ones, maybe fewer than asked for. */
static int find_place(struct disk *d, const struct extent *e,
		      struct cow_run *run)
{
	struct meta *m = d->meta;
	uint64_t hidx, n;
	int r;

	run->zero = reads_zero(d, e, run->goff);
	run->fresh = false;
	if (e->kind == L2ENTRY_ZERO_ALLOC && e->copied) {
		run->hoff = e->hoff;
		return 0;
	}
	lock_take(&m->lock);
	r = l2map_prepare_locked(m, run->goff);
	if (r == 0)
		r = alloc_run_locked(m, run->n, &hidx, &n, &run->fresh);
	lock_drop(&m->lock);
	if (r < 0)
		return r;
	run->hoff = hidx << d->geom->cluster_bits;
	run->n = n;
	return 0;
}

/* The run's data is written: let the guest's clusters point to it [R1]. */
static int install(struct disk *d, const struct cow_run *run)
{
	struct meta *m = d->meta;
	int r;

	atomic_store(&m->new_unsynced, true);
	lock_take(&m->lock);
	r = l2map_change_locked(m, run->goff, run->n, L2MAP_DATA, run->hoff);
	lock_drop(&m->lock);
	return r;
}

static void give_back(struct disk *d, const struct extent *e,
		      const struct cow_run *run)
{
	if (e->kind == L2ENTRY_ZERO_ALLOC && e->copied)
		return;
	lock_take(&d->meta->lock);
	alloc_give_back_locked(d->meta, run->hoff >> d->geom->cluster_bits,
			       run->n);
	lock_drop(&d->meta->lock);
}

/* Fill RUN and publish it; LEN bytes of BUF at GOFF lie inside it. */
static int fill_and_install(struct disk *d, const struct extent *e,
			    const struct cow_run *run, const uint8_t *buf,
			    size_t len, uint64_t goff)
{
	int r;

	if (SEED_BUG(SEED_INSTALL_BEFORE_DATA))
		(void)!install(d, run);
	r = cow_write(d, run, buf, len, goff);
	if (r == 0)
		r = install(d, run);
	if (r < 0)
		give_back(d, e, run);
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
	uint64_t size = d->geom->cluster_size;
	struct cow_run run = { .goff = num_round_down(goff, size) };
	uint64_t span = num_round_up(goff + len, size) - run.goff;
	struct extent e;
	int r = l2map_lookup(d->meta, run.goff, span, &e);

	*done = 0;
	if (r < 0 || in_place(&e))
		return r;
	if (d->compress && is_whole(d, len, goff)) {
		r = write_packed(d, buf, len, goff, done);
		if (r < 0 || *done)
			return r;
		span = size; /* what follows may compress */
	}
	run.n = num_div_ceil(NUM_MIN(e.len, span), size);
	r = find_place(d, &e, &run);
	if (r < 0)
		return r;
	len = NUM_MIN(len, run.goff + run.n * size - goff);
	r = fill_and_install(d, &e, &run, buf, len, goff);
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

	while (len) {
		struct extent e;
		uint64_t done = 0;
		int r = l2map_lookup(d->meta, goff, len, &e);

		if (r == 0 && in_place(&e)) {
			done = e.len;
			r = payload_write(d, p, done, e.hoff);
		} else if (r == 0) {
			r = write_alloc(d, p, e.len, goff, &done);
		}
		if (r < 0)
			return r;
		p += done;
		goff += done;
		len -= done;
	}
	atomic_store(&d->meta->data_unsynced, true);
	return 0;
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
