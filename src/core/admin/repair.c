#include "core/admin/repair.h"

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
	bool wrote;
};

static int sync_pass(struct pass *p)
{
	int r;

	if (!p->wrote)
		return 0;
	p->wrote = false;
	r = hostfile_sync(p->w->file);
	return r < 0 ? err_set_sys(p->w->err, r, "cannot make the repair durable")
		     : 0;
}

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

	/* what is wrong with other entries was reported */
	if (!hoff || !num_is_aligned(hoff, w->g.cluster_size) ||
	    !num_range_inside(hoff, w->g.cluster_size, w->file_size))
		return 0;
	r = hostfile_pread_full(w->file, p->block, w->g.cluster_size, hoff);
	if (r < 0)
		return err_set_sys(w->err, r, "cannot read a refcount block");
	if (!fix_counts(p, index))
		return 0;
	p->wrote = true;
	r = hostfile_pwrite_full(w->file, p->block, w->g.cluster_size, hoff);
	return r < 0 ? err_set_sys(w->err, r, "cannot write a refcount block")
		     : 0;
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
	return r < 0 ? r : sync_pass(p);
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
	struct pass *p;
	bool lower;
};

/* Make COPIED of N entries at T right; true if one changed. An entry that
 * check did not follow stays as it is. */
static bool fix_flags(struct flags *f, uint8_t *t, uint64_t n, bool l2)
{
	struct checkwalk *w = f->p->w;
	bool changed = false;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t raw = be64_load(t + i * 8);
		uint64_t hoff = raw & QCOW2_OFFSET_MASK;
		uint64_t want = raw & ~QCOW2_ENTRY_COPIED;

		if (l2 && (raw & QCOW2_ENTRY_COMPRESSED))
			hoff = 0;
		else if (!num_is_aligned(hoff, w->g.cluster_size) ||
			 !checkwalk_inside(w, hoff, w->g.cluster_size))
			continue;
		if (hoff && final_count(w, hoff, f->lower) == 1)
			want |= QCOW2_ENTRY_COPIED;
		if (want == raw)
			continue;
		be64_store(t + i * 8, want);
		changed = true;
	}
	return changed;
}

static int fix_flags_at(struct flags *f, uint64_t hoff, uint64_t n, bool l2)
{
	struct checkwalk *w = f->p->w;
	size_t len = (size_t)n * 8;
	autofree uint8_t *t = mem_array(len, 1);
	int r;

	if (!t)
		return err_set(w->err, -ENOMEM, "no memory for the repair");
	r = hostfile_pread(w->file, t, len, hoff, NULL);
	if (r < 0)
		return err_set_sys(w->err, r, "cannot read a table");
	if (!fix_flags(f, t, n, l2))
		return 0;
	f->p->wrote = true;
	r = hostfile_pwrite_full(w->file, t, len, hoff);
	return r < 0 ? err_set_sys(w->err, r, "cannot write a table") : 0;
}

static int fix_l2_flags(void *arg, uint64_t hoff)
{
	struct flags *f = arg;

	return fix_flags_at(f, hoff, f->p->w->g.l2_entries, true);
}

static int fix_all_flags(struct pass *p, bool lower)
{
	struct flags f = { p, lower };
	int r = fix_flags_at(&f, p->w->h.l1_offset, p->w->h.l1_entries, false);

	if (r == 0)
		r = checktab_each_active(p->w, fix_l2_flags, &f);
	return r < 0 ? r : sync_pass(p);
}

/* Is every reference known? What is only wrong about counts and flags hides
 * none. */
static bool all_known(const struct checkwalk *w)
{
	return w->hiding == 0 && w->res->check_errors == 0;
}

int repair_apply(struct checkwalk *w)
{
	struct pass p = { .w = w, .block = mem_aligned(w->g.cluster_size) };
	bool known = all_known(w);
	int r = 0;

	if (!p.block)
		return err_set(w->err, -ENOMEM, "no memory for the repair");
	if (w->opts->repair == CHECK_REPAIR_ALL) {
		r = fix_all_counts(&p, RAISE);
		if (r == 0)
			r = fix_all_flags(&p, known);
	}
	if (r == 0 && known)
		r = fix_all_counts(&p, LOWER);
	free(p.block);
	return r;
}
