/*
 * writeback: the commit. With core/meta/atonce.h the only code that writes
 * tables and roots in use, and the only code that orders writes and syncs
 * (writeback.c; who waits for a commit: writeback_group.c).
 * docs/durability.md has the rules R1 to R8 and why this order keeps them; each
 * is named where it is kept.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"
#include "core/meta/metalock.h"

struct writeback {
	struct lock lock;	/* level 2; never taken under meta.lock */
	struct lock_cond done;
	bool running;		/* wb.lock */
	uint64_t started;	/* wb.lock: commits begun */
	uint64_t finished;	/* wb.lock: the last one that ended */
	int result;		/* wb.lock: of that one */
	atomic_ullong commits, syncs; /* statistics */
	atomic_int pressure;	/* enum writeback_pressure */
	int64_t last_good;	/* wb.lock: time(2) of the last good commit */
	uint64_t file_size;	/* the running commit's: what the file had
				   at least, so far */
};

void writeback_init(struct writeback *wb);
void writeback_fini(struct writeback *wb);

/*
 * Make durable all that was acknowledged before the call. Those who call at the
 * same time share one commit. Two syncs for any batch, one if only mapped
 * clusters were overwritten, none if nothing was. 0, -EIO (for good).
 * Call without locks and outside an epoch.
 */
int writeback_flush(struct meta *m) LOCK_EXCLUDES(metalock(m));

/* Also write refcounts that only say "free", so that nothing leaks. Returns when
 * nothing is left to commit: nobody may change anything meanwhile. */
int writeback_all(struct meta *m) LOCK_EXCLUDES(metalock(m));

/* As writeback_all() while requests run: what they change meanwhile is left to
 * the next call. Clusters freed before this one are free. */
int writeback_settle(struct meta *m) LOCK_EXCLUDES(metalock(m));

enum writeback_pressure {
	WRITEBACK_CALM,
	WRITEBACK_WANTED, /* a commit should start soon */
	WRITEBACK_URGENT, /* writers should wait for one: memory is bounded */
};

/* How much waits for the next commit. Any thread, no lock. */
enum writeback_pressure writeback_pressure(struct meta *m);
/* Work it out anew after a change. meta.lock is held. */
void writeback_note_locked(struct meta *m) LOCK_REQUIRES(metalock(m));

/*
 * Keep commits out, as a commit under way would, and let them in again: for who
 * writes metadata itself (core/meta/atonce.h).
 */
void writeback_hold(struct writeback *wb);
void writeback_release(struct writeback *wb);

/* [R8] A write or a sync failed with R: the state of the file is unknown from
 * here on, and only opening it anew helps. Says so once. */
void writeback_fail(struct meta *m, int r) LOCK_EXCLUDES(metalock(m));
