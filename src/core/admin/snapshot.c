#include "core/admin/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/be.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/seed.h"
#include "core/format/qcow2.h"
#include "core/image/open.h"
#include "core/image/snaplist.h"
#include "core/meta/atonce.h"
#include "core/meta/place.h"
#include "core/meta/tree.h"

#define NAME_MAX_BYTES 255

struct work {
	struct image *img;
	struct meta *m;
	struct snaplist list;
	struct place table, l1; /* new ones */
	struct err *err;
};

static int begin(struct work *w, struct image *img, struct err *err)
{
	struct host_stat st;
	int r;

	*w = (struct work){ .img = img, .m = &img->meta, .err = err };
	if (img->geom.data_file)
		return err_set(err, -ENOTSUP,
			       "the data is in an external data file, and qcow2 has no internal snapshots of such images; make an overlay instead ('rawcow create -b', or -o cow=FILE)");
	r = gate_quiesce(img);
	if (r < 0)
		return err_set_sys(err, r, "cannot change snapshots");
	r = rolescan_finish(w->m);
	if (r < 0) {
		gate_open(img);
		return err_set(err, state_mark_corrupt(img),
			       "cannot change snapshots: tables overlap; run 'rawcow check'");
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

static void end(struct work *w)
{
	snaplist_fini(&w->list);
	gate_open(w->img);
}

/* --- new tables -------------------------------------------------------------- */

/*
 * The table with record DROP left out (SIZE_MAX: none) and S behind the others
 * (NULL: none). Records are kept byte for byte: they may hold more than rawcow
 * knows. *LEN is 0 for an empty table.
 */
static int build_table(struct work *w, size_t drop, const struct snapshot *s,
		       uint8_t **out, size_t *len)
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

static int put_table(struct work *w, size_t drop, const struct snapshot *s)
{
	autofree uint8_t *t = NULL;
	size_t len;
	int r = build_table(w, drop, s, &t, &len);

	if (r == 0 && len > QCOW2_MAX_SNAPSHOT_TABLE)
		r = -EFBIG;
	return r < 0 ? r
		     : place_put(w->m, t, len, ROLE_SNAPTABLE, &w->table);
}

/* Make all that the new roots refer to stable [R1] [R2], then the roots [R7].
 * The caller has changed m->header. */
static int switch_roots(struct work *w, const struct header *before)
{
	int r = SEED_BUG(SEED_ROOTS_EARLY) ? 0 : writeback_all(w->m);

	if (r == 0)
		r = atonce_header(w->m);
	if (r < 0)
		w->m->header = *before;
	else
		w->table.n = w->l1.n = 0; /* they are in use now */
	return r;
}

/* --- create ------------------------------------------------------------------- */

/* An id that no snapshot has: one above the highest number. */
static void new_id(const struct work *w, char *out, size_t size)
{
	unsigned long long max = 0;

	for (size_t i = 0; i < w->list.n; i++) {
		unsigned long long v = strtoull(w->list.snap[i].id, NULL, 10);

		if (v > max && v < UINT64_MAX)
			max = v;
	}
	snprintf(out, size, "%llu", max + 1);
}

static int check_create(struct work *w, const char *name)
{
	const struct geom *g = w->m->geom;
	size_t len = strlen(name);

	if (!len || len > NAME_MAX_BYTES)
		return err_set(w->err, -EINVAL,
			       "a snapshot's name has 1 to %d bytes",
			       NAME_MAX_BYTES);
	if (w->list.n >= QCOW2_MAX_SNAPSHOTS)
		return err_set(w->err, -EMFILE,
			       "there are %u snapshots, as many as the format allows; delete some",
			       QCOW2_MAX_SNAPSHOTS);
	if (g->refcount_max < 2)
		return err_set(w->err, -ENOTSUP,
			       "refcounts of one bit cannot count a snapshot; convert the image to one with refcount_bits=16");
	return 0;
}

/* The active L1 table as an array: native, or as it is on disk without
 * COPIED. */
static uint64_t *l1_array(struct meta *m, bool disk)
{
	uint64_t *l1 = mem_array(m->l1.n, sizeof(*l1));

	for (uint32_t i = 0; l1 && i < m->l1.n; i++) {
		l1[i] = l1table_get(&m->l1, i);
		if (disk)
			be64_store(&l1[i], l1[i] & ~QCOW2_ENTRY_COPIED);
	}
	return l1;
}

static int put_l1(struct work *w)
{
	autofree uint64_t *l1 = l1_array(w->m, true);

	return l1 ? place_put(w->m, l1, (size_t)w->m->l1.n * 8, ROLE_SNAP_L1,
			      &w->l1)
		  : -ENOMEM;
}

static int put_record(struct work *w, const char *name)
{
	char id[24], copy[NAME_MAX_BYTES + 1];
	struct timespec now;
	struct snapshot s = {
		.l1_offset = w->l1.hoff,
		.l1_entries = w->m->l1.n,
		.disk_size = w->m->geom->size,
		.id = id,
		.name = copy,
	};

	clock_gettime(CLOCK_REALTIME, &now);
	s.date_sec = (uint32_t)now.tv_sec;
	s.date_nsec = (uint32_t)now.tv_nsec;
	/* no virtual machine has run: as QEMU says it */
	s.icount = 0;
	snprintf(copy, sizeof(copy), "%s", name);
	new_id(w, id, sizeof(id));
	return put_table(w, SIZE_MAX, &s);
}

/* Clusters that nobody else has any more may be written in place again. */
static void own_again(struct work *w)
{
	if (tree_set_copied(w->m) < 0)
		log_limited(LOG_LEVEL_WARN,
			    "%s: some clusters will be copied once more than needed",
			    w->m->file->name);
}

/* Count a second reference to all there is, and let nobody write in place what
 * two refer to: COPIED goes before the second reference comes [R6]. */
static int share_tree(struct work *w)
{
	autofree uint64_t *l1 = l1_array(w->m, false);
	int r = -ENOMEM;

	if (l1)
		r = SEED_BUG(SEED_SNAPSHOT_UNCOUNTED)
			    ? 0
			    : tree_add(w->m, l1, w->m->l1.n);
	if (r < 0 || SEED_BUG(SEED_COPIED_KEPT))
		return r;
	r = tree_clear_copied(w->m);
	if (r < 0 && !atomic_load(&w->m->failed)) {
		tree_drop(w->m, l1, w->m->l1.n); /* never were any */
		own_again(w);
	}
	return r;
}

static int create(struct work *w, const char *name)
{
	struct header before = w->m->header;
	uint64_t old_len = w->list.bytes;
	int r = put_l1(w);

	if (r == 0)
		r = put_record(w, name);
	if (r == 0)
		r = share_tree(w);
	if (r == 0) {
		w->m->header.nb_snapshots++;
		w->m->header.snapshots_offset = w->table.hoff;
		r = switch_roots(w, &before);
	}
	if (r == 0)
		place_free(w->m, before.snapshots_offset, old_len);
	return r;
}

/* What is not referred to goes back; after a failed sync nothing does [R8]. */
static int finish(struct work *w, int r, const char *what)
{
	if (r < 0 && !atomic_load(&w->m->failed)) {
		place_give_back(w->m, &w->table);
		place_give_back(w->m, &w->l1);
	}
	end(w);
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

int snapshot_create(struct image *img, const char *name, struct err *err)
{
	struct work w;
	int r = begin(&w, img, err);

	if (r < 0)
		return r;
	r = check_create(&w, name);
	if (r < 0) {
		end(&w);
		return r;
	}
	return finish(&w, create(&w, name), "cannot make the snapshot");
}

/* --- delete ------------------------------------------------------------------- */

/* The L1 table of a snapshot, native; the caller frees. */
static int read_l1(struct work *w, const struct snapshot *s, uint64_t **out)
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

static int delete(struct work *w, size_t i)
{
	const struct snapshot *s = &w->list.snap[i];
	struct header before = w->m->header;
	autofree uint64_t *l1 = NULL;
	int r = read_l1(w, s, &l1);

	if (r == 0)
		r = tree_check(w->m, l1, s->l1_entries);
	if (r == 0 && SEED_BUG(SEED_DROP_EARLY))
		tree_drop(w->m, l1, s->l1_entries);
	if (r == 0)
		r = put_table(w, i, NULL);
	if (r < 0)
		return r;
	w->m->header.nb_snapshots--;
	w->m->header.snapshots_offset = w->table.hoff;
	r = switch_roots(w, &before);
	if (r < 0)
		return r;
	place_free(w->m, before.snapshots_offset, w->list.bytes);
	if (!SEED_BUG(SEED_DROP_EARLY))
		tree_drop(w->m, l1, s->l1_entries);
	place_free(w->m, s->l1_offset, (uint64_t)s->l1_entries * 8);
	own_again(w);
	return 0;
}

/* The one at I, if R says that it was found. */
static int delete_found(struct work *w, int r, size_t i)
{
	if (r == 0) {
		r = view_revoke(w->img, &w->list.snap[i]);
		if (r < 0)
			err_set(w->err, r,
				"the snapshot is in use: a program has a file of it open");
	}
	if (r < 0) {
		end(w);
		return r;
	}
	return finish(w, delete(w, i), "cannot delete the snapshot");
}

int snapshot_delete(struct image *img, const char *name_or_id,
		    struct err *err)
{
	struct work w;
	size_t i;
	int r = begin(&w, img, err);

	if (r < 0)
		return r;
	r = snaplist_find(&w.list, name_or_id, &i, err);
	return delete_found(&w, r, i);
}

int snapshot_delete_this(struct image *img, const struct snapshot *snap,
			 struct err *err)
{
	struct work w;
	size_t i;
	int r = begin(&w, img, err);

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

/* --- apply -------------------------------------------------------------------- */

/* A copy of the snapshot's L1 table, as long as the disk needs at least. */
static int copy_l1(struct work *w, const struct snapshot *s,
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

/* The new roots are on disk: what was the disk until now goes. */
static int take_over(struct work *w, const struct header *before)
{
	struct meta *m = w->m;
	autofree uint64_t *old = l1_array(m, false);
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
	l1table_fini(&m->l1);
	m->l1 = l1;
	image_set_size(w->img, m->header.size);
	tree_drop(m, old, old_n);
	place_free(w->m, before->l1_offset, (uint64_t)old_n * 8);
	own_again(w);
	return 0;
}

/* The entries of the L1 table that the disk of S needs. */
static uint64_t l1_need(const struct work *w, const struct snapshot *s)
{
	return NUM_MAX(geom_l1_entries(w->m->geom, s->disk_size),
		       (uint64_t)s->l1_entries);
}

static int apply(struct work *w, const struct snapshot *s)
{
	struct meta *m = w->m;
	struct header before = m->header;
	uint32_t n = (uint32_t)l1_need(w, s);
	autofree uint64_t *l1 = NULL;
	int r = read_l1(w, s, &l1);

	if (r == 0)
		r = tree_check(m, l1, s->l1_entries);
	if (r == 0)
		r = copy_l1(w, s, l1, n);
	if (r == 0)
		r = tree_add(m, l1, s->l1_entries);
	if (r < 0)
		return r;
	m->header.size = s->disk_size;
	m->header.l1_entries = n;
	m->header.l1_offset = w->l1.hoff;
	r = switch_roots(w, &before);
	return r < 0 ? r : take_over(w, &before);
}

/* The bitmaps are as long as the disk, and all of it may change. */
static int apply_with_bitmaps(struct work *w, const struct snapshot *s)
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
	if (r == 0)
		bitmaps_touch(w->img, 0, w->img->geom.size);
	if (resize)
		bitmaps_resized(w->img);
	return r;
}

int snapshot_apply(struct image *img, const char *name_or_id, struct err *err)
{
	struct work w;
	size_t i;
	int r = begin(&w, img, err);

	if (r < 0)
		return r;
	r = snaplist_find(&w.list, name_or_id, &i, err);
	if (r < 0) {
		end(&w);
		return r;
	}
	return finish(&w, apply_with_bitmaps(&w, &w.list.snap[i]),
		      "cannot apply the snapshot");
}
