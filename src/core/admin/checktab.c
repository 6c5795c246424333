/*
 * checktab: L1 and L2 tables. The L1 tables come first, the active one before
 * those of the snapshots; each counts the L2 tables it names. Then every L2
 * table is read once, and adds as many references to what it maps as L1
 * entries name it: the time does not depend on how many snapshots share it.
 */
#include "core/admin/checkwalk.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "core/codec/codec.h"
#include "core/format/l2entry.h"
#include "core/format/qcow2.h"

#define L1_RESERVED (~(QCOW2_ENTRY_COPIED | QCOW2_OFFSET_MASK))
#define L2_RESERVED (~(QCOW2_ENTRY_COPIED | QCOW2_OFFSET_MASK | QCOW2_ENTRY_ZERO))
#define VERIFIED 1024 /* streams remembered as good */

struct checktab_l2 {
	uint64_t hoff;
	uint64_t refs; /* L1 entries that name it */
	uint64_t index; /* the first of those */
	bool active;   /* one of them is in the active L1 */
	UT_hash_handle hh;
};

/* An entry, and where it stands. */
struct entry {
	uint64_t raw, index;
	uint64_t bitmap;     /* of an extended L2 entry */
	uint64_t at;	     /* host offset */
	enum checkrole role; /* of the table */
};

/* The reading of L2 tables. */
struct l2walk {
	struct checkwalk *w;
	const struct codec *codec;
	uint8_t *table;	    /* a cluster */
	uint8_t *in, *out;  /* two clusters, one cluster */
	uint64_t *verified; /* descriptors whose stream is good */
	uint64_t contiguous; /* where the next data would not be a fragment */
	uint64_t done;
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

/* In the active tables COPIED says: the stored refcount is exactly one. */
static void check_copied(struct checkwalk *w, enum problem_code code,
			 uint64_t raw, uint64_t hoff)
{
	uint64_t stored = checkmap_stored(&w->map, hoff >> w->g.cluster_bits);
	bool copied = raw & QCOW2_ENTRY_COPIED;

	if (copied == (stored == 1))
		return;
	checkwalk_report(w, code, hoff,
			 "COPIED is %s for the %s at %#" PRIx64
			 " with refcount %" PRIu64, copied ? "set" : "clear",
			 code == PROBLEM_COPIED_L1 ? "L2 table" : "cluster",
			 hoff, stored);
}

static int patch(struct checkwalk *w, const struct entry *e, uint64_t raw)
{
	return checkwalk_patch(w, e->at, raw, e->role);
}

/* What E names, [OFF, OFF + LEN), belongs to somebody else as well, who stays
 * there; or it cannot be counted again. */
static int move(struct checkwalk *w, const struct entry *e, uint64_t raw,
		uint64_t off, uint64_t len, uint64_t refs)
{
	uint64_t src = num_round_down(off, w->g.cluster_size);
	const struct checkfix fix = {
		.at = e->at,
		.raw = raw & ~QCOW2_ENTRY_COPIED,
		.src = src,
		.n = geom_clusters(&w->g, off + len - src),
		.refs = refs,
		.role = e->role,
	};

	return w->proposing ? checkfix_add(&w->fixes, &w->map, &fix) : 0;
}

/* Is there something wrong with E as such? Then *FIXED is what it should be. */
static bool l1_sound(struct checkwalk *w, const struct entry *e,
		     uint64_t *fixed)
{
	uint64_t hoff = e->raw & QCOW2_OFFSET_MASK;

	*fixed = e->raw & ~L1_RESERVED;
	if (*fixed != e->raw)
		checkwalk_report(w, PROBLEM_L1_ENTRY, hoff,
				 "L1 entry %" PRIu64 " has reserved bits: %#"
				 PRIx64, e->index, e->raw);
	if (!hoff && *fixed) {
		*fixed = 0;
		checkwalk_report(w, PROBLEM_L1_ENTRY, 0, "L1 entry %" PRIu64
				 " has COPIED and no table", e->index);
	} else if (!num_is_aligned(hoff, w->g.cluster_size)) {
		*fixed = 0;
		checkwalk_report(w, PROBLEM_L1_ENTRY, hoff,
				 "L1 entry %" PRIu64 ": the L2 table at %#"
				 PRIx64 " is not cluster aligned", e->index,
				 hoff);
	} else if (hoff && !checkwalk_inside(w, hoff, w->g.cluster_size)) {
		*fixed = 0;
		checkwalk_report(w, PROBLEM_L1_RANGE, hoff,
				 "L1 entry %" PRIu64 ": the L2 table at %#"
				 PRIx64 " is outside the file", e->index, hoff);
	}
	return *fixed == e->raw;
}

static int l1_entry(struct checkwalk *w, const struct entry *e, bool active)
{
	uint64_t hoff = e->raw & QCOW2_OFFSET_MASK;
	enum checkwalk_place place;
	uint64_t fixed;
	bool sound = l1_sound(w, e, &fixed);
	int ret;

	if (!fixed) {
		ret = checkwalk_outside(w, hoff, w->g.cluster_size);
		return ret || sound ? ret : patch(w, e, 0);
	}
	if (active)
		check_copied(w, PROBLEM_COPIED_L1, e->raw, hoff);
	ret = checkwalk_name(w, hoff, w->g.cluster_size,
			     active ? CHECKROLE_L2 : CHECKROLE_SNAP_L2, 1,
			     &place);
	if (!ret && place == CHECKWALK_CONTESTED)
		ret = move(w, e, fixed, hoff, w->g.cluster_size, 1);
	else if (!ret && !sound)
		ret = patch(w, e, fixed);
	return ret ? ret : l2_note(w, hoff, e->index, active);
}

int checktab_l1(struct checkwalk *w, uint64_t l1_offset, uint64_t entries,
		uint64_t record)
{
	uint64_t len = entries * 8;
	autofree uint8_t *table = mem_array((size_t)entries, 8);
	const struct entry root = { .at = record, .role = CHECKROLE_SNAPTABLE };
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
		ret = move(w, &root, l1_offset, l1_offset, len, 1);
	if (ret || !len || checkwalk_hole(w, l1_offset, len) ||
	    !checkwalk_read(w, table, len, l1_offset))
		return ret;
	for (uint64_t i = 0; i < entries && !ret; i++) {
		const struct entry e = {
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

static void count_fragments(struct l2walk *lw, uint64_t hoff)
{
	struct check_result *res = lw->w->res;

	res->allocated_clusters++;
	if (lw->contiguous && hoff != lw->contiguous)
		res->fragmented_clusters++;
	lw->contiguous = hoff + lw->w->g.cluster_size;
}

/* Has an extended entry with the word RAW a cluster? */
static bool has_place(const struct checkwalk *w, uint64_t raw)
{
	return raw & QCOW2_OFFSET_MASK ||
	       (w->g.data_file && raw & QCOW2_ENTRY_COPIED);
}

/* Which subclusters have data, and which are zero, goes with the word. */
static void check_bitmap(struct checkwalk *w, const struct checktab_l2 *t,
			 const struct entry *e)
{
	const char *what = NULL;

	if (e->raw & QCOW2_ENTRY_COMPRESSED)
		what = e->bitmap ? "compressed data" : NULL;
	else if (e->bitmap & e->bitmap >> QCOW2_SUBCLUSTERS & UINT32_MAX)
		what = "subclusters that are both data and zero";
	else if (e->bitmap & UINT32_MAX && !has_place(w, e->raw))
		what = "subclusters with data and no cluster";
	if (what)
		checkwalk_report(w, PROBLEM_L2_ENTRY, t->hoff,
				 "entry %" PRIu64 " of the L2 table at %#"
				 PRIx64 " has the bitmap %#" PRIx64 ": %s",
				 e->index, t->hoff, e->bitmap, what);
}

/* The bitmap that E should have when its word becomes RAW. Where data and zero
 * are both said, data stays; where data is lost, zero is better than what the
 * backing file had there. */
static uint64_t bitmap_for(const struct checkwalk *w, const struct entry *e,
			   uint64_t raw)
{
	uint32_t data = (uint32_t)e->bitmap;
	uint32_t zero = (uint32_t)(e->bitmap >> QCOW2_SUBCLUSTERS) & ~data;
	bool was_compressed = e->raw & QCOW2_ENTRY_COMPRESSED;

	if (!w->g.extended || raw & QCOW2_ENTRY_COMPRESSED)
		return 0;
	if (was_compressed) {
		data = UINT32_MAX;
		zero = 0;
	}
	if (!has_place(w, raw)) {
		zero |= w->h.backing_offset ? data : 0;
		data = 0;
	}
	return (uint64_t)zero << QCOW2_SUBCLUSTERS | data;
}

static bool bitmap_sound(const struct checkwalk *w, const struct entry *e,
			 uint64_t raw)
{
	return bitmap_for(w, e, raw) == e->bitmap;
}

static int patch_l2(struct checkwalk *w, const struct entry *e, uint64_t raw)
{
	if (bitmap_sound(w, e, raw))
		return raw == e->raw ? 0 : patch(w, e, raw);
	return checkwalk_patch_wide(w, e->at, raw, bitmap_for(w, e, raw),
				    e->role);
}

/* What an entry becomes that leads nowhere: zeroes, rather than what the
 * backing file had there at some time. */
static uint64_t nothing(const struct checkwalk *w, uint64_t raw)
{
	bool zero = !(raw & QCOW2_ENTRY_COMPRESSED) && (raw & QCOW2_ENTRY_ZERO);

	if (w->g.extended)
		return 0; /* the bitmap says it */
	return w->g.version >= 3 && (zero || w->h.backing_offset) ?
		       QCOW2_ENTRY_ZERO : 0;
}

/* As l1_sound(). */
static bool standard_sound(struct checkwalk *w, const struct checktab_l2 *t,
			   const struct entry *e, uint64_t *fixed)
{
	uint64_t hoff = e->raw & QCOW2_OFFSET_MASK;
	uint64_t reserved = L2_RESERVED;

	if (w->g.version < 3 || w->g.extended)
		reserved |= QCOW2_ENTRY_ZERO;
	*fixed = e->raw & ~reserved;
	if (*fixed != e->raw)
		checkwalk_report(w, PROBLEM_L2_ENTRY, t->hoff,
				 "entry %" PRIu64 " of the L2 table at %#"
				 PRIx64 " has reserved bits: %#" PRIx64,
				 e->index, t->hoff, e->raw);
	if (!hoff && *fixed & QCOW2_ENTRY_COPIED) {
		*fixed &= ~QCOW2_ENTRY_COPIED;
		checkwalk_report(w, PROBLEM_L2_ENTRY, t->hoff,
				 "entry %" PRIu64 " of the L2 table at %#"
				 PRIx64 " has COPIED and no cluster", e->index,
				 t->hoff);
	} else if (!num_is_aligned(hoff, w->g.cluster_size)) {
		*fixed = nothing(w, e->raw);
		checkwalk_report(w, PROBLEM_L2_ENTRY, hoff,
				 "entry %" PRIu64 " of the L2 table at %#"
				 PRIx64 ": the cluster at %#" PRIx64
				 " is not aligned", e->index, t->hoff, hoff);
	} else if (hoff && !checkwalk_inside(w, hoff, w->g.cluster_size)) {
		*fixed = nothing(w, e->raw);
		checkwalk_report(w, PROBLEM_L2_RANGE, hoff,
				 "entry %" PRIu64 " of the L2 table at %#"
				 PRIx64 ": the cluster at %#" PRIx64
				 " is outside the file", e->index, t->hoff,
				 hoff);
	}
	return *fixed == e->raw && bitmap_sound(w, e, *fixed);
}

/* Data in a place that is somebody else's. What LUKS encrypts depends on the
 * place, so such data cannot be copied as it is. */
static int move_data(struct checkwalk *w, const struct checktab_l2 *t,
		     const struct entry *e, uint64_t raw)
{
	uint64_t hoff = raw & QCOW2_OFFSET_MASK;

	if (w->g.extended && !(e->bitmap & UINT32_MAX))
		return patch_l2(w, e, 0);
	if (raw & QCOW2_ENTRY_ZERO)
		return patch(w, e, QCOW2_ENTRY_ZERO);
	if (w->h.crypt_method == QCOW2_CRYPT_LUKS)
		return 0;
	return move(w, e, raw, hoff, w->g.cluster_size, t->refs);
}

/* An entry whose cluster is in the external data file: no counts there, and
 * one place for each guest cluster. How long the file is says nothing about the
 * image. */
static void data_file_place(struct l2walk *lw, const struct checktab_l2 *t,
			    const struct entry *e)
{
	struct checkwalk *w = lw->w;
	uint64_t hoff = e->raw & QCOW2_OFFSET_MASK;
	uint64_t goff = t->index * geom_l2_span(&w->g) +
			(e->index << w->g.cluster_bits);

	if (!hoff && (!(e->raw & QCOW2_ENTRY_COPIED) ||
		      (!w->g.extended && e->raw & QCOW2_ENTRY_ZERO)))
		return; /* no cluster */
	if (t->active)
		count_fragments(lw, hoff);
	if (hoff != goff)
		checkwalk_report(w, PROBLEM_DATA_PLACE, hoff,
				 "entry %" PRIu64 " of the L2 table at %#"
				 PRIx64 ": guest offset %#" PRIx64
				 " is at %#" PRIx64 " of the data file",
				 e->index, t->hoff, goff, hoff);
	if (!(e->raw & QCOW2_ENTRY_COPIED))
		checkwalk_report(w, PROBLEM_COPIED_L2, hoff,
				 "COPIED is clear for the cluster at %#" PRIx64
				 " of the data file", hoff);
}

static int data_file_entry(struct l2walk *lw, const struct checktab_l2 *t,
			   const struct entry *e)
{
	struct checkwalk *w = lw->w;
	uint64_t fixed = e->raw & ~L2_RESERVED;

	if (w->g.extended)
		fixed &= ~QCOW2_ENTRY_ZERO;
	if (e->raw & QCOW2_ENTRY_COMPRESSED)
		fixed = nothing(w, e->raw);
	else
		data_file_place(lw, t, e);
	if (fixed != e->raw)
		checkwalk_report(w, PROBLEM_L2_ENTRY, t->hoff,
				 "entry %" PRIu64 " of the L2 table at %#"
				 PRIx64 " is not possible with an external data file: %#"
				 PRIx64, e->index, t->hoff, e->raw);
	else if (bitmap_sound(w, e, fixed))
		return 0;
	return patch_l2(w, e, fixed);
}

static int standard_entry(struct l2walk *lw, const struct checktab_l2 *t,
			  const struct entry *e)
{
	struct checkwalk *w = lw->w;
	uint64_t hoff = e->raw & QCOW2_OFFSET_MASK;
	enum checkwalk_place place;
	uint64_t fixed;
	bool sound = standard_sound(w, t, e, &fixed);
	int ret;

	if (t->active && hoff && num_is_aligned(hoff, w->g.cluster_size))
		count_fragments(lw, hoff);
	if (!(fixed & QCOW2_OFFSET_MASK)) {
		ret = hoff ? checkwalk_outside(w, hoff, w->g.cluster_size) : 0;
		return ret || sound ? ret : patch_l2(w, e, fixed);
	}
	if (t->active)
		check_copied(w, PROBLEM_COPIED_L2, e->raw, hoff);
	ret = checkwalk_name(w, hoff, w->g.cluster_size, CHECKROLE_DATA,
			     t->refs, &place);
	if (!ret && place == CHECKWALK_CONTESTED)
		ret = move_data(w, t, e, fixed);
	else if (!ret && !sound)
		ret = patch_l2(w, e, fixed);
	return ret;
}

/* Decompress it, unless that very stream was found good a moment ago. */
static void check_stream(struct l2walk *lw, uint64_t raw, uint64_t hoff,
			 uint64_t len)
{
	struct checkwalk *w = lw->w;
	uint64_t *slot;

	raw &= ~QCOW2_ENTRY_COPIED;
	slot = &lw->verified[(raw * 0x9e3779b97f4a7c15ULL) >> 54];
	if (*slot == raw || !lw->codec)
		return;
	if (!checkwalk_read(w, lw->in, len, hoff))
		return;
	if (lw->codec->decompress(lw->out, (size_t)w->g.cluster_size, lw->in,
				  (size_t)len) < 0)
		checkwalk_report(w, PROBLEM_COMPRESSED_DATA, hoff,
				 "the compressed data at %#" PRIx64
				 " does not decompress", hoff);
	else
		*slot = raw;
}

static int compressed_entry(struct l2walk *lw, const struct checktab_l2 *t,
			    const struct entry *e)
{
	struct checkwalk *w = lw->w;
	unsigned shift = 62 - (w->g.cluster_bits - 8);
	uint64_t hoff = e->raw & ((1ULL << shift) - 1);
	uint64_t sectors = ((e->raw & ~(3ULL << 62)) >> shift) + 1;
	uint64_t start = num_round_down(hoff, QCOW2_SECTOR);
	uint64_t len = sectors * QCOW2_SECTOR;
	uint64_t fixed = e->raw & ~QCOW2_ENTRY_COPIED;
	enum checkwalk_place place;
	int ret;

	if (fixed != e->raw)
		checkwalk_report(w, PROBLEM_L2_ENTRY, hoff,
				 "entry %" PRIu64 " of the L2 table at %#"
				 PRIx64 " has COPIED on compressed data",
				 e->index, t->hoff);
	if (t->active) {
		/* compressed data counts as fragmented, as in qemu-img */
		w->res->allocated_clusters++;
		w->res->compressed_clusters++;
		w->res->fragmented_clusters++;
	}
	if (start >= QCOW2_HOST_OFFSET_MAX || !checkwalk_inside(w, start, len)) {
		checkwalk_report(w, PROBLEM_COMPRESSED_RANGE, hoff,
				 "entry %" PRIu64 " of the L2 table at %#"
				 PRIx64 ": compressed data at %#" PRIx64
				 " is outside the file", e->index, t->hoff,
				 hoff);
		ret = checkwalk_outside(w, start, len);
		return ret ? ret : patch_l2(w, e, nothing(w, e->raw));
	}
	check_stream(lw, fixed, hoff, start + len - hoff);
	ret = checkwalk_name(w, start, len, CHECKROLE_COMPRESSED, t->refs,
			     &place);
	if (!ret && place == CHECKWALK_CONTESTED)
		ret = move(w, e, fixed, start, len, t->refs);
	else if (!ret && (fixed != e->raw || !bitmap_sound(w, e, fixed)))
		ret = patch_l2(w, e, fixed);
	return ret;
}

static int l2_table(struct l2walk *lw, const struct checktab_l2 *t)
{
	struct checkwalk *w = lw->w;
	unsigned bits = w->g.entry_bits;
	int ret = 0;

	if (checkwalk_hole(w, t->hoff, w->g.cluster_size) ||
	    !checkwalk_read(w, lw->table, w->g.cluster_size, t->hoff))
		return 0;
	lw->contiguous = 0;
	for (uint64_t i = 0; i < w->g.l2_entries && !ret; i++) {
		const struct entry e = {
			.raw = be64_load(lw->table + (i << bits)),
			.bitmap = w->g.extended
				  ? be64_load(lw->table + (i << bits) + 8) : 0,
			.index = i,
			.at = t->hoff + (i << bits),
			.role = CHECKROLE_L2,
		};

		if (e.bitmap)
			check_bitmap(w, t, &e);
		if (w->g.data_file && e.raw)
			ret = data_file_entry(lw, t, &e);
		else if (e.raw & QCOW2_ENTRY_COMPRESSED)
			ret = compressed_entry(lw, t, &e);
		else if (e.raw || e.bitmap)
			ret = standard_entry(lw, t, &e);
	}
	return ret;
}

static void progress(struct l2walk *lw)
{
	const struct check_opts *o = lw->w->opts;
	uint64_t n = HASH_COUNT(lw->w->l2s);

	lw->done++;
	if (o->progress)
		o->progress(o->progress_arg, (unsigned)(lw->done * 1000 / n));
}

int checktab_walk_l2s(struct checkwalk *w)
{
	size_t cs = (size_t)w->g.cluster_size;
	autofree uint8_t *table = mem_aligned(cs);
	autofree uint8_t *in = mem_aligned(2 * cs + QCOW2_SECTOR);
	autofree uint8_t *out = mem_aligned(cs);
	autofree uint64_t *verified = mem_array(VERIFIED, 8);
	struct l2walk lw = { .w = w, .codec = codec_get(w->g.compression),
			     .table = table, .in = in, .out = out,
			     .verified = verified };
	int ret = 0;

	if (!table || !in || !out || !verified)
		return -ENOMEM;
	for (const struct checktab_l2 *t = w->l2s; t && !ret; t = t->hh.next) {
		ret = l2_table(&lw, t);
		progress(&lw);
	}
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
