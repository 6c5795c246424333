/*
 * One commit, whatever is in it (docs/durability.md):
 *
 *	cut      under meta.lock: copies of dirty L2 slices, L1 sectors, refcount
 *	         blocks, and of the header when a root has moved
 *	phase 0  only when entries of this commit lie in areas whose refcount
 *	         block is not hooked: the blocks, and a moved refcount table; F0
 *	phase 1  refcount blocks, new L2 tables; (urgent: the hooks)
 *	F1
 *	phase 2  L2 slices of tables in use, L1 sectors, hooks, header sector 0
 *	F2       everybody who waited is answered; freed clusters are ripe
 *
 * Phases 0 and 1 write only what nothing on disk refers to, and counts that
 * may only be too high; phase 2 switches single entries, each inside one
 * sector, from one valid target to another. So any subset of sectors that
 * reaches the disk is a consistent image.
 *
 * Who calls for a commit and who waits for it: writeback_group.c.
 */
#include "core/meta/writeback.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/be.h"
#include "base/log.h"
#include "base/num.h"
#include "base/seed.h"
#include "core/format/qcow2.h"
#include "core/meta/l2map.h"
#include "core/meta/meta.h"
#include "core/meta/writeback_priv.h"

struct commit {
	struct tablecache_cut l2, blocks;
	struct l1table_cut l1;
	struct refcount_cut rc;
	uint8_t header[QCOW2_SECTOR];
	bool header_moved;
	bool data, fresh; /* unsynced data; unsynced new clusters */
	bool wrote;	  /* something since the last F */
};

static int put(struct meta *m, struct commit *c, const void *buf, size_t len,
	       uint64_t hoff, enum role role)
{
	c->wrote = true;
	return meta_write(m, buf, len, hoff, role);
}

/* F of an external data file: before the entries that refer to it, or to data
 * in its place, and at most once in a commit [R1]. */
static int sync_data_file(struct meta *m, struct commit *c)
{
	if (!m->data_file || !c->data)
		return 0;
	c->data = false;
	if (SEED_BUG(SEED_SKIP_DATA_F))
		return 0;
	atomic_fetch_add(&m->wb.syncs, 1);
	return hostfile_sync(m->data_file);
}

/* One F of each file, if anything was written to it since the last one. */
static int sync_now(struct meta *m, struct commit *c)
{
	int r = sync_data_file(m, c);

	if (r < 0)
		return SEED_BUG(SEED_IGNORE_FAILED_F) ? 0 : r;
	if (!c->wrote && !c->data && !c->fresh)
		return 0;
	c->wrote = c->data = c->fresh = false;
	atomic_fetch_add(&m->wb.syncs, 1);
	r = hostfile_sync(m->file);
	return SEED_BUG(SEED_IGNORE_FAILED_F) ? 0 : r;
}

/* Write the slices whose EARLY flag is as asked, neighbours in one go. */
static int put_slices(struct meta *m, struct commit *c,
		      const struct tablecache_cut *cut, bool early)
{
	size_t size = m->geom->slice_size;
	size_t i = 0;

	while (i < cut->n) {
		size_t n = 1;
		int r;

		if (cut->early[i] != early) {
			i++;
			continue;
		}
		while (i + n < cut->n && cut->early[i + n] == early &&
		       cut->slices[i + n]->hoff ==
			       cut->slices[i]->hoff + n * size)
			n++;
		r = put(m, c, cut->copies + i * size, n * size,
			cut->slices[i]->hoff,
			cut == &c->l2 ? ROLE_L2 : ROLE_REFBLOCK);
		if (r < 0)
			return r;
		i += n;
	}
	return 0;
}

static int put_l1(struct meta *m, struct commit *c)
{
	for (uint32_t i = 0; i < c->l1.n; i++) {
		uint64_t hoff;
		size_t len;
		int r;

		l1table_cut_place(&m->l1, &c->l1, i, &hoff, &len);
		r = put(m, c, c->l1.copies + (size_t)i * QCOW2_SECTOR, len,
			hoff, ROLE_L1);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The moved table: unreferenced until the header says so [R7]. */
static int put_moved_table(struct meta *m, struct commit *c)
{
	if (!c->rc.grown)
		return 0;
	return put(m, c, c->rc.copies,
		   (size_t)c->rc.clusters << m->geom->cluster_bits, c->rc.hoff,
		   ROLE_REFTABLE);
}

/* The pointers to new refcount blocks: entries of the table in place, or the
 * header's to the moved table. */
static int put_hooks(struct meta *m, struct commit *c)
{
	if (c->rc.grown)
		return put(m, c, c->header, QCOW2_SECTOR, 0, ROLE_HEADER);
	for (size_t i = 0; i < c->rc.n; i++) {
		uint64_t sec = num_round_down(c->rc.areas[i], 64);
		int r = put(m, c, c->rc.copies + i * QCOW2_SECTOR,
			    QCOW2_SECTOR, c->rc.hoff + sec * 8, ROLE_REFTABLE);

		if (r < 0)
			return r;
	}
	return 0;
}

/* Seeded bugs: pointers go out together with what they point to. */
static bool hooks_early(const struct commit *c)
{
	(void)c;
	return (SEED_BUG(SEED_HEADER_EARLY) && c->rc.grown) ||
	       (SEED_BUG(SEED_REFTABLE_EARLY) && !c->rc.grown);
}

/* [R1] for the refcount table: blocks are stable before entries that point to
 * them; [R2] those entries are stable before what the blocks count is used. */
static int phase0(struct meta *m, struct commit *c)
{
	int r;

	if (!c->rc.urgent || SEED_BUG(SEED_COVERAGE_LATE))
		return 0;
	r = put_slices(m, c, &c->blocks, false);
	if (r == 0)
		r = put_moved_table(m, c);
	if (r == 0 && !hooks_early(c))
		r = sync_now(m, c);
	return r;
}

static int phase1(struct meta *m, struct commit *c)
{
	bool urgent = c->rc.urgent && !SEED_BUG(SEED_COVERAGE_LATE);
	int r = 0;

	if (urgent) {
		r = put_hooks(m, c);
	} else {
		if (!SEED_BUG(SEED_COUNT_AFTER_REFERENCE))
			r = put_slices(m, c, &c->blocks, false);
		if (r == 0)
			r = put_moved_table(m, c);
	}
	if (r == 0 && SEED_BUG(SEED_PUBLISH_L2_EARLY))
		r = put_slices(m, c, &c->l2, false);
	if (r == 0 && SEED_BUG(SEED_PUBLISH_L1_EARLY))
		r = put_l1(m, c);
	if (r == 0 && hooks_early(c))
		r = put_hooks(m, c);
	if (r == 0)
		r = put_slices(m, c, &c->l2, true);
	return r;
}

static bool has_phase2(const struct commit *c)
{
	for (size_t i = 0; i < c->l2.n; i++)
		if (!c->l2.early[i])
			return true;
	return c->l1.n || (c->rc.n && !c->rc.urgent) ||
	       (c->rc.grown && !c->rc.urgent);
}

static int phase2(struct meta *m, struct commit *c)
{
	int r = put_slices(m, c, &c->l2, false);

	if (r == 0)
		r = put_l1(m, c);
	if (r == 0 && (!c->rc.urgent || SEED_BUG(SEED_COVERAGE_LATE)))
		r = put_hooks(m, c);
	if (r == 0 && SEED_BUG(SEED_COUNT_AFTER_REFERENCE))
		r = put_slices(m, c, &c->blocks, false);
	return r;
}

static bool early_l2(void *arg, uint64_t hoff)
{
	return l2map_is_new_table(arg, hoff);
}

/* Take over what is to be written: nothing that changes later gets into this
 * commit, whose F1 could not cover it. */
static void cut_locked(struct meta *m, struct commit *c)
	LOCK_REQUIRES(&m->lock)
{
	/* A data write sets these after it returned and before its entry is
	 * installed: what this cut sees, F1 covers. */
	c->data = atomic_exchange(&m->data_unsynced, false);
	c->fresh = atomic_exchange(&m->new_unsynced, false);
	if (SEED_BUG(SEED_DECREMENT_EARLY))
		for (size_t i = 0; i < m->alloc.freed.n; i++)
			alloc_give_back_locked(m, m->alloc.freed.r[i].hidx,
					       m->alloc.freed.r[i].n);
	tablecache_cut(m->l2, &c->l2, early_l2, m);
	l2map_forget_new_tables(m);
	tablecache_cut(m->refcount.blocks, &c->blocks, NULL, NULL);
	l1table_take_cut(&m->l1, &c->l1);
	refcount_take_cut(m, &c->rc);
	if (c->rc.grown) {
		header_encode(&m->header, m->header_sector);
		memcpy(c->header, m->header_sector, QCOW2_SECTOR);
	}
	free(m->alloc.cut.r);
	m->alloc.cut = m->alloc.freed;
	memset(&m->alloc.freed, 0, sizeof(m->alloc.freed));
	if (SEED_BUG(SEED_DECREMENT_EARLY))
		m->alloc.cut.n = 0;
	writeback_note_locked(m);
}

/* Somebody cut the file short under us: what entries refer to is gone. */
static int check_length(struct meta *m)
{
	struct host_stat st;
	int r = hostfile_stat(m->file, &st);

	if (r < 0)
		return r;
	if (st.size < m->wb.file_size) {
		log_line(LOG_LEVEL_ERROR,
			 "%s: another program has truncated the image",
			 m->file->name);
		return -EIO;
	}
	m->wb.file_size = st.size;
	return 0;
}

static int write_out(struct meta *m, struct commit *c)
{
	int r = check_length(m);

	if (r == 0)
		r = phase0(m, c);
	if (r == 0)
		r = phase1(m, c);
	if (r < 0)
		return r;
	if (has_phase2(c)) {
		/* F1 [R1] [R2]: targets and counts, then references. Data
		 * in mapped clusters alone can wait for F2. */
		if ((c->wrote || c->fresh || (m->data_file && c->data)) &&
		    !SEED_BUG(SEED_SKIP_F1)) {
			r = sync_now(m, c);
			if (r < 0)
				return r;
		}
		r = phase2(m, c);
		if (r < 0)
			return r;
	}
	return sync_now(m, c);
}

/* Add the running commit's frees to the ripe ones. Their removal is on disk. */
static void ripen_locked(struct meta *m) LOCK_REQUIRES(&m->lock)
{
	struct alloc_list *ripe = &m->alloc.ripe;
	struct alloc_list *cut = &m->alloc.cut;

	if (!ripe->n) {
		struct alloc_list t = *ripe;

		*ripe = *cut;
		*cut = t;
	}
	cut->n = 0;
	cut->clusters = 0;
}

void writeback_fail(struct meta *m, int r)
{
	char when[32];
	struct tm tm;
	time_t good;

	if (atomic_exchange(&m->failed, true))
		return;
	lock_take(&m->wb.lock);
	good = (time_t)m->wb.last_good;
	lock_drop(&m->wb.lock);
	strftime(when, sizeof(when), "%F %T", localtime_r(&good, &tm));
	log_line(LOG_LEVEL_ERROR,
		 "%s: cannot make changes durable (%s): no more writing; the image is consistent as of %s and data written after that may be lost; unmount and run 'rawcow check'",
		 m->file->name, strerror(-r), when);
}

bool writeback_anything_locked(struct meta *m, bool all)
{
	if (atomic_load(&m->data_unsynced) || atomic_load(&m->new_unsynced) ||
	    tablecache_dirty_count(m->l2) || m->l1.dirty_n)
		return true;
	return all && (tablecache_dirty_count(m->refcount.blocks) ||
		       m->refcount.unhooked_n || m->alloc.freed.n ||
		       m->refcount.hoff != m->refcount.committed_hoff);
}

/* The map of roles refused a write: say so in the file, unless sector 0 is about
 * to name another refcount table. */
static void mark_corrupt(struct meta *m, const struct commit *c)
{
	if (c->rc.grown || m->header.version < 3)
		return;
	lock_take(&m->lock);
	m->header.incompatible |= QCOW2_INCOMPAT_CORRUPT;
	be64_store(m->header_sector + 72, m->header.incompatible);
	lock_drop(&m->lock);
	(void)!meta_write(m, m->header_sector, QCOW2_SECTOR, 0, ROLE_HEADER);
}

int writeback_commit(struct meta *m, bool all)
{
	struct commit c = { 0 };
	bool ripe;
	int r;

	if (atomic_load(&m->failed) && !SEED_BUG(SEED_IGNORE_FAILED_F))
		return -EIO;
	lock_take(&m->lock);
	ripe = m->alloc.ripe.n;
	lock_drop(&m->lock);
	/* for what another thread is at a sync need not wait */
	if (ripe)
		alloc_mature(m);
	lock_take(&m->lock);
	if (!writeback_anything_locked(m, all)) {
		lock_drop(&m->lock);
		return 0;
	}
	cut_locked(m, &c);
	lock_drop(&m->lock);
	r = write_out(m, &c);
	if (r == -EUCLEAN)
		mark_corrupt(m, &c);
	if (r < 0)
		writeback_fail(m, r);
	lock_take(&m->lock);
	if (r == 0)
		ripen_locked(m);
	lock_drop(&m->lock);
	tablecache_cut_done(m->l2, &c.l2);
	tablecache_cut_done(m->refcount.blocks, &c.blocks);
	l1table_cut_fini(&c.l1);
	refcount_cut_fini(&c.rc);
	atomic_fetch_add(&m->wb.commits, 1);
	return r < 0 ? -EIO : 0;
}
