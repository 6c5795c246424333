/*
 * l2map: where a guest range is, and changes to that (specification: "Cluster
 * mapping"). Answers where; the data layer decides what to do about it.
 *
 * Lookups take no lock but a cache shard's. Changes need meta.lock, concern
 * clusters that the caller holds through data/inflight, and appear atomically
 * entry by entry.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/lock.h"
#include "core/format/l2entry.h"
#include "core/meta/meta.h"

struct extent {
	enum l2entry_kind kind;
	bool copied;	/* may be written in place */
	uint64_t len;	/* guest bytes from the offset asked for, >= 1 */
	uint64_t hoff;	/* PLAIN, ZERO_ALLOC: host offset of the same byte;
			   COMPRESSED: of the stream */
	uint32_t clen;	/* COMPRESSED: bytes of the stream at most */
};

/*
 * What stands at GOFF, up to LEN bytes (> 0, inside the disk); neighbouring
 * clusters merge when their kind, COPIED and host order agree. Compressed
 * clusters come one by one, with hoff at the stream's start. 0; -EUCLEAN: the
 * entry or the table's place is impossible; -EIO; -ENOMEM.
 */
int l2map_lookup(struct meta *m, uint64_t goff, uint64_t len,
		 struct extent *out);

/* How many guest bytes from GOFF on share its slice of an L2 table: the most
 * that one change may cover. */
uint64_t l2map_reach(const struct meta *m, uint64_t goff);

/* Make the L2 table of GOFF exist and be written in place: allocates it, or
 * copies a shared one. -ENOSPC, -EIO, -EUCLEAN, -ENOMEM. */
int l2map_prepare_locked(struct meta *m, uint64_t goff)
	LOCK_REQUIRES(&m->lock);

enum l2map_change {
	L2MAP_DATA,	  /* N clusters at HOFF, now theirs; data is written */
	L2MAP_ZERO_KEEP,  /* zero flag; keep a cluster that is ours alone */
	L2MAP_ZERO_UNMAP, /* zero flag, no cluster */
	L2MAP_UNMAP,	  /* no entry at all */
	L2MAP_COMPRESSED, /* one cluster; HOFF is the entry as encoded by
			     l2entry_encode_compressed() */
};

/*
 * Change the entries of N clusters from GOFF (cluster-aligned, within
 * l2map_reach()). What the old entries referred to and the new ones do not is
 * freed later. All or nothing; prepares the table itself. HOFF is for
 * L2MAP_DATA and L2MAP_COMPRESSED. -EUCLEAN, -EIO, -ENOSPC, -ENOMEM.
 */
int l2map_change_locked(struct meta *m, uint64_t goff, uint64_t n,
			enum l2map_change what, uint64_t hoff)
	LOCK_REQUIRES(&m->lock);

/* Unmap all that entry I of the L1 table maps, its L2 table included: as
 * L2MAP_UNMAP for each cluster, without reading or writing more than needed.
 * -EUCLEAN, -EIO, -ENOMEM; all or nothing. */
int l2map_drop_table_locked(struct meta *m, uint64_t i)
	LOCK_REQUIRES(&m->lock);

/* Has the L2 table at HOFF no stable reference yet? For the cut. */
bool l2map_is_new_table(struct meta *m, uint64_t hoff);
/* The cut took over all new tables. */
void l2map_forget_new_tables(struct meta *m);
