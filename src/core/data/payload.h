/*
 * payload: guest data in plain host clusters. The one place that knows in which
 * file such a cluster is, and what stands between the guest's bytes and the
 * host's. Tables and compressed streams do not come here.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/data/disk.h"

/*
 * Read LEN bytes at HOFF, which the guest sees at GOFF. Host clusters may be
 * cut short by the end of the file: what is missing of the last one reads as
 * zero. 0, -EIO (also: the cluster lies behind the end), -ENOMEM.
 */
int payload_read(struct disk *d, void *buf, size_t len, uint64_t hoff,
		 uint64_t goff);

/* Write LEN bytes of BUF, which the guest sees at GOFF, to HOFF. 0, -ENOSPC,
 * -EIO, -ENOMEM. */
int payload_write(struct disk *d, const void *buf, size_t len, uint64_t hoff,
		  uint64_t goff);
