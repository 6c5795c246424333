#include "core/data/clustercache.h"

#include <errno.h>

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(e) ((e)->lost = true)
#include "base/hash.h"
#include <utlist.h>

#include "base/lock.h"
#include "base/mem.h"

struct entry {
	uint64_t hoff;
	bool lost;
	unsigned pins; /* being copied from or to */
	uint8_t *data;
	struct entry *prev, *next; /* oldest first */
	UT_hash_handle hh;
};

struct clustercache {
	struct lock lock; /* level 4; guards all but the bytes */
	size_t cluster_size, limit, n;
	struct entry *table, *lru;
};

int clustercache_new(struct clustercache **out, uint64_t cluster_size,
		     uint64_t limit)
{
	struct clustercache *c = mem_array(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	lock_init(&c->lock);
	c->cluster_size = (size_t)cluster_size;
	c->limit = (size_t)(limit / cluster_size);
	if (c->limit < 2)
		c->limit = 2;
	*out = c;
	return 0;
}

static void entry_free(struct entry *e)
{
	if (e)
		free(e->data);
	free(e);
}

void clustercache_free(struct clustercache *c)
{
	struct entry *e, *tmp;

	if (!c)
		return;
	HASH_ITER(hh, c->table, e, tmp) {
		HASH_DEL(c->table, e);
		entry_free(e);
	}
	lock_fini(&c->lock);
	free(c);
}

bool clustercache_copy(struct clustercache *c, uint64_t hoff, void *buf,
		       size_t from, size_t len)
{
	struct entry *e;

	lock_take(&c->lock);
	HASH_FIND(hh, c->table, &hoff, sizeof(hoff), e);
	if (e) {
		e->pins++;
		DL_DELETE(c->lru, e);
		DL_APPEND(c->lru, e);
	}
	lock_drop(&c->lock);
	if (!e)
		return false;
	memcpy(buf, e->data + from, len);
	lock_take(&c->lock);
	e->pins--;
	lock_drop(&c->lock);
	return true;
}

/* An entry to fill: the oldest one when the cache is full, else a new one.
 * NULL: no memory, or HOFF is here already. */
static struct entry *vacate_locked(struct clustercache *c, uint64_t hoff)
	LOCK_REQUIRES(&c->lock)
{
	struct entry *e;

	HASH_FIND(hh, c->table, &hoff, sizeof(hoff), e);
	if (e)
		return NULL;
	if (c->n >= c->limit) {
		DL_FOREACH(c->lru, e) {
			if (e->pins)
				continue;
			HASH_DEL(c->table, e);
			DL_DELETE(c->lru, e);
			c->n--;
			return e;
		}
		return NULL;
	}
	e = mem_array(1, sizeof(*e));
	if (e)
		e->data = mem_aligned(c->cluster_size);
	if (e && e->data)
		return e;
	free(e);
	return NULL;
}

void clustercache_forget(struct clustercache *c, uint64_t hoff)
{
	struct entry *e;

	lock_take(&c->lock);
	HASH_FIND(hh, c->table, &hoff, sizeof(hoff), e);
	if (e) {
		HASH_DEL(c->table, e);
		DL_DELETE(c->lru, e);
		c->n--;
	}
	lock_drop(&c->lock);
	entry_free(e);
}

void clustercache_insert(struct clustercache *c, uint64_t hoff,
			 const void *data)
{
	struct entry *e, *other;

	lock_take(&c->lock);
	e = vacate_locked(c, hoff);
	lock_drop(&c->lock);
	if (!e)
		return;
	memcpy(e->data, data, c->cluster_size);
	e->hoff = hoff;
	e->lost = false;
	lock_take(&c->lock);
	HASH_FIND(hh, c->table, &hoff, sizeof(hoff), other);
	if (other) {
		e->lost = true;
	} else {
		HASH_ADD(hh, c->table, hoff, sizeof(e->hoff), e);
	}
	if (!e->lost) {
		DL_APPEND(c->lru, e);
		c->n++;
		e = NULL;
	}
	lock_drop(&c->lock);
	entry_free(e);
}
