#include "core/meta/l2map.h"

#include <errno.h>

#include "base/num.h"
#include "core/meta/l2map_priv.h"
#include "core/meta/l2slice.h"

uint64_t l2map_reach(const struct meta *m, uint64_t goff)
{
	uint64_t span = geom_slice_entries(m->geom) << m->geom->cluster_bits;

	return span - (goff & (span - 1));
}

int l2map_table_of(struct meta *m, uint64_t goff, uint64_t *l2_hoff,
		   bool *copied)
{
	const struct geom *g = m->geom;
	uint64_t i = geom_l1_index(g, goff);
	int r;

	if (i >= m->l1.n)
		return meta_corrupt(m, "L1 table too short", m->l1.hoff);
	r = l2entry_decode_l1(g, l1table_get(&m->l1, i), l2_hoff, copied);
	if (r < 0 || *l2_hoff >> g->cluster_bits >= atomic_load(&m->end_hidx) ||
	    (*l2_hoff && !rolescan_is_table(m, *l2_hoff, *copied)))
		return meta_corrupt(m, "L1 entry", m->l1.hoff + i * 8);
	return 0;
}

int l2map_slice_of(struct meta *m, uint64_t l2_hoff, uint64_t goff,
		   struct slice **s, uint64_t *i)
{
	const struct geom *g = m->geom;
	uint64_t at = geom_l2_index(g, goff) << g->entry_bits;

	*i = (at & (g->slice_size - 1)) >> g->entry_bits;
	return tablecache_get(m->l2, l2_hoff + num_round_down(at, g->slice_size),
			      s);
}

/* Is what E refers to inside the file, and data? What the role map calls
 * shared is not written in place, whatever COPIED says. */
static bool is_possible(struct meta *m, struct l2entry *e, uint64_t goff)
{
	bool compressed = e->kind == L2ENTRY_COMPRESSED;
	const struct geom *g = m->geom;
	uint64_t first;
	uint64_t n = l2entry_clusters(g, e, &first);
	bool shared;

	/* in a data file each guest cluster has a place of its own */
	if (g->data_file)
		return e->hoff == num_round_down(goff, g->cluster_size);
	if (!first || first >= atomic_load(&m->end_hidx) ||
	    num_ranges_overlap(e->hoff, e->clen ? e->clen : g->cluster_size,
			       m->l1.hoff, (uint64_t)m->l1.n * 8))
		return false;
	for (uint64_t h = first; h < first + n; h++)
		if (!rolescan_is_data(m, h, compressed, &shared))
			return false;
	e->copied = e->copied && !shared;
	return true;
}

int l2map_decode(struct meta *m, const struct slice *s, uint64_t i,
		 uint64_t goff, struct l2entry *e)
{
	const struct geom *g = m->geom;
	int r = l2entry_decode(g, l2slice_load(g, s, i), e);

	if (r < 0)
		return meta_corrupt(m, "L2 entry",
				    s->hoff + (i << g->entry_bits));
	if (!e->place && e->kind != L2ENTRY_COMPRESSED)
		return 0;
	return is_possible(m, e, goff)
		       ? 0
		       : meta_corrupt(m, "L2 entry to an impossible place",
				      s->hoff + (i << g->entry_bits));
}

static bool has_place(enum l2entry_kind kind)
{
	return kind == L2ENTRY_PLAIN || kind == L2ENTRY_ZERO_ALLOC ||
	       kind == L2ENTRY_RESERVED;
}

/* Append what MORE describes to *OUT. False when it does not continue it. */
static bool append(struct extent *out, const struct extent *more)
{
	if (!out->len) {
		*out = *more;
		return true;
	}
	if (out->kind != more->kind || out->copied != more->copied ||
	    more->kind == L2ENTRY_COMPRESSED ||
	    (has_place(more->kind) && out->hoff + out->len != more->hoff))
		return false;
	out->len += more->len;
	return true;
}

/* Append the cluster that E describes, from GOFF on as far as *LEFT goes. */
static bool append_cluster(const struct geom *g, const struct l2entry *e,
			   uint64_t goff, uint64_t *left, struct extent *out)
{
	uint64_t at = geom_in_cluster(g, goff);

	while (*left && at < g->cluster_size) {
		struct extent x = { .copied = e->copied, .clen = e->clen };

		x.kind = l2entry_run(g, e, at, &x.len);
		x.len = NUM_MIN(x.len, *left);
		x.hoff = e->hoff + (has_place(x.kind) ? at : 0);
		if (!append(out, &x))
			return false;
		at += x.len;
		*left -= x.len;
	}
	return true;
}

/* Extend *OUT, which ends at GOFF, by entries of one slice; *LEFT guest bytes
 * are still wanted. 1: the run ends here; 0: go on with the next slice. */
static int append_slice(struct meta *m, uint64_t l2_hoff, uint64_t goff,
			uint64_t *left, struct extent *out)
{
	uint64_t end = goff + *left;
	struct slice *s;
	uint64_t i;
	int r = l2map_slice_of(m, l2_hoff, goff, &s, &i);

	if (r < 0)
		return r;
	for (; *left && i < geom_slice_entries(m->geom); i++) {
		struct l2entry e;

		r = l2map_decode(m, s, i, end - *left, &e);
		if (r < 0 ||
		    !append_cluster(m->geom, &e, end - *left, left, out)) {
			/* a broken entry further on is not this request's */
			r = out->len ? 1 : r;
			break;
		}
	}
	tablecache_put(m->l2, s);
	return r;
}

int l2map_lookup(struct meta *m, uint64_t goff, uint64_t len,
		 struct extent *out)
{
	struct extent none = { .kind = L2ENTRY_UNALLOCATED };
	uint64_t left = len;
	int r = 0;

	out->len = 0;
	while (left && r == 0) {
		uint64_t at = goff + (len - left);
		uint64_t l2_hoff;
		bool copied;

		r = l2map_table_of(m, at, &l2_hoff, &copied);
		if (r < 0)
			break;
		if (l2_hoff) {
			r = append_slice(m, l2_hoff, at, &left, out);
			continue;
		}
		none.len = geom_l2_span(m->geom) -
			   (at & (geom_l2_span(m->geom) - 1));
		none.len = NUM_MIN(none.len, left);
		if (append(out, &none))
			left -= none.len;
		else
			r = 1;
	}
	return out->len ? 0 : r;
}
