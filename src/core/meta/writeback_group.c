/*
 * writeback_group: who runs a commit and who waits for it, and how much waits
 * for the next one; see writeback.h. What a commit does: writeback.c.
 */
#include "core/meta/writeback.h"

#include <string.h>
#include <time.h>

#include "core/meta/meta.h"
#include "core/meta/writeback_priv.h"

void writeback_init(struct writeback *wb)
{
	memset(wb, 0, sizeof(*wb));
	lock_init(&wb->lock);
	lock_cond_init(&wb->done);
	wb->last_good = time(NULL);
}

void writeback_fini(struct writeback *wb)
{
	lock_cond_fini(&wb->done);
	lock_fini(&wb->lock);
}

/* Group commit: one runs, all who come meanwhile share the next one. */
static int run(struct meta *m, bool all)
{
	struct writeback *wb = &m->wb;
	uint64_t want;
	int r;

	lock_take(&wb->lock);
	want = wb->started + 1;
	while (wb->finished < want) {
		if (wb->running) {
			lock_cond_wait(&wb->done, &wb->lock);
			continue;
		}
		wb->running = true;
		wb->started++;
		lock_drop(&wb->lock);
		r = writeback_commit(m, all);
		lock_take(&wb->lock);
		wb->running = false;
		wb->finished = wb->started;
		wb->result = r;
		if (r == 0)
			wb->last_good = time(NULL);
		lock_cond_wake_all(&wb->done);
	}
	r = wb->result;
	lock_drop(&wb->lock);
	return r;
}

void writeback_hold(struct writeback *wb)
{
	lock_take(&wb->lock);
	while (wb->running)
		lock_cond_wait(&wb->done, &wb->lock);
	wb->running = true;
	lock_drop(&wb->lock);
}

void writeback_release(struct writeback *wb)
{
	lock_take(&wb->lock);
	wb->running = false;
	lock_cond_wake_all(&wb->done);
	lock_drop(&wb->lock);
}

int writeback_flush(struct meta *m)
{
	return run(m, false);
}

enum left {
	LEFT_NOTHING,
	LEFT_COUNTS,  /* clusters, or refcounts that only say "free" */
	LEFT_CHANGES, /* of requests */
};

static enum left left_locked(struct meta *m) LOCK_REQUIRES(&m->lock)
{
	if (writeback_anything_locked(m, false))
		return LEFT_CHANGES;
	return writeback_anything_locked(m, true) || alloc_has_freed_locked(m) ?
		       LEFT_COUNTS : LEFT_NOTHING;
}

/* A commit, and what frees call for after it. */
static int run_all(struct meta *m, enum left *left)
{
	int r = run(m, true);

	if (r < 0)
		return r;
	alloc_mature(m);
	lock_take(&m->lock);
	*left = left_locked(m);
	lock_drop(&m->lock);
	return 0;
}

int writeback_all(struct meta *m)
{
	enum left left = LEFT_CHANGES;
	int r = 0;

	while (r == 0 && left != LEFT_NOTHING)
		r = run_all(m, &left);
	return r;
}

int writeback_settle(struct meta *m)
{
	enum left left;
	int r;

	do
		r = run_all(m, &left);
	while (r == 0 && left == LEFT_COUNTS);
	return r;
}

/* --- pressure -------------------------------------------------------------- */

static bool dirty_above(struct meta *m, size_t times)
{
	return tablecache_dirty_count(m->l2) >
		       times * tablecache_dirty_limit(m->l2) ||
	       tablecache_dirty_count(m->refcount.blocks) >
		       times * tablecache_dirty_limit(m->refcount.blocks) ||
	       m->alloc.freed.clusters << m->geom->cluster_bits >
		       (uint64_t)times << 26;
}

void writeback_note_locked(struct meta *m)
{
	int p = WRITEBACK_CALM;

	if (dirty_above(m, 1))
		p = dirty_above(m, 4) ? WRITEBACK_URGENT : WRITEBACK_WANTED;
	atomic_store(&m->wb.pressure, p);
}

enum writeback_pressure writeback_pressure(struct meta *m)
{
	return (enum writeback_pressure)atomic_load(&m->wb.pressure);
}
