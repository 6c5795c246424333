#include "core/admin/resize.h"

#include <errno.h>
#include <inttypes.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/seed.h"
#include "core/admin/extdata.h"
#include "core/admin/trim.h"
#include "core/data/zero.h"
#include "core/format/qcow2.h"
#include "core/image/open.h"
#include "core/image/snaplist.h"
#include "core/meta/atonce.h"
#include "core/meta/l2map.h"
#include "core/meta/place.h"

/* --- growing ------------------------------------------------------------------- */

/* Does [FROM, TO), behind the end of the disk, read as zero as it is: no entry
 * and nothing behind it? *CLEAN. */
static int is_clean(struct image *img, uint64_t from, uint64_t to, bool *clean)
{
	const struct backing *b = img->disk.backing;
	uint64_t mapped = (uint64_t)img->meta.l1.n * geom_l2_span(&img->geom);

	*clean = !b || b->size <= from;
	to = NUM_MIN(to, mapped);
	while (*clean && from < to) {
		struct extent e;
		int r = l2map_lookup(&img->meta, from, to - from, &e);

		if (r < 0)
			return r;
		*clean = e.kind == L2ENTRY_UNALLOCATED;
		from += e.len;
	}
	return 0;
}

/* Clusters for an L1 table of N entries, holding what the old one does. */
static int place_l1(struct meta *m, uint32_t n, uint64_t *hoff)
{
	autofree uint64_t *t = mem_array(n, sizeof(*t));
	struct place p;
	int r;

	if (!t)
		return -ENOMEM;
	for (uint32_t i = 0; i < m->l1.n; i++)
		be64_store(&t[i], l1table_get(&m->l1, i));
	r = place_put(m, t, (size_t)n * 8, ROLE_L1, &p);
	if (r < 0)
		place_give_back(m, &p);
	*hoff = p.hoff;
	return r;
}

/* Everything that ROOTS refer to gets stable [R1], then they go to sector 0
 * [R7]. */
static int put_roots(struct meta *m, const struct header *roots)
{
	int r = SEED_BUG(SEED_L1_ROOT_EARLY) ? 0 : writeback_all(m);

	return r == 0 ? atonce_roots(m, roots) : r;
}

/* A longer L1 table takes the place of the old one; the disk has SIZE bytes
 * from then on. */
static int move_l1(struct image *img, uint32_t n, uint64_t size)
{
	struct meta *m = &img->meta;
	const struct header before = m->header;
	struct header roots = before;
	struct l1table l1;
	int r = place_l1(m, n, &roots.l1_offset);

	if (r < 0)
		return r;
	roots.l1_entries = n;
	roots.size = size;
	r = put_roots(m, &roots);
	if (r < 0)
		return r;
	r = l1table_load(&l1, m->file, roots.l1_offset, n);
	if (r < 0) {
		/* the file is right; this process cannot go on with it */
		atomic_store(&m->failed, true);
		return r;
	}
	lock_take(&m->lock); /* the committer looks at it */
	l1table_fini(&m->l1);
	m->l1 = l1;
	lock_drop(&m->lock);
	place_free(m, before.l1_offset, before.l1_entries * 8ULL);
	return 0;
}

/* Make [FROM, TO), of which nobody can see anything, read as zero. */
static int clear_exposed(struct image *img, uint64_t from, uint64_t to)
{
	uint64_t size = img->geom.size;
	int r;

	image_set_size(img, to);
	r = zero_range(&img->disk, from, to - from, true);
	image_set_size(img, size);
	return r;
}

static int put_size(struct image *img, uint64_t size)
{
	struct header roots = img->meta.header;

	roots.size = size;
	return put_roots(&img->meta, &roots);
}

/* The disk may show [OLD, SIZE) now. */
static int show(struct image *img, uint64_t old, uint64_t size)
{
	int r = 0;

	if (img->geom.data_raw)
		r = extdata_map(img, old, size);
	if (r == 0 && img->meta.header.size != size)
		r = put_size(img, size);
	if (r == 0)
		image_set_size(img, size);
	return r;
}

static int grow(struct image *img, uint64_t size)
{
	uint64_t old = img->geom.size;
	uint64_t n = geom_l1_entries(&img->geom, size);
	/* all of the last cluster: who grows the disk next may not look */
	uint64_t edge = num_round_up(size, img->geom.cluster_size);
	bool clean;
	int r = is_clean(img, old, edge, &clean);

	if (r == 0 && img->data_file) {
		edge = size; /* where the file ends */
		r = extdata_grow(img, old, size);
		/* read it from a raw one as it is: extdata_map() */
		clean &= !img->geom.data_raw;
	}
	if (r < 0)
		return r;
	if (n > img->meta.l1.n)
		r = move_l1(img, (uint32_t)n,
			    clean ? size : img->meta.header.size);
	if (r == 0 && !clean && SEED_BUG(SEED_SIZE_EARLY))
		r = put_size(img, size);
	if (r == 0 && !clean && !img->geom.data_raw)
		r = clear_exposed(img, old, edge);
	return r < 0 ? r : show(img, old, size);
}

/* --- shrinking ------------------------------------------------------------------ */

/* The smaller size is on disk: free what lies behind it. */
static int free_behind(struct image *img, uint64_t size, uint64_t old)
{
	struct meta *m = &img->meta;
	uint64_t edge = num_round_up(size, img->geom.cluster_size);
	int r = 0;

	/* the rest of the last cluster would come back with a larger size */
	if (edge > size && !img->data_file)
		r = clear_exposed(img, size, edge);
	if (r == 0)
		r = trim_end(m, edge, old);
	if (r == 0)
		r = writeback_all(m);
	if (r == 0 && img->data_file)
		r = extdata_shrink(img, size);
	return r < 0 ? r : trim_file(m);
}

static int shrink_disk(struct image *img, uint64_t size, struct err *err)
{
	uint64_t old = img->geom.size;
	int r = state_finish_roles(img, "cannot resize", err);

	if (r < 0)
		return r;
	if (SEED_BUG(SEED_SHRINK_EARLY))
		(void)!free_behind(img, size, old);
	r = put_size(img, size);
	if (r < 0)
		return r;
	r = free_behind(img, size, old);
	image_set_size(img, size);
	return r;
}

/* --- both ------------------------------------------------------------------------ */

/* A snapshot that does not say how large its disk is has the image's size. */
static int check_snapshots(struct image *img, struct err *err)
{
	const struct header *h = &img->meta.header;
	struct snaplist list;
	struct host_stat st;
	int r = hostfile_stat(img->file, &st);

	if (!h->nb_snapshots)
		return 0;
	if (r < 0)
		return err_set_sys(err, r, "cannot stat");
	r = snaplist_read(&list, img->file, h, &img->geom, st.size, err);
	for (size_t i = 0; r == 0 && i < list.n; i++)
		if (h->version < 3 || list.snap[i].extra_len < 16)
			r = err_set(err, -ENOTSUP,
				    "a snapshot of it does not record the size of its disk (compat 0.10); delete the snapshots first");
	snaplist_fini(&list);
	return r;
}

static int check_size(struct image *img, uint64_t size, bool shrink,
		      struct err *err)
{
	uint64_t max = QCOW2_MAX_L1_BYTES / 8 * geom_l2_span(&img->geom);

	max = NUM_MIN(max, (uint64_t)QCOW2_MAX_SIZE);
	if (size > max)
		return err_set(err, -EFBIG,
			       "clusters of %" PRIu64
			       " bytes can map a disk of %" PRIu64
			       " bytes at most",
			       img->geom.cluster_size, max);
	if (size < image_size(img) && !shrink)
		return err_set(err, -EINVAL,
			       "the disk would get smaller and lose what lies behind %" PRIu64
			       "; use --shrink if that is wanted",
			       size);
	return check_snapshots(img, err);
}

/* The bitmaps are as long as the disk. */
static int with_bitmaps(struct image *img, uint64_t size, struct err *err)
{
	int r = bitmaps_resize(img, size, err);

	if (r < 0)
		return r;
	r = size > img->geom.size ? grow(img, size) :
				    shrink_disk(img, size, err);
	return bitmaps_resized(img, r, err);
}

int resize_image(struct image *img, uint64_t size, bool shrink, struct err *err)
{
	int r;

	if (size > QCOW2_MAX_SIZE - QCOW2_SECTOR)
		return err_set(err, -EFBIG, "no qcow2 disk is that large");
	size = num_round_up(size, QCOW2_SECTOR);
	r = gate_quiesce(img);
	if (r < 0)
		return err_set_sys(err, r, "cannot resize");
	r = check_size(img, size, shrink, err);
	if (r < 0) {
		gate_open(img);
		return r;
	}
	if (size != img->geom.size)
		r = with_bitmaps(img, size, err);
	gate_open(img);
	if (r < 0 && err && err->text[0])
		return r;
	return r < 0 ? err_set_sys(err, r, "cannot resize") : 0;
}
