/*
 * pack: writing compressed clusters (specification: "Compressed Clusters
 * Descriptor"). Streams are packed one behind the other (alloc_bytes_locked()).
 */
#pragma once

#include <stdbool.h>

#include "core/data/disk.h"

/*
 * Write the cluster at GOFF, all of it: SIZE bytes of BUF, fewer than a cluster
 * only at the end of the disk. The caller holds the range. *DONE is false where
 * it does not pay: nothing has changed then. 0, -ENOSPC, -EIO, -EUCLEAN,
 * -ENOMEM.
 */
int pack_cluster(struct disk *d, const void *buf, size_t size, uint64_t goff,
		 bool *done);
