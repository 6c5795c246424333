#include "core/admin/rewidth.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/seed.h"
#include "core/format/qcow2.h"
#include "core/format/rcentry.h"
#include "core/image/open.h"
#include "core/meta/atonce.h"
#include "core/meta/rolescan.h"

#define CACHE (8ULL << 20)

struct work {
	struct image *img;
	struct meta *m;
	struct geom to;		  /* with the new width */
	uint64_t first;		  /* host cluster of the new table; the blocks
				     follow it */
	uint64_t n_table, n_blocks, total;
	uint64_t *old;		  /* host clusters of the old blocks, sorted */
	size_t n_old, at_old;	  /* the next one that a walk upwards meets */
	uint8_t *buf;		  /* a cluster */
	void (*progress)(void *arg, unsigned permille);
	void *arg;
	struct err *err;
};

/* Behind all that is in use: the end of the file, but the last sectors of a
 * compressed cluster may lie in the cluster there. */
static int find_end(struct work *w)
{
	struct meta *m = w->m;
	uint64_t v;
	int r;

	w->first = atomic_load(&m->end_hidx);
	lock_take(&m->lock);
	r = refcount_get_locked(m, w->first, &v);
	lock_drop(&m->lock);
	if (r < 0)
		return err_set_sys(w->err, r, "cannot read the refcounts");
	w->first += v != 0;
	return 0;
}

/* The new structures count themselves: grow them until they suffice. */
static int lay_out(struct work *w)
{
	uint64_t before;
	int r = find_end(w);

	if (r < 0)
		return r;
	w->n_table = w->n_blocks = 1;
	do {
		before = w->n_table + w->n_blocks;
		w->total = w->first + before;
		w->n_blocks = num_div_ceil(w->total, w->to.refblock_entries);
		w->n_table = geom_clusters(&w->to, w->n_blocks * 8);
	} while (w->n_table + w->n_blocks != before);
	if (w->n_table << w->to.cluster_bits > QCOW2_MAX_REFTABLE_BYTES ||
	    w->total >= QCOW2_HOST_OFFSET_MAX >> w->to.cluster_bits)
		return err_set(w->err, -EFBIG,
			       "refcounts of %u bits for a file of that size do not fit the refcount table",
			       w->to.refcount_bits);
	return 0;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int list_old(struct work *w)
{
	const struct refcount *rc = &w->m->refcount;

	w->old = mem_array((size_t)rc->n + 1, sizeof(*w->old));
	if (!w->old)
		return err_set_sys(w->err, -ENOMEM, "cannot change refcounts");
	for (uint64_t i = 0; i < rc->n; i++)
		if (rc->table[i])
			w->old[w->n_old++] =
				rc->table[i] >> w->to.cluster_bits;
	qsort(w->old, w->n_old, sizeof(*w->old), compare);
	return 0;
}

/* The count of HIDX once the old table and blocks are gone. Called with rising
 * HIDX. */
static int new_count(struct work *w, uint64_t hidx, uint64_t *v)
{
	const struct refcount *rc = &w->m->refcount;
	uint64_t table = rc->hoff >> w->to.cluster_bits;
	int r;

	*v = hidx < w->total;
	if (hidx >= w->first)
		return 0;
	lock_take(&w->m->lock);
	r = refcount_get_locked(w->m, hidx, v);
	lock_drop(&w->m->lock);
	if (r < 0)
		return err_set_sys(w->err, r, "cannot read the refcounts");
	while (w->at_old < w->n_old && w->old[w->at_old] < hidx)
		w->at_old++;
	if (*v && ((hidx >= table && hidx - table < rc->clusters) ||
		   (w->at_old < w->n_old && w->old[w->at_old] == hidx)))
		--*v;
	if (*v > w->to.refcount_max)
		return err_set(w->err, -ERANGE,
			       "a cluster is referred to %" PRIu64
			       " times, which refcounts of %u bits cannot count; delete snapshots, or choose larger refcount_bits",
			       *v, w->to.refcount_bits);
	return 0;
}

static int put(struct work *w, uint64_t hidx, enum role role)
{
	int r = meta_write(w->m, w->buf, (size_t)w->to.cluster_size,
			   hidx << w->to.cluster_bits, role);

	return r < 0 ? err_set_sys(w->err, r, "cannot write the refcounts") : 0;
}

static int put_block(struct work *w, uint64_t block)
{
	uint64_t base = block << w->to.refblock_bits;
	int r = 0;

	memset(w->buf, 0, (size_t)w->to.cluster_size);
	for (uint64_t i = 0; i < w->to.refblock_entries && r == 0; i++) {
		uint64_t v;

		if (base + i >= w->total)
			break;
		r = new_count(w, base + i, &v);
		if (r == 0)
			rcentry_set(w->buf, w->to.refcount_order, i, v);
	}
	return r < 0 ? r : put(w, w->first + w->n_table + block,
				ROLE_REFBLOCK);
}

static int put_table(struct work *w, uint64_t part)
{
	uint64_t per = w->to.cluster_size / 8;

	memset(w->buf, 0, (size_t)w->to.cluster_size);
	for (uint64_t i = 0; i < per && part * per + i < w->n_blocks; i++)
		be64_store(w->buf + i * 8,
			   (w->first + w->n_table + part * per + i)
				   << w->to.cluster_bits);
	return put(w, w->first + part, ROLE_REFTABLE);
}

/* The clusters behind the end get their roles, or lose them. */
static int claim(struct work *w)
{
	struct meta *m = w->m;
	int r;

	lock_take(&m->lock);
	r = rolescan_take_locked(m, w->first, w->n_table, ROLE_REFTABLE);
	if (r == 0)
		r = rolescan_take_locked(m, w->first + w->n_table, w->n_blocks,
					 ROLE_REFBLOCK);
	lock_drop(&m->lock);
	return r < 0 ? err_set_sys(w->err, r, "cannot change refcounts") : 0;
}

static void disclaim(struct work *w, uint64_t hidx, uint64_t n)
{
	lock_take(&w->m->lock);
	rolescan_drop_locked(w->m, hidx, n);
	lock_drop(&w->m->lock);
}

static int put_all(struct work *w)
{
	int r = claim(w);

	for (uint64_t i = 0; i < w->n_blocks && r == 0; i++) {
		r = put_block(w, i);
		if (w->progress)
			w->progress(w->arg,
				    (unsigned)(i * 1000 / w->n_blocks));
	}
	for (uint64_t i = 0; i < w->n_table && r == 0; i++)
		r = put_table(w, i);
	return r;
}

/* [R1] what the header will name is stable, [R7] then it names that. */
static int switch_roots(struct work *w)
{
	struct meta *m = w->m;
	struct header before = m->header;
	int r = 0;

	atomic_store(&m->new_unsynced, true);
	if (!SEED_BUG(SEED_WIDTH_EARLY))
		r = writeback_all(m);
	if (r == 0) {
		m->header.reftable_offset = w->first << w->to.cluster_bits;
		m->header.reftable_clusters = (uint32_t)w->n_table;
		m->header.refcount_order = w->to.refcount_order;
		r = atonce_header(m);
	}
	if (r < 0)
		m->header = before;
	return r < 0 ? err_set_sys(w->err, r, "cannot write the header") : 0;
}

/* What the old ones took is free, on disk too. */
static void punch_old(struct work *w, uint64_t table, uint64_t clusters)
{
	unsigned bits = w->to.cluster_bits;

	disclaim(w, table >> bits, clusters);
	for (size_t i = 0; i < w->n_old; i++)
		disclaim(w, w->old[i], 1);
	if (!w->m->alloc.punch)
		return;
	(void)!hostfile_punch(w->m->file, table, clusters << bits);
	for (size_t i = 0; i < w->n_old; i++)
		(void)!hostfile_punch(w->m->file, w->old[i] << bits,
				      w->to.cluster_size);
}

/* This process goes on with the new ones. */
static int take_over(struct work *w)
{
	struct meta *m = w->m;
	uint64_t table = m->refcount.hoff, clusters = m->refcount.clusters;
	int r;

	refcount_fini(&m->refcount);
	w->img->header = m->header;
	w->img->geom = w->to;
	atomic_store(&m->end_hidx, w->total);
	m->alloc.hint = 0;
	m->alloc.bytes_at = 0;
	r = refcount_open(m, CACHE);
	if (r < 0) {
		/* the file is right; this process cannot go on with it */
		atomic_store(&m->failed, true);
		return err_set_sys(w->err, r, "cannot read the refcounts");
	}
	punch_old(w, table, clusters);
	return 0;
}

int rewidth_image(struct image *img, unsigned order,
		  void (*progress)(void *arg, unsigned permille), void *arg,
		  struct err *err)
{
	autofree uint8_t *buf = malloc((size_t)img->geom.cluster_size);
	struct work w = { .img = img, .m = &img->meta, .buf = buf,
			  .progress = progress, .arg = arg, .err = err };
	struct header h = img->meta.header;
	struct host_stat st;
	int r = hostfile_stat(img->file, &st);

	if (r < 0 || !buf)
		return err_set_sys(err, r < 0 ? r : -ENOMEM,
				   "cannot change refcounts");
	h.refcount_order = order;
	header_geom(&h, &w.to);
	r = lay_out(&w);
	if (r == 0)
		r = list_old(&w);
	if (r == 0)
		r = put_all(&w);
	if (r < 0) { /* what was appended means nothing to anybody */
		disclaim(&w, w.first, w.n_table + w.n_blocks);
		(void)!hostfile_truncate(img->file, st.size);
	}
	if (r == 0)
		r = switch_roots(&w);
	if (r == 0)
		r = take_over(&w);
	free(w.old);
	return r;
}
