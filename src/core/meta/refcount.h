/*
 * refcount: the refcount table and its blocks (specification: "Host cluster
 * management"). The successor of a whole family of functions of the year 2009:
 * load a refcount block, get a refcount, update it, allocate a refcount block,
 * grow the refcount table.
 *
 * Cached blocks hold only values that may reach the disk at any time: an
 * increment is applied at once, and rides in phase 1 of the next commit, before
 * the reference that it is for [R2]; a decrement is applied only once the
 * removal of the reference is on disk [R4] (alloc.h, "maturing"). So a count
 * on disk is never below the number of references.
 *
 * Coverage. An area is what one refcount block counts. Its block is "hooked"
 * when the refcount table on disk points to it. Clusters may be allocated from
 * an area whose block is not hooked yet, but an entry that refers to them must
 * not reach the disk before the hook [R2]; such an allocation makes the next
 * commit an urgent one, with one sync more (writeback.c). refcount_reserve()
 * hooks the next area early, so that this is rare.
 *
 * All functions need meta.lock.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/host/hostfile.h"
#include "core/meta/metalock.h"
#include "core/meta/refwatch.h"

struct tablecache;

struct refcount {
	uint64_t *table;     /* native order, N entries */
	bool *hooked;	     /* for each entry: on disk as it is in memory */
	uint64_t n;	     /* entries */
	uint64_t hoff;	     /* of the table as the next commit leaves it */
	uint64_t clusters;   /* of the same */
	uint64_t committed_hoff; /* of the table on disk */
	bool urgent;	     /* clusters of an unhooked area are in use */
	uint64_t *unhooked;  /* areas with hooked == false, unhooked_n */
	size_t unhooked_n, unhooked_cap;
	uint8_t *room;	     /* for the next cut's copies */
	size_t room_cap;     /* bytes */
	bool growing;	     /* guards against growing while growing */
	struct tablecache *blocks;
	struct refwatch *watch; /* who wants to know what changes, or NULL */
};

/* What a cut takes of the refcount table. */
struct refcount_cut {
	uint8_t *copies; /* owned: whole table if GROWN, else 512-byte sectors */
	uint64_t *areas; /* owned: one area for each sector in COPIES */
	size_t n;	 /* areas that become hooked */
	uint64_t hoff, clusters; /* of the table after this commit */
	bool grown;	 /* the table has moved: the header must follow */
	bool urgent;	 /* entries of this very commit need the hooks */
};

int refcount_open(struct meta *m, uint64_t cache_size);
void refcount_fini(struct refcount *rc);

/* *VALUE of host cluster HIDX. -EIO, -EUCLEAN (refcount table entry broken),
 * -ENOMEM. */
int refcount_get_locked(struct meta *m, uint64_t hidx, uint64_t *value)
	LOCK_REQUIRES(metalock(m));

/*
 * Add 1 to the counts of N clusters from HIDX, whose areas are covered. All or
 * nothing. -ERANGE: a count is at its maximum; -ENOSPC; else as
 * refcount_get_locked().
 */
int refcount_add_locked(struct meta *m, uint64_t hidx, uint64_t n)
	LOCK_REQUIRES(metalock(m));

/* Subtract 1; the removal of the reference is stable [R4]. A cluster whose
 * count becomes 0 loses its role. -EUCLEAN when a count is 0 already; earlier
 * ones stay subtracted. */
int refcount_sub_locked(struct meta *m, uint64_t hidx, uint64_t n)
	LOCK_REQUIRES(metalock(m));

/*
 * The first run of free clusters at or after FROM: at least MIN long, cut at
 * MAX. Areas without a refcount block are free as a whole. 0, -ENOSPC: the
 * refcount table cannot grow to cover such a run; errors of get.
 */
int refcount_find_free_locked(struct meta *m, uint64_t from, uint64_t min,
			      uint64_t max, uint64_t *hidx, uint64_t *n)
	LOCK_REQUIRES(metalock(m));

/*
 * Make sure that the areas of [HIDX, HIDX + N) have a refcount block, making
 * blocks and a larger table where they are missing. *CHANGED (may be NULL):
 * something was allocated for it, so that the run may not be free any more.
 * -ENOSPC, -EIO, -ENOMEM.
 */
int refcount_cover_locked(struct meta *m, uint64_t hidx, uint64_t n,
			  bool *changed)
	LOCK_REQUIRES(metalock(m));

/* After an allocation that ends at HIDX: reserve the next area's block when
 * the last one is half used. Failing is no error: it is tried again. */
void refcount_reserve_locked(struct meta *m, uint64_t hidx)
	LOCK_REQUIRES(metalock(m));

/* Note that clusters of [HIDX, HIDX + N) are in use: decides on `urgent`. */
void refcount_note_use_locked(struct meta *m, uint64_t hidx, uint64_t n)
	LOCK_REQUIRES(metalock(m));

/* Move what the next commit must write of the table into CUT, and count those
 * areas as hooked: later entries come after this commit. Allocates nothing. */
void refcount_take_cut(struct meta *m, struct refcount_cut *cut)
	LOCK_REQUIRES(metalock(m));
void refcount_cut_fini(struct refcount_cut *cut);
