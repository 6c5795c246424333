#include "core/meta/alloc.h"

#include <errno.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/num.h"
#include "base/seed.h"
#include "core/format/qcow2.h"
#include "core/meta/meta.h"

static void list_fini(struct alloc_list *l)
{
	free(l->r);
	memset(l, 0, sizeof(*l));
}

void alloc_init(struct alloc *a)
{
	lock_init(&a->mature_lock);
}

void alloc_fini(struct alloc *a)
{
	lock_fini(&a->mature_lock);
	list_fini(&a->freed);
	list_fini(&a->cut);
	list_fini(&a->ripe);
}

/* Take [HIDX, HIDX + N), found free and covered, for what ROLE says. */
static int take(struct meta *m, uint64_t hidx, uint64_t n, enum role role)
	LOCK_REQUIRES(&m->lock)
{
	int r = rolescan_take_locked(m, hidx, n, role);

	if (r < 0)
		return r;
	r = refcount_add_locked(m, hidx, n);
	if (r < 0) {
		rolescan_drop_locked(m, hidx, n);
		return r;
	}
	refcount_note_use_locked(m, hidx, n);
	if (hidx + n > atomic_load(&m->end_hidx))
		atomic_store(&m->end_hidx, hidx + n);
	m->alloc.passed |= hidx > m->alloc.hint;
	m->alloc.hint = hidx + n;
	refcount_reserve_locked(m, hidx + n);
	return 0;
}

/* Where a search begins. */
static uint64_t first_free(struct meta *m) LOCK_REQUIRES(&m->lock)
{
	uint64_t floor = rolescan_floor_locked(m);

	return NUM_MAX(m->alloc.hint, floor);
}

/* A free run, covered; making coverage may use up the run: look again. */
static int find(struct meta *m, uint64_t min, uint64_t max, uint64_t *hidx,
		uint64_t *n)
	LOCK_REQUIRES(&m->lock)
{
	uint64_t area_mask = m->geom->refblock_entries - 1;
	bool changed;
	int r;

	do {
		r = refcount_find_free_locked(m, first_free(m), min, max, hidx,
					      n);
		if (r == -ENOSPC && m->alloc.hint) {
			m->alloc.hint = 0;
			r = refcount_find_free_locked(m, first_free(m), min,
						      max, hidx, n);
		}
		if (r < 0)
			return r;
		/* do not open a new area for the tail of a run */
		if (*n > min)
			*n = NUM_MAX(min, NUM_MIN(*n, area_mask + 1 -
							      (*hidx & area_mask)));
		r = refcount_cover_locked(m, *hidx, *n, &changed);
		if (r < 0)
			return r;
	} while (changed);
	if (min == 1 && first_free(m) == m->alloc.hint)
		m->alloc.hint = *hidx; /* all in front of it are in use */
	return 0;
}

/* Seeded bug: hand out what was freed since the last commit, its count kept. */
static bool reuse_early(struct alloc_list *freed, uint64_t *hidx, uint64_t *n)
{
	if (!freed->n)
		return false;
	*hidx = freed->r[freed->n - 1].hidx + --freed->r[freed->n - 1].n;
	*n = 1;
	if (!freed->r[freed->n - 1].n)
		freed->n--;
	return true;
}

int alloc_run_locked(struct meta *m, uint64_t want, uint64_t *hidx, uint64_t *n,
		     bool *fresh)
{
	uint64_t end;
	int r;

	*fresh = false;
	if (SEED_BUG(SEED_REUSE_EARLY) && reuse_early(&m->alloc.freed, hidx, n))
		return rolemap_set(&m->roles.map, *hidx, *n, ROLE_DATA);
	r = find(m, 1, want, hidx, n);
	if (r < 0)
		return r;
	end = atomic_load(&m->end_hidx);
	*fresh = *hidx >= end;
	if (!*fresh && *hidx + *n > end)
		*n = end - *hidx;
	return take(m, *hidx, *n, ROLE_DATA);
}

int alloc_exact_locked(struct meta *m, uint64_t n, enum role role,
		       uint64_t *hidx)
{
	uint64_t got;
	int r = find(m, n, n, hidx, &got);

	return r < 0 ? r : take(m, *hidx, n, role);
}

/* The clusters [HIDX, HIDX + N) may become free: no more streams there. */
static void bytes_forget_locked(struct meta *m, uint64_t hidx, uint64_t n)
	LOCK_REQUIRES(&m->lock)
{
	uint64_t at = m->alloc.bytes_at >> m->geom->cluster_bits;

	if (at >= hidx && at - hidx < n)
		m->alloc.bytes_at = 0;
}

/* Room for LEN bytes, a stream's first ones, in the cluster where the last
 * stream ended; the rest, if any, in the cluster behind it, newly taken. -EAGAIN:
 * not there. *NEXT: a cluster that was found instead of the one behind. */
static int bytes_continue(struct meta *m, uint64_t len, uint64_t *next)
	LOCK_REQUIRES(&m->lock)
{
	const struct geom *g = m->geom;
	uint64_t at = m->alloc.bytes_at;
	uint64_t hidx = at >> g->cluster_bits;
	uint64_t n;
	int r;

	*next = 0;
	if (!at)
		return -EAGAIN;
	if (len > g->cluster_size - geom_in_cluster(g, at)) {
		m->alloc.passed |= m->alloc.hint <= hidx;
		m->alloc.hint = hidx + 1;
		r = find(m, 1, 1, next, &n);
		if (r < 0)
			return r;
		if (*next != hidx + 1)
			return -EAGAIN;
		r = take(m, *next, 1, ROLE_COMPRESSED);
		if (r < 0)
			return r;
	}
	r = refcount_add_locked(m, hidx, 1);
	if (r == 0)
		refcount_note_use_locked(m, hidx, 1);
	else if (*next)
		alloc_give_back_locked(m, *next, 1);
	*next = 0;
	return r == -ERANGE ? -EAGAIN : r;
}

int alloc_bytes_locked(struct meta *m, uint32_t len, uint64_t *hoff)
{
	const struct geom *g = m->geom;
	uint64_t room = num_round_up(len, QCOW2_SECTOR);
	uint64_t next, n;
	int r = bytes_continue(m, room, &next);

	if (r == -EAGAIN) {
		r = next ? 0 : find(m, 1, 1, &next, &n);
		if (r == 0)
			r = take(m, next, 1, ROLE_COMPRESSED);
		if (r == 0)
			m->alloc.bytes_at = next << g->cluster_bits;
	}
	if (r < 0)
		return r;
	*hoff = m->alloc.bytes_at;
	m->alloc.bytes_at += room;
	if (!geom_in_cluster(g, m->alloc.bytes_at))
		m->alloc.bytes_at = 0;
	return 0;
}

void alloc_give_back_locked(struct meta *m, uint64_t hidx, uint64_t n)
{
	bytes_forget_locked(m, hidx, n);
	if (refcount_sub_locked(m, hidx, n) < 0)
		log_limited(LOG_LEVEL_WARN,
			    "%s: %llu clusters leak after a failed write",
			    m->file->name, (unsigned long long)n);
	m->alloc.hint = NUM_MIN(m->alloc.hint, hidx);
}

void alloc_rewind_locked(struct meta *m)
{
	if (m->alloc.passed)
		m->alloc.hint = 0;
	m->alloc.passed = false;
}

int alloc_free_reserve_locked(struct meta *m, size_t n)
{
	struct alloc_list *l = &m->alloc.freed;

	return mem_grow(&l->r, &l->cap, l->n + n, sizeof(*l->r));
}

void alloc_free_later_locked(struct meta *m, uint64_t hidx, uint64_t n)
{
	struct alloc_list *l = &m->alloc.freed;
	struct alloc_range *last = l->n ? &l->r[l->n - 1] : NULL;

	if (SEED_BUG(SEED_PUNCH_EARLY))
		(void)!hostfile_punch(m->file, hidx << m->geom->cluster_bits,
				      n << m->geom->cluster_bits);
	if (last && last->hidx + last->n == hidx)
		last->n += n;
	else
		l->r[l->n++] = (struct alloc_range){ hidx, n };
	l->clusters += n;
}

/* The part of [HIDX, HIDX + N) from HIDX on whose clusters lose their last
 * reference (*LAST) or keep some. */
static uint64_t same_fate(struct meta *m, uint64_t hidx, uint64_t n, bool *last)
	LOCK_REQUIRES(&m->lock)
{
	uint64_t k;

	for (k = 0; k < n; k++) {
		uint64_t v;
		bool is_last = refcount_get_locked(m, hidx + k, &v) == 0 &&
			       v == 1;

		if (k == 0)
			*last = is_last;
		else if (is_last != *last)
			break;
	}
	return k;
}

/* [R5] The punch ends before the count says free. */
static void punch_range(struct meta *m, struct alloc_range r)
{
	while (r.n) {
		bool last = false;
		uint64_t k;

		lock_take(&m->lock);
		k = same_fate(m, r.hidx, r.n, &last);
		if (last)
			bytes_forget_locked(m, r.hidx, k);
		lock_drop(&m->lock);
		if (last && hostfile_punch(m->file,
					   r.hidx << m->geom->cluster_bits,
					   k << m->geom->cluster_bits) ==
				    -EOPNOTSUPP)
			atomic_store(&m->alloc.no_punch, true);
		r.hidx += k;
		r.n -= k;
	}
}

static void free_range_locked(struct meta *m, struct alloc_range r)
	LOCK_REQUIRES(&m->lock)
{
	int e;

	bytes_forget_locked(m, r.hidx, r.n);
	e = refcount_sub_locked(m, r.hidx, r.n);
	m->alloc.hint = NUM_MIN(m->alloc.hint, r.hidx);
	if (e < 0)
		log_limited(LOG_LEVEL_WARN,
			    "%s: cannot free %llu clusters at host offset %#llx; run 'rawcow check' on the image",
			    m->file->name, (unsigned long long)r.n,
			    (unsigned long long)(r.hidx << m->geom->cluster_bits));
}

void alloc_free_stable(struct meta *m, uint64_t hidx, uint64_t n)
{
	struct alloc_range r = { hidx, n };

	if (m->alloc.punch && !atomic_load(&m->alloc.no_punch))
		punch_range(m, r);
	lock_take(&m->lock);
	free_range_locked(m, r);
	lock_drop(&m->lock);
}

static void mature(struct meta *m, const struct alloc_list *l)
{
	if (!SEED_BUG(SEED_PIN_DROPPED))
		epoch_wait(&m->epoch); /* [R3] nobody holds the old extent */
	if (atomic_load(&m->failed))
		return; /* [R8] */
	for (size_t i = 0; i < l->n; i++)
		alloc_free_stable(m, l->r[i].hidx, l->r[i].n);
}

void alloc_mature(struct meta *m)
{
	struct alloc_list l;

	lock_take(&m->alloc.mature_lock);
	lock_take(&m->lock);
	l = m->alloc.ripe;
	memset(&m->alloc.ripe, 0, sizeof(m->alloc.ripe));
	m->alloc.maturing = l.n;
	lock_drop(&m->lock);
	if (l.n) {
		mature(m, &l);
		lock_take(&m->lock);
		m->alloc.maturing = false;
		lock_drop(&m->lock);
	}
	lock_drop(&m->alloc.mature_lock);
	list_fini(&l);
}

bool alloc_has_freed_locked(struct meta *m)
{
	const struct alloc *a = &m->alloc;

	return a->freed.n || a->cut.n || a->ripe.n || a->maturing;
}
