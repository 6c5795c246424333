#include "core/admin/rebuild.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/seed.h"
#include "core/admin/repairwork.h"
#include "core/format/qcow2.h"
#include "core/format/rcentry.h"

#define AREAS_MAX (QCOW2_MAX_REFTABLE_BYTES / 8)

struct rebuild {
	struct checkwalk *w;
	struct repairwork_roots roots;
	uint64_t next;	   /* host cluster from which free ones are sought */
	uint64_t end;	   /* clusters of the file as it is */
	uint64_t *block;   /* AREAS_MAX: host offset of each area's block */
	bool *needed;	   /* AREAS_MAX: the area needs a block */
	uint64_t areas;	   /* up to the last one needed */
	uint64_t missing;  /* areas that need a block and have none */
	uint8_t *snapshots, *bitmaps; /* the new tables */
	uint64_t snapshots_len;
	int r; /* of a callback */
};

bool rebuild_needed(const struct checkwalk *w)
{
	return w->rebuild || w->fixes.moves || w->rewrite_snapshots ||
	       w->rewrite_bitmaps;
}

static int out_of_memory(struct checkwalk *w)
{
	return err_set(w->err, -ENOMEM, "no memory for the repair");
}

/* --- where things go --------------------------------------------------------- */

static int need_area(struct rebuild *b, uint64_t hidx)
{
	uint64_t area = hidx >> b->w->g.refblock_bits;

	if (hidx >= QCOW2_HOST_OFFSET_MAX >> b->w->g.cluster_bits)
		return err_set(b->w->err, -EFBIG, "the file is too long: no "
			       "offset can name what is added behind its end");
	if (area >= AREAS_MAX)
		return err_set(b->w->err, -EFBIG, "the file is too long for "
			       "the largest refcount table; convert the image "
			       "to one with larger clusters");
	if (!b->needed[area]) {
		b->needed[area] = true;
		b->missing++;
		b->areas = NUM_MAX(b->areas, area + 1);
	}
	return 0;
}

/* The first of N clusters that nobody names. */
static uint64_t find(const struct rebuild *b, uint64_t n)
{
	uint64_t end = b->next;
	uint64_t run = 0;

	while (run < n)
		run = checkmap_role(&b->w->map, end++) == CHECKROLE_NONE ?
			      run + 1 : 0;
	return end - n;
}

/* Take N clusters that nobody names, with REFS references each. */
static int take(struct rebuild *b, uint64_t n, uint64_t refs, uint64_t *hoff)
{
	struct checkwalk *w = b->w;
	uint64_t first = find(b, n);
	int r = 0;

	b->next = first + n;
	*hoff = first << w->g.cluster_bits;
	for (uint64_t i = first; i < b->next && r == 0; i++) {
		r = need_area(b, i);
		if (r == 0 && checkmap_add_refs(&w->map, i, refs) < 0)
			r = out_of_memory(w);
		if (r == 0)
			checkmap_cell(&w->map, i)->role = CHECKROLE_OUTSIDE;
	}
	return r;
}

static uint64_t clusters(const struct rebuild *b, uint64_t len)
{
	return geom_clusters(&b->w->g, len);
}

/* --- plan ---------------------------------------------------------------------- */

/* Can a compressed entry name the place that its stream would move to? */
static bool fits(const struct rebuild *b, const struct checkfix *f)
{
	unsigned bits = b->w->g.cluster_bits;
	uint64_t limit = 1ULL << (62 - (bits - 8));
	uint64_t by = (find(b, f->n) << bits) - f->src;

	return f->role != CHECKROLE_L2 || !(f->raw & QCOW2_ENTRY_COMPRESSED) ||
	       (f->raw & (limit - 1)) + by < limit;
}

static int plan_move(struct rebuild *b, struct checkfix *f)
{
	struct checkwalk *w = b->w;
	int r;

	if (!f->n || !checkfix_allowed(f, &w->map, w->g.cluster_bits) ||
	    (f->role == CHECKROLE_SNAPTABLE && w->rewrite_snapshots) ||
	    !fits(b, f))
		return 0;
	r = take(b, f->n, f->refs, &f->dst);
	if (r < 0)
		return r;
	f->raw += f->dst - f->src;
	f->moved = true;
	return 0;
}

static int plan_moves(struct rebuild *b, bool *any)
{
	int r = 0;

	for (size_t i = 0; i < b->w->fixes.n && r == 0; i++) {
		r = plan_move(b, &b->w->fixes.fix[i]);
		*any |= b->w->fixes.fix[i].moved;
	}
	return r;
}

static int plan_snapshots(struct rebuild *b)
{
	struct repairwork_roots *to = &b->roots;
	int r;

	if (!b->w->rewrite_snapshots)
		return 0;
	r = checksnap_rewrite(b->w, &b->snapshots, &b->snapshots_len,
			      &to->nb_snapshots);
	if (r < 0)
		return err_set_sys(b->w->err, r, "cannot read the snapshots");
	to->snapshots = true;
	return to->nb_snapshots ?
		       take(b, clusters(b, b->snapshots_len), 1,
			    &to->snapshots_offset) : 0;
}

static int plan_bitmaps(struct rebuild *b)
{
	struct repairwork_roots *to = &b->roots;
	int r;

	if (!b->w->rewrite_bitmaps ||
	    !(b->w->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return 0;
	r = checkbitmap_rewrite(b->w, &b->bitmaps, &to->bitmaps_len,
				&to->nb_bitmaps);
	if (r < 0)
		return out_of_memory(b->w);
	to->bitmaps = to->nb_bitmaps;
	if (!to->bitmaps) {
		to->autoclear &= ~QCOW2_AUTOCLEAR_BITMAPS;
		return 0;
	}
	return take(b, clusters(b, to->bitmaps_len), 1, &to->bitmaps_offset);
}

/* The count that cluster HIDX gets. */
static uint64_t count_of(const struct rebuild *b, uint64_t hidx)
{
	const struct checkwalk *w = b->w;
	uint64_t area = hidx >> w->g.refblock_bits;
	uint64_t n = checkmap_refs(&w->map, hidx);

	if (!repairentry_known(w) && hidx < b->end) {
		n = NUM_MAX(n, checkmap_stored(&w->map, hidx));
		if (!n && area < w->blocks_n &&
		    w->blocks[area] == CHECKWALK_BLOCK_LOST)
			n = 1;
	}
	return NUM_MIN(n, w->g.refcount_max);
}

static void note_area(void *arg, uint64_t hidx, uint64_t refs, uint64_t stored)
{
	struct rebuild *b = arg;

	(void)refs;
	(void)stored;
	if (b->r == 0 && count_of(b, hidx))
		b->r = need_area(b, hidx);
}

static int note_areas(struct rebuild *b)
{
	uint64_t bits = b->w->g.refblock_bits;

	checkmap_each(&b->w->map, note_area, b);
	for (uint64_t i = 0; i < b->w->blocks_n && b->r == 0; i++)
		if (!repairentry_known(b->w) && i << bits < b->end &&
		    b->w->blocks[i] == CHECKWALK_BLOCK_LOST)
			b->r = need_area(b, i << bits);
	return b->r;
}

/* Blocks for all areas, those too that the new blocks themselves lie in. */
static int plan_blocks(struct rebuild *b)
{
	int r = 0;

	for (uint64_t i = 0; b->missing && r == 0; i = (i + 1) % AREAS_MAX) {
		if (!b->needed[i] || b->block[i])
			continue;
		b->missing--;
		r = take(b, 1, 1, &b->block[i]);
	}
	return r;
}

/* The table comes last, and has room for what itself makes necessary. */
static int plan_counts(struct rebuild *b)
{
	struct repairwork_roots *to = &b->roots;
	uint64_t n;
	int r = note_areas(b);

	if (r == 0)
		r = plan_blocks(b);
	if (r < 0)
		return r;
	n = clusters(b, (b->areas + 64) * 8);
	n = NUM_MIN(n, QCOW2_MAX_REFTABLE_BYTES >> b->w->g.cluster_bits);
	to->reftable_clusters = (uint32_t)n;
	r = take(b, n, 1, &to->reftable_offset);
	if (r == 0)
		r = plan_blocks(b);
	if (r == 0 && b->areas * 8 > n << b->w->g.cluster_bits)
		r = err_set(b->w->err, -EFBIG, "the refcount table cannot "
			    "count a file that long");
	return r;
}

/* --- write --------------------------------------------------------------------- */

static int copy_clusters(struct rebuild *b, const struct checkfix *f,
			 uint8_t *buf)
{
	struct checkwalk *w = b->w;
	uint64_t cs = w->g.cluster_size;
	int r = 0;

	for (uint64_t i = 0; i < f->n && r == 0; i++) {
		r = hostfile_pread(w->file, buf, (size_t)cs, f->src + i * cs,
				   NULL);
		r = r < 0 ? err_set_sys(w->err, r, "cannot copy a cluster") :
			    repairentry_write(w, buf, cs, f->dst + i * cs);
	}
	return r;
}

static int put_copies(struct rebuild *b)
{
	autofree uint8_t *buf = mem_aligned((size_t)b->w->g.cluster_size);
	int r = buf ? 0 : out_of_memory(b->w);

	for (size_t i = 0; i < b->w->fixes.n && r == 0; i++)
		if (b->w->fixes.fix[i].moved)
			r = copy_clusters(b, &b->w->fixes.fix[i], buf);
	return r;
}

/* LEN bytes of BUF, and zeroes to the end of the cluster. */
static int put_table(struct rebuild *b, const uint8_t *buf, uint64_t len,
		     uint64_t off)
{
	uint64_t full = clusters(b, len) << b->w->g.cluster_bits;
	autofree uint8_t *t = mem_array((size_t)full, 1);

	if (!off || !len)
		return 0;
	if (!t)
		return out_of_memory(b->w);
	memcpy(t, buf, (size_t)len);
	return repairentry_write(b->w, t, full, off);
}

static int put_blocks(struct rebuild *b)
{
	const struct geom *g = &b->w->g;
	autofree uint8_t *buf = mem_aligned((size_t)g->cluster_size);
	int r = buf ? 0 : out_of_memory(b->w);

	for (uint64_t i = 0; i < b->areas && r == 0; i++) {
		if (!b->block[i])
			continue;
		memset(buf, 0, (size_t)g->cluster_size);
		for (uint64_t k = 0; k < g->refblock_entries; k++)
			rcentry_set(buf, g->refcount_order, k,
				    count_of(b, (i << g->refblock_bits) + k));
		r = repairentry_write(b->w, buf, g->cluster_size, b->block[i]);
	}
	return r;
}

static int put_reftable(struct rebuild *b)
{
	const struct repairwork_roots *to = &b->roots;
	uint64_t len = (uint64_t)to->reftable_clusters << b->w->g.cluster_bits;
	autofree uint8_t *t = mem_array((size_t)len, 1);

	if (!t)
		return out_of_memory(b->w);
	for (uint64_t i = 0; i < b->areas; i++)
		be64_store(t + i * 8, b->block[i]);
	return repairentry_write(b->w, t, len, to->reftable_offset);
}

static int put_new(struct rebuild *b)
{
	const struct repairwork_roots *to = &b->roots;
	int r = put_copies(b);

	if (r == 0)
		r = put_table(b, b->snapshots, b->snapshots_len,
			      to->snapshots_offset);
	if (r == 0)
		r = put_table(b, b->bitmaps, to->bitmaps_len,
			      to->bitmaps_offset);
	if (r == 0)
		r = put_blocks(b);
	if (r == 0)
		r = put_reftable(b);
	return r;
}

static int plan(struct rebuild *b, bool *any)
{
	int r = plan_moves(b, any);

	if (r == 0)
		r = plan_snapshots(b);
	if (r == 0)
		r = plan_bitmaps(b);
	*any |= b->w->rebuild || b->roots.snapshots || b->roots.bitmaps ||
		b->roots.autoclear != b->w->h.autoclear;
	return r == 0 && *any ? plan_counts(b) : r;
}

/* [R1] [R2] What is new is stable before the header names it [R7], and the new
 * counts before a copy is named. */
static int carry_out(struct rebuild *b)
{
	int r = put_new(b);

	if (r == 0 && !SEED_BUG(SEED_REBUILD_EARLY))
		r = repairentry_sync(b->w);
	if (r == 0 && SEED_BUG(SEED_MOVED_EARLY))
		r = repairentry_moved(b->w);
	if (r == 0)
		r = repairhead_roots(b->w, &b->roots);
	if (r == 0)
		r = repairentry_moved(b->w);
	return r;
}

int rebuild_apply(struct checkwalk *w)
{
	autofree uint64_t *block = mem_array(AREAS_MAX, sizeof(*block));
	autofree bool *needed = mem_array(AREAS_MAX, sizeof(*needed));
	struct rebuild b = { .w = w, .block = block, .needed = needed,
			     .end = geom_clusters(&w->g, w->file_size),
			     .roots.autoclear = w->autoclear };
	bool any = false;
	int r;

	if (!block || !needed)
		return out_of_memory(w);
	b.next = b.end;
	r = plan(&b, &any);
	if (r == 0 && any)
		r = carry_out(&b);
	free(b.snapshots);
	free(b.bitmaps);
	return r;
}
