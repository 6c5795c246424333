#include "core/meta/refcount_grow.h"

#include <errno.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/format/qcow2.h"
#include "core/format/rcentry.h"
#include "core/meta/meta.h"

int refcount_open(struct meta *m, uint64_t cache_size)
{
	struct refcount *rc = &m->refcount;
	const struct geom *g = m->geom;
	size_t bytes = (size_t)m->header.reftable_clusters << g->cluster_bits;
	autofree uint8_t *raw = mem_array(bytes, 1);
	int r;

	memset(rc, 0, sizeof(*rc));
	rc->n = bytes / 8;
	rc->hoff = rc->committed_hoff = m->header.reftable_offset;
	rc->clusters = m->header.reftable_clusters;
	rc->table = mem_array(rc->n, sizeof(*rc->table));
	rc->hooked = mem_array(rc->n, sizeof(*rc->hooked));
	if (!raw || !rc->table || !rc->hooked)
		return -ENOMEM;
	r = hostfile_pread_full(m->file, raw, bytes, rc->hoff);
	if (r < 0)
		return r;
	for (uint64_t i = 0; i < rc->n; i++) {
		rc->table[i] = be64_load(raw + i * 8);
		rc->hooked[i] = true;
	}
	return tablecache_new(&rc->blocks, m->file, g->slice_bits,
			      g->cluster_size, cache_size);
}

void refcount_fini(struct refcount *rc)
{
	free(rc->table);
	free(rc->hooked);
	free(rc->unhooked);
	free(rc->room);
	tablecache_free(rc->blocks);
	memset(rc, 0, sizeof(*rc));
}

/* Entries of a slice of a refcount block. */
static uint64_t slice_entries(const struct meta *m)
{
	return m->geom->slice_size * 8 >> m->geom->refcount_order;
}

/* Pin the slice that counts HIDX, in a covered area; *I is its entry there. */
static int slice_of(struct meta *m, uint64_t hidx, struct slice **s,
		    uint64_t *i)
{
	const struct geom *g = m->geom;
	uint64_t block = m->refcount.table[refcount_area(m, hidx)];
	uint64_t in_block = hidx & (g->refblock_entries - 1);

	if (!num_is_aligned(block, g->cluster_size) ||
	    (block >> g->cluster_bits) >= atomic_load(&m->end_hidx))
		return meta_corrupt(m, "refcount table entry", block);
	*i = in_block & (slice_entries(m) - 1);
	return tablecache_get(m->refcount.blocks,
			      block + in_block / slice_entries(m) * g->slice_size,
			      s);
}

int refcount_get_locked(struct meta *m, uint64_t hidx, uint64_t *value)
{
	struct slice *s;
	uint64_t i;
	int r;

	*value = 0;
	if (!refcount_is_covered(m, refcount_area(m, hidx)))
		return 0;
	r = slice_of(m, hidx, &s, &i);
	if (r < 0)
		return r;
	*value = rcentry_get(s->data, m->geom->refcount_order, i);
	tablecache_put(m->refcount.blocks, s);
	return 0;
}

/* Add +1 or -1 to N counts from HIDX that one slice holds. */
static int change_slice(struct meta *m, struct slice *s, uint64_t i, uint64_t n,
			bool add)
{
	unsigned order = m->geom->refcount_order;
	uint64_t edge = add ? m->geom->refcount_max : 0;
	int r;

	for (uint64_t k = i; k < i + n; k++)
		if (rcentry_get(s->data, order, k) == edge)
			return add ? -ERANGE : -EUCLEAN;
	r = tablecache_dirty(m->refcount.blocks, s);
	if (r < 0)
		return r;
	for (uint64_t k = i; k < i + n; k++) {
		uint64_t v = rcentry_get(s->data, order, k);

		rcentry_set(s->data, order, k, add ? v + 1 : v - 1);
	}
	return 0;
}

/* N counts from HIDX, entries from I on of S, are lower: what they say is free
 * has no role any more. */
static void end_roles(struct meta *m, const struct slice *s, uint64_t i,
		      uint64_t hidx, uint64_t n) LOCK_REQUIRES(&m->lock)
{
	for (uint64_t k = 0; k < n; k++)
		if (rcentry_get(s->data, m->geom->refcount_order, i + k))
			rolescan_lower_locked(m, hidx + k);
		else
			rolescan_drop_locked(m, hidx + k, 1);
}

/* Change counts slice by slice; *DONE of them were changed on return. */
static int change_run(struct meta *m, uint64_t hidx, uint64_t n, bool add,
		      uint64_t *done) LOCK_REQUIRES(&m->lock)
{
	*done = 0;
	while (*done < n) {
		struct slice *s;
		uint64_t i;
		uint64_t step;
		int r;

		if (!refcount_is_covered(m, refcount_area(m, hidx + *done)))
			return -EUCLEAN;
		r = slice_of(m, hidx + *done, &s, &i);
		if (r < 0)
			return r;
		step = NUM_MIN(n - *done, slice_entries(m) - i);
		r = change_slice(m, s, i, step, add);
		refwatch_note(m->refcount.watch, hidx + *done, step);
		if (r == 0 && !add)
			end_roles(m, s, i, hidx + *done, step);
		tablecache_put(m->refcount.blocks, s);
		if (r < 0)
			return r;
		*done += step;
	}
	return 0;
}

int refcount_add_locked(struct meta *m, uint64_t hidx, uint64_t n)
{
	uint64_t done, undone;
	int r = change_run(m, hidx, n, true, &done);

	/* What was changed is dirty, hence in memory: undoing cannot fail. */
	if (r < 0 && done)
		(void)change_run(m, hidx, done, false, &undone);
	return r;
}

int refcount_sub_locked(struct meta *m, uint64_t hidx, uint64_t n)
{
	uint64_t done;

	return change_run(m, hidx, n, false, &done);
}

/* Host clusters that offsets and the largest refcount table can express. */
static uint64_t hidx_limit(const struct meta *m)
{
	const struct geom *g = m->geom;
	uint64_t table = QCOW2_MAX_REFTABLE_BYTES / 8;

	return NUM_MIN(QCOW2_HOST_OFFSET_MAX >> g->cluster_bits,
		       table << g->refblock_bits);
}

/* A search for a run of free clusters. */
struct search {
	uint64_t min, max;
	uint64_t start, len; /* the run so far */
};

static bool take_free(struct search *q, uint64_t hidx, uint64_t n)
{
	if (!q->len)
		q->start = hidx;
	q->len = NUM_MIN(q->len + n, q->max);
	return q->len == q->max;
}

/* Scan entries [I, END) of a slice whose first one counts BASE. True when the
 * search is over. */
static bool scan_slice(const struct meta *m, const void *data, uint64_t base,
		       uint64_t i, uint64_t end, struct search *q)
{
	unsigned order = m->geom->refcount_order;

	while (i < end) {
		uint64_t z = rcentry_find_zero(data, order, i, end);
		uint64_t u;

		if (z > i && q->len >= q->min)
			return true;
		if (z > i)
			q->len = 0;
		u = rcentry_find_used(data, order, z,
				      z + NUM_MIN(end - z, q->max - q->len));
		if (u > z && take_free(q, base + z, u - z))
			return true;
		i = u;
	}
	return false;
}

int refcount_find_free_locked(struct meta *m, uint64_t from, uint64_t min,
			      uint64_t max, uint64_t *hidx, uint64_t *n)
{
	struct search q = { .min = min, .max = max };
	uint64_t limit = hidx_limit(m);
	bool over = false;

	while (!over && from < limit) {
		uint64_t next = num_round_up(from + 1, slice_entries(m));
		struct slice *s;
		uint64_t i;
		int r;

		if (!refcount_is_covered(m, refcount_area(m, from))) {
			next = (refcount_area(m, from) + 1) << m->geom->refblock_bits;
			over = take_free(&q, from, next - from);
			from = next;
			continue;
		}
		r = slice_of(m, from, &s, &i);
		if (r < 0)
			return r;
		over = scan_slice(m, s->data, from - i, i, slice_entries(m), &q);
		tablecache_put(m->refcount.blocks, s);
		from = next;
	}
	if (q.len < min || q.start + q.len > limit)
		return -ENOSPC;
	*hidx = q.start;
	*n = q.len;
	return 0;
}
