/* Changes to the mapping; see l2map.h. */
#include "core/meta/l2map.h"

#include <assert.h>
#include <errno.h>

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(e) ((e)->lost = true)
#include "base/hash.h"

#include "base/mem.h"
#include "base/num.h"
#include "base/seed.h"
#include "core/meta/l2map_priv.h"
#include "core/meta/l2slice.h"

/* An L2 table that no stable L1 entry refers to yet: its slices belong to
 * phase 1 of the next commit. */
struct l2map_new {
	uint64_t hoff;
	bool lost; /* uthash had no memory */
	UT_hash_handle hh;
};

bool l2map_is_new_table(struct meta *m, uint64_t hoff)
{
	struct l2map_new *t;

	hoff = num_round_down(hoff, m->geom->cluster_size);
	HASH_FIND(hh, m->new_l2, &hoff, sizeof(hoff), t);
	return t;
}

void l2map_forget_new_tables(struct meta *m)
{
	struct l2map_new *t, *tmp;

	HASH_ITER(hh, m->new_l2, t, tmp) {
		HASH_DEL(m->new_l2, t);
		free(t);
	}
}

static int note_new_table(struct meta *m, uint64_t hoff)
{
	struct l2map_new *t = mem_array(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->hoff = hoff;
	HASH_ADD(hh, m->new_l2, hoff, sizeof(t->hoff), t);
	if (t->lost) {
		free(t);
		return -ENOMEM;
	}
	return 0;
}

/* Fill the new table at NEW_HOFF with the entries of the shared one at
 * OLD_HOFF. What a shared table maps is shared too: no COPIED [R6]. A data file
 * has nothing that is shared, and there COPIED says that a cluster is there. */
static int copy_table(struct meta *m, uint64_t old_hoff, uint64_t new_hoff)
{
	const struct geom *g = m->geom;
	autofree void *t = mem_aligned(g->cluster_size);
	int r;

	if (!t)
		return -ENOMEM;
	r = meta_read_table(m, t, old_hoff);
	if (r < 0)
		return r;
	for (uint64_t i = 0; i < g->l2_entries; i++) {
		struct l2entry_raw raw = l2entry_load(g, t, i);

		if (SEED_BUG(SEED_COPIED_ON_SHARED) &&
		    (raw.word & QCOW2_OFFSET_MASK) &&
		    !(raw.word & QCOW2_ENTRY_COMPRESSED))
			raw.word |= QCOW2_ENTRY_COPIED;
		else if (!g->data_file)
			raw.word &= ~QCOW2_ENTRY_COPIED;
		l2entry_store(g, t, i, raw);
	}
	return meta_write(m, t, g->cluster_size, new_hoff, ROLE_L2);
}

/* Take a cluster for the table of GOFF and write the whole of it: nothing
 * refers to it yet, and the commit needs no room on the host any more. The old
 * table can be noted as freed then. */
static int make_table(struct meta *m, uint64_t old_hoff, uint64_t *new_hoff)
	LOCK_REQUIRES(&m->lock)
{
	const struct geom *g = m->geom;
	uint64_t hidx;
	int r = alloc_exact_locked(m, 1, ROLE_L2, &hidx);

	if (r < 0)
		return r;
	*new_hoff = hidx << g->cluster_bits;
	tablecache_forget(m->l2, *new_hoff, g->cluster_size);
	/* not before: allocating may free the old refcount table */
	r = alloc_free_reserve_locked(m, 1);
	if (r == 0)
		r = old_hoff ? copy_table(m, old_hoff, *new_hoff)
			     : meta_zero(m, *new_hoff, g->cluster_size,
					 ROLE_L2);
	if (r == 0)
		r = note_new_table(m, *new_hoff);
	if (r < 0)
		alloc_give_back_locked(m, hidx, 1);
	else
		atomic_store(&m->new_unsynced, true);
	return r;
}

int l2map_prepare_locked(struct meta *m, uint64_t goff)
{
	uint64_t i = geom_l1_index(m->geom, goff);
	uint64_t old_hoff, new_hoff = 0;
	bool copied;
	int r = l2map_table_of(m, goff, &old_hoff, &copied);

	if (r < 0 || (old_hoff && copied))
		return r;
	if (old_hoff)
		r = rolescan_table_locked(m, old_hoff);
	if (r == 0)
		r = l1table_reserve(&m->l1, i);
	if (r == 0)
		r = meta_reserve_room(m, m->l1.hoff + i * 8, 8);
	if (r == 0)
		r = make_table(m, old_hoff, &new_hoff);
	if (r < 0)
		return r;
	l1table_set(&m->l1, i, l2entry_encode_l1(new_hoff, true));
	if (old_hoff)
		alloc_free_later_locked(m, old_hoff >> m->geom->cluster_bits,
					1);
	return 0;
}

/* Where C's part in the K-th cluster that it touches begins and ends, bytes
 * from that cluster's start. */
static void part_of(const struct geom *g, const struct l2map_change *c,
		    uint64_t k, uint64_t *from, uint64_t *to)
{
	uint64_t first = geom_in_cluster(g, c->goff);
	uint64_t end = first + c->len - (k << g->cluster_bits);

	*from = k ? 0 : first;
	*to = NUM_MIN(end, g->cluster_size);
}

static uint32_t subs_of(const struct geom *g, const struct l2map_change *c,
			uint64_t k)
{
	uint64_t from, to;

	part_of(g, c, k, &from, &to);
	return UINT32_MAX << (from >> g->sub_bits) &
	       UINT32_MAX >> (QCOW2_SUBCLUSTERS - (to >> g->sub_bits));
}

/* The host cluster for the K-th one that C, L2MAP_DATA, touches. */
static uint64_t place_of(const struct geom *g, const struct l2map_change *c,
			 uint64_t k)
{
	return num_round_down(c->hoff, g->cluster_size) +
	       (k << g->cluster_bits);
}

/* Does E's cluster stay reserved, although no data is left in it? */
static bool keeps_place(const struct l2entry *e, enum l2map_what what,
			uint32_t subs)
{
	if (!e->copied || what == L2MAP_ZERO_KEEP)
		return e->copied;
	/* was reserved before, and a part of it still is */
	return !e->alloc && subs != UINT32_MAX;
}

static void give_up_place(struct l2entry *e)
{
	e->hoff = 0;
	e->copied = false;
}

/* The extended entry that replaces E in the K-th cluster that C touches. */
static struct l2entry_raw new_extended(const struct geom *g,
				       const struct l2entry *e,
				       const struct l2map_change *c,
				       uint64_t k)
{
	uint32_t subs = subs_of(g, c, k);
	struct l2entry n = { .kind = L2ENTRY_UNALLOCATED };

	assert(e->kind != L2ENTRY_COMPRESSED || subs == UINT32_MAX);
	if (e->kind != L2ENTRY_COMPRESSED)
		n = *e;
	n.alloc &= ~subs;
	n.zero &= ~subs;
	switch (c->what) {
	case L2MAP_DATA:
		n.alloc |= subs;
		n.copied = true;
		n.hoff = place_of(g, c, k);
		break;
	case L2MAP_ZERO_KEEP:
	case L2MAP_ZERO_UNMAP:
		n.zero |= subs;
		break;
	case L2MAP_UNMAP:
		break;
	case L2MAP_COMPRESSED:
		return (struct l2entry_raw){ c->hoff, 0 };
	}
	if (!n.alloc && !keeps_place(e, c->what, subs))
		give_up_place(&n);
	return l2entry_encode(g, &n);
}

static struct l2entry_raw new_standard(const struct geom *g,
				       const struct l2entry *e,
				       const struct l2map_change *c,
				       uint64_t k)
{
	struct l2entry n = { .kind = L2ENTRY_ZERO_PLAIN };

	switch (c->what) {
	case L2MAP_DATA:
		n.kind = L2ENTRY_PLAIN;
		n.copied = true;
		n.hoff = place_of(g, c, k);
		break;
	case L2MAP_ZERO_KEEP:
		if (l2entry_has_place(e) && e->copied) {
			n = *e;
			n.kind = L2ENTRY_ZERO_ALLOC;
		}
		break;
	case L2MAP_ZERO_UNMAP:
		break;
	case L2MAP_UNMAP:
		n.kind = L2ENTRY_UNALLOCATED;
		break;
	case L2MAP_COMPRESSED:
		return (struct l2entry_raw){ c->hoff, 0 };
	}
	return l2entry_encode(g, &n);
}

static struct l2entry_raw new_entry(const struct geom *g,
				    const struct l2entry *e,
				    const struct l2map_change *c, uint64_t k)
{
	return g->extended ? new_extended(g, e, c, k)
			   : new_standard(g, e, c, k);
}

/* The references of the old entry E are gone, unless NEW has the same place. */
static void drop_old(struct meta *m, const struct l2entry *e,
		     struct l2entry_raw new)
	LOCK_REQUIRES(&m->lock)
{
	uint64_t hidx;
	uint64_t n = l2entry_clusters(m->geom, e, &hidx);

	if (l2entry_has_place(e) && !(new.word & QCOW2_ENTRY_COMPRESSED) &&
	    (new.word & QCOW2_OFFSET_MASK) == e->hoff)
		return;
	if (n)
		alloc_free_later_locked(m, hidx, n);
}

/* Would the change alter any of N entries? Also validates them all. */
static int differs(struct meta *m, const struct slice *s, uint64_t i,
		   uint64_t n, const struct l2map_change *c)
{
	const struct geom *g = m->geom;
	int any = 0;

	for (uint64_t k = 0; k < n; k++) {
		struct l2entry_raw old, new;
		struct l2entry e;
		int r = l2map_decode(m, s, i + k,
				     c->goff + (k << g->cluster_bits), &e);

		if (r < 0)
			return r;
		old = l2slice_load(g, s, i + k);
		new = new_entry(g, &e, c, k);
		any |= old.word != new.word || old.bitmap != new.bitmap;
	}
	return any;
}

static int change_slice(struct meta *m, struct slice *s, uint64_t i,
			const struct l2map_change *c)
	LOCK_REQUIRES(&m->lock)
{
	const struct geom *g = m->geom;
	uint64_t n = geom_clusters(g, geom_in_cluster(g, c->goff) + c->len);
	int r = differs(m, s, i, n, c);

	if (r <= 0)
		return r;
	r = alloc_free_reserve_locked(m, n);
	if (r == 0)
		r = tablecache_dirty(m->l2, s);
	if (r < 0)
		return r;
	for (uint64_t k = 0; k < n; k++) {
		struct l2entry_raw new;
		struct l2entry e;

		(void)!l2map_decode(m, s, i + k,
				    c->goff + (k << g->cluster_bits), &e);
		new = new_entry(g, &e, c, k);
		l2slice_store(g, s, i + k, new);
		drop_old(m, &e, new);
	}
	return 0;
}

int l2map_change_locked(struct meta *m, const struct l2map_change *c)
{
	uint64_t goff = c->goff;
	uint64_t l2_hoff, i = 0;
	struct slice *s = NULL;
	bool copied;
	int r = l2map_table_of(m, goff, &l2_hoff, &copied);

	if (r == 0 && !l2_hoff && c->what == L2MAP_UNMAP)
		return 0;
	if (r == 0)
		r = l2map_prepare_locked(m, goff);
	if (r == 0)
		r = l2map_table_of(m, goff, &l2_hoff, &copied);
	if (r == 0)
		r = rolescan_table_locked(m, l2_hoff);
	if (r == 0)
		r = l2map_slice_of(m, l2_hoff, goff, &s, &i);
	if (r < 0)
		return r;
	r = change_slice(m, s, i, c);
	tablecache_put(m->l2, s);
	writeback_note_locked(m);
	return r;
}

/* Give back what the entries of a whole table refer to. Room is reserved. */
static void drop_entries(struct meta *m, const void *t)
	LOCK_REQUIRES(&m->lock)
{
	const struct geom *g = m->geom;
	const struct l2entry_raw none = { 0, 0 };

	for (uint64_t k = 0; k < g->l2_entries; k++) {
		struct l2entry e;

		if (l2entry_decode(g, l2entry_load(g, t, k), &e) == 0)
			drop_old(m, &e, none);
	}
}

/* Are all entries of the table at HOFF, which maps from GOFF on, possible? */
static int check_entries(struct meta *m, uint64_t hoff, void *t,
			 uint64_t goff)
{
	const struct slice whole = { .data = t, .hoff = hoff };
	struct l2entry e;
	int r = 0;

	for (uint64_t k = 0; r == 0 && k < m->geom->l2_entries; k++)
		r = l2map_decode(m, &whole, k,
				 goff + (k << m->geom->cluster_bits), &e);
	return r;
}

int l2map_drop_table_locked(struct meta *m, uint64_t i)
{
	const struct geom *g = m->geom;
	autofree void *t = NULL;
	uint64_t hoff;
	bool copied;
	int r = l2map_table_of(m, i * geom_l2_span(g), &hoff, &copied);

	if (r == 0 && hoff)
		r = rolescan_table_locked(m, hoff);
	if (r < 0 || !hoff)
		return r;
	t = mem_aligned(g->cluster_size);
	if (!t)
		return -ENOMEM;
	r = meta_read_table(m, t, hoff);
	if (r == 0)
		r = check_entries(m, hoff, t, i * geom_l2_span(g));
	if (r == 0)
		r = l1table_reserve(&m->l1, i);
	if (r == 0)
		r = alloc_free_reserve_locked(m, g->l2_entries + 1);
	if (r < 0)
		return r;
	l1table_set(&m->l1, i, 0);
	drop_entries(m, t);
	alloc_free_later_locked(m, hoff >> g->cluster_bits, 1);
	writeback_note_locked(m);
	return 0;
}
