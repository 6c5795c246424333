/*
 * cow: the first write to a run of clusters that the guest will own from then
 * on: its bytes, and around them what the clusters read before.
 */
#pragma once

#include "core/data/disk.h"

struct cow_run {
	uint64_t goff, hoff; /* first byte of the run, cluster-aligned */
	uint64_t n;	     /* clusters */
	bool fresh;	     /* the host clusters read as zero already */
	bool zero;	     /* the guest clusters read as zero so far */
};

/*
 * Write LEN bytes of BUF, which belong at guest offset GOFF inside RUN, and
 * fill the rest of RUN. The old mapping is still in place and stays (the caller
 * holds the range). 0, -ENOSPC, -EIO, ...; the run's content is then undefined.
 */
int cow_write(struct disk *d, const struct cow_run *run, const uint8_t *buf,
	      size_t len, uint64_t goff);
