/* snapshot_delete: a snapshot goes; see snapshot.h. */
#include "core/admin/snapshot.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/seed.h"
#include "core/admin/snapshot_work.h"
#include "core/meta/tree.h"

static int delete(struct snapshot_work *w, size_t i)
{
	const struct snapshot *s = &w->list.snap[i];
	struct header roots = w->m->header;
	uint64_t old = roots.snapshots_offset;
	autofree uint64_t *l1 = NULL;
	int r = snapshot_work_read_l1(w, s, &l1);

	if (r == 0)
		r = tree_check(w->m, l1, s->l1_entries);
	if (r == 0 && SEED_BUG(SEED_DROP_EARLY))
		tree_drop(w->m, l1, s->l1_entries);
	if (r == 0)
		r = snapshot_work_put_table(w, i, NULL);
	if (r < 0)
		return r;
	roots.nb_snapshots--;
	roots.snapshots_offset = w->table.hoff;
	r = snapshot_work_switch(w, &roots);
	if (r < 0)
		return r;
	place_free(w->m, old, w->list.bytes);
	if (!SEED_BUG(SEED_DROP_EARLY))
		tree_drop(w->m, l1, s->l1_entries);
	place_free(w->m, s->l1_offset, (uint64_t)s->l1_entries * 8);
	snapshot_work_own_again(w);
	return 0;
}

/* The one at I, if R says that it was found. */
static int delete_found(struct snapshot_work *w, int r, size_t i)
{
	if (r == 0) {
		r = view_revoke(w->img, &w->list.snap[i]);
		if (r < 0)
			err_set(w->err, r,
				"the snapshot is in use: a program has a file of it open");
	}
	if (r < 0) {
		snapshot_work_end(w);
		return r;
	}
	return snapshot_work_finish(w, delete(w, i),
				    "cannot delete the snapshot");
}

int snapshot_delete(struct image *img, const char *name_or_id,
		    struct err *err)
{
	struct snapshot_work w;
	size_t i;
	int r = snapshot_work_begin(&w, img, err);

	if (r < 0)
		return r;
	r = snaplist_find(&w.list, name_or_id, &i, err);
	return delete_found(&w, r, i);
}

int snapshot_delete_this(struct image *img, const struct snapshot *snap,
			 struct err *err)
{
	struct snapshot_work w;
	size_t i;
	int r = snapshot_work_begin(&w, img, err);

	if (r < 0)
		return r;
	for (i = 0; i < w.list.n; i++)
		if (w.list.snap[i].l1_offset == snap->l1_offset &&
		    !strcmp(w.list.snap[i].id, snap->id))
			break;
	if (i == w.list.n)
		r = err_set(err, -ENOENT, "the snapshot is gone");
	return delete_found(&w, r, i);
}
