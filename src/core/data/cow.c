#include "core/data/cow.h"

#include <errno.h>
#include <string.h>

#include "base/num.h"
#include "base/scratch.h"
#include "base/seed.h"
#include "core/data/payload.h"
#include "core/data/read.h"
#include "core/meta/l2map.h"

/* What [GOFF, GOFF + LEN) reads now, zero behind the end of the disk. */
static int old_content(struct disk *d, uint8_t *out, uint64_t len,
		       uint64_t goff)
{
	uint64_t end = d->geom->size;
	uint64_t inside = goff < end ? NUM_MIN(len, end - goff) : 0;
	int r = 0;

	if (inside)
		r = read_range(d, out, (size_t)inside, goff);
	memset(out + inside, 0, (size_t)(len - inside));
	return r;
}

/* Write one unit of SIZE bytes at HOFF: LEN bytes of BUF from byte AT on, old
 * content of the guest's unit at GOFF around them. */
static int merged_unit(struct disk *d, uint64_t size, uint64_t hoff,
		       uint64_t goff, const uint8_t *buf, uint64_t at,
		       uint64_t len)
{
	uint8_t *c = scratch_get(SCRATCH_COW, size);
	int r = 0;

	if (!c)
		return -ENOMEM;
	/* one read across the new bytes beats two around few of them */
	if (at && at + len < size && len < size / 2) {
		r = old_content(d, c, size, goff);
	} else {
		if (at)
			r = old_content(d, c, at, goff);
		if (r == 0 && at + len < size)
			r = old_content(d, c + at + len, size - at - len,
					goff + at + len);
	}
	if (r < 0)
		return r;
	memcpy(c + at, buf, (size_t)len);
	return payload_write(d, c, size, hoff, goff);
}

static int write_run(struct disk *d, const struct cow_run *run,
		     const uint8_t *buf, size_t len, uint64_t goff)
{
	uint64_t size = run->unit;
	uint64_t at = goff - run->goff;

	/* zeroes of the host file are no zeroes of the guest when decrypted
	 * [R12] */
	if ((run->fresh && run->zero &&
	     (!d->crypt || SEED_BUG(SEED_CIPHER_HOLE))) ||
	    SEED_BUG(SEED_COW_FILL_LATE))
		return payload_write(d, buf, len, run->hoff + at, goff);
	while (len) {
		uint64_t u = num_round_down(at, size);
		uint64_t in = at - u;
		uint64_t step = NUM_MIN(len, size - in);
		int r;

		if (in == 0 && step == size) {
			step = num_round_down(len, size);
			r = payload_write(d, buf, step, run->hoff + at,
					  run->goff + at);
		} else {
			r = merged_unit(d, size, run->hoff + u, run->goff + u,
					buf, in, step);
		}
		if (r < 0)
			return r;
		buf += step;
		at += step;
		len -= step;
	}
	return 0;
}

/* Copy E at GOFF, all of which is data in an old cluster, to HOFF. */
static int copy_data(struct disk *d, const struct extent *e, uint64_t goff,
		     uint64_t hoff)
{
	uint8_t *c = scratch_get(SCRATCH_COW, d->geom->cluster_size);
	size_t len = (size_t)e->len;
	int r = c ? read_range(d, c, len, goff) : -ENOMEM;

	if (r == 0 && SEED_BUG(SEED_CIPHER_CARRIED))
		return payload_read_raw(d, c, len, e->hoff) < 0
			       ? -EIO
			       : payload_write_raw(d, c, len, hoff);
	return r < 0 ? r : payload_write(d, c, len, hoff, goff);
}

/* Copy what has data in [GOFF, END), a part of one cluster, to HOFF. */
static int copy_part(struct disk *d, uint64_t goff, uint64_t end,
		     uint64_t hoff)
{
	while (goff < end) {
		struct extent e;
		int r = l2map_lookup(d->meta, goff, end - goff, &e);

		if (r == 0 && e.kind == L2ENTRY_PLAIN)
			r = copy_data(d, &e, goff, hoff);
		if (r < 0)
			return r;
		goff += e.len;
		hoff += e.len;
	}
	return 0;
}

/* The subclusters beside the run, in its first and its last cluster. */
static int copy_beside(struct disk *d, const struct cow_run *run)
{
	const struct geom *g = d->geom;
	uint64_t before = geom_in_cluster(g, run->goff);
	uint64_t end = run->goff + run->len;
	int r = copy_part(d, run->goff - before, run->goff,
			  run->hoff - before);

	if (r < 0)
		return r;
	return copy_part(d, end, num_round_up(end, g->cluster_size),
			 run->hoff + run->len);
}

int cow_write(struct disk *d, const struct cow_run *run, const uint8_t *buf,
	      size_t len, uint64_t goff)
{
	int r = write_run(d, run, buf, len, goff);

	if (r == 0 && run->moved && !SEED_BUG(SEED_SUBCLUSTER_LEFT))
		r = copy_beside(d, run);
	return r;
}
