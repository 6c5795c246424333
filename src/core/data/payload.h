/*
 * payload: guest data in plain host clusters, the one place that reads and
 * writes it. Tables and compressed streams do not come here.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/data/disk.h"

/*
 * Read LEN bytes at HOFF. The last host cluster may be cut short by the end of
 * the file: what is missing of it reads as zero. 0, -EIO (also: the cluster lies behind the end), -ENOMEM.
 */
int payload_read(struct disk *d, void *buf, size_t len, uint64_t hoff);

/* Write LEN bytes of BUF to HOFF. 0, -ENOSPC, -EIO. */
int payload_write(struct disk *d, const void *buf, size_t len, uint64_t hoff);
