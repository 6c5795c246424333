#include "core/image/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#include "base/mem.h"
#include "base/num.h"
#include "core/data/read.h"
#include "core/image/open.h"

/* Enough for one stream of reads, for a lot of views. */
#define L2_CACHE (1ULL << 20)
#define CLUSTER_CACHE (256ULL << 10)

void view_set_init(struct view_set *v)
{
	lock_init(&v->lock);
	v->first = NULL;
}

void view_set_fini(struct view_set *v)
{
	lock_fini(&v->lock);
}

/* The roots as they are now. Requests are inside the gate, so those of the
 * snapshot table stay. */
static void copy_header(struct image *img, struct header *h)
{
	lock_take(&img->meta.lock);
	*h = img->meta.header;
	lock_drop(&img->meta.lock);
}

static int read_list(struct image *img, const struct header *h,
		     struct snaplist *list, struct err *err)
{
	struct host_stat st;
	int r = hostfile_stat(img->file, &st);

	*list = (struct snaplist){ 0 };
	if (r < 0)
		return err_set_sys(err, r, "cannot stat");
	return snaplist_read(list, img->file, h, &img->geom, st.size, err);
}

int view_list(struct image *img, struct snaplist *list, struct err *err)
{
	struct epoch_ticket t = gate_enter(img);
	struct header h;
	int r;

	copy_header(img, &h);
	r = read_list(img, &h, list, err);
	gate_leave(img, t);
	return r;
}

static bool same(const struct snapshot *a, const struct snapshot *b)
{
	return a->l1_offset == b->l1_offset && !strcmp(a->id, b->id);
}

static const struct snapshot *find(const struct snaplist *list,
				   const struct snapshot *snap)
{
	for (size_t i = 0; i < list->n; i++)
		if (same(&list->snap[i], snap))
			return &list->snap[i];
	return NULL;
}

/* --- one view ------------------------------------------------------------------ */

static void destroy(struct image *v)
{
	if (v->disk.meta)
		meta_fini(&v->meta);
	clustercache_free(v->disk.cache);
	inflight_fini(&v->disk.inflight);
	state_fini(&v->state);
	gate_fini(&v->gate);
	free(v->view.key.id);
	free(v);
}

/* Put the roots of S in the place of the disk's. */
static int set_roots(struct image *v, const struct snapshot *s,
		     struct err *err)
{
	struct geom *g = &v->geom;
	uint64_t need = geom_l1_entries(g, s->disk_size);

	if (s->l1_entries < need)
		return err_set(err, -EUCLEAN,
			       "the snapshot's L1 table is too short for its disk; run 'rawcow check'");
	v->header.l1_offset = s->l1_offset;
	v->header.l1_entries = s->l1_entries;
	v->header.size = s->disk_size;
	g->size = num_round_down(s->disk_size, QCOW2_SECTOR);
	v->view.state_off = need * geom_l2_span(g);
	v->view.state_size = s->vm_state_size;
	v->view.key = (struct snapshot){ .l1_offset = s->l1_offset,
					 .id = strdup(s->id) };
	return v->view.key.id ? 0 : -ENOMEM;
}

static int open_tables(struct image *v, struct err *err)
{
	struct image *of = v->view.of;
	struct meta_budget b = { .l2 = L2_CACHE };
	int r = clustercache_new(&v->disk.cache, v->geom.cluster_size,
				 CLUSTER_CACHE);

	if (r < 0)
		return r;
	r = meta_open(&v->meta, v->file, &v->geom, &v->header, NULL, false, &b,
		      err);
	if (r < 0)
		return r;
	v->disk.meta = &v->meta;
	/* the file may not have grown yet to where clusters are reserved */
	atomic_store(&v->meta.end_hidx, atomic_load(&of->meta.end_hidx));
	return 0;
}

static struct image *new_view(struct image *img, const struct header *h,
			      enum view_use use)
{
	struct image *v = mem_array(1, sizeof(*v));

	if (!v)
		return NULL;
	v->file = img->file;
	v->header = *h;
	v->geom = img->geom;
	v->backing = img->backing;
	v->view.of = img;
	v->view.held = use == VIEW_HOLD;
	gate_init(&v->gate);
	state_init(&v->state, true);
	disk_share(&v->disk, &img->disk);
	v->disk.geom = &v->geom;
	v->disk.meta = NULL;
	v->disk.cache = NULL;
	return v;
}

static int open_inside(struct image **out, struct image *img,
		       const struct snapshot *snap, enum view_use use,
		       struct err *err)
{
	struct snaplist list;
	const struct snapshot *s;
	struct image *v;
	struct header h;
	int r;

	copy_header(img, &h);
	r = read_list(img, &h, &list, err);
	s = find(&list, snap);
	v = s ? new_view(img, &h, use) : NULL;
	if (v)
		r = set_roots(v, s, err);
	else if (s)
		r = -ENOMEM;
	else if (r == 0)
		r = err_set(err, -ENOENT, "the snapshot is gone");
	snaplist_fini(&list);
	if (v && r == 0)
		r = open_tables(v, err);
	if (v && r < 0)
		destroy(v);
	*out = r < 0 ? NULL : v;
	return r;
}

int view_open(struct image **out, struct image *img,
	      const struct snapshot *snap, enum view_use use, struct err *err)
{
	struct epoch_ticket t = gate_enter(img);
	int r = open_inside(out, img, snap, use, err);

	/* before the gate can close: who deletes the snapshot sees the view */
	if (r == 0) {
		lock_take(&img->views.lock);
		LL_PREPEND2(img->views.first, *out, view.next);
		lock_drop(&img->views.lock);
	}
	gate_leave(img, t);
	return r;
}

void view_close(struct image *v)
{
	struct view_set *set = &v->view.of->views;

	lock_take(&set->lock);
	LL_DELETE2(set->first, v, view.next);
	lock_drop(&set->lock);
	destroy(v);
}

uint64_t view_state_size(const struct image *v)
{
	return v->view.state_size;
}

int view_state_read(struct image *v, void *buf, size_t len, uint64_t off)
{
	uint64_t end = v->meta.l1.n * geom_l2_span(&v->geom);
	struct disk d;
	struct epoch_ticket t;
	int r;

	if (v->view.state_off > end ||
	    !num_range_inside(off, len, end - v->view.state_off))
		return -EUCLEAN;
	/* it lies behind the disk, where no backing file has a say */
	disk_share(&d, &v->disk);
	d.backing = NULL;
	t = gate_enter(v);
	r = v->view.gone ? -ESTALE
			 : read_range(&d, buf, len, v->view.state_off + off);
	gate_leave(v, t);
	inflight_fini(&d.inflight);
	return r;
}

int view_revoke(struct image *img, const struct snapshot *snap)
{
	struct view_set *set = &img->views;
	struct image *v;
	int r = 0;

	lock_take(&set->lock);
	LL_FOREACH2(set->first, v, view.next)
		if (v->view.held && same(&v->view.key, snap))
			r = -EBUSY;
	LL_FOREACH2(set->first, v, view.next)
		if (r == 0 && same(&v->view.key, snap))
			v->view.gone = true;
	lock_drop(&set->lock);
	return r;
}
