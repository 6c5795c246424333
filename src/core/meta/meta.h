/*
 * meta: the metadata of one open image: its tables, refcounts and allocator,
 * with the lock that guards every change to them (level 3, docs/locking.md).
 *
 * The parts are separate modules, each with its own header: l1table, l2map
 * (guest range to host clusters), refcount, alloc, writeback (the commit). This
 * struct only ties them together.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"
#include "core/format/header.h"
#include "core/host/hostfile.h"
#include "core/meta/alloc.h"
#include "core/meta/epoch.h"
#include "core/meta/l1table.h"
#include "core/meta/refcount.h"
#include "core/meta/rolescan.h"
#include "core/meta/tablecache.h"
#include "core/meta/writeback.h"

struct l2map_new;

struct meta {
	const struct geom *geom; /* const after open */
	struct hostfile *file;	 /* const after open */
	bool writable;		 /* const after open */
	/* NULL: guest data is in FILE. Const once requests may come. */
	struct hostfile *data_file;
	struct epoch epoch;	 /* its own */
	struct lock lock;	 /* level 3 */

	struct header header;	 /* meta.lock; roots as the next commit has
				    them */
	uint8_t *header_sector;	 /* meta.lock; sector 0 as last written */
	struct l1table l1;	 /* see l1table.h */
	struct tablecache *l2;	 /* see tablecache.h */
	struct l2map_new *new_l2; /* meta.lock: see l2map.c */
	struct refcount refcount; /* meta.lock */
	struct alloc alloc;	 /* meta.lock */
	struct rolescan roles;	 /* writable images: see rolescan.h */
	struct writeback wb;	 /* see writeback.h */

	/* Host clusters at or above this index have never been part of the
	 * file: they read as zero, and no entry may point there. Only the last
	 * sectors of a compressed cluster may lie in the first of them, which
	 * is counted then. */
	_Atomic uint64_t end_hidx;
	/* Set after a data write returned, before it is acknowledged; cleared
	 * by the cut whose F covers it. */
	atomic_bool data_unsynced; /* any data; all that is in data_file */
	atomic_bool new_unsynced;  /* what FILE has got in clusters that entries
				      are about to refer to [R1] */
	atomic_bool failed;	   /* a sync or a metadata write failed [R8] */
	atomic_bool corrupt;	   /* a contradiction was found: no new writes,
				      what was acknowledged is committed */
};

/* What metalock.h promises. */
struct lock *metalock(struct meta *m) LOCK_RETURNS(&m->lock);

/* Table-cache budgets in bytes. */
struct meta_budget {
	uint64_t l2, refcount;
};

/*
 * Load what every request needs: the L1 table, and for a writable image the
 * refcount table and the roles of all tables (rolescan_open(); the caller claims
 * what else there is, and calls rolescan_start()). FILE, GEOM and HEADER outlive META (HEADER is copied).
 * SECTOR0 is the first 512 bytes of the file. -EIO, -ENOMEM, -EUCLEAN with
 * text.
 */
int meta_open(struct meta *m, struct hostfile *file, const struct geom *geom,
	      const struct header *header, const uint8_t *sector0,
	      bool writable, const struct meta_budget *budget,
	      struct err *err);
/* Free all memory; writes nothing. */
void meta_fini(struct meta *m);

/* The L2 table at HOFF as the file has it, a cluster; a copy may have cut it
 * short, which leaves zeroes. Errors of hostfile_pread_units(). */
int meta_read_table(struct meta *m, void *t, uint64_t hoff)
	__attribute__((warn_unused_result));

/* Write LEN bytes of a table at HOFF, whose clusters have ROLE. -EUCLEAN: they
 * have not, nothing is written; errors of hostfile_pwrite_full(). */
int meta_write(struct meta *m, const void *buf, size_t len, uint64_t hoff,
	       enum role role) __attribute__((warn_unused_result));
/* The same for zeroes: a new table. */
int meta_zero(struct meta *m, uint64_t hoff, uint64_t len, enum role role)
	__attribute__((warn_unused_result));

/* Data was written that entries are about to refer to [R1]. */
static inline void meta_note_new_data(struct meta *m)
{
	atomic_store(m->data_file ? &m->data_unsynced : &m->new_unsynced, true);
}

/* The host keeps room for LEN bytes at HOFF, so that the commit that writes
 * them cannot fail for want of it: a table may be a hole in the host file.
 * -ENOSPC; 0 also where the host cannot promise. */
int meta_reserve_room(struct meta *m, uint64_t hoff, uint64_t len);

/* The image contradicts itself at WHAT, host offset HOFF: say so once, stop
 * writing. Always returns -EUCLEAN. */
int meta_corrupt(struct meta *m, const char *what, uint64_t hoff);
