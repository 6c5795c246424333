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
	bool copied;	/* the place at hoff is the image's alone */
	uint64_t len;	/* guest bytes from the offset asked for, >= 1 */
	uint64_t hoff;	/* PLAIN, ZERO_ALLOC, RESERVED: host offset of the
			   same byte; COMPRESSED: of the stream */
	uint32_t clen;	/* COMPRESSED: bytes of the stream at most */
};

/*
 * What stands at GOFF, up to LEN bytes (> 0, inside the disk); neighbouring
 * clusters and subclusters merge when their kind, COPIED and host order agree.
 * Compressed clusters come one by one, with hoff at the stream's start. 0;
 * -EUCLEAN: the entry or the table's place is impossible; -EIO; -ENOMEM.
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

enum l2map_what {
	L2MAP_DATA,	  /* at hoff, now theirs alone; data is written */
	L2MAP_ZERO_KEEP,  /* zero flag; keep a cluster that is ours alone */
	L2MAP_ZERO_UNMAP, /* zero flag, no cluster */
	L2MAP_UNMAP,	  /* no entry at all */
	L2MAP_COMPRESSED, /* one cluster; hoff is the word encoded by
			     l2entry_encode_compressed() */
};

/*
 * A change of the guest bytes [GOFF, GOFF + LEN), in whole units of
 * geom.sub_size and within l2map_reach(). Where a part of a cluster is
 * concerned, which only extended entries allow, the other subclusters stay what
 * they were; those with data have been copied when L2MAP_DATA moves their
 * cluster. A cluster is given up when the last of its data goes or all of it
 * changes, but for L2MAP_ZERO_KEEP. A compressed cluster changes as a whole.
 */
struct l2map_change {
	enum l2map_what what;
	uint64_t goff, len;
	uint64_t hoff; /* L2MAP_DATA: the byte of GOFF; L2MAP_COMPRESSED */
};

/*
 * What the old entries referred to and the new ones do not is freed later. All
 * or nothing; prepares the table itself. -EUCLEAN, -EIO, -ENOSPC, -ENOMEM.
 */
int l2map_change_locked(struct meta *m, const struct l2map_change *c)
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
