#include "core/data/cow.h"

#include <errno.h>
#include <string.h>

#include "base/num.h"
#include "base/scratch.h"
#include "base/seed.h"
#include "core/data/payload.h"
#include "core/data/read.h"

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

/* Write one cluster at HOFF: LEN bytes of BUF from byte AT on, old content of
 * the guest cluster at GOFF around them. */
static int merged_cluster(struct disk *d, uint64_t hoff, uint64_t goff,
			  const uint8_t *buf, uint64_t at, uint64_t len)
{
	uint64_t size = d->geom->cluster_size;
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
	return payload_write(d, c, size, hoff);
}

int cow_write(struct disk *d, const struct cow_run *run, const uint8_t *buf,
	      size_t len, uint64_t goff)
{
	uint64_t size = d->geom->cluster_size;
	uint64_t at = goff - run->goff;
	uint64_t end = run->n * size;

	if ((run->fresh && run->zero) || SEED_BUG(SEED_COW_FILL_LATE))
		return payload_write(d, buf, len, run->hoff + at);
	while (len) {
		uint64_t c = num_round_down(at, size);
		uint64_t in = at - c;
		uint64_t step = NUM_MIN(len, size - in);
		int r;

		if (in == 0 && step == size) {
			step = num_round_down(NUM_MIN(len, end - at), size);
			r = payload_write(d, buf, step, run->hoff + at);
		} else {
			r = merged_cluster(d, run->hoff + c, run->goff + c, buf,
					   in, step);
		}
		if (r < 0)
			return r;
		buf += step;
		at += step;
		len -= step;
	}
	return 0;
}
