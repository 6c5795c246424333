#include "core/meta/tablecache.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(e) ((e)->base.state = SLICE_FAILED)
#include "base/hash.h"
#include <utlist.h>

#include "base/lock.h"
#include "base/mem.h"

#define SHARDS 16

enum { SLICE_LOADING, SLICE_READY, SLICE_FAILED };

struct entry {
	struct slice base; /* first: a slice is an entry */
	UT_hash_handle hh;
};

struct shard {
	struct lock lock;
	struct lock_cond loaded;
	struct entry *table; /* by hoff */
	struct slice *lru;   /* oldest first */
	size_t n;
};

struct tablecache {
	struct hostfile *file;
	size_t slice_size;
	unsigned slice_bits;
	uint64_t cluster_size;
	size_t shard_limit; /* slices a shard keeps */
	struct shard shard[SHARDS];
	struct slice *dirty; /* meta.lock */
	size_t dirty_n;	     /* meta.lock */
	/* Room for the next cut and the memory of the running one: two sets
	 * that swap, so that a cut never allocates. meta.lock */
	struct tablecache_cut room[2];
	size_t room_cap[2][3]; /* elements that fit in each array */
	unsigned next;
};

static struct entry *entry_of(struct slice *s)
{
	return (struct entry *)(void *)s;
}

static struct shard *shard_of(struct tablecache *tc, uint64_t hoff)
{
	uint64_t x = (hoff >> tc->slice_bits) * 0x9e3779b97f4a7c15ULL;

	return &tc->shard[x >> 60];
}

int tablecache_new(struct tablecache **out, struct hostfile *file,
		   unsigned slice_bits, uint64_t cluster_size, uint64_t limit)
{
	struct tablecache *tc = mem_array(1, sizeof(*tc));

	if (!tc)
		return -ENOMEM;
	tc->file = file;
	tc->slice_bits = slice_bits;
	tc->slice_size = (size_t)1 << slice_bits;
	tc->cluster_size = cluster_size;
	tc->shard_limit = (size_t)(limit >> slice_bits) / SHARDS;
	if (tc->shard_limit < 4)
		tc->shard_limit = 4;
	for (unsigned i = 0; i < SHARDS; i++) {
		lock_init(&tc->shard[i].lock);
		lock_cond_init(&tc->shard[i].loaded);
	}
	*out = tc;
	return 0;
}

static void entry_free(struct entry *e)
{
	free(e->base.data);
	free(e);
}

static void room_free(struct tablecache *tc, unsigned i)
{
	free(tc->room[i].slices);
	free(tc->room[i].copies);
	free(tc->room[i].early);
	memset(&tc->room[i], 0, sizeof(tc->room[i]));
	memset(tc->room_cap[i], 0, sizeof(tc->room_cap[i]));
}

void tablecache_free(struct tablecache *tc)
{
	if (!tc)
		return;
	for (unsigned i = 0; i < SHARDS; i++) {
		struct shard *sh = &tc->shard[i];
		struct entry *e, *tmp;

		HASH_ITER(hh, sh->table, e, tmp) {
			HASH_DEL(sh->table, e);
			entry_free(e);
		}
		lock_cond_fini(&sh->loaded);
		lock_fini(&sh->lock);
	}
	room_free(tc, 0);
	room_free(tc, 1);
	free(tc);
}

static void evict_locked(struct tablecache *tc, struct shard *sh)
	LOCK_REQUIRES(&sh->lock)
{
	struct slice *s, *tmp;

	DL_FOREACH_SAFE(sh->lru, s, tmp) {
		struct entry *e = entry_of(s);

		if (sh->n <= tc->shard_limit)
			return;
		if (s->pins)
			continue;
		DL_DELETE(sh->lru, s);
		HASH_DEL(sh->table, e);
		sh->n--;
		entry_free(e);
	}
}

static struct entry *insert_locked(struct tablecache *tc, struct shard *sh,
				   uint64_t hoff) LOCK_REQUIRES(&sh->lock)
{
	struct entry *e = mem_array(1, sizeof(*e));

	if (!e)
		return NULL;
	e->base.data = mem_aligned(tc->slice_size);
	if (!e->base.data) {
		free(e);
		return NULL;
	}
	e->base.hoff = hoff;
	e->base.pins = 1;
	e->base.state = SLICE_LOADING;
	HASH_ADD(hh, sh->table, base.hoff, sizeof(hoff), e);
	if (e->base.state == SLICE_FAILED) {
		entry_free(e);
		return NULL;
	}
	DL_APPEND(sh->lru, &e->base);
	sh->n++;
	evict_locked(tc, sh);
	return e;
}

static void drop_locked(struct shard *sh, struct slice *s)
	LOCK_REQUIRES(&sh->lock)
{
	(void)sh; /* named for the annotation */
	assert(s->pins);
	if (--s->pins == 0 && s->state == SLICE_FAILED)
		entry_free(entry_of(s));
}

/* Read the content of a new slice, with no lock held meanwhile. */
static int load(struct tablecache *tc, struct shard *sh, struct entry *e)
{
	int r = hostfile_pread_units(tc->file, e->base.data, tc->slice_size,
				     e->base.hoff, tc->cluster_size);

	lock_take(&sh->lock);
	if (r < 0) {
		HASH_DEL(sh->table, e);
		DL_DELETE(sh->lru, &e->base);
		sh->n--;
		e->base.state = SLICE_FAILED;
	} else {
		e->base.state = SLICE_READY;
	}
	lock_cond_wake_all(&sh->loaded);
	if (r < 0)
		drop_locked(sh, &e->base);
	lock_drop(&sh->lock);
	return r;
}

/* Wait until a slice that somebody else is reading is there; returns pinned. */
static int join_locked(struct shard *sh, struct slice *s)
	LOCK_REQUIRES(&sh->lock)
{
	s->pins++;
	while (s->state == SLICE_LOADING)
		lock_cond_wait(&sh->loaded, &sh->lock);
	if (s->state == SLICE_FAILED) {
		drop_locked(sh, s);
		return -EIO;
	}
	if (sh->lru->prev != s) { /* already the newest? */
		DL_DELETE(sh->lru, s);
		DL_APPEND(sh->lru, s);
	}
	return 0;
}

int tablecache_get(struct tablecache *tc, uint64_t hoff, struct slice **out)
{
	struct shard *sh = shard_of(tc, hoff);
	struct entry *e;
	int r = 0;

	lock_take(&sh->lock);
	HASH_FIND(hh, sh->table, &hoff, sizeof(hoff), e);
	if (e) {
		r = join_locked(sh, &e->base);
		lock_drop(&sh->lock);
	} else {
		e = insert_locked(tc, sh, hoff);
		lock_drop(&sh->lock);
		r = e ? load(tc, sh, e) : -ENOMEM;
	}
	*out = r < 0 ? NULL : &e->base;
	return r;
}

void tablecache_put(struct tablecache *tc, struct slice *s)
{
	struct shard *sh = shard_of(tc, s->hoff);

	lock_take(&sh->lock);
	drop_locked(sh, s);
	lock_drop(&sh->lock);
}

static void pin(struct tablecache *tc, struct slice *s)
{
	struct shard *sh = shard_of(tc, s->hoff);

	lock_take(&sh->lock);
	s->pins++;
	lock_drop(&sh->lock);
}

/* S may be a hole of the file if it is all zero, as in a new table, or an old
 * one that was copied so. */
static int reserve_on_host(struct tablecache *tc, const struct slice *s)
{
	const uint8_t *p = s->data;
	int r;

	if (*p || memcmp(p, p + 1, tc->slice_size - 1))
		return 0;
	r = hostfile_allocate(tc->file, s->hoff, tc->slice_size);
	return r == -EOPNOTSUPP ? 0 : r;
}

int tablecache_dirty(struct tablecache *tc, struct slice *s)
{
	struct tablecache_cut *room = &tc->room[tc->next];
	size_t *cap = tc->room_cap[tc->next];
	size_t need = tc->dirty_n + 1;
	int r;

	if (s->dirty)
		return 0;
	r = reserve_on_host(tc, s);
	if (r < 0)
		return r;
	if (mem_grow(&room->slices, &cap[0], need, sizeof(*room->slices)) < 0 ||
	    mem_grow(&room->copies, &cap[1], need, tc->slice_size) < 0 ||
	    mem_grow(&room->early, &cap[2], need, sizeof(*room->early)) < 0)
		return -ENOMEM;
	pin(tc, s);
	s->dirty = true;
	DL_APPEND2(tc->dirty, s, dprev, dnext);
	tc->dirty_n++;
	return 0;
}

void tablecache_forget(struct tablecache *tc, uint64_t hoff, uint64_t len)
{
	for (uint64_t o = hoff; o < hoff + len; o += tc->slice_size) {
		struct shard *sh = shard_of(tc, o);
		struct entry *e;

		lock_take(&sh->lock);
		HASH_FIND(hh, sh->table, &o, sizeof(o), e);
		if (e && e->base.dirty) {
			DL_DELETE2(tc->dirty, &e->base, dprev, dnext);
			tc->dirty_n--;
			e->base.dirty = false;
			drop_locked(sh, &e->base);
		}
		if (e && !e->base.pins) {
			HASH_DEL(sh->table, e);
			DL_DELETE(sh->lru, &e->base);
			sh->n--;
			entry_free(e);
		}
		lock_drop(&sh->lock);
	}
}

static int by_hoff(const struct slice *a, const struct slice *b)
{
	return a->hoff < b->hoff ? -1 : a->hoff > b->hoff;
}

void tablecache_cut(struct tablecache *tc, struct tablecache_cut *cut,
		    bool (*early)(void *arg, uint64_t hoff), void *arg)
{
	struct slice *s, *tmp;

	*cut = tc->room[tc->next];
	cut->n = 0;
	/* sorted, so that neighbours go to disk in one write */
	DL_SORT2(tc->dirty, by_hoff, dprev, dnext);
	DL_FOREACH_SAFE2(tc->dirty, s, tmp, dnext) {
		DL_DELETE2(tc->dirty, s, dprev, dnext);
		s->dirty = false;
		cut->slices[cut->n] = s;
		cut->early[cut->n] = early && early(arg, s->hoff);
		memcpy(cut->copies + cut->n * tc->slice_size, s->data,
		       tc->slice_size);
		cut->n++;
	}
	tc->dirty_n = 0;
	tc->next = 1 - tc->next;
}

void tablecache_cut_done(struct tablecache *tc, struct tablecache_cut *cut)
{
	for (size_t i = 0; i < cut->n; i++)
		tablecache_put(tc, cut->slices[i]);
	cut->n = 0;
}

size_t tablecache_dirty_count(const struct tablecache *tc)
{
	return tc->dirty_n;
}

size_t tablecache_dirty_limit(const struct tablecache *tc)
{
	return tc->shard_limit * SHARDS / 2;
}
