/*
 * payload: guest data in plain host clusters, the one place that reads and
 * writes it. Tables and compressed streams do not come here.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/data/disk.h"

/*
 * Read LEN bytes at HOFF, which the guest sees at GOFF. The last host cluster may be cut short by the end of
 * the file: what is missing of it reads as zero. 0, -EIO (also: the cluster lies behind the end), -ENOMEM,
 * -ENOKEY: encrypted, and opened without a key.
 */
int payload_read(struct disk *d, void *buf, size_t len, uint64_t hoff,
		 uint64_t goff);

/* Write LEN bytes of BUF, which the guest sees at GOFF, to HOFF; of those, what
 * lies behind the end of the disk does not reach an external data file. 0,
 * -ENOSPC, -EIO, -ENOMEM, -ENOKEY. */
int payload_write(struct disk *d, const void *buf, size_t len, uint64_t hoff,
		  uint64_t goff);

/* The same without encryption: what the host file holds. For crypt.c. */
int payload_read_raw(struct disk *d, void *buf, size_t len, uint64_t hoff);
int payload_write_raw(struct disk *d, const void *buf, size_t len,
		      uint64_t hoff);

/* Make LEN bytes at HOFF of an external data file read as zero, giving the room
 * back with UNMAP where the host can. 0, -ENOSPC, -EIO. */
int payload_zero(struct disk *d, uint64_t len, uint64_t hoff, bool unmap);

/* Nothing refers to LEN bytes at HOFF of an external data file any more: give
 * the room back if the host can; it holds the data, or zeroes, afterwards. What
 * lies behind the end of the disk is none of it. */
void payload_discard(struct disk *d, uint64_t len, uint64_t hoff);
