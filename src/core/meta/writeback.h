/*
 * writeback: the commit. The only code that writes tables and roots, and the
 * only code that orders writes and syncs. docs/durability.md has the rules R1
 * to R8 and why this order keeps them; each is named where it is kept.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/lock.h"
#include "core/meta/metalock.h"
#include "core/meta/rolemap.h"

struct header;

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

/* Also write refcounts that only say "free", so that nothing leaks. */
int writeback_all(struct meta *m) LOCK_EXCLUDES(metalock(m));

enum writeback_pressure {
	WRITEBACK_CALM,
	WRITEBACK_WANTED, /* a commit should start soon */
	WRITEBACK_URGENT, /* writers should wait for one: memory is bounded */
};

/* How much waits for the next commit. Any thread, no lock. */
enum writeback_pressure writeback_pressure(struct meta *m);
/* Work it out anew after a change. meta.lock is held. */
void writeback_note_locked(struct meta *m) LOCK_REQUIRES(metalock(m));

/* Write the incompatible and autoclear bits of a version 3 header and sync
 * them, before anything that they announce. -EIO for good. */
int writeback_set_features(struct meta *m, uint64_t incompat,
			   uint64_t autoclear) LOCK_EXCLUDES(metalock(m));

/*
 * Move roots: write sector 0 from m->header, which the caller has changed, and
 * sync it [R7]. The caller has the image alone, and all that the new roots
 * refer to is stable: writeback_all() returned 0 after the last table was
 * written, and nothing was allocated since. -EIO for good.
 */
int writeback_put_header(struct meta *m) LOCK_EXCLUDES(metalock(m));

/* As writeback_put_header(), with *H for m->header and the 512 bytes at SECTOR
 * for all of sector 0 that H does not say: extensions, names. */
int writeback_replace_header(struct meta *m, const struct header *h,
			     const void *sector) LOCK_EXCLUDES(metalock(m));

/*
 * Write SECTOR (512 bytes) at HOFF in the header cluster, and sync it unless
 * !SYNC: for what stands behind the fixed fields. In the sector at 0 those are
 * m->header's. Who calls has the image alone, as for writeback_put_header().
 */
int writeback_put_head(struct meta *m, const uint8_t *sector, uint64_t hoff,
		       bool sync) LOCK_EXCLUDES(metalock(m));

/* Change LEN bytes of metadata of ROLE that no commit writes in place, and sync
 * them.
 * Any thread; every sector must be right on its own, old or new. */
int writeback_put_synced(struct meta *m, const void *buf, size_t len,
			 uint64_t hoff, enum role role)
	LOCK_EXCLUDES(metalock(m));
