/*
 * read: guest reads. No lock is held over data I/O; the caller is inside an
 * epoch, so that no cluster looked up here is given away meanwhile [R3].
 */
#pragma once

#include "core/data/disk.h"

/* Read [GOFF, GOFF + LEN), inside the disk, into BUF. 0, -EIO, -EUCLEAN,
 * -ENOTSUP, -ENOMEM. */
int read_range(struct disk *d, void *buf, size_t len, uint64_t goff);
