#include "core/meta/tree.h"

#include <errno.h>
#include <inttypes.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/format/l2entry.h"
#include "core/meta/l2slice.h"

/* Host clusters that one entry refers to. */
struct run {
	uint64_t hidx, n;
};

/* Where the L2 table of L1 entry RAW is; *HOFF is 0 for none. */
static int table_at(struct meta *m, uint64_t raw, uint64_t *hoff)
{
	bool copied;
	int r = l2entry_decode_l1(m->geom, raw, hoff, &copied);

	if (r < 0 || *hoff >> m->geom->cluster_bits >= atomic_load(&m->end_hidx))
		return -EUCLEAN;
	return 0;
}

/* What entry K of the table at HOFF refers to; run.n is 0 for nothing. */
static int entry_run(struct meta *m, const void *t, uint64_t k,
		     struct run *run)
{
	const struct geom *g = m->geom;
	struct l2entry e;

	run->n = 0;
	if (l2entry_decode(g, l2entry_load(g, t, k), &e) < 0)
		return -EUCLEAN;
	run->n = l2entry_clusters(g, &e, &run->hidx);
	if (run->n &&
	    (!run->hidx || run->hidx >= atomic_load(&m->end_hidx))) {
		run->n = 0;
		return -EUCLEAN;
	}
	return 0;
}

/* Count up the first N entries of a table. *DONE of them were. */
static int add_entries(struct meta *m, const void *t, uint64_t n,
		       uint64_t *done)
	LOCK_REQUIRES(&m->lock)
{
	struct run run;

	for (*done = 0; *done < n; ++*done) {
		int r = entry_run(m, t, *done, &run);

		if (r == 0 && run.n)
			r = refcount_add_locked(m, run.hidx, run.n);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Take back what add_entries() did: no reference was ever made. */
static void undo_entries(struct meta *m, const void *t, uint64_t n)
	LOCK_REQUIRES(&m->lock)
{
	struct run run;

	for (uint64_t k = 0; k < n; k++)
		if (entry_run(m, t, k, &run) == 0 && run.n)
			(void)!refcount_sub_locked(m, run.hidx, run.n);
}

static int add_table(struct meta *m, uint64_t hoff, const void *t)
{
	uint64_t done = 0;
	int r;

	lock_take(&m->lock);
	r = refcount_add_locked(m, hoff >> m->geom->cluster_bits, 1);
	if (r == 0) {
		r = add_entries(m, t, m->geom->l2_entries, &done);
		if (r < 0) {
			undo_entries(m, t, done);
			(void)!refcount_sub_locked(
				m, hoff >> m->geom->cluster_bits, 1);
		}
	}
	writeback_note_locked(m);
	lock_drop(&m->lock);
	return r;
}

/* Memory is bounded: write back what has gathered. */
static int relieve(struct meta *m)
{
	return writeback_pressure(m) == WRITEBACK_CALM ? 0 : writeback_all(m);
}

typedef int visit_fn(struct meta *m, uint64_t hoff, const void *t);

/* Call FN for each of the first N entries' L2 tables; *DONE entries were
 * visited without an error. */
static int visit(struct meta *m, const uint64_t *l1, uint32_t n, visit_fn *fn,
		 uint32_t *done)
{
	autofree void *t = mem_aligned(m->geom->cluster_size);

	*done = 0;
	if (!t)
		return -ENOMEM;
	for (; *done < n; ++*done) {
		uint64_t hoff;
		int r = table_at(m, l1[*done], &hoff);

		if (r == 0 && hoff) {
			r = meta_read_table(m, t, hoff);
			if (r == 0)
				r = fn(m, hoff, t);
			if (r == 0)
				r = relieve(m);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_table(struct meta *m, uint64_t hoff, const void *t)
{
	struct run run;
	int r = 0;

	(void)hoff;
	for (uint64_t k = 0; k < m->geom->l2_entries && r == 0; k++)
		r = entry_run(m, t, k, &run);
	return r;
}

int tree_check(struct meta *m, const uint64_t *l1, uint32_t n)
{
	uint32_t done;

	return visit(m, l1, n, check_table, &done);
}

static int undo_table(struct meta *m, uint64_t hoff, const void *t)
{
	lock_take(&m->lock);
	undo_entries(m, t, m->geom->l2_entries);
	(void)!refcount_sub_locked(m, hoff >> m->geom->cluster_bits, 1);
	lock_drop(&m->lock);
	return 0;
}

int tree_add(struct meta *m, const uint64_t *l1, uint32_t n)
{
	uint32_t done, undone;
	int r = visit(m, l1, n, add_table, &done);

	if (r < 0)
		(void)!visit(m, l1, done, undo_table, &undone);
	return r;
}

/* Before the table at HOFF is changed or dropped; all have been seen, unless
 * one could not be read then. */
static int see_table(struct meta *m, uint64_t hoff)
{
	int r;

	lock_take(&m->lock);
	r = rolescan_table_locked(m, hoff);
	lock_drop(&m->lock);
	return r;
}

/* Neighbours are freed in one go, so that a punch is long. */
static void drop_run(struct meta *m, struct run *have, const struct run *more)
{
	if (have->n && more->n && have->hidx + have->n == more->hidx) {
		have->n += more->n;
		return;
	}
	if (have->n)
		alloc_free_stable(m, have->hidx, have->n);
	*have = *more;
}

static int drop_table(struct meta *m, uint64_t hoff, const void *t)
{
	const struct run none = { 0, 0 };
	struct run have = none;
	struct run run;
	int r = see_table(m, hoff);

	if (r < 0)
		return r;
	for (uint64_t k = 0; k < m->geom->l2_entries; k++)
		if (entry_run(m, t, k, &run) == 0 && run.n)
			drop_run(m, &have, &run);
	drop_run(m, &have, &none);
	alloc_free_stable(m, hoff >> m->geom->cluster_bits, 1);
	lock_take(&m->lock);
	writeback_note_locked(m);
	lock_drop(&m->lock);
	return 0;
}

void tree_drop(struct meta *m, const uint64_t *l1, uint32_t n)
{
	for (uint32_t i = 0; i < n && !atomic_load(&m->failed); i++) {
		uint32_t done;
		int r = visit(m, l1 + i, 1, drop_table, &done);

		if (r < 0)
			log_limited(LOG_LEVEL_WARN,
				    "%s: an L2 table at host offset %#" PRIx64
				    " cannot be freed; run 'rawcow check'",
				    m->file->name,
				    (uint64_t)(l1[i] & QCOW2_OFFSET_MASK));
	}
}

/* COPIED is gone from the table at HOFF, or is about to be: nobody writes it,
 * or what it maps, in place any more. */
static void share_roles(struct meta *m, uint64_t hoff, const void *t)
{
	unsigned bits = m->geom->cluster_bits;
	struct rolemap *map = &m->roles.map;
	struct run run;

	lock_take(&m->lock);
	if (rolemap_get(map, hoff >> bits) == ROLE_L2)
		(void)!rolemap_set(map, hoff >> bits, 1, ROLE_L2_SHARED);
	for (uint64_t k = 0; k < m->geom->l2_entries; k++)
		if (entry_run(m, t, k, &run) == 0 && run.n &&
		    rolemap_get(map, run.hidx) == ROLE_DATA)
			(void)!rolemap_set(map, run.hidx, 1, ROLE_DATA_SHARED);
	lock_drop(&m->lock);
}

static int clear_table(struct meta *m, uint64_t hoff, const void *t)
{
	const struct geom *g = m->geom;
	autofree void *copy = mem_aligned(g->cluster_size);
	int r = copy ? see_table(m, hoff) : -ENOMEM;
	bool any = false;

	if (r < 0)
		return r;
	for (uint64_t k = 0; k < g->l2_entries; k++) {
		struct l2entry_raw raw = l2entry_load(g, t, k);

		any |= (raw.word & QCOW2_ENTRY_COPIED) != 0;
		raw.word &= ~QCOW2_ENTRY_COPIED;
		l2entry_store(g, copy, k, raw);
	}
	share_roles(m, hoff, t);
	if (!any)
		return 0;
	tablecache_forget(m->l2, hoff, g->cluster_size);
	return meta_write(m, copy, g->cluster_size, hoff, ROLE_L2_SHARED);
}

int tree_clear_copied(struct meta *m)
{
	autofree uint64_t *l1 = l1table_copy(&m->l1);
	uint32_t done;
	int r;

	if (!l1)
		return -ENOMEM;
	r = visit(m, l1, m->l1.n, clear_table, &done);
	if (r == 0 && m->l1.n)
		r = rolescan_check(m, m->l1.hoff, m->l1.n * 8ULL, ROLE_L1);
	if (r == 0)
		r = l1table_clear_copied(&m->l1, m->file);
	/* [R6] not before: a commit that begins meanwhile does not cover it */
	atomic_store(&m->new_unsynced, true);
	return r;
}

/* Is host cluster HIDX referred to once? */
static bool is_alone(struct meta *m, uint64_t hidx) LOCK_REQUIRES(&m->lock)
{
	uint64_t v;

	return refcount_get_locked(m, hidx, &v) == 0 && v == 1;
}

/* The cluster of a reference that gets COPIED: from ROLE to OWN. -EUCLEAN: it
 * was somebody's already. */
static int own_role(struct meta *m, uint64_t hoff, enum role role,
		    enum role own) LOCK_REQUIRES(&m->lock)
{
	struct rolemap *map = &m->roles.map;
	uint64_t hidx = hoff >> m->geom->cluster_bits;
	enum role old = rolemap_get(map, hidx);

	if (old != role && (old != ROLE_NONE ||
			    atomic_load(&m->roles.complete)))
		return meta_corrupt(m, "second reference to a cluster", hoff);
	return rolemap_set(map, hidx, 1, own);
}

/* Entry K of a slice: set COPIED if its cluster is the image's alone. */
static int set_entry(struct meta *m, struct slice *s, uint64_t k)
	LOCK_REQUIRES(&m->lock)
{
	const struct geom *g = m->geom;
	struct l2entry e;
	int r = l2entry_decode(g, l2slice_load(g, s, k), &e);

	if (r < 0 || e.copied || !l2entry_has_place(&e) ||
	    !is_alone(m, e.hoff >> g->cluster_bits))
		return r;
	r = tablecache_dirty(m->l2, s);
	if (r == 0)
		r = own_role(m, e.hoff, ROLE_DATA_SHARED, ROLE_DATA);
	if (r < 0)
		return r;
	e.copied = true;
	l2slice_store(g, s, k, l2entry_encode(g, &e));
	return 0;
}

static int set_slice(struct meta *m, uint64_t hoff) LOCK_REQUIRES(&m->lock)
{
	struct slice *s;
	int r = tablecache_get(m->l2, hoff, &s);

	if (r < 0)
		return r;
	for (uint64_t k = 0; k < geom_slice_entries(m->geom) && r == 0; k++)
		r = set_entry(m, s, k);
	tablecache_put(m->l2, s);
	return r;
}

/* The L2 table of L1 entry I, with all it maps. */
static int set_table(struct meta *m, uint32_t i) LOCK_REQUIRES(&m->lock)
{
	uint64_t raw = l1table_get(&m->l1, i);
	uint64_t hoff;
	int r = table_at(m, raw, &hoff);

	if (r < 0 || !hoff || !is_alone(m, hoff >> m->geom->cluster_bits))
		return r;
	r = rolescan_table_locked(m, hoff);
	if (r < 0)
		return r;
	/* a table whose COPIED was to be cleared may have kept it */
	if (!(raw & QCOW2_ENTRY_COPIED) ||
	    rolemap_get(&m->roles.map, hoff >> m->geom->cluster_bits) ==
		    ROLE_L2_SHARED) {
		r = l1table_reserve(&m->l1, i);
		if (r == 0)
			r = own_role(m, hoff, ROLE_L2_SHARED, ROLE_L2);
		if (r < 0)
			return r;
		l1table_set(&m->l1, i, raw | QCOW2_ENTRY_COPIED);
	}
	for (uint64_t at = 0; at < m->geom->cluster_size && r == 0;
	     at += m->geom->slice_size)
		r = set_slice(m, hoff + at);
	writeback_note_locked(m);
	return r;
}

int tree_set_copied(struct meta *m)
{
	int r = 0;

	for (uint32_t i = 0; i < m->l1.n && r == 0; i++) {
		lock_take(&m->lock);
		r = set_table(m, i);
		lock_drop(&m->lock);
		if (r == 0)
			r = relieve(m);
	}
	return r;
}
