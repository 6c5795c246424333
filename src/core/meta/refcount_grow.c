/*
 * Coverage (refcount.h): refcount blocks for areas that have none, a larger
 * refcount table, and what of both the next commit must write.
 */
#include "core/meta/refcount_grow.h"

#include <errno.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/format/qcow2.h"

/* A free cluster in a hooked area, for the block of another area: its count
 * must be on disk whenever the hook is. */
static int find_hooked(struct meta *m, uint64_t *hidx)
	LOCK_REQUIRES(&m->lock)
{
	uint64_t n;
	uint64_t floor = rolescan_floor_locked(m);
	int r = refcount_find_free_locked(m, NUM_MAX(m->alloc.hint, floor), 1,
					  1, hidx, &n);

	if (r < 0)
		return r;
	return refcount_is_covered(m, refcount_area(m, *hidx)) &&
			       m->refcount.hooked[refcount_area(m, *hidx)]
		       ? 0
		       : -ENOSPC;
}

/* Room for one more unhooked area in the next cut. */
static int reserve_room(struct refcount *rc)
{
	size_t need = rc->unhooked_n + 1;
	size_t bytes = NUM_MAX(need * QCOW2_SECTOR, (size_t)rc->n * 8);

	if (mem_grow(&rc->unhooked, &rc->unhooked_cap, need,
		     sizeof(*rc->unhooked)) < 0)
		return -ENOMEM;
	return mem_grow(&rc->room, &rc->room_cap, bytes, 1);
}

/* Give AREA, inside the table, a refcount block at cluster HIDX, which is
 * free in a hooked area or the first of AREA itself. */
static int add_block_at(struct meta *m, uint64_t area, uint64_t hidx)
	LOCK_REQUIRES(&m->lock)
{
	struct refcount *rc = &m->refcount;
	const struct geom *g = m->geom;
	uint64_t hoff = hidx << g->cluster_bits;
	uint64_t end = atomic_load(&m->end_hidx);
	int r = reserve_room(rc);

	if (r == 0 && rc->hoff == rc->committed_hoff)
		r = meta_reserve_room(m, rc->hoff + area * 8, 8);
	if (r < 0)
		return r;
	r = rolescan_take_locked(m, hidx, 1, ROLE_REFBLOCK);
	if (r < 0)
		return r;
	r = meta_zero(m, hoff, g->cluster_size, ROLE_REFBLOCK);
	if (r < 0) {
		rolescan_drop_locked(m, hidx, 1);
		return r;
	}
	atomic_store(&m->new_unsynced, true);
	if (hidx >= end)
		atomic_store(&m->end_hidx, hidx + 1);
	tablecache_forget(rc->blocks, hoff, g->cluster_size);
	rc->table[area] = hoff;
	r = refcount_add_locked(m, hidx, 1);
	if (r < 0) {
		rc->table[area] = 0;
		rolescan_drop_locked(m, hidx, 1);
		return r;
	}
	rc->hooked[area] = false;
	rc->unhooked[rc->unhooked_n++] = area;
	return 0;
}

static int add_block(struct meta *m, uint64_t area)
	LOCK_REQUIRES(&m->lock)
{
	uint64_t hidx;

	if (find_hooked(m, &hidx) < 0)
		hidx = area << m->geom->refblock_bits;
	return add_block_at(m, area, hidx);
}

/* Entries of a table that has room for AREA, for its own clusters, and some. */
static uint64_t grown_entries(const struct meta *m, uint64_t area)
{
	const struct geom *g = m->geom;
	uint64_t want = area + 1 + (area + 1) / 2 + 8;
	uint64_t own = geom_clusters(g, want * 8) / g->refblock_entries + 2;
	uint64_t bytes = num_round_up((want + own) * 8, g->cluster_size);

	return NUM_MIN(bytes, (uint64_t)QCOW2_MAX_REFTABLE_BYTES) / 8;
}

static int resize_arrays(struct refcount *rc, uint64_t n)
{
	uint64_t *table = reallocarray(rc->table, n, sizeof(*table));
	bool *hooked;

	if (!table)
		return -ENOMEM;
	rc->table = table;
	hooked = reallocarray(rc->hooked, n, sizeof(*hooked));
	if (!hooked)
		return -ENOMEM;
	rc->hooked = hooked;
	for (uint64_t i = rc->n; i < n; i++) {
		table[i] = 0;
		hooked[i] = true;
	}
	rc->n = n;
	return 0;
}

/* Find, cover and take CLUSTERS neighbours for the larger table. */
static int place_table(struct meta *m, uint64_t clusters, uint64_t *hidx)
	LOCK_REQUIRES(&m->lock)
{
	uint64_t n;
	bool changed;
	int r;

	do {
		uint64_t floor = rolescan_floor_locked(m);

		r = refcount_find_free_locked(m, NUM_MAX(m->alloc.hint, floor),
					      clusters, clusters, hidx, &n);
		if (r < 0)
			return r;
		r = refcount_cover_locked(m, *hidx, clusters, &changed);
		if (r < 0)
			return r;
	} while (changed);
	r = rolescan_take_locked(m, *hidx, clusters, ROLE_REFTABLE);
	if (r < 0)
		return r;
	r = meta_zero(m, *hidx << m->geom->cluster_bits,
		      clusters << m->geom->cluster_bits, ROLE_REFTABLE);
	if (r == 0 && *hidx + clusters > atomic_load(&m->end_hidx))
		atomic_store(&m->end_hidx, *hidx + clusters);
	if (r == 0)
		r = refcount_add_locked(m, *hidx, clusters);
	if (r < 0)
		rolescan_drop_locked(m, *hidx, clusters);
	return r;
}

/* Take back the blocks made for areas from OLD_N on: the table that should
 * have named them could not be placed. */
static void undo_blocks(struct meta *m, uint64_t old_n)
	LOCK_REQUIRES(&m->lock)
{
	struct refcount *rc = &m->refcount;
	size_t kept = 0;

	for (size_t i = 0; i < rc->unhooked_n; i++) {
		uint64_t area = rc->unhooked[i];
		uint64_t hoff = rc->table[area];

		if (area < old_n) {
			rc->unhooked[kept++] = area;
			continue;
		}
		rc->table[area] = 0;
		tablecache_forget(rc->blocks, hoff, m->geom->cluster_size);
		rolescan_drop_locked(m, hoff >> m->geom->cluster_bits, 1);
		if (refcount_is_covered(m, refcount_area(m, hoff >> m->geom->cluster_bits)))
			(void)!refcount_sub_locked(
				m, hoff >> m->geom->cluster_bits, 1);
	}
	rc->unhooked_n = kept;
}

/* A table with room for AREA, in a new place; the header follows in the next
 * commit [R7], and the old table is freed after it. */
static int grow_table(struct meta *m, uint64_t area)
	LOCK_REQUIRES(&m->lock)
{
	struct refcount *rc = &m->refcount;
	const struct geom *g = m->geom;
	uint64_t old_n = rc->n;
	uint64_t n = grown_entries(m, area);
	uint64_t clusters = geom_clusters(g, n * 8);
	uint64_t hidx;
	int r;

	if (rc->growing || area >= QCOW2_MAX_REFTABLE_BYTES / 8)
		return -ENOSPC;
	r = alloc_free_reserve_locked(m, 1);
	if (r == 0)
		r = resize_arrays(rc, n);
	if (r < 0)
		return r;
	rc->growing = true;
	r = reserve_room(rc);
	if (r == 0)
		r = place_table(m, clusters, &hidx);
	rc->growing = false;
	if (r < 0) {
		undo_blocks(m, old_n);
		rc->n = old_n;
		return r;
	}
	alloc_free_later_locked(m, rc->hoff >> g->cluster_bits, rc->clusters);
	rc->hoff = hidx << g->cluster_bits;
	rc->clusters = clusters;
	m->header.reftable_offset = rc->hoff;
	m->header.reftable_clusters = (uint32_t)clusters;
	return 0;
}

int refcount_cover_locked(struct meta *m, uint64_t hidx, uint64_t n,
			  bool *changed)
{
	uint64_t last = refcount_area(m, hidx + n - 1);
	int r = 0;

	if (changed)
		*changed = false;
	for (uint64_t a = refcount_area(m, hidx); a <= last && r == 0; a++) {
		if (refcount_is_covered(m, a))
			continue;
		if (changed)
			*changed = true;
		if (a >= m->refcount.n)
			r = grow_table(m, a);
		if (r == 0 && !refcount_is_covered(m, a))
			r = add_block(m, a);
	}
	return r;
}

void refcount_reserve_locked(struct meta *m, uint64_t hidx)
{
	uint64_t area = refcount_area(m, hidx);
	uint64_t used = hidx & (m->geom->refblock_entries - 1);
	uint64_t c;

	if (used < m->geom->refblock_entries / 2 || refcount_is_covered(m, area + 1))
		return;
	if (find_hooked(m, &c) < 0)
		return;
	(void)refcount_cover_locked(m, (area + 1) << m->geom->refblock_bits, 1,
				    NULL);
}

void refcount_note_use_locked(struct meta *m, uint64_t hidx, uint64_t n)
{
	for (uint64_t a = refcount_area(m, hidx); a <= refcount_area(m, hidx + n - 1); a++)
		if (!m->refcount.hooked[a])
			m->refcount.urgent = true;
}

static void encode(const struct refcount *rc, uint64_t first, uint64_t n,
		   uint8_t *out)
{
	for (uint64_t i = 0; i < n; i++)
		be64_store(out + i * 8, rc->table[first + i]);
}

void refcount_take_cut(struct meta *m, struct refcount_cut *cut)
{
	struct refcount *rc = &m->refcount;

	cut->copies = rc->room;
	cut->areas = rc->unhooked;
	cut->n = rc->unhooked_n;
	cut->hoff = rc->hoff;
	cut->clusters = rc->clusters;
	cut->grown = rc->hoff != rc->committed_hoff;
	cut->urgent = rc->urgent;
	if (cut->grown)
		encode(rc, 0, rc->n, cut->copies);
	for (size_t i = 0; i < cut->n; i++) {
		uint64_t sec = num_round_down(cut->areas[i], 64);

		rc->hooked[cut->areas[i]] = true;
		if (!cut->grown)
			encode(rc, sec, 64, cut->copies + i * QCOW2_SECTOR);
	}
	rc->room = NULL;
	rc->room_cap = 0;
	rc->unhooked = NULL;
	rc->unhooked_n = rc->unhooked_cap = 0;
	rc->urgent = false;
	rc->committed_hoff = rc->hoff;
}

void refcount_cut_fini(struct refcount_cut *cut)
{
	free(cut->copies);
	free(cut->areas);
	memset(cut, 0, sizeof(*cut));
}
