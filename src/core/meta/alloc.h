/*
 * alloc: which host clusters are handed out, and when freed ones may be used
 * again.
 *
 * The life of a host cluster:
 *
 *	free --alloc_run--> taken --l2map_install--> mapped
 *	mapped --alloc_free_later--> freed in memory only
 *	  --commit: the removal is on disk--> maturing
 *	  --requests that may still hold it have left, punch--> free
 *
 * A freed cluster keeps its count until it has matured, so that the allocator
 * cannot see it as free [R3], no decrement precedes the removal [R4], and no
 * punch does either [R5]. A taken cluster that was never mapped goes back with
 * alloc_give_back(), at once. A cluster whose role is known (rolescan.h) is
 * never handed out, whatever its count.
 *
 * All functions need meta.lock unless they say otherwise.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/meta/metalock.h"
#include "core/meta/rolemap.h"

struct alloc_range {
	uint64_t hidx, n; /* host clusters */
};

struct alloc_list {
	struct alloc_range *r;
	size_t n, cap;
	uint64_t clusters;
};

struct alloc {
	uint64_t hint;		 /* meta.lock: where the next search starts */
	bool passed;		 /* meta.lock: there may be free ones in
				    front of it */
	struct alloc_list freed; /* meta.lock: dropped since the last cut */
	struct alloc_list cut;	 /* meta.lock: dropped before the cut of the
				    commit that runs */
	struct alloc_list ripe;	 /* meta.lock: removal on disk, may mature */
	struct lock mature_lock; /* one alloc_mature() at a time */
	bool maturing;		 /* meta.lock: what was ripe is on its way */
	uint64_t bytes_at;	 /* meta.lock: where the next stream of
				    alloc_bytes may start; 0: none */
	bool punch;		 /* const after open: give room back */
	atomic_bool no_punch;	 /* the host cannot */
};

void alloc_init(struct alloc *a);
void alloc_fini(struct alloc *a);

/*
 * Take up to WANT neighbouring clusters; at least one. Their counts are 1 in
 * memory. *FRESH: they were never part of the file and read as zero.
 * -ENOSPC: the format can address no more; -EUCLEAN; -EIO; -ENOMEM.
 */
int alloc_run_locked(struct meta *m, uint64_t want, uint64_t *hidx,
		     uint64_t *n, bool *fresh)
	LOCK_REQUIRES(metalock(m));

/* Take exactly N neighbouring clusters for what ROLE says. Errors as above. */
int alloc_exact_locked(struct meta *m, uint64_t n, enum role role,
		       uint64_t *hidx)
	LOCK_REQUIRES(metalock(m));

/*
 * Take LEN bytes (1 .. cluster size) for a compressed stream. It starts at a
 * sector of its own, so that no acknowledged sector is ever written again, and
 * may share its first host cluster with earlier streams and run on into the
 * next cluster. Each cluster it touches is counted once more. Errors as
 * alloc_run_locked().
 */
int alloc_bytes_locked(struct meta *m, uint32_t len, uint64_t *hoff)
	LOCK_REQUIRES(metalock(m));

/* Clusters of alloc_run() or alloc_bytes() that no entry refers to: one
 * reference less at once. */
void alloc_give_back_locked(struct meta *m, uint64_t hidx, uint64_t n)
	LOCK_REQUIRES(metalock(m));

/* There is no room where the last search ended: what it has passed by is looked
 * at again. */
void alloc_rewind_locked(struct meta *m) LOCK_REQUIRES(metalock(m));

/* Make room to note N more ranges. -ENOMEM. Call before changing entries. */
int alloc_free_reserve_locked(struct meta *m, size_t n)
	LOCK_REQUIRES(metalock(m));

/* One reference to each of N clusters was dropped in memory. Cannot fail
 * after alloc_free_reserve_locked(). */
void alloc_free_later_locked(struct meta *m, uint64_t hidx, uint64_t n)
	LOCK_REQUIRES(metalock(m));

/*
 * One reference to each of N clusters is gone from the disk, stably, and no
 * request is left that may have followed it: punch what nothing else refers
 * to, and count down at once. What cannot be counted down leaks, with a line in
 * the log. Takes meta.lock itself.
 */
void alloc_free_stable(struct meta *m, uint64_t hidx, uint64_t n)
	LOCK_EXCLUDES(metalock(m));

/* Finish ripe frees: wait for requests that may hold them, punch, decrement. On
 * return all is free that was ripe before, also what another thread was at.
 * Takes meta.lock itself; never inside an epoch. */
void alloc_mature(struct meta *m) LOCK_EXCLUDES(metalock(m));

/* Is there something that alloc_mature(), or a commit and then alloc_mature(),
 * would free, or that another thread is freeing? */
bool alloc_has_freed_locked(struct meta *m) LOCK_REQUIRES(metalock(m));
