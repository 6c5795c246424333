/*
 * clustercache: the last decoded compressed clusters, by the host offset of
 * their stream. A stream is written only where no entry points; who writes one
 * there forgets what stood there before.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct clustercache;

/* About LIMIT bytes of clusters of CLUSTER_SIZE; at least two. -ENOMEM. */
int clustercache_new(struct clustercache **out, uint64_t cluster_size,
		     uint64_t limit);
void clustercache_free(struct clustercache *c);

/* Copy LEN bytes from FROM within the cluster at HOFF; false: not here. */
bool clustercache_copy(struct clustercache *c, uint64_t hoff, void *buf,
		       size_t from, size_t len);

/* What is at HOFF from now on is something else. No entry of the image points
 * there, and no request is left that may have found one. */
void clustercache_forget(struct clustercache *c, uint64_t hoff);

/* Remember a decoded cluster (copied). Without memory nothing happens. */
void clustercache_insert(struct clustercache *c, uint64_t hoff,
			 const void *data);
