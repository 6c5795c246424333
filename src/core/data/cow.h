/*
 * cow: the first write to a run of clusters or subclusters that the guest will
 * own from then on: its bytes, and around them what was read there before.
 */
#pragma once

#include "core/data/disk.h"

struct cow_run {
	uint64_t goff, hoff; /* first byte of the run */
	uint64_t len;	     /* bytes; goff and len are in whole units */
	uint64_t unit;	     /* what is written as a whole: a cluster, or a
				subcluster (geom.sub_size) */
	bool own;	     /* hoff is in clusters that the guest has already,
				and alone */
	bool moved;	     /* in new ones instead, of which some take the
				place of others: bring along what is there */
	bool fresh;	     /* the host clusters read as zero already */
	bool zero;	     /* the guest's units read as zero so far */
};

/*
 * Write LEN bytes of BUF, which belong at guest offset GOFF and touch every
 * unit of RUN, and fill the rest of RUN. With RUN->moved, subclusters beside
 * RUN that have data get a copy in the new clusters. The old mapping is still
 * in place and stays (the caller holds the range). 0, -ENOSPC, -EIO, ...; the
 * content is then undefined.
 */
int cow_write(struct disk *d, const struct cow_run *run, const uint8_t *buf,
	      size_t len, uint64_t goff);
