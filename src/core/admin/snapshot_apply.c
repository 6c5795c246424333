/* snapshot_apply: a snapshot becomes the disk; see snapshot.h. */
#include "core/admin/snapshot.h"

#include <errno.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/seed.h"
#include "core/admin/snapshot_work.h"
#include "core/format/qcow2.h"
#include "core/meta/tree.h"

/* A copy of the snapshot's L1 table, as long as the disk needs at least. */
static int copy_l1(struct snapshot_work *w, const struct snapshot *s,
		   const uint64_t *l1, uint32_t n)
{
	autofree uint64_t *t = mem_array((size_t)n + 1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->l1_entries; i++)
		be64_store(&t[i], l1[i] & ~QCOW2_ENTRY_COPIED);
	if (SEED_BUG(SEED_L1_IN_PLACE))
		(void)!hostfile_pwrite_full(w->m->file, t,
					    NUM_MIN(n, w->m->l1.n) * 8ULL,
					    w->m->l1.hoff);
	return place_put(w->m, t, (size_t)n * 8, ROLE_L1, &w->l1);
}

/* The new roots are on disk: what was the disk until now goes, with its L1 table
 * at OLD_HOFF. */
static int take_over(struct snapshot_work *w, uint64_t old_hoff)
{
	struct meta *m = w->m;
	autofree uint64_t *old = l1table_copy(&m->l1);
	uint32_t old_n = m->l1.n;
	struct l1table l1;
	int r = l1table_load(&l1, m->file, m->header.l1_offset,
			     m->header.l1_entries);

	if (r < 0 || !old) {
		/* the file is right; this process cannot go on with it */
		atomic_store(&m->failed, true);
		l1table_fini(&l1);
		return r < 0 ? r : -ENOMEM;
	}
	lock_take(&m->lock); /* the committer looks at it */
	l1table_fini(&m->l1);
	m->l1 = l1;
	lock_drop(&m->lock);
	image_set_size(w->img, m->header.size);
	tree_drop(m, old, old_n);
	place_free(m, old_hoff, (uint64_t)old_n * 8);
	snapshot_work_own_again(w);
	return 0;
}

/* The entries of the L1 table that the disk of S needs. */
static uint64_t l1_need(const struct snapshot_work *w, const struct snapshot *s)
{
	return NUM_MAX(geom_l1_entries(w->m->geom, s->disk_size),
		       (uint64_t)s->l1_entries);
}

static int apply(struct snapshot_work *w, const struct snapshot *s)
{
	struct meta *m = w->m;
	struct header roots = m->header;
	uint64_t old = roots.l1_offset;
	uint32_t n = (uint32_t)l1_need(w, s);
	autofree uint64_t *l1 = NULL;
	int r = snapshot_work_read_l1(w, s, &l1);

	if (r == 0)
		r = tree_check(m, l1, s->l1_entries);
	if (r == 0)
		r = copy_l1(w, s, l1, n);
	if (r == 0)
		r = tree_add(m, l1, s->l1_entries);
	if (r < 0)
		return r;
	roots.size = s->disk_size;
	roots.l1_entries = n;
	roots.l1_offset = w->l1.hoff;
	r = snapshot_work_switch(w, &roots);
	return r < 0 ? r : take_over(w, old);
}

/* The bitmaps are as long as the disk, and all of it may change. *WHAT: what is
 * to be said of an error. */
static int apply_with_bitmaps(struct snapshot_work *w, const struct snapshot *s,
			      const char **what)
{
	bool resize = s->disk_size != w->img->geom.size;
	int r = 0;

	/* a record may name a disk whose table has more entries than a number
	 * of 32 bits */
	if (l1_need(w, s) > QCOW2_MAX_L1_BYTES / 8)
		return -EFBIG;
	if (resize)
		r = bitmaps_resize(w->img, s->disk_size, w->err);
	if (r < 0)
		return r;
	r = apply(w, s);
	if (r == 0) {
		bitmaps_touch(w->img, 0, w->img->geom.size);
		*what = "the snapshot is applied";
	}
	return resize ? bitmaps_resized(w->img, r, w->err) : r;
}

int snapshot_apply(struct image *img, const char *name_or_id, struct err *err)
{
	const char *what = "cannot apply the snapshot";
	struct snapshot_work w;
	size_t i;
	int r = snapshot_work_begin(&w, img, err);

	if (r < 0)
		return r;
	r = snaplist_find(&w.list, name_or_id, &i, err);
	if (r < 0) {
		snapshot_work_end(&w);
		return r;
	}
	r = apply_with_bitmaps(&w, &w.list.snap[i], &what);
	return snapshot_work_finish(&w, r, what);
}
