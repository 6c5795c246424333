/*
 * rolescan: keeps the role map (rolemap.h) of a writable image right.
 *
 * At open everything that is metadata is claimed: header, refcount table and
 * blocks, L1 table and the L2 tables that it names, snapshots, bitmaps. That
 * needs no L2 table, so it takes milliseconds on any image. What the L2 tables
 * map follows table by table: all of them at open if they are few, else in the
 * background, and in any case before a table is changed for the first time.
 * Until then a table is "unseen". An unseen table is as it was at open, so the
 * file's bytes are the truth.
 *
 *	refers to a cluster		role
 *	----------------------------	-------------------------------------
 *	entry with COPIED		L2, DATA: that one reference only
 *	entry without, snapshots	L2_SHARED, DATA_SHARED: any number
 *	compressed entry		COMPRESSED: any number
 *	everything else			one reference
 *
 * Any other combination is a clash, and so is a second reference to a cluster
 * whose count is 1, and was at open: at open the image is refused, later it is
 * marked corrupt and writing stops. From then on
 *
 * - alloc_*() gives clusters their role, and takes only such without one;
 * - a role ends where the count becomes 0 (refcount_sub_locked());
 * - tree_clear_copied() and tree_set_copied() turn DATA and L2 into their
 *   shared kind and back;
 * - l2map refuses entries whose target has another role than theirs, and
 *   ignores COPIED where the map says shared;
 * - rolescan_check() stands before every write.
 *
 * While tables are unseen a cluster without a role may be data of one of them,
 * so the allocator stays behind the end that the file had at open, and the cluster
 * that a stream may reach into there.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/meta/metalock.h"
#include "core/meta/rolemap.h"

struct rolescan {
	struct rolemap map;   /* see there */
	uint64_t unseen;      /* meta.lock: tables left to scan */
	uint64_t cursor;      /* meta.lock: of rolescan_step(): tables before
				 this one are seen, or being scanned, or cannot
				 be read */
	uint64_t floor;	      /* const after open: no entry refers to this or
				 a later one then; 0 for a block device */
	bool partial;	      /* meta.lock: no memory for all of data */
	/* meta.lock, until the map is complete: clusters that have lost a
	 * reference, but not their last one */
	struct rolemap lowered;
	bool lowered_lost; /* meta.lock: no memory for all of them */
	atomic_bool complete; /* all references of all tables are in the map */
};

/* A new map with the metadata that header, L1 table and refcount table name.
 * -EUCLEAN with text: a clash, a table outside the file; -ENOMEM. */
int rolescan_open(struct meta *m, struct err *err);
void rolescan_fini(struct rolescan *rs);

/* At open: LEN bytes at HOFF (cluster-aligned, any) have this role, and no other
 * reference. Errors as rolescan_open(); behind 2^56 bytes: -EUCLEAN. */
int rolescan_claim(struct meta *m, uint64_t hoff, uint64_t len, enum role role,
		   struct err *err);

/* At open: a snapshot's L1 table of N entries at HOFF, with the tables that it
 * names. */
int rolescan_claim_snapshot(struct meta *m, uint64_t hoff, uint32_t n,
			    struct err *err);

/* All is claimed: scan the L2 tables, if they are few. -EUCLEAN, -ENOMEM with
 * text. */
int rolescan_start(struct meta *m, struct err *err);

/* Scan one more table. 1: there is more to do; 0: no; -EUCLEAN: a clash, the
 * image is corrupt (meta_corrupt()); -ENOMEM. Any thread, never under
 * meta.lock. */
int rolescan_step(struct meta *m) LOCK_EXCLUDES(metalock(m));

/* Scan all that is left, also what other threads are at. Errors as
 * rolescan_step(). */
int rolescan_finish(struct meta *m) LOCK_EXCLUDES(metalock(m));

/* Before the table at HOFF is changed, copied or dropped. -EUCLEAN, -EIO,
 * -ENOMEM. */
int rolescan_table_locked(struct meta *m, uint64_t hoff)
	LOCK_REQUIRES(metalock(m));

/* N clusters that the refcounts call free get a role. -EUCLEAN: they have one
 * (meta_corrupt()); -ENOMEM. rolescan_drop_locked() takes it back. */
int rolescan_take_locked(struct meta *m, uint64_t hidx, uint64_t n,
			 enum role role) LOCK_REQUIRES(metalock(m));
void rolescan_drop_locked(struct meta *m, uint64_t hidx, uint64_t n)
	LOCK_REQUIRES(metalock(m));

/* HIDX has lost a reference, but not its last one. */
void rolescan_lower_locked(struct meta *m, uint64_t hidx)
	LOCK_REQUIRES(metalock(m));

/* Where the allocator may begin to search. */
uint64_t rolescan_floor_locked(struct meta *m) LOCK_REQUIRES(metalock(m));

/* May LEN bytes at HOFF be written as ROLE? 0; -EUCLEAN: no (meta_corrupt()).
 * Any thread, no lock. */
int rolescan_check(struct meta *m, uint64_t hoff, uint64_t len, enum role role);

/* May an L1 entry refer to an L2 table at HOFF? Any thread, no lock. */
bool rolescan_is_table(struct meta *m, uint64_t hoff, bool copied);

/* May an entry refer to HIDX as data, or as COMPRESSED data? *SHARED: whatever
 * its COPIED says, it may not be written in place. Any thread, no lock. */
bool rolescan_is_data(struct meta *m, uint64_t hidx, bool compressed,
		      bool *shared);
