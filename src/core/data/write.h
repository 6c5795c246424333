/*
 * write: guest writes. In place where the image owns the cluster alone, into
 * newly allocated clusters elsewhere. The caller is inside an epoch. No sync.
 */
#pragma once

#include "core/data/disk.h"

/*
 * Write [GOFF, GOFF + LEN), inside the disk. 0, -ENOSPC, -EIO, -EUCLEAN,
 * -ENOMEM; a part before the failure may have been written, what was not keeps
 * its old content or, inside clusters overwritten in place, is undefined.
 */
int write_range(struct disk *d, const void *buf, size_t len, uint64_t goff);

/* As write_range() with zeroes as the data, where metadata cannot say so. */
int write_zero_bytes(struct disk *d, uint64_t len, uint64_t goff);
