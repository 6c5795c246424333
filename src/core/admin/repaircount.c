/* repaircount: refcounts and COPIED flags in place; see repairwork.h. */
#include "core/admin/repairwork.h"

#include <errno.h>
#include <inttypes.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/format/qcow2.h"
#include "core/format/rcentry.h"

/* Counts to write: those that are too low, or those that are too high. */
enum direction { RAISE, LOWER };

struct pass {
	struct checkwalk *w;
	enum direction direction;
	uint8_t *block; /* a cluster */
};

/* Set the counts of one refcount block to the references that were found. */
static bool fix_counts(struct pass *p, uint64_t index)
{
	const struct geom *g = &p->w->g;
	uint64_t first = index << g->refblock_bits;
	bool changed = false;

	for (uint64_t i = 0; i < g->refblock_entries; i++) {
		uint64_t have = rcentry_get(p->block, g->refcount_order, i);
		uint64_t refs = checkmap_refs(&p->w->map, first + i);

		refs = NUM_MIN(refs, g->refcount_max);
		if (p->direction == RAISE ? refs <= have : refs >= have)
			continue;
		rcentry_set(p->block, g->refcount_order, i, refs);
		changed = true;
	}
	return changed;
}

static int fix_block(struct pass *p, uint64_t raw, uint64_t index)
{
	struct checkwalk *w = p->w;
	uint64_t hoff = raw & QCOW2_REFTABLE_MASK;
	int r;

	if (!checkwalk_counted(w, index << w->g.refblock_bits))
		return 0;
	r = hostfile_pread(w->file, p->block, w->g.cluster_size, hoff, NULL);
	if (r < 0)
		return err_set_sys(w->err, r, "cannot read a refcount block");
	if (!fix_counts(p, index))
		return 0;
	return repairentry_write(w, p->block, w->g.cluster_size, hoff);
}

/* All refcount blocks in one direction, then F. */
static int fix_all_counts(struct pass *p, enum direction direction)
{
	struct checkwalk *w = p->w;
	size_t len = (size_t)w->h.reftable_clusters << w->g.cluster_bits;
	autofree uint8_t *table = mem_array(1, len);
	int r;

	p->direction = direction;
	if (!table)
		return err_set(w->err, -ENOMEM, "no memory for the repair");
	r = hostfile_pread(w->file, table, len, w->h.reftable_offset, NULL);
	if (r < 0)
		return err_set_sys(w->err, r, "cannot read the refcount table");
	for (uint64_t i = 0; i < len / 8 && r == 0; i++)
		r = fix_block(p, be64_load(table + i * 8), i);
	return r;
}

/* A refcount structure that is broken itself is rebuilt, not written. */
static int fix_direction(struct checkwalk *w, enum direction direction)
{
	struct pass p = { .w = w, .block = mem_aligned(w->g.cluster_size) };
	int r = 0;

	if (!p.block)
		return err_set(w->err, -ENOMEM, "no memory for the repair");
	if (!w->rebuild)
		r = fix_all_counts(&p, direction);
	free(p.block);
	return r < 0 ? r : repairentry_sync(w);
}

int repaircount_raise(struct checkwalk *w)
{
	return fix_direction(w, RAISE);
}

int repaircount_lower(struct checkwalk *w)
{
	return fix_direction(w, LOWER);
}

/* The count of the cluster at HOFF when all passes are done. */
static uint64_t final_count(struct checkwalk *w, uint64_t hoff, bool lower)
{
	uint64_t hidx = hoff >> w->g.cluster_bits;
	uint64_t refs = checkmap_refs(&w->map, hidx);
	uint64_t stored = checkmap_stored(&w->map, hidx);

	return lower ? refs : NUM_MAX(refs, stored);
}

struct flags {
	struct checkwalk *w;
	bool lower;
};

/* Clusters in an external data file count as one for ever. */
static uint64_t in_data_file(uint64_t raw)
{
	bool any = raw & QCOW2_OFFSET_MASK && !(raw & QCOW2_ENTRY_COMPRESSED);

	return any ? raw | QCOW2_ENTRY_COPIED : raw;
}

/* Make COPIED of N entries at T right; true if one changed. An entry that
 * check did not follow stays as it is. */
static bool fix_flags(struct flags *f, uint8_t *t, uint64_t n, bool l2)
{
	struct checkwalk *w = f->w;
	unsigned bits = l2 ? w->g.entry_bits : 3;
	bool changed = false;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t raw = be64_load(t + (i << bits));
		uint64_t hoff = raw & QCOW2_OFFSET_MASK;
		uint64_t want = raw & ~QCOW2_ENTRY_COPIED;

		if (l2 && w->g.data_file) {
			want = in_data_file(raw);
			hoff = 0;
		} else if (l2 && (raw & QCOW2_ENTRY_COMPRESSED)) {
			hoff = 0;
		} else if (!num_is_aligned(hoff, w->g.cluster_size) ||
			   !checkwalk_inside(w, hoff, w->g.cluster_size)) {
			continue;
		}
		if (hoff && final_count(w, hoff, f->lower) == 1)
			want |= QCOW2_ENTRY_COPIED;
		if (want == raw)
			continue;
		be64_store(t + (i << bits), want);
		changed = true;
	}
	return changed;
}

/* What stands in a place of somebody else is not written. */
static bool owned(struct checkwalk *w, uint64_t hoff, uint64_t len,
		  enum checkrole role)
{
	for (uint64_t i = 0; i < geom_clusters(&w->g, len); i++) {
		enum checkrole r = checkmap_role(
			&w->map, (hoff >> w->g.cluster_bits) + i);

		if (r != role)
			return false;
	}
	return true;
}

static int fix_flags_at(struct flags *f, uint64_t hoff, uint64_t n, bool l2)
{
	struct checkwalk *w = f->w;
	size_t len = (size_t)n << (l2 ? w->g.entry_bits : 3);
	autofree uint8_t *t = mem_array(len, 1);
	int r;

	if (!t)
		return err_set(w->err, -ENOMEM, "no memory for the repair");
	if (!owned(w, hoff, len, l2 ? CHECKROLE_L2 : CHECKROLE_L1))
		return 0;
	r = hostfile_pread(w->file, t, len, hoff, NULL);
	if (r < 0)
		return err_set_sys(w->err, r, "cannot read a table");
	if (!fix_flags(f, t, n, l2))
		return 0;
	return repairentry_write(w, t, len, hoff);
}

static int fix_l2_flags(void *arg, uint64_t hoff)
{
	struct flags *f = arg;

	return fix_flags_at(f, hoff, f->w->g.l2_entries, true);
}

int repaircount_flags(struct checkwalk *w, bool lower)
{
	struct flags f = { w, lower };
	int r = fix_flags_at(&f, w->h.l1_offset, w->h.l1_entries, false);

	if (r == 0)
		r = checktab_each_active(w, fix_l2_flags, &f);
	return r < 0 ? r : repairentry_sync(w);
}
