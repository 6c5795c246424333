/* checkentry: see checkentry.h. */
#include "core/admin/checkentry.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/num.h"
#include "core/format/qcow2.h"

#define L2_RESERVED (~(QCOW2_ENTRY_COPIED | QCOW2_OFFSET_MASK | QCOW2_ENTRY_ZERO))

void checkentry_report(const struct checkentry_table *t,
		       const struct checkentry *e, enum problem_code code,
		       uint64_t hoff, const char *fmt, ...)
{
	char text[ERR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	checkwalk_report(t->w, code, hoff,
			 "entry %" PRIu64 " of the L2 table at %#" PRIx64 "%s",
			 e->index, t->hoff, text);
}

void checkentry_copied(struct checkwalk *w, enum problem_code code,
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

int checkentry_move(struct checkwalk *w, const struct checkentry *e,
		    uint64_t raw, uint64_t off, uint64_t len, uint64_t refs)
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

	return checkwalk_propose(w, &fix);
}

/* Zeroes, rather than what the backing file had there at some time. */
uint64_t checkentry_nothing(const struct checkwalk *w, uint64_t raw)
{
	bool zero = !(raw & QCOW2_ENTRY_COMPRESSED) && (raw & QCOW2_ENTRY_ZERO);

	if (w->g.extended)
		return 0; /* the bitmap says it */
	return w->g.version >= 3 && (zero || w->h.backing_offset) ?
		       QCOW2_ENTRY_ZERO : 0;
}

/* --- bitmaps of subclusters -------------------------------------------------- */

/* Has an extended entry with the word RAW a cluster? */
static bool has_place(const struct checkwalk *w, uint64_t raw)
{
	return raw & QCOW2_OFFSET_MASK ||
	       (w->g.data_file && raw & QCOW2_ENTRY_COPIED);
}

/* Which subclusters have data, and which are zero, goes with the word. */
void checkentry_bitmap(const struct checkentry_table *t,
		       const struct checkentry *e)
{
	const char *what = NULL;

	if (e->raw & QCOW2_ENTRY_COMPRESSED)
		what = e->bitmap ? "compressed data" : NULL;
	else if (e->bitmap & e->bitmap >> QCOW2_SUBCLUSTERS & UINT32_MAX)
		what = "subclusters that are both data and zero";
	else if (e->bitmap & UINT32_MAX && !has_place(t->w, e->raw))
		what = "subclusters with data and no cluster";
	if (what)
		checkentry_report(t, e, PROBLEM_L2_ENTRY, t->hoff,
				  " has the bitmap %#" PRIx64 ": %s", e->bitmap,
				  what);
}

/* The bitmap that E should have when its word becomes RAW. Where data and zero
 * are both said, data stays; where data is lost, zero is better than what the
 * backing file had there. */
static uint64_t bitmap_for(const struct checkwalk *w,
			   const struct checkentry *e, uint64_t raw)
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

int checkentry_become(struct checkwalk *w, const struct checkentry *e,
		      uint64_t raw)
{
	const struct checkfix fix = {
		.at = e->at,
		.raw = raw,
		.bitmap = bitmap_for(w, e, raw),
		.with_bitmap = w->g.extended,
		.role = e->role,
	};

	return raw == e->raw && fix.bitmap == e->bitmap ?
		       0 : checkwalk_propose(w, &fix);
}

/* --- standard entries -------------------------------------------------------- */

static void count_fragments(struct checkentry_table *t, uint64_t hoff)
{
	struct check_result *res = t->w->res;

	res->allocated_clusters++;
	if (t->contiguous && hoff != t->contiguous)
		res->fragmented_clusters++;
	t->contiguous = hoff + t->w->g.cluster_size;
}

/* What the word of E should be, with a report where it is not. */
static uint64_t wanted(const struct checkentry_table *t,
		       const struct checkentry *e)
{
	const struct checkwalk *w = t->w;
	uint64_t hoff = e->raw & QCOW2_OFFSET_MASK;
	uint64_t reserved = L2_RESERVED;
	uint64_t want;

	if (w->g.version < 3 || w->g.extended)
		reserved |= QCOW2_ENTRY_ZERO;
	want = e->raw & ~reserved;
	if (want != e->raw)
		checkentry_report(t, e, PROBLEM_L2_ENTRY, t->hoff,
				  " has reserved bits: %#" PRIx64, e->raw);
	if (!hoff && want & QCOW2_ENTRY_COPIED) {
		want &= ~QCOW2_ENTRY_COPIED;
		checkentry_report(t, e, PROBLEM_L2_ENTRY, t->hoff,
				  " has COPIED and no cluster");
	} else if (!num_is_aligned(hoff, w->g.cluster_size)) {
		want = checkentry_nothing(w, e->raw);
		checkentry_report(t, e, PROBLEM_L2_ENTRY, hoff,
				  ": the cluster at %#" PRIx64
				  " is not aligned", hoff);
	} else if (hoff && !checkwalk_inside(w, hoff, w->g.cluster_size)) {
		want = checkentry_nothing(w, e->raw);
		checkentry_report(t, e, PROBLEM_L2_RANGE, hoff,
				  ": the cluster at %#" PRIx64
				  " is outside the file", hoff);
	}
	return want;
}

/* Data in a place that is somebody else's. What LUKS encrypts depends on the
 * place, so such data cannot be copied as it is. */
static int move_data(const struct checkentry_table *t,
		     const struct checkentry *e, uint64_t raw)
{
	struct checkwalk *w = t->w;
	uint64_t hoff = raw & QCOW2_OFFSET_MASK;

	if (w->g.extended && !(e->bitmap & UINT32_MAX))
		return checkentry_become(w, e, 0);
	if (raw & QCOW2_ENTRY_ZERO)
		return checkwalk_patch(w, e->at, QCOW2_ENTRY_ZERO, e->role);
	if (w->h.crypt_method == QCOW2_CRYPT_LUKS)
		return 0;
	return checkentry_move(w, e, raw, hoff, w->g.cluster_size, t->refs);
}

/* Does the disk have the cluster at HOFF, which was counted just now, in two
 * places, with a count for one? Each shall have its own: were they to share it
 * with COPIED clear, one would keep that when the other is written. The copies
 * of one repair are no more than the file. */
static bool to_part(const struct checkentry_table *t, uint64_t hoff)
{
	struct checkwalk *w = t->w;
	uint64_t hidx = hoff >> w->g.cluster_bits;
	struct checkcell *cell = checkmap_cell(&w->map, hidx);
	bool again = cell->shown;

	if (!t->active || w->h.crypt_method == QCOW2_CRYPT_LUKS)
		return false;
	cell->shown = true;
	return again &&
	       checkmap_refs(&w->map, hidx) > checkmap_stored(&w->map, hidx) &&
	       w->apart++ < geom_clusters(&w->g, w->file_size);
}

int checkentry_standard(struct checkentry_table *t, const struct checkentry *e)
{
	struct checkwalk *w = t->w;
	uint64_t hoff = e->raw & QCOW2_OFFSET_MASK;
	uint64_t want = wanted(t, e);
	enum checkwalk_place place = CHECKWALK_FINE;
	int ret = 0;

	if (t->active && hoff && num_is_aligned(hoff, w->g.cluster_size))
		count_fragments(t, hoff);
	if (want & QCOW2_OFFSET_MASK) {
		if (t->active)
			checkentry_copied(w, PROBLEM_COPIED_L2, e->raw, hoff);
		ret = checkwalk_name(w, hoff, w->g.cluster_size, CHECKROLE_DATA,
				     t->refs, &place);
		if (!ret && place == CHECKWALK_FINE && to_part(t, hoff))
			place = CHECKWALK_CONTESTED;
	} else if (hoff) {
		ret = checkwalk_outside(w, hoff, w->g.cluster_size);
	}
	if (ret)
		return ret;
	return place == CHECKWALK_CONTESTED ? move_data(t, e, want)
					    : checkentry_become(w, e, want);
}

/* --- an external data file --------------------------------------------------- */

/* An entry whose cluster is in the external data file: no counts there, and
 * one place for each guest cluster. How long the file is says nothing about the
 * image. A problem's offset is of the image: the table's. WANT, with the place
 * where the data must be if the file alone is the disk. */
static uint64_t data_file_place(struct checkentry_table *t,
				const struct checkentry *e, uint64_t want)
{
	struct checkwalk *w = t->w;
	uint64_t hoff = e->raw & QCOW2_OFFSET_MASK;
	uint64_t goff = t->index * geom_l2_span(&w->g) +
			(e->index << w->g.cluster_bits);

	if (!hoff && (!(e->raw & QCOW2_ENTRY_COPIED) ||
		      (!w->g.extended && e->raw & QCOW2_ENTRY_ZERO)))
		return want; /* no cluster */
	if (t->active)
		count_fragments(t, hoff);
	if (hoff != goff) {
		if (w->g.data_raw && t->refs == 1)
			want = (want & ~QCOW2_OFFSET_MASK) | goff |
			       QCOW2_ENTRY_COPIED;
		checkentry_report(t, e, PROBLEM_DATA_PLACE, t->hoff,
				  ": guest offset %#" PRIx64 " is at %#" PRIx64
				  " of the data file", goff, hoff);
	}
	if (!(e->raw & QCOW2_ENTRY_COPIED))
		checkwalk_report(w, PROBLEM_COPIED_L2, t->hoff,
				 "COPIED is clear for the cluster at %#" PRIx64
				 " of the data file", hoff);
	return want;
}

int checkentry_data_file(struct checkentry_table *t,
			 const struct checkentry *e)
{
	struct checkwalk *w = t->w;
	uint64_t want = e->raw & ~L2_RESERVED;

	if (w->g.extended)
		want &= ~QCOW2_ENTRY_ZERO;
	if (e->raw & QCOW2_ENTRY_COMPRESSED)
		want = checkentry_nothing(w, e->raw);
	if (want != e->raw)
		checkentry_report(t, e, PROBLEM_L2_ENTRY, t->hoff,
				  " is not possible with an external data file: %#"
				  PRIx64, e->raw);
	if (!(e->raw & QCOW2_ENTRY_COMPRESSED))
		want = data_file_place(t, e, want);
	return checkentry_become(w, e, want);
}
