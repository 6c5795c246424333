/* snapshot_create: a snapshot is made; see snapshot.h. */
#include "core/admin/snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/be.h"
#include "base/mem.h"
#include "base/seed.h"
#include "core/admin/snapshot_work.h"
#include "core/format/qcow2.h"
#include "core/meta/tree.h"

#define NAME_MAX_BYTES 255

/* An id that no snapshot has: one above the highest number. */
static void new_id(const struct snapshot_work *w, char *out, size_t size)
{
	unsigned long long max = 0;

	for (size_t i = 0; i < w->list.n; i++) {
		unsigned long long v = strtoull(w->list.snap[i].id, NULL, 10);

		if (v > max && v < UINT64_MAX)
			max = v;
	}
	snprintf(out, size, "%llu", max + 1);
}

static int check_create(struct snapshot_work *w, const char *name)
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

/* The active L1 table, as it is on disk without COPIED. */
static int put_l1(struct snapshot_work *w)
{
	uint32_t n = w->m->l1.n;
	autofree uint64_t *l1 = l1table_copy(&w->m->l1);

	for (uint32_t i = 0; l1 && i < n; i++)
		be64_store(&l1[i], l1[i] & ~QCOW2_ENTRY_COPIED);
	return l1 ? place_put(w->m, l1, (size_t)n * 8, ROLE_SNAP_L1, &w->l1)
		  : -ENOMEM;
}

static int put_record(struct snapshot_work *w, const char *name)
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
	return snapshot_work_put_table(w, SIZE_MAX, &s);
}

/* Count a second reference to all there is, and let nobody write in place what
 * two refer to: COPIED goes before the second reference comes [R6]. */
static int share_tree(struct snapshot_work *w)
{
	autofree uint64_t *l1 = l1table_copy(&w->m->l1);
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
		snapshot_work_own_again(w);
	}
	return r;
}

static int create(struct snapshot_work *w, const char *name)
{
	struct header roots = w->m->header;
	uint64_t old = roots.snapshots_offset;
	int r = put_l1(w);

	if (r == 0)
		r = put_record(w, name);
	if (r == 0)
		r = share_tree(w);
	if (r < 0)
		return r;
	roots.nb_snapshots++;
	roots.snapshots_offset = w->table.hoff;
	r = snapshot_work_switch(w, &roots);
	if (r == 0)
		place_free(w->m, old, w->list.bytes);
	return r;
}

int snapshot_create(struct image *img, const char *name, struct err *err)
{
	struct snapshot_work w;
	int r = snapshot_work_begin(&w, img, err);

	if (r < 0)
		return r;
	r = check_create(&w, name);
	if (r < 0) {
		snapshot_work_end(&w);
		return r;
	}
	return snapshot_work_finish(&w, create(&w, name),
				    "cannot make the snapshot");
}
