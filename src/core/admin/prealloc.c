#include "core/admin/prealloc.h"

#include <errno.h>

#include "base/mem.h"
#include "base/num.h"
#include "core/format/qcow2.h"
#include "core/image/open.h"
#include "core/meta/l2map.h"

#define PIECE (1U << 20)

struct work {
	struct image *img;
	const struct prealloc_opts *opts;
	uint8_t *zeroes; /* PIECE bytes; FULL only */
};

static int write_zeroes(struct work *w, uint64_t hoff, uint64_t len)
{
	int r = 0;

	while (len && r == 0) {
		size_t n = (size_t)NUM_MIN(len, PIECE);

		r = hostfile_pwrite_full(w->img->file, w->zeroes, n, hoff);
		hoff += n;
		len -= n;
	}
	return r;
}

/* Make LEN bytes at HOFF, newly taken, read as zero. FRESH: they never were part
 * of the file. */
static int fill(struct work *w, uint64_t hoff, uint64_t len, bool fresh)
{
	struct hostfile *f = w->img->file;
	struct host_stat st;
	int r;

	if (w->opts->mode == CREATE_PREALLOC_FULL)
		return write_zeroes(w, hoff, len);
	if (!fresh)
		return hostfile_zero(f, hoff, len);
	if (w->opts->mode == CREATE_PREALLOC_FALLOC) {
		r = hostfile_allocate(f, hoff, len);
		return r == -EOPNOTSUPP ? hostfile_zero(f, hoff, len) : r;
	}
	/* an entry may not point behind the end of the file */
	r = hostfile_stat(f, &st);
	if (r == 0 && !st.block_device && st.size < hoff + len)
		r = hostfile_truncate(f, hoff + len);
	return r;
}

static int install(struct work *w, uint64_t goff, uint64_t hidx, uint64_t n)
{
	struct meta *m = &w->img->meta;
	struct l2map_change c = {
		.what = L2MAP_DATA,
		.goff = goff,
		.len = n << m->geom->cluster_bits,
		.hoff = hidx << m->geom->cluster_bits,
	};
	int r;

	atomic_store(&m->new_unsynced, true); /* [R1] */
	lock_take(&m->lock);
	r = l2map_change_locked(m, &c);
	if (r < 0)
		alloc_give_back_locked(m, hidx, n);
	lock_drop(&m->lock);
	return r;
}

/* A place for some of the clusters of LEN bytes at GOFF; *DONE bytes. */
static int place(struct work *w, uint64_t goff, uint64_t len, uint64_t *done)
{
	struct meta *m = &w->img->meta;
	unsigned bits = m->geom->cluster_bits;
	uint64_t hidx, n = NUM_MIN(len, l2map_reach(m, goff)) >> bits;
	bool fresh;
	int r;

	lock_take(&m->lock);
	r = l2map_prepare_locked(m, goff);
	if (r == 0)
		r = alloc_run_locked(m, n, &hidx, &n, &fresh);
	lock_drop(&m->lock);
	if (r < 0)
		return r;
	*done = n << bits;
	r = fill(w, hidx << bits, *done, fresh);
	if (r == 0)
		return install(w, goff, hidx, n);
	lock_take(&m->lock);
	alloc_give_back_locked(m, hidx, n);
	lock_drop(&m->lock);
	return r;
}

/* What stands at FROM, in whole clusters; *EMPTY: none of them has a place. */
static int look(struct work *w, uint64_t from, uint64_t to, uint64_t *len,
		bool *empty)
{
	const struct geom *g = &w->img->geom;
	uint64_t end = NUM_MIN(to, g->size);
	struct extent e;
	int r = l2map_lookup(&w->img->meta, from, end - from, &e);

	if (r < 0)
		return r;
	*empty = e.kind == L2ENTRY_UNALLOCATED ||
		 e.kind == L2ENTRY_ZERO_PLAIN;
	/* a part of a cluster, unless it is the disk's last one, stands for
	 * others that differ */
	if (from + e.len < end && e.len < g->cluster_size)
		*empty = false;
	*len = from + e.len < end && e.len >= g->cluster_size ?
		       num_round_down(e.len, g->cluster_size) :
		       num_round_up(e.len, g->cluster_size);
	return 0;
}

static int place_all(struct work *w, uint64_t from, uint64_t to)
{
	const struct prealloc_opts *o = w->opts;
	struct meta *m = &w->img->meta;
	uint64_t begin = from;
	int r = 0;

	for (uint64_t len; from < to && r == 0; from += len) {
		bool empty;

		if (o->progress)
			o->progress(o->progress_arg,
				    (unsigned)((from - begin) /
					       ((to - begin) / 1000 + 1)));
		r = look(w, from, to, &len, &empty);
		if (r == 0 && empty)
			r = place(w, from, len, &len);
		if (r == 0 && writeback_pressure(m) != WRITEBACK_CALM)
			r = writeback_all(m);
	}
	return r == 0 ? writeback_all(m) : r;
}

int prealloc_check(const struct image *img, struct err *err)
{
	const struct header *h = &img->meta.header;

	if (!h->crypt_method && !(h->incompatible & QCOW2_INCOMPAT_DATA_FILE))
		return 0;
	return err_set(err, -ENOTSUP,
		       "an encrypted disk, or one in an external data file, cannot be preallocated; leave --preallocation out");
}

int prealloc_range(struct image *img, uint64_t from, uint64_t to,
		   const struct prealloc_opts *opts, struct err *err)
{
	uint64_t mask = img->geom.cluster_size - 1;
	autofree uint8_t *zeroes = mem_array(1, PIECE);
	struct work w = { .img = img, .opts = opts, .zeroes = zeroes };
	int r = prealloc_check(img, err);

	if (r < 0)
		return r;
	if (!zeroes)
		return err_set_sys(err, -ENOMEM, "cannot preallocate");
	r = gate_quiesce(img);
	if (r == 0) {
		r = place_all(&w, (from + mask) & ~mask, (to + mask) & ~mask);
		gate_open(img);
	}
	return r < 0 ? err_set_sys(err, r, "cannot preallocate") : 0;
}
