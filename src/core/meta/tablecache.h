/*
 * tablecache: L2 tables and refcount blocks in memory, in slices of
 * geom.slice_size bytes, keyed by host offset and kept in disk byte order.
 *
 * A slice is in one of these states:
 *
 *	LOADING  its content is being read; others who want it wait
 *	READY    usable while pinned; evictable when its pins are zero
 *	FAILED   the read failed; it is out of the table, the last pin frees it
 *
 * A READY slice may also be dirty. The dirty state holds a pin of its own, so
 * a dirty slice is never evicted: the commit (writeback.c) is the only code
 * that writes tables. It takes a copy of every dirty slice at the cut, and from
 * then on the pin belongs to the cut until the copy is on disk.
 *
 * Invariants: pins >= 1 while LOADING or dirty; a slice is in exactly one
 * shard's table unless FAILED; dirty slices are on the dirty list exactly once.
 *
 * Locks: lookup, pins and LRU belong to the shard's lock (level 4). Content is
 * changed, and the dirty list used, only under meta.lock; readers without it
 * load single entries atomically (l2slice.h).
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/host/hostfile.h"

struct tablecache;

struct slice {
	void *data; /* slice_size bytes; see above for who may change it */
	uint64_t hoff; /* const: host offset of the slice, slice-aligned */
	atomic_uint version; /* l2slice.h; changed under meta.lock */
	/* the rest belongs to tablecache.c */
	struct slice *prev, *next;   /* LRU of the shard; shard lock */
	struct slice *dprev, *dnext; /* dirty list; meta.lock */
	unsigned pins;		     /* shard lock */
	unsigned state;		     /* shard lock */
	bool dirty;		     /* meta.lock */
};

/* A cache of about LIMIT bytes over FILE, whose last CLUSTER_SIZE bytes may be cut
 * short (hostfile_pread_units()). -ENOMEM. */
int tablecache_new(struct tablecache **out, struct hostfile *file,
		   unsigned slice_bits, uint64_t cluster_size, uint64_t limit);
/* Free it with all slices, dirty ones too. No slice is in use. */
void tablecache_free(struct tablecache *tc);

/*
 * Pin the slice at HOFF (slice-aligned), reading it on a miss. 0; -EIO: host
 * error or the file ends before it; -ENOMEM. tablecache_put() ends the use.
 */
int tablecache_get(struct tablecache *tc, uint64_t hoff, struct slice **out);
void tablecache_put(struct tablecache *tc, struct slice *s);

/* Before the content of a pinned slice is changed: it will be written by the
 * next commit, for which the host keeps room. -ENOMEM, -ENOSPC, -EIO: then it
 * must not be changed. meta.lock is held. */
int tablecache_dirty(struct tablecache *tc, struct slice *s);

/* Forget the slices in [HOFF, HOFF + LEN), dirty ones too: the clusters there
 * change their role. meta.lock is held; nobody else can still be reading them
 * and no running cut has them. */
void tablecache_forget(struct tablecache *tc, uint64_t hoff, uint64_t len);

/* Copies of dirty slices as taken by a cut, sorted by host offset. */
struct tablecache_cut {
	size_t n;
	struct slice **slices;
	uint8_t *copies; /* n times slice_size bytes, in the same order */
	bool *early;	 /* belongs to phase 1: see tablecache_cut() */
};

/*
 * Move all dirty slices into CUT, with copies. EARLY (may be NULL) decides for
 * each host offset whether the slice belongs to a table that nothing on disk
 * refers to yet. Needs no memory: tablecache_dirty() reserved it. One cut at a
 * time; meta.lock is held.
 */
void tablecache_cut(struct tablecache *tc, struct tablecache_cut *cut,
		    bool (*early)(void *arg, uint64_t hoff), void *arg);

/* The copies are on disk (or never will be): unpin. No lock is held. */
void tablecache_cut_done(struct tablecache *tc, struct tablecache_cut *cut);

/* How many slices wait for the next cut; meta.lock is held. */
size_t tablecache_dirty_count(const struct tablecache *tc);
/* How many dirty slices should start a commit. */
size_t tablecache_dirty_limit(const struct tablecache *tc);
