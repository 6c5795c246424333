/*
 * compressed: reading compressed clusters (specification: "Compressed Clusters
 * Descriptor").
 */
#pragma once

#include "core/data/disk.h"
#include "core/meta/l2map.h"

/*
 * Copy LEN bytes, from byte FROM of the cluster described by E (kind
 * COMPRESSED), to BUF. 0; -EIO: host error, or a stream that does not decode;
 * -ENOTSUP: rawcow was built without its codec; -ENOMEM.
 */
int compressed_read(struct disk *d, const struct extent *e, void *buf,
		    uint64_t from, size_t len);
