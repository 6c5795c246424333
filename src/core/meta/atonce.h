/*
 * atonce: metadata that is not part of a commit: one write, and its sync. No
 * commit runs meanwhile. What fails, fails for good, as in a commit [R8].
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/meta/metalock.h"
#include "core/meta/rolemap.h"

struct header;

/* Set bits of the incompatible features of a version 3 header, clear some of
 * the autoclear ones and set others, and sync that before anything that they
 * announce. No bit that another thread has set gets lost. -EIO for good. */
int atonce_features(struct meta *m, uint64_t incompat, uint64_t clear,
		    uint64_t set) LOCK_EXCLUDES(metalock(m));

/*
 * Move roots: write sector 0 from m->header, which the caller has changed, and
 * sync it [R7]. The caller has the image alone, and all that the new roots
 * refer to is stable: writeback_all() returned 0 after the last table was
 * written, and nothing was allocated since. -EIO for good.
 */
int atonce_header(struct meta *m) LOCK_EXCLUDES(metalock(m));

/*
 * As atonce_header(), with the disk's size and the roots of H (L1 table, snapshot
 * table), which m->header has from then on; not after an error. They must not be
 * there earlier: the commit before this call may write sector 0 as well.
 */
int atonce_roots(struct meta *m, const struct header *h)
	LOCK_EXCLUDES(metalock(m));

/* As atonce_header(), with *H for m->header and the 512 bytes at SECTOR
 * for all of sector 0 that H does not say: extensions, names. */
int atonce_replace_header(struct meta *m, const struct header *h,
			  const void *sector) LOCK_EXCLUDES(metalock(m));

/*
 * Write SECTOR (512 bytes) at HOFF in the header cluster, and sync it unless
 * !SYNC: for what stands behind the fixed fields. In the sector at 0 those are
 * m->header's. Who calls has the image alone, as for atonce_header().
 */
int atonce_head_sector(struct meta *m, const uint8_t *sector, uint64_t hoff,
		       bool sync) LOCK_EXCLUDES(metalock(m));

/* Change LEN bytes of metadata of ROLE that no commit writes in place, and sync
 * them. Any thread; every sector must be right on its own, old or new. */
int atonce_table(struct meta *m, const void *buf, size_t len, uint64_t hoff,
		 enum role role) LOCK_EXCLUDES(metalock(m));
