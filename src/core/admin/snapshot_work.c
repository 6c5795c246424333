/* snapshot_work: see snapshot_work.h. */
#include "core/admin/snapshot_work.h"

#include <errno.h>
#include <stdlib.h>

#include "base/be.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/seed.h"
#include "core/format/qcow2.h"
#include "core/meta/atonce.h"
#include "core/meta/tree.h"

int snapshot_work_begin(struct snapshot_work *w, struct image *img,
			struct err *err)
{
	struct host_stat st;
	int r;

	*w = (struct snapshot_work){ .img = img, .m = &img->meta, .err = err };
	if (img->geom.data_file)
		return err_set(err, -ENOTSUP,
			       "the data is in an external data file, and qcow2 has no internal snapshots of such images; make an overlay instead ('rawcow create -b', or -o cow=FILE)");
	r = gate_quiesce(img);
	if (r < 0)
		return err_set_sys(err, r, "cannot change snapshots");
	r = state_finish_roles(img, "cannot change snapshots", err);
	if (r < 0) {
		gate_open(img);
		return r;
	}
	r = hostfile_stat(img->file, &st);
	if (r < 0)
		err_set_sys(err, r, "cannot stat");
	else
		r = snaplist_read(&w->list, img->file, &w->m->header,
				  &img->geom, st.size, err);
	if (r < 0) {
		snaplist_fini(&w->list);
		gate_open(img);
	}
	return r;
}

void snapshot_work_end(struct snapshot_work *w)
{
	snaplist_fini(&w->list);
	gate_open(w->img);
}

/* What is not referred to goes back; after a failed sync nothing does [R8]. */
int snapshot_work_finish(struct snapshot_work *w, int r, const char *what)
{
	if (r < 0 && !atomic_load(&w->m->failed)) {
		place_give_back(w->m, &w->table);
		place_give_back(w->m, &w->l1);
	}
	snapshot_work_end(w);
	if (r == -ERANGE)
		return err_set(w->err, r,
			       "%s: a cluster is referred to as often as refcounts of %u bits can count; delete snapshots, or convert the image to one with larger refcount_bits",
			       what, w->m->geom->refcount_bits);
	if (r == -EUCLEAN)
		return err_set(w->err, r,
			       "%s: tables are broken; run 'rawcow check'",
			       what);
	if (r < 0 && w->err && w->err->text[0]) {
		err_wrap(w->err, "%s", what);
		return r;
	}
	return r < 0 ? err_set_sys(w->err, r, "%s", what) : 0;
}

/* --- the snapshot table ---------------------------------------------------- */

/* Records are kept byte for byte: they may hold more than rawcow knows. *LEN is
 * 0 for an empty table. */
static int build_table(struct snapshot_work *w, size_t drop,
		       const struct snapshot *s, uint8_t **out, size_t *len)
{
	size_t cap = (size_t)w->list.bytes + (s ? snaptable_size(s) : 0);
	uint64_t from = w->m->header.snapshots_offset;
	autofree uint8_t *t = mem_array(cap + 8, 1);
	int r = 0;

	*len = 0;
	if (!t)
		return -ENOMEM;
	for (size_t i = 0; i < w->list.n && r == 0; i++) {
		uint32_t n = w->list.snap[i].record_len;

		if (i != drop) {
			/* the last one's padding may be cut off */
			size_t got;

			r = hostfile_pread(w->m->file, t + *len, n, from, &got);
			*len += n;
		}
		from += n;
	}
	if (s) {
		snaptable_encode(s, t + *len);
		*len += snaptable_size(s);
	}
	*out = mem_steal(&t);
	return r;
}

int snapshot_work_put_table(struct snapshot_work *w, size_t drop,
			    const struct snapshot *s)
{
	autofree uint8_t *t = NULL;
	size_t len;
	int r = build_table(w, drop, s, &t, &len);

	if (r == 0 && len > QCOW2_MAX_SNAPSHOT_TABLE)
		r = -EFBIG;
	return r < 0 ? r
		     : place_put(w->m, t, len, ROLE_SNAPTABLE, &w->table);
}

/* --- L1 tables and roots --------------------------------------------------- */

int snapshot_work_read_l1(struct snapshot_work *w, const struct snapshot *s,
			  uint64_t **out)
{
	autofree uint64_t *l1 = mem_array((size_t)s->l1_entries + 1,
					  sizeof(*l1));
	int r;

	if (!l1)
		return -ENOMEM;
	r = hostfile_pread_full(w->m->file, l1, (size_t)s->l1_entries * 8,
				s->l1_offset);
	for (uint32_t i = 0; i < s->l1_entries; i++)
		l1[i] = be64_load(&l1[i]);
	*out = mem_steal(&l1);
	return r;
}

/* [R1] [R2], then [R7] */
int snapshot_work_switch(struct snapshot_work *w, const struct header *roots)
{
	int r = SEED_BUG(SEED_ROOTS_EARLY) ? 0 : writeback_all(w->m);

	if (r == 0)
		r = atonce_roots(w->m, roots);
	if (r == 0)
		w->table.n = w->l1.n = 0; /* they are in use now */
	return r;
}

void snapshot_work_own_again(struct snapshot_work *w)
{
	if (tree_set_copied(w->m) < 0)
		log_limited(LOG_LEVEL_WARN,
			    "%s: some clusters will be copied once more than needed",
			    w->m->file->name);
}
