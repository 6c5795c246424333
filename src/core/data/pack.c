#include "core/data/pack.h"

#include <errno.h>
#include <string.h>

#include "base/num.h"
#include "base/scratch.h"
#include "base/seed.h"
#include "core/meta/l2map.h"

/* Compress into *OUT; the stream's length, or -ENOSPC if it saves no sector. */
static int64_t encode(struct disk *d, const void *buf, size_t size, void **out)
{
	size_t whole = (size_t)d->geom->cluster_size;
	size_t cap = whole - QCOW2_SECTOR;
	uint8_t *s = scratch_get(SCRATCH_PACK, 2 * whole);

	if (!s)
		return -ENOMEM;
	*out = s;
	if (size < whole) {
		memcpy(s + whole, buf, size);
		memset(s + whole + size, 0, whole - size);
		buf = s + whole;
	}
	return d->codec->compress(s, cap, buf, whole);
}

static void give_back(struct disk *d, uint64_t hoff, uint32_t len)
{
	uint64_t first = hoff >> d->geom->cluster_bits;
	uint64_t last = (hoff + len - 1) >> d->geom->cluster_bits;

	lock_take(&d->meta->lock);
	alloc_give_back_locked(d->meta, first, last - first + 1);
	lock_drop(&d->meta->lock);
}

static int take_place(struct disk *d, uint64_t goff, uint32_t len,
		      uint64_t *hoff)
{
	struct meta *m = d->meta;
	int r;

	lock_take(&m->lock);
	r = l2map_prepare_locked(m, goff);
	if (r == 0)
		r = alloc_bytes_locked(m, len, hoff);
	lock_drop(&m->lock);
	return r;
}

/* The stream is written: let the guest's cluster point to it [R1]. */
static int install(struct disk *d, uint64_t goff, uint64_t word)
{
	const struct l2map_change c = { .what = L2MAP_COMPRESSED,
					.goff = goff,
					.len = d->geom->cluster_size,
					.hoff = word };
	struct meta *m = d->meta;
	int r;

	atomic_store(&m->new_unsynced, true);
	lock_take(&m->lock);
	r = l2map_change_locked(m, &c);
	lock_drop(&m->lock);
	return r;
}

static int put_stream(struct disk *d, const void *s, uint32_t len,
		      uint64_t hoff, uint64_t goff, uint64_t word)
{
	int r;

	if (SEED_BUG(SEED_INSTALL_STREAM_FIRST))
		(void)!install(d, goff, word);
	clustercache_forget(d->cache, hoff);
	r = meta_write(d->meta, s, len, hoff, ROLE_COMPRESSED);
	return r < 0 ? r : install(d, goff, word);
}

int pack_cluster(struct disk *d, const void *buf, size_t size, uint64_t goff,
		 bool *done)
{
	uint64_t hoff, word;
	int64_t len;
	void *s;
	int r;

	*done = false;
	/* streams share clusters, or nothing is saved */
	if (d->geom->refcount_max < 2 || d->geom->cluster_size <= QCOW2_SECTOR)
		return 0;
	len = encode(d, buf, size, &s);
	if (len == -ENOSPC)
		return 0;
	if (len < 0)
		return (int)len;
	r = take_place(d, goff, (uint32_t)len, &hoff);
	if (r < 0)
		return r;
	r = l2entry_encode_compressed(d->geom, hoff, (uint32_t)len, &word);
	if (r == 0) {
		r = put_stream(d, s, (uint32_t)len, hoff, goff, word);
		*done = r == 0;
	} else {
		r = 0; /* too far out for a descriptor */
	}
	if (!*done)
		give_back(d, hoff, (uint32_t)len);
	return r;
}
