/*
 * checktab: L1 and L2 tables. The L1 tables come first, the active one before
 * those of the snapshots; each counts the L2 tables it names. Then every L2
 * table is read once, and adds as many references to what it maps as L1
 * entries name it: the time does not depend on how many snapshots share it.
 * What is wrong with an L2 entry: checkentry.h, checkstream.h.
 */
#include "core/admin/checkentry.h"
#include "core/admin/checkstream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include "base/hash.h"

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/format/qcow2.h"

#define L1_RESERVED (~(QCOW2_ENTRY_COPIED | QCOW2_OFFSET_MASK))

struct checktab_l2 {
	uint64_t hoff;
	uint64_t refs; /* L1 entries that name it */
	uint64_t index; /* the first of those */
	bool active;   /* one of them is in the active L1 */
	UT_hash_handle hh;
};

/* --- L1 -------------------------------------------------------------------- */

static int l2_note(struct checkwalk *w, uint64_t hoff, uint64_t index,
		   bool active)
{
	struct checktab_l2 *t;

	HASH_FIND(hh, w->l2s, &hoff, sizeof(hoff), t);
	if (t) {
		t->refs++;
		t->active |= active;
		return 0;
	}
	if (checkmap_charge(&w->map, sizeof(*t) + 2 * sizeof(UT_hash_bucket)))
		return -ENOMEM;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->hoff = hoff;
	t->refs = 1;
	t->index = index;
	t->active = active;
	HASH_ADD(hh, w->l2s, hoff, sizeof(hoff), t);
	if (!t->hh.tbl) {
		free(t);
		return -ENOMEM;
	}
	return 0;
}

/* What E should be, with a report where it is not. */
static uint64_t l1_wanted(struct checkwalk *w, const struct checkentry *e)
{
	uint64_t hoff = e->raw & QCOW2_OFFSET_MASK;
	uint64_t want = e->raw & ~L1_RESERVED;

	if (want != e->raw)
		checkwalk_report(w, PROBLEM_L1_ENTRY, hoff,
				 "L1 entry %" PRIu64 " has reserved bits: %#"
				 PRIx64, e->index, e->raw);
	if (!hoff && want) {
		want = 0;
		checkwalk_report(w, PROBLEM_L1_ENTRY, 0, "L1 entry %" PRIu64
				 " has COPIED and no table", e->index);
	} else if (!num_is_aligned(hoff, w->g.cluster_size)) {
		want = 0;
		checkwalk_report(w, PROBLEM_L1_ENTRY, hoff,
				 "L1 entry %" PRIu64 ": the L2 table at %#"
				 PRIx64 " is not cluster aligned", e->index,
				 hoff);
	} else if (hoff && !checkwalk_inside(w, hoff, w->g.cluster_size)) {
		want = 0;
		checkwalk_report(w, PROBLEM_L1_RANGE, hoff,
				 "L1 entry %" PRIu64 ": the L2 table at %#"
				 PRIx64 " is outside the file", e->index, hoff);
	}
	return want;
}

static int l1_become(struct checkwalk *w, const struct checkentry *e,
		     uint64_t raw)
{
	return raw == e->raw ? 0 : checkwalk_patch(w, e->at, raw, e->role);
}

static int l1_entry(struct checkwalk *w, const struct checkentry *e,
		    bool active)
{
	uint64_t hoff = e->raw & QCOW2_OFFSET_MASK;
	uint64_t want = l1_wanted(w, e);
	enum checkwalk_place place;
	int ret;

	if (!want) {
		ret = checkwalk_outside(w, hoff, w->g.cluster_size);
		return ret ? ret : l1_become(w, e, 0);
	}
	if (active)
		checkentry_copied(w, PROBLEM_COPIED_L1, e->raw, hoff);
	ret = checkwalk_name(w, hoff, w->g.cluster_size,
			     active ? CHECKROLE_L2 : CHECKROLE_SNAP_L2, 1,
			     &place);
	if (!ret && place == CHECKWALK_CONTESTED)
		ret = checkentry_move(w, e, want, hoff, w->g.cluster_size, 1);
	else if (!ret)
		ret = l1_become(w, e, want);
	return ret ? ret : l2_note(w, hoff, e->index, active);
}

int checktab_l1(struct checkwalk *w, uint64_t l1_offset, uint64_t entries,
		uint64_t record)
{
	uint64_t len = entries * 8;
	autofree uint8_t *table = mem_array((size_t)entries, 8);
	const struct checkentry root = { .at = record,
					 .role = CHECKROLE_SNAPTABLE };
	enum checkwalk_place place;
	bool active = !record;
	int ret;

	if (!table)
		return -ENOMEM;
	ret = checkwalk_name(w, l1_offset, len,
			     active ? CHECKROLE_L1 : CHECKROLE_SNAP_L1, 1,
			     &place);
	/* a record begins with its table's offset */
	if (!ret && record && place == CHECKWALK_CONTESTED)
		ret = checkentry_move(w, &root, l1_offset, l1_offset, len, 1);
	if (ret || !len || checkwalk_hole(w, l1_offset, len) ||
	    !checkwalk_read(w, table, len, l1_offset))
		return ret;
	for (uint64_t i = 0; i < entries && !ret; i++) {
		const struct checkentry e = {
			.raw = be64_load(table + i * 8),
			.index = i,
			.at = l1_offset + i * 8,
			.role = active ? CHECKROLE_L1 : CHECKROLE_SNAP_L1,
		};

		if (e.raw)
			ret = l1_entry(w, &e, active);
	}
	return ret;
}

/* --- L2 -------------------------------------------------------------------- */

static int l2_entry(struct checkstream *s, struct checkentry_table *t,
		    const struct checkentry *e)
{
	if (e->bitmap)
		checkentry_bitmap(t, e);
	if (t->w->g.data_file && e->raw)
		return checkentry_data_file(t, e);
	if (e->raw & QCOW2_ENTRY_COMPRESSED)
		return checkstream_entry(s, t, e);
	return e->raw || e->bitmap ? checkentry_standard(t, e) : 0;
}

static int l2_table(struct checkwalk *w, struct checkstream *s,
		    const struct checktab_l2 *l2, const uint8_t *bytes)
{
	struct checkentry_table t = { .w = w, .hoff = l2->hoff,
				      .refs = l2->refs, .index = l2->index,
				      .active = l2->active };
	unsigned bits = w->g.entry_bits;
	int ret = 0;

	for (uint64_t i = 0; i < w->g.l2_entries && !ret; i++) {
		const uint8_t *p = bytes + (i << bits);
		const struct checkentry e = {
			.raw = be64_load(p),
			.bitmap = w->g.extended ? be64_load(p + 8) : 0,
			.index = i,
			.at = l2->hoff + (i << bits),
			.role = CHECKROLE_L2,
		};

		ret = l2_entry(s, &t, &e);
	}
	return ret;
}

static void progress(const struct checkwalk *w, uint64_t done)
{
	const struct check_opts *o = w->opts;

	if (o->progress)
		o->progress(o->progress_arg,
			    (unsigned)(done * 1000 / HASH_COUNT(w->l2s)));
}

int checktab_walk_l2s(struct checkwalk *w)
{
	size_t cs = (size_t)w->g.cluster_size;
	autofree uint8_t *bytes = mem_aligned(cs);
	struct checkstream s;
	uint64_t done = 0;
	int ret = checkstream_init(&s, &w->g);

	if (!ret && !bytes)
		ret = -ENOMEM;
	for (const struct checktab_l2 *t = w->l2s; t && !ret; t = t->hh.next) {
		if (!checkwalk_hole(w, t->hoff, cs) &&
		    checkwalk_read(w, bytes, cs, t->hoff))
			ret = l2_table(w, &s, t, bytes);
		progress(w, ++done);
	}
	checkstream_fini(&s);
	return ret;
}

int checktab_each_active(struct checkwalk *w,
			 int (*fn)(void *arg, uint64_t hoff), void *arg)
{
	int ret = 0;

	for (const struct checktab_l2 *t = w->l2s; t && !ret; t = t->hh.next)
		if (t->active)
			ret = fn(arg, t->hoff);
	return ret;
}

void checktab_fini(struct checkwalk *w)
{
	struct checktab_l2 *t = w->l2s;

	if (t)
		HASH_CLEAR(hh, w->l2s);
	while (t) {
		struct checktab_l2 *next = t->hh.next;

		free(t);
		t = next;
	}
}
