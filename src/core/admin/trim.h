/*
 * trim: let mappings go, and the end of the file with them. For who has the
 * image alone (gate.h).
 */
#pragma once

#include <stdint.h>

#include "core/meta/meta.h"

/* Drop all that is mapped from FROM to TO, both the edge of a cluster, with the
 * L2 tables that map nothing else. What was mapped is freed by this commit or a
 * later one. -EUCLEAN, -EIO, -ENOMEM; a part may have gone then. */
int trim_range(struct meta *m, uint64_t from, uint64_t to);

/* As trim_range(), from FROM to the end of the disk of SIZE bytes, with the last
 * L2 table. */
int trim_end(struct meta *m, uint64_t from, uint64_t size);

/* Cut off the clusters at the end of the file that nothing uses; a block device
 * keeps its length. They are free on disk: writeback_all() was called. The new length is durable with the next
 * commit. -EIO, -EUCLEAN. */
int trim_file(struct meta *m);
