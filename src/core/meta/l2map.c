#include "core/meta/l2map.h"

#include <errno.h>

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(e) ((e)->lost = true)
#include <uthash.h>

#include "base/mem.h"
#include "base/num.h"
#include "base/seed.h"
#include "core/meta/meta.h"

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

static uint64_t slice_entries(const struct meta *m)
{
	return m->geom->slice_size / 8;
}

uint64_t l2map_reach(const struct meta *m, uint64_t goff)
{
	uint64_t span = slice_entries(m) << m->geom->cluster_bits;

	return span - (goff & (span - 1));
}

/* The L2 table of GOFF: *L2_HOFF is 0 for none. */
static int table_of(struct meta *m, uint64_t goff, uint64_t *l2_hoff,
		    bool *copied)
{
	const struct geom *g = m->geom;
	uint64_t i = geom_l1_index(g, goff);
	int r;

	if (i >= m->l1.n)
		return meta_corrupt(m, "L1 table too short", m->l1.hoff);
	r = l2entry_decode_l1(g, l1table_get(&m->l1, i), l2_hoff, copied);
	if (r < 0 || *l2_hoff >> g->cluster_bits >= atomic_load(&m->end_hidx))
		return meta_corrupt(m, "L1 entry", m->l1.hoff + i * 8);
	return 0;
}

/* Pin the slice with the entry of GOFF in the table at L2_HOFF. */
static int slice_of(struct meta *m, uint64_t l2_hoff, uint64_t goff,
		    struct slice **s, uint64_t *i)
{
	uint64_t index = geom_l2_index(m->geom, goff);

	*i = index & (slice_entries(m) - 1);
	return tablecache_get(m->l2,
			      l2_hoff + index / slice_entries(m) *
						m->geom->slice_size,
			      s);
}

static int decode(struct meta *m, const struct slice *s, uint64_t i,
		  struct l2entry *e)
{
	const struct geom *g = m->geom;
	uint64_t end = atomic_load(&m->end_hidx);
	int r = l2entry_decode(g, l2entry_load(s->data, i), e);

	if (r < 0)
		return meta_corrupt(m, "L2 entry", s->hoff + i * 8);
	if (e->kind == L2ENTRY_UNALLOCATED || e->kind == L2ENTRY_ZERO_PLAIN)
		return 0;
	if (e->hoff >> g->cluster_bits >= end || e->hoff < g->cluster_size ||
	    num_ranges_overlap(e->hoff, e->clen ? e->clen : g->cluster_size,
			       m->l1.hoff, (uint64_t)m->l1.n * 8))
		return meta_corrupt(m, "L2 entry to an impossible place",
				    s->hoff + i * 8);
	return 0;
}

static bool has_place(enum l2entry_kind kind)
{
	return kind == L2ENTRY_PLAIN || kind == L2ENTRY_ZERO_ALLOC;
}

/* Append LEN bytes of a cluster described by E, from byte IN_CLUSTER of it on,
 * to *OUT. False when they do not continue it. */
static bool append(struct extent *out, const struct l2entry *e,
		   uint64_t in_cluster, uint64_t len)
{
	uint64_t hoff = e->hoff + (has_place(e->kind) ? in_cluster : 0);

	if (!out->len) {
		*out = (struct extent){ .kind = e->kind,
					.copied = e->copied,
					.hoff = hoff,
					.clen = e->clen };
	} else if (out->kind != e->kind || out->copied != e->copied ||
		   e->kind == L2ENTRY_COMPRESSED ||
		   (has_place(e->kind) && out->hoff + out->len != hoff)) {
		return false;
	}
	out->len += len;
	return true;
}

/* Extend *OUT by entries of one slice; *LEFT guest bytes are still wanted.
 * 1: the run ends here; 0: go on with the next slice. */
static int append_slice(struct meta *m, uint64_t l2_hoff, uint64_t goff,
			uint64_t *left, struct extent *out)
{
	const struct geom *g = m->geom;
	struct slice *s;
	uint64_t i;
	int r = slice_of(m, l2_hoff, goff, &s, &i);

	if (r < 0)
		return r;
	for (; *left && i < slice_entries(m); i++) {
		uint64_t in_cluster = geom_in_cluster(g, goff);
		uint64_t len = NUM_MIN(g->cluster_size - in_cluster, *left);
		struct l2entry e;

		r = decode(m, s, i, &e);
		if (r < 0 || !append(out, &e, in_cluster, len)) {
			/* a broken entry further on is not this request's */
			r = out->len ? 1 : r;
			break;
		}
		goff += len;
		*left -= len;
	}
	tablecache_put(m->l2, s);
	return r;
}

int l2map_lookup(struct meta *m, uint64_t goff, uint64_t len,
		 struct extent *out)
{
	static const struct l2entry none = { .kind = L2ENTRY_UNALLOCATED };
	uint64_t left = len;
	int r = 0;

	out->len = 0;
	while (left && r == 0) {
		uint64_t at = goff + (len - left);
		uint64_t l2_hoff, step;
		bool copied;

		r = table_of(m, at, &l2_hoff, &copied);
		if (r < 0)
			break;
		if (l2_hoff) {
			r = append_slice(m, l2_hoff, at, &left, out);
			continue;
		}
		step = geom_l2_span(m->geom) -
		       (at & (geom_l2_span(m->geom) - 1));
		step = NUM_MIN(step, left);
		if (append(out, &none, 0, step))
			left -= step;
		else
			r = 1;
	}
	return out->len ? 0 : r;
}

/* Fill the new table at NEW_HOFF with the entries of the shared one at
 * OLD_HOFF. What a shared table maps is shared too: no COPIED [R6]. */
static int copy_table(struct meta *m, uint64_t old_hoff, uint64_t new_hoff)
{
	const struct geom *g = m->geom;
	autofree void *t = mem_aligned(g->cluster_size);
	int r;

	if (!t)
		return -ENOMEM;
	r = hostfile_pread_full(m->file, t, g->cluster_size, old_hoff);
	if (r < 0)
		return r;
	for (uint64_t i = 0; i < g->l2_entries; i++) {
		uint64_t raw = l2entry_load(t, i);

		if (SEED_BUG(SEED_COPIED_ON_SHARED) && (raw & QCOW2_OFFSET_MASK) &&
		    !(raw & QCOW2_ENTRY_COMPRESSED))
			l2entry_store(t, i, raw | QCOW2_ENTRY_COPIED);
		else
			l2entry_store(t, i, raw & ~QCOW2_ENTRY_COPIED);
	}
	return hostfile_pwrite_full(m->file, t, g->cluster_size, new_hoff);
}

/* Take a cluster for the table of GOFF and write the whole of it: nothing
 * refers to it yet, and the commit needs no room on the host any more. */
static int make_table(struct meta *m, uint64_t old_hoff, uint64_t *new_hoff)
	LOCK_REQUIRES(&m->lock)
{
	const struct geom *g = m->geom;
	uint64_t hidx;
	int r = alloc_exact_locked(m, 1, &hidx);

	if (r < 0)
		return r;
	*new_hoff = hidx << g->cluster_bits;
	tablecache_forget(m->l2, *new_hoff, g->cluster_size);
	r = old_hoff ? copy_table(m, old_hoff, *new_hoff)
		     : hostfile_zero(m->file, *new_hoff, g->cluster_size);
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
	int r = table_of(m, goff, &old_hoff, &copied);

	if (r < 0 || (old_hoff && copied))
		return r;
	r = l1table_reserve(&m->l1, i);
	if (r == 0)
		r = meta_reserve_room(m, m->l1.hoff + i * 8, 8);
	if (r == 0)
		r = alloc_free_reserve_locked(m, 1);
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

/* The entry that replaces E, K clusters into a run. */
static uint64_t new_entry(const struct meta *m, const struct l2entry *e,
			  enum l2map_change what, uint64_t hoff, uint64_t k)
{
	struct l2entry n = { .kind = L2ENTRY_ZERO_PLAIN };

	switch (what) {
	case L2MAP_DATA:
		n.kind = L2ENTRY_PLAIN;
		n.copied = true;
		n.hoff = hoff + (k << m->geom->cluster_bits);
		break;
	case L2MAP_ZERO_KEEP:
		if (has_place(e->kind) && e->copied) {
			n = *e;
			n.kind = L2ENTRY_ZERO_ALLOC;
		}
		break;
	case L2MAP_ZERO_UNMAP:
		break;
	case L2MAP_UNMAP:
		return 0;
	case L2MAP_COMPRESSED:
		return hoff;
	}
	return l2entry_encode(&n);
}

/* The reference of the old entry E is gone unless NEW_HOFF is the same. */
static void drop_old(struct meta *m, const struct l2entry *e, uint64_t new_raw)
	LOCK_REQUIRES(&m->lock)
{
	const struct geom *g = m->geom;
	uint64_t first = e->hoff >> g->cluster_bits;

	if (e->kind == L2ENTRY_COMPRESSED) {
		uint64_t last = (e->hoff + e->clen - 1) >> g->cluster_bits;

		alloc_free_later_locked(m, first, last - first + 1);
	} else if (has_place(e->kind) &&
		   ((new_raw & QCOW2_ENTRY_COMPRESSED) ||
		    (new_raw & QCOW2_OFFSET_MASK) != e->hoff)) {
		alloc_free_later_locked(m, first, 1);
	}
}

/* Would the change alter any entry? Also validates them all. */
static int differs(struct meta *m, const struct slice *s, uint64_t i,
		   uint64_t n, enum l2map_change what, uint64_t hoff)
{
	int any = 0;

	for (uint64_t k = 0; k < n; k++) {
		struct l2entry e;
		int r = decode(m, s, i + k, &e);

		if (r < 0)
			return r;
		any |= new_entry(m, &e, what, hoff, k) !=
		       l2entry_load(s->data, i + k);
	}
	return any;
}

static int change_slice(struct meta *m, struct slice *s, uint64_t i,
			uint64_t n, enum l2map_change what, uint64_t hoff)
	LOCK_REQUIRES(&m->lock)
{
	int r = differs(m, s, i, n, what, hoff);

	if (r <= 0)
		return r;
	r = alloc_free_reserve_locked(m, n);
	if (r == 0)
		r = tablecache_dirty(m->l2, s);
	if (r < 0)
		return r;
	for (uint64_t k = 0; k < n; k++) {
		struct l2entry e;
		uint64_t raw;

		(void)!decode(m, s, i + k, &e);
		raw = new_entry(m, &e, what, hoff, k);
		l2entry_store(s->data, i + k, raw);
		drop_old(m, &e, raw);
	}
	return 0;
}

int l2map_change_locked(struct meta *m, uint64_t goff, uint64_t n,
			enum l2map_change what, uint64_t hoff)
{
	uint64_t l2_hoff, i = 0;
	struct slice *s = NULL;
	bool copied;
	int r = table_of(m, goff, &l2_hoff, &copied);

	if (r == 0 && !l2_hoff && what == L2MAP_UNMAP)
		return 0;
	if (r == 0)
		r = l2map_prepare_locked(m, goff);
	if (r == 0)
		r = table_of(m, goff, &l2_hoff, &copied);
	if (r == 0)
		r = slice_of(m, l2_hoff, goff, &s, &i);
	if (r < 0)
		return r;
	r = change_slice(m, s, i, n, what, hoff);
	tablecache_put(m->l2, s);
	writeback_note_locked(m);
	return r;
}

/* Give back what the entries of a whole table refer to. Room is reserved. */
static void drop_entries(struct meta *m, const void *t)
	LOCK_REQUIRES(&m->lock)
{
	for (uint64_t k = 0; k < m->geom->l2_entries; k++) {
		struct l2entry e;

		if (l2entry_decode(m->geom, l2entry_load(t, k), &e) == 0)
			drop_old(m, &e, 0);
	}
}

/* Are all entries of the table at HOFF possible? */
static int check_entries(struct meta *m, uint64_t hoff, const void *t)
{
	for (uint64_t k = 0; k < m->geom->l2_entries; k++) {
		struct l2entry e;

		if (l2entry_decode(m->geom, l2entry_load(t, k), &e) < 0)
			return meta_corrupt(m, "L2 entry", hoff + k * 8);
		if (e.kind != L2ENTRY_UNALLOCATED &&
		    e.kind != L2ENTRY_ZERO_PLAIN &&
		    e.hoff >> m->geom->cluster_bits >=
			    atomic_load(&m->end_hidx))
			return meta_corrupt(
				m, "L2 entry to an impossible place",
				hoff + k * 8);
	}
	return 0;
}

int l2map_drop_table_locked(struct meta *m, uint64_t i)
{
	const struct geom *g = m->geom;
	autofree void *t = NULL;
	uint64_t hoff;
	bool copied;
	int r = table_of(m, i * geom_l2_span(g), &hoff, &copied);

	if (r < 0 || !hoff)
		return r;
	t = mem_aligned(g->cluster_size);
	if (!t)
		return -ENOMEM;
	r = hostfile_pread_full(m->file, t, g->cluster_size, hoff);
	if (r == 0)
		r = check_entries(m, hoff, t);
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
